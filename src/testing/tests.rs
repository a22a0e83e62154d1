//! What the harness promises to those who test with it.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, mpsc},
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    Answer, CloseCause, CloseCode, CloseReason, Frame, Limits, Message, Opcode, Peer, PeerHandle,
    Request, Route, Router, Service, Session, Timeouts, Topic,
    protocol::close::Timeout,
    session::{Elapsed, interval, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

/// Echoes; says how it ended.
struct Echo(Option<mpsc::Sender<CloseReason>>);

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }

    fn closed(&mut self, reason: &CloseReason) {
        if let Some(tell) = &self.0 {
            tell.send(reason.clone()).ok();
        }
    }
}

fn builder() -> ServerBuilder {
    let router = Router::new().service("/echo", |_: &Request<'_>| Echo(None));
    crate::Server::builder().router(router)
}

fn echo() -> Server {
    Server::new(builder())
}

/// A server that echoes, and what becomes of its connections.
fn telling(builder: ServerBuilder) -> (Server, mpsc::Receiver<CloseReason>) {
    let (tell, told) = mpsc::channel();
    let make = move |_: &Request<'_>| Echo(Some(tell.clone()));
    (Server::new(builder.router(Router::new().service("/echo", make))), told)
}

/// What a panic says.
fn complaint(doing: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(doing)).expect_err("it panics");
    panic.downcast_ref::<String>().expect("it says why").clone()
}

// ---- talking ----------------------------------------------------------------------------------

#[test]
fn messages_of_every_size_come_back() {
    let server = echo();
    // Far more than the connection holds at once, and far less.
    for capacity in [1, 7, 1_000, CAPACITY] {
        let mut client = server.client().capacity(capacity).connect("/echo").unwrap();
        for len in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
            let len = if capacity < 1_000 { len / 100 } else { len };
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            client.send(&bytes[..]);
            assert_eq!(client.recv_binary(), bytes, "{len} bytes through {capacity}");
            let text = "é".repeat(len / 2);
            client.send(&text);
            assert_eq!(client.recv_text(), text, "{len} bytes of text through {capacity}");
        }
    }
}

#[test]
fn a_request_says_what_it_is_told_to() {
    let make = |request: &Request<'_>| {
        let said = format!(
            "{:?} {:?} {:?} {:?} {}",
            request.query("room"),
            request.header("cookie"),
            request.header("origin"),
            request.protocol(),
            request.addr(),
        );
        Says(said)
    };
    struct Says(String);
    impl Service for Says {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.send(&self.0).unwrap();
        }
    }
    let router = Router::new().route("/says", Route::new(make).protocols(["v2", "v1"]));
    let server = Server::new(crate::Server::builder().router(router));
    let mut client = server
        .client()
        .header("Cookie", "a=b")
        .origin("http://localhost")
        .protocol("v1")
        .protocol("v2")
        .addr("192.0.2.7:99".parse().unwrap())
        .connect("/says?room=tea")
        .unwrap();
    let said = r#"Some("tea") Some("a=b") Some("http://localhost") Some("v2") 192.0.2.7:99"#;
    assert_eq!(client.recv_text(), said);
    assert_eq!(client.protocol().as_deref(), Some("v2"));
    assert_eq!(client.response().header("sec-websocket-protocol"), Some("v2"));
}

#[test]
fn a_refusal_is_given_whole_and_so_is_a_page() {
    let router = Router::new()
        .service("/never", |_: &Request<'_>| -> Result<Echo, Answer> {
            Err(Answer::text(403, "not you").with_header("X-Why", "because"))
        })
        .get("/", |_: &Request<'_>| Answer::page("text/html", b"<p>Hello</p>"));
    let server = Server::new(crate::Server::builder().router(router));
    let reply = server.connect("/never").unwrap_err();
    assert_eq!((reply.status, reply.header("x-why")), (403, Some("because")));
    assert_eq!(reply.text(), "not you\n");
    assert_eq!(server.connect("/nowhere").unwrap_err().status, 404);
    let page = server.get("/");
    assert_eq!((page.status, page.text()), (200, "<p>Hello</p>".into()));
    assert_eq!(page.header("content-type"), Some("text/html"));
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_topic_reaches_every_client_in_one_call() {
    struct Member(Topic);
    impl Service for Member {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
        }

        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            peer.publish(&self.0, message).unwrap();
        }
    }
    let topic = Topic::new();
    let theirs = topic.clone();
    let router = Router::new().service("/", move |_: &Request<'_>| Member(theirs.clone()));
    let server = Server::new(crate::Server::builder().router(router));
    let mut clients: Vec<_> = (0..50).map(|_| server.connect("/").unwrap()).collect();
    clients[7].send("first");
    topic.publish("second").unwrap();
    for client in &mut clients {
        assert_eq!([client.recv_text(), client.recv_text()], ["first", "second"]);
        assert_eq!(client.try_recv(), None);
    }
}

