//! UTF-8 that survives a cut inside a character (§8.1).
//!
//! Bytes go in, piece by piece; the first wrong byte is reported with the piece that holds it. Whole
//! runs are checked at vector speed, and only the tail of a piece, less than one character, is kept.

use simdutf8::basic;

use super::error::ProtocolError;

/// Checks text that arrives in pieces. The default value stands before the first byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8Checker {
    /// The bytes of an unfinished character, a prefix of some valid one.
    tail: [u8; 3],
    tail_len: u8,
}

impl Utf8Checker {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidUtf8`] as soon as no continuation could make the text valid; the
    /// checker is of no use after that.
    pub fn check(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let piece = self.finish_tail(piece)?;
        let (whole, tail) = piece.split_at(piece.len() - unfinished(piece));
        if basic::from_utf8(whole).is_err() || !is_prefix(tail) {
            return Err(ProtocolError::InvalidUtf8);
        }
        self.keep(tail);
        Ok(())
    }

    /// Ends the text.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidUtf8`] where it ends inside a character.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        if self.tail_len == 0 { Ok(()) } else { Err(ProtocolError::InvalidUtf8) }
    }

    /// Completes the kept character from `piece` and gives what follows it; keeps on where even that
    /// does not complete it.
    fn finish_tail<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], ProtocolError> {
        let kept = usize::from(self.tail_len);
        if kept == 0 {
            return Ok(piece);
        }
        let width = char_width(self.tail[0]);
        let missing = (width - kept).min(piece.len());
        let mut character = [0; 4];
        character[..kept].copy_from_slice(&self.tail[..kept]);
        character[kept..kept + missing].copy_from_slice(&piece[..missing]);
        let character = &character[..kept + missing];
        if !is_prefix(character) {
            return Err(ProtocolError::InvalidUtf8);
        }
        self.keep(if character.len() == width { &[] } else { character });
        Ok(&piece[missing..])
    }

    fn keep(&mut self, tail: &[u8]) {
        self.tail[..tail.len()].copy_from_slice(tail);
        self.tail_len = tail.len() as u8;
    }
}

/// How many bytes at the end of `piece` begin a character that `piece` does not finish.
fn unfinished(piece: &[u8]) -> usize {
    let last = &piece[piece.len().saturating_sub(3)..];
    for (back, &byte) in last.iter().rev().enumerate() {
        if byte & 0b1100_0000 != 0b1000_0000 {
            let len = back + 1;
            return if char_width(byte) > len { len } else { 0 };
        }
    }
    0
}

/// How many bytes a character has by its first byte; 1 for whatever begins none.
fn char_width(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// Whether some continuation makes these up to four bytes valid.
fn is_prefix(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}
