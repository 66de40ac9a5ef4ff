//! A full sync of a filled primary to an empty replica: how long it takes at rest; with clients that write, also what they notice of it
//! and what it costs the primary in memory.

use crate::common::node::Info;
use crate::common::{Kind, Node, proc};
use crate::load::{Until, Writers, fill};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, name};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(300);
/// How long the writers write before the sync begins, for their latencies without one.
const LEAD: Duration = Duration::from_secs(1);

const DIRECTIVES: &[(&str, &str)] = &[("repl-timeout", "60"), ("client-output-buffer-limit", "replica 0 0 0")];

/// An empty replica of this primary; how long until its link is up.
fn sync(primary: &Node, replica: Kind, load: &str) -> Result<(Instant, Instant), Error> {
    let replica = Node::start(replica, &[DIRECTIVES, &[("repl-diskless-load", load)]].concat());
    let start = Instant::now();
    replica.replicate(primary.port);
    loop {
        if Info::of(replica.port)?.link_up() {
            return Ok((start, Instant::now()));
        }
        if start.elapsed() > BOUND {
            return Err(format!("no link after {BOUND:?}; the replica's log:\n{}", replica.log()).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Default)]
struct Samples {
    rest_s: Vec<f64>,
    busy_s: Vec<f64>,
    before_p99: Vec<f64>,
    p99: Vec<f64>,
    worst: Vec<f64>,
    memory: Vec<f64>,
}

/// Peak resident bytes of a process while `run` runs.
fn peak<T>(pid: u32, run: impl FnOnce() -> T) -> (T, u64) {
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(proc::rss(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = run();
        stop.store(true, Ordering::Relaxed);
        (result, most.load(Ordering::Relaxed))
    })
}

/// A sync while clients write.
fn busy(primary: &Node, replica: Kind, options: &Options, samples: &mut Samples) -> Result<(), Error> {
    let stop = AtomicBool::new(false);
    let writers = Writers { port: primary.port, clients: options.clients, pipeline: 1, keys: options.keys };
    let pid = primary.server().pid();
    let before = proc::rss(pid);
    let (writes, begun, synced, most) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| writers.run(&Until::Told(&stop)).map_err(|e| e.to_string()));
        let begun = Instant::now();
        std::thread::sleep(LEAD);
        let (synced, most) = peak(pid, || sync(primary, replica, &options.load));
        stop.store(true, Ordering::Relaxed);
        let writes = writing.join().map_err(|_| "the writers have panicked")?;
        Ok::<_, Error>((writes?, begun, synced?, most))
    })?;
    let (lead, during) = (writes.latency(begun, synced.0), writes.latency(synced.0, synced.1));
    // What a child of a redis-server copied is in addition to the parent's pages; Basalt has no child, and says 0.
    let copied = primary.info().number("rdb_last_cow_size").max(0) as u64;
    samples.busy_s.push((synced.1 - synced.0).as_secs_f64());
    samples.before_p99.push(lead.p99_ms);
    samples.p99.push(during.p99_ms);
    samples.worst.push(during.worst_ms);
    samples.memory.push((most + copied) as f64 / before as f64);
    if during.count == 0 {
        return Err("nothing was answered during the sync".into());
    }
    Ok(())
}

pub fn run(options: &Options) -> Result<(), Error> {
    let basalt = Kind::Basalt(options.shards);
    let primaries = [Node::start(Kind::Redis, DIRECTIVES), Node::start(basalt, DIRECTIVES)];
    for primary in &primaries {
        fill(primary.port, options.keys)?;
    }
    let [redis, own] = &primaries;
    let pairs = [(redis, Kind::Redis), (own, basalt), (own, Kind::Redis), (redis, basalt)];
    let mut all: Vec<Samples> = pairs.iter().map(|_| Samples::default()).collect();
    for _ in 0..options.rounds {
        for ((primary, replica), samples) in pairs.iter().zip(&mut all) {
            let (from, to) = sync(primary, *replica, &options.load)?;
            samples.rest_s.push((to - from).as_secs_f64());
            busy(primary, *replica, options, samples)?;
        }
    }
    println!(
        "full sync of {} keys, replicas load {}, {} writers; {} rounds",
        options.keys, options.load, options.clients, options.rounds
    );
    let mut table = Table::new(&[
        "primary",
        "replica",
        "at rest s",
        "with writers s",
        "their p99 before ms",
        "during ms",
        "worst ms",
        "peak memory / before",
    ]);
    for ((primary, replica), samples) in pairs.iter().zip(&all) {
        table.row(vec![
            name(primary.kind),
            name(*replica),
            shown(median(&samples.rest_s), 2),
            shown(median(&samples.busy_s), 2),
            shown(median(&samples.before_p99), 2),
            shown(median(&samples.p99), 2),
            shown(median(&samples.worst), 1),
            shown(median(&samples.memory), 2),
        ]);
    }
    table.print(2);
    Ok(())
}
