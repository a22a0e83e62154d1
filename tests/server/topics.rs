//! Topics over real workers: one order, nothing missed and nothing repeated.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use chinwag::{
    CloseCode, Lag, Message, Peer, PeerHandle, Request, Router, SendError, Server, Service, Topic,
};

use crate::support::{Client, DEADLINE, Running, eventually, masked};

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
    for _ in 0..20 {
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
            assert_eq!(handle.send("to whom?"), Err(SendError::NotOpen));
        }
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
fn connections_are_even_to_within_one() {
    type Counts = Arc<Mutex<HashMap<u32, usize>>>;
    struct Counted(Counts);
    impl Service for Counted {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            *self.0.lock().unwrap().entry(peer.id().worker).or_default() += 1;
            peer.send("in").unwrap();
        }
    }
    let counts = Counts::default();
    let counted = Arc::clone(&counts);
    let make = move |_: &Request<'_>| Counted(Arc::clone(&counted));
    let server =
        Running::start(Server::builder().router(Router::new().service("/", make)).workers(4));
    let clients: Vec<_> = (0..102).map(|_| join(&server)).collect();
    let counts = counts.lock().unwrap();
    assert_eq!(counts.len(), 4);
    assert!(counts.values().all(|count| (25..=26).contains(count)), "{counts:?}");
    drop(clients);
}

/// Says when it has caught up, and how much it has missed.
struct Skipper(Topic);

impl Service for Skipper {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        peer.send("in").unwrap();
    }

    fn drained(&mut self, peer: &mut Peer<'_>) {
        let missed = peer.missed(&self.0);
        peer.send(format!("missed {missed}")).unwrap();
    }
}

#[test]
fn a_member_that_lags_is_skipped_where_its_topic_says_so() {
    let topic = Topic::new().with_lag(Lag::Skip);
    let theirs = topic.clone();
    let router = Router::new().service("/", move |_: &Request<'_>| Skipper(theirs.clone()));
    let server = Running::start(Server::builder().router(router).workers(1));
    let (mut keen, mut slow) = (join(&server), join(&server));
    let mut said = 0;
    let mut say = |client: &mut Client| {
        let text = format!("{said:>10000}");
        said += 1;
        topic.publish(&text).unwrap();
        assert_eq!(client.text(), text);
        said
    };
    while server.counters.skipped.get() < 10 {
        assert!(say(&mut keen) < 10_000, "so much is more than the system holds");
    }
    let skipped = server.counters.skipped.get();

    let mut heard = 0;
    let missed = loop {
        let text = slow.text();
        match text.strip_prefix("missed ") {
            Some(missed) => break missed.parse::<u64>().unwrap(),
            None => assert_eq!(text, format!("{heard:>10000}"), "nothing is left out before"),
        }
        heard += 1;
    };
    assert_eq!(missed, skipped);
    assert_eq!(say(&mut keen), heard + missed + 1);
    assert_eq!(slow.text(), format!("{:>10000}", heard + missed), "from now on it hears again");
    assert_eq!(server.counters.slow.get(), 0);
}
