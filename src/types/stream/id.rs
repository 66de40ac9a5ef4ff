//! Entry IDs: two 64-bit numbers, written `ms-seq`, and the ways in which commands give them.
//!
//! What is accepted is what Redis 7.0 accepts, the numbers' odd forms included: it reads what is not a plain decimal with `strtoull`.

use std::cmp::Ordering;
use std::fmt;

/// The longest text of an ID: two numbers of 20 digits and a dash.
pub const MAX_ID_TEXT: usize = 41;

/// Longer texts are no IDs, whatever they hold (Redis's buffer has 128 bytes, one of them for the terminator).
const MAX_PARSED_TEXT: usize = 127;

/// An entry's ID. Ordered by time, then by sequence number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Id {
    pub ms: u64,
    pub seq: u64,
}

impl Id {
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    #[inline]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    #[inline]
    const fn number(self) -> u128 {
        (self.ms as u128) << 64 | self.seq as u128
    }

    #[inline]
    const fn of_number(number: u128) -> Self {
        Self { ms: (number >> 64) as u64, seq: number as u64 }
    }

    /// The ID that follows; `None` after the last.
    #[inline]
    pub fn next(self) -> Option<Self> {
        self.number().checked_add(1).map(Self::of_number)
    }

    /// The ID before; `None` before 0-0.
    #[inline]
    pub fn prev(self) -> Option<Self> {
        self.number().checked_sub(1).map(Self::of_number)
    }

    /// As it stands in RDB data: big endian, so that bytes sort as IDs do.
    pub fn to_bytes(self) -> [u8; 16] {
        self.number().to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::of_number(u128::from_be_bytes(bytes))
    }

    /// The text `ms-seq`, in `room`.
    #[inline]
    pub fn text(self, room: &mut [u8; MAX_ID_TEXT]) -> &[u8] {
        let mut digits = itoa::Buffer::new();
        let ms = digits.format(self.ms).as_bytes();
        let dash = ms.len();
        room[..dash].copy_from_slice(ms);
        room[dash] = b'-';
        let seq = digits.format(self.seq).as_bytes();
        let end = dash + 1 + seq.len();
        room[dash + 1..end].copy_from_slice(seq);
        &room[..end]
    }

    /// `ms-seq`, or `ms`, which stands for `ms-missing_seq`; not `-` and `+`.
    #[inline]
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        match parse_parts(text)? {
            (ms, Sequence::Given(seq)) => Some(Self { ms, seq }),
            (ms, Sequence::Missing) => Some(Self { ms, seq: missing_seq }),
            (_, Sequence::Star) => None,
        }
    }

    /// As [`Id::parse`], and `-` and `+` for the least and greatest ID.
    #[inline]
    pub fn parse_or_edge(text: &[u8], missing_seq: u64) -> Option<Self> {
        match text {
            b"-" => Some(Self::MIN),
            b"+" => Some(Self::MAX),
            _ => Self::parse(text, missing_seq),
        }
    }

    /// Where an interval begins: as [`Id::parse_or_edge`], or after `(` an ID that is not part of it.
    pub fn parse_start(text: &[u8]) -> Result<Self, BoundError> {
        match parse_bound(text, 0)? {
            (id, Bound::Included) => Ok(id),
            (id, Bound::Excluded) => id.next().ok_or(BoundError::Empty),
        }
    }

    /// Where an interval ends; see [`Id::parse_start`]. A missing sequence number is the greatest.
    pub fn parse_end(text: &[u8]) -> Result<Self, BoundError> {
        match parse_bound(text, u64::MAX)? {
            (id, Bound::Included) => Ok(id),
            (id, Bound::Excluded) => id.prev().ok_or(BoundError::Empty),
        }
    }
}

impl Ord for Id {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Id {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with the bound of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundError {
    /// "Invalid stream ID specified as stream command argument".
    NoId,
    /// Nothing lies beyond the excluded ID: "invalid start ID for the interval" or "invalid end ID for the interval".
    Empty,
}

enum Bound {
    Included,
    Excluded,
}

fn parse_bound(text: &[u8], missing_seq: u64) -> Result<(Id, Bound), BoundError> {
    let (id, bound) = match text {
        [b'(', rest @ ..] if !rest.is_empty() => (Id::parse(rest, missing_seq), Bound::Excluded),
        _ => (Id::parse_or_edge(text, missing_seq), Bound::Included),
    };
    Ok((id.ok_or(BoundError::NoId)?, bound))
}

/// The ID that XADD is given for the new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: from the clock.
    Auto,
    /// `ms-*`: the next sequence number in that millisecond.
    AutoSeq {
        ms: u64,
    },
    Given(Id),
}

impl NewId {
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text == b"*" {
            return Some(Self::Auto);
        }
        Some(match parse_parts(text)? {
            (ms, Sequence::Given(seq)) => Self::Given(Id { ms, seq }),
            (ms, Sequence::Missing) => Self::Given(Id { ms, seq: 0 }),
            (ms, Sequence::Star) => Self::AutoSeq { ms },
        })
    }

    /// The ID of an entry behind one with the ID `last`. `None` if it would not be greater.
    ///
    /// A clock that goes backwards does not matter: the time of the last entry is used until it is passed.
    #[inline]
    pub fn resolve(self, last: Id, now_ms: u64) -> Option<Id> {
        let id = match self {
            Self::Auto if now_ms > last.ms => Id { ms: now_ms, seq: 0 },
            Self::Auto => last.next()?,
            Self::AutoSeq { ms } if ms == last.ms => Id { ms, seq: last.seq.checked_add(1)? },
            Self::AutoSeq { ms } => Id { ms, seq: 0 },
            Self::Given(id) => id,
        };
        (id > last).then_some(id)
    }
}

