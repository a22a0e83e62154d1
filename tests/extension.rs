//! Extensions of one's own over sockets (§9): the example, the library's client, and members of a topic on
//! several workers. All else is in `tests/memory/extension.rs`.

#[expect(dead_code, reason = "its main is for people")]
#[path = "../examples/custom_extension.rs"]
mod custom_extension;
mod support;

use chinwag::{
    CloseCode, Message, Peer, Request, Route, Router, Server, Service, Topic, client,
    protocol::{connection::Settings, extension::Extensions},
};
use custom_extension::Numbered;
use support::{Client, Running, Said};

/// The settings of a client that numbers its frames, if the server does.
fn numbering() -> Settings {
    Settings { extensions: Extensions::new().with(Numbered), ..Settings::default() }
}

// ---- the example -------------------------------------------------------------------------------

fn example() -> Running {
    Running::serve(custom_extension::bind("127.0.0.1:0").unwrap())
}

#[test]
fn the_example_numbers_the_frames_of_who_agrees_and_of_nobody_else() {
    let server = example();
    let mut agreeing = Client::connect_offering(server.addr, "/", numbering());
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

// ---- topics ------------------------------------------------------------------------------------

/// Publishes what it hears, and then says so.
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
    Route::new(move |_: &Request<'_>| Member(topic.clone()))
        .extensions(Extensions::new().with(Numbered))
        .deflate(Some(chinwag::Deflate::for_topics()))
}

/// What members of every kind offer.
fn kinds() -> Vec<(&'static str, Settings)> {
    vec![
        ("plain", Settings::default()),
        ("numbered", numbering()),
        (
            "compressed",
            Settings { deflate: Some(chinwag::Deflate::for_topics()), ..Settings::default() },
        ),
        (
            "numbered and compressed",
            Settings { deflate: Some(chinwag::Deflate::for_topics()), ..numbering() },
        ),
    ]
}

#[test]
fn members_hear_the_same_whatever_becomes_of_their_frames() {
    let topic = Topic::compressed(chinwag::TopicDeflate { reset_after: 5, ..Default::default() });
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
