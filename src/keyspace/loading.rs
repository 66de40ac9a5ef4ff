//! A data set that is being loaded beside the one in use, and takes its place in the end.
//!
//! Keys that are due are loaded as any other: it is for whoever uses them to see that.

use std::ops::Range;

use super::entry::Entry;
use super::eviction::Policy;
use super::hash::{Hasher, KeyHash};
use super::space::Garbage;
use super::table::Table;
use super::{Keyspace, Kind, NewCollection, NewStr, ValueRef};
use crate::rdb::Access;
use crate::types::Object;

/// All databases of one shard, filled key by key.
#[derive(Debug)]
pub struct Incoming {
    slots: Range<u16>,
    tables: Vec<Table>,
    hasher: Hasher,
}

/// The key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

impl Incoming {
    pub fn databases(&self) -> usize {
        self.tables.len()
    }

    /// Whether keys of that slot belong here.
    pub fn has_slot(&self, slot: u16) -> bool {
        self.slots.contains(&slot)
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }

    /// Brings close what inserting these keys touches.
    pub fn prefetch(&self, db: usize, keys: &[KeyHash]) {
        self.tables[db].prefetch(keys);
    }

    /// Puts a key whose slot belongs here.
    #[inline]
    pub fn insert(
        &mut self,
        db: usize,
        hash: KeyHash,
        key: &[u8],
        value: NewStr<'_>,
        expire_at_ms: Option<u64>,
        clock: u32,
    ) -> Result<(), Duplicate> {
        self.insert_new(db, hash, key, || Entry::new(hash.tag(), key, value, expire_at_ms, clock))
    }

    /// The same, of a collection.
    pub fn insert_collection(
        &mut self,
        db: usize,
        hash: KeyHash,
        key: &[u8],
        value: NewCollection<'_>,
        expire_at_ms: Option<u64>,
        clock: u32,
    ) -> Result<(), Duplicate> {
        self.insert_new(db, hash, key, || Entry::of_collection(hash.tag(), key, value, expire_at_ms, clock))
    }

    #[inline]
    fn insert_new(
        &mut self,
        db: usize,
        hash: KeyHash,
        key: &[u8],
        entry: impl FnOnce() -> Entry,
    ) -> Result<(), Duplicate> {
        let table = &mut self.tables[db];
        if table.find(hash, key).is_some() {
            return Err(Duplicate);
        }
        table.insert(&self.hasher, hash, entry());
        Ok(())
    }

    /// The collection at a key, to take further elements in: a packed one is no longer.
    pub fn object_mut(
        &mut self,
        db: usize,
        hash: KeyHash,
        key: &[u8],
        unpack: impl FnOnce(Kind, &[u8]) -> Object,
    ) -> Option<&mut Object> {
        let table = &mut self.tables[db];
        let place = table.find(hash, key)?;
        let entry = table.entry_mut(place);
        if let ValueRef::Packed(kind, bytes) = entry.value() {
            let object = Box::new(unpack(kind, bytes));
            let expire_at_ms = entry.expire_at_ms();
            entry.assign_collection(NewCollection::Object(object), expire_at_ms);
        }
        entry.object_mut()
    }

    /// For a data set that nobody wants after all.
    pub fn into_garbage(self) -> Garbage {
        Garbage::new(self.tables)
    }
}

impl Policy {
    /// The access clock of a key that was written down with that.
    pub fn loaded_clock(&self, access: Access, now_ms: u64) -> u32 {
        match access {
            Access::IdleSeconds(seconds) if !self.kind.counts_frequency() => {
                Self::idle_clock(seconds.saturating_mul(1000), now_ms)
            }
            Access::Frequency(frequency) if self.kind.counts_frequency() => Self::frequency_clock(frequency, now_ms),
            Access::IdleSeconds(_) | Access::Frequency(_) | Access::Unknown => self.new_clock(now_ms),
        }
    }
}

impl Keyspace {
    /// An empty data set to be loaded for this keyspace.
    pub fn incoming(&self) -> Incoming {
        Incoming {
            slots: self.slots.clone(),
            tables: (0..self.tables.len()).map(|_| Table::new(&self.slots)).collect(),
            hasher: self.hasher.clone(),
        }
    }

