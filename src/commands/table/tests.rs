//! The table beside what a Redis 7.0.15 said of the same commands.

use super::*;
use crate::commands::{BeginSearch, FindKeys};

const RECORDED: &str = include_str!("redis-7.0.15.txt");

/// What differs from Redis 7.0.15, because Redis 7.2 changed it: (command, column, ours).
const CHANGED: &[(&str, &str, &str)] = &[
    // Asking for the keys of a command line of one word became possible, if pointless.
    ("command|getkeys", "arity", "-3"),
    ("command|getkeysandflags", "arity", "-3"),
    // CLUSTER SLOTS and SHARDS answer while the data set loads.
    ("cluster|shards", "flags", "loading,stale"),
    ("cluster|slots", "flags", "loading,stale"),
    // Hints for cluster proxies were completed or corrected.
    ("client|setname", "tips", "request_policy:all_nodes,response_policy:all_succeeded"),
    ("config|resetstat", "tips", "request_policy:all_nodes,response_policy:all_succeeded"),
    ("config|rewrite", "tips", "request_policy:all_nodes,response_policy:all_succeeded"),
    ("latency|reset", "tips", "request_policy:all_nodes,response_policy:agg_sum"),
    ("msetnx", "tips", "-"),
    ("randomkey", "tips", "request_policy:all_shards,response_policy:special,nondeterministic_output"),
    // Blocking commands may be called in scripts, where they do not block.
    ("blmove", "flags", "write,denyoom,blocking"),
    ("blpop", "flags", "write,blocking"),
    ("brpop", "flags", "write,blocking"),
    ("brpoplpush", "flags", "write,denyoom,blocking"),
    ("wait", "flags", "blocking"),
    ("wait", "categories", "slow,blocking,connection"),
    ("bzpopmax", "flags", "write,blocking,fast"),
    ("bzpopmin", "flags", "write,blocking,fast"),
    // WITHSCORE is new.
    ("zrank", "arity", "-3"),
    ("zrevrank", "arity", "-3"),
    ("scan", "tips", "nondeterministic_output,request_policy:special,response_policy:special"),
];

/// Commands that Redis 7.0.15 does not have, or does not tell of.
const NEWER: &[&str] = &[
    "client|no-touch",
    "client|setinfo",
    "debug|blockpop",
    "delifeq",
    "hexpire",
    "hexpireat",
    "hexpiretime",
    "hgetdel",
    "hgetex",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hpexpiretime",
    "hpttl",
    "hsetex",
    "httl",
];

const COLUMNS: [&str; 8] = ["arity", "flags", "first", "last", "step", "categories", "tips", "keys"];

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

/// Where keys begin; of what has no place that could be named, nothing is asked.
fn place(begin: BeginSearch) -> String {
    match begin {
        BeginSearch::Index(index) => index.to_string(),
        BeginSearch::Keyword(word, from) => format!("{word}/{from}"),
        BeginSearch::Unknown | BeginSearch::SortStore => "unknown".to_owned(),
    }
}

fn key_spec(spec: &KeySpec) -> String {
    let access = spec.access.names().collect::<Vec<_>>().join("+");
    match (spec.begin, spec.find) {
        (BeginSearch::Unknown | BeginSearch::SortStore, _) | (_, FindKeys::Unknown) => format!("{access}@unknown"),
        (begin, FindKeys::Range { last, step, limit }) => format!("{access}@{}:{last}:{step}:{limit}", place(begin)),
        (begin, FindKeys::Counted { count, first, step }) => {
            format!("{access}@{}:#{count}:{first}:{step}", place(begin))
        }
    }
}

fn row(command: &Command) -> [String; 8] {
    let (first, last, step) = command.legacy_key_range();
    let keys: Vec<String> = command.keys.iter().map(key_spec).collect();
    [
        command.arity.to_string(),
        join(command.flags.names()),
        first.to_string(),
        last.to_string(),
        step.to_string(),
        join(command.categories().names()),
        join(command.tips.iter().copied()),
        if keys.is_empty() { "-".to_owned() } else { keys.join(";") },
    ]
}

fn every() -> impl Iterator<Item = (String, &'static Command)> {
    COMMANDS.iter().flat_map(|command| {
        let subcommands = command.subcommands.iter().map(|sub| (format!("{}|{}", command.name, sub.name), sub));
        std::iter::once((command.name.to_owned(), command)).chain(subcommands)
    })
}

