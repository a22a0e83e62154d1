//! What a peer says, made fit for a terminal and for a log.

use std::fmt::{self, Display, Write};

/// `text` as one line that does what it looks like: control characters (C0, DEL, C1: they drive
/// terminals), line separators, and the characters that turn lines round or hide in them are shown
/// escaped, such as `\n` and `\u{1b}`. Everything else stays as it is, a backslash too.
pub fn escape(text: &str) -> impl Display + '_ {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_safe(character) {
                f.write_char(character)?;
            } else {
                character.escape_default().fmt(f)?;
            }
        }
        Ok(())
    }
}

/// Whether a terminal shows this character and does nothing else.
fn is_safe(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Deprecated format characters, a byte order mark, annotations, tags: nothing is seen of them.
            | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_as_it_is() {
        for text in [
            "",
            "Hello",
            "a \\n b",
            "grüße 世界 👋🏽 👨\u{200d}👩\u{200d}👧",
            "می\u{200c}خواهم",
            "{\"a\": 1}",
        ] {
            assert_eq!(escape(text).to_string(), text);
        }
    }

    #[test]
    fn what_drives_terminals_is_shown_and_not_done() {
        for (name, text, shown) in [
            ("a line end", "a\nb\r\n", "a\\nb\\r\\n"),
            ("a tab", "a\tb", "a\\tb"),
            ("clear the screen", "\x1b[2J", "\\u{1b}[2J"),
            ("set the title", "\x1b]0;x\x07", "\\u{1b}]0;x\\u{7}"),
            ("backspace and delete", "\x08\x7f", "\\u{8}\\u{7f}"),
            ("C1: CSI and OSC", "\u{9b}31m\u{9d}", "\\u{9b}31m\\u{9d}"),
            ("turned round", "\u{202e}txt.exe\u{2069}", "\\u{202e}txt.exe\\u{2069}"),
            ("other line ends", "\u{85}\u{2028}\u{2029}", "\\u{85}\\u{2028}\\u{2029}"),
            ("hidden tags", "a\u{e0041}", "a\\u{e0041}"),
        ] {
            assert_eq!(escape(text).to_string(), shown, "{name}");
        }
        for code in (0..0x20).chain(0x7f..0xa0) {
            let character = char::from(code);
            assert!(!escape(&character.to_string()).to_string().contains(character), "{code:#x}");
        }
    }
}
