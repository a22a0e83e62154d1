//! `echo`: every message comes back.

use std::{collections::VecDeque, ops::Range, rc::Rc, time::Duration};

use chinwag::protocol::frame::Rsv;

use super::{
    link::{Link, Nowhere},
    mode::{Fate, Links, Mode, Turn},
    outbox::Cycle,
    pace::Pace,
    payload::{Kind, Whole, compress, frame},
    reader::{Care, Expected, Reply},
    tally::{Count, Phase, Tally},
};

/// What one thread sends, and how fast.
#[derive(Debug, Clone)]
pub struct Echo {
    pub kind: Kind,
    pub size: usize,
    /// Messages on their way at a time, on one connection.
    pub in_flight: usize,
    /// Messages a second of this thread; without it the next one goes when a reply is there.
    pub rate: Option<f64>,
}

/// Bytes of messages from which on skipping them is worth while.
const LARGE: usize = 32 << 10;

/// Messages of which one is compared with what was sent, in full.
const SAMPLE: u64 = 1_000;

/// The mode at work on one thread.
pub struct Echoing {
    spec: Echo,
    sample: Sample,
    expected: Expected,
    /// The frames for each kind of connection, by the window it compresses with.
    cycles: Vec<(Option<u8>, Rc<Cycle>)>,
    /// Replies until the next one is checked.
    until_check: u64,
    schedule: Option<Schedule>,
}

/// Which message goes when, and on which connection, at a fixed rate.
struct Schedule {
    pace: Pace,
    /// Slots of the connections that take turns.
    ring: Vec<usize>,
    /// The timed window; its end is open until it has come.
    window: Range<u64>,
}

impl Schedule {
    /// When the `number`-th message of the connection at `place` in the ring is meant to go.
    fn intended(&self, place: u64, number: u64) -> u64 {
        self.pace.at(place + number * self.ring.len() as u64)
    }
}

/// What is kept of a connection.
#[derive(Debug, Default)]
pub struct Note {
    flights: Flights,
    /// Replies of the current read.
    replies: u64,
    /// At a fixed rate: its place in the ring, messages that should have gone, and that have gone.
    place: u64,
    due: u64,
    sent: u64,
}

/// Messages on their way, in their order: when they went, and how many at once.
#[derive(Debug, Default)]
struct Flights {
    sent: VecDeque<(u64, u64)>,
    count: u64,
}

impl Flights {
    fn take_off(&mut self, at: u64, count: u64) {
        self.sent.push_back((at, count));
        self.count += count;
    }

    /// The first `count` have landed; `each` is told when some went, and how many of them.
    fn land(&mut self, mut count: u64, mut each: impl FnMut(u64, u64)) {
        self.count -= count;
        while let Some((at, flying)) = self.sent.front_mut().filter(|_| count > 0) {
            let landed = count.min(*flying);
            each(*at, landed);
            count -= landed;
            *flying -= landed;
            if *flying == 0 {
                self.sent.pop_front();
            }
        }
    }
}

/// What replies are compared with.
pub struct Sample {
    kind: Kind,
    payload: Vec<u8>,
    whole: Whole,
}

impl Sample {
    pub fn new(kind: Kind, size: usize) -> Self {
        Self { kind, payload: kind.payload(size), whole: Whole::default() }
    }

    /// Whether `reply` is what was sent, as far as its header tells.
    pub fn matches(&self, reply: &Reply<'_>) -> bool {
        let len_fits = reply.compressed || reply.len == self.payload.len() as u64;
        reply.opcode == self.kind.opcode() && len_fits
    }

    /// Compares all of `reply`, where it was read.
    pub fn check(&mut self, reply: &Reply<'_>, tally: &mut Tally) {
        let Some(payload) = reply.payload else { return };
        let is_same = if reply.compressed {
            self.whole.inflate(payload).is_ok_and(|inflated| inflated == self.payload)
        } else {
            payload == self.payload
        };
        tally.add(Count::Checked, 1);
        tally.add(Count::Wrong, (!is_same).into());
    }

    /// The frame for a connection that compresses with a window of `window_bits`, or not at all.
    pub fn frame(&self, window_bits: Option<u8>) -> Vec<u8> {
        let opcode = self.kind.opcode();
        match window_bits {
            None => frame(opcode, Rsv::NONE, &self.payload),
            Some(bits) => frame(opcode, Rsv::RSV1, &compress(&self.payload, bits)),
        }
    }
}

