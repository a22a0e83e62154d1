//! What one client has yet to receive, and what is wrong with what it receives.

use std::collections::{HashMap, HashSet, VecDeque};

use chinwag::{CloseCause, CloseCode, CloseReason, Message};

use super::{
    CHECK_CROSS_ORDER,
    application::{Notes, Posted, TOPICS, pad},
};

/// Who serves a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Echo,
    /// A service, or a session that does the same.
    Service,
    Session,
    Raw,
    /// Nobody that answers.
    Silent,
}

/// What a client has received, as far as it matters for what it is to receive.
pub struct Expected {
    pub number: u32,
    pub kind: Kind,
    /// Messages sent and not answered, with their numbers.
    pub unanswered: VecDeque<(u32, Vec<u8>)>,
    subscriptions: [Option<Subscription>; TOPICS],
    sources: HashMap<u32, Received>,
    /// What a session's tasks have sent beside its answers.
    beside: HashSet<u64>,
    /// The offset of each topic when it last began to read again, and the bytes that it has received since of
    /// what was published before: all that has waited for it. Of compressed topics less has waited.
    pub published: [u64; TOPICS],
    pub waited: usize,
    has_ended: bool,
    /// It has received a Close that it had not asked for.
    is_closed: bool,
    /// It has broken a rule of the protocol.
    pub is_spoiled: bool,
    /// It has read all at once, answered every Ping and Close, and not cut its connection.
    pub is_well_behaved: bool,
}

/// What a subscriber has received since it subscribed.
#[derive(Debug, Default)]
struct Subscription {
    /// The offset behind the last that was received.
    next: u64,
    missed: u64,
    /// How many its service has reported as missed.
    reported: u64,
}

/// The last sequences of one source that were received.
#[derive(Debug, Default)]
struct Received {
    /// Of what went through the worker's mailbox: sent by a handle, or published.
    posted: u64,
    /// Of that, what was sent by a handle, and what was published to each topic.
    by_handle: u64,
    to_topic: [u64; TOPICS],
    published: u64,
    /// Of what a service sent to its own peer.
    sent: u64,
}

impl Expected {
    pub fn new(number: u32, kind: Kind) -> Self {
        Self {
            number,
            kind,
            unanswered: VecDeque::new(),
            subscriptions: Default::default(),
            sources: HashMap::new(),
            beside: HashSet::new(),
            published: [0; TOPICS],
            waited: 0,
            has_ended: false,
            is_closed: false,
            is_spoiled: false,
            is_well_behaved: true,
        }
    }

    /// The client receives a message; gives its size.
    #[track_caller]
    pub fn receive(&mut self, message: &Message<'_>, notes: &Notes) -> usize {
        let payload = message.as_bytes();
        assert!(
            !self.is_closed,
            "order: client {} receives a message behind its Close",
            self.number
        );
        if self.kind == Kind::Echo && matches!(message, Message::Binary(_)) {
            let sent = self.unanswered.pop_front();
            let is_answer = sent.as_ref().is_some_and(|(_, sent)| sent == payload);
            assert!(
                is_answer,
                "order: client {} receives {} bytes back in answer to {:?}",
                self.number,
                payload.len(),
                sent.map(|(number, sent)| (number, sent.len())),
            );
            return payload.len();
        }
        let text = str::from_utf8(payload).expect("services send text");
        let head = text.split(' ').next().unwrap_or_default();
        let is_whole = pad(head.to_owned(), text.len()) == text;
        assert!(
            is_whole,
            "client {} receives something else than was sent: {text:.200}",
            self.number
        );
        let mut fields = head.split('.');
        let kind = fields.next().unwrap_or_default();
        let mut next = || fields.next().and_then(|field| field.parse().ok()).unwrap_or(u64::MAX);
        match kind {
            "T" => {
                let (topic, offset) = (next() as usize, next());
                if topic < 2 && offset <= self.published[topic] {
                    self.waited += text.len();
                }
                self.receive_publication(topic, offset, next() as u32, next());
            }
            "R" => self.receive_answer(next() as u32, next()),
            "X" => self.receive_beside(next()),
            "H" => self.receive_handle(next() as u32, next(), notes),
            "S" => self.receive_subscribed(next() as usize, next()),
            "U" => self.receive_unsubscribed(next() as usize, next()),
            "M" => {
                let (topic, count) = (next() as usize, next());
                self.subscription(topic, "receives a report of what it has missed").reported +=
                    count;
            }
            _ => panic!("client {} receives what nobody sends: {text:.200}", self.number),
        }
        text.len()
    }

