//! A worker without its poll: its connections, and the turn they are served in.
//!
//! What the system has to tell goes in ([`welcome`](Switchboard::welcome), [`wake`](Switchboard::wake));
//! a turn serves it all and leaves what was sent with the sockets. What a socket is, and how its worker
//! waits, is the owner's choice.

use std::{
    io, mem,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Shared,
    context::Context,
    mailbox::Admission,
    patience::MANY,
    peer::{Link, Peer, Stage, Stash},
    serve::Serving,
    socket::Socket,
    topics::Hear,
};
use crate::{
    protocol::{
        close::{CloseCause, CloseCode, Timeout},
        connection::{Connection, State},
    },
    router::Routes,
    service::{Entered, Errand, Letter, Outgoing, PeerId},
    slab::{Key, Slab},
};

/// The worker's read buffer: every socket is read into it in turn. What a read leaves of a larger message
/// is read into its place, so a larger buffer only means more bytes to copy there.
const READ_BUFFER: usize = 128 << 10;

/// Where the read buffer begins: at a multiple of this many bytes. The system copies faster to there.
const CACHE_LINE: usize = 64;

/// What one connection is read at a time, which is once a turn but where more is gathered: bytes. It
/// holds most large messages, so that one that has arrived is served as a whole, and its buffer used again
/// by the next.
const READ_A_TURN: usize = 1 << 20;

/// The turn's output is written early when it has grown to this many bytes.
const MAX_OUTPUT: usize = 256 << 10;

/// How long connections get to end when the server stops: so the process is gone within five seconds.
const STOP_WITHIN: Duration = Duration::from_millis(4_300);

/// The connections of one worker and what they share.
pub(crate) struct Switchboard<S> {
    read_buffer: ReadBuffer,
    peers: Slab<Peer<S>>,
    context: Context,
    routes: Arc<Routes>,
    shared: Arc<Shared>,
    jobs: Vec<Job>,
    /// Made since they were last asked for.
    deliveries: usize,
    /// When whoever is left is dropped, once the worker is stopping.
    stop_at: Option<Instant>,
}

/// What sockets are read into.
struct ReadBuffer {
    memory: Box<[u8]>,
    start: usize,
}

/// What has become of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// There is something to read, an end or an error among it.
    pub readable: bool,
    /// It takes something again, or never will.
    pub writable: bool,
    /// The peer has closed its side.
    pub read_closed: bool,
    /// The socket is in error.
    pub failed: bool,
}

/// Something the application wants done at times.
pub(super) struct Job {
    pub(super) period: Duration,
    pub(super) next: Instant,
    pub(super) run: Box<dyn FnMut(Instant) + Send>,
}

impl<S: Socket> Switchboard<S> {
    /// No connections yet, for worker `number`.
    pub(crate) fn new(
        number: u32,
        routes: Arc<Routes>,
        shared: &Arc<Shared>,
        now: Instant,
    ) -> Self {
        Self {
            read_buffer: ReadBuffer::new(),
            peers: Slab::new(),
            context: Context::new(number, shared, now),
            routes,
            shared: Arc::clone(shared),
            jobs: Vec::new(),
            deliveries: 0,
            stop_at: None,
        }
    }

    /// Has this worker do the application's periodic jobs.
    pub(crate) fn set_jobs(&mut self, jobs: Vec<Job>) {
        self.jobs = jobs;
    }

