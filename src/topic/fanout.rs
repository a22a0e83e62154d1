//! Fan-out: what is published to a topic reaches each member on this worker, once and in order.
//!
//! Publications come from the worker's mailbox, one behind the other, and wait here. Topics are served in
//! the order of their first publication that waits, each with a batch of them for all its members.
//! A delivery may stop after any member and go on later; members may come and go in between.

use std::{
    collections::{HashMap, VecDeque},
    mem,
};

use super::{
    Encoding, EncodingState, Lag, Publication, TopicId,
    subscription::{Subscription, Subscriptions},
};
use crate::slab::Key;

/// Most publications of a batch, and most bytes of their plain frames; one publication of any size is one.
pub(super) const MAX_BATCH: usize = 512;
const MAX_BATCH_BYTES: usize = 256 << 10;

/// Memory for the frames of a batch that is kept for the next one: bytes.
const MAX_SPARE_JOINED: usize = 1 << 20;

/// Elements for which an empty list keeps its memory.
const MAX_SPARE_LIST: usize = 4_096;

/// The topics that connections of this worker are subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_id: HashMap<TopicId, Local>,
    /// Topics with something to deliver, in the order of their first publication that waits.
    queue: VecDeque<TopicId>,
    /// How many publications wait.
    waiting: usize,
    /// Memory for the frames of the next batches.
    spare: Vec<Vec<u8>>,
    /// What one connection has yet to receive: in the mailbox's order, by topic and position there.
    unreceived: Vec<(u64, TopicId, usize)>,
}

/// A topic, as this worker sees it.
#[derive(Debug, Default)]
struct Local {
    members: Members,
    /// What is being delivered, where a delivery has stopped.
    batch: Option<Batch>,
    waiting: VecDeque<Publication>,
    /// Whether the next delivery goes from the last member to the first. Deliveries alternate, as those
    /// who were served last are still in the processor's caches.
    backwards: bool,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    key: Key,
    place: u32,
    /// The offset up to which it was served.
    received: u64,
}

impl Topics {
    /// Gives a subscription its place among the members of its topic.
    pub(crate) fn insert(&mut self, key: Key, subscription: &mut Subscription) {
        let local = self.by_id.entry(subscription.topic().id()).or_default();
        subscription.place = local.members.insert(key, subscription.after());
    }

    /// Takes its place from a subscription.
    pub(crate) fn remove(&mut self, subscription: &Subscription) {
        let topic = subscription.topic().id();
        let Some(local) = self.by_id.get_mut(&topic) else { return };
        local.members.remove(subscription.place);
        if local.members.dense.is_empty() && local.batch.is_none() && local.waiting.is_empty() {
            self.by_id.remove(&topic);
        }
    }

    /// The offset up to which a subscription was served.
    pub(super) fn received(&self, subscription: &Subscription) -> u64 {
        let local = self.by_id.get(&subscription.topic().id());
        local.map_or(u64::MAX, |local| local.members.get(subscription.place).received)
    }

    /// Takes in the publication that was item `number` of the mailbox; gives it back where nobody here
    /// is to receive it.
    pub(crate) fn take_in(&mut self, publication: Publication, number: u64) -> Option<Publication> {
        let Some(local) = self.by_id.get_mut(&publication.topic) else { return Some(publication) };
        if local.waiting.is_empty() {
            self.queue.push_back(publication.topic);
        }
        self.waiting += 1;
        local.waiting.push_back(Publication { number, ..publication });
        None
    }

    /// Whether something is to be delivered.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How many publications wait whose delivery has not begun.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Calls `each` for what was taken in and that these subscriptions have not received, in the order
    /// in which it was posted: up to the post number `limit`, and what those that have left are still to
    /// receive. It counts as received from now on.
    pub(crate) fn deliver_to(
        &mut self,
        subscriptions: &Subscriptions,
        limit: u64,
        mut each: impl FnMut(&Publication),
    ) {
        if self.queue.is_empty() {
            return;
        }
        let Self { by_id, unreceived, .. } = self;
        for (topic, place, at_once) in subscriptions.places() {
            let Some(local) = by_id.get_mut(&topic) else { continue };
            let limit = limit.max(at_once);
            let received = local.members.get(place).received;
            let mut last = received;
            let new = (0..)
                .zip(local.publications())
                .skip_while(|(_, publication)| publication.offset <= received)
                .take_while(|(_, publication)| publication.number <= limit);
            unreceived.extend(new.map(|(at, publication)| {
                last = publication.offset;
                (publication.number, topic, at)
            }));
            local.members.receive(place, last);
        }
        unreceived.sort_unstable();
        for (_, topic, at) in unreceived.drain(..) {
            if let Some(publication) = by_id.get(&topic).and_then(|local| local.publication(at)) {
                each(publication);
            }
        }
        unreceived.shrink_to(MAX_SPARE_LIST);
    }

