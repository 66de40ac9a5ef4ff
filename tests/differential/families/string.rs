//! The string group.

use super::{set_some_value, set_with_options};
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, rule, ruled, with, words};

pub const FAMILY: Family = Family { name: "string", rules: RULES, special: None, known: KNOWN, check_dumps: true };

/// Of a key that has expired and that nobody has met since, Redis shows the value until its search for such keys comes by.
const KNOWN: &[Known] = &[Known {
    reason: "DEBUG DIGEST-VALUE shows no expired values",
    matches: |args, _, basalt| {
        args[0].eq_ignore_ascii_case(b"DEBUG") && *basalt == Reply::Array(vec![Reply::Simple(vec![b'0'; 40])])
    },
}];

fn on_key(g: &mut Gen, command: &str) -> Args {
    let key = g.key();
    with(words(command), [key])
}

fn key_and(g: &mut Gen, command: &str, more: fn(&mut Gen) -> Vec<u8>) -> Args {
    let mut args = on_key(g, command);
    args.push(more(g));
    args
}

fn pairs(g: &mut Gen, command: &str, keys: Args) -> Args {
    let mut args = words(command);
    for key in keys {
        args.push(key);
        args.push(g.value());
    }
    args
}

fn offset(g: &mut Gen) -> Vec<u8> {
    const EDGES: [&str; 8] =
        ["-1", "0", "1048576", "1048570", "9223372036854775807", "4294967296", "abc", "-9223372036854775808"];
    if g.rng.chance(8) {
        g.rng.pick(&EDGES).as_bytes().to_vec()
    } else {
        g.rng.between(0, 300).to_string().into_bytes()
    }
}

fn getex(g: &mut Gen) -> Args {
    let mut args = on_key(g, "GETEX");
    match g.rng.below(8) {
        0 => args.extend([g.spelled("EX"), g.ttl(1000)]),
        1 => args.extend([g.spelled("PX"), g.ttl(1)]),
        2 => args.extend([g.spelled("EXAT"), g.time(1000)]),
        3 => args.extend([g.spelled("PXAT"), g.time(1)]),
        4 => args.push(g.spelled("PERSIST")),
        5 => args.extend([g.spelled("PERSIST"), g.spelled("EX"), b"100".to_vec()]),
        6 => args.push(g.spelled("KEEPTTL")),
        _ => {}
    }
    args
}

fn lcs(g: &mut Gen) -> Args {
    let mut args = with(words("LCS"), g.keys(2));
    for _ in 0..g.rng.below(4) {
        match g.rng.below(5) {
            0 => args.push(g.spelled("LEN")),
            1 | 2 => args.push(g.spelled("IDX")),
            3 => args.extend([g.spelled("MINMATCHLEN"), g.small_int()]),
            _ => args.push(g.spelled("WITHMATCHLEN")),
        }
    }
    args
}

/// Keys of short text, which LCS takes a square of time for.
fn set_short(g: &mut Gen) -> Args {
    let (key, value) = (g.key(), g.short_value());
    with(words("SET"), [key, value])
}

const RULES: &[Rule] = &[
    rule(8, set_some_value),
    rule(6, set_short),
    rule(12, set_with_options),
    rule(10, |g| on_key(g, "GET")),
    rule(3, |g| key_and(g, "GETSET", Gen::value)),
    rule(2, |g| on_key(g, "GETDEL")),
    rule(6, getex),
    rule(3, |g| key_and(g, "SETNX", Gen::value)),
    rule(3, |g| {
        let (key, ttl, value) = (g.key(), g.ttl(1000), g.value());
        with(words("SETEX"), [key, ttl, value])
    }),
    rule(3, |g| {
        let (key, ttl, value) = (g.key(), g.ttl(1), g.value());
        with(words("PSETEX"), [key, ttl, value])
    }),
    rule(5, |g| key_and(g, "APPEND", Gen::short_value)),
    rule(4, |g| on_key(g, "STRLEN")),
    rule(6, |g| {
        let (key, offset, value) = (g.key(), offset(g), g.short_value());
        with(words("SETRANGE"), [key, offset, value])
    }),
    rule(6, |g| {
        let (key, from, to) = (g.key(), g.small_int(), g.int());
        with(words("GETRANGE"), [key, from, to])
    }),
    rule(2, |g| {
        let (key, from, to) = (g.key(), g.int(), g.small_int());
        with(words("SUBSTR"), [key, from, to])
    }),
    rule(5, |g| on_key(g, "INCR")),
    rule(5, |g| on_key(g, "DECR")),
    rule(6, |g| key_and(g, "INCRBY", Gen::int)),
    rule(6, |g| key_and(g, "DECRBY", Gen::int)),
    rule(8, |g| key_and(g, "INCRBYFLOAT", Gen::float)),
    rule(4, |g| {
        let count = g.count(5);
        let keys = g.keys(count);
        with(words("MGET"), keys)
    }),
    rule(3, |g| {
        let count = g.count(4);
        let keys = g.keys(count);
        pairs(g, "MSET", keys)
    }),
    rule(3, |g| {
        let count = g.count(3);
        let keys = g.keys(count);
        pairs(g, "MSETNX", keys)
    }),
    rule(4, lcs),
    rule(3, |g| on_key(g, "DEL")),
    rule(3, |g| {
        let key = g.key();
        with(words("OBJECT ENCODING"), [key])
    }),
    ruled(3, Compare::Within(2), |g| on_key(g, "TTL")),
    ruled(2, Compare::Within(2000), |g| on_key(g, "PTTL")),
    rule(1, |g| on_key(g, "DEBUG DIGEST-VALUE")),
];
