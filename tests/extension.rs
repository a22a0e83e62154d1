//! Extensions of one's own over sockets (§9): the example, and what a server makes of others.

#[expect(dead_code, reason = "its main is for people")]
#[path = "../examples/custom_extension.rs"]
mod custom_extension;
mod support;

use std::io;

use chinwag::{
    CloseCode, Limits, Message, Peer, Request, Route, Router, Server, Service, Topic, client,
    protocol::{
        connection::Settings,
        extension::{DataFrame, Extension, ExtensionError, Extensions, Offer, Param, Transform},
        frame::Rsv,
    },
};
use custom_extension::Numbered;
use support::{Client, Running, Said, eventually, masked};

/// A client's settings with this extension.
fn offering(extension: impl Extension + 'static) -> Settings {
    Settings { extensions: Extensions::new().with(extension), ..Settings::default() }
}

/// A client that numbers its frames, if the server does.
fn numbering(server: &Running, path: &str) -> Client {
    Client::connect_offering(server.addr, path, offering(Numbered))
}

// ---- the example -------------------------------------------------------------------------------

fn example() -> Running {
    Running::serve(custom_extension::bind("127.0.0.1:0").unwrap())
}

#[test]
fn the_example_numbers_the_frames_of_who_agrees_and_of_nobody_else() {
    let server = example();
    let mut agreeing = numbering(&server, "/");
    assert_eq!(agreeing.extensions(), ["x-numbered"]);
    assert_eq!(agreeing.text(), "agreed on: x-numbered");
    let mut other = server.connect("/");
    assert_eq!(other.text(), "agreed on: ");
    for client in [&mut agreeing, &mut other] {
        // Past 255 the numbers begin anew.
        for number in 0..300 {
            client.send(number.to_string());
            assert_eq!(client.text(), number.to_string());
        }
        for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            client.send(vec![7; len]);
            assert_eq!(client.recv(), Some(Said::Binary(vec![7; len])), "{len}");
        }
        client.close(CloseCode::NORMAL, "");
        assert_eq!(client.end().code, CloseCode::NORMAL);
    }
}

#[test]
fn the_library_client_offers_extensions_and_uses_them() {
    let server = example();
    let url = format!("ws://{}/", server.addr);
    let own = || Extensions::new().with(Numbered);
    let mut client = client::Client::builder().extensions(own()).connect(&url).unwrap();
    assert_eq!(client.extensions(), ["x-numbered"]);
    assert_eq!(client.recv().unwrap(), Some(Message::from("agreed on: x-numbered")));
    for number in 0..300 {
        client.send(number.to_string()).unwrap();
        assert_eq!(client.recv().unwrap(), Some(Message::from(number.to_string())));
    }
    client.close(CloseCode::NORMAL, "").unwrap();

    let mut plain = client::connect(&url).unwrap();
    assert_eq!(plain.extensions(), [""; 0]);
    assert_eq!(plain.recv().unwrap(), Some(Message::from("agreed on: ")));

    let refused = client::Client::builder().extensions(own().with(Numbered)).connect(&url);
    assert!(matches!(refused, Err(client::ConnectError::Conflict(_))));
}

#[test]
fn the_example_refuses_a_frame_with_the_wrong_number() {
    let server = example();
    for (name, client, frame, reason) in [
        ("right", numbering(&server, "/"), masked(0xa1, b"\0a"), None),
        (
            "wrong",
            numbering(&server, "/"),
            masked(0xa1, b"\x01a"),
            Some("a frame has the wrong number"),
        ),
        ("none", numbering(&server, "/"), masked(0xa1, b""), Some("a frame has no number")),
        ("unmarked", numbering(&server, "/"), masked(0x81, b"\0a"), Some("a frame has no number")),
        ("marked", server.connect("/"), masked(0xa1, b"\0a"), Some("reserved bits 010 are set")),
    ] {
        let mut client = client;
        client.text();
        client.send_raw(&frame);
        match reason {
            None => assert_eq!(client.text(), "a", "{name}"),
            Some(reason) => {
                let end = client.end();
                assert_eq!((end.code, &*end.text), (CloseCode::PROTOCOL_ERROR, reason), "{name}");
            }
        }
    }
}

// ---- routes ------------------------------------------------------------------------------------

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

