//! Extensions of one's own: which frames pass them, in which order, and what may come of it (§9).

use super::*;
use crate::protocol::extension::{DataFrame, Extension, ExtensionError, Param, Transform};

/// An extension whose work is given; it is agreed on without parameters.
pub(super) struct Own {
    pub(super) name: &'static str,
    pub(super) rsv: Rsv,
    pub(super) raw: bool,
    pub(super) work: fn() -> Box<dyn Transform>,
}

impl Extension for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn rsv(&self) -> Rsv {
        self.rsv
    }

    fn answer(&self, _: &Offer<'_>) -> Option<(Vec<Param<'static>>, Box<dyn Transform>)> {
        Some((vec![], (self.work)()))
    }

    fn offers(&self) -> Vec<Vec<Param<'static>>> {
        vec![vec![]]
    }

    fn accept(&self, _: &Offer<'_>) -> Option<Box<dyn Transform>> {
        Some((self.work)())
    }

    fn covers_raw(&self) -> bool {
        self.raw
    }
}

type Result = std::result::Result<(), ExtensionError>;

/// Sets every bit it has and puts one byte in front, counted up; refuses any other.
struct Count(u8);

const OUT_OF_STEP: ExtensionError = ExtensionError::new(CloseCode(4007), "out of step");

impl Transform for Count {
    fn outgoing(&mut self, frame: &mut DataFrame<'_>) -> Result {
        frame.set_rsv(ANY_RSV);
        frame.replace(0..0, &[self.0])?;
        self.0 += 1;
        Ok(())
    }

    fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result {
        if frame.rsv() == Rsv::NONE || frame.payload().first() != Some(&self.0) {
            return Err(OUT_OF_STEP);
        }
        self.0 += 1;
        frame.replace(0..1, &[])
    }
}

fn count() -> Own {
    let raw = false;
    Own { name: "x-count", rsv: Rsv::RSV2, raw, work: || Box::new(Count(0)) }
}

/// The same from 100 on, with another bit.
fn hundred() -> Own {
    Own { name: "x-hundred", rsv: Rsv::RSV3, work: || Box::new(Count(100)), ..count() }
}

fn with(own: impl IntoIterator<Item = Own>) -> Settings {
    let extensions = own.into_iter().fold(Extensions::new(), Extensions::with);
    Settings { extensions, ..Settings::default() }
}

