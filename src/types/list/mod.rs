//! Lists: `LPUSH` and what belongs to it.
//!
//! A small list is one packed run, for which [`compact`] has the functions. A large one is a [`List`]: runs at either end that grow and
//! shrink in place, and between them nodes of some 2 KiB that are replaced when they change, found through a tree of counts.
//!
//! Guarantees of [`List`]
//! - pushing and popping take constant time, but for one node of 2 KiB every now and then
//! - anything else takes time logarithmic in the length, and what it takes to read the elements it is about
//! - a copy shares all nodes: it takes the time of copying the two ends, and as much memory
//! - nodes further than some from both ends are kept compressed, which nobody notices but by time: see [`PlainEnds`]
//!
//! Indexes count from the front and are in range; negative ones are the commands' matter. Knows nothing of keys and replies.

pub mod compact;
mod edit;
pub mod encoding;
mod end;
mod node;
mod run;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::ControlFlow;

pub use edit::Debris;
use encoding::{Encoding, LISTPACK_FRAME_BYTES, Limit};
use end::End;
use node::Node;
pub use run::Side;
use run::Tally;
use tree::{By, Tree};

use crate::types::lz4::{Attempts, Lz4, Packing};
use crate::types::packed::{self, Item};
use crate::types::scratch::{Scratch, with_scratch};

/// How many nodes at either end are left uncompressed as the list grows (`list-compress-depth`); what is between them is compressed,
/// where that saves memory. A compressed node that comes near an end again stays so until it becomes the end or is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainEnds {
    /// Nothing is compressed.
    All,
    /// At least 1: the runs at the very ends are always plain.
    Nodes(u32),
}

impl PlainEnds {
    /// What is good for a cache: 32 KiB at either end stay fast, the middle of a long list is cold. At least two nodes: with one,
    /// pushing and popping around a node's border would pack and unpack it over and over.
    pub const COLD_MIDDLE: PlainEnds = PlainEnds::Nodes(16);

    /// `list-compress-depth` as it is written, 0 for no compression.
    pub fn from_directive(depth: u32) -> PlainEnds {
        if depth == 0 { PlainEnds::All } else { PlainEnds::Nodes(depth) }
    }
}

/// A large list.
#[derive(Clone, Debug)]
pub struct List {
    front: End,
    middle: Tree,
    back: End,
    plain_ends: PlainEnds,
    attempts: Attempts,
    encoding: Encoding,
}

impl List {
    pub fn new(plain_ends: PlainEnds) -> List {
        List {
            front: End::default(),
            middle: Tree::default(),
            back: End::default(),
            plain_ends,
            attempts: Attempts::default(),
            encoding: Encoding::default(),
        }
    }

    /// A copy of a compact list.
    pub fn from_compact(compact: &[u8], plain_ends: PlainEnds) -> List {
        let mut list = List::new(plain_ends);
        packed::items(compact::run(compact)).for_each(|item| list.push_item(Side::Back, item));
        list
    }

