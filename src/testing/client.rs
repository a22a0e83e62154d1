//! Clients: how they connect, what they say and hear, and how they go.

use std::{
    cell::{RefCell, RefMut},
    fmt,
    net::SocketAddr,
    rc::Rc,
};

use super::{
    Reply,
    endpoint::{Endpoint, limits},
    world::{CAPACITY, Caller, End, World},
};
use crate::{
    protocol::{
        close::{CloseCode, CloseReason},
        error::SendError,
        extension::{
            Offer,
            deflate::{Agreed, Deflate},
        },
        frame::Frame,
        handshake::{Agreement, ClientRequest, Head, Response},
        message::Message,
    },
    service::PeerId,
};

/// A client to be: what its request says, and how much the connection holds.
#[must_use]
pub struct Connect {
    world: Rc<RefCell<World>>,
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
    deflate: Option<Deflate>,
    addr: Option<SocketAddr>,
    capacity: usize,
}

impl Connect {
    pub(super) fn new(world: &Rc<RefCell<World>>) -> Self {
        Self {
            world: Rc::clone(world),
            headers: Vec::new(),
            protocols: Vec::new(),
            deflate: None,
            addr: None,
            capacity: CAPACITY,
        }
    }

    /// Adds a header, such as Cookie.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The page that a browser connects from: the Origin header. Without it the client is no browser.
    pub fn origin(self, origin: impl Into<String>) -> Self {
        self.header("Origin", origin)
    }

    /// Offers a subprotocol, behind those offered before (§1.9).
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocols.push(protocol.into());
        self
    }

    /// Where it calls from. By default from 127.0.0.1, each client from another port.
    pub fn addr(mut self, addr: SocketAddr) -> Self {
        self.addr = Some(addr);
        self
    }

    /// How many bytes the connection holds each way between the two sides, as the buffers of a system
    /// do: at least one. Default 64 KiB.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes.max(1);
        self
    }

    /// Connects to `path`, which may have a query.
    ///
    /// # Errors
    /// The answer of a server that refuses.
    ///
    /// # Panics
    /// Where the request cannot be, or no answer comes without time passing: [`start`](Self::start) then.
    #[track_caller]
    pub fn connect(self, path: &str) -> Result<Client, Reply> {
        self.start(path).finish()
    }

    /// Sends the request for `path`; the answer may take its time.
    ///
    /// # Panics
    /// Where the request cannot be.
    #[track_caller]
    pub fn start(self, path: &str) -> Pending {
        let number = self.world.borrow_mut().call(path, self.addr, self.capacity);
        let line = Line { world: Rc::clone(&self.world), number };
        let pending = Pending { line, connect: self, path: path.to_owned() };
        let request = match pending.with_request(|request| request.encode()) {
            Ok(request) => request,
            Err(error) => panic!("no request for {path:?} can be sent: {error}"),
        };
        pending.line.act(|caller| caller.unsent.extend(request));
        pending
    }

    /// The endpoint behind an answer that agrees.
    fn endpoint(&self, seed: [u8; 32], agreement: &Agreement<'_, '_>, response: Reply) -> Endpoint {
        let now = self.world.borrow().worker.now();
        let protocol = agreement.protocol.map(str::to_owned);
        let agreed = self.agreed(agreement);
        Endpoint::new(seed, now, self.deflate.clone(), agreed, protocol, response)
    }
}

#[cfg(feature = "deflate")]
impl Connect {
    /// Offers to compress messages (RFC 7692).
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.deflate = Some(deflate);
        self
    }

    fn offers(&self) -> Vec<Offer<'static>> {
        self.deflate.as_ref().map(Deflate::offers).unwrap_or_default()
    }

    fn agreed(&self, agreement: &Agreement<'_, '_>) -> Option<Agreed> {
        let (deflate, answer) = (self.deflate.as_ref()?, agreement.extensions.first()?);
        Some(deflate.accept(answer).expect("the server answers to what was offered"))
    }
}

#[cfg(not(feature = "deflate"))]
impl Connect {
    fn offers(&self) -> Vec<Offer<'static>> {
        Vec::new()
    }

    fn agreed(&self, _: &Agreement<'_, '_>) -> Option<Agreed> {
        None
    }
}

/// A client whose request was sent, and maybe not answered yet.
pub struct Pending {
    line: Line,
    connect: Connect,
    path: String,
}

