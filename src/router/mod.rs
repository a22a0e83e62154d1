//! Routes: which service a path leads to, and an HTTP answer for everything that is no upgrade.
//!
//! A [`Router`] is filled by the application and built once into [`Routes`], which all workers share.
//! The head of a request goes in, bytes to answer with come out, and a service where the request was
//! an upgrade that everybody agrees to. Sockets are `server`'s work.

mod decision;
mod error;
mod origin;
mod refusal;
mod route;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use decision::Decision;
pub use decision::{Accept, Deciding, IntoService, Opening, Verdict};
pub use error::RouteError;
pub use origin::{Origin, OriginError, Origins};
pub use refusal::busy;
use refusal::{foreign_origin, method_not_allowed, no_protocol};
pub use route::Route;
use route::Socket;

use crate::{
    guard::Guarded,
    protocol::{
        connection::{Settings, Terms},
        extension::deflate::Takeovers,
        handshake::{self, HandshakeError, Head, Upgrade},
    },
    service::{Answer, Param, Request, Service},
};

/// Paths and what stands behind them.
///
/// A path is matched as it was sent, from its first slash to the question mark. In it, `{name}` stands
/// for one segment and `{*name}` for all that is left; [`Request::param`] gives them decoded. A path
/// may carry a page and a service: then an upgrade gets the service and all else the page. It may
/// carry more than one service where those before the last are for clients that speak a subprotocol:
/// [`Route::only_protocols`].
///
/// ```
/// use chinwag::{Answer, Peer, Message, Request, Router, Service};
///
/// struct Greeter(String);
///
/// impl Service for Greeter {
///     fn opened(&mut self, peer: &mut Peer<'_>) {
///         peer.send(format!("Welcome to {}", self.0)).ok();
///     }
/// }
///
/// let router = Router::new()
///     .get("/", |_: &Request<'_>| Answer::page("text/html", b"<h1>Hello</h1>"))
///     .service("/greet/{room}", |request: &Request<'_>| {
///         // A service, or an answer for whom it does not want.
///         match request.param("room") {
///             Some("cellar") => Err(Answer::text(404, "there is no cellar")),
///             room => Ok(Greeter(room.unwrap_or_default().to_string())),
///         }
///     });
/// # router.build(Default::default()).unwrap();
/// ```
#[derive(Default)]
pub struct Router {
    entries: Vec<(String, Entry)>,
    origins: Origins,
}

enum Entry {
    Page(Page),
    Socket(Box<Route>),
}

