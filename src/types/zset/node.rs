//! Nodes of the tree: a leaf, or an inner node with its children's separators and counts.
//!
//! The invariants are those of [`super::tree`]; here they are kept within a node.

use std::sync::Arc;

use super::element::Scored;
use super::leaf::{Leaf, MAX_LEN};
use super::order::{self, Key, Probe, common_prefix};

/// An inner node of so many children splits. A node's keys are 1 KB, and a search looks at some seven of them.
pub const MAX_CHILDREN: usize = 64;
/// Less than half a full leaf and one more, or what a split leaves could be small.
const MERGE_LEAVES: usize = MAX_LEN / 2 - 1;
const MERGE_INNERS: usize = MAX_CHILDREN / 2;
/// Bytes of name that the keys of a node leave out at most. Each node has them once.
const MAX_SHARED: usize = 64;
/// Bytes of an inner node's allocation without its children, and of each child.
const INNER_BYTES: usize = 112 + MAX_SHARED / 2;
const CHILD_BYTES: usize = size_of::<Key>() + size_of::<usize>() + size_of::<Child>();

#[derive(Clone, Debug)]
pub enum Node {
    Leaf(Arc<Leaf>),
    Inner(Arc<Inner>),
}

/// Parallel lists: a search reads keys only, a rank counts only.
#[derive(Debug, Default)]
pub struct Inner {
    /// What the names of all separators begin with, or the first bytes of that; keys leave it out.
    shared: Vec<u8>,
    keys: Vec<Key>,
    pub counts: Vec<usize>,
    pub children: Vec<Child>,
}

#[derive(Clone, Debug)]
pub struct Child {
    pub separator: Scored,
    pub node: Node,
}

impl Clone for Inner {
    /// Keeps the room there is: the copy is about to be written to, and counts as many bytes.
    fn clone(&self) -> Self {
        fn copy<T: Clone>(list: &Vec<T>) -> Vec<T> {
            let mut copy = Vec::with_capacity(list.capacity());
            copy.extend_from_slice(list);
            copy
        }
        Self {
            shared: self.shared.clone(),
            keys: copy(&self.keys),
            counts: copy(&self.counts),
            children: copy(&self.children),
        }
    }
}

impl Inner {
    #[inline]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    #[inline]
    pub fn node(&self, child: usize) -> &Node {
        &self.children[child].node
    }

    /// The child that the probe's place is in.
    #[inline]
    pub fn child_of(&self, probe: &Probe<'_>) -> usize {
        let key = self.key(probe);
        let from = 1 + self.keys[1..].partition_point(|separator| *separator < key);
        let ties = self.keys[from..].partition_point(|separator| *separator == key);
        let tied = &self.children[from..from + ties];
        from - 1 + tied.partition_point(|child| probe.order_of(child.separator.borrow()).is_le())
    }

    /// A probe's key among the keys of this node. Names that do not begin as all do are before or behind all of their score.
    #[inline]
    fn key(&self, probe: &Probe<'_>) -> Key {
        if let Some(rest) = probe.name.strip_prefix(&self.shared[..]) {
            return order::key(probe.score, rest);
        }
        let rest = if probe.name < &self.shared[..] { Key::MIN } else { Key::from(u64::MAX) };
        order::key(probe.score, b"") | rest
    }

    /// The child that has the element of that index, and the index there. The end belongs to the last child.
    #[inline]
    pub fn child_at(&self, mut index: usize) -> (usize, usize) {
        let last = self.len() - 1;
        for (child, count) in self.counts[..last].iter().enumerate() {
            if index < *count {
                return (child, index);
            }
            index -= count;
        }
        (last, index)
    }

    #[inline]
    pub fn elements_before(&self, child: usize) -> usize {
        self.counts[..child].iter().sum()
    }

    pub fn total(&self) -> usize {
        self.elements_before(self.len())
    }

    pub fn insert(&mut self, at: usize, separator: Scored, node: Node) {
        let name = separator.borrow().name();
        let fits = name.starts_with(&self.shared) && !self.children.is_empty();
        self.keys.insert(at, self.key(&Probe::of(separator.score(), name)));
        self.counts.insert(at, node.total());
        self.children.insert(at, Child { separator, node });
        if !fits {
            self.share();
        }
    }

    /// Finds out what the separators share and makes all keys anew.
    fn share(&mut self) {
        let mut names = self.children.iter().map(|child| child.separator.borrow().name());
        let first = names.next().unwrap_or_default();
        let shared = names.fold(first.len().min(MAX_SHARED), |shared, name| common_prefix(&first[..shared], name));
        self.shared = first[..shared].to_vec();
        for at in 0..self.len() {
            let separator = self.children[at].separator.borrow();
            self.keys[at] = self.key(&Probe::of(separator.score(), separator.name()));
        }
    }

    fn remove(&mut self, at: usize) -> Child {
        self.keys.remove(at);
        self.counts.remove(at);
        self.children.remove(at)
    }

    pub fn split_off(&mut self, at: usize) -> Self {
        // As much room as a node that splits has, so that it is not moved while it fills.
        fn off<T>(list: &mut Vec<T>, at: usize) -> Vec<T> {
            let mut right = Vec::with_capacity(MAX_CHILDREN);
            right.extend(list.drain(at..));
            right
        }
        let mut right = Self {
            shared: Vec::new(),
            keys: off(&mut self.keys, at),
            counts: off(&mut self.counts, at),
            children: off(&mut self.children, at),
        };
        self.share();
        right.share();
        right
    }

