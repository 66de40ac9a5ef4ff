//! Pings while a set of ten million members is deleted, expires, is flushed, and goes to a replica: whoever does that in one go shows it here.
//!
//! The server has one processor, clients and the replica the other. A pinging client shares that with the replica, so its own waits are in the
//! figures of the last row, for every server alike.

use crate::conn::Conn;
use crate::growth::ping_until;
use crate::peers::{Cpus, Peer, Running, Setup, pin_this_thread};
use crate::stats::{Table, percentile};
use crate::types::fill;
use crate::{Error, Options};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MEMBERS: u64 = 10_000_000;
/// Pings go on for so long behind the end of what is watched: freeing does.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// A replica that has not come so far has failed.
const BOUND: Duration = Duration::from_secs(300);

const CASES: [&str; 5] = ["DEL", "UNLINK", "expiry", "FLUSHALL", "replica"];

fn ask(conn: &mut Conn, line: &str) -> Result<String, Error> {
    conn.send(&line.split(' ').collect::<Vec<_>>())?;
    let reply = conn.read()?;
    if reply.is_error() { Err(format!("{line}: {reply:?}").into()) } else { Ok(format!("{reply:?}")) }
}

fn wait_for(conn: &mut Conn, line: &str, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    let start = Instant::now();
    while !wanted(&ask(conn, line)?) {
        if start.elapsed() > BOUND {
            return Err(format!("{line} does not say what it should").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn act(case: &str, conn: &mut Conn, running: &Running, peer: &Peer) -> Result<(), Error> {
    match case {
        "expiry" => {
            ask(conn, "PEXPIRE big 50")?;
            wait_for(conn, "DBSIZE", |reply| reply == ":0")?;
        }
        "FLUSHALL" => drop(ask(conn, "FLUSHALL ASYNC")?),
        "replica" => {
            let replica = peer.start(&Setup { shards: 1, cpus: Cpus::Only(1), core_endpoints: false })?;
            let mut other = replica.conn()?;
            ask(&mut other, &format!("REPLICAOF 127.0.0.1 {}", running.port))?;
            wait_for(&mut other, "INFO replication", |reply| reply.contains("master_link_status:up"))?;
        }
        command => drop(ask(conn, &format!("{command} big"))?),
    }
    Ok(())
}

/// Every ping in nanoseconds, sorted, and how long the whole took.
fn measure(case: &str, peer: &Peer, members: u64) -> Result<(Vec<u64>, Duration), Error> {
    let running = peer.start(&Setup { shards: 1, cpus: Cpus::Only(0), core_endpoints: false })?;
    let (mut acting, mut pinging) = (running.conn()?, running.conn()?);
    fill(&mut acting, "SADD big member:N", members)?;
    if ask(&mut acting, "CONFIG GET repl-diskless-sync-delay")?.contains("repl-diskless-sync-delay") {
        ask(&mut acting, "CONFIG SET repl-diskless-sync-delay 0")?;
    }
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (pings, took) = std::thread::scope(|scope| {
        let pings = scope.spawn(|| ping_until(&mut pinging, start, &done).map_err(|e| e.to_string()));
        let acted = act(case, &mut acting, &running, peer);
        let took = start.elapsed();
        std::thread::sleep(AFTERWARDS);
        done.store(true, Ordering::Relaxed);
        let pings = pings.join().map_err(|_| "the pinging thread has panicked")??;
        acted?;
        Ok::<_, Error>((pings, took))
    })?;
    let mut sorted: Vec<u64> = pings.iter().map(|(_, took)| took.as_nanos() as u64).collect();
    sorted.sort_unstable();
    Ok((sorted, took))
}

/// `--large`
pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let members = options.keys.unwrap_or(if options.quick { MEMBERS / 20 } else { MEMBERS });
    pin_this_thread(1)?;
    println!("a set of {members} members; pings each millisecond until half a second behind the end\n");
    let mut table = Table::new(&["case", "server", "took ms", "pings", "p50 µs", "p99 µs", "worst ms"]);
    let peers = peers.iter().filter(|peer| peer.kind != crate::peers::Kind::Pogocache);
    for case in CASES {
        for peer in peers.clone() {
            let (sorted, took) = measure(case, peer, members)?;
            let at = |share: f64| format!("{:.0}", percentile(&sorted, share) as f64 / 1e3);
            let worst = sorted.last().copied().unwrap_or(0) as f64 / 1e6;
            table.row(vec![
                case.to_owned(),
                peer.name.to_owned(),
                took.as_millis().to_string(),
                sorted.len().to_string(),
                at(0.5),
                at(0.99),
                format!("{worst:.2}"),
            ]);
        }
    }
    table.print(2);
    Ok(())
}