#[test]
#[cfg(feature = "deflate")]
fn compression_is_offered_where_it_is_wanted() {
    let server = Server::new(builder().deflate(crate::Deflate::default()));
    let text = "again and ".repeat(100);
    for (deflate, is_compressed) in [(None, false), (Some(crate::Deflate::default()), true)] {
        let connect = server.client();
        let connect = match deflate {
            Some(deflate) => connect.deflate(deflate),
            None => connect,
        };
        let mut client = connect.connect("/echo").unwrap();
        client.send(&text);
        client.send(&text);
        assert_eq!(client.recv_text(), text);
        let frame = client.recv_frame().unwrap();
        assert_eq!(frame.payload.len() < text.len(), is_compressed);
        assert_eq!(frame.header.rsv.bits() == 4, is_compressed);
    }
}

// ---- frames and bytes -------------------------------------------------------------------------

#[test]
fn frames_are_sent_and_seen_as_they_are() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    let mut start = Frame::new(Opcode::Text, b"He");
    start.header.fin = false;
    client.send_frame(&start);
    client.send_frame(&Frame::new(Opcode::Ping, b"?"));
    client.send_frame(&Frame::new(Opcode::Continuation, b"llo"));
    let pong = client.recv_frame().unwrap();
    assert_eq!((pong.header.opcode, &*pong.payload), (Opcode::Pong, &b"?"[..]));
    let hello = client.recv_frame().unwrap();
    assert_eq!((hello.header.opcode, &*hello.payload), (Opcode::Text, &b"Hello"[..]));
    // §5.4: nothing is there to be continued.
    client.send_frame(&Frame::new(Opcode::Continuation, b""));
    let close = client.recv_frame().unwrap();
    assert_eq!((close.header.opcode, &close.payload[..2]), (Opcode::Close, &[0x03, 0xea][..]));
    assert_eq!(client.recv_frame(), None);
    assert_eq!(client.recv(), None);
}

#[test]
fn a_stream_carries_bytes_and_tells_of_its_end() {
    let server = echo();
    let mut stream = server.open();
    stream.send_bytes("GET / HT");
    assert_eq!((stream.recv_bytes(), stream.has_ended()), (Vec::new(), false));
    stream.send_bytes("TP/1.1\r\nHost: a\r\n\r\n");
    assert!(stream.has_ended() && !stream.was_reset());
    assert!(stream.recv_bytes().starts_with(b"HTTP/1.1 404 "));
    drop(stream);

    let mut stream = server.connect("/echo").unwrap().into_stream();
    stream.send_bytes(b"\x81\x81\0\0\0\0a");
    assert_eq!(stream.recv_bytes(), b"\x81\x01a");
}

// ---- time -------------------------------------------------------------------------------------

#[test]
fn who_answers_pings_stays_for_hours_and_who_does_not_is_closed_in_time() {
    let timeouts =
        Timeouts { ping_period: Some(30 * SECOND), pong: 10 * SECOND, ..Timeouts::default() };
    let (server, told) = telling(crate::Server::builder().timeouts(timeouts));
    let mut awake = server.connect("/echo").unwrap();
    let mut asleep = server.connect("/echo").unwrap();
    asleep.ignore_pings();
    server.advance(39 * SECOND);
    assert!(asleep.is_open());
    // Deadlines are rounded up to 50 ms, each of the two.
    server.advance(SECOND + Duration::from_millis(100));
    let close = asleep.recv_close();
    assert_eq!((close.code, &*close.text), (CloseCode::INTERNAL_ERROR, "Ping timeout"));
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Pong));
    server.advance(3_600 * SECOND);
    assert_eq!((server.connections(), awake.is_open()), (1, true));
    awake.send("still here");
    assert_eq!(awake.recv_text(), "still here");
    assert_eq!(server.elapsed(), 3_640 * SECOND + Duration::from_millis(100));
}

