//! The listpack; its form is described where it is read.

use crate::rdb::packed_read::back_length;
use crate::types::packed::Item;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// Said of as many elements or more.
const UNCOUNTED: usize = u16::MAX as usize;

/// A listpack in the making, appended to a vector.
#[derive(Debug)]
pub struct ListpackWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    count: usize,
}

impl<'a> ListpackWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        Self { out, start, count: 0 }
    }

    pub fn push(&mut self, item: Item<'_>) {
        let start = self.out.len();
        match item {
            Item::Int(number) => self.push_integer(number),
            Item::Str(text) => self.push_string(text),
        }
        let len = self.out.len() - start;
        self.out.extend_from_slice(back_length(len, &mut [0; _]));
        self.count += 1;
    }

    fn push_integer(&mut self, number: i64) {
        let bytes = number.to_le_bytes();
        match number {
            0..=0x7f => self.out.push(bytes[0]),
            -0x1000..=0xfff => self.out.extend_from_slice(&[0xc0 | bytes[1] & 0x1f, bytes[0]]),
            -0x8000..=0x7fff => self.push_tagged(0xf1, &bytes[..2]),
            -0x80_0000..=0x7f_ffff => self.push_tagged(0xf2, &bytes[..3]),
            -0x8000_0000..=0x7fff_ffff => self.push_tagged(0xf3, &bytes[..4]),
            _ => self.push_tagged(0xf4, &bytes),
        }
    }

    fn push_string(&mut self, text: &[u8]) {
        let len = text.len() as u64;
        let bytes = len.to_le_bytes();
        match len {
            0..=0x3f => self.out.push(0x80 | bytes[0]),
            0x40..=0xfff => self.out.extend_from_slice(&[0xe0 | bytes[1], bytes[0]]),
            _ => self.push_tagged(0xf0, &bytes[..4]),
        }
        self.out.extend_from_slice(text);
    }

    fn push_tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        self.out.extend_from_slice(bytes);
    }

    /// Completes it. All of it must be less than 4 GiB.
    pub fn finish(self) {
        self.out.push(END);
        let len = self.out.len() - self.start;
        let len = u32::try_from(len).unwrap_or_else(|_| panic!("a listpack of {len} bytes"));
        let header = &mut self.out[self.start..self.start + HEADER_BYTES];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..].copy_from_slice(&(self.count.min(UNCOUNTED) as u16).to_le_bytes());
    }
}
