//! Sorted sets in RDB data: members with their scores in binary (type 5).

use super::string::{self, Compression};
use super::{Reason, length, take, take_array};
use crate::keyspace::{Kind, Value};
use crate::types::zset::{Change, Zset, compact};
use crate::types::{Encodings, Object};

/// What is written: each member and its score, from the highest to the lowest, as Redis does.
pub const ZSET_2: u8 = 5;

const SCORE_BYTES: usize = size_of::<f64>();

/// Takes a sorted set off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    if kind != ZSET_2 {
        return Err(Reason::Type(kind));
    }
    for _ in 0..length::read_plain(input)? {
        string::skip(input, max_string_bytes)?;
        take(input, SCORE_BYTES)?;
    }
    Ok(())
}

/// Reads a sorted set off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    if kind != ZSET_2 {
        return Err(Reason::Type(kind));
    }
    let mut zset = Zset::new();
    let mut fits = true;
    for _ in 0..length::read_plain(input)? {
        let member = string::read_text(input, max_string_bytes)?;
        let score = f64::from_le_bytes(take_array(input)?);
        if score.is_nan() {
            return Err(Reason::NotAScore);
        }
        if !matches!(zset.insert(score, &member), Change::Added(_)) {
            return Err(Reason::DuplicateElement);
        }
        fits = fits && encodings.zset.admit(zset.len(), &member);
    }
    if zset.is_empty() {
        return Err(Reason::Empty);
    }
    Ok(value_of(zset, fits))
}

/// A sorted set that is complete, as a value; `fits`: it may be compact.
pub fn value_of(zset: Zset, fits: bool) -> Value {
    if !fits {
        return Value::Object(Box::new(Object::Zset(zset)));
    }
    let mut bytes = Vec::new();
    zset.write_compact(&mut bytes);
    Value::Packed(Kind::Zset, bytes.into())
}

/// Appends a compact sorted set.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    length::write(out, compact::len(bytes) as u64);
    for entry in compact::descending(bytes, 0..compact::len(bytes)) {
        string::write_bytes(out, entry.name.text(&mut [0; _]), compression);
        out.extend_from_slice(&entry.score.to_le_bytes());
    }
}

/// Appends a full sorted set.
pub fn write(out: &mut Vec<u8>, zset: &Zset, compression: Compression) {
    length::write(out, zset.len() as u64);
    for element in zset.descending(0..zset.len()) {
        string::write_bytes(out, element.name(), compression);
        out.extend_from_slice(&element.score().to_le_bytes());
    }
}
