//! How many connections are active at once, and so whether a sleeping executor should gather events before it wakes.
//!
//! With few connections a reply is waited for, and every microsecond counts. With many, the next event is only microseconds away, and to wake up
//! for each alone costs more than to serve some together.

use std::time::{Duration, Instant};

/// Over how long activity is counted.
const WINDOW: Duration = Duration::from_millis(1);
/// Connections that sent something within a window, from which on events are gathered.
const GATHER_FROM: u32 = 16;
/// Events that a sleep gathers beyond the first.
const GATHER_EVENTS: u32 = 3;

pub struct Activity {
    window: u32,
    began: Instant,
    /// Connections seen in this window, and in the one before.
    active: u32,
    before: u32,
}

impl Activity {
    pub fn new() -> Activity {
        // Sockets start in window 0, which has been.
        Activity { window: 1, began: Instant::now(), active: 0, before: 0 }
    }

    /// A connection has sent something; `seen` is the window in which it last did.
    #[inline]
    pub fn note(&mut self, seen: &mut u32) {
        if *seen != self.window {
            *seen = self.window;
            self.active += 1;
        }
    }

    /// How many events the sleep that begins now should gather beyond the first.
    pub fn gather(&mut self, now: Instant) -> u32 {
        if now.saturating_duration_since(self.began) >= WINDOW {
            self.window = self.window.wrapping_add(1);
            self.began = now;
            self.before = std::mem::take(&mut self.active);
        }
        if self.before.max(self.active) >= GATHER_FROM { GATHER_EVENTS } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_a_window(connections: usize, times: usize) -> u32 {
        let mut activity = Activity::new();
        let mut seen = vec![0; connections];
        for _ in 0..times {
            seen.iter_mut().for_each(|seen| activity.note(seen));
        }
        activity.gather(activity.began + WINDOW)
    }

    #[test]
    fn many_connections_are_gathered_and_one_busy_one_is_not() {
        assert_eq!(after_a_window(1, 1000), 0);
        assert_eq!(after_a_window(GATHER_FROM as usize - 1, 10), 0);
        assert_eq!(after_a_window(GATHER_FROM as usize, 1), GATHER_EVENTS);
    }

    #[test]
    fn it_ends_with_the_activity() {
        let mut activity = Activity::new();
        let mut seen = vec![0; 100];
        seen.iter_mut().for_each(|seen| activity.note(seen));
        let next = activity.began + WINDOW;
        assert_eq!(activity.gather(next), GATHER_EVENTS);
        assert_eq!(activity.gather(next + WINDOW), 0);
    }
}
