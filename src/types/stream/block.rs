//! A run of entries, packed. The entries of a stream stand in such blocks.
//!
//! A block begins with the field names of its first entry; an entry with the same fields stores only values. An entry is
//!
//! - a head: flags and, in the upper six bits, how its ID follows from the ID before (see [`Step`]), with numbers as varints behind it
//! - with fields of its own: their number
//! - unless it is one value: the length of what follows, so that it can be passed over
//! - values, or fields and values in turn, as [`packed`] elements
//!
//! Invariants
//! - IDs rise strictly; the first entry has the block's ID, deleted or not; the last one's is known
//! - a deleted entry keeps its bytes, and its place in the counts, as in Redis: where a block is full decides what an approximate trim drops
//! - `listpack_bytes` is what the block takes in Redis, to the byte
//!
//! The bytes are this process's own and trusted.

use std::ops::Deref;

use super::id::Id;
use super::listpack::{EMPTY_BYTES, int_bytes, item_bytes};
use crate::types::packed::{self, Item, Items};

/// When a block is full: `stream-node-max-bytes` and `stream-node-max-entries`, 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    pub max_bytes: usize,
    pub max_entries: u32,
}

impl Default for BlockLimits {
    fn default() -> Self {
        Self { max_bytes: 4096, max_entries: 100 }
    }
}

/// What Redis never lets a block, or the texts of one entry, exceed.
pub const MAX_BLOCK_BYTES: usize = 1 << 30;

/// Flags of an entry; the first two are Redis's.
const DELETED: u8 = 1;
const SAME_FIELDS: u8 = 2;
const FLAG_BITS: u32 = 2;
const FLAGS: u8 = (1 << FLAG_BITS) - 1;

/// The longest head with the lengths behind it.
const MAX_HEAD: usize = 1 + 4 * MAX_VARINT;
const MAX_VARINT: usize = 10;

/// How an ID follows from the one before, as the number in an entry's head.
struct Step;

impl Step {
    /// The next sequence number of the same millisecond.
    const NEXT: u8 = 0;
    /// From 1 up to here: so many milliseconds later, sequence number 0.
    const MAX_LATER: u8 = 60;
    /// The same millisecond, a varint's distance of sequence numbers. 0 in the first entry.
    const SEQ: u8 = 61;
    /// A varint of milliseconds later, sequence number 0.
    const MS: u8 = 62;
    /// A varint of milliseconds later, and a varint that is the sequence number.
    const MS_SEQ: u8 = 63;
}

/// What an entry's bytes are to be: see [`Block::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// Values for the block's fields.
    Same,
    /// Fields and values in turn.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Live,
    Deleted,
}

/// What is known of a block without reading its run.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    first: Id,
    last: Id,
    live: u32,
    deleted: u32,
    listpack_bytes: u32,
    /// Number of the block's fields, and where their names end in the run.
    fields: u32,
    fields_end: u32,
    /// Where the last entry begins.
    last_at: u32,
}

impl Outline {
    /// The ID of the first entry, which may be deleted.
    #[inline]
    pub fn first(&self) -> Id {
        self.first
    }

    /// The ID of the last entry, which may be deleted.
    #[inline]
    pub fn last(&self) -> Id {
        self.last
    }

    /// Number of entries that are not deleted.
    #[inline]
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Number of deleted entries that are still there.
    #[inline]
    pub fn deleted(&self) -> u32 {
        self.deleted
    }

    /// What the block takes in Redis.
    pub fn listpack_bytes(&self) -> usize {
        self.listpack_bytes as usize
    }
}

#[derive(Clone)]
pub struct Block {
    outline: Outline,
    run: Vec<u8>,
}

impl Deref for Block {
    type Target = Outline;

    #[inline]
    fn deref(&self) -> &Outline {
        &self.outline
    }
}

/// An entry as the walk over a block finds it.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub id: Id,
    pub state: State,
    fields: Fields,
    /// Number of fields.
    count: usize,
    /// Where its bytes begin, and its items, and where the next entry begins.
    pub at: usize,
    body: usize,
    pub end: usize,
}

/// An entry as it stands in its block.
pub struct Stored<'a> {
    pub id: Id,
    pub state: State,
    pub fields: Fields,
    /// Number of fields.
    pub count: usize,
    /// Values, or fields and values in turn.
    pub items: Items<'a>,
}

