//! Extensions of one's own: what their author writes (§9).
//!
//! An [`Extension`] is installed once and asked at every opening handshake. Where both sides agree on it,
//! it gives the connection a [`Transform`], which each data frame passes as a [`DataFrame`]. Nobody but
//! the extension knows of what it did: rules, limits and messages are judged behind it.

use std::{fmt, ops::Range};

use super::{Offer, Param};
use crate::protocol::{
    close::{CloseCode, MAX_REASON},
    frame::{Opcode, Rsv},
};

/// An extension of one's own (§9).
///
/// It is installed by [`Extensions`](super::Extensions), on a server or a client or both, and shared by
/// all connections. A panic in it harms one connection alone.
///
/// # The order
/// §9.1: what the server lists first works first on what is sent, on either side, and last on what is
/// received. A server lists permessage-deflate, then its extensions in the order of installation: so
/// they see compressed payloads.
///
/// # Control frames
/// Choice: Ping, Pong and Close pass by every extension. They have to get through whatever state
/// an extension is in, and have no room for more than 125 bytes (§5.5); what an extension of an
/// application is about is its data.
pub trait Extension: Send + Sync {
    /// The name: a token (§9.1).
    fn name(&self) -> &str;

    /// The reserved bits that it claims: those that its frames may have set (§5.2). No two extensions
    /// of a connection may claim the same, and permessage-deflate claims the first.
    fn rsv(&self) -> Rsv;

    /// Server: what it makes of an offer of its name. The parameters of the response, which are tokens
    /// (else it is declined), and what works on this connection; or `None` to decline. Offers come in the client's order of preference;
    /// after the first that is not declined no other is asked about (§9.1).
    fn answer(&self, offer: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)>;

    /// Client: the parameters of each offer to be made, the preferred one first. None offers nothing.
    fn offers(&self) -> Vec<Vec<Param<'static>>>;

    /// Client: what works on this connection after the server's `response`, which has this name. `None`
    /// where it is no response to what was offered: then the connection is given up (§4.1).
    fn accept(&self, response: &Offer<'_>) -> Option<Box<dyn Transform>>;

    /// Whether connections in raw mode take part. By default they do not.
    fn covers_raw(&self) -> bool {
        false
    }
}

/// One connection's side of an extension that was agreed on.
///
/// An error fails the connection with its code. So does a panic, with 1011.
pub trait Transform: Send {
    /// Changes a data frame that is about to be sent.
    ///
    /// # Errors
    /// Nothing is sent but a Close with the error's code.
    fn outgoing(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError>;

    /// Undoes what the peer's side of the extension did to a data frame. The whole frame has arrived.
    ///
    /// # Errors
    /// What the peer cannot have meant.
    fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError>;
}

/// A data frame on its way through an extension, unmasked. Its payload may be changed, and those
/// reserved bits that the extension claims.
#[derive(Debug)]
pub struct DataFrame<'f> {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) rsv: Rsv,
    pub(super) claimed: Rsv,
    pub(super) payload: &'f mut Vec<u8>,
    pub(super) max: usize,
}

impl DataFrame<'_> {
    /// Whether this is the last frame of its message.
    pub fn fin(&self) -> bool {
        self.fin
    }

    /// The type of its message on the first frame, [`Opcode::Continuation`] on others.
    pub fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// The extension's own reserved bits: those that came, or those to be sent.
    pub fn rsv(&self) -> Rsv {
        self.rsv
    }

    /// Sets the reserved bits to be sent. Those that the extension does not claim stay as they are.
    pub fn set_rsv(&mut self, rsv: Rsv) {
        self.rsv = rsv.and(self.claimed);
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.payload
    }

    /// The payload, to be changed in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.payload
    }

    /// Bytes by which the payload may grow.
    pub fn room(&self) -> usize {
        self.max.saturating_sub(self.payload.len())
    }

    /// Puts `bytes` in the place of `range`, which lies within the payload: so bytes are put in front
    /// of it (`0..0`), behind it, or taken away.
    ///
    /// # Errors
    /// 1009 where the payload would grow by more than its [`room`](Self::room): a frame received may
    /// come to [`Limits::max_frame`](crate::Limits::max_frame), a hundredth and 64 bytes, as on the
    /// wire; one that is sent too, or to that much more than it had.
    ///
    /// # Panics
    /// Where `range` is not within the payload.
    pub fn replace(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), ExtensionError> {
        if bytes.len() > range.len() && bytes.len() - range.len() > self.room() {
            return Err(TOO_BIG);
        }
        self.payload.splice(range, bytes.iter().copied());
        Ok(())
    }
}

const TOO_BIG: ExtensionError =
    ExtensionError::new(CloseCode::MESSAGE_TOO_BIG, "an extension makes the frame too big");

/// What an extension finds wrong: the connection is failed with it (§7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionError {
    code: CloseCode,
    reason: &'static str,
}

impl ExtensionError {
    /// The close code and the close reason of the Close that is sent.
    ///
    /// # Panics
    /// Where the code may not be sent ([`CloseCode::is_sendable`]), or the reason has more than 123
    /// bytes; as a `const` it does not compile then.
    pub const fn new(code: CloseCode, reason: &'static str) -> Self {
        assert!(code.is_sendable() && reason.len() <= MAX_REASON, "this can be no Close frame");
        Self { code, reason }
    }

    /// The close code.
    pub fn code(self) -> CloseCode {
        self.code
    }

    /// The close reason.
    pub fn reason(self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for ExtensionError {}
