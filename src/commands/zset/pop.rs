//! ZPOPMIN, ZPOPMAX and ZMPOP, and the forms of them that wait.
//!
//! Replicas are told of what was taken, from which key: ZPOPMIN or ZPOPMAX, with a count where one was asked for.

use std::ops::Range;

use super::Shape;
use super::remove::remove_ranks;
use crate::commands::blocking::{AtTimeout, until_of_seconds};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::Args;
use crate::types::zset::Direction;

/// Which end elements are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn parse(word: &[u8]) -> Option<End> {
        [(&b"min"[..], End::Min), (b"max", End::Max)]
            .into_iter()
            .find(|(known, _)| word.eq_ignore_ascii_case(known))
            .map(|(_, end)| end)
    }

    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    /// What replicas execute.
    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }

    fn direction(self) -> Direction {
        match self {
            End::Min => Direction::Ascending,
            End::Max => Direction::Descending,
        }
    }

    /// The ranks of the first `count` of `len` elements from this end.
    fn ranks(self, count: usize, len: usize) -> Range<usize> {
        match self {
            End::Min => 0..count.min(len),
            End::Max => len.saturating_sub(count)..len,
        }
    }
}

/// How what was taken is replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Members and scores.
    Plain(Shape),
    /// In one array with the key before them.
    KeyFirst,
    /// The key, and an array of members with their scores.
    KeyAndArray,
}

/// Takes elements out of a sorted set and replies with them: how many. `None` without a reply if the key is not there.
fn take(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize, form: Form) -> Result<Option<usize>, Error> {
    remove_ranks(ctx, key, end.event(), |set, out| {
        let ranks = end.ranks(count, set.len());
        let shape = match form {
            Form::Plain(shape) => {
                shape.begin(out, ranks.len());
                shape
            }
            Form::KeyFirst => {
                out.array(1 + 2 * ranks.len());
                out.bulk(key);
                Shape::Flat
            }
            Form::KeyAndArray => {
                out.array(2);
                out.bulk(key);
                out.array(ranks.len());
                Shape::Nested
            }
        };
        set.for_each(ranks.clone(), end.direction(), |name, score| shape.write(out, name, score));
        ranks
    })
}

/// A count of elements; errors of any kind have the same text.
fn count(arg: &[u8], least: i64, error: &'static str) -> Result<usize, Error> {
    let count = int(arg).ok().filter(|count| *count >= least);
    count.and_then(|count| usize::try_from(count).ok()).ok_or(Error::text(error))
}

/// ZPOPMIN key [count]
pub fn zpopmin(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    pop(ctx, args, End::Min)
}

/// ZPOPMAX key [count]
pub fn zpopmax(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    pop(ctx, args, End::Max)
}

fn pop(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End) -> Outcome {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let (count, shape) = match args.opt(2) {
        None => (1, Shape::Flat),
        Some(arg) => {
            let count = count(arg, 0, "ERR value is out of range, must be positive")?;
            (count, Shape::with_scores(true, ctx.out.proto()))
        }
    };
    if take(ctx, args.get(1), end, count, Form::Plain(shape))?.is_none() {
        ctx.out.array(0);
    }
    Ok(())
}

/// What ZMPOP and BZMPOP are asked for.
struct Request {
    /// The arguments that are keys.
    keys: Range<usize>,
    end: End,
    count: usize,
}

impl Request {
    /// `numkeys` is the argument that says how many keys there are.
    fn parse(args: &Args<'_>, numkeys: usize) -> Result<Request, Error> {
        let keys = count(args.get(numkeys), 1, "ERR numkeys should be greater than 0")?;
        let first = numkeys + 1;
        let behind = first.saturating_add(keys);
        let end = args.opt(behind).and_then(End::parse).ok_or(Error::Syntax)?;
        let mut asked = None;
        let mut at = behind + 1;
        while at < args.len() {
            let amount = args.opt(at + 1).filter(|_| asked.is_none() && args.is(at, "count")).ok_or(Error::Syntax)?;
            asked = Some(count(amount, 1, "ERR count should be greater than 0")?);
            at += 2;
        }
        Ok(Request { keys: first..behind, end, count: asked.unwrap_or(1) })
    }

    /// Takes elements from one key. Whether it was there.
    fn take(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, Error> {
        let Some(taken) = take(ctx, key, self.end, self.count, Form::KeyAndArray)? else { return Ok(false) };
        ctx.propagate_with_number(&[self.end.command(), key], taken as u64);
        Ok(true)
    }
}

/// ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]
pub fn zmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let request = Request::parse(args, 1)?;
    for at in request.keys.clone() {
        if request.take(ctx, args.get(at))? {
            return Ok(());
        }
    }
    ctx.out.null_array();
    Ok(())
}

/// BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]
pub fn bzmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let request = Request::parse(args, 2)?;
    let until_ms = until_of_seconds(args.get(1), ctx.keys.now_ms())?;
    for at in ctx.candidates(request.keys.clone()) {
        if request.take(ctx, args.get(at))? {
            return Ok(());
        }
    }
    ctx.block(request.keys, Kind::Zset, until_ms, AtTimeout::NullArray);
    Ok(())
}

/// BZPOPMIN key [key ...] timeout
pub fn bzpopmin(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    pop_or_wait(ctx, args, End::Min)
}

/// BZPOPMAX key [key ...] timeout
pub fn bzpopmax(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    pop_or_wait(ctx, args, End::Max)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End) -> Outcome {
    let keys = 1..args.len() - 1;
    let until_ms = until_of_seconds(args.get(keys.end), ctx.keys.now_ms())?;
    for at in ctx.candidates(keys.clone()) {
        let key = args.get(at);
        if take(ctx, key, end, 1, Form::KeyFirst)?.is_some() {
            ctx.propagate_as(&[end.command(), key]);
            return Ok(());
        }
    }
    ctx.block(keys, Kind::Zset, until_ms, AtTimeout::NullArray);
    Ok(())
}
