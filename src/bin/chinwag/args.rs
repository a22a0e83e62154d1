//! The command line and the environment: what may be said, and what is true where nothing is.

use std::{
    fs::File,
    io::Read,
    num::{NonZeroU32, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use chinwag::{
    cookie::Key,
    router::{Origin, OriginError},
};
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use log::LevelFilter;

use crate::{bench::Bench, connect::Connect, quantity};

/// A WebSocket server with a chat on top.
#[derive(Debug, Parser)]
#[command(name = "chinwag", version, after_help = AFTER_HELP, next_line_help = true)]
// `chinwag --listen …` is `chinwag serve --listen …`; an option before a subcommand is a mistake.
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

impl Cli {
    /// What is to be done: to serve, where nothing else is said.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves the chat and the test endpoints; the default.
    #[command(after_help = AFTER_HELP, next_line_help = true)]
    Serve(Serve),
    /// Talks to a WebSocket server, from a terminal or a script.
    Connect(Connect),
    /// Puts load on a WebSocket server, and tells how fast it is.
    Bench(Bench),
}

/// What `serve` takes.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen: an address or a host name, and a port; port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDR",
        env = "CHINWAG_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,

    /// Worker threads, at most 1,024 [default: one a core].
    #[arg(
        long,
        value_name = "N",
        env = "CHINWAG_WORKERS", hide_env_values = true,
        value_parser = value_parser!(u16).range(1..=1_024)
    )]
    pub workers: Option<u16>,

    /// Silence after which a client is pinged; 0 sends no pings.
    #[arg(
        long,
        value_name = "DURATION",
        env = "CHINWAG_PING_PERIOD", hide_env_values = true,
        default_value = "20s",
        value_parser = quantity::duration
    )]
    pub ping_period: Duration,

    /// How long a client may take to answer a ping before it is closed with 1011.
    #[arg(
        long,
        value_name = "DURATION",
        env = "CHINWAG_TIMEOUT", hide_env_values = true,
        default_value = "20s",
        value_parser = timeout
    )]
    pub timeout: Duration,

    /// Largest frame taken; a longer one is closed with 1009. The chat takes 64KiB at most.
    #[arg(
        long,
        value_name = "SIZE",
        env = "CHINWAG_MAX_FRAME_SIZE", hide_env_values = true,
        default_value = "1MiB",
        value_parser = quantity::size
    )]
    pub max_frame_size: usize,

    /// Largest message taken, all its frames together; likewise.
    #[arg(
        long,
        value_name = "SIZE",
        env = "CHINWAG_MAX_MESSAGE_SIZE", hide_env_values = true,
        default_value = "1MiB",
        value_parser = quantity::size
    )]
    pub max_message_size: usize,

    /// Most connections at a time; more get status 503 [default: file descriptors less 32].
    #[arg(long, value_name = "N", env = "CHINWAG_MAX_CONNECTIONS", hide_env_values = true)]
    pub max_connections: Option<NonZeroUsize>,

    /// Messages a second that a member of the chat may send for ever, and five times as many at once;
    /// what comes on top is dropped.
    #[arg(
        long,
        value_name = "N",
        env = "CHINWAG_CHAT_RATE",
        hide_env_values = true,
        default_value = "100"
    )]
    pub chat_rate: NonZeroU32,

    /// Compresses nothing. Without it the chat and /echo agree to permessage-deflate.
    #[arg(
        long,
        env = "CHINWAG_NO_COMPRESSION", hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub no_compression: bool,

    /// Pages of this origin may connect too, such as https://example.org; may be repeated, and `*`
    /// allows all. Without it only pages of the host that is asked may, and programs, which send no
    /// origin.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "CHINWAG_ALLOW_ORIGIN",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub allow_origin: Vec<AllowOrigin>,

    /// File with the secret that cookies are signed with: at least 32 bytes that nobody can guess.
    /// Without it one is made at each start, and browsers keep their names only until the next.
    #[arg(
        long,
        value_name = "FILE",
        env = "CHINWAG_SESSION_KEY", hide_env_values = true,
        value_parser = session_key
    )]
    pub session_key: Option<Key>,

    /// Has browsers send their cookie over https alone; for a server behind a proxy that ends TLS.
    #[arg(
        long,
        env = "CHINWAG_SECURE_COOKIES", hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub secure_cookies: bool,

    // Choice: info. Who runs a chat wants to see who came, and why they went.
    /// How much is told on stderr; info has a line for each connection that ended.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "CHINWAG_LOG", hide_env_values = true,
        default_value = "info",
        ignore_case = true,
        value_parser = PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
            .map(|level| level.parse::<LevelFilter>().expect("each of them is a level"))
    )]
    pub log: LevelFilter,
}

const AFTER_HELP: &str = "\
Sizes are plain bytes or have a unit: 64k, 64KiB, 16M, 16MiB (powers of 1024).
Durations have a unit: 500ms, 15s, 2m, 1h.
An option wins over its environment variable; origins in the variable are separated by commas.

Endpoints:
  /             the page to chat from
  /chat         the chat, for any WebSocket client: text in, text out; /help tells the commands
  /chat/{room}  the same in a room of its own, as is /chat?room={room}
  /echo         sends every message back
  /raw          sends every frame back, fragment by fragment; closes after 60 s of silence

Examples:
  chinwag                                    chat at http://127.0.0.1:8080/
  chinwag serve --listen 0.0.0.0:80          for the whole network
  chinwag --listen 127.0.0.1:0 --log off     on a free port, told by the first line on stdout
  head -c 32 /dev/urandom > key; chmod 600 key; chinwag --session-key key
                                             browsers keep their names over a restart
  CHINWAG_PING_PERIOD=5s chinwag             through an environment variable

SIGINT and SIGTERM say goodbye to every client (1001) and leave within 5 seconds; a second one
leaves at once. The exit status is 0 after such an end, 2 for a bad option or address, else 1.";

/// Whose pages may connect beside those of the host that is asked.
#[derive(Debug, Clone)]
pub enum AllowOrigin {
    /// Everybody's.
    Any,
    /// Those of one origin.
    Only(Origin),
    /// Nobody's: an empty entry of a list, or an empty variable.
    Nobody,
}

impl FromStr for AllowOrigin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text.trim() {
            "" => Ok(Self::Nobody),
            "*" => Ok(Self::Any),
            origin => origin.parse().map(Self::Only),
        }
    }
}

/// How long to wait for a pong: one that must come at once never does.
fn timeout(text: &str) -> Result<Duration, String> {
    match quantity::duration(text)? {
        Duration::ZERO => Err("must be more than 0; --ping-period 0 switches pings off".into()),
        timeout => Ok(timeout),
    }
}

/// The key in a file.
fn session_key(path: &str) -> Result<Key, String> {
    const MAX: u64 = 4 << 10;
    let mut secret = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // One byte more shows that there is more: what never ends is read no further.
    let len = file.take(MAX + 1).read_to_end(&mut secret).map_err(|error| error.to_string())?;
    if len as u64 > MAX {
        return Err(format!("a key has at most {MAX} bytes"));
    }
    Key::new(&secret).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }
}
