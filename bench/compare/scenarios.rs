//! The runs under load: what is measured, and the table and plot of it.

use crate::load::{Amount, Generator, Job, KEYS, Load, Mix, VALUE_BYTES};
use crate::peers::{Cpus, Kind, Peer, Running, Setup, fill};
use crate::rounds::{Kind as RoundKind, Round};
use crate::stats::{Table, median, shown};
use crate::svg::{Bar, Group, bars};
use crate::{Error, Options, proc};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Scenario {
    name: &'static str,
    what: &'static str,
    shards: usize,
    server: Cpus,
    generator: Cpus,
    pipeline: u64,
    mix: Mix,
    endpoints: bool,
    /// Times the base number of requests, so that runs take about equally long.
    factor: u64,
}

const BASE_REQUESTS: u64 = 500_000;

const PINNED: Scenario = Scenario {
    name: "",
    what: "",
    shards: 1,
    server: Cpus::Only(0),
    generator: Cpus::Only(1),
    pipeline: 1,
    mix: Mix::SetGet,
    endpoints: false,
    factor: 1,
};

const TWO: Scenario = Scenario { shards: 2, server: Cpus::Any, generator: Cpus::Any, ..PINNED };

/// One shard beside one thread of load, and two shards beside it.
const fn round(name: &'static str, what: &'static str, kind: RoundKind, tagged: bool, on: Scenario) -> Scenario {
    Scenario { name, what, mix: Mix::Round(Round { kind, tagged }), ..on }
}

const SCENARIOS: [Scenario; 15] = [
    Scenario { name: "one-p1", what: "1 shard on CPU 0, load on CPU 1, pipeline 1", ..PINNED },
    Scenario { name: "one-p16", what: "the same, pipeline 16", pipeline: 16, factor: 6, ..PINNED },
    Scenario { name: "two-p1", what: "2 shards, nothing pinned, pipeline 1", ..TWO },
    Scenario { name: "two-p16", what: "the same, pipeline 16", pipeline: 16, factor: 6, ..TWO },
    Scenario {
        name: "endpoints-p1",
        what: "2 shards with core endpoints, cluster client, pipeline 1",
        endpoints: true,
        ..TWO
    },
    Scenario { name: "endpoints-p16", what: "the same, pipeline 16", pipeline: 16, factor: 6, endpoints: true, ..TWO },
    Scenario {
        name: "multi-one",
        what: "MSET and MGET of 10 keys, 1 shard pinned, pipeline 1",
        mix: Mix::Multi,
        ..PINNED
    },
    Scenario { name: "multi-two", what: "MSET and MGET of 10 keys, 2 shards, pipeline 1", mix: Mix::Multi, ..TWO },
    round("mset-two", "MSET of 10 random keys, 2 shards, pipeline 1", RoundKind::MSet, false, TWO),
    round("mget-two", "MGET of 10 random keys, 2 shards, pipeline 1", RoundKind::MGet, false, TWO),
    round("mset-tag", "MSET of 10 keys with one hash tag, 2 shards, pipeline 1", RoundKind::MSet, true, TWO),
    round("mget-tag", "MGET of 10 keys with one hash tag, 2 shards, pipeline 1", RoundKind::MGet, true, TWO),
    round(
        "block-tag",
        "MULTI, 10 commands, EXEC on one hash tag, 2 shards; a block is a request",
        RoundKind::Block,
        true,
        TWO,
    ),
    round("block-two", "the same on 10 random keys", RoundKind::Block, false, TWO),
    round("block-one", "the same with 1 shard pinned", RoundKind::Block, true, PINNED),
];

pub fn list() {
    for scenario in &SCENARIOS {
        println!("{:<14} {}", scenario.name, scenario.what);
    }
}

/// One run of one server: the load's report and what the server took for it.
#[derive(Clone, Copy)]
struct Sample {
    load: Load,
    cpu_us: f64,
    /// The part of the processor time that was the server's own code; the rest was the kernel's.
    user_share: f64,
    rss_mib: f64,
}

struct Row<'a> {
    scenario: &'static Scenario,
    peer: &'a Peer,
    samples: Vec<Sample>,
    calls: Option<Calls>,
}

impl Row<'_> {
    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        median(&self.samples.iter().map(of).collect::<Vec<_>>())
    }
}

impl Scenario {
    fn setup(&self) -> Setup {
        Setup { shards: self.shards, cpus: self.server, core_endpoints: self.endpoints }
    }

