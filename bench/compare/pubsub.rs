//! Publish/subscribe under load: messages a second and processor time, to one subscriber and to many.
//!
//! The load is our own, as no generator at hand does this: one thread publishes through some connections in pipelines, another reads what the
//! subscribers get. A run ends when every subscriber has every message. Publishers wait while subscribers are far behind, so that no
//! server is measured by how it piles messages up.

use crate::conn::{Conn, Reply, encode};
use crate::peers::{Cpus, Kind, Peer, Setup};
use crate::stats::{Table, median, shown};
use crate::{Error, Options, proc};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CHANNEL: &str = "channel";
const PAYLOAD_BYTES: usize = 64;
/// Messages that may be on their way before the publishers wait.
const AHEAD: u64 = 100_000;
/// A run that brings nothing for so long has lost a message.
const PATIENCE: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 256 * 1024;

struct Scenario {
    name: &'static str,
    subscribers: usize,
    pipeline: usize,
    publishes: u64,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "to-1-p1", subscribers: 1, pipeline: 1, publishes: 200_000 },
    Scenario { name: "to-1-p16", subscribers: 1, pipeline: 16, publishes: 1_000_000 },
    Scenario { name: "to-100-p1", subscribers: 100, pipeline: 1, publishes: 20_000 },
    Scenario { name: "to-100-p16", subscribers: 100, pipeline: 16, publishes: 60_000 },
];

const SETUP: Setup = Setup { shards: 2, cpus: Cpus::Any, core_endpoints: false };

#[derive(Clone, Copy)]
struct Sample {
    publishes_a_second: f64,
    cpu_us: f64,
    user_share: f64,
}

struct Row<'a> {
    scenario: &'static Scenario,
    peer: &'a Peer,
    samples: Vec<Sample>,
}

impl Row<'_> {
    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        median(&self.samples.iter().map(of).collect::<Vec<_>>())
    }
}

/// The bytes of one message, as a subscriber of RESP2 gets it.
fn message() -> Vec<u8> {
    encode(&["message".as_bytes(), CHANNEL.as_bytes(), &[b'x'; PAYLOAD_BYTES]])
}

