//! Entries in order, forwards and backwards.
//!
//! An iteration that has to be put down is taken up again with a new one that begins at the ID behind the last entry; that costs a search.

use super::block::{Entry, Head, State};
use super::id::Id;
use super::log::{Log, Place};
use super::sealed::Opened;

/// Entries one after the other, each readable until the next is asked for: its block may have been unpacked just for that.
pub trait Entries: Sized {
    fn next(&mut self) -> Option<Entry<'_>>;

    /// What `read` makes of the entries.
    fn map<T>(mut self, mut read: impl FnMut(Entry<'_>) -> T) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || self.next().map(&mut read))
    }
}

/// See [`Log::range`].
pub struct Range<'a> {
    log: &'a Log,
    /// The block that is being read, and where in it.
    current: Option<(Place, Opened<'a>)>,
    at: usize,
    before: Id,
    start: Id,
    end: Id,
    /// The next entry is the log's first live one, whose ID does not follow from `before`.
    at_first: bool,
}

impl Log {
    /// The entries from `start` to `end`, both included.
    #[inline]
    pub fn range(&self, start: Id, end: Id) -> Range<'_> {
        let mut range = Range { log: self, current: None, at: 0, before: Id::MIN, start, end, at_first: false };
        if start <= self.first_id() {
            range.enter(self.front());
            (range.at, range.before) = (self.first_at(), self.first_id());
            range.at_first = range.current.is_some();
        } else if start <= self.last_id() && start <= end {
            range.enter(self.seek(start));
        }
        range
    }

    /// The entries from `end` back to `start`, both included.
    pub fn range_reversed(&self, start: Id, end: Id) -> RangeReversed<'_> {
        let place = if start <= end { self.seek(end) } else { None };
        RangeReversed { log: self, place, block: None, unread: false, start, end, marks: Vec::new() }
    }
}

impl Range<'_> {
    fn enter(&mut self, place: Option<Place>) {
        self.current = place.and_then(|place| Some((place, self.log.block(place)?)));
        if let Some((_, block)) = &self.current {
            (self.at, self.before) = block.start();
        }
    }

    /// Finds the next entry, in the current block.
    #[inline]
    fn advance(&mut self) -> Option<Head> {
        loop {
            let (place, block) = self.current.as_ref()?;
            let Some(mut head) = block.head(self.at, self.before) else {
                let next = self.log.next_place(*place);
                self.enter(next);
                continue;
            };
            if self.at_first {
                self.at_first = false;
                head.id = self.log.first_id();
            }
            (self.at, self.before) = (head.end, head.id);
            if head.id > self.end {
                self.current = None;
                return None;
            }
            if head.state == State::Live && head.id >= self.start {
                return Some(head);
            }
        }
    }
}

impl Entries for Range<'_> {
    #[inline]
    fn next(&mut self) -> Option<Entry<'_>> {
        let head = self.advance()?;
        let (_, block) = self.current.as_ref()?;
        Some(block.entry(&head))
    }
}

/// See [`Log::range_reversed`]. An entry tells nothing of the one before it: a block is walked through when more than its last is asked for.
pub struct RangeReversed<'a> {
    log: &'a Log,
    /// The next block to be read.
    place: Option<Place>,
    block: Option<Opened<'a>>,
    /// Only the last entry of `block` has been looked at.
    unread: bool,
    start: Id,
    end: Id,
    /// Entries of `block` that are still to be given out: IDs, and where they begin.
    marks: Vec<(Id, usize)>,
}

impl RangeReversed<'_> {
    /// Finds the next entry, in the current block.
    fn advance(&mut self) -> Option<Head> {
        loop {
            if let Some(block) = self.block.as_ref().filter(|_| self.unread) {
                self.unread = false;
                self.marks.reserve(block.live() as usize);
                for head in block.heads().take_while(|head| head.id <= self.end) {
                    if head.state == State::Live && head.id >= self.start {
                        self.marks.push((head.id, head.at));
                    }
                }
            }
            if let Some((id, at)) = self.marks.pop() {
                let mut head = self.block.as_ref()?.head(at, id)?;
                head.id = id;
                return Some(head);
            }
            let place = self.place?;
            let block = self.log.block(place)?;
            self.place = if block.first() > self.start { self.log.prev_place(place) } else { None };
            let last = block.last_head().filter(|head| head.state == State::Live);
            (self.block, self.unread) = (Some(block), true);
            if let Some(head) = last.filter(|head| head.id >= self.start && head.id <= self.end) {
                self.end = head.id.prev()?;
                return Some(head);
            }
        }
    }
}

impl Entries for RangeReversed<'_> {
    fn next(&mut self) -> Option<Entry<'_>> {
        let head = self.advance()?;
        Some(self.block.as_ref()?.entry(&head))
    }
}
