//! Bytes a key: a million 20-byte keys with 64-byte values, what the process and its own count grow by.

use crate::peers::{Cpus, Peer, Setup, fill, used_memory};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, proc};

const KEYS: u64 = 1_000_000;
const KEY_BYTES: u64 = 20;
const VALUE_BYTES: u64 = 64;

struct Sample {
    rss: f64,
    used: f64,
}

fn measure(peer: &Peer, keys: u64) -> Result<Sample, Error> {
    let running = peer.start(&Setup { shards: 1, cpus: Cpus::Any, core_endpoints: false })?;
    let mut conn = running.conn()?;
    let (rss, used) = (proc::rss(running.pid()), used_memory(&mut conn));
    fill(&mut conn, keys, |i| format!("key:{i:016}"), &[b'v'; VALUE_BYTES as usize])?;
    let (rss_after, used_after) = (proc::rss(running.pid()), used_memory(&mut conn));
    let a_key = |bytes: u64| bytes as f64 / keys as f64;
    Ok(Sample {
        rss: a_key(rss_after.saturating_sub(rss)),
        used: used.zip(used_after).map_or(f64::NAN, |(before, after)| a_key(after.saturating_sub(before))),
    })
}

pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let keys = options.keys.unwrap_or(if options.quick { KEYS / 10 } else { KEYS });
    let data = (KEY_BYTES + VALUE_BYTES) as f64;
    println!("{keys} keys of {KEY_BYTES} bytes with values of {VALUE_BYTES}, {} rounds", options.rounds);
    let mut samples: Vec<Vec<Sample>> = peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (peer, samples) in peers.iter().zip(&mut samples) {
            samples.push(measure(peer, keys)?);
        }
    }
    let mut table = Table::new(&["server", "RSS bytes/key", "over data", "used_memory bytes/key", "over data"]);
    for (peer, samples) in peers.iter().zip(&samples) {
        let rss = median(&samples.iter().map(|s| s.rss).collect::<Vec<_>>());
        let used = median(&samples.iter().map(|s| s.used).collect::<Vec<_>>());
        let cells = [peer.name.to_owned(), shown(rss, 1), shown(rss - data, 1), shown(used, 1), shown(used - data, 1)];
        table.row(cells.to_vec());
    }
    table.print(1);
    Ok(())
}
