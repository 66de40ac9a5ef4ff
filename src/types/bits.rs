//! Counting and finding bits in a range of bits of a string, eight bytes at a time.
//!
//! Bit 0 is the highest bit of the first byte, as in Redis.

use std::ops::Range;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bit {
    Zero,
    One,
}

/// A range of bits cut at byte borders: whole bytes, and at either side a byte of which a mask selects the bits.
struct Cut<'a> {
    /// Index of the byte, its content, the bits of it that belong to the range.
    first: (usize, u8, u8),
    /// Index of the first whole byte.
    middle_at: usize,
    middle: &'a [u8],
    last: Option<(usize, u8, u8)>,
}

/// `range` must lie within `bytes` and not be empty.
fn cut(bytes: &[u8], range: Range<u64>) -> Cut<'_> {
    debug_assert!(!range.is_empty() && range.end <= bytes.len() as u64 * 8);
    let (first, last) = ((range.start / 8) as usize, ((range.end - 1) / 8) as usize);
    let from_start = 0xff_u8 >> (range.start % 8);
    let to_end = 0xff_u8 << (7 - (range.end - 1) % 8);
    if first == last {
        return Cut {
            first: (first, bytes[first], from_start & to_end),
            middle_at: first + 1,
            middle: &[],
            last: None,
        };
    }
    Cut {
        first: (first, bytes[first], from_start),
        middle_at: first + 1,
        middle: &bytes[first + 1..last],
        last: Some((last, bytes[last], to_end)),
    }
}

/// How many bits of the range are set. The range must lie within `bytes`.
pub fn count_ones(bytes: &[u8], range: Range<u64>) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let cut = cut(bytes, range);
    let edges = [Some(cut.first), cut.last];
    let at_edges: u32 = edges.iter().flatten().map(|(_, byte, mask)| (byte & mask).count_ones()).sum();
    popcount(cut.middle) + u64::from(at_edges)
}

/// How many bits are set.
fn popcount(bytes: &[u8]) -> u64 {
    // Four counts that do not wait for each other.
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut counts = [0u64; 4];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (count, word) in counts.iter_mut().zip(words) {
            *count += u64::from(u64::from_ne_bytes(*word).count_ones());
        }
    }
    let rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    counts.iter().sum::<u64>() + rest
}

/// Where the first such bit of the range is, counted from the start of `bytes`. The range must lie within `bytes`.
pub fn find(bytes: &[u8], wanted: Bit, range: Range<u64>) -> Option<u64> {
    if range.is_empty() {
        return None;
    }
    let cut = cut(bytes, range);
    let in_edge = |(at, byte, mask): (usize, u8, u8)| {
        let candidates = mask & if wanted == Bit::One { byte } else { !byte };
        (candidates != 0).then(|| at as u64 * 8 + u64::from(candidates.leading_zeros()))
    };
    in_edge(cut.first)
        .or_else(|| find_in_bytes(cut.middle, wanted).map(|offset| offset + cut.middle_at as u64 * 8))
        .or_else(|| cut.last.and_then(in_edge))
}

fn find_in_bytes(bytes: &[u8], wanted: Bit) -> Option<u64> {
    let (words, rest) = bytes.as_chunks::<8>();
    let flip = if wanted == Bit::One { 0 } else { u64::MAX };
    for (i, word) in words.iter().enumerate() {
        let candidates = u64::from_be_bytes(*word) ^ flip;
        if candidates != 0 {
            return Some(i as u64 * 64 + u64::from(candidates.leading_zeros()));
        }
    }
    let rest_at = words.len() as u64 * 64;
    rest.iter()
        .map(|byte| byte ^ flip as u8)
        .zip((rest_at..).step_by(8))
        .find(|(candidates, _)| *candidates != 0)
        .map(|(candidates, at)| at + u64::from(candidates.leading_zeros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_one(bytes: &[u8], offset: u64) -> bool {
        bytes[(offset / 8) as usize] >> (7 - offset % 8) & 1 == 1
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_each_bit(
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..100),
            ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let bits = bytes.len() * 8;
            let (a, b) = (ends.0.index(bits + 1) as u64, ends.1.index(bits + 1) as u64);
            let range = a.min(b)..a.max(b);
            prop_assert_eq!(
                count_ones(&bytes, range.clone()),
                range.clone().filter(|offset| is_one(&bytes, *offset)).count() as u64
            );
            for (wanted, one) in [(Bit::One, true), (Bit::Zero, false)] {
                prop_assert_eq!(
                    find(&bytes, wanted, range.clone()),
                    range.clone().find(|offset| is_one(&bytes, *offset) == one)
                );
            }
        }
    }
}
