//! Raw mode: every checked frame comes up, nothing is answered or joined.

use super::*;

fn raw() -> Settings {
    settings(Mode::Raw)
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Seen {
    Seen::Frame(first, payload.as_ref().to_vec())
}

#[test]
fn every_frame_comes_up_as_it_came_and_nothing_is_answered() {
    let heard = [
        bare(TEXT, "Hello"),
        bare(TEXT_START, b"w\xc3"),
        bare(PING, b"\xff?"),
        bare(CONTINUATION, ""),
        bare(PONG, "!"),
        bare(CONTINUATION_END, b"\xb6rld"),
        bare(BINARY_START, b"\xff"),
        bare(CONTINUATION_END, ""),
        bare(BINARY, [7; 300]),
        close_frame(4000, "enough"),
    ];
    for role in ROLES {
        let outcome = every_way("raw", role, &raw(), &wire(role, &heard));
        let expected = heard.clone().map(|(first, payload)| frame(first, payload));
        assert_eq!(outcome.seen, expected, "{role:?}");
        assert_eq!((outcome.sent, outcome.state), (vec![], State::CloseReceived), "{role:?}");
    }
}

#[test]
fn the_same_rules_hold() {
    use ProtocolError as E;
    for (name, frames, error) in [
        ("reserved bits", vec![bare(0xc1, "x")], E::ReservedBits { bits: 4 }),
        ("reserved opcode", vec![bare(0x8f, "")], E::ReservedOpcode { opcode: 15 }),
        ("a ping in fragments", vec![bare(0x09, "")], E::FragmentedControl),
        ("nothing to continue", vec![bare(CONTINUATION_END, "")], E::NothingToContinue),
        (
            "nothing to continue after the last fragment",
            vec![bare(TEXT_START, ""), bare(CONTINUATION_END, ""), bare(CONTINUATION, "")],
            E::NothingToContinue,
        ),
        (
            "nothing to continue after a whole message",
            vec![bare(TEXT, ""), bare(CONTINUATION, "")],
            E::NothingToContinue,
        ),
        (
            "a message inside another",
            vec![bare(TEXT_START, ""), bare(TEXT, "")],
            E::MessageUnfinished,
        ),
        ("wrong text", vec![bare(TEXT, b"\xff")], E::InvalidUtf8),
        (
            "wrong text over fragments",
            vec![bare(TEXT_START, b"\xe2"), bare(PING, ""), bare(CONTINUATION, b"\x28")],
            E::InvalidUtf8,
        ),
        (
            "text cut off by its last fragment",
            vec![bare(TEXT_START, b"\xe2"), bare(CONTINUATION_END, b"\x82")],
            E::InvalidUtf8,
        ),
        ("close without code", vec![bare(CLOSE, "x")], E::ClosePayloadTooShort),
        ("close code", vec![close_frame(1005, "")], E::InvalidCloseCode { code: 1005 }),
        ("close reason", vec![bare(CLOSE, b"\x03\xe8\xff")], E::InvalidUtf8),
        ("frame too big", vec![bare(BINARY, [0; 51])], E::FrameTooBig { len: 51, max: 50 }),
        (
            "message too big",
            vec![bare(BINARY_START, [0; 50]), bare(CONTINUATION, [0; 11])],
            E::MessageTooBig { len: 61, max: 60 },
        ),
        (
            "too many fragments",
            vec![
                bare(BINARY_START, ""),
                bare(CONTINUATION, ""),
                bare(CONTINUATION, ""),
                bare(CONTINUATION_END, ""),
            ],
            E::TooManyFragments { max: 3 },
        ),
    ] {
        let limits =
            Limits { max_frame: 50, max_message: 60, max_fragments: 3, ..Limits::default() };
        let settings = Settings { limits, ..raw() };
        for role in ROLES {
            let before = [bare(PING, "before")];
            let outcome =
                every_way(name, role, &settings, &wire(role, &[&before[..], &frames].concat()));
            let legal = frames[..frames.len() - 1].iter();
            let seen: Vec<_> =
                before.iter().chain(legal).map(|(first, payload)| frame(*first, payload)).collect();
            assert_eq!(outcome.seen, seen, "{name}, {role:?}: all before the bad one");
            assert_eq!(
                outcome.sent,
                [close_frame(error.close_code().0, &error.to_string())],
                "{name}"
            );
            assert_eq!(outcome.reason.unwrap().cause, CloseCause::Protocol(error), "{name}");
        }
    }
}

#[test]
fn a_frame_that_is_whole_in_the_input_comes_up_as_a_slice_of_it() {
    for role in ROLES {
        for first in [TEXT, BINARY, PING, PONG] {
            let mut endpoint = Endpoint::open(role, &raw());
            let mut wire = wire(role, &[bare(first, "Hello")]);
            let Endpoint { connection, now, pool, output, .. } = &mut endpoint;
            let event = connection.receive(&mut wire.as_mut_slice(), *now, pool, output);
            let Some(Event::Frame(Frame { payload, .. })) = event else {
                panic!("a frame comes up: {event:?}")
            };
            assert!(!matches!(payload, Payload::Owned(_)), "it is a slice of the input");
            assert_eq!((&*payload, connection.incoming.is_none()), (&b"Hello"[..], true));
        }
    }
}

#[test]
fn the_payload_of_a_large_frame_comes_up_whole() {
    let payload: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    for role in ROLES {
        let wire = wire(role, &[bare(BINARY_START, &payload), bare(CONTINUATION_END, &payload)]);
        let outcome = every_way("large", role, &raw(), &wire);
        let same =
            outcome.seen == [frame(BINARY_START, &payload), frame(CONTINUATION_END, &payload)];
        assert!(same, "{role:?}");
    }
}

#[test]
fn the_owner_sends_what_is_legal_where_it_stands() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &raw());
        let illegal = Err(SendError::IllegalFrame);
        for (name, first, sent) in [
            ("nothing to continue", CONTINUATION_END, illegal),
            ("nothing to continue with more", CONTINUATION, illegal),
            ("a whole message", TEXT, Ok(())),
            ("a first fragment", TEXT_START, Ok(())),
            ("another message inside", TEXT, illegal),
            ("another first fragment", BINARY_START, illegal),
            ("a ping between fragments", PING, Ok(())),
            ("a pong between fragments", PONG, Ok(())),
            ("more", CONTINUATION, Ok(())),
            ("a ping in fragments", 0x09, illegal),
            ("reserved bits", CONTINUATION_END | 0x40, illegal),
            ("reserved bits on a ping", PING | 0x10, illegal),
            ("the end", CONTINUATION_END, Ok(())),
            ("nothing to continue any more", CONTINUATION_END, illegal),
            ("the next", BINARY_START, Ok(())),
        ] {
            assert_eq!(endpoint.send_frame(first, b"x"), sent, "{name}, {role:?}");
            let expected: Vec<_> = sent.iter().map(|()| bare(first, "x")).collect();
            assert_eq!(endpoint.sent(), expected, "{name}, {role:?}");
        }
        assert_eq!(
            endpoint.send_frame(PING, &[0; 126]),
            Err(SendError::ControlTooLong { len: 126 })
        );
        assert_eq!(endpoint.say("between fragments"), illegal);
        assert!(!endpoint.connection.takes_framed(), "between fragments");
        assert_eq!(endpoint.send_frame(CONTINUATION_END, b"x"), Ok(()));
        assert_eq!(endpoint.say("after them"), Ok(()));
        assert_eq!(endpoint.connection.takes_framed(), role == Role::Server);
    }
}

