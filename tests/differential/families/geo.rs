//! The geo group.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, rule, ruled, with, words};

pub const FAMILY: Family = Family { name: "geo", rules: RULES, special: None, known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[Known {
    reason: "places equally far away stay in the order in which they were found, where Redis leaves it to its sorting",
    matches: |args, redis, basalt| match (redis, basalt) {
        (Reply::Array(there), Reply::Array(here)) if args[0].to_ascii_uppercase().starts_with(b"GEO") => {
            let sorted = |items: &[Reply]| {
                let mut items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
                items.sort();
                items
            };
            // Sorted they must be, or the order of the cells is told.
            let is_sorted =
                |arg: &Vec<u8>| [&b"ASC"[..], b"DESC", b"COUNT"].iter().any(|word| arg.eq_ignore_ascii_case(word));
            args.iter().any(is_sorted) && sorted(there) == sorted(here)
        }
        _ => false,
    },
}];

const UNITS: [&str; 6] = ["m", "km", "ft", "mi", "KM", "parsec"];
/// Where places are dense.
const CITIES: [(f64, f64); 6] =
    [(13.4, 52.5), (-0.1, 51.5), (179.99, 0.01), (-179.99, -0.01), (25.0, 84.9), (-70.6, -84.0)];

fn on_key(g: &mut Gen, command: &str) -> Args {
    let key = key(g);
    with(words(command), [key])
}

/// Few keys, so that they have many places.
fn key(g: &mut Gen) -> Vec<u8> {
    if g.rng.chance(12) { g.key() } else { format!("geo:{}", g.rng.below(4)).into_bytes() }
}

/// Where distances are stored. As geohashes they would all be one place.
fn distances_key(g: &mut Gen) -> Vec<u8> {
    format!("distances:{}", g.rng.below(3)).into_bytes()
}

fn member(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(20) {
        0 => g.short_value(),
        1 => g.int(),
        _ => format!("place:{}", g.rng.below(300)).into_bytes(),
    }
}

/// Coordinates of so many digits that two places hardly are as far from a third.
fn point(g: &mut Gen) -> Args {
    const ODD: [&str; 10] = ["180", "-180", "85.05112878", "-85.05112878", "181", "86", "abc", "", "inf", "1e300"];
    let fraction = |g: &mut Gen| g.rng.below(1_000_000_000) as f64 / 1e9;
    let (mut longitude, mut latitude) = if g.rng.chance(3) {
        (fraction(g) * 360.0 - 180.0, fraction(g) * 170.0 - 85.0)
    } else {
        let (longitude, latitude) = g.rng.pick(&CITIES);
        (longitude + fraction(g) * 0.2 - 0.1, latitude + fraction(g) * 0.2 - 0.1)
    };
    longitude = longitude.clamp(-180.0, 180.0);
    latitude = latitude.clamp(-85.0, 85.0);
    let mut texts = [longitude.to_string().into_bytes(), latitude.to_string().into_bytes()];
    if g.rng.chance(40) {
        texts[g.rng.below(2)] = g.rng.pick(&ODD).as_bytes().to_vec();
    }
    texts.to_vec()
}

fn geoadd(g: &mut Gen) -> Args {
    let mut args = on_key(g, "GEOADD");
    for _ in 0..[0, 0, 0, 1, 2][g.rng.below(5)] {
        let word = g.rng.pick(&["NX", "XX", "CH", "CH"]);
        args.push(g.spelled(word));
    }
    for _ in 0..1 + g.rng.below(8) {
        args.extend(point(g));
        args.push(member(g));
    }
    args
}

fn unit(g: &mut Gen) -> Vec<u8> {
    let known = if g.rng.chance(30) { UNITS.len() } else { UNITS.len() - 1 };
    g.rng.pick(&UNITS[..known]).as_bytes().to_vec()
}

#[derive(Clone, Copy, PartialEq)]
enum Reach {
    Any,
    /// A redis-server that finds a place twice, around the earth, and is to store it, ends with an assertion.
    OfAContinent,
}

fn length(g: &mut Gen, reach: Reach) -> Vec<u8> {
    match g.rng.below(16) {
        0 => g.rng.pick(&["0", "-1", "abc", "", "0.5"]).as_bytes().to_vec(),
        1 if reach == Reach::Any => g.rng.pick(&["1e7", "30000", "1e300", "inf"]).as_bytes().to_vec(),
        n => format!("{}.{}", g.rng.below([10, 300, 1000, 500][n % 4]), g.rng.below(100)).into_bytes(),
    }
}

fn options(g: &mut Gen, args: &mut Args, with: &[&str]) {
    for _ in 0..g.rng.below(4) {
        match g.rng.below(5) {
            0 => {
                let order = g.rng.pick(&["ASC", "DESC"]);
                args.push(g.spelled(order));
            }
            1 => {
                args.extend([g.spelled("COUNT"), g.rng.between(0, 20).to_string().into_bytes()]);
                if g.rng.chance(3) {
                    args.push(g.spelled("ANY"));
                }
            }
            _ => {
                let word = g.rng.pick(with);
                args.push(g.spelled(word));
            }
        }
    }
}

const WITH: &[&str] = &["WITHDIST", "WITHHASH", "WITHCOORD", "WITHDIST", "WITHCOORD", "BOGUS"];

fn figure(g: &mut Gen, args: &mut Args, reach: Reach) {
    if g.rng.chance(3) {
        args.extend([g.spelled("FROMMEMBER"), member(g)]);
    } else {
        args.push(g.spelled("FROMLONLAT"));
        args.extend(point(g));
    }
    if g.rng.chance(2) {
        args.extend([g.spelled("BYRADIUS"), length(g, reach), unit(g)]);
    } else {
        args.extend([g.spelled("BYBOX"), length(g, reach), length(g, reach), unit(g)]);
    }
}

fn geosearch(g: &mut Gen) -> Args {
    let mut args = on_key(g, "GEOSEARCH");
    figure(g, &mut args, Reach::Any);
    options(g, &mut args, WITH);
    args
}

fn geosearchstore(g: &mut Gen) -> Args {
    let (to, from) = (key(g), key(g));
    let distances = g.rng.chance(2);
    let to = if distances { distances_key(g) } else { to };
    let mut args = with(words("GEOSEARCHSTORE"), [to, from]);
    figure(g, &mut args, Reach::OfAContinent);
    if distances {
        args.push(g.spelled("STOREDIST"));
    }
    let spoiled = g.rng.chance(10);
    options(g, &mut args, if spoiled { &["WITHDIST"] } else { &["ASC"] });
    args
}

fn georadius(g: &mut Gen) -> Args {
    let command = g.rng.pick(&["GEORADIUS", "GEORADIUS_RO", "GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO"]);
    let stores = g.rng.chance(3);
    let mut args = on_key(g, command);
    if command.starts_with("GEORADIUSBY") {
        args.push(member(g));
    } else {
        args.extend(point(g));
    }
    let reach = if stores { Reach::OfAContinent } else { Reach::Any };
    args.extend([length(g, reach), unit(g)]);
    if stores {
        if g.rng.chance(2) {
            args.extend([g.spelled("STORE"), key(g)]);
        } else {
            args.extend([g.spelled("STOREDIST"), distances_key(g)]);
        }
        options(g, &mut args, &["WITHDIST"]);
    } else {
        options(g, &mut args, WITH);
    }
    args
}

fn members(g: &mut Gen, command: &str) -> Args {
    let args = on_key(g, command);
    let count = g.rng.below(5);
    let members: Args = (0..count).map(|_| member(g)).collect();
    with(args, members)
}

const RULES: &[Rule] = &[
    rule(20, geoadd),
    rule(1, set_some_value),
    rule(1, |g| {
        // Scores that are no places, each its own.
        let mut args = on_key(g, "ZADD");
        let score = [(g.rng.next() >> 8) as f64, -(g.rng.next() as f64), g.rng.next() as f64 * 1e9][g.rng.below(3)];
        args.extend([score.to_string().into_bytes(), member(g)]);
        args
    }),
    rule(6, |g| members(g, "GEOPOS")),
    rule(4, |g| members(g, "GEOHASH")),
    rule(6, |g| {
        let (mut args, one, other) = (on_key(g, "GEODIST"), member(g), member(g));
        args.extend([one, other]);
        if g.rng.chance(2) {
            args.push(unit(g));
        }
        args
    }),
    rule(20, geosearch),
    rule(8, geosearchstore),
    rule(14, georadius),
    rule(2, |g| members(g, "ZREM")),
    rule(1, |g| {
        let key = distances_key(g);
        with(words("ZRANGE"), [key, b"0".to_vec(), b"-1".to_vec()])
    }),
    rule(1, |g| on_key(g, "ZCARD")),
    rule(1, |g| on_key(g, "DEL")),
    rule(1, |g| on_key(g, "OBJECT ENCODING")),
    ruled(1, Compare::Kind, |g| words(&format!("HELLO {}", 2 + g.rng.below(2)))),
];
