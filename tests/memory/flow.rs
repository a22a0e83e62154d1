//! Messages: in order and whole, however they are cut.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chinwag::{CloseCode, Limits, Message, Peer, Request, Server, testing};

use crate::{
    Does, answers, echo,
    support::{after_head, frames, masked, upgrade},
};

/// What holds next to nothing between a server and its client, and what holds as much as systems do.
const CAPACITIES: [usize; 2] = [1_000, 64 << 10];

#[test]
fn large_messages_keep_their_place_among_small_ones() {
    let builder = Server::builder().service("/twice", |_: &Request<'_>| {
        Does(|peer: &mut Peer<'_>, message: Message<'_>| {
            peer.send("first").ok();
            peer.send(message.as_bytes()).ok();
            peer.send(message).ok();
            peer.send("last").ok();
        })
    });
    let limits = Limits { max_backlog: 8 << 20, ..Limits::default() };
    let server = testing::Server::new(builder.limits(limits));
    for capacity in CAPACITIES {
        let mut client = server.client().capacity(capacity).connect("/twice").unwrap();
        let large = |byte: u8, len: usize| vec![byte; len];
        for len in [16 << 10, 100_000, 1 << 20] {
            // Alone, and with more behind it.
            let sent = [large(b'a', len), b"b".to_vec(), large(b'c', len)];
            client.send_bytes(sent.each_ref().map(|payload| masked(0x82, payload)).concat());
            for payload in sent {
                assert_eq!(client.recv_text(), "first");
                for _ in 0..2 {
                    assert!(client.recv_binary() == payload, "{len} bytes through {capacity}");
                }
                assert_eq!(client.recv_text(), "last");
            }
        }
    }
}

#[test]
fn a_message_of_16_mib_comes_back_where_limits_allow_it() {
    let limits = Limits { max_frame: 16 << 20, max_message: 16 << 20, ..Limits::default() };
    let server = testing::Server::new(echo().limits(limits));
    let mut client = server.connect("/echo").unwrap();
    let bytes: Vec<u8> = (0..16 << 20).map(|at: u32| (at >> 8) as u8).collect();
    // Nothing is read back before all is written: what waits is bounded, and this fits.
    client.stop_reading();
    client.send(&bytes[..]);
    assert_eq!(client.unsent(), 0, "the server has it all");
    client.read_on();
    assert!(client.recv_binary() == bytes, "the same bytes");
    client.send("and on");
    assert_eq!(client.recv_text(), "and on");
}

#[test]
fn frames_in_the_segment_of_the_handshake_are_served() {
    let server = testing::Server::new(echo());
    let mut stream = server.open();
    let frames_behind = [masked(0x81, b"one"), masked(0x82, b"two"), masked(0x88, b"\x03\xe8")];
    stream.send_bytes([upgrade("/echo").into_bytes(), frames_behind.concat()].concat());
    let expected = [(0x81, b"one".to_vec()), (0x82, b"two".to_vec()), (0x88, b"\x03\xe8".to_vec())];
    assert_eq!(frames(after_head(&stream.recv_bytes())), expected);
    assert!(stream.has_ended());
}

#[test]
fn a_handshake_and_frames_that_come_byte_by_byte_are_served() {
    let server = testing::Server::new(echo());
    let mut stream = server.open();
    let wire = [
        upgrade("/echo").into_bytes(),
        masked(0x81, b"one"),
        masked(0x01, b"tw"),
        masked(0x89, b"?"),
        masked(0x80, b"o"),
        masked(0x88, b""),
    ];
    wire.concat().into_iter().for_each(|byte| stream.send_bytes([byte]));
    let expected = [
        (0x81, b"one".to_vec()),
        (0x8a, b"?".to_vec()),
        (0x81, b"two".to_vec()),
        (0x88, b"\x03\xe8OK".to_vec()),
    ];
    assert_eq!(frames(after_head(&stream.recv_bytes())), expected);
    assert!(stream.has_ended());
}

#[test]
fn fragments_are_joined_and_pings_between_them_answered() {
    let server = testing::Server::new(echo());
    for capacity in CAPACITIES {
        let connect = server.client().capacity(capacity);
        let mut stream = connect.connect("/echo").unwrap().into_stream();
        let rounds = (0..200u8).flat_map(|round| {
            [
                masked(0x02, &[round; 100]),
                masked(0x89, &[round]),
                masked(0x00, b""),
                masked(0x80, &[round; 30_000]),
            ]
        });
        stream.send_bytes(rounds.flatten().collect::<Vec<_>>());
        let frames = frames(&stream.recv_bytes());
        let messages: Vec<_> = frames.iter().filter(|(first, _)| *first == 0x82).collect();
        assert_eq!(messages.len(), 200);
        for (round, (_, payload)) in (0u8..).zip(messages) {
            let is_whole = payload.len() == 30_100 && payload.iter().all(|&byte| byte == round);
            assert!(is_whole, "{round}");
        }
        // §5.5.3: where several Pings wait, only the latest need be answered.
        let mut pongs =
            frames.iter().filter(|(first, _)| *first == 0x8a).map(|(_, payload)| payload);
        assert!(pongs.clone().is_sorted());
        assert_eq!(pongs.next_back(), Some(&vec![199]));
    }
}

#[test]
fn all_that_one_call_sends_leaves_in_order() {
    let builder = Server::builder().service("/", |_: &Request<'_>| {
        Does(|peer: &mut Peer<'_>, _: Message<'_>| {
            // Small ones are copied, large ones that are owned are not.
            for round in 0..20u8 {
                peer.send(&[round; 10][..]).unwrap();
                peer.send(vec![round; 20_000]).unwrap();
                peer.ping(&[round]).unwrap();
            }
        })
    });
    let server = testing::Server::new(builder);
    for capacity in CAPACITIES {
        let client = server.client().capacity(capacity).connect("/").unwrap();
        let wire = [masked(0x81, b"go"), masked(0x88, b"")].concat();
        let sent = (0..20).flat_map(|round| {
            [(0x82, vec![round; 10]), (0x82, vec![round; 20_000]), (0x89, vec![round])]
        });
        let sent: Vec<_> = sent.chain([(0x88, b"\x03\xe8OK".to_vec())]).collect();
        assert!(answers(client, wire) == sent, "{capacity} bytes at a time");
    }
}

#[test]
fn a_service_is_given_nothing_more_once_it_has_closed() {
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    let closes = move |_: &Request<'_>| {
        let counted = Arc::clone(&counted);
        Does(move |peer: &mut Peer<'_>, _: Message<'_>| {
            counted.fetch_add(1, Ordering::Relaxed);
            peer.close(CloseCode::NORMAL, "").ok();
        })
    };
    let server = testing::Server::new(Server::builder().service("/", closes));
    let mut stream = server.connect("/").unwrap().into_stream();
    stream.send_bytes(masked(0x81, b"one").repeat(3));
    stream.send_bytes(masked(0x81, b"one"));
    assert_eq!(received.load(Ordering::Relaxed), 1);
}
