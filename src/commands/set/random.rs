//! Members by chance: SPOP and SRANDMEMBER.

use std::collections::HashSet;

use super::{Ctx, Error, Outcome, event, put, read, set_of, write_member};
use crate::commands::options::int;
use crate::commands::scratch::with_scratch;
use crate::keyspace::{Dice, HeldMut, graveyard};
use crate::resp::{Args, Writer};
use crate::types::Collection;
use crate::types::set::compact;
use crate::types::set::{Draft, Set, SetRef};

/// SREM that replicas get for SPOP has up to so many members.
const MOST_TOLD_AT_ONCE: usize = 1024;
/// If no more than one in so many stays, those that stay are picked, as in Redis.
const STAYING_ONE_IN: usize = 5;
/// If more than one in so many is wanted, they are picked from a list of all.
const WANTED_ONE_IN: usize = 3;

/// SPOP key [count]
pub fn spop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    const NEGATIVE: Error = Error::text("ERR value is out of range, must be positive");
    let key = args.get(1);
    match args.len() {
        2 => pop_one(ctx, key),
        3 => {
            let count = int(args.get(2)).ok().and_then(|count| usize::try_from(count).ok()).ok_or(NEGATIVE)?;
            pop_many(ctx, key, count)
        }
        _ => Err(Error::Syntax),
    }
}

fn pop_one(ctx: &mut Ctx<'_>, key: &[u8]) -> Outcome {
    let mut dice = ctx.keys.dice();
    let is_empty = with_scratch(|room| {
        let is_empty = match ctx.keys.collection_to_change::<Set>(key)? {
            None => {
                ctx.out.null();
                return Ok(false);
            }
            Some(HeldMut::Full(set)) => {
                let member = set.pop_random(|| dice.roll());
                room.extend_from_slice(member.as_ref().map_or(b"", |member| member.name()));
                let is_empty = set.is_empty();
                ctx.out.bulk(room);
                ctx.propagate_as(&[b"SREM", key, room]);
                ctx.keys.changed(key);
                is_empty
            }
            Some(HeldMut::Packed(bytes)) => {
                room.extend_from_slice(bytes);
                let index = dice.below(compact::len(room));
                if let Some(member) = compact::nth(room, index) {
                    write_member(&mut ctx.out, member);
                    ctx.propagate_as(&[b"SREM", key, member.text(&mut [0; _])]);
                }
                compact::remove_nth(room, index);
                let is_empty = compact::len(room) == 0;
                if !is_empty {
                    ctx.keys.set_packed::<Set>(key, room);
                }
                is_empty
            }
        };
        event(ctx, key, "spop");
        ctx.changed(1);
        Ok::<_, Error>(is_empty)
    })?;
    if is_empty {
        remove_key(ctx, key);
    }
    Ok(())
}

/// The key has lost its last member.
fn remove_key(ctx: &mut Ctx<'_>, key: &[u8]) {
    ctx.keys.remove(key);
    ctx.event(key, "del");
}

fn pop_many(ctx: &mut Ctx<'_>, key: &[u8], count: usize) -> Outcome {
    // For a write: counts no hit or miss.
    ctx.keys.collection_to_change::<Set>(key)?;
    let set = ctx.keys.found(key).map_or(SetRef::NONE, set_of);
    let len = set.len();
    if count == 0 || len == 0 {
        ctx.out.set(0);
        return Ok(());
    }
    if count >= len {
        ctx.out.set(len);
        set.iter().for_each(|member| write_member(&mut ctx.out, member));
        event(ctx, key, "spop");
        remove_key(ctx, key);
        ctx.propagate_as(&[b"DEL", key]);
        ctx.changed(len as u64);
        return Ok(());
    }
    ctx.out.set(count);
    match set {
        SetRef::Compact(_) => pop_from_compact(ctx, key, count)?,
        SetRef::Full(_) if (len - count) * STAYING_ONE_IN > count => pop_from_full(ctx, key, count)?,
        SetRef::Full(_) => pop_all_but(ctx, key, len - count)?,
    }
    event(ctx, key, "spop");
    ctx.changed(count as u64);
    Ok(())
}

/// `wanted` of `left` things that come one by one, each with the same chance.
struct Draw {
    wanted: usize,
    left: usize,
    dice: Dice,
}

impl Draw {
    /// Whether the next one is among them.
    fn takes_next(&mut self) -> bool {
        let takes = self.dice.below(self.left.max(1)) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= usize::from(takes);
        takes
    }
}

fn pop_from_compact(ctx: &mut Ctx<'_>, key: &[u8], count: usize) -> Outcome {
    let dice = ctx.keys.dice();
    with_scratch(|room| {
        if let Some(HeldMut::Packed(bytes)) = ctx.keys.collection_to_change::<Set>(key)? {
            room.extend_from_slice(bytes);
        }
        let mut draw = Draw { wanted: count, left: compact::len(room), dice };
        let mut told = Vec::new();
        compact::retain(room, |member| {
            let goes = draw.takes_next();
            if goes {
                write_member(&mut ctx.out, member);
                if ctx.propagation.is_some() {
                    told.push(member.to_vec());
                }
            }
            !goes
        });
        ctx.keys.set_packed::<Set>(key, room);
        propagate_removal(ctx, key, told.iter().map(Vec::as_slice));
        Ok(())
    })
}