    #[track_caller]
    fn subscription(&mut self, topic: usize, what: &str) -> &mut Subscription {
        let number = self.number;
        match &mut self.subscriptions[topic] {
            Some(subscription) => subscription,
            None => panic!("order: client {number} {what} of topic {topic}, and is not subscribed"),
        }
    }

    /// Whether it may miss publications and stay: a topic that skips, or between fragments.
    fn may_miss(&self, topic: usize) -> bool {
        topic % 2 == 1 || self.kind == Kind::Raw
    }

    #[track_caller]
    fn receive_publication(&mut self, topic: usize, offset: u64, source: u32, sequence: u64) {
        let (number, may_miss) = (self.number, self.may_miss(topic));
        let subscription = self.subscription(topic, "receives a publication");
        let next = subscription.next;
        assert!(
            offset >= next,
            "topic order: client {number} receives publication {offset} of topic {topic} again or late, \
             and {next} is next"
        );
        assert!(
            offset == next || may_miss,
            "client {number} receives publication {offset} of topic {topic}, and never {next}"
        );
        subscription.missed += offset - next;
        subscription.next = offset + 1;
        let received = self.sources.entry(source).or_default();
        if CHECK_CROSS_ORDER {
            // A turn delivers topic after topic, in the order of their first publication.
            let later = received.by_handle.max(received.to_topic[topic]);
            assert!(
                sequence > later,
                "sender order: client {number} receives publication {sequence} of source {source} behind \
                 its {later}, which was posted later"
            );
            received.to_topic[topic] = sequence;
        }
        if source == number && matches!(self.kind, Kind::Service | Kind::Raw) {
            assert!(
                sequence > received.sent,
                "sender order: client {number} receives its service's publication {sequence} behind what \
                 that sent as {}",
                received.sent
            );
        }
        received.posted = received.posted.max(sequence);
        received.published = received.published.max(sequence);
    }

    #[track_caller]
    fn receive_answer(&mut self, message: u32, sequence: u64) {
        let expected = self.unanswered.pop_front().map(|(number, _)| number);
        assert_eq!(
            expected,
            Some(message),
            "order: client {} receives the answer to message {message}, and that to {expected:?} is next",
            self.number
        );
        self.receive_own(sequence);
    }

    #[track_caller]
    fn receive_beside(&mut self, sequence: u64) {
        // Two tasks of a session send, each in its own order.
        if self.kind != Kind::Session {
            self.receive_own(sequence);
            return;
        }
        let is_new = self.beside.insert(sequence);
        assert!(is_new, "client {} receives text {sequence} beside its answers again", self.number);
    }

    #[track_caller]
    fn receive_own(&mut self, sequence: u64) {
        if self.kind == Kind::Session {
            return;
        }
        let received = self.sources.entry(self.number).or_default();
        let last = received.sent.max(received.published);
        assert!(
            sequence > last,
            "sender order: client {} receives what its service sent as {sequence} behind its {last}",
            self.number
        );
        received.sent = sequence;
    }

    #[track_caller]
    fn receive_handle(&mut self, source: u32, sequence: u64, notes: &Notes) {
        let this = Posted::Send(source, sequence);
        let mut state = notes.lock();
        let posted = state.posted.entry(self.number).or_default();
        let is_lossy = self.kind == Kind::Raw;
        loop {
            match posted.pop_front() {
                Some(next) if next == this => break,
                // Between fragments it cannot be sent.
                Some(Posted::Send(..)) if is_lossy => {}
                next => panic!(
                    "order: client {} receives text {sequence} sent by handles of source {source}, and \
                     {next:?} is next",
                    self.number
                ),
            }
        }
        let received = self.sources.entry(source).or_default();
        if CHECK_CROSS_ORDER {
            assert!(
                sequence > received.posted,
                "sender order: client {} receives text {sequence} sent by a handle of source {source} \
                 behind its {}, which was posted later",
                self.number,
                received.posted
            );
        }
        received.by_handle = received.by_handle.max(sequence);
        received.posted = received.posted.max(sequence);
    }

    #[track_caller]
    fn receive_subscribed(&mut self, topic: usize, after: u64) {
        let subscription = Subscription { next: after + 1, ..Subscription::default() };
        let before = self.subscriptions[topic].replace(subscription);
        assert!(before.is_none(), "client {} is subscribed twice: {before:?}", self.number);
    }

