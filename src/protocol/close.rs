//! Closing: codes, reasons, and the payload of a Close frame (§5.5.1, §7.4).
//!
//! Payload bytes go in, a code and a reason come out, and the other way round. When a Close is sent
//! or answered is `connection`'s work.

use std::fmt;

use super::error::{ProtocolError, SendError};

/// A close code (§7.4.1). The range stays open, so it is a number with named constants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server stops, a browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The endpoint cannot take this type of data.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Never sent: stands for a Close frame without a code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: stands for a connection that was lost without a Close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// The data does not fit the type of the message: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer broke a rule of this endpoint that no other code tells.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The message is too big to be taken.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The client needs an extension that the server did not agree to.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server met a condition that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The service restarts; come back (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// Overloaded, or this peer is too slow; come back later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got a bad answer from the server behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);
    /// Never sent: stands for a failed TLS handshake.
    pub const TLS_FAILURE: Self = Self(1015);

    /// Whether this code may travel in a Close frame (§7.4.1, §7.4.2).
    ///
    /// 1000 to 1003, 1007 to 1014 (1012 to 1014 by the IANA registry) and 3000 to 4999.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Largest close reason: 125 bytes of a control frame less two for the code (§5.5).
pub const MAX_REASON: usize = 123;

/// Why a connection ended: one first cause, whatever happened after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// What ended it.
    pub cause: CloseCause,
    /// The close code: the one that travelled, or 1005 or 1006 where none did.
    pub code: CloseCode,
    /// The close reason: at most 123 bytes, may be empty.
    pub text: Box<str>,
}

/// What ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer's Close frame came first.
    Peer,
    /// We closed first.
    Local,
    /// The peer broke a rule.
    Protocol(ProtocolError),
    /// The peer let a deadline pass.
    Timeout(Timeout),
    /// The request was answered over HTTP, with this status, and never became a connection.
    Answered(u16),
    /// The connection was lost without a Close frame: 1006.
    Lost,
}

/// Which deadline passed; see [`Timeouts`](super::limits::Timeouts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// The opening handshake took too long.
    Handshake,
    /// A message was not whole in time.
    Message,
    /// A Ping was not answered in time.
    Pong,
    /// Raw mode: nothing at all was received for too long.
    Idle,
    /// The peer took nothing of what waits for it.
    Write,
}

impl CloseReason {
    /// 1006: lost without a Close frame (§7.1.5).
    pub(crate) fn lost() -> Self {
        Self {
            cause: CloseCause::Lost,
            code: CloseCode::ABNORMAL,
            text: "connection was closed without close frame".into(),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.cause {
            CloseCause::Peer => "closed by the peer",
            CloseCause::Local => "closed here",
            CloseCause::Protocol(_) => "failed",
            CloseCause::Timeout(Timeout::Handshake) => "handshake timed out",
            CloseCause::Timeout(Timeout::Message) => "message timed out",
            CloseCause::Timeout(Timeout::Pong) => "ping timed out",
            CloseCause::Timeout(Timeout::Idle) => "idle",
            CloseCause::Timeout(Timeout::Write) => "write timed out",
            CloseCause::Answered(status) => return write!(f, "answered {status}"),
            CloseCause::Lost => "lost",
        };
        write!(f, "{who}, {} {:?}", self.code, self.text)
    }
}

/// Reads the payload of a Close frame (§5.5.1): `None` where it is empty.
///
/// # Errors
/// A payload of one byte, a code that never travels, or a reason that is not UTF-8.
pub fn decode_close(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(ProtocolError::ClosePayloadTooShort)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(ProtocolError::InvalidCloseCode { code: code.0 });
    }
    let reason = str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
    Ok(Some((code, reason)))
}

