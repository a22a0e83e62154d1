//! `chinwag connect` as a script sees it: stdin, stdout, stderr and the exit status.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use chinwag::{
    CloseCode, Deflate, Message, Origins, Peer, Request, Route, Router, Server, Service,
    protocol::handshake::accept_key,
};
use support::{Running, eventually};

/// Echoes; tells, closes or cuts the connection when asked to.
struct Does {
    saw: String,
}

impl Service for Does {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let close =
            |peer: &mut Peer<'_>, code| peer.close(CloseCode(code), "bye\u{1b}[2J").unwrap();
        match message.as_bytes() {
            b"headers?" => peer.send(&self.saw).unwrap(),
            b"close 1000" => close(peer, 1000),
            b"close 4001" => close(peer, 4001),
            b"escapes" => {
                peer.send("a\nb\x1b[2J\u{9b}31m\u{202e}\u{7f}").unwrap();
                peer.send(&b"\x1b[2J"[..]).unwrap();
            }
            _ => peer.send(message).unwrap(),
        }
    }
}

fn server() -> Running {
    let does = |request: &Request<'_>| {
        let header = |name| request.header(name).unwrap_or("-").to_owned();
        Does { saw: format!("{} {} {}", header("Origin"), header("Cookie"), header("X-A")) }
    };
    let router = Router::new()
        .allow_origins(Origins::Any)
        .route("/echo", Route::new(does).protocols(["chat.v2", "chat.v1"]));
    Running::start(Server::builder().router(router).workers(1).deflate(Deflate::default()))
}

/// A process of ours; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn spawn(url: &str, args: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.arg("connect").args(args).arg(url).env_remove("CHINWAG_HISTORY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Process(command.spawn().unwrap())
}

/// What it says when `input` is all of its stdin.
fn run(url: &str, args: &[&str], input: &[u8]) -> Output {
    let mut process = spawn(url, args);
    // It may have ended before it has read all of it.
    process.0.stdin.take().unwrap().write_all(input).ok();
    ended(process)
}

/// What it says until it ends by itself.
fn ended(mut process: Process) -> Output {
    let stdout = read_all(process.0.stdout.take());
    let stderr = read_all(process.0.stderr.take());
    let mut status = None;
    eventually("the end", || {
        status = process.0.try_wait().unwrap();
        status.is_some()
    });
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    Output { status: status.unwrap(), stdout, stderr }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut all).unwrap();
        }
        all
    })
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

fn echo(server: &Running) -> String {
    format!("ws://{}/echo", server.addr)
}

#[test]
fn a_line_is_a_message_and_a_message_is_a_line() {
    let server = server();
    for (name, input, lines) in [
        ("lines", &b"hello\nworld\n"[..], "hello\nworld\n"),
        ("an empty one", b"\nx\n", "\nx\n"),
        ("no end of the last", b"hello", "hello\n"),
        ("ends of DOS", b"a\r\nb\r\n", "a\nb\n"),
        ("commands are text", b"/ping\n/close 4001\n//x\n", "/ping\n/close 4001\n//x\n"),
        ("any script", "grüße 世界 👋\n".as_bytes(), "grüße 世界 👋\n"),
        ("nothing", b"", ""),
    ] {
        let output = run(&echo(&server), &[], input);
        assert_eq!(stdout(&output), lines, "{name}");
        assert_eq!(output.status.code(), Some(0), "{name}");
        let told: Vec<_> = stderr(&output).lines().collect();
        let connected = format!("chinwag: connected to {}", echo(&server));
        assert_eq!(told, [&connected, "chinwag: closed here, 1000 \"\""], "{name}");
    }
}

