//! Values that are copied to other keys, or travel: COPY, DUMP, RESTORE.

use super::SAME_OBJECT;
use crate::commands::options::{database, int};
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Taken};
use crate::rdb;
use crate::resp::Args;

/// A field of BITFIELD that begins at the end of the longest string makes it longer by up to this.
const BEYOND_LONGEST_BYTES: u64 = 8;

/// What happens to a key that is already there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    /// REPLACE
    Replace,
}

/// COPY source destination [DB destination-db] [REPLACE]
pub fn copy(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (from, to) = (args.get(1), args.get(2));
    let (target, existing) = copy_options(ctx, args)?;
    if target == ctx.keys.db() && from == to {
        return Err(SAME_OBJECT);
    }
    let copies = ctx.keys.touch(from) && (ctx.keys.in_db(target).kind(to).is_none() || existing == Existing::Replace);
    let copied = if copies { ctx.keys.copy(from) } else { None };
    ctx.out.int(copied.is_some() as i64);
    if let Some(copied) = copied {
        let mut target = ctx.keys.in_db(target);
        target.put(to, copied);
        target.event(to, EventClass::Generic, "copy_to");
        ctx.changed(1);
    }
    Ok(())
}

fn copy_options(ctx: &Ctx<'_>, args: &Args<'_>) -> Result<(usize, Existing), Error> {
    let (mut target, mut existing) = (ctx.keys.db(), Existing::Keep);
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "replace") {
            existing = Existing::Replace;
        } else if args.is(i, "db") && i + 1 < args.len() {
            target = database(ctx.keys.databases(), args.get(i + 1))?;
            i += 1;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    Ok((target, existing))
}

/// DUMP key
pub fn dump(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let copied = if ctx.keys.touch(key) { ctx.keys.copy(key) } else { None };
    match copied {
        Some(taken) => ctx.out.bulk_shared(&rdb::dump(&taken.value, ctx.compression).into()),
        None => ctx.out.null(),
    }
    Ok(())
}

/// How long ago, or how often, a restored key counts as accessed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Now,
    /// IDLETIME
    IdleSeconds(u64),
    /// FREQ
    Frequency(u8),
}

struct RestoreOptions {
    existing: Existing,
    /// ABSTTL
    ttl_is_absolute: bool,
    access: Access,
}

impl RestoreOptions {
    fn parse(args: &Args<'_>) -> Result<RestoreOptions, Error> {
        let mut options = RestoreOptions { existing: Existing::Keep, ttl_is_absolute: false, access: Access::Now };
        let mut i = 4;
        while i < args.len() {
            i += options.take(args, i)?;
        }
        Ok(options)
    }

    /// Takes in the option at argument `i`; how many arguments it has.
    fn take(&mut self, args: &Args<'_>, i: usize) -> Result<usize, Error> {
        let number = args.opt(i + 1);
        match (self.access, number) {
            _ if args.is(i, "replace") => self.existing = Existing::Replace,
            _ if args.is(i, "absttl") => self.ttl_is_absolute = true,
            (Access::Now | Access::IdleSeconds(_), Some(number)) if args.is(i, "idletime") => {
                let seconds = u64::try_from(int(number)?);
                let seconds = seconds.map_err(|_| Error::text("ERR Invalid IDLETIME value, must be >= 0"))?;
                self.access = Access::IdleSeconds(seconds);
                return Ok(2);
            }
            (Access::Now | Access::Frequency(_), Some(number)) if args.is(i, "freq") => {
                let frequency = u8::try_from(int(number)?);
                let frequency =
                    frequency.map_err(|_| Error::text("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
                self.access = Access::Frequency(frequency);
                return Ok(2);
            }
            _ => return Err(Error::Syntax),
        }
        Ok(1)
    }

    /// The expiry that `ttl_ms` stands for; 0 stands for none.
    fn expire_at_ms(&self, ttl_ms: u64, now_ms: u64) -> Option<u64> {
        match ttl_ms {
            0 => None,
            _ if self.ttl_is_absolute => Some(ttl_ms),
            // As in Redis, a sum that no longer fits is a time long ago.
            _ => Some(ttl_ms.checked_add(now_ms).filter(|at_ms| *at_ms <= i64::MAX as u64).unwrap_or(0)),
        }
    }
}

/// A time that was counted from now goes to replicas as the moment it stands for.
fn propagate_restore(ctx: &mut Ctx<'_>, args: &Args<'_>, options: &RestoreOptions, expire_at_ms: Option<u64>) {
    let Some(at_ms) = expire_at_ms.filter(|_| ctx.propagates() && !options.ttl_is_absolute) else { return };
    let mut digits = itoa::Buffer::new();
    let mut words: Vec<&[u8]> = args.iter_from(0).collect();
    words[2] = digits.format(at_ms).as_bytes();
    words.push(b"ABSTTL");
    ctx.propagate_as(&words);
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub fn restore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let options = RestoreOptions::parse(args)?;
    if options.existing == Existing::Keep && ctx.keys.kind(key).is_some() {
        return Err(Error::text("BUSYKEY Target key name already exists."));
    }
    let ttl_ms = u64::try_from(int(args.get(2))?).map_err(|_| Error::text("ERR Invalid TTL value, must be >= 0"))?;
    let longest = ctx.max_bulk_bytes + BEYOND_LONGEST_BYTES;
    let value = rdb::restore(args.get(3), longest, ctx.encodings).map_err(|error| Error::text(error.message()))?;
    let expire_at_ms = options.expire_at_ms(ttl_ms, ctx.keys.now_ms());
    if expire_at_ms.is_some_and(|at_ms| ctx.keys.is_past(at_ms)) {
        // Past already: all that is left to do is what replacing does to the old value.
        let removed = ctx.keys.discard(key);
        if removed {
            ctx.event(key, "del");
            ctx.propagate_as(&[b"DEL", key]);
        }
        ctx.changed(removed as u64);
    } else {
        ctx.keys.put(key, Taken { value, raw: false, expire_at_ms });
        match options.access {
            Access::Now => {}
            Access::IdleSeconds(seconds) => ctx.keys.set_idle_ms(key, seconds.saturating_mul(1000)),
            Access::Frequency(frequency) => ctx.keys.set_frequency(key, frequency),
        }
        ctx.event(key, "restore");
        ctx.changed(1);
        propagate_restore(ctx, args, &options, expire_at_ms);
    }
    ctx.out.ok();
    Ok(())
}