    #[track_caller]
    fn receive_unsubscribed(&mut self, topic: usize, last: u64) {
        self.check_received_up_to(topic, last, "when it is unsubscribed");
        self.subscriptions[topic] = None;
    }

    /// All publications up to `last` were received, or the service has reported how many were not.
    #[track_caller]
    fn check_received_up_to(&self, topic: usize, last: u64, when: &str) {
        let Some(Subscription { next, missed, reported }) = self.subscriptions[topic] else {
            return;
        };
        // Others may have been published behind it already.
        let missed = missed + (last + 1).saturating_sub(next);
        let is_reported = if self.may_miss(topic) { missed == reported } else { missed == 0 };
        assert!(
            is_reported,
            "client {} has missed {missed} publications of topic {topic} up to {last} and received a report of \
             {reported}, {when}",
            self.number
        );
    }

    /// Its connection has ended, for the first reason that it knows of.
    #[track_caller]
    pub fn end(&mut self, reason: &CloseReason, is_stopped: bool, notes: &Notes) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let number = self.number;
        let fault = |what| panic!("client {number} {what}: {reason}");
        match reason.cause {
            CloseCause::Local => {}
            CloseCause::Peer => {
                self.is_closed = true;
                self.end_by_close(reason, notes);
            }
            CloseCause::Lost if self.is_well_behaved && !self.is_spoiled && !is_stopped => {
                fault("keeps the rules, and its connection is dropped without a Close")
            }
            CloseCause::Lost => {}
            CloseCause::Protocol(_) | CloseCause::Timeout(_) | CloseCause::Answered(_) => {
                fault("finds that the server breaks the rules")
            }
        }
    }

    #[track_caller]
    fn end_by_close(&self, reason: &CloseReason, notes: &Notes) {
        let number = self.number;
        let may_be = [
            CloseCode::NORMAL,
            CloseCode::GOING_AWAY,
            CloseCode::INTERNAL_ERROR,
            CloseCode::TRY_AGAIN_LATER,
            CloseCode(4_000),
            CloseCode(4_001),
        ];
        assert!(
            self.is_spoiled || may_be.contains(&reason.code),
            "client {number} keeps the rules, and the server fails its connection: {reason}"
        );
        let mut state = notes.lock();
        let Some(offsets) = state.closes.get(&*reason.text).copied() else { return };
        let mut fields = reason.text.split('.');
        let kind = fields.next();
        let mut next = || fields.next().and_then(|field| field.parse().ok()).unwrap_or(u64::MAX);
        let (first, second) = (next(), next());
        if kind == Some("C") {
            let this = Posted::Close(first as u32, second);
            let posted = state.posted.entry(number).or_default();
            let lost = posted.iter().take_while(|&&next| next != this);
            let lost: Vec<_> = lost.filter(|next| matches!(next, Posted::Send(..))).collect();
            assert!(
                lost.is_empty() || self.kind == Kind::Raw,
                "sender order: client {number} receives the Close {this:?} and never {lost:?}, which handles \
                 sent before"
            );
        } else if let Some((message, _)) = self.unanswered.front() {
            assert!(
                u64::from(*message) >= first,
                "order: client {number} receives a Close in answer to message {first}, and never the answer \
                 to {message}"
            );
        }
        drop(state);
        for (topic, &last) in offsets.iter().enumerate().filter(|(topic, _)| !self.may_miss(*topic))
        {
            self.check_received_up_to(topic, last, "when it is closed by its server's application");
        }
    }

    /// All is quiet, and its connection is open and read: it has received all there is.
    #[track_caller]
    pub fn check_complete(&self, notes: &Notes) {
        let number = self.number;
        if self.kind != Kind::Silent {
            let unanswered: Vec<_> = self.unanswered.iter().map(|(number, _)| number).collect();
            assert!(
                unanswered.is_empty(),
                "client {number} ({:?}) is open and read, and the messages {unanswered:?} are never \
                 answered",
                self.kind
            );
        }
        if self.kind != Kind::Raw {
            let state = notes.lock();
            let posted = state.posted.get(&number).map_or(0, VecDeque::len);
            assert_eq!(
                posted, 0,
                "client {number} never receives what handles did: {:?}",
                state.posted
            );
        }
        for (topic, last) in notes.last_offsets().into_iter().enumerate() {
            self.check_received_up_to(topic, last, "when all is quiet");
        }
    }
}
