//! Open: from bytes to events (§5).

use super::*;

/// The Close that an endpoint sends for `error`.
fn close_for(error: ProtocolError) -> Bare {
    close_frame(error.close_code().0, &error.to_string())
}

/// Bytes heard, one by one, until the connection failed.
fn bytes_until_failure(role: Role, settings: &Settings, wire: &[u8]) -> Option<usize> {
    let mut endpoint = Endpoint::open(role, settings);
    let fails = |byte: &u8| {
        endpoint.hear(&[*byte]);
        endpoint.state() == State::Closed
    };
    wire.iter().position(fails).map(|at| at + 1)
}

// ---- what is legal -----------------------------------------------------------------------------

#[test]
fn the_examples_of_the_rfc_are_read() {
    let bytes = |len: usize| vec![0x5a; len];
    for (name, role, head, payload, seen, sent) in [
        ("§5.7 unmasked", Role::Client, "81 05 48656c6c6f", vec![], vec![text("Hello")], vec![]),
        (
            "§5.7 masked",
            Role::Server,
            "81 85 37fa213d 7f9f4d5158",
            vec![],
            vec![text("Hello")],
            vec![],
        ),
        (
            "§5.7 fragments",
            Role::Client,
            "01 03 48656c 80 02 6c6f",
            vec![],
            vec![text("Hello")],
            vec![],
        ),
        ("§5.7 ping", Role::Client, "89 05 48656c6c6f", vec![], vec![], vec![bare(PONG, "Hello")]),
        ("§5.7 pong", Role::Server, "8a 85 37fa213d 7f9f4d5158", vec![], vec![], vec![]),
        ("§5.7 256", Role::Client, "82 7e 0100", bytes(256), vec![binary(bytes(256))], vec![]),
        (
            "§5.7 64 Ki",
            Role::Client,
            "82 7f 0000000000010000",
            bytes(65536),
            vec![binary(bytes(65536))],
            vec![],
        ),
    ] {
        let outcome = every_way(name, role, &Settings::default(), &[hex(head), payload].concat());
        assert_eq!(outcome, Outcome { seen, sent, state: State::Open, reason: None }, "{name}");
    }
}

#[test]
fn messages_are_joined_and_pings_between_fragments_are_answered() {
    let hello = || text("Hello, wörld");
    for (name, frames, seen, sent) in [
        ("empty text", vec![bare(TEXT, "")], vec![text("")], vec![]),
        ("empty binary", vec![bare(BINARY, "")], vec![binary("")], vec![]),
        ("empty ping", vec![bare(PING, "")], vec![], vec![bare(PONG, "")]),
        ("the longest ping", vec![bare(PING, [9; 125])], vec![], vec![bare(PONG, [9; 125])]),
        (
            "three messages",
            vec![bare(TEXT, "one"), bare(BINARY, "two"), bare(TEXT, "three")],
            vec![text("one"), binary("two"), text("three")],
            vec![],
        ),
        (
            "a character over two fragments",
            vec![bare(TEXT_START, b"Hello, w\xc3"), bare(CONTINUATION_END, b"\xb6rld")],
            vec![hello()],
            vec![],
        ),
        (
            "a character over four fragments, one of them empty",
            vec![
                bare(TEXT_START, b"\xf0"),
                bare(CONTINUATION, b"\x9f\x8d"),
                bare(CONTINUATION, b""),
                bare(CONTINUATION_END, b"\xb5"),
            ],
            vec![text("🍵")],
            vec![],
        ),
        (
            "empty fragments alone",
            vec![bare(TEXT_START, ""), bare(CONTINUATION, ""), bare(CONTINUATION_END, "")],
            vec![text("")],
            vec![],
        ),
        (
            "empty fragments around one byte",
            vec![bare(BINARY_START, ""), bare(CONTINUATION, "x"), bare(CONTINUATION_END, "")],
            vec![binary("x")],
            vec![],
        ),
        (
            "control frames between fragments, inside a character",
            vec![
                bare(TEXT_START, b"Hello, w\xc3"),
                bare(PING, b"\xff 1"),
                bare(PONG, b"\xff"),
                bare(PING, b"2"),
                bare(CONTINUATION_END, b"\xb6rld"),
            ],
            vec![hello()],
            vec![bare(PONG, b"\xff 1"), bare(PONG, b"2")],
        ),
        ("an unasked pong", vec![bare(PONG, "here"), bare(TEXT, "and")], vec![text("and")], vec![]),
        (
            "what is no text is not checked as such",
            vec![bare(BINARY_START, b"\xff"), bare(CONTINUATION_END, b"\xc0")],
            vec![binary(b"\xff\xc0")],
            vec![],
        ),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &Settings::default(), &wire(role, &frames));
            let expected = Outcome {
                seen: seen.clone(),
                sent: sent.clone(),
                state: State::Open,
                reason: None,
            };
            assert_eq!(outcome, expected, "{name}, {role:?}");
        }
    }
}

