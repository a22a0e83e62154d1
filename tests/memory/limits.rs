//! The limit of connections.

use chinwag::testing;

use crate::{SECOND, echo};

#[test]
fn one_connection_too_many_hears_503_and_a_place_is_free_again() {
    let server = testing::Server::new(echo().max_connections(3));
    let mut clients: Vec<_> = (0..3).map(|_| server.connect("/echo").unwrap()).collect();
    let answer = server.connect("/echo").unwrap_err();
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")));
    assert_eq!(server.counters().over_limit.get(), 1);
    clients.pop();
    clients.push(server.connect("/echo").unwrap());
    for client in &mut clients {
        client.send("well");
        assert_eq!(client.recv_text(), "well");
    }
}

#[test]
fn guests_beyond_those_who_are_told_are_dropped() {
    let server = testing::Server::new(echo().max_connections(1));
    let mut client = server.connect("/echo").unwrap();
    // They say nothing, so each takes up one of the places from which a refusal is heard.
    let guests: Vec<_> = (0..128).map(|_| server.open()).collect();
    assert_eq!(server.counters().over_limit.get(), 128);
    let one_more = server.open();
    assert!(one_more.has_ended(), "it is dropped");
    assert_eq!(server.counters().turned_away.get(), 1);
    client.send("well");
    assert_eq!(client.recv_text(), "well");
    server.advance(11 * SECOND);
    assert!(guests.iter().all(|guest| guest.has_ended()), "and so are those in time");
    drop(client);
    server.connect("/echo").unwrap();
}
