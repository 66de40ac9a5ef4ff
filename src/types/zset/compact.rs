//! The compact form of a sorted set: a packed run of name and score, name and score, in order.
//!
//! A score that is a whole number is an integer item. Any other is a string item: the bytes of the double, highest first, without the
//! zeros at the end; if that should read as an integer's text, a byte and all eight.
//!
//! Invariants
//! - entries are in the order of [`Probe`], each name is there once
//! - within [`Limits`] when written; limits may be lowered later, so readers take any number of entries
//!
//! Readers take the run, writers append the new run to `out`.

use std::ops::Range;

use super::Change;
use super::order::{LexBound, Probe, ScoreBound, score_key};
use crate::types::packed::{self, Item, MAX_INTEGER_TEXT};

/// What may be compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `zset-max-listpack-entries`.
    pub entries: usize,
    /// `zset-max-listpack-value`: bytes of a name.
    pub value: usize,
}

impl Limits {
    pub const REDIS: Self = Self { entries: 128, value: 64 };

    /// Whether a set stays compact with `len` elements, one of which is new and has that name.
    pub fn admit(self, len: usize, name: &[u8]) -> bool {
        len <= self.entries && name.len() <= self.value
    }
}

/// Whole numbers up to this are stored as integers; beyond it doubles have gaps, and few have so many bytes.
const MAX_WHOLE: f64 = (1u64 << 53) as f64;
/// The first byte of a score in full.
const FULL: u8 = u8::MAX;
/// Entries that are walked backwards at a time, from the offsets on the stack.
const BLOCK: usize = 128;

/// A name and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    pub name: Item<'a>,
    pub score: f64,
}

impl Entry<'_> {
    /// Whether it is before the probe.
    fn is_before(&self, probe: &Probe<'_>) -> bool {
        let score = score_key(self.score);
        score < probe.score || score == probe.score && self.with_name(|name| name < probe.name)
    }

    fn with_name<R>(&self, of: impl FnOnce(&[u8]) -> R) -> R {
        match self.name {
            Item::Str(name) => of(name),
            Item::Int(_) => of(self.name.text(&mut [0; MAX_INTEGER_TEXT])),
        }
    }
}

/// Appends an entry, which must be behind all before it.
pub fn push(out: &mut Vec<u8>, score: f64, name: &[u8]) {
    packed::push(out, name);
    push_score(out, score);
}

fn push_score(out: &mut Vec<u8>, score: f64) {
    let whole = score as i64;
    // Of minus zero too, as in Redis: only a large set keeps its sign.
    if score.abs() <= MAX_WHOLE && whole as f64 == score {
        return packed::push_item(out, Item::Int(whole));
    }
    let bytes = score.to_bits().to_be_bytes();
    let used = 8 - score.to_bits().trailing_zeros() as usize / 8;
    if packed::parse_canonical(&bytes[..used]).is_none() {
        return packed::push_item(out, Item::Str(&bytes[..used]));
    }
    let mut full = [FULL; 9];
    full[1..].copy_from_slice(&bytes);
    packed::push_item(out, Item::Str(&full));
}

#[inline]
fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(whole) => whole as f64,
        Item::Str(bytes) => {
            let bytes = if bytes.len() > 8 { &bytes[1..] } else { bytes };
            let mut all = [0; 8];
            all[..bytes.len()].copy_from_slice(bytes);
            f64::from_bits(u64::from_be_bytes(all))
        }
    }
}

/// Walks entries from a place in the run on.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    items: packed::Items<'a>,
}

impl Entries<'_> {
    /// Where the next entry begins in the run.
    #[inline]
    fn offset(&self) -> usize {
        self.items.offset()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let name = self.items.next()?;
        let score = score_of(self.items.next()?);
        Some(Entry { name, score })
    }
}

/// All entries, lowest first.
#[inline]
pub fn entries(run: &[u8]) -> Entries<'_> {
    Entries { items: packed::items(run) }
}

/// How many entries there are.
pub fn len(run: &[u8]) -> usize {
    packed::items(run).count() / 2
}

/// Rank and score of a name.
pub fn find(run: &[u8], name: &[u8]) -> Option<(usize, f64)> {
    let name = Item::of(name);
    let mut items = packed::items(run);
    let mut rank = 0;
    // A score is decoded only where it is asked for.
    while let (Some(item), Some(score)) = (items.next(), items.next()) {
        if item == name {
            return Some((rank, score_of(score)));
        }
        rank += 1;
    }
    None
}

