//! One thread of the load: its connections, and the loop that drives them.
//!
//! What is done on the connections is the [`Mode`]'s affair; that they are opened, read, written and
//! ended is the same for all modes.

use std::{io, mem, rc::Rc, time::Duration};

use chinwag::Opcode;
use chinwag::protocol::frame::Rsv;
use mio::{Events, Interest, Poll, Token, Waker, event::Event};

use super::{
    link::{Dialer, Got, Link, Stage, close_reason, read},
    outbox::Cycle,
    payload::frame,
    process,
    reader::{Item, Reader, Reply},
    tally::{Control, Count, Phase, State, Tally},
};

/// What is done on the connections of one thread.
pub trait Mode {
    /// What is kept for each connection.
    type Note: Default;

    /// Whether a connection that has ended is followed by a new one.
    const RENEWS: bool = false;

    /// The frames to be sent again and again on a connection that compresses with a window of
    /// `window_bits`, or not at all.
    fn cycle(&mut self, window_bits: Option<u8>) -> Rc<Cycle>;

    /// The connection in `slot` is open; it compresses with a window of `window_bits`, or not at all.
    fn opened(
        &mut self,
        _slot: usize,
        _window_bits: Option<u8>,
        _link: &mut Link<Self::Note>,
        _turn: &mut Turn<'_>,
    ) -> Fate {
        Fate::Stay
    }

    /// The run took a step, to `turn.phase`.
    fn entered(&mut self, _links: &mut Links<Self::Note>, _turn: &mut Turn<'_>) {}

    /// A message came.
    fn heard(&mut self, _note: &mut Self::Note, _reply: &Reply<'_>, _turn: &mut Turn<'_>) {}

    /// All that one read has brought was heard.
    fn settled(&mut self, _link: &mut Link<Self::Note>, _turn: &mut Turn<'_>) -> Fate {
        Fate::Stay
    }

    /// A connection that this mode has closed is gone.
    fn left(&mut self, _note: &Self::Note, _turn: &mut Turn<'_>) {}

    /// Does what is due by now; gives how long there is nothing to do, where that is known.
    fn due(&mut self, _links: &mut Links<Self::Note>, _turn: &mut Turn<'_>) -> Option<Duration> {
        None
    }
}

/// The connections of a thread, each in its slot.
pub type Links<N> = Vec<Option<Link<N>>>;

/// What a mode is told with each call.
pub struct Turn<'a> {
    /// Nanoseconds since the run began.
    pub now: u64,
    pub phase: Phase,
    pub tally: &'a mut Tally,
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Stay,
    /// Close it as §7.1.2 has it.
    Close,
    /// Reset it.
    Abort,
    /// It has ended, as was wished.
    Left,
    /// It has ended, and should not have.
    Lost(String),
}

/// Bytes of the buffer that all connections of a thread are read into.
const BUFFER: usize = 256 << 10;

/// Reads of one connection before others have their turn.
const READS: usize = 8;

/// Connections being opened at a time by one thread: fewer than a listener keeps waiting.
const OPENING: usize = 100;

/// Failures in a row after which no more connections are tried.
const FAILURES: usize = 100;

/// How long a connection may take to open, and a closing handshake to end: nanoseconds.
const PATIENCE: u64 = 10_000_000_000;

/// How often that is looked at, and how long a wait is at most: nanoseconds.
const SWEEP: u64 = 100_000_000;

/// How long the goodbye at the end may take for all connections: nanoseconds.
const GOODBYE: u64 = 1_000_000_000;

const WAKE: Token = Token(usize::MAX);

/// One thread of the load.
pub struct Worker<'c, M: Mode> {
    mode: M,
    dialer: Dialer<'c>,
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
    phase: Phase,
    /// When the phase began, and when deadlines were looked at last.
    entered: u64,
    swept: u64,
    /// When this turn's work was done, where it was to wait for no event, and when none came.
    spinning: Option<u64>,
    tally: Tally,
}

impl<'c, M: Mode> Worker<'c, M> {
    /// The `thread`-th thread, with `connections` of which the first is the `first` of all.
    ///
    /// # Errors
    /// The system has no poller for it.
    pub fn new(
        mode: M,
        dialer: Dialer<'c>,
        control: &'c Control,
        thread: usize,
        first: usize,
        connections: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        control.begin(thread, waker, process::this_thread());
        Ok(Self {
            mode,
            dialer,
            control,
            thread,
            first,
            poll,
            links: (0..connections).map(|_| None).collect(),
            fresh: (0..connections).rev().collect(),
            opening: 0,
            open: 0,
            failures: 0,
            again: Vec::new(),
            buffer: vec![0; BUFFER].into(),
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
            self.step();
            self.dial();
            self.sweep();
            let wait = self.due();
            let settled = self.opening == 0 && (self.fresh.is_empty() || self.gave_up());
            let state = match (settled, self.open) {
                (false, _) => State::Busy,
                (true, 1..) => State::Settled,
                (true, 0) => State::Empty,
            };
            self.control.publish(self.thread, &self.tally, state);
            if self.is_done() {
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

    /// Takes the steps of the run.
    fn step(&mut self) {
        let phase = self.control.phase();
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        self.entered = self.control.now();
        let mut turn = Turn { now: self.entered, phase, tally: &mut self.tally };
        self.mode.entered(&mut self.links, &mut turn);
        if phase == Phase::Leave {
            for at in 0..self.links.len() {
                let fate = self.links[at].as_ref().map(Link::is_open);
                match fate {
                    Some(true) => self.decide(at, Fate::Close),
                    Some(false) => self.decide(at, Fate::Abort),
                    None => {}
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let waited = self.control.now() - self.entered;
        self.phase == Phase::Leave && (self.opening + self.open == 0 || waited > GOODBYE)
    }

    /// Opens connections where there are slots for them.
    fn dial(&mut self) {
        let may = self.phase < if M::RENEWS { Phase::Drain } else { Phase::WarmUp };
        while may && self.opening < OPENING && !self.gave_up() {
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
    fn sweep(&mut self) {
        let now = self.control.now();
        if now - self.swept < SWEEP {
            return;
        }
        self.swept = now;
        for at in 0..self.links.len() {
            let Some(link) = &self.links[at] else { continue };
            if !link.is_open() && now.saturating_sub(link.since) > PATIENCE {
                let reason = match link.stage {
                    Stage::Connecting => "no answer to the dialling within 10 s",
                    Stage::Shaking(_) => "no answer to the request within 10 s",
                    Stage::Open | Stage::Closing => "no end of the connection within 10 s",
                };
                self.decide(at, Fate::Lost(reason.into()));
            }
        }
    }

    /// Lets the mode do what is due; gives how long to wait for events.
    fn due(&mut self) -> Duration {
        let now = self.control.now();
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
            link.flush();
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
            let len = match read(&mut link.socket, &mut self.buffer) {
                Got::Bytes(len) => len,
                Got::Nothing => return,
                Got::End => {
                    let fate = match link.stage {
                        Stage::Closing => Fate::Left,
                        Stage::Connecting | Stage::Shaking(_) => {
                            Fate::Lost("the server ended TCP before its answer".into())
                        }
                        Stage::Open => Fate::Lost("the server ended TCP without a Close".into()),
                    };
                    return self.decide(at, fate);
                }
                Got::Fault(error) => return self.decide(at, Fate::Lost(error.to_string())),
            };
            let fate = self.hear(at, len);
            self.decide(at, fate);
            if len < self.buffer.len() && !to_the_end {
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
        loop {
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
