//! The features of chinwag one by one, in memory: each test is named after its row of the list.
//!
//! What needs sockets, such as binding a port or a browser, is tested elsewhere.

#[cfg(feature = "deflate")]
#[path = "features/compression.rs"]
mod compression;
#[path = "features/configuration.rs"]
mod configuration;
#[path = "features/demos.rs"]
mod demos;
#[cfg(feature = "cookies")]
#[path = "features/pages.rs"]
mod pages;
#[path = "features/sessions.rs"]
mod sessions;
#[cfg(feature = "json")]
#[path = "features/values.rs"]
mod values;

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use chinwag::{
    Answer, CloseCause, CloseCode, CloseReason, Frame, Message, Opcode, Peer, Request, Route,
    SendError, Server, ServerBuilder, Service, Session, Timeouts,
    testing::{self, Client},
};

const SECOND: Duration = Duration::from_secs(1);

// ---- services that the rows share ---------------------------------------------------------------

/// Echoes.
struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

/// Answers messages by calling a closure.
struct Does<F>(F);

impl<F: FnMut(&mut Peer<'_>, Message<'_>)> Service for Does<F> {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        (self.0)(peer, message);
    }
}

/// Writes down what it is told of, in the words of the browsers' events.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// What was written since this was last asked.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Service for Diary {
    fn opened(&mut self, _: &mut Peer<'_>) {
        self.note("onConnect");
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>) {
        match message {
            Message::Text(text) => self.note(format!("onMessage {text}")),
            Message::Binary(bytes) => self.note(format!("onMessage {} bytes", bytes.len())),
        }
    }

    fn closed(&mut self, reason: &CloseReason) {
        let event = match reason.cause {
            CloseCause::Peer | CloseCause::Local | CloseCause::Answered(_) => "onClose",
            CloseCause::Protocol(_) | CloseCause::Timeout(_) | CloseCause::Lost => "onError",
        };
        self.note(format!("{event} {} {:?}", reason.code, reason.text));
    }
}

