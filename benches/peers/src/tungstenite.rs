//! tokio-tungstenite with its defaults, among them a read buffer of 128 KiB a connection.

use std::io;

use tokio::{net::TcpListener, sync::broadcast::Sender};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{Error, Message},
};

use crate::{
    TOPIC, Work,
    streams::{self, Next},
};

pub async fn serve(listener: TcpListener, work: Work) -> io::Result<()> {
    let topic = Sender::new(TOPIC);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let topic = topic.clone();
        tokio::spawn(async move {
            let Ok(ws) = accept_async(stream).await else { return };
            match work {
                Work::Echo => streams::echo(ws, sort).await,
                Work::Broadcast => streams::broadcast(ws, topic, sort).await,
            }
        });
    }
}

fn sort(next: Option<Result<Message, Error>>) -> Next<Message> {
    match next {
        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => Next::Data(message),
        Some(Ok(_)) => Next::Control,
        Some(Err(_)) | None => Next::End,
    }
}
