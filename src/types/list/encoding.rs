//! When Redis 7.2 calls a list a `listpack` and when a `quicklist`, by `list-max-listpack-size`.
//!
//! A list begins as a listpack. It becomes a quicklist before elements are added that would take it over the limit, and a listpack
//! again after elements were removed or replaced, once it is within half of the limit (`listTypeTryConversion*` in Redis's `t_list.c`).
//! Redis also asks that a single node is left of the quicklist; nodes of Redis's size do not exist here, the whole size stands in.
//!
//! The sizes are those of Redis's listpack. How a list is kept here is decided apart from this.

use crate::types::packed::Item;

/// Bytes of a listpack beside its elements: 6 in front and 1 behind.
pub const LISTPACK_FRAME_BYTES: u64 = 7;

/// Sizes that -1 to -5 stand for.
const SIZE_LIMITS: [u64; 5] = [4096, 8192, 16384, 32768, 65536];

/// No listpack is larger than this where the limit is a number of elements.
const SAFETY_LIMIT_BYTES: u64 = 8192;

/// What `OBJECT ENCODING` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Listpack,
    Quicklist,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Listpack => "listpack",
            Encoding::Quicklist => "quicklist",
        }
    }
}

/// `list-max-listpack-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Bytes(u64),
    Elements(u64),
}

impl Limit {
    /// The directive's value: -1 to -5 a size, positive a number of elements; 0 is as 1, below -5 as -5.
    pub fn from_directive(value: i32) -> Limit {
        match value {
            0.. => Limit::Elements(value.max(1) as u64),
            _ => Limit::Bytes(SIZE_LIMITS[(value.unsigned_abs() as usize - 1).min(SIZE_LIMITS.len() - 1)]),
        }
    }

    /// Whether a listpack of that size and number of elements is too large to be one.
    ///
    /// Before elements are added, Redis asks this with the bytes of their texts and their number added.
    #[inline]
    pub fn is_exceeded(self, listpack_bytes: u64, count: u64) -> bool {
        match self {
            Limit::Bytes(max) => listpack_bytes > max,
            Limit::Elements(max) => listpack_bytes > SAFETY_LIMIT_BYTES || count > max,
        }
    }

    /// Whether a quicklist that has shrunk to this becomes a listpack.
    #[inline]
    pub fn is_within_half(self, listpack_bytes: u64, count: u64) -> bool {
        match self {
            Limit::Bytes(max) => listpack_bytes <= max / 2,
            // A node is never larger than the safety limit but for a single large element.
            Limit::Elements(max) => count <= max / 2 && listpack_bytes <= SAFETY_LIMIT_BYTES,
        }
    }
}

/// Bytes of an element in a listpack, its length behind it included.
#[inline]
pub fn entry_len(item: Item<'_>) -> u64 {
    match item {
        Item::Int(0..=127) => 2,
        Item::Int(-4096..=4095) => 3,
        Item::Int(-32_768..=32_767) => 4,
        Item::Int(-8_388_608..=8_388_607) => 5,
        Item::Int(number) if i32::try_from(number).is_ok() => 6,
        Item::Int(_) => 10,
        Item::Str(text) => {
            let len = text.len() as u64;
            let head = match len {
                0..64 => 1,
                64..4096 => 2,
                _ => 5,
            };
            head + len + back_length_bytes(head + len)
        }
    }
}

/// Bytes that the length of an element takes behind it, which does not count them. The borders are Redis's.
#[inline]
pub fn back_length_bytes(len: u64) -> u64 {
    match len {
        0..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_directive() {
        let two = Limit::from_directive(-2);
        assert!(!two.is_exceeded(8192, 1_000_000) && two.is_exceeded(8193, 1));
        assert!(two.is_within_half(4096, 4000) && !two.is_within_half(4097, 1));
        assert_eq!(Limit::from_directive(-9), Limit::Bytes(65536));
        assert_eq!(Limit::from_directive(0), Limit::Elements(1));
        let three = Limit::from_directive(3);
        assert!(!three.is_exceeded(100, 3) && three.is_exceeded(100, 4) && three.is_exceeded(8193, 1));
        assert!(three.is_within_half(100, 1) && !three.is_within_half(100, 2));
    }
}