impl Pending {
    /// Whether the answer has come.
    pub fn is_answered(&self) -> bool {
        let caller = self.line.caller();
        caller.end.is_some() || Reply::read(&caller.received, false).is_some()
    }

    /// Goes on behind the answer.
    ///
    /// # Errors
    /// The answer of a server that refuses.
    ///
    /// # Panics
    /// Where no answer comes without time passing, or one that is none.
    #[track_caller]
    pub fn finish(self) -> Result<Client, Reply> {
        self.line.settle();
        let Some((reply, len)) = ({
            let caller = self.line.caller();
            Reply::read(&caller.received, caller.end.is_some())
        }) else {
            self.line.panic("an answer to its request")
        };
        if reply.status != 101 {
            return Err(reply);
        }
        let head: Vec<u8> = self.line.caller().received.drain(..len).collect();
        let seed = self.seed(b"mask");
        let endpoint = self.with_request(|request| {
            let head = Head::read(&head, &limits()).expect("it was read before");
            let response = Response::parse(&head, &limits()).expect("it was parsed before");
            match response.verify(request) {
                Ok(agreement) => self.connect.endpoint(seed, &agreement, reply),
                Err(error) => panic!("the server's answer is wrong: {error}"),
            }
        });
        let now = self.line.world.borrow().worker.now();
        self.line.act(|caller| caller.upgrade(endpoint, now));
        Ok(Client(self.line))
    }

    fn with_request<T>(&self, then: impl FnOnce(&ClientRequest<'_>) -> T) -> T {
        let Connect { headers, protocols, .. } = &self.connect;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let protocols: Vec<_> = protocols.iter().map(|name| &**name).collect();
        let nonce = self.seed(b"key ");
        then(&ClientRequest {
            host: "localhost",
            target: &self.path,
            nonce: *nonce.first_chunk().expect("32 bytes have 16"),
            protocols: &protocols,
            extensions: &self.connect.offers(),
            headers: &headers,
        })
    }

    /// Thirty-two bytes that no other client has, nor this one for anything else.
    fn seed(&self, what: &[u8; 4]) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.connect.world.borrow().seed.to_le_bytes());
        seed[8..12].copy_from_slice(&self.line.number.to_le_bytes());
        seed[12..16].copy_from_slice(what);
        seed
    }
}

/// An open connection from the client's side. It reads whatever comes as soon as it comes, and answers
/// Pings and Closes by itself, unless told otherwise. Dropped, it closes its socket without a Close.
///
/// Whatever it does has all its consequences before the call returns, as far as they need no time.
pub struct Client(Line);

impl Client {
    // ---- says ----------------------------------------------------------------------------------

