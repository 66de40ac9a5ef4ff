//! A snapshot of the keyspace as it was at one moment (the cut), without a second copy of it.
//!
//! Beginning one only notes its epoch with each table. From then on a segment is *to be written* while its version is below that. A walk writes segments
//! down bit by bit. Whatever is about to change an entry of a segment that is still to be written writes that entry down first, and *marks* it; entries
//! that come new into such a segment are marked too. The walk passes over what is marked, and takes the marks off.
//!
//! Invariants
//! - every key that was there at the cut is written once, with the value and expiry that it had then; no other key is written
//! - every change of an entry, and every entry that comes or goes, passes [`Keyspace::before_change`] or [`Keyspace::before_insert`] before it
//!   happens. What needs no writing down: access clocks, lending, and other forms of the same value
//! - splits hand the version on, and a segment that is to be written is never merged with one that is not
//! - a table that is flushed meanwhile belongs to the snapshot, which frees its segments as it writes them
//! - a table without a cut holds nothing that is to be written
//! - an entry in a segment that is not to be written has no mark of this snapshot. Marks that an abandoned snapshot has left, or that could not be taken off
//!   as the entry was lent, are told by their number, of which there are three; when those might not suffice, a snapshot does without marks, and a
//!   change writes the whole segment down
//!
//! Keys that are due at the cut are written as they are: that they go comes after it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::entry::Entry;
use super::eviction::{Policy, PolicyKind};
use super::hash::{Hasher, KeyHash};
use super::segment::Segment;
use super::space::Garbage;
use super::table::{Place, Table};
use super::{Keyspace, SHARED_BYTES, StrRef, ValueRef, slot};
use crate::rdb::{Access, Compression, LargeWriter, Piece, Pieces, is_large, write_record};
use crate::types::Object;

/// A chunk is closed when it has reached this size; only one very large record makes it much larger.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Room beyond, so that the record which closes a chunk mostly finds it.
const CHUNK_SLACK: usize = 4 << 10;

/// Chunks that are being filled: one a database, but no more than these, so that many databases cost no more memory.
const OPEN_CHUNKS: usize = 8;

/// Bytes that wait to be taken, from which on writers have to wait until the consumer has caught up.
pub const BACKLOG_BYTES: usize = 4 << 20;

/// How many marks there are, beside none.
const MARKS: u64 = 3;

/// What passing a segment counts as in a budget of bytes.
const SEGMENT_BYTES: usize = 256;

/// What a table knows of the snapshot that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Segments with a lower version are to be written.
    pub epoch: u64,
    /// The number that the database had.
    db: u32,
    /// Where the walk stands.
    at: u64,
}

/// A run of records of one database.
#[derive(Debug)]
pub struct SnapshotChunk {
    pub db: u32,
    pub records: u64,
    /// All keys are in these slots.
    pub slots: RangeInclusive<u16>,
    /// The last record goes on in the next chunk.
    pub open: bool,
    pub bytes: Vec<u8>,
}

/// What a snapshot has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// Segments that the walk has written.
    pub walked_segments: u64,
    /// Keys that were written before the walk came to them, as they were about to change.
    pub forced_keys: u64,
    pub keys: u64,
    pub bytes: u64,
}

/// Whether a walk has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    More,
    Done,
}

/// The snapshot that runs.
#[derive(Debug)]
pub struct Snapshot {
    writer: RecordWriter,
    /// What it marks entries with.
    mark: Option<u8>,
    /// A mark could not be taken off.
    leaves_marks: bool,
    /// Tables that were flushed since the cut, each with its mark.
    detached: Vec<Table>,
    open: Vec<SnapshotChunk>,
    closed: VecDeque<SnapshotChunk>,
    /// Large values that are still to be written, as they were at the cut, the first of them perhaps in part.
    large: VecDeque<Large>,
    /// Chunks of theirs.
    closed_large: VecDeque<SnapshotChunk>,
    /// The chunk that was taken last ends in the middle of a record.
    mid_record: bool,
    /// Bytes of all chunks, open and closed.
    queued_bytes: usize,
    stats: SnapshotStats,
    /// No table before this one has a mark.
    walk_db: usize,
    walk: Walk,
}

/// A large value on its way.
#[derive(Debug)]
struct Large {
    db: u32,
    slot: u16,
    writer: LargeWriter,
}

/// How entries become records.
#[derive(Debug)]
struct RecordWriter {
    compression: Compression,
    pieces: Pieces,
    policy: Policy,
    now_ms: u64,
}

