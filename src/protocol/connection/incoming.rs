//! From bytes to events: whole frames in place, the others joined (§5.2, §5.4).
//!
//! A frame that is whole in the input never leaves it. What the end of a read cuts off — a header, a
//! frame, a message — is kept in an [`Incoming`], which exists only while there is such a thing.

use std::{mem, time::Instant};

use super::{Connection, Event, Mode};
use crate::protocol::{
    buffer::{Buffer, Payload, Pool},
    close::decode_close,
    error::ProtocolError,
    frame::{Frame, Header, HeaderRules, MAX_HEADER, Opcode, Rsv},
    limits::Limits,
    message::{Unfinished, check_message_len, unmask, whole_message},
};

/// What is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// A header that a read cut off.
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// The frame whose payload is arriving, and how much of it has.
    frame: Option<(Header, usize)>,
    /// That frame's payload, where it is not joined to a message: control frames, and all in raw mode.
    payload: Buffer,
    /// The message whose frames are arriving.
    message: Option<Unfinished>,
}

/// The rest of a frame is read straight into its place from this size on; smaller ones go through the
/// owner's read buffer, where more frames fit behind them.
const IN_PLACE: usize = 16 << 10;

impl Connection {
    /// Reads up to one frame from `input`, which is not empty. `COMPRESSED` says whether compression was
    /// agreed on: most of it is made twice, so that nobody pays for what was not.
    pub(super) fn receive_frame<'i, const COMPRESSED: bool>(
        &mut self,
        input: &mut &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let incoming = self.incoming.as_deref();
        if incoming.is_some_and(|incoming| incoming.frame.is_some()) {
            return self.receive_rest(input, now, pool, output);
        }
        if incoming.is_none_or(|incoming| incoming.header_len == 0) {
            check_order(input[0], incoming.is_some_and(|incoming| incoming.message.is_some()))?;
        }
        let Some(header) = self.receive_header::<COMPRESSED>(input)? else { return Ok(None) };
        self.count::<COMPRESSED>(&header)?;

