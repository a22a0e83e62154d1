//! axum, as its WebSocket examples serve, with Nagle's algorithm off.

use std::io;

use axum::{
    Error, Router,
    extract::{
        State,
        ws::{Message, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
    serve::ListenerExt,
};
use tokio::{net::TcpListener, sync::broadcast::Sender};

use crate::{
    TOPIC, Work,
    streams::{self, Next},
};

#[derive(Clone)]
struct Shared {
    work: Work,
    topic: Sender<Message>,
}

pub async fn serve(listener: TcpListener, work: Work) -> io::Result<()> {
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let shared = Shared { work, topic: Sender::new(TOPIC) };
    let app = Router::new().route("/", any(upgrade)).with_state(shared);
    axum::serve(listener, app).await
}

async fn upgrade(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |ws| match shared.work {
        Work::Echo => streams::echo(ws, sort).await,
        Work::Broadcast => streams::broadcast(ws, shared.topic, sort).await,
    })
}

fn sort(next: Option<Result<Message, Error>>) -> Next<Message> {
    match next {
        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => Next::Data(message),
        Some(Ok(_)) => Next::Control,
        Some(Err(_)) | None => Next::End,
    }
}
