//! The stream group. IDs are given, or follow from given ones: none may come from a clock.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, ruled, with, words};

pub const FAMILY: Family =
    Family { name: "stream", rules: RULES, special: Some((40, special)), known: KNOWN, check_dumps: true };

const KNOWN: &[Known] = &[
    Known {
        reason: "XREAD has the ID + from Redis 7.4 on",
        matches: |args, redis, basalt| {
            args[0].eq_ignore_ascii_case(b"XREAD")
                && args.iter().any(|arg| arg == b"+")
                && matches!(redis, Reply::Error(text) if text.starts_with(b"ERR Invalid stream ID"))
                && !matches!(basalt, Reply::Bulk(_))
        },
    },
    Known {
        reason: "XREADGROUP has an error of its own for the ID + from Redis 7.4 on",
        matches: |args, redis, basalt| {
            args[0].eq_ignore_ascii_case(b"XREADGROUP")
                && args.iter().any(|arg| arg == b"+")
                && matches!(redis, Reply::Error(text) if text.starts_with(b"ERR Invalid stream ID"))
                && matches!(basalt, Reply::Error(text) if text.starts_with(b"ERR The + ID is meaningless"))
        },
    },
    Known {
        reason: "XREADGROUP calls itself by its name from Redis 7.2 on when keys and IDs are not as many",
        matches: |_, redis, basalt| same_but_for_texts(redis, basalt),
    },
    Known {
        reason: "XSETID looks at the greatest deleted ID too, and first, from Redis 7.2 on",
        matches: |args, redis, basalt| {
            args[0].eq_ignore_ascii_case(b"XSETID")
                && (same_but_for_texts(redis, basalt)
                    || *redis == Reply::Simple(b"OK".to_vec())
                        && matches!(basalt, Reply::Error(text) if text.ends_with(b"smaller than current max_deleted_entry_id")))
        },
    },
    Known {
        reason: "XADD has an error for a millisecond whose IDs are used up from Redis 7.2 on; before, it tells of whatever went wrong last",
        matches: |args, redis, basalt| {
            let is = |reply: &Reply, start: &[u8]| matches!(reply, Reply::Error(text) if text.starts_with(start));
            args[0].eq_ignore_ascii_case(b"XADD")
                && args.iter().any(|arg| arg.ends_with(b"-*"))
                && is(redis, b"ERR Elements are too large")
                && is(basalt, b"ERR The ID specified in XADD is equal or smaller")
        },
    },
];

/// Whether errors are the same, or of one kind with another text; also within a block.
fn same_but_for_texts(redis: &Reply, basalt: &Reply) -> bool {
    let both = |start: &[u8]| {
        let begins = |reply: &Reply| matches!(reply, Reply::Error(text) if text.starts_with(start));
        begins(redis) && begins(basalt)
    };
    match (redis, basalt) {
        (Reply::Array(there), Reply::Array(here)) => {
            there.len() == here.len() && there.iter().zip(here).all(|(there, here)| same_but_for_texts(there, here))
        }
        _ => redis == basalt || both(b"ERR Unbalanced ") || both(b"ERR The ID specified in XSETID is smaller"),
    }
}

/// The millisecond that most IDs are in, so that new entries have greater ones.
const USUAL_MS: &str = "500";

fn key(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0 => g.key(),
        1..=4 => format!("{{t}}:stream:{}", g.rng.below(3)).into_bytes(),
        _ => format!("stream:{}", g.rng.below(4)).into_bytes(),
    }
}

fn id(g: &mut Gen) -> Vec<u8> {
    const ODD: [&str; 18] = [
        "0",
        "0-0",
        "-",
        "+",
        "$",
        ">",
        "",
        "abc",
        "5-",
        "-5",
        "1-2-3",
        "5-abc",
        "007-01",
        "18446744073709551615-18446744073709551615",
        "18446744073709551616",
        "18446744073709551615",
        "500-18446744073709551615",
        "+5-3",
    ];
    match g.rng.below(20) {
        0 => g.rng.pick(&ODD).as_bytes().to_vec(),
        1 | 2 => g.rng.below(600).to_string().into_bytes(),
        3..=8 => format!("{}-{}", g.rng.below(500), g.rng.below(4)).into_bytes(),
        _ => format!("{USUAL_MS}-{}", g.rng.below(120)).into_bytes(),
    }
}

