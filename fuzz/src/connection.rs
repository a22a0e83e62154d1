//! Whatever a peer may send to an open connection (§5, §7), whole and in pieces.

use std::{mem, sync::Arc, time::Instant};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Limits, Message, Opcode, Role,
    protocol::{
        buffer::Pool,
        close::decode_close,
        connection::{Connection, Event, Mode, Settings, State},
        extension::{
            self, DataFrame, Extension, ExtensionError, Extensions, Offer, Param, Transform,
            deflate::Takeovers,
        },
        frame::{Frame, Header, HeaderRules, Rsv},
        mask::apply_mask,
    },
};

use super::memory;

/// Byte 0: bit 0 the role, bit 1 raw mode, bit 2 our Close is sent before, bit 3 the limits, bit 4
/// extensions of one's own. Byte 1 is the size of the pieces, on average. The rest is what the peer sends.
pub fn check(data: &[u8]) {
    let [choice, size, wire @ ..] = data else { return };
    let mut settings = settings(
        if choice & 2 == 0 { Mode::Messages } else { Mode::Raw },
        if choice & 8 == 0 { 1 << 20 } else { 200 },
    );
    if choice & 16 != 0 {
        let (first, second) = (Tag("x-first", Rsv::RSV2), Tag("x-second", Rsv::RSV3));
        let extensions = Extensions::new().with(first).with(second);
        settings = Arc::new(Settings { extensions, ..Settings::clone(&settings) });
    }
    let run = Run {
        role: if choice & 1 == 0 { Role::Server } else { Role::Client },
        settings,
        close_first: choice & 4 != 0,
    };
    let whole = run.whole(wire);
    whole.check(&run);
    run.check_pieces(wire, usize::from(*size).max(1), &whole);
}

/// Where its bit is set, the first byte of the payload is its own.
struct Tag(&'static str, Rsv);

impl Extension for Tag {
    fn name(&self) -> &str {
        self.0
    }

    fn rsv(&self) -> Rsv {
        self.1
    }

    fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        Some((vec![], Box::new(Self(self.0, self.1))))
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        vec![vec![]]
    }

    fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
        None
    }

    fn covers_raw(&self) -> bool {
        true
    }
}

impl Transform for Tag {
    fn outgoing(&mut self, _: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        Ok(())
    }

    fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        match frame.payload().first() {
            _ if frame.rsv() == Rsv::NONE => Ok(()),
            Some(0) => frame.replace(0..1, &[b' '; 99]),
            Some(_) => frame.replace(0..1, &[]),
            None => Err(ExtensionError::new(CloseCode::PROTOCOL_ERROR, "there is no tag")),
        }
    }
}

/// Settings with limits that a few hundred bytes can reach.
pub fn settings(mode: Mode, max_message: usize) -> Arc<Settings> {
    let limits = Limits {
        max_frame: max_message - max_message / 4,
        max_message,
        max_fragments: 8,
        ..Limits::default()
    };
    Arc::new(Settings { limits, mode, ..Settings::default() })
}

/// How a connection is set up before it receives.
pub struct Run {
    pub role: Role,
    pub settings: Arc<Settings>,
    pub close_first: bool,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub events: Vec<Seen>,
    /// Frames sent.
    pub sent: Vec<(Opcode, Vec<u8>)>,
    /// Bytes sent.
    pub output: Vec<u8>,
    pub reason: Option<CloseReason>,
    pub state: State,
}

/// An event with bytes of its own.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Message(Opcode, Vec<u8>),
    Frame(Frame<'static>),
}

impl Seen {
    /// What was said, whatever key masked it: whether it ends a message, the opcode, the payload.
    pub fn plain(&self) -> (bool, Opcode, &[u8]) {
        match self {
            Self::Message(opcode, bytes) => (true, *opcode, bytes),
            Self::Frame(frame) => (frame.fin, frame.opcode, &frame.payload),
        }
    }
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(message) => {
                if let Message::Text(text) = &message {
                    assert_eq!(text.as_str().as_bytes(), text.as_bytes());
                }
                Self::Message(message.opcode(), message.as_bytes().to_vec())
            }
            Event::Frame(frame) => Self::Frame(frame.into_owned()),
        }
    }
}

