//! Sessions: the sequential face of a service, an `async fn` that owns its connection.
//!
//! ```
//! use chinwag::{CloseCode, Message, Server, Session};
//!
//! let server = Server::builder().websocket("/echo", |mut session: Session| async move {
//!     session.send("Please enter your name").await?;
//!     while let Some(message) = session.recv().await {
//!         let Message::Text(name) = message else { continue };
//!         if name.eq_ignore_ascii_case("bye") {
//!             return session.close(CloseCode::NORMAL, "Client said BYE").await;
//!         }
//!         session.send(format!("Hi, {name}!")).await?;
//!     }
//!     Ok(())
//! });
//! # server.bind("127.0.0.1:0").unwrap();
//! ```
//!
//! Each connection of such a route has one task on its worker's own thread, so a session needs no lock
//! and its handler need not be [`Send`]. It must not block: a worker serves its other connections only
//! while the task waits. [`sleep`], [`timeout`] and [`interval`] wait by the worker's clock; anything else
//! may be awaited too, as wakers may be called from any thread.
//!
//! # The end
//!
//! The handler's end is the connection's: `Ok` closes with 1000, `Err` and a panic with 1011. Where the
//! peer ends first, [`recv`](Receiver::recv) gives `None` and [`close_reason`](Sender::close_reason) tells
//! why. The handler may go on for ten seconds then, to put things in order, and is dropped after that.
//!
//! # Bounds
//!
//! What the peer sends and the handler does not receive waits: 64 KiB of messages at most, each counted
//! with 640 bytes on top, then the socket isn't read any more. What the handler sends waits too while the
//! peer takes nothing: [`send`](Sender::send) returns once there is room again. Several senders that wait
//! go on in the order in which they began to wait, where they are polled once they are woken.

mod channel;
mod convert;
mod error;
mod serving;
mod time;

use std::{fmt, future, ops::Deref, rc::Rc, slice, sync::Arc};

pub use channel::Unit;
use channel::{Channel, Order};
pub use error::{Error, Result};
use serving::Serving;
pub use time::{Elapsed, Interval, Sleep, interval, sleep, timeout};

use crate::{
    protocol::{
        close::{CloseCode, CloseReason, encode_close},
        error::SendError,
        extension::{self, Offer},
        frame::Frame,
        message::Message,
    },
    router::{Route, Router},
    server::ServerBuilder,
    service::{Peer, PeerHandle, Request, Task, Topic},
};

/// One connection, owned by the handler of its route; see the [module](self).
///
/// It is a [`Receiver`], and a [`Sender`] by its `Deref`; [`split`](Self::split) parts the two.
pub struct Session<U: Unit = Message<'static>> {
    sender: Sender<U>,
    receiver: Receiver<U>,
}

/// A session in raw mode: it receives and sends frames, control frames and fragments included, and
/// nothing is answered for it; [`Connection`](crate::protocol::connection::Connection) tells what is
/// checked all the same.
pub type RawSession = Session<Frame<'static>>;

/// What a session may do but receive. Clones are for the same connection.
pub struct Sender<U: Unit = Message<'static>> {
    channel: Rc<Channel<U>>,
}

/// What a session receives. What comes once this is dropped is read and not kept; the peer's Pings and its
/// Close are answered then in raw mode too.
pub struct Receiver<U: Unit = Message<'static>> {
    channel: Rc<Channel<U>>,
}

impl<U: Unit> Session<U> {
    fn new(channel: Rc<Channel<U>>) -> Self {
        let sender = Sender { channel: Rc::clone(&channel) };
        Self { sender, receiver: Receiver { channel } }
    }

    /// As [`Receiver::recv`].
    pub fn recv(&mut self) -> impl Future<Output = Option<U>> {
        self.receiver.recv()
    }

    /// Its two sides, so that one task may read while another writes: [`Sender::spawn`] starts one.
    pub fn split(self) -> (Sender<U>, Receiver<U>) {
        (self.sender, self.receiver)
    }
}

impl<U: Unit> Deref for Session<U> {
    type Target = Sender<U>;

    fn deref(&self) -> &Sender<U> {
        &self.sender
    }
}

impl<U: Unit> Receiver<U> {
    /// The next message, or frame in raw mode; `None` once the connection has ended and all that came
    /// before was received. Dropping the future loses nothing.
    pub fn recv(&mut self) -> impl Future<Output = Option<U>> {
        future::poll_fn(|context| self.channel.poll_recv(context))
    }
}

impl<U: Unit> Drop for Receiver<U> {
    fn drop(&mut self) {
        self.channel.stop_receiving();
    }
}

