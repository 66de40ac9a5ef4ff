//! The first or the last elements of a large list: a run in a buffer of its own that grows and shrinks at its ends without moving.
//!
//! Invariants
//! - the run takes at most [`NODE_BYTES`], and the buffer three times that
//! - while `tracked`, the last `count` of `starts` are where in the buffer the elements begin: a run can only be read forwards, and
//!   popping from the back would otherwise walk all of it each time
//!
//! Knows nothing of the rest of the list.

use super::node::{NODE_BYTES, allocated_bytes};
use super::run::{self, Tally};
use crate::types::packed::{self, Item};

const MIN_CAPACITY: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct End {
    buffer: Vec<u8>,
    /// Where in the buffer the run begins.
    start: usize,
    tally: Tally,
    starts: Vec<u16>,
    tracked: bool,
}

impl End {
    #[inline]
    pub fn run(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    #[inline]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    #[inline]
    pub fn count(&self) -> u64 {
        self.tally.count.into()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tally.count == 0
    }

    /// Whether elements of that many bytes fit as well.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.buffer.len() - self.start + bytes <= NODE_BYTES
    }

    pub fn heap_bytes(&self) -> usize {
        allocated_bytes(self.buffer.capacity()) + allocated_bytes(self.starts.capacity() * size_of::<u16>())
    }

    /// Becomes this run, of at most [`NODE_BYTES`].
    pub fn load(&mut self, run: &[u8], tally: Tally) {
        debug_assert!(run.len() <= NODE_BYTES);
        self.buffer.clear();
        if self.buffer.capacity() < run.len() {
            self.buffer.reserve_exact(run.len());
        }
        self.buffer.extend_from_slice(run);
        self.start = 0;
        self.tally = tally;
        self.tracked = false;
    }

    pub fn clear(&mut self) {
        self.start = self.buffer.len();
        self.tally = Tally::default();
        self.tracked = false;
    }

    /// Appends an element that there is room for.
    #[inline]
    pub fn push_back(&mut self, item: Item<'_>, bytes: usize) {
        debug_assert!(self.has_room(bytes));
        if self.buffer.len() + bytes > self.buffer.capacity() || self.is_empty() {
            self.make_room_behind(bytes);
        }
        if self.tracked {
            self.starts.push(self.buffer.len() as u16);
        }
        packed::push_item(&mut self.buffer, item);
        self.tally += Tally::of(item);
    }

    #[cold]
    fn make_room_behind(&mut self, bytes: usize) {
        let live = self.buffer.len() - self.start;
        // What is moved has been paid for by as many bytes popped.
        if self.start >= live {
            self.move_to_start(live);
        }
        let needed = self.buffer.len() + bytes;
        if needed > self.buffer.capacity() {
            let capacity = (2 * self.buffer.capacity()).clamp(MIN_CAPACITY, NODE_BYTES).max(needed);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    fn move_to_start(&mut self, live: usize) {
        let shift = self.start;
        self.buffer.copy_within(shift.., 0);
        self.buffer.truncate(live);
        self.start = 0;
        if self.tracked {
            self.starts.drain(..self.starts.len() - self.tally.count as usize);
            self.starts.iter_mut().for_each(|start| *start -= shift as u16);
        }
    }

    /// Puts an element that there is room for before the others.
    #[inline]
    pub fn push_front(&mut self, item: Item<'_>, bytes: usize) {
        debug_assert!(self.has_room(bytes));
        if self.start < bytes {
            self.make_room_before(bytes);
        }
        let end = self.buffer.len();
        if self.buffer.capacity() - end < bytes {
            self.buffer.reserve_exact(bytes);
        }
        packed::push_item(&mut self.buffer, item);
        self.start -= bytes;
        self.buffer.copy_within(end.., self.start);
        self.buffer.truncate(end);
        self.tally += Tally::of(item);
        self.tracked = false;
    }

    #[cold]
    fn make_room_before(&mut self, bytes: usize) {
        let (old_start, old_end) = (self.start, self.buffer.len());
        let needed = old_end - old_start + bytes;
        let end = (2 * needed).clamp(MIN_CAPACITY, NODE_BYTES).max(needed);
        // The element is encoded behind the end first.
        if self.buffer.capacity() < end + bytes {
            self.buffer.reserve_exact(end + bytes - old_end);
        }
        self.buffer.resize(end, 0);
        let start = end - (old_end - old_start);
        self.buffer.copy_within(old_start..old_end, start);
        self.start = start;
    }

    #[inline]
    pub fn pop_front<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let (item, width) = packed::first(&self.buffer[self.start..])?;
        let popped = Tally::of(item);
        let result = take(item);
        self.start += width;
        self.tally -= popped;
        Some(result)
    }

    #[inline]
    pub fn pop_back<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        if !self.tracked {
            self.track();
        }
        let start = usize::from(self.starts.pop()?);
        let (item, _) = packed::first(&self.buffer[start..])?;
        let popped = Tally::of(item);
        let result = take(item);
        self.buffer.truncate(start);
        self.tally -= popped;
        Some(result)
    }

    fn track(&mut self) {
        run::starts_into(&self.buffer[self.start..], &mut self.starts);
        self.starts.iter_mut().for_each(|start| *start += self.start as u16);
        self.tracked = true;
    }

    /// Leaves out the first `count` elements.
    pub fn drop_front(&mut self, count: u64) {
        for _ in 0..count {
            self.pop_front(|_| ());
        }
    }

    /// Leaves out the last `count` elements.
    pub fn drop_back(&mut self, count: u64) {
        for _ in 0..count {
            self.pop_back(|_| ());
        }
    }
}