#[test]
fn payloads_of_every_length_form_are_read() {
    for len in [0, 1, 124, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        for role in ROLES {
            let wire = wire(role, &[bare(BINARY, &payload), bare(TEXT, "next")]);
            let outcome = every_way(&len.to_string(), role, &Settings::default(), &wire);
            assert_eq!(outcome.seen, [binary(&payload), text("next")], "{len}, {role:?}");
        }
    }
}

#[test]
fn a_message_that_is_whole_in_the_input_is_a_slice_of_it() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        let mut wire = wire(role, &[bare(TEXT, "Hello"), bare(BINARY, "wörld")]);
        let range = wire.as_ptr_range();
        let mut input = wire.as_mut_slice();
        for _ in 0..2 {
            let Endpoint { connection, now, pool, output, .. } = &mut endpoint;
            let Some(Event::Message(message)) = connection.receive(&mut input, *now, pool, output)
            else {
                panic!("two messages are there")
            };
            assert!(range.contains(&message.as_bytes().as_ptr()));
        }
        assert!(endpoint.connection.incoming.is_none());
    }
}

// ---- broken rules ------------------------------------------------------------------------------

/// Every error but those of size and count, with the bytes after which it is known.
#[test]
fn a_broken_rule_fails_the_connection_at_the_first_offending_byte() {
    use ProtocolError as E;
    for (name, role, bytes, known_after, error) in [
        ("§5.2 RSV1", Role::Server, "c1 80 00000000", 1, E::ReservedBits { bits: 4 }),
        ("§5.2 RSV2 on a ping", Role::Server, "a9 80 00000000", 1, E::ReservedBits { bits: 2 }),
        ("§5.2 RSV3", Role::Client, "92 00", 1, E::ReservedBits { bits: 1 }),
        ("§5.2 all of them", Role::Client, "f1 00", 1, E::ReservedBits { bits: 7 }),
        ("§5.1 unmasked", Role::Server, "81 05 48656c6c6f", 2, E::Unmasked),
        ("§5.1 unmasked and empty", Role::Server, "89 00", 2, E::Unmasked),
        ("§5.1 masked", Role::Client, "81 85 37fa213d 7f9f4d5158", 2, E::Masked),
        ("§5.4 nothing to continue", Role::Server, "80 05", 1, E::NothingToContinue),
        ("§5.4 nothing to continue with more", Role::Client, "00 80", 1, E::NothingToContinue),
        ("§5.4 text in a text", Role::Client, "01 00 81 80", 3, E::MessageUnfinished),
        ("§5.4 fragment after a pong", Role::Client, "01 00 8a 00 02", 5, E::MessageUnfinished),
        ("§5.4 masked", Role::Server, "02 80 37fa213d 82 00", 7, E::MessageUnfinished),
        ("§5.5 close in fragments", Role::Server, "08 80 00000000", 1, E::FragmentedControl),
        ("§5.5 ping in fragments", Role::Client, "09 00", 1, E::FragmentedControl),
        ("§5.5 pong in fragments", Role::Client, "0a 00", 1, E::FragmentedControl),
        ("§5.5 ping of 126", Role::Client, "89 7e 007e", 2, E::ControlTooLong { len: 126 }),
        ("§5.5 close of 64 Ki", Role::Server, "88 ff", 2, E::ControlTooLong { len: 127 }),
        ("§5.2 125 in 16 bits", Role::Client, "82 7e 007d", 4, E::LengthNotMinimal { len: 125 }),
        ("§5.2 0 in 16 bits", Role::Server, "82 fe 0000", 4, E::LengthNotMinimal { len: 0 }),
        (
            "§5.2 65,535 in 64 bits",
            Role::Client,
            "82 7f 000000000000ffff",
            10,
            E::LengthNotMinimal { len: 65_535 },
        ),
        ("§5.2 top bit", Role::Client, "82 7f 8000000000000000", 3, E::LengthTopBit),
        ("§5.2 top bit, masked", Role::Server, "82 ff ffffffffffffffff", 3, E::LengthTopBit),
        ("§5.5.1 close of one byte", Role::Client, "88 01 03", 3, E::ClosePayloadTooShort),
        ("§7.4 code 999", Role::Client, "88 02 03e7", 4, E::InvalidCloseCode { code: 999 }),
        ("§7.4 code 1005", Role::Client, "88 02 03ed", 4, E::InvalidCloseCode { code: 1005 }),
        ("§5.5.1 reason", Role::Client, "88 04 03e8 c328", 6, E::InvalidUtf8),
        ("§5.5.1 reason cut off", Role::Client, "88 03 03e8 c3", 5, E::InvalidUtf8),
        ("§8.1 ff, mid-frame", Role::Client, "81 7e 0400 4100ff", 7, E::InvalidUtf8),
        ("§8.1 overlong, mid-frame", Role::Client, "81 0a c0af", 3, E::InvalidUtf8),
        ("§8.1 overlong by its second byte", Role::Client, "81 0a e080", 4, E::InvalidUtf8),
        ("§8.1 surrogate", Role::Client, "81 0a 41 eda0", 5, E::InvalidUtf8),
        ("§8.1 past U+10FFFF", Role::Client, "81 0a f490", 4, E::InvalidUtf8),
        ("§8.1 lone continuation", Role::Client, "81 0a 80", 3, E::InvalidUtf8),
        ("§8.1 cut off by the end", Role::Client, "81 02 41c3", 4, E::InvalidUtf8),
        ("§8.1 masked, mid-frame", Role::Server, "81 fe 0400 37fa213d 76bb de", 11, E::InvalidUtf8),
        ("§8.1 over fragments", Role::Client, "01 01 c3 80 05 28", 6, E::InvalidUtf8),
        ("§8.1 cut off by the last fragment", Role::Client, "01 01 c3 80 00", 5, E::InvalidUtf8),
    ] {
        let settings = Settings::default();
        let bytes = hex(bytes);
        assert_eq!(bytes_until_failure(role, &settings, &bytes), Some(known_after), "{name}");
        let outcome = every_way(name, role, &settings, &bytes);
        assert_eq!(outcome.seen, [], "{name}");
        assert_eq!(outcome.sent, [close_for(error)], "{name}");
        assert_eq!(outcome.state, State::Closed, "{name}");
        assert_eq!(outcome.reason.map(|reason| reason.cause), Some(CloseCause::Protocol(error)));
    }
}

