//! Deadlines: one entry a connection, however often its deadline moves.
//!
//! An entry says when to look at a connection, not when to act: activity only moves a deadline back,
//! so nothing is done for it until the entry fires and the connection is entered anew. Deadlines are
//! rounded up to a coarse tick, so that thousands of them share a wake-up.
//!
//! An entry stays when its connection ends, until it fires. So none stands further ahead than
//! [`HORIZON`]: a later deadline is looked at once on the way, and what is kept for connections that have
//! ended is bounded by what that time can bring. A deadline that is [out of sight](FOREVER) has no entry.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use crate::slab::Key;

/// How coarse deadlines are.
const TICK: Duration = Duration::from_millis(50);

/// How far ahead of the last turn an entry stands at most, in ticks: two minutes.
const HORIZON: u64 = 2_400;

/// What is further from the worker's start than this never comes: a hundred years.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Memory that an emptied list keeps for the next tick: entries.
const MAX_SPARE: usize = 4_096;

/// When a connection is looked at next, in ticks; the connection keeps it. An entry that says another
/// time than its connection does is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Armed(Option<NonZeroU64>);

#[derive(Debug)]
pub(super) struct Timers {
    start: Instant,
    /// The last tick that had passed when entries were last asked for.
    passed: u64,
    due: BTreeMap<u64, Vec<Key>>,
    /// An emptied list, for the next tick that needs one.
    spare: Vec<Vec<Key>>,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self { start: now, passed: 0, due: BTreeMap::new(), spare: Vec::new() }
    }

    /// Has `key` looked at when `deadline` has passed or before, and in the next tick where it already is.
    pub(super) fn arm(&mut self, key: Key, armed: &mut Armed, deadline: Instant) {
        let since_start = deadline.saturating_duration_since(self.start);
        if since_start > FOREVER {
            return;
        }
        // The next whole tick after the deadline, so that it has passed when the entry fires.
        let tick = (ticks(since_start) + 1).clamp(self.passed + 1, self.passed + HORIZON);
        let tick = NonZeroU64::MIN.saturating_add(tick - 1);
        if armed.0.is_some_and(|armed| armed <= tick) {
            return;
        }
        armed.0 = Some(tick);
        let spare = &mut self.spare;
        self.due.entry(tick.get()).or_insert_with(|| spare.pop().unwrap_or_default()).push(key);
    }

    /// When the next entry fires.
    pub(super) fn next(&self) -> Option<Instant> {
        let (&tick, _) = self.due.first_key_value()?;
        self.start.checked_add(Duration::from_millis(tick.saturating_mul(TICK.as_millis() as u64)))
    }

    /// The entries of one tick that has passed; call it until it gives none, and hand each list back
    /// with [`give_back`](Self::give_back).
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Armed, Vec<Key>)> {
        self.passed = ticks(now.saturating_duration_since(self.start).min(FOREVER));
        let first = self.due.first_entry().filter(|first| *first.key() <= self.passed)?;
        let (tick, keys) = first.remove_entry();
        Some((Armed(NonZeroU64::new(tick)), keys))
    }

    pub(super) fn give_back(&mut self, mut keys: Vec<Key>) {
        if self.spare.len() < 8 {
            keys.clear();
            keys.shrink_to(MAX_SPARE);
            self.spare.push(keys);
        }
    }
}

