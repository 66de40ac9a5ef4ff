//! ZADD and ZINCRBY, and GEOADD's part that is ZADD.

use super::event;
use crate::commands::scratch::with_scratch;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::HeldMut;
use crate::resp::Args;
use crate::types::numbers::{parse_f64, parse_i64};
use crate::types::zset::compact::{self, Limits, Update};
use crate::types::zset::{Change, Zset};

const NOT_A_NUMBER: Error = Error::text("ERR resulting score is not a number (NaN)");
/// Integers of so many characters are doubles without rounding.
const EXACT_CHARS: usize = 15;

/// What ZADD is told before the scores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// NX
    pub if_absent: bool,
    /// XX
    pub if_present: bool,
    /// GT
    if_greater: bool,
    /// LT
    if_less: bool,
    /// CH
    pub counts_changes: bool,
    /// INCR
    increments: bool,
}

impl Conditions {
    /// Takes in a word, if it is one of the conditions.
    fn take(&mut self, word: &[u8]) -> bool {
        let words: [(&[u8], &mut bool); 6] = [
            (b"nx", &mut self.if_absent),
            (b"xx", &mut self.if_present),
            (b"ch", &mut self.counts_changes),
            (b"incr", &mut self.increments),
            (b"gt", &mut self.if_greater),
            (b"lt", &mut self.if_less),
        ];
        let found = words.into_iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
        found.map(|(_, condition)| *condition = true).is_some()
    }

