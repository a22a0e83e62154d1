//! A plain blocking client over the engine, for tests where sockets are the matter.
#![allow(dead_code, reason = "each test uses its own part")]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use chinwag::Deflate;
use chinwag::{
    CloseCode, CloseReason, Frame, Message, Router, Server, ServerBuilder, Stopper,
    protocol::{
        buffer::Pool,
        connection::{Connection, Event, Settings, State},
        extension,
        limits::{Limits, Timeouts},
    },
};

/// Nothing in a test takes longer than this.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a port of its own; stopped and joined when dropped.
pub struct Running {
    pub addr: SocketAddr,
    pub stopper: Stopper,
    pub counters: Arc<chinwag::server::Counters>,
    /// The first worker's directory under `/proc`.
    #[cfg(target_os = "linux")]
    pub task: std::path::PathBuf,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub fn start(builder: ServerBuilder) -> Self {
        Self::serve(builder.bind("127.0.0.1:0").expect("a port is free"))
    }

    /// Runs a server that is bound already.
    pub fn serve(server: Server) -> Self {
        let (addr, stopper, counters) = (server.local_addr(), server.stopper(), server.counters());
        let (tell, told) = std::sync::mpsc::channel();
        let thread = Some(thread::spawn(move || {
            tell.send(std::fs::read_link("/proc/thread-self")).unwrap();
            server.run()
        }));
        let task = told.recv().unwrap();
        Self {
            addr,
            stopper,
            counters,
            #[cfg(target_os = "linux")]
            task: std::path::Path::new("/proc").join(task.unwrap()),
            thread,
        }
    }

    pub fn router(router: Router) -> Self {
        Self::start(Server::builder().router(router).workers(2))
    }

    pub fn connect(&self, path: &str) -> Client {
        Client::connect(self.addr, path)
    }

    /// Connections that have not ended.
    pub fn open(&self) -> u64 {
        let ended = self.counters.ended.get();
        self.counters.accepted.get() - ended
    }

    /// Time that the first worker has spent on a processor.
    #[cfg(target_os = "linux")]
    pub fn cpu_time(&self) -> Duration {
        cpu_time(&self.task)
    }

    /// Stops it, and gives how long that took.
    pub fn stop(mut self) -> Duration {
        let start = Instant::now();
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
        start.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stopper.stop();
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

/// A message with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Text(String),
    Binary(Vec<u8>),
}

/// One client connection.
pub struct Client {
    pub socket: TcpStream,
    connection: Connection,
    pool: Pool,
    unread: Vec<u8>,
    said: std::collections::VecDeque<Said>,
}

impl Client {
    pub fn connect(addr: SocketAddr, path: &str) -> Self {
        Self::try_connect(addr, path).unwrap_or_else(|answer| panic!("{path}: {answer}"))
    }

    /// Connects, or gives the whole HTTP answer.
    pub fn try_connect(addr: SocketAddr, path: &str) -> Result<Self, String> {
        Self::ask(addr, &upgrade(path)).map(|(client, _)| client)
    }

    /// Connects with this request and gives the head of the answer too, or gives the whole HTTP answer.
    pub fn ask(addr: SocketAddr, request: &str) -> Result<(Self, String), String> {
        Self::connect_with(addr, request, Settings::default())
    }

    /// Connects and offers compression; it is agreed to.
    pub fn connect_compressed(addr: SocketAddr, path: &str, deflate: Deflate) -> Self {
        let settings = Settings { deflate: Some(deflate), ..Settings::default() };
        let client = Self::connect_offering(addr, path, settings);
        assert!(client.connection.agreed().is_some(), "there is an answer to the offer");
        client
    }

    /// Connects and offers the extensions of `settings`.
    pub fn connect_offering(addr: SocketAddr, path: &str, settings: Settings) -> Self {
        let offers: Vec<_> = settings.offers().iter().map(ToString::to_string).collect();
        let mut request = upgrade(path);
        if !offers.is_empty() {
            let header = format!("Sec-WebSocket-Extensions: {}\r\n\r\n", offers.join(", "));
            request.replace_range(request.len() - 2.., &header);
        }
        let (mut client, head) = Self::connect_with(addr, &request, settings.clone()).unwrap();
        let lines = head.lines();
        let answers = lines.filter_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        let answers = extension::parse(answers.map(str::as_bytes)).unwrap();
        client.connection.agree_on(settings.accept(&answers).unwrap());
        client
    }

    /// The extensions that were agreed on.
    pub fn extensions(&self) -> Vec<String> {
        self.connection.extensions().iter().map(ToString::to_string).collect()
    }

