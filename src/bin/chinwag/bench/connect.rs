//! `connect`, `churn` and `idle`: connections themselves are the load.

use std::rc::Rc;

use super::{
    echo::Sample,
    link::Link,
    mode::{Fate, Mode, Turn},
    outbox::Cycle,
    payload::Kind,
    reader::{Care, Reply},
    tally::{Count, Phase},
};

/// `connect`: an opening handshake, and then the next.
pub struct Connecting {
    cycle: Rc<Cycle>,
}

impl Connecting {
    pub fn new() -> Self {
        Self { cycle: unused() }
    }
}

/// For modes that send nothing again and again.
fn unused() -> Rc<Cycle> {
    Rc::new(Cycle::new(&[0], 1))
}

impl Mode for Connecting {
    type Note = ();

    const RENEWS: bool = true;

    fn cycle(&mut self, _window_bits: Option<u8>) -> Rc<Cycle> {
        Rc::clone(&self.cycle)
    }

    fn opened(
        &mut self,
        _slot: usize,
        _window_bits: Option<u8>,
        link: &mut Link<()>,
        turn: &mut Turn<'_>,
    ) -> Fate {
        if turn.phase == Phase::Measure {
            turn.tally.latencies.record(turn.now - link.since, 1);
        }
        Fate::Abort
    }
}

/// `idle`: connections that are held, and nothing else.
pub struct Idling(Connecting);

impl Idling {
    pub fn new() -> Self {
        Self(Connecting::new())
    }
}

impl Mode for Idling {
    type Note = ();

    fn cycle(&mut self, window_bits: Option<u8>) -> Rc<Cycle> {
        self.0.cycle(window_bits)
    }
}

/// `churn`: connect, one message there and back, close; and then the next.
pub struct Churning {
    sample: Sample,
    cycle: Rc<Cycle>,
}

impl Churning {
    pub fn new(kind: Kind, size: usize) -> Self {
        let sample = Sample::new(kind, size);
        let cycle = Rc::new(Cycle::new(&sample.frame(None), 1));
        Self { sample, cycle }
    }
}

/// What is kept of a connection of `churn`.
#[derive(Debug, Default)]
pub struct Round {
    /// When it was dialled.
    began: u64,
    answered: bool,
}

impl Mode for Churning {
    type Note = Round;

    const RENEWS: bool = true;

    fn cycle(&mut self, _window_bits: Option<u8>) -> Rc<Cycle> {
        Rc::clone(&self.cycle)
    }

    fn opened(
        &mut self,
        _slot: usize,
        _window_bits: Option<u8>,
        link: &mut Link<Round>,
        turn: &mut Turn<'_>,
    ) -> Fate {
        link.note.began = link.since;
        link.care = Care::Read;
        turn.tally.add(Count::Sent, 1);
        link.repeat(1);
        Fate::Stay
    }

    fn heard(&mut self, round: &mut Round, reply: &Reply<'_>, turn: &mut Turn<'_>) {
        if round.answered || !self.sample.matches(reply) {
            return turn.tally.add(Count::Unexpected, 1);
        }
        round.answered = true;
        turn.tally.add(Count::Received, 1);
        turn.tally.add(Count::Bytes, reply.len);
        self.sample.check(reply, turn.tally);
    }

    fn settled(&mut self, link: &mut Link<Round>, _turn: &mut Turn<'_>) -> Fate {
        if link.note.answered { Fate::Close } else { Fate::Stay }
    }

    fn left(&mut self, round: &Round, turn: &mut Turn<'_>) {
        if !round.answered {
            return;
        }
        turn.tally.add(Count::Rounds, 1);
        if turn.phase == Phase::Measure {
            turn.tally.latencies.record(turn.now - round.began, 1);
        }
    }
}
