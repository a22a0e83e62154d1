//! A worker without its poll: its connections, and the turn they are served in.
//!
//! What the system has to tell goes in ([`welcome`](Reactor::welcome), [`wake`](Reactor::wake));
//! a turn serves it all and leaves what was sent with the sockets. What a socket is, and how its worker
//! waits, is the owner's choice.
//!
//! # Work
//!
//! A turn has a budget, and each connection a share of it, in units of work: bytes read, inflated,
//! compressed, calls and deliveries; and in time, by a clock that is looked at now and then. A connection
//! with input is on the *light* list. One that has used up its share is moved to the *heavy* list, whose
//! connections take turns in what is left of the budget, and stays heavy until all that it sent was served
//! within a light share. So a connection with little to do waits for the shares of others, however much those have to do. Mail, timers,
//! tasks and deliveries have budgets as well; what is over waits for the next turn, in order.

use std::{
    cell::Cell,
    io, mem,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Admission, Shared,
    connection::{Input, Link, Peer, Stage, Stash, Tcp},
    context::Context,
    output::Position,
    serve::Serving,
    socket::Socket,
};
use crate::{
    guard::{Panicked, guard},
    mailbox::{self, Command, Mail, PeerId},
    protocol::{
        close::{CloseCause, CloseCode, Timeout},
        connection::{Connection, State},
    },
    router::Routes,
    service::{Entered, Outgoing},
    slab::{Key, Slab},
};

/// The worker's read buffer: every socket is read into it in turn. What a read leaves of a larger message
/// is read into its place, so a larger buffer only means more bytes to copy there.
const READ_BUFFER: usize = 128 << 10;

/// Where the read buffer begins: at a multiple of this many bytes. The system copies faster to there.
const CACHE_LINE: usize = 64;

/// The turn's output is written early when it has grown to this many bytes.
const MAX_OUTPUT: usize = 256 << 10;

/// Units of work that a connection may do when it has input, before it counts as heavy: 50 µs at least.
const LIGHT_SHARE: u64 = 512 << 10;

/// Units of work that a heavy connection does at a time: 130 µs at least. It holds most large messages, so
/// that one that has arrived is received as a whole, and its buffer used again by the next.
const HEAVY_SHARE: u64 = 5 << 18;

/// What light and what heavy connections may do in a turn.
const LIGHT: Allowance = Allowance { units: 40 << 20, time: Duration::from_millis(8) };
const HEAVY: Allowance = Allowance { units: 10 << 20, time: Duration::from_millis(2) };

/// What mail, what timers and tasks, and what deliveries may take in a turn.
const MAIL: Allowance = Allowance { units: 10 << 20, time: Duration::from_millis(2) };
const TIME: Allowance = Allowance { units: 20 << 20, time: Duration::from_millis(4) };
const FAN_OUT: Allowance = Allowance { units: 64 << 20, time: Duration::from_millis(8) };

/// Units of work that a delivery, a command, a timer and a poll of a task count for.
const DELIVERY: u64 = 2_048;
const COMMAND: u64 = 1_024;
const TIMER: u64 = 2_048;
const TASK: u64 = 2_048;

/// Units of work that the end of a connection counts for.
const END: u64 = 64 << 10;

/// Units of work after which the clock is looked at.
const LOOK: u64 = 256 << 10;

/// How long connections get to end when the server stops: so the process is gone within five seconds.
const STOP_WITHIN: Duration = Duration::from_millis(4_300);

/// The connections of one worker and what they share.
pub(crate) struct Reactor<S> {
    /// Its worker's among those of the server.
    number: usize,
    read_buffer: ReadBuffer,
    peers: Slab<Peer<S>>,
    context: Context,
    routes: Arc<Routes>,
    shared: Arc<Shared>,
    jobs: Vec<Job>,
    /// Tells the time within a turn; where there is none, work alone ends it.
    clock: Option<fn() -> Instant>,
    /// Made since they were last asked for.
    deliveries: usize,
    /// When whoever is left is dropped, once the worker is stopping.
    stop_at: Option<Instant>,
    /// When something was due for which time passes, as far as this was asked.
    due: Cell<Option<Instant>>,
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

/// How much may be done of something in a turn.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    units: u64,
    time: Duration,
}

