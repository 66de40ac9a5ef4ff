//! One key with its value, in one allocation behind an 8-byte tagged pointer.
//!
//! The pointer: 48 bits of address, 14 hash bits, a bit for "has an expiry", and one for "lent" (shared with another core). So a table
//! compares, moves and filters entries without touching them.
//!
//! The allocation, without padding:
//!
//! | bytes | |
//! |---|---|
//! | 4 | encoding (6 bits), mark (2 bits) and access clock (24 bits) |
//! | 4 | key length (8 bits) and length of an inline value (24 bits), or `WIDE` |
//! | 8 | if that is so: key length and value length, 4 bytes each |
//! | 8 | expiry, Unix time in milliseconds; only with the pointer's bit |
//! | | key |
//! | | value: the bytes, or 8 bytes of integer, or 8 bytes of pointer, or (at the next multiple of 8) a `Bytes` or `BytesMut` |
//!
//! A collection is bytes as well while it is small (packed: what they mean, its type knows), and else hangs off the pointer.
//!
//! Invariants
//! - the layout follows from the pointer's expiry bit and the header alone, and is exact: freeing needs no stored size
//! - the header always describes what the block holds; a function that changes the shape leaves it true before it returns
//! - whether it is wide is settled with the block: an entry whose value outgrows it is made anew
//! - an integer is only ever stored for a text that is exactly that integer's decimal form

mod form;
mod layout;

use std::alloc;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};

use form::{Form, Shaped};
use layout::{Lengths, Shape, layout};

use super::hash::TAG_BITS;
use super::{Kind, NewCollection, NewStr, StrRef, Value, ValueRef, graveyard};
use crate::runtime::memory::good_size;
use crate::types::Object;
pub use crate::types::packed::parse_canonical;

/// A value of this size or more gets an allocation of its own, which replies share instead of copying.
pub const SHARED_BYTES: usize = 16 << 10;
/// Up to this length Redis keeps a string that was set whole beside its object and calls it `embstr`.
pub const EMBEDDED_BYTES: usize = 44;
/// Redis's name of the encoding of any other string.
pub const RAW: &str = "raw";

const ADDRESS_BITS: u32 = 48;
const ADDRESS: usize = (1 << ADDRESS_BITS) - 1;
const EXPIRY_BIT: usize = 1 << (ADDRESS_BITS + TAG_BITS);
const LENT_BIT: usize = 1 << (ADDRESS_BITS + TAG_BITS + 1);

const CLOCK_MASK: u32 = (1 << 24) - 1;
/// The mark, see [`Entry::mark`].
const MARK_SHIFT: u32 = 29;
const MARK_MASK: u32 = 3 << MARK_SHIFT;
/// Set on an inline value that was changed in place: OBJECT ENCODING calls it `raw` whatever its length.
const CHANGED: u32 = 1 << 31;

/// An owned entry; dropping it frees key and value.
#[derive(Debug)]
pub struct Entry {
    tagged: NonNull<u8>,
}

// SAFETY: an entry is the only owner of its block, and all it can hold (bytes, `Bytes`, `BytesMut`) is `Send`.
unsafe impl Send for Entry {}

impl Entry {
    /// A new entry. `tag` is the key's 14 hash bits, `clock` its 24-bit access clock.
    pub fn new(tag: u16, key: &[u8], value: NewStr<'_>, expire_at_ms: Option<u64>, clock: u32) -> Self {
        Self::shaped(tag, key, Shaped::of(value), expire_at_ms, clock)
    }

    /// The same, of a collection.
    pub fn of_collection(
        tag: u16,
        key: &[u8],
        value: NewCollection<'_>,
        expire_at_ms: Option<u64>,
        clock: u32,
    ) -> Self {
        Self::shaped(tag, key, value.into(), expire_at_ms, clock)
    }

