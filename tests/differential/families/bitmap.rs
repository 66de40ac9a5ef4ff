//! The bitmap group.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Family, Gen, Known, Rule, rule, with, words};

pub const FAMILY: Family = Family { name: "bitmap", rules: RULES, special: None, known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[Known {
    reason: "BITCOUNT and BITPOS of a key that is not there look at their other arguments from Redis 7.2 on",
    matches: |args, redis, basalt| {
        (args[0].eq_ignore_ascii_case(b"BITCOUNT") || args[0].eq_ignore_ascii_case(b"BITPOS"))
            && matches!(redis, Reply::Int(0 | -1))
            && matches!(basalt, Reply::Error(text) if text.starts_with(b"ERR"))
    },
}];

fn bit_offset(g: &mut Gen) -> Vec<u8> {
    const EDGES: [&str; 9] =
        ["-1", "4294967296", "9223372036854775807", "abc", "", "#1", "18446744073709551615", "8388607", "8388608"];
    match g.rng.below(12) {
        0 => g.rng.pick(&EDGES).as_bytes().to_vec(),
        1 => g.rng.between(0, 100_000).to_string().into_bytes(),
        _ => g.rng.between(0, 200).to_string().into_bytes(),
    }
}

fn bit(g: &mut Gen) -> Vec<u8> {
    g.rng.pick(&["0", "1", "1", "0", "2", "-1", "x"]).as_bytes().to_vec()
}

/// Up to two indices and a unit, as BITCOUNT and BITPOS take them.
fn range(g: &mut Gen, args: &mut Args) {
    let shape = g.rng.below(6);
    if shape == 0 {
        return;
    }
    let index = |g: &mut Gen| if g.rng.chance(8) { g.int() } else { g.rng.between(-300, 300).to_string().into_bytes() };
    args.push(index(g));
    if shape > 1 {
        args.push(index(g));
    }
    if shape > 3 {
        let unit = g.rng.pick(&["BIT", "BYTE", "BIT", "NONE"]);
        args.push(g.spelled(unit));
    }
}

fn field_type(g: &mut Gen) -> Vec<u8> {
    const ODD: [&str; 8] = ["u64", "i65", "u0", "i0", "x8", "u", "", "i-1"];
    match g.rng.below(15) {
        0 => g.rng.pick(&ODD).as_bytes().to_vec(),
        1 => b"i64".to_vec(),
        2 => b"u63".to_vec(),
        _ => format!("{}{}", g.rng.pick(&["u", "i"]), g.rng.between(1, 40)).into_bytes(),
    }
}

fn field_offset(g: &mut Gen) -> Vec<u8> {
    const ODD: [&str; 7] = ["-1", "#-1", "#", "abc", "8388600", "8388601", "#99999999999"];
    match g.rng.below(14) {
        0 => g.rng.pick(&ODD).as_bytes().to_vec(),
        1..=4 => format!("#{}", g.rng.below(12)).into_bytes(),
        _ => g.rng.below(300).to_string().into_bytes(),
    }
}

fn bitfield(g: &mut Gen) -> Args {
    let key = g.key();
    let mut args = with(words("BITFIELD"), [key]);
    for _ in 0..g.rng.below(5) {
        match g.rng.below(7) {
            0 | 1 => args.extend([g.spelled("GET"), field_type(g), field_offset(g)]),
            2 => args.extend([g.spelled("SET"), field_type(g), field_offset(g), g.int()]),
            3 | 4 => args.extend([g.spelled("INCRBY"), field_type(g), field_offset(g), g.int()]),
            5 => {
                let kind = g.rng.pick(&["WRAP", "SAT", "FAIL", "FAIL", "NONE"]);
                args.extend([g.spelled("OVERFLOW"), g.spelled(kind)]);
            }
            _ => args.extend([g.spelled("INCRBY"), field_type(g), field_offset(g), g.small_int()]),
        }
    }
    args
}

fn bitfield_ro(g: &mut Gen) -> Args {
    let key = g.key();
    let mut args = with(words("BITFIELD_RO"), [key]);
    for _ in 0..g.rng.below(4) {
        let verb = if g.rng.chance(10) { "SET" } else { "GET" };
        args.extend([g.spelled(verb), field_type(g), field_offset(g)]);
        if verb == "SET" {
            args.push(g.small_int());
        }
    }
    args
}

fn bitop(g: &mut Gen) -> Args {
    let verb = g.rng.pick(&["AND", "OR", "XOR", "NOT", "NAND"]);
    let sources = if verb == "NOT" && !g.rng.chance(5) { 1 } else { g.count(4) };
    let verb = g.spelled(verb);
    with(with(words("BITOP"), [verb]), g.keys(sources + 1))
}

const RULES: &[Rule] = &[
    rule(5, set_some_value),
    rule(12, |g| {
        let (key, offset, bit) = (g.key(), bit_offset(g), bit(g));
        with(words("SETBIT"), [key, offset, bit])
    }),
    rule(8, |g| {
        let (key, offset) = (g.key(), bit_offset(g));
        with(words("GETBIT"), [key, offset])
    }),
    rule(10, |g| {
        let key = g.key();
        let mut args = with(words("BITCOUNT"), [key]);
        range(g, &mut args);
        args
    }),
    rule(10, |g| {
        let (key, bit) = (g.key(), bit(g));
        let mut args = with(words("BITPOS"), [key, bit]);
        range(g, &mut args);
        args
    }),
    rule(12, bitop),
    rule(16, bitfield),
    rule(5, bitfield_ro),
    rule(6, |g| {
        let key = g.key();
        with(words("GET"), [key])
    }),
    rule(3, |g| {
        let key = g.key();
        with(words("DEL"), [key])
    }),
    rule(2, |g| {
        let key = g.key();
        with(words("STRLEN"), [key])
    }),
];
