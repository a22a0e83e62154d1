//! A route: a service with settings of its own, and who may have it.

use std::{fmt, sync::Arc};

use super::{
    decision::{Decision, IntoService},
    error::RouteError,
};
use crate::{
    guard::Guarded,
    protocol::{
        connection::{Mode, Settings},
        extension::{Extensions, deflate::Deflate, is_token},
        handshake::Upgrade,
        limits::{Limits, Timeouts},
    },
    service::{Answer, OwnedRequest, Request},
};

pub(super) type Make = Box<dyn Fn(&Request<'_>) -> Decision + Send + Sync>;

/// A service with settings of its own.
pub struct Route {
    make: Make,
    mode: Mode,
    limits: Option<Limits>,
    timeouts: Option<Timeouts>,
    /// Whether there is a wish, and which.
    deflate: Option<Option<Deflate>>,
    extensions: Option<Extensions>,
    protocols: Vec<String>,
    needs_protocol: bool,
}

impl Route {
    /// A route to the service that `make` gives for each upgrade.
    pub fn new<S: IntoService>(make: impl Fn(&Request<'_>) -> S + Send + Sync + 'static) -> Self {
        Self::of(Box::new(move |request| Decision::Now(make(request).into_service())))
    }

    /// A route whose application decides after a while, such as when another thread has looked
    /// something up: `decide` gives a future of what [`new`](Self::new) takes at once. The future runs
    /// on the thread of the worker that owns the connection, and is dropped where the client goes first.
    ///
    /// ```
    /// use chinwag::{Answer, OwnedRequest, Route, Service};
    ///
    /// struct Member(u64);
    ///
    /// impl Service for Member {}
    ///
    /// async fn look_up(token: &str) -> Option<u64> {
    ///     (token == "secret").then_some(7)
    /// }
    ///
    /// let route = Route::deciding(|request: OwnedRequest| async move {
    ///     let token = request.as_request().cookie("token").unwrap_or_default();
    ///     match look_up(token).await {
    ///         Some(id) => Ok(Member(id)),
    ///         None => Err(Answer::text(401, "log in first")),
    ///     }
    /// });
    /// ```
    pub fn deciding<D>(decide: impl Fn(OwnedRequest) -> D + Send + Sync + 'static) -> Self
    where
        D: Future<Output: IntoService> + 'static,
    {
        Self::of(Box::new(move |request| {
            let decision = decide(request.to_owned());
            Decision::Later(Box::pin(async { decision.await.into_service() }))
        }))
    }

    fn of(make: Make) -> Self {
        Self {
            make,
            mode: Mode::Messages,
            limits: None,
            timeouts: None,
            deflate: None,
            extensions: None,
            protocols: Vec::new(),
            needs_protocol: false,
        }
    }

    /// Admits only whom `decide` admits, which may take a while; everybody else gets its answer. The
    /// future runs and ends as that of [`deciding`](Self::deciding) does.
    ///
    /// ```
    /// use chinwag::{Answer, OwnedRequest, Route, Session};
    ///
    /// let route = Route::session(|session: Session| async move {
    ///     session.send("Welcome").await?;
    ///     Ok(())
    /// })
    /// .admit(|request: OwnedRequest| async move {
    ///     match request.as_request().query("token").as_deref() {
    ///         Some("secret") => Ok(()),
    ///         _ => Err(Answer::text(401, "log in first")),
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn admit<D>(mut self, decide: impl Fn(OwnedRequest) -> D + Send + Sync + 'static) -> Self
    where
        D: Future<Output = Result<(), Answer>> + 'static,
    {
        let make = Arc::new(self.make);
        self.make = Box::new(move |request| {
            let request = request.to_owned();
            let (decision, make) = (decide(request.clone()), Arc::clone(&make));
            Decision::Later(Box::pin(async move {
                decision.await?;
                match make(&request.as_request()) {
                    Decision::Now(verdict) => verdict,
                    Decision::Later(deciding) => deciding.await,
                }
            }))
        });
        self
    }

    /// Raw mode: the service hears frames and answers control frames itself.
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.mode = Mode::Raw;
        self
    }

    /// Limits instead of the server's. Those of heads have no effect here.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Timeouts instead of the server's. That of the handshake has no effect here.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = Some(timeouts);
        self
    }

    /// What is wanted of compression (RFC 7692) instead of what the server wants; `None` declines it. In
    /// raw mode it is declined also where [`Deflate::raw`] is not set.
    #[must_use]
    pub fn deflate(mut self, deflate: Option<Deflate>) -> Self {
        self.deflate = Some(deflate);
        self
    }

    /// Extensions of one's own (§9) instead of the server's; [`Extensions::new`] for none. In raw mode
    /// only those are used that [cover it](crate::protocol::extension::Extension::covers_raw).
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = Some(extensions);
        self
    }

    /// Subprotocols spoken here, the preferred one first (§1.9). The first that the client offers too
    /// is agreed to; none where it offers none of them, which [`Request::protocol`] tells.
    #[must_use]
    pub fn protocols<S: Into<String>>(mut self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.protocols = protocols.into_iter().map(Into::into).collect();
        self.needs_protocol = false;
        self
    }

    /// As [`protocols`](Self::protocols), for clients that offer one of them and nobody else: other
    /// upgrades go on to the next route of the path, and where there is none are answered with 400,
    /// which names all that is spoken there.
    ///
    /// ```
    /// use chinwag::{Request, Route, Router, Service};
    ///
    /// struct Chat(u8);
    ///
    /// impl Service for Chat {}
    ///
    /// let router = Router::new()
    ///     .route("/chat", Route::new(|_: &Request<'_>| Chat(2)).only_protocols(["chat.v2"]))
    ///     .route("/chat", Route::new(|_: &Request<'_>| Chat(1)).protocols(["chat.v1"]));
    /// # router.build(Default::default()).unwrap();
    /// ```
    #[must_use]
    pub fn only_protocols<S: Into<String>>(
        mut self,
        protocols: impl IntoIterator<Item = S>,
    ) -> Self {
        self = self.protocols(protocols);
        self.needs_protocol = true;
        self
    }

    pub(super) fn build(self, path: &str, defaults: &Settings) -> Result<Socket, RouteError> {
        if let Some(name) = self.protocols.iter().find(|name| !is_token(name)) {
            return Err(RouteError::Protocol { path: path.into(), name: name.clone() });
        }
        let settings = Settings {
            limits: self.limits.unwrap_or_else(|| defaults.limits.clone()),
            timeouts: self.timeouts.unwrap_or_else(|| defaults.timeouts.clone()),
            mode: self.mode,
            deflate: self.deflate.unwrap_or_else(|| defaults.deflate.clone()),
            extensions: self.extensions.unwrap_or_else(|| defaults.extensions.clone()),
        };
        settings.check().map_err(|error| RouteError::Setting { path: Some(path.into()), error })?;
        settings
            .check_extensions()
            .map_err(|conflict| RouteError::Extensions { path: path.into(), conflict })?;
        let Self { make, protocols, needs_protocol, .. } = self;
        let make = Guarded::new(make);
        Ok(Socket { make, protocols, needs_protocol, settings: settings.into() })
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A [`Route`] at its path, built.
pub(super) struct Socket {
    pub(super) make: Guarded<Make>,
    pub(super) protocols: Vec<String>,
    needs_protocol: bool,
    pub(super) settings: Arc<Settings>,
}

impl Socket {
    /// Whether some upgrade passes by all of `earlier` and is taken here.
    pub(super) fn is_reached_behind(&self, earlier: &[Self]) -> bool {
        let is_new = |name| !earlier.iter().any(|socket| socket.protocols.contains(name));
        earlier.iter().all(|socket| socket.needs_protocol)
            && (!self.needs_protocol || self.protocols.iter().any(is_new))
    }

    /// Whether it takes this upgrade, and the subprotocol agreed to.
    pub(super) fn take<'s>(&'s self, upgrade: &Upgrade<'_>) -> Option<(&'s Self, Option<&'s str>)> {
        let protocol = upgrade.choose_protocol(&self.protocols);
        (protocol.is_some() || !self.needs_protocol).then_some((self, protocol))
    }
}
