//! HTTP answers: what a request gets that becomes no WebSocket connection.

use std::borrow::Cow;

/// A whole HTTP/1.1 answer. The connection is closed behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names and values beside `Content-Length` and `Connection`, which are added. Control
    /// characters in a value leave as spaces.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Answer {
    /// Plain text; a line end is added.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut body = text.into();
        body.push('\n');
        Self {
            status,
            headers: vec![("Content-Type", "text/plain; charset=utf-8".into())],
            body: body.into_bytes().into(),
        }
    }

    /// Status 200 with a body that lives as long as the program, such as an embedded page.
    pub fn page(content_type: &'static str, body: &'static [u8]) -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type", content_type.into())],
            body: body.into(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer as bytes; without the body for a HEAD request, whose headers are the same.
    pub fn encode(&self, head_only: bool) -> Vec<u8> {
        let mut bytes =
            format!("HTTP/1.1 {} {}\r\n", self.status, status_text(self.status)).into_bytes();
        for (name, value) in &self.headers {
            // RFC 9110 §5.5: a line end in a value would start a header of its own.
            let value = value.replace(|character: char| character.is_ascii_control(), " ");
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
        // RFC 9110 §7.8: whoever sends Upgrade names it in Connection too.
        let upgrades = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Upgrade"));
        let option = if upgrades { "Upgrade, close" } else { "close" };
        bytes.extend(format!("Connection: {option}\r\n\r\n").bytes());
        if !head_only {
            bytes.extend(&*self.body);
        }
        bytes
    }
}

/// The text of a status line (RFC 9110 §15); it has no meaning to programs.
fn status_text(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(answer: &Answer, head_only: bool) -> String {
        String::from_utf8(answer.encode(head_only)).unwrap()
    }

    #[test]
    fn an_answer_delimits_itself() {
        let answer = Answer::text(404, "nothing here");
        let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
                    Content-Length: 13\r\nConnection: close\r\n\r\n";
        assert_eq!(encoded(&answer, false), format!("{head}nothing here\n"));
        assert_eq!(encoded(&answer, true), head);
    }

    #[test]
    fn an_answer_with_upgrade_says_so_in_connection() {
        let answer = Answer::text(426, "").with_header("Upgrade", "websocket");
        assert!(encoded(&answer, true).contains("\r\nConnection: Upgrade, close\r\n"));
    }

    #[test]
    fn a_value_starts_no_header_of_its_own() {
        let answer = Answer::text(302, "").with_header("Location", "/\r\nSet-Cookie: a=1");
        assert!(encoded(&answer, true).contains("\r\nLocation: /  Set-Cookie: a=1\r\n"));
    }
}
