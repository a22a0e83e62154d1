//! chinwag as a library: what its users would write.

use std::io;

use chinwag::{Message, Peer, Request, Server, Service, Session, Topic};

use crate::{Work, announce};

/// More than the load ever opens.
const CONNECTIONS: usize = 100_000;

/// `sessions` says whether its echo is a session, the sequential face, instead of a service.
pub fn serve(work: Work, workers: usize, sessions: bool) -> io::Result<()> {
    let server = Server::builder().workers(workers).max_connections(CONNECTIONS);
    let topic = Topic::new();
    let server = match work {
        Work::Broadcast => server.service("/", move |_: &Request<'_>| Member(topic.clone())),
        Work::Echo if sessions => server.websocket("/", |mut session: Session| async move {
            while let Some(message) = session.recv().await {
                session.send(message).await?;
            }
            Ok(())
        }),
        Work::Echo => server.service("/", |_: &Request<'_>| Echo),
    };
    let server = server.bind("127.0.0.1:0")?;
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
