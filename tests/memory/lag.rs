//! Members that do not keep up with a topic that skips them.

use std::time::Duration;

use chinwag::{
    Lag, Limits, Message, Peer, Request, Route, Server, Service, Session, Topic,
    testing::{self, Client},
};

/// Much smaller than the defaults, so that little has to be said.
const LIMITS: Limits = Limits {
    max_frame: 1 << 20,
    max_message: 1 << 20,
    max_fragments: 100,
    min_message_rate: 1 << 10,
    max_head: 16 << 10,
    max_head_line: 8 << 10,
    max_headers: 100,
    max_backlog: 32 << 10,
    max_backlog_messages: 100,
    pause_reading: 8 << 10,
    resume_reading: 2 << 10,
};

/// Bytes that a connection holds between a server and its client.
const CAPACITY: usize = 1 << 10;

/// Says when it has caught up, and how much it has missed.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).unwrap();
    }

    fn drained(&mut self, peer: &mut Peer<'_>) {
        let missed = peer.missed(&self.0);
        peer.send(format!("missed {missed}")).unwrap();
        assert_eq!(peer.missed(&self.0), 0, "it was told");
    }
}

struct Hall {
    topic: Topic,
    server: testing::Server,
    said: u64,
}

impl Hall {
    fn new(topic: Topic, route: impl Fn(Route) -> Route) -> Self {
        let theirs = topic.clone();
        let member = Route::new(move |_: &Request<'_>| Member(theirs.clone()));
        let builder = Server::builder().limits(LIMITS).route("/", route(member));
        Self { topic, server: testing::Server::new(builder), said: 0 }
    }

    fn join(&self) -> Client {
        self.server.client().capacity(CAPACITY).connect("/").unwrap()
    }

    /// Says the next number in `len` bytes, which `keen` hears.
    fn say(&mut self, len: usize, keen: &mut Client) {
        self.topic.publish(word(self.said, len)).unwrap();
        assert_eq!(keen.recv_text(), word(self.said, len));
        self.said += 1;
    }
}

/// A text of `len` bytes that does not compress well.
fn word(number: u64, len: usize) -> String {
    let mut state = number;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + (state >> 33) as u8 % 64)
    });
    letters.take(len).collect()
}

/// How many numbers `client` hears in a row, from `first` on, and how many it has missed then.
fn heard_and_missed(client: &mut Client, first: u64, len: usize) -> (u64, u64) {
    for number in first.. {
        let text = client.recv_text();
        if let Some(missed) = text.strip_prefix("missed ") {
            return (number - first, missed.parse().unwrap());
        }
        assert_eq!(text, word(number, len));
    }
    unreachable!("there are many numbers")
}

#[test]
fn who_is_behind_misses_publications_and_is_told_so() {
    let mut hall = Hall::new(Topic::new().with_lag(Lag::Skip), |route| route);
    let (mut keen, mut slow) = (hall.join(), hall.join());
    let mut first = 0;
    for round in 1..=3 {
        slow.stop_reading();
        (0..200).for_each(|_| hall.say(1_000, &mut keen));
        slow.read_on();
        let (heard, missed) = heard_and_missed(&mut slow, first, 1_000);
        assert_eq!(heard + missed, 200);
        let held = (LIMITS.pause_reading + CAPACITY) as u64 / 1_000;
        assert!((held..=held + 2).contains(&heard), "{heard} were heard");
        assert_eq!(hall.server.counters().skipped.get(), missed * round);
        first += 200;
    }
    hall.say(1_000, &mut keen);
    assert_eq!(slow.recv_text(), word(600, 1_000));
    assert_eq!(hall.server.counters().slow.get(), 0);
}

#[test]
fn too_many_short_ones_are_skipped_too() {
    let mut hall = Hall::new(Topic::new().with_lag(Lag::Skip), |route| route);
    let (mut keen, mut slow) = (hall.join(), hall.join());
    slow.stop_reading();
    (0..1_000).for_each(|_| hall.say(10, &mut keen));
    // Some have left, and not half of them yet: it is behind still.
    let skipped = hall.server.counters().skipped.get();
    slow.read_some(30 * 12);
    hall.say(10, &mut keen);
    assert_eq!(hall.server.counters().skipped.get(), skipped + 1);
    slow.read_on();
    let (heard, missed) = heard_and_missed(&mut slow, 0, 10);
    assert_eq!(heard + missed, 1_001);
    let least = LIMITS.max_backlog_messages as u64 + CAPACITY as u64 / 12;
    assert!((least..least + 5).contains(&heard), "{heard} were heard");
    assert_eq!(hall.server.counters().slow.get(), 0);
}

