//! Heads: where the text of a request or a response ends (RFC 9112 §2).
//!
//! Bytes go in as they arrive, one whole [`Head`] comes out. What may never stand in a head is refused
//! with the byte that shows it. What the head says is read by `request` and `response`.

use std::{borrow::Cow, mem};

use super::HandshakeError;
use crate::protocol::{extension::is_token_byte, limits::Limits};

/// One whole head: its lines end as they should, it is within the limits it was read with, and its
/// empty line is the last thing in it. Whether its lines say something is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'i>(Cow<'i, [u8]>);

impl<'i> Head<'i> {
    /// The head at the front of `bytes`; what stands behind its empty line is not looked at. Where
    /// the bytes arrive bit by bit, a [`HeadReader`] does this.
    ///
    /// # Errors
    /// As [`HeadReader::read`], and [`HandshakeError::Unfinished`] where there is no empty line.
    pub fn read(bytes: &'i [u8], limits: &Limits) -> Result<Self, HandshakeError> {
        let len = Scan::default().scan(bytes, limits)?.ok_or(HandshakeError::Unfinished)?;
        Ok(Self(Cow::Borrowed(&bytes[..len])))
    }

    /// The bytes, from the first one to the empty line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Collects one head from what arrives, walking over each byte once however it is cut.
///
/// It owns memory only while it holds a cut-off head, never more than twice
/// [`Limits::max_head`] of it.
#[derive(Debug, Default)]
pub struct HeadReader {
    kept: Vec<u8>,
    scan: Scan,
}

impl HeadReader {
    /// Bytes of memory held for the head so far.
    pub fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes bytes from the front of `input`, up to and with the empty line that ends the head, and
    /// gives that head: borrowed where all of it is in `input`, else owned. `None`, with all of
    /// `input` taken, where more bytes are needed. What follows the head stays in `input`, and no
    /// limit counts it.
    ///
    /// # Errors
    /// What the first offending byte shows, also where the head is not yet whole; then the reader is
    /// of no further use.
    pub fn read<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &Limits,
    ) -> Result<Option<Head<'i>>, HandshakeError> {
        let Some(len) = self.scan.scan(input, limits)? else {
            self.kept.extend_from_slice(mem::take(input).as_ref());
            return Ok(None);
        };
        let (piece, rest) = mem::take(input).split_at_mut(len);
        *input = rest;
        let mut kept = mem::take(self).kept;
        if kept.is_empty() {
            return Ok(Some(Head(Cow::Borrowed(piece))));
        }
        kept.extend_from_slice(piece);
        Ok(Some(Head(Cow::Owned(kept))))
    }

    /// Whether a head has begun and is not done yet.
    pub fn has_begun(&self) -> bool {
        !self.kept.is_empty()
    }
}

/// How far a walk over a head has come.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes seen.
    len: usize,
    /// Bytes seen of the current line.
    line: usize,
    /// The first line has ended.
    in_headers: bool,
    /// The last byte was a carriage return.
    after_cr: bool,
}

impl Scan {
    /// Walks over the next piece; gives how much of it belongs to the head once that ends there.
    fn scan(&mut self, piece: &[u8], limits: &Limits) -> Result<Option<usize>, HandshakeError> {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            self.check_start(byte)?;
            if !byte.is_ascii_control() {
                let text = text_len(&piece[at..]);
                self.text(text, limits)?;
                at += text;
                continue;
            }
            at += 1;
            if self.control(byte, limits)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Refuses a byte that begins no line.
    fn check_start(&self, byte: u8) -> Result<(), HandshakeError> {
        if self.len == 0 && byte == TLS_HANDSHAKE {
            return Err(HandshakeError::Tls);
        }
        // Choice: RFC 9112 §2.2 lets a server skip an empty line in front; that is for clients that
        // send a second request, and this is the first on its connection.
        if self.len == 0 && !is_token_byte(byte) {
            return Err(HandshakeError::FirstLine);
        }
        // RFC 9112 §5.2: a server may refuse folded headers, and does not pass them on.
        if self.line == 0 && matches!(byte, b' ' | b'\t') && !self.after_cr {
            return Err(HandshakeError::Folded);
        }
        Ok(())
    }

    /// Takes `len` bytes within a line.
    fn text(&mut self, len: usize, limits: &Limits) -> Result<(), HandshakeError> {
        if self.after_cr {
            return Err(HandshakeError::BareCarriageReturn);
        }
        let max = limits.max_head_line;
        let line_room = max.saturating_sub(self.line);
        if len > line_room && line_room <= limits.max_head.saturating_sub(self.len) {
            return Err(match self.in_headers {
                false => HandshakeError::FirstLineTooLong { max },
                true => HandshakeError::HeaderTooLong { max },
            });
        }
        self.line += len;
        self.count(len, limits)
    }

    /// Takes a control character; whether it ends the head.
    fn control(&mut self, byte: u8, limits: &Limits) -> Result<bool, HandshakeError> {
        match (byte, self.after_cr) {
            (b'\t', _) => self.text(1, limits).map(|()| false),
            (b'\n', true) => {
                self.after_cr = false;
                self.count(1, limits)?;
                let is_end = self.line == 0;
                self.line = 0;
                self.in_headers = true;
                Ok(is_end)
            }
            (_, true) => Err(HandshakeError::BareCarriageReturn),
            (b'\r', false) => {
                self.after_cr = true;
                self.count(1, limits)?;
                Ok(false)
            }
            (b'\n', false) => Err(HandshakeError::BareLineFeed),
            (_, false) => Err(HandshakeError::ControlCharacter),
        }
    }

    fn count(&mut self, len: usize, limits: &Limits) -> Result<(), HandshakeError> {
        self.len += len;
        let max = limits.max_head;
        if self.len > max { Err(HandshakeError::HeadTooLong { max }) } else { Ok(()) }
    }
}

/// The first byte of a TLS record that carries a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// How many bytes at the front of `bytes` are no control characters.
fn text_len(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let controls = find_controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return 8 * at + controls.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + tail.iter().take_while(|byte| !byte.is_ascii_control()).count()
}

/// The lowest bit set is in the lowest byte of `word` that is a control character; zero where none is.
/// Bytes above that one may be marked without being one, as a subtraction borrows from them.
fn find_controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete_is_zero = word ^ (ONES * 0x7f);
    let delete = delete_is_zero.wrapping_sub(ONES) & !delete_is_zero;
    (below_space | delete) & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_found_at_every_place() {
        for len in 0..40 {
            for byte in 0..=u8::MAX {
                for at in 0..len {
                    // Neighbours from which a subtraction would borrow, and those that it would mark.
                    for (below, above) in [(b' ', b' '), (b'~', b'~'), (0xff, 0x80), (0x80, 0xff)] {
                        let mut bytes = vec![below; len];
                        bytes[at..].fill(above);
                        bytes[at] = byte;
                        let expected = if byte.is_ascii_control() { at } else { len };
                        assert_eq!(text_len(&bytes), expected, "{byte:#x} at {at} of {len}");
                    }
                }
            }
        }
    }
}
