//! All databases of one shard, with the figures INFO shows of them.

use std::ops::Range;

use hashbrown::HashMap;

use super::KeyView;
use super::changes::Changes;
use super::entry::Entry;
use super::eviction::{Policy, Sampler};
use super::expiry::ExpiryMode;
use super::hash::{Dice, Hasher, KeyHash};
use super::removals::Removals;
use super::scan::Next;
use super::segment::Segment;
use super::snapshot::Snapshot;
use super::table::{Place, Table};

/// Expired keys that RANDOMKEY meets before it takes one of them, where they stay.
const RANDOM_TRIES: usize = 100;

/// What the keyspace has counted since it was made or reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reading look-ups that found a key.
    pub hits: u64,
    /// Reading look-ups that did not.
    pub misses: u64,
    /// Keys removed because their time had passed.
    pub expired: u64,
    /// Fields of hashes removed because their time had passed.
    pub expired_fields: u64,
    /// Keys removed to free memory.
    pub evicted: u64,
    /// Of the keys with an expiry that the active cycle looked at lately, the share that was due, in hundredths of a percent.
    pub expired_stale_basis_points: u64,
}

/// One database's line of INFO's keyspace section, for this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    pub keys: usize,
    pub expires: usize,
    pub average_ttl_ms: u64,
}

/// The keyspace of one shard. Methods that take a database panic when there is no such database.
#[derive(Debug)]
pub struct Keyspace {
    pub(super) slots: Range<u16>,
    pub(super) tables: Vec<Table>,
    pub(super) hasher: Hasher,
    pub(super) dice: Dice,
    pub(super) sampler: Sampler,
    pub(super) stats: Stats,
    /// The database the active expiry cycle is in.
    pub(super) expiry_db: usize,
    /// What was done to keys, while anybody watches.
    pub changes: Changes,
    /// What expired or was evicted, while a write log wants to know.
    pub removals: Removals,
    pub(super) expiry_mode: ExpiryMode,
    /// Entries of each database that are handed out to other cores.
    pub(super) away: Vec<usize>,
    /// How many aliases of each lent entry are with other cores, by database and hash.
    pub(super) lent: HashMap<(usize, u64), usize>,
    /// Of the last snapshot that was begun.
    pub(super) epoch: u64,
    /// The oldest snapshot of which marks may be left on entries.
    pub(super) stale_marks: Option<u64>,
    /// The one that runs.
    pub(super) snapshot: Option<Box<Snapshot>>,
}

impl Keyspace {
    /// An empty keyspace of a range of slots that is not empty. The seed should be random and the same for all shards of the process.
    pub fn new(slots: Range<u16>, databases: usize, seed: u64) -> Self {
        Self {
            tables: (0..databases).map(|_| Table::new(&slots)).collect(),
            hasher: Hasher::new(seed),
            dice: Dice::new(seed ^ u64::from(slots.start)),
            sampler: Sampler::default(),
            stats: Stats::default(),
            expiry_db: 0,
            changes: Changes::default(),
            removals: Removals::default(),
            expiry_mode: ExpiryMode::Own,
            away: vec![0; databases],
            lent: HashMap::new(),
            epoch: 0,
            stale_marks: None,
            snapshot: None,
            slots,
        }
    }

    /// One database, at a moment in Unix milliseconds.
    pub fn view<'a>(&'a mut self, db: usize, now_ms: u64, policy: &'a Policy) -> KeyView<'a> {
        KeyView::new(self, db, now_ms, policy)
    }

    /// Whether keys that expire or are evicted are noted in `removals`.
    pub fn log_removals(&mut self, on: bool) {
        self.removals.turn(on);
    }

    /// What becomes of keys whose time has passed, from now on.
    pub fn set_expiry_mode(&mut self, mode: ExpiryMode) {
        self.expiry_mode = mode;
    }

    pub fn databases(&self) -> usize {
        self.tables.len()
    }

    /// The slots that belong to this shard.
    pub fn slots(&self) -> Range<u16> {
        self.slots.clone()
    }

    /// Keys of a database, those that have expired but were not met yet included.
    pub fn len(&self, db: usize) -> usize {
        self.tables[db].len()
    }

    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    pub fn db_stats(&self, db: usize, now_ms: u64) -> DbStats {
        let table = &self.tables[db];
        DbStats {
            keys: table.len() + self.away[db],
            expires: table.volatile(),
            average_ttl_ms: table.average_ttl_ms(now_ms),
        }
    }

    /// Keys that a policy could evict: all, or those that expire.
    pub fn evictable(&self, only_volatile: bool) -> usize {
        self.tables.iter().map(|table| if only_volatile { table.volatile() } else { table.len() }).sum()
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
    }

    /// Bytes of tables and directories of a database: its memory beside the entries.
    pub fn overhead_bytes(&self, db: usize) -> usize {
        self.tables[db].overhead_bytes()
    }

    pub fn segments(&self, db: usize) -> usize {
        self.tables[db].segments()
    }

    /// Exchanges two databases.
    pub fn swap_db(&mut self, a: usize, b: usize) {
        self.tables.swap(a, b);
        self.walk_again();
        self.sampler.clear();
    }

