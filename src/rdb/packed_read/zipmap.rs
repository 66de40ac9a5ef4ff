//! The zipmap, Redis 2.4's small hash: `[fields u8]([length][field][length][unused u8][value][unused bytes])*[0xff]`.
//!
//! A length is one byte, or 0xfe and four bytes, little endian. From 254 fields on the header says 254.

use super::{Body, Error, Flaw};
use crate::types::packed::Item;

const HEADER_BYTES: usize = 1;
const END: u8 = 0xff;
const LONG_LENGTH: u8 = 0xfe;
const UNCOUNTED: u8 = 0xfe;

/// A sound zipmap of one field at least.
#[derive(Clone, Copy, Debug)]
pub struct Zipmap<'a> {
    body: &'a [u8],
    count: usize,
}

impl<'a> Zipmap<'a> {
    pub fn new(blob: &'a [u8]) -> Result<Self, Error> {
        let (Some(&announced), Some((&end, body))) = (blob.first(), blob.split_last()) else {
            return Err(Flaw::TooShort.at(0));
        };
        if body.is_empty() {
            return Err(Flaw::TooShort.at(0));
        }
        if end != END {
            return Err(Flaw::EndMark.at(body.len()));
        }
        let (mut at, mut counted) = (HEADER_BYTES, 0);
        while at < body.len() {
            at = pair(body, at)?.2;
            counted += 1;
        }
        if counted == 0 {
            return Err(Flaw::Empty.at(0));
        }
        if announced != UNCOUNTED && usize::from(announced) != counted {
            return Err(Flaw::Count { announced: announced.into(), counted: counted as u64 }.at(0));
        }
        Ok(Self { body, count: counted })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Fields and values.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let (body, mut at) = (self.body, HEADER_BYTES);
        std::iter::from_fn(move || {
            let (field, value, next) = pair(body, at).ok()?;
            at = next;
            Some((field, value))
        })
    }
}

/// The field that begins there, its value, and where the next one begins.
fn pair(body: &[u8], at: usize) -> Result<(Item<'_>, Item<'_>, usize), Error> {
    let body = Body(body);
    let (field_len, field_at) = length(&body, at)?;
    let field = body.bytes(field_at, field_len)?;
    let (value_len, unused_at) = length(&body, field_at + field_len)?;
    let unused = usize::from(body.byte(unused_at)?);
    let value = body.bytes(unused_at + 1, value_len)?;
    let next = unused_at + 1 + value_len + unused;
    body.bytes(next - unused, unused)?;
    Ok((Item::of(field), Item::of(value), next))
}

/// The length that is there, and where what it is of begins.
fn length(body: &Body<'_>, at: usize) -> Result<(usize, usize), Error> {
    Ok(match body.byte(at)? {
        END => return Err(Flaw::EndMark.at(at)),
        LONG_LENGTH => (u32::from_le_bytes(body.array(at + 1)?) as usize, at + 5),
        short => (usize::from(short), at + 1),
    })
}
