//! Work in bounds: what costs much waits for its share, and memory stays within what limits say. There is no
//! clock here, so budgets go by work alone.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Deflate, Frame, Limits, Message, Opcode, Peer, PeerHandle,
    PublishError, Request, Route, SendError, Server, Service, Stopper, Timeouts, Topic,
    protocol::{close::Timeout, extension::deflate::Compressor},
    testing::{self, Client},
};

use crate::{Does, SECOND, TICK, echo, support::masked};

/// Messages that were served.
type Count = Arc<AtomicUsize>;

/// A masked frame of a mebibyte of zeros, with this as its first byte.
fn zeros(first: u8) -> Vec<u8> {
    let mut payload = Vec::new();
    Compressor::new(12, &Deflate::default()).compress(&vec![0; 1 << 20], &mut payload);
    assert!(payload.len() < 1_200);
    masked(first, &payload)
}

/// So many connections, each with so many mebibytes of zeros to be served at `/heavy`.
fn heavy(server: &testing::Server, connections: usize, frames: usize) -> Vec<Client> {
    let wire = zeros(0xc2).repeat(frames);
    let connect = || server.client().deflate(Deflate::default()).connect("/heavy").unwrap();
    let mut clients: Vec<_> = (0..connections).map(|_| connect()).collect();
    clients.iter_mut().for_each(|client| client.queue_bytes(&wire));
    clients
}

/// How a turn's work comes to messages of a mebibyte of zeros: those who are heavy get some ten shares, and
/// each has its last share about then.
const A_TURN: usize = 10;

#[test]
fn who_has_little_to_serve_is_served_in_every_turn() {
    const CONNECTIONS: usize = 50;
    const FRAMES: usize = 24;
    const SMALL: usize = 100;
    let (served, seen) = (Count::default(), Arc::new(Mutex::new(Vec::new())));
    let theirs = (Arc::clone(&served), Arc::clone(&seen));
    let heavy_service = move |_: &Request<'_>| {
        let (served, seen) = theirs.clone();
        Does(move |peer: &mut Peer<'_>, _: Message<'_>| {
            served.fetch_add(1, Ordering::Relaxed);
            // The rest is the same again.
            if seen.lock().unwrap().len() == SMALL {
                peer.pause_reading();
            }
        })
    };
    let theirs = (Arc::clone(&served), Arc::clone(&seen));
    let light_service = move |_: &Request<'_>| {
        let (served, seen) = theirs.clone();
        Does(move |peer: &mut Peer<'_>, message: Message<'_>| {
            seen.lock().unwrap().push(served.load(Ordering::Relaxed));
            peer.send(message).unwrap();
        })
    };
    let builder = Server::builder()
        .service("/heavy", heavy_service)
        .service("/light", light_service)
        .deflate(Deflate::default());
    let server = testing::Server::new(builder);
    // One frame fits at a time, so one comes in each turn.
    let small = masked(0x81, b"?");
    let mut light = server.client().capacity(small.len()).connect("/light").unwrap();
    let _heavy = heavy(&server, CONNECTIONS, FRAMES);
    light.queue_bytes(small.repeat(SMALL));
    let turns = server.turns();
    server.advance(Duration::ZERO);
    let turns = server.turns() - turns;
    assert!((0..SMALL).all(|_| light.recv_text() == "?"));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], 0, "it is served in the first turn");
    let most = seen.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let in_forty = seen.windows(41).map(|window| window[40] - window[0]).max().unwrap();
    assert!(most <= A_TURN, "{seen:?} are served before each");
    assert!(in_forty <= CONNECTIONS + 2 * A_TURN, "a turn inflates 1.25 MiB: {seen:?}");
    assert!(seen[SMALL - 1] >= CONNECTIONS, "they get on all the same: {seen:?}");
    let rest = served.load(Ordering::Relaxed) - seen[SMALL - 1];
    assert!(rest <= CONNECTIONS && turns <= 200, "{turns} turns, and {rest} served behind it");
}

