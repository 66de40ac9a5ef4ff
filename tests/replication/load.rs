//! A random write load in a thread of its own: commands of the differential families, keys of a wide pool, short and long lives,
//! blocks, several databases, and now and then everything gone or swapped.
//!
//! - what a load sends depends on its seed only, but for what is lost when its connection breaks
//! - it outlives its server: a broken connection is made again, to the port that the load then has
//! - a write counts as acknowledged when a reply came that is no error

use crate::common::conn::encode_into;
use crate::common::{Conn, Kind, Reply, Rng};
use crate::families::{bitmap, generic, geo, hash, list, set, stream, string, zset};
use crate::generator::{Args, Family, Gen, Step, with, words};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FAMILIES: [&Family; 9] = [
    &string::FAMILY,
    &generic::FAMILY,
    &bitmap::FAMILY,
    &list::FAMILY,
    &set::FAMILY,
    &zset::FAMILY,
    &geo::FAMILY,
    &stream::FAMILY,
    &hash::FAMILY,
];
const DATABASES: usize = 4;
const KEYS: usize = 2000;
/// Commands that go out together, at most.
const PIPELINE: usize = 40;
/// A stopped server is given up after this, and tried again.
const REPLY_BOUND: Duration = Duration::from_millis(500);

/// What a load is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// FLUSHDB and SWAPDB, rarely.
    pub flush: bool,
    /// And FLUSHALL, for which a redis-server gives up the snapshot that it is sending.
    pub flush_all: bool,
    /// PFCOUNT, whose estimate a redis-server keeps in the value also where it is a replica.
    pub counts: bool,
    /// Keys that expire within half a second.
    pub short_lives: bool,
    /// Values of some kilobytes, so that all keys together are many megabytes.
    pub large: bool,
    /// A pause after each pipeline, for a test that wants a load and not all of the machine.
    pub pause: Duration,
}

impl Mix {
    pub const ALL: Mix = Mix {
        flush: true,
        flush_all: false,
        counts: true,
        short_lives: true,
        large: false,
        pause: Duration::from_millis(2),
    };
    /// Without what empties a node.
    pub const KEEPING: Mix = Mix { flush: false, ..Mix::ALL };

    /// For a primary of this kind that replicas are to join meanwhile.
    pub fn of(primary: Kind) -> Mix {
        Mix { flush_all: primary != Kind::Redis, ..Mix::ALL }
    }
}

pub struct Load {
    port: Arc<AtomicU16>,
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<Report>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Replies that are no errors.
    pub acknowledged: u64,
    /// Error replies: refused, or what the families spoil on purpose.
    pub errors: u64,
    pub connections: u64,
}

impl Load {
    #[track_caller]
    pub fn start(port: u16, seed: u64, mix: Mix) -> Load {
        let mut make = Commands::new(&mut Conn::open(port), seed, mix);
        let port = Arc::new(AtomicU16::new(port));
        let (stopping, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (to, stop, count) = (Arc::clone(&port), Arc::clone(&stopping), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || drive(&mut make, &to, &stop, &count));
        Load { port, stopping, acknowledged, thread: Some(thread) }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// The port for connections made from now on.
    pub fn turn_to(&self, port: u16) {
        self.port.store(port, Ordering::SeqCst);
    }

    /// Waits until this many more writes are acknowledged.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.acknowledged() + more;
        crate::common::wait_up_to(crate::common::PATIENCE * 2, "writes are acknowledged", || {
            self.acknowledged() >= goal
        });
    }

    #[track_caller]
    pub fn stop(mut self) -> Report {
        self.stopping.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("a load is stopped once");
        thread.join().expect("the load has not panicked")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, is on its own thread's output.
            drop(thread.join());
        }
    }
}

