//! The listpack: `[bytes u32][elements u16]([element][its length, readable backwards])*[0xff]`.
//!
//! | first byte | element |
//! |---|---|
//! | 0xxxxxxx | the integer x |
//! | 10xxxxxx | a string of x bytes |
//! | 110xxxxx | an integer of 13 bits, big endian |
//! | 1110xxxx | a string with a length of 12 bits, big endian |
//! | 0xf0 | a string with its length in 4 bytes, little endian |
//! | 0xf1 to 0xf4 | an integer of 2, 3, 4 or 8 bytes, little endian |

use super::{Body, Error, Flaw};
use crate::types::packed::Item;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// The header says this if there are as many elements or more.
const UNCOUNTED: u16 = u16::MAX;
/// Bytes of the longest length behind an element.
const MAX_BACK_LENGTH_BYTES: usize = 5;

/// A sound listpack.
#[derive(Clone, Copy, Debug)]
pub struct Listpack<'a> {
    body: &'a [u8],
    count: usize,
}

impl<'a> Listpack<'a> {
    pub fn new(blob: &'a [u8]) -> Result<Self, Error> {
        let Some((header, _)) = blob.split_first_chunk::<HEADER_BYTES>() else { return Err(Flaw::TooShort.at(0)) };
        let body = match blob.split_last() {
            Some((&END, body)) if body.len() >= HEADER_BYTES => body,
            Some((&END, _)) | None => return Err(Flaw::TooShort.at(0)),
            Some(_) => return Err(Flaw::EndMark.at(blob.len() - 1)),
        };
        let [a, b, c, d, count_low, count_high] = *header;
        let announced = u64::from(u32::from_le_bytes([a, b, c, d]));
        if announced != blob.len() as u64 {
            return Err(Flaw::Size { announced, actual: blob.len() as u64 }.at(0));
        }
        let (mut at, mut counted) = (HEADER_BYTES, 0);
        while at < body.len() {
            at = element(body, at)?.1;
            counted += 1;
        }
        let announced = u16::from_le_bytes([count_low, count_high]);
        if announced != UNCOUNTED && usize::from(announced) != counted {
            return Err(Flaw::Count { announced: announced.into(), counted: counted as u64 }.at(4));
        }
        Ok(Self { body, count: counted })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let (body, mut at) = (self.body, HEADER_BYTES);
        std::iter::from_fn(move || {
            let (item, next) = element(body, at).ok()?;
            at = next;
            Some(item)
        })
    }
}

/// The element that begins there, and where the next one does.
fn element(body: &[u8], at: usize) -> Result<(Item<'_>, usize), Error> {
    let body = Body(body);
    let tag = body.byte(at)?;
    let (item, end) = match tag {
        0..=0x7f => (Item::Int(tag.into()), at + 1),
        0x80..=0xbf => string(&body, at + 1, usize::from(tag & 0x3f))?,
        0xc0..=0xdf => {
            // 13 bits at the top of 16, and back with their sign.
            let high = i16::from_be_bytes([tag, body.byte(at + 1)?]) << 3;
            (Item::Int((high >> 3).into()), at + 2)
        }
        0xe0..=0xef => {
            let low = body.byte(at + 1)?;
            string(&body, at + 2, usize::from(tag & 0x0f) << 8 | usize::from(low))?
        }
        0xf0 => string(&body, at + 5, u32::from_le_bytes(body.array(at + 1)?) as usize)?,
        0xf1 => (Item::Int(body.integer::<2>(at + 1)?), at + 3),
        0xf2 => (Item::Int(body.integer::<3>(at + 1)?), at + 4),
        0xf3 => (Item::Int(body.integer::<4>(at + 1)?), at + 5),
        0xf4 => (Item::Int(body.integer::<8>(at + 1)?), at + 9),
        0xf5.. => return Err(Flaw::Tag(tag).at(at)),
    };
    let mut expected = [0; MAX_BACK_LENGTH_BYTES];
    let expected = back_length(end - at, &mut expected);
    if body.bytes(end, expected.len())? != expected {
        return Err(Flaw::BackLength.at(end));
    }
    Ok((item, end + expected.len()))
}

fn string<'a>(body: &Body<'a>, at: usize, len: usize) -> Result<(Item<'a>, usize), Error> {
    Ok((Item::of(body.bytes(at, len)?), at + len))
}

/// The length of an element as it stands behind it: seven bits a byte, the highest first, all but the first byte marked.
pub fn back_length(len: usize, room: &mut [u8; MAX_BACK_LENGTH_BYTES]) -> &[u8] {
    // Redis's borders: from the largest value of a size on it takes the next.
    let bytes = match len {
        0..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for (at, byte) in room[..bytes].iter_mut().rev().enumerate() {
        *byte = (len >> (7 * at)) as u8 & 0x7f | 0x80;
    }
    room[0] &= 0x7f;
    &room[..bytes]
}
