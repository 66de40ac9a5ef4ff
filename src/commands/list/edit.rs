//! LSET, LINSERT, LREM, LTRIM.

use std::ops::Range;

use super::{Left, after_shrinking, before_growing, clamped, event, len_to_change, position, with_scratch};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{HeldMut, graveyard};
use crate::resp::Args;
use crate::types::list::{List, Side, compact};

/// LSET key index element
pub fn lset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (key, text) = (args.get(1), args.get(3));
    let len = len_to_change(ctx, key)?.ok_or(Error::NoSuchKey)?;
    let index = int(args.get(2))?;
    before_growing(ctx, key, text.len(), 1)?;
    let index = position(index, len).ok_or(Error::OutOfRange)?;
    with_scratch(|out| {
        match ctx.keys.collection_to_change::<List>(key)? {
            None => {}
            Some(HeldMut::Packed(packed)) => {
                compact::set(packed, index as usize, text, out);
                ctx.keys.set_packed::<List>(key, out);
            }
            Some(HeldMut::Full(list)) => {
                list.set(index, text);
            }
        }
        Ok::<(), Error>(())
    })?;
    after_shrinking(ctx, key, "lset", Left::Some)?;
    ctx.changed(1);
    ctx.out.ok();
    Ok(())
}

/// LINSERT key <BEFORE | AFTER> pivot element
pub fn linsert(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let behind = match args.get(2) {
        word if word.eq_ignore_ascii_case(b"after") => 1,
        word if word.eq_ignore_ascii_case(b"before") => 0,
        _ => return Err(Error::Syntax),
    };
    let (key, pivot, text) = (args.get(1), args.get(3), args.get(4));
    let Some(len) = len_to_change(ctx, key)? else {
        ctx.out.int(0);
        return Ok(());
    };
    before_growing(ctx, key, text.len(), 1)?;
    let inserted = with_scratch(|out| {
        Ok::<bool, Error>(match ctx.keys.collection_to_change::<List>(key)? {
            None => false,
            Some(HeldMut::Packed(packed)) => match compact::find(packed, pivot, Side::Front) {
                None => false,
                Some(at) => {
                    compact::insert(packed, at + behind, text, out);
                    ctx.keys.set_packed::<List>(key, out);
                    true
                }
            },
            Some(HeldMut::Full(list)) => match list.find(pivot, Side::Front) {
                None => false,
                Some(at) => list.insert(at + behind as u64, text),
            },
        })
    })?;
    if !inserted {
        ctx.out.int(-1);
        return Ok(());
    }
    ctx.keys.changed(key);
    event(ctx, key, "linsert");
    ctx.changed(1);
    ctx.out.int(len as i64 + 1);
    Ok(())
}

/// LREM key count element
pub fn lrem(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let count = int(args.get(2))?;
    let (key, text) = (args.get(1), args.get(3));
    let side = if count < 0 { Side::Back } else { Side::Front };
    let max = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let (removed, left) = with_scratch(|out| {
        Ok::<(u64, u64), Error>(match ctx.keys.collection_to_change::<List>(key)? {
            None => (0, 0),
            Some(HeldMut::Packed(packed)) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                let removed = compact::remove(packed, text, side, max, out);
                let left = compact::len(out);
                if removed > 0 && left > 0 {
                    ctx.keys.set_packed::<List>(key, out);
                }
                (removed as u64, left as u64)
            }
            Some(HeldMut::Full(list)) => (list.remove(text, side, max), list.len()),
        })
    })?;
    if removed > 0 {
        after_shrinking(ctx, key, "lrem", if left == 0 { Left::Nothing } else { Left::Some })?;
        ctx.changed(removed);
    }
    ctx.out.int(removed as i64);
    Ok(())
}

/// LTRIM key start stop
pub fn ltrim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (start, end) = (int(args.get(2))?, int(args.get(3))?);
    let key = args.get(1);
    if let Some(len) = len_to_change(ctx, key)? {
        let keep = clamped(start, end, len);
        let kept = keep.end - keep.start;
        // A list of which nothing is kept goes with its key.
        if kept > 0 && kept < len {
            cut(ctx, key, keep)?;
        }
        // As in Redis, also where nothing went.
        after_shrinking(ctx, key, "ltrim", if kept == 0 { Left::Nothing } else { Left::Some })?;
        ctx.changed(len - kept);
    }
    ctx.out.ok();
    Ok(())
}

/// Keeps a part of the list at the key, which is neither nothing nor all of it.
fn cut(ctx: &mut Ctx<'_>, key: &[u8], keep: Range<u64>) -> Outcome {
    with_scratch(|out| {
        match ctx.keys.collection_to_change::<List>(key)? {
            None => {}
            Some(HeldMut::Packed(packed)) => {
                compact::trim(packed, keep.start as usize..keep.end as usize, out);
                ctx.keys.set_packed::<List>(key, out);
            }
            Some(HeldMut::Full(list)) => graveyard::bury_debris(list.trim(keep)),
        }
        Ok(())
    })
}
