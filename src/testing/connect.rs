//! How clients connect: what they ask for, and what they make of the answer (§4.1).

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use super::{
    Reply,
    client::Client,
    endpoint::{Endpoint, settings},
    stream::Stream,
    world::{CAPACITY, World},
};
use crate::protocol::{
    connection::Settings,
    extension::{Extensions, deflate::Deflate},
    handshake::{Agreement, ClientRequest, Head, Response},
};

/// A client to be: what its request says, and how much the connection holds.
#[must_use]
pub struct Connect {
    world: Rc<RefCell<World>>,
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
    settings: Settings,
    addr: Option<SocketAddr>,
    capacity: usize,
}

impl Connect {
    pub(super) fn new(world: &Rc<RefCell<World>>) -> Self {
        Self {
            world: Rc::clone(world),
            headers: Vec::new(),
            protocols: Vec::new(),
            settings: settings(),
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

    /// Offers to compress messages (RFC 7692).
    pub fn deflate(mut self, deflate: Deflate) -> Self {
        self.settings.deflate = Some(deflate);
        self
    }

    /// Offers extensions of one's own (§9.1).
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.settings.extensions = extensions;
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
        let stream = Stream::new(&self.world, number);
        let pending = Pending { stream, connect: self, path: path.to_owned() };
        let request = match pending.with_request(|request| request.encode()) {
            Ok(request) => request,
            Err(error) => panic!("no request for {path:?} can be sent: {error}"),
        };
        pending.stream.act(|caller| caller.unsent.extend(request));
        pending
    }

    /// The endpoint behind an answer that agrees.
    fn endpoint(&self, seed: [u8; 32], agreement: &Agreement<'_, '_>, response: Reply) -> Endpoint {
        let now = self.world.borrow().worker.now();
        let protocol = agreement.protocol.map(str::to_owned);
        let accepted = self.settings.accept(&agreement.extensions);
        let terms = accepted.expect("the server answers to what was offered");
        Endpoint::new(seed, now, self.settings.clone(), terms, protocol, response)
    }
}

/// A client whose request was sent, and maybe not answered yet.
pub struct Pending {
    stream: Stream,
    connect: Connect,
    path: String,
}

impl Pending {
    /// Whether the answer has come.
    pub fn is_answered(&self) -> bool {
        let caller = self.stream.caller();
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
        self.stream.settle();
        let Some((reply, len)) = ({
            let caller = self.stream.caller();
            Reply::read(&caller.received, caller.end.is_some())
        }) else {
            self.stream.panic("an answer to its request")
        };
        if reply.status != 101 {
            return Err(reply);
        }
        let head: Vec<u8> = self.stream.caller().received.drain(..len).collect();
        let seed = self.seed(b"mask");
        let endpoint = self.with_request(|request| {
            let limits = &self.connect.settings.limits;
            let head = Head::read(&head, limits).expect("it was read before");
            let response = Response::parse(&head, limits).expect("it was parsed before");
            match response.verify(request) {
                Ok(agreement) => self.connect.endpoint(seed, &agreement, reply),
                Err(error) => panic!("the server's answer is wrong: {error}"),
            }
        });
        let now = self.stream.now();
        self.stream.act(|caller| caller.upgrade(endpoint, now));
        Ok(Client::new(self.stream))
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
            extensions: &self.connect.settings.offers(),
            headers: &headers,
        })
    }

    /// Thirty-two bytes that no other client has, nor this one for anything else.
    fn seed(&self, what: &[u8; 4]) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.connect.world.borrow().seed.to_le_bytes());
        seed[8..12].copy_from_slice(&self.stream.number().to_le_bytes());
        seed[12..16].copy_from_slice(what);
        seed
    }
}
