//! From a position to its segment: an extendible-hash directory in levels of bounded size.
//!
//! A directory of `bits` bits has a kid for each value of those bits of the position; a segment that has fewer bits in common than
//! the directory tells apart stands under several neighbouring kids. The root doubles up to [`ROOT_BITS`] bits. Where a segment must
//! split further than that, its one kid becomes a directory of its own, which doubles independently.
//!
//! Invariants
//! - doubling or halving copies at most 2^[`ROOT_BITS`] kids of 4 bytes: microseconds, at any size of the database
//! - evenly spread keys are found within two levels up to some 10^9 keys a shard; all keys in one slot cost further levels
//! - directories stand only under kids of directories that have reached their most bits
//! - `deepest` counts the kids that stand alone for what is under them; when it falls to 0 the directory is halved
//!
//! Knows positions and segment numbers only; the segments themselves are the table's.

use super::arena::Arena;

/// Most bits of the first level: 64 KiB of kids, and as many as there are slots.
pub const ROOT_BITS: u8 = 14;
/// Most bits of each further level: 16 KiB of kids.
const LEVEL_BITS: u8 = 12;

const ROOT: u32 = u32::MAX;
const DIRECTORY_BIT: u32 = 1 << 31;

#[derive(Debug, Default)]
struct Level {
    /// A segment's number, or a directory's with `DIRECTORY_BIT`.
    kids: Vec<u32>,
    deepest: u32,
    bits: u8,
    /// Bits of the position that the levels above have consumed.
    used: u8,
}

impl Level {
    fn leaf(segment: u32, used: u8) -> Self {
        Self { kids: vec![segment], deepest: 0, bits: 0, used }
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        // Two shifts, since `bits` can be 0 and a shift by 64 is not defined.
        ((position << self.used) >> 1 >> (63 - self.bits)) as usize
    }

    /// Bits of the position that are told apart down to here.
    fn reach(&self) -> u8 {
        self.used + self.bits
    }

    /// The kids under which a segment of that depth stands.
    fn span(&self, position: u64, depth: u8) -> std::ops::Range<usize> {
        let width = 1usize << (self.reach() - depth);
        let start = self.index(position) & !(width - 1);
        start..start + width
    }

    fn double(&mut self) {
        self.kids = self.kids.iter().flat_map(|kid| [*kid, *kid]).collect();
        self.bits += 1;
        self.deepest = 0;
    }

    fn halve_while_possible(&mut self) {
        while self.deepest == 0 && self.bits > 0 {
            self.kids = self.kids.iter().step_by(2).copied().collect();
            self.bits -= 1;
            let alone = self.kids.chunks_exact(2).filter(|pair| pair[0] != pair[1]).count();
            self.deepest = 2 * alone as u32;
        }
    }
}

/// Where a segment stands.
struct Spot {
    level: u32,
    parent: u32,
    segment: u32,
}

/// What merging may do next to a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// The segment covers everything.
    None,
    /// What differs in the last of the segment's bits; of the same or a greater depth.
    Segment(u32),
    /// More than one segment.
    Directory,
}

#[derive(Debug)]
pub struct Directory {
    root: Level,
    levels: Arena<Level>,
    /// Bits of a position that can differ.
    most_bits: u8,
}

impl Directory {
    pub fn new(segment: u32, most_bits: u8) -> Self {
        Self { root: Level::leaf(segment, 0), levels: Arena::new(), most_bits }
    }

    pub fn most_bits(&self) -> u8 {
        self.most_bits
    }

    /// The segment of a position.
    #[inline]
    pub fn find(&self, position: u64) -> u32 {
        let mut kid = self.root.kids[self.root.index(position)];
        while kid & DIRECTORY_BIT != 0 {
            let level = self.levels.get(kid & !DIRECTORY_BIT);
            kid = level.kids[level.index(position)];
        }
        kid
    }

    fn spot(&self, position: u64) -> Spot {
        let (mut parent, mut level) = (ROOT, ROOT);
        loop {
            let here = self.level(level);
            let kid = here.kids[here.index(position)];
            if kid & DIRECTORY_BIT == 0 {
                return Spot { level, parent, segment: kid };
            }
            parent = level;
            level = kid & !DIRECTORY_BIT;
        }
    }

    fn level(&self, number: u32) -> &Level {
        if number == ROOT { &self.root } else { self.levels.get(number) }
    }

    fn level_mut(&mut self, number: u32) -> &mut Level {
        if number == ROOT { &mut self.root } else { self.levels.get_mut(number) }
    }

    fn most_bits_of(&self, number: u32) -> u8 {
        let most = if number == ROOT { ROOT_BITS } else { LEVEL_BITS };
        most.min(self.most_bits - self.level(number).used)
    }

    /// Gives the upper half of what the segment at the position covers to another segment. `depth` is what the segment had until now,
    /// less than `most_bits`.
    pub fn split(&mut self, position: u64, depth: u8, upper: u32) {
        debug_assert!(depth < self.most_bits);
        let spot = self.spot(position);
        let mut number = spot.level;
        if self.level(number).reach() == depth {
            if self.level(number).bits == self.most_bits_of(number) {
                number = self.add_level(number, position, spot.segment);
            }
            self.level_mut(number).double();
        }
        let level = self.level_mut(number);
        let span = level.span(position, depth);
        let middle = span.start + span.len() / 2;
        level.kids[middle..span.end].fill(upper);
        if level.reach() == depth + 1 {
            level.deepest += 2;
        }
    }

    /// Puts a level under the kid of the position, which stands for the segment alone.
    fn add_level(&mut self, number: u32, position: u64, segment: u32) -> u32 {
        let reach = self.level(number).reach();
        let added = self.levels.insert(Level::leaf(segment, reach));
        assert!(added < DIRECTORY_BIT, "more directories than numbers");
        let level = self.level_mut(number);
        let index = level.index(position);
        level.kids[index] = added | DIRECTORY_BIT;
        added
    }

    /// What the segment of that depth at the position could be merged with.
    pub fn neighbour(&mut self, position: u64, depth: u8) -> Neighbour {
        self.drop_level_of_one(position, depth);
        if depth == 0 {
            return Neighbour::None;
        }
        let level = self.level(self.spot(position).level);
        let other = level.kids[level.index(position ^ 1 << (64 - depth))];
        if other & DIRECTORY_BIT == 0 { Neighbour::Segment(other) } else { Neighbour::Directory }
    }

    /// A level that one segment fills is replaced by that segment.
    fn drop_level_of_one(&mut self, position: u64, depth: u8) {
        let spot = self.spot(position);
        if spot.level == ROOT || self.level(spot.level).used != depth {
            return;
        }
        self.levels.remove(spot.level);
        let parent = self.level_mut(spot.parent);
        let index = parent.index(position);
        parent.kids[index] = spot.segment;
    }

    /// Puts the segment under all kids that it shared with its neighbour. `depth` is what both had until now, more than 0.
    pub fn merge(&mut self, position: u64, depth: u8, merged: u32) {
        let number = self.spot(position).level;
        let level = self.level_mut(number);
        let span = level.span(position, depth - 1);
        level.kids[span].fill(merged);
        if level.reach() == depth {
            level.deepest -= 2;
            level.halve_while_possible();
        }
    }

    /// Bytes of all levels.
    pub fn heap_bytes(&self) -> usize {
        // Below the root all levels together have few kids beside the segments they stand for: counted by their cells.
        self.root.kids.capacity() * size_of::<u32>() + self.levels.heap_bytes()
    }
}
