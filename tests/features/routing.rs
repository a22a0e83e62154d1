//! Routes, and what handlers know of who comes by them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use chinwag::{
    Answer, CloseCode, Frame, Message, Opcode, Peer, RawSession, Request, Route, Server, Service,
    Session, session, testing,
};

use crate::{FACES, SECOND, echo, serve};

/// Says something when it opens.
struct Says(String);

impl Service for Says {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.send(&self.0).unwrap();
    }
}

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
fn row_15_a_session_is_the_whole_life_of_a_connection() {
    let inside = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&inside);
    let server = serve(move |mut session| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            while session.recv().await.is_some() {}
            count.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        }
    });
    let clients = [(); 3].map(|()| server.connect("/").unwrap());
    assert_eq!(inside.load(Ordering::Relaxed), 3);
    drop(clients);
    assert_eq!((inside.load(Ordering::Relaxed), server.connections()), (0, 0));
}

#[test]
fn row_16_raw_gives_every_frame_and_answers_nothing() {
    type Bare = (Opcode, bool, Vec<u8>);

    #[derive(Clone, Default)]
    struct Raw(Arc<Mutex<Vec<Bare>>>);

    impl Service for Raw {
        fn frame(&mut self, _: &mut Peer<'_>, frame: Frame<'_>) {
            self.0.lock().unwrap().push((frame.opcode, frame.fin, frame.payload.to_vec()));
        }
    }

    let raw = Raw::default();
    let theirs = raw.clone();
    let builder = Server::builder().ping_period(SECOND).timeout(SECOND);
    let server =
        testing::Server::new(builder.service_raw("/raw", move |_: &Request<'_>| theirs.clone()));
    let mut client = server.connect("/raw").unwrap();
    let mut start = Frame::new(Opcode::Text, b"He");
    start.fin = false;
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
fn row_16_raw_sessions_have_every_frame() {
    let builder = Server::builder().websocket_raw("/", |mut session: RawSession| async move {
        for expected in [Opcode::Ping, Opcode::Text, Opcode::Continuation, Opcode::Close] {
            let frame = session.recv().await.expect("a frame");
            assert_eq!(frame.opcode, expected);
            if expected == Opcode::Continuation {
                session.send(frame).await.expect_err("it continues nothing");
                session.send(Frame::new(Opcode::Text, b"heard")).await?;
            }
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    client.ping(b"nobody answers");
    let mut start = Frame::new(Opcode::Text, b"He");
    start.fin = false;
    client.send_frame(&start);
    client.send_frame(&Frame::new(Opcode::Continuation, b"llo"));
    assert_eq!(client.recv_text(), "heard");
    client.close(CloseCode(4000), "mine");
    // The handler returns, and has not answered by itself.
    assert_eq!(client.recv_frame().unwrap().opcode, Opcode::Close);
    assert_eq!((client.recv_frame(), server.counters().panics.get()), (None, 0));
}

#[test]
fn row_17_a_route_for_a_subprotocol() {
    let service = |text: &'static str| Route::new(move |_: &Request<'_>| Says(text.into()));
    let session = |text: &'static str| {
        Route::session(move |session: Session| async move {
            session.send(text).await?;
            Ok(())
        })
    };
    let (first, second) = ("the first version", "the second version");
    let builder = Server::builder()
        .route(FACES[0], service(second).only_protocols(["chat.v2"]))
        .route(FACES[0], service(first).only_protocols(["chat.v1"]))
        .route(FACES[1], session(second).only_protocols(["chat.v2"]))
        .route(FACES[1], session(first).only_protocols(["chat.v1"]));
    let server = testing::Server::new(builder);
    for face in FACES {
        for (offered, agreed, said) in [
            (&["chat.v1"][..], "chat.v1", first),
            (&["chat.v2"], "chat.v2", second),
            (&["other", "chat.v1", "chat.v2"], "chat.v2", second),
        ] {
            let offer =
                offered.iter().fold(server.client(), |connect, name| connect.protocol(*name));
            let mut client = offer.connect(face).unwrap();
            assert_eq!(client.protocol().as_deref(), Some(agreed), "{face}");
            assert_eq!(client.recv_text(), said, "{face}");
        }
        assert_eq!(server.connect(face).unwrap_err().status, 400, "{face}");
        let refused = server.client().protocol("other").connect(face).unwrap_err();
        assert_eq!(refused.status, 400, "{face}");
    }
}

#[test]
fn row_18_what_is_known_of_the_client() {
    fn told(request: &Request<'_>) -> String {
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {}",
            request.path(),
            request.param("name"),
            request.query("as"),
            request.header("user-agent"),
            request.cookie("id"),
            request.protocol(),
            request.addr(),
        )
    }

    let service = Route::new(|request: &Request<'_>| Says(told(request)));
    let session = Route::session(|session: Session| async move {
        let told = told(&session.request());
        session.send(told).await?;
        Ok(())
    });
    let builder = Server::builder()
        .route("/service/{name}", service.protocols(["v1"]))
        .route("/session/{name}", session.protocols(["v1"]));
    let server = testing::Server::new(builder);
    for face in FACES {
        let client = server
            .client()
            .addr("192.0.2.1:5000".parse().unwrap())
            .header("User-Agent", "test")
            .header("Cookie", "a=b; id=7")
            .protocol("v1")
            .connect(&format!("{face}/t%C3%A9a?as=Anna+B"));
        let known =
            r#"Some("téa") Some("Anna B") Some("test") Some("7") Some("v1") 192.0.2.1:5000"#;
        assert_eq!(client.unwrap().recv_text(), format!("{face}/t%C3%A9a {known}"));
    }
}

#[test]
fn row_19_long_lived_handlers_wait_side_by_side() {
    // What it knows is in local variables, across all that it waits for.
    let server = serve(|mut session| async move {
        let mut sum = 0;
        for _ in 0..3 {
            let Some(Message::Text(number)) = session.recv().await else { return Ok(()) };
            sum += number.parse::<u64>()?;
            session::sleep(SECOND).await;
        }
        session.send(sum.to_string()).await?;
        Ok(())
    });
    let mut clients: Vec<_> = (0..100).map(|_| server.connect("/").unwrap()).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send((number * 10 + round).to_string());
        }
        server.advance(2 * SECOND);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.recv_text(), (number * 30 + 3).to_string());
    }
}
