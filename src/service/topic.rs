//! Topics: the loop's broadcast.
//!
//! A message is framed once into shared bytes and given an offset that grows by one within its topic;
//! a copy of the reference goes to each worker that has subscribers. Who hears what on a worker is
//! `server`'s work.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use super::{Letter, Mailbox};
use crate::protocol::{frame::Header, message::Message};

/// Something to publish to and to subscribe to, from any thread. Clones are the same topic.
///
/// Everyone subscribed sees the same publications in the same order. A topic costs a few words; it
/// is gone when its last clone is.
#[derive(Clone, Default)]
pub struct Topic(Arc<Shared>);

struct Shared {
    id: TopicId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The offset of the last publication.
    last: u64,
    workers: Vec<Subscribers>,
}

struct Subscribers {
    worker: u32,
    mailbox: Arc<dyn Mailbox>,
    count: usize,
}

/// Names a topic within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(u64);

/// One message to a topic, framed for the wire as a server sends it: unmasked (§5.1).
#[derive(Debug, Clone)]
pub struct Publication {
    /// The topic.
    pub topic: TopicId,
    /// Where it stands in its topic: 1 for the first.
    pub offset: u64,
    /// Who published it: a connection there that is sent something afterwards hears this first.
    pub thread: ThreadId,
    /// The whole frame.
    pub frame: Arc<[u8]>,
}

/// A publication that nobody got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishError {
    /// The queue of a worker with subscribers is full; try again later.
    Busy,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("a worker's queue is full"),
        }
    }
}

impl std::error::Error for PublishError {}

/// Something was published after the offset asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The offset of the last publication.
    pub last: u64,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "publications up to {} were missed", self.last)
    }
}

impl std::error::Error for Missed {}

impl Topic {
    /// A topic that nobody has published to.
    pub fn new() -> Self {
        Self::default()
    }

    /// The topic's name.
    pub fn id(&self) -> TopicId {
        self.0.id
    }

    /// Publishes to everyone subscribed; gives the offset. All get it or, on an error, nobody.
    ///
    /// # Errors
    /// [`PublishError::Busy`] where the queue of a worker with subscribers is full.
    pub fn publish<'m>(&self, message: impl Into<Message<'m>>) -> Result<u64, PublishError> {
        let frame = encode(&message.into());
        // The lock gives all workers one order; it is held for some pushes and never while sending.
        let mut state = self.lock();
        if !state.workers.iter().all(|to| to.mailbox.has_room(frame.len())) {
            return Err(PublishError::Busy);
        }
        state.last += 1;
        let (topic, offset, thread) = (self.0.id, state.last, thread::current().id());
        let publication = Publication { topic, offset, thread, frame };
        for to in &state.workers {
            to.mailbox.post(Letter::Publication(publication.clone())).ok();
        }
        Ok(state.last)
    }

    /// The offset of the last publication; 0 before the first.
    pub fn last_offset(&self) -> u64 {
        self.lock().last
    }

    /// How many connections are subscribed, on all workers.
    pub fn subscribers(&self) -> usize {
        self.lock().workers.iter().map(|to| to.count).sum()
    }

    /// Counts one more connection of `worker`, which is reached by `mailbox`; gives the offset after
    /// which it hears. For those who drive services.
    ///
    /// # Errors
    /// [`Missed`] where `after` is given and is not the last offset.
    pub fn join(
        &self,
        worker: u32,
        mailbox: &Arc<dyn Mailbox>,
        after: Option<u64>,
    ) -> Result<Subscriber, Missed> {
        let mut state = self.lock();
        let last = state.last;
        if after.is_some_and(|after| after != last) {
            return Err(Missed { last });
        }
        match state.workers.iter_mut().find(|to| to.worker == worker) {
            Some(to) => to.count += 1,
            None => {
                let mailbox = Arc::clone(mailbox);
                state.workers.push(Subscribers { worker, mailbox, count: 1 });
            }
        }
        Ok(Subscriber { topic: self.clone(), worker, after: last })
    }

    fn leave(&self, worker: u32) {
        let mut state = self.lock();
        if let Some(at) = state.workers.iter().position(|to| to.worker == worker) {
            state.workers[at].count -= 1;
            if state.workers[at].count == 0 {
                state.workers.swap_remove(at);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, and no half-made state could be seen if it did.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: TopicId(NEXT.fetch_add(1, Ordering::Relaxed)), state: Mutex::default() }
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.0.id.0).finish()
    }
}

/// One connection's place in a topic; leaves when dropped.
#[derive(Debug)]
pub struct Subscriber {
    topic: Topic,
    worker: u32,
    after: u64,
}

impl Subscriber {
    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The offset after which the connection hears.
    pub fn after(&self) -> u64 {
        self.after
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.topic.leave(self.worker);
    }
}

/// The whole message as one unmasked frame.
fn encode(message: &Message<'_>) -> Arc<[u8]> {
    let payload = message.as_bytes();
    let (header, len) = Header::new(message.opcode(), payload.len() as u64).encode();
    let mut frame: Arc<[u8]> = std::iter::repeat_n(0, len + payload.len()).collect();
    let bytes = Arc::get_mut(&mut frame).expect("nobody else has it yet");
    bytes[..len].copy_from_slice(&header[..len]);
    bytes[len..].copy_from_slice(payload);
    frame
}
