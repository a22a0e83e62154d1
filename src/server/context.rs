//! What the connections of a worker share: time, buffers, topics, timers, mail, and the turn's work.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{
    Shared,
    connection::Link,
    counters::Counters,
    output::{Backlog, Deferred},
    timers::Timers,
};
use crate::{
    mailbox::{self, Mail, Mailbox},
    protocol::buffer::Pool,
    service::Tasks,
    slab::Key,
    topic::fanout::{Compressed, Topics},
};

/// Bytes of spare buffers that a worker keeps.
const MAX_SPARE: usize = 4 << 20;

/// Memory for a turn's output that is kept for the next turn: bytes.
const MAX_SPARE_OUTPUT: usize = 1 << 20;

/// Most empty backlogs that a worker keeps.
const MAX_SPARE_BACKLOGS: usize = 256;

/// Items of mail for which an empty list keeps its memory.
const MAX_SPARE_MAIL: usize = 4_096;

/// Units of work that each delivery of what is published counts for: what it takes at the least.
const DELIVERY: u64 = 512;

/// What a connection's calls may touch of its worker.
pub(super) struct Context {
    /// Read once a turn.
    pub(super) now: Instant,
    /// When this worker was made.
    start: Instant,
    pub(super) pool: Pool,
    /// The turn's output; `deferred` says what is whose.
    pub(super) output: Vec<u8>,
    pub(super) deferred: Vec<Deferred>,
    /// Connections whose backlog is to be written.
    pub(super) listed: Vec<Key>,
    /// Memory for the list of connections that a flush has touched.
    pub(super) flushed: Vec<Key>,
    /// Connections with input, which have their share of the turn still.
    pub(super) light: VecDeque<Key>,
    /// Connections that have used up their share.
    pub(super) heavy: VecDeque<Key>,
    /// Connections whose state has changed outside of their own call.
    pub(super) unsettled: Vec<Key>,
    /// Connections that are done: TCP ends once their last bytes have left.
    pub(super) ending: Vec<Key>,
    pub(super) topics: Topics,
    /// Sent since the counters were last told.
    pub(super) compressed: Compressed,
    pub(super) timers: Timers,
    pub(super) tasks: Tasks,
    pub(super) mailbox: Arc<Mailbox>,
    /// Mail taken from the mailbox and not yet worked off.
    pub(super) mail: VecDeque<Mail>,
    /// The number of the last item of mail that was worked off.
    pub(super) worked_off: u64,
    /// Connections that hold output behind a post, by its number.
    pub(super) holding: VecDeque<(u64, Key)>,
    #[expect(
        clippy::vec_box,
        reason = "the box goes to a connection, which pays a pointer at rest"
    )]
    backlogs: Vec<Box<Backlog>>,
    pub(super) counters: Arc<Counters>,
    /// Units of work done by this worker, and how many they were when the turn began.
    work: u64,
    pub(super) begun: u64,
    /// The deliveries that its thread has published as far as they are counted.
    published: u64,
    /// Bytes that its connections hold of input that is not whole.
    pub(super) unfinished: usize,
    /// The most that this may be.
    pub(super) max_unfinished: usize,
}

impl Context {
    pub(super) fn new(mailbox: &Arc<Mailbox>, shared: &Shared, now: Instant) -> Self {
        Self {
            now,
            start: now,
            pool: Pool::new(MAX_SPARE),
            output: Vec::new(),
            deferred: Vec::new(),
            listed: Vec::new(),
            flushed: Vec::new(),
            light: VecDeque::new(),
            heavy: VecDeque::new(),
            unsettled: Vec::new(),
            ending: Vec::new(),
            topics: Topics::default(),
            compressed: Compressed::default(),
            timers: Timers::new(now),
            tasks: Tasks::new(Arc::clone(mailbox), now),
            mailbox: Arc::clone(mailbox),
            mail: VecDeque::new(),
            worked_off: 0,
            holding: VecDeque::new(),
            backlogs: Vec::new(),
            counters: Arc::clone(&shared.counters),
            work: 0,
            begun: 0,
            published: mailbox::deliveries_of_thread(),
            unfinished: 0,
            max_unfinished: shared.max_unfinished / shared.workers.len(),
        }
    }

    /// The time of the turn in the fewest bytes: hundredths of a second since this worker was made, which
    /// are enough for 497 days.
    pub(super) fn hundredths(&self) -> u32 {
        let hundredths = self.now.saturating_duration_since(self.start).as_millis() / 10;
        u32::try_from(hundredths).unwrap_or(u32::MAX)
    }

    /// Whether there is something to do before any new event comes.
    pub(super) fn has_work(&self) -> bool {
        !(self.light.is_empty()
            && self.heavy.is_empty()
            && self.deferred.is_empty()
            && self.listed.is_empty()
            && self.unsettled.is_empty()
            && self.ending.is_empty()
            && self.mail.is_empty())
            || self.topics.is_waiting()
            || self.tasks.has_work()
    }

    /// Counts work: a unit is about what it takes to read and unmask a byte.
    #[inline]
    pub(super) fn spend(&mut self, units: u64) {
        self.work += units;
    }

    /// Counts what this thread has published since this was last called.
    #[inline]
    pub(super) fn charge_published(&mut self) {
        let published = mailbox::deliveries_of_thread();
        if published != self.published {
            self.spend(published.wrapping_sub(self.published) * DELIVERY);
            self.published = published;
        }
    }

    /// Units of work done so far.
    #[inline]
    pub(super) fn work(&self) -> u64 {
        self.work + self.pool.work()
    }

    /// Puts a connection on a list to be served, unless it is on one.
    #[inline]
    pub(super) fn enqueue<S>(&mut self, link: &mut Link<S>) {
        if !std::mem::replace(&mut link.is_queued, true) {
            let list = if link.is_heavy { &mut self.heavy } else { &mut self.light };
            list.push_back(link.key);
        }
    }

    /// The next item of mail, with its number.
    pub(super) fn next_mail(&mut self) -> Option<(u64, Mail)> {
        if self.mail.is_empty() && !self.mailbox.is_empty() {
            self.mailbox.take(&mut self.mail);
        }
        let mail = self.mail.pop_front();
        if mail.is_none() {
            self.mail.shrink_to(MAX_SPARE_MAIL);
        }
        Some((self.worked_off + 1, mail?))
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

    /// An empty backlog.
    pub(super) fn new_backlog(&mut self) -> Box<Backlog> {
        let mut backlog = self.backlogs.pop().unwrap_or_else(|| Box::new(Backlog::new(self.now)));
        backlog.begin(self.now);
        backlog
    }

    /// Takes an emptied backlog back.
    pub(super) fn put_backlog(&mut self, backlog: Box<Backlog>) {
        if self.backlogs.len() < MAX_SPARE_BACKLOGS && backlog.is_small() {
            self.backlogs.push(backlog);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A worker's context, and its mailbox.
    pub(in crate::server) fn context() -> (Context, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(|| ()));
        let shared = Shared::new(vec![Arc::clone(&mailbox)], 0, usize::MAX);
        (Context::new(&mailbox, &shared, Instant::now()), mailbox)
    }
}
