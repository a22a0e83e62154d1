//! Attacks on the command's server, each beside healthy connections whose latency has a bound.
//!
//! ```text
//! cargo bench --bench abuse                       all attacks, up to ten minutes
//! cargo bench --bench abuse -- --quick            all attacks, each for two seconds: up to three minutes
//! cargo bench --bench abuse -- --server PATH      another build of the command
//! cargo bench --bench abuse -- WORDS              the attacks whose names contain WORDS; --list has the names
//! ```
//!
//! Each case starts a server with one worker on a core of its own. Nine healthy connections send at a fixed
//! rate: an echo, a compressed echo and seven members of the chat, each alone in a room. Their latencies are
//! measured at rest and then during the attack, from the moment at which a request was due. A case passes
//! when
//!
//! - every kind of healthy connection stays under 50 ms at p99.9, and every request is answered;
//! - the server's memory never grows by more than the defaults of `Limits` allow for that attack;
//! - and three seconds after the attackers have disconnected, at most 32 MiB of that growth remain.
//!
//! A case that is too slow is measured again, up to twice, where other processes used the machine: the
//! healthy connections were slow at rest too, or the server waited for its core. The exit status is 0 when
//! all cases pass and 1 otherwise, also where a case could not be run. Linux only. `cargo test --bench
//! abuse -- WORDS` runs the cases against a server that isn't optimized.

mod attack;
mod cases;
mod probe;
mod process;
mod wire;

use std::{
    env,
    fmt::Display,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use cases::Case;
use probe::{KINDS, Summary};
use process::{Helper, Place, Server};

/// Latency at p99.9 that healthy connections must stay under during an attack.
const MAX_LATENCY: Duration = Duration::from_millis(50);

/// Latency at p99.9, before an attack, that shows that other processes use the machine.
const MAX_AT_REST: Duration = Duration::from_millis(10);

/// Share of an attack's time that the server may wait for its core; more shows that other processes use it.
const MAX_WAITING: f64 = 0.05;

/// Bytes of the growth that may remain after the attackers have disconnected.
const MAX_REMAINING: u64 = 32 << 20;

/// How long a server may take to stop during an attack.
const MAX_STOP: Duration = Duration::from_secs(5);

/// How long the run waits for a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Attacks during which the server is stopped.
const STOPPED: [&str; 3] = [
    "16 × 125 messages of 1 MiB of zeros, compressed",
    "50 × 125 messages of 1 MiB of zeros, compressed",
    "200 × echoes of 1 MiB, never reading",
];

/// How often a case is measured at most.
const ATTEMPTS: usize = 3;

/// From the end of an attack to the end of its measurement: disconnecting the attackers is work too.
const TAIL: Duration = Duration::from_millis(300);

/// How long the server may take to give memory back, from the last answer on.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--attack", name, addr] => attack::run(name, addr).map(|()| true),
        ["--probe", addr] => probe::run(addr).map(|()| true),
        _ => Options::parse(words).and_then(|options| measure(&options)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("abuse: {fault}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    server: PathBuf,
    rest: Duration,
    attack: Duration,
    list: bool,
    /// Part of the names of the cases that are wanted.
    wanted: String,
}

impl Options {
    fn parse(words: Vec<String>) -> Result<Self, String> {
        let mut options = Self {
            server: env!("CARGO_BIN_EXE_chinwag").into(),
            rest: Duration::from_secs(2),
            attack: Duration::from_secs(8),
            list: false,
            wanted: String::new(),
        };
        let mut names = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match &*word {
                "--quick" => {
                    options.rest = Duration::from_millis(500);
                    options.attack = Duration::from_millis(2_000);
                }
                "--list" => options.list = true,
                "--server" => options.server = words.next().ok_or("--server needs a path")?.into(),
                option if option.starts_with("--") => return Err(format!("no option {option}")),
                _ => names.push(word),
            }
        }
        options.wanted = names.join(" ");
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.wanted)
    }
}