fn drive(make: &mut Commands, port: &AtomicU16, stopping: &AtomicBool, acknowledged: &AtomicU64) -> Report {
    let mut report = Report::default();
    let mut conn: Option<Conn> = None;
    while !stopping.load(Ordering::SeqCst) {
        let Some(open) = &mut conn else {
            match Conn::try_open(&format!("127.0.0.1:{}", port.load(Ordering::SeqCst))) {
                Ok(made) => {
                    made.set_timeout(REPLY_BOUND);
                    report.connections += 1;
                    conn = Some(made);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            continue;
        };
        if round(make, open, &mut report).is_err() {
            conn = None;
            // Blocks do not reach over connections.
            std::thread::sleep(Duration::from_millis(10));
        }
        acknowledged.store(report.acknowledged, Ordering::SeqCst);
        std::thread::sleep(make.mix.pause);
    }
    report
}

/// One pipeline, sent and answered.
fn round(make: &mut Commands, conn: &mut Conn, report: &mut Report) -> io::Result<()> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for _ in 0..1 + make.inner.rng.below(PIPELINE) {
        for args in make.next() {
            encode_into(&mut bytes, &args);
            count += 1;
        }
    }
    conn.send_raw(&bytes)?;
    for _ in 0..count {
        match conn.read()? {
            Reply::Error(_) => report.errors += 1,
            _ => report.acknowledged += 1,
        }
    }
    Ok(())
}

/// The commands of a load.
pub struct Commands {
    inner: Gen,
    mix: Mix,
}

impl Commands {
    /// The server is only asked for some payloads that RESTORE takes.
    pub fn new(conn: &mut Conn, seed: u64, mix: Mix) -> Commands {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64;
        let long = "compressible ".repeat(100);
        // In a block, for other loads may be at work already.
        let payloads = ["", "17", "-70000", "plain text", &long].into_iter().map(|value| {
            conn.cmd("MULTI");
            conn.argv(&["SET", "payload", value]);
            conn.cmd("DUMP payload");
            conn.cmd("EXEC").items()[1].bytes()
        });
        let payloads = payloads.collect();
        Commands { inner: Gen::new(Rng::new(seed), payloads, now_ms), mix }
    }

    /// One command, or a whole block of them.
    pub fn next(&mut self) -> Vec<Args> {
        match self.inner.rng.below(40) {
            0 => vec![words(&format!("SELECT {}", self.inner.rng.below(DATABASES)))],
            1 | 2 => self.block(),
            3 if self.mix.flush && self.inner.rng.chance(40) => vec![self.wide()],
            4 => vec![self.hyperloglog()],
            5..=16 => vec![self.of_a_family()],
            _ => vec![self.plain()],
        }
    }

    fn block(&mut self) -> Vec<Args> {
        let mut block = vec![words("MULTI")];
        for _ in 0..self.inner.rng.below(6) {
            block.push(if self.inner.rng.chance(3) { self.of_a_family() } else { self.plain() });
        }
        block.push(words(if self.inner.rng.chance(12) { "DISCARD" } else { "EXEC" }));
        block
    }

    fn wide(&mut self) -> Args {
        let (a, b) = (self.inner.rng.below(DATABASES), self.inner.rng.below(DATABASES));
        match self.inner.rng.below(5) {
            0 if self.mix.flush_all => words("FLUSHALL"),
            0 | 1 => words("FLUSHDB ASYNC"),
            2 => words("FLUSHDB"),
            _ => words(&format!("SWAPDB {a} {b}")),
        }
    }

    /// On keys of their own: what other families make of such a value is damaged, and each server gets differently far with it before it says so.
    fn hyperloglog(&mut self) -> Args {
        let [key, other, third] = [(); 3].map(|()| format!("hll:{}", self.inner.rng.below(6)).into_bytes());
        match self.inner.rng.below(8) {
            0..=3 => {
                let elements = (0..1 + self.inner.rng.below(20)).map(|_| self.inner.short_value()).collect::<Args>();
                with(with(words("PFADD"), [key]), elements)
            }
            4 | 5 if self.mix.counts => with(words("PFCOUNT"), [key]),
            4..=6 => with(words("PFMERGE"), [key, other, third]),
            _ => with(words("DEL"), [key]),
        }
    }

    fn of_a_family(&mut self) -> Args {
        /// Bits a megabyte behind the start: rare, or the values would be all there is.
        const FAR: [&[u8]; 4] = [b"8388600", b"8388601", b"8388607", b"8388608"];
        loop {
            // What follows from the command before, or a new one.
            let args = match self.inner.next.pop_front() {
                Some(Step::Command(args, _)) => args,
                Some(_) => continue,
                None => {
                    let family = self.inner.rng.pick(&FAMILIES);
                    family.command(&mut self.inner).0
                }
            };
            // A redis-server makes the string longer for a BITFIELD that then fails, and does not tell its replicas.
            if args.iter().any(|arg| arg.eq_ignore_ascii_case(b"FAIL")) {
                continue;
            }
            // A load reads RESP2, and what waits has a block of the load end late.
            const NEVER: [&str; 9] =
                ["HELLO", "BZMPOP", "BZPOPMIN", "BZPOPMAX", "BLPOP", "BRPOP", "BLMOVE", "BLMPOP", "BRPOPLPUSH"];
            let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
            if NEVER.contains(&name.as_str()) {
                continue;
            }
            let far = args.iter().any(|arg| FAR.contains(&arg.as_slice()));
            if !far || self.inner.rng.chance(100) {
                return args;
            }
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("wide:{}", self.inner.rng.below(KEYS)).into_bytes()
    }

    /// A write to keys of the wide pool.
    fn plain(&mut self) -> Args {
        let (key, other, value) = (self.key(), self.key(), self.inner.short_value());
        let line = |line: &str| with(words(line), []);
        let short = if self.mix.short_lives { self.inner.rng.between(1, 500) } else { 100_000_000 };
        let life = if self.inner.rng.chance(2) { short } else { 100_000_000 }.to_string().into_bytes();
        match self.inner.rng.below(24) {
            0..=5 if self.mix.large => with(line("SET"), [key, vec![b'l'; 1000 + self.inner.rng.below(3000)]]),
            0..=5 => with(line("SET"), [key, value]),
            6 => with(line("SET"), [key, value, b"PX".to_vec(), life]),
            7 => with(line("PSETEX"), [key, life, value]),
            8 => with(line("PEXPIRE"), [key, life]),
            9 => with(line("GETEX"), [key, b"PX".to_vec(), life]),
            10 => with(line("DEL"), [key, other]),
            11 => with(line("UNLINK"), [key]),
            12 => with(line("MSET"), [key, value.clone(), other, value]),
            13 => with(line("INCRBY"), [key, self.inner.small_int()]),
            14 => with(line("APPEND"), [key, value]),
            15 => with(line("INCRBYFLOAT"), [key, b"0.25".to_vec()]),
            16 => with(line("SETRANGE"), [key, b"10".to_vec(), value]),
            17 => with(line("COPY"), [key, other, b"REPLACE".to_vec()]),
            18 => with(line("RENAME"), [key, other]),
            19 => with(line("MOVE"), [key, self.inner.rng.below(DATABASES).to_string().into_bytes()]),
            20 => with(line("BITFIELD"), [key, b"INCRBY".to_vec(), b"u16".to_vec(), b"#3".to_vec(), b"7".to_vec()]),
            21 => with(line("GETDEL"), [key]),
            22 => with(line("MSETNX"), [key, value.clone(), other, value]),
            _ => with(line("BITOP XOR"), [key.clone(), key, other]),
        }
    }
}
