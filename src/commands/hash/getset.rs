//! HGETDEL, HGETEX and HSETEX: values and expiries of fields at once, as in Redis 8.0.

use super::draft::{Draft, Fate};
use super::expiry::{Ending, Touched, field_time, named_fields};
use super::{Ctx, Error, Outcome};
use crate::commands::error::c_string;
use crate::commands::options::{TimeForm, int};
use crate::resp::{Args, Writer};
use crate::types::hash::{Hash, Ttl};

fn write_field(hash: &Draft<'_>, out: &mut Writer<'_>, field: &[u8]) {
    hash.value(field, |value| match value {
        Some(value) => out.bulk(value),
        None => out.null(),
    });
}

/// HGETDEL key FIELDS numfields field [field ...]
pub fn hgetdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    ctx.keys.collection_to_change::<Hash>(key)?;
    let first = named_fields(args, 2)?;
    let (deleted, fate) = ctx.change_hash(key, args.iter_from(first), |hash, out| {
        out.array(args.len() - first);
        let mut deleted = 0;
        for field in args.iter_from(first) {
            write_field(hash, out, field);
            deleted += u64::from(hash.delete(field));
        }
        Ok(deleted)
    })?;
    if deleted > 0 {
        ctx.tell_of_hash(key, "hdel", fate);
        ctx.propagate_fields(&[b"HDEL", key], &args.iter_from(first).collect::<Vec<_>>());
        ctx.changed(deleted);
    }
    Ok(())
}

/// What HGETEX does to the fields that it reads.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Persist,
    End(Ending),
}

/// HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]
/// FIELDS numfields field [field ...]
pub fn hgetex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    ctx.keys.collection_to_change::<Hash>(key)?;
    let (then, at) = match TimeForm::from_word(args.get(2)) {
        Some(form) => {
            let at_ms = field_time(form, args.get(3), ctx.keys.now_ms(), "hgetex")?;
            (Then::End(Ending::at(ctx, at_ms)), 4)
        }
        None if args.is(2, "persist") => (Then::Persist, 3),
        None => (Then::Nothing, 2),
    };
    let first = named_fields(args, at)?;
    let mut touched = Touched::new(ctx);
    let ((), fate) = ctx.change_hash(key, args.iter_from(first), |hash, out| {
        out.array(args.len() - first);
        for field in args.iter_from(first) {
            write_field(hash, out, field);
            let Some(prior) = hash.prior(field) else { continue };
            match then {
                Then::Nothing => continue,
                Then::Persist if prior.expire_at_ms.is_none() => continue,
                Then::Persist => drop(hash.set_expiry(field, None)),
                Then::End(ending) => ending.apply(hash, field),
            }
            touched.add(field);
        }
        Ok(())
    })?;
    if fate == Fate::Unchanged {
        return Ok(());
    }
    match then {
        Then::Nothing => {}
        Then::Persist => {
            ctx.hash_event(key, "hpersist");
            let mut count = itoa::Buffer::new();
            let count = count.format(touched.fields.len()).as_bytes();
            ctx.propagate_fields(&[b"HPERSIST", key, b"FIELDS", count], &touched.fields);
        }
        Then::End(ending) => ending.tell(ctx, key, &touched, fate),
    }
    ctx.changed(touched.count);
    Ok(())
}

/// When HSETEX sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// FNX: none of the fields exists.
    NoneExists,
    /// FXX: all of them exist.
    AllExist,
}

/// What becomes of the expiries of fields that HSETEX sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Unsaid,
    Keep,
    At(u64),
}

struct SetOptions {
    condition: Condition,
    lifetime: Lifetime,
    /// The index of the first field.
    first: usize,
}

