//! A run of neighbouring positions in one small table: what is split, merged, copied and scanned as a whole.
//!
//! A look-up compares 16 marks (a hash byte of each element) at a time, at most seven times, and then the tag in the element's pointer, so
//! that it touches hardly any element but the right one.
//!
//! A tag is the 16 bits of the hash from `depth` rounded down to a multiple of [`TAG_STEP`]: at least 9 of them are not yet consumed by the
//! directory. They tell elements apart, and a split reads them instead of hashing the names; only where the depth passes a multiple
//! of `TAG_STEP` the names are hashed for new tags.
//!
//! Invariants
//! - at most [`SEGMENT_ELEMENTS`] elements, except at [`MOST_DEPTH`](super::MOST_DEPTH)
//! - `marks[i]` is the mark of `elements[i]`; elements past the marks (only at `MOST_DEPTH`) are found by looking at each
//! - growing and shrinking touch no element; the room is at most a step and a half more than the elements take

use super::Element;
use super::spread::Deep;
use crate::types::marks::{STEP, matches};

/// Seven comparisons of 16.
pub const SEGMENT_ELEMENTS: usize = 112;
/// Two siblings that together have no more than this become one; half of the most, so that a merged segment is far from its next split.
pub const MERGED_ELEMENTS: usize = SEGMENT_ELEMENTS / 2;

/// Arrays grow and shrink in steps of a comparison, for which the allocator has exact size classes; fewer than a step are kept in blocks
/// of this many or twice as many.
const FEW: usize = 4;
/// Bits of a tag.
const TAG_BITS: u8 = 16;
/// Depths between new tags.
const TAG_STEP: u8 = 8;
/// Bits beyond the depth that a tag tells in any case.
pub const FINER_BITS: u8 = TAG_BITS - TAG_STEP;

#[derive(Debug)]
pub struct Segment<E> {
    elements: Vec<E>,
    depth: u8,
    marks: [u8; SEGMENT_ELEMENTS],
}

impl<E> Deep for Segment<E> {
    #[inline]
    fn depth(&self) -> u8 {
        self.depth
    }
}

impl<E: Element> Clone for Segment<E> {
    fn clone(&self) -> Self {
        self.elements.iter().for_each(Element::prefetch);
        let mut elements = Vec::with_capacity(capacity_for(self.len() + 1));
        elements.extend_from_slice(&self.elements);
        Self { elements, depth: self.depth, marks: self.marks }
    }
}

#[inline]
fn mark(hash: u64) -> u8 {
    hash as u8
}

/// Bits of the hash that come before those in a tag.
#[inline]
fn before_tag(depth: u8) -> u8 {
    depth & !(TAG_STEP - 1)
}

#[inline]
fn tag(hash: u64, depth: u8) -> u16 {
    (hash << before_tag(depth) >> (u64::BITS - u32::from(TAG_BITS))) as u16
}

/// What an array for so many elements is made for.
fn capacity_for(len: usize) -> usize {
    match len {
        0 => 0,
        _ if len <= FEW => FEW,
        _ if len <= 2 * FEW => 2 * FEW,
        _ if len <= SEGMENT_ELEMENTS => len.next_multiple_of(STEP),
        // Only where no bit is left to split by.
        _ => len.next_power_of_two(),
    }
}

impl<E: Element> Segment<E> {
    pub fn new() -> Self {
        Self { elements: Vec::new(), depth: 0, marks: [0; SEGMENT_ELEMENTS] }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    #[inline]
    pub fn elements(&self) -> &[E] {
        &self.elements
    }

    /// For changes that leave the name as it is.
    #[inline]
    pub fn element_mut(&mut self, index: usize) -> &mut E {
        &mut self.elements[index]
    }

    /// Where the element of that name is.
    #[inline]
    pub fn find(&self, hash: u64, name: &[u8]) -> Option<usize> {
        self.find_where(hash, |element| element.name() == name)
    }

    /// Where the first element is that has the hash's mark and tag and is the one meant.
    #[inline]
    pub fn find_where(&self, hash: u64, is_meant: impl Fn(&E) -> bool) -> Option<usize> {
        let wanted = tag(hash, self.depth);
        let is_it = |element: &E| element.tag() == wanted && is_meant(element);
        let marked = self.len().min(SEGMENT_ELEMENTS);
        let (chunks, _) = self.marks.as_chunks::<STEP>();
        for (number, chunk) in chunks.iter().take(marked.div_ceil(STEP)).enumerate() {
            let mut bits = matches(chunk, mark(hash));
            while bits != 0 {
                let index = number * STEP + bits.trailing_zeros() as usize;
                // Marks past the last element are left-overs.
                if self.elements.get(index).is_some_and(is_it) {
                    return Some(index);
                }
                bits &= bits - 1;
            }
        }
        let past = self.elements.get(SEGMENT_ELEMENTS..)?.iter().position(is_it)?;
        Some(SEGMENT_ELEMENTS + past)
    }

    /// Whether only a split makes room for another element.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() >= SEGMENT_ELEMENTS
    }

