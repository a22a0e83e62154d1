//! Services that more than one kind of test in memory needs.

use chinwag::{Message, Peer, Request, Server, ServerBuilder, Service};

/// Echoes.
pub struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

/// A server with it at `/echo`.
pub fn echo() -> ServerBuilder {
    Server::builder().service("/echo", |_: &Request<'_>| Echo)
}

/// Answers messages by calling a closure.
pub struct Does<F>(pub F);

impl<F: FnMut(&mut Peer<'_>, Message<'_>)> Service for Does<F> {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        (self.0)(peer, message);
    }
}
