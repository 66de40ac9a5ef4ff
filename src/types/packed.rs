//! Strings and integers one behind the other in a run of bytes: the compact form of small values, and the blocks of large ones.
//!
//! An element is a tag and what the tag says:
//!
//! | tag | element |
//! |---|---|
//! | 0 ..= 191 | a string of that many bytes, which follow |
//! | 192 ..= 199 | an integer of 1 to 8 bytes, which follow, little endian, signed |
//! | 200 ..= 253 | the integers 0 to 53 |
//! | 254, 255 | a string with its length in the 2 or 4 bytes that follow |
//!
//! Invariants
//! - a text that is exactly the decimal of an `i64` is an integer, always; any other is a string: equal texts have equal bytes here
//! - there is one encoding of each element, the shortest
//!
//! The bytes are this process's own and trusted: a run that does not decode is a broken invariant. Knows nothing of what the elements mean.

const MAX_SHORT: usize = 191;
const INTEGER: u8 = 192;
const SMALL_INTEGER: u8 = 200;
const MAX_SMALL: i64 = 53;
const LENGTH_16: u8 = 254;
const LENGTH_32: u8 = 255;

/// The longest text of an `i64`.
pub const MAX_INTEGER_TEXT: usize = 20;

/// An element as it stands in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item<'a> {
    Int(i64),
    Str(&'a [u8]),
}

/// Room for the text of an integer.
pub type IntegerText = [u8; MAX_INTEGER_TEXT];

impl<'a> Item<'a> {
    /// What a text is stored as.
    #[inline]
    pub fn of(text: &'a [u8]) -> Self {
        match parse_canonical(text) {
            Some(number) => Self::Int(number),
            None => Self::Str(text),
        }
    }

    /// The text, written to `room` if it is an integer's.
    #[inline]
    pub fn text<'r>(self, room: &'r mut IntegerText) -> &'r [u8]
    where
        'a: 'r,
    {
        match self {
            Self::Str(text) => text,
            Self::Int(number) => write_integer(number, room),
        }
    }

    /// Length of the text.
    #[inline]
    pub fn text_len(self) -> usize {
        match self {
            Self::Str(text) => text.len(),
            Self::Int(number) => write_integer(number, &mut [0; MAX_INTEGER_TEXT]).len(),
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.text(&mut [0; MAX_INTEGER_TEXT]).to_vec()
    }

    /// Bytes that [`push_item`] appends for it.
    #[inline]
    pub fn encoded_len(self) -> usize {
        match self {
            Self::Int(0..=MAX_SMALL) => 1,
            Self::Int(number) => 1 + integer_bytes(number),
            Self::Str(text) if text.len() <= MAX_SHORT => 1 + text.len(),
            Self::Str(text) if text.len() <= usize::from(u16::MAX) => 3 + text.len(),
            Self::Str(text) => 5 + text.len(),
        }
    }
}

/// Appends a text.
#[inline]
pub fn push(out: &mut Vec<u8>, text: &[u8]) {
    push_item(out, Item::of(text));
}

