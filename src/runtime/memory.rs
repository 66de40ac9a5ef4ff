//! The global allocator: mimalloc, with an exact count of the bytes it has handed out.
//!
//! Invariants
//! - every block is counted by its size class (what mimalloc really sets aside), computed from the layout alone, so the
//!   count of a free always equals the count of its allocation
//! - a thread counts into a slot that only it writes; a block freed by another thread than its allocator makes one slot
//!   negative and another too large, and the sum stays exact
//! - a slot outlives its thread with its count in it, and the next thread that claims it counts on from there
//!
//! Memory that does not come from the allocator (mappings of our own) is added with [`adjust`].

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use mimalloc::MiMalloc;

/// Threads that count without contention; any further ones share a slot of their own. A node has a thread per core and a few more.
const SLOTS: usize = 256;

/// Up to here a block's size class is computed here; above, mimalloc is asked.
const COMPUTED_CLASSES_BYTES: usize = 32 << 10;

/// A pair of cache lines, since the prefetcher fetches them in pairs.
#[repr(align(128))]
struct Slot {
    bytes: AtomicI64,
    owned: AtomicBool,
}

static REGISTRY: [Slot; SLOTS] = [const { Slot { bytes: AtomicI64::new(0), owned: AtomicBool::new(false) } }; SLOTS];
/// For threads without a slot: those beyond `SLOTS`, and those whose slot is already given back at their end.
static SHARED: Slot = Slot { bytes: AtomicI64::new(0), owned: AtomicBool::new(true) };
/// Slots at or above this were never claimed.
static CLAIMED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Constant and without a destructor, so it can be used at any moment of a thread's life.
    static MINE: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static RELEASE: Release = const { Release };
}

/// Gives the thread's slot back when the thread ends.
struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(slot) = MINE.replace(Some(&SHARED))
            && !std::ptr::eq(slot, &SHARED)
        {
            slot.owned.store(false, Ordering::Release);
        }
    }
}

/// mimalloc with counters; to be installed as the `#[global_allocator]`.
///
/// mimalloc aligns every block to its class, up to 16 bytes, but its *aligned* entry points do not rely on that: asked for 96 bytes
/// aligned to 8 they hand out a block of 112. So they are only used for stricter alignments.
pub struct Counting;

/// Whether mimalloc's plain blocks of that size are aligned enough.
#[inline]
fn is_plain(layout: Layout) -> bool {
    layout.align() <= 8 || (layout.align() <= 16 && layout.size() > 8)
}

// SAFETY: every method passes its arguments on to mimalloc, which upholds the contract; plain blocks are only used where their
// alignment suffices, and either kind may be given to `mi_free` and `mi_realloc`. Counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { if is_plain(layout) { mi_malloc(layout.size()) } else { MiMalloc.alloc(layout) } };
        debug_assert!(block.addr().is_multiple_of(layout.align()));
        count_new(block, layout)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { if is_plain(layout) { mi_zalloc(layout.size()) } else { MiMalloc.alloc_zeroed(layout) } };
        debug_assert!(block.addr().is_multiple_of(layout.align()));
        count_new(block, layout)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        adjust(-(good_size(layout.size()) as i64));
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let plain = is_plain(layout) && (layout.align() <= 8 || new_size > 8);
        // SAFETY: the caller's promise.
        let moved =
            unsafe { if plain { mi_realloc(block, new_size) } else { MiMalloc.realloc(block, layout, new_size) } };
        if !moved.is_null() {
            adjust(good_size(new_size) as i64 - good_size(layout.size()) as i64);
        }
        moved
    }
}

#[inline]
fn count_new(block: *mut u8, layout: Layout) -> *mut u8 {
    if !block.is_null() {
        adjust(good_size(layout.size()) as i64);
    }
    block
}