/// The payload of a Close frame, in a control frame's space: `(bytes, len)`.
///
/// # Errors
/// A code that never travels, or a reason over [`MAX_REASON`] bytes.
pub fn encode_close(code: CloseCode, reason: &str) -> Result<([u8; 125], usize), SendError> {
    if !code.is_sendable() {
        return Err(SendError::InvalidCloseCode { code: code.0 });
    }
    if reason.len() > MAX_REASON {
        return Err(SendError::ReasonTooLong { len: reason.len() });
    }
    let mut payload = [0; 125];
    payload[..2].copy_from_slice(&code.0.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    Ok((payload, 2 + reason.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_read_and_write_alike() {
        let longest = "x".repeat(MAX_REASON);
        for (name, code, reason, payload) in [
            ("a code alone", CloseCode::NORMAL, "", &b"\x03\xe8"[..]),
            ("a reason", CloseCode::GOING_AWAY, "bye", b"\x03\xe9bye"),
            ("a reason of any script", CloseCode(4999), "\u{4e00}", b"\x13\x87\xe4\xb8\x80"),
            ("the longest", CloseCode(3000), &longest, &[b"\x0b\xb8", longest.as_bytes()].concat()),
        ] {
            assert_eq!(decode_close(payload), Ok(Some((code, reason))), "{name}");
            let (bytes, len) = encode_close(code, reason).unwrap();
            assert_eq!(&bytes[..len], payload, "{name}");
        }
        assert_eq!(decode_close(b""), Ok(None), "no code at all");
    }

    #[test]
    fn wrong_payloads_are_refused() {
        use ProtocolError as E;
        for (name, payload, error) in [
            ("half a code", &b"\x03"[..], E::ClosePayloadTooShort),
            ("a code that never travels", b"\x03\xee", E::InvalidCloseCode { code: 1006 }),
            ("that code before its reason", b"\x03\xee\xff", E::InvalidCloseCode { code: 1006 }),
            ("a reason that is not UTF-8", b"\x03\xe8\xce\xba\xff", E::InvalidUtf8),
            ("a reason cut inside a character", b"\x03\xe8\xe4\xb8", E::InvalidUtf8),
        ] {
            assert_eq!(decode_close(payload), Err(error), "{name}");
        }
        let too_long = "x".repeat(MAX_REASON + 1);
        assert_eq!(
            encode_close(CloseCode::NORMAL, &too_long),
            Err(SendError::ReasonTooLong { len: MAX_REASON + 1 })
        );
    }

    #[test]
    fn every_code_travels_or_is_refused_both_ways() {
        for number in 0..=u16::MAX {
            // §7.4.1 and the IANA registry name these; §7.4.2 leaves 3000 to 4999 to others.
            let travels = match number {
                1000..=1003 | 1007..=1011 | 1012..=1014 => true,
                1004..=1006 | 1015 => false,
                3000..=4999 => true,
                0..=999 | 1016..=2999 | 5000.. => false,
            };
            let code = CloseCode(number);
            assert_eq!(code.is_sendable(), travels, "{number}");
            let payload = number.to_be_bytes();
            let encoded = encode_close(code, "").map(|(bytes, len)| bytes[..len].to_vec());
            if travels {
                assert_eq!(decode_close(&payload), Ok(Some((code, ""))));
                assert_eq!(encoded, Ok(payload.to_vec()));
            } else {
                let refused = ProtocolError::InvalidCloseCode { code: number };
                assert_eq!(decode_close(&payload), Err(refused));
                assert_eq!(encoded, Err(SendError::InvalidCloseCode { code: number }));
            }
        }
    }

    #[test]
    fn a_reason_says_who_closed_and_with_what() {
        let reason = |cause, code, text: &str| CloseReason { cause, code, text: text.into() };
        for (reason, said) in [
            (
                reason(CloseCause::Peer, CloseCode::NORMAL, "bye"),
                "closed by the peer, 1000 \"bye\"",
            ),
            (reason(CloseCause::Local, CloseCode::GOING_AWAY, ""), "closed here, 1001 \"\""),
            (
                reason(
                    CloseCause::Timeout(Timeout::Pong),
                    CloseCode::INTERNAL_ERROR,
                    "Ping timeout",
                ),
                "ping timed out, 1011 \"Ping timeout\"",
            ),
            // Peers write reasons; a line break in one must not look like a line of the log.
            (
                reason(CloseCause::Peer, CloseCode::NORMAL, "a\nb"),
                "closed by the peer, 1000 \"a\\nb\"",
            ),
            (CloseReason::lost(), "lost, 1006 \"connection was closed without close frame\""),
        ] {
            assert_eq!(reason.to_string(), said);
        }
    }
}
