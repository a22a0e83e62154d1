//! A client and a server that mean well.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use chinwag::{
    CloseCause, CloseCode, Frame, Limits, Message, Opcode, Peer, Request, Route, Router, SendError,
    Service,
    client::{self, Client, ClientBuilder, ConnectError, Refusal, TimedOut, UrlError},
};

use crate::support::{DEADLINE, Running, eventually};

/// Echoes; says which headers it saw, closes or falls silent when asked to.
struct Does {
    saw: String,
}

impl Service for Does {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        match &message {
            Message::Text(text) if &**text == "headers?" => peer.send(&self.saw).unwrap(),
            Message::Text(text) if &**text == "close!" => {
                peer.send("last words").unwrap();
                peer.close(CloseCode(4001), "as you wish").unwrap();
            }
            Message::Text(text) if &**text == "ping!" => peer.ping(b"there?").unwrap(),
            _ => peer.send(message).unwrap(),
        }
    }
}

/// Sends every frame back, and answers what is to be answered.
struct Raw;

impl Service for Raw {
    fn frame(&mut self, peer: &mut Peer<'_>, mut frame: Frame<'_>) {
        if frame.opcode == Opcode::Ping {
            frame.opcode = Opcode::Pong;
        }
        peer.send_frame(frame).ok();
    }
}

fn router() -> Router {
    let does = |request: &Request<'_>| {
        let header = |name| request.header(name).unwrap_or("-").to_owned();
        Does { saw: format!("{} {} {}", header("Host"), header("Origin"), header("Cookie")) }
    };
    Router::new()
        .allow_origins(chinwag::Origins::Any)
        .service("/echo", does)
        .route("/chat", Route::new(does).protocols(["chat.v2", "chat.v1"]))
        .service_raw("/raw", |_: &Request<'_>| Raw)
}

fn url(server: &Running, path: &str) -> String {
    format!("ws://{}{path}", server.addr)
}

/// A client whose waits end.
fn connect(server: &Running, path: &str) -> Client {
    builder().connect(&url(server, path)).unwrap()
}

fn builder() -> ClientBuilder {
    Client::builder().read_timeout(Some(DEADLINE))
}

fn said(text: &str) -> Result<Option<Message<'_>>, TimedOut> {
    Ok(Some(text.into()))
}

fn refusal(error: ConnectError) -> Refusal {
    match error {
        ConnectError::Refused(refusal) => *refusal,
        other => panic!("not refused: {other}"),
    }
}

#[test]
fn what_is_sent_comes_back() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let long = "x".repeat(len);
        client.send(&long).unwrap();
        assert_eq!(client.recv(), said(&long));
        client.send(long.as_bytes()).unwrap();
        assert_eq!(client.recv(), Ok(Some(long.as_bytes().into())));
    }
    assert_eq!((client.protocol(), client.compression()), (None, None));
}

#[test]
fn a_close_of_ours_goes_to_its_end() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    client.send("never heard").unwrap();
    let reason = client.close(CloseCode::NORMAL, "done").unwrap();
    assert_eq!((reason.cause, reason.code), (CloseCause::Local, CloseCode::NORMAL));
    assert_eq!(&*reason.text, "done");
    assert_eq!(client.recv(), Ok(None));
    assert_eq!(client.send("more"), Err(SendError::NotOpen));
    assert_eq!(client.ping(b""), Err(SendError::NotOpen));
    assert_eq!(client.close(CloseCode(4000), "again").unwrap(), reason, "the first cause stays");
    eventually("the server is done too", || server.open() == 0);
}

#[test]
fn only_a_connection_that_ended_by_a_close_each_way_was_clean() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    assert!(!client.was_clean(), "it has not ended");
    client.close(CloseCode::NORMAL, "").unwrap();
    assert!(client.was_clean());

    let mut client = connect(&server, "/echo");
    client.send("close!").unwrap();
    while let Ok(Some(_)) = client.recv() {}
    assert!(client.was_clean());

    let mut client = connect(&server, "/echo");
    client.stream().shutdown(Shutdown::Both).unwrap();
    assert_eq!(client.recv(), Ok(None));
    assert!(!client.was_clean());
}

