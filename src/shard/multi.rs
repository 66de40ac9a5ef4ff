//! MULTI: commands that wait in a block until EXEC runs them as one.
//!
//! A block runs on one of three ways: at once, when all its keys are on the client's core and nobody has them locked; as one message, when
//! they are all on one other core; as a transaction otherwise. Commands that concern more than keys run only on the client's core, through the same
//! functions as outside of a block; one that needs a task is waited for, with all locks held. A block with commands over the whole keyspace
//! locks all of it, and fetches keys of other cores for one command at a time, so that each command finds them where they belong.

use super::batch::{Batch, Block, Message, Origin, Request};
use super::checkout::{Plan, for_each_claim, for_each_lock, lock_key};
use super::client::{Client, Stall};
use super::execute::Call;
use super::locks::Mode;
use super::transaction::Work;
use super::watch::Watched;
use super::{Shard, ShardIo};
use crate::commands::lookup::CommandId;
use crate::commands::options::database;
use crate::commands::sort::looks_elsewhere;
use crate::commands::{Command, Error, Flags, Handler, Outcome, Server};
use crate::keyspace::slot;
use crate::observe::monitor;
use crate::observe::stats::CallResult;
use crate::replication::log::LogBlock;
use crate::resp::{Args, Out, OwnedArgs, Writer};
use crate::runtime::clock;

const NESTED: Error = Error::text("ERR MULTI calls can not be nested");
const EXEC_WITHOUT: Error = Error::text("ERR EXEC without MULTI");
const DISCARD_WITHOUT: Error = Error::text("ERR DISCARD without MULTI");
const ABORTED: Error = Error::text("EXECABORT Transaction discarded because of previous errors.");
pub const NOT_IN_BLOCK: Error = Error::text("ERR Command not allowed inside a transaction");

/// The commands a client has queued since MULTI.
pub struct Multi {
    batch: Box<Batch>,
    /// The database the next command will run in.
    database: usize,
    /// One was refused: EXEC will refuse all.
    failed: bool,
    flags: Flags,
    /// Those that not all of its commands have.
    lacks: Flags,
    needs: Needs,
}

/// What a block needs beyond its keys, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Only commands over keys.
    Keys,
    /// Something of the client's own core.
    Home,
    /// Other cores' answers, while the locks are held.
    Answers,
    /// Every key there is.
    Everything,
}

impl Needs {
    fn of(command: &Command, args: &Args<'_>) -> Needs {
        match command.handler {
            Handler::Data(_) if looks_elsewhere(command.name, args) => Needs::Everything,
            Handler::Data(_) => Needs::Keys,
            Handler::Server(
                Server::Echo
                | Server::LastSave
                | Server::Lolwut
                | Server::Ping
                | Server::PubSub
                | Server::Publish
                | Server::Select
                | Server::Spublish
                | Server::Time
                | Server::Unwatch,
            ) => Needs::Home,
            Handler::Server(
                Server::Cluster
                | Server::DbSize
                | Server::Debug
                | Server::FlushAll
                | Server::FlushDb
                | Server::Info
                | Server::Keys
                | Server::Memory
                | Server::RandomKey
                | Server::Scan
                | Server::SwapDb,
            ) => Needs::Everything,
            Handler::Server(_) | Handler::Container => Needs::Answers,
        }
    }
}

/// A block that is running.
pub struct Running {
    batch: Box<Batch>,
    next: usize,
    /// The transaction that holds its locks.
    pub(super) transaction: Option<usize>,
    /// All keys are locked, and those of other cores are fetched by each command.
    fetches: bool,
    started: u64,
    /// Messages that the client is given behind the reply.
    pub(super) later: Out,
    /// What it propagates.
    pub(super) log: LogBlock,
}

impl Multi {
    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.batch.requests.len()
    }

    /// Bytes of the commands that wait.
    pub fn bytes(&self) -> usize {
        self.batch.held_bytes()
    }

    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// What its commands do, taken together.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether any of its commands lacks a flag.
    pub fn lacks(&self, flag: Flags) -> bool {
        self.lacks.has(flag)
    }
}

