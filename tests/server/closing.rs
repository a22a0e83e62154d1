//! How connections end: the order of Close, FIN and reset, and what is left behind.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use chinwag::{CloseCode, Message, Peer, Request, Router, Server, protocol::limits::Timeouts};

use crate::{
    Does, echo, echo_router,
    support::{Running, Said, eventually, frames, masked, open, upgrade},
};

#[test]
fn the_server_ends_tcp_first_and_its_close_is_not_overtaken() {
    let server = echo();
    for code in [b"\x03\xe8", b"\x0b\xb8"] {
        let mut client = server.connect("/echo");
        client.send_raw(&masked(0x88, code));
        // The peer goes on sending: a closed socket would answer that with a reset.
        for _ in 0..200 {
            if client.socket.write_all(&masked(0x82, &[0; 30_000])).is_err() {
                break;
            }
        }
        let mut all = Vec::new();
        client.socket.read_to_end(&mut all).expect("an orderly end, no reset");
        assert_eq!(frames(&all), [(0x88, code.to_vec())]);
    }
    eventually("all are gone", || server.open() == 0);
}

#[test]
fn a_failed_connection_hears_why_although_it_has_sent_megabytes() {
    let server = echo();
    for (name, wrong, code) in [
        ("§5.1: no mask", &b"\x81\x01a"[..], 1002u16),
        ("§8.1: no UTF-8", &masked(0x81, b"\xff"), 1007),
        ("§10.4: too long", &masked(0x82, &[0; (1 << 20) + 1])[..20], 1009),
    ] {
        let mut client = server.connect("/echo");
        let mut wire = wrong.to_vec();
        wire.extend(vec![0; 8 << 20]);
        let mut socket = client.socket.try_clone().unwrap();
        let writer = thread::spawn(move || socket.write_all(&wire));
        let mut all = Vec::new();
        client.socket.read_to_end(&mut all).unwrap_or_else(|error| panic!("{name}: {error}"));
        let frames = frames(&all);
        assert_eq!(frames.len(), 1, "{name}");
        assert_eq!((frames[0].0, &frames[0].1[..2]), (0x88, &code.to_be_bytes()[..]), "{name}");
        writer.join().unwrap().unwrap();
    }
}

#[test]
fn a_refused_request_hears_why_although_it_has_sent_megabytes() {
    let server = echo();
    let mut socket = open(server.addr);
    let mut wire = upgrade("/nowhere").into_bytes();
    wire.extend(vec![b'x'; 8 << 20]);
    let mut sender = socket.try_clone().unwrap();
    let writer = thread::spawn(move || sender.write_all(&wire));
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    writer.join().unwrap().unwrap();
}

/// How a peer leaves.
#[derive(Debug, Clone, Copy)]
enum Exit {
    /// It closes its side and reads on to the end.
    Fin,
    /// It closes its socket.
    Close,
    /// It closes its socket over the answer that it has not read, which resets TCP.
    Reset,
}

#[test]
fn a_peer_that_goes_at_any_point_leaves_nothing_behind() {
    let head = upgrade("/echo").into_bytes();
    let cut = head.len() / 2;
    let after = |wire: &[u8]| [&head[..], wire].concat();
    let frame = masked(0x82, &[7; 50_000]);
    // An echo of 1 MiB that is not read, many times: output waits.
    let flood = masked(0x82, &[7; 1 << 20]).repeat(16);
    let stages: [(&str, Vec<u8>); 10] = [
        ("before the head", Vec::new()),
        ("within the head", head[..cut].to_vec()),
        ("right after the head", after(b"")),
        ("within a header", after(&frame[..3])),
        ("within a frame", after(&frame[..100])),
        ("within a frame that is read in place", after(&frame[..40_000])),
        ("between fragments", after(&masked(0x02, &[7; 1000]))),
        ("while output waits", after(&flood)),
        ("while closing", after(&masked(0x88, b""))),
        ("after a fault", after(b"\xff\xff")),
    ];
    let server = Running::start(Server::builder().router(echo_router()).workers(1));
    for (stage, wire) in stages {
        for exit in [Exit::Fin, Exit::Close, Exit::Reset] {
            if matches!(exit, Exit::Reset) && wire.len() < head.len() {
                // No answer comes that could be left unread.
                continue;
            }
            let mut socket = open(server.addr);
            // The flood blocks once the server stops reading.
            socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            socket.write_all(&wire).ok();
            match exit {
                Exit::Fin => {
                    socket.shutdown(Shutdown::Write).unwrap();
                    let mut all = Vec::new();
                    socket.read_to_end(&mut all).unwrap_or_else(|error| {
                        panic!("{stage}: no orderly end but {error}");
                    });
                }
                Exit::Close => {}
                Exit::Reset => assert_eq!(socket.peek(&mut [0]).unwrap(), 1),
            }
            drop(socket);
            let start = Instant::now();
            eventually(&format!("{stage}, {exit:?}: it is gone"), || server.open() == 0);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(2), "{stage}, {exit:?}: it took {took:?}");
        }
    }
    is_idle(&server);
    assert_eq!(server.counters.panics.get(), 0);
}

