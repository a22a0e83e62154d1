//! The event loop, the only room that knows mio.
//!
//! A server runs one worker a core, each a thread with its own poll, connections, timers and topics;
//! no connection moves between them and no lock is taken for a message. The first worker accepts for
//! all and hands each connection to the worker that has the fewest: so they are even to within one,
//! and a port in use is found out when it is bound, which listeners that share a port would hide.
//!
//! Where turns that publish to 64 members and more follow each other closely, a worker waits a moment for
//! what is about to be published, and hands it all out together. Whatever else it serves waits with it: for
//! half a millisecond at a time, and four times a turn at most.
//!
//! What a turn serves is bounded in work, for each connection and in all, so that what some send costs the
//! others little; what a connection may hold is bounded by [`Limits`] and [`Timeouts`], and what all hold of
//! unfinished input by [`max_unfinished`](ServerBuilder::max_unfinished). In what order things arrive is told
//! in [`topic::order`](crate::topic::order).
//!
//! What a connection costs, and what the system has to allow for many, is told in [`capacity`].

mod accept;
mod addr;
mod call;
#[doc = include_str!("capacity.md")]
pub mod capacity {}
mod connection;
mod context;
mod counters;
mod output;
mod patience;
mod serve;
mod socket;
mod timers;
mod turn;
mod unbound;
mod worker;

use std::{
    io, mem,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use accept::{Acceptor, Arrival};
pub use counters::{Count, Counters};
use mio::{Poll, Waker, net::TcpListener};
pub use socket::Socket;
use socket2::{Domain, Type};
pub use turn::Readiness;
use turn::{Job, Reactor};
pub use unbound::Unbound;
use worker::{WAKER, Worker};

use crate::{
    mailbox::Mailbox,
    protocol::{
        connection::{Mode, Settings},
        extension::{Extensions, deflate::Deflate},
        limits::{Limits, SettingError, Timeouts, in_range},
    },
    router::{IntoService, Route, Router, Routes},
    service::{Answer, Request},
};

/// Most connections at once, by default.
const MAX_CONNECTIONS: usize = 10_000;

/// Most workers: more threads than that only cost.
const MAX_WORKERS: usize = 1_024;

/// The longest period of a job, for one that may be longer than the clock can tell: a hundred years.
const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Most bytes of unfinished input in all, by default.
const MAX_UNFINISHED: usize = 256 << 20;

/// Connections that may wait to be accepted; the system may have a lower limit of its own.
const BACKLOG: i32 = 1_024;

/// Whether a connection that is accepted has the listener's TCP_NODELAY, which spares a system call for
/// each.
const NODELAY_IS_INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Most connections over the limit that are being told so at once; more are dropped unheard.
const MAX_OVER_LIMIT: usize = 128;

/// A server that is bound to its address.
pub struct Server {
    addr: SocketAddr,
    /// One a worker; its services stay on its thread, so it is made there.
    polls: Vec<Poll>,
    acceptor: Acceptor,
    jobs: Vec<Job>,
    routes: Arc<Routes>,
    shared: Arc<Shared>,
}

/// What a server is made of, before it is bound.
#[must_use]
pub struct ServerBuilder {
    router: Router,
    workers: Option<usize>,
    max_connections: usize,
    max_unfinished: usize,
    limits: Limits,
    timeouts: Timeouts,
    deflate: Option<Deflate>,
    extensions: Extensions,
    jobs: Vec<Job>,
}

/// Stops a server from any thread.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

/// Whether a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// It is.
    Welcome,
    /// It is over the limit: its request is answered with 503.
    OverLimit,
}

/// What all workers of a server share.
struct Shared {
    workers: Vec<Place>,
    /// Connections over the limit.
    over_limit: AtomicUsize,
    max_connections: usize,
    max_unfinished: usize,
    counters: Arc<Counters>,
}

/// How a worker is reached.
struct Place {
    mailbox: Arc<Mailbox>,
    /// Connections that it has.
    open: AtomicUsize,
    /// Connections that the worker which listens has for it. Their number has its own limit.
    arrivals: Mutex<Vec<Arrival>>,
}

