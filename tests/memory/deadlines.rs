//! Deadlines, each met to the tick.

use std::{sync::mpsc, time::Duration};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Frame, Message, Opcode, Peer, Request, Route, Server,
    Service, Timeouts, protocol::close::Timeout, testing,
};

use crate::{Does, SECOND, TICK, support::upgrade};

/// Longer than any deadline under test.
const NEVER: Duration = Duration::from_secs(3_600);

/// No deadline but those that a test sets.
fn patient() -> Timeouts {
    Timeouts {
        handshake: NEVER,
        message: NEVER,
        ping_period: None,
        pong: NEVER,
        idle: None,
        close: NEVER,
        write: NEVER,
    }
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

fn serve(timeouts: Timeouts) -> (testing::Server, mpsc::Receiver<CloseReason>) {
    let (tell, told) = mpsc::channel();
    let make = move |_: &Request<'_>| Tells(tell.clone());
    (testing::Server::new(Server::builder().service("/", make).timeouts(timeouts)), told)
}

#[test]
fn a_handshake_has_one_deadline_that_bytes_do_not_renew() {
    let (server, _told) = serve(Timeouts { handshake: 10 * SECOND, ..patient() });
    let mut silent = server.open();
    let mut slow = server.open();
    for &byte in &upgrade("/").as_bytes()[..100] {
        slow.send_bytes([byte]);
        server.advance(SECOND / 10 - Duration::from_micros(1));
    }
    assert!(!silent.has_ended() && !slow.has_ended());
    server.advance(TICK + Duration::from_millis(1));
    assert_eq!((silent.recv_bytes(), silent.has_ended()), (Vec::new(), true), "nothing was said");
    assert!(slow.recv_bytes().starts_with(b"HTTP/1.1 408 "));
    drop(slow);
    assert_eq!(server.connections(), 0);
}

#[test]
fn who_answers_pings_stays_and_who_only_talks_does_not() {
    let timeouts = Timeouts { ping_period: Some(SECOND), pong: 5 * SECOND, ..patient() };
    let (server, told) = serve(timeouts);
    let mut answers = server.connect("/").unwrap();
    let mut talks = server.connect("/").unwrap();
    talks.ignore_pings();
    // Once it goes quiet a Ping comes; from then on it talks all the time, and answers nothing.
    server.advance(SECOND + TICK);
    for _ in 0..49 {
        talks.send_frame(&Frame::new(Opcode::Pong, b"not asked for"));
        server.advance(SECOND / 10);
    }
    assert!(talks.is_open());
    assert_eq!(talks.recv_frame().unwrap().opcode, Opcode::Ping);
    server.advance(SECOND / 10 + TICK);
    let close = talks.recv_frame().unwrap();
    assert_eq!((close.opcode, &*close.payload), (Opcode::Close, &b"\x03\xf3Ping timeout"[..]));
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Pong));
    assert_eq!(server.connections(), 1, "only who answers is left");
    answers.send("still here");
    assert_eq!(answers.recv_text(), "still here");
}

#[test]
fn a_close_that_is_not_answered_is_waited_for_that_long() {
    let (server, told) = serve(Timeouts { close: 5 * SECOND, ..patient() });
    type Way = fn(&mut testing::Client);
    let ways: [(&str, Way, CloseCode); 2] = [
        ("the peer's Close", |client| client.close(CloseCode::NORMAL, ""), CloseCode::NORMAL),
        ("a fault", |client| client.send_bytes(b"\xff\xff"), CloseCode::PROTOCOL_ERROR),
    ];
    for (name, end, code) in ways {
        let mut client = server.connect("/").unwrap();
        client.ignore_close();
        end(&mut client);
        assert_eq!(told.try_recv().unwrap().code, code, "{name}");
        // It reads our Close and our end, and keeps its own side open.
        assert_eq!(client.recv_frame().unwrap().opcode, Opcode::Close, "{name}");
        assert_eq!(client.recv_frame(), None, "{name}: the server ends TCP at once");
        server.advance(5 * SECOND - TICK);
        assert_eq!(server.connections(), 1, "{name}");
        server.advance(2 * TICK);
        assert_eq!(server.connections(), 0, "{name}");
    }
}

