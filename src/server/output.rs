//! Output: all that a connection still has to send, in order, and its bound.
//!
//! What a turn has for a connection stands in the worker's output buffer until the turn ends, and leaves in
//! one write. What the socket does not take waits in a [`Backlog`], which exists only while it holds
//! something. Nothing else appends to either, so the bound on what waits is kept here.
//!
//! # Order
//!
//! What is published and what handles send passes the worker's mailbox. What a connection sends behind a
//! post of its own thread is *held* until the mailbox was worked off up to there, so it arrives behind what
//! was posted before.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write},
    sync::Arc,
    time::Instant,
};

use super::{
    connection::{Link, Tcp},
    context::Context,
    socket::Socket,
};
use crate::{
    protocol::{
        buffer::{Payload, Pool, WireBytes},
        close::{CloseCause, CloseCode},
        connection::{Mode, State},
        frame::Opcode,
    },
    slab::Key,
    topic::{Lag, Publication, fanout::Batch},
};

/// Most pieces given to one system call.
const MAX_SLICES: usize = 64;

/// Pieces of a connection's own are joined up to about this size: bytes. A larger one is not copied to
/// make room behind it.
const MAX_JOINED: usize = 16 << 10;

/// Most bytes that are held for a connection, all sent in one turn; more closes it.
const MAX_HELD: usize = 64 << 20;

/// What a connection has to send.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What the socket could not take; nothing at rest.
    backlog: Option<Box<Backlog>>,
    /// Bytes that the socket has taken.
    sent: u64,
    /// Its entry in the turn's list of output, counted from 1.
    deferred: u32,
    /// On the worker's list of backlogs to write.
    listed: bool,
    /// So much waits for the peer that it is not read from.
    full: bool,
}

/// What a turn has for one socket, in the worker's output.
#[derive(Debug)]
pub(super) struct Deferred {
    key: Key,
    start: usize,
    end: usize,
}

impl Deferred {
    pub(super) fn key(&self) -> Key {
        self.key
    }
}

impl Output {
    /// Bytes that wait for the socket, as far as they are not the current turn's.
    #[inline]
    pub(super) fn backlog(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes + backlog.held_bytes)
    }

    /// Whether everything sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.backlog.is_none() && self.deferred == 0
    }

    /// Whether the worker will write for it by itself, without an edge of its socket.
    pub(super) fn is_due(&self) -> bool {
        self.deferred != 0 || self.listed || self.is_held()
    }

    /// Whether something waits for its turn in the worker's mailbox.
    pub(super) fn is_held(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.held.is_empty())
    }

    /// The position of what was held last.
    pub(super) fn last_held(&self) -> Option<Position> {
        self.backlog.as_ref()?.last_held()
    }

    /// Drops what is held, as a Close has left before it.
    pub(super) fn drop_held(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            backlog.held.clear();
            backlog.held_bytes = 0;
        }
    }

    /// Whether so much waits that the peer is not read from.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that the socket has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// When the socket last took something while something waits for it.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let backlog = self.backlog.as_ref()?;
        (backlog.bytes > 0).then_some(backlog.progress)
    }
}

impl<S: Socket> Link<S> {
    // ---- append --------------------------------------------------------------------------------

    /// Whether what is sent now may have to stay behind something.
    #[inline]
    pub(super) fn may_follow(&self, context: &Context) -> bool {
        self.subscriptions.is_some() || context.mailbox.last_own() > context.worked_off
    }

