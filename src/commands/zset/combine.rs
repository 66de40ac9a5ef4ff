//! Unions, intersections and differences of sets and sorted sets.
//!
//! One key is looked at after the other: elements of the first are collected, those of the others change what was collected. So the order in
//! which scores are added up is Redis's, the smallest set first, and with it every last bit of a sum.

use std::ops::Range;

use super::collect::{Collected, Index, store};
use super::{Shape, write_name};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{Kind, ValueRef};
use crate::resp::Args;
use crate::types::Object;
use crate::types::numbers::parse_f64;
use crate::types::packed::Item;
use crate::types::set::SetRef;
use crate::types::zset::{Direction, ZsetRef};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

/// A command of this file.
struct Form {
    name: &'static str,
    operation: Operation,
    purpose: Purpose,
}

/// AGGREGATE
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(word: &[u8]) -> Option<Aggregate> {
        [(&b"sum"[..], Aggregate::Sum), (b"min", Aggregate::Min), (b"max", Aggregate::Max)]
            .into_iter()
            .find(|(known, _)| word.eq_ignore_ascii_case(known))
            .map(|(_, aggregate)| aggregate)
    }

    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

/// Infinities of both signs make 0 together, and so does 0 times infinity.
fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// A set of either type, to read.
#[derive(Clone, Copy)]
enum Members<'a> {
    Plain(SetRef<'a>),
    Sorted(ZsetRef<'a>),
}

impl<'a> Members<'a> {
    fn of(value: ValueRef<'a>) -> Result<Members<'a>, Error> {
        match value {
            ValueRef::Packed(Kind::Set, set) => Ok(Members::Plain(SetRef::Compact(set))),
            ValueRef::Packed(Kind::Zset, run) => Ok(Members::Sorted(ZsetRef::Compact(run))),
            ValueRef::Object(Object::Set(set)) => Ok(Members::Plain(SetRef::Full(set))),
            ValueRef::Object(Object::Zset(set)) => Ok(Members::Sorted(ZsetRef::Full(set))),
            ValueRef::Str(_) | ValueRef::Packed(..) | ValueRef::Object(_) => Err(Error::WrongType),
        }
    }

    fn len(self) -> usize {
        match self {
            Members::Plain(set) => set.len(),
            Members::Sorted(set) => set.len(),
        }
    }

    /// Members of plain sets have a score of 1.
    fn score(self, name: &[u8]) -> Option<f64> {
        match self {
            Members::Plain(set) => set.contains(name).then_some(1.0),
            Members::Sorted(set) => set.score(name),
        }
    }

    fn for_each(self, mut each: impl FnMut(Item<'a>, f64)) {
        match self {
            Members::Plain(set) => set.iter().for_each(|name| each(name, 1.0)),
            Members::Sorted(set) => set.for_each(0..set.len(), Direction::Ascending, each),
        }
    }
}

/// A key to be combined.
#[derive(Clone, Copy)]
struct Source<'a> {
    key: &'a [u8],
    len: usize,
    weight: f64,
}

/// What a command is asked for.
struct Request<'a> {
    sources: Vec<Source<'a>>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Count no further.
    limit: usize,
}

impl<'a> Request<'a> {
    /// The argument at `at` says how many keys follow.
    fn parse(ctx: &mut Ctx<'_>, args: &Args<'a>, at: usize, form: &Form) -> Result<Request<'a>, Error> {
        let count = int(args.get(at))?;
        if count < 1 {
            let text = format!("ERR at least 1 input key is needed for '{}' command", form.name);
            return Err(Error::with(text));
        }
        let keys = at + 1;
        let count = usize::try_from(count).ok().filter(|count| *count <= args.len() - keys).ok_or(Error::Syntax)?;
        let sources = sources(ctx, args, keys..keys + count)?;
        let mut request = Request { sources, aggregate: Aggregate::Sum, with_scores: false, limit: usize::MAX };
        let mut at = keys + count;
        while at < args.len() {
            at += request.take_option(args, at, form)?;
        }
        Ok(request)
    }

    /// How many arguments the option at `at` takes.
    fn take_option(&mut self, args: &Args<'a>, at: usize, form: &Form) -> Result<usize, Error> {
        const NOT_A_WEIGHT: Error = Error::text("ERR weight value is not a float");
        const NEGATIVE: Error = Error::text("ERR LIMIT can't be negative");
        let aggregates = form.operation != Operation::Diff && form.purpose != Purpose::Count;
        let left = args.len() - at;
        if aggregates && left > self.sources.len() && args.is(at, "weights") {
            for (source, weight) in self.sources.iter_mut().zip(args.iter_from(at + 1)) {
                source.weight = parse_f64(weight).ok_or(NOT_A_WEIGHT)?;
            }
            Ok(1 + self.sources.len())
        } else if aggregates && left >= 2 && args.is(at, "aggregate") {
            self.aggregate = Aggregate::parse(args.get(at + 1)).ok_or(Error::Syntax)?;
            Ok(2)
        } else if form.purpose == Purpose::Reply && args.is(at, "withscores") {
            self.with_scores = true;
            Ok(1)
        } else if form.purpose == Purpose::Count && left >= 2 && args.is(at, "limit") {
            let limit = int(args.get(at + 1)).ok().and_then(|limit| usize::try_from(limit).ok()).ok_or(NEGATIVE)?;
            self.limit = if limit == 0 { usize::MAX } else { limit };
            Ok(2)
        } else {
            Err(Error::Syntax)
        }
    }
}

