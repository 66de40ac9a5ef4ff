//! The compact form of a hash: field, value, field, value, ... in a packed run.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | the head: bit 0 says that expiries are kept, the others count the fields up to [`COUNTED`], which stands for that many or more |
//! | 1 .. 9 | if expiries are kept: the earliest, little endian, or [`NEVER`] |
//! | then | the run; if expiries are kept each value is followed by one, an integer, 0 for a field without |
//!
//! Invariants
//! - a field is there once; fields are in the order in which they were added
//! - the count and the earliest expiry are exact
//! - once expiries are kept they stay so, as Redis's `listpackex` does
//!
//! Reads take the bytes where they are. Writes change a copy, which the caller keeps as the new value; one copy serves all fields of a
//! command. A value without fields is [`EMPTY`]: a start to build on, never kept.

use super::{Prior, Ttl, is_live, kept_expiry};
use crate::types::packed::{self, Item};

/// No fields.
pub const EMPTY: &[u8] = &[0];

const EXPIRING: u8 = 1;
const COUNT_SHIFT: u32 = 1;
/// The most that the head counts; from there on the run is counted.
const COUNTED: usize = 127;
const HEAD_BYTES: usize = 1;
const EARLIEST_BYTES: usize = 8;
const NEVER: u64 = u64::MAX;
const NO_EXPIRY: Item<'static> = Item::Int(0);

/// A field as it stands, expired or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: Item<'a>,
    pub value: Item<'a>,
    pub expire_at_ms: Option<u64>,
}

impl Field<'_> {
    pub fn is_live(&self, now_ms: u64) -> bool {
        is_live(self.expire_at_ms, now_ms)
    }
}

/// Whether expiries are kept: `listpackex` rather than `listpack` for OBJECT ENCODING.
#[inline]
pub fn keeps_expiries(bytes: &[u8]) -> bool {
    bytes[0] & EXPIRING != 0
}

#[inline]
fn run_at(bytes: &[u8]) -> usize {
    if keeps_expiries(bytes) { HEAD_BYTES + EARLIEST_BYTES } else { HEAD_BYTES }
}

/// Number of fields, with those that have expired and are still there.
pub fn len(bytes: &[u8]) -> usize {
    match usize::from(bytes[0] >> COUNT_SHIFT) {
        COUNTED => fields(bytes).count(),
        count => count,
    }
}

fn set_len(bytes: &mut [u8], len: usize) {
    bytes[0] = bytes[0] & EXPIRING | (len.min(COUNTED) as u8) << COUNT_SHIFT;
}

/// When the first field expires; in the past if one has expired and is still there.
pub fn earliest_expiry(bytes: &[u8]) -> Option<u64> {
    if !keeps_expiries(bytes) {
        return None;
    }
    let earliest = bytes[HEAD_BYTES..].first_chunk().map_or(NEVER, |earliest| u64::from_le_bytes(*earliest));
    (earliest != NEVER).then_some(earliest)
}

fn set_earliest(bytes: &mut [u8], earliest: Option<u64>) {
    let earliest = earliest.unwrap_or(NEVER).to_le_bytes();
    bytes[HEAD_BYTES..HEAD_BYTES + EARLIEST_BYTES].copy_from_slice(&earliest);
}

/// The element of a run at an offset, and where it ends.
#[inline]
fn element(bytes: &[u8], at: usize) -> (Item<'_>, usize) {
    match packed::first(&bytes[at..]) {
        Some((item, length)) => (item, at + length),
        None => unreachable!("a compact hash ends within a field"),
    }
}

fn expiry_of(item: Item<'_>) -> Option<u64> {
    match item {
        Item::Int(at_ms) => u64::try_from(at_ms).ok().filter(|at_ms| *at_ms != 0),
        Item::Str(_) => unreachable!("an expiry is an integer"),
    }
}

fn expiry_item(expire_at_ms: Option<u64>) -> Item<'static> {
    expire_at_ms.map_or(NO_EXPIRY, |at_ms| Item::Int(at_ms as i64))
}