/// An extension that works by these two.
fn works(
    outgoing: fn(&mut DataFrame<'_>) -> Result,
    incoming: fn(&mut DataFrame<'_>) -> Result,
) -> Transforms {
    Transforms { outgoing, incoming }
}

struct Transforms {
    outgoing: fn(&mut DataFrame<'_>) -> Result,
    incoming: fn(&mut DataFrame<'_>) -> Result,
}

impl Transform for Transforms {
    fn outgoing(&mut self, frame: &mut DataFrame<'_>) -> Result {
        (self.outgoing)(frame)
    }

    fn incoming(&mut self, frame: &mut DataFrame<'_>) -> Result {
        (self.incoming)(frame)
    }
}

fn own(work: fn() -> Box<dyn Transform>) -> Settings {
    with([Own { name: "x-own", rsv: Rsv::NONE, raw: true, work }])
}

// ---- receiving ---------------------------------------------------------------------------------

#[test]
fn what_is_received_has_passed_the_extensions() {
    for (name, frames, seen) in [
        ("one frame", vec![bare(0xa1, "\0Hello")], vec![text("Hello")]),
        (
            "two messages",
            vec![bare(0xa1, "\0Hello"), bare(0xa2, "\x01\x02")],
            vec![text("Hello"), binary([2])],
        ),
        ("empty", vec![bare(0xa2, "\0")], vec![binary("")]),
        (
            "fragments, cut inside a character",
            vec![bare(0x21, b"\0gr\xc3"), bare(0x20, b"\x01"), bare(0xa0, b"\x02\xbcn")],
            vec![text("grün")],
        ),
        (
            "many bytes in fragments",
            vec![
                bare(0x22, [&[0][..], &[7; 70_000]].concat()),
                bare(0xa0, [&[1][..], &[7; 70_000]].concat()),
            ],
            vec![binary([7; 140_000])],
        ),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &with([count()]), &wire(role, &frames));
            let expected =
                Outcome { seen: seen.clone(), sent: vec![], state: State::Open, reason: None };
            assert_eq!(outcome, expected, "{name}, {role:?}");
        }
    }
}

#[test]
fn what_passes_the_extensions_is_work() {
    let mut endpoint = Endpoint::open(Role::Server, &with([count()]));
    endpoint.hear_frames(&[bare(0xa1, [&[0][..], &[b'x'; 99]].concat())]);
    assert_eq!(endpoint.pool.take_work(), 64 + 1024 + 2 * 100);
    endpoint.say("x".repeat(100)).unwrap();
    assert_eq!(endpoint.pool.take_work(), 1024 + 2 * 100);
}

#[test]
fn control_frames_pass_by() {
    let frames = [
        bare(PING, "before"),
        bare(0x21, "\0Hel"),
        bare(PING, "between"),
        bare(0xa0, "\x01lo"),
        close_frame(1000, "done"),
    ];
    for role in ROLES {
        let outcome = every_way("control", role, &with([count()]), &wire(role, &frames));
        let pong = |payload| bare(PONG, payload);
        let sent = vec![pong("before"), pong("between"), close_frame(1000, "done")];
        assert_eq!((outcome.seen, outcome.sent), (vec![text("Hello")], sent), "{role:?}");
    }
}

#[test]
fn reserved_bits_that_nobody_claims_are_refused() {
    use ProtocolError as E;
    for (name, frames, error) in [
        ("RSV1", vec![bare(0xe1, "\0")], E::ReservedBits { bits: 6 }),
        ("RSV3", vec![bare(0xb1, "\0")], E::ReservedBits { bits: 3 }),
        ("on a ping", vec![bare(0xa9, "")], E::ReservedBits { bits: 2 }),
        ("on a close", vec![bare(0xa8, "")], E::ReservedBits { bits: 2 }),
        ("on a continuation", vec![bare(0x21, "\0"), bare(0xf0, "")], E::ReservedBits { bits: 7 }),
        ("nothing to continue", vec![bare(0xa0, "\0")], E::NothingToContinue),
        ("inside another", vec![bare(0x21, "\0"), bare(0xa1, "\x01")], E::MessageUnfinished),
        ("wrong text", vec![bare(0xa1, b"\0\xff")], E::InvalidUtf8),
        ("text cut off", vec![bare(0x21, b"\0\xc3"), bare(0xa0, "\x01")], E::InvalidUtf8),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &with([count()]), &wire(role, &frames));
            assert_eq!(outcome.reason.unwrap().cause, CloseCause::Protocol(error), "{name}");
        }
    }
}

#[test]
fn what_an_extension_refuses_fails_the_connection_with_its_code() {
    for (name, frames, seen) in [
        ("unmarked", vec![bare(TEXT, "\0Hello")], 0),
        ("no byte", vec![bare(0xa1, "")], 0),
        ("another byte", vec![bare(0xa1, "\x01Hello")], 0),
        ("the same again", vec![bare(0xa1, "\0Hello"), bare(0xa1, "\0Hello")], 1),
        ("a fragment", vec![bare(0x21, "\0Hel"), bare(0xa0, "\0lo")], 0),
        ("another one's bit", vec![bare(0xa1, "\0Hello"), bare(TEXT, "\x01")], 1),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &with([count()]), &wire(role, &frames));
            assert_eq!(outcome.seen.len(), seen, "{name}");
            assert_eq!(outcome.sent, [close_frame(4007, "out of step")], "{name}");
            let reason = outcome.reason.unwrap();
            let cause = CloseCause::Protocol(ProtocolError::Extension(OUT_OF_STEP));
            assert_eq!((reason.cause, reason.code), (cause, CloseCode(4007)), "{name}");
        }
    }
}

