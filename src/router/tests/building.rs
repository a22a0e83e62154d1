//! What routes there can be, and which settings each has.

use std::time::Duration;

use super::*;
use crate::protocol::{
    extension::{Extension, Offer, Param, Transform},
    frame::Rsv,
};

fn settings_of(routes: &Routes, path: &str) -> Arc<Settings> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n");
    match route(routes, &head) {
        Routed::Upgrade { settings, .. } => settings,
        Routed::Answer { status, .. } => panic!("{path} is answered with {status}"),
        Routed::Later { .. } => panic!("{path} takes a while"),
    }
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
    let limits = Limits { max_head_line: 50, ..Limits::default() };
    let routes = Router::new().build(Settings { limits, ..Settings::default() }).unwrap();
    assert_eq!(ask(&routes, &format!("GET /{}", "a".repeat(50)), "").status, 414);
    assert_eq!(ask(&routes, "GET /", &format!("X: {}\r\n", "a".repeat(50))).status, 431);
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
            quiet().deflate(Some(crate::Deflate::default())),
            Some(names("permessage-deflate", "x-one")),
        ),
        #[cfg(feature = "deflate")]
        (
            "which raw mode leaves out",
            one(),
            quiet().raw().deflate(Some(crate::Deflate::default())),
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
