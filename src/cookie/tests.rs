//! Cookies under a clock moved by hand.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::protocol::handshake;

const SECRET: [u8; 32] = *b"a secret of two and thirty bytes";

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn cookie() -> SignedCookie {
    SignedCookie::new("id", &Key::new(&SECRET).unwrap())
}

/// The value in a Set-Cookie header.
fn value(set: &str) -> &str {
    set.split([';', '=']).nth(1).unwrap()
}

/// What `cookie` reads from a request with this Cookie header.
fn read(cookie: &SignedCookie, header: &str) -> Option<Vec<u8>> {
    let headers = vec![("Cookie", header.as_bytes())];
    let head = handshake::Request { method: "GET", path: "/", query: None, headers };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    cookie.read(&Request::new(&head, &[], addr, None), noon())
}

#[test]
fn what_is_set_is_read() {
    let cookie = cookie();
    for payload in [&b""[..], b"a", b"\0\xff;=\"", &[7; 725]] {
        let set = cookie.seal(payload, noon()).unwrap();
        assert_eq!(cookie.open(value(&set), noon()).as_deref(), Ok(payload));
        let header = format!("a=1; id={}; b=2", value(&set));
        assert_eq!(read(&cookie, &header).as_deref(), Some(payload), "{set}");
    }
    assert_eq!(cookie.ignored(), 0);
}

#[test]
fn the_form_of_a_cookie_stays() {
    // Cookies of this form are out there: another form needs another version.
    let set = cookie().seal(b"payload", noon()).unwrap();
    assert_eq!(
        set,
        "id=1.AAAAAGtxXwBwYXlsb2Fk.UKYO4eqpE0l8deK7lRBfoiBF1JnlJ4nK2DwImXX3yEo; Path=/; \
         Max-Age=2592000; HttpOnly; SameSite=Lax"
    );
}

#[test]
fn a_secure_cookie_is_of_its_host_alone() {
    let secure = cookie().secure(true);
    assert_eq!(secure.name(), "__Host-id");
    let set = secure.seal(b"a", noon()).unwrap();
    assert!(set.starts_with("__Host-id=1.") && set.ends_with("; SameSite=Lax; Secure"), "{set}");
    assert!(read(&secure, &format!("__Host-id={}", value(&set))).is_some());
    assert!(read(&secure, &format!("id={}", value(&set))).is_none(), "set by whoever");
    assert_eq!(secure.secure(false).name(), "id");
}

#[test]
fn a_cookie_is_worth_something_until_it_expires() {
    let second = Duration::from_secs(1);
    for (cookie, age) in [(cookie(), MONTH), (cookie().max_age(second * 60), second * 60)] {
        let set = cookie.seal(b"a", noon()).unwrap();
        assert!(set.contains(&format!("; Max-Age={};", age.as_secs())), "{set}");
        for (name, now, outcome) in [
            ("at once", noon(), Ok(b"a".to_vec())),
            ("a second before its end", noon() + age - second, Ok(b"a".to_vec())),
            ("at its end", noon() + age, Err(BadCookie::Expired)),
            ("long after", noon() + 100 * age, Err(BadCookie::Expired)),
            ("with a clock set back", SystemTime::UNIX_EPOCH - second, Ok(b"a".to_vec())),
        ] {
            assert_eq!(cookie.open(value(&set), now), outcome, "{name}");
        }
    }
    let never = cookie().max_age(Duration::ZERO);
    let set = never.seal(b"a", noon()).unwrap();
    assert_eq!(never.open(value(&set), noon()), Err(BadCookie::Expired));
    let ever = cookie().max_age(Duration::MAX);
    let set = ever.seal(b"a", noon()).unwrap();
    assert!(ever.open(value(&set), noon() + 1_000 * MONTH).is_ok());
}

