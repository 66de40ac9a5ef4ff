//! SORT and SORT_RO over lists, sets and sorted sets, by themselves, by strings and by fields of hashes.
//!
//! Where Redis leaves an order open (a set that is not sorted, texts that are equal), replies are compared without it.

use super::set::is_newer_encoding;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, with, words};

pub const FAMILY: Family =
    Family { name: "sort", rules: RULES, special: Some((2, sort_or_block)), known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[Known {
    reason: "small lists and sets have an encoding of their own, listpack, from Redis 7.2 on",
    matches: |args, redis, basalt| args[0].eq_ignore_ascii_case(b"OBJECT") && is_newer_encoding(redis, basalt),
}];

/// Keys of one kind each, so that it is known which of them have an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Set,
    List,
    Sorted,
    Other,
}

fn source(g: &mut Gen, source: Source) -> Vec<u8> {
    let n = g.rng.below(6);
    match source {
        Source::Set => format!("set:{n}"),
        Source::List => format!("list:{n}"),
        Source::Sorted => format!("zset:{}", n % 2),
        Source::Other => format!("w:{n}"),
    }
    .into_bytes()
}

/// What is part of the names of keys, and mostly a number.
fn element(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(40) {
        0 => format!("m{}", g.rng.below(5)).into_bytes(),
        1 => g.rng.pick(&["2.5", "-0.5", "1e1", " 7", "0x10", "", "inf"]).as_bytes().to_vec(),
        2 => g.rng.between(-3000, 3000).to_string().into_bytes(),
        _ => g.rng.between(0, 25).to_string().into_bytes(),
    }
}

/// Nothing beyond the range of doubles: once Redis has met that, it takes later numbers for such, too, until some system call fails otherwise. And
/// no zero bytes, where Redis ends a text that it sorts by.
fn text(g: &mut Gen) -> Vec<u8> {
    let value = g.short_value();
    if value == b"1e4931" || value.contains(&0) { Vec::new() } else { value }
}

fn weight(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0 => g.word().as_bytes().to_vec(),
        1 => text(g),
        _ => g.rng.between(-20, 20).to_string().into_bytes(),
    }
}

fn named(g: &mut Gen, prefix: &str) -> Vec<u8> {
    format!("{prefix}:{}", g.rng.between(0, 25)).into_bytes()
}

fn limit(g: &mut Gen, args: &mut Args) {
    let number = |g: &mut Gen| {
        if g.rng.chance(30) { g.int() } else { g.rng.between(-3, 14).to_string().into_bytes() }
    };
    args.extend([g.spelled("LIMIT"), number(g), number(g)]);
}

fn get(g: &mut Gen, args: &mut Args) {
    let pattern =
        g.rng.pick(&["#", "#", "o:*", "w:*", "h:*->f", "h:*->g", "h:*->none", "nothing", "*", "o:*->", "set:*"]);
    args.extend([g.spelled("GET"), pattern.as_bytes().to_vec()]);
}

fn sort(g: &mut Gen) -> Step {
    let from = g.rng.pick(&[Source::Set, Source::Set, Source::List, Source::List, Source::Sorted, Source::Other]);
    let read_only = g.rng.chance(5);
    let key = source(g, from);
    let mut args = with(words(if read_only { "SORT_RO" } else { "SORT" }), [key]);
    let by = g.rng.below(4);
    let alpha = g.rng.chance(3);
    // Equal texts, and the elements of a set.
    let open = (alpha && by == 0) || (by == 1 && from == Source::Set);
    match by {
        0 => {
            let pattern = g.rng.pick(&["w:*", "w:*", "h:*->f", "none:*", "o:*"]);
            args.extend([g.spelled("BY"), pattern.as_bytes().to_vec()]);
        }
        1 => args.extend([g.spelled("BY"), b"nosort".to_vec()]),
        _ => {}
    }
    if alpha {
        args.push(g.spelled("ALPHA"));
    }
    for _ in 0..g.rng.below(4) {
        match g.rng.below(12) {
            0..=2 => args.push(g.spelled("DESC")),
            3 => args.push(g.spelled("ASC")),
            4..=6 if !open => limit(g, &mut args),
            7 if g.rng.chance(6) => args.push(g.spelled("BOGUS")),
            _ => get(g, &mut args),
        }
    }
    let stores = !read_only && g.rng.chance(4) && (!open || by == 1);
    if stores {
        let destination = source(g, Source::List);
        args.extend([g.spelled("STORE"), destination]);
    }
    let compare = if open && !stores { Compare::AnyOrder } else { Compare::Exact };
    Step::Command(args, compare)
}

/// Mostly one SORT, sometimes some as one block.
fn sort_or_block(g: &mut Gen) -> Step {
    if !g.rng.chance(12) {
        return sort(g);
    }
    for _ in 0..g.count(3) {
        let command = sort(g);
        if let Step::Command(_, Compare::Exact) = command {
            g.next.push_back(command);
        }
        let (key, member) = (source(g, Source::Set), element(g));
        g.next.push_back(Step::Command(with(words("SADD"), [key, member]), Compare::Exact));
    }
    g.next.push_back(Step::Command(words("EXEC"), Compare::Exact));
    Step::Command(words("MULTI"), Compare::Exact)
}

const RULES: &[Rule] = &[
    rule(12, |g| {
        let count = g.count(5);
        let (key, members): (_, Args) = (source(g, Source::Set), (0..count).map(|_| element(g)).collect());
        with(with(words("SADD"), [key]), members)
    }),
    rule(5, |g| {
        let (key, member) = (source(g, Source::Set), element(g));
        with(words("SREM"), [key, member])
    }),
    rule(10, |g| {
        let (key, value) = (named(g, "w"), weight(g));
        with(words("SET"), [key, value])
    }),
    rule(4, |g| {
        let (key, value) = (named(g, "o"), text(g));
        with(words("SET"), [key, value])
    }),
    rule(6, |g| {
        let (key, field, value) = (named(g, "h"), g.rng.pick(&["f", "f", "g", "other"]), weight(g));
        with(words("HSET"), [key, field.as_bytes().to_vec(), value])
    }),
    // In the full form at once: Redis gives it to any sorted set that it sorts.
    rule(3, |g| {
        let (key, score, member) = (source(g, Source::Sorted), g.small_int(), element(g));
        g.next.push_back(Step::Command(with(words("ZADD"), [key, score, member]), Compare::Exact));
        words("CONFIG SET zset-max-listpack-entries 0")
    }),
    rule(3, |g| {
        let (key, first, second) = (source(g, Source::List), element(g), element(g));
        with(words("RPUSH"), [key, first, second])
    }),
    rule(3, |g| {
        let prefix = g.rng.pick(&["w", "o", "h"]);
        let key = named(g, prefix);
        with(words("DEL"), [key])
    }),
    rule(2, |g| {
        let kind = g.rng.pick(&[Source::Set, Source::List, Source::Sorted]);
        let key = source(g, kind);
        with(words("DEL"), [key])
    }),
    rule(1, |g| {
        let key = source(g, Source::List);
        with(words("OBJECT ENCODING"), [key])
    }),
];
