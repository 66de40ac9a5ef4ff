//! Serving blocked clients, on the core that owns the keys they wait for.
//!
//! When a change makes a key ready for somebody, its lock is taken before anybody else can see the key: at once where the change was made without a
//! lock, else from the transaction that made it, which keeps its locks here until the waiters are through. Then the key is offered to its
//! waiters one after another (a round, see [`waiters`](super::waiters)): the entry visits the waiter's core and comes back. So an offer holds
//! its lock for one journey and never waits for another.
//!
//! While clients are paused nobody is served; the keys are looked at again when the pause is over.

use hashbrown::HashMap;

use super::batch::Message;
use super::checkout::{CheckOut, lock_key};
use super::locks::{Acquired, Claims, Mode, Ticket};
use super::transaction::Waiter;
use super::waiters::{Name, Turn};
use super::{Shard, ShardIo};
use crate::keyspace::{KeyHash, Kind};

/// A key on its way to a waiter and back.
pub struct Offer {
    turn: Turn,
    name: Name,
    checkout: Box<CheckOut>,
}

/// The rounds of one core.
#[derive(Default)]
pub struct Rounds {
    /// The lock that each round holds its key with.
    locks: HashMap<Name, Ticket>,
    /// How many rounds go on under a lock.
    rounds_of: HashMap<Ticket, usize>,
    /// Rounds that can go on.
    pub(super) ready: Vec<Name>,
    /// Keys that are ready and locked by who made them so.
    unclaimed: Vec<Name>,
    /// Keys that became ready while clients are paused.
    parked: Vec<Name>,
}

fn claims(name: Name) -> Claims {
    Claims::one(lock_key(name.key_hash()), Mode::Exclusive)
}

fn note(names: &mut Vec<Name>, name: Name) {
    if !names.contains(&name) {
        names.push(name);
    }
}

impl Shard {
    /// A key has changed: if that makes it ready for somebody, it is kept for them.
    pub(super) fn key_changed(&mut self, db: usize, hash: KeyHash) {
        let name = Name::new(db, hash);
        if !self.is_ready(name) {
            return;
        }
        if self.is_paused() {
            return note(&mut self.rounds.parked, name);
        }
        match self.locks.try_acquire(&claims(name)) {
            Some(ticket) => self.begin_round(name, ticket),
            None => note(&mut self.rounds.unclaimed, name),
        }
        self.set_lock_gate();
    }

    /// The keys of a database may all be others now.
    pub(super) fn database_changed(&mut self, db: usize) {
        for name in self.waiters.in_database(db) {
            self.key_changed(name.db, name.key_hash());
        }
    }

    fn kind_of(&mut self, name: Name) -> Option<Kind> {
        let key = self.waiters.key(name)?;
        self.keyspace.view(name.db, self.now_ms, &self.policy).kind(key)
    }

    fn is_ready(&mut self, name: Name) -> bool {
        let kind = self.kind_of(name);
        kind.is_some_and(|kind| self.waiters.is_wanted(name, kind))
    }

    fn begin_round(&mut self, name: Name, ticket: Ticket) {
        if self.waiters.begin_round(name) {
            self.rounds.locks.insert(name, ticket);
            *self.rounds.rounds_of.entry(ticket).or_default() += 1;
            self.rounds.ready.push(name);
        }
    }

    /// Before a lock is released: keys that it covers and that are ready go to their waiters first. Whether there are any, so that the lock has
    /// to stay.
    pub(super) fn claim_ready(&mut self, ticket: Ticket) -> bool {
        for name in std::mem::take(&mut self.rounds.unclaimed) {
            if !self.locks.covers(ticket, lock_key(name.key_hash())) {
                self.rounds.unclaimed.push(name);
            } else if self.is_ready(name) {
                if self.is_paused() {
                    note(&mut self.rounds.parked, name);
                } else {
                    self.begin_round(name, ticket);
                }
            }
        }
        self.rounds.rounds_of.contains_key(&ticket)
    }

    /// The pause is over: what became ready meanwhile is served in turn with everybody else.
    pub(super) fn unpark(&mut self) {
        for name in std::mem::take(&mut self.rounds.parked) {
            if let Acquired::Now(ticket, _) = self.locks.acquire(&claims(name), Waiter::Round(name)) {
                self.transactions.granted.push((ticket, Waiter::Round(name)));
            }
        }
        self.set_lock_gate();
    }

    /// The lock of a key is there that may be ready.
    pub(super) fn start_round(&mut self, name: Name, ticket: Ticket) {
        if self.is_ready(name) && !self.is_paused() {
            self.begin_round(name, ticket);
        }
        if !self.rounds.rounds_of.contains_key(&ticket) {
            self.release_lock(ticket);
        }
    }

    /// Goes on with a round: the next waiter is served here, or offered the key, or the round is over.
    pub(super) fn go_on_with_round(&mut self, io: &mut ShardIo, name: Name) {
        let mut kind = self.kind_of(name);
        if self.is_paused() && kind.take().is_some() {
            note(&mut self.rounds.parked, name);
        }
        let Some(turn) = self.waiters.next_turn(name, kind) else { return self.end_round(name) };
        if turn.waiter.core == self.id {
            self.serve_waiter(io, turn);
            self.rounds.ready.push(name);
            return;
        }
        let Some(key) = self.waiters.key(name) else { return self.end_round(name) };
        let mut checkout = Box::new(CheckOut::of_one(turn.waiter.socket, name.db, name.key_hash(), key));
        checkout.collect(&mut self.keyspace, self.now_ms);
        io.post(turn.waiter.core, Message::Offer(Box::new(Offer { turn, name, checkout })));
    }

    fn end_round(&mut self, name: Name) {
        let Some(ticket) = self.rounds.locks.remove(&name) else { return };
        if let Some(rounds) = self.rounds.rounds_of.get_mut(&ticket) {
            *rounds -= 1;
            if *rounds == 0 {
                self.rounds.rounds_of.remove(&ticket);
                self.release_lock(ticket);
            }
        }
        if self.waiters.is_empty() {
            self.set_gates();
        }
    }

    /// On the waiter's core: its command runs over the visiting key.
    pub(super) fn on_offer(&mut self, io: &mut ShardIo, from: usize, mut offer: Box<Offer>) {
        offer.checkout.visit(self.guests.get_or_insert_with(|| Box::new(self.keyspace.for_guests())));
        self.serve_waiter(io, offer.turn);
        if let Some(guests) = &mut self.guests {
            offer.checkout.leave(guests);
            offer.checkout.changes = guests.changes.take();
            self.keyspace.absorb_stats(guests);
        }
        io.post(from, Message::Offered(offer));
    }

    /// On the owner: the key is back. If its waiter took the value, that one has left the queues before.
    pub(super) fn on_offered(&mut self, io: &mut ShardIo, from: usize, mut offer: Offer) {
        offer.checkout.put_back(&mut self.keyspace);
        let author = (from, offer.checkout.author);
        self.settle(io, &offer.checkout.changes, Some(author));
        self.rounds.ready.push(offer.name);
    }
}
