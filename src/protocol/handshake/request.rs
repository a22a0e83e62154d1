//! The client's side of the opening handshake: what it asks for (§4.1, §4.2.1).
//!
//! [`Request`] is read by a server, [`ClientRequest`] is written by a client. What a server makes of
//! a request is in `response`.

use std::mem::MaybeUninit;

use super::{
    EncodeError, HandshakeError,
    accept::{encode_key, is_key},
    head::Head,
    header::{
        Headers, MAX_HEADERS, all_different, elements, explain, has_element, is_host, is_target,
        push, push_extensions, push_extra, single, token, values,
    },
};
use crate::protocol::{
    extension::{self, Offer, is_token},
    limits::Limits,
};

/// A checked HTTP/1.1 request head, borrowed from the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, in the letter case it came in.
    pub method: &'a str,
    /// The path of the target, as it came: percent-encoded, starting with a slash.
    pub path: &'a str,
    /// What stands behind the first question mark of the target, as it came.
    pub query: Option<&'a str>,
    /// Headers in their order: name as it came, value without the white space around it.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Request<'a> {
    /// Reads what a head says.
    ///
    /// # Errors
    /// [`HandshakeError`] for a head that breaks a rule of HTTP/1.1, has more headers than
    /// [`Limits::max_headers`], or has no host. A body is an error of [`upgrade`](Self::upgrade)
    /// alone.
    pub fn parse(head: &'a Head<'_>, limits: &Limits) -> Result<Self, HandshakeError> {
        let head = head.as_bytes();
        let max_headers = limits.max_headers.min(MAX_HEADERS);
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed
            .parse_with_uninit_headers(head, &mut headers[..max_headers])
            .map_err(|error| explain(error, head, max_headers))?;
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HandshakeError::Unfinished);
        };
        debug_assert_eq!(status, httparse::Status::Complete(head.len()));
        if version != 1 {
            return Err(HandshakeError::HttpVersion);
        }
        if !is_target(target) {
            let is_absolute = target.contains("://") && !target.starts_with('/');
            return Err(if is_absolute {
                HandshakeError::AbsoluteTarget
            } else {
                HandshakeError::Target
            });
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let headers = parsed.headers.iter().map(|header| (header.name, header.value)).collect();
        let request = Self { method, path, query, headers };
        request.check_host()?;
        request.content_length()?;
        Ok(request)
    }

    /// The values of all headers called `name`, in any letter case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.headers, name)
    }

    /// The value of the Host header, which every parsed request has.
    pub fn host(&self) -> &'a [u8] {
        self.values("Host").next().unwrap_or_default()
    }

    /// What the client asks for on top of HTTP; `None` where it asks for no WebSocket (§4.2.1).
    ///
    /// A request with a Sec-WebSocket-Key and no Upgrade header asked for one before something on its
    /// way removed the header, and is told so.
    ///
    /// # Errors
    /// [`HandshakeError`] for what asks for a WebSocket in a way that §4.2.1 does not have.
    pub fn upgrade(&self) -> Result<Option<Upgrade<'a>>, HandshakeError> {
        let headers = self.headers.as_slice();
        if !has_element(headers, "Upgrade", "websocket") {
            let was_meant = self.values("Sec-WebSocket-Key").next().is_some();
            return if was_meant { Err(HandshakeError::NoUpgrade) } else { Ok(None) };
        }
        if self.method != "GET" {
            return Err(HandshakeError::Method);
        }
        if self.content_length()? != 0 || self.values("Transfer-Encoding").next().is_some() {
            return Err(HandshakeError::Body);
        }
        if !has_element(headers, "Connection", "Upgrade") {
            return Err(HandshakeError::NoConnectionUpgrade);
        }
        // Choice: a missing version is answered as a wrong one is, so that the answer names ours.
        let version = single(headers, "Sec-WebSocket-Version", HandshakeError::RepeatedVersion)?;
        if version != Some(b"13") {
            return Err(HandshakeError::Version);
        }
        let key = single(headers, "Sec-WebSocket-Key", HandshakeError::RepeatedKey)?
            .ok_or(HandshakeError::NoKey)?;
        let key =
            str::from_utf8(key).ok().filter(|key| is_key(key)).ok_or(HandshakeError::InvalidKey)?;
        let extensions = extension::parse(self.values("Sec-WebSocket-Extensions"))
            .map_err(|_| HandshakeError::Extensions)?;
        Ok(Some(Upgrade { key, protocols: offered_protocols(headers)?, extensions }))
    }

    fn check_host(&self) -> Result<(), HandshakeError> {
        match single(&self.headers, "Host", HandshakeError::RepeatedHost)? {
            None => Err(HandshakeError::NoHost),
            Some(host) if !is_host(host) => Err(HandshakeError::InvalidHost),
            Some(_) => Ok(()),
        }
    }

    /// Bytes of body that Content-Length announces. Choice: two of them are refused also where they
    /// agree (RFC 9112 §6.3 leaves that open).
    fn content_length(&self) -> Result<u64, HandshakeError> {
        let repeated = HandshakeError::ContentLength;
        match single(&self.headers, "Content-Length", repeated)? {
            None => Ok(0),
            // `u64` would take a plus sign too.
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or(HandshakeError::ContentLength),
            Some(_) => Err(HandshakeError::ContentLength),
        }
    }
}

