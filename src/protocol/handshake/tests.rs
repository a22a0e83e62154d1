//! The opening handshake by table, each head fed at every cut.

use proptest::prelude::*;

use super::*;
use crate::protocol::{
    extension::{Offer, Param},
    limits::Limits,
};

/// The example of §1.3, with the order of §4.1.
const EXAMPLE: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

/// The example with the line that starts with `line` replaced; by nothing where `with` is empty.
fn example_with(line: &str, with: &str) -> String {
    let mut found = false;
    let mut head = String::new();
    for old in EXAMPLE.trim_end().split("\r\n") {
        if old.starts_with(line) {
            found = true;
            if !with.is_empty() {
                head += &format!("{with}\r\n");
            }
        } else {
            head += &format!("{old}\r\n");
        }
    }
    assert!(found, "the example has no {line}");
    head + "\r\n"
}

/// The example with one more header line.
fn example_and(line: &str) -> String {
    EXAMPLE.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"))
}

/// The head that these bytes are.
fn whole(bytes: &[u8]) -> Head<'_> {
    Head::read(bytes, &Limits::default()).unwrap()
}

/// A head, and what stands behind it; `None` where it has no end.
type Read = Result<Option<(Vec<u8>, Vec<u8>)>, HandshakeError>;

/// What a reader makes of `pieces`, one after the other: the head, and what it left of the rest.
fn read_pieces(pieces: &[&[u8]], limits: &Limits) -> Read {
    let mut reader = HeadReader::default();
    for (at, piece) in pieces.iter().enumerate() {
        let mut piece = piece.to_vec();
        let mut input = piece.as_mut_slice();
        if let Some(head) = reader.read(&mut input, limits)? {
            assert!(!reader.has_begun());
            let rest = [&*input, &pieces[at + 1..].concat()].concat();
            return Ok(Some((head.as_bytes().to_vec(), rest)));
        }
        assert!(input.is_empty(), "all is taken where more is needed");
    }
    Ok(None)
}

/// What a reader makes of `wire`; the same whole, byte by byte and in two pieces at each offset.
fn read(wire: &[u8], limits: &Limits) -> Read {
    let whole = read_pieces(&[wire], limits);
    assert_eq!(read_pieces(&wire.chunks(1).collect::<Vec<_>>(), limits), whole, "byte by byte");
    for cut in 0..=wire.len() {
        let (first, second) = wire.split_at(cut);
        assert_eq!(read_pieces(&[first, second], limits), whole, "cut at {cut}");
    }
    whole
}

/// What a server makes of `wire`: read at every cut, then parsed, then upgraded.
fn outcome(wire: &str, limits: &Limits) -> Result<bool, HandshakeError> {
    let head = match read(wire.as_bytes(), limits) {
        Ok(head) => head.ok_or(HandshakeError::Unfinished)?.0,
        Err(error) => {
            // Whoever has the bytes at once and reads them without a reader gets the same.
            assert_eq!(Head::read(wire.as_bytes(), limits), Err(error));
            return Err(error);
        }
    };
    Request::parse(&Head::read(&head, limits)?, limits)?.upgrade().map(|upgrade| upgrade.is_some())
}

