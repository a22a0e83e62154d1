//! A chat in four steps, each at an address of its own, with a list of members kept by hand: an echo, a
//! list, a broadcast, names. `chat` has the same from a topic, which needs no list.
//!
//! ```sh
//! cargo run --example chat_steps [ADDR]
//! ```

use std::{
    collections::BTreeMap,
    env, io,
    sync::{Arc, Mutex, PoisonError},
};

use chinwag::{Message, PeerHandle, Server, ServerBuilder, Session, session};

/// The steps at `/1` to `/4`.
pub fn server() -> ServerBuilder {
    let [second, third, fourth] = [(); 3].map(|()| Members::default());
    Server::builder()
        .websocket("/1", echo)
        .websocket("/2", move |session| counted(session, second.clone()))
        .websocket("/3", move |session| broadcast(session, third.clone()))
        .websocket("/4", move |session| named(session, fourth.clone()))
}

/// The first step: what is said comes back.
async fn echo(mut session: Session) -> session::Result {
    while let Some(message) = session.recv().await {
        session.send(message).await?;
    }
    Ok(())
}

/// The second: those who are here are on a list.
async fn counted(mut session: Session, members: Members) -> session::Result {
    let _place = members.add(&session);
    session.send(format!("You are connected! There are {} users here.", members.count())).await?;
    while let Some(message) = session.recv().await {
        session.send(message).await?;
    }
    Ok(())
}

/// The third: everyone on it hears what is said.
async fn broadcast(mut session: Session, members: Members) -> session::Result {
    let _place = members.add(&session);
    while let Some(message) = session.recv().await {
        members.tell(&message);
    }
    Ok(())
}

/// The fourth: and who said it.
async fn named(mut session: Session, members: Members) -> session::Result {
    let place = members.add(&session);
    while let Some(message) = session.recv().await {
        if let Message::Text(text) = message {
            members.tell(&format!("user{} said: {text}", place.id).into());
        }
    }
    Ok(())
}

/// Those who are here. Sessions of other workers come and go meanwhile, so it is under a lock.
#[derive(Clone, Default)]
struct Members(Arc<Mutex<List>>);

#[derive(Default)]
struct List {
    next_id: u64,
    handles: BTreeMap<u64, PeerHandle>,
}

/// A member's place on the list, as long as the session keeps this.
struct Place {
    id: u64,
    members: Members,
}

impl Members {
    fn add(&self, session: &Session) -> Place {
        self.with(|list| {
            let id = list.next_id;
            list.next_id += 1;
            list.handles.insert(id, session.handle());
            Place { id, members: self.clone() }
        })
    }

    fn count(&self) -> usize {
        self.with(|list| list.handles.len())
    }

    /// Sends `message` to those who are on the list now; who leaves meanwhile does no harm.
    fn tell(&self, message: &Message<'_>) {
        let everyone: Vec<_> = self.with(|list| list.handles.values().cloned().collect());
        for handle in everyone {
            // A worker with a full queue leaves it out.
            handle.send(message.clone()).ok();
        }
    }

    fn with<T>(&self, then: impl FnOnce(&mut List) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// However a session ends, it leaves the list.
impl Drop for Place {
    fn drop(&mut self) {
        self.members.with(|list| list.handles.remove(&self.id));
    }
}

fn main() -> io::Result<()> {
    let server = server().bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{}/1, /2, /3 and /4", server.local_addr());
    server.run()
}
