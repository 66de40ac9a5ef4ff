//! The set commands.
//!
//! A small set is read in place and changed in a copy of its bytes, a large one changed in place; when either becomes the other is for
//! [`Draft`] to know.
//!
//! - here: members of one set, and from one to another
//! - `combine`: intersections, unions, differences
//! - `random`: members by chance

mod combine;
mod random;

pub use combine::{sdiff, sdiffstore, sinter, sintercard, sinterstore, smembers, sunion, sunionstore};
pub use random::{spop, srandmember};

use super::scan_options::{self, NoValues, ScanOptions};
use super::scratch::with_scratch;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Held, HeldMut, KeyView, WrongType};
use crate::resp::{Args, Writer};
use crate::types::packed::Item;
use crate::types::set::compact::{self, Limits};
use crate::types::set::{Draft, Set, SetRef};

/// A set as it is stored, in either form.
fn set_of(held: Held<'_, Set>) -> SetRef<'_> {
    match held {
        Held::Packed(bytes) => SetRef::Compact(bytes),
        Held::Full(set) => SetRef::Full(set),
    }
}

/// The set at the key, to be read.
#[inline]
fn read<'k>(keys: &'k mut KeyView<'_>, key: &[u8]) -> Result<Option<SetRef<'k>>, WrongType> {
    Ok(keys.collection(key)?.map(set_of))
}

#[inline]
fn write_member(out: &mut Writer<'_>, member: Item<'_>) {
    match member {
        Item::Int(number) => out.bulk_int(number),
        Item::Str(text) => out.bulk(text),
    }
}

/// A keyspace event of a set.
fn event(ctx: &mut Ctx<'_>, key: &[u8], name: &'static str) {
    ctx.keys.event(key, EventClass::Set, name);
}

/// Puts a set, as a new key or in place of what was there, whose expiry it keeps. What it returns is room to be used again.
fn put(keys: &mut KeyView<'_>, key: &[u8], draft: Draft) -> Vec<u8> {
    match draft {
        Draft::Compact(bytes) => {
            keys.set_packed::<Set>(key, &bytes);
            bytes
        }
        Draft::Full(set) => {
            keys.set_full(key, set);
            Vec::new()
        }
    }
}

/// Adds the members that the arguments from `from` on name to the set at the key, or to a new one. How many were not there before.
fn add(keys: &mut KeyView<'_>, limits: &Limits, key: &[u8], args: &Args<'_>, from: usize) -> Result<u64, WrongType> {
    let count = args.len() - from;
    with_scratch(|room| {
        let mut draft = match keys.collection_to_change::<Set>(key)? {
            Some(HeldMut::Full(set)) => {
                let added = args.iter_from(from).filter(|member| set.add(member)).count();
                if added > 0 {
                    keys.changed(key);
                }
                return Ok(added as u64);
            }
            Some(HeldMut::Packed(bytes)) => {
                if count == 1 && compact::contains(bytes, Item::of(args.get(from))) {
                    return Ok(0);
                }
                room.extend_from_slice(bytes);
                let mut draft = Draft::Compact(std::mem::take(room));
                draft.expect(count, limits);
                draft
            }
            None => Draft::for_members_in(std::mem::take(room), args.get(from), count, limits),
        };
        let added = args.iter_from(from).filter(|member| draft.add(member, limits)).count();
        if added > 0 {
            *room = put(keys, key, draft);
        }
        Ok(added as u64)
    })
}

/// What was taken out of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Removed {
    count: u64,
    /// Nothing was left, so the key is gone.
    with_key: bool,
}

