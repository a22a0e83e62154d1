//! Routes by table: requests in, answers out.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{self, Poll, Waker},
    time::Duration,
};

use super::*;
use crate::protocol::{
    connection::Mode,
    extension::{Conflict, Extensions, deflate::Deflate},
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

fn settings_of(routes: &Routes, path: &str) -> Arc<Settings> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n");
    match route(routes, &head) {
        Routed::Upgrade { settings, .. } => settings,
        Routed::Answer { status, .. } => panic!("{path} is answered with {status}"),
        Routed::Later { .. } => panic!("{path} takes a while"),
    }
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

#[test]
fn pages_of_other_hosts_may_not_connect() {
    let same = || Router::new().service("/", |_| Quiet);
    let list = Origins::list([
        "https://friend.example",
        "http://localhost:3000",
        "chrome-extension://abcdef",
    ])
    .unwrap();
    let (same, list, any) = (
        build(same()),
        build(same().allow_origins(list)),
        build(same().allow_origins(Origins::Any)),
    );
    // Status at: same host, list, any.
    for (origin, statuses) in [
        ("", [101, 101, 101]),
        ("Origin: http://chat.example\r\n", [101, 101, 101]),
        ("Origin: https://chat.example\r\n", [101, 101, 101]),
        ("origin: HTTPS://CHAT.example\r\n", [101, 101, 101]),
        ("Origin: https://chat.example:8443\r\n", [403, 403, 101]),
        ("Origin: x://chat.example\r\n", [403, 403, 101]),
        ("Origin: httpx://chat.example\r\n", [403, 403, 101]),
        ("Origin: chrome-extension://chat.example\r\n", [403, 403, 101]),
        ("Origin: chrome-extension://abcdef\r\n", [403, 101, 101]),
        ("Origin: https://chat.example.evil\r\n", [403, 403, 101]),
        ("Origin: https://evilchat.example\r\n", [403, 403, 101]),
        ("Origin: https://evil/chat.example\r\n", [403, 403, 101]),
        ("Origin: https://evil@chat.example\r\n", [403, 403, 101]),
        ("Origin: https://friend.example\r\n", [403, 101, 101]),
        ("Origin: https://friend.example:443\r\n", [403, 101, 101]),
        ("Origin: http://friend.example\r\n", [403, 403, 101]),
        ("Origin: http://localhost:3000\r\n", [403, 101, 101]),
        ("Origin: http://localhost:3001\r\n", [403, 403, 101]),
        ("Origin: null\r\n", [403, 403, 101]),
        ("Origin:\r\n", [403, 403, 101]),
        ("Origin: chat.example\r\n", [403, 403, 101]),
        ("Origin: http://chat.example\r\nOrigin: http://chat.example\r\n", [403, 403, 101]),
    ] {
        let headers = format!("{UPGRADE}{origin}");
        let seen = [&same, &list, &any].map(|routes| ask(routes, "GET /", &headers).status);
        assert_eq!(seen, statuses, "{origin:?}");
    }
    // Pages are for everybody.
    assert_eq!(ask(&example(), "GET /", "Origin: http://evil\r\n").status, 200);
}

#[test]
fn a_port_in_the_host_header_counts() {
    let routes = build(Router::new().service("/", |_| Quiet));
    for (host, origin, welcome) in [
        ("localhost:8080", "http://localhost:8080", true),
        ("localhost:8080", "http://localhost:8081", false),
        ("localhost:8080", "http://localhost", false),
        ("localhost:80", "http://localhost", true),
        ("localhost:443", "https://localhost", true),
        ("LOCALHOST", "http://localhost:80", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("[::1]:8080", "http://[::2]:8080", false),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n{UPGRADE}\r\n");
        let routed = route(&routes, &head);
        assert_eq!(matches!(routed, Routed::Upgrade { .. }), welcome, "{host} {origin}");
    }
}

#[test]
fn a_service_sees_its_request() {
    let routes = build(
        Router::new().route(
            "/{room}",
            Route::new(|request: &Request<'_>| {
                let text = format!(
                    "{} {} {:?} {:?} {:?} {:?} {}",
                    request.method(),
                    request.path(),
                    request.param("room"),
                    request.query("name"),
                    request.header("user-agent"),
                    request.protocol(),
                    request.addr(),
                );
                Err::<Quiet, _>(Answer::text(403, text))
            })
            .protocols(["v2", "v1"]),
        ),
    );
    let headers = format!("{UPGRADE}User-Agent: test\r\nSec-WebSocket-Protocol: v1, v2\r\n");
    assert_eq!(
        ask(&routes, "GET /te%61?name=a+b", &headers).body,
        "GET /te%61 Some(\"tea\") Some(\"a b\") Some(\"test\") Some(\"v2\") 127.0.0.1:4242\n"
    );
}

#[test]
fn the_subprotocol_agreed_to_is_one_of_the_routes_own() {
    let routes = build(Router::new().route("/", Route::new(|_| Quiet).protocols(["v2", "v1"])));
    for (offered, agreed) in [
        ("Sec-WebSocket-Protocol: v1, v2\r\n", Some("v2")),
        ("Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: v1\r\n", Some("v1")),
        ("Sec-WebSocket-Protocol: x\r\n", None),
        ("", None),
    ] {
        let seen = ask(&routes, "GET /", &format!("{UPGRADE}{offered}"));
        assert_eq!(seen.header("Sec-WebSocket-Protocol"), agreed, "{offered:?}");
    }
}

#[test]
fn an_upgrade_carries_the_headers_of_the_application() {
    let accept = || {
        Accept::new(Quiet)
            .with_header("Set-Cookie", "a=1; HttpOnly")
            .with_header("Set-Cookie", String::from("b=2"))
    };
    let routes = build(
        Router::new()
            .service("/accept", move |_: &Request<'_>| accept())
            .service("/result", move |_: &Request<'_>| Ok(accept())),
    );
    for path in ["/accept", "/result"] {
        let seen = ask(&routes, &format!("GET {path}"), UPGRADE);
        assert_eq!(seen.status, 101);
        assert_eq!(seen.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let cookies: Vec<_> =
            seen.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).collect();
        assert_eq!(cookies, ["a=1; HttpOnly", "b=2"]);
    }
}

#[test]
fn headers_that_may_not_stand_in_an_upgrade_are_a_fault_of_the_server() {
    for (name, value, fault) in [
        ("Set-Cookie", "a=1\r\nX: y", "a header value holds a control character"),
        ("Set-Cookie", "a=1\n", "a header value holds a control character"),
        ("Set-Cookie", "\u{7f}", "a header value holds a control character"),
        ("Set Cookie", "a", "a header name is not a token"),
        ("", "a", "a header name is not a token"),
        ("connection", "close", "a header of the handshake itself may not be set"),
        ("Upgrade", "h2c", "a header of the handshake itself may not be set"),
        ("Content-Length", "0", "a header of the handshake itself may not be set"),
        ("SEC-WEBSOCKET-PROTOCOL", "a", "a header of the handshake itself may not be set"),
    ] {
        let make = move |_: &Request<'_>| Accept::new(Quiet).with_header(name, value);
        let seen = ask(&build(Router::new().service("/", make)), "GET /", UPGRADE);
        assert_eq!(seen.status, 500, "{name}: {value}");
        assert_eq!(seen.body, format!("this server met a fault of its own: {fault}\n"));
    }
}

/// Asks a decision once more, without anybody to be woken.
fn ask_again(decision: &mut Deciding) -> Option<Result<Accept, Answer>> {
    match decision.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(decision) => Some(decision),
        Poll::Pending => None,
    }
}

#[test]
fn a_route_may_take_a_while_to_decide() {
    // The third time it is asked it knows; what it knows came with the request.
    let route = Route::deciding(|request| async move {
        let asked = Rc::new(Cell::new(0));
        poll_fn(|_| match asked.replace(asked.get() + 1) {
            0 | 1 => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
        let request = request.as_request();
        match (request.param("room"), request.cookie("key")) {
            (Some("cellar"), _) => Err(Answer::text(404, "there is no cellar")),
            (_, None) => Err(Answer::text(401, "no key")),
            (_, Some(_)) => Ok(Accept::new(Quiet).with_header("Set-Cookie", "a=1")),
        }
    });
    let routes = build(Router::new().route("/{room}", route.protocols(["v1"])));
    for (path, headers, status, name, value) in [
        ("/tea", "Cookie: key=1\r\nSec-WebSocket-Protocol: v1\r\n", 101, "Set-Cookie", "a=1"),
        (
            "/tea",
            "Cookie: key=1\r\nSec-WebSocket-Protocol: v1\r\n",
            101,
            "Sec-WebSocket-Protocol",
            "v1",
        ),
        ("/cellar", "Cookie: key=1\r\n", 404, "Connection", "close"),
        ("/tea", "", 401, "Connection", "close"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{UPGRADE}{headers}\r\n");
        let Routed::Later { mut decision, opening } = self::route(&routes, &head) else {
            panic!("{path} is decided at once");
        };
        assert!(ask_again(&mut decision).is_none() && ask_again(&mut decision).is_none());
        let seen = seen(opening.finish(ask_again(&mut decision).expect("it knows by now")));
        assert_eq!((seen.status, seen.header(name)), (status, Some(value)), "{path}: {seen:?}");
    }
    // What needs no decision gets none.
    let mark = "Origin: http://evil\r\n";
    assert_eq!(ask(&routes, "GET /tea", &format!("{UPGRADE}{mark}")).status, 403);
    assert_eq!(ask(&routes, "GET /tea", "").status, 426);
}

/// A route that answers with its own name and the subprotocol agreed to.
fn named(name: &'static str) -> Route {
    Route::new(move |request: &Request<'_>| {
        Err::<Quiet, _>(Answer::text(403, format!("{name} {:?}", request.protocol())))
    })
}

#[test]
fn routes_of_one_path_are_told_apart_by_subprotocol() {
    let routes = build(
        Router::new()
            .route("/all", named("new").only_protocols(["v3", "v2"]))
            .route("/all", named("old").only_protocols(["v2", "v1"]))
            .route("/all", named("rest").protocols(["x"]))
            .get("/some", |_| Answer::page("text/html", b"page"))
            .route("/some", named("new").only_protocols(["v3", "v2"]))
            .route("/some", named("old").only_protocols(["v2", "v1"])),
    );
    let refused =
        "this endpoint needs a subprotocol: offer one of v3, v2, v1 in Sec-WebSocket-Protocol\n";
    for (offered, all, some) in [
        ("v3", "new Some(\"v3\")\n", "new Some(\"v3\")\n"),
        ("v2", "new Some(\"v2\")\n", "new Some(\"v2\")\n"),
        ("v1", "old Some(\"v1\")\n", "old Some(\"v1\")\n"),
        ("v1, v2", "new Some(\"v2\")\n", "new Some(\"v2\")\n"),
        ("x, v1", "old Some(\"v1\")\n", "old Some(\"v1\")\n"),
        ("x", "rest Some(\"x\")\n", refused),
        ("V1", "rest None\n", refused),
        ("", "rest None\n", refused),
    ] {
        let headers = match offered {
            "" => UPGRADE.to_string(),
            names => format!("{UPGRADE}Sec-WebSocket-Protocol: {names}\r\n"),
        };
        for (path, body) in [("/all", all), ("/some", some)] {
            let seen = ask(&routes, &format!("GET {path}"), &headers);
            assert_eq!(seen.body, body, "{path} {offered:?}");
            assert_eq!(seen.status, if body == refused { 400 } else { 403 }, "{path} {offered:?}");
        }
    }
    assert_eq!(ask(&routes, "GET /some", "").body, "page");
    assert_eq!(ask(&routes, "GET /all", "").status, 426);
    let foreign = format!("{UPGRADE}Origin: http://evil\r\n");
    assert_eq!(ask(&routes, "GET /some", &foreign).status, 403, "who is foreign is not told more");
}

#[test]
fn a_route_that_no_client_reaches_cannot_be() {
    let any = || Route::new(|_| Quiet);
    let only = |names: &[&str]| any().only_protocols(names.iter().copied());
    for (name, routes, is_legal) in [
        ("one", vec![any()], true),
        ("two alike", vec![any(), any()], false),
        ("two that prefer other subprotocols", vec![any(), any().protocols(["a"])], false),
        ("one behind all", vec![any(), only(&["a"])], false),
        ("all behind one", vec![only(&["a"]), any()], true),
        ("two apart", vec![only(&["a"]), only(&["b"])], true),
        ("in another letter case", vec![only(&["a"]), only(&["A"])], true),
        ("the same twice", vec![only(&["a"]), only(&["a"])], false),
        ("more in the second", vec![only(&["a"]), only(&["a", "b"])], true),
        ("less in the second", vec![only(&["a", "b"]), only(&["b"])], false),
        ("all of two before", vec![only(&["a"]), only(&["b"]), only(&["b", "a"])], false),
        ("none", vec![only(&[])], false),
        ("no longer only", vec![only(&["a"]).protocols(["a"]), any()], false),
    ] {
        let router =
            routes.into_iter().fold(Router::new(), |router, route| router.route("/a", route));
        let built = router.build(Settings::default());
        let expected =
            if is_legal { Ok(()) } else { Err(RouteError::Unreachable { path: "/a".into() }) };
        assert_eq!(built.map(drop), expected, "{name}");
    }
}

#[test]
fn a_route_may_have_settings_of_its_own() {
    let timeouts = Timeouts { close: Duration::from_secs(1), ..Timeouts::default() };
    let limits = Limits { max_message: 7, ..Limits::default() };
    let defaults =
        Settings { limits: Limits { max_message: 9, ..Limits::default() }, ..Settings::default() };
    let routes = Router::new()
        .service("/plain", |_| Quiet)
        .service_raw("/raw", |_| Quiet)
        .route("/small", Route::new(|_| Quiet).limits(limits.clone()))
        .route("/quick", Route::new(|_| Quiet).timeouts(timeouts.clone()))
        .build(defaults.clone())
        .unwrap();
    assert_eq!(*settings_of(&routes, "/plain"), defaults);
    assert_eq!(*settings_of(&routes, "/raw"), Settings { mode: Mode::Raw, ..defaults.clone() });
    assert_eq!(*settings_of(&routes, "/small"), Settings { limits, ..defaults.clone() });
    assert_eq!(*settings_of(&routes, "/quick"), Settings { timeouts, ..defaults });
}

#[test]
fn the_limits_of_heads_are_the_servers() {
    let limits = Limits { max_head_line: 20, ..Limits::default() };
    let routes = Router::new().build(Settings { limits, ..Settings::default() }).unwrap();
    assert_eq!(ask(&routes, "GET /aaaaaaaaaaaaaa", "").status, 414);
    assert_eq!(ask(&routes, "GET /", "X: 345678901234567890\r\n").status, 431);
}

#[test]
fn routes_that_cannot_be_are_told() {
    let page = |_: &Request<'_>| Answer::text(200, "");
    for (name, router, text) in [
        (
            "two pages",
            Router::new().get("/a", page).get("/a", page),
            "path \"/a\" is given to two pages",
        ),
        (
            "two services",
            Router::new().service("/a", |_| Quiet).service_raw("/a", |_| Quiet),
            "a route of path \"/a\" is never reached",
        ),
        ("no slash", Router::new().get("a", page), "path \"a\" cannot be: it starts with no slash"),
        (
            "two names for one segment",
            Router::new().get("/{a}", page).get("/{b}", page),
            "path \"/{b}\" cannot be: ",
        ),
        ("open brace", Router::new().get("/{a", page), "path \"/{a\" cannot be: "),
        (
            "subprotocol",
            Router::new().route("/", Route::new(|_| Quiet).protocols(["a b"])),
            "subprotocol \"a b\" at path \"/\" is not a token",
        ),
    ] {
        let error = router.build(Settings::default()).unwrap_err().to_string();
        assert!(error.starts_with(text), "{name}: {error}");
    }
}

// ---- extensions --------------------------------------------------------------------------------

mod extensions {
    use super::*;
    use crate::protocol::{
        extension::{Extension, Offer, Param, Transform},
        frame::Rsv,
    };

    /// Claims a bit, and declines.
    struct Claims(&'static str, Rsv);

    impl Extension for Claims {
        fn name(&self) -> &str {
            self.0
        }

        fn rsv(&self) -> Rsv {
            self.1
        }

        fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
            None
        }

        fn offers(&self) -> Vec<Vec<Param<'static>>> {
            vec![]
        }

        fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
            None
        }
    }

    fn one() -> Extensions {
        Extensions::new().with(Claims("x-one", Rsv::RSV1))
    }

    fn same_bit() -> Extensions {
        one().with(Claims("x-other", Rsv::RSV1))
    }

    #[test]
    fn those_that_do_not_go_together_are_an_error_of_their_route() {
        let quiet = || Route::new(|_: &Request<'_>| Quiet);
        let names = |one: &str, other: &str| [one.to_string(), other.to_string()];
        for (name, servers, route, conflict) in [
            ("none", Extensions::new(), quiet(), None),
            ("the server's", one(), quiet(), None),
            ("the server's do not", same_bit(), quiet(), Some(names("x-one", "x-other"))),
            ("the route has others", same_bit(), quiet().extensions(one()), None),
            ("or none", same_bit(), quiet().extensions(Extensions::new()), None),
            ("its do not", one(), quiet().extensions(same_bit()), Some(names("x-one", "x-other"))),
            #[cfg(feature = "deflate")]
            (
                "nor with compression",
                one(),
                quiet().deflate(Some(Deflate::default())),
                Some(names("permessage-deflate", "x-one")),
            ),
            #[cfg(feature = "deflate")]
            (
                "which raw mode leaves out",
                one(),
                quiet().raw().deflate(Some(Deflate::default())),
                None,
            ),
        ] {
            let defaults = Settings { extensions: servers, ..Settings::default() };
            let built = Router::new().route("/path", route).build(defaults).map(drop);
            let expected = conflict.map(|names| RouteError::Extensions {
                path: "/path".into(),
                conflict: Conflict::ReservedBits { names },
            });
            assert_eq!(built.err(), expected, "{name}");
        }
    }
}

// ---- compression -------------------------------------------------------------------------------

#[cfg(feature = "deflate")]
mod compression {
    use std::time::Instant;

    use super::*;
    use crate::protocol::connection::Connection;

    const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

    fn answered(routes: &Routes, path: &str, offer: &str) -> Option<String> {
        let seen = ask(routes, &format!("GET {path}"), &format!("{UPGRADE}{offer}"));
        assert_eq!(seen.status, 101);
        seen.header("Sec-WebSocket-Extensions").map(String::from)
    }

    fn routes(defaults: Option<Deflate>) -> Routes {
        let quiet = || Route::new(|_: &Request<'_>| Quiet);
        let own = Deflate { client_window_bits: 9, ..Deflate::default() };
        Router::new()
            .route("/default", quiet())
            .route("/own", quiet().deflate(Some(own.clone())))
            .route("/none", quiet().deflate(None))
            .route("/raw", quiet().raw())
            .route("/raw-own", quiet().raw().deflate(Some(own.clone())))
            .route("/raw-in", quiet().raw().deflate(Some(Deflate { raw: true, ..own })))
            .build(Settings { deflate: defaults, ..Settings::default() })
            .unwrap()
    }

    #[test]
    fn each_route_answers_as_it_is_set() {
        let answer = |bits| {
            let rest = "server_no_context_takeover; client_no_context_takeover";
            Some(format!("permessage-deflate; {rest}; client_max_window_bits={bits}"))
        };
        let with = routes(Some(Deflate::default()));
        let without = routes(None);
        for (path, by_default, where_none_is_default) in [
            ("/default", answer(12), None),
            ("/own", answer(9), answer(9)),
            ("/none", None, None),
            ("/raw", None, None),
            ("/raw-own", None, None),
            ("/raw-in", answer(9), answer(9)),
        ] {
            assert_eq!(answered(&with, path, OFFER), by_default, "{path}");
            assert_eq!(answered(&without, path, OFFER), where_none_is_default, "{path}");
            assert_eq!(answered(&with, path, ""), None, "{path}");
        }
        let eight = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n";
        assert_eq!(answered(&with, "/default", eight), None, "a declined offer is no refusal");
    }

    /// A connection for this upgrade, and whether its server may take over.
    fn takes_over(routed: Routed) -> (bool, Connection) {
        let Routed::Upgrade { terms, settings, .. } = routed else { panic!("no upgrade") };
        let mut connection = Connection::server(settings.clone(), Instant::now());
        connection.upgrade(settings, Instant::now());
        connection.agree_on(terms);
        (connection.agreed().expect("compression").server_takeover, connection)
    }

    #[test]
    fn takeover_is_granted_to_so_many_at_once() {
        let deflate = Deflate {
            server_takeover: true,
            client_window_bits: 15,
            max_takeovers: 2,
            ..Deflate::default()
        };
        let routes = routes(Some(deflate));
        let head = format!("GET /default HTTP/1.1\r\nHost: a\r\n{UPGRADE}{OFFER}\r\n");
        let open = || takes_over(super::route(&routes, &head));
        let granted: Vec<_> = (0..4).map(|_| open()).collect();
        let flags: Vec<_> = granted.iter().map(|(granted, _)| *granted).collect();
        assert_eq!(flags, [true, true, false, false]);
        drop(granted);
        assert!(open().0, "who has gone is not counted");
    }

    #[test]
    fn who_waits_for_a_decision_is_counted_until_it_is_refused() {
        let deflate = Deflate { server_takeover: true, max_takeovers: 1, ..Deflate::default() };
        let routes = Router::new()
            .route("/", Route::deciding(|_| async { Quiet }))
            .build(Settings { deflate: Some(deflate), ..Settings::default() })
            .unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{UPGRADE}{OFFER}\r\n");
        let open = || match super::route(&routes, &head) {
            Routed::Later { opening, .. } => opening,
            _ => panic!("it is decided at once"),
        };
        let takes_over = |opening: Opening| takes_over(opening.finish(Quiet.into_service())).0;
        let first = open();
        assert!(!takes_over(open()));
        assert_eq!(seen(first.finish(Err(Answer::text(403, "no")))).status, 403);
        assert!(takes_over(open()));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for deflate in [
            Deflate { level: 0, ..Deflate::default() },
            Deflate { level: 10, ..Deflate::default() },
            Deflate { mem_level: 0, ..Deflate::default() },
            Deflate { mem_level: 10, ..Deflate::default() },
            Deflate { server_window_bits: 8, ..Deflate::default() },
            Deflate { server_window_bits: 16, ..Deflate::default() },
            Deflate { client_window_bits: 8, ..Deflate::default() },
            Deflate { client_window_bits: 16, ..Deflate::default() },
        ] {
            let route = Route::new(|_: &Request<'_>| Quiet).deflate(Some(deflate.clone()));
            let error = Router::new().route("/a", route).build(Settings::default()).unwrap_err();
            assert_eq!(error, RouteError::Deflate { path: "/a".into() }, "{deflate:?}");
            assert!(error.to_string().contains("/a"));
        }
    }
}
