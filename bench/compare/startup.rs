//! The time from start to the first PONG, and what a node does when nobody asks it anything.

use crate::peers::{Cpus, Kind, Peer, Setup};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, proc};
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(5);

struct Sample {
    pong_ms: f64,
    idle_percent: f64,
    wake_ups: f64,
    rss_mib: f64,
}

fn measure(peer: &Peer, shards: usize, idle: Duration) -> Result<Sample, Error> {
    let running = peer.start(&Setup { shards, cpus: Cpus::Any, core_endpoints: false })?;
    let (cpu, switches) = (proc::cpu(running.pid()), proc::voluntary_switches(running.pid()));
    std::thread::sleep(idle);
    let (cpu, switches) = (proc::cpu(running.pid()).since(cpu), proc::voluntary_switches(running.pid()) - switches);
    Ok(Sample {
        pong_ms: running.time_to_pong.as_secs_f64() * 1e3,
        idle_percent: cpu.total.as_secs_f64() / idle.as_secs_f64() * 100.0,
        wake_ups: switches as f64 / idle.as_secs_f64(),
        rss_mib: proc::rss(running.pid()) as f64 / (1 << 20) as f64,
    })
}

pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let idle = if options.quick { IDLE / 5 } else { IDLE };
    println!("{} rounds, {idle:?} idle each", options.rounds);
    let mut rows: Vec<(&Peer, usize, Vec<Sample>)> = Vec::new();
    for peer in peers {
        rows.push((peer, 1, Vec::new()));
        if peer.kind == Kind::Basalt {
            rows.push((peer, 2, Vec::new()));
        }
    }
    for _ in 0..options.rounds {
        for (peer, shards, samples) in &mut rows {
            samples.push(measure(peer, *shards, idle)?);
        }
    }
    let mut table = Table::new(&["server", "shards", "first PONG ms", "idle % of a core", "wake-ups/s", "RSS MiB"]);
    for (peer, shards, samples) in &rows {
        let column = |of: fn(&Sample) -> f64| median(&samples.iter().map(of).collect::<Vec<_>>());
        table.row(vec![
            peer.name.to_owned(),
            shards.to_string(),
            shown(column(|s| s.pong_ms), 1),
            shown(column(|s| s.idle_percent), 3),
            shown(column(|s| s.wake_ups), 1),
            shown(column(|s| s.rss_mib), 1),
        ]);
    }
    table.print(1);
    Ok(())
}
