//! One socket, its connection, and what waits for it.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    addr::PeerAddr, context::Context, hearing::Hearing, mailbox::Admission, outbox::Outbox,
    socket::Socket, timers::Armed, topics::News,
};
use crate::{
    protocol::{
        buffer::Payload,
        close::{CloseCause, CloseCode},
        connection::Connection,
        handshake::HeadReader,
    },
    router::{Opening, Verdict},
    service::{Ear, Lag, PeerId, Service, Task},
    slab::Key,
};

/// One connection as its worker holds it.
pub(super) struct Peer<S> {
    pub(super) link: Link<S>,
    pub(super) stage: Stage,
}

/// What stands on our side of a connection.
pub(super) enum Stage {
    /// The opening handshake; the reader is there once a read has cut the head off.
    Opening(Option<Box<HeadReader>>),
    /// The application decides on the request.
    Deciding(Box<Decision>),
    /// The application.
    Serving(Box<dyn Service>),
    /// Nobody: the connection ends.
    Ending,
}

/// A decision that a task comes to.
pub(super) struct Decision {
    pub(super) opening: Opening,
    /// What it has come to, once it has.
    pub(super) verdict: Rc<Cell<Option<Verdict>>>,
    pub(super) task: Task,
}

/// A connection without its application: all that a [`Call`](super::call::Call) of that may touch.
pub(super) struct Link<S> {
    pub(super) socket: S,
    pub(super) connection: Connection,
    pub(super) key: Key,
    addr: PeerAddr,
    /// When it was accepted, by [`Context::micros`].
    since: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) armed: Armed,
    /// What the socket could not take; nothing at rest.
    outbox: Option<Box<Outbox>>,
    /// Nothing without a subscription.
    pub(super) hearing: Option<Box<Hearing>>,
    /// Input that was read and not yet looked at: the turn was cut short.
    pub(super) stash: Option<Box<Stash>>,
    /// Its entry in the turn's list of output, counted from 1.
    deferred: u32,
    /// The [`Context::round`] in which it was read last.
    pub(super) read_in: u8,
    /// The socket may hold bytes whose edge has passed.
    pub(super) readable: bool,
    /// The peer has closed its side: read on to the end.
    pub(super) to_the_end: bool,
    /// On the worker's list of connections to read on.
    pub(super) ready: bool,
    /// On the worker's list of outboxes to flush.
    dirty: bool,
    /// So much waits for the peer that it is not read from.
    pub(super) full: bool,
    /// The application hears nothing for now.
    pub(super) paused: bool,
    /// The peer has closed its side and all of it was read; it may still take what waits for it.
    pub(super) ended: bool,
    /// TCP is gone.
    pub(super) lost: bool,
    /// Our side of TCP is shut: the peer's last bytes are read and dropped.
    pub(super) lingering: bool,
    pub(super) admission: Admission,
}

/// Input for later.
#[derive(Debug)]
pub(super) struct Stash {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
}

/// What a turn has for one socket, in the worker's output.
#[derive(Debug)]
pub(super) struct Deferred {
    key: Key,
    start: usize,
    end: usize,
}

impl<S: Socket> Link<S> {
    pub(super) fn new(
        socket: S,
        addr: SocketAddr,
        key: Key,
        connection: Connection,
        admission: Admission,
        since: u64,
    ) -> Self {
        Self {
            socket,
            connection,
            key,
            addr: addr.into(),
            since,
            received: 0,
            sent: 0,
            armed: Armed::default(),
            outbox: None,
            hearing: None,
            stash: None,
            deferred: 0,
            read_in: 0,
            readable: false,
            to_the_end: false,
            ready: false,
            dirty: false,
            full: false,
            paused: false,
            ended: false,
            lost: false,
            lingering: false,
            admission,
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr.into()
    }

    /// Bytes that wait for the socket, as far as they are not the current turn's.
    pub(super) fn backlog(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Whether everything sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_none() && self.deferred == 0
    }

    /// Whether the worker will write for it by itself, without an edge of its socket.
    pub(super) fn has_output(&self) -> bool {
        self.deferred != 0 || self.dirty
    }

    /// When to look at this connection next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.connection.next_deadline(), self.write_deadline()].into_iter().flatten().min()
    }