/// All fields, expired or not.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, at: run_at(bytes) }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        if self.at == self.bytes.len() {
            return None;
        }
        let (name, value_at) = element(self.bytes, self.at);
        let (value, end) = element(self.bytes, value_at);
        self.at = end;
        let mut expire_at_ms = None;
        if keeps_expiries(self.bytes) {
            let (expiry, end) = element(self.bytes, end);
            expire_at_ms = expiry_of(expiry);
            self.at = end;
        }
        Some(Field { name, value, expire_at_ms })
    }
}

/// Where a field is.
#[derive(Clone, Copy)]
struct Spot {
    start: usize,
    value: usize,
    value_end: usize,
    end: usize,
}

impl Spot {
    fn prior(self, bytes: &[u8]) -> Prior {
        let expiry = (self.end > self.value_end).then(|| element(bytes, self.value_end).0);
        Prior { expire_at_ms: expiry.and_then(expiry_of) }
    }
}

/// Fields often differ in their last byte, which is compared before the rest.
#[inline]
fn is_same(a: Item<'_>, b: Item<'_>) -> bool {
    match (a, b) {
        (Item::Str(a), Item::Str(b)) => a.len() == b.len() && a.last() == b.last() && a == b,
        (Item::Int(a), Item::Int(b)) => a == b,
        _ => false,
    }
}

fn find(bytes: &[u8], field: &[u8]) -> Option<Spot> {
    let (wanted, expiring) = (Item::of(field), keeps_expiries(bytes));
    let mut start = run_at(bytes);
    while start < bytes.len() {
        let (name, value) = element(bytes, start);
        let value_end = element(bytes, value).1;
        let end = if expiring { element(bytes, value_end).1 } else { value_end };
        if is_same(name, wanted) {
            return Some(Spot { start, value, value_end, end });
        }
        start = end;
    }
    None
}

/// The value of a field that has not expired.
#[inline]
pub fn get<'a>(bytes: &'a [u8], field: &[u8], now_ms: u64) -> Option<Item<'a>> {
    let spot = find(bytes, field)?;
    is_live(spot.prior(bytes).expire_at_ms, now_ms).then(|| element(bytes, spot.value).0)
}

pub fn contains(bytes: &[u8], field: &[u8], now_ms: u64) -> bool {
    prior(bytes, field).is_some_and(|prior| prior.is_live(now_ms))
}

/// What is known of a field, expired or not. `None` if it is not there.
pub fn prior(bytes: &[u8], field: &[u8]) -> Option<Prior> {
    find(bytes, field).map(|spot| spot.prior(bytes))
}

/// A field by chance among those that have not expired. `random` is 64 random bits.
pub fn random(bytes: &[u8], random: u64, now_ms: u64) -> Option<Field<'_>> {
    let pick = |among: usize| ((u128::from(random) * among as u128) >> 64) as usize;
    let live = || fields(bytes).filter(|field| field.is_live(now_ms));
    if is_live(earliest_expiry(bytes), now_ms) {
        return fields(bytes).nth(pick(len(bytes)));
    }
    live().nth(pick(live().count()))
}

/// Sets a field; tells what it was, `None` if it is new. An expired field counts as there, as in Redis.
pub fn set(bytes: &mut Vec<u8>, field: &[u8], value: &[u8], ttl: Ttl) -> Option<Prior> {
    let Some(spot) = find(bytes, field) else {
        push(bytes, field, value, None);
        return None;
    };
    let prior = spot.prior(bytes);
    if prior.expire_at_ms.is_some() && ttl == Ttl::Drop {
        put(bytes, spot.value_end, spot.end, NO_EXPIRY);
        lose_expiry(bytes, prior);
    }
    put(bytes, spot.value, spot.value_end, Item::of(value));
    Some(prior)
}

/// Adds a field that is not there: the way to load many.
pub fn push(bytes: &mut Vec<u8>, field: &[u8], value: &[u8], expire_at_ms: Option<u64>) {
    let expire_at_ms = kept_expiry(expire_at_ms);
    if expire_at_ms.is_some() {
        keep_expiries(bytes);
        note_expiry(bytes, expire_at_ms);
    }
    // A count that the head does not tell need not be exact here.
    let known = usize::from(bytes[0] >> COUNT_SHIFT);
    set_len(bytes, known + 1);
    packed::push(bytes, field);
    packed::push(bytes, value);
    if keeps_expiries(bytes) {
        packed::push_item(bytes, expiry_item(expire_at_ms));
    }
}

