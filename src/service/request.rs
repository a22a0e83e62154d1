//! Requests: what the opening handshake said, kept at hand for routes, services and sessions.
//!
//! A [`Request`] is a view: of a head while a route decides, of an [`OwnedRequest`] for as long as
//! somebody keeps one.

use std::{borrow::Cow, fmt, net::SocketAddr, slice};

use crate::protocol::handshake;

/// An HTTP request: lent to a route while it decides, and to whoever keeps an [`OwnedRequest`].
pub struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    protocol: Option<&'a str>,
    params: Params<'a>,
    headers: Headers<'a>,
    addr: SocketAddr,
}

/// A part of a path that a route names, such as `room` in `/chat/{room}`: its name, and what stood
/// there, decoded.
pub type Param<'a> = (&'a str, Cow<'a, str>);

impl<'a> Request<'a> {
    /// Joins what was read with where it came from. For those who route requests.
    pub fn new(
        head: &'a handshake::Request<'a>,
        params: &'a [Param<'a>],
        addr: SocketAddr,
        protocol: Option<&'a str>,
    ) -> Self {
        Self {
            method: head.method,
            path: head.path,
            query: head.query,
            protocol,
            params: Params(Pairs::Lent(params.iter())),
            headers: Headers(Pairs::Lent(head.headers.iter())),
            addr,
        }
    }

    /// The request as something to keep.
    pub fn to_owned(&self) -> OwnedRequest {
        let mut packed = Vec::new();
        let texts = [Some(self.method), Some(self.path), self.query, self.protocol];
        for text in texts {
            pack(&mut packed, text.map(str::as_bytes));
        }
        let mut params = Vec::new();
        for (name, value) in self.params() {
            pack(&mut params, Some(name.as_bytes()));
            pack(&mut params, Some(value.as_bytes()));
        }
        pack(&mut packed, Some(&params));
        for (name, value) in self.headers() {
            pack(&mut packed, Some(name.as_bytes()));
            pack(&mut packed, Some(value));
        }
        OwnedRequest { packed: packed.into(), addr: self.addr }
    }

    /// The method.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The part of the path that the route calls `name`, decoded.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All parts of the path that the route names, decoded, in their order.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.params.clone()
    }

    /// The first value of `name` in the query, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The query, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        form_urlencoded::parse(self.query.unwrap_or_default().as_bytes())
    }

    /// The first header called `name`, in any letter case, where its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// All headers in their order.
    pub fn headers(&self) -> Headers<'a> {
        self.headers.clone()
    }

    /// The first cookie called `name`, letter case and all: of several, browsers send the one for the
    /// longest path first (RFC 6265 §5.4).
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All cookies in their order: names and values as they were sent, without the quotes that may
    /// stand around a value (RFC 6265 §4.2.1).
    ///
    /// What is no cookie is passed over: a piece without `=` or without a name, and one that is not
    /// UTF-8. They are read where they stand, so nothing but the bounds of a head bounds them.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        // Choice: more than one Cookie header is read, though RFC 6265 §5.4 has browsers send one: who
        // carries a request over from HTTP/2 may leave them apart (RFC 9113 §8.2.3).
        self.headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("Cookie"))
            .flat_map(|(_, value)| value.split(|&byte| byte == b';'))
            .filter_map(cookie_pair)
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

impl fmt::Debug for Request<'_> {
    /// Leaves out what may hold secrets: the query and the headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// The cookie in one piece of a Cookie header, which stood between two semicolons.
fn cookie_pair(piece: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = str::from_utf8(piece).ok()?.split_once('=')?;
    let (name, value) = (name.trim_ascii(), value.trim_ascii());
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    (!name.is_empty()).then_some((name, quoted.unwrap_or(value)))
}

/// A request to keep, in one piece of memory little larger than its head was.
///
/// ```
/// use chinwag::{OwnedRequest, Peer, Request, Router, Service};
///
/// struct Guest(OwnedRequest);
///
/// impl Service for Guest {
///     fn opened(&mut self, peer: &mut Peer<'_>) {
///         let browser = self.0.as_request().header("User-Agent").unwrap_or("a program");
///         peer.send(format!("You came with {browser}")).ok();
///     }
/// }
///
/// let router = Router::new().service("/", |request: &Request<'_>| Guest(request.to_owned()));
/// # router.build(Default::default()).unwrap();
/// ```
#[derive(Clone)]
pub struct OwnedRequest {
    /// Method, path, query and subprotocol; the params in one piece; names and values of the headers.
    packed: Box<[u8]>,
    addr: SocketAddr,
}

