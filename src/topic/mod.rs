//! Topics: the loop's broadcast.
//!
//! A message is framed once into shared bytes and given an offset that grows by one within its topic;
//! a copy of the reference goes to each worker that has subscribers. There it is given to the
//! members; writing to their sockets is `server`'s work. How a topic compresses is told at
//! [`Topic::compressed`], and in which order things arrive in [`order`].

mod compress;
mod encoding;
pub(crate) mod fanout;
mod lag;
#[doc = include_str!("order.md")]
pub mod order {}
mod probe;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use compress::Packer;
pub use encoding::{Encoding, EncodingState};
pub use lag::Lag;
#[doc(hidden)]
pub use probe::Probe;
use subscription::Subscription;

use crate::mailbox::Mailbox;
use crate::protocol::{
    Role,
    frame::{Header, HeaderRules, Opcode, Rsv},
    limits::{SettingError, in_range},
    message::Message,
};

/// Something to publish to and to subscribe to, from any thread. Clones are the same topic.
///
/// Everyone subscribed sees the same publications in the same order. A topic costs a few words; it
/// is gone when its last clone is.
#[derive(Clone, Default)]
pub struct Topic(Arc<Shared>);

struct Shared {
    id: TopicId,
    /// The window that it compresses with; 0 where it does not.
    window_bits: u8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The offset of the last publication.
    last: u64,
    lag: Lag,
    workers: Vec<Subscribers>,
    members: Members,
    packer: Option<Packer>,
}

/// The connections of one worker that are subscribed.
struct Subscribers {
    mailbox: Arc<Mailbox>,
    count: usize,
}

/// How many of the subscribed can take which compressed frames.
#[derive(Debug, Default)]
struct Members {
    shared: usize,
    /// Able to be in the cohort, and not in since it last started.
    waiting: usize,
    /// In the cohort.
    inside: usize,
    /// The offset at which the cohort last started; 0 where there is none.
    started: u64,
}

/// A message's compressed forms, as far as there is somebody for them.
#[derive(Default)]
struct Packed {
    shared: Option<Arc<[u8]>>,
    shared_bits: u8,
    cohort: Option<Arc<[u8]>>,
    cohort_starts: bool,
}

/// How a topic compresses.
///
/// 4,000 JSON messages of 147 bytes for 1,000 members, one more of whom comes after every 50 messages: what a
/// member is sent, the time for compressing all, and what is held for it.
///
/// | members hear | each is sent | of plain | all compressing | memory |
/// |---|---|---|---|---|
/// | plain frames | 588 kB | 100 % | | |
/// | shared ones, each compressed by itself | 472 kB | 80 % | 24 ms | 191 KiB |
/// | a cohort's, anew after 50 messages | 185 kB | 31 % | 18 ms | 191 KiB |
/// | a cohort's, anew after 200 (the default) | 168 kB | 29 % | 19 ms | 191 KiB |
/// | a cohort's, one start | 163 kB | 28 % | 14 ms | 191 KiB |
/// | those of a compressor each, 12 bits | 171 kB | 29 % | 11 s | 157 MiB |
/// | those of a compressor each, 15 bits | 149 kB | 25 % | 26 s | 363 MiB |
/// | a cohort's, window 11, memory level 4 | 185 kB | 31 % | 14 ms | 146 KiB |
/// | a cohort's, window 12, memory level 5 | 175 kB | 30 % | 19 ms | 161 KiB |
/// | a cohort's, window 15, memory level 8 | 162 kB | 28 % | 17 ms | 371 KiB |
///
/// Measured on two cores of a shared virtual machine by `cargo bench --bench cohort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDeflate {
    /// How hard to look for repetitions: 1 (fast) to 9 (small). Default 6.
    pub level: u8,
    /// Memory for the compressor beside its window: 1 (least) to 9 (most). Default 6.
    pub mem_level: u8,
    /// The window: 9 (512 bytes) to 15 (32 KiB). Default 13. Members with a smaller one stay out of the
    /// cohort.
    pub window_bits: u8,
    /// Bytes of payload from which on a message is compressed; a shorter one is plain for everybody and
    /// enters no window. Default 32.
    pub min_len: usize,
    /// Messages after which the cohort's compressor forgets all, so that whoever waits comes in; it
    /// goes on where nobody does. Default 200. It does so earlier once more wait than are in.
    pub reset_after: u32,
    /// Members able to be in the cohort from which on there is one. Default 3, at least 1.
    pub min_members: usize,
}

impl Default for TopicDeflate {
    fn default() -> Self {
        Self {
            level: 6,
            mem_level: 6,
            window_bits: 13,
            min_len: 32,
            reset_after: 200,
            min_members: 3,
        }
    }
}