fn bound(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(6) {
        0 => b"-".to_vec(),
        1 => b"+".to_vec(),
        2 => [b"(".to_vec(), id(g)].concat(),
        _ => id(g),
    }
}

fn group(g: &mut Gen) -> Vec<u8> {
    g.rng.pick(&["g1", "g1", "g1", "g2", "g2", "none", ""]).as_bytes().to_vec()
}

fn consumer(g: &mut Gen) -> Vec<u8> {
    g.rng.pick(&["alice", "bob", "alice", "carol", "d\0d", ""]).as_bytes().to_vec()
}

/// Either always or never over: replies must not depend on how long things take.
fn min_idle(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(10) {
        0 => g.rng.pick(&["-1", "abc", "", "9223372036854775807"]).as_bytes().to_vec(),
        1 | 2 => b"100000000".to_vec(),
        _ => b"0".to_vec(),
    }
}

fn count(g: &mut Gen) -> Vec<u8> {
    if g.rng.chance(8) {
        g.rng.pick(&["-1", "0", "x", "9223372036854775807"]).as_bytes().to_vec()
    } else {
        (1 + g.rng.below(12)).to_string().into_bytes()
    }
}

fn trim(g: &mut Gen, args: &mut Args) {
    if !g.rng.chance(3) {
        args.push(g.spelled("MAXLEN"));
        operator(g, args);
        let length = if g.rng.chance(12) { g.int() } else { g.rng.below(60).to_string().into_bytes() };
        args.push(length);
    } else {
        args.push(g.spelled("MINID"));
        if g.rng.chance(4) {
            exactly(g, args);
        } else {
            args.push(b"~".to_vec());
        }
        args.push(id(g));
    }
    if g.rng.chance(5) {
        let limit = g.rng.pick(&["0", "1", "10", "30", "-1", "x"]).as_bytes().to_vec();
        args.extend([g.spelled("LIMIT"), limit]);
    }
}

/// A MINID that is no estimate, and behind it the end of the stream: Redis keeps blocks in which XDEL and MINID have left nothing, and so
/// trims and fills other blocks from then on.
fn exactly(g: &mut Gen, args: &mut Args) {
    if g.rng.chance(2) {
        args.push(b"=".to_vec());
    }
    let key = args[1].clone();
    g.next.push_back(Step::Command(with(words("XRANGE"), [key.clone(), b"-".to_vec(), b"+".to_vec()]), Compare::Exact));
    g.next.push_back(Step::Command(with(words("DEL"), [key]), Compare::Exact));
}

fn operator(g: &mut Gen, args: &mut Args) {
    match g.rng.below(4) {
        0 => {}
        1 => args.push(b"=".to_vec()),
        _ => args.push(b"~".to_vec()),
    }
}

fn new_id(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0..=7 => format!("{USUAL_MS}-*").into_bytes(),
        8 => format!("{}-*", g.rng.below(520)).into_bytes(),
        9 => id(g),
        _ => format!("{}-{}", g.rng.below(500), g.rng.below(4)).into_bytes(),
    }
}

fn fields(g: &mut Gen, args: &mut Args) {
    for n in 0..1 + g.rng.below(3) {
        let value = if g.rng.chance(30) { vec![b'v'; 1500] } else { g.short_value() };
        let field = if g.rng.chance(10) { g.short_value() } else { format!("field:{n}").into_bytes() };
        args.extend([field, value]);
    }
}

fn xadd(g: &mut Gen) -> Args {
    let mut args = with(words("XADD"), [key(g)]);
    if g.rng.chance(15) {
        args.push(g.spelled("NOMKSTREAM"));
    }
    if g.rng.chance(8) {
        trim(g, &mut args);
    }
    let new = new_id(g);
    // What a clock says is no good: see `special`.
    args.push(if new == b"*" { b"5-*".to_vec() } else { new });
    fields(g, &mut args);
    args
}

fn read_options(g: &mut Gen, args: &mut Args) {
    if g.rng.chance(2) {
        args.extend([g.spelled("COUNT"), count(g)]);
    }
    if g.rng.chance(40) {
        let timeout = g.rng.pick(&["x", "-1", "1.5"]).as_bytes().to_vec();
        args.extend([g.spelled("BLOCK"), timeout]);
    }
    if g.rng.chance(60) {
        args.push(b"NOACK".to_vec());
    }
}

