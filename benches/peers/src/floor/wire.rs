//! As much of the protocol as the floor needs: the upgrade, and the first message of a connection.

use std::rc::Rc;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// How a client's Close begins.
pub const CLOSE: u8 = 0x88;

/// Bytes of prepared frames that are kept in a row, so that several go out in one write.
const ROW: usize = 64 << 10;

/// The answer to the request at the start of `bytes`, and how long that is.
pub fn upgrade(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let key = bytes[..end].split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(18)?;
        name.eq_ignore_ascii_case(b"sec-websocket-key:").then(|| value.trim_ascii())
    })?;
    let digest =
        Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest.finalize());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some((response.into_bytes(), end))
}

/// A client's message: one masked frame.
pub struct Message<'a> {
    /// Bytes of all of it.
    pub len: usize,
    opcode: u8,
    key: [u8; 4],
    masked: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message at the start of `bytes`, once it is whole.
    pub fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&[opcode, len], rest) = bytes.split_first_chunk()?;
        let (payload, rest) = match len & 0x7F {
            126 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u16::from_be_bytes(*len).into(), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
            }
            len => (len.into(), rest),
        };
        let (&key, rest) = rest.split_first_chunk()?;
        let masked = rest.get(..payload)?;
        let len = bytes.len() - rest.len() + payload;
        Some(Self { len, opcode, key, masked })
    }

    /// Appends the frame that says the same.
    pub fn answer(&self, out: &mut Vec<u8>) {
        out.push(self.opcode);
        match self.masked.len() {
            len @ 0..126 => out.push(len as u8),
            len @ 126..=0xFFFF => {
                out.push(126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend(self.masked.iter().zip(self.key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

/// The answer to messages that are all the same.
pub struct Prepared {
    /// Bytes of a message.
    pub message_len: usize,
    /// Bytes of the frame that answers it.
    pub frame_len: usize,
    /// That frame, some times over.
    row: Vec<u8>,
}

impl Prepared {
    /// The answer to `message`: the `last` one, where that is the same.
    pub fn of(message: &Message<'_>, last: &mut Option<Rc<Self>>) -> Rc<Self> {
        let mut frame = Vec::new();
        message.answer(&mut frame);
        if let Some(last) = last.as_ref().filter(|last| last.row.starts_with(&frame)) {
            return Rc::clone(last);
        }
        let new = Self {
            message_len: message.len,
            frame_len: frame.len(),
            row: frame.repeat((ROW / frame.len()).max(1)),
        };
        Rc::clone(last.insert(Rc::new(new)))
    }

    /// The next bytes of the answers, from `at` in a frame: `most` at most.
    pub fn from(&self, at: usize, most: usize) -> &[u8] {
        let row = &self.row[at..];
        &row[..row.len().min(most)]
    }
}
