//! Sessions: what their handlers see, and what their peers see of them.

use std::{sync::mpsc, time::Duration};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Opcode, RawSession, Server, Session,
    session::{interval, sleep},
    testing,
};

use crate::{SECOND, answers, support::masked};

#[test]
fn the_first_cause_of_the_end_is_known_and_the_handler_goes_on() {
    let (tell, told) = mpsc::channel::<CloseReason>();
    let handler = move |mut session: Session| {
        let tell = tell.clone();
        async move {
            assert_eq!(session.close_reason(), None);
            assert_eq!(session.recv().await, None);
            sleep(SECOND).await;
            assert!(session.send("into the void").await.is_err());
            tell.send(session.close_reason().unwrap().clone()).unwrap();
            Ok(())
        }
    };
    let server = testing::Server::new(Server::builder().websocket("/", handler));
    type Way = fn(&mut testing::Client);
    let ways: [(Way, CloseCause, CloseCode, &str); 3] = [
        (
            |client| client.close(CloseCode(4000), "had enough"),
            CloseCause::Peer,
            CloseCode(4000),
            "had enough",
        ),
        (
            |client| client.cut(),
            CloseCause::Lost,
            CloseCode::ABNORMAL,
            "connection was closed without close frame",
        ),
        (
            |client| client.shut(),
            CloseCause::Lost,
            CloseCode::ABNORMAL,
            "connection was closed without close frame",
        ),
    ];
    for (go, cause, code, text) in ways {
        let mut client = server.connect("/").unwrap();
        go(&mut client);
        assert!(told.try_recv().is_err(), "it sleeps");
        server.advance(SECOND);
        assert_eq!(told.try_recv(), Ok(CloseReason { cause, code, text: text.into() }));
    }
    assert_eq!((server.counters().panics.get(), server.connections()), (0, 0));
}

#[test]
fn one_task_reads_while_another_writes() {
    let server =
        testing::Server::new(Server::builder().websocket("/", |session: Session| async move {
            let (sender, mut receiver) = session.split();
            let writer = sender.clone();
            let _ticking = sender.spawn(async move {
                let mut ticks = interval(SECOND);
                loop {
                    ticks.tick().await;
                    if writer.send("tick").await.is_err() {
                        return;
                    }
                }
            });
            while let Some(message) = receiver.recv().await {
                sender.send(message).await?;
            }
            Ok(())
        }));
    let mut client = server.connect("/").unwrap();
    assert_eq!(client.recv_text(), "tick");
    client.send("mine");
    assert_eq!(client.recv_text(), "mine");
    server.advance(SECOND + Duration::from_millis(1));
    assert_eq!(client.recv_text(), "tick");
    client.send("mine too");
    assert_eq!(client.recv_text(), "mine too");
    client.close(CloseCode::NORMAL, "");
    assert_eq!(client.recv(), None);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_receiver_that_is_gone_keeps_nobody_waiting() {
    let server =
        testing::Server::new(Server::builder().websocket("/", |session: Session| async move {
            let (sender, receiver) = session.split();
            drop(receiver);
            sender.ended().await;
            Ok(())
        }));
    let mut client = server.connect("/").unwrap();
    for _ in 0..100 {
        client.send(vec![0; 32 << 10]);
    }
    assert_eq!(client.unsent(), 0, "all is read, and dropped");
    client.close(CloseCode::NORMAL, "done");
    assert_eq!(client.recv_frame().unwrap().opcode, Opcode::Close);
    assert_eq!((client.recv_frame(), server.connections()), (None, 0));
}

#[test]
fn a_raw_session_answers_by_itself() {
    let builder = Server::builder().websocket_raw("/", |mut session: RawSession| async move {
        while let Some(mut frame) = session.recv().await {
            match frame.opcode {
                Opcode::Ping => frame.opcode = Opcode::Pong,
                Opcode::Close => return session.close(CloseCode::NORMAL, "seen").await,
                Opcode::Continuation | Opcode::Text | Opcode::Binary | Opcode::Pong => {}
            }
            session.send(frame).await?;
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let wire =
        [masked(0x01, b"a"), masked(0x89, b"ping"), masked(0x80, b"b"), masked(0x88, b"\x03\xe8")];
    assert_eq!(
        answers(server.connect("/").unwrap(), wire.concat()),
        [
            (0x01, b"a".to_vec()),
            (0x8a, b"ping".to_vec()),
            (0x80, b"b".to_vec()),
            (0x88, b"\x03\xe8seen".to_vec()),
        ]
    );
}

#[test]
fn many_messages_in_one_read_are_all_received() {
    const COUNT: usize = 2_000;
    // Who is slow to begin finds more than may wait in a session, so that some wait before it.
    let echo = |mut session: Session| async move {
        if session.request().param("when") == Some("later") {
            sleep(SECOND).await;
        }
        while let Some(message) = session.recv().await {
            session.send(message).await?;
        }
        Ok(())
    };
    let server = testing::Server::new(Server::builder().websocket("/{when}", echo));
    let wire: Vec<_> =
        (0..COUNT).flat_map(|number| masked(0x81, number.to_string().as_bytes())).collect();
    assert!(wire.len() < 64 << 10, "it is one read");
    for path in ["/now", "/later"] {
        let mut client = server.connect(path).unwrap();
        client.send_bytes(&wire);
        server.advance(SECOND);
        (0..COUNT).for_each(|number| assert_eq!(client.recv_text(), number.to_string(), "{path}"));
    }
}
