//! The extensions of one's own that an endpoint has, and whether they go together.

use std::{fmt, sync::Arc};

use super::{Extension, is_token};
use crate::protocol::frame::Rsv;

/// Extensions of one's own, in the order in which they work on what is sent (§9.1).
///
/// ```
/// # use chinwag::protocol::{extension::{Extension, Extensions, Offer, Param, Transform}, frame::Rsv};
/// # struct Signed;
/// # impl Extension for Signed {
/// #     fn name(&self) -> &str { "x-signed" }
/// #     fn rsv(&self) -> Rsv { Rsv::RSV2 }
/// #     fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> { None }
/// #     fn offers(&self) -> Vec<Vec<Param<'static>>> { vec![] }
/// #     fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> { None }
/// # }
/// let server = chinwag::Server::builder().extensions(Extensions::new().with(Signed));
/// ```
#[derive(Clone, Default)]
pub struct Extensions(Vec<Arc<dyn Extension>>);

impl Extensions {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those, and then `extension`.
    #[must_use]
    pub fn with(mut self, extension: impl Extension + 'static) -> Self {
        self.0.push(Arc::new(extension));
        self
    }

    /// Each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Extension> {
        self.0.iter().map(|extension| &**extension)
    }

    /// Whether they can be agreed on together, and with another one that has this name and these bits.
    pub(in crate::protocol) fn check(&self, other: Option<(&str, Rsv)>) -> Result<(), Conflict> {
        let mut installed: Vec<(&str, Rsv)> = other.into_iter().collect();
        for extension in self.iter() {
            let (name, rsv) = (extension.name(), extension.rsv());
            if !is_token(name) {
                return Err(Conflict::Name { name: name.into() });
            }
            for &(before, claimed) in &installed {
                if before == name {
                    return Err(Conflict::Twice { name: name.into() });
                }
                if rsv.and(claimed) != Rsv::NONE {
                    return Err(Conflict::ReservedBits { names: [before.into(), name.into()] });
                }
            }
            installed.push((name, rsv));
        }
        Ok(())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Extension::name)).finish()
    }
}

/// The very same extensions, in the same order.
impl PartialEq for Extensions {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for Extensions {}

/// Extensions that cannot be installed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// §9.1: the name of an extension is a token.
    Name {
        /// The name.
        name: String,
    },
    /// Two have this name.
    Twice {
        /// The name.
        name: String,
    },
    /// §5.2: two claim the same reserved bit.
    ReservedBits {
        /// Their names.
        names: [String; 2],
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => write!(f, "the name of extension {name:?} is not a token"),
            Self::Twice { name } => write!(f, "extension {name:?} is installed twice"),
            Self::ReservedBits { names: [one, other] } => {
                write!(f, "extensions {one:?} and {other:?} claim the same reserved bit")
            }
        }
    }
}

impl std::error::Error for Conflict {}
