//! `chinwag bench`: load for a WebSocket server, and what the server makes of it.
//!
//! ```text
//! args ─→ plan ─→ run ─→ one worker a thread ─→ links ─→ reader, outbox
//!                  │       └ a mode: echo, broadcast, connect
//!                  └→ findings ─→ report
//! ```

mod args;
mod broadcast;
mod connect;
mod echo;
mod latency;
mod link;
mod mode;
mod outbox;
mod pace;
mod payload;
mod process;
mod progress;
mod reader;
mod report;
mod run;
mod stamp;
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

pub use self::{args::Bench, run::Failure};
use self::{
    args::{Common, Mode},
    broadcast::{Broadcast, Broadcasting, Flow},
    connect::{Churning, Connecting, Idling},
    echo::{Echo, Echoing},
    progress::Progress,
    report::Report,
    run::{Awaits, Name, Plan, run},
    target::{MAX_SOURCES, PORTS},
};

/// Descriptors kept for what is no connection.
const OTHER_FILES: u64 = 32;

/// Most pairs of a member and a sender: what came of each takes eight bytes.
const MAX_PAIRS: usize = 1 << 26;

/// Runs what `options` ask for and prints what came of it.
///
/// # Errors
/// [`Failure`], where nothing was measured.
pub fn bench(options: &Bench) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let mut progress = Progress::new();
    let done = measure(&options.mode, &stop, &mut progress);
    progress.clear();
    let report = done?;
    let text = if options.mode.common().json { report.json() } else { report.table() };
    io::stdout().write_all(text.as_bytes())?;
    for remark in report.remarks() {
        // Nobody may be listening.
        writeln!(io::stderr(), "chinwag: {}", crate::escape(&remark)).ok();
    }
    if report.has_something() {
        Ok(())
    } else {
        Err(Failure::Failed("nothing came back of what was sent".into()))
    }
}

fn measure(mode: &Mode, stop: &AtomicBool, progress: &mut Progress) -> Result<Report, Failure> {
    let common = mode.common();
    let (plan, findings, settings) = match mode {
        Mode::Echo(options) => {
            let awaits = options.rate.map_or(Awaits::Nothing, |_| Awaits::Replies);
            let plan = Plan {
                compress: options.compress,
                is_paced: options.rate.is_some(),
                awaits,
                ..plan(Name::Echo, common, options.connections.get())?
            };
            let spec = Echo {
                kind: options.kind,
                size: options.size,
                in_flight: options.in_flight as usize,
                rate: options.rate.map(|rate| f64::from(rate) / plan.threads as f64),
            };
            let findings = run(&plan, stop, progress, |_| Echoing::new(spec.clone()))?;
            (plan, findings, json(options))
        }
        Mode::Broadcast(options) => {
            let spec = broadcast_spec(options)?;
            let plan = Plan {
                compress: options.compress,
                is_paced: options.rate.is_some(),
                awaits: Awaits::Deliveries { to_sender: spec.to_sender },
                ..plan(Name::Broadcast, common, spec.members)?
            };
            let make = |share| Broadcasting::new(spec.clone(), share);
            let findings = run(&plan, stop, progress, make)?;
            (plan, findings, json(options))
        }
        Mode::Connect(options) => {
            let plan = Plan {
                compress: options.compress,
                holds: false,
                ..plan(Name::Connect, common, options.connections.get())?
            };
            let findings = run(&plan, stop, progress, |_| Connecting::new())?;
            (plan, findings, json(options))
        }
        Mode::Idle(options) => {
            let plan = Plan {
                compress: options.compress,
                ..plan(Name::Idle, common, options.connections.get())?
            };
            let findings = run(&plan, stop, progress, |_| Idling::new())?;
            (plan, findings, json(options))
        }
        Mode::Churn(options) => {
            let plan =
                Plan { holds: false, ..plan(Name::Churn, common, options.connections.get())? };
            let make = |_| Churning::new(options.kind, options.size);
            let findings = run(&plan, stop, progress, make)?;
            (plan, findings, json(options))
        }
    };
    Ok(Report::new(&plan, settings, &findings))
}

fn json(options: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(options).expect("options are numbers and words")
}

fn broadcast_spec(options: &args::Broadcast) -> Result<Broadcast, Failure> {
    let (members, senders) = (options.members.get(), usize::from(options.senders));
    let threads = options.common.threads.get();
    if senders > members {
        return misuse(format!("of {members} members {senders} cannot be senders"));
    }
    if members.saturating_mul(senders) > MAX_PAIRS {
        return misuse(format!("members times senders may be {MAX_PAIRS} at most"));
    }
    if options.others_only && members < threads.saturating_mul(2) {
        return misuse("a sender that hears nothing of its own needs another on its thread".into());
    }
    Ok(Broadcast {
        members,
        senders,
        kind: options.kind,
        size: options.size,
        flow: options.rate.map_or(Flow::Window(options.window), |rate| Flow::Rate(rate.into())),
        to_sender: !options.others_only,
        run: rand::random(),
    })
}

fn misuse<T>(fault: String) -> Result<T, Failure> {
    Err(Failure::Misuse(fault))
}

/// What is the same for all modes.
fn plan(mode: Name, common: &Common, connections: usize) -> Result<Plan, Failure> {
    let threads = common.threads.get();
    if threads > connections {
        return misuse(format!("{threads} threads are too many for {connections} connections"));
    }
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    // Each thread has a poller and a waker.
    let pollers = (threads as u64).saturating_mul(2).saturating_add(OTHER_FILES);
    let needed = (connections as u64).saturating_add(pollers);
    if needed > files {
        return misuse(format!("{connections} connections are too many for {files} open files"));
    }
    if let Some(pid) = common.pid.iter().find(|pid| !process::exists(**pid)) {
        return misuse(format!("there is no process {pid} to be seen"));
    }
    let addr = match common.url.resolve() {
        Ok(addr) => addr,
        Err(error) => return misuse(format!("{} is not known: {error}", common.url)),
    };
    let is_local = addr.is_ipv4() && addr.ip().is_loopback();
    let needed = if is_local { connections.div_ceil(PORTS) } else { 1 };
    let sources = common.sources.map_or(needed, usize::from);
    if sources > 1 && !is_local {
        return misuse("several sources need a server at 127.0.0.1 or the like".into());
    }
    if sources > MAX_SOURCES {
        return misuse(format!("there are at most {MAX_SOURCES} sources"));
    }
    Ok(Plan {
        mode,
        target: common.url.clone(),
        addr,
        connections,
        threads,
        sources,
        compress: false,
        is_paced: false,
        timeout: common.timeout,
        warm_up: common.warm_up,
        duration: common.duration,
        pids: common.pid.clone(),
        holds: true,
        awaits: Awaits::Nothing,
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