impl Block {
    /// A block with these fields that has no entry yet; the first must have the ID `first`.
    pub fn new<'i>(first: Id, names: impl Iterator<Item = Item<'i>>, capacity: usize) -> Self {
        let mut run = Vec::with_capacity(capacity);
        let (mut fields, mut bytes) = (0u32, 0);
        for name in names {
            packed::push_item(&mut run, name);
            fields += 1;
            bytes += item_bytes(name);
        }
        // The counts of live and deleted entries and of fields, and the zero behind the names.
        let fixed = 3 * int_bytes(0) + int_bytes(i64::from(fields));
        let listpack_bytes = (EMPTY_BYTES + fixed + bytes) as u32;
        let end = run.len() as u32;
        let (fields_end, last_at) = (end, end);
        let outline = Outline { first, last: first, live: 0, deleted: 0, listpack_bytes, fields, fields_end, last_at };
        Self { outline, run }
    }

    /// Whether an entry with so many bytes of text has to begin another block.
    #[inline]
    pub fn is_full(&self, text_bytes: usize, limits: BlockLimits) -> bool {
        let max_bytes = if limits.max_bytes == 0 { MAX_BLOCK_BYTES } else { limits.max_bytes.min(MAX_BLOCK_BYTES) };
        let entries = self.live + self.deleted;
        self.listpack_bytes as usize + text_bytes >= max_bytes
            || (limits.max_entries > 0 && entries >= limits.max_entries)
    }

    /// Whether these are the block's fields, in this order.
    #[inline]
    pub fn has_fields<'i>(&self, mut names: impl Iterator<Item = &'i [u8]>) -> bool {
        self.names().all(|own| names.next().is_some_and(|name| Item::of(name) == own)) && names.next().is_none()
    }

    #[inline]
    fn names_run(&self) -> &[u8] {
        &self.run[..self.fields_end as usize]
    }

    /// The block's fields.
    #[inline]
    pub fn names(&self) -> Items<'_> {
        packed::items(self.names_run())
    }

    /// A block of an outline and the run that belongs to it.
    pub(super) fn of_parts(outline: Outline, run: Vec<u8>) -> Self {
        Self { outline, run }
    }

    #[inline]
    pub(super) fn outline(&self) -> &Outline {
        &self.outline
    }

    #[inline]
    pub(super) fn run(&self) -> &[u8] {
        &self.run
    }

    #[inline]
    pub fn run_capacity(&self) -> usize {
        self.run.capacity()
    }

    /// Gives back room that is not needed, to be called when no more entries come.
    pub fn seal(&mut self) {
        // A copy, because allocators shrink in place without giving anything back.
        if self.run.capacity() - self.run.len() > self.run.len() / 16 {
            self.run = self.run.as_slice().to_vec();
        }
    }

    /// Appends an entry of `count` fields beyond the last one. `items` are values, or fields and values; `text_bytes` are in them in all.
    pub fn push<'i>(
        &mut self,
        id: Id,
        state: State,
        fields: Fields,
        count: usize,
        items: impl Iterator<Item = Item<'i>>,
        text_bytes: usize,
    ) {
        debug_assert!(id > self.last || (self.live + self.deleted == 0 && id == self.first));
        debug_assert!(fields == Fields::Own || count == self.fields as usize);
        let (elements, count_bytes) = match fields {
            Fields::Same => (count, 0),
            Fields::Own => (2 * count, int_bytes(count as i64)),
        };
        let mut head = Scratch::new();
        head.push_id(self.last, id, flags(state, fields));
        if fields == Fields::Own {
            head.varint(count as u64);
        }
        let per_element = if text_bytes < 192 { 1 } else { 5 };
        self.reserve(head.len + MAX_VARINT / 2 + text_bytes + per_element * elements);
        self.outline.last_at = self.run.len() as u32;
        self.run.extend_from_slice(head.bytes());
        let mut bytes = 0;
        if fields == Fields::Same && count == 1 {
            items.for_each(|item| bytes += push_counted(&mut self.run, item));
        } else {
            // Most lengths take one byte; for another the items move up.
            let at = self.run.len();
            self.run.push(0);
            items.for_each(|item| bytes += push_counted(&mut self.run, item));
            let length = self.run.len() - at - 1;
            if length < 0x80 {
                self.run[at] = length as u8;
            } else {
                let mut long = Scratch::new();
                long.varint(length as u64);
                self.run.splice(at..=at, long.bytes().iter().copied());
            }
        }
        let (delta, extra) = (Delta::between(self.first, id), usize::from(fields == Fields::Own));
        bytes += int_bytes(0) + int_bytes(delta.ms) + int_bytes(delta.seq) + count_bytes;
        bytes += int_bytes((3 + elements + extra) as i64);
        self.outline.listpack_bytes += bytes as u32;
        self.outline.last = id;
        match state {
            State::Live => self.set_counts(self.live + 1, self.deleted),
            State::Deleted => self.set_counts(self.live, self.deleted + 1),
        }
    }

    fn set_counts(&mut self, live: u32, deleted: u32) {
        let bytes = |live: u32, deleted: u32| (int_bytes(i64::from(live)) + int_bytes(i64::from(deleted))) as u32;
        let outline = &mut self.outline;
        outline.listpack_bytes += bytes(live, deleted);
        outline.listpack_bytes -= bytes(outline.live, outline.deleted);
        (outline.live, outline.deleted) = (live, deleted);
    }

    /// Makes room, growing by half: a stream may stay small.
    #[inline]
    fn reserve(&mut self, more: usize) {
        let needed = self.run.len() + more;
        if needed > self.run.capacity() {
            let capacity = needed.max(self.run.len() + self.run.len() / 2).next_multiple_of(16);
            self.run.reserve_exact(capacity - self.run.len());
        }
    }

    /// Where the first entry begins, and the ID that its own follows from.
    #[inline]
    pub(super) fn start(&self) -> (usize, Id) {
        (self.fields_end as usize, self.first)
    }

    /// The entry at `at`, behind one with the ID `before`; `None` at the end.
    // Walks over blocks are loops around this, most of which need a part of the result: inlined, the rest is not computed.
    #[inline(always)]
    pub(super) fn head(&self, at: usize, before: Id) -> Option<Head> {
        let &tag = self.run.get(at)?;
        let mut cursor = at + 1;
        // The log takes up its first entry without knowing the ID before: hence no checks against overflow.
        let id = match tag >> FLAG_BITS {
            Step::NEXT => Id::new(before.ms, before.seq.wrapping_add(1)),
            Step::SEQ => Id::new(before.ms, before.seq.wrapping_add(self.varint(&mut cursor))),
            Step::MS => Id::new(before.ms.wrapping_add(self.varint(&mut cursor)), 0),
            Step::MS_SEQ => {
                let ms = before.ms.wrapping_add(self.varint(&mut cursor));
                Id::new(ms, self.varint(&mut cursor))
            }
            later => Id::new(before.ms.wrapping_add(u64::from(later)), 0),
        };
        let state = if tag & DELETED == 0 { State::Live } else { State::Deleted };
        let (fields, count) = if tag & SAME_FIELDS != 0 {
            (Fields::Same, self.fields as usize)
        } else {
            (Fields::Own, self.varint(&mut cursor) as usize)
        };
        let (body, end) = if fields == Fields::Same && count == 1 {
            (cursor, cursor + packed_bytes(&self.run[cursor..]))
        } else {
            let length = self.varint(&mut cursor) as usize;
            (cursor, cursor + length)
        };
        Some(Head { id, state, fields, count, at, body, end })
    }

    /// The last entry, which may be deleted.
    #[inline]
    pub(super) fn last_head(&self) -> Option<Head> {
        Some(Head { id: self.last, ..self.head(self.last_at as usize, self.last)? })
    }

    #[inline(always)]
    fn varint(&self, cursor: &mut usize) -> u64 {
        let byte = self.run[*cursor];
        if byte & 0x80 != 0 {
            return self.long_varint(cursor);
        }
        *cursor += 1;
        u64::from(byte)
    }

    fn long_varint(&self, cursor: &mut usize) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.run[*cursor];
            *cursor += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    /// All entries, deleted ones included.
    #[inline(always)]
    pub(super) fn heads(&self) -> impl Iterator<Item = Head> + '_ {
        let (mut at, mut before) = self.start();
        std::iter::from_fn(move || {
            let head = self.head(at, before)?;
            (at, before) = (head.end, head.id);
            Some(head)
        })
    }

    /// The entry with this ID, unless it is deleted.
    pub(super) fn find(&self, id: Id) -> Option<Head> {
        if id > self.last {
            return None;
        }
        self.heads().find(|head| head.id >= id).filter(|head| head.id == id && head.state == State::Live)
    }

    /// Marks the live entry at `at` as deleted.
    pub(super) fn mark_deleted(&mut self, at: usize) {
        debug_assert!(self.run[at] & DELETED == 0);
        self.run[at] |= DELETED;
        self.set_counts(self.live - 1, self.deleted + 1);
    }

    /// Removes the deleted entries beyond `id`. There must be an entry that stays.
    pub(super) fn drop_deleted_above(&mut self, id: Id) {
        *self = self.rebuilt(|head| head.state == State::Live || head.id <= id);
    }

    /// The block without the entries that `keep` does not want.
    fn rebuilt(&self, keep: impl Fn(&Head) -> bool) -> Self {
        let mut kept = self.heads().filter(keep).peekable();
        let first = kept.peek().map_or(self.first, |head| head.id);
        let mut block = Self::new(first, self.names(), self.run.len());
        for head in kept {
            let items = &self.run[head.body..head.end];
            block.push(head.id, head.state, head.fields, head.count, packed::items(items), items.len());
        }
        block
    }

    #[inline]
    pub(super) fn entry(&self, head: &Head) -> Entry<'_> {
        let names = match head.fields {
            Fields::Same => Some(self.names_run()),
            Fields::Own => None,
        };
        Entry { id: head.id, count: head.count, names, items: &self.run[head.body..head.end] }
    }

    /// What the block is made of, deleted entries included: for those who write it down.
    pub fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        self.heads().map(|head| Stored {
            id: head.id,
            state: head.state,
            fields: head.fields,
            count: head.count,
            items: packed::items(&self.run[head.body..head.end]),
        })
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let heads: Vec<Head> = self.heads().collect();
        assert_eq!(heads.iter().filter(|head| head.state == State::Live).count(), self.live as usize);
        assert_eq!(heads.len(), (self.live + self.deleted) as usize);
        assert!(heads.is_sorted_by(|a, b| a.id < b.id));
        assert_eq!((heads[0].id, heads[heads.len() - 1].id), (self.first, self.last));
        let last = self.last_head().expect("an entry");
        assert_eq!((last.at, last.end), (heads[heads.len() - 1].at, self.run.len()));
    }
}

