//! Conversations, by state.

use std::{sync::Arc, time::Instant};

use super::*;
use crate::protocol::buffer::Pool;

/// A client and a server joined in memory.
struct Pair {
    client: Connection,
    server: Connection,
    pool: Pool,
    now: Instant,
}

impl Pair {
    fn open(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let now = Instant::now();
        let mut client = Connection::client(Arc::clone(&settings), [7; 32], now);
        let mut server = Connection::server(Arc::clone(&settings), now);
        client.upgrade(Arc::clone(&settings), now);
        server.upgrade(settings, now);
        Self { client, server, pool: Pool::new(1 << 20), now }
    }

    /// Gives `wire` to the server, cut at `cut`: its messages, and what it answers.
    fn to_server(&mut self, wire: &[u8], cut: usize) -> (Vec<Event<'static>>, Vec<u8>) {
        let mut wire = wire.to_vec();
        let (first, second) = wire.split_at_mut(cut);
        let mut events = Vec::new();
        let mut output = Vec::new();
        for mut input in [first, second] {
            while let Some(event) =
                self.server.receive(&mut input, self.now, &mut self.pool, &mut output)
            {
                events.push(match event {
                    Event::Message(message) => Event::Message(message.into_owned()),
                    Event::Frame(Frame { header, payload }) => {
                        Event::Frame(Frame { header, payload: payload.into_owned() })
                    }
                });
            }
        }
        (events, output)
    }
}

#[test]
fn a_message_arrives_whole_however_it_is_cut() {
    let mut wire = Vec::new();
    let mut pair = Pair::open(Settings::default());
    pair.client.send(&"Hello, wörld".into(), &mut wire).unwrap();
    pair.client.ping(b"here", &mut wire).unwrap();
    pair.client.send(&vec![7u8; 300].into(), &mut wire).unwrap();
    for cut in 0..=wire.len() {
        let mut pair = Pair::open(Settings::default());
        let (events, output) = pair.to_server(&wire, cut);
        assert_eq!(
            events,
            [Event::Message("Hello, wörld".into()), Event::Message(vec![7u8; 300].into())],
            "cut at {cut}"
        );
        assert_eq!(output, b"\x8a\x04here", "cut at {cut}");
    }
}
