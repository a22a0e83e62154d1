//! The way out: what two threads share of a connection, and who of them writes.
//!
//! The engine sits behind a lock that is held only while bytes are turned into messages and back,
//! never while a stream reads or writes. What the engine wants sent gathers in one buffer, and one of
//! the two takes it from there to the stream at a time: it says so under the lock, writes without it,
//! and looks again before it stops. So frames leave in their order and nobody waits for the other's
//! read. A receiver that has a Pong to send never waits long, as its peer may be waiting for it to
//! read; what does not leave at once is left to the next one who writes.

use std::{
    io, mem,
    net::Shutdown,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::stream::{self, LONGEST, Stream, is_timeout};
use crate::{
    guard::{Panicked, guard},
    protocol::{
        buffer::Pool,
        close::{CloseCause, CloseCode, CloseReason, Timeout},
        connection::Connection,
        error::SendError,
    },
};

/// How long a receiver waits for its output to leave before it reads on.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long output that the peer does not take is left alone while the receiver reads on.
pub(super) const RETRY: Duration = Duration::from_millis(50);

/// The most room that the output's buffer keeps while nothing is sent: bytes.
const MAX_SPARE: usize = 64 << 10;

/// What the halves of a connection share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Nobody writes any more.
    idle: Condvar,
}

pub(super) struct State {
    pub connection: Connection,
    pub pool: Pool,
    /// What is to be sent, in order.
    pub output: Vec<u8>,
    /// Somebody has taken output to the stream and comes back for more.
    writing: bool,
    /// The peer takes nothing of what a receiver has for it.
    stalled: Option<Stall>,
}

#[derive(Debug, Clone, Copy)]
struct Stall {
    since: Instant,
    last_try: Instant,
}

impl Shared {
    pub fn new(connection: Connection) -> Self {
        let state = State {
            connection,
            pool: Pool::new(MAX_SPARE),
            output: Vec::new(),
            writing: false,
            stalled: None,
        };
        Self { state: Mutex::new(state), idle: Condvar::new() }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics in the engine leaves a connection whose next step shows it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody writes.
    fn lock_idle(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.idle.wait_while(state, |state| state.writing).unwrap_or_else(PoisonError::into_inner)
    }

    pub fn close_reason(&self) -> Option<CloseReason> {
        self.lock().connection.close_reason().cloned()
    }
}

impl State {
    /// Whether there is output that nobody is writing.
    pub fn waits(&self) -> bool {
        !self.output.is_empty() && !self.writing
    }

    fn set_behind(&mut self, behind: bool) {
        self.connection.set_behind(behind, &mut self.output);
    }

    /// The next bytes to write; `None` where there are none.
    fn next_output(&mut self) -> Option<Vec<u8>> {
        if self.output.is_empty() {
            // A Pong may have waited for this.
            self.set_behind(false);
        }
        if self.output.is_empty() {
            return None;
        }
        // §5.5.3: of the Pings that come meanwhile, the latest one is answered.
        self.set_behind(true);
        Some(mem::take(&mut self.output))
    }

    /// `left` was taken and not written: it goes before what came meanwhile. Where it is empty, its
    /// room is kept.
    fn put_back(&mut self, mut left: Vec<u8>) {
        if !left.is_empty() || self.output.is_empty() && left.capacity() <= MAX_SPARE {
            left.append(&mut self.output);
            self.output = left;
        }
    }

    /// Ends the connection after a panic in the engine.
    fn give_up(&mut self) {
        let text = "the application's code panicked";
        let code = CloseCode::INTERNAL_ERROR;
        self.connection.give_up(CloseCause::Local, code, text, Instant::now(), &mut self.output);
    }

    /// The stream takes no more bytes.
    fn lose(&mut self, too_slow: bool) {
        self.output.clear();
        if too_slow {
            let text = "the peer took nothing of what was sent";
            let cause = CloseCause::Timeout(Timeout::Write);
            self.connection.disconnect(cause, CloseCode::ABNORMAL, text);
        } else {
            self.connection.receive_eof();
        }
    }
}

/// One half's way to the stream.
pub(super) struct Wire<S> {
    pub stream: S,
    pub shared: Arc<Shared>,
}

impl<S: Stream> Wire<S> {
    /// Has the engine do something, and sends what comes of it: waits until all of it has left, or
    /// `until` where that is given, and then leaves the rest to the receiver.
    ///
    /// # Errors
    /// What `command` says, or [`SendError::NotOpen`] where the connection was lost in writing, or failed
    /// with 1011 as the application's code panicked.
    pub fn send(
        &mut self,
        until: Option<Instant>,
        command: impl FnOnce(&mut State) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let mut state = self.shared.lock_idle();
        // What decides on compression is an application's code.
        let result = guard(|| command(&mut state)).unwrap_or_else(|Panicked| {
            log::error!("the code of a client's connection panicked in sending");
            state.give_up();
            Err(SendError::NotOpen)
        });
        if result.is_err() {
            // Where that ends the connection there is a Close to send.
            drop(state);
            self.send_soon();
            return result;
        }
        match write_out(&mut self.stream, &self.shared, state, until) {
            Ok(()) => Ok(()),
            Err(Lost) => Err(SendError::NotOpen),
        }
    }

