//! The string commands.
//!
//! A string is stored as an integer, inside its entry, or in an allocation that replies share ([`StrRef`]); commands that only
//! read never turn one form into another, and GET, SET and INCR allocate nothing of their own.
//!
//! - here: GET and its relatives, several keys at once
//! - `set`: SET and what it generalises
//! - `counters`: INCR and its relatives
//! - `range`: parts of strings
//! - `lcs`: the longest common subsequence

mod counters;
mod lcs;
mod range;
mod set;

pub use counters::{decr, decrby, incr, incrby, incrbyfloat};
pub use lcs::lcs;
pub use range::{append, getrange, setrange, strlen, substr};
pub use set::{psetex, set, setex, setnx};

use super::options::Lifetime;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{Expiry, NewStr, StrRef};
use crate::resp::{Args, Writer};

/// Argument `i` as a value to store: a large one keeps the allocation it was received in.
#[inline]
fn new_string<'a>(args: &Args<'a>, i: usize) -> NewStr<'a> {
    match args.separate(i) {
        Some(bytes) => NewStr::Take(bytes.clone()),
        None => NewStr::Copy(args.get(i)),
    }
}

/// Writes a stored string as a reply.
#[inline]
pub(super) fn write_string(out: &mut Writer<'_>, value: StrRef<'_>) {
    match value {
        StrRef::Int(n) => out.bulk_int(n),
        StrRef::Inline(bytes) => out.bulk(bytes),
        StrRef::Shared(bytes) => out.bulk_shared(bytes),
    }
}

/// The bytes of a stored string; those of an integer are written into `digits`.
#[inline]
pub(super) fn bytes_of<'a>(value: StrRef<'a>, digits: &'a mut itoa::Buffer) -> &'a [u8] {
    match value {
        StrRef::Int(n) => digits.format(n).as_bytes(),
        StrRef::Inline(bytes) => bytes,
        StrRef::Shared(bytes) => bytes,
    }
}

pub(super) fn len_of(value: StrRef<'_>) -> usize {
    bytes_of(value, &mut itoa::Buffer::new()).len()
}

fn equals(value: StrRef<'_>, bytes: &[u8]) -> bool {
    bytes_of(value, &mut itoa::Buffer::new()) == bytes
}

/// Replies with the string at `key`, or null; whether the key is there.
#[inline]
fn reply_with_string(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, Error> {
    match ctx.keys.string(key)? {
        Some(value) => {
            write_string(&mut ctx.out, value);
            Ok(true)
        }
        None => {
            ctx.out.null();
            Ok(false)
        }
    }
}

/// GET key
pub fn get(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_string(ctx, args.get(1)).map(|_| ())
}

/// GETDEL key
pub fn getdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    if reply_with_string(ctx, key)? {
        ctx.keys.remove(key);
        ctx.event(key, "del");
        ctx.changed(1);
        ctx.propagate_as(&[b"DEL", key]);
    }
    Ok(())
}

/// GETSET key value
pub fn getset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    reply_with_string(ctx, key)?;
    ctx.keys.set_string(key, new_string(args, 2), Expiry::None);
    ctx.string_event(key, "set");
    ctx.changed(1);
    ctx.propagate_as(&[b"SET", key, args.get(2)]);
    Ok(())
}

/// GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]
pub fn getex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let lifetime = getex_lifetime(args)?;
    let key = args.get(1);
    let now_ms = ctx.keys.now_ms();
    let Some(value) = ctx.keys.string(key)? else {
        ctx.out.null();
        return Ok(());
    };
    match lifetime {
        Lifetime::At(time) => {
            let at_ms = time.at_ms(now_ms, "getex")?;
            write_string(&mut ctx.out, value);
            if ctx.keys.is_past(at_ms) {
                ctx.keys.remove(key);
                ctx.event(key, "del");
                ctx.propagate_as(&[b"DEL", key]);
            } else {
                ctx.keys.set_expire_at_ms(key, Some(at_ms));
                ctx.event(key, "expire");
                ctx.propagate_with_number(&[b"PEXPIREAT", key], at_ms);
            }
            ctx.changed(1);
        }
        Lifetime::Persist => {
            write_string(&mut ctx.out, value);
            if let Some(Some(_)) = ctx.keys.expire_at_ms(key) {
                ctx.keys.set_expire_at_ms(key, None);
                ctx.event(key, "persist");
                ctx.changed(1);
                ctx.propagate_as(&[b"PERSIST", key]);
            }
        }
        Lifetime::Unsaid | Lifetime::Keep => write_string(&mut ctx.out, value),
    }
    Ok(())
}

fn getex_lifetime<'a>(args: &Args<'a>) -> Result<Lifetime<'a>, Error> {
    let mut lifetime = Lifetime::Unsaid;
    let mut i = 2;
    while i < args.len() {
        if lifetime.take_time(args, i) {
            i += 2;
        } else if args.is(i, "persist") && lifetime.take_word(Lifetime::Persist) {
            i += 1;
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(lifetime)
}

/// DELIFEQ key value
pub fn delifeq(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let equal = ctx.keys.string_to_change(key)?.is_some_and(|value| equals(value, args.get(2)));
    if equal {
        ctx.keys.remove(key);
        ctx.event(key, "del");
        ctx.changed(1);
        ctx.propagate_as(&[b"DEL", key]);
    }
    ctx.out.int(equal as i64);
    Ok(())
}

/// MGET key [key ...]
pub fn mget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    ctx.out.array(args.len() - 1);
    for key in args.iter_from(1) {
        match ctx.keys.string(key) {
            Ok(Some(value)) => write_string(&mut ctx.out, value),
            // Of another type: as good as absent, so that the others can be read.
            Ok(None) | Err(_) => ctx.out.null(),
        }
    }
    Ok(())
}

/// MSET key value [key value ...]
pub fn mset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    check_pairs(args, "mset")?;
    set_pairs(ctx, args);
    ctx.out.ok();
    Ok(())
}

/// MSETNX key value [key value ...]
pub fn msetnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    check_pairs(args, "msetnx")?;
    let free = args.iter_from(1).step_by(2).all(|key| ctx.keys.kind(key).is_none());
    if free {
        set_pairs(ctx, args);
    }
    ctx.out.int(free as i64);
    Ok(())
}

fn check_pairs(args: &Args<'_>, command: &str) -> Outcome {
    if args.len().is_multiple_of(2) { Err(Error::arity(command)) } else { Ok(()) }
}

fn set_pairs(ctx: &mut Ctx<'_>, args: &Args<'_>) {
    for i in (1..args.len()).step_by(2) {
        let key = args.get(i);
        ctx.keys.set_string(key, new_string(args, i + 1), Expiry::None);
        ctx.string_event(key, "set");
    }
    ctx.changed((args.len() as u64 - 1) / 2);
}

#[cfg(test)]
mod tests;
