//! An extension of one's own (§9), on an echo: every data frame is marked with RSV2 and carries a number
//! in front of its payload, one byte that counts from 0 to 255 and begins anew. Who receives a frame
//! with another number fails the connection, so that none can be lost or repeated on the way.
//!
//! ```text
//! cargo run --example custom_extension [ADDR]
//! ```
//!
//! A client that does not offer `x-numbered` gets the same echo without it.

use std::{env, io};

use chinwag::{
    CloseCode, Message, Peer, Request, Router, Server, Service,
    protocol::{
        extension::{DataFrame, Extension, ExtensionError, Extensions, Offer, Param, Transform},
        frame::Rsv,
    },
};

/// The extension: installed once, agreed on by each connection that wants it.
pub struct Numbered;

impl Extension for Numbered {
    fn name(&self) -> &str {
        "x-numbered"
    }

    fn rsv(&self) -> Rsv {
        Rsv::RSV2
    }

    /// It has no parameters, so an offer that has some is for another version of it.
    fn answer(&self, offer: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        offer.params.is_empty().then(|| (vec![], Box::new(Numbers::default()) as _))
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        vec![vec![]]
    }

    fn accept(&self, response: &Offer<'_>) -> Option<Box<dyn Transform>> {
        response.params.is_empty().then(|| Box::new(Numbers::default()) as _)
    }
}

/// One connection's numbers.
#[derive(Default)]
struct Numbers {
    sent: u8,
    received: u8,
}

const UNMARKED: ExtensionError =
    ExtensionError::new(CloseCode::PROTOCOL_ERROR, "a frame has no number");
const OUT_OF_STEP: ExtensionError =
    ExtensionError::new(CloseCode::PROTOCOL_ERROR, "a frame has the wrong number");

impl Transform for Numbers {
    fn outgoing(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        frame.set_rsv(Rsv::RSV2);
        frame.replace(0..0, &[self.sent])?;
        self.sent = self.sent.wrapping_add(1);
        Ok(())
    }

    fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        let number = frame.payload().first().copied();
        let Some(number) = number.filter(|_| frame.rsv() == Rsv::RSV2) else {
            return Err(UNMARKED);
        };
        if number != self.received {
            return Err(OUT_OF_STEP);
        }
        self.received = self.received.wrapping_add(1);
        frame.replace(0..1, &[])
    }
}

/// Says what was agreed on, then everything it hears.
struct Echo;

impl Service for Echo {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        let agreed: Vec<_> = peer.extensions().iter().map(ToString::to_string).collect();
        peer.send(format!("agreed on: {}", agreed.join(", "))).ok();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

/// The echo at `addr`.
pub fn bind(addr: &str) -> io::Result<Server> {
    Server::builder()
        .extensions(Extensions::new().with(Numbered))
        .router(Router::new().service("/", |_: &Request<'_>| Echo))
        .bind(addr)
}

fn main() -> io::Result<()> {
    let server = bind(&env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into()))?;
    println!("ws://{}/", server.local_addr());
    server.run()
}