/// The entry of a rank.
pub fn get(run: &[u8], rank: usize) -> Option<Entry<'_>> {
    entries(run).nth(rank)
}

/// Sets the score of a name. `out` gets the new run, unless nothing changes.
pub fn insert(run: &[u8], score: f64, name: &[u8], out: &mut Vec<u8>) -> Change {
    let item = Item::of(name);
    let probe = Probe::of(score, name);
    let (mut old, mut place) = (None, run.len());
    let mut walk = entries(run);
    loop {
        let from = walk.offset();
        let Some(entry) = walk.next() else { break };
        if entry.name == item {
            old = Some((from..walk.offset(), entry.score));
        } else if place == run.len() && !entry.is_before(&probe) {
            place = from;
        }
    }
    match old {
        None => {
            out.extend_from_slice(&run[..place]);
            push(out, score, name);
            out.extend_from_slice(&run[place..]);
            Change::Added(score)
        }
        Some((_, from)) if from == score => Change::None(Some(from)),
        Some((old, from)) => {
            if place <= old.start {
                out.extend_from_slice(&run[..place]);
                push(out, score, name);
                out.extend_from_slice(&run[place..old.start]);
                out.extend_from_slice(&run[old.end..]);
            } else {
                out.extend_from_slice(&run[..old.start]);
                out.extend_from_slice(&run[old.end..place]);
                push(out, score, name);
                out.extend_from_slice(&run[place..]);
            }
            Change::Moved { from, to: score }
        }
    }
}

/// What [`update`] comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    Done(Change),
    /// The name would be one too many, or is too long: the set has to become full.
    TooMuch,
}

/// Sets the score that `decide` makes of the present one; nothing changes for `None` or an equal score. `out` gets the new run, unless
/// nothing changes.
pub fn update(
    run: &[u8],
    name: &[u8],
    limits: Limits,
    decide: impl FnOnce(Option<f64>) -> Option<f64>,
    out: &mut Vec<u8>,
) -> Update {
    let item = Item::of(name);
    let mut items = packed::items(run);
    let (mut old, mut len) = (None, 0);
    while let (Some(name), Some(score)) = (items.next(), items.next()) {
        if name == item {
            old = Some(score_of(score));
            break;
        }
        len += 1;
    }
    match decide(old) {
        None => Update::Done(Change::None(old)),
        Some(_) if old.is_none() && !limits.admit(len + 1, name) => Update::TooMuch,
        Some(score) => Update::Done(insert(run, score, name, out)),
    }
}

/// Removes a name and returns its score. `out` gets the new run, unless the name is not there.
pub fn remove(run: &[u8], name: &[u8], out: &mut Vec<u8>) -> Option<f64> {
    let (rank, score) = find(run, name)?;
    remove_range(run, rank..rank + 1, out);
    Some(score)
}

/// Removes entries by rank and returns how many. `out` gets the new run in any case.
pub fn remove_range(run: &[u8], ranks: Range<usize>, out: &mut Vec<u8>) -> usize {
    let mut walk = entries(run);
    let skipped = walk.by_ref().take(ranks.start).count();
    let start = walk.offset();
    let removed = if skipped < ranks.start { 0 } else { walk.by_ref().take(ranks.len()).count() };
    out.extend_from_slice(&run[..start]);
    out.extend_from_slice(&run[walk.offset()..]);
    removed
}

/// The ranks of the entries between two scores.
pub fn score_range(run: &[u8], min: ScoreBound, max: ScoreBound) -> Range<usize> {
    range(run, |entry| min.admits_from_below(entry.score), |entry| max.admits_from_above(entry.score))
}

/// The ranks of the entries between two names. All scores should be the same; where they are not, the answer is that of Redis, which looks
/// at the first and the last entry and then goes from the lowest on.
pub fn lex_range(run: &[u8], min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
    if !ends_admit(run, min, max) {
        return 0..0;
    }
    range(
        run,
        |entry| entry.with_name(|name| min.admits_from_below(name)),
        |entry| entry.with_name(|name| max.admits_from_above(name)),
    )
}

