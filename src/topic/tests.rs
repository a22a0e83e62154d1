use std::collections::VecDeque;

use super::*;
use crate::{
    mailbox::{self, Mail},
    protocol::extension::deflate::Agreed,
    slab::Key,
};

/// What was published since this was last asked.
fn taken(mailbox: &Mailbox) -> Vec<Publication> {
    let mut mail = VecDeque::new();
    mailbox.take(&mut mail);
    let publication = |mail: Mail| {
        mailbox.done(1, mail.size());
        let Mail::Publication(publication) = mail else { panic!("{mail:?}") };
        publication
    };
    mail.into_iter().map(publication).collect()
}

/// A topic with members.
struct Hall {
    topic: Topic,
    mailbox: Arc<Mailbox>,
    members: Vec<Subscription>,
}

impl Hall {
    fn new(settings: TopicDeflate) -> Self {
        let mailbox = Arc::new(Mailbox::new(|| ()));
        Self { topic: Topic::compressed(settings), mailbox, members: Vec::new() }
    }

    fn join(&mut self, encoding: Encoding, count: usize) {
        let join = |_| self.topic.subscribe(&self.mailbox, None, encoding).unwrap();
        self.members.extend((0..count).map(join));
    }

    /// Says something; gives whether there was a shared frame, one for the cohort, and a start.
    fn say(&mut self) -> (bool, bool, bool) {
        self.topic.publish(&*format!("{TEXT} {}", self.topic.last_offset())).unwrap();
        let publication = taken(&self.mailbox).pop().unwrap();
        let Publication { shared, cohort, cohort_starts, .. } = publication;
        (shared.is_some(), cohort.is_some(), cohort_starts)
    }
}

const TEXT: &str = "what is said is long enough, long enough to be compressed, it is";

const SHARED: (bool, bool, bool) = (true, false, false);
const START: (bool, bool, bool) = (false, true, true);
const COHORT: (bool, bool, bool) = (false, true, false);

#[test]
fn ten_thousand_members_cost_one_compression_of_each_kind() {
    let mut hall = Hall::new(TopicDeflate::default());
    hall.join(Encoding::Plain, 10_000);
    hall.say();
    assert_eq!(hall.topic.compressions(), Compressions::default());
    hall.join(Encoding::Shared, 10_000);
    hall.say();
    assert_eq!(hall.topic.compressions(), Compressions { shared: 1, cohort: 0, starts: 0 });
    hall.join(Encoding::Cohort, 10_000);
    // What starts the cohort serves the others too.
    assert_eq!(hall.say(), (true, true, true));
    assert_eq!(hall.topic.compressions(), Compressions { shared: 1, cohort: 1, starts: 1 });
    assert_eq!(hall.say(), (true, true, false));
    assert_eq!(hall.topic.compressions(), Compressions { shared: 2, cohort: 2, starts: 1 });
}

#[test]
fn the_cohort_starts_anew_for_those_who_wait() {
    let mut hall = Hall::new(TopicDeflate { reset_after: 10, ..TopicDeflate::default() });
    hall.join(Encoding::Cohort, 2);
    assert_eq!(hall.say(), SHARED, "two are too few");
    hall.join(Encoding::Cohort, 1);
    assert_eq!(hall.say(), START);
    for _ in 0..100 {
        assert_eq!(hall.say(), COHORT, "nobody waits");
    }
    hall.join(Encoding::Cohort, 1);
    assert_eq!(hall.say(), START, "it was long ago");
    hall.join(Encoding::Cohort, 4);
    for _ in 1..10 {
        assert_eq!(hall.say(), COHORT, "as many wait as are in, for a short time");
    }
    assert_eq!(hall.say(), START);
    hall.join(Encoding::Cohort, 9);
    assert_eq!(hall.say(), START, "more wait than are in");
    for member in &mut hall.members[..9] {
        member.recount(Encoding::Cohort);
    }
    assert_eq!(hall.say(), START, "more have missed something than are in");
    assert_eq!(hall.say(), COHORT);
}

