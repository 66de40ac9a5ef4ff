//! Blocked clients on their own core: how a command begins to wait, is served, and gives up.
//!
//! Guarantees
//! - a blocked command ends once: served for one key, at its timeout, by CLIENT UNBLOCK, by a change of role, or with its client
//! - from then on no core serves it: who offers it a key later finds another serial, or nobody
//!
//! The owners' side is in [`serving`](super::serving).

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;

use super::batch::Message;
use super::checkout::Plan;
use super::client::{Client, Stall};
use super::coordinator::ShardSet;
use super::execute::Call;
use super::fanout::with_shard;
use super::waiters::{Name, Turn, Waiter, Want};
use super::{Shard, ShardIo};
use crate::commands::blocking::{AtTimeout, Block, Blocking};
use crate::commands::clients::UnblockReason;
use crate::commands::lookup::CommandId;
use crate::commands::{Error, Handler};
use crate::keyspace::{Kind, slot};
use crate::node::Node;
use crate::observe::stats::CallResult;
use crate::replication::Replication;
use crate::resp::{Args, OwnedArgs};
use crate::runtime::task::Queue;
use crate::runtime::{Core, SocketId, clock};

const UNBLOCKED: Error = Error::text("UNBLOCKED client unblocked via CLIENT UNBLOCK");
const ROLE_CHANGED: Error =
    Error::text("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");

/// A timer is set only for what ends within this time; the housekeeping looks again before.
const TIMER_AHEAD_MS: u64 = 250;

/// A command that waits, with its client.
pub struct Blocked {
    waiter: Waiter,
    command: CommandId,
    args: OwnedArgs,
    database: usize,
    touches: bool,
    /// The owners of its keys.
    shards: ShardSet,
    until_ms: Option<u64>,
    at_timeout: AtTimeout,
    /// The argument that names another key which it needs while it is served.
    beside: Option<usize>,
    /// What the replication executor knows it by, if it waits for replicas there.
    acknowledgements: Option<u64>,
    /// What its attempts have taken so far.
    nanoseconds: u64,
}

/// The blocked clients of one core.
#[derive(Default)]
pub struct BlockedClients {
    sockets: HashMap<u64, SocketId>,
    /// When which serials give up.
    deadlines: BTreeSet<(u64, u64)>,
    last_serial: u64,
    /// When the timer rings that was set last.
    alarm_ms: Option<u64>,
}

impl BlockedClients {
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Those that wait for a limited time.
    pub fn with_timeout(&self) -> usize {
        self.deadlines.len()
    }
}

/// Keys of one owner that a command waits for.
struct Wish {
    turn: Turn,
    name: Name,
    key: Box<[u8]>,
    want: Want,
}

impl Shard {
    /// A command that may wait, whose keys are all here and free.
    pub(super) fn execute_blocking(&mut self, io: &mut ShardIo, client: &mut Client, call: &Call, args: &Args<'_>) {
        let response = self.run_here(io, client, call, args);
        match self.blocking.block.take() {
            Some(block) => {
                self.start_waiting(io, client, call, args, block, response.nanoseconds);
            }
            None => self.book_run(client, call.id, args, &response),
        }
    }

    /// Lets a client wait. The locks of its keys are still held, so no change to them is missed.
    fn start_waiting(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        call: &Call,
        args: &Args<'_>,
        block: Block,
        nanoseconds: u64,
    ) -> Waiter {
        self.blocked.last_serial += 1;
        let waiter = Waiter { core: self.id, socket: client.socket, serial: self.blocked.last_serial };
        let shards = self.send_wishes(io, waiter, call.database, args, &block);
        self.blocked.sockets.insert(waiter.serial, client.socket);
        self.blocked.deadlines.extend(block.until_ms.map(|at| (at, waiter.serial)));
        client.blocked = Some(Box::new(Blocked {
            waiter,
            command: call.id,
            args: self.blocking.again.take().unwrap_or_else(|| args.to_owned()),
            database: call.database,
            touches: call.touches,
            shards,
            until_ms: block.until_ms,
            at_timeout: block.at_timeout,
            beside: block.beside,
            acknowledgements: None,
            nanoseconds,
        }));
        client.stall.add(Stall::BLOCKED);
        // If it has hung up meanwhile, it is time to notice.
        self.resume.push(client.socket);
        self.set_timer();
        waiter
    }

