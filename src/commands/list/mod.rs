//! The list commands.
//!
//! A small list is packed in its entry, a large one a [`List`] that hangs off it; which one it is follows from `list-max-listpack-size` and from
//! what is sensible, and only the functions of this file tell them apart. What is read and what is popped goes from there
//! straight into the reply.
//!
//! - here: what the others are made of, LLEN, LINDEX and LRANGE
//! - `push`: LPUSH and its relatives
//! - `pop`: LPOP, LMPOP and their relatives, those that wait for an element included
//! - `transfer`: LMOVE and its relatives
//! - `edit`: LSET, LINSERT, LREM, LTRIM
//! - `search`: LPOS

mod edit;
mod pop;
mod push;
mod search;
mod transfer;

pub use edit::{linsert, lrem, lset, ltrim};
pub use pop::{blmpop, blpop, brpop, lmpop, lpop, rpop};
pub use push::{lpush, lpushx, rpush, rpushx};
pub use search::lpos;
pub use transfer::{blmove, brpoplpush, lmove, rpoplpush};

use std::ops::Range;

use super::options::int;
use super::scratch::with_scratch;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Held, HeldMut, KeyView, WrongType};
use crate::resp::{Args, Writer};
use crate::types::Encodings;
use crate::types::list::{List, Side, compact};
use crate::types::packed::Item;

/// A list as it is stored, to be read.
type ListRef<'a> = Held<'a, List>;

fn len_of(list: &ListRef<'_>) -> u64 {
    match list {
        Held::Packed(bytes) => compact::len(bytes) as u64,
        Held::Full(list) => list.len(),
    }
}

/// The length of the list at a key that may be changed; `None` if there is none.
fn len_to_change(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Option<u64>, WrongType> {
    Ok(ctx.keys.collection_to_change::<List>(key)?.map(|list| match list {
        HeldMut::Packed(bytes) => compact::len(bytes) as u64,
        HeldMut::Full(list) => list.len(),
    }))
}

#[inline]
fn write_item(out: &mut Writer<'_>, item: Item<'_>) {
    match item {
        Item::Int(number) => out.bulk_int(number),
        Item::Str(text) => out.bulk(text),
    }
}

/// Where an element of that index is, counted from the front; below zero it counts from behind the end.
fn position(index: i64, len: u64) -> Option<u64> {
    let position = if index < 0 { len.checked_sub(index.unsigned_abs())? } else { index as u64 };
    (position < len).then_some(position)
}

/// What LRANGE and LTRIM name, empty where that is nothing.
fn clamped(start: i64, end: i64, len: u64) -> Range<u64> {
    let first = if start < 0 { len.saturating_sub(start.unsigned_abs()) } else { start as u64 };
    let behind = match end {
        0.. => len.min(end as u64 + 1),
        _ => (len + 1).saturating_sub(end.unsigned_abs()),
    };
    if first < behind { first..behind } else { 0..0 }
}

fn side_of(word: &[u8]) -> Result<Side, Error> {
    match word {
        _ if word.eq_ignore_ascii_case(b"left") => Ok(Side::Front),
        _ if word.eq_ignore_ascii_case(b"right") => Ok(Side::Back),
        _ => Err(Error::Syntax),
    }
}

fn event_of_push(side: Side) -> &'static str {
    match side {
        Side::Front => "lpush",
        Side::Back => "rpush",
    }
}

fn event_of_pop(side: Side) -> &'static str {
    match side {
        Side::Front => "lpop",
        Side::Back => "rpop",
    }
}

fn event(ctx: &mut Ctx<'_>, key: &[u8], name: &'static str) {
    ctx.keys.event(key, EventClass::List, name);
}

/// Makes the list at the key, which is compact and there, a large one, to which `text_bytes` in `count` elements are about to be added.
fn unpack(keys: &mut KeyView<'_>, encodings: &Encodings, key: &[u8], text_bytes: usize, count: usize) -> Outcome {
    let Some(HeldMut::Packed(bytes)) = keys.collection_to_change::<List>(key)? else { return Ok(()) };
    let mut list = List::from_compact(bytes, encodings.list_plain_ends);
    list.before_growing(encodings.list, text_bytes as u64, count as u64);
    keys.set_full(key, list);
    Ok(())
}

/// Makes sure that the list at the key is one to which `text_bytes` in `count` elements can be added. Nothing to do where there is none.
fn before_growing(ctx: &mut Ctx<'_>, key: &[u8], text_bytes: usize, count: usize) -> Outcome {
    match ctx.keys.collection_to_change::<List>(key)? {
        Some(HeldMut::Packed(bytes)) if compact::fits(bytes, ctx.encodings.list, text_bytes, count) => Ok(()),
        Some(HeldMut::Packed(_)) => unpack(&mut ctx.keys, ctx.encodings, key, text_bytes, count),
        Some(HeldMut::Full(list)) => {
            list.set_plain_ends(ctx.encodings.list_plain_ends);
            list.before_growing(ctx.encodings.list, text_bytes as u64, count as u64);
            Ok(())
        }
        None => Ok(()),
    }
}

/// What a change has left of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Some,
    /// Nothing: the key is still there and has to go.
    Nothing,
}

/// The list at the key has lost elements, or has others: tells of it with an event, and either the key goes, or a list that has become small is
/// packed.
fn after_shrinking(ctx: &mut Ctx<'_>, key: &[u8], what: &'static str, left: Left) -> Outcome {
    ctx.keys.changed(key);
    event(ctx, key, what);
    if left == Left::Nothing {
        ctx.keys.remove(key);
        ctx.event(key, "del");
        return Ok(());
    }
    pack_if_small(&mut ctx.keys, ctx.encodings, key)
}

fn pack_if_small(keys: &mut KeyView<'_>, encodings: &Encodings, key: &[u8]) -> Outcome {
    with_scratch(|packed| {
        let Some(HeldMut::Full(list)) = keys.collection_to_change::<List>(key)? else { return Ok(()) };
        list.after_shrinking(encodings.list);
        if list.may_be_compact() {
            list.write_compact(packed);
            keys.set_packed::<List>(key, packed);
        }
        Ok(())
    })
}

/// LLEN key
pub fn llen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let len = ctx.keys.collection::<List>(args.get(1))?.map_or(0, |list| len_of(&list));
    ctx.out.int(len as i64);
    Ok(())
}

/// LINDEX key index
pub fn lindex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let Some(list) = ctx.keys.collection::<List>(args.get(1))? else {
        ctx.out.null();
        return Ok(());
    };
    let at = position(int(args.get(2))?, len_of(&list));
    let out = &mut ctx.out;
    let found = at.and_then(|at| match list {
        Held::Packed(bytes) => compact::get(bytes, at as usize).map(|item| write_item(out, item)),
        Held::Full(list) => list.get(at, |item| write_item(out, item)),
    });
    if found.is_none() {
        out.null();
    }
    Ok(())
}

/// LRANGE key start stop
pub fn lrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (start, end) = (int(args.get(2))?, int(args.get(3))?);
    let Some(list) = ctx.keys.collection::<List>(args.get(1))? else {
        ctx.out.array(0);
        return Ok(());
    };
    let range = clamped(start, end, len_of(&list));
    let count = range.end - range.start;
    let out = &mut ctx.out;
    out.array(count as usize);
    match list {
        Held::Packed(bytes) => {
            compact::range(bytes, Side::Front, range.start as usize, count as usize, |item| write_item(out, item));
        }
        Held::Full(list) => list.range(Side::Front, range.start, count, |item| write_item(out, item)),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
