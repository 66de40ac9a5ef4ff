//! What stands where in an entry's block; see the table in [`entry`](super).

use std::alloc::Layout;

use bytes::{Bytes, BytesMut};

use super::form::Form;
use crate::types::Object;

const HEADER_BYTES: usize = 8;
const LENGTHS_AT: usize = 4;
/// In place of a key length: the lengths are behind, as they are large.
const WIDE: u32 = 0xff;
const WIDE_HEADER_BYTES: usize = 16;
const WIDE_LENGTHS_AT: usize = 8;
const KEY_LENGTH_BITS: u32 = 8;
const MAX_NARROW_KEY: usize = WIDE as usize - 1;
pub(super) const MAX_NARROW_VALUE: usize = (1 << (u32::BITS - KEY_LENGTH_BITS)) - 1;
const EXPIRY_BYTES: usize = 8;
const ALIGN: usize = 8;

/// What a header says of lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) key: usize,
    /// 0 of a value that is not inline.
    pub(super) value: usize,
    pub(super) wide: bool,
}

impl Lengths {
    #[inline]
    pub(super) fn new(key: usize, value: usize) -> Self {
        Self { key, value, wide: key > MAX_NARROW_KEY || value > MAX_NARROW_VALUE }
    }

    /// Of another value in the same block, if its header has room for that.
    #[inline]
    pub(super) fn with_value(self, value: usize) -> Option<Self> {
        (self.wide || value <= MAX_NARROW_VALUE).then_some(Self { value, ..self })
    }

    #[inline]
    pub(super) fn header_bytes(self) -> usize {
        if self.wide { WIDE_HEADER_BYTES } else { HEADER_BYTES }
    }

    /// Where the key begins.
    #[inline]
    pub(super) fn key_at(self, has_expiry: bool) -> usize {
        self.header_bytes() + if has_expiry { EXPIRY_BYTES } else { 0 }
    }

    /// # Safety
    /// The block begins with a header.
    #[inline]
    pub(super) unsafe fn read(block: *const u8) -> Self {
        // SAFETY: the field is aligned and always there, and says itself whether the other two are.
        unsafe {
            let lengths = block.add(LENGTHS_AT).cast::<u32>().read();
            if lengths & WIDE != WIDE {
                let (key, value) = (lengths & WIDE, lengths >> KEY_LENGTH_BITS);
                return Self { key: key as usize, value: value as usize, wide: false };
            }
            let [key, value] = block.add(WIDE_LENGTHS_AT).cast::<[u32; 2]>().read();
            Self { key: key as usize, value: value as usize, wide: true }
        }
    }

    /// # Safety
    /// The block has a header of this width.
    #[inline]
    pub(super) unsafe fn write(self, block: *mut u8) {
        let narrow = self.key as u32 | (self.value as u32) << KEY_LENGTH_BITS;
        // SAFETY: the caller's promise; the fields are aligned as the block is.
        unsafe {
            block.add(LENGTHS_AT).cast::<u32>().write(if self.wide { WIDE } else { narrow });
            if self.wide {
                block.add(WIDE_LENGTHS_AT).cast::<[u32; 2]>().write([self.key as u32, self.value as u32]);
            }
        }
    }
}

/// Sizes and offsets of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) lengths: Lengths,
    pub(super) key_at: usize,
    pub(super) value_at: usize,
    pub(super) size: usize,
}

impl Shape {
    #[inline]
    pub(super) fn new(lengths: Lengths, has_expiry: bool, form: Form) -> Self {
        let (key_length, value_length) = (lengths.key, lengths.value);
        let key_at = lengths.key_at(has_expiry);
        let key_end = key_at + key_length;
        let (value_at, value_size) = match form {
            Form::Int => (key_end, size_of::<i64>()),
            Form::Inline | Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash => {
                (key_end, value_length)
            }
            Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => (key_end, size_of::<Box<Object>>()),
            Form::Shared => (key_end.next_multiple_of(ALIGN), size_of::<Bytes>()),
            Form::Growing => (key_end.next_multiple_of(ALIGN), size_of::<BytesMut>()),
        };
        Self { lengths, key_at, value_at, size: value_at + value_size }
    }
}

const _: () = assert!(align_of::<Bytes>() <= ALIGN && align_of::<BytesMut>() <= ALIGN);

#[inline]
pub(super) fn layout(size: usize) -> Layout {
    // Keys and inline values have 32-bit lengths, so the size cannot overflow.
    Layout::from_size_align(size, ALIGN).unwrap_or_else(|_| unreachable!("an entry of {size} bytes"))
}