    /// Sends a message.
    ///
    /// # Panics
    /// Where the connection is closing or has ended.
    #[track_caller]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let message = message.into();
        let sent = self.endpoint(|endpoint| endpoint.send(&message));
        self.sends(sent, "a message");
    }

    /// Sends one frame as it is, with its FIN, reserved bits and opcode, whether or not it may stand
    /// there; it is masked, and its length filled in.
    #[track_caller]
    pub fn send_frame(&mut self, frame: &Frame<'_>) {
        let wire = self.endpoint(|endpoint| endpoint.encode(frame));
        self.send_bytes(wire);
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.act(|caller| caller.unsent.extend(bytes.as_ref()));
    }

    /// Sends a Ping with at most 125 bytes of `payload` (§5.5.2).
    ///
    /// # Panics
    /// Where the connection is closing or has ended, and for more bytes.
    #[track_caller]
    pub fn ping(&mut self, payload: &[u8]) {
        let sent = self.endpoint(|endpoint| {
            let mut output = Vec::new();
            endpoint.connection.ping(payload, &mut output).map(|()| output)
        });
        self.sends(sent, "a Ping");
    }

    /// Starts the closing handshake (§7.1.2).
    ///
    /// # Panics
    /// Where the connection is closing or has ended, and for a code or a reason that cannot be sent.
    #[track_caller]
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let now = self.0.world.borrow().worker.now();
        let sent = self.endpoint(|endpoint| {
            let mut output = Vec::new();
            endpoint.connection.close(code, reason, now, &mut output).map(|()| output)
        });
        self.sends(sent, "a Close");
    }

    #[track_caller]
    fn sends(&mut self, sent: Result<Vec<u8>, SendError>, what: &str) {
        match sent {
            Ok(wire) => self.send_bytes(wire),
            Err(error) => panic!("{} cannot send {what}: {error}", self.0),
        }
    }

    // ---- hears ---------------------------------------------------------------------------------

    /// The next message; `None` once the connection is closing or has ended.
    ///
    /// # Panics
    /// Where neither can come without time passing.
    #[track_caller]
    pub fn recv(&mut self) -> Option<Message<'static>> {
        self.0.settle();
        let message = self.try_recv();
        if message.is_none() && self.is_open() {
            self.0.panic("a message");
        }
        message
    }

    /// The next message, if there is one for now.
    pub fn try_recv(&mut self) -> Option<Message<'static>> {
        self.endpoint(|endpoint| {
            while let Some(heard) = endpoint.heard.pop_front() {
                if heard.message.is_some() {
                    return heard.message;
                }
            }
            None
        })
    }

    /// The next message, which is a text.
    ///
    /// # Panics
    /// Where it is none, or none comes.
    #[track_caller]
    pub fn recv_text(&mut self) -> String {
        match self.recv() {
            Some(Message::Text(text)) => text.as_str().to_owned(),
            other => self.surprised("a text", other),
        }
    }

    /// The next message, which is binary.
    ///
    /// # Panics
    /// Where it is none, or none comes.
    #[track_caller]
    pub fn recv_binary(&mut self) -> Vec<u8> {
        match self.recv() {
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            other => self.surprised("a binary message", other),
        }
    }

    /// Why the connection ends, where no message comes before: the code and the reason of the server's
    /// Close frame, or 1006 where TCP has ended without one.
    ///
    /// # Panics
    /// Where a message comes before, or the connection does not end without time passing.
    #[track_caller]
    pub fn recv_close(&mut self) -> CloseReason {
        self.0.settle();
        if let Some(message) = self.try_recv() {
            self.surprised("a Close", Some(message))
        }
        self.close_reason().unwrap_or_else(|| self.0.panic("a Close"))
    }

    /// The next frame as it came over the wire, control frames, fragments and what is compressed
    /// included; `None` once TCP has ended. A frame or message that another method has given, or passed
    /// over, is not given again. What it asks for, such as a Pong, is answered already.
    ///
    /// # Panics
    /// Where neither can come without time passing.
    #[track_caller]
    pub fn recv_frame(&mut self) -> Option<Frame<'static>> {
        self.0.settle();
        let frame = self.endpoint(|endpoint| endpoint.heard.pop_front());
        if frame.is_none() && self.0.caller().end.is_none() {
            self.0.panic("a frame");
        }
        frame.map(|heard| heard.frame)
    }

    #[track_caller]
    fn surprised(&self, expected: &str, message: Option<Message<'static>>) -> ! {
        match (message, self.close_reason()) {
            (Some(message), _) => panic!("{} expected {expected}, and heard {message:?}", self.0),
            (None, Some(reason)) => {
                panic!("{} expected {expected}, and its connection was {reason}", self.0)
            }
            (None, None) => self.0.panic(expected),
        }
    }

    // ---- knows ---------------------------------------------------------------------------------

    /// Whether neither side has closed, as far as is known here.
    pub fn is_open(&self) -> bool {
        self.close_reason().is_none()
    }

    /// Why the connection ends or has ended: the first cause. Messages that came before may not have
    /// been taken yet.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.endpoint(|endpoint| endpoint.connection.close_reason().cloned())
    }

    /// The subprotocol that was agreed on.
    pub fn protocol(&self) -> Option<String> {
        self.endpoint(|endpoint| endpoint.protocol.clone())
    }

    /// The server's answer to the request.
    pub fn response(&self) -> Reply {
        self.endpoint(|endpoint| endpoint.response.clone())
    }

    /// What the server calls the connection.
    pub fn id(&self) -> PeerId {
        self.0.caller().peer.expect("it was let in")
    }

    // ---- behaves -------------------------------------------------------------------------------

    /// Answers no Ping from now on, as one does whose machine sleeps.
    pub fn ignore_pings(&mut self) {
        self.endpoint(|endpoint| endpoint.answers_pings = false);
    }

    /// From now on answers no Close, and does not end TCP when the server does.
    pub fn ignore_close(&mut self) {
        self.endpoint(|endpoint| endpoint.answers_close = false);
    }

    /// Reads nothing from now on: what the server sends fills the connection, and then waits with it.
    pub fn stop_reading(&mut self) {
        self.0.caller().appetite = 0;
    }

    /// Reads `bytes` more, where they come, and nothing further.
    #[track_caller]
    pub fn read_some(&mut self, bytes: usize) {
        self.0.act(|caller| caller.appetite = bytes);
    }

    /// Reads all again.
    #[track_caller]
    pub fn read_on(&mut self) {
        self.0.act(|caller| caller.appetite = usize::MAX);
    }

    /// Ends this side of TCP without a Close, behind what was sent; the other may go on.
    #[track_caller]
    pub fn shut(&mut self) {
        self.0.act(|caller| caller.shut = true);
    }

    /// Cuts TCP: the server hears of a reset.
    #[track_caller]
    pub fn cut(&mut self) {
        self.0.act(Caller::cut);
    }

    /// Goes on without the client's side of the protocol, from the next byte on.
    pub fn into_stream(self) -> Stream {
        self.0.caller().endpoint = None;
        Stream(self.0)
    }

    fn endpoint<T>(&self, then: impl FnOnce(&mut Endpoint) -> T) -> T {
        then(self.0.caller().endpoint.as_mut().expect("the handshake is done"))
    }
}

