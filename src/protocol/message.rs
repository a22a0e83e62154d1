//! Messages: what fragments add up to (§5.4, §5.6).
//!
//! Frames go in, whole messages come out. Control frames may arrive between fragments and pass by
//! untouched. Opcodes and lengths were checked in `frame`; answering a Ping is `connection`'s work.

use std::{fmt, ops::Deref};

use simdutf8::basic;

use super::{
    buffer::{Buffer, Lent, Payload, Pool},
    error::ProtocolError,
    extension::deflate::{INFLATER_SIZE, Inflating, Takeover},
    frame::{Header, Opcode},
    limits::Limits,
    mask::{self, apply_mask},
    utf8::Utf8Checker,
};

/// A whole message (§5.6).
///
/// Received ones are lent for the call that hands them over; [`Message::into_owned`] keeps one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text: valid UTF-8.
    Text(Text<'a>),
    /// Bytes of any kind.
    Binary(Payload<'a>),
}

impl<'a> Message<'a> {
    /// The payload, text or not.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Bytes of payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Text(text) => text.payload_len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The opcode its first frame has.
    pub fn opcode(&self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }

    /// The payload, to be sent on.
    pub fn into_payload(self) -> Payload<'a> {
        match self {
            Self::Text(text) => text.into_payload(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The same message with bytes of its own.
    #[inline]
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Self::Text(text) => Message::Text(Text::checked(text.into_payload().into_owned())),
            Self::Binary(bytes) => Message::Binary(bytes.into_owned()),
        }
    }
}

impl Message<'_> {
    /// As [`into_owned`](Self::into_owned), in a buffer of the `pool`'s.
    pub fn into_owned_in(self, pool: &mut Pool) -> Message<'static> {
        match self {
            Self::Text(text) => {
                Message::Text(Text::checked(text.into_payload().into_owned_in(pool)))
            }
            Self::Binary(bytes) => Message::Binary(bytes.into_owned_in(pool)),
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Message<'_> {
    fn from(text: String) -> Self {
        Self::Text(Text::checked(Payload::Owned(text.into_bytes().into())))
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(Payload::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Message<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(Payload::Owned(bytes.into()))
    }
}

/// The payload of a text message: valid UTF-8, checked as it arrived (§8.1).
///
/// It reads as a `str`. A short text that came in one piece was made one when it was checked; for
/// others each `&str` costs another pass at vector speed, and [`Text::as_bytes`] costs none.
#[derive(Clone)]
pub struct Text<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    Str(&'a str),
    Checked(Payload<'a>),
}

impl<'a> Text<'a> {
    /// `payload` was run through a `Utf8Checker` to its end.
    fn checked(payload: Payload<'a>) -> Self {
        Self(Repr::Checked(payload))
    }

    /// The text as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Str(text) => text.as_bytes(),
            Repr::Checked(payload) => payload,
        }
    }

    /// Bytes of payload, which takes no look at them.
    #[inline]
    fn payload_len(&self) -> usize {
        match &self.0 {
            Repr::Str(text) => text.len(),
            Repr::Checked(payload) => payload.len(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Str(text) => text,
            Repr::Checked(payload) => {
                basic::from_utf8(payload).expect("the text was checked as it arrived")
            }
        }
    }

    /// The payload, to be sent on.
    pub fn into_payload(self) -> Payload<'a> {
        match self.0 {
            Repr::Str(text) => Payload::Borrowed(text.as_bytes()),
            Repr::Checked(payload) => payload,
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Repr::Str(text))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text<'_> {}

/// A payload is unmasked and checked in steps of this many bytes, so that each is in the cache still
/// when it is looked at again.
const STEP: usize = 16 << 10;

/// The least that is unmasked of what is to be inflated.
const LEAST_STEP: usize = 512;

/// The text of a frame of at most this many bytes is made a `str` when it is checked. For longer ones a
/// pass is saved where nobody asks for that.
const SHORT: usize = 4 << 10;

/// Unmasks `payload`, of which `offset` bytes came before (§5.3).
pub(super) fn unmask(payload: &mut [u8], key: Option<[u8; 4]>, offset: usize) {
    // §5.1: what a server sends is not masked.
    if let Some(key) = key {
        apply_mask(payload, key, offset);
    }
}

/// A message in one frame that is whole in memory, its header first: unmasked and checked in place. Always
/// inlined: it is on the way of nearly every message, and has two callers, which would leave it out of line.
#[inline(always)]
pub(super) fn whole_message<'a>(
    opcode: Opcode,
    key: Option<[u8; 4]>,
    frame: &'a mut [u8],
    header_len: usize,
) -> Result<Message<'a>, ProtocolError> {
    if opcode == Opcode::Binary {
        unmask(&mut frame[header_len..], key, 0);
        return Ok(Message::Binary(Payload::Lent(Lent::new(frame, header_len))));
    }
    if frame.len() <= SHORT {
        let payload = &mut frame[header_len..];
        unmask(payload, key, 0);
        let text = basic::from_utf8(payload).map_err(|_| ProtocolError::InvalidUtf8)?;
        return Ok(Message::Text(Text(Repr::Str(text))));
    }
    let mut utf8 = Utf8Checker::default();
    unmask_text(&mut frame[header_len..], key, 0, &mut utf8)?;
    utf8.finish()?;
    Ok(Message::Text(Text::checked(Payload::Lent(Lent::new(frame, header_len)))))
}

fn unmask_text(
    payload: &mut [u8],
    key: Option<[u8; 4]>,
    offset: usize,
    utf8: &mut Utf8Checker,
) -> Result<(), ProtocolError> {
    for (step, piece) in payload.chunks_mut(STEP).enumerate() {
        match key {
            Some(key) if mask::unmask_text(piece, key, offset + step * STEP) => {
                utf8.check_ascii()?
            }
            Some(_) | None => utf8.check(piece)?,
        }
    }
    Ok(())
}

/// A message whose end has not come: what its fragments add up to so far (§5.4).
#[derive(Debug)]
pub(super) struct Unfinished {
    opcode: Opcode,
    utf8: Utf8Checker,
    /// Frames begun.
    frames: u32,
    /// Bytes of payload announced by those frames.
    announced: u64,
    /// Bytes of payload joined; raw mode joins none, but for those of a compressed frame.
    joined: Buffer,
    /// There for a compressed message (RFC 7692).
    inflating: Option<Inflating>,
}

impl Unfinished {
    /// A message of type `opcode`, before its first frame.
    pub(super) fn new(opcode: Opcode) -> Self {
        Self {
            opcode,
            utf8: Utf8Checker::default(),
            frames: 0,
            announced: 0,
            joined: Buffer::default(),
            inflating: None,
        }
    }

    /// A compressed message of type `opcode`, before its first frame.
    pub(super) fn compressed(opcode: Opcode, inflating: Inflating) -> Self {
        Self { inflating: Some(inflating), ..Self::new(opcode) }
    }

    /// Whether it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.inflating.is_some()
    }

    /// Bytes of memory held for it.
    pub(super) fn held(&self) -> usize {
        self.joined.capacity() + self.inflating.as_ref().map_or(0, |_| INFLATER_SIZE)
    }

    /// Bytes of the connection's window that is lent to it.
    pub(super) fn window(&self) -> usize {
        self.inflating.as_ref().map_or(0, Inflating::window)
    }

    /// Counts one more frame.
    pub(super) fn begin_frame(
        &mut self,
        header: &Header,
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        if self.frames >= limits.max_fragments {
            return Err(ProtocolError::TooManyFragments { max: limits.max_fragments });
        }
        self.frames += 1;
        self.announced += header.payload_len;
        check_message_len(self.announced, self.is_compressed(), limits)
    }

    /// Unmasks a piece of the current frame, of which `offset` bytes came before, and checks it.
    fn check(
        &mut self,
        piece: &mut [u8],
        key: Option<[u8; 4]>,
        offset: usize,
    ) -> Result<(), ProtocolError> {
        match self.opcode {
            Opcode::Text => unmask_text(piece, key, offset, &mut self.utf8),
            _ => {
                unmask(piece, key, offset);
                Ok(())
            }
        }
    }

    /// Takes a piece of the current frame, of which `offset` bytes came before; `joins` it to those before
    /// it, or only checks it. Gives the bytes taken, as [`join`](Self::join) does.
    pub(super) fn receive(
        &mut self,
        piece: &mut [u8],
        key: Option<[u8; 4]>,
        offset: usize,
        joins: bool,
        pool: &mut Pool,
    ) -> Result<usize, ProtocolError> {
        if joins {
            return self.join(piece, key, offset, pool);
        }
        self.check(piece, key, offset).map(|()| piece.len())
    }

    /// [`check`](Self::check), and joins the piece to those before it, inflated where that is due. Gives
    /// the bytes taken: all, unless the `pool`'s allowance for inflating is used up before; the others
    /// are as they were then.
    fn join(
        &mut self,
        piece: &mut [u8],
        key: Option<[u8; 4]>,
        offset: usize,
        pool: &mut Pool,
    ) -> Result<usize, ProtocolError> {
        let len = piece.len();
        if let Some(inflating) = &mut self.inflating {
            let mut taken = 0;
            while taken < len && pool.inflate_allowance() > 0 {
                // No more than is likely to be inflated is unmasked.
                let step = pool.inflate_allowance().clamp(LEAST_STEP, STEP).min(len - taken);
                let step = &mut piece[taken..taken + step];
                unmask(step, key, offset + taken);
                let utf8 = (self.opcode == Opcode::Text).then_some(&mut self.utf8);
                let inflated = inflating.inflate(step, &mut self.joined, utf8, pool)?;
                taken += inflated;
                // What is left is masked again.
                unmask(&mut step[inflated..], key, offset + taken);
            }
            return Ok(taken);
        }
        self.check(piece, key, offset)?;
        // The limits have bounded what was announced.
        let missing = self.announced as usize - self.joined.len();
        self.joined.append_towards(piece, missing, pool);
        Ok(len)
    }

    /// Room for the next `want` bytes or fewer, to be read into and then given to
    /// [`join_in_place`](Self::join_in_place).
    pub(super) fn space(&mut self, want: usize, pool: &mut Pool) -> &mut [u8] {
        self.joined.space(want, pool)
    }

    /// [`join`](Self::join) for the first `len` bytes of [`space`](Self::space).
    pub(super) fn join_in_place(
        &mut self,
        len: usize,
        key: Option<[u8; 4]>,
        offset: usize,
    ) -> Result<(), ProtocolError> {
        let at = self.joined.len();
        self.joined.filled(len);
        let mut joined = std::mem::take(&mut self.joined);
        let checked = self.check(joined.payload_from(at), key, offset);
        self.joined = joined;
        checked
    }

    /// Raw mode: what the current frame of a compressed message, which is not its last, inflated to.
    pub(super) fn take_inflated(&mut self) -> Buffer {
        if let Some(inflating) = &mut self.inflating {
            inflating.keep(&self.joined);
        }
        std::mem::take(&mut self.joined)
    }

    /// Ends the compressed form of the message, where it has one, and gives back what that borrowed.
    pub(super) fn finish_inflating(
        &mut self,
        takeover: &mut Option<Box<Takeover>>,
        pool: &mut Pool,
    ) -> Result<(), ProtocolError> {
        if let Some(mut inflating) = self.inflating.take() {
            let utf8 = (self.opcode == Opcode::Text).then_some(&mut self.utf8);
            inflating.finish(&mut self.joined, utf8, pool)?;
            inflating.end(&self.joined, takeover, pool);
        }
        Ok(())
    }

    /// Ends the text of the message, where it is one (§8.1).
    pub(super) fn finish_text(&self) -> Result<(), ProtocolError> {
        self.utf8.finish()
    }

    /// The message, whose last frame is joined.
    pub(super) fn finish(self) -> Result<Message<'static>, ProtocolError> {
        self.finish_text()?;
        let payload = Payload::Owned(self.joined);
        Ok(match self.opcode {
            Opcode::Text => Message::Text(Text::checked(payload)),
            _ => Message::Binary(payload),
        })
    }
}