/// The same, as Redis finds it for a reversed range: from the highest on.
pub fn lex_range_from_above(run: &[u8], min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
    if !ends_admit(run, min, max) {
        return 0..0;
    }
    let (mut start, mut found) = (0, 0..0);
    for (rank, entry) in entries(run).enumerate() {
        if !entry.with_name(|name| min.admits_from_below(name)) {
            start = rank + 1;
        }
        if entry.with_name(|name| max.admits_from_above(name)) {
            found = start..rank + 1;
        }
    }
    found
}

/// Whether the last name is not before the range, and the first not behind it.
fn ends_admit(run: &[u8], min: LexBound<'_>, max: LexBound<'_>) -> bool {
    let mut walk = entries(run);
    let Some(first) = walk.next() else { return false };
    let last = walk.last().unwrap_or(first);
    last.with_name(|name| min.admits_from_below(name)) && first.with_name(|name| max.admits_from_above(name))
}

/// From the first entry that `min` admits to the last before one that `max` refuses.
fn range(run: &[u8], min: impl Fn(&Entry<'_>) -> bool, max: impl Fn(&Entry<'_>) -> bool) -> Range<usize> {
    let mut walk = entries(run).enumerate().skip_while(|(_, entry)| !min(entry)).peekable();
    let Some((start, _)) = walk.peek().copied() else { return 0..0 };
    start..start + walk.take_while(|(_, entry)| max(entry)).count()
}

/// The entries of these ranks, as far as there are any, lowest first.
pub fn ascending(run: &[u8], ranks: Range<usize>) -> impl Iterator<Item = Entry<'_>> {
    entries(run).skip(ranks.start).take(ranks.len())
}

/// The entries of these ranks, as far as there are any, highest first.
pub fn descending(run: &[u8], ranks: Range<usize>) -> Descending<'_> {
    let end = ranks.end.min(len(run));
    Descending { run, start: ranks.start.min(end), block: end, left: 0, offsets: [0; BLOCK] }
}

/// See [`descending`].
#[derive(Clone, Debug)]
pub struct Descending<'a> {
    run: &'a [u8],
    start: usize,
    /// Rank of the first entry whose offset is there.
    block: usize,
    /// How many offsets are not used up.
    left: usize,
    offsets: [u32; BLOCK],
}

impl<'a> Iterator for Descending<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.left == 0 {
            let from = self.block.saturating_sub(BLOCK).max(self.start);
            let mut walk = entries(self.run);
            walk.by_ref().take(from).for_each(drop);
            for offset in &mut self.offsets[..self.block - from] {
                *offset = walk.offset() as u32;
                walk.next();
            }
            self.left = self.block - from;
            self.block = from;
        }
        self.left = self.left.checked_sub(1)?;
        entries(&self.run[self.offsets[self.left] as usize..]).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_every_kind() {
        let ascii_like = f64::from_bits(u64::from_be_bytes(*b"12345678"));
        let short_ascii_like = f64::from_bits(u64::from_be_bytes(*b"1\0\0\0\0\0\0\0"));
        for (score, bytes) in [
            (0.0, 1),
            (-0.0, 1),
            (53.0, 1),
            (-1.0, 2),
            (1.5, 3),
            (0.1, 9),
            (3_471_579_339_700_058.0, 8),
            (MAX_WHOLE * 2.0, 3),
            (f64::INFINITY, 3),
            (f64::NEG_INFINITY, 3),
            (f64::MAX, 9),
            (5e-324, 9),
            (ascii_like, 10),
            (short_ascii_like, 10),
        ] {
            let mut run = Vec::new();
            push_score(&mut run, score);
            assert_eq!(run.len(), bytes, "{score}");
            let (item, _) = packed::first(&run).expect("an item");
            assert_eq!(score_of(item).to_bits(), (score + 0.0).to_bits());
        }
    }

    #[test]
    fn backwards_over_more_than_a_block() {
        let mut run = Vec::new();
        (0..300).for_each(|at| push(&mut run, f64::from(at), format!("m{at}").as_bytes()));
        let scores: Vec<f64> = descending(&run, 5..290).map(|entry| entry.score).collect();
        assert_eq!(scores, (5..290).rev().map(f64::from).collect::<Vec<_>>());
        assert_eq!(descending(&run, 300..400).count() + descending(&[], 0..1).count(), 0);
    }
}
