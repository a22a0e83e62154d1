//! Conversations by state (§7): pings and deadlines, closing, and what ends a connection first.

use super::*;

/// An open endpoint of role `role` that has sent its Close.
fn in_close_sent(role: Role) -> Endpoint {
    let mut endpoint = Endpoint::open(role, &Settings::default());
    endpoint.close(1001, "bye").unwrap();
    assert_eq!(
        (endpoint.state(), endpoint.sent()),
        (State::CloseSent, vec![close_frame(1001, "bye")])
    );
    endpoint
}

/// A raw endpoint whose peer's Close it has not answered.
fn in_close_received(role: Role) -> Endpoint {
    let mut endpoint = Endpoint::open(role, &settings(Mode::Raw));
    endpoint.hear_frames(&[close_frame(4000, "enough")]);
    assert_eq!((endpoint.state(), endpoint.sent()), (State::CloseReceived, vec![]));
    endpoint
}

/// An endpoint that has answered its peer's Close.
fn in_close_exchanged(role: Role) -> Endpoint {
    let mut endpoint = Endpoint::open(role, &Settings::default());
    endpoint.hear_frames(&[close_frame(4000, "enough")]);
    assert_eq!(
        (endpoint.state(), endpoint.sent()),
        (State::CloseExchanged, vec![close_frame(4000, "enough")])
    );
    endpoint
}

/// An endpoint whose peer broke a rule.
fn in_closed(role: Role) -> Endpoint {
    let mut endpoint = Endpoint::open(role, &Settings::default());
    endpoint.hear_frames(&[bare(0x83, "")]);
    let close = close_frame(1002, "opcode 3 is reserved");
    assert_eq!((endpoint.state(), endpoint.sent()), (State::Closed, vec![close]));
    endpoint
}