    /// Behind which posts what is sent now has to stay.
    pub(super) fn position(&self, context: &Context) -> Position {
        if !self.may_follow(context) {
            return Position::NOW;
        }
        let (last_own, worked_off) = (context.mailbox.last_own(), context.worked_off);
        let limit = if last_own > worked_off && self.is_posted_to() { last_own } else { 0 };
        let left_at =
            self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.left_at());
        let after = if left_at > worked_off { limit.max(left_at) } else { limit };
        if after == 0 {
            return Position::NOW;
        }
        // §5.4: nothing may stand between fragments. Choice: what extensions of one's own change is
        // changed in the order in which it leaves, so in raw mode it leaves at once.
        if self.connection.is_sending_fragments()
            || self.is_raw() && self.connection.frames_published()
        {
            return self.output.last_held().unwrap_or(Position::NOW);
        }
        Position { after, limit }
    }

    fn is_raw(&self) -> bool {
        self.connection.settings().mode == Mode::Raw
    }

    /// Leaves `context.output[start..]`, which is for this connection, for the end of the turn, and for its
    /// `position`.
    pub(super) fn leave(&mut self, start: usize, position: Position, context: &mut Context) {
        let end = context.output.len();
        if end == start {
            return;
        }
        if position.after > context.worked_off {
            let mut bytes = WireBytes::default();
            bytes.append(&context.output[start..], &mut context.pool);
            context.output.truncate(start);
            self.hold(Held::Bytes(bytes), position, context);
            return;
        }
        if self.output.backlog.is_some() {
            self.leave_in_backlog(start, context);
            return;
        }
        match self.output.deferred.checked_sub(1).map(|at| at as usize) {
            None => {
                context.deferred.push(Deferred { key: self.key, start, end });
                self.output.deferred = context.deferred.len() as u32;
            }
            Some(at) if context.deferred[at].end == start => context.deferred[at].end = end,
            Some(_) => {
                self.leave_in_backlog(start, context);
            }
        }
    }

    /// Moves what the turn has for this connection, `context.output[start..]` last, into its backlog.
    pub(super) fn leave_in_backlog(&mut self, start: usize, context: &mut Context) -> &mut Backlog {
        let mut backlog = self.output.backlog.take().unwrap_or_else(|| context.new_backlog());
        if let Some(at) = self.output.deferred.checked_sub(1) {
            let Deferred { start, end, .. } = &mut context.deferred[at as usize];
            backlog.push(&context.output[*start..*end], &mut context.pool);
            *end = *start;
            self.output.deferred = 0;
        }
        backlog.push(&context.output[start..], &mut context.pool);
        context.output.truncate(start);
        if !self.output.listed {
            self.output.listed = true;
            context.listed.push(self.key);
        }
        self.output.backlog.insert(backlog)
    }

    /// Holds something until its position has come.
    #[cold]
    pub(super) fn hold(&mut self, held: Held, position: Position, context: &mut Context) {
        let mut backlog = self.output.backlog.take().unwrap_or_else(|| context.new_backlog());
        if backlog.last_held() != Some(position) {
            context.holding.push_back((position.after, self.key));
        }
        backlog.held_bytes += held.len();
        backlog.held.push_back((position, held));
        self.output.backlog = Some(backlog);
    }

    /// The mailbox was worked off up to where something was held: that goes out behind what was
    /// published before.
    pub(super) fn release(&mut self, context: &mut Context) {
        while let Some(backlog) = &mut self.output.backlog
            && let Some((position, held)) = backlog.next_held(context.worked_off)
        {
            self.deliver(position.limit, context);
            let start = context.output.len();
            match held {
                Held::Bytes(bytes) => {
                    self.leave_in_backlog(start, context).push_owned(bytes);
                }
                Held::Message(opcode, payload) => {
                    let Context { pool, output, .. } = &mut *context;
                    // Its connection was open when it was sent. Where it fails, its Close is the last.
                    self.connection.send_published(opcode, &payload, pool, output).ok();
                    if let Payload::Owned(buffer) = payload {
                        pool.put(buffer);
                    }
                    self.leave_in_backlog(start, context);
                }
            }
        }
    }

    /// Adds what was published, was taken out of the mailbox and is not delivered yet. Where nothing of the
    /// kind may stand now, it is left to the delivery, which counts it as missed.
    pub(super) fn deliver_published(&mut self, context: &mut Context) {
        if self.connection.takes_published() {
            self.deliver(u64::MAX, context);
        }
    }

    /// Adds what topics have yet to deliver that it has left.
    pub(super) fn deliver_left(&mut self, context: &mut Context) {
        if self.connection.takes_published() {
            self.deliver(0, context);
        }
    }

    /// Adds what was published up to the post number `limit`, and is not delivered yet; and all of that to
    /// topics that it has left.
    fn deliver(&mut self, limit: u64, context: &mut Context) {
        let Some(subscriptions) = &self.subscriptions else { return };
        if !context.topics.is_waiting() {
            return;
        }
        if self.connection.frames_published() {
            return self.frame_published(limit, context);
        }
        let has_gaps = subscriptions.has_gaps();
        let mut state = subscriptions.state();
        let mut frames = Vec::new();
        let Context { topics, compressed, .. } = &mut *context;
        topics.deliver_to(subscriptions, limit, |publication| {
            if has_gaps && !subscriptions.wants(publication) {
                state.miss(publication.topic);
                return;
            }
            let (encoding, frame) = state.pick(publication);
            compressed.count(encoding);
            frames.push(Arc::clone(frame));
        });
        if !frames.is_empty() {
            self.set_encoding_state(state);
            let backlog = self.leave_in_backlog(context.output.len(), context);
            frames.into_iter().for_each(|frame| backlog.push_shared(frame, 0));
        }
        self.tidy_subscriptions(context);
    }

    /// The same for a connection whose extensions change its frames.
    #[cold]
    fn frame_published(&mut self, limit: u64, context: &mut Context) {
        let start = context.output.len();
        let Link { connection, subscriptions: Some(subscriptions), .. } = self else { return };
        let Context { topics, pool, output, .. } = &mut *context;
        let mut is_failed = false;
        topics.deliver_to(subscriptions, limit, |publication| {
            if !is_failed && subscriptions.wants(publication) {
                let (opcode, payload) = publication.message();
                // Where it fails, its Close is the last.
                is_failed = connection.send_published(opcode, payload, pool, output).is_err();
            }
        });
        self.leave_in_backlog(start, context);
        self.tidy_subscriptions(context);
    }

    // ---- the bound -----------------------------------------------------------------------------

    /// Closes a connection that does not keep up; nothing can be sent then.
    #[cold]
    pub(super) fn keep_bound(&mut self, context: &mut Context) {
        if self.connection.state() != State::Open {
            return;
        }
        // The socket may take something that came since it was tried last.
        self.leave_in_backlog(context.output.len(), context);
        self.flush_backlog(context);
        if self.is_over_bound() && !self.is_lost() {
            self.give_up_slow(context);
        }
    }

    /// Whether more waits than may.
    pub(super) fn is_over_bound(&self) -> bool {
        let limits = &self.connection.settings().limits;
        self.output.backlog.as_ref().is_some_and(|backlog| {
            backlog.bytes > limits.max_backlog
                || backlog.messages() > limits.max_backlog_messages
                || backlog.held_bytes > MAX_HELD
        })
    }

    /// Whether more waits than may, judged only where the socket was tried since.
    fn is_too_slow(&self) -> bool {
        !self.output.listed && self.is_over_bound()
    }

    /// Closes a connection that does not keep up: what waits is dropped, so that the Close gets
    /// through as soon as anything does.
    fn give_up_slow(&mut self, context: &mut Context) {
        context.counters.slow.add(1);
        if let Some(backlog) = &mut self.output.backlog {
            backlog.drop_unsent();
        }
        let start = context.output.len();
        let (code, text) = (CloseCode::TRY_AGAIN_LATER, "too slow");
        self.connection.give_up(CloseCause::Local, code, text, context.now, &mut context.output);
        self.leave_in_backlog(start, context);
    }

    /// Whether so much waits that topics may skip it. Who has too many messages waiting is full too, so
    /// that its application is told when it has drained.
    fn is_behind(&mut self) -> bool {
        self.output.full |= self.is_too_slow();
        self.output.full
    }

    /// Whether enough has left since it was full; asked once, as it is not full any more then.
    pub(super) fn has_drained(&mut self) -> bool {
        let limits = &self.connection.settings().limits;
        let messages = self.output.backlog.as_ref().map_or(0, |backlog| backlog.messages());
        self.output.full
            && self.output.backlog() <= limits.resume_reading
            && messages <= limits.max_backlog_messages / 2
            && std::mem::replace(&mut self.output.full, false)
    }

    // ---- write ---------------------------------------------------------------------------------

    /// Writes what the turn has for this connection, of which `deferred` tells where it stands.
    pub(super) fn flush_deferred(&mut self, deferred: &Deferred, context: &mut Context) {
        // An entry that was moved to the backlog is empty.
        if deferred.start < deferred.end {
            self.output.deferred = 0;
            self.write_range(deferred.start, deferred.end, context);
        }
    }

    /// Writes `context.output[start..end]` at once; the backlog, which is empty, takes what is left.
    fn write_range(&mut self, start: usize, end: usize, context: &mut Context) {
        let bytes = &context.output[start..end];
        let written = self.write_some(bytes);
        if written < bytes.len() && !self.is_lost() {
            let mut backlog = self.output.backlog.take().unwrap_or_else(|| context.new_backlog());
            backlog.push(&context.output[start + written..end], &mut context.pool);
            self.keep_waiting(backlog, context);
        }
    }

    /// Writes `context.output[start..]`, which is all that the turn has for this connection so far, and
    /// `payload` behind it, without a copy of that; the backlog, which is empty, takes what is left.
    pub(super) fn write_at_once(
        &mut self,
        start: usize,
        mut payload: Payload<'_>,
        context: &mut Context,
    ) {
        // One piece costs less to write than two.
        if payload.prepend(&context.output[start..]) {
            context.output.truncate(start);
        }
        let before = &context.output[start..];
        let slices = [IoSlice::new(before), IoSlice::new(&payload)];
        let written = self.write_with(|socket| match before {
            [] => socket.write(&payload),
            _ => socket.write_vectored(&slices),
        });
        let (left, of_payload) = (written.min(before.len()), written.saturating_sub(before.len()));
        if of_payload < payload.len() && !self.is_lost() {
            let mut backlog = context.new_backlog();
            backlog.push(&context.output[start + left..], &mut context.pool);
            match payload {
                Payload::Borrowed(_) | Payload::Lent(_) => {
                    backlog.push(&payload[of_payload..], &mut context.pool);
                }
                Payload::Owned(buffer) => {
                    let mut wire = buffer.into_wire();
                    wire.advance(of_payload);
                    backlog.push_owned(wire);
                }
            }
            self.keep_waiting(backlog, context);
        } else if let Payload::Owned(buffer) = payload {
            context.pool.put(buffer);
        }
        context.output.truncate(start);
    }

    /// One write: how much the socket took.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        self.write_with(|socket| socket.write(bytes))
    }

    /// One write by `write`: how much the socket took.
    fn write_with(&mut self, mut write: impl FnMut(&mut S) -> io::Result<usize>) -> usize {
        loop {
            match write(&mut self.socket) {
                Ok(written) => {
                    self.output.sent += written as u64;
                    return written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.tcp = Tcp::Lost;
                    return 0;
                }
            }
        }
    }

    /// Writes what waits in the backlog.
    pub(super) fn flush_backlog(&mut self, context: &mut Context) {
        self.output.listed = false;
        let Some(mut backlog) = self.output.backlog.take() else { return };
        match backlog.write_to(&mut self.socket, context.now, &mut context.pool) {
            Ok(written) => self.output.sent += written as u64,
            Err(_) => self.tcp = Tcp::Lost,
        }
        if self.is_lost() {
            return;
        }
        if backlog.bytes > 0 {
            self.keep_waiting(backlog, context);
            return;
        }
        if backlog.held.is_empty() {
            context.put_backlog(backlog);
        } else {
            self.output.backlog = Some(backlog);
        }
        let start = context.output.len();
        self.connection.set_behind(false, &mut context.output);
        if context.output.len() > start {
            self.write_range(start, context.output.len(), context);
            context.output.truncate(start);
        }
    }

    /// The socket is full: its edge will come.
    fn keep_waiting(&mut self, backlog: Box<Backlog>, context: &mut Context) {
        self.output.full |= backlog.bytes > self.connection.settings().limits.pause_reading;
        self.output.backlog = Some(backlog);
        self.connection.set_behind(true, &mut context.output);
        self.arm(context);
    }

    /// Sends a Ping to a peer that the application does not hear, whose answer would wait unread: a socket
    /// that is closed at the other end refuses it, which is how its end is noticed.
    pub(super) fn probe(&mut self, context: &mut Context) {
        // Where something waits to be taken, that tells as much.
        if self.output.is_flushed() {
            let start = context.output.len();
            // It fails only where the connection is not open any more.
            self.connection.ping(&[], &mut context.output).ok();
            self.leave(start, Position::NOW, context);
        }
    }

    // ---- publications --------------------------------------------------------------------------

    /// Sends what follows the offset `received` of `batch`: at once where nothing waits, as one write, or
    /// behind what waits.
    pub(super) fn publish(&mut self, batch: &mut Batch, received: u64, context: &mut Context) {
        if !self.connection.takes_published() || self.is_lost() {
            return self.miss(batch, received, context);
        }
        if batch.lag() == Lag::Skip && self.is_behind() && !self.has_left(batch) {
            context.counters.skipped.add(batch.after(received).len() as u64);
            return self.miss(batch, received, context);
        }
        if self.is_too_slow() {
            self.give_up_slow(context);
            context.unsettled.push(self.key);
            return;
        }
        if self.connection.frames_published() {
            return self.publish_framed_here(batch, received, context);
        }
        let Some(subscriptions) = &self.subscriptions else { return };
        // One write a turn: who is subscribed to several topics gets all together at the turn's end.
        let alone = subscriptions.len() == 1;
        let has_gaps = subscriptions.has_gaps();
        let before = subscriptions.state();
        let mut state = before;
        let publications = batch.after(received);
        if has_gaps || !alone || !self.output.is_flushed() || !batch.is_all(publications) {
            return self.append_published(publications, context);
        }
        let frames = batch.joined(&mut state, &mut context.compressed);
        let (mut written, len) = (self.write_some(frames), frames.len());
        self.set_encoding_state(state);
        if self.is_lost() {
            context.unsettled.push(self.key);
        } else if written < len {
            let (mut state, mut backlog) = (before, context.new_backlog());
            for publication in batch.after(received) {
                let (_, frame) = state.pick(publication);
                if written < frame.len() {
                    backlog.push_shared(Arc::clone(frame), written);
                }
                written = written.saturating_sub(frame.len());
            }
            self.keep_waiting(backlog, context);
        }
    }

    fn has_left(&self, batch: &Batch) -> bool {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.is_some_and(|subscriptions| subscriptions.has_left(batch.topic()))
    }

    /// Adds publications behind what waits.
    fn append_published(&mut self, publications: &[Publication], context: &mut Context) {
        let start = context.output.len();
        self.leave_in_backlog(start, context);
        let Self { output, subscriptions: Some(subscriptions), .. } = self else { return };
        let Some(backlog) = &mut output.backlog else { return };
        let (mut state, has_gaps) = (subscriptions.state(), subscriptions.has_gaps());
        for publication in publications {
            if has_gaps && !subscriptions.wants(publication) {
                state.miss(publication.topic);
                continue;
            }
            let (encoding, frame) = state.pick(publication);
            backlog.push_shared(Arc::clone(frame), 0);
            context.compressed.count(encoding);
        }
        self.set_encoding_state(state);
        if has_gaps {
            context.unsettled.push(self.key);
        }
    }

    /// Leaves out what follows the offset `received` of `batch`.
    #[cold]
    fn miss(&mut self, batch: &Batch, received: u64, context: &mut Context) {
        let Some(subscriptions) = &mut self.subscriptions else { return };
        let missed = batch.after(received).iter();
        let count = missed.filter(|publication| subscriptions.wants(publication)).count();
        subscriptions.miss(batch.topic(), count);
        if subscriptions.has_gaps() {
            context.unsettled.push(self.key);
        }
        self.lend_window();
    }

    /// The same for a connection whose extensions change its frames: each has its own.
    #[cold]
    fn publish_framed_here(&mut self, batch: &Batch, received: u64, context: &mut Context) {
        let start = context.output.len();
        let Some(subscriptions) = &self.subscriptions else { return };
        let Context { pool, output, .. } = &mut *context;
        let mut wanted = batch
            .after(received)
            .iter()
            .filter(|publication| subscriptions.wants(publication))
            .map(Publication::message);
        // Where it fails, its Close is the last.
        let sent = wanted.try_for_each(|(opcode, payload)| {
            self.connection.send_published(opcode, payload, pool, output)
        });
        if self.output.is_flushed() {
            // At once, as a turn's output would hold it once for each member.
            self.write_range(start, context.output.len(), context);
            context.output.truncate(start);
        } else {
            self.leave_in_backlog(start, context);
        }
        context.unsettled.push(self.key);
        sent.ok();
    }
}