#[test]
fn a_half_sends_all_that_a_client_does() {
    let server = Running::router(router());
    let (mut sender, mut receiver) = connect(&server, "/echo").split().unwrap();
    // A text that is masked with zeros, as it goes over the wire.
    sender.send_wire(b"\x81\x85\0\0\0\0Hello").unwrap();
    assert_eq!(receiver.recv(), said("Hello"));
    assert_eq!(sender.ping(&[0; 126]), Err(SendError::ControlTooLong { len: 126 }));
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(sender.send_wire(b"\x81\x80\0\0\0\0"), Err(SendError::NotOpen));
    assert_eq!(receiver.recv(), Ok(None));

    let client = builder().connect_raw(&url(&server, "/raw")).unwrap();
    let (mut sender, mut receiver) = client.split().unwrap();
    sender.ping(b"there?").unwrap();
    sender.send_frame(&Frame::new(Opcode::Binary, b"Hello")).unwrap();
    for (opcode, payload) in [(Opcode::Pong, b"there?".as_slice()), (Opcode::Binary, b"Hello")] {
        let frame = receiver.recv().unwrap().unwrap();
        assert_eq!((frame.opcode, &frame.payload[..]), (opcode, payload));
    }
}

#[test]
fn halves_show_their_stream_and_nothing_that_was_said() {
    let server = Running::router(router());
    let client = connect(&server, "/echo");
    let socket = format!("{:?}", client.stream());
    let (sender, receiver) = client.split().unwrap();
    for shown in [format!("{sender:?}"), format!("{receiver:?}")] {
        assert!(shown.contains("TcpStream") && shown.len() < 3 * socket.len(), "{shown}");
    }
    assert_eq!(TimedOut.to_string(), "nothing came in time");
    assert_eq!(io::Error::from(TimedOut).kind(), io::ErrorKind::TimedOut);
}

#[cfg(feature = "json")]
#[test]
fn values_are_sent_and_received() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    client.send_as(&[1, 2]).unwrap();
    assert_eq!(client.recv_as::<[u8; 2]>().unwrap().unwrap().unwrap(), [1, 2]);
    client.send("no JSON").unwrap();
    assert!(client.recv_as::<[u8; 2]>().unwrap().unwrap().is_err());
    let (mut sender, mut receiver) = client.split().unwrap();
    sender.send_as("Hello").unwrap();
    assert_eq!(receiver.recv_as::<String>().unwrap().unwrap().unwrap(), "Hello");
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(receiver.recv_as::<String>().unwrap().is_none());
}

#[test]
fn a_close_that_may_not_be_sent_leaves_the_connection_open() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    let code = CloseCode::ABNORMAL;
    assert_eq!(client.close(code, ""), Err(SendError::InvalidCloseCode { code: 1006 }));
    let long = "x".repeat(124);
    assert_eq!(client.close(CloseCode::NORMAL, &long), Err(SendError::ReasonTooLong { len: 124 }));
    assert_eq!(client.ping(long.as_bytes()), Ok(()));
    assert_eq!(client.ping(&[0; 126]), Err(SendError::ControlTooLong { len: 126 }));
    client.send("still here").unwrap();
    assert_eq!(client.recv(), said("still here"));
}

#[test]
fn a_close_of_the_servers_is_answered_and_told_behind_its_last_words() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    client.send("close!").unwrap();
    assert_eq!(client.recv(), said("last words"));
    assert_eq!(client.recv(), Ok(None));
    let reason = client.close_reason().unwrap();
    assert_eq!((reason.cause, reason.code), (CloseCause::Peer, CloseCode(4001)));
    assert_eq!(&*reason.text, "as you wish");
    eventually("the server had its answer", || server.counters.ended.get() == 1);
}

#[test]
fn a_server_that_stops_is_told_from_one_that_vanishes() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    server.stopper.stop();
    assert_eq!(client.recv(), Ok(None));
    assert_eq!(client.close_reason().unwrap().code, CloseCode::GOING_AWAY);
}

