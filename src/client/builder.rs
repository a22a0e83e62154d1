//! What is asked of a server, and how it is reached.

use std::{
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Client,
    error::ConnectError,
    opening::Opening,
    reach::reach,
    receiver::{Received, Receiver},
    stream::Stream,
    url::Url,
    wire::{Shared, Wire},
};
use crate::{
    Frame, Limits, Message, Timeouts,
    guard::{Panicked, guard},
    protocol::{
        connection::{Connection, Settings},
        extension::{Extensions, deflate::Deflate},
        handshake::ClientRequest,
        limits::in_range,
    },
};

/// Settings of a client, for any number of connections. They are checked when it connects:
/// [`ConnectError::Setting`] names one with which no connection can work.
///
/// ```no_run
/// use std::time::Duration;
/// use chinwag::{Deflate, client::Client};
///
/// let client = Client::builder()
///     .origin("https://example.org")
///     .header("Authorization", "Bearer 123")
///     .protocol("chat.v2")
///     .deflate(Deflate::default())
///     .read_timeout(Some(Duration::from_secs(30)))
///     .connect("ws://example.org/chat")?;
/// assert_eq!(client.protocol(), Some("chat.v2"));
/// # Ok::<(), chinwag::client::ConnectError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
    settings: Settings,
    connect_timeout: Duration,
    read_timeout: Option<Duration>,
}

/// Room for what is read at once: bytes.
const READ_BUFFER: usize = 64 << 10;

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            protocols: Vec::new(),
            settings: Settings::default(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: None,
        }
    }
}

impl ClientBuilder {
    /// One more header of the request, such as Authorization or Cookie. Those of the handshake itself
    /// (Host, Sec-WebSocket-…) make [`connect`](Self::connect) fail, and so does what no header may hold.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The Origin header (§10.2). Programs need none; a server may ask for one all the same.
    #[must_use]
    pub fn origin(self, origin: impl Into<String>) -> Self {
        self.header("Origin", origin)
    }

