//! Patience before a large fan-out: who says more in a moment is heard in the same write.
//!
//! To a thousand members even one publication is a thousand system calls, and ten cost hardly more than
//! one. Where such fan-outs follow each other, the members that answer the last one are about to
//! publish again: a moment of waiting, short beside what a fan-out takes, brings their words together.
//! A worker that had rested publishes at once.

use std::time::{Duration, Instant};

/// Deliveries of a turn at which it is worth looking at the clock, and members of a topic at which those
/// who have just spoken hear last: with fewer, no pause would bring their answers together.
pub(super) const MANY: usize = 64;

/// A turn that took less is over before anything could be gathered: systems round a sleep up to some 60 µs.
const LONG: Duration = Duration::from_micros(200);

/// What of the last turn's time is waited at once, at most [`MAX_PAUSE`] of it.
const SHARE: u32 = 32;

const MAX_PAUSE: Duration = Duration::from_micros(500);

/// Most pauses of a turn; each but the last has brought something.
const MAX_PAUSES: u32 = 4;

/// Publications that are enough for one write; more are not waited for, nor kept waiting.
const ENOUGH: usize = 64;

/// Whether a worker is fanning out at its limit, and so how long it waits for more to fan out.
#[derive(Debug)]
pub(super) struct Patience {
    /// When the last large fan-out ended, and how long its turn took; no time at all before the first.
    ended: Instant,
    took: Duration,
    /// This turn's pauses, and how many publications waited before the last of them.
    pauses: u32,
    waited: usize,
}

impl Patience {
    /// Of a worker that has published nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { ended: now, took: Duration::ZERO, pauses: 0, waited: 0 }
    }

    /// A turn that began then has made so many deliveries. `clock` is asked for large ones only.
    pub(super) fn turned(
        &mut self,
        began: Instant,
        deliveries: usize,
        clock: impl FnOnce() -> Instant,
    ) {
        (self.pauses, self.waited) = (0, 0);
        if deliveries >= MANY {
            self.ended = clock();
            self.took = self.ended.saturating_duration_since(began);
        }
    }

    /// Whether it is worth asking how much waits: a large fan-out has ended within the time that it took.
    pub(super) fn is_tried(&self, now: Instant) -> bool {
        self.took >= LONG && now.saturating_duration_since(self.ended) <= self.took
    }

    /// How long to wait for more than these publications; `None` once they are to leave.
    pub(super) fn pause(&mut self, publications: usize) -> Option<Duration> {
        if publications <= self.waited || publications >= ENOUGH || self.pauses == MAX_PAUSES {
            return None;
        }
        self.waited = publications;
        self.pauses += 1;
        Some((self.took / SHARE).min(MAX_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker whose last turn made so many deliveries in `took`; gives when it ended, too.
    fn after(deliveries: usize, took: Duration) -> (Patience, Instant) {
        let began = Instant::now();
        let mut patience = Patience::new(began);
        patience.turned(began, deliveries, || began + took);
        (patience, began + took)
    }

    #[test]
    fn only_a_long_fan_out_that_has_just_ended_tries_it() {
        let millis = Duration::from_millis;
        for (name, deliveries, took, since, tried) in [
            ("just now", 1_000, millis(6), millis(0), true),
            ("as long ago as it took", 1_000, millis(6), millis(6), true),
            ("longer ago than it took", 1_000, millis(6), millis(7), false),
            ("a quick one", 1_000, millis(1) / 10, millis(0), false),
            ("few deliveries", MANY - 1, millis(6), millis(0), false),
        ] {
            let (patience, ended) = after(deliveries, took);
            assert_eq!(patience.is_tried(ended + since), tried, "{name}");
        }
        let now = Instant::now();
        assert!(!Patience::new(now).is_tried(now), "nothing was published yet");
    }

    #[test]
    fn it_pauses_while_more_comes_and_not_for_ever() {
        let (mut patience, ended) = after(10_000, Duration::from_millis(8));
        assert_eq!(patience.pause(0), None, "nothing is to leave");
        assert_eq!(patience.pause(2), Some(Duration::from_micros(250)));
        assert_eq!(patience.pause(2), None, "no more came");
        assert_eq!(patience.pause(ENOUGH), None, "that is enough");

        // A turn without deliveries leaves the last fan-out what it was.
        patience.turned(ended, 0, || unreachable!());
        let pauses: Vec<_> = (1..100).map_while(|waiting| patience.pause(waiting)).collect();
        assert_eq!(pauses, [Duration::from_micros(250); MAX_PAUSES as usize]);

        let (mut patience, _) = after(10_000, Duration::from_secs(2));
        assert_eq!(patience.pause(1), Some(MAX_PAUSE));
    }
}
