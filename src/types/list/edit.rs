//! Changes to a large list anywhere but at its ends, and cutting its ends off.
//!
//! A change builds the run that it concerns anew. What has become too large is cut in two, a small rest joins a neighbour.

use std::ops::{ControlFlow, Range};

use super::node::{NODE_BYTES, Node};
use super::run::{self, Side, Tally};
use super::tree::{By, Tree};
use super::{List, encode_needle};
use crate::types::lz4::{Lz4, Packing};
use crate::types::packed::Item;
use crate::types::scratch::{Scratch, with_scratch};

/// A node that has become this small is joined with a neighbour, if both together leave room.
const SMALL_NODE_BYTES: usize = NODE_BYTES / 4;
const MAX_JOINED_BYTES: usize = NODE_BYTES * 3 / 4;

/// What was cut off a list, to be freed little by little.
#[derive(Debug, Default)]
pub struct Debris {
    trees: [Tree; 2],
}

impl Debris {
    /// Whether there is anything worth the trouble.
    pub fn is_empty(&self) -> bool {
        self.trees.iter().all(Tree::is_empty)
    }

    /// Elements.
    pub fn len(&self) -> u64 {
        self.trees.iter().map(|tree| tree.sum().elements).sum()
    }

    /// Memory that hangs off it.
    pub fn heap_bytes(&self) -> usize {
        self.trees.iter().map(|tree| tree.heap_bytes() as usize).sum()
    }

    /// Frees about `budget` elements. Whether more are left.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        let [first, second] = &mut self.trees;
        if first.is_empty() { second.drop_some(budget) } else { first.drop_some(budget) || !second.is_empty() }
    }
}

/// One of the three parts of a list.
#[derive(Clone, Copy)]
enum Part {
    End(Side),
    Middle,
}

impl List {
    /// Replaces an element. False if there is none at the index.
    pub fn set(&mut self, index: u64, text: &[u8]) -> bool {
        let exists = index < self.len();
        if exists {
            let item = Item::of(text);
            self.change_at(index, |run, tally, at, out| tally + Tally::of(item) - run::set(run, at, item, out));
        }
        exists
    }

    /// Puts an element before that of the index, or at the end. False if the index is beyond that.
    pub fn insert(&mut self, index: u64, text: &[u8]) -> bool {
        let len = self.len();
        match index {
            0 => self.push(Side::Front, text),
            _ if index == len => self.push(Side::Back, text),
            _ if index > len => return false,
            _ => {
                let item = Item::of(text);
                self.change_at(index, |run, tally, at, out| {
                    run::insert(run, at, item, out);
                    tally + Tally::of(item)
                });
            }
        }
        true
    }

    /// Removes up to `max` elements equal to a text, those nearest the side first. Returns how many.
    pub fn remove(&mut self, text: &[u8], side: Side, max: u64) -> u64 {
        with_scratch(|scratch| {
            encode_needle(&mut scratch.needle, text);
            let (mut removed, mut passed) = (0, 0);
            while removed < max {
                let mut found = None;
                let _ = self.matches_from(side, passed, u64::MAX, scratch, |index| {
                    found = Some(index);
                    ControlFlow::Break(())
                });
                let Some(index) = found else { break };
                let (now_removed, now_passed) = self.remove_around(index, Item::of(text), side, max - removed, scratch);
                removed += now_removed;
                passed = now_passed;
            }
            removed
        })
    }

    /// Removes from the run that has the element of that index, which the scratch room's needle equals. Returns how many, and how many elements are in front of what is still
    /// to be searched, counted from the side.
    fn remove_around(&mut self, index: u64, item: Item<'_>, side: Side, max: u64, scratch: &mut Scratch) -> (u64, u64) {
        let Scratch { raw, built, needle, starts, lz4 } = scratch;
        let max_here = usize::try_from(max).unwrap_or(usize::MAX);
        let (mut removed, mut run_first, mut run_count) = (0, 0, 0);
        self.change_with(index, raw, built, lz4, |run, tally, at, out| {
            removed = run::remove(run, needle, side, max_here, starts, out) as u64;
            (run_first, run_count) = (index - at as u64, u64::from(tally.count));
            tally - Tally::of_copies(item, removed as u32)
        });
        let behind = |len: u64| len + removed - run_first - run_count;
        let passed = match side {
            Side::Front => run_first + run_count - removed,
            Side::Back => behind(self.len()) + run_count - removed,
        };
        (removed, passed)
    }

    /// Keeps these elements only; the range must be in order and within the list. The runs at the ends go at once, what else was
    /// removed comes back.
    pub fn trim(&mut self, keep: Range<u64>) -> Debris {
        let len = self.len();
        debug_assert!(keep.start <= keep.end && keep.end <= len);
        let behind = self.cut_back(len - keep.end);
        let before = self.cut_front(keep.start);
        Debris { trees: [before, behind] }
    }

    fn cut_front(&mut self, count: u64) -> Tree {
        let Some(beyond_end) = count.checked_sub(self.front.count()) else {
            self.front.drop_front(count);
            return Tree::default();
        };
        self.front.clear();
        let in_middle = self.middle.sum().elements;
        if let Some(beyond_middle) = beyond_end.checked_sub(in_middle) {
            self.back.drop_front(beyond_middle);
            return std::mem::take(&mut self.middle);
        }
        self.split_node_at(beyond_end);
        let kept = self.middle.split_off(beyond_end);
        std::mem::replace(&mut self.middle, kept)
    }

