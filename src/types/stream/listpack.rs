//! What elements take in Redis's listpack, the form of a stream's blocks there: `stream-node-max-bytes` counts these bytes.
//!
//! Each element is an encoding with its data, and behind it the length of both. A text that is a decimal `i64` is stored as a number, as in
//! [`crate::types::packed`].

use crate::types::packed::Item;

/// What a listpack takes without elements: its header and the mark at its end.
pub const EMPTY_BYTES: usize = 7;

/// The first entry length whose backward form takes 2, 3, 4, 5 bytes. That the later ones lie one lower than they could is Redis's way.
const BACKWARD_STEPS: [usize; 4] = [128, 16_383, 2_097_151, 268_435_455];

#[inline]
fn backward_bytes(entry: usize) -> usize {
    1 + BACKWARD_STEPS.iter().filter(|&&step| entry >= step).count()
}

#[inline]
const fn int_entry_bytes(number: i64) -> usize {
    match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    }
}

/// Bytes that an integer takes in a listpack.
#[inline]
pub const fn int_bytes(number: i64) -> usize {
    int_entry_bytes(number) + 1
}

/// Bytes that an element takes in a listpack.
#[inline]
pub fn item_bytes(item: Item<'_>) -> usize {
    let text = match item {
        Item::Int(number) => return int_bytes(number),
        Item::Str(text) => text.len(),
    };
    let entry = match text {
        0..64 => return 2 + text,
        64..4096 => 2 + text,
        _ => 5 + text,
    };
    entry + backward_bytes(entry)
}