/// Bytes of the element at the beginning of a run: [`packed::first`] for when nothing else is asked for.
#[inline(always)]
fn packed_bytes(run: &[u8]) -> usize {
    match run[0] {
        short @ 0..=191 => 1 + usize::from(short),
        _ => packed::first(run).map_or(0, |(_, length)| length),
    }
}

#[inline]
fn push_counted(run: &mut Vec<u8>, item: Item<'_>) -> usize {
    packed::push_item(run, item);
    item_bytes(item)
}

/// The flags of an entry as Redis has them.
#[inline]
pub fn flags(state: State, fields: Fields) -> u8 {
    let state = if state == State::Deleted { DELETED } else { 0 };
    let fields = if fields == Fields::Same { SAME_FIELDS } else { 0 };
    state | fields
}

/// The flags of an entry in a listpack; `None` if a bit is unknown.
pub fn read_flags(flags: i64) -> Option<(State, Fields)> {
    let flags = u8::try_from(flags).ok().filter(|flags| flags & !FLAGS == 0)?;
    let state = if flags & DELETED == 0 { State::Live } else { State::Deleted };
    let fields = if flags & SAME_FIELDS == 0 { Fields::Own } else { Fields::Same };
    Some((state, fields))
}

/// An ID as its distance from its block's, which is how Redis stores it. Both wrap around.
#[derive(Clone, Copy)]
pub struct Delta {
    pub ms: i64,
    pub seq: i64,
}

