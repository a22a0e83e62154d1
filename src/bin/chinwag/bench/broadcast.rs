//! `broadcast`: what some members send is delivered to all of them.

use std::{ops::Range, rc::Rc, time::Duration};

use chinwag::protocol::frame::Rsv;

use super::{
    link::Link,
    mode::{Fate, Links, Mode, Turn},
    outbox::Cycle,
    pace::Pace,
    payload::{Kind, Whole, compress, frame},
    reader::{Care, Reply},
    run::Share,
    stamp::{Arrival, STAMP, Seen, Stamp, Stamps},
    tally::{Count, Phase, Tally},
};

/// What is sent, and how fast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    pub members: usize,
    pub senders: usize,
    pub kind: Kind,
    /// Bytes of a message, its stamp among them.
    pub size: usize,
    pub flow: Flow,
    /// Whether a sender's messages are delivered to itself too.
    pub to_sender: bool,
    /// Tells this run's stamps from others'.
    pub run: u32,
}

/// When the next message goes.
#[derive(Debug, Clone, Copy)]
pub enum Flow {
    /// When an earlier one is back: each sender has so many on their way.
    Window(u32),
    /// At fixed moments: so many a second, of all senders.
    Rate(f64),
}

/// Bytes that may wait at a sender's socket before it sends no more, whatever is due.
const MAX_WAITING: usize = 256 << 10;

/// The mode at work on one thread.
pub struct Broadcasting {
    spec: Broadcast,
    stamps: Stamps,
    /// The number of this thread's first sender among all.
    first: usize,
    /// This thread's senders; the first slots are theirs.
    senders: Vec<Sender>,
    /// Each member's view of each sender.
    seen: Vec<Seen>,
    pace: Option<Pace>,
    /// The timed window; its end is open until it has come.
    window: Range<u64>,
    payload: Vec<u8>,
    whole: Whole,
    cycle: Rc<Cycle>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sender {
    /// Messages that should have gone, and that have gone.
    due: u64,
    sent: u64,
}

/// What is kept of a connection.
#[derive(Debug, Default)]
pub struct Note {
    slot: usize,
    window_bits: Option<u8>,
}

impl Broadcasting {
    /// The mode for the thread that has `share` of the members and senders.
    pub fn new(spec: Broadcast, share: Share) -> Self {
        let mut payload = spec.kind.payload(spec.size - STAMP);
        payload.splice(..0, [0; STAMP]);
        Self {
            stamps: Stamps::new(spec.run),
            first: share.before(spec.senders),
            senders: vec![Sender::default(); share.of(spec.senders)],
            seen: vec![Seen::default(); share.of(spec.members) * spec.senders],
            pace: None,
            window: u64::MAX..u64::MAX,
            payload,
            whole: Whole::default(),
            // Nothing is sent again and again here.
            cycle: Rc::new(Cycle::new(&[0], 1)),
            spec,
        }
    }

    /// Whether the member in `slot` is the one whose delivery gives the sender in slot `sender` leave to
    /// send on: itself or, where it hears nothing of its own, its neighbour.
    fn is_witness(&self, slot: usize, sender: usize) -> bool {
        let members = self.seen.len() / self.spec.senders;
        slot == if self.spec.to_sender { sender } else { (sender + 1) % members }
    }

    /// Sends what the sender in `slot` owes, as far as its socket takes it.
    fn catch_up(&mut self, slot: usize, link: &mut Link<Note>, now: u64, tally: &mut Tally) {
        let senders = self.senders.len() as u64;
        let sender = &mut self.senders[slot];
        while sender.sent < sender.due && link.outbox.len() < MAX_WAITING {
            let intended = |pace: &Pace| pace.at(slot as u64 + sender.sent * senders);
            let stamp = Stamp {
                sender: (self.first + slot) as u16,
                number: sender.sent as u32,
                at: self.pace.as_ref().map_or(now, intended),
            };
            self.payload[..STAMP].copy_from_slice(&self.stamps.write(&stamp));
            let opcode = self.spec.kind.opcode();
            link.outbox.push(&match link.note.window_bits {
                None => frame(opcode, Rsv::NONE, &self.payload),
                Some(bits) => frame(opcode, Rsv::RSV1, &compress(&self.payload, bits)),
            });
            sender.sent += 1;
            tally.add(Count::Sent, 1);
        }
        link.flush();
    }

