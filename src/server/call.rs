//! What an application may ask of its connection, lent to it for one call.
//!
//! Each question becomes output that is left with the worker, in the order in which the application asked
//! and published.

use std::{net::SocketAddr, time::Instant};

use super::{
    connection::Link,
    context::Context,
    output::{Held, Position},
    socket::Socket,
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
    service::{Missed, Outgoing, PeerHandle, PeerId, Tasks, Topic},
    topic::subscription::Subscriptions,
};

/// A connection lent to its application for one call.
pub(super) struct Call<'a, S> {
    pub(super) link: &'a mut Link<S>,
    pub(super) context: &'a mut Context,
    /// Where this connection's output begins in the worker's, and behind which post it stays.
    pub(super) pending: &'a mut Pending,
    /// One large message may leave at once, as nothing else is expected of the turn.
    pub(super) at_once: bool,
}

/// Output of a connection at the end of the worker's that is not left yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) start: usize,
    pub(super) position: Position,
    /// It is sent by a command, whose place among the posts has come.
    is_command: bool,
}

impl Pending {
    pub(super) fn new(context: &Context) -> Self {
        Self { start: context.output.len(), position: Position::NOW, is_command: false }
    }

    /// What follows is sent by a command.
    pub(super) fn for_command(&mut self) {
        self.is_command = true;
    }

    /// Something is about to be sent: it stays behind what was posted by this thread before, and what
    /// was sent before that doesn't.
    pub(super) fn follow<S: Socket>(&mut self, link: &mut Link<S>, context: &mut Context) {
        let position = if self.is_command { Position::NOW } else { link.position(context) };
        if position != self.position {
            self.leave(link, context);
            self.position = position;
        }
    }

    /// Leaves it for the end of the turn.
    pub(super) fn leave<S: Socket>(&mut self, link: &mut Link<S>, context: &mut Context) {
        link.leave(self.start, self.position, context);
        self.start = context.output.len();
    }

    /// Whether it leaves with the turn.
    #[inline]
    fn is_now(&self) -> bool {
        self.position == Position::NOW
    }
}

impl<S: Socket> Call<'_, S> {
    /// Before anything is sent: keeps the order, and the bound on what waits. At rest there is nothing to do.
    #[inline(always)]
    fn begin(&mut self) {
        let Self { link, context, pending, .. } = self;
        if link.output.backlog() > 0 || link.may_follow(context) || !pending.is_now() {
            self.begin_behind();
        }
    }

    #[inline(never)]
    fn begin_behind(&mut self) {
        if self.link.is_over_bound() {
            self.pending.leave(self.link, self.context);
            self.link.keep_bound(self.context);
        }
        self.pending.follow(self.link, self.context);
    }

    /// Sends a payload that is not worth copying: from where it stands, where it may leave at once.
    #[inline(never)]
    fn send_large(&mut self, opcode: Opcode, payload: Payload<'_>) -> Result<(), SendError> {
        let Self { link, context, pending, at_once } = self;
        let Context { pool, output, .. } = &mut **context;
        if *at_once
            && pending.is_now()
            && link.output.is_flushed()
            && link.connection.send_header(opcode, payload.len(), output)?
        {
            *at_once = false;
            link.write_at_once(pending.start, payload, context);
            return Ok(());
        }
        match payload {
            Payload::Owned(buffer) if pending.is_now() => {
                let wire = link.connection.send_owned(opcode, buffer, pool, output)?;
                let backlog = link.leave_in_backlog(pending.start, context);
                if let Some(wire) = wire {
                    backlog.push_owned(wire);
                }
            }
            payload => link.connection.send_payload(opcode, &payload, pool, output)?,
        }
        self.added();
        Ok(())
    }

    /// Keeps a message until its position has come.
    #[cold]
    fn hold(&mut self, opcode: Opcode, payload: Payload<'_>) -> Result<(), SendError> {
        let Self { link, context, pending, .. } = self;
        link.connection.check_may_send()?;
        pending.leave(link, context);
        let payload = payload.into_owned_in(&mut context.pool);
        link.hold(Held::Message(opcode, payload), pending.position, context);
        Ok(())
    }

    /// Something was added: where much waits it is written now rather than at the end of the turn.
    #[inline]
    fn added(&mut self) {
        let waiting = self.buffered();
        if waiting > self.link.connection.settings().limits.pause_reading {
            self.write_early();
        }
    }

    #[cold]
    fn write_early(&mut self) {
        let Self { link, context, pending, .. } = self;
        if !pending.is_now() {
            return pending.leave(link, context);
        }
        link.leave_in_backlog(pending.start, context);
        link.flush_backlog(context);
    }

    fn add_subscription(&mut self, topic: &Topic, after: Option<u64>) -> Result<u64, Missed> {
        let Self { link, context, .. } = self;
        let state = link.encoding_state();
        let encoding = state.encoding(topic);
        let mailbox = &context.mailbox;
        if let Some(subscriptions) = &mut link.subscriptions {
            let join = || Ok((topic.join(mailbox, after, encoding)?, encoding));
            if let Some(joined) = subscriptions.rejoin(topic, join) {
                return joined;
            }
        }
        let mut subscription = topic.subscribe(mailbox, after, encoding)?;
        context.topics.insert(link.key, &mut subscription);
        let after = subscription.after();
        link.subscriptions
            .get_or_insert_with(|| Box::new(Subscriptions::new(state)))
            .add(subscription);
        Ok(after)
    }

    /// The offset after which it receives `topic`, where it does.
    fn receives(&self, topic: &Topic) -> Option<u64> {
        Some(self.link.subscriptions.as_ref()?.find(topic)?.after())
    }
}

