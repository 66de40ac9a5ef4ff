//! MULTI, EXEC, DISCARD, WATCH and UNWATCH; and SWAPDB, which concerns all watched keys of two databases.

use std::rc::Rc;

use crate::commands::lookup::CommandId;
use crate::commands::{Error, Outcome, Server};
use crate::keyspace::slot;
use crate::resp::{Args, Out, Writer};
use crate::shard::checkout::lock_key;
use crate::shard::client::Client;
use crate::shard::fanout::Call;
use crate::shard::locks::{Claims, Mode};
use crate::shard::watch::Watched;
use crate::shard::{Message, Shard, ShardIo};
use crate::types::numbers::parse_i64;

const WATCH_INSIDE: Error = Error::text("ERR WATCH inside MULTI is not allowed");

impl Shard {
    pub(super) fn transaction_command(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        server: Server,
        args: &Args<'_>,
    ) {
        match server {
            // Its replies are those of the block.
            Server::Exec => {
                if let Err(error) = self.exec(io, client) {
                    self.answer(client, id, args, |_, _, _| Err(error));
                }
            }
            Server::Watch => self.watch(io, client, id, args),
            _ => self.answer(client, id, args, |shard, client, out| {
                shard.change_block(io, client, server)?;
                Writer::new(out, client.proto).ok();
                Ok(())
            }),
        }
    }

    fn change_block(&mut self, io: &mut ShardIo, client: &mut Client, server: Server) -> Outcome {
        match server {
            Server::Multi => self.multi(client),
            Server::Discard => self.discard_block(io, client),
            _ => {
                self.unwatch(io, client);
                Ok(())
            }
        }
    }

    // On the client's core

    fn watch(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, args: &Args<'_>) {
        if client.modes.in_multi {
            return self.answer(client, id, args, |_, _, _| Err(WATCH_INSIDE));
        }
        let mut new: Vec<Watched> = Vec::new();
        for key in args.iter_from(1) {
            let hash = self.keyspace.hasher().hash(key);
            let watched = Watched { db: client.database, hash, key: key.into(), version: 0, expired: false };
            let same = |known: &Watched| known.db == watched.db && known.key == watched.key;
            if !client.watched.iter().chain(&new).any(same) {
                new.push(watched);
            }
        }
        let shards = self.shared.shards;
        let here = |watched: &Watched| slot::shard_of(watched.hash.slot, shards) == self.id;
        if !self.gates.locks && new.iter().all(here) {
            self.watch_here(io, &mut new);
            client.watched.append(&mut new);
            return self.answer(client, id, args, |_, client, out| {
                Writer::new(out, client.proto).ok();
                Ok(())
            });
        }
        self.start_call(client, id, args, move |call| watch_everywhere(call, new));
    }

    /// Forgets what a client watches, and what its running block depended on.
    pub(in crate::shard) fn unwatch(&mut self, io: &mut ShardIo, client: &mut Client) {
        let mut watched = std::mem::take(&mut client.watched);
        watched.append(&mut client.unwatch_after);
        self.forget_watched(io, watched);
    }

    /// Tells the owners of watched keys that one client less watches them.
    pub(in crate::shard) fn forget_watched(&mut self, io: &mut ShardIo, watched: Vec<Watched>) {
        if watched.is_empty() {
            return;
        }
        let mut parts = by_shard(watched, self.shared.shards);
        for watched in std::mem::take(&mut parts[self.id]) {
            self.unwatch_here(&watched);
        }
        for (shard, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let forget = move |shard: &mut Shard, _: &mut ShardIo| {
                part.iter().for_each(|watched| shard.unwatch_here(watched));
            };
            io.post(shard, Message::Run(Box::new(forget)));
        }
    }

    // On the owner's core

