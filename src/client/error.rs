//! Errors: why there is no connection, and why there is no message yet.

use std::{fmt, io};

use super::{text::escape, url::UrlError};
use crate::protocol::{
    connection::Refused,
    extension::Conflict,
    handshake::{EncodeError, HandshakeError, ResponseError},
    limits::SettingError,
};

/// There is no connection.
///
/// Its `Display` is one line for people, with what the server said where it said something: escaped
/// and cut short.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL names no WebSocket (§3).
    Url(UrlError),
    /// The URL is one of `wss:`, which needs TLS: see [`connect_over`](super::ClientBuilder::connect_over).
    Tls,
    /// The host's name has no address.
    Resolve(io::Error),
    /// No address of the host takes the connection: the error of the one that failed last, or
    /// [`TimedOut`](io::ErrorKind::TimedOut) where the time was up before all had failed.
    Connect(io::Error),
    /// The connection was lost before the server had answered.
    Lost(io::Error),
    /// The server ended the connection instead of answering, or in the middle of it.
    Ended,
    /// The server did not answer within [`Timeouts::handshake`](crate::Timeouts::handshake).
    Timeout,
    /// What was asked for may not stand in a request.
    Request(EncodeError),
    /// The response is no HTTP/1.1, or passes the limits, which count all heads together where interim
    /// responses (1xx) come before it.
    Head(HandshakeError),
    /// The server sent more than 16 interim responses (1xx, RFC 9110 §15.2) and no final one.
    Interim,
    /// The server answered over HTTP: it does not agree, or is found elsewhere.
    Refused(Box<Refusal>),
    /// The server agrees, but not to what was asked for (§4.1).
    Response(ResponseError),
    /// The server's answer to the offers of extensions is none to them (§4.1, RFC 7692 §7.1).
    Extensions(Refused),
    /// A setting has a value with which no connection can work.
    Setting(SettingError),
    /// Two of the extensions that are to be offered do not go together.
    Conflict(Conflict),
    /// The code of an extension panicked, or of what makes a stream of the socket.
    Panicked,
}

impl ConnectError {
    /// Whether the same attempt may succeed later: not where the request is wrong, or was understood
    /// and refused for good.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Resolve(_) | Self::Connect(_) | Self::Lost(_) | Self::Ended | Self::Timeout => {
                true
            }
            // RFC 9110 §15.5.9, RFC 6585 §4: come back later. Of the server's own errors, 501 and 505
            // are about the request.
            Self::Refused(refusal) => {
                matches!(refusal.status, 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
            }
            Self::Url(_) | Self::Tls | Self::Request(_) | Self::Head(_) | Self::Response(_) => {
                false
            }
            Self::Extensions(_) | Self::Conflict(_) | Self::Interim | Self::Panicked => false,
            Self::Setting(_) => false,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Tls => f.write_str(
                "wss:// needs TLS, which comes with the feature \"tls\" and is not there yet; \
                 a stream that speaks TLS can be handed to connect_over",
            ),
            Self::Resolve(error) => write!(f, "the host has no address: {error}"),
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Lost(error) => write!(f, "lost before the server had answered: {error}"),
            Self::Ended => f.write_str("the server ended the connection instead of answering"),
            Self::Timeout => f.write_str("the server did not answer in time"),
            Self::Request(error) => error.fmt(f),
            Self::Head(HandshakeError::FirstLine | HandshakeError::ControlCharacter) => {
                f.write_str("the server's answer is not HTTP/1.1; does it expect TLS (wss://)?")
            }
            Self::Head(error) => write!(f, "the server's answer breaks a rule: {error}"),
            Self::Interim => f.write_str("the server sent interim responses (1xx) without end"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Response(error) => error.fmt(f),
            Self::Extensions(error) => error.fmt(f),
            Self::Setting(error) => error.fmt(f),
            Self::Conflict(error) => error.fmt(f),
            Self::Panicked => f.write_str("the code of an extension or of a stream panicked"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<UrlError> for ConnectError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<EncodeError> for ConnectError {
    fn from(error: EncodeError) -> Self {
        Self::Request(error)
    }
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> Self {
        Self::Head(error)
    }
}

impl From<Refused> for ConnectError {
    fn from(error: Refused) -> Self {
        Self::Extensions(error)
    }
}

impl From<SettingError> for ConnectError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

impl From<Conflict> for ConnectError {
    fn from(error: Conflict) -> Self {
        Self::Conflict(error)
    }
}

impl From<ResponseError> for ConnectError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

/// What a server answered over HTTP instead of agreeing (§4.2.2). A redirect is such an answer too: it
/// is told and not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Headers in their order, as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The start of the body where that is `text/plain` and not chunked, else nothing: at most
    /// [`MAX_BODY`](Self::MAX_BODY) bytes, as they came. Wrong UTF-8 is replaced.
    pub body: String,
}

impl Refusal {
    /// Bytes kept of a body.
    pub const MAX_BODY: usize = 1024;

    /// The value of the first header called `name`, in any letter case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ResponseError::Status(self.status).fmt(f)?;
        if let (300..=399, Some(place)) = (self.status, self.header("Location")) {
            write!(f, ", at {}", escape(cut(&String::from_utf8_lossy(place))))?;
        }
        match self.body.trim() {
            "" => Ok(()),
            body => write!(f, ": {}", escape(cut(body))),
        }
    }
}

/// The first of `text`, as long as a line of an error should be.
fn cut(text: &str) -> &str {
    const LONGEST: usize = 200;
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Nothing came within the read timeout; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing came in time")
    }
}

