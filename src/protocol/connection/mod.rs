//! One endpoint of a connection: what it has received, what it may send, and how it ends (§5, §7).
//!
//! A [`Connection`] has four kinds of method:
//!
//! - **getters**: [`state`](Connection::state), [`close_reason`](Connection::close_reason), …
//! - **input**: [`receive`](Connection::receive), [`receive_in_place`](Connection::receive_in_place),
//!   [`receive_eof`](Connection::receive_eof), [`handle_timeout`](Connection::handle_timeout);
//! - **commands**: [`upgrade`](Connection::upgrade), [`send`](Connection::send),
//!   [`send_frame`](Connection::send_frame), [`ping`](Connection::ping), [`close`](Connection::close);
//! - **output**: what inputs and commands append to the `output` lent to them is to be sent, in order;
//!   [`next_deadline`](Connection::next_deadline) tells when to call `handle_timeout`.
//!
//! It owns no socket, no clock and, at rest, no buffer: input is lent for the call and messages that
//! are whole in it are handed up as slices of it. The opening handshake itself is read by
//! [`handshake`](super::handshake); a connection waits for it in [`State::Connecting`].
//!
//! # Compression
//!
//! Where permessage-deflate was [agreed](Connection::agree) on, messages are inflated and compressed on
//! their way (RFC 7692); neither events nor commands show it. An inflater and a compressor are
//! borrowed from the [`Pool`] for the length of a message. Only with context takeover does something
//! stay with the connection, from its first compressed message on.
//!
//! # Extensions of one's own
//!
//! Where some were [agreed on](Connection::agree_on), each data frame passes them: after compression on
//! its way out, before all else on its way in (§9.1). Control frames pass by.
//!
//! Choice: permessage-deflate does not go through their door. It works on messages, of which frames are
//! only pieces; it is bounded while it inflates and checks UTF-8 meanwhile; and what topics compress once
//! for all passes no connection's transform. The door needs whole frames, gathered and copied: an echo of
//! 128 bytes costs 600 instructions without extensions, 700 where compression is agreed on and leaves
//! short messages plain, and 1,940 and two allocations with an extension that does nothing.
//!
//! # Raw mode
//!
//! In [`Mode::Raw`] each checked frame comes up as [`Event::Frame`] and the owner answers Ping and
//! Close. All rules are checked as in the other mode: headers, the order of fragments, UTF-8, close
//! codes, sizes; a broken one fails the connection. Raw mode leaves out the joining of fragments,
//! automatic Pongs, the automatic answer to a Close, and Pings of our own.

mod event;
mod extended;
mod incoming;
mod negotiation;
mod state;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use event::Event;
use incoming::Incoming;
pub use negotiation::{Refused, Terms};
pub use state::State;
use state::Step;

use super::{
    Role,
    buffer::{Buffer, Pool, WireBytes},
    close::{CloseCause, CloseCode, CloseReason, Timeout, decode_close, encode_close},
    error::{ProtocolError, SendError},
    extension::{
        Extensions, Offer,
        chain::Chain,
        deflate::{Agreed, Deflate, Grant, Takeover},
    },
    frame::{Frame, Header, MAX_CONTROL, MAX_HEADER, Opcode, Rsv},
    limits::{Limits, SettingError, Timeouts},
    mask::{MaskingKeys, apply_mask},
    message::Message,
};

/// What a connection hands up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Whole messages; control frames are answered by the connection.
    #[default]
    Messages,
    /// Every frame; the owner answers.
    Raw,
}

/// What connections of one kind share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bounds of size and count.
    pub limits: Limits,
    /// Bounds of time.
    pub timeouts: Timeouts,
    /// Messages or frames.
    pub mode: Mode,
    /// What is wanted of compression; none by default.
    pub deflate: Option<Deflate>,
    /// Extensions of one's own; none by default.
    pub extensions: Extensions,
}

impl Settings {
    /// Whether connections can work with these bounds and this compression. A server checks this when it
    /// is built.
    ///
    /// # Errors
    /// [`SettingError`] for the first setting that is out of its range or contradicts another one.
    pub fn check(&self) -> Result<(), SettingError> {
        self.limits.check()?;
        self.timeouts.check()?;
        self.deflate.as_ref().map_or(Ok(()), Deflate::check)
    }
}

