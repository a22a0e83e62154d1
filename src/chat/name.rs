//! Names of members and of rooms: what may stand in one, and which are the same.

use std::{fmt, sync::Arc};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use super::text;

/// A name: one word of bounded length, of letters and digits of any script, in the Unicode form
/// NFKC.
///
/// Between two letters or digits one of `-`, `_`, `.` and `'` may stand; behind a letter, a few
/// marks. Everything else is refused: spaces, as commands are split there; brackets and commas, as
/// `[name]: text` and the list of members could not be read otherwise; what cannot be seen.
///
/// Choice: Latin letters stand together with Chinese, Japanese and Korean ones and no others, as
/// many Greek, Cyrillic and other letters look like them. Two names that are each of one script may
/// still look alike: nothing tells those apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(Arc<str>);

impl Name {
    /// Makes a name of what somebody wrote: at most `max` bytes once it is normalised, in lower
    /// case too.
    pub(super) fn parse(raw: &str, max: usize) -> Result<Self, BadName> {
        let raw = raw.trim();
        // Nothing is more than four times as long as its NFKC; also what keeps the work below small.
        if raw.len() > max.saturating_mul(4) {
            return Err(BadName::TooLong { max });
        }
        let name = Self(raw.nfkc().collect::<String>().into());
        // Some letters are longer in lower case, and rooms go by that.
        let folded = name.folded();
        if name.0.len().max(folded.0.len()) > max {
            return Err(BadName::TooLong { max });
        }
        check_word(&folded.0)?;
        check_script(&folded.0)?;
        Ok(name)
    }

