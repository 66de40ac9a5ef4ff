//! A buffer for bytes that a command puts together and then copies to where they stay: one a thread, lent out for a moment.

use std::cell::Cell;

/// A buffer that has grown beyond this is given back.
const KEEP_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends an empty buffer. Who borrows while it is lent out gets a new one.
#[inline]
pub fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEEP_BYTES {
        SCRATCH.set(buffer);
    }
    result
}
