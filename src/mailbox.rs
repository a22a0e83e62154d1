//! How a worker is reached: one queue for publications, commands and wake-ups, first in, first out.
//!
//! Any thread posts, the worker's own services among them; the worker takes everything out and carries it
//! out in order. What is posted counts as pending until it is done, so the bounds hold whatever the worker
//! has taken out of the queue already.

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt, mem, ptr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    protocol::{close::CloseCode, message::Message},
    slab::Key,
    sync::{self, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard},
    topic::Publication,
};

/// Most items that are pending at a worker.
pub(crate) const MAX_ITEMS: usize = 65_536;

/// Most bytes that are pending at a worker.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Items, and bytes of them, at which a worker serves its mailbox before it makes more.
const MANY_ITEMS: usize = 4_096;
const MANY_BYTES: usize = 256 << 10;

/// Names a connection for ever: no two connections of a process share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    /// Which worker owns the connection; no two workers of a process share a number.
    pub worker: u32,
    /// Where it stands in the worker's table; used again after the connection has ended.
    pub slot: u32,
    /// How often that place was used before.
    pub generation: u32,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker, self.slot, self.generation)
    }
}

/// What is posted to a worker.
#[derive(Debug)]
pub(crate) enum Mail {
    /// For everyone subscribed to a topic.
    Publication(Publication),
    /// For one connection.
    Command(PeerId, Command),
    /// A task's waker was called on another thread; always taken, as each task leaves one at a time.
    Wake(Key),
}

impl Mail {
    /// Bytes that it holds on to.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.size(),
            Self::Command(_, Command::Send(message)) => message.payload_len(),
            Self::Command(_, Command::Ping(payload)) => payload.len(),
            Self::Command(_, Command::Close(_, reason)) => reason.len(),
            Self::Wake(_) => 0,
        }
    }
}

/// What another thread asks of a connection.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send this message.
    Send(Message<'static>),
    /// Send a Ping.
    Ping(Box<[u8]>),
    /// Start the closing handshake.
    Close(CloseCode, Box<str>),
}

/// Why something was not posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostError {
    /// As much is pending as may be.
    Full,
    /// The worker has ended.
    Closed,
}

/// A worker's queue, and the way to wake it when it sleeps.
pub(crate) struct Mailbox {
    worker: u32,
    queue: Mutex<Queue>,
    /// Items in the queue.
    waiting: AtomicUsize,
    /// Items posted and not yet done, and their bytes.
    items: AtomicUsize,
    bytes: AtomicUsize,
    /// How many items were ever posted: the number of the last one.
    posted: AtomicU64,
    /// The number of the last item that the worker's own thread has posted.
    last_own: AtomicU64,
    /// The worker sleeps, or is about to, and nobody has called its waker since.
    ///
    /// Each change of this reads the value that it replaces, so each sees what those before it have
    /// released. A poster stores first and then takes this back: either a worker that falls asleep later
    /// sees what was stored, or the poster sees that the worker is asleep. For that reason no store may
    /// replace one of these changes, and what is stored for the worker needs no ordering of its own.
    asleep: AtomicBool,
    /// Something beside the queue wants to be looked at.
    alert: AtomicBool,
    stop: AtomicBool,
    waker: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    mail: VecDeque<Mail>,
    closed: bool,
}

sync::thread_local! {
    /// The mailbox of the worker that runs on this thread.
    static HERE: Cell<*const Mailbox> = const { Cell::new(ptr::null()) };

    /// Deliveries that publications of this thread have asked for.
    static DELIVERIES: Cell<u64> = const { Cell::new(0) };
}

/// Deliveries that publications of this thread have asked for so far, on whichever worker.
#[inline]
pub(crate) fn deliveries_of_thread() -> u64 {
    DELIVERIES.with(Cell::get)
}

/// While it lives, what this thread posts to a mailbox counts as the worker's own.
pub(crate) struct Entered {
    before: *const Mailbox,
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.with(|here| here.set(self.before));
    }
}

