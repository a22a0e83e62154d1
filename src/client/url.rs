//! URLs: where a server is found (§3).

use std::fmt;

/// A `ws:` or `wss:` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url<'u> {
    /// Whether the scheme is `wss`.
    pub secure: bool,
    /// The host as it stands there, an IPv6 address in its brackets.
    host: &'u str,
    pub port: u16,
    /// Path and query, as a request has them.
    pub target: String,
}

impl<'u> Url<'u> {
    /// Reads a URL. Whether host and target hold only what they may, the request's encoder says.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(url: &'u str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match () {
            () if scheme.eq_ignore_ascii_case("ws") => false,
            () if scheme.eq_ignore_ascii_case("wss") => true,
            () => return Err(UrlError::Scheme),
        };
        // §3: a fragment has no meaning here, and a number sign in a path is written %23.
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // §3 has none, and what is typed where others can read it is no secret any more.
        if authority.contains('@') {
            return Err(UrlError::Userinfo);
        }
        let default_port = if secure { 443 } else { 80 };
        // The colons of an address stand in its brackets.
        let host_end = authority.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority[host_end..].find(':') {
            Some(colon) => {
                let (host, port) = authority.split_at(host_end + colon);
                (host, parse_port(&port[1..])?)
            }
            None => (authority, default_port),
        };
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        // §3: an empty path is "/".
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { secure, host, port, target: format!("{slash}{target}") })
    }

    /// What to look up or connect to: a name or an address.
    pub fn host(&self) -> &'u str {
        let inner = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.unwrap_or(self.host)
    }

    /// The value of the Host header: the port stands there unless it is the scheme's own (§4.1).
    pub fn authority(&self) -> String {
        match (self.secure, self.port) {
            (false, 80) | (true, 443) => self.host.to_owned(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    // `u16` would take a plus sign too, and nobody listens on port 0.
    match digits.parse() {
        Ok(port @ 1..) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(UrlError::Port),
    }
}

/// A URL that names no WebSocket (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// It does not start with `ws://` or `wss://`.
    Scheme,
    /// It has a fragment, which a WebSocket URL may not.
    Fragment,
    /// It has a user's name before the host.
    Userinfo,
    /// There is no host.
    Host,
    /// The port is none of 1 to 65,535.
    Port,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the URL does not start with ws:// or wss://",
            Self::Fragment => "the URL has a fragment; in a path, # is written %23",
            Self::Userinfo => "the URL has a user's name in it; give an Authorization header",
            Self::Host => "the URL has no host",
            Self::Port => "the port in the URL is none of 1 to 65535",
        })
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_connect_and_what_to_ask_for() {
        for (url, host, port, authority, target) in [
            ("ws://example.org", "example.org", 80, "example.org", "/"),
            ("ws://example.org/", "example.org", 80, "example.org", "/"),
            ("WS://example.org:8080/chat", "example.org", 8080, "example.org:8080", "/chat"),
            ("ws://example.org:80/a?b=c?d", "example.org", 80, "example.org", "/a?b=c?d"),
            ("ws://example.org?q", "example.org", 80, "example.org", "/?q"),
            ("ws://a?b/c:9", "a", 80, "a", "/?b/c:9"),
            ("ws://a/b@c", "a", 80, "a", "/b@c"),
            ("ws://[::1]", "::1", 80, "[::1]", "/"),
            ("ws://[2001:db8::7]:9001/x", "2001:db8::7", 9001, "[2001:db8::7]:9001", "/x"),
            ("wss://example.org", "example.org", 443, "example.org", "/"),
            ("wss://example.org:80/", "example.org", 80, "example.org:80", "/"),
            ("ws://127.0.0.1:00080/", "127.0.0.1", 80, "127.0.0.1", "/"),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(parsed.secure, url.starts_with("wss"), "{url}");
            assert_eq!((parsed.host(), parsed.port), (host, port), "{url}");
            assert_eq!(
                (parsed.authority(), parsed.target.as_str()),
                (authority.into(), target),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for (url, error) in [
            ("", UrlError::Scheme),
            ("example.org", UrlError::Scheme),
            ("ws:example.org", UrlError::Scheme),
            ("http://example.org", UrlError::Scheme),
            (" ws://example.org", UrlError::Scheme),
            ("ws://a/#b", UrlError::Fragment),
            ("ws://a#", UrlError::Fragment),
            ("ws://me@a/", UrlError::Userinfo),
            ("ws://me:secret@a/", UrlError::Userinfo),
            ("ws://", UrlError::Host),
            ("ws:///chat", UrlError::Host),
            ("ws://:80/", UrlError::Host),
            ("ws://a:/", UrlError::Port),
            ("ws://a:0", UrlError::Port),
            ("ws://a:65536", UrlError::Port),
            ("ws://a:+80", UrlError::Port),
            ("ws://a:b:c", UrlError::Port),
            ("ws://::1/", UrlError::Port),
        ] {
            assert_eq!(Url::parse(url), Err(error), "{url}");
        }
    }
}