/// Appends an element. A string must not be the text of an integer.
#[inline]
pub fn push_item(out: &mut Vec<u8>, item: Item<'_>) {
    match item {
        Item::Int(number @ 0..=MAX_SMALL) => out.push(SMALL_INTEGER + number as u8),
        Item::Int(number) => {
            let bytes = integer_bytes(number);
            out.push(INTEGER + bytes as u8 - 1);
            out.extend_from_slice(&number.to_le_bytes()[..bytes]);
        }
        Item::Str(text) => {
            debug_assert!(parse_canonical(text).is_none());
            if text.len() <= MAX_SHORT {
                out.push(text.len() as u8);
            } else if let Ok(length) = u16::try_from(text.len()) {
                out.push(LENGTH_16);
                out.extend_from_slice(&length.to_le_bytes());
            } else {
                let length = u32::try_from(text.len()).unwrap_or_else(|_| panic!("an element of {} bytes", text.len()));
                out.push(LENGTH_32);
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(text);
        }
    }
}

/// The element at the beginning of a run, and its length there. `None` of an empty run.
#[inline]
pub fn first(run: &[u8]) -> Option<(Item<'_>, usize)> {
    let (&tag, rest) = run.split_first()?;
    Some(match tag {
        0..=191 => (Item::Str(&rest[..usize::from(tag)]), 1 + usize::from(tag)),
        INTEGER..SMALL_INTEGER => {
            let bytes = usize::from(tag - INTEGER) + 1;
            let mut all = [if rest[bytes - 1] & 0x80 == 0 { 0 } else { 0xff }; 8];
            all[..bytes].copy_from_slice(&rest[..bytes]);
            (Item::Int(i64::from_le_bytes(all)), 1 + bytes)
        }
        SMALL_INTEGER..LENGTH_16 => (Item::Int(i64::from(tag - SMALL_INTEGER)), 1),
        LENGTH_16 => {
            let length = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
            (Item::Str(&rest[2..2 + length]), 3 + length)
        }
        LENGTH_32 => {
            let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            (Item::Str(&rest[4..4 + length]), 5 + length)
        }
    })
}

/// The elements of a run.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    run: &'a [u8],
    at: usize,
}

/// All elements of a run.
#[inline]
pub fn items(run: &[u8]) -> Items<'_> {
    Items { run, at: 0 }
}

impl Items<'_> {
    /// Where the next element begins in the run.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        let (item, length) = first(&self.run[self.at..])?;
        self.at += length;
        Some(item)
    }
}

/// An `i64` whose text is exactly this.
#[inline]
pub fn parse_canonical(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let ([b'1'..=b'9', ..] | [b'0']) = digits else { return None };
    if digits.len() >= MAX_INTEGER_TEXT || (negative && digits == b"0") {
        return None;
    }
    let mut magnitude = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[inline]
fn write_integer(number: i64, room: &mut IntegerText) -> &[u8] {
    let mut at = room.len();
    let mut magnitude = number.unsigned_abs();
    loop {
        at -= 1;
        room[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        room[at] = b'-';
    }
    &room[at..]
}

/// Bytes that tell a signed integer from all others.
#[inline]
fn integer_bytes(number: i64) -> usize {
    let significant = 65 - (if number < 0 { !number } else { number }).leading_zeros() as usize;
    significant.div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(text: &[u8]) {
        let mut run = Vec::new();
        push(&mut run, text);
        assert_eq!(run.len(), Item::of(text).encoded_len());
        let (item, length) = first(&run).expect("an element");
        assert_eq!((item.to_vec(), length, item.text_len()), (text.to_vec(), run.len(), text.len()));
    }

    #[test]
    fn numbers_of_every_size() {
        for shift in 0..64 {
            for near in -2i64..=2 {
                for number in [(1i64 << shift).wrapping_add(near), (1i64 << shift).wrapping_neg().wrapping_add(near)] {
                    let text = number.to_string();
                    assert_eq!(parse_canonical(text.as_bytes()), Some(number));
                    round_trip(text.as_bytes());
                }
            }
        }
    }

    #[test]
    fn what_looks_like_a_number() {
        for text in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            "1 ",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(parse_canonical(text.as_bytes()), None, "{text}");
            round_trip(text.as_bytes());
        }
    }

    #[test]
    fn strings_of_every_length_class() {
        for length in [0, 1, 63, 64, 190, 191, 192, 255, 256, 65_535, 65_536, 70_000] {
            round_trip(&vec![b'x'; length]);
        }
    }

    proptest! {
        #[test]
        fn runs(texts: Vec<Vec<u8>>) {
            let mut run = Vec::new();
            texts.iter().for_each(|text| push(&mut run, text));
            prop_assert_eq!(items(&run).map(Item::to_vec).collect::<Vec<_>>(), texts);
        }
    }
}