    /// When what waits has waited too long.
    fn write_deadline(&self) -> Option<Instant> {
        let timeout = self.connection.settings().timeouts.write;
        self.outbox.as_ref()?.progress.checked_add(timeout)
    }

    /// Whether what waits has waited too long.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.write_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Has the worker look again at its deadline, where that may have come closer.
    pub(super) fn arm(&mut self, context: &mut Context) {
        if let Some(deadline) = self.deadline() {
            context.timers.arm(self.key, &mut self.armed, deadline);
        }
    }

    /// Has the worker look at it again when a Ping may be due.
    pub(super) fn arm_for_ping(&mut self, context: &mut Context) {
        let period = self.connection.settings().timeouts.ping_period;
        if let Some(deadline) = period.and_then(|period| context.now.checked_add(period)) {
            context.timers.arm(self.key, &mut self.armed, deadline);
        }
    }

    /// Has the worker read on in its next turn.
    pub(super) fn read_on(&mut self, context: &mut Context) {
        if !self.ready {
            self.ready = true;
            context.ready.push(self.key);
        }
    }

    // ---- output --------------------------------------------------------------------------------

    /// Leaves `context.output[start..]`, which is for this connection, for the end of the turn.
    pub(super) fn leave(&mut self, start: usize, context: &mut Context) {
        let end = context.output.len();
        if end == start {
            return;
        }
        if self.outbox.is_some() {
            self.leave_in_outbox(start, context);
            return;
        }
        match self.deferred.checked_sub(1).map(|at| at as usize) {
            None => {
                context.deferred.push(Deferred { key: self.key, start, end });
                self.deferred = context.deferred.len() as u32;
            }
            Some(at) if context.deferred[at].end == start => context.deferred[at].end = end,
            Some(_) => {
                self.leave_in_outbox(start, context);
            }
        }
    }

    /// Moves what the turn has for this connection, `context.output[start..]` last, into its outbox.
    pub(super) fn leave_in_outbox(&mut self, start: usize, context: &mut Context) -> &mut Outbox {
        let mut outbox = self.outbox.take().unwrap_or_else(|| context.new_outbox());
        if let Some(at) = self.deferred.checked_sub(1) {
            let Deferred { start, end, .. } = &mut context.deferred[at as usize];
            outbox.push(&context.output[*start..*end], &mut context.pool);
            *end = *start;
            self.deferred = 0;
        }
        outbox.push(&context.output[start..], &mut context.pool);
        context.output.truncate(start);
        if !self.dirty {
            self.dirty = true;
            context.dirty.push(self.key);
        }
        self.outbox.insert(outbox)
    }

    /// Writes what the turn has for this connection, of which `deferred` tells where it stands.
    pub(super) fn flush_deferred(&mut self, deferred: &Deferred, context: &mut Context) {
        // An entry that was moved to the outbox is empty.
        if deferred.start < deferred.end {
            self.deferred = 0;
            self.write_range(deferred.start, deferred.end, context);
        }
    }

    /// Writes `context.output[start..end]` at once; the outbox, which is empty, takes what is left.
    fn write_range(&mut self, start: usize, end: usize, context: &mut Context) {
        let bytes = &context.output[start..end];
        let written = self.write_some(bytes);
        if written < bytes.len() && !self.lost {
            let mut outbox = context.new_outbox();
            outbox.push(&context.output[start + written..end], &mut context.pool);
            self.keep_waiting(outbox, context);
        }
    }

