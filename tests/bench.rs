//! `chinwag bench` as a process: what it measures, what it notices, how it ends.
#![cfg(unix)]

#[path = "bench/servers.rs"]
mod servers;
mod support;

use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use chinwag::{Request, Router, Server};
use serde_json::Value;
use servers::{Counting, Echo, Pausing, echoing, room};
use support::{DEADLINE, Running, eventually};

/// What keeps a test short.
const SHORT: [&str; 4] = ["--duration", "500ms", "--warm-up", "100ms"];

#[test]
fn echoes_are_counted_and_timed() {
    let server = Running::start(echoing());
    for options in [
        &[][..],
        &["--connections", "7", "--threads", "3"],
        &["--size", "20", "--in-flight", "16"],
        &["--size", "0"],
        &["--size", "125"],
        &["--size", "126", "--kind", "binary"],
        &["--size", "65535", "--kind", "non-ascii", "--connections", "3"],
        &["--size", "64k", "--connections", "3", "--in-flight", "2"],
        &["--size", "1MiB", "--connections", "2"],
        &["--compress", "--size", "1k"],
        &["--compress", "--size", "100k", "--kind", "non-ascii", "--connections", "2"],
        &["--rate", "500"],
        &["--timeout", "24h", "--connections", "1"],
        &["--timeout", "10s", "--in-flight", "65536", "--size", "0", "--connections", "1"],
    ] {
        let report = measured("echo", server.addr, "/echo", options);
        assert!(report["messages"].as_u64() > Some(0), "{options:?}: {report}");
        assert!(number(&report, "messages_per_second") > 0.0, "{options:?}: {report}");
        for fault in ["failed", "lost_connections", "unexpected", "wrong"] {
            assert_eq!(report[fault], 0, "{options:?}: {report}");
        }
        // The first reply of each connection is compared in full.
        assert!(report["checked"].as_u64() >= report["opened"].as_u64(), "{options:?}: {report}");
        let compressed =
            if options.contains(&"--compress") { &report["opened"] } else { &0.into() };
        assert_eq!(&report["compressed_connections"], compressed, "{options:?}: {report}");
        let latency = &report["latency_us"];
        let steps = ["min", "p50", "p90", "p99", "p99.9", "max"].map(|name| number(latency, name));
        assert!(steps.is_sorted() && steps[0] > 0.0, "{options:?}: {report}");
    }
}

