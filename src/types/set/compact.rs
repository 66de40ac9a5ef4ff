//! Small sets as a run of bytes: sorted integers (`intset`), or a packed list of members (`listpack`).
//!
//! The first byte tells which:
//!
//! | first byte | then |
//! |---|---|
//! | 1 | a list: how many members (2 bytes, little endian), the members as a packed run, oldest first |
//! | 2, 4, 8 | integers of that many bytes each, little endian, ascending |
//!
//! Invariants
//! - each member is there once; a run without members is not stored, but is a valid run
//! - all integers have one width: the largest that any of them ever needed, as in Redis
//! - what stays compact and what becomes the other form is decided as in Redis 7.2 (`t_set.c`)
//!
//! The bytes are this process's own and trusted.

use crate::types::packed::{self, Item, Items};

const LIST: u8 = 1;
/// First byte and count of a list.
const LIST_HEAD: usize = 3;
const INTSET_HEAD: usize = 1;
const NARROWEST: u8 = 2;
/// As many as the count of a list can tell.
const MOST_LISTED: usize = u16::MAX as usize;

/// Until where sets are compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `set-max-intset-entries`
    pub intset_entries: usize,
    /// `set-max-listpack-entries`
    pub listpack_entries: usize,
    /// `set-max-listpack-value`, in bytes
    pub listpack_value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { intset_entries: 512, listpack_entries: 128, listpack_value: 64 }
    }
}

/// What became of a member that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Add {
    Added,
    Present,
    /// It is not there, and only fits a full set; nothing was changed.
    TooMuch,
}

/// A set of integers without members.
pub const NO_INTEGERS: [u8; INTSET_HEAD] = [NARROWEST];

/// A list without members.
pub const NO_LIST: [u8; LIST_HEAD] = [LIST, 0, 0];

/// A set of integers without members.
pub fn intset() -> Vec<u8> {
    NO_INTEGERS.to_vec()
}

/// A list without members.
pub fn list() -> Vec<u8> {
    NO_LIST.to_vec()
}

/// Redis's name of the encoding.
pub fn encoding(set: &[u8]) -> &'static str {
    if is_list(set) { "listpack" } else { "intset" }
}

/// Whether it is a set of integers; else it is a list.
#[inline]
pub fn is_integers(set: &[u8]) -> bool {
    !is_list(set)
}

#[inline]
fn is_list(set: &[u8]) -> bool {
    set[0] == LIST
}

/// How many members there are.
#[inline]
pub fn len(set: &[u8]) -> usize {
    match set[0] {
        LIST => usize::from(u16::from_le_bytes([set[1], set[2]])),
        width => (set.len() - INTSET_HEAD) / usize::from(width),
    }
}

fn set_list_len(set: &mut [u8], len: usize) {
    set[1..LIST_HEAD].copy_from_slice(&(len as u16).to_le_bytes());
}

/// A set of integers as the bytes of an integer, and all integers, little endian and ascending.
pub fn integer_bytes(set: &[u8]) -> (u8, &[u8]) {
    debug_assert!(is_integers(set));
    (set[0], &set[INTSET_HEAD..])
}

/// The integer at an index of a run of such.
#[inline]
fn integer(set: &[u8], index: usize) -> i64 {
    let width = usize::from(set[0]);
    let bytes = &set[INTSET_HEAD + index * width..];
    let known = "an intset holds whole integers";
    match width {
        2 => i64::from(i16::from_le_bytes(*bytes.first_chunk().expect(known))),
        4 => i64::from(i32::from_le_bytes(*bytes.first_chunk().expect(known))),
        _ => i64::from_le_bytes(*bytes.first_chunk().expect(known)),
    }
}

/// Where the integer is, or where it would be.
#[inline]
fn search(set: &[u8], wanted: i64) -> Result<usize, usize> {
    let (mut start, mut count) = (0, len(set));
    // Without a branch on what is compared: `start` ends at the last integer that is not greater.
    while count > 1 {
        let half = count / 2;
        start = if integer(set, start + half) <= wanted { start + half } else { start };
        count -= half;
    }
    if count == 0 {
        return Err(0);
    }
    match integer(set, start).cmp(&wanted) {
        std::cmp::Ordering::Equal => Ok(start),
        std::cmp::Ordering::Less => Err(start + 1),
        std::cmp::Ordering::Greater => Err(start),
    }
}

