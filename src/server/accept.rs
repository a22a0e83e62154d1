//! Accepting, without spinning and without losing a wake-up.
//!
//! The listener's edge comes once for any number of connections. Where the system cannot give one a
//! descriptor, no edge would come again: so accepting pauses for a moment and then tries by itself.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};

use super::{Admission, counters::Counters};

/// How long accepting pauses when the system has nothing to give.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection on its way to its worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) admission: Admission,
}

#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// The edge has come, and what it told of is not used up.
    ready: bool,
    paused_until: Option<Instant>,
    /// The current shortage is in the log.
    told: bool,
    counters: Arc<Counters>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, counters: Arc<Counters>) -> Self {
        Self { listener, ready: false, paused_until: None, told: false, counters }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }

    /// The edge has come.
    pub(super) fn wake(&mut self) {
        self.ready = true;
    }

    /// Whether there may be a connection right now.
    pub(super) fn is_ready(&self) -> bool {
        self.ready && self.paused_until.is_none()
    }

    /// When to try again.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// The next connection, if there is one.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        while self.ready {
            match self.listener.accept() {
                Ok(accepted) => {
                    self.told = false;
                    return Some(accepted);
                }
                Err(error) => self.handle(&error, now),
            }
            if self.paused_until.is_some() {
                return None;
            }
        }
        None
    }

    fn handle(&mut self, error: &io::Error, now: Instant) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.ready = false,
            // The peer is gone already, or a signal came: on to the next.
            io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset => {}
            // Out of descriptors or memory, which std does not tell apart.
            _ => {
                self.paused_until = Some(now + PAUSE);
                self.counters.accept_pauses.add(1);
                if !std::mem::replace(&mut self.told, true) {
                    log::warn!("no connection can be accepted for now: {error}");
                }
            }
        }
    }
}
