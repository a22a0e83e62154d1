//! Foreign code that panics, wherever the server calls it: one connection ends, everything else goes on. What
//! belongs to sessions is tested with them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use chinwag::{
    Accept, Answer, CloseCode, CloseReason, Deflate, Frame, Limits, Message, OwnedRequest, Peer,
    PeerHandle, Request, Route, Server, Service, Topic,
    protocol::{
        extension::{
            DataFrame, Extension, ExtensionError, Extensions, Offer, Param, Transform,
            deflate::Condition,
        },
        frame::Rsv,
    },
    testing::{self, Client},
};

use crate::{Echo, SECOND, echo};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as asked, in drop");
    }
}

/// How foreign code panics.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By a call of its own.
    Call,
    /// When something that it holds is dropped.
    Drop,
    /// With a value that panics when it is dropped.
    Value,
}

const WAYS: [Way; 3] = [Way::Call, Way::Drop, Way::Value];

impl Way {
    fn panic(self) {
        match self {
            Self::Call => panic!("as asked"),
            Self::Drop => drop(Bomb),
            Self::Value => panic_any(Bomb),
        }
    }

    /// What the query of a request asks for.
    fn of(request: &Request<'_>) -> Self {
        match request.query("way").as_deref() {
            Some("Drop") => Self::Drop,
            Some("Value") => Self::Value,
            _ => Self::Call,
        }
    }
}

/// A server, somebody who is to notice nothing, and how many panics were counted.
struct Stage {
    server: testing::Server,
    other: Client,
    panics: u64,
}

impl Stage {
    fn new(builder: chinwag::ServerBuilder) -> Self {
        let server = testing::Server::new(builder.service("/other", |_: &Request<'_>| Echo));
        let other = server.connect("/other").unwrap();
        Self { server, other, panics: 0 }
    }

    /// So many more panics were counted; the other connection still talks, and it is the only one.
    #[track_caller]
    fn is_well(&mut self, more: u64, name: &str) {
        self.panics += more;
        assert_eq!(self.server.counters().panics.get(), self.panics, "{name}");
        self.other.send(name);
        assert_eq!(self.other.recv_text(), name);
        assert_eq!(self.server.connections(), 1, "{name}: the connection is gone");
    }
}

/// Reads on to the Close that a panic leads to.
#[track_caller]
fn is_told(client: &mut Client, name: &str) {
    while client.recv().is_some() {}
    let code = client.close_reason().map(|reason| reason.code);
    assert_eq!(code, Some(CloseCode::INTERNAL_ERROR), "{name}");
}

// ---- services ----------------------------------------------------------------------------------

/// Panics in the method that its request names.
struct Panics {
    place: String,
    way: Way,
}

impl Panics {
    fn new(request: &Request<'_>) -> Self {
        let place = request.query("place").unwrap_or_default().into_owned();
        Self { place, way: Way::of(request) }
    }

    fn at(&self, place: &str) {
        if self.place == place {
            self.way.panic();
        }
    }
}

impl Service for Panics {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.send("in").unwrap();
        self.at("opened");
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).unwrap();
        peer.tasks().call(peer.id());
        self.at("message");
    }

    fn frame(&mut self, _: &mut Peer<'_>, _: Frame<'_>) {
        self.at("frame");
    }

    fn drained(&mut self, _: &mut Peer<'_>) {
        self.at("drained");
    }

    fn woken(&mut self, _: &mut Peer<'_>) {
        self.at("woken");
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

#[test]
fn a_panic_of_a_service_ends_its_connection_alone() {
    let limits = Limits { resume_reading: 1_000, pause_reading: 10_000, ..Limits::default() };
    let builder =
        Server::builder().service("/", Panics::new).service_raw("/raw", Panics::new).limits(limits);
    let mut stage = Stage::new(builder);
    for way in WAYS {
        for place in ["opened", "message", "frame", "drained", "woken", "closed", "drop"] {
            let name = format!("{way:?} in {place}");
            let path = if place == "frame" { "/raw" } else { "/" };
            let connect = stage.server.client().capacity(1_000);
            let mut client = connect.connect(&format!("{path}?place={place}&way={way:?}")).unwrap();
            match place {
                "opened" => {}
                "drained" => client.send(vec![0; 20_000]),
                "closed" | "drop" => client.close(CloseCode::NORMAL, ""),
                _ => client.send("go"),
            }
            if matches!(place, "closed" | "drop") {
                assert_eq!(client.close_reason().unwrap().code, CloseCode::NORMAL, "{name}");
            } else {
                is_told(&mut client, &name);
            }
            stage.is_well(1, &name);
        }
    }
}

// ---- routes ------------------------------------------------------------------------------------

#[test]
fn a_panic_of_a_route_is_answered_with_500() {
    let decide = |request: OwnedRequest| {
        let way = Way::of(&request.as_request());
        if request.as_request().query("place").as_deref() == Some("closure") {
            way.panic();
        }
        async move {
            way.panic();
            Ok::<_, Answer>(Echo)
        }
    };
    let builder = Server::builder()
        .service("/service", |request: &Request<'_>| {
            Way::of(request).panic();
            Echo
        })
        .get("/page", |request: &Request<'_>| {
            Way::of(request).panic();
            Answer::text(200, "")
        })
        .route("/deciding", Route::deciding(decide));
    let mut stage = Stage::new(builder);
    for way in WAYS {
        for path in ["/service?", "/deciding?place=closure&", "/deciding?"] {
            let name = format!("{way:?} at {path}");
            let answer = stage.server.connect(&format!("{path}way={way:?}")).unwrap_err();
            assert_eq!(answer.status, 500, "{name}");
            stage.is_well(1, &name);
        }
        let answer = stage.server.get(&format!("/page?way={way:?}"));
        assert_eq!(answer.status, 500, "{way:?} in a page");
        stage.is_well(1, "a page");
    }
}

