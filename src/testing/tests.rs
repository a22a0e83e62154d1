//! What the harness promises to those who test with it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
};

use super::*;
use crate::{
    Answer, CloseCause, CloseCode, CloseReason, Frame, Message, Opcode, Peer, Request, Route,
    Router, Service, Timeouts, Topic, protocol::close::Timeout,
};

mod faults;
mod time;

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
        assert_eq!(frame.rsv.bits() == 4, is_compressed);
    }
}

// ---- frames and bytes -------------------------------------------------------------------------

#[test]
fn frames_are_sent_and_seen_as_they_are() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    let mut start = Frame::new(Opcode::Text, b"He");
    start.fin = false;
    client.send_frame(&start);
    client.send_frame(&Frame::new(Opcode::Ping, b"?"));
    client.send_frame(&Frame::new(Opcode::Continuation, b"llo"));
    let pong = client.recv_frame().unwrap();
    assert_eq!((pong.opcode, &*pong.payload), (Opcode::Pong, &b"?"[..]));
    let hello = client.recv_frame().unwrap();
    assert_eq!((hello.opcode, &*hello.payload), (Opcode::Text, &b"Hello"[..]));
    // §5.4: nothing is there to be continued.
    client.send_frame(&Frame::new(Opcode::Continuation, b""));
    let close = client.recv_frame().unwrap();
    assert_eq!((close.opcode, &close.payload[..2]), (Opcode::Close, &[0x03, 0xea][..]));
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

#[test]
fn bytes_that_are_queued_by_several_are_served_in_one_turn() {
    let server = echo();
    let connect = || server.connect("/echo").unwrap().into_stream();
    let mut streams = [connect(), connect()];
    server.advance(Duration::ZERO);
    let turns = server.turns();
    streams.iter_mut().for_each(|stream| stream.queue_bytes(b"\x81\x81\0\0\0\0a"));
    assert_eq!((streams[0].unsent(), server.turns()), (7, turns), "nothing has happened yet");
    server.advance(Duration::ZERO);
    assert_eq!((streams[0].unsent(), server.turns()), (0, turns + 1));
    assert!(streams.iter_mut().all(|stream| stream.recv_bytes() == b"\x81\x01a"));
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
