//! LPOP, RPOP, LMPOP, and BLPOP, BRPOP and BLMPOP, which wait for an element.
//!
//! Replicas are told of the pop that LMPOP and those that wait come to.

use std::ops::Range;

use super::{Left, after_shrinking, event_of_pop, len_to_change, side_of, with_scratch, write_item};
use crate::commands::blocking::{AtTimeout, until_of_seconds};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{HeldMut, Kind, WrongType};
use crate::resp::{Args, Writer};
use crate::types::list::{List, Side, compact};
use crate::types::packed::Item;

const NEGATIVE_COUNT: Error = Error::text("ERR value is out of range, must be positive");
const NO_KEYS: Error = Error::text("ERR numkeys should be greater than 0");
const NO_COUNT: Error = Error::text("ERR count should be greater than 0");

/// Takes `count` elements, and not more than there are, off the list at the key, and hands them to `take` in the order in which they go.
/// [`popped`] is to follow.
pub(super) fn pop(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    side: Side,
    count: u64,
    mut take: impl FnMut(&mut Writer<'_>, Item<'_>),
) -> Result<Left, WrongType> {
    let Ctx { keys, out, .. } = ctx;
    with_scratch(|kept| match keys.collection_to_change::<List>(key)? {
        None => Ok(Left::Some),
        Some(HeldMut::Packed(packed)) => {
            let (len, count) = (compact::len(packed), count as usize);
            compact::range(packed, side, 0, count, |item| take(out, item));
            if count == len {
                return Ok(Left::Nothing);
            }
            let keep = match side {
                Side::Front => count..len,
                Side::Back => 0..len - count,
            };
            compact::trim(packed, keep, kept);
            keys.set_packed::<List>(key, kept);
            Ok(Left::Some)
        }
        Some(HeldMut::Full(list)) => {
            for _ in 0..count {
                list.pop(side, |item| take(out, item));
            }
            Ok(if list.is_empty() { Left::Nothing } else { Left::Some })
        }
    })
}

/// Tells of a pop, and ends a list without elements.
pub(super) fn popped(ctx: &mut Ctx<'_>, key: &[u8], side: Side, count: u64, left: Left) -> Outcome {
    after_shrinking(ctx, key, event_of_pop(side), left)?;
    ctx.changed(count);
    Ok(())
}

/// Replies with `count` elements that it pops, and tells of it.
fn reply_popped(ctx: &mut Ctx<'_>, key: &[u8], side: Side, count: u64) -> Outcome {
    let left = pop(ctx, key, side, count, write_item)?;
    popped(ctx, key, side, count, left)
}

fn pop_command(ctx: &mut Ctx<'_>, args: &Args<'_>, side: Side, name: &str) -> Outcome {
    if args.len() > 3 {
        return Err(Error::arity(name));
    }
    let key = args.get(1);
    let count = args.opt(2).map(|arg| int(arg).map_err(|_| NEGATIVE_COUNT));
    let count = match count.transpose()? {
        Some(count) => Some(u64::try_from(count).map_err(|_| NEGATIVE_COUNT)?),
        None => None,
    };
    let Some(len) = len_to_change(ctx, key)? else {
        match count {
            Some(_) => ctx.out.null_array(),
            None => ctx.out.null(),
        }
        return Ok(());
    };
    match count {
        None => reply_popped(ctx, key, side, 1),
        Some(0) => {
            ctx.out.array(0);
            Ok(())
        }
        Some(count) => {
            let count = count.min(len);
            ctx.out.array(count as usize);
            reply_popped(ctx, key, side, count)
        }
    }
}

/// LPOP key [count]
pub fn lpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    pop_command(ctx, args, Side::Front, "lpop")
}

/// RPOP key [count]
pub fn rpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    pop_command(ctx, args, Side::Back, "rpop")
}

/// What LMPOP and BLMPOP say behind their names and the timeout.
struct Wanted {
    keys: Range<usize>,
    side: Side,
    count: u64,
}

/// `numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`, from an argument on.
fn wanted(args: &Args<'_>, at: usize) -> Result<Wanted, Error> {
    let number = |arg: &[u8], error: Error| int(arg).ok().filter(|number| *number > 0).ok_or(error);
    let keys = number(args.get(at), NO_KEYS)?;
    let behind = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(at + 1));
    let behind = behind.filter(|behind| *behind < args.len()).ok_or(Error::Syntax)?;
    let side = side_of(args.get(behind))?;
    let mut count = None;
    let mut i = behind + 1;
    while i < args.len() {
        if count.is_some() || !args.is(i, "count") || i + 1 == args.len() {
            return Err(Error::Syntax);
        }
        count = Some(number(args.get(i + 1), NO_COUNT)? as u64);
        i += 2;
    }
    Ok(Wanted { keys: at + 1..behind, side, count: count.unwrap_or(1) })
}

/// Pops from the first of the keys that has a list: key and elements, as a pair. Whether there was one.
fn pop_several(ctx: &mut Ctx<'_>, args: &Args<'_>, wanted: &Wanted, keys: Range<usize>) -> Result<bool, Error> {
    for at in keys {
        let key = args.get(at);
        let Some(len) = len_to_change(ctx, key)? else { continue };
        let count = wanted.count.min(len);
        ctx.out.array(2);
        ctx.out.bulk(key);
        ctx.out.array(count as usize);
        reply_popped(ctx, key, wanted.side, count)?;
        ctx.propagate_with_number(&[command_of(wanted.side), key], count);
        return Ok(true);
    }
    Ok(false)
}

/// The command that pops from a side.
fn command_of(side: Side) -> &'static [u8] {
    match side {
        Side::Front => b"LPOP",
        Side::Back => b"RPOP",
    }
}

/// LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
pub fn lmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let wanted = wanted(args, 1)?;
    if !pop_several(ctx, args, &wanted, wanted.keys.clone())? {
        ctx.out.null_array();
    }
    Ok(())
}

/// BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
pub fn blmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let wanted = wanted(args, 2)?;
    let until_ms = until_of_seconds(args.get(1), ctx.keys.now_ms())?;
    let candidates = ctx.candidates(wanted.keys.clone());
    if !pop_several(ctx, args, &wanted, candidates)? {
        ctx.block(wanted.keys, Kind::List, until_ms, AtTimeout::NullArray);
    }
    Ok(())
}

fn blocking_pop(ctx: &mut Ctx<'_>, args: &Args<'_>, side: Side) -> Outcome {
    let keys = 1..args.len() - 1;
    let until_ms = until_of_seconds(args.get(keys.end), ctx.keys.now_ms())?;
    for at in ctx.candidates(keys.clone()) {
        let key = args.get(at);
        if len_to_change(ctx, key)?.is_none() {
            continue;
        }
        ctx.out.array(2);
        ctx.out.bulk(key);
        reply_popped(ctx, key, side, 1)?;
        ctx.propagate_as(&[command_of(side), key]);
        return Ok(());
    }
    ctx.block(keys, Kind::List, until_ms, AtTimeout::NullArray);
    Ok(())
}

/// BLPOP key [key ...] timeout
pub fn blpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    blocking_pop(ctx, args, Side::Front)
}

/// BRPOP key [key ...] timeout
pub fn brpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    blocking_pop(ctx, args, Side::Back)
}
