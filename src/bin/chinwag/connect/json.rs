//! JSON, made easy to read.

use serde_json::Value;

/// Longest text that is indented: bytes. Deep nesting makes every line long, up to 256 blanks.
const LONGEST: usize = 64 << 10;

/// `text` indented, a line a value, where it is a JSON object or array, and not very long; else `None`.
/// What stands in it stays as it is: the order, doubled names, every digit.
pub fn pretty(text: &str) -> Option<String> {
    let is_nested = text.trim_start().starts_with(['{', '[']);
    if !is_nested || text.len() > LONGEST || serde_json::from_str::<Value>(text).is_err() {
        return None;
    }
    let mut pretty = String::with_capacity(2 * text.len());
    let mut depth = 0;
    let mut rest = text.trim();
    while let Some(token) = next_token(&mut rest) {
        match token {
            "{" | "[" => {
                pretty.push_str(token);
                if !rest.starts_with(['}', ']']) {
                    depth += 1;
                    break_line(&mut pretty, depth);
                }
            }
            "}" | "]" => {
                if !pretty.ends_with(['{', '[']) {
                    depth -= 1;
                    break_line(&mut pretty, depth);
                }
                pretty.push_str(token);
            }
            "," => {
                pretty.push(',');
                break_line(&mut pretty, depth);
            }
            ":" => pretty.push_str(": "),
            value => pretty.push_str(value),
        }
    }
    Some(pretty)
}

/// The next token of valid JSON, and white space behind it: a string, a number or name, or a sign.
fn next_token<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let len = match rest.chars().next()? {
        '"' => {
            let mut escaped = false;
            let closes = |c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            };
            1 + rest[1..].find(closes)? + 1
        }
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        _ => rest.find([',', ':', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
    };
    let (token, behind) = rest.split_at(len);
    *rest = behind.trim_start();
    Some(token)
}

fn break_line(pretty: &mut String, depth: usize) {
    pretty.push('\n');
    pretty.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_otherwise_left_alone() {
        for (name, text, expected) in [
            (
                "an object",
                r#"{"b":1,"a":[true,null]}"#,
                "{\n  \"b\": 1,\n  \"a\": [\n    true,\n    null\n  ]\n}",
            ),
            ("nothing in it", " { \"a\" : { } , \"b\":[\n] } ", "{\n  \"a\": {},\n  \"b\": []\n}"),
            (
                "strings",
                r#"["{,:}","\\","\"","a  b\n"]"#,
                "[\n  \"{,:}\",\n  \"\\\\\",\n  \"\\\"\",\n  \"a  b\\n\"\n]",
            ),
            (
                "every digit",
                "[1.0e3,0.10,12345678901234567890123]",
                "[\n  1.0e3,\n  0.10,\n  12345678901234567890123\n]",
            ),
            ("doubled names", r#"{"a":1,"a":2}"#, "{\n  \"a\": 1,\n  \"a\": 2\n}"),
        ] {
            assert_eq!(pretty(text).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_is_no_json_is_left_to_others() {
        for text in [
            "",
            "hello",
            "\"hello\"",
            "12",
            "{",
            "[1,]",
            "{\"a\":1} x",
            &"[".repeat(1_000),
            &format!("[{}]", " ".repeat(LONGEST)),
        ] {
            assert_eq!(pretty(text), None, "{text:.10}");
        }
    }
}
