//! The counters of one core, and what they add up to over all cores.
//!
//! Invariants
//! - only the owning core writes to its [`ShardStats`]; others see clones
//! - `merge` is associative and commutative up to the order of equal error codes, so cores may be joined in any order
//! - counting allocates nothing once a command, an error code and a latency range have been seen
//!
//! Knows nothing of what the commands are: they are dense indices here, and names are given when text is made.

use super::histogram::Histogram;

/// Distinct error codes that are counted. Scripts can invent codes, so without a bound a client could fill the memory.
pub const MAX_ERROR_CODES: usize = 128;
/// What INFO shows instead of the codes once there were more than [`MAX_ERROR_CODES`], until CONFIG RESETSTAT (as Redis 7.4).
pub const ERRORSTATS_DISABLED: &str = "ERRORSTATS_DISABLED";
/// An error code is looked for in this many bytes of a reply; a longer first word counts as `ERR`.
const MAX_ERROR_CODE_BYTES: usize = 31;
/// Samples over which the per-second figures are averaged; at 10 a second, 1.6 s.
pub const RATE_SAMPLES: usize = 16;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Plain counters; each counts from start or from the last CONFIG RESETSTAT.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Adds the counters of another core.
            pub fn merge(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    connections_received,
    /// Over `maxclients`, or refused in protected mode.
    connections_rejected,
    commands_processed,
    net_input_bytes,
    net_output_bytes,
    reads_processed,
    writes_processed,
    keyspace_hits,
    keyspace_misses,
    expired_keys,
    /// Fields of hashes, with a time of their own.
    expired_fields,
    /// Expiry cycles that ended because their time was used up.
    expired_time_cap_reached,
    expire_cycle_nanos,
    evicted_keys,
    /// Keys and large objects freed in the background.
    lazyfreed_objects,
    /// Time spent above `maxmemory`.
    eviction_exceeded_nanos,
    /// Clients closed to keep within `maxmemory-clients`.
    evicted_clients,
    /// Clients closed for `client-query-buffer-limit`.
    query_buffer_limit_disconnections,
    /// Clients closed for `client-output-buffer-limit`.
    output_buffer_limit_disconnections,
    error_replies,
    dump_payload_sanitizations,
    auth_denied,
    command_denied,
    key_denied,
    channel_denied,
    /// Ticks of the reactor, and the time they took.
    ticks,
    tick_nanos,
    /// The part of `tick_nanos` spent in commands.
    command_nanos,
    /// Commands sent to the core that owns their keys, and commands executed for another core.
    remote_commands_sent,
    remote_commands_executed,
    /// Of snapshots: segments that were written down by the walk, keys before it as they were about to change, and bytes of records.
    snapshot_walked_segments,
    snapshot_forced_keys,
    snapshot_bytes,
    /// Messages between cores, of any kind, and the batches they travelled in.
    messages_sent,
    batches_sent,
    /// Of clients of this core: commands and MULTI blocks over several cores, and what took locks otherwise.
    transactions,
    /// Cores that could not give their keys at once.
    transactions_refused,
    /// Cores that were asked to wait until they could.
    transactions_waited,
    /// Requests of any kind that waited for a lock of this core.
    lock_waits,
    /// Calls of `io_uring_enter`.
    ring_enters,
    /// Times this core slept in its ring, and wake-ups it sent to sleeping cores.
    parks,
    wakeups_sent,
}

/// Whether a call answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    Ok,
    Failed,
}

/// What one command did.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Executed, failed ones included.
    pub calls: u64,
    /// Time all calls took. Kept in nanoseconds: many a call takes less than a microsecond.
    pub nanos: u64,
    /// Not executed: wrong arity, no permission, out of memory.
    pub rejected_calls: u64,
    pub failed_calls: u64,
    /// Empty while `latency-tracking` is off.
    pub latency: Histogram,
}

impl CommandStats {
    pub fn micros(&self) -> u64 {
        self.nanos / 1000
    }

    fn merge(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.nanos += other.nanos;
        self.rejected_calls += other.rejected_calls;
        self.failed_calls += other.failed_calls;
        self.latency.merge(&other.latency);
    }

    fn reset(&mut self) {
        let mut latency = std::mem::take(&mut self.latency);
        latency.reset();
        *self = CommandStats { latency, ..CommandStats::default() };
    }
}

/// The config directive `latency-tracking`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatencyTracking {
    Off,
    #[default]
    On,
}

/// Error replies by their code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    codes: Vec<(Box<[u8]>, u64)>,
    stopped: bool,
}

impl ErrorCounts {
    /// Counts an error reply; `message` without its leading `-`.
    pub fn record(&mut self, message: &[u8]) {
        self.add(error_code(message), 1);
    }

