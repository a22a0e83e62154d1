//! The way of frames where extensions were agreed on (§9): none of it is on the way of others.
//!
//! A message to be sent is compressed first (RFC 7692), and then each of its frames passes the
//! extensions of one's own. What is received goes the other way. Those see whole frames: one that a read
//! cuts off is gathered before.

use std::{mem, time::Instant};

use super::{Connection, Event, Mode, incoming::inflated};
use crate::protocol::{
    buffer::{Payload, Pool, work},
    close::{CloseCause, CloseCode},
    error::{ProtocolError, SendError},
    extension::ExtensionError,
    frame::{BINARY, CONTINUATION, Header, HeaderRules, Opcode, Rsv, TEXT},
    limits::Limits,
    message::{Unfinished, unmask},
};

const CONDITION_PANICKED: ExtensionError =
    ExtensionError::new(CloseCode::INTERNAL_ERROR, "a condition panicked");

/// Bytes of memory that a frame leaves to the next one.
const MAX_SCRATCH: usize = 1 << 20;

impl Connection {
    // ---- output --------------------------------------------------------------------------------

    /// A message in one frame, compressed where that makes it shorter. Out of line, as every message
    /// passes by.
    #[inline(never)]
    pub(super) fn push_extended(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let compressed = match (self.agreed, &self.settings.deflate) {
            (Some(agreed), Some(settings)) if self.compresses() => {
                let (takeover, codecs) = (&mut self.takeover, &mut pool.codecs);
                let direction = agreed.sent_by(self.role);
                direction.compress(opcode, payload, settings, takeover, codecs, &mut pool.work)
            }
            _ => Ok(None),
        };
        let Ok(compressed) = compressed else {
            return Err(self.give_up_sending(CONDITION_PANICKED, output));
        };
        let header = Header::new(opcode, 0);
        let (header, payload) = match compressed {
            Some(payload) => (Header { rsv: Rsv::RSV1, ..header }, payload),
            None => (header, payload),
        };
        let pushed = self.push_data(header, payload, &mut pool.scratch, &mut pool.work, output);
        pool.codecs.shrink();
        pushed
    }

    /// A data frame, by way of the extensions of one's own where there are some.
    pub(super) fn push_data(
        &mut self,
        header: Header,
        payload: &[u8],
        scratch: &mut Vec<u8>,
        work: &mut u64,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let Some(chain) = &mut self.chain else {
            self.push(header, payload, output);
            return Ok(());
        };
        let max = Limits::on_the_wire(self.settings.limits.max_frame.max(payload.len()));
        *work += work::passing(payload.len());
        scratch.clear();
        scratch.extend_from_slice(payload);
        let passed = match chain.outgoing(header, scratch, max) {
            Ok(header) => {
                self.push(header, scratch, output);
                Ok(())
            }
            Err(error) => Err(self.give_up_sending(error, output)),
        };
        scratch.clear();
        scratch.shrink_to(MAX_SCRATCH);
        passed
    }

    /// What the application has installed cannot send. There is no time here but that of the last bytes
    /// heard: the wait for the end of TCP is so much shorter.
    fn give_up_sending(&mut self, error: ExtensionError, output: &mut Vec<u8>) -> SendError {
        self.give_up(CloseCause::Local, error.code(), error.reason(), self.since, output);
        SendError::NotOpen
    }

    // ---- input ---------------------------------------------------------------------------------

    /// What a header has to keep to whose first byte is `first`.
    pub(super) fn extended_rules(&self, first: u8, rules: HeaderRules) -> HeaderRules {
        let opcode = first & 0x0f;
        let is_first = matches!(opcode, TEXT | BINARY);
        if !is_first && opcode != CONTINUATION {
            return rules;
        }
        // RFC 7692 §6.1: RSV1 stands on the first frame of a message and on no other.
        let may_be_compressed = is_first && self.agreed.is_some();
        let compressed = if may_be_compressed { Rsv::RSV1 } else { Rsv::NONE };
        let claimed = self.chain.as_ref().map_or(Rsv::NONE, |chain| chain.claimed());
        let is_compressed =
            (may_be_compressed && first & 0x40 != 0) || (!is_first && self.continues_compressed());
        let max_payload = match is_compressed || self.chain.is_some() {
            true => Limits::on_the_wire(rules.max_payload),
            false => rules.max_payload,
        };
        HeaderRules { max_payload, rsv: claimed.with(compressed), ..rules }
    }