#[test]
fn what_is_sent_to_who_is_behind_is_not_skipped() {
    let mut hall = Hall::new(Topic::new().with_lag(Lag::Skip), |route| route);
    let (mut keen, mut slow) = (hall.join(), hall.join());
    slow.stop_reading();
    (0..100).for_each(|_| hall.say(1_000, &mut keen));
    slow.send("me?");
    slow.read_on();
    let (heard, missed) = heard_and_missed(&mut slow, 0, 1_000);
    assert_eq!(heard + missed, 100);
    assert_eq!(slow.recv_text(), "me?", "it was not read from while it was behind");
}

#[test]
fn by_default_who_is_behind_is_closed() {
    let mut hall = Hall::new(Topic::new(), |route| route);
    let (mut keen, mut slow) = (hall.join(), hall.join());
    slow.stop_reading();
    (0..100).for_each(|_| hall.say(1_000, &mut keen));
    assert_eq!(hall.server.counters().slow.get(), 1);
    assert_eq!(hall.server.counters().skipped.get(), 0);
    slow.read_on();
    while slow.try_recv().is_some() {}
    assert_eq!(slow.close_reason().unwrap().code.0, 1013);
}

#[test]
fn who_takes_nothing_at_all_is_given_up() {
    let mut hall = Hall::new(Topic::new().with_lag(Lag::Skip), |route| route);
    let (mut keen, mut slow) = (hall.join(), hall.join());
    slow.stop_reading();
    (0..100).for_each(|_| hall.say(1_000, &mut keen));
    hall.server.advance(Duration::from_secs(11));
    assert_eq!(hall.server.connections(), 1);
}

#[test]
fn who_was_behind_is_out_of_its_cohort_and_comes_in_again() {
    use chinwag::{Deflate, TopicDeflate};

    let settings = TopicDeflate { reset_after: 50, ..TopicDeflate::default() };
    let topic = Topic::compressed(settings).with_lag(Lag::Skip);
    let mut hall = Hall::new(topic, |route| route.deflate(Some(Deflate::for_topics())));
    let connect = || {
        let deflate =
            Deflate { server_takeover: true, server_window_bits: 15, ..Deflate::default() };
        let connect = hall.server.client().deflate(deflate);
        connect.capacity(CAPACITY).connect("/").unwrap()
    };
    let mut others: Vec<_> = (0..3).map(|_| connect()).collect();
    let (mut keen, mut slow) = (connect(), connect());
    let mut first = 0;
    for _ in 0..5 {
        let before = hall.server.counters().cohort_frames.get();
        slow.stop_reading();
        for number in first..first + 60 {
            hall.say(1_000, &mut keen);
            for other in &mut others {
                assert_eq!(other.recv_text(), word(number, 1_000));
            }
        }
        slow.read_on();
        let (heard, missed) = heard_and_missed(&mut slow, first, 1_000);
        assert!(missed > 10);
        assert_eq!(heard + missed, 60);
        // It hears without a gap from here on, plain and then as one of the cohort again.
        first += 60;
        for number in first..first + 120 {
            hall.say(1_000, &mut keen);
            assert_eq!(slow.recv_text(), word(number, 1_000));
            for other in &mut others {
                assert_eq!(other.recv_text(), word(number, 1_000));
            }
        }
        first += 120;
        let all = 5 * 180;
        let cohort = hall.server.counters().cohort_frames.get() - before;
        assert!((all - 200..all).contains(&cohort), "{cohort} of {all} frames");
    }
}

#[test]
fn a_session_asks_how_much_it_has_missed() {
    let topic = Topic::new().with_lag(Lag::Skip);
    let theirs = topic.clone();
    let builder = Server::builder().limits(LIMITS).websocket("/", move |mut session: Session| {
        let topic = theirs.clone();
        async move {
            session.subscribe(&topic).await?;
            while session.recv().await.is_some() {
                let missed = session.missed(&topic).await?;
                session.send(format!("missed {missed}")).await?;
            }
            Ok(())
        }
    });
    let server = testing::Server::new(builder);
    let mut hall = Hall { topic, server, said: 0 };
    let (mut keen, mut slow) = (hall.join(), hall.join());
    slow.stop_reading();
    (0..100).for_each(|_| hall.say(1_000, &mut keen));
    slow.send("how many?");
    slow.read_on();
    let (heard, missed) = heard_and_missed(&mut slow, 0, 1_000);
    assert_eq!(heard + missed, 100);
    assert!(missed > 80);
}