    fn cut_back(&mut self, count: u64) -> Tree {
        let Some(beyond_end) = count.checked_sub(self.back.count()) else {
            self.back.drop_back(count);
            return Tree::default();
        };
        self.back.clear();
        let in_middle = self.middle.sum().elements;
        if let Some(beyond_middle) = beyond_end.checked_sub(in_middle) {
            self.front.drop_back(beyond_middle);
            return std::mem::take(&mut self.middle);
        }
        self.split_node_at(in_middle - beyond_end);
        self.middle.split_off(in_middle - beyond_end)
    }

    /// Makes an element of the middle the first of a node.
    fn split_node_at(&mut self, element: u64) {
        match self.middle.find(By::Element, element) {
            Some((_, offset)) if offset > 0 => {}
            Some(_) | None => return,
        }
        with_scratch(|Scratch { raw, lz4, .. }| {
            self.middle.edit(By::Element, element, |nodes, at, offset| {
                let node = nodes[at].clone();
                let run = node.run(raw);
                let (before, behind) = run.split_at(run::offset_of(run, offset as usize));
                let tally = Tally::of_run(before);
                nodes[at] = Node::new(before, tally, node.packing(), lz4);
                nodes.insert(at + 1, Node::new(behind, node.tally() - tally, node.packing(), lz4));
            });
        });
    }

    /// Changes the run with the element of that index: `change` gets the run, its tally and the element's place in it, appends the
    /// changed run to the vector, and returns its tally.
    fn change_at(&mut self, index: u64, change: impl FnOnce(&[u8], Tally, usize, &mut Vec<u8>) -> Tally) {
        with_scratch(|Scratch { raw, built, lz4, .. }| self.change_with(index, raw, built, lz4, change));
    }

    fn change_with(
        &mut self,
        index: u64,
        raw: &mut Vec<u8>,
        built: &mut Vec<u8>,
        lz4: &mut Lz4,
        change: impl FnOnce(&[u8], Tally, usize, &mut Vec<u8>) -> Tally,
    ) {
        built.clear();
        let (part, position) = self.part_at(index);
        let Part::End(side) = part else {
            return self.middle.edit(By::Element, position, |nodes, at, offset| {
                let packing = nodes[at].packing();
                let tally = change(nodes[at].run(raw), nodes[at].tally(), offset as usize, built);
                replace_node(nodes, at, built, tally, packing, raw, lz4);
            });
        };
        let end = self.end(side);
        let tally = change(end.run(), end.tally(), position as usize, built);
        if built.len() <= NODE_BYTES {
            return end.load(built, tally);
        }
        end.clear();
        let mut cut = Vec::new();
        run::pieces(built, NODE_BYTES, |piece, tally| cut.push((piece, tally)));
        if side == Side::Front {
            cut.reverse();
        }
        cut.into_iter().for_each(|(piece, tally)| self.push_node(side, piece, tally, lz4));
    }

    /// The part with the element of that index, and the element's place there.
    fn part_at(&self, index: u64) -> (Part, u64) {
        let (in_front, in_middle) = (self.front.count(), self.middle.sum().elements);
        if index < in_front {
            (Part::End(Side::Front), index)
        } else if index - in_front < in_middle {
            (Part::Middle, index - in_front)
        } else {
            (Part::End(Side::Back), index - in_front - in_middle)
        }
    }
}

/// Puts a changed run in a node's place: as no node, one, or up to three.
fn replace_node(
    nodes: &mut Vec<Node>,
    at: usize,
    run: &mut Vec<u8>,
    tally: Tally,
    packing: Packing,
    raw: &mut Vec<u8>,
    lz4: &mut Lz4,
) {
    if run.is_empty() {
        nodes.remove(at);
    } else if run.len() > NODE_BYTES && tally.count > 1 {
        nodes.remove(at);
        let mut to = at;
        run::pieces(run, NODE_BYTES, |piece, tally| {
            nodes.insert(to, Node::new(piece, tally, packing, lz4));
            to += 1;
        });
    } else if run.len() <= SMALL_NODE_BYTES && join(nodes, at, run, tally, packing, raw, lz4) {
    } else {
        nodes[at] = Node::new(run, tally, packing, lz4);
    }
}

/// Joins a small run with a neighbour of the node in whose place it is. False if none is small enough.
fn join(
    nodes: &mut Vec<Node>,
    at: usize,
    run: &mut Vec<u8>,
    tally: Tally,
    packing: Packing,
    raw: &mut Vec<u8>,
    lz4: &mut Lz4,
) -> bool {
    let fits = |node: &Node| node.run_bytes() + run.len() <= MAX_JOINED_BYTES;
    let lower = if nodes.get(at + 1).is_some_and(fits) {
        run.extend_from_slice(nodes[at + 1].run(raw));
        at
    } else if at > 0 && fits(&nodes[at - 1]) {
        let before = nodes[at - 1].run(raw);
        run.splice(..0, before.iter().copied());
        at - 1
    } else {
        return false;
    };
    let neighbour = if lower == at { at + 1 } else { lower };
    let tally = tally + nodes[neighbour].tally();
    nodes[lower] = Node::new(run, tally, packing, lz4);
    nodes.remove(lower + 1);
    true
}
