//! A load generator for what the others cannot express: commands over ten keys that share a hash tag or do not, and MULTI blocks.
//!
//! One thread, many connections, each with one request under way. A request is all that is written before a reply is waited for, so a
//! whole block counts as one. Requests are made beforehand, and a reply is known to be there by its length: it is the same for every
//! request of a load, since all keys are there and all values are equally long.

use crate::Error;
use crate::conn::{Conn, Reply, encode_into, wait_readable};
use crate::load::{Amount, Job, KEYS, KEYS_A_COMMAND, Load, VALUE_BYTES};
use crate::peers::{Cpus, pin_this_thread};
use crate::stats::percentile;
use std::time::{Duration, Instant};

/// Different requests made beforehand; connections walk through them from places of their own.
const REQUESTS: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MSet,
    MGet,
    /// MULTI, five GETs and five SETs, EXEC, written at once.
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    pub kind: Kind,
    /// Whether the keys of a request have one hash tag.
    pub tagged: bool,
}

/// SplitMix64, as every run shall ask for the same keys.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

impl Round {
    /// The keys that its load will ask for; ten in a row have one tag.
    pub fn key(&self, number: u64) -> String {
        if self.tagged {
            format!("{{{}}}:{number:06}", number / KEYS_A_COMMAND as u64)
        } else {
            format!("key:{number:08}")
        }
    }

    fn request(&self, random: &mut Random, value: &str) -> Vec<u8> {
        let group = random.below(KEYS / KEYS_A_COMMAND as u64) * KEYS_A_COMMAND as u64;
        let keys: Vec<String> = (0..KEYS_A_COMMAND as u64)
            .map(|i| self.key(if self.tagged { group + i } else { random.below(KEYS) }))
            .collect();
        let mut bytes = Vec::new();
        match self.kind {
            Kind::MGet => encode_into(&mut bytes, &[&["MGET".to_owned()], keys.as_slice()].concat()),
            Kind::MSet => {
                let pairs = keys.iter().flat_map(|key| [key.as_str(), value]);
                encode_into(&mut bytes, &["MSET"].into_iter().chain(pairs).collect::<Vec<_>>());
            }
            Kind::Block => {
                encode_into(&mut bytes, &["MULTI"]);
                for (i, key) in keys.iter().enumerate() {
                    match i % 2 {
                        0 => encode_into(&mut bytes, &["SET", key, value]),
                        _ => encode_into(&mut bytes, &["GET", key]),
                    }
                }
                encode_into(&mut bytes, &["EXEC"]);
            }
        }
        bytes
    }

    /// How many replies a request gets.
    fn replies(&self) -> usize {
        match self.kind {
            Kind::MSet | Kind::MGet => 1,
            Kind::Block => KEYS_A_COMMAND + 2,
        }
    }

    /// Sends one request and looks at its replies; how long they are.
    fn try_out(&self, conn: &mut Conn, request: &[u8]) -> Result<usize, Error> {
        conn.send_raw(request)?;
        let mut length = 0;
        let mut last = Reply::Null;
        for _ in 0..self.replies() {
            let (reply, bytes) = conn.read_raw()?;
            length += bytes.len();
            last = reply;
        }
        let values = |items: &[Reply]| items.iter().filter(|item| matches!(item, Reply::Bulk(_))).count();
        let good = match (self.kind, &last) {
            (Kind::MSet, reply) => *reply == Reply::Simple(b"OK".to_vec()),
            (Kind::MGet, Reply::Array(items)) => values(items) == KEYS_A_COMMAND,
            (Kind::Block, Reply::Array(items)) => values(items) == KEYS_A_COMMAND / 2,
            _ => false,
        };
        if good { Ok(length) } else { Err(format!("{self:?} was answered with {last:?}").into()) }
    }
}

struct Client {
    conn: Conn,
    /// The next request.
    at: usize,
    sent: Instant,
    missing: usize,
}

/// Runs the load in a thread of its own, on the processor that the job names.
pub fn run(round: Round, job: &Job) -> Result<Load, Error> {
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            if let Cpus::Only(cpu) = job.cpus {
                pin_this_thread(cpu).map_err(|e| e.to_string())?;
            }
            drive(round, job).map_err(|e| e.to_string())
        });
        Ok(load.join().map_err(|_| "the load generator has panicked")??)
    })
}

fn drive(round: Round, job: &Job) -> Result<Load, Error> {
    let mut random = Random(1);
    let value = "y".repeat(VALUE_BYTES);
    let requests: Vec<Vec<u8>> = (0..REQUESTS).map(|_| round.request(&mut random, &value)).collect();
    let mut conn = Conn::try_open(&format!("127.0.0.1:{}", job.port))?;
    let length = round.try_out(&mut conn, &requests[0])?;
    let start = Instant::now();
    let mut clients = Vec::new();
    for i in 0..job.clients as usize {
        let conn = Conn::try_open(&format!("127.0.0.1:{}", job.port))?;
        clients.push(Client { conn, at: i * REQUESTS / job.clients as usize, sent: start, missing: 0 });
    }
    let going = |sent: u64| match job.amount {
        Amount::Requests(total) => sent < total,
        Amount::Seconds(seconds) => start.elapsed() < Duration::from_secs(seconds),
    };
    let mut latencies: Vec<u64> = Vec::new();
    let mut sent = 0;
    let fds: Vec<_> = clients.iter().map(|client| client.conn.fd()).collect();
    loop {
        for client in clients.iter_mut().filter(|client| client.missing == 0) {
            if !going(sent) {
                break;
            }
            client.sent = Instant::now();
            client.conn.send_raw(&requests[client.at % REQUESTS])?;
            (client.at, client.missing) = (client.at + 1, length);
            sent += 1;
        }
        if clients.iter().all(|client| client.missing == 0) {
            break;
        }
        let ready = wait_readable(&fds, PATIENCE)?;
        if !ready.contains(&true) {
            return Err(format!("no reply for {PATIENCE:?}").into());
        }
        for (client, _) in clients.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let got = client.conn.skip()?;
            client.missing = client.missing.checked_sub(got).ok_or("a reply is longer than the first was")?;
            if client.missing == 0 {
                latencies.push(client.sent.elapsed().as_nanos() as u64);
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let ms = |share: f64| percentile(&latencies, share) as f64 / 1e6;
    let requests = latencies.len() as f64;
    Ok(Load { requests, per_second: requests / took, p50: ms(0.5), p99: ms(0.99), p999: ms(0.999) })
}