// ---- sending -----------------------------------------------------------------------------------

#[test]
fn what_is_sent_passes_the_extensions() {
    for role in ROLES {
        let mut pair = Pair::open(&with([count()]));
        let (from, to) = pair.ends(role);
        from.say("Hello").unwrap();
        from.ping(b"?").unwrap();
        from.say("").unwrap();
        let Endpoint { connection, pool, output, .. } = &mut *from;
        let owned = Buffer::from(vec![7; 70_000]);
        assert!(connection.send_owned(Opcode::Binary, owned, pool, output).unwrap().is_none());
        from.close(1000, "").unwrap();
        let output = std::mem::take(&mut from.output);
        let sent = frames(role, &output);
        assert_eq!(sent[..3], [bare(0xa1, "\0Hello"), bare(PING, "?"), bare(0xa1, "\x01")]);
        assert_eq!((sent[3].0, sent[3].1[0], sent[3].1.len()), (0xa2, 2, 70_001));
        assert_eq!(sent[4].0, CLOSE);
        to.hear(&output);
        assert_eq!(to.seen, [text("Hello"), text(""), binary([7; 70_000])]);
    }
}

/// §9.1: the first in the server's response works first, and so is the last to work on the way in.
#[test]
fn extensions_work_in_their_order_and_back_in_reverse() {
    let settings = with([count(), hundred()]);
    let other_way = with([hundred(), count()]);
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &settings);
        endpoint.say("Hello").unwrap();
        assert_eq!(endpoint.sent(), [bare(0xb1, "d\0Hello")]);
        let names: Vec<_> =
            endpoint.connection.extensions().iter().map(|offer| offer.name.to_string()).collect();
        assert_eq!(names, ["x-count", "x-hundred"]);

        let frames = [bare(0x31, "d\0Hel"), bare(0xb0, "e\x01lo")];
        let outcome = every_way("two", role, &settings, &wire(role, &frames));
        assert_eq!(outcome.seen, [text("Hello")], "{role:?}");
        let outcome = every_way("turned round", role, &other_way, &wire(role, &frames));
        assert_eq!(outcome.reason.unwrap().code, CloseCode(4007));
    }
}

#[test]
fn an_extension_sees_its_own_bits_alone_and_sets_no_others() {
    fn check(frame: &mut DataFrame<'_>) -> Result {
        assert_eq!(frame.rsv(), Rsv::NONE);
        assert_eq!((frame.fin(), frame.opcode()), (true, Opcode::Text));
        frame.set_rsv(ANY_RSV);
        frame.payload_mut().make_ascii_uppercase();
        Ok(())
    }
    let bystander =
        Own { name: "x-own", work: || Box::new(works(check, check)), rsv: Rsv::NONE, raw: false };
    let settings = with([count(), bystander]);
    for role in ROLES {
        let mut pair = Pair::open(&settings);
        let (from, to) = pair.ends(role);
        from.say("Hello").unwrap();
        to.hear(&std::mem::take(&mut from.output));
        assert_eq!(to.seen, [text("HELLO")]);
    }
}

// ---- with compression --------------------------------------------------------------------------

