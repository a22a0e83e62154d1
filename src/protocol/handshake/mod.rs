//! The opening handshake, both roles, over httparse (§1.3, §4).

pub mod request;

pub use request::Request;

/// No connection yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {}
