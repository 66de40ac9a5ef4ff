//! One database of one shard: its segments, the directory over them, and the counts that INFO shows.
//!
//! Invariants
//! - the key at position p is in the segment that the directory names for p, and nowhere else
//! - an insertion moves the entries of one segment at most, unless the positions of all of them agree in further bits, when each such
//!   bit costs one more directory step and no move
//! - `len`, `volatile` and `expiry_sum_ms` are exact; every change of an entry's expiry comes through here
//! - no segment that a snapshot has still to write is merged with one that it has not
//! - no expiry is earlier than `next_due_ms`
//!
//! Positions in here are *local*: relative to the shard's first slot and shifted up, so that the first bit already tells the
//! halves of the shard's range apart. Global ones, which cursors hold, are converted at the border.

use std::ops::{Range, RangeInclusive};

use super::arena::{Arena, CHUNK_CELLS};
use super::directory::{Directory, Neighbour};
use super::entry::Entry;
use super::field_expiry::FieldDues;
use super::hash::{Dice, Hasher, KeyHash, first_position, slot_at};
use super::prefetch;
use super::segment::{MERGED_ENTRIES, NEVER, SEGMENT_ENTRIES, Segment};
use super::snapshot::Cut;
use super::{NewCollection, NewStr};

/// Random picks before a walk takes over; a pick fails on a sparse segment or chunk.
const PICKS: usize = 100;

/// Where an entry is, until the next insertion or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u32,
    pub bucket: usize,
}

#[derive(Debug)]
pub struct Table {
    /// Global position of the shard's first slot, and the last position of its last.
    first: u64,
    last: u64,
    /// Leading bits of a relative position that are always 0.
    shift: u32,
    directory: Directory,
    segments: Arena<Segment>,
    len: usize,
    volatile: usize,
    expiry_sum_ms: u128,
    segment_table_bytes: usize,
    /// Entries with an expiry in each chunk of segments, so that rare ones are found without passing all segments.
    volatile_in_chunk: Vec<u32>,
    pub(super) next_due_ms: u64,
    /// The hashes with fields that expire.
    pub(super) field_dues: FieldDues,
    /// The earliest expiry seen or set since the active cycle's present walk began.
    pub(super) walk_earliest_ms: u64,
    /// Where that walk stands.
    pub(super) walk_at: u64,
    /// While a snapshot has something to write of this table.
    pub(super) cut: Option<Cut>,
}

