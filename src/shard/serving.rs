//! Serving blocked clients, on the core that owns the keys they wait for.
//!
//! When a change makes a key ready for somebody, its lock is taken before anybody else can see the key: at once where the change was made without a
//! lock, else from the transaction that made it, which keeps its locks here until the waiters are through. Then the key is offered to its
//! waiters one after another (a round, see [`waiters`](super::waiters)): the entry visits the waiter's core and comes back. So an offer holds
//! its lock for one journey and never waits for another.
//!
//! A command that needs another key beside (BLMOVE's destination) gets that from its owner while the offer is with the waiter's core, if it can be locked at
//! once. If not, waiting for it with the offered key locked could end in a deadlock. So the offer goes back, its lock is released, and an
//! ordinary transaction over all keys of the command serves it; meanwhile the round goes on without a lock, so that nobody who waits behind is
//! served before. Checking in the offered key, the transaction lets a new round begin under its own lock. So a lock is held while another is
//! waited for by transactions only, which cannot deadlock.
//!
//! While clients are paused nobody is served; the keys are looked at again when the pause is over.

use hashbrown::HashMap;

use super::batch::Message;
use super::checkout::{CheckOut, Plan, lock_key};
use super::locks::{Acquired, Claims, Mode, Ticket};
use super::transaction::{Waiter, Work};
use super::waiters::{Name, Turn};
use super::{Shard, ShardIo};
use crate::keyspace::{KeyHash, Kind, slot};

/// A key on its way to a waiter and back.
pub struct Offer {
    turn: Turn,
    name: Name,
    checkout: Box<CheckOut>,
    /// It comes back to wait, without its lock, until a transaction has served the waiter.
    postponed: bool,
}

/// A turn on the waiter's core, with the key at hand.
struct Serving {
    turn: Turn,
    name: Name,
    /// `None`: the key is one of this core.
    offer: Option<Box<Offer>>,
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
        self.waiters.is_wanted(name, kind)
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
        if self.is_paused() {
            note(&mut self.rounds.parked, name);
            self.waiters.break_off(name);
            return self.end_round(name);
        }
        let kind = self.kind_of(name);
        let Some(turn) = self.waiters.next_turn(name, kind) else { return self.end_round(name) };
        if turn.waiter.core == self.id {
            return self.take_turn(io, Serving { turn, name, offer: None });
        }
        let Some(key) = self.waiters.key(name) else { return self.end_round(name) };
        let mut checkout = Box::new(CheckOut::of_one(turn.waiter.socket, name.db, name.key_hash(), key));
        checkout.collect(&mut self.keyspace, self.now_ms);
        io.post(turn.waiter.core, Message::Offer(Box::new(Offer { turn, name, checkout, postponed: false })));
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

    /// On the waiter's core: it is offered a key.
    pub(super) fn on_offer(&mut self, io: &mut ShardIo, offer: Box<Offer>) {
        let (turn, name) = (offer.turn, offer.name);
        self.take_turn(io, Serving { turn, name, offer: Some(offer) });
    }

    /// The waiter's command runs, once the other key that it may need is at hand too.
    fn take_turn(&mut self, io: &mut ShardIo, serving: Serving) {
        let Some((beside, key)) = self.wanted_beside(serving.turn) else { return self.serve_turn(io, serving, None) };
        let (here, owner) = (self.id, slot::shard_of(beside.slot, self.shared.shards));
        let socket = serving.turn.waiter.socket;
        let mut checkout = Box::new(CheckOut::of_one(socket, beside.db, beside.key_hash(), &key));
        if owner == here {
            self.hand_out_at_once(here, &mut checkout);
            return self.on_beside(io, serving, owner, checkout);
        }
        let ask = move |shard: &mut Shard, io: &mut ShardIo| {
            shard.hand_out_at_once(here, &mut checkout);
            let answer = move |shard: &mut Shard, io: &mut ShardIo| shard.on_beside(io, serving, owner, checkout);
            io.post(here, Message::Run(Box::new(answer)));
        };
        io.post(owner, Message::Run(Box::new(ask)));
    }

