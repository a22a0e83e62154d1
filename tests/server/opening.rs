//! Upgrades that the application decides on in a future.

use std::{
    future,
    io::Write,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use chinwag::{Accept, Answer, OwnedRequest, Route, Router, Server, Timeouts};

use crate::{
    Echo,
    support::{Client, Running, Said, after_head, eventually, frames, http, masked, open, upgrade},
};

fn server() -> Running {
    let decide = |request: OwnedRequest| async move {
        match request.as_request().param("word").unwrap() {
            "yes" => Ok(Accept::new(Echo).with_header("Set-Cookie", "a=1")),
            "panic" => panic!("as asked, in a decision"),
            _ => Err(Answer::text(403, "not you")),
        }
    };
    let router = Router::new().route("/{word}", Route::deciding(decide));
    Running::start(Server::builder().router(router).workers(1))
}

#[test]
fn a_future_accepts_and_refuses() {
    let server = server();
    let (mut client, head) = Client::ask(server.addr, &upgrade("/yes")).unwrap();
    assert!(head.contains("\r\nSet-Cookie: a=1\r\n"), "{head}");
    client.send("hello");
    assert_eq!(client.recv(), Some(Said::Text("hello".into())));

    let answer = http(server.addr, &upgrade("/no"));
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nnot you\n"),
        "{answer}"
    );
}

#[test]
fn a_panic_in_a_future_is_answered_with_500() {
    let server = server();
    assert!(http(server.addr, &upgrade("/panic")).starts_with("HTTP/1.1 500 "));
    assert_eq!(server.counters.panics.get(), 1);
    server.connect("/yes");
}

/// A future that another thread finishes, once it knows it.
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

    /// Finishes it, once somebody waits for it.
    fn finish(&self) {
        loop {
            let (done, waker) = &mut *self.0.lock().unwrap();
            if let Some(waker) = waker.take() {
                *done = true;
                return waker.wake();
            }
            thread::yield_now();
        }
    }
}

#[test]
fn another_thread_decides_and_what_came_meanwhile_is_not_lost() {
    let later = Later::default();
    let decide = {
        let later = later.clone();
        move |_: OwnedRequest| {
            let later = later.clone();
            async move {
                later.wait().await;
                Echo
            }
        }
    };
    let router = Router::new().route("/", Route::deciding(decide));
    let server = Running::start(Server::builder().router(router).workers(1));
    let thread = thread::spawn(move || later.finish());
    // Frames in the same segment as the request.
    let mut socket = open(server.addr);
    let frames_behind = [masked(0x81, b"hello"), masked(0x88, &[3, 232])].concat();
    socket.write_all(&[upgrade("/").into_bytes(), frames_behind].concat()).unwrap();
    let echoed = [(0x81, b"hello".to_vec()), (0x88, vec![3, 232])];
    assert_eq!(frames(&after_head(&mut socket)), echoed);
    thread.join().unwrap();
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

fn never(count: &Arc<AtomicUsize>, handshake: Duration) -> Running {
    let count = Arc::clone(count);
    let decide = move |_: OwnedRequest| {
        let counted = Counted::new(&count);
        async move {
            future::pending::<()>().await;
            drop(counted);
            Echo
        }
    };
    let router = Router::new().route("/", Route::deciding(decide));
    let timeouts = Timeouts { handshake, ..Timeouts::default() };
    Running::start(Server::builder().router(router).timeouts(timeouts).workers(1))
}

#[test]
fn a_decision_that_does_not_come_is_answered_with_503() {
    let count = Arc::default();
    let server = never(&count, Duration::from_millis(200));
    let answer = http(server.addr, &upgrade("/"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    eventually("the future is there or gone", || count.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_client_that_goes_takes_its_decision_with_it() {
    let count = Arc::default();
    let server = never(&count, Duration::from_secs(60));
    let mut socket = TcpStream::connect(server.addr).unwrap();
    socket.write_all(upgrade("/").as_bytes()).unwrap();
    eventually("the future is there or gone", || count.load(Ordering::SeqCst) == 1);
    drop(socket);
    eventually("the future is there or gone", || count.load(Ordering::SeqCst) == 0);
}
