//! The elements of sets and hashes: each one allocation behind an 8-byte tagged pointer.
//!
//! The pointer: 48 bits of address and 16 bits that belong to the table the element is in.
//!
//! The allocation, without padding; lengths are in groups of 7 bits, low ones first:
//!
//! | [`Member`] | [`Pair`] |
//! |---|---|
//! | head | head |
//! | | expiry, 8 bytes, if flagged |
//! | length, name | length, field |
//! | | length, value |
//!
//! The head byte counts the owners, up to [`MOST_OWNERS`]; a clone beyond that is a copy. Its top bit flags a pair's expiry.
//!
//! Ownership: a handle is one owner. All bytes but the head are written only by an owner that is the only one (through `&mut`), and the head
//! only by atomic operations, so owners on several cores may read at once. The block goes with its last owner.
//!
//! Invariants
//! - a block is of exactly the size class that its lengths and flag ask for: freeing needs no stored size
//! - the head counts at least the handle that one looks through

use std::alloc::{self, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering, fence};

use crate::runtime::memory::good_size;
use crate::runtime::prefetch;
use crate::types::dict::Element;

const ADDRESS_BITS: u32 = 48;
const ADDRESS: usize = (1 << ADDRESS_BITS) - 1;

/// Owners that one block counts.
pub const MOST_OWNERS: u8 = 0x7f;
const FLAG: u8 = 0x80;

const HEAD_BYTES: usize = 1;
const EXPIRY_BYTES: usize = 8;
/// Bytes of the longest length.
const LENGTH_BYTES: usize = usize::BITS.div_ceil(7) as usize;

/// How a kind of block is laid out: the head first.
trait Shape {
    /// Bytes in use.
    ///
    /// # Safety
    /// The block is one of this shape.
    unsafe fn size(block: *const u8) -> usize;
}

/// One owner of a block.
struct Block<S: Shape> {
    tagged: NonNull<u8>,
    shape: PhantomData<S>,
}

// SAFETY: the head is only touched atomically, and everything else only written by an owner that is alone, as the module's head says.
unsafe impl<S: Shape> Send for Block<S> {}
// SAFETY: as above; a shared handle can read and be cloned, both of which any number of cores may do at once.
unsafe impl<S: Shape> Sync for Block<S> {}

fn layout(size: usize) -> Layout {
    match Layout::from_size_align(good_size(size), 1) {
        Ok(layout) => layout,
        Err(_) => panic!("an element of {size} bytes"),
    }
}

impl<S: Shape> Block<S> {
    /// A block of that size with one owner. `fill` writes everything but the head, as the shape asks for.
    ///
    /// # Safety
    /// What `fill` writes together with the flags makes `S::size` answer `size`.
    unsafe fn new(size: usize, flags: u8, fill: impl FnOnce(Writer)) -> Self {
        let layout = layout(size);
        // SAFETY: the layout has a size, as every block has a head.
        let Some(block) = NonNull::new(unsafe { alloc::alloc(layout) }) else { alloc::handle_alloc_error(layout) };
        assert!(block.addr().get() & !ADDRESS == 0, "an address beyond 48 bits");
        // SAFETY: the head is within the size, and nobody else knows the block.
        unsafe { block.write(flags | 1) };
        fill(Writer { at: block.as_ptr() });
        Self { tagged: block, shape: PhantomData }
    }

    #[inline]
    fn block(&self) -> *mut u8 {
        self.tagged.as_ptr().map_addr(|tagged| tagged & ADDRESS)
    }

    #[inline]
    fn head(&self) -> &AtomicU8 {
        // SAFETY: the head lives as long as this owner and is only touched atomically once the block is made.
        unsafe { AtomicU8::from_ptr(self.block()) }
    }

    #[inline]
    fn is_flagged(&self) -> bool {
        self.head().load(Ordering::Relaxed) & FLAG != 0
    }

    /// Whether there is no other owner; with `&mut` there can be none until the borrow ends.
    #[inline]
    fn is_alone(&mut self) -> bool {
        // Acquire: what other owners read before they left is read before what is written now.
        self.head().load(Ordering::Acquire) & MOST_OWNERS == 1
    }

    #[inline]
    fn size(&self) -> usize {
        // SAFETY: the block is of this shape.
        unsafe { S::size(self.block()) }
    }

    #[inline]
    fn tag(&self) -> u16 {
        (self.tagged.addr().get() >> ADDRESS_BITS) as u16
    }

    #[inline]
    fn set_tag(&mut self, tag: u16) {
        let tagged = self.block().map_addr(|address| address | usize::from(tag) << ADDRESS_BITS);
        // SAFETY: the address of a block is not 0.
        self.tagged = unsafe { NonNull::new_unchecked(tagged) };
    }

    /// The length that stands at an offset and the bytes after it, as far as the length says.
    ///
    /// # Safety
    /// A length stands there, and so many bytes after it.
    #[inline]
    unsafe fn bytes_at(&self, offset: usize) -> &[u8] {
        // SAFETY: the caller's promise. The bytes do not change while there is a shared borrow of an owner.
        unsafe {
            let (length, bytes) = read_length(self.block().add(offset));
            std::slice::from_raw_parts(bytes, length)
        }
    }

