//! chinwag: a WebSocket server on a hand-written RFC 6455 engine and a mio event loop.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chat;
pub mod protocol;
pub mod router;
pub mod service;
pub mod web;

pub use protocol::{
    Role,
    close::{CloseCause, CloseCode, CloseReason},
    error::{ProtocolError, SendError},
    frame::{Frame, Opcode},
    limits::{Limits, Timeouts},
    message::{Message, Text},
};
pub use router::Router;
pub use service::{Answer, Peer, PeerHandle, PeerId, PublishError, Request, Service, Topic};
