//! One connection of the load: from dialling to its end.

use std::{
    io::{self, Read},
    mem::MaybeUninit,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use chinwag::{
    CloseCode, Limits, Opcode,
    protocol::{
        close::{decode_close, encode_close},
        extension::{Offer, deflate},
        frame::Rsv,
        handshake::{ClientRequest, HeadReader, Response},
    },
};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{
    outbox::{Cycle, Outbox},
    payload::{frame, offered},
    reader::{Care, Reader},
    target::{Target, source},
};

/// A socket, how far its connection is, and what is on its way in and out.
pub struct Link<N> {
    pub socket: TcpStream,
    pub stage: Stage,
    /// When it was dialled or, in [`Stage::Closing`], when we closed: nanoseconds of the run.
    pub since: u64,
    pub reader: Reader,
    pub outbox: Outbox,
    /// The frames that are sent on it again and again.
    pub cycle: Rc<Cycle>,
    /// What is wanted of the messages that come.
    pub care: Care,
    /// Whether the messages that come are so large that it is better to skip than to read them.
    pub is_large: bool,
    /// What the mode keeps of it.
    pub note: N,
}

/// How far a connection is.
pub enum Stage {
    /// TCP is not there yet.
    Connecting,
    /// The request is sent, the answer is not all there.
    Shaking(Box<HeadReader>),
    Open,
    /// Our Close is sent.
    Closing,
}

impl<N: Default> Link<N> {
    /// A connection whose socket is about to connect, dialled at `since`.
    pub fn new(socket: TcpStream, cycle: Rc<Cycle>, since: u64) -> Self {
        Self {
            socket,
            stage: Stage::Connecting,
            since,
            reader: Reader::new(false),
            outbox: Outbox::default(),
            cycle,
            care: Care::Count,
            is_large: false,
            note: N::default(),
        }
    }
}

impl<N> Link<N> {
    /// Whether messages may be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether the opening handshake is under way.
    pub fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Shaking(_))
    }

    /// Sends `count` more of the prepared frames.
    pub fn repeat(&mut self, count: usize) {
        self.outbox.repeat(&self.cycle, count);
        self.flush();
    }

    /// Sends a control frame, or anything that is sent once.
    pub fn send(&mut self, wire: &[u8]) {
        self.outbox.push(wire);
        self.flush();
    }

    /// Writes what the socket takes. Where it fails, reading from it tells why.
    pub fn flush(&mut self) {
        self.outbox.flush(&mut self.socket, &self.cycle).ok();
    }

    /// Starts the closing handshake (§7.1.2).
    pub fn close(&mut self, now: u64) {
        let (payload, len) = encode_close(CloseCode::NORMAL, "").expect("it may be sent");
        self.stage = Stage::Closing;
        self.since = now;
        self.send(&frame(Opcode::Close, Rsv::NONE, &payload[..len]));
    }

    /// Makes the end of the socket a reset: no port is kept waiting for what may still be on its way.
    pub fn abort(&self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// What a Close frame with `payload` says, for people.
pub fn close_reason(payload: &[u8]) -> String {
    match decode_close(payload) {
        Ok(Some((code, ""))) => format!("closed by the server: {code}"),
        Ok(Some((code, reason))) => format!("closed by the server: {code} {reason:?}"),
        Ok(None) => "closed by the server without a code".into(),
        Err(error) => format!("closed by the server, wrongly: {error}"),
    }
}

/// Opens connections to one server.
pub struct Dialer<'t> {
    addr: SocketAddr,
    sources: usize,
    request: ClientRequest<'t>,
    wire: Vec<u8>,
    limits: Limits,
}

