//! Frames as they pass by on the wire, legal or not (§5.2).
//!
//! Bytes of one direction go in as they come, and each frame comes out once its start is there. Unlike
//! the engine it refuses nothing, as it is there to show what others do.

use std::fmt;

use chinwag::{client::escape, protocol::mask::apply_mask};

/// Bytes kept of a payload: all of a control frame's (§5.5).
const KEPT: usize = 125;

/// Bytes shown of a payload.
const SHOWN: usize = 16;

/// One direction of a connection, from its first byte.
#[derive(Debug, Default)]
pub struct Inspector {
    /// How much of the empty line that ends the opening handshake has come; all of it is 4.
    head_end: usize,
    /// What has come of a header, or of the payload's start behind it.
    start: Vec<u8>,
    /// Bytes of payload that pass by unseen.
    unseen: u64,
}

impl Inspector {
    /// Takes the next bytes; tells every frame whose start is whole with them.
    pub fn take(&mut self, mut bytes: &[u8], mut tell: impl FnMut(&Seen)) {
        while self.head_end < 4 {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            let expected = b"\r\n\r\n"[self.head_end];
            self.head_end = match byte {
                _ if byte == expected => self.head_end + 1,
                b'\r' => 1,
                _ => 0,
            };
            bytes = rest;
        }
        while !bytes.is_empty() {
            let skipped = bytes.len().min(usize::try_from(self.unseen).unwrap_or(usize::MAX));
            self.unseen -= skipped as u64;
            bytes = &bytes[skipped..];
            // As much as the start of one frame may need, and no more than is missing.
            while let Some((&byte, rest)) = bytes.split_first() {
                self.start.push(byte);
                bytes = rest;
                if let Some(seen) = Seen::read(&self.start) {
                    self.unseen = seen.len - seen.payload.len() as u64;
                    self.start.clear();
                    tell(&seen);
                    break;
                }
            }
        }
    }
}

/// A frame, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    first: u8,
    key: Option<[u8; 4]>,
    /// Bytes of payload.
    len: u64,
    /// The start of the payload, unmasked.
    pub payload: Vec<u8>,
}

impl Seen {
    /// The frame that `start` holds the start of, where that is whole.
    fn read(start: &[u8]) -> Option<Self> {
        let (&first, &second) = (start.first()?, start.get(1)?);
        let (len, end) = match second & 0x7f {
            126 => (u16::from_be_bytes(*start[2..].first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*start[2..].first_chunk()?), 10),
            len => (len.into(), 2),
        };
        let (key, end) = match second & 0x80 {
            0 => (None, end),
            _ => (Some(*start[end..].first_chunk()?), end + 4),
        };
        let kept = usize::try_from(len).unwrap_or(usize::MAX).min(KEPT);
        let mut payload = start.get(end..end + kept)?.to_vec();
        if let Some(key) = key {
            apply_mask(&mut payload, key, 0);
        }
        Some(Self { first, key, len, payload })
    }

