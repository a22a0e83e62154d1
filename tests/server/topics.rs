//! Topics over real workers: one order, nothing missed, nothing repeated, nobody held up.

use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use chinwag::{
    CloseCode, Frame, Limits, Message, Opcode, Peer, PeerHandle, Request, Router, Server, Service,
    Topic,
};

use crate::{
    Does,
    support::{
        Client, DEADLINE, Running, Said, after_head, eventually, frames, masked, open, upgrade,
    },
};

/// Subscribes when opened, says so, and publishes what it hears.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        peer.send("in").unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        while peer.publish(&self.0, message.clone()).is_err() {
            thread::yield_now();
        }
    }
}

fn member(topic: &Topic) -> impl Fn(&Request<'_>) -> Member + Send + Sync + use<> {
    let topic = topic.clone();
    move |_| Member(topic.clone())
}

/// A member that has heard that it is in.
fn join(server: &Running) -> Client {
    let mut client = server.connect("/");
    assert_eq!(client.text(), "in");
    client
}

#[test]
fn every_member_sees_one_order_whoever_publishes() {
    const EACH: usize = 500;
    for workers in [1, 2, 4] {
        let topic = Topic::new();
        let router = Router::new().service("/", member(&topic));
        let server = Running::start(Server::builder().router(router).workers(workers));
        let listeners: Vec<_> = (0..6).map(|_| join(&server)).collect();
        let speakers: Vec<_> = (0..4).map(|_| join(&server)).collect();
        let total = EACH * (speakers.len() + 2);
        let mut threads = Vec::new();
        for (name, mut speaker) in speakers.into_iter().enumerate() {
            threads.push(thread::spawn(move || {
                let wire: Vec<u8> = (0..EACH)
                    .flat_map(|number| masked(0x81, format!("{name} {number}").as_bytes()))
                    .collect();
                let mut socket = speaker.socket.try_clone().unwrap();
                let writer = thread::spawn(move || socket.write_all(&wire).unwrap());
                let heard: Vec<_> = (0..total).map(|_| speaker.text()).collect();
                writer.join().unwrap();
                heard
            }));
        }
        for mut listener in listeners {
            threads.push(thread::spawn(move || (0..total).map(|_| listener.text()).collect()));
        }
        let outside: Vec<_> = (4..6)
            .map(|name| {
                let topic = topic.clone();
                thread::spawn(move || {
                    let publish = |number| topic.publish(format!("{name} {number}")).unwrap();
                    (0..EACH).map(publish).collect::<Vec<_>>()
                })
            })
            .collect();

        let heard: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for others in &heard[1..] {
            assert!(*others == heard[0], "{workers} workers");
        }
        // Everyone's own words are in the order in which they were said.
        for name in 0..6 {
            let own = heard[0].iter().filter_map(|text| text.strip_prefix(&format!("{name} ")));
            assert!(own.eq((0..EACH).map(|number| number.to_string())), "{workers} workers");
        }
        assert_eq!(topic.last_offset(), total as u64);
        // An offset names the place: what was published from outside stands where it was told.
        for (name, offsets) in (4..).zip(outside) {
            for (number, offset) in offsets.join().unwrap().into_iter().enumerate() {
                assert_eq!(heard[0][offset as usize - 1], format!("{name} {number}"));
            }
        }
    }
}

/// Publishes numbers from 1 on; the log is what was said, under the lock under which it is said.
#[derive(Default)]
struct Log {
    topic: Topic,
    said: Mutex<u64>,
}

impl Log {
    fn say(&self) {
        let mut said = self.said.lock().unwrap();
        *said += 1;
        while self.topic.publish(said.to_string()).is_err() {
            thread::yield_now();
        }
    }
}

/// Joins and leaves as it is told. Its snapshot is the last number said before it joined.
struct Reader(Arc<Log>);

impl Service for Reader {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Reader(log) = self;
        match message.as_bytes() {
            b"join under the lock" => {
                let said = log.said.lock().unwrap();
                peer.subscribe(&log.topic);
                let snapshot = *said;
                drop(said);
                peer.send(format!("snapshot {snapshot}")).unwrap();
            }
            b"join after" => loop {
                let snapshot = log.topic.last_offset();
                if peer.subscribe_after(&log.topic, snapshot).is_ok() {
                    peer.send(format!("snapshot {snapshot}")).unwrap();
                    break;
                }
            },
            _ => {
                let before = log.topic.last_offset();
                peer.unsubscribe(&log.topic);
                peer.send(format!("left {before}")).unwrap();
            }
        }
    }
}

