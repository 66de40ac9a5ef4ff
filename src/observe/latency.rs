//! The latency monitor of one core: when something took at least `latency-monitor-threshold`, and how long.
//!
//! Invariants
//! - an event keeps at most one sample a second, the worst, and at most [`HISTORY_LEN`] samples, the latest
//! - samples of an event are in time order
//!
//! The monitors of all cores are joined by [`LatencyMonitor::merge`]; every LATENCY reply is made from the joined one.

use std::collections::VecDeque;

use super::histogram::Histogram;
use super::latency_report::graph;
use super::stats::CommandStats;
use crate::commands::Error;
use crate::resp::Writer;

/// Samples kept of an event.
pub const HISTORY_LEN: usize = 160;

/// The worst of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub unix_time_seconds: u64,
    pub latency_ms: u64,
}

/// What is known of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `command`, `fast-command`, `expire-cycle`, `eviction-cycle`, ...
    pub name: &'static str,
    /// Worst since the start or the last LATENCY RESET; the history may have lost it.
    pub max_ms: u64,
    samples: VecDeque<Sample>,
}

impl Event {
    /// Oldest first; never empty.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> {
        self.samples.iter().copied()
    }

    pub fn latest(&self) -> Sample {
        self.samples.back().copied().unwrap_or(Sample { unix_time_seconds: 0, latency_ms: self.max_ms })
    }

    fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.latency_ms);
        match self.samples.back_mut() {
            Some(last) if last.unix_time_seconds == sample.unix_time_seconds => {
                last.latency_ms = last.latency_ms.max(sample.latency_ms);
            }
            _ => {
                self.samples.push_back(sample);
                if self.samples.len() > HISTORY_LEN {
                    self.samples.pop_front();
                }
            }
        }
    }

    fn merge(&mut self, other: &Event) {
        let mut all: Vec<Sample> = self.samples.drain(..).chain(other.samples()).collect();
        all.sort_by_key(|sample| sample.unix_time_seconds);
        all.into_iter().for_each(|sample| self.add(sample));
        self.max_ms = self.max_ms.max(other.max_ms);
    }
}

/// The events of one core, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyMonitor {
    threshold_ms: u64,
    events: Vec<Event>,
}

impl LatencyMonitor {
    /// `threshold_ms` is `latency-monitor-threshold`; 0 switches the monitor off.
    pub fn new(threshold_ms: u64) -> LatencyMonitor {
        LatencyMonitor { threshold_ms, events: Vec::new() }
    }

    /// CONFIG SET latency-monitor-threshold.
    pub fn set_threshold_ms(&mut self, threshold_ms: u64) {
        self.threshold_ms = threshold_ms;
    }

    pub fn threshold_ms(&self) -> u64 {
        self.threshold_ms
    }

    /// Notes that `event` took so long, if that is long enough.
    #[inline]
    pub fn observe(&mut self, event: &'static str, unix_time_seconds: u64, latency_ms: u64) {
        if self.threshold_ms != 0 && latency_ms >= self.threshold_ms {
            self.add(event, Sample { unix_time_seconds, latency_ms });
        }
    }

    #[cold]
    fn add(&mut self, name: &'static str, sample: Sample) {
        self.entry(name).add(sample);
    }

    fn entry(&mut self, name: &'static str) -> &mut Event {
        let index = self.events.iter().position(|event| event.name == name).unwrap_or_else(|| {
            self.events.push(Event { name, max_ms: 0, samples: VecDeque::new() });
            self.events.len() - 1
        });
        &mut self.events[index]
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The event of this name, as given (names of events are looked up with their case).
    pub fn event(&self, name: &[u8]) -> Option<&Event> {
        self.events.iter().find(|event| event.name.as_bytes() == name)
    }

    /// Adds what another core saw.
    pub fn merge(&mut self, other: &LatencyMonitor) {
        self.threshold_ms = self.threshold_ms.max(other.threshold_ms);
        for event in &other.events {
            self.entry(event.name).merge(event);
        }
    }

    /// LATENCY RESET: forgets the events of these names (in any case), or all when there are none. Returns those forgotten.
    pub fn reset<'a>(&mut self, names: impl IntoIterator<Item = &'a [u8]>) -> Vec<&'static str> {
        let names: Vec<&[u8]> = names.into_iter().collect();
        let hit = |event: &Event| {
            names.is_empty() || names.iter().any(|name| event.name.as_bytes().eq_ignore_ascii_case(name))
        };
        let (gone, kept): (Vec<Event>, Vec<Event>) = self.events.drain(..).partition(hit);
        self.events = kept;
        gone.into_iter().map(|event| event.name).collect()
    }
}

