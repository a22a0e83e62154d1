//! Clients: what they say, what they hear, and how they behave.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use super::{Reply, endpoint::Endpoint, stream::Stream};
use crate::{
    protocol::{
        close::{CloseCode, CloseReason},
        error::SendError,
        frame::Frame,
        message::Message,
    },
    service::PeerId,
};

/// An open connection from the client's side. It answers Pings and Closes by itself, unless told
/// otherwise. It is a [`Stream`] by its `Deref`; dropped, it closes its socket without a Close.
///
/// Whatever it does has all its consequences before the call returns, as far as they need no time.
pub struct Client(Stream);

impl Client {
    pub(super) fn new(stream: Stream) -> Self {
        Self(stream)
    }

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

    /// Sends `value` in JSON.
    ///
    /// # Panics
    /// As [`send`](Self::send), and where there is no JSON for it.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn send_as<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        match Message::from_value(value) {
            Ok(message) => self.send(message),
            Err(error) => panic!("{} cannot send {error}", self.0),
        }
    }

    /// Sends one frame as it is, with its FIN, reserved bits and opcode, whether or not it may stand
    /// there; it is masked, and its length filled in.
    #[track_caller]
    pub fn send_frame(&mut self, frame: &Frame<'_>) {
        let wire = self.endpoint(|endpoint| endpoint.encode(frame));
        self.send_bytes(wire);
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
        let now = self.0.now();
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

    /// The value that the next message stands for in JSON.
    ///
    /// # Panics
    /// Where it stands for none, or no message comes.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn recv_as<T: serde::de::DeserializeOwned>(&mut self) -> T {
        let message = self.recv();
        match message.as_ref().map(Message::to_value) {
            Some(Ok(value)) => value,
            _ => self.surprised(std::any::type_name::<T>(), message),
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

    /// Goes on without the client's side of the protocol, from the next byte on.
    pub fn into_stream(self) -> Stream {
        self.0.caller().endpoint = None;
        self.0
    }

    fn endpoint<T>(&self, then: impl FnOnce(&mut Endpoint) -> T) -> T {
        then(self.0.caller().endpoint.as_mut().expect("the handshake is done"))
    }
}

impl Deref for Client {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Stream {
        &mut self.0
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&format_args!("{}", self.0)).finish()
    }
}
