//! The `chinwag` command as a process: what it prints, what it refuses, how it ends.
#![cfg(unix)]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use chinwag::CloseCode;
use support::{Client, DEADLINE, Said, eventually, http, open, upgrade};

#[test]
fn the_first_line_is_the_address_of_the_page_and_the_rest_are_the_endpoints() {
    let server = Server::start(&["serve"]);
    assert_ne!(server.addr.port(), 0);
    assert!(server.get("/").starts_with("HTTP/1.1 200 OK\r\n"));

    let endpoints: Vec<String> = server.lines.iter().map(|line| first_word(line)).collect();
    let base = format!("ws://{}", server.addr);
    assert_eq!(endpoints, ["chat", "echo", "raw"].map(|path| format!("{base}/{path}")));
    for endpoint in &endpoints {
        server.connect(endpoint.strip_prefix(&base).unwrap());
    }
    server.connect("/chat/tea");
}

#[test]
fn serve_is_what_is_done_when_nothing_is_said() {
    let server = Server::start(&[]);
    server.connect("/echo");
}

#[test]
fn the_chat_and_echo_compress_unless_that_is_switched_off() {
    let once = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                client_max_window_bits=12";
    // In the chat the members of a room may share a window.
    let takeover = "permessage-deflate; client_no_context_takeover; client_max_window_bits=12";
    let server = Server::start(&[]);
    for (path, agreed) in [("/chat", takeover), ("/chat/tea", takeover), ("/echo", once)] {
        assert_eq!(compression(&server, path).as_deref(), Some(agreed), "{path}");
    }
    assert_eq!(compression(&server, "/raw"), None);

    let off = Server::start(&["--no-compression"]);
    let mut command = chinwag();
    command.env("CHINWAG_LISTEN", "127.0.0.1:0").env("CHINWAG_NO_COMPRESSION", "1");
    for server in [off, Server::spawn(command)] {
        assert_eq!(compression(&server, "/chat"), None);
        assert_eq!(compression(&server, "/echo"), None);
    }
}

#[test]
fn a_host_name_will_do() {
    let mut command = chinwag();
    command.args(["--listen", "localhost:0"]);
    let server = Server::spawn(command);
    assert!(server.addr.ip().is_loopback());
    server.connect("/echo");
}

#[test]
fn the_environment_counts_where_the_command_line_says_nothing() {
    let mut command = chinwag();
    command.env("CHINWAG_LISTEN", "127.0.0.1:0").env("CHINWAG_MAX_MESSAGE_SIZE", "10");
    let server = Server::spawn(command);
    assert_echoes(&mut server.connect("/echo"), "0123456789");
    assert_eq!(code_for(server.connect("/echo"), "0123456789a"), 1009);

    let mut command = chinwag();
    command.env("CHINWAG_LISTEN", "127.0.0.1:0").env("CHINWAG_MAX_MESSAGE_SIZE", "10");
    command.args(["--max-message-size", "11"]);
    let server = Server::spawn(command);
    assert_echoes(&mut server.connect("/echo"), "0123456789a");
}

#[test]
fn a_frame_that_is_too_large_is_refused_where_messages_may_be_larger() {
    let server = Server::start(&["--max-frame-size", "1k"]);
    assert_echoes(&mut server.connect("/echo"), &"x".repeat(1024));
    assert_eq!(code_for(server.connect("/echo"), &"x".repeat(1025)), 1009);
}

#[test]
fn the_chat_keeps_to_64_kib_whatever_is_allowed_elsewhere() {
    let server = Server::start(&["--max-frame-size", "1MiB", "--max-message-size", "1MiB"]);
    assert_eq!(code_for(server.connect("/chat"), &"x".repeat(65_537)), 1009);
}

#[test]
fn silence_is_pinged_and_who_does_not_answer_is_closed() {
    let server = Server::start(&["--ping-period", "50ms", "--timeout", "50ms"]);
    let mut wire = Vec::new();
    server.connect("/echo").socket.read_to_end(&mut wire).unwrap();
    assert_eq!(wire[0], 0x89, "{wire:x?}");
    assert!(wire.ends_with(b"\x88\x0e\x03\xf3Ping timeout"), "{wire:x?}");
}

