//! Bit strings: counting, searching and combining the bits of byte slices, eight bytes at a time.
//!
//! Bit 0 is the highest bit of the first byte, as in Redis.

use std::ops::RangeInclusive;

/// What BITOP computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    And,
    Or,
    Xor,
    /// Of the first source alone.
    Not,
}

/// How many bits are set.
pub fn popcount(bytes: &[u8]) -> u64 {
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

/// How many of the bits in `range` are set. The range lies within `bytes`, or is empty.
pub fn popcount_in(bytes: &[u8], range: RangeInclusive<u64>) -> u64 {
    let Some(edges) = Edges::of(bytes, range) else { return 0 };
    let (first, middle, last) = edges.masked(0);
    u64::from(first.count_ones()) + popcount(middle) + u64::from(last.unwrap_or(0).count_ones())
}

/// The position of the first bit that is `bit`.
pub fn bitpos(bytes: &[u8], bit: bool) -> Option<u64> {
    let uninteresting = if bit { 0 } else { u64::MAX };
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_be_bytes(*word);
        if word != uninteresting {
            return Some(i as u64 * 64 + u64::from((word ^ uninteresting).leading_zeros()));
        }
    }
    let uninteresting = uninteresting as u8;
    let (i, byte) = rest.iter().enumerate().find(|(_, byte)| **byte != uninteresting)?;
    Some(words.len() as u64 * 64 + i as u64 * 8 + u64::from((byte ^ uninteresting).leading_zeros()))
}

/// The position, from the start of `bytes`, of the first bit in `range` that is `bit`. The range lies within `bytes`, or is empty.
pub fn bitpos_in(bytes: &[u8], bit: bool, range: RangeInclusive<u64>) -> Option<u64> {
    let start = *range.start() / 8;
    let edges = Edges::of(bytes, range)?;
    let (first, middle, last) = edges.masked(if bit { 0 } else { 0xff });
    let behind = start + 1 + middle.len() as u64;
    let found = bitpos(&[first], bit).map(|at| start * 8 + at);
    let found = found.or_else(|| bitpos(middle, bit).map(|at| (start + 1) * 8 + at));
    found.or_else(|| bitpos(&[last?], bit).map(|at| behind * 8 + at))
}

/// A range of bits as its first byte, its last byte if that is another one, and what lies between; the masks have the bits that
/// belong to the range.
struct Edges<'a> {
    first: (u8, u8),
    middle: &'a [u8],
    last: Option<(u8, u8)>,
}

impl<'a> Edges<'a> {
    fn of(bytes: &'a [u8], range: RangeInclusive<u64>) -> Option<Edges<'a>> {
        let (from, to) = range.into_inner();
        if from > to {
            return None;
        }
        let (from_mask, to_mask) = (0xff >> (from % 8), 0xff << (7 - to % 8));
        match &bytes[(from / 8) as usize..=(to / 8) as usize] {
            [] => None,
            [only] => Some(Edges { first: (*only, from_mask & to_mask), middle: &[], last: None }),
            [first, middle @ .., last] => {
                Some(Edges { first: (*first, from_mask), middle, last: Some((*last, to_mask)) })
            }
        }
    }

    /// The parts with the bits outside of the range replaced by those of `filler`.
    fn masked(&self, filler: u8) -> (u8, &'a [u8], Option<u8>) {
        let fill = |(byte, mask): (u8, u8)| byte & mask | filler & !mask;
        (fill(self.first), self.middle, self.last.map(fill))
    }
}

/// `sources` combined bit by bit. The result is as long as the longest of them; the shorter ones end in zero bits.
pub fn bit_op(op: BitOp, sources: &[&[u8]]) -> Vec<u8> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let len = match op {
        BitOp::Not => first.len(),
        BitOp::And | BitOp::Or | BitOp::Xor => sources.iter().map(|source| source.len()).max().unwrap_or(0),
    };
    let mut result = Vec::with_capacity(len);
    result.extend_from_slice(first);
    result.resize(len, 0);
    match op {
        BitOp::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
        BitOp::Or => others.iter().for_each(|source| combine(&mut result, source, |a, b| *a |= b)),
        BitOp::Xor => others.iter().for_each(|source| combine(&mut result, source, |a, b| *a ^= b)),
        BitOp::And => {
            for source in others {
                combine(&mut result, source, |a, b| *a &= b);
                result[source.len()..].fill(0);
            }
        }
    }
    result
}

