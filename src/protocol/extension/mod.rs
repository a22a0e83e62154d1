//! Extensions: the grammar of `Sec-WebSocket-Extensions` (§9.1), permessage-deflate, and a door for
//! those of one's own.
//!
//! Header values go in, a list of [`Offer`]s comes out, and the other way round. One walk over each
//! byte, no backtracking. What an extension does with its parameters is its own work: [`deflate`]'s, or
//! that of an [`Extension`] among the installed [`Extensions`].

pub(super) mod chain;
pub mod deflate;
mod installed;
mod transform;

use std::{borrow::Cow, fmt};

pub use installed::{Conflict, Extensions};
pub use transform::{DataFrame, Extension, ExtensionError, Transform};

/// One extension and its parameters: what a client offers, or what a server responds with (§9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The extension's name: a token.
    pub name: &'a str,
    /// Its parameters in their order. A name may stand twice; whether it may mean something then is
    /// the extension's rule.
    pub params: Vec<Param<'a>>,
}

/// A parameter of an extension: `name`, `name=value` or `name="value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param<'a> {
    /// The parameter's name: a token.
    pub name: &'a str,
    /// Its value, without quotes and escapes: a token (§9.1).
    pub value: Option<Cow<'a, str>>,
}

/// Most extensions in one handshake; more are refused.
pub const MAX_OFFERS: usize = 32;

/// Most parameters of one extension; more are refused.
pub const MAX_PARAMS: usize = 16;

/// A `Sec-WebSocket-Extensions` header that breaks the grammar of §9.1, or passes [`MAX_OFFERS`] or
/// [`MAX_PARAMS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedExtensions;

impl fmt::Display for MalformedExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed extensions")
    }
}

impl std::error::Error for MalformedExtensions {}

/// Reads the values of all `Sec-WebSocket-Extensions` headers of a handshake, in their order, as the
/// one list they are (§9.1).
///
/// # Errors
/// [`MalformedExtensions`], also for a header that names no extension at all.
pub fn parse<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Offer<'a>>, MalformedExtensions> {
    let mut offers = Vec::new();
    for value in values {
        let before = offers.len();
        let mut rest = Tokenizer(str::from_utf8(value).map_err(|_| MalformedExtensions)?);
        loop {
            // RFC 9110 §5.6.1.2: empty elements of a list count for nothing.
            while rest.eat(b',') {}
            if rest.0.is_empty() {
                break;
            }
            if offers.len() == MAX_OFFERS {
                return Err(MalformedExtensions);
            }
            offers.push(rest.offer()?);
            if !rest.0.is_empty() && !rest.0.starts_with(',') {
                return Err(MalformedExtensions);
            }
        }
        if offers.len() == before {
            return Err(MalformedExtensions);
        }
    }
    Ok(offers)
}

/// The value of a `Sec-WebSocket-Extensions` header that says `offers`, which are legal and at least
/// one.
pub(crate) fn encode(offers: &[Offer<'_>]) -> String {
    offers.iter().map(Offer::to_string).collect::<Vec<_>>().join(", ")
}

impl Offer<'_> {
    /// Whether names and values are tokens and the parameters are at most [`MAX_PARAMS`]: what is
    /// encoded then reads back as it is.
    pub fn is_legal(&self) -> bool {
        let legal_param = |param: &Param<'_>| {
            is_token(param.name) && param.value.as_ref().is_none_or(|value| is_token(value))
        };
        is_token(self.name)
            && self.params.len() <= MAX_PARAMS
            && self.params.iter().all(legal_param)
    }
}

impl fmt::Display for Offer<'_> {
    /// As it stands in the header, in the shortest form: no value needs quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for Param { name, value } in &self.params {
            match value {
                Some(value) => write!(f, "; {name}={value}")?,
                None => write!(f, "; {name}")?,
            }
        }
        Ok(())
    }
}

