//! The list group. The commands that wait do so for a moment only, or in a MULTI block, where they do not.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, with, words};

pub const FAMILY: Family =
    Family { name: "list", rules: RULES, special: Some((60, special)), known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[
    Known {
        reason: "a small list is a listpack from Redis 7.2 on",
        matches: |args, redis, basalt| {
            args[0].eq_ignore_ascii_case(b"OBJECT")
                && *redis == Reply::Bulk(b"quicklist".to_vec())
                && *basalt == Reply::Bulk(b"listpack".to_vec())
        },
    },
    Known {
        reason: "Redis 7.2 refuses the RANK that has no opposite",
        matches: |args, _, basalt| {
            args[0].eq_ignore_ascii_case(b"LPOS")
                && args.iter().any(|arg| arg == b"-9223372036854775808")
                && basalt.is_error()
        },
    },
];

/// Few texts, so that elements are found again, and some of every kind.
fn element(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(8) {
        0..=4 => g.rng.below(8).to_string().into_bytes(),
        5 => g.short_value(),
        6 => g.int(),
        _ => g.value(),
    }
}

fn elements(g: &mut Gen, most: usize) -> Args {
    (0..g.count(most)).map(|_| element(g)).collect()
}

fn index(g: &mut Gen) -> Vec<u8> {
    if g.rng.chance(10) { g.int() } else { g.rng.between(-12, 12).to_string().into_bytes() }
}

fn side(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(20) {
        0 => b"MIDDLE".to_vec(),
        n if n % 2 == 0 => g.spelled("LEFT"),
        _ => g.spelled("RIGHT"),
    }
}

/// Short, as the script waits. None that is far too long, of which Redis 7.0 says that it is negative.
fn timeout(g: &mut Gen) -> Vec<u8> {
    g.rng.pick(&["0.001", "0.002", "-1", "x", "0.0001"]).as_bytes().to_vec()
}

fn push(g: &mut Gen) -> Args {
    let command = g.rng.pick(&["LPUSH", "RPUSH", "LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]);
    let key = g.key();
    let most = if g.rng.chance(12) { 40 } else { 5 };
    let more = elements(g, most);
    with(with(words(command), [key]), more)
}

fn pop(g: &mut Gen) -> Args {
    let command = g.rng.pick(&["LPOP", "RPOP"]);
    let key = g.key();
    let mut args = with(words(command), [key]);
    if g.rng.chance(3) {
        args.push(index(g));
    }
    args
}

fn counted_keys(g: &mut Gen, mut args: Args) -> Args {
    let count = g.count(3);
    let keys = g.keys(count);
    let said = if g.rng.chance(12) { index(g) } else { count.to_string().into_bytes() };
    args.push(said);
    args.extend(keys);
    args.push(side(g));
    if g.rng.chance(2) {
        args.extend([g.spelled("COUNT"), index(g)]);
    }
    args
}

fn lpos(g: &mut Gen) -> Args {
    let (key, element) = (g.key(), element(g));
    let mut args = with(words("LPOS"), [key, element]);
    for _ in 0..g.rng.below(4) {
        let option = g.rng.pick(&["RANK", "COUNT", "MAXLEN", "RANK", "COUNT"]);
        args.extend([g.spelled(option), index(g)]);
    }
    args
}

fn transfer(g: &mut Gen) -> Args {
    let keys = g.keys(2);
    match g.rng.below(3) {
        0 => with(words("RPOPLPUSH"), keys),
        _ => {
            let sides = [side(g), side(g)];
            with(with(words("LMOVE"), keys), sides)
        }
    }
}

/// One that may wait.
fn waiting(g: &mut Gen) -> Args {
    let timeout = timeout(g);
    match g.rng.below(5) {
        0 => {
            let keys = g.keys(2);
            with(with(words("BRPOPLPUSH"), keys), [timeout])
        }
        1 => {
            let keys = g.keys(2);
            let sides = [side(g), side(g)];
            with(with(with(words("BLMOVE"), keys), sides), [timeout])
        }
        2 => counted_keys(g, with(words("BLMPOP"), [timeout])),
        n => {
            let count = g.count(3);
            let keys = g.keys(count);
            with(with(words(if n == 3 { "BLPOP" } else { "BRPOP" }), keys), [timeout])
        }
    }
}

/// A block in which nothing waits, its replies compared one by one.
fn special(g: &mut Gen) -> Step {
    let inside: Vec<Args> = (0..g.count(3)).map(|_| waiting(g)).collect();
    let step = |args: Args| Step::Command(args, Compare::Exact);
    g.next.extend(inside.into_iter().map(step));
    g.next.push_back(step(words("EXEC")));
    step(words("MULTI"))
}

/// A list beyond one node, and one beyond the compact form.
fn fill(g: &mut Gen) -> Args {
    let key = g.key();
    let count = g.rng.pick(&[100usize, 300, 900]);
    let texts: Args = (0..count).map(|n| format!("element {}", n % 97).into_bytes()).collect();
    with(with(words("RPUSH"), [key]), texts)
}

const RULES: &[Rule] = &[
    rule(22, push),
    rule(2, fill),
    rule(12, pop),
    rule(4, |g| {
        let key = g.key();
        with(words("LLEN"), [key])
    }),
    rule(5, |g| {
        let (key, index) = (g.key(), index(g));
        with(words("LINDEX"), [key, index])
    }),
    rule(6, |g| {
        let (key, index, text) = (g.key(), index(g), element(g));
        with(words("LSET"), [key, index, text])
    }),
    rule(6, |g| {
        let (key, pivot, text) = (g.key(), element(g), element(g));
        let place = g.rng.pick(&["BEFORE", "AFTER", "before", "AROUND"]).as_bytes().to_vec();
        with(words("LINSERT"), [key, place, pivot, text])
    }),
    rule(7, |g| {
        let (key, from, to) = (g.key(), index(g), index(g));
        with(words("LRANGE"), [key, from, to])
    }),
    rule(3, |g| {
        let (key, from, to) = (g.key(), index(g), index(g));
        with(words("LTRIM"), [key, from, to])
    }),
    rule(6, |g| {
        let (key, count, text) = (g.key(), index(g), element(g));
        with(words("LREM"), [key, count, text])
    }),
    rule(8, lpos),
    rule(10, transfer),
    rule(6, |g| counted_keys(g, words("LMPOP"))),
    rule(3, waiting),
    rule(2, set_some_value),
    rule(1, |g| {
        let key = g.key();
        with(words("DEL"), [key])
    }),
    rule(2, |g| {
        let keys = g.keys(2);
        with(words("COPY"), keys)
    }),
    rule(1, |g| {
        let keys = g.keys(2);
        with(words("RENAME"), keys)
    }),
    rule(1, |g| {
        let (key, time) = (g.key(), g.ttl(1000));
        with(words("EXPIRE"), [key, time])
    }),
    rule(2, |g| {
        let key = g.key();
        with(words("TYPE"), [key])
    }),
    rule(2, |g| {
        let key = g.key();
        with(words("OBJECT ENCODING"), [key])
    }),
];
