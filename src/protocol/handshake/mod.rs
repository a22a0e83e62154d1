//! The opening handshake, both roles, over httparse (§1.3, §4).
//!
//! Bytes go in at a [`HeadReader`], which cuts off one whole [`Head`]; [`Request`] or [`Response`]
//! reads it and checks what it asks or agrees to. The other way round, [`ClientRequest`] and
//! [`ServerResponse`] become bytes. Which path is served, and whether an origin is welcome, is
//! `router`'s work.

mod accept;
mod head;
mod header;
pub mod request;
pub mod response;

use std::fmt;

pub use accept::accept_key;
pub use head::{Head, HeadReader};
pub use request::{ClientRequest, Request, Upgrade};
pub use response::{Agreement, Response, ResponseError, ServerResponse};

/// No connection yet: the peer's head breaks a rule, or asks for what we do not do.
///
/// Its `Display` is one line for people, with the likely cause where it is known. It never holds
/// what the peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The first bytes are a TLS record.
    Tls,
    /// RFC 9112 §3: the first line is no request line (or status line).
    FirstLine,
    /// RFC 9112 §2.2: a line ends with a line feed alone.
    BareLineFeed,
    /// RFC 9112 §2.2: a carriage return stands without a line feed behind it.
    BareCarriageReturn,
    /// RFC 9110 §5.5: NUL or another control character.
    ControlCharacter,
    /// RFC 9112 §5.2: a header goes on in the next line.
    Folded,
    /// RFC 9112 §5.1: a header name that is no token; with white space before the colon it is none.
    HeaderName,
    /// The head ends before its empty line.
    Unfinished,
    /// The first line is longer than [`Limits::max_head_line`](crate::Limits::max_head_line).
    FirstLineTooLong {
        /// Bytes accepted.
        max: usize,
    },
    /// A header is longer than [`Limits::max_head_line`](crate::Limits::max_head_line).
    HeaderTooLong {
        /// Bytes accepted.
        max: usize,
    },
    /// The head is longer than [`Limits::max_head`](crate::Limits::max_head).
    HeadTooLong {
        /// Bytes accepted.
        max: usize,
    },
    /// There are more headers than [`Limits::max_headers`](crate::Limits::max_headers).
    TooManyHeaders {
        /// Headers accepted.
        max: usize,
    },
    /// §4.2.1: the request is HTTP/1.1.
    HttpVersion,
    /// RFC 9112 §3.2.2: the target is a whole URL, as proxies get it.
    AbsoluteTarget,
    /// RFC 9112 §3.2.1: the target is no path, or holds what a path may not (§3).
    Target,
    /// §4.2.1: there is no Host header.
    NoHost,
    /// RFC 9112 §3.2: there is more than one Host header.
    RepeatedHost,
    /// RFC 9112 §3.2: the Host header is empty or names no host.
    InvalidHost,
    /// RFC 9112 §6.3: Content-Length is no number, or stands there twice.
    ContentLength,
    /// A body is announced: what follows an upgrade is frames.
    Body,
    /// §4.2.1: the method of an upgrade is GET.
    Method,
    /// §4.2.1: there is no Upgrade header that names `websocket`.
    NoUpgrade,
    /// §4.2.1: the Connection header does not name `Upgrade`.
    NoConnectionUpgrade,
    /// §4.2.1: there is no Sec-WebSocket-Key header.
    NoKey,
    /// §11.3.1: there is more than one Sec-WebSocket-Key header.
    RepeatedKey,
    /// §4.2.1: the key is base64 of 16 bytes.
    InvalidKey,
    /// §4.2.1: the version is 13.
    Version,
    /// §11.3.5: there is more than one Sec-WebSocket-Version header.
    RepeatedVersion,
    /// §4.1: subprotocols are tokens, at least one and each another.
    Protocols,
    /// §9.1: the extensions are malformed, or too many.
    Extensions,
    /// The head did not come to its end within [`Timeouts::handshake`](crate::Timeouts::handshake).
    Timeout,
}

