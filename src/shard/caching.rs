//! Client-side caching on one core: reads of its keys are remembered, changes to its keys are told, and its clients hear what all cores
//! tell them.
//!
//! Guarantees
//! - what is told to a client is behind the answers that earlier commands of it got, or still wait for: a client never takes a value for
//!   current that a message has declared old
//! - what a client's own command changed is told right behind the answer where everything is local, and at the end of the tick otherwise
//! - a flush is told once, after every core has done its part of it
//!
//! A command of a client without tracking pays nothing beyond the branch of the gates.

use super::client::{Client, Stall};
use super::limits::{FORGOTTEN_AT_ONCE, FORGOTTEN_IN_BACKGROUND, OUTBOX_BATCHES};
use super::settle::Author;
use super::{Message, Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::commands::{Flags, keys};
use crate::keyspace::slot;
use crate::node::random_u64;
use crate::resp::{Args, Proto, Writer};
use crate::runtime::SocketId;
use crate::tracking::{Messages, Mode, Notice, Prefixes, Reason, Redirect, Table, Text, Texts, Tracker, Value};

/// The channel that messages for a client of RESP2 seem to come from.
const CHANNEL: &str = "__redis__:invalidate";

/// One FLUSHALL or FLUSHDB of the process: the core that carries it out, and its number there.
pub type FlushId = (usize, u64);

/// Client-side caching, as far as one core has to do with it.
pub struct Caching {
    /// Who has read which of this core's keys.
    pub table: Table,
    /// Who listens to which prefix; the same on every core.
    pub prefixes: Prefixes,
    /// Clients of this core that track.
    pub clients: usize,
    texts: Texts,
    /// What is to be told to the clients of each core.
    outgoing: Vec<Messages>,
    /// So many of the messages for this core's own clients are not for the client at work.
    passed_over: usize,
    /// Flushes begun here.
    flushes_begun: u64,
    /// Flushes that not all cores have done, and how many have.
    flushes: Vec<(FlushId, usize)>,
}

impl Caching {
    pub fn new(shards: usize) -> Caching {
        Caching {
            table: Table::default(),
            prefixes: Prefixes::default(),
            clients: 0,
            texts: Texts::default(),
            outgoing: (0..shards).map(|_| Messages::default()).collect(),
            passed_over: 0,
            flushes_begun: 0,
            flushes: Vec::new(),
        }
    }

    /// Whether changes to this core's keys matter to anybody.
    pub fn watches_keys(&self) -> bool {
        !self.table.is_empty() || !self.prefixes.is_empty()
    }

    fn tell(&mut self, to: Tracker, reason: Reason, text: &Text) {
        self.outgoing[to.core].add(to.socket, reason, text);
    }
}

/// Whether a change has an author that a client may not want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Command,
    /// Met by a command, whose client need not be told, or on its own.
    Expiry,
    Eviction,
}

// On the core that owns the keys

