//! A run of neighbouring positions in one small table: what is split, merged, scanned and sampled as a whole.
//!
//! The table is two arrays: the entries, and a byte of each one's tag. A look-up compares 16 bytes at a time with the key's, at most
//! seven times, and then the rest of the tag in the pointer, so that it touches hardly any entry but the right one. That takes 9 bytes an
//! entry and half a step of slack, where a hash table of 2^n buckets takes between 10 and 21.
//!
//! Invariants
//! - at most [`SEGMENT_ENTRIES`] entries, except where all of them have one position and no bit is left to split by
//! - both arrays have the same length; `marks[i]` is the mark of `entries[i]`
//! - growing, shrinking and merging touch no entry
//! - `earliest_ms` is not later than the earliest expiry in here, and is `NEVER` without any

use super::entry::Entry;
use super::hash::Hasher;
use super::prefetch;
use crate::types::marks::{STEP, matches};

/// Seven comparisons of 16.
pub const SEGMENT_ENTRIES: usize = 112;
/// Two neighbours that together have no more than this become one; half of the most, so that a merged segment is far from its next split.
pub const MERGED_ENTRIES: usize = SEGMENT_ENTRIES / 2;
/// No expiry.
pub const NEVER: u64 = u64::MAX;

/// Arrays grow and shrink in steps of a comparison, for which the allocator has exact size classes; fewer than a step are kept in blocks
/// of this many or twice as many.
const FEW: usize = 4;

#[derive(Debug)]
pub struct Segment {
    entries: Vec<Entry>,
    marks: Vec<u8>,
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
        Self { entries: Vec::new(), marks: Vec::new(), earliest_ms: NEVER, version: 0, volatile: 0, depth: 0 }
    }
}

#[inline]
fn mark(tag: u16) -> u8 {
    tag as u8
}

