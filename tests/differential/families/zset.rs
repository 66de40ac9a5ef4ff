//! The sorted set group.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, rule, ruled, with, words};
use basalt::types::numbers::general_17;

pub const FAMILY: Family = Family { name: "zset", rules: RULES, special: None, known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[
    Known {
        reason: "ranges by name of a set with different scores have no meaning: a large one of Redis walks by them as they come",
        matches: |args, redis, basalt| {
            let by_name = args.iter().any(|arg| arg.to_ascii_uppercase().windows(3).any(|word| word == b"LEX"));
            let mixed = args.iter().any(|arg| arg.starts_with(b"mixed"));
            let same_kind =
                matches!((redis, basalt), (Reply::Array(_), Reply::Array(_)) | (Reply::Int(_), Reply::Int(_)));
            by_name && mixed && same_kind
        },
    },
    Known {
        reason: "scores have as few digits as tell them apart, from Redis 7.2 on",
        matches: |_, redis, basalt| same_but_for_digits(redis, basalt),
    },
    Known {
        reason: "a timeout that is too long says so, while Redis 7.0 takes it for a negative one",
        matches: |args, redis, basalt| {
            args.iter().any(|arg| arg == b"1e400")
                && *redis == Reply::Error(b"ERR timeout is negative".to_vec())
                && *basalt == Reply::Error(b"ERR timeout is out of range".to_vec())
        },
    },
    Known {
        reason: "ZRANK and ZREVRANK have an option from Redis 7.2 on",
        matches: |args, redis, basalt| {
            args.len() == 4
                && [&b"ZRANK"[..], b"ZREVRANK"].iter().any(|name| args[0].eq_ignore_ascii_case(name))
                && matches!(redis, Reply::Error(text) if text.starts_with(b"ERR wrong number of arguments"))
                && *basalt == Reply::Error(b"ERR syntax error".to_vec())
        },
    },
];

/// Whether the replies are the same, but that a number of 17 digits has fewer.
pub fn same_but_for_digits(redis: &Reply, basalt: &Reply) -> bool {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
    match (redis, basalt) {
        (Reply::Array(there), Reply::Array(here)) => {
            there.len() == here.len() && there.iter().zip(here).all(|(a, b)| same_but_for_digits(a, b))
        }
        (Reply::Bulk(there), Reply::Bulk(here)) | (Reply::Double(there), Reply::Double(here)) => {
            there == here
                || number(there).is_some_and(|value| {
                    number(here).map(f64::to_bits) == Some(value.to_bits()) && general_17(value).as_bytes() == there
                })
        }
        _ => redis == basalt,
    }
}

/// The elements of a ZSCAN that needs one call, in the order of their names, their scores written alike.
fn scanned(reply: Reply) -> Reply {
    let Reply::Array(parts) = &reply else { return reply };
    let [cursor, Reply::Array(items)] = parts.as_slice() else { return reply };
    let mut pairs: Vec<(Vec<u8>, String)> = items
        .chunks(2)
        .map(|pair| {
            let score = pair.get(1).map(Reply::text).unwrap_or_default();
            (pair[0].bytes(), score.parse().map_or(score, general_17))
        })
        .collect();
    pairs.sort();
    pairs.dedup();
    let items = pairs.into_iter().flat_map(|(name, score)| [Reply::Bulk(name), Reply::Bulk(score.into_bytes())]);
    Reply::Array(vec![cursor.clone(), Reply::Array(items.collect())])
}

fn on_key(g: &mut Gen, command: &str) -> Args {
    let key = g.key();
    with(words(command), [key])
}

fn member(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(20) {
        0 => g.short_value(),
        1 => vec![b'm'; [63, 64, 65, 200][g.rng.below(4)]],
        2 | 3 => g.rng.between(-3, 40).to_string().into_bytes(),
        4 => g.int(),
        _ => format!("m:{}", g.rng.below(40)).into_bytes(),
    }
}

/// Never minus zero: a large set keeps its sign and a small one does not, so that a set that a redis-server restores from its own DUMP may have
/// another digest.
fn score(g: &mut Gen) -> Vec<u8> {
    let score = any_score(g);
    if score == b"-0" { b"0".to_vec() } else { score }
}

fn any_score(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0 => g.float(),
        1 => g.int(),
        2 => g.rng.pick(&["inf", "-inf", "+inf", "1e17", "0.1", "1e-7", "4503599627370497"]).as_bytes().to_vec(),
        3 | 4 => format!("{}.{}", g.rng.between(-9, 9), g.rng.below(1000)).into_bytes(),
        _ => g.rng.between(-20, 20).to_string().into_bytes(),
    }
}

