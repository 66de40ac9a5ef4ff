//! DUMP payloads: `[type][value][RDB version, 2 bytes][CRC-64, 8 bytes]`, the last two little-endian.

use super::{Compression, MAX_READ_VERSION, WRITE_VERSION, crc, decode_value, value};
use crate::keyspace::Value;
use crate::types::Encodings;

const VERSION_BYTES: usize = 2;
const CRC_BYTES: usize = 8;

/// Why a payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    BadChecksumOrVersion,
    /// The content cannot be understood, is longer than a string may be, or is of a type that is not supported.
    BadFormat,
}

impl RestoreError {
    /// The error reply, its code included.
    pub fn message(self) -> &'static str {
        match self {
            RestoreError::BadChecksumOrVersion => "ERR DUMP payload version or checksum are wrong",
            RestoreError::BadFormat => "ERR Bad data format",
        }
    }
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for RestoreError {}

/// The payload of `value`, as DUMP replies it.
pub fn dump(value: &Value, compression: Compression) -> Vec<u8> {
    let value = value.as_ref();
    let mut payload = vec![value::type_of(value)];
    value::write(&mut payload, value, compression);
    seal(&mut payload, WRITE_VERSION);
    payload
}

/// The value in `payload`, with strings of at most `max_bulk_bytes`.
///
/// Stricter than Redis in two points: the value may not reach into the trailer, and nothing may follow it.
pub fn restore(payload: &[u8], max_bulk_bytes: u64, encodings: &Encodings) -> Result<Value, RestoreError> {
    let content = checked_content(payload).ok_or(RestoreError::BadChecksumOrVersion)?;
    let (&kind, value) = content.split_first().ok_or(RestoreError::BadFormat)?;
    decode_value(kind, value, max_bulk_bytes, encodings).map_err(|_| RestoreError::BadFormat)
}

/// Appends version and checksum.
fn seal(payload: &mut Vec<u8>, version: u16) {
    payload.extend_from_slice(&version.to_le_bytes());
    payload.extend_from_slice(&crc::crc64(payload).to_le_bytes());
}

/// What stands before the trailer, if version and checksum are right.
fn checked_content(payload: &[u8]) -> Option<&[u8]> {
    let (summed, sum) = payload.split_last_chunk::<CRC_BYTES>()?;
    let (content, version) = summed.split_last_chunk::<VERSION_BYTES>()?;
    let known = (1..=MAX_READ_VERSION).contains(&u16::from_le_bytes(*version));
    (known && crc::crc64(summed) == u64::from_le_bytes(*sum)).then_some(content)
}

#[cfg(test)]
mod tests;
