//! Every bound of the engine and the loop, in one place (§10.4).
//!
//! Sizes are bytes and counts are counts; each item says its default and what happens at it. A value
//! with which no connection could work, or that contradicts another one, is a [`SettingError`].

use std::{
    fmt,
    ops::{Bound, RangeBounds, RangeInclusive},
    time::Duration,
};

/// How much a peer can make us hold. One value serves any number of connections.
///
/// The largest value of a type stands for no bound, except where an item says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame accepted: bytes of payload. Default 1 MiB. A longer one fails the connection
    /// with 1009 as soon as its header is read. Compressed, or where extensions of one's own were agreed
    /// on, it may have a hundredth and 64 bytes more on the wire: what cannot be compressed grows. It may
    /// be more than `max_message`, which then decides. 0 accepts empty frames only; control frames are
    /// not counted.
    pub max_frame: usize,
    /// Largest message accepted: bytes of unmasked payload, summed over its fragments. Default
    /// 1 MiB. A longer one fails the connection with 1009 as soon as a header announces it, or as soon
    /// as it inflates to more, or comes to more behind extensions of one's own. 0 accepts empty messages
    /// only, for a server that only sends.
    pub max_message: usize,
    /// Most frames in one message, empty ones included. Default 131,072. One more fails the
    /// connection with 1008. 0 accepts no message at all.
    pub max_fragments: u32,
    /// Largest head of an opening handshake: bytes up to and with the empty line. Default 16 KiB, at
    /// least 135, which is the shortest request of a client (§4.1); status 431.
    pub max_head: usize,
    /// Largest line of a head, its line end not counted. Default 8 KiB, at least 42, which is the
    /// shortest line with a `Sec-WebSocket-Key`; status 414 for the request line, 431 for a header. It may
    /// be more than `max_head`, which then decides.
    pub max_head_line: usize,
    /// Most headers in a head: 5, which every request of a client has (§4.1), to 100. Default 100;
    /// status 431.
    pub max_headers: usize,
    /// Most bytes that wait for a slow peer. Default 1 MiB. What comes on top closes the peer with
    /// 1013; a single message larger than this is still taken when nothing waits.
    pub max_backlog: usize,
    /// Most messages that wait for a slow peer after a turn's flush. Default 1,000; more closes it
    /// with 1013, or has topics skip it that [say so](crate::Lag::Skip).
    pub max_backlog_messages: usize,
    /// Bytes waiting for a peer above which we stop reading from it. Default 256 KiB, at most
    /// `max_backlog`: a peer is slowed down before it is closed. 0 reads while nothing waits; where both
    /// are `usize::MAX`, a peer is always read from.
    pub pause_reading: usize,
    /// Bytes waiting for a peer down to which we read from it again, where no more than half of
    /// `max_backlog_messages` wait either. Default 64 KiB, at most `pause_reading`.
    pub resume_reading: usize,
}

/// Bytes of the shortest opening handshake that a client can send (§4.1).
const MIN_HEAD: usize = 135;

/// Bytes of its longest line: `Sec-WebSocket-Key:` and 24 digits of base64.
const MIN_HEAD_LINE: usize = 42;

/// Its headers, which are Host, Upgrade, Connection, and the key and the version, and what there is room
/// for.
const HEADERS: RangeInclusive<usize> = 5..=100;

impl Limits {
    /// Whether connections can work within these limits. A server checks this when it is built.
    ///
    /// # Errors
    /// [`SettingError`] for the first limit that is out of its range or contradicts another one.
    pub fn check(&self) -> Result<(), SettingError> {
        let (backlog, pause) = (self.max_backlog, self.pause_reading);
        in_range("Limits::max_head", self.max_head, MIN_HEAD..)?;
        in_range("Limits::max_head_line", self.max_head_line, MIN_HEAD_LINE..)?;
        in_range("Limits::max_headers", self.max_headers, HEADERS)?;
        in_order(("Limits::pause_reading", pause), ("Limits::max_backlog", backlog))?;
        in_order(("Limits::resume_reading", self.resume_reading), ("Limits::pause_reading", pause))
    }

