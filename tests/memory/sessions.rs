//! Sessions: what their handlers see, and what their peers see of them.

use std::{
    fmt,
    future::{Ready, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    ptr::null,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Poll, RawWakerVTable, Wake, Waker},
    time::Duration,
};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Message, Opcode, Peer, RawSession, SendError, Server,
    Session,
    convert::{ConvertError, Decode, Encode},
    session::{self, Sender, interval, sleep, timeout},
    testing,
};

use crate::{
    SECOND, answers,
    support::{frames, masked},
};

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

// ---- time --------------------------------------------------------------------------------------

/// A server with one session for each path, without deadlines of its own.
fn serve<R>(handler: impl Fn(Session) -> R + Send + Sync + 'static) -> testing::Server
where
    R: Future<Output = session::Result> + 'static,
{
    testing::Server::new(Server::builder().websocket("/", handler).ping_period(None))
}

#[test]
fn waiting_for_no_time_gives_the_others_their_turn() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |session: Session| {
        let tell = tell.clone();
        async move {
            for name in ["a", "b"] {
                let tell = tell.clone();
                let task = session.spawn(async move {
                    for round in 0..3 {
                        tell.send((name, round)).unwrap();
                        sleep(Duration::ZERO).await;
                    }
                    for round in 3..6 {
                        tell.send((name, round)).unwrap();
                        timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
                    }
                });
                task.detach();
            }
            session.ended().await;
            Ok(())
        }
    });
    let _client = server.connect("/").unwrap();
    let rounds = (0..6).flat_map(|round| [("a", round), ("b", round)]);
    assert!(told.try_iter().eq(rounds));
    assert_eq!(server.elapsed(), Duration::ZERO, "no time has passed");
}

#[test]
fn ticks_that_nobody_waited_for_are_left_out_and_the_phase_is_kept() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (tell, told) = mpsc::channel();
    let server = serve(move |session: Session| {
        let tell = tell.clone();
        async move {
            let (period, pauses) = match session.request().query("kind").as_deref() {
                Some("late") => (Duration::from_millis(1), [100 * DAY, Duration::ZERO]),
                _ => (SECOND, [SECOND * 7 / 2, 2 * SECOND]),
            };
            let mut ticks = interval(period);
            let start = session.ask(|peer| peer.now()).await?;
            for pause in pauses {
                for _ in 0..3 {
                    ticks.tick().await;
                    let now = session.ask(|peer| peer.now()).await?;
                    tell.send((now - start).as_millis()).unwrap();
                }
                sleep(pause + Duration::from_micros(100)).await;
            }
            Ok(())
        }
    });
    let _client = server.connect("/").unwrap();
    server.advance(20 * SECOND);
    // Behind a pause one tick is late, and the next ones are not.
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1_000, 2_000, 5_500, 6_000, 7_000]);
    let _client = server.connect("/?kind=late").unwrap();
    server.advance(101 * DAY);
    let late = DAY.as_millis() * 100 + 2;
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2, late, late + 1, late + 2]);
}

#[test]
fn every_duration_may_be_waited_for() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let (tell, told) = mpsc::channel();
    let server = serve(move |session: Session| {
        let tell = tell.clone();
        async move {
            assert_eq!(timeout(Duration::MAX, async { 7 }).await, Ok(7));
            session.spawn(sleep(Duration::MAX)).detach();
            for power in 0..64 {
                for count in [(1 << power) - 1, 1 << power, u64::MAX >> power] {
                    session.spawn(sleep(Duration::from_secs(count))).detach();
                    session.spawn(sleep(Duration::from_millis(count))).detach();
                    let mut ticks = interval(Duration::from_secs(count).max(YEAR));
                    let ticking = async move {
                        loop {
                            ticks.tick().await;
                        }
                    };
                    session.spawn(ticking).detach();
                }
            }
            let mut ticks = interval(Duration::MAX);
            for count in 0..2 {
                ticks.tick().await;
                tell.send(count).unwrap();
            }
            Ok(())
        }
    });
    let _client = server.connect("/").unwrap();
    server.advance(100 * YEAR - SECOND);
    assert_eq!(told.try_iter().count(), 1);
    server.advance(SECOND);
    assert_eq!(told.try_iter().count(), 1, "a hundred years are the longest period");
    assert_eq!(server.counters().panics.get(), 0);
}

// ---- who is polled -----------------------------------------------------------------------------

