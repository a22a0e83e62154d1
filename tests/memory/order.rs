//! The order in which a connection receives what is published, sent by handles and sent by its service: what
//! `chinwag::topic::order` says of it, by random schedules.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chinwag::{
    CloseCode, Limits, Message, Opcode, Peer, PeerHandle, Request, Server, Service, Topic,
    testing::{self, Client},
};

use crate::support::masked;

const TOPICS: usize = 3;
const MEMBERS: usize = 4;
const STEPS: usize = 40;
const SEEDS: u64 = 300;

/// Nobody's service: what the test itself does.
const ELSEWHERE: usize = usize::MAX;

// ---- what is done ------------------------------------------------------------------------------

/// Something that a member may receive. Its place in the log is the order in which it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Published {
        topic: usize,
    },
    /// By a handle, to this member.
    Commanded {
        to: usize,
    },
    /// A message or a Ping, by a service to its own peer.
    Sent,
    /// By the member's own service.
    Subscribed {
        topic: usize,
    },
    Unsubscribed {
        topic: usize,
    },
    /// By the member's own service, by a handle, or by its peer.
    Closed {
        to: usize,
        by: By,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Service,
    Handle,
    Peer,
}

#[derive(Debug, Clone, Copy)]
struct Done {
    source: usize,
    what: What,
}

#[derive(Clone, Default)]
struct World(Arc<Shared>);

#[derive(Default)]
struct Shared {
    topics: [Topic; TOPICS],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Vec<Done>,
    handles: Vec<PeerHandle>,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Does something that may fail; it is logged with its number where it does not.
    fn does<E>(&self, source: usize, what: What, does: impl FnOnce(String) -> Result<(), E>) {
        let number = self.state().log.len();
        if does(number.to_string()).is_ok() {
            self.state().log.push(Done { source, what });
        }
    }

    fn publish(&self, source: usize, topic: usize) {
        self.does(source, What::Published { topic }, |text| {
            self.0.topics[topic].publish(text).map(drop)
        });
    }

    /// Sends by a handle.
    fn command(&self, source: usize, to: usize, kind: u32) {
        let Some(handle) = self.state().handles.get(to).cloned() else { return };
        match kind {
            0 => self.does(source, What::Closed { to, by: By::Handle }, |text| {
                handle.close(CloseCode::NORMAL, &text)
            }),
            1..=3 => self.does(source, What::Commanded { to }, |text| handle.ping(text.as_bytes())),
            _ => self.does(source, What::Commanded { to }, |text| handle.send(text)),
        }
    }
}

/// A service that does what its peer's messages say, one byte each.
struct Member(World, usize);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.0.state().handles.push(peer.handle());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Self(world, own) = self;
        for &byte in message.as_bytes() {
            let topic = usize::from(byte) / 16 % TOPICS;
            match byte % 16 {
                0..=4 => world.publish(*own, topic),
                5..=7 => world.does(*own, What::Sent, |text| peer.send(text)),
                8 => world.does(*own, What::Sent, |text| peer.ping(text.as_bytes())),
                9 | 10 => {
                    let to = usize::from(byte) / 16 % MEMBERS;
                    world.command(*own, to, 1 + u32::from(byte / 16));
                }
                11 | 12 => {
                    peer.subscribe(&world.0.topics[topic]);
                    world.does(*own, What::Subscribed { topic }, |_| Ok::<_, ()>(()));
                }
                13 | 14 => {
                    peer.unsubscribe(&world.0.topics[topic]);
                    world.does(*own, What::Unsubscribed { topic }, |_| Ok::<_, ()>(()));
                }
                // Rare, as nothing comes behind it.
                _ if byte == 0xff => {
                    world.does(*own, What::Closed { to: *own, by: By::Service }, |text| {
                        peer.close(CloseCode::NORMAL, &text)
                    })
                }
                _ => {}
            }
        }
    }
}

// ---- what is received --------------------------------------------------------------------------

/// What one member has yet to receive.
struct Expected {
    member: usize,
    subscribed: [bool; TOPICS],
    is_closed: bool,
}

impl Expected {
    fn new(member: usize) -> Self {
        Self { member, subscribed: [false; TOPICS], is_closed: false }
    }

    /// Goes through what was done in a step, from number `first` on, and checks that the member has received
    /// of it what it is to receive, in the order that is guaranteed.
    #[track_caller]
    fn check(&mut self, client: &mut Client, log: &[Done], first: usize, name: &str) {
        let name = &format!("{name}, member {}", self.member);
        let close = (first..log.len()).find(
            |&number| matches!(log[number].what, What::Closed { to, .. } if to == self.member),
        );
        let end = close.map_or(log.len(), |close| close + 1);
        let mut due = Vec::new();
        for (number, done) in (first..).zip(&log[first..end]) {
            let is_own = done.source == self.member;
            match done.what {
                What::Published { topic } if self.subscribed[topic] => due.push(number),
                What::Commanded { to } if to == self.member => due.push(number),
                What::Sent if is_own => due.push(number),
                What::Subscribed { topic } if is_own => self.subscribed[topic] = true,
                What::Unsubscribed { topic } if is_own => self.subscribed[topic] = false,
                _ => {}
            }
        }
        let received = self.receive(client, due.len(), close.is_some(), name);
        for &number in &received {
            let is_late = number >= end;
            assert!(
                due.contains(&number) || is_late,
                "{name}: {number} is not for it, or came twice"
            );
            due.retain(|&other| other != number);
        }
        // What a handle sends finds a connection that is closing by then. What others publish may come too
        // late for a peer that closes.
        let by = close.map(|close| log[close].what);
        due.retain(|&number| {
            let Done { source, what } = log[number];
            let is_command = matches!(what, What::Commanded { .. });
            match by {
                Some(What::Closed { by: By::Peer, .. }) => source == self.member && !is_command,
                Some(What::Closed { by: By::Service, .. }) => !is_command,
                _ => true,
            }
        });
        assert!(
            due.is_empty(),
            "{name}: {due:?} never came, only {received:?} of {:?}",
            (first..).zip(&log[first..]).collect::<Vec<_>>(),
        );
        for (at, &early) in received.iter().enumerate() {
            for &late in received[at..].iter().filter(|&&late| late < early) {
                assert!(
                    self.may_overtake(early, late, log, first),
                    "{name}: {early} ({:?}) overtakes {late} ({:?}) in {received:?}",
                    log[early],
                    log[late],
                );
            }
        }
        self.is_closed |= close.is_some();
    }

