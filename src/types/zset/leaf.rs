//! A leaf of the tree: up to [`MAX_LEN`] elements in order, eight bytes each.
//!
//! A slot is a pointer to an element, and in the 16 high bits that addresses do not use the element's *digest*: how far its [`Key`]
//! is from the leaf's base, in units of the leaf's own, chosen so that the leaf's elements spread over the 16 bits. A search therefore
//! looks at elements, each of which is a cache miss, only where digests tie. Leaves of one score leave the score and what all names
//! begin with out of it.
//!
//! Invariants
//! - live slots are in the order of their elements, and so are their digests
//! - every key of the leaf fits the frame (base, unit, skipped bytes); `skip` is 0 unless all elements have the same score, whose key
//!   is then the upper half of the base, and the same first `skip` bytes of name
//! - a leaf never owns elements: whoever can reach the leaf keeps them (see [`Leaf::insert`])
//! - leaves come in the sizes of [`CAPACITIES`], chosen to fill the allocator's size classes

use std::cmp::Ordering;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::element::ElementRef;
use super::order::{Key, Probe, common_prefix, key, score_key};
use crate::runtime::prefetch;

/// Leaf and count headers take 40 bytes; these fill 64, 128, 256, 512, 640, 768, 896 and 1024.
const CAPACITIES: [usize; 8] = [3, 11, 27, 59, 75, 91, 107, MAX_LEN];
/// Elements of the largest leaf. One that is larger spares nothing: searches end in one leaf, and a write moves half of it.
pub const MAX_LEN: usize = 123;
/// Bytes of a leaf's allocation before its slots, with the two counts of `Arc`.
const HEAD_BYTES: usize = 40;
/// A leaf that has shrunk keeps room for that many more elements.
const SPARE: usize = 8;

const SLOTS_PER_LINE: usize = 64 / size_of::<Slot>();
const DIGEST_BITS: u32 = 16;
const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - 1;

const _: () = assert!(usize::BITS == 64, "slots keep digests in the high bits of addresses");

#[derive(Clone, Copy, Debug)]
pub struct Slot(*mut u8);

// SAFETY: slots point to elements that are themselves `Send + Sync`, and only give shared references to them.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    const VACANT: Self = Self(ptr::null_mut());

    #[inline]
    fn new(element: ElementRef<'_>, digest: u16) -> Self {
        let at = element.raw().as_ptr();
        // User addresses of Linux have 47 bits, or 48 on some machines; larger ones only go to who asks for them.
        debug_assert!(at.addr() & !ADDRESS_MASK == 0);
        Self(at.map_addr(|addr| addr | usize::from(digest) << ADDRESS_BITS))
    }

    #[inline]
    fn digest(self) -> u16 {
        (self.0.addr() >> ADDRESS_BITS) as u16
    }

    #[inline]
    fn address(self) -> *mut u8 {
        self.0.map_addr(|addr| addr & ADDRESS_MASK)
    }
}

/// See the module. `S` is an array where leaves are made and a slice everywhere else.
#[derive(Debug)]
pub struct Leaf<S: ?Sized = [Slot]> {
    frame: Frame,
    len: u8,
    slots: S,
}

/// How keys become digests.
#[derive(Clone, Copy, Debug)]
struct Frame {
    base_score: u64,
    base_name: u64,
    /// Bytes of each name that the digest leaves out.
    skip: u32,
    /// Logarithm of the unit.
    shift: u8,
}

/// Where a key is in a frame.
#[derive(Clone, Copy, Debug)]
enum Place {
    Before,
    At(u16),
    Behind,
}

impl Frame {
    const NEW: Self = Self { base_score: 0, base_name: 0, skip: 0, shift: 0 };

    /// A frame for all between two elements and some more on either side, so that it need not change soon.
    fn around(first: ElementRef<'_>, last: ElementRef<'_>) -> Self {
        let one_score = score_key(first.score()) == score_key(last.score());
        let skip = if one_score { common_prefix(first.name(), last.name()) } else { 0 };
        let low = key(score_key(first.score()), &first.name()[skip..]);
        let high = key(score_key(last.score()), &last.name()[skip..]);
        let range = high - low;
        let bits = Key::BITS - range.leading_zeros() + 1;
        let shift = bits.saturating_sub(DIGEST_BITS).min(Key::BITS - DIGEST_BITS);
        let span = Key::MAX >> (Key::BITS - DIGEST_BITS - shift);
        let slack = (span - range) / 2;
        // For leaves of one score the base stays within the score.
        let base = if one_score { low - slack.min(Key::from(low as u64)) } else { low.saturating_sub(slack) };
        Self { base_score: (base >> 64) as u64, base_name: base as u64, skip: skip as u32, shift: shift as u8 }
    }