fn streams(g: &mut Gen, args: &mut Args, id: fn(&mut Gen) -> Vec<u8>) {
    args.push(g.spelled("STREAMS"));
    let keys = 1 + g.rng.below(3);
    (0..keys).for_each(|_| args.push(key(g)));
    (0..keys).for_each(|_| args.push(id(g)));
}

fn xread(g: &mut Gen) -> Args {
    let mut args = words("XREAD");
    read_options(g, &mut args);
    streams(g, &mut args, |g| match g.rng.below(8) {
        0 => b"$".to_vec(),
        1 | 2 => b"0".to_vec(),
        _ => id(g),
    });
    args
}

fn xreadgroup(g: &mut Gen) -> Args {
    let (group, consumer) = (group(g), consumer(g));
    let mut args = with(words("XREADGROUP"), [g.spelled("GROUP"), group.clone(), consumer.clone()]);
    read_options(g, &mut args);
    if g.rng.chance(8) {
        args.push(g.spelled("NOACK"));
    }
    let from = args.len() + 1;
    streams(g, &mut args, |g| match g.rng.below(8) {
        0 | 1 => b"0".to_vec(),
        2 => id(g),
        _ => b">".to_vec(),
    });
    let keys = args[from..from + (args.len() - from) / 2].to_vec();
    // Sometimes one argument too few or too many: what is sent first is spoiled in place of this.
    match g.rng.below(30) {
        0 => args.push(b"EXTRA".to_vec()),
        1 => drop(args.pop()),
        _ => {}
    }
    after_its_consumer(g, keys, &group, &consumer, args)
}

/// A read that would block, in a block where it must not; and IDs from a clock that entries are ahead of.
fn special(g: &mut Gen) -> Step {
    if g.rng.chance(2) {
        let read = if g.rng.chance(2) { xread(g) } else { xreadgroup(g) };
        if read[0] == b"XREAD" {
            g.next.push_back(Step::Command(read, Compare::Exact));
        }
        if let Some(Step::Command(read, _)) = g.next.back_mut() {
            // It is newer than the Redis of this run.
            read.iter_mut().filter(|arg| *arg == b"+").for_each(|id| *id = b"$".to_vec());
            let at = if read[0] == b"XREAD" { 1 } else { 4 };
            read.splice(at..at, [b"BLOCK".to_vec(), b"1".to_vec()]);
        }
        g.next.push_back(Step::Command(words("EXEC"), Compare::Exact));
        return Step::Command(words("MULTI"), Compare::Exact);
    }
    let future = b"future".to_vec();
    let auto = with(words("XADD"), [future.clone(), b"*".to_vec(), b"field".to_vec(), g.short_value()]);
    g.next.push_back(Step::Command(auto, Compare::Exact));
    let first = format!("9999999999999{}", g.rng.below(10)).into_bytes();
    Step::Command(with(words("XADD"), [future, first, b"field".to_vec(), g.short_value()]), Compare::Exact)
}

/// Has the consumer created before a command of its: Redis 7.0 creates it when it gets something, 7.2 at once. What comes first is a read.
fn after_its_consumer(g: &mut Gen, keys: Args, group: &[u8], consumer: &[u8], command: Args) -> Args {
    let mut first = Vec::new();
    for key in keys {
        first = with(words("XLEN"), [key.clone()]);
        let create = with(words("XGROUP CREATECONSUMER"), [key, group.to_vec(), consumer.to_vec()]);
        g.next.push_back(Step::Command(create, Compare::Exact));
    }
    g.next.push_back(Step::Command(command, Compare::Exact));
    first
}

fn claims(g: &mut Gen, claim: Args) -> Args {
    let [_, key, group, consumer, ..] = claim.as_slice() else { unreachable!("a claim names them") };
    let (keys, group, consumer) = (vec![key.clone()], group.clone(), consumer.clone());
    after_its_consumer(g, keys, &group, &consumer, claim)
}

