//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::{before_growing, event, event_of_push, with_scratch};
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::HeldMut;
use crate::resp::Args;
use crate::types::list::{List, Side, compact};

/// Whether a key that is missing comes into being.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Leave,
}

/// Pushes texts one after the other to the list at the key, which is made where it is missing, and tells of it. The length then.
pub(super) fn push<'a, T>(ctx: &mut Ctx<'_>, key: &[u8], side: Side, texts: T) -> Result<u64, Error>
where
    T: DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone,
{
    let (bytes, count) = (texts.clone().map(<[u8]>::len).sum(), texts.len());
    before_growing(ctx, key, bytes, count)?;
    let encodings = ctx.encodings;
    let len = with_scratch(|out| {
        let list = match ctx.keys.collection_to_change::<List>(key)? {
            Some(HeldMut::Full(list)) => {
                texts.for_each(|text| list.push(side, text));
                let len = list.len();
                ctx.keys.changed(key);
                return Ok::<u64, Error>(len);
            }
            Some(HeldMut::Packed(packed)) => Some(packed),
            None if compact::fits(&compact::EMPTY, encodings.list, bytes, count) => Some(&compact::EMPTY[..]),
            None => None,
        };
        if let Some(packed) = list {
            compact::push(packed, side, texts, out);
            ctx.keys.set_packed::<List>(key, out);
            return Ok(compact::len(out) as u64);
        }
        let mut list = List::new(encodings.list_plain_ends);
        list.before_growing(encodings.list, bytes as u64, count as u64);
        texts.for_each(|text| list.push(side, text));
        ctx.keys.set_full(key, list);
        Ok(count as u64)
    })?;
    event(ctx, key, event_of_push(side));
    Ok(len)
}

fn push_all(ctx: &mut Ctx<'_>, args: &Args<'_>, side: Side, missing: Missing) -> Outcome {
    let key = args.get(1);
    if missing == Missing::Leave && ctx.keys.collection_to_change::<List>(key)?.is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    let len = push(ctx, key, side, (2..args.len()).map(|i| args.get(i)))?;
    ctx.changed(args.len() as u64 - 2);
    ctx.out.int(len as i64);
    Ok(())
}

/// LPUSH key element [element ...]
pub fn lpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    push_all(ctx, args, Side::Front, Missing::Create)
}

/// RPUSH key element [element ...]
pub fn rpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    push_all(ctx, args, Side::Back, Missing::Create)
}

/// LPUSHX key element [element ...]
pub fn lpushx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    push_all(ctx, args, Side::Front, Missing::Leave)
}

/// RPUSHX key element [element ...]
pub fn rpushx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    push_all(ctx, args, Side::Back, Missing::Leave)
}