#[test]
fn an_object_for_machines_has_these_keys() {
    let server = Running::start(echoing());
    let report = measured("echo", server.addr, "/echo", &[]);
    for key in [
        "mode",
        "url",
        "settings",
        "threads",
        "opened",
        "seconds",
        "messages",
        "messages_per_second",
        "megabytes_per_second",
        "latency_us",
        "server_cpu_us_per_message",
        "server_memory_bytes",
        "generator_cpu_us_per_message",
        "generator_busy",
        "bottleneck",
    ] {
        assert!(report.get(key).is_some(), "{key}: {report}");
    }
    assert_eq!(report["server_cpu_us_per_message"], Value::Null, "nobody said whose: {report}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_servers_processes_are_told_by_their_numbers() {
    let server = Running::start(echoing());
    let pid = std::process::id().to_string();
    for (mode, path, key) in [
        ("echo", "/echo", "server_cpu_us_per_message"),
        ("broadcast", "/plain", "server_cpu_us_per_delivery"),
        ("connect", "/echo", "server_cpu_us_per_handshake"),
        ("churn", "/echo", "server_cpu_us_per_round"),
        ("idle", "/echo", "server_bytes_per_connection"),
    ] {
        let report = measured(mode, server.addr, path, &["--pid", &pid]);
        assert!(report[key].is_f64(), "{mode}: {report}");
        assert!(key == "server_bytes_per_connection" || number(&report, key) > 0.0, "{report}");
        assert!(number(&report, "server_memory_bytes") > 1e6, "{mode}: {report}");
    }
}

#[test]
fn a_fixed_rate_is_kept() {
    let server = Running::start(echoing());
    let options = ["--rate", "1000", "--duration", "1s", "--connections", "10"];
    let report = measured("echo", server.addr, "/echo", &options);
    let rate = number(&report, "messages_per_second");
    assert!((500.0..1500.0).contains(&rate), "{report}");
    assert_eq!(report["unanswered"], 0, "{report}");
}

#[test]
fn a_server_that_stands_still_is_seen_to_at_a_fixed_rate() {
    let count = Arc::new(AtomicU32::new(0));
    let router = Router::new().service("/", move |_: &Request<'_>| Pausing(Arc::clone(&count)));
    let server = Running::start(Server::builder().router(router).workers(1));
    let options = ["--rate", "1000", "--warm-up", "0", "--duration", "1s", "--connections", "10"];
    let report = measured("echo", server.addr, "/", &options);
    // Of a thousand messages, 300 were meant to go while the server stood still for 300 ms: they
    // waited for 150 ms on average. Only ten of them had been sent.
    let p90 = number(&report["latency_us"], "p90");
    assert!((100_000.0..400_000.0).contains(&p90), "{report}");
    assert!(number(&report["latency_us"], "max") > 290_000.0, "{report}");
}

#[test]
fn deliveries_are_counted_whatever_the_chat_makes_of_the_text() {
    let server = Running::start(echoing());
    for path in ["/plain", "/json"] {
        for options in [
            &["--members", "20"][..],
            &["--members", "20", "--senders", "20", "--window", "4", "--threads", "3"],
            &["--members", "7", "--senders", "3", "--rate", "300"],
            &["--members", "5", "--senders", "1", "--size", "36"],
            &["--members", "5", "--senders", "1", "--size", "100k", "--kind", "non-ascii"],
            &["--members", "5", "--senders", "2", "--compress", "--size", "1k"],
        ] {
            let report = measured("broadcast", server.addr, path, options);
            assert!(report["deliveries"].as_u64() > Some(0), "{path} {options:?}: {report}");
            for fault in ["lost", "repeated", "out_of_order", "unexpected", "lost_connections"] {
                assert_eq!(report[fault], 0, "{path} {options:?}: {fault}: {report}");
            }
            let (sent, members) = (number(&report, "messages"), number(&report, "opened"));
            let share = number(&report, "deliveries") / (sent * members);
            assert!((0.5..2.0).contains(&share), "{path} {options:?}: {report}");
            assert!(number(&report["latency_us"], "p50") > 0.0, "{report}");
        }
    }
}

#[test]
fn a_chat_that_loses_repeats_or_swaps_messages_is_found_out() {
    let server = Running::start(echoing());
    for (path, fault) in
        [("/losing", "lost"), ("/repeating", "repeated"), ("/swapping", "out_of_order")]
    {
        let options = ["--members", "4", "--senders", "1", "--rate", "200"];
        let report = measured("broadcast", server.addr, path, &options);
        for key in ["lost", "repeated", "out_of_order"] {
            let count = report[key].as_u64().unwrap();
            // The last of all may wait for one to change places with.
            assert_eq!(count > 4, key == fault, "{path}: {key}: {report}");
        }
    }
}

#[test]
fn a_chat_that_does_not_send_to_the_sender_can_be_measured() {
    let server = Running::start(echoing());
    let options = ["--members", "6", "--senders", "3", "--others-only"];
    let report = measured("broadcast", server.addr, "/others", &options);
    assert!(report["deliveries"].as_u64() > Some(0), "{report}");
    assert_eq!(report["lost"], 0, "{report}");
}

#[test]
fn the_chat_of_chinwag_can_be_measured() {
    let chat = chinwag::chat::Chat::default();
    let router = Router::new().service("/chat", move |request: &Request<'_>| chat.service(request));
    let server = Running::router(router);
    let options = ["--members", "20", "--senders", "20", "--rate", "400"];
    let report = measured("broadcast", server.addr, "/chat", &options);
    assert!(report["deliveries"].as_u64() > Some(1_000), "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    assert!(report["unexpected"].as_u64() > Some(0), "people are greeted: {report}");
}

#[test]
fn connections_are_opened_held_and_closed() {
    let server = Running::start(echoing());
    let report = measured("connect", server.addr, "/echo", &[]);
    assert!(report["handshakes"].as_u64() > Some(0), "{report}");
    assert!(number(&report["latency_us"], "p50") > 0.0, "{report}");

    let report = measured("churn", server.addr, "/echo", &["--connections", "5"]);
    assert!(report["rounds"].as_u64() > Some(0), "{report}");
    assert_eq!((&report["wrong"], &report["lost_connections"]), (&0.into(), &0.into()), "{report}");

    let options = ["--connections", "300", "--sources", "3", "--threads", "2"];
    let report = measured("idle", server.addr, "/echo", &options);
    assert_eq!((&report["held"], &report["sources"]), (&300.into(), &3.into()), "{report}");
    eventually("all are gone", || server.open() == 0);
}

#[test]
fn pings_are_answered_while_connections_are_held() {
    let timeouts = chinwag::Timeouts {
        ping_period: Some(Duration::from_millis(50)),
        pong: Duration::from_millis(200),
        ..Default::default()
    };
    let server = Running::start(echoing().timeouts(timeouts));
    let report = measured("idle", server.addr, "/echo", &["--connections", "10"]);
    assert_eq!((&report["held"], &report["lost_connections"]), (&10.into(), &0.into()), "{report}");
}

#[test]
fn people_get_a_table_and_a_drawing() {
    let server = Running::start(echoing());
    let output = bench(&["echo", &format!("ws://{}/echo", server.addr)]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{table}");
    for line in ["echo ws://127.0.0.1:", "  messages ", "  latency p99.9", "  generator "] {
        assert!(table.contains(line), "{line}: {table}");
    }
    assert!(table.contains(" %  █"), "{table}");
}

#[test]
fn a_server_that_closes_is_told_with_its_code_and_reason() {
    let server = Running::start(echoing());
    let output = bench(&["echo", &format!("ws://{}/closing", server.addr), "--json"]);
    assert_fails(&output, 1, "closed by the server: 4001 \"not today\"");
}

#[test]
fn connections_that_end_early_are_told_beside_the_figures() {
    let server = Running::start(echoing());
    let url = format!("ws://{}/mostly", server.addr);
    let output = bench(&["echo", &url, "--json", "--connections", "20", "--in-flight", "2"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["lost_connections"], 2, "{report}");
    assert_eq!(report["losses"][0]["count"], 2, "{report}");
    assert!(stderr.contains("2 connections ended early: closed by the server: 4001"), "{stderr}");
}

#[test]
fn a_server_that_is_not_there_or_does_not_answer_is_an_error() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_addr = silent.local_addr().unwrap();
    let hasty = TcpListener::bind("127.0.0.1:0").unwrap();
    let hasty_addr = hasty.local_addr().unwrap();
    thread::spawn(move || hasty.incoming().for_each(drop));
    let server = Running::start(echoing());
    for mode in ["echo", "broadcast", "connect", "idle", "churn"] {
        for (addr, path, fault) in [
            (nobody, "", "refused"),
            (silent_addr, "", " did not come within 300ms"),
            (hasty_addr, "", "no connection to ws://127.0.0.1:"),
            (server.addr, "nowhere", "status 404"),
        ] {
            let url = format!("ws://{addr}/{path}");
            let output = bench(&[mode, &url, "--json", "--timeout", "300ms"]);
            assert_fails(&output, 1, fault);
        }
    }
}

#[test]
fn a_server_that_has_no_more_room_is_told() {
    let server = Running::start(echoing().max_connections(5));
    let url = format!("ws://{}/echo", server.addr);
    let output = bench(&["echo", &url, "--json", "--connections", "9"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
    assert_eq!((&report["opened"], &report["failed"]), (&5.into(), &4.into()), "{report}");
    assert!(stderr.starts_with("chinwag: 4 connections failed: "), "{stderr}");
    assert!(stderr.contains("status 503"), "{stderr}");
}

#[test]
fn wrong_replies_are_found() {
    let server = Running::start(echoing());
    let url = format!("ws://{}/upper", server.addr);
    let output = bench(&["echo", &url, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["wrong"].as_u64() > Some(0), "{report}");
    assert_eq!(report["wrong"], report["checked"], "{report}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("were not what was sent"), "{stderr}");

    let output = bench(&["echo", &format!("ws://{}/longer", server.addr), "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nothing came back of what was sent"), "{stderr}");
}

#[test]
fn compression_that_is_declined_is_told() {
    let router = Router::new().service("/", |_: &Request<'_>| Echo);
    let server = Running::router(router);
    let url = format!("ws://{}/", server.addr);
    let output = bench(&["echo", &url, "--json", "--compress", "--connections", "3"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("the server declined compression on 3 connections"), "{stderr}");
}

#[test]
fn an_interrupt_ends_it_with_the_figures_so_far() {
    let heard = Arc::new(AtomicU32::new(0));
    let (at_echo, at_room) = (Arc::clone(&heard), Arc::clone(&heard));
    let router = Router::new();
    let router = router.service("/echo", move |_: &Request<'_>| Counting(Arc::clone(&at_echo)));
    let router = room(router, "/room", move |_, text| {
        at_room.fetch_add(1, Ordering::Relaxed);
        vec![text]
    });
    let server = Running::router(router);
    for (mode, path, connections, enough) in [
        ("echo", "echo", "--connections", 1_000),
        ("broadcast", "room", "--members", 1_000),
        ("connect", "echo", "--connections", 1_000),
        ("churn", "echo", "--connections", 1_000),
        ("idle", "echo", "--connections", 20),
    ] {
        heard.store(0, Ordering::Relaxed);
        let url = format!("ws://{}/{path}", server.addr);
        let options = ["--duration", "60s", "--warm-up", "0", "--json", connections, "20"];
        let child = spawn(&[&[mode, &url], &options[..]].concat());
        eventually("it is under way", || heard.load(Ordering::Relaxed) >= enough);
        // The window begins when the last connection is open, of which nothing is seen here.
        thread::sleep(Duration::from_millis(300));
        let id = child.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
        let output = finish(child);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
        let ended = (output.status.code(), &report["interrupted"]);
        assert_eq!(ended, (Some(0), &true.into()), "{mode}: {stderr}{report}");
        assert!(number(&report, "seconds") < 50.0, "{report}");
        assert!(stderr.starts_with("chinwag: interrupted"), "{stderr}");
        if mode == "broadcast" {
            assert_eq!(report["lost"], 0, "what is on its way is waited for: {report}");
        }
    }
}

#[test]
fn nonsense_gets_one_clear_line_and_status_2() {
    let url = "ws://127.0.0.1:9/";
    for (args, fault) in [
        (&["bench"][..], "bench"),
        (&["bench", "sing", url], "sing"),
        (&["bench", "echo"], "<URL>"),
        (&["bench", "echo", "127.0.0.1:9"], "an address is ws://HOST:PORT/PATH"),
        (&["bench", "echo", "http://127.0.0.1:9"], "the scheme is ws, not http"),
        (&["bench", "echo", "wss://127.0.0.1:9"], "TLS"),
        (&["bench", "echo", "ws://host.invalid/"], "is not known"),
        (&["bench", "echo", url, "--connections", "0"], "--connections"),
        (&["bench", "echo", url, "--connections", "100000000"], "too many for"),
        (&["bench", "echo", url, "--connections", "18446744073709551615"], "too many for"),
        (&["bench", "echo", url, "--connections", "3", "--threads", "4"], "4 threads are too many"),
        (&["bench", "echo", url, "--size", "65MiB"], "the largest message is 64MiB"),
        (&["bench", "echo", url, "--kind", "prose"], "--kind"),
        (&["bench", "echo", url, "--in-flight", "0"], "--in-flight"),
        (&["bench", "echo", url, "--rate", "0"], "--rate"),
        (&["bench", "echo", url, "--duration", "0"], "must be more than 0"),
        (&["bench", "echo", url, "--duration", "5"], "no unit"),
        (&["bench", "echo", url, "--duration", "25h"], "the longest is 24h"),
        (&["bench", "echo", url, "--timeout", "0"], "must be more than 0"),
        (&["bench", "echo", url, "--timeout", "18446744073709551615ms"], "the longest is 24h"),
        (&["bench", "echo", url, "--warm-up", "86400001ms"], "the longest is 24h"),
        (&["bench", "echo", url, "--duration", "18446744073709551616ms"], "too large"),
        (&["bench", "echo", url, "--size", "18446744073709551615"], "the largest message is 64MiB"),
        (&["bench", "echo", url, "--in-flight", "65537"], "--in-flight"),
        (&["bench", "echo", url, "--rate", "100000001"], "--rate"),
        (&["bench", "echo", url, "--threads", "18446744073709551615"], "threads are too many"),
        (&["bench", "echo", url, "--sources", "18446744073709551615"], "at most 1000 sources"),
        (&["bench", "broadcast", url, "--senders", "65536"], "--senders"),
        (&["bench", "broadcast", url, "--members", "18446744073709551615"], "members times"),
        (&["bench", "broadcast", url, "--window", "65537"], "--window"),
        (&["bench", "echo", url, "--pid", "4294967295"], "there is no process 4294967295"),
        (&["bench", "echo", url, "--sources", "1001"], "at most 1000 sources"),
        (&["bench", "echo", "ws://192.0.2.1/", "--sources", "2"], "several sources"),
        (&["bench", "broadcast", url, "--size", "35"], "a stamp takes 36 bytes"),
        (&["bench", "broadcast", url, "--senders", "0"], "--senders"),
        (&["bench", "broadcast", url, "--members", "5"], "of 5 members 10 cannot be senders"),
        (&["bench", "broadcast", url, "--window", "2", "--rate", "9"], "--rate"),
        (
            &["bench", "broadcast", url, "--members", "1", "--senders", "1", "--others-only"],
            "another",
        ),
        (&["bench", "broadcast", url, "--members", "9999999", "--senders", "999"], "members times"),
        (&["bench", "echo", url, "--a\n\nb"], "--a"),
    ] {
        let output = finish(start(args));
        assert_fails(&output, 2, fault);
    }
}

#[test]
fn the_help_of_each_mode_tells_its_options() {
    for (mode, options) in [
        ("echo", &["connections", "size", "kind", "in-flight", "rate"][..]),
        ("broadcast", &["members", "senders", "size", "window", "rate"]),
        ("connect", &["connections"]),
        ("idle", &["connections"]),
        ("churn", &["connections", "size", "kind"]),
    ] {
        let output = finish(start(&["bench", mode, "--help"]));
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        let common = ["duration", "warm-up", "timeout", "threads", "sources", "pid"];
        for option in options.iter().chain(&common) {
            assert!(help.contains(&format!("--{option} <")), "{mode}: {option}: {help}");
        }
        assert!(help.contains("--json"), "{mode}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{mode}: too wide: {help}");
    }
}

/// The report on `mode` with `options`, after asserting that nothing went wrong.
fn measured(mode: &str, addr: SocketAddr, path: &str, options: &[&str]) -> Value {
    let url = format!("ws://{addr}{path}");
    let output = bench(&[&[mode, &url, "--json"], options].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{mode} {options:?}: {stderr}");
    let others = stderr.lines().filter(|line| !line.contains("the generator was the bottleneck"));
    assert_eq!(others.count(), 0, "{mode} {options:?}: {stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    serde_json::from_str(&text).expect(&text)
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {report}"))
}

/// Asserts that it ended with `status` and nothing but one line on stderr that tells `fault`.
fn assert_fails(output: &Output, status: i32, fault: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{fault}: {stderr}");
    assert_eq!(output.stdout, b"", "{fault}");
    assert!(stderr.starts_with("chinwag: ") && stderr.contains(fault), "{fault}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{fault}: {stderr}");
}

/// Runs `chinwag bench` shortly, with `options` that win over what keeps it short.
fn bench(options: &[&str]) -> Output {
    finish(spawn(options))
}

fn spawn(options: &[&str]) -> Process {
    let short = SHORT.chunks(2).filter(|pair| !options.contains(&pair[0]));
    start(&[&["bench"], options, &short.flatten().copied().collect::<Vec<_>>()].concat())
}

fn start(args: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Process(command.spawn().unwrap())
}

/// A process of ours; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Waits for a process that ends by itself.
fn finish(mut process: Process) -> Output {
    let (mut stdout, mut stderr) =
        (process.0.stdout.take().unwrap(), process.0.stderr.take().unwrap());
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        stdout.read_to_end(&mut out).unwrap();
        stderr.read_to_end(&mut err).unwrap();
        done.send((out, err)).ok();
    });
    let (stdout, stderr) = result.recv_timeout(DEADLINE).expect("it does not end");
    Output { status: process.0.wait().unwrap(), stdout, stderr }
}