    /// The receiver's way to send what the engine answers: waits for nobody. Where somebody writes, they
    /// take it along.
    pub fn send_soon(&mut self) {
        let state = self.shared.lock();
        let just_tried = |stall: Stall| stall.last_try.elapsed() < RETRY;
        if state.waits() && !state.stalled.is_some_and(just_tried) {
            let until = Some(Instant::now() + PATIENCE);
            // The connection knows that it is lost.
            write_out(&mut self.stream, &self.shared, state, until).ok();
        }
    }
}

/// The stream took no more.
struct Lost;

/// How often one who writes comes back for what was added meanwhile. A receiver whose peer sends Pings
/// without end adds Pongs without end; what is left then is for that receiver to send.
const ROUNDS: usize = 4;

/// Takes output to the stream until there is none, or `until` where that is given. Nobody else writes
/// when this is called.
fn write_out<'s, S: Stream>(
    stream: &mut S,
    shared: &'s Shared,
    mut state: MutexGuard<'s, State>,
    until: Option<Instant>,
) -> Result<(), Lost> {
    let longest = state.connection.settings().timeouts.write;
    state.writing = true;
    let mut result = Ok(());
    for round in 0.. {
        let Some(mut bytes) = state.next_output() else { break };
        if round == ROUNDS {
            state.put_back(bytes);
            break;
        }
        drop(state);
        let (written, error) = write_all(stream, &bytes, longest, until);
        state = shared.lock();
        bytes.drain(..written);
        state.put_back(bytes);
        if written > 0 {
            state.stalled = None;
        }
        let Some(error) = error else { continue };
        let now = Instant::now();
        let since = state.stalled.map_or(now, |stall| stall.since);
        state.stalled = Some(Stall { since, last_try: now });
        let is_slow = is_timeout(&error);
        if until.is_some() && is_slow && now.duration_since(since) < longest {
            break;
        }
        state.lose(is_slow);
        drop(state);
        stream::shutdown(stream, Shutdown::Both);
        state = shared.lock();
        result = Err(Lost);
    }
    state.writing = false;
    shared.idle.notify_all();
    result
}

/// Writes until the stream has taken nothing for as long as `patience`, or `until` where that is given;
/// gives how much it took, and what stopped it.
fn write_all<S: Stream>(
    stream: &mut S,
    bytes: &[u8],
    patience: Duration,
    until: Option<Instant>,
) -> (usize, Option<io::Error>) {
    let mut written = 0;
    let mut now = Instant::now();
    let mut taken = now;
    while written < bytes.len() {
        let give_up = taken.checked_add(patience).into_iter().chain(until).min();
        let wait = give_up.map_or(LONGEST, |give_up| give_up.saturating_duration_since(now));
        let result = stream::write(stream, &bytes[written..], wait);
        now = Instant::now();
        match result {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => {
                written += more;
                taken = now;
                // Who takes a little at a time does not prolong this.
                if written < bytes.len() && until.is_some_and(|until| until <= now) {
                    return (written, Some(io::ErrorKind::TimedOut.into()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && give_up.is_none_or(|give_up| now < give_up) => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, stream::guarded(|| stream.flush()).err())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::protocol::connection::Settings;

    /// Takes everything.
    struct Sink;

    impl Read for Sink {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Sink {}

    #[test]
    fn the_room_of_short_output_is_kept_and_that_of_long_output_given_back() {
        let (settings, now) = (Arc::new(Settings::default()), Instant::now());
        let mut connection = Connection::client(Arc::clone(&settings), [7; 32], now);
        connection.upgrade(settings, now);
        let mut wire = Wire { stream: Sink, shared: Arc::new(Shared::new(connection)) };
        for (len, kept) in [(1_000, 1_000..=MAX_SPARE), (1 << 20, 0..=0), (10, 10..=MAX_SPARE)] {
            let command = |state: &mut State| {
                let message = "x".repeat(len);
                state.connection.send(&message.as_str().into(), &mut state.pool, &mut state.output)
            };
            wire.send(None, command).unwrap();
            let room = wire.shared.lock().output.capacity();
            assert!(kept.contains(&room), "{room} bytes kept after {len}");
        }
    }
}
