//! Messages through a socket: in order, whole, and not faster than they are read.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use chinwag::{
    CloseCode, CloseReason, Message, Peer, Request, Router, Server, Service,
    protocol::limits::Limits,
};

use crate::{
    Does, Echo, echo,
    support::{Running, Said, after_head, eventually, frames, masked, open, upgrade},
};

#[test]
fn messages_of_every_size_come_back() {
    let server = echo();
    let mut client = server.connect("/echo");
    let edges = [0, 1, 125, 126, 65_535, 65_536, 262_130, 262_144, 300_000, (1 << 20) - 1, 1 << 20];
    for len in edges {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        client.send(&bytes[..]);
        assert_eq!(client.recv(), Some(Said::Binary(bytes)), "{len} bytes");
        let text = "é".repeat(len / 2);
        client.send(&text);
        assert_eq!(client.text(), text, "{len} bytes of text");
    }
}

#[test]
fn large_messages_keep_their_place_among_small_ones() {
    let router = Router::new().service("/twice", |_: &Request<'_>| {
        Does(|peer: &mut Peer<'_>, message: Message<'_>| {
            peer.send("first").ok();
            peer.send(message.as_bytes()).ok();
            peer.send(message).ok();
            peer.send("last").ok();
        })
    });
    let server = Running::router(router);
    let mut client = server.connect("/twice");
    let large = |byte: u8, len: usize| vec![byte; len];
    for len in [16 << 10, 100_000, 1 << 20] {
        // Alone, and with more behind it.
        let sent = [large(b'a', len), b"b".to_vec(), large(b'c', len)];
        client.send_raw(&sent.iter().flat_map(|payload| masked(0x82, payload)).collect::<Vec<_>>());
        for payload in sent {
            assert_eq!(client.text(), "first");
            for _ in 0..2 {
                assert!(client.recv() == Some(Said::Binary(payload.clone())), "{len} bytes");
            }
            assert_eq!(client.text(), "last");
        }
    }
}

