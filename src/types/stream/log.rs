//! The entries of a stream, and what the stream remembers of those that are gone.
//!
//! Invariants
//! - every block has a live entry; IDs rise strictly through the blocks
//! - the last block is the tail, which takes new entries; all others are sealed, in the index, and written to only when an entry is deleted
//! - the first block is plain, as trimming and reading from the beginning go on there, and so are the last ones; those between are
//!   compressed where that saves memory, apart from one in which an entry was just deleted
//! - `first_id` is the ID of the first live entry, which begins at `first_at` in the first block; 0-0 in an empty stream
//! - no entry is beyond `last_id`
//!
//! A clone shares all blocks but copies the index's list of leaves; the first write to a shared block copies that block.
//!
//! Where blocks end, what trimming drops and how counters move is as in Redis 7.0 (`t_stream.c`).

use std::sync::Arc;

use super::block::{Block, BlockLimits, Fields, Head, MAX_BLOCK_BYTES, Outline, State};
use super::id::{Id, NewId};
use super::iter::Entries;
use super::ordered::{Ordered, Position};
use super::sealed::{Opened, Sealed, plain_bytes};
use crate::types::lz4::{Attempts, Packing};
use crate::types::packed::Item;
use crate::types::scratch::with_scratch;

/// So many sealed blocks before the tail stay plain: who follows the stream reads there.
const PLAIN_BLOCKS: usize = if cfg!(test) { 2 } else { 16 };

/// A new block has as much room as the sealed one before it took, up to this.
const MAX_FORESEEN_BYTES: usize = 4096;

/// More elements than any entry needs, few enough that their lengths never overflow a block's.
const MAX_ELEMENTS: usize = MAX_BLOCK_BYTES / 16;

/// Why an entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// "The stream has exhausted the last possible ID, unable to add more items".
    Exhausted,
    /// "The ID specified in XADD is equal or smaller than the target stream top item"; of 0-0, which is never valid, "must be greater than 0-0".
    NotGreater,
    /// "Elements are too large to be stored".
    TooLarge,
}

/// Why XSETID is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetIdError {
    /// "The ID specified in XSETID is smaller than the target stream top item".
    BelowTop,
    /// "The entries_added specified in XSETID is smaller than the target stream length".
    FewerThanLength,
}

/// What a trim leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// MAXLEN: so many of the last entries.
    Last(u64),
    /// MINID: the entries from this ID on.
    From(Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `=`
    Exact,
    /// `~`: whole blocks, and with a `limit` other than 0 not more entries than that.
    WholeBlocks { limit: u64 },
}

#[derive(Clone, Default)]
pub struct Log {
    length: u64,
    entries_added: u64,
    first_id: Id,
    last_id: Id,
    max_deleted_id: Id,
    first_at: usize,
    pub(super) sealed: Ordered<Sealed>,
    tail: Option<Arc<Block>>,
    /// Bytes of the sealed blocks.
    sealed_bytes: usize,
    attempts: Attempts,
    /// The compressed block that was last opened to be changed, by its first ID: the next one to be opened has it compressed again.
    changed: Option<Id>,
}

/// Where a block is. Valid until the log changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Sealed(Position),
    Tail,
}

impl Log {
    /// Number of entries.
    #[inline]
    pub fn len(&self) -> u64 {
        self.length
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many entries were ever added.
    #[inline]
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The first entry's ID; 0-0 if there is none.
    #[inline]
    pub fn first_id(&self) -> Id {
        self.first_id
    }

    /// The greatest ID that was ever given out or set.
    #[inline]
    pub fn last_id(&self) -> Id {
        self.last_id
    }

    /// The greatest ID that XDEL deleted.
    #[inline]
    pub fn max_deleted_id(&self) -> Id {
        self.max_deleted_id
    }

    /// Number of blocks: what XINFO calls `radix-tree-keys`.
    pub fn blocks(&self) -> usize {
        self.sealed.len() + usize::from(self.tail.is_some())
    }

    /// The blocks whose first ID is this or greater, in order.
    pub fn blocks_from(&self, id: Id) -> impl Iterator<Item = Opened<'_>> {
        self.places_from(id).filter_map(|place| self.block(place))
    }

