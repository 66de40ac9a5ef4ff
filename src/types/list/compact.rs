//! Small lists: the number of elements in two bytes, and the elements as one packed run.
//!
//! Reads take the value's bytes. Changes write those of the new value to `out`, replacing what is there. A value without elements is
//! written as such; that no key keeps one is the commands' matter.
//!
//! Knows nothing of when a list is too large for this: [`fits`] says what is sensible.

use std::ops::{ControlFlow, Range};

use super::encoding::{LISTPACK_FRAME_BYTES, Limit};
use super::run::{self, Side, Tally};
use crate::types::packed::{self, Item};
use crate::types::scratch::with_scratch;

/// The number of elements, little endian.
const HEADER_BYTES: usize = 2;

/// A larger list is better kept as a [`super::List`]: each change of a compact one writes all of it.
pub const MAX_BYTES: usize = if cfg!(test) { 100 } else { 2048 };

/// A large list that has shrunk to this many packed bytes may become compact again. Half, so that one at the border stays.
pub const MAX_BYTES_AGAIN: usize = MAX_BYTES / 2;

/// An empty list.
pub const EMPTY: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

/// Whether a list may be compact, that is if Redis says listpack as well, before texts of so many bytes are added.
pub fn fits(compact: &[u8], limit: Limit, text_bytes: usize, added: usize) -> bool {
    // Each text takes at most 5 bytes more.
    let most = compact.len() + text_bytes + 5 * added;
    let count = len(compact) + added;
    if most > MAX_BYTES || count > usize::from(u16::MAX) {
        return false;
    }
    // Most often the elements need not be looked at: a listpack takes at most twice as much.
    let bound = (2 * compact.len() + text_bytes) as u64 + LISTPACK_FRAME_BYTES;
    !limit.is_exceeded(bound, count as u64)
        || !limit.is_exceeded(listpack_bytes(compact) + text_bytes as u64, count as u64)
}

/// What a listpack of the list takes.
pub fn listpack_bytes(compact: &[u8]) -> u64 {
    let run = run(compact);
    run.len() as u64 + u64::from(Tally::of_run(run).excess) + LISTPACK_FRAME_BYTES
}

/// The elements, packed.
#[inline]
pub fn run(compact: &[u8]) -> &[u8] {
    &compact[HEADER_BYTES..]
}

#[inline]
pub fn len(compact: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([compact[0], compact[1]]))
}

#[inline]
pub fn get(compact: &[u8], index: usize) -> Option<Item<'_>> {
    run::get(run(compact), index)
}

/// Hands `count` elements to `each`: forwards from index `skip`, or backwards having passed over the last `skip`.
pub fn range(compact: &[u8], side: Side, skip: usize, count: usize, mut each: impl FnMut(Item<'_>)) {
    match side {
        Side::Front => {
            let rest = &run(compact)[run::offset_of(run(compact), skip)..];
            packed::items(rest).take(count).for_each(each);
        }
        Side::Back => {
            let mut left = count;
            let _ = visit(compact, side, skip, |_, item| {
                if left == 0 {
                    return ControlFlow::Break(());
                }
                left -= 1;
                each(item);
                ControlFlow::Continue(())
            });
        }
    }
}

/// Visits elements with their indexes: forwards from index `skip`, or backwards having passed over the last `skip`.
pub fn visit<F>(compact: &[u8], side: Side, skip: usize, each: F) -> ControlFlow<()>
where
    F: FnMut(usize, Item<'_>) -> ControlFlow<()>,
{
    with_scratch(|scratch| run::visit(run(compact), side, skip, &mut scratch.starts, each))
}

/// Visits the indexes of elements equal to a text, from a side, among the first `max_compared` from there.
pub fn matches<F>(compact: &[u8], text: &[u8], side: Side, max_compared: usize, mut each: F) -> ControlFlow<()>
where
    F: FnMut(usize) -> ControlFlow<()>,
{
    let count = len(compact);
    with_scratch(|scratch| {
        super::encode_needle(&mut scratch.needle, text);
        run::visit_matches(run(compact), &scratch.needle, side, 0, &mut scratch.starts, |index| {
            let passed = if side == Side::Front { index } else { count - 1 - index };
            if passed >= max_compared { ControlFlow::Break(()) } else { each(index) }
        })
    })
}

/// The first element from a side that equals a text.
pub fn find(compact: &[u8], text: &[u8], side: Side) -> Option<usize> {
    let mut found = None;
    let _ = matches(compact, text, side, usize::MAX, |index| {
        found = Some(index);
        ControlFlow::Break(())
    });
    found
}

/// Begins a new value; `compact` is the old one, of which the elements are still to be written.
pub(super) fn begin(out: &mut Vec<u8>, bytes: usize) {
    out.clear();
    out.reserve(HEADER_BYTES + bytes);
    out.extend_from_slice(&EMPTY);
}

pub(super) fn set_len(out: &mut [u8], count: usize) {
    let count = u16::try_from(count).unwrap_or_else(|_| panic!("a compact list of {count} elements"));
    out[..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

/// Pushes elements one after the other, so that the last is the outermost.
pub fn push<'a, T>(compact: &[u8], side: Side, texts: T, out: &mut Vec<u8>)
where
    T: IntoIterator<Item = &'a [u8], IntoIter: DoubleEndedIterator>,
{
    let mut count = len(compact);
    begin(out, compact.len());
    let mut add = |out: &mut Vec<u8>, text: &[u8]| {
        packed::push(out, text);
        count += 1;
    };
    match side {
        Side::Front => {
            texts.into_iter().rev().for_each(|text| add(out, text));
            out.extend_from_slice(run(compact));
        }
        Side::Back => {
            out.extend_from_slice(run(compact));
            texts.into_iter().for_each(|text| add(out, text));
        }
    }
    set_len(out, count);
}

/// Keeps these elements only; the range must be in order and within the list. Popping is trimming, too.
pub fn trim(compact: &[u8], keep: Range<usize>, out: &mut Vec<u8>) {
    debug_assert!(keep.start <= keep.end && keep.end <= len(compact));
    let from = &run(compact)[run::offset_of(run(compact), keep.start)..];
    let kept = match keep.end {
        end if end == len(compact) => from,
        _ => &from[..run::offset_of(from, keep.len())],
    };
    begin(out, kept.len());
    out.extend_from_slice(kept);
    set_len(out, keep.len());
}

/// Replaces the element of that index, which must be there.
pub fn set(compact: &[u8], index: usize, text: &[u8], out: &mut Vec<u8>) {
    begin(out, compact.len() + text.len());
    run::set(run(compact), index, Item::of(text), out);
    set_len(out, len(compact));
}

/// Puts an element before that of the index, or at the end.
pub fn insert(compact: &[u8], index: usize, text: &[u8], out: &mut Vec<u8>) {
    debug_assert!(index <= len(compact));
    begin(out, compact.len() + text.len());
    run::insert(run(compact), index, Item::of(text), out);
    set_len(out, len(compact) + 1);
}

/// Removes up to `max` elements equal to a text, those nearest the side first. Returns how many.
pub fn remove(compact: &[u8], text: &[u8], side: Side, max: usize, out: &mut Vec<u8>) -> usize {
    begin(out, compact.len());
    let removed = with_scratch(|scratch| {
        super::encode_needle(&mut scratch.needle, text);
        run::remove(run(compact), &scratch.needle, side, max, &mut scratch.starts, out)
    });
    set_len(out, len(compact) - removed);
    removed
}
