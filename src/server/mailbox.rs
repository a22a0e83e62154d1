//! How other workers and threads reach a worker.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use mio::{Registry, Token, Waker, net::TcpStream};

use crate::service::{Full, Letter, Mailbox as Letterbox};

/// Most letters that wait for a worker.
pub(super) const MAX_LETTERS: usize = 65_536;

/// Most bytes of letters that wait for a worker.
const MAX_BYTES: usize = 64 << 20;

/// Letters, and bytes of them, at which a worker looks into its mailbox in the middle of a turn.
const HEAVY_LETTERS: usize = 4_096;
const HEAVY_BYTES: usize = 1 << 20;

/// What reaches a worker.
#[derive(Debug)]
pub(super) enum Post {
    /// From an application.
    Letter(Letter),
    /// A connection for this worker, and whether it comes only to be told that there are too many.
    Socket(TcpStream, SocketAddr, Admission),
}

/// Whether a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is.
    Welcome,
    /// It is over the limit: its request is answered with 503.
    OverLimit,
}

/// A worker's queue, and the way to wake it when it sleeps.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Mutex<Vec<Post>>,
    letters: AtomicUsize,
    bytes: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            letters: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            waker: Waker::new(registry, token)?,
        })
    }

    /// Hands a connection over. Their number has its own limit.
    pub(super) fn hand_over(&self, socket: TcpStream, addr: SocketAddr, admission: Admission) {
        self.push(Post::Socket(socket, addr, admission));
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
        self.is_empty() && self.stop.load(Ordering::SeqCst) == stopping
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Moves all that waits to the end of `posts`.
    pub(super) fn take(&self, posts: &mut Vec<Post>) {
        let mut queue = self.lock();
        self.letters.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::Relaxed);
        posts.append(&mut queue);
    }

    fn push(&self, post: Post) {
        let mut queue = self.lock();
        if let Post::Letter(letter) = &post {
            self.bytes.fetch_add(letter.size(), Ordering::Relaxed);
        }
        queue.push(post);
        self.letters.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        self.wake();
    }

    fn wake(&self) {
        // Only a sleeping worker costs a system call, and only the first who finds it asleep pays.
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            log::error!("a worker could not be woken: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Post>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letterbox for Mailbox {
    fn post(&self, letter: Letter) -> Result<(), Full> {
        if matches!(letter, Letter::Errand(..)) && !self.has_room(letter.size()) {
            return Err(Full);
        }
        self.push(Post::Letter(letter));
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.letters.load(Ordering::Relaxed) < MAX_LETTERS
            && self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= MAX_BYTES.max(bytes)
    }
}
