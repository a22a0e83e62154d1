//! Sessions over sockets: back-pressure, other threads, the ends of a connection.

mod support;

use std::{
    io::Write,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Frame, Message, Opcode, RawSession, Server, ServerBuilder,
    Session, Topic,
    session::{self, interval, sleep, timeout},
};
use support::{Running, Said, eventually, frames, masked, open, upgrade};

fn start(builder: ServerBuilder) -> Running {
    Running::start(builder.workers(1))
}

async fn echo(mut session: Session) -> session::Result {
    while let Some(message) = session.recv().await {
        session.send(message).await?;
    }
    Ok(())
}

#[test]
fn a_conversation_reads_from_top_to_bottom() {
    let server = start(Server::builder().websocket("/", |mut session: Session| async move {
        session.send("Please enter your name").await?;
        while let Some(message) = session.recv().await {
            let Message::Text(name) = message else { continue };
            if name.eq_ignore_ascii_case("bye") {
                return session.close(CloseCode::NORMAL, "Client said BYE").await;
            }
            session.send(format!("Hi, {name}!")).await?;
        }
        Ok(())
    }));
    let mut client = server.connect("/");
    assert_eq!(client.text(), "Please enter your name");
    client.send(&b"no text"[..]);
    client.send("JetBrains");
    assert_eq!(client.text(), "Hi, JetBrains!");
    client.send("Bye");
    assert_eq!(client.recv(), None);
    let reason = client.end();
    assert_eq!((reason.code, &*reason.text), (CloseCode::NORMAL, "Client said BYE"));
}

#[test]
fn the_end_of_the_handler_is_that_of_the_connection() {
    let server = start(Server::builder().websocket("/{how}", |session: Session| async move {
        match session.request().param("how") {
            Some("ok") => Ok(()),
            Some("error") => Err(session::Error::new("meant to")),
            _ => panic!("meant to"),
        }
    }));
    for (path, code, text) in [
        ("/ok", CloseCode::NORMAL, ""),
        ("/error", CloseCode::INTERNAL_ERROR, "internal error"),
        ("/panic", CloseCode::INTERNAL_ERROR, "internal error"),
    ] {
        let mut client = server.connect(path);
        assert_eq!(client.recv(), None);
        let reason = client.end();
        assert_eq!((reason.code, &*reason.text), (code, text), "{path}");
    }
    assert_eq!(server.counters.panics.get(), 1);
}

#[test]
fn the_first_cause_of_the_end_is_known_and_the_handler_goes_on() {
    let (tell, told) = mpsc::channel::<CloseReason>();
    let server = start(Server::builder().websocket("/", move |mut session: Session| {
        let tell = tell.clone();
        async move {
            assert_eq!(session.close_reason(), None);
            assert_eq!(session.recv().await, None);
            sleep(Duration::from_millis(5)).await;
            tell.send(session.close_reason().unwrap().clone()).unwrap();
            assert!(session.send("into the void").await.is_err());
            Ok(())
        }
    }));
    server.connect("/").close(CloseCode(4000), "had enough");
    let reason = told.recv().unwrap();
    assert_eq!(
        (reason.cause, reason.code, &*reason.text),
        (CloseCause::Peer, CloseCode(4000), "had enough")
    );
    let mut socket = open(server.addr);
    socket.write_all(upgrade("/").as_bytes()).unwrap();
    drop(socket);
    assert_eq!(told.recv().unwrap().code, CloseCode::ABNORMAL);
}

#[test]
fn who_has_gone_is_noticed_though_nobody_receives() {
    let (tell, told) = mpsc::channel();
    let handler = move |session: Session| {
        let tell = tell.clone();
        async move {
            tell.send(session.ended().await.code).unwrap();
            Ok(())
        }
    };
    let server =
        start(Server::builder().websocket("/", handler).ping_period(Duration::from_millis(100)));
    let mut socket = open(server.addr);
    socket.write_all(upgrade("/").as_bytes()).unwrap();
    // More than waits for a session, so that the server reads no further and never meets the end.
    for _ in 0..3 {
        socket.write_all(&masked(0x82, &[7; 40 << 10])).unwrap();
    }
    // What the server has sent is read, as a socket that is closed before resets TCP at once.
    let mut answer = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let len = std::io::Read::read(&mut socket, &mut answer).unwrap();
        answer.rotate_left(len);
    }
    drop(socket);
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(CloseCode::ABNORMAL));
}