/// What is left of an [`Allowance`].
#[derive(Debug)]
struct Budget {
    /// The units of work at which it is used up, and at which the clock is looked at next.
    until: u64,
    look: u64,
    /// The clock, and the time at which it is used up.
    clock: Option<(fn() -> Instant, Instant)>,
}

impl Budget {
    fn new(allowance: Allowance, clock: Option<fn() -> Instant>, context: &Context) -> Self {
        let work = context.work();
        let Allowance { units, time } = allowance;
        // Until much was done the turn's time is good enough.
        let is_fresh = work < context.begun + LOOK;
        let now = |clock: fn() -> Instant| if is_fresh { context.now } else { clock() };
        let clock = clock.map(|clock| (clock, now(clock) + time));
        Self { until: work + units, look: work + LOOK, clock }
    }

    /// Whether there is nothing left.
    #[inline]
    fn is_used_up(&mut self, context: &Context) -> bool {
        let work = context.work();
        if work < self.look {
            return work >= self.until;
        }
        self.look = work + LOOK;
        work >= self.until || self.clock.is_some_and(|(clock, ends)| clock() >= ends)
    }
}

impl<S: Socket> Reactor<S> {
    /// No connections yet, for the worker with this number among those of its server.
    pub(crate) fn new(
        number: usize,
        routes: Arc<Routes>,
        shared: &Arc<Shared>,
        now: Instant,
    ) -> Self {
        Self {
            number,
            read_buffer: ReadBuffer::new(),
            peers: Slab::new(),
            context: Context::new(&shared.workers[number].mailbox, shared, now),
            routes,
            shared: Arc::clone(shared),
            jobs: Vec::new(),
            clock: None,
            deliveries: 0,
            stop_at: None,
            due: Cell::new(None),
        }
    }

    /// Has this worker do the application's periodic jobs, for the first time a period from now.
    pub(crate) fn set_jobs(&mut self, mut jobs: Vec<Job>) {
        for job in &mut jobs {
            job.next = self.context.now + job.period;
        }
        self.jobs = jobs;
    }

    /// Has the budgets of a turn end by this clock, too.
    pub(crate) fn set_clock(&mut self, clock: fn() -> Instant) {
        self.clock = Some(clock);
    }

