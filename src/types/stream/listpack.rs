//! Redis's listpack, the form of a stream's blocks in RDB data: a header of six bytes, elements, an end mark.
//!
//! Each element is an encoding with its data, and behind it the length of both, for walking backwards. A text that is a decimal `i64` is
//! stored as a number, as in [`crate::types::packed`].
//!
//! Guarantees: what is written is byte for byte what Redis 7.0 writes; what is read may be anything.

use crate::types::packed::Item;

/// Bytes of the total, and the number of elements, both little endian.
const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;

/// What a listpack takes without elements.
pub const EMPTY_BYTES: usize = HEADER_BYTES + 1;

/// Stands for more elements than can be told.
const MANY_ELEMENTS: u16 = u16::MAX;

const STRING_6: u8 = 0x80;
const INT_13: u8 = 0xc0;
const STRING_12: u8 = 0xe0;
const STRING_32: u8 = 0xf0;
const INT_16: u8 = 0xf1;
const INT_24: u8 = 0xf2;
const INT_32: u8 = 0xf3;
const INT_64: u8 = 0xf4;

/// The first entry length whose backward form takes 2, 3, 4, 5 bytes. That the later ones lie one lower than they could is Redis's way.
const BACKWARD_STEPS: [usize; 4] = [128, 16_383, 2_097_151, 268_435_455];

#[inline]
fn backward_bytes(entry: usize) -> usize {
    1 + BACKWARD_STEPS.iter().filter(|&&step| entry >= step).count()
}

#[inline]
const fn int_entry_bytes(number: i64) -> usize {
    match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    }
}

/// Bytes that an integer takes in a listpack.
#[inline]
pub const fn int_bytes(number: i64) -> usize {
    int_entry_bytes(number) + 1
}

/// Bytes that an element takes in a listpack.
#[inline]
pub fn item_bytes(item: Item<'_>) -> usize {
    let text = match item {
        Item::Int(number) => return int_bytes(number),
        Item::Str(text) => text.len(),
    };
    let entry = match text {
        0..64 => return 2 + text,
        64..4096 => 2 + text,
        _ => 5 + text,
    };
    entry + backward_bytes(entry)
}

/// Writes a listpack behind what `out` has.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    elements: usize,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        Self { out, start, elements: 0 }
    }

    pub fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Int(number) => self.int(number),
            Item::Str(text) => self.string(text),
        }
    }

    pub fn int(&mut self, number: i64) {
        let bytes = number.to_le_bytes();
        let entry = int_entry_bytes(number);
        match entry {
            1 => self.out.push(number as u8),
            2 => self.out.extend_from_slice(&[INT_13 | (number >> 8) as u8 & 0x1f, number as u8]),
            _ => {
                self.out.push(match entry {
                    3 => INT_16,
                    4 => INT_24,
                    5 => INT_32,
                    _ => INT_64,
                });
                self.out.extend_from_slice(&bytes[..entry - 1]);
            }
        }
        self.backward(entry);
    }

    fn string(&mut self, text: &[u8]) {
        let start = self.out.len();
        match text.len() {
            len @ 0..64 => self.out.push(STRING_6 | len as u8),
            len @ 64..4096 => self.out.extend_from_slice(&[STRING_12 | (len >> 8) as u8, len as u8]),
            len => {
                self.out.push(STRING_32);
                self.out.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.out.extend_from_slice(text);
        self.backward(self.out.len() - start);
    }

    fn backward(&mut self, entry: usize) {
        let bytes = backward_bytes(entry);
        for byte in (0..bytes).rev() {
            let more = if byte + 1 == bytes { 0 } else { 0x80 };
            self.out.push((entry >> (7 * byte)) as u8 & 0x7f | more);
        }
        self.elements += 1;
    }

    pub fn finish(self) {
        self.out.push(END);
        let total = (self.out.len() - self.start) as u32;
        let elements = u16::try_from(self.elements).unwrap_or(MANY_ELEMENTS);
        let header = &mut self.out[self.start..self.start + HEADER_BYTES];
        header[..4].copy_from_slice(&total.to_le_bytes());
        header[4..].copy_from_slice(&elements.to_le_bytes());
    }
}

/// The data is no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// The elements of a listpack that may be anything.
#[derive(Clone)]
pub struct Reader<'a> {
    /// What is left, the end mark included.
    rest: &'a [u8],
    seen: usize,
    announced: u16,
}

impl<'a> Reader<'a> {
    pub fn new(listpack: &'a [u8]) -> Result<Self, Broken> {
        let (header, rest) = listpack.split_first_chunk::<HEADER_BYTES>().ok_or(Broken)?;
        let [a, b, c, d, low, high] = *header;
        if u32::from_le_bytes([a, b, c, d]) as usize != listpack.len() || rest.last() != Some(&END) {
            return Err(Broken);
        }
        Ok(Self { rest, seen: 0, announced: u16::from_le_bytes([low, high]) })
    }

