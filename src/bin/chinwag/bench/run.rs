//! One run: threads are started, led through the phases, and asked what they saw.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    mode::Mode,
    payload::offered,
    process::{self, CpuTime, Scheduled},
    progress::Progress,
    tally::{Control, Count, Counts, Phase, Tally},
    target::Target,
    worker::Worker,
};

/// What is done on the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Echo,
    Broadcast,
    Connect,
    Idle,
    Churn,
}

impl Name {
    /// As it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Churn => "churn",
        }
    }

    /// What a live figure counts, and its name.
    pub fn shows(self) -> (Count, &'static str) {
        match self {
            Self::Echo => (Count::Received, "messages"),
            Self::Broadcast => (Count::Received, "deliveries"),
            Self::Connect => (Count::Opened, "handshakes"),
            Self::Idle => (Count::Unexpected, "messages"),
            Self::Churn => (Count::Rounds, "rounds"),
        }
    }
}

/// What a run is to do, whatever its mode.
#[derive(Debug)]
pub struct Plan {
    pub mode: Name,
    pub target: Target,
    pub addr: SocketAddr,
    pub connections: usize,
    pub threads: usize,
    /// Loopback addresses to connect from.
    pub sources: usize,
    pub compress: bool,
    /// How long a connection may take to open, and to close.
    pub timeout: Duration,
    /// Whether messages go at fixed moments.
    pub is_paced: bool,
    pub warm_up: Duration,
    pub duration: Duration,
    /// The server's processes.
    pub pids: Vec<u32>,
    /// Whether all connections are opened before there is load.
    pub holds: bool,
    /// What is waited for when no more is sent.
    pub awaits: Awaits,
}

/// What is to come of the messages sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// Nothing that would be counted.
    Nothing,
    /// A reply to each.
    Replies,
    /// A delivery to every member, or to all but the sender.
    Deliveries { to_sender: bool },
}

impl Awaits {
    /// How many of them there are to be received.
    pub fn expected(self, counts: &Counts) -> u64 {
        let members = counts[Count::Opened];
        counts[Count::Sent]
            * match self {
                Self::Nothing => 0,
                Self::Replies => 1,
                Self::Deliveries { to_sender: true } => members,
                Self::Deliveries { to_sender: false } => members.saturating_sub(1),
            }
    }
}

/// A thread among others.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub thread: usize,
    pub threads: usize,
}

impl Share {
    /// This thread's part of `total`.
    pub fn of(self, total: usize) -> usize {
        total / self.threads + usize::from(self.thread < total % self.threads)
    }

    /// What the threads before this one have of `total`.
    pub fn before(self, total: usize) -> usize {
        total / self.threads * self.thread + self.thread.min(total % self.threads)
    }
}

/// What a run has shown.
pub struct Findings {
    /// Of the whole run.
    pub tally: Tally,
    pub counts: Counts,
    /// Bytes of memory that the server had before there were connections.
    pub memory_before: Option<u64>,
    /// Of the timed window.
    pub window: Window,
    pub interrupted: bool,
}

/// What happened in the timed window.
pub struct Window {
    pub length: Duration,
    pub counts: Counts,
    /// Processor time of the server, where its processes are known.
    pub server_cpu: Option<Duration>,
    /// Bytes of memory that the server had at the end.
    pub server_memory: Option<u64>,
    /// Processor time of our threads, unless part of it was spent on waiting for the moment to send.
    pub own_cpu: Option<Duration>,
    /// How much of the window the busiest thread worked or waited for a processor: 0 to 1.
    pub busiest: f64,
}

/// Why a run came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for makes no sense, or cannot be done here.
    Misuse(String),
    /// It went wrong.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Misuse(fault) | Self::Failed(fault)) = self;
        f.write_str(fault)
    }
}

/// How often the conductor looks at the threads.
const LOOK: Duration = Duration::from_millis(20);

/// How long what is on its way is waited for: at most, and while nothing comes.
const DRAIN: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(1);

/// Runs `plan` with the mode that `make` gives each thread, until it is over or `stop` is set.
///
/// # Errors
/// [`Failure`], where nothing was measured.
pub fn run<M: Mode>(
    plan: &Plan,
    stop: &AtomicBool,
    progress: &mut Progress,
    make: impl Fn(Share) -> M + Sync,
) -> Result<Findings, Failure> {
    let control = Control::new(plan.threads);
    let offers = if plan.compress { offered().offers() } else { Vec::new() };
    let memory_before = process::resident(&plan.pids);
    thread::scope(|scope| {
        let leave = Leave(&control);
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let share = Share { thread, threads: plan.threads };
                let (control, offers, make) = (&control, &offers, &make);
                thread::Builder::new()
                    .name(format!("load-{thread}"))
                    .spawn_scoped(scope, move || {
                        Worker::new(make(share), plan, share, control, offers)?.run()
                    })
            })
            .collect::<io::Result<_>>()?;
        let has_ended = || threads.iter().any(thread::ScopedJoinHandle::is_finished);
        let conductor = Conductor { plan, control: &control, stop, has_ended: &has_ended };
        let led = conductor.lead(progress);
        drop(leave);
        let mut tally = Tally::default();
        for thread in threads {
            tally.merge(&thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        let counts = control.counts();
        let Some(window) = led.filter(|_| counts[Count::Opened] > 0) else {
            return Err(nothing(plan, &counts, &tally, stop));
        };
        let interrupted = stop.load(Ordering::Relaxed);
        Ok(Findings { tally, counts, memory_before, window, interrupted })
    })
}