/// Takes the members that the arguments from `from` on name out of the set at the key, and the key with the last one.
fn remove(keys: &mut KeyView<'_>, key: &[u8], args: &Args<'_>, from: usize) -> Result<Removed, WrongType> {
    let mut count = 0;
    let with_key = with_scratch(|room| match keys.collection_to_change::<Set>(key)? {
        None => Ok(false),
        Some(HeldMut::Full(set)) => {
            for member in args.iter_from(from) {
                count += u64::from(set.remove(member));
                if set.is_empty() {
                    return Ok(true);
                }
            }
            if count > 0 {
                keys.changed(key);
            }
            Ok(false)
        }
        Some(HeldMut::Packed(bytes)) => {
            room.extend_from_slice(bytes);
            for member in args.iter_from(from) {
                count += u64::from(compact::remove(room, Item::of(member)));
                if compact::len(room) == 0 {
                    return Ok(true);
                }
            }
            if count > 0 {
                keys.set_packed::<Set>(key, room);
            }
            Ok(false)
        }
    })?;
    if with_key {
        keys.remove(key);
    }
    Ok(Removed { count, with_key })
}

/// SADD key member [member ...]
pub fn sadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let added = add(&mut ctx.keys, &ctx.encodings.set, key, args, 2)?;
    if added > 0 {
        event(ctx, key, "sadd");
        ctx.changed(added);
    }
    ctx.out.int(added as i64);
    Ok(())
}

/// SREM key member [member ...]
pub fn srem(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let removed = remove(&mut ctx.keys, key, args, 2)?;
    tell_removed(ctx, key, removed);
    ctx.changed(removed.count);
    ctx.out.int(removed.count as i64);
    Ok(())
}

/// The events of members that were removed.
fn tell_removed(ctx: &mut Ctx<'_>, key: &[u8], removed: Removed) {
    if removed.count > 0 {
        event(ctx, key, "srem");
    }
    if removed.with_key {
        ctx.event(key, "del");
    }
}

/// SMOVE source destination member
pub fn smove(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    const MEMBER: usize = 3;
    let (source, destination) = (args.get(1), args.get(2));
    if ctx.keys.collection_to_change::<Set>(source)?.is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    ctx.keys.collection_to_change::<Set>(destination)?;
    if source == destination {
        let is_member = ctx.keys.found(source).map(set_of).is_some_and(|set| set.contains(args.get(MEMBER)));
        ctx.out.int(is_member.into());
        return Ok(());
    }
    let removed = remove(&mut ctx.keys, source, args, MEMBER)?;
    tell_removed(ctx, source, removed);
    if removed.count > 0 {
        let added = add(&mut ctx.keys, &ctx.encodings.set, destination, args, MEMBER)?;
        if added > 0 {
            event(ctx, destination, "sadd");
        }
        ctx.changed(1 + added);
    }
    ctx.out.int(removed.count as i64);
    Ok(())
}

/// SCARD key
pub fn scard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let len = read(&mut ctx.keys, args.get(1))?.map_or(0, SetRef::len);
    ctx.out.int(len as i64);
    Ok(())
}

/// SISMEMBER key member
pub fn sismember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let is_member = read(&mut ctx.keys, args.get(1))?.is_some_and(|set| set.contains(args.get(2)));
    ctx.out.int(is_member.into());
    Ok(())
}

/// SMISMEMBER key member [member ...]
pub fn smismember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let set = read(&mut ctx.keys, args.get(1))?;
    ctx.out.array(args.len() - 2);
    for member in args.iter_from(2) {
        ctx.out.int(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(())
}

/// SSCAN key cursor [MATCH pattern] [COUNT count]
pub fn sscan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let cursor = scan_options::cursor(args)?;
    let Some(set) = read(&mut ctx.keys, args.get(1))? else {
        scan_options::reply_nothing(&mut ctx.out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, NoValues::Refused)?;
    scan_options::reply(&mut ctx.out, |found| {
        let mut emit = |member: &[u8]| {
            if options.wants(member) {
                found.push(member);
            }
        };
        match set {
            SetRef::Compact(bytes) => {
                compact::members(bytes).for_each(|member| emit(member.text(&mut [0; _])));
                0
            }
            SetRef::Full(set) => set.scan(cursor, options.count, emit),
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
