//! A server without a router of its own: what its builder takes.

use chinwag::{
    Answer, CloseCode, Frame, Opcode, OwnedRequest, Peer, Request, Route, Server, Service, testing,
};

use crate::{Echo, SECOND, echo, support::masked};

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

#[test]
fn pages_and_services_stand_side_by_side() {
    let server = testing::Server::new(
        echo()
            .get("/", |_: &Request<'_>| Answer::text(200, "Hello, world!"))
            .service_raw("/raw", |_: &Request<'_>| RawEcho)
            .route("/v2", Route::new(|_: &Request<'_>| Echo).only_protocols(["v2"])),
    );
    assert_eq!(server.get("/").text(), "Hello, world!\n");
    let mut client = server.connect("/echo").unwrap();
    client.send("hello");
    assert_eq!(client.recv_text(), "hello");

    // In raw mode a Ping comes back as it went.
    let mut client = server.connect("/raw").unwrap();
    client.ignore_pings();
    client.ping(b"here");
    client.close(CloseCode::NORMAL, "");
    for (opcode, payload) in [(Opcode::Ping, &b"here"[..]), (Opcode::Close, b"\x03\xe8")] {
        let frame = client.recv_frame().unwrap();
        assert_eq!((frame.opcode, &*frame.payload), (opcode, payload));
    }

    assert_eq!(server.connect("/v2").unwrap_err().status, 400);
    let client = server.client().protocol("v1").protocol("v2").connect("/v2").unwrap();
    assert_eq!(client.protocol().as_deref(), Some("v2"));
}

#[test]
fn a_service_may_keep_what_it_knows_of_its_client() {
    let make = |request: &Request<'_>| Tells(request.to_owned());
    let server = testing::Server::new(Server::builder().service("/{room}", make));
    let connect = server.client().header("Cookie", "id=7").addr("192.0.2.1:7".parse().unwrap());
    let mut client = connect.connect("/te%61?a=b+c").unwrap();
    let told = r#"192.0.2.1:7 /te%61 Some("tea") Some("b c") Some("localhost") Some("7")"#;
    assert_eq!(client.recv_text(), told);
}

#[test]
fn a_client_that_answers_no_ping_is_closed_with_1011() {
    let server = testing::Server::new(echo().ping_period(SECOND).timeout(SECOND));
    let mut client = server.connect("/echo").unwrap();
    client.ignore_pings();
    server.advance(3 * SECOND);
    assert_eq!(client.recv_frame().unwrap().opcode, Opcode::Ping);
    assert_eq!(&*client.recv_frame().unwrap().payload, b"\x03\xf3Ping timeout");
}

#[test]
fn a_frame_or_a_message_over_the_size_is_closed_with_1009() {
    let server = testing::Server::new(echo().max_frame_size(10));
    let mut client = server.connect("/echo").unwrap();
    client.send("0123456789");
    assert_eq!(client.recv_text(), "0123456789");
    let two_fragments = [masked(0x01, b"012345"), masked(0x80, b"012345")].concat();
    for (name, wire, text) in [
        ("frame", masked(0x81, b"0123456789a"), "frame is too big: 11, max size is 10"),
        ("message", two_fragments, "message is too big: 12, max size is 10"),
    ] {
        let mut client = server.connect("/echo").unwrap();
        client.send_bytes(wire);
        let close = client.recv_close();
        assert_eq!((close.code, &*close.text), (CloseCode::MESSAGE_TOO_BIG, text), "{name}");
    }
}
