//! One simulated core: its lock table, its toy keyspace, and what it does with a message. As the real one, it never waits.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::history::{History, Key, Version};
use crate::shard::locks::model::Model;
use crate::shard::locks::{Acquired, Claims, LockKey, LockTable, Mode, Ticket};

/// A key with its value. Not to be copied: it is in one place at a time.
#[derive(Debug)]
pub struct Entry {
    pub key: Key,
    pub version: Version,
}

/// What a transaction wants of one core.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub keys: Vec<(Key, Mode)>,
    pub whole: Option<Mode>,
}

/// What a core hands over: entries to be changed themselves, of others the value.
#[derive(Debug, Default)]
pub struct Visitors {
    pub entries: Vec<Entry>,
    pub values: Vec<(Key, Version)>,
}

/// Transactions and single commands are named by their number in the history.
pub type Number = usize;

#[derive(Debug)]
pub enum Message {
    /// A command on one key.
    Request {
        number: Number,
        key: Key,
        mode: Mode,
    },
    Reply {
        number: Number,
    },
    CheckOut {
        number: Number,
        part: Part,
        waits: bool,
    },
    /// `None`: refused.
    CheckedOut {
        number: Number,
        visitors: Option<Visitors>,
    },
    CheckIn {
        number: Number,
        entries: Vec<Entry>,
    },
}

enum Waiter {
    Request { from: usize, number: Number, key: Key, mode: Mode },
    CheckOut { from: usize, number: Number, part: Part },
}

