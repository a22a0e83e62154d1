//! Upgrades: who is let in, by which route, and with what.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{self, Poll, Waker},
};

use super::*;

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
        let Routed::Later { mut decision, opening } = super::route(&routes, &head) else {
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