    fn add(&mut self, code: &[u8], count: u64) {
        if self.stopped {
            return;
        }
        if let Some((_, known)) = self.codes.iter_mut().find(|(known, _)| **known == *code) {
            *known += count;
        } else if self.codes.len() < MAX_ERROR_CODES {
            self.codes.push((code.into(), count));
        } else {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.codes = vec![(ERRORSTATS_DISABLED.as_bytes().into(), 1)];
        self.stopped = true;
    }

    pub fn merge(&mut self, other: &ErrorCounts) {
        if other.stopped && !self.stopped {
            self.stop();
        }
        for (code, count) in &other.codes {
            self.add(code, *count);
        }
    }

    /// Codes and counts, by code.
    pub fn sorted(&self) -> Vec<(&[u8], u64)> {
        let mut codes: Vec<(&[u8], u64)> = self.codes.iter().map(|(code, count)| (&**code, *count)).collect();
        codes.sort_unstable();
        codes
    }
}

/// The first word of an error reply; `ERR` when there is none or it is too long to be one.
fn error_code(message: &[u8]) -> &[u8] {
    match message.iter().take(MAX_ERROR_CODE_BYTES).position(|byte| *byte == b' ') {
        Some(end) => &message[..end],
        None => b"ERR",
    }
}

/// A counter's increase per second, averaged over the last [`RATE_SAMPLES`] samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    last: Option<(u64, u64)>,
    samples: [u64; RATE_SAMPLES],
    next: usize,
}

impl Rate {
    /// Takes a sample of the counter; `now_us` on any steady clock.
    pub fn sample(&mut self, now_us: u64, value: u64) {
        if let Some((then_us, before)) = self.last {
            let elapsed_us = now_us.saturating_sub(then_us);
            let increase = u128::from(value.saturating_sub(before));
            let per_second = (increase * 1_000_000).checked_div(u128::from(elapsed_us)).unwrap_or(0);
            self.samples[self.next] = u64::try_from(per_second).unwrap_or(u64::MAX);
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last = Some((now_us, value));
    }

    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / RATE_SAMPLES as u64
    }

    fn merge(&mut self, other: &Rate) {
        // The mean does not depend on the order of the samples, so the cores' positions in the ring need not agree.
        self.samples.iter_mut().zip(&other.samples).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// The per-second figures of INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub commands: Rate,
    pub input_bytes: Rate,
    pub output_bytes: Rate,
    pub ticks: Rate,
    /// Nanoseconds of tick time per second.
    pub tick_nanos: Rate,
}

impl Rates {
    fn each_mut(&mut self) -> [&mut Rate; 5] {
        [&mut self.commands, &mut self.input_bytes, &mut self.output_bytes, &mut self.ticks, &mut self.tick_nanos]
    }
}

/// All that one core counts.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    pub counters: Counters,
    pub errors: ErrorCounts,
    pub rates: Rates,
    pub latency_tracking: LatencyTracking,
    commands: Vec<CommandStats>,
}

impl ShardStats {
    /// For a table of `commands` commands and subcommands, numbered densely from 0.
    pub fn new(commands: usize) -> ShardStats {
        ShardStats { commands: vec![CommandStats::default(); commands], ..ShardStats::default() }
    }

    /// Counts an executed command.
    #[inline]
    pub fn record_call(&mut self, command: usize, nanos: u64, result: CallResult) {
        let stats = &mut self.commands[command];
        stats.calls += 1;
        stats.nanos += nanos;
        if result == CallResult::Failed {
            stats.failed_calls += 1;
        }
        if self.latency_tracking == LatencyTracking::On {
            stats.latency.record(nanos);
        }
        self.counters.commands_processed += 1;
        self.counters.command_nanos += nanos;
    }

    /// Counts a command that was refused before it was executed.
    pub fn record_rejected(&mut self, command: usize) {
        self.commands[command].rejected_calls += 1;
    }

    /// Counts an error reply; `message` without its leading `-`.
    pub fn record_error(&mut self, message: &[u8]) {
        self.counters.error_replies += 1;
        self.errors.record(message);
    }

    /// Takes a sample for the per-second figures; to be called about ten times a second.
    pub fn sample_rates(&mut self, now_us: u64) {
        let (counters, rates) = (&self.counters, &mut self.rates);
        rates.commands.sample(now_us, counters.commands_processed);
        rates.input_bytes.sample(now_us, counters.net_input_bytes);
        rates.output_bytes.sample(now_us, counters.net_output_bytes);
        rates.ticks.sample(now_us, counters.ticks);
        rates.tick_nanos.sample(now_us, counters.tick_nanos);
    }

    /// By dense command index.
    pub fn commands(&self) -> &[CommandStats] {
        &self.commands
    }

