//! Server commands: CONFIG, COMMAND, FLUSH*, SLOWLOG, LATENCY, MEMORY, DEBUG and what surrounds them.

use super::set_some_value;
use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, rule, ruled, with, words};

pub const FAMILY: Family = Family { name: "server", rules: RULES, special: None, known: KNOWN, check_dumps: false };

const KNOWN: &[Known] = &[
    Known {
        reason: "the port is chosen at start-up",
        matches: |args, _, basalt| {
            let of_port = args.len() == 4 && args[2] == b"port";
            of_port && matches!(basalt, Reply::Error(text) if text.ends_with(b"can't set immutable config"))
        },
    },
    Known {
        reason: "LOLWUT is each server's own picture",
        matches: |args, redis, basalt| {
            let drawn = |reply: &Reply| matches!(reply, Reply::Bulk(_));
            args[0].eq_ignore_ascii_case(b"LOLWUT") && drawn(redis) && drawn(basalt)
        },
    },
    Known {
        reason: "Redis 7.0 wants an argument behind the name of the command whose keys are asked for, 7.2 does not",
        matches: |args, redis, _| {
            args.len() == 3
                && args[0].eq_ignore_ascii_case(b"COMMAND")
                && args[1].to_ascii_uppercase().starts_with(b"GETKEYS")
                && matches!(redis, Reply::Error(text) if text.starts_with(b"ERR wrong number of arguments"))
        },
    },
];

/// Settings that are changed, in range and out of it, spelled well and badly.
fn config_set(g: &mut Gen) -> Args {
    const LINES: [&str; 30] = [
        "CONFIG SET maxmemory 100mb",
        "CONFIG SET maxmemory 0",
        "CONFIG SET maxmemory 1gb slowlog-max-len 12",
        "CONFIG SET maxmemory abc",
        "CONFIG SET maxmemory -1",
        "CONFIG SET maxmemory-policy allkeys-lru",
        "CONFIG SET maxmemory-policy NoEviction",
        "CONFIG SET maxmemory-policy nosuch",
        "CONFIG SET maxmemory-samples 7",
        "CONFIG SET maxmemory-samples 0",
        "CONFIG SET maxmemory-samples abc",
        "CONFIG SET slowlog-log-slower-than abc",
        "CONFIG SET slowlog-log-slower-than 1000000",
        "CONFIG SET slowlog-max-len -1",
        "CONFIG SET timeout 100",
        "CONFIG SET timeout -1",
        "CONFIG SET tcp-keepalive 60",
        "CONFIG SET hz 20",
        "CONFIG SET nosuch 1",
        "CONFIG SET maxmemory 100mb nosuch 1",
        "CONFIG SET maxmemory 100mb maxmemory 200mb",
        "CONFIG SET maxmemory",
        "CONFIG SET port",
        "CONFIG SET databases 5",
        "CONFIG SET lfu-log-factor 5",
        "CONFIG SET lfu-decay-time 2",
        "CONFIG SET proto-max-bulk-len 1mb",
        "CONFIG SET proto-max-bulk-len 2mb",
        "CONFIG SET lazyfree-lazy-user-del maybe",
        "CONFIG SET latency-monitor-threshold 100000",
    ];
    words(g.rng.pick(&LINES))
}

fn config_get(g: &mut Gen) -> Args {
    const NAMES: [&str; 24] = [
        "maxmemory",
        "maxmemory-policy",
        "maxmemory-samples",
        "MaxMemory",
        "timeout",
        "tcp-keepalive",
        "databases",
        "hz",
        "slowlog-*",
        "lfu-*",
        "proto-max-bulk-len",
        "client-query-buffer-limit",
        "latency-monitor-threshold",
        "lazyfree-lazy-*",
        "nosuch",
        "maxmemory-[ps]*",
        "appendonly",
        "save",
        "protected-mode",
        "tcp-backlog",
        "requirepass",
        "activedefrag",
        "list-max-listpack-size",
        "set-max-intset-entries",
    ];
    let mut args = words("CONFIG GET");
    for _ in 0..g.count(3) {
        args.extend(words(g.rng.pick(&NAMES)));
    }
    args
}

/// CONFIG GET answers in the order of a table; only the pairs count.
fn pairs_sorted(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => {
            let mut pairs: Vec<Vec<Reply>> = items.chunks(2).map(<[Reply]>::to_vec).collect();
            pairs.sort_by_key(|pair| format!("{pair:?}"));
            Reply::Array(pairs.into_iter().flatten().collect())
        }
        other => other,
    }
}

fn getkeys(g: &mut Gen) -> Args {
    const LINES: [&str; 18] = [
        "GET a",
        "SET a b EX 10",
        "MGET a b c",
        "MSET a 1 b 2",
        "MSET a 1 b",
        "DEL a b",
        "BITOP AND d a b",
        "COPY a b",
        "RENAME a b",
        "OBJECT ENCODING a",
        "LCS a b",
        "PING",
        "NOSUCH a",
        "GET",
        "BITFIELD a GET u8 0",
        "TOUCH a",
        "RESTORE k 0 x",
        "MEMORY USAGE k",
    ];
    let verb = if g.rng.chance(3) { "COMMAND GETKEYSANDFLAGS" } else { "COMMAND GETKEYS" };
    with(words(verb), words(g.rng.pick(&LINES)))
}

