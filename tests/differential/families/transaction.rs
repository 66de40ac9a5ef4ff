//! Transactions: blocks of the other families' commands, whatever can be wrong with them, and a second connection that touches what
//! is watched.

use super::{bitmap, generic, set_some_value, string};
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, with, words};

pub const FAMILY: Family =
    Family { name: "transaction", rules: RULES, special: Some((2, sequence)), known: KNOWN, check_dumps: false };

const KNOWN: &[Known] = &[];

/// Commands whose replies differ on purpose, which the families they are from know; in a block they could not be told from others.
const NOT_IN_BLOCKS: [&[u8]; 3] = [b"BITCOUNT", b"BITPOS", b"DEBUG"];

/// A command over keys, of any kind.
fn over_keys(g: &mut Gen) -> (Args, Compare) {
    let family = [&string::FAMILY, &generic::FAMILY, &bitmap::FAMILY][g.rng.below(3)];
    loop {
        let (args, compare) = family.command(g);
        if !NOT_IN_BLOCKS.iter().any(|name| args[0].eq_ignore_ascii_case(name)) {
            return (args, compare);
        }
    }
}

/// A command for the inside of a block, where its reply will be compared byte for byte.
fn queued(g: &mut Gen) -> Args {
    if g.rng.chance(12) {
        return odd(g);
    }
    if g.rng.chance(6) {
        return beside_keys(g);
    }
    exact(g)
}

/// A command over keys whose reply is the same to the byte.
fn exact(g: &mut Gen) -> Args {
    loop {
        let (args, compare) = over_keys(g);
        if matches!(compare, Compare::Exact) {
            return args;
        }
    }
}

/// What is refused when it is queued, or does something there and then.
fn odd(g: &mut Gen) -> Args {
    const LINES: [&str; 17] = [
        "NOSUCH",
        "NOSUCH a b",
        "GET",
        "SET a",
        "MSET a 1 b",
        "MULTI",
        "MULTI x",
        "EXEC x",
        "DISCARD x",
        "WATCH key:1",
        "WATCH",
        "UNWATCH x",
        "CLIENT NOSUCH",
        "CONFIG",
        "OBJECT NOSUCH key:1",
        "RESET",
        "COMMAND GETKEYS",
    ];
    words(g.rng.pick(&LINES))
}

fn beside_keys(g: &mut Gen) -> Args {
    const LINES: [&str; 22] = [
        "PING",
        "PING hello",
        "ECHO hello",
        "SELECT 1",
        "SELECT 0",
        "SELECT 0",
        "SELECT 99",
        "SELECT abc",
        "FLUSHDB",
        "FLUSHDB SYNC",
        "FLUSHDB BOGUS",
        "FLUSHALL ASYNC",
        "SWAPDB 0 1",
        "SWAPDB 1 1",
        "SWAPDB 0 99",
        "SWAPDB 0 abc",
        "UNWATCH",
        "CONFIG GET maxmemory",
        "CLIENT GETNAME",
        "CLIENT SETNAME inside",
        "SLOWLOG RESET",
        "PUBLISH nobody hears",
    ];
    words(g.rng.pick(&LINES))
}

fn plain(line: &str) -> Step {
    Step::Command(words(line), Compare::Exact)
}

/// A whole transaction, from what it watches to what it leaves behind.
fn sequence(g: &mut Gen) -> Step {
    let mut steps = Vec::new();
    if g.rng.chance(2) {
        watch(g, &mut steps);
    }
    steps.push(plain("MULTI"));
    for _ in 0..g.rng.below(7) {
        steps.push(Step::Command(queued(g), Compare::Exact));
        if g.rng.chance(12) {
            touch(g, &mut steps);
        }
    }
    match g.rng.below(12) {
        0 => steps.push(plain("DISCARD")),
        1 => {}
        _ => steps.push(plain("EXEC")),
    }
    if g.rng.chance(2) {
        steps.push(plain("SELECT 0"));
    }
    g.focus = None;
    g.next.extend(steps);
    g.next.pop_front().expect("a sequence has steps")
}

fn watch(g: &mut Gen, steps: &mut Vec<Step>) {
    let count = g.count(3);
    let keys = g.keys(count);
    g.focus = Some(keys[0].clone());
    steps.push(Step::Command(with(words("WATCH"), keys), Compare::Exact));
    match g.rng.below(4) {
        // The block before may still be open, so that its reply may be part of another.
        0 => steps.push(Step::Command(exact(g), Compare::Exact)),
        1 => steps.push(plain("UNWATCH")),
        _ => {}
    }
    for _ in 0..g.rng.below(3) {
        touch(g, steps);
    }
}

/// Something that another client does, often to a key that is watched.
fn touch(g: &mut Gen, steps: &mut Vec<Step>) {
    const WIDE: [&str; 6] = ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "SWAPDB 1 2", "SELECT 1", "SELECT 0"];
    if g.rng.chance(8) {
        steps.push(Step::Aside(words(g.rng.pick(&WIDE)), Compare::Exact));
        return;
    }
    let (args, compare) = over_keys(g);
    steps.push(Step::Aside(args, compare));
}

const RULES: &[Rule] = &[
    rule(10, set_some_value),
    rule(4, queued),
    rule(2, |_| words("MULTI")),
    rule(2, |_| words("EXEC")),
    rule(1, |_| words("DISCARD")),
    rule(1, |_| words("UNWATCH")),
    rule(1, |_| words("SELECT 0")),
    rule(1, |g| {
        let count = g.count(3);
        let keys = g.keys(count);
        with(words("WATCH"), keys)
    }),
];
