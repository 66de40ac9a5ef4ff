//! Which clients have read which of this core's keys since they last changed.
//!
//! Invariants
//! - every key in the table has a reader
//! - of one place among a core's sockets only the youngest client is kept for a key, so those that left do not pile up
//! - `index` has one number for each of `entries`, found by its key
//!
//! The entries are in a vector, so that one can be drawn by lot when the table is too large.

use std::hash::BuildHasher;

use hashbrown::hash_map::Entry as MapEntry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::Tracker;
use crate::runtime::{ExecutorId, SocketId};

/// Up to so many readers are searched one by one.
const FEW: usize = 8;

/// The clients that have read one key.
#[derive(Clone, Debug)]
pub enum Readers {
    Few(Vec<Tracker>),
    /// By core and place among its sockets, the generation of the socket.
    Many(HashMap<(ExecutorId, u32), u32>),
}

impl Readers {
    fn new(tracker: Tracker) -> Readers {
        Readers::Few(vec![tracker])
    }

    pub fn len(&self) -> usize {
        match self {
            Readers::Few(readers) => readers.len(),
            Readers::Many(readers) => readers.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a client, in place of an earlier one on the same socket. Whether there is one more now.
    fn add(&mut self, tracker: Tracker) -> bool {
        match self {
            Readers::Few(readers) => {
                let same =
                    |known: &&mut Tracker| known.core == tracker.core && known.socket.index == tracker.socket.index;
                if let Some(known) = readers.iter_mut().find(same) {
                    *known = tracker;
                    return false;
                }
                if readers.len() < FEW {
                    readers.push(tracker);
                    return true;
                }
                let place = |known: &Tracker| ((known.core, known.socket.index), known.socket.generation);
                *self = Readers::Many(readers.iter().chain([&tracker]).map(place).collect());
                true
            }
            Readers::Many(readers) => match readers.entry((tracker.core, tracker.socket.index)) {
                MapEntry::Occupied(mut known) => {
                    known.insert(tracker.socket.generation);
                    false
                }
                MapEntry::Vacant(place) => {
                    place.insert(tracker.socket.generation);
                    true
                }
            },
        }
    }

    pub fn for_each(&self, mut f: impl FnMut(Tracker)) {
        match self {
            Readers::Few(readers) => readers.iter().for_each(|tracker| f(*tracker)),
            Readers::Many(readers) => {
                for (&(core, index), &generation) in readers {
                    f(Tracker { core, socket: SocketId { index, generation } });
                }
            }
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    readers: Readers,
}

/// Keys that were read, each with its readers.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Entry>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Readers of all keys together.
    items: usize,
}

impl Table {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn keys(&self) -> usize {
        self.entries.len()
    }

    pub fn items(&self) -> usize {
        self.items
    }

    pub fn clear(&mut self) {
        *self = Table { hasher: self.hasher.clone(), ..Table::default() };
    }

    /// Notes that a client has read a key.
    pub fn remember(&mut self, key: &[u8], tracker: Tracker) {
        let hash = self.hasher.hash_one(key);
        let known = self.index.find(hash, |at| *self.entries[*at as usize].key == *key);
        if let Some(at) = known {
            let added = self.entries[*at as usize].readers.add(tracker);
            self.items += usize::from(added);
            return;
        }
        let (entries, hasher) = (&self.entries, &self.hasher);
        let at = entries.len() as u32;
        self.index.insert_unique(hash, at, |at| hasher.hash_one(&*entries[*at as usize].key));
        self.entries.push(Entry { key: key.into(), readers: Readers::new(tracker) });
        self.items += 1;
    }

    /// Forgets a key; who had read it.
    pub fn take(&mut self, key: &[u8]) -> Option<Readers> {
        let hash = self.hasher.hash_one(key);
        let found = self.index.find_entry(hash, |at| *self.entries[*at as usize].key == *key);
        let (at, _) = found.ok()?.remove();
        Some(self.remove(at).readers)
    }

    /// Forgets the key that `dice` falls on, any number; it and who had read it.
    pub fn take_any(&mut self, dice: u64) -> Option<(Box<[u8]>, Readers)> {
        let at = dice.checked_rem(self.entries.len() as u64)? as u32;
        let hash = self.hasher.hash_one(&*self.entries[at as usize].key);
        if let Ok(found) = self.index.find_entry(hash, |known| *known == at) {
            found.remove();
        }
        let Entry { key, readers } = self.remove(at);
        Some((key, readers))
    }

    /// Removes an entry that is out of the index already; the last one moves into its place.
    fn remove(&mut self, at: u32) -> Entry {
        let last = self.entries.len() as u32 - 1;
        if at != last {
            let hash = self.hasher.hash_one(&*self.entries[last as usize].key);
            if let Some(moved) = self.index.find_mut(hash, |known| *known == last) {
                *moved = at;
            }
        }
        let entry = self.entries.swap_remove(at as usize);
        self.items -= entry.readers.len();
        // A table that has shrunk much gives its memory back.
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            let (entries, hasher) = (&mut self.entries, &self.hasher);
            entries.shrink_to(entries.len() * 2);
            self.index.shrink_to(entries.len() * 2, |at| hasher.hash_one(&*entries[*at as usize].key));
        }
        entry
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
