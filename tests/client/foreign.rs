//! An application's code that panics: what extensions do, and what decides on compression.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use chinwag::{
    CloseCode, Deflate, Message, Opcode, Peer, Request, Router, SendError, Server, Service,
    client::{Client, ConnectError},
    protocol::{
        extension::{
            DataFrame, Extension, ExtensionError, Extensions, Offer, Param, Transform,
            deflate::Condition,
        },
        frame::Rsv,
    },
};

use crate::support::{DEADLINE, Running};

/// Where an extension panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Name,
    Rsv,
    Offers,
    Accept,
    Outgoing,
    Incoming,
    Drop,
}

/// An extension that changes nothing.
struct Panics(Place);

impl Panics {
    fn at(&self, place: Place) {
        assert!(self.0 != place, "a panic of the application's, {place:?}");
    }
}

impl Extension for Panics {
    fn name(&self) -> &str {
        self.at(Place::Name);
        "x-panics"
    }

    fn rsv(&self) -> Rsv {
        self.at(Place::Rsv);
        Rsv::NONE
    }

    fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        Some((vec![], Box::new(Self(self.0))))
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        self.at(Place::Offers);
        vec![vec![]]
    }

    fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
        self.at(Place::Accept);
        Some(Box::new(Self(self.0)))
    }
}

impl Transform for Panics {
    fn outgoing(&mut self, _: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        self.at(Place::Outgoing);
        Ok(())
    }

    fn incoming(&mut self, _: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        self.at(Place::Incoming);
        Ok(())
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        // Those that are installed stay for longer than the test.
        if !thread::panicking() {
            self.at(Place::Drop);
        }
    }
}

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

fn echo() -> (Running, String) {
    let router = Router::new().service("/", |_: &Request<'_>| Echo);
    let deflate = Deflate { min_len: 0, ..Deflate::default() };
    let server = Server::builder()
        .router(router)
        .workers(1)
        .deflate(deflate)
        .extensions(Extensions::new().with(Panics(Place::Nowhere)));
    let server = Running::start(server);
    let url = format!("ws://{}/", server.addr);
    (server, url)
}

/// Extensions that are never dropped.
fn installed(place: Place) -> Extensions {
    let extensions = Extensions::new().with(Panics(place));
    std::mem::forget(extensions.clone());
    extensions
}

#[test]
fn an_extension_that_panics_in_connecting_is_an_error_of_that() {
    let (_server, url) = echo();
    for place in [Place::Name, Place::Rsv, Place::Offers, Place::Accept] {
        let error = Client::builder().extensions(installed(place)).connect(&url).unwrap_err();
        assert!(matches!(error, ConnectError::Panicked), "{place:?}: {error}");
    }
}

#[test]
fn an_extension_that_panics_on_a_frame_ends_both_halves() {
    let (_server, url) = echo();
    for place in [Place::Outgoing, Place::Incoming] {
        let builder = Client::builder().extensions(installed(place));
        let client = builder.connect(&url).unwrap();
        assert_eq!(client.extensions(), ["x-panics"]);
        let (mut sender, mut receiver) = client.split().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(receiver.recv()));
        let sent = sender.send("Hello");
        if place == Place::Outgoing {
            assert_eq!(sent, Err(SendError::NotOpen));
        }
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Ok(None)), "{place:?}");
        assert_eq!(sender.send("more"), Err(SendError::NotOpen), "{place:?}");
        assert_eq!(sender.close_reason().unwrap().code, CloseCode::INTERNAL_ERROR);
    }
}

#[test]
fn an_extension_that_panics_when_it_is_dropped_harms_nobody() {
    let (_server, url) = echo();
    let mut client = Client::builder().extensions(installed(Place::Drop)).connect(&url).unwrap();
    client.send("Hello").unwrap();
    assert_eq!(client.recv(), Ok(Some("Hello".into())));
    client.close(CloseCode::NORMAL, "").unwrap();
    drop(client);
}

#[test]
fn what_decides_on_compression_and_panics_ends_both_halves() {
    let (server, url) = echo();
    let panics = Arc::new(AtomicBool::new(false));
    let decides = Arc::clone(&panics);
    let compress_if = Some(Condition::new(move |_: Opcode, _: &[u8]| {
        assert!(!decides.load(Ordering::SeqCst), "a panic of the application's");
        true
    }));
    let deflate = Deflate { min_len: 0, compress_if, ..Deflate::default() };
    let client = Client::builder().deflate(deflate).connect(&url).unwrap();
    assert!(client.compression().is_some());
    let (mut sender, mut receiver) = client.split().unwrap();
    sender.send("Hello").unwrap();
    assert_eq!(receiver.recv(), Ok(Some("Hello".into())));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(receiver.recv()));
    panics.store(true, Ordering::SeqCst);
    assert_eq!(sender.send("Hello"), Err(SendError::NotOpen));
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Ok(None)));
    assert_eq!(sender.close_reason().unwrap().code, CloseCode::INTERNAL_ERROR);
    assert_eq!(sender.send("more"), Err(SendError::NotOpen));
    crate::support::eventually("the server has its Close", || server.open() == 0);
}
