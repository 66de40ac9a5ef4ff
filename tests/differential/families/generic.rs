//! The generic group: existence, expiry, renaming, copies, DUMP and RESTORE, SCAN, OBJECT.

use super::{set_some_value, set_with_options};
use crate::generator::{Args, Compare, Family, Gen, Rule, Step, rule, ruled, with, words};

pub const FAMILY: Family =
    Family { name: "generic", rules: RULES, special: Some((40, scan)), known: &[], check_dumps: true };

fn on_key(g: &mut Gen, command: &str) -> Args {
    let key = g.key();
    with(words(command), [key])
}

fn on_keys(g: &mut Gen, command: &str) -> Args {
    let count = g.count(4);
    let keys = g.keys(count);
    with(words(command), keys)
}

fn on_two(g: &mut Gen, command: &str) -> Args {
    let keys = g.keys(2);
    with(words(command), keys)
}

fn condition(g: &mut Gen, args: &mut Args) {
    for _ in 0..[0, 0, 1, 1, 2][g.rng.below(5)] {
        let word = g.rng.pick(&["NX", "XX", "GT", "LT", "BOGUS"]);
        args.push(g.spelled(word));
    }
}

fn expire(g: &mut Gen) -> Args {
    let command = g.rng.pick(&["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]);
    let mut args = on_key(g, command);
    args.push(match command {
        "EXPIRE" => g.ttl(1000),
        "PEXPIRE" => g.ttl(1),
        "EXPIREAT" => g.time(1000),
        _ => g.time(1),
    });
    condition(g, &mut args);
    args
}

/// Databases that exist in most cases; none beyond where the script's own connection looks.
fn database(g: &mut Gen) -> Vec<u8> {
    const ODD: [&str; 5] = ["16", "-1", "abc", "", "99999999999999999999"];
    if g.rng.chance(6) { g.rng.pick(&ODD).as_bytes().to_vec() } else { g.rng.below(4).to_string().into_bytes() }
}

fn copy(g: &mut Gen) -> Args {
    let mut args = on_two(g, "COPY");
    for _ in 0..g.rng.below(3) {
        match g.rng.below(5) {
            0 | 1 => args.push(g.spelled("REPLACE")),
            2 | 3 => args.extend([g.spelled("DB"), database(g)]),
            _ => args.push(g.spelled("BOGUS")),
        }
    }
    args
}

fn restore(g: &mut Gen) -> Args {
    let mut args = on_key(g, "RESTORE");
    let absolute = g.rng.chance(4);
    args.push(match g.rng.below(4) {
        0 => g.rng.between(-5, 0).to_string().into_bytes(),
        1 if absolute => g.time(1),
        1 => g.ttl(1),
        _ => b"0".to_vec(),
    });
    let at = g.rng.below(g.payloads.len());
    args.push(g.payloads[at].clone());
    if absolute {
        args.push(g.spelled("ABSTTL"));
    }
    for _ in 0..g.rng.below(3) {
        match g.rng.below(7) {
            0..=3 => args.push(g.spelled("REPLACE")),
            4 => args.extend([g.spelled("IDLETIME"), g.small_int()]),
            5 => args.extend([g.spelled("FREQ"), g.int()]),
            _ => args.push(g.spelled("BOGUS")),
        }
    }
    args
}

fn scan(g: &mut Gen) -> Step {
    let mut options = Vec::new();
    for _ in 0..g.rng.below(4) {
        match g.rng.below(7) {
            0 | 1 => options.extend([g.spelled("MATCH"), g.pattern()]),
            2 | 3 => options.extend([g.spelled("COUNT"), g.rng.between(1, 50).to_string().into_bytes()]),
            4 => options.extend([g.spelled("COUNT"), g.small_int()]),
            5 => {
                let kind = g.rng.pick(&["string", "list", "nosuch"]);
                options.extend([g.spelled("TYPE"), g.spelled(kind)]);
            }
            _ if g.rng.chance(4) => options.push(g.spelled("BOGUS")),
            _ => {}
        }
    }
    Step::Scan(options)
}

/// DUMP payloads may differ in version and compression; whether there is one may not. What they hold is checked at the end.
const DUMP: Compare = Compare::Kind;

const RULES: &[Rule] = &[
    rule(10, set_some_value),
    rule(10, set_with_options),
    rule(5, |g| on_keys(g, "DEL")),
    rule(3, |g| on_keys(g, "UNLINK")),
    rule(4, |g| on_keys(g, "EXISTS")),
    rule(3, |g| on_keys(g, "TOUCH")),
    rule(3, |g| on_key(g, "TYPE")),
    rule(16, expire),
    ruled(4, Compare::Within(2), |g| on_key(g, "TTL")),
    ruled(4, Compare::Within(2000), |g| on_key(g, "PTTL")),
    ruled(3, Compare::Within(2), |g| on_key(g, "EXPIRETIME")),
    ruled(3, Compare::Within(2000), |g| on_key(g, "PEXPIRETIME")),
    rule(4, |g| on_key(g, "PERSIST")),
    ruled(2, Compare::AnyOrder, |g| {
        let pattern = g.pattern();
        with(words("KEYS"), [pattern])
    }),
    ruled(1, Compare::Kind, |_| words("RANDOMKEY")),
    rule(4, |g| on_key(g, "OBJECT ENCODING")),
    rule(1, |g| on_key(g, "OBJECT FREQ")),
    ruled(1, Compare::Within(2_000_000_000), |g| on_key(g, "OBJECT IDLETIME")),
    ruled(1, Compare::Kind, |g| on_key(g, "OBJECT REFCOUNT")),
    rule(1, |g| on_key(g, "OBJECT NOSUCH")),
    ruled(3, DUMP, |g| on_key(g, "DUMP")),
    rule(8, restore),
    rule(7, copy),
    rule(6, |g| on_two(g, "RENAME")),
    rule(6, |g| on_two(g, "RENAMENX")),
    rule(5, |g| {
        let (key, db) = (g.key(), database(g));
        with(words("MOVE"), [key, db])
    }),
    rule(5, |g| on_key(g, "GET")),
    // It counts keys that have expired as long as nobody has met them.
    ruled(1, Compare::Kind, |_| words("DBSIZE")),
    rule(1, |g| {
        let cursor = g.rng.pick(&["abc", "1x", "18446744073709551616", "1.5"]);
        with(words("SCAN"), [cursor.as_bytes().to_vec()])
    }),
];
