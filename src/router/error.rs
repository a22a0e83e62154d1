//! What a route may not be.

use std::fmt;

use crate::protocol::{extension::Conflict, limits::SettingError};

/// A route that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// Two pages have the same path.
    Duplicate {
        /// The path.
        path: String,
    },
    /// Earlier routes of the same path take every upgrade that this one would, or it names no
    /// subprotocol and takes only clients that offer one.
    Unreachable {
        /// The path.
        path: String,
    },
    /// The path is malformed, or cannot be told from another one.
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// §4.1: the name of a subprotocol is a token.
    Protocol {
        /// The path of its route.
        path: String,
        /// The name.
        name: String,
    },
    /// A setting is out of its range or contradicts another one.
    Setting {
        /// The path of its route; `None` where it holds for all that have none of their own.
        path: Option<String>,
        /// The setting.
        error: SettingError,
    },
    /// Extensions cannot be installed together.
    Extensions {
        /// The path of their route.
        path: String,
        /// What is between them.
        conflict: Conflict,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { path } => write!(f, "path {path:?} is given to two pages"),
            Self::Unreachable { path } => {
                write!(
                    f,
                    "a route of path {path:?} is never reached: earlier ones leave it no client"
                )
            }
            Self::Path { path, reason } => write!(f, "path {path:?} cannot be: {reason}"),
            Self::Protocol { path, name } => {
                write!(f, "subprotocol {name:?} at path {path:?} is not a token")
            }
            Self::Setting { path: Some(path), error } => write!(f, "{error}, at path {path:?}"),
            Self::Setting { path: None, error } => error.fmt(f),
            Self::Extensions { path, conflict } => write!(f, "{conflict} at path {path:?}"),
        }
    }
}

impl std::error::Error for RouteError {}