fn pop_from_full(ctx: &mut Ctx<'_>, key: &[u8], count: usize) -> Outcome {
    let mut dice = ctx.keys.dice();
    let Some(HeldMut::Full(set)) = ctx.keys.collection_to_change::<Set>(key)? else { return Ok(()) };
    let mut told = Vec::new();
    for member in (0..count).map_while(|_| set.pop_random(|| dice.roll())) {
        ctx.out.bulk(member.name());
        if ctx.propagation.is_some() {
            told.push(member);
        }
    }
    ctx.keys.changed(key);
    propagate_removal(ctx, key, told.iter().map(|member| member.name()));
    Ok(())
}

/// Leaves `staying` members, in a set that begins as a small one does.
fn pop_all_but(ctx: &mut Ctx<'_>, key: &[u8], staying: usize) -> Outcome {
    let mut dice = ctx.keys.dice();
    let Some(HeldMut::Full(set)) = ctx.keys.collection_to_change::<Set>(key)? else { return Ok(()) };
    let mut rest = Draft::Compact(compact::list());
    for member in (0..staying).map_while(|_| set.pop_random(|| dice.roll())) {
        rest.add(member.name(), &ctx.encodings.set);
    }
    let gone = std::mem::take(set);
    gone.iter().for_each(|member| ctx.out.bulk(member));
    put(&mut ctx.keys, key, rest);
    propagate_removal(ctx, key, gone.iter());
    graveyard::bury(Box::new(gone.into_object()));
    Ok(())
}

fn propagate_removal<'m>(ctx: &mut Ctx<'_>, key: &'m [u8], members: impl Iterator<Item = &'m [u8]>) {
    if !ctx.propagates() {
        return;
    }
    let mut members = members.peekable();
    while members.peek().is_some() {
        let mut command: Vec<&[u8]> = vec![b"SREM", key];
        command.extend(members.by_ref().take(MOST_TOLD_AT_ONCE));
        ctx.propagate_as(&command);
    }
}

/// SRANDMEMBER key [count]
pub fn srandmember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let mut dice = ctx.keys.dice();
    match args.len() {
        2 => {
            match read(&mut ctx.keys, key)?.and_then(|set| set.random(|| dice.roll())) {
                Some(member) => write_member(&mut ctx.out, member),
                None => ctx.out.null(),
            }
            Ok(())
        }
        3 => {
            const TOO_LOW: Error = Error::text(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            );
            let wanted = int(args.get(2))?;
            if wanted == i64::MIN {
                return Err(TOO_LOW);
            }
            let set = read(&mut ctx.keys, key)?.unwrap_or(SetRef::NONE);
            write_some(&mut ctx.out, set, wanted, dice);
            Ok(())
        }
        _ => Err(Error::Syntax),
    }
}

/// Writes members by chance: below zero, so many, of which some may be the same; else so many different ones, or all.
fn write_some(out: &mut Writer<'_>, set: SetRef<'_>, wanted: i64, mut dice: Dice) {
    let (len, count) = (set.len(), wanted.unsigned_abs() as usize);
    if len == 0 {
        out.array(0);
    } else if wanted < 0 || count == 1 {
        out.array(count);
        for member in (0..count).map_while(|_| set.random(|| dice.roll())) {
            write_member(out, member);
        }
    } else if count >= len {
        out.array(len);
        set.iter().for_each(|member| write_member(out, member));
    } else {
        out.array(count);
        match set {
            SetRef::Compact(bytes) => {
                let mut draw = Draw { wanted: count, left: len, dice };
                compact::members(bytes).filter(|_| draw.takes_next()).for_each(|member| write_member(out, member));
            }
            SetRef::Full(set) if count * WANTED_ONE_IN > len => write_of_all(out, set, count, dice),
            SetRef::Full(set) => write_distinct(out, set, count, dice),
        }
    }
}

fn write_of_all(out: &mut Writer<'_>, set: &Set, count: usize, mut dice: Dice) {
    let mut all: Vec<&[u8]> = set.iter().collect();
    for i in 0..count {
        let other = i + dice.below(all.len() - i);
        all.swap(i, other);
        out.bulk(all[i]);
    }
}

fn write_distinct(out: &mut Writer<'_>, set: &Set, count: usize, mut dice: Dice) {
    let mut seen = HashSet::with_capacity(count);
    while seen.len() < count {
        let Some(member) = set.random(|| dice.roll()) else { return };
        if seen.insert(member.as_ptr()) {
            out.bulk(member);
        }
    }
}
