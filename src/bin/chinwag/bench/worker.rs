//! One thread of the load: its connections, and the loop that drives them.
//!
//! What is done on the connections is the [`Mode`]'s affair; that they are opened, read, written and
//! ended is the same for all modes.

use std::{io, mem, time::Duration};

use chinwag::{
    Opcode,
    protocol::{extension::Offer, frame::Rsv},
};
use mio::{Events, Interest, Poll, Token, Waker, event::Event};

use super::{
    link::{Dialer, Got, Link, Nowhere, Skipped, Stage, close_reason, read},
    mode::{Fate, Links, Mode, Turn},
    payload::frame,
    process,
    reader::{Care, Item, Reader},
    run::{Plan, Share},
    tally::{Control, Count, Phase, State, Tally},
};

/// Bytes of the buffer that all connections of a thread are read into.
const BUFFER: usize = 256 << 10;

/// Bytes read at a time where large messages are expected: enough for a header, so that the rest can be
/// skipped.
const HEAD: usize = 512;

/// Reads of one connection before others have their turn.
const READS: usize = 8;

/// Connections being opened at a time by one thread: fewer than a listener keeps waiting.
const OPENING: usize = 100;

/// Failures in a row after which no more connections are tried.
const FAILURES: usize = 100;

/// How often deadlines are looked at, and how long a wait for events is at most: nanoseconds.
const SWEEP: u64 = 100_000_000;

/// How long the goodbye at the end may take for all connections: nanoseconds.
const GOODBYE: u64 = 1_000_000_000;

const WAKE: Token = Token(usize::MAX);

/// One thread of the load.
pub struct Worker<'c, M: Mode> {
    mode: M,
    dialer: Dialer<'c>,
    /// How long a connection may take to open, and to close.
    timeout: Duration,
    control: &'c Control,
    thread: usize,
    /// The number of the first connection among those of all threads.
    first: usize,
    poll: Poll,
    links: Links<M::Note>,
    /// Slots to be dialled for, the next one last.
    fresh: Vec<usize>,
    opening: usize,
    open: usize,
    /// Failures since a connection was opened last.
    failures: usize,
    /// Connections with more to read.
    again: Vec<usize>,
    buffer: Box<[u8]>,
    nowhere: Nowhere,
    phase: Phase,
    /// When the phase began, and when deadlines were looked at last.
    entered: u64,
    swept: u64,
    /// When this turn's work was done, where it was to wait for no event, and when none came.
    spinning: Option<u64>,
    tally: Tally,
}

