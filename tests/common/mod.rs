//! What every black-box suite stands on: a server in a directory of its own, a raw RESP client, and waiting by condition.
//!
//! Rules of the suites
//! - nothing waits for a fixed time: `wait_until` polls a condition up to a bound, and says what it waited for when it fails
//! - a server writes only below its own temporary directory, listens on loopback, and dies with its `Server`
//! - `BASALT_TEST_SERVER=/path/to/binary` plays Basalt in every suite; a `redis-server` may, and the few tests that need what
//!   only Basalt has then say so and return
#![allow(dead_code, unused_imports)] // each suite uses a part

pub mod conn;
pub mod link;
pub mod node;
pub mod proc;
pub mod sentinels;
pub mod server;

pub use conn::{Conn, Reply};
pub use link::Link;
pub use node::{Kind, Node};
pub use sentinels::Sentinels;
pub use server::{Flavour, Launch, Server, free_port};

use std::time::{Duration, Instant};

/// How long a condition may take before a test gives up on it: generous, since only failures ever wait that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls `condition` until it holds, panicking with `what` after `PATIENCE`.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_up_to(PATIENCE, what, condition);
}

#[track_caller]
pub fn wait_up_to(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < bound, "gave up after {bound:?} waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A small seeded generator (SplitMix64), so that a failing run can be repeated from its printed seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// The seed of a randomised test: `BASALT_TEST_SEED`, else the clock. Printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = match std::env::var("BASALT_TEST_SEED") {
        Ok(text) => text.parse().expect("BASALT_TEST_SEED must be a number"),
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    println!("repeat with BASALT_TEST_SEED={seed}");
    seed
}

/// The hash slot of a key, as the cluster specification defines it.
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = key
        .iter()
        .position(|&b| b == b'{')
        .and_then(|open| {
            let len = key[open + 1..].iter().position(|&b| b == b'}')?;
            (len > 0).then(|| &key[open + 1..open + 1 + len])
        })
        .unwrap_or(key);
    let mut crc: u16 = 0;
    for &byte in tag {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
        }
    }
    crc & 16383
}

/// The shard of a node of `shards` that owns a key.
pub fn shard_of(key: &[u8], shards: usize) -> usize {
    (slot_of(key) as usize * shards) >> 14
}

/// The value of a field of INFO.
pub fn info_field(conn: &mut Conn, field: &str) -> Option<String> {
    let info = conn.cmd("INFO everything").text();
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
}

#[track_caller]
pub fn info_number(conn: &mut Conn, field: &str) -> u64 {
    let text = info_field(conn, field).unwrap_or_else(|| panic!("INFO has no {field}"));
    text.trim().parse().unwrap_or_else(|_| panic!("INFO {field} is {text:?}"))
}

/// One field of one line of CLIENT LIST.
pub fn line_field<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|pair| pair.strip_prefix(field)?.strip_prefix('='))
}

/// Bytes a machine can still give, for tests that need much of it.
pub fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|l| l.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0u64) * 1024
}

/// Raises the limit of open files as far as allowed; the limit that then holds.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write only the struct given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let mut raised = libc::rlimit { rlim_cur: wanted.max(limit.rlim_cur), rlim_max: wanted.max(limit.rlim_max) };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            return raised.rlim_cur;
        }
        raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max).max(limit.rlim_cur), rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 { raised.rlim_cur } else { limit.rlim_cur }
    }
}

/// Whether a program is on PATH.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