impl Server {
    /// A server with the defaults: one worker a core, 10,000 connections, the default
    /// [`Limits`] and [`Timeouts`], and no route.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            router: Router::new(),
            workers: None,
            max_connections: MAX_CONNECTIONS,
            max_unfinished: MAX_UNFINISHED,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            deflate: None,
            extensions: Extensions::new(),
            jobs: Vec::new(),
        }
    }

    /// The address it is bound to; the port that the system chose, where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// A way to stop it from any thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.shared))
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until it is stopped: this thread is its first worker.
    ///
    /// # Errors
    /// Those of the system, where a thread cannot be made or cannot wait for its sockets. The other
    /// workers are stopped then.
    pub fn run(self) -> io::Result<()> {
        let Self { polls, acceptor, jobs, routes, shared, .. } = self;
        let stopper = Stopper(Arc::clone(&shared));
        let mut polls = polls.into_iter().zip(0..);
        let (poll, number) = polls.next().expect("a server has at least one worker");
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let spawned = polls.try_for_each(|(poll, number)| {
                let (routes, shared, stopper) = (&routes, &shared, stopper.clone());
                let run = move || {
                    let _together = Together(stopper);
                    let reactor = Reactor::new(number, Arc::clone(routes), shared, Instant::now());
                    Worker::new(number, poll, reactor, shared).run()
                };
                let name = format!("chinwag-{number}");
                threads.push(thread::Builder::new().name(name).spawn_scoped(scope, run)?);
                Ok(())
            });
            let together = Together(stopper);
            let mut reactor = Reactor::new(number, routes.clone(), &shared, Instant::now());
            reactor.set_jobs(jobs);
            let mut first = Worker::new(number, poll, reactor, &shared);
            let mut result =
                spawned.and_then(|()| first.listen(acceptor)).and_then(|()| first.run());
            drop(together);
            for thread in threads {
                let panicked = |_| Err(io::Error::other("a worker panicked"));
                result = result.and(thread.join().unwrap_or_else(panicked));
            }
            // Connections that were handed to a worker at its very end, whose peers would wait as long
            // as a `Stopper` or a handle lives.
            shared.workers.iter().for_each(|place| drop(place.arrivals()));
            result
        })
    }
}

/// Stops all workers when one ends, whatever ends it.
struct Together(Stopper);

impl Drop for Together {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl ServerBuilder {
    /// What is served where, instead of all that was said of that before.
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// [`Router::get`] of this server's router.
    pub fn get(
        mut self,
        path: impl Into<String>,
        page: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.router = self.router.get(path, page);
        self
    }

    /// [`Router::route`] of this server's router.
    pub fn route(mut self, path: impl Into<String>, route: Route) -> Self {
        self.router = self.router.route(path, route);
        self
    }

    /// [`Router::service`] of this server's router.
    pub fn service<S: IntoService>(
        mut self,
        path: impl Into<String>,
        make: impl Fn(&Request<'_>) -> S + Send + Sync + 'static,
    ) -> Self {
        self.router = self.router.service(path, make);
        self
    }

    /// [`Router::service_raw`] of this server's router.
    pub fn service_raw<S: IntoService>(
        mut self,
        path: impl Into<String>,
        make: impl Fn(&Request<'_>) -> S + Send + Sync + 'static,
    ) -> Self {
        self.router = self.router.service_raw(path, make);
        self
    }

    /// How many threads serve: at most 1,024, and one where 0 is given. Default: one a core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Most connections at once, requests included. Default 10,000, at least 1. More are answered with 503.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Most bytes of memory that all connections together hold for input that is not whole: heads of
    /// requests, messages whose end has not come, inflated or not, and what was read and is not served yet.
    /// Default 256 MiB; each worker has an equal part. Over it, those connections that hold most for longest
    /// are closed with 1013 `too much unfinished input`, or answered with 503, until a quarter of it is free.
    /// [`Limits`] bound what each of them holds, and [`Timeouts::message`] for how long.
    pub fn max_unfinished(mut self, bytes: usize) -> Self {
        self.max_unfinished = bytes;
        self
    }

    /// Bounds for every route that has none of its own.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Deadlines for every route that has none of its own.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Silence after which a client is pinged, for every route that has no timeouts of its own; `None`
    /// sends no pings. Default 20 s, not 0. It is [`Timeouts::ping_period`].
    pub fn ping_period(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.timeouts.ping_period = period.into();
        self
    }

    /// How long a client may take to answer a ping, for every route that has no timeouts of its own;
    /// then it is closed with 1011 `Ping timeout`. Default 20 s, not 0. It is [`Timeouts::pong`], and of no
    /// effect where no pings are sent.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.pong = timeout;
        self
    }

    /// Largest frame accepted, and largest message, all its frames together: bytes, for every route
    /// that has no limits of its own. More is closed with 1009. Default 1 MiB. These are
    /// [`Limits::max_frame`] and [`Limits::max_message`].
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.limits.max_frame = bytes;
        self.limits.max_message = bytes;
        self
    }

    /// Agrees to compress messages (RFC 7692) with clients that offer it, on every route that does not
    /// say otherwise. By default nothing is compressed.
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.deflate = Some(deflate);
        self
    }

    /// Agrees on extensions of one's own (§9) with clients that offer them, on every route that does not
    /// say otherwise.
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Has `job` done every `period` of at least a millisecond, with the time, on the first worker's
    /// thread: so it must be short. Where a turn has taken longer than the period, it is called once for
    /// all that was missed. A panic in it is logged, and it is called again.
    pub fn every(mut self, period: Duration, job: impl FnMut(Instant) + Send + 'static) -> Self {
        let period = period.clamp(Duration::from_millis(1), LONGEST_PERIOD);
        // When it is next is said by the worker that takes it over.
        self.jobs.push(Job { period, next: Instant::now(), run: Box::new(job) });
        self
    }