impl Echoing {
    pub fn new(spec: Echo) -> Self {
        let sample = Sample::new(spec.kind, spec.size);
        let expected = Expected::new(spec.kind.opcode(), spec.size);
        Self { spec, sample, expected, cycles: Vec::new(), until_check: 0, schedule: None }
    }

    /// Sends what a connection owes its schedule, as far as it may have more on its way.
    fn catch_up(&self, link: &mut Link<Note>, tally: &mut Tally) {
        let Some(schedule) = &self.schedule else { return };
        let note = &mut link.note;
        let room = (self.spec.in_flight as u64).saturating_sub(note.flights.count);
        let count = room.min(note.due - note.sent);
        for _ in 0..count {
            note.flights.take_off(schedule.intended(note.place, note.sent), 1);
            note.sent += 1;
        }
        if count > 0 {
            tally.add(Count::Sent, count);
            link.repeat(count as usize);
        }
    }

    /// What was meant to go in the window and is not answered by its end has taken that long at least.
    fn record_unanswered(&self, note: &Note, turn: &mut Turn<'_>) {
        let Some(schedule) = &self.schedule else { return };
        let unsent = (note.sent..note.due).map(|number| (schedule.intended(note.place, number), 1));
        for (intended, count) in note.flights.sent.iter().copied().chain(unsent) {
            if schedule.window.contains(&intended) {
                turn.tally.latencies.record(turn.now - intended, count);
                turn.tally.add(Count::Unanswered, count);
            }
        }
    }

    /// The first messages of all connections, or the schedule for them.
    fn start(&mut self, links: &mut Links<Note>, turn: &mut Turn<'_>) {
        let open = links.iter_mut().enumerate();
        let open = open.filter_map(|(at, link)| Some((at, link.as_mut().filter(|l| l.is_open())?)));
        let Some(rate) = self.spec.rate else {
            for (_, link) in open {
                link.note.flights.take_off(turn.now, self.spec.in_flight as u64);
                turn.tally.add(Count::Sent, self.spec.in_flight as u64);
                link.repeat(self.spec.in_flight);
            }
            return;
        };
        let mut ring = Vec::new();
        for (at, link) in open {
            link.note.place = ring.len() as u64;
            ring.push(at);
        }
        let window = u64::MAX..u64::MAX;
        self.schedule = Some(Schedule { pace: Pace::new(turn.now, rate), ring, window });
    }
}

impl Mode for Echoing {
    type Note = Note;

    fn cycle(&mut self, window_bits: Option<u8>) -> Rc<Cycle> {
        if let Some((_, cycle)) = self.cycles.iter().find(|(bits, _)| *bits == window_bits) {
            return Rc::clone(cycle);
        }
        let cycle = Rc::new(Cycle::new(&self.sample.frame(window_bits), self.spec.in_flight));
        self.cycles.push((window_bits, Rc::clone(&cycle)));
        cycle
    }

    fn opened(
        &mut self,
        _slot: usize,
        _window_bits: Option<u8>,
        link: &mut Link<Note>,
        _turn: &mut Turn<'_>,
    ) -> Fate {
        link.is_large = Nowhere::WORKS && self.spec.size >= LARGE;
        // The first reply of every connection is checked.
        link.care = Care::Read;
        Fate::Stay
    }

    fn entered(&mut self, links: &mut Links<Note>, turn: &mut Turn<'_>) {
        match (turn.phase, &mut self.schedule) {
            (Phase::WarmUp, _) => self.start(links, turn),
            (Phase::Measure, Some(schedule)) => schedule.window = turn.now..u64::MAX,
            (Phase::Drain, Some(schedule)) => schedule.window.end = turn.now,
            (Phase::Leave, Some(_)) => {
                for link in links.iter().flatten() {
                    self.record_unanswered(&link.note, turn);
                }
            }
            (Phase::Opening | Phase::Measure | Phase::Drain | Phase::Leave, _) => {}
        }
    }

    fn expected(&self) -> Option<&Expected> {
        Some(&self.expected)
    }

    fn heard_expected(&mut self, note: &mut Note, count: u64, turn: &mut Turn<'_>) {
        let replies = count.min(note.flights.count - note.replies);
        note.replies += replies;
        turn.tally.add(Count::Unexpected, count - replies);
    }

    fn heard(&mut self, note: &mut Note, reply: &Reply<'_>, turn: &mut Turn<'_>) {
        if note.replies == note.flights.count || !self.sample.matches(reply) {
            return turn.tally.add(Count::Unexpected, 1);
        }
        note.replies += 1;
        self.sample.check(reply, turn.tally);
    }

