//! Commands and transactions whose keys are on several cores: the coordinator's actions carried out, and the owners' side of it.
//!
//! The executing core is the client's own. A transaction is *ready* once all cores have handed out what it needs; ready ones run, and those who
//! waited for a lock go on, at the end of each message and of each tick ([`Shard::run_unlocked`]), never inside of another command.
//!
//! When a client goes away before its transaction has run, that still gets everything, runs nothing, and gives everything back. While a block
//! of it runs, the client stays: a block runs as a whole.

use super::batch::{Batch, Job, Message};
use super::checkout::{CheckOut, Plan};
use super::client::Client;
use super::coordinator::{Action, Answer, Coordinator, ShardSet};
use super::locks::{Acquired, Claims, Mode, Ticket};
use super::waiters::{Name, Turn};
use super::{Shard, ShardIo, Stall};
use crate::keyspace::slot;
use crate::runtime::SocketId;
use crate::runtime::task::Sender;

/// What runs once all locks are held.
pub enum Work {
    /// One command, in a batch of its own.
    Command { socket: SocketId, batch: Box<Batch> },
    /// The block of a client that has said EXEC.
    Block { socket: SocketId },
    /// The next command of a client's running block, whose transaction holds the locks.
    Step { socket: SocketId },
    /// A blocked command, whose turn was postponed until all its keys are at hand.
    Serve { turn: Turn, name: Name },
    /// A task, which is told its transaction and ends it.
    Task(Sender<usize>),
}

/// A transaction of a client of this core.
pub struct Transaction {
    coordinator: Coordinator,
    /// By shard, ascending. `None` while it is with its owner.
    parts: Vec<(usize, Option<Box<CheckOut>>)>,
    work: Option<Work>,
}

/// Who waits for a lock of this core.
pub enum Waiter {
    /// Commands that ran into a lock, and the core they came from. Granted, they run together.
    Commands {
        from: usize,
        batch: Box<Batch>,
    },
    CheckOut {
        from: usize,
        checkout: Box<CheckOut>,
    },
    /// Something rare to be done under the lock.
    Job(Job),
    /// Blocked clients wait for this key.
    Round(Name),
}

/// What locks made wait, and what may go on now.
#[derive(Default)]
pub struct Transactions {
    slab: slab::Slab<Transaction>,
    /// Those that hold all their locks and have not run yet.
    ready: Vec<usize>,
    /// Who was granted a lock and has not gone on yet.
    pub(super) granted: Vec<(Ticket, Waiter)>,
}

impl Transactions {
    /// Whether somebody may go on.
    fn is_waiting(&self) -> bool {
        !(self.granted.is_empty() && self.ready.is_empty())
    }
}

impl Shard {
    // The coordinator's side

    /// Begins a transaction; its number on this core.
    pub(super) fn begin(&mut self, io: &mut ShardIo, plan: Plan, work: Work) -> usize {
        let mut participants = ShardSet::default();
        let mut parts: Vec<_> = plan.into_parts().map(|(shard, part)| (shard, Some(part))).collect();
        parts.iter().for_each(|(shard, _)| participants.insert(*shard));
        let mut actions = Vec::with_capacity(parts.len());
        let coordinator = Coordinator::start(participants, &mut actions);
        let entry = self.transactions.slab.vacant_entry();
        let number = entry.key();
        parts.iter_mut().filter_map(|(_, part)| part.as_mut()).for_each(|part| part.transaction = number);
        entry.insert(Transaction { coordinator, parts, work: Some(work) });
        self.stats.counters.transactions += 1;
        self.act(io, number, actions);
        number
    }