#[test]
fn numbers_at_their_ends_work() {
    const MAX: &str = "18446744073709551615";
    let (longest, shortest) = (format!("{MAX}ms"), "1ms");
    for options in [
        &["--ping-period", &*longest][..],
        &["--timeout", &longest],
        &["--ping-period", &longest, "--timeout", &longest],
        &["--ping-period", shortest],
        &["--ping-period", "0", "--timeout", shortest],
        &["--max-frame-size", MAX, "--max-message-size", MAX],
        &["--max-frame-size", "5", "--max-message-size", "5"],
        &["--max-connections", MAX],
        &["--chat-rate", "4294967295"],
        &["--chat-rate", "1"],
        &["--workers", "1"],
    ] {
        let server = Server::start(options);
        for path in ["/echo", "/chat"] {
            let mut client = server.connect(path);
            for _ in 0..3 {
                client.send("hello");
                let said = |text: String| text.ends_with("hello");
                assert!((0..10).any(|_| said(client.text())), "{options:?}: {path}");
            }
        }
    }
    for option in ["--max-frame-size", "--max-message-size"] {
        let server = Server::start(&[option, "0"]);
        assert_echoes(&mut server.connect("/echo"), "");
        assert_eq!(code_for(server.connect("/echo"), "1"), 1009, "{option}");
    }
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = Server::start(&["--max-connections", "1"]);
    let client = server.connect("/echo");
    assert!(server.get("/").starts_with("HTTP/1.1 503 "));
    drop(client);
}

#[test]
fn members_of_the_chat_may_say_as_much_as_is_allowed() {
    let server = Server::start(&["--chat-rate", "1"]);
    let mut client = server.connect("/chat");
    (0..9).for_each(|n| client.send(&*format!("message {n}")));
    let warning =
        std::iter::from_fn(|| Some(client.text())).find(|text| text.contains("Not so fast"));
    assert!(warning.is_some(), "five at once, and not nine");

    let server = Server::start(&["--chat-rate", "1000000"]);
    let mut client = server.connect("/chat");
    (0..1_000).for_each(|n| client.send(&*format!("message {n}")));
    let last = std::iter::from_fn(|| Some(client.text())).find(|text| {
        assert!(!text.contains("Not so fast"), "{text}");
        text.ends_with("message 999")
    });
    assert!(last.is_some());
}

#[test]
fn foreign_pages_may_connect_where_they_are_allowed() {
    let server = Server::start(&[
        "--allow-origin",
        "http://a.example",
        "--allow-origin",
        "http://b.example",
    ]);
    for (origin, status) in
        [("http://a.example", "101"), ("http://b.example", "101"), ("http://c.example", "403")]
    {
        assert_eq!(status_for(&server, origin), status, "{origin}");
    }
    assert_eq!(status_for(&Server::start(&[]), "http://a.example"), "403");
    assert_eq!(status_for(&Server::start(&["--allow-origin", "*"]), "http://a.example"), "101");
}

#[test]
fn a_list_of_origins_may_have_spaces_and_empty_entries() {
    for (list, statuses) in [
        ("http://a.example,http://b.example", ["101", "101", "403"]),
        ("http://a.example, http://b.example", ["101", "101", "403"]),
        (" http://a.example ,, ", ["101", "403", "403"]),
        (",", ["403", "403", "403"]),
        (" ", ["403", "403", "403"]),
        ("", ["403", "403", "403"]),
        ("http://a.example, *", ["101", "101", "101"]),
    ] {
        let mut command = chinwag();
        command.env("CHINWAG_LISTEN", "127.0.0.1:0").env("CHINWAG_ALLOW_ORIGIN", list);
        let server = Server::spawn(command);
        let seen = ["http://a.example", "http://b.example", "http://c.example"]
            .map(|origin| status_for(&server, origin));
        assert_eq!(seen, statuses, "{list:?}");
        // A page of the server's own may connect always.
        assert_eq!(status_for(&server, &format!("http://{}", server.addr)), "101", "{list:?}");
    }
}

