//! How many topics may have a compressor of their own: a bound of the process, so this test has one to
//! itself.

use chinwag::{
    Deflate, Peer, Request, Server, Service, Topic, TopicDeflate,
    testing::{self, Client},
};

/// Subscribes.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }
}

/// A topic that takes one member to have a cohort.
fn hall() -> Topic {
    let settings =
        TopicDeflate { window_bits: 9, mem_level: 1, min_members: 1, ..TopicDeflate::default() };
    Topic::compressed(settings)
}

/// Connects a member to the topic with this number.
fn join(server: &testing::Server, number: usize) -> Client {
    let takeover = Deflate { server_window_bits: 15, server_takeover: true, ..Deflate::default() };
    server.client().deflate(takeover).connect(&format!("/{number}")).unwrap()
}

/// Whether what is published to a topic is compressed for its cohort; if not, it is for each by itself.
fn has_cohort(topic: &Topic) -> bool {
    let before = topic.compressions();
    topic.publish("tea ".repeat(20)).unwrap();
    let after = topic.compressions();
    let made = (after.cohort - before.cohort, after.shared - before.shared);
    assert!(made == (1, 0) || made == (0, 1), "{made:?}");
    made.0 == 1
}

#[test]
fn at_most_256_topics_have_a_cohort() {
    let topics: Vec<_> = (0..258).map(|_| hall()).collect();
    let theirs = topics.clone();
    let member = move |request: &Request<'_>| {
        let number: usize = request.param("number").unwrap().parse().unwrap();
        Member(theirs[number].clone())
    };
    let builder = Server::builder().service("/{number}", member).deflate(Deflate::for_topics());
    let server = testing::Server::new(builder);
    let mut members: Vec<_> = (0..256).map(|number| join(&server, number)).collect();
    assert!(topics[..256].iter().all(has_cohort));
    let _late = join(&server, 256);
    assert!(!has_cohort(&topics[256]), "its members hear what is shared");
    members.pop();
    assert!(has_cohort(&topics[256]), "another one is gone");
    let _later = join(&server, 257);
    assert!(!has_cohort(&topics[257]));
}
