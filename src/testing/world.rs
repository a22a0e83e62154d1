//! A server and its clients, and what happens between them until nothing more does.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use super::{
    endpoint::Endpoint,
    pipe::{Found, Pipe, ServerEnd},
};
use crate::{
    server::{Readiness, ServerBuilder, Unbound},
    service::PeerId,
};

/// Most turns that one call takes. Who needs more has work without end.
const MAX_TURNS: usize = 200_000;

/// Bytes that a connection holds each way, where nothing else is said.
pub(super) const CAPACITY: usize = 64 << 10;

/// The server, everybody who is connected, and the clock.
pub(super) struct World {
    pub(super) worker: Unbound<ServerEnd>,
    callers: BTreeMap<u32, Caller>,
    called: u32,
    stirred: Stirred,
    /// Turns that the worker has taken.
    pub(super) turns: u64,
    pub(super) seed: u64,
    start: Instant,
    fingerprint: Fingerprint,
}

/// The numbers of those at whose connection either side has done something since bytes were last
/// exchanged. All others have nothing to exchange, and many of them cost nothing.
pub(super) type Stirred = Rc<RefCell<BTreeSet<u32>>>;

/// The client's side of a connection.
pub(super) struct Caller {
    pub(super) pipe: Rc<RefCell<Pipe>>,
    /// `None` where the server has dropped it unheard.
    pub(super) peer: Option<PeerId>,
    pub(super) path: String,
    /// Bytes that the connection has not taken yet.
    pub(super) unsent: VecDeque<u8>,
    /// Whether the end of this side follows them.
    pub(super) shut: bool,
    /// Bytes read of which nothing was made yet.
    pub(super) received: Vec<u8>,
    /// How much more is read.
    pub(super) appetite: usize,
    /// What has come behind all bytes.
    pub(super) end: Option<End>,
    /// What the server is to be told of.
    news: Readiness,
    /// Who makes messages of the bytes, once the opening handshake is done.
    pub(super) endpoint: Option<Box<Endpoint>>,
}

/// How the server's side of a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In order.
    Fin,
    /// By a reset.
    Reset,
}

impl World {
    #[track_caller]
    pub(super) fn new(builder: ServerBuilder, seed: u64) -> Self {
        let (start, driver) = (Instant::now(), thread::current());
        let worker = match builder.unbound(start, move || driver.unpark()) {
            Ok(worker) => worker,
            Err(error) => panic!("the server cannot be: {error}"),
        };
        let (callers, called, stirred, turns, fingerprint) = Default::default();
        Self { worker, callers, called, stirred, turns, seed, start, fingerprint }
    }

    /// Time since the beginning, by the clock that is moved by hand.
    pub(super) fn elapsed(&self) -> Duration {
        self.worker.now() - self.start
    }

