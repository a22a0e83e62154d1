//! Subscriptions: one connection's place in a topic, and all the places of one connection.

use std::mem;

use super::{Encoding, EncodingState, Publication, Topic, TopicId, fanout::Topics};
use crate::mailbox::Mailbox;

/// One connection's subscription to one topic; leaves the topic when dropped, and its place among the
/// members by [`Topics::remove`].
#[derive(Debug)]
pub(crate) struct Subscription {
    topic: Topic,
    /// The worker under whose number it is counted.
    worker: u32,
    /// Its place in the worker's table.
    pub(super) place: u32,
    /// The offset after which it receives.
    after: u64,
    /// What it is counted as, and the last offset when it was counted.
    encoding: Encoding,
    since: u64,
    /// Publications that the connection has missed since it last asked.
    missed: u64,
    /// The number of the worker's last post when it left last: what was published before comes before what
    /// is sent to the connection since then.
    left_at: u64,
    /// Publications that are not for it, as it was not subscribed when they came; nothing at rest.
    gaps: Option<Box<Vec<Gap>>>,
}

/// Offsets after the first number up to the second. One that is open ends at [`OPEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap(u64, u64);

const OPEN: u64 = u64::MAX;

impl Subscription {
    /// One that is counted at `topic` as `encoding` since the offset `after`, after which it receives.
    pub(super) fn new(topic: Topic, worker: u32, after: u64, encoding: Encoding) -> Self {
        Self {
            topic,
            worker,
            place: 0,
            after,
            encoding,
            since: after,
            missed: 0,
            left_at: 0,
            gaps: None,
        }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The offset after which it receives.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// Whether it is over: it receives what was published before, and then nothing more.
    fn has_left(&self) -> bool {
        self.open_gap().is_some()
    }

    fn open_gap(&self) -> Option<&Gap> {
        self.gaps.as_ref()?.last().filter(|gap| gap.1 == OPEN)
    }

    /// Whether the publication at `offset` is for it.
    fn wants(&self, offset: u64) -> bool {
        let is_in = |gap: &Gap| gap.0 < offset && offset <= gap.1;
        self.gaps.as_ref().is_none_or(|gaps| !gaps.iter().any(is_in))
    }

    /// From now on the connection can take frames of this `encoding`; where it is able to be in the
    /// cohort it is not in, and waits.
    pub(super) fn recount(&mut self, encoding: Encoding) {
        if self.has_left() || encoding == self.encoding && encoding != Encoding::Cohort {
            return;
        }
        self.since = self.topic.recount(self.encoding, self.since, encoding);
        self.encoding = encoding;
    }

    /// Ends it behind what was published so far.
    fn leave(&mut self) {
        let last = self.topic.leave(self.worker, self.encoding, self.since);
        self.gaps.get_or_insert_default().push(Gap(last, OPEN));
    }

    /// Takes it up again, for what is published from now on; gives the offset after which it receives.
    fn rejoin(&mut self, (last, encoding): (u64, Encoding)) {
        (self.after, self.encoding, self.since) = (last, encoding, last);
        if let Some(gaps) = &mut self.gaps
            && let Some(open) = gaps.pop()
            && open.0 < last
        {
            gaps.push(Gap(open.0, last));
        }
    }

    /// Forgets the gaps that lie before the offset `received`.
    fn forget_gaps(&mut self, received: u64) {
        self.gaps.take_if(|gaps| {
            gaps.retain(|gap| gap.1 > received);
            gaps.is_empty()
        });
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.has_left() {
            self.topic.leave(self.worker, self.encoding, self.since);
        }
    }
}

/// The subscriptions of a connection that has some, and which frames its peer can take.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    state: EncodingState,
    list: Vec<Subscription>,
    /// Some have gaps.
    gaps: bool,
    left_at: u64,
}

impl Subscriptions {
    /// None yet, with room for one: most connections have one.
    pub(crate) fn new(state: EncodingState) -> Self {
        Self { state, list: Vec::with_capacity(1), gaps: false, left_at: 0 }
    }

    pub(crate) fn state(&self) -> EncodingState {
        self.state
    }

    /// How many there are, those among them that have left and still receive something.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether some publications of some topic are not for it.
    pub(crate) fn has_gaps(&self) -> bool {
        self.gaps
    }

    /// Whether the publication is for it.
    pub(crate) fn wants(&self, publication: &Publication) -> bool {
        let of = |entry: &&Subscription| entry.topic.id() == publication.topic;
        self.list.iter().find(of).is_some_and(|entry| entry.wants(publication.offset))
    }