    /// A block with the same content.
    #[cold]
    fn copy(&self) -> Self {
        let size = self.size();
        let flags = self.head().load(Ordering::Relaxed) & FLAG;
        // SAFETY: both blocks have at least `size` bytes and are different; the head is left out, since others may change it meanwhile.
        let mut copy = unsafe {
            let from = self.block();
            Self::new(size, flags, |to| {
                from.add(HEAD_BYTES).copy_to_nonoverlapping(to.at.add(HEAD_BYTES), size - HEAD_BYTES);
            })
        };
        copy.set_tag(self.tag());
        copy
    }
}

impl<S: Shape> Clone for Block<S> {
    #[inline]
    fn clone(&self) -> Self {
        let head = self.head();
        let mut seen = head.load(Ordering::Relaxed);
        while seen & MOST_OWNERS < MOST_OWNERS {
            // Relaxed: this owner keeps the block alive.
            match head.compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Self { tagged: self.tagged, shape: PhantomData },
                Err(now) => seen = now,
            }
        }
        self.copy()
    }
}

impl<S: Shape> Drop for Block<S> {
    #[inline]
    fn drop(&mut self) {
        // An owner that is alone stays so, which saves the atomic write. Otherwise as `Arc` does it: what this owner read happens before
        // the last one frees the block.
        if !self.is_alone() {
            if self.head().fetch_sub(1, Ordering::Release) & MOST_OWNERS != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        // SAFETY: this was the last owner; the size class follows from the content, which is intact.
        unsafe { alloc::dealloc(self.block(), layout(self.size())) };
    }
}

/// Writes a new block from its beginning on.
struct Writer {
    at: *mut u8,
}

impl Writer {
    /// # Safety
    /// The block has room for that much more.
    unsafe fn skip(&mut self, bytes: usize) {
        // SAFETY: the caller's promise.
        self.at = unsafe { self.at.add(bytes) };
    }

    /// # Safety
    /// The block has room, and does not overlap with the bytes.
    unsafe fn put(&mut self, bytes: &[u8]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.skip(bytes.len());
        }
    }

    /// # Safety
    /// As for [`Self::put`], for both.
    unsafe fn put_with_length(&mut self, bytes: &[u8]) {
        let mut room = [0; LENGTH_BYTES];
        let mut used = 0;
        let mut left = bytes.len();
        while left >= 0x80 {
            room[used] = left as u8 | 0x80;
            used += 1;
            left >>= 7;
        }
        room[used] = left as u8;
        // SAFETY: the caller's promise.
        unsafe {
            self.put(&room[..=used]);
            self.put(bytes);
        }
    }
}

/// A length, and where it ends.
///
/// # Safety
/// A length stands there.
#[inline]
unsafe fn read_length(at: *const u8) -> (usize, *const u8) {
    // SAFETY: the caller's promise, for this byte and those that `read_long_length` reads.
    unsafe {
        let first = usize::from(at.read());
        if first < 0x80 { (first, at.add(1)) } else { read_long_length(at) }
    }
}

unsafe fn read_long_length(mut at: *const u8) -> (usize, *const u8) {
    let (mut length, mut shift) = (0, 0);
    loop {
        // SAFETY: the length goes on as long as top bits are set.
        let byte = unsafe { at.read() };
        // SAFETY: as above; at most one past the end of the block.
        at = unsafe { at.add(1) };
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (length, at);
        }
        shift += 7;
    }
}

/// Bytes that so many bytes take together with their length.
#[inline]
fn with_length(bytes: usize) -> usize {
    bytes + (bytes.max(1).ilog2() as usize) / 7 + 1
}

struct MemberShape;

impl Shape for MemberShape {
    #[inline]
    unsafe fn size(block: *const u8) -> usize {
        // SAFETY: a length stands after the head.
        HEAD_BYTES + with_length(unsafe { read_length(block.add(HEAD_BYTES)) }.0)
    }
}

/// An element of a set.
#[derive(Clone)]
pub struct Member(Block<MemberShape>);

impl Member {
    pub fn new(name: &[u8]) -> Self {
        // SAFETY: head, length and name are what the size is made of.
        Self(unsafe {
            Block::new(HEAD_BYTES + with_length(name.len()), 0, |mut writer| {
                writer.skip(HEAD_BYTES);
                writer.put_with_length(name);
            })
        })
    }

    #[inline]
    pub fn name(&self) -> &[u8] {
        // SAFETY: that is where the name is.
        unsafe { self.0.bytes_at(HEAD_BYTES) }
    }
}

struct PairShape;

/// Where the field's length is.
#[inline]
fn field_at(head: u8) -> usize {
    HEAD_BYTES + EXPIRY_BYTES * usize::from(head >> 7)
}

/// Bytes of a pair.
fn pair_size(field: usize, value: usize, expire_at_ms: Option<u64>) -> usize {
    HEAD_BYTES + expire_at_ms.map_or(0, |_| EXPIRY_BYTES) + with_length(field) + with_length(value)
}

