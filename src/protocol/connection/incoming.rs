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
    frame::{Frame, Header, HeaderRules, MAX_HEADER, Opcode},
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
    /// Reads up to one frame from `input`, which is not empty.
    pub(super) fn receive_frame<'i>(
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
        let Some(header) = self.receive_header(input)? else { return Ok(None) };
        self.count(&header)?;

        let len = header.payload_len as usize;
        if input.len() < len {
            let incoming = self.incoming.get_or_insert_default();
            incoming.begin(header, &self.settings.limits)?;
            return self.receive_rest(input, now, pool, output);
        }
        let (payload, rest) = mem::take(input).split_at_mut(len);
        *input = rest;
        self.receive_whole(header, payload, now, pool, output)
    }

    /// A frame whose payload is whole in the input.
    #[inline]
    fn receive_whole<'i>(
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
            let message = whole_message(header.opcode, key, payload)?;
            return Ok(Some(match mode {
                Mode::Messages => Event::Message(message),
                Mode::Raw => Event::Frame(Frame { header, payload: message.into_payload() }),
            }));
        }

        let incoming = self.incoming.get_or_insert_default();
        let message = incoming.begin_message(header, &self.settings.limits)?;
        let event = match mode {
            Mode::Messages => {
                message.join(payload, key, 0, pool)?;
                incoming.finish_fragment(header)?
            }
            Mode::Raw => {
                message.check(payload, key, 0)?;
                incoming.finish_raw(header, Payload::Borrowed(payload))?
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
        let incoming = self.incoming.as_mut().expect("a frame has begun");
        let Some((header, payload)) = incoming.take(input, mode, pool)? else { return Ok(None) };
        if header.opcode.is_control() {
            self.forget_incoming();
            return self.finish_control(header, Payload::Owned(payload), now, output);
        }
        let event = match mode {
            Mode::Raw => incoming.finish_raw(header, Payload::Owned(payload))?,
            Mode::Messages => incoming.finish_fragment(header)?,
        };
        self.forget_incoming();
        Ok(event)
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
    fn receive_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, ProtocolError> {
        let rules = self.rules();
        if let Some(incoming) = self.incoming.as_mut()
            && incoming.header_len > 0
        {
            let header = incoming.complete_header(input, &rules)?;
            return Ok(header);
        }
        match Header::decode(input, &rules)? {
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
    fn count(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let limits = &self.settings.limits;
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
            Opcode::Text | Opcode::Binary if limits.max_fragments == 0 => {
                Err(ProtocolError::TooManyFragments { max: 0 })
            }
            Opcode::Text | Opcode::Binary => check_message_len(header.payload_len, limits),
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
    const CONTINUATION: u8 = Opcode::Continuation as u8;
    const TEXT: u8 = Opcode::Text as u8;
    const BINARY: u8 = Opcode::Binary as u8;
    match (first & 0x0f, unfinished) {
        (CONTINUATION, false) => Err(ProtocolError::NothingToContinue),
        (TEXT | BINARY, true) => Err(ProtocolError::MessageUnfinished),
        _ => Ok(()),
    }
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

    /// A frame begins whose payload is not whole in the input.
    fn begin(&mut self, header: Header, limits: &Limits) -> Result<(), ProtocolError> {
        if !header.opcode.is_control() {
            self.begin_message(header, limits)?;
        }
        self.frame = Some((header, 0));
        Ok(())
    }

    /// The message that a data frame belongs to; starts it with its first frame, whose length was
    /// counted where it is not the first.
    fn begin_message(
        &mut self,
        header: Header,
        limits: &Limits,
    ) -> Result<&mut Unfinished, ProtocolError> {
        if header.opcode != Opcode::Continuation {
            let mut message = Unfinished::new(header.opcode);
            message.begin_frame(&header, limits)?;
            self.message = Some(message);
        }
        Ok(self.message.as_mut().expect("the order was checked"))
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
            (Some(message), Mode::Messages) if !header.opcode.is_control() => {
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

    /// Where the rest of the current frame may be read to; nothing in raw mode, which joins nothing.
    pub(super) fn space(&mut self, mode: Mode, pool: &mut Pool) -> Option<&mut [u8]> {
        let (header, received) = self.frame?;
        let missing = header.payload_len as usize - received;
        if missing < IN_PLACE || mode == Mode::Raw {
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