impl RecordWriter {
    #[inline]
    fn write(&self, out: &mut Vec<u8>, entry: &Entry) {
        let value = entry.value();
        let compression = match value {
            // No write waits for so long a compression.
            ValueRef::Str(StrRef::Shared(_)) => Compression::None,
            ValueRef::Str(StrRef::Inline(text)) if text.len() >= SHARED_BYTES => Compression::None,
            ValueRef::Str(StrRef::Inline(_) | StrRef::Int(_)) => self.compression,
            ValueRef::Packed(..) => self.compression,
            ValueRef::Object(_) => Compression::None,
        };
        write_record(out, entry.key(), value, entry.expire_at_ms(), self.access(entry), compression);
    }

    /// Told only where the policy goes by it, as Redis has it.
    #[inline]
    fn access(&self, entry: &Entry) -> Access {
        match self.policy.kind {
            PolicyKind::AllKeysLru | PolicyKind::VolatileLru => {
                Access::IdleSeconds(Policy::idle_ms(entry.clock(), self.now_ms) / 1000)
            }
            PolicyKind::AllKeysLfu | PolicyKind::VolatileLfu => {
                Access::Frequency(self.policy.frequency(entry.clock(), self.now_ms))
            }
            PolicyKind::NoEviction | PolicyKind::AllKeysRandom => Access::Unknown,
            PolicyKind::VolatileRandom | PolicyKind::VolatileTtl => Access::Unknown,
        }
    }
}

impl Snapshot {
    fn new(writer: RecordWriter, mark: Option<u8>) -> Self {
        Self {
            writer,
            mark,
            leaves_marks: false,
            detached: Vec::new(),
            open: Vec::new(),
            closed: VecDeque::new(),
            large: VecDeque::new(),
            closed_large: VecDeque::new(),
            mid_record: false,
            queued_bytes: 0,
            stats: SnapshotStats::default(),
            walk_db: 0,
            walk: Walk::More,
        }
    }

    /// Writes what is still to be written of a segment of a database, whose keys are in these slots, and takes marks off. Its bytes.
    fn write_segment(&mut self, db: u32, slots: RangeInclusive<u16>, segment: &mut Segment) -> usize {
        let before = self.queued_bytes;
        let mut chunk = self.take_open(db);
        for entry in segment.iter_mut() {
            let mark = entry.mark();
            if mark != 0 {
                if entry.is_lent() {
                    self.leaves_marks = true;
                } else {
                    entry.set_mark(0);
                }
                if self.mark == Some(mark) {
                    continue;
                }
            }
            chunk = self.write_entry(chunk, &slots, entry);
        }
        self.keep_open(chunk);
        self.queued_bytes - before
    }

    /// Writes an entry at the end of a chunk. The chunk to go on with.
    #[inline]
    fn write_entry(&mut self, mut chunk: SnapshotChunk, slots: &RangeInclusive<u16>, entry: &Entry) -> SnapshotChunk {
        if let ValueRef::Object(object) = entry.value()
            && is_large(object)
        {
            self.put_off(chunk.db, object, entry);
            return chunk;
        }
        let length = chunk.bytes.len();
        self.writer.write(&mut chunk.bytes, entry);
        chunk.records += 1;
        chunk.widen(slots);
        let written = chunk.bytes.len() - length;
        self.queued_bytes += written;
        self.stats.keys += 1;
        self.stats.bytes += written as u64;
        if chunk.bytes.len() < CHUNK_BYTES {
            return chunk;
        }
        let next = SnapshotChunk::new(chunk.db);
        self.closed.push_back(chunk);
        next
    }

    /// Keeps a large value as it is now, to be written bit by bit.
    #[cold]
    fn put_off(&mut self, db: u32, object: &Object, entry: &Entry) {
        let RecordWriter { pieces, .. } = self.writer;
        let access = self.writer.access(entry);
        let writer = LargeWriter::new(entry.key(), object, entry.expire_at_ms(), access, pieces);
        self.large.push_back(Large { db, slot: slot::slot(entry.key()), writer });
        self.stats.keys += 1;
    }

    /// Writes a chunk of the first large value. Its bytes.
    fn write_large(&mut self) -> usize {
        let Some(large) = self.large.front_mut() else { return 0 };
        let mut chunk = SnapshotChunk::new(large.db);
        let piece = large.writer.step(&mut chunk.bytes, CHUNK_BYTES);
        let written = chunk.bytes.len();
        self.queued_bytes += written;
        self.stats.bytes += written as u64;
        chunk.widen(&(large.slot..=large.slot));
        chunk.records = 1;
        chunk.open = piece == Piece::Open;
        if piece == Piece::Last {
            self.large.pop_front();
        }
        self.closed_large.push_back(chunk);
        written
    }

