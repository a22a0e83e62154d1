//! Connections that are slow or break, limits, and tests that expect what cannot be.

use super::*;
use crate::Limits;

// ---- slow and broken connections ---------------------------------------------------------------

#[test]
fn who_does_not_read_is_not_read_and_loses_nothing() {
    let server =
        Server::new(builder().timeouts(Timeouts { write: 3_600 * SECOND, ..Timeouts::default() }));
    let mut client = server.connect("/echo").unwrap();
    client.stop_reading();
    let message = |number: usize| format!("{number:>1000}");
    (0..2_000).for_each(|number| client.send(message(number)));
    assert_eq!(client.try_recv(), None);
    client.read_some(10_000);
    assert_eq!(client.recv_text(), message(0));
    client.read_on();
    (1..2_000).for_each(|number| assert_eq!(client.recv_text(), message(number)));
}

#[test]
fn who_takes_nothing_for_too_long_is_dropped() {
    let timeouts = Timeouts { write: 2 * SECOND, ping_period: None, ..Timeouts::default() };
    let (server, told) = telling(crate::Server::builder().timeouts(timeouts));
    let mut client = server.connect("/echo").unwrap();
    client.stop_reading();
    client.send(vec![0; 1 << 20]);
    for _ in 0..10 {
        server.advance(SECOND);
        client.read_some(1);
    }
    assert_eq!(server.connections(), 1, "little is not nothing");
    server.advance(3 * SECOND);
    assert_eq!(told.try_recv().unwrap().cause, CloseCause::Timeout(Timeout::Write));
    assert_eq!(server.connections(), 0);
}

#[test]
fn every_way_to_go_is_heard_of() {
    let (server, told) = telling(crate::Server::builder());
    let connect = || server.connect("/echo").unwrap();
    let heard = || told.try_recv().expect("it has heard").cause;

    drop(connect());
    assert_eq!(heard(), CloseCause::Lost);
    let mut client = connect();
    client.cut();
    assert_eq!((heard(), client.recv()), (CloseCause::Lost, None));
    assert_eq!(client.recv_close().code, CloseCode::ABNORMAL);
    let mut client = connect();
    client.shut();
    assert_eq!((heard(), client.recv()), (CloseCause::Lost, None));
    let mut client = connect();
    client.close(CloseCode(4000), "enough");
    assert_eq!((heard(), client.recv()), (CloseCause::Peer, None));
    assert_eq!(client.close_reason().unwrap().cause, CloseCause::Local);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_close_that_is_not_answered_is_waited_for_that_long() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    client.ignore_close();
    client.send_bytes(b"\xff");
    assert_eq!(client.recv_close().code, CloseCode::PROTOCOL_ERROR);
    server.advance(4 * SECOND);
    assert_eq!(server.connections(), 1);
    server.advance(2 * SECOND);
    assert_eq!(server.connections(), 0);
}

#[test]
fn everyone_hears_1001_when_the_server_stops() {
    let server = echo();
    let mut clients: Vec<_> = (0..20).map(|_| server.connect("/echo").unwrap()).collect();
    let silent = server.open();
    server.stop();
    for client in &mut clients {
        let close = client.recv_close();
        assert_eq!((close.code, &*close.text), (CloseCode::GOING_AWAY, "server stops"));
    }
    assert!(silent.has_ended() && server.has_stopped());
    assert_eq!(server.connections(), 0);
}

#[test]
fn who_holds_up_the_end_does_so_for_5_s_at_most() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    client.ignore_close();
    server.stop();
    assert!(!server.has_stopped());
    server.advance(5 * SECOND);
    assert!(server.has_stopped());
    assert!(server.open().has_ended());
    let complaint = complaint(|| drop(server.connect("/echo")));
    assert!(complaint.ends_with("the server has ended TCP"), "{complaint}");
}

#[test]
fn limits_of_the_builder_hold() {
    let limits = Limits { max_message: 10, ..Limits::default() };
    let server = Server::new(builder().limits(limits).max_connections(2));
    let mut clients = [server.connect("/echo").unwrap(), server.connect("/echo").unwrap()];
    assert_eq!(server.connect("/echo").unwrap_err().status, 503);
    clients[0].send("12345678901");
    assert_eq!(clients[0].recv_close().code, CloseCode::MESSAGE_TOO_BIG);
    assert!(server.connect("/echo").is_ok());
}

// ---- what cannot be ----------------------------------------------------------------------------

#[test]
fn what_cannot_come_is_said_and_not_waited_for() {
    let server = echo();
    let mut client = server.connect("/echo").unwrap();
    assert_eq!(
        complaint(|| drop(client.recv())),
        "client 0 at \"/echo\" expected a message, and none comes: all is quiet before time passes. The \
         server's next deadline is in 10.05s: `advance` lets it come"
    );
    client.send("text");
    assert_eq!(
        complaint(|| drop(client.recv_binary())),
        "client 0 at \"/echo\" expected a binary message, and heard Text(\"text\")"
    );
    client.stop_reading();
    assert!(complaint(|| drop(client.recv_frame())).ends_with("`read_on` has it go on"));
    client.read_on();
    client.close(CloseCode::NORMAL, "bye");
    assert_eq!(
        complaint(|| drop(client.recv_text())),
        "client 0 at \"/echo\" expected a text, and its connection was closed here, 1000 \"bye\""
    );
    assert!(complaint(|| client.send("late")).starts_with("client 0 at \"/echo\" cannot send"));
    assert!(complaint(|| drop(server.connect("no slash"))).contains("\"no slash\""));
}

#[test]
fn work_without_end_is_found_out() {
    struct Spins;
    impl Service for Spins {
        fn opened(&mut self, peer: &mut Peer<'_>) {
            peer.tasks().call(peer.id());
        }

        fn woken(&mut self, peer: &mut Peer<'_>) {
            peer.tasks().call(peer.id());
        }
    }
    let server = Server::new(
        crate::Server::builder().router(Router::new().service("/", |_: &Request<'_>| Spins)),
    );
    let complaint = complaint(|| drop(server.connect("/")));
    assert!(complaint.starts_with("the server has work without end"), "{complaint}");
}
