//! The cases: what attackers do, and how much memory the server may need for it.

use std::{sync::Arc, time::Duration};

use chinwag::Limits;

use super::{
    attack::{Act, Group, Reads},
    wire::{self, BINARY, COMPRESSED, CONTINUATION, FIRST, LAST, PING, TEXT},
};

/// One attack.
pub struct Case {
    pub name: &'static str,
    /// Options of `chinwag serve`.
    pub options: &'static [&'static str],
    /// Bytes by which the server may grow.
    pub memory: usize,
    /// Made by the process that attacks, as some of what it sends takes time to prepare.
    pub groups: Box<dyn Fn() -> Vec<Group>>,
}

/// Bytes that a server needs for itself once it has work: a worker's read and write buffers, its pool,
/// codecs, tables of connections, and the history of a few rooms.
const OWN: usize = 24 << 20;

/// Bytes of input that the server holds for all connections together: unfinished messages, inflated or not,
/// and what was read and waits for its turn.
const INPUT: usize = 64 << 20;

/// Bytes that members of one room share: they wait for the same publications, so the longest backlog that
/// a member may have counts once, for each of the encodings (plain, compressed).
const ROOM: usize = 8 << 20;

/// What `peers` connections may leave unread: as much as stops reading from them, and one answer more.
fn unread(peers: usize, answer: usize) -> usize {
    peers * (Limits::default().pause_reading + answer)
}

/// The same of connections that send messages as fast as they can.
fn flooded(peers: usize, answer: usize) -> usize {
    INPUT + unread(peers, answer)
}

/// All cases, in the order of the table.
pub fn all() -> Vec<Case> {
    [inflating(), chat(), unfinished(), reading(), fragments(), connecting()]
        .into_iter()
        .flatten()
        .collect()
}

/// A case on a server with default settings.
fn case(name: &'static str, memory: usize, groups: impl Fn() -> Vec<Group> + 'static) -> Case {
    Case { name, options: &[], memory: OWN + memory, groups: Box::new(groups) }
}

/// Connections to `target` that read everything and do `acts` over and over.
fn flood(count: usize, request: Vec<u8>, acts: Vec<Act>) -> Group {
    Group { count, request, upgrades: true, reads: Reads::All, acts, again: Some(0) }
}

fn plain(target: &str) -> Vec<u8> {
    wire::request(target)
}

fn compressing(target: &str) -> Vec<u8> {
    wire::compressing_request(target)
}

fn send(bytes: Vec<u8>) -> Act {
    Act::Send(bytes.into())
}

fn wait(millis: u64) -> Act {
    Act::Wait(Duration::from_millis(millis))
}

/// Until the server ends the connection or the attack is over.
fn for_ever() -> Act {
    wait(3_600_000)
}

/// Messages that are small on the wire and take long to inflate or to compress.
fn inflating() -> Vec<Case> {
    let zeros = |count| {
        move || {
            let frame = wire::compressed(BINARY, &vec![0; 1 << 20]);
            vec![flood(count, compressing("/echo"), vec![send(frame.repeat(125))])]
        }
    };
    vec![
        case("16 × 125 messages of 1 MiB of zeros, compressed", flooded(16, 2048), zeros(16)),
        case("50 × 125 messages of 1 MiB of zeros, compressed", flooded(50, 2048), zeros(50)),
        case("200 × 125 messages of 1 MiB of zeros, compressed", flooded(200, 2048), zeros(200)),
        case("20 × 1 MiB that doesn't compress, compressed", flooded(20, 1 << 20), || {
            let frame = wire::compressed(BINARY, &wire::noise((1 << 20) - 1024));
            vec![flood(20, compressing("/echo"), vec![send(frame)])]
        }),
        case("200 × messages of 32 final blocks", flooded(200, 64), || {
            // RFC 7692 §7.2.3.4: an empty block with fixed codes and BFINAL, and the byte behind the last.
            let payload = [[3, 0].repeat(32), vec![0]].concat();
            let frame = wire::frame(BINARY | COMPRESSED, &payload);
            vec![flood(200, compressing("/echo"), vec![send(frame.repeat(1_000))])]
        }),
        case("50 × 1 MiB of empty blocks", flooded(50, 64), || {
            // The last byte begins the block whose other four the sender leaves out (RFC 7692 §7.2.1).
            let blocks = [[0, 0, 0, 0xff, 0xff].repeat((1 << 20) / 5), vec![0]].concat();
            let frame = wire::frame(BINARY | COMPRESSED, &blocks);
            vec![flood(50, compressing("/echo"), vec![send(frame)])]
        }),
    ]
}

