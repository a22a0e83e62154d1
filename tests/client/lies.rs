//! Servers that break rules, dribble, fall silent, or do not read: scripted by hand.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use chinwag::{
    CloseCause, CloseCode, Limits, Message, Timeouts,
    client::{Client, ClientBuilder, ConnectError, TimedOut},
    protocol::{
        close::Timeout,
        handshake::{HandshakeError, ResponseError, accept_key},
    },
};

use crate::support::DEADLINE;

/// A server for one connection: reads the request and does what `script` does with its key.
pub fn server<R: Send + 'static>(
    script: impl FnOnce(TcpStream, &str) -> R + Send + 'static,
) -> (String, JoinHandle<R>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        script(socket, key)
    });
    (url, thread)
}

/// An answer that agrees, with `more` headers.
pub fn agree(key: &str, more: &str) -> String {
    let accept = String::from_utf8(accept_key(key).to_vec()).unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

/// A server that agrees and then does what `script` does.
pub fn agreeable<R: Send + 'static>(
    script: impl FnOnce(TcpStream) -> R + Send + 'static,
) -> (String, JoinHandle<R>) {
    server(move |mut socket, key| {
        socket.write_all(agree(key, "").as_bytes()).unwrap();
        script(socket)
    })
}

pub fn builder() -> ClientBuilder {
    Client::builder().read_timeout(Some(DEADLINE)).protocol("chat")
}

/// Deadlines that tests can wait for, where `change` says.
pub fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts { ping_period: None, ..Timeouts::default() };
    change(&mut timeouts);
    timeouts
}

pub const SHORT: Duration = Duration::from_millis(50);

/// What a client says to a server that answers `answer`.
fn verdict(answer: impl FnOnce(&str) -> String + Send + 'static) -> ConnectError {
    let (url, server) = server(move |mut socket, key| {
        socket.write_all(answer(key).as_bytes()).ok();
        // The end of the answer, as the client sees it.
        socket.shutdown(Shutdown::Write).ok();
        socket
    });
    let error = builder().connect(&url).expect_err("it is no answer to the request");
    drop(server.join().unwrap());
    error
}

