//! A run of neighbouring positions in one small hash table: what is split, merged, scanned and sampled as a whole.
//!
//! Invariants
//! - at most [`SEGMENT_ENTRIES`] entries, except where all of them have one position and no bit is left to split by
//! - the table's hash comes from the tag in the entry's pointer, so growing, shrinking and merging touch no entry
//! - the table never grows by itself: `insert` makes room first, so 112 entries never take a table of 256 buckets
//! - `earliest_ms` is not later than the earliest expiry in here, and is `NEVER` without any

use hashbrown::HashTable;

use super::entry::Entry;
use super::hash::Hasher;
use super::pool::PoolAlloc;

/// What a table of 128 buckets holds.
pub const SEGMENT_ENTRIES: usize = 112;
/// Two neighbours that together have no more than this become one; half of the most, so that a merged segment is far from its next split.
pub const MERGED_ENTRIES: usize = SEGMENT_ENTRIES / 2;
/// No expiry.
pub const NEVER: u64 = u64::MAX;

type Entries = HashTable<Entry, PoolAlloc>;

#[derive(Debug)]
pub struct Segment {
    entries: Entries,
    pub earliest_ms: u64,
    /// For snapshot epochs.
    pub version: u64,
    /// Entries with an expiry.
    volatile: u32,
    /// Bits of the position that all entries have in common.
    pub depth: u8,
}

impl Default for Segment {
    fn default() -> Self {
        Self { entries: HashTable::new_in(PoolAlloc::NEW), earliest_ms: NEVER, version: 0, volatile: 0, depth: 0 }
    }
}

/// The table looks for the bucket in the lowest bits and compares the seven highest: a tag has seven for each.
#[inline]
fn table_hash(tag: u16) -> u64 {
    u64::from(tag & 0x7f) | u64::from(tag >> 7) << 57
}

#[inline]
fn entry_hash(entry: &Entry) -> u64 {
    table_hash(entry.tag())
}

impl Segment {
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub fn volatile(&self) -> usize {
        self.volatile as usize
    }

    /// The bucket of the key.
    #[inline]
    pub fn find(&self, tag: u16, key: &[u8]) -> Option<usize> {
        self.entries.find_bucket_index(table_hash(tag), |entry| entry.tag() == tag && entry.key() == key)
    }

    /// The bucket of the first entry with that tag that the predicate accepts.
    pub fn find_by(&self, tag: u16, mut accept: impl FnMut(&Entry) -> bool) -> Option<usize> {
        self.entries.find_bucket_index(table_hash(tag), |entry| entry.tag() == tag && accept(entry))
    }

    #[inline]
    pub fn get(&self, bucket: usize) -> Option<&Entry> {
        self.entries.get_bucket(bucket)
    }

    #[inline]
    pub fn get_mut(&mut self, bucket: usize) -> Option<&mut Entry> {
        self.entries.get_bucket_mut(bucket)
    }

