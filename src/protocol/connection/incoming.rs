//! From bytes to events: whole frames in place, the others joined (§5.2, §5.4).
//!
//! A frame that is whole in the input never leaves it. What the end of a read cuts off — a header, a
//! frame, a message — is kept in an [`Incoming`], which exists only while there is such a thing.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{Connection, Event, Mode, Settings};
use crate::protocol::{
    buffer::{Buffer, Payload, Pool, work},
    close::decode_close,
    error::ProtocolError,
    frame::{BINARY, CONTINUATION, Frame, Header, HeaderRules, MAX_HEADER, Opcode, Rsv, TEXT},
    message::{Unfinished, check_message_len, unmask, whole_message},
};

/// What is not whole yet.
#[derive(Debug)]
pub(super) struct Incoming {
    /// When its first byte came; later where the owner has not read meanwhile.
    since: Instant,
    /// Bytes of data frames that have arrived since.
    received: u64,
    /// A header that a read cut off.
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// The frame whose payload is arriving, and how much of it has.
    pub(super) frame: Option<(Header, usize)>,
    /// That frame's payload, where it is not joined to a message: control frames, and all in raw mode.
    payload: Buffer,
    /// The message whose frames are arriving.
    pub(super) message: Option<Unfinished>,
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
        let is_unfinished = match self.incoming.as_deref() {
            Some(incoming) if incoming.frame.is_some() => {
                return self.receive_rest(input, now, pool, output);
            }
            Some(incoming) if incoming.header_len > 0 => {
                return self.complete_header(input, now, pool, output);
            }
            Some(incoming) => incoming.message.is_some(),
            None => false,
        };
        check_order(input[0], is_unfinished)?;
        match Header::decode(input, &self.rules(input[0]))? {
            Some((header, len)) => self.receive_payload(header, len, input, now, pool, output),
            None => {
                self.incoming(now).keep_header(input);
                *input = &mut [];
                Ok(None)
            }
        }
    }

    /// More of a header that was cut off.
    #[inline(never)]
    fn complete_header<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let first = self.unfinished().header[0];
        let rules = self.rules(first);
        let Some((header, len)) = self.unfinished().complete_header(input, &rules)? else {
            return Ok(None);
        };
        let event = self.receive_payload(header, len, input, now, pool, output)?;
        self.forget_incoming();
        Ok(event)
    }

    /// The payload of a frame whose header ends with the first `header_len` bytes of `input`, as far as it
    /// is there. Always inlined: nearly every frame comes here, from one of two callers.
    #[inline(always)]
    fn receive_payload<'i>(
        &mut self,
        header: Header,
        header_len: usize,
        input: &mut &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        pool.work += work::FRAME;
        let len = header.payload_len as usize;
        let is_changed = self.extended && self.is_changed(&header);
        // What an extension has changed may have to be kept.
        if is_changed || input.len() - header_len < len {
            *input = &mut mem::take(input)[header_len..];
            return self.begin_frame(header, input, now, pool, output);
        }
        self.count(&header, false)?;
        let (frame, rest) = mem::take(input).split_at_mut(header_len + len);
        *input = rest;
        self.receive_whole(header, frame, header_len, now, pool, output)
    }

    /// A frame that is not whole, or changed by extensions, whose header was read.
    #[inline(never)]
    fn begin_frame<'i>(
        &mut self,
        header: Header,
        input: &mut &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        if self.is_passed_on(&header) {
            return self.receive_passing(header, input, now, pool);
        }
        self.count(&header, header.rsv == Rsv::RSV1)?;
        if !header.opcode.is_control() {
            self.begin_message(header, now, pool)?;
        }
        self.incoming(now).frame = Some((header, 0));
        self.receive_rest(input, now, pool, output)
    }

    /// A frame that no extension has changed and that is whole in the input, its payload behind the first
    /// `header_len` bytes of `frame`.
    #[inline(always)]
    fn receive_whole<'i>(
        &mut self,
        header: Header,
        frame: &'i mut [u8],
        header_len: usize,
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let key = header.masking_key;
        if header.opcode.is_control() {
            let payload = &mut frame[header_len..];
            unmask(payload, key, 0);
            return self.finish_control(header, Payload::Borrowed(payload), now, output);
        }
        let mode = self.settings.mode;
        if header.fin && header.opcode != Opcode::Continuation {
            let message = whole_message(header.opcode, key, frame, header_len)?;
            return Ok(Some(match mode {
                Mode::Messages => Event::Message(message),
                Mode::Raw => Event::Frame(Frame::of(&header, message.into_payload())),
            }));
        }

        let payload = &mut frame[header_len..];
        let message = self.begin_message(header, now, pool)?;
        message.receive(payload, key, 0, mode == Mode::Messages, pool)?;
        self.unfinished().received += payload.len() as u64;
        let event = self.finish_data(header, Payload::Borrowed(payload), pool)?;
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
        if self.is_gathering() {
            return self.gather(input, now, pool);
        }
        let mode = self.settings.mode;
        let incoming = self.unfinished();
        let Some((header, payload)) = incoming.take(input, mode, pool)? else { return Ok(None) };
        if header.opcode.is_control() {
            self.forget_incoming();
            return self.finish_control(header, Payload::Owned(payload), now, output);
        }
        let event = self.finish_data(header, Payload::Owned(payload), pool)?;
        self.forget_incoming();
        Ok(event)
    }

    /// A data frame of an unfinished message has been taken; `payload` is there where it was not joined.
    pub(super) fn finish_data<'i>(
        &mut self,
        header: Header,
        payload: Payload<'i>,
        pool: &mut Pool,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let mode = self.settings.mode;
        let incoming = self.unfinished();
        match mode {
            _ if incoming.is_compressed() => self.finish_inflated(header, pool),
            Mode::Raw => incoming.finish_raw(header, payload),
            Mode::Messages => incoming.finish_fragment(header),
        }
    }

    /// The message that a data frame belongs to; starts it with its first frame, whose length was
    /// counted where it is not the first.
    pub(super) fn begin_message(
        &mut self,
        header: Header,
        now: Instant,
        pool: &mut Pool,
    ) -> Result<&mut Unfinished, ProtocolError> {
        if header.opcode != Opcode::Continuation {
            let mut message = match header.rsv {
                Rsv::RSV1 => self.begin_compressed(header.opcode, pool),
                _ => Unfinished::new(header.opcode),
            };
            message.begin_frame(&header, &self.settings.limits)?;
            self.incoming(now).message = Some(message);
        }
        Ok(self.unfinished().message.as_mut().expect("the order was checked"))
    }

    /// What is not whole, which begins now if there is nothing yet.
    pub(super) fn incoming(&mut self, now: Instant) -> &mut Incoming {
        self.incoming.get_or_insert_with(|| Box::new(Incoming::new(now)))
    }

    pub(super) fn unfinished(&mut self) -> &mut Incoming {
        self.incoming.as_mut().expect("a frame or a message has begun")
    }

    /// What a header has to keep to whose first byte is `first`.
    #[inline]
    fn rules(&self, first: u8) -> HeaderRules {
        let max_payload = self.settings.limits.max_frame;
        let rules = HeaderRules { role: self.role, max_payload, rsv: Rsv::NONE };
        if self.extended { self.extended_rules(first, rules) } else { rules }
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
                Ok(Some(Event::Frame(Frame::of(&header, payload))))
            }
        }
    }

    /// §10.4: the message that a data frame belongs to, or begins, `compressed` or not, stays within its
    /// limits.
    #[inline]
    pub(super) fn count(&mut self, header: &Header, compressed: bool) -> Result<(), ProtocolError> {
        let limits = &self.settings.limits;
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
            Opcode::Text | Opcode::Binary if limits.max_fragments == 0 => {
                Err(ProtocolError::TooManyFragments { max: 0 })
            }
            Opcode::Text | Opcode::Binary => {
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

/// A frame of a compressed message as it goes up in raw mode: as if it had not been compressed.
pub(super) fn inflated(header: Header, payload: Payload<'static>) -> Event<'static> {
    Event::Frame(Frame { rsv: Rsv::NONE, ..Frame::of(&header, payload) })
}

impl Incoming {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            received: 0,
            header: [0; MAX_HEADER],
            header_len: 0,
            frame: None,
            payload: Buffer::default(),
            message: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// When it has to be whole; `None` where that is later than the clock can tell.
    pub(super) fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let put_off = self.received.saturating_mul(1000);
        let put_off = put_off.checked_div(settings.limits.min_message_rate as u64).unwrap_or(0);
        let wait = settings.timeouts.message.checked_add(Duration::from_millis(put_off))?;
        self.since.checked_add(wait)
    }

    /// The owner has not read for that `time` until `now`.
    pub(super) fn put_off(&mut self, time: Duration, now: Instant) {
        self.since = (self.since + time).min(now);
    }

    /// When its first byte came; later where the owner has not read meanwhile.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Bytes of memory held for it.
    pub(super) fn held(&self) -> usize {
        let message = self.message.as_ref().map_or(0, Unfinished::held);
        size_of::<Self>() + self.payload.capacity() + message
    }

    /// Bytes of the connection's window that is lent to it.
    pub(super) fn window(&self) -> usize {
        self.message.as_ref().map_or(0, Unfinished::window)
    }

    fn keep_header(&mut self, bytes: &[u8]) {
        self.header[..bytes.len()].copy_from_slice(bytes);
        self.header_len = bytes.len() as u8;
    }

    /// Adds bytes of `input` to the kept ones until the header is whole; gives it, and how many of them it
    /// took.
    fn complete_header(
        &mut self,
        input: &mut &mut [u8],
        rules: &HeaderRules,
    ) -> Result<Option<(Header, usize)>, ProtocolError> {
        let kept = usize::from(self.header_len);
        let more = input.len().min(MAX_HEADER - kept);
        self.header[kept..kept + more].copy_from_slice(&input[..more]);
        let Some((header, len)) = Header::decode(&self.header[..kept + more], rules)? else {
            self.header_len += more as u8;
            *input = &mut [];
            return Ok(None);
        };
        self.header_len = 0;
        Ok(Some((header, len - kept)))
    }

    /// Whether frames of a compressed message are arriving.
    pub(super) fn is_compressed(&self) -> bool {
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
        let (header, offset) = self.frame.expect("a frame has begun");
        let (key, len) =
            (header.masking_key, input.len().min(header.payload_len as usize - offset));
        let piece = &mut input[..len];
        let taken = match &mut self.message {
            Some(message) if !header.opcode.is_control() => {
                let joins = mode == Mode::Messages || message.is_compressed();
                let taken = message.receive(piece, key, offset, joins, pool)?;
                self.received += taken as u64;
                if !joins {
                    self.payload.append(piece, pool);
                }
                taken
            }
            Some(_) | None => {
                unmask(piece, key, offset);
                self.payload.append(piece, pool);
                len
            }
        };
        *input = &mut mem::take(input)[taken..];
        self.frame = Some((header, offset + taken));
        Ok(self.finish_whole())
    }

    /// As [`take`](Self::take), for a data frame that is joined to nothing yet: its header, and its
    /// payload unmasked. A frame that may have to be inflated does not become whole while nothing may be.
    pub(super) fn gather(
        &mut self,
        input: &mut &mut [u8],
        pool: &mut Pool,
    ) -> Option<(Header, Buffer)> {
        let (header, offset) = self.frame.expect("a frame has begun");
        let missing = header.payload_len as usize - offset;
        let len = missing.min(input.len());
        let may_be_compressed = header.rsv.contains(Rsv::RSV1) || self.is_compressed();
        if len == missing && len > 0 && may_be_compressed && pool.inflate_allowance() == 0 {
            return None;
        }
        let (piece, rest) = mem::take(input).split_at_mut(len);
        *input = rest;
        unmask(piece, header.masking_key, offset);
        self.payload.append(piece, pool);
        self.frame = Some((header, offset + len));
        self.received += len as u64;
        self.finish_whole()
    }

    /// The current frame, where all of it was taken.
    fn finish_whole(&mut self) -> Option<(Header, Buffer)> {
        let (header, received) = self.frame?;
        (received as u64 == header.payload_len).then(|| self.finish_frame(header))
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
        self.received += len as u64;
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
    pub(super) fn finish_fragment(
        &mut self,
        header: Header,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        match self.message.take_if(|_| header.fin) {
            Some(message) => message.finish().map(Event::Message).map(Some),
            None => Ok(None),
        }
    }

    /// Raw mode: a data frame is checked and goes up as it is.
    pub(super) fn finish_raw<'i>(
        &mut self,
        header: Header,
        payload: Payload<'i>,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        if let Some(message) = self.message.take_if(|_| header.fin) {
            message.finish_text()?;
        }
        Ok(Some(Event::Frame(Frame::of(&header, payload))))
    }
}