/// §10.4: a message is at most as long as the limit says; what it inflates to is counted as it does.
pub(super) fn check_message_len(
    len: u64,
    compressed: bool,
    limits: &Limits,
) -> Result<(), ProtocolError> {
    let max = limits.max_message;
    let max = if compressed { Limits::on_the_wire(max) } else { max };
    if len > max as u64 { Err(ProtocolError::MessageTooBig { len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_text_or_binary_by_what_it_is_made_of() {
        let string = String::from("grüße");
        for (message, opcode, bytes) in [
            (Message::from("grüße"), Opcode::Text, "grüße".as_bytes()),
            (Message::from(&string), Opcode::Text, "grüße".as_bytes()),
            (Message::from(string.clone()), Opcode::Text, "grüße".as_bytes()),
            (Message::from(""), Opcode::Text, b""),
            (Message::from(&b"\xff\0"[..]), Opcode::Binary, b"\xff\0"),
            (Message::from(vec![0xff, 0]), Opcode::Binary, b"\xff\0"),
            (Message::from(vec![]), Opcode::Binary, b""),
        ] {
            assert_eq!(message.opcode(), opcode, "{message:?}");
            assert_eq!(message.as_bytes(), bytes, "{message:?}");
            assert_eq!(message.clone().into_owned(), message);
        }
        assert_ne!(Message::from("a"), Message::from(&b"a"[..]), "text is not binary");
    }

    #[test]
    fn a_text_reads_as_a_str_and_is_sent_on_as_its_bytes() {
        let pieces = Text::checked(Payload::Owned("κόσμε".as_bytes().to_vec().into()));
        for text in [Text::from("κόσμε"), pieces] {
            assert_eq!(text, Text::from("κόσμε"));
            assert_ne!(text, Text::from("κόσμος"));
            assert_eq!(text.as_str(), "κόσμε");
            assert_eq!(text.chars().count(), 5, "a Text is a str by Deref");
            assert_eq!(format!("{text} {text:?}"), "κόσμε \"κόσμε\"");
            assert_eq!(&*text.into_payload(), "κόσμε".as_bytes());
        }
    }

    /// ASCII with `bytes` where the second step begins: two of them before it.
    fn around_a_step(bytes: &[u8]) -> Vec<u8> {
        [&[b'a'; STEP - 2], bytes, &[b'a'; STEP]].concat()
    }

    /// A message of two fragments cut at `cut`, each joined in two pieces, under `key`.
    fn join(
        opcode: Opcode,
        payload: &[u8],
        key: Option<[u8; 4]>,
        cut: usize,
    ) -> Result<Message<'static>, ProtocolError> {
        let mut pool = Pool::new(0);
        let mut message = Unfinished::new(opcode);
        let (head, tail) = payload.split_at(cut);
        for fragment in [head, tail] {
            let header = Header::new(opcode, fragment.len() as u64);
            message.begin_frame(&header, &Limits::default())?;
            let mut masked = fragment.to_vec();
            unmask(&mut masked, key, 0);
            let half = masked.len() / 2;
            message.join(&mut masked[..half], key, 0, &mut pool)?;
            message.join(&mut masked[half..], key, half, &mut pool)?;
        }
        message.finish()
    }

    #[test]
    fn a_message_is_the_same_in_one_frame_and_in_pieces() {
        use ProtocolError::InvalidUtf8;
        for (name, payload, text) in [
            ("nothing", &b""[..], Ok(())),
            ("ASCII", b"Hello", Ok(())),
            ("characters of three bytes", "κόσμε€€".as_bytes(), Ok(())),
            ("an unfinished character", b"ab\xe2\x82", Err(InvalidUtf8)),
            ("a wrong byte", b"ab\xffcd", Err(InvalidUtf8)),
            // The second step begins inside a character.
            ("a character on the edge of a step", &around_a_step(b"\xe2\x82\xac"), Ok(())),
            ("a wrong byte behind a step", &around_a_step(b"ab\xff"), Err(InvalidUtf8)),
        ] {
            for key in [None, Some([0x37, 0xfa, 0x21, 0x3d])] {
                let mut masked = payload.to_vec();
                unmask(&mut masked, key, 0);
                let binary = Ok(Message::from(payload));
                assert_eq!(
                    whole_message(Opcode::Binary, key, &mut masked.clone(), 0),
                    binary,
                    "{name}"
                );
                let whole = whole_message(Opcode::Text, key, &mut masked, 0);
                assert_eq!(whole.as_ref().map(|_| ()).map_err(|&error| error), text, "{name}");
                for cut in [0, 1, 2, 3, 4, payload.len() / 2, payload.len()] {
                    let cut = cut.min(payload.len());
                    assert_eq!(
                        join(Opcode::Text, payload, key, cut),
                        whole,
                        "{name}, cut at {cut}"
                    );
                    assert_eq!(join(Opcode::Binary, payload, key, cut), binary, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_message_may_have_its_limits_and_no_more() {
        let limits = Limits { max_message: 10, max_fragments: 3, ..Limits::default() };
        let join = |lens: &[u64]| {
            let mut message = Unfinished::new(Opcode::Text);
            lens.iter().try_for_each(|&len| {
                message.begin_frame(&Header::new(Opcode::Continuation, len), &limits)
            })
        };
        assert_eq!(join(&[10]), Ok(()));
        assert_eq!(join(&[5, 5, 0]), Ok(()));
        assert_eq!(join(&[11]), Err(ProtocolError::MessageTooBig { len: 11, max: 10 }));
        assert_eq!(join(&[5, 6]), Err(ProtocolError::MessageTooBig { len: 11, max: 10 }));
        assert_eq!(
            join(&[10, i64::MAX as u64]),
            Err(ProtocolError::MessageTooBig { len: 10 + i64::MAX as u64, max: 10 })
        );
        assert_eq!(join(&[0, 0, 0, 0]), Err(ProtocolError::TooManyFragments { max: 3 }));
        let unlimited = Limits { max_fragments: u32::MAX, ..limits };
        let mut message = Unfinished { frames: u32::MAX, ..Unfinished::new(Opcode::Text) };
        assert_eq!(
            message.begin_frame(&Header::new(Opcode::Continuation, 0), &unlimited),
            Err(ProtocolError::TooManyFragments { max: u32::MAX }),
            "the count does not wrap"
        );
    }
}
