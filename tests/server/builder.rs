//! A server without a router of its own: what its builder takes.

use std::{
    io::{Read, Write},
    time::Duration,
};

use chinwag::{
    Answer, CloseCode, Frame, OwnedRequest, Peer, Request, Route, Server, ServerBuilder, Service,
};

use crate::{
    Echo,
    support::{Client, Running, after_head, http, masked, open, upgrade},
};

struct RawEcho;

impl Service for RawEcho {
    fn frame(&mut self, peer: &mut Peer<'_>, frame: Frame<'_>) {
        peer.send_frame(frame).ok();
    }
}

/// Tells what is known of the client.
struct Tells(OwnedRequest);

impl Service for Tells {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        let request = self.0.as_request();
        let told = format!(
            "{} {} {:?} {:?} {:?} {:?}",
            request.addr(),
            request.path(),
            request.param("room"),
            request.query("a"),
            request.header("host"),
            request.cookie("id"),
        );
        peer.send(told).unwrap();
    }
}

fn echo() -> ServerBuilder {
    Server::builder().workers(1).service("/echo", |_: &Request<'_>| Echo)
}

/// What the client hears until the end, after it has sent `wire`: a code and a reason.
fn end_of(server: &Running, wire: &[u8]) -> (CloseCode, String) {
    let mut client = server.connect("/echo");
    client.send_raw(wire);
    let reason = client.end();
    (reason.code, reason.text.into())
}

#[test]
fn pages_and_services_stand_side_by_side() {
    let server = Running::start(
        echo()
            .get("/", |_| Answer::text(200, "Hello, world!"))
            .service_raw("/raw", |_: &Request<'_>| RawEcho)
            .route("/v2", Route::new(|_: &Request<'_>| Echo).only_protocols(["v2"])),
    );
    let page = http(server.addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.ends_with("\r\n\r\nHello, world!\n"), "{page}");
    let mut client = server.connect("/echo");
    client.send("hello");
    assert_eq!(client.text(), "hello");

    // In raw mode a ping comes back as it went.
    let mut socket = open(server.addr);
    socket.write_all(upgrade("/raw").as_bytes()).unwrap();
    for frame in [masked(0x89, b"here"), masked(0x88, b"\x03\xe8")] {
        socket.write_all(&frame).unwrap();
    }
    assert_eq!(after_head(&mut socket), b"\x89\x04here\x88\x02\x03\xe8");

    assert!(http(server.addr, &upgrade("/v2")).starts_with("HTTP/1.1 400 "));
    let offer = "\r\nSec-WebSocket-Protocol: v1, v2\r\n\r\n";
    let (_, head) = Client::ask(server.addr, &upgrade("/v2").replace("\r\n\r\n", offer)).unwrap();
    assert!(head.contains("\r\nSec-WebSocket-Protocol: v2\r\n"), "{head}");
}

#[test]
fn a_service_may_keep_what_it_knows_of_its_client() {
    let server = Running::start(
        Server::builder().service("/{room}", |request: &Request<'_>| Tells(request.to_owned())),
    );
    let request = upgrade("/te%61?a=b+c").replace("\r\n\r\n", "\r\nCookie: id=7\r\n\r\n");
    let (mut client, _) = Client::ask(server.addr, &request).unwrap();
    let addr = client.socket.local_addr().unwrap();
    let told = "Some(\"tea\") Some(\"b c\") Some(\"localhost\") Some(\"7\")";
    assert_eq!(client.text(), format!("{addr} /te%61 {told}"));
}

#[test]
fn a_client_that_answers_no_ping_is_closed_with_1011() {
    let short = Duration::from_millis(50);
    let server = Running::start(echo().ping_period(short).timeout(short));
    let mut client = server.connect("/echo");
    let mut wire = Vec::new();
    client.socket.read_to_end(&mut wire).unwrap();
    assert_eq!(wire[0], 0x89, "a ping comes first: {wire:x?}");
    assert!(wire.ends_with(b"\x88\x0e\x03\xf3Ping timeout"), "{wire:x?}");
}

#[test]
fn a_frame_or_a_message_over_the_size_is_closed_with_1009() {
    let server = Running::start(echo().max_frame_size(10));
    let mut client = server.connect("/echo");
    client.send("0123456789");
    assert_eq!(client.text(), "0123456789");
    let two_fragments = [masked(0x01, b"012345"), masked(0x80, b"012345")].concat();
    for (name, wire, text) in [
        ("frame", masked(0x81, b"0123456789a"), "frame is too big: 11, max size is 10"),
        ("message", two_fragments, "message is too big: 12, max size is 10"),
    ] {
        assert_eq!(end_of(&server, &wire), (CloseCode::MESSAGE_TOO_BIG, text.into()), "{name}");
    }
}