    /// Only Basalt has core endpoints, and Pogocache has no transactions.
    fn is_for(&self, peer: &Peer) -> bool {
        let only_redis_likes = matches!(self.mix, Mix::Round(_));
        (!self.endpoints || peer.kind == Kind::Basalt) && !(only_redis_likes && peer.kind == Kind::Pogocache)
    }

    fn amount(&self, options: &Options) -> Amount {
        match (options.seconds, options.requests) {
            (Some(seconds), _) => Amount::Seconds(seconds),
            (None, Some(requests)) => Amount::Requests(requests),
            (None, None) => Amount::Requests(BASE_REQUESTS * self.factor / if options.quick { 10 } else { 1 }),
        }
    }

    fn job(&self, port: u16, options: &Options) -> Job {
        Job {
            port,
            clients: options.clients,
            pipeline: self.pipeline,
            mix: self.mix,
            amount: self.amount(options),
            nodes: self.endpoints.then_some(self.shards),
            cpus: self.generator,
        }
    }
}

fn start_filled(scenario: &Scenario, peer: &Peer, generator: &Generator) -> Result<Running, Error> {
    let running = peer.start(&scenario.setup())?;
    fill(&mut running.conn()?, KEYS, |i| generator.key(scenario.mix, i), &[b'x'; VALUE_BYTES])?;
    Ok(running)
}

fn measure(scenario: &Scenario, peer: &Peer, generator: &Generator, options: &Options) -> Result<Sample, Error> {
    let running = start_filled(scenario, peer, generator)?;
    let before = proc::cpu(running.pid());
    let load = generator.run(&scenario.job(running.port, options))?;
    let cpu = proc::cpu(running.pid()).since(before);
    let ticks = (cpu.user + cpu.sys).as_secs_f64();
    Ok(Sample {
        load,
        cpu_us: cpu.total.as_secs_f64() * 1e6 / load.requests,
        user_share: if ticks > 0.0 { cpu.user.as_secs_f64() / ticks } else { f64::NAN },
        rss_mib: proc::rss(running.pid()) as f64 / (1 << 20) as f64,
    })
}

pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let generator = Generator::find()?;
    let chosen: Vec<&'static Scenario> = SCENARIOS
        .iter()
        .filter(|s| options.only.is_empty() || options.only.iter().any(|name| s.name.contains(name.as_str())))
        .filter(|s| generator.can_do(s.endpoints.then_some(s.shards)))
        .collect();
    if chosen.is_empty() {
        return Err("no scenario of that name; --list shows them".into());
    }
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    if cpus < 2 {
        return Err("server and load need a processor each; this machine has one".into());
    }
    println!(
        "{} rounds, {}, {} connections, {KEYS} keys, {VALUE_BYTES}-byte values, SET:GET 1:10\n",
        options.rounds,
        generator.name(),
        options.clients
    );
    let mut rows: Vec<Row> = Vec::new();
    for &scenario in &chosen {
        rows.extend(peers.iter().filter(|p| scenario.is_for(p)).map(|peer| Row {
            scenario,
            peer,
            samples: Vec::new(),
            calls: None,
        }));
    }
    for round in 1..=options.rounds {
        for row in &mut rows {
            let sample = measure(row.scenario, row.peer, &generator, options)?;
            println!(
                "round {round}: {:<14} {:<10} {:>9.0} ops/s, {:.2} µs of CPU a request",
                row.scenario.name, row.peer.name, sample.load.per_second, sample.cpu_us
            );
            row.samples.push(sample);
        }
    }
    if options.syscalls {
        for row in &mut rows {
            let running = start_filled(row.scenario, row.peer, &generator)?;
            row.calls = count_calls(&running, || generator.run(&row.scenario.job(running.port, options)))?;
        }
    }
    print(&rows, options);
    plot(&rows)
}

