//! The way in: bytes from the stream to messages, deadlines, and the end of TCP.

use std::{
    fmt,
    io::ErrorKind,
    marker::PhantomData,
    net::{Shutdown, TcpStream},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    error::TimedOut,
    stream::{self, Stream, is_timeout},
    wire::{RETRY, Wire},
};
use crate::{
    Frame, Message,
    protocol::{
        close::CloseReason,
        connection::{Event, Mode, State},
    },
};

/// What a client receives: [`Message`]s, or in raw mode [`Frame`]s.
pub trait Received: Sized + sealed::Sealed {
    #[doc(hidden)]
    const MODE: Mode;
    #[doc(hidden)]
    fn from_event(event: Event<'_>) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Message<'static> {}
    impl Sealed for crate::Frame<'static> {}
}

impl Received for Message<'static> {
    const MODE: Mode = Mode::Messages;

    fn from_event(event: Event<'_>) -> Self {
        match event {
            Event::Message(message) => message.into_owned(),
            Event::Frame(_) => unreachable!("frames come up in raw mode alone"),
        }
    }
}

impl Received for Frame<'static> {
    const MODE: Mode = Mode::Raw;

    fn from_event(event: Event<'_>) -> Self {
        match event {
            Event::Frame(frame) => frame.into_owned(),
            Event::Message(_) => unreachable!("raw mode joins nothing"),
        }
    }
}

/// The receiving half of a [`Client`](super::Client).
///
/// Its peer's Pings are answered and ours are sent while [`recv`](Self::recv) waits.
pub struct Receiver<T = Message<'static>, S = TcpStream> {
    pub(super) wire: Wire<S>,
    buffer: Box<[u8]>,
    /// What of the buffer was read from the stream and not by the engine.
    unread: Range<usize>,
    pub(super) read_timeout: Option<Duration>,
    /// When the last call of [`recv`](Self::recv) ended.
    left: Instant,
    /// The writing side of TCP was ended, and no more is sent.
    shut: bool,
    /// TCP has ended, or we have given up waiting for its end.
    ended: bool,
    /// A Close had travelled both ways by then.
    clean: bool,
    received: PhantomData<T>,
}

/// How long a read waits before it is seen whether the other half has closed.
const LOOK: Duration = Duration::from_millis(500);

