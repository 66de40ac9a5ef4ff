//! A tree of elements in order, with counts, so that ranks cost as little as look-ups.
//!
//! Invariants
//! - all leaves are at the same depth; an inner node has 1 to [`MAX_CHILDREN`] - 1 children, the root at least 2; only a root is an
//!   empty leaf
//! - the separator of a child is not behind any element of that child and behind all elements of the child before; the first
//!   child's says nothing. It is an element that the node owns a count of, and may long be gone from the set
//! - two neighbouring leaves of one parent have more than `MERGE_LEAVES` elements in all, two neighbouring inner nodes more than
//!   `MERGE_INNERS` children; this bounds the height
//! - nodes are shared between clones; a mutation copies the shared nodes on its one path, and nothing else
//!
//! What fills at either end of the whole order leaves full leaves behind: there a full node is not halved.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::element::{ElementRef, Scored};
use super::leaf::{Leaf, MAX_LEN};
use super::node::{Bytes, Child, Inner, MAX_CHILDREN, Node};
use super::order::Probe;

/// With 16 children or more a node at least, far more elements than memory holds.
pub const MAX_HEIGHT: usize = 16;

/// The tree; it knows elements but does not keep them, see [`Tree::insert`].
#[derive(Clone, Debug)]
pub struct Tree {
    root: Node,
    len: usize,
    bytes: usize,
}

/// Which ends of the whole order a node is at.
#[derive(Clone, Copy)]
struct Edges {
    first: bool,
    last: bool,
}

/// The right part of a node that was split, and its first element.
struct Split {
    separator: Scored,
    node: Node,
}

/// How a removal finds its way.
enum Seek<'a> {
    Probe(Probe<'a>),
    Index(usize),
}

impl Seek<'_> {
    #[inline]
    fn child(&mut self, inner: &Inner) -> usize {
        match self {
            Self::Probe(probe) => inner.child_of(probe),
            Self::Index(index) => {
                let (child, rest) = inner.child_at(*index);
                *index = rest;
                child
            }
        }
    }

    #[inline]
    fn place(&self, leaf: &Leaf) -> usize {
        match self {
            Self::Probe(probe) => leaf.position(probe),
            Self::Index(index) => *index,
        }
    }
}

impl Node {
    /// # Safety
    /// That of [`Leaf::insert`], for all leaves of the tree.
    unsafe fn insert(
        &mut self,
        probe: &Probe<'_>,
        element: ElementRef<'_>,
        edges: Edges,
        bytes: &mut Bytes,
    ) -> Option<Split> {
        let inner = match self {
            // SAFETY: the caller's.
            Self::Leaf(leaf) => return unsafe { insert_in_leaf(leaf, probe, element, edges, bytes) },
            Self::Inner(inner) => Arc::make_mut(inner),
        };
        let child = inner.child_of(probe);
        let at = Edges { first: edges.first && child == 0, last: edges.last && child + 1 == inner.len() };
        // SAFETY: the caller's.
        let split = unsafe { inner.children[child].node.insert(probe, element, at, bytes) };
        let Some(split) = split else {
            inner.counts[child] += 1;
            return None;
        };
        let before = inner.heap_bytes();
        inner.counts[child] = inner.node(child).total();
        inner.insert(child + 1, split.separator, split.node);
        let mut split = None;
        let mut after = 0;
        if inner.len() == MAX_CHILDREN {
            let at = match at {
                Edges { last: true, .. } => MAX_CHILDREN - 1,
                Edges { first: true, .. } => 1,
                Edges { .. } => MAX_CHILDREN / 2,
            };
            let right = inner.split_off(at);
            after = right.heap_bytes();
            split = Some(Split { separator: right.children[0].separator.clone(), node: Node::Inner(Arc::new(right)) });
        }
        bytes.replace(before, after + inner.heap_bytes());
        split
    }

