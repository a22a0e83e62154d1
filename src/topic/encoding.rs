//! Encodings: which of a publication's frames a connection's peer can take.

use std::sync::Arc;

use super::{Publication, Topic, TopicId};
use crate::protocol::extension::deflate::Agreed;

/// Which of a topic's frames a member can take; tells the topic which to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Plain ones only.
    #[default]
    Plain,
    /// Also those that refer to nothing before them.
    Shared,
    /// Also those of the topic's cohort.
    Cohort,
}

/// What the peer of one connection can inflate, for all topics that it is subscribed to: picks the frame
/// of each publication.
///
/// It must be asked for every publication that its connection receives, in the order in which they are
/// sent, and be told of those that the connection [misses](Self::miss).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodingState {
    /// The window of the peer's inflater; 0 where it takes nothing compressed but the connection's own.
    window_bits: u8,
    takeover: bool,
    /// The topic whose compressor the peer's window follows.
    cohort: Option<TopicId>,
}

impl EncodingState {
    /// The state of a connection with these terms that has no compressor of its own with takeover: the
    /// window of its peer is free for topics. Every other connection has the default state, which picks
    /// plain frames.
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
    pub fn encoding(&self, topic: &Topic) -> Encoding {
        self.encoding_for(topic.id(), topic.window_bits())
    }

    /// As [`encoding`](Self::encoding), by a publication of the topic.
    pub fn encoding_of(&self, publication: &Publication) -> Encoding {
        self.encoding_for(publication.topic, publication.window_bits)
    }

    fn encoding_for(&self, topic: TopicId, window_bits: u8) -> Encoding {
        if window_bits == 0 || self.window_bits == 0 {
            return Encoding::Plain;
        }
        match self.cohort {
            Some(cohort) if cohort != topic => Encoding::Plain,
            Some(_) | None if self.takeover && self.window_bits >= window_bits => Encoding::Cohort,
            Some(_) | None => Encoding::Shared,
        }
    }

    /// The frame of the next publication, and its encoding. Takes the connection into the topic's cohort
    /// where the cohort starts.
    pub fn pick<'p>(&mut self, publication: &'p Publication) -> (Encoding, &'p Arc<[u8]>) {
        let Publication { topic, plain, shared, shared_bits, cohort, cohort_starts, .. } =
            publication;
        let encoding = self.encoding_of(publication);
        if encoding == Encoding::Cohort
            && let Some(cohort) = cohort
            && (*cohort_starts || self.cohort.is_some())
        {
            self.cohort = Some(*topic);
            return (Encoding::Cohort, cohort);
        }
        if encoding != Encoding::Plain
            && self.window_bits >= *shared_bits
            && let Some(shared) = shared
        {
            // Where only this was made for its members, the topic has no cohort any more.
            self.cohort = None;
            return (Encoding::Shared, shared);
        }
        (Encoding::Plain, plain)
    }

    /// The same frames were sent as `other` has picked.
    pub fn follow(&mut self, other: &Self) {
        self.cohort = other.cohort;
    }

    /// The connection does not receive a publication of `topic`, or none any more: where it was in the
    /// topic's cohort, the window of its peer follows that no longer.
    pub fn miss(&mut self, topic: TopicId) {
        if self.cohort == Some(topic) {
            self.cohort = None;
        }
    }
}
