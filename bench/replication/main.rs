//! Replication beside redis-server's: `cargo bench --bench replication -- [options]`.
//!
//! Method
//! - groups take turns within each round, and each figure is the median over all rounds
//! - all primaries are filled before the first round and stay; replicas start empty, with `repl-diskless-sync yes` and no delay
//!   everywhere, and load as `--load` says everywhere
//! - a sync takes from REPLICAOF's reply until the replica says `master_link_status:up`
//! - memory of a primary is its resident set, and for a redis-server what its child copied on top, which that reports itself
//! - in steady state the primary has one processor, the replica has the others, and the load generator goes where there is time left.
//!   With few processors these three are short of them, and what a replica costs is what it takes away from the generator;
//!   `--primary-share` makes the primary the slowest part, as it is with a processor for each
//!
//! Basalt is what cargo built, or BASALT_TEST_SERVER; the peer is `redis-server`, or REDIS_SERVER (a valkey-server may be named).

mod failover;
mod load;
mod places;
mod steady;
mod sync;

// Starting nodes, the raw client and the reader of /proc of the black-box tests; medians and tables of the comparison.
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../compare/stats.rs"]
mod stats;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use common::Kind;
use std::process::ExitCode;

pub type Error = Box<dyn std::error::Error>;

pub const VALUE_BYTES: usize = 64;

/// What the command line asks for.
pub struct Options {
    pub rounds: usize,
    pub keys: u64,
    pub clients: usize,
    pub requests: u64,
    pub shards: usize,
    pub load: String,
    pub without_redis: bool,
    /// Percent of one processor.
    pub primary_share: Option<u64>,
}

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u64).range(1..)).help(help)
    };
    Command::new("replication")
        .about("Measures replication of Basalt and redis-server")
        .arg(number("rounds", "Rounds a figure is the median of (default 5)"))
        .arg(number("keys", "Keys of a full sync (default 1000000)"))
        .arg(number("clients", "Connections that write during a sync (default 50)"))
        .arg(number("requests", "Writes of a run in steady state (default 3000000)"))
        .arg(number("shards", "Shards of a Basalt in a sync (default: one for each processor)"))
        .arg(
            Arg::new("load")
                .long("load")
                .value_name("HOW")
                .default_value("on-empty-db")
                .help("repl-diskless-load of all replicas"),
        )
        .arg(flag("quick", "One round of small sizes: to see that everything works"))
        .arg(flag("sync", "Only: full syncs, at rest and with clients that write"))
        .arg(flag("steady", "Only: a write load with and without a replica"))
        .arg(
            number("primary-share", "Hold the primary's serving thread to N percent of a processor in steady state")
                .value_parser(value_parser!(u64).range(1..=90)),
        )
        .arg(flag("without-redis", "Leave redis-server out of the steady state: to compare two builds"))
        .arg(flag("failover", "Only: from the kill of a primary to the first write, under Sentinel"))
        // cargo bench passes this to every benchmark.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

impl Options {
    fn of(matches: &ArgMatches) -> Options {
        let quick = matches.get_flag("quick");
        let number = |name: &str, full: u64, small: u64| {
            matches.get_one::<u64>(name).copied().unwrap_or(if quick { small } else { full })
        };
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
        Options {
            rounds: number("rounds", 5, 1) as usize,
            keys: number("keys", 1_000_000, 50_000),
            clients: number("clients", 50, 50) as usize,
            requests: number("requests", 3_000_000, 200_000),
            shards: number("shards", processors, processors) as usize,
            without_redis: matches.get_flag("without-redis"),
            primary_share: matches.get_one::<u64>("primary-share").copied(),
            load: matches.get_one::<String>("load").cloned().unwrap_or_default(),
        }
    }
}

pub fn name(kind: Kind) -> String {
    match kind {
        Kind::Basalt(shards) => format!("basalt, {shards} shards"),
        Kind::Redis => "redis-server".to_owned(),
    }
}

fn run(matches: &ArgMatches) -> Result<(), Error> {
    let options = Options::of(matches);
    stats::print_machine();
    let only: Vec<&str> = ["sync", "steady", "failover"].into_iter().filter(|name| matches.get_flag(name)).collect();
    let wanted = |name: &str| only.is_empty() || only.contains(&name);
    if wanted("sync") {
        sync::run(&options)?;
    }
    if wanted("steady") {
        steady::run(&options)?;
    }
    if wanted("failover") {
        failover::run(&options)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    if !matches.get_flag("bench") {
        // `cargo test --all-targets` runs benchmarks too, and must not take minutes for it.
        println!("replication: nothing to do without --bench, which `cargo bench --bench replication` passes");
        return ExitCode::SUCCESS;
    }
    match run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("replication: {e}");
            ExitCode::FAILURE
        }
    }
}