/// Where in the bytes the member is in a list.
#[inline]
fn find_listed(set: &[u8], wanted: Item<'_>) -> Option<std::ops::Range<usize>> {
    let wanted_len = wanted.encoded_len();
    let mut at = LIST_HEAD;
    while let Some((item, length)) = packed::first(&set[at..]) {
        if length == wanted_len && item == wanted {
            return Some(at..at + length);
        }
        at += length;
    }
    None
}

/// Where in the bytes the member is.
#[inline]
fn find(set: &[u8], member: Item<'_>) -> Option<std::ops::Range<usize>> {
    if is_list(set) {
        return find_listed(set, member);
    }
    let Item::Int(number) = member else { return None };
    Some(integer_range(set, search(set, number).ok()?))
}

fn integer_range(set: &[u8], index: usize) -> std::ops::Range<usize> {
    let width = usize::from(set[0]);
    let at = INTSET_HEAD + index * width;
    at..at + width
}

#[inline]
pub fn contains(set: &[u8], member: Item<'_>) -> bool {
    find(set, member).is_some()
}

/// Adds a member if the set stays compact with it. Integers become a list when the first text comes.
pub fn add(set: &mut Vec<u8>, member: Item<'_>, limits: &Limits) -> Add {
    match member {
        _ if is_list(set) => add_listed(set, member, limits),
        Item::Int(number) => add_integer(set, number, limits),
        Item::Str(_) => {
            let most_text = longest_text(set);
            if !fits_list(len(set), member.text_len().max(most_text), limits) {
                return Add::TooMuch;
            }
            *set = to_list(set);
            append(set, member);
            Add::Added
        }
    }
}

/// Whether a list of that many members may take one more, with texts of that length.
fn fits_list(len: usize, text_len: usize, limits: &Limits) -> bool {
    len < limits.listpack_entries.min(MOST_LISTED) && text_len <= limits.listpack_value
}

fn add_listed(set: &mut Vec<u8>, member: Item<'_>, limits: &Limits) -> Add {
    if find_listed(set, member).is_some() {
        return Add::Present;
    }
    if !fits_list(len(set), member.text_len(), limits) {
        return Add::TooMuch;
    }
    append(set, member);
    Add::Added
}

/// Puts a member at the end of a list.
fn append(set: &mut Vec<u8>, member: Item<'_>) {
    packed::push_item(set, member);
    let added = len(set) + 1;
    set_list_len(set, added);
}

fn add_integer(set: &mut Vec<u8>, number: i64, limits: &Limits) -> Add {
    let Err(index) = search(set, number) else { return Add::Present };
    if len(set) >= limits.intset_entries {
        return Add::TooMuch;
    }
    let width = width_of(number);
    if width > set[0] {
        *set = widened(set, width);
    }
    let range = integer_range(set, index);
    let bytes = number.to_le_bytes();
    let (old_len, width) = (set.len(), range.len());
    set.extend_from_slice(&bytes[..width]);
    set.copy_within(range.start..old_len, range.end);
    set[range].copy_from_slice(&bytes[..width]);
    Add::Added
}