#[test]
fn a_finished_message_is_not_continued() {
    for bytes in ["01 00 80 00 80", "81 00 00"] {
        let (bytes, settings) = (hex(bytes), Settings::default());
        let known_after = bytes_until_failure(Role::Client, &settings, &bytes);
        assert_eq!(known_after, Some(bytes.len()), "{bytes:02x?}");
        let outcome = every_way("a finished message", Role::Client, &settings, &bytes);
        assert_eq!(outcome.seen, [text("")], "{bytes:02x?}");
        assert_eq!(outcome.sent, [close_for(ProtocolError::NothingToContinue)], "{bytes:02x?}");
    }
}

#[test]
fn every_reserved_bit_and_opcode_is_refused() {
    for first in 0..=u8::MAX {
        let (bits, opcode) = (first >> 4 & 7, first & 15);
        let reserved = matches!(opcode, 3..=7 | 11..=15);
        for role in ROLES {
            let mut endpoint = Endpoint::open(role, &Settings::default());
            endpoint.hear(&[first]);
            let error = match endpoint.ended() {
                Some((CloseCause::Protocol(error), ..)) => Some(error),
                _ => None,
            };
            match error {
                Some(ProtocolError::ReservedBits { bits: told }) => {
                    assert_eq!((told, told > 0), (bits, true))
                }
                Some(ProtocolError::ReservedOpcode { opcode: told }) => {
                    assert_eq!((told, reserved), (opcode, true))
                }
                // §5.4 speaks first: nothing stands before it.
                Some(ProtocolError::NothingToContinue) => assert_eq!(opcode, 0),
                _ => assert!(bits == 0 && !reserved, "{first:02x} is refused"),
            }
        }
    }
}

