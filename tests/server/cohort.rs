//! Topics that compress, over real workers: every client inflates what it should hear.

use std::thread;

use chinwag::{
    CloseCode, Deflate, Message, Peer, Request, Route, Router, Server, Service, Topic, TopicDeflate,
};

use crate::support::{Client, Running};

/// What a word for its sender alone starts with.
const ALONE: &str = "for you alone: ";

/// Subscribes to all its topics and publishes what it hears to the first; answers with a word for its
/// sender alone.
struct Member(Vec<Topic>);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        for topic in &self.0 {
            peer.subscribe(topic);
        }
        peer.send("in").unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        while peer.publish(&self.0[0], message.clone()).is_err() {
            thread::yield_now();
        }
        let text = std::str::from_utf8(message.as_bytes()).unwrap();
        peer.send(format!("{ALONE}{text}")).unwrap();
    }
}

fn serve(topics: &[Topic]) -> Running {
    let topics = topics.to_vec();
    let route = Route::new(move |_: &Request<'_>| Member(topics.clone()))
        .deflate(Some(Deflate { min_len: 1, ..Deflate::for_topics() }));
    Running::start(Server::builder().router(Router::new().route("/", route)).workers(3))
}

/// What a browser offers.
fn takeover() -> Deflate {
    Deflate { server_window_bits: 15, server_takeover: true, ..Deflate::default() }
}

/// Connects with compression, or without.
fn join(server: &Running, deflate: Option<Deflate>) -> Client {
    let mut client = match deflate {
        Some(deflate) => Client::connect_compressed(server.addr, "/", deflate),
        None => server.connect("/"),
    };
    assert_eq!(client.text(), "in");
    client
}

#[test]
fn everyone_hears_everything_whatever_they_agreed_to() {
    const ROUNDS: usize = 60;
    let settings = TopicDeflate { reset_after: 25, ..TopicDeflate::default() };
    let topics = [Topic::compressed(settings.clone()), Topic::compressed(settings)];
    let server = serve(&topics);
    let kinds = [
        None,
        Some(Deflate::default()),
        Some(takeover()),
        Some(takeover()),
        Some(Deflate { server_window_bits: 10, ..takeover() }),
        Some(takeover()),
    ];
    struct Person {
        client: Client,
        heard: Vec<String>,
        alone: Vec<String>,
    }
    let mut people: Vec<Person> = Vec::new();
    let mut said = Vec::new();
    for round in 0..ROUNDS {
        // They come one after the other, and the first of them go again.
        let client = join(&server, kinds[round % kinds.len()].clone());
        people.push(Person { client, heard: Vec::new(), alone: Vec::new() });
        if round % 4 == 3 {
            let Person { mut client, .. } = people.remove(0);
            client.close(CloseCode::NORMAL, "");
            assert_eq!(client.end().code, CloseCode::NORMAL);
        }
        for speaker in [round, 2 * round, 3 * round].map(|at| at % people.len()) {
            let text = format!(
                "round {round}: number {speaker} says that there is more tea, and more tea, and much more tea: äöü"
            );
            people[speaker].client.send(&text);
            people[speaker].alone.push(format!("{ALONE}{text}"));
            let next = topics[1].last_offset() + 1;
            let other = format!(
                "the other topic says for time {next}: more tea, and more tea, and much more tea"
            );
            topics[1].publish(&other).unwrap();
            said.extend([text, other]);
            // Everyone has it before the next one speaks: so there is one order.
            for (at, Person { client, heard, .. }) in people.iter_mut().enumerate() {
                heard.extend((0..2 + usize::from(at == speaker)).map(|_| client.text()));
            }
        }
    }
    for (at, Person { heard, alone, .. }) in people.iter().enumerate() {
        let from = |all: &[String], start| -> Vec<String> {
            all.iter().filter(|text| text.starts_with(start)).cloned().collect()
        };
        assert_eq!(from(heard, ALONE), *alone, "client {at}");
        for topic in ["round", "the other"] {
            let (heard, said) = (from(heard, topic), from(&said, topic));
            assert!(!heard.is_empty());
            assert_eq!(heard, said[said.len() - heard.len()..], "client {at}");
        }
    }
    for topic in &topics {
        let made = topic.compressions();
        assert!(made.shared <= topic.last_offset() && made.cohort <= topic.last_offset());
    }
    let counters = &server.counters;
    assert!(counters.cohort_frames.get() > 500, "{}", counters.cohort_frames.get());
    assert!(counters.shared_frames.get() > 500, "{}", counters.shared_frames.get());
}
