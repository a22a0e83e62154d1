//! Tests without a network: a server and its clients in memory, under a clock that is moved by hand.
//!
//! A [`Server`] is made of the very [`ServerBuilder`] that an application binds: its routes, limits,
//! timeouts and [jobs](ServerBuilder::every) all hold, and the worker is the one that serves sockets. A
//! [`Client`] is the engine's client side. Between the two are connections in memory that hold so many
//! bytes and no more, so that slow readers and broken connections can be tested as well.
//!
//! ```
//! use std::time::Duration;
//!
//! use chinwag::{CloseCode, Message, Server, Session, testing};
//!
//! let builder = Server::builder().websocket("/echo", |mut session: Session| async move {
//!     session.send("Please enter your name").await?;
//!     while let Some(message) = session.recv().await {
//!         let Message::Text(name) = message else { continue };
//!         if name.eq_ignore_ascii_case("bye") {
//!             return session.close(CloseCode::NORMAL, "Client said BYE").await;
//!         }
//!         session.send(format!("Hi, {name}!")).await?;
//!     }
//!     Ok(())
//! });
//! let server = testing::Server::new(builder);
//!
//! let mut client = server.connect("/echo").unwrap();
//! assert_eq!(client.recv_text(), "Please enter your name");
//! client.send("JetBrains");
//! assert_eq!(client.recv_text(), "Hi, JetBrains!");
//! client.send("bye");
//! let close = client.recv_close();
//! assert_eq!((close.code, &*close.text), (CloseCode::NORMAL, "Client said BYE"));
//!
//! // Who sleeps is found out by a Ping: here in no time.
//! let mut client = server.connect("/echo").unwrap();
//! client.ignore_pings();
//! server.advance(Duration::from_secs(60));
//! assert_eq!(client.recv_text(), "Please enter your name");
//! assert_eq!(&*client.recv_close().text, "Ping timeout");
//! ```
//!
//! # What happens when
//!
//! Whatever a test does, all that comes of it has happened when the call returns: turns of the worker
//! are taken until nothing is left to do, tasks of sessions included. What takes time happens in
//! [`Server::advance`], which goes from deadline to deadline. So a message that is not there yet does
//! not come by itself, and [`Client::recv`] says so instead of waiting.
//!
//! The same scenario with the same [seed](Server::with_seed) runs the same way, byte by byte, as long
//! as the application asks neither the system's clock nor its dice: [`Peer::now`](crate::Peer::now) is
//! the clock here, and [`session::sleep`](crate::session::sleep) waits by it.
//!
//! Other threads may reach the server all the same, by handles, topics and wakers. What they do happens
//! at the next call; [`Server::run_until`] waits for it.
//!
//! There is one worker, on the thread of the test, whatever the builder says; what several do to each
//! other is for tests over sockets.

mod client;
mod connect;
mod endpoint;
mod pipe;
mod stream;
#[cfg(test)]
mod tests;
mod world;