#[test]
fn a_snapshot_and_a_subscription_miss_nothing_and_repeat_nothing() {
    for (workers, how) in
        [1, 2, 4].into_iter().zip(["join under the lock", "join after"].iter().cycle())
    {
        let log = Arc::new(Log::default());
        let service = Arc::clone(&log);
        let make = move |_: &Request<'_>| Reader(Arc::clone(&service));
        let router = Router::new().service("/", make);
        let server = Running::start(Server::builder().router(router).workers(workers));
        let (stop, stopped) = mpsc::channel::<()>();
        let speaker = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                while stopped
                    .recv_timeout(Duration::from_micros(50))
                    .is_err_and(|error| error == mpsc::RecvTimeoutError::Timeout)
                {
                    log.say();
                }
            })
        };
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut client = server.connect("/");
                thread::spawn(move || {
                    for _ in 0..50 {
                        follow(&mut client, how);
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        drop(stop);
        speaker.join().unwrap();
        eventually("nobody is left in the topic", || log.topic.subscribers() == 0);
    }
}

/// Joins, hears some, leaves: every number must come once and in order, and none after the leave.
fn follow(client: &mut Client, how: &str) {
    client.send(how);
    let snapshot = client.text();
    let mut last: u64 = snapshot
        .strip_prefix("snapshot ")
        .unwrap_or_else(|| panic!("{how}: {snapshot} came before the snapshot"))
        .parse()
        .unwrap();
    for _ in 0..5 {
        last += 1;
        assert_eq!(client.text(), last.to_string(), "{how}");
    }
    client.send("leave");
    loop {
        match client.text().strip_prefix("left ") {
            // What was said before it left has come, and what was said meanwhile may have.
            Some(before) => break assert!(before.parse::<u64>().unwrap() <= last, "{how}"),
            None => last += 1,
        }
    }
}

#[test]
fn what_another_thread_publishes_does_not_overtake_what_a_call_sends() {
    let topic = Topic::new();
    let heard = topic.clone();
    let router = Router::new().service("/", move |_: &Request<'_>| {
        let topic = heard.clone();
        Does(move |peer: &mut Peer<'_>, _: Message<'_>| {
            peer.subscribe(&topic);
            let publisher = topic.clone();
            thread::spawn(move || publisher.publish("news").unwrap()).join().unwrap();
            peer.send("snapshot").unwrap();
        })
    });
    let server = Running::router(router);
    let mut client = server.connect("/");
    client.send("go");
    assert_eq!([client.text(), client.text()], ["snapshot", "news"]);
}

#[test]
fn what_one_call_publishes_and_sends_keeps_its_order() {
    let topic = Topic::new();
    let heard = topic.clone();
    let router =
        Router::new().service("/", member(&topic)).service("/in-order", move |_: &Request<'_>| {
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
        });
    let server = Running::router(router);
    let mut other = join(&server);
    let mut socket = open(server.addr);
    let mut wire = upgrade("/in-order").into_bytes();
    wire.extend(masked(0x81, b"go"));
    wire.extend(masked(0x88, &[0x0f, 0xa0]));
    socket.write_all(&wire).unwrap();
    let got: Vec<_> = frames(&after_head(&mut socket))
        .into_iter()
        .map(|(first, payload)| {
            (first, String::from_utf8_lossy(&payload[payload.len() - 1..]).into_owned())
        })
        .collect();
    let text = |text: &str| (0x81, text.to_string());
    let expected = [
        text("1"),
        text("2"),
        text("3"),
        text("4"),
        (0x82, "5".into()),
        text("6"),
        text("7"),
        (0x88, "8".into()),
    ];
    assert_eq!(got, expected);
    let heard: Vec<_> = (0..7).map(|_| other.text()).collect();
    assert_eq!(heard, ["unheard", "2", "3", "6", "unheard", "7", "unheard"]);
}