fn xclaim(g: &mut Gen) -> Args {
    let mut args = with(words("XCLAIM"), [key(g), group(g), consumer(g), min_idle(g)]);
    (0..1 + g.rng.below(4)).for_each(|_| args.push(id(g)));
    for _ in 0..g.rng.below(3) {
        match g.rng.below(8) {
            0 | 1 => args.push(g.spelled("FORCE")),
            2 => args.push(g.spelled("JUSTID")),
            3 => args.extend([g.spelled("RETRYCOUNT"), g.small_int()]),
            4 => args.extend([g.spelled("LASTID"), id(g)]),
            // Long ago, or none at all, which is now.
            5 => args
                .extend([g.spelled("TIME"), g.rng.pick(&["1", "-5", "x", "9223372036854775807"]).as_bytes().to_vec()]),
            6 => args.extend([g.spelled("IDLE"), g.rng.pick(&["200000000", "-5", "x"]).as_bytes().to_vec()]),
            _ => args.push(b"BOGUS".to_vec()),
        }
    }
    claims(g, args)
}

fn xautoclaim(g: &mut Gen) -> Args {
    let start = if g.rng.chance(2) { b"0".to_vec() } else { bound(g) };
    let mut args = with(words("XAUTOCLAIM"), [key(g), group(g), consumer(g), min_idle(g), start]);
    if g.rng.chance(2) {
        let count = g.rng.pick(&["1", "2", "5", "0", "-1", "x"]).as_bytes().to_vec();
        args.extend([g.spelled("COUNT"), count]);
    }
    if g.rng.chance(3) {
        args.push(g.spelled("JUSTID"));
    }
    claims(g, args)
}

fn xpending(g: &mut Gen) -> Args {
    let mut args = with(words("XPENDING"), [key(g), group(g)]);
    if g.rng.chance(3) {
        return args;
    }
    if g.rng.chance(3) {
        args.extend([g.spelled("IDLE"), min_idle(g)]);
    }
    args.extend([bound(g), bound(g), count(g)]);
    if g.rng.chance(3) {
        args.push(consumer(g));
    }
    args
}

/// XSETID with whatever arguments, and then the stream is gone: Redis 7.0 sets what 7.2 refuses. Or of a stream that never lost an
/// entry, where all agree; then it stays.
fn xsetid(g: &mut Gen) -> Args {
    let (key, fresh) = (key(g), g.rng.chance(2));
    let to = if fresh { format!("{USUAL_MS}-{}", g.rng.below(20)).into_bytes() } else { id(g) };
    let mut set = with(words("XSETID"), [key.clone(), to]);
    if g.rng.chance(3) {
        let added = if fresh { g.small_int() } else { g.int() };
        set.extend([g.spelled("ENTRIESADDED"), added]);
    }
    if g.rng.chance(3) {
        set.extend([g.spelled("MAXDELETEDID"), id(g)]);
    }
    let delete = with(words("DEL"), [key.clone()]);
    if !fresh {
        g.next.push_back(Step::Command(delete, Compare::Exact));
        return set;
    }
    for _ in 0..g.rng.below(4) {
        let mut add = with(words("XADD"), [key.clone(), format!("{USUAL_MS}-*").into_bytes()]);
        fields(g, &mut add);
        g.next.push_back(Step::Command(add, Compare::Exact));
    }
    g.next.push_back(Step::Command(set, Compare::Exact));
    for start in ["0", "$"] {
        let create = with(words("XGROUP CREATE"), [key.clone(), group(g), start.as_bytes().to_vec()]);
        g.next.push_back(Step::Command(create, Compare::Exact));
    }
    g.next.push_back(Step::Command(with(words("XINFO STREAM"), [key, b"FULL".to_vec()]), TIMELESS));
    delete
}

/// Without what a clock says: how long ago, and when, something was delivered or tried. And without what Redis 7.2 added.
fn timeless(reply: Reply) -> Reply {
    let Reply::Array(items) = reply else { return reply };
    let mut items: Vec<Reply> = items.into_iter().map(timeless).collect();
    match items.as_mut_slice() {
        [Reply::Bulk(_), Reply::Bulk(_), time @ Reply::Int(_), Reply::Int(_)] => *time = Reply::Int(0),
        [Reply::Bulk(_), time @ Reply::Int(_), Reply::Int(_)] => *time = Reply::Int(0),
        _ => {}
    }
    let is = |item: &Reply, name: &str| matches!(item, Reply::Bulk(text) if text == name.as_bytes());
    for added in ["inactive", "active-time"] {
        if let Some(at) = items.iter().position(|item| is(item, added)) {
            items.drain(at..at + 2);
        }
    }
    for time in ["idle", "seen-time"] {
        if let Some(at) = items.iter().position(|item| is(item, time)) {
            items[at + 1] = Reply::Int(0);
        }
    }
    Reply::Array(items)
}

