//! Blocks of exactly the size of a segment's two largest tables, cut from slabs of 64 KiB, which are cut from mapped chunks of 4 MiB.
//!
//! A general allocator rounds 1168 bytes up to 1280, which alone would cost 2 bytes a key. Everything else goes to it.
//!
//! Invariants
//! - slabs and chunks stand at multiples of their sizes, so a block finds the heads of both by masking its address
//! - a slab is in its class's list of usable slabs unless all of its blocks are taken
//! - an empty slab's memory goes back to the system, except for the last usable one of its class; its addresses stay the chunk's
//! - a chunk is in the list of chunks unless all of its slabs are in use; an unused one is unmapped, except for the last in the list
//! - the first slab of a chunk holds nothing but the chunk's head
//!
//! A slab belongs to the thread that mapped it; a table is not `Send` because of its allocator, so no other thread frees into it.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use allocator_api2::alloc::{AllocError, Allocator, Global};

use crate::runtime::memory;

const SLAB_BYTES: usize = 64 << 10;
/// As many slabs as a word has bits. Larger than a slab so that a large keyspace takes few of the system's limited number of mappings.
const CHUNK_BYTES: usize = SLAB_BYTES * u64::BITS as usize;
/// All slabs but the first, which holds the chunk's head.
const ALL_VACANT: u64 = !1;
const HEAD_BYTES: usize = 64;
const CLASSES: [usize; 2] = [592, 1168];
/// Smaller sizes that are still served from a class: machines with 8-byte control groups have slightly smaller tables.
const SLACK_BYTES: usize = 16;
/// Strictest alignment of a block: control bytes are loaded 16 at a time.
const BLOCK_ALIGN: usize = 16;

#[repr(C)]
struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    /// Blocks that were given back, linked through their first word.
    free: *mut u8,
    /// Blocks from here on were never handed out.
    fresh: u32,
    taken: u32,
    class: u32,
}

#[repr(C)]
struct Chunk {
    next: *mut Chunk,
    previous: *mut Chunk,
    /// A bit for each slab not in use.
    vacant: u64,
}

const _: () = assert!(size_of::<Slab>() <= HEAD_BYTES && HEAD_BYTES.is_multiple_of(BLOCK_ALIGN));

const fn blocks(class: usize) -> u32 {
    ((SLAB_BYTES - HEAD_BYTES) / CLASSES[class]) as u32
}

struct Pool {
    usable: [*mut Slab; CLASSES.len()],
    chunks: *mut Chunk,
}

thread_local! {
    // Constant and without a destructor: usable at any moment of a thread's life.
    static POOL: UnsafeCell<Pool> = const { UnsafeCell::new(Pool::NEW) };
}

/// The allocator of segment tables. Not `Send`: see the module's invariants.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolAlloc(PhantomData<*mut ()>);

impl PoolAlloc {
    pub const NEW: PoolAlloc = PoolAlloc(PhantomData);
}

fn class_of(layout: Layout) -> Option<usize> {
    let fits = |class: &usize| layout.size() <= *class && layout.size() + SLACK_BYTES > *class;
    (layout.align() <= BLOCK_ALIGN).then(|| CLASSES.iter().position(fits)).flatten()
}

// SAFETY: a block is exclusively the caller's until it is given back; blocks of a class are at least as large and as
// aligned as every layout that `class_of` puts there; copies of the allocator all use the thread's one pool.
unsafe impl Allocator for PoolAlloc {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let Some(class) = class_of(layout) else { return Global.allocate(layout) };
        // SAFETY: the pool is only ever touched in here and in `deallocate`, neither of which calls back.
        let block = POOL.with(|pool| unsafe { (*pool.get()).take(class) }).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if class_of(layout).is_none() {
            // SAFETY: the caller's promise; `allocate` took the same branch for this layout.
            return unsafe { Global.deallocate(block, layout) };
        }
        // SAFETY: as in `allocate`; the block came from a slab of this thread.
        POOL.with(|pool| unsafe { (*pool.get()).give_back(block) });
    }
}

impl Pool {
    const NEW: Self = Self { usable: [ptr::null_mut(); CLASSES.len()], chunks: ptr::null_mut() };

    /// # Safety
    /// The pool's slabs are valid and nothing else refers to their heads.
    unsafe fn take(&mut self, class: usize) -> Option<NonNull<u8>> {
        if self.usable[class].is_null() {
            // SAFETY: the caller's promise, which covers chunks too.
            self.usable[class] = unsafe { self.new_slab(class)? };
        }
        let slab = self.usable[class];
        // SAFETY: a usable slab is mapped and has a free block: in its list, or a fresh one inside the mapping.
        unsafe {
            let block = if (*slab).free.is_null() {
                let block = slab.cast::<u8>().add(HEAD_BYTES + (*slab).fresh as usize * CLASSES[class]);
                (*slab).fresh += 1;
                block
            } else {
                let block = (*slab).free;
                (*slab).free = block.cast::<*mut u8>().read();
                block
            };
            (*slab).taken += 1;
            if (*slab).taken == blocks(class) {
                self.unlink(slab, class);
            }
            NonNull::new(block)
        }
    }

