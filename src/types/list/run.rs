//! What lists do with one packed run, be it a whole small list or a node of a large one.
//!
//! Reads take a run; changes append the changed run to `out`, which they do not clear. An element is found by walking from the front,
//! so a run is kept small: [`MAX_RUN_BYTES`] where it holds more than one element.

use std::ops::{Add, AddAssign, ControlFlow, Sub, SubAssign};

use super::encoding::entry_len;
use crate::types::packed::{self, Item};

/// Most bytes of a run of several elements: where each begins is kept in 16 bits.
pub const MAX_RUN_BYTES: usize = u16::MAX as usize;

/// The end of a list that something starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Front,
    Back,
}

/// What is counted of each run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u32,
    /// Bytes that a listpack of Redis takes more for the elements than the run does; it never takes fewer.
    pub excess: u32,
}

impl Tally {
    #[inline]
    pub fn of(item: Item<'_>) -> Self {
        Self { count: 1, excess: (entry_len(item) - item.encoded_len() as u64) as u32 }
    }

    /// That of so many equal elements.
    pub fn of_copies(item: Item<'_>, count: u32) -> Self {
        Self { count, excess: Self::of(item).excess * count }
    }

    pub fn of_run(run: &[u8]) -> Self {
        packed::items(run).fold(Self::default(), |tally, item| tally + Self::of(item))
    }
}

impl Add for Tally {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self { count: self.count + other.count, excess: self.excess + other.excess }
    }
}

impl Sub for Tally {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self { count: self.count - other.count, excess: self.excess - other.excess }
    }
}

