//! The bitmap commands: strings as arrays of bits.
//!
//! Bit 0 is the most significant bit of the first byte. Behind a string's end all bits are 0, without bound.
//!
//! - here: single bits, counting, searching
//! - `field`: BITFIELD
//! - `combine`: BITOP

mod combine;
mod field;

pub use combine::bitop;
pub use field::{bitfield, bitfield_ro};

use std::ops::Range;

use super::options::{clamp_range, clamp_uncrossed, int};
use super::string::{bytes_of, len_of};
use super::{Ctx, Error, Outcome};
use crate::keyspace::StrRef;
use crate::resp::Args;
use crate::types::bits;
use crate::types::numbers::parse_i64;

const BITS_PER_BYTE: u64 = 8;

const BAD_OFFSET: Error = Error::text("ERR bit offset is not an integer or out of range");

/// The offset of a bit within the largest string there may be.
fn bit_offset(ctx: &Ctx<'_>, arg: &[u8]) -> Result<u64, Error> {
    check_offset(ctx, parse_i64(arg).ok_or(BAD_OFFSET)?)
}

fn check_offset(ctx: &Ctx<'_>, offset: i64) -> Result<u64, Error> {
    u64::try_from(offset).ok().filter(|offset| offset / BITS_PER_BYTE < ctx.max_bulk_bytes).ok_or(BAD_OFFSET)
}

/// The string at `key`, grown (or created) so that it contains the bit at `offset`; and whether that made it longer.
fn with_bit<'c>(ctx: &'c mut Ctx<'_>, key: &[u8], offset: u64) -> Result<(&'c mut [u8], bool), Error> {
    let old_len = ctx.keys.string_to_change(key)?.map_or(0, len_of);
    let bytes = ctx.keys.string_bytes_mut(key, (offset / BITS_PER_BYTE) as usize + 1)?;
    let grown = bytes.len() > old_len;
    Ok((bytes, grown))
}

/// The byte of a bit, and the bit's mask in it.
fn position(offset: u64) -> (usize, u8) {
    ((offset / BITS_PER_BYTE) as usize, 0x80 >> (offset % BITS_PER_BYTE))
}

/// GETBIT key offset
pub fn getbit(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (byte, mask) = position(bit_offset(ctx, args.get(2))?);
    let mut digits = itoa::Buffer::new();
    let bytes = ctx.keys.string(args.get(1))?.map_or(&b""[..], |value| bytes_of(value, &mut digits));
    let on = bytes.get(byte).is_some_and(|byte| byte & mask != 0);
    ctx.out.int(on as i64);
    Ok(())
}

/// SETBIT key offset value
pub fn setbit(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let offset = bit_offset(ctx, args.get(2))?;
    let on = match parse_i64(args.get(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Error::text("ERR bit is not an integer or out of range")),
    };
    let (byte, mask) = position(offset);
    let (bytes, grown) = with_bit(ctx, args.get(1), offset)?;
    let was_on = bytes[byte] & mask != 0;
    bytes[byte] = if on { bytes[byte] | mask } else { bytes[byte] & !mask };
    if grown || was_on != on {
        ctx.keys.changed(args.get(1));
        ctx.string_event(args.get(1), "setbit");
        ctx.changed(1);
    }
    ctx.out.int(was_on as i64);
    Ok(())
}

/// What the ends of a range count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    /// Argument `i`; bytes when there is none.
    fn parse(args: &Args<'_>, i: usize) -> Result<Unit, Error> {
        match args.opt(i) {
            None => Ok(Unit::Byte),
            Some(word) if word.eq_ignore_ascii_case(b"bit") => Ok(Unit::Bit),
            Some(word) if word.eq_ignore_ascii_case(b"byte") => Ok(Unit::Byte),
            Some(_) => Err(Error::Syntax),
        }
    }

    /// How many of this unit a string of `bytes` has.
    fn count(self, bytes: usize) -> u64 {
        match self {
            Unit::Byte => bytes as u64,
            Unit::Bit => bytes as u64 * BITS_PER_BYTE,
        }
    }

    /// A range of this unit as a range of bits.
    fn bits(self, range: Range<u64>) -> Range<u64> {
        match self {
            Unit::Byte => range.start * BITS_PER_BYTE..range.end * BITS_PER_BYTE,
            Unit::Bit => range,
        }
    }
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub fn bitcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let ends = match args.len() {
        2 => None,
        4 | 5 => Some((int(args.get(2))?, int(args.get(3))?)),
        _ => return Err(Error::Syntax),
    };
    let unit = Unit::parse(args, 4)?;
    let mut digits = itoa::Buffer::new();
    let bytes = ctx.keys.string(args.get(1))?.map_or(&b""[..], |value| bytes_of(value, &mut digits));
    let units = unit.count(bytes.len());
    let range = match ends {
        None => Some(0..units),
        Some((start, end)) => clamp_uncrossed(start, end, units),
    };
    let count = range.map_or(0, |range| bits::count_ones(bytes, unit.bits(range)));
    ctx.out.int(count as i64);
    Ok(())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub fn bitpos(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let wanted = match int(args.get(2))? {
        0 => bits::Bit::Zero,
        1 => bits::Bit::One,
        _ => return Err(Error::text("ERR The bit argument must be 1 or 0.")),
    };
    if args.len() > 6 {
        return Err(Error::Syntax);
    }
    let start = args.opt(3).map_or(Ok(0), int)?;
    let unit = Unit::parse(args, 5)?;
    let end = args.opt(4).map(int).transpose()?;
    let found = match ctx.keys.string(args.get(1))? {
        Some(value) => find_in_string(value, wanted, start, end, unit),
        // An endless row of zeroes, whatever part of it is asked for.
        None => (wanted == bits::Bit::Zero).then_some(0),
    };
    ctx.out.int(found.map_or(-1, |offset| offset as i64));
    Ok(())
}

/// Where the first `wanted` bit of the range is. Without an end, the zeroes behind the string belong to the range, unless it
/// starts there.
fn find_in_string(value: StrRef<'_>, wanted: bits::Bit, start: i64, end: Option<i64>, unit: Unit) -> Option<u64> {
    let mut digits = itoa::Buffer::new();
    let bytes = bytes_of(value, &mut digits);
    let range = unit.bits(clamp_range(start, end.unwrap_or(-1), unit.count(bytes.len()))?);
    let behind = Some(range.end).filter(|_| end.is_none() && wanted == bits::Bit::Zero);
    bits::find(bytes, wanted, range).or(behind)
}

#[cfg(test)]
mod tests;