/// `future`, with its polls counted.
fn counted<F: Future>(
    polls: &Arc<AtomicUsize>,
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    let (polls, mut future) = (Arc::clone(polls), Box::pin(future));
    poll_fn(move |context| {
        polls.fetch_add(1, Relaxed);
        future.as_mut().poll(context)
    })
}

#[test]
fn who_waits_for_the_end_is_not_polled_for_what_is_sent() {
    let polls: [Arc<AtomicUsize>; 3] = Default::default();
    let counts = polls.clone();
    let server = serve(move |mut session: Session| {
        let [ends, asks, sends] = counts.clone();
        async move {
            let sender = session.clone();
            let waits = sender.clone();
            let ended = async move { drop(waits.ended().await) };
            sender.spawn(counted(&ends, ended)).detach();
            let asking = sender.clone();
            let asked = async move {
                for _ in 0..10 {
                    asking.ask(|_| ()).await.unwrap();
                }
            };
            sender.spawn(counted(&asks, asked)).detach();
            let sent = async {
                while let Some(message) = session.recv().await {
                    sender.send(message).await.unwrap();
                }
            };
            counted(&sends, sent).await;
            Ok(())
        }
    });
    let mut client = server.connect("/").unwrap();
    for number in 0..1_000 {
        client.send(number.to_string());
        assert_eq!(client.recv_text(), number.to_string());
    }
    let count = |at: usize| polls[at].load(Relaxed);
    assert_eq!([count(0), count(1), count(2)], [1, 11, 1_001]);
    client.close(CloseCode::NORMAL, "");
    assert_eq!([count(0), count(1), count(2)], [2, 11, 1_002]);
}

#[test]
fn senders_go_on_in_their_order_as_there_is_room_for_them() {
    const SENDERS: usize = 300;
    let polls = Arc::<AtomicUsize>::default();
    let counts = Arc::clone(&polls);
    let server = serve(move |mut session: Session| {
        let polls = Arc::clone(&counts);
        async move {
            session.recv().await;
            for number in 0..SENDERS {
                let sender = session.clone();
                let sends = async move {
                    let message = [&number.to_be_bytes()[..], &[0; 16 << 10]].concat();
                    sender.send(message).await.unwrap();
                };
                session.spawn(counted(&polls, sends)).detach();
                // Every other one is followed by two that wait, and then neither send nor go away.
                for _ in 0..number % 2 * 2 {
                    let sender = session.clone();
                    let holds = async move {
                        let mut sends = pin!(sender.send(vec![0; 64 << 10]));
                        let begun = poll_fn(|context| Poll::Ready(sends.as_mut().poll(context)));
                        if begun.await.is_pending() {
                            pending::<()>().await;
                        }
                    };
                    session.spawn(holds).detach();
                }
            }
            session.ended().await;
            Ok(())
        }
    });
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    client.send("go");
    assert!(polls.load(Relaxed) >= SENDERS);
    client.read_on();
    let mut numbers = Vec::new();
    while let Some(message) = client.try_recv() {
        if message.as_bytes().len() < 64 << 10 {
            numbers.push(usize::from_be_bytes(message.as_bytes()[..8].try_into().unwrap()));
        }
    }
    assert!(numbers.into_iter().eq(0..SENDERS), "all have come, in their order");
    let polls = polls.load(Relaxed);
    assert!(polls <= 2 * SENDERS, "{polls} polls of {SENDERS} senders");
}

#[test]
fn a_send_waits_while_its_peer_is_slow_and_goes_on_afterwards() {
    let sent = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&sent);
    let server = serve(move |mut session: Session| {
        let count = Arc::clone(&count);
        async move {
            session.recv().await;
            for number in 0..1_000u32 {
                session.send([&number.to_be_bytes()[..], &[0; 10_000]].concat()).await?;
                count.fetch_add(1, Relaxed);
            }
            // Sent, then closed: nothing is lost.
            Ok(session.send("the last").await?)
        }
    });
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    client.send("go");
    let first = sent.load(Relaxed);
    assert!((10..100).contains(&first), "{first} messages fit");
    client.read_some(20_000);
    assert!(sent.load(Relaxed) < 100, "it has hardly any room");
    client.read_on();
    for number in 0..1_000u32 {
        assert_eq!(client.recv_binary()[..4], number.to_be_bytes());
    }
    assert_eq!(client.recv_text(), "the last");
    assert_eq!((client.recv_close().code, server.counters().slow.get()), (CloseCode::NORMAL, 0));
}