#[test]
fn a_stop_is_seen_within_a_turn_under_load() {
    const ENOUGH: usize = 25;
    let (served, stopper) = (Count::default(), Arc::new(Mutex::new(None::<Stopper>)));
    let theirs = (Arc::clone(&served), Arc::clone(&stopper));
    let make = move |_: &Request<'_>| {
        let (served, stopper) = theirs.clone();
        Does(move |_: &mut Peer<'_>, _: Message<'_>| {
            if served.fetch_add(1, Ordering::Relaxed) + 1 == ENOUGH {
                stopper.lock().unwrap().as_ref().unwrap().stop();
            }
        })
    };
    let builder = Server::builder().service("/heavy", make).deflate(Deflate::default());
    let server = testing::Server::new(builder);
    *stopper.lock().unwrap() = Some(server.stopper());
    let clients = heavy(&server, 20, 12);
    server.advance(Duration::ZERO);
    let served = served.load(Ordering::Relaxed);
    assert!((ENOUGH..ENOUGH + A_TURN).contains(&served), "{served} were served, stop at {ENOUGH}");
    for client in &clients {
        let reason = client.close_reason().unwrap();
        assert_eq!((reason.code, &*reason.text), (CloseCode::GOING_AWAY, "server stops"));
    }
}

// ---- topics ------------------------------------------------------------------------------------

/// Publishes texts, answers what begins with a slash, and keeps the most that has waited for a peer.
struct Member(Topic, Count);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        if message.as_bytes().starts_with(b"/") {
            peer.send("help").unwrap();
        } else {
            peer.publish(&self.0, message).unwrap();
        }
        self.1.fetch_max(peer.buffered(), Ordering::Relaxed);
    }
}

/// How many turns it takes that so many members write so many pairs of a text and a question in one go, and
/// the most that waited for one of them.
fn pairs(members: usize, pairs: usize, len: usize) -> (u64, usize) {
    let (topic, most) = (Topic::new(), Count::default());
    let theirs = Arc::clone(&most);
    let make = move |_: &Request<'_>| Member(topic.clone(), Arc::clone(&theirs));
    let server = testing::Server::new(Server::builder().service("/", make));
    let mut clients: Vec<_> = (0..members).map(|_| server.connect("/").unwrap()).collect();
    let wire = [masked(0x81, &vec![b'x'; len]), masked(0x81, b"/help")].concat().repeat(pairs);
    clients.iter_mut().for_each(|client| client.queue_bytes(&wire));
    let turns = server.turns();
    server.advance(Duration::ZERO);
    let turns = server.turns() - turns;
    for client in &mut clients {
        let (mut published, mut answers) = (0, 0);
        while let Some(message) = client.try_recv() {
            *if message.as_bytes() == b"help" { &mut answers } else { &mut published } += 1;
        }
        assert_eq!((published, answers), (members * pairs, pairs));
    }
    (turns, most.load(Ordering::Relaxed))
}

#[test]
fn texts_and_answers_in_one_go_cost_what_they_are() {
    let max_backlog = Limits::default().max_backlog;
    let (turns, most) = pairs(40, 20, 20);
    let (twice, most_of_twice) = pairs(40, 40, 20);
    assert!(twice <= 2 * turns + 10, "{turns} turns, and {twice} for twice as much");
    assert!(most.max(most_of_twice) <= max_backlog, "{most}, {most_of_twice} bytes waited");
    let (turns, most) = pairs(20, 10, 16 << 10);
    assert!(turns <= 200 && most <= max_backlog, "{turns} turns, {most} bytes waited");
}

/// Nobody is closed for what waits.
fn unbounded() -> Limits {
    Limits {
        max_backlog: usize::MAX,
        max_backlog_messages: usize::MAX,
        pause_reading: usize::MAX,
        ..Limits::default()
    }
}

