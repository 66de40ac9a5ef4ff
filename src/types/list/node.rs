//! A node of a large list: some elements that do not change, packed and perhaps compressed, shared by all copies of the list.
//!
//! Invariants
//! - a node has at least one element, and at most [`NODE_BYTES`] uncompressed unless it has only one
//! - a compressed node takes less memory than it would otherwise
//!
//! Knows nothing of the node's place in a list.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::Arc;

use super::run::Tally;
use crate::types::lz4::{self, Lz4, Packing};

/// Most bytes of a node of several elements: with the two counters in front an allocation of 2 KiB. Smaller would cost more for the
/// node itself, larger makes unpacking and copying a node slower.
pub const NODE_BYTES: usize = if cfg!(test) { 64 } else { 2048 - COUNTER_BYTES };

/// What an `Arc` keeps in front.
const COUNTER_BYTES: usize = 16;

#[derive(Clone, Debug)]
pub struct Node {
    data: Arc<[u8]>,
    /// Bytes of the run, uncompressed.
    run_bytes: u32,
    tally: Tally,
    packing: Packing,
}

impl Node {
    pub fn new(run: &[u8], tally: Tally, packing: Packing, lz4: &mut Lz4) -> Self {
        debug_assert!(tally.count == 1 || (tally.count > 1 && run.len() <= NODE_BYTES));
        let compressed = if packing == Packing::Compressed { lz4.compress(run) } else { None };
        let (data, packing) = match compressed {
            Some(packed) => (packed, Packing::Compressed),
            None => (run, Packing::Plain),
        };
        let run_bytes = u32::try_from(run.len()).unwrap_or_else(|_| panic!("an element of {} bytes", run.len()));
        Self { data: data.into(), run_bytes, tally, packing }
    }

    /// The elements, unpacked to `room` if need be.
    #[inline]
    pub fn run<'a>(&'a self, room: &'a mut Vec<u8>) -> &'a [u8] {
        match self.packing {
            Packing::Plain => &self.data,
            Packing::Compressed => lz4::decompress(&self.data, self.run_bytes as usize, room),
        }
    }

    #[inline]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    pub fn packing(&self) -> Packing {
        self.packing
    }

    #[inline]
    pub fn run_bytes(&self) -> usize {
        self.run_bytes as usize
    }

    /// Whether it is a single element that is too large to stand with others.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.run_bytes() > NODE_BYTES
    }

    #[inline]
    pub fn sum(&self) -> Sum {
        Sum {
            elements: self.tally.count.into(),
            nodes: 1,
            heap_bytes: allocated_bytes(self.data.len() + COUNTER_BYTES) as u64,
            run_bytes: self.run_bytes.into(),
            excess: self.tally.excess.into(),
        }
    }
}

/// What is counted of any number of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub elements: u64,
    pub nodes: u64,
    pub heap_bytes: u64,
    /// The elements, not compressed.
    pub run_bytes: u64,
    /// Bytes that a listpack takes more.
    pub excess: u64,
}

impl Add for Sum {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self {
            elements: self.elements + other.elements,
            nodes: self.nodes + other.nodes,
            heap_bytes: self.heap_bytes + other.heap_bytes,
            run_bytes: self.run_bytes + other.run_bytes,
            excess: self.excess + other.excess,
        }
    }
}

impl Sub for Sum {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self {
            elements: self.elements - other.elements,
            nodes: self.nodes - other.nodes,
            heap_bytes: self.heap_bytes - other.heap_bytes,
            run_bytes: self.run_bytes - other.run_bytes,
            excess: self.excess - other.excess,
        }
    }
}

impl AddAssign for Sum {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Sum {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What mimalloc takes for an allocation: beyond 64 bytes there are four sizes to each doubling.
pub fn allocated_bytes(bytes: usize) -> usize {
    if bytes <= 64 {
        return bytes.next_multiple_of(8);
    }
    bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2))
}