#[test]
fn a_compressor_is_freed_once_few_can_use_it() {
    let mut hall = Hall::new(TopicDeflate::default());
    hall.join(Encoding::Cohort, 3);
    assert_eq!(hall.say(), START);
    hall.members.pop();
    assert_eq!(hall.say(), SHARED);
    hall.join(Encoding::Cohort, 1);
    assert_eq!(hall.say(), START);
    hall.members[0].recount(Encoding::Plain);
    assert_eq!(hall.say(), SHARED);
    hall.members[0].recount(Encoding::Cohort);
    assert_eq!(hall.say(), START);
    hall.members.clear();
    hall.topic.publish(TEXT).unwrap();
    assert_eq!(hall.topic.compressions(), Compressions { shared: 2, cohort: 3, starts: 3 });
}

#[test]
fn short_messages_and_refused_ones_enter_no_window() {
    let mut hall = Hall::new(TopicDeflate { min_len: TEXT.len(), ..TopicDeflate::default() });
    hall.join(Encoding::Cohort, 3);
    hall.join(Encoding::Shared, 1);
    hall.topic.publish(&TEXT[1..]).unwrap();
    let publication = taken(&hall.mailbox).pop().unwrap();
    assert!(publication.shared.is_none() && publication.cohort.is_none());
    for _ in 0..mailbox::MAX_ITEMS {
        hall.mailbox.post(Mail::Wake(Key { slot: 0, generation: 0 })).unwrap();
    }
    assert_eq!(hall.topic.publish(TEXT), Err(PublishError::Busy));
    assert_eq!(hall.topic.compressions(), Compressions::default());
    hall.mailbox.take(&mut VecDeque::new());
    hall.mailbox.done(mailbox::MAX_ITEMS, 0);
    assert_eq!(hall.say(), (true, true, true));
}