#[test]
fn a_peer_is_not_read_on_for_what_is_sent_to_it() {
    let server = serve(|mut session: Session| async move {
        let mut ticks = interval(SECOND);
        for _ in 0..5 {
            ticks.tick().await;
            session.send("tick").await?;
            session.ask(|_| ()).await?;
        }
        ticks.tick().await;
        let mut count = 0;
        while session.recv().await.is_some() {
            count += 1;
            if count == 50 {
                session.send("all").await?;
            }
        }
        Ok(())
    });
    let mut client = server.connect("/").unwrap();
    for _ in 0..50 {
        client.send(vec![0; 32 << 10]);
    }
    let unsent = client.unsent();
    assert!(unsent > 0, "reading is paused");
    for _ in 0..5 {
        assert_eq!((client.recv_text(), client.unsent()), ("tick".to_owned(), unsent));
        server.advance(SECOND);
    }
    assert_eq!((client.recv_text(), client.unsent()), ("all".to_owned(), 0));
}

#[test]
fn frames_of_raw_mode_wait_with_their_peer_too() {
    let builder = Server::builder().websocket_raw("/", |mut session: RawSession| async move {
        sleep(SECOND).await;
        while let Some(frame) = session.recv().await {
            if frame.opcode == Opcode::Close {
                return session.close(CloseCode::NORMAL, "").await;
            }
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    for _ in 0..50 {
        client.send(vec![0; 32 << 10]);
    }
    // What the connection holds, what was read in one go, and no more.
    assert!(client.unsent() > 50 * (32 << 10) - (512 << 10), "{}", client.unsent());
    server.advance(SECOND);
    assert_eq!(client.unsent(), 0);
    client.close(CloseCode::NORMAL, "");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_session_and_its_sides_are_named_by_their_connection() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |session: Session| {
        let whole = format!("{session:?}");
        let (sender, receiver) = session.split();
        tell.send([whole, format!("{sender:?}"), format!("{receiver:?}")]).unwrap();
        async move { Ok(()) }
    });
    let id = server.connect("/").unwrap().id();
    let names = ["Session", "Sender", "Receiver"].map(|side| format!("{side}({id:?})"));
    assert_eq!(told.try_recv(), Ok(names));
}

#[test]
fn what_is_ordered_between_two_turns_is_bounded() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |session: Session| {
        let tell = tell.clone();
        async move {
            // Each message counts with what it costs in memory on top of its payload.
            for len in [0, 1, 10_000, (64 << 10) - 640, (64 << 10) - 641, 100_000] {
                let mut count = 0;
                loop {
                    let mut sends = pin!(session.send(vec![0; len]));
                    if poll_fn(|context| Poll::Ready(sends.as_mut().poll(context)))
                        .await
                        .is_pending()
                    {
                        break;
                    }
                    count += 1;
                }
                tell.send((len, count)).unwrap();
                sleep(SECOND).await;
            }
            Ok(())
        }
    });
    let _client = server.connect("/").unwrap();
    server.advance(10 * SECOND);
    let expected = [(0, 103), (1, 103), (10_000, 7), (64_896, 1), (64_895, 2), (100_000, 1)];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_sent_behind_a_close_from_elsewhere_is_dropped() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |mut session: Session| {
        let tell = tell.clone();
        async move {
            let is_full = session.request().query("is_full").is_some();
            session.recv().await;
            if is_full {
                while timeout(Duration::ZERO, session.send(vec![0; 50_000])).await.is_ok() {}
            }
            let sender = session.clone();
            let tell_late = tell.clone();
            let sends = async move {
                // This one waits where it is full.
                let sent = sender.send("at the same time").await;
                tell_late.send(("waiting", sent)).unwrap();
            };
            session.handle().close(CloseCode(4001), "from elsewhere").unwrap();
            if is_full {
                session.spawn(sends).detach();
            }
            sleep(Duration::ZERO).await;
            if !is_full {
                tell.send(("first", session.send("crosses").await)).unwrap();
            }
            sleep(Duration::ZERO).await;
            tell.send(("next", session.send("late").await)).unwrap();
            tell.send(("asks", session.ask(|_| ()).await)).unwrap();
            session.ended().await;
            Ok(())
        }
    });
    let mut client = server.connect("/").unwrap();
    client.ignore_close();
    client.send("go");
    assert_eq!(client.recv_close().code, CloseCode(4001));
    let not_open = Err(SendError::NotOpen);
    let late = [("next", not_open), ("asks", not_open)];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [&[("first", Ok(()))][..], &late].concat());

    let mut client = server.connect("/?is_full=1").unwrap();
    client.stop_reading();
    client.send("go");
    server.advance(Duration::from_secs(6));
    assert!(told.try_iter().any(|told| told == ("waiting", not_open)), "it waits no more");
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_ask_that_is_pending_at_the_end_is_told_so() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |mut session: Session| {
        let tell = tell.clone();
        async move {
            session.recv().await;
            loop {
                // More rounds than one message gets, so that some are left when the Close comes.
                let asked = session.ask(|_| ()).await;
                tell.send(asked).unwrap();
                asked?;
            }
        }
    });
    let client = server.connect("/").unwrap();
    let wire = [masked(0x81, b"go"), masked(0x88, b"\x03\xe8")].concat();
    assert_eq!(answers(client, wire), [(0x88, b"\x03\xe8".to_vec())]);
    let asked: Vec<_> = told.try_iter().collect();
    assert!(asked.len() > 10);
    assert_eq!(asked.last(), Some(&Err(SendError::NotOpen)));
    assert_eq!(asked.iter().filter(|asked| asked.is_err()).count(), 1);
}

