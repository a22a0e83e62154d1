//! The opening handshake, both roles, over httparse (§1.3, §4).

/// No connection yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {}
