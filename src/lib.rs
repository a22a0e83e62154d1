//! chinwag: a WebSocket server, written by hand from RFC 6455 over raw TCP.
//!
//! An engine without I/O turns bytes into messages and back; a [mio](https://docs.rs/mio) event loop
//! drives it over sockets, one thread a core, without an async runtime. An application is a
//! [`Service`] for each connection, found by its path.
//!
//! ```
//! use std::{thread, time::Duration};
//!
//! use chinwag::{Answer, Message, Peer, Request, Server, Service};
//!
//! struct Echo;
//!
//! impl Service for Echo {
//!     fn opened(&mut self, peer: &mut Peer<'_>) {
//!         peer.send("hello").ok();
//!     }
//!
//!     fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
//!         peer.send(message).ok();
//!     }
//! }
//!
//! let server = Server::builder()
//!     .ping_period(Duration::from_secs(15))
//!     .max_frame_size(64 << 10)
//!     .get("/", |_| Answer::text(200, "Hello, world!"))
//!     .service("/echo", |_: &Request<'_>| Echo)
//!     .bind("127.0.0.1:0")?;
//! println!("ws://{}/echo", server.local_addr());
//!
//! let stopper = server.stopper();
//! thread::spawn(move || stopper.stop());
//! server.run()?; // until it is stopped
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The map
//!
//! | room | what is in it |
//! |---|---|
//! | [`protocol`] | the engine: frames, masking, UTF-8, messages, closing, the opening handshake |
//! | [`convert`] | values as messages, and back: JSON (feature `json`) or a format of one's own |
//! | [`topic`] | publish and subscribe: order, subscriptions, shared compression, fan-out |
//! | [`service`] | the door: what an application sees of a connection, and what it may ask of it |
//! | [`server`] | the event loop, over mio |
//! | [`client`] | the same engine from the other side: blocking, without a runtime |
//! | [`router`] | paths to services; plain HTTP answers for everything that is no upgrade |
//! | [`session`] | the sequential face of a service: `async fn(Session)`, one task a connection |
//! | `cookie` | signed cookies (feature `cookies`) |
//! | [`chat`] | people and words: rooms, members, history, commands |
//! | [`web`] | the page that the chat is used from |
//! | [`testing`] | tests without a network: a server and its clients in memory |
//!
//! ```text
//! socket ─bytes→ frame ─frames→ message ─messages→ connection ─events──→ service ─→ chat
//! socket ←bytes─ frame ←frames─ message ←messages─ connection ←outgoing─ service ←─ chat
//! ```
//!
//! Each room uses those before it and none after: `protocol`, `convert`, `topic`, `service`, then `router`,
//! `server`, `session`, then `client`, `cookie` and `chat`, and `testing` at the end. A § in these pages is a
//! section of RFC 6455 unless another RFC is named.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chat;
pub mod client;
pub mod convert;
#[cfg(feature = "cookies")]
pub mod cookie;
mod guard;
mod mailbox;
pub mod protocol;
pub mod router;
pub mod server;
pub mod service;
pub mod session;
mod slab;
mod sync;
pub mod testing;
pub mod topic;
pub mod web;

pub use protocol::{
    Role,
    close::{CloseCause, CloseCode, CloseReason},
    error::{ProtocolError, SendError},
    extension::deflate::Deflate,
    frame::{Frame, Opcode},
    limits::{Limits, Timeouts},
    message::{Message, Text},
};
pub use router::{Accept, Origins, Route, Router};
pub use server::{Server, ServerBuilder, Stopper};
pub use service::{
    Answer, Lag, OwnedRequest, Peer, PeerHandle, PeerId, PublishError, Request, Service, Topic,
    TopicDeflate,
};
pub use session::{RawSession, Session};

/// The examples of the README, which are tested with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