    /// Removes up to `max` elements from where `seek` leads to, all of one leaf, and tells `each` of them beforehand. Returns how many.
    fn remove(
        &mut self,
        mut seek: Seek<'_>,
        max: usize,
        each: &mut dyn FnMut(ElementRef<'_>),
        bytes: &mut Bytes,
    ) -> usize {
        let inner = match self {
            Self::Leaf(leaf) => return remove_from_leaf(leaf, seek.place(leaf), max, each, bytes),
            Self::Inner(inner) => Arc::make_mut(inner),
        };
        let child = seek.child(inner);
        let children_of = |node: &Node| match node {
            Node::Leaf(_) => 0,
            Node::Inner(inner) => inner.len(),
        };
        let before = children_of(inner.node(child));
        let removed = inner.children[child].node.remove(seek, max, each, bytes);
        inner.counts[child] -= removed;
        let shrunk = children_of(inner.node(child)) < before;
        inner.settle(child, shrunk, bytes);
        removed
    }

    /// Takes nodes apart from the end until `budget` elements are gone with them. Nodes that others have too are simply left to them.
    fn take_apart(&mut self, budget: &mut usize) -> Apart {
        let Self::Inner(inner) = self else {
            *budget = budget.saturating_sub(self.total());
            return Apart::Gone;
        };
        if Arc::get_mut(inner).is_none() {
            // Of several that give up a shared node at once exactly one is its last owner, and goes on.
            let Some(last_owned) = Arc::into_inner(mem::take(inner)) else { return Apart::Gone };
            *inner = Arc::new(last_owned);
        }
        let Some(inner) = Arc::get_mut(inner) else { return Apart::Gone };
        while *budget > 0 {
            let Some(last) = inner.children.last_mut() else { return Apart::Gone };
            if last.node.take_apart(budget) == Apart::Gone {
                inner.children.pop();
            }
        }
        if inner.children.is_empty() { Apart::Gone } else { Apart::Left }
    }
}

/// Whether there is more to take apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    Gone,
    Left,
}

/// # Safety
/// That of [`Leaf::insert`].
unsafe fn insert_in_leaf(
    leaf: &mut Arc<Leaf>,
    probe: &Probe<'_>,
    element: ElementRef<'_>,
    edges: Edges,
    bytes: &mut Bytes,
) -> Option<Split> {
    let at = leaf.position(probe);
    let before = leaf.heap_bytes();
    if leaf.len() < MAX_LEN {
        // SAFETY: the caller's.
        unsafe { Leaf::insert(leaf, at, element) };
        bytes.replace(before, leaf.heap_bytes());
        return None;
    }
    let right = if edges.last && at == MAX_LEN {
        // SAFETY: the caller's.
        unsafe { Leaf::single(element) }
    } else if edges.first && at == 0 {
        // SAFETY: the caller's.
        mem::replace(leaf, unsafe { Leaf::single(element) })
    } else {
        let (mut left, mut right) = leaf.split(MAX_LEN / 2);
        let (into, at) = if at <= left.len() { (&mut left, at) } else { (&mut right, at - left.len()) };
        // SAFETY: the caller's.
        unsafe { Leaf::insert(into, at, element) };
        *leaf = left;
        right
    };
    bytes.replace(before, leaf.heap_bytes() + right.heap_bytes());
    Some(Split { separator: right.get(0).to_owner(), node: Node::Leaf(right) })
}

