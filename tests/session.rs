//! Sessions over sockets: a conversation by the real loop, and what memory cannot show. That is the
//! back-pressure of a real socket, a connection that TCP alone knows to be lost, several threads, and the
//! loop that sleeps by the system's clock. All else is in `tests/memory/sessions.rs` and among the
//! features.

mod support;

use std::{
    io::{Read, Write},
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
    CloseCode, Message, Server, ServerBuilder, Session, Topic,
    session::{sleep, timeout},
};
use support::{Running, Said, after_head, eventually, frames, masked, open, upgrade};

fn start(builder: ServerBuilder) -> Running {
    Running::start(builder.workers(1))
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
        let len = socket.read(&mut answer).unwrap();
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
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let got = frames(after_head(&answer));
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
fn sessions_hear_topics_in_one_order() {
    let topic = Topic::new();
    let builder = Server::builder().websocket("/", move |mut session: Session| {
        let topic = topic.clone();
        async move {
            session.subscribe(&topic).await?;
            session.send("in").await?;
            while let Some(message) = session.recv().await {
                topic.publish(message)?;
            }
            Ok(())
        }
    });
    let server = Running::start(builder.workers(2));
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
        async move {
            session.ended().await;
            Ok(())
        }
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
