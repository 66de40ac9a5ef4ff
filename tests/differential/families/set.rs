//! The set group.
//!
//! Members that are picked at random cannot be compared, so SPOP takes all there is or nothing, and SRANDMEMBER and SPOP of some
//! are compared by the shape of their replies, where what is taken is put back.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, ruled, with, words};

pub const FAMILY: Family =
    Family { name: "set", rules: RULES, special: Some((25, sequence)), known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[Known {
    reason: "small sets that are not of integers alone have an encoding of their own, listpack, from Redis 7.2 on",
    matches: |args, redis, basalt| args[0].eq_ignore_ascii_case(b"OBJECT") && is_newer_encoding(redis, basalt),
}];

/// Whether OBJECT ENCODING says what Redis says only from 7.2 on.
pub fn is_newer_encoding(redis: &Reply, basalt: &Reply) -> bool {
    let is = |reply: &Reply, name: &[u8]| matches!(reply, Reply::Bulk(text) if text == name);
    (is(redis, b"hashtable") || is(redis, b"quicklist")) && is(basalt, b"listpack")
}

/// Mostly of few members, so that sets meet; some are integers, or nearly.
fn member(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(24) {
        0 => g.short_value(),
        1 => g.int(),
        2 => {
            let len = g.rng.pick(&[63usize, 64, 65, 300]);
            vec![b'm'; len]
        }
        3 => g.rng.between(-70_000, 70_000).to_string().into_bytes(),
        4 => (g.rng.next() as i64 >> g.rng.below(40)).to_string().into_bytes(),
        5..=8 => format!("m{}", g.rng.below(400)).into_bytes(),
        9..=12 => format!("m{}", g.rng.below(12)).into_bytes(),
        _ => g.rng.between(0, 40).to_string().into_bytes(),
    }
}

/// As `member`, but an integer.
fn integer(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0 => g.rng.between(-70_000, 70_000).to_string().into_bytes(),
        1 => (g.rng.next() as i64).to_string().into_bytes(),
        _ => g.rng.between(0, 60).to_string().into_bytes(),
    }
}

fn members(g: &mut Gen, most: usize) -> Args {
    let count = g.count(most);
    (0..count).map(|_| member(g)).collect()
}

fn sadd(g: &mut Gen) -> Args {
    let (key, members) = (g.key(), members(g, 6));
    with(with(words("SADD"), [key]), members)
}

fn sadd_integers(g: &mut Gen) -> Args {
    let key = g.key();
    let count = g.count(6);
    let integers: Args = (0..count).map(|_| integer(g)).collect();
    with(with(words("SADD"), [key]), integers)
}

/// Enough to go beyond a compact form.
fn sadd_many(g: &mut Gen) -> Args {
    let key = g.key();
    let (first, count) = (g.rng.below(1000), 100 + g.rng.below(450));
    let prefix = g.rng.pick(&["", "", "m"]);
    with(with(words("SADD"), [key]), (first..first + count).map(|i| format!("{prefix}{i}").into_bytes()))
}

fn srem(g: &mut Gen) -> Args {
    let (key, members) = (g.key(), members(g, 6));
    with(with(words("SREM"), [key]), members)
}

fn on_key(g: &mut Gen, command: &str) -> Args {
    let key = g.key();
    with(words(command), [key])
}

fn on_member(g: &mut Gen, command: &str) -> Args {
    let (key, member) = (g.key(), member(g));
    with(words(command), [key, member])
}

fn keys(g: &mut Gen, most: usize) -> Args {
    let count = g.count(most);
    g.keys(count)
}

fn on_keys(g: &mut Gen, command: &str) -> Args {
    let most = if g.rng.chance(20) { 14 } else { 4 };
    let keys = keys(g, most);
    with(words(command), keys)
}

