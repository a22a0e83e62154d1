//! What is offered, answered and accepted of extensions (§9.1).

use super::{extended::Own, *};
use crate::protocol::extension::{
    Conflict, DataFrame, Extension, ExtensionError, Param, Transform,
};

/// Works on nothing.
struct Idle;

impl Transform for Idle {
    fn outgoing(&mut self, _: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        Ok(())
    }

    fn incoming(&mut self, _: &mut DataFrame<'_>) -> Result<(), ExtensionError> {
        Ok(())
    }
}

/// Takes one parameter, `level`, which is 1 to 4; a client would have 3, and a server has a fault at 4.
struct Level;

impl Level {
    fn level(offer: &Offer<'_>) -> Option<u8> {
        match &offer.params[..] {
            [Param { name: "level", value: Some(value) }] => {
                value.parse().ok().filter(|level| (1..=4).contains(level))
            }
            _ => None,
        }
    }

    fn says(level: u8) -> Vec<Param<'static>> {
        vec![Param { name: "level", value: Some(level.to_string().into()) }]
    }
}

impl Extension for Level {
    fn name(&self) -> &str {
        "x-level"
    }

    fn rsv(&self) -> Rsv {
        Rsv::RSV2
    }

    fn answer(&self, offer: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        let params = match Self::level(offer)? {
            4 => vec![Param { name: "no token", value: None }],
            level => Self::says(level),
        };
        Some((params, Box::new(Idle)))
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        vec![Self::says(3), Self::says(2)]
    }

    fn accept(&self, response: &Offer<'_>) -> Option<Box<dyn Transform>> {
        Self::level(response).filter(|level| *level > 1).map(|_| Box::new(Idle) as _)
    }
}

fn idle(name: &'static str, rsv: Rsv) -> Own {
    Own { name, rsv, raw: false, work: || Box::new(Idle) }
}

/// Two extensions, of which the first has a parameter.
fn two() -> Settings {
    let extensions = Extensions::new().with(Level).with(idle("x-idle", Rsv::NONE));
    Settings { extensions, ..Settings::default() }
}