#[test]
fn jobs_are_done_in_their_time() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let server = Server::new(builder().every(SECOND, move |now| noted.lock().unwrap().push(now)));
    let start = server.now();
    server.advance(Duration::from_millis(999));
    assert!(times.lock().unwrap().is_empty());
    server.advance(Duration::from_millis(2_001));
    assert_eq!(*times.lock().unwrap(), [1, 2, 3].map(|second| start + second * SECOND));
}

#[test]
fn sessions_wait_by_the_same_clock() {
    let builder = crate::Server::builder().websocket("/", |mut session: Session| async move {
        let mut ticks = interval(SECOND);
        for tick in 1..=3 {
            ticks.tick().await;
            session.send(format!("tick {tick}")).await?;
        }
        match timeout(60 * SECOND, session.recv()).await {
            Ok(_) => session.send("in time").await?,
            Err(Elapsed) => session.send("too late").await?,
        }
        sleep(SECOND).await;
        Ok(())
    });
    let server = Server::new(builder);
    // The first tick comes at once, so the word is waited for until 62 s have passed.
    for (wait, verdict) in [(58_900, "in time"), (59_100, "too late")] {
        let mut client = server.connect("/").unwrap();
        server.advance(3 * SECOND);
        let ticks = [client.recv_text(), client.recv_text(), client.recv_text()];
        assert_eq!(ticks, ["tick 1", "tick 2", "tick 3"]);
        server.advance(Duration::from_millis(wait));
        client.send("word");
        assert_eq!(client.recv_text(), verdict);
        server.advance(SECOND);
        assert_eq!(client.recv_close().code, CloseCode::NORMAL);
    }
}

#[test]
fn a_session_counts_from_when_it_begins_to_wait_however_long_its_worker_slept() {
    let builder = crate::Server::builder().websocket("/", |mut session: Session| async move {
        while session.recv().await.is_some() {
            sleep(2 * SECOND).await;
            session.send("awake").await?;
        }
        Ok(())
    });
    let server = Server::new(builder);
    let mut client = server.connect("/").unwrap();
    server.advance(Duration::from_secs(10));
    client.send("sleep");
    server.advance(Duration::from_millis(1_999));
    assert_eq!(client.try_recv(), None);
    server.advance(Duration::from_millis(1));
    assert_eq!(client.recv_text(), "awake");
}

#[test]
fn a_period_without_end_ticks_once() {
    let builder = crate::Server::builder().websocket("/", |session: Session| async move {
        let mut ticks = interval(Duration::MAX);
        ticks.tick().await;
        session.send("tick").await?;
        ticks.tick().await;
        session.send("another").await?;
        Ok(())
    });
    let server = Server::new(builder);
    let mut client = server.connect("/").unwrap();
    server.advance(60 * SECOND);
    assert_eq!((client.recv_text(), client.try_recv()), ("tick".into(), None));
    assert!(client.is_open());
}

#[test]
fn a_session_that_still_runs_is_dropped_with_its_server() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let builder = crate::Server::builder().websocket("/", move |mut session: Session| {
        let inside = Arc::clone(&inside);
        async move {
            session.recv().await;
            drop(inside);
            Ok(())
        }
    });
    let server = Server::new(builder);
    let client = server.connect("/").unwrap();
    assert_eq!(Arc::strong_count(&held), 3);
    drop((server, client));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_request_without_an_end_is_answered_when_its_time_is_up() {
    let server = echo();
    let mut silent = server.open();
    let mut slow = server.open();
    slow.send_bytes("GET / ");
    server.advance(9 * SECOND);
    assert!(!silent.has_ended() && !slow.has_ended());
    server.advance(2 * SECOND);
    assert!(silent.recv_bytes().is_empty() && silent.has_ended());
    assert!(slow.recv_bytes().starts_with(b"HTTP/1.1 408 "));
}

// ---- slow and broken connections ---------------------------------------------------------------

#[test]
fn who_does_not_read_is_not_read_and_loses_nothing() {
    let server =
        Server::new(builder().timeouts(Timeouts { write: 3_600 * SECOND, ..Timeouts::default() }));
    let mut client = server.connect("/echo").unwrap();
    client.stop_reading();
    let message = |number: usize| format!("{number:>1000}");
    (0..2_000).for_each(|number| client.send(message(number)));
    assert_eq!(client.try_recv(), None);
    client.read_some(10_000);
    assert_eq!(client.recv_text(), message(0));
    client.read_on();
    (1..2_000).for_each(|number| assert_eq!(client.recv_text(), message(number)));
}