    /// Enters a waiter at the owners of its keys, which these are.
    fn send_wishes(&mut self, io: &mut ShardIo, waiter: Waiter, db: usize, args: &Args<'_>, block: &Block) -> ShardSet {
        let mut wishes: Vec<Vec<Wish>> = (0..self.shared.shards).map(|_| Vec::new()).collect();
        let want = Want { kind: block.kind, wakes_when_gone: block.wakes_when_gone };
        for argument in block.keys.clone() {
            let key = args.get(argument);
            let name = Name::new(db, self.keyspace.hasher().hash(key));
            let owner = slot::shard_of(name.slot, self.shared.shards);
            wishes[owner].push(Wish { turn: Turn { waiter, argument }, name, key: key.into(), want });
        }
        let mut shards = ShardSet::default();
        for (shard, wishes) in wishes.into_iter().enumerate().filter(|(_, wishes)| !wishes.is_empty()) {
            shards.insert(shard);
            let enter = move |shard: &mut Shard, _: &mut ShardIo| shard.enter_waiter(wishes);
            if shard == self.id {
                enter(self, io);
            } else {
                io.post(shard, Message::Run(Box::new(enter)));
            }
        }
        shards
    }

    fn enter_waiter(&mut self, wishes: Vec<Wish>) {
        wishes.iter().for_each(|wish| self.waiters.wait(wish.name, &wish.key, wish.turn, wish.want));
        self.set_gates();
    }

    /// WAIT: the client waits until the replication executor answers.
    pub(super) fn wait_for_replicas(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        id: CommandId,
        args: &Args<'_>,
    ) -> Waiter {
        let handler = |_: &mut crate::commands::Ctx<'_>, _: &Args<'_>| Ok(());
        let (database, proto) = (client.database, client.proto);
        let call = Call {
            id,
            handler,
            database,
            proto,
            touches: false,
            tracks: false,
            applied: false,
            hash: None,
            visiting: false,
            blocks: true,
        };
        let block = Block::on(0..0, Kind::String, None, AtTimeout::Int(0));
        self.start_waiting(io, client, &call, args, block, 0)
    }

    /// The replication executor knows the client's wait by this number, to call it off with.
    pub(super) fn note_wait(&mut self, io: &mut ShardIo, waiter: Waiter, number: u64) {
        let noted = self.with_connection(waiter.socket, |_, connection| {
            let blocked = connection.client.blocked.as_mut().filter(|blocked| blocked.waiter == waiter)?;
            blocked.acknowledgements = Some(number);
            Some(())
        });
        if noted.flatten().is_none() {
            self.call_off_wait(io, number);
        }
    }

    fn call_off_wait(&mut self, io: &mut ShardIo, number: u64) {
        let call_off = move |replication: &mut Replication, io: &mut ShardIo| replication.wait_over(io, number);
        io.post(self.shared.shards, Message::Control(Box::new(call_off)));
    }

    /// So many replicas have acknowledged what a client waits for, or all that did within its time. `None`: this is no primary any more.
    pub(super) fn end_wait(&mut self, io: &mut ShardIo, waiter: Waiter, replicas: Option<usize>) {
        self.with_connection(waiter.socket, |shard, connection| {
            let client = &mut connection.client;
            let Some(blocked) = client.blocked.as_mut().filter(|blocked| blocked.waiter == waiter) else { return };
            blocked.acknowledgements = None;
            blocked.at_timeout = AtTimeout::Int(replicas.unwrap_or(0) as i64);
            shard.give_up(io, client, replicas.is_none().then_some(ROLE_CHANGED));
        });
    }

