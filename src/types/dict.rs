//! An unordered table of named elements: what sets, hashes and the name index of sorted sets are made of.
//!
//! An extendible-hash table in three levels: a spread of nodes, each a spread of some 170 segments, each of up to 112 elements. The first
//! bits of an element's hash, its *position*, say where it stands, so that walks are in the order of hashes.
//!
//! Guarantees
//! - no operation touches more than one segment's elements and a few spreads' slots: a full segment splits, a full node splits, and the
//!   first spread doubles, which for 10^9 elements copies 1 MiB
//! - a clone costs a pointer for each node (some 15 000 elements); after that each side copies a node and a segment before
//!   it first writes to them, and a copied segment shares its elements
//! - a walk by cursor passes everything that is there from its start to its end, whatever comes and goes meanwhile
//! - a shared table may be read by several cores
//!
//! Invariants
//! - each name is here once, in the segment that covers its hash
//! - a segment deeper than [`MOST_DEPTH`] does not exist; one of that depth holds any number of elements
//! - `doomed` holds what `drop_some` has still to free, and nothing else refers to it
//!
//! Knows nothing of what an element carries beside its name.

mod segment;
mod spread;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::{Arc, OnceLock};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use segment::{FINER_BITS, MERGED_ELEMENTS, Segment};
use spread::{Deep, Emptied, Spread, drop_from_end};

use crate::runtime::prefetch;

/// Most bits of a node's spread: 2 KiB of slots.
const NODE_BITS: u8 = 8;
/// Most bits of the first spread, met beyond 10^10 elements.
const ROOT_BITS: u8 = 20;
/// Most bits of a hash that the directory tells apart.
pub const MOST_DEPTH: u8 = ROOT_BITS + NODE_BITS;
/// Two nodes that together have no more segments than this become one.
const MERGED_SEGMENTS: usize = 1 << (NODE_BITS - 1);
/// Elements that a segment's array has room left for, in the mean: half a step of its growth.
const MEAN_SPARE_ELEMENTS: usize = 8;
/// Slots of a node for each segment, in the mean.
const MEAN_SLOTS: usize = 2;
/// What an `Arc` puts before its content.
const ARC_BYTES: usize = 16;

/// An owned pointer to one allocation with a name in it. A clone is another owner of the same allocation, or of a copy.
///
/// The name of an element never changes.
pub trait Element: Clone + Send + Sync {
    fn name(&self) -> &[u8];

    /// 16 bits that the pointer carries for the table that the element is in; a clone starts with the same.
    fn tag(&self) -> u16;
    fn set_tag(&mut self, tag: u16);

    /// Bytes of the allocation, as the allocator rounds them.
    fn heap_bytes(&self) -> usize;

    /// Asks the CPU for the allocation's first line.
    fn prefetch(&self) {}

    /// Must be [`hash`] of the name outside of tests.
    fn hash(&self) -> u64 {
        hash(self.name())
    }
}

/// The seeded hash of this process. Unguessable seeds keep clients from choosing names that collide.
#[inline]
pub fn hash(name: &[u8]) -> u64 {
    static SECRETS: OnceLock<RapidSecrets> = OnceLock::new();
    rapidhash_v3_micro_inline::<true, false>(name, SECRETS.get_or_init(RapidSecrets::random))
}

/// Some 170 neighbouring segments.
#[derive(Clone, Debug)]
struct Node<E: Element> {
    segments: Spread<Segment<E>>,
}

impl<E: Element> Deep for Node<E> {
    #[inline]
    fn depth(&self) -> u8 {
        self.segments.used()
    }
}

/// The table. Wherever a `hash` is asked for it is [`hash`] of the name.
#[derive(Clone, Debug)]
pub struct Dict<E: Element> {
    nodes: Spread<Node<E>>,
    len: usize,
    segments: usize,
    /// Sum over the elements.
    element_bytes: usize,
    doomed: Vec<Option<Arc<Node<E>>>>,
}

