//! ZRANDMEMBER and ZSCAN.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashSet;

use super::{Shape, lookup, write_name};
use crate::commands::options::int;
use crate::commands::scan_options::{self, NoValues, ScanOptions};
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::{Args, DoubleText, Writer};
use crate::types::numbers::general_17;
use crate::types::packed::Item;
use crate::types::zset::{Direction, ZsetRef, compact};

thread_local! {
    static DICE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
}

/// 64 random bits.
fn random() -> u64 {
    let state = DICE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    DICE.set(state);
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A random number below `bound`, which is not 0.
fn below(bound: usize) -> usize {
    ((u128::from(random()) * bound as u128) >> 64) as usize
}

/// ZRANDMEMBER key [count [WITHSCORES]]
pub fn zrandmember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    if args.len() > 2 {
        return several(ctx, args);
    }
    let Some(set) = lookup(&mut ctx.keys, args.get(1))? else {
        ctx.out.null();
        return Ok(());
    };
    match pick(set) {
        Some((name, _)) => write_name(&mut ctx.out, name),
        None => ctx.out.null(),
    }
    Ok(())
}

fn pick(set: ZsetRef<'_>) -> Option<(Item<'_>, f64)> {
    match set {
        ZsetRef::Compact(run) => set.get(below(compact::len(run).max(1))),
        ZsetRef::Full(full) => full.random(random).map(|element| (Item::Str(element.borrow().name()), element.score())),
    }
}

fn several(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    const OUT_OF_RANGE: Error =
        Error::text("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    let count = int(args.get(2))?;
    if count == i64::MIN {
        return Err(OUT_OF_RANGE);
    }
    if args.len() > 4 || args.opt(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"withscores")) {
        return Err(Error::Syntax);
    }
    let with_scores = args.len() == 4;
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::text("ERR value is out of range"));
    }
    let out = &mut ctx.out;
    let set = lookup(&mut ctx.keys, args.get(1))?;
    let Some(set) = set.filter(|_| count != 0) else {
        out.array(0);
        return Ok(());
    };
    let shape = Shape::with_scores(with_scores, out.proto());
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        shape.begin(out, wanted);
        (0..wanted).filter_map(|_| pick(set)).for_each(|(name, score)| shape.write(out, name, score));
        return Ok(());
    }
    distinct(out, set, wanted, shape);
    Ok(())
}

/// Replies with that many different elements, or all.
fn distinct(out: &mut Writer<'_>, set: ZsetRef<'_>, wanted: usize, shape: Shape) {
    let len = set.len();
    shape.begin(out, wanted.min(len));
    if wanted >= len {
        return set.for_each(0..len, Direction::Ascending, |name, score| shape.write(out, name, score));
    }
    // Floyd's way to choose: each step adds one rank, and every choice has the same chance.
    let mut chosen = HashSet::with_capacity(wanted);
    for last in len - wanted..len {
        let rank = below(last + 1);
        let rank = if chosen.insert(rank) { rank } else { last };
        chosen.insert(rank);
        if let Some((name, score)) = set.get(rank) {
            shape.write(out, name, score);
        }
    }
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
pub fn zscan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let cursor = scan_options::cursor(args)?;
    let out = &mut ctx.out;
    let Some(set) = lookup(&mut ctx.keys, args.get(1))? else {
        scan_options::reply_nothing(out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, NoValues::Refused)?;
    scan_options::reply(out, |found| match set {
        ZsetRef::Compact(run) => {
            for entry in compact::entries(run) {
                let mut room = [0; _];
                let name = entry.name.text(&mut room);
                if options.wants(name) {
                    found.push(name);
                    // In Redis a small set keeps no sign of a zero.
                    found.push(DoubleText::of(entry.score + 0.0).as_bytes());
                }
            }
            0
        }
        // As in Redis, a large set has scores of 17 digits.
        ZsetRef::Full(full) => full.scan(cursor, options.count, |name, score| {
            if options.wants(name) {
                found.push(name);
                found.push(general_17(score).as_bytes());
            }
        }),
    });
    Ok(())
}
