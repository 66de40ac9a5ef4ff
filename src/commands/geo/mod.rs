//! The geo commands: places kept as members of a sorted set whose scores are their geohashes.
//!
//! - here: GEOADD and what asks for members
//! - `search`: GEOSEARCH, GEOSEARCHSTORE and the GEORADIUS commands

mod search;

pub use search::{georadius, georadius_ro, georadiusbymember, georadiusbymember_ro, geosearch, geosearchstore};

use super::zset::{Conditions, Pairs, add, lookup};
use super::{Ctx, Error, Outcome};
use crate::resp::{Args, Proto, Writer};
use crate::types::geo::{Point, Unit};
use crate::types::numbers::parse_f64;

/// Longitude and latitude, at two arguments.
fn point(args: &Args<'_>, at: usize) -> Result<Point, Error> {
    let number = |at| parse_f64(args.get(at)).ok_or(Error::NotFloat);
    let (longitude, latitude) = (number(at)?, number(at + 1)?);
    let refusal = || Error::with(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"));
    Point::new(longitude, latitude).ok_or_else(refusal)
}

fn unit(arg: &[u8]) -> Result<Unit, Error> {
    Unit::parse(arg).ok_or(Error::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// Writes a distance with four decimals, as text in either protocol. Rounded like in Redis: as a whole number of the last decimal, ties to even.
fn write_distance(out: &mut Writer<'_>, distance: f64) {
    const DECIMALS: usize = 4;
    const UNIT: u64 = 10u64.pow(DECIMALS as u32);
    let scaled = (distance * UNIT as f64).round_ties_even() as u64;
    let mut digits = itoa::Buffer::new();
    let whole = digits.format(scaled / UNIT).as_bytes();
    let mut text = [b'0'; 20 + 1 + DECIMALS];
    text[..whole.len()].copy_from_slice(whole);
    text[whole.len()] = b'.';
    let mut rest = scaled % UNIT;
    for digit in text[whole.len() + 1..][..DECIMALS].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.bulk(&text[..whole.len() + 1 + DECIMALS]);
}

/// Writes longitude and latitude, with all their digits up to the seventeenth.
fn write_point(out: &mut Writer<'_>, point: Point) {
    out.array(2);
    for coordinate in [point.longitude, point.latitude] {
        let text = format!("{coordinate:.17}");
        let text = match text.trim_end_matches('0').trim_end_matches('.') {
            "-0" => "0",
            text => text,
        };
        match out.proto() {
            Proto::Resp2 => out.bulk_str(text),
            Proto::Resp3 => out.raw(format!(",{text}\r\n").as_bytes()),
        }
    }
}

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
pub fn geoadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let mut conditions = Conditions::default();
    let mut at = 2;
    while at < args.len() {
        if args.is(at, "nx") {
            conditions.if_absent = true;
        } else if args.is(at, "xx") {
            conditions.if_present = true;
        } else if args.is(at, "ch") {
            conditions.counts_changes = true;
        } else {
            break;
        }
        at += 1;
    }
    let rest = args.len() - at;
    if !rest.is_multiple_of(3) || rest == 0 || conditions.if_absent && conditions.if_present {
        return Err(Error::Syntax);
    }
    let scores = (at..args.len()).step_by(3).map(|at| Ok(point(args, at)?.score()));
    let scores = scores.collect::<Result<Vec<f64>, Error>>()?;
    let tally = add(ctx, conditions, &Pairs { args: *args, scores: &scores, first: at + 2, step: 3 })?;
    if tally.changes() > 0 && ctx.propagates() {
        propagate(ctx, args, at, &scores);
    }
    let counted = if conditions.counts_changes { tally.changes() } else { tally.added };
    ctx.out.int(counted as i64);
    Ok(())
}

/// Replicas get a ZADD: no coordinate is rounded twice. The places begin at argument `at`.
fn propagate(ctx: &mut Ctx<'_>, args: &Args<'_>, at: usize, scores: &[f64]) {
    let texts: Vec<String> = scores.iter().map(|score| (*score as u64).to_string()).collect();
    let mut words: Vec<&[u8]> = vec![b"zadd"];
    words.extend((1..at).map(|at| args.get(at)));
    for (text, place) in texts.iter().zip((at..args.len()).step_by(3)) {
        words.extend([text.as_bytes(), args.get(place + 2)]);
    }
    ctx.propagate_as(&words);
}

/// GEOPOS key [member [member ...]]
pub fn geopos(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let set = lookup(&mut ctx.keys, args.get(1))?;
    ctx.out.array(args.len() - 2);
    for member in args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => write_point(&mut ctx.out, Point::of_score(score)),
            None => ctx.out.null_array(),
        }
    }
    Ok(())
}

/// GEOHASH key [member [member ...]]
pub fn geohash(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let set = lookup(&mut ctx.keys, args.get(1))?;
    ctx.out.array(args.len() - 2);
    for member in args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => ctx.out.bulk(&Point::of_score(score).text()),
            None => ctx.out.null(),
        }
    }
    Ok(())
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
pub fn geodist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let unit = match args.len() {
        0..=4 => Unit::Metres,
        5 => unit(args.get(4))?,
        _ => return Err(Error::Syntax),
    };
    let set = lookup(&mut ctx.keys, args.get(1))?;
    let place = |at| set.and_then(|set| set.score(args.get(at))).map(Point::of_score);
    match place(2).zip(place(3)) {
        Some((from, to)) => write_distance(&mut ctx.out, from.distance_m(to) / unit.metres()),
        None => ctx.out.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
