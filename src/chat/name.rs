//! Names of members and of rooms.

use std::{fmt, sync::Arc};

use super::text;

/// A name: one visible word of bounded length, without brackets.
///
/// Choice: one word, as commands are split at spaces; no brackets, as `[name]: text` could not be
/// told apart otherwise. Hostile and invisible characters are left out of it in silence, so that no
/// two names look the same because of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(Arc<str>);

impl Name {
    /// Makes a name of what somebody wrote: at most `max` bytes once it is cleaned.
    pub(super) fn parse(raw: &str, max: usize) -> Result<Self, BadName> {
        let raw = raw.trim();
        // So long that no cleaning helps; also what keeps the work below small.
        if raw.len() > 8 * max {
            return Err(BadName::TooLong { max });
        }
        let name: String =
            raw.chars().filter(|&c| !text::is_harmful(c) && !text::is_invisible(c)).collect();
        if name.is_empty() {
            Err(BadName::Empty)
        } else if name.len() > max {
            Err(BadName::TooLong { max })
        } else if name.contains(|c: char| c.is_whitespace() || matches!(c, '[' | ']')) {
            Err(BadName::NotOneWord)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The name that the server gives to the newcomer with this number.
    pub(super) fn numbered(number: u64) -> Self {
        Self(format!("user{number}").into())
    }

    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the server may give this name to somebody, in any letter case.
    pub(super) fn is_numbered(&self) -> bool {
        self.0
            .split_at_checked(4)
            .filter(|(word, _)| word.eq_ignore_ascii_case("user"))
            .is_some_and(|(_, digits)| {
                !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            })
    }

    /// The name in the form by which names are compared: the letter case makes no difference.
    pub(super) fn folded(&self) -> Self {
        Self(self.0.to_lowercase().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadName {
    /// Nothing of it can be seen.
    Empty,
    /// It has more bytes than this.
    TooLong {
        /// Most bytes a name may have.
        max: usize,
    },
    /// It has spaces or brackets in it.
    NotOneWord,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name needs a letter that can be seen"),
            Self::TooLong { max } => write!(f, "a name has at most {max} bytes"),
            Self::NotOneWord => f.write_str("a name is one word without [ and ]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_word() {
        let just_fits = "x".repeat(64);
        let one_over = "x".repeat(65);
        let hidden_bytes = format!("{just_fits}\u{200b}");
        let endless = "\u{200b}".repeat(1_000);
        for (raw, name) in [
            ("alice", Ok("alice")),
            (" alice ", Ok("alice")),
            ("Zoë", Ok("Zoë")),
            ("李雷", Ok("李雷")),
            ("al\u{202e}ice", Ok("alice")),
            ("al\x1b\u{200b}\u{fe0f}ice", Ok("alice")),
            (&just_fits, Ok(&*just_fits)),
            (&hidden_bytes, Ok(&*just_fits)),
            (&one_over, Err(BadName::TooLong { max: 64 })),
            (&endless, Err(BadName::TooLong { max: 64 })),
            ("", Err(BadName::Empty)),
            ("\u{200b}\u{3164}", Err(BadName::Empty)),
            ("Mary Ann", Err(BadName::NotOneWord)),
            ("a\u{3000}b", Err(BadName::NotOneWord)),
            ("bob]:", Err(BadName::NotOneWord)),
        ] {
            let parsed = Name::parse(raw, 64).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), name.as_deref(), "{raw:?}");
        }
    }

    #[test]
    fn names_that_the_server_gives_are_known_in_any_case() {
        for (raw, numbered) in [
            ("user0", true),
            ("USER17", true),
            ("user", false),
            ("user1a", false),
            ("ruser1", false),
            ("üser1", false),
            ("使用者1", false),
        ] {
            assert_eq!(Name::parse(raw, 64).unwrap().is_numbered(), numbered, "{raw}");
        }
    }
}