/// Checks that the server does nothing while nothing happens.
fn is_idle(server: &Running) {
    let before = server.cpu_time();
    thread::sleep(Duration::from_millis(300));
    let spent = server.cpu_time() - before;
    assert!(spent < Duration::from_millis(30), "{spent:?} of 300 ms");
}

#[test]
fn a_server_with_half_closed_and_silent_peers_is_idle() {
    let timeouts = Timeouts { ping_period: None, ..Timeouts::default() };
    let router = echo_router();
    let builder = Server::builder().router(router).timeouts(timeouts).workers(1);
    let server = Running::start(builder);
    let silent: Vec<_> = (0..10).map(|_| server.connect("/echo")).collect();
    let heads: Vec<_> = (0..10).map(|_| open(server.addr)).collect();
    let closing: Vec<_> = (0..10)
        .map(|_| {
            // It has our Close and does not end its side.
            let mut client = server.connect("/echo");
            client.send_raw(&masked(0x88, b""));
            client.socket.read_to_end(&mut Vec::new()).unwrap();
            client
        })
        .collect();
    let stuck = stuck_and_half_closed(&server);
    is_idle(&server);
    assert_eq!(server.open(), 31);
    drop((silent, heads, closing, stuck));
    eventually("all are gone", || server.open() == 0);
}

/// A peer that does not read what waits for it and has closed its side.
fn stuck_and_half_closed(server: &Running) -> TcpStream {
    let socket = server.connect("/echo").socket;
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // As much as the system's own buffers take, which grow to tens of megabytes in both directions.
    let message = masked(0x82, &[7; 1 << 20]);
    let stops = (0..256).any(|_| (&socket).write_all(&message).is_err());
    assert!(stops, "the server stops reading");
    socket.shutdown(Shutdown::Write).unwrap();
    socket
}

#[test]
fn everyone_hears_1001_when_the_server_stops() {
    let server = echo();
    let clients: Vec<_> = (0..20).map(|_| server.connect("/echo")).collect();
    let half = open(server.addr);
    (&half).write_all(&upgrade("/echo").as_bytes()[..30]).unwrap();
    let silent = open(server.addr);
    eventually("all are in", || server.counters.accepted.get() == 22);
    let (addr, stopper) = (server.addr, server.stopper.clone());
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| thread::spawn(move || (client.end(), drop(client)).0))
        .collect();
    thread::spawn(move || stopper.stop());
    for reader in readers {
        let reason = reader.join().unwrap();
        assert_eq!((reason.code, &*reason.text), (CloseCode::GOING_AWAY, "server stops"));
    }
    let took = server.stop();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(TcpStream::connect(addr).is_err());
    drop((half, silent));
}

#[test]
fn what_waits_is_sent_before_the_server_stops() {
    let router = Router::new().service("/", |_: &Request<'_>| {
        Does(|peer: &mut Peer<'_>, _: Message<'_>| peer.send(vec![1; 8 << 20]).unwrap())
    });
    let server = Running::router(router);
    let mut client = server.connect("/");
    client.send("go");
    // Its first byte shows that it is on its way; most of it waits.
    client.socket.peek(&mut [0]).unwrap();
    let stopped = thread::spawn(move || server.stop());
    assert_eq!(client.recv(), Some(Said::Binary(vec![1; 8 << 20])));
    assert_eq!(client.end().code, CloseCode::GOING_AWAY);
    drop(client);
    let took = stopped.join().unwrap();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_stuck_peer_holds_the_end_up_for_5_s_at_most_and_nobody_spins() {
    let server = Running::start(Server::builder().router(echo_router()).workers(1));
    let stuck = stuck_and_half_closed(&server);
    let silent = server.connect("/echo");
    server.stopper.stop();
    eventually("it does not listen", || TcpStream::connect(server.addr).is_err());
    is_idle(&server);
    let took = server.stop();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    drop((stuck, silent));
}

#[test]
fn a_server_that_was_stopped_before_it_runs_ends_at_once() {
    let server = Server::builder().router(echo_router()).bind("127.0.0.1:0").unwrap();
    let stopper = server.stopper();
    stopper.stop();
    stopper.stop();
    let start = Instant::now();
    server.run().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}