        let len = header.payload_len as usize;
        if input.len() < len {
            if !header.opcode.is_control() {
                self.begin_message(header, pool)?;
            }
            self.incoming.get_or_insert_default().frame = Some((header, 0));
            return self.receive_rest(input, now, pool, output);
        }
        let (payload, rest) = mem::take(input).split_at_mut(len);
        *input = rest;
        self.receive_whole::<COMPRESSED>(header, payload, now, pool, output)
    }

    /// A frame whose payload is whole in the input.
    #[inline]
    fn receive_whole<'i, const COMPRESSED: bool>(
        &mut self,
        header: Header,
        payload: &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let key = header.masking_key;
        if header.opcode.is_control() {
            unmask(payload, key, 0);
            return self.finish_control(header, Payload::Borrowed(payload), now, output);
        }
        let mode = self.settings.mode;
        if header.fin && header.opcode != Opcode::Continuation {
            if COMPRESSED && header.rsv == Rsv::RSV1 {
                return self.receive_compressed(header, payload, pool).map(Some);
            }
            let message = whole_message(header.opcode, key, payload)?;
            return Ok(Some(match mode {
                Mode::Messages => Event::Message(message),
                Mode::Raw => Event::Frame(Frame { header, payload: message.into_payload() }),
            }));
        }

        let message = self.begin_message(header, pool)?;
        let event = match mode {
            _ if COMPRESSED && message.is_compressed() => {
                message.join(payload, key, 0, pool)?;
                self.finish_inflated(header, pool)?
            }
            Mode::Messages => {
                message.join(payload, key, 0, pool)?;
                self.unfinished().finish_fragment(header)?
            }
            Mode::Raw => {
                message.check(payload, key, 0)?;
                self.unfinished().finish_raw(header, Payload::Borrowed(payload))?
            }
        };
        self.forget_incoming();
        Ok(event)
    }

    /// More of a frame that is not whole.
    fn receive_rest<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let mode = self.settings.mode;
        let incoming = self.unfinished();
        let Some((header, payload)) = incoming.take(input, mode, pool)? else { return Ok(None) };
        if header.opcode.is_control() {
            self.forget_incoming();
            return self.finish_control(header, Payload::Owned(payload), now, output);
        }
        let event = match mode {
            _ if incoming.is_compressed() => self.finish_inflated(header, pool)?,
            Mode::Raw => incoming.finish_raw(header, Payload::Owned(payload))?,
            Mode::Messages => incoming.finish_fragment(header)?,
        };
        self.forget_incoming();
        Ok(event)
    }

    /// The message that a data frame belongs to; starts it with its first frame, whose length was
    /// counted where it is not the first.
    fn begin_message(
        &mut self,
        header: Header,
        pool: &mut Pool,
    ) -> Result<&mut Unfinished, ProtocolError> {
        if header.opcode != Opcode::Continuation {
            let mut message = match header.rsv {
                Rsv::RSV1 => self.begin_compressed(header.opcode, pool),
                _ => Unfinished::new(header.opcode),
            };
            message.begin_frame(&header, &self.settings.limits)?;
            self.incoming.get_or_insert_default().message = Some(message);
        }
        Ok(self.unfinished().message.as_mut().expect("the order was checked"))
    }

    fn unfinished(&mut self) -> &mut Incoming {
        self.incoming.as_mut().expect("a frame or a message has begun")
    }

    // ---- compressed messages (RFC 7692) --------------------------------------------------------

    /// A compressed message whose only frame is whole in the input.
    fn receive_compressed(
        &mut self,
        header: Header,
        payload: &mut [u8],
        pool: &mut Pool,
    ) -> Result<Event<'static>, ProtocolError> {
        let mut message = self.begin_compressed(header.opcode, pool);
        message.join(payload, header.masking_key, 0, pool)?;
        self.finish_compressed(header, message, pool)
    }

    fn begin_compressed(&mut self, opcode: Opcode, pool: &mut Pool) -> Unfinished {
        let agreed = self.agreed.expect("RSV1 is refused otherwise").received_by(self.role);
        let max = self.settings.limits.max_message;
        Unfinished::compressed(opcode, agreed.begin(&mut self.takeover, max, pool))
    }

    /// A frame of a compressed message has been inflated.
    fn finish_inflated(
        &mut self,
        header: Header,
        pool: &mut Pool,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        let mode = self.settings.mode;
        let message = &mut self.unfinished().message;
        if let Some(message) = message.take_if(|_| header.fin) {
            return self.finish_compressed(header, message, pool).map(Some);
        }
        let message = message.as_mut().expect("a frame of it was inflated");
        Ok(match mode {
            Mode::Messages => None,
            Mode::Raw => Some(inflated(header, Payload::Owned(message.take_inflated()))),
        })
    }

    /// All of a compressed message has been inflated.
    fn finish_compressed(
        &mut self,
        header: Header,
        mut message: Unfinished,
        pool: &mut Pool,
    ) -> Result<Event<'static>, ProtocolError> {
        message.finish_inflating(&mut self.takeover, pool)?;
        let message = message.finish()?;
        Ok(match self.settings.mode {
            Mode::Messages => Event::Message(message),
            Mode::Raw => inflated(header, message.into_payload()),
        })
    }

    /// What a header has to keep to whose first byte is `first`.
    #[inline]
    fn rules<const COMPRESSED: bool>(&self, first: u8) -> HeaderRules {
        let max_payload = self.settings.limits.max_frame;
        let rules = HeaderRules { role: self.role, max_payload, rsv: Rsv::NONE };
        if COMPRESSED { self.compressed_rules(first, rules) } else { rules }
    }

    fn compressed_rules(&self, first: u8, rules: HeaderRules) -> HeaderRules {
        let max_compressed = Limits::compressed(rules.max_payload);
        let continues = self.incoming.as_ref().is_some_and(|incoming| incoming.is_compressed());
        match first & 0x0f {
            // RFC 7692 §6.1: RSV1 stands on the first frame of a message and on no other.
            TEXT | BINARY if first & 0x40 != 0 => {
                HeaderRules { max_payload: max_compressed, rsv: Rsv::RSV1, ..rules }
            }
            CONTINUATION if continues => HeaderRules { max_payload: max_compressed, ..rules },
            _ => rules,
        }
    }

    fn finish_control<'i>(
        &mut self,
        header: Header,
        payload: Payload<'i>,
        now: Instant,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        match self.settings.mode {
            Mode::Messages => {
                self.receive_control(header.opcode, &payload, now, output)?;
                Ok(None)
            }
            Mode::Raw => {
                if header.opcode == Opcode::Close {
                    self.receive_close(decode_close(&payload)?, now);
                }
                Ok(Some(Event::Frame(Frame { header, payload })))
            }
        }
    }

    /// The next header, taken off `input`; `None` where it is cut off, and then what there is of it is
    /// kept.
    #[inline]
    fn receive_header<const COMPRESSED: bool>(
        &mut self,
        input: &mut &mut [u8],
    ) -> Result<Option<Header>, ProtocolError> {
        if let Some(incoming) = self.incoming.as_deref()
            && incoming.header_len > 0
        {
            let rules = self.rules::<COMPRESSED>(incoming.header[0]);
            return self.unfinished().complete_header(input, &rules);
        }
        match Header::decode(input, &self.rules::<COMPRESSED>(input[0]))? {
            Some((header, len)) => {
                *input = &mut mem::take(input)[len..];
                Ok(Some(header))
            }
            None => {
                self.incoming.get_or_insert_default().keep_header(input);
                *input = &mut [];
                Ok(None)
            }
        }
    }

    /// §10.4: the message that a data frame belongs to stays within its limits.
    #[inline]
    fn count<const COMPRESSED: bool>(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let limits = &self.settings.limits;
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
            Opcode::Text | Opcode::Binary if limits.max_fragments == 0 => {
                Err(ProtocolError::TooManyFragments { max: 0 })
            }
            Opcode::Text | Opcode::Binary => {
                let compressed = COMPRESSED && header.rsv == Rsv::RSV1;
                check_message_len(header.payload_len, compressed, limits)
            }
            Opcode::Continuation => {
                let message = self.incoming.as_mut().and_then(|incoming| incoming.message.as_mut());
                message.expect("the order was checked").begin_frame(header, limits)
            }
        }
    }

    /// Gives back what stands for nothing any more.
    pub(super) fn forget_incoming(&mut self) {
        if self.incoming.as_ref().is_some_and(|incoming| incoming.is_empty()) {
            self.incoming = None;
        }
    }
}

