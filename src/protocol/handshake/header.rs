//! Headers: what both sides look up in them, and how they are written (RFC 9110 §5).

use super::{EncodeError, HandshakeError};
use crate::protocol::extension::{self, MAX_OFFERS, Offer, is_token};

/// Names and values in their order, as httparse gives them.
pub(super) type Headers<'a> = [(&'a str, &'a [u8])];

/// Most headers that one head may have, whatever the limits say.
pub(super) const MAX_HEADERS: usize = 100;

/// The values of all headers called `name`, in any letter case.
pub(super) fn values<'a>(headers: &Headers<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
}

/// The value of a header that may stand there once.
///
/// # Errors
/// `repeated` where it stands there more than once.
pub(super) fn single<'a, E>(
    headers: &Headers<'a>,
    name: &str,
    repeated: E,
) -> Result<Option<&'a [u8]>, E> {
    let mut values = values(headers, name);
    let first = values.next();
    if values.next().is_some() { Err(repeated) } else { Ok(first) }
}

/// The elements of a list header without the empty ones, its lines joined (RFC 9110 §5.3, §5.6.1).
pub(super) fn elements<'a>(headers: &Headers<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    values(headers, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|element| element.trim_ascii())
        .filter(|element| !element.is_empty())
}

/// Whether a list header holds `token`, in any letter case.
pub(super) fn has_element(headers: &Headers<'_>, name: &str, token: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// `value` where it is a token (RFC 9110 §5.6.2).
pub(super) fn token(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok().filter(|text| is_token(text))
}

/// Whether this may be the host of a Host header (RFC 9110 §7.2): not empty, and made of what a host
/// and a port are made of.
pub(super) fn is_host(host: &[u8]) -> bool {
    let of_host =
        |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte);
    host.first().is_some_and(|&first| first != b':') && host.iter().all(of_host)
}

/// Whether this is a target in origin form (RFC 9112 §3.2.1) without what a URL may not hold (§3).
pub(super) fn is_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Whether no two of `names` are equal.
pub(super) fn all_different<T: Ord + Copy>(names: &[T]) -> bool {
    // Sorted, as the peer chooses how many there are.
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

/// Appends a Sec-WebSocket-Extensions header; none where there are none.
pub(super) fn push_extensions(
    head: &mut String,
    extensions: &[Offer<'_>],
) -> Result<(), EncodeError> {
    if extensions.is_empty() {
        return Ok(());
    }
    if extensions.len() > MAX_OFFERS || !extensions.iter().all(Offer::is_legal) {
        return Err(EncodeError::Extension);
    }
    push(head, "Sec-WebSocket-Extensions", &extension::encode(extensions));
    Ok(())
}

/// Appends headers of the application.
pub(super) fn push_extra(head: &mut String, headers: &[(&str, &str)]) -> Result<(), EncodeError> {
    for &(name, value) in headers {
        if !is_token(name) {
            return Err(EncodeError::HeaderName);
        }
        if is_reserved(name) {
            return Err(EncodeError::ReservedHeader);
        }
        // RFC 9110 §5.5: a line end would start a header of its own.
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(EncodeError::HeaderValue);
        }
        push(head, name, value);
    }
    Ok(())
}

/// Appends a header that is known to be legal.
pub(super) fn push(head: &mut String, name: &str, value: &str) {
    head.extend([name, ": ", value, "\r\n"]);
}

fn is_reserved(name: &str) -> bool {
    ["Host", "Connection", "Upgrade", "Content-Length", "Transfer-Encoding"]
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
        || name.get(..SEC.len()).is_some_and(|start| start.eq_ignore_ascii_case(SEC))
}

const SEC: &str = "Sec-WebSocket-";

/// What httparse's `error` means for `head`, which was allowed `max_headers`.
pub(super) fn explain(error: httparse::Error, head: &[u8], max_headers: usize) -> HandshakeError {
    match error {
        httparse::Error::HeaderName => HandshakeError::HeaderName,
        httparse::Error::HeaderValue => HandshakeError::ControlCharacter,
        httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders { max: max_headers },
        // httparse says so too of a target with a space in it.
        httparse::Error::Version if names_a_version(head) => HandshakeError::HttpVersion,
        httparse::Error::Version
        | httparse::Error::Token
        | httparse::Error::NewLine
        | httparse::Error::Status => HandshakeError::FirstLine,
    }
}

/// Whether the first line is three words of which the last is some version of HTTP.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let version = words.nth(2);
    words.next().is_none() && version.is_some_and(|version| version.starts_with(b"HTTP/"))
}