#[test]
fn a_call_that_orders_another_keeps_nobody_waiting() {
    fn again(sender: Sender, count: Arc<AtomicUsize>) -> impl FnOnce(&mut Peer<'_>) {
        move |_| {
            count.fetch_add(1, Relaxed);
            let next = again(sender.clone(), Arc::clone(&count));
            if count.load(Relaxed) < 1_000 {
                let mut asks = Box::pin(async move { sender.ask(next).await });
                let mut context = Context::from_waker(Waker::noop());
                assert!(asks.as_mut().poll(&mut context).is_pending());
            }
        }
    }
    let count = Arc::<AtomicUsize>::default();
    let counts = Arc::clone(&count);
    let server = serve(move |mut session: Session| {
        let count = Arc::clone(&counts);
        async move {
            while let Some(message) = session.recv().await {
                if message.as_bytes() == b"again" {
                    session.ask(again(session.clone(), Arc::clone(&count))).await?;
                } else {
                    session.send(count.load(Relaxed).to_string()).await?;
                }
            }
            Ok(())
        }
    });
    let [mut one, mut other] = ["/", "/"].map(|path| server.connect(path).unwrap());
    one.send_bytes([masked(0x81, b"again"), masked(0x81, b"how many?")].concat());
    let so_far: usize = one.recv_text().parse().unwrap();
    assert!(so_far < 100, "{so_far} within one turn");
    other.send("how many?");
    assert_eq!(other.recv_text(), "1000");
}

// ---- the end -----------------------------------------------------------------------------------

#[test]
fn a_handler_has_ten_seconds_after_the_end() {
    let alive = Arc::new(());
    let inside = Arc::clone(&alive);
    let server = serve(move |session: Session| {
        let inside = Arc::clone(&inside);
        async move {
            session.ended().await;
            sleep(Duration::MAX).await;
            drop(inside);
            Ok(())
        }
    });
    let client = server.connect("/").unwrap();
    server.advance(100 * SECOND);
    drop(client);
    server.advance(10 * SECOND - Duration::from_millis(1));
    assert_eq!(Arc::strong_count(&alive), 3);
    server.advance(Duration::from_millis(1));
    assert_eq!((Arc::strong_count(&alive), server.counters().panics.get()), (2, 0));
}