#[test]
fn a_message_of_16_mib_comes_back_where_limits_allow_it() {
    let limits = Limits { max_frame: 16 << 20, max_message: 16 << 20, ..Limits::default() };
    let router = Router::new().service("/echo", |_: &Request<'_>| Echo);
    let server = Running::start(Server::builder().router(router).limits(limits).workers(1));
    let mut client = server.connect("/echo");
    let bytes: Vec<u8> = (0..16 << 20).map(|at: u32| (at >> 8) as u8).collect();
    // Nothing is read back before all is written: what waits is bounded, and this fits.
    client.send(&bytes[..]);
    assert!(client.recv() == Some(Said::Binary(bytes)), "the same bytes");
    client.send("and on");
    assert_eq!(client.text(), "and on");
}

#[test]
fn frames_in_the_segment_of_the_handshake_are_served() {
    let server = echo();
    let mut socket = open(server.addr);
    let mut wire = upgrade("/echo").into_bytes();
    wire.extend(masked(0x81, b"one"));
    wire.extend(masked(0x82, b"two"));
    wire.extend(masked(0x88, &[0x03, 0xe8]));
    socket.write_all(&wire).unwrap();
    let expected = [(0x81, b"one".to_vec()), (0x82, b"two".to_vec()), (0x88, vec![0x03, 0xe8])];
    assert_eq!(frames(&after_head(&mut socket)), expected);
}

#[test]
fn a_handshake_and_frames_that_come_byte_by_byte_are_served() {
    let server = echo();
    let mut socket = open(server.addr);
    let mut wire = upgrade("/echo").into_bytes();
    wire.extend(masked(0x81, b"one"));
    wire.extend(masked(0x01, b"tw"));
    wire.extend(masked(0x89, b"?"));
    wire.extend(masked(0x80, b"o"));
    wire.extend(masked(0x88, b""));
    for byte in wire {
        socket.write_all(&[byte]).unwrap();
    }
    let expected = [
        (0x81, b"one".to_vec()),
        (0x8a, b"?".to_vec()),
        (0x81, b"two".to_vec()),
        (0x88, b"\x03\xe8OK".to_vec()),
    ];
    assert_eq!(frames(&after_head(&mut socket)), expected);
}

#[test]
fn many_messages_at_once_come_back_in_order() {
    const COUNT: usize = 20_000;
    let server = echo();
    let mut client = server.connect("/echo");
    let wire: Vec<u8> =
        (0..COUNT).flat_map(|number| masked(0x81, number.to_string().as_bytes())).collect();
    let mut socket = client.socket.try_clone().unwrap();
    let writer = thread::spawn(move || socket.write_all(&wire).unwrap());
    for number in 0..COUNT {
        assert_eq!(client.text(), number.to_string());
    }
    writer.join().unwrap();
}

#[test]
fn fragments_are_joined_and_pings_between_them_answered() {
    let server = echo();
    let mut socket = open(server.addr);
    let mut wire = upgrade("/echo").into_bytes();
    for round in 0..200u8 {
        wire.extend(masked(0x02, &[round; 100]));
        wire.extend(masked(0x89, &[round]));
        wire.extend(masked(0x00, b""));
        wire.extend(masked(0x80, &[round; 30_000]));
    }
    wire.extend(masked(0x88, b""));
    let mut reader = socket.try_clone().unwrap();
    let writer = thread::spawn(move || socket.write_all(&wire).unwrap());
    let frames = frames(&after_head(&mut reader));
    writer.join().unwrap();
    let messages: Vec<_> = frames.iter().filter(|(first, _)| *first == 0x82).collect();
    assert_eq!(messages.len(), 200);
    for (round, (_, payload)) in (0u8..).zip(messages) {
        assert!(payload.len() == 30_100 && payload.iter().all(|&byte| byte == round), "{round}");
    }
    // §5.5.3: where several Pings wait, only the latest need be answered.
    let mut pongs = frames.iter().filter(|(first, _)| *first == 0x8a).map(|(_, payload)| payload);
    assert!(pongs.clone().is_sorted());
    assert_eq!(pongs.next_back(), Some(&vec![199]));
}

/// Echoes, and keeps watch over what waits.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Watch>>);

#[derive(Debug, Default)]
struct Watch {
    most: usize,
    drained: usize,
}

impl Service for Watched {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).unwrap();
        let mut watch = self.0.lock().unwrap();
        watch.most = watch.most.max(peer.buffered());
    }

    fn drained(&mut self, _: &mut Peer<'_>) {
        self.0.lock().unwrap().drained += 1;
    }
}

#[test]
fn who_does_not_read_is_not_read_and_loses_nothing() {
    for len in [20, 1_000, 40_000] {
        let watched = Watched::default();
        let service = watched.clone();
        let router = Router::new().service("/", move |_: &Request<'_>| service.clone());
        let server = Running::start(Server::builder().router(router).workers(1));
        let mut client = server.connect("/");

        // Without reading, until nothing more can be written for a while.
        let mut socket = client.socket.try_clone().unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let message = |number: usize| format!("{number:>len$}");
        let (mut count, mut left) = (0, Vec::new());
        while left.is_empty() {
            let wire = masked(0x81, message(count).as_bytes());
            count += 1;
            let mut written = 0;
            while written < wire.len() {
                match socket.write(&wire[written..]) {
                    Ok(more) => written += more,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        left = wire[written..].to_vec();
                        break;
                    }
                }
            }
            // What the system's buffers hold, both ways and on both sides, is far less.
            assert!(count * len < 64 << 20, "the server goes on reading");
        }
        let most = watched.0.lock().unwrap().most;
        assert!(most <= (256 << 10) + 2 * len + 16, "{most} bytes wait, {len} each");

        client.socket.set_write_timeout(None).unwrap();
        let writer = thread::spawn(move || socket.write_all(&left).unwrap());
        for number in 0..count {
            assert_eq!(client.text(), message(number));
        }
        writer.join().unwrap();
        eventually("it hears that all has drained", || watched.0.lock().unwrap().drained > 0);
    }
}

/// Sends until 8 MiB wait that the socket does not take, then says how much it has sent; and why it
/// was closed.
struct Pours {
    poured: mpsc::Sender<usize>,
    closed: mpsc::Sender<CloseReason>,
}

