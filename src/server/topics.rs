//! Who on this worker hears which topic.
//!
//! Publications come from the mailbox in their topic's order and wait here until the turn ends;
//! then each topic's go out to its members together. A member has a place that stays its own while it
//! is subscribed, and the offset up to which it has heard.

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    thread::{self, ThreadId},
};

use super::slab::Key;
use crate::service::{Publication, Subscriber, TopicId};

/// Memory for a batch's frames that is kept for the next batch: bytes.
const MAX_SPARE_JOINED: usize = 1 << 20;

/// The topics that connections of this worker hear.
#[derive(Debug)]
pub(super) struct Topics {
    /// The worker's.
    thread: ThreadId,
    by_id: HashMap<TopicId, Local>,
    /// Topics with publications that wait.
    dirty: Vec<TopicId>,
    /// Memory for the next batch's frames.
    joined: Vec<u8>,
}

/// A topic, as this worker sees it.
#[derive(Debug, Default)]
struct Local {
    members: Vec<Option<Member>>,
    /// Places in `members` that nobody has.
    free: Vec<u32>,
    waiting: Vec<Publication>,
    /// The last offset that was published on this worker's own thread.
    last_own: u64,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    key: Key,
    /// The offset up to which it has heard.
    heard: u64,
}

impl Member {
    /// Counts all up to offset `last` as heard; gives up to where it had heard before.
    fn hear(&mut self, last: u64) -> u64 {
        let heard = self.heard;
        self.heard = heard.max(last);
        heard
    }
}

/// One connection's subscription to one topic; leaves the topic when dropped, and its place by
/// [`Topics::unsubscribe`].
#[derive(Debug)]
pub(super) struct Subscription {
    subscriber: Subscriber,
    place: u32,
}

impl Subscription {
    pub(super) fn topic(&self) -> TopicId {
        self.subscriber.topic().id()
    }

    /// The offset after which it hears.
    pub(super) fn after(&self) -> u64 {
        self.subscriber.after()
    }
}

/// How much of what waits a subscription is to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hear {
    /// Up to the last that was published on the worker's own thread, by its services.
    Own,
    All,
}

impl Topics {
    /// No topics, for the worker of this thread.
    pub(super) fn new() -> Self {
        Self {
            thread: thread::current().id(),
            by_id: HashMap::new(),
            dirty: Vec::new(),
            joined: Vec::new(),
        }
    }

    pub(super) fn subscribe(&mut self, key: Key, subscriber: Subscriber) -> Subscription {
        let local = self.by_id.entry(subscriber.topic().id()).or_default();
        let member = Some(Member { key, heard: subscriber.after() });
        let place = match local.free.pop() {
            Some(place) => {
                local.members[place as usize] = member;
                place
            }
            None => {
                local.members.push(member);
                (local.members.len() - 1) as u32
            }
        };
        Subscription { subscriber, place }
    }

    pub(super) fn unsubscribe(&mut self, subscription: Subscription) {
        let topic = subscription.topic();
        let Some(local) = self.by_id.get_mut(&topic) else { return };
        local.members[subscription.place as usize] = None;
        local.free.push(subscription.place);
        if local.free.len() == local.members.len() {
            self.by_id.remove(&topic);
        }
    }

    /// Takes a publication in; one that nobody here hears any more is dropped.
    pub(super) fn take_in(&mut self, publication: Publication) {
        if let Some(local) = self.by_id.get_mut(&publication.topic) {
            if local.waiting.is_empty() {
                self.dirty.push(publication.topic);
            }
            if publication.thread == self.thread {
                local.last_own = publication.offset;
            }
            local.waiting.push(publication);
        }
    }

    /// What waits for this subscription; from now on it counts as heard.
    pub(super) fn hear(
        &mut self,
        subscription: &Subscription,
        hear: Hear,
    ) -> impl Iterator<Item = Arc<[u8]>> {
        let local = self.by_id.get_mut(&subscription.topic());
        local.into_iter().flat_map(move |local| {
            let last = match hear {
                Hear::Own => local.last_own,
                Hear::All => local.waiting.last().map_or(0, |last| last.offset),
            };
            let member = local.members[subscription.place as usize].as_mut();
            let heard = member.map_or(last, |member| member.hear(last));
            let new =
                local.waiting.iter().filter(move |new| (heard + 1..=last).contains(&new.offset));
            new.map(|publication| Arc::clone(&publication.frame))
        })
    }

    /// Whether some publication waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Lends the next topic that has publications to give out, with its members; it comes back with
    /// [`give_back`](Self::give_back), and until then nobody leaves it or joins it.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        while let Some(topic) = self.dirty.pop() {
            let Some(local) = self.by_id.get_mut(&topic) else { continue };
            let publications = mem::take(&mut local.waiting);
            let mut joined = mem::take(&mut self.joined);
            joined.clear();
            if publications.len() > 1 {
                for publication in &publications {
                    joined.extend_from_slice(&publication.frame);
                }
            }
            return Some(Batch {
                topic,
                members: mem::take(&mut local.members),
                publications,
                joined,
            });
        }
        None
    }

    pub(super) fn give_back(&mut self, mut batch: Batch) {
        if batch.joined.capacity() <= MAX_SPARE_JOINED {
            self.joined = batch.joined;
        }
        batch.publications.clear();
        if let Some(local) = self.by_id.get_mut(&batch.topic) {
            local.members = batch.members;
            local.waiting = batch.publications;
        }
    }
}

/// A topic's publications of one turn, and who is to hear them.
pub(super) struct Batch {
    topic: TopicId,
    members: Vec<Option<Member>>,
    publications: Vec<Publication>,
    /// The frames one behind the other, where there are several.
    joined: Vec<u8>,
}

/// What one member has not heard.
#[derive(Clone, Copy)]
pub(super) struct News<'a> {
    pub(super) publications: &'a [Publication],
    /// Their frames, one behind the other.
    pub(super) frames: &'a [u8],
}

impl Batch {
    /// What each member has not heard; it counts as heard from now on.
    pub(super) fn news(&mut self) -> impl Iterator<Item = (Key, News<'_>)> {
        let Self { members, publications, joined, .. } = self;
        let frames: &[u8] = match &publications[..] {
            [only] => &only.frame,
            _ => joined,
        };
        let all = News { publications, frames };
        let last = publications.last().map_or(0, |last| last.offset);
        members.iter_mut().flatten().filter_map(move |member| {
            let news = all.after(member.hear(last));
            (!news.publications.is_empty()).then_some((member.key, news))
        })
    }
}

impl News<'_> {
    /// What comes after the offset `heard`.
    fn after(self, heard: u64) -> Self {
        // Nearly always all of it: a member that joined in this very turn has heard some.
        let old = self.publications.iter().take_while(|old| old.offset <= heard);
        let (count, bytes) =
            old.fold((0, 0), |(count, bytes), old| (count + 1, bytes + old.frame.len()));
        Self { publications: &self.publications[count..], frames: &self.frames[bytes..] }
    }
}