pub fn lock_key(key: Key) -> LockKey {
    LockKey { db: 0, slot: key as u16, hash: (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

impl Part {
    fn claims(&self) -> Claims {
        let mut claims = Claims::new();
        self.keys.iter().for_each(|(key, mode)| claims.add(lock_key(*key), *mode));
        self.whole.iter().for_each(|mode| claims.add_all(*mode));
        claims
    }
}

/// The lock table, held against its model at each step: who is granted, and in which order.
struct Locks {
    table: LockTable<Waiter>,
    model: Model,
}

impl Locks {
    fn is_free(&self, key: Key, mode: Mode) -> bool {
        let free = self.table.is_idle() || self.table.is_free(lock_key(key), mode);
        assert_eq!(free, !self.model.would_wait(&Claims::one(lock_key(key), mode)));
        free
    }

    fn try_acquire(&mut self, claims: &Claims) -> Option<Ticket> {
        let refused = self.model.would_wait(claims);
        let ticket = self.table.try_acquire(claims);
        assert_eq!(ticket.is_none(), refused);
        ticket.inspect(|ticket| assert!(self.model.enter(*ticket, claims)))
    }

    fn acquire(&mut self, claims: &Claims, waiter: Waiter) -> Option<(Ticket, Waiter)> {
        match self.table.acquire(claims, waiter) {
            Acquired::Now(ticket, waiter) => {
                assert!(self.model.enter(ticket, claims));
                Some((ticket, waiter))
            }
            Acquired::Later(ticket) => {
                assert!(!self.model.enter(ticket, claims));
                None
            }
        }
    }

    fn release(&mut self, ticket: Ticket) -> Vec<(Ticket, Waiter)> {
        let mut granted = Vec::new();
        self.table.release(ticket, &mut granted);
        assert_eq!(granted.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), self.model.leave(ticket));
        granted
    }
}

pub struct SimulatedCore {
    locks: Locks,
    /// Entries that are checked out exclusively are not in here.
    pub table: BTreeMap<Key, Entry>,
    /// What is checked out, by transaction.
    lent: HashMap<Number, Ticket>,
}

impl SimulatedCore {
    pub fn new(keys: impl Iterator<Item = Key>) -> SimulatedCore {
        let locks = Locks { table: LockTable::new(), model: Model::new() };
        let table = keys.map(|key| (key, Entry { key, version: super::history::INITIAL })).collect();
        SimulatedCore { locks, table, lent: HashMap::new() }
    }

    /// Nobody holds or waits for anything here.
    pub fn is_at_rest(&self) -> bool {
        self.locks.table.is_idle() && self.locks.table.keys() == 0 && self.lent.is_empty()
    }

    /// A command on one key: served at once, unless it meets a lock.
    pub fn request(&mut self, from: usize, number: Number, key: Key, mode: Mode, world: &mut History) -> Vec<Number> {
        if self.locks.is_free(key, mode) {
            self.execute(number, key, mode, world);
            return vec![number];
        }
        let waiter = Waiter::Request { from, number, key, mode };
        let granted = self.locks.acquire(&Claims::one(lock_key(key), mode), waiter);
        assert!(granted.is_none(), "what is not free is waited for");
        Vec::new()
    }

    fn execute(&mut self, number: Number, key: Key, mode: Mode, history: &mut History) {
        let entry = self.table.get_mut(&key).expect("the entry of a key that is not locked is at home");
        match mode {
            Mode::Shared => history.read(number, key, entry.version),
            Mode::Exclusive => entry.version = history.write(number, key, entry.version),
        }
        history.ran(number);
    }

    /// Another core, or this one, asks for keys. What is to be sent back, if that is known yet.
    pub fn check_out(&mut self, from: usize, number: Number, part: Part, waits: bool) -> Option<Message> {
        let claims = part.claims();
        if !waits {
            let visitors = self.locks.try_acquire(&claims).map(|ticket| self.lend(number, &part, ticket));
            return Some(Message::CheckedOut { number, visitors });
        }
        let waiter = Waiter::CheckOut { from, number, part };
        let (ticket, waiter) = self.locks.acquire(&claims, waiter)?;
        let Waiter::CheckOut { part, .. } = waiter else { unreachable!("the waiter comes back as it went in") };
        Some(Message::CheckedOut { number, visitors: Some(self.lend(number, &part, ticket)) })
    }

    fn lend(&mut self, number: Number, part: &Part, ticket: Ticket) -> Visitors {
        assert!(self.lent.insert(number, ticket).is_none(), "a transaction checks out once");
        let mut modes: BTreeMap<Key, Mode> = BTreeMap::new();
        let all = part.whole.into_iter().flat_map(|mode| self.table.keys().map(move |key| (*key, mode)));
        for (key, mode) in all.chain(part.keys.iter().copied()) {
            let strongest = modes.entry(key).or_insert(mode);
            *strongest = mode.max(*strongest);
        }
        let mut visitors = Visitors::default();
        for (key, mode) in modes {
            match mode {
                Mode::Shared => visitors.values.push((key, self.table[&key].version)),
                Mode::Exclusive => {
                    visitors.entries.push(self.table.remove(&key).expect("a locked key's entry is at home"))
                }
            }
        }
        visitors
    }

    /// Entries come home; who waited for them goes on. What is to be sent, and to whom.
    pub fn check_in(&mut self, number: Number, entries: Vec<Entry>, history: &mut History) -> Vec<(usize, Message)> {
        for entry in entries {
            assert!(self.table.insert(entry.key, entry).is_none(), "an entry is in one place");
        }
        let ticket = self.lent.remove(&number).expect("what comes home was lent");
        let mut granted: VecDeque<_> = self.locks.release(ticket).into();
        let mut messages = Vec::new();
        while let Some((ticket, waiter)) = granted.pop_front() {
            match waiter {
                Waiter::Request { from, number, key, mode } => {
                    self.execute(number, key, mode, history);
                    messages.push((from, Message::Reply { number }));
                    granted.extend(self.locks.release(ticket));
                }
                Waiter::CheckOut { from, number, part } => {
                    let visitors = Some(self.lend(number, &part, ticket));
                    messages.push((from, Message::CheckedOut { number, visitors }));
                }
            }
        }
        messages
    }
}
