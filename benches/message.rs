//! Whole messages from bytes, by payload size: headers, unmasking, UTF-8 and joining (§5.4, §5.6).
//!
//! A connection gets 256 KiB, or one message where that is longer, as from a worker's read buffer. The
//! copy into that buffer is counted, as it stands for what `recv` does.

use std::{sync::Arc, time::Duration, time::Instant};

use chinwag::{
    Message, Opcode,
    protocol::{
        buffer::Pool,
        connection::{Connection, Event, Settings},
        frame::Header,
        mask::apply_mask,
    },
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const READ: usize = 256 << 10;

fn message(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    for (name, opcode, fragments) in
        [("text", Opcode::Text, 1), ("binary", Opcode::Binary, 1), ("4 fragments", Opcode::Text, 4)]
    {
        for size in (3..=20).map(|power| 1 << power) {
            let payload = vec![b'a'; size];
            let one = masked(opcode, &payload, fragments);
            let count = (READ / one.len()).max(1);
            let wire = one.repeat(count);
            let mut server = Server::new(wire.len());
            let mut seen = 0;
            server.receive(&wire, |message| {
                assert_eq!((message.opcode(), message.as_bytes()), (opcode, &payload[..]));
                seen += 1;
            });
            assert_eq!(seen, count);

            group.throughput(Throughput::ElementsAndBytes {
                elements: count as u64,
                bytes: (count * size) as u64,
            });
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| server.receive(&wire, |message| drop(std::hint::black_box(message))));
            });
        }
    }
    group.finish();
}

struct Server {
    connection: Connection,
    pool: Pool,
    read_buffer: Vec<u8>,
    output: Vec<u8>,
    now: Instant,
}

impl Server {
    fn new(read_buffer: usize) -> Self {
        let now = Instant::now();
        let mut connection = Connection::server(Arc::new(Settings::default()), now);
        connection.upgrade(Arc::new(Settings::default()), now);
        let (pool, output) = (Pool::new(4 << 20), Vec::new());
        Self { connection, pool, read_buffer: vec![0; read_buffer], output, now }
    }

    fn receive(&mut self, wire: &[u8], mut seen: impl FnMut(Message<'_>)) {
        self.read_buffer.copy_from_slice(wire);
        let Self { connection, pool, output, now, .. } = self;
        let mut input = &mut self.read_buffer[..];
        while let Some(event) = connection.receive(&mut input, *now, pool, output) {
            match event {
                Event::Message(message) => seen(message),
                Event::Frame(_) => unreachable!("this is not raw mode"),
            }
        }
    }
}

/// A message from a client.
fn masked(opcode: Opcode, payload: &[u8], fragments: usize) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut wire = Vec::new();
    for (i, piece) in payload.chunks(payload.len().div_ceil(fragments)).enumerate() {
        let opcode = if i == 0 { opcode } else { Opcode::Continuation };
        let header = Header::new(opcode, piece.len() as u64).with_fin(i + 1 == fragments);
        let (bytes, len) = header.with_masking_key(Some(key)).encode();
        wire.extend_from_slice(&bytes[..len]);
        let start = wire.len();
        wire.extend_from_slice(piece);
        apply_mask(&mut wire[start..], key, 0);
    }
    wire
}

criterion_group!(benches, message);
criterion_main!(benches);