type Page = Box<dyn Fn(&Request<'_>) -> Answer + Send + Sync>;

impl Router {
    /// No routes: every request is answered with 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Upgrades at `path` get the service that `make` gives, with the server's settings.
    #[must_use]
    pub fn service<S: IntoService>(
        self,
        path: impl Into<String>,
        make: impl Fn(&Request<'_>) -> S + Send + Sync + 'static,
    ) -> Self {
        self.route(path, Route::new(make))
    }

    /// As [`service`](Self::service), in raw mode: the service hears frames.
    #[must_use]
    pub fn service_raw<S: IntoService>(
        self,
        path: impl Into<String>,
        make: impl Fn(&Request<'_>) -> S + Send + Sync + 'static,
    ) -> Self {
        self.route(path, Route::new(make).raw())
    }

    /// Upgrades at `path` are served as `route` says, unless an earlier route takes them.
    #[must_use]
    pub fn route(mut self, path: impl Into<String>, route: Route) -> Self {
        self.entries.push((path.into(), Entry::Socket(Box::new(route))));
        self
    }

    /// GET and HEAD requests for `path` that are no upgrade get what `page` gives.
    #[must_use]
    pub fn get(
        mut self,
        path: impl Into<String>,
        page: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.entries.push((path.into(), Entry::Page(Box::new(page))));
        self
    }

    /// Whose pages may open a WebSocket here; [`Origins::SameHost`] by default (§10.2).
    #[must_use]
    pub fn allow_origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// The routes, ready to be shared. `defaults` hold where a [`Route`] says nothing else; the limits
    /// of heads come from them always, as a head is read before its route is known.
    ///
    /// # Errors
    /// [`RouteError`] for the first route that cannot be, or for a setting among the defaults.
    pub fn build(self, defaults: Settings) -> Result<Routes, RouteError> {
        defaults.check().map_err(|error| RouteError::Setting { path: None, error })?;
        let mut nodes = BTreeMap::<String, Node>::new();
        for (path, entry) in self.entries {
            let node = nodes.entry(path.clone()).or_default();
            match entry {
                Entry::Page(_) if node.page.is_some() => {
                    return Err(RouteError::Duplicate { path });
                }
                Entry::Page(page) => node.page = Some(Guarded::new(page)),
                Entry::Socket(route) => {
                    let socket = route.build(&path, &defaults)?;
                    if !socket.is_reached_behind(&node.sockets) {
                        return Err(RouteError::Unreachable { path });
                    }
                    node.sockets.push(socket);
                }
            }
        }
        let mut paths = matchit::Router::new();
        for (path, node) in nodes {
            if !path.starts_with('/') {
                return Err(RouteError::Path { path, reason: "it starts with no slash".into() });
            }
            if let Err(error) = paths.insert(&path, node) {
                return Err(RouteError::Path { path, reason: error.to_string() });
            }
        }
        let (origins, takeovers) = (self.origins, Takeovers::default());
        Ok(Routes { paths, origins, takeovers, defaults: Arc::new(defaults) })
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(path, _)| path)).finish()
    }
}

/// A [`Router`], built: shared by all workers.
pub struct Routes {
    paths: matchit::Router<Node>,
    origins: Origins,
    /// All routes count together.
    takeovers: Takeovers,
    defaults: Arc<Settings>,
}

/// What stands at a path; at least one of the two.
#[derive(Default)]
struct Node {
    page: Option<Guarded<Page>>,
    /// In the order in which they are tried.
    sockets: Vec<Socket>,
}

/// What becomes of a request.
pub enum Routed {
    /// The connection becomes a WebSocket.
    Upgrade {
        /// The bytes to send first.
        response: Vec<u8>,
        /// What serves the connection.
        service: Box<dyn Service>,
        /// What the connection keeps to.
        settings: Arc<Settings>,
        /// What the response says of extensions.
        terms: Terms,
    },
    /// The application decides later: what it comes to finishes the opening. A client that goes before
    /// that is told nothing, and `decision` is dropped.
    Later {
        /// What the application is waiting for.
        decision: Deciding,
        /// What the decision is for.
        opening: Opening,
    },
    /// The connection is closed behind an HTTP answer.
    Answer {
        /// The status in it.
        status: u16,
        /// The bytes to send.
        response: Vec<u8>,
    },
}

impl Routes {
    /// What a connection keeps to before its route is known.
    pub fn defaults(&self) -> &Arc<Settings> {
        &self.defaults
    }

    /// Decides on a request by its head, which came from `addr`. Calls the application's closure for a
    /// page or a service, at most one.
    pub fn route(&self, head: &Head<'_>, addr: SocketAddr) -> Routed {
        match handshake::Request::parse(head, &self.defaults.limits) {
            Ok(head) => self
                .dispatch(&head, addr)
                .unwrap_or_else(|answer| Routed::answer(&answer, head.method == "HEAD")),
            // RFC 9110 §9.3.2: no answer to HEAD has a body, whatever the rest of the head says.
            Err(error) => Routed::answer(&error.into(), head.as_bytes().starts_with(b"HEAD ")),
        }
    }

    fn dispatch(&self, head: &handshake::Request<'_>, addr: SocketAddr) -> Result<Routed, Answer> {
        let found = self
            .paths
            .at(head.path)
            .map_err(|_| Answer::text(404, "there is nothing at this path"))?;
        let params = decode_params(&found.params)?;
        let Node { page, sockets } = found.value;
        match (head.upgrade(), sockets.as_slice(), page) {
            (Ok(Some(_)) | Err(_), [], _) => {
                Err(Answer::text(404, "there is no WebSocket endpoint at this path"))
            }
            (Ok(Some(upgrade)), sockets, _) => self.open(head, &upgrade, sockets, &params, addr),
            (Err(error), _, _) => Err(error.into()),
            (Ok(None), _, Some(page)) if is_read(head) => {
                Err(page(&Request::new(head, &params, addr, None)))
            }
            (Ok(None), _, Some(_)) => Err(method_not_allowed("GET, HEAD")),
            (Ok(None), _, None) if is_read(head) => Err(HandshakeError::NoUpgrade.into()),
            (Ok(None), _, None) => Err(method_not_allowed("GET")),
        }
    }

    fn open(
        &self,
        head: &handshake::Request<'_>,
        upgrade: &Upgrade<'_>,
        sockets: &[Socket],
        params: &[Param<'_>],
        addr: SocketAddr,
    ) -> Result<Routed, Answer> {
        if !self.origins.welcome(head) {
            return Err(foreign_origin());
        }
        let (socket, protocol) = sockets
            .iter()
            .find_map(|socket| socket.take(upgrade))
            .ok_or_else(|| no_protocol(sockets.iter().flat_map(|socket| &socket.protocols)))?;
        let opening = || {
            let settings = Arc::clone(&socket.settings);
            let terms = settings.answer(&upgrade.extensions, &self.takeovers);
            let (key, protocol) = (upgrade.key.into(), protocol.map(Into::into));
            Opening { key, protocol, settings, terms }
        };
        match (socket.make)(&Request::new(head, params, addr, protocol)) {
            Decision::Now(Err(answer)) => Err(answer),
            Decision::Now(accept) => Ok(opening().finish(accept)),
            Decision::Later(decision) => Ok(Routed::Later { decision, opening: opening() }),
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl Routed {
    fn answer(answer: &Answer, head_only: bool) -> Self {
        Self::Answer { status: answer.status, response: answer.encode(head_only) }
    }
}

fn is_read(head: &handshake::Request<'_>) -> bool {
    matches!(head.method, "GET" | "HEAD")
}

fn decode_params<'a>(params: &matchit::Params<'a, 'a>) -> Result<Vec<Param<'a>>, Answer> {
    params
        .iter()
        .map(|(name, value)| Some((name, percent_decode(value)?)))
        .collect::<Option<_>>()
        .ok_or_else(|| Answer::text(400, "the path is not UTF-8, percent-encoded"))
}

/// The text that `encoded` stands for (RFC 3986 §2.1); `None` for a percent sign without two hex
/// digits, or bytes that are not UTF-8.
fn percent_decode(encoded: &str) -> Option<Cow<'_, str>> {
    if !encoded.contains('%') {
        return Some(encoded.into());
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
