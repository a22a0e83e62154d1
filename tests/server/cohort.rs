//! Topics that compress, over real workers: every client inflates what it should hear.

use std::{sync::mpsc, thread};

use chinwag::{
    CloseCode, Deflate, Frame, Limits, Message, Opcode, Peer, Request, Route, Router, Server,
    Service, Timeouts, Topic, TopicDeflate,
};

use crate::support::{Client, DEADLINE, Running};

/// What a word for its sender alone starts with.
const ALONE: &str = "for you alone: ";

/// Subscribes to all its topics and publishes what it hears to the first; answers with a word for its
/// sender alone.
struct Member(Vec<Topic>);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        for topic in &self.0 {
            peer.subscribe(topic);
        }
        peer.send("in").unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        while peer.publish(&self.0[0], message.clone()).is_err() {
            thread::yield_now();
        }
        let text = std::str::from_utf8(message.as_bytes()).unwrap();
        peer.send(format!("{ALONE}{text}")).unwrap();
    }
}

fn serve(topics: &[Topic], limits: Limits) -> Running {
    let topics = topics.to_vec();
    let route = Route::new(move |_: &Request<'_>| Member(topics.clone()))
        .limits(limits)
        .deflate(Some(Deflate { min_len: 1, ..Deflate::for_topics() }));
    // A slow member is read from by and by, on a busy machine rather by.
    let timeouts = Timeouts { write: DEADLINE * 6, ..Timeouts::default() };
    let server = Server::builder().router(Router::new().route("/", route)).timeouts(timeouts);
    Running::start(server.workers(3))
}

/// What a browser offers.
fn takeover() -> Deflate {
    Deflate { server_window_bits: 15, server_takeover: true, ..Deflate::default() }
}

/// Connects with compression, or without.
fn join(server: &Running, deflate: Option<Deflate>) -> Client {
    let mut client = match deflate {
        Some(deflate) => Client::connect_compressed(server.addr, "/", deflate),
        None => server.connect("/"),
    };
    assert_eq!(client.text(), "in");
    client
}

#[test]
fn everyone_hears_everything_whatever_they_agreed_to() {
    const ROUNDS: usize = 60;
    let settings = TopicDeflate { reset_after: 25, ..TopicDeflate::default() };
    let topics = [Topic::compressed(settings.clone()), Topic::compressed(settings)];
    let server = serve(&topics, Limits::default());
    let kinds = [
        None,
        Some(Deflate::default()),
        Some(takeover()),
        Some(takeover()),
        Some(Deflate { server_window_bits: 10, ..takeover() }),
        Some(takeover()),
    ];
    struct Person {
        client: Client,
        heard: Vec<String>,
        alone: Vec<String>,
    }
    let mut people: Vec<Person> = Vec::new();
    let mut said = Vec::new();
    for round in 0..ROUNDS {
        // They come one after the other, and the first of them go again.
        let client = join(&server, kinds[round % kinds.len()].clone());
        people.push(Person { client, heard: Vec::new(), alone: Vec::new() });
        if round % 4 == 3 {
            let Person { mut client, .. } = people.remove(0);
            client.close(CloseCode::NORMAL, "");
            assert_eq!(client.end().code, CloseCode::NORMAL);
        }
        for speaker in [round, 2 * round, 3 * round].map(|at| at % people.len()) {
            let text = format!(
                "round {round}: number {speaker} says that there is more tea, and more tea, and much more tea: äöü"
            );
            people[speaker].client.send(&text);
            people[speaker].alone.push(format!("{ALONE}{text}"));
            let next = topics[1].last_offset() + 1;
            let other = format!(
                "the other topic says for time {next}: more tea, and more tea, and much more tea"
            );
            topics[1].publish(&other).unwrap();
            said.extend([text, other]);
            // Everyone has it before the next one speaks: so there is one order.
            for (at, Person { client, heard, .. }) in people.iter_mut().enumerate() {
                heard.extend((0..2 + usize::from(at == speaker)).map(|_| client.text()));
            }
        }
    }
    for (at, Person { heard, alone, .. }) in people.iter().enumerate() {
        let from = |all: &[String], start| -> Vec<String> {
            all.iter().filter(|text| text.starts_with(start)).cloned().collect()
        };
        assert_eq!(from(heard, ALONE), *alone, "client {at}");
        for topic in ["round", "the other"] {
            let (heard, said) = (from(heard, topic), from(&said, topic));
            assert!(!heard.is_empty());
            assert_eq!(heard, said[said.len() - heard.len()..], "client {at}");
        }
    }
    for topic in &topics {
        let made = topic.compressions();
        assert!(made.shared <= topic.last_offset() && made.cohort <= topic.last_offset());
    }
    let counters = &server.counters;
    assert!(counters.cohort_frames.get() > 500, "{}", counters.cohort_frames.get());
    assert!(counters.shared_frames.get() > 500, "{}", counters.shared_frames.get());
}

#[test]
fn a_slow_member_misses_nothing() {
    const MESSAGES: u64 = 20_000;
    let topic = Topic::compressed(TopicDeflate::default());
    let limits =
        Limits { max_backlog: 1 << 30, max_backlog_messages: usize::MAX, ..Limits::default() };
    let server = serve(std::slice::from_ref(&topic), limits);
    let mut slow = join(&server, Some(takeover()));
    let mut others: Vec<_> = (0..3).map(|_| join(&server, Some(takeover()))).collect();
    // Digits of some sort: they shrink by half, which is more than the sockets hold.
    let text = |number: u64| {
        let digit =
            |at: u32| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at * 7) % 10_007;
        (0..100).map(|at| format!("{number}.{} ", digit(at))).collect::<String>()
    };
    for number in 0..MESSAGES {
        while topic.publish(text(number)).is_err() {
            thread::yield_now();
        }
        if number % 100 == 99 {
            for other in &mut others {
                (number - 99..=number).for_each(|number| assert_eq!(other.text(), text(number)));
            }
        }
    }
    (0..MESSAGES).for_each(|number| assert_eq!(slow.text(), text(number)));
    assert_eq!(server.counters.cohort_frames.get(), 4 * MESSAGES);
    assert_eq!(topic.compressions().cohort, MESSAGES);
}

