//! `chinwag connect`: a client for people and for scripts.
//!
//! One thread sends what is typed, or what comes on stdin; another prints what the server says. Both talk
//! through a [`tap`], which shows frames where that is asked for and knows how long Pongs took.

mod args;
mod command;
mod editor;
mod hex;
mod inspect;
mod json;
mod lines;
mod screen;
mod tap;

use std::{
    fmt,
    io::{self, IsTerminal},
    sync::Arc,
};

pub use args::Connect;
use chinwag::{
    CloseCause, CloseCode, CloseReason, Deflate, Limits, Message, Timeouts,
    client::{self, Client, ConnectError},
};
use lines::Lines;
use screen::Screen;
use tap::{Tap, Watch};

type Sender = client::Sender<Message<'static>, Tap>;
type Receiver = client::Receiver<Message<'static>, Tap>;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said so, and nobody complained.
    Normal,
    /// In any other way.
    Failed,
}

/// There was none.
#[derive(Debug)]
pub enum Failure {
    /// The options or the URL are wrong.
    Misuse(ConnectError),
    /// The server is not there, or does not agree.
    Connect(ConnectError),
    /// The system has no thread for us.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(error) | Self::Connect(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Url(_)
            | ConnectError::Tls
            | ConnectError::Request(_)
            | ConnectError::Setting(_) => Self::Misuse(error),
            _ => Self::Connect(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Connects and talks until one side ends it.
///
/// # Errors
/// There was no connection.
pub fn connect(options: &Connect) -> Result<End, Failure> {
    let screen = Arc::new(Screen::new(options.json));
    let watch = Arc::new(Watch::new(Arc::clone(&screen), options.raw));
    let client = open(options, &watch)?;

    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let history = options.history.as_deref();
    let editor = is_terminal.then(|| editor::editor(&screen, history)).flatten();
    screen.notice(&describe(&client, &options.url));
    let (sender, receiver) = client.split()?;
    match editor {
        Some(editor) => {
            let talk = editor::Talk::new(sender, screen, watch);
            Ok(editor::run(talk, receiver, editor, history)?)
        }
        None => {
            let lines = Lines { binary: options.binary, wait: options.wait };
            Ok(lines::run(sender, receiver, lines, &screen))
        }
    }
}

fn open(
    options: &Connect,
    watch: &Arc<Watch>,
) -> Result<Client<Message<'static>, Tap>, ConnectError> {
    let max = options.max_message_size;
    let mut builder = Client::builder()
        .connect_timeout(options.timeout)
        .limits(Limits { max_frame: max, max_message: max, ..Limits::default() })
        .timeouts(Timeouts { handshake: options.timeout, ..Timeouts::default() })
        .ping_period(Some(options.ping_period).filter(|period| !period.is_zero()));
    for (name, value) in &options.header {
        builder = builder.header(name, value);
    }
    if let Some(origin) = &options.origin {
        builder = builder.origin(origin);
    }
    for name in &options.subprotocol {
        builder = builder.protocol(name);
    }
    if options.compress {
        builder = builder.deflate(Deflate {
            server_window_bits: 15,
            client_window_bits: 15,
            server_takeover: true,
            client_takeover: true,
            min_len: 32,
            ..Deflate::default()
        });
    }
    builder.connect_through(&options.url, |socket| Tap { socket, watch: Arc::clone(watch) })
}

/// What was agreed on, in one line.
fn describe(client: &Client<Message<'static>, Tap>, url: &str) -> String {
    let mut line = format!("connected to {url}");
    if let Some(protocol) = client.protocol() {
        line += &format!(", subprotocol {protocol}");
    }
    if client.compression().is_some() {
        line += ", compressed";
    }
    line
}

impl End {
    /// Tells why the connection of `receiver` has ended.
    fn of(receiver: &Receiver, screen: &Screen) -> Self {
        let reason = receiver.close_reason();
        match &reason {
            Some(reason) => screen.notice(&reason.to_string()),
            None => screen.notice("the connection has ended"),
        }
        let meant = |reason: &CloseReason| match reason.cause {
            CloseCause::Local => true,
            // §7.1.5: 1005 stands for a Close without a code, which complains about nothing.
            _ => matches!(reason.code, CloseCode::NORMAL | CloseCode::NO_STATUS),
        };
        match reason {
            Some(reason) if receiver.was_clean() && meant(&reason) => Self::Normal,
            _ => Self::Failed,
        }
    }
}
