//! Hashes in RDB data: fields and values one behind the other (type 4).

use super::string::{self, Compression};
use super::{Reason, length};
use crate::keyspace::{Kind, Value};
use crate::types::hash::{Hash, compact};
use crate::types::{Encodings, Object};

/// Fields and values one behind the other.
pub const PLAIN: u8 = 4;

/// The byte that the type of a compact hash is written as.
pub fn type_of_packed(_bytes: &[u8]) -> u8 {
    PLAIN
}

/// The byte that the type of a full hash is written as.
pub fn type_of(_hash: &Hash) -> u8 {
    PLAIN
}

/// Appends a compact hash.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    length::write(out, compact::len(bytes) as u64);
    for field in compact::fields(bytes) {
        string::write_bytes(out, field.name.text(&mut [0; _]), compression);
        string::write_bytes(out, field.value.text(&mut [0; _]), compression);
    }
}

/// Appends a full hash.
pub fn write(out: &mut Vec<u8>, hash: &Hash, compression: Compression) {
    length::write(out, hash.len() as u64);
    for pair in hash.iter() {
        string::write_bytes(out, pair.field(), compression);
        string::write_bytes(out, pair.value(), compression);
    }
}

/// Takes a hash off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    if kind != PLAIN {
        return Err(Reason::Type(kind));
    }
    for _ in 0..length::read_plain(input)? {
        string::skip(input, max_string_bytes)?;
        string::skip(input, max_string_bytes)?;
    }
    Ok(())
}

/// Reads a hash off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    if kind != PLAIN {
        return Err(Reason::Type(kind));
    }
    let count = length::read_plain(input)?;
    if count == 0 {
        return Err(Reason::Empty);
    }
    let mut full = Hash::new();
    for _ in 0..count {
        let field = string::read_text(input, max_string_bytes)?;
        let value = string::read_text(input, max_string_bytes)?;
        if !full.load(&field, &value, None) {
            return Err(Reason::DuplicateElement);
        }
    }
    let _ = (encodings, Kind::Hash);
    Ok(Value::Object(Box::new(Object::Hash(full))))
}