#[test]
fn whatever_becomes_of_a_receiver_its_peer_is_read() {
    /// What the handler does once it has been sent too much, or before.
    async fn handle(session: Session) -> session::Result {
        let way = session.request().param("way").unwrap().to_owned();
        let (sender, mut receiver) = session.split();
        if way == "first" {
            drop(receiver);
            return keep(sender).await;
        }
        receiver.recv().await;
        if way == "full" {
            while timeout(Duration::ZERO, sender.send(vec![0; 50_000])).await.is_ok() {}
        }
        sleep(SECOND).await;
        let later = sender.clone();
        match &*way {
            "asked" => sender.ask(|_| drop(receiver)).await?,
            "elsewhere" => sender.spawn(async { drop(receiver) }).detach(),
            "cancelled" => drop(sender.spawn(async {
                let _receiver = receiver;
                pending().await
            })),
            "moved" | "alone" => {
                if way == "alone" {
                    drop(receiver);
                } else {
                    let holds = async move {
                        let _receiver = receiver;
                        pending().await
                    };
                    sender.spawn(holds).detach();
                }
                later.spawn(async { drop(keep(sender).await) }).detach();
                // The handler ends, and with it the connection.
                return Ok(());
            }
            _ => drop(receiver),
        }
        keep(sender).await
    }

    async fn keep(sender: Sender) -> session::Result {
        sender.ended().await;
        Ok(())
    }

    let server =
        testing::Server::new(Server::builder().websocket("/{way}", handle).ping_period(None));
    for way in ["first", "dropped", "full", "asked", "elsewhere", "cancelled", "moved", "alone"] {
        let mut client = server.connect(&format!("/{way}")).unwrap();
        if way == "full" {
            client.stop_reading();
        }
        for _ in 0..50 {
            client.send(vec![0; 32 << 10]);
        }
        assert_eq!(client.unsent() > 0, way != "first", "{way}: reading is paused");
        server.advance(SECOND);
        client.read_on();
        assert_eq!(client.unsent(), 0, "{way}: all is read");
        if matches!(way, "moved" | "alone") {
            assert_eq!(client.recv_close().code, CloseCode::NORMAL, "{way}");
        } else {
            client.ping(b"there?");
            while client.try_recv().is_some() {}
            client.close(CloseCode(4000), "done");
            let end: Vec<_> = std::iter::from_fn(|| client.recv_frame()).collect();
            let end: Vec<_> = end.iter().map(|frame| frame.opcode).collect();
            assert!(end.ends_with(&[Opcode::Close]), "{way}: {end:?}");
            assert_eq!(client.close_reason().unwrap().code, CloseCode(4000), "{way}");
        }
        assert_eq!(server.connections(), 0, "{way}");
    }
    server.advance(10 * SECOND);
    server.stop();
    server.advance(5 * SECOND);
    assert!(server.has_stopped(), "who waits for ever is dropped");
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn pings_and_a_close_that_no_receiver_of_raw_mode_takes_are_answered() {
    let builder = Server::builder().websocket_raw("/{when}", |session: RawSession| async move {
        let when = session.request().param("when").unwrap().to_owned();
        let (sender, mut receiver) = session.split();
        if when == "late" {
            sleep(SECOND).await;
        }
        if when == "between" {
            receiver.recv().await;
        }
        drop(receiver);
        sender.ended().await;
        Ok(())
    });
    let server = testing::Server::new(builder);
    let wire = [
        masked(0x01, b"a"),
        masked(0x89, b"ping"),
        masked(0x80, &[b'b'; 100]),
        masked(0x8a, b"pong"),
        masked(0x88, b"\x0f\xa0bye"),
    ];
    for when in ["first", "between", "late"] {
        let mut stream = server.connect(&format!("/{when}")).unwrap().into_stream();
        stream.send_bytes(wire.concat());
        server.advance(SECOND);
        let expected = [(0x8a, b"ping".to_vec()), (0x88, b"\x0f\xa0bye".to_vec())];
        // Behind the peer's Close only ours may go out.
        let expected = &expected[usize::from(when == "late")..];
        assert_eq!(frames(&stream.recv_bytes()), expected, "{when}");
        assert!(stream.has_ended(), "{when}");
    }
}

// ---- panics ------------------------------------------------------------------------------------

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as asked, in drop");
    }
}

/// Panics when it is woken.
struct BadWaker;

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        panic!("as asked, in a waker");
    }
}

/// Panics when its last clone is dropped.
struct Fragile(Bomb);

impl Wake for Fragile {
    fn wake(self: Arc<Self>) {
        std::mem::forget(self);
    }
}

fn poll_with(waker: Waker, future: Pin<&mut impl Future>) {
    assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
}

/// An error that panics where it is told to.
#[derive(Debug)]
struct BadError(&'static str);

impl fmt::Display for BadError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert_ne!(self.0, "display");
        Ok(())
    }
}

impl std::error::Error for BadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        assert_ne!(self.0, "source");
        None
    }
}

