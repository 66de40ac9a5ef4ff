//! SUBSCRIBE, UNSUBSCRIBE and their variants, and PUBSUB.
//!
//! A subscription is confirmed when every core has counted it, so whoever publishes after the confirmation was seen, on whatever core,
//! reaches the subscriber. Until then the client is no subscriber: nothing can come before the confirmation.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::commands::lookup::CommandId;
use crate::commands::{Command, Error, Handler, Outcome, Server};
use crate::observe::stats::CallResult;
use crate::pubsub::{Change, Counts, Kind, Registry};
use crate::resp::{Args, Out, Proto, Writer};
use crate::runtime::{SocketId, clock};
use crate::shard::client::Client;
use crate::shard::fanout::{Call, written};
use crate::shard::{Shard, ShardIo};
use crate::types::glob::{self, Case};

/// As in Redis, for shard channels only.
const NOT_IN_BLOCK: Error = Error::text("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");

/// Whether a subscriber that speaks RESP2 may use the command: its connection carries messages, between which other replies could
/// not be told apart.
pub fn is_for_subscribers(command: &Command) -> bool {
    match command.handler {
        Handler::Server(server) => matches!(
            server,
            Server::Subscribe
                | Server::Psubscribe
                | Server::Ssubscribe
                | Server::Unsubscribe
                | Server::Punsubscribe
                | Server::Sunsubscribe
                | Server::Ping
                | Server::Quit
                | Server::Reset
        ),
        Handler::Data(_) | Handler::Container => false,
    }
}

fn confirmation(kind: Kind, change: Change) -> &'static str {
    match (kind, change) {
        (Kind::Channel, Change::Joined) => "subscribe",
        (Kind::Pattern, Change::Joined) => "psubscribe",
        (Kind::ShardChannel, Change::Joined) => "ssubscribe",
        (Kind::Channel, Change::Left) => "unsubscribe",
        (Kind::Pattern, Change::Left) => "punsubscribe",
        (Kind::ShardChannel, Change::Left) => "sunsubscribe",
    }
}

fn write_confirmation(out: &mut Writer<'_>, kind: Kind, change: Change, name: Option<&[u8]>, counts: Counts) {
    out.push(3);
    out.bulk_str(confirmation(kind, change));
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(counts.confirmed(kind) as i64);
}

fn names(args: &Args<'_>) -> Vec<Bytes> {
    args.iter_from(1).map(Bytes::copy_from_slice).collect()
}

/// The names among `names` that the client is not subscribed to yet, each once.
fn unknown(registry: &Registry, kind: Kind, client: SocketId, names: &[Bytes]) -> Arc<[Bytes]> {
    let mut seen = hashbrown::HashSet::new();
    let is_new = |name: &&Bytes| !registry.is_subscribed(kind, name, client) && seen.insert((*name).clone());
    names.iter().filter(is_new).cloned().collect()
}

/// Tells every other core of subscribers that came or went, and waits until all have heard.
async fn announce(call: &Call, kind: Kind, names: Arc<[Bytes]>, change: Change) {
    let owner = call.here(|shard, _| shard.id);
    call.on_all(move |shard, _| shard.hear(owner, kind, &names, change)).await;
}

/// SUBSCRIBE and its like, with other cores to be told first.
async fn subscribe(call: Rc<Call>, kind: Kind, fresh: Arc<[Bytes]>) -> Result<Out, Error> {
    announce(&call, kind, fresh.clone(), Change::Joined).await;
    let names = names(&call.args());
    let confirmed = call.here(|shard, _| {
        shard.with_connection(call.socket, |shard, connection| {
            let client = &mut connection.client;
            let mut out = Out::default();
            shard.join(client, kind, &names, &mut out);
            shard.unmuted(client, out)
        })
    });
    if confirmed.is_none() {
        // The client has gone meanwhile, and never was a subscriber.
        call.here(|shard, io| shard.announce(io, kind, fresh, Change::Left));
    }
    Ok(confirmed.unwrap_or_default())
}

impl Shard {
    // Other cores

    fn hear(&mut self, owner: usize, kind: Kind, names: &[Bytes], change: Change) {
        if self.id != owner {
            names.iter().for_each(|name| self.pubsub.registry.announced(kind, name, owner, change));
        }
    }

    /// Tells every other core of subscribers that came or went, without waiting.
    fn announce(&self, io: &mut ShardIo, kind: Kind, names: Arc<[Bytes]>, change: Change) {
        let owner = self.id;
        self.tell_others(io, move |shard, _| shard.hear(owner, kind, &names, change));
    }

    /// Ends the subscriptions of a client that goes.
    #[cold]
    pub(in crate::shard) fn leave_all(&mut self, io: &mut ShardIo, client: SocketId) {
        for (kind, names) in self.leave(client) {
            self.announce(io, kind, names, Change::Left);
        }
    }

    /// Ends the subscriptions of a client on this core; what they were.
    fn leave(&mut self, client: SocketId) -> Vec<(Kind, Arc<[Bytes]>)> {
        let left = self.pubsub.registry.leave(client);
        let of = |wanted: Kind| left.iter().filter(|(kind, _)| *kind == wanted).map(|(_, name)| name.clone()).collect();
        [Kind::Channel, Kind::Pattern, Kind::ShardChannel]
            .into_iter()
            .map(|kind| (kind, of(kind)))
            .filter(|(_, names): &(Kind, Arc<[Bytes]>)| !names.is_empty())
            .collect()
    }

    // Commands