impl Sender {
    /// Sends a message, once the peer has room for it. It leaves when the worker's turn ends.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once either side has closed. A message that crosses with a Close from
    /// elsewhere, such as a [handle](Self::handle)'s, is dropped without one; those after it are not.
    pub fn send<'m>(
        &self,
        message: impl Into<Message<'m>>,
    ) -> impl Future<Output = Result<(), SendError>> {
        self.channel.order(Order::Send(message.into().into_owned()))
    }

    /// Sends a Ping with at most 125 bytes of `payload` (§5.5.2), beside those that the server sends by
    /// itself. Its Pong is not reported.
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`], [`SendError::NotOpen`].
    pub async fn ping(&self, payload: &[u8]) -> Result<(), SendError> {
        let payload = payload.to_vec();
        self.ask(move |peer| peer.ping(&payload)).await?
    }
}

impl Sender<Frame<'static>> {
    /// Sends one frame as it is, with its FIN and opcode; masking and length are filled in.
    ///
    /// # Errors
    /// [`SendError::IllegalFrame`] where the frame may not stand there (§5.4, §5.5), and for RSV bits,
    /// which are for extensions to set; [`SendError::NotOpen`] once this side has closed, or the
    /// connection has ended.
    pub async fn send(&self, frame: Frame<'static>) -> Result<(), SendError> {
        self.ask(|peer| peer.send_frame(frame)).await?
    }
}

impl<U: Unit> Sender<U> {
    /// Closes the connection with `code` and at most 123 bytes of `reason` (§7.1.2), behind all that was
    /// sent before, and waits until it has ended: for the peer's Close, or five seconds (the default of
    /// [`Timeouts::close`](crate::Timeouts::close)). Where it has ended already, nothing is done.
    ///
    /// # Errors
    /// That of a [`SendError`]: `InvalidCloseCode`, `ReasonTooLong`.
    pub async fn close(&self, code: CloseCode, reason: &str) -> Result {
        encode_close(code, reason)?;
        self.channel.close(code, reason);
        self.channel.ended().await;
        Ok(())
    }

    /// Waits until the connection has ended; gives the first cause.
    pub async fn ended(&self) -> CloseReason {
        self.channel.ended().await.clone()
    }

    /// Why the connection has ended; `None` while it has not.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.channel.close_reason()
    }

    /// What the opening handshake said: path and parameters, query, headers, cookies, the peer's address,
    /// the subprotocol.
    pub fn request(&self) -> Request<'_> {
        self.channel.request()
    }

    /// A way to reach this connection from any thread.
    pub fn handle(&self) -> PeerHandle {
        self.channel.handle()
    }

    /// Has `call` called with the connection, behind all that was sent before and once the peer has room
    /// for more; gives what it gives. So everything that a [`Peer`] can do is open to a session.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once either side has closed.
    pub async fn ask<T: 'static>(
        &self,
        call: impl FnOnce(&mut Peer<'_>) -> T + 'static,
    ) -> Result<T, SendError> {
        self.channel.ask(call).await
    }

    /// The extensions that were agreed on, each as it stands in the header, such as
    /// `permessage-deflate; server_no_context_takeover` (§9.1).
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once either side has closed.
    pub async fn extensions(&self) -> Result<Vec<String>, SendError> {
        let text = |offer: &Offer<'_>| extension::encode(slice::from_ref(offer));
        self.ask(move |peer| peer.extensions().iter().map(text).collect()).await
    }

    /// Hears what is published to `topic` from now on: it goes to the peer as if it were sent. Gives the
    /// offset after which it hears.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once either side has closed.
    pub async fn subscribe(&self, topic: &Topic) -> Result<u64, SendError> {
        let topic = topic.clone();
        self.ask(move |peer| peer.subscribe(&topic)).await
    }

    /// Hears nothing published to `topic` from now on; what was published before still goes out.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once either side has closed.
    pub async fn unsubscribe(&self, topic: &Topic) -> Result<(), SendError> {
        let topic = topic.clone();
        self.ask(move |peer| peer.unsubscribe(&topic)).await
    }

    /// How many publications of `topic` it has missed since this was last asked, as the peer did not keep
    /// up ([`Lag::Skip`](crate::Lag::Skip)); told once the peer takes more again.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once either side has closed.
    pub async fn missed(&self, topic: &Topic) -> Result<u64, SendError> {
        let topic = topic.clone();
        self.ask(move |peer| peer.missed(&topic)).await
    }

    /// Starts a task beside the handler, on the same thread. It ends when what is given is dropped,
    /// unless that is [detached](Task::detach). A panic of its ends this task alone.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Task {
        self.channel.tasks().spawn(future)
    }
}

impl<U: Unit> Clone for Sender<U> {
    fn clone(&self) -> Self {
        Self { channel: Rc::clone(&self.channel) }
    }
}

impl<U: Unit> fmt::Debug for Session<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.channel.handle().id()).finish()
    }
}

impl<U: Unit> fmt::Debug for Sender<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.channel.handle().id()).finish()
    }
}

impl<U: Unit> fmt::Debug for Receiver<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.channel.handle().id()).finish()
    }
}

// ---- routes ------------------------------------------------------------------------------------

impl Route {
    /// A route whose connections are each owned by a session of `handler`.
    pub fn session<F, R>(handler: F) -> Self
    where
        F: Fn(Session) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(move |request| Serving::new(Arc::clone(&handler), request))
    }

    /// As [`session`](Self::session), in raw mode.
    pub fn raw_session<F, R>(handler: F) -> Self
    where
        F: Fn(RawSession) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(move |request| Serving::new(Arc::clone(&handler), request)).raw()
    }
}

impl Router {
    /// Upgrades at `path` are each owned by a session of `handler`, with the server's settings.
    #[must_use]
    pub fn websocket<F, R>(self, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Session) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + 'static,
    {
        self.route(path, Route::session(handler))
    }

    /// As [`websocket`](Self::websocket), in raw mode.
    #[must_use]
    pub fn websocket_raw<F, R>(self, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(RawSession) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + 'static,
    {
        self.route(path, Route::raw_session(handler))
    }
}

impl ServerBuilder {
    /// [`Router::websocket`] of this server's router.
    pub fn websocket<F, R>(self, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Session) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + 'static,
    {
        self.route(path, Route::session(handler))
    }

    /// [`Router::websocket_raw`] of this server's router.
    pub fn websocket_raw<F, R>(self, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(RawSession) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + 'static,
    {
        self.route(path, Route::raw_session(handler))
    }
}
