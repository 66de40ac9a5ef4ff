//! Sets in RDB data: the members one behind the other (type 2).

use super::string::{self, Compression};
use super::{Reason, length};
use crate::keyspace::{Kind, Value};
use crate::types::set::{Draft, Set, SetRef};
use crate::types::{Encodings, Object};

/// Members one behind the other.
pub const PLAIN: u8 = 2;

/// The byte that the type of a compact set is written as.
pub fn type_of_packed(_bytes: &[u8]) -> u8 {
    PLAIN
}

/// Appends a compact set.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    write_members(out, SetRef::Compact(bytes), compression);
}

/// Appends a full set.
pub fn write(out: &mut Vec<u8>, set: &Set, compression: Compression) {
    write_members(out, SetRef::Full(set), compression);
}

fn write_members(out: &mut Vec<u8>, set: SetRef<'_>, compression: Compression) {
    length::write(out, set.len() as u64);
    for member in set.iter() {
        string::write_bytes(out, member.text(&mut [0; _]), compression);
    }
}

/// Takes a set off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    if kind != PLAIN {
        return Err(Reason::Type(kind));
    }
    for _ in 0..length::read_plain(input)? {
        string::skip(input, max_string_bytes)?;
    }
    Ok(())
}

/// Reads a set off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    if kind != PLAIN {
        return Err(Reason::Type(kind));
    }
    let count = length::read_plain(input)?;
    if count == 0 {
        return Err(Reason::Empty);
    }
    let mut draft = Draft::integers();
    for _ in 0..count {
        let member = string::read_text(input, max_string_bytes)?;
        if !draft.add(&member, &encodings.set) {
            return Err(Reason::DuplicateElement);
        }
    }
    Ok(value_of(draft))
}

/// A set that is complete, as a value.
pub fn value_of(draft: Draft) -> Value {
    match draft {
        Draft::Compact(bytes) => Value::Packed(Kind::Set, bytes.into()),
        Draft::Full(set) => Value::Object(Box::new(Object::Set(set))),
    }
}