impl Delta {
    #[inline]
    pub fn between(base: Id, id: Id) -> Self {
        Self { ms: id.ms.wrapping_sub(base.ms) as i64, seq: id.seq.wrapping_sub(base.seq) as i64 }
    }

    pub fn from(self, base: Id) -> Id {
        Id::new(base.ms.wrapping_add_signed(self.ms), base.seq.wrapping_add_signed(self.seq))
    }
}

/// Room for the head of an entry.
struct Scratch {
    room: [u8; MAX_HEAD],
    len: usize,
}

impl Scratch {
    #[inline]
    fn new() -> Self {
        Self { room: [0; MAX_HEAD], len: 0 }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    #[inline]
    fn push_id(&mut self, before: Id, id: Id, flags: u8) {
        let later = id.ms - before.ms;
        let step = match (later, id.seq) {
            (0, seq) if seq.wrapping_sub(before.seq) == 1 => Step::NEXT,
            (0, _) => Step::SEQ,
            (_, 0) if later <= u64::from(Step::MAX_LATER) => later as u8,
            (_, 0) => Step::MS,
            (_, _) => Step::MS_SEQ,
        };
        self.room[0] = step << FLAG_BITS | flags;
        self.len = 1;
        match step {
            Step::SEQ => self.varint(id.seq - before.seq),
            Step::MS => self.varint(later),
            Step::MS_SEQ => {
                self.varint(later);
                self.varint(id.seq);
            }
            _ => {}
        }
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.room[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.room[self.len] = value as u8;
        self.len += 1;
    }
}

/// An entry of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub id: Id,
    count: usize,
    /// The field names, if they do not stand between the values.
    names: Option<&'a [u8]>,
    items: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Number of fields.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Fields and values.
    #[inline]
    pub fn fields(&self) -> EntryFields<'a> {
        EntryFields { names: self.names.map(packed::items), items: packed::items(self.items) }
    }
}

/// See [`Entry::fields`].
#[derive(Clone, Debug)]
pub struct EntryFields<'a> {
    names: Option<Items<'a>>,
    items: Items<'a>,
}

impl<'a> Iterator for EntryFields<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let name = match &mut self.names {
            Some(names) => names.next()?,
            None => self.items.next()?,
        };
        Some((name, self.items.next()?))
    }
}