impl Shard {
    pub(super) fn multi(&mut self, client: &mut Client) -> Outcome {
        if client.multi.is_some() {
            return Err(NESTED);
        }
        let batch = self.spare_batches.pop().unwrap_or_default();
        let (database, failed) = (client.database, false);
        let (flags, lacks) = (Flags::NONE, Flags::NONE);
        client.multi = Some(Box::new(Multi { batch, database, failed, flags, lacks, needs: Needs::Keys }));
        client.modes.in_multi = true;
        Ok(())
    }

    /// Queues a command of a client that has said MULTI.
    #[cold]
    pub(super) fn enqueue(
        &mut self,
        client: &mut Client,
        id: CommandId,
        command: &Command,
        args: &Args<'_>,
    ) -> Outcome {
        if self.gates.memory_limit {
            self.make_room(id)?;
        }
        let touches = self.touches(client, id);
        let Some(multi) = &mut client.multi else { return Err(EXEC_WITHOUT) };
        let origin = Origin {
            socket: client.socket,
            sequence: 0,
            database: multi.database as u16,
            proto: client.proto,
            touches,
            tracks: client.tracks,
            applied: client.modes.applies,
        };
        multi.batch.push(origin, id, args, None);
        multi.flags = multi.flags | command.flags;
        multi.lacks = multi.lacks | Flags(!command.flags.0);
        multi.needs = multi.needs.max(Needs::of(command, args));
        if let Handler::Server(Server::Select) = command.handler
            && let Ok(selected) = database(self.config.databases as usize, args.get(1))
        {
            multi.database = selected;
        }
        Ok(())
    }

    pub(super) fn discard_block(&mut self, io: &mut ShardIo, client: &mut Client) -> Outcome {
        self.forget_block(client).ok_or(DISCARD_WITHOUT)?;
        self.unwatch(io, client);
        Ok(())
    }

    /// Ends MULTI without running anything.
    pub(super) fn forget_block(&mut self, client: &mut Client) -> Option<()> {
        client.modes.in_multi = false;
        let multi = client.multi.take()?;
        self.recycle(multi.batch);
        Some(())
    }

    /// EXEC. The reply is the block's; errors are the caller's to write.
    pub(super) fn exec(&mut self, io: &mut ShardIo, client: &mut Client) -> Outcome {
        client.modes.in_multi = false;
        let multi = client.multi.take().ok_or(EXEC_WITHOUT)?;
        let watched = std::mem::take(&mut client.watched);
        let Multi { batch, failed, flags, needs, .. } = *multi;
        let refused = if failed { Err(ABORTED) } else { self.afford(flags) };
        if let Err(error) = refused {
            self.recycle(batch);
            self.forget_watched(io, watched);
            return Err(error);
        }
        let (started, fetches) = (clock::ticks(), needs == Needs::Everything);
        let later = Out::default();
        let log = LogBlock::default();
        let running = Running { batch, next: 0, transaction: None, fetches, started, later, log };
        client.running = Some(Box::new(running));
        self.place_block(io, client, watched, needs);
        Ok(())
    }

    /// Whether there is memory for a block.
    fn afford(&mut self, flags: Flags) -> Outcome {
        if !self.gates.memory_limit {
            return Ok(());
        }
        self.make_room_for(flags).map_err(|error| aborted_by(&error))
    }

    /// Runs a block where its keys are.
    fn place_block(&mut self, io: &mut ShardIo, client: &mut Client, watched: Vec<Watched>, needs: Needs) {
        let Some(only) = self.only_shard(client, &watched, needs) else {
            return self.start_block_transaction(io, client, watched, needs);
        };
        if only != self.id {
            return self.send_block(io, client, only, watched);
        }
        if self.gates.locks && !self.is_block_free(client, &watched) {
            return self.start_block_transaction(io, client, watched, needs);
        }
        let broken = !watched.iter().all(|watched| self.is_unchanged(io, watched));
        self.forget_watched(io, watched);
        if needs == Needs::Answers {
            // It waits for tasks, as a transaction does, and what the client has sent behind it waits with it.
            client.stall.add(Stall::TRANSACTION);
        }
        self.start_block(io, client, None, broken);
    }