#[test]
fn the_example_of_the_rfc_is_read_and_answered() {
    let limits = Limits::default();
    let (head, rest) = read(EXAMPLE.as_bytes(), &limits).unwrap().unwrap();
    assert_eq!((&*head, &*rest), (EXAMPLE.as_bytes(), &[][..]));
    let head = whole(&head);
    let request = Request::parse(&head, &limits).unwrap();
    assert_eq!((request.method, request.path, request.query), ("GET", "/chat", None));
    assert_eq!(request.host(), b"server.example.com");
    let upgrade = request.upgrade().unwrap().unwrap();
    assert_eq!(upgrade.key, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.protocols, ["chat", "superchat"]);
    assert_eq!(upgrade.extensions, []);
    let protocol = upgrade.choose_protocol(&["chat"]);
    let response = ServerResponse { key: upgrade.key, protocol, extensions: &[], headers: &[] };
    assert_eq!(
        String::from_utf8(response.encode().unwrap()).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

#[test]
fn upgrades_that_look_unusual_are_taken() {
    for (name, wire) in [
        (
            "lower-case names",
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n{}\r\n\
                 sec-websocket-version: 13\r\n\r\n",
                KEY.replace("Sec-WebSocket-Key", "sec-websocket-key")
            ),
        ),
        ("upper-case names", example_with("Upgrade", "UPGRADE: WebSocket")),
        (
            "list of connection options",
            example_with("Connection", "Connection: keep-alive, Upgrade"),
        ),
        (
            "list without space, lower case",
            example_with("Connection", "connection: keep-alive,upgrade"),
        ),
        (
            "two Connection headers",
            example_with("Connection", "Connection: keep-alive\r\nConnection: Upgrade"),
        ),
        ("list of upgrades", example_with("Upgrade", "Upgrade: h2c, websocket")),
        ("empty elements", example_with("Connection", "Connection: , ,Upgrade,")),
        ("no space behind the colon", example_with("Upgrade", "Upgrade:websocket")),
        ("tabs around the value", example_with("Upgrade", "Upgrade:\t websocket \t")),
        ("Content-Type", example_and("Content-Type: text/plain")),
        ("empty body announced", example_and("Content-Length: 0")),
        ("query", example_with("GET", "GET /chat?room=tea&x=%20? HTTP/1.1")),
        ("no Origin", example_with("Origin", "")),
        ("no subprotocol", example_with("Sec-WebSocket-Protocol", "")),
        ("two lines of subprotocols", example_and("Sec-WebSocket-Protocol: third")),
        (
            "two lines of extensions",
            example_and("Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b; c"),
        ),
        ("value beyond ASCII", example_and("X-Name: \u{e9}")),
        ("empty value", example_and("X-Empty:")),
        ("IPv6 host", example_with("Host", "Host: [::1]:8080")),
    ] {
        assert_eq!(outcome(&wire, &Limits::default()), Ok(true), "{name}\n{wire}");
    }
}

#[test]
fn requests_for_no_websocket_are_none() {
    for (name, wire) in [
        ("page", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_string()),
        ("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_string()),
        ("form", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".to_string()),
        ("HTTP/2 over plain text", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n".to_string()),
    ] {
        assert_eq!(outcome(&wire, &Limits::default()), Ok(false), "{name}");
    }
}

#[test]
fn heads_that_break_a_rule_are_refused() {
    use HandshakeError::*;
    for (name, wire, error) in [
        // The first line.
        ("TLS", "\u{16}\u{3}\u{1}\u{2}".to_string(), Tls),
        ("empty line in front", format!("\r\n{EXAMPLE}"), FirstLine),
        ("space in front", format!(" {EXAMPLE}"), FirstLine),
        ("nothing but frames", "\u{1}Hello".into(), FirstLine),
        ("no target", example_with("GET", "GET HTTP/1.1"), FirstLine),
        ("two spaces", example_with("GET", "GET  /chat HTTP/1.1"), FirstLine),
        ("space in the target", example_with("GET", "GET /ch at HTTP/1.1"), FirstLine),
        ("tab for space", example_with("GET", "GET\t/chat HTTP/1.1"), FirstLine),
        ("space behind", example_with("GET", "GET /chat HTTP/1.1 "), FirstLine),
        ("no version", example_with("GET", "GET /chat"), FirstLine),
        ("no HTTP", example_with("GET", "GET /chat FTP/1.1"), FirstLine),
        ("bad method", example_with("GET", "G(T /chat HTTP/1.1"), FirstLine),
        ("HTTP/1.0", example_with("GET", "GET /chat HTTP/1.0"), HttpVersion),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), HttpVersion),
        ("absolute form", example_with("GET", "GET http://a/chat HTTP/1.1"), AbsoluteTarget),
        ("asterisk form", example_with("GET", "OPTIONS * HTTP/1.1"), Target),
        ("authority form", example_with("GET", "CONNECT a:80 HTTP/1.1"), Target),
        ("no slash", example_with("GET", "GET chat HTTP/1.1"), Target),
        ("fragment", example_with("GET", "GET /chat#top HTTP/1.1"), Target),
        ("target beyond ASCII", example_with("GET", "GET /caf\u{e9} HTTP/1.1"), Target),
        // Lines.
        ("line feeds", EXAMPLE.replace("\r\n", "\n"), BareLineFeed),
        ("one line feed", EXAMPLE.replace("websocket\r\n", "websocket\n"), BareLineFeed),
        ("line feed for the empty line", EXAMPLE.replace("\r\n\r\n", "\r\n\n"), BareLineFeed),
        ("bare carriage return", example_and("X: a\rb"), BareCarriageReturn),
        ("two carriage returns", example_and("X: a\r"), BareCarriageReturn),
        ("NUL", example_and("X: a\0b"), ControlCharacter),
        ("NUL in the target", example_with("GET", "GET /\0 HTTP/1.1"), ControlCharacter),
        ("delete", example_and("X: a\x7fb"), ControlCharacter),
        ("escape", example_and("X: \x1b[2J"), ControlCharacter),
        ("folded with space", example_and("X: a\r\n b"), Folded),
        ("folded with tab", example_and("X: a\r\n\tb"), Folded),
        ("folded first header", example_with("Host", " Host: a"), Folded),
        ("space before the colon", example_and("X : a"), HeaderName),
        ("no colon", example_and("X"), HeaderName),
        ("no name", example_and(": a"), HeaderName),
        ("name beyond ASCII", example_and("X\u{e9}: a"), HeaderName),
        ("no end", EXAMPLE.trim_end().into(), Unfinished),
        ("nothing", String::new(), Unfinished),
        // Headers of HTTP.
        ("no Host", example_with("Host", ""), NoHost),
        ("two Hosts", example_and("host: server.example.com"), RepeatedHost),
        ("empty Host", example_with("Host", "Host:"), InvalidHost),
        ("port for a Host", example_with("Host", "Host: :80"), InvalidHost),
        ("URL for a Host", example_with("Host", "Host: http://a/"), InvalidHost),
        ("two hosts in one", example_with("Host", "Host: a b"), InvalidHost),
        ("two hosts, joined", example_with("Host", "Host: a,b"), InvalidHost),
        ("port beyond 16 bits", example_with("Host", "Host: a:99999"), InvalidHost),
        ("open bracket for a Host", example_with("Host", "Host: [::1"), InvalidHost),
        ("body", example_and("Content-Length: 5"), Body),
        ("chunked body", example_and("Transfer-Encoding: chunked"), Body),
        ("no length", example_and("Content-Length:"), ContentLength),
        ("negative length", example_and("Content-Length: -1"), ContentLength),
        ("length with a plus", example_and("Content-Length: +0"), ContentLength),
        ("list of lengths", example_and("Content-Length: 0, 0"), ContentLength),
        ("two lengths", example_and("Content-Length: 0\r\nContent-Length: 0"), ContentLength),
        (
            "length beyond 64 bits",
            example_and("Content-Length: 18446744073709551616"),
            ContentLength,
        ),
        // Headers of the upgrade.
        ("POST", example_with("GET", "POST /chat HTTP/1.1"), Method),
        ("get", example_with("GET", "get /chat HTTP/1.1"), Method),
        ("no Upgrade", example_with("Upgrade", ""), NoUpgrade),
        ("other Upgrade", example_with("Upgrade", "Upgrade: websockets"), NoUpgrade),
        ("no Connection", example_with("Connection", ""), NoConnectionUpgrade),
        ("other Connection", example_with("Connection", "Connection: close"), NoConnectionUpgrade),
        ("no key", example_with("Sec-WebSocket-Key", ""), NoKey),
        ("two keys", example_and(KEY), RepeatedKey),
        ("empty key", example_with("Sec-WebSocket-Key", "Sec-WebSocket-Key:"), InvalidKey),
        (
            "key of 15 bytes",
            example_with("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"),
            InvalidKey,
        ),
        (
            "key that is no text",
            example_with("Sec-WebSocket-Key", "Sec-WebSocket-Key: \u{e9}"),
            InvalidKey,
        ),
        ("no version", example_with("Sec-WebSocket-Version", ""), Version),
        (
            "draft version",
            example_with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
            Version,
        ),
        (
            "list of versions",
            example_with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"),
            Version,
        ),
        ("two versions", example_and("Sec-WebSocket-Version: 13"), RepeatedVersion),
        (
            "empty subprotocol",
            example_with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol:"),
            Protocols,
        ),
        (
            "subprotocol of commas",
            example_with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: , ,"),
            Protocols,
        ),
        (
            "subprotocol with a space",
            example_with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: a b"),
            Protocols,
        ),
        (
            "subprotocol beyond ASCII",
            example_with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: \u{e9}"),
            Protocols,
        ),
        (
            "one subprotocol twice",
            example_with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: a, b, a"),
            Protocols,
        ),
        ("one subprotocol in two lines", example_and("Sec-WebSocket-Protocol: chat"), Protocols),
        ("empty extension", example_and("Sec-WebSocket-Extensions:"), Extensions),
        ("malformed extension", example_and("Sec-WebSocket-Extensions: a b"), Extensions),
    ] {
        assert_eq!(outcome(&wire, &Limits::default()), Err(error), "{name}\n{wire}");
    }
}

#[test]
fn what_cannot_be_right_is_refused_before_the_head_ends() {
    for (name, wire, error) in [
        ("TLS", "\u{16}", HandshakeError::Tls),
        ("frame", "\u{1}", HandshakeError::FirstLine),
        ("line feed", "GET / HTTP/1.1\n", HandshakeError::BareLineFeed),
        ("carriage return", "GET / HTTP/1.1\rH", HandshakeError::BareCarriageReturn),
        ("NUL", "GET /\0", HandshakeError::ControlCharacter),
        ("folding", "GET / HTTP/1.1\r\n ", HandshakeError::Folded),
    ] {
        assert_eq!(read(wire.as_bytes(), &Limits::default()), Err(error), "{name}");
    }
}

#[test]
fn limits_hold_at_the_byte_and_count_the_head_alone() {
    let limits = Limits { max_head: 60, max_head_line: 20, max_headers: 2, ..Limits::default() };
    let line_of = |len: usize| format!("GET /{} HTTP/1.1", "a".repeat(len - 14));
    for (name, wire, expected) in [
        ("first line at the limit", format!("{}\r\nHost: a\r\n\r\n", line_of(20)), Ok(false)),
        (
            "first line past it",
            format!("{}\r\n", line_of(21)),
            Err(HandshakeError::FirstLineTooLong { max: 20 }),
        ),
        (
            "first line past it, without an end",
            "A".repeat(21),
            Err(HandshakeError::FirstLineTooLong { max: 20 }),
        ),
        (
            "header at the limit",
            format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(14)),
            Ok(false),
        ),
        (
            "header past it",
            format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(15)),
            Err(HandshakeError::HeaderTooLong { max: 20 }),
        ),
        (
            "one header too many",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n".into(),
            Err(HandshakeError::TooManyHeaders { max: 2 }),
        ),
    ] {
        assert_eq!(outcome(&wire, &limits), expected, "{name}");
    }

    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "b".repeat(17));
    for (name, max_head, expected) in [
        ("at the limit", head.len(), Ok(false)),
        ("past it", head.len() - 1, Err(HandshakeError::HeadTooLong { max: head.len() - 1 })),
    ] {
        let limits = Limits { max_head, ..limits.clone() };
        assert_eq!(outcome(&head, &limits), expected, "{name}");
        // Frames in the same segment count for nothing and stay where they are.
        if expected.is_ok() {
            let frames = "\u{1}\n".repeat(100);
            let (read_head, rest) =
                read((head.clone() + &frames).as_bytes(), &limits).unwrap().unwrap();
            assert_eq!((read_head, rest), (head.clone().into(), frames.into()), "{name}");
        }
    }
}

