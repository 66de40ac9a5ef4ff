//! The hash group, as far as Redis 7.0 has it.

use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, ruled, with, words};

pub const FAMILY: Family =
    Family { name: "hash", rules: RULES, special: Some((60, special)), known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[
    Known {
        reason: "a field by chance",
        matches: |args, redis, basalt| {
            args[0].eq_ignore_ascii_case(b"HRANDFIELD") && matches!((redis, basalt), (Reply::Bulk(_), Reply::Bulk(_)))
        },
    },
    Known {
        reason: "HSCAN visits a hash in another order, in portions of its own",
        matches: |args, redis, basalt| {
            args[0].eq_ignore_ascii_case(b"HSCAN") && matches!((redis, basalt), (Reply::Array(_), Reply::Array(_)))
        },
    },
];

/// Fields of a pool that is small enough to be met again.
fn field(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(24) {
        0 => Vec::new(),
        1 => g.int(),
        2 => b"bin\0\r\nfield".to_vec(),
        3 => {
            let len = g.rng.pick(&[63usize, 64, 65, 190, 200, 300]);
            vec![b'f'; len]
        }
        4..=9 => g.rng.between(-5, 30).to_string().into_bytes(),
        _ => format!("field:{}", g.rng.below(40)).into_bytes(),
    }
}

fn fields(g: &mut Gen, most: usize) -> Args {
    let count = g.count(most);
    (0..count).map(|_| field(g)).collect()
}

/// Short ones mostly, so that there are hashes of both forms.
fn value(g: &mut Gen) -> Vec<u8> {
    if g.rng.chance(12) { g.value() } else { g.short_value() }
}

fn pairs(g: &mut Gen, most: usize) -> Args {
    let count = g.count(most);
    (0..count).flat_map(|_| [field(g), value(g)]).collect()
}

/// A command on a key, and what follows.
fn on(g: &mut Gen, command: &str, more: fn(&mut Gen) -> Args) -> Args {
    let key = g.key();
    let more = more(g);
    with(with(words(command), [key]), more)
}

fn nothing(_: &mut Gen) -> Args {
    Vec::new()
}

fn one(g: &mut Gen) -> Args {
    vec![field(g)]
}

/// Many fields at once, around the limits of the compact form.
fn many(g: &mut Gen) -> Args {
    let (first, count) = (g.rng.below(40), g.rng.pick(&[30usize, 100, 511, 512, 513, 520]));
    (first..first + count).flat_map(|n| [format!("many:{n}").into_bytes(), n.to_string().into_bytes()]).collect()
}

fn scan(g: &mut Gen) -> Args {
    // What is no plain number Redis 7.0 reads as C does, a sign and zeros before it included.
    let cursor = if g.rng.chance(10) { g.rng.pick(&["abc", "1.0", "18446744073709551616x"]) } else { "0" };
    let mut args = vec![cursor.as_bytes().to_vec()];
    for _ in 0..g.rng.below(3) {
        match g.rng.below(4) {
            0 => args.extend([g.spelled("COUNT"), g.small_int()]),
            1 => args.extend([g.spelled("MATCH"), g.pattern()]),
            2 => args.extend([g.spelled("MATCH"), b"*1*".to_vec()]),
            _ => args.push(g.spelled("BOGUS")),
        }
    }
    args
}

fn random(g: &mut Gen) -> Args {
    let mut args = Vec::new();
    if !g.rng.chance(4) {
        let count = if g.rng.chance(4) { edge(g) } else { g.rng.between(-20, 20).to_string().into_bytes() };
        args.push(count);
        match g.rng.below(5) {
            0 | 1 => args.push(g.spelled("WITHVALUES")),
            2 if g.rng.chance(5) => args.push(g.spelled("BOGUS")),
            _ => {}
        }
    }
    args
}

/// Counts at the limits, but for those that would be answered with more than any memory holds.
fn edge(g: &mut Gen) -> Vec<u8> {
    const COUNTS: [&str; 7] =
        ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "0", "1.5", "", "4611686018427387904"];
    g.rng.pick(&COUNTS).as_bytes().to_vec()
}