#[test]
fn a_peer_that_takes_nothing_is_dropped_and_one_that_takes_little_by_little_stays() {
    let (server, told) = serve(Timeouts { write: 10 * SECOND, ..patient() });
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    client.send(vec![0; 1 << 20]);
    for _ in 0..100 {
        server.advance(9 * SECOND);
        client.read_some(100);
    }
    assert!(told.try_recv().is_err());
    server.advance(10 * SECOND - TICK);
    assert!(told.try_recv().is_err());
    server.advance(2 * TICK);
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Write));
    assert_eq!(server.connections(), 0);
}

/// Pings are answered all the while.
#[test]
fn a_message_that_is_not_whole_in_time_ends_its_connection() {
    let message = 60 * SECOND;
    let timeouts = Timeouts { ping_period: Some(20 * SECOND), message, ..patient() };
    let (server, told) = serve(timeouts);
    let mut slow = server.connect("/").unwrap();
    let mut fragment = Frame::new(Opcode::Text, b"");
    fragment.fin = false;
    slow.send_frame(&fragment);
    server.advance(message - TICK);
    assert!(told.try_recv().is_err());
    server.advance(2 * TICK);
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Message));
    assert_eq!(server.connections(), 0);
}

#[test]
fn who_is_silent_in_raw_mode_is_idle() {
    struct Silent(mpsc::Sender<CloseReason>);
    impl Service for Silent {
        fn closed(&mut self, reason: &CloseReason) {
            self.0.send(reason.clone()).ok();
        }
    }
    let (tell, told) = mpsc::channel();
    let make = move |_: &Request<'_>| Silent(tell.clone());
    let idle = Timeouts { idle: Some(60 * SECOND), ..patient() };
    let server =
        testing::Server::new(Server::builder().route("/", Route::new(make).raw().timeouts(idle)));
    let mut client = server.connect("/").unwrap();
    server.advance(59 * SECOND);
    client.send_frame(&Frame::new(Opcode::Pong, b""));
    server.advance(60 * SECOND - TICK);
    assert!(told.try_recv().is_err());
    server.advance(2 * TICK);
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Idle));
}

#[test]
fn deadlines_too_far_to_tell_are_none() {
    let forever = Duration::MAX;
    let timeouts = Timeouts {
        handshake: forever,
        message: forever,
        ping_period: Some(forever),
        pong: forever,
        idle: Some(forever),
        close: forever,
        write: forever,
    };
    let (server, _told) = serve(timeouts);
    let silent = server.open();
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    client.send(vec![0; 1 << 20]);
    server.advance(100 * 365 * 24 * NEVER);
    assert_eq!(server.connections(), 2, "what waits may wait");
    client.read_on();
    assert_eq!(client.recv_binary().len(), 1 << 20);
    drop((client, silent));
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_deadline_from_before_the_closing_handshake_does_not_cut_it_short() {
    let timeouts = Timeouts { ping_period: Some(5 * SECOND), close: 20 * SECOND, ..patient() };
    let closes = |_: &Request<'_>| {
        Does(|peer: &mut Peer<'_>, _: Message<'_>| peer.close(CloseCode::NORMAL, "").unwrap())
    };
    let server = testing::Server::new(Server::builder().service("/", closes).timeouts(timeouts));
    let mut client = server.connect("/").unwrap();
    client.ignore_close();
    server.advance(SECOND);
    client.send("end it");
    server.advance(20 * SECOND - TICK);
    assert_eq!(server.connections(), 1);
    server.advance(2 * TICK);
    assert_eq!(server.connections(), 0);
}
