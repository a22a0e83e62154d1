//! fastwebsockets as its own benchmark serves: over hyper, outside tokio's budget, a write a message.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError,
    upgrade::{UpgradeFut, upgrade},
};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{io::BufWriter, net::TcpListener, sync::broadcast::Sender, task};

use crate::{TOPIC, Work};

/// Most publications that leave in one write.
const BATCH: usize = 64;

#[derive(Clone)]
struct Publication(OpCode, Arc<[u8]>);

pub async fn serve(listener: TcpListener, work: Work) -> io::Result<()> {
    let topic = Sender::new(TOPIC);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let topic = topic.clone();
        tokio::spawn(async move {
            let service = service_fn(async |request| {
                Ok::<_, Infallible>(answer(request, work, topic.clone()))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connection.with_upgrades().await.ok();
        });
    }
}

fn answer(
    request: Request<Incoming>,
    work: Work,
    topic: Sender<Publication>,
) -> Response<Empty<Bytes>> {
    let Ok((response, upgraded)) = upgrade(request) else {
        let mut refused = Response::new(Empty::new());
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    tokio::spawn(async move {
        match work {
            Work::Echo => task::unconstrained(echo(upgraded)).await.ok(),
            Work::Broadcast => broadcast(upgraded, topic).await.ok(),
        }
    });
    response
}

async fn echo(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut ws = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn broadcast(upgraded: UpgradeFut, topic: Sender<Publication>) -> Result<(), WebSocketError> {
    // Half a connection each, as reading must not be broken off; a buffer between, so that what has
    // gathered leaves in one write.
    let (read, mut write) = upgraded.await?.split(|stream| {
        let (read, write) = tokio::io::split(stream);
        (read, BufWriter::new(write))
    });
    let mut read = FragmentCollectorRead::new(read);
    let mut heard = topic.subscribe();
    let writing = tokio::spawn(async move {
        while let Ok(first) = heard.recv().await {
            write.write_frame(frame(&first)).await?;
            for _ in 1..BATCH {
                let Ok(message) = heard.try_recv() else { break };
                write.write_frame(frame(&message)).await?;
            }
            write.flush().await?;
        }
        Ok::<_, WebSocketError>(())
    });
    // The load sends no Ping, and a Close ends it all.
    let mut answer = async |_: Frame<'_>| Err(io::Error::from(io::ErrorKind::Unsupported));
    while let Ok(frame) = read.read_frame(&mut answer).await {
        if let OpCode::Text | OpCode::Binary = frame.opcode {
            drop(topic.send(Publication(frame.opcode, Arc::from(&*frame.payload))));
        }
    }
    writing.abort();
    Ok(())
}

fn frame(publication: &Publication) -> Frame<'_> {
    Frame::new(true, publication.0, None, Payload::Borrowed(&publication.1))
}
