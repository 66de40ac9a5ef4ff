//! From bytes to an executed command: parse, check, route, run, answer.

use super::batch::{Batch, Message, Origin, Request, Response};
use super::checkout::{Plan, for_each_claim, lock_key, mode};
use super::client::{Client, Connection, Input, Stall};
use super::limits::{BATCH_BYTES, BATCH_COMMANDS, COMMANDS_A_TURN, OUTBOX_BATCHES, REPLIES_WAITING};
use super::locks::{Claims, Mode};
use super::lookahead::Known;
use super::multi::{NOT_IN_BLOCK, aborted_by};
use super::server::is_for_subscribers;
use super::transaction::Waiter;
use super::{Shard, ShardIo};
use crate::commands::clients::ReplyMode;
use crate::commands::lookup::{CommandId, Commands};
use crate::commands::{Command, Ctx, Error, Flags, Handler, Outcome, Server, keys};
use crate::keyspace::{KeyHash, slot};
use crate::observe::monitor;
use crate::observe::slowlog::Sender;
use crate::observe::stats::CallResult;
use crate::resp::parser::{Limits, Parsed};
use crate::resp::{Args, Out, Proto, Writer};
use crate::runtime::clock;
use crate::tracking::Tracker;

/// Why parsing stopped.
enum Stop {
    /// What is left is not a whole command, or may not run yet.
    Rest,
    /// A large value begins behind that many bytes of the rest.
    Large { header: usize },
}

/// What became of a command.
enum Step {
    Done,
    /// It waits for EXEC.
    Queued,
    /// It has to wait; it is to be executed again from the start later.
    Wait,
}

/// The keys of a command, as far as routing cares.
enum Place {
    /// Here, or without keys.
    Here,
    There(usize),
    /// On several cores.
    Many,
    /// Here, and the command may wait for them.
    Blocks,
}

