//! What a topic's messages cost on the wire and in compressing, by the way they are compressed.
//!
//! ```text
//! cargo bench --bench cohort                  1,000 members, 4,000 messages
//! cargo bench --bench cohort -- 100 20000     other numbers
//! ```
//!
//! In memory, without sockets: what one member is sent, in bytes of frames, and the time in which all
//! messages are compressed for all members. Messages are JSON as a chat sends it, of about 150
//! bytes. `Topic` rows go through [`Topic::publish`] with everyone joined before the first message, but
//! that one more member comes for every 50 messages: someone always waits, so the cohort starts anew
//! as often as it may. With one compressor a member, every member is given the same messages;
//! ten of them are measured, as all cost the same, and the time is multiplied.

#[path = "../fuzz/src/memory.rs"]
mod memory;

use std::{
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use chinwag::{
    Deflate, Topic, TopicDeflate,
    protocol::extension::deflate::{Agreed, Compressor},
    topic::{Encoding as Kind, Probe},
};

/// Messages between one who comes late and the next.
const LATE: usize = 50;

/// Members measured of those who have a compressor each.
const SAMPLE: usize = 10;

/// Every run is done so often; the best time counts.
const ROUNDS: usize = 5;

fn main() {
    let numbers: Vec<usize> = env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (members, count) = match numbers[..] {
        [members, count] => (members, count),
        _ => (1_000, 4_000),
    };
    let messages = messages(count);
    let plain: usize = messages.iter().map(|message| frame_len(message.len())).sum();
    println!("{members} members, {count} messages of {} bytes on average", plain / count);
    println!("| members hear | a member is sent | of plain | all compressing | memory |");
    println!("|---|---|---|---|---|");
    let print = |name: &str, bytes: usize, time: Duration, memory: isize| {
        println!(
            "| {name} | {} kB | {:.1} % | {:.1} ms | {} KiB |",
            bytes / 1000,
            100.0 * bytes as f64 / plain as f64,
            time.as_secs_f64() * 1e3,
            memory >> 10
        );
    };

    let topic = |name: &str, kind, settings: &TopicDeflate| {
        let (bytes, time, memory) = publish(&messages, members, kind, settings);
        print(name, bytes, time, memory);
    };
    let settings = TopicDeflate::default();
    topic("plain", Kind::Plain, &settings);
    topic("shared", Kind::Shared, &settings);
    for reset_after in [25, 50, 100, 200, 400, 800, u32::MAX] {
        let name = match reset_after {
            u32::MAX => "a cohort that starts once".to_owned(),
            _ => format!("a cohort, anew after {reset_after}"),
        };
        topic(&name, Kind::Cohort, &TopicDeflate { reset_after, ..settings.clone() });
    }
    for (window_bits, mem_level) in [(11, 4), (12, 5), (13, 5), (14, 7), (15, 6), (15, 8)] {
        let name = format!("a cohort, window {window_bits}, memory level {mem_level}");
        let settings = TopicDeflate { window_bits, mem_level, ..settings.clone() };
        topic(&name, Kind::Cohort, &settings);
    }
    let own = Deflate { level: settings.level, server_takeover: true, ..Deflate::default() };
    for (window_bits, mem_level) in [(12, 5), (15, 8)] {
        let own = Deflate { mem_level, ..own.clone() };
        let before = memory::held();
        let compressors: Vec<_> = (0..SAMPLE).map(|_| Compressor::new(window_bits, &own)).collect();
        let memory = (memory::held() - before) / SAMPLE as isize * members as isize;
        drop(compressors);
        let (bytes, time) = one_each(&messages, window_bits, &own);
        let time = time * (members / SAMPLE) as u32;
        print(
            &format!("their own, window {window_bits}, memory level {mem_level}"),
            bytes,
            time,
            memory,
        );
    }
}

/// Bytes that one of the first members is sent, the time of all publications, and what the topic
/// holds at the end.
fn publish(
    messages: &[Vec<u8>],
    members: usize,
    kind: Kind,
    settings: &TopicDeflate,
) -> (usize, Duration, isize) {
    let agreed = Agreed {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: kind == Kind::Cohort,
        client_takeover: false,
    };
    let agreed = (kind != Kind::Plain).then_some(agreed);
    let mut best = Duration::MAX;
    let mut sent = 0;
    let mut held = 0;
    for _ in 0..ROUNDS {
        let before = memory::held();
        let topic = Topic::compressed(settings.clone());
        let of_topic = memory::held() - before;
        let mut probe = Probe::new(&topic, agreed);
        probe.join(members);
        let before = memory::held() - of_topic;
        let mut time = Duration::ZERO;
        for messages in messages.chunks(LATE) {
            let begun = Instant::now();
            for message in messages {
                topic.publish(black_box(&message[..])).unwrap();
            }
            time += begun.elapsed();
            probe.received();
            // The compressor of shared frames is the thread's, and stays there: its first round counts.
            held = (memory::held() - before).max(held);
            probe.join(1);
        }
        best = best.min(time);
        sent = probe.received();
        let made = topic.compressions();
        let count = messages.len() as u64;
        let expected = match kind {
            Kind::Plain => (0, 0),
            Kind::Shared => (count, 0),
            Kind::Cohort => (0, count),
        };
        assert_eq!((made.shared, made.cohort), expected, "one compression a publication");
    }
    (sent, best, held)
}

/// As [`publish`], with a compressor each.
fn one_each(messages: &[Vec<u8>], window_bits: u8, settings: &Deflate) -> (usize, Duration) {
    let mut best = Duration::MAX;
    let mut sent = 0;
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        let mut compressors: Vec<_> =
            (0..SAMPLE).map(|_| Compressor::new(window_bits, settings)).collect();
        sent = 0;
        let begun = Instant::now();
        for message in messages {
            for compressor in &mut compressors {
                out.clear();
                compressor.compress(black_box(message), &mut out);
                sent += frame_len(out.len());
            }
        }
        best = best.min(begun.elapsed());
    }
    (sent / SAMPLE, best)
}

/// Bytes of an unmasked frame with `len` bytes of payload (§5.2).
fn frame_len(len: usize) -> usize {
    len + match len {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

/// JSON of about 150 bytes, the same each time.
fn messages(count: usize) -> Vec<Vec<u8>> {
    const NAMES: [&str; 12] = [
        "anna", "bert", "carla", "dörte", "emil", "frieda", "gustav", "hanna", "igor", "jana",
        "kurt", "lena",
    ];
    const WORDS: [&str; 40] = [
        "the", "a", "and", "of", "to", "in", "that", "is", "was", "it", "for", "on", "with", "not",
        "you", "are", "this", "have", "from", "or", "meeting", "tomorrow", "morning", "please",
        "release", "server", "thanks", "grüße", "coffee", "who", "what", "when", "browser",
        "window", "message", "room", "later", "maybe", "sure", "train",
    ];
    let mut seed = 1_u64;
    let mut dice = move |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % sides
    };
    (0..count)
        .map(|number| {
            let name = NAMES[dice(NAMES.len())];
            let words: Vec<_> = (0..6 + dice(12)).map(|_| WORDS[dice(WORDS.len())]).collect();
            let time = 1_790_000_000_000_u64 + number as u64 * 1_337 + dice(1_000) as u64;
            let text = words.join(" ");
            format!(
                r#"{{"type":"say","id":{number},"time":{time},"room":"lobby","from":"{name}","text":"{text}"}}"#
            )
            .into_bytes()
        })
        .collect()
}
