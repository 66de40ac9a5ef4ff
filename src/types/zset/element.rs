//! An element of a full sorted set: score and name in one allocation that is counted.
//!
//! Invariants
//! - the allocation is `[count: u32][score: f64][length][name]`; a length below 255 is one byte, others are 255 and four bytes
//! - the count is the number of [`Scored`] for the allocation; it is freed with the last
//! - name and count never change place; the score changes only while the one [`Scored`] there is is borrowed mutably
//!
//! The count is as wide as it is so that no clone is ever a copy: leaves of the tree know elements by their address.
//!
//! A [`Scored`] owns; an [`ElementRef`] borrows from whatever keeps a `Scored` of the same allocation alive.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::runtime::memory::good_size;
use crate::runtime::prefetch;
use crate::types::dict::Element;

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - 1;
const SCORE_AT: usize = 4;
const LENGTH_AT: usize = 12;
/// The one-byte length that says that four bytes of length follow.
const LONG: u8 = u8::MAX;
const NAME_AT: usize = LENGTH_AT + 1;
const LONG_NAME_AT: usize = NAME_AT + 4;
/// Counts stay far from wrapping: as many threads as there can be cannot each add one between the check and the abort.
const MAX_COUNT: u32 = i32::MAX as u32;

/// Owns a count of an element. The high bits of the pointer are the dictionary's tag.
#[derive(Debug)]
pub struct Scored(NonNull<u8>);

const _: () = assert!(usize::BITS == 64, "pointers have 16 bits that addresses do not use");

// SAFETY: the count is atomic, and all else is only changed through `&mut Scored` while the count is 1, so no other thread can see it.
unsafe impl Send for Scored {}
// SAFETY: as above; a shared `Scored` only reads and counts.
unsafe impl Sync for Scored {}

/// A borrowed element.
#[derive(Clone, Copy, Debug)]
pub struct ElementRef<'a> {
    at: NonNull<u8>,
    owner: PhantomData<&'a Scored>,
}

fn layout(name_len: usize) -> Layout {
    let head = if name_len < usize::from(LONG) { NAME_AT } else { LONG_NAME_AT };
    match Layout::from_size_align(head + name_len, align_of::<AtomicU32>()) {
        Ok(layout) => layout,
        Err(_) => panic!("a name of {name_len} bytes"),
    }
}

impl Scored {
    pub fn new(score: f64, name: &[u8]) -> Self {
        let layout = layout(name.len());
        // SAFETY: the layout has room for a count, a score and a length, so it is not of size 0.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: all writes are inside of the allocation just made, which `layout` sized for this name; it is aligned for the
        // count, and the others are written unaligned.
        unsafe {
            at.cast::<AtomicU32>().write(AtomicU32::new(1));
            at.add(SCORE_AT).cast::<f64>().write_unaligned(score);
            let to = if name.len() < usize::from(LONG) {
                at.add(LENGTH_AT).write(name.len() as u8);
                at.add(NAME_AT)
            } else {
                let Ok(length) = u32::try_from(name.len()) else { panic!("a name of {} bytes", name.len()) };
                at.add(LENGTH_AT).write(LONG);
                at.add(NAME_AT).cast::<u32>().write_unaligned(length);
                at.add(LONG_NAME_AT)
            };
            to.copy_from_nonoverlapping(NonNull::from(name).cast(), name.len());
        }
        debug_assert!(at.addr().get() & !ADDRESS_MASK == 0);
        Self(at)
    }

    #[inline]
    fn address(&self) -> NonNull<u8> {
        // SAFETY: the tag is beside the address, and that was not null.
        unsafe { NonNull::new_unchecked(self.0.as_ptr().map_addr(|addr| addr & ADDRESS_MASK)) }
    }