    /// Bytes accepted of what may come to `max` when extensions are done with it.
    pub(super) fn on_the_wire(max: usize) -> usize {
        max.saturating_add(max / 100 + 64)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 1 << 20,
            max_message: 1 << 20,
            max_fragments: 131_072,
            max_head: 16 << 10,
            max_head_line: 8 << 10,
            max_headers: 100,
            max_backlog: 1 << 20,
            max_backlog_messages: 1_000,
            pause_reading: 256 << 10,
            resume_reading: 64 << 10,
        }
    }
}

/// How long a peer may keep us waiting.
///
/// The largest duration stands for no deadline, as does whatever is longer than a hundred years.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From TCP accept to the end of the opening handshake; bytes do not renew it. Default 10 s, not 0;
    /// status 408 where a request had begun, else the socket is just closed.
    pub handshake: Duration,
    /// Silence after which a Ping is sent; `None` sends none. Default 20 s, not 0. Raw mode sends none.
    pub ping_period: Option<Duration>,
    /// From a Ping to its Pong; nothing but that Pong counts. Default 20 s, not 0; then the connection is
    /// closed with 1011 `Ping timeout`.
    pub pong: Duration,
    /// From our Close to the end of TCP, for the whole of it. Default 5 s; then the socket is dropped.
    /// 0 waits for no answer.
    pub close: Duration,
    /// For how long a peer may take nothing of what waits for it. Default 10 s, not 0; then the socket is
    /// dropped.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            ping_period: Some(Duration::from_secs(20)),
            pong: Duration::from_secs(20),
            close: Duration::from_secs(5),
            write: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// Whether connections can work with these deadlines. A server checks this when it is built.
    ///
    /// # Errors
    /// [`SettingError`] for the first that lets no connection live.
    pub fn check(&self) -> Result<(), SettingError> {
        let ping_period = self.ping_period.unwrap_or(Duration::MAX);
        in_range("Timeouts::handshake", self.handshake, MIN_TIME..)?;
        in_range("Timeouts::ping_period", ping_period, MIN_TIME..)?;
        in_range("Timeouts::pong", self.pong, MIN_TIME..)?;
        in_range("Timeouts::write", self.write, MIN_TIME..)
    }
}

/// The least of what is not 0.
const MIN_TIME: Duration = Duration::from_nanos(1);

/// A setting that has a value with which nothing works: out of its range, or in contradiction to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The setting: its type and field, such as `Limits::max_head`, or the method of a builder.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// What it has to be.
    pub allowed: String,
}

/// Refuses a `value` that is not in `range`.
pub(crate) fn in_range<T: fmt::Debug + PartialOrd>(
    setting: &'static str,
    value: T,
    range: impl RangeBounds<T>,
) -> Result<(), SettingError> {
    if range.contains(&value) {
        return Ok(());
    }
    let allowed = match (range.start_bound(), range.end_bound()) {
        (Bound::Included(least), Bound::Included(most)) => format!("from {least:?} to {most:?}"),
        (Bound::Included(least), _) => format!("at least {least:?}"),
        (_, Bound::Included(most)) => format!("at most {most:?}"),
        bounds => format!("within {bounds:?}"),
    };
    Err(SettingError { setting, value: format!("{value:?}"), allowed })
}

/// Refuses the value of one setting that is more than that of another.
fn in_order(less: (&'static str, usize), more: (&'static str, usize)) -> Result<(), SettingError> {
    if less.1 <= more.1 {
        return Ok(());
    }
    let allowed = format!("at most {}, which is {}", more.0, more.1);
    Err(SettingError { setting: less.0, value: less.1.to_string(), allowed })
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, and has to be {}", self.setting, self.value, self.allowed)
    }
}

impl std::error::Error for SettingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_legal_and_fit_each_other() {
        let limits = Limits::default();
        assert_eq!((limits.check(), Timeouts::default().check()), (Ok(()), Ok(())));
        assert!(limits.max_frame <= limits.max_message, "a frame is at most a message");
        assert!(limits.max_head_line <= limits.max_head, "a line is at most a head");
        assert!(limits.resume_reading < limits.pause_reading, "else reading would flap");
        assert!(limits.pause_reading < limits.max_backlog, "back-pressure comes before the end");
    }
}