/// §5.4: a continuation continues something, and nothing starts before the last fragment of what is
/// unfinished. The first byte of a frame tells which it is; what else is wrong with it, the header's
/// decoder says.
#[inline]
fn check_order(first: u8, unfinished: bool) -> Result<(), ProtocolError> {
    match (first & 0x0f, unfinished) {
        (CONTINUATION, false) => Err(ProtocolError::NothingToContinue),
        (TEXT | BINARY, true) => Err(ProtocolError::MessageUnfinished),
        _ => Ok(()),
    }
}

const CONTINUATION: u8 = Opcode::Continuation as u8;
const TEXT: u8 = Opcode::Text as u8;
const BINARY: u8 = Opcode::Binary as u8;

/// A frame of a compressed message as it goes up in raw mode: as if it had not been compressed.
fn inflated(header: Header, payload: Payload<'static>) -> Event<'static> {
    let header = Header { rsv: Rsv::NONE, payload_len: payload.len() as u64, ..header };
    Event::Frame(Frame { header, payload })
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn keep_header(&mut self, bytes: &[u8]) {
        self.header[..bytes.len()].copy_from_slice(bytes);
        self.header_len = bytes.len() as u8;
    }

    /// Adds bytes of `input` to the kept ones until the header is whole.
    fn complete_header(
        &mut self,
        input: &mut &mut [u8],
        rules: &HeaderRules,
    ) -> Result<Option<Header>, ProtocolError> {
        let kept = usize::from(self.header_len);
        let more = input.len().min(MAX_HEADER - kept);
        self.header[kept..kept + more].copy_from_slice(&input[..more]);
        let Some((header, len)) = Header::decode(&self.header[..kept + more], rules)? else {
            self.header_len += more as u8;
            *input = &mut [];
            return Ok(None);
        };
        self.header_len = 0;
        *input = &mut mem::take(input)[len - kept..];
        Ok(Some(header))
    }

    /// Whether frames of a compressed message are arriving.
    fn is_compressed(&self) -> bool {
        self.message.as_ref().is_some_and(Unfinished::is_compressed)
    }

    /// Takes what `input` has of the current frame. Once the frame is whole: its header, and its
    /// payload where that is not joined to a message.
    fn take(
        &mut self,
        input: &mut &mut [u8],
        mode: Mode,
        pool: &mut Pool,
    ) -> Result<Option<(Header, Buffer)>, ProtocolError> {
        let (header, received) = self.frame.as_mut().expect("a frame has begun");
        let (header, offset) = (*header, *received);
        let missing = header.payload_len as usize - offset;
        let len = missing.min(input.len());
        let (piece, rest) = mem::take(input).split_at_mut(len);
        *input = rest;
        *received += len;

        let key = header.masking_key;
        match (&mut self.message, mode) {
            (Some(message), _)
                if !header.opcode.is_control()
                    && (mode == Mode::Messages || message.is_compressed()) =>
            {
                message.join(piece, key, offset, pool)?;
            }
            (Some(message), Mode::Raw) if !header.opcode.is_control() => {
                message.check(piece, key, offset)?;
                self.payload.append(piece, pool);
            }
            (Some(_) | None, Mode::Messages | Mode::Raw) => {
                unmask(piece, key, offset);
                self.payload.append(piece, pool);
            }
        }
        Ok((len == missing).then(|| self.finish_frame(header)))
    }

    /// Where the rest of the current frame may be read to; nothing in raw mode, which joins nothing, and
    /// for what is to be inflated, which has another place.
    pub(super) fn space(&mut self, mode: Mode, pool: &mut Pool) -> Option<&mut [u8]> {
        let (header, received) = self.frame?;
        let missing = header.payload_len as usize - received;
        if missing < IN_PLACE || mode == Mode::Raw || self.is_compressed() {
            return None;
        }
        self.message.as_mut().map(|message| message.space(missing, pool))
    }

    /// Takes the first `len` bytes of [`space`](Self::space) as read.
    pub(super) fn take_in_place(
        &mut self,
        len: usize,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        let (Some((header, received)), Some(message)) = (&mut self.frame, &mut self.message) else {
            return Ok(None);
        };
        message.join_in_place(len, header.masking_key, *received)?;
        *received += len;
        if *received as u64 != header.payload_len {
            return Ok(None);
        }
        let header = *header;
        self.finish_frame(header);
        self.finish_fragment(header)
    }

    fn finish_frame(&mut self, header: Header) -> (Header, Buffer) {
        self.frame = None;
        (header, mem::take(&mut self.payload))
    }

    /// A data frame is joined: the message, if that was its last.
    fn finish_fragment(&mut self, header: Header) -> Result<Option<Event<'static>>, ProtocolError> {
        match self.message.take_if(|_| header.fin) {
            Some(message) => message.finish().map(Event::Message).map(Some),
            None => Ok(None),
        }
    }

    /// Raw mode: a data frame is checked and goes up as it is.
    fn finish_raw<'i>(
        &mut self,
        header: Header,
        payload: Payload<'i>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        if let Some(message) = self.message.take_if(|_| header.fin) {
            message.finish_text()?;
        }
        Ok(Some(Event::Frame(Frame { header, payload })))
    }
}