    /// Whether frames of a compressed message are arriving.
    fn continues_compressed(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.is_compressed())
    }

    /// Whether a frame passes extensions of one's own, or is one of a compressed message.
    pub(super) fn is_changed(&self, header: &Header) -> bool {
        let continues = header.opcode == Opcode::Continuation && self.continues_compressed();
        self.is_passed_on(header) || header.rsv == Rsv::RSV1 || continues
    }

    /// Whether a frame passes extensions of one's own.
    pub(super) fn is_passed_on(&self, header: &Header) -> bool {
        self.chain.is_some() && !header.opcode.is_control()
    }

    /// Whether such a frame is arriving.
    pub(super) fn is_gathering(&self) -> bool {
        let frame = self.incoming.as_ref().and_then(|incoming| incoming.frame.as_ref());
        frame.is_some_and(|(header, _)| self.is_passed_on(header))
    }

    /// A data frame for the extensions of one's own, whose header was read.
    pub(super) fn receive_passing(
        &mut self,
        header: Header,
        input: &mut &mut [u8],
        now: Instant,
        pool: &mut Pool,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        let len = header.payload_len as usize;
        if input.len() < len || pool.inflate_allowance() == 0 {
            self.incoming(now).frame = Some((header, 0));
            return self.gather(input, now, pool);
        }
        let (payload, rest) = mem::take(input).split_at_mut(len);
        *input = rest;
        unmask(payload, header.masking_key, 0);
        self.pass_on(header, payload, now, pool)
    }

    /// More of such a frame that is not whole.
    pub(super) fn gather(
        &mut self,
        input: &mut &mut [u8],
        now: Instant,
        pool: &mut Pool,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        let Some((header, payload)) = self.unfinished().gather(input, pool) else {
            return Ok(None);
        };
        let event = self.pass_on(header, payload.payload(), now, pool);
        pool.put(payload);
        event
    }

    /// Has a whole frame, unmasked, pass the extensions, and goes on with what comes out.
    fn pass_on(
        &mut self,
        header: Header,
        payload: &[u8],
        now: Instant,
        pool: &mut Pool,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        pool.work += work::passing(payload.len());
        let chain = self.chain.as_mut().expect("the frame is for it");
        let max = Limits::on_the_wire(self.settings.limits.max_frame);
        let mut scratch = mem::take(&mut pool.scratch);
        scratch.extend_from_slice(payload);
        let event = chain
            .incoming(header, &mut scratch, max)
            .map_err(ProtocolError::Extension)
            .and_then(|header| self.receive_passed(header, &mut scratch, now, pool));
        scratch.clear();
        scratch.shrink_to(MAX_SCRATCH);
        pool.scratch = scratch;
        self.forget_incoming();
        event
    }

    /// A data frame as it was before the peer's extensions changed it: nothing has judged it yet.
    fn receive_passed(
        &mut self,
        header: Header,
        payload: &mut [u8],
        now: Instant,
        pool: &mut Pool,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        let max = self.settings.limits.max_frame;
        let max = match header.rsv == Rsv::RSV1 || self.continues_compressed() {
            true => Limits::on_the_wire(max),
            false => max,
        };
        if payload.len() > max {
            return Err(ProtocolError::FrameTooBig { len: header.payload_len, max });
        }
        self.count(&header, header.rsv == Rsv::RSV1)?;
        let mode = self.settings.mode;
        let message = self.begin_message(header, now, pool)?;
        let joins = mode == Mode::Messages || message.is_compressed();
        // What is behind the extensions has no place to wait in.
        pool.without_stop(|pool| message.receive(payload, None, 0, joins, pool))?;
        let payload = match joins {
            true => Payload::Borrowed(&[]),
            false => Payload::Borrowed(payload).into_owned_in(pool),
        };
        self.finish_data(header, payload, pool)
    }

    // ---- compressed messages (RFC 7692) --------------------------------------------------------

    pub(super) fn begin_compressed(&mut self, opcode: Opcode, pool: &mut Pool) -> Unfinished {
        let agreed = self.agreed.expect("RSV1 is refused otherwise").received_by(self.role);
        let max = self.settings.limits.max_message;
        Unfinished::compressed(opcode, agreed.begin(&mut self.takeover, max, pool))
    }

    /// A frame of a compressed message has been inflated.
    pub(super) fn finish_inflated(
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
}
