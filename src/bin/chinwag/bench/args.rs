//! What `chinwag bench` takes.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, Subcommand, value_parser};
use serde::Serialize;

use super::{payload::Kind, stamp::STAMP, target::Target};
use crate::quantity;

/// What `bench` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = false)]
pub struct Bench {
    #[command(subcommand)]
    pub mode: Mode,
}

/// What is done to the server.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Sends messages, each of which comes back.
    #[command(next_line_help = true, after_help = AFTER_HELP)]
    Echo(Echo),
    /// Sends messages, each of which is delivered to every member: a chat.
    #[command(next_line_help = true, after_help = AFTER_HELP)]
    Broadcast(Broadcast),
    /// Opens connections, one after the other, and drops each once its handshake is done.
    #[command(next_line_help = true, after_help = AFTER_HELP)]
    Connect(Connect),
    /// Opens connections and holds them: what does one cost that does nothing?
    #[command(next_line_help = true, after_help = AFTER_HELP)]
    Idle(Idle),
    /// Connects, sends a message and waits for it to come back, closes; and again.
    #[command(next_line_help = true, after_help = AFTER_HELP)]
    Churn(Churn),
}

impl Mode {
    /// What every mode takes.
    pub fn common(&self) -> &Common {
        match self {
            Self::Echo(Echo { common, .. })
            | Self::Broadcast(Broadcast { common, .. })
            | Self::Connect(Connect { common, .. })
            | Self::Idle(Idle { common, .. })
            | Self::Churn(Churn { common, .. }) => common,
        }
    }
}

/// What `echo` takes.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Echo {
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,

    /// Connections.
    #[arg(long, value_name = "N", default_value = "100")]
    pub connections: NonZeroUsize,

    /// Bytes of each message.
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = size)]
    pub size: usize,

    /// What messages are made of.
    #[arg(long, value_name = "KIND", default_value = "text")]
    pub kind: Kind,

    /// Messages on their way at a time, on each connection.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = value_parser!(u32).range(1..=MAX_IN_FLIGHT)
    )]
    pub in_flight: u32,

    /// Messages a second, all connections together, whether or not replies come; latencies then count
    /// from when a message was meant to go. Without it the next one goes when a reply is there.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=MAX_RATE))]
    pub rate: Option<u32>,

    /// Offers compression (permessage-deflate), and sends what was compressed once.
    #[arg(long)]
    pub compress: bool,
}

/// What `broadcast` takes.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Broadcast {
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,

    /// Connections that hear.
    #[arg(long, value_name = "N", default_value = "100")]
    pub members: NonZeroUsize,

    /// Those of them that send.
    #[arg(long, value_name = "N", default_value = "10", value_parser = value_parser!(u16).range(1..))]
    pub senders: u16,

    /// Bytes of each message, at least 36: the first ones are a stamp, which is looked for anywhere in
    /// what is delivered.
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = stamped_size)]
    pub size: usize,

    /// What messages are made of.
    #[arg(long, value_name = "KIND", default_value = "text")]
    pub kind: Kind,

    /// Messages on their way at a time, of each sender: the next one goes when it hears one of its own.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = value_parser!(u32).range(1..=MAX_IN_FLIGHT)
    )]
    pub window: u32,

    /// Messages a second, all senders together, whether or not deliveries come.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "window",
        value_parser = value_parser!(u32).range(1..=MAX_RATE)
    )]
    pub rate: Option<u32>,

    /// The server delivers a message to everyone but its sender.
    #[arg(long)]
    pub others_only: bool,

    /// Offers compression (permessage-deflate).
    #[arg(long)]
    pub compress: bool,
}

/// What `connect` takes.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Connect {
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,

    /// Connections being opened at a time.
    #[arg(long, value_name = "N", default_value = "16")]
    pub connections: NonZeroUsize,

    /// Offers compression (permessage-deflate).
    #[arg(long)]
    pub compress: bool,
}

/// What `idle` takes.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Idle {
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,

    /// Connections to hold.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub connections: NonZeroUsize,

    /// Offers compression (permessage-deflate).
    #[arg(long)]
    pub compress: bool,
}

/// What `churn` takes.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Churn {
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,

    /// Connections at a time.
    #[arg(long, value_name = "N", default_value = "16")]
    pub connections: NonZeroUsize,

    /// Bytes of each message.
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = size)]
    pub size: usize,

    /// What messages are made of.
    #[arg(long, value_name = "KIND", default_value = "text")]
    pub kind: Kind,
}

/// What every mode takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server: ws://HOST:PORT/PATH.
    #[arg(value_name = "URL")]
    pub url: Target,

    /// How long is measured.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub duration: Duration,

    /// How long there is load before that.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = warm_up)]
    pub warm_up: Duration,

    /// How long a connection may take to open, and to close.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,

    /// Threads that make the load.
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,

    /// Loopback addresses to connect from (127.0.0.1, 127.0.0.2, …), as each has 28,000 ports
    /// [default: as many as are needed].
    #[arg(long, value_name = "N")]
    pub sources: Option<NonZeroUsize>,

    /// A process of the server, on this machine: what it costs is told too. May be repeated.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// One JSON object on stdout and nothing else.
    #[arg(long)]
    pub json: bool,
}

const AFTER_HELP: &str = "\
Sizes are plain bytes or have a unit: 64k, 1MiB. Durations have one: 500ms, 15s, 2m.
Only measure servers that are yours, or whose owners have agreed to it.

Examples:
  chinwag bench echo ws://127.0.0.1:8080/echo --connections 1000 --duration 10s
  chinwag bench echo ws://127.0.0.1:8080/echo --size 16k --in-flight 16 --pid $(pidof server) --json
  chinwag bench echo ws://127.0.0.1:8080/echo --rate 20000
  chinwag bench broadcast ws://127.0.0.1:8080/chat --members 1000 --senders 100 --rate 2000
  chinwag bench idle ws://127.0.0.1:8080/echo --connections 15000 --pid $(pidof server)

Latencies are those of the load generator's side, from the moment a message goes to the moment its
reply is read. Give the server and the generator cores of their own (taskset) where you can. The exit
status is 0 where something was measured, 2 for a bad option, else 1.";

/// The largest message.
const MAX_SIZE: usize = 64 << 20;

/// Most messages on their way on a connection.
const MAX_IN_FLIGHT: i64 = 65_536;

/// Most messages a second.
const MAX_RATE: i64 = 100_000_000;

/// The longest run: stamps tell the time of three days.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3_600);

fn size(text: &str) -> Result<usize, String> {
    match quantity::size(text)? {
        size if size > MAX_SIZE => Err("the largest message is 64MiB".into()),
        size => Ok(size),
    }
}

fn stamped_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        size if size < STAMP => Err(format!("a stamp takes {STAMP} bytes")),
        size => Ok(size),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    quantity::wait(text).and(warm_up(text))
}

fn warm_up(text: &str) -> Result<Duration, String> {
    match quantity::duration(text)? {
        duration if duration > MAX_DURATION => Err("the longest is 24h".into()),
        duration => Ok(duration),
    }
}