/// Applies `op` to the bytes that both have. (The compiler makes this as wide as the machine allows.)
fn combine(target: &mut [u8], source: &[u8], op: impl Fn(&mut u8, u8)) {
    target.iter_mut().zip(source).for_each(|(a, b)| op(a, *b));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit_at(bytes: &[u8], at: u64) -> bool {
        bytes.get((at / 8) as usize).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
    }

    /// Long runs of equal bytes, as searches meet them.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let run = (prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..30usize);
        prop::collection::vec(run, 0..6)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect())
    }

    #[test]
    fn the_highest_bit_of_the_first_byte_is_bit_zero() {
        assert_eq!(bitpos(&[0x80], true), Some(0));
        assert_eq!(bitpos(&[0, 0x01], true), Some(15));
        assert_eq!(bitpos(&[0xff; 9], false), None);
        assert_eq!(bitpos(&[], true), None);
        assert_eq!(popcount(b"foobar"), 26);
        assert_eq!(popcount_in(b"foobar", 5..=30), 17);
    }

    #[test]
    fn missing_bytes_count_as_zero() {
        assert_eq!(bit_op(BitOp::And, &[b"\xff\xff\xff", b"\x0f"]), b"\x0f\0\0");
        assert_eq!(bit_op(BitOp::And, &[b"\x0f", b"\xff\xff\xff"]), b"\x0f\0\0");
        assert_eq!(bit_op(BitOp::Or, &[b"\x0f", b"", b"\xf0\x01"]), b"\xff\x01");
        assert_eq!(bit_op(BitOp::Xor, &[b"\xff", b"\x0f\x01"]), b"\xf0\x01");
        assert_eq!(bit_op(BitOp::Not, &[b"\x00\xf0"]), b"\xff\x0f");
        assert_eq!(bit_op(BitOp::Or, &[]), b"");
        assert_eq!(bit_op(BitOp::And, &[b"", b""]), b"");
    }

    proptest! {
        #[test]
        fn counts_and_searches_agree_with_bit_by_bit(bytes in any_bytes(), from: prop::sample::Index, to: prop::sample::Index) {
            let bits = bytes.len() as u64 * 8;
            prop_assert_eq!(popcount(&bytes), (0..bits).filter(|&at| bit_at(&bytes, at)).count() as u64);
            for bit in [false, true] {
                prop_assert_eq!(bitpos(&bytes, bit), (0..bits).find(|&at| bit_at(&bytes, at) == bit));
            }
            prop_assume!(bits > 0);
            let (from, to) = (from.index(bits as usize) as u64, to.index(bits as usize) as u64);
            prop_assert_eq!(popcount_in(&bytes, from..=to), (from..=to).filter(|&at| bit_at(&bytes, at)).count() as u64);
            for bit in [false, true] {
                prop_assert_eq!(bitpos_in(&bytes, bit, from..=to), (from..=to).find(|&at| bit_at(&bytes, at) == bit));
            }
        }

        #[test]
        fn operations_agree_with_byte_by_byte(sources in prop::collection::vec(any_bytes(), 1..5)) {
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let len = sources.iter().map(Vec::len).max().unwrap_or(0);
            let fold = |op: fn(u8, u8) -> u8| -> Vec<u8> {
                let column = |at: usize| sources.iter().map(move |source| source.get(at).copied().unwrap_or(0));
                (0..len).filter_map(|at| column(at).reduce(op)).collect()
            };
            prop_assert_eq!(bit_op(BitOp::And, &slices), fold(|a, b| a & b));
            prop_assert_eq!(bit_op(BitOp::Or, &slices), fold(|a, b| a | b));
            prop_assert_eq!(bit_op(BitOp::Xor, &slices), fold(|a, b| a ^ b));
        }
    }
}