    /// The oldest chunk that is complete. Between those of one record there is no other.
    fn take_closed(&mut self) -> Option<SnapshotChunk> {
        let next = if self.mid_record { None } else { self.closed.pop_front() };
        let chunk = next.or_else(|| self.closed_large.pop_front())?;
        self.mid_record = chunk.open;
        Some(chunk)
    }

    /// The chunk of that database that is being filled.
    fn take_open(&mut self, db: u32) -> SnapshotChunk {
        match self.open.iter().position(|chunk| chunk.db == db) {
            Some(index) => self.open.swap_remove(index),
            None => SnapshotChunk::new(db),
        }
    }

    fn keep_open(&mut self, chunk: SnapshotChunk) {
        if chunk.records == 0 {
            return;
        }
        if self.open.len() == OPEN_CHUNKS {
            let full = self.open.swap_remove(0);
            self.closed.push_back(full);
        }
        self.open.push(chunk);
    }

    /// Writes the next segment of a table that is still in use, if it is to be written. Its bytes.
    fn pass_segment(&mut self, hasher: &Hasher, table: &mut Table, cut: Cut) -> usize {
        let (number, last) = table.segment_at(cut.at);
        let mut written = 0;
        if table.is_unwritten(number) {
            table.segment(number).iter().for_each(Entry::prefetch);
            written = self.write_whole(hasher, table, number, cut);
            self.stats.walked_segments += 1;
        }
        table.cut = table.behind(last).map(|at| Cut { at, ..cut });
        written
    }

    fn write_whole(&mut self, hasher: &Hasher, table: &mut Table, number: u32, cut: Cut) -> usize {
        let slots = table.slots_of(hasher, table.segment(number));
        let segment = table.segment_mut(number);
        segment.version = cut.epoch;
        self.write_segment(cut.db, slots, segment)
    }

    /// Writes a segment of the last flushed table, if it is to be written, and frees it. Its bytes.
    fn pop_segment(&mut self, hasher: &Hasher) -> usize {
        let Some(table) = self.detached.last_mut() else { return 0 };
        let (Some(cut), Some(mut segment)) = (table.cut, table.pop_segment()) else {
            self.detached.pop();
            return 0;
        };
        if segment.version >= cut.epoch || segment.len() == 0 {
            return 0;
        }
        segment.iter().for_each(Entry::prefetch);
        let slots = table.slots_of(hasher, &segment);
        self.stats.walked_segments += 1;
        self.write_segment(cut.db, slots, &mut segment)
    }

    /// Something at a place that is to be written changes.
    fn write_first(&mut self, hasher: &Hasher, table: &mut Table, place: Place, cut: Cut) {
        let before = self.stats.keys;
        match self.mark {
            None => drop(self.write_whole(hasher, table, place.segment, cut)),
            Some(mark) => {
                let entry = table.entry_mut(place);
                if entry.mark() != mark {
                    let slot = slot::slot(entry.key());
                    let chunk = self.take_open(cut.db);
                    let chunk = self.write_entry(chunk, &(slot..=slot), entry);
                    self.keep_open(chunk);
                    entry.set_mark(mark);
                }
            }
        }
        self.stats.forced_keys += self.stats.keys - before;
    }
}

impl SnapshotChunk {
    fn new(db: u32) -> Self {
        // No slot is in this range.
        let slots = RangeInclusive::new(u16::MAX, 0);
        Self { db, records: 0, slots, open: false, bytes: Vec::with_capacity(CHUNK_BYTES + CHUNK_SLACK) }
    }

    fn widen(&mut self, slots: &RangeInclusive<u16>) {
        self.slots = *self.slots.start().min(slots.start())..=*self.slots.end().max(slots.end());
    }
}

impl Keyspace {
    /// Makes this moment the cut of a snapshot: the same work however many keys there are. No entry is handed out to be changed; no other snapshot
    /// runs.
    /// `pieces`: how large values are written.
    pub fn begin_snapshot(&mut self, compression: Compression, pieces: Pieces, policy: &Policy, now_ms: u64) {
        debug_assert!(self.snapshot.is_none(), "one snapshot at a time");
        debug_assert!(self.away.iter().all(|away| *away == 0), "keys are away at the cut");
        self.epoch += 1;
        for (db, table) in self.tables.iter_mut().enumerate().filter(|(_, table)| table.len() > 0) {
            table.cut = Some(Cut { epoch: self.epoch, db: db as u32, at: 0 });
        }
        let ambiguous = self.stale_marks.is_some_and(|oldest| self.epoch - oldest >= MARKS);
        let mark = (!ambiguous).then_some((self.epoch % MARKS) as u8 + 1);
        let writer = RecordWriter { compression, pieces, policy: *policy, now_ms };
        self.snapshot = Some(Box::new(Snapshot::new(writer, mark)));
    }