#[test]
fn what_does_not_shrink_is_shared_plain_and_goes_to_the_cohort_all_the_same() {
    let mut hall = Hall::new(TopicDeflate::default());
    hall.join(Encoding::Cohort, 3);
    hall.join(Encoding::Shared, 1);
    hall.say();
    let noise: Vec<u8> =
        (0..100_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    hall.topic.publish(noise.clone()).unwrap();
    let publication = taken(&hall.mailbox).pop().unwrap();
    assert!(publication.shared.is_none());
    assert!(publication.cohort.unwrap().len() > publication.plain.len());
}

#[test]
fn an_ear_hears_what_its_peer_can_inflate() {
    let agreed = |server_window_bits, server_takeover| {
        EncodingState::new(Agreed {
            server_window_bits,
            client_window_bits: 15,
            server_takeover,
            client_takeover: false,
        })
    };
    let settings = TopicDeflate { window_bits: 12, reset_after: 2, ..TopicDeflate::default() };
    let mut hall = Hall::new(settings.clone());
    hall.join(Encoding::Shared, 1);
    hall.join(Encoding::Cohort, 3);
    // Start, cohort, start: the topic is told of somebody new in between.
    hall.say();
    hall.say();
    hall.join(Encoding::Cohort, 1);
    for text in [TEXT, TEXT, "short", TEXT] {
        hall.topic.publish(text).unwrap();
    }
    // `say` has taken the first two away.
    let publications = taken(&hall.mailbox);
    let starts: Vec<_> = publications.iter().map(|new| new.cohort_starts).collect();
    assert_eq!(starts, [true, false, false, false]);

    let other = Topic::compressed(settings);
    let kinds = |mut ear: EncodingState, from: usize| -> Vec<Encoding> {
        publications[from..].iter().map(|publication| ear.pick(publication).0).collect()
    };
    use Encoding::*;
    let cohort = [Cohort, Cohort, Plain, Cohort];
    let shared = [Shared, Shared, Plain, Shared];
    assert_eq!(kinds(EncodingState::default(), 0), [Plain; 4]);
    assert_eq!(kinds(agreed(11, true), 0), shared, "its window is too small for the cohort");
    assert_eq!(kinds(agreed(12, true), 0), cohort);
    assert_eq!(kinds(agreed(15, true), 0), cohort);
    assert_eq!(kinds(agreed(15, false), 0), shared);
    assert_eq!(kinds(agreed(15, true), 1), shared[1..], "it came behind the start");

    let mut ear = agreed(15, true);
    assert_eq!(
        (ear.encoding(&hall.topic), ear.encoding(&other), ear.encoding(&Topic::new())),
        (Cohort, Cohort, Plain)
    );
    ear.pick(&publications[0]);
    assert_eq!(ear.cohort(), Some(hall.topic.id()));
    assert_eq!((ear.encoding(&hall.topic), ear.encoding(&other)), (Cohort, Plain));
    ear.miss(other.id());
    assert_eq!(ear.pick(&publications[1]).0, Cohort);
    ear.miss(hall.topic.id());
    assert_eq!((ear.cohort(), ear.pick(&publications[3]).0), (None, Shared));
}

#[test]
#[should_panic(expected = "TopicDeflate::window_bits is 8")]
fn a_window_of_eight_bits_is_no_setting() {
    Topic::compressed(TopicDeflate { window_bits: 8, ..TopicDeflate::default() });
}

#[test]
fn a_small_window_is_enough_for_a_small_message() {
    let mut hall = Hall::new(TopicDeflate::default());
    hall.join(Encoding::Shared, 1);
    for (len, bits) in [(512, 9), (513, 10), (4_096, 12), (4_097, 13), (100_000, 13)] {
        hall.topic.publish(vec![7; len]).unwrap();
        let publication = taken(&hall.mailbox).pop().unwrap();
        assert_eq!(publication.shared_bits, bits);
        for own in [9, 12, 15] {
            let agreed = Agreed {
                server_window_bits: own,
                client_window_bits: 15,
                server_takeover: false,
                client_takeover: false,
            };
            let heard = if own < bits { Encoding::Plain } else { Encoding::Shared };
            assert_eq!(
                EncodingState::new(agreed).pick(&publication).0,
                heard,
                "{len} bytes, {own} bits"
            );
        }
    }
}

#[test]
fn who_has_ended_all_its_subscriptions_is_no_member_any_more() {
    let mut hall = Hall::new(TopicDeflate::default());
    let mut topics = fanout::Topics::default();
    let mut subscription = hall.topic.subscribe(&hall.mailbox, None, Encoding::Plain).unwrap();
    topics.insert(Key { slot: 0, generation: 0 }, &mut subscription);
    let mut subscriptions = subscription::Subscriptions::new(EncodingState::default());
    subscriptions.add(subscription);
    // Somebody of another worker stays, so that the topic has a member.
    hall.join(Encoding::Plain, 1);
    hall.topic.publish(TEXT).unwrap();
    let publication = taken(&hall.mailbox).pop().unwrap();
    assert!(topics.take_in(publication, 1).is_none());
    let mut delivery = topics.next_delivery().unwrap();
    assert!(delivery.next_member().is_some() && delivery.next_member().is_none());
    assert_eq!(topics.put_back(delivery).0, 1);
    subscriptions.end(&mut topics);
    hall.topic.publish(TEXT).unwrap();
    let publication = taken(&hall.mailbox).pop().unwrap();
    assert!(topics.take_in(publication, 2).is_some(), "nobody is there to receive it");
}

#[test]
fn who_has_missed_what_started_the_cohort_comes_in_with_the_next_start() {
    let mut hall = Hall::new(TopicDeflate { reset_after: 10, ..TopicDeflate::default() });
    hall.join(Encoding::Cohort, 3);
    let subscription = hall.topic.subscribe(&hall.mailbox, None, Encoding::Cohort).unwrap();
    let mut subscriptions = subscription::Subscriptions::new(EncodingState::new(Agreed {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: true,
        client_takeover: true,
    }));
    subscriptions.add(subscription);
    assert_eq!(hall.say(), START);
    subscriptions.miss(hall.topic.id(), 1);
    let starts = (0..50).filter(|_| hall.say() == START).count();
    assert_eq!(starts, 1);
    assert_eq!(subscriptions.take_missed(&hall.topic), 1);
}

#[test]
fn gaps_are_forgotten_once_all_before_their_end_is_received() {
    let mut hall = Hall::new(TopicDeflate::default());
    let mut topics = fanout::Topics::default();
    let mut subscription = hall.topic.subscribe(&hall.mailbox, None, Encoding::Plain).unwrap();
    topics.insert(Key { slot: 0, generation: 0 }, &mut subscription);
    let mut subscriptions = subscription::Subscriptions::new(EncodingState::default());
    subscriptions.add(subscription);
    // Somebody stays, so that the worker is sent what is published in the gap.
    hall.join(Encoding::Plain, 1);
    hall.topic.publish("before").unwrap();
    let mut publications = taken(&hall.mailbox);
    assert!(topics.take_in(publications[0].clone(), 1).is_none());
    subscriptions.leave(&hall.topic, &hall.mailbox, &mut topics);
    hall.topic.publish("between").unwrap();
    let join = || Ok((hall.topic.join(&hall.mailbox, None, Encoding::Plain)?, Encoding::Plain));
    assert!(matches!(subscriptions.rejoin(&hall.topic, join), Some(Ok(2))));
    hall.topic.publish("after").unwrap();
    publications.extend(taken(&hall.mailbox));
    let wanted: Vec<_> = publications.iter().map(|new| subscriptions.wants(new)).collect();
    assert_eq!((wanted, subscriptions.has_gaps()), (vec![true, false, true], true));
    for (publication, number) in publications.drain(1..).zip(2..) {
        topics.take_in(publication, number);
    }
    while let Some(mut delivery) = topics.next_delivery() {
        while delivery.next_member().is_some() {}
        topics.put_back(delivery);
    }
    subscriptions.remove_done(&mut topics);
    assert_eq!((subscriptions.len(), subscriptions.has_gaps()), (1, false));
}

#[test]
fn topics_compress_as_well_as_their_level_says() {
    let text: String = (0..2_000_u32).map(|at| format!("{} {} ", at % 97, at % 31)).collect();
    let [fast, best] = [1, 9].map(|level| {
        let mut hall = Hall::new(TopicDeflate { level, ..TopicDeflate::default() });
        hall.join(Encoding::Shared, 1);
        hall.topic.publish(&*text).unwrap();
        taken(&hall.mailbox)[0].shared.as_ref().unwrap().len()
    });
    assert!(best < fast, "{best} bytes, {fast} with the fastest");
}

#[test]
fn what_is_left_of_a_topic_after_a_batch_keeps_its_place_among_other_topics() {
    let mailbox = Arc::new(Mailbox::new(|| ()));
    let (first, second) = (Topic::new(), Topic::new());
    let mut topics = fanout::Topics::default();
    let _members = [&first, &second].map(|topic| {
        let mut member = topic.subscribe(&mailbox, None, Encoding::Plain).unwrap();
        topics.insert(Key { slot: 0, generation: 0 }, &mut member);
        member
    });
    for _ in 0..=fanout::MAX_BATCH {
        first.publish("first").unwrap();
    }
    second.publish("second").unwrap();
    for (publication, number) in taken(&mailbox).into_iter().zip(1..) {
        topics.take_in(publication, number);
    }
    let mut order = Vec::new();
    while let Some(mut delivery) = topics.next_delivery() {
        while delivery.next_member().is_some() {}
        order.push(delivery.batch.topic());
        topics.put_back(delivery);
    }
    assert_eq!(order, [first.id(), first.id(), second.id()]);
}