#[test]
fn a_route_has_the_server_s_extensions_or_its_own() {
    let route = || Route::new(|_: &Request<'_>| Echo);
    let router = Router::new()
        .route("/server", route())
        .route("/none", route().extensions(Extensions::new()))
        .route("/raw", route().raw());
    let numbered = Extensions::new().with(Numbered);
    let server = Running::start(Server::builder().router(router).extensions(numbered));
    assert_eq!(numbering(&server, "/server").extensions(), ["x-numbered"]);
    assert_eq!(numbering(&server, "/none").extensions(), [""; 0]);
    assert_eq!(numbering(&server, "/raw").extensions(), [""; 0], "it is not for raw mode");
}

#[test]
fn a_server_with_two_extensions_of_one_bit_is_not_built() {
    let router = || Router::new().service("/echo", |_: &Request<'_>| Echo);
    let twice = Extensions::new().with(Numbered).with(Numbered);
    let built = Server::builder().router(router()).extensions(twice).bind("127.0.0.1:0");
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
    let router = Router::new().service("/", |_: &Request<'_>| Echo);
    let panics = Extensions::new().with(Panics);
    let server = Running::start(Server::builder().router(router).workers(1).extensions(panics));
    let connect = || Client::connect_offering(server.addr, "/", offering(Panics));
    let (mut one, mut other) = (connect(), connect());
    one.send_raw(&masked(0x81, b"panic"));
    let end = one.end();
    assert_eq!((end.code, &*end.text), (CloseCode::INTERNAL_ERROR, "an extension panicked"));
    other.send("still here");
    assert_eq!(other.text(), "still here");
}

// ---- topics ------------------------------------------------------------------------------------

/// Publishes what it hears, and then says so; at `bye` the peer closes.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        peer.send("in").unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.publish(&self.0, message).unwrap();
        peer.send("published").unwrap();
    }
}

/// A route to a topic's members whose frames may be numbered, compressed, or both.
fn hall(topic: Topic) -> Route {
    let route = Route::new(move |_: &Request<'_>| Member(topic.clone()))
        .extensions(Extensions::new().with(Numbered));
    #[cfg(feature = "deflate")]
    let route = route.deflate(Some(chinwag::Deflate::for_topics()));
    route
}

/// What members of every kind offer.
fn kinds() -> Vec<(&'static str, Settings)> {
    vec![
        ("plain", Settings::default()),
        ("numbered", offering(Numbered)),
        #[cfg(feature = "deflate")]
        (
            "compressed",
            Settings { deflate: Some(chinwag::Deflate::for_topics()), ..Settings::default() },
        ),
        #[cfg(feature = "deflate")]
        (
            "numbered and compressed",
            Settings { deflate: Some(chinwag::Deflate::for_topics()), ..offering(Numbered) },
        ),
    ]
}

#[test]
fn members_hear_the_same_whatever_becomes_of_their_frames() {
    #[cfg(feature = "deflate")]
    let topic = Topic::compressed(chinwag::TopicDeflate { reset_after: 5, ..Default::default() });
    #[cfg(not(feature = "deflate"))]
    let topic = Topic::new();
    for workers in [1, 2] {
        let router = Router::new().route("/", hall(topic.clone()));
        let server = Running::start(Server::builder().router(router).workers(workers));
        let mut members: Vec<_> = kinds()
            .into_iter()
            .flat_map(|kind| [kind.clone(), kind.clone(), kind])
            .map(|(kind, settings)| (kind, Client::connect_offering(server.addr, "/", settings)))
            .collect();
        for (kind, member) in &mut members {
            assert_eq!(member.text(), "in", "{kind}");
        }
        for round in 0..40 {
            let speaker = round % members.len();
            let words = format!("{round}: {}", "long enough to be compressed, ".repeat(10));
            members[speaker].1.send(&words);
            for (at, (kind, member)) in members.iter_mut().enumerate() {
                assert_eq!(member.text(), words, "{kind}");
                // What a member has published comes before what it is told next.
                if at == speaker {
                    assert_eq!(member.text(), "published", "{kind}");
                }
            }
        }
        for (kind, mut member) in members {
            member.close(CloseCode::NORMAL, "");
            assert_eq!(member.end().code, CloseCode::NORMAL, "{kind}");
        }
    }
}

#[test]
fn a_member_that_says_a_last_word_and_quits_hears_it() {
    let router = Router::new().route("/", hall(Topic::new()));
    let server = Running::start(Server::builder().router(router).workers(1));
    for (kind, settings) in kinds() {
        let mut member = Client::connect_offering(server.addr, "/", settings);
        assert_eq!(member.text(), "in", "{kind}");
        member.send_and_close("goodbye");
        assert_eq!([member.text(), member.text()], ["goodbye", "published"], "{kind}");
        assert_eq!(member.end().code, CloseCode::NORMAL, "{kind}");
    }
}

#[test]
fn a_member_that_does_not_read_is_given_up_and_holds_nobody_up() {
    let topic = Topic::new();
    let router = Router::new().route("/", hall(topic.clone()));
    let limits = Limits { max_backlog: 1 << 20, ..Limits::default() };
    let server = Running::start(Server::builder().router(router).workers(1).limits(limits));
    let mut deaf = numbering(&server, "/");
    assert_eq!(deaf.text(), "in");
    let mut reader = numbering(&server, "/");
    assert_eq!(reader.text(), "in");
    let words = "x".repeat(100_000);
    let mut said = 0;
    eventually("the deaf one is given up", || {
        if topic.publish(&words).is_ok() {
            said += 1;
            assert_eq!(reader.text(), words);
        }
        server.counters.slow.get() == 1
    });
    assert!(said > 10, "{said}: a backlog was allowed");
    drop(deaf);
    topic.publish("and on it goes").unwrap();
    assert_eq!(reader.text(), "and on it goes");
    eventually("the deaf one is gone", || server.open() == 1);
}