    /// Moves the clock.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.context.now = now;
        self.context.tasks.set_now(now);
    }

    /// Makes its tasks those of this thread until what is given is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.context.tasks.enter()
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Instant {
        self.context.now
    }

    /// Whether there is something to do before the system has any news.
    pub(crate) fn has_work(&self) -> bool {
        self.context.has_work()
    }

    /// Whether it is on its way to its end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// Whether it was stopped and every connection and task has ended.
    pub(crate) fn has_stopped(&self) -> bool {
        self.is_stopping() && self.peers.is_empty() && self.context.tasks.is_empty()
    }

    /// Serves what the system has told since the last turn, and what else is due.
    pub(crate) fn turn(&mut self) {
        self.read_on();
        self.open_mail();
        self.expire();
        self.run_tasks();
        self.flush();
    }

    /// How many publications wait for the end of the turn.
    pub(crate) fn publications(&mut self) -> usize {
        self.context.sort_mail();
        self.context.topics.waiting()
    }

    /// To how many members publications went since this was last asked.
    pub(crate) fn take_deliveries(&mut self) -> usize {
        mem::take(&mut self.deliveries)
    }

    /// When there is something to do, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let jobs = self.jobs.iter().map(|job| job.next).min();
        let Context { timers, tasks, .. } = &self.context;
        [timers.next(), tasks.next_deadline(), jobs, self.stop_at].into_iter().flatten().min()
    }

    // ---- take in -------------------------------------------------------------------------------

    /// Takes a new connection in. `prepare` makes its socket ready under the name it is given.
    pub(crate) fn welcome(
        &mut self,
        mut socket: S,
        addr: SocketAddr,
        admission: Admission,
        prepare: impl FnOnce(&mut S, Key) -> io::Result<()>,
    ) {
        if self.is_stopping() {
            self.shared.leave(self.context.worker, admission);
            return;
        }
        let (now, since) = (self.context.now, self.context.micros());
        let settings = Arc::clone(self.routes.defaults());
        let mut prepared = Ok(());
        let key = self.peers.insert(|key| {
            prepared = prepare(&mut socket, key);
            let connection = Connection::server(settings, now);
            let link = Link::new(socket, addr, key, connection, admission, since);
            Peer { link, stage: Stage::Opening(None) }
        });
        if prepared.is_err() {
            self.lose(key);
        } else if let Some(peer) = self.peers.get_mut(key) {
            peer.link.arm(&mut self.context);
        }
        self.flush_early();
    }

    /// The name of the connection that has a place now.
    pub(crate) fn key_at(&self, slot: u32) -> Option<Key> {
        self.peers.key_at(slot)
    }

    /// The system has news of a socket.
    pub(crate) fn wake(&mut self, key: Key, news: Readiness) {
        let Some(Peer { link, stage }) = self.peers.get_mut(key) else { return };
        // Nobody would notice while it is not read.
        let ends_unheard = news.failed || matches!(stage, Stage::Deciding(_)) && news.read_closed;
        if ends_unheard && !link.is_heard() {
            self.lose(key);
            return;
        }
        link.to_the_end |= news.read_closed;
        link.readable |= news.readable;
        if news.writable && link.backlog() > 0 {
            link.flush_outbox(&mut self.context);
            self.after_flush(key);
        }
        if news.readable {
            self.read(key);
        }
        self.flush_early();
    }

    /// Goes on with connections whose last turn was cut short.
    fn read_on(&mut self) {
        let mut ready = mem::take(&mut self.context.ready);
        for key in ready.drain(..) {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.link.ready = false;
                self.read(key);
                self.flush_early();
            }
        }
        // What was cut short again in the meantime waits for the next turn.
        ready.append(&mut self.context.ready);
        self.context.ready = ready;
    }

    /// Reads from a connection and serves what came, as far as its share of the turn goes.
    fn read(&mut self, key: Key) {
        if !self.serve_stash(key) {
            return;
        }
        let mut budget = READ_A_TURN;
        while let Some(Peer { link, .. }) = self.peers.get_mut(key) {
            if !link.may_read() {
                return;
            }
            if budget == 0 {
                link.read_on(&mut self.context);
                return;
            }
            match link.read(self.read_buffer.bytes(), &mut self.context) {
                Ok((0, 0)) => {
                    link.readable = false;
                    link.ended = true;
                    // What waits for it gets as long as it would in a closing handshake.
                    link.connection.excuse_silence(self.context.now);
                    self.settle(key);
                }
                Ok((in_place, read)) => {
                    budget = budget.saturating_sub(in_place + read);
                    self.serve_read(key, in_place, read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => link.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lose(key),
            }
        }
    }

    // ---- serve ---------------------------------------------------------------------------------

    /// Serves input that an earlier turn has put aside; gives whether that is all served.
    fn serve_stash(&mut self, key: Key) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        let Some(mut stash) = peer.link.stash.take() else { return true };
        let left =
            Serving::new(peer, &mut self.context).input(&mut stash.bytes[stash.at..], &self.routes);
        if left > 0 {
            stash.at = stash.bytes.len() - left;
            peer.link.keep_for_later(stash, &mut self.context);
        }
        self.settle(key);
        left == 0
    }

    /// Serves `in_place` bytes of a large frame, then `read` bytes of the read buffer.
    fn serve_read(&mut self, key: Key, in_place: usize, read: usize) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut serving = Serving::new(peer, &mut self.context);
        if in_place > 0 {
            serving.input_in_place(in_place, read == 0);
        }
        let left = serving.input(&mut self.read_buffer.bytes()[..read], &self.routes);
        drop(serving);
        if left > 0 {
            let bytes = self.read_buffer.bytes()[read - left..read].to_vec();
            peer.link.keep_for_later(Box::new(Stash { bytes, at: 0 }), &mut self.context);
        }
        self.settle(key);
    }

    /// TCP is gone.
    fn lose(&mut self, key: Key) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.readable = false;
        link.lost = true;
        self.settle(key);
    }

    /// Draws the conclusions from the state that a connection is in after something happened to it.
    #[inline]
    fn settle(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.link.lost || peer.link.ended {
            peer.link.connection.receive_eof();
        }
        match peer.link.connection.state() {
            State::Connecting | State::Open => return,
            State::CloseSent | State::CloseReceived => {
                peer.link.unsubscribe_all(&mut self.context);
                // Nothing is kept from an application that hears nothing any more but the end.
                peer.link.resume(&mut self.context);
            }
            State::CloseExchanged | State::Closed => {
                peer.link.stash = None;
                peer.link.unsubscribe_all(&mut self.context);
                peer.tell_closed(&self.context);
                self.context.ending.push(key);
            }
        }
        peer.link.arm(&mut self.context);
    }

    /// Ends TCP for connections that are done, once their last bytes have left.
    fn end_connections(&mut self) {
        let mut ending = mem::take(&mut self.context.ending);
        for key in ending.drain(..) {
            let Some(Peer { link, .. }) = self.peers.get_mut(key) else { continue };
            if link.lost || (link.ended && link.is_flushed()) {
                self.finish(key);
            } else if link.is_flushed() && !link.lingering {
                self.shut_write(key);
            } else if link.has_output() {
                self.context.ending.push(key);
            }
        }
        ending.append(&mut self.context.ending);
        self.context.ending = ending;
    }

    /// §7.1.1: the server ends TCP first. The peer may still be sending, and closing the socket under
    /// it would reset TCP and overtake our Close: so only our side is shut, and the rest is read.
    fn shut_write(&mut self, key: Key) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.lingering = true;
        if link.socket.shut_write().is_err() {
            self.finish(key);
        } else if link.readable {
            link.read_on(&mut self.context);
        }
    }

    /// Takes a connection off the table.
    fn finish(&mut self, key: Key) {
        let Some(mut peer) = self.peers.remove(key) else { return };
        peer.link.unsubscribe_all(&mut self.context);
        peer.link.connection.receive_eof();
        peer.tell_closed(&self.context);
        self.shared.leave(self.context.worker, peer.link.admission);
        peer.link.log_end(&self.context);
    }

    // ---- mail ----------------------------------------------------------------------------------

    fn open_mail(&mut self) {
        if self.context.mailbox.is_stopping() && self.stop_at.is_none() {
            self.begin_stop();
        }
        self.context.sort_mail();
        let mut letters = mem::take(&mut self.context.letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Errand(id, errand) => self.run_errand(id, errand),
                Letter::Publication(publication) => self.context.topics.take_in(publication),
                Letter::Wake(task) => self.context.tasks.wake(task),
            }
            self.flush_early();
        }
        letters.append(&mut self.context.letters);
        self.context.letters = letters;
    }

    fn run_errand(&mut self, id: PeerId, errand: Errand) {
        let key = Key { slot: id.slot, generation: id.generation };
        let done = self.peers.get_mut(key).is_some_and(|peer| {
            Serving::new(peer, &mut self.context)
                .call_link(|call| {
                    // What its poster published before goes out before it.
                    call.hear(Hear::All);
                    match errand {
                        Errand::Send(message) => call.send(message),
                        Errand::Ping(payload) => call.ping(&payload),
                        Errand::Close(code, reason) => call.close(code, &reason),
                    }
                })
                .is_ok()
        });
        if !done {
            self.context.counters.undelivered.add(1);
        }
        self.settle(key);
    }

    fn begin_stop(&mut self) {
        self.stop_at = Some(self.context.now + STOP_WITHIN);
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            if peer.link.connection.state() == State::Connecting {
                self.finish(key);
                continue;
            }
            // One that is closing already goes on with that.
            Serving::new(peer, &mut self.context)
                .call_link(|call| call.close(CloseCode::GOING_AWAY, "server stops").ok());
            self.settle(key);
            self.flush_early();
        }
    }

    // ---- tasks ---------------------------------------------------------------------------------

    fn run_tasks(&mut self) {
        self.context.tasks.run(|| true);
        let panics = self.context.tasks.take_panics();
        if panics > 0 {
            self.context.counters.panics.add(panics);
            log::error!("{panics} tasks panicked");
        }
        for id in self.context.tasks.take_calls() {
            let key = Key { slot: id.slot, generation: id.generation };
            if let Some(peer) = self.peers.get_mut(key) {
                Serving::new(peer, &mut self.context).woken();
                self.settle(key);
                self.flush_early();
            }
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    fn expire(&mut self) {
        let now = self.context.now;
        self.context.tasks.expire(|| true);
        while let Some((tick, keys)) = self.context.timers.pop(now) {
            for &key in &keys {
                // An entry that another one has overtaken is stale.
                if let Some(peer) = self.peers.get_mut(key)
                    && peer.link.armed == tick
                {
                    peer.link.armed = Default::default();
                    self.expire_peer(key);
                }
            }
            self.context.timers.give_back(keys);
        }
        for job in self.jobs.iter_mut().filter(|job| job.next <= now) {
            job.next = now + job.period;
            if catch_unwind(AssertUnwindSafe(|| (job.run)(now))).is_err() {
                self.context.counters.panics.add(1);
                log::error!("a periodic job panicked");
            }
        }
        if self.stop_at.is_some_and(|stop_at| stop_at <= now) {
            self.peers.keys().into_iter().for_each(|key| self.finish(key));
            self.context.tasks.clear();
        }
    }

    fn expire_peer(&mut self, key: Key) {
        let now = self.context.now;
        let Some(peer) = self.peers.get_mut(key) else { return };
        let connection = &mut peer.link.connection;
        let passed = connection.next_deadline().is_some_and(|deadline| deadline <= now);
        if peer.link.is_stuck(now) {
            self.expire_writing(key);
            return;
        }
        match peer.link.connection.state() {
            State::Open if passed && !peer.link.is_heard() => {
                peer.link.connection.excuse_silence(now);
                peer.link.probe(&mut self.context);
                peer.link.arm(&mut self.context);
            }
            State::Open if passed => {
                let output = &mut self.context.output;
                let start = output.len();
                peer.link.connection.handle_timeout(now, output);
                peer.link.leave(start, &mut self.context);
                peer.link.arm(&mut self.context);
                // A Pong brings the next Ping closer than the end of the wait for it may be.
                peer.link.arm_for_ping(&mut self.context);
                self.settle(key);
            }
            // A request had begun: say why it goes unanswered.
            State::Connecting
                if passed && matches!(peer.stage, Stage::Opening(Some(_)) | Stage::Deciding(_)) =>
            {
                Serving::new(peer, &mut self.context).refuse_late();
                self.settle(key);
            }
            State::Connecting
            | State::CloseSent
            | State::CloseReceived
            | State::CloseExchanged
            | State::Closed
                if passed =>
            {
                peer.link.connection.handle_timeout(now, &mut Vec::new());
                self.finish(key);
            }
            State::Connecting
            | State::Open
            | State::CloseSent
            | State::CloseReceived
            | State::CloseExchanged
            | State::Closed => peer.link.arm(&mut self.context),
        }
    }

    /// Drops a peer that takes nothing. The socket's edge comes only once a good part of its buffer is
    /// free, so a slow peer that reads all the same is found by trying.
    fn expire_writing(&mut self, key: Key) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.flush_outbox(&mut self.context);
        if link.is_stuck(self.context.now) {
            let cause = CloseCause::Timeout(Timeout::Write);
            link.connection.disconnect(cause, CloseCode::ABNORMAL, "nothing was taken");
            self.finish(key);
            return;
        }
        link.arm(&mut self.context);
        self.after_flush(key);
    }

    // ---- flush ---------------------------------------------------------------------------------

    /// Keeps the turn's output and publications within bounds.
    fn flush_early(&mut self) {
        if self.context.output.len() > MAX_OUTPUT || self.context.mailbox.is_heavy() {
            self.context.sort_mail();
            self.flush();
        }
    }

    /// Writes what the turn has for each connection: once for each. What is sent over it in answer
    /// leaves with the next turn.
    fn flush(&mut self) {
        self.fan_out();
        let mut flushed = mem::take(&mut self.context.flushed);
        let mut deferred = mem::take(&mut self.context.deferred);
        for entry in deferred.drain(..) {
            let Some(Peer { link, .. }) = self.peers.get_mut(entry.key()) else { continue };
            link.flush_deferred(&entry, &mut self.context);
            if link.lost || link.backlog() > 0 {
                flushed.push(entry.key());
            }
        }
        self.context.deferred = deferred;
        self.context.clear_output();
        while let Some(key) = self.context.dirty.pop() {
            if let Some(Peer { link, .. }) = self.peers.get_mut(key) {
                link.flush_outbox(&mut self.context);
                flushed.push(key);
            }
        }
        for key in flushed.drain(..) {
            self.after_flush(key);
        }
        self.context.flushed = flushed;
        self.end_connections();
    }

    /// Gives each topic's publications to its members.
    fn fan_out(&mut self) {
        if self.context.topics.is_waiting() {
            self.hand_out();
        }
        self.context.round = self.context.round.wrapping_add(1);
        self.context.count_compressed();
        while let Some(key) = self.context.unsettled.pop() {
            self.settle(key);
        }
    }

    /// Where a topic has many members, those that have just spoken hear last. What they say to what they
    /// hear is then there when the next publications leave, rather than wait while the others hear these.
    fn hand_out(&mut self) {
        let round = self.context.round;
        let mut speakers = mem::take(&mut self.context.speakers);
        while let Some(mut batch) = self.context.topics.next_batch() {
            let many = batch.places() >= MANY;
            let (members, news) = batch.members();
            for (key, heard) in members {
                self.deliveries += 1;
                match self.peers.get_mut(key) {
                    Some(Peer { link, .. }) if many && link.read_in == round => {
                        speakers.push((key, heard))
                    }
                    Some(Peer { link, .. }) => link.publish(news, heard, &mut self.context),
                    None => {}
                }
            }
            for (key, heard) in speakers.drain(..) {
                if let Some(Peer { link, .. }) = self.peers.get_mut(key) {
                    link.publish(news, heard, &mut self.context);
                }
            }
            self.context.topics.give_back(batch);
        }
        self.context.speakers = speakers;
    }

    /// A socket took something, or failed: goes on with whoever waited for that.
    fn after_flush(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if !peer.link.lost && peer.link.has_drained() {
            Serving::new(peer, &mut self.context).drained();
            peer.link.go_on(&mut self.context);
        }
        self.settle(key);
    }
}

impl ReadBuffer {
    fn new() -> Self {
        let memory: Box<[u8]> = vec![0; READ_BUFFER + CACHE_LINE - 1].into();
        let start = memory.as_ptr().align_offset(CACHE_LINE);
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..READ_BUFFER]
    }
}

impl<S> Drop for Switchboard<S> {
    fn drop(&mut self) {
        self.context.tasks.clear();
    }
}
