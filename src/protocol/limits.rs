//! Every bound of the engine and the loop, in one place (§10.4).
//!
//! Sizes are bytes and counts are counts; each item says its default and what happens at it.

use std::time::Duration;

/// How much a peer can make us hold. One value serves any number of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame accepted: bytes of payload. Default 1 MiB. A longer one fails the connection
    /// with 1009 as soon as its header is read. Compressed, or where extensions of one's own were agreed
    /// on, it may have a hundredth and 64 bytes more on the wire: what cannot be compressed grows.
    pub max_frame: usize,
    /// Largest message accepted: bytes of unmasked payload, summed over its fragments. Default
    /// 1 MiB. A longer one fails the connection with 1009 as soon as a header announces it, or as soon
    /// as it inflates to more, or comes to more behind extensions of one's own.
    pub max_message: usize,
    /// Most frames in one message, empty ones included. Default 131,072. One more fails the
    /// connection with 1008.
    pub max_fragments: u32,
    /// Bytes of an unfinished message that put its deadline, [`Timeouts::message`], off by one second,
    /// as they stand on the wire: at this rate and above a message may take as long as it needs. Default
    /// 1,024. 0 puts nothing off.
    pub min_message_rate: usize,
    /// Largest head of an opening handshake: bytes up to and with the empty line. Default 16 KiB;
    /// status 431.
    pub max_head: usize,
    /// Largest line of a head, its line end not counted. Default 8 KiB; status 414 for the request
    /// line, 431 for a header.
    pub max_head_line: usize,
    /// Most headers in a head. Default 100, which is also the most there can be; status 431.
    pub max_headers: usize,
    /// Most bytes that wait for a slow peer. Default 1 MiB. What comes on top closes the peer with
    /// 1013; a single message larger than this is still taken when nothing waits.
    pub max_backlog: usize,
    /// Most messages that wait for a slow peer after a turn's flush. Default 1,000; more closes it
    /// with 1013, or has topics skip it that [say so](crate::Lag::Skip).
    pub max_backlog_messages: usize,
    /// Bytes waiting for a peer at which we stop reading from it. Default 256 KiB.
    pub pause_reading: usize,
    /// Bytes waiting for a peer at which we read from it again, where no more than half of
    /// `max_backlog_messages` wait either. Default 64 KiB.
    pub resume_reading: usize,
}

impl Limits {
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
            min_message_rate: 1_024,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From TCP accept to the end of the opening handshake; bytes do not renew it. Default 10 s;
    /// status 408 where a request had begun, else the socket is just closed.
    pub handshake: Duration,
    /// From the first byte of a message to its last, put off by what arrives of it
    /// ([`Limits::min_message_rate`]); control frames between do not count. Default 60 s; then the
    /// connection is closed with 1008 `message took too long`. In raw mode too; a frame that belongs to
    /// no message has the same deadline.
    pub message: Duration,
    /// Silence after which a Ping is sent; `None` sends none. Default 20 s. Raw mode sends none.
    pub ping_period: Option<Duration>,
    /// From a Ping to its Pong; nothing but that Pong counts. Default 20 s; then the connection is
    /// closed with 1011 `Ping timeout`.
    pub pong: Duration,
    /// Raw mode: silence after which the connection is closed with 1001 `idle`. Default `None`: it may last
    /// for ever. Outside raw mode Pings tell who is gone.
    pub idle: Option<Duration>,
    /// From our Close to the end of TCP, for the whole of it. Default 5 s; then the socket is dropped.
    pub close: Duration,
    /// For how long a peer may take nothing of what waits for it. Default 10 s; then the socket is
    /// dropped.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            message: Duration::from_secs(60),
            ping_period: Some(Duration::from_secs(20)),
            pong: Duration::from_secs(20),
            idle: None,
            close: Duration::from_secs(5),
            write: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_each_other() {
        let limits = Limits::default();
        assert!(limits.max_frame <= limits.max_message, "a frame is at most a message");
        assert!(limits.max_head_line <= limits.max_head, "a line is at most a head");
        assert!(limits.resume_reading < limits.pause_reading, "else reading would flap");
        assert!(limits.pause_reading < limits.max_backlog, "back-pressure comes before the end");
    }
}
