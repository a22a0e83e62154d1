//! What a server sends, counted by its headers (§5.2).
//!
//! Bytes go in as they arrive, messages and control frames come out. Payloads are skipped without a
//! look at them; only where somebody cares are they given, or kept if the end of a read cut them off.

use chinwag::{
    Opcode, ProtocolError, Role,
    protocol::frame::{Header, HeaderRules, MAX_HEADER, Rsv},
};

/// Most bytes kept of a message whose payload somebody wants; a longer one is an error.
const MAX_KEPT: usize = 64 << 20;

/// What is wanted of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Care {
    /// That it came, and how long it is.
    #[default]
    Count,
    /// All of it.
    Read,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Message(Reply<'a>),
    Ping(&'a [u8]),
    Pong,
    Close(&'a [u8]),
}

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Text or binary.
    pub opcode: Opcode,
    /// Its payload is compressed (RFC 7692 §6).
    pub compressed: bool,
    /// Bytes of payload, all its frames together.
    pub len: u64,
    /// The payload as it travelled, where [`Care::Read`] was asked for when the message began.
    pub payload: Option<&'a [u8]>,
}

/// Cuts one server's bytes into messages.
#[derive(Debug)]
pub struct Reader {
    rules: HeaderRules,
    /// A header that the end of a read cut off.
    cut: [u8; MAX_HEADER],
    cut_len: usize,
    /// The frame whose payload is under way.
    frame: Option<Frame>,
    message: Option<Message>,
    /// What was kept of the message, and of a control frame.
    kept: Vec<u8>,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    left: u64,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    opcode: Opcode,
    compressed: bool,
    len: u64,
    care: Care,
}

/// Something ended; its payload is the piece of input taken last where that is `whole`.
enum Done {
    Message { message: Message, whole: bool },
    Control { opcode: Opcode, whole: bool },
}

impl Reader {
    /// A reader of what follows the opening handshake. `compressed` messages are taken where they were
    /// agreed on.
    pub fn new(compressed: bool) -> Self {
        let rsv = if compressed { Rsv::RSV1 } else { Rsv::NONE };
        let rules = HeaderRules { role: Role::Client, max_payload: usize::MAX, rsv };
        Self {
            rules,
            cut: [0; MAX_HEADER],
            cut_len: 0,
            frame: None,
            message: None,
            kept: Vec::new(),
            control: Vec::new(),
        }
    }

    /// The next message or control frame, taken from the front of `input`; `None`, with all of `input`
    /// taken, where more bytes are needed. `care` is for messages that begin in this call.
    ///
    /// # Errors
    /// The rule that the server broke. Whether text is UTF-8 is not looked at.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        care: Care,
    ) -> Result<Option<Item<'s>>, ProtocolError> {
        loop {
            let Some(frame) = self.frame else {
                match self.header(input)? {
                    Some(header) => self.begin(&header, care)?,
                    None => return Ok(None),
                }
                continue;
            };
            let len = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
            let (piece, rest) = input.split_at(len);
            *input = rest;
            let Some(done) = self.payload(frame, piece)? else {
                if self.frame.is_some() {
                    return Ok(None);
                }
                continue;
            };
            return Ok(Some(match done {
                Done::Message { message, whole } => {
                    let Message { opcode, compressed, len, care } = message;
                    let payload = if whole { piece } else { &self.kept };
                    let payload = (care == Care::Read).then_some(payload);
                    Item::Message(Reply { opcode, compressed, len, payload })
                }
                Done::Control { opcode, whole } => {
                    let payload = if whole { piece } else { &self.control };
                    match opcode {
                        Opcode::Ping => Item::Ping(payload),
                        Opcode::Close => Item::Close(payload),
                        _ => Item::Pong,
                    }
                }
            }));
        }
    }

    /// The next header, or `None` where `input` has not all of it.
    #[inline]
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, ProtocolError> {
        if self.cut_len == 0
            && let Some((header, len)) = Header::decode(input, &self.rules)?
        {
            *input = &input[len..];
            return Ok(Some(header));
        }
        // A header is short, and a cut one is rare: byte by byte will do.
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.cut[self.cut_len] = byte;
            self.cut_len += 1;
            if let Some((header, _)) = Header::decode(&self.cut[..self.cut_len], &self.rules)? {
                self.cut_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Begins a frame, and with it a message where it is the first of one.
    fn begin(&mut self, header: &Header, care: Care) -> Result<(), ProtocolError> {
        let &Header { opcode, fin, rsv, payload_len, .. } = header;
        match (opcode, &mut self.message) {
            (Opcode::Text | Opcode::Binary, message @ None) => {
                let compressed = rsv.contains(Rsv::RSV1);
                *message = Some(Message { opcode, compressed, len: payload_len, care });
                match care {
                    // What a sample left behind is given back.
                    Care::Count => self.kept = Vec::new(),
                    Care::Read => self.kept.clear(),
                }
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(ProtocolError::MessageUnfinished);
            }
            (Opcode::Continuation, None) => return Err(ProtocolError::NothingToContinue),
            (Opcode::Continuation, Some(message)) => {
                message.len = message.len.saturating_add(payload_len);
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => self.control.clear(),
        }
        // RFC 7692 §6.1: the bit stands on the first frame of a message alone.
        if rsv != Rsv::NONE && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(ProtocolError::ReservedBits { bits: rsv.bits() });
        }
        self.frame = Some(Frame { opcode, fin, left: payload_len });
        Ok(())
    }

    /// Takes a piece of the frame's payload; gives what ended with it.
    fn payload(&mut self, frame: Frame, piece: &[u8]) -> Result<Option<Done>, ProtocolError> {
        let left = frame.left - piece.len() as u64;
        let ended = left == 0;
        self.frame = (!ended).then_some(Frame { left, ..frame });
        if frame.opcode.is_control() {
            let whole = ended && self.control.is_empty();
            if !whole {
                self.control.extend_from_slice(piece);
            }
            return Ok(ended.then_some(Done::Control { opcode: frame.opcode, whole }));
        }
        let message = self.message.expect("a data frame belongs to one");
        let complete = ended && frame.fin;
        let whole = complete && self.kept.is_empty() && piece.len() as u64 == message.len;
        if message.care == Care::Read && !whole {
            if self.kept.len() + piece.len() > MAX_KEPT {
                return Err(ProtocolError::MessageTooBig { len: message.len, max: MAX_KEPT });
            }
            self.kept.extend_from_slice(piece);
        }
        if !complete {
            return Ok(None);
        }
        self.message = None;
        Ok(Some(Done::Message { message, whole }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut wire = vec![first];
        match payload.len() {
            len @ 0..=125 => wire.push(len as u8),
            len @ 126..=0xffff => {
                wire.push(126);
                wire.extend((len as u16).to_be_bytes());
            }
            len => {
                wire.push(127);
                wire.extend((len as u64).to_be_bytes());
            }
        }
        wire.extend(payload);
        wire
    }

    /// What comes out of `pieces`, one line an item, up to the first error.
    fn read(pieces: &[&[u8]], care: Care) -> Vec<String> {
        let mut reader = Reader::new(true);
        let mut seen = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            loop {
                match reader.next(&mut input, care) {
                    Ok(Some(item)) => seen.push(format!("{item:?}")),
                    Ok(None) => break assert_eq!(input, b"", "all is taken"),
                    Err(error) => {
                        seen.push(format!("{error:?}"));
                        return seen;
                    }
                }
            }
        }
        seen
    }

    fn messages(lens: &[usize], care: Care) -> (Vec<u8>, Vec<String>) {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for &len in lens {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            wire.extend(frame(0x82, &payload));
            let payload = (care == Care::Read).then_some(&*payload);
            let (opcode, compressed, len) = (Opcode::Binary, false, len as u64);
            let reply = Reply { opcode, compressed, len, payload };
            expected.push(format!("{:?}", Item::Message(reply)));
        }
        (wire, expected)
    }

    #[test]
    fn messages_of_every_length_are_counted_and_read_at_every_cut() {
        for care in [Care::Count, Care::Read] {
            let (wire, expected) = messages(&[0, 1, 125, 126, 127, 0, 300], care);
            for cut in 0..=wire.len() {
                assert_eq!(read(&[&wire[..cut], &wire[cut..]], care), expected, "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(read(&bytes, care), expected, "byte by byte");
        }
    }

    #[test]
    fn long_messages_are_too() {
        for care in [Care::Count, Care::Read] {
            let (wire, expected) = messages(&[0xffff, 0x1_0000, 0x1_0001], care);
            let second = 4 + 0xffff;
            for cut in (0..40).chain(second - 4..second + 40).chain([wire.len() - 1]) {
                assert_eq!(read(&[&wire[..cut], &wire[cut..]], care), expected, "cut at {cut}");
            }
            for size in [7, 4_096, 65_536] {
                let pieces: Vec<&[u8]> = wire.chunks(size).collect();
                assert_eq!(read(&pieces, care), expected, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn fragments_are_one_message_and_control_frames_pass_between_them() {
        let wire = [
            frame(0x41, b"ab"), // RSV1: compressed
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x8a, b"pong"),
            frame(0x80, b"cd"),
            frame(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        for care in [Care::Count, Care::Read] {
            let payload = (care == Care::Read).then_some(&b"abcd"[..]);
            let reply = Reply { opcode: Opcode::Text, compressed: true, len: 4, payload };
            let expected = [
                Item::Ping(b"ping"),
                Item::Pong,
                Item::Message(reply),
                Item::Close(b"\x03\xe8bye"),
            ];
            let expected: Vec<_> = expected.iter().map(|item| format!("{item:?}")).collect();
            for cut in 0..=wire.len() {
                assert_eq!(read(&[&wire[..cut], &wire[cut..]], care), expected, "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(read(&bytes, care), expected, "byte by byte");
        }
    }

    #[test]
    fn a_server_that_breaks_a_rule_is_found_out() {
        use ProtocolError as E;
        for (name, wire, error) in [
            ("a masked frame", &b"\x81\x80"[..], E::Masked),
            ("a reserved opcode", b"\x83", E::ReservedOpcode { opcode: 3 }),
            ("nothing to continue", b"\x80\x00", E::NothingToContinue),
            ("a message inside another", b"\x01\x00\x81\x00", E::MessageUnfinished),
            ("a compressed ping", b"\xc9\x00", E::ReservedBits { bits: 4 }),
            ("a compressed continuation", b"\x01\x00\xc0\x00", E::ReservedBits { bits: 4 }),
            ("a length that is too long", b"\x82\x7e\x00\x7d", E::LengthNotMinimal { len: 125 }),
        ] {
            for size in [1, wire.len()] {
                let pieces: Vec<&[u8]> = wire.chunks(size).collect();
                assert_eq!(read(&pieces, Care::Count), [format!("{error:?}")], "{name}");
            }
        }
    }

    #[test]
    fn compression_that_was_not_agreed_on_is_a_fault() {
        let mut input = &b"\xc1\x00"[..];
        assert_eq!(
            Reader::new(false).next(&mut input, Care::Count),
            Err(ProtocolError::ReservedBits { bits: 4 })
        );
    }

    #[test]
    fn a_message_that_is_counted_takes_no_memory_and_a_sample_gives_its_own_back() {
        let mut reader = Reader::new(false);
        let wire = frame(0x82, &[7; 70_000]);
        for (care, holds) in [(Care::Count, false), (Care::Read, true), (Care::Count, false)] {
            for mut piece in wire.chunks(1_000) {
                while reader.next(&mut piece, care).unwrap().is_some() {}
            }
            assert_eq!(reader.kept.capacity() > 0, holds, "{care:?}");
        }
    }
}
