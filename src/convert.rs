//! Values as messages, and back.
//!
//! A converter is any type that is [`Encode`] and [`Decode`] for the values it knows; [`Json`] (feature
//! `json`) is the one that is meant where none is named. Sessions, services and clients send and receive
//! values with one; this room knows none of them.
//!
//! ```
//! use chinwag::{
//!     Message,
//!     convert::{ConvertError, Decode, Encode},
//! };
//!
//! /// Numbers with a comma between them.
//! struct Commas;
//!
//! impl Encode<[u32]> for Commas {
//!     fn encode(&self, numbers: &[u32]) -> Result<Message<'static>, ConvertError> {
//!         let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
//!         Ok(numbers.join(",").into())
//!     }
//! }
//!
//! impl Decode<Vec<u32>> for Commas {
//!     fn decode(&self, message: &Message<'_>) -> Result<Vec<u32>, ConvertError> {
//!         let Message::Text(text) = message else {
//!             return Err(ConvertError::WrongKind { opcode: message.opcode() });
//!         };
//!         text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(ConvertError::bad_value)
//!     }
//! }
//!
//! let message = Commas.encode(&[1, 2, 3])?;
//! assert_eq!(message, Message::from("1,2,3"));
//! assert_eq!(Commas.decode(&message)?, [1, 2, 3]);
//! assert!(matches!(Commas.decode(&"1,x".into()), Err(ConvertError::BadValue(_))));
//! # Ok::<(), ConvertError>(())
//! ```

use std::{error, fmt};

#[cfg(feature = "json")]
use serde::{Serialize, de::DeserializeOwned};

use crate::protocol::{error::SendError, frame::Opcode, message::Message};

/// Makes a message of a value.
pub trait Encode<T: ?Sized> {
    /// The message that stands for `value`.
    ///
    /// # Errors
    /// [`ConvertError::BadValue`] where there is none.
    fn encode(&self, value: &T) -> Result<Message<'static>, ConvertError>;
}

/// Reads a value from a message.
pub trait Decode<T> {
    /// The value that `message` stands for.
    ///
    /// # Errors
    /// [`ConvertError`] where it stands for none.
    fn decode(&self, message: &Message<'_>) -> Result<T, ConvertError>;
}

/// A message is no value of that type, or a value no message.
#[derive(Debug)]
pub enum ConvertError {
    /// The converter reads messages of the other kind: text where this is binary, or the other way round.
    WrongKind {
        /// The message's.
        opcode: Opcode,
    },
    /// The message, or the value, does not fit, as the converter says.
    BadValue(Box<dyn error::Error + Send + Sync>),
}

impl ConvertError {
    /// A value that does not fit, as `error` says.
    pub fn bad_value(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::BadValue(error.into())
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongKind { opcode } => write!(f, "a message of another kind: {opcode:?}"),
            Self::BadValue(error) => write!(f, "a value that does not fit: {error}"),
        }
    }
}

impl error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::WrongKind { .. } => None,
            Self::BadValue(error) => Some(&**error),
        }
    }
}

/// A value that was not sent.
#[derive(Debug)]
pub enum SendValueError {
    /// There is no message for it.
    Convert(ConvertError),
    /// The message cannot be sent.
    Send(SendError),
}

impl From<ConvertError> for SendValueError {
    fn from(error: ConvertError) -> Self {
        Self::Convert(error)
    }
}

impl From<SendError> for SendValueError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl fmt::Display for SendValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convert(error) => error.fmt(f),
            Self::Send(error) => error.fmt(f),
        }
    }
}

impl error::Error for SendValueError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Convert(error) => Some(error),
            Self::Send(error) => Some(error),
        }
    }
}

/// JSON in text messages, for all that serde knows.
#[cfg(feature = "json")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(&self, value: &T) -> Result<Message<'static>, ConvertError> {
        serde_json::to_string(value).map(Message::from).map_err(ConvertError::bad_value)
    }
}

#[cfg(feature = "json")]
impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, message: &Message<'_>) -> Result<T, ConvertError> {
        match message {
            Message::Text(text) => {
                serde_json::from_slice(text.as_bytes()).map_err(ConvertError::bad_value)
            }
            Message::Binary(_) => Err(ConvertError::WrongKind { opcode: Opcode::Binary }),
        }
    }
}

#[cfg(feature = "json")]
impl Message<'_> {
    /// The message that stands for `value` in JSON, such as for [`Topic::publish`](crate::Topic::publish).
    ///
    /// # Errors
    /// [`ConvertError::BadValue`] where serde cannot write it, such as a map whose keys are no strings.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Message<'static>, ConvertError> {
        Json.encode(value)
    }

    /// The value that it stands for in JSON.
    ///
    /// # Errors
    /// [`ConvertError::WrongKind`] where it is binary, [`ConvertError::BadValue`] where it is not JSON or
    /// not such a value.
    pub fn to_value<T: DeserializeOwned>(&self) -> Result<T, ConvertError> {
        Json.decode(self)
    }
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Point {
        x: i32,
        y: i32,
    }

    #[test]
    fn a_value_comes_back_as_it_went() {
        let message = Message::from_value(&Point { x: 1, y: -2 }).unwrap();
        assert_eq!(message, Message::from(r#"{"x":1,"y":-2}"#));
        assert_eq!(message.to_value::<Point>().unwrap(), Point { x: 1, y: -2 });
    }

    #[test]
    fn what_does_not_fit_is_told_apart() {
        let binary = Message::from(&br#"{"x":1,"y":2}"#[..]);
        let error = binary.to_value::<Point>().unwrap_err();
        assert!(matches!(error, ConvertError::WrongKind { opcode: Opcode::Binary }), "{error}");
        let deep = "[".repeat(1_000);
        for text in ["", "{", r#"{"x":1}"#, r#"{"x":1,"y":"2"}"#, r#"{"x":1,"y":2} {}"#, &deep] {
            let error = Message::from(text).to_value::<Point>().unwrap_err();
            assert!(matches!(error, ConvertError::BadValue(_)), "{text}: {error}");
        }
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(Message::from_value(&keys), Err(ConvertError::BadValue(_))));
    }
}