    /// # Safety
    /// The block was taken from this pool and is not used any more.
    unsafe fn give_back(&mut self, block: NonNull<u8>) {
        let block = block.as_ptr();
        let slab = block.map_addr(|address| address & !(SLAB_BYTES - 1)).cast::<Slab>();
        // SAFETY: the block lies in a slab of this pool, whose head is at the masked address.
        unsafe {
            let class = (*slab).class as usize;
            if (*slab).taken == blocks(class) {
                self.link(slab, class);
            }
            block.cast::<*mut u8>().write((*slab).free);
            (*slab).free = block;
            (*slab).taken -= 1;
            let only = (*slab).next.is_null() && (*slab).previous.is_null();
            if (*slab).taken == 0 && !only {
                self.unlink(slab, class);
                self.give_back_slab(slab);
            }
        }
    }

    /// # Safety
    /// The slab is valid and in no list.
    unsafe fn link(&mut self, slab: *mut Slab, class: usize) {
        let next = self.usable[class];
        // SAFETY: the caller's promise; list members are valid.
        unsafe {
            (*slab).next = next;
            (*slab).previous = ptr::null_mut();
            if !next.is_null() {
                (*next).previous = slab;
            }
        }
        self.usable[class] = slab;
    }

    /// # Safety
    /// The slab is in the list of its class.
    unsafe fn unlink(&mut self, slab: *mut Slab, class: usize) {
        // SAFETY: the caller's promise; list members are valid.
        unsafe {
            let (next, previous) = ((*slab).next, (*slab).previous);
            if previous.is_null() {
                self.usable[class] = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            (*slab).next = ptr::null_mut();
            (*slab).previous = ptr::null_mut();
        }
    }
}

impl Pool {
    /// A new slab, in no list.
    ///
    /// # Safety
    /// The pool's chunks are valid and nothing else refers to their heads.
    unsafe fn new_slab(&mut self, class: usize) -> Option<*mut Slab> {
        if self.chunks.is_null() {
            // SAFETY: the new chunk is valid and in no list.
            unsafe { self.link_chunk(map_chunk()?) };
        }
        let chunk = self.chunks;
        // SAFETY: a listed chunk is mapped and has a vacant slab, which is writable and larger than its head.
        unsafe {
            let index = (*chunk).vacant.trailing_zeros();
            (*chunk).vacant &= !(1 << index);
            if (*chunk).vacant == 0 {
                self.unlink_chunk(chunk);
            }
            let slab = chunk.byte_add(index as usize * SLAB_BYTES).cast::<Slab>();
            let (next, previous) = (ptr::null_mut(), ptr::null_mut());
            slab.write(Slab { next, previous, free: ptr::null_mut(), fresh: 0, taken: 0, class: class as u32 });
            memory::adjust(SLAB_BYTES as i64);
            Some(slab)
        }
    }

    /// # Safety
    /// The slab is one of this pool's, in no list, and none of its blocks is taken.
    unsafe fn give_back_slab(&mut self, slab: *mut Slab) {
        let chunk = slab.map_addr(|address| address & !(CHUNK_BYTES - 1)).cast::<Chunk>();
        memory::adjust(-(SLAB_BYTES as i64));
        // SAFETY: the slab lies in a chunk of this pool, whose head is at the masked address; nothing uses the slab any more, so
        // losing what is in it changes nothing.
        unsafe {
            // Should the system refuse, the memory stays resident until the slab is used again.
            libc::madvise(slab.cast(), SLAB_BYTES, libc::MADV_DONTNEED);
            if (*chunk).vacant == 0 {
                self.link_chunk(chunk);
            }
            let index = (slab.addr() - chunk.addr()) / SLAB_BYTES;
            (*chunk).vacant |= 1 << index;
            let only = (*chunk).next.is_null() && (*chunk).previous.is_null();
            if (*chunk).vacant == ALL_VACANT && !only {
                self.unlink_chunk(chunk);
                unmap(chunk.cast(), CHUNK_BYTES);
            }
        }
    }

    /// # Safety
    /// The chunk is valid and in no list.
    unsafe fn link_chunk(&mut self, chunk: *mut Chunk) {
        let next = self.chunks;
        // SAFETY: the caller's promise; list members are valid.
        unsafe {
            (*chunk).next = next;
            (*chunk).previous = ptr::null_mut();
            if !next.is_null() {
                (*next).previous = chunk;
            }
        }
        self.chunks = chunk;
    }

