//! The compressor and the inflater over zlib-rs, and where they are while no message is under way.

use std::{fmt, mem};

use zlib_rs::{DeflateConfig, DeflateFlush, InflateFlush, Method, Status, Strategy};

use super::{Agreed, Deflate, Grant, OWN_BITS};
use crate::{
    guard::Panicked,
    protocol::{
        Role,
        buffer::{Buffer, Pool, work},
        error::ProtocolError,
        frame::Opcode,
        utf8::Utf8Checker,
    },
};

/// What a message's compressed form ends with and is sent without (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// [`TAIL`], and an empty final block: it is the end of a stream that was between two blocks.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// The level that uses the fixed codes, for which no table is made (RFC 1951 §3.2.6).
const QUICKEST: u8 = 1;

/// Most bytes inflated in one step, so that each is in the cache still when its UTF-8 is checked.
const STEP: usize = 16 << 10;

/// Bytes of the smallest step.
const LEAST_STEP: usize = 512;

/// Final blocks in one message; more are refused, as each costs a look at the whole window.
const MAX_FINAL_BLOCKS: u32 = 32;

/// One deflate stream, its output cut into messages (RFC 7692 §7.2.1).
///
/// What it is given stays in its window, to be referred to by the messages after, until it is
/// [`reset`](Self::reset).
pub struct Compressor {
    stream: zlib_rs::Deflate,
    config: Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Config {
    window_bits: u8,
    level: u8,
    mem_level: u8,
}

impl Config {
    fn new(window_bits: u8, settings: &Deflate) -> Self {
        Self { window_bits, level: settings.level, mem_level: settings.mem_level }
    }

    /// For a message of `len` bytes that refers to no other.
    fn alone(window_bits: u8, settings: &Deflate, len: usize) -> Self {
        let config = Self::new(window_bits, settings);
        if len < settings.quick_below { Self { level: QUICKEST, ..config } } else { config }
    }
}

impl Compressor {
    /// A compressor with a window of `window_bits` (9 to 15), and the level and memory level of
    /// `settings`, which are legal.
    pub fn new(window_bits: u8, settings: &Deflate) -> Self {
        Self::with_config(Config::new(window_bits, settings))
    }

    fn with_config(config: Config) -> Self {
        let stream = zlib_rs::Deflate::new_with_config(DeflateConfig {
            level: config.level.into(),
            method: Method::Deflated,
            // Negative: without a header (RFC 1951).
            window_bits: -i32::from(config.window_bits),
            mem_level: config.mem_level.into(),
            strategy: Strategy::Default,
        });
        Self { stream, config }
    }

    /// Appends the compressed form of a message to `out`. It may be longer than the payload: then it is
    /// sent all the same, as the payload is in the window now, or the compressor is reset.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            // RFC 7692 §7.2.3.6: the library has nothing to say, which takes one byte.
            out.push(0);
            return;
        }
        let mut rest = payload;
        loop {
            let at = out.len();
            out.resize(at + rest.len() / 2 + 64, 0);
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            self.stream
                .compress(rest, &mut out[at..], DeflateFlush::SyncFlush)
                .expect("the stream and its settings are legal");
            rest = &rest[(self.stream.total_in() - read) as usize..];
            let written = (self.stream.total_out() - written) as usize;
            let is_full = at + written == out.len();
            out.truncate(at + written);
            // A full output may be hiding more.
            if !is_full && rest.is_empty() {
                break;
            }
        }
        debug_assert!(out.ends_with(&TAIL), "a flush ends so");
        out.truncate(out.len() - TAIL.len());
    }

    /// Bytes of memory that it holds: the table of 2^16 hashes, and what grows with its settings.
    fn held(&self) -> usize {
        let Config { window_bits, mem_level, .. } = self.config;
        (132 << 10) + (4 << window_bits) + (7 << (mem_level + 6))
    }

    /// Forgets every message: the next one refers to nothing.
    pub fn reset(&mut self) {
        self.stream.reset();
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compressor").field(&self.config).finish()
    }
}

/// Inflates one message at a time (RFC 7692 §7.2.2), whatever window it was compressed with.
pub struct Inflater {
    stream: zlib_rs::Inflate,
    /// Most bytes that the message may come to, and how many it may still.
    max: usize,
    left: usize,
    /// Final blocks met in this message.
    final_blocks: u32,
    /// The last block was a final one, and nothing has followed it.
    ended: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        let stream = zlib_rs::Inflate::new(false, super::MAX_BITS);
        Self { stream, max: 0, left: 0, final_blocks: 0, ended: false }
    }
}