fn pairs(g: &mut Gen, most: usize) -> Args {
    let count = g.count(most);
    (0..count).flat_map(|_| [score(g), member(g)]).collect()
}

fn zadd(g: &mut Gen) -> Args {
    let mut args = on_key(g, "ZADD");
    if g.rng.chance(2) {
        for _ in 0..g.rng.below(3) {
            let word = g.rng.pick(&["NX", "XX", "GT", "LT", "CH", "CH", "INCR"]);
            args.push(g.spelled(word));
        }
    }
    let most = [1, 2, 5, 12][g.rng.below(4)];
    with(args, pairs(g, most))
}

/// Many at once, so that sets become large ones.
fn zadd_many(g: &mut Gen) -> Args {
    let mut args = on_key(g, "ZADD");
    let from = g.rng.below(200);
    for n in from..from + 20 + g.rng.below(100) {
        args.extend([g.rng.between(-100, 100).to_string().into_bytes(), format!("many:{n}").into_bytes()]);
    }
    args
}

fn score_bound(g: &mut Gen) -> Vec<u8> {
    const ODD: [&str; 12] = ["(", "", " 1", "1 ", "((1", "abc", "nan", "(inf", "-inf", "+inf", "1e400", "0x10"];
    if g.rng.chance(10) {
        return g.rng.pick(&ODD).as_bytes().to_vec();
    }
    let bound = score(g);
    if g.rng.chance(3) { [b"(".to_vec(), bound].concat() } else { bound }
}

fn score_bounds(g: &mut Gen) -> [Vec<u8>; 2] {
    if g.rng.chance(4) {
        return [b"-inf".to_vec(), b"+inf".to_vec()];
    }
    [score_bound(g), score_bound(g)]
}

fn index(g: &mut Gen) -> Vec<u8> {
    if g.rng.chance(15) { g.int() } else { g.rng.between(-30, 30).to_string().into_bytes() }
}

fn limit(g: &mut Gen, args: &mut Args) {
    args.extend([g.spelled("LIMIT"), g.small_int(), g.small_int()]);
}

fn range_options(g: &mut Gen, args: &mut Args, options: &[&str]) {
    for _ in 0..g.rng.below(4) {
        match g.rng.pick(options) {
            "LIMIT" => limit(g, args),
            word => args.push(g.spelled(word)),
        }
    }
}

fn zrange(g: &mut Gen, mut args: Args, scores: &str) -> Args {
    if g.rng.chance(2) {
        args.extend([index(g), index(g)]);
        range_options(g, &mut args, &["REV", scores, scores, "LIMIT"]);
    } else {
        args.extend(score_bounds(g));
        args.push(g.spelled("BYSCORE"));
        range_options(g, &mut args, &["REV", scores, "LIMIT", "LIMIT"]);
    }
    args
}

/// Names of few letters, so that ranges of names hit.
fn lex_member(g: &mut Gen) -> Vec<u8> {
    let len = g.rng.below(4);
    (0..len).map(|_| g.rng.pick(&[b'a', b'b', b'c', b'1', 0, 0xff])).collect()
}

/// Sets of one score, which may become large; or small ones of any, for which Redis is as predictable.
fn lex_key(g: &mut Gen) -> Vec<u8> {
    let kind = g.rng.pick(&["lex", "lex", "mixed"]);
    format!("{kind}:{}", g.rng.below(4)).into_bytes()
}

fn lex_add(g: &mut Gen) -> Args {
    let key = lex_key(g);
    let mixed = key.starts_with(b"mixed");
    let mut args = with(words("ZADD"), [key]);
    for _ in 0..1 + g.rng.below(12) {
        if mixed {
            args.extend([g.rng.between(0, 3).to_string().into_bytes(), vec![b'a' + g.rng.below(26) as u8]]);
        } else {
            args.extend([b"0".to_vec(), lex_member(g)]);
        }
    }
    args
}

fn lex_bound(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(14) {
        0 => g.rng.pick(&["", "a", "+a", "-a", "[", "("]).as_bytes().to_vec(),
        1 | 2 => b"-".to_vec(),
        3 | 4 => b"+".to_vec(),
        n => [if n % 2 == 0 { b"[".to_vec() } else { b"(".to_vec() }, lex_member(g)].concat(),
    }
}

