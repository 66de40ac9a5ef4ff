//! Several sets made one, to be replied with, counted or stored. Missing keys are empty sets.

use super::{Ctx, Error, Outcome, event, put, read, set_of, write_member};
use crate::commands::options::int;
use crate::keyspace::{KeyView, WrongType};
use crate::resp::{Args, Writer};
use crate::types::packed::Item;
use crate::types::set::compact::{self, Limits};
use crate::types::set::{Draft, Set, SetRef};

/// Up to so many sets, each member of a union is looked for in the sets before its own; more are put together first.
const MOST_LOOKED_THROUGH: usize = 8;

/// Sees that all keys are sets or missing, as a read of each. Which arguments name those that are there.
fn check<'a>(keys: &mut KeyView<'_>, names: impl Iterator<Item = &'a [u8]>) -> Result<Vec<&'a [u8]>, WrongType> {
    let mut there = Vec::with_capacity(names.size_hint().0);
    for name in names {
        if read(keys, name)?.is_some() {
            there.push(name);
        }
    }
    Ok(there)
}

/// The sets of keys that were found to be sets.
fn sets_at<'k>(keys: &'k KeyView<'_>, names: &[&[u8]]) -> Vec<SetRef<'k>> {
    names.iter().filter_map(|name| keys.found(name).map(set_of)).collect()
}

/// The members that all sets have: the smallest set, and the others. `None`: one of them is empty.
fn smallest_first<'k>(
    keys: &'k mut KeyView<'_>,
    args: &Args<'_>,
    from: usize,
    count: usize,
) -> Result<Option<Vec<SetRef<'k>>>, WrongType> {
    let there = check(keys, args.iter_from(from).take(count))?;
    if there.len() < count {
        return Ok(None);
    }
    let mut sets = sets_at(keys, &there);
    sets.sort_by_key(|set| set.len());
    Ok(Some(sets))
}

/// The members of an intersection.
fn common<'k>(sets: &[SetRef<'k>]) -> impl Iterator<Item = Item<'k>> {
    let (smallest, others) = sets.split_first().map_or((SetRef::NONE, sets), |(first, rest)| (*first, rest));
    smallest.iter().filter(move |member| others.iter().all(|set| set.contains_item(*member)))
}

/// SINTER key [key ...]
pub fn sinter(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let sets = smallest_first(&mut ctx.keys, args, 1, args.len() - 1)?.unwrap_or_default();
    if let [set] = sets[..] {
        ctx.out.set(set.len());
        set.iter().for_each(|member| write_member(&mut ctx.out, member));
        return Ok(());
    }
    ctx.out.set_counted(|out| {
        let mut count = 0;
        for member in common(&sets) {
            write_member(out, member);
            count += 1;
        }
        count
    });
    Ok(())
}

/// SMEMBERS key
pub fn smembers(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    sinter(ctx, args)
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
pub fn sintercard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    const TOO_FEW: Error = Error::text("ERR numkeys should be greater than 0");
    const NEGATIVE: Error = Error::text("ERR LIMIT can't be negative");
    let count = int(args.get(1)).ok().filter(|count| *count > 0).ok_or(TOO_FEW)? as usize;
    if count > args.len() - 2 {
        return Err(Error::text("ERR Number of keys can't be greater than number of args"));
    }
    let mut most = 0;
    for i in (2 + count..args.len()).step_by(2) {
        let limit = args.opt(i + 1).filter(|_| args.is(i, "limit")).ok_or(Error::Syntax)?;
        most = int(limit).ok().and_then(|limit| usize::try_from(limit).ok()).ok_or(NEGATIVE)?;
    }
    let sets = smallest_first(&mut ctx.keys, args, 2, count)?.unwrap_or_default();
    let most = if most == 0 { usize::MAX } else { most };
    let found = common(&sets).take(most).count();
    ctx.out.int(found as i64);
    Ok(())
}

/// SINTERSTORE destination key [key ...]
pub fn sinterstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let limits = &ctx.encodings.set;
    let sets = smallest_first(&mut ctx.keys, args, 2, args.len() - 2)?.unwrap_or_default();
    let mut result = match sets.first() {
        Some(SetRef::Full(_)) => Draft::Full(Set::new()),
        Some(SetRef::Compact(bytes)) if !compact::is_integers(bytes) => Draft::Compact(compact::list()),
        Some(SetRef::Compact(_)) | None => Draft::integers(),
    };
    let mut room = [0; _];
    for member in common(&sets) {
        result.add(member.text(&mut room), limits);
    }
    let result = with_integers_as_such(result, limits);
    store(ctx, args.get(1), result, "sinterstore");
    Ok(())
}

/// A set of integers alone, and not too many, in the form that is for such.
fn with_integers_as_such(draft: Draft, limits: &Limits) -> Draft {
    match draft {
        Draft::Compact(mut bytes) => {
            compact::to_integers(&mut bytes, limits);
            Draft::Compact(bytes)
        }
        Draft::Full(set) => {
            let is_integer = |member| matches!(Item::of(member), Item::Int(_));
            if set.len() > limits.intset_entries || !set.iter().all(is_integer) {
                return Draft::Full(set);
            }
            let mut integers = Draft::integers();
            for member in set.iter() {
                integers.add(member, limits);
            }
            integers
        }
    }
}

