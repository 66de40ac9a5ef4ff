//! The slow log of one core, and SLOWLOG's replies over the logs of all cores.
//!
//! Invariants
//! - entries are in the order they were logged; their IDs ascend
//! - IDs come from one counter of the whole node, so they are unique across cores and newest first is highest ID first
//! - an entry holds at most 32 arguments of 128 bytes and a remark each, however large the command was

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::commands::Error;
use crate::observe::monitor::{self, REDACTED};
use crate::resp::{Args, Writer};
use crate::types::numbers::parse_i64;

/// Arguments kept of a command.
pub const MAX_ENTRY_ARGS: usize = 32;
/// Bytes kept of an argument.
pub const MAX_ARG_BYTES: usize = 128;
/// Entries that SLOWLOG GET answers with when not asked for a number.
const DEFAULT_GET: usize = 10;

/// One slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub unix_time_seconds: u64,
    pub duration_us: u64,
    pub args: Vec<Vec<u8>>,
    pub client_addr: String,
    pub client_name: Vec<u8>,
}

/// Who sent a command, as the log shows it.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    pub addr: &'a str,
    pub name: &'a [u8],
}

/// The slow commands of one core.
#[derive(Debug)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    max_len: usize,
    slower_than_us: i64,
    ids: Arc<AtomicU64>,
}

impl SlowLog {
    /// `ids` is the node's counter, the same for all cores; `slower_than_us` is `slowlog-log-slower-than`: negative for never,
    /// 0 for always; `max_len` is `slowlog-max-len`.
    pub fn new(ids: Arc<AtomicU64>, slower_than_us: i64, max_len: usize) -> SlowLog {
        SlowLog { entries: VecDeque::new(), max_len, slower_than_us, ids }
    }

    /// CONFIG SET slowlog-log-slower-than.
    pub fn set_slower_than_us(&mut self, slower_than_us: i64) {
        self.slower_than_us = slower_than_us;
    }

    /// CONFIG SET slowlog-max-len.
    pub fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
        self.trim();
    }

    /// Whether a command of this duration belongs in the log.
    #[inline]
    pub fn is_slow(&self, duration_us: u64) -> bool {
        self.slower_than_us >= 0 && duration_us >= self.slower_than_us as u64
    }

    /// Logs a command; secrets among its arguments are hidden.
    pub fn push(&mut self, unix_time_seconds: u64, duration_us: u64, args: &Args<'_>, sender: Sender<'_>) {
        // Relaxed: the IDs need to be unique, they order nothing else.
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.entries.push_back(Entry {
            id,
            unix_time_seconds,
            duration_us,
            args: trimmed(args),
            client_addr: sender.addr.to_owned(),
            client_name: sender.name.to_owned(),
        });
        self.trim();
    }

    fn trim(&mut self) {
        while self.entries.len() > self.max_len {
            self.entries.pop_front();
        }
    }

    /// SLOWLOG RESET.
    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// A copy of the log, oldest first, for whoever merges the cores' logs.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }
}

fn trimmed(args: &Args<'_>) -> Vec<Vec<u8>> {
    let secrets = monitor::secrets(args);
    let kept = if args.len() > MAX_ENTRY_ARGS { MAX_ENTRY_ARGS - 1 } else { args.len() };
    let mut shown: Vec<Vec<u8>> =
        (0..kept).map(|i| if secrets.hides(i) { REDACTED.to_vec() } else { trimmed_arg(args.get(i)) }).collect();
    if kept < args.len() {
        shown.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    shown
}

fn trimmed_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= MAX_ARG_BYTES {
        return arg.to_vec();
    }
    let mut shown = arg[..MAX_ARG_BYTES].to_vec();
    shown.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_BYTES).as_bytes());
    shown
}

/// The node's log from the cores' logs: newest first, at most `max_len` entries.
pub fn merge(logs: impl IntoIterator<Item = Vec<Entry>>, max_len: usize) -> Vec<Entry> {
    let mut merged: Vec<Entry> = logs.into_iter().flatten().collect();
    merged.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
    merged.truncate(max_len);
    merged
}

/// How many entries SLOWLOG GET asks for; `count` is its optional argument.
pub fn parse_get(count: Option<&[u8]>) -> Result<usize, Error> {
    let Some(count) = count else { return Ok(DEFAULT_GET) };
    match parse_i64(count) {
        Some(-1) => Ok(usize::MAX),
        Some(count) if count >= 0 => Ok(count as usize),
        _ => Err(Error::text("ERR count should be greater than or equal to -1")),
    }
}

