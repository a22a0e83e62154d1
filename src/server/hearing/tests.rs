//! Members of several topics on several workers, who come, go, speak, miss things and are spoken to:
//! what each was sent inflates to what it should have heard.

use std::{collections::HashMap, fmt::Write};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use zlib_rs::{InflateFlush, Status};

use super::*;
use crate::{
    protocol::{
        Role,
        extension::deflate::{self, Agreed, Compressor, Deflate},
        frame::{Header, HeaderRules, Opcode, Rsv},
    },
    server::{context::tests::context, topics::Hear},
    service::{Publication, TopicDeflate},
    slab::Key,
};

/// Bytes that arrive at one peer, inflated as it would: with the window that was agreed, fed with the
/// compressed frames alone.
struct Inflated {
    agreed: Option<Agreed>,
    window: Vec<u8>,
    heard: Vec<String>,
}

impl Inflated {
    fn new(agreed: Option<Agreed>) -> Self {
        Self { agreed, window: Vec::new(), heard: Vec::new() }
    }

    /// Takes whole frames.
    fn take(&mut self, mut wire: &[u8]) {
        let rules = HeaderRules { role: Role::Client, max_payload: 1 << 20, rsv: deflate::RSV };
        while !wire.is_empty() {
            let (header, len) = Header::decode(wire, &rules).unwrap().expect("a whole header");
            assert_eq!((header.fin(), header.opcode()), (true, Opcode::Text));
            let payload;
            (payload, wire) = wire[len..].split_at(header.payload_len() as usize);
            let text = match header.rsv() {
                deflate::RSV => self.inflate(payload),
                _ => payload.to_vec(),
            };
            self.heard.push(String::from_utf8(text).unwrap());
        }
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let agreed = self.agreed.expect("nothing compressed goes to who did not agree to it");
        // The library's windows have 15 bits whatever it is told: a new one for each message knows no
        // more than it should.
        let mut inflate = zlib_rs::Inflate::new(false, 15);
        if !self.window.is_empty() {
            inflate.set_dictionary(&self.window).unwrap();
        }
        // RFC 7692 §7.2.2.
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        let mut text = vec![0; 1 << 12];
        let status = inflate.decompress(&input, &mut text, InflateFlush::SyncFlush);
        assert_eq!((status, inflate.total_in()), (Ok(Status::Ok), input.len() as u64));
        text.truncate(inflate.total_out() as usize);
        if agreed.server_takeover {
            self.window.extend(&text);
            let excess = self.window.len().saturating_sub(1 << agreed.server_window_bits);
            self.window.drain(..excess);
        }
        text
    }
}

/// One connection, from what its `Link` does with publications down to its peer.
struct Person {
    worker: usize,
    key: Key,
    hearing: Hearing,
    peer: Inflated,
    should: Vec<String>,
}

impl Person {
    /// Sends frames of publications that were picked one by one.
    fn hear(&mut self, publications: &[Publication], texts: &Texts) {
        let mut ear = self.hearing.ear();
        for publication in publications {
            self.peer.take(ear.hear(publication).1);
            self.should.push(texts[&(publication.topic, publication.offset)].clone());
        }
        self.hearing.set_ear(ear);
    }

    /// Something for this one alone, as `Connection::send` has it.
    fn tell(&mut self, text: &str) {
        let mut payload = text.as_bytes().to_vec();
        let mut rsv = Rsv::NONE;
        if let Some(agreed) = self.peer.agreed
            && self.hearing.ear().cohort().is_none()
        {
            payload.clear();
            Compressor::new(agreed.server_window_bits, &Deflate::default())
                .compress(text.as_bytes(), &mut payload);
            rsv = deflate::RSV;
        }
        let mut wire = Vec::new();
        Header::new(Opcode::Text, payload.len() as u64).with_rsv(rsv).append_to(&mut wire);
        wire.extend(payload);
        self.peer.take(&wire);
        self.should.push(text.to_owned());
    }
}

type Texts = HashMap<(TopicId, u64), String>;

