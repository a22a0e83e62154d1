//! A conversation: asks for names and greets them, until it hears "bye".
//!
//! ```sh
//! cargo run --example greeter [ADDR]    # then `cargo run --example client`, or any other
//! ```

use std::{env, io, time::Duration};

use chinwag::{Answer, CloseCode, Message, Server, ServerBuilder, Session, session};

/// The conversation at `/echo`, beside a page.
pub fn server() -> ServerBuilder {
    Server::builder()
        .ping_period(Duration::from_secs(15))
        .timeout(Duration::from_secs(15))
        .max_frame_size(1 << 20)
        .get("/", |_| Answer::text(200, "Hello, world!"))
        .websocket("/echo", greet)
}

async fn greet(mut session: Session) -> session::Result {
    session.send("Please enter your name").await?;
    while let Some(message) = session.recv().await {
        let Message::Text(name) = message else { continue };
        if name.eq_ignore_ascii_case("bye") {
            return session.close(CloseCode::NORMAL, "Client said BYE").await;
        }
        session.send(format!("Hi, {name}!")).await?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let server = server().bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{}/echo", server.local_addr());
    server.run()
}