#[test]
fn many_lines_come_back_in_order() {
    let server = server();
    let input: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    for args in [&[][..], &["--compress"]] {
        let output = run(&echo(&server), args, input.as_bytes());
        assert!(stdout(&output) == input, "{} bytes of {}", output.stdout.len(), input.len());
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn an_answer_is_there_before_stdin_ends() {
    let server = server();
    let mut process = spawn(&echo(&server), &[]);
    let mut stdin = process.0.stdin.take().unwrap();
    let mut lines = BufReader::new(process.0.stdout.take().unwrap());
    for said in ["one\n", "two\n"] {
        stdin.write_all(said.as_bytes()).unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, said);
    }
    drop(stdin);
    assert_eq!(ended(process).status.code(), Some(0));
}

#[test]
fn numbers_at_their_ends_work() {
    let server = server();
    let ends = ["18446744073709551615ms", "1ms"];
    for (ping_period, wait) in ends.into_iter().flat_map(|end| ends.map(|other| (end, other))) {
        let args = [
            ["--ping-period", ping_period],
            ["--wait", wait],
            ["--timeout", ends[0]],
            ["--max-message-size", "18446744073709551615"],
        ];
        let output = run(&echo(&server), args.as_flattened(), b"hello\nclose 1000\n");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        // What comes later than it waits is not told.
        let is_patient = wait != "1ms";
        assert!(output.stdout == b"hello\n" || !is_patient, "{args:?}: {output:?}");
    }
    let args = ["--max-message-size", "0", "--wait", "5s"];
    let output = run(&echo(&server), &args, b"hello\n");
    assert!(stderr(&output).contains("1009"), "{}", stderr(&output));
}

#[test]
fn the_exit_status_tells_how_it_ended() {
    let server = server();
    let echo = echo(&server);
    let unbound = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, url, args, input, status, words) in [
        (
            "closed by the server",
            &*echo,
            &["--wait", "1h"][..],
            &b"close 1000\n"[..],
            0,
            "by the peer, 1000",
        ),
        ("with another code", &echo, &["--wait", "1h"], b"close 4001\n", 1, "by the peer, 4001"),
        ("refused", &format!("ws://{}/no", server.addr), &[], b"", 1, "status 404"),
        ("nobody there", &format!("ws://{unbound}/"), &[], b"", 1, "cannot connect"),
        ("no such host", "ws://no-such-host.invalid/", &[], b"", 1, "no address"),
        ("too large", &echo, &["--max-message-size", "3", "--wait", "1h"], b"hello\n", 1, "1009"),
        ("no URL of ours", "http://127.0.0.1/", &[], b"", 2, "ws://"),
        ("no TLS yet", "wss://127.0.0.1/", &[], b"", 2, "feature \"tls\""),
        ("no host in it", "ws://", &[], b"", 2, "no host"),
        ("no such option", &echo, &["--nonsense"], b"", 2, "--nonsense"),
        (
            "no time",
            &echo,
            &["--timeout", "0"],
            b"",
            2,
            "'--timeout <DURATION>': must be more than 0",
        ),
        (
            "too much time",
            &echo,
            &["--wait", "18446744073709551616ms"],
            b"",
            2,
            "'--wait <DURATION>'",
        ),
        ("too much room", &echo, &["--max-message-size", "17179869184G"], b"", 2, "too large"),
        ("no header", &echo, &["-H", "nonsense"], b"", 2, "Name: value"),
        ("a header of the handshake", &echo, &["-H", "Upgrade: h2c"], b"", 2, "may not be set"),
    ] {
        let output = run(url, args, input);
        assert_eq!(output.status.code(), Some(status), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{name}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{name}");
    }
}

#[test]
fn the_end_of_the_connection_ends_it_while_stdin_goes_on() {
    let server = server();
    let mut process = spawn(&echo(&server), &[]);
    let mut stdin = process.0.stdin.take().unwrap();
    stdin.write_all(b"close 1000\n").unwrap();
    assert_eq!(ended(process).status.code(), Some(0));
    drop(stdin);
}

#[test]
fn what_a_server_says_drives_no_terminal() {
    let server = server();
    let output = run(&echo(&server), &["--raw"], b"escapes\nclose 4001\n");
    assert_eq!(stdout(&output), "a\\nb\\u{1b}[2J\\u{9b}31m\\u{202e}\\u{7f}\n1b5b324a\n");
    let harmless = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
    assert!(stderr(&output).chars().all(harmless), "{:?}", stderr(&output));
    assert!(stderr(&output).contains("4001 \"bye\\u{1b}[2J\""), "{}", stderr(&output));
}

#[test]
fn what_was_asked_for_arrives() {
    let server = server();
    let output = run(
        &echo(&server),
        &[
            "--origin",
            "http://a.example",
            "-H",
            "Cookie: name=Ann",
            "-H",
            "X-A:b",
            "-s",
            "chat.v1",
            "-c",
        ],
        b"headers?\n",
    );
    assert_eq!(stdout(&output), "http://a.example name=Ann b\n");
    assert!(stderr(&output).contains(", subprotocol chat.v1, compressed\n"), "{}", stderr(&output));
}

#[test]
fn frames_are_shown_beside_the_messages() {
    let server = server();
    let output = run(&echo(&server), &["--raw"], b"Hello\n");
    assert_eq!(stdout(&output), "Hello\n");
    let told: Vec<_> = stderr(&output).lines().collect();
    let payload = "payload 48656c6c6f \"Hello\"";
    for (start, end) in [
        ("chinwag: -> FIN 1 RSV 000 opcode 1 text, length 5, key ", payload),
        ("chinwag: <- FIN 1 RSV 000 opcode 1 text, length 5, no key, ", payload),
        ("chinwag: -> FIN 1 RSV 000 opcode 8 close, length 2, key ", "payload 03e8 1000 \"\""),
        ("chinwag: <- FIN 1 RSV 000 opcode 8 close, length 2, no key, ", "payload 03e8 1000 \"\""),
    ] {
        let found = told.iter().any(|line| line.starts_with(start) && line.ends_with(end));
        assert!(found, "no {start}…{end} in {told:#?}");
    }
    let compressed = run(&echo(&server), &["--raw", "-c"], "again ".repeat(50).as_bytes());
    assert!(stderr(&compressed).contains("RSV 100 opcode 1 text"), "{}", stderr(&compressed));
}

#[test]
fn pings_are_timed() {
    let server = server();
    let mut process = spawn(&echo(&server), &["--raw", "--ping-period", "10ms"]);
    let stdin = process.0.stdin.take();
    let mut told = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let pong = told.find(|line| line.as_ref().unwrap().contains("opcode a pong")).unwrap().unwrap();
    assert!(pong.contains(", after ") && pong.ends_with('s'), "{pong}");
    drop(stdin);
    // Its notices have nobody to hear them any more.
    drop(told);
    assert_eq!(ended(process).status.code(), Some(0));
}

#[test]
fn binary_messages_are_hex() {
    let server = server();
    let output = run(&echo(&server), &["--binary"], b"00ff\n1b 5b\n\n");
    assert_eq!((stdout(&output), output.status.code()), ("00ff\n1b5b\n\n", Some(0)));
    let output = run(&echo(&server), &["--binary"], b"00\nxy\n01\n");
    assert_eq!((stdout(&output), output.status.code()), ("00\n", Some(1)));
    assert!(stderr(&output).contains("line 2 of stdin is not sent"), "{}", stderr(&output));
}

#[test]
fn what_is_no_utf_8_is_not_sent() {
    let server = server();
    let output = run(&echo(&server), &[], b"a\n\xff\nb\n");
    assert_eq!((stdout(&output), output.status.code()), ("a\n", Some(1)));
    assert!(stderr(&output).contains("line 2 of stdin"), "{}", stderr(&output));
}

#[test]
fn json_is_indented_where_that_is_asked_for() {
    let server = server();
    let output = run(&echo(&server), &["--json"], b"{\"b\":1,\"a\":[]}\nplain {\n");
    assert_eq!(stdout(&output), "{\n  \"b\": 1,\n  \"a\": []\n}\nplain {\n");
}

#[test]
fn who_stops_reading_ends_it() {
    let server = server();
    let mut process = spawn(&echo(&server), &[]);
    drop(process.0.stdout.take());
    let mut stdin = process.0.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    let output = ended(process);
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains("panic"), "{}", stderr(&output));
    drop(stdin);
}

