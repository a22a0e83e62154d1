//! What a server counts: what reached a bound, and what it cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the server was made, kept by all its workers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken in, those that were only told that there are too many not counted.
    pub accepted: Count,
    /// Those of them that have ended.
    pub ended: Count,
    /// Connections over the limit that were told so with 503.
    pub over_limit: Count,
    /// Connections over the limit that were dropped unheard, as many were being told already.
    pub turned_away: Count,
    /// Times that accepting paused, as the system had no descriptor or memory for a connection.
    pub accept_pauses: Count,
    /// Connections closed with 1013, as they did not keep up.
    pub slow: Count,
    /// Connections closed with 1013, as all together held too much of input that was not whole.
    pub shed: Count,
    /// Publications left out for members that did not keep up, as their topics say so.
    pub skipped: Count,
    /// Messages, Pings and Closes from other threads for connections that had ended.
    pub undelivered: Count,
    /// Publications sent to a member compressed by themselves.
    pub shared_frames: Count,
    /// Publications sent to a member as its topic's cohort hears them.
    pub cohort_frames: Count,
    /// Panics in services, routes and jobs.
    pub panics: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}
