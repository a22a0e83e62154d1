//! A worker's stand-in that measures what a topic makes for its members.

use std::{collections::VecDeque, sync::Arc};

use super::{Encoding, EncodingState, Topic, subscription::Subscription};
use crate::{
    mailbox::{Mail, Mailbox},
    protocol::extension::deflate::Agreed,
};

/// Members of a topic without connections, and the bytes that one of the first would have been sent.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe {
    topic: Topic,
    mailbox: Arc<Mailbox>,
    encoding: Encoding,
    state: EncodingState,
    members: Vec<Subscription>,
    bytes: usize,
}

impl Probe {
    /// Nobody yet. Members have agreed to this compression, with their window left to topics.
    pub fn new(topic: &Topic, agreed: Option<Agreed>) -> Self {
        let state = agreed.map(EncodingState::new).unwrap_or_default();
        Self {
            topic: topic.clone(),
            mailbox: Arc::new(Mailbox::new(|| ())),
            encoding: state.encoding(topic),
            state,
            members: Vec::new(),
            bytes: 0,
        }
    }

    /// So many more subscribe.
    pub fn join(&mut self, count: usize) {
        let Self { topic, mailbox, encoding, members, .. } = self;
        let join = |_| topic.subscribe(mailbox, None, *encoding).expect("any offset will do");
        members.extend((0..count).map(join));
    }

    /// Takes in what was published; gives the bytes of frames that one of the first was sent so far.
    pub fn received(&mut self) -> usize {
        let mut mail = VecDeque::new();
        self.mailbox.take(&mut mail);
        for mail in mail {
            self.mailbox.done(1, mail.size());
            if let Mail::Publication(publication) = mail {
                self.bytes += self.state.pick(&publication).1.len();
            }
        }
        self.bytes
    }
}
