//! Masking in place, by payload size (§5.3).

use std::{hint::black_box, time::Duration};

use chinwag::protocol::mask::apply_mask;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{Rng, SeedableRng, rngs::StdRng};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn mask(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    for (name, offset) in [("whole", 0), ("from the second byte", 1)] {
        for size in (3..=20).map(|power| 1 << power) {
            let mut payload = vec![0; size];
            StdRng::seed_from_u64(1).fill_bytes(&mut payload);
            let payload = &mut payload[offset..];
            assert_masks(payload, offset);

            group.throughput(Throughput::Bytes(payload.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| apply_mask(black_box(payload), KEY, offset));
            });
        }
    }
    group.finish();
}

fn assert_masks(payload: &mut [u8], offset: usize) {
    let plain = payload.to_vec();
    apply_mask(payload, KEY, offset);
    for (i, (masked, plain)) in payload.iter().zip(&plain).enumerate() {
        assert_eq!(*masked, plain ^ KEY[(offset + i) % 4]);
    }
}

criterion_group!(benches, mask);
criterion_main!(benches);