/// A TCP connection to the server: bytes, and nothing that knows what they mean. Dropped, it closes its
/// socket.
pub struct Stream(pub(super) Line);

impl Stream {
    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.act(|caller| caller.unsent.extend(bytes.as_ref()));
    }

    /// All bytes that have come since this was last asked; none where there are none for now.
    #[track_caller]
    pub fn recv(&mut self) -> Vec<u8> {
        self.0.settle();
        std::mem::take(&mut self.0.caller().received)
    }

    /// Bytes sent that the connection has not taken yet, as it is full.
    pub fn unsent(&self) -> usize {
        self.0.caller().unsent.len()
    }

    /// Whether the server has ended its side, in order or not, and all before that was read.
    pub fn has_ended(&self) -> bool {
        self.0.caller().end.is_some()
    }

    /// Whether that was by a reset.
    pub fn was_reset(&self) -> bool {
        self.0.caller().end == Some(End::Reset)
    }

    /// Reads nothing from now on: what the server sends fills the connection, and then waits with it.
    pub fn stop_reading(&mut self) {
        self.0.caller().appetite = 0;
    }

    /// Reads `bytes` more, where they come, and nothing further.
    #[track_caller]
    pub fn read_some(&mut self, bytes: usize) {
        self.0.act(|caller| caller.appetite = bytes);
    }

    /// Reads all again.
    #[track_caller]
    pub fn read_on(&mut self) {
        self.0.act(|caller| caller.appetite = usize::MAX);
    }

    /// Ends this side, behind what was sent; the other may go on.
    #[track_caller]
    pub fn shut(&mut self) {
        self.0.act(|caller| caller.shut = true);
    }

    /// Cuts TCP: the server hears of a reset.
    #[track_caller]
    pub fn cut(&mut self) {
        self.0.act(Caller::cut);
    }
}

/// A caller's number in its world, as long as somebody has it.
pub(super) struct Line {
    pub(super) world: Rc<RefCell<World>>,
    pub(super) number: u32,
}

impl Line {
    pub(super) fn caller(&self) -> RefMut<'_, Caller> {
        RefMut::map(self.world.borrow_mut(), |world| world.caller(self.number))
    }

    /// Has the caller do something, and everything happen that comes of it.
    #[track_caller]
    pub(super) fn act<T>(&self, then: impl FnOnce(&mut Caller) -> T) -> T {
        let done = then(&mut self.caller());
        self.settle();
        done
    }

    #[track_caller]
    pub(super) fn settle(&self) {
        self.world.borrow_mut().settle();
    }

    /// Something was expected, and cannot come.
    #[track_caller]
    pub(super) fn panic(&self, expected: &str) -> ! {
        let Caller { end, appetite, .. } = *self.caller();
        let why = match (end, appetite) {
            (Some(End::Reset), _) => "its connection was reset".to_owned(),
            (Some(End::Fin), _) => "the server has ended TCP".to_owned(),
            (None, 0) => "it has stopped reading: `read_on` has it go on".to_owned(),
            (None, _) => self.world.borrow().quiet(),
        };
        panic!("{self} expected {expected}, and none comes: {why}")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} at {:?}", self.number, self.caller().path)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A test that has failed inside may hold the world, and has no need of it any more.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.hang_up(self.number);
            if !std::thread::panicking() {
                world.settle();
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&format_args!("{}", self.0)).finish()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(&format_args!("{}", self.0)).finish()
    }
}
