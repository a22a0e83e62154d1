//! What a connection tells its owner.

use crate::protocol::{frame::Frame, message::Message};

/// Something arrived. Borrows from the input it was read from, or owns its bytes where they came in
/// pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message (§5.6).
    Message(Message<'a>),
    /// Raw mode: a whole frame, checked.
    Frame(Frame<'a>),
}