/// The reply to SLOWLOG GET, over a merged log.
pub fn write_get(out: &mut Writer<'_>, merged: &[Entry], count: usize) {
    let shown = &merged[..count.min(merged.len())];
    out.array(shown.len());
    for entry in shown {
        out.array(6);
        out.int(entry.id as i64);
        out.int(entry.unix_time_seconds as i64);
        out.int(entry.duration_us as i64);
        out.array(entry.args.len());
        for arg in &entry.args {
            out.bulk(arg);
        }
        out.bulk_str(&entry.client_addr);
        out.bulk(&entry.client_name);
    }
}

/// The reply to SLOWLOG LEN, over a merged log.
pub fn write_len(out: &mut Writer<'_>, merged: &[Entry]) {
    out.int(merged.len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{OwnedArgs, Proto, written};

    const SENDER: Sender<'static> = Sender { addr: "127.0.0.1:49718", name: b"joe" };

    fn args(words: &[&str]) -> OwnedArgs {
        words.iter().collect()
    }

    #[test]
    fn arguments_are_trimmed_as_redis_trims_them() {
        // What redis-server 7.0.15 kept of an MSET with 41 arguments, number i of them 8 * i bytes long where i is even.
        let words: Vec<String> =
            (0..40).map(|i| if i % 2 == 1 { format!("k{i}") } else { "v".repeat(8 * i) }).collect();
        let command: OwnedArgs = std::iter::once("mset").chain(words.iter().map(String::as_str)).collect();
        let shown = trimmed(&command.args());
        assert_eq!(shown.len(), 32);
        assert_eq!(shown[17], "v".repeat(128).into_bytes());
        assert_eq!(shown[19], format!("{}... (16 more bytes)", "v".repeat(128)).into_bytes());
        assert_eq!(shown[31], b"... (10 more arguments)");
        let exact: OwnedArgs = (0..32).map(|i| i.to_string()).collect();
        assert_eq!(trimmed(&exact.args())[31], b"31");
    }

    #[test]
    fn secrets_are_hidden() {
        let mut log = SlowLog::new(Arc::default(), 0, 10);
        log.push(1, 1, &args(&["auth", "default", "slowpw"]).args(), SENDER);
        assert_eq!(log.entries()[0].args, [&b"auth"[..], b"(redacted)", b"(redacted)"]);
    }

    #[test]
    fn thresholds() {
        let mut log = SlowLog::new(Arc::default(), 10_000, 10);
        assert!(!log.is_slow(9_999) && log.is_slow(10_000));
        log.set_slower_than_us(0);
        assert!(log.is_slow(0));
        log.set_slower_than_us(-1);
        assert!(!log.is_slow(u64::MAX));
    }

    #[test]
    fn logs_of_cores_merge_newest_first() {
        let ids = Arc::new(AtomicU64::new(0));
        let (mut a, mut b) = (SlowLog::new(ids.clone(), 0, 3), SlowLog::new(ids, 0, 3));
        for i in 0..10 {
            let log = if i % 3 == 0 { &mut a } else { &mut b };
            log.push(1_000 + i, i, &args(&["get", "x"]).args(), SENDER);
        }
        let merged = merge([a.entries(), b.entries()], 4);
        assert_eq!(merged.iter().map(|entry| entry.id).collect::<Vec<_>>(), [9, 8, 7, 6]);
        a.set_max_len(1);
        assert_eq!(a.entries().len(), 1);
        a.reset();
        assert!(a.entries().is_empty());
    }

    #[test]
    fn get_counts_and_replies() {
        assert_eq!(parse_get(None), Ok(10));
        assert_eq!(parse_get(Some(b"0")), Ok(0));
        assert_eq!(parse_get(Some(b"-1")), Ok(usize::MAX));
        for bad in [&b"-2"[..], b"abc", b"", b"1.5", b"9223372036854775808"] {
            let message = parse_get(Some(bad)).unwrap_err();
            assert_eq!(message.to_string(), "ERR count should be greater than or equal to -1");
        }
        let mut log = SlowLog::new(Arc::new(AtomicU64::new(5)), 0, 10);
        log.push(1795221926, 18, &args(&["debug", "jmap"]).args(), SENDER);
        let reply = written(Proto::Resp2, |out| write_get(out, &log.entries(), usize::MAX));
        let expected = "*1\r\n*6\r\n:5\r\n:1795221926\r\n:18\r\n*2\r\n$5\r\ndebug\r\n$4\r\njmap\r\n$15\r\n127.0.0.1:49718\r\n$3\r\njoe\r\n";
        assert_eq!(reply, expected);
    }
}