    /// The opcode, reserved or not.
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    fn name(&self) -> &'static str {
        match self.opcode() {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "reserved",
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fin, rsv) = (self.first >> 7, self.first >> 4 & 0b111);
        let (opcode, name) = (self.opcode(), self.name());
        write!(f, "FIN {fin} RSV {rsv:03b} opcode {opcode:x} {name}, length {}", self.len)?;
        match self.key {
            Some(key) => write!(f, ", key {}", super::hex::encode(&key))?,
            None => f.write_str(", no key")?,
        }
        if self.payload.is_empty() {
            return Ok(());
        }
        let shown = &self.payload[..self.payload.len().min(SHOWN)];
        let more = if shown.len() as u64 == self.len { "" } else { "…" };
        write!(f, ", payload {}{more}", super::hex::encode(shown))?;
        match (self.opcode(), shown) {
            // RFC 7692 §6: what is compressed cannot be read.
            _ if rsv != 0 => Ok(()),
            (8, [high, low, reason @ ..]) => {
                let reason = String::from_utf8_lossy(reason);
                write!(f, " {} \"{}\"{more}", u16::from_be_bytes([*high, *low]), escape(&reason))
            }
            (0 | 1 | 9 | 10, text) => {
                write!(f, " \"{}\"{more}", escape(&String::from_utf8_lossy(text)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of `wire`, fed whole, byte by byte, and in two pieces at each offset.
    fn told(wire: &[u8]) -> Vec<String> {
        let whole = told_in(&[wire]);
        assert_eq!(told_in(&wire.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
        for cut in 0..wire.len() {
            let (start, end) = wire.split_at(cut);
            assert_eq!(told_in(&[start, end]), whole, "cut at {cut}");
        }
        whole
    }

    fn told_in(pieces: &[&[u8]]) -> Vec<String> {
        let mut inspector = Inspector::default();
        let mut told = Vec::new();
        inspector.take(b"HTTP/1.1 101 OK\r\na: b\r\n\r\n", |_| panic!("no frame yet"));
        for piece in pieces {
            inspector.take(piece, |seen| told.push(seen.to_string()));
        }
        told
    }

    #[test]
    fn frames_are_explained() {
        for (name, wire, words) in [
            (
                "§5.7 masked",
                &b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..],
                "FIN 1 RSV 000 opcode 1 text, length 5, key 37fa213d, payload 48656c6c6f \"Hello\"",
            ),
            (
                "§5.7 first fragment",
                b"\x01\x03Hel",
                "FIN 0 RSV 000 opcode 1 text, length 3, no key, payload 48656c \"Hel\"",
            ),
            ("empty", b"\x8a\x00", "FIN 1 RSV 000 opcode a pong, length 0, no key"),
            (
                "compressed",
                b"\xc1\x03\xca\x48\x00",
                "FIN 1 RSV 100 opcode 1 text, length 3, no key, payload ca4800",
            ),
            (
                "a close",
                b"\x88\x05\x03\xe8bye",
                "FIN 1 RSV 000 opcode 8 close, length 5, no key, payload 03e8627965 1000 \"bye\"",
            ),
            (
                "half a close code",
                b"\x88\x01\x03",
                "FIN 1 RSV 000 opcode 8 close, length 1, no key, payload 03",
            ),
            (
                "a reserved opcode and bits",
                b"\x7f\x00",
                "FIN 0 RSV 111 opcode f reserved, length 0, no key",
            ),
            (
                "what drives terminals",
                b"\x81\x04\x1b[2J",
                "FIN 1 RSV 000 opcode 1 text, length 4, no key, payload 1b5b324a \"\\u{1b}[2J\"",
            ),
            (
                "a length not in its shortest form",
                b"\x82\x7e\x00\x01x",
                "FIN 1 RSV 000 opcode 2 binary, length 1, no key, payload 78",
            ),
        ] {
            assert_eq!(told(wire), [words], "{name}");
        }
    }

    #[test]
    fn long_payloads_are_cut_and_passed_by() {
        for len in [125, 126, 127, 200, 65_535] {
            let mut wire = vec![0x82, 126];
            wire.extend((len as u16).to_be_bytes());
            wire.extend(vec![0; len]);
            wire.extend(b"\x89\x00");
            let told = told_in(&[&wire]);
            assert_eq!(told, told_in(&wire.chunks(7).collect::<Vec<_>>()));
            assert!(told[0].ends_with(&format!("payload {}…", "00".repeat(SHOWN))), "{told:?}");
            assert_eq!(told[1..], ["FIN 1 RSV 000 opcode 9 ping, length 0, no key"], "{len}");
        }
    }

    #[test]
    fn an_announced_length_costs_nothing() {
        let mut inspector = Inspector::default();
        inspector
            .take(b"\r\n\r\n\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", |_| panic!("no start yet"));
        let mut told = 0;
        for _ in 0..1_000 {
            inspector.take(&[0; 1_000], |_| told += 1);
        }
        assert_eq!(told, 1);
        assert!(inspector.start.capacity() < 1_000);
    }
}
