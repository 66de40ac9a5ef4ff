//! Strings as numbers: INCR and its relatives.

use super::bytes_of;
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{Expiry, NewStr, StrRef};
use crate::resp::Args;
use crate::types::long_double::LongDouble;

/// INCR key
pub fn incr(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    add(ctx, args.get(1), 1)
}

/// DECR key
pub fn decr(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    add(ctx, args.get(1), -1)
}

/// INCRBY key increment
pub fn incrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    add(ctx, args.get(1), int(args.get(2))?)
}

/// DECRBY key decrement
pub fn decrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let increment = int(args.get(2))?.checked_neg().ok_or(Error::text("ERR decrement would overflow"))?;
    add(ctx, args.get(1), increment)
}

fn add(ctx: &mut Ctx<'_>, key: &[u8], increment: i64) -> Outcome {
    let old = match ctx.keys.string_to_change(key)? {
        None => 0,
        Some(StrRef::Int(n)) => n,
        // A number that was written bytewise (APPEND, SETRANGE).
        Some(StrRef::Inline(bytes)) => int(bytes)?,
        Some(StrRef::Shared(bytes)) => int(bytes)?,
    };
    let new = old.checked_add(increment).ok_or(Error::text("ERR increment or decrement would overflow"))?;
    ctx.keys.set_string(key, NewStr::Int(new), Expiry::Keep);
    ctx.string_event(key, "incrby");
    ctx.changed(1);
    ctx.out.int(new);
    Ok(())
}

/// INCRBYFLOAT key increment
pub fn incrbyfloat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let parse = |bytes: &[u8]| LongDouble::parse(bytes).ok_or(Error::NotFloat);
    let old = match ctx.keys.string_to_change(key)? {
        Some(value) => parse(bytes_of(value, &mut itoa::Buffer::new()))?,
        None => parse(b"0")?,
    };
    let new = old + parse(args.get(2))?;
    if !new.is_finite() {
        return Err(Error::text("ERR increment would produce NaN or Infinity"));
    }
    let text = new.to_text();
    ctx.out.bulk(text.as_bytes());
    // The sum itself: another machine might round another way.
    ctx.propagate_as(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    ctx.keys.set_string(key, NewStr::Text(text.into()), Expiry::Keep);
    ctx.string_event(key, "incrbyfloat");
    ctx.changed(1);
    Ok(())
}
