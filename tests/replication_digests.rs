//! Random commands on a primary for a while, with a redis-server and Basalts as replicas at once: all of them hold the same at every
//! pause, keys, values and times.
//!
//! `BASALT_REPLICATION_SECONDS` (3) is how long each seed runs, `BASALT_REPLICATION_SEEDS` (1) how many follow on the first, which
//! `BASALT_TEST_SEED` gives.

mod common;
#[path = "differential/families/mod.rs"]
#[allow(dead_code)]
mod families;
#[path = "differential/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "replication/mod.rs"]
mod replication;

use common::{Kind, Node, seed};
use replication::{Load, Mix, wait_link_up, wait_synced};
use std::time::{Duration, Instant};

/// How many connections write at once.
const WRITERS: u64 = 3;
/// Times a run stops to compare.
const PAUSES: u32 = 3;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => default,
    }
}

/// Stands for a limit of memory this much above what an empty node takes.
const ROOM_ABOVE_EMPTY: &str = "0";
/// Beside keys it takes what fills with time: the backlog, and the latency histograms of all commands on each core.
const ROOM_BYTES: i64 = 10 << 20;

/// One replica joins before the load, the others in the middle of it.
fn random_commands(primary: Kind, directives: &[(&str, &str)]) {
    let (first, seeds) = (seed(), number("BASALT_REPLICATION_SEEDS", 1));
    let time = Duration::from_secs(number("BASALT_REPLICATION_SECONDS", 3));
    let evicts = directives.contains(&("maxmemory", ROOM_ABOVE_EMPTY));
    let mix = Mix { pause: Duration::ZERO, flush: !evicts, flush_all: !evicts, large: evicts, ..Mix::ALL };
    for seed in (0..seeds).map(|i| first.wrapping_add(i)) {
        let primary = Node::start(primary, directives);
        let kinds = [Kind::Redis, Kind::Basalt(1), Kind::Basalt(2), Kind::Basalt(4)];
        let replicas = kinds.map(|kind| Node::start(kind, &[("repl-diskless-load", "swapdb")]));
        replicas[2].replicate(primary.port);
        wait_link_up(&replicas[2]);
        if evicts {
            let limit = primary.info().number("used_memory") + ROOM_BYTES;
            primary.set("maxmemory", &limit.to_string());
        }
        let mut acknowledged = 0;
        for pause in 0..PAUSES {
            let start = Instant::now();
            let loads: Vec<Load> = (0..WRITERS)
                .map(|i| Load::start(primary.port, seed ^ (u64::from(pause) << 32) ^ (i << 40), mix))
                .collect();
            loads.iter().for_each(|load| load.wait_for(500));
            if pause == 0 {
                for replica in [&replicas[0], &replicas[1], &replicas[3]] {
                    replica.replicate(primary.port);
                }
            }
            while start.elapsed() < time / PAUSES {
                loads.iter().for_each(|load| load.wait_for(50));
            }
            acknowledged += loads.into_iter().map(|load| load.stop().acknowledged).sum::<u64>();
            wait_synced(&primary, &replicas.iter().collect::<Vec<_>>());
        }
        assert_eq!(primary.info().number("evicted_keys") > 0, evicts);
        println!("seed {seed}: {acknowledged} commands, the same on all replicas");
    }
}

#[test]
fn of_basalt_with_two_shards() {
    random_commands(Kind::Basalt(2), &[]);
}

#[test]
fn of_basalt_with_four_shards() {
    random_commands(Kind::Basalt(4), &[]);
}

#[test]
fn of_basalt_with_one_shard() {
    random_commands(Kind::Basalt(1), &[]);
}

#[test]
fn of_a_redis_server() {
    random_commands(Kind::Redis, &[]);
}

/// What the primary evicts goes on its replicas too.
#[test]
fn of_a_primary_that_evicts() {
    let evicting = [("maxmemory-policy", "allkeys-random"), ("maxmemory", ROOM_ABOVE_EMPTY)];
    random_commands(Kind::Basalt(2), &evicting);
}