    /// Adds what another core counted.
    pub fn merge(&mut self, other: &ShardStats) {
        self.counters.merge(&other.counters);
        self.errors.merge(&other.errors);
        let mut theirs = other.rates.clone();
        for (mine, theirs) in self.rates.each_mut().into_iter().zip(theirs.each_mut()) {
            mine.merge(theirs);
        }
        if self.commands.len() < other.commands.len() {
            self.commands.resize_with(other.commands.len(), CommandStats::default);
        }
        self.commands.iter_mut().zip(&other.commands).for_each(|(mine, theirs)| mine.merge(theirs));
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        self.counters = Counters::default();
        self.errors = ErrorCounts::default();
        self.rates = Rates::default();
        self.commands.iter_mut().for_each(CommandStats::reset);
    }

    /// CONFIG SET latency-tracking: switching it off forgets the histograms, as in Redis.
    pub fn set_latency_tracking(&mut self, tracking: LatencyTracking) {
        self.latency_tracking = tracking;
        if tracking == LatencyTracking::Off {
            self.commands.iter_mut().for_each(|stats| stats.latency = Histogram::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_errors_and_rejections_add_up_over_cores() {
        let (mut a, mut b) = (ShardStats::new(3), ShardStats::new(3));
        a.record_call(1, 400, CallResult::Ok);
        a.record_call(1, 700, CallResult::Failed);
        a.record_error(b"WRONGTYPE Operation against a key");
        b.record_call(1, 1_900, CallResult::Ok);
        b.record_rejected(2);
        b.record_error(b"ERR syntax error");
        b.record_error(b"ERR no");
        b.counters.keyspace_hits = 4;
        a.merge(&b);
        let get = &a.commands()[1];
        assert_eq!((get.calls, get.micros(), get.failed_calls, get.latency.total()), (3, 3, 1, 3));
        assert_eq!(a.commands()[2].rejected_calls, 1);
        assert_eq!((a.counters.commands_processed, a.counters.error_replies, a.counters.keyspace_hits), (3, 3, 4));
        assert_eq!(a.errors.sorted(), [(&b"ERR"[..], 2), (&b"WRONGTYPE"[..], 1)]);

        a.reset();
        assert_eq!(a.counters, Counters::default());
        assert_eq!((a.commands()[1].calls, a.commands()[1].latency.total(), a.errors.sorted().len()), (0, 0, 0));
    }

    #[test]
    fn a_word_that_is_too_long_or_alone_counts_as_err() {
        assert_eq!(error_code(b"MOVED 1 127.0.0.1:1"), b"MOVED");
        assert_eq!(error_code(b"loneword"), b"ERR");
        assert_eq!(error_code(b""), b"ERR");
        assert_eq!(error_code(&[&[b'A'; 30][..], b" x"].concat()), [b'A'; 30]);
        assert_eq!(error_code(&[&[b'A'; 31][..], b" x"].concat()), b"ERR");
    }

    #[test]
    fn error_codes_are_bounded() {
        let mut errors = ErrorCounts::default();
        for i in 0..MAX_ERROR_CODES {
            errors.record(format!("CODE{i} text").as_bytes());
        }
        errors.record(b"CODE0 again");
        assert_eq!(errors.sorted().len(), MAX_ERROR_CODES);
        errors.record(b"ONEMORE text");
        errors.record(b"CODE0 again");
        assert_eq!(errors.sorted(), [(ERRORSTATS_DISABLED.as_bytes(), 1)]);

        let mut other = ErrorCounts::default();
        other.record(b"ERR x");
        other.merge(&errors);
        assert_eq!(other.sorted(), [(ERRORSTATS_DISABLED.as_bytes(), 1)]);
    }

    #[test]
    fn rates_are_means_of_sixteen_samples() {
        let mut stats = ShardStats::new(0);
        let mut now_us = 5_000_000;
        stats.sample_rates(now_us);
        for _ in 0..RATE_SAMPLES + 5 {
            now_us += 100_000;
            stats.counters.commands_processed += 50;
            stats.counters.net_input_bytes += 1024;
            stats.sample_rates(now_us);
        }
        assert_eq!((stats.rates.commands.per_second(), stats.rates.input_bytes.per_second()), (500, 10_240));
        stats.sample_rates(now_us);
        assert_eq!(stats.rates.commands.per_second(), 500 * 15 / 16);
        let other = stats.clone();
        stats.merge(&other);
        assert_eq!(stats.rates.commands.per_second(), 2 * 500 * 15 / 16);
    }

    #[test]
    fn histograms_follow_latency_tracking() {
        let mut stats = ShardStats::new(1);
        stats.record_call(0, 10, CallResult::Ok);
        stats.set_latency_tracking(LatencyTracking::Off);
        stats.record_call(0, 10, CallResult::Ok);
        assert_eq!((stats.commands()[0].calls, stats.commands()[0].latency.total()), (2, 0));
    }
}