/// A payload of at least this many bytes is sent without a copy, where it is owned or may leave at once.
const LARGE: usize = 16 << 10;

impl<S: Socket> Outgoing for Call<'_, S> {
    fn id(&self) -> PeerId {
        self.link.id(self.context)
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
        self.begin();
        let opcode = message.opcode();
        let payload = message.into_payload();
        if !self.pending.is_now() {
            return self.hold(opcode, payload);
        }
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
        self.begin();
        let now = self.context.now;
        let Context { pool, output, .. } = &mut *self.context;
        // What leaves later may find the peer's window lent to a topic by then, so it is not compressed.
        let is_now = self.pending.is_now();
        if !is_now {
            self.link.connection.lend_window(true);
        }
        let sent = self.link.connection.send_frame(&frame, now, pool, output);
        if !is_now {
            self.link.lend_window();
        }
        sent?;
        self.added();
        Ok(())
    }

    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.begin();
        self.link.connection.ping(payload, &mut self.context.output)?;
        self.added();
        Ok(())
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        // What was published before, by whomever, goes out first.
        let posted = self.context.mailbox.posted();
        if self.link.is_posted_to() && self.link.connection.state() == State::Open {
            self.pending.leave(self.link, self.context);
            if self.pending.is_command {
                // Nothing follows a Close, so it stays behind what is held.
                self.pending.position = self.link.output.last_held().unwrap_or(Position::NOW);
            } else if posted > self.context.worked_off
                && !self.link.connection.is_sending_fragments()
            {
                self.pending.position = Position { after: posted, limit: posted };
            } else {
                self.link.deliver_published(self.context);
                self.pending.start = self.context.output.len();
            }
        }
        let now = self.context.now;
        self.link.connection.close(code, reason, now, &mut self.context.output)
    }

    fn keep(&mut self, message: Message<'_>) -> Message<'static> {
        message.into_owned_in(&mut self.context.pool)
    }

    fn subscribe(&mut self, topic: &Topic) -> u64 {
        match self.receives(topic) {
            Some(after) => after,
            None => self.add_subscription(topic, None).expect("any offset will do"),
        }
    }

    fn subscribe_after(&mut self, topic: &Topic, after: u64) -> Result<(), Missed> {
        match self.receives(topic) {
            Some(_) => Ok(()),
            None => self.add_subscription(topic, Some(after)).map(drop),
        }
    }

    fn unsubscribe(&mut self, topic: &Topic) {
        let Self { link, context, pending, .. } = self;
        let Some(subscriptions) = &mut link.subscriptions else { return };
        subscriptions.leave(topic, &context.mailbox, &mut context.topics);
        if subscriptions.has_gaps() && context.mailbox.posted() == context.worked_off {
            // What it has yet to receive was taken out of the mailbox, and is next.
            pending.leave(link, context);
            link.deliver_left(context);
            pending.start = context.output.len();
        }
        link.tidy_subscriptions(context);
    }

    fn missed(&mut self, topic: &Topic) -> u64 {
        let subscriptions = self.link.subscriptions.as_mut();
        subscriptions.map_or(0, |subscriptions| subscriptions.take_missed(topic))
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
        self.link.output.is_full()
    }

    fn buffered(&self) -> usize {
        self.context.output.len() - self.pending.start + self.link.output.backlog()
    }

    fn handle(&self) -> PeerHandle {
        self.link.handle(self.context)
    }
}
