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
    #[inline]
    pub fn check(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        if self.tail_len == 0 && is_short_text(piece) { Ok(()) } else { self.check_run(piece) }
    }

    fn check_run(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let piece = self.finish_tail(piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        let (whole, tail) = piece.split_at(piece.len() - unfinished(piece));
        let is_legal = check_widely(piece).unwrap_or_else(|| {
            basic::from_utf8(whole).is_ok() && (tail.is_empty() || is_prefix(tail))
        });
        if !is_legal {
            return Err(ProtocolError::InvalidUtf8);
        }
        self.keep(tail);
        Ok(())
    }

    /// Takes a piece of which is known that it is ASCII, and not empty.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidUtf8`] where it follows an unfinished character.
    pub fn check_ascii(&self) -> Result<(), ProtocolError> {
        self.finish()
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
        for (kept, byte) in self.tail.iter_mut().zip(tail) {
            *kept = *byte;
        }
        self.tail_len = tail.len() as u8;
    }
}

/// Whether `piece` is one of most pieces: short and whole. Vectors take a moment to start.
fn is_short_text(piece: &[u8]) -> bool {
    match piece.len() {
        ..64 => piece.is_ascii() || is_padded_text(piece),
        64..=1024 => piece.is_ascii(),
        1025.. => false,
    }
}

/// Whether `piece`, of less than 64 bytes, is whole text: filled up to the size at which vectors are
/// used. What ends inside a character is none, as the filling does not go on with it.
fn is_padded_text(piece: &[u8]) -> bool {
    let mut padded = [0; 64];
    padded[..piece.len()].copy_from_slice(piece);
    basic::from_utf8(&padded).is_ok()
}

/// From this size on the widest vectors are worth their start: bytes.
#[cfg(any(test, target_arch = "x86", target_arch = "x86_64"))]
const WIDE: usize = 1 << 10;

/// Whether some continuation makes `piece` valid, by vectors of 64 bytes where the processor has them.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn check_widely(piece: &[u8]) -> Option<bool> {
    use fearless_simd::{Level, Simd};

    let start = piece.first_chunk::<3>().filter(|_| piece.len() >= WIDE)?;
    let avx512 = Level::new().as_avx512()?;
    let mut first = [0; 6];
    first[3..].copy_from_slice(start);
    Some(
        is_legal(&first)
            && avx512.vectorize(
                #[inline(always)]
                || is_legal(piece),
            ),
    )
}

/// Elsewhere the other way is as good.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn check_widely(_: &[u8]) -> Option<bool> {
    None
}

