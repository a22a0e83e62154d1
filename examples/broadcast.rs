//! A broadcast: each text goes to everyone connected, by a topic. Who is too slow misses some, and is told.
//!
//! ```sh
//! cargo run --example broadcast [ADDR]
//! ```

use std::{env, io};

use chinwag::{CloseCause, Lag, Message, Server, ServerBuilder, Session, Topic, session};

/// The broadcast at `/ws`. What goes wrong is printed by `print`.
pub fn server(print: impl Fn(&str) + Clone + Send + Sync + 'static) -> ServerBuilder {
    let flow = Topic::new().with_lag(Lag::Skip);
    Server::builder().websocket("/ws", move |session| member(session, flow.clone(), print.clone()))
}

async fn member(mut session: Session, flow: Topic, print: impl Fn(&str)) -> session::Result {
    session.send("You are connected to WebSocket!").await?;
    session.subscribe(&flow).await?;
    while let Some(message) = session.recv().await {
        if !matches!(message, Message::Text(_)) {
            continue;
        }
        if let Err(error) = flow.publish(message) {
            print(&format!("WebSocket exception: {error}"));
        }
        let missed = session.missed(&flow).await?;
        if missed > 0 {
            session.send(format!("You have missed {missed} messages")).await?;
        }
    }
    match session.close_reason() {
        Some(reason) if !matches!(reason.cause, CloseCause::Peer | CloseCause::Local) => {
            print(&format!("WebSocket exception: {}", reason.text));
        }
        _ => {}
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let server = server(|line| println!("{line}"));
    let server = server.bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{}/ws", server.local_addr());
    server.run()
}