impl Mailbox {
    /// An empty one for a new worker; `waker` wakes it.
    pub(crate) fn new(waker: impl Fn() + Send + Sync + 'static) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            worker: NEXT.fetch_add(1, Ordering::Relaxed),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            last_own: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            alert: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            waker: Box::new(waker),
        }
    }

    /// The number of its worker, which no other worker of the process has.
    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    /// Makes this thread the worker's until what is given is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        Entered { before: HERE.with(|here| here.replace(Arc::as_ptr(self))) }
    }

    fn is_own_thread(&self) -> bool {
        ptr::eq(HERE.with(Cell::get), self)
    }

    // ---- for those who post --------------------------------------------------------------------

    /// Leaves a command or a wake-up. What one thread posts is carried out in its order.
    ///
    /// # Errors
    /// [`PostError::Full`] for a command where as much is pending as may be; [`PostError::Closed`].
    pub(crate) fn post(&self, mail: Mail) -> Result<(), PostError> {
        if matches!(mail, Mail::Command(..)) && !self.has_room(mail.size()) {
            // What was pending at the close stays pending for ever.
            return Err(if self.lock().closed { PostError::Closed } else { PostError::Full });
        }
        self.push(mail, 0)
    }

    /// Leaves a publication for `members` connections of this worker. It is always taken, as its publisher
    /// has asked [`has_room`](Self::has_room) of every worker before it posted to the first: so all get it
    /// or none, and the bound is passed by no more than one item for each thread that publishes at
    /// that moment.
    pub(crate) fn publish(&self, publication: Publication, members: usize) {
        // The members of a worker that has ended have ended too.
        self.push(Mail::Publication(publication), members).ok();
    }

    /// Whether `bytes` more may be posted now. One item of any size may where nothing is pending.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let pending = self.bytes.load(Ordering::Relaxed);
        self.items.load(Ordering::Relaxed) < MAX_ITEMS
            && (pending == 0 || pending.saturating_add(bytes) <= MAX_BYTES)
    }

    fn push(&self, mail: Mail, members: usize) -> Result<(), PostError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(PostError::Closed);
        }
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(mail.size(), Ordering::Relaxed);
        let number = self.posted.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_own_thread() {
            self.last_own.store(number, Ordering::Relaxed);
        }
        queue.mail.push_back(mail);
        self.waiting.store(queue.mail.len(), Ordering::Relaxed);
        drop(queue);
        DELIVERIES.with(|count| count.set(count.get().wrapping_add(members as u64)));
        self.wake();
        Ok(())
    }

    /// Has the worker look at what stands beside the queue.
    pub(crate) fn alert(&self) {
        self.alert.swap(true, Ordering::Release);
        self.wake();
    }

    /// Asks the worker to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        // Only a sleeping worker costs a system call, and only the first who finds it asleep pays.
        if self.asleep.swap(false, Ordering::Release) {
            (self.waker)();
        }
    }

    // ---- for the worker ------------------------------------------------------------------------

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the queue is empty. Another thread may post right after.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Whether there was an alert since this was last asked.
    pub(crate) fn take_alert(&self) -> bool {
        self.alert.load(Ordering::Relaxed) && self.alert.swap(false, Ordering::Acquire)
    }

    /// Whether so much is pending that it is better worked off before more is made: else members who read
    /// might be given more in a turn than may wait for them.
    #[inline]
    pub(crate) fn is_filling_up(&self) -> bool {
        self.items.load(Ordering::Relaxed) > MANY_ITEMS
            || self.bytes.load(Ordering::Relaxed) > MANY_BYTES
    }

    /// The number of the last item posted by whomever; 0 before the first.
    pub(crate) fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// The number of the last item that the worker's own thread has posted; 0 before the first.
    #[inline]
    pub(crate) fn last_own(&self) -> u64 {
        self.last_own.load(Ordering::Relaxed)
    }

    /// The worker, which is stopping or not, is about to sleep; gives whether it may, as there is
    /// nothing for it.
    pub(crate) fn fall_asleep(&self, stopping: bool) -> bool {
        self.asleep.swap(true, Ordering::Acquire);
        self.is_empty()
            && !self.alert.load(Ordering::Relaxed)
            && self.stop.load(Ordering::Relaxed) == stopping
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.swap(false, Ordering::Relaxed);
    }

    /// Moves all mail to the end of `mail`.
    pub(crate) fn take(&self, mail: &mut VecDeque<Mail>) {
        let mut queue = self.lock();
        self.waiting.store(0, Ordering::Relaxed);
        if mail.is_empty() {
            mem::swap(mail, &mut queue.mail);
        } else {
            mail.append(&mut queue.mail);
        }
    }

    /// Items that were taken out are done: they have left room.
    pub(crate) fn done(&self, items: usize, bytes: usize) {
        self.items.fetch_sub(items, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The worker ends: nothing is posted any more, and what waits is dropped.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let mail = mem::take(&mut queue.mail);
        self.waiting.store(0, Ordering::Relaxed);
        drop(queue);
        drop(mail);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailbox").field(&self.worker).finish()
    }
}