    /// Appends the children of another node, the first of which gets that separator.
    fn append(&mut self, mut right: Self, separator: Scored) {
        // A first child's separator says nothing; in the middle of a node it must.
        right.children[0].separator = separator;
        self.keys.append(&mut right.keys);
        self.counts.append(&mut right.counts);
        self.children.append(&mut right.children);
        self.share();
    }

    /// Merges the child with a neighbour if both are small, and takes it out if it is empty. `shrunk` says that an inner child has
    /// fewer children than before.
    pub fn settle(&mut self, child: usize, shrunk: bool, bytes: &mut Bytes) {
        if self.counts[child] == 0 {
            bytes.replace(self.remove(child).node.heap_bytes(), 0);
            // What took the place of two neighbours of the removed one are new neighbours.
            if child > 0 && child < self.len() {
                self.merge_if_small(child - 1, bytes);
            }
            return;
        }
        if matches!(self.node(child), Node::Inner(_)) && !shrunk {
            return;
        }
        // Both neighbours may go into one: a range of elements leaves a child much smaller than it was.
        let merged = child > 0 && self.merge_if_small(child - 1, bytes);
        let child = child - usize::from(merged);
        if child + 1 < self.len() {
            self.merge_if_small(child, bytes);
        }
    }

    /// Merges a child with the next one if they are small.
    fn merge_if_small(&mut self, left: usize, bytes: &mut Bytes) -> bool {
        let small = match (self.node(left), self.node(left + 1)) {
            (Node::Leaf(left), Node::Leaf(right)) => left.len() + right.len() <= MERGE_LEAVES,
            (Node::Inner(left), Node::Inner(right)) => left.len() + right.len() <= MERGE_INNERS,
            (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => unreachable!("siblings of one height"),
        };
        if !small {
            return false;
        }
        self.counts[left] += self.counts[left + 1];
        let right = self.remove(left + 1);
        let into = &mut self.children[left].node;
        let before = into.heap_bytes() + right.node.heap_bytes();
        match (&mut *into, right.node) {
            (Node::Leaf(left), Node::Leaf(right)) => *left = left.append(&right),
            (Node::Inner(left), Node::Inner(node)) => {
                Arc::make_mut(left).append(Arc::unwrap_or_clone(node), right.separator);
            }
            (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => unreachable!("siblings of one height"),
        }
        bytes.replace(before, into.heap_bytes());
        true
    }

    pub fn heap_bytes(&self) -> usize {
        INNER_BYTES + self.children.capacity() * CHILD_BYTES
    }
}

/// A count of bytes that follows nodes as they are replaced.
pub struct Bytes<'a>(pub &'a mut usize);

impl Bytes<'_> {
    pub fn replace(&mut self, before: usize, after: usize) {
        *self.0 = *self.0 + after - before;
    }
}

impl Node {
    pub fn total(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.total(),
        }
    }

    /// Bytes of the node itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.heap_bytes(),
            Self::Inner(inner) => inner.heap_bytes(),
        }
    }
}

#[cfg(test)]
impl Node {
    pub fn check(
        &self,
        depth: usize,
        elements: &mut Vec<(f64, Vec<u8>)>,
        depths: &mut Vec<usize>,
        bytes: &mut usize,
        root: bool,
    ) {
        *bytes += self.heap_bytes();
        let inner = match self {
            Self::Leaf(leaf) => {
                assert!(root || leaf.len() > 0);
                depths.push(depth);
                for at in 0..leaf.len() {
                    let element = leaf.get(at);
                    assert_eq!(leaf.position(&Probe::of(element.score(), element.name())), at);
                    elements.push((element.score(), element.name().to_vec()));
                }
                return;
            }
            Self::Inner(inner) => inner,
        };
        assert!(inner.len() < MAX_CHILDREN && inner.len() > usize::from(root));
        assert!(inner.keys.len() == inner.len() && inner.counts.len() == inner.len());
        for (at, child) in inner.children.iter().enumerate() {
            let from = elements.len();
            child.node.check(depth + 1, elements, depths, bytes, false);
            assert_eq!(inner.counts[at], elements.len() - from);
            let separator = child.separator.borrow();
            let probe = Probe::of(separator.score(), separator.name());
            assert_eq!(inner.keys[at], inner.key(&probe));
            assert!(separator.name().starts_with(&inner.shared));
            if at > 0 {
                let order = |(score, name): &(f64, Vec<u8>)| probe.order_of(Scored::new(*score, name).borrow());
                assert!(order(&elements[from - 1]).is_lt() && order(&elements[from]).is_ge());
                let small = match (inner.node(at - 1), &child.node) {
                    (Node::Leaf(a), Node::Leaf(b)) => a.len() + b.len() <= MERGE_LEAVES,
                    (Node::Inner(a), Node::Inner(b)) => a.len() + b.len() <= MERGE_INNERS,
                    _ => panic!("siblings of different heights"),
                };
                assert!(!small);
            }
        }
    }
}
