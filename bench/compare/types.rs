//! The data types beside Redis's: processor time of a request on large values, and bytes an element.
//!
//! Requests come from `redis-benchmark` (or REDIS_BENCHMARK), which draws the element of each one: 1 shard, 50 connections, pipeline 16, server and
//! load on a processor each.

use crate::conn::{Conn, encode_into};
use crate::load::read_redis_benchmark;
use crate::peers::{Cpus, Kind, Peer, Running, Setup, pin, program, used_memory};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, proc};
use std::process::{Command, Stdio};

/// Elements of the large values.
const ELEMENTS: u64 = 1_000_000;
const REQUESTS: u64 = 1_000_000;
const PIPELINE: u64 = 16;
const ONE_SHARD: Setup = Setup { shards: 1, cpus: Cpus::Only(0), core_endpoints: false };

/// A command, and what fills the server before it.
struct Request {
    name: &'static str,
    /// `N` in it is the number of an element. Nothing: the value is small.
    fill: &'static str,
    /// `__rand_int__` in it is drawn for each request.
    command: &'static str,
    /// A part of the usual number of requests, for those that take long.
    part: u64,
}

const fn request(name: &'static str, fill: &'static str, command: &'static str) -> Request {
    Request { name, fill, command, part: 1 }
}

const SET: &str = "SADD big member:N";
const HASH: &str = "HSET big field:N value:N";
const ZSET: &str = "ZADD big N member:N";
const LIST: &str = "RPUSH big element:N";
const STREAM: &str = "XADD big N-1 field value:N";
/// Places all over one degree by one: a number of six digits, and the same digits from behind.
const GEO: &str = "GEOADD big 0.REVERSED 50.SIX member:N";

const REQUESTS_OF_TYPES: &[Request] = &[
    request("HSET", HASH, "HSET big field:__rand_int__ value:__rand_int__"),
    request("HGET", HASH, "HGET big field:__rand_int__"),
    request("HSET small", "HSET key:N a 1 b 2 c 3 d 4 e 5", "HSET key:__rand_int__ c __rand_int__"),
    request("LPUSH", "", "LPUSH big element:__rand_int__"),
    request("LPOP", LIST, "LPOP big"),
    Request { part: 10, ..request("LRANGE 100", LIST, "LRANGE big 0 99") },
    request("SADD", SET, "SADD big member:__rand_int__"),
    request("SISMEMBER", SET, "SISMEMBER big member:__rand_int__"),
    request("ZADD", ZSET, "ZADD big __rand_int__ member:__rand_int__"),
    request("ZRANGE 10", ZSET, "ZRANGE big 500000 500009"),
    request("ZRANK", ZSET, "ZRANK big member:__rand_int__"),
    request("XADD", "", "XADD big * field value:__rand_int__"),
    Request { part: 2, ..request("XRANGE 10", STREAM, "XRANGE big __rand_int__ + COUNT 10") },
    request("PFADD", "PFADD big element:N", "PFADD big element:__rand_int__"),
    Request { part: 10, ..request("GEOSEARCH", GEO, "GEOSEARCH big FROMLONLAT 0.5 50.5 BYRADIUS 1 km COUNT 10 ASC") },
];

/// A value of many elements, or many values of a few.
const VALUES: &[(&str, &str)] = &[
    ("sorted set", ZSET),
    ("set", SET),
    ("hash", HASH),
    (
        "small hashes of 5 fields",
        "HSET key:N field:1 value:N field:2 value:N field:3 value:N field:4 value:N field:5 value:N",
    ),
    ("list", LIST),
    ("stream", STREAM),
];

/// Sends a command for each number up to `count`.
pub fn fill(conn: &mut Conn, command: &str, count: u64) -> Result<(), Error> {
    const BATCH: u64 = 200;
    let words: Vec<&str> = command.split(' ').collect();
    for first in (1..=count).step_by(BATCH as usize) {
        let last = (count + 1).min(first + BATCH);
        let mut bytes = Vec::new();
        for n in first..last {
            // Twelve digits, as redis-benchmark writes them, but for a number, which may not begin with zeros.
            let (number, name, six) = (n.to_string(), format!("{n:012}"), format!("{:06}", n % 1_000_000));
            let reversed: String = six.chars().rev().collect();
            let word = |word: &&str| match *word {
                "N" => number.clone(),
                "N-1" => format!("{n}-1"),
                word => word.replace("REVERSED", &reversed).replace("SIX", &six).replace('N', &name),
            };
            encode_into(&mut bytes, &words.iter().map(word).collect::<Vec<_>>());
        }
        conn.send_raw(&bytes)?;
        for _ in first..last {
            let reply = conn.read()?;
            if reply.is_error() {
                return Err(format!("{command}: {reply:?}").into());
            }
        }
    }
    Ok(())
}

