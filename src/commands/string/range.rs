//! Parts of strings: APPEND, GETRANGE, SETRANGE, STRLEN.

use super::{bytes_of, len_of, new_string};
use crate::commands::options::{check_string_length, clamp_uncrossed, int};
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{Expiry, StrRef};
use crate::resp::Args;

/// STRLEN key
pub fn strlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let len = ctx.keys.string(args.get(1))?.map_or(0, len_of);
    ctx.out.int(len as i64);
    Ok(())
}

/// APPEND key value
pub fn append(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (key, tail) = (args.get(1), args.get(2));
    let new_len = match ctx.keys.string_to_change(key)?.map(len_of) {
        None => {
            ctx.keys.set_string(key, new_string(args, 2), Expiry::None);
            tail.len()
        }
        Some(old_len) => {
            let new_len = old_len + tail.len();
            check_string_length(ctx, new_len as u64)?;
            ctx.keys.string_bytes_mut(key, new_len)?[old_len..].copy_from_slice(tail);
            ctx.keys.changed(key);
            new_len
        }
    };
    ctx.string_event(key, "append");
    ctx.changed(1);
    ctx.out.int(new_len as i64);
    Ok(())
}

/// SETRANGE key offset value
pub fn setrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (key, part) = (args.get(1), args.get(3));
    let offset = u64::try_from(int(args.get(2))?).map_err(|_| Error::text("ERR offset is out of range"))?;
    let old_len = ctx.keys.string_to_change(key)?.map_or(0, len_of);
    if part.is_empty() {
        ctx.out.int(old_len as i64);
        return Ok(());
    }
    // Neither overflows: the offset was an i64, the length is that of an argument.
    let end = offset + part.len() as u64;
    check_string_length(ctx, end)?;
    let bytes = ctx.keys.string_bytes_mut(key, end as usize)?;
    bytes[offset as usize..end as usize].copy_from_slice(part);
    let new_len = bytes.len();
    ctx.keys.changed(key);
    ctx.string_event(key, "setrange");
    ctx.changed(1);
    ctx.out.int(new_len as i64);
    Ok(())
}

/// GETRANGE key start end
pub fn getrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (start, end) = (int(args.get(2))?, int(args.get(3))?);
    let Some(value) = ctx.keys.string(args.get(1))? else {
        ctx.out.bulk(b"");
        return Ok(());
    };
    let Some(range) = clamp_uncrossed(start, end, len_of(value) as u64) else {
        ctx.out.bulk(b"");
        return Ok(());
    };
    let range = range.start as usize..range.end as usize;
    match value {
        StrRef::Shared(bytes) => ctx.out.bulk_shared(&bytes.slice(range)),
        StrRef::Int(_) | StrRef::Inline(_) => ctx.out.bulk(&bytes_of(value, &mut itoa::Buffer::new())[range]),
    }
    Ok(())
}

/// SUBSTR key start end
pub fn substr(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    getrange(ctx, args)
}