enum Sequence {
    Given(u64),
    Missing,
    Star,
}

#[inline]
fn parse_parts(text: &[u8]) -> Option<(u64, Sequence)> {
    if text.len() > MAX_PARSED_TEXT {
        return None;
    }
    // Redis reads the text as a C string.
    let text = text.split(|&byte| byte == 0).next()?;
    let Some(dash) = text.iter().position(|&byte| byte == b'-') else {
        return Some((parse_number(text)?, Sequence::Missing));
    };
    let ms = parse_number(&text[..dash])?;
    match &text[dash + 1..] {
        b"*" => Some((ms, Sequence::Star)),
        seq => Some((ms, Sequence::Given(parse_number(seq)?))),
    }
}

/// A number as Redis's `string2ull` reads it.
#[inline]
fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return parse_odd_number(text);
    }
    text.iter().try_fold(0u64, |value, &byte| value.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
}

/// What `strtoull` reads beside plain digits: blanks and a sign before them. A negative number wraps around, unless it is in the form
/// that Redis takes for a signed number, which it then refuses.
#[cold]
fn parse_odd_number(text: &[u8]) -> Option<u64> {
    if crate::types::packed::parse_canonical(text).is_some() {
        return None;
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match &text[blanks..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = parse_number(digits)?;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_every_form() {
        assert_eq!(Id::parse(b"5-7", 0), Some(Id::new(5, 7)));
        assert_eq!(Id::parse(b"5", 9), Some(Id::new(5, 9)));
        assert_eq!(Id::parse(b"007-01", 9), Some(Id::new(7, 1)));
        assert_eq!(Id::parse(b"+5- 7", 9), Some(Id::new(5, 7)));
        assert_eq!(Id::parse(b"5\0rest", 9), Some(Id::new(5, 9)));
        assert_eq!(Id::parse(b"18446744073709551615-18446744073709551615", 0), Some(Id::MAX));
        for wrong in
            [&b"-"[..], b"+", b"", b"-5", b"5-", b"5--7", b"5-*", b"a", b"18446744073709551616", b"1-2-3", &[b'1'; 128]]
        {
            assert_eq!(Id::parse(wrong, 0), None, "{wrong:?}");
        }
        assert_eq!(Id::parse(b"5--07", 0), Some(Id::new(5, 7u64.wrapping_neg())));
        assert_eq!(Id::parse_or_edge(b"-", 0), Some(Id::MIN));
        assert_eq!(Id::parse_or_edge(b"+", 0), Some(Id::MAX));
    }

    #[test]
    fn bounds_of_intervals() {
        assert_eq!(Id::parse_start(b"(5"), Ok(Id::new(5, 1)));
        assert_eq!(Id::parse_start(b"(5-18446744073709551615"), Ok(Id::new(6, 0)));
        assert_eq!(Id::parse_end(b"(5"), Ok(Id::new(5, u64::MAX - 1)));
        assert_eq!(Id::parse_end(b"5"), Ok(Id::new(5, u64::MAX)));
        assert_eq!(Id::parse_end(b"(5-0"), Ok(Id::new(4, u64::MAX)));
        assert_eq!(Id::parse_end(b"(0-0"), Err(BoundError::Empty));
        assert_eq!(Id::parse_start(b"(18446744073709551615-18446744073709551615"), Err(BoundError::Empty));
        for wrong in [&b"("[..], b"(-", b"(+", b"((1", b"*"] {
            assert_eq!(Id::parse_start(wrong), Err(BoundError::NoId));
        }
    }

    #[test]
    fn new_ids() {
        let last = Id::new(100, 5);
        assert_eq!(NewId::parse(b"*"), Some(NewId::Auto));
        assert_eq!(NewId::parse(b"7-*"), Some(NewId::AutoSeq { ms: 7 }));
        assert_eq!(NewId::parse(b"7"), Some(NewId::Given(Id::new(7, 0))));
        assert_eq!(NewId::parse(b"**"), None);
        assert_eq!(NewId::parse(b"-"), None);
        assert_eq!(NewId::Auto.resolve(last, 101), Some(Id::new(101, 0)));
        assert_eq!(NewId::Auto.resolve(last, 50), Some(Id::new(100, 6)));
        assert_eq!(NewId::Auto.resolve(Id::new(100, u64::MAX), 50), Some(Id::new(101, 0)));
        assert_eq!(NewId::Auto.resolve(Id::MAX, 50), None);
        assert_eq!(NewId::AutoSeq { ms: 100 }.resolve(last, 0), Some(Id::new(100, 6)));
        assert_eq!(NewId::AutoSeq { ms: 101 }.resolve(last, 0), Some(Id::new(101, 0)));
        assert_eq!(NewId::AutoSeq { ms: 99 }.resolve(last, 0), None);
        assert_eq!(NewId::AutoSeq { ms: 100 }.resolve(Id::new(100, u64::MAX), 0), None);
        assert_eq!(NewId::AutoSeq { ms: 0 }.resolve(Id::MIN, 0), Some(Id::new(0, 1)));
        assert_eq!(NewId::Given(last).resolve(last, 0), None);
        assert_eq!(NewId::Given(Id::new(100, 6)).resolve(last, 0), Some(Id::new(100, 6)));
        assert_eq!(NewId::Given(Id::MIN).resolve(Id::MIN, 0), None);
    }

    #[test]
    fn texts() {
        assert_eq!(Id::new(15, 3).text(&mut [0; MAX_ID_TEXT]), b"15-3");
        assert_eq!(Id::MAX.text(&mut [0; MAX_ID_TEXT]).len(), MAX_ID_TEXT);
        assert_eq!(Id::from_bytes(Id::new(15, 3).to_bytes()), Id::new(15, 3));
    }
}