fn start(peer: &Peer, setup: &Setup, command: &str, count: u64) -> Result<(Running, Conn), Error> {
    let running = peer.start(setup)?;
    let mut conn = running.conn()?;
    if !command.is_empty() {
        fill(&mut conn, command, count)?;
    }
    Ok((running, conn))
}

/// Microseconds of processor time a request, and requests a second.
fn measure(peer: &Peer, request: &Request, elements: u64, requests: u64) -> Result<(f64, f64), Error> {
    let path = program("REDIS_BENCHMARK", "redis-benchmark").ok_or("redis-benchmark is not on PATH")?;
    let (running, _conn) = start(peer, &ONE_SHARD, request.fill, elements)?;
    let requests = requests / request.part;
    let mut command = Command::new(path);
    command.args(["-h", "127.0.0.1", "-p", &running.port.to_string(), "-c", "50", "-P", &PIPELINE.to_string()]);
    command.args(["-r", &elements.to_string(), "-n", &requests.to_string(), "--csv"]);
    command.args(request.command.split(' '));
    pin(&mut command, Cpus::Only(1));
    let before = proc::cpu(running.pid());
    let out = command.stdin(Stdio::null()).output()?;
    let cpu = proc::cpu(running.pid()).since(before).total;
    let said = String::from_utf8_lossy(&out.stdout);
    let load = read_redis_benchmark(&said, requests as f64).ok_or_else(|| format!("{}: {said}", request.command))?;
    Ok((cpu.as_secs_f64() * 1e6 / requests as f64, load.per_second))
}

/// `--types`
pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let part = if options.quick { 20 } else { 1 };
    let (elements, requests) = (options.keys.unwrap_or(ELEMENTS / part), options.requests.unwrap_or(REQUESTS / part));
    let peers: Vec<&Peer> = peers.iter().filter(|peer| peer.kind != Kind::Pogocache).collect();
    let wanted = |request: &&Request| {
        options.only.is_empty() || options.only.iter().any(|name| request.name.eq_ignore_ascii_case(name))
    };
    let chosen: Vec<&Request> = REQUESTS_OF_TYPES.iter().filter(wanted).collect();
    println!("{} rounds, values of {elements} elements, pipeline {PIPELINE}\n", options.rounds);
    let mut table = Table::new(&["request", "server", "ops/s", "CPU µs/req", "of redis"]);
    for request in chosen {
        let mut samples: Vec<Vec<(f64, f64)>> = peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            for (peer, samples) in peers.iter().zip(&mut samples) {
                samples.push(measure(peer, request, elements, requests)?);
            }
        }
        let cpu = |samples: &[(f64, f64)]| median(&samples.iter().map(|(cpu, _)| *cpu).collect::<Vec<_>>());
        let redis = peers.iter().position(|peer| peer.name == "redis").map_or(f64::NAN, |at| cpu(&samples[at]));
        for (peer, samples) in peers.iter().zip(&samples) {
            let rate = median(&samples.iter().map(|(_, rate)| *rate).collect::<Vec<_>>());
            let cpu = cpu(samples);
            let cells =
                [request.name.to_owned(), peer.name.to_owned(), shown(rate, 0), shown(cpu, 2), shown(cpu / redis, 2)];
            table.row(cells.to_vec());
        }
    }
    table.print(2);
    Ok(())
}

/// `--type-memory`
pub fn run_memory(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    let count = options.keys.unwrap_or(if options.quick { ELEMENTS / 20 } else { ELEMENTS });
    let peers: Vec<&Peer> = peers.iter().filter(|peer| peer.kind != Kind::Pogocache).collect();
    println!("{count} elements, by used_memory\n");
    let mut table = Table::new(&["value", "server", "bytes/element", "of redis"]);
    for (name, command) in VALUES {
        let mut figures = Vec::new();
        for peer in &peers {
            let setup = Setup { cpus: Cpus::Any, ..ONE_SHARD };
            let (_running, mut conn) = start(peer, &setup, "", 0)?;
            let before = used_memory(&mut conn);
            fill(&mut conn, command, count)?;
            let after = used_memory(&mut conn);
            let bytes = before.zip(after).map_or(f64::NAN, |(before, after)| after.saturating_sub(before) as f64);
            figures.push(bytes / count as f64);
        }
        let redis = peers.iter().position(|peer| peer.name == "redis").map_or(f64::NAN, |at| figures[at]);
        for (peer, figure) in peers.iter().zip(&figures) {
            table.row(vec![(*name).to_owned(), peer.name.to_owned(), shown(*figure, 1), shown(figure / redis, 2)]);
        }
    }
    table.print(2);
    Ok(())
}
