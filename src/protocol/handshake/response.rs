//! The server's side of the opening handshake: what it agrees to (§4.1, §4.2.2).
//!
//! [`ServerResponse`] is written by a server, [`Response`] is read by a client and verified against
//! what it had asked for.

use std::{fmt, mem::MaybeUninit};

use super::{
    EncodeError, HandshakeError,
    accept::{accept_key, is_key},
    head::Head,
    header::{
        MAX_HEADERS, explain, has_element, push, push_extensions, push_extra, single, token, values,
    },
    request::ClientRequest,
};
use crate::protocol::{
    extension::{self, Offer, is_token},
    limits::Limits,
};

/// The answer to an upgrade that a server agrees to (§4.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerResponse<'a> {
    /// The key of the request: [`Upgrade::key`](super::Upgrade::key).
    pub key: &'a str,
    /// The subprotocol chosen: one that the client offered, or none.
    pub protocol: Option<&'a str>,
    /// The extensions agreed to, in the order they are used.
    pub extensions: &'a [Offer<'a>],
    /// More headers, such as Set-Cookie.
    pub headers: &'a [(&'a str, &'a str)],
}

impl ServerResponse<'_> {
    /// The answer as bytes; frames follow right behind it.
    ///
    /// # Errors
    /// [`EncodeError`] for what may not stand in an answer.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if !is_key(self.key) {
            return Err(EncodeError::Key);
        }
        let accept = accept_key(self.key);
        let mut head = String::with_capacity(256);
        head.push_str("HTTP/1.1 101 Switching Protocols\r\n");
        push(&mut head, "Upgrade", "websocket");
        push(&mut head, "Connection", "Upgrade");
        push(&mut head, "Sec-WebSocket-Accept", str::from_utf8(&accept).expect("base64 is ASCII"));
        if let Some(protocol) = self.protocol {
            if !is_token(protocol) {
                return Err(EncodeError::Protocol);
            }
            push(&mut head, "Sec-WebSocket-Protocol", protocol);
        }
        push_extensions(&mut head, self.extensions)?;
        push_extra(&mut head, self.headers)?;
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }
}

/// A checked HTTP/1.1 response head, borrowed from the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// Headers in their order: name as it came, value without the white space around it.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Response<'a> {
    /// Reads what a head says.
    ///
    /// # Errors
    /// [`HandshakeError`] for a head that breaks a rule of HTTP/1.1 or has more headers than
    /// [`Limits::max_headers`]. Its status is of no meaning to a client.
    pub fn parse(head: &'a Head<'_>, limits: &Limits) -> Result<Self, HandshakeError> {
        let head = head.as_bytes();
        let max_headers = limits.max_headers.min(MAX_HEADERS);
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut []);
        httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, head, &mut headers[..max_headers])
            .map_err(|error| explain(error, head, max_headers))?;
        let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
            return Err(HandshakeError::Unfinished);
        };
        // A refusal is understood from whatever is in between.
        if version != 1 && status == 101 {
            return Err(HandshakeError::HttpVersion);
        }
        let headers = parsed.headers.iter().map(|header| (header.name, header.value)).collect();
        Ok(Self { status, headers })
    }

    /// Checks that the server agreed to what `request` asked for, and to nothing else (§4.1).
    ///
    /// # Errors
    /// [`ResponseError`]: the connection is given up.
    pub fn verify<'r>(
        &self,
        request: &ClientRequest<'r>,
    ) -> Result<Agreement<'a, 'r>, ResponseError> {
        if self.status != 101 {
            return Err(ResponseError::Status(self.status));
        }
        let headers = self.headers.as_slice();
        if !has_element(headers, "Upgrade", "websocket") {
            return Err(ResponseError::Upgrade);
        }
        if !has_element(headers, "Connection", "Upgrade") {
            return Err(ResponseError::Connection);
        }
        let accept = single(headers, "Sec-WebSocket-Accept", ResponseError::Accept)?;
        if accept != Some(&accept_key(&request.key())) {
            return Err(ResponseError::Accept);
        }
        let protocol = match single(headers, "Sec-WebSocket-Protocol", ResponseError::Protocol)? {
            None => None,
            Some(answer) => {
                let offered =
                    request.protocols.iter().find(|offered| token(answer) == Some(**offered));
                Some(*offered.ok_or(ResponseError::Protocol)?)
            }
        };
        let extensions = extension::parse(values(headers, "Sec-WebSocket-Extensions"))
            .map_err(|_| ResponseError::Extensions)?;
        let was_offered =
            |agreed: &Offer<'_>| request.extensions.iter().any(|offer| offer.name == agreed.name);
        if !extensions.iter().all(was_offered) {
            return Err(ResponseError::Extensions);
        }
        Ok(Agreement { protocol, extensions })
    }
}

/// What both sides agree on when the opening handshake is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement<'a, 'r> {
    /// The subprotocol: one that the request offered, or none.
    pub protocol: Option<&'r str>,
    /// The server's response to the extensions: only such as were offered. What their parameters say
    /// is for each extension to check.
    pub extensions: Vec<Offer<'a>>,
}

/// The server did not agree, or not to what was asked for (§4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseError {
    /// The server answered with this status and not with 101.
    Status(u16),
    /// The Upgrade header does not name `websocket`.
    Upgrade,
    /// The Connection header does not name `Upgrade`.
    Connection,
    /// Sec-WebSocket-Accept is missing, repeated, or not made from our key.
    Accept,
    /// The server chose a subprotocol that was not offered, or more than one.
    Protocol,
    /// The server agreed to an extension that was not offered, or its header is malformed.
    Extensions,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Status(status @ 300..=399) => {
                return write!(f, "the server answered with status {status}: it is found elsewhere");
            }
            Self::Status(status @ (401 | 403)) => {
                return write!(f, "the server answered with status {status}: it lets us not in");
            }
            Self::Status(status) => {
                return write!(f, "the server answered with status {status} and not with 101");
            }
            Self::Upgrade => "the server's Upgrade header does not name websocket",
            Self::Connection => "the server's Connection header does not name Upgrade",
            Self::Accept => {
                "the server's Sec-WebSocket-Accept is not made from our key: something in between may \
                 have answered from a cache"
            }
            Self::Protocol => "the server chose a subprotocol that was not offered",
            Self::Extensions => "the server agreed to an extension that was not offered",
        })
    }
}

impl std::error::Error for ResponseError {}
