//! permessage-deflate: which frames are compressed, and what becomes of them (RFC 7692 §6, §7.2).

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::protocol::extension::deflate::{Compressor, Condition};

/// First bytes of compressed messages: as above, with RSV1.
const TEXT_RSV1: u8 = 0xc1;
const BINARY_RSV1: u8 = 0xc2;
const TEXT_START_RSV1: u8 = 0x41;

/// Both sides may take over, with the largest windows.
fn takeover() -> Deflate {
    Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: true,
        client_takeover: true,
        ..Deflate::default()
    }
}

fn compressing(deflate: Deflate) -> Settings {
    Settings { deflate: Some(deflate), ..Settings::default() }
}

/// The compressed form of a message behind nothing.
fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(15, &Deflate::default()).compress(payload, &mut out);
    out
}

// ---- receiving ---------------------------------------------------------------------------------

#[test]
fn the_examples_of_rfc_7692_are_read() {
    for (name, frames, seen) in [
        ("§7.2.3.1", vec![bare(TEXT_RSV1, hex("f248cdc9c90700"))], vec![text("Hello")]),
        (
            "§7.2.3.1, fragments",
            vec![bare(TEXT_START_RSV1, hex("f248cd")), bare(CONTINUATION_END, hex("c9c90700"))],
            vec![text("Hello")],
        ),
        (
            "§7.2.3.2, the window shared",
            vec![bare(TEXT_RSV1, hex("f248cdc9c90700")), bare(TEXT_RSV1, hex("f200110000"))],
            vec![text("Hello"), text("Hello")],
        ),
        (
            "§7.2.3.3, a block without compression",
            vec![bare(TEXT_RSV1, hex("000500faff48656c6c6f00"))],
            vec![text("Hello")],
        ),
        (
            "§7.2.3.4, a final block",
            vec![bare(TEXT_RSV1, hex("f348cdc9c9070000"))],
            vec![text("Hello")],
        ),
        (
            "a final block, then a message that refers back over it",
            vec![bare(TEXT_RSV1, hex("f348cdc9c9070000")), bare(TEXT_RSV1, hex("f200110000"))],
            vec![text("Hello"), text("Hello")],
        ),
        (
            "§7.2.3.5, two blocks",
            vec![bare(TEXT_RSV1, hex("f248050000 00ffffcac9c90700"))],
            vec![text("Hello")],
        ),
        ("§7.2.3.6, empty", vec![bare(BINARY_RSV1, hex("00"))], vec![binary("")]),
        (
            "empty fragments of a compressed message",
            vec![
                bare(TEXT_START_RSV1, ""),
                bare(CONTINUATION, hex("f248cdc9c90700")),
                bare(CONTINUATION, ""),
                bare(CONTINUATION_END, ""),
            ],
            vec![text("Hello")],
        ),
        (
            "a plain message between, which enters no window",
            vec![
                bare(TEXT_RSV1, hex("f248cdc9c90700")),
                bare(TEXT, "World"),
                bare(TEXT_START, "Wo"),
                bare(CONTINUATION_END, "rld"),
                bare(TEXT_RSV1, hex("f200110000")),
            ],
            vec![text("Hello"), text("World"), text("World"), text("Hello")],
        ),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &compressing(takeover()), &wire(role, &frames));
            let expected =
                Outcome { seen: seen.clone(), sent: vec![], state: State::Open, reason: None };
            assert_eq!(outcome, expected, "{name}, {role:?}");
        }
    }
}

#[test]
fn a_ping_between_compressed_fragments_is_answered() {
    let frames = [
        bare(TEXT_START_RSV1, hex("f248cd")),
        bare(PING, "there?"),
        bare(CONTINUATION_END, hex("c9c90700")),
    ];
    for role in ROLES {
        let settings = compressing(Deflate::default());
        let outcome = every_way("ping", role, &settings, &wire(role, &frames));
        assert_eq!((outcome.seen, outcome.sent), (vec![text("Hello")], vec![bare(PONG, "there?")]));
    }
}