impl TopicDeflate {
    /// Whether every setting is within its range.
    ///
    /// # Errors
    /// [`SettingError`] for the first that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        in_range("TopicDeflate::level", self.level, 1..=9)?;
        in_range("TopicDeflate::mem_level", self.mem_level, 1..=9)?;
        in_range("TopicDeflate::window_bits", self.window_bits, 9..=15)?;
        // A cohort of nobody would keep its compressor for as long as its topic lives.
        in_range("TopicDeflate::min_members", self.min_members, 1..)
    }

    /// Whether every setting is within its range: [`check`](Self::check).
    pub fn is_legal(&self) -> bool {
        self.check().is_ok()
    }
}

/// How often a topic has compressed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compressions {
    /// So that it refers to nothing, for members outside the cohort.
    pub shared: u64,
    /// For the cohort.
    pub cohort: u64,
    /// Times that the cohort started: those of the compressions for it that refer to nothing either.
    pub starts: u64,
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
    /// Its number among what the worker's mailbox was given; 0 before that.
    pub(crate) number: u64,
    /// What becomes of those who do not keep up.
    pub lag: Lag,
    /// The whole frame, for everyone.
    pub plain: Arc<[u8]>,
    /// The message compressed so that it refers to nothing before it, where somebody may want it.
    pub shared: Option<Arc<[u8]>>,
    /// The window that inflates this, as its base-2 logarithm; no larger than the message needs.
    pub shared_bits: u8,
    /// The message compressed for the topic's cohort, where there is one.
    pub cohort: Option<Arc<[u8]>>,
    /// Whether this frame of the cohort's refers to nothing before it: who waits comes in with it.
    pub cohort_starts: bool,
    /// The window that the cohort's are compressed with; 0 in a topic that does not compress.
    pub window_bits: u8,
}

impl Publication {
    /// The message: its type and its payload.
    pub fn message(&self) -> (Opcode, &[u8]) {
        let rules = HeaderRules { role: Role::Client, max_payload: usize::MAX, rsv: Rsv::NONE };
        let decoded = Header::decode(&self.plain, &rules);
        let (header, len) = decoded.ok().flatten().expect("it was encoded whole");
        (header.opcode(), &self.plain[len..])
    }

    /// Bytes of all its frames.
    pub fn size(&self) -> usize {
        let compressed = [&self.shared, &self.cohort].into_iter().flatten();
        self.plain.len() + compressed.map(|frame| frame.len()).sum::<usize>()
    }
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
    /// A topic that nobody has published to, and that does not compress.
    pub fn new() -> Self {
        Self::default()
    }

    /// A topic that compresses what is published to it (RFC 7692): once for each kind of member,
    /// however many these are.
    ///
    /// | members that agreed to | hear |
    /// |---|---|
    /// | no compression, or takeover with a compressor of their own | plain frames |
    /// | `server_no_context_takeover`, or a window smaller than the topic's | *shared* frames: each message compressed by itself |
    /// | takeover, with the server's [window left to topics](crate::Deflate::for_topics) | those of the *cohort*: compressed by one compressor for all of them, and its window |
    ///
    /// **The cohort.** All in it have received the same compressed bytes since its compressor last
    /// forgot all, so they have the same window and the next message is the same bytes for all of them.
    /// A member comes in with the first message behind such a start, which refers to nothing, and
    /// hears plain or shared frames until then. Whoever misses a message (a connection in raw mode
    /// that is between fragments of its own) is out until the next start. While it is in, everything
    /// else goes to it plain: what is sent to it alone, and its other topics; so it is in one cohort
    /// at most, that of the first topic that started one with it.
    ///
    /// **Bounds.** There is a cohort while at least [`TopicDeflate::min_members`] can be in it, and in
    /// at most 256 topics of a process at once, as each has a compressor (191 KiB with
    /// the defaults); the members of other topics hear shared frames. Messages of less than
    /// [`TopicDeflate::min_len`] bytes stay plain. Compressing happens in [`publish`](Self::publish),
    /// under the topic's lock: a message of a mebibyte keeps others waiting for some hundredths
    /// of a second.
    ///
    /// **What lengths tell.** A compressed message is shorter where it repeats what is in the
    /// window. Whoever can publish text of their choice and see how long frames are on the wire,
    /// of other members too, can guess at what else was published since the last start, up to a window's
    /// length. The window never holds what was sent to one member alone. Where outsiders write next to secrets, use
    /// [`Topic::new`].
    ///
    /// # Panics
    /// Where a setting is out of its range, which [`TopicDeflate::check`] names.
    pub fn compressed(settings: TopicDeflate) -> Self {
        if let Err(error) = settings.check() {
            panic!("{error}");
        }
        let window_bits = settings.window_bits;
        let state = State { packer: Some(Packer::new(settings)), ..State::default() };
        Self(Arc::new(Shared { window_bits, state: Mutex::new(state), ..Shared::default() }))
    }

