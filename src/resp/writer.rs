//! Replies: RESP2 or RESP3 bytes, with large values attached instead of copied.
//!
//! [`Out`] is a run of bytes into which shared allocations are spliced at given offsets; a send gathers both. [`Writer`]
//! writes values into it in the protocol the client speaks, so a command handler never asks which one that is.
//!
//! Source of the formats: the RESP2 and RESP3 specifications; the RESP2 forms of RESP3 types are those of Redis.

use bytes::Bytes;

use super::double::DoubleText;
use crate::types::numbers::whole;

/// A value of this many bytes or more is sent from its own allocation; smaller ones are copied into the reply.
pub const ATTACH_MIN_BYTES: usize = 16 * 1024;

/// The protocol version a client speaks (HELLO).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// Reply bytes that wait to be sent.
#[derive(Default)]
pub struct Out {
    pub buf: Vec<u8>,
    /// Allocations to be sent in between: each before the byte of `buf` at its offset; offsets ascend.
    pub attached: Vec<(usize, Bytes)>,
}

impl Out {
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty() && self.attached.is_empty()
    }

    /// Bytes to be sent, attached ones included.
    pub fn len(&self) -> usize {
        self.buf.len() + self.attached.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    pub fn clear(&mut self) {
        self.buf.clear();
        self.attached.clear();
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: &Out) {
        self.append_range(other, 0..other.buf.len(), 0);
    }

    /// Appends the bytes `range` of `other.buf` with what is attached there. `first` is the index of the first attachment
    /// at or behind the range's start; returns the index of the first one behind its end.
    pub fn append_range(&mut self, other: &Out, range: std::ops::Range<usize>, first: usize) -> usize {
        let base = self.buf.len();
        let mut next = first;
        while let Some((offset, bytes)) = other.attached.get(next).filter(|(offset, _)| *offset < range.end) {
            self.attached.push((base + offset - range.start, bytes.clone()));
            next += 1;
        }
        self.buf.extend_from_slice(&other.buf[range]);
        next
    }
}

