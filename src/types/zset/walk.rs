//! Walks over the elements of a tree, from any index in either direction.
//!
//! A walk finds its first leaf by index and then goes from leaf to leaf, without allocating. It asks for the cache lines of
//! elements some steps ahead: their allocations are anywhere.

use std::ops::Range;

use super::element::ElementRef;
use super::leaf::Leaf;
use super::node::{Inner, Node};
use super::order::Probe;
use super::tree::{MAX_HEIGHT, Tree};

/// So many elements are on their way from memory while one is used.
const AHEAD: usize = 8;

/// The way from the root to a leaf.
#[derive(Clone, Debug)]
struct Path<'a> {
    /// Inner nodes and which child of each; `depth` of them.
    steps: [Option<(&'a Inner, usize)>; MAX_HEIGHT],
    depth: usize,
    leaf: &'a Leaf,
}

/// Which end of a node.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl<'a> Path<'a> {
    /// The way to the element of that index, and its place in the leaf. The end is the place behind the last leaf's last element.
    fn to(tree: &'a Tree, mut index: usize) -> (Self, usize) {
        let (mut steps, mut depth, mut node) = ([None; MAX_HEIGHT], 0, tree.root());
        loop {
            match node {
                Node::Leaf(leaf) => return (Self { steps, depth, leaf }, index),
                Node::Inner(inner) => {
                    let (child, rest) = inner.child_at(index);
                    steps[depth] = Some((inner, child));
                    depth += 1;
                    (node, index) = (inner.node(child), rest);
                }
            }
        }
    }

    /// The way to the first element that is not before the probe, its place in the leaf, and its index.
    fn to_probe(tree: &'a Tree, probe: &Probe<'_>) -> (Self, usize, usize) {
        let (mut steps, mut depth, mut node, mut before) = ([None; MAX_HEIGHT], 0, tree.root(), 0);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.position(probe);
                    return (Self { steps, depth, leaf }, at, before + at);
                }
                Node::Inner(inner) => {
                    let child = inner.child_of(probe);
                    before += inner.elements_before(child);
                    steps[depth] = Some((inner, child));
                    depth += 1;
                    node = inner.node(child);
                }
            }
        }
    }

    /// Goes to the next leaf, or the one before. There must be one.
    fn turn(&mut self, to: End) {
        while let Some((inner, child)) = self.steps[self.depth - 1] {
            let next = match to {
                End::First => Some(child + 1).filter(|next| *next < inner.len()),
                End::Last => child.checked_sub(1),
            };
            if let Some(next) = next {
                self.steps[self.depth - 1] = Some((inner, next));
                return self.descend(inner.node(next), to);
            }
            self.depth -= 1;
        }
    }

    fn descend(&mut self, mut node: &'a Node, to: End) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = leaf;
                    return;
                }
                Node::Inner(inner) => {
                    let child = match to {
                        End::First => 0,
                        End::Last => inner.len() - 1,
                    };
                    self.steps[self.depth] = Some((inner, child));
                    self.depth += 1;
                    node = inner.node(child);
                }
            }
        }
    }
}

/// From the lowest to the highest.
#[derive(Clone, Debug)]
pub struct Ascending<'a> {
    path: Path<'a>,
    /// The place of the next element in the leaf.
    at: usize,
    left: usize,
}

/// From the highest to the lowest.
#[derive(Clone, Debug)]
pub struct Descending<'a> {
    path: Path<'a>,
    /// The place behind that of the next element in the leaf.
    at: usize,
    left: usize,
}

impl<'a> Ascending<'a> {
    /// The elements of these indexes, as far as there are any.
    pub fn over(tree: &'a Tree, range: Range<usize>) -> Self {
        let range = clamp(tree, range);
        let (path, at) = Path::to(tree, range.start);
        (at..path.leaf.len().min(at + AHEAD.min(range.len()))).for_each(|at| path.leaf.prefetch(at));
        Self { path, at, left: range.len() }
    }

    /// The elements that are not before the probe.
    pub fn from(tree: &'a Tree, probe: &Probe<'_>) -> Self {
        let (path, at, index) = Path::to_probe(tree, probe);
        Self { path, at, left: tree.len() - index }
    }
}

impl<'a> Descending<'a> {
    /// The elements of these indexes, as far as there are any.
    pub fn over(tree: &'a Tree, range: Range<usize>) -> Self {
        let range = clamp(tree, range);
        let (path, at) = Path::to(tree, range.end);
        (at.saturating_sub(AHEAD.min(range.len()))..at).for_each(|at| path.leaf.prefetch(at));
        Self { path, at, left: range.len() }
    }
}

fn clamp(tree: &Tree, range: Range<usize>) -> Range<usize> {
    let end = range.end.min(tree.len());
    range.start.min(end)..end
}

impl<'a> Iterator for Ascending<'a> {
    type Item = ElementRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<ElementRef<'a>> {
        if self.left == 0 {
            return None;
        }
        if self.at == self.path.leaf.len() {
            self.path.turn(End::First);
            self.at = 0;
            (0..AHEAD).for_each(|at| self.path.leaf.prefetch(at));
        }
        if self.left > AHEAD {
            self.path.leaf.prefetch(self.at + AHEAD);
        }
        self.left -= 1;
        self.at += 1;
        Some(self.path.leaf.get(self.at - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> Iterator for Descending<'a> {
    type Item = ElementRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<ElementRef<'a>> {
        if self.left == 0 {
            return None;
        }
        if self.at == 0 {
            self.path.turn(End::Last);
            self.at = self.path.leaf.len();
            (self.at.saturating_sub(AHEAD)..self.at).for_each(|at| self.path.leaf.prefetch(at));
        }
        if self.left > AHEAD && self.at > AHEAD {
            self.path.leaf.prefetch(self.at - 1 - AHEAD);
        }
        self.left -= 1;
        self.at -= 1;
        Some(self.path.leaf.get(self.at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ascending<'_> {}
impl ExactSizeIterator for Descending<'_> {}