impl Run {
    /// An open connection.
    pub fn connection(&self, output: &mut Vec<u8>) -> Connection {
        let now = Instant::now();
        let mut connection = match self.role {
            Role::Server => Connection::server(self.settings.clone(), now),
            Role::Client => Connection::client(self.settings.clone(), [7; 32], now),
        };
        connection.upgrade(self.settings.clone(), now);
        let offers = "permessage-deflate; client_max_window_bits, x-first, x-second";
        let offers = extension::parse([offers.as_bytes()]).expect("they are legal");
        connection.agree_on(self.settings.answer(&offers, &Takeovers::default()));
        if self.close_first {
            connection.close(CloseCode::NORMAL, "enough", now, output).expect("it is open");
        }
        connection
    }

    /// Receives all of `wire` at once.
    pub fn whole(&self, wire: &[u8]) -> Outcome {
        self.pieces(wire, wire.len().max(1), InPlace::No)
    }

    /// Asserts that pieces come to the same as the `whole`, and that little is held meanwhile.
    pub fn check_pieces(&self, wire: &[u8], size: usize, whole: &Outcome) {
        for in_place in [InPlace::No, InPlace::Yes] {
            assert_eq!(&self.pieces(wire, size, in_place), whole, "pieces of {size}, {in_place:?}");
            self.check_memory(wire, size, in_place);
        }
        if wire.len() <= 1024 {
            assert_eq!(&self.pieces(wire, 1, InPlace::No), whole, "byte by byte");
        }
    }

    fn pieces(&self, wire: &[u8], size: usize, in_place: InPlace) -> Outcome {
        let (mut events, mut output) = (Vec::new(), Vec::new());
        let mut connection = self.connection(&mut output);
        feed(&mut connection, &mut wire.to_vec(), size, in_place, &mut output, |event, _| {
            events.extend(event.map(Seen::from));
        });
        let sent = frames(self.role, &output);
        let reason = connection.close_reason().cloned();
        Outcome { events, sent, output, reason, state: connection.state() }
    }

    /// §10.4: what is held is bounded by what has arrived, and by the limits.
    fn check_memory(&self, wire: &[u8], size: usize, in_place: InPlace) {
        let limits = &self.settings.limits;
        let mut wire = wire.to_vec();
        let mut output = Vec::with_capacity(2 * wire.len() + 1024);
        let room = output.capacity();
        let (times, least) = match in_place {
            InPlace::No => (2, 2 << 10),
            // Room for the next kilobytes is doubled with the rest.
            InPlace::Yes => (2, 12 << 10),
        };

        let before = memory::held();
        let mut connection = self.connection(&mut output);
        feed(&mut connection, &mut wire, size, in_place, &mut output, |event, arrived| {
            drop(event);
            let payload = arrived.min(limits.max_message.max(limits.max_frame));
            let held = memory::held() - before;
            let most = match &self.settings.deflate {
                // A frame that is gathered, the one that extensions have in hand, and the message.
                None if self.settings.extensions != Extensions::new() => {
                    3 * times * (payload + 200) + least
                }
                None => times * payload + least,
                // What was inflated is no longer than a message, and has doubled its room; an inflater
                // and a window come on top.
                Some(_) => 2 * limits.max_message + (128 << 10) + least,
            };
            assert!(held <= most as isize, "{held} held of {arrived}");
        });
        connection.receive_eof();
        drop(connection);
        assert_eq!(memory::held(), before, "nothing stays behind");
        assert_eq!(output.capacity(), room, "what is sent is bounded by what arrives");
    }
}

/// Whether large frames are read straight into their place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum InPlace {
    Yes,
    No,
}

