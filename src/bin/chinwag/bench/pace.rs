//! A fixed rate: when each message is meant to be sent, whatever happens.
//!
//! A generator that sends only when the last reply is there sends less while the server stands still,
//! and measures that only once (coordinated omission). Here the moments are fixed beforehand, and a
//! latency counts from the moment at which its message was meant to go.

use std::time::Duration;

/// Moments at even distances, in nanoseconds of the run.
#[derive(Debug, Clone)]
pub struct Pace {
    start: u64,
    /// Nanoseconds from one to the next.
    interval: f64,
    /// How many have passed.
    passed: u64,
}

impl Pace {
    /// `per_second` moments a second from `start` on.
    pub fn new(start: u64, per_second: f64) -> Self {
        Self { start, interval: 1e9 / per_second, passed: 0 }
    }

    /// The `number`-th moment, from 0.
    pub fn at(&self, number: u64) -> u64 {
        self.start + (number as f64 * self.interval) as u64
    }

    /// The number of the next moment, once it has come by `now`.
    pub fn pass(&mut self, now: u64) -> Option<u64> {
        let number = self.passed;
        (self.at(number) <= now).then(|| {
            self.passed += 1;
            number
        })
    }

    /// How long to wait for events: not at all where the next moment is near, as a poller wakes by the
    /// millisecond.
    pub fn wait(&self, now: u64) -> Duration {
        const NEAR: Duration = Duration::from_millis(2);
        let left = Duration::from_nanos(self.at(self.passed).saturating_sub(now));
        if left <= NEAR { Duration::ZERO } else { left - NEAR }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_at_even_distances_without_drift() {
        let pace = Pace::new(1_000, 3.0);
        assert_eq!(
            [0, 1, 2, 3].map(|n| pace.at(n)),
            [1_000, 333_334_333, 666_667_666, 1_000_001_000]
        );
        assert_eq!(pace.at(3_000_000), 1_000_000_000_000_000 + 1_000);
    }

    #[test]
    fn a_moment_passes_once_and_late_ones_all_at_once() {
        let mut pace = Pace::new(0, 1_000.0);
        assert_eq!(pace.pass(0), Some(0));
        assert_eq!(pace.pass(999_999), None);
        let late: Vec<u64> = std::iter::from_fn(|| pace.pass(3_500_000)).collect();
        assert_eq!(late, [1, 2, 3]);
    }

    #[test]
    fn the_wait_ends_well_before_the_moment() {
        let mut pace = Pace::new(0, 100.0);
        pace.pass(0);
        assert_eq!(pace.wait(0), Duration::from_millis(8));
        assert_eq!(pace.wait(7_999_999), Duration::from_nanos(1));
        assert_eq!(pace.wait(8_000_000), Duration::ZERO);
        assert_eq!(pace.wait(20_000_000), Duration::ZERO, "it has passed");
    }
}
