//! Healthy connections, whose latency is measured.
//!
//! A request is due at a fixed moment, whatever became of those before it, and its latency counts from
//! that moment. So a stall counts for every request that was due during it.

use std::{
    collections::VecDeque,
    fmt::{self, Display},
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::wire;

/// Time between two requests of one kind: 500 a second.
const PERIOD: Duration = Duration::from_millis(2);

/// Members of the chat, each in a room of its own. They take turns, so each sends 71 texts a second, which
/// the chat's rate allows.
const MEMBERS: usize = 7;

/// How long an answer may take; later it counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kinds of healthy connections, in the order in which they are reported.
pub const KINDS: [&str; 3] = ["echo", "compressed echo", "chat"];

/// Connects to the server at `addr`. Each line that it reads gives a number of milliseconds: it measures for
/// that long and prints a [`Summary`] of each kind in one line.
pub fn run(addr: &str) -> Result<(), String> {
    let text = r#"{"id":4711,"user":"alice","text":"What a healthy connection says to itself."}"#;
    let plain = wire::frame(wire::TEXT, text.as_bytes());
    let compressed = wire::compressed(wire::TEXT, text.as_bytes());
    let mut healthy = vec![
        Healthy::open(addr, &wire::request("/echo"), plain, |frame| {
            frame.first == wire::TEXT && frame.payload.starts_with(b"{\"id\":4711")
        })?,
        Healthy::open(addr, &wire::compressing_request("/echo"), compressed, |frame| {
            frame.first & 0x0f == wire::TEXT & 0x0f
        })?,
    ];
    for room in 0..MEMBERS {
        let said = wire::frame(wire::TEXT, b"a healthy text");
        let target = wire::request(&format!("/chat/healthy-{room}"));
        healthy.push(Healthy::open(addr, &target, said, |frame| {
            frame.first == wire::TEXT && frame.payload.ends_with(b": a healthy text")
        })?);
    }
    super::print_line("ready");
    for line in io::stdin().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let millis = line.parse().map_err(|_| "no length of time")?;
        measure(&healthy, Duration::from_millis(millis));
        let kinds = [&healthy[..1], &healthy[1..2], &healthy[2..]];
        let summaries = kinds.map(|kind| Summary::of(kind).to_string());
        super::print_line(summaries.join(" "));
    }
    Ok(())
}

/// Sends the requests that are due within `length`, and waits for the answers.
fn measure(healthy: &[Arc<Healthy>], length: Duration) {
    let begin = Instant::now();
    for tick in 0.. {
        let after = PERIOD * tick;
        if after >= length {
            break;
        }
        let due = begin + after;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        healthy[0].send(due);
        healthy[1].send(due);
        healthy[2 + tick as usize % MEMBERS].send(due);
    }
    let end = begin + length + PATIENCE;
    while Instant::now() < end && healthy.iter().any(|one| one.waits()) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// One healthy connection.
struct Healthy {
    stream: Mutex<TcpStream>,
    request: Vec<u8>,
    is_answer: fn(&wire::Received<'_>) -> bool,
    /// When the requests that aren't answered yet were due.
    due: Mutex<VecDeque<Instant>>,
    latencies: Mutex<Vec<Duration>>,
    has_ended: AtomicBool,
}

impl Healthy {
    fn open(
        addr: &str,
        head: &[u8],
        request: Vec<u8>,
        is_answer: fn(&wire::Received<'_>) -> bool,
    ) -> Result<Arc<Self>, String> {
        let connect = || -> io::Result<_> {
            let mut stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.write_all(head)?;
            let receiving = stream.try_clone()?;
            Ok((stream, receiving))
        };
        let (stream, receiving) = connect().map_err(|error| format!("not connected: {error}"))?;
        let (due, latencies) = Default::default();
        let (stream, has_ended) = (stream.into(), false.into());
        let healthy = Arc::new(Self { stream, request, is_answer, due, latencies, has_ended });
        let theirs = healthy.clone();
        thread::spawn(move || {
            theirs.receive(receiving);
            theirs.has_ended.store(true, Relaxed);
        });
        Ok(healthy)
    }

    fn send(&self, due: Instant) {
        self.due.lock().unwrap().push_back(due);
        if self.stream.lock().unwrap().write_all(&self.request).is_err() {
            self.has_ended.store(true, Relaxed);
        }
    }

    /// Whether an answer may still come.
    fn waits(&self) -> bool {
        !self.has_ended.load(Relaxed) && !self.due.lock().unwrap().is_empty()
    }

    /// Takes answers until the connection ends.
    fn receive(&self, mut stream: TcpStream) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
        let mut is_open = false;
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            let now = Instant::now();
            bytes.extend_from_slice(&buffer[..len]);
            if !is_open {
                let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                    continue;
                };
                if !bytes.starts_with(b"HTTP/1.1 101 ") {
                    return;
                }
                bytes.drain(..end + 4);
                is_open = true;
            }
            let mut taken = 0;
            while let Some(frame) = wire::received(&bytes[taken..]) {
                taken += frame.len;
                if frame.first == wire::PING {
                    let pong = wire::frame(wire::PONG, frame.payload);
                    self.stream.lock().unwrap().write_all(&pong).ok();
                } else if (self.is_answer)(&frame)
                    && let Some(due) = self.due.lock().unwrap().pop_front()
                {
                    self.latencies.lock().unwrap().push(now - due);
                }
            }
            bytes.drain(..taken);
        }
    }
}

/// Latencies of one kind in microseconds.
#[derive(Clone, Copy)]
pub struct Summary {
    pub samples: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    /// Requests that were never answered; each counts as long as it was waited for, at least.
    pub lost: u64,
}

/// Numbers of a [`Summary`] in a line.
const NUMBERS: usize = 6;

impl Summary {
    /// What was measured since the last time.
    fn of(kind: &[Arc<Healthy>]) -> Self {
        let (mut latencies, mut lost) = (Vec::new(), 0);
        for one in kind {
            latencies.append(&mut one.latencies.lock().unwrap());
            let due = std::mem::take(&mut *one.due.lock().unwrap());
            lost += due.len() as u64;
            latencies.extend(due.iter().map(|due| due.elapsed().max(PATIENCE)));
        }
        latencies.sort();
        let at = |share: f64| {
            let rank = (latencies.len() as f64 * share).ceil() as usize;
            latencies.get(rank.saturating_sub(1)).map_or(0, |latency| latency.as_micros() as u64)
        };
        let samples = latencies.len() as u64;
        Self { samples, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0), lost }
    }

    /// Of each kind, from the words of a line.
    pub fn parse(words: &[String]) -> Result<[Self; KINDS.len()], String> {
        let numbers: Option<Vec<u64>> = words.iter().map(|word| word.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == KINDS.len() * NUMBERS);
        let numbers = numbers.ok_or("the healthy connections have failed")?;
        Ok([0, 1, 2].map(|kind| {
            let of = &numbers[kind * NUMBERS..];
            let (samples, p50, p99, p999, max, lost) = (of[0], of[1], of[2], of[3], of[4], of[5]);
            Self { samples, p50, p99, p999, max, lost }
        }))
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p99, p999, max, lost } = self;
        write!(f, "{samples} {p50} {p99} {p999} {max} {lost}")
    }
}
