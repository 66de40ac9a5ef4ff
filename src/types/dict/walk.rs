//! Ways through all elements: in the order of hashes, by cursor, and by chance.
//!
//! A cursor is the first bits of the position to go on from, so a walk needs no memory of its own and splits and merges between calls
//! change nothing: an element has one position, and every position is passed at least once.

use super::{Deep, Dict, Element, FINER_BITS, MOST_DEPTH, Segment};

/// Bits of a position that a cursor has.
const CURSOR_BITS: u32 = (MOST_DEPTH + FINER_BITS) as u32;
/// Parts of segments that a call passes for each element that it was asked for, for where they are empty.
const PARTS_PER_ELEMENT: usize = 10;
/// Segments that are looked at for a random element before any is taken. Each is refused with a chance of a third.
const MOST_TRIES: usize = 64;

impl<E: Element> Dict<E> {
    /// All elements, in the order of their hashes as far as segments go.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.nodes.iter().flat_map(|node| node.segments.iter()).flat_map(Segment::elements)
    }

    /// Visits some `count` elements from the cursor on, and tells where to go on; 0 is the start, and as an answer the end. What is there
    /// from the start of a walk to its end is visited at least once; twice only if the
    /// table shrinks meanwhile.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&E)) -> u64 {
        if cursor >> CURSOR_BITS != 0 {
            return 0;
        }
        let mut position = cursor << (u64::BITS - CURSOR_BITS);
        let mut left = count.max(1);
        let mut parts_left = left.saturating_mul(PARTS_PER_ELEMENT);
        loop {
            let segment = self.segment(position);
            let finest = segment.depth() + FINER_BITS;
            // No coarser than where the cursor stands: what comes before it was visited.
            let aligned = (u64::BITS - position.trailing_zeros()) as u8;
            let depth = aligned.clamp(segment.depth() + finer_bits(segment.len(), left), finest);
            let mut visited = 0;
            segment.within(position, depth).for_each(|element| {
                visit(element);
                visited += 1;
            });
            match end_of(position, depth) {
                None => return 0,
                Some(next) => position = next,
            }
            left = left.saturating_sub(visited);
            parts_left -= 1;
            if left == 0 || parts_left == 0 {
                return position >> (u64::BITS - CURSOR_BITS);
            }
        }
    }

    /// An element by chance, each with nearly the same; `random` gives 64 random bits at a time.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<&E> {
        let (position, index) = self.pick(random)?;
        Some(&self.segment(position).elements()[index])
    }

    /// Takes an element out by chance.
    pub fn take_random(&mut self, random: impl FnMut() -> u64) -> Option<E> {
        let (position, index) = self.pick(random)?;
        Some(self.remove_at(position, index))
    }

    /// A random element's segment and place there.
    ///
    /// A random position finds a segment with a chance of 1 / 2^depth; it is then accepted with a chance proportional to the elements it
    /// has beside those it would have if all were spread evenly. So each element has the same chance, but for those in a segment
    /// half again as dense as the mean, which does not get more than that.
    fn pick(&self, mut random: impl FnMut() -> u64) -> Option<(u64, usize)> {
        if self.is_empty() {
            return None;
        }
        for _ in 0..MOST_TRIES {
            let position = random();
            let segment = self.segment(position);
            let density = (segment.len() as u64) << segment.depth();
            if self.segments == 1 || below(random(), self.len + self.len / 2 + 1) < density {
                return Some((position, below(random(), segment.len()) as usize));
            }
        }
        let start = random();
        let mut position = start;
        loop {
            let segment = self.segment(position);
            if segment.len() > 0 {
                return Some((position, below(random(), segment.len()) as usize));
            }
            position = end_of(position, segment.depth()).unwrap_or(0);
        }
    }
}

/// A number below the bound for a random one.
fn below(random: u64, bound: usize) -> u64 {
    ((u128::from(random) * bound as u128) >> 64) as u64
}

/// By how many bits a segment is divided so that a part has some `wanted` elements.
fn finer_bits(len: usize, wanted: usize) -> u8 {
    (0..FINER_BITS).find(|bits| len >> bits <= wanted).unwrap_or(FINER_BITS)
}

/// The position after all that share the first `depth` bits of one; `None` after the last.
fn end_of(position: u64, depth: u8) -> Option<u64> {
    let span = 1u64.checked_shl(u64::BITS - u32::from(depth))?;
    (position & !(span - 1)).checked_add(span)
}