    /// Takes a loaded data set over in constant time. What was there before is for the caller to free. No entry is away or lent.
    pub fn adopt(&mut self, incoming: Incoming) -> Garbage {
        debug_assert!(self.away.iter().all(|away| *away == 0) && self.lent.is_empty());
        debug_assert_eq!(self.slots, incoming.slots);
        let garbage = self.flush_all();
        self.tables = incoming.tables;
        garbage
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::SLOTS;
    use super::super::{Expiry, PolicyKind};
    use super::*;

    #[test]
    fn takes_the_place_of_what_was_there() {
        let mut space = Keyspace::new(0..SLOTS, 3, 7);
        let policy = Policy::default();
        for n in 0..1000 {
            space.view(n % 3, 0, &policy).set_string(format!("old:{n}").as_bytes(), NewStr::Int(1), Expiry::None);
        }
        assert!(space.view(0, 0, &policy).exists(b"old:0"));
        let mut incoming = space.incoming();
        assert_eq!(incoming.databases(), 3);
        for n in 0..2000u32 {
            let key = format!("new:{n}");
            let hash = incoming.hash(key.as_bytes());
            assert!(incoming.has_slot(hash.slot));
            let expiry = (n % 2 == 0).then_some(u64::from(n));
            let mut insert = || incoming.insert(1, hash, key.as_bytes(), NewStr::Copy(b"value"), expiry, 0);
            assert_eq!((insert(), insert()), (Ok(()), Err(Duplicate)));
        }
        assert_eq!(space.len(1), 333);
        let mut garbage = space.adopt(incoming);
        while garbage.drop_some(100) {}
        assert_eq!([space.len(0), space.len(1), space.len(2)], [0, 2000, 0]);
        assert_eq!((space.db_stats(1, 0).expires, space.stats().hits), (1000, 1));
        let mut view = space.view(1, 500, &policy);
        assert_eq!(view.expire_at_ms(b"new:1998"), Some(Some(1998)));
        assert!(view.exists(b"new:1") && !view.exists(b"new:2") && !view.exists(b"old:1"));
        while !space.expire_some(5000, 1000).complete {}
        assert_eq!(space.len(1), 1000);
    }

    /// A replica that sends a snapshot itself gets a new data set: what it sends is the old one.
    #[test]
    fn a_snapshot_goes_on_over_what_was_there() {
        let mut space = Keyspace::new(0..SLOTS, 1, 7);
        let policy = Policy::default();
        for n in 0..5000 {
            space.view(0, 0, &policy).set_string(format!("old:{n}").as_bytes(), NewStr::Int(n), Expiry::None);
        }
        space.begin_snapshot(crate::rdb::Compression::None, crate::rdb::Pieces::Whole, &policy, 0);
        let mut incoming = space.incoming();
        let hash = incoming.hash(b"new");
        assert_eq!(incoming.insert(0, hash, b"new", NewStr::Int(1), None, 0), Ok(()));
        assert!(!space.adopt(incoming).drop_some(usize::MAX));
        space.view(0, 0, &policy).set_string(b"newer", NewStr::Int(1), Expiry::None);
        while space.snapshot_some(10_000) == super::super::Walk::More {}
        let mut records = 0;
        while let Some(chunk) = space.take_chunk() {
            for record in crate::rdb::Records::new(&chunk.bytes, 1000) {
                assert!(record.is_ok_and(|record| record.key.starts_with(b"old:")));
            }
            records += chunk.records;
        }
        assert_eq!((records, space.len(0)), (5000, 2));
    }

    #[test]
    fn clocks_are_those_of_the_policy_in_force() {
        let lru = Policy { kind: PolicyKind::AllKeysLru, ..Policy::default() };
        let lfu = Policy { kind: PolicyKind::AllKeysLfu, ..Policy::default() };
        let now_ms = 10_000_000;
        assert_eq!(Policy::idle_ms(lru.loaded_clock(Access::IdleSeconds(70), now_ms), now_ms), 70_000);
        assert_eq!(Policy::idle_ms(lru.loaded_clock(Access::Frequency(70), now_ms), now_ms), 0);
        assert_eq!(lfu.frequency(lfu.loaded_clock(Access::Frequency(70), now_ms), now_ms), 70);
        assert_eq!(lfu.frequency(lfu.loaded_clock(Access::Unknown, now_ms), now_ms), 5);
    }
}
