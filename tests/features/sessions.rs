//! The same rows from a session's side.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chinwag::{
    CloseCause, CloseCode, Frame, Message, Opcode, RawSession, Route, SendError, Server, Session,
    session,
    testing::{self, Client},
};

use crate::{Diary, SECOND, close_of};

/// A server whose only route is a session of `handler`.
fn serve<F, R>(handler: F) -> testing::Server
where
    F: Fn(Session) -> R + Send + Sync + 'static,
    R: Future<Output = session::Result> + 'static,
{
    testing::Server::new(Server::builder().websocket("/", handler))
}

/// Writes down what a session sees, in the words of the browsers' events.
fn diary() -> (testing::Server, Diary) {
    let diary = Diary::default();
    let theirs = diary.clone();
    let builder = Server::builder().ping_period(SECOND).timeout(SECOND);
    let server = builder.websocket("/", move |mut session: Session| {
        let diary = theirs.clone();
        async move {
            diary.note("onConnect");
            while let Some(message) = session.recv().await {
                match message {
                    Message::Text(text) => diary.note(format!("onMessage {text}")),
                    Message::Binary(bytes) => {
                        diary.note(format!("onMessage {} bytes", bytes.len()));
                    }
                }
            }
            let reason = session.close_reason().expect("it has ended");
            let event = match reason.cause {
                CloseCause::Peer | CloseCause::Local | CloseCause::Answered(_) => "onClose",
                CloseCause::Protocol(_) | CloseCause::Timeout(_) | CloseCause::Lost => "onError",
            };
            diary.note(format!("{event} {} {:?}", reason.code, reason.text));
            Ok(())
        }
    });
    (testing::Server::new(server), diary)
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
fn row_16_raw_sessions_have_every_frame() {
    let builder = Server::builder().websocket_raw("/", |mut session: RawSession| async move {
        for expected in [Opcode::Ping, Opcode::Text, Opcode::Continuation, Opcode::Close] {
            let frame = session.recv().await.expect("a frame");
            assert_eq!(frame.header.opcode, expected);
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
    start.header.fin = false;
    client.send_frame(&start);
    client.send_frame(&Frame::new(Opcode::Continuation, b"llo"));
    assert_eq!(client.recv_text(), "heard");
    client.close(CloseCode(4000), "mine");
    // The handler returns, and has not answered by itself.
    assert_eq!(client.recv_frame().unwrap().header.opcode, Opcode::Close);
    assert_eq!((client.recv_frame(), server.counters().panics.get()), (None, 0));
}

#[test]
fn row_17_a_session_for_a_subprotocol() {
    let says = |text: &'static str| {
        Route::session(move |session: Session| async move {
            assert_eq!(session.request().protocol(), Some(text));
            session.send(text).await?;
            Ok(())
        })
        .only_protocols([text])
    };
    let builder = Server::builder().route("/", says("v2")).route("/", says("v1"));
    let server = testing::Server::new(builder);
    for name in ["v1", "v2"] {
        let mut client = server.client().protocol(name).connect("/").unwrap();
        assert_eq!((client.protocol().as_deref(), &*client.recv_text()), (Some(name), name));
    }
}

#[test]
fn row_18_a_session_knows_its_client() {
    let builder = Server::builder().websocket("/room/{name}", |session: Session| async move {
        let request = session.request();
        let text = format!(
            "{:?} {:?} {:?} {:?} {}",
            request.param("name"),
            request.query("as"),
            request.header("user-agent"),
            request.cookie("id"),
            request.addr(),
        );
        session.send(text).await?;
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server
        .client()
        .addr("192.0.2.1:5000".parse().unwrap())
        .header("User-Agent", "test")
        .header("Cookie", "a=b; id=7")
        .connect("/room/tea?as=Anna")
        .unwrap();
    let said = r#"Some("tea") Some("Anna") Some("test") Some("7") 192.0.2.1:5000"#;
    assert_eq!(client.recv_text(), said);
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

#[test]
fn row_20_a_session_sends_text_and_nothing_after_a_close() {
    let server = serve(|session| async move {
        session.send("text").await?;
        session.close(CloseCode::NORMAL, "").await?;
        assert_eq!(session.send("too late").await, Err(SendError::NotOpen));
        Ok(())
    });
    let mut client = server.connect("/").unwrap();
    assert_eq!(client.recv_text(), "text");
    assert_eq!(close_of(&mut client), (1000, "".into()));
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn row_21_sending_waits_for_a_slow_peer() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let server = serve(move |mut session| {
        let count = Arc::clone(&count);
        async move {
            session.recv().await;
            for number in 0..1_000 {
                session.send(format!("{number:>10000}")).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    client.send("go");
    let waiting = sent.load(Ordering::Relaxed);
    assert!((10..60).contains(&waiting), "{waiting} were sent to who reads nothing");
    server.advance(SECOND);
    assert_eq!(sent.load(Ordering::Relaxed), waiting, "it waits");
    client.read_on();
    (0..1_000).for_each(|number| assert_eq!(client.recv_text(), format!("{number:>10000}")));
    assert_eq!(close_of(&mut client), (1000, "".into()));
    assert_eq!(server.counters().slow.get(), 0);
}

#[test]
fn row_22_a_session_receives_one_by_one_until_the_end() {
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
fn row_23_a_session_sees_no_control_frames_and_no_fragments() {
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
}

#[test]
fn row_24_row_25_a_session_has_messages_of_either_kind() {
    for capacity in [1, 3, 64 << 10] {
        let server = serve(|mut session| async move {
            while let Some(message) = session.recv().await {
                match message {
                    Message::Text(text) => session.send(format!("read {text}")).await?,
                    Message::Binary(_) => {} // "got a non-text frame": not what this one is for
                }
            }
            Ok(())
        });
        let mut client = server.client().capacity(capacity).connect("/").unwrap();
        client.send(&b"bytes"[..]);
        client.send("text");
        assert_eq!(client.recv_text(), "read text", "{capacity} bytes at a time");
        client.close(CloseCode(4000), "reason");
        assert_eq!(client.recv(), None);
    }
}

#[test]
fn row_26_a_session_closes_with_a_reason() {
    let longest = "x".repeat(123);
    let reason = longest.clone();
    let server = serve(move |session| {
        let reason = reason.clone();
        async move {
            let long = format!("{reason}x");
            for (code, text, error) in [
                (CloseCode::NORMAL, &*long, SendError::ReasonTooLong { len: 124 }),
                (CloseCode(1006), "", SendError::InvalidCloseCode { code: 1006 }),
                (CloseCode(2999), "", SendError::InvalidCloseCode { code: 2999 }),
            ] {
                let refused = session.close(code, text).await.unwrap_err();
                assert_eq!(refused.get().downcast_ref(), Some(&error));
            }
            session.close(CloseCode(4999), &reason).await?;
            assert_eq!(session.close_reason().unwrap().code, CloseCode(4999));
            Ok(())
        }
    });
    let mut client = server.connect("/").unwrap();
    assert_eq!(close_of(&mut client), (4999, longest));
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn row_27_whatever_a_handler_comes_to_closes() {
    let server = serve(|mut session| async move {
        match session.recv().await {
            Some(Message::Text(text)) if &*text == "error" => Err(session::Error::new("my fault")),
            Some(Message::Text(text)) if &*text == "panic" => panic!("on purpose"),
            _ => Ok(()),
        }
    });
    for (word, code, reason) in
        [("ok", 1000, ""), ("error", 1011, "internal error"), ("panic", 1011, "internal error")]
    {
        let mut client = server.connect("/").unwrap();
        client.send(word);
        assert_eq!(close_of(&mut client), (code, reason.into()));
    }
}

#[test]
fn row_28_row_29_row_30_the_close_reason_of_a_session() {
    type Way = fn(&testing::Server, &mut Client);
    let ways: [(Way, &str); 7] = [
        (|_, client| client.close(CloseCode(4000), "mine"), "onClose 4000 \"mine\""),
        (|_, client| client.send_frame(&Frame::new(Opcode::Close, b"")), "onClose 1005 \"\""),
        (|_, client| client.shut(), "onError 1006 \"connection was closed without close frame\""),
        (|_, client| client.cut(), "onError 1006 \"connection was closed without close frame\""),
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
        let (server, diary) = diary();
        let mut client = server.connect("/").unwrap();
        end(&server, &mut client);
        assert_eq!(diary.read(), ["onConnect", expected]);
    }
}

#[test]
fn row_30_the_close_reason_can_be_awaited() {
    let server = serve(|session| async move {
        let (sender, receiver) = session.split();
        let heard = Rc::new(Cell::new(0));
        let tell = Rc::clone(&heard);
        let waits = sender.clone();
        let _waiting = sender.spawn(async move { tell.set(waits.ended().await.code.0) });
        sender.ended().await;
        session::sleep(SECOND).await;
        drop(receiver);
        assert_eq!(heard.get(), 4000);
        Ok(())
    });
    let mut client = server.connect("/").unwrap();
    client.close(CloseCode(4000), "");
    server.advance(2 * SECOND);
    assert_eq!(server.counters().panics.get(), 0);
    assert_eq!(close_of(&mut client).0, 4000);
}

#[test]
fn row_31_events_of_a_session_in_their_order() {
    let (server, diary) = diary();
    let mut client = server.connect("/").unwrap();
    assert_eq!(diary.read(), ["onConnect"]);
    client.send("one");
    assert_eq!(diary.read(), ["onMessage one"]);
    client.send(vec![0; 3]);
    assert_eq!(diary.read(), ["onMessage 3 bytes"]);
    client.close(CloseCode::NORMAL, "enough");
    assert_eq!(diary.read(), ["onClose 1000 \"enough\""]);
}