// ---- backlog -----------------------------------------------------------------------------------

/// What waits for one socket, in order.
#[derive(Debug)]
pub(super) struct Backlog {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the socket last took something, or when waiting began.
    progress: Instant,
    /// What stays behind posts to the mailbox, in order; and its bytes.
    held: VecDeque<(Position, Held)>,
    held_bytes: usize,
}

/// Where something stands among what was posted to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the post up to which the mailbox has to be worked off before it leaves.
    pub(super) after: u64,
    /// The number of the post up to which publications leave before it.
    pub(super) limit: u64,
}

impl Position {
    /// Behind nothing.
    pub(super) const NOW: Self = Self { after: 0, limit: 0 };
}

/// Something that is held. What is sent to a connection is compressed, and changed by extensions, in the
/// order in which it leaves: so a message is held as it is.
#[derive(Debug)]
pub(super) enum Held {
    Bytes(WireBytes),
    Message(Opcode, Payload<'static>),
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.as_slice().len(),
            Self::Message(_, payload) => payload.len(),
        }
    }
}

#[derive(Debug)]
enum Piece {
    /// Bytes for this connection alone.
    Owned(WireBytes),
    /// A publication, from byte `at` on.
    Shared { bytes: Arc<[u8]>, at: usize },
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes.as_slice(),
            Self::Shared { bytes, at } => &bytes[*at..],
        }
    }
}