/// A header that belongs to the handshake makes an answer of 500 of it, and the service is not used.
fn unused(service: Panics) -> Accept<Panics> {
    Accept::new(service).with_header("Upgrade", "h2c")
}

#[test]
fn a_decision_that_is_not_used_may_panic_when_it_is_dropped() {
    let builder = Server::builder()
        .service("/now", |request: &Request<'_>| unused(Panics::new(request)))
        .route(
            "/never",
            Route::deciding(|_: OwnedRequest| {
                let bomb = Bomb;
                async move {
                    let _bomb = bomb;
                    std::future::pending::<Echo>().await
                }
            }),
        );
    let mut stage = Stage::new(builder);
    for way in WAYS {
        let path = format!("/now?place=drop&way={way:?}");
        assert_eq!(stage.server.connect(&path).unwrap_err().status, 500, "{way:?}");
        stage.is_well(1, &path);
    }
    // The client goes before anything is decided.
    drop(stage.server.client().start("/never"));
    stage.is_well(1, "never, as the client goes");
    let late = stage.server.client().start("/never");
    stage.server.advance(11 * SECOND);
    assert_eq!(late.finish().unwrap_err().status, 503);
    stage.is_well(1, "never, as it takes too long");
}

// ---- what changes frames -----------------------------------------------------------------------

/// Panics where it is told to: over the name of that place, and of no other.
#[derive(Clone)]
struct BadExtension {
    way: Way,
    /// Panics at the next question at a handshake for its name.
    is_armed: Arc<AtomicBool>,
}

/// One connection's side of it; that of a client does nothing.
struct BadTransform(Option<Way>, bool);

impl Extension for BadExtension {
    fn name(&self) -> &str {
        if self.is_armed.swap(false, Ordering::Relaxed) {
            self.way.panic();
        }
        "x-bad"
    }

    fn rsv(&self) -> Rsv {
        Rsv::NONE
    }

    fn answer(&self, offer: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        let kind = offer.params.first().map(|param| param.name);
        if kind == Some("answer") {
            self.way.panic();
        }
        Some((vec![], Box::new(BadTransform(Some(self.way), kind == Some("drop")))))
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        unreachable!("it is the server's")
    }

    fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
        unreachable!("it is the server's")
    }
}

impl Transform for BadTransform {
    fn outgoing(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        if let Some(way) = self.0.filter(|_| frame.payload() == b"outgoing") {
            way.panic();
        }
        Ok(())
    }

    fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        if let Some(way) = self.0.filter(|_| frame.payload() == b"incoming") {
            way.panic();
        }
        Ok(())
    }
}

impl Drop for BadTransform {
    fn drop(&mut self) {
        if let Some(way) = self.0.filter(|_| self.1) {
            way.panic();
        }
    }
}

/// A client's side of the extension, which is offered with a parameter of this name.
struct Offered(&'static str);

impl Extension for Offered {
    fn name(&self) -> &str {
        "x-bad"
    }

    fn rsv(&self) -> Rsv {
        Rsv::NONE
    }

    fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        unreachable!("it is the client's")
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        vec![vec![Param { name: self.0, value: None }]]
    }

    fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
        Some(Box::new(BadTransform(None, false)))
    }
}

/// Is a member of a topic, gives its handle away, and echoes.
struct Member(Topic, Handles);

type Handles = Arc<Mutex<Vec<PeerHandle>>>;

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        self.1.lock().unwrap().push(peer.handle());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