    /// Begins to watch keys of this core: fills in their versions.
    fn watch_here(&mut self, io: &mut ShardIo, keys: &mut [Watched]) {
        for watched in keys.iter_mut() {
            // What has expired is gone before it is watched, or its going would count as a change.
            let due = self.keyspace.remove_due_key(watched.db, watched.hash, &watched.key, self.now_ms);
            watched.expired = due && self.keyspace.has_hash(watched.db, watched.hash);
        }
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, None);
        }
        for watched in keys {
            watched.version = self.watches.watch(watched.db, watched.hash);
        }
        self.set_gates();
    }

    pub(in crate::shard) fn unwatch_here(&mut self, watched: &Watched) {
        self.watches.unwatch(watched.db, watched.hash);
        if self.watches.is_empty() {
            self.set_gates();
        }
    }

    /// Whether a key of this core is as it was when it began to be watched. One that has expired meanwhile is not.
    pub(in crate::shard) fn is_unchanged(&mut self, io: &mut ShardIo, watched: &Watched) -> bool {
        let gone = self.keyspace.remove_due_key(watched.db, watched.hash, &watched.key, self.now_ms);
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, None);
        }
        (!gone || watched.expired) && self.watches.is_unchanged(watched)
    }

    /// All keys of a database go, or others come in their place: those count as changed that are there before or after.
    pub(in crate::shard) fn database_changes(&mut self, db: usize, other: Option<usize>) {
        for hash in self.watches.in_database(db) {
            let there = |db: usize| self.keyspace.has_hash(db, hash);
            if there(db) || other.is_some_and(there) {
                self.watches.modified(db, hash);
            }
        }
    }

    fn swap_databases(&mut self, a: usize, b: usize) {
        self.database_changes(a, Some(b));
        self.database_changes(b, Some(a));
        self.keyspace.swap_db(a, b);
        self.database_changed(a);
        self.database_changed(b);
    }
}

fn by_shard(watched: Vec<Watched>, shards: usize) -> Vec<Vec<Watched>> {
    let mut parts: Vec<Vec<Watched>> = (0..shards).map(|_| Vec::new()).collect();
    for watched in watched {
        parts[slot::shard_of(watched.hash.slot, shards)].push(watched);
    }
    parts
}

/// WATCH of keys on several cores, or of locked ones: each owner answers when no change of them is under way.
async fn watch_everywhere(call: Rc<Call>, new: Vec<Watched>) -> Result<Out, Error> {
    let mut all = Vec::new();
    for (shard, mut part) in by_shard(new, call.shards()).into_iter().enumerate() {
        if part.is_empty() {
            continue;
        }
        let mut claims = Claims::new();
        part.iter().for_each(|watched| claims.add(lock_key(watched.hash), Mode::Shared));
        let watch = move |shard: &mut Shard, io: &mut ShardIo| {
            shard.watch_here(io, &mut part);
            part
        };
        all.extend(call.on_locked(shard, claims, watch).await.unwrap_or_default());
    }
    call.here(|shard, io| {
        let keep = shard.with_connection(call.socket, |_, connection| connection.client.watched.append(&mut all));
        if keep.is_none() {
            shard.forget_watched(io, all);
        }
    });
    call.ok()
}

pub async fn swap_db(call: Rc<Call>) -> Result<Out, Error> {
    let args = call.args();
    let index = |i: usize, what: &'static str| {
        parse_i64(args.get(i)).and_then(|n| i32::try_from(n).ok()).ok_or(Error::text(what))
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    let databases = call.here(|shard, _| shard.config.databases as i64);
    let fits = |db: i32| (0..databases).contains(&i64::from(db));
    if !fits(first) || !fits(second) {
        return Err(Error::text("ERR DB index is out of range"));
    }
    let (a, b) = (first as usize, second as usize);
    let lock = call.lock_all(Mode::Exclusive).await;
    if a != b {
        call.on_all(move |shard, _| shard.swap_databases(a, b)).await;
    }
    call.here(|shard, _| {
        shard.changes += 1;
        shard.log_call(&call);
    });
    call.unlock(lock);
    call.ok()
}
