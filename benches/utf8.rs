//! Text checked whole and in pieces, by size (§8.1).

use std::{hint::black_box, time::Duration};

use chinwag::protocol::utf8::Utf8Checker;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// What one TCP segment brings: pieces of this size cut characters anywhere.
const SEGMENT: usize = 1448;

fn utf8(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    for (name, sample) in [("ASCII", "Hello, world. "), ("mixed", "Grüße, κόσμε! 你好 😀 ")]
    {
        for size in (3..=20).map(|power| 1 << power) {
            let text: Vec<u8> = whole_characters(sample, size);
            assert!(check(&text, text.len()) && check(&text, SEGMENT));
            let mut wrong = text.clone();
            *wrong.last_mut().expect("it is not empty") = 0xff;
            assert!(!check(&wrong, wrong.len()) && !check(&wrong, SEGMENT));

            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(format!("{name} whole"), size), |b| {
                b.iter(|| check(black_box(&text), text.len()));
            });
            if size > SEGMENT {
                group.bench_function(BenchmarkId::new(format!("{name} in pieces"), size), |b| {
                    b.iter(|| check(black_box(&text), SEGMENT));
                });
            }
        }
    }
    group.finish();
}

/// About `size` bytes of `sample` again and again, and then as many characters as fit.
fn whole_characters(sample: &str, size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size);
    text.extend(sample.chars().cycle().scan(size, |left, c| {
        *left = left.checked_sub(c.len_utf8())?;
        Some(c)
    }));
    text.into_bytes()
}

fn check(text: &[u8], size: usize) -> bool {
    let mut checker = Utf8Checker::default();
    text.chunks(size).all(|piece| checker.check(piece).is_ok()) && checker.finish().is_ok()
}

criterion_group!(benches, utf8);
criterion_main!(benches);