/// What members of the chat can do within its rate, or until it closes them.
fn chat() -> Vec<Case> {
    // Up to 500 messages at once, and 100 a second.
    let talking = |request: Vec<u8>, said: Vec<u8>, times: usize| Group {
        acts: vec![send(said.repeat(times)), wait(times as u64 * 10)],
        ..flood(0, request, Vec::new())
    };
    let with_help = |text: &[u8]| [wire::frame(TEXT, text), wire::frame(TEXT, b"/help")].concat();
    let emoji = || "😀".repeat(4_096).into_bytes();
    vec![
        case("chat: 100 × 200 texts that inflate to 64 KiB", flooded(100, 64 << 10), || {
            let frame = wire::compressed(TEXT, &[b'a'; 64 << 10]);
            vec![flood(100, compressing("/chat/attack"), vec![send(frame.repeat(200))])]
        }),
        case("chat: 300 × 120 pairs of a text and /help", unread(300, 0) + ROOM, move || {
            let pairs = with_help(b"a").repeat(120);
            vec![flood(300, plain("/chat/attack"), vec![send(pairs), wait(2_400)])]
        }),
        case("chat: 100 × 120 pairs of 16 KiB and /help", unread(100, 0) + ROOM, move || {
            let pair = [wire::compressed(TEXT, &emoji()), wire::frame(TEXT, b"/help")].concat();
            let acts = vec![send(pair.repeat(120)), wait(2_400)];
            vec![flood(100, compressing("/chat/attack"), acts)]
        }),
        case("chat: 200 members, 50 say 4,096 emoji", unread(200, 0) + ROOM, move || {
            let said = wire::compressed(TEXT, &emoji());
            let talkers = talking(compressing("/chat/attack"), said, 20);
            let listeners = vec![for_ever()];
            vec![Group { count: 50, ..talkers }, flood(150, compressing("/chat/attack"), listeners)]
        }),
        case("chat: 200 × /join to and fro", unread(200, 128 << 10) + 2 * ROOM, || {
            let there = wire::frame(TEXT, b"/join attack-2");
            let back = wire::frame(TEXT, b"/join attack-1");
            // Each counts for twenty messages; a new connection may do as much again.
            let acts = vec![send([there, back].concat().repeat(12)), wait(200)];
            vec![Group { again: None, ..flood(200, plain("/chat/attack-1"), acts) }]
        }),
        case("chat: 200 × 490 /who", unread(200, 2048) + ROOM, || {
            let acts = vec![send(wire::frame(TEXT, b"/who").repeat(490)), wait(500)];
            vec![Group { again: None, ..flood(200, plain("/chat/attack"), acts) }]
        }),
        case("chat: 10 say 4,096 letters, 190 don't read", ROOM, move || {
            let said = wire::frame(TEXT, &[b'a'; 4_096]);
            let talkers = talking(plain("/chat/attack"), said, 20);
            let others = flood(190, plain("/chat/attack"), vec![for_ever()]);
            vec![Group { count: 10, ..talkers }, Group { reads: Reads::Never, ..others }]
        }),
    ]
}

/// Messages that never end, of peers that stay.
fn unfinished() -> Vec<Case> {
    let holding = |request: Vec<u8>, bytes: Vec<u8>| {
        let acts = vec![send(bytes), for_ever()];
        vec![Group { reads: Reads::AndPongs, ..flood(1_000, request, acts) }]
    };
    let pinged = |case: Case| Case { options: &["--ping-period", "1s"], ..case };
    vec![
        pinged(case("1,000 × 1 MiB unfinished, compressed", INPUT, move || {
            let fragment = wire::compressed(FIRST, &vec![0; 1 << 20]);
            holding(compressing("/echo"), fragment)
        })),
        pinged(case("1,000 × 512 KiB unfinished, as it is", INPUT, move || {
            let whole = wire::frame(BINARY, &vec![0; 1 << 20]);
            holding(plain("/echo"), whole[..512 << 10].to_vec())
        })),
    ]
}

/// Peers that send and don't read.
fn reading() -> Vec<Case> {
    let unread_by = |count: usize, bytes: Vec<u8>| {
        vec![Group { reads: Reads::Never, ..flood(count, plain("/echo"), vec![send(bytes)]) }]
    };
    vec![
        case("200 × Pings, never reading", flooded(200, 0), move || {
            unread_by(200, wire::frame(PING, &[7; 125]).repeat(1_000))
        }),
        case("200 × echoes of 20 B, never reading", flooded(200, 0), move || {
            unread_by(200, wire::frame(BINARY, &[7; 20]).repeat(1_000))
        }),
        case("200 × echoes of 1 MiB, never reading", flooded(200, 1 << 20), move || {
            unread_by(200, wire::frame(BINARY, &vec![7; 1 << 20]))
        }),
        case("200 × echoes of 1 MiB", flooded(200, 1 << 20), || {
            vec![flood(200, plain("/echo"), vec![send(wire::frame(BINARY, &vec![7; 1 << 20]))])]
        }),
    ]
}