/// What a request asks for on top of HTTP (§4.2.1), checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// The value of Sec-WebSocket-Key: base64 of 16 bytes.
    pub key: &'a str,
    /// The subprotocols offered, in the client's order of preference: tokens, no two equal.
    pub protocols: Vec<&'a str>,
    /// The extensions offered, in the client's order of preference.
    pub extensions: Vec<Offer<'a>>,
}

impl Upgrade<'_> {
    /// The first of the server's own `protocols` that the client offers too, letter case and all
    /// (§4.2.2): the server's order of preference counts.
    pub fn choose_protocol<'s, S: AsRef<str>>(&self, protocols: &'s [S]) -> Option<&'s str> {
        protocols.iter().map(AsRef::as_ref).find(|protocol| self.protocols.contains(protocol))
    }
}

/// What a client asks for (§4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRequest<'a> {
    /// The host, with its port where that is not the default one.
    pub host: &'a str,
    /// The path, with the query where there is one: percent-encoded, starting with a slash.
    pub target: &'a str,
    /// Sixteen random bytes, new for each connection.
    pub nonce: [u8; 16],
    /// Subprotocols offered, the preferred one first.
    pub protocols: &'a [&'a str],
    /// Extensions offered, the preferred one first.
    pub extensions: &'a [Offer<'a>],
    /// More headers: Origin, Authorization, Cookie and the like.
    pub headers: &'a [(&'a str, &'a str)],
}

impl ClientRequest<'_> {
    /// The request as bytes.
    ///
    /// # Errors
    /// [`EncodeError`] for what may not stand in a request.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if !is_host(self.host.as_bytes()) {
            return Err(EncodeError::Host);
        }
        if !is_target(self.target) {
            return Err(EncodeError::Target);
        }
        if !self.protocols.iter().all(|name| is_token(name)) || !all_different(self.protocols) {
            return Err(EncodeError::Protocol);
        }
        let mut head = format!("GET {} HTTP/1.1\r\n", self.target);
        push(&mut head, "Host", self.host);
        push(&mut head, "Upgrade", "websocket");
        push(&mut head, "Connection", "Upgrade");
        push(&mut head, "Sec-WebSocket-Key", &self.key());
        push(&mut head, "Sec-WebSocket-Version", "13");
        if !self.protocols.is_empty() {
            push(&mut head, "Sec-WebSocket-Protocol", &self.protocols.join(", "));
        }
        push_extensions(&mut head, self.extensions)?;
        push_extra(&mut head, self.headers)?;
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }

    /// The value of Sec-WebSocket-Key.
    pub fn key(&self) -> String {
        encode_key(self.nonce)
    }
}

/// §4.1: tokens, at least one where the header is there, and no two equal.
fn offered_protocols<'a>(headers: &Headers<'a>) -> Result<Vec<&'a str>, HandshakeError> {
    let name = "Sec-WebSocket-Protocol";
    let protocols: Vec<_> = elements(headers, name)
        .map(token)
        .collect::<Option<_>>()
        .ok_or(HandshakeError::Protocols)?;
    let says_nothing = protocols.is_empty() && values(headers, name).next().is_some();
    if says_nothing || !all_different(&protocols) {
        return Err(HandshakeError::Protocols);
    }
    Ok(protocols)
}