/// SUNION key [key ...]
pub fn sunion(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let there = check(&mut ctx.keys, args.iter_from(1))?;
    let sets = sets_at(&ctx.keys, &there);
    if sets.len() > MOST_LOOKED_THROUGH {
        write_all(&mut ctx.out, &union(&sets, &ctx.encodings.set));
        return Ok(());
    }
    ctx.out.set_counted(|out| {
        let mut count = 0;
        for (i, set) in sets.iter().enumerate() {
            for member in set.iter().filter(|member| !sets[..i].iter().any(|before| before.contains_item(*member))) {
                write_member(out, member);
                count += 1;
            }
        }
        count
    });
    Ok(())
}

fn union(sets: &[SetRef<'_>], limits: &Limits) -> Draft {
    let mut all = Draft::integers();
    let mut room = [0; _];
    for member in sets.iter().flat_map(|set| set.iter()) {
        all.add(member.text(&mut room), limits);
    }
    all
}

/// SUNIONSTORE destination key [key ...]
pub fn sunionstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let there = check(&mut ctx.keys, args.iter_from(2))?;
    let all = union(&sets_at(&ctx.keys, &there), &ctx.encodings.set);
    store(ctx, args.get(1), all, "sunionstore");
    Ok(())
}

/// The set that others are taken from, and those others.
struct Difference<'k> {
    from: SetRef<'k>,
    others: Vec<SetRef<'k>>,
}

impl<'k> Difference<'k> {
    fn new(keys: &'k mut KeyView<'_>, args: &Args<'_>, first: usize) -> Result<Self, WrongType> {
        let from = args.get(first);
        let there = check(keys, args.iter_from(first))?;
        let mut sets = sets_at(keys, &there).into_iter();
        // What is taken from itself leaves nothing.
        let is_empty = there.first() != Some(&from) || there[1..].contains(&from);
        match sets.next().filter(|_| !is_empty) {
            Some(from) => Ok(Self { from, others: sets.collect() }),
            None => Ok(Self { from: SetRef::NONE, others: Vec::new() }),
        }
    }

    /// Whether to take the others' members out of a copy of the first set, instead of looking for each of its members in them. Decided as
    /// Redis does, for a result that is stored may have another encoding.
    fn is_subtracted(&self) -> bool {
        let looked_for = self.from.len() * (1 + self.others.len()) / 2;
        looked_for > self.from.len() + self.others.iter().map(|set| set.len()).sum::<usize>()
    }

    /// The members, each looked for in all others.
    fn members(&mut self) -> impl Iterator<Item = Item<'k>> {
        // The larger ones are more likely to have it.
        self.others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        self.from.iter().filter(|member| !self.others.iter().any(|set| set.contains_item(*member)))
    }

    fn result(&mut self, limits: &Limits) -> Draft {
        let mut result = Draft::integers();
        let mut room = [0; _];
        if !self.is_subtracted() {
            for member in self.members() {
                result.add(member.text(&mut room), limits);
            }
            return result;
        }
        for member in self.from.iter() {
            result.add(member.text(&mut room), limits);
        }
        for member in self.others.iter().flat_map(|set| set.iter()) {
            if result.as_ref().is_empty() {
                break;
            }
            result.remove(member.text(&mut room));
        }
        result
    }
}

/// SDIFF key [key ...]
pub fn sdiff(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let mut difference = Difference::new(&mut ctx.keys, args, 1)?;
    if difference.is_subtracted() {
        write_all(&mut ctx.out, &difference.result(&ctx.encodings.set));
        return Ok(());
    }
    ctx.out.set_counted(|out| {
        let mut count = 0;
        for member in difference.members() {
            write_member(out, member);
            count += 1;
        }
        count
    });
    Ok(())
}

/// SDIFFSTORE destination key [key ...]
pub fn sdiffstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let result = Difference::new(&mut ctx.keys, args, 2)?.result(&ctx.encodings.set);
    store(ctx, args.get(1), result, "sdiffstore");
    Ok(())
}

fn write_all(out: &mut Writer<'_>, result: &Draft) {
    let result = result.as_ref();
    out.set(result.len());
    result.iter().for_each(|member| write_member(out, member));
}

/// Replaces what is at the key with a set; an empty one leaves nothing there. Replies how many members it has.
fn store(ctx: &mut Ctx<'_>, key: &[u8], result: Draft, name: &'static str) {
    let len = result.as_ref().len();
    if len > 0 {
        put(&mut ctx.keys, key, result);
        if let Some(Some(_)) = ctx.keys.expire_at_ms(key) {
            ctx.keys.set_expire_at_ms(key, None);
        }
        event(ctx, key, name);
        ctx.changed(1);
    } else if ctx.keys.discard(key) {
        ctx.event(key, "del");
        ctx.changed(1);
    }
    ctx.out.int(len as i64);
}