fn width_of(number: i64) -> u8 {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

/// The same integers with more bytes each.
fn widened(set: &[u8], width: u8) -> Vec<u8> {
    let count = len(set);
    let mut wide = Vec::with_capacity(INTSET_HEAD + (count + 1) * usize::from(width));
    wide.push(width);
    for index in 0..count {
        wide.extend_from_slice(&integer(set, index).to_le_bytes()[..usize::from(width)]);
    }
    wide
}

/// Length of the longest integer's text; that of the least or the greatest.
fn longest_text(set: &[u8]) -> usize {
    let Some(last) = len(set).checked_sub(1) else { return 0 };
    [0, last].map(|index| Item::Int(integer(set, index)).text_len()).into_iter().max().unwrap_or(0)
}

/// Integers as a list. The limits hold for it.
fn to_list(set: &[u8]) -> Vec<u8> {
    let mut list = list();
    members(set).for_each(|member| packed::push_item(&mut list, member));
    set_list_len(&mut list, len(set));
    list
}

/// A list of integers alone as sorted integers; any other run as it is. Redis does so with the result of SINTERSTORE.
pub fn to_integers(set: &mut Vec<u8>, limits: &Limits) {
    if !is_list(set) || len(set) > limits.intset_entries {
        return;
    }
    let mut integers = Vec::with_capacity(len(set));
    for member in members(set) {
        let Item::Int(number) = member else { return };
        integers.push(number);
    }
    integers.sort_unstable();
    let width = integers.iter().map(|number| width_of(*number)).max().unwrap_or(NARROWEST);
    set.clear();
    set.push(width);
    integers.iter().for_each(|number| set.extend_from_slice(&number.to_le_bytes()[..usize::from(width)]));
}

/// Takes a member out. Whether it was there.
pub fn remove(set: &mut Vec<u8>, member: Item<'_>) -> bool {
    let Some(range) = find(set, member) else { return false };
    remove_range(set, range);
    true
}

fn remove_range(set: &mut Vec<u8>, range: std::ops::Range<usize>) {
    if is_list(set) {
        let left = len(set) - 1;
        set_list_len(set, left);
    }
    set.drain(range);
}

/// The member at an index, in the order of [`members`]; lists are walked to it.
pub fn nth(set: &[u8], index: usize) -> Option<Item<'_>> {
    if is_list(set) {
        packed::items(&set[LIST_HEAD..]).nth(index)
    } else {
        (index < len(set)).then(|| Item::Int(integer(set, index)))
    }
}

/// Takes the member at an index out. Whether there was one.
pub fn remove_nth(set: &mut Vec<u8>, index: usize) -> bool {
    if index >= len(set) {
        return false;
    }
    let range = if is_list(set) {
        let mut items = packed::items(&set[LIST_HEAD..]);
        // The one before it is the last to be read.
        let start = items.by_ref().take(index).map(|item| item.encoded_len()).sum::<usize>() + LIST_HEAD;
        start..start + items.next().map_or(0, Item::encoded_len)
    } else {
        integer_range(set, index)
    };
    remove_range(set, range);
    true
}

/// Takes out the members that are not to be kept, in one pass.
pub fn retain(set: &mut Vec<u8>, mut keep: impl FnMut(Item<'_>) -> bool) {
    let start = if is_list(set) { LIST_HEAD } else { INTSET_HEAD };
    let (mut read, mut write, mut kept) = (start, start, 0);
    while let Some((item, length)) = member_at(set, read) {
        if keep(item) {
            set.copy_within(read..read + length, write);
            write += length;
            kept += 1;
        }
        read += length;
    }
    set.truncate(write);
    if is_list(set) {
        set_list_len(set, kept);
    }
}

/// The member that begins at an offset, and its length there.
fn member_at(set: &[u8], offset: usize) -> Option<(Item<'_>, usize)> {
    if is_list(set) {
        return packed::first(&set[offset..]);
    }
    let width = usize::from(set[0]);
    let index = (offset - INTSET_HEAD) / width;
    (index < len(set)).then(|| (Item::Int(integer(set, index)), width))
}

/// All members: integers ascending, a list's oldest first.
#[derive(Clone, Debug)]
pub enum Members<'a> {
    Integers { set: &'a [u8], next: usize },
    List(Items<'a>),
}

pub fn members(set: &[u8]) -> Members<'_> {
    if is_list(set) { Members::List(packed::items(&set[LIST_HEAD..])) } else { Members::Integers { set, next: 0 } }
}

impl<'a> Iterator for Members<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Self::List(items) => items.next(),
            Self::Integers { set, next } => {
                let number = (*next < len(set)).then(|| integer(set, *next))?;
                *next += 1;
                Some(Item::Int(number))
            }
        }
    }
}