const DEBUG_NOT_ALLOWED: Error = Error::text(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
const NOAUTH: Error = Error::text("NOAUTH Authentication required.");

const ONLY_FOR_SUBSCRIBERS: &[u8] =
    b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";

/// A message may follow messages that other cores still deliver, as no core is sent a later one before an earlier one.
fn overtakes_none(client: &Client, command: &Command) -> bool {
    matches!(command.handler, Handler::Server(Server::Publish | Server::Spublish)) && !client.replies.await_data()
}

/// Keeps the unparsed rest. Of a large value only the header is kept; what follows it is returned.
fn keep(kept: &mut Vec<u8>, rest: &[u8], stop: Stop) -> Option<Vec<u8>> {
    match stop {
        Stop::Rest => {
            kept.extend_from_slice(rest);
            None
        }
        Stop::Large { header } => {
            kept.extend_from_slice(&rest[..header]);
            Some(rest[header..].to_vec())
        }
    }
}

impl Shard {
    /// Takes bytes of a client and executes what they complete.
    pub(super) fn receive(&mut self, io: &mut ShardIo, connection: &mut Connection, data: &[u8]) {
        let mut data = data;
        if connection.client.stall.has(Stall::ENDING) {
            return;
        }
        if let Some(large) = connection.input.parser.large()
            && !large.is_full()
        {
            let taken = large.fill(data);
            data = &data[taken..];
            if !large.is_full() {
                return;
            }
        }
        let rest_of_large = if connection.input.bytes.is_empty() {
            let (consumed, stop) = self.run(io, connection, data);
            keep(&mut connection.input.bytes, &data[consumed..], stop)
        } else {
            connection.input.bytes.extend_from_slice(data);
            if connection.client.stall.any() {
                return;
            }
            let mut bytes = std::mem::take(&mut connection.input.bytes);
            let (consumed, stop) = self.run(io, connection, &bytes);
            if let Stop::Large { .. } = stop {
                keep(&mut connection.input.bytes, &bytes[consumed..], stop)
            } else {
                bytes.drain(..consumed);
                if bytes.is_empty() && bytes.capacity() > super::limits::KEEP_BUFFER_BYTES {
                    bytes = Vec::new();
                }
                connection.input.bytes = bytes;
                None
            }
        };
        // A large value has begun: what came with its header belongs to it.
        if let Some(rest) = rest_of_large {
            self.receive(io, connection, &rest);
        }
    }

    /// Executes the commands in `bytes`; how many bytes they took.
    fn run(&mut self, io: &mut ShardIo, connection: &mut Connection, bytes: &[u8]) -> (usize, Stop) {
        self.lap_started = clock::ticks();
        let Connection { input: Input { parser, parsed, .. }, client } = connection;
        let mut at = 0;
        let mut commands = 0;
        let mut limits = self.request_limits(client);
        while !client.stall.any() {
            let rest = &bytes[at..];
            if parsed.is_none() && client.authenticated && parser.is_idle() {
                let (length, count) = self.run_ahead(io, client, rest, &limits);
                at += length;
                commands += count;
                if count > 0 {
                    self.end_turn(client, commands);
                    continue;
                }
                if client.stall.any() {
                    break;
                }
            }
            let length = match parsed.take() {
                Some(length) => length,
                None => {
                    limits.authenticated = client.authenticated;
                    match parser.parse(rest, &limits) {
                        Ok(Parsed::Command { consumed }) => consumed,
                        Ok(Parsed::Nothing { consumed }) => {
                            at += consumed;
                            continue;
                        }
                        Ok(Parsed::Incomplete) => break,
                        Ok(Parsed::Large { header }) => return (at, Stop::Large { header }),
                        Err(error) => {
                            self.refuse(client, &Error::concat(&[b"ERR ", &error.message()]));
                            parser.reset();
                            return (bytes.len(), Stop::Rest);
                        }
                    }
                }
            };
            match self.execute(io, client, &parser.args(rest), Known::default()) {
                Step::Done | Step::Queued => {
                    at += length;
                    parser.reset();
                }
                Step::Wait => {
                    *parsed = Some(length);
                    break;
                }
            }
            commands += 1;
            self.end_turn(client, commands);
        }
        (at, Stop::Rest)
    }

    /// Reads several commands ahead and executes them: how many bytes and commands that were.
    fn run_ahead(&mut self, io: &mut ShardIo, client: &mut Client, bytes: &[u8], limits: &Limits) -> (usize, usize) {
        let mut ahead = self.lookahead.take().unwrap_or_default();
        self.read_ahead(&mut ahead, client.database, bytes, limits);
        let (mut length, mut count) = (0, 0);
        while count < ahead.len() && !client.stall.any() {
            let (args, known) = ahead.get(count, bytes);
            if let Step::Wait = self.execute(io, client, &args, known) {
                break;
            }
            length = ahead.end(count);
            count += 1;
        }
        ahead.clear();
        self.lookahead = Some(ahead);
        (length, count)
    }

    /// Lets others have a turn after so many commands of one client.
    fn end_turn(&mut self, client: &mut Client, commands: usize) {
        if commands >= COMMANDS_A_TURN && !client.stall.any() {
            client.stall.add(Stall::TURN);
            self.resume.push(client.socket);
        }
    }

    fn request_limits(&self, client: &Client) -> Limits {
        Limits {
            max_bulk_bytes: self.config.proto_max_bulk_len,
            max_inline_bytes: self.config.proto_inline_max_size as usize,
            authenticated: client.authenticated,
            ..Limits::default()
        }
    }

    #[inline]
    fn execute(&mut self, io: &mut ShardIo, client: &mut Client, args: &Args<'_>, known: Known) -> Step {
        if client.reply_mode == ReplyMode::On {
            return self.execute_answered(io, client, args, known);
        }
        self.execute_muted(io, client, args)
    }

    /// CLIENT REPLY OFF or SKIP: executes a command and drops its reply.
    #[cold]
    fn execute_muted(&mut self, io: &mut ShardIo, client: &mut Client, args: &Args<'_>) -> Step {
        let (bytes, attached, waiting) = (client.out.buf.len(), client.out.attached.len(), client.replies.len());
        let mode = std::mem::take(&mut client.reply_mode);
        client.muted = true;
        let step = self.execute_answered(io, client, args, Known::default());
        // CLIENT REPLY ON and RESET have set another mode, and answer.
        if client.muted {
            client.out.buf.truncate(bytes);
            client.out.attached.truncate(attached);
            client.replies.unstash(waiting);
            client.muted = client.stall.has(Stall::WORKING) || client.stall.has(Stall::BLOCKED);
            self.tell_late(client);
            if mode == ReplyMode::Off || matches!(step, Step::Wait) {
                client.reply_mode = mode;
            }
        }
        step
    }

    fn execute_answered(&mut self, io: &mut ShardIo, client: &mut Client, args: &Args<'_>, known: Known) -> Step {
        let resolved = match known.command {
            Some(id) => self.commands.check(id, args),
            None => self.commands.resolve(args),
        };
        let (id, command) = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                let known = self.commands.lookup(args);
                if let Some(id) = known {
                    self.stats.record_rejected(id.index());
                }
                self.end_caching(client, known);
                // As Redis, which asks for a password only before a command that it knows.
                self.refuse_command(io, client, known, &error);
                return Step::Done;
            }
        };
        if (!client.authenticated | client.subscribed)
            && let Err(error) = self.may_run(client, id, command)
        {
            return self.reject(io, client, id, &error);
        }
        if command.flags.has(Flags::BARRIER) {
            if !client.replies.is_empty() && !overtakes_none(client, command) {
                client.stall.add(Stall::BARRIER);
                return Step::Wait;
            }
            if command.flags.has(Flags::SYSCMD) && !self.may_debug(client) {
                return self.reject(io, client, id, &DEBUG_NOT_ALLOWED);
            }
        }
        if self.gates.any() {
            return self.execute_gated(io, client, id, command, args, known);
        }
        self.execute_command(io, client, id, command, args, known)
    }

    /// Whether a client that has not authenticated, or that is a subscriber, may use a command.
    #[cold]
    fn may_run(&self, client: &Client, id: CommandId, command: &Command) -> Outcome {
        if !client.authenticated && !command.flags.has(Flags::NO_AUTH) {
            return Err(NOAUTH);
        }
        if client.subscribed && client.proto == Proto::Resp2 && !is_for_subscribers(command) {
            let name = self.commands.full_name(id).as_bytes();
            return Err(Error::concat(&[b"ERR Can't execute '", name, ONLY_FOR_SUBSCRIBERS]));
        }
        Ok(())
    }

    #[inline(always)]
    fn execute_command(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        command: &Command,
        args: &Args<'_>,
        known: Known,
    ) -> Step {
        client.last_command = Some(id);
        if client.modes.any()
            && let Some(step) = self.execute_in_mode(io, client, id, command, args)
        {
            return step;
        }
        match command.handler {
            Handler::Data(handler) => {
                let (database, proto, touches) = (client.database, client.proto, self.touches(client, id));
                let call = Call {
                    id,
                    handler,
                    database,
                    proto,
                    touches,
                    tracks: client.tracks,
                    hash: known.hash,
                    visiting: false,
                    blocks: false,
                };
                self.execute_data(io, client, &call, args, known.slot)
            }
            Handler::Server(server) => {
                self.execute_server(io, client, id, server, args);
                Step::Done
            }
            // Every container's bare name fails its arity.
            Handler::Container => self.reject(io, client, id, &Error::Syntax),
        }
    }

    /// Refuses a command before it runs.
    #[cold]
    fn reject(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, error: &Error) -> Step {
        self.stats.record_rejected(id.index());
        self.refuse_command(io, client, Some(id), error);
        Step::Done
    }

    /// Answers a command that was refused. In a MULTI block that is the end of the block; a refused EXEC says so.
    fn refuse_command(&mut self, io: &mut ShardIo, client: &mut Client, id: Option<CommandId>, error: &Error) {
        if let Some(multi) = &mut client.multi {
            multi.fail();
        }
        if id == Some(self.exec_id) {
            self.forget_block(client);
            self.unwatch(io, client);
            let error = aborted_by(error);
            return self.reply_error(client, &error);
        }
        self.reply_error(client, error);
    }

    /// What a client in some mode may not simply execute. `None`: it may.
    #[cold]
    fn execute_in_mode(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        command: &Command,
        args: &Args<'_>,
    ) -> Option<Step> {
        if client.modes.in_multi && !ends_or_spares_block(command) {
            let outcome = if command.flags.has(Flags::NO_MULTI) {
                Err(NOT_IN_BLOCK)
            } else {
                self.enqueue(client, id, command, args)
            };
            if let Err(error) = outcome {
                return Some(self.reject(io, client, id, &error));
            }
            self.reply(client, |out| {
                out.simple("QUEUED");
                Ok(())
            });
            return Some(Step::Queued);
        }
        None
    }

    /// As [`Shard::execute_command`], with what is looked at only while some rare thing is on.
    #[cold]
    fn execute_gated(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        command: &Command,
        args: &Args<'_>,
        known: Known,
    ) -> Step {
        if self.gates.paused && self.pauses(client, id, command) {
            client.stall.add(Stall::PAUSE);
            self.waiting_pause.push(client.socket);
            return Step::Wait;
        }
        let step = self.execute_command(io, client, id, command, args, known);
        if client.tracking.is_some() && matches!(step, Step::Done) {
            self.after_command(client, id);
        }
        // As in Redis, what ran is shown: a SELECT with the database it switched to.
        // EXEC comes behind the commands of its block, whenever that has run.
        let shown = monitor::is_shown(command.flags) && !(id == self.exec_id && client.stall.has(Stall::TRANSACTION));
        if self.gates.monitors && shown && matches!(step, Step::Done) {
            self.feed_monitors(io, client, args);
        }
        step
    }

    fn pauses(&self, client: &Client, id: CommandId, command: &Command) -> bool {
        match self.pause {
            None => false,
            Some(pause) if pause.writes_only => {
                let block = client.multi.as_ref().filter(|_| id == self.exec_id);
                let flags = block.map_or(command.flags, |multi| multi.flags());
                flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)
            }
            // The client that ends the pause must get through.
            Some(_) => !self.commands.full_name(id).starts_with("client|"),
        }
    }

    // Data commands

    #[inline]
    fn execute_data(
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
            Place::There(shard) => self.execute_there(io, client, call, shard, args),
            Place::Many => return self.execute_many(io, client, call, args),
            Place::Blocks if self.gates.locks => return self.execute_many(io, client, call, args),
            Place::Blocks => {
                let call = Call { blocks: true, ..*call };
                self.execute_blocking(io, client, &call, args);
            }
        }
        Step::Done
    }

    /// A command with keys on several cores, which become one's for its time.
    fn execute_many(&mut self, io: &mut ShardIo, client: &mut Client, call: &Call, args: &Args<'_>) -> Step {
        if !client.replies.is_empty() {
            client.stall.add(Stall::BARRIER);
            return Step::Wait;
        }
        let mut plan = Plan::new(self.shared.shards, client.socket);
        plan.command(&self.keyspace, self.commands.get(call.id), args, call.database);
        let batch = self.batch_of(client, call, 0, args);
        self.start_transaction(io, client, plan, batch);
        Step::Done
    }

    /// A batch of one command.
    fn batch_of(&mut self, client: &Client, call: &Call, sequence: u32, args: &Args<'_>) -> Box<Batch> {
        let origin = origin_of(client, call, sequence);
        let mut batch = self.spare_batches.pop().unwrap_or_default();
        batch.push(origin, call.id, args);
        batch
    }

    /// A command on keys of this core that are locked: it waits for them.
    #[cold]
    fn defer_here(&mut self, client: &mut Client, call: &Call, args: &Args<'_>) {
        let sequence = if client.muted { client.replies.wait_muted() } else { client.replies.wait() };
        let batch = self.batch_of(client, call, sequence, args);
        self.defer(self.id, batch);
        if client.replies.len() >= REPLIES_WAITING {
            client.stall.add(Stall::REPLIES);
        }
    }

    /// Lets a batch wait for the locks of all its keys.
    #[cold]
    fn defer(&mut self, from: usize, batch: Box<Batch>) {
        let mut claims = Claims::new();
        for request in &batch.requests {
            for_each_claim(self.commands.get(request.command), &batch.args(request), 0, |_, key, changes| {
                claims.add(lock_key(self.keyspace.hasher().hash(key)), mode(changes));
            });
        }
        for watched in batch.block.iter().flat_map(|block| &block.watched) {
            claims.add(lock_key(watched.hash), Mode::Shared);
        }
        self.acquire(&claims, Waiter::Commands { from, batch });
    }

    /// Runs a command whose keys are on several cores and at hand now.
    pub(super) fn run_alone(&mut self, io: &mut ShardIo, client: &mut Client, batch: &Batch) {
        let (bytes, attached) = (client.out.buf.len(), client.out.attached.len());
        self.lap_started = clock::ticks();
        for request in &batch.requests {
            if let Some(call) = self.call_of(request, true) {
                let call = Call { blocks: true, ..call };
                self.execute_blocking(io, client, &call, &batch.args(request));
            }
        }
        if client.blocked.is_none() && std::mem::take(&mut client.muted) {
            client.out.buf.truncate(bytes);
            client.out.attached.truncate(attached);
        }
        self.touch(client);
        self.release(client, Stall::TRANSACTION);
    }

    /// A command that came in a batch. `None` if it is not one over keys, which no batch carries.
    fn call_of(&self, request: &Request, visiting: bool) -> Option<Call> {
        let Handler::Data(handler) = self.commands.get(request.command).handler else { return None };
        let Origin { database, proto, touches, tracks, .. } = request.origin;
        Some(Call {
            id: request.command,
            handler,
            database: usize::from(database),
            proto,
            touches,
            tracks,
            hash: None,
            visiting,
            blocks: false,
        })
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
    fn run_handler(&mut self, call: &Call, args: &Args<'_>, out: &mut Out) -> Response {
        let Call { id, handler, database, proto, touches, hash, visiting, blocks, .. } = *call;
        self.policy.touches = touches;
        let start = out.buf.len();
        let attached = out.attached.len();
        let refused = if self.gates.memory_limit { self.make_room(id) } else { Ok(()) };
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
            let mut ctx = Ctx { keys, out, max_bulk_bytes: self.config.proto_max_bulk_len, dirty: 0, blocking };
            let outcome = handler(&mut ctx, args);
            self.changes += ctx.dirty;
            outcome
        });
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
    fn lap(&mut self) -> u64 {
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

    // Commands for other cores

    fn execute_there(&mut self, io: &mut ShardIo, client: &mut Client, call: &Call, shard: usize, args: &Args<'_>) {
        let sequence = if client.muted { client.replies.wait_muted() } else { client.replies.wait() };
        let origin = origin_of(client, call, sequence);
        let batch = self.outgoing[shard].get_or_insert_with(|| self.spare_batches.pop().unwrap_or_default());
        batch.push(origin, call.id, args);
        self.stats.counters.remote_commands_sent += 1;
        if batch.requests.len() >= BATCH_COMMANDS || batch.bytes() >= BATCH_BYTES {
            self.post_batch(io, shard);
        }
        if io.outbox_len(shard) > OUTBOX_BATCHES {
            client.stall.add(Stall::OUTBOX);
            self.waiting_outbox.push(client.socket);
        }
        if client.replies.len() >= REPLIES_WAITING {
            client.stall.add(Stall::REPLIES);
        }
    }

    pub(super) fn post_batch(&mut self, io: &mut ShardIo, shard: usize) {
        if let Some(batch) = self.outgoing[shard].take() {
            self.stats.counters.batches_sent += 1;
            io.post(shard, Message::Requests(batch));
        }
    }

    pub(super) fn post_batches(&mut self, io: &mut ShardIo) {
        for shard in 0..self.outgoing.len() {
            self.post_batch(io, shard);
        }
    }

    pub fn on_message(&mut self, io: &mut ShardIo, from: usize, message: Message) {
        match message {
            Message::Requests(batch) => self.on_requests(io, from, batch),
            Message::Replies(batch) => self.deliver(io, batch),
            Message::CheckOut(checkout) => self.on_check_out(io, from, checkout),
            Message::CheckedOut(checkout) => self.on_checked_out(io, from, checkout),
            Message::CheckIn(checkout) => self.on_check_in(io, from, checkout),
            Message::Publications(batch) => self.on_publications(io, from, batch),
            Message::Published(batch) => self.on_published(batch),
            Message::Changed(messages) => self.on_told(io, from, &messages),
            Message::Offer(offer) => self.on_offer(io, from, offer),
            Message::Offered(offer) => self.on_offered(io, from, *offer),
            Message::Connection(arrival) => self.on_arrival(io, *arrival),
            Message::Run(job) => job(self, io),
            Message::Answer { token, value } => self.on_answer(token, value),
            Message::Stop => self.stop_serving(io),
        }
        self.run_unlocked(io);
    }

    fn on_requests(&mut self, io: &mut ShardIo, from: usize, mut batch: Box<Batch>) {
        self.stats.counters.remote_commands_executed += batch.requests.len() as u64;
        if batch.block.is_none() {
            self.run_or_defer(io, from, &mut batch);
        } else if self.gates.locks {
            return self.defer(from, batch);
        } else {
            self.run_batch(io, from, &mut batch);
        }
        self.answer_batch(io, from, batch);
    }

    /// Sends a batch that was executed back to where it came from.
    pub(super) fn answer_batch(&mut self, io: &mut ShardIo, from: usize, batch: Box<Batch>) {
        if from == self.id {
            self.deliver(io, batch);
        } else {
            io.post(from, Message::Replies(batch));
        }
    }

    /// Executes commands of a batch whose locks are held, or a block that needs none.
    pub(super) fn run_batch(&mut self, io: &mut ShardIo, from: usize, batch: &mut Batch) {
        self.lap_started = clock::ticks();
        if batch.block.is_some() && !self.check_block(io, batch) {
            return;
        }
        batch.execute(|request, args, out| self.run_request(io, from, request, args, out));
    }

    /// Executes another core's commands. One that meets a lock, which may be there since the command before it, waits in a batch of its own.
    fn run_or_defer(&mut self, io: &mut ShardIo, from: usize, batch: &mut Batch) {
        self.lap_started = clock::ticks();
        batch.execute(|request, args, out| {
            if !self.gates.locks || self.is_free(request.command, args) {
                return self.run_request(io, from, request, args, out);
            }
            let mut waiting = self.spare_batches.pop().unwrap_or_default();
            waiting.push(request.origin, request.command, args);
            self.defer(from, waiting);
            Response { end: out.buf.len(), nanoseconds: 0, failed: false, deferred: true }
        });
    }

    #[inline]
    fn run_request(
        &mut self,
        io: &mut ShardIo,
        from: usize,
        request: &Request,
        args: &Args<'_>,
        out: &mut Out,
    ) -> Response {
        let Some(call) = self.call_of(request, false) else {
            unreachable!("only data commands are sent to other cores");
        };
        let response = self.run_handler(&call, args, out);
        if !self.keyspace.changes.is_empty() {
            self.settle_changes(io, Some((from, request.origin.socket)));
        }
        if call.tracks {
            self.remember_reads(io, call.id, args, Tracker { core: from, socket: request.origin.socket });
        }
        response
    }

    /// Hands another core's replies to the clients that wait for them.
    fn deliver(&mut self, io: &mut ShardIo, batch: Box<Batch>) {
        if let Some(block) = &batch.block {
            self.deliver_block(io, &batch, block.broken);
            return self.recycle(batch);
        }
        let (mut start, mut attached) = (0, 0);
        for (request, response) in batch.requests.iter().zip(&batch.responses) {
            if response.deferred {
                continue;
            }
            let range = start..response.end;
            start = response.end;
            self.record(request.command, response);
            let next = self.with_connection(request.origin.socket, |shard, connection| {
                let client = &mut connection.client;
                if shard.is_slow(response.nanoseconds) {
                    shard.note_slow(client, request.command, response.nanoseconds, &batch.args(request));
                }
                shard.ready_output(client);
                let next =
                    client.replies.answer(request.origin.sequence, &batch.replies, range, attached, &mut client.out);
                shard.replied_remotely(client);
                next
            });
            // The client may be gone; its attachments are still to be passed over.
            attached = next.unwrap_or_else(|| batch.replies.attached.partition_point(|(offset, _)| *offset < start));
        }
        self.recycle(batch);
    }

    /// Keeps a batch for the next commands to other cores.
    pub(super) fn recycle(&mut self, batch: Box<Batch>) {
        if self.spare_batches.len() < super::limits::SPARE_BUFFERS
            && let Some(batch) = batch.recycle()
        {
            self.spare_batches.push(batch);
        }
    }

    /// Another core has answered: what waited for that goes on.
    pub(super) fn replied_remotely(&mut self, client: &mut Client) {
        self.touch(client);
        if client.replies.is_empty() {
            self.release(client, Stall::BARRIER);
        }
        if client.replies.len() < REPLIES_WAITING / 2 {
            self.release(client, Stall::REPLIES);
        }
    }

    // Replies

    /// Writes a reply of a command that ran on the client's own core.
    pub(super) fn reply(&mut self, client: &mut Client, write: impl FnOnce(&mut Writer<'_>) -> Outcome) -> bool {
        let proto = client.proto;
        let mut failure = None;
        let run = |out: &mut Out| {
            let start = out.buf.len();
            let mut writer = Writer::new(out, proto);
            if let Err(error) = write(&mut writer) {
                out.buf.truncate(start);
                Writer::new(out, proto).error(error.message());
                failure = Some(error);
            }
        };
        if client.replies.is_empty() {
            self.ready_output(client);
            run(&mut client.out);
        } else {
            client.replies.stash(run);
        }
        if let Some(error) = &failure {
            self.stats.record_error(error.message());
        }
        self.touch(client);
        failure.is_none()
    }

    pub(super) fn reply_error(&mut self, client: &mut Client, error: &Error) {
        let error = error.clone();
        self.reply(client, |_| Err(error));
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
    /// Of its single key, if that was computed already.
    pub hash: Option<KeyHash>,
    /// Keys of other cores are at hand.
    pub visiting: bool,
    /// Whether it may wait for a key.
    pub blocks: bool,
}

fn origin_of(client: &Client, call: &Call, sequence: u32) -> Origin {
    Origin {
        socket: client.socket,
        sequence,
        database: call.database as u16,
        proto: call.proto,
        touches: call.touches,
        tracks: call.tracks,
    }
}

/// What is not queued in a MULTI block.
fn ends_or_spares_block(command: &Command) -> bool {
    use crate::commands::Server::{Discard, Exec, Multi, Quit, Reset, Watch};
    matches!(command.handler, Handler::Server(Discard | Exec | Multi | Quit | Reset | Watch))
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