#[test]
fn last_words_reach_their_speaker_before_its_close() {
    let topic = Topic::new();
    let server = Running::router(Router::new().service("/", member(&topic)));
    for (name, end, code) in [
        ("a Close", masked(0x88, &[0x03, 0xe8]), 1000u16),
        ("a fault", masked(0xff, b""), 1002),
        ("a late fault", masked(0x81, b"\xff"), 1007),
    ] {
        let mut socket = open(server.addr);
        let mut wire = upgrade("/").into_bytes();
        wire.extend(masked(0x81, b"last words"));
        wire.extend(end);
        socket.write_all(&wire).unwrap();
        let frames = frames(&after_head(&mut socket));
        assert_eq!(frames[0], (0x81, b"in".to_vec()), "{name}");
        assert_eq!(frames[1], (0x81, b"last words".to_vec()), "{name}");
        assert_eq!((frames[2].0, &frames[2].1[..2]), (0x88, &code.to_be_bytes()[..]), "{name}");
        assert_eq!(frames.len(), 3, "{name}");
    }
    eventually("nobody is left", || topic.subscribers() == 0);
}

#[test]
fn publications_do_not_part_the_fragments_of_a_raw_service() {
    struct Fragments(Topic);

    impl Service for Fragments {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
            let mut start = Frame::new(Opcode::Text, b"frag");
            start.header.fin = false;
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
    let server = Running::router(Router::new().service_raw("/", make));
    let mut socket = open(server.addr);
    let mut wire = upgrade("/").into_bytes();
    wire.extend(masked(0x88, &[0x03, 0xe8]));
    socket.write_all(&wire).unwrap();
    let expected = [
        (0x01, b"frag".to_vec()),
        (0x89, b"".to_vec()),
        (0x80, b"ments".to_vec()),
        (0x81, b"between".to_vec()),
        (0x81, b"behind".to_vec()),
        (0x88, b"\x03\xe8".to_vec()),
    ];
    assert_eq!(frames(&after_head(&mut socket)), expected);
}

#[test]
fn a_slow_member_is_closed_and_the_rest_are_unharmed() {
    let bounds = [
        ("bytes", Limits { max_backlog: 100_000, ..Limits::default() }, 20_000),
        ("messages", Limits { max_backlog_messages: 50, ..Limits::default() }, 20_000),
        ("one large message", Limits { max_backlog: 1000, ..Limits::default() }, 1 << 20),
    ];
    for (name, limits, len) in bounds {
        let topic = Topic::new();
        let router = Router::new().service("/", member(&topic));
        let server = Running::start(Server::builder().router(router).limits(limits).workers(2));
        let mut slow: Vec<_> = (0..2).map(|_| join(&server)).collect();
        let mut quick: Vec<_> = (0..2).map(|_| join(&server)).collect();
        let mut count = 0;
        while server.counters.slow.get() < 2 {
            let start = Instant::now();
            topic.publish(vec![count as u8; len]).unwrap();
            for client in &mut quick {
                assert_eq!(client.recv(), Some(Said::Binary(vec![count as u8; len])));
            }
            let took = start.elapsed();
            assert!(took < Duration::from_secs(2), "{name}: {took:?}");
            count += 1;
            assert!(count * len < 100 << 20, "{name}: the backlog is not bounded");
        }
        eventually("they are out of the topic", || topic.subscribers() == 2);
        // What is left for the slow ones is the start, in order and whole, and the Close.
        for client in &mut slow {
            let mut all = Vec::new();
            client.socket.read_to_end(&mut all).unwrap();
            let mut frames = frames(&all);
            assert_eq!(frames.pop(), Some((0x88, b"\x03\xf5too slow".to_vec())), "{name}");
            assert!(!frames.is_empty() && frames.len() < count, "{name}");
            for (number, (_, payload)) in frames.into_iter().enumerate() {
                assert!(payload == vec![number as u8; len], "{name}, {number}");
            }
        }
        assert_eq!(server.counters.slow.get(), 2, "{name}");
        let mut late = join(&server);
        topic.publish("after").unwrap();
        assert_eq!(late.text(), "after");
        assert!(quick.iter_mut().all(|client| client.text() == "after"));
    }
}

/// Gives away the handles of its connections.
struct Handed(mpsc::Sender<PeerHandle>);

impl Service for Handed {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.0.send(peer.handle()).unwrap();
    }
}

