//! What compression holds, as the allocator counts it (RFC 7692, §10.4).

#[path = "../fuzz/src/memory.rs"]
mod memory;

use std::{sync::Arc, time::Instant};

use chinwag::{
    Deflate, Limits, Message, Opcode,
    protocol::{
        buffer::Pool,
        connection::{Connection, Settings, State},
        extension::{
            Offer,
            deflate::{Compressor, NAME},
        },
        frame::{Header, Rsv},
    },
};

/// A client and a server that have agreed on compression, and the pool that serves both.
struct Pair {
    ends: [Connection; 2],
    pool: Pool,
}

impl Pair {
    fn new(deflate: Deflate, offers: &[Offer<'_>]) -> Self {
        let (at_server, response) = deflate.answer(offers).unwrap();
        let at_client = deflate.accept(&response).unwrap();
        let settings = Arc::new(Settings { deflate: Some(deflate), ..Settings::default() });
        let now = Instant::now();
        let mut ends = [
            Connection::client(settings.clone(), [7; 32], now),
            Connection::server(settings.clone(), now),
        ];
        for (end, agreed) in ends.iter_mut().zip([at_client, at_server]) {
            end.upgrade(settings.clone(), now);
            end.agree(agreed, None);
        }
        Self { ends, pool: Pool::new(1 << 20) }
    }

    /// Each says `text` to the other.
    fn talk(&mut self, text: &str) {
        let mut wire = Vec::new();
        for from in [0, 1] {
            wire.clear();
            self.ends[from].send(&text.into(), &mut self.pool, &mut wire).unwrap();
            assert!(wire.len() < text.len() / 2, "it is compressed");
            let mut input = &mut wire[..];
            let event = self.ends[1 - from].receive(
                &mut input,
                Instant::now(),
                &mut self.pool,
                &mut Vec::new(),
            );
            assert!(event.is_some());
        }
    }
}

/// What a pair holds for having talked, in bytes, beyond what the first pair has left with the pool.
fn held(deflate: &Deflate, offers: &[Offer<'_>]) -> isize {
    let text = "the same words again and again, ".repeat(2_000);
    let mut first = Pair::new(deflate.clone(), offers);
    first.talk(&text);
    let mut second = Pair::new(deflate.clone(), offers);
    second.pool = first.pool;
    let before = memory::held();
    second.talk(&text);
    second.talk(&text);
    memory::held() - before
}

#[test]
fn without_takeover_a_connection_at_rest_holds_nothing() {
    let deflate = Deflate::default();
    assert_eq!(held(&deflate, &deflate.offers()), 0);
}

#[test]
fn with_takeover_a_connection_holds_at_most_210_kib() {
    let deflate = Deflate { server_takeover: true, client_takeover: true, ..Deflate::default() };
    // Each end holds a compressor and the window of what the other said: 4 KiB, or 32 where the client
    // does not speak of windows.
    let plain = [Offer { name: NAME, params: vec![] }];
    for (offers, window) in [(&deflate.offers()[..], 4), (&plain, 32)] {
        let held = held(&deflate, offers) / 2;
        let most = (176 + window) << 10;
        assert!(held <= most && held <= 210 << 10, "{held} with a window of {window} KiB");
        assert!(held >= most - (2 << 10), "{held}: it holds a compressor and a window");
    }
}

#[test]
fn a_thread_keeps_two_compressors_for_each_window_and_no_more() {
    // At the least, a compressor holds 134 KiB.
    const ONE: isize = 134 << 10;
    let kinds = (9..=15).flat_map(|bits| [1, 3].map(|level| (bits, level)));
    let before = memory::held();
    let compressors = Vec::from_iter(kinds.map(|(bits, level)| {
        Compressor::new(bits, &Deflate { level, mem_level: 1, ..Deflate::default() })
    }));
    let expected = memory::held() - before;
    drop(compressors);

    let short = "the same words ".repeat(10);
    let long = short.repeat(10);
    let mut pool = Pool::new(1 << 20);
    let before = memory::held();
    let [all, others] = [1, 2].map(|mem_level| {
        for bits in 9..=15 {
            let deflate = Deflate {
                server_window_bits: bits,
                client_window_bits: bits,
                mem_level,
                ..Deflate::default()
            };
            let offers = deflate.offers();
            let mut pair = Pair::new(deflate, &offers);
            std::mem::swap(&mut pair.pool, &mut pool);
            pair.talk(&short);
            pair.talk(&long);
            std::mem::swap(&mut pair.pool, &mut pool);
        }
        memory::held() - before
    });
    assert!(all >= expected, "{all}: one of each kind");
    assert!(all - expected < ONE, "{all} instead of {expected}: and no more");
    assert!(others - all < ONE, "{others} after {all}: as many of other kinds");
}

/// `Connection::held` and its sibling say what the allocator does.
#[test]
fn what_is_held_is_known() {
    for takeover in [false, true] {
        let deflate =
            Deflate { server_takeover: takeover, client_takeover: takeover, ..Deflate::default() };
        let mut pair = Pair::new(deflate.clone(), &deflate.offers());
        pair.pool = Pool::new(0);
        let mut wire = Vec::new();
        pair.ends[0].send(&Message::from(vec![0; 200_000]), &mut pair.pool, &mut wire).unwrap();
        let mut output = Vec::new();
        let before = memory::held();
        for (at, piece) in wire.chunks_mut(7).enumerate() {
            let (mut input, now) = (piece, Instant::now());
            let event = pair.ends[1].receive(&mut input, now, &mut pair.pool, &mut output);
            if event.is_some() {
                break;
            }
            let (held, known) = ((memory::held() - before) as usize, pair.ends[1].held());
            // The first byte of a header is in a box; then there is an inflater, and what it has made.
            assert!(known >= held && known <= held + (2 << 10), "{known} for {held}, piece {at}");
        }
        assert_eq!(pair.ends[1].held(), 0);

        let before = memory::held();
        let mut pair = Pair::new(deflate.clone(), &deflate.offers());
        pair.pool = Pool::new(0);
        let empty = memory::held();
        pair.talk(&"the same words again and again, ".repeat(2_000));
        let pool = std::mem::replace(&mut pair.pool, Pool::new(0));
        drop(pool);
        let held = (memory::held() - empty) as usize;
        let known: usize = pair.ends.iter().map(Connection::held_between_messages).sum();
        assert!(known >= held && known <= held + held / 20, "{known} for {held}");
        drop(pair);
        assert_eq!(memory::held(), before);
    }
}

#[test]
fn what_a_large_message_took_is_given_back() {
    let deflate = Deflate { quick_below: usize::MAX, ..Deflate::default() };
    let mut pair = Pair::new(deflate.clone(), &deflate.offers());
    let before = memory::held();
    let random: Vec<u8> =
        (0..4_000_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let mut wire = Vec::new();
    pair.ends[1].send(&Message::from(&random[..]), &mut pair.pool, &mut wire).unwrap();
    drop((random, wire));
    // A compressor, and at most a megabyte for the next message.
    let held = memory::held() - before;
    assert!(held <= (1 << 20) + (200 << 10), "{held} held");
}

#[test]
fn a_bomb_holds_no_more_than_its_limit_allows() {
    const LIMIT: usize = 1 << 20;
    for plain in [16 << 20, 64 << 20] {
        let mut bomb = Vec::new();
        Compressor::new(15, &Deflate { level: 9, mem_level: 9, ..Deflate::default() })
            .compress(&vec![0; plain], &mut bomb);
        let header = Header::new(Opcode::Binary, bomb.len() as u64).with_rsv(Rsv::RSV1);
        let (bytes, len) = header.encode();
        let mut wire = [&bytes[..len], &bomb].concat();

        let mut pair = Pair::new(Deflate::default(), &Deflate::default().offers());
        assert_eq!(pair.ends[0].settings().limits.max_message, LIMIT);
        let mut output = Vec::with_capacity(200);
        pair.pool = Pool::new(0);
        let before = memory::held();
        // The client hears it, a few bytes at a time: what is held is looked at between them.
        let mut most = 0;
        for piece in wire.chunks_mut(16) {
            let mut input = piece;
            let event =
                pair.ends[0].receive(&mut input, Instant::now(), &mut pair.pool, &mut output);
            assert!(event.is_none());
            most = most.max(memory::held() - before);
        }
        assert_eq!(pair.ends[0].state(), State::Closed);
        assert_eq!(pair.ends[0].close_reason().unwrap().code.0, 1009);
        // The message, of which it takes up to the limit, and an inflater.
        assert!(most <= (LIMIT + (64 << 10)) as isize, "{most} held");
        assert!(most >= LIMIT as isize / 2, "{most} held: nothing was inflated");
    }
}

#[test]
fn a_limit_holds_for_what_is_inflated() {
    let limits = Limits { max_message: 1_000, max_frame: 1_000, ..Limits::default() };
    let mut pair = Pair::new(Deflate::default(), &Deflate::default().offers());
    let settings = Settings { limits, ..pair.ends[1].settings().clone() };
    let mut server = Connection::server(Arc::new(settings.clone()), Instant::now());
    server.upgrade(Arc::new(settings), Instant::now());
    server.agree(pair.ends[0].agreed().unwrap(), None);
    for (len, code) in [(1_000, None), (1_001, Some(1009))] {
        let mut wire = Vec::new();
        let message = Message::from(vec![7; len]);
        pair.ends[0].send(&message, &mut pair.pool, &mut wire).unwrap();
        let mut input = &mut wire[..];
        let event = server.receive(&mut input, Instant::now(), &mut pair.pool, &mut Vec::new());
        assert_eq!(event.is_some(), code.is_none());
        assert_eq!(server.close_reason().map(|reason| reason.code.0), code);
    }
}