/// Appends a line of a type's sign and a number, as most values begin.
#[inline]
fn write_header(out: &mut Vec<u8>, kind: u8, n: i64) {
    // Most numbers are small: pieces of a fixed size need no call to be copied.
    match n {
        0..=9 => out.extend_from_slice(&[kind, b'0' + n as u8, b'\r', b'\n']),
        10..=99 => out.extend_from_slice(&[kind, b'0' + (n / 10) as u8, b'0' + (n % 10) as u8, b'\r', b'\n']),
        _ => {
            out.push(kind);
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a command of so many words in the form in which clients send it.
pub fn write_command<'a>(out: &mut Vec<u8>, count: usize, words: impl Iterator<Item = &'a [u8]>) {
    write_header(out, b'*', count as i64);
    for word in words {
        write_header(out, b'$', word.len() as i64);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes reply values in the client's protocol.
pub struct Writer<'a> {
    out: &'a mut Out,
    proto: Proto,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Out, proto: Proto) -> Writer<'a> {
        Writer { out, proto }
    }

    pub fn proto(&self) -> Proto {
        self.proto
    }

    fn resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    #[inline]
    fn header(&mut self, kind: u8, n: i64) {
        write_header(&mut self.out.buf, kind, n);
    }

    /// `+OK` and its like.
    pub fn simple(&mut self, text: &str) {
        self.out.buf.push(b'+');
        self.out.buf.extend_from_slice(text.as_bytes());
        self.out.buf.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn ok(&mut self) {
        self.out.buf.extend_from_slice(b"+OK\r\n");
    }

    /// An error line; `text` starts with its code (`ERR ...`). Line breaks in it become spaces, as they would end the reply.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.out.buf.push(b'-');
        self.out.buf.extend(text.as_ref().iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
        self.out.buf.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn int(&mut self, n: i64) {
        self.header(b':', n);
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len() as i64);
        self.out.buf.extend_from_slice(bytes);
        self.out.buf.extend_from_slice(b"\r\n");
    }

    pub fn bulk_str(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    pub fn bulk_int(&mut self, n: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(n).as_bytes());
    }

    /// A bulk string that is sent from `bytes` itself when it is large.
    pub fn bulk_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < ATTACH_MIN_BYTES {
            return self.bulk(bytes);
        }
        self.header(b'$', bytes.len() as i64);
        self.out.attached.push((self.out.buf.len(), bytes.clone()));
        self.out.buf.extend_from_slice(b"\r\n");
    }

    /// The absent value: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        let text: &[u8] = if self.resp3() { b"_\r\n" } else { b"$-1\r\n" };
        self.out.buf.extend_from_slice(text);
    }

    /// The absent array: `*-1` or `_`.
    pub fn null_array(&mut self) {
        let text: &[u8] = if self.resp3() { b"_\r\n" } else { b"*-1\r\n" };
        self.out.buf.extend_from_slice(text);
    }

    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// A map of `pairs` keys and values; in RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3() { self.header(b'%', pairs as i64) } else { self.header(b'*', 2 * pairs as i64) }
    }

    pub fn set(&mut self, len: usize) {
        self.header(if self.resp3() { b'~' } else { b'*' }, len as i64);
    }

    /// A set whose length is known only when `fill` has written its members, and returns it.
    pub fn set_counted(&mut self, fill: impl FnOnce(&mut Writer<'_>) -> usize) {
        let (start, first) = (self.out.buf.len(), self.out.attached.len());
        let len = fill(self);
        let members = self.out.buf.len();
        self.set(len);
        let header = self.out.buf.len() - members;
        self.out.buf[start..].rotate_right(header);
        self.out.attached[first..].iter_mut().for_each(|(offset, _)| *offset += header);
    }

    /// An out-of-band message; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        self.header(if self.resp3() { b'>' } else { b'*' }, len as i64);
    }

    /// A floating point number: RESP3 double, or a bulk string of the same text.
    pub fn double(&mut self, value: f64) {
        // Most are whole numbers, which need no text of their own.
        if let Some(whole) = whole(value).filter(|whole| *whole != 0 || value.is_sign_positive()) {
            return if self.resp3() { self.header(b',', whole) } else { self.bulk_int(whole) };
        }
        let text = DoubleText::of(value);
        if self.resp3() {
            self.out.buf.push(b',');
            self.out.buf.extend_from_slice(text.as_bytes());
            self.out.buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// A boolean: `#t`/`#f`, or 1/0.
    pub fn bool(&mut self, value: bool) {
        if self.resp3() {
            self.out.buf.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.int(value as i64);
        }
    }

    /// Text for people (INFO and its like): a verbatim string, in RESP2 a bulk string.
    pub fn verbatim(&mut self, text: &str) {
        if self.resp3() {
            self.header(b'=', text.len() as i64 + 4);
            self.out.buf.extend_from_slice(b"txt:");
            self.out.buf.extend_from_slice(text.as_bytes());
            self.out.buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// Where the elements of an array begin whose length is not known yet: see [`Self::array_from`].
    pub fn mark(&mut self) -> usize {
        self.out.buf.len()
    }

    /// What was written since `mark`, and consists of `len` values, becomes an array.
    pub fn array_from(&mut self, mark: usize, len: usize) {
        self.insert_header(mark, b'*', len as i64);
    }

    /// The same for a map of `pairs` keys and values; in RESP2 an array of twice as many.
    pub fn map_from(&mut self, mark: usize, pairs: usize) {
        if self.resp3() {
            self.insert_header(mark, b'%', pairs as i64);
        } else {
            self.insert_header(mark, b'*', 2 * pairs as i64);
        }
    }

    fn insert_header(&mut self, mark: usize, kind: u8, n: i64) {
        let end = self.out.buf.len();
        self.header(kind, n);
        let bytes = self.out.buf.len() - end;
        self.out.buf[mark..].rotate_right(bytes);
        let behind = self.out.attached.iter_mut().rev().take_while(|(offset, _)| *offset >= mark);
        behind.for_each(|(offset, _)| *offset += bytes);
    }

    /// Bytes that are RESP already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.buf.extend_from_slice(bytes);
    }

    /// Where the reply bytes go, for what has to splice whole replies.
    pub fn out(&mut self) -> &mut Out {
        self.out
    }
}

/// What `write` writes, as text.
#[cfg(test)]
pub fn written(proto: Proto, write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut out = Out::default();
    write(&mut Writer::new(&mut out, proto));
    assert!(out.attached.is_empty());
    String::from_utf8(out.buf).expect("text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attached_values_keep_their_place() {
        let big = Bytes::from(vec![b'x'; ATTACH_MIN_BYTES]);
        let mut out = Out::default();
        let mut writer = Writer::new(&mut out, Proto::Resp2);
        writer.int(1);
        let start = writer.out().buf.len();
        writer.bulk_shared(&big);
        let end = writer.out().buf.len();
        writer.ok();
        assert_eq!(out.len(), b":1\r\n$16384\r\n\r\n+OK\r\n".len() + big.len());

        let mut copy = Out::default();
        assert_eq!(copy.append_range(&out, start..end, 0), 1);
        assert_eq!(copy.buf, b"$16384\r\n\r\n");
        assert_eq!(copy.attached[0].0, b"$16384\r\n".len());
    }

    #[test]
    fn a_header_goes_before_what_was_written() {
        let big = Bytes::from(vec![b'x'; ATTACH_MIN_BYTES]);
        let mut out = Out::default();
        let mut writer = Writer::new(&mut out, Proto::Resp3);
        writer.int(7);
        writer.set_counted(|writer| {
            writer.bulk(b"a");
            writer.bulk_shared(&big);
            2
        });
        assert_eq!(out.buf, b":7\r\n~2\r\n$1\r\na\r\n$16384\r\n\r\n");
        assert_eq!(out.attached[0].0, out.buf.len() - 2);
    }
}