    /// Empties a database in constant time. What was in it is freed as the caller drops the garbage.
    pub fn flush(&mut self, db: usize) -> Garbage {
        self.sampler.clear();
        let table = std::mem::replace(&mut self.tables[db], Table::new(&self.slots));
        self.let_go(table)
    }

    /// Empties all databases in constant time.
    pub fn flush_all(&mut self) -> Garbage {
        let tables = (0..self.tables.len()).flat_map(|db| self.flush(db).tables);
        Garbage::new(tables.collect())
    }

    /// A random key that has not expired, `None` when there is none. Expired ones that are met go; where they may not, one of them is
    /// returned after some tries if all keys have an expiry, as Redis does on a replica.
    pub fn random_key(&mut self, db: usize, now_ms: u64) -> Option<&[u8]> {
        let mut tries = 0;
        let place = loop {
            let place = self.tables[db].pick(&mut self.dice)?;
            if !self.remove_if_due(db, place, now_ms) {
                break place;
            }
            tries += 1;
            let table = &self.tables[db];
            if tries >= RANDOM_TRIES && self.expiry_mode != ExpiryMode::Own && table.volatile() == table.len() {
                break place;
            }
        };
        Some(self.tables[db].entry(place).key())
    }

    /// Puts an entry whose key is not there.
    #[inline]
    pub(super) fn insert(&mut self, db: usize, hash: KeyHash, mut entry: Entry) -> Place {
        self.before_insert(db, hash, &mut entry);
        self.tables[db].insert(&self.hasher, hash, entry)
    }

    /// Takes out what is at a place.
    #[inline]
    pub(super) fn remove(&mut self, db: usize, place: Place, hash: KeyHash) -> Entry {
        self.before_change(db, place);
        self.tables[db].remove(place, hash)
    }

    /// Keys of a database in a slot, for CLUSTER COUNTKEYSINSLOT.
    pub fn count_in_slot(&self, db: usize, slot: u16) -> usize {
        let mut count = 0;
        self.walk_slot(db, slot, |segment, whole| {
            count += match whole {
                Whole::Yes => segment.len(),
                Whole::No => segment.iter().filter(|entry| super::slot::slot(entry.key()) == slot).count(),
            };
            Walk::On
        });
        count
    }

    /// Up to so many keys of a database in a slot, for CLUSTER GETKEYSINSLOT.
    pub fn keys_in_slot(&self, db: usize, slot: u16, most: usize, mut emit: impl FnMut(&[u8])) {
        let mut left = most;
        self.walk_slot(db, slot, |segment, _| {
            for entry in segment.iter().filter(|entry| super::slot::slot(entry.key()) == slot).take(left) {
                emit(entry.key());
                left -= 1;
            }
            if left > 0 { Walk::On } else { Walk::Stop }
        });
    }

    /// Visits the segments that hold keys of a slot, and tells whether they hold others.
    fn walk_slot(&self, db: usize, slot: u16, mut visit: impl FnMut(&Segment, Whole) -> Walk) {
        if !self.slots.contains(&slot) {
            return;
        }
        let table = &self.tables[db];
        let first = table.local(super::first_position(slot));
        let last = table.local(super::first_position(slot) | (super::first_position(1) - 1));
        let mut at = Some(first);
        while let Some(position) = at.filter(|position| *position <= last) {
            let (number, end) = table.segment_at(position);
            let segment = table.segment(number);
            let start = position & !u64::MAX.checked_shr(u32::from(segment.depth)).unwrap_or(0);
            let whole = if start >= first && table.global(end) <= table.global(last) { Whole::Yes } else { Whole::No };
            match visit(segment, whole) {
                Walk::On => at = table.behind(end),
                Walk::Stop => return,
            }
        }
    }

    /// Visits keys in the order of positions, some `budget` of them: key, value, expiry. Expired keys are passed over.
    pub fn for_each_from(
        &self,
        db: usize,
        cursor: u64,
        budget: usize,
        now_ms: u64,
        mut visit: impl FnMut(&[u8], super::ValueRef<'_>, Option<u64>),
    ) -> Next {
        self.walk(db, cursor, budget, now_ms, |entry| visit(entry.key(), entry.value(), entry.expire_at_ms()))
    }
}

/// Whether a segment's keys are all of the slot in question.
enum Whole {
    Yes,
    No,
}

enum Walk {
    On,
    Stop,
}

/// What FLUSHDB and FLUSHALL took out, not yet freed. Belongs to the thread of its keyspace.
#[derive(Debug)]
pub struct Garbage {
    tables: Vec<Table>,
}

impl Garbage {
    pub(super) fn new(tables: Vec<Table>) -> Garbage {
        Garbage { tables }
    }

    /// How many entries are left.
    pub fn entries(&self) -> usize {
        self.tables.iter().map(Table::len).sum()
    }

    /// Frees some `budget` entries, a segment at a time. Whether more is left.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        let mut freed = 0;
        while freed < budget {
            let Some(table) = self.tables.last_mut() else { return false };
            match table.pop_segment() {
                // A segment without entries is work too.
                Some(segment) => freed += segment.len().max(1),
                None if table.field_dues.drop_some(budget) => return true,
                None => drop(self.tables.pop()),
            }
        }
        !self.tables.is_empty()
    }
}