impl Table {
    /// `slots` is not empty.
    pub fn new(slots: &Range<u16>) -> Self {
        assert!(!slots.is_empty(), "a shard without slots");
        let first = first_position(slots.start);
        let last = first_position(slots.end - 1) | (first_position(1) - 1);
        let shift = (last - first).leading_zeros();
        let mut segments = Arena::new();
        let only = segments.insert(Segment::default());
        Self {
            first,
            last,
            shift,
            directory: Directory::new(only, (u64::BITS - shift) as u8),
            segments,
            len: 0,
            volatile: 0,
            expiry_sum_ms: 0,
            segment_table_bytes: 0,
            volatile_in_chunk: Vec::new(),
            next_due_ms: NEVER,
            field_dues: FieldDues::default(),
            walk_earliest_ms: NEVER,
            walk_at: 0,
            cut: None,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn volatile(&self) -> usize {
        self.volatile
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Mean time to live of the keys that have one, in milliseconds; 0 without any.
    pub fn average_ttl_ms(&self, now_ms: u64) -> u64 {
        let mean = self.expiry_sum_ms.checked_div(self.volatile as u128).unwrap_or(0);
        u64::try_from(mean).unwrap_or(u64::MAX).saturating_sub(now_ms)
    }

    /// Bytes of everything but the entries.
    pub fn overhead_bytes(&self) -> usize {
        self.segment_table_bytes + self.segments.heap_bytes() + self.directory.heap_bytes()
    }

    /// The local position of a global one that is in the shard's range.
    #[inline]
    pub fn local(&self, position: u64) -> u64 {
        debug_assert!((self.first..=self.last).contains(&position), "a key of another shard");
        position.wrapping_sub(self.first) << self.shift
    }

    pub fn global(&self, local: u64) -> u64 {
        self.first + (local >> self.shift)
    }

    /// Where a walk from that cursor starts, `None` when it is past the end. Any number will do.
    pub fn enter(&self, cursor: u64) -> Option<u64> {
        (cursor <= self.last).then(|| self.local(cursor.max(self.first)))
    }

    /// The segment at a local position, and the last local position it covers.
    pub fn segment_at(&self, local: u64) -> (u32, u64) {
        let number = self.directory.find(local);
        let depth = u32::from(self.segments.get(number).depth);
        (number, local | u64::MAX.checked_shr(depth).unwrap_or(0))
    }

    /// Where the walk goes on behind a segment that ends at that local position.
    pub fn behind(&self, last_local: u64) -> Option<u64> {
        last_local.checked_add(1).filter(|next| *next <= self.local(self.last))
    }

    #[inline]
    pub fn segment(&self, number: u32) -> &Segment {
        self.segments.get(number)
    }

    /// The segment that has, or would have, keys of that hash.
    pub(super) fn segment_of(&self, hash: KeyHash) -> u32 {
        self.directory.find(self.local(hash.position()))
    }

    /// The slots that a segment's keys can be in.
    pub(super) fn slots_of(&self, hasher: &Hasher, segment: &Segment) -> RangeInclusive<u16> {
        let Some(entry) = segment.iter().next() else { return slot_at(self.first)..=slot_at(self.last) };
        let free = u64::MAX.checked_shr(u32::from(segment.depth)).unwrap_or(0);
        let local = self.local(hasher.position(entry.key()));
        slot_at(self.global(local & !free))..=slot_at(self.global(local | free).min(self.last))
    }

    /// Whether a snapshot still has to write that segment.
    pub(super) fn is_unwritten(&self, number: u32) -> bool {
        self.cut.is_some_and(|cut| self.segments.get(number).version < cut.epoch)
    }

    #[inline]
    pub(super) fn segment_mut(&mut self, number: u32) -> &mut Segment {
        self.segments.get_mut(number)
    }

    #[inline]
    pub fn find(&self, hash: KeyHash, key: &[u8]) -> Option<Place> {
        let segment = self.directory.find(self.local(hash.position()));
        let bucket = self.segments.get(segment).find(hash.tag(), key)?;
        Some(Place { segment, bucket })
    }

    /// Brings the entries of these keys close; see the module `prefetch`.
    pub fn prefetch(&self, keys: &[KeyHash]) {
        for keys in keys.chunks(prefetch::AT_ONCE) {
            self.prefetch_some(keys);
        }
    }

    fn prefetch_some(&self, keys: &[KeyHash]) {
        let mut segments = [0; prefetch::AT_ONCE];
        let mut buckets = [None; prefetch::AT_ONCE];
        for (segment, key) in segments.iter_mut().zip(keys) {
            *segment = self.directory.find(self.local(key.position()));
            prefetch::line(self.segments.get(*segment));
        }
        for segment in &segments[..keys.len()] {
            self.segments.get(*segment).prefetch_marks();
        }
        for ((bucket, segment), key) in buckets.iter_mut().zip(&segments).zip(keys) {
            let segment = self.segments.get(*segment);
            *bucket = segment.likely(key.tag());
            if let Some(bucket) = *bucket {
                segment.prefetch_pointer(bucket);
            }
        }
        for (bucket, segment) in buckets.iter().zip(&segments).take(keys.len()) {
            if let Some(entry) = bucket.and_then(|bucket| self.segments.get(*segment).get(bucket)) {
                entry.prefetch();
            }
        }
    }

    /// The entry of that hash, whatever its key.
    pub fn find_hash(&self, hasher: &Hasher, hash: KeyHash) -> Option<Place> {
        let segment = self.directory.find(self.local(hash.position()));
        let same = |entry: &Entry| hasher.hash(entry.key()) == hash;
        let bucket = self.segments.get(segment).find_by(hash.tag(), same)?;
        Some(Place { segment, bucket })
    }

    #[inline]
    pub fn entry(&self, place: Place) -> &Entry {
        let Some(entry) = self.segments.get(place.segment).get(place.bucket) else { stale(place) };
        entry
    }

    /// For changes that leave the expiry as it is.
    #[inline]
    pub fn entry_mut(&mut self, place: Place) -> &mut Entry {
        let Some(entry) = self.segments.get_mut(place.segment).get_mut(place.bucket) else { stale(place) };
        entry
    }

    /// Puts an entry whose key is not there.
    pub fn insert(&mut self, hasher: &Hasher, hash: KeyHash, entry: Entry) -> Place {
        let local = self.local(hash.position());
        let mut number = self.directory.find(local);
        while self.segments.get(number).len() >= SEGMENT_ENTRIES
            && self.segments.get(number).depth < self.directory.most_bits()
        {
            number = self.split(hasher, local, number);
        }
        if let Some(at_ms) = entry.expire_at_ms() {
            self.count_expiry(number, at_ms);
        }
        self.field_dues.note(hash, None, entry.field_expiry());
        self.len += 1;
        let segment = self.segments.get_mut(number);
        let before = segment.table_bytes();
        let bucket = segment.insert(entry);
        self.segment_table_bytes = self.segment_table_bytes - before + segment.table_bytes();
        Place { segment: number, bucket }
    }

    /// Splits the segment at the position. The segment that has the position now.
    #[cold]
    fn split(&mut self, hasher: &Hasher, local: u64, number: u32) -> u32 {
        let (first, shift) = (self.first, self.shift);
        let segment = self.segments.get_mut(number);
        let depth = segment.depth;
        let bit = 1 << (63 - depth);
        let before = segment.table_bytes();
        let upper = segment.split(hasher, |position| position.wrapping_sub(first) << shift, bit);
        self.segment_table_bytes = self.segment_table_bytes - before + segment.table_bytes() + upper.table_bytes();
        let moved = upper.volatile() as u32;
        let upper = self.segments.insert(upper);
        self.move_volatile(number, upper, moved);
        self.directory.split(local, depth, upper);
        if local & bit == 0 { number } else { upper }
    }

    pub fn remove(&mut self, place: Place, hash: KeyHash) -> Entry {
        let entry = self.take(place);
        self.field_dues.note(hash, entry.field_expiry(), None);
        self.tidy(self.local(hash.position()));
        entry
    }

    /// Removes an entry and leaves its segment otherwise as it is; [`Table::tidy`] must follow once places are no longer needed.
    pub(super) fn take(&mut self, place: Place) -> Entry {
        let Some(entry) = self.segments.get_mut(place.segment).take(place.bucket) else { stale(place) };
        self.len -= 1;
        if let Some(at_ms) = entry.expire_at_ms() {
            self.uncount_expiry(place.segment, at_ms);
        }
        entry
    }

    /// Shrinks or merges the segment at the position after removals.
    pub(super) fn tidy(&mut self, local: u64) {
        let number = self.directory.find(local);
        let segment = self.segments.get_mut(number);
        let before = segment.table_bytes();
        segment.shrink();
        self.segment_table_bytes = self.segment_table_bytes - before + segment.table_bytes();
        let len = segment.len();
        // Of two neighbours that could merge one has at most half; looking at the other each time would cost every removal a miss.
        if len <= MERGED_ENTRIES / 2 && len.is_multiple_of(4) {
            self.merge_around(local);
        }
    }

    #[cold]
    fn merge_around(&mut self, local: u64) {
        loop {
            let number = self.directory.find(local);
            let depth = self.segments.get(number).depth;
            let Neighbour::Segment(other) = self.directory.neighbour(local, depth) else { return };
            if self.is_unwritten(number) != self.is_unwritten(other) {
                return;
            }
            let (segment, neighbour) = self.segments.pair_mut(number, other);
            if neighbour.depth != depth || segment.len() + neighbour.len() > MERGED_ENTRIES {
                return;
            }
            let before = segment.table_bytes() + neighbour.table_bytes();
            let moved = neighbour.volatile() as u32;
            segment.merge(std::mem::take(neighbour));
            self.segment_table_bytes = self.segment_table_bytes - before + segment.table_bytes();
            self.segments.remove(other);
            self.move_volatile(other, number, moved);
            self.directory.merge(local, depth, number);
        }
    }

    /// Another value and expiry at a place.
    pub fn assign(&mut self, place: Place, value: NewStr<'_>, expire_at_ms: Option<u64>) {
        let old = self.entry(place).expire_at_ms();
        self.entry_mut(place).assign(value, expire_at_ms);
        self.recount(place, old, expire_at_ms);
    }

    pub fn set_expire_at_ms(&mut self, place: Place, at_ms: Option<u64>) {
        let old = self.entry(place).expire_at_ms();
        self.entry_mut(place).set_expire_at_ms(at_ms);
        self.recount(place, old, at_ms);
    }

    #[inline]
    fn recount(&mut self, place: Place, old: Option<u64>, new: Option<u64>) {
        if old == new {
            return;
        }
        if let Some(at_ms) = old {
            self.uncount_expiry(place.segment, at_ms);
            self.segments.get_mut(place.segment).forget_expiry();
        }
        if let Some(at_ms) = new {
            self.count_expiry(place.segment, at_ms);
            self.segments.get_mut(place.segment).note_expiry(at_ms);
        }
    }

    fn count_expiry(&mut self, segment: u32, at_ms: u64) {
        let chunk = segment as usize / CHUNK_CELLS;
        if self.volatile_in_chunk.len() <= chunk {
            self.volatile_in_chunk.resize(chunk + 1, 0);
        }
        self.volatile_in_chunk[chunk] += 1;
        self.volatile += 1;
        self.expiry_sum_ms += u128::from(at_ms);
        self.next_due_ms = self.next_due_ms.min(at_ms);
        self.walk_earliest_ms = self.walk_earliest_ms.min(at_ms);
    }

    fn uncount_expiry(&mut self, segment: u32, at_ms: u64) {
        self.volatile_in_chunk[segment as usize / CHUNK_CELLS] -= 1;
        self.volatile -= 1;
        self.expiry_sum_ms -= u128::from(at_ms);
    }

    fn move_volatile(&mut self, from: u32, to: u32, count: u32) {
        if count > 0 {
            let (from, to) = (from as usize / CHUNK_CELLS, to as usize / CHUNK_CELLS);
            if self.volatile_in_chunk.len() <= to {
                self.volatile_in_chunk.resize(to + 1, 0);
            }
            self.volatile_in_chunk[from] -= count;
            self.volatile_in_chunk[to] += count;
        }
    }

    /// Makes the segment's bound exact after its due entries were removed.
    pub(super) fn tighten(&mut self, number: u32) -> u64 {
        let segment = self.segments.get_mut(number);
        segment.tighten_earliest();
        segment.earliest_ms
    }

    /// A segment that holds entries, each with a chance by what it holds, so that a random entry of it is a fair pick. `None` when
    /// luck fails or there is none.
    pub fn pick_segment(&self, dice: &mut Dice) -> Option<u32> {
        for _ in 0..PICKS {
            let Some(number) = self.segments.pick(dice.roll()) else { continue };
            if dice.below(SEGMENT_ENTRIES) < self.segments.get(number).len() {
                return Some(number);
            }
        }
        None
    }

    /// The first segment with entries from a random position on, around the end.
    pub fn walk_to_segment(&self, dice: &mut Dice) -> Option<u32> {
        let range = self.last - self.first;
        let start = self.local(self.first + ((u128::from(dice.roll()) * u128::from(range)) >> 64) as u64);
        let mut at = start;
        let mut wrapped = false;
        loop {
            let (number, last) = self.segment_at(at);
            if self.segment(number).len() > 0 {
                return Some(number);
            }
            if wrapped && last >= start {
                return None;
            }
            at = self.behind(last).unwrap_or_else(|| {
                wrapped = true;
                0
            });
        }
    }

    /// A segment that holds an entry with an expiry, near a random one.
    pub fn find_volatile_segment(&self, dice: &mut Dice) -> Option<u32> {
        let chunks = self.volatile_in_chunk.len();
        let start = dice.below(chunks.max(1));
        let chunk = (start..chunks).chain(0..start).find(|chunk| self.volatile_in_chunk[*chunk] > 0)?;
        let cells = self.segments.cells(chunk);
        let start = dice.below(cells.len().max(1));
        let cell = (start..cells.len()).chain(0..start).find(|cell| cells[*cell].volatile() > 0)?;
        Some((chunk * CHUNK_CELLS + cell) as u32)
    }

    /// A random entry, `None` of an empty table.
    pub fn pick(&self, dice: &mut Dice) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        let segment = match self.pick_segment(dice) {
            Some(number) => number,
            None => self.walk_to_segment(dice)?,
        };
        Some(Place { segment, bucket: dice.below(self.segment(segment).len()) })
    }

    /// Cells that [`Table::pop_segment`] has not taken out yet.
    #[cfg(test)]
    pub(super) fn segments_left(&self) -> usize {
        (0..).map(|chunk| self.segments.cells(chunk).len()).take_while(|cells| *cells > 0).sum()
    }

    /// Another collection at a place, with the same expiry of the key.
    pub fn assign_collection(&mut self, place: Place, hash: KeyHash, value: NewCollection<'_>) {
        let entry = self.entry_mut(place);
        let before = entry.field_expiry();
        entry.assign_collection(value, entry.expire_at_ms());
        let after = entry.field_expiry();
        self.field_dues.note(hash, before, after);
    }

    /// Takes segments out for dropping; the table must not be used otherwise any more.
    pub(super) fn pop_segment(&mut self) -> Option<Segment> {
        let segment = self.segments.pop()?;
        self.len -= segment.len();
        Some(segment)
    }
}

#[cold]
fn stale(place: Place) -> ! {
    panic!("{place:?} was used after its entry went away")
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