    /// Carries out what the coordinator wants.
    fn act(&mut self, io: &mut ShardIo, number: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Try(shard) => self.send_check_out(io, number, shard, false),
                Action::Wait(shard) => {
                    self.stats.counters.transactions_waited += 1;
                    self.send_check_out(io, number, shard, true);
                }
                Action::GiveBack(shard) => {
                    let again = self.part(number, shard).as_deref().map(|part| Box::new(part.again()));
                    self.send_check_in(io, number, shard);
                    *self.part(number, shard) = again;
                }
                Action::CheckIn(shard) => self.send_check_in(io, number, shard),
                Action::Run => self.transactions.ready.push(number),
                Action::Done => drop(self.transactions.slab.remove(number)),
            }
        }
    }

    fn part(&mut self, number: usize, shard: usize) -> &mut Option<Box<CheckOut>> {
        let parts = &mut self.transactions.slab[number].parts;
        match parts.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, part)) => part,
            None => unreachable!("shard {shard} has no part in the transaction"),
        }
    }

    fn send_check_out(&mut self, io: &mut ShardIo, number: usize, shard: usize, waits: bool) {
        let Some(mut checkout) = self.part(number, shard).take() else {
            unreachable!("what is with its owner is not asked for");
        };
        checkout.waits = waits;
        if shard == self.id {
            self.on_check_out(io, shard, checkout);
        } else {
            io.post(shard, Message::CheckOut(checkout));
        }
    }

    fn send_check_in(&mut self, io: &mut ShardIo, number: usize, shard: usize) {
        let Some(checkout) = self.part(number, shard).take() else {
            unreachable!("only what was handed out is given back");
        };
        if shard == self.id {
            self.on_check_in(io, shard, checkout);
        } else {
            io.post(shard, Message::CheckIn(checkout));
        }
    }

    /// A core has answered.
    pub(super) fn on_checked_out(&mut self, io: &mut ShardIo, from: usize, checkout: Box<CheckOut>) {
        let number = checkout.transaction;
        let answer = if checkout.granted {
            Answer::Granted
        } else {
            self.stats.counters.transactions_refused += 1;
            Answer::Refused
        };
        *self.part(number, from) = Some(checkout);
        let mut actions = Vec::new();
        self.transactions.slab[number].coordinator.answer(from, answer, &mut actions);
        self.act(io, number, actions);
    }

    /// Lets the entries of other cores in. Whether a watched key has changed.
    fn welcome_guests(&mut self, number: usize) -> bool {
        let mut broken = false;
        for (shard, part) in &mut self.transactions.slab[number].parts {
            let Some(part) = part else { continue };
            broken |= part.broken;
            if *shard != self.id {
                part.visit(self.guests.get_or_insert_with(|| Box::new(self.keyspace.for_guests())));
            }
        }
        broken
    }

    /// Gives a transaction the notes of what was done to its guests, for their owners. Due before another transaction runs, which a block
    /// that waits for a task lets happen.
    pub(super) fn collect_changes(&mut self, number: usize) {
        let Some(guests) = &mut self.guests else { return };
        if guests.changes.is_empty() {
            return;
        }
        let changes = guests.changes.take();
        let shards = self.shared.shards;
        for (change, key) in changes.iter() {
            let owner = slot::shard_of(change.hash.slot, shards);
            if let Some(part) = self.part(number, owner) {
                part.changes.push(change.db, change.hash, key, change.what);
            }
        }
    }

    /// The work is done: all entries go home, and the locks are released.
    pub(super) fn end_transaction(&mut self, io: &mut ShardIo, number: usize) {
        let here = self.id;
        if let Some(guests) = &mut self.guests {
            for (shard, part) in &mut self.transactions.slab[number].parts {
                if let Some(part) = part.as_mut().filter(|_| *shard != here) {
                    part.leave(guests);
                }
            }
        }
        self.collect_changes(number);
        if let Some(guests) = &mut self.guests {
            self.keyspace.absorb_stats(guests);
        }
        let mut actions = Vec::new();
        self.transactions.slab[number].coordinator.ran(&mut actions);
        self.act(io, number, actions);
    }

    /// Runs what holds all its locks.
    fn run_transaction(&mut self, io: &mut ShardIo, number: usize) {
        let broken = self.welcome_guests(number);
        match self.transactions.slab[number].work.take() {
            Some(Work::Command { socket, batch }) => {
                self.with_connection(socket, |shard, connection| {
                    shard.run_alone(io, &mut connection.client, &batch);
                });
                self.recycle(batch);
                self.end_transaction(io, number);
            }
            Some(Work::Block { socket }) => {
                let started = self.with_connection(socket, |shard, connection| {
                    shard.start_block(io, &mut connection.client, Some(number), broken);
                });
                if started.is_none() {
                    self.end_transaction(io, number);
                }
            }
            Some(Work::Step { socket }) => {
                let client = self.with_connection(socket, |shard, connection| {
                    shard.run_step(io, &mut connection.client, number);
                });
                debug_assert!(client.is_some(), "a client stays until its block has run");
            }
            Some(Work::Serve { turn, name }) => {
                self.serve_waiter(io, turn);
                let owner = slot::shard_of(name.slot, self.shared.shards);
                if let Some(part) = self.part(number, owner) {
                    part.resumes = Some(name);
                }
                self.end_transaction(io, number);
            }
            Some(Work::Task(sender)) => sender.send(number),
            None => unreachable!("a transaction runs once"),
        }
    }

    // The owner's side

    pub(super) fn on_check_out(&mut self, io: &mut ShardIo, from: usize, mut checkout: Box<CheckOut>) {
        if checkout.locked {
            self.hand_out(io, from, None, checkout);
        } else if checkout.waits {
            let claims = std::mem::take(&mut checkout.claims);
            self.acquire(&claims, Waiter::CheckOut { from, checkout });
        } else if let Some(ticket) = self.locks.try_acquire(&checkout.claims) {
            self.hand_out(io, from, Some(ticket), checkout);
        } else {
            self.answer_check_out(io, from, checkout);
        }
        self.set_lock_gate();
    }

    fn hand_out(&mut self, io: &mut ShardIo, from: usize, ticket: Option<Ticket>, mut checkout: Box<CheckOut>) {
        checkout.granted = true;
        checkout.ticket = ticket;
        checkout.broken = !checkout.watched.iter().all(|watched| self.is_unchanged(io, watched));
        if from != self.id {
            checkout.collect(&mut self.keyspace, self.now_ms);
        }
        self.answer_check_out(io, from, checkout);
    }

    fn answer_check_out(&mut self, io: &mut ShardIo, from: usize, checkout: Box<CheckOut>) {
        if from == self.id {
            self.on_checked_out(io, from, checkout);
        } else {
            io.post(from, Message::CheckedOut(checkout));
        }
    }

    pub(super) fn on_check_in(&mut self, io: &mut ShardIo, from: usize, mut checkout: Box<CheckOut>) {
        checkout.put_back(&mut self.keyspace);
        if !checkout.changes.is_empty() {
            let changes = std::mem::take(&mut checkout.changes);
            self.settle(io, &changes, Some((from, checkout.author)));
        }
        if let Some(name) = checkout.resumes {
            self.resume_round(name);
        }
        if let Some(ticket) = checkout.ticket {
            self.release_lock(ticket);
        }
    }

    // Locks of this core

    /// Locks now or later; the waiter goes on in [`Shard::run_unlocked`].
    pub(super) fn acquire(&mut self, claims: &Claims, waiter: Waiter) {
        match self.locks.acquire(claims, waiter) {
            Acquired::Now(ticket, waiter) => self.transactions.granted.push((ticket, waiter)),
            Acquired::Later(_) => self.stats.counters.lock_waits += 1,
        }
        self.set_lock_gate();
    }

    /// Releases a lock, unless blocked clients are to be served under it first.
    pub(super) fn release_lock(&mut self, ticket: Ticket) {
        if !self.waiters.is_empty() && self.claim_ready(ticket) {
            return;
        }
        self.locks.release(ticket, &mut self.transactions.granted);
        self.set_lock_gate();
    }

    pub(super) fn set_lock_gate(&mut self) {
        self.gates.locks = !self.locks.is_idle();
    }

    /// Runs `job` with a lock on this core: at once if that is free.
    pub(super) fn run_locked(&mut self, io: &mut ShardIo, claims: &Claims, job: Job) {
        match self.locks.try_acquire(claims) {
            Some(ticket) => {
                job(self, io);
                self.release_lock(ticket);
            }
            None => self.acquire(claims, Waiter::Job(job)),
        }
    }

    /// Lets everybody go on who waited for locks and has them now.
    pub(super) fn run_unlocked(&mut self, io: &mut ShardIo) {
        while self.transactions.is_waiting() || !self.rounds.ready.is_empty() {
            for (ticket, waiter) in std::mem::take(&mut self.transactions.granted) {
                self.go_on_with(io, ticket, waiter);
            }
            for number in std::mem::take(&mut self.transactions.ready) {
                self.run_transaction(io, number);
            }
            for name in std::mem::take(&mut self.rounds.ready) {
                self.go_on_with_round(io, name);
            }
        }
    }

    fn go_on_with(&mut self, io: &mut ShardIo, ticket: Ticket, waiter: Waiter) {
        match waiter {
            Waiter::Commands { from, mut batch } => {
                self.run_batch(io, from, &mut batch);
                self.release_lock(ticket);
                self.answer_batch(io, from, batch);
            }
            Waiter::CheckOut { from, checkout } => self.hand_out(io, from, Some(ticket), checkout),
            Waiter::Job(job) => {
                job(self, io);
                self.release_lock(ticket);
            }
            Waiter::Round(name) => self.start_round(name, ticket),
        }
    }

    // A command over several cores

    /// Starts a command whose keys are on several cores; until it has run, nothing else of the client does.
    pub(super) fn start_transaction(&mut self, io: &mut ShardIo, client: &mut Client, plan: Plan, batch: Box<Batch>) {
        client.stall.add(Stall::TRANSACTION);
        let socket = client.socket;
        self.begin(io, plan, Work::Command { socket, batch });
    }

    /// Locks everything on all cores for a task, which gets the number of the transaction to end.
    pub(super) fn lock_all(&mut self, io: &mut ShardIo, author: SocketId, mode: Mode, sender: Sender<usize>) {
        let mut plan = Plan::new(self.shared.shards, author);
        plan.all(mode);
        self.begin(io, plan, Work::Task(sender));
    }
}