/// Whether each byte but the first three may follow the three before it (§8.1, RFC 3629 section 4). All
/// are judged alike and without a branch, which compilers turn into vectors.
#[cfg(any(test, target_arch = "x86", target_arch = "x86_64"))]
#[inline(always)]
fn is_legal(bytes: &[u8]) -> bool {
    let len = bytes.len() - 3;
    let thirds = &bytes[..len];
    let seconds = &bytes[1..][..len];
    let befores = &bytes[2..][..len];
    let (mut misplaced, mut wrong) = (0, 0);
    for (((&byte, &before), &second), &third) in
        bytes[3..].iter().zip(befores).zip(seconds).zip(thirds)
    {
        // The top bit says whether one of the three asks for a continuation byte here, and whether
        // this is one.
        let asked = before.saturating_sub(0xc0 - 0x80)
            | second.saturating_sub(0xe0 - 0x80)
            | third.saturating_sub(0xf0 - 0x80);
        let given = byte & !byte.wrapping_add(byte);
        misplaced |= asked ^ given;
        // What some first bytes leave for the second: nothing overlong, no surrogate, no more than
        // U+10FFFF.
        let least = match before {
            0xe0 => 0xa0,
            0xf0 => 0x90,
            _ => 0,
        };
        let most = match before {
            0xed => 0x9f,
            0xf4 => 0x8f,
            // The largest first byte there is.
            _ => 0xf4,
        };
        let is_overlong = 2u8.saturating_sub(byte ^ 0xc0);
        wrong |= u8::saturating_sub(least, byte) | byte.saturating_sub(most) | is_overlong;
    }
    misplaced & 0x80 == 0 && wrong == 0
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` and ends: how many bytes went in before the piece that failed, or whether the
    /// end was fine.
    fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<bool, usize> {
        let mut checker = Utf8Checker::default();
        let mut before = 0;
        for piece in pieces {
            checker.check(piece).map_err(|_| before)?;
            before += piece.len();
        }
        Ok(checker.finish().is_ok())
    }

    /// Every proper prefix of every character: what a text may end with and still be saved.
    fn unfinished_characters() -> HashSet<Vec<u8>> {
        let mut prefixes = HashSet::new();
        for character in '\0'..=char::MAX {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            for len in 1..bytes.len() {
                if !prefixes.contains(&bytes[..len]) {
                    prefixes.insert(bytes[..len].to_vec());
                }
            }
        }
        prefixes
    }

    /// What `feed` should say of `text` byte by byte, from the list of all characters alone.
    fn oracle(text: &[u8], unfinished: &HashSet<Vec<u8>>) -> Result<bool, usize> {
        let mut start = 0;
        for at in 0..text.len() {
            let character = &text[start..=at];
            if str::from_utf8(character).is_ok() {
                start = at + 1;
            } else if !unfinished.contains(character) {
                return Err(at);
            }
        }
        Ok(start == text.len())
    }

    #[test]
    fn text_is_judged_alike_wherever_it_is_cut() {
        for (name, text, expected) in [
            ("nothing", &b""[..], Ok(true)),
            ("ASCII", b"Hello", Ok(true)),
            ("two bytes a character", "é".as_bytes(), Ok(true)),
            ("three bytes a character", "κόσμε€".as_bytes(), Ok(true)),
            ("four bytes a character", "a😀b😀".as_bytes(), Ok(true)),
            ("first of two bytes", b"\xc2\x80", Ok(true)),
            ("last of two bytes", b"\xdf\xbf", Ok(true)),
            ("first of three bytes", b"\xe0\xa0\x80", Ok(true)),
            ("last before the surrogates", b"\xed\x9f\xbf", Ok(true)),
            ("first after the surrogates", b"\xee\x80\x80", Ok(true)),
            ("a noncharacter is valid", b"\xef\xbf\xbf", Ok(true)),
            ("first of four bytes", b"\xf0\x90\x80\x80", Ok(true)),
            ("U+10FFFF", b"\xf4\x8f\xbf\xbf", Ok(true)),
            ("ends after one of two", b"ab\xc3", Ok(false)),
            ("ends after two of three", b"ab\xe2\x82", Ok(false)),
            ("ends after three of four", b"ab\xf0\x9f\x98", Ok(false)),
            ("a continuation byte begins nothing", b"ab\x80cd", Err(2)),
            ("C0 begins nothing", b"\xc0\xaf", Err(0)),
            ("C1 begins nothing", b"\xc1\xbf", Err(0)),
            ("three bytes for what needs two", b"\xe0\x9f\xbf", Err(1)),
            ("four bytes for what needs three", b"\xf0\x8f\xbf\xbf", Err(1)),
            ("first surrogate", b"\xed\xa0\x80", Err(1)),
            ("last surrogate", b"\xed\xbf\xbf", Err(1)),
            ("U+110000", b"\xf4\x90\x80\x80", Err(1)),
            ("F5 begins nothing", b"\xf5\x80\x80\x80", Err(0)),
            ("FF begins nothing", b"ab\xff", Err(2)),
            ("a character cut short by ASCII", b"\xe2\x82a", Err(2)),
            ("a character cut short by another", b"\xf0\x9f\x98\xc3\xa9", Err(3)),
            // The text of Autobahn 6.4: valid up to its last character, which is beyond U+10FFFF.
            ("valid, then beyond U+10FFFF", b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80edited", Err(6)),
        ] {
            assert_eq!(feed(text.chunks(1)), expected, "{name}, byte by byte");
            for cut in 0..=text.len() {
                let (head, tail) = text.split_at(cut);
                // A piece fails where it holds the first wrong byte, and not a piece later.
                let in_two = expected.map_err(|at| if at < cut { 0 } else { cut });
                assert_eq!(feed([head, tail]), in_two, "{name}, cut at {cut}");
                assert_eq!(feed([head, b"", tail]), in_two, "{name}, nothing at {cut}");
            }
        }
    }

    #[test]
    fn every_short_text_fails_at_its_first_wrong_byte() {
        let unfinished = unfinished_characters();
        // One byte of each kind that the grammar tells apart, with both of its ends.
        let kinds = [
            0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
            0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff,
        ];
        for text in
            (0..24usize.pow(4)).map(|n| [n, n / 24, n / 576, n / 13_824].map(|n| kinds[n % 24]))
        {
            let expected = oracle(&text, &unfinished);
            assert_eq!(feed(text.chunks(1)), expected, "{text:02x?} byte by byte");
            let in_twos = expected.map_err(|at| at / 2 * 2);
            assert_eq!(feed(text.chunks(2)), in_twos, "{text:02x?} in twos");
            let mut behind_three = [0; 7];
            behind_three[3..].copy_from_slice(&text);
            assert_eq!(is_legal(&behind_three), expected.is_ok(), "{text:02x?} at once");
        }
    }

    #[test]
    fn a_long_text_fails_by_any_byte_that_is_wrong() {
        let text = "Grüße, κόσμε! 你好 😀 ".repeat(60).into_bytes();
        assert!(text.len() > WIDE + 200);
        assert_eq!(feed([&text[..]]), Ok(true));
        for at in 0..text.len() {
            let cut = &text[..at];
            let ends = str::from_utf8(cut).is_ok();
            assert_eq!(feed([cut]), Ok(ends), "cut at {at}");
            assert_eq!(feed([cut, &text[at..]]), Ok(true), "cut at {at}");
            for wrong in [0x80, 0xc0, 0xf5, 0xff] {
                let mut text = text.clone();
                text[at] = wrong;
                let is_text = str::from_utf8(&text).is_ok();
                assert_eq!(feed([&text[..]]) == Ok(true), is_text, "{wrong:#x} at {at}");
            }
        }
    }

    /// Text in which characters of every width stand beside each other, now and then with a byte
    /// that is wrong.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            20 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            10 => "[ -~]{1,80}".prop_map(String::into_bytes),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cuts_give_what_std_says_of_the_whole(text in nearly_text(), size in 1..100usize) {
            let (expected, wrong) = match str::from_utf8(&text) {
                Ok(_) => (Ok(true), text.len()),
                Err(error) => match error.error_len() {
                    None => (Ok(false), text.len()),
                    // The first wrong byte is the one behind the longest prefix that can be saved.
                    Some(_) => {
                        let from = error.valid_up_to();
                        let saved = (from..text.len())
                            .take_while(|&at| str::from_utf8(&text[from..=at])
                                .is_err_and(|error| error.error_len().is_none()))
                            .count();
                        (Err(from + saved), from + saved)
                    }
                },
            };
            prop_assert_eq!(feed(text.chunks(1)), expected);
            prop_assert_eq!(feed(text.chunks(size)), expected.map_err(|at| at / size * size));
            for cut in 0..=text.len() {
                let (head, tail) = text.split_at(cut);
                let in_two = expected.map_err(|_| if wrong < cut { 0 } else { cut });
                prop_assert_eq!(feed([head, tail]), in_two, "cut at {}", cut);
            }
        }
    }
}
