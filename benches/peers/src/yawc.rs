//! yawc as its own benchmark tunes it: a read buffer of 128 KiB and batches; UTF-8 is checked, as by
//! all others. Where it compresses: level 6, and state borrowed from a pool.

use std::{convert::Infallible, io};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::broadcast::Sender};
use yawc::{CompressionLevel, DeflatePool, Frame, OpCode, Options, WebSocket};

use crate::{
    TOPIC, Work,
    streams::{self, Next},
};

pub async fn serve(listener: TcpListener, work: Work, deflate: bool) -> io::Result<()> {
    let topic = Sender::new(TOPIC);
    let options = options(deflate);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (topic, options) = (topic.clone(), options.clone());
        tokio::spawn(async move {
            let service = service_fn(async |request| {
                Ok::<_, Infallible>(upgrade(request, work, topic.clone(), options.clone()))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connection.with_upgrades().await.ok();
        });
    }
}

fn options(deflate: bool) -> Options {
    let options = Options::default()
        .with_utf8()
        .with_limits(16 << 20, 64 << 20)
        .with_read_buffer_capacity(128 << 10)
        .with_backpressure_boundary(64 << 10);
    if !deflate {
        return options.without_compression();
    }
    options
        .with_compression_level(CompressionLevel::new(6))
        .server_no_context_takeover()
        .client_no_context_takeover()
        .with_deflate_pool(DeflatePool::new(1))
}

fn upgrade(
    request: Request<Incoming>,
    work: Work,
    topic: Sender<Frame>,
    options: Options,
) -> Response<Empty<Bytes>> {
    let Ok((response, upgraded)) = WebSocket::upgrade_with_options(request, options) else {
        let mut refused = Response::new(Empty::new());
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    tokio::spawn(async move {
        let Ok(ws) = upgraded.await else { return };
        match work {
            Work::Echo => streams::echo(ws, sort).await,
            Work::Broadcast => streams::broadcast(ws, topic, sort).await,
        }
    });
    response
}

fn sort(next: Option<Frame>) -> Next<Frame> {
    match next {
        Some(frame) if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) => Next::Data(frame),
        Some(_) => Next::Control,
        None => Next::End,
    }
}
