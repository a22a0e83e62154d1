//! Deadlines, made short.

use std::{
    io::{Read, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use chinwag::{
    CloseCause, CloseReason, Message, Peer, Request, Router, Server, Service, Timeouts,
    protocol::close::Timeout,
};

use crate::support::{DEADLINE, Running, eventually, frames, masked, open, upgrade};

/// Much longer than any deadline under test.
const NEVER: Duration = Duration::from_secs(60);

const SHORT: Duration = Duration::from_millis(200);

/// No deadline but those that a test sets.
fn patient() -> Timeouts {
    Timeouts { handshake: NEVER, ping_period: None, pong: NEVER, close: NEVER, write: NEVER }
}

/// Echoes, and tells why it ended.
struct Tells(mpsc::Sender<CloseReason>);

impl Service for Tells {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }

    fn closed(&mut self, reason: &CloseReason) {
        self.0.send(reason.clone()).ok();
    }
}

fn start(timeouts: Timeouts) -> (Running, mpsc::Receiver<CloseReason>) {
    let (tell, told) = mpsc::channel();
    let router = Router::new().service("/", move |_: &Request<'_>| Tells(tell.clone()));
    (Running::start(Server::builder().router(router).timeouts(timeouts).workers(1)), told)
}

/// Checks that `event` came when `deadline` had passed, and soon after.
fn is_on_time(what: &str, start: Instant, deadline: Duration) {
    let took = start.elapsed();
    assert!((deadline..deadline + Duration::from_secs(1)).contains(&took), "{what}: {took:?}");
}

#[test]
fn a_handshake_has_one_deadline_that_bytes_do_not_renew() {
    let (server, _told) = start(Timeouts { handshake: SHORT, ..patient() });
    let start = Instant::now();
    let mut silent = open(server.addr);
    let mut slow = open(server.addr);
    let mut sender = slow.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for byte in upgrade("/").into_bytes() {
            if sender.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    let mut answer = String::new();
    silent.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "", "nothing is said to who said nothing");
    is_on_time("silent", start, SHORT);
    slow.read_to_string(&mut answer).unwrap();
    is_on_time("slow", start, SHORT);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    writer.join().unwrap();
    drop((silent, slow));
    eventually("they are gone", || server.open() == 0);
}

#[test]
fn who_answers_pings_stays_and_who_only_talks_does_not() {
    let (period, pong) = (Duration::from_millis(50), Duration::from_millis(300));
    let (server, told) = start(Timeouts { ping_period: Some(period), pong, ..patient() });

    // `recv` answers Pings; nothing else is sent.
    let mut answers = server.connect("/");
    answers.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let start = Instant::now();
    let mut talks = server.connect("/");
    let mut talker = talks.socket.try_clone().unwrap();
    let (enough, stop) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        // Once it goes quiet a Ping comes; from then on it talks all the time, and answers nothing.
        thread::sleep(period * 3);
        while stop.recv_timeout(Duration::from_millis(10)) == Err(mpsc::RecvTimeoutError::Timeout) {
            if talker.write_all(&masked(0x81, b"I am here")).is_err() {
                break;
            }
        }
    });
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = talks.socket.read(&mut buffer) {
            all.extend(&buffer[..read]);
            assert!(start.elapsed() < DEADLINE, "it is never closed");
        }
        is_on_time("talks", start, pong);
        frames(&all)
    });
    while start.elapsed() < 4 * pong {
        answers.answer_pings();
    }
    let frames = reader.join().unwrap();
    drop(enough);
    writer.join().unwrap();
    assert_eq!(frames.iter().filter(|(first, _)| *first == 0x89).count(), 1);
    assert_eq!(frames.last(), Some(&(0x88, b"\x03\xf3Ping timeout".to_vec())));
    let reason = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Pong));
    eventually("only who answers is left", || server.open() == 1);
    answers.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    answers.send("still here");
    assert_eq!(answers.text(), "still here");
}

#[test]
fn a_close_that_is_not_answered_is_waited_for_that_long() {
    let (server, told) = start(Timeouts { close: SHORT, ..patient() });
    for (name, wire) in [("the peer's Close", masked(0x88, b"")), ("a fault", b"\xff\xff".to_vec())]
    {
        let mut client = server.connect("/");
        let start = Instant::now();
        client.send_raw(&wire);
        told.recv_timeout(DEADLINE).unwrap();
        // It reads our Close and our end, and keeps its own side open.
        client.socket.read_to_end(&mut Vec::new()).unwrap();
        assert!(start.elapsed() < SHORT, "{name}: the server ends TCP at once");
        eventually("it is dropped", || server.open() == 0);
        is_on_time(name, start, SHORT);
    }
}

#[test]
fn a_peer_that_takes_nothing_is_dropped() {
    let (server, told) = start(Timeouts { write: SHORT, ..patient() });
    let client = server.connect("/");
    client.socket.set_write_timeout(Some(SHORT * 3)).unwrap();
    let flood = masked(0x82, &[0; 1 << 20]).repeat(32);
    (&client.socket).write_all(&flood).expect_err("the server stops reading, then resets");
    let reason = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Write));
    eventually("it is dropped", || server.open() == 0);
}

#[test]
fn a_peer_that_takes_little_by_little_stays() {
    let (server, told) = start(Timeouts { write: Duration::from_millis(500), ..patient() });
    let mut client = server.connect("/");
    let mut socket = client.socket.try_clone().unwrap();
    const COUNT: usize = 24;
    let writer = thread::spawn(move || {
        socket.write_all(&masked(0x82, &[0; 1 << 20]).repeat(COUNT)).unwrap();
    });
    for _ in 0..COUNT {
        assert!(client.recv().is_some());
        thread::sleep(Duration::from_millis(50));
    }
    writer.join().unwrap();
    assert!(told.try_recv().is_err());
}

#[test]
fn a_peer_that_takes_too_little_for_an_edge_stays() {
    // Linux tells of room in a socket's buffer only when a third of it is free, which is megabytes.
    let (server, told) = start(Timeouts { write: Duration::from_millis(500), ..patient() });
    let mut client = server.connect("/");
    let mut socket = client.socket.try_clone().unwrap();
    let writer = thread::spawn(move || socket.write_all(&masked(0x82, &[0; 1 << 20]).repeat(64)));
    let mut some = vec![0; 64 << 10];
    for _ in 0..25 {
        client.socket.read_exact(&mut some).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert!(told.try_recv().is_err());
    client.socket.shutdown(std::net::Shutdown::Both).unwrap();
    writer.join().unwrap().expect_err("the server was full");
}

#[test]
fn deadlines_too_far_to_tell_are_none() {
    let forever = Duration::MAX;
    let timeouts = Timeouts {
        handshake: forever,
        ping_period: Some(forever),
        pong: forever,
        close: forever,
        write: forever,
    };
    let (server, _told) = start(timeouts);
    let client = server.connect("/");
    client.socket.set_write_timeout(Some(SHORT)).unwrap();
    let flood = masked(0x82, &[0; 1 << 20]).repeat(32);
    (&client.socket).write_all(&flood).expect_err("the server stops reading, as output waits");
    drop(client);
    eventually("it is gone", || server.open() == 0);
}