struct World {
    dice: StdRng,
    workers: Vec<Context>,
    topics: Vec<Topic>,
    people: Vec<Person>,
    texts: Texts,
    said: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let (mut context, _) = context();
                context.worker = worker;
                context
            })
            .collect();
        let mut topics = vec![Topic::new()];
        for _ in 0..3 {
            topics.push(Topic::compressed(TopicDeflate {
                window_bits: dice.random_range(9..=15),
                min_len: 20,
                reset_after: dice.random_range(1..30),
                min_members: dice.random_range(1..4),
                ..TopicDeflate::default()
            }));
        }
        let people = (0..24)
            .map(|slot| {
                let agreed = (dice.random_range(0..6) > 0).then(|| Agreed {
                    server_window_bits: dice.random_range(9..=18).min(15),
                    client_window_bits: 15,
                    server_takeover: dice.random_range(0..4) > 0,
                    client_takeover: false,
                });
                Person {
                    worker: dice.random_range(0..3),
                    key: Key { slot, generation: 0 },
                    hearing: Hearing::new(agreed.map(Ear::new).unwrap_or_default()),
                    peer: Inflated::new(agreed),
                    should: Vec::new(),
                }
            })
            .collect();
        let texts = Texts::new();
        Self { dice, workers, topics, people, texts, said: 0 }
    }

    fn text(&mut self) -> String {
        self.said += 1;
        let mut text = format!("{}", self.said);
        // Long words, each of them rare: what refers back refers far.
        for _ in 0..self.dice.random_range(0..60) {
            let word = self.dice.random_range(1..200_u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            write!(text, " {word:x}").unwrap();
        }
        text
    }

    fn step(&mut self) {
        let one = self.dice.random_range(0..self.people.len());
        let topic = self.topics[self.dice.random_range(0..self.topics.len())].clone();
        let worker = self.people[one].worker;
        match self.dice.random_range(0..100) {
            0..15 => self.subscribe(one, &topic),
            15..22 => {
                // What was published before still arrives.
                self.hear(one, Hear::All);
                self.people[one].hearing.remove(&topic, &mut self.workers[worker]);
            }
            22..70 => {
                let text = self.text();
                let offset = topic.publish(&text).unwrap();
                self.texts.insert((topic.id(), offset), text);
            }
            70..80 => {
                let hear = if self.dice.random() { Hear::All } else { Hear::Own };
                self.hear(one, hear);
                let text = self.text();
                self.people[one].tell(&text);
            }
            _ => self.turn(worker),
        }
    }

    fn subscribe(&mut self, one: usize, topic: &Topic) {
        let person = &mut self.people[one];
        let context = &mut self.workers[person.worker];
        if person.hearing.find(topic).is_none() {
            let kind = person.hearing.ear().kind(topic);
            let joined = topic.join(context.worker, &context.letterbox, None, kind).unwrap();
            person.hearing.add(context.topics.subscribe(person.key, joined));
        }
    }

    /// As a call that sends something hears what comes before.
    fn hear(&mut self, one: usize, hear: Hear) {
        let person = &mut self.people[one];
        let context = &mut self.workers[person.worker];
        context.sort_mail();
        let mut waiting = Vec::new();
        for subscription in person.hearing.subscriptions() {
            waiting.extend(context.topics.hear(subscription, hear).cloned());
        }
        person.hear(&waiting, &self.texts);
    }

    /// As a worker's turn ends.
    fn turn(&mut self, worker: usize) {
        let context = &mut self.workers[worker];
        context.sort_mail();
        while let Some(mut batch) = context.topics.next_batch() {
            let (members, news) = batch.members();
            for (key, heard) in members {
                let person = &mut self.people[key.slot as usize];
                let new = news.after(heard);
                if self.dice.random_range(0..20) == 0 {
                    person.hearing.miss(news.topic(), news.after(heard).len());
                } else if news.is_all(new) {
                    let texts = new.iter().map(|new| self.texts[&(new.topic, new.offset)].clone());
                    person.should.extend(texts);
                    let mut ear = person.hearing.ear();
                    let frames = news.joined(&mut ear, &mut context.compressed);
                    person.peer.take(frames);
                    person.hearing.set_ear(ear);
                } else {
                    person.hear(new, &self.texts);
                }
            }
            context.topics.give_back(batch);
        }
    }
}

#[test]
fn everyone_hears_what_they_should() {
    let mut sent = super::super::topics::Compressed::default();
    let mut starts = 0;
    for seed in 0..50 {
        let mut world = World::new(seed);
        for _ in 0..1_000 {
            world.step();
        }
        (0..3).for_each(|worker| world.turn(worker));
        for (at, person) in world.people.iter().enumerate() {
            assert_eq!(person.peer.heard, person.should, "seed {seed}, person {at}");
        }
        for context in &mut world.workers {
            sent.add(context.compressed);
        }
        for topic in &world.topics {
            let made = topic.compressions();
            assert!(made.shared <= topic.last_offset() && made.cohort <= topic.last_offset());
            starts += made.starts;
        }
    }
    // It was no test without them.
    assert!(sent.shared > 1_000 && sent.cohort > 1_000 && starts > 500, "{sent:?} {starts}");
}
