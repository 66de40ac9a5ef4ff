//! ZRANGE and the older commands that it generalises, and ZRANGESTORE.

use std::ops::Range;

use super::collect::{Collected, store};
use super::{Shape, bounds, lookup};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::Args;
use crate::types::zset::{Direction, LexBound, ScoreBound, ZsetRef};

/// What a range is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The ends of a range.
#[derive(Clone, Copy, Debug)]
enum Span<'a> {
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Names(LexBound<'a>, LexBound<'a>),
}

/// What a command is asked for.
struct Query<'a> {
    span: Span<'a>,
    direction: Direction,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
    with_scores: bool,
}

/// What a command lets its options say; what is `Some` its name has said.
#[derive(Clone, Copy)]
struct Form {
    by: Option<By>,
    direction: Option<Direction>,
    stores: bool,
}

impl<'a> Query<'a> {
    /// `key` is the argument that names the sorted set.
    fn parse(args: &Args<'a>, key: usize, form: Form) -> Result<Query<'a>, Error> {
        let Form { mut by, mut direction, stores } = form;
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut at = key + 3;
        while at < args.len() {
            if !stores && args.is(at, "withscores") {
                with_scores = true;
            } else if args.is(at, "limit") && at + 2 < args.len() {
                (offset, limit) = (int(args.get(at + 1))?, int(args.get(at + 2))?);
                at += 2;
            } else if direction.is_none() && args.is(at, "rev") {
                direction = Some(Direction::Descending);
            } else if by.is_none() && args.is(at, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(at, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        let (by, direction) = (by.unwrap_or(By::Rank), direction.unwrap_or(Direction::Ascending));
        if limit != -1 && by == By::Rank {
            return Err(Error::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(Error::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let span = Span::parse(by, direction, args.get(key + 1), args.get(key + 2))?;
        Ok(Query { span, direction, offset, limit, with_scores })
    }

    /// The ranks asked for, counted from the lowest.
    fn ranks(&self, set: ZsetRef<'_>) -> Range<usize> {
        let found = match self.span {
            Span::Ranks(start, stop) => {
                let len = set.len();
                let ranks = ranks_between(start, stop, len);
                return match self.direction {
                    Direction::Ascending => ranks,
                    Direction::Descending => len - ranks.end..len - ranks.start,
                };
            }
            Span::Scores(min, max) => set.score_range(min, max),
            Span::Names(min, max) => set.lex_range(min, max, self.direction),
        };
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let skipped = offset.min(found.len());
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX).min(found.len() - skipped);
        match self.direction {
            Direction::Ascending => found.start + skipped..found.start + skipped + wanted,
            Direction::Descending => found.end - skipped - wanted..found.end - skipped,
        }
    }
}

impl<'a> Span<'a> {
    /// Ranges of scores and names that are read backwards begin with their higher end.
    fn parse(by: By, direction: Direction, first: &'a [u8], second: &'a [u8]) -> Result<Span<'a>, Error> {
        let (min, max) = match direction {
            Direction::Ascending => (first, second),
            Direction::Descending => (second, first),
        };
        Ok(match by {
            By::Rank => Span::Ranks(int(first)?, int(second)?),
            By::Score => {
                let (min, max) = bounds::scores(min, max)?;
                Span::Scores(min, max)
            }
            By::Lex => {
                let (min, max) = bounds::names(min, max)?;
                Span::Names(min, max)
            }
        })
    }
}

/// The places `start..=stop` among `len`; those below zero count from the end.
pub fn ranks_between(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

fn reply(ctx: &mut Ctx<'_>, args: &Args<'_>, by: Option<By>, direction: Option<Direction>) -> Outcome {
    let query = Query::parse(args, 1, Form { by, direction, stores: false })?;
    let out = &mut ctx.out;
    let Some(set) = lookup(&mut ctx.keys, args.get(1))? else {
        out.array(0);
        return Ok(());
    };
    let ranks = query.ranks(set);
    let shape = Shape::with_scores(query.with_scores, out.proto());
    shape.begin(out, ranks.len());
    set.for_each(ranks, query.direction, |name, score| shape.write(out, name, score));
    Ok(())
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub fn zrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply(ctx, args, None, None)
}

/// ZREVRANGE key start stop [WITHSCORES]
pub fn zrevrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply(ctx, args, Some(By::Rank), Some(Direction::Descending))
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub fn zrangebyscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply(ctx, args, Some(By::Score), Some(Direction::Ascending))
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply(ctx, args, Some(By::Score), Some(Direction::Descending))
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub fn zrangebylex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply(ctx, args, Some(By::Lex), Some(Direction::Ascending))
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub fn zrevrangebylex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply(ctx, args, Some(By::Lex), Some(Direction::Descending))
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub fn zrangestore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let query = Query::parse(args, 2, Form { by: None, direction: None, stores: true })?;
    let mut result = Collected::default();
    if let Some(set) = lookup(&mut ctx.keys, args.get(2))? {
        set.for_each(query.ranks(set), Direction::Ascending, |name, score| result.push(name, score));
    }
    store(ctx, args.get(1), &result, "zrangestore", 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_from_both_ends() {
        for (start, stop, ranks) in [
            (0, -1, 0..5),
            (1, 3, 1..4),
            (-2, 99, 3..5),
            (-99, 1, 0..2),
            (3, 1, 0..0),
            (5, 9, 0..0),
            (-9, -8, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ] {
            assert_eq!(ranks_between(start, stop, 5), ranks, "{start} {stop}");
        }
        assert_eq!(ranks_between(0, -1, 0), 0..0);
    }
}