impl<E: Element> Default for Dict<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Element> Dict<E> {
    pub fn new() -> Self {
        let node = Node { segments: Spread::new(Segment::new()) };
        Self { nodes: Spread::new(node), len: 0, segments: 1, element_bytes: 0, doomed: Vec::new() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn segment(&self, position: u64) -> &Segment<E> {
        self.nodes.get(position).segments.get(position)
    }

    #[inline]
    fn segment_mut(&mut self, position: u64) -> &mut Segment<E> {
        self.nodes.get_mut(position).segments.get_mut(position)
    }

    #[inline]
    pub fn get(&self, hash: u64, name: &[u8]) -> Option<&E> {
        let segment = self.segment(hash);
        segment.find(hash, name).map(|index| &segment.elements()[index])
    }

    #[inline]
    pub fn contains(&self, hash: u64, name: &[u8]) -> bool {
        self.segment(hash).find(hash, name).is_some()
    }

    /// Asks the CPU for what a look-up reads first.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let segment: *const Segment<E> = self.segment(hash);
        prefetch::line(segment);
        prefetch::line(segment.cast::<u8>().wrapping_add(64));
    }

    /// Changes an element in place, but for its name. `None` if there is none of that name.
    #[inline]
    pub fn update<R>(&mut self, hash: u64, name: &[u8], change: impl FnOnce(&mut E) -> R) -> Option<R> {
        let index = self.segment(hash).find(hash, name)?;
        let element = self.segment_mut(hash).element_mut(index);
        let before = element.heap_bytes();
        let result = change(element);
        let after = element.heap_bytes();
        self.element_bytes = self.element_bytes - before + after;
        Some(result)
    }

    /// Puts an element whose name is not there; the way to load many.
    #[inline]
    pub fn insert(&mut self, hash: u64, element: E) {
        debug_assert!(!self.contains(hash, element.name()));
        self.len += 1;
        self.element_bytes += element.heap_bytes();
        loop {
            let segment = self.segment_mut(hash);
            if !segment.is_full() || segment.depth() == MOST_DEPTH {
                segment.push(hash, element);
                return;
            }
            self.split(hash);
        }
    }

    /// Puts the element that `make` makes unless its name is there. Whether it was put.
    #[inline]
    pub fn insert_with(&mut self, hash: u64, name: &[u8], make: impl FnOnce() -> E) -> bool {
        let absent = !self.contains(hash, name);
        if absent {
            self.insert(hash, make());
        }
        absent
    }

    /// Puts an element in place of the one of its name, which is returned, or as a new one.
    pub fn replace(&mut self, hash: u64, element: E) -> Option<E> {
        let Some(index) = self.segment(hash).find(hash, element.name()) else {
            self.insert(hash, element);
            return None;
        };
        self.element_bytes += element.heap_bytes();
        let old = self.segment_mut(hash).replace(index, element);
        self.element_bytes -= old.heap_bytes();
        Some(old)
    }

    #[inline]
    pub fn remove(&mut self, hash: u64, name: &[u8]) -> Option<E> {
        let index = self.segment(hash).find(hash, name)?;
        Some(self.remove_at(hash, index))
    }

    /// Takes an element out of which only the hash is known, and something to tell it from the few others that `is_meant` may be asked about.
    pub fn take_where(&mut self, hash: u64, is_meant: impl Fn(&E) -> bool) -> Option<E> {
        let index = self.segment(hash).find_where(hash, is_meant)?;
        Some(self.remove_at(hash, index))
    }

    /// Takes an element of the segment at the position out.
    fn remove_at(&mut self, position: u64, index: usize) -> E {
        let segment = self.segment_mut(position);
        let element = segment.swap_remove(index);
        // The larger of two siblings that fit one segment is not looked at: the smaller one will be.
        let may_merge = segment.len() <= MERGED_ELEMENTS / 2;
        self.len -= 1;
        self.element_bytes -= element.heap_bytes();
        if may_merge {
            while self.merge_segment(position) || self.merge_node(position) {}
        }
        element
    }

    /// Splits the segment at the position, which is not of the most depth, and its node first if that has no bit left.
    #[cold]
    fn split(&mut self, position: u64) {
        let node = self.nodes.get_mut(position);
        let depth = node.segments.get(position).depth();
        if depth == node.segments.reach() && node.segments.bits() == NODE_BITS {
            let node_depth = node.depth();
            let upper = node.segments.cut();
            self.nodes.split(position, node_depth, Node { segments: upper });
        }
        let segments = &mut self.nodes.get_mut(position).segments;
        let upper = segments.get_mut(position).split();
        segments.split(position, depth, upper);
        self.segments += 1;
    }

    /// Whether the segment at the position was merged with its sibling.
    fn merge_segment(&mut self, position: u64) -> bool {
        let segments = &self.nodes.get(position).segments;
        let segment = segments.get(position);
        let depth = segment.depth();
        let fits = |sibling: &Segment<E>| segment.len() + sibling.len() <= MERGED_ELEMENTS;
        if !segments.sibling(position, depth).is_some_and(fits) {
            return false;
        }
        self.nodes.get_mut(position).segments.merge(position, depth, Segment::merge);
        self.segments -= 1;
        true
    }

    /// Whether the node at the position was merged with its sibling.
    fn merge_node(&mut self, position: u64) -> bool {
        let node = self.nodes.get(position);
        let depth = node.depth();
        let fits = |sibling: &Node<E>| {
            node.segments.len() + sibling.segments.len() <= MERGED_SEGMENTS
                && node.segments.bits().max(sibling.segments.bits()) < NODE_BITS
        };
        if !self.nodes.sibling(position, depth).is_some_and(fits) {
            return false;
        }
        self.nodes.merge(position, depth, |lower, upper| lower.segments.join(upper.segments));
        true
    }

    /// Bytes of everything; of the table itself an estimate. What clones share counts in each.
    pub fn heap_bytes(&self) -> usize {
        let spare = MEAN_SPARE_ELEMENTS * size_of::<E>() + MEAN_SLOTS * size_of::<usize>();
        let segment = ARC_BYTES + size_of::<Segment<E>>() + spare;
        let nodes = self.nodes.len() * (ARC_BYTES + size_of::<Node<E>>()) + self.nodes.heap_bytes();
        self.element_bytes + self.len * size_of::<E>() + self.segments * segment + nodes
    }

    /// Makes the table empty, and frees about `budget` elements of those that were ever in it. Whether more are left to free.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        if self.len > 0 {
            let old = std::mem::take(self);
            self.doomed = old.doomed;
            // One that is filled again before all is freed: rare, and no more than a few pointers an element then.
            self.doomed.extend(old.nodes.into_slots());
        }
        let left = drop_from_end(&mut self.doomed, budget, |node, budget| {
            let left = drop_from_end(node.segments.slots_mut(), budget, |segment, budget| {
                let freed = segment.drop_some(budget);
                (freed, if segment.len() == 0 { Emptied::Yes } else { Emptied::NotYet })
            });
            (budget - left, if left > 0 { Emptied::Yes } else { Emptied::NotYet })
        });
        left == 0 && !self.doomed.is_empty()
    }
}
