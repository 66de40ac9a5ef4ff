//! The compatibility table: what Redis 7.2 and Valkey 8.1 have, group by group, and which of it is there.

use std::collections::{BTreeMap, BTreeSet};

use basalt::commands::table::compatibility;

/// Group, full name and first version of each command, a line each.
const REFERENCE: &str = include_str!("commands.txt");

/// A container's name and its subcommands; of a plain command there are none.
type Commands<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The groups in the order of the table, and what they are called.
const GROUPS: [(&str, &str); 16] = [
    ("string", "Strings"),
    ("bitmap", "Bitmaps"),
    ("generic", "Generic"),
    ("connection", "Connection"),
    ("server", "Server"),
    ("cluster", "Cluster (with `core-endpoints yes`)"),
    ("list", "Lists"),
    ("set", "Sets"),
    ("sorted-set", "Sorted sets"),
    ("hash", "Hashes"),
    ("stream", "Streams"),
    ("geo", "Geospatial indices"),
    ("hyperloglog", "HyperLogLog"),
    ("pubsub", "Pub/sub"),
    ("transactions", "Transactions"),
    ("scripting", "Scripts and functions"),
];

fn reference() -> Vec<(&'static str, &'static str)> {
    let lines = REFERENCE.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    words.map(|words| (words[0], words[1])).collect()
}

fn grouped<'a>(names: impl Iterator<Item = &'a str>) -> Commands<'a> {
    let mut commands = Commands::new();
    for name in names {
        match name.split_once('|') {
            Some((container, sub)) => commands.entry(container).or_default().push(sub),
            None => {
                commands.entry(name).or_default();
            }
        }
    }
    commands
}

fn cell(commands: &Commands<'_>) -> String {
    let shown = commands.iter().map(|(name, subs)| match subs.as_slice() {
        [] => format!("`{}`", name.to_uppercase()),
        subs => format!("`{}` ({})", name.to_uppercase(), subs.join(", ").to_uppercase()),
    });
    shown.collect::<Vec<_>>().join(", ")
}

pub fn markdown() -> String {
    let own: Vec<(&str, String)> = compatibility().map(|(group, name, _)| (group.name(), name)).collect();
    let is_own = |name: &str| own.iter().any(|(_, own)| own == name);
    let mut text = "| group | there | not there |\n|---|---|---|\n".to_owned();
    let mut absent_groups = Vec::new();
    for (group, title) in GROUPS {
        let there = grouped(own.iter().filter(|(of, _)| *of == group).map(|(_, name)| name.as_str()));
        if there.is_empty() {
            absent_groups.push(title);
            continue;
        }
        let all = reference().into_iter().filter(|(of, name)| *of == group && !is_own(name)).map(|(_, name)| name);
        text.push_str(&format!("| {title} | {} | {} |\n", cell(&there), cell(&grouped(all))));
    }
    text.push_str(&format!("\nNot there with any command: {}.\n", absent_groups.join(", ").to_lowercase()));
    text
}

#[test]
fn every_group_is_in_the_table() {
    let known: BTreeSet<&str> = GROUPS.iter().map(|(group, _)| *group).collect();
    let used: BTreeSet<&str> = compatibility()
        .map(|(group, _, _)| group.name())
        .chain(reference().into_iter().map(|(group, _)| group))
        .collect();
    assert_eq!(known, used);
}

/// What the reference lacks is of later versions: Valkey 9's, and the expiry of fields, which came with Redis 7.4 and 8.0.
#[test]
fn the_reference_is_complete() {
    let reference = reference();
    let unknown: Vec<(String, &str)> = compatibility()
        .filter(|(group, name, _)| !reference.contains(&(group.name(), name.as_str())))
        .map(|(_, name, since)| (name, since))
        .collect();
    let mut newer = vec![("delifeq", "9.0.0")];
    newer.extend(["hexpire", "hexpireat", "hexpiretime"].map(|name| (name, "7.4.0")));
    newer.extend(["hgetdel", "hgetex"].map(|name| (name, "8.0.0")));
    newer.extend(["hpersist", "hpexpire", "hpexpireat", "hpexpiretime", "hpttl"].map(|name| (name, "7.4.0")));
    newer.extend([("hsetex", "8.0.0"), ("httl", "7.4.0")]);
    let newer: Vec<(String, &str)> = newer.into_iter().map(|(name, since)| (name.to_owned(), since)).collect();
    assert_eq!(unknown, newer);
}