/// Autobahn 3.2 to 3.4, 4.1.3 to 4.2.5, 5.15, 6.4: what came before still counts, whatever comes after
/// does not.
#[test]
fn what_stood_before_a_broken_rule_is_delivered_and_answered() {
    use ProtocolError as E;
    for (name, bad, error) in [
        ("reserved bits", bare(0xd1, "x"), E::ReservedBits { bits: 5 }),
        ("reserved opcode", bare(0x83, ""), E::ReservedOpcode { opcode: 3 }),
        ("reserved control opcode", bare(0x8b, "x"), E::ReservedOpcode { opcode: 11 }),
        ("nothing to continue", bare(CONTINUATION_END, "x"), E::NothingToContinue),
        ("no text", bare(TEXT, b"text \xff"), E::InvalidUtf8),
        ("ping too long", bare(PING, [0; 126]), E::ControlTooLong { len: 126 }),
        ("close without code", bare(CLOSE, "x"), E::ClosePayloadTooShort),
    ] {
        for role in ROLES {
            let before = [bare(TEXT, "before"), bare(PING, "me"), bare(BINARY, "too")];
            let after = [bare(TEXT, "after"), bare(PING, "never"), close_frame(1000, "")];
            let wire = wire(role, &[&before[..], std::slice::from_ref(&bad), &after].concat());
            let outcome = every_way(name, role, &Settings::default(), &wire);
            assert_eq!(outcome.seen, [text("before"), binary("too")], "{name}, {role:?}");
            assert_eq!(outcome.sent, [bare(PONG, "me"), close_for(error)], "{name}, {role:?}");
            assert_eq!(outcome.reason.unwrap().cause, CloseCause::Protocol(error), "{name}");
        }
    }
}

// ---- limits ------------------------------------------------------------------------------------