    /// The client's command waits no more; what it was.
    pub(super) fn end_waiting(&mut self, io: &mut ShardIo, client: &mut Client) -> Option<Box<Blocked>> {
        let blocked = client.blocked.take()?;
        let waiter = blocked.waiter;
        if let Some(number) = blocked.acknowledgements {
            self.call_off_wait(io, number);
        }
        self.blocked.sockets.remove(&waiter.serial);
        if let Some(at) = blocked.until_ms {
            self.blocked.deadlines.remove(&(at, waiter.serial));
        }
        for shard in blocked.shards.iter() {
            if shard == self.id {
                self.remove_waiter(waiter);
            } else {
                let remove = move |shard: &mut Shard, _: &mut ShardIo| shard.remove_waiter(waiter);
                io.post(shard, Message::Run(Box::new(remove)));
            }
        }
        Some(blocked)
    }

    fn remove_waiter(&mut self, waiter: Waiter) {
        self.waiters.leave(waiter);
        self.set_gates();
    }

    // Being served

    /// The other key that a command needs to be served, if it still waits and needs one: its database, and its name.
    pub(super) fn wanted_beside(&mut self, turn: Turn) -> Option<(Name, Box<[u8]>)> {
        let client = &self.connections.get(turn.waiter.socket.index as usize)?.as_deref()?.client;
        let blocked = client.blocked.as_ref().filter(|blocked| blocked.waiter == turn.waiter)?;
        let (args, database) = (blocked.args.args(), blocked.database);
        let key = args.get(blocked.beside?);
        let of_turn = args.get(turn.argument);
        (key != of_turn).then(|| (Name::new(database, self.keyspace.hasher().hash(key)), key.into()))
    }

    /// The keys of a command that still waits, for a transaction over all of them.
    pub(super) fn plan_of_waiter(&mut self, turn: Turn) -> Option<Plan> {
        let client = &self.connections.get(turn.waiter.socket.index as usize)?.as_deref()?.client;
        let blocked = client.blocked.as_ref().filter(|blocked| blocked.waiter == turn.waiter)?;
        let mut plan = Plan::new(self.shared.shards, turn.waiter.socket);
        plan.command(&self.keyspace, self.commands.get(blocked.command), &blocked.args.args(), blocked.database);
        Some(plan)
    }

    /// A key is ready for a blocked client of this core, and at hand: its command is run again for that key, if it still waits.
    pub(super) fn serve_waiter(&mut self, io: &mut ShardIo, turn: Turn) {
        self.with_connection(turn.waiter.socket, |shard, connection| {
            let client = &mut connection.client;
            if client.blocked.as_ref().is_some_and(|blocked| blocked.waiter == turn.waiter) {
                shard.serve_client(io, client, turn.argument);
            }
        });
    }

    fn serve_client(&mut self, io: &mut ShardIo, client: &mut Client, argument: usize) {
        let Some(mut blocked) = client.blocked.take() else { return };
        let Blocked { command: id, database, touches, .. } = *blocked;
        let Handler::Data(handler) = self.commands.get(id).handler else { unreachable!("it waits for a key") };
        let call = Call { database, visiting: true, blocks: true, ..Call::of(client, id, handler, touches) };
        let (bytes, attached) = (client.out.buf.len(), client.out.attached.len());
        self.lap_started = clock::ticks();
        self.blocking = Blocking { serves: Some(argument), ..Blocking::default() };
        let mut response = self.run_here(io, client, &call, &blocked.args.args());
        let waits_on = std::mem::take(&mut self.blocking).block.is_some();
        blocked.nanoseconds += response.nanoseconds;
        response.nanoseconds = blocked.nanoseconds;
        client.blocked = Some(blocked);
        if waits_on {
            return;
        }
        if let Some(blocked) = self.end_waiting(io, client) {
            self.book_run(client, id, &blocked.args.args(), &response);
        }
        self.unmute(client, bytes, attached);
        self.release(client, Stall::BLOCKED);
    }

