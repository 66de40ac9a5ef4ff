//! The load generators: how they are called and what they report.

use crate::Error;
use crate::peers::{Cpus, pin, program};
use crate::rounds::{self, Round};
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub const KEYS: u64 = 100_000;
pub const VALUE_BYTES: usize = 64;
/// How many keys an MGET or MSET of the multi-key mix names.
pub const KEYS_A_COMMAND: usize = 10;

pub enum Generator {
    Memtier(PathBuf),
    RedisBenchmark(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// SET and GET, 1 to 10.
    SetGet,
    /// MSET and MGET of ten keys, 1 to 10.
    Multi,
    /// By our own generator.
    Round(Round),
}

pub enum Amount {
    Requests(u64),
    Seconds(u64),
}

pub struct Job {
    pub port: u16,
    pub clients: u64,
    pub pipeline: u64,
    pub mix: Mix,
    pub amount: Amount,
    /// The number of cluster nodes, for a load in cluster mode.
    pub nodes: Option<usize>,
    pub cpus: Cpus,
}

/// What one run gave. Latencies in milliseconds; NaN where the generator does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub requests: f64,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Generator {
    pub fn find() -> Result<Generator, Error> {
        if let Some(path) = program("MEMTIER", "memtier_benchmark") {
            return Ok(Generator::Memtier(path));
        }
        match program("REDIS_BENCHMARK", "redis-benchmark") {
            Some(path) => {
                println!("no memtier_benchmark: redis-benchmark sends GETs only, and reports no p99.9");
                Ok(Generator::RedisBenchmark(path))
            }
            None => Err("neither memtier_benchmark nor redis-benchmark is on PATH (or named by MEMTIER)".into()),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Generator::Memtier(_) => "memtier_benchmark",
            Generator::RedisBenchmark(_) => "redis-benchmark",
        }
    }

    /// The keys that its load will ask for.
    pub fn key(&self, mix: Mix, number: u64) -> String {
        match (self, mix) {
            (_, Mix::Round(round)) => round.key(number),
            (Generator::Memtier(_), _) => format!("memtier-{}", number + 1),
            (Generator::RedisBenchmark(_), _) => format!("key:{number:012}"),
        }
    }

    pub fn can_do(&self, job_nodes: Option<usize>) -> bool {
        matches!(self, Generator::Memtier(_)) || job_nodes.is_none()
    }

    pub fn run(&self, job: &Job) -> Result<Load, Error> {
        if let Mix::Round(round) = job.mix {
            return rounds::run(round, job);
        }
        let mut command = match self {
            Generator::Memtier(path) => memtier(path, job),
            Generator::RedisBenchmark(path) => redis_benchmark(path, job),
        };
        pin(&mut command, job.cpus);
        let out = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", self.name()))?;
        let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let load = match self {
            Generator::Memtier(_) => read_memtier(&said, &errors),
            Generator::RedisBenchmark(_) => read_redis_benchmark(&said, planned(job) as f64),
        };
        match load {
            Some(load) if out.status.success() => Ok(load),
            _ => Err(format!("{} failed ({}):\n{said}\n{errors}", self.name(), out.status).into()),
        }
    }
}

fn memtier(path: &PathBuf, job: &Job) -> Command {
    let mut command = Command::new(path);
    // In cluster mode each client holds a connection to every node.
    let clients = (job.clients / job.nodes.unwrap_or(1) as u64).max(1);
    command.args(["-s", "127.0.0.1", "-p", &job.port.to_string(), "-t", "1", "-c", &clients.to_string()]);
    command.args(["-d", &VALUE_BYTES.to_string(), "--key-minimum", "1", "--key-maximum", &KEYS.to_string()]);
    command.args(["--pipeline", &job.pipeline.to_string(), "--hide-histogram", "--print-percentiles", "50,99,99.9"]);
    // Each client draws keys of its own; without it all fifty ask for the same ones in step.
    command.arg("--distinct-client-seed");
    match job.mix {
        Mix::SetGet => {
            command.args(["--ratio", "1:10"]);
        }
        Mix::Multi => {
            let set = format!("MSET{}", " __key__ __data__".repeat(KEYS_A_COMMAND));
            let get = format!("MGET{}", " __key__".repeat(KEYS_A_COMMAND));
            command.args(["--command", &set, "--command-ratio", "1", "--command-key-pattern", "R"]);
            command.args(["--command", &get, "--command-ratio", "10", "--command-key-pattern", "R"]);
        }
        Mix::Round(_) => unreachable!("our own generator's"),
    }
    match job.amount {
        Amount::Requests(total) => command.args(["-n", &(total / clients).max(1).to_string()]),
        Amount::Seconds(seconds) => command.args(["--test-time", &seconds.to_string()]),
    };
    if job.nodes.is_some() {
        command.arg("--cluster-mode");
    }
    command
}

/// The totals: requests and rate from the last progress line, which is right for every kind of command, latencies from the table.
fn read_memtier(said: &str, progress: &str) -> Option<Load> {
    let last = progress.rsplit(['\r', '\n']).find(|line| line.contains(" ops/sec"))?;
    let requests = last.split(" ops,").next()?.rsplit(' ').find(|w| !w.is_empty())?.parse().ok()?;
    let per_second = last.split("(avg:").nth(1)?.split(')').next()?.trim().parse().ok()?;
    let head = said.lines().find(|line| line.starts_with("Type "))?;
    // Column titles are of two words ("p99 Latency"), parted by two blanks or more.
    let columns: Vec<&str> = head.split("  ").map(str::trim).filter(|title| !title.is_empty()).collect();
    let totals: Vec<&str> = said.lines().find(|line| line.starts_with("Totals"))?.split_whitespace().collect();
    let column = |title: &str| {
        let at = columns.iter().position(|&c| c == title)?;
        totals.get(at)?.parse::<f64>().ok()
    };
    Some(Load {
        requests,
        per_second,
        p50: column("p50 Latency")?,
        p99: column("p99 Latency")?,
        p999: column("p99.9 Latency")?,
    })
}

/// redis-benchmark has no ratio and no fixed time: GETs of random keys, `Amount::Seconds` taken as 100 000 a second.
fn redis_benchmark(path: &PathBuf, job: &Job) -> Command {
    let mut command = Command::new(path);
    command.args(["-h", "127.0.0.1", "-p", &job.port.to_string(), "-c", &job.clients.to_string()]);
    command.args(["-P", &job.pipeline.to_string(), "-r", &KEYS.to_string(), "-d", &VALUE_BYTES.to_string()]);
    command.args(["-n", &planned(job).to_string(), "--csv"]);
    match job.mix {
        Mix::SetGet => command.args(["-t", "get"]),
        Mix::Multi => command.arg("MGET").args(["key:__rand_int__"; KEYS_A_COMMAND]),
        Mix::Round(_) => unreachable!("our own generator's"),
    };
    command
}

fn planned(job: &Job) -> u64 {
    match job.amount {
        Amount::Requests(total) => total,
        Amount::Seconds(seconds) => seconds * 100_000,
    }
}

/// What it printed of a run of so many requests.
pub fn read_redis_benchmark(said: &str, requests: f64) -> Option<Load> {
    let fields: Vec<f64> = said
        .lines()
        .filter(|line| !line.starts_with("\"test\""))
        .find_map(|line| line.split("\",\"").skip(1).map(|n| n.trim_matches('"').parse().ok()).collect())?;
    // rate, then latencies: average, minimum, p50, p95, p99, maximum.
    let &[per_second, _, _, p50, _, p99, ..] = fields.as_slice() else { return None };
    Some(Load { requests, per_second, p50, p99, p999: f64::NAN })
}
