//! The door: what an application sees of a connection, and what it may ask of it.
//!
//! A [`Service`] is told what happens on one connection and answers through the [`Peer`] lent to it
//! for the call. Everything is called on the thread of the worker that owns the connection, one call
//! at a time, so a service needs no lock of its own; what must be reached from elsewhere goes through
//! a [`PeerHandle`] or a [`Topic`], which work from any thread.
//!
//! How bytes reach a socket is `server`'s work; this room knows no socket.

mod answer;
mod request;
mod tasks;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

pub use answer::Answer;
pub use request::{Headers, OwnedRequest, Param, Request};
pub use tasks::{Alarm, Entered, Task, TaskId, Tasks};

pub use crate::{
    mailbox::PeerId,
    topic::{Compressions, Lag, Missed, PublishError, Topic, TopicDeflate, TopicId},
};
use crate::{
    mailbox::{Command, Mail, Mailbox, PostError},
    protocol::{
        close::{CloseCode, CloseReason},
        error::SendError,
        extension::Offer,
        frame::Frame,
        message::Message,
    },
};

/// One connection's application: the fast face of chinwag.
///
/// Every method does nothing by default. A panic in one of them closes this connection with 1011 and
/// harms no other.
///
/// ```
/// use chinwag::{Message, Peer, Service};
///
/// struct Echo;
///
/// impl Service for Echo {
///     fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
///         peer.send(message).ok();
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the names document what a service is told")]
pub trait Service {
    /// The opening handshake is done; the peer can be sent to from here on.
    fn opened(&mut self, peer: &mut Peer<'_>) {}

    /// A whole message arrived (§5.6). Never called in raw mode, nor after this side sent a Close.
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {}

    /// Raw mode only: a checked frame arrived, control frames and fragments included. Nothing is
    /// answered for the service.
    fn frame(&mut self, peer: &mut Peer<'_>, frame: Frame<'_>) {}

    /// What waited for the peer has fallen to
    /// [`Limits::resume_reading`](crate::Limits::resume_reading) bytes or less after it had been above
    /// [`Limits::pause_reading`](crate::Limits::pause_reading): time to send on. So it is, too, where
    /// a topic has [skipped](Lag::Skip) the peer for too many messages.
    fn drained(&mut self, peer: &mut Peer<'_>) {}

    /// A [task](Tasks) has asked for this by [`Tasks::call`].
    fn woken(&mut self, peer: &mut Peer<'_>) {}

    /// The connection has ended, and this is the first cause. Called once, last, for every service
    /// that was opened, also where another method has panicked. Subscriptions are gone already.
    fn closed(&mut self, reason: &CloseReason) {}
}

/// What a service may ask of its connection, lent to it for one call.
pub struct Peer<'a>(&'a mut dyn Outgoing);

impl<'a> Peer<'a> {
    /// Lends `outgoing` to a service. For those who drive services: the server and test harnesses.
    pub fn new(outgoing: &'a mut dyn Outgoing) -> Self {
        Self(outgoing)
    }

    /// This connection's name.
    pub fn id(&self) -> PeerId {
        self.0.id()
    }

    /// The peer's address.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// The time, read once for many events; good enough for rates and ages.
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// The extensions that were agreed on with this peer, in the order in which they work on what is
    /// sent (§9.1), with their parameters as agreed; permessage-deflate is the first where it is there.
    pub fn extensions(&self) -> Vec<Offer<'_>> {
        self.0.extensions()
    }

    /// Sends a message. It leaves when the worker's turn ends, together with whatever else was sent.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once a Close was sent; nothing is sent then.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.0.send(message.into())
    }

