//! Topics: what is heard in which order, whoever publishes.

use std::thread;

use chinwag::{
    CloseCode, Frame, Limits, Message, Opcode, Peer, Request, Server, Service, Topic, testing,
};

use crate::{Does, answers, support::masked};

/// Subscribes when opened, says so, and publishes what it hears.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        peer.send("in").unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.publish(&self.0, message).unwrap();
    }
}

fn member(topic: &Topic) -> impl Fn(&Request<'_>) -> Member + Send + Sync + use<> {
    let topic = topic.clone();
    move |_| Member(topic.clone())
}

/// A member that has heard that it is in.
fn join(server: &testing::Server) -> testing::Client {
    let mut client = server.connect("/").unwrap();
    assert_eq!(client.recv_text(), "in");
    client
}

/// Publishes on another thread, and waits for it.
fn publish_elsewhere(topic: &Topic, text: &'static str) {
    let topic = topic.clone();
    thread::spawn(move || topic.publish(text).unwrap()).join().unwrap();
}

#[test]
fn what_another_thread_publishes_does_not_overtake_what_a_call_sends() {
    let topic = Topic::new();
    let make = move |_: &Request<'_>| {
        let topic = topic.clone();
        Does(move |peer: &mut Peer<'_>, _: Message<'_>| {
            peer.subscribe(&topic);
            publish_elsewhere(&topic, "news");
            peer.send("snapshot").unwrap();
        })
    };
    let server = testing::Server::new(Server::builder().service("/", make));
    let mut client = server.connect("/").unwrap();
    client.send("go");
    assert_eq!([client.recv_text(), client.recv_text()], ["snapshot", "news"]);
}

#[test]
fn what_one_call_publishes_and_sends_keeps_its_order() {
    let topic = Topic::new();
    let heard = topic.clone();
    let in_order = move |_: &Request<'_>| {
        let topic = heard.clone();
        Does(move |peer: &mut Peer<'_>, _: Message<'_>| {
            peer.publish(&topic, "unheard").unwrap();
            peer.subscribe(&topic);
            peer.send("1").unwrap();
            peer.publish(&topic, "2").unwrap();
            peer.publish(&topic, "3").unwrap();
            peer.send("4").unwrap();
            peer.send(vec![b'5'; 50_000]).unwrap();
            peer.publish(&topic, "6").unwrap();
            peer.unsubscribe(&topic);
            peer.publish(&topic, "unheard").unwrap();
            peer.subscribe(&topic);
            peer.publish(&topic, "7").unwrap();
            peer.close(CloseCode(4000), "8").unwrap();
            peer.publish(&topic, "unheard").unwrap();
            peer.send("refused").unwrap_err();
            peer.unsubscribe(&topic);
        })
    };
    let builder = Server::builder().service("/", member(&topic)).service("/in-order", in_order);
    let server = testing::Server::new(builder);
    let mut other = join(&server);
    let client = server.connect("/in-order").unwrap();
    let wire = [masked(0x81, b"go"), masked(0x88, &[0x0f, 0xa0])].concat();
    let got: Vec<_> = answers(client, wire)
        .into_iter()
        .map(|(first, payload)| (first, payload[payload.len() - 1]))
        .collect();
    let expected = [
        (0x81, b'1'),
        (0x81, b'2'),
        (0x81, b'3'),
        (0x81, b'4'),
        (0x82, b'5'),
        (0x81, b'6'),
        (0x81, b'7'),
        (0x88, b'8'),
    ];
    assert_eq!(got, expected);
    let heard: Vec<_> = (0..7).map(|_| other.recv_text()).collect();
    assert_eq!(heard, ["unheard", "2", "3", "6", "unheard", "7", "unheard"]);
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn last_words_reach_their_speaker_before_its_close() {
    let topic = Topic::new();
    let server = testing::Server::new(Server::builder().service("/", member(&topic)));
    for (name, end, code) in [
        ("a Close", masked(0x88, &[0x03, 0xe8]), 1000u16),
        ("a fault", masked(0xff, b""), 1002),
        ("a late fault", masked(0x81, b"\xff"), 1007),
    ] {
        let client = join(&server);
        let frames = answers(client, [masked(0x81, b"last words"), end].concat());
        assert_eq!(frames[0], (0x81, b"last words".to_vec()), "{name}");
        assert_eq!((frames[1].0, &frames[1].1[..2]), (0x88, &code.to_be_bytes()[..]), "{name}");
        assert_eq!(frames.len(), 2, "{name}");
        assert_eq!(topic.subscribers(), 0, "{name}");
    }
}