impl Inflater {
    /// Begins a message that may refer back to `window`, the end of what came out before it, and may
    /// come to `max` bytes.
    pub fn begin(&mut self, window: &[u8], max: usize) {
        (self.max, self.left, self.final_blocks) = (max, max, 0);
        self.restart([window, &[]]);
    }

    fn restart(&mut self, windows: [&[u8]; 2]) {
        self.ended = false;
        self.stream.reset(false);
        for window in windows.into_iter().filter(|window| !window.is_empty()) {
            self.stream.set_dictionary(window).expect("a stream without header takes any");
        }
    }

    /// Inflates `input`, the next piece of the message, to the end of `output`, which holds what came
    /// out of the message since `window` ended. What comes out goes through `utf8` step by step.
    ///
    /// Gives the bytes of input used: all, unless the `pool`'s
    /// [allowance](Pool::set_inflate_allowance) is used up before. Give it the rest later then.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidDeflate`], [`ProtocolError::MessageTooBig`] before more than the most is
    /// held, [`ProtocolError::InvalidUtf8`]. The message is given up then.
    pub fn inflate(
        &mut self,
        input: &[u8],
        window: &[u8],
        output: &mut Buffer,
        mut utf8: Option<&mut Utf8Checker>,
        pool: &mut Pool,
    ) -> Result<usize, ProtocolError> {
        let mut rest = input;
        loop {
            if !rest.is_empty() && pool.inflate_allowance() == 0 {
                return Ok(input.len() - rest.len());
            }
            if self.ended {
                if rest.is_empty() {
                    return Ok(input.len());
                }
                // RFC 7692 §7.2.3.4: a final block ends no message, and the window lives on.
                self.final_blocks += 1;
                if self.final_blocks > MAX_FINAL_BLOCKS {
                    return Err(ProtocolError::InvalidDeflate);
                }
                self.restart([window, output.payload()]);
                pool.count_inflated(window_cost(window.len()) + window_cost(output.len()));
            }
            let at = output.len();
            let mut one_too_many = [0];
            // A guess at what small messages need; large ones double it.
            let want = (4 * rest.len()).max(at).clamp(LEAST_STEP, STEP);
            // What is left in the inflater when the input is used up is little.
            let allowed = if rest.is_empty() { STEP } else { pool.inflate_allowance().max(1) };
            let space = match self.left.min(want).min(allowed) {
                0 => &mut one_too_many[..],
                want => output.space(want, pool),
            };
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            // It stops behind each block, so that blocks can be counted.
            let status = self.stream.decompress(rest, space, InflateFlush::Block);
            let read = (self.stream.total_in() - read) as usize;
            rest = &rest[read..];
            let written = (self.stream.total_out() - written) as usize;
            let is_full = written == space.len();
            let is_block = !is_full && !rest.is_empty();
            pool.count_inflated(written + usize::from(is_block) * work::BLOCK_AS_INFLATED);
            if written > self.left {
                return Err(ProtocolError::MessageTooBig {
                    len: self.max as u64 + 1,
                    max: self.max,
                });
            }
            self.left -= written;
            output.filled(written);
            if let Some(utf8) = &mut utf8 {
                utf8.check(output.payload_from(at))?;
            }
            // What came out before a fault is judged before the fault.
            match status {
                Ok(Status::StreamEnd) => self.ended = true,
                // There may be more behind a block or a full output, also where the input is used up.
                Ok(Status::Ok | Status::BufError) if read > 0 || written > 0 => {}
                Ok(Status::Ok | Status::BufError) if rest.is_empty() => return Ok(input.len()),
                Ok(Status::Ok | Status::BufError) | Err(_) => {
                    return Err(ProtocolError::InvalidDeflate);
                }
            }
        }
    }

