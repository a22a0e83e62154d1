//! The client: the same engine from the other side, blocking, over std's sockets.
//!
//! ```no_run
//! let mut client = chinwag::client::connect("ws://127.0.0.1:8080/echo")?;
//! client.send("Hello")?;
//! while let Some(message) = client.recv()? {
//!     println!("{} bytes", message.as_bytes().len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`ClientBuilder`] asks for more: headers, subprotocols, compression, other limits. Pings are
//! answered, and sent to a server that is silent, while [`recv`](Client::recv) waits. Whoever sends
//! while messages come in [splits](Client::split) the client for two threads.
//!
//! ```
//! # use chinwag::{Message, Peer, Request, Router, Server, Service};
//! # struct Echo;
//! # impl Service for Echo {
//! #     fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) { peer.send(message).ok(); }
//! # }
//! # let router = Router::new().service("/echo", |_: &Request<'_>| Echo);
//! # let server = Server::builder().router(router).bind("127.0.0.1:0")?;
//! # let url = format!("ws://{}/echo", server.local_addr());
//! # let stopper = server.stopper();
//! # let running = std::thread::spawn(move || server.run());
//! use chinwag::{CloseCode, client};
//!
//! let (mut sender, mut receiver) = client::connect(&url)?.split()?;
//! let hears = std::thread::spawn(move || {
//!     let mut heard = 0;
//!     while let Ok(Some(_)) = receiver.recv() {
//!         heard += 1;
//!     }
//!     heard
//! });
//! for _ in 0..100 {
//!     sender.send("Hello")?;
//! }
//! sender.close(CloseCode::NORMAL, "that was all")?;
//! assert_eq!(hears.join().unwrap(), 100);
//! # stopper.stop();
//! # running.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bounds
//!
//! What the server may send is bounded by [`Limits`](crate::Limits), and how long it may keep us
//! waiting by [`Timeouts`](crate::Timeouts) and the builder's own; each has a default. A client that is
//! not split sends *or* receives: a server that sends more than the sockets hold before it reads on
//! makes [`send`](Client::send) wait until [`Timeouts::write`](crate::Timeouts::write) is over.
//!
//! # TLS
//!
//! There is none yet: a `wss:` URL fails with [`ConnectError::Tls`]. Any [`Stream`] that speaks it can
//! be handed to [`connect_over`](ClientBuilder::connect_over), which takes `wss:` URLs.

mod backoff;
mod builder;
mod error;
mod opening;
mod reach;
mod receiver;
mod stream;
mod text;
mod url;
#[cfg(feature = "json")]
mod value;
mod wire;

use std::{
    fmt, io,
    marker::PhantomData,
    net::TcpStream,
    slice,
    sync::Arc,
    time::{Duration, Instant},
};

pub use backoff::Backoff;
pub use builder::ClientBuilder;
pub use error::{ConnectError, Refusal, TimedOut};
pub use receiver::{Received, Receiver};
pub use stream::Stream;
pub use text::escape;
pub use url::UrlError;
use wire::Wire;

use crate::{
    Frame, Message,
    protocol::{
        close::{CloseCode, CloseReason},
        connection::State,
        error::SendError,
        extension::{self, Offer, deflate::Agreed},
    },
};

/// Connects to `url`, such as `ws://127.0.0.1:8080/chat`, with every setting at its default.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(url: &str) -> Result<Client, ConnectError> {
    ClientBuilder::default().connect(url)
}

