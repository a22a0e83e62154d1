//! Headers read and written, by the form of their length (§5.2).

use std::{hint::black_box, time::Duration};

use chinwag::{
    Opcode, Role,
    protocol::frame::{Header, HeaderRules, Rsv},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    group.throughput(Throughput::Elements(1));
    for (name, role, masking_key) in
        [("masked", Role::Server, Some([0x37, 0xfa, 0x21, 0x3d])), ("unmasked", Role::Client, None)]
    {
        let rules = HeaderRules { role, max_payload: 1 << 20, rsv: Rsv::NONE };
        for payload_len in (0..=20).step_by(4).map(|power| 1 << power) {
            let header = Header::new(Opcode::Binary, payload_len).with_masking_key(masking_key);
            let (mut input, len) = header.encode();
            // A whole header with something behind it, as in a read buffer.
            input[len..].fill(0xff);
            assert_eq!(Header::decode(&input, &rules), Ok(Some((header, len))));

            group.bench_function(BenchmarkId::new(format!("decode {name}"), payload_len), |b| {
                b.iter(|| Header::decode(black_box(&input), black_box(&rules)));
            });
            group.bench_function(BenchmarkId::new(format!("encode {name}"), payload_len), |b| {
                b.iter(|| black_box(&header).encode());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, frame);
criterion_main!(benches);