    #[inline]
    pub fn len(&self) -> u64 {
        self.front.count() + self.middle.sum().elements + self.back.count()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nodes, the runs at the ends included: [`List::runs`] visits as many.
    pub fn nodes(&self) -> u64 {
        u64::from(!self.front.is_empty()) + self.middle.sum().nodes + u64::from(!self.back.is_empty())
    }

    /// Memory that hangs off the list.
    pub fn heap_bytes(&self) -> usize {
        self.front.heap_bytes() + self.back.heap_bytes() + self.middle.heap_bytes() as usize
    }

    /// Bytes of the elements, packed and not compressed.
    #[inline]
    pub fn packed_bytes(&self) -> u64 {
        (self.front.run().len() + self.back.run().len()) as u64 + self.middle.sum().run_bytes
    }

    /// What a listpack of all elements takes.
    #[inline]
    pub fn listpack_bytes(&self) -> u64 {
        let at_ends = self.front.tally().excess + self.back.tally().excess;
        self.packed_bytes() + self.middle.sum().excess + u64::from(at_ends) + LISTPACK_FRAME_BYTES
    }

    /// Whether it has become small enough to be a compact list.
    #[inline]
    pub fn may_be_compact(&self) -> bool {
        self.encoding == Encoding::Listpack
            && self.packed_bytes() <= compact::MAX_BYTES_AGAIN as u64
            && self.len() <= u16::MAX.into()
    }

    /// Writes it as a compact list, which it may be.
    pub fn write_compact(&self, out: &mut Vec<u8>) {
        debug_assert!(self.may_be_compact());
        compact::begin(out, self.packed_bytes() as usize);
        let _ = self.runs(Side::Front, 0, |run, _| {
            out.extend_from_slice(run);
            ControlFlow::Continue(())
        });
        compact::set_len(out, self.len() as usize);
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// To be told before elements are added or one is replaced: the bytes of the new texts and their number.
    #[inline]
    pub fn before_growing(&mut self, limit: Limit, text_bytes: u64, count: u64) {
        if self.encoding == Encoding::Listpack
            && limit.is_exceeded(self.listpack_bytes() + text_bytes, self.len() + count)
        {
            self.encoding = Encoding::Quicklist;
        }
    }

    /// To be told when elements were removed or one was replaced.
    #[inline]
    pub fn after_shrinking(&mut self, limit: Limit) {
        if self.encoding == Encoding::Quicklist && limit.is_within_half(self.listpack_bytes(), self.len()) {
            self.encoding = Encoding::Listpack;
        }
    }

    /// Settles the encoding of a list that was loaded.
    pub fn after_loading(&mut self, limit: Limit) {
        let exceeded = limit.is_exceeded(self.listpack_bytes(), self.len());
        self.encoding = if exceeded { Encoding::Quicklist } else { Encoding::Listpack };
    }

    /// Takes effect as nodes are made or changed.
    pub fn set_plain_ends(&mut self, plain_ends: PlainEnds) {
        self.plain_ends = plain_ends;
    }

    /// Frees about `budget` elements. Whether more are left; the list is of no other use from the first call on.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        self.front = End::default();
        self.back = End::default();
        self.middle.drop_some(budget)
    }

    #[inline]
    pub fn push(&mut self, side: Side, text: &[u8]) {
        self.push_item(side, Item::of(text));
    }

    #[inline]
    pub fn push_item(&mut self, side: Side, item: Item<'_>) {
        let bytes = item.encoded_len();
        if !self.end(side).has_room(bytes) && !self.make_room(side, item) {
            return;
        }
        match side {
            Side::Front => self.front.push_front(item, bytes),
            Side::Back => self.back.push_back(item, bytes),
        }
    }

    #[inline]
    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Front => &mut self.front,
            Side::Back => &mut self.back,
        }
    }

    /// Makes a node of the run at the end; of a large element as well, and then there is nothing left to push.
    #[cold]
    fn make_room(&mut self, side: Side, item: Item<'_>) -> bool {
        with_scratch(|scratch| {
            self.seal(side, &mut scratch.lz4);
            let fits = item.encoded_len() <= node::NODE_BYTES;
            if !fits {
                scratch.built.clear();
                packed::push_item(&mut scratch.built, item);
                self.push_node(side, &scratch.built, Tally::of(item), &mut scratch.lz4);
            }
            fits
        })
    }

    /// Makes a node of the run at the end.
    fn seal(&mut self, side: Side, lz4: &mut Lz4) {
        let mut end = std::mem::take(self.end(side));
        if !end.is_empty() {
            self.push_node(side, end.run(), end.tally(), lz4);
        }
        end.clear();
        *self.end(side) = end;
    }

    /// Puts a node to an end of the middle, and compresses the one that is now too far from there.
    fn push_node(&mut self, side: Side, run: &[u8], tally: Tally, lz4: &mut Lz4) {
        let depth = match self.plain_ends {
            PlainEnds::All => None,
            // The run at the end is the first of the plain ones.
            PlainEnds::Nodes(nodes) => Some(u64::from(nodes.max(1)) - 1),
        };
        let nodes = self.middle.sum().nodes;
        self.middle.push(side, Node::new(run, tally, Packing::Plain, lz4));
        // As far from the other end.
        let Some(depth) = depth.filter(|depth| nodes >= 2 * depth) else { return };
        if self.attempts.next() == Packing::Plain {
            return;
        }
        let position = match side {
            Side::Front => depth,
            Side::Back => nodes - depth,
        };
        let attempts = &mut self.attempts;
        self.middle.edit(By::Node, position, |nodes, at, _| {
            let node = &mut nodes[at];
            if node.packing() == Packing::Plain {
                *node = Node::new(node.run(&mut Vec::new()), node.tally(), Packing::Compressed, lz4);
                attempts.learn(node.packing());
            }
        });
    }

    /// Pops an element and hands it to `take`; `None` if there is none.
    #[inline]
    pub fn pop<R>(&mut self, side: Side, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match side {
            Side::Front if !self.front.is_empty() => self.front.pop_front(take),
            Side::Back if !self.back.is_empty() => self.back.pop_back(take),
            Side::Front | Side::Back => self.pop_beyond_end(side, take),
        }
    }

    /// Pops where the run at that end is empty.
    #[cold]
    fn pop_beyond_end<R>(&mut self, side: Side, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let Some(node) = self.middle.pop(side) else { return self.pop_from_other_end(side, take) };
        with_scratch(|scratch| {
            let run = node.run(&mut scratch.raw);
            if node.is_large() {
                return packed::first(run).map(|(item, _)| take(item));
            }
            let end = self.end(side);
            end.load(run, node.tally());
            match side {
                Side::Front => end.pop_front(take),
                Side::Back => end.pop_back(take),
            }
        })
    }

    /// Pops where the run at the other end is all there is.
    fn pop_from_other_end<R>(&mut self, side: Side, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match side {
            // A run at the back can do that as it is.
            Side::Front => self.back.pop_front(take),
            Side::Back => {
                std::mem::swap(&mut self.front, &mut self.back);
                self.back.pop_back(take)
            }
        }
    }

    /// Hands an element to `take`; `None` if there is none.
    #[inline]
    pub fn get<R>(&self, index: u64, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let Some(beyond_front) = index.checked_sub(self.front.count()) else {
            return run::get(self.front.run(), index as usize).map(take);
        };
        let in_middle = self.middle.sum().elements;
        if let Some(beyond_middle) = beyond_front.checked_sub(in_middle) {
            return run::get(self.back.run(), beyond_middle as usize).map(take);
        }
        let (node, offset) = self.middle.find(By::Element, beyond_front)?;
        if node.packing() == Packing::Plain {
            return run::get(node.run(&mut Vec::new()), offset as usize).map(take);
        }
        with_scratch(|scratch| run::get(node.run(&mut scratch.raw), offset as usize).map(take))
    }

    /// Visits the packed runs that make up the list, each with the index of its first element: forwards from the one with the element
    /// `skip`, or backwards from the one with the element that has `skip` behind it.
    pub fn runs<F>(&self, side: Side, skip: u64, mut visit: F) -> ControlFlow<()>
    where
        F: FnMut(&[u8], u64) -> ControlFlow<()>,
    {
        with_scratch(|scratch| self.runs_with(side, skip, &mut scratch.raw, |run, _, first| visit(run, first)))
    }

    /// [`List::runs`] with the number of elements, unpacking to `room`.
    fn runs_with<F>(&self, side: Side, skip: u64, room: &mut Vec<u8>, mut visit: F) -> ControlFlow<()>
    where
        F: FnMut(&[u8], u64, u64) -> ControlFlow<()>,
    {
        let (in_front, in_middle) = (self.front.count(), self.middle.sum().elements);
        let mut skip = skip;
        for part in if side == Side::Front { [0, 1, 2] } else { [2, 1, 0] } {
            let (count, first) = match part {
                0 => (in_front, 0),
                1 => (in_middle, in_front),
                _ => (self.back.count(), in_front + in_middle),
            };
            if skip >= count {
                skip -= count;
                continue;
            }
            match part {
                0 => visit(self.front.run(), count, 0)?,
                1 => self
                    .middle
                    .walk(side, skip, |node, at| visit(node.run(room), node.tally().count.into(), first + at))?,
                _ => visit(self.back.run(), count, first)?,
            }
            skip = 0;
        }
        ControlFlow::Continue(())
    }

    /// Visits elements with their indexes: forwards from index `skip`, or backwards having passed over the last `skip`.
    pub fn visit<F>(&self, side: Side, skip: u64, mut each: F) -> ControlFlow<()>
    where
        F: FnMut(u64, Item<'_>) -> ControlFlow<()>,
    {
        let len = self.len();
        with_scratch(|Scratch { raw, starts, .. }| {
            self.runs_with(side, skip, raw, |run, count, first| {
                let skip = skip_in_run(side, skip, len, first, count);
                run::visit(run, side, skip, starts, |index, item| each(first + index as u64, item))
            })
        })
    }

    /// Hands `count` elements to `each`: forwards from index `skip`, or backwards having passed over the last `skip`.
    pub fn range(&self, side: Side, skip: u64, count: u64, mut each: impl FnMut(Item<'_>)) {
        let mut left = count;
        if left == 0 {
            return;
        }
        let _ = self.visit(side, skip, |_, item| {
            each(item);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    /// Visits the indexes of elements equal to a text, from a side, among the first `max_compared` from there.
    pub fn matches<F>(&self, text: &[u8], side: Side, max_compared: u64, each: F) -> ControlFlow<()>
    where
        F: FnMut(u64) -> ControlFlow<()>,
    {
        with_scratch(|scratch| {
            encode_needle(&mut scratch.needle, text);
            self.matches_from(side, 0, max_compared, scratch, each)
        })
    }

    /// [`List::matches`] of the scratch room's needle, having passed over `skip` elements.
    fn matches_from<F>(
        &self,
        side: Side,
        skip: u64,
        max_compared: u64,
        scratch: &mut Scratch,
        mut each: F,
    ) -> ControlFlow<()>
    where
        F: FnMut(u64) -> ControlFlow<()>,
    {
        let len = self.len();
        let end = skip.saturating_add(max_compared);
        let Scratch { raw, needle, starts, .. } = scratch;
        self.runs_with(side, skip, raw, |run, count, first| {
            let passed = match side {
                Side::Front => first,
                Side::Back => len - first - count,
            };
            if passed >= end {
                return ControlFlow::Break(());
            }
            let skip = skip_in_run(side, skip, len, first, count);
            run::visit_matches(run, needle, side, skip, starts, |index| {
                let index = first + index as u64;
                let passed = if side == Side::Front { index } else { len - 1 - index };
                if passed >= end { ControlFlow::Break(()) } else { each(index) }
            })
        })
    }

    /// The first element from a side that equals a text.
    pub fn find(&self, text: &[u8], side: Side) -> Option<u64> {
        let mut found = None;
        let _ = self.matches(text, side, u64::MAX, |index| {
            found = Some(index);
            ControlFlow::Break(())
        });
        found
    }
}

fn encode_needle(needle: &mut Vec<u8>, text: &[u8]) {
    needle.clear();
    packed::push(needle, text);
}

/// How many of a run's elements are among the `skip` that are passed over.
fn skip_in_run(side: Side, skip: u64, len: u64, first: u64, count: u64) -> usize {
    let passed = match side {
        Side::Front => first,
        Side::Back => len - first - count,
    };
    skip.saturating_sub(passed) as usize
}
