//! Time, and other threads.

use std::{
    future::poll_fn,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    PeerHandle, Session,
    session::{Elapsed, interval, sleep, timeout},
};

// ---- the clock ---------------------------------------------------------------------------------

#[test]
fn who_answers_pings_stays_for_hours_and_who_does_not_is_closed_in_time() {
    let timeouts =
        Timeouts { ping_period: Some(30 * SECOND), pong: 10 * SECOND, ..Timeouts::default() };
    let (server, told) = telling(crate::Server::builder().timeouts(timeouts));
    let mut awake = server.connect("/echo").unwrap();
    let mut asleep = server.connect("/echo").unwrap();
    asleep.ignore_pings();
    server.advance(39 * SECOND);
    assert!(asleep.is_open());
    // Deadlines are rounded up to 50 ms, each of the two.
    server.advance(SECOND + Duration::from_millis(100));
    let close = asleep.recv_close();
    assert_eq!((close.code, &*close.text), (CloseCode::INTERNAL_ERROR, "Ping timeout"));
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Pong));
    server.advance(3_600 * SECOND);
    assert_eq!((server.connections(), awake.is_open()), (1, true));
    awake.send("still here");
    assert_eq!(awake.recv_text(), "still here");
    assert_eq!(server.elapsed(), 3_640 * SECOND + Duration::from_millis(100));
}

#[test]
fn jobs_are_done_in_their_time() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let server = Server::new(builder().every(SECOND, move |now| noted.lock().unwrap().push(now)));
    let start = server.now();
    server.advance(Duration::from_millis(999));
    assert!(times.lock().unwrap().is_empty());
    server.advance(Duration::from_millis(2_001));
    assert_eq!(*times.lock().unwrap(), [1, 2, 3].map(|second| start + second * SECOND));
}

#[test]
fn sessions_wait_by_the_same_clock() {
    let builder = crate::Server::builder().websocket("/", |mut session: Session| async move {
        let mut ticks = interval(SECOND);
        for tick in 1..=3 {
            ticks.tick().await;
            session.send(format!("tick {tick}")).await?;
        }
        match timeout(60 * SECOND, session.recv()).await {
            Ok(_) => session.send("in time").await?,
            Err(Elapsed) => session.send("too late").await?,
        }
        sleep(SECOND).await;
        Ok(())
    });
    let server = Server::new(builder);
    // The first tick comes at once, so the word is waited for until 62 s have passed.
    for (wait, verdict) in [(58_900, "in time"), (59_100, "too late")] {
        let mut client = server.connect("/").unwrap();
        server.advance(3 * SECOND);
        let ticks = [client.recv_text(), client.recv_text(), client.recv_text()];
        assert_eq!(ticks, ["tick 1", "tick 2", "tick 3"]);
        server.advance(Duration::from_millis(wait));
        client.send("word");
        assert_eq!(client.recv_text(), verdict);
        server.advance(SECOND);
        assert_eq!(client.recv_close().code, CloseCode::NORMAL);
    }
}

#[test]
fn a_session_counts_from_when_it_begins_to_wait_however_long_its_worker_slept() {
    let builder = crate::Server::builder().websocket("/", |mut session: Session| async move {
        while session.recv().await.is_some() {
            sleep(2 * SECOND).await;
            session.send("awake").await?;
        }
        Ok(())
    });
    let server = Server::new(builder);
    let mut client = server.connect("/").unwrap();
    server.advance(Duration::from_secs(10));
    client.send("sleep");
    server.advance(Duration::from_millis(1_999));
    assert_eq!(client.try_recv(), None);
    server.advance(Duration::from_millis(1));
    assert_eq!(client.recv_text(), "awake");
}

#[test]
fn a_period_without_end_ticks_once() {
    let builder = crate::Server::builder().websocket("/", |session: Session| async move {
        let mut ticks = interval(Duration::MAX);
        ticks.tick().await;
        session.send("tick").await?;
        ticks.tick().await;
        session.send("another").await?;
        Ok(())
    });
    let server = Server::new(builder);
    let mut client = server.connect("/").unwrap();
    server.advance(60 * SECOND);
    assert_eq!((client.recv_text(), client.try_recv()), ("tick".into(), None));
    assert!(client.is_open());
}