    fn settled(&mut self, link: &mut Link<Note>, turn: &mut Turn<'_>) -> Fate {
        let replies = std::mem::take(&mut link.note.replies);
        if replies == 0 {
            return Fate::Stay;
        }
        turn.tally.add(Count::Received, replies);
        turn.tally.add(Count::Bytes, replies * self.spec.size as u64);
        let is_timed = |sent: u64| match &self.schedule {
            Some(schedule) => schedule.window.contains(&sent),
            None => turn.phase == Phase::Measure,
        };
        link.note.flights.land(replies, |sent, count| {
            if is_timed(sent) {
                turn.tally.latencies.record(turn.now - sent, count);
            }
        });
        link.care = if self.until_check < replies {
            self.until_check = SAMPLE;
            Care::Read
        } else {
            self.until_check -= replies;
            Care::Count
        };
        if self.schedule.is_some() {
            self.catch_up(link, turn.tally);
        } else if turn.phase < Phase::Drain {
            link.note.flights.take_off(turn.now, replies);
            turn.tally.add(Count::Sent, replies);
            link.repeat(replies as usize);
        }
        Fate::Stay
    }

    fn due(&mut self, links: &mut Links<Note>, turn: &mut Turn<'_>) -> Option<Duration> {
        if !matches!(turn.phase, Phase::WarmUp | Phase::Measure) {
            return None;
        }
        while let Some(schedule) = self.schedule.as_mut().filter(|s| !s.ring.is_empty())
            && let Some(number) = schedule.pace.pass(turn.now)
        {
            let at = schedule.ring[(number % schedule.ring.len() as u64) as usize];
            if let Some(link) = links[at].as_mut().filter(|link| link.is_open()) {
                link.note.due += 1;
                self.catch_up(link, turn.tally);
            }
        }
        self.schedule.as_ref().map(|schedule| schedule.pace.wait(turn.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_belong_to_the_messages_that_went_first() {
        let mut flights = Flights::default();
        flights.take_off(10, 4);
        flights.take_off(20, 1);
        flights.take_off(30, 3);
        let mut landed = Vec::new();
        for count in [1, 3, 2, 0, 2] {
            let mut now = Vec::new();
            flights.land(count, |at, count| now.push((at, count)));
            landed.push(now);
        }
        let expected =
            [vec![(10, 1)], vec![(10, 3)], vec![(20, 1), (30, 1)], vec![], vec![(30, 2)]];
        assert_eq!(landed, expected);
        assert_eq!((flights.count, flights.sent.len()), (0, 0));
    }

    #[test]
    fn each_connection_knows_when_its_messages_were_meant_to_go() {
        let pace = Pace::new(5_000, 1_000.0);
        let schedule = Schedule { pace, ring: vec![7, 3, 9], window: 0..0 };
        // The eighth message of all is the third one of the connection at place 1.
        assert_eq!(schedule.intended(1, 2), schedule.pace.at(7));
        assert_eq!(schedule.intended(0, 0), 5_000);
        assert_eq!(schedule.intended(2, 0), 5_000 + 2_000_000);
    }

    #[test]
    fn what_was_meant_to_go_and_did_not_has_waited_since_then() {
        let spec = Echo { kind: Kind::Text, size: 1, in_flight: 1, rate: Some(1_000.0) };
        let mut mode = Echoing::new(spec);
        let pace = Pace::new(0, 1_000.0);
        mode.schedule = Some(Schedule { pace, ring: vec![0], window: 1_000_000..4_000_000 });
        // Of the messages for 0 to 4 ms the second is on its way, the rest were never sent; those for
        // 0 and 4 ms are outside of the window.
        let mut note = Note { due: 5, sent: 2, ..Note::default() };
        note.flights.take_off(1_000_000, 1);
        let mut tally = Tally::default();
        let mut turn = Turn { now: 10_000_000, phase: Phase::Leave, tally: &mut tally };
        mode.record_unanswered(&note, &mut turn);
        let latency = tally.latencies.percentiles().unwrap();
        for (name, micros, expected) in [
            ("min", latency.min, 7_000.0),
            ("p50", latency.p50, 8_000.0),
            ("max", latency.max, 9_000.0),
        ] {
            assert!((micros / expected - 1.0).abs() < 0.002, "{name}: {micros}");
        }
    }
}