    /// On the owner of the other key: locks it and hands it out, or refuses.
    fn hand_out_at_once(&mut self, to: usize, checkout: &mut CheckOut) {
        checkout.ticket = self.locks.try_acquire(&checkout.claims);
        checkout.granted = checkout.ticket.is_some();
        if checkout.granted && to != self.id {
            checkout.collect(&mut self.keyspace, self.now_ms);
        }
        self.set_lock_gate();
    }

    /// The owner of the other key has answered.
    fn on_beside(&mut self, io: &mut ShardIo, serving: Serving, owner: usize, checkout: Box<CheckOut>) {
        if checkout.granted {
            return self.serve_turn(io, serving, Some((owner, checkout)));
        }
        match self.plan_of_waiter(serving.turn) {
            Some(plan) => self.postpone(io, serving, plan),
            // It waits no more.
            None => self.give_back(io, serving),
        }
    }

    /// Runs the waiter's command, if it still waits, over what visits; then everything goes home.
    fn serve_turn(&mut self, io: &mut ShardIo, mut serving: Serving, mut beside: Option<(usize, Box<CheckOut>)>) {
        let here = self.id;
        let away = beside.as_mut().filter(|(owner, _)| *owner != here).map(|(_, checkout)| &mut **checkout);
        let offered = serving.offer.as_mut().map(|offer| &mut *offer.checkout);
        let mut visitors: Vec<&mut CheckOut> = offered.into_iter().chain(away).collect();
        if !visitors.is_empty() {
            let guests = self.guests.get_or_insert_with(|| Box::new(self.keyspace.for_guests()));
            visitors.iter_mut().for_each(|checkout| checkout.visit(guests));
        }
        self.serve_waiter(io, serving.turn);
        if !visitors.is_empty()
            && let Some(guests) = &mut self.guests
        {
            visitors.iter_mut().for_each(|checkout| checkout.leave(guests));
            let changes = guests.changes.take();
            visitors.iter_mut().for_each(|checkout| checkout.take_changes(&changes));
            self.keyspace.absorb_stats(guests);
        }
        match beside {
            Some((owner, checkout)) if owner == here => self.on_check_in(io, here, checkout),
            Some((owner, checkout)) => io.post(owner, Message::CheckIn(checkout)),
            None => {}
        }
        self.give_back(io, serving);
    }

    /// The key goes back to its owner, and the round goes on.
    fn give_back(&mut self, io: &mut ShardIo, serving: Serving) {
        match serving.offer {
            Some(offer) => io.post(slot::shard_of(serving.name.slot, self.shared.shards), Message::Offered(offer)),
            None => self.rounds.ready.push(serving.name),
        }
    }

    /// A transaction over all keys of its command serves the waiter. Until then the round has nobody else's turn, and no lock.
    fn postpone(&mut self, io: &mut ShardIo, serving: Serving, plan: Plan) {
        let Serving { turn, name, offer } = serving;
        match offer {
            Some(mut offer) => {
                offer.postponed = true;
                io.post(slot::shard_of(name.slot, self.shared.shards), Message::Offered(offer));
            }
            None => self.end_round(name),
        }
        self.begin(io, plan, Work::Serve { turn, name });
    }

    /// On the owner: a postponed turn is over, and its transaction still holds the key's lock.
    pub(super) fn resume_round(&mut self, name: Name) {
        self.waiters.break_off(name);
        self.key_changed(name.db, name.key_hash());
    }

    /// On the owner: the key is back. If its waiter took the value, that one has left the queues before.
    pub(super) fn on_offered(&mut self, io: &mut ShardIo, from: usize, mut offer: Offer) {
        offer.checkout.put_back(&mut self.keyspace);
        let author = (from, offer.checkout.author);
        self.settle(io, &offer.checkout.changes, Some(author));
        if offer.postponed {
            return self.end_round(offer.name);
        }
        self.rounds.ready.push(offer.name);
    }
}
