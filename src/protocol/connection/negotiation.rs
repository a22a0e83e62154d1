//! What an endpoint offers, answers and accepts of extensions (§9.1).
//!
//! A client's [`Settings::offers`] go into its request. The server's [`Settings::answer`] gives
//! [`Terms`], whose [`response`](Terms::response) goes back, and [`Settings::accept`] is the client's
//! verdict on that: the same terms. [`Connection::agree_on`](super::Connection::agree_on) takes them.

use std::fmt;

use super::{Mode, Settings};
use crate::protocol::extension::{
    Conflict, Extension, Offer,
    chain::Chain,
    deflate::{Agreed, Deflate, Grant, Takeovers, Unacceptable},
};

/// What both sides have agreed on for a connection.
#[derive(Debug, Default)]
pub struct Terms {
    /// With what the response says of it.
    pub(super) deflate: Option<(Agreed, Offer<'static>, Option<Grant>)>,
    pub(super) own: Chain,
}

impl Terms {
    /// The server's response that says so, in the order in which the extensions work on what is sent.
    pub fn response(&self) -> Vec<Offer<'_>> {
        let deflate = self.deflate.iter().map(|(_, response, _)| response.clone());
        deflate.chain(self.own.offers()).collect()
    }
}

impl Settings {
    /// Whether the extensions can be agreed on together: each has a name and reserved bits that no
    /// other has, permessage-deflate included. To be asked before the first connection is made.
    ///
    /// # Errors
    /// The first [`Conflict`].
    pub fn check_extensions(&self) -> Result<(), Conflict> {
        self.extensions.check(self.compression().map(Deflate::claims))
    }

    /// A client's offers, in the order in which the extensions are to work: first those of
    /// permessage-deflate.
    pub fn offers(&self) -> Vec<Offer<'_>> {
        let mut offers = self.compression().map(Deflate::offers).unwrap_or_default();
        for extension in self.own() {
            let own = extension.offers().into_iter();
            offers.extend(own.map(|params| Offer { name: extension.name(), params }));
        }
        offers
    }

    /// What a server makes of a client's `offers`: of each extension that is installed the first offer
    /// that it takes. Takeovers are counted by `takeovers`.
    pub fn answer(&self, offers: &[Offer<'_>], takeovers: &Takeovers) -> Terms {
        let compression = self.compression();
        let deflate = compression.and_then(|deflate| deflate.answer_counted(offers, takeovers));
        let mut terms = Terms { deflate, own: Chain::default() };
        for extension in self.own() {
            let mut meant = offers.iter().filter(|offer| offer.name == extension.name());
            if let Some((params, transform)) = meant.find_map(|offer| extension.answer(offer)) {
                let answer = Offer { name: extension.name(), params };
                // What cannot be said is not agreed on.
                if answer.is_legal() {
                    terms.own.push(&answer, extension.rsv(), transform);
                }
            }
        }
        terms
    }

    /// A client's verdict on the server's `response` to its [`offers`](Self::offers), which may be
    /// empty. The order of the response is the one that counts (§9.1).
    ///
    /// # Errors
    /// [`Refused`]: the connection is given up (§4.1).
    pub fn accept(&self, response: &[Offer<'_>]) -> Result<Terms, Refused> {
        let mut terms = Terms::default();
        for (at, answer) in response.iter().enumerate() {
            if response[..at].iter().any(|before| before.name == answer.name) {
                return Err(Refused::Twice);
            }
            match self.compression().filter(|deflate| deflate.claims().0 == answer.name) {
                // Choice: deflate works on messages, and so before what works on their frames.
                Some(_) if at > 0 => return Err(Refused::Order),
                Some(deflate) => {
                    let agreed = deflate.accept(answer).map_err(Refused::Deflate)?;
                    terms.deflate = Some((agreed, agreed.terms(), None));
                }
                None => {
                    let mut own = self.own();
                    let extension = own
                        .find(|extension| extension.name() == answer.name)
                        .ok_or(Refused::NotOffered)?;
                    let transform = extension.accept(answer).ok_or(Refused::Parameters)?;
                    terms.own.push(answer, extension.rsv(), transform);
                }
            }
        }
        Ok(terms)
    }

    /// What is wanted of compression on connections in this mode.
    fn compression(&self) -> Option<&Deflate> {
        self.deflate.as_ref().filter(|deflate| self.mode == Mode::Messages || deflate.covers_raw())
    }

    /// The extensions of one's own for connections in this mode.
    fn own(&self) -> impl Iterator<Item = &dyn Extension> {
        let mode = self.mode;
        self.extensions
            .iter()
            .filter(move |extension| mode == Mode::Messages || extension.covers_raw())
    }
}

/// The server's response on extensions is not one to what was offered (§4.1, §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// An extension was not offered.
    NotOffered,
    /// An extension stands there twice.
    Twice,
    /// permessage-deflate is to work behind an extension of frames, which it cannot.
    Order,
    /// The parameters are not what the extension can have been answered with.
    Parameters,
    /// The same of permessage-deflate (RFC 7692 §7.1).
    Deflate(Unacceptable),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => "the server agreed to an extension that was not offered",
            Self::Twice => "the server agreed to an extension twice",
            Self::Order => "permessage-deflate is not the first extension that the server names",
            Self::Parameters => "an extension is answered with parameters that may not be there",
            Self::Deflate(fault) => return fault.fmt(f),
        })
    }
}

impl std::error::Error for Refused {}