/// All fields are asked for: the same on both sides, in whatever order.
fn all_by_chance(g: &mut Gen) -> Args {
    // Never spoiled: without its count it is a field by chance.
    let key = g.key();
    with(words("HRANDFIELD"), [key, b"100000".to_vec()])
}

/// What concerns the limits, on both servers alike.
fn special(g: &mut Gen) -> Step {
    let args = match g.rng.below(3) {
        0 => format!("CONFIG SET hash-max-listpack-entries {}", g.rng.pick(&[512, 512, 8, 0, 600])),
        1 => format!("CONFIG SET hash-max-listpack-value {}", g.rng.pick(&[64, 64, 8, 0, 250])),
        _ => "CONFIG SET hash-max-ziplist-entries 512 hash-max-ziplist-value 64".to_owned(),
    };
    Step::Command(words(&args), Compare::Exact)
}

/// Fields and values of a hash in pairs, in one order whatever the form.
fn in_pairs(reply: Reply) -> Reply {
    let Reply::Array(items) = reply else { return reply };
    let mut pairs: Vec<Reply> = items.chunks(2).map(|pair| Reply::Array(pair.to_vec())).collect();
    pairs.sort_by_key(|pair| format!("{pair:?}"));
    Reply::Array(pairs)
}

const RULES: &[Rule] = &[
    rule(18, |g| on(g, "HSET", |g| pairs(g, 5))),
    rule(2, |g| on(g, "HSET", many)),
    rule(3, |g| on(g, "HMSET", |g| pairs(g, 4))),
    rule(4, |g| {
        on(g, "HSETNX", |g| {
            let (field, value) = (field(g), value(g));
            vec![field, value]
        })
    }),
    rule(9, |g| on(g, "HGET", one)),
    rule(4, |g| on(g, "HEXISTS", one)),
    rule(3, |g| on(g, "HSTRLEN", one)),
    rule(5, |g| on(g, "HMGET", |g| fields(g, 5))),
    rule(5, |g| on(g, "HLEN", nothing)),
    rule(7, |g| on(g, "HDEL", |g| fields(g, 6))),
    rule(1, |g| {
        on(g, "HDEL", |g| {
            let first = g.rng.below(40);
            (first..first + 500).map(|n| format!("many:{n}").into_bytes()).collect()
        })
    }),
    rule(6, |g| {
        on(g, "HINCRBY", |g| {
            let (field, by) = (field(g), g.int());
            vec![field, by]
        })
    }),
    rule(6, |g| {
        on(g, "HINCRBYFLOAT", |g| {
            let (field, by) = (field(g), g.float());
            vec![field, by]
        })
    }),
    ruled(4, Compare::Through(in_pairs), |g| on(g, "HGETALL", nothing)),
    ruled(2, Compare::AnyOrder, |g| on(g, "HKEYS", nothing)),
    ruled(2, Compare::AnyOrder, |g| on(g, "HVALS", nothing)),
    ruled(3, Compare::Shape, |g| on(g, "HRANDFIELD", random)),
    ruled(1, Compare::AnyOrder, all_by_chance),
    rule(3, |g| on(g, "HSCAN", scan)),
    rule(2, |g| on(g, "SET", |g| vec![g.value()])),
    rule(2, |g| on(g, "DEL", nothing)),
    rule(2, |g| on(g, "TYPE", nothing)),
    rule(3, |g| on(g, "OBJECT ENCODING", nothing)),
    rule(2, |g| on(g, "DEBUG DIGEST-VALUE", nothing)),
    rule(2, |g| {
        let keys = g.keys(2);
        with(with(words("COPY"), keys), words("REPLACE"))
    }),
    rule(1, |g| {
        let keys = g.keys(2);
        with(words("RENAME"), keys)
    }),
    rule(1, |g| on(g, "EXPIRE", |g| vec![g.ttl(1000)])),
    rule(1, |g| on(g, "PERSIST", nothing)),
    rule(1, |g| on(g, "GET", nothing)),
];
