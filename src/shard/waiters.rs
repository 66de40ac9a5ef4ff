//! Who waits for which keys: the queues of blocked commands on the core that owns the keys.
//!
//! Invariants
//! - a command stands once in the queue of each of its keys, behind all that came before it
//! - a key has at most one *round* at a time: its waiters are offered the key one after another, each at most once a round, while
//!   its lock is held for the round. What waits behind one that took the value gets its chance in the same round
//! - a round may go on without the lock while one waiter gets hold of another key that it needs; nobody else has a turn meanwhile
//! - a queue exists only while somebody waits in it or its round is on
//!
//! Bounded by the blocked clients and the keys of their commands.
//!
//! Sans-I/O: knows nothing of locks, values or messages. Whether a key has what a waiter wants is an input.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::keyspace::{KeyHash, Kind};
use crate::runtime::SocketId;

#[cfg(test)]
mod tests;

/// A key of this core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub db: usize,
    pub slot: u16,
    pub hash: u64,
}

impl Name {
    pub fn new(db: usize, hash: KeyHash) -> Name {
        Name { db, slot: hash.slot, hash: hash.hash }
    }

    pub fn key_hash(self) -> KeyHash {
        KeyHash { slot: self.slot, hash: self.hash }
    }
}

/// A blocked command: its client, and which of the commands it has blocked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    pub core: usize,
    pub socket: SocketId,
    /// Never used twice by a core.
    pub serial: u64,
}

/// A waiter whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub waiter: Waiter,
    /// Which argument of its command the key is.
    pub argument: usize,
}

/// What a command waits for a key to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub kind: Kind,
    /// It is served, too, when the key is gone or holds another type.
    pub wakes_when_gone: bool,
}

impl Want {
    /// Whether a key that holds a value of this kind, or none, is worth a turn.
    fn is_met_by(self, kind: Option<Kind>) -> bool {
        kind == Some(self.kind) || self.wakes_when_gone
    }
}

struct Waiting {
    arrival: u64,
    turn: Turn,
    want: Want,
}

struct Queue {
    key: Box<[u8]>,
    waiting: VecDeque<Waiting>,
    /// A round is on, and all that arrived up to here have had their turn.
    round: Option<u64>,
}

#[derive(Default)]
pub struct WaiterTable {
    queues: HashMap<Name, Queue>,
    /// In which queues a waiter stands.
    places: HashMap<Waiter, Vec<Name>>,
    arrivals: u64,
}

impl WaiterTable {
    /// Nobody waits and no round is on.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Keys that somebody waits for.
    pub fn keys(&self) -> usize {
        self.queues.values().filter(|queue| !queue.waiting.is_empty()).count()
    }

    /// A command waits for a key. The first of several arguments that name the key counts.
    pub fn wait(&mut self, name: Name, key: &[u8], turn: Turn, want: Want) {
        let places = self.places.entry(turn.waiter).or_default();
        if places.contains(&name) {
            return;
        }
        places.push(name);
        self.arrivals += 1;
        let fresh = || Queue { key: key.into(), waiting: VecDeque::new(), round: None };
        let queue = self.queues.entry(name).or_insert_with(fresh);
        queue.waiting.push_back(Waiting { arrival: self.arrivals, turn, want });
    }

    /// A command waits no more: it was served, or gave up.
    pub fn leave(&mut self, waiter: Waiter) {
        for name in self.places.remove(&waiter).unwrap_or_default() {
            if let Some(queue) = self.queues.get_mut(&name) {
                queue.waiting.retain(|waiting| waiting.turn.waiter != waiter);
                self.tidy(name);
            }
        }
    }

    /// The key of this name, if anybody waits for it or its round is on.
    pub fn key(&self, name: Name) -> Option<&[u8]> {
        self.queues.get(&name).map(|queue| &*queue.key)
    }

    /// Whether anybody waits for a value of this kind, or for there to be none, and no round is on that will see to it.
    pub fn is_wanted(&self, name: Name, kind: Option<Kind>) -> bool {
        let wants =
            |queue: &Queue| queue.round.is_none() && queue.waiting.iter().any(|waiting| waiting.want.is_met_by(kind));
        self.queues.get(&name).is_some_and(wants)
    }

    /// The names of all keys of a database that somebody waits for.
    pub fn in_database(&self, db: usize) -> Vec<Name> {
        self.queues.keys().filter(|name| name.db == db).copied().collect()
    }

    /// Begins a round, with the lock of the key held. `false`: nobody waits, or one is on.
    pub fn begin_round(&mut self, name: Name) -> bool {
        let Some(queue) = self.queues.get_mut(&name).filter(|queue| queue.round.is_none()) else { return false };
        queue.round = Some(0);
        true
    }

    /// Whose turn is next, now that the key holds a value of this kind, or none. `None` ends the round.
    pub fn next_turn(&mut self, name: Name, kind: Option<Kind>) -> Option<Turn> {
        let queue = self.queues.get_mut(&name)?;
        let tried = queue.round?;
        let fits = |waiting: &&Waiting| waiting.arrival > tried && waiting.want.is_met_by(kind);
        let next = queue.waiting.iter().find(fits).map(|waiting| (waiting.arrival, waiting.turn));
        queue.round = next.map(|(arrival, _)| arrival);
        self.tidy(name);
        next.map(|(_, turn)| turn)
    }

    /// Ends a round before everybody has had a turn.
    pub fn break_off(&mut self, name: Name) {
        if let Some(queue) = self.queues.get_mut(&name) {
            queue.round = None;
            self.tidy(name);
        }
    }

    fn tidy(&mut self, name: Name) {
        if self.queues.get(&name).is_some_and(|queue| queue.waiting.is_empty() && queue.round.is_none()) {
            self.queues.remove(&name);
        }
    }
}
