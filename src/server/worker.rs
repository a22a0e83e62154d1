//! One thread's loop: wait, take in, gather, take a turn.

use std::{
    io,
    net::Shutdown,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};

use super::{
    NODELAY_IS_INHERITED, Shared,
    accept::{Acceptor, Arrival},
    patience::Patience,
    socket::Socket,
    turn::{Reactor, Readiness},
};
use crate::{mailbox::Mailbox, slab::Key};

/// Most connections accepted in a turn.
const ACCEPTS_A_TURN: usize = 256;

/// Most readiness events taken from the system at once.
const EVENTS: usize = 1024;

const LISTENER: Token = Token(usize::MAX);
pub(super) const WAKER: Token = Token(usize::MAX - 1);

/// One thread, its poll and its connections.
pub(super) struct Worker {
    number: usize,
    poll: Poll,
    reactor: Reactor<TcpStream>,
    shared: Arc<Shared>,
    acceptor: Option<Acceptor>,
    patience: Patience,
}

impl Socket for TcpStream {
    fn shut_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Worker {
    pub(super) fn new(
        number: usize,
        poll: Poll,
        mut reactor: Reactor<TcpStream>,
        shared: &Arc<Shared>,
    ) -> Self {
        reactor.set_clock(Instant::now);
        let patience = Patience::new(reactor.now());
        Self { number, poll, reactor, shared: Arc::clone(shared), acceptor: None, patience }
    }

    /// Has this worker accept for all.
    pub(super) fn listen(&mut self, mut acceptor: Acceptor) -> io::Result<()> {
        acceptor.register(self.poll.registry(), LISTENER)?;
        self.acceptor = Some(acceptor);
        Ok(())
    }

    /// Serves until the server is stopped and every connection has ended.
    ///
    /// # Errors
    /// Those of the system's poll.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let _entered = self.reactor.enter();
        let mut events = Events::with_capacity(EVENTS);
        while !self.reactor.has_stopped() {
            self.wait(&mut events)?;
            self.take_in(&events);
            self.accept();
            self.gather(&mut events)?;
            self.reactor.turn();
            self.patience.turned(self.reactor.now(), self.reactor.take_deliveries(), Instant::now);
            if self.reactor.is_stopping() {
                self.acceptor = None;
            }
        }
        Ok(())
    }

    fn mailbox(&self) -> &Mailbox {
        &self.shared.workers[self.number].mailbox
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let may_sleep = self.mailbox().fall_asleep(self.reactor.is_stopping())
            && !self.reactor.has_work()
            && !self.acceptor.as_ref().is_some_and(Acceptor::is_ready);
        let next = self.next_deadline();
        // The turn has taken a while, which is no time left.
        let left = |next: Instant| next.saturating_duration_since(Instant::now());
        let polled =
            self.poll(events, if may_sleep { next.map(left) } else { Some(Duration::ZERO) });
        self.mailbox().wake_up();
        polled
    }

    /// Asks the system for news, and what time it is.
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let polled = self.poll.poll(events, timeout);
        self.reactor.set_now(Instant::now());
        polled.or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        })
    }

    /// When there is something to do, if nothing happens before.
    fn next_deadline(&self) -> Option<Instant> {
        let accept = self.acceptor.as_ref().and_then(Acceptor::paused_until);
        [self.reactor.next_deadline(), accept].into_iter().flatten().min()
    }

    fn take_in(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                LISTENER => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.wake();
                    }
                }
                WAKER => {}
                token => self.take_event(token, event),
            }
        }
    }

    /// Waits a moment for what is about to be published, while one large fan-out follows another.
    fn gather(&mut self, events: &mut Events) -> io::Result<()> {
        while self.patience.is_tried(self.reactor.now())
            && let Some(pause) = self.patience.pause(self.reactor.gather())
        {
            thread::sleep(pause);
            self.poll(events, Some(Duration::ZERO))?;
            self.take_in(events);
        }
        Ok(())
    }

    fn take_event(&mut self, token: Token, event: &Event) {
        // Where another connection has the place by now, the event is stale.
        if let Some(key) = self.reactor.key_at(token.0 as u32)
            && token_of(key) == token
        {
            let read_closed = event.is_read_closed();
            let readiness = Readiness {
                readable: event.is_readable() || read_closed || event.is_error(),
                writable: event.is_writable() || event.is_write_closed(),
                read_closed,
                failed: event.is_error(),
            };
            self.reactor.wake(key, readiness);
        }
    }

    /// Takes in what the listener has, or the worker that listens has handed over.
    fn accept(&mut self) {
        let now = self.reactor.now();
        if self.mailbox().take_alert() {
            for arrival in self.shared.workers[self.number].arrivals() {
                self.welcome(arrival);
            }
        }
        for _ in 0..ACCEPTS_A_TURN {
            let accepted = self.acceptor.as_mut().and_then(|acceptor| acceptor.accept(now));
            let Some((socket, addr)) = accepted else { return };
            let Some((worker, admission)) = self.shared.place() else { continue };
            let arrival = Arrival { socket, addr, admission };
            if worker == self.number {
                self.welcome(arrival);
            } else {
                self.shared.workers[worker].hand_over(arrival);
            }
        }
    }

    fn welcome(&mut self, arrival: Arrival) {
        let Arrival { socket, addr, admission } = arrival;
        let registry = self.poll.registry();
        self.reactor.welcome(socket, addr, admission, |socket, key| {
            if !NODELAY_IS_INHERITED {
                socket.set_nodelay(true)?;
            }
            registry.register(socket, token_of(key), Interest::READABLE | Interest::WRITABLE)
        });
    }
}

fn token_of(key: Key) -> Token {
    // On 64 bits a token names a connection for ever; on 32 bits it names its place, and an event that
    // comes too late is one more wake-up for nothing.
    Token(((u64::from(key.generation) & 0x7fff_ffff) << 32 | u64::from(key.slot)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_connection() {
        let tokens = [(0, 0), (1, 0), (0, 1), (7, 3)]
            .map(|(slot, generation)| token_of(Key { slot, generation }).0);
        assert_eq!(tokens, [0, 1, 1 << 32, (3 << 32) + 7]);
    }
}