#[test]
fn the_owner_answers_a_close() {
    for role in ROLES {
        for (name, payload, sent) in [
            ("empty", &b""[..], Ok(())),
            ("echoed", b"\x0f\xa0enough", Ok(())),
            ("another", b"\x03\xe8", Ok(())),
            ("one byte", b"\x03", Err(SendError::IllegalFrame)),
            ("a code that never travels", b"\x03\xed", Err(SendError::IllegalFrame)),
            ("a reason that is no text", b"\x03\xe8\xff", Err(SendError::IllegalFrame)),
            ("a reason too long", &[b'0'; 126], Err(SendError::ReasonTooLong { len: 124 })),
        ] {
            let mut payload = payload.to_vec();
            if payload.len() == 126 {
                payload[..2].copy_from_slice(&1000u16.to_be_bytes());
            }
            let mut endpoint = Endpoint::open(role, &raw());
            endpoint.hear_frames(&[close_frame(4000, "enough")]);
            assert_eq!(endpoint.send_frame(CLOSE, &payload), sent, "{name}");
            let (frames, state) = match sent {
                Ok(()) => (vec![bare(CLOSE, payload)], State::CloseExchanged),
                Err(_) => (vec![], State::CloseReceived),
            };
            assert_eq!((endpoint.sent(), endpoint.state()), (frames, state), "{name}");
            assert_eq!(endpoint.ended(), Some((CloseCause::Peer, 4000, "enough")), "{name}");
        }
    }
}