/// Runs the wanted cases; gives whether all of them pass.
fn measure(options: &Options) -> Result<bool, String> {
    let cases: Vec<Case> =
        cases::all().into_iter().filter(|case| options.wants(case.name)).collect();
    let stops: Vec<&str> =
        STOPPED.into_iter().filter(|name| options.wants(&format!("stop during {name}"))).collect();
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        stops.iter().for_each(|name| println!("stop during {name}"));
        return Ok(true);
    }
    if cases.len() + stops.len() == 0 {
        return Err(format!("no case has {:?} in its name", options.wanted));
    }
    let (all, mut passed) = (cases.len() + stops.len(), 0);
    if let Some(obstacle) = process::obstacle() {
        println!("{all} cases not run, and so not passed: {obstacle}");
        return Ok(false);
    }
    process::leave_first_core();
    println!("{}\n", conditions(options));
    if !cases.is_empty() {
        println!(
            "| attack | sent, connections, closed by the server | slowest kind | samples | p50 | p99 | p99.9 | max | p99.9 at rest | CPU \
             | memory grows, at most | remains | |"
        );
        println!("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|");
    }
    for case in &cases {
        passed += usize::from(row(case, options));
    }
    if !stops.is_empty() {
        println!("\n| SIGTERM during | exits after | at most | |\n|---|--:|--:|---|");
    }
    for name in stops {
        passed += usize::from(stop_row(name, options));
    }
    println!("\n{passed} of {all} cases pass");
    Ok(passed == all)
}

/// What is measured, where and how.
fn conditions(options: &Options) -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = text("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let version = Command::new(&options.server).arg("--version").output();
    let version = version.map(|output| {
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    });
    let is_ours = options.server == Path::new(env!("CARGO_BIN_EXE_chinwag"));
    let unoptimized = if is_ours && cfg!(debug_assertions) { ", not optimized" } else { "" };
    let priority = match process::may_be_real_time() {
        true => "healthy connections scheduled in real time",
        false => {
            "healthy connections without real-time priority, so they also wait for the attackers"
        }
    };
    format!(
        "{} ({}{unoptimized}), `serve --listen 127.0.0.1:0 --workers 1` on core 0, started anew for each attack; \
         {}, {} cores, Linux {}, load {}; {:?} at rest, then {:?} of attack; {priority}.",
        version.unwrap_or_else(|error| error.to_string()),
        options.server.display(),
        model.unwrap_or("unknown processor"),
        process::cores(),
        text("/proc/sys/kernel/osrelease").trim(),
        text("/proc/loadavg").split(' ').next().unwrap_or_default(),
        options.rest,
        options.attack,
    )
}

/// Runs a case and prints its row; gives whether it passes.
fn row(case: &Case, options: &Options) -> bool {
    let mut attempt = 1;
    let outcome = loop {
        let outcome = Outcome::of(case, options);
        match &outcome {
            Ok(outcome)
                if attempt < ATTEMPTS && outcome.is_slow() && outcome.disturbance().is_some() =>
            {
                attempt += 1;
            }
            _ => break outcome,
        }
    };
    let (cells, faults) = match outcome {
        Ok(outcome) => (outcome.cells(case), outcome.faults(case)),
        Err(fault) => (" | ".repeat(10), vec![format!("not run: {fault}")]),
    };
    let verdict =
        if faults.is_empty() { "passes".into() } else { format!("**{}**", faults.join("; ")) };
    print_line(format!("| {} | {cells} | {verdict} |", case.name));
    faults.is_empty()
}

/// Stops the server during an attack and prints the row; gives whether it passes.
fn stop_row(name: &str, options: &Options) -> bool {
    let stop = || {
        let server = Server::start(&options.server, &[])?;
        let mut attackers = Helper::start(Place::Attackers, &["--attack", name, &server.addr])?;
        attackers.read_words()?;
        let length = Duration::from_secs(1) + STOP_PATIENCE;
        attackers.write_line(&length.as_millis().to_string())?;
        thread::sleep(Duration::from_secs(1));
        server.stop(STOP_PATIENCE)
    };
    let (took, passes) = match stop() {
        Ok(Some(took)) => (format!("{:.2} s", took.as_secs_f64()), took <= MAX_STOP),
        Ok(None) => (format!("over {STOP_PATIENCE:?}"), false),
        Err(fault) => (format!("not run: {fault}"), false),
    };
    let verdict = if passes { "passes" } else { "**too late**" };
    print_line(format!("| {name} | {took} | {MAX_STOP:?} | {verdict} |"));
    passes
}

/// What an attack did.
struct Outcome {
    at_rest: [Summary; KINDS.len()],
    attacked: [Summary; KINDS.len()],
    /// From the beginning of the attack to the last answer.
    took: Duration,
    sent: u64,
    connections: u64,
    closed: u64,
    cpu: Duration,
    waited: Duration,
    grown: u64,
    remaining: u64,
}