fn store(g: &mut Gen) -> Args {
    let command = g.rng.pick(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
    let keys = keys(g, 4);
    let destination = g.key();
    with(with(words(command), [destination]), keys)
}

fn sintercard(g: &mut Gen) -> Args {
    let keys = keys(g, 4);
    let count = if g.rng.chance(10) { g.small_int() } else { keys.len().to_string().into_bytes() };
    let mut args = with(with(words("SINTERCARD"), [count]), keys);
    for _ in 0..[0, 0, 1, 1, 2][g.rng.below(5)] {
        match g.rng.below(8) {
            0 => args.push(g.spelled("BOGUS")),
            1 => args.extend([g.spelled("LIMIT"), g.int()]),
            _ => args.extend([g.spelled("LIMIT"), g.rng.between(0, 20).to_string().into_bytes()]),
        }
    }
    args
}

/// A count for which nothing or everything is taken, or none at all.
fn spop(g: &mut Gen) -> Args {
    let key = g.key();
    let count = match g.rng.below(6) {
        0 => b"0".to_vec(),
        1 => b"-1".to_vec(),
        2 => b"x".to_vec(),
        _ => b"100000".to_vec(),
    };
    with(words("SPOP"), [key, count])
}

/// Not so large a number that the reply is.
fn some_count(g: &mut Gen) -> Vec<u8> {
    const ODD: [&str; 6] = ["x", "", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "0"];
    if g.rng.chance(8) {
        g.rng.pick(&ODD).as_bytes().to_vec()
    } else {
        g.rng.between(-30, 300).to_string().into_bytes()
    }
}

/// Several steps about one key that stands alone.
fn sequence(g: &mut Gen) -> Step {
    let name = format!("alone:{}", g.rng.below(4));
    let exact = |line: String| Step::Command(words(&line), Compare::Exact);
    let mut steps = vec![exact(format!("DEL {name}"))];
    match g.rng.below(4) {
        // One member: the one that is popped.
        0 => {
            let member = member(g);
            steps.push(Step::Command(with(words("SADD"), [name.clone().into_bytes(), member]), Compare::Exact));
            steps.push(exact(format!("SRANDMEMBER {name}")));
            steps.push(exact(format!("SPOP {name}{}", if g.rng.chance(2) { " 1" } else { "" })));
            steps.push(exact(format!("EXISTS {name}")));
        }
        // Some of many: how many stay, and then the rest.
        1 => {
            let most = if g.rng.chance(3) { 700 } else { 40 };
            let count = 2 + g.rng.below(most);
            let prefix = g.rng.pick(&["", "m"]);
            let members = (0..count).map(|i| format!("{prefix}{i}").into_bytes());
            steps.push(Step::Command(with(with(words("SADD"), [name.clone().into_bytes()]), members), Compare::Exact));
            let taken = 1 + g.rng.below(count);
            // As one block: in between the sets are not the same.
            steps.insert(1, exact("MULTI".to_owned()));
            for line in [format!("SPOP {name} {taken}"), format!("SCARD {name}"), format!("SPOP {name} 100000")] {
                steps.push(exact(line));
            }
            steps.push(exact(format!("EXISTS {name}")));
            steps.push(Step::Command(words("EXEC"), Compare::Through(with_counts)));
        }
        // A walk to the end in one call.
        2 => {
            let count = 1 + g.rng.below(600);
            let prefix = g.rng.pick(&["", "m"]);
            let members = (0..count).map(|i| format!("{prefix}{i}").into_bytes());
            steps.push(Step::Command(with(with(words("SADD"), [name.clone().into_bytes()]), members), Compare::Exact));
            let mut scan = words(&format!("SSCAN {name} 0 COUNT 100000"));
            if g.rng.chance(2) {
                let pattern = g.rng.pick(&["*", "m*", "1*", "m[1-3]?", "nothing", "*9"]);
                scan.extend([g.spelled("MATCH"), pattern.as_bytes().to_vec()]);
            }
            steps.push(Step::Command(scan, Compare::Through(sorted_walk)));
            steps.push(exact(format!("DEL {name}")));
        }
        // Expiry: a changed set keeps it, a stored one has none.
        _ => {
            let (member, other) = (member(g), g.key());
            let name = name.into_bytes();
            steps.push(Step::Command(with(words("SADD"), [name.clone(), member.clone()]), Compare::Exact));
            steps.push(Step::Command(with(words("EXPIRE"), [name.clone(), b"100000".to_vec()]), Compare::Exact));
            let change = g.rng.pick(&["SADD", "SREM", "SUNIONSTORE", "SMOVE"]);
            let change = match change {
                "SUNIONSTORE" => with(words(change), [name.clone(), other]),
                "SMOVE" => with(words(change), [other, name.clone(), member]),
                _ => with(words(change), [name.clone(), member, b"m1".to_vec()]),
            };
            steps.push(Step::Command(change, Compare::Exact));
            steps.push(Step::Command(with(words("TTL"), [name]), Compare::Within(2)));
        }
    }
    let first = steps.remove(0);
    g.next.extend(steps);
    first
}

/// The replies of a block, of each array only its length.
fn with_counts(reply: Reply) -> Reply {
    let Reply::Array(replies) = reply else { return reply };
    let counted = |reply: Reply| if let Reply::Array(items) = reply { Reply::Int(items.len() as i64) } else { reply };
    Reply::Array(replies.into_iter().map(counted).collect())
}

/// A whole walk in one reply, whose members come in any order.
fn sorted_walk(reply: Reply) -> Reply {
    let Reply::Array(mut parts) = reply else { return reply };
    if let Some(Reply::Array(members)) = parts.get_mut(1) {
        members.sort_by_key(Reply::bytes);
    }
    Reply::Array(parts)
}

/// SSCAN whose options or cursor are refused, or which looks at nothing.
fn odd_scan(g: &mut Gen) -> Args {
    let key = if g.rng.chance(2) { b"none".to_vec() } else { g.key() };
    let cursor = g.rng.pick(&["abc", "1x", "18446744073709551616", "1.5", " 1"]).as_bytes().to_vec();
    let mut args = with(words("SSCAN"), [key, cursor]);
    if g.rng.chance(2) {
        args[2] = b"0".to_vec();
        args.extend(match g.rng.below(4) {
            0 => words("COUNT 0"),
            1 => words("COUNT x"),
            2 => words("MATCH"),
            _ => words("TYPE set"),
        });
    }
    args
}

const RULES: &[Rule] = &[
    rule(2, set_some_value),
    rule(26, sadd),
    rule(14, sadd_integers),
    rule(1, sadd_many),
    rule(12, srem),
    rule(10, |g| {
        let (source, destination, member) = (g.key(), g.key(), member(g));
        with(words("SMOVE"), [source, destination, member])
    }),
    rule(6, |g| on_key(g, "SCARD")),
    rule(8, |g| on_member(g, "SISMEMBER")),
    rule(5, |g| {
        let (key, members) = (g.key(), members(g, 5));
        with(with(words("SMISMEMBER"), [key]), members)
    }),
    ruled(6, Compare::AnyOrder, |g| on_key(g, "SMEMBERS")),
    ruled(7, Compare::AnyOrder, |g| on_keys(g, "SINTER")),
    ruled(7, Compare::AnyOrder, |g| on_keys(g, "SUNION")),
    ruled(7, Compare::AnyOrder, |g| on_keys(g, "SDIFF")),
    rule(18, store),
    rule(8, sintercard),
    ruled(3, Compare::AnyOrder, spop),
    ruled(3, Compare::Shape, |g| on_key(g, "SRANDMEMBER")),
    ruled(6, Compare::Shape, |g| {
        let (key, count) = (g.key(), some_count(g));
        with(words("SRANDMEMBER"), [key, count])
    }),
    rule(2, odd_scan),
    rule(3, |g| on_key(g, "OBJECT ENCODING")),
    rule(4, |g| on_key(g, "DEL")),
    rule(1, |g| on_key(g, "TYPE")),
    rule(1, |g| {
        let keys = keys(g, 2);
        let destination = g.key();
        with(with(words("COPY"), [keys[0].clone(), destination]), [b"REPLACE".to_vec()])
    }),
    rule(1, |g| {
        let (key, other) = (g.key(), g.key());
        with(words("RENAME"), [key, other])
    }),
];
