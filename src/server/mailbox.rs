//! How other workers and threads reach a worker.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::accept::Arrival;
use crate::service::{Full, Letter, Mailbox as Letterbox};

/// Most letters that wait for a worker.
pub(super) const MAX_LETTERS: usize = 65_536;

/// Most bytes of letters that wait for a worker.
const MAX_BYTES: usize = 64 << 20;

/// Letters, and bytes of them, at which a worker looks into its mailbox in the middle of a turn.
const HEAVY_LETTERS: usize = 4_096;
const HEAVY_BYTES: usize = 1 << 20;

/// Whether a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is.
    Welcome,
    /// It is over the limit: its request is answered with 503.
    OverLimit,
}

/// A worker's queue, and the way to wake it when it sleeps.
pub(crate) struct Mailbox {
    queue: Mutex<Vec<Letter>>,
    letters: AtomicUsize,
    bytes: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
    /// Connections that the worker which listens has for this one. Their number has its own limit.
    arrivals: Mutex<Vec<Arrival>>,
    has_arrivals: AtomicBool,
    waker: Box<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    /// An empty one; `waker` wakes its worker.
    pub(crate) fn new(waker: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: Mutex::default(),
            letters: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            arrivals: Mutex::default(),
            has_arrivals: AtomicBool::new(false),
            waker: Box::new(waker),
        }
    }

    /// Hands a connection over.
    pub(super) fn hand_over(&self, arrival: Arrival) {
        lock(&self.arrivals).push(arrival);
        self.has_arrivals.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// The connections that were handed over.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        match self.has_arrivals.swap(false, Ordering::SeqCst) {
            true => mem::take(&mut lock(&self.arrivals)),
            false => Vec::new(),
        }
    }

    /// Asks the worker to stop.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether so much waits that it is better handed out before the turn ends.
    pub(super) fn is_heavy(&self) -> bool {
        self.letters.load(Ordering::Relaxed) > HEAVY_LETTERS
            || self.bytes.load(Ordering::Relaxed) > HEAVY_BYTES
    }

    /// Whether nothing waits. Another thread may post right after.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.load(Ordering::SeqCst) == 0
    }

    /// The worker, which is stopping or not, is about to sleep; gives whether it may, as there is no
    /// news for it.
    pub(super) fn fall_asleep(&self, stopping: bool) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        self.is_empty()
            && !self.has_arrivals.load(Ordering::SeqCst)
            && self.stop.load(Ordering::SeqCst) == stopping
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Moves all letters to the end of `letters`.
    pub(super) fn take(&self, letters: &mut Vec<Letter>) {
        let mut queue = lock(&self.queue);
        self.letters.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::Relaxed);
        letters.append(&mut queue);
    }

    fn push(&self, letter: Letter) {
        let mut queue = lock(&self.queue);
        self.bytes.fetch_add(letter.size(), Ordering::Relaxed);
        queue.push(letter);
        self.letters.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        self.wake();
    }

    fn wake(&self) {
        // Only a sleeping worker costs a system call, and only the first who finds it asleep pays.
        if self.asleep.swap(false, Ordering::SeqCst) {
            (self.waker)();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Letterbox for Mailbox {
    fn post(&self, letter: Letter) -> Result<(), Full> {
        if matches!(letter, Letter::Errand(..)) && !self.has_room(letter.size()) {
            return Err(Full);
        }
        self.push(letter);
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.letters.load(Ordering::Relaxed) < MAX_LETTERS
            && self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= MAX_BYTES.max(bytes)
    }
}