    /// Sends `value` in JSON; [`Message::to_value`] reads what the peer sends.
    ///
    /// # Errors
    /// [`SendValueError`](crate::convert::SendValueError); nothing is sent then.
    #[cfg(feature = "json")]
    pub fn send_as<T: serde::Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), crate::convert::SendValueError> {
        Ok(self.send(Message::from_value(value)?)?)
    }

    /// Raw mode: sends one frame as it is, with its FIN and opcode; masking and length are filled in.
    ///
    /// # Errors
    /// [`SendError::IllegalFrame`] where the frame may not stand there (§5.4, §5.5), and for RSV bits,
    /// which are for extensions to set.
    pub fn send_frame(&mut self, frame: Frame<'_>) -> Result<(), SendError> {
        self.0.send_frame(frame)
    }

    /// Sends a Ping with at most 125 bytes of `payload` (§5.5.2). Its Pong is not reported.
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`], [`SendError::NotOpen`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.0.ping(payload)
    }

    /// The message as something to keep, in memory that is the worker's again once it is sent.
    pub fn keep(&mut self, message: Message<'_>) -> Message<'static> {
        self.0.keep(message)
    }

    /// Starts the closing handshake with `code` and at most 123 bytes of `reason` (§7.1.2). What was
    /// sent or published before goes out first; the service hears no more messages, only
    /// [`Service::closed`].
    ///
    /// # Errors
    /// [`SendError::InvalidCloseCode`], [`SendError::ReasonTooLong`], [`SendError::NotOpen`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.0.close(code, reason)
    }

    /// Hears what is published to `topic` from now on: everything after the offset it returns.
    /// Subscribing twice changes nothing. In raw mode a service that is between the fragments of a
    /// message of its own misses what is published meanwhile: no message may stand there (§5.4).
    pub fn subscribe(&mut self, topic: &Topic) -> u64 {
        self.0.subscribe(topic)
    }

    /// Hears what is published to `topic` after offset `after`, where nothing was published since: so
    /// a snapshot taken at `after` and the subscription together miss nothing and repeat nothing.
    ///
    /// # Errors
    /// [`Missed`] where something was: take a new snapshot and try again.
    pub fn subscribe_after(&mut self, topic: &Topic, after: u64) -> Result<(), Missed> {
        self.0.subscribe_after(topic, after)
    }

    /// Hears nothing published to `topic` from now on; what was published before still arrives.
    pub fn unsubscribe(&mut self, topic: &Topic) {
        self.0.unsubscribe(topic);
    }

    /// How many publications of `topic` this peer has missed since this was last asked, as it did not keep
    /// up ([`Lag::Skip`]), or in raw mode was between fragments; 0 where it is not subscribed.
    pub fn missed(&mut self, topic: &Topic) -> u64 {
        self.0.missed(topic)
    }

    /// Publishes to everyone subscribed to `topic`, this peer included where it is; gives the offset.
    ///
    /// # Errors
    /// [`PublishError::Busy`]: nobody gets it, as a worker's queue is full.
    pub fn publish<'m>(
        &mut self,
        topic: &Topic,
        message: impl Into<Message<'m>>,
    ) -> Result<u64, PublishError> {
        topic.publish(message)
    }

    /// Hears no message or frame from now on, until [`resume_reading`](Self::resume_reading): what the
    /// peer sends stays with it once the buffers between are full. Its Pings are not answered, its Close
    /// is not heard, and no Pong is due from it.
    pub fn pause_reading(&mut self) {
        self.0.pause_reading();
    }

    /// Hears again.
    pub fn resume_reading(&mut self) {
        self.0.resume_reading();
    }

    /// The tasks of this connection's worker.
    pub fn tasks(&self) -> Tasks {
        self.0.tasks()
    }

    /// Whether so much waits for the peer that it is not read from; then
    /// [`Service::drained`] is called once that has changed.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Bytes sent to this peer that its socket has not taken yet.
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// A way to reach this connection from any thread.
    pub fn handle(&self) -> PeerHandle {
        self.0.handle()
    }
}

/// What stands behind a [`Peer`]: a server's connection, or a test's. Each method is the [`Peer`]
/// method of the same name.
#[expect(missing_docs, reason = "each is documented at `Peer`")]
pub trait Outgoing {
    fn id(&self) -> PeerId;
    fn addr(&self) -> SocketAddr;
    fn now(&self) -> Instant;
    /// None by default.
    fn extensions(&self) -> Vec<Offer<'_>> {
        Vec::new()
    }
    fn send(&mut self, message: Message<'_>) -> Result<(), SendError>;
    fn send_frame(&mut self, frame: Frame<'_>) -> Result<(), SendError>;
    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError>;
    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError>;
    fn keep(&mut self, message: Message<'_>) -> Message<'static> {
        message.into_owned()
    }
    fn subscribe(&mut self, topic: &Topic) -> u64;
    fn subscribe_after(&mut self, topic: &Topic, after: u64) -> Result<(), Missed>;
    fn unsubscribe(&mut self, topic: &Topic);
    /// 0 by default.
    fn missed(&mut self, _topic: &Topic) -> u64 {
        0
    }
    fn pause_reading(&mut self);
    fn resume_reading(&mut self);
    fn tasks(&self) -> Tasks;
    fn is_full(&self) -> bool;
    fn buffered(&self) -> usize;
    fn handle(&self) -> PeerHandle;
}

/// Reaches a connection from any thread, for as long as the connection is open.
///
/// What one thread sends by handles and publishes to topics reaches a connection in that order.
#[derive(Clone)]
pub struct PeerHandle {
    id: PeerId,
    mailbox: Arc<Mailbox>,
    /// The connection has not ended.
    open: Arc<AtomicBool>,
}

impl PeerHandle {
    /// A handle to the connection `id` of the worker behind `mailbox`, which clears `open` at its end.
    pub(crate) fn new(id: PeerId, mailbox: Arc<Mailbox>, open: Arc<AtomicBool>) -> Self {
        Self { id, mailbox, open }
    }

    /// The connection's name.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Sends a message. `Ok` says that the worker will see it, not that the connection still stands then.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once the connection has ended; [`SendError::Busy`] where the worker's queue
    /// is full.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.post(Command::Send(message.into().into_owned()))
    }

    /// Sends a Ping with at most 125 bytes of `payload`.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::ControlTooLong`].
    pub fn ping(&self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > crate::protocol::frame::MAX_CONTROL {
            return Err(SendError::ControlTooLong { len: payload.len() });
        }
        self.post(Command::Ping(payload.into()))
    }

    /// Starts the closing handshake.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::InvalidCloseCode`], [`SendError::ReasonTooLong`].
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        crate::protocol::close::encode_close(code, reason)?;
        self.post(Command::Close(code, reason.into()))
    }

    fn post(&self, command: Command) -> Result<(), SendError> {
        if !self.open.load(Ordering::Relaxed) {
            return Err(SendError::NotOpen);
        }
        self.mailbox.post(Mail::Command(self.id, command)).map_err(|error| match error {
            PostError::Full => SendError::Busy,
            PostError::Closed => SendError::NotOpen,
        })
    }
}

impl fmt::Debug for PeerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerHandle").field(&self.id).finish()
    }
}