    /// The name that the server gives to the newcomer with this number.
    pub(super) fn numbered(number: u64) -> Self {
        Self(format!("user{number}").into())
    }

    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the server may give this name to somebody, or one that looks much like it: in any
    /// letter case, with digits of any script, with `o`, `l` and `i` among the digits.
    pub(super) fn is_numbered(&self) -> bool {
        let digit = |c: char| c.is_numeric() || matches!(c, 'o' | 'l' | 'i');
        self.folded()
            .0
            .strip_prefix("user")
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(digit))
    }

    /// The name in the form by which names are compared: letter case makes no difference.
    pub(super) fn folded(&self) -> Self {
        // The lower case of `İ` is an i with a dot above, which looks like one without. The second
        // normalising is for letters that have a composed form in lower case only.
        let lower = self.0.replace('İ', "i").to_lowercase();
        Self(lower.nfkc().collect::<String>().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most marks on one letter, beside those that are one character with it. Burmese needs four, as
/// in the name ကျော်; many more would reach into the lines above and below.
const MAX_MARKS: usize = 4;

/// Checks that a folded name is letters and digits, with single joiners between them and marks on
/// letters.
fn check_word(name: &str) -> Result<(), BadName> {
    let is_joiner = |c| matches!(c, '-' | '_' | '.' | '\'');
    let mut before = None;
    let mut marks = 0;
    for c in name.chars() {
        if text::is_invisible(c) || is_like_punctuation(c) {
            return Err(BadName::NotOneWord);
        } else if is_combining_mark(c) {
            marks += 1;
            let on_letter = before.is_some_and(|b: char| b.is_alphabetic() || is_combining_mark(b));
            // A mark may hide under its like, and a dot above in the dot of an i; where the dot can
            // be seen, it is one character with its letter.
            if !on_letter || marks > MAX_MARKS || before == Some(c) || c == '\u{307}' {
                return Err(BadName::Marks);
            }
        } else if c.is_alphanumeric() {
            marks = 0;
        } else if !is_joiner(c) || before.is_none_or(is_joiner) {
            return Err(BadName::NotOneWord);
        }
        before = Some(c);
    }
    match before {
        None => Err(BadName::Empty),
        Some(last) if is_joiner(last) => Err(BadName::NotOneWord),
        Some(_) => Ok(()),
    }
}

/// Checks that a folded name has Latin letters only where none look like them.
fn check_script(name: &str) -> Result<(), BadName> {
    let mut letters = name.chars().filter(|&c| c.is_alphabetic() && !is_combining_mark(c));
    let is_foreign = |c| !is_latin(c) && !is_east_asian(c);
    if letters.clone().any(is_latin) && letters.any(is_foreign) {
        return Err(BadName::MixedScripts);
    }
    Ok(())
}

/// Whether Unicode calls this character a letter although it looks like a quote, a colon, a comma
/// or the like: modifier letters, Lisu tones, the saltillo.
fn is_like_punctuation(c: char) -> bool {
    matches!(c, '\u{2b9}'..='\u{2ff}' | '\u{a4f8}'..='\u{a4fd}' | '\u{a78b}'..='\u{a78c}')
}

/// Whether a letter in NFKC is a Latin one.
fn is_latin(c: char) -> bool {
    matches!(
        c,
        'A'..='Z'
            | 'a'..='z'
            | '\u{c0}'..='\u{2af}'
            | '\u{1d00}'..='\u{1dbf}'
            | '\u{1e00}'..='\u{1eff}'
            | '\u{2c60}'..='\u{2c7f}'
            | '\u{a720}'..='\u{a7ff}'
            | '\u{ab30}'..='\u{ab6f}'
    )
}

/// Whether a letter in NFKC is a Chinese, Japanese or Korean one.
fn is_east_asian(c: char) -> bool {
    matches!(
        c,
        '\u{1100}'..='\u{11ff}'
            | '\u{3005}'..='\u{31ff}'
            | '\u{3400}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7ff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{1aff0}'..='\u{1b16f}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

/// Why a name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadName {
    /// There is nothing of it.
    Empty,
    /// It has more bytes than this.
    TooLong {
        /// Most bytes a name may have.
        max: usize,
    },
    /// It has something in it that is no letter or digit, or a joiner in the wrong place.
    NotOneWord,
    /// It has a mark that is not on a letter, or one too many.
    Marks,
    /// It has letters of scripts that look alike.
    MixedScripts,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name needs a letter or a digit"),
            Self::TooLong { max } => write!(f, "a name has at most {max} bytes"),
            Self::NotOneWord => f.write_str(
                "a name is one word of letters and digits, with single - _ . ' between them; \
                 emoji and other signs cannot stand in it",
            ),
            Self::Marks => {
                write!(f, "in a name, marks stand on letters: {MAX_MARKS} at most, none twice")
            }
            Self::MixedScripts => {
                f.write_str("a name does not mix Latin letters with others that look like them")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadName::*, *};

    #[test]
    fn a_name_is_one_word_in_nfkc() {
        for (raw, name) in [
            ("alice", "alice"),
            (" alice ", "alice"),
            ("7", "7"),
            ("Mary-Ann_O'Hara.2", "Mary-Ann_O'Hara.2"),
            // Composed, and what only looks different is the same.
            ("Zoë", "Zoë"),
            ("Zoe\u{308}", "Zoë"),
            ("Ｚｏｅ", "Zoe"),
            ("𝓩𝓸𝓮", "Zoe"),
            ("ﬁona", "fiona"),
            ("İpek", "İpek"),
            // Scripts that need marks, and words of two that do not look alike.
            ("李雷", "李雷"),
            ("かな", "かな"),
            ("김철수", "김철수"),
            ("Катя", "Катя"),
            ("Νίκος", "Νίκος"),
            ("שָׁלוֹם", "שָׁלוֹם"),
            ("राजेंद्र", "राजेंद्र"),
            ("น้ำ", "น\u{e49}\u{e4d}\u{e32}"),
            ("ကျော်", "ကျော်"),
            ("n\u{308}", "n\u{308}"),
            ("Li李", "Li李"),
        ] {
            let parsed = Name::parse(raw, 64).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), Ok(name), "{raw:?}");
        }
    }

    #[test]
    fn whatever_could_be_taken_for_something_else_is_no_name() {
        for (raw, why) in [
            ("", Empty),
            (" \u{3000}", Empty),
            // Cannot be seen.
            ("\u{2800}", NotOneWord),
            ("a\u{2800}", NotOneWord),
            ("al\u{200b}ice", NotOneWord),
            ("\u{3164}", NotOneWord),
            ("a\u{115f}", NotOneWord),
            ("a\u{34f}", NotOneWord),
            ("a\u{fe0f}", NotOneWord),
            ("a\u{e0100}", NotOneWord),
            ("a\u{1d173}", NotOneWord),
            ("a\u{1bca0}", NotOneWord),
            ("a\u{13430}", NotOneWord),
            ("a\u{13441}", NotOneWord),
            ("a\u{16fe4}", NotOneWord),
            ("a\u{fff0}", NotOneWord),
            ("a\u{fffe}", NotOneWord),
            ("a\u{e000}", NotOneWord),
            ("a\x1bb", NotOneWord),
            ("al\u{202e}ice", NotOneWord),
            // Ends a name, or makes two of it.
            ("Mary Ann", NotOneWord),
            ("a\u{3000}b", NotOneWord),
            ("a\u{a8}", NotOneWord),
            ("bob]:", NotOneWord),
            ("［user1］:", NotOneWord),
            ("bob,carol", NotOneWord),
            ("bob，carol", NotOneWord),
            ("bob\u{a4f9}carol", NotOneWord),
            ("bob\u{2d0}", NotOneWord),
            ("O\u{2bc}Hara", NotOneWord),
            ("a\u{a78c}b", NotOneWord),
            ("🚀", NotOneWord),
            // Joiners join.
            ("-", NotOneWord),
            ("_bob", NotOneWord),
            ("bob.", NotOneWord),
            ("a--b", NotOneWord),
            // Marks stand on letters, and can be seen there.
            ("\u{301}", Marks),
            ("user7\u{301}", Marks),
            ("a-\u{301}", Marks),
            ("x\u{335}\u{335}", Marks),
            ("i\u{307}", Marks),
            ("\u{131}\u{307}", Marks),
            ("q\u{323}\u{308}\u{302}\u{301}\u{303}", Marks),
            ("\u{1e22}\u{331}", Marks),
            (&format!("x{}", "\u{301}".repeat(31)), Marks),
            // Letters of one script in the place of another's.
            ("us\u{435}r7", MixedScripts),
            ("\u{3bf}scar", MixedScripts),
            ("\u{57d}ser7", MixedScripts),
            ("Bob\u{13aa}", MixedScripts),
        ] {
            assert_eq!(Name::parse(raw, 64), Err(why), "{raw:?}");
        }
    }

    #[test]
    fn a_name_is_bounded_in_bytes() {
        let too_long = Err(TooLong { max: 64 });
        for (name, raw, parsed) in [
            ("fits", "x".repeat(64), Ok("x".repeat(64))),
            ("one over", "x".repeat(65), too_long.clone()),
            ("fits in its short form", "𝓍".repeat(64), Ok("x".repeat(64))),
            ("one over in its short form", "𝓍".repeat(65), too_long.clone()),
            ("short form is longer", "㎏".repeat(33), too_long.clone()),
            ("endless", "\u{200b}".repeat(1_000), too_long),
        ] {
            assert_eq!(Name::parse(&raw, 64).map(|name| name.to_string()), parsed, "{name}");
        }
    }

    #[test]
    fn letter_case_and_form_make_no_difference() {
        for (one, other) in [
            ("Anna", "ANNA"),
            ("Zoë", "ZOE\u{308}"),
            ("h\u{331}", "H\u{331}"),
            ("İpek", "ipek"),
            ("Νίκος", "ΝΊΚΟΣ"),
            ("Straße", "STRAẞE"),
            ("ǆ", "DŽ"),
        ] {
            let folded = |raw| Name::parse(raw, 64).unwrap().folded();
            assert_eq!(folded(one), folded(other), "{one}");
        }
    }

    #[test]
    fn a_folded_name_is_a_name_and_stays_as_it_is() {
        // Beyond these no letter has a case.
        for c in ('\0'..'\u{20000}').filter(|c| c.is_alphanumeric()) {
            for raw in [c.to_string(), format!("{c}\u{331}")] {
                let Ok(name) = Name::parse(&raw, 64) else { continue };
                let folded = name.folded();
                assert_eq!(folded.folded(), folded, "{raw:?}");
                assert_eq!(Name::parse(folded.as_str(), 64), Ok(folded), "{raw:?}");
            }
        }
    }

    #[test]
    fn names_that_the_server_gives_are_known_however_written() {
        for (raw, numbered) in [
            ("user0", true),
            ("USER17", true),
            ("user０", true),
            ("user٠", true),
            ("ｕser7", true),
            ("user²", true),
            ("user〇", true),
            ("userO", true),
            ("user1l", true),
            ("userI", true),
            ("user", false),
            ("user1a", false),
            ("user-1", false),
            ("ruser1", false),
            ("üser1", false),
            ("使用者1", false),
        ] {
            assert_eq!(Name::parse(raw, 64).unwrap().is_numbered(), numbered, "{raw}");
        }
    }
}
