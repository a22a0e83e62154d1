//! Topics that compress, and members who do not keep up with them.

use chinwag::{
    Deflate, Frame, Limits, Opcode, Peer, Request, Route, Server, Service, Topic, TopicDeflate,
    testing::{self, Client},
};

/// Subscribes.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }
}

fn member(topic: &Topic) -> Route {
    let topic = topic.clone();
    Route::new(move |_: &Request<'_>| Member(topic.clone()))
}

/// Connects and offers what a browser does.
fn join(server: &testing::Server, path: &str) -> Client {
    let takeover = Deflate { server_window_bits: 15, server_takeover: true, ..Deflate::default() };
    server.client().deflate(takeover).connect(path).unwrap()
}

#[test]
fn a_slow_member_misses_nothing() {
    const MESSAGES: u64 = 2_000;
    let topic = Topic::compressed(TopicDeflate::default());
    let limits =
        Limits { max_backlog: 1 << 30, max_backlog_messages: usize::MAX, ..Limits::default() };
    let deflate = Deflate { min_len: 1, ..Deflate::for_topics() };
    let builder = Server::builder().route("/", member(&topic)).limits(limits).deflate(deflate);
    let server = testing::Server::new(builder);
    let mut slow = join(&server, "/");
    slow.stop_reading();
    let mut others: Vec<_> = (0..3).map(|_| join(&server, "/")).collect();
    // Digits of some sort: they shrink by half, which is far more than the connection holds.
    let text = |number: u64| {
        let digit =
            |at: u32| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at * 7) % 10_007;
        (0..100).map(|at| format!("{number}.{} ", digit(at))).collect::<String>()
    };
    for number in 0..MESSAGES {
        topic.publish(text(number)).unwrap();
        others.iter_mut().for_each(|other| assert_eq!(other.recv_text(), text(number)));
    }
    assert_eq!(slow.try_recv(), None);
    slow.read_on();
    (0..MESSAGES).for_each(|number| assert_eq!(slow.recv_text(), text(number)));
    assert_eq!(server.counters().cohort_frames.get(), 4 * MESSAGES);
    assert_eq!(topic.compressions().cohort, MESSAGES);
}

#[test]
fn who_is_between_fragments_misses_what_is_published_and_comes_in_again() {
    /// Raw mode: starts a message when it hears one, and ends it when it hears another.
    struct Halting(Topic, bool);

    impl Service for Halting {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
        }

        fn frame(&mut self, peer: &mut Peer<'_>, _: Frame<'_>) {
            self.1 = !self.1;
            let opcode = if self.1 { Opcode::Text } else { Opcode::Continuation };
            let mut frame = Frame::new(opcode, b"halt");
            frame.fin = !self.1;
            peer.send_frame(frame).unwrap();
        }
    }

    let topic = Topic::compressed(TopicDeflate { reset_after: 10, ..TopicDeflate::default() });
    let deflate = Deflate { raw: true, ..Deflate::for_topics() };
    let theirs = topic.clone();
    let halting = Route::new(move |_: &Request<'_>| Halting(theirs.clone(), false)).raw();
    let builder =
        Server::builder().route("/halting", halting).route("/", member(&topic)).deflate(deflate);
    let server = testing::Server::new(builder);
    let mut halting = join(&server, "/halting");
    let mut others: Vec<_> = (0..3).map(|_| join(&server, "/")).collect();

    let text =
        |number| format!("number {number} is the number of the message behind {}", number - 1);
    let mut say = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            topic.publish(text(number)).unwrap();
            others.iter_mut().for_each(|other| assert_eq!(other.recv_text(), text(number)));
        }
    };
    say(1..6);
    halting.send("halt");
    say(6..9);
    halting.send("go on");
    say(9..100);
    (1..6).for_each(|number| assert_eq!(halting.recv_text(), text(number)));
    assert_eq!(halting.recv_text(), "halthalt");
    (9..100).for_each(|number| assert_eq!(halting.recv_text(), text(number)));
    // It was in, then out up to the message behind ten, then in to the end.
    assert_eq!(topic.compressions().starts, 2);
    assert_eq!(server.counters().cohort_frames.get(), 3 * 99 + 5 + 89);
}
