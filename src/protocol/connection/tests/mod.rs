//! Conversations: an endpoint against bytes, and a client against a server, under a hand-moved clock.
//!
//! [`reading`] goes from bytes to events in an open connection; [`states`] has a heading per state;
//! [`raw`] is raw mode; `compressed` is permessage-deflate; [`extended`] is extensions of one's own, and
//! [`negotiation`] how they are agreed on; [`histories`] plays random ones.

mod compressed;
mod extended;
mod histories;
mod negotiation;
mod raw;
mod reading;
mod states;

use std::{
    iter::Cycle,
    slice,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use super::*;
use crate::protocol::{
    buffer::Payload,
    extension::{self, deflate::Takeovers},
    frame::HeaderRules,
};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

// ---- frames ------------------------------------------------------------------------------------

/// First bytes of frames: FIN, RSV and opcode.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const TEXT_START: u8 = 0x01;
const BINARY_START: u8 = 0x02;
const CONTINUATION: u8 = 0x00;
const CONTINUATION_END: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

const ANY_RSV: Rsv = Rsv::RSV1.with(Rsv::RSV2).with(Rsv::RSV3);

/// A frame without its masking: the first byte and the payload.
type Bare = (u8, Vec<u8>);

fn bare(first: u8, payload: impl AsRef<[u8]>) -> Bare {
    (first, payload.as_ref().to_vec())
}

fn close_frame(code: u16, reason: &str) -> Bare {
    (CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// `frames` as the peer of an endpoint of role `to` sends them. The first byte may be illegal.
fn wire(to: Role, frames: &[Bare]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (first, payload) in frames {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masking_key = (to == Role::Server).then_some(key);
        let header = Header { masking_key, ..Header::new(Opcode::Binary, payload.len() as u64) };
        let (mut bytes, len) = header.encode();
        bytes[0] = *first;
        wire.extend_from_slice(&bytes[..len]);
        let start = wire.len();
        wire.extend_from_slice(payload);
        masking_key.into_iter().for_each(|key| apply_mask(&mut wire[start..], key, 0));
    }
    wire
}

/// The frames that an endpoint of role `from` wrote to `wire`, all of them whole and legal.
fn frames(from: Role, mut wire: &[u8]) -> Vec<Bare> {
    let role = other(from);
    let rules = HeaderRules { role, max_payload: usize::MAX, rsv: ANY_RSV };
    let mut frames = Vec::new();
    while let Some((header, len)) = Header::decode(wire, &rules).expect("own frames are legal") {
        let (payload, rest) = wire[len..].split_at(header.payload_len as usize);
        let mut payload = payload.to_vec();
        header.masking_key.into_iter().for_each(|key| apply_mask(&mut payload, key, 0));
        frames.push((wire[0], payload));
        wire = rest;
    }
    assert!(wire.is_empty(), "a frame is cut off: {wire:02x?}");
    frames
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

// ---- one endpoint ------------------------------------------------------------------------------

/// What an endpoint hands up, with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Frame(u8, Vec<u8>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(Message::Text(text)) => Self::Text(text.as_str().into()),
            Event::Message(Message::Binary(bytes)) => Self::Binary(bytes.to_vec()),
            Event::Frame(Frame { fin, rsv, opcode, payload, .. }) => {
                let first = u8::from(fin) << 7 | rsv.bits() << 4 | opcode as u8;
                Self::Frame(first, payload.to_vec())
            }
        }
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

fn binary(bytes: impl AsRef<[u8]>) -> Seen {
    Seen::Binary(bytes.as_ref().to_vec())
}

/// A connection with what its owner would bring: a clock, buffers, and a memory.
struct Endpoint {
    connection: Connection,
    now: Instant,
    pool: Pool,
    /// How much may be inflated by the calls up to the next stop; then the next of them.
    allowances: Cycle<slice::Iter<'static, usize>>,
    seen: Vec<Seen>,
    output: Vec<u8>,
}

/// When every test begins.
fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

impl Endpoint {
    fn connecting(role: Role, settings: &Settings) -> Self {
        let settings = Arc::new(settings.clone());
        let connection = match role {
            Role::Client => Connection::client(settings, [7; 32], start()),
            Role::Server => Connection::server(settings, start()),
        };
        Self {
            connection,
            now: start(),
            pool: Pool::new(1 << 20),
            allowances: [usize::MAX].iter().cycle(),
            seen: Vec::new(),
            output: Vec::new(),
        }
    }

    /// One that has opened, and has agreed on all extensions that it has.
    fn open(role: Role, settings: &Settings) -> Self {
        let mut endpoint = Self::connecting(role, settings);
        endpoint.connection.upgrade(Arc::new(settings.clone()), start());
        let mut offers =
            extension::parse([&b"permessage-deflate; client_max_window_bits"[..]]).unwrap();
        offers.extend(
            settings.extensions.iter().map(|own| Offer { name: own.name(), params: vec![] }),
        );
        endpoint.connection.agree_on(settings.answer(&offers, &Takeovers::default()));
        endpoint
    }

    /// Hears `bytes` in one read, and goes on wherever an allowance is used up.
    fn hear(&mut self, bytes: &[u8]) {
        let mut wire = bytes.to_vec();
        let mut input = wire.as_mut_slice();
        loop {
            let Self { connection, now, pool, seen, output, .. } = self;
            while let Some(event) = connection.receive(&mut input, *now, pool, output) {
                seen.push(event.into());
            }
            assert_eq!(*input, bytes[bytes.len() - input.len()..], "the rest is as it was");
            if input.is_empty() {
                return;
            }
            assert_eq!(pool.inflate_allowance(), 0, "the input is used up");
            pool.set_inflate_allowance(*self.allowances.next().expect("there is always one"));
        }
    }

    /// Hears these frames from its peer.
    fn hear_frames(&mut self, frames: &[Bare]) {
        self.hear(&wire(self.connection.role(), frames));
    }

    /// Hears `bytes` as they come in reads of at most `read` bytes, the rest of large frames read
    /// straight into its place; tells how many bytes took that way.
    fn hear_in_place(&mut self, mut bytes: &[u8], read: usize) -> usize {
        let mut in_place = 0;
        while !bytes.is_empty() {
            let Some(space) = self.connection.space(&mut self.pool) else {
                let (now, later) = bytes.split_at(read.min(bytes.len()));
                self.hear(now);
                bytes = later;
                continue;
            };
            let (now, later) = bytes.split_at(read.min(bytes.len()).min(space.len()));
            space[..now.len()].copy_from_slice(now);
            let event = self.connection.receive_in_place(now.len(), self.now, &mut self.output);
            self.seen.extend(event.map(Seen::from));
            in_place += now.len();
            bytes = later;
        }
        in_place
    }

    /// Lets time pass and its deadline come, if that is due.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.connection.handle_timeout(self.now, &mut self.output);
    }

    /// How long until its next deadline.
    fn time_left(&self) -> Option<Duration> {
        self.connection.next_deadline().map(|deadline| deadline - self.now)
    }

    fn say<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.connection.send(&message.into(), &mut self.pool, &mut self.output)
    }

    fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.connection.ping(payload, &mut self.output)
    }

    fn set_behind(&mut self, behind: bool) {
        self.connection.set_behind(behind, &mut self.output);
    }

    fn close(&mut self, code: u16, reason: &str) -> Result<(), SendError> {
        self.connection.close(CloseCode(code), reason, self.now, &mut self.output)
    }

    fn give_up(&mut self, cause: CloseCause, code: CloseCode, text: &str) {
        self.connection.give_up(cause, code, text, self.now, &mut self.output);
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) -> Result<(), SendError> {
        // The RSV bits of a first byte are a frame's only by way of the parser.
        let rules = HeaderRules { role: Role::Client, max_payload: 0, rsv: ANY_RSV };
        let (header, _) = Header::decode(&[first | 0x80, 0], &rules).unwrap().unwrap();
        let frame = Frame::of(&header, Payload::Borrowed(payload));
        let frame = Frame { fin: first & 0x80 != 0, ..frame };
        self.connection.send_frame(&frame, self.now, &mut self.pool, &mut self.output)
    }

    /// What it sent since this was last asked.
    fn sent(&mut self) -> Vec<Bare> {
        frames(self.connection.role(), &std::mem::take(&mut self.output))
    }

    fn state(&self) -> State {
        self.connection.state()
    }

    /// The cause and code of its end, where there is one.
    fn ended(&self) -> Option<(CloseCause, u16, &str)> {
        self.connection.close_reason().map(|reason| (reason.cause, reason.code.0, &*reason.text))
    }
}