    /// Offers one more subprotocol (§1.9); those offered first are preferred.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocols.push(name.into());
        self
    }

    /// Offers compression (RFC 7692); without this none is offered.
    #[must_use]
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.settings.deflate = Some(deflate);
        self
    }

    /// Offers extensions of one's own too (§9.1); without this none are offered.
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.settings.extensions = extensions;
        self
    }

    /// Bounds of what the server may send; what concerns a server's backlog is of no meaning here.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Bounds of time after TCP is connected: the opening handshake, Pings of our own and their Pongs,
    /// the closing handshake, and for how long the server may take nothing of what is sent.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.settings.timeouts = timeouts;
        self
    }

    /// Silence after which the server is pinged; `None` sends no pings. Default 20 s. It is
    /// [`Timeouts::ping_period`].
    #[must_use]
    pub fn ping_period(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.ping_period = period.into();
        self
    }

    /// For how long the server may take nothing of what is sent; then the connection is lost. Default
    /// 10 s. It is [`Timeouts::write`].
    #[must_use]
    pub fn write_timeout(mut self, wait: Duration) -> Self {
        self.settings.timeouts.write = wait;
        self
    }

    /// How long it may take to connect TCP, all addresses of the host together: the next one is tried
    /// as soon as one fails, or has not answered for 250 ms, and the first that connects wins (RFC 8305).
    /// Default 10 s, not 0. The time to look up the name counts too, but the system has its own bounds
    /// for that.
    #[must_use]
    pub fn connect_timeout(mut self, wait: Duration) -> Self {
        self.connect_timeout = wait;
        self
    }

    /// How long [`recv`](Client::recv) waits for a message; `None` (the default) for as long as it
    /// takes, and zero to look at what has come.
    #[must_use]
    pub fn read_timeout(mut self, wait: Option<Duration>) -> Self {
        self.read_timeout = wait;
        self
    }

    /// Connects to `url`, which is one of `ws:`, and does the opening handshake (§4.1).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(&self, url: &str) -> Result<Client, ConnectError> {
        self.over_tcp(url, |socket| socket)
    }

    /// Connects in raw mode: [`recv`](Client::recv) gives every frame, checked, and the caller answers
    /// Ping and Close; see [`protocol::connection`](crate::protocol::connection#raw-mode).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_raw(&self, url: &str) -> Result<Client<Frame<'static>>, ConnectError> {
        self.over_tcp(url, |socket| socket)
    }

    /// Does the opening handshake over a stream that leads to the server already: TLS, a Unix socket,
    /// a tunnel. `url` says what to ask for, and is one of `wss:` where the stream is secure.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_over<S: Stream>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<Client<Message<'static>, S>, ConnectError> {
        self.over_stream(stream, url)
    }

    /// The same in [raw mode](Self::connect_raw).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_raw_over<S: Stream>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<Client<Frame<'static>, S>, ConnectError> {
        self.over_stream(stream, url)
    }

    /// Connects to `url`, which is one of `ws:`, over whatever `wrap` makes of the socket: something
    /// that counts or shows what passes, say.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_through<S: Stream>(
        &self,
        url: &str,
        wrap: impl FnOnce(TcpStream) -> S,
    ) -> Result<Client<Message<'static>, S>, ConnectError> {
        self.over_tcp(url, wrap)
    }

    fn over_tcp<T: Received, S: Stream>(
        &self,
        url: &str,
        wrap: impl FnOnce(TcpStream) -> S,
    ) -> Result<Client<T, S>, ConnectError> {
        let url = Url::parse(url)?;
        if url.secure {
            return Err(ConnectError::Tls);
        }
        guarded(|| {
            // What may not be asked for is known before anything is sent.
            let settings = self.settings::<T>()?;
            self.with_request(&url, &settings, |request| request.encode())?;
            self.open(wrap(self.reach(&url)?), &url, settings)
        })
    }

    fn over_stream<T: Received, S: Stream>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<Client<T, S>, ConnectError> {
        let url = Url::parse(url)?;
        guarded(|| self.open(stream, &url, self.settings::<T>()?))
    }

    /// The settings of a connection, with which one can work.
    fn settings<T: Received>(&self) -> Result<Settings, ConnectError> {
        let settings = Settings { mode: T::MODE, ..self.settings.clone() };
        settings.check()?;
        let least = Duration::from_nanos(1);
        in_range("ClientBuilder::connect_timeout", self.connect_timeout, least..)?;
        settings.check_extensions()?;
        Ok(settings)
    }

    fn reach(&self, url: &Url<'_>) -> Result<TcpStream, ConnectError> {
        let until = deadline(self.connect_timeout);
        let addrs = (url.host(), url.port).to_socket_addrs().map_err(ConnectError::Resolve)?;
        reach(addrs, until).map_err(ConnectError::Connect)
    }

    fn open<T: Received, S: Stream>(
        &self,
        mut stream: S,
        url: &Url<'_>,
        settings: Settings,
    ) -> Result<Client<T, S>, ConnectError> {
        let settings = Arc::new(settings);
        let mut buffer = vec![0; READ_BUFFER].into_boxed_slice();
        let until = deadline(settings.timeouts.handshake);
        let (accepted, unread) = self.with_request(url, &settings, |request| {
            Opening { stream: &mut stream, until }.run(request, &settings, &mut buffer)
        })?;

        let now = Instant::now();
        let mut connection = Connection::client(Arc::clone(&settings), rand::random(), now);
        connection.upgrade(settings, now);
        connection.agree_on(accepted.terms);
        let wire = Wire { stream, shared: Arc::new(Shared::new(connection)) };
        let receiver = Receiver::new(wire, buffer, unread, self.read_timeout);
        Ok(Client { receiver, protocol: accepted.protocol, headers: accepted.headers })
    }

    /// What is asked of `url`, with a nonce of its own (§4.1).
    fn with_request<R>(
        &self,
        url: &Url<'_>,
        settings: &Settings,
        run: impl FnOnce(&ClientRequest<'_>) -> R,
    ) -> R {
        let protocols: Vec<_> = self.protocols.iter().map(String::as_str).collect();
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        run(&ClientRequest {
            host: &url.authority(),
            target: &url.target,
            nonce: rand::random(),
            protocols: &protocols,
            extensions: &settings.offers(),
            headers: &headers,
        })
    }
}

/// Connects, which calls the code of extensions, and what makes a stream of the socket.
fn guarded<C>(connect: impl FnOnce() -> Result<C, ConnectError>) -> Result<C, ConnectError> {
    guard(connect).unwrap_or_else(|Panicked| {
        log::error!("the code of an extension or of a stream panicked in connecting");
        Err(ConnectError::Panicked)
    })
}

/// When `wait` is over; a year stands for what the clock cannot tell.
fn deadline(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(365 * 86_400))
}
