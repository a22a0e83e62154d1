//! The client's end of a WebSocket: the engine's own, one frame at a time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::Reply;
use crate::protocol::{
    Role,
    buffer::{Payload, Pool},
    connection::{Connection, Event, Settings, Terms},
    frame::{Frame, Header, HeaderRules, Opcode, Rsv},
    limits::{Limits, Timeouts},
    mask::{MaskingKeys, apply_mask},
    message::Message,
};

/// Spare memory that an endpoint keeps: bytes.
const MAX_SPARE: usize = 64 << 10;

/// What an endpoint accepts: whatever the server sends.
pub(super) fn limits() -> Limits {
    Limits {
        max_frame: usize::MAX,
        max_message: usize::MAX,
        max_fragments: u32::MAX,
        max_head: usize::MAX,
        max_head_line: usize::MAX,
        ..Limits::default()
    }
}

/// What an endpoint keeps to: it awaits nothing, as what is silent here is meant to be.
pub(super) fn settings() -> Settings {
    let timeouts = Timeouts {
        message: Duration::MAX,
        ping_period: None,
        close: Duration::MAX,
        ..Timeouts::default()
    };
    Settings { limits: limits(), timeouts, ..Settings::default() }
}

/// One side of an open connection, and what it has heard.
pub(super) struct Endpoint {
    pub(super) connection: Connection,
    pool: Pool,
    /// For frames made by hand.
    keys: MaskingKeys,
    pub(super) heard: VecDeque<Heard>,
    pub(super) protocol: Option<String>,
    pub(super) response: Reply,
    pub(super) answers_pings: bool,
    pub(super) answers_close: bool,
    /// The server has ended TCP.
    lost: bool,
}

/// A frame, and the message that it was the last of.
pub(super) struct Heard {
    pub(super) frame: Frame<'static>,
    pub(super) message: Option<Message<'static>>,
}

impl Endpoint {
    /// One whose opening handshake is done.
    pub(super) fn new(
        seed: [u8; 32],
        now: Instant,
        settings: Settings,
        terms: Terms,
        protocol: Option<String>,
        response: Reply,
    ) -> Self {
        let settings = Arc::new(settings);
        let mut connection = Connection::client(Arc::clone(&settings), seed, now);
        connection.upgrade(settings, now);
        connection.agree_on(terms);
        Self {
            connection,
            pool: Pool::new(MAX_SPARE),
            keys: MaskingKeys::new(seed.map(|byte| !byte)),
            heard: VecDeque::new(),
            protocol,
            response,
            answers_pings: true,
            answers_close: true,
            lost: false,
        }
    }

    /// Takes the whole frames at the front of `received`, and answers them.
    pub(super) fn take(&mut self, received: &mut Vec<u8>, unsent: &mut VecDeque<u8>, now: Instant) {
        let rsv = Rsv::RSV1.with(Rsv::RSV2).with(Rsv::RSV3);
        let rules = HeaderRules { role: Role::Client, max_payload: usize::MAX, rsv };
        let mut at = 0;
        loop {
            let rest = &mut received[at..];
            let (header, len) = match Header::decode(rest, &rules) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => break,
                // What is no frame is for the connection to judge.
                Err(_) => {
                    let output = self.receive(rest, now).1;
                    unsent.extend(output);
                    at = received.len();
                    break;
                }
            };
            let len_payload = usize::try_from(header.payload_len()).unwrap_or(usize::MAX);
            let Some(wire) = rest.get_mut(..len.saturating_add(len_payload)) else { break };
            at += wire.len();
            let frame = Frame::of(&header, Payload::Borrowed(&wire[len..])).into_owned();
            let (message, output) = self.receive(wire, now);
            let answers = match header.opcode() {
                Opcode::Ping => self.answers_pings,
                Opcode::Close => self.answers_close,
                Opcode::Continuation | Opcode::Text | Opcode::Binary | Opcode::Pong => true,
            };
            if answers {
                unsent.extend(output);
            }
            self.heard.push_back(Heard { frame, message });
        }
        received.drain(..at);
    }

    /// Has the connection take `input`: the message in it, and what is to be sent.
    fn receive(
        &mut self,
        mut input: &mut [u8],
        now: Instant,
    ) -> (Option<Message<'static>>, Vec<u8>) {
        let (mut message, mut output) = (None, Vec::new());
        while let Some(event) =
            self.connection.receive(&mut input, now, &mut self.pool, &mut output)
        {
            if let Event::Message(whole) = event {
                message = Some(whole.into_owned());
            }
        }
        (message, output)
    }

    /// TCP has ended.
    pub(super) fn lose(&mut self) {
        self.connection.receive_eof();
        self.lost = true;
    }

    /// Whether it is this side's turn to end TCP.
    pub(super) fn ends_tcp(&self) -> bool {
        self.answers_close && (self.lost || self.connection.ends_tcp())
    }

    pub(super) fn send(&mut self, message: &Message<'_>) -> Result<Vec<u8>, crate::SendError> {
        let mut output = Vec::new();
        self.connection.send(message, &mut self.pool, &mut output)?;
        Ok(output)
    }

    /// A frame as it is, masked.
    pub(super) fn encode(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let (key, payload_len) = (self.keys.next_key(), frame.payload.len() as u64);
        let header = Header::new(frame.opcode, payload_len)
            .with_fin(frame.fin)
            .with_rsv(frame.rsv)
            .with_masking_key(Some(key));
        let mut wire = Vec::new();
        header.append_to(&mut wire);
        let start = wire.len();
        wire.extend_from_slice(&frame.payload);
        apply_mask(&mut wire[start..], key, 0);
        wire
    }
}