impl<'t> Dialer<'t> {
    /// To `target`, which is at `addr`, from `sources` loopback addresses in turn where there are more
    /// than one. `offers` are extensions to ask for.
    pub fn new(
        target: &'t Target,
        addr: SocketAddr,
        sources: usize,
        offers: &'t [Offer<'t>],
    ) -> Self {
        // Choice: §4.1 wants a nonce for each connection. One for all of them makes one request for all.
        let request = target.request(rand::random(), offers);
        let wire = request.encode().expect("the target was checked");
        Self { addr, sources, request, wire, limits: Limits::default() }
    }

    /// A socket that connects, as connection `number` of the run.
    ///
    /// # Errors
    /// Those of the system: no descriptors, no ports.
    pub fn dial(&self, number: usize) -> io::Result<TcpStream> {
        let domain = Domain::for_address(self.addr);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.sources > 1 {
            socket.bind(&SockAddr::from(SocketAddr::from((source(number, self.sources), 0))))?;
        }
        match socket.connect(&self.addr.into()) {
            Err(error) if !is_under_way(&error) => return Err(error),
            _ => {}
        }
        Ok(TcpStream::from_std(socket.into()))
    }

    /// The request for an upgrade.
    pub fn request(&self) -> &[u8] {
        &self.wire
    }

    /// Reads the answer from the front of `input`. `None` where more of it is needed, else the window
    /// that our messages are compressed with, if they are.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn answer(
        &self,
        head: &mut HeadReader,
        input: &mut &mut [u8],
    ) -> Result<Option<Option<u8>>, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let Some(head) = head.read(input, &self.limits).map_err(|error| told(&error))? else {
            return Ok(None);
        };
        let response = Response::parse(&head, &self.limits).map_err(|error| told(&error))?;
        let agreement = response.verify(&self.request).map_err(|error| told(&error))?;
        match &*agreement.extensions {
            [] => Ok(Some(None)),
            [deflate] if deflate.name == deflate::NAME => {
                let agreed = offered().accept(deflate).map_err(|error| told(&error))?;
                // Eight bits cannot be compressed with.
                Ok(Some(Some(agreed.client_window_bits).filter(|bits| *bits > 8)))
            }
            _ => Err("the server agreed to an extension twice".into()),
        }
    }
}

fn is_under_way(error: &io::Error) -> bool {
    // Linux says EINPROGRESS, which has no kind of its own yet.
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(EINPROGRESS)
}

const EINPROGRESS: i32 =
    if cfg!(any(target_os = "macos", target_os = "freebsd")) { 36 } else { 115 };

/// What reading from a socket came to.
pub enum Got {
    Bytes(usize),
    Nothing,
    End,
    Fault(io::Error),
}

/// Reads once.
pub fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> Got {
    loop {
        match socket.read(buffer) {
            Ok(0) => return Got::End,
            Ok(len) => return Got::Bytes(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Got::Nothing,
            Err(error) => return Got::Fault(error),
        }
    }
}

/// Where bytes go that nobody wants: the system drops them without a copy.
pub struct Nowhere(Box<[MaybeUninit<u8>]>);

impl Default for Nowhere {
    fn default() -> Self {
        // Never touched, so it is no memory but only room among the addresses.
        Self(Box::new_uninit_slice(Self::MOST))
    }
}

impl Nowhere {
    /// Whether the system can do this: Linux drops what it reads from TCP with this flag.
    pub const WORKS: bool = cfg!(target_os = "linux");

    /// Bytes dropped at once at most, and at least, as less is read for the same price.
    const MOST: usize = 1 << 20;
    const LEAST: usize = 8 << 10;

    /// Drops what `link` has of a payload that nobody looks at.
    pub fn skip<N>(&mut self, link: &mut Link<N>) -> Skipped {
        const MSG_TRUNC: i32 = 0x20;
        let wanted = link.reader.skippable().min(Self::MOST);
        if !link.is_large || wanted < Self::LEAST {
            return Skipped::Nothing;
        }
        let room = &mut self.0[..wanted];
        // What is wrong is told by the next read.
        let skipped = SockRef::from(&link.socket).recv_with_flags(room, MSG_TRUNC).unwrap_or(0);
        link.reader.skip(skipped);
        match skipped {
            0 => Skipped::Nothing,
            _ if skipped == wanted => Skipped::All,
            _ => Skipped::Some,
        }
    }
}

/// How much of what was to be skipped was there.
pub enum Skipped {
    All,
    /// Not all of it: the socket is empty now.
    Some,
    Nothing,
}
