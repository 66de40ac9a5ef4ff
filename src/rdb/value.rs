//! Values in RDB data, by the byte that says their type.
//!
//! Each type that the keyspace holds has a module and an arm in each function here; the others are known by name and refused.

use super::Reason;
use super::string::{self, Compression};
use crate::keyspace::{StrRef, Value};

pub const STRING: u8 = 0;

/// What a type byte stands for; `None` if no version up to [`super::MAX_READ_VERSION`] writes it.
pub fn type_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        STRING => "string",
        1 | 10 | 14 | 18 => "list",
        2 | 11 | 20 => "set",
        3 | 5 | 12 | 17 => "sorted set",
        4 | 9 | 13 | 16 | 22..=25 => "hash",
        6 | 7 => "module",
        15 | 19 | 21 => "stream",
        _ => return None,
    })
}

/// Whether values of this type can be read.
#[inline]
pub fn check(kind: u8) -> Result<(), Reason> {
    if kind == STRING { Ok(()) } else { Err(Reason::Type(kind)) }
}

/// The byte a value's type is written as.
#[inline]
pub fn type_of(value: StrRef<'_>) -> u8 {
    match value {
        StrRef::Int(_) | StrRef::Inline(_) | StrRef::Shared(_) => STRING,
    }
}

/// Appends a value, without its type.
#[inline]
pub fn write(out: &mut Vec<u8>, value: StrRef<'_>, compression: Compression) {
    match value {
        StrRef::Int(number) => string::write_number(out, number),
        StrRef::Inline(bytes) => string::write_bytes(out, bytes, compression),
        StrRef::Shared(bytes) => string::write_bytes(out, bytes, compression),
    }
}

/// Takes a value off `input` without decoding it: its bytes.
#[inline]
pub fn skip<'a>(kind: u8, input: &mut &'a [u8], max_string_bytes: u64) -> Result<&'a [u8], Reason> {
    let all = *input;
    match kind {
        STRING => string::skip(input, max_string_bytes)?,
        _ => return Err(Reason::Type(kind)),
    }
    Ok(&all[..all.len() - input.len()])
}

/// Reads a value off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<Value, Reason> {
    match kind {
        STRING => string::read(input, max_string_bytes),
        _ => Err(Reason::Type(kind)),
    }
}

/// An owned value as one that can be written.
pub fn as_ref(value: &Value) -> StrRef<'_> {
    match value {
        Value::Int(number) => StrRef::Int(*number),
        Value::Str(bytes) => StrRef::Shared(bytes),
    }
}
