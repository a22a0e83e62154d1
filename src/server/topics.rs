//! Who on this worker hears which topic.
//!
//! Publications come from the mailbox in their topic's order and wait here until the turn ends;
//! then each topic's go out to its members together. A member has a place that stays its own while it
//! is subscribed, and the offset up to which it has heard.

use std::{
    collections::HashMap,
    mem,
    thread::{self, ThreadId},
};

use crate::service::{Ear, Kind, Lag, Publication, Subscriber, Topic, TopicId};
use crate::slab::Key;

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
    spare: Vec<Vec<u8>>,
}

/// A topic, as this worker sees it.
#[derive(Debug, Default)]
struct Local {
    members: Vec<Option<Member>>,
    /// Places in `members` that nobody has.
    free: Vec<u32>,
    waiting: Vec<Publication>,
    /// Whether the next batch goes from the last member to the first. Batches take turns, as those who
    /// were served last are in the processor's caches still.
    backwards: bool,
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
    /// Publications that the connection has missed since it last asked.
    pub(super) missed: u64,
}

impl Subscription {
    pub(super) fn topic(&self) -> &Topic {
        self.subscriber.topic()
    }

    /// As [`Subscriber::recount`].
    pub(super) fn recount(&mut self, kind: Kind) {
        self.subscriber.recount(kind);
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
            spare: Vec::new(),
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
        Subscription { subscriber, place, missed: 0 }
    }

    pub(super) fn unsubscribe(&mut self, subscription: Subscription) {
        let topic = subscription.topic().id();
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
    ) -> impl Iterator<Item = &Publication> {
        let local = self.by_id.get_mut(&subscription.topic().id());
        local.into_iter().flat_map(move |local| {
            let last = match hear {
                Hear::Own => local.last_own,
                Hear::All => local.waiting.last().map_or(0, |last| last.offset),
            };
            let member = local.members[subscription.place as usize].as_mut();
            let heard = member.map_or(last, |member| member.hear(last));
            local.waiting.iter().filter(move |new| (heard + 1..=last).contains(&new.offset))
        })
    }

    /// Whether some publication waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How many publications wait.
    pub(super) fn waiting(&self) -> usize {
        let dirty = self.dirty.iter().filter_map(|topic| self.by_id.get(topic));
        dirty.map(|local| local.waiting.len()).sum()
    }

    /// Lends the next topic that has publications to give out, with its members; it comes back with
    /// [`give_back`](Self::give_back), and until then nobody leaves it or joins it.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        while let Some(topic) = self.dirty.pop() {
            let Some(local) = self.by_id.get_mut(&topic) else { continue };
            let members = mem::take(&mut local.members);
            let news = News {
                publications: mem::take(&mut local.waiting),
                joined: [const { None }; 18],
                spare: mem::take(&mut self.spare),
            };
            let backwards = local.backwards;
            local.backwards = !backwards;
            return Some(Batch { topic, members, backwards, news });
        }
        None
    }

    pub(super) fn give_back(&mut self, batch: Batch) {
        let Batch { topic, members, backwards: _, news } = batch;
        let News { mut publications, joined, mut spare } = news;
        spare.extend(joined.into_iter().flatten().map(|joined| joined.frames));
        spare.retain(|frames| frames.capacity() <= MAX_SPARE_JOINED);
        self.spare = spare;
        publications.clear();
        if let Some(local) = self.by_id.get_mut(&topic) {
            local.members = members;
            local.waiting = publications;
        }
    }
}

/// A topic's publications of one turn, and who is to hear them.
pub(super) struct Batch {
    topic: TopicId,
    members: Vec<Option<Member>>,
    backwards: bool,
    pub(super) news: News,
}

impl Batch {
    /// How many may hear it; some may have left.
    pub(super) fn places(&self) -> usize {
        self.members.len()
    }

    /// Who has not heard all of it, with the offset up to which they have heard, and the news. It
    /// counts as heard from now on.
    pub(super) fn members(&mut self) -> (impl Iterator<Item = (Key, u64)>, &mut News) {
        let last = self.news.last();
        let (members, backwards) = (&mut self.members[..], self.backwards);
        let count = members.len();
        let behind = (0..count).filter_map(move |turn| {
            let place = if backwards { count - 1 - turn } else { turn };
            let member = members[place].as_mut()?;
            let heard = member.hear(last);
            (heard < last).then_some((member.key, heard))
        });
        (behind, &mut self.news)
    }
}

/// A topic's publications of one turn, one at least.
pub(super) struct News {
    publications: Vec<Publication>,
    /// For each [tone](News::tone), once somebody hears it.
    joined: [Option<Joined>; 18],
    spare: Vec<Vec<u8>>,
}

/// The frames that an ear picks of all the publications.
struct Joined {
    /// One behind the other, where there are several.
    frames: Vec<u8>,
    /// The ear behind them.
    ear: Ear,
    compressed: Compressed,
}

/// How many compressed frames were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Compressed {
    pub(super) shared: u64,
    pub(super) cohort: u64,
}

impl Compressed {
    pub(super) fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Plain => {}
            Kind::Shared => self.shared += 1,
            Kind::Cohort => self.cohort += 1,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.shared += other.shared;
        self.cohort += other.cohort;
    }
}

impl News {
    fn last(&self) -> u64 {
        self.publications.last().map_or(0, |last| last.offset)
    }

    pub(super) fn topic(&self) -> TopicId {
        self.publications[0].topic
    }

    /// What becomes of those who do not keep up.
    pub(super) fn lag(&self) -> Lag {
        self.publications[0].lag
    }

    /// What comes after the offset `heard`. Nearly always all of it: a member that joined or spoke in
    /// this very turn has heard some.
    pub(super) fn after(&self, heard: u64) -> &[Publication] {
        let old = self.publications.iter().take_while(|old| old.offset <= heard).count();
        &self.publications[old..]
    }

    /// Whether `publications`, which come from [`after`](Self::after), are all there are.
    pub(super) fn is_all(&self, publications: &[Publication]) -> bool {
        publications.len() == self.publications.len()
    }

    const PLAIN: usize = 0;

    /// Ears of one tone pick the same frames of a topic, as long as they hear them all.
    fn tone(ear: &Ear, publication: &Publication) -> usize {
        match (ear.kind_for(publication), ear.cohort()) {
            (Kind::Plain, _) => Self::PLAIN,
            (Kind::Shared, _) => ear.window_bits().into(),
            (Kind::Cohort, None) => 16,
            (Kind::Cohort, Some(_)) => 17,
        }
    }

    /// All frames that `ear` picks, one behind the other.
    pub(super) fn joined(&mut self, ear: &mut Ear, compressed: &mut Compressed) -> &[u8] {
        let Self { publications, joined, spare } = self;
        if let [only] = &publications[..] {
            let (kind, frame) = ear.hear(only);
            compressed.count(kind);
            return frame;
        }
        let tone = Self::tone(ear, &publications[0]);
        let joined = joined[tone].get_or_insert_with(|| {
            let (mut ear, mut compressed) = (*ear, Compressed::default());
            let mut frames = spare.pop().unwrap_or_default();
            frames.clear();
            for publication in &*publications {
                let (kind, frame) = ear.hear(publication);
                compressed.count(kind);
                frames.extend_from_slice(frame);
            }
            Joined { frames, ear, compressed }
        });
        // One that hears plain frames may be in the cohort of any other topic, and stays there.
        if tone != Self::PLAIN {
            ear.follow(&joined.ear);
        }
        compressed.add(joined.compressed);
        &joined.frames
    }
}