impl std::error::Error for TimedOut {}

impl From<TimedOut> for io::Error {
    fn from(error: TimedOut) -> Self {
        Self::new(io::ErrorKind::TimedOut, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&str, &str)], body: &str) -> ConnectError {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), value.as_bytes().into()));
        ConnectError::Refused(Box::new(Refusal {
            status,
            headers: headers.collect(),
            body: body.into(),
        }))
    }

    #[test]
    fn a_refusal_is_one_line_that_drives_no_terminal() {
        for (error, words) in [
            (refusal(404, &[], ""), "the server answered with status 404 and not with 101"),
            (
                refusal(403, &[], "not from\r\nthere\x1b[2J\u{202e}\u{9b}!\n"),
                "the server answered with status 403: it lets us not in: \
                 not from\\r\\nthere\\u{1b}[2J\\u{202e}\\u{9b}!",
            ),
            (
                refusal(301, &[("location", "ws://b/\x1b")], ""),
                "the server answered with status 301: it is found elsewhere, at ws://b/\\u{1b}",
            ),
        ] {
            assert_eq!(error.to_string(), words);
        }
        let long = refusal(500, &[], &"ж".repeat(500)).to_string();
        assert!(long.ends_with("ж") && long.len() < 500, "{long}");
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
        for status in [408, 425, 429, 500, 502, 503, 504, 507] {
            assert!(refusal(status, &[], "").may_pass(), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 426, 431, 501, 505] {
            assert!(!refusal(status, &[], "").may_pass(), "{status}");
        }
        let lost = || io::Error::from(io::ErrorKind::ConnectionReset);
        for error in [
            ConnectError::Resolve(lost()),
            ConnectError::Connect(lost()),
            ConnectError::Lost(lost()),
            ConnectError::Ended,
            ConnectError::Timeout,
        ] {
            assert!(error.may_pass(), "{error}");
        }
        for error in [
            ConnectError::Url(UrlError::Host),
            ConnectError::Tls,
            ConnectError::Request(EncodeError::Target),
            ConnectError::Head(HandshakeError::FirstLine),
            ConnectError::Response(ResponseError::Accept),
        ] {
            assert!(!error.may_pass(), "{error}");
        }
    }
}
