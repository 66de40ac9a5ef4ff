//! A latency histogram: how many calls took how long, from 1 ns to 1 s.
//!
//! Log-linear: values below 256 ns have a bucket each, above that every power of two is cut into 128 buckets, so a bucket is
//! never wider than 1/128 of its value. These are the bucket edges of the histogram that Redis keeps (two significant digits up
//! to one second), so percentiles and LATENCY HISTOGRAM show what Redis would show for the same calls.
//!
//! Invariants
//! - buckets are allocated one chunk (128 buckets, 1 KiB) at a time, when the first value falls into it: a command whose calls
//!   all take 0.3 to 5 µs holds five chunks
//! - `total` is the sum of all buckets

/// Calls shorter than this are counted as this long.
pub const MIN_NANOS: u64 = 1;
/// Calls longer than this are counted as this long.
pub const MAX_NANOS: u64 = 1_000_000_000;

const CHUNK_BITS: u32 = 7;
const CHUNK_BUCKETS: usize = 1 << CHUNK_BITS;
/// The chunk of [`MAX_NANOS`] and all before it.
const CHUNKS: usize = (bucket_of(MAX_NANOS) >> CHUNK_BITS) + 1;

/// LATENCY HISTOGRAM's steps are powers of two from this on.
const FIRST_STEP_NANOS: u64 = 1024;

type Chunk = Box<[u64; CHUNK_BUCKETS]>;

/// How long the calls of one command took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    chunks: [Option<Chunk>; CHUNKS],
    total: u64,
}

/// The bucket of a value: 0 to 255 for themselves, then 128 a power of two.
const fn bucket_of(nanos: u64) -> usize {
    // The `| 255` puts everything below 256 into power 0.
    let power = (nanos | 255).ilog2() - CHUNK_BITS;
    ((power as usize) << CHUNK_BITS) + (nanos >> power) as usize
}

/// The least value of a bucket, and the greatest.
fn bounds_of(bucket: usize) -> (u64, u64) {
    let power = (bucket >> CHUNK_BITS).saturating_sub(1) as u32;
    let low = ((bucket - ((power as usize) << CHUNK_BITS)) as u64) << power;
    (low, low + (1 << power) - 1)
}

impl Histogram {
    /// Counts one call.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        let bucket = bucket_of(nanos.clamp(MIN_NANOS, MAX_NANOS));
        let chunk = self.chunks[bucket >> CHUNK_BITS].get_or_insert_with(|| Box::new([0; CHUNK_BUCKETS]));
        chunk[bucket & (CHUNK_BUCKETS - 1)] += 1;
        self.total += 1;
    }

    /// How many calls were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds the calls of another core.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.chunks.iter_mut().zip(&other.chunks) {
            let Some(theirs) = theirs else { continue };
            match mine {
                None => *mine = Some(theirs.clone()),
                Some(mine) => mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine += theirs),
            }
        }
        self.total += other.total;
    }

    /// Forgets all calls; keeps the memory, as the same command will be called again.
    pub fn reset(&mut self) {
        for chunk in self.chunks.iter_mut().flatten() {
            chunk.fill(0);
        }
        self.total = 0;
    }

    /// The buckets that are not empty, ascending, with their counts.
    fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        self.chunks.iter().enumerate().flat_map(|(index, chunk)| {
            let counts = chunk.iter().flat_map(|chunk| chunk.iter());
            counts
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(move |(at, count)| (index * CHUNK_BUCKETS + at, *count))
        })
    }

    /// The time within which `percent` of the calls ended, to the bucket's upper edge (its lower edge for percentile 0); 0 without calls.
    pub fn percentile_nanos(&self, percent: f64) -> u64 {
        let wanted = ((percent.clamp(0.0, 100.0) / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.filled() {
            seen += count;
            if seen >= wanted {
                let (low, high) = bounds_of(bucket);
                return if percent == 0.0 { low } else { high };
            }
        }
        0
    }

    /// The cumulative distribution of LATENCY HISTOGRAM: upper edge in microseconds and calls up to it, in steps of powers of
    /// two, only the steps that add calls.
    pub fn cumulative_micros(&self) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let mut seen = 0;
        for (bucket, count) in self.filled() {
            seen += count;
            let edge_micros = step_of(bounds_of(bucket).1) / 1000;
            match steps.last_mut() {
                Some((last, calls)) if *last == edge_micros => *calls = seen,
                _ => steps.push((edge_micros, seen)),
            }
        }
        steps
    }
}

/// The upper edge of the step that holds a bucket's upper edge. A step ends with the whole bucket its power of two begins.
fn step_of(high: u64) -> u64 {
    let mut power = FIRST_STEP_NANOS;
    loop {
        let edge = bounds_of(bucket_of(power)).1;
        if high <= edge {
            return edge;
        }
        power *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        assert_eq!(bounds_of(0), (0, 0));
        let mut next = 0;
        for bucket in 0..CHUNKS * CHUNK_BUCKETS {
            let (low, high) = bounds_of(bucket);
            assert_eq!(low, next, "bucket {bucket}");
            assert_eq!((bucket_of(low), bucket_of(high)), (bucket, bucket));
            assert!(high - low <= low / 128);
            next = high + 1;
        }
        assert!(next > MAX_NANOS);
    }

    #[test]
    fn percentiles_end_where_redis_ends_them() {
        // Calls of 6 and 20 µs in redis-server 7.0.15: p50=6.015, p99=20.095.
        let mut calls = Histogram::default();
        calls.record(6_000);
        calls.record(20_000);
        assert_eq!((calls.percentile_nanos(50.0), calls.percentile_nanos(99.0)), (6_015, 20_095));
        // One call of 270 µs: p50=270.335; one of 26 µs: p0=25.984.
        let mut one = Histogram::default();
        one.record(270_000);
        assert_eq!(one.percentile_nanos(50.0), 270_335);
        let mut one = Histogram::default();
        one.record(26_000);
        assert_eq!((one.percentile_nanos(0.0), one.percentile_nanos(100.0)), (25_984, 26_111));
        assert_eq!(Histogram::default().percentile_nanos(50.0), 0);
    }

    #[test]
    fn steps_are_those_of_latency_histogram() {
        // DEBUG SLEEP of 10, 20, 30, 50, 80 and 200 ms in redis-server 7.0.15 fall into these steps.
        let mut calls = Histogram::default();
        for millis in [10, 20, 30, 50, 80, 200] {
            calls.record(millis * 1_000_000 + 70_000);
        }
        calls.record(20_000);
        assert_eq!(calls.cumulative_micros(), [(33, 1), (16908, 2), (33816, 4), (67633, 5), (135266, 6), (270532, 7)]);
        let mut short = Histogram::default();
        short.record(0);
        short.record(900);
        assert_eq!(short.cumulative_micros(), [(1, 2)]);
        let mut long = Histogram::default();
        long.record(u64::MAX);
        assert_eq!(long.cumulative_micros(), [(1082130, 1)]);
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut left, mut right, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for i in 0..2_000u64 {
            let nanos = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (34 + i % 20);
            both.record(nanos);
            if i % 3 == 0 { left.record(nanos) } else { right.record(nanos) }
        }
        left.merge(&right);
        assert_eq!(left, both);
        assert_eq!(left.total(), 2_000);
        left.reset();
        assert!(left.is_empty() && left.cumulative_micros().is_empty());
    }
}
