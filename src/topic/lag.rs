//! What becomes of members that do not keep up.

/// What becomes of a member for whom so much waits that it is not read from: more than
/// [`Limits::pause_reading`](crate::Limits::pause_reading) bytes, until no more than
/// [`Limits::resume_reading`](crate::Limits::resume_reading) do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lag {
    /// It gets everything, and is closed with 1013 once more than
    /// [`Limits::max_backlog`](crate::Limits::max_backlog) bytes or
    /// [`Limits::max_backlog_messages`](crate::Limits::max_backlog_messages) messages wait for it.
    #[default]
    Close,
    /// It misses what is published meanwhile, and stays; so it does once too many messages wait for it,
    /// until half of those have left. Its service hears of the end of it by
    /// [`Service::drained`](crate::Service::drained), and by [`Peer::missed`](crate::Peer::missed) how much
    /// that was. Where the topic is compressed it leaves the cohort. All else that is sent to it waits
    /// as ever, with [`Limits::max_backlog`](crate::Limits::max_backlog) as its bound; what its own
    /// service publishes, and follows with a word to it in the same call, is among that.
    ///
    /// A member that takes nothing at all is still given up, after
    /// [`Timeouts::write`](crate::Timeouts::write).
    Skip,
}