impl Backlog {
    pub(super) fn new(now: Instant) -> Self {
        let (pieces, held) = Default::default();
        Self { pieces, bytes: 0, progress: now, held, held_bytes: 0 }
    }

    /// It is taken for another connection.
    pub(super) fn begin(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Messages that wait; those sent together to this connection alone count as one.
    fn messages(&self) -> usize {
        self.pieces.len()
    }

    /// Whether its memory is worth keeping for the next connection that needs one.
    pub(super) fn is_small(&self) -> bool {
        self.pieces.capacity() <= MAX_SLICES && self.held.capacity() <= MAX_SLICES
    }

    /// Adds a copy of `bytes`.
    fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        if let Some(Piece::Owned(last)) = self.pieces.back_mut()
            && last.as_slice().len() < MAX_JOINED
        {
            last.append(bytes, pool);
        } else {
            let mut piece = WireBytes::default();
            piece.append(bytes, pool);
            self.pieces.push_back(Piece::Owned(piece));
        }
    }

    /// Adds bytes of their own, without a copy.
    pub(super) fn push_owned(&mut self, bytes: WireBytes) {
        self.bytes += bytes.as_slice().len();
        self.pieces.push_back(Piece::Owned(bytes));
    }

    /// Adds shared bytes from byte `at` on.
    fn push_shared(&mut self, bytes: Arc<[u8]>, at: usize) {
        self.bytes += bytes.len() - at;
        self.pieces.push_back(Piece::Shared { bytes, at });
    }