/// Why there is no window.
fn nothing(plan: &Plan, counts: &Counts, tally: &Tally, stop: &AtomicBool) -> Failure {
    let reasons = if counts[Count::Opened] == 0 { &tally.failures } else { &tally.losses };
    Failure::Failed(match reasons.sorted().first() {
        _ if stop.load(Ordering::Relaxed) => "interrupted before anything was measured".into(),
        Some((reason, _)) if counts[Count::Opened] == 0 => {
            format!("no connection to {}: {reason}", plan.target)
        }
        Some((reason, _)) => format!("every connection to {} ended: {reason}", plan.target),
        None => format!("no connection to {}", plan.target),
    })
}

/// Lets the threads leave, whatever happens.
struct Leave<'a>(&'a Control);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.enter(Phase::Leave);
    }
}

/// Leads the threads through the phases.
struct Conductor<'a> {
    plan: &'a Plan,
    control: &'a Control,
    stop: &'a AtomicBool,
    has_ended: &'a dyn Fn() -> bool,
}

impl Conductor<'_> {
    /// All phases but the last; gives what was measured. `None` where it ended before the window.
    fn lead(&self, progress: &mut Progress) -> Option<Window> {
        if self.plan.holds {
            wait(Duration::MAX, || {
                progress.opening(self.plan.connections, &self.control.counts());
                self.control.is_settled() || self.is_over()
            });
            if self.is_over() {
                return None;
            }
        }
        self.control.enter(Phase::WarmUp);
        self.stay(self.plan.warm_up, "warming up", progress);
        if self.is_over() {
            return None;
        }
        self.control.enter(Phase::Measure);
        let start = Snapshot::take(self.plan, self.control);
        self.stay(self.plan.duration, "measuring", progress);
        let window = Snapshot::take(self.plan, self.control).since(&start, self.plan);
        if self.plan.awaits != Awaits::Nothing {
            self.control.enter(Phase::Drain);
            self.drain();
        }
        Some(window)
    }

    /// Stays in a phase for `length`, or until no connection is left.
    fn stay(&self, length: Duration, what: &str, progress: &mut Progress) {
        let (start, before) = (Instant::now(), self.control.counts());
        wait(length, || {
            let counts = self.control.counts();
            progress.running(
                what,
                start.elapsed(),
                length,
                &(counts - before),
                self.plan.mode.shows(),
            );
            self.is_over()
        });
    }

    /// Waits for what is on its way.
    fn drain(&self) {
        let mut last = (Instant::now(), 0);
        wait(DRAIN, || {
            let is_current = self.control.has_entered(Phase::Drain);
            let counts = self.control.counts();
            if counts[Count::Received] != last.1 {
                last = (Instant::now(), counts[Count::Received]);
            }
            let all_came =
                is_current && counts[Count::Received] >= self.plan.awaits.expected(&counts);
            all_came || (self.has_ended)() || last.0.elapsed() > QUIET
        });
    }

    /// Whether there is no point in going on.
    fn is_over(&self) -> bool {
        let stopped = self.stop.load(Ordering::Relaxed);
        stopped || (self.has_ended)() || self.control.is_empty()
    }
}

/// Waits until `done`, for `limit` at most.
fn wait(limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(LOOK));
    }
}

/// All accounts at one moment.
struct Snapshot {
    at: Instant,
    counts: Counts,
    server: CpuTime,
    threads: Vec<Spent>,
}

/// What one of our threads has spent.
struct Spent {
    scheduled: Scheduled,
    /// Of that, on waiting for the moment to send: nanoseconds.
    spun: u64,
}

impl Snapshot {
    fn take(plan: &Plan, control: &Control) -> Self {
        let server = CpuTime::of(&plan.pids);
        let spent = control.tasks().into_iter().map(|(task, spun)| {
            let scheduled = task.and_then(|task| process::scheduled(&task)).unwrap_or_default();
            Spent { scheduled, spun }
        });
        let threads = spent.collect();
        Self { at: Instant::now(), counts: control.counts(), server, threads }
    }

    fn since(&self, start: &Self, plan: &Plan) -> Window {
        let length = self.at - start.at;
        let server_cpu = Duration::from_nanos(self.server.since(&start.server));
        let (mut own_cpu, mut spun_in_all, mut busiest) = (0, 0, 0);
        for (end, start) in self.threads.iter().zip(&start.threads) {
            // A thread that has ended has no accounts any more.
            let ran = end.scheduled.ran.saturating_sub(start.scheduled.ran);
            let waited = end.scheduled.waited.saturating_sub(start.scheduled.waited);
            let spun = end.spun - start.spun;
            own_cpu += ran;
            spun_in_all += spun;
            busiest = busiest.max((ran + waited).saturating_sub(spun));
        }
        Window {
            length,
            counts: self.counts - start.counts,
            server_cpu: (!plan.pids.is_empty()).then_some(server_cpu),
            server_memory: process::resident(&plan.pids),
            own_cpu: (spun_in_all == 0).then_some(Duration::from_nanos(own_cpu)),
            busiest: busiest as f64 / length.as_nanos().max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_all_is_given_out() {
        for (total, threads) in [(10, 3), (3, 3), (100, 1), (7, 4), (4, 4), (2, 3)] {
            let mut next = 0;
            for thread in 0..threads {
                let share = Share { thread, threads };
                assert_eq!(share.before(total), next);
                assert!(share.of(total).abs_diff(total / threads) <= 1);
                next += share.of(total);
            }
            assert_eq!(next, total);
        }
    }
}
