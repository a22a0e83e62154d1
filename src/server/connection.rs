//! One socket, its connection, and where both stand.

use std::{
    cell::{Cell, OnceCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Admission, addr::PeerAddr, context::Context, output::Output, socket::Socket, timers::Armed,
};
use crate::{
    protocol::{connection::Connection, handshake::HeadReader},
    router::{Opening, Verdict},
    service::{PeerHandle, PeerId, Service, Task},
    slab::Key,
    topic::{EncodingState, subscription::Subscriptions},
};

/// One connection as its worker holds it.
pub(super) struct Peer<S> {
    pub(super) link: Link<S>,
    pub(super) stage: Stage,
}

/// What stands on our side of a connection.
pub(super) enum Stage {
    /// The opening handshake; the reader is there once a read has cut the head off.
    Opening(Option<Box<HeadReader>>),
    /// The application decides on the request.
    Deciding(Box<Decision>),
    /// The application.
    Serving(Box<dyn Service>),
    /// Nobody: the connection ends.
    Ending,
}

/// A decision that a task comes to.
pub(super) struct Decision {
    pub(super) opening: Opening,
    /// What it has come to, once it has.
    pub(super) verdict: Rc<Cell<Option<Verdict>>>,
    pub(super) task: Task,
}

/// Where TCP stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tcp {
    /// Both sides may send.
    Open,
    /// The peer has closed its side and all of it was read; it may still take what waits for it.
    PeerEnded,
    /// Our side is shut: the peer's last bytes are read and dropped.
    Lingering,
    /// It is gone.
    Lost,
}

/// What is known of the socket's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// It holds nothing, or an edge will tell.
    Empty,
    /// It may hold bytes whose edge has passed.
    Readable,
    /// The peer has closed its side: read on to the end, as no edge will tell.
    Ending,
}

/// A connection without its application: all that a [`Call`](super::call::Call) of that may touch.
pub(super) struct Link<S> {
    pub(super) socket: S,
    pub(super) connection: Connection,
    pub(super) key: Key,
    /// When it was accepted, by [`Context::hundredths`].
    since: u32,
    received: u64,
    pub(super) armed: Armed,
    pub(super) output: Output,
    /// Nothing without a subscription.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// There once a handle was given out; false once the connection has ended.
    open: OnceCell<Arc<AtomicBool>>,
    /// Input that was read and not yet looked at: its share of the turn was used up.
    pub(super) stash: Option<Box<Stash>>,
    addr: PeerAddr,
    /// Bytes that it counts for in [`Context::unfinished`].
    unfinished: u32,
    pub(super) tcp: Tcp,
    pub(super) input: Input,
    /// It is on one of the worker's lists of connections to be served.
    pub(super) is_queued: bool,
    /// When it was served last, it had more to do than its share of a turn.
    pub(super) is_heavy: bool,
    /// The application receives nothing for now.
    pub(super) paused: bool,
    pub(super) admission: Admission,
}

/// Input for later.
#[derive(Debug)]
pub(super) struct Stash {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
}

impl<S: Socket> Link<S> {
    pub(super) fn new(
        socket: S,
        addr: SocketAddr,
        key: Key,
        connection: Connection,
        admission: Admission,
        since: u32,
    ) -> Self {
        Self {
            socket,
            connection,
            key,
            since,
            received: 0,
            armed: Armed::default(),
            output: Output::default(),
            subscriptions: None,
            open: OnceCell::new(),
            stash: None,
            addr: addr.into(),
            unfinished: 0,
            tcp: Tcp::Open,
            input: Input::Empty,
            is_queued: false,
            is_heavy: false,
            paused: false,
            admission,
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr.into()
    }

    pub(super) fn id(&self, context: &Context) -> PeerId {
        let Key { slot, generation } = self.key;
        PeerId { worker: context.mailbox.worker(), slot, generation }
    }

    /// A way to reach it from any thread.
    pub(super) fn handle(&self, context: &Context) -> PeerHandle {
        let open = self.open.get_or_init(|| Arc::new(AtomicBool::new(true)));
        PeerHandle::new(self.id(context), Arc::clone(&context.mailbox), Arc::clone(open))
    }

    /// Handles reach it no more.
    pub(super) fn close_handles(&self) {
        if let Some(open) = self.open.get() {
            open.store(false, Ordering::Relaxed);
        }
    }

    /// Whether what it sends has an order beside what was posted to the worker: publications and commands
    /// may be for it.
    pub(super) fn is_posted_to(&self) -> bool {
        self.subscriptions.is_some() || self.open.get().is_some()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.tcp == Tcp::Lost
    }

    // ---- time ----------------------------------------------------------------------------------

    /// When to look at this connection next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.connection.next_deadline(), self.write_deadline()].into_iter().flatten().min()
    }

    /// When what waits has waited too long.
    fn write_deadline(&self) -> Option<Instant> {
        let timeout = self.connection.settings().timeouts.write;
        self.output.waiting_since()?.checked_add(timeout)
    }

    /// Whether what waits has waited too long.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.write_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Has the worker look again at its deadline, where that may have come closer.
    pub(super) fn arm(&mut self, context: &mut Context) {
        if let Some(deadline) = self.deadline() {
            context.timers.arm(self.key, &mut self.armed, deadline);
        }
    }

