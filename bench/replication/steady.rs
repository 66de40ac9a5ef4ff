//! A write load at full speed: what one replica costs the primary, and what applying costs the replica.

use crate::common::{Kind, Node, proc};
use crate::load::{Until, Writers, fill};
use crate::places::{Places, hold, pin};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, name};
use std::time::{Duration, Instant};

const KEYS: u64 = 100_000;
const CONNECTIONS: usize = 8;
const PIPELINE: usize = 32;
const BOUND: Duration = Duration::from_secs(120);

const DIRECTIVES: &[(&str, &str)] =
    &[("repl-timeout", "60"), ("repl-backlog-size", "64mb"), ("client-output-buffer-limit", "replica 0 0 0")];

#[derive(Default)]
struct Samples {
    alone_rate: Vec<f64>,
    alone_cpu: Vec<f64>,
    rate: Vec<f64>,
    primary_cpu: Vec<f64>,
    replica_cpu: Vec<f64>,
    /// Of the thread that serves clients.
    serving_alone: Vec<f64>,
    serving: Vec<f64>,
    behind_ms: Vec<f64>,
}

/// The name of the thread that serves a node's clients; the rest of a node is on other processors where there are enough.
fn serving_thread(kind: Kind) -> &'static str {
    if kind == Kind::Redis { "redis-server" } else { "basalt-0-" }
}

fn serving(kind: Kind, node: &Node) -> Duration {
    proc::cpu_of_threads(node.server().pid(), serving_thread(kind))
}

fn measure(kind: Kind, options: &Options, samples: &mut Samples) -> Result<(), Error> {
    let (primary, replica) = (Node::start(kind, DIRECTIVES), Node::start(kind, DIRECTIVES));
    let places = Places::here();
    pin(primary.server().pid(), &places.primary)?;
    pin(replica.server().pid(), &places.replica)?;
    pin(std::process::id(), &places.generator)?;
    if let Some(percent) = options.primary_share {
        hold(primary.server().pid(), serving_thread(kind), percent)?;
    }
    fill(primary.port, KEYS)?;
    let writers = Writers { port: primary.port, clients: CONNECTIONS, pipeline: PIPELINE, keys: KEYS };
    let microseconds = |cpu: Duration, writes: u64| cpu.as_secs_f64() * 1e6 / writes as f64;

    let (cpu, served) = (primary.server().cpu(), serving(kind, &primary));
    let alone = writers.run(&Until::Sent(options.requests))?;
    samples.alone_rate.push(alone.requests as f64 / alone.took.as_secs_f64());
    samples.alone_cpu.push(microseconds(primary.server().cpu().since(cpu).total, alone.requests));
    samples.serving_alone.push(microseconds(serving(kind, &primary).saturating_sub(served), alone.requests));

    replica.replicate(primary.port);
    wait("the replica has its link up", || replica.info().link_up())?;
    let cpus = (primary.server().cpu(), replica.server().cpu());
    let served = serving(kind, &primary);
    let with = writers.run(&Until::Sent(options.requests))?;
    let (ended, offset) = (Instant::now(), primary.info().offset());
    wait("the replica has all", || replica.info().offset() >= offset)?;
    samples.behind_ms.push(ended.elapsed().as_secs_f64() * 1e3);
    samples.rate.push(with.requests as f64 / with.took.as_secs_f64());
    samples.serving.push(microseconds(serving(kind, &primary).saturating_sub(served), with.requests));
    samples.primary_cpu.push(microseconds(primary.server().cpu().since(cpus.0).total, with.requests));
    samples.replica_cpu.push(microseconds(replica.server().cpu().since(cpus.1).total, with.requests));
    if primary.info().number("sync_full") != 1 {
        return Err("the replica has lost its link".into());
    }
    Ok(())
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), Error> {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > BOUND {
            return Err(format!("gave up waiting until {what}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

pub fn run(options: &Options) -> Result<(), Error> {
    let mut kinds = vec![Kind::Redis, Kind::Basalt(1)];
    kinds.retain(|kind| *kind != Kind::Redis || !options.without_redis);
    let mut all: Vec<Samples> = kinds.iter().map(|_| Samples::default()).collect();
    for _ in 0..options.rounds {
        for (kind, samples) in kinds.iter().zip(&mut all) {
            measure(*kind, options, samples)?;
        }
    }
    if let Some(percent) = options.primary_share {
        println!("the primary's serving thread has {percent} % of a processor at most");
    }
    println!(
        "{} SETs of {} bytes over {CONNECTIONS} connections, {PIPELINE} at a time; {} rounds",
        options.requests,
        crate::VALUE_BYTES,
        options.rounds
    );
    let mut table = Table::new(&[
        "nodes",
        "alone SET/s",
        "with a replica",
        "of alone",
        "CPU alone us/SET",
        "primary",
        "replica",
        "serving thread alone",
        "with",
        "behind at the end ms",
    ]);
    for (kind, samples) in kinds.iter().zip(&all) {
        let (alone, with) = (median(&samples.alone_rate), median(&samples.rate));
        table.row(vec![
            name(*kind),
            shown(alone, 0),
            shown(with, 0),
            shown(with / alone, 2),
            shown(median(&samples.alone_cpu), 2),
            shown(median(&samples.primary_cpu), 2),
            shown(median(&samples.replica_cpu), 2),
            shown(median(&samples.serving_alone), 2),
            shown(median(&samples.serving), 2),
            shown(median(&samples.behind_ms), 1),
        ]);
    }
    table.print(1);
    Ok(())
}