#[test]
fn rsv1_stands_on_first_frames_of_messages_only() {
    use ProtocolError as E;
    for (name, frames, error) in [
        ("ping", vec![bare(0xc9, "x")], E::ReservedBits { bits: 4 }),
        ("pong", vec![bare(0xca, "x")], E::ReservedBits { bits: 4 }),
        ("close", vec![bare(0xc8, "")], E::ReservedBits { bits: 4 }),
        (
            "continuation of a compressed message",
            vec![bare(TEXT_START_RSV1, hex("f248cd")), bare(0xc0, hex("c9c90700"))],
            E::ReservedBits { bits: 4 },
        ),
        (
            "continuation of a plain one",
            vec![bare(TEXT_START, "Hel"), bare(0x40, "lo")],
            E::ReservedBits { bits: 4 },
        ),
        ("RSV2", vec![bare(0xa1, "")], E::ReservedBits { bits: 2 }),
        ("RSV1 and RSV3", vec![bare(0xd1, "")], E::ReservedBits { bits: 5 }),
        ("nothing to continue", vec![bare(0xc0, "")], E::NothingToContinue),
        (
            "a message inside another",
            vec![bare(TEXT_START_RSV1, ""), bare(TEXT_RSV1, "")],
            E::MessageUnfinished,
        ),
    ] {
        for role in ROLES {
            for mode in [Mode::Messages, Mode::Raw] {
                let settings =
                    Settings { mode, ..compressing(Deflate { raw: true, ..takeover() }) };
                let outcome = every_way(name, role, &settings, &wire(role, &frames));
                assert_eq!(outcome.reason.unwrap().cause, CloseCause::Protocol(error), "{name}");
            }
        }
    }
    // §5.2: and where nothing was agreed on, nowhere.
    let outcome = every_way(
        "plain",
        Role::Server,
        &Settings::default(),
        &wire(Role::Server, &[bare(TEXT_RSV1, "")]),
    );
    assert_eq!(outcome.reason.unwrap().code, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn what_does_not_inflate_is_refused() {
    use ProtocolError as E;
    let once = Deflate::default;
    for (name, deflate, frames, error) in [
        ("garbage", takeover(), vec![bare(TEXT_RSV1, [0xff; 3])], E::InvalidDeflate),
        ("plain text", takeover(), vec![bare(TEXT_RSV1, "Hello")], E::InvalidDeflate),
        ("no block at all", takeover(), vec![bare(TEXT_RSV1, "")], E::InvalidDeflate),
        ("cut short", takeover(), vec![bare(TEXT_RSV1, hex("f248cd"))], E::InvalidDeflate),
        (
            "garbage behind a final block",
            takeover(),
            vec![bare(TEXT_RSV1, hex("f348cdc9c90700ff"))],
            E::InvalidDeflate,
        ),
        (
            "a look back beyond the beginning",
            takeover(),
            vec![bare(TEXT_RSV1, hex("f200110000"))],
            E::InvalidDeflate,
        ),
        (
            "a look back where there is no takeover",
            once(),
            vec![bare(TEXT_RSV1, hex("f248cdc9c90700")), bare(TEXT_RSV1, hex("f200110000"))],
            E::InvalidDeflate,
        ),
        ("wrong text", once(), vec![bare(TEXT_RSV1, deflated(b"a\xff"))], E::InvalidUtf8),
        (
            "text that ends inside a character",
            once(),
            vec![bare(TEXT_RSV1, deflated(b"a\xc3"))],
            E::InvalidUtf8,
        ),
        (
            "wrong text before garbage",
            once(),
            vec![bare(TEXT_RSV1, [&deflated(b"a\xff")[..], &[0xff; 9]].concat())],
            E::InvalidUtf8,
        ),
    ] {
        for role in ROLES {
            let outcome =
                every_way(name, role, &compressing(deflate.clone()), &wire(role, &frames));
            let reason = outcome.reason.unwrap();
            assert_eq!(reason.cause, CloseCause::Protocol(error), "{name}, {role:?}");
            assert_eq!(reason.code, CloseCode::INVALID_PAYLOAD, "{name}");
        }
    }
}

#[test]
fn wrong_text_fails_before_its_message_ends() {
    let text = [&b"Hello \xff"[..], "and a long tail ".repeat(9).as_bytes()].concat();
    let message = deflated(&text);
    let wire = wire(Role::Client, &[bare(TEXT_RSV1, &message)]);
    let mut endpoint = Endpoint::open(Role::Client, &compressing(Deflate::default()));
    let mut fails = |byte: &u8| {
        endpoint.hear(&[*byte]);
        endpoint.state() == State::Closed
    };
    let at = wire.iter().position(&mut fails).expect("it fails");
    assert!(at < 16, "byte {at} of {}", wire.len());
}

// ---- limits ------------------------------------------------------------------------------------

fn limited(max_message: usize) -> Settings {
    let limits = Limits { max_frame: max_message, max_message, ..Limits::default() };
    Settings { limits, ..compressing(takeover()) }
}

#[test]
fn a_message_may_inflate_to_its_limit_and_no_further() {
    for max in [0, 1, 1000, 4096, 65_536] {
        for role in ROLES {
            let fits = wire(role, &[bare(BINARY_RSV1, deflated(&vec![7; max]))]);
            let outcome = every_way("the limit", role, &limited(max), &fits);
            assert_eq!(outcome.seen, [binary(vec![7; max])], "{max}");

            let bomb = wire(role, &[bare(BINARY_RSV1, deflated(&vec![7; max + 1]))]);
            let outcome = every_way("one byte more", role, &limited(max), &bomb);
            let cause =
                CloseCause::Protocol(ProtocolError::MessageTooBig { len: max as u64 + 1, max });
            assert_eq!((outcome.reason.unwrap().cause, outcome.seen), (cause, vec![]), "{max}");
        }
    }
}

#[test]
fn a_bomb_in_fragments_fails_while_it_arrives() {
    let bomb = deflated(&vec![0; 10 << 20]);
    let fragments: Vec<_> = bomb
        .chunks(100)
        .enumerate()
        .map(|(at, piece)| bare(if at == 0 { 0x42 } else { CONTINUATION }, piece))
        .collect();
    let mut endpoint = Endpoint::open(Role::Server, &compressing(Deflate::default()));
    let heard = fragments.iter().take_while(|fragment| {
        endpoint.hear_frames(std::slice::from_ref(fragment));
        endpoint.state() == State::Open
    });
    let heard = heard.count() + 1;
    assert_eq!(endpoint.ended().map(|(_, code, _)| code), Some(1009));
    // A tenth of it is the limit.
    assert!(heard <= fragments.len() / 10 + 2, "{heard} of {}", fragments.len());
}

/// What cannot be compressed becomes longer than it was: a hundredth and 64 bytes are spared for that.
#[test]
fn what_grew_by_compression_is_taken_and_no_more() {
    let random: Vec<u8> = (0..100_000u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ (n >> 3) as u8)
        .collect();
    // Stored blocks as some senders write them: much overhead, and nothing won.
    let mut stored = Vec::new();
    for block in random.chunks(1000) {
        let len = block.len() as u16;
        stored.push(0);
        stored.extend([len.to_le_bytes(), (!len).to_le_bytes()].concat());
        stored.extend(block);
    }
    stored.push(0);
    assert!(stored.len() > random.len());
    let settings = limited(random.len());
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &settings);
        endpoint.hear_frames(&[bare(BINARY_RSV1, &stored)]);
        assert_eq!(endpoint.seen, [binary(&random)]);

        let most = 100_000 + 1_000 + 64;
        for (name, first, len, taken) in [
            ("compressed", BINARY_RSV1, most, true),
            ("compressed, longer", BINARY_RSV1, most + 1, false),
            ("plain", BINARY, 100_000, true),
            ("plain, longer", BINARY, 100_001, false),
        ] {
            let mut endpoint = Endpoint::open(role, &settings);
            let header = wire(role, &[bare(first, vec![0; len])]);
            endpoint.hear(&header[..14]);
            assert_eq!(endpoint.state() == State::Open, taken, "{name}");
        }
        // The fragments of a message are counted together.
        let mut endpoint = Endpoint::open(role, &settings);
        let half = vec![0; most / 2];
        endpoint.hear_frames(&[bare(0x42, &stored[..most / 2])]);
        endpoint.hear_frames(&[bare(CONTINUATION, &stored[most / 2..]), bare(CONTINUATION, &half)]);
        assert_eq!(endpoint.ended().map(|(_, code, _)| code), Some(1009));
    }
}

