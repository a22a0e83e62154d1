//! The compressor and the inflater, over zlib-rs.

use std::fmt;

use zlib_rs::{DeflateConfig, DeflateFlush, InflateFlush, Method, Status, Strategy};

use super::Deflate;
use crate::protocol::{
    buffer::{Buffer, Pool},
    error::ProtocolError,
    utf8::Utf8Checker,
};

/// What a message's compressed form ends with and is sent without (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// An empty final block: it is the end of a stream that was between two blocks.
const END: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// Bytes inflated in one step, so that each is in the cache still when its UTF-8 is checked.
const STEP: usize = 16 << 10;

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
}

impl Compressor {
    /// A compressor with a window of `window_bits` (9 to 15), and the level and memory level of
    /// `settings`, which are legal.
    pub fn new(window_bits: u8, settings: &Deflate) -> Self {
        let config = Config::new(window_bits, settings);
        let stream = zlib_rs::Deflate::new_with_config(DeflateConfig {
            level: config.level.into(),
            method: Method::Deflated,
            // Negative: without a header (RFC 1951).
            window_bits: -i32::from(window_bits),
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
    /// # Errors
    /// [`ProtocolError::InvalidDeflate`], [`ProtocolError::MessageTooBig`] before more than the most is
    /// held, [`ProtocolError::InvalidUtf8`]. The message is given up then.
    pub fn inflate(
        &mut self,
        mut input: &[u8],
        window: &[u8],
        output: &mut Buffer,
        mut utf8: Option<&mut Utf8Checker>,
        pool: &mut Pool,
    ) -> Result<(), ProtocolError> {
        loop {
            if self.ended {
                if input.is_empty() {
                    return Ok(());
                }
                // RFC 7692 §7.2.3.4: a final block ends no message, and the window lives on.
                self.final_blocks += 1;
                if self.final_blocks > MAX_FINAL_BLOCKS {
                    return Err(ProtocolError::InvalidDeflate);
                }
                self.restart([window, output.payload()]);
            }
            let at = output.len();
            let mut one_too_many = [0];
            let space = match self.left.min(STEP) {
                0 => &mut one_too_many[..],
                want => output.space(want, pool),
            };
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, space, InflateFlush::NoFlush)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            input = &input[(self.stream.total_in() - read) as usize..];
            let written = (self.stream.total_out() - written) as usize;
            let is_full = written == space.len();
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
            match status {
                Status::StreamEnd => self.ended = true,
                // A full output may be hiding more, also where the input is used up.
                Status::Ok | Status::BufError if is_full => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(()),
                Status::Ok | Status::BufError => return Err(ProtocolError::InvalidDeflate),
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
        // RFC 7692 §7.2.2, and a block of our own that can only be the end where a block could begin.
        let end = [TAIL.as_slice(), &END].concat();
        self.inflate(&end, window, output, utf8, pool)?;
        if self.ended { Ok(()) } else { Err(ProtocolError::InvalidDeflate) }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("left", &self.left).finish_non_exhaustive()
    }
}