impl Outcome {
    fn of(case: &Case, options: &Options) -> Result<Self, String> {
        let server = Server::start(&options.server, case.options)?;
        let mut healthy = Helper::start(Place::Healthy, &["--probe", &server.addr])?;
        healthy.read_words()?;
        let mut attackers =
            Helper::start(Place::Attackers, &["--attack", case.name, &server.addr])?;
        attackers.read_words()?;
        healthy.write_line(&options.rest.as_millis().to_string())?;
        let at_rest = Summary::parse(&healthy.read_words()?)?;

        let (begin, before, (ran, waited)) = (Instant::now(), server.resident()?, server.times()?);
        let length = options.attack + TAIL;
        healthy.write_line(&length.as_millis().to_string())?;
        attackers.write_line(&options.attack.as_millis().to_string())?;
        let did: Vec<u64> = attackers.read_words()?.iter().flat_map(|word| word.parse()).collect();
        let [sent, connections, closed] = did[..] else {
            return Err("the attackers failed".into());
        };
        let attacked = Summary::parse(&healthy.read_words()?)?;
        let (took, (ran_then, waited_then)) = (begin.elapsed(), server.times()?);
        let grown = server.peak()?.saturating_sub(before);
        let mut remaining = server.resident()?.saturating_sub(before);
        let end = Instant::now() + SETTLE;
        while remaining > MAX_REMAINING && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
            remaining = server.resident()?.saturating_sub(before);
        }
        Ok(Self {
            at_rest,
            attacked,
            took,
            sent,
            connections,
            closed,
            cpu: ran_then - ran,
            waited: waited_then - waited,
            grown,
            remaining,
        })
    }

    /// The kind whose connections were slowest.
    fn slowest(&self) -> usize {
        (0..KINDS.len()).max_by_key(|kind| self.attacked[*kind].p999).unwrap_or_default()
    }

    fn is_slow(&self) -> bool {
        micros(self.attacked[self.slowest()].p999) >= MAX_LATENCY
    }

    /// A cause other than the attack that may have made it slow.
    fn disturbance(&self) -> Option<String> {
        let at_rest = self.at_rest.iter().map(|kind| micros(kind.p999)).max().unwrap_or_default();
        if at_rest >= MAX_AT_REST {
            return Some("slow at rest too".into());
        }
        let share = self.waited.as_secs_f64() / self.took.as_secs_f64();
        (share > MAX_WAITING).then(|| format!("the server waited {:.1?} for its core", self.waited))
    }

    fn faults(&self, case: &Case) -> Vec<String> {
        let mut faults = Vec::new();
        if self.is_slow() {
            let disturbance = self.disturbance().map(|what| format!(" ({what})"));
            faults.push(format!("slow{}", disturbance.unwrap_or_default()));
        }
        let lost: u64 = self.attacked.iter().map(|kind| kind.lost).sum();
        if lost > 0 {
            faults.push(format!("{lost} answers lost"));
        }
        if self.grown > case.memory as u64 {
            faults.push("memory".into());
        }
        if self.remaining > MAX_REMAINING {
            faults.push("memory remains".into());
        }
        faults
    }

    fn cells(&self, case: &Case) -> String {
        let kind = self.slowest();
        let (now, rest) = (self.attacked[kind], self.at_rest[kind]);
        let time = |latency| format!("{:.2} ms", latency as f64 / 1e3);
        let cells: [&dyn Display; 11] = [
            &format!("{}, {}, {}", bytes(self.sent), self.connections, self.closed),
            &KINDS[kind],
            &now.samples,
            &time(now.p50),
            &time(now.p99),
            &time(now.p999),
            &time(now.max),
            &time(rest.p999),
            &format!("{:.0} %", 100.0 * self.cpu.as_secs_f64() / self.took.as_secs_f64()),
            &format!("{}, {}", bytes(self.grown), bytes(case.memory as u64)),
            &bytes(self.remaining),
        ];
        cells.map(ToString::to_string).join(" | ")
    }
}

fn micros(latency: u64) -> Duration {
    Duration::from_micros(latency)
}

fn bytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / f64::from(1 << 20))
}

/// Prints a line and flushes it, for the process or the person that reads it.
fn print_line(line: impl Display) {
    // An error means that nobody reads it.
    writeln!(std::io::stdout(), "{line}").ok();
    std::io::stdout().flush().ok();
}
