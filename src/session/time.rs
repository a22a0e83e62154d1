//! Waiting, by the worker's clock.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::service::{Alarm, Tasks};

/// Waits for `duration`, as the worker's clock tells it: to the millisecond or so, and never less.
///
/// # Panics
/// When it is polled outside of a worker's tasks.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { state: State::Fresh(duration) }
}

/// Waits for `future`, but no longer than `duration`; then the future is dropped.
///
/// # Errors
/// [`Elapsed`] where it took longer.
///
/// # Panics
/// As [`sleep`].
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let (mut future, mut sleep) = (pin!(future), sleep(duration));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// Ticks every `period` of at least a millisecond, for the first time at once. Ticks that nobody waited for
/// are left out, and the next one comes when it would have.
pub fn interval(period: Duration) -> Interval {
    Interval { period: period.clamp(Duration::from_millis(1), LONGEST), next: None }
}

/// What stands for a period that may be longer than the clock can tell: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What [`sleep`] gives.
#[derive(Debug)]
#[must_use = "nothing waits for a future that is not awaited"]
pub struct Sleep {
    state: State,
}

#[derive(Debug)]
enum State {
    Fresh(Duration),
    Until(Instant),
    Set(Alarm),
    /// Longer than the clock can tell.
    Forever,
}

impl Sleep {
    fn until(instant: Instant) -> Self {
        Self { state: State::Until(instant) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let tasks = || Tasks::current().expect("it is awaited in a task of a worker");
        let at = match &self.state {
            State::Fresh(duration) => tasks().now().checked_add(*duration),
            State::Until(at) => Some(*at),
            State::Set(alarm) if alarm.is_due() => return Poll::Ready(()),
            State::Set(alarm) => {
                alarm.set_waker(context.waker());
                return Poll::Pending;
            }
            State::Forever => return Poll::Pending,
        };
        match at {
            Some(at) if at <= tasks().now() => return Poll::Ready(()),
            Some(at) => self.state = State::Set(tasks().set_alarm(at, context.waker())),
            None => self.state = State::Forever,
        }
        Poll::Pending
    }
}

/// What [`interval`] gives.
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    next: Option<Instant>,
}

impl Interval {
    /// Waits for the next tick.
    ///
    /// # Panics
    /// As [`sleep`].
    pub async fn tick(&mut self) {
        let now = || Tasks::current().expect("it is awaited in a task of a worker").now();
        let next = *self.next.get_or_insert_with(now);
        Sleep::until(next).await;
        let late = now().saturating_duration_since(next).as_nanos() / self.period.as_nanos();
        let missed = u32::try_from(late).unwrap_or(u32::MAX);
        self.next = Some(next + self.period * missed.saturating_add(1));
    }
}

/// It took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

impl std::error::Error for Elapsed {}
