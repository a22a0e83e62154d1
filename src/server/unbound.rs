//! A worker that is driven by hand: no listener, no poll, no clock of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use super::{Counters, Readiness, ServerBuilder, Shared, Socket, Stopper, turn::Reactor};
use crate::{mailbox::Mailbox, service::PeerId, slab::Key};

/// One worker without its poll, for simulations and measurements: the sockets are whatever implements
/// [`Socket`], and whoever drives it says [what became of them](Self::wake), what time it is, and when
/// [turns](Self::turn) are taken. All else is as in a [`Server`](super::Server) with one worker.
///
/// [`testing::Server`](crate::testing::Server) is this with clients at the other end.
pub struct Unbound<S: Socket> {
    reactor: Reactor<S>,
    shared: Arc<Shared>,
    /// A socket had news since the last turn.
    woken: bool,
}

impl<S: Socket> Unbound<S> {
    /// Takes a connection in and gives its name: `socket` is open to `addr`. `None` where it
    /// is dropped, as the server stops or has [too many](ServerBuilder::max_connections).
    pub fn connect(&mut self, socket: S, addr: SocketAddr) -> Option<PeerId> {
        let (_, admission) = self.shared.place()?;
        let (worker, mut id) = (self.mailbox().worker(), None);
        self.reactor.welcome(socket, addr, admission, |_, Key { slot, generation }| {
            id = Some(PeerId { worker, slot, generation });
            Ok(())
        });
        id
    }

    /// Something has become of a socket: it is read from, or written to, as the edge of a poll would have it.
    pub fn wake(&mut self, peer: PeerId, readiness: Readiness) {
        let _entered = self.reactor.enter();
        self.reactor.wake(Key { slot: peer.slot, generation: peer.generation }, readiness);
        self.woken = true;
    }

    /// Serves what sockets, other threads and the clock have brought since the last turn, and writes
    /// what came of it.
    pub fn turn(&mut self) {
        let _entered = self.reactor.enter();
        self.woken = false;
        self.reactor.next_deadline();
        self.reactor.turn();
    }

    /// Whether a turn is due: a socket has had news, the time of something has come, or there is more to do.
    pub fn has_work(&self) -> bool {
        let mailbox = self.mailbox();
        self.woken
            || self.reactor.has_work()
            || !mailbox.is_empty()
            || mailbox.is_stopping() && !self.reactor.is_stopping()
            || self.next_deadline().is_some_and(|next| next <= self.now())
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.reactor.now()
    }

    /// Moves the clock, which never goes back.
    pub fn set_now(&mut self, now: Instant) {
        self.reactor.set_now(now);
    }

    /// When there is something to do, if nothing happens before. Once it has stopped there is nothing.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.reactor.next_deadline().filter(|_| !self.has_stopped())
    }

    /// Stops it, from any thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.shared))
    }

    /// Whether it was stopped and every connection and task has ended.
    pub fn has_stopped(&self) -> bool {
        self.reactor.has_stopped()
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Has the waker called for the next letter of another thread, until [`wake_up`](Self::wake_up); gives
    /// whether none has come yet, so that this one may wait.
    pub fn fall_asleep(&self) -> bool {
        self.mailbox().fall_asleep(self.reactor.is_stopping())
    }

    /// Has the waker called no more.
    pub fn wake_up(&self) {
        self.mailbox().wake_up();
    }

    fn mailbox(&self) -> &Mailbox {
        &self.shared.workers[0].mailbox
    }
}

