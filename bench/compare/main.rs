//! Basalt beside every peer found on this machine: `cargo bench --bench compare -- [options]`.
//!
//! Method
//! - servers take turns within each round, and each figure is the median over all rounds, so that a machine that speeds up or
//!   slows down does it to all of them
//! - a fresh server for every run, filled with the same keys, and the same fixed number of requests for every server
//! - processor time is the server's own, from /proc, all threads: it says more than throughput where the generator is the limit
//!
//! Peers: `redis-server`, `valkey-server`, `pogocache` on PATH or named by REDIS_SERVER, VALKEY_SERVER, POGOCACHE; Basalt is
//! what cargo built, or BASALT_BIN. Load comes from `memtier_benchmark` (or MEMTIER), else `redis-benchmark`; requests over
//! keys with a common hash tag and MULTI blocks from a generator of its own (`rounds`).

mod growth;
mod large;
mod load;
mod memory;
mod peers;
mod pubsub;
mod rounds;
mod scenarios;
mod startup;
mod stats;
mod svg;
mod types;

// The raw client and the reader of /proc of the black-box tests.
#[path = "../../tests/common/conn.rs"]
#[allow(dead_code)]
mod conn;
#[path = "../../tests/common/proc.rs"]
#[allow(dead_code)]
mod proc;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::process::ExitCode;

pub type Error = Box<dyn std::error::Error>;

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u64).range(1..)).help(help)
    };
    Command::new("compare")
        .about("Measures Basalt beside the peers found on this machine")
        .arg(number("rounds", "Rounds a figure is the median of (default 5)"))
        .arg(number("requests", "Requests a run (default: 500000 times a factor for each scenario)"))
        .arg(number("seconds", "Runs of a fixed time instead of a fixed number of requests").conflicts_with("requests"))
        .arg(number("clients", "Connections (default 50)"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Only scenarios whose name contains this; may be repeated"),
        )
        .arg(flag("list", "List the scenarios"))
        .arg(flag("quick", "One round of a tenth of the requests: to see that everything works"))
        .arg(flag("syscalls", "Also count system calls a request, in runs of their own (perf, else strace)"))
        .arg(flag("memory", "Instead: bytes a key over key and value, for a million keys"))
        .arg(flag("growth", "Instead: pings while twenty million keys are inserted"))
        .arg(flag("pubsub", "Instead: messages to subscribers"))
        .arg(flag("types", "Instead: requests to large values of every type"))
        .arg(flag("type-memory", "Instead: bytes an element of values of every type"))
        .arg(flag("large", "Instead: pings while a set of ten million members goes away, or to a replica"))
        .arg(flag("startup", "Instead: time to the first PONG, processor use when idle"))
        .arg(number("keys", "Number of keys or elements for --memory, --growth, --types, --type-memory and --large"))
        // cargo bench passes this to every benchmark.
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
}

/// What the command line asks for.
pub struct Options {
    pub rounds: usize,
    pub requests: Option<u64>,
    pub seconds: Option<u64>,
    pub clients: u64,
    pub only: Vec<String>,
    pub quick: bool,
    pub syscalls: bool,
    pub keys: Option<u64>,
}

impl Options {
    fn of(matches: &ArgMatches) -> Options {
        let number = |name: &str| matches.get_one::<u64>(name).copied();
        let quick = matches.get_flag("quick");
        Options {
            rounds: number("rounds").unwrap_or(if quick { 1 } else { 5 }) as usize,
            requests: number("requests"),
            seconds: number("seconds"),
            clients: number("clients").unwrap_or(50),
            only: matches.get_many::<String>("only").map(|names| names.cloned().collect()).unwrap_or_default(),
            quick,
            syscalls: matches.get_flag("syscalls"),
            keys: number("keys"),
        }
    }
}

fn run(matches: &ArgMatches) -> Result<(), Error> {
    let options = Options::of(matches);
    if matches.get_flag("list") {
        scenarios::list();
        return Ok(());
    }
    let peers = peers::find()?;
    stats::print_machine();
    if matches.get_flag("memory") {
        return memory::run(&options, &peers);
    }
    if matches.get_flag("growth") {
        return growth::run(&options, &peers);
    }
    if matches.get_flag("pubsub") {
        return pubsub::run(&options, &peers);
    }
    if matches.get_flag("types") {
        return types::run(&options, &peers);
    }
    if matches.get_flag("type-memory") {
        return types::run_memory(&options, &peers);
    }
    if matches.get_flag("large") {
        return large::run(&options, &peers);
    }
    if matches.get_flag("startup") {
        return startup::run(&options, &peers);
    }
    scenarios::run(&options, &peers)
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    if !matches.get_flag("bench") {
        // `cargo test --all-targets` runs benchmarks too, and must not take minutes for it.
        println!("compare: nothing to do without --bench, which `cargo bench --bench compare` passes");
        return ExitCode::SUCCESS;
    }
    match run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare: {e}");
            ExitCode::FAILURE
        }
    }
}