/// What is left of a header value. Each step takes white space behind it along.
struct Tokenizer<'a>(&'a str);

impl<'a> Tokenizer<'a> {
    /// `extension-param`s behind an `extension-token`.
    fn offer(&mut self) -> Result<Offer<'a>, MalformedExtensions> {
        let mut offer = Offer { name: self.token()?, params: Vec::new() };
        while self.eat(b';') {
            if offer.params.len() == MAX_PARAMS {
                return Err(MalformedExtensions);
            }
            let name = self.token()?;
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            offer.params.push(Param { name, value });
        }
        Ok(offer)
    }

    fn value(&mut self) -> Result<Cow<'a, str>, MalformedExtensions> {
        match self.0.strip_prefix('"') {
            Some(quoted) => {
                self.0 = quoted;
                self.quoted()
            }
            None => self.token().map(Cow::Borrowed),
        }
    }

    fn token(&mut self) -> Result<&'a str, MalformedExtensions> {
        let len = self.0.bytes().take_while(|&byte| is_token_byte(byte)).count();
        if len == 0 {
            return Err(MalformedExtensions);
        }
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        self.skip_space();
        Ok(token)
    }

    /// The rest of a quoted string whose first quote is taken.
    fn quoted(&mut self) -> Result<Cow<'a, str>, MalformedExtensions> {
        let mut escaped = false;
        let mut has_escapes = false;
        let end = self.0.bytes().position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            has_escapes |= escaped;
            closes
        });
        let quoted = &self.0[..end.ok_or(MalformedExtensions)?];
        self.0 = &self.0[quoted.len() + 1..];
        self.skip_space();
        let value = if has_escapes { unescape(quoted).into() } else { Cow::Borrowed(quoted) };
        // §9.1: after unescaping, a quoted value is a token.
        if is_token(&value) { Ok(value) } else { Err(MalformedExtensions) }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.0.as_bytes().first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
            self.skip_space();
        }
        found
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }
}

fn unescape(quoted: &str) -> String {
    let mut escaped = false;
    let kept = |&character: &char| {
        escaped = character == '\\' && !escaped;
        !escaped
    };
    quoted.chars().filter(kept).collect()
}