use std::{
    cell::RefCell,
    fmt,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub use client::Client;
pub use connect::{Connect, Pending};
pub use stream::Stream;
use world::{CAPACITY, World};

use crate::{
    protocol::handshake::{Head, Response},
    server::{Counters, ServerBuilder, Stopper},
};

/// How often a condition is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A server in memory.
pub struct Server(Rc<RefCell<World>>);

impl Server {
    /// What `builder` would bind, in memory, with seed 0.
    ///
    /// # Panics
    /// Where two routes collide or one is malformed.
    #[track_caller]
    pub fn new(builder: ServerBuilder) -> Self {
        Self::with_seed(builder, 0)
    }

    /// As [`new`](Self::new); `seed` decides on the keys and masks of the clients.
    ///
    /// # Panics
    /// Where two routes collide or one is malformed.
    #[track_caller]
    pub fn with_seed(builder: ServerBuilder, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(World::new(builder, seed))))
    }

    // ---- callers -------------------------------------------------------------------------------

    /// Connects a client to `path`, which may have a query.
    ///
    /// # Errors
    /// The answer, where the server refuses.
    ///
    /// # Panics
    /// Where no answer comes without time passing: [`Connect::start`] then.
    #[track_caller]
    pub fn connect(&self, path: &str) -> Result<Client, Reply> {
        self.client().connect(path)
    }

    /// A client whose request says more than its path.
    pub fn client(&self) -> Connect {
        Connect::new(&self.0)
    }

    /// Opens TCP and says nothing. Where the server has stopped, or is far over its limit of connections,
    /// the stream [has ended](Stream::has_ended) already.
    #[track_caller]
    pub fn open(&self) -> Stream {
        let number = self.0.borrow_mut().call("no path", None, CAPACITY);
        let stream = Stream::new(&self.0, number);
        stream.settle();
        stream
    }

    /// The answer to a GET request for `path`.
    ///
    /// # Panics
    /// As [`request`](Self::request).
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.request(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// The answer to these bytes.
    ///
    /// # Panics
    /// Where no answer comes without time passing, or one that is none.
    #[track_caller]
    pub fn request(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.open();
        stream.send_bytes(request);
        let reply = {
            let caller = stream.caller();
            Reply::read(&caller.received, caller.end.is_some())
        };
        reply.unwrap_or_else(|| stream.panic("an answer to its request")).0
    }

    /// Connections that have not ended, those that were only told that there are too many not counted.
    pub fn connections(&self) -> u64 {
        let counters = self.counters();
        counters.accepted.get() - counters.ended.get()
    }

    // ---- time ----------------------------------------------------------------------------------

    /// Lets time pass: from deadline to deadline, each with all that comes of it.
    ///
    /// # Panics
    /// Where that is work without end.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.0.borrow_mut().advance(time);
    }

    /// The server's time.
    pub fn now(&self) -> Instant {
        self.0.borrow().worker.now()
    }

    /// Time since it was made.
    pub fn elapsed(&self) -> Duration {
        self.0.borrow().elapsed()
    }

    /// Waits for other threads, whose doings reach the server meanwhile, until `condition` holds. The
    /// server's clock stands still.
    ///
    /// # Panics
    /// Where that takes longer than `bound` of the system's time.
    #[track_caller]
    pub fn run_until(&self, mut condition: impl FnMut() -> bool, bound: Duration) {
        let start = Instant::now();
        loop {
            self.0.borrow_mut().settle();
            if condition() {
                return;
            }
            assert!(start.elapsed() < bound, "what was waited for has not come in {bound:?}");
            // A letter ends the pause at once; of what else the condition hears nobody tells.
            if self.0.borrow().worker.fall_asleep() {
                thread::park_timeout(LOOK_EVERY);
            }
            self.0.borrow().worker.wake_up();
        }
    }

    // ---- the end -------------------------------------------------------------------------------

    /// Stops the server: everybody hears 1001. Who takes their time has it when [time
    /// passes](Self::advance).
    #[track_caller]
    pub fn stop(&self) {
        self.stopper().stop();
        self.0.borrow_mut().settle();
    }

    /// A way to stop it from any thread.
    pub fn stopper(&self) -> Stopper {
        self.0.borrow().worker.stopper()
    }

    /// Whether it was stopped and every connection and task has ended.
    pub fn has_stopped(&self) -> bool {
        self.0.borrow().worker.has_stopped()
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        self.0.borrow().worker.counters()
    }

    /// Turns that its worker has taken so far: what work was, for tests that bound it.
    pub fn turns(&self) -> u64 {
        self.0.borrow().turns
    }

    /// One number for every byte that has passed, which way, over which connection and when. Two runs of
    /// one scenario have the same.
    pub fn fingerprint(&self) -> u64 {
        self.0.borrow().fingerprint()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// An HTTP answer as a client gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header names and values in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of the first header called `name`, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The whole answer at the front of `bytes`, behind which nothing comes if they have `ended`, and its
    /// length; behind an agreement to an upgrade there are frames.
    #[track_caller]
    fn read(bytes: &[u8], ended: bool) -> Option<(Self, usize)> {
        let limits = endpoint::limits();
        let head = Head::read(bytes, &limits).ok()?;
        let response = match Response::parse(&head, &limits) {
            Ok(response) => response,
            Err(error) => panic!("the answer is none of HTTP: {error}"),
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers = response.headers.iter();
        let headers = headers.map(|&(name, value)| (name.to_owned(), text(value))).collect();
        let mut reply = Self { status: response.status, headers, body: Vec::new() };
        let start = head.as_bytes().len();
        if reply.status == 101 {
            return Some((reply, start));
        }
        reply.body = bytes[start..].to_vec();
        let announced = reply.header("Content-Length").and_then(|len| len.parse().ok());
        (ended || announced == Some(reply.body.len())).then_some((reply, bytes.len()))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.text())
            .finish()
    }
}