    /// Ends the message, all of which was given to [`inflate`](Self::inflate).
    ///
    /// # Errors
    /// As those, where the message ends inside a block: it was cut short.
    pub fn finish(
        &mut self,
        window: &[u8],
        output: &mut Buffer,
        utf8: Option<&mut Utf8Checker>,
        pool: &mut Pool,
    ) -> Result<(), ProtocolError> {
        // Choice: a message may end with its final block, as some senders forget the byte behind it
        // (RFC 7692 §7.2.3.4).
        if self.ended {
            return Ok(());
        }
        // RFC 7692 §7.2.2, and a block of our own that can only be the end where a block could begin. So
        // few bytes inflate to few: no allowance stops them.
        pool.without_stop(|pool| self.inflate(&END, window, output, utf8, pool))?;
        if self.ended { Ok(()) } else { Err(ProtocolError::InvalidDeflate) }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("left", &self.left).finish_non_exhaustive()
    }
}

/// What an inflater takes to begin behind a window, in bytes inflated: it copies that.
fn window_cost(len: usize) -> usize {
    work::BLOCK_AS_INFLATED / 8 + len.min(1 << super::MAX_BITS) / work::INFLATED_BYTE as usize
}

/// The end of what a peer's messages inflated to, for the next one to refer back to.
#[derive(Debug, Default)]
struct Window(Vec<u8>);

impl Window {
    /// Adds `bytes` and keeps the last `size`.
    fn push(&mut self, bytes: &[u8], size: usize) {
        let bytes = &bytes[bytes.len().saturating_sub(size)..];
        let excess = (self.0.len() + bytes.len()).saturating_sub(size);
        self.0.drain(..excess);
        self.0.reserve_exact(size - self.0.len());
        self.0.extend_from_slice(bytes);
    }
}

/// What a connection with takeover owns from its first compressed message on.
#[derive(Debug, Default)]
pub struct Takeover {
    /// Counts it, where a server does.
    _grant: Option<Grant>,
    /// Where our messages may refer back.
    compressor: Option<Compressor>,
    /// Where the peer's may. The state of an inflater is not kept: between two messages it is nothing
    /// but its window.
    window: Window,
}

impl Takeover {
    /// Bytes of memory that it holds.
    pub(in crate::protocol) fn held(&self) -> usize {
        let compressor = self.compressor.as_ref().map_or(0, Compressor::held);
        size_of::<Self>() + self.window.0.capacity() + compressor
    }
}

impl From<Grant> for Takeover {
    fn from(grant: Grant) -> Self {
        Self { _grant: Some(grant), ..Self::default() }
    }
}

/// A compressed message on its way in. It borrows an inflater from its thread, and the window of its
/// connection.
#[derive(Debug)]
pub(in crate::protocol) struct Inflating {
    inflater: Box<Inflater>,
    window: Window,
    agreed: Direction,
}

impl Inflating {
    /// See [`Inflater::inflate`].
    pub(in crate::protocol) fn inflate(
        &mut self,
        piece: &[u8],
        output: &mut Buffer,
        utf8: Option<&mut Utf8Checker>,
        pool: &mut Pool,
    ) -> Result<usize, ProtocolError> {
        self.inflater.inflate(piece, &self.window.0, output, utf8, pool)
    }

    /// See [`Inflater::finish`].
    pub(in crate::protocol) fn finish(
        &mut self,
        output: &mut Buffer,
        utf8: Option<&mut Utf8Checker>,
        pool: &mut Pool,
    ) -> Result<(), ProtocolError> {
        self.inflater.finish(&self.window.0, output, utf8, pool)
    }

    /// Bytes of the window.
    pub(in crate::protocol) fn window(&self) -> usize {
        self.window.0.capacity()
    }

    /// `output` is handed up before the message has ended: what follows starts with an empty one.
    pub(in crate::protocol) fn keep(&mut self, output: &Buffer) {
        self.window.push(output.payload(), self.agreed.window_size());
    }

    /// The message has ended: gives back what was borrowed.
    pub(in crate::protocol) fn end(
        mut self,
        output: &Buffer,
        takeover: &mut Option<Box<Takeover>>,
        pool: &mut Pool,
    ) {
        if self.agreed.takeover {
            self.keep(output);
            takeover.get_or_insert_default().window = self.window;
        }
        if pool.codecs.inflaters.len() < MAX_INFLATERS {
            pool.codecs.inflaters.push(self.inflater);
        }
    }
}

/// The messages of one side, as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) struct Direction {
    window_bits: u8,
    takeover: bool,
}