#[test]
fn who_is_between_fragments_misses_what_is_published_and_comes_in_again() {
    /// Raw mode: starts a message when it hears one, ends it when it hears another, and tells.
    struct Halting(Topic, bool, mpsc::Sender<()>);

    impl Service for Halting {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
            peer.send_frame(Frame::new(Opcode::Text, b"in")).unwrap();
        }

        fn frame(&mut self, peer: &mut Peer<'_>, _: Frame<'_>) {
            self.1 = !self.1;
            let opcode = if self.1 { Opcode::Text } else { Opcode::Continuation };
            let mut frame = Frame::new(opcode, b"halt");
            frame.header.fin = !self.1;
            peer.send_frame(frame).unwrap();
            self.2.send(()).unwrap();
        }
    }

    let topic = Topic::compressed(TopicDeflate { reset_after: 10, ..TopicDeflate::default() });
    let (tell, told) = mpsc::channel();
    let deflate = Deflate { raw: true, ..Deflate::for_topics() };
    let (halting, member) = (topic.clone(), topic.clone());
    let halting = move |_: &Request<'_>| Halting(halting.clone(), false, tell.clone());
    let member = move |_: &Request<'_>| Member(vec![member.clone()]);
    let router = Router::new()
        .route("/halting", Route::new(halting).raw().deflate(Some(deflate.clone())))
        .route("/", Route::new(member).deflate(Some(deflate)));
    let server = Running::start(Server::builder().router(router).workers(1));
    // It has the first place in the topic: what the others have heard has been there before.
    let mut halting = Client::connect_compressed(server.addr, "/halting", takeover());
    assert_eq!(halting.text(), "in");
    let mut others: Vec<_> = (0..3).map(|_| join(&server, Some(takeover()))).collect();

    let text =
        |number| format!("number {number} is the number of the message behind {}", number - 1);
    let mut say = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            topic.publish(text(number)).unwrap();
            others.iter_mut().for_each(|other| assert_eq!(other.text(), text(number)));
        }
    };
    say(1..6);
    halting.send("halt");
    told.recv_timeout(DEADLINE).unwrap();
    say(6..9);
    halting.send("go on");
    told.recv_timeout(DEADLINE).unwrap();
    say(9..100);
    for number in (1..6).chain(9..100) {
        if number == 9 {
            assert_eq!(halting.text(), "halthalt");
        }
        assert_eq!(halting.text(), text(number));
    }
    // It was in, then out up to the message behind ten, then in to the end.
    assert_eq!(topic.compressions().starts, 2);
    assert_eq!(server.counters.cohort_frames.get(), 3 * 99 + 5 + 89);
}