#[test]
fn frames_of_compressed_messages_pass_too() {
    let settings =
        Settings { deflate: Some(Deflate { min_len: 0, ..Deflate::default() }), ..with([count()]) };
    let hello = hex("f248cdc9c90700");
    let marked = |byte, payload: &[u8]| [&[byte], payload].concat();
    for role in ROLES {
        for (name, frames) in [
            ("one frame", vec![bare(0xe1, marked(0, &hello))]),
            (
                "fragments",
                vec![bare(0x61, marked(0, &hello[..3])), bare(0xa0, marked(1, &hello[3..]))],
            ),
            (
                "a ping between",
                vec![
                    bare(0x61, marked(0, &hello[..3])),
                    bare(PONG, "!"),
                    bare(0x20, [1]),
                    bare(0xa0, marked(2, &hello[3..])),
                ],
            ),
            ("plain", vec![bare(0xa1, "\0Hello")]),
        ] {
            let outcome = every_way(name, role, &settings, &wire(role, &frames));
            assert_eq!(outcome.seen, [text("Hello")], "{name}, {role:?}");
        }
        // RFC 7692 §6.1: RSV1 stands on no continuation.
        let frames = [bare(0x61, marked(0, &hello[..3])), bare(0xe0, [1])];
        let outcome = every_way("RSV1", role, &settings, &wire(role, &frames));
        let error = ProtocolError::ReservedBits { bits: 6 };
        assert_eq!(outcome.reason.unwrap().cause, CloseCause::Protocol(error));

        let mut pair = Pair::open(&settings);
        let (from, to) = pair.ends(role);
        from.say("and over and over and over").unwrap();
        let output = std::mem::take(&mut from.output);
        let sent = frames_of_one(role, &output);
        assert_eq!((sent.0, sent.1[0]), (0xe1, 0));
        to.hear(&output);
        assert_eq!(to.seen, [text("and over and over and over")]);
        let names: Vec<_> = to.connection.extensions().iter().map(ToString::to_string).collect();
        assert_eq!(names[1..], ["x-count"]);
        assert!(
            names[0].starts_with("permessage-deflate; server_no_context_takeover; "),
            "{names:?}"
        );
    }
}

fn frames_of_one(from: Role, wire: &[u8]) -> Bare {
    frames(from, wire).pop().expect("one frame")
}

// ---- limits ------------------------------------------------------------------------------------

#[test]
fn what_comes_out_keeps_to_the_limits() {
    let limits =
        Limits { max_frame: 1000, max_message: 1500, max_fragments: 3, ..Limits::default() };
    let settings = Settings { limits, ..with([count()]) };
    let marked = |byte, len| [vec![byte], vec![7; len]].concat();
    use ProtocolError as E;
    for (name, frames, error) in [
        ("a whole frame", vec![bare(0xa2, marked(0, 1000))], None),
        (
            "one byte more",
            vec![bare(0xa2, marked(0, 1001))],
            Some(E::FrameTooBig { len: 1001, max: 1000 }),
        ),
        (
            "more than there may be on the wire",
            vec![bare(0xa2, marked(0, 1074))],
            Some(E::FrameTooBig { len: 1075, max: 1074 }),
        ),
        ("a whole message", vec![bare(0x22, marked(0, 1000)), bare(0xa0, marked(1, 500))], None),
        (
            "one byte more of it",
            vec![bare(0x22, marked(0, 1000)), bare(0xa0, marked(1, 501))],
            Some(E::MessageTooBig { len: 1501, max: 1500 }),
        ),
        (
            "too many fragments",
            vec![bare(0x22, [0]), bare(0x20, [1]), bare(0x20, [2]), bare(0x20, [3])],
            Some(E::TooManyFragments { max: 3 }),
        ),
    ] {
        for role in ROLES {
            let outcome = every_way(name, role, &settings, &wire(role, &frames));
            let cause = outcome.reason.map(|reason| reason.cause);
            assert_eq!(cause, error.map(CloseCause::Protocol), "{name}, {role:?}");
        }
    }
}

