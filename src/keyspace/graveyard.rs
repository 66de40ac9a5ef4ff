//! Large objects that are no longer anybody's, freed bit by bit: whoever drops an entry never waits for its elements.
//!
//! However an entry goes (deleted, overwritten, expired, evicted, flushed), its object comes here. A small one is freed at once. A large one waits,
//! on a thread whose owner said that it comes by ([`open`]), until [`free_some`] has taken it apart; on any other thread it is freed at once too.
//!
//! A thread's objects are its own: nothing here is shared.

use std::cell::{Cell, RefCell};

use crate::types::Object;
use crate::types::list::Debris;

/// What waits here.
enum Grave {
    Object(Object),
    /// What was cut off a list that goes on without it.
    Debris(Debris),
}

impl Grave {
    fn heap_bytes(&self) -> usize {
        match self {
            Grave::Object(object) => object.heap_bytes(),
            Grave::Debris(debris) => debris.heap_bytes(),
        }
    }

    fn drop_some(&mut self, budget: usize) -> bool {
        match self {
            Grave::Object(object) => object.drop_some(budget),
            Grave::Debris(debris) => debris.drop_some(budget),
        }
    }
}

/// Up to so many elements an object is freed at once: some microseconds.
const AT_ONCE: usize = 256;
/// The same in bytes: what hangs on few entries may be many pending ones.
const BYTES_AT_ONCE: usize = 64 << 10;

thread_local! {
    static OPEN: Cell<bool> = const { Cell::new(false) };
    static GRAVES: RefCell<Vec<Grave>> = const { RefCell::new(Vec::new()) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// From now on this thread calls [`free_some`] while [`is_empty`] is false.
pub fn open() {
    OPEN.set(true);
}

/// Takes an object that nobody can reach any more.
pub fn bury(object: Box<Object>) {
    let is_small = object.len() <= AT_ONCE && object.heap_bytes() <= BYTES_AT_ONCE;
    if is_small || !is_open() {
        return drop(object);
    }
    dig(Grave::Object(*object));
}

/// Takes what was cut off a list.
pub fn bury_debris(debris: Debris) {
    if debris.len() > AT_ONCE as u64 && is_open() {
        dig(Grave::Debris(debris));
    }
}

fn is_open() -> bool {
    // A thread that ends has no graves any more.
    OPEN.try_with(Cell::get).unwrap_or(false)
}

fn dig(grave: Grave) {
    BYTES.set(BYTES.get() + grave.heap_bytes());
    GRAVES.with_borrow_mut(|graves| graves.push(grave));
}

/// Whether nothing waits to be freed.
#[inline]
pub fn is_empty() -> bool {
    BYTES.get() == 0
}

/// How many objects wait to be freed.
pub fn len() -> usize {
    GRAVES.with_borrow(Vec::len)
}

/// About how many bytes wait to be freed: they count as used, and no longer need to be evicted.
#[inline]
pub fn bytes() -> usize {
    BYTES.get()
}

/// Frees about `budget` elements. Whether more is left.
pub fn free_some(budget: usize) -> bool {
    let Some(mut grave) = GRAVES.with_borrow_mut(Vec::pop) else {
        BYTES.set(0);
        return false;
    };
    let before = grave.heap_bytes();
    let more = grave.drop_some(budget);
    let freed = before.saturating_sub(if more { grave.heap_bytes() } else { 0 });
    // One byte at least stands for what is still there.
    BYTES.set(BYTES.get().saturating_sub(freed).max(1));
    if more {
        GRAVES.with_borrow_mut(|graves| graves.push(grave));
    } else if GRAVES.with_borrow(Vec::is_empty) {
        BYTES.set(0);
    }
    !is_empty()
}
