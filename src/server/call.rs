//! What an application may ask of its connection, lent to it for one call.
//!
//! Each question becomes output that is left with the worker, in the order in which the application asked
//! and published.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use super::{
    context::Context,
    hearing::Hearing,
    peer::Link,
    socket::Socket,
    topics::{Hear, Subscription},
};
use crate::{
    protocol::{
        buffer::Payload,
        close::CloseCode,
        connection::State,
        error::SendError,
        extension::Offer,
        frame::{Frame, Opcode},
        message::Message,
    },
    service::{Missed, Outgoing, PeerHandle, PeerId, Subscriber, Tasks, Topic},
    slab::Key,
};

/// A connection lent to its application for one call.
pub(super) struct Call<'a, S> {
    pub(super) link: &'a mut Link<S>,
    pub(super) context: &'a mut Context,
    /// Where this connection's output begins in the worker's.
    pub(super) start: usize,
    /// One large message may leave at once, as nothing else is expected of the turn.
    pub(super) at_once: bool,
}

impl<S: Socket> Call<'_, S> {
    /// What was published before goes out before this call's next word: with `Hear::Own` what this call
    /// has published itself. What other threads publish may come behind that, as a snapshot that is
    /// sent after subscribing is to come first.
    fn catch_up(&mut self, hear: Hear) {
        if self.link.hearing.is_some() {
            self.context.sort_mail();
            self.hear(hear);
        }
    }

    /// Adds what waits for this connection's subscriptions, where it may stand now.
    pub(super) fn hear(&mut self, hear: Hear) {
        if self.link.connection.takes_published() {
            self.add_news(hear, |_| true);
        }
    }

    /// Adds what waits for those of this connection's subscriptions that are `meant`.
    pub(super) fn add_news(&mut self, hear: Hear, meant: impl Fn(&Subscription) -> bool) {
        let Some(hearing) = &self.link.hearing else { return };
        if !self.context.topics.is_waiting() {
            return;
        }
        if self.link.connection.frames_published() {
            return self.frame_news(hear, meant);
        }
        let mut ear = hearing.ear();
        let mut waiting = Vec::new();
        for subscription in hearing.subscriptions().iter().filter(|entry| meant(entry)) {
            for publication in self.context.topics.hear(subscription, hear) {
                let (kind, frame) = ear.hear(publication);
                waiting.push(Arc::clone(frame));
                self.context.compressed.count(kind);
            }
        }
        if !waiting.is_empty() {
            self.link.set_ear(ear);
            let outbox = self.link.leave_in_outbox(self.start, self.context);
            for frame in waiting {
                outbox.push_shared(frame, 0);
            }
        }
    }

    /// The same for a connection whose extensions change its frames.
    fn frame_news(&mut self, hear: Hear, meant: impl Fn(&Subscription) -> bool) {
        let Link { connection, hearing: Some(hearing), .. } = &mut *self.link else { return };
        let Context { topics, pool, output, .. } = &mut *self.context;
        for subscription in hearing.subscriptions().iter().filter(|entry| meant(entry)) {
            for publication in topics.hear(subscription, hear) {
                let (opcode, payload) = publication.message();
                // Where it fails, its Close is the last.
                if connection.send_published(opcode, payload, pool, output).is_err() {
                    return;
                }
            }
        }
    }

    /// Sends a payload that is not worth copying: from where it stands, where it may leave at once.
    #[inline(never)]
    fn send_large(&mut self, opcode: Opcode, payload: Payload<'_>) -> Result<(), SendError> {
        let Self { link, context, start, at_once } = self;
        let Context { pool, output, .. } = &mut **context;
        if *at_once
            && link.is_flushed()
            && link.connection.send_header(opcode, payload.len(), output)?
        {
            *at_once = false;
            link.write_at_once(*start, payload, context);
            return Ok(());
        }
        match payload {
            Payload::Borrowed(_) | Payload::Lent(_) => {
                link.connection.send_payload(opcode, &payload, pool, output)?
            }
            Payload::Owned(buffer) => {
                let wire = link.connection.send_owned(opcode, buffer, pool, output)?;
                let outbox = link.leave_in_outbox(*start, context);
                if let Some(wire) = wire {
                    outbox.push_owned(wire);
                }
            }
        }
        self.added();
        Ok(())
    }

    /// Something was added: where much waits it is written now rather than at the end of the turn.
    fn added(&mut self) {
        let waiting = self.context.output.len() - self.start + self.link.backlog();
        if waiting > self.link.connection.settings().limits.pause_reading {
            self.link.leave_in_outbox(self.start, self.context);
            self.link.flush_outbox(self.context);
        }
    }

    /// Closes the connection where it does not keep up; nothing can be sent then.
    fn check_pace(&mut self) {
        if self.link.is_too_slow() && self.link.connection.state() == State::Open {
            self.link.leave_in_outbox(self.start, self.context);
            self.link.give_up_slow(self.context);
        }
    }

    /// The offset after which it hears `topic`, where it does.
    fn hears(&self, topic: &Topic) -> Option<u64> {
        Some(self.link.hearing.as_ref()?.find(topic)?.after())
    }

    fn join(&self, topic: &Topic, after: Option<u64>) -> Result<Subscriber, Missed> {
        let kind = self.link.ear().kind(topic);
        topic.join(self.context.worker, &self.context.letterbox, after, kind)
    }

    fn add_subscription(&mut self, subscriber: Subscriber) {
        let ear = self.link.ear();
        let subscription = self.context.topics.subscribe(self.link.key, subscriber);
        self.link.hearing.get_or_insert_with(|| Box::new(Hearing::new(ear))).add(subscription);
    }
}