impl Drop for BadError {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop");
    }
}

/// A converter that panics.
struct BadConverter;

impl<T> Encode<T> for BadConverter {
    fn encode(&self, _: &T) -> Result<Message<'static>, ConvertError> {
        panic!("as asked, in a converter")
    }
}

impl<T> Decode<T> for BadConverter {
    fn decode(&self, _: &Message<'_>) -> Result<T, ConvertError> {
        panic!("as asked, in a converter")
    }
}

/// What an application may do wrong, once it has received "go".
async fn goes_wrong(how: &str, mut session: Session) -> session::Result {
    let fragile = || Waker::from(Arc::new(Fragile(Bomb)));
    let bad = || Waker::from(Arc::new(BadWaker));
    match how {
        "message" => {
            panic!("as asked")
        }
        "local" => {
            let _bomb = Bomb;
            return Ok(());
        }
        "display" | "source" | "drop" => {
            let kinds = ["display", "source", "drop"];
            let kind = kinds.into_iter().find(|&kind| kind == how).unwrap();
            return Err(BadError(kind).into());
        }
        "call" => {
            let asked = session.ask(|_| panic!("as asked, in a call")).await;
            assert_eq!(asked, Err::<(), _>(SendError::NotOpen));
        }
        "call that holds" => {
            let bomb = Bomb;
            let call = move |_: &mut Peer<'_>| {
                let _bomb = bomb;
            };
            session.ask(call).await.ok();
        }
        "value" => {
            // Nobody takes it any more.
            let mut asks = Box::pin(session.ask(|_| Bomb));
            poll_with(Waker::noop().clone(), asks.as_mut());
            drop(asks);
        }
        "call dropped at the end" => {
            // More rounds than one message gets: the next call is left when the Close comes.
            for _ in 0..16 {
                session.ask(|_| ()).await?;
            }
            let bomb = Bomb;
            let call = move |_: &mut Peer<'_>| drop(bomb);
            session.ask(call).await.ok();
        }
        "encode" => {
            session.send_with(&BadConverter, &7).await.ok();
        }
        "decode" => {
            session.recv_with::<u8>(&BadConverter).await;
        }
        "task" => {
            session.spawn(async { panic!("as asked, in a task") }).detach();
        }
        "task dropped" => {
            let bomb = Bomb;
            let holds = async move {
                let _bomb = bomb;
                pending().await
            };
            drop(session.spawn(holds));
        }
        "ten seconds" => {
            session.ended().await;
            let _bomb = Bomb;
            pending::<()>().await;
        }
        "alarm" => {
            let mut sleeps = pin!(sleep(SECOND / 100));
            poll_with(bad(), sleeps.as_mut());
            session.recv().await;
        }
        "alarm's waker" => {
            let mut sleeps = pin!(sleep(SECOND));
            poll_with(fragile(), sleeps.as_mut());
            poll_with(Waker::noop().clone(), sleeps.as_mut());
        }
        "recv" => {
            let mut receives = Box::pin(session.recv());
            poll_with(bad(), receives.as_mut());
            drop(receives);
            session.ended().await;
        }
        "recv at the end" => {
            let mut receives = Box::pin(session.recv());
            poll_with(bad(), receives.as_mut());
            drop(receives);
            pending::<()>().await;
        }
        "receiver's waker" => {
            let mut receives = Box::pin(session.recv());
            poll_with(fragile(), receives.as_mut());
            drop(receives);
            let (sender, receiver) = session.split();
            drop(receiver);
            sender.ended().await;
            return Ok(());
        }
        "ended" => {
            let sender = session.clone();
            let mut ended = pin!(sender.ended());
            poll_with(bad(), ended.as_mut());
            while session.recv().await.is_some() {}
        }
        "ended's waker" => {
            let mut ended = Box::pin(session.ended());
            poll_with(fragile(), ended.as_mut());
            drop(ended);
        }
        "ask" => {
            let sender = session.clone();
            let mut asks = pin!(sender.ask(|_| ()));
            poll_with(bad(), asks.as_mut());
            session.recv().await;
        }
        "send" => {
            while timeout(Duration::ZERO, session.send(vec![0; 50_000])).await.is_ok() {}
            let mut sends = pin!(session.send("waits"));
            poll_with(bad(), sends.as_mut());
            session.ended().await;
        }
        _ => unreachable!("{how}"),
    }
    session.ended().await;
    Ok(())
}

