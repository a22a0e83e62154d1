//! What one connection can make of a topic's frames.

use std::sync::Arc;

use super::{Publication, Topic, TopicId};
use crate::protocol::extension::deflate::Agreed;

/// Which of a topic's frames a member can take; tells the topic which to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Plain ones only.
    #[default]
    Plain,
    /// Also those that refer to nothing before them.
    Shared,
    /// Also those of the topic's cohort.
    Cohort,
}

/// One connection's ear, for all the topics it hears: picks the frame of each publication that its
/// peer can inflate.
///
/// It must be asked for every publication that its connection hears, in the order in which they are
/// sent; of what it does not hear, [`miss`](Self::miss) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ear {
    /// The window of the peer's inflater; 0 where it takes nothing compressed but the connection's own.
    window_bits: u8,
    takeover: bool,
    /// The topic whose compressor the peer's window follows.
    cohort: Option<TopicId>,
}

impl Ear {
    /// The ear of a connection with these terms that has no compressor of its own with takeover: its
    /// peer's window is at the topics' disposal. Every other connection has the default one, which
    /// hears plain frames.
    pub fn new(agreed: Agreed) -> Self {
        let (window_bits, takeover) = agreed.servers();
        Self { window_bits, takeover, cohort: None }
    }

    /// The topic whose cohort the connection is in. While there is one, whatever else it is sent is to
    /// be plain: a compressed message would enter its peer's window, and nobody else's.
    pub fn cohort(&self) -> Option<TopicId> {
        self.cohort
    }

    /// The window of its peer's inflater, as far as it is for topics; 0 where it takes plain frames only.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// Which of the frames of `topic` it can take, as things are.
    pub fn kind(&self, topic: &Topic) -> Kind {
        self.kind_of(topic.id(), topic.window_bits())
    }

    /// As [`kind`](Self::kind), by a publication of the topic.
    pub fn kind_for(&self, publication: &Publication) -> Kind {
        self.kind_of(publication.topic, publication.window_bits)
    }

    fn kind_of(&self, topic: TopicId, window_bits: u8) -> Kind {
        if window_bits == 0 || self.window_bits == 0 {
            return Kind::Plain;
        }
        match self.cohort {
            Some(cohort) if cohort != topic => Kind::Plain,
            Some(_) | None if self.takeover && self.window_bits >= window_bits => Kind::Cohort,
            Some(_) | None => Kind::Shared,
        }
    }

    /// The frame of the next publication, and its kind. Takes the connection into the topic's cohort
    /// where the cohort starts.
    pub fn hear<'p>(&mut self, publication: &'p Publication) -> (Kind, &'p Arc<[u8]>) {
        let Publication { topic, plain, shared, shared_bits, cohort, cohort_starts, .. } =
            publication;
        let kind = self.kind_for(publication);
        if kind == Kind::Cohort
            && let Some(cohort) = cohort
            && (*cohort_starts || self.cohort.is_some())
        {
            self.cohort = Some(*topic);
            return (Kind::Cohort, cohort);
        }
        if kind != Kind::Plain
            && self.window_bits >= *shared_bits
            && let Some(shared) = shared
        {
            // Where only this was made for its members, the topic has no cohort any more.
            self.cohort = None;
            return (Kind::Shared, shared);
        }
        (Kind::Plain, plain)
    }

    /// Hears what `other` has heard, which picks the same frames of that topic.
    pub fn follow(&mut self, other: &Self) {
        self.cohort = other.cohort;
    }

    /// The connection does not hear a publication of `topic`, or none any more: from now on its peer's
    /// window is another than the cohort's, where it was in that.
    pub fn miss(&mut self, topic: TopicId) {
        if self.cohort == Some(topic) {
            self.cohort = None;
        }
    }
}