    /// Goes on with the walk, for some `budget` bytes of records. Flushed tables come first, so that their memory is soon free.
    pub fn snapshot_some(&mut self, budget: usize) -> Walk {
        let Some(snapshot) = &mut self.snapshot else { return Walk::Done };
        let mut spent = 0;
        while spent < budget {
            spent += SEGMENT_BYTES;
            if !snapshot.large.is_empty() {
                spent += snapshot.write_large();
            } else if !snapshot.detached.is_empty() {
                spent += snapshot.pop_segment(&self.hasher);
            } else if let Some(table) = self.tables.get_mut(snapshot.walk_db) {
                match table.cut {
                    Some(cut) => spent += snapshot.pass_segment(&self.hasher, table, cut),
                    None => snapshot.walk_db += 1,
                }
            } else {
                snapshot.closed.extend(std::mem::take(&mut snapshot.open));
                snapshot.walk = Walk::Done;
                break;
            }
        }
        snapshot.walk
    }

    /// The oldest chunk that is complete.
    pub fn take_chunk(&mut self) -> Option<SnapshotChunk> {
        let snapshot = self.snapshot.as_deref_mut()?;
        let chunk = snapshot.take_closed()?;
        snapshot.queued_bytes -= chunk.bytes.len();
        Some(chunk)
    }

    /// Bytes written down and not taken yet.
    pub fn queued_bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.queued_bytes)
    }

    /// Whether so much waits to be taken that writers should wait too.
    pub fn snapshot_backlogged(&self) -> bool {
        self.queued_bytes() >= BACKLOG_BYTES
    }

    /// Whether a snapshot runs. One that has come to its end runs until it is ended.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    pub fn snapshot_stats(&self) -> SnapshotStats {
        self.snapshot.as_ref().map_or_else(SnapshotStats::default, |snapshot| snapshot.stats)
    }

    /// Ends the snapshot, complete or not: what was not taken of it is dropped. What it kept of flushed tables is for the caller to free.
    pub fn end_snapshot(&mut self) -> Garbage {
        self.tables.iter_mut().for_each(|table| table.cut = None);
        let Some(snapshot) = self.snapshot.take() else { return Garbage::new(Vec::new()) };
        self.stale_marks = match (snapshot.walk, snapshot.leaves_marks) {
            // It has taken off all others too.
            (Walk::Done, false) => None,
            (Walk::Done, true) => Some(self.stale_marks.unwrap_or(self.epoch)),
            (Walk::More, _) => Some(self.stale_marks.unwrap_or(self.epoch)),
        };
        Garbage::new(snapshot.detached)
    }

    /// To be called before anything of the entry at a place changes.
    #[inline]
    pub(super) fn before_change(&mut self, db: usize, place: Place) {
        if self.snapshot.is_some() {
            self.write_first(db, place);
        }
    }

    /// To be called before an entry comes under that hash.
    #[inline]
    pub(super) fn before_insert(&mut self, db: usize, hash: KeyHash, entry: &mut Entry) {
        if self.snapshot.is_some() {
            self.mark_new(db, hash, entry);
        }
    }

    #[cold]
    fn write_first(&mut self, db: usize, place: Place) {
        let table = &mut self.tables[db];
        let (Some(snapshot), Some(cut)) = (&mut self.snapshot, table.cut) else { return };
        if table.is_unwritten(place.segment) {
            snapshot.write_first(&self.hasher, table, place, cut);
        }
    }

    #[cold]
    fn mark_new(&mut self, db: usize, hash: KeyHash, entry: &mut Entry) {
        let table = &mut self.tables[db];
        let (Some(snapshot), Some(cut)) = (&mut self.snapshot, table.cut) else { return };
        let number = table.segment_of(hash);
        if !table.is_unwritten(number) {
            return;
        }
        match snapshot.mark {
            Some(mark) => entry.set_mark(mark),
            None => {
                let before = snapshot.stats.keys;
                snapshot.write_whole(&self.hasher, table, number, cut);
                snapshot.stats.forced_keys += snapshot.stats.keys - before;
            }
        }
    }

    /// The databases have come in another order.
    pub(super) fn walk_again(&mut self) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.walk_db = 0;
        }
    }

    /// A table that is no longer in use: kept for a snapshot that has not written all of it.
    pub(super) fn let_go(&mut self, table: Table) -> Garbage {
        match &mut self.snapshot {
            Some(snapshot) if table.cut.is_some() => {
                snapshot.detached.push(table);
                Garbage::new(Vec::new())
            }
            Some(_) | None => Garbage::new(vec![table]),
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