#[test]
fn a_handle_reaches_its_connection_and_no_other() {
    let (give, handles) = mpsc::channel();
    let router = Router::new().service("/", move |_: &Request<'_>| Handed(give.clone()));
    let server = Running::start(Server::builder().router(router).workers(2));
    let mut ids = Vec::new();
    for round in 1..=20 {
        let mut client = server.connect("/");
        let handle = handles.recv_timeout(DEADLINE).unwrap();
        assert!(!ids.contains(&handle.id()), "{} again", handle.id());
        ids.push(handle.id());
        let from_elsewhere = handle.clone();
        thread::spawn(move || {
            for number in 0..100 {
                from_elsewhere.send(number.to_string()).unwrap();
            }
            from_elsewhere.close(CloseCode(4000), "from elsewhere").unwrap();
        });
        for number in 0..100 {
            assert_eq!(client.text(), number.to_string());
        }
        assert_eq!(client.end().code, CloseCode(4000));
        drop(client);
        eventually("it is gone", || server.open() == 0);

        // Its place goes to another connection, which hears nothing that was meant for the first.
        let mut next = server.connect("/");
        let next_handle = handles.recv_timeout(DEADLINE).unwrap();
        ids.push(next_handle.id());
        for _ in 0..3 {
            handle.send("to whom?").unwrap();
        }
        eventually("they are counted", || server.counters.undelivered.get() == 3 * round);
        next_handle.send("to you").unwrap();
        assert_eq!(next.text(), "to you");
        drop(next);
        eventually("it is gone", || server.open() == 0);
    }
}

#[test]
fn what_another_thread_publishes_before_it_sends_comes_first() {
    struct Heard(Topic, mpsc::Sender<PeerHandle>);

    impl Service for Heard {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
            self.1.send(peer.handle()).unwrap();
        }
    }

    let topic = Topic::new();
    let (give, handles) = mpsc::channel();
    let heard = topic.clone();
    let make = move |_: &Request<'_>| Heard(heard.clone(), give.clone());
    let server = Running::router(Router::new().service("/", make));
    let mut client = server.connect("/");
    let handle = handles.recv_timeout(DEADLINE).unwrap();
    let speaker = thread::spawn(move || {
        for number in 0..2_000 {
            topic.publish(format!("published {number}")).unwrap();
            handle.send(format!("sent {number}")).unwrap();
        }
    });
    let (mut published, mut sent) = (0, 0);
    while sent < 2_000 {
        let text = client.text();
        if text == format!("published {published}") {
            published += 1;
        } else {
            assert_eq!(text, format!("sent {sent}"));
            assert!(sent < published, "{text} came before it was published");
            sent += 1;
        }
    }
    assert_eq!(published, 2_000);
    speaker.join().unwrap();
}

#[test]
fn leaving_one_topic_pulls_no_news_of_another_forward() {
    struct Moves(Topic, Topic);

    impl Service for Moves {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
        }

        fn message(&mut self, peer: &mut Peer<'_>, _: Message<'_>) {
            let Self(old, new) = self;
            peer.subscribe(new);
            let elsewhere = |topic: &Topic, text: &'static str| {
                let topic = topic.clone();
                thread::spawn(move || topic.publish(text).unwrap()).join().unwrap();
            };
            elsewhere(new, "news of the new");
            elsewhere(old, "last of the old");
            peer.unsubscribe(old);
            peer.send("moved").unwrap();
        }
    }

    let (old, new) = (Topic::new(), Topic::new());
    let make = move |_: &Request<'_>| Moves(old.clone(), new.clone());
    let server = Running::router(Router::new().service("/", make));
    let mut client = server.connect("/");
    client.send("move");
    for expected in ["last of the old", "moved", "news of the new"] {
        assert_eq!(client.text(), expected);
    }
}

#[test]
fn connections_are_even_to_within_one() {
    let counts: Arc<[AtomicUsize; 4]> = Arc::default();
    struct Counted(Arc<[AtomicUsize; 4]>, usize);
    impl Service for Counted {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            self.1 = peer.id().worker as usize;
            self.0[self.1].fetch_add(1, Ordering::Relaxed);
            peer.send("in").unwrap();
        }
    }
    let counted = Arc::clone(&counts);
    let make = move |_: &Request<'_>| Counted(Arc::clone(&counted), 0);
    let server =
        Running::start(Server::builder().router(Router::new().service("/", make)).workers(4));
    let clients: Vec<_> = (0..102).map(|_| join(&server)).collect();
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert!(counts.iter().all(|count| (25..=26).contains(count)), "{counts:?}");
    drop(clients);
}
