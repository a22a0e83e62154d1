//! An echo and a chat that speak Russian.
//!
//! ```sh
//! cargo run --example russian [ADDR]
//! ```

use std::{env, io};

use chinwag::{Message, Server, ServerBuilder, Session, Topic, session};

/// The echo at `/ws` and the chat at `/chat`. What they hear is printed by `print`.
pub fn server(print: impl Fn(&str) + Clone + Send + Sync + 'static) -> ServerBuilder {
    let room = Topic::new();
    let also_print = print.clone();
    Server::builder()
        .websocket("/ws", move |session| echo(session, print.clone()))
        .websocket("/chat", move |session| chat(session, room.clone(), also_print.clone()))
}

async fn echo(mut session: Session, print: impl Fn(&str)) -> session::Result {
    while let Some(message) = session.recv().await {
        match message {
            Message::Text(text) => {
                print(&text);
                session.send(format!("Сервер получил ваше сообщение: {text}")).await?;
            }
            Message::Binary(_) => print("Получен не текстовый фрейм"),
        }
    }
    Ok(())
}

async fn chat(mut session: Session, room: Topic, print: impl Fn(&str)) -> session::Result {
    session.send("Добро пожаловать в чат!").await?;
    session.subscribe(&room).await?;
    while let Some(message) = session.recv().await {
        match message {
            Message::Text(text) => _ = room.publish(format!("Клиент: {text}"))?,
            Message::Binary(_) => print("Получен не текстовый фрейм"),
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let server = server(|line| println!("{line}"));
    let server = server.bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{0}/ws and ws://{0}/chat", server.local_addr());
    server.run()
}
