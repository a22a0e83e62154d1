//! What `connect` takes.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::quantity;

/// What `connect` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, next_line_help = true)]
pub struct Connect {
    /// Where to: ws://HOST[:PORT][/PATH][?QUERY].
    #[arg(value_name = "URL")]
    pub url: String,

    /// A header of the request, such as "Cookie: name=Ann"; may be repeated.
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,

    /// The Origin header, as a page of that origin would send it.
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,

    /// Offers a subprotocol; may be repeated, the preferred one first.
    #[arg(short, long, value_name = "NAME")]
    pub subprotocol: Vec<String>,

    /// Offers compression: permessage-deflate, windows of 32 KiB, taken over from message to message.
    #[arg(short, long)]
    pub compress: bool,

    /// Shows every frame both ways, and how long Pongs took.
    #[arg(short, long)]
    pub raw: bool,

    /// Shows messages that are JSON on lines of their own, indented.
    #[arg(short, long)]
    pub json: bool,

    /// Lines are hex digits, and go out as binary messages.
    #[arg(short, long)]
    pub binary: bool,

    /// How long to stay when stdin has ended, before the connection is closed: for servers that need a
    /// while to answer.
    #[arg(short, long, value_name = "DURATION", default_value = "0", value_parser = quantity::duration)]
    pub wait: Duration,

    /// How long connecting may take, and after that the opening handshake.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = quantity::wait)]
    pub timeout: Duration,

    /// Silence after which the server is pinged; 0 sends no pings.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = quantity::duration)]
    pub ping_period: Duration,

    /// Largest message taken; a longer one is closed with 1009.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = quantity::size)]
    pub max_message_size: usize,

    /// Keeps what was typed in this file, for the next time.
    #[arg(long, value_name = "FILE", env = "CHINWAG_HISTORY", hide_env_values = true)]
    pub history: Option<PathBuf>,
}

/// `Name: value`, as it stands in a request.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is \"Name: value\"")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

const AFTER_HELP: &str = "\
On a terminal what you type is a text message, and /help tells the commands. Otherwise each line of
stdin is one, and each message that comes is a line of stdout, and nothing else is: what else there is
to say goes to stderr. When stdin ends, the connection is closed with 1000, and what still arrives
until the server has closed it too is printed.

Control characters in what comes are shown escaped, such as \\n and \\u{1b}; binary messages as hex digits.

Examples:
  chinwag connect ws://127.0.0.1:8080/chat            talk
  chinwag connect --raw ws://127.0.0.1:8080/echo      see what goes over the wire
  echo hello | chinwag connect ws://127.0.0.1:8080/echo

The exit status is 0 after a normal close, 2 for a bad option or URL, else 1.";
