//! Limits on connections: the server's own, and the system's.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chinwag::Server;

use crate::{
    echo_router,
    support::{Running, cpu_time, eventually, open, upgrade},
};

/// In a process of its own with few descriptors: serves until its input ends, and tells on each line how
/// often accepting has paused.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "the server of another test, which runs it"]
fn serve_in_a_child() {
    let server = Running::start(Server::builder().router(echo_router()).workers(1));
    println!("\naddr {}\ntask {}", server.addr, server.task.display());
    for line in std::io::stdin().lines() {
        println!("\n{} {}", line.unwrap(), server.counters.accept_pauses.get());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn descriptors_that_run_out_are_waited_for_without_spinning() {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "limits::serve_in_a_child", "--nocapture", "--ignored"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut value = |name: &str| {
        let line = lines.find_map(|line| line.unwrap().strip_prefix(name).map(str::to_string));
        line.unwrap_or_else(|| panic!("the child tells its {name}"))
    };
    let addr = value("addr ").parse().unwrap();
    let task = std::path::PathBuf::from(value("task "));

    // More than it has descriptors for; the rest waits in the backlog.
    let mut sockets: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut socket = open(addr);
            socket.write_all(upgrade("/echo").as_bytes()).unwrap();
            socket
        })
        .collect();
    eventually("accepting pauses", || {
        writeln!(input, "pauses").unwrap();
        value("pauses ").parse::<u64>().unwrap() > 0
    });
    let (start, before) = (Instant::now(), cpu_time(&task));
    thread::sleep(Duration::from_millis(300));
    let (elapsed, spent) = (start.elapsed(), cpu_time(&task) - before);
    assert!(spent < elapsed / 10, "{spent:?} of {elapsed:?}");

    let is_served = |socket: &mut TcpStream| {
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
    };
    sockets[..20].iter_mut().for_each(is_served);
    // As these leave, the others get their turn: a lost wake-up would leave them out.
    let mut rest = sockets.split_off(40);
    drop(sockets);
    rest.iter_mut().for_each(is_served);
    drop((rest, input));
    assert!(child.wait().unwrap().success());
}