/// What arrays for so many entries are made for.
fn capacity_for(len: usize) -> usize {
    match len {
        0 => 0,
        _ if len <= FEW => FEW,
        _ if len <= 2 * FEW => 2 * FEW,
        _ if len <= SEGMENT_ENTRIES => len.next_multiple_of(STEP),
        // Only where no bit is left to split by.
        _ => len.next_power_of_two(),
    }
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
        self.find_by(tag, |entry| entry.key() == key)
    }

    /// The bucket of the first entry with that tag that the predicate accepts.
    #[inline]
    pub fn find_by(&self, tag: u16, mut accept: impl FnMut(&Entry) -> bool) -> Option<usize> {
        self.marked(tag, |bucket| {
            let entry = &self.entries[bucket];
            entry.tag() == tag && accept(entry)
        })
    }

    /// The first bucket with the tag's mark that the predicate accepts.
    #[inline]
    fn marked(&self, tag: u16, mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut accept_of = |first: usize, mut bits: u32| {
            while bits != 0 {
                let bucket = first + bits.trailing_zeros() as usize;
                if accept(bucket) {
                    return Some(bucket);
                }
                bits &= bits - 1;
            }
            None
        };
        let (chunks, rest) = self.marks.as_chunks::<STEP>();
        for (index, chunk) in chunks.iter().enumerate() {
            let found = accept_of(index * STEP, matches(chunk, mark(tag)));
            if found.is_some() {
                return found;
            }
        }
        if rest.is_empty() {
            return None;
        }
        // The rest is compared together with what stands before it, and that left out.
        if let Some(last) = self.marks.last_chunk::<STEP>() {
            let seen = STEP - rest.len();
            return accept_of(self.len() - STEP, matches(last, mark(tag)) & (u32::MAX << seen));
        }
        let same = rest.iter().enumerate().filter(|&(_, &other)| other == mark(tag));
        same.map(|(bucket, _)| bucket).find(|&bucket| accept_of(bucket, 1).is_some())
    }

    /// The bucket that a look-up will most likely end at.
    #[inline]
    pub fn likely(&self, tag: u16) -> Option<usize> {
        self.marked(tag, |_| true)
    }

    /// Asks for the marks.
    #[inline]
    pub fn prefetch_marks(&self) {
        prefetch::line(self.marks.as_ptr());
        prefetch::line(self.marks.as_ptr().wrapping_add(64));
    }

    /// Asks for the pointer to an entry.
    #[inline]
    pub fn prefetch_pointer(&self, bucket: usize) {
        prefetch::line(self.entries.as_ptr().wrapping_add(bucket));
    }

    #[inline]
    pub fn get(&self, bucket: usize) -> Option<&Entry> {
        self.entries.get(bucket)
    }

    #[inline]
    pub fn get_mut(&mut self, bucket: usize) -> Option<&mut Entry> {
        self.entries.get_mut(bucket)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// For what touches neither keys nor expiries.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Puts an entry whose key is not there. Its bucket.
    #[inline]
    pub fn insert(&mut self, entry: Entry) -> usize {
        if self.entries.len() == self.entries.capacity() {
            self.resize(self.entries.len() + 1);
        }
        if let Some(at_ms) = entry.expire_at_ms() {
            self.note_expiry(at_ms);
        }
        self.push(entry);
        self.entries.len() - 1
    }

    #[inline]
    fn push(&mut self, entry: Entry) {
        self.marks.push(mark(entry.tag()));
        self.entries.push(entry);
    }

    /// Makes the arrays for so many entries, at least as many as there are.
    #[cold]
    fn resize(&mut self, len: usize) {
        let capacity = capacity_for(len);
        let more = capacity - self.len();
        self.entries.reserve_exact(more);
        self.entries.shrink_to(capacity);
        self.marks.reserve_exact(more);
        self.marks.shrink_to(capacity);
    }

    /// Takes the entry of a bucket out. The last entry takes its bucket; the others stay where they are.
    #[inline]
    pub fn take(&mut self, bucket: usize) -> Option<Entry> {
        if bucket >= self.len() {
            return None;
        }
        self.marks.swap_remove(bucket);
        let entry = self.entries.swap_remove(bucket);
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

    /// Gives memory back when a step and a half is free, so that the next growth is some way off.
    #[inline]
    pub fn shrink(&mut self) {
        let (len, capacity) = (self.len(), self.entries.capacity());
        if len == 0
            || len + STEP / 2 <= capacity_for(capacity.saturating_sub(STEP))
            || (len <= FEW && capacity > 2 * FEW)
        {
            self.resize(len);
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
        lower.resize(self.len() - moving);
        upper.resize(moving);
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
            self.resize(together);
        }
        self.depth -= 1;
        self.version = self.version.min(other.version);
        self.volatile += other.volatile;
        self.earliest_ms = self.earliest_ms.min(other.earliest_ms);
        other.entries.into_iter().for_each(|entry| self.push(entry));
    }

    /// Bytes of the arrays, without the entries' own.
    pub fn table_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.marks.capacity()
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
    fn full_churn_stays_in_place() {
        let mut segment = Segment::default();
        for n in 0..SEGMENT_ENTRIES {
            segment.insert(entry(n));
        }
        for n in 0..10_000 {
            segment.take(n * 31 % segment.len());
            segment.shrink();
            segment.insert(entry(SEGMENT_ENTRIES + n));
            assert_eq!(segment.table_bytes(), SEGMENT_ENTRIES * 9);
        }
        assert_eq!(segment.len(), SEGMENT_ENTRIES);
    }

    #[test]
    fn shrinks_to_nothing() {
        let mut segment = Segment::default();
        for n in 0..SEGMENT_ENTRIES {
            segment.insert(entry(n));
            assert!(segment.table_bytes() < (segment.len() + STEP) * 9);
        }
        while segment.len() > 0 {
            segment.take(segment.len() / 2);
            segment.shrink();
            assert!(segment.table_bytes() <= (segment.len() + STEP * 3 / 2) * 9, "{}", segment.len());
        }
        assert_eq!(segment.table_bytes(), 0);
    }

    #[test]
    fn finds_each_of_any_number() {
        let mut segment = Segment::default();
        for n in 0..300 {
            segment.insert(entry(n));
            for known in 0..=n {
                let wanted = entry(known);
                assert_eq!(segment.find(wanted.tag(), wanted.key()), Some(known));
            }
            let other = entry(n + 1);
            assert_eq!(segment.find(other.tag(), other.key()), None);
        }
    }

    #[test]
    fn stays_small() {
        assert_eq!(size_of::<Segment>(), 72);
    }
}