/// A way to end a connection, or to go on with its end.
type End = (&'static str, fn(&mut Endpoint));

/// Every command but `close` is refused as not open, and sends nothing.
fn assert_sends_nothing(mut endpoint: Endpoint) {
    let name = format!("{:?}, {:?}", endpoint.state(), endpoint.connection.role());
    assert_eq!(endpoint.say("more"), Err(SendError::NotOpen), "{name}");
    assert_eq!(endpoint.ping(b"there?"), Err(SendError::NotOpen), "{name}");
    let Endpoint { connection, pool, output, .. } = &mut endpoint;
    let owned = connection.send_owned(Opcode::Text, Buffer::default(), pool, output);
    assert_eq!(owned.map(|_| ()), Err(SendError::NotOpen), "{name}");
    endpoint.set_behind(true);
    endpoint.set_behind(false);
    assert!(!endpoint.connection.takes_framed(), "{name}");
    assert_eq!(endpoint.sent(), [], "{name}");
}

/// Frames that come now do not count, not even broken ones.
fn assert_hears_nothing(mut endpoint: Endpoint) {
    let name = format!("{:?}, {:?}", endpoint.state(), endpoint.connection.role());
    let before =
        (endpoint.state(), endpoint.connection.close_reason().cloned(), endpoint.seen.clone());
    endpoint.hear_frames(&[
        bare(TEXT, "late"),
        bare(PING, "?"),
        close_frame(1000, "again"),
        bare(0x83, ""),
    ]);
    assert!(endpoint.connection.space(&mut endpoint.pool).is_none(), "{name}");
    assert!(endpoint.connection.receive_in_place(0, endpoint.now, &mut endpoint.output).is_none());
    assert_eq!(endpoint.sent(), [], "{name}");
    let after = (endpoint.state(), endpoint.connection.close_reason().cloned(), endpoint.seen);
    assert_eq!(after, before, "{name}");
}

// ---- Connecting --------------------------------------------------------------------------------

#[test]
fn nothing_is_sent_before_the_handshake() {
    for role in ROLES {
        let mut endpoint = Endpoint::connecting(role, &Settings::default());
        assert_eq!(endpoint.close(1000, ""), Err(SendError::NotOpen));
        assert_sends_nothing(endpoint);
    }
}

#[test]
fn a_handshake_that_takes_too_long_ends_without_a_close() {
    for role in ROLES {
        let mut endpoint = Endpoint::connecting(role, &Settings::default());
        assert_eq!(endpoint.time_left(), Some(seconds(10)));
        endpoint.wait(seconds(10) - Duration::from_nanos(1));
        assert_eq!(endpoint.state(), State::Connecting);
        endpoint.wait(Duration::from_nanos(1));
        assert_eq!((endpoint.state(), endpoint.sent()), (State::Closed, vec![]));
        let (cause, code, _) = endpoint.ended().unwrap();
        assert_eq!((cause, code), (CloseCause::Timeout(Timeout::Handshake), 1006));
    }
}

#[test]
fn a_handshake_that_is_lost_is_1006() {
    let mut endpoint = Endpoint::connecting(Role::Server, &Settings::default());
    endpoint.connection.receive_eof();
    assert_eq!(endpoint.state(), State::Closed);
    assert_eq!(
        endpoint.ended().map(|(cause, code, _)| (cause, code)),
        Some((CloseCause::Lost, 1006))
    );
}

#[test]
fn the_route_of_a_handshake_brings_its_own_settings() {
    let mut endpoint = Endpoint::connecting(Role::Server, &Settings::default());
    endpoint.now += seconds(9);
    let route = limits(Limits { max_frame: 1, ..Limits::default() });
    endpoint.connection.upgrade(Arc::new(route), endpoint.now);
    assert_eq!(endpoint.time_left(), Some(seconds(20)), "until the first ping");
    endpoint.hear_frames(&[bare(TEXT, "ab")]);
    assert_eq!(endpoint.ended().unwrap().1, 1009);
}

// ---- Open: messages ----------------------------------------------------------------------------

#[test]
fn what_one_side_sends_the_other_reads() {
    for role in ROLES {
        let mut pair = Pair::open(&Settings::default());
        let (from, to) = pair.ends(role);
        let long = "чай ".repeat(20_000);
        for message in ["", "Hello", &long] {
            from.say(message).unwrap();
            let owned = Buffer::from(message.as_bytes().to_vec());
            let Endpoint { connection, pool, output, .. } = from;
            let rest = connection.send_owned(Opcode::Binary, owned, pool, output).unwrap();
            assert_eq!(rest.is_some(), role == Role::Server, "a client masks, and so copies");
            rest.iter().for_each(|rest| output.extend_from_slice(rest.as_slice()));
            to.hear(&std::mem::take(&mut from.output));
            assert!(to.seen == [text(message), binary(message)], "{} bytes", message.len());
            to.seen.clear();
        }
    }
}

/// A Close or a fragment has rules of its own, which a message passes by.
#[test]
fn only_text_and_binary_are_types_of_messages() {
    for opcode in [Opcode::Continuation, Opcode::Close, Opcode::Ping, Opcode::Pong] {
        for role in ROLES {
            let mut endpoint = Endpoint::open(role, &Settings::default());
            let Endpoint { connection, pool, output, .. } = &mut endpoint;
            let sent = connection.send_owned(opcode, Buffer::default(), pool, output).map(|_| ());
            assert_eq!(sent, Err(SendError::IllegalFrame), "{opcode:?}, {role:?}");
            assert_eq!(endpoint.sent(), [], "{opcode:?}, {role:?}");
        }
    }
}

#[test]
fn a_client_masks_every_frame_with_a_fresh_key() {
    let mut client = Endpoint::open(Role::Client, &Settings::default());
    (0..100).for_each(|_| client.say("same").unwrap());
    let frames: Vec<_> = client.output.chunks(2 + 4 + 4).map(|frame| &frame[2..6]).collect();
    let distinct: std::collections::HashSet<_> = frames.iter().collect();
    assert_eq!((frames.len(), distinct.len()), (100, 100));
}

#[test]
fn only_an_open_server_takes_bytes_framed_elsewhere() {
    assert!(Endpoint::open(Role::Server, &Settings::default()).connection.takes_framed());
    assert!(!Endpoint::open(Role::Client, &Settings::default()).connection.takes_framed());
}

// ---- Open: pings of the peer's -----------------------------------------------------------------

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut pair = Pair::open(&Settings::default());
    for payload in [&b""[..], b"here", &[0xff; 125]] {
        for role in ROLES {
            let (from, to) = pair.ends(role);
            from.ping(payload).unwrap();
            to.hear(&std::mem::take(&mut from.output));
            assert_eq!(to.sent(), [bare(PONG, payload)]);
        }
    }
    assert_eq!(pair.client.ping(&[0; 126]), Err(SendError::ControlTooLong { len: 126 }));
    assert_eq!(pair.client.sent(), []);
}

#[test]
fn a_peer_that_is_behind_gets_a_pong_for_its_latest_ping_only() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        endpoint.set_behind(true);
        endpoint.hear_frames(&[
            bare(PING, "1"),
            bare(TEXT, "and"),
            bare(PING, "2"),
            bare(PING, "3"),
        ]);
        assert_eq!((endpoint.sent(), &endpoint.seen[..]), (vec![], &[text("and")][..]));
        endpoint.set_behind(true);
        assert_eq!(endpoint.sent(), [], "still behind");
        endpoint.set_behind(false);
        assert_eq!(endpoint.sent(), [bare(PONG, "3")]);
        endpoint.set_behind(false);
        assert_eq!(endpoint.sent(), [], "once only");
        endpoint.hear_frames(&[bare(PING, "4")]);
        assert_eq!(endpoint.sent(), [bare(PONG, "4")]);
    }
}

