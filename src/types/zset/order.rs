//! The order of a sorted set: by score, ties by the bytes of the name; and the ends of ranges of it.
//!
//! Invariants
//! - `-0.0` and `0.0` are the same place, as in Redis; NaN is none and never comes in
//! - a [`Key`] says the order of two elements wherever their keys differ; equal keys leave it open
//!
//! Knows nothing of how elements are kept.

use std::cmp::Ordering;

use super::element::ElementRef;

/// A score and the first bytes of a name as one number.
pub type Key = u128;

/// The score as a number of the same order.
#[inline]
pub fn score_key(score: f64) -> u64 {
    debug_assert!(!score.is_nan());
    let bits = if score == 0.0 { 0 } else { score.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The first eight bytes as a number, as if zeros followed a shorter name.
#[inline]
pub fn prefix(name: &[u8]) -> u64 {
    match name.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => name.iter().rev().fold(0, |value, byte| value >> 8 | u64::from(*byte) << 56),
    }
}

#[inline]
pub fn key(score: u64, name: &[u8]) -> Key {
    Key::from(score) << 64 | Key::from(prefix(name))
}

/// How many bytes two names begin with alike.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A place in the order: right before the element of this score key and name, if it is there.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    pub score: u64,
    pub name: &'a [u8],
}

impl<'a> Probe<'a> {
    #[inline]
    pub fn of(score: f64, name: &'a [u8]) -> Self {
        Self { score: score_key(score), name }
    }

    /// Before all elements of that score.
    #[inline]
    pub fn before(score: f64) -> Self {
        Self { score: score_key(score), name: b"" }
    }

    /// Behind all elements of that score.
    #[inline]
    pub fn behind(score: f64) -> Self {
        Self { score: score_key(score) + 1, name: b"" }
    }

    /// The place of an element, compared to this one.
    #[inline]
    pub fn order_of(&self, element: ElementRef<'_>) -> Ordering {
        score_key(element.score()).cmp(&self.score).then_with(|| element.name().cmp(self.name))
    }
}

/// An end of a range of scores, as ZRANGEBYSCORE has them. The infinities are ordinary scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreBound {
    Included(f64),
    Excluded(f64),
}

impl ScoreBound {
    /// Where a range begins that this is the lower end of.
    pub fn start(self) -> Probe<'static> {
        match self {
            Self::Included(score) => Probe::before(score),
            Self::Excluded(score) => Probe::behind(score),
        }
    }

    /// Where a range stops that this is the upper end of.
    pub fn end(self) -> Probe<'static> {
        match self {
            Self::Included(score) => Probe::behind(score),
            Self::Excluded(score) => Probe::before(score),
        }
    }

    pub fn admits_from_below(self, score: f64) -> bool {
        match self {
            Self::Included(min) => score >= min,
            Self::Excluded(min) => score > min,
        }
    }

    pub fn admits_from_above(self, score: f64) -> bool {
        match self {
            Self::Included(max) => score <= max,
            Self::Excluded(max) => score < max,
        }
    }
}

/// An end of a range of names, as ZRANGEBYLEX has them: `-`, `+`, `[name`, `(name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    Lowest,
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

impl LexBound<'_> {
    pub fn admits_from_below(self, name: &[u8]) -> bool {
        match self {
            Self::Lowest => true,
            Self::Highest => false,
            Self::Included(min) => name >= min,
            Self::Excluded(min) => name > min,
        }
    }

    pub fn admits_from_above(self, name: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::Included(max) => name <= max,
            Self::Excluded(max) => name < max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_scores_do() {
        let scores = [f64::NEG_INFINITY, f64::MIN, -1.5, -5e-324, 0.0, 5e-324, 1.0, 1.5, f64::MAX, f64::INFINITY];
        assert!(scores.is_sorted_by(|a, b| score_key(*a) < score_key(*b)));
        assert_eq!(score_key(-0.0), score_key(0.0));
        assert_eq!(score_key(f64::INFINITY) + 1, Probe::behind(f64::INFINITY).score);
    }

    #[test]
    fn prefixes_never_contradict_names() {
        let names: [&[u8]; 8] = [b"", b"\0", b"a", b"a\0", b"ab", b"abcdefgh", b"abcdefghi", b"b"];
        assert!(names.is_sorted_by(|a, b| a < b && prefix(a) <= prefix(b)));
    }
}
