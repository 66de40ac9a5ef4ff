//! Pings while a key space grows: whoever moves a whole table at once shows it here.
//!
//! One client inserts as fast as the server takes it, in short pipelines; another pings every millisecond. Both share a
//! processor that the server does not use, so a part of each ping is the clients' own; it is the same part for every server.

use crate::conn::Conn;
use crate::peers::{Cpus, Peer, Running, Setup, fill, pin_this_thread, used_memory};
use crate::stats::{Table, percentile};
use crate::svg::{Line, lines};
use crate::{Error, Options, proc};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: u64 = 20_000_000;
const VALUE: [u8; 16] = [b'v'; 16];
const PING_EVERY: Duration = Duration::from_millis(1);
/// Points of the plot: the worst ping of each such part of the run.
const BINS: usize = 300;
/// What the hungriest peer takes for such a key, with room to spare.
const BYTES_A_KEY: u64 = 250;

/// A ping: when it was sent, and how long its reply took, both from the start of the run.
pub type Ping = (Duration, Duration);

/// Pings each millisecond until it is done.
pub fn ping_until(conn: &mut Conn, start: Instant, done: &AtomicBool) -> Result<Vec<Ping>, Error> {
    let mut pings = Vec::new();
    let mut next = Instant::now();
    while !done.load(Ordering::Relaxed) {
        next += PING_EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        conn.send(&["PING"])?;
        conn.read()?;
        pings.push((sent - start, sent.elapsed()));
        // Pings that a stall has made late are not made up for: they would only repeat it.
        next = next.max(sent);
    }
    Ok(pings)
}

fn measure(running: &Running, keys: u64) -> Result<(Duration, Vec<Ping>), Error> {
    let (mut inserting, mut pinging) = (running.conn()?, running.conn()?);
    let done = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| ping_until(&mut pinging, start, &done).map_err(|e| e.to_string()));
        let filled = fill(&mut inserting, keys, |i| format!("key:{i:016}"), &VALUE);
        let took = start.elapsed();
        done.store(true, Ordering::Relaxed);
        let pings = pings.join().map_err(|_| "the pinging thread has panicked")??;
        filled?;
        Ok((took, pings))
    })
}

/// The worst of each part of the run, in milliseconds over seconds.
fn worst_over_time(name: &str, pings: &[Ping]) -> Line {
    let end = pings.last().map_or(1.0, |p| p.0.as_secs_f64());
    let mut worst = vec![0f64; BINS];
    for (at, took) in pings {
        let bin = ((at.as_secs_f64() / end * BINS as f64) as usize).min(BINS - 1);
        worst[bin] = worst[bin].max(took.as_secs_f64() * 1e3);
    }
    let points = worst.into_iter().enumerate().map(|(bin, worst)| ((bin as f64 + 0.5) / BINS as f64 * end, worst));
    Line { name: name.to_owned(), points: points.filter(|p| p.1 > 0.0).collect() }
}

fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|l| l.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let keys = options.keys.unwrap_or(if options.quick { KEYS / 20 } else { KEYS });
    let needed = keys * BYTES_A_KEY;
    if available_memory() < needed {
        return Err(format!("{keys} keys may need {} MiB, which are not available; see --keys", needed >> 20).into());
    }
    pin_this_thread(1)?;
    println!("{keys} keys inserted while another client pings every {PING_EVERY:?}; server on CPU 0, clients on CPU 1");
    let mut table = Table::new(&[
        "server",
        "inserts/s",
        "pings",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "worst ms",
        "RSS MiB",
        "used MiB",
    ]);
    let mut plots = Vec::new();
    for peer in peers {
        let running = peer.start(&Setup { shards: 1, cpus: Cpus::Only(0), core_endpoints: false })?;
        let (took, pings) = measure(&running, keys)?;
        let mut sorted: Vec<u64> = pings.iter().map(|p| p.1.as_nanos() as u64).collect();
        sorted.sort_unstable();
        let at = |share: f64| format!("{:.0}", percentile(&sorted, share) as f64 / 1e3);
        let used = used_memory(&mut running.conn()?).map_or_else(|| "-".to_owned(), |bytes| (bytes >> 20).to_string());
        table.row(vec![
            peer.name.to_owned(),
            format!("{:.0}", keys as f64 / took.as_secs_f64()),
            pings.len().to_string(),
            at(0.5),
            at(0.99),
            at(0.999),
            format!("{:.2}", sorted.last().copied().unwrap_or(0) as f64 / 1e6),
            (proc::rss(running.pid()) >> 20).to_string(),
            used,
        ]);
        plots.push(worst_over_time(peer.name, &pings));
    }
    table.print(1);
    lines("growth.svg", "Worst ping while keys are inserted, ms", "over the time of the insertion; logarithmic", &plots)
}