#[test]
fn a_held_pong_is_dropped_once_a_close_is_out() {
    let ways: [End; 5] = [
        ("our close", |endpoint| endpoint.close(1000, "").unwrap()),
        ("the peer's close", |endpoint| endpoint.hear_frames(&[close_frame(1000, "")])),
        ("a broken rule", |endpoint| endpoint.hear_frames(&[bare(0x83, "")])),
        ("giving up", |endpoint| {
            endpoint.give_up(CloseCause::Local, CloseCode::TRY_AGAIN_LATER, "too slow")
        }),
        ("both ends", |endpoint| {
            endpoint.close(1000, "").unwrap();
            endpoint.hear_frames(&[close_frame(1000, "")]);
        }),
    ];
    for (name, end) in ways {
        let mut endpoint = Endpoint::open(Role::Server, &Settings::default());
        endpoint.set_behind(true);
        endpoint.hear_frames(&[bare(PING, "held")]);
        end(&mut endpoint);
        assert!(endpoint.connection.held_pong.is_none(), "{name}");
        endpoint.set_behind(false);
        let firsts: Vec<_> = endpoint.sent().into_iter().map(|(first, _)| first).collect();
        assert_eq!(firsts, [CLOSE], "{name}");
    }
}

// ---- Open: pings of our own --------------------------------------------------------------------

#[test]
fn the_ping_period_counts_from_the_last_bytes_heard() {
    for role in ROLES {
        for (name, heard) in [
            ("a message", wire(role, &[bare(TEXT, "hi")])),
            ("a fragment", wire(role, &[bare(TEXT_START, "hi")])),
            ("an unasked pong", wire(role, &[bare(PONG, "hi")])),
            ("half a header", wire(role, &[bare(TEXT, "hi")])[..1].to_vec()),
        ] {
            let mut endpoint = Endpoint::open(role, &Settings::default());
            endpoint.wait(seconds(19));
            endpoint.hear(&heard);
            assert_eq!(endpoint.time_left(), Some(seconds(20)), "{name}");
            endpoint.wait(seconds(20) - Duration::from_nanos(1));
            assert_eq!(endpoint.sent(), [], "{name}");
            endpoint.wait(Duration::from_nanos(1));
            assert_eq!(endpoint.sent(), [bare(PING, 1u32.to_be_bytes())], "{name}");
        }
    }
}

#[test]
fn bytes_read_in_place_count_as_heard() {
    let mut endpoint = Endpoint::open(Role::Server, &Settings::default());
    let wire = wire(Role::Server, &[bare(BINARY, [0; 50_000])]);
    endpoint.hear(&wire[..100]);
    endpoint.wait(seconds(19));
    assert_eq!(endpoint.hear_in_place(&wire[100..200], 100), 100);
    assert_eq!(endpoint.time_left(), Some(seconds(20)));
}

#[test]
fn a_peer_that_answers_pings_stays_for_ever() {
    let mut pair = Pair::open(&Settings::default());
    for _ in 0..1000 {
        pair.wait(seconds(20));
        pair.exchange();
    }
    assert_eq!((pair.client.state(), pair.server.state()), (State::Open, State::Open));
}

#[test]
fn only_the_matching_pong_settles_a_ping_and_nothing_postpones_it() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        endpoint.wait(seconds(20));
        let [(PING, payload)] = &endpoint.sent()[..] else { panic!("a ping is due") };
        endpoint.wait(seconds(19));
        endpoint.hear_frames(&[bare(PONG, ""), bare(PONG, "other"), bare(TEXT, "busy")]);
        endpoint
            .hear_frames(&[bare(TEXT_START, "busy"), bare(PONG, [&payload[..], b"+"].concat())]);
        assert_eq!(endpoint.time_left(), Some(seconds(1)), "only its pong counts");
        endpoint.hear_frames(&[bare(PONG, payload)]);
        assert_eq!(endpoint.time_left(), Some(seconds(20)), "until the next ping");
        endpoint.wait(seconds(20));
        assert_eq!(endpoint.sent(), [bare(PING, 2u32.to_be_bytes())]);
        endpoint.hear_frames(&[bare(PONG, payload)]);
        assert_eq!(endpoint.time_left(), Some(seconds(20)), "an old pong settles nothing");
        endpoint.wait(seconds(20));
        assert_eq!(endpoint.sent(), [close_frame(1011, "Ping timeout")]);
        assert_eq!(
            endpoint.ended(),
            Some((CloseCause::Timeout(Timeout::Pong), 1011, "Ping timeout"))
        );
        assert_eq!(endpoint.state(), State::Closed);
    }
}

#[test]
fn a_peer_that_sends_and_never_reads_is_pinged_out() {
    let mut server = Endpoint::open(Role::Server, &Settings::default());
    server.set_behind(true);
    server.wait(seconds(20));
    for _ in 0..20 {
        assert_eq!(server.state(), State::Open);
        server.hear_frames(&[bare(PING, "flood"), bare(TEXT, "flood")]);
        server.wait(seconds(1));
    }
    let sent = server.sent();
    assert_eq!(sent, [bare(PING, 1u32.to_be_bytes()), close_frame(1011, "Ping timeout")]);
}

#[test]
fn without_a_ping_period_silence_lasts_for_ever() {
    let mut silent = Settings::default();
    silent.timeouts.ping_period = None;
    let mut endpoint = Endpoint::open(Role::Server, &silent);
    assert_eq!(endpoint.time_left(), None);
    endpoint.wait(seconds(1_000_000));
    assert_eq!((endpoint.state(), endpoint.sent()), (State::Open, vec![]));
}

