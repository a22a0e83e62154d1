//! What a worker asks of a socket, whatever it is.

use std::io::{self, Read, Write};

/// A stream of bytes that never blocks: where it has or takes nothing, it says
/// [`WouldBlock`](io::ErrorKind::WouldBlock), and its worker is told once it does again. A read that
/// leaves room has emptied it, and a write that takes less than all has filled it, vectored or not: one
/// that reads or writes a single slice of several must not be used.
pub trait Socket: Read + Write {
    /// Ends this side of the stream (§7.1.1); the other may go on.
    ///
    /// # Errors
    /// Those of the system.
    fn shut_write(&self) -> io::Result<()>;
}
