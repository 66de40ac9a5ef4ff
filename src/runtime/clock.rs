//! Time: a wall clock for expiry, and a cheap tick counter for measuring commands.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    unix_us() / 1000
}

/// Unix time in microseconds.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// A reading of a monotonic counter that costs a few nanoseconds: the CPU's time stamp counter where there is one.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: RDTSC is available on every x86_64 CPU; it reads a register.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// How long the calibration looks at the counter; its error is below one part in a thousand.
const CALIBRATION: Duration = Duration::from_millis(2);

fn nanoseconds_per_tick() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (from, started) = (ticks(), Instant::now());
        while started.elapsed() < CALIBRATION {
            std::hint::spin_loop();
        }
        let elapsed = started.elapsed().as_nanos() as f64;
        elapsed / (ticks().wrapping_sub(from).max(1)) as f64
    })
}

/// Converts tick differences to time. Made once per executor, as the first one calibrates the counter.
#[derive(Clone, Copy)]
pub struct TickRate(f64);

impl TickRate {
    pub fn measure() -> TickRate {
        TickRate(nanoseconds_per_tick())
    }

    /// Nanoseconds between two readings; 0 if the counter went backwards (a thread that changed CPUs).
    #[inline]
    pub fn nanoseconds(self, from: u64, to: u64) -> u64 {
        (to.saturating_sub(from) as f64 * self.0) as u64
    }
}