// ---- Open: messages that take too long ---------------------------------------------------------

/// No Pings, and a second more for each thousand bytes of a message.
fn patient(mode: Mode) -> Settings {
    let mut settings = settings(mode);
    settings.timeouts.ping_period = None;
    settings.limits.min_message_rate = 1_000;
    settings.deflate = Some(Deflate { raw: true, ..Deflate::default() });
    settings
}

#[test]
fn what_has_begun_is_whole_within_a_minute_or_the_connection_ends() {
    for (role, mode) in [Role::Client, Role::Server]
        .into_iter()
        .flat_map(|role| [Mode::Messages, Mode::Raw].map(|mode| (role, mode)))
    {
        let whole = |frames: &[Bare]| wire(role, frames);
        let cut = |frames: &[Bare], less: usize| {
            let mut wire = wire(role, frames);
            wire.truncate(wire.len() - less);
            wire
        };
        for (name, heard) in [
            ("a byte of a header", whole(&[bare(TEXT, "hi")])[..1].to_vec()),
            ("a header", cut(&[bare(TEXT, "hi")], 2)),
            ("a frame", cut(&[bare(TEXT, "hi")], 1)),
            ("a control frame", cut(&[bare(PING, "hi")], 1)),
            ("a fragment", whole(&[bare(TEXT_START, "")])),
            ("a compressed frame", cut(&[bare(0xc1, hex("f248cdc9c90700"))], 3)),
            ("a compressed fragment", whole(&[bare(0x41, hex("f2"))])),
            ("behind a whole message", whole(&[bare(TEXT, "hi"), bare(TEXT_START, "")])),
        ] {
            let mut endpoint = Endpoint::open(role, &patient(mode));
            assert_eq!((endpoint.time_left(), endpoint.connection.held()), (None, 0));
            endpoint.hear(&heard);
            let left = endpoint.time_left().expect("it has begun");
            assert!(left.as_secs() == 60 && left.subsec_millis() < 10, "{name}: {left:?}");
            assert!(endpoint.connection.held() > 0, "{name}");
            endpoint.wait(left - Duration::from_nanos(1));
            assert_eq!((endpoint.state(), endpoint.sent()), (State::Open, vec![]), "{name}");
            endpoint.wait(Duration::from_nanos(1));
            let reason = "message took too long";
            assert_eq!(endpoint.sent(), [close_frame(1008, reason)], "{name}");
            let cause = CloseCause::Timeout(Timeout::Message);
            assert_eq!(endpoint.ended(), Some((cause, 1008, reason)), "{name}");
            assert_eq!((endpoint.state(), endpoint.connection.held()), (State::Closed, 0));
        }
    }
}

#[test]
fn what_arrives_of_a_message_puts_its_deadline_off_and_nothing_else_does() {
    for (role, mode) in [Role::Client, Role::Server]
        .into_iter()
        .flat_map(|role| [Mode::Messages, Mode::Raw].map(|mode| (role, mode)))
    {
        let begun = |heard: &[u8]| {
            let mut endpoint = Endpoint::open(role, &patient(mode));
            endpoint.hear(heard);
            endpoint
        };
        let large = wire(role, &[bare(BINARY, [7; 50_000])]);
        let header_len = large.len() - 50_000;
        let mut endpoint = begun(&large[..1]);
        endpoint.wait(seconds(30));
        endpoint.hear(&large[1..header_len + 5_000]);
        assert_eq!(endpoint.time_left(), Some(seconds(30 + 5)), "from its first byte");
        endpoint.hear_frames(&[]);
        endpoint.hear_in_place(&large[header_len + 5_000..][..20_000], 1 << 20);
        assert_eq!(endpoint.time_left(), Some(seconds(30 + 25)));
        endpoint.hear(&large[header_len + 25_000..]);
        assert_eq!((endpoint.time_left(), endpoint.connection.held()), (None, 0), "it is whole");

        let mut endpoint = begun(&wire(role, &[bare(BINARY_START, [7; 2_000])]));
        for _ in 0..29 {
            endpoint.wait(seconds(2));
            endpoint.hear_frames(&[bare(PING, [0; 125]), bare(PONG, [0; 125])]);
        }
        assert_eq!(endpoint.time_left(), Some(seconds(60 + 2 - 58)), "control frames");
        endpoint.hear_frames(&[bare(CONTINUATION, [7; 3_000])]);
        assert_eq!(endpoint.time_left(), Some(seconds(60 + 5 - 58)), "fragments");
        endpoint.hear_frames(&[bare(CONTINUATION_END, [7; 1_000]), bare(TEXT_START, "")]);
        assert_eq!(endpoint.time_left(), Some(seconds(60)), "the next one begins anew");
    }
    for (rate, left) in [(0, 60_000), (usize::MAX, 60_000), (1, 60_000 + 5_000_000)] {
        let mut settings = patient(Mode::Messages);
        settings.limits.min_message_rate = rate;
        let mut endpoint = Endpoint::open(Role::Client, &settings);
        endpoint.hear_frames(&[bare(BINARY_START, [7; 5_000])]);
        assert_eq!(endpoint.time_left(), Some(Duration::from_millis(left)), "{rate} a second");
    }
}

