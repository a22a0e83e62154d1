//! How many topics may have a compressor of their own: a bound of the process, so this test has one to
//! itself.
#![cfg(feature = "deflate")]

use std::sync::{Arc, Mutex};

use chinwag::{
    Topic,
    service::{Full, Kind, Letter, Mailbox, Subscriber, TopicDeflate},
};

/// Keeps whether the last publication was for a cohort.
#[derive(Default)]
struct Last(Mutex<Option<bool>>);

impl Mailbox for Last {
    fn post(&self, letter: Letter) -> Result<(), Full> {
        let Letter::Publication(publication) = letter else { panic!("an errand") };
        assert_ne!(publication.shared.is_some(), publication.cohort.is_some());
        *self.0.lock().unwrap() = Some(publication.cohort.is_some());
        Ok(())
    }

    fn has_room(&self, _: usize) -> bool {
        true
    }
}

/// A topic with a member, and whether what is published to it is for a cohort.
struct Hall {
    topic: Topic,
    last: Arc<Last>,
    _member: Subscriber,
}

impl Hall {
    fn new() -> Self {
        let settings = TopicDeflate {
            window_bits: 9,
            mem_level: 1,
            min_members: 1,
            ..TopicDeflate::default()
        };
        let (topic, last) = (Topic::compressed(settings), Arc::<Last>::default());
        let mailbox: Arc<dyn Mailbox> = Arc::clone(&last) as _;
        let member = topic.join(0, &mailbox, None, Kind::Cohort).unwrap();
        Self { topic, last, _member: member }
    }

    fn has_cohort(&self) -> bool {
        self.topic.publish("tea ".repeat(20)).unwrap();
        self.last.0.lock().unwrap().take().unwrap()
    }
}

#[test]
fn at_most_256_topics_have_a_cohort() {
    let mut halls: Vec<_> = (0..256).map(|_| Hall::new()).collect();
    assert!(halls.iter().all(Hall::has_cohort));
    let late = Hall::new();
    assert!(!late.has_cohort(), "its members hear what is shared");
    halls.pop();
    assert!(late.has_cohort(), "another one is gone");
    assert!(!Hall::new().has_cohort());
}