#[test]
fn a_session_that_still_runs_is_dropped_with_its_server() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let builder = crate::Server::builder().websocket("/", move |mut session: Session| {
        let inside = Arc::clone(&inside);
        async move {
            session.recv().await;
            drop(inside);
            Ok(())
        }
    });
    let server = Server::new(builder);
    let client = server.connect("/").unwrap();
    assert_eq!(Arc::strong_count(&held), 3);
    drop((server, client));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_request_without_an_end_is_answered_when_its_time_is_up() {
    let server = echo();
    let mut silent = server.open();
    let mut slow = server.open();
    slow.send_bytes("GET / ");
    server.advance(9 * SECOND);
    assert!(!silent.has_ended() && !slow.has_ended());
    server.advance(2 * SECOND);
    assert!(silent.recv_bytes().is_empty() && silent.has_ended());
    assert!(slow.recv_bytes().starts_with(b"HTTP/1.1 408 "));
}

// ---- answers that take their time --------------------------------------------------------------

#[test]
fn an_answer_may_take_its_time() {
    /// Whether the door is open, and who waits for that.
    #[derive(Default)]
    struct Door(Mutex<(bool, Vec<Waker>)>);

    impl Door {
        fn poll(&self, context: &Context<'_>) -> Poll<()> {
            let mut door = self.0.lock().unwrap();
            door.1.push(context.waker().clone());
            if door.0 { Poll::Ready(()) } else { Poll::Pending }
        }

        fn open(&self) {
            let mut door = self.0.lock().unwrap();
            door.0 = true;
            door.1.drain(..).for_each(Waker::wake);
        }
    }

    let door = Arc::<Door>::default();
    let theirs = Arc::clone(&door);
    let route = Route::deciding(move |_| {
        let door = Arc::clone(&theirs);
        async move {
            poll_fn(|context| door.poll(context)).await;
            Echo(None)
        }
    });
    let server = Server::new(crate::Server::builder().route("/", route));
    let pending = server.client().start("/");
    assert!(!pending.is_answered());
    let complaint = complaint(|| drop(server.connect("/")));
    assert!(complaint.contains("expected an answer to its request"), "{complaint}");
    door.open();
    let mut client = pending.finish().unwrap();
    client.send("in");
    assert_eq!(client.recv_text(), "in");
}

#[test]
fn who_is_decided_on_later_may_listen_later_still() {
    struct Deaf;
    impl Service for Deaf {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.pause_reading();
        }

        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            peer.send(message).unwrap();
        }
    }
    let route = Route::deciding(|_| async { Deaf });
    let server = Server::new(crate::Server::builder().router(Router::new().route("/", route)));
    let mut client = server.connect("/").unwrap();
    client.send("is anybody there?");
    assert_eq!(client.try_recv(), None);
}

// ---- other threads ----------------------------------------------------------------------------

#[test]
fn what_other_threads_do_is_waited_for() {
    struct Lends(mpsc::Sender<PeerHandle>);
    impl Service for Lends {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            self.0.send(peer.handle()).unwrap();
        }
    }
    let (lend, lent) = mpsc::channel();
    let router = Router::new().service("/", move |_: &Request<'_>| Lends(lend.clone()));
    let server = Server::new(crate::Server::builder().router(router));
    let mut client = server.connect("/").unwrap();
    let handle = lent.recv().unwrap();
    let sender = thread::spawn(move || handle.send("from afar").unwrap());
    let mut heard = None;
    server.run_until(
        || {
            heard = client.try_recv();
            heard.is_some()
        },
        10 * SECOND,
    );
    assert_eq!(heard, Some("from afar".into()));
    sender.join().unwrap();
    let complaint = complaint(|| server.run_until(|| false, Duration::from_millis(5)));
    assert_eq!(complaint, "what was waited for has not come in 5ms");
}