fn odd_or_wrong(g: &mut Gen) -> Args {
    const LINES: [&str; 36] = [
        "CONFIG",
        "CONFIG NOSUCH",
        "CONFIG GET",
        "CONFIG RESETSTAT",
        "CONFIG RESETSTAT x",
        "COMMAND NOSUCH",
        "COMMAND INFO nosuch",
        "COMMAND DOCS nosuch",
        "COMMAND GETKEYS",
        "COMMAND LIST FILTERBY NOSUCH x",
        "COMMAND LIST FILTERBY PATTERN nosuch*",
        "FLUSHDB ASYNC",
        "FLUSHALL SYNC",
        "FLUSHALL BOGUS",
        "FLUSHDB a b",
        "SLOWLOG RESET",
        "SLOWLOG LEN x y",
        "SLOWLOG GET abc",
        "SLOWLOG GET -2",
        "SLOWLOG NOSUCH",
        "LATENCY RESET",
        "LATENCY LATEST",
        "LATENCY HISTORY nosuch",
        "LATENCY NOSUCH",
        "LATENCY GRAPH nosuch",
        "MEMORY NOSUCH",
        "MEMORY USAGE nosuch-key",
        "MEMORY USAGE nosuch-key SAMPLES -1",
        "MEMORY USAGE nosuch-key BOGUS 1",
        "DEBUG NOSUCH",
        "DEBUG OBJECT nosuch-key",
        "DEBUG DIGEST",
        "DEBUG SLEEP 0",
        "TIME x y",
        "DBSIZE",
        "LOLWUT VERSION abc",
    ];
    words(g.rng.pick(&LINES))
}

fn help(g: &mut Gen) -> Args {
    words(g.rng.pick(&[
        "CONFIG HELP",
        "SLOWLOG HELP",
        "LATENCY HELP",
        "MEMORY HELP",
        "COMMAND HELP",
        "OBJECT HELP",
        "CLIENT HELP",
    ]))
}

/// The sentences of a HELP are each server's own; its form is not.
fn help_heading(reply: Reply) -> Reply {
    match reply {
        Reply::Array(lines) if lines.iter().all(|line| matches!(line, Reply::Simple(_))) => {
            Reply::Array(vec![lines[0].clone(), lines[lines.len() - 2].clone()])
        }
        other => other,
    }
}

fn only_kind(g: &mut Gen) -> Args {
    const LINES: [&str; 15] = [
        "INFO",
        "INFO server",
        "INFO nosuch",
        "INFO everything",
        "INFO memory stats",
        "LASTSAVE",
        "LOLWUT",
        "LOLWUT VERSION 5",
        "MEMORY DOCTOR",
        "MEMORY STATS",
        "SLOWLOG LEN",
        "SLOWLOG GET 5",
        "LATENCY DOCTOR",
        "COMMAND COUNT",
        "COMMAND LIST",
    ];
    words(g.rng.pick(&LINES))
}

/// The parts of COMMAND INFO that routing clients use: name, arity, first and last key, step.
fn command_keys(reply: Reply) -> Reply {
    let Reply::Array(entries) = reply else { return reply };
    let part = |entry: Reply| match entry {
        Reply::Array(fields) if fields.len() >= 6 => {
            Reply::Array([0, 1, 3, 4, 5].iter().map(|&at| fields[at].clone()).collect())
        }
        other => other,
    };
    Reply::Array(entries.into_iter().map(part).collect())
}

/// The flags of COMMAND INFO, as a set.
fn command_flags(reply: Reply) -> Reply {
    let Reply::Array(entries) = reply else { return reply };
    let part = |entry: Reply| match entry {
        Reply::Array(fields) if fields.len() >= 6 => {
            let mut flags = fields[2].items();
            flags.sort_by_key(Reply::text);
            Reply::Array(flags)
        }
        other => other,
    };
    Reply::Array(entries.into_iter().map(part).collect())
}

fn command_info(g: &mut Gen) -> Args {
    const NAMES: [&str; 40] = [
        "get",
        "set",
        "mget",
        "mset",
        "msetnx",
        "del",
        "unlink",
        "exists",
        "touch",
        "expire",
        "ttl",
        "rename",
        "copy",
        "move",
        "object",
        "object|encoding",
        "dump",
        "restore",
        "bitop",
        "bitfield",
        "bitfield_ro",
        "setbit",
        "getex",
        "lcs",
        "substr",
        "incrbyfloat",
        "ping",
        "echo",
        "auth",
        "select",
        "config|get",
        "client|list",
        "flushall",
        "dbsize",
        "keys",
        "scan",
        "randomkey",
        "debug",
        "memory|usage",
        "nosuch",
    ];
    // Without a name it would be all of a server's commands.
    let mut args = words("COMMAND INFO get");
    for _ in 0..g.count(3) {
        args.extend(words(g.rng.pick(&NAMES)));
    }
    args
}

const RULES: &[Rule] = &[
    rule(10, set_some_value),
    rule(12, config_set),
    ruled(10, Compare::Through(pairs_sorted), config_get),
    rule(8, getkeys),
    ruled(6, Compare::Through(command_keys), command_info),
    ruled(3, Compare::Through(command_flags), command_info),
    rule(15, odd_or_wrong),
    ruled(2, Compare::Through(help_heading), help),
    ruled(6, Compare::Kind, only_kind),
    ruled(1, Compare::Shape, |_| words("TIME")),
    ruled(3, Compare::Kind, |g| {
        let key = g.key();
        with(words("MEMORY USAGE"), [key])
    }),
    rule(4, |g| {
        let key = g.key();
        with(words("GET"), [key])
    }),
    rule(3, |g| {
        let count = g.count(3);
        let keys = g.keys(count);
        with(words("DEBUG DIGEST-VALUE"), keys)
    }),
];