impl Shard {
    /// Remembers that a client has read the keys of a command. Of keys of other cores, which visit this one, their owners are told: they
    /// hear of it before their keys come home, so no change of them comes in between.
    #[cold]
    pub(super) fn remember_reads(&mut self, io: &mut ShardIo, id: CommandId, args: &Args<'_>, tracker: Tracker) {
        let command = self.commands.get(id);
        if !command.flags.has(Flags::READONLY) || command.flags.has(Flags::PUBSUB) {
            return;
        }
        let (table, shards, own) = (&mut self.caching.table, self.shared.shards, self.id);
        let mut others: Vec<Vec<Box<[u8]>>> = Vec::new();
        let found = keys::for_each_key(command, args, |index| {
            let key = args.get(index);
            match if shards == 1 { own } else { slot::shard_of(slot::slot(key), shards) } {
                owner if owner == own => table.remember(key, tracker),
                owner => {
                    others.resize_with(shards, Vec::new);
                    others[owner].push(key.into());
                }
            }
        });
        if found.is_err() {
            return; // the handler has refused arguments that name no keys
        }
        for (owner, keys) in others.into_iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            let remember = move |shard: &mut Shard, _: &mut ShardIo| {
                keys.iter().for_each(|key| shard.caching.table.remember(key, tracker));
                shard.keep_table();
            };
            io.post(owner, Message::Run(Box::new(remember)));
        }
        self.keep_table();
    }

    /// The table has grown: changes are noted from now on, and it keeps its limit.
    fn keep_table(&mut self) {
        if !self.keyspace.changes.is_recording() {
            self.set_gates();
        }
        self.bound_table(FORGOTTEN_AT_ONCE);
    }

    /// Notes what is to be told of a changed key.
    pub(super) fn invalidate(&mut self, key: &[u8], author: Option<Author>, cause: Cause) {
        let author = author.map(|(core, socket)| Tracker { core, socket });
        let caching = &mut self.caching;
        if !caching.prefixes.is_empty() {
            // As in Redis, expiry has no author here, and one below.
            caching.prefixes.note(key, if cause == Cause::Command { author } else { None });
        }
        if let Some(readers) = caching.table.take(key) {
            let text = caching.texts.keys(std::iter::once(key));
            readers.for_each(|reader| {
                let own = author == Some(reader) && cause != Cause::Eviction;
                let reason = if own { Reason::Own } else { Reason::Read };
                caching.tell(reader, reason, &text);
            });
        }
    }

    /// Forgets keys by lot until the table is within its limit, up to `most`; their readers are told as if they had changed.
    fn bound_table(&mut self, most: usize) {
        let limit = self.config.tracking_table_max_keys;
        if limit == 0 {
            return;
        }
        let limit = (limit / self.shared.shards as u64).max(1) as usize;
        let caching = &mut self.caching;
        for _ in 0..most {
            if caching.table.keys() <= limit {
                return;
            }
            if let Some((key, readers)) = caching.table.take_any(random_u64()) {
                let text = caching.texts.keys(std::iter::once(&*key));
                readers.for_each(|reader| caching.tell(reader, Reason::Read, &text));
            }
        }
    }

    /// Ten times a second: a lowered limit is met by and by, and a table that has run empty no longer asks for notes of changes.
    pub(super) fn tend_tracking(&mut self) {
        if self.caching.table.is_empty() {
            if self.keyspace.changes.is_recording() {
                self.set_gates();
            }
            return;
        }
        self.bound_table(FORGOTTEN_IN_BACKGROUND);
    }

    /// Names a flush that this core is about to have carried out.
    pub(super) fn begin_flush(&mut self) -> FlushId {
        self.caching.flushes_begun += 1;
        (self.id, self.caching.flushes_begun)
    }

    /// This core has done its part of a flush: nothing that was read of it holds any more. Its answers of before have left, so the message
    /// is behind them on its way to each core.
    pub(super) fn tell_flush(&mut self, io: &mut ShardIo, flush: FlushId) {
        self.caching.table.clear();
        let shards = self.shared.shards;
        let heard = move |shard: &mut Shard, _: &mut ShardIo| shard.on_flush(flush, shards);
        heard(self, io);
        self.tell_others(io, heard);
    }
}

// On the core that holds the connections

impl Shard {
    /// One more core has done its part of a flush. When all have, every client that tracks is told.
    fn on_flush(&mut self, flush: FlushId, cores: usize) {
        let flushes = &mut self.caching.flushes;
        let at = flushes.iter().position(|(known, _)| *known == flush).unwrap_or_else(|| {
            flushes.push((flush, 0));
            flushes.len() - 1
        });
        flushes[at].1 += 1;
        if flushes[at].1 < cores {
            return;
        }
        flushes.swap_remove(at);
        if self.caching.clients == 0 {
            return;
        }
        let tracks = self.clients().filter(|connection| connection.client.tracking.is_some());
        let sockets: Vec<SocketId> = tracks.map(|connection| connection.client.socket).collect();
        for socket in sockets {
            self.with_connection(socket, |shard, connection| {
                shard.tell_changed(&mut connection.client, Value::Anything)
            });
        }
    }

