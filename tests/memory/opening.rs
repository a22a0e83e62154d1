//! Upgrades that the application decides on in a future.

use std::{
    future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    thread,
};

use chinwag::{
    Accept, Answer, OwnedRequest, Route, Server, Session, Timeouts, session::sleep, testing,
};

use crate::{
    Echo, SECOND, TICK,
    support::{after_head, frames, masked, upgrade},
};

fn server() -> testing::Server {
    let decide = |request: OwnedRequest| async move {
        match request.as_request().param("word").unwrap() {
            "yes" => Ok(Accept::new(Echo).with_header("Set-Cookie", "a=1")),
            "panic" => panic!("as asked, in a decision"),
            _ => Err(Answer::text(403, "not you")),
        }
    };
    testing::Server::new(Server::builder().route("/{word}", Route::deciding(decide)))
}

#[test]
fn a_future_accepts_and_refuses() {
    let server = server();
    let mut client = server.connect("/yes").unwrap();
    assert_eq!(client.response().header("Set-Cookie"), Some("a=1"));
    client.send("hello");
    assert_eq!(client.recv_text(), "hello");
    let answer = server.connect("/no").unwrap_err();
    assert_eq!((answer.status, answer.text()), (403, "not you\n".into()));
}

#[test]
fn a_panic_in_a_future_is_answered_with_500() {
    let server = server();
    assert_eq!(server.connect("/panic").unwrap_err().status, 500);
    assert_eq!(server.counters().panics.get(), 1);
    server.connect("/yes").unwrap();
}

#[test]
fn a_session_is_admitted_or_refused_after_a_while() {
    let route = Route::session(|session: Session| async move {
        let request = session.request();
        let (id, protocol) = (request.param("id").unwrap(), request.protocol().unwrap_or("none"));
        session.send(format!("{id} speaks {protocol}")).await?;
        Ok(())
    });
    let route = route.protocols(["chat"]).admit(|request: OwnedRequest| async move {
        sleep(SECOND).await;
        let is_known = request.as_request().cookie("token") == Some("secret");
        if is_known { Ok(()) } else { Err(Answer::text(401, "log in first")) }
    });
    let server = testing::Server::new(Server::builder().route("/{id}", route));
    let knock = |cookie| server.client().protocol("chat").header("Cookie", cookie).start("/7");
    let (known, unknown) = (knock("token=secret"), knock("token=guess"));
    server.advance(SECOND);
    assert_eq!(known.finish().unwrap().recv_text(), "7 speaks chat");
    let answer = unknown.finish().unwrap_err();
    assert_eq!((answer.status, answer.text()), (401, "log in first\n".into()));
}

/// A future that another thread finishes.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<(bool, Option<Waker>)>>);

impl Later {
    async fn wait(&self) {
        future::poll_fn(|context| {
            let (done, waker) = &mut *self.0.lock().unwrap();
            *waker = Some(context.waker().clone());
            if *done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Finishes it, as somebody waits for it.
    fn finish(&self) {
        let (done, waker) = &mut *self.0.lock().unwrap();
        *done = true;
        waker.take().expect("somebody waits").wake();
    }
}

#[test]
fn another_thread_decides_and_what_came_meanwhile_is_not_lost() {
    let later = Later::default();
    let theirs = later.clone();
    let decide = move |_: OwnedRequest| {
        let later = theirs.clone();
        async move {
            later.wait().await;
            Echo
        }
    };
    let server = testing::Server::new(Server::builder().route("/", Route::deciding(decide)));
    // Frames in the same segment as the request.
    let frames_behind = [masked(0x81, b"hello"), masked(0x88, &[3, 232])].concat();
    let mut stream = server.open();
    stream.send_bytes([upgrade("/").into_bytes(), frames_behind].concat());
    assert_eq!(stream.recv_bytes(), b"");
    let thread = thread::spawn(move || later.finish());
    server.run_until(|| stream.has_ended(), 20 * SECOND);
    thread.join().unwrap();
    let answer = stream.recv_bytes();
    let echoed = [(0x81, b"hello".to_vec()), (0x88, vec![3, 232])];
    assert_eq!(frames(after_head(&answer)), echoed);
}

/// Counts how many of it live.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server that never decides, and how many of its decisions are being made.
fn never() -> (testing::Server, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let theirs = Arc::clone(&count);
    let decide = move |_: OwnedRequest| {
        let counted = Counted::new(&theirs);
        async move {
            future::pending::<()>().await;
            drop(counted);
            Echo
        }
    };
    let timeouts = Timeouts { handshake: 10 * SECOND, ..Timeouts::default() };
    let builder = Server::builder().route("/", Route::deciding(decide)).timeouts(timeouts);
    (testing::Server::new(builder), count)
}

#[test]
fn a_decision_that_does_not_come_is_answered_with_503() {
    let (server, count) = never();
    let pending = server.client().start("/");
    server.advance(10 * SECOND - TICK);
    assert_eq!((pending.is_answered(), count.load(Ordering::SeqCst)), (false, 1));
    server.advance(2 * TICK);
    assert_eq!(pending.finish().unwrap_err().status, 503);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn a_client_that_goes_takes_its_decision_with_it() {
    let (server, count) = never();
    let pending = server.client().start("/");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    drop(pending);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