#[test]
fn who_takes_nothing_for_too_long_is_dropped() {
    let timeouts = Timeouts { write: 2 * SECOND, ping_period: None, ..Timeouts::default() };
    let (server, told) = telling(crate::Server::builder().timeouts(timeouts));
    let mut client = server.connect("/echo").unwrap();
    client.stop_reading();
    client.send(vec![0; 1 << 20]);
    for _ in 0..10 {
        server.advance(SECOND);
        client.read_some(1);
    }
    assert_eq!(server.connections(), 1, "little is not nothing");
    server.advance(3 * SECOND);
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Write));
    assert_eq!(server.connections(), 0);
}

#[test]
fn every_way_to_go_is_heard_of() {
    let (server, told) = telling(crate::Server::builder());
    let connect = || server.connect("/echo").unwrap();
    let heard = || told.try_recv().expect("it has heard").cause;

    drop(connect());
    assert_eq!(heard(), CloseCause::Lost);
    let mut client = connect();
    client.cut();
    assert_eq!((heard(), client.recv()), (CloseCause::Lost, None));
    assert_eq!(client.recv_close().code, CloseCode::ABNORMAL);
    let mut client = connect();
    client.shut();
    assert_eq!((heard(), client.recv()), (CloseCause::Lost, None));
    let mut client = connect();
    client.close(CloseCode(4000), "enough");
    assert_eq!((heard(), client.recv()), (CloseCause::Peer, None));
    assert_eq!(client.close_reason().unwrap().cause, CloseCause::Local);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_close_that_is_not_answered_is_waited_for_that_long() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    client.ignore_close();
    client.send_bytes(b"\xff");
    assert_eq!(client.recv_close().code, CloseCode::PROTOCOL_ERROR);
    server.advance(4 * SECOND);
    assert_eq!(server.connections(), 1);
    server.advance(2 * SECOND);
    assert_eq!(server.connections(), 0);
}

#[test]
fn everyone_hears_1001_when_the_server_stops() {
    let server = echo();
    let mut clients: Vec<_> = (0..20).map(|_| server.connect("/echo").unwrap()).collect();
    let silent = server.open();
    server.stop();
    for client in &mut clients {
        let close = client.recv_close();
        assert_eq!((close.code, &*close.text), (CloseCode::GOING_AWAY, "server stops"));
    }
    assert!(silent.has_ended() && server.has_stopped());
    assert_eq!(server.connections(), 0);
}

#[test]
fn who_holds_up_the_end_does_so_for_5_s_at_most() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    client.ignore_close();
    server.stop();
    assert!(!server.has_stopped());
    server.advance(5 * SECOND);
    assert!(server.has_stopped());
    assert!(server.open().has_ended());
    let complaint = complaint(|| drop(server.connect("/echo")));
    assert!(complaint.ends_with("the server has ended TCP"), "{complaint}");
}

#[test]
fn limits_of_the_builder_hold() {
    let limits = Limits { max_message: 10, ..Limits::default() };
    let server = Server::new(builder().limits(limits).max_connections(2));
    let mut clients = [server.connect("/echo").unwrap(), server.connect("/echo").unwrap()];
    assert_eq!(server.connect("/echo").unwrap_err().status, 503);
    clients[0].send("12345678901");
    assert_eq!(clients[0].recv_close().code, CloseCode::MESSAGE_TOO_BIG);
    assert!(server.connect("/echo").is_ok());
}

// ---- other threads ----------------------------------------------------------------------------

#[test]
fn what_other_threads_do_is_waited_for() {
    struct Lends(mpsc::Sender<PeerHandle>);
    impl Service for Lends {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            self.0.send(peer.handle()).unwrap();
        }
    }
    let (lend, lent) = mpsc::channel();
    let router = Router::new().service("/", move |_: &Request<'_>| Lends(lend.clone()));
    let server = Server::new(crate::Server::builder().router(router));
    let mut client = server.connect("/").unwrap();
    let handle = lent.recv().unwrap();
    let sender = thread::spawn(move || handle.send("from afar").unwrap());
    let mut heard = None;
    server.run_until(
        || {
            heard = client.try_recv();
            heard.is_some()
        },
        10 * SECOND,
    );
    assert_eq!(heard, Some("from afar".into()));
    sender.join().unwrap();
    let complaint = complaint(|| server.run_until(|| false, Duration::from_millis(5)));
    assert_eq!(complaint, "what was waited for has not come in 5ms");
}

// ---- the same again ---------------------------------------------------------------------------

