//! The loop over real sockets: what only sockets can show.

mod support;

use chinwag::{Message, Peer, Request, Router, Service};
use support::{Running, Said};

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

fn echo() -> Running {
    Running::router(Router::new().service("/echo", |_: &Request<'_>| Echo))
}

#[test]
fn messages_of_every_size_come_back() {
    let server = echo();
    let mut client = server.connect("/echo");
    for len in [0, 1, 125, 126, 65_535, 65_536, 300_000, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        client.send(&bytes[..]);
        assert_eq!(client.recv(), Some(Said::Binary(bytes)), "{len} bytes");
        let text = "é".repeat(len / 2);
        client.send(&text);
        assert_eq!(client.text(), text, "{len} bytes of text");
    }
}
