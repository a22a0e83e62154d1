//! Panics of the application: one connection ends, everything else goes on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use chinwag::{
    Answer, CloseCode, CloseReason, Limits, Message, Peer, Request, Route, Server, Service, testing,
};

use crate::{Echo, SECOND, echo, support::masked};

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

fn server() -> testing::Server {
    let panics = |place| move |_: &Request<'_>| Panics(place);
    let limits = Limits { resume_reading: 1_000, pause_reading: 10_000, ..Limits::default() };
    let builder = echo()
        .service("/opened", panics("opened"))
        .service("/message", panics("message"))
        .route("/drained", Route::new(panics("drained")).limits(limits))
        .service("/closed", panics("closed"))
        .service("/drop", panics("drop"))
        .service("/make", |_: &Request<'_>| -> Echo { panic!("as asked, in a route") })
        .get("/page", |_: &Request<'_>| -> Answer { panic!("as asked, in a page") });
    testing::Server::new(builder)
}

#[test]
fn a_panic_closes_its_connection_with_1011_and_no_other() {
    let server = server();
    let mut other = server.connect("/echo").unwrap();
    let mut panics = 0;
    let mut is_counted = |name: &str| {
        panics += 1;
        assert_eq!(server.counters().panics.get(), panics, "{name}");
        other.send(name);
        assert_eq!(other.recv_text(), name);
        assert_eq!(server.connections(), 1, "{name}: it is gone");
    };

    let mut client = server.connect("/opened").unwrap();
    assert_eq!(client.recv_text(), "in");
    assert_eq!(client.recv_close().code, CloseCode::INTERNAL_ERROR);
    is_counted("opened");

    let mut client = server.connect("/message").unwrap();
    assert_eq!(client.recv_text(), "in");
    // Of three messages in one read, the second and third are not served any more.
    client.send_bytes(masked(0x81, b"one").repeat(3));
    assert_eq!(client.recv_text(), "one");
    assert_eq!(client.recv_close().code, CloseCode::INTERNAL_ERROR);
    is_counted("message");

    let mut client = server.client().capacity(1_000).connect("/drained").unwrap();
    assert_eq!(client.recv_text(), "in");
    client.send(vec![0; 20_000]);
    assert_eq!(client.recv_binary().len(), 20_000);
    assert_eq!(client.recv_close().code, CloseCode::INTERNAL_ERROR);
    is_counted("drained");

    for place in ["closed", "drop"] {
        let mut client = server.connect(&format!("/{place}")).unwrap();
        client.close(CloseCode::NORMAL, "");
        assert_eq!(client.close_reason().unwrap().code, CloseCode::NORMAL);
        is_counted(place);
    }

    assert_eq!(server.connect("/make").unwrap_err().status, 500);
    is_counted("/make");
    assert_eq!(server.get("/page").status, 500);
    is_counted("/page");
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
    let server = testing::Server::new(Server::builder().service("/", make));
    let mut client = server.connect("/").unwrap();
    client.send("panic");
    assert_eq!(client.recv_close().code, CloseCode::INTERNAL_ERROR);
    assert_eq!(told.try_recv(), Ok(CloseCode::INTERNAL_ERROR));
}

#[test]
fn a_panicking_job_is_called_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let job = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("as asked, in a job");
    };
    let server = testing::Server::new(echo().every(SECOND, job));
    let mut client = server.connect("/echo").unwrap();
    server.advance(3 * SECOND);
    assert_eq!((calls.load(Ordering::Relaxed), server.counters().panics.get()), (3, 3));
    client.send("well");
    assert_eq!(client.recv_text(), "well");
}