fn remove_from_leaf(
    leaf: &mut Arc<Leaf>,
    at: usize,
    max: usize,
    each: &mut dyn FnMut(ElementRef<'_>),
    bytes: &mut Bytes,
) -> usize {
    let range = at..leaf.len().min(at + max);
    range.clone().for_each(|at| each(leaf.get(at)));
    let before = leaf.heap_bytes();
    Leaf::remove(leaf, range.clone());
    bytes.replace(before, leaf.heap_bytes());
    range.len()
}

impl Tree {
    pub fn new() -> Self {
        let leaf = Leaf::empty();
        Self { len: 0, bytes: leaf.heap_bytes(), root: Node::Leaf(leaf) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all nodes.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    /// How many elements are before the probe: its rank, or that of the first behind it.
    pub fn position(&self, probe: &Probe<'_>) -> usize {
        let (mut node, mut before) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return before + leaf.position(probe),
                Node::Inner(inner) => {
                    let child = inner.child_of(probe);
                    before += inner.elements_before(child);
                    node = inner.node(child);
                }
            }
        }
    }

    /// How many elements at the beginning have a name that `before` accepts; meant for sets of one score, where names are in order.
    pub fn position_by_name(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut node, mut passed) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return passed + leaf.position_by_name(before),
                Node::Inner(inner) => {
                    let accepted = |child: &Child| before(child.separator.borrow().name());
                    let child = inner.children[1..].partition_point(accepted);
                    passed += inner.elements_before(child);
                    node = inner.node(child);
                }
            }
        }
    }

    pub fn get(&self, mut index: usize) -> Option<ElementRef<'_>> {
        if index >= self.len {
            return None;
        }
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf.get(index)),
                Node::Inner(inner) => {
                    let (child, rest) = inner.child_at(index);
                    (node, index) = (inner.node(child), rest);
                }
            }
        }
    }

    /// Inserts an element that is not there.
    ///
    /// # Safety
    /// An owner of the element must stay alive, and must not change the element, until it is removed from this tree and from each
    /// clone made of it in between, or until these are dropped.
    pub unsafe fn insert(&mut self, element: ElementRef<'_>) {
        let probe = Probe::of(element.score(), element.name());
        let mut bytes = Bytes(&mut self.bytes);
        // SAFETY: nodes only get from one tree to another by cloning a tree, so the caller's promise covers all leaves.
        let split = unsafe { self.root.insert(&probe, element, Edges { first: true, last: true }, &mut bytes) };
        self.len += 1;
        let Some(split) = split else { return };
        let left = mem::replace(&mut self.root, Node::Inner(Arc::default()));
        let mut root = Inner::default();
        // The first separator says nothing: any element will do.
        root.insert(0, split.separator.clone(), left);
        root.insert(1, split.separator, split.node);
        self.bytes += root.heap_bytes();
        self.root = Node::Inner(Arc::new(root));
    }

    /// Removes an element that is there.
    pub fn remove(&mut self, element: ElementRef<'_>) {
        let probe = Probe::of(element.score(), element.name());
        let mut same = |removed: ElementRef<'_>| debug_assert!(removed.raw() == element.raw());
        let removed = self.root.remove(Seek::Probe(probe), 1, &mut same, &mut Bytes(&mut self.bytes));
        debug_assert!(removed == 1);
        self.len -= removed;
        self.drop_spare_roots();
    }

    /// Removes elements from the beginning of the range, at least one and at most those of a leaf, and tells `each` of them
    /// beforehand. The range must not be empty. Returns how many.
    pub fn remove_some(&mut self, range: Range<usize>, each: &mut dyn FnMut(ElementRef<'_>)) -> usize {
        debug_assert!(!range.is_empty() && range.end <= self.len);
        let mut bytes = Bytes(&mut self.bytes);
        let removed = self.root.remove(Seek::Index(range.start), range.len(), each, &mut bytes);
        self.len -= removed;
        self.drop_spare_roots();
        removed
    }

    fn drop_spare_roots(&mut self) {
        while let Node::Inner(inner) = &self.root {
            let root = match inner.len() {
                0 => Node::Leaf(Leaf::empty()),
                1 => inner.node(0).clone(),
                _ => return,
            };
            self.bytes -= inner.heap_bytes();
            if inner.len() == 0 {
                self.bytes += root.heap_bytes();
            }
            self.root = root;
        }
    }

    /// Frees about `budget` elements' worth of nodes and returns whether there are more. Nothing else may be asked of the tree then.
    pub fn drop_some(&mut self, budget: &mut usize) -> bool {
        if self.root.take_apart(budget) == Apart::Left {
            return true;
        }
        *self = Self::new();
        false
    }

    #[cfg(test)]
    pub fn check(&self) {
        let mut leaves = Vec::new();
        let (mut bytes, mut depths) = (0, Vec::new());
        self.root.check(0, &mut leaves, &mut depths, &mut bytes, true);
        assert!(depths.iter().all(|depth| *depth == depths[0]) && depths[0] < MAX_HEIGHT);
        assert_eq!((leaves.len(), bytes), (self.len, self.bytes));
        assert!(leaves.is_sorted_by(|(a_score, a_name), (b_score, b_name)| {
            Probe::of(*b_score, b_name).order_of(Scored::new(*a_score, a_name).borrow()).is_lt()
        }));
    }
}