#[test]
fn what_a_session_does_not_receive_stays_with_its_peer() {
    let gate = Arc::new(Mutex::new(Vec::new()));
    let waiting = Arc::clone(&gate);
    let server = start(Server::builder().websocket("/", move |mut session: Session| {
        let waiting = Arc::clone(&waiting);
        async move {
            let mut opened = false;
            std::future::poll_fn(|context| {
                if opened {
                    return std::task::Poll::Ready(());
                }
                opened = true;
                waiting.lock().unwrap().push(context.waker().clone());
                std::task::Poll::Pending
            })
            .await;
            let mut bytes = 0;
            while let Some(message) = session.recv().await {
                bytes += message.as_bytes().len();
                if message.as_bytes().is_empty() {
                    session.send(bytes.to_string()).await?;
                }
            }
            Ok(())
        }
    }));
    let mut socket = open(server.addr);
    socket.write_all(upgrade("/").as_bytes()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let message = masked(0x82, &[7; 60 << 10]);
    // The kernel takes some megabytes; what is cut off is sent once there is room.
    let mut sent = 0;
    let mut at = 0;
    let blocked = loop {
        match socket.write(&message[at..]) {
            Ok(len) => at += len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(50));
                match socket.write(&message[at..]) {
                    Ok(len) => at += len,
                    Err(_) => break sent,
                }
            }
            Err(error) => panic!("{error}"),
        }
        if at == message.len() {
            (at, sent) = (0, sent + 1);
        }
        assert!(sent < 2_000, "somebody reads all this");
    };
    assert!(blocked > 0);
    gate.lock().unwrap().drain(..).for_each(|waker| waker.wake());
    socket.set_nonblocking(false).unwrap();
    socket.write_all(&message[at..]).unwrap();
    socket.write_all(&masked(0x82, b"")).unwrap();
    socket.write_all(&masked(0x88, &[3, 232])).unwrap();
    let total = (sent + 1) * (60 << 10);
    let got = frames(&support::after_head(&mut socket));
    assert_eq!(got[0], (0x81, total.to_string().into_bytes()));
}

