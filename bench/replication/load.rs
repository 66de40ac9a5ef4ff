//! The writers: one thread, many connections, each with one pipeline of SETs under way, made beforehand. Every reply is `+OK`, so that
//! replies are counted by their length.

use crate::common::Rng;
use crate::common::conn::{Conn, encode_into, wait_readable};
use crate::stats::percentile;
use crate::{Error, VALUE_BYTES};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Different pipelines made beforehand; connections walk through them from places of their own.
const PIPELINES: usize = 2048;
const OK_BYTES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// A key of 20 bytes.
pub fn key(number: u64) -> String {
    format!("key:{number:016}")
}

/// Sets all keys through one connection.
pub fn fill(port: u16, keys: u64) -> Result<(), Error> {
    const BATCH: u64 = 500;
    let mut conn = Conn::try_open(&format!("127.0.0.1:{port}"))?;
    let value = [b'v'; VALUE_BYTES];
    let mut bytes = Vec::new();
    for first in (0..keys).step_by(BATCH as usize) {
        let last = keys.min(first + BATCH);
        bytes.clear();
        (first..last).for_each(|i| encode_into(&mut bytes, &[b"SET", key(i).as_bytes(), &value]));
        conn.send_raw(&bytes)?;
        for _ in first..last {
            let reply = conn.read()?;
            if reply.is_error() {
                return Err(format!("SET: {reply:?}").into());
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
pub struct Writers {
    pub port: u16,
    pub clients: usize,
    pub pipeline: usize,
    pub keys: u64,
}

/// When the writers end.
pub enum Until<'a> {
    Sent(u64),
    Told(&'a AtomicBool),
}

/// What a run gave: when each pipeline was answered, and how long after it was sent, in nanoseconds.
pub struct Writes {
    pub requests: u64,
    pub took: Duration,
    pub answered: Vec<(Instant, u64)>,
}

pub struct Latency {
    pub p99_ms: f64,
    pub worst_ms: f64,
    pub count: usize,
}

impl Writes {
    /// Of what was answered within this time.
    pub fn latency(&self, from: Instant, to: Instant) -> Latency {
        let within = self.answered.iter().filter(|(at, _)| *at >= from && *at <= to);
        let mut all: Vec<u64> = within.map(|(_, nanoseconds)| *nanoseconds).collect();
        all.sort_unstable();
        Latency {
            p99_ms: percentile(&all, 0.99) as f64 / 1e6,
            worst_ms: all.last().copied().unwrap_or(0) as f64 / 1e6,
            count: all.len(),
        }
    }
}

struct Client {
    conn: Conn,
    at: usize,
    sent: Instant,
    missing: usize,
}

impl Writers {
    fn pipelines(&self) -> Vec<Vec<u8>> {
        let mut random = Rng::new(1);
        let value = [b'w'; VALUE_BYTES];
        let one = |random: &mut Rng| {
            let mut bytes = Vec::new();
            for _ in 0..self.pipeline {
                let key = key(random.next() % self.keys);
                encode_into(&mut bytes, &[b"SET", key.as_bytes(), &value]);
            }
            bytes
        };
        (0..PIPELINES).map(|_| one(&mut random)).collect()
    }

    pub fn run(&self, until: &Until) -> Result<Writes, Error> {
        let pipelines = self.pipelines();
        let start = Instant::now();
        let mut clients = Vec::new();
        for i in 0..self.clients {
            let conn = Conn::try_open(&format!("127.0.0.1:{}", self.port))?;
            clients.push(Client { conn, at: i * PIPELINES / self.clients, sent: start, missing: 0 });
        }
        let (mut sent, mut answered) = (0, Vec::new());
        let fds: Vec<_> = clients.iter().map(|client| client.conn.fd()).collect();
        loop {
            let going = |sent: u64| match until {
                Until::Sent(total) => sent < *total,
                Until::Told(stop) => !stop.load(Ordering::Relaxed),
            };
            for client in clients.iter_mut().filter(|client| client.missing == 0) {
                if !going(sent) {
                    break;
                }
                client.sent = Instant::now();
                client.conn.send_raw(&pipelines[client.at % PIPELINES])?;
                (client.at, client.missing) = (client.at + 1, self.pipeline * OK_BYTES);
                sent += self.pipeline as u64;
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
                client.missing = client.missing.checked_sub(got).ok_or("a reply that is not OK")?;
                if client.missing == 0 {
                    answered.push((Instant::now(), client.sent.elapsed().as_nanos() as u64));
                }
            }
        }
        Ok(Writes { requests: sent, took: start.elapsed(), answered })
    }
}