fn print(rows: &[Row], options: &Options) {
    let mut head = vec![
        "scenario",
        "server",
        "ops/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "CPU µs/req",
        "user",
        "sys",
        "of redis",
        "RSS MiB",
    ];
    if options.syscalls {
        head.extend(["calls/req", "io_uring_enter/req"]);
    }
    let mut table = Table::new(&head);
    for row in rows {
        let cpu = row.median(|s| s.cpu_us);
        let user = row.median(|s| s.user_share) * cpu;
        let redis = rows.iter().find(|r| r.scenario.name == row.scenario.name && r.peer.name == "redis");
        let ratio = redis.map_or(f64::NAN, |redis| cpu / redis.median(|s| s.cpu_us));
        let mut cells = vec![
            row.scenario.name.to_owned(),
            row.peer.name.to_owned(),
            shown(row.median(|s| s.load.per_second), 0),
            shown(row.median(|s| s.load.p50 * 1000.0), 0),
            shown(row.median(|s| s.load.p99 * 1000.0), 0),
            shown(row.median(|s| s.load.p999 * 1000.0), 0),
            shown(cpu, 2),
            shown(user, 2),
            shown(cpu - user, 2),
            shown(ratio, 2),
            shown(row.median(|s| s.rss_mib), 1),
        ];
        if options.syscalls {
            cells.push(shown(row.calls.map_or(f64::NAN, |c| c.all), 3));
            cells.push(shown(row.calls.map_or(f64::NAN, |c| c.io_uring_enter), 3));
        }
        table.row(cells);
    }
    table.print(2);
    for scenario in &SCENARIOS {
        if rows.iter().any(|row| row.scenario.name == scenario.name) {
            println!("{:<14} {}", scenario.name, scenario.what);
        }
    }
}

fn plot(rows: &[Row]) -> Result<(), Error> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        if groups.last().is_none_or(|group| group.name != row.scenario.name) {
            groups.push(Group { name: row.scenario.name.to_owned(), bars: Vec::new() });
        }
        let cpu = row.median(|s| s.cpu_us);
        let user = row.median(|s| s.user_share);
        let user = if user.is_finite() { user * cpu } else { cpu };
        if let Some(group) = groups.last_mut() {
            group.bars.push(Bar { name: row.peer.name.to_owned(), parts: [user, cpu - user] });
        }
    }
    let note = "median over the rounds; dark: user, light: system";
    bars("compare.svg", "CPU µs per request", note, &groups)
}

/// System calls a request.
#[derive(Clone, Copy)]
struct Calls {
    all: f64,
    /// NaN where the tool counts only the sum.
    io_uring_enter: f64,
}

/// Counts the server's system calls while the load runs: by perf, which costs little, else by strace.
fn count_calls(running: &Running, load: impl Fn() -> Result<Load, Error>) -> Result<Option<Calls>, Error> {
    let pid = running.pid().to_string();
    let events = "raw_syscalls:sys_enter,syscalls:sys_enter_io_uring_enter";
    let perf = Command::new("perf").args(["stat", "-x", ",", "-e", events, "-p", &pid]).stderr(Stdio::piped()).spawn();
    if let Some((said, load)) = under(perf.ok(), &load)? {
        let count = |event: &str| {
            let line = said.lines().find(|line| line.contains(event))?;
            line.split(',').next()?.parse::<f64>().ok()
        };
        if let Some(all) = count("raw_syscalls:sys_enter") {
            let enter = count("sys_enter_io_uring_enter").unwrap_or(f64::NAN);
            return Ok(Some(Calls { all: all / load.requests, io_uring_enter: enter / load.requests }));
        }
    }
    let strace = Command::new("strace").args(["-c", "-f", "-p", &pid]).stderr(Stdio::piped()).spawn();
    if let Some((said, load)) = under(strace.ok(), &load)? {
        // Columns: % time, seconds, µs/call, calls, errors (may be empty), name.
        let count = |name: &str| {
            let line = said.lines().find(|line| line.trim_end().ends_with(name))?;
            line.split_whitespace().nth(3)?.parse::<f64>().ok()
        };
        if let Some(all) = count(" total") {
            let enter = count(" io_uring_enter").unwrap_or(0.0);
            return Ok(Some(Calls { all: all / load.requests, io_uring_enter: enter / load.requests }));
        }
    }
    println!("system calls are not counted: neither perf nor strace works here");
    Ok(None)
}

/// Runs the load while a tracer watches, then ends the tracer and takes what it says.
fn under(tracer: Option<Child>, load: impl Fn() -> Result<Load, Error>) -> Result<Option<(String, Load)>, Error> {
    const ATTACH_TIME: Duration = Duration::from_millis(500);
    let Some(mut tracer) = tracer else { return Ok(None) };
    // Nothing tells when a tracer has attached; what it misses of some seconds of load does not matter.
    std::thread::sleep(ATTACH_TIME);
    if tracer.try_wait()?.is_some() {
        return Ok(None);
    }
    let load = load();
    // SAFETY: kill only takes numbers; the tracer has not been waited for.
    unsafe { libc::kill(tracer.id() as libc::pid_t, libc::SIGINT) };
    let out = tracer.wait_with_output()?;
    Ok(Some((String::from_utf8_lossy(&out.stderr).into_owned(), load?)))
}
