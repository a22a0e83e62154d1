//! Compressed messages (RFC 7692), whole and in pieces.

use std::sync::Arc;

use chinwag::{
    Deflate, Limits, Opcode, Role,
    protocol::{
        connection::{Mode, Settings},
        extension::deflate::Compressor,
        frame::Header,
        mask::apply_mask,
    },
};

use super::connection::{Run, Seen};

/// Byte 0: bit 0 the role, bit 1 raw mode, bit 2 takeover, bit 3 small limits, bit 4 whether the rest is
/// compressed before it is sent. Byte 1 is the size of the pieces. The rest is frames, each its first
/// byte, its length in one byte, and its payload.
pub fn check(data: &[u8]) {
    let [choice, size, rest @ ..] = data else { return };
    let takeover = choice & 4 != 0;
    let deflate = Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: takeover,
        client_takeover: takeover,
        raw: true,
        ..Deflate::default()
    };
    let max_message = if choice & 8 == 0 { 1 << 16 } else { 200 };
    let limits = Limits { max_frame: max_message, max_message, ..Limits::default() };
    let mode = if choice & 2 == 0 { Mode::Messages } else { Mode::Raw };
    let deflate = Some(deflate);
    let run = Run {
        role: if choice & 1 == 0 { Role::Server } else { Role::Client },
        settings: Arc::new(Settings { limits, mode, deflate, ..Settings::default() }),
        close_first: false,
    };
    let size = usize::from(*size).max(1);
    if choice & 16 == 0 {
        let wire: Vec<u8> =
            split(rest).flat_map(|(first, payload)| frame(run.role, first, payload)).collect();
        let whole = run.whole(&wire);
        whole.check(&run);
        run.check_pieces(&wire, size, &whole);
    } else {
        check_return(&run, rest, size, takeover);
    }
}

/// What was compressed comes up as it was, in fragments of `size` bytes.
fn check_return(run: &Run, messages: &[u8], size: usize, takeover: bool) {
    let mut compressor = Compressor::new(15, &Deflate::default());
    let max = run.settings.limits.max_message;
    let said: Vec<_> =
        split(messages).map(|(_, message)| message).filter(|m| m.len() <= max).collect();
    let mut wire = Vec::new();
    for message in &said {
        let mut compressed = Vec::new();
        compressor.compress(message, &mut compressed);
        if !takeover {
            compressor.reset();
        }
        let count = compressed.chunks(size).len();
        for (at, fragment) in compressed.chunks(size).enumerate() {
            let fin = if at + 1 == count { 0x80 } else { 0 };
            let first = if at == 0 { 0x42 } else { 0 };
            wire.extend(frame(run.role, first | fin, fragment));
        }
    }
    let whole = run.whole(&wire);
    whole.check(run);
    assert_eq!(whole.reason, None, "it is legal");
    let heard = whole.events.iter().map(Seen::plain).fold(vec![vec![]], |mut all, frame| {
        let (fin, _, bytes) = frame;
        all.last_mut().expect("there is one").extend_from_slice(bytes);
        if fin {
            all.push(vec![]);
        }
        all
    });
    assert_eq!(heard[..heard.len() - 1], said[..], "all of it, and nothing else");
}

fn split(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [first, len, tail @ ..] = rest else { return None };
        let (payload, tail) = tail.split_at(tail.len().min((*len).into()));
        rest = tail;
        Some((*first, payload))
    })
}

/// A frame to an endpoint of role `to`; its first byte may be illegal.
fn frame(to: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let masking_key = (to == Role::Server).then_some([0x37, 0xfa, 0x21, 0x3d]);
    let header = Header::new(Opcode::Binary, payload.len() as u64).with_masking_key(masking_key);
    let (bytes, len) = header.encode();
    let mut frame = [&bytes[..len], payload].concat();
    frame[0] = first;
    if let Some(key) = masking_key {
        apply_mask(&mut frame[len..], key, 0);
    }
    frame
}