    /// # Safety
    /// The chunk is in the list.
    unsafe fn unlink_chunk(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller's promise; list members are valid.
        unsafe {
            let (next, previous) = ((*chunk).next, (*chunk).previous);
            if previous.is_null() {
                self.chunks = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            (*chunk).next = ptr::null_mut();
            (*chunk).previous = ptr::null_mut();
        }
    }
}

/// Maps twice the size and trims, since the system aligns to pages only.
fn map_chunk() -> Option<*mut Chunk> {
    let wide = map(2 * CHUNK_BYTES)?.as_ptr();
    let before = wide.addr().next_multiple_of(CHUNK_BYTES) - wide.addr();
    // SAFETY: both trimmed parts lie in the new mapping, outside of the chunk that is kept, which is writable.
    unsafe {
        let chunk = wide.add(before);
        unmap(wide, before);
        unmap(chunk.add(CHUNK_BYTES), CHUNK_BYTES - before);
        let chunk = chunk.cast::<Chunk>();
        chunk.write(Chunk { next: ptr::null_mut(), previous: ptr::null_mut(), vacant: ALL_VACANT });
        Some(chunk)
    }
}

fn map(bytes: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

/// # Safety
/// The range is mapped by [`map`] and in no use.
unsafe fn unmap(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's promise.
        let outcome = unsafe { libc::munmap(start.cast(), bytes) };
        // Splitting a mapping can exceed the system's limit of mappings; then the range merely stays mapped.
        debug_assert_eq!(outcome, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slabs(class: usize) -> usize {
        POOL.with(|pool| {
            // SAFETY: no other reference to this thread's pool exists here.
            let mut slab = unsafe { (&(*pool.get()).usable)[class] };
            let mut count = 0;
            while !slab.is_null() {
                count += 1;
                // SAFETY: list members are valid.
                slab = unsafe { (*slab).next };
            }
            count
        })
    }

    #[test]
    fn blocks_are_distinct_and_slabs_go_back() {
        for (class, size) in CLASSES.into_iter().enumerate() {
            let layout = Layout::from_size_align(size, 16).expect("a layout");
            let mut taken: Vec<NonNull<[u8]>> =
                (0..1000).map(|_| PoolAlloc::NEW.allocate(layout).expect("memory")).collect();
            for (i, block) in taken.iter().enumerate() {
                assert!(block.cast::<u8>().addr().get().is_multiple_of(16));
                // SAFETY: the block is ours and that large.
                unsafe { block.cast::<u8>().as_ptr().write_bytes(i as u8, size) };
            }
            taken.sort_by_key(|block| block.cast::<u8>().addr());
            for pair in taken.windows(2) {
                assert!(pair[1].cast::<u8>().addr().get() - pair[0].cast::<u8>().addr().get() >= size);
            }
            for block in taken {
                // SAFETY: allocated above with this layout, freed once.
                unsafe { PoolAlloc::NEW.deallocate(block.cast(), layout) };
            }
            assert_eq!(slabs(class), 1);
        }
    }

    #[test]
    fn chunks_go_back() {
        let chunks = || {
            POOL.with(|pool| {
                // SAFETY: no other reference to this thread's pool exists here; list members are valid.
                let mut chunk = unsafe { (*pool.get()).chunks };
                let mut count = 0;
                while !chunk.is_null() {
                    count += 1;
                    chunk = unsafe { (*chunk).next };
                }
                count
            })
        };
        let layout = Layout::from_size_align(CLASSES[1], 16).expect("a layout");
        let blocks_of_chunk = blocks(1) as usize * 63;
        for _ in 0..2 {
            let taken: Vec<NonNull<[u8]>> =
                (0..3 * blocks_of_chunk).map(|_| PoolAlloc::NEW.allocate(layout).expect("memory")).collect();
            assert_eq!(chunks(), 0, "three full chunks");
            let more = PoolAlloc::NEW.allocate(layout).expect("memory");
            assert_eq!(chunks(), 1);
            for block in taken.into_iter().chain([more]) {
                // SAFETY: allocated above with this layout, freed once.
                unsafe { PoolAlloc::NEW.deallocate(block.cast(), layout) };
            }
            assert_eq!(chunks(), 1, "all but the one that holds the last usable slab");
            // Back to a pool without any slab in use, so that the second round starts like the first.
            POOL.with(|pool| {
                // SAFETY: no block of this thread's pool is taken, so the slab is unused.
                unsafe {
                    let slab = (&(*pool.get()).usable)[1];
                    (*pool.get()).unlink(slab, 1);
                    (*pool.get()).give_back_slab(slab);
                }
            });
        }
    }

    #[test]
    fn other_sizes_are_not_pooled() {
        for size in [52, 304, 576, 593, 1152, 1169, 2320] {
            assert_eq!(class_of(Layout::from_size_align(size, 16).expect("a layout")), None);
        }
    }
}
