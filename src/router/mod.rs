//! Routes: which service a path leads to, and an HTTP answer for everything that is no upgrade.
//!
//! A [`Router`] is filled by the application and built once into [`Routes`], which all workers share.
//! The head of a request goes in, bytes to answer with come out, and a service where the request was
//! an upgrade that everybody agrees to. Sockets are `server`'s work.

mod origin;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

pub use origin::{Origin, OriginError, Origins};

use crate::{
    protocol::{
        connection::{Mode, Settings, Terms},
        extension::{
            Conflict, Extensions,
            deflate::{Deflate, Takeovers},
            is_token,
        },
        handshake::{self, HandshakeError, Head, ServerResponse, Upgrade},
        limits::{Limits, Timeouts},
    },
    service::{Answer, Params, Request, Service},
};

/// Paths and what stands behind them.
///
/// A path is matched as it was sent, from its first slash to the question mark. In it, `{name}` stands
/// for one segment and `{*name}` for all that is left; [`Request::param`] gives them decoded. A path
/// may carry a page and a service: then an upgrade gets the service and all else the page.
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
type Make = Box<dyn Fn(&Request<'_>) -> Result<Box<dyn Service>, Answer> + Send + Sync>;

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

    /// Upgrades at `path` are served as `route` says.
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
    /// [`RouteError`] for the first route that cannot be.
    pub fn build(self, defaults: Settings) -> Result<Routes, RouteError> {
        let mut nodes = BTreeMap::<String, Node>::new();
        for (path, entry) in self.entries {
            let node = nodes.entry(path.clone()).or_default();
            let is_taken = match entry {
                Entry::Page(page) => node.page.replace(page).is_some(),
                Entry::Socket(route) => {
                    node.socket.replace(route.build(&path, &defaults)?).is_some()
                }
            };
            if is_taken {
                return Err(RouteError::Duplicate { path });
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
}

impl Route {
    /// A route to the service that `make` gives for each upgrade.
    pub fn new<S: IntoService>(make: impl Fn(&Request<'_>) -> S + Send + Sync + 'static) -> Self {
        Self {
            make: Box::new(move |request| make(request).into_service()),
            mode: Mode::Messages,
            limits: None,
            timeouts: None,
            deflate: None,
            extensions: None,
            protocols: Vec::new(),
        }
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
        self
    }

    fn build(self, path: &str, defaults: &Settings) -> Result<Socket, RouteError> {
        if let Some(name) = self.protocols.iter().find(|name| !is_token(name)) {
            return Err(RouteError::Protocol { path: path.into(), name: name.clone() });
        }
        let deflate = self.deflate.unwrap_or_else(|| defaults.deflate.clone());
        if deflate.as_ref().is_some_and(|deflate| !deflate.is_legal()) {
            return Err(RouteError::Deflate { path: path.into() });
        }
        let settings = Settings {
            limits: self.limits.unwrap_or_else(|| defaults.limits.clone()),
            timeouts: self.timeouts.unwrap_or_else(|| defaults.timeouts.clone()),
            mode: self.mode,
            deflate,
            extensions: self.extensions.unwrap_or_else(|| defaults.extensions.clone()),
        };
        settings
            .check_extensions()
            .map_err(|conflict| RouteError::Extensions { path: path.into(), conflict })?;
        Ok(Socket { make: self.make, protocols: self.protocols, settings: settings.into() })
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What the closure of a route may give: a service, or a service or an answer.
pub trait IntoService {
    /// The service, or the HTTP answer that an upgrade is refused with.
    ///
    /// # Errors
    /// The answer.
    fn into_service(self) -> Result<Box<dyn Service>, Answer>;
}

impl<S: Service + 'static> IntoService for S {
    fn into_service(self) -> Result<Box<dyn Service>, Answer> {
        Ok(Box::new(self))
    }
}

impl<S: Service + 'static> IntoService for Result<S, Answer> {
    fn into_service(self) -> Result<Box<dyn Service>, Answer> {
        self.map(|service| Box::new(service) as Box<dyn Service>)
    }
}

/// A route that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// Two pages, or two services, have the same path.
    Duplicate {
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
    /// A setting of compression is out of its range.
    Deflate {
        /// The path of its route.
        path: String,
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
            Self::Duplicate { path } => write!(f, "path {path:?} is given twice"),
            Self::Path { path, reason } => write!(f, "path {path:?} cannot be: {reason}"),
            Self::Protocol { path, name } => {
                write!(f, "subprotocol {name:?} at path {path:?} is not a token")
            }
            Self::Deflate { path } => {
                write!(f, "a setting of compression at path {path:?} is out of its range")
            }
            Self::Extensions { path, conflict } => write!(f, "{conflict} at path {path:?}"),
        }
    }
}

impl std::error::Error for RouteError {}

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
    page: Option<Page>,
    socket: Option<Socket>,
}

struct Socket {
    make: Make,
    protocols: Vec<String>,
    settings: Arc<Settings>,
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
        let Node { page, socket } = found.value;
        match (head.upgrade(), socket, page) {
            (Ok(Some(upgrade)), Some(socket), _) => self.open(head, &upgrade, socket, params, addr),
            (Err(error), Some(_), _) => Err(error.into()),
            (Ok(Some(_)) | Err(_), None, _) => {
                Err(Answer::text(404, "there is no WebSocket endpoint at this path"))
            }
            (Ok(None), _, Some(page)) if is_read(head) => {
                Err(page(&Request::new(head, params, addr, None)))
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
        socket: &Socket,
        params: Params,
        addr: SocketAddr,
    ) -> Result<Routed, Answer> {
        if !self.origins.welcome(head) {
            return Err(foreign_origin());
        }
        let protocol = upgrade.choose_protocol(&socket.protocols);
        let service = (socket.make)(&Request::new(head, params, addr, protocol))?;
        let settings = Arc::clone(&socket.settings);
        let (extensions, terms) = settings.answer(&upgrade.extensions, &self.takeovers);
        let extensions = &extensions;
        // Where the parameters of somebody's own extension are none, that is a fault like a panic.
        let response = ServerResponse { key: upgrade.key, protocol, extensions, headers: &[] }
            .encode()
            .expect("the key, the subprotocols and the extensions are legal");
        Ok(Routed::Upgrade { response, service, settings, terms })
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

impl From<HandshakeError> for Answer {
    /// The answer for who made the fault: what was wrong, in plain text, and the headers that go with
    /// its status.
    fn from(error: HandshakeError) -> Self {
        let answer = Self::text(error.status(), error.to_string());
        match error {
            // RFC 9110 §15.5.6.
            HandshakeError::Method => answer.with_header("Allow", "GET"),
            // RFC 9110 §15.5.22.
            HandshakeError::NoUpgrade => answer.with_header("Upgrade", "websocket"),
            // §4.4.
            HandshakeError::Version => answer
                .with_header("Upgrade", "websocket")
                .with_header("Sec-WebSocket-Version", "13"),
            _ => answer,
        }
    }
}

/// The answer at the limit of connections: status 503.
pub fn busy() -> Answer {
    Answer::text(503, "this server has as many connections as it takes: try again in a moment")
        .with_header("Retry-After", "5")
}

fn foreign_origin() -> Answer {
    Answer::text(
        403,
        "pages of this origin may not connect here: the Origin header is not on the list and does not \
         name the host of the Host header. Where it should, a proxy in front may have changed Host; for \
         nginx add \"proxy_set_header Host $http_host;\"",
    )
}

fn method_not_allowed(allow: &'static str) -> Answer {
    Answer::text(405, format!("the methods here: {allow}")).with_header("Allow", allow)
}

fn is_read(head: &handshake::Request<'_>) -> bool {
    matches!(head.method, "GET" | "HEAD")
}

fn decode_params(params: &matchit::Params<'_, '_>) -> Result<Params, Answer> {
    params
        .iter()
        .map(|(name, value)| Some((name.to_string(), percent_decode(value)?)))
        .collect::<Option<_>>()
        .ok_or_else(|| Answer::text(400, "the path is not UTF-8, percent-encoded"))
}

/// The text that `encoded` stands for (RFC 3986 §2.1); `None` for a percent sign without two hex
/// digits, or bytes that are not UTF-8.
fn percent_decode(encoded: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
