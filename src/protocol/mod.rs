//! The engine: bytes and time go in, events and bytes come out.
//!
//! Nothing here owns a socket, a clock or a source of randomness: the time and the random seed are
//! arguments, so any run can be replayed. `server` and `client` bring the sockets.
//!
//! ```text
//! socket ─bytes→ frame ─frames→ message ─messages→ connection ─events──→ service
//! socket ←bytes─ frame ←frames─ message ←messages─ connection ←outgoing─ service
//! ```

pub mod buffer;
pub mod close;
pub mod connection;
pub mod error;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod mask;
pub mod message;
pub mod utf8;

/// Which side of the connection this endpoint is.
///
/// Both sides run the same code. The role decides just what the RFC makes lopsided: who masks
/// (§5.1) and who closes TCP first (§7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opens the connection, masks what it sends, lets the server close TCP first.
    Client,
    /// Accepts the connection, sends unmasked, closes TCP first.
    Server,
}