    #[inline]
    pub fn buckets(&self) -> usize {
        self.entries.num_buckets()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The buckets in use, in table order.
    pub fn iter_buckets(&self) -> impl Iterator<Item = usize> {
        self.entries.iter_buckets()
    }

    /// The n-th entry's bucket in table order.
    pub fn nth_bucket(&self, n: usize) -> Option<usize> {
        self.entries.iter_buckets().nth(n)
    }

    /// Puts an entry whose key is not there. Its bucket.
    #[inline]
    pub fn insert(&mut self, entry: Entry) -> usize {
        if self.entries.len() == self.entries.capacity() {
            self.make_room();
        }
        if let Some(at_ms) = entry.expire_at_ms() {
            self.volatile += 1;
            self.earliest_ms = self.earliest_ms.min(at_ms);
        }
        self.entries.insert_unique(entry_hash(&entry), entry, entry_hash).bucket_index()
    }

    /// Removed entries can have left markers that take room, so the present bucket count may do after a rebuild.
    #[cold]
    fn make_room(&mut self) {
        let len = self.len();
        self.rebuild(if len < SEGMENT_ENTRIES { len + 1 } else { len * 2 });
    }

    fn rebuild(&mut self, capacity: usize) {
        let old = std::mem::replace(&mut self.entries, Entries::with_capacity_in(capacity, PoolAlloc::NEW));
        for entry in old {
            self.entries.insert_unique(entry_hash(&entry), entry, entry_hash);
        }
    }

    /// Takes the entry of a bucket out. Other entries stay in their buckets.
    #[inline]
    pub fn take(&mut self, bucket: usize) -> Option<Entry> {
        let entry = self.entries.get_bucket_entry(bucket).ok()?.remove().0;
        if entry.has_expiry() {
            self.forget_expiry();
        }
        Some(entry)
    }

    /// Counts an entry that has got an expiry.
    #[inline]
    pub fn note_expiry(&mut self, at_ms: u64) {
        self.volatile += 1;
        self.earliest_ms = self.earliest_ms.min(at_ms);
    }

    /// Counts an entry that has lost its expiry. The bound stays valid, only less tight.
    #[inline]
    pub fn forget_expiry(&mut self) {
        self.volatile -= 1;
        if self.volatile == 0 {
            self.earliest_ms = NEVER;
        }
    }

    /// Makes `earliest_ms` exact.
    pub fn tighten_earliest(&mut self) {
        self.earliest_ms = self.entries.iter().filter_map(Entry::expire_at_ms).min().unwrap_or(NEVER);
    }

    /// Gives memory back when few entries are left, with a gap to the next growth.
    #[inline]
    pub fn shrink(&mut self) {
        let len = self.len();
        if len == 0 {
            self.entries = HashTable::new_in(PoolAlloc::NEW);
        } else if self.buckets() > 4 && len * 8 <= self.buckets() * 7 / 8 * 3 {
            self.rebuild(len);
        }
    }

    /// Gives the entries whose position has the bit set to a new segment, one bit deeper than this one was, as this one now is.
    /// `position` is the caller's (within the shard) for a key; `bit` is the mask of the next bit.
    pub fn split(&mut self, hasher: &Hasher, position: impl Fn(u64) -> u64, bit: u64) -> Segment {
        debug_assert!(self.len() <= SEGMENT_ENTRIES);
        self.entries.iter().for_each(Entry::prefetch);
        let mut upper_half = 0u128;
        for (index, entry) in self.entries.iter().enumerate() {
            if position(hasher.position(entry.key())) & bit != 0 {
                upper_half |= 1 << index;
            }
        }
        self.depth += 1;
        let mut upper = Segment { version: self.version, depth: self.depth, ..Segment::default() };
        let moving = upper_half.count_ones() as usize;
        if moving == 0 {
            return upper;
        }
        if moving == self.len() {
            std::mem::swap(self, &mut upper);
            return upper;
        }
        let mut lower = Segment { version: self.version, depth: self.depth, ..Segment::default() };
        lower.entries = Entries::with_capacity_in(self.len() - moving, PoolAlloc::NEW);
        upper.entries = Entries::with_capacity_in(moving, PoolAlloc::NEW);
        for (index, entry) in std::mem::take(self).entries.into_iter().enumerate() {
            let half = if upper_half >> index & 1 == 0 { &mut lower } else { &mut upper };
            half.insert(entry);
        }
        *self = lower;
        upper
    }

    /// Takes all entries of a neighbour in; the result is one bit shallower.
    pub fn merge(&mut self, other: Segment) {
        let together = self.len() + other.len();
        if together > self.entries.capacity() {
            self.rebuild(together);
        }
        self.depth -= 1;
        self.version = self.version.min(other.version);
        self.volatile += other.volatile;
        self.earliest_ms = self.earliest_ms.min(other.earliest_ms);
        for entry in other.entries {
            self.entries.insert_unique(entry_hash(&entry), entry, entry_hash);
        }
    }

    /// Bytes of the table, without the entries.
    pub fn table_bytes(&self) -> usize {
        self.entries.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewStr;
    use super::*;

    fn entry(n: usize) -> Entry {
        Entry::new(((n * 2654435761) >> 7) as u16 & 0x3fff, &n.to_le_bytes(), NewStr::Int(1), None, 0)
    }

    #[test]
    fn full_churn_never_outgrows_128_buckets() {
        let mut segment = Segment::default();
        for n in 0..SEGMENT_ENTRIES {
            segment.insert(entry(n));
        }
        for n in 0..10_000 {
            let bucket = segment.nth_bucket(n * 31 % segment.len()).expect("an entry");
            segment.take(bucket);
            segment.insert(entry(SEGMENT_ENTRIES + n));
            assert!(segment.buckets() <= 128);
        }
        assert_eq!(segment.len(), SEGMENT_ENTRIES);
        assert_eq!(segment.table_bytes(), 128 * 9 + 16);
    }

    #[test]
    fn shrinks_to_nothing() {
        let mut segment = Segment::default();
        for n in 0..SEGMENT_ENTRIES {
            segment.insert(entry(n));
        }
        while segment.len() > 0 {
            segment.take(segment.nth_bucket(0).expect("an entry"));
            segment.shrink();
            assert!(segment.table_bytes() <= segment.len() * 32 + 52);
        }
        assert_eq!(segment.table_bytes(), 0);
    }

    #[test]
    fn stays_small() {
        assert_eq!(size_of::<Segment>(), 56);
    }
}