#[test]
fn what_one_call_publishes_and_commands_is_bounded() {
    const MIB: usize = 1 << 20;
    let topic = Topic::new();
    let (theirs, most) = (topic.clone(), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&most);
    let make = move |_: &Request<'_>| {
        let (topic, told) = (theirs.clone(), Arc::clone(&told));
        Does(move |peer: &mut Peer<'_>, message: Message<'_>| {
            peer.subscribe(&topic);
            let handle = peer.handle();
            let results = (0..400).map(|_| match message.as_bytes() {
                b"publish" => topic.publish(vec![0; MIB]) == Err(PublishError::Busy),
                _ => handle.send(vec![0; MIB]) == Err(SendError::Busy),
            });
            let taken = results.take_while(|is_busy| !is_busy).count();
            told.lock().unwrap().push(taken);
        })
    };
    let server = testing::Server::new(Server::builder().service("/", make).limits(unbounded()));
    let mut client = server.connect("/").unwrap();
    for how in ["publish", "command", "publish"] {
        client.send(how);
        let taken = most.lock().unwrap().pop().unwrap();
        assert!((62..=64).contains(&taken), "{how}: {taken} MiB are taken in one call");
        assert!((0..taken).all(|_| client.recv_binary().len() == MIB), "{how}");
        assert_eq!(client.try_recv(), None, "{how}");
    }
}

#[test]
fn a_topic_whose_members_have_left_costs_what_it_has() {
    const GONE: usize = 300;
    const TEXTS: usize = 600;
    let (topic, most) = (Topic::new(), Count::default());
    let theirs = (topic.clone(), most);
    let make = move |_: &Request<'_>| Member(theirs.0.clone(), theirs.1.clone());
    let server = testing::Server::new(Server::builder().service("/", make));
    let mut member = server.connect("/").unwrap();
    let mut turns = |name: &str| {
        // A share of the turn ends with what a call has published, by its deliveries.
        let wire = masked(0x81, b"text").repeat(TEXTS);
        let before = server.turns();
        member.send_bytes(wire);
        assert!((0..TEXTS).all(|_| member.recv_text() == "text"), "{name}");
        server.turns() - before
    };
    let alone = turns("alone");
    let others: Vec<_> = (0..GONE).map(|_| server.connect("/").unwrap()).collect();
    assert_eq!(topic.subscribers(), GONE + 1);
    let among_many = turns("among many");
    drop(others);
    server.advance(Duration::ZERO);
    let alone_again = turns("alone again");
    assert!(among_many > 5 * alone, "{among_many} turns among many, {alone} alone");
    assert!(alone_again <= alone + 1, "{alone_again} turns alone again, {alone} before");
}

// ---- output ------------------------------------------------------------------------------------

#[test]
fn pings_by_a_handle_keep_to_the_bound_of_what_waits() {
    const MAX_BACKLOG: usize = 100_000;
    for together in [1, 100, 60_000] {
        let handles = Arc::new(Mutex::new(Vec::<PeerHandle>::new()));
        let theirs = Arc::clone(&handles);
        let make = move |_: &Request<'_>| {
            let handles = Arc::clone(&theirs);
            Does(move |peer: &mut Peer<'_>, _: Message<'_>| {
                handles.lock().unwrap().push(peer.handle());
            })
        };
        let limits =
            Limits { max_backlog: MAX_BACKLOG, pause_reading: 50_000, ..Limits::default() };
        let limits = Limits { resume_reading: 10_000, ..limits };
        let server = testing::Server::new(Server::builder().service("/", make).limits(limits));
        let mut client = server.connect("/").unwrap();
        client.send("give me a handle");
        client.stop_reading();
        let handle = handles.lock().unwrap().pop().unwrap();
        for _ in 0..60_000 / together {
            (0..together).for_each(|_| _ = handle.ping(&[7; 125]));
            server.advance(Duration::ZERO);
            if server.counters().slow.get() > 0 {
                break;
            }
        }
        assert_eq!(server.counters().slow.get(), 1, "{together} together");
        client.read_on();
        let mut bytes = 0;
        while let Some(frame) = client.recv_frame() {
            bytes += frame.payload.len() + 2;
        }
        // What the turn had for it, and what the connection holds, comes on top.
        let most = MAX_BACKLOG + (256 << 10) + (64 << 10) + 1_000;
        assert!((64 << 10..=most).contains(&bytes), "{bytes} bytes of {together} Pings together");
        assert_eq!(client.close_reason().unwrap().code, CloseCode::TRY_AGAIN_LATER, "{together}");
    }
}

// ---- unfinished input --------------------------------------------------------------------------

