//! Values in RDB data, by the byte that says their type.
//!
//! Each type that the keyspace holds has a module and an arm in each function here; the others are known by name and refused.

use super::string::{self, Compression};
use super::{Reason, hash, list, set, stream, zset};
use crate::keyspace::{Kind, StrRef, Value, ValueRef};
use crate::types::{Encodings, Object};

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

/// Whose reader a type byte is for.
fn owner(kind: u8) -> Result<Kind, Reason> {
    Ok(match kind {
        STRING => Kind::String,
        1 | 10 | 14 | 18 => Kind::List,
        2 | 11 | 20 => Kind::Set,
        3 | 5 | 12 | 17 => Kind::Zset,
        4 | 9 | 13 | 16 | 22..=25 => Kind::Hash,
        15 | 19 | 21 => Kind::Stream,
        _ => return Err(Reason::Type(kind)),
    })
}

/// Whether values of this type can be read.
#[inline]
pub fn check(kind: u8) -> Result<(), Reason> {
    owner(kind).map(drop)
}

/// The byte a value's type is written as.
#[inline]
pub fn type_of(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Str(_) => STRING,
        ValueRef::Packed(Kind::List, _) | ValueRef::Object(Object::List(_)) => list::QUICKLIST_2,
        ValueRef::Packed(Kind::Zset, _) => zset::PACKED,
        ValueRef::Object(Object::Zset(_)) => zset::ZSET_2,
        ValueRef::Packed(Kind::Set, bytes) => set::type_of_packed(bytes),
        ValueRef::Packed(Kind::Hash, bytes) => hash::type_of_packed(bytes),
        ValueRef::Packed(kind @ (Kind::String | Kind::Stream), _) => {
            unreachable!("no packed form of a {}", kind.name())
        }
        ValueRef::Object(Object::Set(_)) => set::PLAIN,
        ValueRef::Object(Object::Hash(hash)) => hash::type_of(hash),
        ValueRef::Object(Object::Stream(_)) => stream::LISTPACKS_2,
    }
}

/// Appends a value, without its type.
#[inline]
pub fn write(out: &mut Vec<u8>, value: ValueRef<'_>, compression: Compression) {
    match value {
        ValueRef::Str(StrRef::Int(number)) => string::write_number(out, number),
        ValueRef::Str(StrRef::Inline(bytes)) => string::write_bytes(out, bytes, compression),
        ValueRef::Str(StrRef::Shared(bytes)) => string::write_bytes(out, bytes, compression),
        ValueRef::Packed(Kind::List, bytes) => list::write_packed(out, bytes, compression),
        ValueRef::Packed(Kind::Set, bytes) => set::write_packed(out, bytes, compression),
        ValueRef::Packed(Kind::Zset, bytes) => zset::write_packed(out, bytes, compression),
        ValueRef::Packed(Kind::Hash, bytes) => hash::write_packed(out, bytes, compression),
        ValueRef::Packed(kind @ (Kind::String | Kind::Stream), _) => {
            unreachable!("no packed form of a {}", kind.name())
        }
        ValueRef::Object(Object::List(list)) => list::write(out, list, compression),
        ValueRef::Object(Object::Zset(zset)) => zset::write(out, zset, compression),
        ValueRef::Object(Object::Set(set)) => set::write(out, set, compression),
        ValueRef::Object(Object::Hash(hash)) => hash::write(out, hash, compression),
        ValueRef::Object(Object::Stream(stream)) => stream::write(out, stream, compression),
    }
}

/// Takes a value off `input` without decoding it: its bytes.
#[inline]
pub fn skip<'a>(kind: u8, input: &mut &'a [u8], max_string_bytes: u64) -> Result<&'a [u8], Reason> {
    let all = *input;
    match owner(kind)? {
        Kind::String => string::skip(input, max_string_bytes)?,
        Kind::Set => set::skip(kind, input, max_string_bytes)?,
        Kind::Hash => hash::skip(kind, input, max_string_bytes)?,
        Kind::Stream => stream::skip(kind, input, max_string_bytes)?,
        Kind::List => list::skip(kind, input, max_string_bytes)?,
        Kind::Zset => zset::skip(kind, input, max_string_bytes)?,
    }
    Ok(&all[..all.len() - input.len()])
}

/// Reads a value off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    match owner(kind)? {
        Kind::String => string::read(input, max_string_bytes),
        Kind::Set => set::read(kind, input, max_string_bytes, encodings),
        Kind::Hash => hash::read(kind, input, max_string_bytes, encodings),
        Kind::Stream => stream::read(kind, input, max_string_bytes),
        Kind::List => list::read(kind, input, max_string_bytes, encodings),
        Kind::Zset => zset::read(kind, input, max_string_bytes, encodings),
    }
}
