//! When fields end: the HEXPIRE and HTTL families, as in Redis 7.4.

use super::draft::{Draft, Fate};
use super::{Ctx, Error, Held, Outcome, compact};
use crate::commands::options::{TimeForm, int};
use crate::resp::Args;
use crate::types::hash::{Hash, MOST_EXPIRE_AT_MS, Prior};

/// What is answered of a field: it is not there.
const NO_FIELD: i64 = -2;
/// It does not expire.
const NO_EXPIRY: i64 = -1;
const CONDITION_NOT_MET: i64 = 0;
const DONE: i64 = 1;
/// The time was past: the field is gone.
const DELETED: i64 = 2;

const NO_FIELDS_WORD: Error = Error::text("ERR Mandatory argument FIELDS is missing or not at the right position");
const WRONG_COUNT: Error = Error::text("ERR The `numfields` parameter must match the number of arguments");
const NOT_POSITIVE: Error = Error::text("ERR Number of fields must be a positive integer");
const NOT_ABOVE_ZERO: Error = Error::text("ERR Parameter `numFields` should be greater than 0");

/// The fields behind `FIELDS numfields`, which is at that argument and everything from there on. The index of the first.
fn fields_from(args: &Args<'_>, at: usize, bad_count: Error) -> Result<usize, Error> {
    if !args.opt(at).is_some_and(|word| word.eq_ignore_ascii_case(b"fields")) {
        return Err(NO_FIELDS_WORD);
    }
    let count = args.opt(at + 1).and_then(|count| int(count).ok()).filter(|count| *count > 0).ok_or(bad_count)?;
    let first = at + 2;
    if count as usize != args.len() - first { Err(WRONG_COUNT) } else { Ok(first) }
}

/// The same for the commands that refuse a count that is not positive in these words.
pub(super) fn named_fields(args: &Args<'_>, at: usize) -> Result<usize, Error> {
    fields_from(args, at, NOT_POSITIVE)
}

/// A time of a field: Unix time in milliseconds.
pub(super) fn field_time(form: TimeForm, amount: &[u8], now_ms: u64, command: &str) -> Result<u64, Error> {
    let amount = int(amount)?;
    if amount < 0 {
        return Err(Error::text("ERR invalid expire time, must be >= 0"));
    }
    let at_ms = form.at_ms(amount, now_ms).map(|at_ms| at_ms as u64).filter(|at_ms| *at_ms <= MOST_EXPIRE_AT_MS);
    at_ms.ok_or_else(|| Error::invalid_expire(command))
}

/// Which expiry a field must have for the new one to take its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    fn from_word(word: &[u8]) -> Option<Condition> {
        const WORDS: [(&[u8], Condition); 4] =
            [(b"nx", Condition::Nx), (b"xx", Condition::Xx), (b"gt", Condition::Gt), (b"lt", Condition::Lt)];
        WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, condition)| *condition)
    }

    /// No expiry counts as the latest there is.
    fn holds(self, old_ms: Option<u64>, new_ms: u64) -> bool {
        match (self, old_ms) {
            (Condition::Always, _) => true,
            (Condition::Nx, old_ms) => old_ms.is_none(),
            (Condition::Xx, old_ms) => old_ms.is_some(),
            (Condition::Gt, old_ms) => old_ms.is_some_and(|old_ms| new_ms > old_ms),
            (Condition::Lt, old_ms) => old_ms.is_none_or(|old_ms| new_ms < old_ms),
        }
    }
}

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub fn hexpire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::Seconds, "hexpire")
}

/// HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub fn hpexpire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::Millis, "hpexpire")
}

/// HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub fn hexpireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::AtSeconds, "hexpireat")
}

/// HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub fn hpexpireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::AtMillis, "hpexpireat")
}

fn set_expiry(ctx: &mut Ctx<'_>, args: &Args<'_>, form: TimeForm, command: &str) -> Outcome {
    let key = args.get(1);
    // The type is looked at before the arguments.
    ctx.keys.collection_to_change::<Hash>(key)?;
    let at_ms = field_time(form, args.get(2), ctx.keys.now_ms(), command)?;
    let condition = Condition::from_word(args.get(3));
    let first = fields_from(args, if condition.is_some() { 4 } else { 3 }, NOT_ABOVE_ZERO)?;
    let ends = Ending::at(ctx, at_ms);
    let condition = condition.unwrap_or(Condition::Always);
    let mut touched = Touched::new(ctx);
    let ((), fate) = ctx.change_hash(key, args.iter_from(first), |hash, out| {
        out.array(args.len() - first);
        for field in args.iter_from(first) {
            let answer = end_field(hash, field, at_ms, condition, ends);
            if answer == DONE || answer == DELETED {
                touched.add(field);
            }
            out.int(answer);
        }
        Ok(())
    })?;
    ends.tell(ctx, key, &touched, fate);
    ctx.changed(touched.count);
    Ok(())
}