#[test]
fn a_message_is_not_late_while_its_owner_does_not_read() {
    let mut endpoint = Endpoint::open(Role::Server, &patient(Mode::Messages));
    endpoint.hear_frames(&[bare(TEXT_START, "")]);
    endpoint.wait(seconds(20));
    endpoint.hear_frames(&[bare(CONTINUATION, "")]);
    for paused in [seconds(40), seconds(1_000)] {
        endpoint.now += paused;
        endpoint.connection.excuse_silence(endpoint.now);
        assert_eq!(endpoint.time_left(), Some(seconds(40)));
    }
    endpoint.wait(seconds(39));
    assert_eq!(endpoint.state(), State::Open);
    endpoint.wait(seconds(1));
    assert_eq!(endpoint.state(), State::Closed);
}

#[test]
fn a_ping_is_due_before_a_late_message() {
    let mut endpoint = Endpoint::open(Role::Server, &Settings::default());
    endpoint.hear_frames(&[bare(TEXT_START, "")]);
    assert_eq!(endpoint.time_left(), Some(seconds(20)));
    for pings in 1..=2u32 {
        endpoint.wait(seconds(20));
        assert_eq!(endpoint.sent(), [bare(PING, pings.to_be_bytes())]);
        endpoint.hear_frames(&[bare(PONG, pings.to_be_bytes())]);
    }
    endpoint.wait(seconds(20));
    assert_eq!(endpoint.ended().map(|(_, code, _)| code), Some(1008));
}

#[test]
fn a_deadline_called_too_early_does_nothing() {
    for mut endpoint in ROLES.map(in_close_sent) {
        let left = endpoint.time_left();
        endpoint.wait(Duration::ZERO);
        assert_eq!((endpoint.state(), endpoint.time_left()), (State::CloseSent, left));
    }
}

// ---- Open: closing -----------------------------------------------------------------------------

#[test]
fn a_close_is_echoed_with_the_peers_code_and_reason() {
    let longest = "é".repeat(61) + "!";
    assert_eq!(longest.len(), 123);
    for (name, received, answer, code, reason) in [
        ("code alone", close_frame(1000, ""), close_frame(1000, ""), 1000, ""),
        (
            "code and reason",
            close_frame(3333, "enough"),
            close_frame(3333, "enough"),
            3333,
            "enough",
        ),
        (
            "the longest reason",
            close_frame(1001, &longest),
            close_frame(1001, &longest),
            1001,
            &longest[..],
        ),
        ("empty", bare(CLOSE, ""), close_frame(1000, "OK"), 1005, ""),
    ] {
        for role in ROLES {
            let heard = [bare(TEXT, "first"), received.clone(), bare(TEXT, "late"), bare(0x83, "")];
            let outcome = every_way(name, role, &Settings::default(), &wire(role, &heard));
            assert_eq!(outcome.seen, [text("first")], "{name}, {role:?}");
            assert_eq!(outcome.sent, std::slice::from_ref(&answer), "{name}, {role:?}");
            assert_eq!(outcome.state, State::CloseExchanged, "{name}, {role:?}");
            let told =
                CloseReason { cause: CloseCause::Peer, code: CloseCode(code), text: reason.into() };
            assert_eq!(outcome.reason, Some(told), "{name}, {role:?}");
        }
    }
}

/// Autobahn 7.1.5: a Close between the fragments of a message has nothing to do with them.
#[test]
fn a_close_between_fragments_is_answered_with_its_own_code() {
    for role in ROLES {
        let heard = [
            bare(TEXT_START, b"half \xc3"),
            close_frame(1000, "done"),
            bare(CONTINUATION_END, b"\xa9"),
        ];
        let outcome =
            every_way("close between fragments", role, &Settings::default(), &wire(role, &heard));
        assert_eq!((outcome.seen, outcome.sent), (vec![], vec![close_frame(1000, "done")]));
        assert_eq!(outcome.state, State::CloseExchanged);

        let mut endpoint = Endpoint::open(role, &Settings::default());
        endpoint.hear_frames(&heard);
        assert!(endpoint.connection.incoming.is_none(), "nobody asks for the half any more");
    }
}

#[test]
fn close_codes_are_checked_both_ways() {
    for code in 0..=5000 {
        let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let mut pair = Pair::open(&Settings::default());
        pair.server.hear_frames(&[close_frame(code, "why")]);
        let answer = match legal {
            true => close_frame(code, "why"),
            false => close_frame(1002, &format!("close code {code} must not be sent")),
        };
        assert_eq!(pair.server.sent(), [answer], "{code}");

        let closed = pair.client.close(code, "why");
        if legal {
            assert_eq!((closed, pair.client.sent()), (Ok(()), vec![close_frame(code, "why")]));
        } else {
            assert_eq!(closed, Err(SendError::InvalidCloseCode { code }));
            assert_eq!((pair.client.sent(), pair.client.state()), (vec![], State::Open), "{code}");
        }
    }
}

