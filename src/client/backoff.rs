//! Trying again: how long to wait before the next attempt, and when to stop.

use std::{mem, thread, time::Duration};

use super::error::ConnectError;

/// How long to wait between attempts to connect: twice as long after each that failed, up to a bound,
/// and of that a part that dice decide, so that the clients of a server that was away do not all come
/// back at once.
///
/// It counts attempts until [`reset`](Self::reset). Call that once a connection has shown that it is
/// good for something, such as by its first message: where a server accepts connections only to end
/// them, waits grow then as they should.
///
/// ```no_run
/// use chinwag::client::{Backoff, Client, ConnectError};
///
/// let builder = Client::builder();
/// let mut backoff = Backoff::default();
/// loop {
///     let mut client = backoff.retry(|| builder.connect("ws://127.0.0.1:8080/chat"))?;
///     while let Ok(Some(message)) = client.recv() {
///         backoff.reset();
///         println!("{} bytes", message.as_bytes().len());
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), ConnectError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the second attempt. Default 500 ms; 0 never waits, unless a server asks for it.
    pub first: Duration,
    /// The longest wait. Default 30 s.
    pub longest: Duration,
    /// Attempts in a row that may fail; the last one's error is then given. Default 10; 0 is as 1, and
    /// `None` goes on for ever.
    pub attempts: Option<u32>,
    failed: u32,
    /// The last attempt succeeded.
    connected: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        Self { first, longest, attempts: Some(10), failed: 0, connected: false }
    }
}

impl Backoff {
    /// The wait before the next attempt, counted as failed; `None` where there is to be none. `dice` is
    /// from 0 to 1: the wait is at least half of the whole, and the rest is multiplied by it.
    pub fn next_wait(&mut self, dice: f64) -> Option<Duration> {
        let doublings = self.failed;
        self.failed = self.failed.saturating_add(1);
        if self.attempts.is_some_and(|attempts| self.failed >= attempts) {
            return None;
        }
        // A nanosecond is the longest duration after 94.
        let doubled = (0..doublings.min(94)).fold(self.first, |wait, _| wait.saturating_mul(2));
        let whole = doubled.min(self.longest);
        let half = whole / 2;
        let dice = if dice.is_nan() { 0.0 } else { dice.clamp(0.0, 1.0) };
        let part = (whole - half).mul_f64(dice);
        // Long durations are rounded in this.
        Some(half.saturating_add(part).min(whole))
    }

    /// What failed so far no longer counts.
    pub fn reset(&mut self) {
        self.failed = 0;
    }

    /// Calls `connect` until it succeeds, or fails in a way that [will not pass](ConnectError::may_pass),
    /// or the attempts are used up. Waits in between by sleeping; a server that says how long
    /// (Retry-After, in seconds) is left alone for that long, if that is no longer than
    /// [`longest`](Self::longest).
    ///
    /// A call after one that succeeded waits first, and counts that as an attempt that failed, as what was
    /// connected has ended: with it may have ended the connections of many others.
    ///
    /// # Errors
    /// That of the last attempt.
    pub fn retry<T>(
        &mut self,
        connect: impl FnMut() -> Result<T, ConnectError>,
    ) -> Result<T, ConnectError> {
        self.retry_with(connect, thread::sleep, rand::random)
    }

    /// [`retry`](Self::retry) with the caller's own way to wait and dice from 0 to 1.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub fn retry_with<T>(
        &mut self,
        mut connect: impl FnMut() -> Result<T, ConnectError>,
        mut sleep: impl FnMut(Duration),
        mut dice: impl FnMut() -> f64,
    ) -> Result<T, ConnectError> {
        let mut error = mem::take(&mut self.connected).then_some(ConnectError::Ended);
        loop {
            if let Some(error) = error {
                let Some(wait) = self.next_wait(dice()) else { return Err(error) };
                sleep(wait.max(asked_for(&error).unwrap_or_default().min(self.longest)));
            }
            error = match connect() {
                Ok(connected) => {
                    self.connected = true;
                    return Ok(connected);
                }
                Err(error) if !error.may_pass() => return Err(error),
                Err(error) => Some(error),
            };
        }
    }
}