// ---- work --------------------------------------------------------------------------------------

/// Receives `wire` with that allowance until it stops: the bytes that are left, and the work done.
fn receive_some(endpoint: &mut Endpoint, wire: &[u8], allowance: usize) -> (usize, u64) {
    endpoint.pool.set_inflate_allowance(allowance);
    let mut wire = wire.to_vec();
    let mut input = wire.as_mut_slice();
    let Endpoint { connection, now, pool, output, .. } = endpoint;
    assert!(connection.receive(&mut input, *now, pool, output).is_none());
    (input.len(), pool.take_work())
}

#[test]
fn inflating_stops_where_the_allowance_ends() {
    let message = deflated(&vec![0; 1 << 20]);
    for role in ROLES {
        let wire = wire(role, &[bare(BINARY_RSV1, &message)]);
        let mut endpoint = Endpoint::open(role, &compressing(Deflate::default()));
        let mut left = &wire[..];
        for _ in 0..50 {
            let (rest, work) = receive_some(&mut endpoint, left, 20_000);
            assert!(rest > 0 && (1..=8 * 21_000).contains(&work), "{rest} left, {work} done");
            left = &left[left.len() - rest..];
        }
        endpoint.hear(left);
        assert_eq!(endpoint.seen, [binary(vec![0; 1 << 20])]);
    }
    let mut endpoint = Endpoint::open(Role::Client, &compressing(Deflate::default()));
    let wire = wire(Role::Client, &[bare(BINARY_RSV1, &message)]);
    let (rest, _) = receive_some(&mut endpoint, &wire, 0);
    assert_eq!(rest, wire.len() - 4, "its header is read");
}

