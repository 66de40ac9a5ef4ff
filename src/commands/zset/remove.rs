//! ZREM, and the removal of ranges.

use std::ops::Range;

use super::{bounds, event, range};
use crate::commands::options::int;
use crate::commands::scratch::with_scratch;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::HeldMut;
use crate::resp::{Args, Writer};
use crate::types::zset::{Direction, Zset, ZsetRef, compact};

/// ZREM key member [member ...]
pub fn zrem(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let removed = with_scratch(|new| {
        let (removed, left) = match ctx.keys.collection_to_change::<Zset>(key)? {
            None => (0, true),
            Some(HeldMut::Full(set)) => {
                let removed = args.iter_from(2).filter(|member| set.remove(member).is_some()).count();
                (removed, !set.is_empty())
            }
            Some(HeldMut::Packed(run)) => {
                let removed = remove_from_compact(run, new, args.iter_from(2));
                if removed > 0 && !new.is_empty() {
                    ctx.keys.set_packed::<Zset>(key, new);
                    return Ok(told(ctx, key, removed, "zrem", Left::Stored));
                }
                (removed, removed == 0)
            }
        };
        Ok::<_, Error>(told(ctx, key, removed, "zrem", if left { Left::Changed } else { Left::Nothing }))
    })?;
    ctx.out.int(removed as i64);
    Ok(())
}

/// Writes what is left to `new`, if anything was removed.
fn remove_from_compact<'a>(run: &[u8], new: &mut Vec<u8>, members: impl Iterator<Item = &'a [u8]>) -> usize {
    let mut spare = Vec::new();
    let mut removed = 0;
    for member in members {
        if removed == 0 {
            removed += usize::from(compact::remove(run, member, new).is_some());
            continue;
        }
        spare.clear();
        if compact::remove(new, member, &mut spare).is_some() {
            std::mem::swap(new, &mut spare);
            removed += 1;
        }
    }
    removed
}

/// What is left of a set, and what the keyspace knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// Changed in place: the keyspace does not know yet.
    Changed,
    Stored,
}

/// Tells everybody of a removal: the key goes with the last element. Returns how many were removed.
pub fn told(ctx: &mut Ctx<'_>, key: &[u8], removed: usize, name: &'static str, left: Left) -> usize {
    if removed == 0 {
        return 0;
    }
    match left {
        Left::Nothing => {
            ctx.keys.remove(key);
        }
        Left::Changed => ctx.keys.changed(key),
        Left::Stored => {}
    }
    event(ctx, key, name);
    if left == Left::Nothing {
        ctx.event(key, "del");
    }
    ctx.changed(removed as u64);
    removed
}

/// Removes the elements whose ranks `find` returns, which may reply with them. Returns how many they were; `None` if the key is not there.
pub fn remove_ranks(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    name: &'static str,
    find: impl FnOnce(ZsetRef<'_>, &mut Writer<'_>) -> Range<usize>,
) -> Result<Option<usize>, Error> {
    with_scratch(|new| {
        let (removed, left) = match ctx.keys.collection_to_change::<Zset>(key)? {
            None => return Ok(None),
            Some(HeldMut::Full(set)) => {
                let ranks = find(ZsetRef::Full(set), &mut ctx.out);
                let removed = ranks.len();
                if removed == set.len() {
                    // All of it goes with its key, which may take its time.
                    (removed, Left::Nothing)
                } else {
                    (set.remove_range(ranks, |_, _| {}), Left::Changed)
                }
            }
            Some(HeldMut::Packed(run)) => {
                let ranks = find(ZsetRef::Compact(run), &mut ctx.out);
                let removed = if ranks.is_empty() { 0 } else { compact::remove_range(run, ranks, new) };
                if removed > 0 && !new.is_empty() {
                    ctx.keys.set_packed::<Zset>(key, new);
                    (removed, Left::Stored)
                } else {
                    (removed, Left::Nothing)
                }
            }
        };
        Ok(Some(told(ctx, key, removed, name, left)))
    })
}

/// ZREMRANGEBYRANK key start stop
pub fn zremrangebyrank(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (start, stop) = (int(args.get(2))?, int(args.get(3))?);
    remove_range(ctx, args, "zremrangebyrank", |set| range::ranks_between(start, stop, set.len()))
}

/// ZREMRANGEBYSCORE key min max
pub fn zremrangebyscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (min, max) = bounds::scores(args.get(2), args.get(3))?;
    remove_range(ctx, args, "zremrangebyscore", |set| set.score_range(min, max))
}

/// ZREMRANGEBYLEX key min max
pub fn zremrangebylex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (min, max) = bounds::names(args.get(2), args.get(3))?;
    remove_range(ctx, args, "zremrangebylex", |set| set.lex_range(min, max, Direction::Ascending))
}

fn remove_range(
    ctx: &mut Ctx<'_>,
    args: &Args<'_>,
    name: &'static str,
    find: impl FnOnce(ZsetRef<'_>) -> Range<usize>,
) -> Outcome {
    let removed = remove_ranks(ctx, args.get(1), name, |set, _| find(set))?;
    ctx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}