    /// `first` gives any element of the leaf; it is asked for only if names are needed.
    #[inline]
    fn place<'a>(&self, probe: &Probe<'_>, first: impl FnOnce() -> ElementRef<'a>) -> Place {
        let skip = self.skip as usize;
        if skip > 0 {
            let order = probe.score.cmp(&self.base_score).then_with(|| {
                let shared = &first().name()[..skip];
                // A name that ends within the shared bytes is never equal to them.
                probe.name.get(..skip).unwrap_or(probe.name).cmp(shared)
            });
            match order {
                Ordering::Less => return Place::Before,
                Ordering::Greater => return Place::Behind,
                Ordering::Equal => {}
            }
        }
        self.place_of_key(key(probe.score, &probe.name[skip..]))
    }

    #[inline]
    fn place_of_key(&self, key: Key) -> Place {
        let base = Key::from(self.base_score) << 64 | Key::from(self.base_name);
        match key.checked_sub(base) {
            None => Place::Before,
            Some(above) => u16::try_from(above >> self.shift).map_or(Place::Behind, Place::At),
        }
    }

    /// The digest of an element that the frame was made for.
    #[inline]
    fn digest(&self, element: ElementRef<'_>) -> u16 {
        match self.place_of_key(key(score_key(element.score()), &element.name()[self.skip as usize..])) {
            Place::At(digest) => digest,
            Place::Before | Place::Behind => unreachable!("an element outside of its leaf's frame"),
        }
    }
}

fn allocate(capacity: usize) -> Arc<Leaf> {
    fn of<const N: usize>() -> Arc<Leaf> {
        Arc::new(Leaf { frame: Frame::NEW, len: 0, slots: [Slot::VACANT; N] })
    }
    match CAPACITIES.iter().position(|size| *size >= capacity) {
        Some(0) => of::<{ CAPACITIES[0] }>(),
        Some(1) => of::<{ CAPACITIES[1] }>(),
        Some(2) => of::<{ CAPACITIES[2] }>(),
        Some(3) => of::<{ CAPACITIES[3] }>(),
        Some(4) => of::<{ CAPACITIES[4] }>(),
        Some(5) => of::<{ CAPACITIES[5] }>(),
        Some(6) => of::<{ CAPACITIES[6] }>(),
        _ => of::<{ CAPACITIES[7] }>(),
    }
}

impl Leaf {
    pub fn empty() -> Arc<Self> {
        allocate(0)
    }

    /// A leaf of one element. The contract is that of [`Leaf::insert`].
    ///
    /// # Safety
    /// See [`Leaf::insert`].
    pub unsafe fn single(element: ElementRef<'_>) -> Arc<Self> {
        let mut leaf = allocate(1);
        // SAFETY: the caller's.
        unsafe { Self::insert(&mut leaf, 0, element) };
        leaf
    }

    /// The elements of these slots, in the smallest leaf that has room for them and a few more.
    fn of(parts: [&[Slot]; 2]) -> Arc<Self> {
        let len = parts[0].len() + parts[1].len();
        let mut leaf = allocate((len + SPARE).min(MAX_LEN));
        let new = own(&mut leaf);
        new.slots[..parts[0].len()].copy_from_slice(parts[0]);
        new.slots[parts[0].len()..len].copy_from_slice(parts[1]);
        new.len = len as u8;
        new.reframe();
        leaf
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bytes of its allocation.
    pub fn heap_bytes(&self) -> usize {
        HEAD_BYTES + size_of_val(&self.slots)
    }

    #[inline]
    fn live(&self) -> &[Slot] {
        &self.slots[..usize::from(self.len)]
    }

    #[inline]
    pub fn get(&self, at: usize) -> ElementRef<'_> {
        self.element(self.live()[at])
    }