#[test]
fn two_threads_send_and_receive_at_once() {
    const MESSAGES: usize = 500;
    let server = Running::router(router());
    let (mut sender, mut receiver) = connect(&server, "/echo").split().unwrap();
    // More than the sockets hold: a client that only sent would never end.
    let long = "long ".repeat(10_000);
    let sends = thread::spawn(move || {
        for number in 0..MESSAGES {
            sender.send(format!("{number} {long}")).unwrap();
            if number % 100 == 0 {
                sender.ping(b"there?").unwrap();
                sender.send("ping!").unwrap();
            }
        }
        sender.close(CloseCode::NORMAL, "").unwrap();
        sender
    });
    for number in 0..MESSAGES {
        match receiver.recv().unwrap() {
            Some(Message::Text(text)) => {
                assert!(text.starts_with(&format!("{number} ")), "{number}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(receiver.recv(), Ok(None));
    let sender = sends.join().unwrap();
    assert_eq!(sender.close_reason(), receiver.close_reason());
    assert_eq!(receiver.close_reason().unwrap().cause, CloseCause::Local);
}

#[test]
fn a_wait_may_end_and_the_connection_goes_on() {
    let server = Running::router(router());
    let mut client = connect(&server, "/echo");
    client.set_read_timeout(Some(Duration::from_millis(20)));
    let begun = Instant::now();
    assert_eq!(client.recv(), Err(TimedOut));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    client.set_read_timeout(Some(DEADLINE));
    client.send("still here").unwrap();
    assert_eq!(client.recv(), said("still here"));
}

#[test]
fn what_is_asked_for_arrives() {
    let server = Running::router(router());
    let mut client = builder()
        .origin("https://example.org")
        .header("Cookie", "name=Ann")
        .protocol("chat.v3")
        .protocol("chat.v1")
        .protocol("chat.v2")
        .connect(&url(&server, "/chat"))
        .unwrap();
    assert_eq!(client.protocol(), Some("chat.v2"), "the server's order counts");
    assert!(client.headers().any(|(name, _)| name == "Sec-WebSocket-Accept"));
    client.send("headers?").unwrap();
    let host = server.addr.to_string();
    assert_eq!(client.recv(), said(&format!("{host} https://example.org name=Ann")));
}

#[test]
fn what_may_not_be_asked_for_is_not_sent() {
    let nobody = "ws://127.0.0.1:1/";
    for (name, builder, url) in [
        ("a line end", builder().header("Cookie", "a\r\nHost: b"), nobody),
        ("a header of the handshake", builder().header("sec-websocket-key", "x"), nobody),
        ("a header name with a space", builder().header("a b", "x"), nobody),
        ("a subprotocol that is no token", builder().protocol("a b"), nobody),
        ("a subprotocol twice", builder().protocol("a").protocol("a"), nobody),
        ("a space in the path", builder(), "ws://127.0.0.1:1/a b"),
        ("no host", builder(), "ws://a,b:1/"),
    ] {
        let error = builder.connect(url).unwrap_err();
        assert!(matches!(error, ConnectError::Request(_)), "{name}: {error}");
    }
    assert!(matches!(builder().connect("ws://a/#b"), Err(ConnectError::Url(UrlError::Fragment))));
    let error = builder().connect("wss://127.0.0.1:1/").unwrap_err();
    assert!(error.to_string().contains("feature \"tls\""), "{error}");
}

#[test]
fn nobody_who_listens_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(client::connect(&url), Err(ConnectError::Connect(_))));
    let name = "ws://no-such-host.invalid/";
    assert!(matches!(client::connect(name), Err(ConnectError::Resolve(_))));
}

#[test]
fn a_refusal_says_what_the_server_answered() {
    let server = Running::router(router());
    let refused = refusal(client::connect(&url(&server, "/nowhere")).unwrap_err());
    assert_eq!((refused.status, refused.header("connection")), (404, Some(&b"close"[..])));
    assert_eq!(refused.body.trim(), "there is nothing at this path");

    let own = Running::router(Router::new().service("/echo", |_: &Request<'_>| Raw));
    let error = builder().origin("http://elsewhere.example").connect(&url(&own, "/echo"));
    let error = error.unwrap_err();
    assert!(error.to_string().starts_with("the server answered with status 403"), "{error}");
    let refused = refusal(error);
    assert_eq!(refused.status, 403);
    assert!(!refused.body.is_empty());
}

#[test]
fn frames_are_seen_and_answered_by_hand_in_raw_mode() {
    let server = Running::router(router());
    let mut client = builder().connect_raw(&url(&server, "/raw")).unwrap();
    let mut first = Frame::new(Opcode::Text, b"Hel");
    first.fin = false;
    client.send_frame(&first).unwrap();
    assert_eq!(client.send("in between"), Err(SendError::IllegalFrame));
    client.ping(b"there?").unwrap();
    client.send_frame(&Frame::new(Opcode::Continuation, b"lo")).unwrap();
    let mut heard = Vec::new();
    for _ in 0..3 {
        let frame = client.recv().unwrap().unwrap();
        heard.push((frame.opcode, frame.fin, frame.payload.to_vec()));
    }
    assert_eq!(
        heard,
        [
            (Opcode::Text, false, b"Hel".to_vec()),
            (Opcode::Pong, true, b"there?".to_vec()),
            (Opcode::Continuation, true, b"lo".to_vec()),
        ]
    );
    client.send_frame(&Frame::new(Opcode::Close, b"\x03\xe8")).unwrap();
    assert_eq!(client.recv().unwrap().unwrap().opcode, Opcode::Close);
    assert_eq!(client.recv(), Ok(None));
}

#[test]
fn compression_is_offered_agreed_on_and_used() {
    use chinwag::{Deflate, Server};

    let settings = |takeover, bits| Deflate {
        min_len: 0,
        server_window_bits: bits,
        client_window_bits: bits,
        server_takeover: takeover,
        client_takeover: takeover,
        ..Deflate::default()
    };
    for (takeover, bits) in [(false, 15), (true, 15), (false, 9), (true, 10), (true, 12)] {
        let both = settings(takeover, bits);
        let server =
            Running::start(Server::builder().router(router()).deflate(both.clone()).workers(1));
        let mut client = builder().deflate(both).connect(&url(&server, "/echo")).unwrap();
        let agreed = client.compression().expect("it is agreed on");
        assert_eq!((agreed.client_takeover, agreed.server_takeover), (takeover, takeover));
        assert_eq!((agreed.client_window_bits, agreed.server_window_bits), (bits, bits));
        for round in 0..50 {
            let long = format!("{round} again ").repeat(1_000);
            client.send(&long).unwrap();
            assert_eq!(client.recv(), said(&long));
        }
    }
    let plain = Running::router(router());
    let client = builder().deflate(settings(true, 15)).connect(&url(&plain, "/echo")).unwrap();
    assert_eq!(client.compression(), None, "the server declines");
}

#[test]
fn limits_hold_for_what_the_server_sends() {
    let server = Running::router(router());
    let limits = Limits { max_message: 1_000, ..Limits::default() };
    let mut client = builder().limits(limits).connect(&url(&server, "/echo")).unwrap();
    client.send("x".repeat(1_001)).unwrap();
    assert_eq!(client.recv(), Ok(None));
    let reason = client.close_reason().unwrap();
    assert_eq!(reason.code, CloseCode::MESSAGE_TOO_BIG);
}

#[test]
fn a_client_may_talk_over_a_unix_socket() {
    // The server has none of these: a thread carries bytes from one to the other.
    let server = Running::router(router());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let tcp = TcpStream::connect(server.addr).unwrap();
    let (mut from, mut to) = (theirs.try_clone().unwrap(), tcp.try_clone().unwrap());
    thread::spawn(move || io::copy(&mut from, &mut to));
    let (mut from, mut to) = (tcp, theirs);
    thread::spawn(move || {
        io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Both)
    });
    let mut client = builder().connect_over(ours, "ws://localhost/echo").unwrap();
    client.send("over there").unwrap();
    assert_eq!(client.recv(), said("over there"));
    assert_eq!(client.close(CloseCode::NORMAL, "").unwrap().code, CloseCode::NORMAL);
}

#[test]
fn a_unix_socket_waits_no_longer_than_it_may() {
    const SHORT: Duration = Duration::from_millis(50);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let answers = thread::spawn(move || {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            theirs.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        theirs.write_all(crate::lies::agree(key, "").as_bytes()).unwrap();
        theirs
    });
    let client = builder()
        .read_timeout(Some(SHORT))
        .write_timeout(SHORT)
        .connect_over(ours, "ws://localhost/")
        .unwrap();
    let mut theirs = answers.join().unwrap();
    let (mut sender, mut receiver) = client.split().unwrap();
    assert_eq!(receiver.recv(), Err(TimedOut));
    // It takes nothing.
    while sender.send("x".repeat(1 << 16)).is_ok() {}
    let cause = sender.close_reason().unwrap().cause;
    assert_eq!(cause, CloseCause::Timeout(chinwag::protocol::close::Timeout::Write));
    // Both sides were ended, though both halves are there.
    receiver.set_read_timeout(Some(DEADLINE));
    assert_eq!(receiver.recv(), Ok(None));
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    theirs.read_to_end(&mut Vec::new()).unwrap();
}

/// A stream that can do no more than read and write.
#[derive(Debug)]
struct Bare(TcpStream);

impl Read for Bare {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Bare {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever writes must not count on all of it being taken.
        self.0.write(&bytes[..bytes.len().min(3)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl client::Stream for Bare {}

#[test]
fn any_stream_that_reads_and_writes_will_do() {
    let server = Running::router(router());
    let socket = TcpStream::connect(server.addr).unwrap();
    // The scheme is the caller's affair: this may be TLS as well.
    let mut client = builder().connect_over(Bare(socket), "wss://localhost/echo").unwrap();
    client.send("bare").unwrap();
    assert_eq!(client.recv(), said("bare"));
    client.send("close!").unwrap();
    assert_eq!(client.recv(), said("last words"));
    assert_eq!(client.recv(), Ok(None));

    let socket = TcpStream::connect(server.addr).unwrap();
    let client = builder().connect_over(Bare(socket), "ws://localhost/echo").unwrap();
    assert_eq!(client.split().unwrap_err().kind(), io::ErrorKind::Unsupported);
}