#[test]
fn who_agrees_to_what_was_not_asked_for_is_given_up() {
    use ResponseError as E;
    let unoffered = "permessage-deflate";
    for (name, change, expected) in [
        ("another key's accept", ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"), E::Accept),
        ("no accept", ("Sec-WebSocket-Accept", "X-Accept"), E::Accept),
        ("another protocol's upgrade", ("Upgrade: websocket", "Upgrade: h2c"), E::Upgrade),
        ("a closing connection", ("Connection: Upgrade", "Connection: close"), E::Connection),
        (
            "a subprotocol not offered",
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
            E::Protocol,
        ),
        (
            "an extension not offered",
            ("\r\n\r\n", &*format!("\r\nSec-WebSocket-Extensions: {unoffered}\r\n\r\n")),
            E::Extensions,
        ),
    ] {
        let (from, to) = (change.0.to_owned(), change.1.to_owned());
        match verdict(move |key| agree(key, "").replace(&from, &to)) {
            ConnectError::Response(error) => assert_eq!(error, expected, "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn who_answers_an_offer_of_compression_with_something_else_is_given_up() {
    use chinwag::Deflate;

    for answer in [
        "permessage-deflate; server_max_window_bits=15; server_no_context_takeover",
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; nonsense",
        "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
        "x-webkit-deflate-frame",
        ";",
    ] {
        let (url, server) = server(move |mut socket, key| {
            let header = format!("Sec-WebSocket-Extensions: {answer}\r\n");
            socket.write_all(agree(key, &header).as_bytes()).unwrap();
            socket
        });
        let error = builder().deflate(Deflate::default()).connect(&url).expect_err(answer);
        assert!(
            matches!(
                error,
                ConnectError::Extensions(_) | ConnectError::Response(ResponseError::Extensions)
            ),
            "{answer}: {error}"
        );
        drop(server.join().unwrap());
    }
}

#[test]
fn who_does_not_speak_http_is_given_up() {
    for (name, answer, words) in [
        ("TLS", "\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
        ("mail", "220 mail.example.org ESMTP\r\n\r\n", "not HTTP/1.1"),
        ("HTTP/1.0", "HTTP/1.0 101 Switching Protocols\r\n\r\n", "not HTTP/1.1"),
        ("nothing", "", "instead of answering"),
        ("half an answer", "HTTP/1.1 101 Switch", "instead of answering"),
        ("a folded header", "HTTP/1.1 101 OK\r\na: b\r\n c\r\n\r\n", "folded"),
    ] {
        let error = verdict(move |_| answer.to_owned());
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

/// What becomes of a connection to a server that sends `before` and then agrees, in writes of `piece`
/// bytes.
fn interim(before: &str, piece: usize) -> Result<(), ConnectError> {
    let before = before.to_owned();
    let (url, server) = server(move |mut socket, key| {
        socket.set_nodelay(true).unwrap();
        let answer = before + &agree(key, "") + "\x01\x05Hello\0\0";
        for piece in answer.as_bytes().chunks(piece) {
            socket.write_all(piece).ok();
        }
        socket.write_all(b"\x80\0").ok();
        socket
    });
    let connected = builder().connect(&url);
    let heard = connected.map(|mut client| assert_eq!(client.recv(), Ok(Some("Hello".into()))));
    drop(server.join().unwrap());
    heard
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    for (name, before) in [
        ("none", String::new()),
        ("100", go_on.into()),
        ("102", "HTTP/1.1 102 Processing\r\n\r\n".into()),
        ("103", early.into()),
        ("one that nobody knows", "HTTP/1.1 199 \r\n\r\n".into()),
        ("several", [go_on, early, early].concat()),
        ("as many as there may be", go_on.repeat(16)),
    ] {
        for piece in [usize::MAX, 1, 50] {
            interim(&before, piece).unwrap_or_else(|error| panic!("{name}, {piece}: {error}"));
        }
    }
    let error = interim(&go_on.repeat(17), usize::MAX).unwrap_err();
    assert!(matches!(error, ConnectError::Interim), "{error}");
    assert!(!error.may_pass());
    assert!(error.to_string().contains("1xx"), "{error}");
    let refused = verdict(move |_| format!("{go_on}HTTP/1.1 404 Not Found\r\n\r\n"));
    assert!(matches!(refused, ConnectError::Refused(refusal) if refusal.status == 404));
    assert!(matches!(verdict(move |_| go_on.into()), ConnectError::Ended));
}

#[test]
fn all_heads_of_an_answer_together_are_within_the_limit_of_one() {
    let early = |len: usize| {
        let (start, end) = ("HTTP/1.1 103 Early Hints\r\nLink: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(len - start.len() - end.len()))
    };
    let limit = Limits::default().max_head;
    let final_len = agree("dGhlIHNhbXBsZSBub25jZQ==", "").len();
    let left = limit - final_len;
    for piece in [usize::MAX, 1_000] {
        for before in [left, left - 1] {
            let before = early(before / 2) + &early(before - before / 2);
            interim(&before, piece).unwrap();
        }
        let before = early(left / 2) + &early(left + 1 - left / 2);
        match interim(&before, piece).unwrap_err() {
            ConnectError::Head(HandshakeError::HeadTooLong { max }) => assert_eq!(max, limit),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_huge_head_is_not_read_to_its_end() {
    let endless = |piece: &'static str| {
        let (url, server) = server(move |mut socket, _| {
            socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").unwrap();
            let mut sent = 0_usize;
            while socket.write_all(piece.as_bytes()).is_ok() {
                sent += piece.len();
                assert!(sent < 1 << 30, "the client still listens");
            }
        });
        let error = builder().connect(&url).unwrap_err();
        server.join().unwrap();
        error
    };
    for (name, piece) in [("headers", "a: b\r\n"), ("a header", "aaaaaaaaaaaaaaaa")] {
        let error = endless(piece);
        assert!(matches!(error, ConnectError::Head(_)), "{name}: {error}");
    }
    let limits = Limits { max_headers: 5, ..Limits::default() };
    let (url, server) = server(|mut socket, key| {
        socket.write_all(agree(key, "a: b\r\nc: d\r\ne: f\r\n").as_bytes()).unwrap();
        socket
    });
    let error = builder().limits(limits).connect(&url).expect_err("there are six");
    drop(server.join().unwrap());
    assert!(matches!(error, ConnectError::Head(_)), "{error}");
}

#[test]
fn who_dribbles_or_says_nothing_meets_the_deadline() {
    for dribbles in [false, true] {
        let (url, server) = server(move |mut socket, _| {
            socket.write_all(b"HTTP/1.1 101 OK\r\na: ").unwrap();
            while dribbles && socket.write_all(b"b").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
            // Until the client leaves.
            socket.read_to_end(&mut Vec::new()).ok();
        });
        let begun = Instant::now();
        let brief = timeouts(|timeouts| timeouts.handshake = SHORT);
        let error = builder().timeouts(brief).connect(&url).unwrap_err();
        assert!(matches!(error, ConnectError::Timeout), "{error}");
        assert!((SHORT..DEADLINE).contains(&begun.elapsed()));
        server.join().unwrap();
    }
}

#[test]
fn a_refusals_text_is_cut_short_and_needs_no_end() {
    let plain = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\n";
    for (name, answer, body) in [
        ("with its length", format!("{plain}Content-Length: 5\r\n\r\nno\x1b[m!"), "no\x1b[m"),
        ("to the end", format!("{plain}\r\nnot you"), "not you"),
        ("shorter than it says", format!("{plain}Content-Length: 50\r\n\r\nnot you"), "not you"),
        ("long", format!("{plain}\r\n{}", "x".repeat(5_000)), &*"x".repeat(1_024)),
        ("in pieces", format!("{plain}Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"), ""),
        ("a page", "HTTP/1.1 403 No\r\nContent-Type: text/html\r\n\r\n<p>".into(), ""),
    ] {
        let error = verdict(move |_| answer);
        assert!(!error.to_string().contains(char::is_control), "{name}: {error}");
        match error {
            ConnectError::Refused(refusal) => assert_eq!(refusal.body, body, "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn a_refusals_text_may_come_bit_by_bit() {
    let (url, server) = server(|mut socket, _| {
        socket.set_nodelay(true).unwrap();
        let head =
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n";
        for piece in [head, "n", "ot", " you", " nor you"] {
            socket.write_all(piece.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        socket
    });
    match builder().connect(&url).unwrap_err() {
        ConnectError::Refused(refusal) => assert_eq!(refusal.body, "not you"),
        other => panic!("{other}"),
    }
    drop(server.join().unwrap());
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    let error = verdict(|_| {
        "HTTP/1.1 302 Found\r\nLocation: ws://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"
            .into()
    });
    assert_eq!(
        error.to_string(),
        "the server answered with status 302: it is found elsewhere, at ws://elsewhere.example/"
    );
    assert!(!error.may_pass());
}

/// The frames that a client sent: first bytes and payloads, unmasked; all are masked (§5.1).
fn frames(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, len, rest @ ..] = wire {
        assert!(len & 0x80 != 0, "it is masked");
        let len = usize::from(len & 0x7f);
        assert!(len < 126, "tests send short ones");
        let (key, rest) = rest.split_at(4);
        let (payload, rest) = rest.split_at(len);
        let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        frames.push((*first, payload.collect()));
        wire = rest;
    }
    assert!(wire.is_empty(), "a frame is cut off");
    frames
}

#[test]
fn who_breaks_a_rule_of_frames_is_told_with_its_code_and_drained() {
    for (name, wire, code) in [
        ("a masked frame", &b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..], 1002),
        ("a reserved bit", b"\xc1\x05Hello", 1002),
        ("a reserved opcode", b"\x83\x00", 1002),
        ("a continuation of nothing", b"\x80\x00", 1002),
        ("a close code that never travels", b"\x88\x02\x03\xee", 1002),
        ("no UTF-8", b"\x81\x01\xff", 1007),
        ("more than a message may have", b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00", 1009),
    ] {
        let (url, server) = agreeable(move |mut socket| {
            socket.write_all(wire).unwrap();
            // More than a socket holds: who did not read on would reset the connection.
            socket.write_all(&vec![0; 4 << 20]).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            socket.read_to_end(&mut heard).expect("the connection is not reset");
            heard
        });
        let mut client = builder().connect(&url).unwrap();
        assert_eq!(client.recv(), Ok(None), "{name}");
        let reason = client.close_reason().unwrap();
        assert!(matches!(reason.cause, CloseCause::Protocol(_)), "{name}: {reason}");
        assert_eq!(reason.code, CloseCode(code), "{name}");
        let [(0x88, close)] = &frames(&server.join().unwrap())[..] else {
            panic!("{name}: more than a Close, or none")
        };
        assert_eq!(close[..2], code.to_be_bytes(), "{name}");
    }
}

#[test]
fn after_a_failure_our_side_of_tcp_ends_first() {
    let (url, server) = agreeable(|mut socket| {
        socket.write_all(b"\x83\x00").unwrap();
        // It ends once the client has ended its side.
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).expect("our side ends in time");
        heard.len()
    });
    let patient = timeouts(|timeouts| timeouts.close = 2 * DEADLINE);
    let mut client = builder().timeouts(patient).connect(&url).unwrap();
    assert_eq!(client.recv(), Ok(None));
    assert!(server.join().unwrap() > 0, "a Close");
}

#[test]
fn what_came_right_behind_the_head_is_not_lost() {
    let (url, server) = server(|mut socket, key| {
        let mut answer = agree(key, "").into_bytes();
        answer.extend(b"\x81\x05Hello\x89\x01?\x88\x02\x03\xe8");
        socket.write_all(&answer).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).unwrap();
        heard
    });
    let mut client = builder().connect(&url).unwrap();
    assert_eq!(client.recv(), Ok(Some("Hello".into())));
    assert_eq!(client.recv(), Ok(None));
    assert_eq!(client.close_reason().unwrap().cause, CloseCause::Peer);
    drop(client);
    let heard = frames(&server.join().unwrap());
    assert_eq!(heard, [(0x8a, b"?".to_vec()), (0x88, b"\x03\xe8".to_vec())]);
}

#[test]
fn masks_are_never_the_same() {
    let (url, server) = agreeable(|mut socket| {
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).unwrap();
        heard
    });
    let mut client = builder().connect(&url).unwrap();
    for _ in 0..100 {
        client.ping(b"").unwrap();
    }
    drop(client);
    let heard = server.join().unwrap();
    let keys: std::collections::HashSet<_> = heard.chunks(6).map(|frame| &frame[2..]).collect();
    assert!((99..=100).contains(&keys.len()), "{} keys of 100", keys.len());
}

#[test]
fn a_connection_that_vanishes_is_1006() {
    let (url, server) = agreeable(drop);
    let mut client = builder().connect(&url).unwrap();
    server.join().unwrap();
    assert_eq!(client.recv(), Ok(None));
    let reason = client.close_reason().unwrap();
    assert_eq!((reason.cause, reason.code), (CloseCause::Lost, CloseCode::ABNORMAL));
}

#[test]
fn who_does_not_answer_a_ping_is_closed() {
    let (url, server) = agreeable(|mut socket| {
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).unwrap();
        heard
    });
    let brief = timeouts(|timeouts| {
        timeouts.ping_period = Some(SHORT);
        timeouts.pong = SHORT;
    });
    let mut client = builder().timeouts(brief).connect(&url).unwrap();
    assert_eq!(client.recv(), Ok(None));
    let reason = client.close_reason().unwrap();
    assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Pong));
    let heard = frames(&server.join().unwrap());
    assert_eq!((heard.len(), heard[0].0), (2, 0x89));
    assert_eq!(heard[1], (0x88, b"\x03\xf3Ping timeout".to_vec()));
}

/// Writes `flood` over and over until the client leaves, or has stayed for far too long.
fn flood(mut socket: &TcpStream, flood: &[u8]) {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE / 4 && socket.write_all(flood).is_ok() {}
}

#[test]
fn a_read_timeout_is_kept_whatever_else_arrives() {
    for (name, once, over_and_over) in [
        ("Pings", &b""[..], &b"\x89\0"[..]),
        ("Pongs", b"", b"\x8a\0"),
        ("fragments", b"\x01\0", b"\0\0"),
        ("a long message", b"\x82\x7f\0\0\x01\0\0\0\0\0", b"xx"),
    ] {
        for split in [false, true] {
            let (url, server) = agreeable(move |mut socket| {
                socket.write_all(once).unwrap();
                flood(&socket, &over_and_over.repeat(10_000));
            });
            let limits = Limits {
                max_frame: usize::MAX,
                max_message: usize::MAX,
                max_fragments: u32::MAX,
                ..Limits::default()
            };
            let brief = builder().limits(limits).read_timeout(Some(SHORT));
            let client = brief.connect(&url).unwrap();
            let begun = Instant::now();
            let received = match split {
                false => { client }.recv(),
                true => {
                    let (_sender, mut receiver) = client.split().unwrap();
                    receiver.recv()
                }
            };
            assert_eq!(received, Err(TimedOut), "{name}");
            assert!((SHORT..DEADLINE / 4).contains(&begun.elapsed()), "{name}");
            server.join().unwrap();
        }
    }
}

#[test]
fn who_floods_and_does_not_answer_a_ping_is_closed() {
    let (url, server) = agreeable(|mut socket| {
        let mut ping = [0; 10];
        socket.read_exact(&mut ping).unwrap();
        let message = [b"\x82\x7e\x40\0", &[b'x'; 0x4000][..]].concat();
        flood(&socket, &message);
    });
    let brief = timeouts(|timeouts| {
        timeouts.ping_period = Some(SHORT);
        timeouts.pong = SHORT;
        timeouts.close = SHORT;
    });
    let mut client = builder().timeouts(brief).connect(&url).unwrap();
    let begun = Instant::now();
    while let Some(_message) = client.recv().unwrap() {
        // Who takes their time reads less, and waits no longer for all that.
        thread::sleep(Duration::from_millis(2));
    }
    let reason = client.close_reason().unwrap();
    assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Pong));
    assert!(begun.elapsed() < DEADLINE / 4);
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_client_that_was_away_while_a_pong_was_due_reads_it_first() {
    const PONG: Duration = Duration::from_millis(500);
    let (tell, told) = std::sync::mpsc::channel();
    let (leave, left) = std::sync::mpsc::channel();
    let (url, server) = agreeable(move |mut socket| {
        let mut ping = [0; 10];
        socket.read_exact(&mut ping).unwrap();
        tell.send(()).unwrap();
        left.recv().unwrap();
        let [(0x89, payload)] = &frames(&ping)[..] else { panic!("no Ping") };
        socket.write_all(&[b"\x8a\x04", &payload[..], b"\x81\x05Hello"].concat()).unwrap();
        tell.send(()).unwrap();
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
    let brief = timeouts(|timeouts| {
        timeouts.ping_period = Some(SHORT);
        timeouts.pong = PONG;
    });
    let mut client = builder().timeouts(brief).connect(&url).unwrap();
    client.set_read_timeout(Some(SHORT / 2));
    while told.try_recv().is_err() {
        assert_eq!(client.recv(), Err(TimedOut));
    }
    // The Pong lies in the socket, and nobody looks until it is overdue.
    leave.send(()).unwrap();
    told.recv().unwrap();
    thread::sleep(PONG);
    client.set_read_timeout(Some(DEADLINE));
    assert_eq!(client.recv(), Ok(Some("Hello".into())));
    drop(client);
    server.join().unwrap();
}

#[test]
fn who_never_answers_a_close_is_left_whatever_else_it_says() {
    for talks in [false, true] {
        let (url, server) = agreeable(move |mut socket| {
            while talks && socket.write_all(b"\x81\x05Hello").is_ok() {}
            socket.read_to_end(&mut Vec::new()).ok();
        });
        let brief = timeouts(|timeouts| timeouts.close = SHORT);
        let mut client = builder().timeouts(brief).connect(&url).unwrap();
        let begun = Instant::now();
        let reason = client.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(reason.cause, CloseCause::Local);
        assert!((SHORT..DEADLINE).contains(&begun.elapsed()));
        assert!(!client.was_clean(), "there was one Close alone");
        server.join().unwrap();
    }
}

#[test]
fn who_never_answers_a_close_is_left_by_who_was_waiting_for_a_message() {
    let (url, server) = agreeable(|socket| socket);
    let brief = timeouts(|timeouts| timeouts.close = SHORT);
    let client = builder().timeouts(brief).read_timeout(None).connect(&url).unwrap();
    let socket = server.join().unwrap();
    let (mut sender, mut receiver) = client.split().unwrap();
    let (tell, told) = mpsc::channel();
    let receives = thread::spawn(move || {
        let received = receiver.recv();
        tell.send(received).unwrap();
        receiver.close_reason()
    });
    // It has long begun to read, or will see at once that the connection is closing.
    thread::sleep(SHORT);
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Ok(None)));
    assert_eq!(receives.join().unwrap().unwrap().cause, CloseCause::Local);
    drop(socket);
}

#[test]
fn who_answers_a_close_and_keeps_tcp_is_left() {
    let (url, server) = agreeable(|mut socket| {
        socket.write_all(b"\x88\x02\x03\xe8").unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).unwrap();
        frames(&heard).len()
    });
    let brief = timeouts(|timeouts| timeouts.close = SHORT);
    let mut client = builder().timeouts(brief).connect(&url).unwrap();
    assert_eq!(client.recv(), Ok(None));
    assert_eq!(client.close_reason().unwrap().cause, CloseCause::Peer);
    assert!(client.was_clean(), "the closing handshake was done");
    assert_eq!(server.join().unwrap(), 1, "a Close");
}

#[test]
fn who_reads_nothing_is_left() {
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let (url, server) = agreeable(move |socket| {
        left.recv().ok();
        drop(socket);
    });
    let brief = timeouts(|timeouts| timeouts.write = SHORT);
    let mut client = builder().timeouts(brief).connect(&url).unwrap();
    let message = "x".repeat(1 << 20);
    while client.send(&message).is_ok() {}
    let reason = client.close_reason().unwrap();
    assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Write));
    assert_eq!(client.recv(), Ok(None));
    drop(leave);
    server.join().unwrap();
}

#[test]
fn who_takes_no_pongs_is_left_too() {
    let (leave, left) = mpsc::channel::<()>();
    let (url, server) = agreeable(move |socket| {
        flood(&socket, &[b"\x89\x7d", &[b'x'; 125][..]].concat().repeat(100));
        left.recv().ok();
    });
    let brief = timeouts(|timeouts| timeouts.write = SHORT);
    let mut client = builder().timeouts(brief).connect(&url).unwrap();
    assert_eq!(client.recv(), Ok(None));
    let reason = client.close_reason().unwrap();
    assert_eq!(reason.cause, CloseCause::Timeout(Timeout::Write));
    drop(leave);
    server.join().unwrap();
}

#[test]
fn a_pong_that_cannot_leave_keeps_nobody_from_reading() {
    // The server fills its side with Pings and reads nothing until all of them were taken.
    const PINGS: usize = 1 << 17;
    let (url, server) = agreeable(|mut socket| {
        let burst = [b"\x89\x7d", &[b'x'; 125][..]].concat().repeat(64);
        for _ in 0..PINGS / 64 {
            socket.write_all(&burst).unwrap();
        }
        socket.write_all(b"\x89\x04last\x81\x03end").unwrap();
        let mut heard = BufReader::new(socket);
        for pongs in 0.. {
            let mut head = [0; 6];
            heard.read_exact(&mut head).unwrap();
            assert_eq!(head[0], 0x8a);
            let mut payload = vec![0; usize::from(head[1] & 0x7f)];
            heard.read_exact(&mut payload).unwrap();
            if payload.len() == 4 {
                return pongs;
            }
        }
        unreachable!("there is a last one")
    });
    let mut client = builder().connect(&url).unwrap();
    assert_eq!(client.recv(), Ok(Some("end".into())));
    client.set_read_timeout(Some(Duration::from_millis(5)));
    // Until the server has what it waits for, and leaves.
    while client.recv() == Err(TimedOut) {}
    let pongs = server.join().unwrap();
    assert!(pongs < PINGS, "{pongs} of {PINGS} Pings were answered");
}

#[test]
fn nothing_of_a_message_is_lost_where_waits_end_in_the_middle_of_it() {
    let (go, ready) = std::sync::mpsc::channel();
    let (url, server) = agreeable(move |mut socket| {
        for byte in b"\x01\x03Hel\x89\x00\x80\x02lo" {
            ready.recv().unwrap();
            socket.write_all(&[*byte]).unwrap();
        }
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut client = builder().connect(&url).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(2)));
    let message = loop {
        go.send(()).ok();
        if let Ok(message) = client.recv() {
            break message;
        }
    };
    assert_eq!(message, Some(Message::from("Hello")));
    drop(client);
    server.join().unwrap();
}