fn lex_range(g: &mut Gen) -> Args {
    let command = g.rng.pick(&[
        "ZRANGEBYLEX",
        "ZREVRANGEBYLEX",
        "ZLEXCOUNT",
        "ZREMRANGEBYLEX",
        "ZRANGE",
        "ZRANGE",
        "ZRANGESTORE lex:stored",
    ]);
    // What changes a set is asked for only where there is one answer.
    let changes = ["ZREMRANGEBYLEX", "ZRANGESTORE lex:stored"].contains(&command);
    let key = if changes { format!("lex:{}", g.rng.below(4)).into_bytes() } else { lex_key(g) };
    let (min, max) = (lex_bound(g), lex_bound(g));
    let mut args = with(words(command), [key, min, max]);
    match command {
        "ZLEXCOUNT" | "ZREMRANGEBYLEX" => {}
        "ZRANGEBYLEX" | "ZREVRANGEBYLEX" => range_options(g, &mut args, &["LIMIT", "LIMIT", "WITHSCORES"]),
        _ => {
            args.push(g.spelled("BYLEX"));
            range_options(g, &mut args, &["REV", "LIMIT", "REV"]);
        }
    }
    args
}

fn sources(g: &mut Gen, mut args: Args) -> (Args, usize) {
    let count = g.count(4);
    let said = if g.rng.chance(25) { g.int() } else { count.to_string().into_bytes() };
    args.push(said);
    args.extend(g.keys(count));
    (args, count)
}

/// Above zero: others make minus zero of a score.
fn weight(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(8) {
        0 => g.rng.pick(&["inf", "1e300", "abc", "", "0x2", "1e-3"]).as_bytes().to_vec(),
        1 | 2 => format!("{}.{}", g.rng.between(1, 9), g.rng.below(1000)).into_bytes(),
        _ => g.rng.between(1, 9).to_string().into_bytes(),
    }
}

fn combine(g: &mut Gen) -> Args {
    let command = g.rng.pick(&["ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD"]);
    let mut args = words(command);
    if command.ends_with("STORE") {
        args.push(g.key());
    }
    let (mut args, count) = sources(g, args);
    for _ in 0..g.rng.below(3) {
        match g.rng.below(6) {
            0 | 1 if !command.starts_with("ZDIFF") => {
                args.push(g.spelled("WEIGHTS"));
                args.extend((0..count).map(|_| weight(g)));
            }
            2 | 3 if !command.starts_with("ZDIFF") => {
                let how = g.rng.pick(&["SUM", "MIN", "MAX", "AVG"]);
                args.extend([g.spelled("AGGREGATE"), g.spelled(how)]);
            }
            4 => args.extend([g.spelled("LIMIT"), g.small_int()]),
            _ => args.push(g.spelled("WITHSCORES")),
        }
    }
    args
}

fn end(g: &mut Gen) -> Vec<u8> {
    let end = g.rng.pick(&["MIN", "MAX", "MIN", "MAX", "MID"]);
    g.spelled(end)
}

fn maybe_count(g: &mut Gen, args: &mut Args) {
    if g.rng.chance(2) {
        args.extend([g.spelled("COUNT"), g.small_int()]);
    }
}

fn zmpop(g: &mut Gen) -> Args {
    let (mut args, _) = sources(g, words("ZMPOP"));
    args.push(end(g));
    maybe_count(g, &mut args);
    args
}

/// Times that are over at once, or none at all.
fn timeout(g: &mut Gen) -> Vec<u8> {
    g.rng.pick(&["0.001", "0.002", "0.001", "-1", "abc", "", "0x0.01"]).as_bytes().to_vec()
}

fn bzmpop(g: &mut Gen) -> Args {
    let timeout = timeout(g);
    let (mut args, _) = sources(g, with(words("BZMPOP"), [timeout]));
    args.push(end(g));
    maybe_count(g, &mut args);
    args
}

fn bzpop(g: &mut Gen) -> Args {
    let count = g.count(3);
    let command = g.rng.pick(&["BZPOPMIN", "BZPOPMAX"]);
    let args = with(words(command), g.keys(count));
    let timeout = timeout(g);
    with(args, [timeout])
}

fn zrandmember(g: &mut Gen) -> Args {
    let mut args = on_key(g, "ZRANDMEMBER");
    args.push(match g.rng.below(8) {
        0 => g.rng.pick(&["9223372036854775807", "-9223372036854775808", "abc", "", "1.5"]).as_bytes().to_vec(),
        _ => g.rng.between(-20, 20).to_string().into_bytes(),
    });
    if g.rng.chance(3) {
        args.push(g.spelled("WITHSCORES"));
    }
    args
}