    #[inline]
    pub fn borrow(&self) -> ElementRef<'_> {
        ElementRef { at: self.address(), owner: PhantomData }
    }

    #[inline]
    pub fn score(&self) -> f64 {
        self.borrow().score()
    }

    /// Changes the score where it is, unless anybody else has the element.
    pub fn try_set_score(&mut self, score: f64) -> bool {
        // Acquire: what other owners read before they gave up their count happened before our write.
        let alone = self.count().load(Ordering::Acquire) == 1;
        if alone {
            // SAFETY: this is the only `Scored` of the allocation, it is borrowed mutably, and references borrow from a `Scored`.
            unsafe { self.address().add(SCORE_AT).cast::<f64>().write_unaligned(score) };
        }
        alone
    }

    #[inline]
    fn count(&self) -> &AtomicU32 {
        // SAFETY: the allocation begins with its count, aligned, and lives at least as long as this owner.
        unsafe { self.address().cast::<AtomicU32>().as_ref() }
    }
}

impl Clone for Scored {
    #[inline]
    fn clone(&self) -> Self {
        if self.count().fetch_add(1, Ordering::Relaxed) > MAX_COUNT {
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for Scored {
    #[inline]
    fn drop(&mut self) {
        if self.count().fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let layout = layout(self.borrow().name().len());
        // SAFETY: that was the last owner, and the allocation was made with the layout of its name's length.
        unsafe { dealloc(self.address().as_ptr(), layout) };
    }
}

impl Element for Scored {
    #[inline]
    fn name(&self) -> &[u8] {
        self.borrow().name()
    }

    #[inline]
    fn tag(&self) -> u16 {
        (self.0.addr().get() >> ADDRESS_BITS) as u16
    }

    #[inline]
    fn set_tag(&mut self, tag: u16) {
        let tagged = self.address().as_ptr().map_addr(|addr| addr | usize::from(tag) << ADDRESS_BITS);
        // SAFETY: the address part is not null.
        self.0 = unsafe { NonNull::new_unchecked(tagged) };
    }

    fn heap_bytes(&self) -> usize {
        good_size(layout(self.borrow().name().len()).size())
    }

    #[inline]
    fn prefetch(&self) {
        prefetch::line(self.address().as_ptr());
    }
}

impl<'a> ElementRef<'a> {
    /// # Safety
    /// `at` comes from [`ElementRef::raw`], and a `Scored` of that allocation stays alive for `'a` without being borrowed mutably.
    #[inline]
    pub unsafe fn from_raw(at: NonNull<u8>) -> Self {
        Self { at, owner: PhantomData }
    }

    #[inline]
    pub fn raw(self) -> NonNull<u8> {
        self.at
    }

    #[inline]
    pub fn score(self) -> f64 {
        // SAFETY: an owner keeps the allocation alive and unchanged for `'a`; the score is at that place of each.
        unsafe { self.at.add(SCORE_AT).cast::<f64>().read_unaligned() }
    }

    #[inline]
    pub fn name(self) -> &'a [u8] {
        // SAFETY: as for the score; length and name were written by `Scored::new` and never change.
        unsafe {
            let length = self.at.add(LENGTH_AT).read();
            if length != LONG {
                return NonNull::slice_from_raw_parts(self.at.add(NAME_AT), usize::from(length)).as_ref();
            }
            let length = self.at.add(NAME_AT).cast::<u32>().read_unaligned();
            NonNull::slice_from_raw_parts(self.at.add(LONG_NAME_AT), length as usize).as_ref()
        }
    }

    /// Another owner of the same element.
    #[inline]
    pub fn to_owner(self) -> Scored {
        // The borrowed owner must not be dropped here, only cloned.
        Scored::clone(&std::mem::ManuallyDrop::new(Scored(self.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_class() {
        for length in [0, 1, 14, 254, 255, 256, 70_000] {
            let name = vec![b'n'; length];
            let element = Scored::new(1.5, &name);
            let other = element.clone();
            drop(element);
            assert_eq!((other.score(), other.name()), (1.5, &name[..]));
        }
    }

    #[test]
    fn a_score_changes_in_place_only_for_a_single_owner() {
        let mut element = Scored::new(1.0, b"name");
        let other = element.borrow().to_owner();
        assert!(!element.try_set_score(2.0));
        drop(other);
        assert!(element.try_set_score(2.0));
        assert_eq!(element.score(), 2.0);
    }
}