#[cfg(all(loom, test))]
mod models;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Topic;

    const PEER: PeerId = PeerId { worker: 0, slot: 0, generation: 0 };

    fn message(len: usize) -> Mail {
        Mail::Command(PEER, Command::Send(vec![0; len].into()))
    }

    fn mailbox() -> Arc<Mailbox> {
        Arc::new(Mailbox::new(|| ()))
    }

    fn taken(mailbox: &Mailbox) -> Vec<Mail> {
        let mut mail = VecDeque::new();
        mailbox.take(&mut mail);
        mail.into()
    }

    #[test]
    fn what_is_pending_is_bounded_in_items_and_bytes_until_it_is_done() {
        let mailbox = mailbox();
        for _ in 0..MAX_ITEMS {
            mailbox.post(message(0)).unwrap();
        }
        assert_eq!(mailbox.post(message(0)), Err(PostError::Full));
        assert_eq!(taken(&mailbox).len(), MAX_ITEMS);
        assert_eq!(mailbox.post(message(0)), Err(PostError::Full), "taken out is not done");
        mailbox.done(1, 0);
        mailbox.post(message(0)).unwrap();
        assert_eq!(mailbox.post(message(0)), Err(PostError::Full));
        assert_eq!(taken(&mailbox).len(), 1);
        mailbox.done(MAX_ITEMS, 0);

        mailbox.post(message(MAX_BYTES - 1)).unwrap();
        mailbox.post(message(1)).unwrap();
        assert_eq!(mailbox.post(message(1)), Err(PostError::Full));
        mailbox.post(message(0)).unwrap();
        assert_eq!(taken(&mailbox).len(), 3);
        mailbox.done(3, MAX_BYTES);
        // One that is larger than the bound is taken alone.
        mailbox.post(message(MAX_BYTES + 1)).unwrap();
        assert_eq!(mailbox.post(message(1)), Err(PostError::Full));
    }

    #[test]
    fn publications_and_commands_share_a_bound_and_an_order_and_wake_ups_pass_it() {
        let (mailbox, topic) = (mailbox(), Topic::new());
        let _member = topic.subscribe(&mailbox, None, Default::default()).unwrap();
        topic.publish(vec![0; MAX_BYTES / 2]).unwrap();
        mailbox.post(message(MAX_BYTES / 4)).unwrap();
        assert!(topic.publish(vec![0; MAX_BYTES / 2]).is_err());
        assert_eq!(mailbox.post(message(MAX_BYTES / 2)), Err(PostError::Full));
        topic.publish("small").unwrap();
        mailbox.post(Mail::Wake(Key { slot: 0, generation: 0 })).unwrap();
        assert_eq!(mailbox.posted(), 4);
        let mail = taken(&mailbox);
        let size: usize = mail.iter().map(Mail::size).sum();
        assert!(matches!(
            mail[..],
            [Mail::Publication(_), Mail::Command(..), Mail::Publication(_), Mail::Wake(_)]
        ));
        mailbox.done(mail.len(), size);
        for _ in 0..MAX_ITEMS + 10 {
            mailbox.post(Mail::Wake(Key { slot: 0, generation: 0 })).unwrap();
        }
        assert_eq!(mailbox.post(message(0)), Err(PostError::Full));
    }

    #[test]
    fn what_waits_in_a_mailbox_that_closes_is_dropped_and_nothing_more_is_taken() {
        let (mailbox, topic) = (mailbox(), Topic::new());
        let _member = topic.subscribe(&mailbox, None, Default::default()).unwrap();
        mailbox.post(message(10)).unwrap();
        mailbox.close();
        assert!(mailbox.is_empty() && taken(&mailbox).is_empty());
        assert_eq!(mailbox.post(message(10)), Err(PostError::Closed));
        (0..=MAX_ITEMS).for_each(|_| _ = topic.publish("to nobody").unwrap());
        assert!(mailbox.is_empty());
    }

    #[test]
    fn only_what_the_worker_s_thread_posts_is_its_own() {
        let [one, other] = [mailbox(), mailbox()];
        assert_ne!(one.worker(), other.worker());
        one.post(message(0)).unwrap();
        assert_eq!((one.posted(), one.last_own()), (1, 0));
        let entered = one.enter();
        one.post(message(0)).unwrap();
        other.post(message(0)).unwrap();
        assert_eq!((one.last_own(), other.last_own()), (2, 0));
        let nested = other.enter();
        one.post(message(0)).unwrap();
        other.post(message(0)).unwrap();
        assert_eq!((one.last_own(), other.last_own()), (2, 2));
        drop(nested);
        let elsewhere = Arc::clone(&one);
        thread::spawn(move || elsewhere.post(message(0)).unwrap()).join().unwrap();
        assert_eq!((one.posted(), one.last_own()), (4, 2));
        one.post(message(0)).unwrap();
        assert_eq!(one.last_own(), 5);
        drop(entered);
        one.post(message(0)).unwrap();
        assert_eq!((one.posted(), one.last_own()), (6, 5));
    }

    #[test]
    fn a_worker_that_sleeps_is_woken_once() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let mailbox = Mailbox::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        let count = || wakes.swap(0, Ordering::Relaxed);
        mailbox.post(message(0)).unwrap();
        assert_eq!((mailbox.fall_asleep(false), count()), (false, 0), "there is mail");
        mailbox.wake_up();
        taken(&mailbox);
        assert!(mailbox.fall_asleep(false));
        mailbox.post(message(0)).unwrap();
        mailbox.post(message(0)).unwrap();
        assert_eq!(count(), 1);
        taken(&mailbox);
        assert!(mailbox.fall_asleep(false));
        mailbox.alert();
        mailbox.alert();
        assert_eq!(count(), 1);
        assert!(!mailbox.fall_asleep(false), "there was an alert");
        mailbox.wake_up();
        assert_eq!((mailbox.take_alert(), mailbox.take_alert()), (true, false));
        assert!(mailbox.fall_asleep(false));
        mailbox.stop();
        assert_eq!((count(), mailbox.is_stopping()), (1, true));
        assert!(!mailbox.fall_asleep(false), "it is to stop");
        assert!(mailbox.fall_asleep(true), "it is stopping already");
    }

    #[test]
    fn a_mailbox_that_closed_while_it_was_full_says_that_it_is_closed() {
        let mailbox = Mailbox::new(|| ());
        let peer = PeerId { worker: 0, slot: 0, generation: 0 };
        let post = || mailbox.post(Mail::Command(peer, Command::Ping([0].into())));
        while mailbox.has_room(1) {
            post().unwrap();
        }
        assert_eq!(post(), Err(PostError::Full));
        mailbox.close();
        assert_eq!(post(), Err(PostError::Closed));
    }
}
