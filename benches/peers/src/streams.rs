//! What those peers have in common whose connections are a `Stream` and a `Sink` of messages.

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::{
    select,
    sync::broadcast::{Receiver, Sender, error::RecvError},
};

/// Most messages that leave in one write.
const BATCH: usize = 64;

/// What the next thing on a connection is.
pub enum Next<M> {
    /// A message of text or of bytes.
    Data(M),
    /// Something that the library answers by itself.
    Control,
    /// The connection has ended.
    End,
}

/// Sends each message back. Those that have come together leave together, which is what their
/// documentation advises: `feed` for each, one `flush`.
pub async fn echo<S, M>(mut ws: S, sort: impl Fn(Option<S::Item>) -> Next<M>)
where
    S: Stream + Sink<M> + Unpin,
{
    loop {
        let mut next = Some(ws.next().await);
        for _ in 0..BATCH {
            match next.map(&sort) {
                None => break,
                Some(Next::Control) => {}
                Some(Next::Data(message)) => {
                    if ws.feed(message).await.is_err() {
                        return;
                    }
                }
                Some(Next::End) => {
                    ws.close().await.ok();
                    return;
                }
            }
            next = ws.next().now_or_never();
        }
        if ws.flush().await.is_err() {
            return;
        }
    }
}

/// Publishes each message to all, and sends what all publish: what has gathered leaves together.
pub async fn broadcast<S, M>(mut ws: S, topic: Sender<M>, sort: impl Fn(Option<S::Item>) -> Next<M>)
where
    S: Stream + Sink<M> + Unpin,
    M: Clone,
{
    let mut heard = topic.subscribe();
    loop {
        select! {
            biased;
            next = ws.next() => match sort(next) {
                Next::Data(message) => drop(topic.send(message)),
                Next::Control => {}
                Next::End => {
                    ws.close().await.ok();
                    return;
                }
            },
            message = heard.recv() => {
                if hand_out(&mut ws, &mut heard, message).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// Sends this publication and those that wait behind it; `None` where the connection is done for.
async fn hand_out<S, M>(
    ws: &mut S,
    heard: &mut Receiver<M>,
    first: Result<M, RecvError>,
) -> Option<()>
where
    S: Sink<M> + Unpin,
    M: Clone,
{
    // Who lags behind is not told what it has missed, so it must not go on.
    ws.feed(first.ok()?).await.ok()?;
    for _ in 1..BATCH {
        let Ok(message) = heard.try_recv() else { break };
        ws.feed(message).await.ok()?;
    }
    ws.flush().await.ok()
}
