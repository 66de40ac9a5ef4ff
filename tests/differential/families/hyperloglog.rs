//! The HyperLogLog group.

use crate::generator::{Args, Compare, Family, Gen, Rule, Step, rule, ruled, with, words};

pub const FAMILY: Family =
    Family { name: "hyperloglog", rules: RULES, special: Some((80, special)), known: &[], check_dumps: true };

fn element(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(8) {
        0 => g.short_value(),
        1 => Vec::new(),
        _ => format!("element:{}", g.rng.below(100_000)).into_bytes(),
    }
}

fn elements(g: &mut Gen) -> Args {
    let count = if g.rng.chance(20) { 400 } else { g.rng.below(6) };
    (0..count).map(|_| element(g)).collect()
}

fn on(g: &mut Gen, command: &str, more: fn(&mut Gen) -> Args) -> Args {
    let key = g.key();
    let more = more(g);
    with(with(words(command), [key]), more)
}

fn on_keys(g: &mut Gen, command: &str, most: usize) -> Args {
    let count = g.count(most);
    let keys = g.keys(count);
    with(words(command), keys)
}

fn debug(g: &mut Gen) -> Args {
    let key = g.key();
    let subcommand = g.rng.pick(&["GETREG", "DECODE", "ENCODING", "ENCODING", "TODENSE", "BOGUS"]);
    let subcommand = g.spelled(subcommand);
    with(words("PFDEBUG"), [subcommand, key])
}

fn special(g: &mut Gen) -> Step {
    let bytes = g.rng.pick(&[3000, 3000, 0, 100, 16000]);
    Step::Command(words(&format!("CONFIG SET hll-sparse-max-bytes {bytes}")), Compare::Exact)
}

/// A string that is nearly one.
fn damaged(g: &mut Gen) -> Vec<u8> {
    let mut value = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff".to_vec();
    match g.rng.below(4) {
        0 => value[4] = 0,
        1 => value[0] = b'h',
        2 => value[4] = 2,
        _ => value.truncate(15),
    }
    value
}

const RULES: &[Rule] = &[
    rule(30, |g| on(g, "PFADD", elements)),
    rule(12, |g| on_keys(g, "PFCOUNT", 1)),
    rule(6, |g| on_keys(g, "PFCOUNT", 4)),
    rule(6, |g| on_keys(g, "PFMERGE", 4)),
    rule(4, debug),
    rule(3, |g| on(g, "GET", |_| Vec::new())),
    rule(3, |g| on(g, "STRLEN", |_| Vec::new())),
    rule(2, |g| on(g, "OBJECT ENCODING", |_| Vec::new())),
    rule(4, |g| on(g, "DEL", |_| Vec::new())),
    rule(1, |g| on(g, "SET", |g| vec![g.value()])),
    rule(1, |g| on(g, "SET", |g| vec![damaged(g)])),
    rule(1, |g| on(g, "HSET", |_| words("f v"))),
    rule(1, |g| on(g, "EXPIRE", |g| vec![g.ttl(1000)])),
    ruled(1, Compare::Within(2), |g| on(g, "TTL", |_| Vec::new())),
    rule(1, |g| {
        let keys = g.keys(2);
        with(with(words("COPY"), keys), words("REPLACE"))
    }),
];
