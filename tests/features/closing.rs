//! How connections end, and who is told what of it.

use std::{cell::Cell, rc::Rc};

use chinwag::{
    CloseCode, Frame, Opcode, SendError, Server, Session, session,
    testing::{self, Client},
};

use crate::{FACES, SECOND, close_of, diary, does, serve};

const LOST: &str = "onError 1006 \"connection was closed without close frame\"";

#[test]
fn row_26_close_with_a_reason() {
    let longest = "x".repeat(123);
    let reason = longest.clone();
    let builder = does(move |peer, message| match message.as_bytes() {
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
    let server = testing::Server::new(builder);
    let mut client = server.connect(FACES[0]).unwrap();
    client.send("wrong");
    assert_eq!(client.recv_text(), "still open");
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 4999]) {
        let mut client = server.connect(FACES[0]).unwrap();
        client.send(code.to_string());
        assert_eq!(close_of(&mut client), (code, longest.clone()));
    }
    assert_eq!(server.counters().panics.get(), 0);
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
    let builder = Server::builder().websocket("/{when}/{how}", |mut session: Session| async move {
        if session.request().param("when") == Some("later") {
            session.recv().await;
        }
        match session.request().param("how") {
            Some("ok") => Ok(()),
            Some("error") => Err(session::Error::new("my fault")),
            _ => panic!("on purpose"),
        }
    });
    let server = testing::Server::new(builder);
    for (how, code, reason) in
        [("ok", 1000, ""), ("error", 1011, "internal error"), ("panic", 1011, "internal error")]
    {
        let mut client = server.connect(&format!("/at-once/{how}")).unwrap();
        assert_eq!(close_of(&mut client), (code, reason.into()), "{how}");
        let mut client = server.connect(&format!("/later/{how}")).unwrap();
        assert!(client.is_open(), "{how}");
        client.send("the only word");
        assert_eq!(close_of(&mut client), (code, reason.into()), "{how}");
    }
    assert_eq!(server.counters().panics.get(), 2);
}

#[test]
fn row_28_a_close_is_answered_with_its_own_reason() {
    let (server, diary) = diary();
    for (sent, answered) in [
        (&b""[..], &b"\x03\xe8OK"[..]),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x03\xe9going", b"\x03\xe9going"),
        (b"\x0f\xa0mine", b"\x0f\xa0mine"),
    ] {
        for face in FACES {
            let mut client = server.connect(face).unwrap();
            client.send_frame(&Frame::new(Opcode::Close, sent));
            let close = client.recv_frame().unwrap();
            assert_eq!((close.opcode, &*close.payload), (Opcode::Close, answered), "{face}");
            assert_eq!(client.recv_frame(), None, "{face}: the server ends TCP");
            assert_eq!(diary.read().len(), 2, "{face}");
        }
    }
}

#[test]
fn row_29_a_connection_lost_without_a_close() {
    type Way = fn(&mut Client);
    let ways: [(&str, Way); 2] =
        [("an end", |client| client.shut()), ("a reset", |client| client.cut())];
    let (server, diary) = diary();
    for (name, go) in ways {
        for face in FACES {
            let mut client = server.connect(face).unwrap();
            go(&mut client);
            assert_eq!(diary.read(), ["onConnect", LOST], "{name}, {face}");
            assert_eq!(client.recv_frame(), None, "{name}, {face}: nothing is sent");
            assert_eq!(server.connections(), 0, "{name}, {face}");
        }
    }
}

#[test]
fn row_30_the_close_reason_whatever_ended_it() {
    type Way = fn(&testing::Server, &mut Client);
    let ways: [(Way, &str); 7] = [
        (|_, client| client.close(CloseCode(4000), "mine"), "onClose 4000 \"mine\""),
        (|_, client| client.send_frame(&Frame::new(Opcode::Close, b"")), "onClose 1005 \"\""),
        (|_, client| client.shut(), LOST),
        (|_, client| client.cut(), LOST),
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
        for face in FACES {
            let (server, diary) = diary();
            let mut client = server.connect(face).unwrap();
            end(&server, &mut client);
            assert_eq!(diary.read(), ["onConnect", expected], "{face}");
        }
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
fn row_31_events_in_their_order() {
    let (server, diary) = diary();
    for face in FACES {
        let mut client = server.connect(face).unwrap();
        assert_eq!(diary.read(), ["onConnect"], "{face}");
        client.send("one");
        assert_eq!(diary.read(), ["onMessage one"], "{face}");
        client.send(vec![0; 3]);
        assert_eq!(diary.read(), ["onMessage 3 bytes"], "{face}");
        client.close(CloseCode::NORMAL, "enough");
        assert_eq!(diary.read(), ["onClose 1000 \"enough\""], "{face}");

        let mut client = server.connect(face).unwrap();
        client.send("one");
        client.cut();
        assert_eq!(diary.read(), ["onConnect", "onMessage one", LOST], "{face}");
    }
}
