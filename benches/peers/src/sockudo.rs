//! sockudo-ws with its defaults: coalesced writes, and level 6 where it compresses.

use std::io;

use bytes::BytesMut;
use sockudo_ws::{
    CompressedWebSocketStream, Config, DeflateConfig, Error, Message, Role, WebSocketStream,
    deflate::negotiate_server_deflate,
    handshake::{build_response, generate_accept_key, parse_request, server_handshake},
    init_clock,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast::Sender,
};

use crate::{
    TOPIC, Work,
    streams::{self, Next},
};

pub async fn serve(listener: TcpListener, work: Work, deflate: bool) -> io::Result<()> {
    let topic = Sender::new(TOPIC);
    init_clock();
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let topic = topic.clone();
        tokio::spawn(async move {
            if deflate {
                let Ok(ws) = accept_deflate(stream).await else { return };
                return streams::echo(ws, sort).await;
            }
            let Ok(request) = server_handshake(&mut stream).await else { return };
            let config = Config::default();
            let leftover = request.leftover;
            let ws =
                WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, leftover);
            match work {
                Work::Echo => streams::echo(ws, sort).await,
                Work::Broadcast => streams::broadcast(ws, topic, sort).await,
            }
        });
    }
}

/// Its server agrees to compression only within axum; these are the same steps without it.
async fn accept_deflate(
    mut stream: TcpStream,
) -> sockudo_ws::Result<CompressedWebSocketStream<TcpStream>> {
    let wanted = DeflateConfig {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..DeflateConfig::default()
    };
    let mut head = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(Error::ConnectionClosed);
        }
        let Some((request, consumed)) = parse_request(&head)? else { continue };
        let agreed = request
            .extensions
            .and_then(|offers| negotiate_server_deflate(offers, &wanted))
            .ok_or(Error::HandshakeFailed("the load offers no compression"))?;
        let extensions = agreed.to_response_header();
        let accept = generate_accept_key(request.key);
        stream.write_all(&build_response(&accept, None, Some(&extensions))).await?;
        let leftover = Some(head.split_off(consumed).freeze());
        return Ok(CompressedWebSocketStream::server_with_leftover(
            stream,
            Config::default(),
            agreed.config,
            leftover,
        ));
    }
}

fn sort(next: Option<sockudo_ws::Result<Message>>) -> Next<Message> {
    match next {
        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => Next::Data(message),
        Some(Ok(_)) => Next::Control,
        Some(Err(_)) | None => Next::End,
    }
}