    /// Writes `context.output[start..]`, which is all that the turn has for this connection so far, and
    /// `payload` behind it, without a copy of that; the outbox, which is empty, takes what is left.
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
        if of_payload < payload.len() && !self.lost {
            let mut outbox = context.new_outbox();
            outbox.push(&context.output[start + left..], &mut context.pool);
            match payload {
                Payload::Borrowed(_) | Payload::Lent(_) => {
                    outbox.push(&payload[of_payload..], &mut context.pool);
                }
                Payload::Owned(buffer) => {
                    let mut wire = buffer.into_wire();
                    wire.advance(of_payload);
                    outbox.push_owned(wire);
                }
            }
            self.keep_waiting(outbox, context);
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
                    self.sent += written as u64;
                    return written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.lost = true;
                    return 0;
                }
            }
        }
    }

    /// Writes what waits in the outbox.
    pub(super) fn flush_outbox(&mut self, context: &mut Context) {
        self.dirty = false;
        let Some(mut outbox) = self.outbox.take() else { return };
        match outbox.write_to(&mut self.socket, context.now, &mut context.pool) {
            Ok(written) => self.sent += written as u64,
            Err(_) => self.lost = true,
        }
        if self.lost {
            return;
        }
        if outbox.len() > 0 {
            self.keep_waiting(outbox, context);
            return;
        }
        context.put_outbox(outbox);
        let start = context.output.len();
        self.connection.set_behind(false, &mut context.output);
        if context.output.len() > start {
            self.write_range(start, context.output.len(), context);
            context.output.truncate(start);
        }
    }

    /// The socket is full: its edge will come.
    fn keep_waiting(&mut self, outbox: Box<Outbox>, context: &mut Context) {
        self.full |= outbox.len() > self.connection.settings().limits.pause_reading;
        self.outbox = Some(outbox);
        self.connection.set_behind(true, &mut context.output);
        self.arm(context);
    }

    /// Whether enough has left since it was full; asked once, as it is not full any more then.
    pub(super) fn has_drained(&mut self) -> bool {
        let limits = &self.connection.settings().limits;
        let messages = self.outbox.as_ref().map_or(0, |outbox| outbox.messages());
        self.full
            && self.backlog() <= limits.resume_reading
            && messages <= limits.max_backlog_messages / 2
            && std::mem::replace(&mut self.full, false)
    }

    /// Sends a Ping to a peer that the application does not hear, whose answer would wait unread: a socket
    /// that is closed at the other end refuses it, which is how its end is noticed.
    pub(super) fn probe(&mut self, context: &mut Context) {
        // Where something waits to be taken, that tells as much.
        if self.is_flushed() {
            let start = context.output.len();
            // It fails only where the connection is not open any more.
            self.connection.ping(&[], &mut context.output).ok();
            self.leave(start, context);
        }
    }

    // ---- publications --------------------------------------------------------------------------

    /// Sends what follows the offset `heard` of `news`: at once where nothing waits, as one write, or
    /// behind what waits.
    pub(super) fn publish(&mut self, news: &mut News, heard: u64, context: &mut Context) {
        if !self.connection.takes_published() || self.lost {
            return self.miss(news, heard);
        }
        if news.lag() == Lag::Skip && self.is_behind() {
            context.counters.skipped.add(news.after(heard).len() as u64);
            return self.miss(news, heard);
        }
        if self.is_too_slow() {
            self.give_up_slow(context);
            context.unsettled.push(self.key);
            return;
        }
        if self.connection.frames_published() {
            return self.publish_framed_here(news, heard, context);
        }
        let Some(hearing) = &self.hearing else { return };
        // One write a turn: who hears several topics gets them together at the turn's end.
        let alone = hearing.subscriptions().len() == 1;
        let before = hearing.ear();
        let mut ear = before;
        let publications = news.after(heard);
        if !self.is_flushed() || !alone || !news.is_all(publications) {
            let start = context.output.len();
            let outbox = self.leave_in_outbox(start, context);
            for publication in publications {
                let (kind, frame) = ear.hear(publication);
                outbox.push_shared(Arc::clone(frame), 0);
                context.compressed.count(kind);
            }
            self.set_ear(ear);
            return;
        }
        let frames = news.joined(&mut ear, &mut context.compressed);
        let (mut written, len) = (self.write_some(frames), frames.len());
        self.set_ear(ear);
        if self.lost {
            context.unsettled.push(self.key);
        } else if written < len {
            let (mut ear, mut outbox) = (before, context.new_outbox());
            for publication in news.after(heard) {
                let (_, frame) = ear.hear(publication);
                if written < frame.len() {
                    outbox.push_shared(Arc::clone(frame), written);
                }
                written = written.saturating_sub(frame.len());
            }
            self.keep_waiting(outbox, context);
        }
    }

    /// Leaves out what follows the offset `heard` of `news`.
    #[cold]
    fn miss(&mut self, news: &News, heard: u64) {
        if let Some(hearing) = &mut self.hearing {
            hearing.miss(news.topic(), news.after(heard).len());
            self.lend_window();
        }
    }

    /// Whether so much waits that topics may skip it. Who has too many messages waiting is full too, so
    /// that its application hears when it has drained.
    fn is_behind(&mut self) -> bool {
        self.full |= self.is_too_slow();
        self.full
    }

    /// The same for a connection whose extensions change its frames: each has its own.
    #[cold]
    fn publish_framed_here(&mut self, news: &News, heard: u64, context: &mut Context) {
        let start = context.output.len();
        let Context { pool, output, .. } = &mut *context;
        let mut news = news.after(heard).iter().map(|publication| publication.message());
        // Where it fails, its Close is the last.
        let sent = news.try_for_each(|(opcode, payload)| {
            self.connection.send_published(opcode, payload, pool, output)
        });
        if self.is_flushed() {
            // At once, as a turn's output would hold it once for each member.
            self.write_range(start, context.output.len(), context);
            context.output.truncate(start);
        } else {
            self.leave(start, context);
        }
        if sent.is_err() || self.lost {
            context.unsettled.push(self.key);
        }
    }

    /// What picks the frames that it can take.
    pub(super) fn ear(&self) -> Ear {
        let fresh = || self.connection.window_for_topics().map(Ear::new).unwrap_or_default();
        self.hearing.as_ref().map_or_else(fresh, |hearing| hearing.ear())
    }

    /// Its subscriptions were heard with `ear`.
    pub(super) fn set_ear(&mut self, ear: Ear) {
        if let Some(hearing) = &mut self.hearing {
            hearing.set_ear(ear);
            self.lend_window();
        }
    }

    /// A topic's cohort has the peer's window, or has it no more.
    pub(super) fn lend_window(&mut self) {
        let ear = self.hearing.as_ref().map(|hearing| hearing.ear());
        self.connection.lend_window(ear.is_some_and(|ear| ear.cohort().is_some()));
    }

    /// Whether more waits than may, judged only when the socket was tried since.
    pub(super) fn is_too_slow(&self) -> bool {
        let limits = &self.connection.settings().limits;
        !self.dirty
            && self.outbox.as_ref().is_some_and(|outbox| {
                outbox.len() > limits.max_backlog || outbox.messages() > limits.max_backlog_messages
            })
    }

    /// Closes a connection that does not keep up: what waits is dropped, so that the Close gets
    /// through as soon as anything does.
    pub(super) fn give_up_slow(&mut self, context: &mut Context) {
        context.counters.slow.add(1);
        if let Some(outbox) = &mut self.outbox {
            outbox.drop_unsent();
        }
        let start = context.output.len();
        let (code, text) = (CloseCode::TRY_AGAIN_LATER, "too slow");
        self.connection.give_up(CloseCause::Local, code, text, context.now, &mut context.output);
        self.leave_in_outbox(start, context);
    }

    /// Ends all subscriptions.
    pub(super) fn unsubscribe_all(&mut self, context: &mut Context) {
        if let Some(hearing) = self.hearing.take() {
            hearing.end(context);
        }
    }

    // ---- input ---------------------------------------------------------------------------------

    /// Whether the peer is listened to: not who does not read us, nor while the application wants to
    /// hear nothing.
    pub(super) fn is_heard(&self) -> bool {
        !self.full && !self.paused
    }

    /// Whether it is this peer's turn to be read; who is leaving is read to the end.
    pub(super) fn may_read(&self) -> bool {
        self.readable && self.stash.is_none() && (self.is_heard() || self.connection.ends_tcp())
    }

    /// The application hears again what it has put off.
    pub(super) fn resume(&mut self, context: &mut Context) {
        if std::mem::replace(&mut self.paused, false) {
            self.go_on(context);
        }
    }

    /// Goes on with input that was put off.
    pub(super) fn go_on(&mut self, context: &mut Context) {
        if self.readable || self.stash.is_some() {
            self.read_on(context);
        }
    }

    /// One read: into the rest of a large frame first where there is one, then into `buffer`. Gives
    /// how many bytes went where; none at all at the end of TCP.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context,
    ) -> io::Result<(usize, usize)> {
        let (read, room, in_place) = match self.connection.space(&mut context.pool) {
            None => (self.socket.read(buffer)?, buffer.len(), 0),
            Some(space) => {
                let (in_place, room) = (space.len(), space.len() + buffer.len());
                let slices = &mut [io::IoSliceMut::new(space), io::IoSliceMut::new(buffer)];
                (self.socket.read_vectored(slices)?, room, in_place)
            }
        };
        self.received += read as u64;
        self.read_in = context.round;
        // A read that leaves room has emptied the socket, but for an end that was announced. Where mio
        // makes the edges itself, only a read that would block arms the next one.
        if read < room && !self.to_the_end && !cfg!(windows) {
            self.readable = false;
        }
        Ok((read.min(in_place), read.saturating_sub(in_place)))
    }

    /// Puts input aside for the next turn, or for when the peer is listened to again.
    pub(super) fn keep_for_later(&mut self, stash: Box<Stash>, context: &mut Context) {
        self.stash = Some(stash);
        if self.is_heard() {
            self.read_on(context);
        }
    }

    /// The one line that a finished connection leaves in the log.
    pub(super) fn log_end(&self, context: &Context) {
        let Some(reason) = self.connection.close_reason() else { return };
        let (worker, Key { slot, generation }) = (context.worker, self.key);
        let id = PeerId { worker, slot, generation };
        let Self { received, sent, .. } = self;
        let addr = self.addr();
        let age = Duration::from_micros(context.micros().saturating_sub(self.since));
        log::info!("{id} {addr} {reason}; in {received} B, out {sent} B, age {age:.1?}");
    }
}

impl Deferred {
    pub(super) fn key(&self) -> Key {
        self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::buffer::Lent, server::context::tests::context};

    /// Takes `room` bytes, then blocks.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
        writes: usize,
        /// That it was given to take, in all writes.
        pieces: usize,
    }

    impl io::Read for Narrow {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl io::Write for Narrow {
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

    impl Socket for Narrow {
        fn shut_write(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An open connection whose socket takes `room` bytes.
    fn link(room: usize, now: Instant) -> Link<Narrow> {
        let socket = Narrow { room, taken: Vec::new(), writes: 0, pieces: 0 };
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
                assert_eq!(link.backlog(), 14usize.saturating_sub(room));
                assert_eq!(link.is_flushed(), room >= 14);
                while link.backlog() > 0 {
                    link.socket.room = 3;
                    link.flush_outbox(&mut context);
                }
                assert_eq!(link.socket.taken, b"before payload", "{name}");
                assert_eq!(link.sent, 14);
            }
        }
    }

    #[test]
    fn a_connection_at_rest_is_small() {
        // Beside it there are its service's box, eight bytes of the table and, in the system, its socket.
        let size = size_of::<Peer<mio::net::TcpStream>>();
        assert!(size <= 232, "{size} bytes");
    }
}
