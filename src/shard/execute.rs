//! A command over keys: which core it runs on, running it here, and booking it.

use super::batch::Response;
use super::client::Client;
use super::dispatch::Step;
use super::{Shard, ShardIo};
use crate::commands::lookup::{CommandId, Commands};
use crate::commands::sort::looks_elsewhere;
use crate::commands::{Command, Ctx, Flags, Outcome, keys};
use crate::keyspace::{ExpiryMode, KeyHash, slot};
use crate::observe::slowlog::Sender;
use crate::observe::stats::CallResult;
use crate::rdb::Compression;
use crate::resp::{Args, Out, Proto, Writer};
use crate::runtime::clock;
use crate::tracking::Tracker;

/// The keys of a command, as far as routing cares.
enum Place {
    /// Here, or without keys.
    Here,
    There(usize),
    /// On several cores.
    Many,
    /// Here, and the command may wait for them.
    Blocks,
    /// Wherever its elements say.
    Elsewhere,
}

impl Shard {
    #[inline]
    pub(super) fn execute_data(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        call: &Call,
        args: &Args<'_>,
        slot: Option<u16>,
    ) -> Step {
        match self.place(call.id, args, slot) {
            Place::Here if self.gates.locks && !self.is_free(call.id, args) => self.defer_here(client, call, args),
            Place::Here => self.execute_here(io, client, call, args),
            Place::There(shard) => self.execute_there(io, client, call, shard, args, slot),
            Place::Many => return self.execute_many(io, client, call, args),
            Place::Elsewhere => self.sort_elsewhere(client, call.id, args),
            Place::Blocks if self.gates.locks => return self.execute_many(io, client, call, args),
            Place::Blocks => {
                let call = Call { blocks: true, ..*call };
                self.execute_blocking(io, client, &call, args);
            }
        }
        Step::Done
    }

    #[inline]
    fn place(&self, id: CommandId, args: &Args<'_>, slot: Option<u16>) -> Place {
        let shards = self.shared.shards;
        if shards == 1 {
            return if matches!(self.routes[id.index()], Route::Blocking) { Place::Blocks } else { Place::Here };
        }
        let at = |shard: usize| if shard == self.id { Place::Here } else { Place::There(shard) };
        match self.routes[id.index()] {
            Route::Keyless => Place::Here,
            Route::One(index) => {
                let slot = slot.unwrap_or_else(|| slot::slot(args.get(index.into())));
                at(slot::shard_of(slot, shards))
            }
            Route::Many if looks_elsewhere(self.commands.get(id).name, args) => Place::Elsewhere,
            route @ (Route::Many | Route::Blocking) => {
                let mut first = None;
                let mut several = false;
                let found = keys::for_each_key(self.commands.get(id), args, |index| {
                    let shard = slot::shard_of(slot::slot(args.get(index)), shards);
                    several |= *first.get_or_insert(shard) != shard;
                });
                match (found, several) {
                    (Ok(()), true) => Place::Many,
                    // It may not wait on another core than its client's.
                    (Ok(()), false) if matches!(route, Route::Blocking) => match first.map_or(Place::Here, at) {
                        Place::There(_) => Place::Many,
                        _ => Place::Blocks,
                    },
                    // Arguments that name no keys are the handler's to refuse.
                    (Ok(()), false) | (Err(_), _) => first.map_or(Place::Here, at),
                }
            }
        }
    }

    #[inline]
    pub(super) fn execute_here(&mut self, io: &mut ShardIo, client: &mut Client, call: &Call, args: &Args<'_>) {
        let response = self.run_here(io, client, call, args);
        self.book_run(client, call.id, args, &response);
    }

