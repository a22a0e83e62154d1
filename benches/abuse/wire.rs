//! The bytes that attackers and healthy connections send, prepared before anything is measured.

use zlib_rs::{Deflate, DeflateFlush, Status};

/// The masking key of all frames (§5.3). It isn't zero, so that unmasking has to be done.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// First bytes of frames (§5.2): FIN, RSV1 and the opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// The first fragment of a binary message, a continuation, and the last of them.
pub const FIRST: u8 = 0x02;
pub const CONTINUATION: u8 = 0x00;
pub const LAST: u8 = 0x80;
/// Set in the first frame of a compressed message (RFC 7692 §6).
pub const COMPRESSED: u8 = 0x40;

/// One masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len();
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(0x80 | len as u8),
        126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        65_536.. => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The payload of a compressed message (RFC 7692 §7.2.1).
pub fn deflated(message: &[u8]) -> Vec<u8> {
    let mut stream = Deflate::new(9, false, 15);
    let mut bytes = vec![0; message.len() + message.len() / 100 + 1024];
    let status = stream.compress(message, &mut bytes, DeflateFlush::SyncFlush);
    assert_eq!(status, Ok(Status::Ok), "there is room for the whole message");
    bytes.truncate(stream.total_out() as usize - 4);
    bytes
}

/// One compressed message in one frame.
pub fn compressed(first: u8, message: &[u8]) -> Vec<u8> {
    frame(first | COMPRESSED, &deflated(message))
}

/// Bytes that don't compress: xorshift with a fixed seed.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The request of an opening handshake (§4.1) without the empty line that ends it.
pub fn head(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )
}

/// The whole request.
pub fn request(target: &str) -> Vec<u8> {
    (head(target) + "\r\n").into_bytes()
}

/// The whole request, with an offer of compression whose window has 15 bits.
pub fn compressing_request(target: &str) -> Vec<u8> {
    let offer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
    format!("{}Sec-WebSocket-Extensions: {offer}\r\n\r\n", head(target)).into_bytes()
}

/// A frame as a server sends it, which isn't masked.
pub struct Received<'a> {
    pub first: u8,
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub len: usize,
}

/// The frame at the start of `bytes`, where it is complete.
pub fn received(bytes: &[u8]) -> Option<Received<'_>> {
    let (start, len) = match *bytes.get(1)? & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, short.into()),
    };
    let payload = bytes.get(start..start + len)?;
    Some(Received { first: bytes[0], payload, len: start + len })
}
