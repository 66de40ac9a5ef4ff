//! Pub/sub: subscriptions of every kind under both protocols, and messages from a second connection.

use crate::common::conn::Reply;
use crate::generator::{Args, Compare, Family, Gen, Known, Step, with, words};

pub const FAMILY: Family =
    Family { name: "pubsub", rules: &[], special: Some((1, step)), known: KNOWN, check_dumps: false };

const KNOWN: &[Known] = &[
    Known {
        reason: "of several subscriptions the order in which they end is free",
        matches: |args, redis, basalt| {
            let name = args[0].to_ascii_uppercase();
            args.len() == 1 && name.ends_with(b"UNSUBSCRIBE") && names_sorted(redis) == names_sorted(basalt)
        },
    },
    Known {
        reason: "a client's own message comes behind the reply to its PUBLISH from Redis 7.2 on",
        matches: |args, redis, basalt| {
            args[0].to_ascii_uppercase().ends_with(b"PUBLISH") && heard_sorted(redis) == heard_sorted(basalt)
        },
    },
];

fn heard_sorted(heard: &Reply) -> Option<Vec<String>> {
    let Reply::Array(items) = heard else { return None };
    let mut items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    items.sort();
    Some(items)
}

/// The confirmations of one UNSUBSCRIBE without the order of their names: the counts stay where they are.
fn names_sorted(heard: &Reply) -> Option<(Vec<Reply>, Vec<Reply>)> {
    let Reply::Array(items) = heard else { return None };
    let mut names = Vec::new();
    let mut rest = Vec::new();
    for item in items {
        match item {
            Reply::Array(parts) | Reply::Push(parts) if parts.len() == 3 => {
                names.push(parts[1].clone());
                rest.extend([parts[0].clone(), parts[2].clone()]);
            }
            other => rest.push(other.clone()),
        }
    }
    names.sort_by_key(|name| format!("{name:?}"));
    Some((names, rest))
}

fn channel(g: &mut Gen) -> Vec<u8> {
    match g.rng.below(12) {
        0 => Vec::new(),
        1 => b"bin\0\r\nchannel".to_vec(),
        2 => b"{t}:1".to_vec(),
        n => format!("channel:{}", n % 5).into_bytes(),
    }
}

fn pattern(g: &mut Gen) -> Vec<u8> {
    const PATTERNS: [&str; 7] = ["*", "channel:*", "channel:?", "channel:[12]", "none", "", "bin*"];
    g.rng.pick(&PATTERNS).as_bytes().to_vec()
}

fn several(g: &mut Gen, command: &str, one: fn(&mut Gen) -> Vec<u8>, least: usize) -> Args {
    let mut args = words(command);
    for _ in 0..least + g.rng.below(3) {
        args.push(one(g));
    }
    args
}

fn subscription(g: &mut Gen) -> Args {
    match g.rng.below(12) {
        0..=2 => several(g, "SUBSCRIBE", channel, 1),
        3 | 4 => several(g, "PSUBSCRIBE", pattern, 1),
        // One slot a command: of several, Redis 7.0 without a cluster asks nothing else.
        5 => with(words("SSUBSCRIBE"), [channel(g)]),
        6 | 7 => several(g, "UNSUBSCRIBE", channel, 0),
        8 | 9 => several(g, "PUNSUBSCRIBE", pattern, 0),
        10 => several(g, "SUNSUBSCRIBE", channel, 0),
        _ => words(g.rng.pick(&["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"])),
    }
}

/// Commands that a subscriber may or may not give, and those that ask about subscriptions.
fn other(g: &mut Gen) -> Args {
    const LINES: [&str; 21] = [
        "PING",
        "PING hello",
        "PING a b",
        "GET key",
        "SET key value",
        "ECHO x",
        "NOSUCH",
        "SELECT 0",
        "RESET",
        "PUBLISH channel:1 own",
        "PUBLISH nobody hears",
        "PUBLISH one",
        "SPUBLISH channel:2 own",
        "PUBSUB NUMSUB channel:1 channel:2 none",
        "PUBSUB NUMSUB",
        "PUBSUB NUMPAT",
        "PUBSUB SHARDNUMSUB channel:1 channel:2",
        "PUBSUB NOSUCH",
        "PUBSUB",
        "PUBSUB CHANNELS none*",
        "PUBSUB SHARDCHANNELS none*",
    ];
    words(g.rng.pick(&LINES))
}

fn step(g: &mut Gen) -> Step {
    match g.rng.below(10) {
        0..=3 => Step::Talk(subscription(g)),
        4 => Step::Talk(other(g)),
        // Its reply is another family's; here it must not count as one more that comes back.
        5 if g.rng.chance(4) => {
            let version = g.rng.pick(&["HELLO 2", "HELLO 3", "HELLO 3"]);
            Step::Command(words(version), Compare::Kind)
        }
        5 => Step::Talk(other(g)),
        6 => {
            let message = g.short_value();
            Step::Publish(with(words("SPUBLISH"), [channel(g), message]))
        }
        _ => {
            let message = g.value();
            Step::Publish(with(words("PUBLISH"), [channel(g), message]))
        }
    }
}
