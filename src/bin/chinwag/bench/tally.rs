//! What the threads of a run count, and how they hear what is to be done.

use std::{
    collections::BTreeMap,
    ops::{Add, Index, Sub},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};

use mio::Waker;

use super::latency::Latencies;

/// How far a run is. Threads take the steps as they hear of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Connections are opened.
    Opening,
    /// There is load, and nothing is measured yet.
    WarmUp,
    /// The timed window.
    Measure,
    /// No more is sent; what is on its way may still arrive.
    Drain,
    /// Connections are closed, and then the threads end.
    Leave,
}

impl Phase {
    /// The one after this; there is none after the last.
    pub fn next(self) -> Self {
        PHASES[(self as usize + 1).min(PHASES.len() - 1)]
    }
}

const PHASES: [Phase; 5] =
    [Phase::Opening, Phase::WarmUp, Phase::Measure, Phase::Drain, Phase::Leave];

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Opening handshakes done.
    Opened,
    /// Those that failed.
    Failed,
    /// Connections that ended though nobody asked for it.
    Lost,
    /// Connections on which compression was agreed on.
    Compressed,
    /// Whole rounds of connecting, working and closing.
    Rounds,
    /// Messages sent.
    Sent,
    /// Messages received of those that were sent: replies, or deliveries.
    Received,
    /// Their payload, in bytes as it travelled.
    Bytes,
    /// Messages received that were none of those.
    Unexpected,
    /// Replies compared with what was sent, and those that were not the same.
    Checked,
    Wrong,
    /// Deliveries that had come before, and those that came after a later one.
    Repeated,
    Reordered,
    /// Messages meant to go in the window, at a fixed rate, that were not answered.
    Unanswered,
    /// Nanoseconds spent on waiting for the moment to send, with the processor busy.
    Spun,
}

const COUNTS: usize = Count::Spun as usize + 1;

/// All counts at one moment, of one thread or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; COUNTS]);

impl Index<Count> for Counts {
    type Output = u64;

    fn index(&self, count: Count) -> &u64 {
        &self.0[count as usize]
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
        self
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(rest, less)| *rest -= less);
        self
    }
}

/// What one thread has counted and measured.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    pub latencies: Latencies,
    /// Why connections did not come to be, and why they ended.
    pub failures: Reasons,
    pub losses: Reasons,
}

impl Tally {
    /// Counts `more`.
    #[inline]
    pub fn add(&mut self, count: Count, more: u64) {
        self.counts.0[count as usize] += more;
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts = self.counts + other.counts;
        self.latencies.add(&other.latencies);
        self.failures.merge(&other.failures);
        self.losses.merge(&other.losses);
    }
}

/// Reasons, and how often each was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<String, u64>);

impl Reasons {
    /// Reasons told apart; the rest are counted together.
    const MOST: usize = 20;

    /// Counts `reason`.
    pub fn add(&mut self, reason: String) {
        self.add_many(reason, 1);
    }

    fn add_many(&mut self, mut reason: String, count: u64) {
        if self.0.len() >= Self::MOST && !self.0.contains_key(&reason) {
            reason = "something else".into();
        }
        *self.0.entry(reason).or_default() += count;
    }

    fn merge(&mut self, other: &Self) {
        for (reason, count) in &other.0 {
            self.add_many(reason.clone(), *count);
        }
    }

