//! Panics of the application: one connection ends, everything else goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use chinwag::{
    Answer, CloseCode, CloseReason, Message, Peer, Request, Route, Router, Server, Service,
};

use crate::{
    Echo,
    support::{DEADLINE, Running, eventually, http, masked},
};

/// Panics where it is told to.
struct Panics(&'static str);

impl Panics {
    fn at(&self, place: &str) {
        assert!(self.0 != place, "as asked, in {place}");
    }
}

impl Service for Panics {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.send("in").unwrap();
        self.at("opened");
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).unwrap();
        self.at("message");
    }

    fn drained(&mut self, _: &mut Peer<'_>) {
        self.at("drained");
    }

    fn closed(&mut self, _: &CloseReason) {
        self.at("closed");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.at("drop");
    }
}

fn server() -> Running {
    let panics = |place| move |_: &Request<'_>| Panics(place);
    let limits = chinwag::Limits {
        max_frame: 16 << 20,
        max_message: 16 << 20,
        ..chinwag::Limits::default()
    };
    let router = Router::new()
        .service("/echo", |_: &Request<'_>| Echo)
        .service("/opened", panics("opened"))
        .service("/message", panics("message"))
        .route("/drained", Route::new(panics("drained")).limits(limits))
        .service("/closed", panics("closed"))
        .service("/drop", panics("drop"))
        .service("/make", |_: &Request<'_>| -> Echo { panic!("as asked, in a route") })
        .get("/page", |_: &Request<'_>| -> Answer { panic!("as asked, in a page") });
    Running::start(Server::builder().router(router).workers(1))
}

#[test]
fn a_panic_closes_its_connection_with_1011_and_no_other() {
    let server = server();
    let mut other = server.connect("/echo");
    let mut panics = 0;
    let mut is_counted = |name: &str| {
        panics += 1;
        eventually(name, || server.counters.panics.get() == panics);
        other.send(name);
        assert_eq!(other.text(), name);
        eventually("it is gone", || server.open() == 1);
    };

    let mut client = server.connect("/opened");
    assert_eq!(client.text(), "in");
    assert_eq!(client.end().code, CloseCode::INTERNAL_ERROR);
    drop(client);
    is_counted("opened");

    let mut client = server.connect("/message");
    assert_eq!(client.text(), "in");
    // Of three messages in one read, the second and third are not served any more.
    client.send_raw(&masked(0x81, b"one").repeat(3));
    assert_eq!(client.text(), "one");
    assert_eq!(client.end().code, CloseCode::INTERNAL_ERROR);
    drop(client);
    is_counted("message");

    let mut client = server.connect("/drained");
    assert_eq!(client.text(), "in");
    client.send(vec![0; 16 << 20]);
    assert!(client.recv().is_some());
    assert_eq!(client.end().code, CloseCode::INTERNAL_ERROR);
    drop(client);
    is_counted("drained");

    for place in ["closed", "drop"] {
        let mut client = server.connect(&format!("/{place}"));
        client.close(CloseCode::NORMAL, "");
        assert_eq!(client.end().code, CloseCode::NORMAL);
        drop(client);
        is_counted(place);
    }

    for path in ["/make", "/page"] {
        let answer = if path == "/page" {
            http(server.addr, "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        } else {
            crate::support::Client::try_connect(server.addr, path).err().expect("no connection")
        };
        assert!(answer.starts_with("HTTP/1.1 500 "), "{path}: {answer}");
        is_counted(path);
    }
}

#[test]
fn a_service_that_has_panicked_still_hears_its_end() {
    struct Panics(mpsc::Sender<CloseCode>);

    impl Service for Panics {
        fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {
            panic!("as asked");
        }

        fn closed(&mut self, reason: &CloseReason) {
            self.0.send(reason.code).unwrap();
        }
    }

    let (tell, told) = mpsc::channel();
    let make = move |_: &Request<'_>| Panics(tell.clone());
    let server = Running::router(Router::new().service("/", make));
    let mut client = server.connect("/");
    client.send("panic");
    assert_eq!(client.end().code, CloseCode::INTERNAL_ERROR);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(CloseCode::INTERNAL_ERROR));
}

#[test]
fn a_panicking_job_is_called_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let job = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("as asked, in a job");
    };
    let router = crate::echo_router();
    let builder = Server::builder().router(router).workers(1);
    let server = Running::start(builder.every(Duration::from_millis(10), job));
    let mut client = server.connect("/echo");
    eventually("it is called again", || calls.load(Ordering::Relaxed) >= 3);
    client.send("well");
    assert_eq!(client.text(), "well");
    assert!(server.counters.panics.get() >= 2);
}