    fn check(&self, pairs: usize) -> Outcome {
        let both = |a: bool, b: bool| a && b;
        if both(self.if_absent, self.if_present) {
            return Err(Error::text("ERR XX and NX options at the same time are not compatible"));
        }
        if both(self.if_greater, self.if_absent)
            || both(self.if_less, self.if_absent)
            || both(self.if_greater, self.if_less)
        {
            return Err(Error::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.increments && pairs > 1 {
            return Err(Error::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// What the score becomes; `None`: it is left alone.
    #[inline]
    fn decide(&self, current: Option<f64>, given: f64) -> Result<Option<f64>, Error> {
        let Some(current) = current else { return Ok((!self.if_present).then_some(given)) };
        if self.if_absent {
            return Ok(None);
        }
        let score = if self.increments { current + given } else { given };
        if score.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        let refused = self.if_less && score >= current || self.if_greater && score <= current;
        Ok((!refused).then_some(score))
    }
}

/// Scores, and where in the arguments their members are.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    pub args: Args<'a>,
    pub scores: &'a [f64],
    /// The first member; the others follow at this distance.
    pub first: usize,
    pub step: usize,
}

impl<'a> Pairs<'a> {
    fn iter(&self) -> impl Iterator<Item = (f64, &'a [u8])> {
        let Pairs { args, first, step, .. } = *self;
        self.scores.iter().enumerate().map(move |(at, score)| (*score, args.get(first + at * step)))
    }
}

/// What became of all pairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub added: u64,
    pub updated: u64,
    /// The last score that was asked for and not refused.
    score: Option<f64>,
}

impl Tally {
    pub fn changes(&self) -> u64 {
        self.added + self.updated
    }

    fn count(&mut self, change: Change, decided: Option<f64>) {
        match change {
            Change::Added(_) => self.added += 1,
            Change::Moved { .. } => self.updated += 1,
            Change::None(_) => {}
        }
        self.score = decided.or(self.score);
    }
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
pub fn zadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    zadd_with(ctx, args, Conditions::default())
}

/// ZINCRBY key increment member
pub fn zincrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    zadd_with(ctx, args, Conditions { increments: true, ..Conditions::default() })
}

fn zadd_with(ctx: &mut Ctx<'_>, args: &Args<'_>, mut conditions: Conditions) -> Outcome {
    let mut at = 2;
    while at < args.len() && conditions.take(args.get(at)) {
        at += 1;
    }
    let rest = args.len() - at;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    conditions.check(rest / 2)?;
    if rest == 2 {
        let scores = [score(args.get(at))?];
        return finish(ctx, conditions, &Pairs { args: *args, scores: &scores, first: at + 1, step: 2 });
    }
    let scores = args.iter_from(at).step_by(2).map(score).collect::<Result<Vec<f64>, Error>>()?;
    finish(ctx, conditions, &Pairs { args: *args, scores: &scores, first: at + 1, step: 2 })
}

#[inline]
fn score(arg: &[u8]) -> Result<f64, Error> {
    if arg.len() <= EXACT_CHARS
        && let Some(number) = parse_i64(arg)
    {
        return Ok(number as f64);
    }
    parse_f64(arg).ok_or(Error::NotFloat)
}

fn finish(ctx: &mut Ctx<'_>, conditions: Conditions, pairs: &Pairs<'_>) -> Outcome {
    let tally = add(ctx, conditions, pairs)?;
    match (conditions.increments, tally.score) {
        (true, Some(score)) => ctx.out.double(score),
        (true, None) => ctx.out.null(),
        (false, _) if conditions.counts_changes => ctx.out.int(tally.changes() as i64),
        (false, _) => ctx.out.int(tally.added as i64),
    }
    Ok(())
}

/// Sets scores in the sorted set at argument 1, with all that belongs to it but the reply.
pub fn add(ctx: &mut Ctx<'_>, conditions: Conditions, pairs: &Pairs<'_>) -> Result<Tally, Error> {
    let key = pairs.args.get(1);
    let tally = with_scratch(|new| {
        let held = ctx.keys.collection_to_change::<Zset>(key)?;
        let run = match held {
            Some(HeldMut::Full(set)) => {
                let mut tally = Tally::default();
                add_to_full(set, conditions, pairs.iter(), &mut tally)?;
                if tally.changes() > 0 {
                    ctx.keys.changed(key);
                }
                return Ok(tally);
            }
            Some(HeldMut::Packed(run)) => run,
            None if conditions.if_present => return Ok(Tally::default()),
            None => &[],
        };
        let mut tally = Tally::default();
        let full = add_to_compact(run, new, conditions, pairs, ctx.encodings.zset, &mut tally)?;
        if tally.changes() > 0 {
            match full {
                Some(full) => ctx.keys.set_full(key, full),
                None => ctx.keys.set_packed::<Zset>(key, new),
            }
        }
        Ok::<_, Error>(tally)
    })?;
    if tally.changes() > 0 {
        event(ctx, key, if conditions.increments { "zincr" } else { "zadd" });
        ctx.changed(tally.changes());
    }
    Ok(tally)
}

fn add_to_full<'a>(
    set: &mut Zset,
    conditions: Conditions,
    pairs: impl Iterator<Item = (f64, &'a [u8])>,
    tally: &mut Tally,
) -> Outcome {
    for (score, member) in pairs {
        let mut decided = Ok(None);
        let change = set.update(member, |current| {
            decided = conditions.decide(current, score);
            decided.as_ref().ok().copied().flatten()
        });
        tally.count(change, decided?);
    }
    Ok(())
}

/// Writes the changed run to `new`, or returns the set that it has become.
fn add_to_compact(
    run: &[u8],
    new: &mut Vec<u8>,
    conditions: Conditions,
    pairs: &Pairs<'_>,
    limits: Limits,
    tally: &mut Tally,
) -> Result<Option<Zset>, Error> {
    let mut walk = pairs.iter();
    // So many would not fit, even if some of them are there already.
    let mut full = (pairs.scores.len() > limits.entries).then(|| Zset::from_compact(run));
    let mut spare = Vec::new();
    while full.is_none() {
        let Some((score, member)) = walk.next() else { return Ok(None) };
        let mut decided = Ok(None);
        let decide = |current| {
            decided = conditions.decide(current, score);
            decided.as_ref().ok().copied().flatten()
        };
        let unchanged = tally.changes() == 0;
        let update = if unchanged {
            compact::update(run, member, limits, decide, new)
        } else {
            spare.clear();
            compact::update(new, member, limits, decide, &mut spare)
        };
        let decided = decided?;
        match update {
            Update::Done(change) => {
                if !unchanged && !matches!(change, Change::None(_)) {
                    std::mem::swap(new, &mut spare);
                }
                tally.count(change, decided);
            }
            Update::TooMuch => {
                let mut set = Zset::from_compact(if unchanged { run } else { new });
                tally.count(set.insert(score, member), decided);
                full = Some(set);
            }
        }
    }
    if let Some(set) = &mut full {
        add_to_full(set, conditions, walk, tally)?;
    }
    Ok(full)
}