    /// Lends the delivery that is next; it comes back with [`put_back`](Self::put_back), and until then
    /// nobody joins the topic or leaves it.
    pub(crate) fn next_delivery(&mut self) -> Option<Delivery> {
        loop {
            let &topic = self.queue.front()?;
            let Some(local) = self.by_id.get_mut(&topic) else {
                self.queue.pop_front();
                continue;
            };
            let batch = match local.batch.take() {
                Some(batch) => batch,
                None => {
                    let batch = Batch::new(&mut local.waiting, self.spare.pop());
                    self.waiting -= batch.publications.len();
                    local.members.start(local.backwards);
                    batch
                }
            };
            let members = mem::take(&mut local.members);
            return Some(Delivery { topic, backwards: local.backwards, members, batch });
        }
    }

    /// Takes a delivery back; gives how many publications, and how many bytes of them, are done.
    pub(crate) fn put_back(&mut self, delivery: Delivery) -> (usize, usize) {
        let Delivery { topic, backwards, members, batch } = delivery;
        let is_done = members.is_done(backwards);
        let Some(local) = self.by_id.get_mut(&topic) else { return (0, 0) };
        local.members = members;
        if !is_done {
            local.batch = Some(batch);
            return (0, 0);
        }
        local.backwards = !backwards;
        self.queue.pop_front();
        if let Some(first) = local.waiting.front() {
            // Its place is that of the first publication that waits, among those of the others.
            let number = first.number;
            let first_of = |topic| self.by_id.get(topic).and_then(Local::first_number);
            let at = self.queue.iter().position(|topic| first_of(topic).is_none_or(|n| n > number));
            self.queue.insert(at.unwrap_or(self.queue.len()), topic);
        } else if local.members.dense.is_empty() {
            self.by_id.remove(&topic);
        } else {
            local.waiting.shrink_to(MAX_SPARE_LIST);
        }
        let Batch { publications, joined, spare } = batch;
        self.spare.extend(spare);
        self.spare.extend(joined.into_iter().flatten().map(|joined| joined.frames));
        self.spare.retain(|frames| frames.capacity() <= MAX_SPARE_JOINED);
        self.spare.truncate(JOINED);
        (publications.len(), publications.iter().map(Publication::size).sum())
    }
}

impl Local {
    /// The number of the first publication that waits.
    fn first_number(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.number)
    }

    /// All that is being delivered or waits.
    fn publications(&self) -> impl Iterator<Item = &Publication> {
        self.batch.iter().flat_map(|batch| &batch.publications).chain(&self.waiting)
    }

    fn publication(&self, at: usize) -> Option<&Publication> {
        let begun = self.batch.as_ref().map_or(&[][..], |batch| &batch.publications);
        begun.get(at).or_else(|| self.waiting.get(at - begun.len()))
    }
}

/// The members of a topic, without holes. A place stays with its member; where that stands in the list
/// changes.
#[derive(Debug, Default)]
struct Members {
    dense: Vec<Member>,
    /// Where the member of a place stands.
    places: Vec<u32>,
    free: Vec<u32>,
    /// A delivery has come to here: from either end.
    cursor: usize,
}

impl Members {
    fn insert(&mut self, key: Key, received: u64) -> u32 {
        let at = self.dense.len() as u32;
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = at;
                place
            }
            None => {
                self.places.push(at);
                (self.places.len() - 1) as u32
            }
        };
        self.dense.push(Member { key, place, received });
        place
    }

    /// Takes a member out. Whoever stands on one side of the cursor stays there, so that a delivery which
    /// has stopped leaves nobody out.
    fn remove(&mut self, place: u32) {
        let mut hole = self.places[place as usize] as usize;
        self.free.push(place);
        if hole < self.cursor {
            self.cursor -= 1;
            self.move_to(hole, self.cursor);
            hole = self.cursor;
        }
        let last = self.dense.len() - 1;
        if hole < last {
            self.move_to(hole, last);
        }
        self.dense.pop();
        if self.dense.is_empty() {
            *self = Self::default();
        } else if self.dense.capacity() > MAX_SPARE_LIST
            && self.dense.len() < self.dense.capacity() / 4
        {
            self.dense.shrink_to(2 * self.dense.len());
        }
    }

    fn move_to(&mut self, to: usize, from: usize) {
        let member = self.dense[from];
        self.dense[to] = member;
        self.places[member.place as usize] = to as u32;
    }

    fn get(&self, place: u32) -> Member {
        self.dense[self.places[place as usize] as usize]
    }

    /// Counts all up to offset `last` as received by a member.
    fn receive(&mut self, place: u32, last: u64) {
        self.dense[self.places[place as usize] as usize].receive(last);
    }

    fn start(&mut self, backwards: bool) {
        self.cursor = if backwards { self.dense.len() } else { 0 };
    }

    fn is_done(&self, backwards: bool) -> bool {
        self.cursor == if backwards { 0 } else { self.dense.len() }
    }

    fn next(&mut self, backwards: bool) -> Option<&mut Member> {
        if self.is_done(backwards) {
            return None;
        }
        let at = if backwards { self.cursor - 1 } else { self.cursor };
        self.cursor = if backwards { at } else { at + 1 };
        self.dense.get_mut(at)
    }
}

