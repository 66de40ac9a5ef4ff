//! The time from the kill of a primary that is written to until a write is accepted again, under three Sentinels.

use crate::common::conn::{Conn, Reply};
use crate::common::sentinels::BOUND;
use crate::common::{Kind, Node, Sentinels, wait_until};
use crate::load::{Until, Writers};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, name};
use std::time::{Duration, Instant};

const KEYS: u64 = 10_000;
/// When a Sentinel takes a primary for down.
const DOWN_AFTER_MS: u32 = 1000;

/// Waits until one of the nodes takes a write.
fn first_write(nodes: &[Node]) -> Result<(), Error> {
    let start = Instant::now();
    while start.elapsed() < BOUND {
        for node in nodes {
            let mut conn = node.conn();
            if conn.send(&["SET", "after", "1"]).is_ok() && matches!(conn.read(), Ok(Reply::Simple(_))) {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("no node takes writes".into())
}

fn measure(kind: Kind) -> Result<f64, Error> {
    let mut primary = Node::start(kind, &[]);
    let replicas: Vec<Node> = (0..2).map(|_| Node::start(kind, &[])).collect();
    for replica in &replicas {
        replica.replicate(primary.port);
        wait_until("the replica's link is up", || replica.info().link_up());
    }
    let _sentinels = Sentinels::over(&primary, &replicas.iter().collect::<Vec<_>>(), DOWN_AFTER_MS);
    let writers = Writers { port: primary.port, clients: 4, pipeline: 1, keys: KEYS };
    std::thread::scope(|scope| {
        // They end with the primary, which is an error to them.
        scope.spawn(|| drop(writers.run(&Until::Sent(u64::MAX))));
        let mut conn = Conn::open(primary.port);
        conn.ok("SET there 1");
        wait_until("the writers write", || conn.cmd("DBSIZE").int() > 1000);
        primary.kill();
        let killed = Instant::now();
        first_write(&replicas)?;
        Ok(killed.elapsed().as_secs_f64())
    })
}

pub fn run(options: &Options) -> Result<(), Error> {
    let kinds = [Kind::Redis, Kind::Basalt(options.shards)];
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
    for _ in 0..options.rounds {
        for (kind, times) in kinds.iter().zip(&mut all) {
            times.push(measure(*kind)?);
        }
    }
    println!("three Sentinels, down-after-milliseconds 1000, two replicas; {} rounds", options.rounds);
    let mut table = Table::new(&["nodes", "kill to first write s", "fastest", "slowest"]);
    for (kind, times) in kinds.iter().zip(&all) {
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        table.row(vec![name(*kind), shown(median(times), 2), shown(least, 2), shown(most, 2)]);
    }
    table.print(1);
    Ok(())
}
