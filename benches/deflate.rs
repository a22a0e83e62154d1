//! What the settings of compression cost and save: the table in the documentation of
//! [`Deflate`](chinwag::Deflate).
//!
//! ```text
//! cargo bench --bench deflate
//! ```
//!
//! Messages are JSON as a chat sends it, of about the length that the column says. A cell has the
//! compressed size, of the plain one, and the times to compress and to inflate one message; `memory` is
//! what a compressor holds, as the allocator counts it.

#[path = "../fuzz/src/memory.rs"]
mod memory;

use std::{
    fmt,
    hint::black_box,
    time::{Duration, Instant},
};

use chinwag::{
    Deflate,
    protocol::{
        buffer::{Buffer, Pool},
        extension::deflate::{Compressor, Inflater},
    },
};

/// Lengths of messages, and how many of each.
const MESSAGES: [(usize, usize); 3] = [(128, 2_000), (1 << 10, 1_000), (16 << 10, 100)];

fn main() {
    println!("| level | memory level | window | takeover | 128 B | 1 KiB | 16 KiB | memory |");
    println!("|---|---|---|---|---|---|---|---|");
    let levels = [1, 2, 3, 6, 9].map(|level| (level, 12, 6));
    let grades = [(9, 1), (10, 3), (12, 5), (13, 6), (15, 8)].map(|(bits, grade)| (3, bits, grade));
    let small = [(6, 13, 6), (6, 15, 8)];
    for takeover in [false, true] {
        for &(level, bits, mem_level) in levels.iter().chain(&grades).chain(&small) {
            row(&Deflate { level, mem_level, ..Deflate::default() }, bits, takeover);
        }
    }
    let before = memory::held();
    let inflater = Inflater::default();
    println!("\nan inflater holds {} KiB\n", (memory::held() - before) >> 10);
    drop(inflater);

    println!("one message by its length, otherwise by default:\n");
    println!("| length | once, level 1 | once | with takeover |\n|---|---|---|---|");
    for len in [32, 64, 96, 128, 192, 256, 384, 512] {
        let kinds =
            [(1, false), (Deflate::default().level, false), (Deflate::default().level, true)];
        let [quick, once, takeover] = kinds.map(|(level, takeover)| {
            let settings = Deflate { level, ..Deflate::default() };
            measure(&settings, 12, takeover, &messages(len, 2_000)).to_string()
        });
        println!("| {len} B | {quick} | {once} | {takeover} |");
    }
}

fn row(settings: &Deflate, bits: u8, takeover: bool) {
    let before = memory::held();
    let compressor = Compressor::new(bits, settings);
    let held = (memory::held() - before) >> 10;
    drop(compressor);
    let Deflate { level, mem_level, .. } = settings;
    let takes_over = if takeover { "yes" } else { "no" };
    print!("| {level} | {mem_level} | {bits} | {takes_over} |");
    for (len, count) in MESSAGES {
        let run = measure(settings, bits, takeover, &messages(len, count));
        print!(" {run} |");
    }
    println!(" {held} KiB |");
}

struct Run {
    /// Of the plain size.
    size: f64,
    /// Time for one message.
    compress: Duration,
    inflate: Duration,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (size, compress, inflate) =
            (self.size * 100.0, micros(self.compress), micros(self.inflate));
        write!(f, "{size:.0} %, {compress:.1} µs, {inflate:.1} µs")
    }
}

/// How often everything is done, and how many messages are timed together: of each such group the best
/// time counts, so that what else runs on the machine counts for little.
const ROUNDS: usize = 9;
const GROUP: usize = 20;

fn measure(settings: &Deflate, bits: u8, takeover: bool, messages: &[Vec<u8>]) -> Run {
    let groups = messages.len().div_ceil(GROUP);
    let mut best = vec![[Duration::MAX; 2]; groups];
    let mut compressed = vec![Vec::with_capacity(2 * messages[0].len()); messages.len()];
    for _ in 0..ROUNDS {
        let mut compressor = Compressor::new(bits, settings);
        for (group, best) in (0..).step_by(GROUP).zip(&mut best) {
            let group = group..messages.len().min(group + GROUP);
            let begun = Instant::now();
            for (message, out) in messages[group.clone()].iter().zip(&mut compressed[group]) {
                out.clear();
                compressor.compress(black_box(message), out);
                if !takeover {
                    compressor.reset();
                }
            }
            best[0] = best[0].min(begun.elapsed());
        }

        let (mut inflater, mut pool) = (Inflater::default(), Pool::new(1 << 20));
        let mut window = Vec::new();
        for (group, best) in (0..).step_by(GROUP).zip(&mut best) {
            let group = group..messages.len().min(group + GROUP);
            let begun = Instant::now();
            for (message, compressed) in messages[group.clone()].iter().zip(&compressed[group]) {
                let mut output = Buffer::default();
                inflater.begin(&window, message.len());
                let input = black_box(compressed);
                inflater.inflate(input, &window, &mut output, None, &mut pool).unwrap();
                inflater.finish(&window, &mut output, None, &mut pool).unwrap();
                assert_eq!(output.payload(), message);
                if takeover {
                    window.extend_from_slice(output.payload());
                    window.drain(..window.len().saturating_sub(1 << bits));
                }
                pool.put(output);
            }
            best[1] = best[1].min(begun.elapsed());
        }
    }
    let len = |messages: &[Vec<u8>]| messages.iter().map(Vec::len).sum::<usize>() as f64;
    let each =
        |at: usize| best.iter().map(|best| best[at]).sum::<Duration>() / messages.len() as u32;
    Run { size: len(&compressed) / len(messages), compress: each(0), inflate: each(1) }
}

/// JSON of about `len` bytes, the same each time.
fn messages(len: usize, count: usize) -> Vec<Vec<u8>> {
    const WORDS: [&str; 24] = [
        "the", "a", "and", "of", "to", "in", "that", "is", "was", "it", "for", "on", "with",
        "meeting", "tomorrow", "morning", "please", "release", "server", "thanks", "grüße",
        "coffee", "who", "what",
    ];
    let mut seed = 1u64;
    let mut dice = move |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % sides
    };
    (0..count)
        .map(|n| {
            let mut text = format!(
                r#"{{"room":"kitchen","from":"user{}","at":{},"text":""#,
                dice(40),
                1_790_000_000 + n * 7
            );
            while text.len() < len.saturating_sub(2) {
                text += WORDS[dice(WORDS.len())];
                text.push(' ');
            }
            text += "\"}";
            while text.len() > len || !text.is_char_boundary(text.len()) {
                text.pop();
            }
            text.into_bytes()
        })
        .collect()
}