    /// A client of this core that tracks has run a command: what it changed itself is told behind the answer, and an exception made by
    /// CLIENT CACHING is over.
    #[cold]
    pub(super) fn after_command(&mut self, client: &mut Client, id: CommandId) {
        if client.stall.has(Stall::WORKING) {
            return; // it has only begun
        }
        self.end_caching(client, Some(id));
        if client.muted {
            return; // its output is about to be cut off, and the message with it
        }
        let (own, from) = (self.id, self.caching.passed_over);
        let mine = self.caching.outgoing[own].take_of(client.socket, from);
        self.caching.passed_over = self.caching.outgoing[own].len();
        for (notice, value) in mine.iter().flat_map(Messages::iter) {
            self.tell_for(client, notice.reason, value);
        }
    }

    /// The same behind a command that could not answer at once: what was held back meanwhile follows its reply.
    #[cold]
    pub(super) fn after_work(&mut self, client: &mut Client, stall: Stall) {
        if let Some(held) = client.held.take() {
            self.ready_output(client);
            client.out.append(&held);
        }
        // The last command of a block is not the last of the client: that is EXEC.
        let id = if stall.has(Stall::TRANSACTION) { None } else { client.last_command };
        self.end_caching(client, id);
    }

    /// CLIENT CACHING holds for the next command or block, not counting CLIENT itself.
    pub(super) fn end_caching(&mut self, client: &mut Client, id: Option<CommandId>) {
        let Some(settings) = &mut client.tracking else { return };
        if settings.caching
            && !client.modes.in_multi
            && !id.is_some_and(|id| self.commands.full_name(id).starts_with("client"))
        {
            settings.caching = false;
            client.tracks = settings.remembers();
        }
    }

    /// At the end of a tick everything that is to be told leaves.
    pub(super) fn tell_changes(&mut self, io: &mut ShardIo) {
        let caching = &mut self.caching;
        if !caching.prefixes.is_quiet() {
            let (outgoing, texts) = (&mut caching.outgoing, &mut caching.texts);
            caching.prefixes.tell(texts, |to, text| outgoing[to.core].add(to.socket, Reason::Broadcast, text));
        }
        let own = std::mem::take(&mut caching.outgoing[self.id]);
        caching.passed_over = 0;
        self.on_told(io, self.id, &own);
        for core in (0..self.shared.shards).filter(|core| *core != self.id) {
            if self.caching.outgoing[core].is_empty() {
                continue;
            }
            if io.outbox_len(core) > OUTBOX_BATCHES {
                // What waits for a core that is behind grows in one piece, up to the limit of such a piece.
                continue;
            }
            let messages = std::mem::take(&mut self.caching.outgoing[core]);
            io.post(core, Message::Changed(Box::new(messages)));
        }
    }

    /// Hands a core's messages to the clients they are for.
    pub(super) fn on_told(&mut self, io: &mut ShardIo, from: usize, messages: &Messages) {
        for (Notice { socket, reason, .. }, value) in messages.iter() {
            let told = self.with_connection(*socket, |shard, connection| {
                let client = &mut connection.client;
                match reason {
                    Reason::Redirected(_) => shard.push_change(client, value),
                    reason => shard.tell_for(client, *reason, value),
                }
            });
            if let (None, Reason::Redirected(origin)) = (told, *reason) {
                let lost = move |shard: &mut Shard, _: &mut ShardIo| {
                    shard.with_connection(origin, |shard, connection| shard.lose_redirect(&mut connection.client));
                };
                io.post(from, Message::Run(Box::new(lost)));
            }
        }
    }