/// One endpoint's side of a connection, without its socket.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    /// When the current wait began: creation, the last bytes heard, our last Ping, or the Close.
    since: Instant,
    /// What is not whole yet; nothing at rest.
    incoming: Option<Box<Incoming>>,
    reason: Option<Box<CloseReason>>,
    /// The latest Ping that came while the peer was behind (§5.5.3).
    held_pong: Option<Box<HeldPong>>,
    /// A client masks (§5.1); a server has none.
    keys: Option<Box<MaskingKeys>>,
    /// What compressed messages have left for the next ones; nothing without takeover.
    takeover: Option<Box<Takeover>>,
    /// What data frames pass; nothing without extensions of one's own.
    chain: Option<Box<Chain>>,
    /// Pings sent of our own accord; the last one's number is its payload.
    pings: u32,
    /// What was agreed on compression.
    agreed: Option<Agreed>,
    role: Role,
    state: State,
    awaiting_pong: bool,
    /// Some extension was agreed on.
    extended: bool,
    /// Messages go out plain, as the peer's window follows another's compressor.
    window_lent: bool,
    behind: bool,
    /// Raw mode: the owner has sent the start of a message and not its end.
    sending_fragments: bool,
}

/// The payload of a Ping that waits to be answered.
#[derive(Debug)]
struct HeldPong {
    payload: [u8; MAX_CONTROL],
    len: u8,
}

impl Connection {
    /// A server's side, before its opening handshake.
    pub fn server(settings: Arc<Settings>, now: Instant) -> Self {
        Self::new(Role::Server, settings, None, now)
    }

    /// A client's side, before its opening handshake. `seed` is 32 bytes from the system's generator;
    /// masking keys come from it (§5.3).
    pub fn client(settings: Arc<Settings>, seed: [u8; 32], now: Instant) -> Self {
        Self::new(Role::Client, settings, Some(Box::new(MaskingKeys::new(seed))), now)
    }

