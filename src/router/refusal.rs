//! Refusals: the HTTP answers that are the router's own.
//!
//! None of them repeats what was sent.

use crate::{protocol::handshake::HandshakeError, service::Answer};

impl From<HandshakeError> for Answer {
    /// The answer for who made the fault: what was wrong, in plain text, and the headers that go with
    /// its status.
    fn from(error: HandshakeError) -> Self {
        let answer = Self::text(error.status(), error.to_string());
        match error {
            // RFC 9110 §15.5.6.
            HandshakeError::Method => answer.with_header("Allow", "GET"),
            // RFC 9110 §15.5.22.
            HandshakeError::NoUpgrade => answer.with_header("Upgrade", "websocket"),
            // §4.4.
            HandshakeError::Version => answer
                .with_header("Upgrade", "websocket")
                .with_header("Sec-WebSocket-Version", "13"),
            _ => answer,
        }
    }
}

/// The answer at the limit of connections: status 503.
pub fn busy() -> Answer {
    Answer::text(503, "this server has as many connections as it takes: try again in a moment")
        .with_header("Retry-After", "5")
}

/// The answer to a page of an origin that is not welcome (§10.2).
pub(super) fn foreign_origin() -> Answer {
    Answer::text(
        403,
        "pages of this origin may not connect here: the Origin header is not on the list and does not \
         name the host of the Host header. Where it should, a proxy in front may have changed Host; for \
         nginx add \"proxy_set_header Host $http_host;\"",
    )
}

/// The answer to a method that is none of those in `allow` (RFC 9110 §15.5.6).
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    Answer::text(405, format!("the methods here: {allow}")).with_header("Allow", allow)
}

/// The answer to a client that offers none of the subprotocols that a path needs (§4.2.2).
pub(super) fn no_protocol<'a>(spoken: impl Iterator<Item = &'a String>) -> Answer {
    let mut names = Vec::new();
    for name in spoken {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let names = names.join(", ");
    let text = format!(
        "this endpoint needs a subprotocol: offer one of {names} in Sec-WebSocket-Protocol"
    );
    Answer::text(400, text)
}