    fn is_timed(&self, sent: u64, phase: Phase) -> bool {
        match self.spec.flow {
            Flow::Rate(_) => self.window.contains(&sent),
            Flow::Window(_) => phase == Phase::Measure,
        }
    }
}

impl Mode for Broadcasting {
    type Note = Note;

    fn cycle(&mut self, _window_bits: Option<u8>) -> Rc<Cycle> {
        Rc::clone(&self.cycle)
    }

    fn opened(
        &mut self,
        slot: usize,
        window_bits: Option<u8>,
        link: &mut Link<Note>,
        _turn: &mut Turn<'_>,
    ) -> Fate {
        link.note = Note { slot, window_bits };
        link.care = Care::Read;
        Fate::Stay
    }

    fn entered(&mut self, _links: &mut Links<Note>, turn: &mut Turn<'_>) {
        match turn.phase {
            Phase::WarmUp => match self.spec.flow {
                Flow::Window(window) => {
                    self.senders.iter_mut().for_each(|sender| sender.due = window.into());
                }
                Flow::Rate(rate) if !self.senders.is_empty() => {
                    let share = self.senders.len() as f64 / self.spec.senders as f64;
                    self.pace = Some(Pace::new(turn.now, rate * share));
                }
                Flow::Rate(_) => {}
            },
            Phase::Measure => self.window = turn.now..u64::MAX,
            Phase::Drain => {
                self.window.end = turn.now;
                let unsent = self.senders.iter().map(|sender| sender.due - sender.sent).sum();
                turn.tally.add(Count::Unanswered, if self.pace.is_some() { unsent } else { 0 });
            }
            Phase::Opening | Phase::Leave => {}
        }
    }

    fn heard(&mut self, note: &mut Note, reply: &Reply<'_>, turn: &mut Turn<'_>) {
        let payload = reply.payload.expect("every message is read");
        let payload = if reply.compressed {
            self.whole.inflate(payload).unwrap_or_default()
        } else {
            payload
        };
        let found = self.stamps.find(payload);
        let Some(stamp) = found.filter(|stamp| usize::from(stamp.sender) < self.spec.senders)
        else {
            return turn.tally.add(Count::Unexpected, 1);
        };
        let sender = usize::from(stamp.sender);
        match self.seen[note.slot * self.spec.senders + sender].take(stamp.number) {
            Arrival::New => {}
            Arrival::Late => turn.tally.add(Count::Reordered, 1),
            Arrival::Repeated => return turn.tally.add(Count::Repeated, 1),
        }
        turn.tally.add(Count::Received, 1);
        turn.tally.add(Count::Bytes, payload.len() as u64);
        if self.is_timed(stamp.at, turn.phase) {
            turn.tally.latencies.record(turn.now.saturating_sub(stamp.at), 1);
        }
        let local = sender.wrapping_sub(self.first);
        if local < self.senders.len() && self.pace.is_none() && self.is_witness(note.slot, local) {
            self.senders[local].due += 1;
        }
    }

    fn due(&mut self, links: &mut Links<Note>, turn: &mut Turn<'_>) -> Option<Duration> {
        if !matches!(turn.phase, Phase::WarmUp | Phase::Measure) {
            return None;
        }
        if let Some(pace) = &mut self.pace {
            while let Some(number) = pace.pass(turn.now) {
                let slot = (number % self.senders.len() as u64) as usize;
                self.senders[slot].due += 1;
            }
        }
        for (slot, link) in links.iter_mut().take(self.senders.len()).enumerate() {
            let Sender { due, sent } = self.senders[slot];
            if let Some(link) = link.as_mut().filter(|link| due > sent && link.is_open()) {
                self.catch_up(slot, link, turn.now, turn.tally);
            }
        }
        self.pace.as_ref().map(|pace| pace.wait(turn.now))
    }
}