impl HandshakeError {
    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Timeout => 408,
            Self::FirstLineTooLong { .. } => 414,
            // §4.2.2, §4.4 and RFC 9110 §15.5.22: the answer names what to upgrade to.
            Self::NoUpgrade | Self::Version => 426,
            Self::HeaderTooLong { .. } | Self::HeadTooLong { .. } | Self::TooManyHeaders { .. } => {
                431
            }
            // Choice: 505 and not 400, as such a request is well formed; RFC 9110 §15.6.6 made the
            // status for it.
            Self::HttpVersion => 505,
            Self::Tls
            | Self::FirstLine
            | Self::BareLineFeed
            | Self::BareCarriageReturn
            | Self::ControlCharacter
            | Self::Folded
            | Self::HeaderName
            | Self::Unfinished
            | Self::AbsoluteTarget
            | Self::Target
            | Self::NoHost
            | Self::RepeatedHost
            | Self::InvalidHost
            | Self::ContentLength
            | Self::Body
            | Self::NoConnectionUpgrade
            | Self::NoKey
            | Self::RepeatedKey
            | Self::InvalidKey
            | Self::RepeatedVersion
            | Self::Protocols
            | Self::Extensions => 400,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Tls => {
                "these bytes are TLS, and this port speaks plain HTTP: use ws:// or http:// here, or \
                 put a proxy in front that ends TLS"
            }
            Self::FirstLine => "the first line is not one of HTTP/1.1",
            Self::BareLineFeed => "a line ends with a line feed alone: lines end with CR LF",
            Self::BareCarriageReturn => "a carriage return stands without a line feed behind it",
            Self::ControlCharacter => "the head holds a control character",
            Self::Folded => "a header is folded over two lines",
            Self::HeaderName => {
                "a header name holds a character that is none of a token, such as a space before the \
                 colon"
            }
            Self::Unfinished => "the head ends before its empty line",
            Self::FirstLineTooLong { max } => {
                return write!(f, "the first line is longer than {max} bytes");
            }
            Self::HeaderTooLong { max } => {
                return write!(
                    f,
                    "a header is longer than {max} bytes: where it is Cookie, delete cookies of this site"
                );
            }
            Self::HeadTooLong { max } => {
                return write!(f, "the head of the request is longer than {max} bytes");
            }
            Self::TooManyHeaders { max } => {
                return write!(f, "there are more than {max} headers");
            }
            Self::HttpVersion => {
                "the request is not HTTP/1.1: a proxy in front may have changed that; for nginx add \
                 \"proxy_http_version 1.1;\""
            }
            Self::AbsoluteTarget => {
                "the target is a whole URL, and this server is no proxy: ask for the path alone"
            }
            Self::Target => "the target is not a percent-encoded path that starts with a slash",
            Self::NoHost => "there is no Host header",
            Self::RepeatedHost => "there is more than one Host header",
            Self::InvalidHost => "the Host header is empty or names no host",
            Self::ContentLength => "Content-Length is not a number, or there are two",
            Self::Body => "an upgrade has no body, and this request announces one",
            Self::Method => "the method of a WebSocket upgrade is GET",
            Self::NoUpgrade => {
                "this is a WebSocket endpoint, and there is no \"Upgrade: websocket\" header: open it \
                 with a WebSocket client. Where that was done, a proxy in front may have removed the \
                 header; for nginx add \"proxy_http_version 1.1; proxy_set_header Upgrade \
                 $http_upgrade; proxy_set_header Connection upgrade;\""
            }
            Self::NoConnectionUpgrade => {
                "the Connection header does not name Upgrade: a proxy in front may have changed it; \
                 for nginx add \"proxy_set_header Connection upgrade;\""
            }
            Self::NoKey => {
                "there is no Sec-WebSocket-Key header: a proxy in front may have removed it"
            }
            Self::RepeatedKey => "there is more than one Sec-WebSocket-Key header",
            Self::InvalidKey => "Sec-WebSocket-Key is not base64 of 16 bytes",
            Self::Version => "this server speaks WebSocket version 13: Sec-WebSocket-Version says so",
            Self::RepeatedVersion => "there is more than one Sec-WebSocket-Version header",
            Self::Protocols => {
                "Sec-WebSocket-Protocol is not a list of different names, or holds a character that \
                 may not stand in one"
            }
            Self::Extensions => "Sec-WebSocket-Extensions is malformed, or names too many",
            Self::Timeout => "the request did not come to its end in time",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Our caller gave something for a head that may not stand there. Nothing was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The host is empty, or holds what a host and port may not.
    Host,
    /// The target is no path, or holds what a path may not.
    Target,
    /// The key is no base64 of 16 bytes.
    Key,
    /// A subprotocol is no token, or stands there twice.
    Protocol,
    /// A name or value in an extension is no token, or there are too many.
    Extension,
    /// A header name is no token.
    HeaderName,
    /// A header value holds a control character.
    HeaderValue,
    /// The header belongs to the handshake itself: Host, Connection, Upgrade, Content-Length,
    /// Transfer-Encoding, Sec-WebSocket-…
    ReservedHeader,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is empty or holds what a host may not",
            Self::Target => "the target is not a percent-encoded path that starts with a slash",
            Self::Key => "the key is not base64 of 16 bytes",
            Self::Protocol => "a subprotocol is not a token, or stands there twice",
            Self::Extension => "an extension is not made of tokens, or there are too many",
            Self::HeaderName => "a header name is not a token",
            Self::HeaderValue => "a header value holds a control character",
            Self::ReservedHeader => "a header of the handshake itself may not be set",
        })
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests;
