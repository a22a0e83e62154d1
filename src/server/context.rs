//! What the connections of a worker share for a turn: time, output, topics, timers, mail.

use std::{sync::Arc, time::Instant};

use super::{
    Shared,
    counters::Counters,
    mailbox::Mailbox,
    outbox::Outbox,
    peer::Deferred,
    timers::Timers,
    topics::{Compressed, Topics},
};
use crate::{
    protocol::buffer::Pool,
    service::{Letter, Mailbox as Letterbox, Tasks},
    slab::Key,
};

/// Bytes of spare buffers that a worker keeps.
const MAX_SPARE: usize = 4 << 20;

/// Memory for a turn's output that is kept for the next turn: bytes.
const MAX_SPARE_OUTPUT: usize = 1 << 20;

/// Most empty outboxes that a worker keeps.
const MAX_SPARE_OUTBOXES: usize = 256;

/// What a connection's calls may touch of its worker.
pub(super) struct Context {
    pub(super) worker: u32,
    /// Read once a turn.
    pub(super) now: Instant,
    /// Counts how often it was time to hand out publications. A byte a connection is enough to tell who was
    /// read since: who was last read 256 rounds ago is taken for one, and only hears a moment later for it.
    pub(super) round: u8,
    /// When this worker was made.
    start: Instant,
    pub(super) pool: Pool,
    /// The turn's output; `deferred` says what is whose.
    pub(super) output: Vec<u8>,
    pub(super) deferred: Vec<Deferred>,
    /// Connections whose outbox is to be flushed.
    pub(super) dirty: Vec<Key>,
    /// Memory for the list of connections that a flush has touched.
    pub(super) flushed: Vec<Key>,
    /// Connections to read on without a new edge.
    pub(super) ready: Vec<Key>,
    /// Connections whose state has changed outside of their own call.
    pub(super) unsettled: Vec<Key>,
    /// Connections that are done: TCP ends once their last bytes have left.
    pub(super) ending: Vec<Key>,
    pub(super) topics: Topics,
    /// Memory for the members of a topic that hear last, with the offsets up to which they have heard.
    pub(super) speakers: Vec<(Key, u64)>,
    /// Sent since the counters were last told.
    pub(super) compressed: Compressed,
    pub(super) timers: Timers,
    pub(super) tasks: Tasks,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) letterbox: Arc<dyn Letterbox>,
    /// Letters taken from the mailbox, publications sorted out.
    pub(super) letters: Vec<Letter>,
    #[expect(
        clippy::vec_box,
        reason = "the box goes to a connection, which pays a pointer at rest"
    )]
    outboxes: Vec<Box<Outbox>>,
    pub(super) counters: Arc<Counters>,
}

impl Context {
    pub(super) fn new(worker: u32, shared: &Shared, now: Instant) -> Self {
        let mailbox = Arc::clone(&shared.mailboxes[worker as usize]);
        Self {
            worker,
            now,
            round: 0,
            start: now,
            pool: Pool::new(MAX_SPARE),
            output: Vec::new(),
            deferred: Vec::new(),
            dirty: Vec::new(),
            flushed: Vec::new(),
            ready: Vec::new(),
            unsettled: Vec::new(),
            ending: Vec::new(),
            topics: Topics::new(),
            speakers: Vec::new(),
            compressed: Compressed::default(),
            timers: Timers::new(now),
            tasks: Tasks::new(mailbox.clone(), now),
            letterbox: mailbox.clone(),
            mailbox,
            letters: Vec::new(),
            outboxes: Vec::new(),
            counters: Arc::clone(&shared.counters),
        }
    }

