//! A deadline that depends on what the system says of its sockets. All others are tested in memory.

use std::{
    io::{Read, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use chinwag::{CloseReason, Message, Peer, Request, Router, Server, Service, Timeouts};

use crate::support::{Running, masked};

/// Echoes, and tells why it ended.
struct Tells(mpsc::Sender<CloseReason>);

impl Service for Tells {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }

    fn closed(&mut self, reason: &CloseReason) {
        self.0.send(reason.clone()).ok();
    }
}

#[test]
fn a_peer_that_takes_too_little_for_an_edge_stays() {
    // Linux tells of room in a socket's buffer only when a third of it is free, which is megabytes.
    let (tell, told) = mpsc::channel();
    let router = Router::new().service("/", move |_: &Request<'_>| Tells(tell.clone()));
    let timeouts =
        Timeouts { ping_period: None, write: Duration::from_millis(500), ..Timeouts::default() };
    let server = Running::start(Server::builder().router(router).timeouts(timeouts).workers(1));
    let mut client = server.connect("/");
    let mut socket = client.socket.try_clone().unwrap();
    let writer = thread::spawn(move || socket.write_all(&masked(0x82, &[0; 1 << 20]).repeat(64)));
    let mut some = vec![0; 64 << 10];
    for _ in 0..25 {
        client.socket.read_exact(&mut some).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert!(told.try_recv().is_err());
    client.socket.shutdown(std::net::Shutdown::Both).unwrap();
    writer.join().unwrap().expect_err("the server was full");
}