/// The beginning of a frame of a mebibyte, with so many bytes of it.
fn beginning(len: usize) -> Vec<u8> {
    let mut wire = masked(0x82, &vec![0; 1 << 20]);
    wire.truncate(14 + len);
    wire
}

#[test]
fn those_that_hold_most_unfinished_input_for_longest_give_way() {
    const MAX: usize = 4 << 20;
    let server = testing::Server::new(echo().max_unfinished(MAX).deflate(Deflate::default()));
    let connect = || server.client().deflate(Deflate::default()).connect("/echo").unwrap();
    let mut healthy = connect();
    let mut small = connect();
    small.send_bytes(beginning(1_000));
    // A mebibyte each, of a thousand bytes: fragments that inflate to all but their end.
    let fragment = zeros(0x42);
    let mut clients: Vec<Client> = Vec::new();
    for at in 0..20 {
        let mut client = connect();
        client.send_bytes(&fragment);
        clients.push(client);
        server.advance(SECOND / 10);
        healthy.send("well");
        assert_eq!(healthy.recv_text(), "well", "{at}");
        let open = clients.iter().filter(|client| client.is_open()).count();
        assert!(open <= 4, "{open} hold a mebibyte each of {MAX} bytes");
        assert_eq!(server.counters().shed.get() as usize, clients.len() - open, "{at}");
        let is_oldest_first = clients.iter().map(|client| client.is_open()).is_sorted();
        assert!(is_oldest_first, "those that have held it for longest go first");
    }
    for client in clients.iter().filter(|client| !client.is_open()) {
        let reason = client.close_reason().unwrap();
        let expected = (CloseCode::TRY_AGAIN_LATER, "too much unfinished input");
        assert_eq!((reason.code, &*reason.text), expected);
    }
    assert!(server.counters().shed.get() >= 16 && small.is_open());
    // What has ended counts no more.
    drop(clients);
    let shed = server.counters().shed.get();
    let mut again = connect();
    again.send_bytes(&fragment);
    assert_eq!((server.counters().shed.get(), again.is_open()), (shed, true));
}

/// Receives frames or messages, and keeps why it ended.
struct Tells(Arc<Mutex<Vec<CloseReason>>>);

impl Service for Tells {
    fn closed(&mut self, reason: &CloseReason) {
        self.0.lock().unwrap().push(reason.clone());
    }
}

#[test]
fn a_message_has_to_be_whole_in_time_also_without_pings_and_in_raw_mode() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let timeouts = Timeouts { ping_period: None, ..Timeouts::default() };
    let limits = Limits { min_message_rate: 0, ..Limits::default() };
    let route = || {
        let told = Arc::clone(&told);
        let route = Route::new(move |_: &Request<'_>| Tells(told.clone()));
        route.timeouts(timeouts.clone()).limits(limits.clone())
    };
    let server =
        testing::Server::new(Server::builder().route("/", route()).route("/raw", route().raw()));
    let ping = masked(0x89, b"");
    for path in ["/", "/raw"] {
        for (name, wire) in [
            ("a header that is cut off", vec![0x82]),
            ("a frame that is cut off", beginning(100)),
            ("a fragment", masked(0x02, b"more to come")),
            ("a control frame that is cut off", vec![0x89, 0x85, 1, 2, 3, 4, 5]),
        ] {
            let name = format!("{name} at {path}");
            let mut client = server.connect(path).unwrap();
            client.send_bytes(wire);
            // What stands between fragments puts nothing off.
            server.advance(30 * SECOND);
            if name.starts_with("a fragment") {
                client.send_bytes(&ping);
            }
            server.advance(30 * SECOND - TICK);
            assert_eq!(told.lock().unwrap().len(), 0, "{name}");
            server.advance(2 * TICK);
            let reason = told.lock().unwrap().pop().expect(&name);
            assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Message), "{name}");
            assert_eq!(server.connections(), 0, "{name}");
        }
        // Whoever has sent something whole may be silent for ever.
        let mut client = server.connect(path).unwrap();
        client.send_frame(&Frame::new(Opcode::Text, b"whole"));
        server.advance(600 * SECOND);
        assert!(client.is_open() && told.lock().unwrap().is_empty(), "{path}");
        drop(client);
        told.lock().unwrap().clear();
    }
}
