//! HTTP answers: what a request gets that becomes no WebSocket connection.

use std::borrow::Cow;

/// A whole HTTP/1.1 answer. The connection is closed behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names and values beside `Content-Length` and `Connection`, which are added.
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
            // A line end in a value would start a header of its own; nothing of ours holds one.
            debug_assert!(!value.contains(['\r', '\n']), "header {name}");
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
        bytes.extend(b"Connection: close\r\n\r\n");
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