    /// Tells a client, if it still tracks in the way that the message is for.
    fn tell_for(&mut self, client: &mut Client, reason: Reason, value: Value<'_>) {
        let Some(settings) = &client.tracking else { return };
        let listens = settings.mode == Mode::Broadcast;
        let wanted = match reason {
            Reason::Read => !listens,
            Reason::Own => !listens && !settings.noloop,
            Reason::Broadcast => listens,
            Reason::Redirected(_) => false,
        };
        if wanted {
            self.tell_changed(client, value);
        }
    }

    /// Tells a client that tracks, or the one it redirects to.
    fn tell_changed(&mut self, client: &mut Client, value: Value<'_>) {
        let Some(settings) = &client.tracking else { return };
        let Some(Redirect { target, .. }) = settings.redirect else {
            if client.proto == Proto::Resp3 {
                self.push_change(client, value);
            }
            return;
        };
        // As in Redis, it is the client that tracks whose protocol a null is written in.
        let value = match value {
            Value::Anything => Value::Text(null(client.proto)),
            Value::Text(_) => value,
        };
        match (target, value) {
            (Some(target), _) if target.core == self.id && target.socket == client.socket => {
                self.push_change(client, value);
            }
            (Some(target), _) if target.core == self.id => {
                let told = self.with_connection(target.socket, |shard, connection| {
                    shard.push_change(&mut connection.client, value);
                });
                if told.is_none() {
                    self.lose_redirect(client);
                }
            }
            (Some(target), Value::Text(text)) => {
                let text = self.caching.texts.text(text.to_vec());
                self.caching.tell(target, Reason::Redirected(client.socket), &text);
            }
            (Some(_), Value::Anything) | (None, _) => self.lose_redirect(client),
        }
    }

    /// Writes what has changed to a client, in the form that it understands, if there is one.
    fn push_change(&mut self, client: &mut Client, value: Value<'_>) {
        let value = match value {
            Value::Text(text) => text,
            Value::Anything => null(client.proto),
        };
        if client.proto == Proto::Resp3 {
            self.push(client, |out| {
                out.push(2);
                out.bulk_str("invalidate");
                out.raw(value);
            });
        } else if client.subscribed {
            self.push(client, |out| {
                out.array(3);
                out.bulk_str("message");
                out.bulk_str(CHANNEL);
                out.raw(value);
            });
        }
    }

    /// A message was lost, as the client that should have got it is gone.
    fn lose_redirect(&mut self, client: &mut Client) {
        let Some(redirect) = client.tracking.as_mut().and_then(|settings| settings.redirect.as_mut()) else { return };
        redirect.target = None;
        let id = redirect.id as i64;
        if client.proto == Proto::Resp3 {
            self.push(client, |out| {
                out.push(2);
                out.bulk_str("tracking-redir-broken");
                out.int(id);
            });
        }
    }

    /// Sends a client what is not an answer, behind every answer that it waits for.
    fn push(&mut self, client: &mut Client, write: impl FnOnce(&mut Writer<'_>)) {
        if client.overflowed || client.stall.has(Stall::ENDING) {
            return;
        }
        let proto = client.proto;
        if client.stall.has(Stall::WORKING) {
            write(&mut Writer::new(client.held.get_or_insert_default(), proto));
        } else if client.replies.is_empty() {
            self.ready_output(client);
            write(&mut Writer::new(&mut client.out, proto));
        } else {
            client.replies.stash(|out| write(&mut Writer::new(out, proto)));
        }
        let limits = &self.config.client_output_buffer_limit;
        let limit = if client.subscribed { limits.pubsub } else { limits.normal };
        client.overflowed = limit.hard_bytes > 0 && client.output_bytes() as u64 > limit.hard_bytes;
        self.touch(client);
    }
}

fn null(proto: Proto) -> &'static [u8] {
    match proto {
        Proto::Resp2 => b"$-1\r\n",
        Proto::Resp3 => b"_\r\n",
    }
}
