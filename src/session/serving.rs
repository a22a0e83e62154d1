//! The service behind a session: starts its task, feeds it, and carries out what it orders.

use std::{mem, rc::Rc, sync::Arc, time::Duration};

use super::{
    Result, Session,
    channel::{Channel, Unit},
};
use crate::{
    protocol::{
        close::{CloseCode, CloseReason},
        error::SendError,
        frame::Frame,
        message::Message,
    },
    service::{OwnedRequest, Peer, Request, Service, Task},
};

/// How long a handler may go on once its connection has ended.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// One session's service.
pub(super) struct Serving<U, F> {
    handler: Arc<F>,
    stage: Stage<U>,
}

enum Stage<U> {
    Waiting(OwnedRequest),
    Running(Rc<Channel<U>>, Task),
    Ended,
}

impl<U: Unit, F> Serving<U, F> {
    pub(super) fn new(handler: Arc<F>, request: &Request<'_>) -> Self {
        Self { handler, stage: Stage::Waiting(request.to_owned()) }
    }

    fn channel(&self) -> Option<&Channel<U>> {
        match &self.stage {
            Stage::Running(channel, _) => Some(channel),
            Stage::Waiting(_) | Stage::Ended => None,
        }
    }

    fn receive(&self, unit: Option<U>, peer: &mut Peer<'_>) {
        if let (Some(channel), Some(unit)) = (self.channel(), unit) {
            channel.receive(unit, peer);
        }
    }

    fn obey(&self, peer: &mut Peer<'_>) {
        if let Some(channel) = self.channel() {
            channel.called(peer);
        }
    }
}

impl<U, F, R> Service for Serving<U, F>
where
    U: Unit,
    F: Fn(Session<U>) -> R + 'static,
    R: Future<Output = Result> + 'static,
{
    fn opened(&mut self, peer: &mut Peer<'_>) {
        let Stage::Waiting(request) = mem::replace(&mut self.stage, Stage::Ended) else { return };
        let channel = Rc::new(Channel::new(peer, request));
        let ending = Ending(Rc::clone(&channel));
        let running = (self.handler)(Session::new(Rc::clone(&channel)));
        let tasks = peer.tasks();
        let start = || tasks.spawn(async move { ending.end(running.await) });
        let task = channel.run(|| tasks.run_woken_by(start), peer);
        self.stage = Stage::Running(channel, task);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.receive(U::from_message(message, peer), peer);
    }

    fn frame(&mut self, peer: &mut Peer<'_>, frame: Frame<'_>) {
        self.receive(U::from_frame(frame), peer);
    }

    fn drained(&mut self, peer: &mut Peer<'_>) {
        self.obey(peer);
    }

    fn woken(&mut self, peer: &mut Peer<'_>) {
        self.obey(peer);
    }

    fn closed(&mut self, reason: &CloseReason) {
        if let Stage::Running(channel, task) = mem::replace(&mut self.stage, Stage::Ended) {
            channel.end(reason);
            task.cancel_at(channel.tasks().now() + AFTER_THE_END);
        }
    }
}

/// Closes the connection when its handler has ended, however that came.
struct Ending<U: Unit>(Rc<Channel<U>>);

impl<U: Unit> Ending<U> {
    fn end(self, result: Result) {
        match result {
            Ok(()) => self.0.close(CloseCode::NORMAL, ""),
            // The peer was the first.
            Err(error) if error.is(&SendError::NotOpen) => self.0.close(CloseCode::NORMAL, ""),
            Err(error) => log::warn!("the session of {}: {error}", self.0.request().addr()),
        }
    }
}

impl<U: Unit> Drop for Ending<U> {
    /// After an error or a panic; otherwise there was a Close already.
    fn drop(&mut self) {
        self.0.close(CloseCode::INTERNAL_ERROR, "internal error");
    }
}