/// A server for one connection, by hand: agrees, and does what `script` does.
fn by_hand<R: Send + 'static>(
    script: impl FnOnce(TcpStream) -> R + Send + 'static,
) -> (String, JoinHandle<R>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let mut head = BufReader::new(socket.try_clone().unwrap()).lines().map(Result::unwrap);
        let key = head.find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ").map(str::to_owned));
        assert_eq!(head.find(String::is_empty).as_deref(), Some(""));
        let accept = accept_key(&key.unwrap());
        let accept = str::from_utf8(&accept).unwrap();
        write!(
            socket,
            "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .unwrap();
        script(socket)
    });
    (url, thread)
}

#[test]
fn what_arrives_after_our_close_is_printed_until_the_peers() {
    let (url, server) = by_hand(|mut socket| {
        let mut close = [0; 8];
        socket.read_exact(&mut close).unwrap();
        assert_eq!(close[..2], [0x88, 0x82], "a Close, masked");
        socket.write_all(b"\x81\x04late\x01\x03ver\x80\x01y\x88\x02\x03\xe8").unwrap();
    });
    let output = run(&url, &[], b"");
    server.join().unwrap();
    assert_eq!((stdout(&output), output.status.code()), ("late\nvery\n", Some(0)));
}

#[test]
fn a_connection_that_is_cut_is_no_normal_end() {
    for (name, wire) in [
        ("after our Close", &b""[..]),
        ("before any", b"\x81\x02hi"),
        ("in a message", b"\x81\x7dhi"),
        ("by a broken rule", b"\x83\x00"),
    ] {
        let (url, server) = by_hand(move |mut socket| {
            socket.write_all(wire).unwrap();
            // Where there is nothing to send, it waits for our Close.
            if wire.is_empty() {
                socket.read_exact(&mut [0; 8]).unwrap();
            }
        });
        let mut process = spawn(&url, &[]);
        let stdin = process.0.stdin.take().filter(|_| !wire.is_empty());
        let output = ended(process);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        server.join().unwrap();
        drop(stdin);
    }
}

#[test]
fn it_may_stay_for_a_while_after_stdin_has_ended() {
    let (url, server) = by_hand(|mut socket| {
        // A server that takes its time, and drops what it was asked when it is told to close.
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).unwrap();
        assert_eq!(asked[..2], [0x81, 0x82], "a text, masked");
        socket.set_nonblocking(true).unwrap();
        let mut next = [0; 8];
        let told_to_close = socket.read(&mut next).is_ok();
        socket.set_nonblocking(false).unwrap();
        socket.write_all(b"\x81\x06answer\x88\x02\x03\xe8").unwrap();
        told_to_close
    });
    let output = run(&url, &["--wait", "1h"], b"hi\n");
    assert_eq!((stdout(&output), output.status.code()), ("answer\n", Some(0)));
    assert!(!server.join().unwrap(), "it was not told to close");
}
