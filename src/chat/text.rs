//! What people write, made fit to be shown on a terminal and on a page.

use std::borrow::Cow;

/// A text as one clean line.
///
/// Choice: a line break becomes a space, as a terminal tells who speaks by where a line starts, so
/// a text of several lines could put words into another's mouth. Tabs and the other kinds of line
/// break likewise; the break at the end, which line-based clients send along, goes away. Control
/// characters (C0, DEL, C1: they drive terminals) and bidirectional overrides (they make a line
/// read as what it is not) are left out. Everything else stays as it came.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(['\r', '\n']);
    if !text.contains(|c| is_break(c) || is_harmful(c)) {
        return text.into();
    }
    text.chars()
        .filter(|&c| is_break(c) || !is_harmful(c))
        .map(|c| if is_break(c) { ' ' } else { c })
        .collect::<String>()
        .into()
}

/// Whether a character breaks a line or jumps along it; a carriage return is left out instead, as
/// it mostly stands before a line feed.
fn is_break(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a character has no business in any text: it drives terminals or turns lines round.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether nothing of a clean text can be seen.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_invisible(c))
}

/// Whether a character that is no white space shows nothing by itself: those that Unicode lets
/// programs ignore, fillers, format controls, blank signs, and those that are no characters. Texts
/// may hold these: some scripts and many emoji need them.
pub(super) fn is_invisible(c: char) -> bool {
    let is_noncharacter = u32::from(c) & 0xfffe == 0xfffe;
    is_noncharacter
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fdd0}'..='\u{fdef}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{13442}'
                | '\u{16fe4}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d159}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_clean_line() {
        for (name, raw, clean_text) in [
            ("plain", "Hello", "Hello"),
            ("spaces stay", "  a  b ", "  a  b "),
            ("line end of a line-based client", "Hello\r\n", "Hello"),
            ("forged second line", "hi\n[user1]: I pay", "hi [user1]: I pay"),
            ("CRLF inside", "a\r\nb", "a b"),
            ("tab", "a\tb", "a b"),
            ("NEL, line and paragraph separator", "a\u{85}b\u{2028}c\u{2029}d", "a b c d"),
            ("terminal sequence", "\x1b[2Jgone", "[2Jgone"),
            ("C1 sequence", "\u{9b}2Jgone", "2Jgone"),
            ("NUL, BEL, DEL", "a\0b\x07c\x7fd", "abcd"),
            ("bidi override", "\u{202e}cba", "cba"),
            ("bidi isolate", "\u{2066}a\u{2069}", "a"),
            ("joined emoji stays whole", "👩\u{200d}🚀", "👩\u{200d}🚀"),
            ("markup is text", "<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ] {
            assert_eq!(clean(raw), clean_text, "{name}");
        }
    }

    #[test]
    fn a_clean_text_is_not_copied() {
        assert!(matches!(clean("Grüße\n"), Cow::Borrowed("Grüße")));
    }

    #[test]
    fn a_text_that_shows_nothing_is_blank() {
        for (text, blank) in [
            ("", true),
            (" \u{3000}", true),
            ("\u{200b}", true),
            ("\u{2800}\u{2800}", true),
            ("\u{3164} \u{feff}\u{ad}", true),
            ("\u{fe0f}\u{200d}\u{e0100}", true),
            ("\u{1d159}\u{1d173}\u{1bca0}\u{13430}\u{13442}\u{16fe4}", true),
            ("\u{fff0}\u{fffe}\u{1ffff}\u{fdd0}", true),
            ("\u{200b}.", false),
            ("❤\u{fe0f}", false),
            ("\u{301}", false),
            ("\u{fffd}", false),
        ] {
            assert_eq!(is_blank(text), blank, "{text:?}");
        }
    }
}
