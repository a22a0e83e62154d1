//! The compressed forms of a topic's messages, each made once (RFC 7692).

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Compressions, Members, Packed, TopicDeflate, encode};
use crate::protocol::{
    extension::deflate::{self, Compressor, Deflate},
    message::Message,
};

/// Most topics of a process that have a compressor of their own.
pub(super) const MAX_COHORTS: usize = 256;

/// Bytes of memory for a compressed message that a topic keeps for the next one.
const MAX_SCRATCH: usize = 16 << 10;

/// What a topic compresses with.
pub(super) struct Packer {
    settings: TopicDeflate,
    cohort: Option<Cohort>,
    /// The output of a compressor.
    scratch: Vec<u8>,
    made: Compressions,
}

/// The compressor that the windows of all members inside follow.
struct Cohort {
    compressor: Compressor,
    /// Messages since it last forgot all.
    messages: u32,
    _slot: Slot,
}

impl Packer {
    pub(super) fn new(settings: TopicDeflate) -> Self {
        Self { settings, cohort: None, scratch: Vec::new(), made: Compressions::default() }
    }

    /// Compresses the message with offset `offset` for those of the `members` who can take it so.
    pub(super) fn pack(
        &mut self,
        message: &Message<'_>,
        offset: u64,
        members: &mut Members,
    ) -> Packed {
        let mut packed = Packed::default();
        self.scratch.shrink_to(MAX_SCRATCH);
        let able = members.able();
        if message.as_bytes().len() < self.settings.min_len || able + members.shared == 0 {
            return packed;
        }
        if able >= self.settings.min_members {
            self.pack_for_cohort(message, offset, members, &mut packed);
        }
        if members.shared > 0 || packed.cohort.is_none() {
            packed.shared_bits = self.settings.window_for(message.as_bytes().len());
            packed.shared = match &packed.cohort {
                // What starts a cohort refers to nothing.
                Some(first) if packed.cohort_starts => Some(Arc::clone(first)),
                Some(_) | None => {
                    self.made.shared += 1;
                    self.pack_alone(message)
                }
            };
        }
        packed
    }

    fn pack_for_cohort(
        &mut self,
        message: &Message<'_>,
        offset: u64,
        members: &mut Members,
        packed: &mut Packed,
    ) {
        // Taken out until it is done: a compressor that panics in its work is gone.
        let Some(mut cohort) = self.cohort.take().or_else(|| Cohort::new(&self.settings)) else {
            members.stop();
            return;
        };
        let is_due = members.waiting > 0 && cohort.messages >= self.settings.reset_after;
        let is_worth_it = members.waiting > members.inside;
        packed.cohort_starts = cohort.messages == 0 || is_due || is_worth_it;
        if packed.cohort_starts {
            cohort.compressor.reset();
            cohort.messages = 0;
            members.start(offset);
            self.made.starts += 1;
        }
        self.scratch.clear();
        cohort.compressor.compress(message.as_bytes(), &mut self.scratch);
        cohort.messages += 1;
        self.made.cohort += 1;
        // Sent so even where it did not shrink: the windows inside follow everything that went through.
        packed.cohort = Some(encode(message.opcode(), deflate::RSV, &self.scratch));
        self.cohort = Some(cohort);
    }

    /// Compresses a message so that it refers to nothing before it; `None` where it does not shrink.
    fn pack_alone(&mut self, message: &Message<'_>) -> Option<Arc<[u8]>> {
        thread_local! {
            /// This thread's compressor for such messages.
            static ALONE: RefCell<Option<(Deflate, Compressor)>> = const { RefCell::new(None) };
        }
        let wanted = self.settings.deflate();
        self.scratch.clear();
        ALONE.with_borrow_mut(|alone| {
            let (_, compressor) = match alone.take() {
                Some((made_for, compressor)) if made_for == wanted => {
                    alone.insert((made_for, compressor))
                }
                Some(_) | None => {
                    let compressor = Compressor::new(wanted.server_window_bits, &wanted);
                    alone.insert((wanted, compressor))
                }
            };
            compressor.reset();
            compressor.compress(message.as_bytes(), &mut self.scratch);
        });
        (self.scratch.len() < message.as_bytes().len())
            .then(|| encode(message.opcode(), deflate::RSV, &self.scratch))
    }

    pub(super) fn made(&self) -> Compressions {
        self.made
    }

    /// Some have left: frees the compressor where too few are left for it.
    pub(super) fn shrink(&mut self, members: &mut Members) {
        if members.able() < self.settings.min_members {
            self.cohort = None;
            members.stop();
        }
    }
}

impl Cohort {
    /// A compressor that is to start; `None` where there are too many.
    fn new(settings: &TopicDeflate) -> Option<Self> {
        let slot = Slot::take()?;
        let compressor = Compressor::new(settings.window_bits, &settings.deflate());
        Some(Self { compressor, messages: 0, _slot: slot })
    }
}

impl Members {
    /// How many can be in the cohort.
    fn able(&self) -> usize {
        self.waiting + self.inside
    }

    /// The cohort starts with the publication at `offset`: whoever waits comes in.
    fn start(&mut self, offset: u64) {
        (self.inside, self.waiting, self.started) = (self.able(), 0, offset);
    }

    /// There is no cohort any more.
    fn stop(&mut self) {
        (self.inside, self.waiting, self.started) = (0, self.able(), 0);
    }
}

impl TopicDeflate {
    /// The window needed to inflate a message of `len` bytes that refers to nothing before it.
    fn window_for(&self, len: usize) -> u8 {
        (9..self.window_bits).find(|&bits| len <= 1 << bits).unwrap_or(self.window_bits)
    }

    fn deflate(&self) -> Deflate {
        let &Self { level, mem_level, window_bits: server_window_bits, .. } = self;
        Deflate { level, mem_level, server_window_bits, ..Deflate::default() }
    }
}

/// One of the [`MAX_COHORTS`]; given back when dropped.
struct Slot;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    fn take() -> Option<Self> {
        let more = |taken: usize| (taken < MAX_COHORTS).then_some(taken + 1);
        TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}