#[test]
fn a_reason_has_at_most_123_bytes() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        assert_eq!(
            endpoint.close(1000, &"r".repeat(124)),
            Err(SendError::ReasonTooLong { len: 124 })
        );
        assert_eq!(
            (endpoint.sent(), endpoint.state(), endpoint.ended()),
            (vec![], State::Open, None)
        );
        endpoint.close(1000, &"r".repeat(123)).unwrap();
        assert_eq!(endpoint.sent(), [close_frame(1000, &"r".repeat(123))]);
    }
}

#[test]
fn messages_before_a_close_are_not_lost() {
    for role in ROLES {
        let mut pair = Pair::open(&Settings::default());
        let (from, _) = pair.ends(role);
        (0..100).for_each(|number: u32| from.say(number.to_string()).unwrap());
        from.close(1000, "all said").unwrap();
        pair.exchange();
        let (from, to) = pair.ends(role);
        let said: Vec<_> = (0..100).map(|number: u32| text(&number.to_string())).collect();
        assert_eq!(to.seen, said, "{role:?}");
        assert_eq!(from.state(), State::CloseExchanged, "{role:?}");
    }
}

#[test]
fn both_sides_may_close_at_once() {
    let mut pair = Pair::open(&Settings::default());
    pair.client.close(4001, "client first").unwrap();
    pair.server.close(4002, "server first").unwrap();
    let to_server = std::mem::take(&mut pair.client.output);
    let to_client = std::mem::take(&mut pair.server.output);
    pair.server.hear(&to_server);
    pair.client.hear(&to_client);
    assert_eq!((pair.client.sent(), pair.server.sent()), (vec![], vec![]), "no second Close");
    assert_eq!(pair.client.ended(), Some((CloseCause::Local, 4001, "client first")));
    assert_eq!(pair.server.ended(), Some((CloseCause::Local, 4002, "server first")));
    assert_eq!(pair.client.state(), State::CloseExchanged);
    assert_eq!(pair.server.state(), State::CloseExchanged);
}

/// §7.1.1: the server ends TCP first.
#[test]
fn the_server_ends_tcp_and_both_know_why() {
    for role in ROLES {
        let mut pair = Pair::open(&Settings::default());
        pair.ends(role).0.close(1000, "done").unwrap();
        assert!(!pair.ends(role).0.connection.ends_tcp());
        pair.exchange();
        assert!(pair.server.connection.ends_tcp());
        assert!(!pair.client.connection.ends_tcp());
        pair.client.connection.receive_eof();
        pair.server.connection.receive_eof();
        let (closer, other) = pair.ends(role);
        assert_eq!(closer.ended(), Some((CloseCause::Local, 1000, "done")));
        assert_eq!(other.ended(), Some((CloseCause::Peer, 1000, "done")));
        assert_eq!((closer.state(), other.state()), (State::Closed, State::Closed));
    }
}

#[test]
fn giving_up_says_why_and_waits_for_nobody() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &Settings::default());
        endpoint.give_up(CloseCause::Local, CloseCode::TRY_AGAIN_LATER, "too slow");
        assert_eq!(endpoint.sent(), [close_frame(1013, "too slow")]);
        assert_eq!((endpoint.state(), endpoint.connection.ends_tcp()), (State::Closed, true));
        assert_eq!(endpoint.ended(), Some((CloseCause::Local, 1013, "too slow")));
    }
}

// ---- CloseSent ---------------------------------------------------------------------------------

#[test]
fn nothing_is_sent_after_our_close() {
    for role in ROLES {
        let mut endpoint = in_close_sent(role);
        assert_eq!(endpoint.close(1000, "again"), Err(SendError::NotOpen));
        assert_eq!(endpoint.ended(), Some((CloseCause::Local, 1001, "bye")));
        assert_sends_nothing(endpoint);
    }
}

#[test]
fn messages_still_arrive_after_our_close_and_pings_go_unanswered() {
    for role in ROLES {
        let mut endpoint = in_close_sent(role);
        endpoint.hear_frames(&[bare(PING, "?"), bare(TEXT, "was on its way"), bare(PING, "??")]);
        assert_eq!((endpoint.sent(), &endpoint.seen[..]), (vec![], &[text("was on its way")][..]));
        endpoint.hear_frames(&[close_frame(1001, "bye"), bare(TEXT, "too late")]);
        assert_eq!((endpoint.sent(), endpoint.state()), (vec![], State::CloseExchanged));
        assert_eq!(endpoint.seen.len(), 1);
    }
}

#[test]
fn a_rule_broken_after_our_close_brings_no_second_close() {
    for role in ROLES {
        let mut endpoint = in_close_sent(role);
        endpoint.hear_frames(&[bare(0x83, "")]);
        assert_eq!((endpoint.sent(), endpoint.state()), (vec![], State::Closed));
        assert_eq!(
            endpoint.ended(),
            Some((CloseCause::Local, 1001, "bye")),
            "the first cause wins"
        );
        assert!(endpoint.connection.ends_tcp());
    }
}

