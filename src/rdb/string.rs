//! Strings in RDB data: a length and the bytes, or, specially encoded, an integer of 8, 16 or 32 bits, or LZF.

use std::cell::RefCell;
use std::ops::Deref;

use bytes::Bytes;

use super::length::{self, Length};
use super::lzf::{self, Compressor};
use super::{Reason, take, take_array};
use crate::keyspace::Value;
use crate::types::numbers::parse_i64;

/// `rdbcompression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzf,
}

impl Compression {
    pub fn from_directive(compresses: bool) -> Self {
        if compresses { Self::Lzf } else { Self::None }
    }
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

/// Appends an integer as a string, in the shortest encoding, as Redis chooses it.
#[inline]
pub fn write_number(out: &mut Vec<u8>, value: i64) {
    if !write_int(out, value) {
        write_plain(out, itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Appends a string, in the shortest encoding, as Redis chooses it.
#[inline]
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
#[inline]
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
    COMPRESSOR.with_borrow_mut(|compressor| {
        let Some(compressed) = compressor.compress(bytes, max_len) else { return false };
        length::write_encoding(out, LZF);
        length::write(out, compressed.len() as u64);
        length::write(out, bytes.len() as u64);
        out.extend_from_slice(compressed);
        true
    })
}

#[inline]
fn write_plain(out: &mut Vec<u8>, bytes: &[u8]) {
    length::write(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A string as it stands in the data.
enum Stored<'a> {
    Plain(&'a [u8]),
    Int(i32),
    Lzf { compressed: &'a [u8], len: usize },
}

impl<'a> Stored<'a> {
    /// Takes a string of at most `max_bytes` off `input`.
    #[inline]
    fn take(input: &mut &'a [u8], max_bytes: u64) -> Result<Stored<'a>, Reason> {
        Ok(match length::read(input)? {
            Length::Plain(len) => Stored::Plain(take(input, within(len, max_bytes)?)?),
            Length::Encoding(INT8) => Stored::Int(i8::from_le_bytes(take_array(input)?).into()),
            Length::Encoding(INT16) => Stored::Int(i16::from_le_bytes(take_array(input)?).into()),
            Length::Encoding(INT32) => Stored::Int(i32::from_le_bytes(take_array(input)?)),
            Length::Encoding(LZF) => {
                let compressed_len = within(length::read_plain(input)?, max_bytes)?;
                let len = within(length::read_plain(input)?, max_bytes)?;
                Stored::Lzf { compressed: take(input, compressed_len)?, len }
            }
            Length::Encoding(encoding) => return Err(Reason::StringEncoding(encoding)),
        })
    }
}

#[inline]
fn within(len: u64, max: u64) -> Result<usize, Reason> {
    match usize::try_from(len) {
        Ok(usable) if len <= max => Ok(usable),
        _ => Err(Reason::StringLength { len, max }),
    }
}

/// Takes a string of at most `max_bytes` off `input`, unseen.
#[inline]
pub fn skip(input: &mut &[u8], max_bytes: u64) -> Result<(), Reason> {
    Stored::take(input, max_bytes).map(drop)
}

/// Reads a string value of at most `max_bytes` off `input`. What reads as an integer becomes one.
pub fn read(input: &mut &[u8], max_bytes: u64) -> Result<Value, Reason> {
    let bytes = match Stored::take(input, max_bytes)? {
        Stored::Int(number) => return Ok(Value::Int(number.into())),
        Stored::Plain(bytes) => match parse_i64(bytes) {
            Some(number) => return Ok(Value::Int(number)),
            None => Bytes::copy_from_slice(bytes),
        },
        Stored::Lzf { compressed, len } => lzf::decompress(compressed, len).ok_or(Reason::Lzf)?.into(),
    };
    Ok(parse_i64(&bytes).map_or(Value::Str(bytes), Value::Int))
}

/// Reads a string of at most `max_bytes` off `input` as its bytes.
#[inline]
pub fn read_text<'a>(input: &mut &'a [u8], max_bytes: u64) -> Result<Text<'a>, Reason> {
    Ok(match Stored::take(input, max_bytes)? {
        Stored::Plain(bytes) => Text::Borrowed(bytes),
        Stored::Int(number) => Text::Number(NumberText::new(number)),
        Stored::Lzf { compressed, len } => Text::Owned(lzf::decompress(compressed, len).ok_or(Reason::Lzf)?),
    })
}

/// The bytes of a string, whatever its encoding. Only LZF takes memory.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a [u8]),
    Number(NumberText),
    Owned(Vec<u8>),
}

/// The decimal form of a 32-bit integer.
#[derive(Clone)]
pub struct NumberText {
    digits: [u8; MAX_INT32_CHARS],
    len: u8,
}

impl NumberText {
    fn new(number: i32) -> NumberText {
        let mut digits = [0; MAX_INT32_CHARS];
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        digits[..text.len()].copy_from_slice(text);
        NumberText { digits, len: text.len() as u8 }
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Text::Borrowed(bytes) => bytes,
            Text::Number(number) => &number.digits[..number.len.into()],
            Text::Owned(bytes) => bytes,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Text<'_>) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::value;

    fn written_as(value: Value, compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        value::write(&mut out, value.as_ref(), compression);
        out
    }

    fn written(value: Value) -> Vec<u8> {
        written_as(value, Compression::Lzf)
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
        let out = written_as(Value::Str(bytes.clone()), Compression::None);
        assert_eq!((out[0], &out[1..]), (21, &bytes[..]));
        assert_eq!(written(Value::Str("abcdefghijklmnopqrstuvwxyz".into()))[0], 26);
    }

    #[test]
    fn lengths_beyond_the_limit_or_the_input_are_refused() {
        assert_eq!(read(&mut &b"\x05hello"[..], 5), Ok(Value::Str("hello".into())));
        let too_long = |len, max| Err(Reason::StringLength { len, max });
        assert_eq!(read(&mut &b"\x05hello"[..], 4), too_long(5, 4));
        assert_eq!(read(&mut &b"\x05hell"[..], 5), Err(Reason::Incomplete { missing: 1 }));
        let longest = &b"\x81\xff\xff\xff\xff\xff\xff\xff\xffx"[..];
        assert_eq!(read(&mut &longest[..], u64::MAX), Err(Reason::Incomplete { missing: u64::MAX - 1 }));
        let inflated = b"\xc3\x04\x80\xff\xff\xff\xff\x00a\x20\x00";
        assert_eq!(read(&mut &inflated[..], u64::MAX), Err(Reason::Lzf));
        assert_eq!(read(&mut &b"\xc3\x04\x04\x00a\x20\x00"[..], 4), Ok(Value::Str("aaaa".into())));
        assert_eq!(read(&mut &b"\xc3\x04\x04\x00a\x20\x00"[..], 3), too_long(4, 3));
        assert_eq!(read(&mut &b"\xc4"[..], 5), Err(Reason::StringEncoding(4)));
    }

    #[test]
    fn a_text_has_the_bytes_whatever_the_encoding() {
        let mut input = &b"\x03abc\xc0\x85\xc2\x00\x00\x00\x80\xc3\x04\x04\x00a\x20\x00"[..];
        for text in [&b"abc"[..], b"-123", b"-2147483648", b"aaaa"] {
            assert_eq!(&*read_text(&mut input, 100).unwrap(), text);
        }
        assert_eq!(skip(&mut &b"\x05hell"[..], 5), Err(Reason::Incomplete { missing: 1 }));
    }
}