impl Shape for PairShape {
    #[inline]
    unsafe fn size(block: *const u8) -> usize {
        // SAFETY: the head comes first, then what it flags, then the lengths, each with what it counts.
        unsafe {
            let head = AtomicU8::from_ptr(block.cast_mut()).load(Ordering::Relaxed);
            let (field, at) = read_length(block.add(field_at(head)));
            let (value, _) = read_length(at.add(field));
            field_at(head) + with_length(field) + with_length(value)
        }
    }
}

/// A field of a hash with its value, and perhaps the time when it expires.
#[derive(Clone)]
pub struct Pair(Block<PairShape>);

impl Pair {
    /// `expire_at_ms` is Unix time in milliseconds.
    pub fn new(field: &[u8], value: &[u8], expire_at_ms: Option<u64>) -> Self {
        let flags = if expire_at_ms.is_some() { FLAG } else { 0 };
        // SAFETY: head, expiry if flagged, and both texts with their lengths are what the size is made of.
        Self(unsafe {
            Block::new(pair_size(field.len(), value.len(), expire_at_ms), flags, |mut writer| {
                writer.skip(HEAD_BYTES);
                if let Some(at_ms) = expire_at_ms {
                    writer.put(&at_ms.to_ne_bytes());
                }
                writer.put_with_length(field);
                writer.put_with_length(value);
            })
        })
    }

    #[inline]
    pub fn field(&self) -> &[u8] {
        // SAFETY: that is where the field is.
        unsafe { self.0.bytes_at(field_at(self.0.head().load(Ordering::Relaxed))) }
    }

    /// Where the value's length is.
    #[inline]
    fn value_at(&self) -> usize {
        let field = self.field();
        field.as_ptr().addr() + field.len() - self.0.block().addr()
    }

    #[inline]
    pub fn value(&self) -> &[u8] {
        // SAFETY: the value follows the field.
        unsafe { self.0.bytes_at(self.value_at()) }
    }

    #[inline]
    pub fn expire_at_ms(&self) -> Option<u64> {
        // SAFETY: a flagged head is followed by an expiry, aligned or not.
        let read = || unsafe { self.0.block().add(HEAD_BYTES).cast::<u64>().read_unaligned() };
        self.0.is_flagged().then(read)
    }

    /// Another value and expiry for the same field. The block is kept when it has no other owner and is of the right size class.
    pub fn set(&mut self, value: &[u8], expire_at_ms: Option<u64>) {
        let needed = pair_size(self.field().len(), value.len(), expire_at_ms);
        let same_place = expire_at_ms.is_some() == self.0.is_flagged();
        if same_place && layout(needed) == layout(self.0.size()) && self.0.is_alone() {
            let mut writer = Writer { at: self.0.block() };
            // SAFETY: there is no other owner and the borrow is exclusive; `value` cannot lie in this block then. It has the room, since
            // its size class is that of what is needed.
            unsafe {
                let value_at = self.value_at();
                if let Some(at_ms) = expire_at_ms {
                    Writer { at: writer.at.add(HEAD_BYTES) }.put(&at_ms.to_ne_bytes());
                }
                writer.skip(value_at);
                writer.put_with_length(value);
            }
            return;
        }
        let tag = self.0.tag();
        *self = Self::new(self.field(), value, expire_at_ms);
        self.0.set_tag(tag);
    }

    /// Gives the field an expiry, or takes it away.
    pub fn set_expire_at_ms(&mut self, expire_at_ms: Option<u64>) {
        if expire_at_ms == self.expire_at_ms() {
            return;
        }
        if let Some(at_ms) = expire_at_ms
            && self.0.is_flagged()
            && self.0.is_alone()
        {
            // SAFETY: there is no other owner, the borrow is exclusive, and a flagged head is followed by an expiry.
            unsafe { Writer { at: self.0.block().add(HEAD_BYTES) }.put(&at_ms.to_ne_bytes()) };
            return;
        }
        let tag = self.0.tag();
        *self = Self::new(self.field(), self.value(), expire_at_ms);
        self.0.set_tag(tag);
    }
}

/// The part of [`Element`] that is the same for all.
macro_rules! element {
    ($kind:ident, $name:ident) => {
        impl Element for $kind {
            #[inline]
            fn name(&self) -> &[u8] {
                self.$name()
            }

            #[inline]
            fn tag(&self) -> u16 {
                self.0.tag()
            }

            #[inline]
            fn set_tag(&mut self, tag: u16) {
                self.0.set_tag(tag);
            }

            #[inline]
            fn heap_bytes(&self) -> usize {
                good_size(self.0.size())
            }

            #[inline]
            fn prefetch(&self) {
                prefetch::line(self.0.block());
            }
        }
    };
}

element!(Member, name);
element!(Pair, field);

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name().escape_ascii())
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field().escape_ascii(), self.value().escape_ascii())?;
        self.expire_at_ms().map_or(Ok(()), |at_ms| write!(f, " until {at_ms}"))
    }
}

#[cfg(test)]
mod tests;
