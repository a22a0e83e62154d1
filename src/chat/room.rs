//! One room: who is in it, what was said in it, and the one order of both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

use super::{log::Log, name::Name};
use crate::service::{Peer, PeerId, PublishError, Topic, TopicDeflate};

/// A room. It is locked for moments: publishing leaves references in the workers' queues and
/// subscribing takes a place in one, so nothing is ever sent under the lock.
pub(super) struct Room {
    name: Name,
    topic: Topic,
    /// Most members that are told of each other by name when they come and go.
    crowd: usize,
    due: Due,
    state: Mutex<State>,
}

/// Rooms whose members are to be told how many they are.
pub(super) type Due = Arc<Mutex<Vec<Weak<Room>>>>;

struct State {
    /// Keyed by what peers cannot choose, and with random keys all the same.
    members: HashMap<PeerId, Name>,
    log: Box<dyn Log>,
    /// Whether the room is among the [`Due`].
    count_due: bool,
    /// When the members were last told how many they are.
    counted: Option<Instant>,
}

impl Room {
    /// An empty room.
    pub(super) fn new(name: Name, crowd: usize, log: Box<dyn Log>, due: Due) -> Self {
        let state = State { members: HashMap::new(), log, count_due: false, counted: None };
        // The window holds what everybody in the room may read, and nothing else.
        let topic = Topic::compressed(TopicDeflate::default());
        Self { name, topic, crowd, due, state: Mutex::new(state) }
    }

    /// The room's name.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Whether nobody is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().members.is_empty()
    }

    /// Lets a member in and gives what was said before, oldest first.
    ///
    /// What is said later reaches the member through the topic. Snapshot and subscription are taken
    /// under the lock under which everything is said, so nothing is missed and nothing repeated.
    pub(super) fn join(self: &Arc<Self>, peer: &mut Peer<'_>, name: &Name) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let people = state.members.len() + 1;
        self.announce(&mut state, people, name, "joined");
        state.members.insert(peer.id(), name.clone());
        // Behind the notice, which is for the others.
        peer.subscribe(&self.topic);
        state.log.recent()
    }

    /// Lets a member out who stays connected.
    pub(super) fn part(self: &Arc<Self>, peer: &mut Peer<'_>) {
        peer.unsubscribe(&self.topic);
        self.leave(peer.id());
    }

    /// Lets a member out whose subscription is gone.
    pub(super) fn leave(self: &Arc<Self>, id: PeerId) {
        let mut state = self.lock();
        let people = state.members.len();
        if let Some(name) = state.members.remove(&id) {
            self.announce(&mut state, people, &name, "left");
        }
    }

    /// Gives a member another name; says whether the room, and so the member too, was told.
    pub(super) fn rename(self: &Arc<Self>, id: PeerId, to: &Name) -> bool {
        let mut state = self.lock();
        let people = state.members.len();
        let Some(name) = state.members.get_mut(&id) else { return false };
        let from = std::mem::replace(name, to.clone());
        people <= self.crowd && self.topic.publish(format!("* {from} is now {to}")).is_ok()
    }

    /// Says a line to everyone in the room and keeps it.
    ///
    /// # Errors
    /// [`PublishError::Busy`]: nobody got it, and it is not kept.
    pub(super) fn say(&self, line: Arc<str>) -> Result<(), PublishError> {
        let mut state = self.lock();
        self.topic.publish(&*line)?;
        state.log.append(line);
        Ok(())
    }

    /// The names of at most `max` members, in order where these are all, and how many there are. Who is
    /// here twice counts once where these are all.
    pub(super) fn who(&self, max: usize) -> (Vec<Name>, usize) {
        let state = self.lock();
        let mut names: Vec<Name> = state.members.values().take(max).cloned().collect();
        let mut people = state.members.len();
        drop(state);
        names.sort();
        if names.len() == people {
            names.dedup();
            people = names.len();
        }
        (names, people)
    }

    /// Tells the members how many they are, unless they were told less than a second before `now`
    /// or a queue is full; says whether they know now.
    pub(super) fn tell_count(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let wait = state.counted.is_some_and(|at| now.saturating_duration_since(at) < COUNT_PERIOD);
        let line = match state.members.len() {
            1 => "* 1 person is here".to_owned(),
            people => format!("* {people} people are here"),
        };
        if wait || self.topic.publish(&line).is_err() {
            return false;
        }
        state.counted = Some(now);
        state.count_due = false;
        true
    }

    /// Tells the room that somebody came or went, with whom there are or were `people` in it, and who
    /// is not among its members now. Nobody has come or gone who is still here otherwise, by another
    /// tab or another connection that is yet to end. In a crowd the count is told later instead, as ten thousand who join would be fifty million notices;
    /// and so it is where a queue is full.
    fn announce(self: &Arc<Self>, state: &mut State, people: usize, name: &Name, what: &str) {
        let is_crowd = people > self.crowd;
        if !is_crowd && state.members.values().any(|other| other == name) {
            return;
        }
        let told = !is_crowd && self.topic.publish(format!("* {name} has {what}")).is_ok();
        if !told && !state.count_due {
            state.count_due = true;
            super::lock(&self.due).push(Arc::downgrade(self));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        super::lock(&self.state)
    }
}

/// The shortest time between two counts.
const COUNT_PERIOD: Duration = Duration::from_secs(1);