    /// The position of what was held last.
    fn last_held(&self) -> Option<Position> {
        self.held.back().map(|&(position, _)| position)
    }

    /// Takes out what was held, where the mailbox was worked off up to its position.
    fn next_held(&mut self, worked_off: u64) -> Option<(Position, Held)> {
        self.held.front().filter(|(position, _)| position.after <= worked_off)?;
        let (position, held) = self.held.pop_front()?;
        self.held_bytes -= held.len();
        Some((position, held))
    }

    /// Drops what has not begun to leave, so that the peer still sees whole frames.
    fn drop_unsent(&mut self) {
        let begun = match self.pieces.front() {
            // Where an owned piece's frames begin is not known any more, and the header of one may stand
            // in the piece before it: they stay whole.
            Some(Piece::Owned(_)) => {
                self.pieces.iter().take_while(|piece| matches!(piece, Piece::Owned(_))).count()
            }
            Some(Piece::Shared { at: 1.., .. }) => 1,
            Some(Piece::Shared { at: 0, .. }) | None => 0,
        };
        self.pieces.truncate(begun);
        self.bytes = self.pieces.iter().map(|piece| piece.as_slice().len()).sum();
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Writes until nothing is left or the socket takes no more; gives how much it took.
    ///
    /// # Errors
    /// Those of the socket, other than that it takes no more.
    fn write_to(
        &mut self,
        socket: &mut impl Write,
        now: Instant,
        pool: &mut Pool,
    ) -> io::Result<usize> {
        let mut total = 0;
        while self.bytes > 0 {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            let mut offered = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece.as_slice());
                offered += slice.len();
                count += 1;
            }
            let written = match socket.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.advance(written, pool);
            self.progress = now;
            total += written;
            // A socket that took less than it was given is full: its edge will come.
            if written < offered {
                break;
            }
        }
        Ok(total)
    }

    fn advance(&mut self, mut written: usize, pool: &mut Pool) {
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
            let len = piece.as_slice().len();
            if written < len {
                match piece {
                    Piece::Owned(bytes) => bytes.advance(written),
                    Piece::Shared { at, .. } => *at += written,
                }
                return;
            }
            written -= len;
            if let Some(Piece::Owned(bytes)) = self.pieces.pop_front() {
                pool.put(bytes.into_buffer());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::{
            buffer::{Buffer, Lent},
            connection::Connection,
        },
        server::{Admission, context::tests::context},
    };

    /// Takes `room` bytes, then blocks.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_leave_in_order_however_little_the_socket_takes() {
        let now = Instant::now();
        let mut pool = Pool::new(1 << 16);
        for room in 1..=20 {
            let mut backlog = Backlog::new(now);
            backlog.push(b"one ", &mut pool);
            backlog.push_shared(b"__two ".as_slice().into(), 2);
            backlog.push(b"three ", &mut pool);
            backlog.push(b"four", &mut pool);
            assert_eq!((backlog.bytes, backlog.messages()), (18, 3));
            let mut socket = Narrow { room: 0, taken: Vec::new() };
            while backlog.bytes > 0 {
                socket.room = room;
                backlog.write_to(&mut socket, now, &mut pool).unwrap();
            }
            assert_eq!(socket.taken, b"one two three four", "{room} bytes at a time");
        }
    }

    #[test]
    fn what_has_begun_to_leave_is_kept_whole() {
        let now = Instant::now();
        let mut pool = Pool::new(1 << 16);
        let mut backlog = Backlog::new(now);
        backlog.push_shared(b"begun".as_slice().into(), 0);
        backlog.push_shared(b"waiting".as_slice().into(), 0);
        let mut socket = Narrow { room: 2, taken: Vec::new() };
        backlog.write_to(&mut socket, now, &mut pool).unwrap();
        backlog.drop_unsent();
        assert_eq!(backlog.bytes, 3);
        socket.room = 10;
        backlog.write_to(&mut socket, now, &mut pool).unwrap();
        assert_eq!(socket.taken, b"begun");

        backlog.push_shared(b"not begun".as_slice().into(), 0);
        backlog.drop_unsent();
        assert_eq!(backlog.bytes, 0);

        // A payload without room in front of it has its header in the piece before.
        backlog.push(b"header", &mut pool);
        backlog.push_owned(Buffer::from(b" and payload".to_vec()).into_wire());
        backlog.push_shared(b"waiting".as_slice().into(), 0);
        backlog.drop_unsent();
        while backlog.bytes > 0 {
            socket.room = 100;
            backlog.write_to(&mut socket, now, &mut pool).unwrap();
        }
        assert_eq!(socket.taken, b"begunheader and payload");
    }

    /// Takes `room` bytes, then blocks.
    struct Strait {
        room: usize,
        taken: Vec<u8>,
        writes: usize,
        /// That it was given to take, in all writes.
        pieces: usize,
    }

    impl io::Read for Strait {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl io::Write for Strait {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes += 1;
            self.pieces += slices.len();
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let before = self.taken.len();
            for slice in slices {
                let len = slice.len().min(self.room);
                self.room -= len;
                self.taken.extend(&slice[..len]);
            }
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Strait {
        fn shut_write(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An open connection whose socket takes `room` bytes.
    fn link(room: usize, now: Instant) -> Link<Strait> {
        let socket = Strait { room, taken: Vec::new(), writes: 0, pieces: 0 };
        let key = Key { slot: 0, generation: 0 };
        let mut connection = Connection::server(Arc::default(), now);
        connection.upgrade(Arc::default(), now);
        let addr = ([127, 0, 0, 1], 1).into();
        Link::new(socket, addr, key, connection, Admission::Welcome, 0)
    }

    #[test]
    fn what_is_written_at_once_arrives_whole_however_little_the_socket_takes() {
        let payload = b"payload";
        for room in 0..=20 {
            for kind in ["borrowed", "lent", "owned", "owned in a pool's"] {
                let mut frame = *b"a headerpayload";
                let (mut context, _mailbox) = context();
                let mut link = link(room, context.now);
                context.output.extend(b"another's before ");
                let borrowed = Payload::Borrowed(payload);
                let payload = match kind {
                    "lent" => Payload::Lent(Lent::new(&mut frame, 8)),
                    "owned" => borrowed.into_owned(),
                    "owned in a pool's" => borrowed.into_owned_in(&mut context.pool),
                    _ => borrowed,
                };
                link.write_at_once(10, payload, &mut context);
                let name = format!("{kind}, {room} bytes at first");
                assert_eq!(context.output, b"another's ", "{name}: the rest is not there twice");
                assert_eq!(link.socket.writes, 1, "{name}");
                let has_room_in_front = matches!(kind, "lent" | "owned in a pool's");
                let pieces = if has_room_in_front { 1 } else { 2 };
                assert_eq!(link.socket.pieces, pieces, "{name}");
                assert_eq!(link.output.backlog(), 14usize.saturating_sub(room));
                assert_eq!(link.output.is_flushed(), room >= 14);
                while link.output.backlog() > 0 {
                    link.socket.room = 3;
                    link.flush_backlog(&mut context);
                }
                assert_eq!(link.socket.taken, b"before payload", "{name}");
                assert_eq!(link.output.sent(), 14);
            }
        }
    }
}