#[test]
fn a_sender_waits_while_its_peer_takes_nothing() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let server = start(Server::builder().websocket("/", move |session: Session| {
        let count = Arc::clone(&count);
        async move {
            for number in 0..1_000u32 {
                session.send([&number.to_be_bytes()[..], &[0; 32 << 10]].concat()).await?;
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    }));
    let mut client = server.connect("/");
    let mut before = usize::MAX;
    eventually("it stops sending", || {
        thread::sleep(Duration::from_millis(50));
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now
    });
    assert!((1..1_000).contains(&before), "{before} of 1,000 messages of 32 KiB");
    for number in 0..1_000u32 {
        let Some(Said::Binary(bytes)) = client.recv() else { panic!("{number} is missing") };
        assert_eq!(bytes[..4], number.to_be_bytes());
    }
    assert_eq!(client.recv(), None);
    assert_eq!((client.end().code, server.counters.slow.get()), (CloseCode::NORMAL, 0));
}

#[test]
fn one_task_reads_while_another_writes() {
    let server = start(Server::builder().websocket("/", |session: Session| async move {
        let (sender, mut receiver) = session.split();
        let writer = sender.clone();
        let _ticking = sender.spawn(async move {
            let mut ticks = interval(Duration::from_millis(1));
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
    let mut client = server.connect("/");
    assert_eq!(client.text(), "tick");
    client.send("mine");
    while client.text() != "mine" {}
    assert_eq!(client.text(), "tick");
    client.close(CloseCode::NORMAL, "");
}

#[test]
fn a_receiver_that_is_gone_keeps_nobody_waiting() {
    let server = start(Server::builder().websocket("/", |session: Session| async move {
        let (sender, receiver) = session.split();
        drop(receiver);
        sender.ended().await;
        Ok(())
    }));
    let mut client = server.connect("/");
    for _ in 0..100 {
        client.send(vec![0; 32 << 10]);
    }
    client.close(CloseCode::NORMAL, "done");
    assert_eq!(client.end().code, CloseCode::NORMAL);
}

#[test]
fn a_raw_session_answers_by_itself() {
    let server =
        start(Server::builder().websocket_raw("/", |mut session: RawSession| async move {
            while let Some(mut frame) = session.recv().await {
                match frame.header.opcode {
                    Opcode::Ping => frame.header.opcode = Opcode::Pong,
                    Opcode::Close => return session.close(CloseCode::NORMAL, "seen").await,
                    _ => {}
                }
                session.send(frame).await?;
            }
            Ok(())
        }));
    let mut socket = open(server.addr);
    let frames_in =
        [masked(0x01, b"a"), masked(0x89, b"ping"), masked(0x80, b"b"), masked(0x88, &[3, 232])];
    socket.write_all(&[upgrade("/").into_bytes(), frames_in.concat()].concat()).unwrap();
    let seen = [&[3, 232][..], b"seen"].concat();
    assert_eq!(
        frames(&support::after_head(&mut socket)),
        [(0x01, b"a".to_vec()), (0x8a, b"ping".to_vec()), (0x80, b"b".to_vec()), (0x88, seen)]
    );
}

#[test]
fn a_frame_that_may_not_stand_there_is_refused() {
    let server = start(Server::builder().websocket_raw("/", |session: RawSession| async move {
        let continuation = Frame::new(Opcode::Continuation, &b"of nothing"[..]);
        let frame =
            Frame { header: continuation.header, payload: continuation.payload.into_owned() };
        assert!(session.send(frame).await.is_err());
        Ok(())
    }));
    let mut socket = open(server.addr);
    socket.write_all(&[upgrade("/").into_bytes(), masked(0x88, &[3, 232])].concat()).unwrap();
    assert_eq!(frames(&support::after_head(&mut socket)), [(0x88, vec![3, 232])]);
}

#[test]
fn sessions_hear_topics_in_one_order() {
    let topic = Topic::new();
    let server = start(Server::builder().websocket("/", move |mut session: Session| {
        let topic = topic.clone();
        async move {
            session.subscribe(&topic).await?;
            session.send("in").await?;
            while let Some(message) = session.recv().await {
                topic.publish(message)?;
            }
            Ok(())
        }
    }));
    let mut clients = [server.connect("/"), server.connect("/")];
    clients.iter_mut().for_each(|client| assert_eq!(client.text(), "in"));
    for round in 0..100 {
        clients[round % 2].send(round.to_string());
    }
    let heard =
        clients.each_mut().map(|client| (0..100).map(|_| client.text()).collect::<Vec<_>>());
    assert_eq!(heard[0], heard[1]);
}

#[test]
fn time_passes_for_sessions() {
    let server = start(Server::builder().websocket("/", |mut session: Session| async move {
        if timeout(Duration::from_millis(20), session.recv()).await.is_err() {
            session.send("are you there?").await?;
        }
        sleep(Duration::from_millis(10)).await;
        session.send("bye").await?;
        Ok(())
    }));
    let mut client = server.connect("/");
    assert_eq!([client.text(), client.text()], ["are you there?", "bye"]);
    assert_eq!(client.recv(), None);
}

#[test]
fn a_handle_reaches_a_session_from_another_thread() {
    let (tell, told) = mpsc::channel();
    let server = start(Server::builder().websocket("/", move |session: Session| {
        tell.send(session.handle()).unwrap();
        echo(session)
    }));
    let mut client = server.connect("/");
    let handle = told.recv().unwrap();
    handle.send("from elsewhere").unwrap();
    assert_eq!(client.text(), "from elsewhere");
    handle.close(CloseCode(4001), "from elsewhere").unwrap();
    assert_eq!(client.recv(), None);
    assert_eq!(client.end().code, CloseCode(4001));
}

#[test]
fn a_server_that_stops_ends_its_sessions() {
    let alive = Arc::new(());
    let inside = Arc::clone(&alive);
    let server = start(Server::builder().websocket("/", move |mut session: Session| {
        let inside = Arc::clone(&inside);
        async move {
            let _here = (inside, Rc::new(()));
            while session.recv().await.is_some() {}
            Ok(())
        }
    }));
    let mut client = server.connect("/");
    let reader = thread::spawn(move || {
        assert_eq!(client.recv(), None);
        client.end().code
    });
    eventually("it is served", || Arc::strong_count(&alive) > 2);
    assert!(server.stop() < Duration::from_secs(3));
    assert_eq!(reader.join().unwrap(), CloseCode::GOING_AWAY);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn many_messages_in_one_read_are_all_received() {
    let server = start(Server::builder().websocket("/", echo));
    let mut client = server.connect("/");
    for round in 0..2_000 {
        client.send(round.to_string());
        if round % 100 == 99 {
            (round - 99..=round).for_each(|round| assert_eq!(client.text(), round.to_string()));
        }
    }
}