#[test]
fn a_close_that_nobody_answers_ends_after_its_budget() {
    for role in ROLES {
        let mut endpoint = in_close_sent(role);
        assert_eq!(endpoint.time_left(), Some(seconds(5)));
        endpoint.wait(seconds(3));
        endpoint.hear_frames(&[bare(TEXT, "busy"), bare(PING, "busy")]);
        assert_eq!(endpoint.time_left(), Some(seconds(2)), "nothing heard adds to it");
        endpoint.wait(seconds(2));
        assert_eq!((endpoint.sent(), endpoint.state()), (vec![], State::Closed));
        assert_eq!(endpoint.ended(), Some((CloseCause::Local, 1001, "bye")));
    }
}

#[test]
fn the_whole_close_has_one_budget() {
    let steps: [End; 4] = [
        ("the peer's close", |endpoint| endpoint.hear_frames(&[close_frame(1000, "")])),
        ("a broken rule", |endpoint| endpoint.hear_frames(&[bare(0x83, "")])),
        ("giving up", |endpoint| {
            endpoint.give_up(CloseCause::Timeout(Timeout::Write), CloseCode::ABNORMAL, "");
        }),
        ("the end of TCP", |endpoint| endpoint.connection.receive_eof()),
    ];
    for (name, step) in steps {
        for role in ROLES {
            let mut endpoint = in_close_sent(role);
            endpoint.wait(seconds(3));
            step(&mut endpoint);
            assert_eq!(endpoint.time_left(), Some(seconds(2)), "{name}, {role:?}");
        }
    }
    for role in ROLES {
        let mut endpoint = in_closed(role);
        endpoint.wait(seconds(3));
        endpoint.give_up(CloseCause::Timeout(Timeout::Write), CloseCode::ABNORMAL, "");
        assert_eq!(endpoint.time_left(), Some(seconds(2)), "{role:?}");

        let mut endpoint = in_close_received(role);
        endpoint.wait(seconds(3));
        endpoint.close(1000, "").unwrap();
        assert_eq!(endpoint.time_left(), Some(seconds(2)), "{role:?}");
    }
}

// ---- CloseReceived -----------------------------------------------------------------------------

#[test]
fn an_unanswered_close_lets_nothing_but_a_close_out() {
    for role in ROLES {
        assert_sends_nothing(in_close_received(role));
        assert_hears_nothing(in_close_received(role));
        let mut endpoint = in_close_received(role);
        endpoint.close(1000, "fine").unwrap();
        assert_eq!(
            (endpoint.sent(), endpoint.state()),
            (vec![close_frame(1000, "fine")], State::CloseExchanged)
        );
        assert_eq!(
            endpoint.ended(),
            Some((CloseCause::Peer, 4000, "enough")),
            "the first cause wins"
        );
    }
}

#[test]
fn a_close_that_the_owner_never_answers_ends_after_its_budget() {
    for role in ROLES {
        let mut endpoint = in_close_received(role);
        assert_eq!(endpoint.time_left(), Some(seconds(5)));
        endpoint.wait(seconds(5));
        assert_eq!((endpoint.state(), endpoint.sent()), (State::Closed, vec![]));
        assert_eq!(endpoint.ended(), Some((CloseCause::Peer, 4000, "enough")));
    }
}

/// §5.5.1: who received a Close and has sent none sends one.
#[test]
fn giving_up_answers_a_close() {
    for role in ROLES {
        let mut endpoint = in_close_received(role);
        endpoint.give_up(CloseCause::Local, CloseCode::INTERNAL_ERROR, "the service failed");
        assert_eq!(endpoint.sent(), [close_frame(1011, "the service failed")]);
        assert_eq!(endpoint.state(), State::Closed);
        assert_eq!(
            endpoint.ended(),
            Some((CloseCause::Peer, 4000, "enough")),
            "the first cause wins"
        );
    }
}

// ---- CloseExchanged ----------------------------------------------------------------------------

#[test]
fn after_both_closes_nothing_comes_and_nothing_goes() {
    for role in ROLES {
        assert_eq!(in_close_exchanged(role).close(1000, ""), Err(SendError::NotOpen));
        assert_sends_nothing(in_close_exchanged(role));
        assert_hears_nothing(in_close_exchanged(role));
    }
}

#[test]
fn a_server_that_keeps_tcp_open_is_left_after_the_budget() {
    let mut client = in_close_exchanged(Role::Client);
    client.wait(seconds(5));
    assert_eq!((client.state(), client.connection.ends_tcp()), (State::Closed, true));
    assert_eq!(client.ended(), Some((CloseCause::Peer, 4000, "enough")));
}

// ---- Closed ------------------------------------------------------------------------------------

#[test]
fn a_failed_connection_is_deaf_and_dumb() {
    for role in ROLES {
        assert_eq!(in_closed(role).close(1000, ""), Err(SendError::NotOpen));
        assert_sends_nothing(in_closed(role));
        assert_hears_nothing(in_closed(role));
        assert!(in_closed(role).connection.ends_tcp(), "§7.1.7: either side ends TCP");
    }
}