    /// The one core that a block can run on without a transaction.
    fn only_shard(&self, client: &Client, watched: &[Watched], needs: Needs) -> Option<usize> {
        let shards = self.shared.shards;
        if needs > Needs::Home {
            // Answers of other cores are waited for with the keys locked; without keys there is nothing to lock.
            let locks_nothing = needs == Needs::Answers && watched.is_empty() && !self.names_keys(client);
            return locks_nothing.then_some(self.id);
        }
        if shards == 1 {
            return Some(self.id);
        }
        let batch = &client.running.as_ref()?.batch;
        // A message without commands would tell nobody whom it belongs to.
        let home = needs == Needs::Home || batch.requests.is_empty();
        let mut only = home.then_some(self.id);
        let mut several = false;
        let mut meet = |slot: u16| {
            let shard = slot::shard_of(slot, shards);
            several |= *only.get_or_insert(shard) != shard;
        };
        watched.iter().for_each(|watched| meet(watched.hash.slot));
        for request in &batch.requests {
            let command = self.commands.get(request.command);
            for_each_claim(command, &batch.args(request), 0, |_, key, _| meet(slot::slot(key)));
        }
        if several { None } else { Some(only.unwrap_or(self.id)) }
    }

    /// Whether any command of the client's block names keys.
    fn names_keys(&self, client: &Client) -> bool {
        let Some(running) = &client.running else { return false };
        running.batch.requests.iter().any(|request| {
            let mut any = false;
            for_each_claim(self.commands.get(request.command), &running.batch.args(request), 0, |_, _, _| any = true);
            any
        })
    }

    /// Whether no lock is in the way of a block whose keys are all on this core. What is watched counts: a change that is answered may still be
    /// on its way back here.
    fn is_block_free(&self, client: &Client, watched: &[Watched]) -> bool {
        let Some(running) = &client.running else { return true };
        let unlocked = |watched: &Watched| self.locks.is_free(lock_key(watched.hash), Mode::Shared);
        watched.iter().all(unlocked)
            && running.batch.requests.iter().all(|request| self.is_free(request.command, &running.batch.args(request)))
    }

    /// Whether no lock is in the way of a command whose keys are all on this core.
    pub(super) fn is_free(&self, id: CommandId, args: &Args<'_>) -> bool {
        let mut free = true;
        for_each_lock(self.commands.get(id), args, self.keyspace.hasher(), |key, mode| {
            free = free && self.locks.is_free(key, mode);
        });
        free
    }

    fn start_block_transaction(&mut self, io: &mut ShardIo, client: &mut Client, watched: Vec<Watched>, needs: Needs) {
        let mut plan = Plan::new(self.shared.shards, client.socket);
        if needs == Needs::Everything {
            plan.all(Mode::Exclusive);
        } else if let Some(running) = &client.running {
            let batch = &running.batch;
            for request in &batch.requests {
                let command = self.commands.get(request.command);
                let database = usize::from(request.origin.database);
                plan.command(&self.keyspace, command, &batch.args(request), database);
            }
        }
        // They are forgotten behind the check-out on the way to each owner, so the owner still knows them when it compares.
        client.unwatch_after = watched.clone();
        watched.into_iter().for_each(|watched| plan.watched(watched));
        client.stall.add(Stall::TRANSACTION);
        self.begin(io, plan, Work::Block { socket: client.socket });
    }

    /// Sends a block to the core that has all its keys.
    fn send_block(&mut self, io: &mut ShardIo, client: &mut Client, shard: usize, watched: Vec<Watched>) {
        let Some(mut running) = client.running.take() else { return };
        running.batch.block = Some(Box::new(Block { watched, broken: false }));
        client.stall.add(Stall::TRANSACTION);
        self.post_batch(io, shard);
        io.post(shard, Message::Requests(running.batch));
    }

