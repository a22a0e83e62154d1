//! Every number among the settings at its ends and around the powers of two that code casts to: it works,
//! or it is refused with its name when the server is built.
//!
//! Each table takes its type apart, so a new field does not compile before it has its row.

use std::{
    io,
    net::SocketAddr,
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chinwag::{
    CloseCode, Limits, Message, Peer, Request, Route, Router, Server, ServerBuilder, Service,
    chat::{Chat, ChatLimits},
    protocol::limits::{SettingError, Timeouts},
    testing,
};

use crate::SECOND;

/// How long the clock goes on in each conversation: past every default, and past the farthest entry of
/// the timers.
const WHILE: Duration = Duration::from_secs(180);

/// Where a number stands.
enum Slot<'a> {
    Size(&'a mut usize),
    Count(&'a mut u32),
    Small(&'a mut u8),
    Time(&'a mut Duration),
    Period(&'a mut Option<Duration>),
}
use Slot::Small;
use Slot::{Count, Period, Size, Time};

impl Slot<'_> {
    /// Sets it to `value`, where that fits; a time is in nanoseconds.
    fn set(self, value: u128) -> bool {
        fn put<T>(to: &mut T, value: Option<T>) -> bool {
            value.map(|value| *to = value).is_some()
        }
        match self {
            Size(to) => put(to, value.try_into().ok()),
            Count(to) => put(to, value.try_into().ok()),
            Small(to) => put(to, value.try_into().ok()),
            Time(to) => put(to, time(value)),
            Period(to) => put(to, time(value).map(Some)),
        }
    }
}

fn time(nanos: u128) -> Option<Duration> {
    let secs = (nanos / NANOS).try_into().ok()?;
    Some(Duration::new(secs, (nanos % NANOS) as u32))
}

const NANOS: u128 = 1_000_000_000;

/// 0, 1, 2, the neighbours of the powers of two, and the largest of every type.
fn numbers() -> Vec<u128> {
    let powers = [2, 3, 4, 7, 8, 10, 15, 16, 20, 31, 32, 53, 63, 64];
    let around = powers.iter().flat_map(|&power| [-1, 0, 1].map(|by| (1_i128 << power) + by));
    let mut numbers: Vec<_> =
        [0, 1, 2].into_iter().chain(around).map(|number| number as u128).collect();
    numbers.sort();
    numbers.dedup();
    numbers
}

/// As many nanoseconds, milliseconds and seconds, and the longest time.
fn times() -> Vec<u128> {
    let units = [1, 1_000_000, NANOS];
    let mut times: Vec<_> =
        units.iter().flat_map(|unit| numbers().into_iter().map(move |n| n * unit)).collect();
    times.push(Duration::MAX.as_nanos());
    times.sort();
    times.dedup();
    times
}

/// What comes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The server is not built.
    Refused,
    /// All is well.
    Works,
    /// The conversation is closed with this code.
    Closes(u16),
}
use Outcome::{Closes, Refused, Works};

type Judge = fn(u128) -> Outcome;

/// Sets each number of a `table` to each value that fits, and compares what `tries` it with its row.
fn sweep<T: Default, const N: usize>(
    table: fn(&mut T) -> [(&'static str, Slot<'_>, Judge); N],
    values: &[u128],
    tries: impl Fn(&'static str, T) -> Result<Outcome, String>,
) {
    for at in 0..N {
        let mut tried = 0;
        for &value in values {
            let mut settings = T::default();
            let (name, slot, judge) = table(&mut settings).into_iter().nth(at).unwrap();
            if !slot.set(value) {
                continue;
            }
            tried += 1;
            let outcome = tries(name, settings).unwrap_or_else(|error| {
                assert!(error.contains(name), "{name} = {value}: {error}");
                Refused
            });
            assert_eq!(outcome, judge(value), "{name} = {value}");
        }
        assert!(tried >= 10, "row {at} has {tried} values");
    }
}

/// The text of the error that a server is refused with for its settings, before anything is bound.
fn refusal(builder: impl Fn() -> ServerBuilder) -> Option<String> {
    let nowhere: &[SocketAddr] = &[];
    let error = builder().bind(nowhere).err().expect("there is no address");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    Some(error.to_string()).filter(|text| text != "no address to bind")
}

/// Echoes, and does what it is told.
struct Host;

impl Service for Host {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        match message.as_bytes() {
            b"close" => peer.close(CloseCode::NORMAL, "as told").unwrap(),
            b"pour" => peer.send(vec![7; 100_000]).unwrap(),
            _ => peer.send(message).unwrap(),
        }
    }
}

fn host() -> ServerBuilder {
    Server::builder()
        .service("/", |_: &Request<'_>| Host)
        .service_raw("/raw", |_: &Request<'_>| Host)
}

/// A conversation of some minutes, and a stop.
fn talks(builder: impl Fn() -> ServerBuilder) -> Result<Outcome, String> {
    if let Some(error) = refusal(&builder) {
        return Err(error);
    }
    let server = testing::Server::new(builder());
    let mut client = server.connect("/").unwrap();
    for _ in 0..2 {
        client.send("hello");
        if let Some(reason) = client.close_reason() {
            return Ok(Closes(reason.code.0));
        }
        assert_eq!(client.recv_text(), "hello");
        client.ping(b"?");
        server.advance(WHILE);
    }
    server.stop();
    assert!(server.has_stopped());
    Ok(Works)
}

// ---- limits ------------------------------------------------------------------------------------

fn limits(limits: &mut Limits) -> [(&'static str, Slot<'_>, Judge); 11] {
    let Limits {
        max_frame,
        max_message,
        max_fragments,
        min_message_rate,
        max_head,
        max_head_line,
        max_headers,
        max_backlog,
        max_backlog_messages,
        pause_reading,
        resume_reading,
    } = limits;
    let room: Judge = |bytes| if bytes < 5 { Closes(1009) } else { Works };
    [
        ("Limits::max_frame", Size(max_frame), room),
        ("Limits::max_message", Size(max_message), room),
        ("Limits::max_fragments", Count(max_fragments), |count| match count {
            0 => Closes(1008),
            _ => Works,
        }),
        ("Limits::min_message_rate", Size(min_message_rate), |_| Works),
        ("Limits::max_head", Size(max_head), |bytes| if bytes < 135 { Refused } else { Works }),
        ("Limits::max_head_line", Size(max_head_line), |bytes| match bytes {
            ..42 => Refused,
            _ => Works,
        }),
        ("Limits::max_headers", Size(max_headers), |count| match count {
            5..=100 => Works,
            _ => Refused,
        }),
        ("Limits::max_backlog", Size(max_backlog), |bytes| match bytes {
            ..0x4_0000 => Refused,
            _ => Works,
        }),
        ("Limits::max_backlog_messages", Size(max_backlog_messages), |_| Works),
        ("Limits::pause_reading", Size(pause_reading), |bytes| match bytes {
            0x1_0000..=0x10_0000 => Works,
            _ => Refused,
        }),
        ("Limits::resume_reading", Size(resume_reading), |bytes| match bytes {
            ..=0x4_0000 => Works,
            _ => Refused,
        }),
    ]
}

#[test]
fn every_limit_works_or_is_refused() {
    sweep(limits, &numbers(), |_, limits| talks(|| host().limits(limits.clone())));
}

#[test]
fn a_peer_that_reads_nothing_is_bounded_by_whatever_limits_are_legal() {
    const MAX: usize = usize::MAX;
    for (max_backlog, max_backlog_messages, pause_reading, resume_reading) in [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (1, 1, 0, 0),
        (200_000, 0, 1, 0),
        (200_000, MAX, 200_000, 200_000),
        (MAX, MAX, 0, 0),
        (MAX, MAX, MAX, MAX),
    ] {
        let limits = Limits {
            max_backlog,
            max_backlog_messages,
            pause_reading,
            resume_reading,
            ..Limits::default()
        };
        let server = testing::Server::new(host().limits(limits));
        let mut client = server.client().capacity(1_000).connect("/").unwrap();
        client.stop_reading();
        client.send("pour");
        client.send("hello");
        client.read_on();
        assert_eq!(client.recv_binary(), vec![7; 100_000]);
        match client.recv() {
            Some(message) => assert_eq!(message, Message::from("hello")),
            None => assert_eq!(client.recv_close().code, CloseCode::TRY_AGAIN_LATER),
        }
    }
}

#[test]
fn the_shortest_opening_handshake_fits_the_least_limits() {
    let request = "GET / HTTP/1.1\r\nHost:a\r\nUpgrade:websocket\r\nConnection:Upgrade\r\n\
        Sec-WebSocket-Version:13\r\nSec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let least = Limits {
        max_head: request.len(),
        max_head_line: request.lines().map(str::len).max().unwrap(),
        max_headers: request.lines().filter(|line| line.contains(':')).count(),
        ..Limits::default()
    };
    let server = testing::Server::new(host().limits(least.clone()));
    assert_eq!(server.request(request).status, 101);
    let Limits { max_head, max_head_line, max_headers, .. } = least;
    for (name, limits) in [
        ("Limits::max_head", Limits { max_head: max_head - 1, ..least.clone() }),
        ("Limits::max_head_line", Limits { max_head_line: max_head_line - 1, ..least.clone() }),
        ("Limits::max_headers", Limits { max_headers: max_headers - 1, ..least.clone() }),
    ] {
        assert_eq!(limits.check().unwrap_err().setting, name);
    }
}

// ---- timeouts ----------------------------------------------------------------------------------

fn timeouts(timeouts: &mut Timeouts) -> [(&'static str, Slot<'_>, Judge); 7] {
    let Timeouts { handshake, message, ping_period, pong, idle, close, write } = timeouts;
    let not_zero: Judge = |nanos| if nanos == 0 { Refused } else { Works };
    [
        ("Timeouts::handshake", Time(handshake), not_zero),
        ("Timeouts::message", Time(message), not_zero),
        ("Timeouts::ping_period", Period(ping_period), not_zero),
        ("Timeouts::pong", Time(pong), not_zero),
        ("Timeouts::idle", Period(idle), not_zero),
        ("Timeouts::close", Time(close), |_| Works),
        ("Timeouts::write", Time(write), not_zero),
    ]
}

#[test]
fn every_deadline_works_or_is_refused() {
    sweep(timeouts, &times(), |_, timeouts| talks(|| host().timeouts(timeouts.clone())));
}

/// Whether somebody who has the server wait for what `name` is about is gone within [`WHILE`].
fn is_ended(name: &str, timeouts: Timeouts) -> bool {
    let server = testing::Server::new(host().timeouts(timeouts));
    let connect = || server.client().capacity(1_000).connect("/").unwrap();
    let (mut client, mut stream) = (None, None);
    match name {
        "Timeouts::handshake" => stream = Some(server.open()),
        "Timeouts::ping_period" | "Timeouts::pong" => {
            client.insert(connect()).ignore_pings();
        }
        "Timeouts::message" => client.insert(connect()).send_bytes([0x01, 0x80, 1, 2, 3, 4]),
        "Timeouts::idle" => client = Some(server.connect("/raw").unwrap()),
        "Timeouts::close" => {
            let client = client.insert(connect());
            client.ignore_close();
            client.send("close");
        }
        "Timeouts::write" => {
            let client = client.insert(connect());
            client.stop_reading();
            client.send("pour");
        }
        _ => panic!("{name} needs somebody who has it pass"),
    }
    // A close for a Ping that was not answered waits for TCP to end.
    server.advance(WHILE);
    let is_ended = server.connections() == 0;
    drop((client, stream));
    is_ended
}

#[test]
fn every_deadline_is_kept() {
    // What else a deadline waits for before or behind it, and the tick that it is rounded up to.
    const SLACK: u128 = 30 * NANOS;
    for &value in times().iter().filter(|value| value.abs_diff(WHILE.as_nanos()) > SLACK) {
        for at in 0..7 {
            let mut settings = Timeouts::default();
            let (name, slot, judge) = timeouts(&mut settings).into_iter().nth(at).unwrap();
            if slot.set(value) && judge(value) == Works {
                if !["Timeouts::ping_period", "Timeouts::pong"].contains(&name) {
                    settings.ping_period = None;
                }
                let is_due = value < WHILE.as_nanos();
                assert_eq!(is_ended(name, settings), is_due, "{name} = {value}");
            }
        }
    }
}

#[test]
fn all_deadlines_may_be_the_longest_or_the_shortest_at_once() {
    let all = |time| Timeouts {
        handshake: time,
        message: time,
        ping_period: Some(time),
        pong: time,
        idle: Some(time),
        close: time,
        write: time,
    };
    for time in [Duration::from_millis(u64::MAX), Duration::MAX] {
        assert_eq!(talks(|| host().timeouts(all(time))), Ok(Works));
    }
    let server = testing::Server::new(host().timeouts(all(Duration::from_nanos(1))));
    let mut client = server.connect("/").unwrap();
    client.send("hello");
    assert_eq!(client.recv_text(), "hello");
    client.ignore_pings();
    server.advance(SECOND);
    assert_eq!(client.recv_close().code, CloseCode::INTERNAL_ERROR);
    assert_eq!(server.connections(), 0);
}

// ---- the builder -------------------------------------------------------------------------------

/// A method of the builder with a number, as far as that fits.
type Method = fn(ServerBuilder, u128) -> Option<ServerBuilder>;

#[test]
fn every_number_of_the_builder_works_or_is_refused() {
    let not_zero: Judge = |value| if value == 0 { Refused } else { Works };
    let rows: [(&str, Method, Judge); 5] = [
        ("max_connections", |to, n| Some(to.max_connections(n.try_into().ok()?)), not_zero),
        (
            "workers",
            |to, n| Some(to.workers(n.try_into().ok()?)),
            |workers| match workers {
                ..=1_024 => Works,
                _ => Refused,
            },
        ),
        (
            "Limits::max_frame",
            |to, n| Some(to.max_frame_size(n.try_into().ok()?)),
            |bytes| {
                if bytes < 5 { Closes(1009) } else { Works }
            },
        ),
        ("Timeouts::ping_period", |to, n| Some(to.ping_period(time(n)?)), not_zero),
        ("Timeouts::pong", |to, n| Some(to.timeout(time(n)?)), not_zero),
    ];
    for (name, method, judge) in rows {
        for value in times() {
            let Some(_) = method(host(), value) else { continue };
            let outcome = talks(|| method(host(), value).unwrap()).unwrap_or_else(|error| {
                assert!(error.contains(name), "{name} = {value}: {error}");
                Refused
            });
            assert_eq!(outcome, judge(value), "{name} = {value}");
        }
    }
}

#[test]
fn a_server_of_one_worker_or_none_is_bound() {
    for workers in [0, 1] {
        assert!(host().workers(workers).bind("127.0.0.1:0").is_ok());
    }
}

#[test]
fn a_job_of_any_period_is_done_in_time_or_never() {
    for nanos in times() {
        let (Some(period), count) = (time(nanos), Arc::<AtomicU64>::default()) else { continue };
        let counts = Arc::clone(&count);
        let job = move |_| _ = counts.fetch_add(1, Ordering::Relaxed);
        let builder = || host().every(period, job.clone());
        assert!(builder().bind("127.0.0.1:0").is_ok(), "{period:?}");
        let server = testing::Server::new(builder());
        server.advance(SECOND);
        let due = SECOND.as_nanos() / period.max(Duration::from_millis(1)).as_nanos();
        assert_eq!(u128::from(count.load(Ordering::Relaxed)), due, "{period:?}");
    }
}

#[test]
fn settings_of_a_route_are_refused_with_its_path() {
    let route = || Route::new(|_: &Request<'_>| Host);
    let limits = || Limits { pause_reading: 2 << 20, ..Limits::default() };
    let timeouts = || Timeouts { write: Duration::ZERO, ..Timeouts::default() };
    for (route, fault) in [
        (
            route().limits(limits()),
            "Limits::pause_reading is 2097152, and has to be at most Limits::max_backlog, which is \
             1048576, at path \"/a/{b}\"",
        ),
        (
            route().timeouts(timeouts()),
            "Timeouts::write is 0ns, and has to be at least 1ns, at path \"/a/{b}\"",
        ),
    ] {
        let builder = Server::builder().router(Router::new().route("/a/{b}", route));
        let error = builder.bind("127.0.0.1:0").err().expect("it is refused");
        assert_eq!((error.kind(), &*error.to_string()), (io::ErrorKind::InvalidInput, fault));
    }
    // Those of the server are refused also where each route has its own.
    let own = route().limits(Limits::default());
    let builder = Server::builder().limits(limits()).route("/", own);
    let error = builder.bind("127.0.0.1:0").err().expect("it is refused").to_string();
    assert!(error.ends_with("which is 1048576"), "{error}");
}

// ---- compression -------------------------------------------------------------------------------

mod compression {
    use chinwag::{Deflate, Topic, TopicDeflate};

    use super::*;

    const LEVELS: Judge = |level| if (1..=9).contains(&level) { Works } else { Refused };
    const WINDOWS: Judge = |bits| if (9..=15).contains(&bits) { Works } else { Refused };

    fn deflate(deflate: &mut Deflate) -> [(&'static str, Slot<'_>, Judge); 7] {
        let Deflate {
            level,
            quick_below,
            mem_level,
            server_window_bits,
            client_window_bits,
            server_takeover,
            client_takeover,
            for_topics: _,
            min_len,
            compress_if: _,
            raw: _,
            max_takeovers,
        } = deflate;
        (*server_takeover, *client_takeover) = (true, true);
        [
            ("Deflate::level", Small(level), LEVELS),
            ("Deflate::quick_below", Size(quick_below), |_| Works),
            ("Deflate::mem_level", Small(mem_level), LEVELS),
            ("Deflate::server_window_bits", Small(server_window_bits), WINDOWS),
            ("Deflate::client_window_bits", Small(client_window_bits), WINDOWS),
            ("Deflate::min_len", Size(min_len), |_| Works),
            ("Deflate::max_takeovers", Size(max_takeovers), |_| Works),
        ]
    }

    #[test]
    fn every_number_of_deflate_works_or_is_refused() {
        sweep(deflate, &numbers(), |_, deflate| {
            let builder = || host().deflate(deflate.clone());
            if let Some(error) = refusal(builder) {
                return Err(error);
            }
            for takeover in [true, false] {
                let deflate = Deflate {
                    server_takeover: takeover,
                    client_takeover: takeover,
                    ..deflate.clone()
                };
                let server = testing::Server::new(host().deflate(deflate.clone()));
                let mut client = server.client().deflate(deflate).connect("/").unwrap();
                for len in [0, 5, 200, 20_000] {
                    let text = "to and fro ".repeat(len / 11 + 1);
                    client.send(&*text);
                    assert_eq!(client.recv_text(), text);
                    server.advance(WHILE);
                }
            }
            Ok(Works)
        });
    }

    fn topic_deflate(deflate: &mut TopicDeflate) -> [(&'static str, Slot<'_>, Judge); 6] {
        let TopicDeflate { level, mem_level, window_bits, min_len, reset_after, min_members } =
            deflate;
        [
            ("TopicDeflate::level", Small(level), LEVELS),
            ("TopicDeflate::mem_level", Small(mem_level), LEVELS),
            ("TopicDeflate::window_bits", Small(window_bits), WINDOWS),
            ("TopicDeflate::min_len", Size(min_len), |_| Works),
            ("TopicDeflate::reset_after", Count(reset_after), |_| Works),
            ("TopicDeflate::min_members", Size(min_members), |members| match members {
                0 => Refused,
                _ => Works,
            }),
        ]
    }

    struct Member(Topic);

    impl Service for Member {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe(&self.0);
        }
    }

    #[test]
    fn every_number_of_a_topic_works_or_is_refused() {
        sweep(topic_deflate, &numbers(), |_, settings| {
            let made = settings.clone();
            let topic = made_or_refused(|| Topic::compressed(made), settings.check())?;
            let members = topic.clone();
            let make = move |_: &Request<'_>| Member(members.clone());
            let deflate = Deflate { server_window_bits: 15, ..Deflate::for_topics() };
            let server =
                testing::Server::new(Server::builder().service("/", make).deflate(deflate.clone()));
            let join = || server.client().deflate(deflate.clone()).connect("/").unwrap();
            let mut members: Vec<_> = (0..3).map(|_| join()).collect();
            for round in 0..4 {
                members.push(join());
                let text = format!("round {round} {}", "and round ".repeat(100));
                topic.publish(&*text).unwrap();
                for member in &mut members {
                    assert_eq!(member.recv_text(), text);
                }
                server.advance(WHILE);
            }
            Ok(Works)
        });
    }
}

/// What `make` gives, or the text of the panic that names the setting, as `check` does.
fn made_or_refused<T>(
    make: impl FnOnce() -> T + std::panic::UnwindSafe,
    check: Result<(), SettingError>,
) -> Result<T, String> {
    match (catch_unwind(make), check) {
        (Ok(made), Ok(())) => Ok(made),
        (Err(panic), Err(error)) => {
            assert_eq!(panic.downcast_ref(), Some(&error.to_string()));
            Err(error.to_string())
        }
        (made, check) => panic!("it is made: {}, and checked: {check:?}", made.is_ok()),
    }
}

// ---- the chat ----------------------------------------------------------------------------------

fn chat_limits(limits: &mut ChatLimits) -> [(&'static str, Slot<'_>, Judge); 11] {
    let ChatLimits {
        name,
        text,
        rate,
        burst,
        rooms,
        history,
        history_bytes,
        history_bytes_in_all,
        crowd,
        listed,
        regulars,
    } = limits;
    let not_zero: Judge = |value| if value == 0 { Refused } else { Works };
    [
        ("ChatLimits::name", Size(name), |bytes| if bytes < 5 { Refused } else { Works }),
        ("ChatLimits::text", Size(text), |_| Works),
        ("ChatLimits::rate", Count(rate), not_zero),
        ("ChatLimits::burst", Count(burst), not_zero),
        ("ChatLimits::rooms", Size(rooms), not_zero),
        ("ChatLimits::history", Size(history), |_| Works),
        ("ChatLimits::history_bytes", Size(history_bytes), |_| Works),
        ("ChatLimits::history_bytes_in_all", Size(history_bytes_in_all), |_| Works),
        ("ChatLimits::crowd", Size(crowd), |_| Works),
        ("ChatLimits::listed", Size(listed), |_| Works),
        ("ChatLimits::regulars", Size(regulars), |_| Works),
    ]
}

#[test]
fn every_limit_of_the_chat_works_or_is_refused() {
    sweep(chat_limits, &numbers(), |_, limits| {
        let made = limits.clone();
        let chat = made_or_refused(|| Chat::new(made), limits.check())?;
        let pulse = chat.clone();
        let make = move |request: &Request<'_>| chat.service(request);
        let builder =
            Server::builder().service("/", make).every(SECOND, move |now| pulse.pulse(now));
        let server = testing::Server::new(builder);
        let [mut anna, mut bert] = [(); 2].map(|()| server.connect("/").unwrap());
        for line in ["hello", "/who", "/nick Anna", "/join lobby", "/help", "hi"] {
            anna.send(line);
            server.advance(WHILE);
        }
        let said = if limits.text < 2 { "at most" } else { "]: hi" };
        for client in [&mut anna, &mut bert] {
            let mut heard = String::new();
            while let Some(message) = client.try_recv() {
                heard = format!("{heard}\n{message:?}");
            }
            assert!(client.is_open(), "{limits:?}: {heard}");
            assert!(limits.text < 2 || heard.contains(said), "{limits:?}: {heard}");
        }
        Ok(Works)
    });
}