impl OwnedRequest {
    /// The request, to look into; nothing is copied.
    pub fn as_request(&self) -> Request<'_> {
        let mut pieces = Pieces(&self.packed);
        let (method, path) = (pieces.text(), pieces.text());
        let (query, protocol) = (pieces.text(), pieces.text());
        let params = Pieces(pieces.next().unwrap_or_default());
        Request {
            method: method.unwrap_or_default(),
            path: path.unwrap_or_default(),
            query,
            protocol,
            params: Params(Pairs::Packed(params)),
            headers: Headers(Pairs::Packed(pieces)),
            addr: self.addr,
        }
    }
}

impl fmt::Debug for OwnedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_request().fmt(f)
    }
}

/// The headers of a request, in their order: names as they came, values without the white space
/// around them.
#[derive(Clone)]
pub struct Headers<'a>(Pairs<'a, (&'a str, &'a [u8])>);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Pairs::Lent(headers) => headers.next().copied(),
            Pairs::Packed(pieces) => Some((pieces.text()?, pieces.next()?)),
        }
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|(name, _)| name)).finish()
    }
}

/// The named parts of a path, in their order.
#[derive(Clone)]
struct Params<'a>(Pairs<'a, Param<'a>>);

impl<'a> Iterator for Params<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Pairs::Lent(params) => params.next().map(|(name, value)| (*name, &**value)),
            Pairs::Packed(pieces) => Some((pieces.text()?, pieces.text()?)),
        }
    }
}

/// Names and values that are left to walk over.
#[derive(Clone)]
enum Pairs<'a, T> {
    Lent(slice::Iter<'a, T>),
    Packed(Pieces<'a>),
}

/// What [`pack`] has put together, from the front.
#[derive(Clone)]
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    /// The next piece; `None` where there is none or nothing is left.
    fn next(&mut self) -> Option<&'a [u8]> {
        let (mut number, mut shift) = (0, 0);
        while let Some(byte) = self.0.split_off_first() {
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if *byte < 0x80 {
                break;
            }
        }
        self.0.split_off(..number.checked_sub(1)?)
    }

    /// The next piece, which was packed from text.
    fn text(&mut self) -> Option<&'a str> {
        self.next().map(|piece| str::from_utf8(piece).expect("it was packed from text"))
    }
}

