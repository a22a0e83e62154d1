//! A chat: everyone hears what anyone says.
//!
//! ```sh
//! cargo run --example chat [ADDR]
//! ```

use std::{
    env, io,
    sync::atomic::{AtomicU64, Ordering},
};

use chinwag::{Message, Server, ServerBuilder, Session, Topic, session};

/// Numbers those who come, one after the other; it never goes back.
static USERS: AtomicU64 = AtomicU64::new(0);

/// The chat at `/chat`.
pub fn server() -> ServerBuilder {
    let room = Topic::new();
    Server::builder().websocket("/chat", move |session| chat(session, room.clone()))
}

/// One member. However it ends, the room forgets it: a subscription lives no longer than its connection.
async fn chat(mut session: Session, room: Topic) -> session::Result {
    let user = USERS.fetch_add(1, Ordering::Relaxed);
    session.send(format!("You've logged in as [user{user}]")).await?;
    session.subscribe(&room).await?;
    while let Some(message) = session.recv().await {
        if let Message::Text(text) = message {
            room.publish(format!("[user{user}]: {text}"))?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let server = server().bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{}/chat", server.local_addr());
    server.run()
}