    /// Has the worker look at it again when a Ping may be due.
    pub(super) fn arm_for_ping(&mut self, context: &mut Context) {
        let period = self.connection.settings().timeouts.ping_period;
        if let Some(deadline) = period.and_then(|period| context.now.checked_add(period)) {
            context.timers.arm(self.key, &mut self.armed, deadline);
        }
    }

    // ---- subscriptions -------------------------------------------------------------------------

    /// Which frames of publications its peer can take.
    pub(super) fn encoding_state(&self) -> EncodingState {
        let fresh =
            || self.connection.window_for_topics().map(EncodingState::new).unwrap_or_default();
        self.subscriptions.as_ref().map_or_else(fresh, |subscriptions| subscriptions.state())
    }

    /// Publications were sent to it.
    pub(super) fn set_encoding_state(&mut self, state: EncodingState) {
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.set_state(state);
            self.lend_window();
        }
    }

    /// A topic's cohort has the peer's window, or has it no more.
    pub(super) fn lend_window(&mut self) {
        let state = self.subscriptions.as_ref().map(|subscriptions| subscriptions.state());
        self.connection.lend_window(state.is_some_and(|state| state.cohort().is_some()));
    }

    /// Lets go of subscriptions that are done.
    pub(super) fn tidy_subscriptions(&mut self, context: &mut Context) {
        if let Some(subscriptions) = &mut self.subscriptions {
            if subscriptions.has_gaps() {
                subscriptions.remove_done(&mut context.topics);
            }
            if subscriptions.is_empty() {
                self.subscriptions = None;
            }
            self.lend_window();
        }
    }

    /// Ends all subscriptions.
    pub(super) fn unsubscribe_all(&mut self, context: &mut Context) {
        if let Some(subscriptions) = self.subscriptions.take() {
            subscriptions.end(&mut context.topics);
        }
    }

    // ---- input ---------------------------------------------------------------------------------

    /// Whether the peer is listened to: not who does not read us, nor while the application wants to
    /// receive nothing.
    pub(super) fn is_heard(&self) -> bool {
        !self.output.is_full() && !self.paused
    }

    /// Whether there is something to serve, and may be served.
    pub(super) fn is_ready(&self) -> bool {
        (self.input != Input::Empty || self.stash.is_some())
            && (self.is_heard() || self.connection.ends_tcp())
    }

    /// The application receives again what it has put off.
    pub(super) fn resume(&mut self, context: &mut Context) {
        if std::mem::replace(&mut self.paused, false) {
            self.go_on(context);
        }
    }

    /// Goes on with input that was put off.
    pub(super) fn go_on(&mut self, context: &mut Context) {
        if self.is_ready() {
            context.enqueue(self);
        }
    }

    /// One read: into the rest of a large frame first where there is one, then into `buffer`. Gives
    /// how many bytes went where; none at all at the end of TCP.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context,
    ) -> io::Result<(usize, usize)> {
        let (read, room, in_place) = match self.connection.space(&mut context.pool) {
            None => (self.socket.read(buffer)?, buffer.len(), 0),
            Some(space) => {
                let (in_place, room) = (space.len(), space.len() + buffer.len());
                let slices = &mut [io::IoSliceMut::new(space), io::IoSliceMut::new(buffer)];
                (self.socket.read_vectored(slices)?, room, in_place)
            }
        };
        self.received += read as u64;
        context.spend(read as u64);
        // A read that leaves room has emptied the socket, but for an end that was announced. Where mio
        // makes the edges itself, only a read that would block arms the next one.
        if read < room && self.input != Input::Ending && !cfg!(windows) {
            self.input = Input::Empty;
        }
        Ok((read.min(in_place), read.saturating_sub(in_place)))
    }

    /// Counts what it holds of input that is not whole, `head` bytes of a request among it.
    #[inline]
    pub(super) fn count_unfinished(&mut self, head: usize, context: &mut Context) {
        let stash = self.stash.as_ref().map_or(0, |stash| stash.bytes.capacity());
        let held = self.connection.held().saturating_add(stash).saturating_add(head);
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        if held != self.unfinished {
            context.unfinished = context.unfinished - self.unfinished as usize + held as usize;
            // It has a deadline from its first byte on.
            if std::mem::replace(&mut self.unfinished, held) == 0 {
                self.arm(context);
            }
        }
    }

    /// How much it holds for how long: who has most of that is the first to give way.
    pub(super) fn burden(&self, now: Instant) -> u128 {
        let since = self.connection.held_since().unwrap_or(now);
        let age = now.saturating_duration_since(since).as_millis() + 1;
        u128::from(self.unfinished) * age
    }

    /// The one line that a finished connection leaves in the log.
    pub(super) fn log_end(&self, context: &Context) {
        let Some(reason) = self.connection.close_reason() else { return };
        let id = self.id(context);
        let (received, sent) = (self.received, self.output.sent());
        let addr = self.addr();
        let age = Duration::from_millis(10) * context.hundredths().saturating_sub(self.since);
        log::info!("{id} {addr} {reason}; in {received} B, out {sent} B, age {age:.1?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_at_rest_is_small() {
        // Beside it there are its service's box, eight bytes of the table and, in the system, its socket.
        let size = size_of::<Peer<mio::net::TcpStream>>();
        assert!(size <= 240, "{size} bytes");
    }
}
