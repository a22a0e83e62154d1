//! Text that arrives in pieces (§8.1), against what `std` says of the whole.

use chinwag::{ProtocolError, protocol::utf8::Utf8Checker};

/// All of it is text.
pub fn check(text: &[u8]) {
    let wrong = first_wrong(text);
    let expected = wrong.map_or(Ok(str::from_utf8(text).is_ok()), Err);

    assert_eq!(feed(text.chunks(1)), expected);
    for size in [2, 3, 5, 64] {
        assert_eq!(feed(text.chunks(size)), expected.map_err(|at| at / size * size));
    }
    // A wrong byte in the head shows with the head, one in the tail with the tail.
    for cut in (0..=text.len()).take(1024) {
        let (head, tail) = text.split_at(cut);
        let expected = expected.map_err(|at| if at < cut { 0 } else { cut });
        assert_eq!(feed([head, tail]), expected, "cut at {cut}");
    }
}

/// The first byte after which nothing could make the text valid.
fn first_wrong(text: &[u8]) -> Option<usize> {
    let error = str::from_utf8(text).err()?;
    error.error_len()?;
    let start = error.valid_up_to();
    (start..text.len()).find(|&at| {
        str::from_utf8(&text[start..=at]).is_err_and(|error| error.error_len().is_some())
    })
}

/// Whether the text ended well, or how many bytes came before the piece that was refused.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<bool, usize> {
    let mut checker = Utf8Checker::default();
    let mut before = 0;
    for piece in pieces {
        if let Err(error) = checker.check(piece) {
            assert_eq!(error, ProtocolError::InvalidUtf8);
            return Err(before);
        }
        before += piece.len();
    }
    Ok(checker.finish().is_ok())
}