#[test]
fn a_panic_of_an_extension_or_a_condition_ends_its_connection_alone() {
    for way in WAYS {
        let (topic, handles) = (Topic::new(), Handles::default());
        let member = |topic: &Topic, handles: &Handles| {
            let (topic, handles) = (topic.clone(), Arc::clone(handles));
            Route::new(move |_: &Request<'_>| Member(topic.clone(), Arc::clone(&handles)))
        };
        let bad = BadExtension { way, is_armed: Arc::default() };
        let condition = Condition::new(move |_, payload| {
            if payload == b"condition" {
                way.panic();
            }
            true
        });
        let deflate = Deflate { compress_if: Some(condition), min_len: 1, ..Deflate::default() };
        let route = member(&topic, &handles)
            .extensions(Extensions::new().with(bad.clone()))
            .deflate(Some(deflate));
        let builder =
            Server::builder().route("/", route).route("/member", member(&topic, &handles));
        let mut stage = Stage::new(builder);
        let connect = |stage: &Stage, kind| {
            let offered = Extensions::new().with(Offered(kind));
            let connect = stage.server.client().deflate(Deflate::default()).extensions(offered);
            connect.connect("/")
        };

        assert_eq!(connect(&stage, "answer").unwrap_err().status, 500, "{way:?} in answer");
        stage.is_well(1, "answer");
        bad.is_armed.store(true, Ordering::Relaxed);
        assert_eq!(connect(&stage, "name").unwrap_err().status, 500, "{way:?} in name");
        stage.is_well(1, "name");

        // The connection is told which extension it was, and it is no panic of the application's.
        let mut echoes = connect(&stage, "none").unwrap();
        echoes.send("incoming");
        is_told(&mut echoes, "incoming");
        stage.is_well(0, "incoming");
        for place in ["outgoing", "condition"] {
            let mut echoes = connect(&stage, "none").unwrap();
            echoes.send(place);
            is_told(&mut echoes, place);
            stage.is_well(0, &format!("{place} of an answer"));

            let mut commanded = connect(&stage, "none").unwrap();
            handles.lock().unwrap().last().unwrap().send(place).unwrap();
            is_told(&mut commanded, place);
            stage.is_well(0, &format!("{place} of a handle's"));

            // Among members whom it does not harm.
            let mut before = stage.server.connect("/member").unwrap();
            let mut framed = connect(&stage, "none").unwrap();
            let mut after = stage.server.connect("/member").unwrap();
            topic.publish("well").unwrap();
            topic.publish(place).unwrap();
            topic.publish("still").unwrap();
            for member in [&mut before, &mut after] {
                let heard = [(); 3].map(|()| member.recv_text());
                assert_eq!(heard, ["well", place, "still"], "{place} of a publication");
            }
            assert_eq!(framed.recv_text(), "well", "{place} of a publication");
            is_told(&mut framed, place);
            drop((before, after));
            stage.is_well(0, &format!("{place} of a publication"));
            assert_eq!(topic.subscribers(), 0, "{place}");
        }
        let mut client = connect(&stage, "drop").unwrap();
        client.close(CloseCode::NORMAL, "");
        assert_eq!(client.close_reason().unwrap().code, CloseCode::NORMAL, "{way:?} in drop");
        stage.is_well(0, "an extension's drop");
    }
}

// ---- the server --------------------------------------------------------------------------------

#[test]
fn a_panic_of_a_periodic_job_ends_nothing() {
    for way in WAYS {
        let mut stage = Stage::new(Server::builder().every(SECOND, move |_| way.panic()));
        for _ in 0..3 {
            stage.server.advance(SECOND);
            stage.is_well(1, &format!("{way:?} in a job"));
        }
    }
}

/// What the end of a server drops, it drops on the thread that it had; that goes on.
#[track_caller]
fn ends_quietly(builder: chinwag::ServerBuilder) {
    let server = testing::Server::new(builder);
    let mut client = server.connect("/echo").unwrap();
    client.send("well");
    assert_eq!(client.recv_text(), "well");
    drop(client);
    let ended = catch_unwind(AssertUnwindSafe(|| drop(server)));
    assert!(ended.is_ok(), "a panic comes out of the server's end");
}

#[test]
fn a_job_may_panic_when_the_server_drops_it() {
    let bomb = Bomb;
    ends_quietly(echo().every(SECOND, move |_| _ = &bomb));
}

#[test]
fn services_may_panic_when_the_server_stops() {
    let server = testing::Server::new(Server::builder().service("/", Panics::new));
    let mut clients = Vec::new();
    for way in WAYS {
        for place in ["closed", "drop"] {
            let mut client = server.connect(&format!("/?place={place}&way={way:?}")).unwrap();
            assert_eq!(client.recv_text(), "in");
            // One half of them is dropped when time is up.
            if place == "drop" {
                client.ignore_close();
            }
            clients.push(client);
        }
    }
    server.stop();
    server.advance(5 * SECOND);
    assert!(server.has_stopped());
    assert_eq!(server.counters().panics.get(), 6);
    assert!(
        clients.iter().all(|client| client.close_reason().unwrap().code == CloseCode::GOING_AWAY)
    );
}
