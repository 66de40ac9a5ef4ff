//! SORT and SORT_RO over lists, sets and sorted sets, by themselves, by strings and by fields of hashes.
//!
//! Where Redis leaves an order open (a set that is not sorted, texts that are equal), replies are compared without it.

use super::set::is_newer_encoding;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, with, words};

pub const FAMILY: Family =
    Family { name: "sort", rules: RULES, special: Some((2, sort_or_block)), known: KNOWN, check_dumps: false };

const KNOWN: &[Known] = &[Known {
    reason: "small lists and sets have an encoding of their own, listpack, from Redis 7.2 on",
    matches: |args, redis, basalt| args[0].eq_ignore_ascii_case(b"OBJECT") && is_newer_encoding(redis, basalt),
}];

/// Hashes with the fields `f` and `g`, and one that is too long for a compact form, as redis-server 7.0.15 dumps them.
const HASHES: [&[u8]; 3] = [
    b"\x04\x02\x04long@Fthe other field is too long for a compact hash: 65 bytes or more of it\x01f\xc0\x03\x0a\x00elY\xa0\xeeu\x13\xa7",
    b"\x04\x03\x04long@Fthe other field is too long for a compact hash: 65 bytes or more of it\x01g\x04text\x01f\xc0\x14\x0a\x00\xe7\xdb\x90\xdc7A\xd0\xdd",
    b"\x04\x03\x04long@Fthe other field is too long for a compact hash: 65 bytes or more of it\x01g\xc0\x09\x01f\x04-1.5\x0a\x00\xf2Z\x15mW\xf7\xb3\xb7",
];

/// Sorted sets: 5, m2, 1; 40, 3, 7, 12.
const SORTED_SETS: [&[u8]; 2] = [
    b"\x05\x03\xc0\x01\x00\x00\x00\x00\x00\x00\x08\x40\x02\x6d\x32\x00\x00\x00\x00\x00\x00\x00\x40\xc0\x05\x00\x00\x00\x00\x00\x00\xf0\
      \x3f\x0a\x00\xc5\xaa\xb9\x8b\xde\xf6\x52\x78",
    b"\x05\x04\xc0\x0c\x00\x00\x00\x00\x00\x00\x00\x40\xc0\x07\x00\x00\x00\x00\x00\x00\xf0\x3f\xc0\x03\x00\x00\x00\x00\x00\x00\xf0\x3f\
      \xc0\x28\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x8d\x37\x07\xfb\x63\xf1\x89\x4e",
];

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

fn weight(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0 => g.word().as_bytes().to_vec(),
        1 => g.float(),
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

fn restore(g: &mut Gen, key: Vec<u8>, payloads: &[&[u8]]) -> Args {
    let payload = g.rng.pick(payloads).to_vec();
    with(words("RESTORE"), [key, b"0".to_vec(), payload, b"REPLACE".to_vec()])
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
        let (key, value) = (named(g, "o"), g.short_value());
        with(words("SET"), [key, value])
    }),
    rule(6, |g| {
        let key = named(g, "h");
        restore(g, key, &HASHES)
    }),
    rule(3, |g| {
        let key = source(g, Source::Sorted);
        restore(g, key, &SORTED_SETS)
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
