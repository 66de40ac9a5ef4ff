//! LATENCY GRAPH and LATENCY DOCTOR: what the samples of an event look like, in text.

use std::fmt::Write;

use super::latency::{Event, LatencyMonitor};

/// Samples side by side; more continue in a graph below.
const GRAPH_COLUMNS: usize = 80;
const GRAPH_ROWS: usize = 4;
/// Fill levels of one character cell, lowest first; `|` is a cell with more above it.
const LEVELS: [char; 3] = ['_', 'o', '#'];

/// LATENCY GRAPH: bars, and below each, downwards, how long ago it was.
pub fn graph(event: &Event, unix_time_seconds: u64) -> String {
    let latencies: Vec<u64> = event.samples().map(|sample| sample.latency_ms).collect();
    let low = latencies.iter().copied().min().unwrap_or(0);
    let high = latencies.iter().copied().max().unwrap_or(0);
    let mut text = format!("{} - high {high} ms, low {low} ms (all time high {} ms)\n", event.name, event.max_ms);
    text.push_str(&"-".repeat(GRAPH_COLUMNS));
    text.push('\n');
    let bars: Vec<Bar> = event
        .samples()
        .map(|sample| Bar {
            level: level(sample.latency_ms, low, high),
            label: age(unix_time_seconds.saturating_sub(sample.unix_time_seconds)),
        })
        .collect();
    for (index, part) in bars.chunks(GRAPH_COLUMNS).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        draw(&mut text, part);
    }
    text
}

struct Bar {
    /// 0 to `GRAPH_ROWS * LEVELS.len() - 1`.
    level: usize,
    label: String,
}

/// Where a latency stands between the lowest and the highest.
fn level(latency: u64, low: u64, high: u64) -> usize {
    let steps = (GRAPH_ROWS * LEVELS.len()) as u128;
    let range = u128::from((high - low).max(1));
    (u128::from(latency - low) * steps / range).min(steps - 1) as usize
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn draw(text: &mut String, bars: &[Bar]) {
    for row in (0..GRAPH_ROWS).rev() {
        let base = row * LEVELS.len();
        text.extend(bars.iter().map(|bar| match bar.level.checked_sub(base) {
            None => ' ',
            Some(above) => LEVELS.get(above).copied().unwrap_or('|'),
        }));
        text.push('\n');
    }
    text.push_str(&" ".repeat(bars.len()));
    text.push('\n');
    let label_rows = bars.iter().map(|bar| bar.label.len()).max().unwrap_or(0);
    for row in 0..label_rows {
        text.extend(bars.iter().map(|bar| bar.label.as_bytes().get(row).map_or(' ', |byte| char::from(*byte))));
        text.push('\n');
    }
}

/// What the doctor looks at besides the events.
#[derive(Clone, Copy, Debug)]
pub struct DoctorInput {
    pub unix_time_seconds: u64,
    /// `slowlog-log-slower-than`.
    pub slowlog_slower_than_us: i64,
    pub hz: u64,
    /// Bytes of anonymous huge pages the process uses (`AnonHugePages` in smaps).
    pub anon_huge_pages: u64,
}

/// Mean, mean deviation and time between samples of one event.
struct Analysis {
    samples: usize,
    mean_ms: u64,
    deviation_ms: u64,
    seconds_between: f64,
}

fn analyse(event: &Event, unix_time_seconds: u64) -> Analysis {
    let samples = event.samples().len().max(1);
    let mean_ms = event.samples().map(|sample| sample.latency_ms).sum::<u64>() / samples as u64;
    let deviation_ms = event.samples().map(|sample| sample.latency_ms.abs_diff(mean_ms)).sum::<u64>() / samples as u64;
    let oldest = event.samples().map(|sample| sample.unix_time_seconds).min().unwrap_or(unix_time_seconds);
    let seconds = unix_time_seconds.saturating_sub(oldest).max(1);
    Analysis { samples, mean_ms, deviation_ms, seconds_between: seconds as f64 / samples as f64 }
}

/// LATENCY DOCTOR. The line of an event is Redis's, as tools read it; the rest is in our own words.
pub fn doctor(monitor: &LatencyMonitor, input: DoctorInput) -> String {
    if monitor.events().is_empty() && monitor.threshold_ms() == 0 {
        return "Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n".into();
    }
    let mut report = String::new();
    if !monitor.events().is_empty() {
        report.push_str("Latency spikes were observed on this node:\n\n");
    }
    for (index, event) in monitor.events().iter().enumerate() {
        let analysis = analyse(event, input.unix_time_seconds);
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            report,
            "{}. {}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time event {}ms.",
            index + 1,
            event.name,
            analysis.samples,
            analysis.mean_ms,
            analysis.deviation_ms,
            analysis.seconds_between,
            event.max_ms
        );
    }
    let advice = advice(monitor, input);
    match (monitor.events().is_empty(), advice.is_empty()) {
        (true, true) => report.push_str("No latency spike was observed so far.\n"),
        (false, true) => report.push_str("\nThere is no standard advice for these events.\n"),
        (_, false) => {
            report.push_str("\nWhat can be done:\n\n");
            advice.iter().for_each(|line| report.push_str(&format!("- {line}\n")));
        }
    }
    report
}