    /// The most frequent ones first.
    pub fn sorted(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(reason, count)| (&**reason, *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

/// What the threads of a run and their conductor share.
#[derive(Debug)]
pub struct Control {
    /// When the run began: its clock counts nanoseconds from here.
    epoch: Instant,
    phase: AtomicU8,
    boards: Vec<Board>,
}

/// What a thread has of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Some are yet to be opened.
    Busy,
    /// All were opened, or given up.
    Settled,
    /// None is left, and none will come.
    Empty,
}

/// What one thread shows of itself.
#[derive(Debug, Default)]
struct Board {
    counts: [AtomicU64; COUNTS],
    state: AtomicU8,
    /// The phase that all counts have, once they show it.
    phase: AtomicU8,
    /// Set once the thread has begun.
    begun: Mutex<Option<(Waker, Option<PathBuf>)>>,
}

impl Control {
    /// For a run of `threads` threads that begins now.
    pub fn new(threads: usize) -> Self {
        let boards = (0..threads).map(|_| Board::default()).collect();
        Self { epoch: Instant::now(), phase: AtomicU8::new(Phase::Opening as u8), boards }
    }

    /// Nanoseconds since the run began.
    #[inline]
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Takes a step, and wakes the threads for it.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        for board in &self.boards {
            if let Some((waker, _)) = &*lock(&board.begun) {
                waker.wake().ok();
            }
        }
    }

    /// Says that `thread` has begun, how it is woken, and where its accounts are.
    pub fn begin(&self, thread: usize, waker: Waker, task: Option<PathBuf>) {
        *lock(&self.boards[thread].begun) = Some((waker, task));
    }

    /// Shows what `thread` has counted, what it has of connections, and the phase it is in.
    pub fn publish(&self, thread: usize, tally: &Tally, state: State, phase: Phase) {
        let board = &self.boards[thread];
        for (shown, count) in board.counts.iter().zip(tally.counts.0) {
            shown.store(count, Ordering::Relaxed);
        }
        board.state.store(state as u8, Ordering::Relaxed);
        board.phase.store(phase as u8, Ordering::Release);
    }

    /// What all threads have counted.
    pub fn counts(&self) -> Counts {
        self.boards
            .iter()
            .map(|board| Counts(board.counts.each_ref().map(|count| count.load(Ordering::Relaxed))))
            .fold(Counts::default(), Add::add)
    }

    /// Whether the counts of all threads are from `phase` or later.
    pub fn has_entered(&self, phase: Phase) -> bool {
        self.boards.iter().all(|board| board.phase.load(Ordering::Acquire) >= phase as u8)
    }

    /// Whether all threads have opened what they could.
    pub fn is_settled(&self) -> bool {
        self.states().all(|state| state != State::Busy as u8)
    }

    /// Whether no thread has a connection, nor will have one.
    pub fn is_empty(&self) -> bool {
        self.states().all(|state| state == State::Empty as u8)
    }

    fn states(&self) -> impl Iterator<Item = u8> {
        self.boards.iter().map(|board| board.state.load(Ordering::Relaxed))
    }

    /// Where each thread's accounts are, once it has begun, and the nanoseconds it has spun.
    pub fn tasks(&self) -> Vec<(Option<PathBuf>, u64)> {
        let task = |board: &Board| lock(&board.begun).as_ref().and_then(|(_, task)| task.clone());
        let spun = |board: &Board| board.counts[Count::Spun as usize].load(Ordering::Relaxed);
        self.boards.iter().map(|board| (task(board), spun(board))).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_threads_add_up() {
        let control = Control::new(2);
        let mut tally = Tally::default();
        tally.add(Count::Sent, 3);
        tally.add(Count::Wrong, 1);
        control.publish(0, &tally, State::Empty, Phase::Drain);
        assert!(!control.is_settled());
        control.publish(1, &tally, State::Settled, Phase::Measure);
        assert!(control.is_settled() && !control.is_empty());
        assert!(control.has_entered(Phase::Measure) && !control.has_entered(Phase::Drain));
        control.publish(1, &tally, State::Empty, Phase::Drain);
        assert!(control.is_settled() && control.is_empty());
        assert!(control.has_entered(Phase::Drain) && !control.has_entered(Phase::Leave));
        let counts = control.counts();
        assert_eq!((counts[Count::Sent], counts[Count::Wrong], counts[Count::Lost]), (6, 2, 0));
        assert_eq!((counts - tally.counts)[Count::Sent], 3);
    }

    #[test]
    fn phases_are_passed_on() {
        let control = Control::new(1);
        for phase in PHASES {
            control.enter(phase);
            assert_eq!(control.phase(), phase);
        }
    }

    #[test]
    fn reasons_are_bounded_and_the_most_frequent_is_first() {
        let mut reasons = Reasons::default();
        for number in 0..100 {
            reasons.add(format!("reason {number}"));
        }
        reasons.add("reason 3".into());
        let sorted = reasons.sorted();
        assert_eq!(sorted.len(), Reasons::MOST + 1);
        assert_eq!(sorted[..2], [("something else", 80), ("reason 3", 2)]);
    }
}