    /// Moves the clock.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.context.now = now;
        self.context.begun = self.context.work();
        self.context.tasks.set_now(now);
    }

    /// Makes this thread the worker's until what is given is dropped.
    pub(crate) fn enter(&self) -> (Entered, mailbox::Entered) {
        (self.context.tasks.enter(), self.context.mailbox.enter())
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Instant {
        self.context.now
    }

    /// Whether there is something to do before the system has anything new.
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
        if self.context.mailbox.is_stopping() && self.stop_at.is_none() {
            self.begin_stop();
        }
        self.serve();
        self.work_off_mail();
        self.expire();
        self.run_tasks();
        self.work_off_mail();
        self.fan_out();
        self.flush();
    }

    /// Serves what has come, and gives how many publications wait for the end of the turn.
    pub(crate) fn gather(&mut self) -> usize {
        self.serve();
        self.work_off_mail();
        self.context.topics.waiting()
    }

    /// To how many members publications went since this was last asked.
    pub(crate) fn take_deliveries(&mut self) -> usize {
        mem::take(&mut self.deliveries)
    }

    /// When there is something to do, if nothing happens before. The next turn does nothing for time before
    /// that, so it is asked before each.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let mut next = self.context.timers.next();
        let others = [self.context.tasks.next_deadline(), self.stop_at];
        for other in others.into_iter().chain(self.jobs.iter().map(|job| Some(job.next))) {
            next = match (next, other) {
                (Some(next), Some(other)) => Some(next.min(other)),
                (next, other) => next.or(other),
            };
        }
        self.due.set(next);
        next
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
            self.shared.leave(self.number, admission);
            return;
        }
        let (now, since) = (self.context.now, self.context.hundredths());
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
    }

    /// The name of the connection that has a place now.
    pub(crate) fn key_at(&self, slot: u32) -> Option<Key> {
        self.peers.key_at(slot)
    }

    /// The system tells what has become of a socket: it is served in the next turn.
    pub(crate) fn wake(&mut self, key: Key, readiness: Readiness) {
        let Some(Peer { link, stage }) = self.peers.get_mut(key) else { return };
        // Nobody would notice while it is not read.
        let ends_unheard =
            readiness.failed || matches!(stage, Stage::Deciding(_)) && readiness.read_closed;
        if ends_unheard && !link.is_heard() {
            self.lose(key);
            return;
        }
        if readiness.read_closed {
            link.input = Input::Ending;
        } else if readiness.readable && link.input == Input::Empty {
            link.input = Input::Readable;
        }
        if readiness.writable && link.output.backlog() > 0 {
            link.flush_backlog(&mut self.context);
            self.after_flush(key);
        }
        if let Some(Peer { link, .. }) = self.peers.get_mut(key) {
            link.go_on(&mut self.context);
        }
    }

    // ---- serve ---------------------------------------------------------------------------------

    /// Serves the connections that have input: each that is light once, then the heavy ones in turn. Where
    /// much is to be delivered, the others wait until it is; one of each kind is served at least.
    fn serve(&mut self) {
        let mut budget = Budget::new(LIGHT, self.clock, &self.context);
        while let Some(key) = self.context.light.pop_front() {
            self.serve_one(key, LIGHT_SHARE);
            if budget.is_used_up(&self.context) || self.context.mailbox.is_filling_up() {
                break;
            }
        }
        if self.context.heavy.is_empty() {
            return;
        }
        let mut budget = Budget::new(HEAVY, self.clock, &self.context);
        while let Some(key) = self.context.heavy.pop_front() {
            self.serve_one(key, HEAVY_SHARE);
            if budget.is_used_up(&self.context) || self.context.mailbox.is_filling_up() {
                break;
            }
        }
    }

    /// Serves a connection up to its share; where more is left, it is heavy.
    fn serve_one(&mut self, key: Key, share: u64) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.is_queued = false;
        let (sent, begun) = (link.output.sent(), self.context.work());
        let until = begun + share;
        self.guarded(key, |reactor| reactor.read(key, until));
        if let Some(peer) = self.peers.get_mut(key) {
            self.context.spend(peer.link.output.sent() - sent);
            peer.count_unfinished(&mut self.context);
            let done = self.context.work() - begun;
            peer.link.is_heavy = peer.link.is_ready() || done > LIGHT_SHARE;
            peer.link.go_on(&mut self.context);
        }
        if self.context.unfinished > self.context.max_unfinished {
            self.shed_unfinished();
        }
        self.flush_early();
    }

    /// All together hold more of unfinished input than they may: those that hold most for longest give way,
    /// until a quarter of the bound is free, so that this is rare.
    #[cold]
    fn shed_unfinished(&mut self) {
        let Self { peers, context, .. } = self;
        let mut holders: Vec<_> = peers
            .keys()
            .into_iter()
            .filter_map(|key| Some((peers.get_mut(key)?.link.burden(context.now), key)))
            .filter(|&(burden, _)| burden > 0)
            .collect();
        holders.sort_unstable();
        let target = context.max_unfinished - context.max_unfinished / 4;
        while self.context.unfinished > target
            && let Some((_, key)) = holders.pop()
        {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            Serving::new(peer, &mut self.context).shed();
            peer.link.stash = None;
            peer.count_unfinished(&mut self.context);
            self.context.counters.shed.add(1);
            self.settle(key);
        }
    }

    /// Reads from a connection and serves what came, until the worker has done `until` units of work.
    fn read(&mut self, key: Key, until: u64) {
        if !self.serve_stash(key, until) {
            return;
        }
        while let Some(Peer { link, .. }) = self.peers.get_mut(key) {
            if !link.is_ready() || self.context.work() >= until {
                return;
            }
            match link.read(self.read_buffer.bytes(), &mut self.context) {
                Ok((0, 0)) => {
                    link.input = Input::Empty;
                    link.tcp = if link.tcp == Tcp::Lingering { Tcp::Lost } else { Tcp::PeerEnded };
                    // What waits for it gets as long as it would in a closing handshake.
                    link.connection.excuse_silence(self.context.now);
                    self.settle(key);
                }
                Ok((in_place, read)) => self.serve_read(key, in_place, read, until),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    link.input = Input::Empty;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lose(key),
            }
        }
    }

    /// Serves input that an earlier turn has put aside; gives whether that is all served.
    fn serve_stash(&mut self, key: Key, until: u64) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        let Some(mut stash) = peer.link.stash.take() else { return true };
        let input = &mut stash.bytes[stash.at..];
        let left = Serving::new(peer, &mut self.context).input(input, &self.routes, until);
        if left > 0 {
            stash.at = stash.bytes.len() - left;
            peer.link.stash = Some(stash);
        }
        self.settle(key);
        left == 0
    }

    /// Serves `in_place` bytes of a large frame, then `read` bytes of the read buffer.
    fn serve_read(&mut self, key: Key, in_place: usize, read: usize, until: u64) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut serving = Serving::new(peer, &mut self.context);
        if in_place > 0 {
            serving.input_in_place(in_place, read == 0);
        }
        let left = serving.input(&mut self.read_buffer.bytes()[..read], &self.routes, until);
        drop(serving);
        if left > 0 {
            let bytes = self.read_buffer.bytes()[read - left..read].to_vec();
            peer.link.stash = Some(Box::new(Stash { bytes, at: 0 }));
        }
        self.settle(key);
    }

    /// Calls foreign code for a connection: the application and its extensions. A panic ends here, and
    /// the connection with it.
    #[inline]
    fn guarded(&mut self, key: Key, call: impl FnOnce(&mut Self)) {
        if guard(|| call(self)) == Err(Panicked) {
            self.end_after_panic(key);
        }
    }

    #[cold]
    fn end_after_panic(&mut self, key: Key) {
        if let Some(peer) = self.peers.get_mut(key) {
            Serving::new(peer, &mut self.context).end_after_panic();
            self.settle(key);
        }
    }

    /// TCP is gone.
    fn lose(&mut self, key: Key) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.input = Input::Empty;
        link.tcp = Tcp::Lost;
        self.settle(key);
    }

    /// Draws the conclusions from the state that a connection is in after something happened to it.
    #[inline]
    fn settle(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        match peer.link.tcp {
            Tcp::PeerEnded | Tcp::Lost => peer.link.connection.receive_eof(),
            Tcp::Open | Tcp::Lingering => {}
        }
        match peer.link.connection.state() {
            State::Connecting | State::Open => return,
            // Its Close waits for its turn, and so does what was published before.
            _ if peer.link.output.is_held() && !peer.link.is_lost() => return,
            State::CloseSent | State::CloseReceived => {
                peer.link.unsubscribe_all(&mut self.context);
                // Resume reading: after our Close the application only receives `closed`.
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

    /// Ends TCP for connections that are done, once their last bytes have left. What they held is given back
    /// to the system, which takes a while: what is over waits for the next turn.
    fn end_connections(&mut self) {
        let mut ending = mem::take(&mut self.context.ending);
        let mut budget = Budget::new(TIME, self.clock, &self.context);
        while let Some(key) = ending.pop() {
            if budget.is_used_up(&self.context) {
                ending.push(key);
                break;
            }
            self.context.spend(END);
            let Some(Peer { link, .. }) = self.peers.get_mut(key) else { continue };
            let is_flushed = link.output.is_flushed();
            match link.tcp {
                Tcp::Lost => self.finish(key),
                Tcp::PeerEnded if is_flushed => self.finish(key),
                Tcp::Open if is_flushed => self.shut_write(key),
                Tcp::Open | Tcp::PeerEnded if link.output.is_due() => {
                    self.context.ending.push(key);
                }
                Tcp::Open | Tcp::PeerEnded | Tcp::Lingering => {}
            }
        }
        ending.append(&mut self.context.ending);
        self.context.ending = ending;
    }

    /// §7.1.1: the server ends TCP first. The peer may still be sending, and closing the socket under
    /// it would reset TCP and overtake our Close: so only our side is shut, and the rest is read.
    fn shut_write(&mut self, key: Key) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.tcp = Tcp::Lingering;
        if link.socket.shut_write().is_err() {
            self.finish(key);
        } else {
            link.go_on(&mut self.context);
        }
    }

    /// Takes a connection off the table.
    fn finish(&mut self, key: Key) {
        let Some(mut peer) = self.peers.remove(key) else { return };
        peer.link.unsubscribe_all(&mut self.context);
        peer.link.connection.receive_eof();
        peer.tell_closed(&self.context);
        peer.stage = Stage::Ending;
        peer.link.stash = None;
        peer.count_unfinished(&mut self.context);
        self.shared.leave(self.number, peer.link.admission);
        peer.link.log_end(&self.context);
        // Extensions and what a decision came to are foreign, too.
        if guard(|| drop(peer)) == Err(Panicked) {
            self.context.counters.panics.add(1);
        }
    }

    // ---- mail ----------------------------------------------------------------------------------

    /// Carries out commands and takes in publications, in the order in which they were posted.
    #[inline]
    fn work_off_mail(&mut self) {
        if !self.context.mail.is_empty() || !self.context.mailbox.is_empty() {
            self.work_off_some();
        }
    }

    fn work_off_some(&mut self) {
        let mut budget = Budget::new(MAIL, self.clock, &self.context);
        while let Some((number, mail)) = self.context.next_mail() {
            let size = mail.size();
            match mail {
                Mail::Publication(publication) => {
                    if self.context.topics.take_in(publication, number).is_some() {
                        self.context.mailbox.done(1, size);
                    }
                }
                Mail::Command(id, command) => {
                    self.run_command(id, command);
                    self.context.mailbox.done(1, size);
                }
                Mail::Wake(task) => {
                    self.context.tasks.wake_key(task);
                    self.context.mailbox.done(1, size);
                }
            }
            self.context.worked_off = number;
            self.release_held();
            self.context.spend(COMMAND);
            if budget.is_used_up(&self.context) {
                break;
            }
        }
    }

    /// Goes on with what connections hold until the mail was worked off up to here.
    fn release_held(&mut self) {
        let worked_off = self.context.worked_off;
        while let Some(&(after, key)) = self.context.holding.front()
            && after <= worked_off
        {
            self.context.holding.pop_front();
            self.guarded(key, |Self { peers, context, .. }| {
                if let Some(Peer { link, .. }) = peers.get_mut(key) {
                    link.release(context);
                }
            });
            self.settle(key);
        }
    }

    fn run_command(&mut self, id: PeerId, command: Command) {
        let key = Key { slot: id.slot, generation: id.generation };
        let mut done = true;
        self.guarded(key, |Self { peers, context, .. }| {
            let Some(peer) = peers.get_mut(key) else {
                done = false;
                return;
            };
            // What its poster published before goes out before it.
            peer.link.deliver_published(context);
            let mut serving = Serving::new(peer, context).for_command();
            done = serving.call_link(|call| match command {
                Command::Send(message) => call.send(message).is_ok(),
                Command::Ping(payload) => call.ping(&payload).is_ok(),
                Command::Close(code, reason) => call.close(code, &reason).is_ok(),
            });
        });
        if !done {
            self.context.counters.undelivered.add(1);
        }
        self.settle(key);
        self.flush_early();
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
            self.guarded(key, |Self { peers, context, .. }| {
                if let Some(peer) = peers.get_mut(key) {
                    Serving::new(peer, context)
                        .call_link(|call| call.close(CloseCode::GOING_AWAY, "server stops").ok());
                }
            });
            self.settle(key);
            self.flush_early();
        }
    }

    // ---- tasks ---------------------------------------------------------------------------------

    fn run_tasks(&mut self) {
        let Self { context, clock, .. } = self;
        let panics = context.tasks.take_panics();
        if panics > 0 {
            context.counters.panics.add(panics);
            log::error!("{panics} tasks panicked");
        }
        if !context.tasks.has_work() {
            return;
        }
        let mut budget = Budget::new(TIME, *clock, context);
        let tasks = context.tasks.clone();
        tasks.run(|| {
            context.spend(TASK);
            !budget.is_used_up(context)
        });
        for id in self.context.tasks.take_calls() {
            let key = Key { slot: id.slot, generation: id.generation };
            self.guarded(key, |Self { peers, context, .. }| {
                if let Some(peer) = peers.get_mut(key) {
                    Serving::new(peer, context).woken();
                }
            });
            self.settle(key);
            self.flush_early();
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    fn expire(&mut self) {
        let now = self.context.now;
        if self.due.get().is_none_or(|next| next > now) {
            return;
        }
        let Self { context, clock, .. } = self;
        let mut budget = Budget::new(TIME, *clock, context);
        let tasks = context.tasks.clone();
        tasks.expire(|| {
            context.spend(TASK);
            !budget.is_used_up(context)
        });
        self.expire_peers();
        for job in self.jobs.iter_mut().filter(|job| job.next <= now) {
            job.next = now + job.period;
            if guard(|| (job.run)(now)) == Err(Panicked) {
                self.context.counters.panics.add(1);
                log::error!("a periodic job panicked");
            }
        }
        if self.stop_at.is_some_and(|stop_at| stop_at <= now) {
            self.peers.keys().into_iter().for_each(|key| self.finish(key));
            self.context.tasks.clear();
        }
    }

    fn expire_peers(&mut self) {
        let now = self.context.now;
        let mut budget = Budget::new(TIME, self.clock, &self.context);
        while let Some((tick, mut keys)) = self.context.timers.pop(now) {
            while let Some(key) = keys.pop() {
                // An entry that another one has overtaken is stale.
                if let Some(peer) = self.peers.get_mut(key)
                    && peer.link.armed == tick
                {
                    peer.link.armed = Default::default();
                    self.expire_peer(key);
                    self.context.spend(TIMER);
                    self.flush_early();
                }
                if budget.is_used_up(&self.context) {
                    self.context.timers.put_back(tick, keys);
                    return;
                }
            }
            self.context.timers.give_back(keys);
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
                if peer.link.connection.state() != State::Open {
                    peer.link.output.drop_held();
                }
                peer.link.leave(start, Position::NOW, &mut self.context);
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
            | State::Closed => {
                peer.link.arm(&mut self.context);
                // A Pong brings the next Ping closer than the end of the wait for it may be.
                if peer.link.connection.state() == State::Open {
                    peer.link.arm_for_ping(&mut self.context);
                }
            }
        }
    }

    /// Drops a peer that takes nothing. The socket's edge comes only once a good part of its buffer is
    /// free, so a slow peer that reads all the same is found by trying.
    fn expire_writing(&mut self, key: Key) {
        let Some(Peer { link, .. }) = self.peers.get_mut(key) else { return };
        link.flush_backlog(&mut self.context);
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

    /// Keeps the turn's output within its bound.
    fn flush_early(&mut self) {
        if self.context.output.len() > MAX_OUTPUT {
            self.flush();
        }
    }

    /// Writes what the turn has for each connection: once for each. What is sent over it in answer
    /// leaves with the next turn.
    fn flush(&mut self) {
        let mut flushed = mem::take(&mut self.context.flushed);
        let mut deferred = mem::take(&mut self.context.deferred);
        for entry in deferred.drain(..) {
            let Some(Peer { link, .. }) = self.peers.get_mut(entry.key()) else { continue };
            link.flush_deferred(&entry, &mut self.context);
            if link.is_lost() || link.output.backlog() > 0 {
                flushed.push(entry.key());
            }
        }
        self.context.deferred = deferred;
        self.context.clear_output();
        while let Some(key) = self.context.listed.pop() {
            if let Some(Peer { link, .. }) = self.peers.get_mut(key) {
                link.flush_backlog(&mut self.context);
                flushed.push(key);
            }
        }
        for key in flushed.drain(..) {
            self.after_flush(key);
        }
        self.context.flushed = flushed;
        self.end_connections();
    }

    /// Gives each topic's publications to its members, topic after topic, as far as the budget goes.
    fn fan_out(&mut self) {
        if self.context.topics.is_waiting() {
            self.deliver();
            self.context.count_compressed();
        }
        while let Some(key) = self.context.unsettled.pop() {
            if let Some(Peer { link, .. }) = self.peers.get_mut(key) {
                link.tidy_subscriptions(&mut self.context);
            }
            self.settle(key);
        }
    }

    fn deliver(&mut self) {
        let mut budget = Budget::new(FAN_OUT, self.clock, &self.context);
        while let Some(mut delivery) = self.context.topics.next_delivery() {
            let mut is_used_up = false;
            while !is_used_up && let Some((key, received)) = delivery.next_member() {
                self.deliveries += 1;
                self.guarded(key, |Self { peers, context, .. }| {
                    if let Some(Peer { link, .. }) = peers.get_mut(key) {
                        link.publish(&mut delivery.batch, received, context);
                    }
                });
                self.context.spend(DELIVERY);
                is_used_up = budget.is_used_up(&self.context);
            }
            let (items, bytes) = self.context.topics.put_back(delivery);
            self.context.mailbox.done(items, bytes);
            if is_used_up {
                return;
            }
        }
    }

    /// A socket took something, or failed: goes on with whoever waited for that.
    fn after_flush(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if !peer.link.is_lost() && peer.link.has_drained() {
            self.guarded(key, |Self { peers, context, .. }| {
                if let Some(peer) = peers.get_mut(key) {
                    Serving::new(peer, context).drained();
                    peer.link.go_on(context);
                }
            });
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

impl<S> Drop for Reactor<S> {
    /// Nobody reaches it any more, and what it served is dropped piece by piece, as all of that is foreign.
    fn drop(&mut self) {
        self.context.mailbox.close();
        for key in self.peers.keys() {
            let peer = self.peers.remove(key);
            guard(|| drop(peer)).ok();
        }
        self.context.tasks.clear();
        self.context.counters.panics.add(self.context.tasks.take_panics());
        for job in self.jobs.drain(..) {
            guard(|| drop(job)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::server::context::tests::context;

    thread_local! {
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    fn clock() -> Instant {
        NOW.get().expect("it is set")
    }

    #[test]
    fn a_budget_ends_by_its_work_or_by_the_clock() {
        let (mut context, _mailbox) = context();
        NOW.set(Some(context.now));
        let whole = Allowance { units: 10 * LOOK, time: Duration::from_millis(2) };
        let mut budget = Budget::new(whole, Some(clock), &context);
        for _ in 1..10 {
            context.spend(LOOK);
            assert!(!budget.is_used_up(&context), "no time has passed");
        }
        context.spend(LOOK);
        assert!(budget.is_used_up(&context));

        let mut budget = Budget::new(whole, Some(clock), &context);
        context.spend(LOOK);
        assert!(!budget.is_used_up(&context), "no time has passed");
        NOW.set(Some(context.now + Duration::from_millis(2)));
        context.spend(1);
        assert!(!budget.is_used_up(&context), "the clock is read now and then");
        context.spend(LOOK);
        assert!(budget.is_used_up(&context));
    }
}
