//! Servers that do the same work, each the way its library wants it done: one thread, one core.
//!
//! ```text
//! chinwag-against-peers NAME echo|broadcast [--deflate] [--workers N] [--sessions]
//! ```
//!
//! The first line on stdout is the address. `echo` sends each message back; in `broadcast` everyone
//! connected hears every message, its sender too. `--deflate` agrees to compress (RFC 7692), where the
//! library can; `--workers` and `--sessions`, its sequential face, are chinwag's alone. A
//! server ends when it is killed.

mod axum;
mod chinwag;
mod fastwebsockets;
mod floor;
mod sockudo;
mod streams;
mod tungstenite;
mod yawc;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use tokio::{net::TcpListener, runtime};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a server does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Echo,
    Broadcast,
}

/// Publications that may wait for a member; the load has far fewer on their way at once.
const TOPIC: usize = 4096;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, work, options) = match args[..] {
        [name, "echo", ref options @ ..] => (name, Work::Echo, options),
        [name, "broadcast", ref options @ ..] => (name, Work::Broadcast, options),
        _ => return usage(),
    };
    let (deflate, workers, sessions) = match *options {
        [] => (false, Some(1), false),
        ["--deflate"] if work == Work::Echo => (true, Some(1), false),
        ["--sessions"] if work == Work::Echo && name == "chinwag" => (false, Some(1), true),
        ["--workers", workers] if name == "chinwag" => (false, workers.parse().ok(), false),
        _ => return usage(),
    };
    let Some(workers) = workers else { return usage() };
    let result = match (name, deflate) {
        ("floor", false) => floor::serve(work),
        ("chinwag", false) => chinwag::serve(work, workers, sessions),
        ("axum", false) => on_tokio(|listener| axum::serve(listener, work)),
        ("fastwebsockets", false) => on_tokio(|listener| fastwebsockets::serve(listener, work)),
        ("sockudo-ws", _) => on_tokio(|listener| sockudo::serve(listener, work, deflate)),
        ("tokio-tungstenite", false) => on_tokio(|listener| tungstenite::serve(listener, work)),
        ("yawc", _) => on_tokio(|listener| yawc::serve(listener, work, deflate)),
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "chinwag-against-peers NAME echo|broadcast [--deflate] [--workers N] [--sessions]\n\
         NAME: floor chinwag axum fastwebsockets sockudo-ws tokio-tungstenite yawc; \
         those that compress: sockudo-ws yawc"
    );
    ExitCode::from(2)
}

/// Runs a peer on tokio's runtime of one thread.
fn on_tokio<F>(serve: impl FnOnce(TcpListener) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        announce(listener.local_addr()?)?;
        serve(listener).await
    })
}

fn announce(addr: SocketAddr) -> io::Result<()> {
    println!("ws://{addr}/");
    io::stdout().flush()
}
