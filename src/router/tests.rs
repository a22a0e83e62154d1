//! Routes by table: requests in, answers out.

mod building;
mod compression;
mod upgrades;

use super::*;
use crate::protocol::{
    connection::Mode,
    extension::{Conflict, Extensions},
    limits::{Limits, Timeouts},
};

struct Quiet;

impl Service for Quiet {}

/// What a client sees of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    head: String,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ").expect("a header has a colon");
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4242);

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// What becomes of a head: the server reads it, then routes it.
fn route(routes: &Routes, head: &str) -> Routed {
    match Head::read(head.as_bytes(), &routes.defaults().limits) {
        Ok(head) => routes.route(&head, ADDR),
        Err(error) => Routed::answer(&error.into(), false),
    }
}

/// Routes `line` with `headers` (each with its line end) and splits up the answer.
fn ask(routes: &Routes, line: &str, headers: &str) -> Seen {
    let head = format!("{line} HTTP/1.1\r\nHost: chat.example\r\n{headers}\r\n");
    seen(route(routes, &head))
}

/// Splits up the answer.
fn seen(routed: Routed) -> Seen {
    let (status, response) = match routed {
        Routed::Upgrade { response, .. } => (101, response),
        Routed::Answer { status, response } => (status, response),
        Routed::Later { .. } => panic!("the application takes a while"),
    };
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    Seen { status, head: head.into(), body: body.into() }
}

fn build(router: Router) -> Routes {
    router.build(Settings::default()).unwrap()
}

fn example() -> Routes {
    build(
        Router::new()
            .get("/", |_| Answer::page("text/html", b"page"))
            .service("/echo", |_| Quiet)
            .get("/both", |_| Answer::page("text/html", b"both"))
            .service("/both", |_| Quiet)
            .get("/say/{what}", |request| Answer::text(200, request.param("what").unwrap()))
            .get("/all/{*rest}", |request| Answer::text(200, request.param("rest").unwrap()))
            .service("/chat/{room}", |request: &Request<'_>| match request.param("room") {
                Some("cellar") => Err(Answer::text(404, "there is no cellar")),
                _ => Ok(Quiet),
            }),
    )
}

#[test]
fn routes_are_shared_by_all_workers() {
    fn shared<T: Send + Sync>() {}
    shared::<Routes>();
}

#[test]
fn every_request_gets_the_status_it_deserves() {
    let routes = example();
    let draft = UPGRADE.replace("13", "8");
    let stripped = UPGRADE.replace("Upgrade: websocket\r\n", "");
    for (name, line, headers, status) in [
        ("page", "GET /", "", 200),
        ("page with a query", "GET /?a=b", "", 200),
        ("page, HEAD", "HEAD /", "", 200),
        ("page, POST", "POST /", "Content-Length: 5\r\n", 405),
        ("page with HTTP/2 offered", "GET /", "Upgrade: h2c\r\nConnection: Upgrade\r\n", 200),
        ("upgrade of a page", "GET /", UPGRADE, 404),
        ("nothing", "GET /nothing", "", 404),
        ("upgrade of nothing", "GET /nothing", UPGRADE, 404),
        ("path in other letters", "GET /ECHO", UPGRADE, 404),
        ("slash behind", "GET /echo/", UPGRADE, 404),
        ("upgrade", "GET /echo", UPGRADE, 101),
        ("upgrade with a query", "GET /echo?a=b", UPGRADE, 101),
        ("upgrade, POST", "POST /echo", UPGRADE, 405),
        ("endpoint without upgrade", "GET /echo", "", 426),
        ("endpoint without upgrade, HEAD", "HEAD /echo", "", 426),
        ("endpoint without upgrade, POST", "POST /echo", "", 405),
        ("upgrade that a proxy removed", "GET /echo", &stripped, 426),
        ("draft version", "GET /echo", &draft, 426),
        ("page beside an endpoint", "GET /both", "", 200),
        ("page beside an endpoint, POST", "POST /both", "", 405),
        ("endpoint beside a page", "GET /both", UPGRADE, 101),
        ("bad upgrade beside a page", "GET /both", &draft, 426),
        ("service", "GET /chat/tea", UPGRADE, 101),
        ("service that does not want", "GET /chat/cellar", UPGRADE, 404),
        ("service that does not want, encoded", "GET /chat/c%65llar", UPGRADE, 404),
        ("no segment", "GET /chat/", UPGRADE, 404),
        ("segment too many", "GET /chat/tea/cup", UPGRADE, 404),
        ("half a percent-encoding", "GET /chat/%4", UPGRADE, 400),
        ("percent-encoding with a sign", "GET /chat/%+4", UPGRADE, 400),
        ("percent-encoding that is no UTF-8", "GET /chat/%ff", UPGRADE, 400),
        ("broken rule of HTTP", "GET /", "Host: b\r\n", 400),
    ] {
        let seen = ask(&routes, line, headers);
        assert_eq!(seen.status, status, "{name}: {seen:?}");
        if status != 101 {
            assert!(seen.header("Connection").unwrap().ends_with("close"), "{name}: {seen:?}");
            assert!(!line.starts_with("HEAD") || seen.body.is_empty(), "{name}: {seen:?}");
        }
    }
}

