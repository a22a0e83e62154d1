//! What is sent: messages of a given kind and size, framed and masked once.

use chinwag::{
    Deflate, Opcode,
    protocol::{
        buffer::{Buffer, Pool},
        error::ProtocolError,
        extension::deflate::{Compressor, Inflater},
        frame::{Header, Rsv},
        mask::apply_mask,
    },
};
use clap::ValueEnum;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// What messages are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Words in ASCII.
    Text,
    /// Random bytes.
    Binary,
    /// Words in four scripts, and emoji.
    NonAscii,
    /// A list of records in JSON, as applications send them: ASCII.
    Json,
}

impl Kind {
    /// The opcode of such messages.
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Text | Self::NonAscii | Self::Json => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }

    /// `size` bytes, the same each time.
    pub fn payload(self, size: usize) -> Vec<u8> {
        let mut dice = StdRng::seed_from_u64(SEED);
        let words = match self {
            Self::Text => ASCII,
            Self::NonAscii => MANY_SCRIPTS,
            Self::Json => return records(size, &mut dice),
            Self::Binary => {
                let mut bytes = vec![0; size];
                dice.fill_bytes(&mut bytes);
                return bytes;
            }
        };
        let mut text = Vec::with_capacity(size + 32);
        while text.len() < size {
            text.extend_from_slice(words[dice.next_u32() as usize % words.len()].as_bytes());
            text.push(b' ');
        }
        // A character that would be cut gives way to blanks.
        let end = (0..=size).rev().find(|&end| str::from_utf8(&text[..end]).is_ok());
        text.truncate(end.expect("nothing at all is text"));
        text.resize(size, b'.');
        text
    }
}