fn zscan(g: &mut Gen) -> Args {
    let mut args = on_key(g, "ZSCAN");
    let cursor: &[u8] = if g.rng.chance(20) { b"abc" } else { b"0" };
    args.extend([cursor.to_vec(), g.spelled("COUNT"), b"5000".to_vec()]);
    match g.rng.below(6) {
        0 | 1 => args.extend([g.spelled("MATCH"), g.rng.pick(&["m:*", "many:1?", "*", "[0-9]*"]).as_bytes().to_vec()]),
        2 => args.push(g.spelled("BOGUS")),
        _ => {}
    }
    args
}

fn key_and_members(g: &mut Gen, command: &str, most: usize) -> Args {
    let args = on_key(g, command);
    let count = g.count(most);
    let members: Args = (0..count).map(|_| member(g)).collect();
    with(args, members)
}

fn key_and_member(g: &mut Gen, command: &str) -> Args {
    key_and_members(g, command, 1)
}

fn key_and_scores(g: &mut Gen, command: &str) -> Args {
    let args = on_key(g, command);
    with(args, score_bounds(g))
}

pub const RULES: &[Rule] = &[
    rule(20, zadd),
    rule(2, zadd_many),
    rule(1, set_some_value),
    rule(4, |g| {
        let (args, score, member) = (on_key(g, "ZINCRBY"), score(g), member(g));
        with(args, [score, member])
    }),
    rule(2, |g| on_key(g, "ZCARD")),
    rule(3, |g| key_and_member(g, "ZSCORE")),
    rule(2, |g| key_and_members(g, "ZMSCORE", 4)),
    rule(3, |g| key_and_member(g, "ZRANK")),
    rule(3, |g| key_and_member(g, "ZREVRANK")),
    rule(3, |g| key_and_scores(g, "ZCOUNT")),
    rule(4, |g| key_and_members(g, "ZREM", 4)),
    rule(2, |g| key_and_scores(g, "ZREMRANGEBYSCORE")),
    rule(2, |g| {
        let (args, start, stop) = (on_key(g, "ZREMRANGEBYRANK"), index(g), index(g));
        with(args, [start, stop])
    }),
    rule(8, |g| {
        let args = on_key(g, "ZRANGE");
        zrange(g, args, "WITHSCORES")
    }),
    rule(4, |g| {
        let args = with(words("ZRANGESTORE"), g.keys(2));
        zrange(g, args, "REV")
    }),
    rule(3, |g| {
        let (mut args, start, stop) = (on_key(g, "ZREVRANGE"), index(g), index(g));
        args.extend([start, stop]);
        range_options(g, &mut args, &["WITHSCORES"]);
        args
    }),
    rule(3, |g| {
        let mut args = key_and_scores(g, "ZRANGEBYSCORE");
        range_options(g, &mut args, &["WITHSCORES", "LIMIT"]);
        args
    }),
    rule(3, |g| {
        let mut args = key_and_scores(g, "ZREVRANGEBYSCORE");
        args[2..].reverse();
        range_options(g, &mut args, &["WITHSCORES", "LIMIT"]);
        args
    }),
    rule(6, lex_add),
    rule(10, lex_range),
    rule(12, combine),
    rule(3, |g| {
        let command = g.rng.pick(&["ZPOPMIN", "ZPOPMAX"]);
        let mut args = on_key(g, command);
        if g.rng.chance(2) {
            args.push(g.small_int());
        }
        args
    }),
    rule(3, zmpop),
    rule(1, bzmpop),
    rule(1, bzpop),
    ruled(1, Compare::Kind, |g| on_key(g, "ZRANDMEMBER")),
    ruled(3, Compare::Shape, zrandmember),
    ruled(4, Compare::Through(scanned), zscan),
    rule(2, |g| on_key(g, "DEL")),
    rule(2, |g| on_key(g, "OBJECT ENCODING")),
    rule(1, |g| with(words("COPY"), g.keys(2))),
    rule(1, |g| with(words("RENAME"), g.keys(2))),
    rule(1, |g| {
        let (args, ttl) = (on_key(g, "EXPIRE"), g.ttl(1000));
        with(args, [ttl])
    }),
    ruled(1, Compare::Kind, |g| words(&format!("HELLO {}", 2 + g.rng.below(2)))),
];
