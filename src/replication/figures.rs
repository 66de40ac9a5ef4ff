//! The counters of replication as INFO shows them: since CONFIG RESETSTAT, and as rates.

use super::status::Counters;
use crate::observe::stats::Rate;

/// What is to be known of the past for that.
#[derive(Default)]
pub struct Figures {
    /// The counters at the last reset.
    zero: Counters,
    input: Rate,
    output: Rate,
}

impl Figures {
    /// Takes a sample, ten times a second.
    pub fn sample(&mut self, now_us: u64, counters: &Counters) {
        self.input.sample(now_us, counters.input_bytes);
        self.output.sample(now_us, counters.output_bytes);
    }

    pub fn reset(&mut self, counters: &Counters) {
        self.zero = *counters;
    }

    /// Turns counters that began with the process into those to be shown.
    pub fn show(&self, counters: &mut Counters) {
        let zero = &self.zero;
        for (counter, zero) in [
            (&mut counters.sync_full, zero.sync_full),
            (&mut counters.sync_partial_ok, zero.sync_partial_ok),
            (&mut counters.sync_partial_err, zero.sync_partial_err),
            (&mut counters.input_bytes, zero.input_bytes),
            (&mut counters.output_bytes, zero.output_bytes),
            (&mut counters.output_limit_disconnections, zero.output_limit_disconnections),
            (&mut counters.unexpected_errors, zero.unexpected_errors),
        ] {
            *counter = counter.saturating_sub(zero);
        }
        counters.input_rate = self.input.per_second();
        counters.output_rate = self.output.per_second();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_last_reset_on() {
        let mut figures = Figures::default();
        let mut counters = Counters { sync_full: 3, input_bytes: 1000, ..Counters::default() };
        figures.sample(0, &counters);
        figures.reset(&counters);
        counters.sync_full += 1;
        counters.input_bytes += 500;
        for second in 1..=16 {
            figures.sample(second * 1_000_000, &counters);
            counters.input_bytes += 500;
        }
        let mut shown = counters;
        figures.show(&mut shown);
        assert_eq!((shown.sync_full, shown.input_bytes, shown.input_rate), (1, 17 * 500, 500));
    }
}