#[test]
fn the_owner_closes_in_the_middle_of_its_message() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &raw());
        endpoint.send_frame(TEXT_START, b"half").unwrap();
        endpoint.send_frame(CLOSE, b"").unwrap();
        assert_eq!(endpoint.state(), State::CloseSent);
        assert_eq!(endpoint.ended(), Some((CloseCause::Local, 1005, "")));
        for first in [CONTINUATION_END, TEXT, PING, PONG, CLOSE] {
            assert_eq!(endpoint.send_frame(first, b""), Err(SendError::NotOpen), "{first:02x}");
        }
        assert_eq!(endpoint.sent(), [bare(TEXT_START, "half"), bare(CLOSE, "")]);
        endpoint.hear_frames(&[bare(PING, "still"), close_frame(1000, "")]);
        assert_eq!(endpoint.seen, [frame(PING, "still"), frame(CLOSE, 1000u16.to_be_bytes())]);
        assert_eq!(endpoint.state(), State::CloseExchanged);
    }
}

#[test]
fn frames_are_sent_in_raw_mode_and_while_open_only() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        assert_eq!(endpoint.send_frame(TEXT, b""), Err(SendError::IllegalFrame));
        let mut endpoint = Endpoint::connecting(role, &raw());
        for first in [TEXT, TEXT_START, PING, PONG, CLOSE] {
            assert_eq!(endpoint.send_frame(first, b""), Err(SendError::NotOpen), "{first:02x}");
        }
        assert_eq!(endpoint.sent(), []);
    }
}

#[test]
fn raw_mode_pings_nobody() {
    let mut endpoint = Endpoint::open(Role::Server, &raw());
    assert_eq!(endpoint.time_left(), None);
    endpoint.wait(seconds(1000));
    assert_eq!((endpoint.state(), endpoint.sent()), (State::Open, vec![]));
}

#[test]
fn who_is_silent_for_too_long_is_idle_where_that_has_a_bound() {
    let mut settings = raw();
    for role in ROLES {
        settings.timeouts.idle = None;
        let mut endpoint = Endpoint::open(role, &settings);
        assert_eq!(endpoint.time_left(), None);
        settings.timeouts.idle = Some(seconds(60));
        endpoint = Endpoint::open(role, &settings);
        endpoint.wait(seconds(59));
        assert_eq!(endpoint.time_left(), Some(seconds(1)));
        endpoint.hear_frames(&[bare(PONG, "")]);
        endpoint.wait(seconds(59));
        endpoint.connection.excuse_silence(endpoint.now);
        endpoint.wait(seconds(59));
        endpoint.send_frame(TEXT, b"what we say does not count").unwrap();
        endpoint.sent();
        assert_eq!((endpoint.state(), endpoint.time_left()), (State::Open, Some(seconds(1))));
        endpoint.wait(seconds(1));
        assert_eq!(endpoint.sent(), [close_frame(1001, "idle")]);
        assert_eq!(endpoint.ended(), Some((CloseCause::Timeout(Timeout::Idle), 1001, "idle")));
    }
    settings.mode = Mode::Messages;
    let endpoint = Endpoint::open(Role::Server, &settings);
    assert_eq!(endpoint.time_left(), Some(seconds(20)), "there Pings tell");
}