fn written(offers: &[Offer<'_>]) -> String {
    offers.iter().map(Offer::to_string).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_server_answers_each_extension_by_the_first_offer_that_it_takes() {
    for (name, offers, response) in [
        ("nothing", "x-other", ""),
        ("one", "x-level; level=2", "x-level; level=2"),
        ("in the order of installation", "x-idle, x-level; level=1", "x-level; level=1, x-idle"),
        (
            "several offers",
            "x-level; level=9, x-level; level=2, x-level; level=1",
            "x-level; level=2",
        ),
        // The parameters of its answer are none.
        ("what cannot be said", "x-level; level=4", ""),
        ("all declined", "x-level, x-level; level=0", ""),
        ("the letter case counts", "X-Idle", ""),
    ] {
        let settings = two();
        let offers = extension::parse([offers.as_bytes()]).unwrap();
        let terms = settings.answer(&offers, &Takeovers::default());
        assert_eq!(written(&terms.response()), response, "{name}");
        let mut endpoint = Endpoint::open(Role::Server, &Settings::default());
        endpoint.connection.agree_on(terms);
        assert_eq!(written(&endpoint.connection.extensions()), response, "{name}");
    }
}

#[test]
fn a_client_offers_what_is_installed() {
    assert_eq!(written(&two().offers()), "x-level; level=3, x-level; level=2, x-idle");
    assert_eq!(Settings::default().offers(), []);
    let raw = Settings { mode: Mode::Raw, ..two() };
    assert_eq!(raw.offers(), [], "nothing of it is for raw mode");
}

#[test]
fn a_client_accepts_what_it_offered_and_refuses_all_else() {
    for (response, verdict) in [
        ("x-level; level=2", Ok("x-level; level=2")),
        ("x-idle", Ok("x-idle")),
        // §9.1: the order is the server's.
        ("x-idle, x-level; level=3", Ok("x-idle, x-level; level=3")),
        ("x-level; level=1", Err(Refused::Parameters)),
        ("x-level", Err(Refused::Parameters)),
        ("x-idle, x-other", Err(Refused::NotOffered)),
        ("x-idle, x-level; level=2, x-idle", Err(Refused::Twice)),
        ("permessage-deflate", Err(Refused::NotOffered)),
    ] {
        let settings = two();
        let parsed = extension::parse([response.as_bytes()]).unwrap();
        let agreed = settings.accept(&parsed).map(|terms| {
            let mut endpoint = Endpoint::open(Role::Client, &Settings::default());
            endpoint.connection.agree_on(terms);
            written(&endpoint.connection.extensions())
        });
        assert_eq!(agreed, verdict.map(String::from), "{response}");
    }
    assert!(two().accept(&[]).unwrap().own.is_empty(), "a server may decline all");
    let raw = Settings { mode: Mode::Raw, ..two() };
    let idle = extension::parse([&b"x-idle"[..]]).unwrap();
    assert_eq!(raw.accept(&idle).unwrap_err(), Refused::NotOffered);
}

#[test]
fn deflate_is_negotiated_with_the_others_and_stands_first() {
    let settings = Settings { deflate: Some(Deflate::default()), ..two() };
    let offers = settings.offers();
    assert!(written(&offers).starts_with("permessage-deflate; "));
    assert!(written(&offers).ends_with("x-level; level=3, x-level; level=2, x-idle"));
    let terms = settings.answer(&offers, &Takeovers::default());
    let header = written(&terms.response());
    let response = extension::parse([header.as_bytes()]).unwrap();
    let names: Vec<_> = response.iter().map(|offer| offer.name).collect();
    assert_eq!(names, ["permessage-deflate", "x-level", "x-idle"]);

    let mut ends = [Role::Server, Role::Client].map(|role| Endpoint::connecting(role, &settings));
    let accepted = settings.accept(&response).unwrap();
    for (end, terms) in ends.iter_mut().zip([terms, accepted]) {
        end.connection.upgrade(Arc::new(settings.clone()), start());
        end.connection.agree_on(terms);
    }
    let [server, client] = &ends;
    assert_eq!(server.connection.extensions(), client.connection.extensions());
    assert_eq!(server.connection.extensions(), response, "it says all there is");
    assert_eq!(server.connection.agreed(), client.connection.agreed());

    let faulty = extension::deflate::Unacceptable::Parameter;
    let deflate = response[0].to_string();
    for (response, refused) in [
        (format!("x-idle, {deflate}"), Refused::Order),
        (format!("{deflate}, x-idle, {deflate}"), Refused::Twice),
        (format!("{deflate}; nonsense"), Refused::Deflate(faulty)),
    ] {
        let response = extension::parse([response.as_bytes()]).unwrap();
        assert_eq!(settings.accept(&response).unwrap_err(), refused);
    }
}

#[test]
fn extensions_that_do_not_go_together_are_told() {
    let check = |own: Vec<Own>, deflate| {
        let extensions = own.into_iter().fold(Extensions::new(), Extensions::with);
        Settings { extensions, deflate, ..Settings::default() }.check_extensions()
    };
    let bits =
        |one: &str, other: &str| Err(Conflict::ReservedBits { names: [one.into(), other.into()] });
    let twice = |name: &str| Err(Conflict::Twice { name: name.into() });
    let [one, two, three] = [Rsv::RSV1, Rsv::RSV2, Rsv::RSV3];
    for (name, own, expected) in [
        ("none", vec![], Ok(())),
        ("each its bit", vec![idle("a", one), idle("b", two), idle("c", three)], Ok(())),
        ("no bits at all", vec![idle("a", Rsv::NONE), idle("b", Rsv::NONE)], Ok(())),
        ("the same bit", vec![idle("a", two), idle("b", three), idle("c", two)], bits("a", "c")),
        ("one of two bits", vec![idle("a", one.with(three)), idle("b", three)], bits("a", "b")),
        ("the same name", vec![idle("a", two), idle("a", three)], twice("a")),
        ("no name", vec![idle("", two)], Err(Conflict::Name { name: "".into() })),
        ("no token", vec![idle("a b", two)], Err(Conflict::Name { name: "a b".into() })),
    ] {
        assert_eq!(check(own, None), expected, "{name}");
    }
    let deflate = || Some(Deflate::default());
    let name = "permessage-deflate";
    assert_eq!(check(vec![idle("a", two.with(three))], deflate()), Ok(()));
    assert_eq!(check(vec![idle("a", one)], deflate()), bits(name, "a"));
    assert_eq!(check(vec![idle("permessage-deflate", two)], deflate()), twice(name));
    assert_eq!(check(vec![idle("permessage-deflate", one)], None), Ok(()), "it is nobody's");
}

#[test]
fn the_same_extensions_are_equal_and_others_are_not() {
    let settings = two();
    assert_eq!(settings.clone(), settings);
    assert_ne!(two(), settings, "another value of the same type is another extension");
    assert_eq!(format!("{:?}", settings.extensions), r#"["x-level", "x-idle"]"#);
}
