//! How fast one member may speak: a token bucket.

use std::time::{Duration, Instant};

/// A bucket of tokens, kept as the moment at which it will be full again: a token taken puts that
/// moment off by the time it takes to come back. No timer, and no rounding that adds up.
#[derive(Debug)]
pub(super) struct Rate {
    full_at: Instant,
    /// How long one token takes to come back.
    token: Duration,
    /// How many there are.
    burst: u32,
    /// Messages refused since the bucket was last full.
    refused: u32,
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it.
    Take,
    /// Drop it and say so: the first since the bucket was full.
    Warn,
    /// Drop it.
    Drop,
    /// Close: as many were dropped as the bucket has tokens, and it was never full between them.
    Close,
}

impl Rate {
    /// A full bucket.
    pub(super) fn new(now: Instant, a_second: u32, burst: u32) -> Self {
        Self { full_at: now, token: Duration::from_secs(1) / a_second.max(1), burst, refused: 0 }
    }

    /// Takes a token for a message that came at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Verdict {
        if self.full_at <= now {
            self.full_at = now;
            self.refused = 0;
        }
        let full_at = self.full_at + self.token;
        if full_at - now <= self.token * self.burst {
            self.full_at = full_at;
            return Verdict::Take;
        }
        self.refused += 1;
        match self.refused {
            refused if refused >= self.burst => Verdict::Close,
            1 => Verdict::Warn,
            _ => Verdict::Drop,
        }
    }

    /// Takes `tokens` more for a message that was taken, also where there are not as many.
    pub(super) fn charge(&mut self, tokens: u32) {
        self.full_at += self.token * tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_is_taken_and_one_more_is_not() {
        let now = Instant::now();
        let mut rate = Rate::new(now, 100, 500);
        assert!((0..500).all(|_| rate.take(now) == Verdict::Take));
        assert_eq!(rate.take(now), Verdict::Warn);
        assert_eq!(rate.take(now), Verdict::Drop);
        assert_eq!(rate.take(now + 9 * MS), Verdict::Drop);
        assert_eq!(rate.take(now + 10 * MS), Verdict::Take, "one token came back");
        assert_eq!(rate.take(now + 10 * MS), Verdict::Drop);
    }

    #[test]
    fn the_allowed_rate_goes_on_for_ever() {
        let start = Instant::now();
        let mut rate = Rate::new(start, 100, 500);
        assert!((0..100_000).all(|n| rate.take(start + n * 10 * MS) == Verdict::Take));
    }

    #[test]
    fn a_charge_beyond_the_burst_is_a_debt() {
        let now = Instant::now();
        let mut rate = Rate::new(now, 100, 500);
        rate.charge(510);
        assert_eq!(rate.take(now + 100 * MS), Verdict::Warn);
        assert_eq!(rate.take(now + 110 * MS), Verdict::Take);
    }

    #[test]
    fn only_abuse_that_goes_on_closes() {
        let now = Instant::now();
        let mut rate = Rate::new(now, 100, 500);
        let verdicts: Vec<Verdict> = (0..1_000).map(|_| rate.take(now)).collect();
        assert_eq!(verdicts.iter().position(|v| *v == Verdict::Close), Some(999));

        // Half of that, a rest of five seconds until the bucket is full, and again: no abuse.
        let mut rate = Rate::new(now, 100, 500);
        for round in 0..10 {
            let now = now + round * Duration::from_secs(5);
            let verdicts: Vec<Verdict> = (0..999).map(|_| rate.take(now)).collect();
            assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Take).count(), 500);
            assert_eq!(verdicts[500], Verdict::Warn, "each flood is told once");
            assert!(!verdicts.contains(&Verdict::Close));
        }
    }
}
