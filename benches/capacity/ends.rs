//! The two ends: a server, and the process that holds what is connected to it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process, thread,
    time::Duration,
};

use chinwag::{
    Peer, Request, Server, Service, Topic,
    protocol::{
        handshake::{ClientRequest, HeadReader, Response},
        limits::Limits,
    },
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Bytes of the publication that all hear.
pub const PUBLICATION: usize = 128;

/// Most addresses that one process connects from.
pub const MAX_SOURCES: u32 = 256;

/// Connections from one address. The system looks through one half of its 28,232 ports first, and for
/// long once that is used up.
const PORTS: usize = 14_000;

/// How long a connection may take to open, and a delivery to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a process lives at most.
const LIFE: Duration = Duration::from_secs(600);

/// A server at `addr`, which it says; it publishes for each line that it reads, and ends with the last.
pub fn serve(addr: &str) -> Result<(), String> {
    end_some_time();
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| error.to_string())?;
    let topic = Topic::new();
    let theirs = topic.clone();
    let server = Server::builder()
        .service("/", move |_: &Request<'_>| Member(theirs.clone()))
        .workers(1)
        .max_connections(usize::MAX)
        .ping_period(None)
        .bind(addr)
        .map_err(|error| format!("{addr}: {error}"))?;
    say(server.local_addr());
    thread::spawn(move || {
        for _line in io::stdin().lines() {
            topic.publish(text()).expect("nothing waits");
        }
        process::exit(0);
    });
    server.run().map_err(|error| error.to_string())
}

/// Hears a topic.
struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }
}

fn text() -> String {
    "x".repeat(PUBLICATION)
}

/// Holds connections to `server` from the address `source` on: opens as many as each line that it reads
/// says, and answers with an empty one; at another word it waits for the publication on all of them, and
/// says how many have heard it.
pub fn hold(server: &str, source: &str) -> Result<(), String> {
    end_some_time();
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| error.to_string())?;
    let server: SocketAddr = server.parse().map_err(|_| "no address")?;
    let source: Ipv4Addr = source.parse().map_err(|_| "no address")?;
    let dialer = Dialer::new(server, source);
    let mut held = Vec::new();
    for line in io::stdin().lines() {
        let line = line.map_err(|error| error.to_string())?;
        match line.parse::<usize>() {
            Ok(more) => {
                for _ in 0..more {
                    let open = dialer.open(held.len());
                    held.push(open.map_err(|fault| format!("connection {}: {fault}", held.len()))?);
                }
                say(held.len());
            }
            Err(_) => say(listen(&mut held)),
        }
    }
    Ok(())
}

/// How many of `held` hear the publication, once and nothing else; those behind the first that does not
/// are not asked.
fn listen(held: &mut [TcpStream]) -> usize {
    let frame = [&[0x81, 126, 0, PUBLICATION as u8], text().as_bytes()].concat();
    let mut buffer = [0; PUBLICATION * 3];
    let hears = |socket: &mut TcpStream| {
        let mut len = 0;
        while len < frame.len() {
            match socket.read(&mut buffer[len..]) {
                Ok(more @ 1..) => len += more,
                Ok(0) | Err(_) => return false,
            }
        }
        buffer[..len] == frame
    };
    held.iter_mut().map(hears).take_while(|heard| *heard).count()
}

/// Opens connections to one server.
struct Dialer {
    server: SocketAddr,
    source: Ipv4Addr,
    host: String,
}

impl Dialer {
    fn new(server: SocketAddr, source: Ipv4Addr) -> Self {
        Self { server, source, host: server.to_string() }
    }

    /// Connection `number` of this process.
    fn open(&self, number: usize) -> Result<TcpStream, Box<dyn std::error::Error>> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        let source = super::nth(self.source, (number / PORTS) as u32);
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
        // At the end no port is kept waiting for what may still be on its way.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(&self.server.into())?;
        let mut socket = TcpStream::from(socket);
        self.shake(&mut socket)?;
        Ok(socket)
    }

    /// The opening handshake (§4.1).
    fn shake(&self, socket: &mut TcpStream) -> Result<(), Box<dyn std::error::Error>> {
        let request = ClientRequest {
            host: &self.host,
            target: "/",
            nonce: [7; 16],
            protocols: &[],
            extensions: &[],
            headers: &[],
        };
        socket.write_all(&request.encode()?)?;
        let (limits, mut reader) = (Limits::default(), HeadReader::default());
        let mut buffer = [0; 1024];
        loop {
            let len = match socket.read(&mut buffer)? {
                0 => return Err("the server ended TCP before its answer".into()),
                len => len,
            };
            let mut input = &mut buffer[..len];
            if let Some(head) = reader.read(&mut input, &limits)? {
                Response::parse(&head, &limits)?.verify(&request)?;
                return Ok(());
            }
        }
    }
}

/// Tells who has started this process.
fn say(what: impl std::fmt::Display) {
    // Where nobody listens there is nobody to hear of it.
    writeln!(io::stdout(), "{what}").ok();
    io::stdout().flush().ok();
}

/// Whatever happens, nothing is left behind.
fn end_some_time() {
    thread::spawn(|| {
        thread::sleep(LIFE);
        eprintln!("capacity: a process was still there after {LIFE:?}");
        process::exit(1);
    });
}
