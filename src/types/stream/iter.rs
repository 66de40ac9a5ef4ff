//! Entries in order, forwards and backwards.
//!
//! An iteration that has to be put down is taken up again with a new one that begins at the ID behind the last entry; that costs a search.

use super::block::{Block, Entry, State};
use super::id::Id;
use super::log::{Log, Place};

/// See [`Log::range`].
pub struct Range<'a> {
    log: &'a Log,
    /// The block that is being read, and where in it.
    current: Option<(Place, &'a Block)>,
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
        RangeReversed { log: self, place, block: None, start, end, marks: Vec::new() }
    }
}

impl<'a> Range<'a> {
    fn enter(&mut self, place: Option<Place>) {
        self.current = place.and_then(|place| Some((place, self.log.block(place)?)));
        if let Some((_, block)) = self.current {
            (self.at, self.before) = block.start();
        }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (place, block) = self.current?;
            let Some(mut head) = block.head(self.at, self.before) else {
                self.enter(self.log.next_place(place));
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
                return Some(block.entry(&head));
            }
        }
    }
}

/// See [`Log::range_reversed`]. An entry tells nothing of the one before it: a block is walked through when more than its last is asked for.
pub struct RangeReversed<'a> {
    log: &'a Log,
    /// The next block to be read.
    place: Option<Place>,
    block: Option<&'a Block>,
    start: Id,
    end: Id,
    /// Entries of `block` that are still to be given out: IDs, and where they begin.
    marks: Vec<(Id, usize)>,
}

impl<'a> Iterator for RangeReversed<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let (Some((id, at)), Some(block)) = (self.marks.pop(), self.block) {
                let mut head = block.head(at, id)?;
                head.id = id;
                return Some(block.entry(&head));
            }
            let place = self.place?;
            let block = self.log.block(place)?;
            let last = block.last_head().filter(|head| head.state == State::Live);
            if let Some(head) = last.filter(|head| head.id >= self.start && head.id <= self.end) {
                self.end = head.id.prev()?;
                return Some(block.entry(&head));
            }
            self.marks.reserve(block.live() as usize);
            for head in block.heads().take_while(|head| head.id <= self.end) {
                if head.state == State::Live && head.id >= self.start {
                    self.marks.push((head.id, head.at));
                }
            }
            self.block = Some(block);
            self.place = if block.first() > self.start { self.log.prev_place(place) } else { None };
        }
    }
}