    /// Whether what was done later may be received earlier.
    fn may_overtake(&self, early: usize, late: usize, log: &[Done], first: usize) -> bool {
        let left = |topic, after: usize, before: usize| {
            let what = What::Unsubscribed { topic };
            let is_it = |done: &Done| done.source == self.member && done.what == what;
            log[after..before].iter().any(is_it)
        };
        match (log[early].what, log[late].what) {
            // With an earlier publication to its own topic, or as it is among the last of a topic that was
            // left.
            (What::Published { topic }, What::Published { topic: other }) if topic != other => {
                let is_it = |done: &Done| done.what == What::Published { topic };
                log[first..late].iter().any(is_it) || left(topic, early, log.len())
            }
            // What the service sends stays behind what it has done itself, and behind the last of topics that
            // it has left.
            (What::Sent, What::Published { topic }) => {
                log[late].source != self.member && !left(topic, late, early)
            }
            (What::Sent, What::Commanded { .. }) => log[late].source != self.member,
            _ => false,
        }
    }

    /// The numbers that come: so many, or all up to a Close.
    #[track_caller]
    fn receive(&self, client: &mut Client, count: usize, closes: bool, name: &str) -> Vec<usize> {
        let mut received = Vec::new();
        while received.len() < count || closes {
            let Some(frame) = client.recv_frame() else { break };
            let text = str::from_utf8(&frame.payload).unwrap_or_default();
            match frame.opcode {
                Opcode::Close => {
                    assert!(closes, "{name}: it is closed: {frame:?}");
                    assert_eq!(client.recv_frame(), None, "{name}: a frame behind the Close");
                    break;
                }
                _ => received.push(text.parse().unwrap()),
            }
        }
        assert_eq!(client.try_recv(), None, "{name}: there is more than {received:?}");
        received
    }
}

// ---- schedules ---------------------------------------------------------------------------------

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % below as u64) as usize
    }
}

fn play(seed: u64) {
    let (mut random, world) = (Random(seed), World::default());
    let shared = world.clone();
    let make = move |request: &Request<'_>| {
        let number = request.query("number").unwrap().parse().unwrap();
        Member(shared.clone(), number)
    };
    // Some connections hold so little that nearly all has to wait.
    let limits =
        Limits { max_backlog: usize::MAX, max_backlog_messages: usize::MAX, ..Limits::default() };
    let server = testing::Server::new(Server::builder().service("/", make).limits(limits));
    let connect = |number: usize| {
        let capacity = if number % 2 == 0 { 64 << 10 } else { 7 };
        let connect = server.client().capacity(capacity);
        (connect.connect(&format!("/?number={number}")).unwrap(), Expected::new(number))
    };
    let mut members: Vec<_> = (0..MEMBERS).map(connect).collect();
    for step in 0..STEPS {
        let first = world.state().log.len();
        for _ in 0..1 + random.next(6) {
            let number = random.next(MEMBERS);
            let (client, expected) = &mut members[number];
            match random.next(8) {
                0 => world.publish(ELSEWHERE, random.next(TOPICS)),
                1 => world.command(ELSEWHERE, number, random.next(30) as u32),
                _ if expected.is_closed => {}
                2 if random.next(30) == 0 && client.is_open() => {
                    let closed = What::Closed { to: number, by: By::Peer };
                    // In one write: the answer stays behind what the service does before.
                    let script = script(&mut random);
                    client.queue_bytes([masked(0x82, &script), masked(0x88, b"")].concat());
                    server.advance(Duration::ZERO);
                    world.does(ELSEWHERE, closed, |_| Ok::<_, ()>(()));
                }
                _ => client.queue_bytes(masked(0x82, &script(&mut random))),
            }
        }
        server.advance(Duration::ZERO);
        let log = world.state().log.clone();
        for (client, expected) in members.iter_mut().filter(|(_, expected)| !expected.is_closed) {
            expected.check(client, &log, first, &format!("seed {seed}, step {step}"));
        }
    }
    assert_eq!((server.counters().panics.get(), server.counters().slow.get()), (0, 0));
}

fn script(random: &mut Random) -> Vec<u8> {
    (0..1 + random.next(6)).map(|_| random.next(256) as u8).collect()
}

#[test]
fn everything_is_received_once_and_in_the_order_that_is_guaranteed() {
    (0..SEEDS).for_each(play);
}