/// How long the server wants to be left alone (RFC 9110 §10.2.3).
fn asked_for(error: &ConnectError) -> Option<Duration> {
    let ConnectError::Refused(refusal) = error else { return None };
    let seconds = str::from_utf8(refusal.header("Retry-After")?).ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;

    const FAILS: fn() -> ConnectError = || ConnectError::Timeout;

    /// What `backoff` waits while `answers` are given, the first of them first, and what it gives.
    fn run(
        backoff: &mut Backoff,
        dice: f64,
        answers: impl IntoIterator<Item = Result<(), ConnectError>>,
    ) -> (Vec<u128>, Result<(), ConnectError>) {
        let mut answers = answers.into_iter();
        let mut waits = Vec::new();
        let sleep = |wait: Duration| waits.push(wait.as_millis());
        let result = backoff.retry_with(|| answers.next().unwrap(), sleep, || dice);
        (waits, result)
    }

    fn failures(count: usize) -> impl Iterator<Item = Result<(), ConnectError>> {
        std::iter::repeat_with(|| Err(FAILS())).take(count)
    }

    #[test]
    fn waits_double_up_to_a_bound_and_attempts_are_counted() {
        let (waits, result) = run(&mut Backoff::default(), 1.0, failures(10));
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert!(matches!(result, Err(ConnectError::Timeout)));
    }

    #[test]
    fn whatever_the_numbers_are_a_wait_is_within_its_bounds() {
        let most = Duration::MAX;
        let durations = [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_millis(1),
            Duration::from_millis(u64::from(u32::MAX) + 1),
            Duration::from_secs(1 << 53),
            most / 2,
            most - Duration::from_secs(1),
            most,
        ];
        for (first, longest) in
            durations.into_iter().flat_map(|one| durations.map(|two| (one, two)))
        {
            for dice in [0.0, 0.5, 1.0, -1.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for failed in [0, 1, 31, 32, 33, 93, 94, u32::MAX] {
                    let own = Backoff { first, longest, attempts: None, ..Backoff::default() };
                    let mut backoff = Backoff { failed, ..own };
                    let wait = backoff.next_wait(dice).unwrap();
                    let whole = if failed < 94 { Duration::ZERO } else { longest };
                    let least = if first.is_zero() { first } else { whole / 2 };
                    assert!((least..=longest).contains(&wait), "{backoff:?}, {dice}: {wait:?}");
                    if first.is_zero() {
                        assert_eq!(wait, Duration::ZERO);
                    }
                }
            }
        }
    }

    #[test]
    fn the_shortest_first_wait_grows_to_the_longest() {
        let first = Duration::from_nanos(1);
        let mut backoff = Backoff { first, attempts: None, ..Backoff::default() };
        let waits: Vec<_> = (0..40).filter_map(|_| backoff.next_wait(1.0)).collect();
        assert_eq!(waits[..3], [1, 2, 4].map(Duration::from_nanos));
        assert_eq!(waits[34], Duration::from_nanos(1 << 34));
        assert_eq!(waits[35], backoff.longest);
    }

    #[test]
    fn attempts_are_counted_at_their_ends_too() {
        for (attempts, calls) in [(Some(0), 1), (Some(1), 1), (Some(2), 2)] {
            let mut backoff = Backoff { attempts, ..Backoff::default() };
            let (waits, result) = run(&mut backoff, 1.0, failures(calls));
            assert_eq!((waits.len(), result.is_err()), (calls - 1, true), "{attempts:?}");
        }
        let mut backoff = Backoff { attempts: Some(u32::MAX), ..Backoff::default() };
        assert_eq!(run(&mut backoff, 1.0, failures(100).chain([Ok(())])).0.len(), 100);
        backoff.failed = u32::MAX - 1;
        assert_eq!(backoff.next_wait(1.0), None);
        assert_eq!(backoff.next_wait(1.0), None);
    }

    #[test]
    fn dice_decide_half_of_a_wait() {
        for (dice, first) in [(0.0, 250), (0.5, 375), (1.0, 500), (7.0, 500)] {
            let (waits, result) = run(&mut Backoff::default(), dice, failures(1).chain([Ok(())]));
            assert_eq!(waits, [first], "{dice}");
            assert!(result.is_ok());
        }
    }

    #[test]
    fn a_backoff_without_a_bound_of_attempts_goes_on_at_the_longest_wait() {
        let mut backoff = Backoff { attempts: None, ..Backoff::default() };
        let (waits, result) = run(&mut backoff, 1.0, failures(100).chain([Ok(())]));
        assert_eq!((waits.len(), waits[99]), (100, 30_000));
        assert!(result.is_ok());
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let (waits, result) =
            run(&mut Backoff::default(), 1.0, [Err(FAILS()), Err(ConnectError::Tls)]);
        assert_eq!(waits, [500]);
        assert!(matches!(result, Err(ConnectError::Tls)));
    }

    #[test]
    fn a_server_may_ask_for_a_longer_wait_within_the_bound() {
        let refusal = |after: &str| {
            let headers = vec![("retry-after".into(), after.into())];
            Err(ConnectError::Refused(Box::new(Refusal { status: 503, headers, body: "".into() })))
        };
        let answers = [refusal("7"), refusal("3600"), refusal("0"), refusal("Wed, 21 Oct"), Ok(())];
        let (waits, _) = run(&mut Backoff::default(), 1.0, answers);
        assert_eq!(waits, [7_000, 30_000, 2_000, 4_000]);
    }

    #[test]
    fn who_lost_a_connection_waits_before_the_next_and_longer_if_that_is_lost_too() {
        let mut backoff = Backoff::default();
        assert_eq!(run(&mut backoff, 1.0, [Ok(())]).0, [0_u128; 0], "the first comes at once");
        assert_eq!(run(&mut backoff, 1.0, [Ok(())]).0, [500]);
        assert_eq!(run(&mut backoff, 1.0, failures(1).chain([Ok(())])).0, [1_000, 2_000]);
        backoff.reset();
        assert_eq!(run(&mut backoff, 1.0, [Ok(())]).0, [500]);
    }
}
