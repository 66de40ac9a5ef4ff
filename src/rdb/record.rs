//! Keys with their values, one behind the other: `[0xfd seconds | 0xfc milliseconds][0xf8 idle][0xf9 frequency][type][key][value]`.
//!
//! A run of records is the same in files, in streams to replicas and in frames.

use super::large::PART;
use super::string::{self, Compression, Text};
use super::{Reason, length, take_array, value};
use crate::keyspace::{Value, ValueRef};
use crate::types::Encodings;

const IDLE: u8 = 0xf8;
const FREQUENCY: u8 = 0xf9;
const EXPIRY_MS: u8 = 0xfc;
const EXPIRY_S: u8 = 0xfd;

/// The bytes from here on are no types of values.
pub(super) const FIRST_OPCODE: u8 = 0xf4;

/// When or how often a key was accessed, as far as the data says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Unknown,
    IdleSeconds(u64),
    /// The LFU counter.
    Frequency(u8),
}

/// Appends a key. Allocates nothing but what `out` needs to grow.
#[inline]
pub fn write_record<'a>(
    out: &mut Vec<u8>,
    key: &[u8],
    value: impl Into<ValueRef<'a>>,
    expire_at_ms: Option<u64>,
    access: Access,
    compression: Compression,
) {
    let value = value.into();
    write_head(out, expire_at_ms, access);
    out.push(value::type_of(value));
    string::write_bytes(out, key, compression);
    value::write(out, value, compression);
}

/// What stands before the type.
#[inline]
pub(super) fn write_head(out: &mut Vec<u8>, expire_at_ms: Option<u64>, access: Access) {
    if let Some(at_ms) = expire_at_ms {
        out.push(EXPIRY_MS);
        out.extend_from_slice(&at_ms.to_le_bytes());
    }
    match access {
        Access::Unknown => {}
        Access::IdleSeconds(seconds) => {
            out.push(IDLE);
            length::write(out, seconds);
        }
        Access::Frequency(frequency) => out.extend_from_slice(&[FREQUENCY, frequency]),
    }
}

/// A key as it was read, its value not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub key: Text<'a>,
    /// Unix time; 0 if it was before that.
    pub expire_at_ms: Option<u64>,
    pub access: Access,
    /// The RDB type of the value, one that [`Record::decode`] knows.
    pub kind: u8,
    pub value: &'a [u8],
    /// The value goes on where that of an earlier record of the same key ended.
    pub part: bool,
    /// The whole record, for [`Records`] elsewhere.
    pub raw: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes a record off `input`.
    pub fn read(input: &mut &'a [u8], max_string_bytes: u64) -> Result<Record<'a>, Reason> {
        let all = *input;
        let (mut expire_at_ms, mut access) = (None, Access::Unknown);
        let part = input.first() == Some(&PART);
        if part {
            take_array::<1>(input)?;
        }
        let kind = loop {
            let [byte] = take_array(input)?;
            match byte {
                EXPIRY_MS => expire_at_ms = Some(u64::try_from(i64::from_le_bytes(take_array(input)?)).unwrap_or(0)),
                EXPIRY_S => {
                    let seconds = i32::from_le_bytes(take_array(input)?);
                    expire_at_ms = Some(u64::try_from(seconds).unwrap_or(0) * 1000);
                }
                IDLE => access = Access::IdleSeconds(length::read_plain(input)?),
                FREQUENCY => access = Access::Frequency(u8::from_le_bytes(take_array(input)?)),
                FIRST_OPCODE.. => return Err(Reason::NoKey(byte)),
                kind => break kind,
            }
        };
        value::check(kind)?;
        let key = string::read_text(input, max_string_bytes)?;
        let value = value::skip(kind, input, max_string_bytes)?;
        Ok(Record { key, expire_at_ms, access, kind, value, part, raw: &all[..all.len() - input.len()] })
    }

    /// Whether a record begins with this byte.
    pub(super) fn begins_with(byte: u8) -> bool {
        byte < FIRST_OPCODE || matches!(byte, IDLE | FREQUENCY | EXPIRY_MS | EXPIRY_S)
    }

    /// The value.
    pub fn decode(&self, max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
        super::decode_value(self.kind, self.value, max_string_bytes, encodings)
    }
}

/// A run of records, one after the other. Nothing comes after an error.
pub struct Records<'a> {
    rest: &'a [u8],
    max_string_bytes: u64,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8], max_string_bytes: u64) -> Records<'a> {
        Records { rest: bytes, max_string_bytes }
    }

    /// Bytes that are still to be read.
    pub fn rest(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = Record::read(&mut self.rest, self.max_string_bytes);
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}