/// A block costs more than the few bytes that it takes, and so does a window that is set up.
#[test]
fn blocks_and_windows_are_work() {
    let empty = hex("000000ffff");
    let blocks = wire(Role::Client, &[bare(BINARY_RSV1, empty.repeat(10_000))]);
    let mut endpoint = Endpoint::open(Role::Client, &compressing(Deflate::default()));
    let (rest, work) = receive_some(&mut endpoint, &blocks, 100_000);
    let read = blocks.len() - rest;
    assert!((400..=500).contains(&read), "{read} bytes of 98 blocks");
    assert!(work >= 8 * 100_000);

    let mut endpoint = Endpoint::open(Role::Client, &compressing(takeover()));
    let random: Vec<u8> = (0..40_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    endpoint.hear_frames(&[bare(BINARY_RSV1, deflated(&random))]);
    endpoint.pool.take_work();
    endpoint.hear_frames(&[bare(BINARY_RSV1, hex("0300").repeat(32))]);
    let windows = 32 * (32 << 10);
    assert!(endpoint.pool.take_work() > windows, "each final block has it copied");
}

#[test]
fn what_is_sent_compressed_is_work_and_plain_messages_are_none() {
    let mut endpoint = Endpoint::open(Role::Server, &compressing(Deflate::default()));
    endpoint.say("x".repeat(100)).unwrap();
    assert_eq!(endpoint.pool.take_work(), 0);
    endpoint.say("x".repeat(1000)).unwrap();
    assert_eq!(endpoint.pool.take_work(), (32 << 10) + 32 * 1000);
    endpoint.hear_frames(&[bare(TEXT, "x".repeat(100)), bare(PONG, "")]);
    assert_eq!(endpoint.pool.take_work(), 2 * 64, "two frames");
}

// ---- sending -----------------------------------------------------------------------------------

#[test]
fn a_message_is_compressed_where_that_makes_it_shorter() {
    let long = "the same words again and again, ".repeat(2);
    let short = &long[..63];
    let noise: String = (' '..='~').collect();
    for role in ROLES {
        for deflate in [Deflate::default(), takeover()] {
            let takes_over = deflate.server_takeover;
            let mut pair = Pair::open(&compressing(Deflate { min_len: 64, ..deflate }));
            let (from, to) = pair.ends(role);
            for (name, message, first) in [
                ("short", short, TEXT),
                ("as long as need be", &long, TEXT_RSV1),
                ("again", &long, TEXT_RSV1),
                // With takeover it is in the window, so it has to go as it is.
                ("noise", &noise, if takes_over { TEXT_RSV1 } else { TEXT }),
                ("empty", "", TEXT),
            ] {
                from.say(message).unwrap();
                let output = std::mem::take(&mut from.output);
                assert_eq!(frames(role, &output)[0].0, first, "{name}, {role:?}");
                to.hear(&output);
                assert_eq!(to.seen.pop(), Some(text(message)), "{name}, {role:?}");
            }
        }
    }
}

#[test]
fn a_condition_decides_beside_the_length() {
    let words = "the same words again and again, ".repeat(4);
    let only_text = Condition::new(|opcode, payload| opcode == Opcode::Text && payload[0] == b't');
    for role in ROLES {
        for deflate in [Deflate::default(), takeover()] {
            let compress_if = Some(only_text.clone());
            let mut pair =
                Pair::open(&compressing(Deflate { min_len: 128, compress_if, ..deflate }));
            let (from, to) = pair.ends(role);
            let upper = words.to_uppercase();
            for (name, message, first) in [
                ("both hold", Message::from(&words), TEXT_RSV1),
                ("too short", Message::from(&words[..127]), TEXT),
                ("empty, so it must not be asked", Message::from(""), TEXT),
                ("of the wrong kind", Message::from(words.as_bytes()), BINARY),
                ("not to be compressed by its words", Message::from(&upper), TEXT),
                ("and again both", Message::from(&words), TEXT_RSV1),
            ] {
                from.say(message.clone()).unwrap();
                let output = std::mem::take(&mut from.output);
                assert_eq!(frames(role, &output)[0].0, first, "{name}, {role:?}");
                to.hear(&output);
                let heard = to.seen.pop().unwrap();
                assert_eq!(
                    heard,
                    match &message {
                        Message::Text(said) => text(said),
                        Message::Binary(said) => binary(&**said),
                    }
                );
            }
        }
    }
}

#[test]
fn a_condition_that_panics_harms_its_connection_alone() {
    let panics = Condition::new(|_, payload| panic!("{} bytes", payload.len()));
    let settings =
        compressing(Deflate { compress_if: Some(panics), min_len: 2, ..Deflate::default() });
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &settings);
        endpoint.say("1").unwrap();
        assert_eq!(endpoint.sent(), [bare(TEXT, "1")], "it is not asked");
        assert_eq!(endpoint.say("message"), Err(SendError::NotOpen));
        assert_eq!(endpoint.sent(), [close_frame(1011, "a condition panicked")]);
        let ended = (CloseCause::Local, 1011, "a condition panicked");
        assert_eq!((endpoint.ended(), endpoint.state()), (Some(ended), State::Closed));
    }
}