    pub(super) fn subscribe(&mut self, client: &mut Client, id: CommandId, kind: Kind, args: &Args<'_>) {
        if kind == Kind::ShardChannel && client.modes.in_block {
            return self.answer(client, id, args, |_, _, _| Err(NOT_IN_BLOCK));
        }
        let started = clock::ticks();
        let names = names(args);
        let fresh = unknown(&self.pubsub.registry, kind, client.socket, &names);
        if self.shared.shards > 1 && !fresh.is_empty() {
            return self.start_call(client, id, args, move |call| subscribe(call, kind, fresh));
        }
        let mut out = Out::default();
        self.join(client, kind, &names, &mut out);
        self.confirm(client, &out);
        self.book(client, id, args, started);
    }

    /// Subscribes a client and writes what confirms it.
    fn join(&mut self, client: &mut Client, kind: Kind, names: &[Bytes], out: &mut Out) {
        let registry = &mut self.pubsub.registry;
        for name in names {
            registry.subscribe(kind, name.clone(), client.socket);
            let counts = registry.counts(client.socket);
            write_confirmation(&mut Writer::new(out, client.proto), kind, Change::Joined, Some(name), counts);
        }
        client.subscribed = true;
    }

    pub(super) fn unsubscribe(&mut self, client: &mut Client, id: CommandId, kind: Kind, args: &Args<'_>) {
        let started = clock::ticks();
        let mut out = Out::default();
        let left = self.end_subscriptions(client, kind, args, &mut out);
        if self.shared.shards == 1 || left.is_empty() {
            self.confirm(client, &out);
            return self.book(client, id, args, started);
        }
        self.start_call(client, id, args, move |call| async move {
            announce(&call, kind, left, Change::Left).await;
            let unmuted = |shard: &mut Shard, _: &mut ShardIo| {
                shard.with_connection(call.socket, |shard, connection| shard.unmuted(&mut connection.client, out))
            };
            Ok(call.here(unmuted).unwrap_or_default())
        });
    }

    /// Ends subscriptions of a client and writes what confirms it; the names it had been subscribed to.
    fn end_subscriptions(&mut self, client: &mut Client, kind: Kind, args: &Args<'_>, out: &mut Out) -> Arc<[Bytes]> {
        let registry = &mut self.pubsub.registry;
        let names = if args.len() > 1 { names(args) } else { registry.subscriptions(kind, client.socket) };
        let mut out = Writer::new(out, client.proto);
        let mut left = Vec::new();
        for name in &names {
            if registry.unsubscribe(kind, name, client.socket) {
                left.push(name.clone());
            }
            write_confirmation(&mut out, kind, Change::Left, Some(name), registry.counts(client.socket));
        }
        let counts = registry.counts(client.socket);
        if names.is_empty() {
            write_confirmation(&mut out, kind, Change::Left, None, counts);
        }
        client.subscribed = counts.total() > 0;
        left.into()
    }

    /// Gives a client confirmations, which CLIENT REPLY does not silence.
    fn confirm(&mut self, client: &mut Client, out: &Out) {
        if client.muted {
            return self.pubsub.keep_for(client, out);
        }
        self.reply(client, |writer| {
            writer.out().append(out);
            Ok(())
        });
    }

    /// The same for a task: what is left for it to reply.
    fn unmuted(&mut self, client: &mut Client, out: Out) -> Out {
        if !client.muted {
            return out;
        }
        self.tell(client, &out);
        Out::default()
    }

    pub(in crate::shard) fn book(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>, started: u64) {
        let nanoseconds = self.rate.nanoseconds(started, clock::ticks());
        self.stats.record_call(id.index(), nanoseconds, CallResult::Ok);
        if self.is_slow(nanoseconds) {
            self.note_slow(client, id, nanoseconds, args);
        }
    }

    /// RESET of a subscriber: answers when all cores know that it is none any more.
    pub(super) fn reset_subscriber(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>) {
        let left = self.leave(client.socket);
        client.subscribed = false;
        self.start_call(client, id, args, move |call| async move {
            for (kind, names) in left {
                announce(&call, kind, names, Change::Left).await;
            }
            written(call.proto, |out| {
                out.simple("RESET");
                Ok(())
            })
        });
    }

    pub(super) fn pubsub_command(&self, proto: Proto, id: CommandId, args: &Args<'_>, out: &mut Out) -> Outcome {
        let registry = &self.pubsub.registry;
        let mut out = Writer::new(out, proto);
        match self.commands.get(id).name {
            "numpat" => out.int(registry.names(Kind::Pattern).len() as i64),
            "channels" => return write_names(registry, Kind::Channel, args, &mut out),
            "shardchannels" => return write_names(registry, Kind::ShardChannel, args, &mut out),
            "numsub" => write_subscribers(registry, Kind::Channel, args, &mut out),
            "shardnumsub" => write_subscribers(registry, Kind::ShardChannel, args, &mut out),
            _ => return Err(Error::Syntax),
        }
        Ok(())
    }
}

fn write_names(registry: &Registry, kind: Kind, args: &Args<'_>, out: &mut Writer<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(Error::subcommand_syntax(args));
    }
    let matches = |name: &&Bytes| args.opt(2).is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive));
    let names: Vec<&Bytes> = registry.names(kind).filter(matches).collect();
    out.array(names.len());
    names.into_iter().for_each(|name| out.bulk(name));
    Ok(())
}

fn write_subscribers(registry: &Registry, kind: Kind, args: &Args<'_>, out: &mut Writer<'_>) {
    out.array(2 * (args.len() - 2));
    for name in args.iter_from(2) {
        out.bulk(name);
        out.int(registry.subscribers(kind, name) as i64);
    }
}
