//! How many instructions of its own the server runs for a message: a figure that no other work on the
//! machine changes.
//!
//! ```text
//! cargo bench --bench instructions             measures; fails where a work has become dearer
//! cargo bench --bench instructions -- write    takes what it measures for the new baseline
//! ```
//!
//! The server, with one worker, runs under valgrind. This process is its only client and begins a round
//! once the one before is answered, so that every run is the same. Each work is done with few rounds and
//! with many: their difference is free of what start and end cost. What the kernel does is not counted.
//!
//! The baseline is `benches/instructions.txt`. Compilers differ by some percent: a new one is a reason to
//! write it anew.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
};

use chinwag::{Deflate, Message, Peer, Request, Router, Server, Service, Session, Topic};
use support::{Client, masked};

/// By how much a work may become dearer that is the same every time: percent.
const STEADY: f64 = 3.0;

/// Members of the broadcast.
const MEMBERS: usize = 100;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(&measure()),
        ["write"] => write(&measure()),
        ["serve"] => serve(),
        _ => panic!("write, or nothing to compare"),
    }
}

// ---- the server --------------------------------------------------------------------------------

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

struct Member(Topic);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>) {
        self.0.publish(message).ok();
    }
}

/// Serves until its input ends.
fn serve() -> ExitCode {
    let topic = Topic::new();
    let router = Router::new()
        .service("/echo", |_: &Request<'_>| Echo)
        .service("/topic", move |_: &Request<'_>| Member(topic.clone()));
    let server = Server::builder()
        .router(router)
        .websocket("/session", |mut session: Session| async move {
            while let Some(message) = session.recv().await {
                session.send(message).await?;
            }
            Ok(())
        })
        .deflate(Deflate::default())
        .ping_period(None)
        .workers(1)
        .bind("127.0.0.1:0")
        .expect("a port is free");
    println!("{}", server.local_addr());
    let stopper = server.stopper();
    thread::spawn(move || {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        stopper.stop();
    });
    server.run().expect("it serves");
    ExitCode::SUCCESS
}

// ---- the works ---------------------------------------------------------------------------------

/// Something done again and again.
struct Work {
    name: &'static str,
    /// Messages, deliveries or handshakes of a round.
    of_round: usize,
    rounds: usize,
    /// By how much it may become dearer: percent. How many turns of its loop a server takes where several
    /// sockets have news is up to the system.
    tolerance: f64,
    run: fn(SocketAddr, usize),
}

static WORKS: [Work; 9] = [
    Work {
        name: "echo, 128 B",
        of_round: 1,
        rounds: 2_000,
        tolerance: STEADY,
        run: |addr, rounds| echo(&mut Client::connect(addr, "/echo"), "a", 128, rounds),
    },
    Work {
        name: "echo, 128 B, 16 in flight",
        of_round: 16,
        rounds: 500,
        tolerance: STEADY,
        run: pipelined,
    },
    Work {
        name: "echo, 16 KiB",
        of_round: 1,
        rounds: 500,
        tolerance: STEADY,
        run: |addr, rounds| echo(&mut Client::connect(addr, "/echo"), "a", 16 << 10, rounds),
    },
    Work {
        name: "echo, 16 KiB non-ASCII",
        of_round: 1,
        rounds: 500,
        tolerance: STEADY,
        run: |addr, rounds| echo(&mut Client::connect(addr, "/echo"), "héßλ€ж", 16 << 10, rounds),
    },
    Work {
        name: "echo, 128 B, compressed",
        of_round: 1,
        rounds: 500,
        tolerance: STEADY,
        run: |addr, rounds| compressed_echo(addr, 128, rounds),
    },
    Work {
        name: "echo, 16 KiB, compressed",
        of_round: 1,
        rounds: 50,
        tolerance: STEADY,
        run: |addr, rounds| compressed_echo(addr, 16 << 10, rounds),
    },
    Work {
        name: "session echo, 128 B",
        of_round: 1,
        rounds: 2_000,
        tolerance: STEADY,
        run: |addr, rounds| echo(&mut Client::connect(addr, "/session"), "a", 128, rounds),
    },
    Work {
        name: "broadcast to 100, 128 B",
        of_round: MEMBERS,
        rounds: 300,
        tolerance: 10.0,
        run: broadcast,
    },
    Work {
        name: "handshake and end",
        of_round: 1,
        rounds: 1_000,
        tolerance: 15.0,
        run: handshakes,
    },
];

fn echo(client: &mut Client, of: &str, len: usize, rounds: usize) {
    let text = of.repeat(len / of.len());
    for _ in 0..rounds {
        client.send(&text);
        assert_eq!(client.text(), text);
    }
}

fn pipelined(addr: SocketAddr, rounds: usize) {
    let mut client = Client::connect(addr, "/echo");
    let wire = masked(0x81, &[b'a'; 128]).repeat(16);
    for _ in 0..rounds {
        client.send_raw(&wire);
        (0..16).for_each(|_| assert_eq!(client.text().len(), 128));
    }
}

fn compressed_echo(addr: SocketAddr, len: usize, rounds: usize) {
    let mut client = Client::connect_compressed(addr, "/echo", Deflate::default());
    // Numbers are neither noise nor all the same.
    let text: String = (0..len as u32).map(|at| format!("{:x} ", at * at)).collect();
    echo(&mut client, &text[..len], len, rounds);
}

fn broadcast(addr: SocketAddr, rounds: usize) {
    let mut members: Vec<_> = (0..MEMBERS).map(|_| Client::connect(addr, "/topic")).collect();
    let text = "a".repeat(128);
    for _ in 0..rounds {
        members[0].send(&text);
        members.iter_mut().for_each(|member| assert_eq!(member.text(), text));
    }
}

fn handshakes(addr: SocketAddr, rounds: usize) {
    for _ in 0..rounds {
        let mut client = Client::connect(addr, "/echo");
        client.send_and_close("last words");
        assert_eq!(client.text(), "last words");
        client.end();
    }
}

// ---- measuring ---------------------------------------------------------------------------------

/// Each work's instructions, for one message.
fn measure() -> Vec<(&'static Work, f64)> {
    WORKS.iter().map(|work| (work, instructions_each(work))).collect()
}

fn instructions_each(work: &Work) -> f64 {
    let few = instructions(work, work.rounds / 5);
    let many = instructions(work, work.rounds);
    (many - few) / ((work.rounds - work.rounds / 5) * work.of_round) as f64
}

/// All instructions of a server that serves `rounds` of a work.
fn instructions(work: &Work, rounds: usize) -> f64 {
    let mut server = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(env::current_exe().expect("this program has a path"))
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind is there");
    let mut addr = String::new();
    let stdout = server.stdout.as_mut().expect("it is piped");
    BufReader::new(stdout).read_line(&mut addr).expect("the first line has the address");
    (work.run)(addr.trim().parse().expect("an address"), rounds);
    // Waiting closes its input, which stops it.
    let ended = server.wait_with_output().expect("it ends");
    let report = String::from_utf8_lossy(&ended.stderr);
    let refs = report.lines().find(|line| line.contains("I   refs:") || line.contains("I refs:"));
    let count = refs.and_then(|line| line.rsplit(' ').next()).map(|count| count.replace(',', ""));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in:\n{report}"))
}

// ---- the baseline ------------------------------------------------------------------------------

fn baseline_path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions.txt"].iter().collect()
}

fn compare(measured: &[(&Work, f64)]) -> ExitCode {
    let baseline = fs::read_to_string(baseline_path()).expect("there is a baseline");
    let mut dearer = 0;
    println!("instructions a message        baseline        now  change");
    for (Work { name, tolerance, .. }, now) in measured {
        let line = baseline.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(" | "));
        let before: f64 = line.and_then(|count| count.parse().ok()).unwrap_or(0.0);
        let change = (now / before - 1.0) * 100.0;
        // One that has no figure yet is dearer without end.
        let is_dearer = change > *tolerance;
        dearer += usize::from(is_dearer);
        let verdict = if is_dearer { "  DEARER" } else { "" };
        println!("{name:<28} {before:>9.0} {now:>10.0} {change:>+6.1}%{verdict}");
    }
    if dearer == 0 {
        return ExitCode::SUCCESS;
    }
    println!(
        "{dearer} dearer than may be. The baseline is that of {}; here is {}.",
        baseline.lines().next().unwrap_or_default(),
        compiler()
    );
    println!("Where the price is right: cargo bench --bench instructions -- write");
    ExitCode::FAILURE
}

fn write(measured: &[(&Work, f64)]) -> ExitCode {
    let lines: String =
        measured.iter().map(|(work, count)| format!("{} | {count:.0}\n", work.name)).collect();
    fs::write(baseline_path(), format!("{}\n{lines}", compiler())).expect("it can be written");
    print!("{lines}");
    ExitCode::SUCCESS
}

/// The compiler's name and version.
fn compiler() -> String {
    let rustc = Command::new(env::var("RUSTC").unwrap_or("rustc".into())).arg("-V").output();
    String::from_utf8_lossy(&rustc.expect("rustc is there").stdout).trim().into()
}