    /// Binds the first of `addr` that can be bound; port 0 has the system choose one.
    ///
    /// # Errors
    /// Those of the system, such as an address in use; and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) where two routes collide, one is malformed, two
    /// extensions do not go together, or a setting is out of its range or contradicts another one; the
    /// text names it, and its route.
    pub fn bind(self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        let (max_connections, workers) = (self.max_connections, self.workers);
        let max_unfinished = self.max_unfinished;
        let (routes, jobs) = self.build()?;
        let listener = bind_first(addr)?;
        let addr = listener.local_addr()?;

        let cores = || thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let count = workers.unwrap_or_else(cores).max(1);
        let polls = (0..count).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes = polls
            .iter()
            .map(|poll| {
                let waker = Waker::new(poll.registry(), WAKER)?;
                Ok(Arc::new(Mailbox::new(move || {
                    if let Err(error) = waker.wake() {
                        log::error!("a worker could not be woken: {error}");
                    }
                })))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let shared = Arc::new(Shared::new(mailboxes, max_connections, max_unfinished));

        Ok(Server {
            addr,
            polls,
            acceptor: Acceptor::new(listener, Arc::clone(&shared.counters)),
            jobs,
            routes,
            shared,
        })
    }

    /// What is served, and what is done at times.
    fn build(self) -> io::Result<(Arc<Routes>, Vec<Job>)> {
        self.check().map_err(invalid)?;
        let Self { limits, timeouts, deflate, extensions, .. } = self;
        let defaults = Settings { limits, timeouts, mode: Mode::Messages, deflate, extensions };
        let routes = self.router.build(defaults).map_err(invalid)?;
        Ok((Arc::new(routes), self.jobs))
    }

    /// Whether a server can work with what is its own among the settings.
    fn check(&self) -> Result<(), SettingError> {
        in_range("workers", self.workers.unwrap_or(1), ..=MAX_WORKERS)?;
        in_range("max_connections", self.max_connections, 1..)
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

fn bind_first(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut result = Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to bind"));
    for addr in addr.to_socket_addrs()? {
        result = listen(addr);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// A listener as mio and std make one, with a longer queue of connections that are not yet accepted.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // A port may be bound again while connections of the last process fade; on Windows the option
    // would let two processes share it.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    // A turn's output leaves in one piece, so nothing is gained by holding it back (RFC 896).
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Stopper {
    /// Stops the server: it accepts nothing more, closes every connection with 1001, sends what
    /// waits, and [`Server::run`] returns when all have ended or 5 s have passed. Asking again changes
    /// nothing.
    pub fn stop(&self) {
        self.0.workers.iter().for_each(|place| place.mailbox.stop());
    }
}

impl Place {
    /// Hands a connection over.
    fn hand_over(&self, arrival: Arrival) {
        self.lock().push(arrival);
        self.mailbox.alert();
    }

    /// The connections that were handed over.
    fn arrivals(&self) -> Vec<Arrival> {
        mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn new(mailboxes: Vec<Arc<Mailbox>>, max_connections: usize, max_unfinished: usize) -> Self {
        let place =
            |mailbox| Place { mailbox, open: AtomicUsize::new(0), arrivals: Mutex::default() };
        Self {
            workers: mailboxes.into_iter().map(place).collect(),
            over_limit: AtomicUsize::new(0),
            max_connections,
            max_unfinished,
            counters: Arc::default(),
        }
    }

    /// The worker that the next connection goes to, and whether it is served; `None` where it is
    /// dropped.
    fn place(&self) -> Option<(usize, Admission)> {
        let load = |place: &Place| place.open.load(Ordering::Relaxed);
        let (worker, place) = (0..).zip(&self.workers).min_by_key(|(_, place)| load(place))?;
        if self.workers.iter().map(load).sum::<usize>() < self.max_connections {
            place.open.fetch_add(1, Ordering::Relaxed);
            self.counters.accepted.add(1);
            return Some((worker, Admission::Welcome));
        }
        if self.over_limit.load(Ordering::Relaxed) < MAX_OVER_LIMIT {
            self.over_limit.fetch_add(1, Ordering::Relaxed);
            self.counters.over_limit.add(1);
            return Some((worker, Admission::OverLimit));
        }
        self.counters.turned_away.add(1);
        None
    }

    /// A connection of `worker` has ended.
    fn leave(&self, worker: usize, admission: Admission) {
        let count = match admission {
            Admission::Welcome => {
                self.counters.ended.add(1);
                &self.workers[worker].open
            }
            Admission::OverLimit => &self.over_limit,
        };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn a_connection_inherits_that_nothing_is_held_back() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = loop {
            match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                accepted => break accepted.unwrap().0,
            }
        };
        assert!(NODELAY_IS_INHERITED && accepted.nodelay().unwrap());
    }
}
