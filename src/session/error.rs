//! Errors of a session's handler.

use std::{error, fmt, result};

use crate::protocol::error::SendError;

/// What the handler of a session comes to. `Ok` closes its connection with 1000, an error with 1011.
pub type Result<T = (), E = Error> = result::Result<T, E>;

/// Why a handler gave up: any error, so that `?` takes them all.
///
/// It is logged, unless it is the [`SendError::NotOpen`](crate::SendError::NotOpen) of who sends to a peer
/// that has gone; the peer is told `internal error` and nothing else.
pub struct Error(Box<dyn error::Error>);

impl Error {
    /// An error of no type of its own.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// Whether it is `wanted`, or comes from that.
    pub(super) fn is(&self, wanted: &SendError) -> bool {
        [Some(self.get()), self.get().source()]
            .into_iter()
            .flatten()
            .any(|error| error.downcast_ref() == Some(wanted))
    }

    /// The error itself.
    pub fn get(&self) -> &(dyn error::Error + 'static) {
        &*self.0
    }
}

impl<E: error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