    /// Connects with this request; gives the head of the answer too.
    fn connect_with(
        addr: SocketAddr,
        request: &str,
        settings: Settings,
    ) -> Result<(Self, String), String> {
        let mut socket = open(addr);
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => break,
                Err(error) => panic!("no answer to the request: {error}"),
            }
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            socket.read_to_end(&mut head).ok();
            return Err(String::from_utf8_lossy(&head).into_owned());
        }
        let answer = String::from_utf8(head.clone()).unwrap();
        assert!(head.windows(28).any(|value| value == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let limits = Limits { max_frame: 1 << 26, max_message: 1 << 26, ..Limits::default() };
        let timeouts = Timeouts { ping_period: None, ..Timeouts::default() };
        let settings = Arc::new(Settings { limits, timeouts, ..settings });
        let now = Instant::now();
        let mut connection = Connection::client(Arc::clone(&settings), [7; 32], now);
        connection.upgrade(settings, now);
        let (unread, said) = Default::default();
        Ok((Self { socket, connection, pool: Pool::new(1 << 20), unread, said }, answer))
    }

    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let mut wire = Vec::new();
        self.connection.send(&message.into(), &mut self.pool, &mut wire).unwrap();
        self.socket.write_all(&wire).unwrap();
    }

    /// Sends a text and a Close in one write.
    pub fn send_and_close(&mut self, text: &str) {
        let mut wire = Vec::new();
        self.connection.send(&text.into(), &mut self.pool, &mut wire).unwrap();
        self.connection.close(CloseCode::NORMAL, "", Instant::now(), &mut wire).unwrap();
        self.socket.write_all(&wire).unwrap();
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, wire: &[u8]) {
        self.socket.write_all(wire).unwrap();
    }

    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let mut wire = Vec::new();
        self.connection.close(code, reason, Instant::now(), &mut wire).unwrap();
        self.socket.write_all(&wire).unwrap();
    }

    /// The next message, or `None` once the connection has ended.
    pub fn recv(&mut self) -> Option<Said> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(said) = self.said.pop_front() {
                return Some(said);
            }
            if !self.connection.state().receives() {
                return None;
            }
            let read = match self.socket.read(&mut buffer) {
                Ok(0) | Err(_) if self.connection.close_reason().is_some() => return None,
                Ok(0) => {
                    self.connection.receive_eof();
                    return None;
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("nothing came within the deadline")
                }
                Err(_) => {
                    self.connection.receive_eof();
                    return None;
                }
            };
            self.take(&mut buffer[..read]);
        }
    }

    fn take(&mut self, mut input: &mut [u8]) {
        let mut wire = Vec::new();
        while let Some(event) =
            self.connection.receive(&mut input, Instant::now(), &mut self.pool, &mut wire)
        {
            match event {
                Event::Message(Message::Text(text)) => {
                    self.said.push_back(Said::Text(text.to_string()));
                }
                Event::Message(Message::Binary(bytes)) => {
                    self.said.push_back(Said::Binary(bytes.to_vec()));
                }
                Event::Frame(Frame { .. }) => unreachable!("not in raw mode"),
            }
        }
        self.socket.write_all(&wire).ok();
    }

    /// The next message, which is text.
    pub fn text(&mut self) -> String {
        match self.recv() {
            Some(Said::Text(text)) => text,
            other => panic!("no text but {other:?}, {:?}", self.connection.close_reason()),
        }
    }

    /// Reads on to the end of TCP; gives why the connection ended.
    pub fn end(&mut self) -> CloseReason {
        while self.recv().is_some() {}
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).ok();
        if self.connection.state() != State::Closed {
            self.connection.receive_eof();
        }
        self.connection.close_reason().expect("it has ended").clone()
    }
}

/// Time that the thread with directory `task` under `/proc` has spent on a processor.
#[cfg(target_os = "linux")]
pub fn cpu_time(task: &std::path::Path) -> Duration {
    let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// The request for an upgrade at `path`; its key is that of §1.3.
pub fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A masked frame with `first` as its first byte.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..=125 => wire.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            wire.push(0x80 | 126);
            wire.extend((len as u16).to_be_bytes());
        }
        len => {
            wire.push(0x80 | 127);
            wire.extend((len as u64).to_be_bytes());
        }
    }
    let key = [0x37, 0xfa, 0x21, 0x3d];
    wire.extend(key);
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

/// The frames of `wire`, which a server has sent and which ends with a whole one: first bytes and
/// payloads.
pub fn frames(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, len, rest @ ..] = wire {
        let (len, rest) = match len {
            126 => (u64::from(u16::from_be_bytes(rest[..2].try_into().unwrap())), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()), &rest[8..]),
            len => (u64::from(*len), rest),
        };
        let (payload, rest) = rest.split_at(len as usize);
        frames.push((*first, payload.to_vec()));
        wire = rest;
    }
    assert_eq!(wire, b"", "a frame is cut off");
    frames
}

/// What stands behind the head of an answer that agrees to an upgrade.
pub fn after_head(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("there is a head") + 4;
    let (head, rest) = answer.split_at(head);
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(head));
    rest
}

/// A socket whose reads end at the deadline.
pub fn open(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).expect("the server listens");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends `request` and gives the whole answer.
pub fn http(addr: SocketAddr, request: &str) -> String {
    let mut socket = open(addr);
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