/// The reply to LATENCY RESET, from what each core forgot: an event counts once, on however many cores it was seen.
pub fn reset_count(forgotten: impl IntoIterator<Item = Vec<&'static str>>) -> i64 {
    let mut names: Vec<&str> = forgotten.into_iter().flatten().collect();
    names.sort_unstable();
    names.dedup();
    names.len() as i64
}

/// LATENCY HISTORY.
pub fn write_history(out: &mut Writer<'_>, monitor: &LatencyMonitor, event: &[u8]) {
    let Some(event) = monitor.event(event) else { return out.array(0) };
    out.array(event.samples().len());
    for sample in event.samples() {
        out.array(2);
        out.int(sample.unix_time_seconds as i64);
        out.int(sample.latency_ms as i64);
    }
}

/// LATENCY LATEST.
pub fn write_latest(out: &mut Writer<'_>, monitor: &LatencyMonitor) {
    out.array(monitor.events().len());
    for event in monitor.events() {
        out.array(4);
        out.bulk_str(event.name);
        out.int(event.latest().unix_time_seconds as i64);
        out.int(event.latest().latency_ms as i64);
        out.int(event.max_ms as i64);
    }
}

/// LATENCY GRAPH.
pub fn write_graph(
    out: &mut Writer<'_>,
    monitor: &LatencyMonitor,
    event: &[u8],
    unix_time_seconds: u64,
) -> Result<(), Error> {
    let Some(found) = monitor.event(event) else {
        return Err(Error::concat(&[b"ERR No samples available for event '", event, b"'"]));
    };
    out.verbatim(&graph(found, unix_time_seconds));
    Ok(())
}

/// LATENCY HISTOGRAM: of the `wanted` commands and their subcommands, or of all when there are none. `names` are full names
/// (`config|get`) by dense command index.
pub fn write_histogram(out: &mut Writer<'_>, names: &[String], stats: &[CommandStats], wanted: &[&[u8]]) {
    let called = || names.iter().zip(stats).filter(|(_, stats)| !stats.latency.is_empty());
    let shown: Vec<(&String, &CommandStats)> = if wanted.is_empty() {
        called().collect()
    } else {
        wanted.iter().flat_map(|wanted| called().filter(|(name, _)| is_of(name, wanted))).collect()
    };
    out.map(shown.len());
    for (name, stats) in shown {
        out.bulk_str(name);
        write_distribution(out, &stats.latency);
    }
}

/// Whether a full name is the wanted one or one of its subcommands.
fn is_of(name: &str, wanted: &[u8]) -> bool {
    let name = name.as_bytes();
    name.len() >= wanted.len()
        && name[..wanted.len()].eq_ignore_ascii_case(wanted)
        && matches!(name.get(wanted.len()), None | Some(b'|'))
}