/// Whether this is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a token may hold this byte (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(
        name: &'static str,
        params: &[(&'static str, Option<&'static str>)],
    ) -> Offer<'static> {
        let param = |&(name, value): &(&'static str, Option<&'static str>)| Param {
            name,
            value: value.map(Cow::Borrowed),
        };
        Offer { name, params: params.iter().map(param).collect() }
    }

    #[test]
    fn offers_are_read_and_written() {
        // Each row in its shortest form; those below have other spellings of the same.
        for (name, wire, offers) in [
            ("§9.1", "foo", vec![offer("foo", &[])]),
            ("§9.1, with parameters", "bar; baz=2", vec![offer("bar", &[("baz", Some("2"))])]),
            (
                "§9.1, two",
                "foo, bar; baz=2",
                vec![offer("foo", &[]), offer("bar", &[("baz", Some("2"))])],
            ),
            (
                "browser",
                "permessage-deflate; client_max_window_bits",
                vec![offer("permessage-deflate", &[("client_max_window_bits", None)])],
            ),
            (
                "doubled parameter",
                "x; a=1; a=2",
                vec![offer("x", &[("a", Some("1")), ("a", Some("2"))])],
            ),
        ] {
            assert_eq!(parse([wire.as_bytes()]), Ok(offers.clone()), "{name}");
            assert_eq!(encode(&offers), wire, "{name}");
        }
    }

    #[test]
    fn other_spellings_say_the_same() {
        for (name, wire, shortest) in [
            ("no space", "foo,bar;baz=2;b", "foo, bar; baz=2; b"),
            ("much space", "foo \t,  bar ;\tbaz = 2 ", "foo, bar; baz=2"),
            ("empty elements", ",foo,, bar,", "foo, bar"),
            ("quoted", r#"a; b="10""#, "a; b=10"),
            ("quoted and escaped", r#"a; b="\1\0"; c"#, "a; b=10; c"),
        ] {
            assert_eq!(
                parse([wire.as_bytes()]).map(|offers| encode(&offers)),
                Ok(shortest.into()),
                "{name}"
            );
        }
    }

    #[test]
    fn header_lines_make_one_list() {
        let lines = [&b"foo, bar;a=1"[..], b"baz"];
        assert_eq!(parse(lines), parse([&b"foo, bar;a=1,baz"[..]]));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for (name, wire) in [
            ("nothing", ""),
            ("only commas", " , ,"),
            ("no name", "; a"),
            ("no parameter", "foo;"),
            ("no parameter between", "foo;;a"),
            ("no value", "foo; a="),
            ("no name of a value", "foo; =1"),
            ("two words", "foo bar"),
            ("two words behind a value", "foo; a=1 b"),
            ("two words behind a quote", r#"foo; a="1"b"#),
            ("no closing quote", r#"foo; a="1"#),
            ("escaped closing quote", r#"foo; a="1\""#),
            ("quoted nothing", r#"foo; a="""#),
            ("quoted space", r#"foo; a="1 2""#),
            ("quoted comma", r#"foo; a="1,2""#),
            ("quoted quote", r#"foo; a="\"""#),
            ("quoted name", r#""foo""#),
            ("quoted beyond ASCII", "foo; a=\"é\""),
            ("escaped beyond ASCII", "foo; a=\"\\é\""),
            ("beyond ASCII", "foé"),
            ("slash", "foo/1"),
        ] {
            assert_eq!(parse([wire.as_bytes()]), Err(MalformedExtensions), "{name}");
        }
        assert_eq!(parse([&b"foo"[..], b""]), Err(MalformedExtensions), "an empty line more");
        assert_eq!(parse([&b"fo\xff"[..]]), Err(MalformedExtensions), "no UTF-8");
    }

    #[test]
    fn counts_are_bounded() {
        let offers = |count| vec!["foo"; count].join(",");
        assert!(parse([offers(MAX_OFFERS).as_bytes()]).is_ok());
        assert!(parse([offers(MAX_OFFERS + 1).as_bytes()]).is_err());
        assert!(parse(vec![&b"foo"[..]; MAX_OFFERS + 1]).is_err());
        let params = |count| format!("foo{}", ";a".repeat(count));
        assert!(parse([params(MAX_PARAMS).as_bytes()]).is_ok());
        assert!(parse([params(MAX_PARAMS + 1).as_bytes()]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            names in prop::collection::vec(
                ("[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,8}", prop::collection::vec(("[a-z_]{1,8}", prop::option::of("[0-9a-z!~]{1,8}")), 0..=MAX_PARAMS)),
                1..=MAX_OFFERS,
            ),
        ) {
            let mut offers = Vec::new();
            for (name, params) in &names {
                let param = |(name, value)| Param { name, value: Option::map(value, Cow::Borrowed) };
                let params = params.iter().map(|(name, value)| param((name, value.as_deref())));
                offers.push(Offer { name, params: params.collect() });
            }
            prop_assert!(offers.iter().all(Offer::is_legal));
            let encoded = encode(&offers);
            prop_assert_eq!(parse([encoded.as_bytes()]), Ok(offers));
        }

        #[test]
        fn whatever_is_read_is_legal(value: Vec<u8>, text in r#"[a-c;,="\\ ]{0,40}"#) {
            for value in [&value[..], text.as_bytes()] {
                if let Ok(offers) = parse([value]) {
                    prop_assert!(offers.iter().all(Offer::is_legal));
                    let encoded = encode(&offers);
                    prop_assert_eq!(parse([encoded.as_bytes()]), Ok(offers));
                }
            }
        }
    }
}