    /// Runs a command on the client's core, and lets follow what follows from its changes.
    #[inline(always)]
    pub(super) fn run_here(&mut self, io: &mut ShardIo, client: &mut Client, call: &Call, args: &Args<'_>) -> Response {
        let response = if client.replies.is_empty() {
            self.ready_output(client);
            self.run_handler(call, args, &mut client.out)
        } else {
            client.replies.stash(|out| self.run_handler(call, args, out))
        };
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, Some((self.id, client.socket)));
            self.tell_late(client);
            self.hold_back(io, client);
        }
        if call.tracks {
            self.remember_reads(io, call.id, args, Tracker { core: self.id, socket: client.socket });
        }
        response
    }

    /// Books a command that has run on the client's core, and sees to its reply.
    #[inline(always)]
    pub(super) fn book_run(&mut self, client: &mut Client, id: CommandId, args: &Args<'_>, response: &Response) {
        self.record(id, response);
        if self.is_slow(response.nanoseconds) {
            self.note_slow(client, id, response.nanoseconds, args);
        }
        self.touch(client);
    }

    /// Whether a command counts as an access to its keys.
    #[inline]
    pub(super) fn touches(&self, client: &Client, id: CommandId) -> bool {
        !client.no_touch || self.commands.get(id).name == "touch"
    }

    /// Runs a data command over this shard's keys.
    pub(super) fn run_handler(&mut self, call: &Call, args: &Args<'_>, out: &mut Out) -> Response {
        let Call { id, handler, database, proto, touches, hash, visiting, blocks, applied, .. } = *call;
        self.policy.touches = touches;
        let start = out.buf.len();
        let attached = out.attached.len();
        // Not within a block: room was made before it, as in Redis, and what it writes down may be ordered behind what other clients do meanwhile to
        // keys that it does not name.
        let needs_room = self.gates.memory_limit && !self.log.is_in_block();
        let refused = if needs_room { self.make_room(id) } else { Ok(()) };
        let logs = self.log.is_on();
        // On a replica it is the primary that writes, for whom time stands still: also in what a reading command keeps in a value. A write that a
        // pause came too late for is as any other.
        let rests = self.role.is_replica() || self.gates.paused;
        let leaves_rest = rests && (applied || self.commands.get(id).flags.has(Flags::WRITE));
        if leaves_rest {
            let mode = if self.role.is_replica() { ExpiryMode::Ignored } else { ExpiryMode::Own };
            self.keyspace.set_expiry_mode(mode);
        }
        let mut changed = false;
        let outcome = refused.and_then(|()| {
            let mut keys = self.keyspace.view(database, self.now_ms, &self.policy);
            if visiting && let Some(guests) = &mut self.guests {
                keys = keys.with_guests(guests);
            }
            if let (Some(hash), Route::One(index)) = (hash, self.routes[id.index()]) {
                keys.know(args.get(index.into()), hash);
            }
            let out = Writer::new(out, proto);
            let blocking = if blocks { Some(&mut self.blocking) } else { None };
            let propagation = self.propagation.begin(logs);
            let max_bulk_bytes = self.config.proto_max_bulk_len;
            let encodings = &self.encodings;
            let compression = Compression::from_directive(self.config.rdbcompression);
            let mut ctx = Ctx { keys, out, max_bulk_bytes, encodings, compression, dirty: 0, blocking, propagation };
            let outcome = handler(&mut ctx, args);
            self.changes += ctx.dirty;
            changed = ctx.dirty > 0;
            outcome
        });
        if logs {
            self.log_write(database, args, changed);
        }
        if leaves_rest {
            self.rest_expiry_mode();
        }
        let failed = outcome.is_err();
        if let Err(error) = outcome {
            out.buf.truncate(start);
            out.attached.truncate(attached);
            Writer::new(out, proto).error(error.message());
            self.stats.record_error(error.message());
        }
        let nanoseconds = self.lap();
        Response { end: out.buf.len(), nanoseconds, failed, deferred: false }
    }

    /// The time since the clock was last read, in nanoseconds. One reading ends a command and begins the next, so a command's duration
    /// includes its parsing and routing.
    #[inline]
    pub(super) fn lap(&mut self) -> u64 {
        let now = clock::ticks();
        self.rate.nanoseconds(std::mem::replace(&mut self.lap_started, now), now)
    }

    #[inline]
    pub(super) fn is_slow(&self, nanoseconds: u64) -> bool {
        nanoseconds >= self.slow_nanoseconds
    }

    /// Books a command that has run, on its client's shard.
    pub(super) fn record(&mut self, id: CommandId, response: &Response) {
        let result = if response.failed { CallResult::Failed } else { CallResult::Ok };
        self.stats.record_call(id.index(), response.nanoseconds, result);
    }

    /// Enters a slow command into the log and the latency monitor.
    #[cold]
    pub(super) fn note_slow(&mut self, client: &Client, id: CommandId, nanoseconds: u64, args: &Args<'_>) {
        let flags = self.commands.get(id).flags;
        let now_s = self.now_ms / 1000;
        if self.slow_log.is_slow(nanoseconds / 1000) && !flags.has(Flags::SKIP_SLOWLOG) {
            let sender = Sender { addr: &client.address(), name: client.name.as_bytes() };
            self.slow_log.push(now_s, nanoseconds / 1000, args, sender);
        }
        let event = if flags.has(Flags::FAST) { "fast-command" } else { "command" };
        self.latency.observe(event, now_s, nanoseconds / 1_000_000);
    }
}

/// A data command about to run.
pub(super) struct Call {
    pub id: CommandId,
    pub handler: DataHandler,
    pub database: usize,
    pub proto: Proto,
    /// Whether it counts as an access to its keys.
    pub touches: bool,
    /// Whether the keys it reads are to be remembered.
    pub tracks: bool,
    /// Whether it comes from this node's primary.
    pub applied: bool,
    /// Of its single key, if that was computed already.
    pub hash: Option<KeyHash>,
    /// Keys of other cores are at hand.
    pub visiting: bool,
    /// Whether it may wait for a key.
    pub blocks: bool,
}

impl Call {
    /// A client's command on keys of this core, in its selected database; it does not wait for any.
    #[inline]
    pub fn of(client: &Client, id: CommandId, handler: DataHandler, touches: bool) -> Call {
        Call {
            id,
            handler,
            database: client.database,
            proto: client.proto,
            touches,
            tracks: client.tracks,
            applied: client.modes.applies,
            hash: None,
            visiting: false,
            blocks: false,
        }
    }
}

pub(super) type DataHandler = fn(&mut Ctx<'_>, &Args<'_>) -> Outcome;

/// How a command finds its core.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// It names no keys: any core will do.
    Keyless,
    /// Its one key is this argument.
    One(u8),
    /// Its keys are to be looked for.
    Many,
    /// The same, and it may wait for them.
    Blocking,
}

impl Route {
    /// The route of every command, by id.
    pub fn table(commands: &Commands) -> Vec<Route> {
        (0..commands.count()).map(|id| Route::of(commands.get(CommandId(id as u16)))).collect()
    }

    fn of(command: &Command) -> Route {
        match keys::single_key(command) {
            _ if command.flags.has(Flags::BLOCKING) && !command.keys.is_empty() => Route::Blocking,
            Some(index) => Route::One(index),
            None if command.keys.is_empty() => Route::Keyless,
            None => Route::Many,
        }
    }
}