#[test]
fn with_takeover_a_message_refers_back_to_the_last_one() {
    let message = "what was said once needs not be said again, as the other side has it still";
    for role in ROLES {
        let lens = |deflate: Deflate| {
            let settings = compressing(Deflate { min_len: 0, ..deflate });
            let mut endpoint = Endpoint::open(role, &settings);
            [(); 2].map(|()| {
                endpoint.say(message).unwrap();
                endpoint.sent()[0].1.len()
            })
        };
        let [first, again] = lens(takeover());
        assert!(again < 12 && again < first / 3, "{first}, then {again}");
        let [first, again] = lens(Deflate::default());
        assert_eq!(first, again);
    }
}

/// RFC 7692 §7.1.2.2: a server may answer with a window of 8 bits.
#[test]
fn a_client_told_to_use_the_least_window_sends_plain_and_reads_compressed_messages() {
    let settings = compressing(takeover());
    let response = "permessage-deflate; client_max_window_bits=8";
    let response = extension::parse([response.as_bytes()]).unwrap();
    let mut client = Endpoint::connecting(Role::Client, &settings);
    client.connection.upgrade(Arc::new(settings.clone()), start());
    client.connection.agree_on(settings.accept(&response).unwrap());
    let message = "again and again ".repeat(50);
    for _ in 0..2 {
        client.say(&message).unwrap();
        assert_eq!(client.sent(), [bare(TEXT, &message)]);
        client.hear_frames(&[bare(TEXT_RSV1, deflated(message.as_bytes()))]);
        assert_eq!(client.seen.pop(), Some(text(&message)));
    }
    let agreed = client.connection.agreed().unwrap();
    assert_eq!(agreed.terms().to_string(), "permessage-deflate; client_max_window_bits=8");
}

#[test]
fn an_owned_message_is_compressed_like_any_other() {
    let payload = b"over and over ".repeat(5000);
    for role in ROLES {
        let mut pair = Pair::open(&compressing(Deflate::default()));
        let (from, to) = pair.ends(role);
        let Endpoint { connection, pool, output, .. } = from;
        let owned = Buffer::from(payload.clone());
        assert!(connection.send_owned(Opcode::Binary, owned, pool, output).unwrap().is_none());
        assert!(output.len() < payload.len() / 50);
        to.hear(output);
        assert_eq!(to.seen, [binary(&payload)]);
    }
}

