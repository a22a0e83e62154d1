//! Deadlines: one entry a connection, however often its deadline moves.
//!
//! An entry says when to look at a connection, not when to act: activity only moves a deadline back,
//! so nothing is done for it until the entry fires and the connection is entered anew. Deadlines are
//! rounded up to a coarse tick, so that thousands of them share a wake-up.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use crate::slab::Key;

/// How coarse deadlines are.
const TICK_MILLIS: u64 = 50;

/// When a connection is looked at next, in ticks; the connection keeps it. An entry that says another
/// time than its connection does is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Armed(Option<NonZeroU64>);

#[derive(Debug)]
pub(super) struct Timers {
    start: Instant,
    due: BTreeMap<u64, Vec<Key>>,
    /// An emptied list, for the next tick that needs one.
    spare: Vec<Vec<Key>>,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self { start: now, due: BTreeMap::new(), spare: Vec::new() }
    }

    /// Has `key` looked at when `deadline` has passed, or sooner where it already is.
    pub(super) fn arm(&mut self, key: Key, armed: &mut Armed, deadline: Instant) {
        let since_start = deadline.saturating_duration_since(self.start).as_millis() as u64;
        // The next whole tick after the deadline, so that it has passed when the entry fires.
        let tick = NonZeroU64::MIN.saturating_add(since_start / TICK_MILLIS);
        if armed.0.is_some_and(|armed| armed <= tick) {
            return;
        }
        armed.0 = Some(tick);
        let spare = &mut self.spare;
        self.due.entry(tick.get()).or_insert_with(|| spare.pop().unwrap_or_default()).push(key);
    }

    /// When the next entry fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
            .first_key_value()
            .map(|(&tick, _)| self.start + Duration::from_millis(tick * TICK_MILLIS))
    }

    /// The entries of one tick that has passed; call it until it gives none, and hand each list back
    /// with [`give_back`](Self::give_back).
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Armed, Vec<Key>)> {
        let passed = self.next().is_some_and(|next| next <= now);
        let (tick, keys) = passed.then(|| self.due.pop_first()).flatten()?;
        Some((Armed(NonZeroU64::new(tick)), keys))
    }

    /// Takes entries of a tick back that nobody had the time to look at: they fire at once again.
    pub(super) fn put_back(&mut self, armed: Armed, keys: Vec<Key>) {
        if let Some(tick) = armed.0 {
            self.due.entry(tick.get()).or_default().extend(keys);
        }
    }

    pub(super) fn give_back(&mut self, mut keys: Vec<Key>) {
        if self.spare.len() < 8 {
            keys.clear();
            self.spare.push(keys);
        }
    }
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
        assert!(timers.pop(start + Duration::from_millis(TICK_MILLIS)).is_some());
    }
}