impl Member {
    /// Counts all up to offset `last` as received; gives up to where it had received before.
    fn receive(&mut self, last: u64) -> u64 {
        let received = self.received;
        self.received = received.max(last);
        received
    }
}

/// A batch of a topic, and the members that are still to receive it.
#[derive(Debug)]
pub(crate) struct Delivery {
    topic: TopicId,
    backwards: bool,
    members: Members,
    pub(crate) batch: Batch,
}

impl Delivery {
    /// The next one that has not received all of the batch, with the offset up to which it has. The batch
    /// counts as received from now on.
    pub(crate) fn next_member(&mut self) -> Option<(Key, u64)> {
        let last = self.batch.last();
        loop {
            let member = self.members.next(self.backwards)?;
            let received = member.receive(last);
            if received < last {
                return Some((member.key, received));
            }
        }
    }
}

/// How many ways there are to pick the frames of a batch: [`Batch::way`].
const JOINED: usize = 18;

/// Publications of one topic, one at least.
#[derive(Debug)]
pub(crate) struct Batch {
    publications: Vec<Publication>,
    /// For each way to pick them, once somebody needs it.
    joined: [Option<Joined>; JOINED],
    /// Memory for the first of those.
    spare: Option<Vec<u8>>,
}

/// The frames that one encoding state picks of all the publications.
#[derive(Debug)]
struct Joined {
    /// One behind the other, where there are several.
    frames: Vec<u8>,
    /// The state behind them.
    state: EncodingState,
    compressed: Compressed,
}

/// How many compressed frames were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Compressed {
    pub(crate) shared: u64,
    pub(crate) cohort: u64,
}

impl Compressed {
    pub(crate) fn count(&mut self, encoding: Encoding) {
        match encoding {
            Encoding::Plain => {}
            Encoding::Shared => self.shared += 1,
            Encoding::Cohort => self.cohort += 1,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.shared += other.shared;
        self.cohort += other.cohort;
    }
}

impl Batch {
    /// As many of those that wait as one batch may have.
    fn new(waiting: &mut VecDeque<Publication>, spare: Option<Vec<u8>>) -> Self {
        let mut bytes = 0;
        let fits = |publication: &&Publication| {
            bytes += publication.plain.len();
            bytes <= MAX_BATCH_BYTES
        };
        let count = waiting.iter().take(MAX_BATCH).take_while(fits).count().max(1);
        let publications = waiting.drain(..count.min(waiting.len())).collect();
        Self { publications, joined: [const { None }; JOINED], spare }
    }

    fn last(&self) -> u64 {
        self.publications.last().map_or(0, |last| last.offset)
    }

    pub(crate) fn topic(&self) -> TopicId {
        self.publications[0].topic
    }

    /// What becomes of those who do not keep up.
    pub(crate) fn lag(&self) -> Lag {
        self.publications[0].lag
    }

    /// What comes after the offset `received`. Nearly always all of it: a member that joined or was sent
    /// something in this very turn has received some.
    pub(crate) fn after(&self, received: u64) -> &[Publication] {
        let old = self.publications.iter().take_while(|old| old.offset <= received).count();
        &self.publications[old..]
    }

    /// Whether `publications`, which come from [`after`](Self::after), are all there are.
    pub(crate) fn is_all(&self, publications: &[Publication]) -> bool {
        publications.len() == self.publications.len()
    }

    const PLAIN: usize = 0;