    /// `slot` is a live one of this leaf.
    #[inline]
    fn element(&self, slot: Slot) -> ElementRef<'_> {
        // SAFETY: the slot was made of an element's pointer, which is not null, and by the contract of `insert` that element lives
        // unchanged while this leaf can be reached, so for as long as `self` is borrowed.
        unsafe { ElementRef::from_raw(NonNull::new_unchecked(slot.address())) }
    }

    /// Asks for the cache line of an element that will be read soon.
    #[inline]
    pub fn prefetch(&self, at: usize) {
        if let Some(slot) = self.live().get(at) {
            prefetch::line(slot.address());
        }
    }

    /// Asks for all slots at once: a search would otherwise wait for some four lines of them one after the other.
    #[inline]
    fn prefetch_digests(&self) {
        self.live().chunks(SLOTS_PER_LINE).for_each(|line| prefetch::line(line.as_ptr()));
    }

    /// How many elements are before the probe.
    #[inline]
    pub fn position(&self, probe: &Probe<'_>) -> usize {
        let live = self.live();
        let Some(&first) = live.first() else { return 0 };
        self.prefetch_digests();
        let digest = match self.frame.place(probe, || self.element(first)) {
            Place::Before => return 0,
            Place::Behind => return live.len(),
            Place::At(digest) => digest,
        };
        let from = live.partition_point(|slot| slot.digest() < digest);
        let ties = live[from..].iter().take_while(|slot| slot.digest() == digest).count();
        from + live[from..from + ties].partition_point(|slot| probe.order_of(self.element(*slot)) == Ordering::Less)
    }

    /// How many elements are before the first whose name is refused; names must be in order.
    pub fn position_by_name(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.live().partition_point(|slot| before(self.element(*slot).name()))
    }

    /// Inserts an element before the one at `at`; the leaf must not be full. `leaf` is replaced if it is shared or has no room.
    ///
    /// # Safety
    /// An owner of the element must stay alive, and must not change the element, until the element is removed from this leaf and from
    /// every leaf that is made from it by cloning the `Arc`, by splitting or by appending; or until these are no longer read.
    pub unsafe fn insert(leaf: &mut Arc<Self>, at: usize, element: ElementRef<'_>) {
        let len = leaf.len();
        debug_assert!(len < MAX_LEN && at <= len);
        if len == leaf.slots.len() {
            *leaf = leaf.copy(len + 1);
        }
        let leaf = own(leaf);
        let place = if len == 0 {
            Place::Before
        } else {
            leaf.frame.place(&Probe::of(element.score(), element.name()), || leaf.get(0))
        };
        let (digest, fits) = match place {
            Place::At(digest) => (digest, true),
            Place::Before | Place::Behind => (0, false),
        };
        leaf.slots.copy_within(at..len, at + 1);
        leaf.slots[at] = Slot::new(element, digest);
        leaf.len += 1;
        if !fits {
            leaf.reframe();
        }
    }

    /// Removes elements. `leaf` is replaced if it is shared or far too large for what is left.
    pub fn remove(leaf: &mut Arc<Self>, range: Range<usize>) {
        let left = leaf.len() - range.len();
        let new = own(leaf);
        new.slots.copy_within(range.end..usize::from(new.len), range.start);
        new.len = left as u8;
        if left * 2 < new.slots.len() && left + SPARE < new.slots.len() {
            *leaf = leaf.copy(left + SPARE);
        }
    }

    /// The elements before `at`, and the others.
    pub fn split(&self, at: usize) -> (Arc<Self>, Arc<Self>) {
        let (left, right) = self.live().split_at(at);
        (Self::of([left, &[]]), Self::of([right, &[]]))
    }

    /// The elements of this one and then those of another that is behind it; no more than [`MAX_LEN`] in all.
    pub fn append(&self, right: &Self) -> Arc<Self> {
        Self::of([self.live(), right.live()])
    }

    /// The same in a leaf with room for `capacity`.
    fn copy(&self, capacity: usize) -> Arc<Self> {
        let mut copy = allocate(capacity);
        let new = own(&mut copy);
        new.frame = self.frame;
        new.len = self.len;
        new.slots[..self.len()].copy_from_slice(self.live());
        copy
    }

    /// Makes a frame for the elements that are here now.
    fn reframe(&mut self) {
        let len = usize::from(self.len);
        if len == 0 {
            return;
        }
        self.frame = Frame::around(self.get(0), self.get(len - 1));
        for at in 0..len {
            let element = self.get(at);
            self.slots[at] = Slot::new(element, self.frame.digest(element));
        }
    }
}

/// The leaf for writing: a copy if anybody else has it.
fn own(leaf: &mut Arc<Leaf>) -> &mut Leaf {
    if Arc::get_mut(leaf).is_none() {
        *leaf = leaf.copy(leaf.slots.len());
    }
    Arc::get_mut(leaf).expect("a leaf just made is not shared")
}
