//! Streams: what a client talks over.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

/// A stream of bytes both ways: TCP, a Unix socket, or TLS over one of them.
///
/// What the four methods do for deadlines and for the end is best done by the socket at the bottom. A
/// stream without them works too: `impl Stream for Mine {}` gives one that waits for as long as its
/// peer lets it, and cannot be split.
///
/// ```
/// use std::{io::{self, Read, Write}, net::{Shutdown, TcpStream}, time::Duration};
/// use chinwag::client::Stream;
///
/// /// TLS as some crate has it: `inner` does the work.
/// struct Tls<T> { inner: T, socket: TcpStream }
///
/// impl<T: Read> Read for Tls<T> {
///     fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> { self.inner.read(buffer) }
/// }
///
/// impl<T: Write> Write for Tls<T> {
///     fn write(&mut self, bytes: &[u8]) -> io::Result<usize> { self.inner.write(bytes) }
///     fn flush(&mut self) -> io::Result<()> { self.inner.flush() }
/// }
///
/// impl<T: Read + Write> Stream for Tls<T> {
///     fn set_read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
///         self.socket.set_read_timeout(wait)
///     }
///     fn set_write_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
///         self.socket.set_write_timeout(wait)
///     }
///     fn shutdown(&self, how: Shutdown) -> io::Result<()> { self.socket.shutdown(how) }
/// }
/// ```
pub trait Stream: Read + Write {
    /// How long a read may wait, `None` for ever; never zero. After it the read gives
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`].
    ///
    /// # Errors
    /// As the system has it; the connection is then lost.
    fn set_read_timeout(&self, _wait: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    /// The same for a write.
    ///
    /// # Errors
    /// As [`set_read_timeout`](Self::set_read_timeout).
    fn set_write_timeout(&self, _wait: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    /// Ends the writing side, or both; a read that waits in another thread ends too then.
    ///
    /// # Errors
    /// As the system has it; nothing more is done about it.
    fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        Ok(())
    }

    /// The same stream once more, for another thread.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where a stream is for one thread only, or what the system says.
    fn try_clone(&self) -> io::Result<Self>
    where
        Self: Sized,
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Stream for TcpStream {
    fn set_read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(wait)
    }

    fn set_write_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(wait)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }

    fn try_clone(&self) -> io::Result<Self> {
        self.try_clone()
    }
}

#[cfg(unix)]
impl Stream for std::os::unix::net::UnixStream {
    fn set_read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(wait)
    }

    fn set_write_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(wait)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }

    fn try_clone(&self) -> io::Result<Self> {
        self.try_clone()
    }
}

/// Whether a read or write took longer than its timeout.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