/// Counts bytes that were obtained (or, negative, given back) past the allocator.
#[inline]
pub fn adjust(bytes: i64) {
    let slot = MINE.get().unwrap_or_else(claim);
    if std::ptr::eq(slot, &SHARED) {
        slot.bytes.fetch_add(bytes, Ordering::Relaxed);
    } else {
        // Only this thread writes the slot, so no atomic addition is needed.
        slot.bytes.store(slot.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

#[cold]
fn claim() -> &'static Slot {
    let free = |slot: &&Slot| {
        !slot.owned.load(Ordering::Relaxed)
            && slot.owned.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    let found = REGISTRY.iter().enumerate().find(|(_, slot)| free(slot));
    let Some((index, slot)) = found else {
        MINE.set(Some(&SHARED));
        return &SHARED;
    };
    CLAIMED.fetch_max(index + 1, Ordering::Release);
    // Set first: registering the destructor may itself allocate.
    MINE.set(Some(slot));
    if RELEASE.try_with(|_| ()).is_err() {
        // The thread is already past its destructors: nobody would give the slot back.
        MINE.set(Some(&SHARED));
        slot.owned.store(false, Ordering::Release);
        return &SHARED;
    }
    slot
}

/// Bytes handed out and not yet freed, over all threads. Exact when no thread allocates meanwhile.
pub fn used_bytes() -> usize {
    let claimed = CLAIMED.load(Ordering::Acquire);
    let own: i64 = REGISTRY[..claimed].iter().map(|slot| slot.bytes.load(Ordering::Relaxed)).sum();
    usize::try_from(own + SHARED.bytes.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Notes the present use and returns the largest that was ever noted. To be called by a timer and before peaks are shown.
pub fn peak_bytes() -> usize {
    let used = used_bytes();
    PEAK.fetch_max(used, Ordering::Relaxed).max(used)
}

/// Bytes of the process in physical memory, from `/proc/self/statm`.
pub fn resident_bytes() -> std::io::Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_ascii_whitespace().nth(1).and_then(|field| field.parse::<usize>().ok());
    let pages = pages
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "/proc/self/statm: no resident field"))?;
    // SAFETY: sysconf has no preconditions.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages * usize::try_from(page_bytes).unwrap_or(4096))
}

/// Bytes that each counting thread has handed out, less what it freed; for MEMORY MALLOC-STATS.
pub fn by_thread() -> Vec<i64> {
    let claimed = CLAIMED.load(Ordering::Acquire);
    REGISTRY[..claimed].iter().map(|slot| slot.bytes.load(Ordering::Relaxed)).collect()
}

/// Bytes the calling thread has handed out, less what it freed.
pub fn thread_bytes() -> i64 {
    MINE.get().map_or(0, |slot| slot.bytes.load(Ordering::Relaxed))
}

/// Gives free pages of the calling thread back to the system (MEMORY PURGE).
pub fn release() {
    mi_collect(true);
}

/// Bytes of anonymous huge pages of the process (`AnonHugePages` in `/proc/self/smaps_rollup`); 0 where that cannot be read.
pub fn huge_page_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

unsafe extern "C" {
    // Part of mimalloc's stable interface, linked through the mimalloc crate.
    safe fn mi_good_size(bytes: usize) -> usize;
    safe fn mi_collect(force: bool);
    fn mi_malloc(bytes: usize) -> *mut u8;
    fn mi_zalloc(bytes: usize) -> *mut u8;
    fn mi_realloc(block: *mut u8, bytes: usize) -> *mut u8;
}

/// The bytes mimalloc sets aside for a block of that size: steps of 16 up to 128, then four classes to each doubling.
#[inline]
pub fn good_size(bytes: usize) -> usize {
    if bytes <= 8 {
        8
    } else if bytes <= 128 {
        bytes.next_multiple_of(16)
    } else if bytes <= COMPUTED_CLASSES_BYTES {
        let step = 1 << ((bytes - 1).ilog2() - 2);
        bytes.next_multiple_of(step)
    } else {
        mi_good_size(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static GLOBAL: Counting = Counting;

    #[test]
    fn classes_are_those_of_mimalloc() {
        for bytes in 0..=100_000 {
            assert_eq!(good_size(bytes), mi_good_size(bytes), "{bytes}");
        }
    }

    /// What the count says is what mimalloc uses, also where alignment is asked for.
    #[test]
    fn blocks_are_of_the_counted_class() {
        unsafe extern "C" {
            fn mi_usable_size(block: *const u8) -> usize;
        }
        for size in (1..200).chain([592, 1000, 1168, 5000, 20_000]) {
            for align in [1, 2, 4, 8, 16] {
                let layout = Layout::from_size_align(size, align).expect("a layout");
                // SAFETY: allocated, looked at and freed with one layout.
                let (usable, aligned) = unsafe {
                    let block = GLOBAL.alloc(layout);
                    let looked_at = (mi_usable_size(block), block.addr().is_multiple_of(align));
                    GLOBAL.dealloc(block, layout);
                    looked_at
                };
                assert!(aligned);
                if is_plain(layout) {
                    assert_eq!(usable, good_size(size), "{size} {align}");
                }
            }
        }
    }

    #[test]
    fn a_block_freed_elsewhere_leaves_the_sum_exact() {
        const BYTES: usize = 64 << 20;
        let block = std::thread::spawn(|| vec![1u8; BYTES]).join().expect("the thread ends");
        let with = used_bytes();
        std::thread::spawn(move || drop(block)).join().expect("the thread ends");
        let without = used_bytes();
        // Other tests allocate meanwhile, but nowhere near this much.
        assert!(with - without > BYTES - (8 << 20), "{with} {without}");
        assert!(peak_bytes() >= without);
        assert!(resident_bytes().expect("statm is readable") > 0);
    }

    #[test]
    fn more_threads_than_slots_still_count() {
        let before = SHARED.bytes.load(Ordering::Relaxed);
        let barrier = std::sync::Barrier::new(SLOTS + 20);
        std::thread::scope(|scope| {
            for _ in 0..SLOTS + 20 {
                std::thread::Builder::new()
                    .stack_size(64 << 10)
                    .spawn_scoped(scope, || {
                        let kept = std::hint::black_box(vec![0u8; 1000]);
                        barrier.wait();
                        drop(kept);
                    })
                    .expect("a thread");
            }
        });
        let after = SHARED.bytes.load(Ordering::Relaxed);
        assert!((after - before).abs() < 1 << 20, "{before} {after}");
    }
}