fn diary() -> (testing::Server, Diary) {
    let diary = Diary::default();
    let theirs = diary.clone();
    let server = Server::builder().service("/", move |_: &Request<'_>| theirs.clone());
    (testing::Server::new(server), diary)
}

fn echo() -> ServerBuilder {
    Server::builder().service("/echo", |_: &Request<'_>| Echo)
}

/// A server whose only route answers messages by calling `does`.
fn does<F>(does: F) -> testing::Server
where
    F: Fn(&mut Peer<'_>, Message<'_>) + Clone + Send + Sync + 'static,
{
    let make = move |_: &Request<'_>| Does(does.clone());
    testing::Server::new(Server::builder().service("/", make))
}

fn close_of(client: &mut Client) -> (u16, String) {
    let CloseReason { code, text, .. } = client.recv_close();
    (code.0, text.into())
}

/// The frames that a client has heard by now: first bytes of their headers, and payloads.
fn opcodes(client: &mut Client, count: usize) -> Vec<Opcode> {
    (0..count).map(|_| client.recv_frame().expect("a frame").header.opcode).collect()
}

// ---- configuration ------------------------------------------------------------------------------

#[test]
fn row_02_ping_period() {
    let server = testing::Server::new(echo().ping_period(15 * SECOND));
    let mut client = server.connect("/echo").unwrap();
    server.advance(14 * SECOND);
    client.send("who talks is not pinged");
    assert_eq!(opcodes(&mut client, 1), [Opcode::Text]);
    server.advance(14 * SECOND);
    client.send("and now it is quiet");
    assert_eq!(opcodes(&mut client, 1), [Opcode::Text]);
    server.advance(16 * SECOND);
    assert_eq!(opcodes(&mut client, 1), [Opcode::Ping]);
    // Each has a payload of its own, and the client's Pong has brought the next.
    server.advance(16 * SECOND);
    assert_eq!(opcodes(&mut client, 1), [Opcode::Ping]);

    let server = testing::Server::new(echo().ping_period(None));
    let mut client = server.connect("/echo").unwrap();
    server.advance(24 * 3_600 * SECOND);
    client.send("there?");
    assert_eq!(opcodes(&mut client, 1), [Opcode::Text], "no Ping has come before");
}

#[test]
fn row_03_timeout() {
    let builder = echo().ping_period(15 * SECOND).timeout(15 * SECOND);
    let server = testing::Server::new(builder);
    let mut asleep = server.connect("/echo").unwrap();
    let awake = server.connect("/echo").unwrap();
    asleep.ignore_pings();
    server.advance(29 * SECOND);
    assert!(asleep.is_open());
    server.advance(2 * SECOND);
    assert_eq!(close_of(&mut asleep), (1011, "Ping timeout".into()));
    assert!(awake.is_open());

    // A Pong with another payload does not count, nor does anything else that is said.
    let mut client = server.connect("/echo").unwrap();
    client.ignore_pings();
    for _ in 0..31 {
        server.advance(SECOND);
        if client.is_open() && server.elapsed() > 48 * SECOND {
            client.send_frame(&Frame::new(Opcode::Pong, b"not yours"));
            client.send("I am here");
        }
    }
    assert_eq!(client.close_reason().unwrap().code, CloseCode::INTERNAL_ERROR);

    let server = testing::Server::new(echo().ping_period(None).timeout(SECOND));
    let client = server.connect("/echo").unwrap();
    server.advance(3_600 * SECOND);
    assert!(client.is_open(), "of no effect where no pings are sent");
}

#[test]
fn row_04_max_frame_size() {
    let server = testing::Server::new(echo().max_frame_size(1_000));
    let mut client = server.connect("/echo").unwrap();
    client.send(vec![7; 1_000]);
    assert_eq!(client.recv_binary(), [7; 1_000]);
    client.send(vec![7; 1_001]);
    assert_eq!(client.recv_close().code, CloseCode::MESSAGE_TOO_BIG);

    // Of fragments the sum counts.
    let mut client = server.connect("/echo").unwrap();
    for opcode in [Opcode::Binary, Opcode::Continuation, Opcode::Continuation] {
        let mut frame = Frame::new(opcode, &[7; 400]);
        frame.header.fin = false;
        client.send_frame(&frame);
    }
    assert_eq!(client.recv_close().code, CloseCode::MESSAGE_TOO_BIG);
}

#[test]
fn row_09_served_with_default_configuration() {
    // The address is for sockets; that a builder needs nothing but a route is shown here.
    let server = testing::Server::new(echo());
    let mut client = server.connect("/echo").unwrap();
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello");
}

// ---- routing ------------------------------------------------------------------------------------

#[test]
fn row_15_sockets_live_next_to_pages() {
    let builder = echo()
        .get("/", |_: &Request<'_>| Answer::text(200, "Hello, world!"))
        .get("/echo", |_: &Request<'_>| Answer::text(200, "open me with a WebSocket"));
    let server = testing::Server::new(builder);
    assert_eq!(server.get("/").text(), "Hello, world!\n");
    assert_eq!(server.get("/echo").text(), "open me with a WebSocket\n");
    assert_eq!(server.get("/nowhere").status, 404);
    assert_eq!(server.connect("/nowhere").unwrap_err().status, 404);
    let mut client = server.connect("/echo").unwrap();
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello");
}

#[test]
fn row_16_raw_gives_every_frame_and_answers_nothing() {
    type Bare = (Opcode, bool, Vec<u8>);

    #[derive(Clone, Default)]
    struct Raw(Arc<Mutex<Vec<Bare>>>);

    impl Service for Raw {
        fn frame(&mut self, _: &mut Peer<'_>, frame: Frame<'_>) {
            let header = frame.header;
            self.0.lock().unwrap().push((header.opcode, header.fin, frame.payload.to_vec()));
        }
    }

    let raw = Raw::default();
    let theirs = raw.clone();
    let builder = Server::builder().ping_period(SECOND).timeout(SECOND);
    let server =
        testing::Server::new(builder.service_raw("/raw", move |_: &Request<'_>| theirs.clone()));
    let mut client = server.connect("/raw").unwrap();
    let mut start = Frame::new(Opcode::Text, b"He");
    start.header.fin = false;
    client.send_frame(&start);
    client.send_frame(&Frame::new(Opcode::Ping, b"?"));
    client.send_frame(&Frame::new(Opcode::Continuation, b"llo"));
    server.advance(3_600 * SECOND);
    client.close(CloseCode::NORMAL, "bye");
    let expected = [
        (Opcode::Text, false, b"He".to_vec()),
        (Opcode::Ping, true, b"?".to_vec()),
        (Opcode::Continuation, true, b"llo".to_vec()),
        (Opcode::Close, true, b"\x03\xe8bye".to_vec()),
    ];
    assert_eq!(*raw.0.lock().unwrap(), expected);
    // No Pong, no Ping of the server's own, no answer to the Close.
    assert!(client.try_recv().is_none());
    server.advance(10 * SECOND);
    assert_eq!(client.recv_frame(), None);
}

#[test]
fn row_17_a_route_for_a_subprotocol() {
    struct Says(&'static str);

    impl Service for Says {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.send(self.0).unwrap();
        }
    }

    let says = |text| Route::new(move |_: &Request<'_>| Says(text));
    let builder = Server::builder()
        .route("/chat", says("the second version").only_protocols(["chat.v2"]))
        .route("/chat", says("the first version").only_protocols(["chat.v1"]));
    let server = testing::Server::new(builder);
    for (offered, agreed, said) in [
        (&["chat.v1"][..], "chat.v1", "the first version"),
        (&["chat.v2"], "chat.v2", "the second version"),
        (&["other", "chat.v1", "chat.v2"], "chat.v2", "the second version"),
    ] {
        let connect = offered.iter().fold(server.client(), |connect, name| connect.protocol(*name));
        let mut client = connect.connect("/chat").unwrap();
        assert_eq!(client.protocol().as_deref(), Some(agreed));
        assert_eq!(client.recv_text(), said);
    }
    assert_eq!(server.connect("/chat").unwrap_err().status, 400);
    assert_eq!(server.client().protocol("other").connect("/chat").unwrap_err().status, 400);
}

#[test]
fn row_18_what_is_known_of_the_client() {
    struct Says(String);

    impl Service for Says {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            assert_eq!(peer.addr().to_string(), "192.0.2.1:5000");
            peer.send(&self.0).unwrap();
        }
    }

    let builder = Server::builder().service("/room/{name}", |request: &Request<'_>| {
        Says(format!(
            "{} {:?} {:?} {:?} {:?} {}",
            request.path(),
            request.param("name"),
            request.query("as"),
            request.header("user-agent"),
            request.cookie("id"),
            request.addr(),
        ))
    });
    let server = testing::Server::new(builder);
    let mut client = server
        .client()
        .addr("192.0.2.1:5000".parse().unwrap())
        .header("User-Agent", "test")
        .header("Cookie", "a=b; id=7")
        .connect("/room/t%C3%A9a?as=Anna+B")
        .unwrap();
    let said = r#"/room/t%C3%A9a Some("téa") Some("Anna B") Some("test") Some("7") 192.0.2.1:5000"#;
    assert_eq!(client.recv_text(), said);
}

// ---- what a connection can do -------------------------------------------------------------------

#[test]
fn row_20_send_text_and_nothing_after_a_close() {
    let server = does(|peer, _| {
        peer.send("text").unwrap();
        peer.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(peer.send("too late"), Err(SendError::NotOpen));
        assert_eq!(peer.ping(b""), Err(SendError::NotOpen));
    });
    let mut client = server.connect("/").unwrap();
    client.send("go");
    assert_eq!(client.recv_text(), "text");
    assert_eq!(close_of(&mut client), (1000, "".into()));
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn row_21_what_is_sent_waits_for_a_slow_peer() {
    let (buffered, most) = mpsc::channel();
    let server = does(move |peer, message| {
        peer.send(message).unwrap();
        buffered.send(peer.buffered()).unwrap();
    });
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    let message = |number: usize| format!("{number:>1000}");
    (0..1_000).for_each(|number| client.send(message(number)));
    // It is not read from while so much waits for it, so what waits is bounded.
    let most = most.try_iter().max().unwrap();
    assert!((256 << 10..=260 << 10).contains(&most), "{most} bytes wait");
    client.read_on();
    (0..1_000).for_each(|number| assert_eq!(client.recv_text(), message(number)));
}

#[test]
fn row_22_messages_come_one_by_one_and_then_the_end() {
    let (server, diary) = diary();
    let mut client = server.connect("/").unwrap();
    ["one", "two", "three"].iter().for_each(|text| client.send(*text));
    client.close(CloseCode::NORMAL, "");
    assert_eq!(
        diary.read(),
        ["onConnect", "onMessage one", "onMessage two", "onMessage three", "onClose 1000 \"\""]
    );
}

#[test]
fn row_23_control_frames_are_hidden_and_fragments_joined() {
    let (server, diary) = diary();
    let mut client = server.connect("/").unwrap();
    for (opcode, fin, payload) in [
        (Opcode::Text, false, &b"He"[..]),
        (Opcode::Ping, true, b"?"),
        (Opcode::Continuation, false, b"l"),
        (Opcode::Pong, true, b"!"),
        (Opcode::Continuation, true, b"lo"),
    ] {
        let mut frame = Frame::new(opcode, payload);
        frame.header.fin = fin;
        client.send_frame(&frame);
    }
    client.close(CloseCode::NORMAL, "");
    assert_eq!(diary.read(), ["onConnect", "onMessage Hello", "onClose 1000 \"\""]);
    let pong = client.recv_frame().unwrap();
    assert_eq!((pong.header.opcode, &*pong.payload), (Opcode::Pong, &b"?"[..]));
}

#[test]
fn row_24_frames_of_every_kind_and_where_tcp_cuts_does_not_matter() {
    for capacity in [1, 3, 64 << 10] {
        let server = testing::Server::new(echo());
        let mut client = server.client().capacity(capacity).connect("/echo").unwrap();
        client.send("text");
        client.send(&b"bytes"[..]);
        client.ping(b"ping");
        client.close(CloseCode(4000), "reason");
        let kinds = [Opcode::Text, Opcode::Binary, Opcode::Pong, Opcode::Close];
        assert_eq!(opcodes(&mut client, 4), kinds, "{capacity} bytes at a time");
        assert_eq!(client.recv_frame(), None);
    }
}

#[test]
fn row_25_other_kinds_of_messages_are_tolerated() {
    let server = does(|peer, message| {
        if let Message::Text(text) = message {
            peer.send(format!("heard {text}")).unwrap();
        }
    });
    let mut client = server.connect("/").unwrap();
    client.send(&b"bytes"[..]);
    client.send_frame(&Frame::new(Opcode::Pong, b"unasked"));
    client.send("text");
    assert_eq!(client.recv_text(), "heard text");
}

#[test]
fn row_26_close_with_a_reason() {
    let longest = "x".repeat(123);
    let reason = longest.clone();
    let server = does(move |peer, message| match message.as_bytes() {
        b"wrong" => {
            assert_eq!(
                peer.close(CloseCode::NORMAL, &"x".repeat(124)),
                Err(SendError::ReasonTooLong { len: 124 })
            );
            for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
                let refused = Err(SendError::InvalidCloseCode { code });
                assert_eq!(peer.close(CloseCode(code), ""), refused);
            }
            peer.send("still open").unwrap();
        }
        code => {
            let code = str::from_utf8(code).unwrap().parse().unwrap();
            peer.close(CloseCode(code), &reason).unwrap();
        }
    });
    let mut client = server.connect("/").unwrap();
    client.send("wrong");
    assert_eq!(client.recv_text(), "still open");
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 4999]) {
        let mut client = server.connect("/").unwrap();
        client.send(code.to_string());
        assert_eq!(close_of(&mut client), (code, longest.clone()));
    }
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn row_27_the_handler_returns() {
    let builder = Server::builder().websocket("/", |mut session: Session| async move {
        session.recv().await;
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    client.send("the only word");
    assert_eq!(close_of(&mut client), (1000, "".into()));
}

#[test]
fn row_28_a_close_is_answered_with_its_own_reason() {
    for (sent, answered) in [
        (&b""[..], &b"\x03\xe8OK"[..]),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x03\xe9going", b"\x03\xe9going"),
        (b"\x0f\xa0mine", b"\x0f\xa0mine"),
    ] {
        let (server, diary) = diary();
        let mut client = server.connect("/").unwrap();
        client.send_frame(&Frame::new(Opcode::Close, sent));
        let close = client.recv_frame().unwrap();
        assert_eq!((close.header.opcode, &*close.payload), (Opcode::Close, answered));
        assert_eq!(client.recv_frame(), None, "the server ends TCP");
        assert_eq!(diary.read().len(), 2);
    }
}

#[test]
fn row_29_a_connection_lost_without_a_close() {
    type Way = fn(&mut Client);
    let ways: [(&str, Way); 2] =
        [("an end", |client| client.shut()), ("a reset", |client| client.cut())];
    for (name, go) in ways {
        let (server, diary) = diary();
        let mut client = server.connect("/").unwrap();
        go(&mut client);
        let lost = "onError 1006 \"connection was closed without close frame\"";
        assert_eq!(diary.read(), ["onConnect", lost], "{name}");
        assert_eq!(client.recv_frame(), None, "{name}: nothing is sent");
        assert_eq!(server.connections(), 0, "{name}");
    }
}

#[test]
fn row_30_the_close_reason_whatever_ended_it() {
    let timeouts = Timeouts { ping_period: Some(SECOND), pong: SECOND, ..Timeouts::default() };
    type Way = fn(&testing::Server, &mut Client);
    let ways: [(Way, &str); 5] = [
        (|_, client| client.close(CloseCode(4000), "mine"), "onClose 4000 \"mine\""),
        (|_, client| client.send_frame(&Frame::new(Opcode::Close, b"")), "onClose 1005 \"\""),
        (
            |_, client| client.send_bytes(b"\x81\x01a"),
            "onError 1002 \"a client must mask its frames\"",
        ),
        (
            |server, client| {
                client.ignore_pings();
                server.advance(3 * SECOND);
            },
            "onError 1011 \"Ping timeout\"",
        ),
        (|server, _| server.stop(), "onClose 1001 \"server stops\""),
    ];
    for (end, expected) in ways {
        let diary = Diary::default();
        let theirs = diary.clone();
        let builder = Server::builder().service("/", move |_: &Request<'_>| theirs.clone());
        let server = testing::Server::new(builder.timeouts(timeouts.clone()));
        let mut client = server.connect("/").unwrap();
        end(&server, &mut client);
        assert_eq!(diary.read(), ["onConnect", expected]);
    }
}

#[test]
fn row_31_events_in_their_order() {
    let (server, diary) = diary();
    let mut client = server.connect("/").unwrap();
    assert_eq!(diary.read(), ["onConnect"]);
    client.send("one");
    assert_eq!(diary.read(), ["onMessage one"]);
    client.send(vec![0; 3]);
    assert_eq!(diary.read(), ["onMessage 3 bytes"]);
    client.close(CloseCode::NORMAL, "enough");
    assert_eq!(diary.read(), ["onClose 1000 \"enough\""]);

    let mut client = server.connect("/").unwrap();
    client.send("one");
    client.cut();
    let lost = "onError 1006 \"connection was closed without close frame\"";
    assert_eq!(diary.read(), ["onConnect", "onMessage one", lost]);
}

// ---- tests without a network --------------------------------------------------------------------

#[test]
fn row_46_a_conversation_in_process() {
    let builder = Server::builder().websocket("/echo", |mut session: Session| async move {
        session.send("Please enter your name").await?;
        while let Some(message) = session.recv().await {
            let Message::Text(name) = message else { continue };
            if name.eq_ignore_ascii_case("bye") {
                return session.close(CloseCode::NORMAL, "Client said BYE").await;
            }
            session.send(format!("Hi, {name}!")).await?;
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/echo").unwrap();
    assert_eq!(client.recv_text(), "Please enter your name");
    client.send("JetBrains");
    assert_eq!(client.recv_text(), "Hi, JetBrains!");
    client.send("bye");
    let frame = client.recv_frame().expect("the Close frame is there to be seen");
    assert_eq!(frame.header.opcode, Opcode::Close);
    assert_eq!(&*frame.payload, b"\x03\xe8Client said BYE");
    assert_eq!(close_of(&mut client), (1000, "Client said BYE".into()));
    assert_eq!(client.recv(), None);
}