/// Shard channels are no keys.
fn has_no_keys(command: &Command) -> bool {
    command.keys.iter().all(|spec| spec.access.has(KeyAccess::NOT_KEY))
}

#[test]
fn what_redis_says_of_the_same_commands() {
    let mut missing: Vec<String> = every().map(|(name, _)| name).collect();
    let mut changes_seen = 0;
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(' ').expect(line);
        let (_, command) = every().find(|(own, _)| own == name).unwrap_or_else(|| panic!("{name} is missing"));
        missing.retain(|own| own != name);
        let recorded: Vec<&str> = rest.split(' ').collect();
        assert_eq!(recorded.len(), COLUMNS.len(), "{name}");
        for ((column, recorded), own) in COLUMNS.into_iter().zip(recorded).zip(row(command)) {
            match CHANGED.iter().find(|(changed, of, _)| (*changed, *of) == (name, column)) {
                None => assert_eq!(own, recorded, "{column} of {name}"),
                Some((_, _, changed)) => {
                    changes_seen += 1;
                    assert_eq!(own, *changed, "{column} of {name}");
                    assert_ne!(own, recorded, "{column} of {name} did not change");
                }
            }
        }
    }
    assert_eq!(changes_seen, CHANGED.len());
    missing.sort();
    assert_eq!(missing, NEWER);
}

#[test]
fn every_entry_is_complete() {
    for (name, command) in every() {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-|".contains(&byte)), "{name}");
        assert!(command.arity != 0, "{name}");
        assert!(command.summary.ends_with('.') && command.summary.len() <= 100, "{name}");
        assert!(command.since.split('.').count() == 3, "{name}");
        assert!(!command.complexity.is_empty() || ["lolwut", "monitor", "psync", "sync"].contains(&&*name), "{name}");
        for sub in command.subcommands {
            assert!(sub.subcommands.is_empty(), "{name}");
            assert!(sub.arity.unsigned_abs() >= 2, "{name} {}", sub.name);
        }
        match command.handler {
            Handler::Container => assert!(!command.subcommands.is_empty() && command.arity == -2, "{name}"),
            // A function over keys needs to be told where they are; HELP of a container with such functions has none.
            Handler::Data(_) => {
                assert!(!command.keys.is_empty() || name.ends_with("|help") || name == "pfselftest", "{name}");
            }
            // WATCH names keys without reading them.
            Handler::Server(_) => assert!(has_no_keys(command) || name == "watch", "{name}"),
        }
        let last = command.subcommands.last();
        assert!(last.is_none_or(|last| last.name == "help") || name == "debug", "{name}");
    }
}

#[test]
fn order_within_a_pipeline() {
    let free: Vec<String> = every()
        .filter(|(_, command)| has_no_keys(command) && !command.flags.has(Flags::BARRIER))
        .map(|(name, _)| name)
        .collect();
    let without_state = |name: &str| {
        ["ping", "echo", "time", "lolwut", "command", "pfselftest"].contains(&name)
            || name.starts_with("command|")
            || name.ends_with("|help")
            || every().any(|(own, command)| own == name && matches!(command.handler, Handler::Container))
    };
    for name in free {
        assert!(without_state(&name), "{name}");
    }
    let waits = |command: &Command| !has_no_keys(command) && command.flags.has(Flags::BARRIER);
    let with_keys: Vec<String> = every().filter(|(_, command)| waits(command)).map(|(name, _)| name).collect();
    // Those that may wait or need keys that they do not name, which the replies of earlier ones must not overtake.
    let expected = [
        &["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin", "xread", "xreadgroup"]
            [..],
        &["sort", "sort_ro", "watch", "debug|blockpop"],
    ];
    assert_eq!(with_keys, expected.concat());
}

#[test]
fn compatibility_lists_every_command_once() {
    let rows: Vec<_> = compatibility().collect();
    assert_eq!(rows.len(), every().filter(|(name, _)| !name.starts_with("debug|")).count());
    assert!(rows.contains(&(Group::Connection, "client|kill".to_owned(), "2.4.0")));
    let mut names: Vec<_> = rows.iter().map(|(_, name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), rows.len());
}
