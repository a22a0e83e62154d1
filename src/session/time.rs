//! Waiting, by the worker's clock.

use std::{
    fmt,
    future::{self, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::service::{Alarm, Tasks};

/// Waits for `duration`, as the worker's clock tells it: to the millisecond or so, and never less. For a
/// duration of zero it waits once until the other tasks have had their turn. One that is longer than the
/// clock can tell never ends.
///
/// # Panics
/// When it is polled outside of a worker's tasks.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { state: State::Fresh(duration) }
}

/// Waits for `future`, but no longer than [`sleep`] for `duration`; then the future is dropped.
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

/// Ticks every `period` of a millisecond at least and a hundred years at most, for the first time at once.
/// Ticks that nobody waited for are left out, and the next one comes when it would have.
pub fn interval(period: Duration) -> Interval {
    Interval { period: period.clamp(Duration::from_millis(1), LONGEST), next: Tick::First }
}

/// The longest period: its nanoseconds fit 64 bits.
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
    /// It has given the others their turn.
    Yielded,
    Set(Alarm),
    /// Longer than the clock can tell.
    Forever,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let tasks = || Tasks::current().expect("it is awaited in a task of a worker");
        let at = match &self.state {
            State::Fresh(Duration::ZERO) => {
                self.state = State::Yielded;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Yielded => return Poll::Ready(()),
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
    next: Tick,
}

#[derive(Debug, Clone, Copy)]
enum Tick {
    First,
    At(Instant),
    /// Later than the clock can tell.
    Never,
}

impl Interval {
    /// Waits for the next tick. Dropping the future loses none.
    ///
    /// # Panics
    /// As [`sleep`].
    pub async fn tick(&mut self) {
        let now = || Tasks::current().expect("it is awaited in a task of a worker").now();
        let at = match self.next {
            Tick::First => now(),
            Tick::At(at) => at,
            Tick::Never => return future::pending().await,
        };
        self.next = Tick::At(at);
        Sleep { state: State::Until(at) }.await;
        let late = now().saturating_duration_since(at).as_nanos() % self.period.as_nanos();
        let rest = self.period - Duration::from_nanos(late as u64);
        self.next = now().checked_add(rest).map_or(Tick::Never, Tick::At);
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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Arc};

    use super::*;
    use crate::mailbox::Mailbox;

    /// How often an interval ticks while the clock goes from `start` to each of `times`.
    fn ticks(start: Instant, period: Duration, times: &[Instant]) -> usize {
        let tasks = Tasks::new(Arc::new(Mailbox::new(|| ())), start);
        let _entered = tasks.enter();
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let _task = tasks.spawn(async move {
            let mut ticks = interval(period);
            loop {
                ticks.tick().await;
                counted.set(counted.get() + 1);
            }
        });
        tasks.run(|| true);
        for &time in times {
            tasks.set_now(time);
            tasks.expire(|| true);
            tasks.run(|| true);
        }
        assert_eq!((tasks.len(), tasks.take_panics()), (1, 0));
        count.get()
    }

    #[test]
    fn an_interval_ticks_to_the_end_of_the_clock() {
        let now = Instant::now();
        let mut latest = now;
        for bit in (0..64).rev() {
            latest = latest.checked_add(Duration::from_secs(1 << bit)).unwrap_or(latest);
        }
        let millis = Duration::from_millis(1);
        assert_eq!(ticks(now, millis, &[latest, latest]), 2, "all but one are left out");
        assert_eq!(ticks(latest, Duration::MAX, &[latest]), 1, "there is no other");
        let before = latest - 3 * Duration::from_secs(1);
        assert_eq!(ticks(before, Duration::from_secs(2), &[latest - millis, latest]), 2);
        assert_eq!(ticks(now, LONGEST, &[now + LONGEST - millis, now + LONGEST]), 2);
        let nanos = Duration::from_nanos(1);
        assert_eq!(ticks(now, nanos, &[now + millis - nanos, now + millis]), 2, "it is the least");
    }
}