fn advice(monitor: &LatencyMonitor, input: DoctorInput) -> Vec<String> {
    let seen = |name: &str| monitor.event(name.as_bytes()).is_some();
    let mut advice = Vec::new();
    if seen("command") {
        let threshold_us = monitor.threshold_ms() * 1000;
        if input.slowlog_slower_than_us < 0 {
            advice.push(format!("The slow log is off, so the slow commands are not known: CONFIG SET slowlog-log-slower-than {threshold_us}."));
        } else if input.slowlog_slower_than_us as u64 / 1000 > monitor.threshold_ms() {
            advice.push(format!("The slow log misses commands that the latency monitor reports: CONFIG SET slowlog-log-slower-than {threshold_us}."));
        }
        advice.push(
            "SLOWLOG GET shows which commands were slow; KEYS and other commands over all keys are the usual ones."
                .into(),
        );
    }
    if seen("fast-command") {
        advice.push(
            "Commands of constant time were slow, so the cores did not get their CPU: look for other load on these CPUs, for \
             steal time of the virtual machine, and compare with redis-cli --intrinsic-latency 100."
                .into(),
        );
    }
    if seen("expire-cycle") && input.hz < 100 {
        advice
            .push("Expiry does much at once; a higher hz (up to 100) spreads it over more and shorter cycles.".into());
    }
    if seen("command") || seen("expire-cycle") || seen("eviction-del") {
        advice.push("Removing large values takes time; UNLINK removes them in the background, and smaller values are faster to remove.".into());
    }
    if seen("eviction-cycle") {
        advice.push(
            "Much had to be evicted at once: a lowered maxmemory, or large values written near the limit.".into(),
        );
    }
    if input.anon_huge_pages > 0 {
        advice.push(
            "The process uses transparent huge pages, which make some page faults slow: echo never > \
             /sys/kernel/mm/transparent_hugepage/enabled, then restart."
                .into(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: DoctorInput =
        DoctorInput { unix_time_seconds: 1795221978, slowlog_slower_than_us: 10_000, hz: 10, anon_huge_pages: 0 };

    /// DEBUG SLEEPs in redis-server 7.0.15.
    fn monitor() -> LatencyMonitor {
        let mut monitor = LatencyMonitor::new(5);
        for (second, millis) in [(71, 20), (72, 50), (73, 10), (75, 200), (76, 30), (77, 80)] {
            monitor.observe("command", 1795221900 + second, millis);
        }
        monitor
    }

    #[test]
    fn the_graph_is_that_of_redis() {
        let expected = format!(
            "command - high 200 ms, low 10 ms (all time high 200 ms)\n{}\n   #  \n   |  \n   | o\n_#_|o|\n      \n765321\nssssss\n",
            "-".repeat(80)
        );
        assert_eq!(graph(monitor().event(b"command").unwrap(), 1795221978), expected);
    }

    #[test]
    fn long_graphs_wrap_and_old_samples_have_longer_labels() {
        let mut monitor = LatencyMonitor::new(1);
        for second in 0..100 {
            monitor.observe("command", 1_000 + second, 5);
        }
        let text = graph(&monitor.events()[0], 1_000 + 700 * 60);
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines.iter().map(|line| line.len()).max(), Some(80));
        // Header and rule; two graphs of four rows, a margin and three label rows (`11h`); the blank line between them; the end.
        assert_eq!(lines.len(), 2 + 8 + 1 + 8 + 1);
        assert_eq!((lines[5], lines[7]), ("_".repeat(80).as_str(), "1".repeat(80).as_str()));
        assert_eq!(
            ["0s", "59s", "1m", "59m", "1h", "23h", "2d"],
            [0, 59, 60, 3599, 3600, 86399, 172_800].map(age).each_ref().map(String::as_str)
        );
    }

    #[test]
    fn the_doctor_reports_and_advises() {
        let report = doctor(&monitor(), INPUT);
        let line = "1. command: 6 latency spikes (average 65ms, mean deviation 50ms, period 1.17 sec). Worst all time event 200ms.\n";
        assert!(report.contains(line), "{report}");
        assert!(report.contains("slowlog-log-slower-than 5000"));
        let tuned = doctor(&monitor(), DoctorInput { slowlog_slower_than_us: 1_000, ..INPUT });
        assert!(!tuned.contains("CONFIG SET") && tuned.contains("SLOWLOG GET"));
        assert!(doctor(&LatencyMonitor::new(0), INPUT).contains("is off"));
        assert!(doctor(&LatencyMonitor::new(5), INPUT).contains("No latency spike"));
        assert!(doctor(&LatencyMonitor::new(5), DoctorInput { anon_huge_pages: 1, ..INPUT }).contains("huge pages"));
    }
}