#[test]
fn a_hundred_headers_are_the_most() {
    let head =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let limits = Limits { max_headers: 1000, ..Limits::default() };
    assert!(Request::parse(&whole(head(100).as_bytes()), &limits).is_ok());
    let error = Err(HandshakeError::TooManyHeaders { max: 100 });
    assert_eq!(Request::parse(&whole(head(101).as_bytes()), &limits), error);
}

#[test]
fn a_head_is_borrowed_where_it_came_whole() {
    let limits = Limits::default();
    let mut reader = HeadReader::default();
    let mut wire = [EXAMPLE.as_bytes(), b"\x81\x80"].concat();
    let start = wire.as_ptr();
    let mut input = wire.as_mut_slice();
    let head = reader.read(&mut input, &limits).unwrap().unwrap();
    assert_eq!(head.as_bytes().as_ptr_range(), start..input.as_ptr());
    assert_eq!(input, b"\x81\x80");

    // The same reader again, with the head in two pieces.
    let (first, second) = wire.split_at_mut(50);
    let (mut first, mut second) = (first, second);
    assert_eq!(reader.read(&mut first, &limits), Ok(None));
    assert!(reader.has_begun());
    let head = reader.read(&mut second, &limits).unwrap().unwrap();
    assert_eq!(head.as_bytes(), EXAMPLE.as_bytes());
    assert!(!reader.has_begun());
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_walked_over_once() {
    // Were each byte looked at again with every later one, this test would run for hours.
    let limits = Limits { max_head: usize::MAX, max_head_line: usize::MAX, ..Limits::default() };
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(2_000_000));
    let pieces: Vec<_> = head.as_bytes().chunks(1).collect();
    assert_eq!(read_pieces(&pieces, &limits), Ok(Some((head.clone().into(), Vec::new()))));
}