#[test]
fn every_panic_of_a_session_ends_one_connection_at_most() {
    let (ended, is_told) = (CloseCode::NORMAL, CloseCode::INTERNAL_ERROR);
    let ways = [
        ("message", is_told),
        ("local", is_told),
        ("display", is_told),
        ("source", is_told),
        ("drop", is_told),
        ("call", is_told),
        ("call that holds", is_told),
        ("value", is_told),
        ("call dropped at the end", ended),
        ("encode", is_told),
        ("decode", is_told),
        ("task", ended),
        ("task dropped", ended),
        ("ten seconds", ended),
        ("alarm", ended),
        ("alarm's waker", ended),
        ("recv", is_told),
        ("recv at the end", ended),
        ("receiver's waker", is_told),
        ("ended", ended),
        ("ended's waker", ended),
        ("ask", is_told),
        ("send", is_told),
    ];
    let builder = Server::builder()
        .ping_period(None)
        .websocket("/", |mut session: Session| async move {
            let how = session.request().query("how").unwrap_or_default().into_owned();
            while let Some(message) = session.recv().await {
                if !how.is_empty() {
                    return goes_wrong(&how, session).await;
                }
                session.send(message).await?;
            }
            Ok(())
        })
        .websocket("/handler", |_: Session| -> Ready<session::Result> { panic!("as asked") });
    let server = testing::Server::new(builder);
    let mut other = server.connect("/").unwrap();
    let mut panics = 0;
    let mut is_well = |name: &str| {
        panics += 1;
        assert_eq!(server.counters().panics.get(), panics, "{name}");
        other.send(name);
        assert_eq!(other.recv_text(), name);
        assert_eq!(server.connections(), 1, "{name}: it is gone");
    };
    let mut client = server.connect("/handler").unwrap();
    assert_eq!(client.recv_close().code, CloseCode::INTERNAL_ERROR);
    is_well("handler");
    for (name, code) in ways {
        let query = name.replace(' ', "%20").replace('\'', "%27");
        let mut client = server.connect(&format!("/?how={query}")).unwrap();
        if name == "send" {
            client.stop_reading();
        }
        if name == "call dropped at the end" {
            client.send_bytes([masked(0x81, b"go"), masked(0x88, b"\x03\xe8")].concat());
        } else {
            client.send("go");
        }
        server.advance(SECOND);
        client.read_on();
        if client.is_open() && !name.ends_with("at the end") {
            client.send("and on");
            server.advance(SECOND);
        }
        if client.is_open() {
            assert_eq!(code, CloseCode::NORMAL, "{name}");
            client.close(CloseCode::NORMAL, "");
        }
        while client.try_recv().is_some() {}
        assert_eq!(client.close_reason().unwrap().code, code, "{name}");
        server.advance(10 * SECOND);
        is_well(name);
    }
    server.stop();
    server.advance(5 * SECOND);
    assert!(server.has_stopped());
}

#[test]
fn a_waker_that_panics_when_it_is_cloned_breaks_nothing() {
    static VTABLE: RawWakerVTable =
        RawWakerVTable::new(|_| panic!("as asked, in a clone"), |_| (), |_| (), |_| ());

    fn panics(future: impl Future) {
        // SAFETY: no function of the table does anything with the data.
        let waker = unsafe { Waker::new(null(), &VTABLE) };
        let mut future = Box::pin(future);
        let poll = || future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
    }

    let server = serve(|mut session: Session| async move {
        session.recv().await;
        panics(session.recv());
        panics(session.ended());
        panics(session.ask(|_| ()));
        panics(sleep(SECOND));
        let mut sleeps = Box::pin(sleep(SECOND));
        poll_with(Waker::noop().clone(), sleeps.as_mut());
        panics(sleeps);
        while timeout(Duration::ZERO, session.send(vec![0; 50_000])).await.is_ok() {}
        panics(session.send("waits"));
        session.send("well").await?;
        session.recv().await;
        Ok(())
    });
    let mut client = server.connect("/").unwrap();
    client.stop_reading();
    client.send("go");
    server.advance(2 * SECOND);
    client.read_on();
    while client.recv().unwrap().as_bytes() != b"well" {}
    client.send("well");
    assert_eq!(client.recv_close().code, CloseCode::NORMAL);
    assert_eq!(server.counters().panics.get(), 0);
}