impl SetOptions {
    fn parse(args: &Args<'_>, now_ms: u64) -> Result<SetOptions, Error> {
        const CONDITIONS: Error = Error::text("ERR Only one of FXX or FNX arguments can be specified");
        const LIFETIMES: Error =
            Error::text("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
        let mut options = SetOptions { condition: Condition::Always, lifetime: Lifetime::Unsaid, first: args.len() };
        let mut i = 2;
        while i < args.len() {
            let word = args.get(i);
            let time = TimeForm::from_word(word);
            if args.is(i, "fields") {
                options.first = Self::fields(args, i)?;
                return Ok(options);
            } else if time.is_some() || args.is(i, "keepttl") {
                if options.lifetime != Lifetime::Unsaid {
                    return Err(LIFETIMES);
                }
                options.lifetime = Lifetime::Keep;
                if let Some(form) = time {
                    i += 1;
                    let amount = args.opt(i).ok_or(Error::text("ERR missing expire time"))?;
                    options.lifetime = Lifetime::At(field_time(form, amount, now_ms, "hsetex")?);
                }
            } else if args.is(i, "fxx") || args.is(i, "fnx") {
                if options.condition != Condition::Always {
                    return Err(CONDITIONS);
                }
                options.condition = if args.is(i, "fxx") { Condition::AllExist } else { Condition::NoneExists };
            } else {
                return Err(Error::concat(&[b"ERR unknown argument: ", c_string(word)]));
            }
            i += 1;
        }
        Err(Error::arity("hsetex"))
    }

    /// The index of the first field behind FIELDS, which is at that argument.
    fn fields(args: &Args<'_>, at: usize) -> Result<usize, Error> {
        if at + 3 >= args.len() {
            return Err(Error::arity("hsetex"));
        }
        let count = int(args.get(at + 1)).ok().filter(|count| (1..=i64::from(i32::MAX)).contains(count));
        let count = count.ok_or(Error::text("ERR invalid number of fields"))? as usize;
        let first = at + 2;
        if args.len() - first == 2 * count { Ok(first) } else { Err(Error::arity("hsetex")) }
    }

    fn fields_of<'a>(&self, args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        args.iter_from(self.first).step_by(2)
    }

    fn allow(&self, args: &Args<'_>, hash: &Draft<'_>) -> bool {
        let mut fields = self.fields_of(args);
        match self.condition {
            Condition::Always => true,
            Condition::NoneExists => fields.all(|field| hash.prior(field).is_none()),
            Condition::AllExist => fields.all(|field| hash.prior(field).is_some()),
        }
    }
}

/// HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]
/// FIELDS numfields field value [field value ...]
pub fn hsetex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let options = SetOptions::parse(args, ctx.keys.now_ms())?;
    let ending = match options.lifetime {
        Lifetime::At(at_ms) => Some(Ending::at(ctx, at_ms)),
        Lifetime::Unsaid | Lifetime::Keep => None,
    };
    let ttl = if options.lifetime == Lifetime::Unsaid { Ttl::Drop } else { Ttl::Keep };
    let mut touched = Touched::new(ctx);
    // Fields that keep their expiry.
    let (propagates, mut kept) = (ctx.propagates(), Vec::new());
    let (sets, fate) = ctx.change_hash(key, options.fields_of(args), |hash, _| {
        if !options.allow(args, hash) {
            return Ok(false);
        }
        hash.expect((args.len() - options.first) / 2, args.iter_from(options.first));
        for i in (options.first..args.len()).step_by(2) {
            let field = args.get(i);
            let prior = hash.set(field, args.get(i + 1), ttl);
            touched.add(field);
            match (ending, prior.and_then(|prior| prior.expire_at_ms)) {
                (Some(ending), _) => ending.apply(hash, field),
                (None, Some(at_ms)) if propagates && ttl == Ttl::Keep => kept.push((at_ms, field)),
                (None, _) => {}
            }
        }
        Ok(true)
    })?;
    ctx.out.int(sets as i64);
    if !sets {
        return Ok(());
    }
    ctx.hash_event(key, "hset");
    // Replicas are told by commands that are older than this one. Fields that ended at once they need not hear of.
    if propagates && ending != Some(Ending::Now) {
        ctx.propagate_fields(&[b"HSET", key], &args.iter_from(options.first).collect::<Vec<_>>());
    }
    if let Some(ending) = ending {
        ending.tell(ctx, key, &touched, fate);
    }
    kept.into_iter().for_each(|(at_ms, field)| ctx.propagate_field_expiry(key, at_ms, &[field]));
    ctx.changed(touched.count);
    Ok(())
}