#[test]
fn the_same_scenario_has_the_same_bytes_and_another_seed_has_others() {
    fn scenario(seed: u64) -> (u64, Vec<u8>) {
        let server = Server::with_seed(builder(), seed);
        let mut clients: Vec<_> = (0..5).map(|_| server.connect("/echo").unwrap()).collect();
        let mut keys = Vec::new();
        for (round, client) in clients.iter_mut().enumerate() {
            client.send(format!("round {round}"));
            client.recv_text();
            server.advance(7 * SECOND);
        }
        // The key is in the request, and in the answer what was made of it.
        keys.extend(clients[0].response().header("Sec-WebSocket-Accept").unwrap().bytes());
        clients[2].cut();
        server.advance(90 * SECOND);
        server.stop();
        (server.fingerprint(), keys)
    }
    assert_eq!(scenario(7), scenario(7));
    assert_ne!(scenario(7).0, scenario(8).0);
    assert_ne!(scenario(7).1, scenario(8).1);
}

// ---- what cannot be ----------------------------------------------------------------------------

#[test]
fn what_cannot_come_is_said_and_not_waited_for() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    assert_eq!(
        complaint(|| drop(client.recv())),
        "client 0 at \"/echo\" expected a message, and none comes: all is quiet before time passes. The \
         server's next deadline is in 10.05s: `advance` lets it come"
    );
    client.send("text");
    assert_eq!(
        complaint(|| drop(client.recv_binary())),
        "client 0 at \"/echo\" expected a binary message, and heard Text(\"text\")"
    );
    client.stop_reading();
    assert!(complaint(|| drop(client.recv_frame())).ends_with("`read_on` has it go on"));
    client.read_on();
    client.close(CloseCode::NORMAL, "bye");
    assert_eq!(
        complaint(|| drop(client.recv_text())),
        "client 0 at \"/echo\" expected a text, and its connection was closed here, 1000 \"bye\""
    );
    assert!(complaint(|| client.send("late")).starts_with("client 0 at \"/echo\" cannot send"));
    assert!(complaint(|| drop(server.connect("no slash"))).contains("\"no slash\""));
}

#[test]
fn work_without_end_is_found_out() {
    struct Spins;
    impl Service for Spins {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.tasks().call(peer.id());
        }

        fn woken(&mut self, peer: &mut Peer<'_>) {
            peer.tasks().call(peer.id());
        }
    }
    let server = Server::new(
        crate::Server::builder().router(Router::new().service("/", |_: &Request<'_>| Spins)),
    );
    let complaint = complaint(|| drop(server.connect("/")));
    assert!(complaint.starts_with("the server has work without end"), "{complaint}");
}

#[test]
fn an_answer_may_take_its_time() {
    /// Whether the door is open, and who waits for that.
    #[derive(Default)]
    struct Door(Mutex<(bool, Vec<Waker>)>);

    impl Door {
        fn poll(&self, context: &Context<'_>) -> Poll<()> {
            let mut door = self.0.lock().unwrap();
            door.1.push(context.waker().clone());
            if door.0 { Poll::Ready(()) } else { Poll::Pending }
        }

        fn open(&self) {
            let mut door = self.0.lock().unwrap();
            door.0 = true;
            door.1.drain(..).for_each(Waker::wake);
        }
    }

    let door = Arc::<Door>::default();
    let theirs = Arc::clone(&door);
    let route = Route::deciding(move |_| {
        let door = Arc::clone(&theirs);
        async move {
            poll_fn(|context| door.poll(context)).await;
            Echo(None)
        }
    });
    let server = Server::new(crate::Server::builder().route("/", route));
    let pending = server.client().start("/");
    assert!(!pending.is_answered());
    let complaint = complaint(|| drop(server.connect("/")));
    assert!(complaint.contains("expected an answer to its request"), "{complaint}");
    door.open();
    let mut client = pending.finish().unwrap();
    client.send("in");
    assert_eq!(client.recv_text(), "in");
}

#[test]
fn who_is_decided_on_later_may_listen_later_still() {
    struct Deaf;
    impl Service for Deaf {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.pause_reading();
        }

        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            peer.send(message).unwrap();
        }
    }
    let route = Route::deciding(|_| async { Deaf });
    let server = Server::new(crate::Server::builder().router(Router::new().route("/", route)));
    let mut client = server.connect("/").unwrap();
    client.send("is anybody there?");
    assert_eq!(client.try_recv(), None);
}
