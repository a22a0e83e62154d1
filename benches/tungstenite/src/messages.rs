//! Whole messages in, from bytes in memory to what the application is given.

use std::{
    hint::black_box,
    io::{self, Read, Write},
    sync::Arc,
    time::Instant,
};

use chinwag::{
    Message, Opcode,
    protocol::{
        buffer::{Payload, Pool},
        connection::{Connection, Event, Settings},
        frame::Header,
        mask::apply_mask,
    },
};
use tungstenite::{
    WebSocket,
    protocol::{Role, WebSocketConfig},
};

use crate::measure::Table;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What one read brings at most, to both.
const READ: usize = 256 << 10;

/// Masked messages, as many as one read brings.
pub fn whole(table: &mut Table) {
    for (name, opcode, fragments) in [
        ("text", Opcode::Text, 1),
        ("binary", Opcode::Binary, 1),
        ("text, 4 fragments", Opcode::Text, 4),
    ] {
        for size in (3..=19).step_by(4).map(|power| 1usize << power) {
            let one = masked(opcode, &vec![b'a'; size], fragments);
            let count = (READ / one.len()).max(1);
            let wire = one.repeat(count);
            let mut ours = Ours::new();
            let mut theirs = Theirs::new(wire.clone());
            assert_eq!(ours.receive(&wire), (count, count * size));
            assert_eq!(theirs.receive(count), (count, count * size));
            table.compare(
                format!("message in, {name}, {size} bytes"),
                count,
                || ours.receive(&wire),
                || theirs.receive(count),
            );
        }
    }
}

struct Ours {
    connection: Connection,
    pool: Pool,
    read_buffer: Vec<u8>,
    output: Vec<u8>,
}

impl Ours {
    fn new() -> Self {
        let mut connection = Connection::server(Arc::new(Settings::default()), Instant::now());
        connection.upgrade(Arc::new(Settings::default()), Instant::now());
        let pool = Pool::new(4 << 20);
        Self { connection, pool, read_buffer: vec![0; READ], output: Vec::new() }
    }

    /// Messages and bytes in them. The copies are what `recv` would do, in both.
    fn receive(&mut self, mut wire: &[u8]) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        let now = Instant::now();
        let Self { connection, pool, read_buffer, output } = self;
        let mut seen = |event: Event<'_>, pool: &mut Pool| {
            let Event::Message(message) = black_box(event) else { return };
            count += 1;
            bytes += message.as_bytes().len();
            let payload = match message {
                Message::Text(text) => text.into_payload(),
                Message::Binary(payload) => payload,
            };
            if let Payload::Owned(buffer) = payload {
                pool.put(buffer);
            }
        };
        while !wire.is_empty() {
            // The rest of a large frame is read into its place, as the server does.
            if let Some(space) = connection.space(pool) {
                let len = wire.read(space).unwrap();
                if let Some(event) = connection.receive_in_place(len, now, output) {
                    seen(event, pool);
                }
                continue;
            }
            let len = wire.read(read_buffer).unwrap();
            let mut input = &mut read_buffer[..len];
            while let Some(event) = connection.receive(&mut input, now, pool, output) {
                seen(event, pool);
            }
        }
        (count, bytes)
    }
}

struct Theirs(WebSocket<Source>);

impl Theirs {
    fn new(wire: Vec<u8>) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(READ);
        Self(WebSocket::from_raw_socket(Source { wire, at: 0 }, Role::Server, Some(config)))
    }

    fn receive(&mut self, count: usize) -> (usize, usize) {
        self.0.get_mut().at = 0;
        let bytes = (0..count).map(|_| black_box(self.0.read().unwrap()).len()).sum();
        (count, bytes)
    }
}

/// A socket that always has the same bytes, once for each time it is rewound.
struct Source {
    wire: Vec<u8>,
    at: usize,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.wire[self.at..].as_ref().read(buffer)?;
        self.at += len;
        Ok(len)
    }
}

impl Write for Source {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn masked(opcode: Opcode, payload: &[u8], fragments: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for (i, piece) in payload.chunks(payload.len().div_ceil(fragments)).enumerate() {
        let opcode = if i == 0 { opcode } else { Opcode::Continuation };
        let header = Header::new(opcode, piece.len() as u64);
        let header = header.with_fin(i + 1 == fragments).with_masking_key(Some(KEY));
        let (bytes, len) = header.encode();
        wire.extend_from_slice(&bytes[..len]);
        let start = wire.len();
        wire.extend_from_slice(piece);
        apply_mask(&mut wire[start..], KEY, 0);
    }
    wire
}