/// Each limit, exactly at it and one past it.
#[test]
fn limits_hold_to_the_byte() {
    let small = Limits { max_frame: 200, max_message: 300, max_fragments: 3, ..Limits::default() };
    let bytes = |first, len| bare(first, vec![b'a'; len]);
    use ProtocolError as E;
    for (name, frames, whole, error) in [
        ("frame at it", vec![bytes(BINARY, 200)], Some(200), None),
        (
            "frame past it",
            vec![bytes(BINARY, 201)],
            None,
            Some(E::FrameTooBig { len: 201, max: 200 }),
        ),
        (
            "fragment past it",
            vec![bytes(TEXT_START, 1), bytes(CONTINUATION_END, 201)],
            None,
            Some(E::FrameTooBig { len: 201, max: 200 }),
        ),
        (
            "message at it",
            vec![bytes(BINARY_START, 200), bytes(CONTINUATION_END, 100)],
            Some(300),
            None,
        ),
        (
            "message past it",
            vec![bytes(BINARY_START, 200), bytes(CONTINUATION_END, 101)],
            None,
            Some(E::MessageTooBig { len: 301, max: 300 }),
        ),
        (
            "message past it by a fragment that is not the last",
            vec![bytes(BINARY_START, 150), bytes(CONTINUATION, 150), bytes(CONTINUATION, 1)],
            None,
            Some(E::MessageTooBig { len: 301, max: 300 }),
        ),
        (
            "fragments at it",
            vec![bytes(TEXT_START, 1), bytes(CONTINUATION, 1), bytes(CONTINUATION_END, 1)],
            Some(3),
            None,
        ),
        (
            "fragments past it",
            vec![
                bytes(TEXT_START, 0),
                bytes(CONTINUATION, 0),
                bytes(CONTINUATION, 0),
                bytes(CONTINUATION_END, 0),
            ],
            None,
            Some(E::TooManyFragments { max: 3 }),
        ),
        (
            "control frames are no fragments",
            vec![
                bytes(TEXT_START, 1),
                bytes(PONG, 9),
                bytes(PONG, 9),
                bytes(PONG, 9),
                bytes(CONTINUATION_END, 1),
            ],
            Some(2),
            None,
        ),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &limits(small.clone()), &wire(role, &frames));
            let lens: Vec<_> = outcome
                .seen
                .iter()
                .map(|seen| match seen {
                    Seen::Text(text) => text.len(),
                    Seen::Binary(bytes) | Seen::Frame(_, bytes) => bytes.len(),
                })
                .collect();
            assert_eq!(lens, whole.into_iter().collect::<Vec<_>>(), "{name}, {role:?}");
            let failed = outcome.reason.map(|reason| reason.cause);
            assert_eq!(failed, error.map(CloseCause::Protocol), "{name}, {role:?}");
            assert_eq!(
                outcome.sent,
                error.into_iter().map(close_for).collect::<Vec<_>>(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_single_frame_message_keeps_to_the_limit_of_messages() {
    let tight = limits(Limits { max_message: 10, ..Limits::default() });
    for role in ROLES {
        let outcome = every_way("at it", role, &tight, &wire(role, &[bare(TEXT, [b'a'; 10])]));
        assert_eq!(outcome.state, State::Open);
        let outcome = every_way("past it", role, &tight, &wire(role, &[bare(TEXT, [b'a'; 11])]));
        let error = ProtocolError::MessageTooBig { len: 11, max: 10 };
        assert_eq!(outcome.sent, [close_for(error)]);
    }
}

#[test]
fn a_limit_of_no_frames_holds_for_single_ones_too() {
    let none = limits(Limits { max_fragments: 0, ..Limits::default() });
    for role in ROLES {
        for first in [TEXT, BINARY_START] {
            let wire = wire(role, &[bare(PING, ""), bare(first, "Hello")]);
            let outcome = every_way("no frames", role, &none, &wire);
            let error = ProtocolError::TooManyFragments { max: 0 };
            assert_eq!(outcome.sent, [bare(PONG, ""), close_for(error)], "{role:?}, {first:02x}");
        }
    }
}

#[test]
fn the_header_alone_tells_that_a_frame_is_too_long() {
    for (name, header, known_after, code) in [
        ("one past the default", "82 7f 0000000000100001", 10, 1009),
        ("the longest there is", "82 7f 7fffffffffffffff", 10, 1009),
    ] {
        let header = hex(header);
        assert_eq!(
            bytes_until_failure(Role::Client, &Settings::default(), &header),
            Some(known_after),
            "{name}"
        );
        let outcome = every_way(name, Role::Client, &Settings::default(), &header);
        assert_eq!(outcome.reason.unwrap().code.0, code, "{name}");
    }
}

#[test]
fn nothing_is_reserved_for_a_length_that_was_only_announced() {
    let huge = Limits { max_frame: usize::MAX, max_message: usize::MAX, ..Limits::default() };
    let mut endpoint = Endpoint::open(Role::Client, &limits(huge));
    endpoint.pool = Pool::new(usize::MAX);
    endpoint.hear(&hex("82 7f 7fffffffffffffff 00"));
    assert_eq!(endpoint.state(), State::Open);
    let mut arrived = 1;
    for _ in 0..100 {
        let space = endpoint.connection.space(&mut endpoint.pool).unwrap();
        assert!(space.len() <= arrived + (8 << 10), "{} for {arrived}", space.len());
        let now = space.len().min(1000);
        endpoint.connection.receive_in_place(now, endpoint.now, &mut endpoint.output);
        arrived += now;
    }
}

#[test]
fn limits_that_limit_nothing_do_not_overflow() {
    let none = Limits {
        max_frame: usize::MAX,
        max_message: usize::MAX,
        max_fragments: u32::MAX,
        ..Limits::default()
    };
    let outcome = every_way(
        "no limits",
        Role::Client,
        &limits(none),
        &hex("01 01 61 00 7f 7fffffffffffffff 62"),
    );
    assert_eq!((outcome.state, outcome.sent), (State::Open, vec![]));
}

// ---- large frames ------------------------------------------------------------------------------

#[test]
fn large_frames_read_straight_into_place_come_to_the_same() {
    let payload: Vec<u8> = "Tee, tea, 茶, чай, 🍵. ".bytes().cycle().take(27 * 10_000).collect();
    let whole = String::from_utf8_lossy(&payload);
    assert_eq!(whole.as_bytes(), payload, "the text ends with a whole one");
    for role in ROLES {
        for frames in [
            vec![bare(TEXT, &payload)],
            vec![
                bare(TEXT_START, &payload[..99_999]),
                bare(PING, "?"),
                bare(CONTINUATION_END, &payload[99_999..]),
            ],
        ] {
            let wire = wire(role, &[&frames[..], &[bare(TEXT, "next")]].concat());
            for read in [1000, 4095, 4 << 10, 65_537, 1 << 20] {
                let mut endpoint = Endpoint::open(role, &Settings::default());
                let (head, rest) = wire.split_at(20);
                endpoint.hear(head);
                let in_place = endpoint.hear_in_place(rest, read);
                assert!(in_place > 100_000 || read > 65_536, "{in_place} bytes, read by {read}");
                // Not `assert_eq`: the text is long.
                let same = endpoint.seen == [text(&whole), text("next")];
                assert!(same, "{role:?}, read by {read}: {:?}", endpoint.ended());
            }
        }
    }
}

#[test]
fn wrong_text_fails_in_place_too() {
    let mut payload = vec![b'a'; 100_000];
    payload[50_000] = 0xff;
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        let wire = wire(role, &[bare(TEXT, &payload)]);
        endpoint.hear_in_place(&wire[..50_000], 1000);
        assert_eq!(endpoint.state(), State::Open);
        endpoint.hear_in_place(&wire[50_000..51_000], 1000);
        assert_eq!(endpoint.sent(), [close_for(ProtocolError::InvalidUtf8)]);
        assert!(endpoint.connection.space(&mut endpoint.pool).is_none());
    }
}

#[test]
fn there_is_space_for_large_data_frames_only() {
    for (name, mode, head, offered) in [
        ("16 Ki missing", Mode::Messages, "82 7e 4001 00", true),
        ("one less", Mode::Messages, "82 7e 4000 00", false),
        ("the header cut off", Mode::Messages, "82 7e 40", false),
        ("a ping inside a large message", Mode::Messages, "02 01 00 89 05 00", false),
        ("raw mode joins nothing", Mode::Raw, "82 7e ffff 00", false),
    ] {
        let mut endpoint = Endpoint::open(Role::Client, &settings(mode));
        endpoint.hear(&hex(head));
        assert_eq!(endpoint.connection.space(&mut endpoint.pool).is_some(), offered, "{name}");
    }
}

// ---- memory ------------------------------------------------------------------------------------

#[test]
fn a_connection_at_rest_holds_nothing() {
    assert!(size_of::<Connection>() <= 88, "{} bytes", size_of::<Connection>());
    for role in ROLES {
        for (name, frames) in [
            ("one frame", vec![bare(TEXT, "Hello")]),
            ("fragments", vec![bare(TEXT_START, "Hel"), bare(CONTINUATION_END, "lo")]),
            ("an empty one", vec![bare(TEXT, "")]),
            ("a ping", vec![bare(PING, "Hello")]),
            ("an empty ping", vec![bare(PING, "")]),
            ("a large one", vec![bare(BINARY, [0; 100_000])]),
        ] {
            for mode in [Mode::Messages, Mode::Raw] {
                for read in [1, 3, 5000, 1 << 20] {
                    let mut endpoint = Endpoint::open(role, &settings(mode));
                    endpoint.hear_in_place(&wire(role, &frames), read);
                    assert!(
                        endpoint.connection.incoming.is_none(),
                        "{name}, {mode:?}, read by {read}"
                    );
                    assert!(!endpoint.seen.is_empty() || !endpoint.output.is_empty(), "{name}");
                }
            }
        }
    }
}
