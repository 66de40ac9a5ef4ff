//! From bytes to an executed command: parse, check, route, run, answer.

use super::client::{Client, Connection, Input, Stall};
use super::execute::Call;
use super::limits::COMMANDS_A_TURN;
use super::lookahead::Known;
use super::multi::{NOT_IN_BLOCK, aborted_by};
use super::server::is_for_subscribers;
use super::{Pause, Shard, ShardIo};
use crate::commands::clients::ReplyMode;
use crate::commands::lookup::CommandId;
use crate::commands::{Command, Error, Flags, Handler, Outcome, Server};
use crate::observe::monitor;
use crate::resp::parser::{Limits, Parsed};
use crate::resp::{Args, Out, Proto, Writer};
use crate::runtime::clock;

/// Why parsing stopped.
enum Stop {
    /// What is left is not a whole command, or may not run yet.
    Rest,
    /// A large value begins behind that many bytes of the rest.
    Large { header: usize },
}

/// What became of a command.
pub(super) enum Step {
    Done,
    /// It waits for EXEC.
    Queued,
    /// It has to wait; it is to be executed again from the start later.
    Wait,
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
        client.wrote |= command.flags.has(Flags::WRITE);
        if client.modes.any()
            && let Some(step) = self.execute_in_mode(io, client, id, command, args)
        {
            return step;
        }
        match command.handler {
            Handler::Data(handler) => {
                let call = Call { hash: known.hash, ..Call::of(client, id, handler, self.touches(client, id)) };
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
        if self.gates.guarded
            && let Err(error) = self.guard(client, id, command)
        {
            return self.reject(io, client, id, &error);
        }
        if self.gates.paused && self.pauses(client, id, command) {
            client.stall.add(Stall::PAUSE);
            self.waiting_pause.push(client.socket);
            return Step::Wait;
        }
        if self.gates.behind && command.flags.has(Flags::WRITE) {
            client.stall.add(Stall::OUTBOX);
            self.waiting_outbox.push(client.socket);
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
            None if !self.writes_held => false,
            // The stream of a primary does not stop for clients.
            _ if client.modes.applies => false,
            None | Some(Pause { writes_only: true, .. }) => {
                let block = client.multi.as_ref().filter(|_| id == self.exec_id);
                let flags = block.map_or(command.flags, |multi| multi.flags());
                flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)
            }
            // The client that ends the pause must get through.
            Some(_) => !self.commands.full_name(id).starts_with("client|"),
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

/// What is not queued in a MULTI block.
fn ends_or_spares_block(command: &Command) -> bool {
    use crate::commands::Server::{Discard, Exec, Multi, Quit, Reset, Watch};
    matches!(command.handler, Handler::Server(Discard | Exec | Multi | Quit | Reset | Watch))
}
