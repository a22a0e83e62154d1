//! chinwag as a library: what its users would write.

use std::io;

use chinwag::{Message, Peer, Request, Router, Server, Service, Topic};

use crate::{Work, announce};

/// More than the load ever opens.
const CONNECTIONS: usize = 100_000;

pub fn serve(work: Work, workers: usize) -> io::Result<()> {
    let topic = Topic::new();
    let router = match work {
        Work::Echo => Router::new().service("/", |_: &Request<'_>| Echo),
        Work::Broadcast => Router::new().service("/", move |_: &Request<'_>| Member(topic.clone())),
    };
    let server = Server::builder()
        .router(router)
        .workers(workers)
        .max_connections(CONNECTIONS)
        .bind("127.0.0.1:0")?;
    announce(server.local_addr())?;
    server.run()
}

/// Sends every message back.
struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

/// Says every message to all.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.publish(&self.0, message).ok();
    }
}
