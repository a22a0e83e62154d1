//! Extensions of one's own (§9): whom they are for, and what becomes of frames that they judge.

use std::io;

use chinwag::{
    CloseCode, Limits, Message, Peer, Request, Route, Server, Service, Topic,
    protocol::{
        extension::{DataFrame, Extension, ExtensionError, Extensions, Offer, Param, Transform},
        frame::Rsv,
    },
    testing::{self, Client, Connect},
};

use crate::{Echo, custom_extension::Numbered, echo, support::masked};

fn numbered() -> Extensions {
    Extensions::new().with(Numbered)
}

/// A client that numbers its frames, if the server does.
fn numbering(server: &testing::Server, path: &str) -> Client {
    server.client().extensions(numbered()).connect(path).unwrap()
}

fn agreed(client: &Client) -> Option<String> {
    client.response().header("Sec-WebSocket-Extensions").map(Into::into)
}

#[test]
fn a_frame_with_the_wrong_number_fails_its_connection() {
    let server = testing::Server::new(echo().extensions(numbered()));
    let numbering = || numbering(&server, "/echo");
    let plain = || server.connect("/echo").unwrap();
    for (name, mut client, frame, reason) in [
        ("right", numbering(), masked(0xa1, b"\0a"), None),
        ("wrong", numbering(), masked(0xa1, b"\x01a"), Some("a frame has the wrong number")),
        ("none", numbering(), masked(0xa1, b""), Some("a frame has no number")),
        ("unmarked", numbering(), masked(0x81, b"\0a"), Some("a frame has no number")),
        ("marked", plain(), masked(0xa1, b"\0a"), Some("reserved bits 010 are set")),
    ] {
        client.send_bytes(frame);
        match reason {
            None => assert_eq!(client.recv_text(), "a", "{name}"),
            Some(reason) => {
                let close = client.recv_close();
                let expected = (CloseCode::PROTOCOL_ERROR, reason);
                assert_eq!((close.code, &*close.text), expected, "{name}");
            }
        }
    }
}

// ---- routes ------------------------------------------------------------------------------------

#[test]
fn a_route_has_the_server_s_extensions_or_its_own() {
    let route = || Route::new(|_: &Request<'_>| Echo);
    let builder = echo()
        .route("/none", route().extensions(Extensions::new()))
        .route("/raw", route().raw())
        .extensions(numbered());
    let server = testing::Server::new(builder);
    assert_eq!(agreed(&numbering(&server, "/echo")).as_deref(), Some("x-numbered"));
    assert_eq!(agreed(&numbering(&server, "/none")), None);
    assert_eq!(agreed(&numbering(&server, "/raw")), None, "it is not for raw mode");
}

#[test]
fn a_server_with_two_extensions_of_one_bit_is_not_built() {
    let built = echo().extensions(numbered().with(Numbered)).bind("127.0.0.1:0");
    let error = built.map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), r#"extension "x-numbered" is installed twice at path "/echo""#);
}

#[test]
fn an_extension_that_panics_ends_its_connection_alone() {
    struct Panics;
    impl Transform for Panics {
        fn outgoing(&mut self, _: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
            Ok(())
        }

        fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
            assert_ne!(frame.payload(), b"panic");
            Ok(())
        }
    }
    impl Extension for Panics {
        fn name(&self) -> &str {
            "x-panics"
        }

        fn rsv(&self) -> Rsv {
            Rsv::NONE
        }

        fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
            Some((vec![], Box::new(Self)))
        }

        fn offers(&self) -> Vec<Vec<Param<'static>>> {
            vec![vec![]]
        }

        fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
            Some(Box::new(Self))
        }
    }
    let panics = || Extensions::new().with(Panics);
    let server = testing::Server::new(echo().extensions(panics()));
    let connect = || server.client().extensions(panics()).connect("/echo").unwrap();
    let (mut one, mut other) = (connect(), connect());
    one.send_bytes(masked(0x81, b"panic"));
    let close = one.recv_close();
    assert_eq!((close.code, &*close.text), (CloseCode::INTERNAL_ERROR, "an extension panicked"));
    other.send("still here");
    assert_eq!(other.recv_text(), "still here");
}

// ---- topics ------------------------------------------------------------------------------------

/// Publishes what it hears, and then says so.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.publish(&self.0, message).unwrap();
        peer.send("published").unwrap();
    }
}

/// A server of a topic's members whose frames may be numbered, compressed, or both.
fn hall(topic: &Topic) -> testing::Server {
    let topic = topic.clone();
    let route = Route::new(move |_: &Request<'_>| Member(topic.clone())).extensions(numbered());
    let route = route.deflate(Some(chinwag::Deflate::for_topics()));
    let limits = Limits { max_backlog: 1 << 20, ..Limits::default() };
    testing::Server::new(Server::builder().route("/", route).limits(limits))
}

#[test]
fn a_member_that_says_a_last_word_and_quits_hears_it() {
    type Offers = fn(Connect) -> Connect;
    let kinds: &[(&str, Offers, &[u8])] = &[
        ("plain", |connect| connect, &masked(0x81, b"goodbye")),
        ("numbered", |connect| connect.extensions(numbered()), &masked(0xa1, b"\0goodbye")),
        // What it says itself need not be compressed.
        (
            "compressed",
            |connect| connect.deflate(chinwag::Deflate::for_topics()),
            &masked(0x81, b"goodbye"),
        ),
        (
            "numbered and compressed",
            |connect| connect.deflate(chinwag::Deflate::for_topics()).extensions(numbered()),
            &masked(0xa1, b"\0goodbye"),
        ),
    ];
    let server = hall(&Topic::new());
    for (kind, offers, word) in kinds {
        let mut member = offers(server.client()).connect("/").unwrap();
        member.send_bytes([*word, &masked(0x88, b"\x03\xe8")].concat());
        assert_eq!([member.recv_text(), member.recv_text()], ["goodbye", "published"], "{kind}");
        assert_eq!(member.recv_close().code, CloseCode::NORMAL, "{kind}");
        assert_eq!(server.connections(), 0, "{kind}");
    }
}

#[test]
fn a_member_that_does_not_read_is_given_up_and_holds_nobody_up() {
    let topic = Topic::new();
    let server = hall(&topic);
    let [mut deaf, mut reader] = [(); 2].map(|()| numbering(&server, "/"));
    deaf.stop_reading();
    let words = "x".repeat(100_000);
    let mut said = 0;
    while server.counters().slow.get() == 0 {
        topic.publish(&words).unwrap();
        assert_eq!(reader.recv_text(), words);
        said += 1;
    }
    assert!((11..=13).contains(&said), "{said}: a backlog of 1 MiB was allowed");
    deaf.cut();
    topic.publish("and on it goes").unwrap();
    assert_eq!(reader.recv_text(), "and on it goes");
    assert_eq!(server.connections(), 1);
}
