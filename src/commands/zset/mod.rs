//! The sorted set commands.
//!
//! A small sorted set is a run of bytes in its entry, a large one a [`Zset`]; handlers read both through [`ZsetRef`]. A run is changed by writing
//! the new one to a scratch buffer and putting that in its place. ZADD, ZSCORE, ZRANK and ZRANGE allocate nothing beyond the data.
//!
//! - here: what asks for one element or a number, and what the other files share
//! - `add`: ZADD and ZINCRBY
//! - `remove`: ZREM and its relatives
//! - `pop`: the commands that take elements out and return them, the waiting ones included
//! - `range`: ZRANGE and its relatives, ZRANGESTORE
//! - `bounds`: the ends of ranges, as arguments
//! - `combine`: unions, intersections, differences
//! - `collect`: elements outside of any set, and how they become one
//! - `walk`: ZRANDMEMBER and ZSCAN

mod add;
mod bounds;
mod collect;
mod combine;
mod pop;
mod range;
mod remove;
mod walk;

pub(super) use add::{Conditions, Pairs, add};
pub use add::{zadd, zincrby};
pub(super) use collect::{Collected, store};
pub use combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
pub use pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
pub use range::{zrange, zrangebylex, zrangebyscore, zrangestore, zrevrange, zrevrangebylex, zrevrangebyscore};
pub use remove::{zrem, zremrangebylex, zremrangebyrank, zremrangebyscore};
pub use walk::{zrandmember, zscan};

use super::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Held, KeyView, WrongType};
use crate::resp::{Args, Proto, Writer};
use crate::types::packed::Item;
use crate::types::zset::{Direction, Zset, ZsetRef};

/// The sorted set at a key, for a command that only reads.
#[inline]
pub(super) fn lookup<'k>(keys: &'k mut KeyView<'_>, key: &[u8]) -> Result<Option<ZsetRef<'k>>, WrongType> {
    Ok(keys.collection::<Zset>(key)?.map(|held| match held {
        Held::Packed(run) => ZsetRef::Compact(run),
        Held::Full(set) => ZsetRef::Full(set),
    }))
}

/// Writes a member.
#[inline]
pub(super) fn write_name(out: &mut Writer<'_>, name: Item<'_>) {
    match name {
        Item::Str(text) => out.bulk(text),
        Item::Int(number) => out.bulk_int(number),
    }
}

/// How members and scores of a reply go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Names,
    /// Member, score, member, score.
    Flat,
    /// An array for each member and its score.
    Nested,
}

impl Shape {
    /// What WITHSCORES makes of a reply.
    fn with_scores(asked: bool, proto: Proto) -> Shape {
        match (asked, proto) {
            (false, _) => Shape::Names,
            (true, Proto::Resp2) => Shape::Flat,
            (true, Proto::Resp3) => Shape::Nested,
        }
    }

    /// Begins the reply of so many elements.
    fn begin(self, out: &mut Writer<'_>, len: usize) {
        out.array(if self == Shape::Flat { 2 * len } else { len });
    }

    #[inline]
    fn write(self, out: &mut Writer<'_>, name: Item<'_>, score: f64) {
        if self == Shape::Nested {
            out.array(2);
        }
        write_name(out, name);
        if self != Shape::Names {
            out.double(score);
        }
    }
}

/// A keyspace event of a sorted set.
pub(super) fn event(ctx: &mut Ctx<'_>, key: &[u8], name: &'static str) {
    ctx.keys.event(key, EventClass::SortedSet, name);
}

/// ZCARD key
pub fn zcard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let len = lookup(&mut ctx.keys, args.get(1))?.map_or(0, ZsetRef::len);
    ctx.out.int(len as i64);
    Ok(())
}

/// ZSCORE key member
pub fn zscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    match lookup(&mut ctx.keys, args.get(1))?.and_then(|set| set.score(args.get(2))) {
        Some(score) => ctx.out.double(score),
        None => ctx.out.null(),
    }
    Ok(())
}

/// ZMSCORE key member [member ...]
pub fn zmscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let set = lookup(&mut ctx.keys, args.get(1))?;
    ctx.out.array(args.len() - 2);
    for member in args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => ctx.out.double(score),
            None => ctx.out.null(),
        }
    }
    Ok(())
}

/// ZRANK key member [WITHSCORE]
pub fn zrank(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    rank(ctx, args, Direction::Ascending)
}

/// ZREVRANK key member [WITHSCORE]
pub fn zrevrank(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    rank(ctx, args, Direction::Descending)
}

fn rank(ctx: &mut Ctx<'_>, args: &Args<'_>, direction: Direction) -> Outcome {
    let with_score = args.len() > 3;
    if args.len() > 4 {
        let name = if direction == Direction::Ascending { "zrank" } else { "zrevrank" };
        return Err(Error::arity(name));
    }
    if with_score && !args.is(3, "withscore") {
        return Err(Error::Syntax);
    }
    let set = lookup(&mut ctx.keys, args.get(1))?;
    let Some((set, (rank, score))) = set.and_then(|set| Some((set, set.rank(args.get(2))?))) else {
        if with_score {
            ctx.out.null_array();
        } else {
            ctx.out.null();
        }
        return Ok(());
    };
    let rank = match direction {
        Direction::Ascending => rank,
        Direction::Descending => set.len() - 1 - rank,
    };
    if with_score {
        ctx.out.array(2);
    }
    ctx.out.int(rank as i64);
    if with_score {
        ctx.out.double(score);
    }
    Ok(())
}

/// ZCOUNT key min max
pub fn zcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (min, max) = bounds::scores(args.get(2), args.get(3))?;
    let set = lookup(&mut ctx.keys, args.get(1))?;
    ctx.out.int(set.map_or(0, |set| set.score_range(min, max).len()) as i64);
    Ok(())
}

/// ZLEXCOUNT key min max
pub fn zlexcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (min, max) = bounds::names(args.get(2), args.get(3))?;
    let set = lookup(&mut ctx.keys, args.get(1))?;
    ctx.out.int(set.map_or(0, |set| set.lex_range(min, max, Direction::Ascending).len()) as i64);
    Ok(())
}

#[cfg(test)]
mod tests;
