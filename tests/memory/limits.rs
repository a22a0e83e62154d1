//! The limits of connections and of unfinished input.

use chinwag::{CloseCode, Frame, Opcode, testing};

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

#[test]
fn who_holds_most_unfinished_input_for_longest_gives_way_until_a_quarter_is_free() {
    let server = testing::Server::new(echo().max_unfinished(160 << 10));
    let begin = |len| {
        let mut client = server.connect("/echo").unwrap();
        let payload = vec![b'x'; len];
        client.send_frame(&Frame { fin: false, ..Frame::new(Opcode::Text, &payload) });
        client
    };
    let mut old = begin(30_000);
    server.advance(10 * SECOND);
    let mut more = [begin(60_000), begin(30_001)];
    assert_eq!(server.counters().shed.get(), 0, "the bound is not reached");
    server.advance(SECOND);
    // Without `old`, which is held for longest, 150,002 bytes are left: over three quarters.
    let mut last = begin(60_001);
    assert_eq!(server.counters().shed.get(), 2);
    let [large, small] = &mut more;
    for client in [&mut old, large] {
        let close = client.recv_close();
        let told = (close.code, &*close.text);
        assert_eq!(told, (CloseCode::TRY_AGAIN_LATER, "too much unfinished input"));
    }
    for (client, len) in [(small, 30_001), (&mut last, 60_001)] {
        client.send_frame(&Frame::new(Opcode::Continuation, b"y"));
        assert_eq!(client.recv_text().len(), len + 1);
    }
}