impl ServerBuilder {
    /// One worker that is driven by hand, whatever [`workers`](Self::workers) says, under a clock that
    /// stands at `now`. Periodic jobs are due a period after that. `waker` is called, from whichever
    /// thread, when something comes for a worker that sleeps.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) where two routes collide or one is malformed.
    pub fn unbound<S: Socket>(
        self,
        now: Instant,
        waker: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Unbound<S>> {
        let (max_connections, max_unfinished) = (self.max_connections, self.max_unfinished);
        let (routes, jobs) = self.build()?;
        let mailboxes = vec![Arc::new(Mailbox::new(waker))];
        let shared = Arc::new(Shared::new(mailboxes, max_connections, max_unfinished));
        let mut reactor = Reactor::new(0, routes, &shared, now);
        reactor.set_jobs(jobs);
        Ok(Unbound { reactor, shared, woken: false })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        collections::VecDeque,
        io::{Read, Write},
        rc::Rc,
    };

    use super::*;
    use crate::{Message, Peer, Request, Server, Service, Topic};

    const REQUEST: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// "Hello", masked with a key of zeros.
    const HELLO: &[u8] = b"\x81\x85\0\0\0\0Hello";

    /// Says whose it is when it is written to.
    struct Numbered {
        number: usize,
        input: Rc<RefCell<VecDeque<u8>>>,
        written: Rc<RefCell<Vec<usize>>>,
    }

    impl Read for Numbered {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.input.borrow_mut().read(buffer)
        }
    }

    impl Write for Numbered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.borrow_mut().push(self.number);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Numbered {
        fn shut_write(&self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Member(Topic);

    impl Service for Member {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
        }

        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            peer.publish(&self.0, message).unwrap();
        }
    }

    #[test]
    fn deliveries_go_through_the_members_forth_and_back() {
        let (forth, back) = ([0, 1, 2], [2, 1, 0]);
        assert_eq!(orders_among(3, &[]), [forth, back, forth].map(Vec::from));
        assert_eq!(orders_among(100, &[2]), [forth, back, forth].map(Vec::from));
    }

    /// In which order the first three of so many members hear three times, as some of them speak and one
    /// elsewhere.
    fn orders_among(count: usize, speakers: &[usize]) -> [Vec<usize>; 3] {
        let topic = Topic::new();
        let members = topic.clone();
        let make = move |_: &Request<'_>| Member(members.clone());
        let mut server =
            Server::builder().service("/", make).unbound(Instant::now(), || ()).unwrap();
        let written: Rc<RefCell<Vec<usize>>> = Rc::default();
        let members = Vec::from_iter((0..count).map(|number| {
            let input: Rc<RefCell<VecDeque<u8>>> = Rc::default();
            let (of_server, written) = (Rc::clone(&input), Rc::clone(&written));
            let socket = Numbered { number, input: of_server, written };
            (server.connect(socket, ([127, 0, 0, 1], 1).into()).unwrap(), input)
        }));
        let mut say = |numbers: &[usize], bytes: &[u8]| {
            for &number in numbers {
                let (id, input) = &members[number];
                input.borrow_mut().extend(bytes);
                server.wake(*id, Readiness { readable: true, ..Readiness::default() });
            }
            server.turn();
            written.take()
        };
        say(&Vec::from_iter(0..count), REQUEST);
        [(); 3].map(|()| {
            topic.publish("from elsewhere").unwrap();
            let mut order = say(speakers, HELLO);
            assert_eq!(order.len(), count, "all hear, and once");
            order.retain(|&number| number < 3);
            order
        })
    }

    /// Takes the response to the opening handshake, and nothing after it.
    struct Breaks(Numbered);

    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                read => Ok(read),
            }
        }
    }

    impl Write for Breaks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.written.borrow().is_empty() {
                return self.0.write(bytes);
            }
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Breaks {
        fn shut_write(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_connection_whose_socket_fails_when_it_is_written_to_ends_with_that_turn() {
        let make = |_: &Request<'_>| Member(Topic::new());
        let mut server =
            Server::builder().service("/", make).unbound(Instant::now(), || ()).unwrap();
        let input: Rc<RefCell<VecDeque<u8>>> = Rc::default();
        let socket = Numbered { number: 0, input: Rc::clone(&input), written: Rc::default() };
        let id = server.connect(Breaks(socket), ([127, 0, 0, 1], 1).into()).unwrap();
        // A Ping, which is answered by a Pong.
        for (bytes, open) in [(REQUEST, true), (b"\x89\x80\0\0\0\0", false)] {
            input.borrow_mut().extend(bytes);
            server.wake(id, Readiness { readable: true, ..Readiness::default() });
            server.turn();
            assert_eq!(Rc::strong_count(&input) == 2, open);
        }
    }
}