impl AddAssign for Tally {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Tally {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Bytes of the element that begins there, which is not decoded; `None` at the end of the run.
///
/// Walking a run is a chain of loads, each of which waits for this.
#[inline]
fn width_at(run: &[u8], at: usize) -> Option<usize> {
    const LONG_STRING: usize = 254;
    let tag = usize::from(*run.get(at)?);
    Some(match tag {
        0..=191 => 1 + tag,
        192..LONG_STRING => {
            if tag < 200 {
                tag - 190
            } else {
                1
            }
        }
        LONG_STRING.. => packed::first(&run[at..])?.1,
    })
}

/// Where the element of that index begins; the end of the run if there is none.
#[inline]
pub fn offset_of(run: &[u8], index: usize) -> usize {
    let mut at = 0;
    for _ in 0..index {
        let Some(width) = width_at(run, at) else { break };
        at += width;
    }
    at
}

/// An encoded element that is looked for.
struct Needle<'a> {
    encoded: &'a [u8],
    /// Its last eight bytes, those missing 0, and where in it they begin: what tells it from most others of its length at one glance.
    tail: u64,
    tail_mask: u64,
    tail_at: usize,
}

impl<'a> Needle<'a> {
    fn new(encoded: &'a [u8]) -> Needle<'a> {
        let tail_at = encoded.len().saturating_sub(8);
        let mut tail = [0; 8];
        tail[..encoded.len() - tail_at].copy_from_slice(&encoded[tail_at..]);
        let tail_mask = u64::MAX >> (64 - 8 * (encoded.len() - tail_at));
        Needle { encoded, tail: u64::from_le_bytes(tail), tail_mask, tail_at }
    }

    /// Whether it is what begins there: no encoding is the beginning of another.
    #[inline]
    fn is_at(&self, run: &[u8], at: usize) -> bool {
        if let Some(bytes) = run[at..].get(self.tail_at..).and_then(|tail| tail.first_chunk::<8>())
            && (u64::from_le_bytes(*bytes) ^ self.tail) & self.tail_mask != 0
        {
            return false;
        }
        run[at..].starts_with(self.encoded)
    }
}

/// The element of that index.
#[inline]
pub fn get(run: &[u8], index: usize) -> Option<Item<'_>> {
    packed::first(&run[offset_of(run, index)..]).map(|(item, _)| item)
}

/// Where each element begins.
pub fn starts_into(run: &[u8], starts: &mut Vec<u16>) {
    starts.clear();
    let mut at = 0;
    while let Some(width) = width_at(run, at) {
        debug_assert!(at <= MAX_RUN_BYTES);
        starts.push(at as u16);
        at += width;
    }
}

/// Visits elements with their indexes: forwards from index `skip`, or backwards having left out the last `skip`.
#[inline]
pub fn visit<F>(run: &[u8], side: Side, skip: usize, starts: &mut Vec<u16>, mut each: F) -> ControlFlow<()>
where
    F: FnMut(usize, Item<'_>) -> ControlFlow<()>,
{
    match side {
        Side::Front => {
            let rest = &run[offset_of(run, skip)..];
            packed::items(rest).zip(skip..).try_for_each(|(item, index)| each(index, item))
        }
        Side::Back => {
            starts_into(run, starts);
            for (index, &start) in starts.iter().enumerate().rev().skip(skip) {
                if let Some((item, _)) = packed::first(&run[usize::from(start)..]) {
                    each(index, item)?;
                }
            }
            ControlFlow::Continue(())
        }
    }
}

/// Like [`visit`], but only of the elements whose encoding is `needle`, and without decoding.
#[inline]
pub fn visit_matches<F>(
    run: &[u8],
    needle: &[u8],
    side: Side,
    skip: usize,
    starts: &mut Vec<u16>,
    mut each: F,
) -> ControlFlow<()>
where
    F: FnMut(usize) -> ControlFlow<()>,
{
    let needle = Needle::new(needle);
    match side {
        Side::Front => {
            let mut at = offset_of(run, skip);
            let mut index = skip;
            while let Some(width) = width_at(run, at) {
                if needle.is_at(run, at) {
                    each(index)?;
                }
                at += width;
                index += 1;
            }
            ControlFlow::Continue(())
        }
        Side::Back => {
            starts_into(run, starts);
            for (index, &start) in starts.iter().enumerate().rev().skip(skip) {
                if needle.is_at(run, start.into()) {
                    each(index)?;
                }
            }
            ControlFlow::Continue(())
        }
    }
}

/// Puts an element before that of the index, or at the end.
pub fn insert(run: &[u8], index: usize, item: Item<'_>, out: &mut Vec<u8>) {
    let at = offset_of(run, index);
    out.reserve(run.len() + item.encoded_len());
    out.extend_from_slice(&run[..at]);
    packed::push_item(out, item);
    out.extend_from_slice(&run[at..]);
}

/// Replaces the element of that index, which must be there. Returns the tally of the old one.
pub fn set(run: &[u8], index: usize, item: Item<'_>, out: &mut Vec<u8>) -> Tally {
    let at = offset_of(run, index);
    let (old, width) = packed::first(&run[at..]).unwrap_or_else(|| panic!("no element {index}"));
    out.reserve(run.len() + item.encoded_len());
    out.extend_from_slice(&run[..at]);
    packed::push_item(out, item);
    out.extend_from_slice(&run[at + width..]);
    Tally::of(old)
}

/// Leaves out up to `max` elements whose encoding is `needle`, those nearest the side first. Returns how many.
pub fn remove(run: &[u8], needle: &[u8], side: Side, max: usize, starts: &mut Vec<u16>, out: &mut Vec<u8>) -> usize {
    out.reserve(run.len());
    // From the back, as many matches as are too many are kept from the front.
    let mut keep = match side {
        Side::Front => 0,
        Side::Back => count_matches(run, needle, starts).saturating_sub(max),
    };
    let needle = Needle::new(needle);
    let (mut removed, mut kept_from, mut at) = (0, 0, 0);
    while let Some(width) = width_at(run, at) {
        if removed == max {
            break;
        }
        if needle.is_at(run, at) {
            if keep > 0 {
                keep -= 1;
            } else {
                out.extend_from_slice(&run[kept_from..at]);
                kept_from = at + width;
                removed += 1;
            }
        }
        at += width;
    }
    out.extend_from_slice(&run[kept_from..]);
    removed
}

fn count_matches(run: &[u8], needle: &[u8], starts: &mut Vec<u16>) -> usize {
    let mut count = 0;
    let _ = visit_matches(run, needle, Side::Front, 0, starts, |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    count
}

/// Cuts a run into pieces of at most `max_bytes`, where an element is not larger than that alone. Two pieces are about equal.
pub fn pieces<'a>(run: &'a [u8], max_bytes: usize, mut each: impl FnMut(&'a [u8], Tally)) {
    let half = if run.len() <= max_bytes { usize::MAX } else { run.len() / 2 };
    let (mut from, mut at, mut tally) = (0, 0, Tally::default());
    while let Some((item, width)) = packed::first(&run[at..]) {
        let is_full = at - from + width > max_bytes || (from == 0 && at >= half);
        if is_full && at > from {
            each(&run[from..at], tally);
            (from, tally) = (at, Tally::default());
        }
        at += width;
        tally += Tally::of(item);
    }
    if at > from {
        each(&run[from..at], tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_decoding() {
        let lengths = [0, 1, 191, 192, 255, 256, 65_535, 65_536];
        let numbers = (0..63).flat_map(|shift| [1i64 << shift, !(1 << shift), (1 << shift) - 1, -(1 << shift)]);
        let texts = numbers.map(|number| number.to_string().into_bytes()).chain(lengths.map(|len| vec![b'x'; len]));
        for text in texts {
            let mut run = vec![0];
            packed::push(&mut run, &text);
            assert_eq!(width_at(&run, 1), Some(run.len() - 1));
            assert_eq!(width_at(&run, run.len()), None);
        }
    }
}
