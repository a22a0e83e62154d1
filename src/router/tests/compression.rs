//! Compression, as each route has it.

use std::time::Instant;

use super::*;
use crate::protocol::{connection::Connection, extension::deflate::Deflate};

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
    for (deflate, fault) in [
        (Deflate { level: 0, ..Deflate::default() }, "Deflate::level is 0"),
        (
            Deflate { server_window_bits: 16, ..Deflate::default() },
            "Deflate::server_window_bits is 16",
        ),
    ] {
        let route = Route::new(|_: &Request<'_>| Quiet).deflate(Some(deflate.clone()));
        let error = Router::new().route("/a", route).build(Settings::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(fault) && text.ends_with("at path \"/a\""), "{deflate:?}: {text}");
    }
}