impl Service for Pours {
    fn message(&mut self, peer: &mut Peer<'_>, _: Message<'_>) {
        let mut count = 0;
        while peer.buffered() < 8 << 20 {
            peer.send(&[0; 100_000][..]).unwrap();
            count += 1;
        }
        self.poured.send(count).unwrap();
    }

    fn closed(&mut self, reason: &CloseReason) {
        self.closed.send(reason.clone()).ok();
    }
}

/// A server that reads on while little enough waits for a peer, and hears from `Pours`.
fn pouring() -> (Running, mpsc::Receiver<usize>, mpsc::Receiver<CloseReason>) {
    let (poured, how_much) = mpsc::channel();
    let (closed, why) = mpsc::channel();
    let make = move |_: &Request<'_>| Pours { poured: poured.clone(), closed: closed.clone() };
    let limits =
        Limits { resume_reading: usize::MAX, max_backlog: usize::MAX, ..Limits::default() };
    let router = Router::new().service("/", make);
    (Running::start(Server::builder().router(router).limits(limits).workers(1)), how_much, why)
}

#[test]
fn a_peer_that_has_closed_its_side_gets_all_that_is_due() {
    let (server, poured, closed) = pouring();
    let mut client = server.connect("/");
    client.send("pour");
    client.socket.shutdown(Shutdown::Write).unwrap();
    let count = poured.recv().unwrap();
    assert_eq!(closed.recv().unwrap().code, CloseCode::ABNORMAL);
    let mut all = Vec::new();
    client.socket.read_to_end(&mut all).unwrap();
    assert_eq!(frames(&all).len(), count);
    eventually("it is gone", || server.open() == 0);
}

#[test]
fn a_close_waits_for_what_was_sent_before_it() {
    for half_closed in [false, true] {
        let (server, poured, closed) = pouring();
        let mut client = server.connect("/");
        client.send("pour");
        client.send_raw(&masked(0x88, &[0x0f, 0xa0]));
        if half_closed {
            client.socket.shutdown(Shutdown::Write).unwrap();
        }
        let count = poured.recv().unwrap();
        assert_eq!(closed.recv().unwrap().code, CloseCode(4000));
        let mut all = Vec::new();
        client.socket.read_to_end(&mut all).unwrap();
        let frames = frames(&all);
        assert_eq!(frames.len(), count + 1);
        assert_eq!(frames[count], (0x88, vec![0x0f, 0xa0]));
        drop(client);
        eventually("it is gone", || server.open() == 0);
    }
}

#[test]
fn one_who_floods_does_not_keep_others_waiting() {
    let server = Running::start(Server::builder().router(crate::echo_router()).workers(1));
    let mut flood = server.connect("/echo");
    let mut socket = flood.socket.try_clone().unwrap();
    let wire = masked(0x82, b"flood").repeat(5_000);
    let (enough, stop) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        while stop.try_recv() == Err(mpsc::TryRecvError::Empty) && socket.write_all(&wire).is_ok() {
        }
        socket.shutdown(Shutdown::Both).ok();
    });
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        let mut all = 0;
        while let Ok(read @ 1..) = flood.socket.read(&mut buffer) {
            all += read;
        }
        all
    });
    for _ in 0..20 {
        let start = std::time::Instant::now();
        let mut client = server.connect("/echo");
        for round in 0..5 {
            client.send(format!("{round}"));
            assert_eq!(client.text(), format!("{round}"));
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    drop(enough);
    writer.join().unwrap();
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn all_that_one_call_sends_leaves_in_order() {
    let router = Router::new().service("/", |_: &Request<'_>| {
        Does(|peer: &mut Peer<'_>, _: Message<'_>| {
            // Small ones are copied, large ones that are owned are not.
            for round in 0..20u8 {
                peer.send(&[round; 10][..]).unwrap();
                peer.send(vec![round; 20_000]).unwrap();
                peer.ping(&[round]).unwrap();
            }
        })
    });
    let server = Running::router(router);
    let mut client = server.connect("/");
    client.send("go");
    for round in 0..20 {
        assert_eq!(client.recv(), Some(Said::Binary(vec![round; 10])));
        assert_eq!(client.recv(), Some(Said::Binary(vec![round; 20_000])));
    }
}
