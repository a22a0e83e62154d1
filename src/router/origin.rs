//! Origins: whose pages may connect (§10.2, RFC 6454).
//!
//! A browser names the page that asks in the Origin header; other clients need not send one, and could
//! send any.

use std::{fmt, str::FromStr};

use crate::protocol::handshake;

/// Whose pages may open a WebSocket. A request without an Origin header comes from no page and is
/// always let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of the host that the Host header names: this server's own, if nothing in between changes
    /// that header. Ports count; http and https do not differ, as TLS may end in front of the server.
    ///
    /// Host itself is not checked. Whoever owns a name may point it at this server (DNS rebinding);
    /// a page under that name is then of the same host, and [`List`](Self::List) lets it in too. A
    /// server that trusts whoever can reach it, such as one on a private network, compares the Host
    /// header with its own names in the closure of a route, or leaves that to a proxy in front.
    #[default]
    SameHost,
    /// Pages of these origins, and of the same host.
    List(Vec<Origin>),
    /// All pages of the world. Cookies then prove nothing.
    Any,
}

impl Origins {
    /// [`Origins::List`] from texts such as `https://example.com`.
    ///
    /// # Errors
    /// [`OriginError`] for the first one that is no origin.
    pub fn list<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, OriginError> {
        origins.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self::List)
    }

    /// Whether whoever sent this request is let in.
    pub(super) fn welcome(&self, head: &handshake::Request<'_>) -> bool {
        let allowed = match self {
            Self::Any => return true,
            Self::SameHost => &[][..],
            Self::List(allowed) => allowed,
        };
        let mut values = head.values("Origin");
        let Some(value) = values.next() else { return true };
        // What is none, such as "null", and what is repeated is foreign to everybody.
        let origin = str::from_utf8(value).ok().and_then(|text| text.parse::<Origin>().ok());
        values.next().is_none()
            && origin
                .is_some_and(|origin| allowed.contains(&origin) || origin.is_of_host(head.host()))
    }
}

/// An origin: scheme, host and port, as browsers write it: `https://example.com`,
/// `http://localhost:3000` (RFC 6454 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    authority: Authority,
}

/// A host and a port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: String,
    /// `None` for the default port of the scheme.
    port: Option<u16>,
}

impl Origin {
    /// Whether this is a web page's origin, of the host and port that a Host header names. What has
    /// another scheme, such as an extension, is not of a host, whatever stands where that would be.
    fn is_of_host(&self, host: &[u8]) -> bool {
        matches!(&*self.scheme, "http" | "https")
            && str::from_utf8(host).is_ok_and(|host| {
                Authority::parse(host, &self.scheme).as_ref() == Ok(&self.authority)
            })
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        match &*scheme {
            "ws" | "wss" => Err(OriginError::WebSocketScheme),
            _ if !is_scheme => Err(OriginError::Scheme),
            _ if rest.contains('*') => Err(OriginError::Pattern),
            _ if rest.contains(['/', '?', '#']) => Err(OriginError::Path),
            _ => Ok(Self { authority: Authority::parse(rest, &scheme)?, scheme }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority.host)?;
        self.authority.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Authority {
    fn parse(text: &str, scheme: &str) -> Result<Self, OriginError> {
        // The colons of an IPv6 address stand in brackets.
        let host_len = match text.find(']') {
            Some(bracket) => bracket + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_len);
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            }
        };
        if !is_host {
            return Err(OriginError::Host);
        }
        let default = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| OriginError::Port)?)
            }
            None if port.is_empty() => None,
            _ => return Err(OriginError::Port),
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: port.filter(|&port| Some(port) != default),
        })
    }
}

/// A text that is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginError {
    /// There is no scheme in front.
    Scheme,
    /// The scheme is that of a WebSocket.
    WebSocketScheme,
    /// It holds a `*`.
    Pattern,
    /// Something stands behind the host and the port, if only a slash.
    Path,
    /// The host is empty or holds what a host may not.
    Host,
    /// The port is no number up to 65535.
    Port,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "an origin starts with its scheme, as in https://example.com",
            Self::WebSocketScheme => {
                "an origin is that of a page: it starts with http:// or https://, not ws:// or wss://"
            }
            Self::Pattern => "an origin is not a pattern: name each one",
            Self::Path => "nothing stands behind the host and port of an origin, not even a slash",
            Self::Host => "the host of an origin is empty, or holds what a host may not",
            Self::Port => "the port of an origin is a number up to 65535",
        })
    }
}

impl std::error::Error for OriginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_written() {
        for (text, written) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://xn--caf-dma.example", "https://xn--caf-dma.example"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), written, "{text}");
            assert_eq!(written.parse(), Ok(origin), "{text}");
        }
    }

    #[test]
    fn a_typo_is_an_error_and_no_opening() {
        for (text, error) in [
            ("", OriginError::Scheme),
            ("*", OriginError::Scheme),
            ("null", OriginError::Scheme),
            ("example.com", OriginError::Scheme),
            ("https:/example.com", OriginError::Scheme),
            ("://example.com", OriginError::Scheme),
            (" https://example.com", OriginError::Scheme),
            ("http://a,https://b", OriginError::Path),
            ("wss://example.com", OriginError::WebSocketScheme),
            ("https://*.example.com", OriginError::Pattern),
            ("https://example.com/", OriginError::Path),
            ("https://example.com/chat", OriginError::Path),
            ("https://example.com?x", OriginError::Path),
            ("https://", OriginError::Host),
            ("https://:80", OriginError::Host),
            ("https://a b", OriginError::Host),
            ("https://user@example.com", OriginError::Host),
            ("https://caf\u{e9}.example", OriginError::Host),
            ("https://[::1", OriginError::Host),
            ("https://::1", OriginError::Host),
            ("https://[]", OriginError::Host),
            ("https://x]", OriginError::Host),
            ("https://example.com:", OriginError::Port),
            ("https://example.com:+1", OriginError::Port),
            ("https://example.com:65536", OriginError::Port),
            ("https://[::1]3000", OriginError::Port),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text:?}");
        }
    }
}