impl Agreed {
    /// The messages that an endpoint of role `from` sends.
    pub(in crate::protocol) fn sent_by(self, from: Role) -> Direction {
        match from {
            Role::Server => {
                Direction { window_bits: self.server_window_bits, takeover: self.server_takeover }
            }
            Role::Client => {
                Direction { window_bits: self.client_window_bits, takeover: self.client_takeover }
            }
        }
    }

    /// The messages that an endpoint of role `to` receives.
    pub(in crate::protocol) fn received_by(self, to: Role) -> Direction {
        self.sent_by(match to {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        })
    }
}

impl Direction {
    /// Bytes of the window. Choice: at least 512, as many libraries take 9 bits where 8 are agreed.
    fn window_size(self) -> usize {
        1 << self.window_bits.max(9)
    }

    /// Begins a received message of at most `max` bytes when inflated.
    pub(in crate::protocol) fn begin(
        self,
        takeover: &mut Option<Box<Takeover>>,
        max: usize,
        pool: &mut Pool,
    ) -> Inflating {
        let window = takeover.as_mut().map(|own| mem::take(&mut own.window)).unwrap_or_default();
        let mut inflater = pool.codecs.inflaters.pop().unwrap_or_default();
        inflater.begin(&window.0, max);
        pool.count_inflated(window_cost(window.0.len()));
        Inflating { inflater, window, agreed: self }
    }

    /// The compressed form of a message to be sent; `None` where it goes out plain, as it is shorter
    /// so, or as there is no compressing with the window agreed on. A plain one has left nothing in a
    /// window. Adds to `work`.
    ///
    /// # Errors
    /// The application's condition has panicked.
    pub(in crate::protocol) fn compress<'c>(
        self,
        opcode: Opcode,
        payload: &[u8],
        settings: &Deflate,
        takeover: &mut Option<Box<Takeover>>,
        codecs: &'c mut Codecs,
        work: &mut u64,
    ) -> Result<Option<&'c [u8]>, Panicked> {
        if !OWN_BITS.contains(&self.window_bits) || !settings.is_worth_while(opcode, payload)? {
            return Ok(None);
        }
        *work += work::compressing(payload.len());
        let Codecs { compressors, compressed, .. } = codecs;
        compressed.clear();
        if self.takeover && !settings.for_topics {
            takeover
                .get_or_insert_default()
                .compressor
                .get_or_insert_with(|| Compressor::new(self.window_bits, settings))
                .compress(payload, compressed);
            return Ok(Some(compressed));
        }
        let config = Config::alone(self.window_bits, settings, payload.len());
        let compressor = borrow(compressors, config);
        compressor.compress(payload, compressed);
        compressor.reset();
        Ok((compressed.len() < payload.len()).then_some(compressed))
    }
}

/// The compressor of that kind, made where there is none.
fn borrow(compressors: &mut Vec<Compressor>, config: Config) -> &mut Compressor {
    let at = compressors.iter().position(|spare| spare.config == config).unwrap_or_else(|| {
        compressors.truncate(MAX_COMPRESSORS - 1);
        compressors.push(Compressor::with_config(config));
        compressors.len() - 1
    });
    // The one in use is the last to be given up.
    compressors[..=at].rotate_right(1);
    &mut compressors[0]
}

/// Compressors and inflaters that a thread lends to its connections, message by message.
#[derive(Debug, Default)]
pub struct Codecs {
    /// The latest used first.
    compressors: Vec<Compressor>,
    #[expect(
        clippy::vec_box,
        reason = "the box goes to a message, and what is not whole is small"
    )]
    inflaters: Vec<Box<Inflater>>,
    /// The message compressed last, until it is sent.
    compressed: Vec<u8>,
}

impl Codecs {
    /// The message that was compressed last has been sent.
    pub(in crate::protocol) fn shrink(&mut self) {
        self.compressed.truncate(MAX_SCRATCH);
        self.compressed.shrink_to(MAX_SCRATCH);
    }
}

/// Bytes of memory that an [`Inflater`] holds, rounded up.
pub const INFLATER_SIZE: usize = 47 << 10;

/// Bytes of memory that a compressed message leaves to the next one.
const MAX_SCRATCH: usize = 1 << 20;

/// Compressors that a thread keeps. For one setting that is enough: for each window one of its level, and
/// one for short messages.
const MAX_COMPRESSORS: usize = 2 * 7;

/// Inflaters that a thread keeps.
const MAX_INFLATERS: usize = 8;