/// Many small frames.
fn fragments() -> Vec<Case> {
    let in_fragments = |payload: &'static [u8]| {
        move || {
            let between = wire::frame(CONTINUATION, payload).repeat(131_070);
            let message =
                [wire::frame(FIRST, payload), between, wire::frame(LAST, payload)].concat();
            vec![flood(200, plain("/echo"), vec![send(message)])]
        }
    };
    let tiny = |target: &'static str| {
        move || {
            let frames = wire::frame(BINARY, b"x").repeat(20_000);
            vec![flood(200, plain(target), vec![send(frames)])]
        }
    };
    vec![
        case("200 × 131,072 fragments of one byte", flooded(200, 128 << 10), in_fragments(b"x")),
        case("200 × 131,072 empty fragments", flooded(200, 0), in_fragments(b"")),
        case("200 × 20,000 frames of one byte in one write", flooded(200, 64 << 10), tiny("/echo")),
        case("200 × the same to /raw", flooded(200, 64 << 10), tiny("/raw")),
        case("200 × the same with compression", flooded(200, 64 << 10), || {
            let frames = wire::compressed(BINARY, b"x").repeat(20_000);
            vec![flood(200, compressing("/echo"), vec![send(frames)])]
        }),
    ]
}

/// Connections that never come to a message, or end in the middle of one.
fn connecting() -> Vec<Case> {
    // Connections whose answer is no 101, and is read up to its end.
    let asking = |count: usize, request: Vec<u8>| Group {
        upgrades: false,
        again: None,
        ..flood(count, request, vec![wait(1_000)])
    };
    // Connections that are opened in the attack, do something and are reset.
    let passing =
        |target: &str, acts: Vec<Act>| Group { again: None, ..flood(200, plain(target), acts) };
    // Heads of which a byte comes every ten milliseconds.
    let slow = move |request: Vec<u8>| {
        let bytes = request.into_iter().map(|byte| send(vec![byte]));
        Group { acts: bytes.flat_map(|act| [act, wait(10)]).collect(), ..asking(200, Vec::new()) }
    };
    let filled = |headers: usize, len: usize| {
        let header = |at| format!("x-{at:03}: {}\r\n", "a".repeat(len));
        let headers: String = (0..headers).map(header).collect();
        (wire::head("/echo") + &headers + "\r\n").into_bytes()
    };
    vec![
        case("50 × TCP opened and dropped", 0, move || {
            vec![Group { acts: Vec::new(), ..asking(50, Vec::new()) }]
        }),
        case("200 × WebSocket opened and dropped", 0, move || vec![passing("/echo", Vec::new())]),
        case("200 × chat opened and dropped", ROOM, move || {
            vec![passing("/chat/attack", Vec::new())]
        }),
        case("200 × handshakes byte by byte", unread(200, 0), move || vec![slow(filled(90, 100))]),
        case("200 × heads of 16 KiB with 94 headers", unread(200, 0), move || {
            vec![Group { again: None, ..flood(200, filled(94, 155), Vec::new()) }]
        }),
        case("200 × heads of 64 KiB", unread(200, 0), move || vec![asking(200, filled(400, 155))]),
        case("200 × refused upgrades with frames behind", unread(200, 0), move || {
            let refused = plain("/nowhere");
            let frames = wire::frame(BINARY, &[7; 100]).repeat(100);
            vec![asking(200, [refused, frames].concat())]
        }),
        case("50 × the page", unread(50, 64 << 10), move || {
            vec![asking(50, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec())]
        }),
        case("200 × FIN in the middle of a message", INPUT, move || {
            let half = wire::frame(BINARY, &[7; 8_192])[..4_096].to_vec();
            vec![passing("/echo", vec![send(half), Act::Finish, wait(1_000)])]
        }),
        case("200 × FIN, never reading", unread(200, 1 << 20), move || {
            let frames = wire::frame(BINARY, &[7; 65_536]).repeat(64);
            let acts = vec![send(frames), Act::Finish, for_ever()];
            vec![Group { reads: Reads::Never, ..passing("/echo", acts) }]
        }),
        case("200 × RST in the middle of a message", flooded(200, 64 << 10), move || {
            let whole = wire::frame(BINARY, &[7; 65_536]);
            let bytes: Arc<[u8]> = [&whole[..], &whole[..4_096]].concat().into();
            vec![passing("/echo", vec![Act::Send(bytes)])]
        }),
    ]
}