    /// Drops the reply that was just written, if the client does not want it.
    fn unmute(&mut self, client: &mut Client, bytes: usize, attached: usize) {
        if std::mem::take(&mut client.muted) {
            client.out.buf.truncate(bytes);
            client.out.attached.truncate(attached);
            self.tell_late(client);
        }
    }

    // Giving up

    /// Ends a client's wait with the reply of its timeout, or an error. Whether it waited.
    fn give_up(&mut self, io: &mut ShardIo, client: &mut Client, error: Option<Error>) -> bool {
        let Some(blocked) = self.end_waiting(io, client) else { return false };
        let (bytes, attached) = (client.out.buf.len(), client.out.attached.len());
        let at_timeout = blocked.at_timeout;
        let failed = error.is_some();
        self.reply(client, |out| match error {
            Some(error) => Err(error),
            None => {
                at_timeout.write(out);
                Ok(())
            }
        });
        self.unmute(client, bytes, attached);
        let result = if failed { CallResult::Failed } else { CallResult::Ok };
        self.stats.record_call(blocked.command.index(), blocked.nanoseconds, result);
        self.release(client, Stall::BLOCKED);
        true
    }

    /// CLIENT UNBLOCK for a client that may be one of this core. Whether it waited.
    pub(super) fn unblock(&mut self, io: &mut ShardIo, id: i64, reason: UnblockReason) -> bool {
        let found = self.clients().find(|connection| connection.client.id as i64 == id);
        let Some(socket) = found.map(|connection| connection.client.socket) else { return false };
        let error = match reason {
            UnblockReason::Timeout => None,
            UnblockReason::Error => Some(UNBLOCKED),
        };
        self.with_connection(socket, |shard, connection| shard.give_up(io, &mut connection.client, error))
            .unwrap_or(false)
    }

    /// This node becomes a replica: nobody may wait here any longer. The clients are told and closed.
    pub fn unblock_all(&mut self, io: &mut ShardIo) {
        let sockets: Vec<SocketId> = self.blocked.sockets.values().copied().collect();
        for socket in sockets {
            self.with_connection(socket, |shard, connection| {
                shard.give_up(io, &mut connection.client, Some(ROLE_CHANGED));
                shard.end(&mut connection.client);
            });
        }
    }

    // Time

    /// Sets a timer for who gives up next, if that is soon.
    pub(super) fn set_timer(&mut self) {
        let Some((next, _)) = self.blocked.deadlines.first().copied() else { return };
        let now_ms = clock::unix_ms();
        if next > now_ms + TIMER_AHEAD_MS || self.blocked.alarm_ms.is_some_and(|alarm| alarm <= next) {
            return;
        }
        if let (Some(core), Some(tasks)) = (self.core.upgrade(), self.tasks.clone()) {
            self.blocked.alarm_ms = Some(next);
            tasks.spawn(Queue::Coordinator, ring(core, next, next.saturating_sub(now_ms)));
        }
    }

    /// Ends the waits whose time is over.
    fn time_out(&mut self, io: &mut ShardIo, alarm_ms: u64) {
        self.begin_tick();
        if self.blocked.alarm_ms == Some(alarm_ms) {
            self.blocked.alarm_ms = None;
        }
        while let Some((at, serial)) = self.blocked.deadlines.first().copied()
            && at <= self.now_ms
        {
            self.blocked.deadlines.pop_first();
            if let Some(socket) = self.blocked.sockets.get(&serial).copied() {
                self.with_connection(socket, |shard, connection| shard.give_up(io, &mut connection.client, None));
            }
        }
        self.set_timer();
        io.tick_again();
    }
}

async fn ring(core: Rc<Core<Node>>, alarm_ms: u64, sleep_ms: u64) {
    core.tasks.sleep(Duration::from_millis(sleep_ms)).await;
    with_shard(&core, |shard, io| shard.time_out(io, alarm_ms));
}
