//! `chinwag bench`: load for a WebSocket server, and what it makes of it.

mod args;
mod echo;
mod latency;
mod link;
mod outbox;
mod pace;
mod payload;
mod process;
mod progress;
mod reader;
mod report;
mod run;
mod tally;
mod target;
mod worker;

use std::{
    io::{self, Write},
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

pub use self::args::Bench;
pub use self::run::Failure;
use self::{
    args::{Common, Mode},
    echo::{Echo, Echoing},
    progress::Progress,
    report::Report,
    run::{Plan, run},
    tally::Count,
    target::{MAX_SOURCES, PORTS},
};

/// Descriptors kept for what is no connection.
const OTHER_FILES: u64 = 32;

/// Runs what `options` ask for and prints what came of it.
///
/// # Errors
/// [`Failure`], where there is nothing to print.
pub fn bench(options: &Bench) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let Mode::Echo(options) = &options.mode;
    let connections = options.connections.get();
    let plan = Plan {
        compress: options.compress,
        drained: options.rate.map(|_| {
            let drained: fn(&Plan, &tally::Counts) -> bool =
                |_, counts| counts[Count::Received] >= counts[Count::Sent];
            drained
        }),
        ..plan(&options.common, connections)?
    };
    let mut progress = Progress::new();
    let spec = Echo {
        kind: options.kind,
        size: options.size,
        in_flight: options.in_flight as usize,
        rate: options.rate.map(|rate| f64::from(rate) / plan.threads as f64),
    };
    let findings = run(&plan, &stop, &mut progress, |_| Echoing::new(spec.clone()))?;
    progress.clear();
    let settings = serde_json::json!({
        "size": options.size, "kind": options.kind, "in_flight": options.in_flight,
        "rate": options.rate, "compress": options.compress,
    });
    let mut report = Report::new("echo", settings, &plan, &findings, Count::Received);
    report.unanswered = options.rate.map(|_| findings.counts[Count::Unanswered]);
    let text = if options.common.json { report.json() + "\n" } else { report.table() };
    io::stdout().write_all(text.as_bytes())?;
    for remark in report.remarks() {
        writeln!(io::stderr(), "chinwag: {remark}").ok();
    }
    if report.messages == 0 {
        return Err(Failure::Failed("no reply was the message sent".into()));
    }
    Ok(())
}

/// What is the same for all modes.
fn plan(common: &Common, connections: usize) -> Result<Plan, Failure> {
    let misuse = |fault: String| Err(Failure::Misuse(fault));
    let threads = common.threads.get();
    if threads > connections {
        return misuse(format!(
            "{threads} threads have nothing to do with {connections} connections"
        ));
    }
    if let Some(pid) = common.pid.iter().find(|pid| !process::exists(**pid)) {
        return misuse(format!("there is no process {pid} to be seen"));
    }
    let addr = match common.url.resolve() {
        Ok(addr) => addr,
        Err(error) => return misuse(format!("{} is not known: {error}", common.url)),
    };
    let needed = connections.div_ceil(PORTS);
    let is_local = addr.is_ipv4() && addr.ip().is_loopback();
    let sources = common.sources.map_or(if is_local { needed } else { 1 }, usize::from);
    if sources > 1 && !is_local {
        return misuse("several sources need a server at 127.0.0.1 or the like".into());
    }
    if sources > MAX_SOURCES {
        return misuse(format!("there are at most {MAX_SOURCES} sources"));
    }
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    if connections as u64 + OTHER_FILES + threads as u64 * 4 > files {
        return misuse(format!("{connections} connections are more than {files} open files allow"));
    }
    Ok(Plan {
        target: common.url.clone(),
        addr,
        connections,
        threads,
        sources,
        compress: false,
        warm_up: common.warm_up,
        duration: common.duration,
        pids: common.pid.clone(),
        holds: true,
        drained: None,
        shows: (Count::Received, "messages"),
    })
}

/// Set by the first SIGINT or SIGTERM; the second ends the process at once.
fn stop_on_signal() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