    #[inline]
    fn shaped(tag: u16, key: &[u8], value: Shaped<'_>, expire_at_ms: Option<u64>, clock: u32) -> Self {
        assert!(u32::try_from(key.len()).is_ok(), "a key of {} bytes", key.len());
        let lengths = Lengths::new(key.len(), value.inline_length());
        let shape = Shape::new(lengths, expire_at_ms.is_some(), value.form());
        let layout = layout(shape.size);
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc::alloc(layout) };
        let Some(block) = NonNull::new(block) else { alloc::handle_alloc_error(layout) };
        let bits = usize::from(tag) << ADDRESS_BITS | if expire_at_ms.is_some() { EXPIRY_BIT } else { 0 };
        let mut entry = Self { tagged: tag_pointer(block, bits) };
        // SAFETY: the block has `shape`, computed from the lengths and the expiry written here; `write_value` completes it.
        unsafe {
            let block = entry.block();
            block.cast::<u32>().write(clock & CLOCK_MASK);
            if let Some(at_ms) = expire_at_ms {
                block.add(lengths.header_bytes()).cast::<u64>().write_unaligned(at_ms);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), block.add(shape.key_at), key.len());
            entry.write_value(shape, value);
        }
        entry
    }

    #[inline]
    fn block(&self) -> *mut u8 {
        self.tagged.as_ptr().map_addr(|address| address & ADDRESS)
    }

    #[inline]
    fn word(&self) -> u32 {
        self.atomic_word().load(Ordering::Relaxed)
    }

    /// The first word. Cores that share a lent entry may each set its access clock; nothing else of it changes then.
    #[inline]
    fn atomic_word(&self) -> &AtomicU32 {
        // SAFETY: the block starts with this word, aligned, and all access to it is atomic once the entry is made.
        unsafe { AtomicU32::from_ptr(self.block().cast::<u32>()) }
    }

    #[inline]
    fn set_word(&mut self, word: u32) {
        self.atomic_word().store(word, Ordering::Relaxed);
    }

    #[inline]
    fn lengths(&self) -> Lengths {
        // SAFETY: the header describes the block, always.
        unsafe { Lengths::read(self.block()) }
    }

    #[inline]
    fn shape(&self) -> Shape {
        Shape::new(self.lengths(), self.has_expiry(), Form::of(self.word()))
    }

    /// The 14 hash bits, read from the pointer.
    #[inline]
    pub fn tag(&self) -> u16 {
        (self.tagged.addr().get() >> ADDRESS_BITS) as u16 & ((1 << TAG_BITS) - 1)
    }

    /// Asks for the first two cache lines of the block: header, key, and the value of most.
    pub fn prefetch(&self) {
        let block = self.block().cast_const();
        super::prefetch::line(block);
        super::prefetch::line(block.wrapping_add(64));
    }

    /// Whether another core reads it too; until that is over it may neither change, but for its clock, nor go. Read from the pointer.
    #[inline]
    pub fn is_lent(&self) -> bool {
        self.tagged.addr().get() & LENT_BIT != 0
    }

    pub fn set_lent(&mut self, lent: bool) {
        let bits = self.tagged.addr().get() & !ADDRESS & !LENT_BIT | if lent { LENT_BIT } else { 0 };
        self.set_bits(bits);
    }

    /// A second owner of the same entry, for another core to read. It is marked as lent, and must be forgotten, not dropped, before
    /// the mark is taken off this one.
    pub fn lend(&mut self) -> Entry {
        self.share();
        self.set_lent(true);
        Entry { tagged: self.tagged }
    }

    /// Read from the pointer.
    #[inline]
    pub fn has_expiry(&self) -> bool {
        self.tagged.addr().get() & EXPIRY_BIT != 0
    }

    /// Unix time in milliseconds.
    #[inline]
    pub fn expire_at_ms(&self) -> Option<u64> {
        let at = || self.lengths().header_bytes();
        // SAFETY: the bit says that the field is there.
        self.has_expiry().then(|| unsafe { self.block().add(at()).cast::<u64>().read_unaligned() })
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        let lengths = self.lengths();
        let key_at = lengths.key_at(self.has_expiry());
        // SAFETY: the key stands there in full, and the borrow keeps the block as it is.
        unsafe { std::slice::from_raw_parts(self.block().add(key_at), lengths.key) }
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        Form::of(self.word()).kind()
    }

    /// When the first field of a hash expires.
    #[inline]
    pub fn field_expiry(&self) -> Option<u64> {
        let is_hash = matches!(Form::of(self.word()), Form::PackedHash | Form::Hash);
        if is_hash { super::field_expiry::earliest_of(self.value()) } else { None }
    }

    /// The 24-bit access clock.
    #[inline]
    pub fn clock(&self) -> u32 {
        self.word() & CLOCK_MASK
    }

    #[inline]
    pub fn set_clock(&mut self, clock: u32) {
        self.set_word(self.word() & !CLOCK_MASK | clock & CLOCK_MASK);
    }

    /// 0 to 3; 0 of a new entry, and otherwise what it was set to last, whatever the value has become. For snapshots.
    #[inline]
    pub fn mark(&self) -> u8 {
        ((self.word() & MARK_MASK) >> MARK_SHIFT) as u8
    }

    /// Not of a lent entry: another core may be setting its clock.
    #[inline]
    pub fn set_mark(&mut self, mark: u8) {
        debug_assert!(mark <= 3 && !self.is_lent());
        self.set_word(self.word() & !MARK_MASK | u32::from(mark) << MARK_SHIFT);
    }

    /// The value of a string.
    #[inline]
    pub fn string(&self) -> StrRef<'_> {
        match self.value() {
            ValueRef::Str(text) => text,
            ValueRef::Packed(kind, _) => unreachable!("a {} is read as a string", kind.name()),
            ValueRef::Object(object) => unreachable!("a {} is read as a string", object.kind().name()),
        }
    }

    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        let shape = self.shape();
        let form = Form::of(self.word());
        // SAFETY: each arm reads what the form says is there; the borrow keeps the block as it is.
        unsafe {
            let value = self.block().add(shape.value_at);
            let inline = |value: *mut u8| std::slice::from_raw_parts(value, shape.size - shape.value_at);
            match form {
                Form::Int => ValueRef::Str(StrRef::Int(value.cast::<i64>().read_unaligned())),
                Form::Inline => ValueRef::Str(StrRef::Inline(inline(value))),
                Form::Shared => ValueRef::Str(StrRef::Shared(&*value.cast::<Bytes>())),
                Form::Growing => ValueRef::Str(StrRef::Inline(&*value.cast::<BytesMut>())),
                Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash => {
                    ValueRef::Packed(form.kind(), inline(value))
                }
                Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => {
                    ValueRef::Object(&*value.cast::<*mut Object>().read_unaligned())
                }
            }
        }
    }

    /// The object of a collection that is not packed. Not of a lent entry.
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        debug_assert!(!self.is_lent());
        let shape = self.shape();
        match Form::of(self.word()) {
            Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => {
                // SAFETY: the form says that the pointer of a box stands there, which this entry owns; `&mut self` makes it exclusive.
                Some(unsafe { &mut *self.block().add(shape.value_at).cast::<*mut Object>().read_unaligned() })
            }
            Form::Int | Form::Inline | Form::Shared | Form::Growing => None,
            Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash => None,
        }
    }

    /// Makes a large growing string shareable. Nothing is copied.
    pub fn share(&mut self) {
        if Form::of(self.word()) != Form::Growing {
            return;
        }
        let large = matches!(self.value(), ValueRef::Str(StrRef::Inline(text)) if text.len() >= SHARED_BYTES);
        if large && let Shaped::Growing(text) = self.take_value() {
            self.replace(Shaped::Shared(text.freeze()), self.has_expiry());
        }
    }

    /// Another value and expiry for the same key. The block is kept when it is of the right size class.
    #[inline]
    pub fn assign(&mut self, value: NewStr<'_>, expire_at_ms: Option<u64>) {
        self.replace(Shaped::of(value), expire_at_ms.is_some());
        self.write_expiry(expire_at_ms);
    }

    /// The same, of a collection.
    pub fn assign_collection(&mut self, value: NewCollection<'_>, expire_at_ms: Option<u64>) {
        self.replace(value.into(), expire_at_ms.is_some());
        self.write_expiry(expire_at_ms);
    }

    pub fn set_expire_at_ms(&mut self, at_ms: Option<u64>) {
        if at_ms.is_some() != self.has_expiry() {
            self.shift_for_expiry();
        }
        self.write_expiry(at_ms);
    }

    /// The bytes of the string, zero-extended to at least `min_length`, in a form that can be written to.
    pub fn bytes_mut(&mut self, min_length: usize) -> &mut [u8] {
        let word = self.word();
        if Form::of(word) == Form::Inline && self.lengths().value >= min_length {
            self.set_word(word | CHANGED);
            let shape = self.shape();
            // SAFETY: the inline value ends the block; `&mut self` makes the slice exclusive.
            return unsafe {
                std::slice::from_raw_parts_mut(self.block().add(shape.value_at), shape.size - shape.value_at)
            };
        }
        if Form::of(word) != Form::Growing {
            let text = match self.take_value() {
                Shaped::Int(number) => zero_extended(itoa::Buffer::new().format(number).as_bytes(), min_length),
                Shaped::Inline(text) => zero_extended(text, min_length),
                Shaped::InlineOwned(text) => zero_extended(&text, min_length),
                Shaped::Growing(text) => text,
                Shaped::Shared(text) => match text.try_into_mut() {
                    Ok(text) => text,
                    Err(shared) => zero_extended(&shared, min_length),
                },
                Shaped::Packed(kind, _) | Shaped::PackedOwned(kind, _) => {
                    unreachable!("a {} is changed as a string", kind.name())
                }
                Shaped::Object(object) => unreachable!("a {} is changed as a string", object.kind().name()),
            };
            self.replace(Shaped::Growing(text), self.has_expiry());
        }
        let shape = self.shape();
        // SAFETY: the form is `Growing` now, so a `BytesMut` stands there; `&mut self` makes the reference exclusive.
        let text = unsafe { &mut *self.block().add(shape.value_at).cast::<BytesMut>() };
        if text.len() < min_length {
            text.resize(min_length, 0);
        }
        text
    }

    /// A copy of the value; a large string is shared from then on.
    pub fn shared_value(&mut self) -> Value {
        self.share();
        match self.value() {
            ValueRef::Str(StrRef::Int(number)) => Value::Int(number),
            ValueRef::Str(StrRef::Inline(text)) => Value::Str(Bytes::copy_from_slice(text)),
            ValueRef::Str(StrRef::Shared(text)) => Value::Str(text.clone()),
            ValueRef::Packed(kind, bytes) => Value::Packed(kind, Bytes::copy_from_slice(bytes)),
            ValueRef::Object(object) => Value::Object(Box::new(object.clone())),
        }
    }

    /// The value alone.
    pub fn into_value(mut self) -> Value {
        match self.take_value() {
            Shaped::Int(number) => Value::Int(number),
            Shaped::Inline(text) => Value::Str(Bytes::copy_from_slice(text)),
            Shaped::InlineOwned(text) | Shaped::Shared(text) => Value::Str(text),
            Shaped::Growing(text) => Value::Str(text.freeze()),
            Shaped::Packed(kind, bytes) => Value::Packed(kind, Bytes::copy_from_slice(bytes)),
            Shaped::PackedOwned(kind, bytes) => Value::Packed(kind, bytes),
            Shaped::Object(object) => Value::Object(object),
        }
    }

    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        let word = self.word();
        match Form::of(word) {
            Form::Int => "int",
            Form::Inline if word & CHANGED == 0 && self.lengths().value <= EMBEDDED_BYTES => "embstr",
            Form::Inline | Form::Shared | Form::Growing => RAW,
            Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash => match self.value() {
                ValueRef::Packed(kind, bytes) => crate::types::packed_encoding(kind, bytes),
                ValueRef::Str(_) | ValueRef::Object(_) => unreachable!("a packed form holds bytes"),
            },
            Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => match self.value() {
                ValueRef::Object(object) => object.encoding(),
                ValueRef::Str(_) | ValueRef::Packed(..) => unreachable!("a full form holds an object"),
            },
        }
    }

    /// Bytes of all its allocations, as the allocator rounds them.
    pub fn heap_bytes(&self) -> usize {
        let shape = self.shape();
        // SAFETY: each arm reads what the form says is there.
        let own = unsafe {
            let value = self.block().add(shape.value_at);
            match Form::of(self.word()) {
                Form::Int | Form::Inline => 0,
                Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash => 0,
                Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => {
                    good_size(size_of::<Object>()) + (*value.cast::<*mut Object>().read_unaligned()).heap_bytes()
                }
                Form::Shared => good_size((*value.cast::<Bytes>()).len()),
                Form::Growing => good_size((*value.cast::<BytesMut>()).capacity()),
            }
        };
        good_size(shape.size) + own
    }

    #[inline]
    fn write_expiry(&mut self, expire_at_ms: Option<u64>) {
        if let Some(at_ms) = expire_at_ms {
            debug_assert!(self.has_expiry());
            let at = self.lengths().header_bytes();
            // SAFETY: the caller has made the field be there.
            unsafe { self.block().add(at).cast::<u64>().write_unaligned(at_ms) }
        }
    }

    /// Moves the value out and leaves an empty inline one in a block of that size.
    fn take_value(&mut self) -> Shaped<'static> {
        let shape = self.shape();
        // SAFETY: each arm moves out what the form says is there; `forget_value` makes the header say that nothing is left.
        unsafe {
            let value = self.block().add(shape.value_at);
            let taken = match Form::of(self.word()) {
                Form::Int => Shaped::Int(value.cast::<i64>().read_unaligned()),
                Form::Inline => {
                    let text = std::slice::from_raw_parts(value, shape.size - shape.value_at);
                    Shaped::InlineOwned(Bytes::copy_from_slice(text))
                }
                Form::Shared => Shaped::Shared(value.cast::<Bytes>().read()),
                Form::Growing => Shaped::Growing(value.cast::<BytesMut>().read()),
                form @ (Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash) => {
                    let bytes = std::slice::from_raw_parts(value, shape.size - shape.value_at);
                    Shaped::PackedOwned(form.kind(), Bytes::copy_from_slice(bytes))
                }
                Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => {
                    Shaped::Object(Box::from_raw(value.cast::<*mut Object>().read_unaligned()))
                }
            };
            self.forget_value(shape);
            taken
        }
    }

    /// Makes the value an empty inline one, without dropping what was there.
    ///
    /// # Safety
    /// `shape` is the present shape, and whatever the value owned was moved out or dropped.
    unsafe fn forget_value(&mut self, shape: Shape) {
        let empty = Shape::new(Lengths { value: 0, ..shape.lengths }, self.has_expiry(), Form::Inline);
        // SAFETY: the block shrinks to header and key, and the header says so.
        unsafe {
            self.resize_block(shape.size, empty.size);
            self.write_value(empty, Shaped::Inline(&[]));
        }
    }

    /// Another value, with or without room for an expiry. The expiry itself is for the caller to write when room is added.
    #[inline]
    fn replace(&mut self, value: Shaped<'_>, with_expiry: bool) {
        let old = self.shape();
        let Some(lengths) = old.lengths.with_value(value.inline_length()) else {
            return self.make_anew(value, with_expiry);
        };
        let new = Shape::new(lengths, with_expiry, value.form());
        // SAFETY: the old value is dropped once; the block is as large as the larger shape while the key moves, and has the new
        // shape when the header is written for it.
        unsafe {
            self.drop_owned(old);
            if new.size > old.size {
                self.resize_block(old.size, new.size);
            }
            if new.key_at != old.key_at {
                let block = self.block();
                ptr::copy(block.add(old.key_at), block.add(new.key_at), lengths.key);
                self.flip_expiry_bit();
            }
            if new.size < old.size {
                self.resize_block(old.size, new.size);
            }
            self.write_value(new, value);
        }
    }

    /// The same with a wide header.
    #[cold]
    fn make_anew(&mut self, value: Shaped<'_>, with_expiry: bool) {
        let expire_at_ms = with_expiry.then(|| self.expire_at_ms().unwrap_or_default());
        let mut wide = Self::shaped(self.tag(), self.key(), value, expire_at_ms, self.clock());
        wide.set_mark(self.mark());
        *self = wide;
    }

    /// Adds or removes the room for the expiry; key and value move together by 8 bytes, which keeps an aligned value aligned.
    fn shift_for_expiry(&mut self) {
        let old = self.shape();
        let new = Shape::new(old.lengths, !self.has_expiry(), Form::of(self.word()));
        // SAFETY: the block is as large as the larger shape while everything behind the header moves; flipping the bit makes the
        // pointer say what the block is.
        unsafe {
            if new.size > old.size {
                self.resize_block(old.size, new.size);
            }
            let block = self.block();
            ptr::copy(block.add(old.key_at), block.add(new.key_at), old.size - old.key_at);
            if new.size < old.size {
                self.resize_block(old.size, new.size);
            }
        }
        self.flip_expiry_bit();
    }

    fn flip_expiry_bit(&mut self) {
        self.set_bits(self.tagged.addr().get() & !ADDRESS ^ EXPIRY_BIT);
    }

    fn set_bits(&mut self, bits: usize) {
        let block = self.tagged.as_ptr().map_addr(|address| address & ADDRESS | bits);
        let Some(tagged) = NonNull::new(block) else { unreachable!("a block at address 0") };
        self.tagged = tagged;
    }

    /// # Safety
    /// `old` is the block's size; the header must be made true for `new`.
    #[inline]
    unsafe fn resize_block(&mut self, old: usize, new: usize) {
        if old == new {
            return;
        }
        // SAFETY: the block was allocated with the layout of `old`; sizes are not 0.
        let moved = unsafe { alloc::realloc(self.block(), layout(old), new) };
        let Some(moved) = NonNull::new(moved) else { alloc::handle_alloc_error(layout(new)) };
        self.tagged = tag_pointer(moved, self.tagged.addr().get() & !ADDRESS);
    }

    /// Writes value, form and lengths.
    ///
    /// # Safety
    /// The block has the shape, which was made for this value, and holds no value that owns anything.
    #[inline]
    unsafe fn write_value(&mut self, shape: Shape, value: Shaped<'_>) {
        let word = self.word() & (CLOCK_MASK | MARK_MASK) | (value.form() as u32) << Form::SHIFT;
        self.set_word(word);
        // SAFETY: the caller's promise; a pointer to `Bytes` or `BytesMut` is aligned by the shape.
        unsafe {
            shape.lengths.write(self.block());
            let at = self.block().add(shape.value_at);
            match value {
                Shaped::Int(number) => at.cast::<i64>().write_unaligned(number),
                Shaped::Inline(text) | Shaped::Packed(_, text) => {
                    ptr::copy_nonoverlapping(text.as_ptr(), at, text.len())
                }
                Shaped::InlineOwned(text) | Shaped::PackedOwned(_, text) => {
                    ptr::copy_nonoverlapping(text.as_ptr(), at, text.len())
                }
                Shaped::Object(object) => at.cast::<*mut Object>().write_unaligned(Box::into_raw(object)),
                Shaped::Shared(text) => at.cast::<Bytes>().write(text),
                Shaped::Growing(text) => at.cast::<BytesMut>().write(text),
            }
        }
    }

    /// # Safety
    /// `shape` is the present shape; the value must be overwritten or the block freed next.
    #[inline]
    unsafe fn drop_owned(&mut self, shape: Shape) {
        // SAFETY: drops what the form says is there, once.
        unsafe {
            let value = self.block().add(shape.value_at);
            match Form::of(self.word()) {
                Form::Int | Form::Inline => {}
                Form::PackedList | Form::PackedSet | Form::PackedZset | Form::PackedHash => {}
                Form::List | Form::Set | Form::Zset | Form::Hash | Form::Stream => {
                    graveyard::bury(Box::from_raw(value.cast::<*mut Object>().read_unaligned()));
                }
                Form::Shared => value.cast::<Bytes>().drop_in_place(),
                Form::Growing => value.cast::<BytesMut>().drop_in_place(),
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        debug_assert!(!self.is_lent(), "a lent entry is dropped");
        let shape = self.shape();
        // SAFETY: the entry owns the block, which has this shape, and nothing refers to it any more.
        unsafe {
            self.drop_owned(shape);
            alloc::dealloc(self.block(), layout(shape.size));
        }
    }
}

#[inline]
fn tag_pointer(block: NonNull<u8>, bits: usize) -> NonNull<u8> {
    // Linux hands out higher addresses only to those who ask for them.
    assert!(block.addr().get() <= ADDRESS, "an address of more than 48 bits");
    block.map_addr(|address| address | bits)
}

fn zero_extended(text: &[u8], min_length: usize) -> BytesMut {
    let mut long = BytesMut::zeroed(text.len().max(min_length));
    long[..text.len()].copy_from_slice(text);
    long
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
