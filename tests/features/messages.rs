//! Messages and frames, both ways.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use chinwag::{CloseCode, Frame, Message, Opcode, Request, SendError, Server, Session, testing};

use crate::{Echo, FACES, SECOND, close_of, diary, does, opcodes, serve};

#[test]
fn row_20_send_text_and_nothing_after_a_close() {
    let builder = does(|peer, _| {
        peer.send("text").unwrap();
        peer.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(peer.send("too late"), Err(SendError::NotOpen));
        assert_eq!(peer.ping(b""), Err(SendError::NotOpen));
    });
    let builder = builder.websocket(FACES[1], |mut session: Session| async move {
        session.recv().await;
        session.send("text").await?;
        session.close(CloseCode::NORMAL, "").await?;
        assert_eq!(session.send("too late").await, Err(SendError::NotOpen));
        Ok(())
    });
    let server = testing::Server::new(builder);
    for face in FACES {
        let mut client = server.connect(face).unwrap();
        client.send("go");
        assert_eq!(client.recv_text(), "text", "{face}");
        assert_eq!(close_of(&mut client), (1000, "".into()), "{face}");
        assert_eq!(server.counters().panics.get(), 0, "{face}");
    }
}

#[test]
fn row_21_what_is_sent_waits_for_a_slow_peer() {
    let (buffered, most) = mpsc::channel();
    let builder = does(move |peer, message| {
        peer.send(message).unwrap();
        buffered.send(peer.buffered()).unwrap();
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect(FACES[0]).unwrap();
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
fn row_22_messages_come_one_by_one_and_then_the_end() {
    let (server, diary) = diary();
    for face in FACES {
        let mut client = server.connect(face).unwrap();
        ["one", "two", "three"].iter().for_each(|text| client.send(*text));
        client.close(CloseCode::NORMAL, "");
        assert_eq!(
            diary.read(),
            ["onConnect", "onMessage one", "onMessage two", "onMessage three", "onClose 1000 \"\""],
            "{face}"
        );
    }
}

#[test]
fn row_23_control_frames_are_hidden_and_fragments_joined() {
    let (server, diary) = diary();
    for face in FACES {
        let mut client = server.connect(face).unwrap();
        for (opcode, fin, payload) in [
            (Opcode::Text, false, &b"He"[..]),
            (Opcode::Ping, true, b"?"),
            (Opcode::Continuation, false, b"l"),
            (Opcode::Pong, true, b"!"),
            (Opcode::Continuation, true, b"lo"),
        ] {
            let mut frame = Frame::new(opcode, payload);
            frame.fin = fin;
            client.send_frame(&frame);
        }
        client.close(CloseCode::NORMAL, "");
        assert_eq!(diary.read(), ["onConnect", "onMessage Hello", "onClose 1000 \"\""], "{face}");
        let pong = client.recv_frame().unwrap();
        assert_eq!((pong.opcode, &*pong.payload), (Opcode::Pong, &b"?"[..]), "{face}");
    }
}

#[test]
fn row_24_frames_of_every_kind_and_where_tcp_cuts_does_not_matter() {
    let builder = Server::builder().service(FACES[0], |_: &Request<'_>| Echo);
    let builder = builder.websocket(FACES[1], |mut session: Session| async move {
        while let Some(message) = session.recv().await {
            session.send(message).await?;
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    for (face, capacity) in
        FACES.into_iter().flat_map(|face| [1, 3, 64 << 10].map(|len| (face, len)))
    {
        let mut client = server.client().capacity(capacity).connect(face).unwrap();
        client.send("text");
        client.send(&b"bytes"[..]);
        client.ping(b"ping");
        client.close(CloseCode(4000), "reason");
        let kinds = [Opcode::Text, Opcode::Binary, Opcode::Pong, Opcode::Close];
        assert_eq!(opcodes(&mut client, 4), kinds, "{face}, {capacity} bytes at a time");
        assert_eq!(client.recv_frame(), None);
    }
}

#[test]
fn row_25_other_kinds_of_messages_are_tolerated() {
    let builder = does(|peer, message| {
        if let Message::Text(text) = message {
            peer.send(format!("heard {text}")).unwrap();
        }
    });
    let builder = builder.websocket(FACES[1], |mut session: Session| async move {
        while let Some(message) = session.recv().await {
            match message {
                Message::Text(text) => session.send(format!("heard {text}")).await?,
                Message::Binary(_) => {} // "got a non-text frame": not what this one is for
            }
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    for face in FACES {
        let mut client = server.connect(face).unwrap();
        client.send(&b"bytes"[..]);
        client.send_frame(&Frame::new(Opcode::Pong, b"unasked"));
        client.send("text");
        assert_eq!(client.recv_text(), "heard text", "{face}");
    }
}