    /// What is known of these blocks without reading them.
    pub fn outlines_from(&self, id: Id) -> impl Iterator<Item = &Outline> {
        self.places_from(id).filter_map(|place| self.outline(place))
    }

    fn places_from(&self, id: Id) -> impl Iterator<Item = Place> {
        let sealed = self.sealed.ceiling(id);
        let first = if self.sealed.at(sealed).is_some() { Some(Place::Sealed(sealed)) } else { self.back() };
        let places = std::iter::successors(first, |place| self.next_place(*place));
        places.skip_while(move |place| self.outline(*place).is_some_and(|block| block.first() < id))
    }

    /// The ID of the first block, which is what a replica is told in place of an approximate MINID; the greatest ID if there is none.
    pub fn first_block_id(&self) -> Id {
        self.front().and_then(|place| self.outline(place)).map_or(Id::MAX, Outline::first)
    }

    /// The last entry's ID.
    pub fn last_live_id(&self) -> Option<Id> {
        self.range_reversed(Id::MIN, Id::MAX).next().map(|entry| entry.id)
    }

    /// XADD: adds an entry with an ID as `new` says. At least one field; the order is kept.
    pub fn append<'f>(
        &mut self,
        new: NewId,
        now_ms: u64,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
        limits: BlockLimits,
    ) -> Result<Id, AppendError> {
        if self.last_id == Id::MAX {
            return Err(AppendError::Exhausted);
        }
        let id = new.resolve(self.last_id, now_ms).ok_or(AppendError::NotGreater)?;
        let (mut count, mut text_bytes, mut value_bytes) = (0, 0, 0);
        for (field, value) in fields.clone() {
            count += 1;
            text_bytes += field.len() + value.len();
            value_bytes += value.len();
        }
        if text_bytes > MAX_BLOCK_BYTES || count > MAX_ELEMENTS / 2 {
            return Err(AppendError::TooLarge);
        }
        let tail = self.tail_for(id, text_bytes, limits, fields.clone().map(|(field, _)| field));
        if tail.has_fields(fields.clone().map(|(field, _)| field)) {
            tail.push(id, State::Live, Fields::Same, count, fields.map(|(_, value)| Item::of(value)), value_bytes);
        } else {
            let items = fields.flat_map(|(field, value)| [Item::of(field), Item::of(value)]);
            tail.push(id, State::Live, Fields::Own, count, items, text_bytes);
        }
        self.length += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.find_first(None);
        }
        Ok(id)
    }

    /// The block for a new entry: the tail, or another one if that is full.
    #[inline]
    fn tail_for<'f>(
        &mut self,
        id: Id,
        text_bytes: usize,
        limits: BlockLimits,
        names: impl Iterator<Item = &'f [u8]>,
    ) -> &mut Block {
        let full = self.tail.as_ref().is_none_or(|tail| tail.is_full(text_bytes, limits));
        if full {
            let capacity =
                self.tail.as_ref().map_or(0, |tail| (tail.run().len() + tail.run().len() / 32).min(MAX_FORESEEN_BYTES));
            let names = names.map(Item::of);
            self.push_block(Block::new(id, names, capacity));
        }
        let tail = self.tail.get_or_insert_with(|| Arc::new(Block::new(id, std::iter::empty(), 0)));
        Arc::make_mut(tail)
    }

    /// Makes a block the tail.
    fn push_block(&mut self, block: Block) {
        if let Some(mut full) = self.tail.replace(Arc::new(block)) {
            // A shared block stays as it is: a copy would not save anything.
            if let Some(full) = Arc::get_mut(&mut full) {
                full.seal();
            }
            self.sealed_bytes += plain_bytes(&full);
            self.sealed.insert(full.first(), Sealed::Plain(full));
            self.compress_behind();
        }
    }

    /// Compresses the block that has just become the last but [`PLAIN_BLOCKS`].
    fn compress_behind(&mut self) {
        if self.sealed.len() <= PLAIN_BLOCKS + 1 || self.attempts.next() == Packing::Plain {
            return;
        }
        let last = self.sealed.last_position();
        let Some(position) = (0..PLAIN_BLOCKS).try_fold(last, |at, _| at.map(|at| self.sealed.prev(at))).flatten()
        else {
            return;
        };
        let became = if self.compress(position) { Packing::Compressed } else { Packing::Plain };
        self.attempts.learn(became);
    }

    /// Compresses a sealed block, if that saves memory; whether it is compressed now.
    fn compress(&mut self, position: Position) -> bool {
        let Some(block) = self.sealed.value_mut(position) else { return false };
        self.sealed_bytes -= block.heap_bytes();
        let compressed = with_scratch(|scratch| block.compress(&mut scratch.lz4));
        self.sealed_bytes += block.heap_bytes();
        compressed
    }

    /// Makes a compressed block plain for good.
    fn open_for_good(&mut self, position: Position) {
        if self.sealed.at(position).is_some_and(|(_, block)| block.is_compressed())
            && let Some(block) = self.sealed.value_mut(position)
        {
            self.sealed_bytes -= block.heap_bytes();
            self.sealed_bytes += plain_bytes(block.plain_mut());
        }
    }

    /// To be called before a block is changed: if it is compressed, it is the one that may be left open from now on.
    fn before_change(&mut self, place: Place) {
        let Place::Sealed(position) = place else { return };
        let Some((id, block)) = self.sealed.at(position) else { return };
        if block.is_compressed()
            && let Some(before) = self.changed.replace(id).and_then(|id| self.sealed.find(id))
            && before != Position::FIRST
        {
            self.compress(before);
        }
    }

    /// Appends a block with live entries, for loading; whether its IDs are beyond those that are there.
    #[must_use]
    pub fn load_block(&mut self, mut block: Block) -> bool {
        debug_assert!(block.live() > 0);
        if let Some(before) = block.first().prev() {
            self.drop_deleted_above(before);
        }
        if self.tail.as_ref().is_some_and(|tail| tail.last() >= block.first()) {
            return false;
        }
        block.seal();
        self.length += u64::from(block.live());
        self.last_id = block.last();
        let is_first = self.tail.is_none();
        self.push_block(block);
        if is_first {
            self.find_first(None);
        }
        true
    }

    /// Sets what was loaded beside the blocks; whether no entry is beyond the last ID.
    #[must_use]
    pub fn load_counters(&mut self, last_id: Id, max_deleted_id: Id, entries_added: u64) -> bool {
        self.drop_deleted_above(last_id);
        (self.last_id, self.max_deleted_id, self.entries_added) = (last_id, max_deleted_id, entries_added);
        self.tail.as_ref().is_none_or(|tail| tail.last() <= last_id)
    }

    /// XSETID. `None` leaves the counter as it is; so does a `max_deleted_id` of 0-0, as in Redis.
    pub fn set_last_id(&mut self, id: Id, entries_added: Option<u64>, max_deleted_id: Id) -> Result<(), SetIdError> {
        if self.last_live_id().is_some_and(|top| id < top) {
            return Err(SetIdError::BelowTop);
        }
        if entries_added.is_some_and(|added| added < self.length) {
            return Err(SetIdError::FewerThanLength);
        }
        // Deleted entries at the end keep their IDs in the tail: a lower last ID would let new entries come in below them.
        self.drop_deleted_above(id);
        self.last_id = id;
        self.entries_added = entries_added.unwrap_or(self.entries_added);
        if max_deleted_id != Id::MIN {
            self.max_deleted_id = max_deleted_id;
        }
        Ok(())
    }

    /// Removes deleted entries beyond `id` from the tail. Redis leaves them there, and its entries out of order.
    fn drop_deleted_above(&mut self, id: Id) {
        if let Some(tail) = &mut self.tail
            && tail.last() > id
        {
            Arc::make_mut(tail).drop_deleted_above(id);
        }
    }

    /// Whether there is an entry with this ID.
    pub fn contains(&self, id: Id) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: Id) -> Option<(Place, Head)> {
        let place = self.seek(id)?;
        self.outline(place).filter(|block| id <= block.last())?;
        Some((place, self.block(place)?.find(id)?))
    }

    /// XDEL: whether there was such an entry.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some((place, head)) = self.find(id) else { return false };
        self.length -= 1;
        let mut from = Some(head);
        if self.outline(place).is_some_and(|block| block.live() == 1) {
            self.remove_block(place);
            from = None;
        } else {
            self.before_change(place);
            if let Some(block) = self.block_mut(place) {
                block.mark_deleted(head.at);
            }
        }
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id {
            self.find_first(from);
        }
        true
    }

    /// XTRIM: removes entries from the beginning; how many.
    pub fn trim(&mut self, keep: Keep, precision: Precision) -> u64 {
        let mut trimmed = 0;
        while let Some(place) = self.front()
            && let Some(front) = self.outline(place)
        {
            let entries = u64::from(front.live());
            let whole = match keep {
                Keep::Last(entries_kept) if self.length <= entries_kept => break,
                Keep::Last(entries_kept) => self.length - entries >= entries_kept,
                Keep::From(id) => front.last() < id,
            };
            if let Precision::WholeBlocks { limit } = precision
                && (!whole || (limit > 0 && trimmed + entries > limit))
            {
                break;
            }
            if !whole {
                return trimmed + self.trim_front(place, keep, trimmed);
            }
            self.remove_block(place);
            self.length -= entries;
            trimmed += entries;
        }
        if trimmed > 0 {
            self.find_first(None);
        }
        trimmed
    }

    /// Marks entries of the first block as deleted, as far as `keep` says; how many. `before` is what was trimmed in front of it.
    fn trim_front(&mut self, place: Place, keep: Keep, before: u64) -> u64 {
        let mut trimmed = 0;
        if before > 0 {
            self.find_first(None);
        }
        while let Some(head) = self.first_head() {
            let done = match keep {
                Keep::Last(entries) => self.length <= entries,
                Keep::From(id) => head.id >= id,
            };
            let last = self.outline(place).is_none_or(|block| block.live() == 1);
            if done {
                break;
            }
            self.length -= 1;
            trimmed += 1;
            if last {
                // Only deleted entries follow that MINID would have kept.
                self.remove_block(place);
                self.find_first(None);
                break;
            }
            if let Some(block) = self.block_mut(place) {
                block.mark_deleted(head.at);
            }
            self.find_first(Some(head));
        }
        trimmed
    }

    /// Finds the first live entry of the first block: behind the entry `from` of that block, or from its beginning.
    fn find_first(&mut self, from: Option<Head>) {
        self.open_for_good(Position::FIRST);
        let first = self.front().and_then(|place| self.block(place)).and_then(|block| {
            let (mut at, mut before) = from.map_or_else(|| block.start(), |head| (head.end, head.id));
            loop {
                let head = block.head(at, before)?;
                if head.state == State::Live {
                    return Some((head.id, head.at));
                }
                (at, before) = (head.end, head.id);
            }
        });
        (self.first_id, self.first_at) = first.unwrap_or_default();
    }

    /// Where the first live entry begins in the first block.
    #[inline]
    pub(super) fn first_at(&self) -> usize {
        self.first_at
    }

    /// The first live entry.
    #[inline]
    fn first_head(&self) -> Option<Head> {
        let mut head = self.block(self.front()?)?.head(self.first_at, self.first_id)?;
        // Its ID follows from one that is not known here.
        head.id = self.first_id;
        Some(head)
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Place> {
        if self.sealed.is_empty() { self.back() } else { Some(Place::Sealed(Position::FIRST)) }
    }

    #[inline]
    pub(super) fn back(&self) -> Option<Place> {
        self.tail.as_ref().map(|_| Place::Tail)
    }

    /// The block behind; `None` behind the tail.
    #[inline]
    pub(super) fn next_place(&self, place: Place) -> Option<Place> {
        let Place::Sealed(position) = place else { return None };
        let next = self.sealed.next(position);
        Some(if self.sealed.at(next).is_some() { Place::Sealed(next) } else { Place::Tail })
    }

    #[inline]
    pub(super) fn prev_place(&self, place: Place) -> Option<Place> {
        let position = match place {
            Place::Sealed(position) => self.sealed.prev(position),
            Place::Tail => self.sealed.last_position(),
        };
        position.map(Place::Sealed)
    }

    /// The block that has the entry with this ID if any has: the last that begins at or before it.
    #[inline]
    pub(super) fn seek(&self, id: Id) -> Option<Place> {
        if self.tail.as_ref()?.first() <= id {
            return Some(Place::Tail);
        }
        self.sealed.floor(id).map(Place::Sealed)
    }

    #[inline]
    fn outline(&self, place: Place) -> Option<&Outline> {
        match place {
            Place::Sealed(position) => self.sealed.at(position).map(|(_, block)| block.outline()),
            Place::Tail => self.tail.as_deref().map(Block::outline),
        }
    }

    #[inline]
    pub(super) fn block(&self, place: Place) -> Option<Opened<'_>> {
        match place {
            Place::Sealed(position) => self.sealed.at(position).map(|(_, block)| block.open()),
            Place::Tail => self.tail.as_deref().map(Opened::Stored),
        }
    }

    fn block_mut(&mut self, place: Place) -> Option<&mut Block> {
        match place {
            Place::Sealed(position) => {
                let block = self.sealed.value_mut(position)?;
                // Unpacked, or a copy: it has no more room than it needs.
                self.sealed_bytes -= block.heap_bytes();
                let block = Arc::make_mut(block.plain_mut());
                self.sealed_bytes += plain_bytes(block);
                Some(block)
            }
            Place::Tail => self.tail.as_mut().map(Arc::make_mut),
        }
    }

    fn remove_block(&mut self, place: Place) {
        match place {
            Place::Sealed(position) => {
                if let Some(block) = self.sealed.remove_at(position) {
                    self.sealed_bytes -= block.heap_bytes();
                }
            }
            Place::Tail => self.tail = self.take_last_sealed().map(Sealed::into_plain),
        }
    }

    /// Takes the last sealed block out: to be the next tail, which goes on growing if it has room.
    fn take_last_sealed(&mut self) -> Option<Sealed> {
        let (_, block) = self.sealed.pop_last()?;
        self.sealed_bytes -= block.heap_bytes();
        Some(block)
    }

    /// See [`super::Stream::drop_some`]: frees about `budget` entries; how many.
    pub(super) fn drop_some(&mut self, budget: usize) -> usize {
        let mut freed = self.tail.take().map_or(0, |tail| tail.live() as usize + 1);
        while freed < budget
            && let Some(block) = self.take_last_sealed()
        {
            freed += block.outline().live() as usize + 1;
        }
        freed
    }

    /// An estimate of the memory that the entries take beside this.
    pub fn heap_bytes(&self) -> usize {
        let tail = self.tail.as_deref().map_or(0, plain_bytes);
        self.sealed.heap_bytes() + self.sealed_bytes + tail
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.sealed.check();
        let (mut place, mut live, mut last) = (self.front(), 0, None);
        let mut bytes = 0;
        while let Some(at) = place {
            let block = self.block(at).expect("a block");
            block.check();
            assert!(block.live() > 0 && last < Some(block.first()));
            last = Some(block.last());
            live += u64::from(block.live());
            if let Place::Sealed(position) = at {
                bytes += self.sealed.at(position).map_or(0, |(_, block)| block.heap_bytes());
            }
            place = self.next_place(at);
        }
        assert_eq!((live, bytes), (self.length, self.sealed_bytes));
        assert!(last <= Some(self.last_id));
        assert_eq!(self.tail.is_none(), self.length == 0);
        assert!(self.sealed.first().is_none_or(|(_, block)| !block.is_compressed()));
        let first = self.front().and_then(|place| self.block(place)?.heads().find(|head| head.state == State::Live));
        assert_eq!(self.first_id, first.map_or(Id::MIN, |head| head.id));
        assert_eq!(self.first_at, first.map_or(0, |head| head.at));
    }
}
