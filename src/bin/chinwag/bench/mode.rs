//! What is done on connections, as a [`Worker`](super::worker::Worker) asks for it.

use std::{rc::Rc, time::Duration};

use super::{
    link::Link,
    outbox::Cycle,
    reader::{Expected, Reply},
    tally::{Phase, Tally},
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

    /// The message that mostly comes, where there is such a one: it is counted, and not read.
    fn expected(&self) -> Option<&Expected> {
        None
    }

    /// `count` of them came.
    fn heard_expected(&mut self, _note: &mut Self::Note, _count: u64, _turn: &mut Turn<'_>) {}

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
