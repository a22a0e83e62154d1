//! Streams: what a client talks over.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::guard::{Panicked, guard};

/// A stream of bytes both ways: TCP, a Unix socket, or TLS over one of them.
///
/// What the four methods do for deadlines and for the end is best done by the socket at the bottom. A
/// stream without them works too: `impl Stream for Mine {}` gives one that waits for as long as its
/// peer lets it, and cannot be split. A panic in any of its methods is an error of the stream: the
/// connection is lost.
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

/// Reads what there is, and waits for it at most for `wait`.
///
/// # Errors
/// As the stream has it; a timeout also where a `wait` longer than [`LONGEST`] is not over.
pub(super) fn read<S: Stream>(
    stream: &mut S,
    buffer: &mut [u8],
    wait: Option<Duration>,
) -> io::Result<usize> {
    let read = guarded(|| {
        stream.set_read_timeout(wait.map(bounded))?;
        stream.read(buffer)
    })?;
    Ok(read.min(buffer.len()))
}

/// Writes what the stream takes of `bytes`, and waits for it at most for `wait`.
///
/// # Errors
/// As [`read`].
pub(super) fn write<S: Stream>(stream: &mut S, bytes: &[u8], wait: Duration) -> io::Result<usize> {
    let written = guarded(|| {
        stream.set_write_timeout(Some(bounded(wait)))?;
        stream.write(bytes)
    })?;
    Ok(written.min(bytes.len()))
}

/// Ends the writing side, or both.
pub(super) fn shutdown<S: Stream>(stream: &S, how: Shutdown) {
    // Nothing more can be done about a stream that does not end.
    guarded(|| stream.shutdown(how)).ok();
}

/// Calls a stream's own code: a panic there is an error of that stream.
pub(super) fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    guard(call).unwrap_or_else(|Panicked| {
        log::error!("a client's stream panicked");
        Err(io::Error::other("the stream panicked"))
    })
}

/// The shortest wait that is asked of a stream: one of zero would be none.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest wait that is asked of a stream at once: systems differ in the largest that they take.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

fn bounded(wait: Duration) -> Duration {
    wait.clamp(SHORTEST, LONGEST)
}

/// Whether a read or write took longer than its timeout.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
