//! Headers: what both sides look up in them, and how they are written (RFC 9110 §5).

// A number with a grammar: `core` has it, as it needs no network.
use core::net::Ipv6Addr;

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

/// Whether this may be the value of a Host header (RFC 9110 §7.2): a host, and maybe a port.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().position(|&byte| byte == b']') {
        // The colons of an address stand in its brackets.
        Some(bracket) => value.split_at(bracket + 1),
        None => value.split_at(value.iter().position(|&byte| byte == b':').unwrap_or(value.len())),
    };
    let is_legal = match host {
        [b'[', address @ .., b']'] => is_address(address),
        name => is_host_name(name),
    };
    is_legal && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// Whether this is an address as it stands in brackets (RFC 3986 §3.2.2): IPv6, or of a version to come.
fn is_address(address: &[u8]) -> bool {
    if let [b'v' | b'V', versioned @ ..] = address {
        let mut halves = versioned.splitn(2, |&byte| byte == b'.');
        let version = halves.next().unwrap_or_default();
        let rest = halves.next().unwrap_or_default();
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !rest.is_empty()
            && rest.iter().all(|&byte| byte == b':' || is_host_byte(byte));
    }
    str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether this is a name or an IPv4 address (RFC 3986 §3.2.2), and not empty (RFC 9110 §4.2.1).
fn is_host_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        // RFC 3986 §2.1: two digits follow a percent sign.
        let mut is_digit = || bytes.next().is_some_and(u8::is_ascii_hexdigit);
        let is_legal = if byte == b'%' { is_digit() && is_digit() } else { is_host_byte(byte) };
        if !is_legal {
            return false;
        }
    }
    !name.is_empty()
}

/// Whether `byte` stands for itself in a host (RFC 3986 §2.2, §2.3).
///
/// Choice: a comma does not, though RFC 3986 has it. No host has one in its name, and between two
/// hosts it is what a proxy makes of two Host headers (RFC 9110 §5.3), which RFC 9112 §3.2 refuses.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

/// Whether these are the digits behind a colon (RFC 3986 §3.2.3), which may be none.
fn is_port(digits: &[u8]) -> bool {
    // `u16` would take a plus sign too.
    digits.iter().all(u8::is_ascii_digit)
        && str::from_utf8(digits)
            .is_ok_and(|digits| digits.is_empty() || digits.parse::<u16>().is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_header_is_a_host_and_maybe_a_port() {
        for host in [
            "a",
            "example.com",
            "example.com.",
            "EXAMPLE.com:8080",
            "a:",
            "a:0",
            "a:65535",
            "a:00080",
            "127.0.0.1:80",
            "my_service",
            "caf%C3%A9.example",
            "caf%c3%a9",
            "a!$&'()*+;=~-b",
            "[::]",
            "[::1]:8080",
            "[::1]:",
            "[2001:DB8::8:800:200C:417A]",
            "[1:2:3:4:5:6:7:8]",
            "[::ffff:192.0.2.1]",
            "[v1.fe80::a+en1]",
            "[VF.x]:80",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for value in [
            "",
            ":",
            ":80",
            "a,b",
            "a, b",
            "a b",
            "a/b",
            "a?",
            "a#b",
            "user@a",
            "a\\b",
            "a\"",
            "<a>",
            "caf\u{e9}",
            // Ports.
            "a:b",
            "a:b:c",
            "a:80:80",
            "a:65536",
            "a:99999",
            "a:99999999999999999999",
            "a:+80",
            "a:-1",
            "a: 80",
            "[::1]:x",
            "[::1]:65536",
            // Percent signs.
            "%",
            "%4",
            "%4g",
            "%g4",
            "a%",
            "a%:80",
            "%%41",
            // Brackets.
            "[",
            "]",
            "[]",
            "[]:80",
            "]x",
            "[::1",
            "::1]",
            "::1",
            "[::1]]",
            "[[::1]]",
            "[::1]80",
            "[::1]a:80",
            "a[::1]",
            "[a]",
            "[127.0.0.1]",
            "[1:2:3:4:5:6:7]",
            "[1:2:3:4:5:6:7:8:9]",
            "[1::2::3]",
            "[12345::]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[v]",
            "[v1]",
            "[v1.]",
            "[v.a]",
            "[vg.a]",
            "[v1.a/b]",
            "[v1.a,b]",
            "[v1.%41]",
        ] {
            assert!(!is_host(value.as_bytes()), "{value:?}");
        }
        assert!(!is_host(b"caf\xe9"));
        assert!(!is_host(b"[\xff]"));
    }
}