impl<'c, M: Mode> Worker<'c, M> {
    /// The thread that has `share` of the connections; `offers` are extensions to ask for.
    ///
    /// # Errors
    /// The system has no poller for it.
    pub fn new(
        mode: M,
        plan: &'c Plan,
        share: Share,
        control: &'c Control,
        offers: &'c [Offer<'c>],
    ) -> io::Result<Self> {
        let connections = share.of(plan.connections);
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        control.begin(share.thread, waker, process::this_thread());
        Ok(Self {
            mode,
            dialer: Dialer::new(&plan.target, plan.addr, plan.sources, offers),
            timeout: plan.timeout,
            control,
            thread: share.thread,
            first: share.before(plan.connections),
            poll,
            links: (0..connections).map(|_| None).collect(),
            fresh: (0..connections).rev().collect(),
            opening: 0,
            open: 0,
            failures: 0,
            again: Vec::new(),
            buffer: vec![0; BUFFER].into(),
            nowhere: Nowhere::default(),
            phase: Phase::Opening,
            entered: 0,
            swept: 0,
            spinning: None,
            tally: Tally::default(),
        })
    }

    /// Runs to the end of the last phase.
    ///
    /// # Errors
    /// The poller fails.
    pub fn run(mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(1_024);
        loop {
            let now = self.control.now();
            self.step(now);
            self.dial();
            self.sweep(now);
            let wait = self.due(now);
            let settled = self.opening == 0 && (self.fresh.is_empty() || self.gave_up());
            let state = match (settled, self.open) {
                (false, _) => State::Busy,
                (true, 1..) => State::Settled,
                (true, 0) => State::Empty,
            };
            self.control.publish(self.thread, &self.tally, state, self.phase);
            if self.is_done(now) {
                return Ok(self.tally);
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !events.is_empty() {
                self.spinning = None;
            }
            for event in &events {
                if event.token() != WAKE {
                    self.ready(event);
                }
            }
            for at in mem::take(&mut self.again) {
                self.read(at, false);
            }
        }
    }

    /// Takes the steps of the run, each of them, also where two come at once.
    fn step(&mut self, now: u64) {
        let phase = self.control.phase();
        while self.phase < phase {
            self.phase = self.phase.next();
            self.entered = now;
            let mut turn = Turn { now, phase: self.phase, tally: &mut self.tally };
            self.mode.entered(&mut self.links, &mut turn);
            if self.phase == Phase::Leave {
                self.leave();
            }
        }
    }

    /// Closes what is open, and gives up what is not yet.
    fn leave(&mut self) {
        for at in 0..self.links.len() {
            let Some(link) = &self.links[at] else { continue };
            let fate = if link.is_open() { Fate::Close } else { Fate::Abort };
            self.decide(at, fate);
        }
    }

    fn is_done(&self, now: u64) -> bool {
        let waited = now - self.entered;
        self.phase == Phase::Leave && (self.opening + self.open == 0 || waited > GOODBYE)
    }

    /// Opens connections where there are slots for them.
    fn dial(&mut self) {
        let last = if M::RENEWS { Phase::Measure } else { Phase::Opening };
        while self.phase <= last && self.opening < OPENING && !self.gave_up() {
            let Some(at) = self.fresh.pop() else { return };
            let now = self.control.now();
            let dialled = self.dialer.dial(self.first + at).and_then(|mut socket| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut socket, Token(at), interest)?;
                Ok(socket)
            });
            match dialled {
                Ok(socket) => {
                    self.links[at] = Some(Link::new(socket, self.mode.cycle(None), now));
                    self.opening += 1;
                }
                Err(error) => self.failed(at, error.to_string()),
            }
        }
    }

    fn gave_up(&self) -> bool {
        self.failures >= FAILURES
    }

    fn failed(&mut self, at: usize, reason: String) {
        self.failures += 1;
        self.tally.add(Count::Failed, 1);
        self.tally.failures.add(reason);
        if M::RENEWS {
            self.fresh.push(at);
        }
    }

    /// Gives up what takes too long.
    fn sweep(&mut self, now: u64) {
        if now - self.swept < SWEEP {
            return;
        }
        self.swept = now;
        let timeout = self.timeout.as_nanos() as u64;
        for at in 0..self.links.len() {
            let Some(link) = &self.links[at] else { continue };
            if !link.is_open() && now.saturating_sub(link.since) > timeout {
                let missing = match link.stage {
                    Stage::Connecting => "an answer to the dialling",
                    Stage::Shaking(_) => "an answer to the request",
                    Stage::Open | Stage::Closing => "the end of the connection",
                };
                let reason = format!("{missing} did not come within {:?}", self.timeout);
                self.decide(at, Fate::Lost(reason));
            }
        }
    }

    /// Lets the mode do what is due; gives how long to wait for events.
    fn due(&mut self, now: u64) -> Duration {
        if let Some(since) = self.spinning.take() {
            self.tally.add(Count::Spun, now - since);
        }
        let mut turn = Turn { now, phase: self.phase, tally: &mut self.tally };
        let wait = self.mode.due(&mut self.links, &mut turn);
        if !self.again.is_empty() {
            return Duration::ZERO;
        }
        let wait = wait.unwrap_or(Duration::MAX).min(Duration::from_nanos(SWEEP));
        self.spinning = wait.is_zero().then_some(now);
        wait
    }

    fn ready(&mut self, event: &Event) {
        let at = event.token().0;
        let Some(link) = &mut self.links[at] else { return };
        if event.is_writable() {
            link.outbox.unblock();
            if matches!(link.stage, Stage::Connecting) {
                match link.socket.take_error() {
                    Ok(None) if !event.is_error() => {
                        link.stage = Stage::Shaking(Box::default());
                        link.outbox.push(self.dialer.request());
                    }
                    Ok(Some(error)) | Err(error) => {
                        return self.decide(at, Fate::Lost(error.to_string()));
                    }
                    Ok(None) => {}
                }
            }
            if link.outbox.len() > 0 {
                link.flush();
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(at, event.is_read_closed());
        }
    }

    /// Reads what a connection has; to its very end where the server has closed its side, as no other
    /// event would tell.
    fn read(&mut self, at: usize, to_the_end: bool) {
        for _ in 0..READS {
            let Some(link) = &mut self.links[at] else { return };
            match self.nowhere.skip(link) {
                Skipped::All => continue,
                Skipped::Some if !to_the_end => return,
                Skipped::Some | Skipped::Nothing => {}
            }
            let want = if link.is_large && link.care == Care::Count { HEAD } else { BUFFER };
            let len = match read(&mut link.socket, &mut self.buffer[..want]) {
                Got::Bytes(len) => len,
                Got::Nothing => return,
                Got::End => {
                    let fate = end_of_tcp(&link.stage);
                    return self.decide(at, fate);
                }
                Got::Fault(error) => return self.decide(at, Fate::Lost(error.to_string())),
            };
            let fate = self.hear(at, len);
            if fate != Fate::Stay {
                self.decide(at, fate);
            }
            if len < want && !to_the_end {
                return;
            }
        }
        self.again.push(at);
    }

    /// Makes of `len` bytes read what they are.
    fn hear(&mut self, at: usize, len: usize) -> Fate {
        let Self { links, mode, tally, dialer, buffer, .. } = self;
        let Some(link) = &mut links[at] else { return Fate::Stay };
        let mut turn = Turn { now: self.control.now(), phase: self.phase, tally };
        let mut input = &mut buffer[..len];
        if let Stage::Shaking(head) = &mut link.stage {
            match dialer.answer(head, &mut input) {
                Ok(None) => return Fate::Stay,
                Ok(Some(window_bits)) => {
                    self.opening -= 1;
                    self.open += 1;
                    self.failures = 0;
                    turn.tally.add(Count::Opened, 1);
                    turn.tally.add(Count::Compressed, window_bits.is_some().into());
                    link.stage = Stage::Open;
                    link.reader = Reader::new(window_bits.is_some());
                    link.cycle = mode.cycle(window_bits);
                    let fate = mode.opened(at, window_bits, link, &mut turn);
                    if fate != Fate::Stay {
                        return fate;
                    }
                }
                Err(reason) => return Fate::Lost(reason),
            }
        }
        let mut input = &*input;
        let is_open = link.is_open();
        if let Some(expected) = mode.expected().filter(|_| link.care == Care::Count) {
            let count = link.reader.count(&mut input, expected);
            mode.heard_expected(&mut link.note, count, &mut turn);
        }
        while !input.is_empty() {
            match link.reader.next(&mut input, link.care) {
                Ok(None) => break,
                Ok(Some(Item::Message(reply))) => mode.heard(&mut link.note, &reply, &mut turn),
                Ok(Some(Item::Ping(payload))) => {
                    link.outbox.push(&frame(Opcode::Pong, Rsv::NONE, payload));
                }
                Ok(Some(Item::Pong)) => {}
                // The end of TCP follows, which is the server's to begin (§7.1.1).
                Ok(Some(Item::Close(_))) if !is_open => {}
                Ok(Some(Item::Close(payload))) => {
                    let reason = close_reason(payload);
                    let answer = frame(Opcode::Close, Rsv::NONE, &payload[..payload.len().min(2)]);
                    link.send(&answer);
                    return Fate::Lost(reason);
                }
                Err(error) => return Fate::Lost(format!("the server broke a rule: {error}")),
            }
        }
        let fate = if is_open { mode.settled(link, &mut turn) } else { Fate::Stay };
        if link.outbox.len() > 0 {
            link.flush();
        }
        fate
    }

    fn decide(&mut self, at: usize, fate: Fate) {
        let Some(link) = &mut self.links[at] else { return };
        match fate {
            Fate::Stay => {}
            Fate::Close => link.close(self.control.now()),
            Fate::Abort => {
                link.abort();
                self.end(at, None);
            }
            Fate::Left => self.end(at, None),
            Fate::Lost(reason) => self.end(at, Some(reason)),
        }
    }

    /// A connection is gone: because of `fault`, if it should not be.
    fn end(&mut self, at: usize, fault: Option<String>) {
        let Some(link) = self.links[at].take() else { return };
        if link.is_opening() {
            self.opening -= 1;
            if let Some(reason) = fault {
                self.failed(at, reason);
            }
            return;
        }
        self.open -= 1;
        if M::RENEWS {
            self.fresh.push(at);
        }
        let mut turn = Turn { now: self.control.now(), phase: self.phase, tally: &mut self.tally };
        match fault {
            // Who is leaving has nothing to lose.
            Some(reason) if self.phase < Phase::Leave => {
                turn.tally.add(Count::Lost, 1);
                turn.tally.losses.add(reason);
            }
            Some(_) => {}
            None => self.mode.left(&link.note, &mut turn),
        }
    }
}

/// What the end of TCP means at a stage of the connection.
fn end_of_tcp(stage: &Stage) -> Fate {
    match stage {
        Stage::Closing => Fate::Left,
        Stage::Connecting | Stage::Shaking(_) => {
            Fate::Lost("the server ended TCP before its answer".into())
        }
        Stage::Open => Fate::Lost("the server ended TCP without a Close".into()),
    }
}
