//! Requests: what the opening handshake said, kept at hand for routes and services.

use std::{borrow::Cow, net::SocketAddr};

use crate::protocol::handshake;

/// An HTTP request as a route sees it: lent while the service is made.
#[derive(Debug)]
pub struct Request<'a> {
    head: &'a handshake::Request<'a>,
    params: Params,
    addr: SocketAddr,
    protocol: Option<&'a str>,
}

/// The parts of a path that a route names, such as `room` in `/chat/{room}`: decoded, in order.
pub type Params = Vec<(String, String)>;

impl<'a> Request<'a> {
    /// Joins what was read with where it came from. For those who route requests.
    pub fn new(
        head: &'a handshake::Request<'a>,
        params: Params,
        addr: SocketAddr,
        protocol: Option<&'a str>,
    ) -> Self {
        Self { head, params, addr, protocol }
    }

    /// The method.
    pub fn method(&self) -> &'a str {
        self.head.method
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &'a str {
        self.head.path
    }

    /// The part of the path that the route calls `name`, decoded.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name` in the query, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The query, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        form_urlencoded::parse(self.head.query.unwrap_or_default().as_bytes())
    }

    /// The first header called `name`, in any letter case, where its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.head.headers.iter().copied()
    }

    /// The peer's address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The subprotocol that was chosen from the route's list, where there is one (§1.9).
    pub fn protocol(&self) -> Option<&'a str> {
        self.protocol
    }
}