#[test]
fn publications_do_not_part_the_fragments_of_a_raw_service() {
    struct Fragments(Topic);

    impl Service for Fragments {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
            // All that follows waits for this.
            peer.publish(&self.0, "before").unwrap();
            let mut start = Frame::new(Opcode::Text, b"frag");
            start.fin = false;
            peer.send_frame(start).unwrap();
            peer.publish(&self.0, "between").unwrap();
            peer.ping(b"").unwrap();
            peer.send_frame(Frame::new(Opcode::Continuation, b"ments")).unwrap();
            peer.publish(&self.0, "behind").unwrap();
            peer.close(CloseCode::NORMAL, "").unwrap();
        }
    }

    let topic = Topic::new();
    let make = move |_: &Request<'_>| Fragments(topic.clone());
    let server = testing::Server::new(Server::builder().service_raw("/", make));
    let mut client = server.connect("/").unwrap();
    for (opcode, payload) in [
        (Opcode::Text, &b"before"[..]),
        (Opcode::Text, b"frag"),
        (Opcode::Ping, b""),
        (Opcode::Continuation, b"ments"),
        (Opcode::Text, b"between"),
        (Opcode::Text, b"behind"),
        (Opcode::Close, b"\x03\xe8"),
    ] {
        let frame = client.recv_frame().unwrap();
        assert_eq!((frame.opcode, &*frame.payload), (opcode, payload));
    }
    assert_eq!(client.recv_frame(), None);
}

#[test]
fn a_slow_member_is_closed_and_the_rest_are_unharmed() {
    let small = Limits { pause_reading: 1_000, resume_reading: 0, ..Limits::default() };
    let bounds = [
        ("bytes", Limits { max_backlog: 100_000, ..small.clone() }, 20_000),
        ("messages", Limits { max_backlog_messages: 50, ..Limits::default() }, 20_000),
        ("one large message", Limits { max_backlog: 1_000, ..small }, 1 << 20),
    ];
    for (name, limits, len) in bounds {
        let topic = Topic::new();
        let server =
            testing::Server::new(Server::builder().service("/", member(&topic)).limits(limits));
        let mut slow: Vec<_> = (0..2).map(|_| join(&server)).collect();
        slow.iter_mut().for_each(|client| client.stop_reading());
        let mut quick: Vec<_> = (0..2).map(|_| join(&server)).collect();
        let mut count = 0;
        while server.counters().slow.get() < 2 {
            topic.publish(vec![count as u8; len]).unwrap();
            for client in &mut quick {
                assert!(client.recv_binary() == vec![count as u8; len], "{name}, {count}");
            }
            count += 1;
            assert!(count * len < 10 << 20, "{name}: the backlog is not bounded");
        }
        assert_eq!(topic.subscribers(), 2, "{name}: they are out of the topic");
        // What is left for the slow ones is the start, in order and whole, and the Close.
        for client in &mut slow {
            client.read_on();
            let mut heard = 0;
            while let Some(message) = client.recv() {
                assert!(message.as_bytes() == vec![heard as u8; len], "{name}, {heard}");
                heard += 1;
            }
            assert!((1..count).contains(&heard), "{name}: {heard} of {count}");
            let close = client.recv_close();
            assert_eq!(
                (close.code, &*close.text),
                (CloseCode::TRY_AGAIN_LATER, "too slow"),
                "{name}"
            );
        }
        assert_eq!(server.counters().slow.get(), 2, "{name}");
        let mut late = join(&server);
        topic.publish("after").unwrap();
        assert_eq!(late.recv_text(), "after");
        assert!(quick.iter_mut().all(|client| client.recv_text() == "after"));
    }
}

#[test]
fn leaving_one_topic_pulls_no_news_of_another_forward() {
    let (old, new) = (Topic::new(), Topic::new());
    let make = move |_: &Request<'_>| {
        let (old, new) = (old.clone(), new.clone());
        Does(move |peer: &mut Peer<'_>, message: Message<'_>| match message.as_bytes() {
            b"in" => {
                peer.subscribe(&old);
            }
            _ => {
                peer.subscribe(&new);
                publish_elsewhere(&new, "news of the new");
                publish_elsewhere(&old, "last of the old");
                peer.unsubscribe(&old);
                peer.send("moved").unwrap();
            }
        })
    };
    let server = testing::Server::new(Server::builder().service("/", make));
    let mut client = server.connect("/").unwrap();
    client.send("in");
    client.send("move");
    for expected in ["last of the old", "moved", "news of the new"] {
        assert_eq!(client.recv_text(), expected);
    }
}