fn sources<'a>(ctx: &mut Ctx<'_>, args: &Args<'a>, keys: Range<usize>) -> Result<Vec<Source<'a>>, Error> {
    let mut sources = Vec::with_capacity(keys.len());
    for key in keys.map(|at| args.get(at)) {
        let len = if ctx.keys.touch(key) { members(ctx, key)?.map_or(0, Members::len) } else { 0 };
        sources.push(Source { key, len, weight: 1.0 });
    }
    Ok(sources)
}

/// What is at a key, without counting a look-up once more.
fn members<'k>(ctx: &'k mut Ctx<'_>, key: &[u8]) -> Result<Option<Members<'k>>, Error> {
    ctx.keys.value(key).map(Members::of).transpose()
}

/// All elements of the result, in no order. An intersection that is only counted ends at the limit.
fn combine(ctx: &mut Ctx<'_>, mut request: Request<'_>, operation: Operation) -> Result<Collected, Error> {
    if operation != Operation::Diff {
        request.sources.sort_by_key(|source| source.len);
    }
    match operation {
        Operation::Union => union(ctx, &request),
        Operation::Inter => inter(ctx, &request),
        Operation::Diff => diff(ctx, &request),
    }
}

fn weighted(source: &Source<'_>, score: f64) -> f64 {
    number_or_zero(source.weight * score)
}

/// The elements of one source.
fn collect(ctx: &mut Ctx<'_>, source: &Source<'_>) -> Result<Collected, Error> {
    let mut all = Collected::default();
    if let Some(members) = members(ctx, source.key)? {
        members.for_each(|name, score| all.push(name, weighted(source, score)));
    }
    Ok(all)
}

fn union(ctx: &mut Ctx<'_>, request: &Request<'_>) -> Result<Collected, Error> {
    let mut sources = request.sources.iter().filter(|source| source.len > 0);
    let aggregate = request.aggregate;
    if let Some(last) = request.sources.last()
        && sources.clone().count() == 1
    {
        return collect(ctx, last);
    }
    let (mut all, mut index) = (Collected::default(), Index::default());
    sources.try_for_each(|source| {
        if let Some(members) = members(ctx, source.key)? {
            members.for_each(|name, score| {
                index.merge(&mut all, name, weighted(source, score), |a, b| aggregate.of(a, b));
            });
        }
        Ok::<_, Error>(())
    })?;
    Ok(all)
}

fn inter(ctx: &mut Ctx<'_>, request: &Request<'_>) -> Result<Collected, Error> {
    let Some((first, others)) = request.sources.split_first() else { return Ok(Collected::default()) };
    if first.len == 0 {
        return Ok(Collected::default());
    }
    let mut all = collect(ctx, first)?;
    for (at, source) in others.iter().enumerate() {
        let Some(members) = members(ctx, source.key)? else { return Ok(Collected::default()) };
        // Only the last source tells what is in the result.
        let mut room = if at + 1 == others.len() { request.limit } else { usize::MAX };
        all.retain(|name, score| {
            let found = members.score(name).filter(|_| room > 0)?;
            room -= 1;
            Some(request.aggregate.of(score, found * source.weight))
        });
    }
    Ok(all)
}

fn diff(ctx: &mut Ctx<'_>, request: &Request<'_>) -> Result<Collected, Error> {
    let Some((first, others)) = request.sources.split_first() else { return Ok(Collected::default()) };
    let mut all = collect(ctx, first)?;
    for source in others {
        if all.len() == 0 {
            break;
        }
        if let Some(members) = members(ctx, source.key)? {
            all.retain(|name, score| members.score(name).is_none().then_some(score));
        }
    }
    Ok(all)
}

fn run(ctx: &mut Ctx<'_>, args: &Args<'_>, form: &Form) -> Outcome {
    let numkeys = if form.purpose == Purpose::Store { 2 } else { 1 };
    let request = Request::parse(ctx, args, numkeys, form)?;
    let (with_scores, limit) = (request.with_scores, request.limit);
    let mut result = combine(ctx, request, form.operation)?;
    match form.purpose {
        Purpose::Count => ctx.out.int(result.len().min(limit) as i64),
        Purpose::Store => {
            result.sort();
            store(ctx, args.get(1), &result, form.name, 1);
        }
        Purpose::Reply => {
            result.sort();
            reply(ctx, &result, with_scores);
        }
    }
    Ok(())
}

fn reply(ctx: &mut Ctx<'_>, result: &Collected, with_scores: bool) {
    let shape = Shape::with_scores(with_scores, ctx.out.proto());
    shape.begin(&mut ctx.out, result.len());
    result.iter().for_each(|(name, score)| match shape {
        Shape::Names => write_name(&mut ctx.out, Item::Str(name)),
        Shape::Flat | Shape::Nested => shape.write(&mut ctx.out, Item::Str(name), score),
    });
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub fn zunion(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zunion", operation: Operation::Union, purpose: Purpose::Reply })
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub fn zinter(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zinter", operation: Operation::Inter, purpose: Purpose::Reply })
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub fn zdiff(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zdiff", operation: Operation::Diff, purpose: Purpose::Reply })
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]
pub fn zunionstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zunionstore", operation: Operation::Union, purpose: Purpose::Store })
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]
pub fn zinterstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zinterstore", operation: Operation::Inter, purpose: Purpose::Store })
}

/// ZDIFFSTORE destination numkeys key [key ...]
pub fn zdiffstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zdiffstore", operation: Operation::Diff, purpose: Purpose::Store })
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub fn zintercard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    run(ctx, args, &Form { name: "zintercard", operation: Operation::Inter, purpose: Purpose::Count })
}
