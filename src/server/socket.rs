//! What a worker asks of a socket, whatever it is.

use std::io::{self, Read, Write};

/// A stream of bytes that never blocks: where it has or takes nothing, it says
/// [`WouldBlock`](io::ErrorKind::WouldBlock) and tells its worker once it does again.
pub(crate) trait Socket: Read + Write {
    /// Ends this side of the stream (§7.1.1); the other may go on.
    ///
    /// # Errors
    /// Those of the system.
    fn shut_write(&self) -> io::Result<()>;
}