#[test]
fn a_mistake_gets_one_clear_line_and_status_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, fault) in [
        (vec!["--listen", &taken], "cannot listen on 127.0.0.1:"),
        (vec!["serve", "--listen", "nonsense"], "cannot listen on nonsense"),
        (vec!["--listen", "127.0.0.1:99999"], "cannot listen on 127.0.0.1:99999"),
        (vec!["--listen", "203.0.113.1:0"], "cannot listen on 203.0.113.1:0"),
        (vec!["--listen", "127.0.0.1:0\n"], "cannot listen on 127.0.0.1:0\\n: "),
        (vec!["--listen", "a\r\n\n\tb\u{85}\u{1b}[2J"], "on a\\r\\n\\n\\tb\\u{85}\\u{1b}[2J: "),
        (vec!["--workers", "a\nb"], "value 'a\\nb' for '--workers <N>': "),
        (vec!["--workers", "a\n\nb"], "value 'a\\n\\nb' for '--workers <N>': "),
        (vec!["--workers", "a\u{1b}[2J\u{7}b"], "--workers"),
        (vec!["--timeout", "15x\n\ny"], "value '15x\\n\\ny' for '--timeout <DURATION>': "),
        (vec!["--log", "a\n\nb"], "value 'a\\n\\nb' for '--log <LEVEL>'"),
        (vec!["--a\n\nb"], "argument '--a\\n\\nb' found"),
        (vec!["a\n\nb"], "'a\\n\\nb'"),
        (vec!["--listen"], "--listen"),
        (vec!["--workers", "0"], "--workers"),
        (vec!["--workers", "many"], "--workers"),
        (vec!["--workers", "1025"], "value '1025' for '--workers <N>': 1025 is not in 1..=1024"),
        (vec!["--workers", "18446744073709551615"], "for '--workers <N>': "),
        (vec!["--ping-period", "18446744073709551616ms"], "'--ping-period <DURATION>': too large"),
        (vec!["--timeout", "18446744073709551616ms"], "'--timeout <DURATION>': too large"),
        (vec!["--timeout", "0ms"], "'--timeout <DURATION>': must be more than 0"),
        (vec!["--max-frame-size", "18446744073709551616"], "'--max-frame-size <SIZE>': too large"),
        (vec!["--max-message-size", "17179869184G"], "'--max-message-size <SIZE>': too large"),
        (vec!["--max-connections", "18446744073709551616"], "'--max-connections <N>': "),
        (vec!["--chat-rate", "4294967296"], "'--chat-rate <N>': "),
        (vec!["--ping-period", "15"], "--ping-period"),
        (vec!["--timeout", "0"], "--timeout"),
        (vec!["--max-frame-size", "64kb"], "--max-frame-size"),
        (vec!["--max-message-size", "much"], "--max-message-size"),
        (vec!["--max-connections", "0"], "--max-connections"),
        (vec!["--chat-rate", "0"], "--chat-rate"),
        (vec!["--log", "loud"], "info"),
        (vec!["--allow-origin", "http://a, b"], "value ' b' for '--allow-origin <ORIGIN>': "),
        (vec!["--session-key", "/nonexistent"], "'--session-key <FILE>': No such file"),
        (vec!["--session-key", "/dev/null"], "a key has at least 32 bytes, and this one has 0"),
        (vec!["--session-key", "/dev/urandom"], "a key has at most 4096 bytes"),
        (vec!["--colour"], "--colour"),
        (vec!["serv"], "serv"),
    ] {
        let mut command = chinwag();
        command.args(&args);
        let output = finish(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{args:?}");
        assert!(stderr.strip_suffix('\n').is_some_and(is_one_line), "{args:?}: {stderr:?}");
        assert!(stderr.starts_with("chinwag: ") && stderr.contains(fault), "{args:?}: {stderr}");
    }
}

#[test]
fn a_mistake_in_the_environment_is_one_too() {
    let mut command = chinwag();
    command.env("CHINWAG_WORKERS", "none");
    let output = finish(command);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("chinwag: invalid value 'none'"));
}

#[test]
fn the_help_tells_every_option_its_variable_and_every_endpoint() {
    for args in [vec!["--help"], vec!["serve", "--help"], vec!["-h"]] {
        let mut command = chinwag();
        command.args(&args);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).unwrap();
        for option in [
            "listen",
            "workers",
            "ping-period",
            "timeout",
            "max-frame-size",
            "max-message-size",
            "max-connections",
            "chat-rate",
            "allow-origin",
            "session-key",
            "log",
        ] {
            let variable = format!("CHINWAG_{}", option.to_uppercase().replace('-', "_"));
            assert!(help.contains(&format!("--{option} <")), "{args:?}: {option}");
            assert!(help.contains(&variable), "{args:?}: {variable}");
        }
        assert!(help.contains("--no-compression\n") && help.contains("CHINWAG_NO_COMPRESSION"));
        assert!(help.contains("--secure-cookies\n") && help.contains("CHINWAG_SECURE_COOKIES"));
        for endpoint in ["/chat", "/chat/{room}", "/echo", "/raw"] {
            assert!(help.contains(&format!("\n  {endpoint} ")), "{args:?}: {endpoint}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{args:?}: too wide");
    }
}

#[test]
fn a_signal_says_goodbye_to_everyone_and_ends_with_status_0() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&[]);
        let clients = ["/echo", "/raw", "/chat"].map(|path| server.connect(path));
        let start = Instant::now();
        server.signal(signal);
        for mut client in clients {
            assert_eq!(client.end().code, CloseCode::GOING_AWAY, "SIG{signal}");
        }
        assert_eq!(server.ended().code(), Some(0), "SIG{signal}");
        assert!(start.elapsed() < Duration::from_secs(3), "SIG{signal}: nobody held it up");
    }
}