    /// Runs the client's block: all its keys are here and free, or held by the transaction.
    pub(super) fn start_block(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        transaction: Option<usize>,
        broken: bool,
    ) {
        let Some(running) = &mut client.running else { return };
        running.transaction = transaction;
        let count = running.batch.requests.len();
        self.ready_output(client);
        let (bytes, attached) = (client.out.buf.len(), client.out.attached.len());
        let mut writer = Writer::new(&mut client.out, client.proto);
        if broken {
            writer.null_array();
            if let Some(running) = &mut client.running {
                running.next = count;
            }
        } else {
            writer.array(count);
        }
        self.mute(client, bytes, attached);
        client.modes.in_block = true;
        self.go_on_with_block(io, client);
    }

    /// Runs commands of the client's block until one needs a task or keys of other cores, or all have run.
    pub(super) fn go_on_with_block(&mut self, io: &mut ShardIo, client: &mut Client) {
        let Some(mut running) = client.running.take() else { return };
        while let Some(request) = running.batch.requests.get(running.next) {
            if running.fetches && self.fetch(io, client, request, &running) {
                client.running = Some(running);
                return;
            }
            self.run_next(io, client, &mut running);
            if client.stall.has(Stall::TASK) {
                client.running = Some(running);
                return;
            }
        }
        self.finish_block(io, client, *running);
    }

    /// The keys of the next command are here: it runs, they go home, and the block goes on.
    pub(super) fn run_step(&mut self, io: &mut ShardIo, client: &mut Client, step: usize) {
        if let Some(mut running) = client.running.take() {
            self.run_next(io, client, &mut running);
            client.running = Some(running);
        }
        self.end_transaction(io, step);
        self.go_on_with_block(io, client);
    }

    fn run_next(&mut self, io: &mut ShardIo, client: &mut Client, running: &mut Running) {
        let Some(request) = running.batch.requests.get(running.next) else { return };
        running.next += 1;
        let (bytes, attached) = (client.out.buf.len(), client.out.attached.len());
        let (visiting, touches) = (running.transaction.is_some(), request.origin.touches);
        self.begin_block(std::mem::take(&mut running.log));
        self.execute_in_block(io, client, request.command, touches, visiting, &running.batch.args(request));
        running.log = self.log.leave_block();
        self.mute(client, bytes, attached);
        // What was fetched for this command alone goes home with its own transaction.
        if let Some(number) = running.transaction.filter(|_| !running.fetches) {
            self.collect_changes(number);
        }
        if let Some(messages) = self.pubsub.take_late(client) {
            running.later.append(&messages);
        }
    }

    /// Fetches the keys of a command of a block that has everything locked. Whether there is any on other cores.
    fn fetch(&mut self, io: &mut ShardIo, client: &Client, request: &Request, running: &Running) -> bool {
        let mut plan = Plan::new(self.shared.shards, client.socket);
        let command = self.commands.get(request.command);
        let args = running.batch.args(request);
        if looks_elsewhere(command.name, &args) {
            // Its task takes everything from where it is.
            return false;
        }
        plan.command(&self.keyspace, command, &args, client.database);
        let away = plan.is_away(self.id);
        if away {
            plan.need_no_locks();
            self.begin(io, plan, Work::Step { socket: client.socket });
        }
        away
    }

    /// Drops what a client does not want to be answered.
    fn mute(&mut self, client: &mut Client, bytes: usize, attached: usize) {
        if client.muted {
            client.out.buf.truncate(bytes);
            client.out.attached.truncate(attached);
        }
    }