/// What is compressed may be longer behind the extensions too, on the first frame and on others.
#[test]
fn compressed_frames_may_have_what_does_not_compress_on_top() {
    let limits = Limits { max_frame: 100, ..Limits::default() };
    let deflate = Some(Deflate::default());
    let settings = Settings { limits, deflate, ..with([count()]) };
    // A block without compression, of 160 bytes.
    let (head, body) = (hex("00a0005fff"), [&[7; 160][..], &[0]].concat());
    let marked = |byte, parts: &[&[u8]]| [&[byte][..], &parts.concat()].concat();
    for role in ROLES {
        for (name, frames) in [
            ("first", vec![bare(0x62, marked(0, &[&head, &body[..159]])), bare(0xa0, [1, 7, 0])]),
            (
                "continuation",
                vec![bare(0x62, marked(0, &[&head])), bare(0xa0, marked(1, &[&body]))],
            ),
        ] {
            let outcome = every_way(name, role, &settings, &wire(role, &frames));
            assert_eq!(outcome.seen, [binary([7; 160])], "{name}, {role:?}");
        }
    }
}

#[test]
fn an_extension_makes_a_frame_no_longer_than_its_room() {
    /// Fills the room, one byte at a time; then there is no more of it.
    fn fill(frame: &mut DataFrame<'_>) -> Result {
        let room = frame.room();
        for left in (0..room).rev() {
            let end = frame.payload().len();
            frame.replace(end..end, &[7])?;
            assert_eq!(frame.room(), left);
        }
        // What replaces as much needs none.
        frame.replace(0..1, &[9])?;
        Ok(())
    }
    fn overflow(frame: &mut DataFrame<'_>) -> Result {
        fill(frame)?;
        frame.replace(0..1, &[1, 2])
    }
    let limits = Limits { max_frame: 1000, max_message: 1074, ..Limits::default() };
    for role in ROLES {
        let settings = Settings { limits: limits.clone(), ..own(|| Box::new(works(fill, fill))) };
        let mut endpoint = Endpoint::open(role, &settings);
        for (len, sent) in [(1, 1074), (1000, 1074), (2000, 2084)] {
            let message = Message::from(vec![0; len]);
            endpoint.connection.send(&message, &mut endpoint.pool, &mut endpoint.output).unwrap();
            assert_eq!(endpoint.sent()[0].1.len(), sent);
        }
        // On its way in it is a frame too long then.
        let one = wire(role, &[bare(BINARY, [0])]);
        let outcome = every_way("filled", role, &settings, &one);
        let error = ProtocolError::FrameTooBig { len: 1074, max: 1000 };
        assert_eq!(outcome.reason.unwrap().cause, CloseCause::Protocol(error));

        let settings =
            Settings { limits: limits.clone(), ..own(|| Box::new(works(overflow, overflow))) };
        let outcome = every_way("overflow", role, &settings, &one);
        assert_eq!(outcome.reason.unwrap().code, CloseCode::MESSAGE_TOO_BIG);
        let mut endpoint = Endpoint::open(role, &settings);
        assert_eq!(endpoint.say("a"), Err(SendError::NotOpen));
        assert_eq!(
            endpoint.ended().map(|(cause, code, _)| (cause, code)),
            Some((CloseCause::Local, 1009))
        );
    }
}

// ---- faults ------------------------------------------------------------------------------------

#[test]
fn an_extension_that_cannot_send_closes_the_connection() {
    fn fail(_: &mut DataFrame<'_>) -> Result {
        Err(ExtensionError::new(CloseCode(4001), "used up"))
    }
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &own(|| Box::new(works(fail, fail))));
        assert_eq!(endpoint.say("Hello"), Err(SendError::NotOpen));
        assert_eq!(endpoint.sent(), [close_frame(4001, "used up")]);
        assert_eq!(endpoint.ended(), Some((CloseCause::Local, 4001, "used up")));
        assert_eq!(endpoint.state(), State::Closed);
        assert_eq!(endpoint.say("Hello"), Err(SendError::NotOpen));
        assert_eq!(endpoint.sent(), []);
    }
}

