//! What a server sends, counted by its headers (§5.2).
//!
//! Bytes go in as they arrive, messages and control frames come out. Payloads are skipped without a
//! look at them; only where somebody cares are they given, or kept if the end of a read cut them off.

#[cfg(test)]
mod tests;

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

/// A message in one frame that is expected again and again.
#[derive(Debug)]
pub struct Expected {
    header: [u8; MAX_HEADER],
    header_len: usize,
    frame_len: usize,
}

impl Expected {
    /// A plain message of `payload_len` bytes.
    pub fn new(opcode: Opcode, payload_len: usize) -> Self {
        let (header, header_len) = Header::new(opcode, payload_len as u64).encode();
        Self { header, header_len, frame_len: header_len + payload_len }
    }
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
    #[inline]
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        care: Care,
    ) -> Result<Option<Item<'s>>, ProtocolError> {
        if self.is_between()
            && let Some(reply) = whole(input, care)
        {
            return Ok(Some(Item::Message(reply)));
        }
        self.next_in_pieces(input, care)
    }

    /// As [`next`](Self::next), for whatever may come.
    fn next_in_pieces<'s, 'i: 's>(
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

    /// How many `expected` messages stand whole at the front of `input`, from which they are taken. It
    /// is what [`next`](Self::next) would say of them, at the cost of a look at each header.
    #[inline]
    pub fn count(&self, input: &mut &[u8], expected: &Expected) -> u64 {
        let is_between = self.is_between();
        let header = &expected.header[..expected.header_len];
        // A comparison of so few bytes is no call, as it would be of slices.
        let is_alike = |input: &[u8]| {
            input.len() >= expected.frame_len && header.iter().zip(input).all(|(a, b)| a == b)
        };
        let mut count = 0;
        while is_between && is_alike(input) {
            *input = &input[expected.frame_len..];
            count += 1;
        }
        count
    }

    /// Bytes to come whose content makes no difference: the rest of a payload that is only counted, but
    /// for its last byte, which ends it.
    pub fn skippable(&self) -> usize {
        match (self.frame, self.message) {
            (Some(frame), Some(Message { care: Care::Count, .. }))
                if !frame.opcode.is_control() =>
            {
                usize::try_from(frame.left).unwrap_or(usize::MAX).saturating_sub(1)
            }
            _ => 0,
        }
    }

    /// As if `len` bytes had come, which are [`skippable`](Self::skippable).
    pub fn skip(&mut self, len: usize) {
        if let Some(frame) = &mut self.frame {
            frame.left -= len as u64;
        }
    }

    /// Whether what comes next is the first frame of a message, or a control frame.
    fn is_between(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.cut_len == 0
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
        let (opcode, rsv, payload_len) = (header.opcode(), header.rsv(), header.payload_len());
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
        self.frame = Some(Frame { opcode, fin: header.fin(), left: payload_len });
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

/// The message at the front of `input`, where it is what most are: all there, in one frame, plain and
/// shorter than 64 KiB.
#[inline]
fn whole<'i>(input: &mut &'i [u8], care: Care) -> Option<Reply<'i>> {
    let ([first, short_len], rest) = input.split_first_chunk()?;
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        _ => return None,
    };
    let (len, rest) = match short_len {
        0..=125 => (usize::from(*short_len), rest),
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127.. => return None,
    };
    // §5.2: what is not in its shortest form is an error, and masked would be one too.
    if *short_len == 126 && len < 126 {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(len)?;
    *input = rest;
    let payload = (care == Care::Read).then_some(payload);
    Some(Reply { opcode, compressed: false, len: len as u64, payload })
}
