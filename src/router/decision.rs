//! Decisions: what the closure of a route comes to, at once or after a while, and what is made of it.
//!
//! An [`Accept`] or an [`Answer`] goes in, the bytes to send first come out. Who waits for a decision,
//! and for how long, is `server`'s work.

use std::{borrow::Cow, fmt, pin::Pin, sync::Arc};

use super::Routed;
use crate::{
    protocol::{
        connection::{Settings, Terms},
        handshake::ServerResponse,
    },
    service::{Answer, Service},
};

/// A service for a request that is accepted, with headers that the 101 carries.
///
/// ```
/// use chinwag::{Accept, Request, Router, Service};
///
/// struct Guest;
///
/// impl Service for Guest {}
///
/// let router = Router::new().service("/", |_: &Request<'_>| {
///     Accept::new(Guest).with_header("Set-Cookie", "seen=1; Path=/; HttpOnly; SameSite=Lax")
/// });
/// # router.build(Default::default()).unwrap();
/// ```
pub struct Accept<S = Box<dyn Service>> {
    service: S,
    headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl<S> Accept<S> {
    /// Accepts with `service` and no headers of its own.
    pub fn new(service: S) -> Self {
        Self { service, headers: Vec::new() }
    }

    /// Adds a header, such as Set-Cookie. Where its name is not a token or belongs to the handshake
    /// itself, or its value holds a control character, the request is answered with 500 instead:
    /// [`EncodeError`](crate::protocol::handshake::EncodeError) says which names those are.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds headers, such as one that there may be: as [`with_header`](Self::with_header).
    #[must_use]
    pub fn with_headers<V: Into<Cow<'static, str>>>(
        mut self,
        headers: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, value)| (name, value.into())));
        self
    }
}

impl<S> fmt::Debug for Accept<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// What the closure of a route may give: a service, an [`Accept`], or one of them or an answer.
pub trait IntoService {
    /// The service, or the HTTP answer that an upgrade is refused with.
    ///
    /// # Errors
    /// The answer.
    fn into_service(self) -> Verdict;
}

impl<S: Service + 'static> IntoService for S {
    fn into_service(self) -> Verdict {
        Accept::new(self).into_service()
    }
}

impl<S: Service + 'static> IntoService for Accept<S> {
    fn into_service(self) -> Verdict {
        let Self { service, headers } = self;
        Ok(Accept { service: Box::new(service), headers })
    }
}

impl<S: IntoService> IntoService for Result<S, Answer> {
    fn into_service(self) -> Verdict {
        self.and_then(S::into_service)
    }
}

/// What an application comes to: the service, or the HTTP answer that an upgrade is refused with.
pub type Verdict = Result<Accept, Answer>;

/// A decision that takes a while. It stays on the thread that routed the request.
pub type Deciding = Pin<Box<dyn Future<Output = Verdict>>>;

/// What the closure of a route comes to.
pub(super) enum Decision {
    Now(Verdict),
    Later(Deciding),
}

/// An upgrade that everybody agrees to but the application, which has yet to decide.
pub struct Opening {
    pub(super) key: Box<str>,
    pub(super) protocol: Option<Box<str>>,
    pub(super) settings: Arc<Settings>,
    pub(super) terms: Terms,
}

impl Opening {
    /// What becomes of the request by the application's verdict: [`Routed::Upgrade`] or
    /// [`Routed::Answer`].
    pub fn finish(self, verdict: Verdict) -> Routed {
        let Accept { service, headers } = match verdict {
            Ok(accept) => accept,
            Err(answer) => return Routed::answer(&answer, false),
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let response = ServerResponse {
            key: &self.key,
            protocol: self.protocol.as_deref(),
            extensions: &self.terms.response(),
            headers: &headers,
        };
        match response.encode() {
            Ok(response) => {
                let Self { settings, terms, .. } = self;
                Routed::Upgrade { response, service, settings, terms }
            }
            // The key, the subprotocol and the extensions are legal, so it is one of its headers.
            Err(error) => {
                let text = format!("this server met a fault of its own: {error}");
                Routed::answer(&Answer::text(500, text), false)
            }
        }
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