/// Receives `wire` in pieces that have `size` bytes on average, or in one if that is all of it. Calls
/// `seen` with each event, and with `None` after each piece, and with the number of bytes that have
/// arrived.
fn feed(
    connection: &mut Connection,
    mut wire: &mut [u8],
    size: usize,
    in_place: InPlace,
    output: &mut Vec<u8>,
    mut seen: impl FnMut(Option<Event<'_>>, usize),
) {
    let (now, mut pool) = (Instant::now(), Pool::new(0));
    let total = wire.len();
    let mut dice = size as u64;
    // In pieces of an odd size, little may be inflated at a time.
    let stops = size % 2 == 1;
    if stops {
        pool.set_inflate_allowance(0);
    }
    while !wire.is_empty() {
        // Whatever the fuzzer chooses for `size`, it chooses other cuts.
        dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let size = if size < total { 1 + (dice >> 33) as usize % (2 * size - 1) } else { total };
        let size = size.min(wire.len());
        if in_place == InPlace::Yes
            && let Some(space) = connection.space(&mut pool)
        {
            let len = size.min(space.len());
            space[..len].copy_from_slice(&wire[..len]);
            wire = &mut mem::take(&mut wire)[len..];
            seen(connection.receive_in_place(len, now, output), total - wire.len());
            continue;
        }
        let (mut piece, rest) = mem::take(&mut wire).split_at_mut(size);
        wire = rest;
        loop {
            let event = connection.receive(&mut piece, now, &mut pool, output);
            let is_none = event.is_none();
            if !is_none {
                seen(event, total - wire.len());
            } else if piece.is_empty() {
                break;
            }
            if stops {
                // Now and then nothing, and always something in the end.
                dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                pool.set_inflate_allowance((dice >> 33) as usize % 3000 + usize::from(is_none));
            } else {
                assert!(!is_none, "all of the input is used up");
            }
        }
        seen(None, total - wire.len());
    }
}

/// The frames that an endpoint of this role has sent, unmasked.
fn frames(role: Role, mut output: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let receiver = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let rules = HeaderRules { role: receiver, max_payload: usize::MAX, rsv: Rsv::NONE };
    let mut frames = Vec::new();
    while !output.is_empty() {
        let (header, len) = Header::decode(output, &rules).expect("legal").expect("whole");
        let (payload, rest) = output[len..].split_at(header.payload_len() as usize);
        let mut payload = payload.to_vec();
        if let Some(key) = header.masking_key() {
            apply_mask(&mut payload, key, 0);
        }
        frames.push((header.opcode(), payload));
        output = rest;
    }
    frames
}

impl Outcome {
    /// What holds whatever was received.
    pub fn check(&self, run: &Run) {
        for event in &self.events {
            let (mode, len, max) = match event {
                Seen::Message(_, bytes) => {
                    (Mode::Messages, bytes.len(), run.settings.limits.max_message)
                }
                Seen::Frame(frame) => {
                    let limits = &run.settings.limits;
                    let max = match &run.settings.deflate {
                        _ if frame.opcode.is_control() => 125,
                        // Inflated, a frame may come to a whole message.
                        Some(_) => limits.max_message,
                        None => limits.max_frame,
                    };
                    (Mode::Raw, frame.payload.len(), max)
                }
            };
            assert!(mode == run.settings.mode && len <= max, "{event:?}");
        }

        // §5.5.1: one Close, and nothing behind it.
        let closes = self.sent.iter().filter(|(opcode, _)| *opcode == Opcode::Close).count();
        let close = self.sent.last().filter(|(opcode, _)| *opcode == Opcode::Close);
        assert_eq!(closes, close.iter().count());

        let close =
            close.map(|(_, payload)| decode_close(payload).expect("legal").expect("a code"));
        let Some(reason) = &self.reason else {
            assert_eq!((self.state, close), (State::Open, None));
            return;
        };
        let said = (reason.code, &*reason.text);
        match reason.cause {
            // The first cause is the only one.
            CloseCause::Local => {
                assert!(run.close_first && said == (CloseCode::NORMAL, "enough"));
                assert_eq!(close, Some(said));
                assert_ne!(self.state, State::Open);
            }
            CloseCause::Peer if run.settings.mode == Mode::Raw => {
                assert_eq!((self.state, close), (State::CloseReceived, None));
            }
            CloseCause::Peer => {
                assert_eq!(self.state, State::CloseExchanged);
                if reason.code != CloseCode::NO_STATUS {
                    assert_eq!(close, Some(said));
                }
            }
            // §7.1.7: a failure says what it was.
            CloseCause::Protocol(error) => {
                assert_eq!(said, (error.close_code(), error.to_string().as_str()));
                assert_eq!((self.state, close), (State::Closed, Some(said)));
            }
            CloseCause::Timeout(_) | CloseCause::Answered(_) | CloseCause::Lost => {
                panic!("{reason:?}")
            }
        }
    }
}