    /// States that go the same way pick the same frames of a topic, as long as they get them all.
    fn way(state: &EncodingState, publication: &Publication) -> usize {
        match (state.encoding_of(publication), state.cohort()) {
            (Encoding::Plain, _) => Self::PLAIN,
            (Encoding::Shared, _) => state.window_bits().into(),
            (Encoding::Cohort, None) => 16,
            (Encoding::Cohort, Some(_)) => 17,
        }
    }

    /// All frames that `state` picks, one behind the other.
    pub(crate) fn joined(
        &mut self,
        state: &mut EncodingState,
        compressed: &mut Compressed,
    ) -> &[u8] {
        let Self { publications, joined, spare } = self;
        if let [only] = &publications[..] {
            let (encoding, frame) = state.pick(only);
            compressed.count(encoding);
            return frame;
        }
        let way = Self::way(state, &publications[0]);
        let joined = joined[way].get_or_insert_with(|| {
            let (mut state, mut compressed) = (*state, Compressed::default());
            let mut frames = spare.take().unwrap_or_default();
            frames.clear();
            for publication in &*publications {
                let (encoding, frame) = state.pick(publication);
                compressed.count(encoding);
                frames.extend_from_slice(frame);
            }
            Joined { frames, state, compressed }
        });
        // One that gets plain frames may be in the cohort of any other topic, and stays there.
        if way != Self::PLAIN {
            state.follow(&joined.state);
        }
        compressed.add(joined.compressed);
        &joined.frames
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::{protocol::extension::deflate::Agreed, topic::Topic};

    fn key(slot: u32) -> Key {
        Key { slot, generation: 0 }
    }

    /// What a delivery that stops anywhere, while members come and go, comes to.
    #[test]
    fn a_delivery_that_stops_serves_each_member_that_stays_once() {
        for backwards in [false, true] {
            for stop in 0..=8 {
                for gone in 0..8_u32 {
                    let mut members = Members::default();
                    let places: Vec<u32> =
                        (0..8).map(|slot| members.insert(key(slot), 0)).collect();
                    members.start(backwards);
                    let mut served: Vec<u32> =
                        (0..stop).filter_map(|_| Some(members.next(backwards)?.key.slot)).collect();
                    members.remove(places[gone as usize]);
                    members.insert(key(8), 1);
                    members.remove(places[(gone as usize + 3) % 8]);
                    while let Some(member) = members.next(backwards) {
                        served.push(member.key.slot);
                    }
                    let name = format!("backwards: {backwards}, stop at {stop}, {gone} goes");
                    let unique: BTreeSet<u32> = served.iter().copied().collect();
                    assert_eq!(unique.len(), served.len(), "{name}: nobody twice");
                    for stays in (0..8).filter(|&at| at != gone && at != (gone + 3) % 8) {
                        assert!(unique.contains(&stays), "{name}: {stays} is served");
                        assert_eq!(members.get(places[stays as usize]).key.slot, stays, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_topic_costs_follows_its_members_of_now() {
        let mut members = Members::default();
        let places: Vec<u32> = (0..100_000).map(|slot| members.insert(key(slot), 0)).collect();
        places[1..].iter().for_each(|&place| members.remove(place));
        members.start(false);
        assert!(members.next(false).is_some() && members.next(false).is_none());
        assert!(members.dense.capacity() <= 2 * MAX_SPARE_LIST, "{}", members.dense.capacity());
    }

    #[test]
    fn members_share_what_is_joined_only_where_all_their_windows_take_it() {
        let topic = Topic::new().id();
        let frame = |frame: &[u8]| Arc::<[u8]>::from(frame);
        let publication = |offset| Publication {
            topic,
            offset,
            number: offset,
            lag: Lag::default(),
            plain: frame(b"plain "),
            shared: Some(frame(b"shared ")),
            shared_bits: 12,
            cohort: None,
            cohort_starts: false,
            window_bits: 15,
        };
        let mut waiting = VecDeque::from([publication(1), publication(2)]);
        let mut batch = Batch::new(&mut waiting, None);
        let mut compressed = Compressed::default();
        for (server_window_bits, joined) in [
            (15, &b"shared shared "[..]),
            (9, b"plain plain "),
            (12, b"shared shared "),
            (11, b"plain plain "),
            (15, b"shared shared "),
        ] {
            let mut state = EncodingState::new(Agreed {
                server_window_bits,
                client_window_bits: 15,
                server_takeover: false,
                client_takeover: false,
            });
            assert_eq!(batch.joined(&mut state, &mut compressed), joined, "{server_window_bits}");
        }
        assert_eq!(compressed, Compressed { shared: 6, cohort: 0 });
    }
}
