//! The ziplist: `[bytes u32][offset of the last element u32][elements u16]([bytes of the element before][element])*[0xff]`.
//!
//! The length of the element before, 0 for the first, is one byte, or 0xfe and four bytes. Then
//!
//! | first byte | element |
//! |---|---|
//! | 00xxxxxx | a string of x bytes |
//! | 01xxxxxx | a string with a length of 14 bits, big endian |
//! | 10?????? | a string with its length in the 4 bytes that follow, big endian |
//! | 0xc0, 0xd0, 0xe0, 0xf0, 0xfe | an integer of 2, 4, 8, 3 or 1 bytes, little endian |
//! | 0xf1 to 0xfd | the integers 0 to 12 |

use super::{Body, Error, Flaw};
use crate::types::packed::Item;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
/// The header says this if there are as many elements or more.
const UNCOUNTED: u16 = u16::MAX;
const LONG_LENGTH: u8 = 0xfe;

/// A sound ziplist.
#[derive(Clone, Copy, Debug)]
pub struct Ziplist<'a> {
    body: &'a [u8],
    count: usize,
}

struct Element<'a> {
    before: usize,
    item: Item<'a>,
    next: usize,
}

impl<'a> Ziplist<'a> {
    pub fn new(blob: &'a [u8]) -> Result<Self, Error> {
        let Some((header, _)) = blob.split_first_chunk::<HEADER_BYTES>() else { return Err(Flaw::TooShort.at(0)) };
        let body = match blob.split_last() {
            Some((&END, body)) if body.len() >= HEADER_BYTES => body,
            Some((&END, _)) | None => return Err(Flaw::TooShort.at(0)),
            Some(_) => return Err(Flaw::EndMark.at(blob.len() - 1)),
        };
        let [a, b, c, d, e, f, g, h, count_low, count_high] = *header;
        let announced = u64::from(u32::from_le_bytes([a, b, c, d]));
        if announced != blob.len() as u64 {
            return Err(Flaw::Size { announced, actual: blob.len() as u64 }.at(0));
        }
        let tail = u32::from_le_bytes([e, f, g, h]) as usize;
        let count = check(body, tail)?;
        let announced = u16::from_le_bytes([count_low, count_high]);
        if announced != UNCOUNTED && usize::from(announced) != count {
            return Err(Flaw::Count { announced: announced.into(), counted: count as u64 }.at(8));
        }
        Ok(Self { body, count })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let (body, mut at) = (self.body, HEADER_BYTES);
        std::iter::from_fn(move || {
            let element = element(body, at).ok()?;
            at = element.next;
            Some(element.item)
        })
    }
}

/// Checks all elements, and that the last is at `tail`. Returns their number.
fn check(body: &[u8], tail: usize) -> Result<usize, Error> {
    let (mut at, mut before, mut count) = (HEADER_BYTES, 0, 0);
    while at < body.len() {
        let element = element(body, at)?;
        if element.before != before {
            return Err(Flaw::BackLength.at(at));
        }
        before = element.next - at;
        at = element.next;
        count += 1;
    }
    // Of an empty one Redis asks only that it is inside.
    let is_right = if count == 0 { tail <= body.len() } else { tail == at - before };
    if is_right { Ok(count) } else { Err(Flaw::Tail.at(4)) }
}

fn element(body: &[u8], at: usize) -> Result<Element<'_>, Error> {
    let body = Body(body);
    let (before, at) = match body.byte(at)? {
        END => return Err(Flaw::EndMark.at(at)),
        LONG_LENGTH => (u32::from_le_bytes(body.array(at + 1)?) as usize, at + 5),
        short => (usize::from(short), at + 1),
    };
    let tag = body.byte(at)?;
    let integer = |number: Result<i64, Error>, bytes: usize| Ok((Item::Int(number?), at + 1 + bytes));
    let string = |start: usize, len: usize| Ok((Item::of(body.bytes(start, len)?), start + len));
    let (item, next) = match tag {
        0..=0x3f => string(at + 1, tag.into()),
        0x40..=0x7f => string(at + 2, usize::from(tag & 0x3f) << 8 | usize::from(body.byte(at + 1)?)),
        0x80..=0xbf => string(at + 5, u32::from_be_bytes(body.array(at + 1)?) as usize),
        0xc0 => integer(body.integer::<2>(at + 1), 2),
        0xd0 => integer(body.integer::<4>(at + 1), 4),
        0xe0 => integer(body.integer::<8>(at + 1), 8),
        0xf0 => integer(body.integer::<3>(at + 1), 3),
        0xf1..=0xfd => integer(Ok(i64::from(tag) - 0xf1), 0),
        0xfe => integer(body.integer::<1>(at + 1), 1),
        0xc1.. => Err(Flaw::Tag(tag).at(at)),
    }?;
    Ok(Element { before, item, next })
}