    /// The next element, which must be there.
    #[inline]
    pub fn item(&mut self) -> Result<Item<'a>, Broken> {
        let (item, entry) = element(self.rest)?;
        let (_, rest) = self.rest.split_at_checked(entry).ok_or(Broken)?;
        let backward = backward_bytes(entry);
        let (back, rest) = rest.split_at_checked(backward).ok_or(Broken)?;
        // The last byte is the one read first, and has the low bits; all but the first byte say that more come.
        let value = back.iter().fold(0usize, |value, byte| value << 7 | usize::from(byte & 0x7f));
        let marks = back.iter().enumerate().all(|(at, byte)| (byte & 0x80 != 0) == (at > 0));
        if value != entry || !marks || rest.is_empty() {
            return Err(Broken);
        }
        self.rest = rest;
        self.seen += 1;
        Ok(item)
    }

    /// The next element, which must be a number.
    #[inline]
    pub fn int(&mut self) -> Result<i64, Broken> {
        match self.item()? {
            Item::Int(number) => Ok(number),
            Item::Str(_) => Err(Broken),
        }
    }

    /// A number that counts things.
    #[inline]
    pub fn count(&mut self) -> Result<usize, Broken> {
        usize::try_from(self.int()?).map_err(|_| Broken)
    }

    /// Whether all elements were read, and as many as the header says.
    pub fn finish(self) -> Result<(), Broken> {
        let counted = self.announced == MANY_ELEMENTS || usize::from(self.announced) == self.seen;
        if self.rest == [END] && counted { Ok(()) } else { Err(Broken) }
    }
}

/// The element at the beginning, and its length without the backward form.
#[inline]
fn element(rest: &[u8]) -> Result<(Item<'_>, usize), Broken> {
    let &tag = rest.first().ok_or(Broken)?;
    let int = |bytes: usize| {
        let data = rest.get(1..1 + bytes).ok_or(Broken)?;
        let mut all = [if data[bytes - 1] & 0x80 == 0 { 0 } else { 0xff }; 8];
        all[..bytes].copy_from_slice(data);
        Ok((Item::Int(i64::from_le_bytes(all)), 1 + bytes))
    };
    let text = |head: usize, len: usize| {
        let text = rest.get(head..).and_then(|rest| rest.get(..len)).ok_or(Broken)?;
        Ok((Item::of(text), head + len))
    };
    let second = || rest.get(1).copied().ok_or(Broken);
    match tag {
        0..STRING_6 => Ok((Item::Int(i64::from(tag)), 1)),
        STRING_6..INT_13 => text(1, usize::from(tag & 0x3f)),
        INT_13..STRING_12 => {
            let unsigned = i64::from(tag & 0x1f) << 8 | i64::from(second()?);
            Ok((Item::Int(if unsigned < 4096 { unsigned } else { unsigned - 8192 }), 2))
        }
        STRING_12..STRING_32 => text(2, usize::from(tag & 0xf) << 8 | usize::from(second()?)),
        STRING_32 => {
            let bytes = rest.get(1..5).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).ok_or(Broken)?;
            text(5, u32::from_le_bytes(bytes) as usize)
        }
        INT_16 => int(2),
        INT_24 => int(3),
        INT_32 => int(4),
        INT_64 => int(8),
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(items: &[Item<'_>]) {
        let mut out = b"before".to_vec();
        let mut writer = Writer::new(&mut out);
        items.iter().for_each(|&item| writer.item(item));
        writer.finish();
        assert_eq!(out.len() - 6, EMPTY_BYTES + items.iter().map(|&item| item_bytes(item)).sum::<usize>());
        let mut reader = Reader::new(&out[6..]).expect("a listpack");
        for &item in items {
            assert_eq!(reader.item(), Ok(item));
        }
        assert_eq!(reader.clone().item(), Err(Broken));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn numbers_of_every_size() {
        let mut items = vec![Item::Int(i64::MIN), Item::Int(i64::MAX)];
        for shift in 0..63 {
            for near in -1..=1 {
                items.push(Item::Int((1i64 << shift) + near));
                items.push(Item::Int(-(1i64 << shift) + near));
            }
        }
        round_trip(&items);
    }

    #[test]
    fn strings_of_every_length_class() {
        for len in [
            0, 1, 63, 64, 120, 125, 126, 127, 128, 4095, 4096, 16_370, 16_377, 16_378, 16_379, 16_380, 2_097_146,
            2_097_147,
        ] {
            round_trip(&[Item::Str(&vec![b'x'; len]), Item::Int(5)]);
        }
    }

    #[test]
    fn more_elements_than_can_be_told() {
        round_trip(&vec![Item::Int(7); 70_000]);
        round_trip(&vec![Item::Int(7); 65_535]);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(mut bytes: Vec<u8>) {
            let len = bytes.len() as u32;
            if let Some(total) = bytes.get_mut(..4) {
                total.copy_from_slice(&len.to_le_bytes());
            }
            if let Some(last) = bytes.last_mut() {
                *last = END;
            }
            if let Ok(mut reader) = Reader::new(&bytes) {
                while reader.item().is_ok() {}
            }
        }
    }
}