const TIMELESS: Compare = Compare::Through(timeless);

const RULES: &[Rule] = &[
    rule(1, set_some_value),
    rule(60, xadd),
    rule(6, |g| {
        let mut args = with(words("XTRIM"), [key(g)]);
        trim(g, &mut args);
        args
    }),
    rule(6, |g| {
        let mut args = with(words("XDEL"), [key(g)]);
        (0..1 + g.rng.below(4)).for_each(|_| args.push(id(g)));
        args
    }),
    rule(2, |g| with(words("XLEN"), [key(g)])),
    rule(8, |g| {
        let mut args = with(words("XRANGE"), [key(g), bound(g), bound(g)]);
        if g.rng.chance(2) {
            args.extend([g.spelled("COUNT"), count(g)]);
        }
        args
    }),
    rule(8, |g| {
        let mut args = with(words("XREVRANGE"), [key(g), bound(g), bound(g)]);
        if g.rng.chance(2) {
            args.extend([g.spelled("COUNT"), count(g)]);
        }
        args
    }),
    rule(8, xread),
    rule(16, xreadgroup),
    rule(2, xsetid),
    rule(8, |g| {
        let mut args = with(words("XGROUP"), [g.spelled("CREATE"), key(g), group(g)]);
        args.push(if g.rng.chance(2) {
            b"0".to_vec()
        } else if g.rng.chance(3) {
            b"$".to_vec()
        } else {
            id(g)
        });
        if g.rng.chance(2) {
            args.push(g.spelled("MKSTREAM"));
        }
        if g.rng.chance(5) {
            args.extend([g.spelled("ENTRIESREAD"), g.small_int()]);
        }
        args
    }),
    rule(4, |g| {
        let mut args = with(words("XGROUP"), [g.spelled("SETID"), key(g), group(g), id(g)]);
        if g.rng.chance(3) {
            args.extend([g.spelled("ENTRIESREAD"), g.small_int()]);
        }
        args
    }),
    rule(1, |g| with(words("XGROUP"), [g.spelled("DESTROY"), key(g), group(g)])),
    rule(3, |g| with(words("XGROUP"), [g.spelled("CREATECONSUMER"), key(g), group(g), consumer(g)])),
    rule(2, |g| with(words("XGROUP"), [g.spelled("DELCONSUMER"), key(g), group(g), consumer(g)])),
    rule(8, |g| {
        let mut args = with(words("XACK"), [key(g), group(g)]);
        (0..1 + g.rng.below(4)).for_each(|_| args.push(id(g)));
        args
    }),
    rule(10, xclaim),
    rule(6, xautoclaim),
    ruled(8, TIMELESS, xpending),
    ruled(4, TIMELESS, |g| with(words("XINFO"), [g.spelled("STREAM"), key(g)])),
    ruled(4, TIMELESS, |g| {
        let mut args = with(words("XINFO"), [g.spelled("STREAM"), key(g), g.spelled("FULL")]);
        if g.rng.chance(2) {
            args.extend([g.spelled("COUNT"), count(g)]);
        }
        args
    }),
    ruled(4, TIMELESS, |g| with(words("XINFO"), [g.spelled("GROUPS"), key(g)])),
    ruled(4, TIMELESS, |g| with(words("XINFO"), [g.spelled("CONSUMERS"), key(g), group(g)])),
    rule(1, |g| with(words("COMMAND GETKEYS XREADGROUP GROUP g c STREAMS"), [key(g), key(g), id(g), id(g)])),
    rule(1, |g| {
        let entries = g.rng.pick(&["5", "10", "100", "0", "1"]);
        words(&format!("CONFIG SET stream-node-max-entries {entries}"))
    }),
    rule(1, |g| {
        let bytes = g.rng.pick(&["200", "1000", "4096", "0"]);
        words(&format!("CONFIG SET stream-node-max-bytes {bytes}"))
    }),
    rule(1, |g| with(words("DEL"), [key(g)])),
    rule(1, |g| with(words("COPY"), [key(g), key(g)])),
    rule(1, |g| with(words("RENAME"), [key(g), key(g)])),
    rule(1, |g| with(words("TYPE"), [key(g)])),
];
