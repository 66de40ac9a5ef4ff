//! From a key to its place: the slot, the seeded hash, and the position that orders all keys of a node.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use super::slot::{self, SLOT_BITS};

/// Bits of the hash that an entry's tag carries; the others are in its position, so tag and position are independent.
pub const TAG_BITS: u32 = 14;
/// Bits of a position below the slot.
pub const BELOW_SLOT_BITS: u32 = u64::BITS - SLOT_BITS;

/// A key's slot and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyHash {
    pub slot: u16,
    pub hash: u64,
}

impl KeyHash {
    /// Where the key stands among all: by slot, then by hash. SCAN walks in this order.
    #[inline]
    pub fn position(self) -> u64 {
        first_position(self.slot) | self.hash >> TAG_BITS
    }

    #[inline]
    pub fn tag(self) -> u16 {
        (self.hash & ((1 << TAG_BITS) - 1)) as u16
    }
}

/// The lowest position of a slot.
#[inline]
pub fn first_position(slot: u16) -> u64 {
    u64::from(slot) << BELOW_SLOT_BITS
}

/// The slot that a position lies in.
#[inline]
pub fn slot_at(position: u64) -> u16 {
    (position >> BELOW_SLOT_BITS) as u16
}

/// The seeded hash of this process. Unguessable seeds keep clients from choosing keys that collide.
#[derive(Clone, Debug)]
pub struct Hasher {
    secrets: RapidSecrets,
}

impl Hasher {
    pub fn new(seed: u64) -> Self {
        Self { secrets: RapidSecrets::seed(seed) }
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.hash_in_slot(key, slot::slot(key))
    }

    /// For a key whose slot is already known.
    #[inline]
    pub fn hash_in_slot(&self, key: &[u8], slot: u16) -> KeyHash {
        KeyHash { slot, hash: rapidhash_v3_micro_inline::<true, false>(key, &self.secrets) }
    }

    #[inline]
    pub fn position(&self, key: &[u8]) -> u64 {
        self.hash(key).position()
    }
}

/// A small generator for choices that need no secrecy: samples and LFU's coin.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// splitmix64.
    #[inline]
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below the bound, which is not 0.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.roll()) * bound as u128) >> 64) as usize
    }
}
