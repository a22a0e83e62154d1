//! The leaves: headers, masking, UTF-8.

use std::{hint::black_box, io::Cursor};

use chinwag::{
    Opcode, Role,
    protocol::{
        frame::{Header, HeaderRules, Rsv},
        mask::apply_mask,
        utf8::Utf8Checker,
    },
};
use tungstenite::protocol::frame::{
    Frame, FrameHeader,
    coding::{Data, OpCode},
};

use crate::{mask::apply_mask_fast32, measure::Table};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Headers of a batch, which stand behind each other.
const BATCH: usize = 1000;

/// Headers as a server reads them from its buffer, and as it appends them to what waits to be sent.
pub fn headers(table: &mut Table) {
    let rules = HeaderRules { role: Role::Server, max_payload: 1 << 20, rsv: Rsv::NONE };
    let all = [5, 125, 126, 65_535, 65_536];
    for (name, lens) in [
        ("5 bytes", &all[..1]),
        ("126 bytes", &all[2..3]),
        ("65,536 bytes", &all[4..]),
        ("any length", &all[..]),
    ] {
        let (ours, theirs): (Vec<Header>, Vec<_>) = batch(lens).unzip();

        let mut wire = Vec::new();
        for header in &ours {
            header.with_masking_key(Some(KEY)).append_to(&mut wire);
        }
        assert_eq!(read_ours(&wire, &rules), read_theirs(&wire));
        table.compare(
            format!("read a header, {name}"),
            BATCH,
            || read_ours(black_box(&wire), black_box(&rules)),
            || read_theirs(black_box(&wire)),
        );

        assert_eq!(encode_ours(&ours), encode_theirs(&theirs));
        table.compare(
            format!("encode a header, {name}"),
            BATCH,
            || encode_ours(black_box(&ours)),
            || encode_theirs(black_box(&theirs)),
        );

        let (mut output, mut their_output) = (Vec::new(), Vec::new());
        append_ours(&ours, &mut output);
        append_theirs(&theirs, &mut their_output);
        assert_eq!(output, their_output);
        table.compare(
            format!("append a header, {name}"),
            BATCH,
            || append_ours(black_box(&ours), black_box(&mut output)),
            || append_theirs(black_box(&theirs), black_box(&mut their_output)),
        );
    }
}

/// Headers of text and binary messages, whole and in fragments, in an order that no branch predictor
/// knows by heart; the same for both.
fn batch(lens: &[u64]) -> impl Iterator<Item = (Header, (FrameHeader, u64))> {
    let mut dice = 1u64;
    let mut roll = move |sides: usize| {
        // The multiplier of PCG and MMIX.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) as usize % sides
    };
    (0..BATCH).map(move |_| {
        let payload_len = lens[roll(lens.len())];
        let (opcode, theirs) = [
            (Opcode::Text, Data::Text),
            (Opcode::Binary, Data::Binary),
            (Opcode::Continuation, Data::Continue),
        ][roll(3)];
        let fin = roll(4) > 0;
        let theirs =
            FrameHeader { is_final: fin, opcode: OpCode::Data(theirs), ..FrameHeader::default() };
        (Header::new(opcode, payload_len).with_fin(fin), (theirs, payload_len))
    })
}

/// What the headers say, summed up so that all of it is used.
fn read_ours(mut wire: &[u8], rules: &HeaderRules) -> u64 {
    let mut sum = 0;
    while let Some((header, len)) = Header::decode(wire, rules).unwrap() {
        let key = header.masking_key().map_or(0, u32::from_ne_bytes);
        sum += header.payload_len() + u64::from(key);
        sum += u64::from(header.fin()) + header.opcode() as u64;
        wire = &wire[len..];
    }
    sum
}

fn read_theirs(wire: &[u8]) -> u64 {
    let (mut sum, mut cursor) = (0, Cursor::new(wire));
    while let Some((header, payload_len)) = FrameHeader::parse(&mut cursor).unwrap() {
        let key = header.mask.map_or(0, u32::from_ne_bytes);
        let opcode = u64::from(u8::from(header.opcode));
        sum += payload_len + u64::from(key) + u64::from(header.is_final) + opcode;
    }
    sum
}

/// All bytes of the headers, put into an array each, and their lengths, summed up.
fn encode_ours(headers: &[Header]) -> u64 {
    headers.iter().map(Header::encode).map(sum).fold(0, u64::wrapping_add)
}

fn encode_theirs(headers: &[(FrameHeader, u64)]) -> u64 {
    let encode = |(header, payload_len): &(FrameHeader, u64)| {
        let mut bytes = [0; 14];
        let mut room = &mut bytes[..];
        header.format(*payload_len, &mut room).unwrap();
        let len = 14 - room.len();
        (bytes, len)
    };
    headers.iter().map(encode).map(sum).fold(0, u64::wrapping_add)
}

fn sum((bytes, len): ([u8; 14], usize)) -> u64 {
    let (head, tail) = (bytes.first_chunk().unwrap(), bytes.last_chunk().unwrap());
    u64::from_le_bytes(*head).wrapping_add(u64::from_le_bytes(*tail)).wrapping_add(len as u64)
}

fn append_ours(headers: &[Header], output: &mut Vec<u8>) {
    output.clear();
    for header in headers {
        header.append_to(output);
    }
}

fn append_theirs(headers: &[(FrameHeader, u64)], output: &mut Vec<u8>) {
    output.clear();
    for (header, payload_len) in headers {
        header.format(*payload_len, output).unwrap();
    }
}

/// Payloads that begin where a masked header ends, as they do in a read buffer.
pub fn masking(table: &mut Table) {
    for size in (3..=20).step_by(2).map(|power| 1 << power) {
        let header = if size < 126 {
            6
        } else if size < 65_536 {
            8
        } else {
            14
        };
        let mut ours: Vec<u8> = (0..=255).cycle().take(header + size).collect();
        let mut theirs = ours.clone();
        apply_mask(&mut ours[header..], KEY, 0);
        apply_mask_fast32(&mut theirs[header..], KEY);
        assert_eq!(ours, theirs);
        table.compare(
            format!("mask {size} bytes"),
            1,
            || apply_mask(black_box(&mut ours[header..]), black_box(KEY), 0),
            || apply_mask_fast32(black_box(&mut theirs[header..]), black_box(KEY)),
        );
    }
}

/// Whole text; fragments are in the rows on messages.
pub fn utf8(table: &mut Table) {
    for (name, sample) in [("ASCII", "Hello, world. "), ("mixed", "Grüße, κόσμε! 你好 😀 ")]
    {
        for size in (3..=20).step_by(2).map(|power| 1usize << power) {
            let text = sample.repeat(size.div_ceil(sample.len())).into_bytes();
            let frame = Frame::message(text.clone(), OpCode::Data(Data::Text), true);
            let check = |text: &[u8]| {
                let mut checker = Utf8Checker::default();
                checker.check(text).and_then(|()| checker.finish())
            };
            assert!(check(&text).is_ok() && frame.to_text().is_ok());
            table.compare(
                format!("check {} bytes of {name} text", text.len()),
                1,
                || check(black_box(&text)),
                || black_box(&frame).to_text(),
            );
        }
    }
}