impl<T, S: fmt::Debug> fmt::Debug for Receiver<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was read is long, and nobody's business.
        f.debug_struct("Receiver")
            .field("stream", &self.wire.stream)
            .field("unread", &self.unread)
            .field("read_timeout", &self.read_timeout)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<T: Received, S: Stream> Receiver<T, S> {
    pub(super) fn new(
        wire: Wire<S>,
        buffer: Box<[u8]>,
        unread: Range<usize>,
        read_timeout: Option<Duration>,
    ) -> Self {
        let received = PhantomData;
        Self {
            wire,
            buffer,
            unread,
            read_timeout,
            left: Instant::now(),
            shut: false,
            ended: false,
            clean: false,
            received,
        }
    }

    /// The next message; `None` once the connection has ended, and
    /// [`close_reason`](Self::close_reason) tells why. It waits for as long as it takes, or for the
    /// [read timeout](super::ClientBuilder::read_timeout).
    ///
    /// # Errors
    /// [`TimedOut`]: no message came within the read timeout. The connection goes on.
    pub fn recv(&mut self) -> Result<Option<T>, TimedOut> {
        let now = Instant::now();
        self.excuse_absence(now);
        let received = self.recv_until(self.read_timeout.and_then(|wait| now.checked_add(wait)));
        self.left = Instant::now();
        received
    }

    fn recv_until(&mut self, until: Option<Instant>) -> Result<Option<T>, TimedOut> {
        // A wait of zero still looks at what has come.
        let mut has_read = false;
        loop {
            let received = self.take();
            self.wire.send_soon();
            if received.is_some() || self.ended {
                return Ok(received);
            }
            // Frames that hand up no message do not prolong the wait.
            if has_read && until.is_some_and(|until| until <= Instant::now()) {
                return Err(TimedOut);
            }
            self.wait(until);
            has_read = true;
        }
    }

    /// How long [`recv`](Self::recv) waits for a message; `None` for as long as it takes.
    pub fn set_read_timeout(&mut self, wait: Option<Duration>) {
        self.read_timeout = wait;
    }

    /// Why the connection ends or has ended: the first cause, from the moment it is known.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.wire.shared.close_reason()
    }

    /// Whether the closing handshake was done when the connection ended: a Close has travelled each way
    /// (§7.1.4). False before the end.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Nothing is known of a peer for the time in which nobody read: a deadline that passed meanwhile
    /// moves by that time, and by no more, or a peer that talks without end would never meet it.
    fn excuse_absence(&mut self, now: Instant) {
        let connection = &mut self.wire.shared.lock().connection;
        if connection.next_deadline().is_some_and(|deadline| deadline <= now) {
            connection.excuse_absence(now.saturating_duration_since(self.left));
        }
    }

    /// The next message in what was read.
    fn take(&mut self) -> Option<T> {
        if self.unread.is_empty() {
            return None;
        }
        let state = &mut *self.wire.shared.lock();
        let mut input = &mut self.buffer[self.unread.clone()];
        let event = state.connection.receive(
            &mut input,
            Instant::now(),
            &mut state.pool,
            &mut state.output,
        );
        let received = event.map(T::from_event);
        self.unread.start = self.unread.end - input.len();
        received
    }

    /// Waits for bytes or the next deadline, whichever comes first.
    fn wait(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        let (deadline, must_retry) = self.expire(now);
        if self.ended {
            return;
        }
        let retry = must_retry.then_some(now + RETRY);
        // A Close that another thread sends brings the deadline closer, and cannot interrupt the read.
        let is_split = Arc::strong_count(&self.wire.shared) > 1;
        let look = is_split.then_some(now + LOOK);
        let wake = [deadline, until, retry, look].into_iter().flatten().min();
        let wait = wake.map(|wake| wake.saturating_duration_since(now));
        match stream::read(&mut self.wire.stream, &mut self.buffer, wait) {
            Ok(0) => self.lose(),
            Ok(read) => self.unread = 0..read,
            Err(error) if error.kind() == ErrorKind::Interrupted || is_timeout(&error) => {}
            Err(_) => self.lose(),
        }
    }

    /// Does what is due at `now`; gives the next deadline, and whether output waits to be tried again.
    fn expire(&mut self, now: Instant) -> (Option<Instant>, bool) {
        let mut state = self.wire.shared.lock();
        if state.connection.next_deadline().is_some_and(|deadline| deadline <= now) {
            // Who did not end TCP by now never will.
            self.ended = state.connection.state() != State::Open;
            self.clean = state.connection.state() == State::CloseExchanged;
            let state = &mut *state;
            state.connection.handle_timeout(now, &mut state.output);
        }
        drop(state);
        self.wire.send_soon();

        let state = self.wire.shared.lock();
        let must_retry = state.waits();
        // §7.1.7: after a failure it is our turn. What the peer still sends is read and dropped, or a
        // reset could overtake our Close.
        let shuts = state.connection.ends_tcp() && !must_retry && !self.shut;
        let deadline = state.connection.next_deadline();
        drop(state);
        if self.ended {
            stream::shutdown(&self.wire.stream, Shutdown::Both);
        } else if shuts {
            self.shut = true;
            stream::shutdown(&self.wire.stream, Shutdown::Write);
        }
        (deadline, must_retry)
    }

    /// TCP has ended, in good order or not.
    fn lose(&mut self) {
        self.ended = true;
        let mut state = self.wire.shared.lock();
        self.clean = state.connection.state() == State::CloseExchanged;
        state.connection.receive_eof();
        drop(state);
        // The other half may wait for the peer to take something.
        stream::shutdown(&self.wire.stream, Shutdown::Both);
    }
}
