//! Messages: what fragments add up to (§5.4, §5.6).
//!
//! Frames go in, whole messages come out. Control frames may arrive between fragments and pass by
//! untouched. Opcodes and lengths were checked in `frame`; answering a Ping is `connection`'s work.

use std::{fmt, ops::Deref};

use simdutf8::basic;

use super::{
    buffer::{Buffer, Payload},
    frame::Opcode,
};

/// A whole message (§5.6).
///
/// Received ones are lent for the call that hands them over; [`Message::into_owned`] keeps one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text: valid UTF-8.
    Text(Text<'a>),
    /// Bytes of any kind.
    Binary(Payload<'a>),
}

impl Message<'_> {
    /// The payload, text or not.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The opcode its first frame has.
    pub fn opcode(&self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }

    /// The same message with bytes of its own.
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Self::Text(text) => Message::Text(Text(match text.0 {
                Repr::Str(text) => Repr::Checked(Buffer::from(text.as_bytes().to_vec())),
                Repr::Checked(buffer) => Repr::Checked(buffer),
            })),
            Self::Binary(bytes) => Message::Binary(Payload::Owned(match bytes {
                Payload::Borrowed(bytes) => Buffer::from(bytes.to_vec()),
                Payload::Owned(buffer) => buffer,
            })),
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Message<'_> {
    fn from(text: String) -> Self {
        Self::Text(Text(Repr::Checked(text.into_bytes().into())))
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(Payload::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Message<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(Payload::Owned(bytes.into()))
    }
}

/// The payload of a text message: valid UTF-8, checked as it arrived (§8.1).
///
/// It reads as a `str`. A text that came in one piece was made one when it was checked; for one that
/// came in pieces each `&str` costs another pass at vector speed, and [`Text::as_bytes`] costs none.
#[derive(Clone)]
pub struct Text<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    Str(&'a str),
    Checked(Buffer),
}

impl Text<'_> {
    /// `buffer` was run through a `Utf8Checker` to its end.
    pub(super) fn checked(buffer: Buffer) -> Self {
        Self(Repr::Checked(buffer))
    }

    /// The text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Str(text) => text.as_bytes(),
            Repr::Checked(buffer) => buffer.payload(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Str(text) => text,
            Repr::Checked(buffer) => {
                basic::from_utf8(buffer.payload()).expect("the text was checked as it arrived")
            }
        }
    }
}

impl<'a> Text<'a> {
    /// The payload, to be sent on.
    pub fn into_payload(self) -> Payload<'a> {
        match self.0 {
            Repr::Str(text) => Payload::Borrowed(text.as_bytes()),
            Repr::Checked(buffer) => Payload::Owned(buffer),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Repr::Str(text))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text<'_> {}
