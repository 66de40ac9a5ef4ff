//! The commands that work on keys of any type.
//!
//! - here: existence, type, removal, renaming and moving, OBJECT, MEMORY USAGE
//! - `expire`: the EXPIRE and TTL families
//! - `transfer`: COPY, DUMP, RESTORE

mod expire;
mod transfer;

pub use expire::{expire, expireat, expiretime, persist, pexpire, pexpireat, pexpiretime, pttl, ttl};
pub use transfer::{copy, dump, restore};

use super::options::{database, int};
use super::{Ctx, Error, Outcome, introspect, table};
use crate::keyspace::{EventClass, Meta};
use crate::resp::Args;

/// Of MOVE and COPY onto the very same key.
const SAME_OBJECT: Error = Error::text("ERR source and destination objects are the same");

/// DEL key [key ...]
pub fn del(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let mut removed = 0;
    for key in args.iter_from(1) {
        if ctx.keys.remove(key) {
            ctx.event(key, "del");
            removed += 1;
        }
    }
    ctx.changed(removed);
    ctx.out.int(removed as i64);
    Ok(())
}

/// UNLINK key [key ...]
pub fn unlink(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    del(ctx, args)
}

/// EXISTS key [key ...]
pub fn exists(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let found = args.iter_from(1).filter(|key| ctx.keys.exists(key)).count();
    ctx.out.int(found as i64);
    Ok(())
}

/// TOUCH key [key ...]
pub fn touch(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let found = args.iter_from(1).filter(|key| ctx.keys.touch(key)).count();
    ctx.out.int(found as i64);
    Ok(())
}

/// TYPE key
pub fn type_(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    // Counts as a hit or miss, which asking for the kind alone does not.
    let kind = if ctx.keys.exists(key) { ctx.keys.kind(key) } else { None };
    ctx.out.simple(kind.map_or("none", |kind| kind.name()));
    Ok(())
}

/// RENAME key newkey
pub fn rename(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (from, to) = (args.get(1), args.get(2));
    require(ctx, from)?;
    // What has expired there goes first.
    ctx.keys.kind(to);
    move_value(ctx, from, to);
    ctx.out.ok();
    Ok(())
}

/// RENAMENX key newkey
pub fn renamenx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (from, to) = (args.get(1), args.get(2));
    require(ctx, from)?;
    let free = ctx.keys.kind(to).is_none();
    if free {
        move_value(ctx, from, to);
    }
    ctx.out.int(free as i64);
    Ok(())
}

fn require(ctx: &mut Ctx<'_>, key: &[u8]) -> Outcome {
    ctx.keys.kind(key).map(|_| ()).ok_or(Error::NoSuchKey)
}

/// Gives the value and expiry of one key to another. To itself: changes nothing.
fn move_value(ctx: &mut Ctx<'_>, from: &[u8], to: &[u8]) {
    if from == to {
        return;
    }
    if let Some(taken) = ctx.keys.take(from) {
        ctx.keys.put(to, taken);
        ctx.event(from, "rename_from");
        ctx.event(to, "rename_to");
        ctx.changed(1);
    }
}

/// MOVE key db
pub fn move_(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let target = database(ctx.keys.databases(), args.get(2))?;
    if target == ctx.keys.db() {
        return Err(SAME_OBJECT);
    }
    let moves = ctx.keys.kind(key).is_some() && ctx.keys.in_db(target).kind(key).is_none();
    let taken = if moves { ctx.keys.take(key) } else { None };
    ctx.out.int(taken.is_some() as i64);
    if let Some(taken) = taken {
        ctx.keys.in_db(target).put(key, taken);
        ctx.event(key, "move_from");
        ctx.keys.in_db(target).event(key, EventClass::Generic, "move_to");
        ctx.changed(1);
    }
    Ok(())
}

/// Replies with what `tell` makes of a key's metadata, or null if there is no such key.
fn object(ctx: &mut Ctx<'_>, args: &Args<'_>, tell: impl FnOnce(&mut Ctx<'_>, Meta) -> Outcome) -> Outcome {
    match ctx.keys.meta(args.get(2)) {
        Some(meta) => tell(ctx, meta),
        None => {
            ctx.out.null();
            Ok(())
        }
    }
}

/// OBJECT ENCODING key
pub fn object_encoding(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    object(ctx, args, |ctx, meta| {
        ctx.out.bulk_str(meta.encoding);
        Ok(())
    })
}

/// OBJECT FREQ key
pub fn object_freq(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    object(ctx, args, |ctx, meta| {
        if !ctx.keys.counts_frequency() {
            return Err(Error::text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        ctx.out.int(i64::from(meta.frequency));
        Ok(())
    })
}

/// OBJECT IDLETIME key
pub fn object_idletime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    object(ctx, args, |ctx, meta| {
        if ctx.keys.counts_frequency() {
            return Err(Error::text(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
                 policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        ctx.out.int((meta.idle_ms / 1000) as i64);
        Ok(())
    })
}

/// OBJECT REFCOUNT key. Always 1: keys share no values.
pub fn object_refcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    object(ctx, args, |ctx, _| {
        ctx.out.int(1);
        Ok(())
    })
}

/// OBJECT HELP
pub fn object_help(ctx: &mut Ctx<'_>, _args: &Args<'_>) -> Outcome {
    let object = table::find("object").ok_or(Error::Syntax)?;
    introspect::write_help(object, &mut ctx.out);
    Ok(())
}

/// MEMORY USAGE key [SAMPLES count]. Nothing is estimated from samples, so their number is checked and not used.
pub fn memory_usage(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    for i in (3..args.len()).step_by(2) {
        let samples = args.opt(i + 1).filter(|_| args.is(i, "samples")).ok_or(Error::Syntax)?;
        if int(samples)? < 0 {
            return Err(Error::Syntax);
        }
    }
    object(ctx, args, |ctx, meta| {
        ctx.out.int(meta.bytes as i64);
        Ok(())
    })
}

#[cfg(test)]
mod tests;
