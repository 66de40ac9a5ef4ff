//! One io_uring ring with its registered receive buffers.
//!
//! Invariants
//! - a provided buffer is either the kernel's or, between its completion and [`Buffers::give_back`], ours
//! - entries are pushed in order; a full submission queue is submitted, never dropped
//!
//! The unsafe face of the kernel interface ends here and in `socket.rs`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

use super::limits::{COMPLETION_ENTRIES, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, RING_ENTRIES};

/// The buffer group that every receive of a ring draws from.
pub const BUFFER_GROUP: u16 = 0;

/// How long expected completions that do not come may hold up the one that did.
const EXPECTED_WAIT_US: u32 = 25;

pub struct Ring {
    uring: IoUring,
    /// The kernel can wait for several completions and fall back to one (6.12).
    can_expect: bool,
    /// Calls of `io_uring_enter`, for the observer.
    pub enters: u64,
}

/// How long [`Ring::enter`] may wait.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    No,
    Event,
    EventOr(Duration),
}

impl Ring {
    pub fn new() -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(RING_ENTRIES)?;
        let can_expect = uring.params().is_feature_min_timeout();
        Ok(Ring { uring, can_expect, enters: 0 })
    }

    pub fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Adds an entry to the next submission.
    ///
    /// # Safety
    /// Memory that `entry` points to stays valid and unaliased until its completion has been seen.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the caller's promise.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enters += 1;
            match self.uring.submit() {
                Ok(_) => {}
                Err(error) if retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Submits what was pushed, runs the kernel's deferred work, and waits as told for a completion.
    ///
    /// A wait is for one completion more than `expected`, for [`EXPECTED_WAIT_US`] at most, and for any one after that. Expected are those of
    /// the sends just pushed, which complete at once as a rule and would only wake the executor that pushed them; and, under load, some
    /// of other connections.
    pub fn enter(&mut self, wait: Wait, expected: u32) -> io::Result<()> {
        let timespec;
        let mut args = match wait {
            Wait::EventOr(limit) => {
                timespec = Timespec::new().sec(limit.as_secs()).nsec(limit.subsec_nanos());
                SubmitArgs::new().timespec(&timespec)
            }
            Wait::No | Wait::Event => SubmitArgs::new(),
        };
        let pending = self.uring.submission().len();
        const GET_EVENTS: u32 = 1;
        const EXT_ARG: u32 = 1 << 3;
        let want = match wait {
            Wait::No => 0,
            Wait::Event | Wait::EventOr(_) if expected > 0 && self.can_expect => {
                args = args.min_wait_usec(EXPECTED_WAIT_US);
                1 + expected
            }
            Wait::Event | Wait::EventOr(_) => 1,
        };
        self.enters += 1;
        // SAFETY: `args` and the time it points to live over the call; the flags are the documented ones of an extended argument.
        let result = unsafe { self.uring.submitter().enter(pending as u32, want, GET_EVENTS | EXT_ARG, Some(&args)) };
        match result {
            Ok(_) => Ok(()),
            Err(error) if retry(&error) || error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the next completion.
    pub fn next(&mut self) -> Option<cqueue::Entry> {
        self.uring.completion().next()
    }

    /// Completions that wait to be taken.
    pub fn completions(&mut self) -> usize {
        self.uring.completion().len()
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// The registered ring of receive buffers.
pub struct Buffers {
    /// The entries the kernel reads; the tail lives in the first one's `resv` field.
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
}

const ENTRIES_LAYOUT: Layout = match Layout::from_size_align(RECEIVE_BUFFERS as usize * size_of::<BufRingEntry>(), 4096)
{
    Ok(layout) => layout,
    Err(_) => panic!("receive buffer ring layout"),
};
const MEMORY_LAYOUT: Layout = match Layout::from_size_align(RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("receive buffer layout"),
};

impl Buffers {
    /// Allocates the buffers and registers them with `ring`.
    pub fn register(ring: &Ring) -> io::Result<Buffers> {
        let allocate = |layout: Layout| {
            // SAFETY: both layouts have a size above zero.
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        };
        let mut buffers =
            Buffers { entries: allocate(ENTRIES_LAYOUT).cast(), memory: allocate(MEMORY_LAYOUT), tail: 0 };
        // SAFETY: the entries are page-aligned, as many as announced, and live as long as the executor, which outlives its ring.
        unsafe {
            ring.uring.submitter().register_buf_ring_with_flags(
                buffers.entries.as_ptr() as u64,
                RECEIVE_BUFFERS,
                BUFFER_GROUP,
                0,
            )?;
        }
        for id in 0..RECEIVE_BUFFERS {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `len` bytes of buffer `id`, which a completion has just named.
    pub fn get(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < RECEIVE_BUFFERS && len <= RECEIVE_BUFFER_BYTES);
        // SAFETY: in range, and the kernel does not write to a buffer between its completion and `publish`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(id as usize * RECEIVE_BUFFER_BYTES), len) }
    }

    /// Queues buffer `id` for the kernel; [`Buffers::publish`] makes it visible.
    pub fn give_back(&mut self, id: u16) {
        assert!(id < RECEIVE_BUFFERS);
        let index = self.tail & (RECEIVE_BUFFERS - 1);
        // SAFETY: the index is in range; the kernel reads the entry only once the tail has passed it. Only address,
        // length and id are written: the first entry's remaining field is the tail.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(index as usize);
            entry.set_addr(self.memory.as_ptr().add(id as usize * RECEIVE_BUFFER_BYTES) as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers given back.
    pub fn publish(&mut self) {
        // SAFETY: the tail is a 16-bit field of the first entry, shared with the kernel.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()) as *const AtomicU16;
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with these layouts. The ring is dropped first (see `Io`), so the kernel is done with them.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), ENTRIES_LAYOUT);
            dealloc(self.memory.as_ptr(), MEMORY_LAYOUT);
        }
    }
}