#[test]
fn a_panic_of_an_extension_harms_its_connection_alone() {
    struct Panics;
    impl Transform for Panics {
        fn outgoing(&mut self, _: &mut DataFrame<'_>) -> Result {
            panic!("on its way out");
        }

        fn incoming(&mut self, _: &mut DataFrame<'_>) -> Result {
            panic!("on its way in");
        }
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("and at its end");
        }
    }
    let settings = own(|| Box::new(Panics));
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &settings);
        endpoint.hear_frames(&[bare(TEXT, "Hello")]);
        assert_eq!(endpoint.sent(), [close_frame(1011, "an extension panicked")]);
        let mut endpoint = Endpoint::open(role, &settings);
        assert_eq!(endpoint.say("Hello"), Err(SendError::NotOpen));
        assert_eq!(endpoint.sent(), [close_frame(1011, "an extension panicked")]);
    }
}

// ---- publications ------------------------------------------------------------------------------

#[test]
fn what_is_framed_elsewhere_is_not_taken() {
    let mut server = Endpoint::open(Role::Server, &with([count()]));
    assert!(!server.connection.takes_framed());
    assert!(server.connection.takes_published() && server.connection.frames_published());
    let mut plain = Endpoint::open(Role::Server, &Settings::default());
    assert!(plain.connection.takes_framed() && !plain.connection.frames_published());

    // Also behind a Close that it comes before.
    for endpoint in [&mut server, &mut plain] {
        endpoint.close(1000, "").unwrap();
        endpoint.sent();
        assert!(!endpoint.connection.takes_published());
        let Endpoint { connection, pool, output, .. } = endpoint;
        connection.send_published(Opcode::Text, b"Hello", pool, output).unwrap();
    }
    assert_eq!(server.sent(), [bare(0xa1, "\0Hello")]);
    assert_eq!(plain.sent(), [bare(TEXT, "Hello")]);
}

/// A frame behind an extension is inflated as a whole; the next one waits until something is allowed again.
#[test]
fn inflating_stops_between_frames_that_pass() {
    let settings = Settings { deflate: Some(Deflate::default()), ..with([count()]) };
    for role in ROLES {
        let mut pair = Pair::open(&settings);
        let (from, to) = pair.ends(role);
        let zeros = "0".repeat(100_000);
        for _ in 0..2 {
            from.say(&zeros).unwrap();
        }
        let whole = std::mem::take(&mut from.output);
        let mut wire = whole.clone();
        let mut input = wire.as_mut_slice();
        let Endpoint { connection, now, pool, output, .. } = &mut *to;
        pool.set_inflate_allowance(150_000);
        let event = connection.receive(&mut input, *now, pool, output);
        assert_eq!(event.map(Seen::from), Some(text(&zeros)));
        let left = pool.inflate_allowance();
        assert!((45_000..=50_000).contains(&left), "{left} may still be inflated");
        pool.set_inflate_allowance(0);
        assert!(connection.receive(&mut input, *now, pool, output).is_none());
        assert!(!input.is_empty(), "its end is left");
        pool.set_inflate_allowance(1);
        let rest = input.len();
        to.hear(&whole[whole.len() - rest..]);
        assert_eq!(to.seen, [text(&zeros)]);
        assert_eq!(to.pool.inflate_allowance(), 0, "that was more than one byte");
    }
}

#[test]
fn no_window_is_for_topics() {
    let deflate = Some(Deflate::for_topics());
    let settings = Settings { deflate, ..with([count()]) };
    let server = Endpoint::open(Role::Server, &settings);
    assert!(server.connection.agreed().is_some());
    assert_eq!(server.connection.window_for_topics(), None);
}

// ---- raw mode ----------------------------------------------------------------------------------