/// A client's connection. `T` is what it receives: messages, or frames in
/// [raw mode](ClientBuilder::connect_raw).
///
/// Dropped without [`close`](Self::close) it ends TCP, which the server sees as 1006.
#[derive(Debug)]
pub struct Client<T = Message<'static>, S = TcpStream> {
    receiver: Receiver<T, S>,
    protocol: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Client {
    /// Settings to connect with.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl<T: Received, S: Stream> Client<T, S> {
    /// The subprotocol that the server chose, where it chose one (§1.9).
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The headers of the server's answer, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The extensions that were agreed on, each as it stands in the header, such as
    /// `permessage-deflate; server_no_context_takeover` (§9.1).
    pub fn extensions(&self) -> Vec<String> {
        let text = |offer: &Offer<'_>| extension::encode(slice::from_ref(offer));
        self.receiver.wire.shared.lock().connection.extensions().iter().map(text).collect()
    }

    /// What was agreed on compression (RFC 7692).
    pub fn compression(&self) -> Option<Agreed> {
        self.receiver.wire.shared.lock().connection.agreed()
    }

    /// The stream that it talks over. What is read or written there is lost for the client.
    pub fn stream(&self) -> &S {
        &self.receiver.wire.stream
    }

    /// The next message; see [`Receiver::recv`].
    ///
    /// # Errors
    /// [`TimedOut`]: no message came within the read timeout. The connection goes on.
    pub fn recv(&mut self) -> Result<Option<T>, TimedOut> {
        self.receiver.recv()
    }

    /// How long [`recv`](Self::recv) waits for a message; `None` for as long as it takes.
    pub fn set_read_timeout(&mut self, wait: Option<Duration>) {
        self.receiver.set_read_timeout(wait);
    }

    /// Sends a message in one frame, compressed where that was agreed and makes it shorter; waits until
    /// the system has taken all of it.
    ///
    /// # Errors
    /// [`SendError::NotOpen`], also where the connection is lost in sending:
    /// [`close_reason`](Self::close_reason) tells. In raw mode [`SendError::IllegalFrame`] between
    /// fragments.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.receiver.wire.message(&message.into())
    }

    /// Sends a Ping with at most 125 bytes of `payload` (§5.5.2).
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::ControlTooLong`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.receiver.wire.ping(payload)
    }

    /// Closes the connection: sends a Close, waits for the server's and for the end of TCP, at most for
    /// [`Timeouts::close`](crate::Timeouts::close) (§7.1.2). Messages that still come are dropped; who
    /// wants them [splits](Self::split). Where the connection had ended before, this gives why.
    ///
    /// # Errors
    /// [`SendError::InvalidCloseCode`], [`SendError::ReasonTooLong`]; the connection goes on.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<CloseReason, SendError> {
        match self.receiver.wire.close(code, reason) {
            Ok(()) | Err(SendError::NotOpen) => {}
            Err(error) => return Err(error),
        }
        while !matches!(self.recv(), Ok(None)) {}
        Ok(self.close_reason().unwrap_or_else(CloseReason::lost))
    }

    /// Why the connection ends or has ended: the first cause, from the moment it is known.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.receiver.close_reason()
    }

    /// Whether the closing handshake was done when the connection ended; see [`Receiver::was_clean`].
    pub fn was_clean(&self) -> bool {
        self.receiver.was_clean()
    }

    /// Two halves for two threads: one sends while the other waits for messages.
    ///
    /// # Errors
    /// What [`Stream::try_clone`] says.
    pub fn split(self) -> io::Result<(Sender<T, S>, Receiver<T, S>)> {
        let receiver = self.receiver;
        let wire = Wire {
            stream: stream::guarded(|| receiver.wire.stream.try_clone())?,
            shared: Arc::clone(&receiver.wire.shared),
        };
        Ok((Sender { wire, received: PhantomData }, receiver))
    }
}

impl<S: Stream> Client<Frame<'static>, S> {
    /// Sends one frame, with its FIN, opcode and payload; masking and length are filled in.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; [`SendError::IllegalFrame`] for RSV bits, or where the frame may not
    /// stand there (§5.4, §5.5).
    pub fn send_frame(&mut self, frame: &Frame<'_>) -> Result<(), SendError> {
        self.receiver.wire.frame(frame)
    }
}

/// The sending half of a [`Client`].
pub struct Sender<T = Message<'static>, S = TcpStream> {
    wire: Wire<S>,
    received: PhantomData<T>,
}

impl<T, S: fmt::Debug> fmt::Debug for Sender<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("stream", &self.wire.stream).finish_non_exhaustive()
    }
}

impl<T: Received, S: Stream> Sender<T, S> {
    /// Sends a message; see [`Client::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.wire.message(&message.into())
    }

    /// Sends a Ping with at most 125 bytes of `payload` (§5.5.2).
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::ControlTooLong`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.wire.ping(payload)
    }

    /// Sends a Close and no more (§7.1.2). The receiver gives what still comes, and then `None`.
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::InvalidCloseCode`], [`SendError::ReasonTooLong`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.wire.close(code, reason)
    }

    /// Sends bytes as they are, right behind what was sent before: for those who test a peer. The
    /// engine knows nothing of them, and a peer that takes them amiss is right.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn send_wire(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.wire.bytes(bytes)
    }

    /// Why the connection ends or has ended: the first cause, from the moment it is known.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.wire.shared.close_reason()
    }
}

impl<S: Stream> Sender<Frame<'static>, S> {
    /// Sends one frame; see [`Client::send_frame`].
    ///
    /// # Errors
    /// As there.
    pub fn send_frame(&mut self, frame: &Frame<'_>) -> Result<(), SendError> {
        self.wire.frame(frame)
    }
}

/// The commands, for either of those who send.
impl<S: Stream> Wire<S> {
    fn message(&mut self, message: &Message<'_>) -> Result<(), SendError> {
        self.send(None, |state| state.connection.send(message, &mut state.pool, &mut state.output))
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), SendError> {
        let now = Instant::now();
        self.send(None, |state| {
            state.connection.send_frame(frame, now, &mut state.pool, &mut state.output)
        })
    }

    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send(None, |state| state.connection.ping(payload, &mut state.output))
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        let now = Instant::now();
        // Who takes what came before it a little at a time gets no longer than this either.
        let until = now.checked_add(self.shared.lock().connection.settings().timeouts.close);
        self.send(until, |state| state.connection.close(code, reason, now, &mut state.output))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.send(None, |state| {
            if state.connection.state() != State::Open {
                return Err(SendError::NotOpen);
            }
            state.output.extend_from_slice(bytes);
            Ok(())
        })
    }
}
