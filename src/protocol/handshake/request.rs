//! The client's side of the opening handshake: what it asks for (§4.1, §4.2.1).

/// A checked HTTP/1.1 request head, borrowed from the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, in the letter case it came in.
    pub method: &'a str,
    /// The path of the target, as it came: percent-encoded, starting with a slash.
    pub path: &'a str,
    /// What stands behind the first question mark of the target, as it came.
    pub query: Option<&'a str>,
    /// Headers in their order: name as it came, value without the white space around it.
    pub headers: Vec<(&'a str, &'a [u8])>,
}