    /// Whether that to the topic has left it: nobody can ask any more what it missed.
    pub(crate) fn has_left(&self, topic: TopicId) -> bool {
        self.gaps && self.list.iter().any(|entry| entry.topic.id() == topic && entry.has_left())
    }

    /// That to `topic`, unless it has left.
    pub(crate) fn find(&self, topic: &Topic) -> Option<&Subscription> {
        self.list.iter().find(|entry| entry.topic() == topic && !entry.has_left())
    }

    /// All places, each with its topic and the number of the post up to which it receives at once.
    pub(super) fn places(&self) -> impl Iterator<Item = (TopicId, u32, u64)> {
        self.list.iter().map(|entry| {
            let at_once = if entry.has_left() { u64::MAX } else { entry.left_at };
            (entry.topic.id(), entry.place, at_once)
        })
    }

    /// The number of the last post when one was left that is not done: what is sent since then stays
    /// behind what that has yet to receive.
    pub(crate) fn left_at(&self) -> u64 {
        self.left_at
    }

    /// How many publications of `topic` were missed since this was last asked.
    pub(crate) fn take_missed(&mut self, topic: &Topic) -> u64 {
        let entry = self.list.iter_mut().find(|entry| entry.topic() == topic);
        entry.map_or(0, |entry| mem::take(&mut entry.missed))
    }

    /// Takes a subscription up again that has left and is not done yet, which joins the topic with `join`;
    /// gives the offset after which it receives.
    pub(crate) fn rejoin(
        &mut self,
        topic: &Topic,
        join: impl FnOnce() -> Result<(u64, Encoding), super::Missed>,
    ) -> Option<Result<u64, super::Missed>> {
        let entry = self.list.iter_mut().find(|entry| entry.topic() == topic)?;
        Some(join().map(|joined| {
            entry.rejoin(joined);
            entry.after()
        }))
    }

    pub(crate) fn add(&mut self, subscription: Subscription) {
        self.list.push(subscription);
    }

    /// Ends that to `topic`: what was published before is still received, and nothing more. The worker is
    /// that of `mailbox`.
    pub(crate) fn leave(&mut self, topic: &Topic, mailbox: &Mailbox, topics: &mut Topics) {
        let Some(entry) = self.list.iter_mut().find(|entry| entry.topic() == topic) else { return };
        if !entry.has_left() {
            entry.leave();
            // Behind the end: all that it is to receive was posted before that.
            entry.left_at = mailbox.posted();
            let left_at = entry.left_at;
            self.gaps = true;
            self.remove_done(topics);
            if self.gaps {
                self.left_at = left_at;
            }
        }
    }

    /// Removes those that have left and have received all that they are to receive.
    pub(crate) fn remove_done(&mut self, topics: &mut Topics) {
        let Self { state, list, gaps, .. } = self;
        let mut state = *state;
        list.retain_mut(|entry| {
            let received = topics.received(entry);
            let is_done = entry.open_gap().is_some_and(|gap| received >= gap.0);
            if is_done {
                topics.remove(entry);
                state.miss(entry.topic.id());
            } else {
                entry.forget_gaps(received);
            }
            !is_done
        });
        *gaps = list.iter().any(|entry| entry.gaps.is_some());
        self.set_state(state);
    }

    /// Ends all.
    pub(crate) fn end(self, topics: &mut Topics) {
        self.list.iter().for_each(|entry| topics.remove(entry));
    }

    /// Something was sent to the connection: the topics learn what it can take from now on.
    pub(crate) fn set_state(&mut self, state: EncodingState) {
        let before = mem::replace(&mut self.state, state);
        if state.cohort() == before.cohort() {
            return;
        }
        for entry in &mut self.list {
            // A topic knows by itself whom its cohort takes in.
            if Some(entry.topic.id()) != state.cohort() {
                entry.recount(state.encoding(&entry.topic));
            }
        }
    }

    /// The connection has missed `count` publications of `topic`.
    pub(crate) fn miss(&mut self, topic: TopicId, count: usize) {
        let mut state = self.state;
        state.miss(topic);
        let is_out = state == self.state;
        self.set_state(state);
        if let Some(entry) = self.list.iter_mut().find(|entry| entry.topic.id() == topic) {
            entry.missed += count as u64;
            // The topic may think that it came in with what it has missed.
            if is_out && state.encoding(&entry.topic) == Encoding::Cohort {
                entry.recount(Encoding::Cohort);
            }
        }
    }
}
