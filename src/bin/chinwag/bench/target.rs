//! Where the load goes: an address of the form `ws://host:port/path?query` (§3).

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use chinwag::protocol::handshake::{ClientRequest, EncodeError};

/// A `ws:` address, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: String,
    /// The host with its port, where one was given: what the Host header says.
    authority: String,
    port: u16,
    /// Path and query.
    resource: String,
}

impl Target {
    /// The addresses that the host has.
    ///
    /// # Errors
    /// The host is not known.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let host = self.authority.strip_suffix(&format!(":{}", self.port));
        let host = host.unwrap_or(&self.authority).trim_matches(['[', ']']);
        let mut found: Vec<_> = (host, self.port).to_socket_addrs()?.collect();
        // Servers that listen on one of the two mostly do so on this one.
        found.sort_by_key(SocketAddr::is_ipv6);
        found.first().copied().ok_or_else(|| io::Error::other("the host has no address"))
    }

    /// What is asked for, with `key` as the nonce.
    pub fn request<'a>(
        &'a self,
        nonce: [u8; 16],
        extensions: &'a [chinwag::protocol::extension::Offer<'a>],
    ) -> ClientRequest<'a> {
        ClientRequest {
            host: &self.authority,
            target: &self.resource,
            nonce,
            protocols: &[],
            extensions,
            headers: &[],
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("an address is ws://HOST:PORT/PATH".into());
        };
        match scheme.to_ascii_lowercase().as_str() {
            "ws" => {}
            "wss" => {
                return Err("TLS is not measured here: take the ws:// address behind it".into());
            }
            _ => return Err(format!("the scheme is ws, not {scheme}")),
        }
        if rest.contains('#') {
            // §3: a fragment has no meaning.
            return Err("an address of a WebSocket has no #fragment".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at(end);
        let resource = match resource.as_bytes().first() {
            Some(b'/') => resource.to_owned(),
            _ => format!("/{resource}"),
        };
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => {
                port.parse().ok().filter(|port| *port != 0).ok_or("the port is no port")?
            }
            _ => 80,
        };
        let target = Self { url: url.to_owned(), authority: authority.to_owned(), port, resource };
        target.request([0; 16], &[]).encode().map_err(|error| match error {
            EncodeError::Host => "the host is no host".to_owned(),
            _ => "the path holds what a path may not: percent-encode it".to_owned(),
        })?;
        Ok(target)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// The address that connection `number` comes from, where `sources` addresses of this machine's
/// loopback network take turns: each has ports of its own.
pub fn source(number: usize, sources: usize) -> Ipv4Addr {
    let turn = (number % sources) as u32;
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + turn)
}

/// Connections that one address has ports for: Linux gives 28,232 of them unless told otherwise.
pub const PORTS: usize = 28_000;

/// Most addresses that connections may come from.
pub const MAX_SOURCES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (url, authority, port, resource) in [
            ("ws://127.0.0.1:8080/echo", "127.0.0.1:8080", 8080, "/echo"),
            ("WS://localhost", "localhost", 80, "/"),
            ("ws://localhost?room=tea", "localhost", 80, "/?room=tea"),
            ("ws://[::1]:9/a?b=c:d/", "[::1]:9", 9, "/a?b=c:d/"),
            ("ws://[::1]/", "[::1]", 80, "/"),
        ] {
            let target: Target = url.parse().expect(url);
            assert_eq!(target.authority, authority, "{url}");
            assert_eq!((target.port, &*target.resource), (port, resource), "{url}");
            assert_eq!(target.resolve().unwrap().port(), port, "{url}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (url, fault) in [
            ("127.0.0.1:8080", "an address is"),
            ("", "an address is"),
            ("http://127.0.0.1/", "the scheme is ws, not http"),
            ("wss://example.org/", "TLS"),
            ("ws:///echo", "host"),
            ("ws://a b/", "host"),
            ("ws://a:b/", "port"),
            ("ws://a:0/", "port"),
            ("ws://a:65536/", "port"),
            ("ws://a/b c", "path"),
            ("ws://a/b\r\nX: y", "path"),
            ("ws://a/#b", "fragment"),
        ] {
            let refused = url.parse::<Target>().expect_err(url);
            assert!(refused.contains(fault), "{url}: {refused}");
        }
    }

    #[test]
    fn sources_take_turns() {
        let seen = [0, 1, 2, 3, 4].map(|number| source(number, 3).to_string());
        assert_eq!(seen, ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.2"]);
        assert_eq!(source(MAX_SOURCES - 1, MAX_SOURCES).to_string(), "127.0.3.232");
    }
}