fn write_distribution(out: &mut Writer<'_>, latency: &Histogram) {
    let steps = latency.cumulative_micros();
    out.map(2);
    out.bulk_str("calls");
    out.int(latency.total() as i64);
    out.bulk_str("histogram_usec");
    out.map(steps.len());
    for (edge_us, calls) in steps {
        out.int(edge_us as i64);
        out.int(calls as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::{CallResult, ShardStats};
    use crate::resp::{Proto, written};

    #[test]
    fn one_sample_a_second_and_a_bounded_history() {
        let mut monitor = LatencyMonitor::new(5);
        monitor.observe("command", 100, 4);
        assert!(monitor.events().is_empty());
        monitor.observe("command", 100, 20);
        monitor.observe("command", 100, 7);
        monitor.observe("command", 101, 6);
        let event = monitor.event(b"command").unwrap();
        assert_eq!((event.samples().len(), event.max_ms, event.latest().latency_ms), (2, 20, 6));
        for second in 0..200 {
            monitor.observe("command", 1_000 + second, 10);
        }
        let event = monitor.event(b"command").unwrap();
        assert_eq!((event.samples().len(), event.max_ms), (HISTORY_LEN, 20));
        assert_eq!(event.samples().next().map(|sample| sample.unix_time_seconds), Some(1_040));
        let mut off = LatencyMonitor::new(0);
        off.observe("command", 1, 1_000);
        assert!(off.events().is_empty());
    }

    #[test]
    fn monitors_of_cores_are_joined() {
        let (mut a, mut b) = (LatencyMonitor::new(1), LatencyMonitor::new(1));
        a.observe("command", 10, 5);
        a.observe("command", 12, 9);
        b.observe("command", 11, 3);
        b.observe("command", 12, 30);
        b.observe("expire-cycle", 12, 2);
        a.merge(&b);
        assert_eq!(
            written(Proto::Resp2, |out| write_history(out, &a, b"command")),
            "*3\r\n*2\r\n:10\r\n:5\r\n*2\r\n:11\r\n:3\r\n*2\r\n:12\r\n:30\r\n"
        );
        assert_eq!(
            written(Proto::Resp2, |out| write_latest(out, &a)),
            "*2\r\n*4\r\n$7\r\ncommand\r\n:12\r\n:30\r\n:30\r\n*4\r\n$12\r\nexpire-cycle\r\n:12\r\n:2\r\n:2\r\n"
        );
        assert_eq!(written(Proto::Resp2, |out| write_history(out, &a, b"COMMAND")), "*0\r\n");
    }

    #[test]
    fn reset_counts_an_event_once() {
        let (mut a, mut b) = (LatencyMonitor::new(1), LatencyMonitor::new(1));
        a.observe("command", 10, 5);
        b.observe("command", 10, 5);
        b.observe("fast-command", 10, 5);
        let named = || [&b"COMMAND"[..], b"nope"];
        assert_eq!(reset_count([a.reset(named()), b.reset(named())]), 1);
        assert_eq!(reset_count([a.reset([]), b.reset([])]), 1);
        assert!(b.events().is_empty());
    }

    #[test]
    fn histogram_replies() {
        let names: Vec<String> = ["config|get", "config", "set", "get", "getdel"].map(String::from).to_vec();
        let mut stats = ShardStats::new(names.len());
        stats.record_call(0, 270_000, CallResult::Ok);
        stats.record_call(2, 6_000, CallResult::Ok);
        stats.record_call(2, 20_000, CallResult::Ok);
        let write =
            |wanted: &[&[u8]], proto| written(proto, |out| write_histogram(out, &names, stats.commands(), wanted));
        assert_eq!(
            write(&[b"SET"], Proto::Resp3),
            "%1\r\n$3\r\nset\r\n%2\r\n$5\r\ncalls\r\n:2\r\n$14\r\nhistogram_usec\r\n%2\r\n:8\r\n:1\r\n:33\r\n:2\r\n"
        );
        assert_eq!(
            write(&[b"config", b"nope", b"get"], Proto::Resp2),
            "*2\r\n$10\r\nconfig|get\r\n*4\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n*2\r\n:528\r\n:1\r\n"
        );
        assert!(write(&[], Proto::Resp3).starts_with("%2\r\n"));
        assert_eq!(write(&[b"nope"], Proto::Resp3), "%0\r\n");
    }

    #[test]
    fn a_graph_needs_samples() {
        let nothing = written(Proto::Resp2, |out| {
            let result = write_graph(out, &LatencyMonitor::new(1), b"x", 0);
            assert_eq!(result.unwrap_err().to_string(), "ERR No samples available for event 'x'");
        });
        assert_eq!(nothing, "");
    }
}
