//! Echoes with every setting of compression (RFC 7692), each at a path of its own, for other people's
//! clients to be tried against:
//!
//! - `/once/N`: windows of N bits, 9 to 15; nothing is taken over from message to message;
//! - `/takeover/N`: the same with takeover both ways;
//! - `/raw/N`: as `/takeover/N`, frame by frame.
//!
//! ```text
//! cargo run --example compressed_echo [ADDR]
//! ```
//!
//! The first line it prints is its address.

use std::{env, io};

use chinwag::{Deflate, Frame, Message, Opcode, Peer, Request, Route, Router, Server, Service};

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        // Fails only where the connection is closing already.
        peer.send(message).ok();
    }

    fn frame(&mut self, peer: &mut Peer<'_>, mut frame: Frame<'_>) {
        if frame.opcode == Opcode::Ping {
            frame.opcode = Opcode::Pong;
        }
        peer.send_frame(frame).ok();
    }
}

fn main() -> io::Result<()> {
    let addr = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let mut router = Router::new();
    for bits in 9..=15 {
        let once = Deflate {
            server_window_bits: bits,
            client_window_bits: bits,
            min_len: 0,
            ..Deflate::default()
        };
        let takeover = Deflate { server_takeover: true, client_takeover: true, ..once.clone() };
        let raw = Deflate { raw: true, ..takeover.clone() };
        let echo = || Route::new(|_: &Request<'_>| Echo);
        router = router
            .route(format!("/once/{bits}"), echo().deflate(Some(once)))
            .route(format!("/takeover/{bits}"), echo().deflate(Some(takeover)))
            .route(format!("/raw/{bits}"), echo().raw().deflate(Some(raw)));
    }
    let server = Server::builder().router(router).bind(addr)?;
    println!("ws://{}/", server.local_addr());
    server.run()
}