// ---- a window for topics -----------------------------------------------------------------------

#[test]
fn a_window_for_topics_has_no_compressor_and_is_plain_while_it_is_lent() {
    let message = "said to one alone, and said again, and said to one alone";
    let deflate = Deflate { min_len: 1, ..Deflate::for_topics() };
    let mut pair = Pair::open(&compressing(deflate));
    assert_eq!(pair.client.connection.window_for_topics(), None);
    let agreed = pair.server.connection.window_for_topics().unwrap();
    assert_eq!((agreed.server_window_bits, agreed.server_takeover), (15, true));

    let say = |lent, pair: &mut Pair| {
        pair.server.connection.lend_window(lent);
        pair.server.say(message).unwrap();
        let output = std::mem::take(&mut pair.server.output);
        pair.client.hear(&output);
        assert_eq!(pair.client.seen.pop(), Some(text(message)));
        assert!(pair.server.connection.takeover.is_none());
        output
    };
    let compressed = say(false, &mut pair);
    assert_eq!(compressed[0], TEXT_RSV1);
    assert_eq!(say(false, &mut pair), compressed, "it refers to nothing");
    assert_eq!(say(true, &mut pair)[0], TEXT);
    let Endpoint { connection, pool, output, .. } = &mut pair.server;
    let owned = Buffer::from(message.as_bytes().to_vec());
    assert!(connection.send_owned(Opcode::Binary, owned, pool, output).unwrap().is_some());
    output.clear();
    assert_eq!(say(false, &mut pair), compressed);
}

#[test]
fn a_window_is_for_topics_where_the_connection_has_no_compressor_of_its_own() {
    let bits = |deflate: Option<Deflate>| {
        let pair = Pair::open(&Settings { deflate, ..Settings::default() });
        pair.server.connection.window_for_topics().map(|agreed| agreed.server_window_bits)
    };
    assert_eq!(bits(None), None);
    assert_eq!(bits(Some(Deflate::default())), Some(12));
    assert_eq!(bits(Some(takeover())), None);
    assert_eq!(bits(Some(Deflate::for_topics())), Some(15));
}

// ---- raw mode ----------------------------------------------------------------------------------

fn raw() -> Settings {
    Settings { mode: Mode::Raw, ..compressing(Deflate { raw: true, ..takeover() }) }
}

#[test]
fn in_raw_mode_frames_come_up_inflated() {
    let heard = [
        bare(TEXT_START_RSV1, hex("f248cd")),
        bare(PING, "?"),
        bare(CONTINUATION_END, hex("c9c90700")),
        bare(TEXT_RSV1, hex("f200110000")),
        bare(TEXT, "plain"),
    ];
    for role in ROLES {
        let outcome = every_way("raw", role, &raw(), &wire(role, &heard));
        let frame = |(first, payload)| Seen::Frame(first, payload);
        // How much of a text stands in which fragment is the sender's affair.
        let Seen::Frame(TEXT_START, start) = &outcome.seen[0] else { panic!("{:?}", outcome.seen) };
        assert_eq!(
            outcome.seen[1..],
            [
                bare(PING, "?"),
                bare(CONTINUATION_END, &b"Hello"[start.len()..]),
                bare(TEXT, "Hello"),
                bare(TEXT, "plain"),
            ]
            .map(frame)
        );
        assert_eq!(start, &b"Hello"[..start.len()]);
    }
}

#[test]
fn in_raw_mode_whole_messages_are_compressed() {
    let long = "the same words ".repeat(20);
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &raw());
        endpoint.send_frame(TEXT, long.as_bytes()).unwrap();
        endpoint.send_frame(TEXT_START, long.as_bytes()).unwrap();
        endpoint.send_frame(CONTINUATION_END, long.as_bytes()).unwrap();
        let firsts: Vec<_> = endpoint.sent().iter().map(|(first, _)| *first).collect();
        assert_eq!(firsts, [TEXT_RSV1, TEXT_START, CONTINUATION_END]);
        assert_eq!(endpoint.send_frame(TEXT_RSV1, b""), Err(SendError::IllegalFrame));
    }
}

// ---- memory ------------------------------------------------------------------------------------

