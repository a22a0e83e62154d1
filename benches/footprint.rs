//! What the server costs by the system's own accounting: resident bytes per idle connection, and
//! system calls per echoed message.
//!
//! ```text
//! cargo bench --bench footprint                 both
//! cargo bench --bench footprint -- idle 15000   memory, with that many connections
//! cargo bench --bench footprint -- syscalls     needs strace
//! ```
//!
//! The server is the `chinwag` command with one worker, a process of its own. Linux only, as it reads
//! `/proc`; the limit of open files must leave room for the connections.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use support::Client;

const SERVER: &str = env!("CARGO_BIN_EXE_chinwag");

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            idle(15_000);
            syscalls();
        }
        ["idle"] => idle(15_000),
        ["idle", count] => idle(count.parse().expect("how many connections")),
        ["syscalls"] => syscalls(),
        _ => panic!("idle [COUNT], syscalls, or nothing for both"),
    }
}

/// A running server, stopped when dropped.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    fn start(mut command: Command) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--log", "off"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the first line has the address");
        let addr = line.trim().trim_start_matches("http://").trim_end_matches('/');
        Self { addr: addr.parse().expect("an address"), child }
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        self.child.wait().expect("it ends");
    }
}

fn idle(count: usize) {
    let server = Process::start(Command::new(SERVER));
    // What a first few connections bring with them, such as the tables, is not theirs.
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(server.addr, "/echo")).collect();
    for client in &mut clients {
        client.send("warm");
        client.text();
    }
    let before = resident(server.child.id());
    clients.extend((0..count).map(|_| Client::connect(server.addr, "/echo")));
    for client in &mut clients {
        client.send("there?");
        client.text();
    }
    let after = resident(server.child.id());
    println!(
        "idle: {count} connections, each echoed once: {} KiB resident, {:.0} bytes a connection",
        (after - before) / 1024,
        (after - before) as f64 / count as f64
    );
    drop(clients);
    server.stop();
}

/// Resident memory of a process: bytes.
fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a size");
    let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB");
    kib * 1024
}

/// Counts the calls of two runs, so that what start and end cost is taken off.
fn syscalls() {
    const FEW: usize = 1_000;
    const MANY: usize = 11_000;
    let few = calls_for(FEW);
    let many = calls_for(MANY);
    println!("system calls a message, echo of 128 bytes, one connection, one in flight:");
    for (name, calls) in many {
        let before = few.iter().find(|(other, _)| *other == name).map_or(0, |(_, calls)| *calls);
        let each = (calls as f64 - before as f64) / (MANY - FEW) as f64;
        if each.abs() >= 0.0005 {
            println!("  {name:<14} {each:.3}");
        }
    }
}

/// The server's system calls by name, while `messages` are echoed.
fn calls_for(messages: usize) -> Vec<(String, usize)> {
    let report = report_path(messages);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&report).arg(SERVER);
    let server = Process::start(strace);
    let mut client = Client::connect(server.addr, "/echo");
    let text = "x".repeat(128);
    for _ in 0..messages {
        client.send(&text);
        assert_eq!(client.text(), text);
    }
    drop(client);
    let Process { mut child, .. } = server;
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let traced = fs::read_to_string(children).expect("strace has a child");
    Command::new("kill").args(["-TERM", traced.trim()]).status().expect("kill runs");
    child.wait().expect("it ends");
    let table = fs::read_to_string(&report).expect("strace has written its report");
    fs::remove_file(&report).ok();
    table.lines().filter_map(parse_line).collect()
}

fn report_path(messages: usize) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("strace-{messages}"))
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`
fn parse_line(line: &str) -> Option<(String, usize)> {
    let words: Vec<_> = line.split_whitespace().collect();
    let name = *words.last()?;
    let calls = words.get(3)?.parse().ok()?;
    (name != "total").then(|| (name.to_string(), calls))
}