#[test]
fn an_answer_to_head_has_no_body_even_where_the_request_breaks_a_rule() {
    let routes = example();
    for (name, rest, status) in [
        ("no Host", "/ HTTP/1.1\r\n\r\n", 400),
        ("absolute form", "http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("version", "/ HTTP/1.0\r\nHost: a\r\n\r\n", 505),
        ("header without a colon", "/ HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    ] {
        for (method, has_body) in [("HEAD", false), ("GET", true), ("HEADER", true)] {
            let Routed::Answer { status: given, response } =
                route(&routes, &format!("{method} {rest}"))
            else {
                panic!("{name}: an upgrade");
            };
            let response = String::from_utf8(response).unwrap();
            assert_eq!(given, status, "{method}, {name}: {response}");
            assert_eq!(!response.ends_with("\r\n\r\n"), has_body, "{method}, {name}: {response}");
        }
    }
}

#[test]
fn answers_carry_the_headers_of_their_status() {
    let routes = example();
    let draft = UPGRADE.replace("13", "8");
    for (line, headers, name, value) in [
        ("GET /", "", "Content-Type", "text/html"),
        ("HEAD /", "", "Content-Length", "4"),
        ("POST /", "", "Allow", "GET, HEAD"),
        ("POST /echo", "", "Allow", "GET"),
        ("POST /echo", UPGRADE, "Allow", "GET"),
        ("GET /echo", "", "Upgrade", "websocket"),
        ("GET /echo", "", "Connection", "Upgrade, close"),
        ("GET /echo", &draft, "Sec-WebSocket-Version", "13"),
        ("GET /echo", &draft, "Upgrade", "websocket"),
        ("GET /echo", UPGRADE, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ] {
        let seen = ask(&routes, line, headers);
        assert_eq!(seen.header(name), Some(value), "{line}: {seen:?}");
    }
    assert_eq!((busy().status, busy().headers[1].0), (503, "Retry-After"));
}

#[test]
fn parts_of_the_path_arrive_decoded() {
    let routes = example();
    for (path, body) in [
        ("/say/tea", "tea\n"),
        ("/say/caf%C3%A9", "café\n"),
        ("/say/a%2Fb+c", "a/b+c\n"),
        ("/say/%25", "%\n"),
        ("/all/a/b%20c", "a/b c\n"),
    ] {
        assert_eq!(ask(&routes, &format!("GET {path}"), "").body, body);
    }
}

#[test]
fn refusals_do_not_repeat_what_was_sent() {
    let routes = example();
    let marked =
        "X-Mark: markmark\r\nOrigin: http://markmark\r\nSec-WebSocket-Protocol: markmark\r\n";
    for (line, headers) in [
        ("GET /markmark", marked.to_string()),
        ("GET /chat/markmark%", format!("{UPGRADE}{marked}")),
        ("MARKMARK /", marked.into()),
        ("MARKMARK /echo", format!("{UPGRADE}{marked}")),
        ("GET /echo?markmark", format!("{UPGRADE}{marked}")),
        ("GET markmark", marked.into()),
        ("GET /echo", format!("{UPGRADE}Sec-WebSocket-Key: markmark\r\n")),
    ] {
        let seen = ask(&routes, line, &headers);
        assert!(seen.status >= 400, "{line}: {seen:?}");
        let whole = format!("{seen:?}").to_lowercase();
        assert!(!whole.contains("markmark"), "{line}: {seen:?}");
    }
}