    /// A new connection, without a word said: its number.
    pub(super) fn call(&mut self, path: &str, addr: Option<SocketAddr>, capacity: usize) -> u32 {
        let number = self.called;
        self.called += 1;
        let port = 49_152 + (number % 16_384) as u16;
        let addr = addr.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into());
        let pipe = Rc::new(RefCell::new(Pipe::new(capacity)));
        let end = ServerEnd::new(&pipe, number, &self.stirred);
        let peer = self.worker.connect(end, addr);
        let caller = Caller {
            pipe,
            peer,
            path: path.to_owned(),
            unsent: VecDeque::new(),
            shut: false,
            received: Vec::new(),
            appetite: usize::MAX,
            end: None,
            news: Readiness::default(),
            endpoint: None,
        };
        self.callers.insert(number, caller);
        self.stirred.borrow_mut().insert(number);
        number
    }

    /// Lends somebody's side, to do something with it.
    pub(super) fn caller(&mut self, number: u32) -> &mut Caller {
        self.stirred.borrow_mut().insert(number);
        self.callers.get_mut(&number).expect("a caller stays as long as its handle")
    }

    /// A caller closes its socket for good.
    pub(super) fn hang_up(&mut self, number: u32) {
        let Some(mut caller) = self.callers.remove(&number) else { return };
        caller.pipe.borrow_mut().write(&mut caller.unsent);
        let was_reset = caller.pipe.borrow_mut().close();
        if let Some(peer) = caller.peer {
            self.worker.wake(peer, if was_reset { Caller::RESET } else { Caller::FIN });
        }
    }

    // ---- what happens --------------------------------------------------------------------------

    /// Has everything happen that does without time passing.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        self.settle_within(&mut 0);
    }

    /// Moves the clock, and has everything happen in its time.
    #[track_caller]
    pub(super) fn advance(&mut self, time: Duration) {
        let target = self.worker.now() + time;
        let mut turns = 0;
        self.settle_within(&mut turns);
        while let Some(next) = self.worker.next_deadline().filter(|&next| next <= target) {
            self.worker.set_now(next);
            self.settle_within(&mut turns);
        }
        self.worker.set_now(target);
        self.settle_within(&mut turns);
    }

    #[track_caller]
    fn settle_within(&mut self, turns: &mut usize) {
        loop {
            self.exchange();
            if !self.worker.has_work() {
                return;
            }
            *turns += 1;
            assert!(
                *turns <= MAX_TURNS,
                "the server has work without end, {:?} after the beginning: after {MAX_TURNS} turns \
                 there is more to do. Does a task wake itself, or a service answer what it causes? Where \
                 it is only much, advance by less at once",
                self.elapsed(),
            );
            self.turns += 1;
            self.worker.turn();
        }
    }

    /// Brings bytes from one side to the other, and tells the server of it.
    fn exchange(&mut self) {
        let (now, elapsed) = (self.worker.now(), self.elapsed());
        while let Some(number) = { self.stirred.borrow_mut().pop_first() } {
            let Some(caller) = self.callers.get_mut(&number) else { continue };
            let has_read = caller.exchange(now, |direction, bytes| {
                self.fingerprint.add(&number.to_be_bytes());
                self.fingerprint.add(&elapsed.as_nanos().to_be_bytes());
                self.fingerprint.add(&[direction as u8]);
                self.fingerprint.add(bytes);
            });
            // Behind what was read may be the end.
            if has_read {
                self.stirred.borrow_mut().insert(number);
            }
            let news = std::mem::take(&mut caller.news);
            if news != Readiness::default()
                && let Some(peer) = caller.peer
            {
                self.worker.wake(peer, news);
            }
        }
    }

    /// Says why nothing more comes.
    pub(super) fn quiet(&self) -> String {
        match self.worker.next_deadline() {
            _ if self.worker.has_stopped() => "the server has stopped".to_owned(),
            Some(next) => format!(
                "all is quiet before time passes. The server's next deadline is in {:?}: `advance` lets it \
                 come",
                next - self.worker.now(),
            ),
            None => "all is quiet, and the server waits for no time either".to_owned(),
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint.0
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy)]
enum Direction {
    ToClient,
    ToServer,
}

impl Caller {
    /// Its side has ended.
    const FIN: Readiness =
        Readiness { readable: true, writable: false, read_closed: true, failed: false };

    /// TCP is gone.
    const RESET: Readiness =
        Readiness { readable: true, writable: true, read_closed: true, failed: true };

    /// Cuts TCP.
    pub(super) fn cut(&mut self) {
        self.pipe.borrow_mut().reset();
        self.unsent.clear();
        self.end = Some(End::Reset);
        self.news = Self::RESET;
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.lose();
        }
    }

    /// Reads and writes what there is, and tells `seen` of it; gives whether anything was read.
    fn exchange(&mut self, now: Instant, mut seen: impl FnMut(Direction, &[u8])) -> bool {
        let has_read = self.read(now, |bytes| seen(Direction::ToClient, bytes));
        let mut pipe = self.pipe.borrow_mut();
        let sent = pipe.write(&mut self.unsent);
        if !sent.is_empty() {
            seen(Direction::ToServer, &sent);
            self.news.readable = true;
        }
        if self.shut && self.unsent.is_empty() && self.end != Some(End::Reset) && pipe.shut() {
            self.news = Readiness { writable: self.news.writable, ..Self::FIN };
        }
        self.news.writable |= pipe.has_room_again();
        has_read
    }

    fn read(&mut self, now: Instant, seen: impl FnOnce(&[u8])) -> bool {
        let before = self.received.len();
        let found = self.pipe.borrow_mut().read(self.appetite, &mut self.received);
        match found {
            Found::Bytes(0) => return false,
            Found::Bytes(count) => {
                // An appetite without bounds stays so.
                if self.appetite < usize::MAX {
                    self.appetite -= count;
                }
                seen(&self.received[before..]);
            }
            Found::End => self.end = self.end.or(Some(End::Fin)),
            Found::Reset => self.end = self.end.or(Some(End::Reset)),
        }
        self.understand(now);
        matches!(found, Found::Bytes(_))
    }

    /// From now on `endpoint` makes something of the bytes.
    pub(super) fn upgrade(&mut self, endpoint: Endpoint, now: Instant) {
        self.endpoint = Some(Box::new(endpoint));
        self.understand(now);
    }

    fn understand(&mut self, now: Instant) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.take(&mut self.received, &mut self.unsent, now);
            if self.end.is_some() {
                endpoint.lose();
            }
            self.shut |= endpoint.ends_tcp();
        }
    }
}

/// What has passed between everybody, in one number (FNV-1a).
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
