//! `chinwag serve`: the chat and the endpoints for tests, until a signal comes.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process, thread,
    time::{Duration, SystemTime},
};

use chinwag::{
    Accept, Answer, Deflate, Limits, Origins, Request, Route, Router, Server, Stopper, Timeouts,
    chat::{Chat, ChatLimits, Regulars},
    cookie::{Key, SignedCookie},
    web,
};
use log::{debug, info, warn};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    args::{AllowOrigin, Serve},
    endpoints::{Echo, RawEcho},
};

/// Largest frame and message of the chat, in bytes: what people write is shorter.
const CHAT_MESSAGE: usize = 64 << 10;

/// Seconds' worth of messages that a member of the chat may send at once.
const BURST: u32 = 5;

/// Silence after which a connection to `/raw` is closed.
const RAW_IDLE: Duration = Duration::from_secs(60);

/// File descriptors kept for what is no connection: pollers, the listener, standard streams.
const OTHER_FILES: u64 = 32;

/// A server as `options` have it, listening but not yet running.
///
/// # Errors
/// The address is none, or cannot be listened on.
pub fn bind(options: &Serve) -> io::Result<Server> {
    let limits = Limits {
        max_frame: options.max_frame_size,
        max_message: options.max_message_size,
        ..Limits::default()
    };
    let timeouts = Timeouts {
        ping_period: Some(options.ping_period).filter(|period| !period.is_zero()),
        pong: options.timeout,
        ..Timeouts::default()
    };
    let most = most_connections();
    let rate = options.chat_rate.get();
    let chat =
        Chat::new(ChatLimits { rate, burst: rate.saturating_mul(BURST), ..ChatLimits::default() });
    let pulse = chat.clone();
    let regulars = Regulars::new(chat, cookie(options));
    let compress = !options.no_compression;
    let mut server = Server::builder()
        .router(
            router(&regulars, &limits, &timeouts, compress)
                .allow_origins(origins(&options.allow_origin)),
        )
        .limits(limits)
        .timeouts(timeouts)
        .max_connections(options.max_connections.map_or(most, usize::from))
        .every(Duration::from_secs(1), move |now| pulse.pulse(now));
    if let Some(workers) = options.workers {
        server = server.workers(workers.into());
    }
    if compress {
        server = server.deflate(Deflate::default());
    }
    let server = server.bind(&*options.listen)?;
    if options.session_key.is_none() {
        info!("cookies are signed with a key made now; --session-key keeps one over a restart");
    }
    Ok(server)
}

/// The cookie by which the chat knows people again.
fn cookie(options: &Serve) -> SignedCookie {
    let key = options.session_key.clone().unwrap_or_else(Key::random);
    SignedCookie::new("chinwag", &key).secure(options.secure_cookies)
}

fn router(regulars: &Regulars, limits: &Limits, timeouts: &Timeouts, compress: bool) -> Router {
    let chat_limits = Limits {
        max_frame: limits.max_frame.min(CHAT_MESSAGE),
        max_message: limits.max_message.min(CHAT_MESSAGE),
        ..limits.clone()
    };
    // Nobody sends Pings there.
    let raw_timeouts = Timeouts { idle: Some(RAW_IDLE), ..timeouts.clone() };
    let enter = || {
        let regulars = regulars.clone();
        let meet = move |request: &Request<'_>| -> Result<_, Answer> {
            let (member, cookie) = regulars.service(request, SystemTime::now())?;
            Ok(Accept::new(member).with_headers(cookie.map(|cookie| ("Set-Cookie", cookie))))
        };
        Route::new(meet).limits(chat_limits.clone()).deflate(compress.then(Deflate::for_topics))
    };
    let regulars = regulars.clone();
    Router::new()
        .get("/", move |request| regulars.page(request, web::page(), SystemTime::now()))
        .route("/chat", enter())
        .route("/chat/{room}", enter())
        .service("/echo", |_: &Request<'_>| Echo)
        .route("/raw", Route::new(|_: &Request<'_>| RawEcho).raw().timeouts(raw_timeouts))
}

fn origins(allowed: &[AllowOrigin]) -> Origins {
    let mut list = Vec::new();
    for allowed in allowed {
        match allowed {
            AllowOrigin::Any => return Origins::Any,
            AllowOrigin::Only(origin) => list.push(origin.clone()),
            AllowOrigin::Nobody => {}
        }
    }
    Origins::List(list)
}

/// Runs until a signal comes.
///
/// # Errors
/// The system has no thread or no poller for us.
pub fn run(server: Server) -> io::Result<()> {
    stop_on_signal(server.stopper())?;
    // A stdout that nobody reads is no reason not to serve.
    announce(server.local_addr()).ok();
    server.run()
}

/// The first line is for programs, so it is the address and nothing else.
fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "http://{addr}/")?;
    writeln!(stdout, "ws://{addr}/chat  the chat; /chat/tea is a room of its own")?;
    writeln!(stdout, "ws://{addr}/echo  sends every message back")?;
    writeln!(stdout, "ws://{addr}/raw   sends every frame back")?;
    stdout.flush()
}

/// The first SIGINT or SIGTERM stops the server gracefully, the second ends the process at once.
fn stop_on_signal(stopper: Stopper) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            info!("stopping; another signal ends it at once");
            stopper.stop();
        }
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// As many as there may be files, once that is as many as the system allows.
fn most_connections() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!("the limit of open files is unknown: {error}");
        1_024
    });
    debug!("up to {files} open files");
    files.saturating_sub(OTHER_FILES).try_into().unwrap_or(usize::MAX).max(1)
}
