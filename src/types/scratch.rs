//! Room to work in: one a thread, lent out for a moment, so that reads and changes allocate nothing that lasts.
//!
//! Who borrows it while it is already lent out (an element read from one list and pushed to another) gets a new one.

use std::cell::Cell;

use super::lz4::Lz4;

/// A buffer that an exceptionally large element has grown beyond this is given back.
const MAX_KEPT_BYTES: usize = 64 << 10;

#[derive(Default)]
pub struct Scratch {
    /// Where compressed runs are unpacked.
    pub raw: Vec<u8>,
    /// Where changed runs are built.
    pub built: Vec<u8>,
    /// An encoded element that is looked for.
    pub needle: Vec<u8>,
    /// Where elements begin.
    pub starts: Vec<u16>,
    pub lz4: Lz4,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Lends the thread's scratch room.
#[inline]
pub fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = work(&mut scratch);
    for buffer in [&mut scratch.raw, &mut scratch.built, &mut scratch.needle] {
        if buffer.capacity() > MAX_KEPT_BYTES {
            *buffer = Vec::new();
        }
    }
    SCRATCH.set(Some(scratch));
    result
}