#[test]
fn the_servers_order_chooses_the_subprotocol() {
    let head = example_with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: a, b, C");
    let head = whole(head.as_bytes());
    let request = Request::parse(&head, &Limits::default()).unwrap();
    let upgrade = request.upgrade().unwrap().unwrap();
    for (ours, chosen) in
        [(&["b", "a"][..], Some("b")), (&["x", "a"], Some("a")), (&["c", "x"], None), (&[], None)]
    {
        assert_eq!(upgrade.choose_protocol(ours), chosen, "{ours:?}");
    }
}

#[test]
fn statuses_say_what_kind_of_fault_it_is() {
    for (error, status) in [
        (HandshakeError::InvalidKey, 400),
        (HandshakeError::Method, 405),
        (HandshakeError::Timeout, 408),
        (HandshakeError::FirstLineTooLong { max: 1 }, 414),
        (HandshakeError::NoUpgrade, 426),
        (HandshakeError::Version, 426),
        (HandshakeError::HeaderTooLong { max: 1 }, 431),
        (HandshakeError::HeadTooLong { max: 1 }, 431),
        (HandshakeError::TooManyHeaders { max: 1 }, 431),
        (HandshakeError::HttpVersion, 505),
    ] {
        assert_eq!(error.status(), status, "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

/// What a client with every option asks for.
const REQUEST: ClientRequest<'static> = ClientRequest {
    host: "server.example.com:8080",
    target: "/chat?room=tea",
    nonce: *b"the sample nonce",
    protocols: &["chat", "superchat"],
    extensions: &[Offer { name: "x-rot", params: Vec::new() }],
    headers: &[("Origin", "http://example.com"), ("Cookie", "a=1")],
};

#[test]
fn what_a_client_asks_a_server_reads() {
    let head = REQUEST.encode().unwrap();
    let head = whole(&head);
    let request = Request::parse(&head, &Limits::default()).unwrap();
    assert_eq!((request.path, request.query), ("/chat", Some("room=tea")));
    assert_eq!(request.host(), REQUEST.host.as_bytes());
    assert_eq!(request.values("cookie").collect::<Vec<_>>(), [b"a=1"]);
    let upgrade = request.upgrade().unwrap().unwrap();
    assert_eq!(upgrade.key, REQUEST.key());
    assert_eq!(upgrade.protocols, REQUEST.protocols);
    assert_eq!(upgrade.extensions, REQUEST.extensions);
}

#[test]
fn what_a_server_answers_a_client_verifies() {
    let param = Param { name: "by", value: Some("13".into()) };
    let extensions = [Offer { name: "x-rot", params: vec![param] }];
    let head = ServerResponse {
        key: &REQUEST.key(),
        protocol: Some("superchat"),
        extensions: &extensions,
        headers: &[("Set-Cookie", "a=2")],
    }
    .encode()
    .unwrap();
    let (read_head, rest) =
        read(&[&*head, b"\x81\x00"].concat(), &Limits::default()).unwrap().unwrap();
    assert_eq!((&read_head, &*rest), (&head, &b"\x81\x00"[..]));
    let head = whole(&head);
    let response = Response::parse(&head, &Limits::default()).unwrap();
    assert_eq!(response.status, 101);
    assert_eq!(
        response.verify(&REQUEST),
        Ok(Agreement { protocol: Some("superchat"), extensions: extensions.to_vec() })
    );
}

#[test]
fn answers_to_something_else_are_refused() {
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let verify = |head: &str| {
        let head = format!("{head}\r\n");
        let head = whole(head.as_bytes());
        Response::parse(&head, &Limits::default()).unwrap().verify(&REQUEST).map(drop)
    };
    let with = |line: &str| format!("{ANSWER}{line}\r\n");
    for (name, head, expected) in [
        ("as it should be", ANSWER.to_string(), Ok(())),
        ("lower case", ANSWER.replace("Upgrade: websocket", "upgrade: WEBSOCKET"), Ok(())),
        ("no reason phrase", ANSWER.replace(" Switching Protocols", ""), Ok(())),
        ("a subprotocol", with("Sec-WebSocket-Protocol: chat"), Ok(())),
        ("page", "HTTP/1.1 200 OK\r\n".into(), Err(ResponseError::Status(200))),
        ("proxy of old", "HTTP/1.0 502 Bad Gateway\r\n".into(), Err(ResponseError::Status(502))),
        ("no Upgrade", ANSWER.replace("Upgrade: websocket\r\n", ""), Err(ResponseError::Upgrade)),
        (
            "no Connection",
            ANSWER.replace("Connection: Upgrade\r\n", ""),
            Err(ResponseError::Connection),
        ),
        ("no accept", ANSWER.replace("Accept", "Reject"), Err(ResponseError::Accept)),
        ("other accept", ANSWER.replace("s3p", "S3p"), Err(ResponseError::Accept)),
        (
            "two accepts",
            with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            Err(ResponseError::Accept),
        ),
        ("other subprotocol", with("Sec-WebSocket-Protocol: Chat"), Err(ResponseError::Protocol)),
        (
            "both subprotocols",
            with("Sec-WebSocket-Protocol: chat, superchat"),
            Err(ResponseError::Protocol),
        ),
        (
            "two subprotocols",
            with("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat"),
            Err(ResponseError::Protocol),
        ),
        ("empty subprotocol", with("Sec-WebSocket-Protocol:"), Err(ResponseError::Protocol)),
        (
            "other extension",
            with("Sec-WebSocket-Extensions: x-rot, x-zip"),
            Err(ResponseError::Extensions),
        ),
        (
            "malformed extension",
            with("Sec-WebSocket-Extensions: x rot"),
            Err(ResponseError::Extensions),
        ),
    ] {
        assert_eq!(verify(&head), expected, "{name}");
    }
    let old = whole(b"HTTP/1.0 101 Switching Protocols\r\n\r\n");
    assert_eq!(Response::parse(&old, &Limits::default()), Err(HandshakeError::HttpVersion));
    let no_http = whole(b"ICY 200 OK\r\n\r\n");
    assert_eq!(Response::parse(&no_http, &Limits::default()), Err(HandshakeError::FirstLine));
}

#[test]
fn what_the_application_gives_cannot_break_a_head() {
    let params = vec![Param { name: "a", value: Some("1\r\n".into()) }];
    let broken = [Offer { name: "x", params }];
    let many = vec![Offer { name: "x", params: Vec::new() }; 33];
    let base = REQUEST;
    for (name, request, error) in [
        (
            "line end in the host",
            ClientRequest { host: "a\r\nX: y", ..base.clone() },
            EncodeError::Host,
        ),
        ("no host", ClientRequest { host: "", ..base.clone() }, EncodeError::Host),
        (
            "line end in the target",
            ClientRequest { target: "/\r\n", ..base.clone() },
            EncodeError::Target,
        ),
        (
            "space in the target",
            ClientRequest { target: "/a b", ..base.clone() },
            EncodeError::Target,
        ),
        ("no target", ClientRequest { target: "", ..base.clone() }, EncodeError::Target),
        (
            "subprotocol list for one",
            ClientRequest { protocols: &["a, b"], ..base.clone() },
            EncodeError::Protocol,
        ),
        (
            "subprotocol twice",
            ClientRequest { protocols: &["a", "a"], ..base.clone() },
            EncodeError::Protocol,
        ),
        (
            "line end in an extension",
            ClientRequest { extensions: &broken, ..base.clone() },
            EncodeError::Extension,
        ),
        (
            "many extensions",
            ClientRequest { extensions: &many, ..base.clone() },
            EncodeError::Extension,
        ),
        (
            "line end in a value",
            ClientRequest { headers: &[("X", "a\r\nY: b")], ..base.clone() },
            EncodeError::HeaderValue,
        ),
        (
            "NUL in a value",
            ClientRequest { headers: &[("X", "a\0")], ..base.clone() },
            EncodeError::HeaderValue,
        ),
        (
            "line end in a name",
            ClientRequest { headers: &[("X: a\r\nY", "b")], ..base.clone() },
            EncodeError::HeaderName,
        ),
        (
            "no name",
            ClientRequest { headers: &[("", "b")], ..base.clone() },
            EncodeError::HeaderName,
        ),
        (
            "Host again",
            ClientRequest { headers: &[("host", "b")], ..base.clone() },
            EncodeError::ReservedHeader,
        ),
        (
            "key again",
            ClientRequest { headers: &[("sec-websocket-key", "b")], ..base.clone() },
            EncodeError::ReservedHeader,
        ),
    ] {
        assert_eq!(request.encode(), Err(error), "{name}");
    }
    let key = REQUEST.key();
    let base = ServerResponse { key: &key, protocol: None, extensions: &[], headers: &[] };
    for (name, response, error) in [
        ("line end in the key", ServerResponse { key: "a\r\n", ..base.clone() }, EncodeError::Key),
        (
            "line end in the subprotocol",
            ServerResponse { protocol: Some("a\r\n"), ..base.clone() },
            EncodeError::Protocol,
        ),
        (
            "line end in an extension",
            ServerResponse { extensions: &broken, ..base.clone() },
            EncodeError::Extension,
        ),
        (
            "line end in a value",
            ServerResponse { headers: &[("X", "\r\n")], ..base.clone() },
            EncodeError::HeaderValue,
        ),
        (
            "length",
            ServerResponse { headers: &[("Content-Length", "0")], ..base.clone() },
            EncodeError::ReservedHeader,
        ),
    ] {
        assert_eq!(response.encode(), Err(error), "{name}");
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        noise in prop::collection::vec(prop_oneof![
            8 => Just(None),
            1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some),
        ], 0..3),
        tail: Vec<u8>,
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        max_head in 100usize..400,
        max_head_line in 10usize..60,
    ) {
        let mut wire = [EXAMPLE.as_bytes(), &tail].concat();
        for (at, byte) in noise.into_iter().flatten() {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let limits = Limits { max_head, max_head_line, ..Limits::default() };
        let mut pieces = Vec::new();
        let mut rest = wire.as_slice();
        for cut in cuts.drain(..) {
            let (piece, behind) = rest.split_at(cut.index(rest.len() + 1));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        prop_assert_eq!(read_pieces(&pieces, &limits), read_pieces(&[&wire], &limits));
    }

    #[test]
    fn no_bytes_break_the_parser(wire in r"(GET|[A-Z/ ]{1,6}) [/a-z?#%]{0,6} HTTP/1\.[01]\r\n(Host: a\r\n)?([a-zA-Z-]{0,4}[: ]{0,2}[^\r\n]{0,6}\r\n){0,3}\r\n") {
        let limits = Limits::default();
        if let Ok(head) = Head::read(wire.as_bytes(), &limits)
            && let Ok(request) = Request::parse(&head, &limits)
        {
            prop_assert!(request.path.starts_with('/'));
            prop_assert!(!request.host().is_empty());
            prop_assert!(request.upgrade().is_ok());
        }
    }
}