/// The fields that a command has changed.
pub(super) struct Touched<'a> {
    pub count: u64,
    /// All of them, if anybody is to be told.
    pub fields: Vec<&'a [u8]>,
    kept: bool,
}

impl<'a> Touched<'a> {
    pub fn new(ctx: &Ctx<'_>) -> Self {
        Self { count: 0, fields: Vec::new(), kept: ctx.propagates() }
    }

    pub fn add(&mut self, field: &'a [u8]) {
        self.count += 1;
        if self.kept {
            self.fields.push(field);
        }
    }
}

/// When fields end that are told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Now,
    At(u64),
}

impl Ending {
    pub(super) fn at(ctx: &Ctx<'_>, at_ms: u64) -> Self {
        if ctx.keys.is_past(at_ms) { Ending::Now } else { Ending::At(at_ms) }
    }

    /// Lets a field that is there end.
    pub(super) fn apply(self, hash: &mut Draft<'_>, field: &[u8]) {
        match self {
            Ending::Now => drop(hash.delete(field)),
            Ending::At(at_ms) => drop(hash.set_expiry(field, Some(at_ms))),
        }
    }

    /// Tells clients and replicas of the fields that it was applied to.
    pub(super) fn tell(self, ctx: &mut Ctx<'_>, key: &[u8], touched: &Touched<'_>, fate: Fate) {
        if touched.count == 0 {
            return;
        }
        match self {
            Ending::Now => {
                ctx.tell_of_hash(key, "hdel", fate);
                ctx.propagate_fields(&[b"HDEL", key], &touched.fields);
            }
            Ending::At(at_ms) => {
                ctx.hash_event(key, "hexpire");
                ctx.propagate_field_expiry(key, at_ms, &touched.fields);
            }
        }
    }
}

fn end_field(hash: &mut Draft<'_>, field: &[u8], at_ms: u64, condition: Condition, ends: Ending) -> i64 {
    let Some(prior) = hash.prior(field) else { return NO_FIELD };
    if !condition.holds(prior.expire_at_ms, at_ms) {
        return CONDITION_NOT_MET;
    }
    ends.apply(hash, field);
    if ends == Ending::Now { DELETED } else { DONE }
}

/// HPERSIST key FIELDS numfields field [field ...]
pub fn hpersist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    ctx.keys.collection_to_change::<Hash>(key)?;
    let first = named_fields(args, 2)?;
    let ((), fate) = ctx.change_hash(key, args.iter_from(first), |hash, out| {
        out.array(args.len() - first);
        for field in args.iter_from(first) {
            out.int(match hash.prior(field) {
                None => NO_FIELD,
                Some(Prior { expire_at_ms: None }) => NO_EXPIRY,
                Some(_) => {
                    hash.set_expiry(field, None);
                    DONE
                }
            });
        }
        Ok(())
    })?;
    if fate != Fate::Unchanged {
        ctx.hash_event(key, "hpersist");
        ctx.changed(1);
    }
    Ok(())
}

/// HTTL key FIELDS numfields field [field ...]
pub fn httl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).div_ceil(1000))
}

/// HPTTL key FIELDS numfields field [field ...]
pub fn hpttl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms))
}

/// HEXPIRETIME key FIELDS numfields field [field ...]
pub fn hexpiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, _| at_ms.div_ceil(1000))
}

/// HPEXPIRETIME key FIELDS numfields field [field ...]
pub fn hpexpiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, _| at_ms)
}

/// For each field what `tell` makes of its expiry and of now, both in Unix milliseconds.
fn reply_with_expiry(ctx: &mut Ctx<'_>, args: &Args<'_>, tell: fn(u64, u64) -> u64) -> Outcome {
    let key = args.get(1);
    // The arguments are looked at behind the type, and what they say before the hash is.
    let fields = named_fields(args, 2);
    let first = fields.clone().unwrap_or(args.len());
    let (now_ms, live_ms) = (ctx.keys.now_ms(), ctx.keys.fields_now_ms());
    ctx.keys.expire_fields(key, args.iter_from(first));
    let hash = ctx.keys.collection::<Hash>(key)?;
    fields?;
    ctx.out.array(args.len() - first);
    for field in args.iter_from(first) {
        let prior = match &hash {
            Some(Held::Packed(bytes)) => compact::prior(bytes, field),
            Some(Held::Full(full)) => full.prior(field),
            None => None,
        };
        ctx.out.int(match prior.filter(|prior| prior.is_live(live_ms)) {
            None => NO_FIELD,
            Some(Prior { expire_at_ms: None }) => NO_EXPIRY,
            Some(Prior { expire_at_ms: Some(at_ms) }) => tell(at_ms, now_ms) as i64,
        });
    }
    Ok(())
}
