//! The loop over real sockets: what only sockets can show.

mod support;

#[path = "server/chat.rs"]
mod chat;
#[path = "server/closing.rs"]
mod closing;
#[path = "server/cohort.rs"]
mod cohort;
#[path = "server/deadlines.rs"]
mod deadlines;
#[path = "server/flow.rs"]
mod flow;
#[path = "server/identity.rs"]
mod identity;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/topics.rs"]
mod topics;

use chinwag::{Message, Peer, Request, Router, Service};
use support::Running;

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

fn echo_router() -> Router {
    Router::new().service("/echo", |_: &Request<'_>| Echo)
}

fn echo() -> Running {
    Running::router(echo_router())
}

/// Answers messages by calling a closure.
struct Does<F>(F);

impl<F: FnMut(&mut Peer<'_>, Message<'_>)> Service for Does<F> {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        (self.0)(peer, message);
    }
}