/// Appends a piece with its length and one before it, seven bits a byte, the lowest first; a zero
/// stands for no piece. Most pieces of a request are shorter than 127 bytes.
fn pack(packed: &mut Vec<u8>, piece: Option<&[u8]>) {
    let mut number = piece.map_or(0, |piece| piece.len() + 1);
    while number >= 0x80 {
        packed.push(number as u8 | 0x80);
        number >>= 7;
    }
    packed.push(number as u8);
    packed.extend_from_slice(piece.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4242);

    fn head<'a>(headers: &[(&'a str, &'a [u8])]) -> handshake::Request<'a> {
        let (path, query) = ("/te%61", Some("a=b+c&%C3%A9=1"));
        handshake::Request { method: "GET", path, query, headers: headers.to_vec() }
    }

    /// Everything that a request tells.
    fn told(request: &Request<'_>) -> impl PartialEq + fmt::Debug {
        (
            [request.method(), request.path()].map(String::from),
            request.protocol().map(String::from),
            request.params().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            request
                .query_pairs()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>(),
            request
                .headers()
                .map(|(name, value)| (name.to_string(), value.to_vec()))
                .collect::<Vec<_>>(),
            request.addr(),
        )
    }

    #[test]
    fn a_request_that_is_kept_tells_the_same() {
        let long = vec![b'x'; 70_000];
        let edges: Vec<Vec<u8>> = [0, 1, 126, 127, 128, 16_382, 16_383, 16_384]
            .iter()
            .map(|&len| vec![b'y'; len])
            .collect();
        let mut headers: Vec<(&str, &[u8])> =
            vec![("Host", b"a"), ("X-Latin", b"caf\xe9"), ("Empty", b""), ("Long", &long)];
        headers.extend(edges.iter().map(|value| ("Edge", &**value)));
        let params = [("room", Cow::Borrowed("tea")), ("rest", Cow::Owned("caf\u{e9}".into()))];
        for headers in [&[][..], &headers] {
            for params in [&[][..], &params] {
                for protocol in [None, Some("v1")] {
                    for query in [None, Some(""), Some("a=b")] {
                        let head = handshake::Request { query, ..head(headers) };
                        let request = Request::new(&head, params, ADDR, protocol);
                        let kept = request.to_owned();
                        let view = kept.as_request();
                        assert_eq!(told(&view), told(&request));
                        assert_eq!(told(&view.to_owned().as_request()), told(&request));
                        let names = [view.param("room"), view.header("HOST"), view.header("x")];
                        let lent =
                            [request.param("room"), request.header("host"), request.header("X")];
                        assert_eq!(names, lent);
                    }
                }
            }
        }
    }

    #[test]
    fn a_request_that_is_kept_takes_little_more_than_its_head() {
        let headers: Vec<(&str, &[u8])> = vec![("Header", &[b'x'; 100]); 100];
        let head = head(&headers);
        let text = head.path.len() + head.query.unwrap().len() + 100 * ("Header".len() + 100);
        let kept = Request::new(&head, &[], ADDR, None).to_owned();
        assert!(kept.packed.len() < text + 2 * 100 + 16, "{} for {text}", kept.packed.len());
        assert!(size_of::<OwnedRequest>() <= 48);
    }

    #[test]
    fn a_request_says_no_secrets_in_a_log() {
        let head = head(&[("Cookie", b"id=secret")]);
        let request = Request::new(&head, &[], ADDR, None);
        for text in [
            format!("{request:?}"),
            format!("{:?}", request.to_owned()),
            format!("{:?}", request.headers()),
        ] {
            assert!(!text.contains("secret") && !text.contains("b+c"), "{text}");
        }
    }

    #[test]
    fn cookies_are_read_as_they_were_sent() {
        for (name, values, cookies) in [
            ("none", &[][..], &[][..]),
            ("one, RFC 6265 §3.1", &["SID=31d4d96e407aad42"], &[("SID", "31d4d96e407aad42")]),
            ("two", &["SID=31d4; lang=en-US"], &[("SID", "31d4"), ("lang", "en-US")]),
            ("no spaces", &["a=1;b=2"], &[("a", "1"), ("b", "2")]),
            ("spaces", &[" a = 1 ;\t b\t=2 "], &[("a", "1"), ("b", "2")]),
            ("two headers", &["a=1", "b=2"], &[("a", "1"), ("b", "2")]),
            ("one name twice", &["a=1; a=2"], &[("a", "1"), ("a", "2")]),
            ("quotes", &["a=\"1 2\"; b=\"\""], &[("a", "1 2"), ("b", "")]),
            (
                "half a pair of quotes",
                &["a=\"1; b=2\"; c=\""],
                &[("a", "\"1"), ("b", "2\""), ("c", "\"")],
            ),
            ("empty value", &["a="], &[("a", "")]),
            ("equals signs in a value", &["a=b=c=="], &[("a", "b=c==")]),
            ("letter case", &["A=1; a=2"], &[("A", "1"), ("a", "2")]),
            ("encoded", &["a=%41"], &[("a", "%41")]),
            ("beyond ASCII", &["caf\u{e9}=\u{e9}"], &[("caf\u{e9}", "\u{e9}")]),
            ("what is none", &["; =1; flag ;;a=1;"], &[("a", "1")]),
            ("empty", &[""], &[]),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("cookie", value.as_bytes())).collect();
            let head = head(&headers);
            let request = Request::new(&head, &[], ADDR, None);
            assert_eq!(request.cookies().collect::<Vec<_>>(), cookies, "{name}");
            let kept = request.to_owned();
            assert_eq!(kept.as_request().cookies().collect::<Vec<_>>(), cookies, "{name}");
        }
    }

    #[test]
    fn a_cookie_that_is_no_text_hides_no_other() {
        let head = head(&[("Cookie", b"a=\xff; b=2; b=3"), ("X-Cookie", b"c=4")]);
        let request = Request::new(&head, &[], ADDR, None);
        assert_eq!(["a", "b", "c"].map(|name| request.cookie(name)), [None, Some("2"), None]);
    }
}
