//! Random histories of two endpoints, and random bytes for one.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Something that happens at one end.
#[derive(Debug, Clone)]
enum Act {
    /// It sends a text of about so many bytes.
    Say(usize),
    Ping(Vec<u8>),
    Close(u16),
    /// So many of the bytes on their way to it arrive, read by so many, large frames in place.
    Carry(usize, usize),
    /// Milliseconds pass.
    Wait(u64),
    Behind(bool),
    /// Bytes that its peer never wrote get in.
    Break(Vec<u8>),
    Lose,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop_oneof![9 => 0..200usize, 1 => 0..60_000usize].prop_map(Act::Say),
        3 => vec(any::<u8>(), 0..126).prop_map(Act::Ping),
        1 => select(vec![999, 1000, 1001, 1005, 3000, 4999]).prop_map(Act::Close),
        16 => (0..40_000usize, 1..5000usize).prop_map(|(len, read)| Act::Carry(len, read)),
        4 => (0..8000u64).prop_map(Act::Wait),
        2 => any::<bool>().prop_map(Act::Behind),
        1 => vec(any::<u8>(), 1..20).prop_map(Act::Break),
        1 => Just(Act::Lose),
    ]
}

/// One end, and all that it ever did.
struct End {
    endpoint: Endpoint,
    /// What it said, as its peer should see it.
    said: Vec<Seen>,
    /// Bytes on their way to it.
    incoming: Vec<u8>,
    /// Every byte it wrote.
    written: Vec<u8>,
    /// Whether anything but its peer's bytes got in.
    broken: bool,
    /// Where it stood, and the first cause that it told.
    before: (State, Option<CloseReason>),
}

impl End {
    fn new(role: Role) -> Self {
        Self {
            endpoint: Endpoint::open(role, &Settings::default()),
            said: Vec::new(),
            incoming: Vec::new(),
            written: Vec::new(),
            broken: false,
            before: (State::Open, None),
        }
    }

    fn play(&mut self, act: &Act) {
        let open = self.endpoint.state() == State::Open;
        match act {
            Act::Say(len) => {
                let message = format!("{} {}", self.said.len(), "茶".repeat(len / 3));
                assert_eq!(self.endpoint.say(&message).is_ok(), open);
                self.said.extend(open.then(|| text(&message)));
            }
            Act::Ping(payload) => assert_eq!(self.endpoint.ping(payload).is_ok(), open),
            Act::Close(code) => {
                let closed = self.endpoint.close(*code, "history").is_ok();
                assert_eq!(closed, open && CloseCode(*code).is_sendable());
            }
            Act::Carry(len, read) => {
                let arrives: Vec<_> =
                    self.incoming.drain(..self.incoming.len().min(*len)).collect();
                self.endpoint.hear_in_place(&arrives, *read);
            }
            Act::Wait(millis) => self.endpoint.wait(Duration::from_millis(*millis)),
            Act::Behind(behind) => {
                self.endpoint.set_behind(*behind);
            }
            Act::Break(bytes) => {
                self.broken = true;
                self.incoming.extend(bytes);
            }
            Act::Lose => self.endpoint.connection.receive_eof(),
        }
    }

    /// What holds after every act.
    fn check(&mut self) {
        let (state, reason) = (self.endpoint.state(), self.endpoint.connection.close_reason());
        let rank = |state| match state {
            State::Connecting => 0,
            State::Open => 1,
            State::CloseSent | State::CloseReceived => 2,
            State::CloseExchanged => 3,
            State::Closed => 4,
        };
        assert!(rank(state) >= rank(self.before.0), "{state:?} after {:?}", self.before.0);
        assert_eq!(reason.is_some(), state != State::Open, "a cause is known once it is not open");
        if self.before.1.is_some() {
            assert_eq!(reason, self.before.1.as_ref(), "the first cause stays");
        }
        self.before = (state, reason.cloned());
        let holds = self.endpoint.connection.incoming.is_some();
        assert!(!holds || state.receives(), "{state:?} holds on to what is not whole");
    }

    /// What holds of all that it wrote: legal frames, nothing behind a Close.
    fn check_written(&self) {
        let frames = frames(self.endpoint.connection.role(), &self.written);
        let close = frames.iter().position(|(first, _)| *first == CLOSE);
        assert!(close.is_none_or(|at| at + 1 == frames.len()), "frames follow a Close");
    }
}

/// Both ends see what the other said, in order, and all of it where nothing came between.
fn check_delivery(from: &End, to: &End) {
    if to.broken {
        return;
    }
    let seen = &to.endpoint.seen;
    assert!(from.said.starts_with(seen), "{} messages are not those sent", seen.len());
    if to.endpoint.state() != State::Closed {
        assert_eq!(seen.len(), from.said.len(), "messages are lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_ends_agree_whatever_happens(
        history in vec((select(ROLES.to_vec()), act()), 0..120),
    ) {
        let mut ends = [Role::Client, Role::Server].map(End::new);
        let carry_all = ROLES.into_iter().cycle().take(6).map(|role| (role, Act::Carry(usize::MAX, 3000)));
        for (role, act) in history.into_iter().chain(carry_all) {
            let at = usize::from(role == Role::Server);
            ends[at].play(&act);
            ends[at].check();
            let output = std::mem::take(&mut ends[at].endpoint.output);
            ends[at].written.extend(&output);
            ends[1 - at].incoming.extend(output);
        }
        let [client, server] = &ends;
        client.check_written();
        server.check_written();
        check_delivery(client, server);
        check_delivery(server, client);
    }

    /// Frames that are mostly legal, one byte of them changed perhaps: every way to cut them comes to
    /// the same, and whatever happens is an error of the list or none.
    #[test]
    fn cuts_change_nothing(
        role in select(ROLES.to_vec()),
        mode in select(vec![Mode::Messages, Mode::Raw]),
        sent in vec(
            (
                prop_oneof![
                    4 => select(vec![TEXT, BINARY, PING, PONG]),
                    4 => select(vec![TEXT_START, CONTINUATION, CONTINUATION_END]),
                    1 => any::<u8>(),
                ],
                prop_oneof![
                    vec(any::<u8>(), 0..30),
                    "\\PC{0,30}".prop_map(String::into_bytes),
                    (120..300usize).prop_map(|len| vec![b'a'; len]),
                ],
            ),
            0..6,
        ),
        changed in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let small = Limits { max_frame: 250, max_message: 280, max_fragments: 4, ..Limits::default() };
        let mut wire = wire(role, &sent);
        if let Some((at, byte)) = changed && !wire.is_empty() {
            *at.get_mut(&mut wire) = byte;
        }
        let outcome = every_way("random", role, &Settings { mode, limits: small, ..Settings::default() }, &wire);
        let closes = outcome.sent.iter().filter(|(first, _)| *first == CLOSE).count();
        let failed = matches!(outcome.reason, Some(CloseReason { cause: CloseCause::Protocol(_), .. }));
        prop_assert_eq!(failed, outcome.state == State::Closed);
        prop_assert!(closes <= 1 && closes >= usize::from(failed));
    }
}