    /// The same topic, with this policy for members that do not keep up. It holds for what is published
    /// from now on, also by other clones.
    #[must_use]
    pub fn with_lag(self, lag: Lag) -> Self {
        self.lock().lag = lag;
        self
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
        let message = message.into();
        let plain = encode(message.opcode(), Rsv::NONE, message.as_bytes());
        // The lock gives all workers one order; it is held for some pushes, and for compressing where
        // the topic does that, and never while sending.
        let mut guard = self.lock();
        let state = &mut *guard;
        // Asked before anything is compressed: what nobody hears must enter no window.
        if !state.workers.iter().all(|to| to.mailbox.has_room(plain.len())) {
            return Err(PublishError::Busy);
        }
        state.last += 1;
        let packed = match &mut state.packer {
            Some(packer) => packer.pack(&message, state.last, &mut state.members),
            None => Packed::default(),
        };
        let publication = Publication {
            topic: self.0.id,
            offset: state.last,
            number: 0,
            lag: state.lag,
            plain,
            shared: packed.shared,
            shared_bits: packed.shared_bits,
            cohort: packed.cohort,
            cohort_starts: packed.cohort_starts,
            window_bits: self.0.window_bits,
        };
        for to in &state.workers {
            to.mailbox.publish(publication.clone(), to.count);
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

    /// The window that it compresses with, as its base-2 logarithm; 0 where it does not compress.
    pub fn window_bits(&self) -> u8 {
        self.0.window_bits
    }

    /// How often it has compressed so far.
    pub fn compressions(&self) -> Compressions {
        self.lock().packer.as_ref().map_or_else(Compressions::default, Packer::made)
    }

    /// Subscribes one more connection of the worker of `mailbox`, which can take frames of this
    /// `encoding`.
    ///
    /// # Errors
    /// [`Missed`] where `after` is given and is not the last offset.
    pub(crate) fn subscribe(
        &self,
        mailbox: &Arc<Mailbox>,
        after: Option<u64>,
        encoding: Encoding,
    ) -> Result<Subscription, Missed> {
        let last = self.join(mailbox, after, encoding)?;
        Ok(Subscription::new(self.clone(), mailbox.worker(), last, encoding))
    }

    /// Counts one more connection; gives the offset after which it receives.
    pub(crate) fn join(
        &self,
        mailbox: &Arc<Mailbox>,
        after: Option<u64>,
        encoding: Encoding,
    ) -> Result<u64, Missed> {
        let mut state = self.lock();
        let last = state.last;
        if after.is_some_and(|after| after != last) {
            return Err(Missed { last });
        }
        match state.workers.iter_mut().find(|to| to.mailbox.worker() == mailbox.worker()) {
            Some(to) => to.count += 1,
            None => state.workers.push(Subscribers { mailbox: Arc::clone(mailbox), count: 1 }),
        }
        state.members.add(encoding);
        Ok(last)
    }

    /// Counts one less, which was counted as `encoding` since that offset; gives the last offset.
    fn leave(&self, worker: u32, encoding: Encoding, since: u64) -> u64 {
        let mut state = self.lock();
        state.recount(|members| members.remove(encoding, since));
        if let Some(at) = state.workers.iter().position(|to| to.mailbox.worker() == worker) {
            state.workers[at].count -= 1;
            if state.workers[at].count == 0 {
                state.workers.swap_remove(at);
            }
        }
        state.last
    }

    /// Counts one as `to` that was counted as `from` since that offset; gives the last offset.
    fn recount(&self, from: Encoding, since: u64, to: Encoding) -> u64 {
        let mut state = self.lock();
        state.recount(|members| {
            members.remove(from, since);
            members.add(to);
        });
        state.last
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No half-made state can be seen after a panic under the lock: a compressor that panics is gone.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = TopicId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, window_bits: 0, state: Mutex::default() }
    }
}

impl State {
    fn recount(&mut self, change: impl FnOnce(&mut Members)) {
        change(&mut self.members);
        if let Some(packer) = &mut self.packer {
            packer.shrink(&mut self.members);
        }
    }
}

impl Members {
    fn add(&mut self, encoding: Encoding) {
        if let Some(count) = self.count(encoding, self.started) {
            *count += 1;
        }
    }

    /// One of this encoding is gone, who had come after the offset `since`.
    fn remove(&mut self, encoding: Encoding, since: u64) {
        if let Some(count) = self.count(encoding, since) {
            *count -= 1;
        }
    }

    fn count(&mut self, encoding: Encoding, since: u64) -> Option<&mut usize> {
        match encoding {
            Encoding::Plain => None,
            Encoding::Shared => Some(&mut self.shared),
            Encoding::Cohort if since < self.started => Some(&mut self.inside),
            Encoding::Cohort => Some(&mut self.waiting),
        }
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

/// The whole message as one unmasked frame.
fn encode(opcode: Opcode, rsv: Rsv, payload: &[u8]) -> Arc<[u8]> {
    let (header, len) = Header::new(opcode, payload.len() as u64).with_rsv(rsv).encode();
    let mut frame: Arc<[u8]> = std::iter::repeat_n(0, len + payload.len()).collect();
    let bytes = Arc::get_mut(&mut frame).expect("nobody else has it yet");
    bytes[..len].copy_from_slice(&header[..len]);
    bytes[len..].copy_from_slice(payload);
    frame
}