/// Takes a field out; tells what it was.
pub fn delete(bytes: &mut Vec<u8>, field: &[u8]) -> Option<Prior> {
    let spot = find(bytes, field)?;
    let (prior, len) = (spot.prior(bytes), len(bytes));
    bytes.drain(spot.start..spot.end);
    set_len(bytes, len - 1);
    lose_expiry(bytes, prior);
    Some(prior)
}

/// Gives a field an expiry, or takes it away; tells what the field was, `None` if it is not there.
pub fn set_expiry(bytes: &mut Vec<u8>, field: &[u8], expire_at_ms: Option<u64>) -> Option<Prior> {
    let expire_at_ms = kept_expiry(expire_at_ms);
    let before = prior(bytes, field)?;
    if before.expire_at_ms == expire_at_ms {
        return Some(before);
    }
    keep_expiries(bytes);
    let spot = find(bytes, field)?;
    put(bytes, spot.value_end, spot.end, expiry_item(expire_at_ms));
    lose_expiry(bytes, before);
    note_expiry(bytes, expire_at_ms);
    Some(before)
}

/// Takes out the fields that have expired, each shown to `removed` before; tells how many.
pub fn expire(bytes: &mut Vec<u8>, now_ms: u64, mut removed: impl FnMut(Item<'_>)) -> usize {
    if is_live(earliest_expiry(bytes), now_ms) {
        return 0;
    }
    let (len, mut gone, mut kept_to) = (len(bytes), 0, run_at(bytes));
    let mut at = kept_to;
    while at < bytes.len() {
        let mut rest = Fields { bytes, at };
        let Some(field) = rest.next() else { break };
        let end = rest.at;
        if field.is_live(now_ms) {
            bytes.copy_within(at..end, kept_to);
            kept_to += end - at;
        } else {
            removed(field.name);
            gone += 1;
        }
        at = end;
    }
    bytes.truncate(kept_to);
    set_len(bytes, len - gone);
    find_earliest(bytes);
    gone
}

/// Puts one element in the place of another.
fn put(bytes: &mut Vec<u8>, start: usize, end: usize, item: Item<'_>) {
    let (old, new, before) = (end - start, item.encoded_len(), bytes.len());
    // It is encoded behind the run, and moved to where the run will end first if the run grows over it.
    packed::push_item(bytes, item);
    let mut from = before;
    if new > old {
        from = before + new - old;
        bytes.resize(from + new, 0);
        bytes.copy_within(before..before + new, from);
    }
    bytes.copy_within(end..before, start + new);
    bytes.copy_within(from..from + new, start);
    bytes.truncate(before + new - old);
}

/// Goes over to the form that keeps expiries.
fn keep_expiries(bytes: &mut Vec<u8>) {
    if keeps_expiries(bytes) {
        return;
    }
    let head_bytes = HEAD_BYTES + EARLIEST_BYTES;
    let mut expiring = Vec::with_capacity(bytes.len() + head_bytes + len(bytes) * NO_EXPIRY.encoded_len());
    expiring.push(bytes[0] | EXPIRING);
    expiring.extend_from_slice(&NEVER.to_le_bytes());
    let mut rest = fields(bytes);
    let mut at = rest.at;
    while rest.next().is_some() {
        expiring.extend_from_slice(&bytes[at..rest.at]);
        packed::push_item(&mut expiring, NO_EXPIRY);
        at = rest.at;
    }
    *bytes = expiring;
}

fn note_expiry(bytes: &mut [u8], expire_at_ms: Option<u64>) {
    let earliest = earliest_expiry(bytes).unwrap_or(NEVER);
    if expire_at_ms.is_some_and(|at_ms| at_ms < earliest) {
        set_earliest(bytes, expire_at_ms);
    }
}

/// After a field no longer has the expiry that it had.
fn lose_expiry(bytes: &mut [u8], prior: Prior) {
    if prior.expire_at_ms.is_some() && prior.expire_at_ms == earliest_expiry(bytes) {
        find_earliest(bytes);
    }
}

fn find_earliest(bytes: &mut [u8]) {
    let earliest = fields(bytes).filter_map(|field| field.expire_at_ms).min();
    set_earliest(bytes, earliest);
}