/// All that some input came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Seen>,
    sent: Vec<Bare>,
    state: State,
    reason: Option<CloseReason>,
}

impl From<Endpoint> for Outcome {
    fn from(mut endpoint: Endpoint) -> Self {
        Self {
            sent: endpoint.sent(),
            state: endpoint.state(),
            reason: endpoint.connection.close_reason().cloned(),
            seen: endpoint.seen,
        }
    }
}

/// What `wire` comes to: whole, byte by byte, in two pieces at each offset, with large payloads read in
/// place, and with little inflated at a time. All have to agree. In a wire of more than 2000 bytes not every offset is tried: those
/// near the ends, near powers of two, and every 997th.
fn every_way(name: &str, role: Role, settings: &Settings, wire: &[u8]) -> Outcome {
    let fed = |feed: &dyn Fn(&mut Endpoint)| {
        let mut endpoint = Endpoint::open(role, settings);
        feed(&mut endpoint);
        Outcome::from(endpoint)
    };
    let whole = fed(&|endpoint| endpoint.hear(wire));
    let bytes = fed(&|endpoint| wire.chunks(1).for_each(|byte| endpoint.hear(byte)));
    assert_eq!(bytes, whole, "{name}, {role:?}, byte by byte");

    for allowances in [&[1][..], &[100, 1, 4000, 30, 2, 20_000]] {
        for read in [wire.len(), 7] {
            let stopped = fed(&|endpoint| {
                endpoint.pool.set_inflate_allowance(0);
                endpoint.allowances = allowances.iter().cycle();
                wire.chunks(read.max(1)).for_each(|piece| endpoint.hear(piece));
            });
            assert_eq!(stopped, whole, "{name}, {role:?}, {allowances:?} by {read}");
        }
    }
    let near = |cut: usize| cut.next_power_of_two() - cut < 3 || cut.is_multiple_of(997);
    let tried =
        |cut: &usize| wire.len() <= 2000 || *cut < 32 || wire.len() - cut < 32 || near(*cut);
    for cut in (0..=wire.len()).filter(tried) {
        let (first, second) = wire.split_at(cut);
        let cut_there =
            fed(&|endpoint| [first, second].iter().for_each(|piece| endpoint.hear(piece)));
        assert_eq!(cut_there, whole, "{name}, {role:?}, cut at {cut}");
    }
    for read in [1, 7, 4 << 10, 100_000] {
        let in_place = fed(&|endpoint| _ = endpoint.hear_in_place(wire, read));
        assert_eq!(in_place, whole, "{name}, {role:?}, in place by {read}");
    }
    whole
}

// ---- two endpoints -----------------------------------------------------------------------------

/// A client and a server joined in memory, under one clock.
struct Pair {
    client: Endpoint,
    server: Endpoint,
}

impl Pair {
    fn open(settings: &Settings) -> Self {
        Self {
            client: Endpoint::open(Role::Client, settings),
            server: Endpoint::open(Role::Server, settings),
        }
    }

    /// The endpoint of role `role`, and its peer.
    fn ends(&mut self, role: Role) -> (&mut Endpoint, &mut Endpoint) {
        match role {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        }
    }

    /// Carries what is sent, both ways, until both have nothing more to say.
    fn exchange(&mut self) {
        while !(self.client.output.is_empty() && self.server.output.is_empty()) {
            let to_server = std::mem::take(&mut self.client.output);
            let to_client = std::mem::take(&mut self.server.output);
            self.server.hear(&to_server);
            self.client.hear(&to_client);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.client.wait(time);
        self.server.wait(time);
    }
}

fn settings(mode: Mode) -> Settings {
    Settings { mode, ..Settings::default() }
}

fn limits(limits: Limits) -> Settings {
    Settings { limits, ..Settings::default() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