// ---- every state -------------------------------------------------------------------------------

#[test]
fn the_end_of_tcp_is_1006_only_where_nothing_came_before() {
    let lost = (CloseCause::Lost, 1006);
    let protocol = CloseCause::Protocol(ProtocolError::ReservedOpcode { opcode: 3 });
    for role in ROLES {
        let mid_message = {
            let mut endpoint = Endpoint::open(role, &Settings::default());
            endpoint.hear(
                &wire(role, &[bare(TEXT_START, "half"), bare(CONTINUATION, "a frame")])[..15],
            );
            endpoint
        };
        for (name, mut endpoint, ended) in [
            ("Connecting", Endpoint::connecting(role, &Settings::default()), lost),
            ("Open", Endpoint::open(role, &Settings::default()), lost),
            ("Open, in a message", mid_message, lost),
            ("CloseSent", in_close_sent(role), (CloseCause::Local, 1001)),
            ("CloseReceived", in_close_received(role), (CloseCause::Peer, 4000)),
            ("CloseExchanged", in_close_exchanged(role), (CloseCause::Peer, 4000)),
            ("Closed", in_closed(role), (protocol, 1002)),
        ] {
            for _ in 0..2 {
                endpoint.connection.receive_eof();
                assert_eq!(endpoint.state(), State::Closed, "{name}");
                assert_eq!(
                    endpoint.ended().map(|(cause, code, _)| (cause, code)),
                    Some(ended),
                    "{name}"
                );
                assert!(endpoint.connection.incoming.is_none(), "{name}");
            }
            assert_eq!(endpoint.sent(), [], "{name}");
            assert_hears_nothing(endpoint);
        }
    }
}

/// Whatever ends a connection first is what its owner is told, whatever comes after it.
#[test]
fn the_first_cause_wins() {
    let ends: [End; 8] = [
        ("our close", |endpoint| _ = endpoint.close(1001, "bye")),
        ("the peer's close", |endpoint| endpoint.hear_frames(&[close_frame(4000, "enough")])),
        ("a broken rule", |endpoint| endpoint.hear_frames(&[bare(0x83, "")])),
        ("wrong text", |endpoint| endpoint.hear_frames(&[bare(TEXT, b"\xff")])),
        ("a timeout", |endpoint| {
            endpoint.wait(seconds(20));
            endpoint.wait(seconds(20));
        }),
        ("giving up", |endpoint| {
            endpoint.give_up(CloseCause::Local, CloseCode::TRY_AGAIN_LATER, "too slow")
        }),
        ("our end of TCP", |endpoint| {
            let cause = CloseCause::Timeout(Timeout::Write);
            endpoint.connection.disconnect(cause, CloseCode::ABNORMAL, "stuck");
        }),
        ("the end of TCP", |endpoint| endpoint.connection.receive_eof()),
    ];
    let causes = [
        (CloseCause::Local, 1001, "bye"),
        (CloseCause::Peer, 4000, "enough"),
        (
            CloseCause::Protocol(ProtocolError::ReservedOpcode { opcode: 3 }),
            1002,
            "opcode 3 is reserved",
        ),
        (CloseCause::Protocol(ProtocolError::InvalidUtf8), 1007, "text is not valid UTF-8"),
        (CloseCause::Timeout(Timeout::Pong), 1011, "Ping timeout"),
        (CloseCause::Local, 1013, "too slow"),
        (CloseCause::Timeout(Timeout::Write), 1006, "stuck"),
        (CloseCause::Lost, 1006, "connection was closed without close frame"),
    ];
    for role in ROLES {
        for ((first_name, first), cause) in ends.into_iter().zip(causes) {
            for (second_name, second) in ends {
                let mut endpoint = Endpoint::open(role, &Settings::default());
                first(&mut endpoint);
                second(&mut endpoint);
                assert_eq!(endpoint.ended(), Some(cause), "{first_name}, then {second_name}");
                let closes = endpoint.sent().iter().filter(|(first, _)| *first == CLOSE).count();
                assert!(closes <= 1, "{first_name}, then {second_name}: {closes} Close frames");
            }
        }
    }
}

#[test]
fn deadlines_too_far_for_the_clock_are_none() {
    let mut settings = Settings::default();
    let timeouts = &mut settings.timeouts;
    (timeouts.handshake, timeouts.close) = (Duration::MAX, Duration::MAX);
    (timeouts.ping_period, timeouts.pong) = (Some(Duration::MAX), Duration::MAX);
    timeouts.message = Duration::MAX;
    for role in ROLES {
        let mut endpoint = Endpoint::connecting(role, &settings);
        assert_eq!(endpoint.time_left(), None);
        endpoint.connection.upgrade(Arc::new(settings.clone()), endpoint.now);
        assert_eq!(endpoint.time_left(), None);
        endpoint.hear_frames(&[bare(TEXT_START, "hi")]);
        assert_eq!(endpoint.time_left(), None);
        endpoint.close(1000, "").unwrap();
        assert_eq!(endpoint.time_left(), None);
    }
}