    fn execute_in_block(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        touches: bool,
        visiting: bool,
        args: &Args<'_>,
    ) {
        let command = self.commands.get(id);
        client.last_command = Some(id);
        match command.handler {
            Handler::Data(_) if self.shared.shards > 1 && looks_elsewhere(command.name, args) => {
                self.sort_elsewhere(client, id, args);
            }
            Handler::Data(handler) => {
                let call = Call { visiting, ..Call::of(client, id, handler, touches) };
                self.execute_here(io, client, &call, args);
            }
            Handler::Server(server) => self.execute_server(io, client, id, server, args),
            Handler::Container => self.reply_error(client, &Error::Syntax),
        }
        if self.gates.monitors && monitor::is_shown(command.flags) {
            self.feed_monitors(io, client, args);
        }
    }

    fn finish_block(&mut self, io: &mut ShardIo, client: &mut Client, running: Running) {
        let Running { batch, transaction, started, later, log, .. } = running;
        client.modes.in_block = false;
        self.log.enter_block(log);
        self.recycle(batch);
        if let Some(number) = transaction {
            self.end_transaction(io, number);
        }
        let watched = std::mem::take(&mut client.unwatch_after);
        self.forget_watched(io, watched);
        if !later.is_empty() {
            self.tell(client, &later);
        }
        self.tell_late(client);
        self.record_exec(started);
        self.touch(client);
        if client.stall.has(Stall::TRANSACTION) {
            self.show_exec(io, client);
            client.muted = false;
            self.release(client, Stall::TRANSACTION);
        }
    }

    fn record_exec(&mut self, started: u64) {
        let nanoseconds = self.rate.nanoseconds(started, clock::ticks());
        self.stats.record_call(self.exec_id.index(), nanoseconds, CallResult::Ok);
    }

    // A block on the core that has all its keys

    /// Runs a block that came from another core, unless what was watched has changed.
    pub(super) fn check_block(&mut self, io: &mut ShardIo, batch: &mut Batch) -> bool {
        let Some(mut block) = batch.block.take() else { return true };
        block.broken = !block.watched.iter().all(|watched| self.is_unchanged(io, watched));
        block.watched.iter().for_each(|watched| self.unwatch_here(watched));
        let runs = !block.broken;
        batch.block = Some(block);
        runs
    }

    /// Gives a client the replies of its block, which ran on another core.
    pub(super) fn deliver_block(&mut self, io: &mut ShardIo, batch: &Batch, broken: bool) {
        let Some(first) = batch.requests.first() else { return };
        let socket = first.origin.socket;
        for (request, response) in batch.requests.iter().zip(&batch.responses) {
            self.record(request.command, response);
        }
        self.stats.record_call(
            self.exec_id.index(),
            batch.responses.iter().map(|r| r.nanoseconds).sum(),
            CallResult::Ok,
        );
        self.with_connection(socket, |shard, connection| {
            let client = &mut connection.client;
            if !std::mem::take(&mut client.muted) {
                shard.ready_output(client);
                let mut writer = Writer::new(&mut client.out, client.proto);
                if broken {
                    writer.null_array();
                } else {
                    writer.array(batch.requests.len());
                    client.out.append(&batch.replies);
                }
            }
            for (request, response) in batch.requests.iter().zip(&batch.responses) {
                let args = batch.args(request);
                if shard.is_slow(response.nanoseconds) {
                    shard.note_slow(client, request.command, response.nanoseconds, &args);
                }
                if shard.gates.monitors && monitor::is_shown(shard.commands.get(request.command).flags) {
                    shard.feed_monitors(io, client, &args);
                }
            }
            shard.show_exec(io, client);
            shard.touch(client);
            shard.release(client, Stall::TRANSACTION);
        });
    }

    /// Shows EXEC to monitors, behind the commands of its block.
    fn show_exec(&mut self, io: &mut ShardIo, client: &mut Client) {
        if self.gates.monitors {
            let exec: OwnedArgs = ["EXEC"].into_iter().collect();
            self.feed_monitors(io, client, &exec.args());
        }
    }
}

/// The answer to EXEC where it was refused itself.
pub fn aborted_by(error: &Error) -> Error {
    let text = error.message();
    Error::concat(&[b"EXECABORT Transaction discarded because of: ", text.strip_prefix(b"ERR ").unwrap_or(text)])
}
