//! Messages through a socket: in order, whole, and not faster than they are read. How they may be cut is
//! tested in memory.

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
    echo,
    support::{Running, Said, eventually, frames, masked},
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
    let limits = Limits { pause_reading: usize::MAX, max_backlog: usize::MAX, ..Limits::default() };
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