fn subscribe(port: u16, count: usize) -> Result<Vec<TcpStream>, Error> {
    let wanted = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{CHANNEL}\r\n:1\r\n", CHANNEL.len());
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(&encode(&["SUBSCRIBE", CHANNEL]))?;
        let mut reply = vec![0; wanted.len()];
        stream.read_exact(&mut reply)?;
        if reply != wanted.as_bytes() {
            return Err(format!("SUBSCRIBE: {}", reply.escape_ascii()).into());
        }
        stream.set_nonblocking(true)?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Publishes `count` messages, `pipeline` at a time on each connection. Each is received by `subscribers`.
fn publish(port: u16, scenario: &Scenario, publishers: usize, count: u64, received: &AtomicU64) -> Result<(), Error> {
    let request = encode(&["PUBLISH".as_bytes(), CHANNEL.as_bytes(), &[b'x'; PAYLOAD_BYTES]]).repeat(scenario.pipeline);
    let reply = format!(":{}\r\n", scenario.subscribers).repeat(scenario.pipeline).into_bytes();
    let connect = |_| -> Result<TcpStream, Error> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let mut streams = (0..publishers).map(connect).collect::<Result<Vec<_>, _>>()?;
    let mut buffer = vec![0; reply.len()];
    let mut sent = 0;
    while sent < count {
        for stream in &mut streams {
            stream.write_all(&request)?;
        }
        for stream in &mut streams {
            stream.read_exact(&mut buffer)?;
            if buffer != reply {
                return Err(format!("PUBLISH: {}", buffer.escape_ascii()).into());
            }
        }
        sent += (publishers * scenario.pipeline) as u64;
        let start = Instant::now();
        while sent * scenario.subscribers as u64 > received.load(Ordering::Relaxed) + AHEAD {
            if start.elapsed() > PATIENCE {
                return Err("the subscribers get nothing more".into());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    Ok(())
}

/// Reads until the subscribers together have `wanted` bytes.
fn receive(streams: &mut [TcpStream], wanted: u64, received: &AtomicU64) -> Result<(), Error> {
    let each = message().len() as u64;
    let mut buffer = vec![0; READ_BYTES];
    let entry = |stream: &TcpStream| libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<libc::pollfd> = streams.iter().map(entry).collect();
    let mut bytes = 0;
    while bytes < wanted {
        // SAFETY: the entries live through the call, and their number is given.
        let ready =
            unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, PATIENCE.as_millis() as i32) };
        if ready <= 0 {
            return Err(format!("subscribers got {bytes} bytes of {wanted}, and no more").into());
        }
        for (stream, entry) in streams.iter_mut().zip(&polled) {
            if entry.revents == 0 {
                continue;
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Err("the server closed a subscriber".into()),
                Ok(read) => bytes += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        received.store(bytes / each, Ordering::Relaxed);
    }
    Ok(())
}

fn measure(scenario: &Scenario, peer: &Peer, options: &Options) -> Result<Sample, Error> {
    let running = peer.start(&SETUP)?;
    let mut conn: Conn = running.conn()?;
    // What is measured is not where a server gives a subscriber up.
    conn.send(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"])?;
    if conn.read()? != Reply::Simple(b"OK".to_vec()) {
        return Err(format!("{} takes no client-output-buffer-limit", peer.name).into());
    }
    let mut subscribers = subscribe(running.port, scenario.subscribers)?;
    let publishes = options.requests.unwrap_or(scenario.publishes / if options.quick { 10 } else { 1 });
    let publishers = options.clients as usize;
    let turn = (publishers * scenario.pipeline) as u64;
    let publishes = publishes.div_ceil(turn) * turn;
    let wanted = publishes * scenario.subscribers as u64 * message().len() as u64;
    let received = AtomicU64::new(0);
    let before = proc::cpu(running.pid());
    let start = Instant::now();
    std::thread::scope(|scope| {
        let publisher = scope
            .spawn(|| publish(running.port, scenario, publishers, publishes, &received).map_err(|e| e.to_string()));
        let read = receive(&mut subscribers, wanted, &received);
        match publisher.join() {
            Ok(published) => published.map_err(Error::from).and(read),
            Err(_) => Err("the publishing thread failed".into()),
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = proc::cpu(running.pid()).since(before);
    let ticks = (cpu.user + cpu.sys).as_secs_f64();
    Ok(Sample {
        publishes_a_second: publishes as f64 / seconds,
        cpu_us: cpu.total.as_secs_f64() * 1e6 / publishes as f64,
        user_share: if ticks > 0.0 { cpu.user.as_secs_f64() / ticks } else { f64::NAN },
    })
}

pub fn run(options: &Options, peers: &[Peer]) -> Result<(), Error> {
    println!(
        "{} rounds, {} publishing connections, {PAYLOAD_BYTES}-byte messages, 2 shards\n",
        options.rounds, options.clients
    );
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| name.contains(only.as_str()));
    let mut rows: Vec<Row> = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| wanted(scenario.name)) {
        let able = peers.iter().filter(|peer| peer.kind != Kind::Pogocache);
        rows.extend(able.map(|peer| Row { scenario, peer, samples: Vec::new() }));
    }
    for round in 1..=options.rounds {
        for row in &mut rows {
            let sample = measure(row.scenario, row.peer, options)?;
            println!(
                "round {round}: {:<11} {:<10} {:>9.0} messages/s, {:.2} µs of CPU a publish",
                row.scenario.name,
                row.peer.name,
                sample.publishes_a_second * row.scenario.subscribers as f64,
                sample.cpu_us
            );
            row.samples.push(sample);
        }
    }
    print(&rows);
    Ok(())
}

fn print(rows: &[Row]) {
    let head = [
        "scenario",
        "server",
        "publishes/s",
        "messages/s",
        "CPU µs/publish",
        "user",
        "sys",
        "of redis",
        "CPU µs/message",
    ];
    let mut table = Table::new(&head);
    for row in rows {
        let subscribers = row.scenario.subscribers as f64;
        let cpu = row.median(|s| s.cpu_us);
        let user = row.median(|s| s.user_share) * cpu;
        let redis = rows.iter().find(|r| r.scenario.name == row.scenario.name && r.peer.name == "redis");
        let ratio = redis.map_or(f64::NAN, |redis| cpu / redis.median(|s| s.cpu_us));
        let publishes = row.median(|s| s.publishes_a_second);
        table.row(vec![
            row.scenario.name.to_owned(),
            row.peer.name.to_owned(),
            shown(publishes, 0),
            shown(publishes * subscribers, 0),
            shown(cpu, 2),
            shown(user, 2),
            shown(cpu - user, 2),
            shown(ratio, 2),
            shown(cpu / subscribers, 3),
        ]);
    }
    table.print(2);
    println!("to-N-pM: N subscribers, publishers send M at a time");
}