/// A payload of at least this many bytes is sent without a copy, where it is owned or may leave at once.
const LARGE: usize = 16 << 10;

impl<S: Socket> Outgoing for Call<'_, S> {
    fn id(&self) -> PeerId {
        let Key { slot, generation } = self.link.key;
        PeerId { worker: self.context.worker, slot, generation }
    }

    fn addr(&self) -> SocketAddr {
        self.link.addr()
    }

    fn now(&self) -> Instant {
        self.context.now
    }

    fn extensions(&self) -> Vec<Offer<'_>> {
        self.link.connection.extensions()
    }

    fn send(&mut self, message: Message<'_>) -> Result<(), SendError> {
        self.check_pace();
        self.catch_up(Hear::Own);
        let opcode = message.opcode();
        let payload = message.into_payload();
        if payload.len() >= LARGE {
            return self.send_large(opcode, payload);
        }
        let Context { pool, output, .. } = &mut *self.context;
        self.link.connection.send_payload(opcode, &payload, pool, output)?;
        if let Payload::Owned(buffer) = payload {
            pool.put(buffer);
        }
        self.added();
        Ok(())
    }

    fn send_frame(&mut self, frame: Frame<'_>) -> Result<(), SendError> {
        self.check_pace();
        self.catch_up(Hear::Own);
        let now = self.context.now;
        let Context { pool, output, .. } = &mut *self.context;
        self.link.connection.send_frame(&frame, now, pool, output)?;
        self.added();
        Ok(())
    }

    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.link.connection.ping(payload, &mut self.context.output)
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.catch_up(Hear::All);
        let now = self.context.now;
        self.link.connection.close(code, reason, now, &mut self.context.output)
    }

    fn keep(&mut self, message: Message<'_>) -> Message<'static> {
        message.into_owned_in(&mut self.context.pool)
    }

    fn subscribe(&mut self, topic: &Topic) -> u64 {
        if let Some(after) = self.hears(topic) {
            return after;
        }
        let subscriber = self.join(topic, None).expect("any offset will do");
        let after = subscriber.after();
        self.add_subscription(subscriber);
        after
    }

    fn subscribe_after(&mut self, topic: &Topic, after: u64) -> Result<(), Missed> {
        if self.hears(topic).is_some() {
            return Ok(());
        }
        let subscriber = self.join(topic, Some(after))?;
        self.add_subscription(subscriber);
        Ok(())
    }

    fn unsubscribe(&mut self, topic: &Topic) {
        // The last of this topic; a new one's news stay behind what this call has yet to say of it.
        if self.link.connection.takes_published() && self.link.hearing.is_some() {
            self.context.sort_mail();
            self.add_news(Hear::All, |subscription| subscription.topic() == topic);
        }
        let Some(hearing) = &mut self.link.hearing else { return };
        hearing.remove(topic, self.context);
        if hearing.is_empty() {
            self.link.hearing = None;
        }
        self.link.lend_window();
    }

    fn missed(&mut self, topic: &Topic) -> u64 {
        self.link.hearing.as_mut().map_or(0, |hearing| hearing.take_missed(topic))
    }

    fn pause_reading(&mut self) {
        self.link.paused = self.link.connection.state() == State::Open;
    }

    fn resume_reading(&mut self) {
        self.link.resume(self.context);
    }

    fn tasks(&self) -> Tasks {
        self.context.tasks.clone()
    }

    fn is_full(&self) -> bool {
        self.link.full
    }

    fn buffered(&self) -> usize {
        self.context.output.len() - self.start + self.link.backlog()
    }

    fn handle(&self) -> PeerHandle {
        PeerHandle::new(self.id(), self.context.letterbox.clone())
    }
}