#[test]
fn raw_mode_takes_part_where_it_is_covered() {
    for role in ROLES {
        let out = Settings { mode: Mode::Raw, ..with([count()]) };
        let mut endpoint = Endpoint::open(role, &out);
        assert_eq!(endpoint.connection.extensions(), []);
        endpoint.send_frame(TEXT, b"Hello").unwrap();
        assert_eq!(endpoint.sent(), [bare(TEXT, "Hello")]);

        let within = Settings { mode: Mode::Raw, ..with([Own { raw: true, ..count() }]) };
        let mut endpoint = Endpoint::open(role, &within);
        for (first, payload) in
            [(TEXT_START, "Hel"), (PING, "?"), (CONTINUATION_END, "lo"), (BINARY, "!")]
        {
            endpoint.send_frame(first, payload.as_bytes()).unwrap();
        }
        let marked =
            [bare(0x21, "\0Hel"), bare(PING, "?"), bare(0xa0, "\x01lo"), bare(0xa2, "\x02!")];
        assert_eq!(endpoint.sent(), marked);
        let outcome = every_way("raw", role, &within, &wire(role, &marked));
        let frame = |first, payload: &str| Seen::Frame(first, payload.into());
        let seen = [
            frame(TEXT_START, "Hel"),
            frame(PING, "?"),
            frame(CONTINUATION_END, "lo"),
            frame(BINARY, "!"),
        ];
        assert_eq!(outcome.seen, seen);
        // The bits are for extensions to set, also where there are some.
        assert_eq!(endpoint.send_frame(0xa1, b""), Err(SendError::IllegalFrame));
    }
}

#[test]
fn raw_mode_inflates_behind_the_extensions() {
    let deflate = Some(Deflate { raw: true, ..Deflate::default() });
    let settings = Settings { mode: Mode::Raw, deflate, ..with([Own { raw: true, ..count() }]) };
    let hello = hex("f248cdc9c90700");
    for role in ROLES {
        let frames = [
            bare(0x61, [&[0][..], &hello[..3]].concat()),
            bare(0xa0, [&[1][..], &hello[3..]].concat()),
        ];
        let outcome = every_way("compressed", role, &settings, &wire(role, &frames));
        let said = outcome.seen.iter().map(|seen| match seen {
            Seen::Frame(first, payload) => (*first, payload.clone()),
            other => panic!("{other:?}"),
        });
        let (firsts, payloads): (Vec<_>, Vec<_>) = said.unzip();
        assert_eq!(
            (firsts, payloads.concat()),
            (vec![TEXT_START, CONTINUATION_END], b"Hello".to_vec())
        );
    }
}

// ---- memory ------------------------------------------------------------------------------------

#[test]
fn nothing_stays_of_a_message_but_what_the_extension_keeps() {
    for role in ROLES {
        let mut endpoint = Endpoint::open(role, &with([count()]));
        let frames = [bare(0x22, [&[0][..], &[7; 5000]].concat()), bare(0xa0, [1])];
        endpoint.hear_in_place(&wire(role, &frames), 100);
        assert_eq!(endpoint.seen, [binary([7; 5000])]);
        assert!(endpoint.connection.incoming.is_none());
        assert!(endpoint.pool.scratch.is_empty());
        // A large frame leaves little memory to the next.
        let large = vec![7; 3 << 20];
        endpoint.connection.send(&large.into(), &mut endpoint.pool, &mut endpoint.output).unwrap();
        assert!(endpoint.pool.scratch.capacity() <= 1 << 20);
    }
}

proptest::proptest! {
    #[test]
    fn what_is_sent_arrives(messages: Vec<Vec<u8>>, read in 1..40usize) {
        for role in ROLES {
            let mut pair = Pair::open(&with([count(), hundred()]));
            let (from, to) = pair.ends(role);
            let messages = &messages[..messages.len().min(100)];
            for message in messages {
                let message = Message::from(&message[..]);
                from.connection.send(&message, &mut from.pool, &mut from.output).unwrap();
            }
            to.hear_in_place(&from.output, read);
            let sent: Vec<_> = messages.iter().map(binary).collect();
            proptest::prop_assert_eq!(&to.seen, &sent);
            proptest::prop_assert_eq!(to.state(), State::Open);
        }
    }
}
