//! What one connection hears: its subscriptions, and the ear they share.

use std::mem;

use super::{context::Context, topics::Subscription};
use crate::service::{Ear, Kind, Topic, TopicId};

/// The subscriptions of a connection that has some.
#[derive(Debug)]
pub(super) struct Hearing {
    ear: Ear,
    subscriptions: Vec<Subscription>,
}

impl Hearing {
    /// None yet, with room for one: most connections hear one topic.
    pub(super) fn new(ear: Ear) -> Self {
        Self { ear, subscriptions: Vec::with_capacity(1) }
    }

    pub(super) fn ear(&self) -> Ear {
        self.ear
    }

    pub(super) fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// That to `topic`.
    pub(super) fn find(&self, topic: &Topic) -> Option<&Subscription> {
        self.subscriptions.iter().find(|entry| entry.topic() == topic)
    }

    fn find_mut(&mut self, topic: TopicId) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|entry| entry.topic().id() == topic)
    }

    /// How many publications of `topic` were missed since this was last asked.
    pub(super) fn take_missed(&mut self, topic: &Topic) -> u64 {
        self.find_mut(topic.id()).map_or(0, |subscription| mem::take(&mut subscription.missed))
    }

    pub(super) fn add(&mut self, subscription: Subscription) {
        self.subscriptions.push(subscription);
    }

    /// Ends that to `topic`.
    pub(super) fn remove(&mut self, topic: &Topic, context: &mut Context) {
        let Some(at) = self.subscriptions.iter().position(|entry| entry.topic() == topic) else {
            return;
        };
        context.topics.unsubscribe(self.subscriptions.swap_remove(at));
        let mut ear = self.ear;
        ear.miss(topic.id());
        self.set_ear(ear);
    }

    /// Ends all.
    pub(super) fn end(self, context: &mut Context) {
        for subscription in self.subscriptions {
            context.topics.unsubscribe(subscription);
        }
    }

    /// The ear has heard something: the topics learn what it can take from now on.
    pub(super) fn set_ear(&mut self, ear: Ear) {
        let before = mem::replace(&mut self.ear, ear);
        if ear.cohort() == before.cohort() {
            return;
        }
        for subscription in &mut self.subscriptions {
            // A topic knows by itself whom its cohort takes in.
            if Some(subscription.topic().id()) != ear.cohort() {
                subscription.recount(ear.kind(subscription.topic()));
            }
        }
    }

    /// The connection has missed `count` publications of `topic`.
    pub(super) fn miss(&mut self, topic: TopicId, count: usize) {
        if let Some(subscription) = self.find_mut(topic) {
            subscription.missed += count as u64;
        }
        let mut ear = self.ear;
        ear.miss(topic);
        let is_out = ear == self.ear;
        self.set_ear(ear);
        // The topic may think that it came in with what it has missed.
        if is_out
            && let Some(subscription) = self.find_mut(topic)
            && ear.kind(subscription.topic()) == Kind::Cohort
        {
            subscription.recount(Kind::Cohort);
        }
    }
}

#[cfg(test)]
mod tests;