    /// The time of the turn in the fewest bytes: microseconds since this worker was made.
    pub(super) fn micros(&self) -> u64 {
        self.now.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Whether there is something to do before any new event comes.
    pub(super) fn has_work(&self) -> bool {
        !(self.ready.is_empty()
            && self.deferred.is_empty()
            && self.dirty.is_empty()
            && self.letters.is_empty())
            || self.topics.is_waiting()
            || self.tasks.has_work()
    }

    /// Empties the mailbox: publications go to their topics, the rest waits for its place in the turn.
    pub(super) fn sort_mail(&mut self) {
        if self.mailbox.is_empty() {
            return;
        }
        let new = self.letters.len();
        self.mailbox.take(&mut self.letters);
        let is_publication = |letter: &mut Letter| matches!(letter, Letter::Publication(_));
        for letter in self.letters.extract_if(new.., is_publication) {
            if let Letter::Publication(publication) = letter {
                self.topics.take_in(publication);
            }
        }
    }

    /// Tells the counters what was sent compressed.
    pub(super) fn count_compressed(&mut self) {
        let Compressed { shared, cohort } = std::mem::take(&mut self.compressed);
        if shared > 0 {
            self.counters.shared_frames.add(shared);
        }
        if cohort > 0 {
            self.counters.cohort_frames.add(cohort);
        }
    }

    /// The turn's output has left; its memory is kept, unless one large message took more than usual.
    pub(super) fn clear_output(&mut self) {
        self.output.clear();
        self.output.shrink_to(MAX_SPARE_OUTPUT);
    }

    /// An empty outbox.
    pub(super) fn new_outbox(&mut self) -> Box<Outbox> {
        let mut outbox = self.outboxes.pop().unwrap_or_else(|| Box::new(Outbox::new(self.now)));
        outbox.progress = self.now;
        outbox
    }

    /// Takes an emptied outbox back.
    pub(super) fn put_outbox(&mut self, outbox: Box<Outbox>) {
        if self.outboxes.len() < MAX_SPARE_OUTBOXES && outbox.is_small() {
            self.outboxes.push(outbox);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        protocol::{close::CloseCode, message::Message},
        server::mailbox,
        service::{Errand, Full, Kind, PeerId, PublishError, Topic},
    };

    /// A worker's context, and its mailbox.
    pub(in crate::server) fn context() -> (Context, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(|| ()));
        let shared = Shared {
            mailboxes: vec![Arc::clone(&mailbox)],
            open: Vec::new(),
            over_limit: Default::default(),
            max_connections: 0,
            counters: Default::default(),
        };
        (Context::new(0, &shared, Instant::now()), mailbox)
    }

    fn errand() -> Letter {
        let id = PeerId { worker: 0, slot: 0, generation: 0 };
        Letter::Errand(id, Errand::Close(CloseCode::NORMAL, "".into()))
    }

    /// Takes all letters out; gives how many they were.
    fn letters(mailbox: &Mailbox) -> usize {
        let mut letters = Vec::new();
        mailbox.take(&mut letters);
        letters.len()
    }

    #[test]
    fn mail_that_a_call_has_taken_out_is_work() {
        // The mailbox, which is empty then, wakes nobody for it any more.
        let (mut context, mailbox) = context();
        assert!(!context.has_work());
        mailbox.post(errand()).unwrap();
        context.sort_mail();
        assert!(mailbox.is_empty() && context.has_work());

        let (mut context, _mailbox) = self::context();
        let topic = Topic::new();
        let subscriber = topic.join(0, &context.letterbox, None, Kind::Plain).unwrap();
        let key = Key { slot: 0, generation: 0 };
        let _subscription = context.topics.subscribe(key, subscriber);
        topic.publish("news").unwrap();
        context.sort_mail();
        assert!(context.letters.is_empty() && context.has_work());
    }

    #[test]
    fn all_hear_a_publication_or_nobody_does() {
        let (context, mailbox) = context();
        let (other_context, other) = self::context();
        let topic = Topic::new();
        let _here = topic.join(0, &context.letterbox, None, Kind::Plain).unwrap();
        let _there = topic.join(1, &other_context.letterbox, None, Kind::Plain).unwrap();
        while other.post(errand()).is_ok() {}
        assert_eq!(topic.publish("news"), Err(PublishError::Busy));
        assert_eq!(topic.last_offset(), 0);
        assert_eq!([letters(&mailbox), letters(&other)], [0, mailbox::MAX_LETTERS]);
        assert_eq!(topic.publish("news"), Ok(1));
        assert_eq!([letters(&mailbox), letters(&other)], [1, 1]);
    }

    #[test]
    fn a_mailbox_is_bounded_in_bytes_and_takes_one_letter_of_any_size() {
        let (_context, mailbox) = context();
        let id = PeerId { worker: 0, slot: 0, generation: 0 };
        let message = Message::from(vec![0; 40 << 20]);
        let send =
            |mailbox: &Mailbox| mailbox.post(Letter::Errand(id, Errand::Send(message.clone())));
        assert_eq!(send(&mailbox), Ok(()));
        assert_eq!(send(&mailbox), Err(Full));
        mailbox.take(&mut Vec::new());
        assert_eq!(send(&mailbox), Ok(()));
        mailbox.take(&mut Vec::new());
        let message = Message::from(vec![0; 65 << 20]);
        assert_eq!(mailbox.post(Letter::Errand(id, Errand::Send(message))), Ok(()));
        assert_eq!(mailbox.post(errand()), Err(Full));
    }
}