#[test]
fn a_client_that_does_not_answer_delays_the_end_by_no_more_than_5_seconds() {
    let server = Server::start(&[]);
    let mut client = server.connect("/echo");
    let start = Instant::now();
    server.signal("TERM");
    hear_goodbye(&mut client);
    assert_eq!(server.ended().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn nor_does_it_together_with_a_stderr_that_nobody_reads() {
    let server = Server::start(&[]);
    // A line each: more than a pipe holds, and less than fills the queue before it too.
    for _ in 0..1_000 {
        server.get("/");
    }
    let mut client = server.connect("/echo");
    let start = Instant::now();
    server.signal("TERM");
    hear_goodbye(&mut client);
    assert_eq!(server.ended().code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let server = Server::start(&[]);
        let mut client = server.connect("/echo");
        server.signal(signal);
        // From here on the server waits for an answer, for 5 seconds.
        hear_goodbye(&mut client);
        let start = Instant::now();
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(status));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn a_connection_that_ended_is_one_line_on_stderr_and_a_message_is_none() {
    let mut server = Server::start(&[]);
    let mut client = server.connect("/echo");
    for _ in 0..10 {
        assert_echoes(&mut client, "hello");
    }
    client.close(CloseCode(3123), "");
    client.end();
    drop(client);
    server.signal("TERM");
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("3123")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("INFO") && lines[0].contains("closed by the peer"), "{log}");
    assert!(!log.contains("hello"), "{log}");
    assert!(log.lines().count() < 10, "{log}");
}

#[test]
fn a_closed_stdout_and_stderr_harm_nobody() {
    let mut server = Server::start(&["--log", "trace"]);
    drop((server.stdout.take(), server.stderr.take()));
    for _ in 0..20 {
        assert_echoes(&mut server.connect("/echo"), "hi");
    }
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let server = Server::start(&["--log", "trace"]);
    // More lines than a pipe and the queue before it can hold.
    for _ in 0..1_000 {
        server.get("/");
    }
    assert_echoes(&mut server.connect("/echo"), "hi");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_browser_keeps_its_name_when_it_comes_back() {
    let server = Server::start(&[]);
    let cookie = server.cookie("");
    let (mut client, head) = server.chat(&cookie);
    assert_eq!(client.text(), "You've logged in as [user0]");
    assert!(!head.contains("\r\nSet-Cookie: "), "the page has set it: {head}");
    client.send("/nick Anna");
    hears(&mut client, "* user0 is now Anna");
    drop(client);

    let (mut client, head) = server.chat(&cookie);
    assert_eq!(client.text(), "You've logged in as [Anna]");
    let set = header(&head, "Set-Cookie").expect("the name is new in it");
    for part in ["; Path=/", "; Max-Age=2592000", "; HttpOnly", "; SameSite=Lax"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Secure"), "{set}");
    // The lobby knows who that is by name alone.
    let (mut other, _) = server.chat("");
    assert_eq!(other.text(), "You've logged in as [user1]");
    other.send("/nick Anna");
    hears(&mut other, "* You are still user1: somebody is called Anna already");

    let mut forged = cookie.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    let (mut client, head) = server.chat(&forged);
    assert_eq!(client.text(), "You've logged in as [user2]");
    assert!(header(&head, "Set-Cookie").is_some(), "another is set");
}

#[test]
fn with_a_key_a_name_outlives_the_server() {
    let key = std::env::temp_dir().join(format!("chinwag-key-{}", std::process::id()));
    std::fs::write(&key, [7; 32]).unwrap();
    let mut command = chinwag();
    command.env("CHINWAG_LISTEN", "127.0.0.1:0").env("CHINWAG_SESSION_KEY", &key);
    let by_variable = Server::spawn(command);
    let by_option = Server::start(&["--session-key", key.to_str().unwrap()]);
    std::fs::remove_file(&key).unwrap();

    let first = by_variable.cookie("");
    let (mut client, _) = by_variable.chat(&first);
    client.send("/nick Anna");
    hears(&mut client, "* user0 is now Anna");
    let cookie = by_variable.cookie(&first);
    drop((client, by_variable));
    assert_eq!(by_option.chat(&cookie).0.text(), "You've logged in as [Anna]");
    let other = Server::start(&[]);
    assert_eq!(other.chat(&cookie).0.text(), "You've logged in as [user0]");
}

#[test]
fn secure_cookies_are_for_https_and_this_host_alone() {
    let server = Server::start(&["--secure-cookies"]);
    let page = server.get("/");
    let set = header(&page, "Set-Cookie").unwrap();
    assert!(set.starts_with("__Host-chinwag=1.") && set.ends_with("; Secure"), "{set}");
}

/// A process of ours; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A running `chinwag`.
struct Server {
    process: Process,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<ChildStderr>,
    addr: SocketAddr,
    /// What follows the first line.
    lines: Vec<String>,
}

impl Server {
    /// With `args`, on a free port.
    fn start(args: &[&str]) -> Self {
        let mut command = chinwag();
        command.args(args).args(["--listen", "127.0.0.1:0"]);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut process = Process(command.spawn().unwrap());
        let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
        let ([first, rest @ ..], stdout) = within(DEADLINE, move || {
            let mut lines = [const { String::new() }; 4];
            for line in &mut lines {
                stdout.read_line(line).unwrap();
            }
            (lines, stdout)
        });
        let addr = first
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/\n"))
            .and_then(|addr| addr.parse().ok())
            .unwrap_or_else(|| panic!("the first line is {first:?}"));
        let stderr = process.0.stderr.take();
        Self { process, stdout: Some(stdout), stderr, addr, lines: rest.to_vec() }
    }

    fn connect(&self, path: &str) -> Client {
        Client::connect(self.addr, path)
    }

    fn get(&self, path: &str) -> String {
        http(self.addr, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr))
    }

    /// The cookie that the page sets for a browser with `cookie`.
    fn cookie(&self, cookie: &str) -> String {
        let page = http(
            self.addr,
            &format!("GET / HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n", self.addr),
        );
        let set = header(&page, "Set-Cookie").expect("the page sets a cookie");
        set.split(';').next().unwrap().to_owned()
    }

    /// A browser with `cookie` comes to the chat; also gives the head of the answer.
    fn chat(&self, cookie: &str) -> (Client, String) {
        let cookie = format!("\r\nCookie: {cookie}\r\n\r\n");
        Client::ask(self.addr, &upgrade("/chat").replace("\r\n\r\n", &cookie)).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn ended(mut self) -> ExitStatus {
        let mut status = None;
        eventually("the end", || {
            status = self.process.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

fn assert_echoes(client: &mut Client, text: &str) {
    client.send(text);
    assert_eq!(client.recv(), Some(Said::Text(text.into())));
}

/// The code that the connection is closed with once `text` was sent.
fn code_for(mut client: Client, text: &str) -> u16 {
    client.send(text);
    client.end().code.0
}

/// Reads the server's Close, and does not answer it.
fn hear_goodbye(client: &mut Client) {
    let mut close = [0; 4];
    client.socket.read_exact(&mut close).unwrap();
    assert_eq!((close[0], &close[2..]), (0x88, &[0x03, 0xe9][..]));
}

/// The status that a page of `origin` gets.
fn status_for(server: &Server, origin: &str) -> String {
    let mut socket = open(server.addr);
    write!(
        socket,
        "GET /echo HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.addr
    )
    .unwrap();
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).unwrap();
    line.split(' ').nth(1).expect("a status line has a status").to_owned()
}

/// What the server answers to a browser's offer of compression at `path`.
fn compression(server: &Server, path: &str) -> Option<String> {
    let mut socket = open(server.addr);
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        server.addr
    )
    .unwrap();
    let head = BufReader::new(socket).lines().map(Result::unwrap);
    let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
    assert!(head[0].starts_with("HTTP/1.1 101 "), "{head:?}");
    let name = "Sec-WebSocket-Extensions: ";
    head.iter().find_map(|line| line.strip_prefix(name).map(str::to_owned))
}

/// The value of the first header called `name` in an answer.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Waits for a line of the chat.
fn hears(client: &mut Client, line: &str) {
    while client.text() != line {}
}

fn is_one_line(text: &str) -> bool {
    !text.contains(char::is_control)
}

fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// `chinwag` without settings from this process's environment.
fn chinwag() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHINWAG_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command that is expected to end by itself.
fn finish(mut command: Command) -> Output {
    let mut process = Process(command.spawn().unwrap());
    let mut stdout = process.0.stdout.take().unwrap();
    let mut stderr = process.0.stderr.take().unwrap();
    let (stdout, stderr) = within(DEADLINE, move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        stdout.read_to_end(&mut out).unwrap();
        stderr.read_to_end(&mut err).unwrap();
        (out, err)
    });
    Output { status: process.0.wait().unwrap(), stdout, stderr }
}

/// What `work` gives, or a panic where it takes too long.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()).ok());
    result.recv_timeout(limit).expect("it takes too long, or failed")
}
