//! The service behind a session: starts its task, feeds it, and carries out what it orders.

use std::{mem, rc::Rc, sync::Arc, thread, time::Duration};

use log::Level;

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
        let (handler, ending) = (Arc::clone(&self.handler), Ending(Rc::clone(&channel)));
        let session = Session::new(Rc::clone(&channel));
        let tasks = peer.tasks();
        let start = || {
            let task = tasks.spawn(async move {
                let result = handler(session).await;
                ending.end(result);
            });
            self.stage = Stage::Running(Rc::clone(&channel), task);
        };
        channel.run(|| tasks.run_woken_by(start), peer);
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
            // Where the clock ends before, it is time now.
            let now = channel.tasks().now();
            task.cancel_at(now.checked_add(AFTER_THE_END).unwrap_or(now));
        }
    }
}

/// Closes the connection when its handler has ended, however that came.
struct Ending<U: Unit>(Rc<Channel<U>>);

impl<U: Unit> Ending<U> {
    fn end(self, result: Result) {
        let tasks = self.0.tasks();
        let Err(error) = result else { return self.0.close(CloseCode::NORMAL, "") };
        // What the error does is the application's work, each step of it.
        if tasks.guard(|| error.is(&SendError::NotOpen)) == Ok(true) {
            // The peer was the first.
            self.0.close(CloseCode::NORMAL, "");
        } else {
            let text = tasks.guard(|| error.to_string());
            let text = text.as_deref().unwrap_or("its error panicked when it was displayed");
            self.0.fail(Level::Warn, text);
        }
        tasks.guard(|| drop(error)).ok();
    }
}

impl<U: Unit> Drop for Ending<U> {
    /// After a panic, or where the handler was dropped; otherwise there was a Close already.
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Level::Error, "its handler panicked");
        } else {
            self.0.close(CloseCode::INTERNAL_ERROR, "internal error");
        }
    }
}
