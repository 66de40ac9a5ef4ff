//! Strings in RDB data: a length and the bytes, or, specially encoded, an integer of 8, 16 or 32 bits, or LZF.

use std::cell::RefCell;

use bytes::Bytes;

use super::length::{self, Length};
use super::lzf::{self, Compressor};
use super::{BadFormat, take, take_array};
use crate::keyspace::Value;
use crate::types::numbers::parse_i64;

/// `rdbcompression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzf,
}

const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const LZF: u8 = 3;

/// No longer text is one of a 32-bit integer.
const MAX_INT32_CHARS: usize = 11;

/// Shorter strings are not worth a try; LZF has to save [`LZF_MIN_GAIN`] bytes.
const LZF_MIN_BYTES: usize = 21;
const LZF_MIN_GAIN: usize = 4;

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

/// Appends a string value, in the shortest encoding, as Redis chooses it.
pub fn write(out: &mut Vec<u8>, value: &Value, compression: Compression) {
    match value {
        Value::Int(value) => {
            if !write_int(out, *value) {
                write_plain(out, itoa::Buffer::new().format(*value).as_bytes());
            }
        }
        Value::Str(bytes) => write_bytes(out, bytes, compression),
    }
}

/// Appends a string, in the shortest encoding, as Redis chooses it.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    if bytes.len() <= MAX_INT32_CHARS && parse_i64(bytes).is_some_and(|value| write_int(out, value)) {
        return;
    }
    if compression == Compression::Lzf && bytes.len() >= LZF_MIN_BYTES && write_lzf(out, bytes) {
        return;
    }
    write_plain(out, bytes);
}

/// Appends an integer of 32 bits or less; whether it is one.
fn write_int(out: &mut Vec<u8>, value: i64) -> bool {
    if let Ok(value) = i8::try_from(value) {
        length::write_encoding(out, INT8);
        out.extend(value.to_le_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        length::write_encoding(out, INT16);
        out.extend(value.to_le_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        length::write_encoding(out, INT32);
        out.extend(value.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// Appends the string compressed, if that is worth it.
fn write_lzf(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let max_len = bytes.len() - LZF_MIN_GAIN;
    let Some(compressed) = COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(bytes, max_len)) else {
        return false;
    };
    length::write_encoding(out, LZF);
    length::write(out, compressed.len() as u64);
    length::write(out, bytes.len() as u64);
    out.extend_from_slice(&compressed);
    true
}

fn write_plain(out: &mut Vec<u8>, bytes: &[u8]) {
    length::write(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a string value of at most `max_bytes` off `input`. What reads as an integer becomes one.
pub fn read(input: &mut &[u8], max_bytes: u64) -> Result<Value, BadFormat> {
    let within = |len: u64| if len <= max_bytes { usize::try_from(len).map_err(|_| BadFormat) } else { Err(BadFormat) };
    let bytes = match length::read(input)? {
        Length::Plain(len) => Bytes::copy_from_slice(take(input, within(len)?)?),
        Length::Encoding(INT8) => return Ok(Value::Int(i8::from_le_bytes(take_array(input)?).into())),
        Length::Encoding(INT16) => return Ok(Value::Int(i16::from_le_bytes(take_array(input)?).into())),
        Length::Encoding(INT32) => return Ok(Value::Int(i32::from_le_bytes(take_array(input)?).into())),
        Length::Encoding(LZF) => {
            let compressed_len = within(length::read_plain(input)?)?;
            let len = within(length::read_plain(input)?)?;
            lzf::decompress(take(input, compressed_len)?, len).ok_or(BadFormat)?.into()
        }
        Length::Encoding(_) => return Err(BadFormat),
    };
    Ok(parse_i64(&bytes).map_or(Value::Str(bytes), Value::Int))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: Value) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &value, Compression::Lzf);
        out
    }

    #[test]
    fn integers_take_as_few_bytes_as_they_need() {
        for (value, bytes) in [
            (0, &b"\xc0\x00"[..]),
            (-128, b"\xc0\x80"),
            (128, b"\xc1\x80\x00"),
            (-32768, b"\xc1\x00\x80"),
            (32768, b"\xc2\x00\x80\x00\x00"),
            (i64::from(i32::MIN), b"\xc2\x00\x00\x00\x80"),
            (2_147_483_648, b"\x0a2147483648"),
        ] {
            assert_eq!(written(Value::Int(value)), bytes);
            assert_eq!(written(Value::Str(value.to_string().into())), bytes, "as text");
            assert_eq!(read(&mut &bytes[..], 20), Ok(Value::Int(value)));
        }
        assert_eq!(written(Value::Str("007".into())), b"\x03007");
    }

    #[test]
    fn compression_is_used_when_it_gains_and_is_on() {
        let bytes = Bytes::from(vec![b'a'; 21]);
        assert_eq!(written(Value::Str(bytes.clone()))[0], 0xc3);
        assert_eq!(written(Value::Str(bytes.slice(1..)))[0], 20);
        let mut out = Vec::new();
        write(&mut out, &Value::Str(bytes.clone()), Compression::None);
        assert_eq!((out[0], &out[1..]), (21, &bytes[..]));
        assert_eq!(written(Value::Str("abcdefghijklmnopqrstuvwxyz".into()))[0], 26);
    }

    #[test]
    fn lengths_beyond_the_limit_or_the_input_are_refused() {
        assert_eq!(read(&mut &b"\x05hello"[..], 5), Ok(Value::Str("hello".into())));
        assert_eq!(read(&mut &b"\x05hello"[..], 4), Err(BadFormat));
        assert_eq!(read(&mut &b"\x05hell"[..], 5), Err(BadFormat));
        assert_eq!(read(&mut &b"\x81\xff\xff\xff\xff\xff\xff\xff\xffx"[..], u64::MAX), Err(BadFormat));
        assert_eq!(read(&mut &b"\xc3\x04\x80\xff\xff\xff\xff\x00a\x20\x00"[..], u64::MAX), Err(BadFormat));
        assert_eq!(read(&mut &b"\xc3\x04\x04\x00a\x20\x00"[..], 4), Ok(Value::Str("aaaa".into())));
        assert_eq!(read(&mut &b"\xc3\x04\x04\x00a\x20\x00"[..], 3), Err(BadFormat));
        assert_eq!(read(&mut &b"\xc4"[..], 5), Err(BadFormat));
    }
}