    /// Puts an element whose name is not there.
    #[inline]
    pub fn push(&mut self, hash: u64, mut element: E) {
        element.set_tag(tag(hash, self.depth));
        self.push_tagged(mark(hash), element);
    }

    #[inline]
    fn push_tagged(&mut self, mark: u8, element: E) {
        if self.len() == self.elements.capacity() {
            self.resize(self.len() + 1);
        }
        if let Some(place) = self.marks.get_mut(self.elements.len()) {
            *place = mark;
        }
        self.elements.push(element);
    }

    /// Another element of the same name. The one that was there.
    pub fn replace(&mut self, index: usize, mut element: E) -> E {
        debug_assert!(self.elements[index].name() == element.name());
        element.set_tag(self.elements[index].tag());
        std::mem::replace(&mut self.elements[index], element)
    }

    /// Takes an element out; the last one takes its place.
    pub fn swap_remove(&mut self, index: usize) -> E {
        let last = self.len() - 1;
        if index < SEGMENT_ELEMENTS {
            self.marks[index] = match self.marks.get(last) {
                Some(last) => *last,
                None => mark(self.elements[last].hash()),
            };
        }
        let element = self.elements.swap_remove(index);
        self.shrink();
        element
    }

    /// Makes the array for so many elements, at least as many as there are.
    #[cold]
    fn resize(&mut self, len: usize) {
        let capacity = capacity_for(len);
        self.elements.reserve_exact(capacity - self.len());
        self.elements.shrink_to(capacity);
    }

    /// Gives memory back when a step and a half is free, so that the next growth is some way off.
    #[inline]
    fn shrink(&mut self) {
        let (len, capacity) = (self.len(), self.elements.capacity());
        let step_less = capacity_for(capacity.saturating_sub(STEP));
        if len == 0 || len + STEP / 2 <= step_less || (len <= FEW && capacity > 2 * FEW) {
            self.resize(len);
        }
    }

    /// Tags for another depth.
    fn set_depth(&mut self, depth: u8) {
        let stale = before_tag(depth) != before_tag(self.depth);
        self.depth = depth;
        if stale {
            self.elements.iter().for_each(Element::prefetch);
            for element in &mut self.elements {
                element.set_tag(tag(element.hash(), depth));
            }
        }
    }

    /// Moves the elements whose next bit is set to a new segment; both are one bit deeper then.
    pub fn split(&mut self) -> Self {
        debug_assert!(self.len() <= SEGMENT_ELEMENTS);
        let bit = 1 << (TAG_BITS - 1 - (self.depth - before_tag(self.depth)));
        let moving = self.elements.iter().filter(|element| element.tag() & bit != 0).count();
        let half = |len| Self {
            elements: Vec::with_capacity(capacity_for(len)),
            depth: self.depth,
            marks: [0; SEGMENT_ELEMENTS],
        };
        let (mut lower, mut upper) = (half(self.len() - moving), half(moving));
        for (element, mark) in std::mem::take(&mut self.elements).into_iter().zip(self.marks) {
            let half = if element.tag() & bit == 0 { &mut lower } else { &mut upper };
            half.push_tagged(mark, element);
        }
        lower.set_depth(self.depth + 1);
        upper.set_depth(self.depth + 1);
        *self = lower;
        upper
    }

    /// Takes all elements of its sibling in; the result is one bit shallower. Together they are at most [`MERGED_ELEMENTS`].
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(self.len() + other.len() <= MERGED_ELEMENTS && self.depth == other.depth);
        let depth = self.depth - 1;
        self.set_depth(depth);
        other.set_depth(depth);
        for (element, mark) in other.elements.into_iter().zip(other.marks) {
            self.push_tagged(mark, element);
        }
    }

    /// The elements whose hashes have the first `depth` bits of a position; it lies in this segment, and `depth` is at most
    /// [`FINER_BITS`] more than the segment's.
    pub fn within(&self, position: u64, depth: u8) -> impl Iterator<Item = &E> {
        let unread = TAG_BITS - (depth - before_tag(self.depth));
        let wanted = u32::from(tag(position, self.depth)) >> unread;
        self.elements.iter().filter(move |element| u32::from(element.tag()) >> unread == wanted)
    }

    /// Frees some elements from the end on and tells how many.
    pub fn drop_some(&mut self, budget: usize) -> usize {
        let freed = budget.min(self.len());
        self.elements.truncate(self.len() - freed);
        freed
    }
}