    fn new(
        role: Role,
        settings: Arc<Settings>,
        keys: Option<Box<MaskingKeys>>,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            since: now,
            incoming: None,
            reason: None,
            held_pong: None,
            keys,
            takeover: None,
            chain: None,
            pings: 0,
            agreed: None,
            role,
            state: State::Connecting,
            awaiting_pong: false,
            extended: false,
            window_lent: false,
            behind: false,
            sending_fragments: false,
        }
    }

    /// Where this endpoint stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Which side it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What it shares with others of its kind.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Why the connection ends or has ended: the first cause, from the moment it is known.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.reason.as_deref()
    }

    /// Whether it is this side's turn to end TCP, once the output has left: a server after the closing
    /// handshake, either side after a failure (§7.1.1, §7.1.7).
    pub fn ends_tcp(&self) -> bool {
        match (self.state, self.role) {
            (State::Closed, Role::Client | Role::Server)
            | (State::CloseExchanged, Role::Server) => true,
            (State::CloseExchanged, Role::Client)
            | (
                State::Connecting | State::Open | State::CloseSent | State::CloseReceived,
                Role::Client | Role::Server,
            ) => false,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); it moves back with what is received, and
    /// comes closer where that is the beginning of a message. `None` where nothing is waited for, or for
    /// longer than the clock can tell.
    pub fn next_deadline(&self) -> Option<Instant> {
        let timeouts = &self.settings.timeouts;
        let wait = match self.state {
            State::Connecting => Some(timeouts.handshake),
            State::Open if self.awaiting_pong => Some(timeouts.pong),
            State::Open if self.settings.mode == Mode::Raw => timeouts.idle,
            State::Open => timeouts.ping_period,
            State::CloseSent | State::CloseReceived | State::CloseExchanged | State::Closed => {
                Some(timeouts.close)
            }
        };
        let deadline = wait.and_then(|wait| self.since.checked_add(wait));
        deadline.into_iter().chain(self.message_deadline()).min()
    }

    /// When what is unfinished has to be whole.
    fn message_deadline(&self) -> Option<Instant> {
        let incoming = self.incoming.as_deref().filter(|_| self.state == State::Open)?;
        incoming.deadline(&self.settings)
    }

    /// Bytes of memory that are held for an unfinished frame or message: its buffers with their spare
    /// room, and [`INFLATER_SIZE`](super::extension::deflate::INFLATER_SIZE) where it is being inflated.
    pub fn held(&self) -> usize {
        self.incoming.as_deref().map_or(0, Incoming::held)
    }

    /// Since when that is held; `None` where it is nothing.
    pub fn held_since(&self) -> Option<Instant> {
        self.incoming.as_deref().map(Incoming::since)
    }

    /// Bytes of memory that context takeover holds from one message to the next, roughly: the window of
    /// what was received, and a compressor.
    pub fn held_between_messages(&self) -> usize {
        let window = self.incoming.as_deref().map_or(0, Incoming::window);
        self.takeover.as_deref().map_or(0, Takeover::held) + window
    }

    /// The opening handshake is done. `settings` are those of the route it led to.
    pub fn upgrade(&mut self, settings: Arc<Settings>, now: Instant) {
        self.settings = settings;
        self.since = now;
        self.step(Step::Upgrade);
    }

    /// The opening handshake has agreed on compression (RFC 7692), by [`Settings::deflate`] of the
    /// settings that the connection was upgraded with. `grant` is there where takeovers are counted.
    pub fn agree(&mut self, agreed: Agreed, grant: Option<Grant>) {
        self.agreed = Some(agreed);
        self.takeover = grant.map(|grant| Box::new(grant.into()));
        self.extended = true;
    }

    /// The opening handshake has come to these terms on extensions, by the settings that the connection
    /// was upgraded with.
    pub fn agree_on(&mut self, terms: Terms) {
        if let Some((agreed, _, grant)) = terms.deflate {
            self.agree(agreed, grant);
        }
        if !terms.own.is_empty() {
            self.chain = Some(Box::new(terms.own));
            self.extended = true;
        }
    }

    /// The extensions that were agreed on, in the order in which they work on what is sent (§9.1), with
    /// their parameters as agreed.
    pub fn extensions(&self) -> Vec<Offer<'_>> {
        let deflate = self.agreed.map(Agreed::terms);
        let own = self.chain.iter().flat_map(|chain| chain.offers());
        deflate.into_iter().chain(own).collect()
    }

    /// What was agreed on compression.
    pub fn agreed(&self) -> Option<Agreed> {
        self.agreed
    }

    /// What was agreed on compression, where this is a server's side that has no compressor of its own
    /// with takeover, nor extensions that change frames: what is compressed elsewhere, with that window
    /// at most, can be sent here.
    pub fn window_for_topics(&self) -> Option<Agreed> {
        let leaves_window = self.settings.deflate.as_ref().is_some_and(Deflate::leaves_window);
        self.agreed.filter(|agreed| {
            self.role == Role::Server
                && self.chain.is_none()
                && (leaves_window || !agreed.servers().1)
        })
    }

    /// Says whether compressed frames that refer back to earlier ones come from elsewhere. While they
    /// do, [`send`](Self::send) compresses nothing, which would enter the peer's window.
    pub fn lend_window(&mut self, lent: bool) {
        self.window_lent = lent;
    }

    /// Takes bytes from the peer: reads `input` up to the next event and leaves what follows in it.
    /// Call it until it gives `None`, which says that the input is used up.
    ///
    /// `None` with input left says that the `pool`'s
    /// [allowance for inflating](Pool::set_inflate_allowance) is used up, perhaps in the middle of a
    /// frame: call again with the same rest, and perhaps more behind it, once more is allowed.
    ///
    /// A broken rule fails the connection: its Close is in `output`, the rest of the input is
    /// dropped, and [`close_reason`](Self::close_reason) tells.
    pub fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Option<Event<'i>> {
        self.heard(now);
        while self.state.receives() && !input.is_empty() {
            match self.receive_frame(input, now, pool, output) {
                // A frame that could not go on to the end of the input.
                Ok(None) if !input.is_empty() && self.is_amid_frame() => return None,
                Ok(None) => {}
                Ok(event) => return event,
                Err(error) => self.fail(error, now, output),
            }
        }
        // §5.5.1, §7.1.7: whatever follows a Close or a broken rule does not count.
        *input = &mut [];
        None
    }

    /// Where the rest of a large frame may be read to, past every other buffer: give the number of
    /// bytes read to [`receive_in_place`](Self::receive_in_place). `None` where no such frame is on
    /// its way.
    pub fn space(&mut self, pool: &mut Pool) -> Option<&mut [u8]> {
        if !self.state.receives() {
            return None;
        }
        let incoming = self.incoming.as_mut()?;
        // Extensions of one's own have their part before there is a place.
        if self.chain.is_some() { None } else { incoming.space(self.settings.mode, pool) }
    }

    /// Takes the first `len` bytes of [`space`](Self::space) as read from the peer.
    pub fn receive_in_place(
        &mut self,
        len: usize,
        now: Instant,
        output: &mut Vec<u8>,
    ) -> Option<Event<'static>> {
        self.heard(now);
        let incoming = self.incoming.as_mut()?;
        match incoming.take_in_place(len) {
            Ok(None) => None,
            Ok(Some(event)) => {
                self.forget_incoming();
                Some(event)
            }
            Err(error) => {
                self.fail(error, now, output);
                None
            }
        }
    }

    /// The peer has ended its side of TCP, or TCP is lost.
    pub fn receive_eof(&mut self) {
        // §7.1.5: 1006, where nothing else came first.
        self.reason.get_or_insert_with(|| Box::new(CloseReason::lost()));
        self.step(Step::Disconnect);
        self.forget();
    }

    /// The owner ends TCP by itself, for a cause of its own.
    pub fn disconnect(&mut self, cause: CloseCause, code: CloseCode, text: &str) {
        self.end(cause, code, text);
        self.receive_eof();
    }

    /// A deadline of [`next_deadline`](Self::next_deadline) has passed: pings, ends the connection, or
    /// gives up waiting for a Close. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Instant, output: &mut Vec<u8>) {
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.state {
            State::Connecting => {
                let text = "the opening handshake took too long";
                self.end(CloseCause::Timeout(Timeout::Handshake), CloseCode::ABNORMAL, text);
                self.step(Step::Disconnect);
                self.forget();
            }
            State::Open if self.message_deadline().is_some_and(|deadline| deadline <= now) => {
                let cause = CloseCause::Timeout(Timeout::Message);
                let text = "message took too long";
                self.give_up(cause, CloseCode::POLICY_VIOLATION, text, now, output);
            }
            State::Open if self.settings.mode == Mode::Raw => {
                let cause = CloseCause::Timeout(Timeout::Idle);
                self.give_up(cause, CloseCode::GOING_AWAY, "idle", now, output);
            }
            State::Open if self.awaiting_pong => {
                let cause = CloseCause::Timeout(Timeout::Pong);
                self.give_up(cause, CloseCode::INTERNAL_ERROR, "Ping timeout", now, output);
            }
            State::Open => {
                self.pings = self.pings.wrapping_add(1);
                self.push_frame(Opcode::Ping, &self.pings.to_be_bytes(), output);
                self.awaiting_pong = true;
                self.since = now;
            }
            State::CloseSent | State::CloseReceived | State::CloseExchanged | State::Closed => {
                self.step(Step::Disconnect);
                self.forget();
            }
        }
    }

    /// The owner does not read from the peer for now, so its silence says nothing: the wait for its
    /// bytes or its Pong begins anew, and the rest of a message may come that much later. To be called
    /// where a deadline passes meanwhile, and when reading begins again. A peer that takes nothing either
    /// has the owner's own deadline, [`Timeouts::write`].
    pub fn excuse_silence(&mut self, now: Instant) {
        if self.state == State::Open {
            if let Some(incoming) = &mut self.incoming {
                incoming.put_off(now.saturating_duration_since(self.since), now);
            }
            self.since = now;
        }
    }

    /// The owner did not read from the peer for `time`, so its silence in it says nothing: the wait for
    /// its bytes or its Pong is longer by that.
    pub fn excuse_absence(&mut self, time: Duration) {
        if self.state == State::Open {
            self.since = self.since.checked_add(time).unwrap_or(self.since);
        }
    }

    /// Says whether earlier output is still waiting for the peer. While it is, Pings are not answered
    /// but for the latest one (§5.5.3), whose Pong is in `output` when the peer has caught up.
    pub fn set_behind(&mut self, behind: bool, output: &mut Vec<u8>) {
        self.behind = behind;
        if !behind
            && let Some(pong) = self.held_pong.take()
            && self.state == State::Open
        {
            self.push_frame(Opcode::Pong, &pong.payload[..pong.len.into()], output);
        }
    }

    /// Sends a message in one frame, compressed where that was agreed and makes it shorter.
    ///
    /// # Errors
    /// [`SendError::NotOpen`], also where an extension of one's own fails the connection over it; raw mode: [`SendError::IllegalFrame`] between fragments.
    #[inline]
    pub fn send(
        &mut self,
        message: &Message<'_>,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.send_payload(message.opcode(), message.as_bytes(), pool, output)
    }

    /// [`send`](Self::send) for a message taken apart: `opcode` is its type, and the payload of a text
    /// is valid UTF-8.
    #[inline]
    pub(crate) fn send_payload(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.check_may_send()?;
        self.push_message(opcode, payload, pool, output)
    }

    /// Sends a message of type `opcode` whose payload is owned, without copying it where this side
    /// does not mask it and no extension changes it: the bytes it gives are to be sent right behind `output`.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::IllegalFrame`] for an opcode that is no type of message
    /// (§5.6); the payload is dropped then.
    pub fn send_owned(
        &mut self,
        opcode: Opcode,
        payload: Buffer,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<Option<WireBytes>, SendError> {
        self.check_may_send()?;
        if !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(SendError::IllegalFrame);
        }
        if self.changes_payloads() {
            let pushed = self.push_message(opcode, payload.payload(), pool, output);
            pool.put(payload);
            return pushed.map(|()| None);
        }
        let (header, len) = Header::new(opcode, payload.len() as u64).encode();
        Ok(Some(payload.with_header(&header[..len]).unwrap_or_else(|payload| {
            output.extend_from_slice(&header[..len]);
            payload.into_wire()
        })))
    }

    /// Sends the header of a message whose payload, `len` bytes that are valid UTF-8 where `opcode` says
    /// text, goes as it is right behind `output`. Gives whether it does: nothing is sent where this side
    /// changes payloads, by a mask or an extension.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) fn send_header(
        &mut self,
        opcode: Opcode,
        len: usize,
        output: &mut Vec<u8>,
    ) -> Result<bool, SendError> {
        self.check_may_send()?;
        if self.changes_payloads() {
            return Ok(false);
        }
        Header::new(opcode, len as u64).append_to(output);
        Ok(true)
    }

    /// Whether bytes framed elsewhere, such as a publication, may be sent here: an open server that is
    /// not between fragments of its owner's, and whose frames no extension of one's own changes.
    pub fn takes_framed(&self) -> bool {
        self.takes_published() && self.chain.is_none()
    }

    /// Whether what is published may be sent here: as it was framed there, or else by
    /// [`send_published`](Self::send_published).
    pub(crate) fn takes_published(&self) -> bool {
        self.role == Role::Server && self.check_may_send().is_ok()
    }

    /// Raw mode: whether its owner has sent the start of a message and not its end.
    pub(crate) fn is_sending_fragments(&self) -> bool {
        self.sending_fragments
    }

    /// Whether what is published has to be framed here, as extensions of one's own change frames.
    pub(crate) fn frames_published(&self) -> bool {
        self.chain.is_some()
    }

    /// As [`send_payload`](Self::send_payload), also where a Close is out that this comes before.
    pub(crate) fn send_published(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.push_message(opcode, payload, pool, output)
    }

    /// Raw mode: sends one frame, with its FIN, opcode and payload; masking and length are filled in.
    /// Where compression was agreed on, a message in one frame is compressed.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]; [`SendError::IllegalFrame`] outside raw mode, for RSV bits, which are for
    /// extensions to set, or where the frame may not stand there (§5.4, §5.5).
    pub fn send_frame(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let &Frame { fin, rsv, opcode, .. } = frame;
        if self.settings.mode != Mode::Raw || rsv != Rsv::NONE {
            return Err(SendError::IllegalFrame);
        }
        if opcode.is_control() {
            if !fin {
                return Err(SendError::IllegalFrame);
            }
            return match opcode {
                Opcode::Close => match decode_close(&frame.payload) {
                    Ok(close) => self.close_with(close, now, output),
                    Err(_) => Err(SendError::IllegalFrame),
                },
                _ => self.send_control(opcode, &frame.payload, output),
            };
        }
        if self.state != State::Open {
            return Err(SendError::NotOpen);
        }
        // §5.4: a continuation continues something, and nothing else starts before it is finished.
        if (opcode == Opcode::Continuation) != self.sending_fragments {
            return Err(SendError::IllegalFrame);
        }
        self.sending_fragments = !fin;
        if fin && opcode != Opcode::Continuation {
            return self.push_message(opcode, &frame.payload, pool, output);
        }
        let header = Header { fin, ..Header::new(opcode, 0) };
        self.push_data(header, &frame.payload, &mut pool.scratch, &mut pool.work, output)
    }

    /// Sends a Ping with at most 125 bytes of `payload` (§5.5.2).
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::ControlTooLong`].
    pub fn ping(&mut self, payload: &[u8], output: &mut Vec<u8>) -> Result<(), SendError> {
        self.send_control(Opcode::Ping, payload, output)
    }

    /// Starts the closing handshake, or in raw mode answers the peer's (§7.1.2, §7.1.3).
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::InvalidCloseCode`], [`SendError::ReasonTooLong`].
    pub fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
        now: Instant,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.close_with(Some((code, reason)), now, output)
    }

    /// Ends the connection for a reason that is not the peer's fault in the protocol's eyes: a Close
    /// is sent where one still can be, and no answer is awaited.
    pub fn give_up(
        &mut self,
        cause: CloseCause,
        code: CloseCode,
        text: &str,
        now: Instant,
        output: &mut Vec<u8>,
    ) {
        // §5.5.1: who received a Close and has sent none sends one.
        if matches!(self.state, State::Open | State::CloseReceived)
            && let Ok((payload, len)) = encode_close(code, text)
        {
            self.push_frame(Opcode::Close, &payload[..len], output);
        }
        // One budget for the whole close: an earlier Close, of either side, has started it.
        if matches!(self.state, State::Connecting | State::Open) {
            self.since = now;
        }
        self.end(cause, code, text);
        self.step(Step::Fail);
        self.forget();
    }

    // ---- what the above is made of -------------------------------------------------------------

    /// Whether the payload of a frame is arriving.
    fn is_amid_frame(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.frame.is_some())
    }

    /// Bytes have arrived: the peer lives, unless it owes a Pong, which only that Pong settles.
    fn heard(&mut self, now: Instant) {
        if self.state == State::Open && !self.awaiting_pong {
            self.since = now;
        }
    }

    /// A control frame of the peer's (§5.5), outside raw mode.
    fn receive_control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        now: Instant,
        output: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        match opcode {
            Opcode::Ping => self.receive_ping(payload, output),
            Opcode::Pong => {
                if self.awaiting_pong && payload == self.pings.to_be_bytes() {
                    self.awaiting_pong = false;
                    self.since = now;
                }
            }
            Opcode::Close => {
                let close = decode_close(payload)?;
                self.receive_close(close, now);
                if self.state == State::CloseReceived {
                    // §5.5.1: the answer has the peer's own code; a Close without one gets 1000.
                    let (code, _) = close.unwrap_or((CloseCode::NORMAL, ""));
                    let reason = close.map_or("OK", |(_, reason)| reason);
                    self.close_with(Some((code, reason)), now, output)
                        .expect("a received Close can be sent");
                }
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        Ok(())
    }

    fn receive_ping(&mut self, payload: &[u8], output: &mut Vec<u8>) {
        // §5.5.1: nothing follows our Close.
        if self.state != State::Open {
            return;
        }
        if self.behind {
            let mut pong = HeldPong { payload: [0; MAX_CONTROL], len: payload.len() as u8 };
            pong.payload[..payload.len()].copy_from_slice(payload);
            self.held_pong = Some(Box::new(pong));
        } else {
            self.push_frame(Opcode::Pong, payload, output);
        }
    }

    fn receive_close(&mut self, close: Option<(CloseCode, &str)>, now: Instant) {
        let (code, text) = close.unwrap_or((CloseCode::NO_STATUS, ""));
        // One budget for the whole close: an earlier Close of ours has started it.
        if self.state == State::Open {
            self.since = now;
        }
        self.end(CloseCause::Peer, code, text);
        self.step(Step::ReceiveClose);
        self.forget();
    }

    fn close_with(
        &mut self,
        close: Option<(CloseCode, &str)>,
        now: Instant,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !matches!(self.state, State::Open | State::CloseReceived) {
            return Err(SendError::NotOpen);
        }
        let (code, text) = close.unwrap_or((CloseCode::NO_STATUS, ""));
        let (payload, len) = match close {
            Some((code, reason)) => encode_close(code, reason)?,
            None => ([0; MAX_CONTROL], 0),
        };
        self.push_frame(Opcode::Close, &payload[..len], output);
        if self.state == State::Open {
            self.since = now;
        }
        self.end(CloseCause::Local, code, text);
        self.held_pong = None;
        self.step(Step::SendClose);
        Ok(())
    }

    fn send_control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::NotOpen);
        }
        if payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong { len: payload.len() });
        }
        self.push_frame(opcode, payload, output);
        Ok(())
    }

    /// Whether a message may be sent now.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) fn check_may_send(&self) -> Result<(), SendError> {
        match self.state {
            State::Open if self.sending_fragments => Err(SendError::IllegalFrame),
            State::Open => Ok(()),
            State::Connecting
            | State::CloseSent
            | State::CloseReceived
            | State::CloseExchanged
            | State::Closed => Err(SendError::NotOpen),
        }
    }

    /// The peer broke a rule (§7.1.7).
    fn fail(&mut self, error: ProtocolError, now: Instant, output: &mut Vec<u8>) {
        let cause = CloseCause::Protocol(error);
        self.give_up(cause, error.close_code(), &error.to_string(), now, output);
    }

    /// Keeps the first cause.
    fn end(&mut self, cause: CloseCause, code: CloseCode, text: &str) {
        self.reason.get_or_insert_with(|| Box::new(CloseReason { cause, code, text: text.into() }));
    }

    /// Every change of state passes here.
    fn step(&mut self, step: Step) {
        match self.state.after(step) {
            Some(state) => self.state = state,
            None => debug_assert!(false, "{step:?} in {:?}", self.state),
        }
    }

    /// Lets go of what nobody will ask for any more.
    fn forget(&mut self) {
        self.incoming = None;
        self.held_pong = None;
        self.takeover = None;
    }

    fn compresses(&self) -> bool {
        self.agreed.is_some() && !self.window_lent
    }

    /// Whether what is sent is masked, or may be changed by an extension.
    fn changes_payloads(&self) -> bool {
        self.role == Role::Client || self.compresses() || self.chain.is_some()
    }

    /// A message in one frame.
    #[inline]
    fn push_message(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        pool: &mut Pool,
        output: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if self.extended {
            return self.push_extended(opcode, payload, pool, output);
        }
        self.push_frame(opcode, payload, output);
        Ok(())
    }

    fn push_frame(&mut self, opcode: Opcode, payload: &[u8], output: &mut Vec<u8>) {
        self.push(Header::new(opcode, 0), payload, output);
    }

    #[inline]
    fn push(&mut self, mut header: Header, payload: &[u8], output: &mut Vec<u8>) {
        header.payload_len = payload.len() as u64;
        header.masking_key = self.keys.as_mut().map(|keys| keys.next_key());
        output.reserve(MAX_HEADER + payload.len());
        header.append_to(output);
        let start = output.len();
        output.extend_from_slice(payload);
        if let Some(key) = header.masking_key {
            apply_mask(&mut output[start..], key, 0);
        }
    }
}