/// A list of as many records as there is room for, and blanks behind them.
fn records(size: usize, dice: &mut StdRng) -> Vec<u8> {
    if size < 2 {
        return vec![b'0'; size];
    }
    let mut list = String::from("[");
    loop {
        let mut word = || ASCII[dice.next_u32() as usize % ASCII.len()];
        let (user, room, text) = (word(), word(), [word(), word(), word()].join(" "));
        let at = 1_763_000_000 + u64::from(dice.next_u32() % 1_000_000);
        let comma = if list.len() == 1 { "" } else { "," };
        let record =
            format!(r#"{comma}{{"user":"{user}","room":"{room}","text":"{text}","at":{at}}}"#);
        if list.len() + record.len() >= size {
            break;
        }
        list += &record;
    }
    let mut list = list.into_bytes();
    list.resize(size - 1, b' ');
    list.push(b']');
    list
}

const SEED: u64 = 6_455;

const ASCII: &[&str] = &[
    "tea",
    "kettle",
    "the",
    "morning",
    "of",
    "people",
    "talk",
    "and",
    "answer",
    "at",
    "once",
    "who",
    "comes",
    "late",
    "hears",
    "nothing",
    "room",
    "with",
    "seven",
    "chairs",
    "window",
    "rain",
    "is",
    "a",
    "parcel",
    "for",
    "you",
    "downstairs",
    "42",
    "minutes",
    "later",
    "please",
    "bring",
    "milk",
];

const MANY_SCRIPTS: &[&str] = &[
    "Grüße",
    "чай",
    "разговор",
    "утро",
    "茶",
    "早上好",
    "会議室",
    "おはよう",
    "αὔριο",
    "λόγος",
    "čeština",
    "🙂",
    "☕",
    "👩\u{200d}🚀",
    "naïve",
    "ответ",
    "屋根",
    "βροχή",
];

/// A whole frame of a client around `payload`.
///
/// Choice: §5.3 wants a fresh masking key for each frame. Here one is sent many times, as the load
/// generator is to cost less than the server; it is meant for servers that its user runs.
pub fn frame(opcode: Opcode, rsv: Rsv, payload: &[u8]) -> Vec<u8> {
    let header = Header::new(opcode, payload.len() as u64);
    let mut wire = Vec::with_capacity(payload.len() + 14);
    header.with_rsv(rsv).with_masking_key(Some(KEY)).append_to(&mut wire);
    let start = wire.len();
    wire.extend_from_slice(payload);
    apply_mask(&mut wire[start..], KEY, 0);
    wire
}

/// The masking key of what is sent many times: any but zeroes, which some servers might take for none.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What compression is offered: no context is kept, so that a message compressed once can be sent again
/// and again; windows are the server's choice. Levels are zlib's defaults, as browsers have them.
pub fn offered() -> Deflate {
    Deflate {
        level: 6,
        quick_below: 0,
        mem_level: 8,
        server_window_bits: 15,
        client_window_bits: 15,
        ..Deflate::default()
    }
}

/// The compressed form of `payload` for a window of `window_bits`.
pub fn compress(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut compressed = Vec::new();
    Compressor::new(window_bits, &offered()).compress(payload, &mut compressed);
    compressed
}

/// Inflates whole messages, one at a time.
pub struct Whole {
    inflater: Inflater,
    pool: Pool,
    output: Buffer,
}

impl Default for Whole {
    fn default() -> Self {
        let mut pool = Pool::new(1 << 20);
        let output = pool.take(0);
        Self { inflater: Inflater::default(), pool, output }
    }
}

impl Whole {
    /// The message that `compressed` is.
    ///
    /// # Errors
    /// It is none, or comes to more than 64 MiB.
    pub fn inflate(&mut self, compressed: &[u8]) -> Result<&[u8], ProtocolError> {
        let Self { inflater, pool, output } = self;
        pool.put(std::mem::take(output));
        *output = pool.take(compressed.len());
        inflater.begin(&[], 64 << 20);
        inflater.inflate(compressed, &[], output, None, pool)?;
        inflater.finish(&[], output, None, pool)?;
        Ok(output.payload())
    }
}

#[cfg(test)]
mod tests {
    use chinwag::protocol::{Role, frame::HeaderRules};

    use super::*;

    #[test]
    fn payloads_have_their_size_and_their_kind() {
        for size in (0..200).chain([65_536]) {
            for kind in [Kind::Text, Kind::Binary, Kind::NonAscii, Kind::Json] {
                let payload = kind.payload(size);
                assert_eq!(payload.len(), size);
                let is_text = str::from_utf8(&payload).is_ok();
                assert!(is_text || kind == Kind::Binary, "{kind:?} of {size}");
                let is_ascii = matches!(kind, Kind::Text | Kind::Json);
                assert_eq!(payload.is_ascii() || size < 40, is_ascii || size < 40);
                let is_json = serde_json::from_slice::<serde_json::Value>(&payload).is_ok();
                assert!(is_json || kind != Kind::Json || size == 0, "{payload:?}");
            }
        }
        let text = Kind::NonAscii.payload(65_536);
        let beyond = text.iter().filter(|byte| !byte.is_ascii()).count();
        assert!(beyond * 10 > text.len() * 8, "{beyond} of {}", text.len());
    }

    #[test]
    fn a_frame_is_what_a_server_reads() {
        for size in [0, 5, 125, 126, 65_535, 65_536] {
            let payload = Kind::Binary.payload(size);
            let mut wire = frame(Opcode::Binary, Rsv::RSV1, &payload);
            let rules = HeaderRules { role: Role::Server, max_payload: usize::MAX, rsv: Rsv::RSV1 };
            let (header, len) = Header::decode(&wire, &rules).unwrap().unwrap();
            assert_eq!(
                (header.fin(), header.opcode(), header.rsv()),
                (true, Opcode::Binary, Rsv::RSV1)
            );
            apply_mask(&mut wire[len..], header.masking_key().unwrap(), 0);
            assert_eq!(wire[len..], payload);
        }
    }

    #[test]
    fn what_is_compressed_inflates_again_and_again() {
        let mut whole = Whole::default();
        for size in [0, 20, 100_000] {
            let payload = Kind::NonAscii.payload(size);
            for window_bits in [9, 15] {
                let compressed = compress(&payload, window_bits);
                for _ in 0..2 {
                    assert_eq!(whole.inflate(&compressed).unwrap(), payload);
                }
            }
        }
        assert!(whole.inflate(b"\xff\xff").is_err());
    }
}