#[test]
fn what_is_not_ours_is_ignored() {
    let ours = cookie().seal(b"payload", noon()).unwrap();
    let ours = value(&ours);
    let (rest, signature) = ours.rsplit_once('.').unwrap();
    let other_key = SignedCookie::new("id", &Key::random()).seal(b"payload", noon()).unwrap();
    let other_name = SignedCookie::new("other", &Key::new(&SECRET).unwrap());
    let other_name = other_name.seal(b"payload", noon()).unwrap();
    let plain = format!("1.{}.", URL_SAFE_NO_PAD.encode([&[0xff; 8][..], b"payload"].concat()));
    for (name, value, error) in [
        ("nothing", String::new(), BadCookie::Version),
        ("no version", ours[2..].into(), BadCookie::Version),
        ("later version", format!("2{}", &ours[1..]), BadCookie::Version),
        ("longer version", format!("1{ours}"), BadCookie::Version),
        ("version alone", "1.".into(), BadCookie::Malformed),
        ("no signature", rest.into(), BadCookie::Malformed),
        ("empty signature", format!("{rest}."), BadCookie::Forged),
        ("signature cut off", ours[..ours.len() - 2].into(), BadCookie::Malformed),
        ("signature of fewer bytes", ours[..ours.len() - 3].into(), BadCookie::Forged),
        ("no body", format!("1..{signature}"), BadCookie::Forged),
        ("two signatures", format!("{ours}.{signature}"), BadCookie::Forged),
        ("padding", format!("{ours}="), BadCookie::Malformed),
        ("another alphabet", format!("{rest}.{}", "/".repeat(43)), BadCookie::Malformed),
        ("unsigned", plain, BadCookie::Forged),
        ("another key", value(&other_key).into(), BadCookie::Forged),
        ("another cookie of the same key", value(&other_name).into(), BadCookie::Forged),
        ("huge", format!("1.{}.{signature}", "A".repeat(1 << 20)), BadCookie::TooLong),
        ("longer by a byte", "1".repeat(1025), BadCookie::TooLong),
    ] {
        let cookie = cookie();
        assert_eq!(cookie.open(&value, noon()), Err(error), "{name}");
        assert_eq!(read(&cookie, &format!("id={value}")), None, "{name}");
        assert_eq!(cookie.ignored(), 1, "{name}");
    }
    // The key is the same whoever makes it of the secret.
    assert!(cookie().open(ours, noon()).is_ok());
}

#[test]
fn a_cookie_with_any_bit_changed_is_ignored() {
    let cookie = cookie();
    let set = cookie.seal(b"payload", noon()).unwrap();
    let ours = value(&set).as_bytes();
    for at in 0..ours.len() {
        for bit in 0..7 {
            let mut changed = ours.to_vec();
            changed[at] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            assert!(cookie.open(&changed, noon()).is_err(), "bit {bit} at {at}: {changed}");
        }
        let cut = str::from_utf8(&ours[..at]).unwrap();
        assert!(cookie.open(cut, noon()).is_err(), "cut at {at}");
    }
}

#[test]
fn a_cookie_in_front_of_ours_does_not_hide_it() {
    let cookie = cookie();
    let set = cookie.seal(b"a", noon()).unwrap();
    let ours = value(&set);
    for (others, is_read) in [(0, true), (3, true), (4, false), (400, false)] {
        let ignored = cookie.ignored();
        let header = format!("{}id={ours}", "id=1.A.A; ".repeat(others));
        assert_eq!(read(&cookie, &header).is_some(), is_read, "behind {others}");
        assert_eq!(cookie.ignored() - ignored, others.min(4) as u64);
    }
}

#[test]
fn what_does_not_fit_is_not_set() {
    let set = cookie().seal(&[7; 725], noon()).unwrap();
    assert_eq!(value(&set).len(), 1024);
    assert_eq!(cookie().seal(&[7; 726], noon()), Err(TooLong { len: 726 }));
}

#[test]
fn a_key_is_long_and_says_nothing_of_itself() {
    assert_eq!(Key::new(&SECRET[1..]).err(), Some(WeakKey { len: 31 }));
    assert_eq!(format!("{:?}", Key::new(&SECRET)), "Ok(Key)");
    assert!(!format!("{:?}", cookie()).contains("secret"));
    let keys = [Key::random(), Key::random()];
    assert_ne!(keys[0].0, keys[1].0);
}