/// Whole ticks in a time that is no longer than [`FOREVER`].
fn ticks(time: Duration) -> u64 {
    (time.as_nanos() / TICK.as_nanos()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 0 }
    }

    #[test]
    fn a_deadline_fires_once_it_has_passed_and_not_before() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let mut armed = Armed::default();
        timers.arm(key(1), &mut armed, start + Duration::from_millis(120));
        assert_eq!(timers.pop(start + Duration::from_millis(119)), None);
        assert_eq!(timers.next(), Some(start + Duration::from_millis(150)));
        let (tick, keys) = timers.pop(start + Duration::from_millis(150)).unwrap();
        assert_eq!((tick, keys), (armed, vec![key(1)]));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn only_a_sooner_deadline_makes_an_entry_and_the_later_one_goes_stale() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let mut armed = Armed::default();
        timers.arm(key(1), &mut armed, start + Duration::from_secs(20));
        timers.arm(key(1), &mut armed, start + Duration::from_secs(30));
        timers.arm(key(1), &mut armed, start + Duration::from_secs(5));
        let (first, _) = timers.pop(start + Duration::from_secs(60)).unwrap();
        let (second, _) = timers.pop(start + Duration::from_secs(60)).unwrap();
        assert_eq!(first, armed);
        assert_ne!(second, armed);
        assert_eq!(timers.pop(start + Duration::from_secs(60)), None);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.arm(key(1), &mut Armed::default(), start);
        assert!(timers.pop(start + TICK).is_some());
    }

    #[test]
    fn a_deadline_in_the_past_that_nothing_is_done_about_fires_once_a_tick() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for tick in 1..100 {
            let now = start + TICK * tick;
            timers.arm(key(1), &mut Armed::default(), start);
            assert!(timers.pop(now).is_some());
            timers.arm(key(1), &mut Armed::default(), start);
            assert_eq!(timers.pop(now), None);
        }
    }

    /// When a deadline is found to have passed, by an owner that does as `server` does.
    fn fires(start: Instant, wait: Duration) -> Option<Duration> {
        let mut timers = Timers::new(start);
        let (mut armed, deadline) = (Armed::default(), start.checked_add(wait)?);
        timers.arm(key(1), &mut armed, deadline);
        while let Some(now) = timers.next() {
            while let Some((tick, _)) = timers.pop(now) {
                assert_eq!(tick, std::mem::take(&mut armed));
                if deadline <= now {
                    return Some(now - start);
                }
                timers.arm(key(1), &mut armed, deadline);
            }
        }
        None
    }

    #[test]
    fn any_deadline_fires_within_a_tick_and_none_beyond_a_hundred_years_ever_does() {
        let (start, nanos, millis) =
            (Instant::now(), Duration::from_nanos(1), Duration::from_millis(1));
        for wait in [
            Duration::ZERO,
            nanos,
            millis,
            TICK - nanos,
            TICK,
            TICK + nanos,
            TICK * (HORIZON - 1) as u32,
            TICK * HORIZON as u32 - nanos,
            TICK * HORIZON as u32,
            TICK * HORIZON as u32 + nanos,
            millis * i32::MAX as u32,
            millis * u32::MAX - nanos,
            millis * u32::MAX,
            millis * u32::MAX + millis,
        ] {
            let fired = fires(start, wait).expect("it is in sight");
            assert!(fired >= wait && fired <= wait + TICK, "{wait:?}: {fired:?}");
        }
        for wait in [
            FOREVER + nanos,
            Duration::from_secs(u32::MAX.into()),
            Duration::from_nanos(u64::MAX),
            Duration::from_micros(u64::MAX),
            Duration::from_millis(u64::MAX - 50),
            Duration::from_millis(u64::MAX),
            Duration::from_millis(u64::MAX) + millis,
            TICK.saturating_mul(u32::MAX) * u32::MAX,
            Duration::from_secs(i64::MAX as u64),
            Duration::MAX,
        ] {
            assert_eq!(fires(start, wait), None, "{wait:?}");
        }
    }

    #[test]
    fn entries_of_connections_that_have_ended_are_gone_within_the_horizon() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for tick in 1..3 * HORIZON as u32 {
            let now = start + TICK * tick;
            for wait in [3_600, 86_400, u64::MAX / 1_000] {
                timers.arm(key(tick), &mut Armed::default(), now + Duration::from_secs(wait));
            }
            while let Some((_, keys)) = timers.pop(now) {
                timers.give_back(keys);
            }
            let entries: usize = timers.due.values().map(Vec::len).sum();
            assert!(entries <= 2 * (HORIZON as usize + 1), "{entries} after {tick} ticks");
        }
    }

    #[test]
    fn a_tick_of_many_leaves_little_memory() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for slot in 0..100_000 {
            timers.arm(key(slot), &mut Armed::default(), start);
        }
        let (_, keys) = timers.pop(start + TICK).unwrap();
        timers.give_back(keys);
        assert!(timers.spare[0].capacity() <= MAX_SPARE);
    }

    #[test]
    fn a_clock_far_in_the_future_ends_no_turn_late() {
        let start = Instant::now();
        for ahead in [FOREVER, FOREVER * 2, Duration::from_secs(1 << 60)] {
            let Some(now) = start.checked_add(ahead) else { continue };
            let mut timers = Timers::new(start);
            timers.arm(key(1), &mut Armed::default(), start);
            assert!(timers.pop(now).is_some());
            timers.arm(key(1), &mut Armed::default(), now);
            assert_eq!(timers.pop(now), None);
        }
    }
}