#[test]
fn without_takeover_a_connection_at_rest_owns_nothing() {
    let message = "again and again ".repeat(50);
    for role in ROLES {
        let mut pair = Pair::open(&compressing(Deflate::default()));
        for _ in 0..3 {
            let (from, to) = pair.ends(role);
            from.say(&message).unwrap();
            to.hear(&std::mem::take(&mut from.output));
            assert_eq!(to.seen.pop(), Some(text(&message)));
        }
        for end in [&pair.client, &pair.server] {
            assert!(end.connection.takeover.is_none() && end.connection.incoming.is_none());
        }
    }
}

#[test]
fn with_takeover_a_connection_owns_something_from_its_first_compressed_message_on() {
    let message = "again and again ".repeat(50);
    let mut pair = Pair::open(&compressing(takeover()));
    pair.client.connection.takeover = None;
    pair.client.say("short").unwrap();
    pair.exchange();
    assert!(pair.client.connection.takeover.is_none());
    pair.client.say(&message).unwrap();
    pair.exchange();
    assert!(pair.client.connection.takeover.is_some());
    pair.client.close(1000, "").unwrap();
    pair.exchange();
    assert!(pair.client.connection.takeover.is_none(), "it ends with the connection");
}

// ---- histories ---------------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    /// Messages of any kind, in any order, cut anywhere, with any settings, arrive as they were.
    #[test]
    fn two_ends_understand_each_other(
        (level, mem_level) in (1..=9u8, 1..=9u8),
        (server_window_bits, client_window_bits) in (9..=15u8, 9..=15u8),
        (server_takeover, client_takeover) in (any::<bool>(), any::<bool>()),
        (min_len, quick_below) in (select(vec![0, 1, 64, 1000]), select(vec![0, 256, 10_000])),
        messages in vec((select(ROLES.to_vec()), payload(), 1..3000usize), 1..12),
    ) {
        let deflate = Deflate {
            level,
            quick_below,
            mem_level,
            server_window_bits,
            client_window_bits,
            server_takeover,
            client_takeover,
            min_len,
            ..Deflate::default()
        };
        let mut pair = Pair::open(&compressing(deflate));
        for (role, message, read) in messages {
            let (from, to) = pair.ends(role);
            from.say(&message).unwrap();
            let output = std::mem::take(&mut from.output);
            to.hear_in_place(&output, read);
            prop_assert_eq!(to.seen.pop(), Some(text(&message)));
            prop_assert!(to.connection.incoming.is_none());
        }
    }

    /// Compressed messages in random fragments, one byte changed perhaps: every way to cut them comes to
    /// the same.
    #[test]
    fn cuts_change_nothing(
        role in select(ROLES.to_vec()),
        mode in select(vec![Mode::Messages, Mode::Raw]),
        messages in vec((payload(), 1..100usize), 1..4),
        changed in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let deflate = Deflate { raw: true, ..takeover() };
        let mut compressor = Compressor::new(15, &deflate);
        let mut sent = Vec::new();
        for (message, size) in &messages {
            let mut out = Vec::new();
            let end = message.char_indices().nth(500).map_or(message.len(), |(at, _)| at);
            compressor.compress(&message.as_bytes()[..end], &mut out);
            let last = out.len().div_ceil(*size) - 1;
            sent.extend(out.chunks(*size).enumerate().map(|(at, piece)| {
                let first = if at == 0 { TEXT_START_RSV1 } else { CONTINUATION };
                bare(first | if at == last { 0x80 } else { 0 }, piece)
            }));
        }
        let mut wire = wire(role, &sent);
        let is_changed = changed.is_some();
        if let Some((at, byte)) = changed {
            *at.get_mut(&mut wire) = byte;
        }
        let settings = Settings { mode, ..compressing(deflate) };
        let outcome = every_way("random", role, &settings, &wire);
        prop_assert!(is_changed || outcome.reason.is_none(), "{:?}", outcome.reason);
    }
}

/// Text that repeats itself, and text that does not.
fn payload() -> impl Strategy<Value = String> {
    let word = select(vec![
        "{\"from\":\"",
        "\",\"text\":\"",
        "the same words ",
        "again and ",
        "\"}",
        "é世",
    ]);
    prop_oneof![
        6 => vec(word, 0..60).prop_map(|words| words.concat()),
        2 => "\\PC{0,300}",
        1 => (0..70_000usize).prop_map(|len| "x".repeat(len)),
    ]
}
