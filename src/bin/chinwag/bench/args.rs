//! What `chinwag bench` takes.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, Subcommand};

use super::{payload::Kind, target::Target};
use crate::quantity;

/// What `bench` takes.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    pub mode: Mode,
}

/// What is done to the server.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Sends messages and waits for each to come back.
    #[command(next_line_help = true)]
    Echo(Echo),
}

#[derive(Debug, Args)]
pub struct Echo {
    #[command(flatten)]
    pub common: Common,

    /// Connections to open.
    #[arg(long, value_name = "N", default_value = "100")]
    pub connections: NonZeroUsize,

    /// Bytes of each message.
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = size)]
    pub size: usize,

    /// What messages are made of.
    #[arg(long, value_name = "KIND", default_value = "text")]
    pub kind: Kind,

    /// Messages on their way at a time, on each connection.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,

    /// Messages a second, over all connections, whether replies come or not; latencies then count from
    /// when a message was meant to go. Without it the next one goes when a reply is there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub rate: Option<u32>,

    /// Offers compression (permessage-deflate), and sends what was compressed once.
    #[arg(long)]
    pub compress: bool,
}

/// What every mode takes.
#[derive(Debug, Args)]
pub struct Common {
    /// The server: ws://HOST:PORT/PATH.
    #[arg(value_name = "URL")]
    pub url: Target,

    /// How long is measured.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = length)]
    pub duration: Duration,

    /// How long there is load before that.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = warm_up)]
    pub warm_up: Duration,

    /// Threads that make the load.
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,

    /// Loopback addresses to connect from (127.0.0.1, 127.0.0.2, …), as each has 28,000 ports
    /// [default: as many as are needed].
    #[arg(long, value_name = "N")]
    pub sources: Option<NonZeroUsize>,

    /// A process of the server, on this machine: its processor time and memory are told too. May be
    /// repeated.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// One JSON object on stdout and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// The largest message.
const MAX_SIZE: usize = 64 << 20;

/// The longest run: what is counted fits everywhere until then.
const MAX_LENGTH: Duration = Duration::from_secs(24 * 3_600);

fn size(text: &str) -> Result<usize, String> {
    match quantity::size(text)? {
        size if size > MAX_SIZE => Err("the largest message is 64MiB".into()),
        size => Ok(size),
    }
}

fn length(text: &str) -> Result<Duration, String> {
    match warm_up(text)? {
        Duration::ZERO => Err("nothing is measured in no time".into()),
        length => Ok(length),
    }
}

fn warm_up(text: &str) -> Result<Duration, String> {
    match quantity::duration(text)? {
        length if length > MAX_LENGTH => Err("the longest is 24h".into()),
        length => Ok(length),
    }
}
