//! Frames: the unit of the wire (§5.2, §5.5).
//!
//! Bytes go in, checked headers come out, and the other way round. A [`Header`] that exists is legal
//! by itself; what it means after the frames before it is `message`'s work.

use super::{Role, buffer::Payload, error::ProtocolError};

/// What a frame is (§5.2). Reserved opcodes are refused, so the set is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the unfinished message.
    Continuation = 0,
    /// Starts a text message.
    Text = 1,
    /// Starts a binary message.
    Binary = 2,
    /// Starts or answers the closing handshake.
    Close = 8,
    /// Asks for a Pong.
    Ping = 9,
    /// Answers a Ping, or comes unasked as a sign of life.
    Pong = 10,
}

impl Opcode {
    /// Whether this is a control frame (§5.5): Close, Ping or Pong.
    pub fn is_control(self) -> bool {
        self as u8 >= 8
    }

    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            opcode => return Err(ProtocolError::ReservedOpcode { opcode }),
        })
    }
}

/// The three reserved bits of a frame (§5.2): RSV1 is 4, RSV2 is 2, RSV3 is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rsv(u8);

impl Rsv {
    /// None set.
    pub const NONE: Self = Self(0);
    /// The first bit; permessage-deflate marks compressed messages with it (RFC 7692 §6).
    pub const RSV1: Self = Self(4);
    /// The second bit.
    pub const RSV2: Self = Self(2);
    /// The third bit.
    pub const RSV3: Self = Self(1);

    /// The bits as a number from 0 to 7.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The bits of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is set here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a header must keep to, beyond the form: who sends it, how long it may be, which reserved
/// bits an agreed extension claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRules {
    /// The role of the endpoint that **receives**: a server takes masked frames only (§5.1).
    pub role: Role,
    /// Bytes of payload accepted in a data frame.
    pub max_payload: usize,
    /// Reserved bits that may be set.
    pub rsv: Rsv,
}

/// A legal frame header (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Last frame of its message; always set on control frames.
    pub fin: bool,
    /// Reserved bits.
    pub rsv: Rsv,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key in wire order, where the frame is masked.
    pub masking_key: Option<[u8; 4]>,
    /// Bytes of payload.
    pub payload_len: u64,
}

/// The longest header: two bytes, a 64-bit length, a masking key.
pub const MAX_HEADER: usize = 14;

/// The most payload a control frame carries (§5.5).
pub const MAX_CONTROL: usize = 125;

impl Header {
    /// A final, unmasked header without reserved bits.
    pub fn new(opcode: Opcode, payload_len: u64) -> Self {
        Self { fin: true, rsv: Rsv::NONE, opcode, masking_key: None, payload_len }
    }

    /// Reads a header from the start of `input`: the header and its length in bytes, or `None` where
    /// more bytes are needed. `input` may hold anything behind the header.
    ///
    /// # Errors
    /// The rule that the first offending byte breaks, also where the header is not yet whole.
    #[inline]
    pub fn decode(
        input: &[u8],
        rules: &HeaderRules,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = input.first() else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let rsv = Rsv(first >> 4 & 0b111);
        if !rules.rsv.contains(rsv) {
            return Err(ProtocolError::ReservedBits { bits: rsv.0 });
        }
        let opcode = Opcode::from_bits(first & 0x0f)?;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }

        let Some(&second) = input.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        match rules.role {
            Role::Server if !masked => return Err(ProtocolError::Unmasked),
            Role::Client if masked => return Err(ProtocolError::Masked),
            Role::Server | Role::Client => {}
        }
        let short_len = second & 0x7f;
        if opcode.is_control() && usize::from(short_len) > MAX_CONTROL {
            return Err(ProtocolError::ControlTooLong { len: short_len.into() });
        }

        let Some((payload_len, len_end)) = decode_len(input, short_len)? else { return Ok(None) };
        if payload_len > rules.max_payload as u64 && !opcode.is_control() {
            return Err(ProtocolError::FrameTooBig { len: payload_len, max: rules.max_payload });
        }
        let (masking_key, len) = if masked {
            let Some(key) = input[len_end..].first_chunk::<4>() else { return Ok(None) };
            (Some(*key), len_end + 4)
        } else {
            (None, len_end)
        };
        Ok(Some((Self { fin, rsv, opcode, masking_key, payload_len }, len)))
    }

    /// The header as bytes: an array and how many of it count.
    #[inline]
    pub fn encode(&self) -> ([u8; MAX_HEADER], usize) {
        let mut bytes = [0; MAX_HEADER];
        bytes[0] = u8::from(self.fin) << 7 | self.rsv.0 << 4 | self.opcode as u8;
        let mask_bit = u8::from(self.masking_key.is_some()) << 7;
        // §5.2: the shortest of the three forms.
        let mut len = match self.payload_len {
            0..=125 => {
                bytes[1] = mask_bit | self.payload_len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = mask_bit | 126;
                bytes[2..4].copy_from_slice(&(self.payload_len as u16).to_be_bytes());
                4
            }
            0x1_0000.. => {
                bytes[1] = mask_bit | 127;
                bytes[2..10].copy_from_slice(&self.payload_len.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.masking_key {
            bytes[len..len + 4].copy_from_slice(&key);
            len += 4;
        }
        (bytes, len)
    }
}

/// The payload length and where it ends in `input`; `None` where more bytes are needed.
#[inline]
fn decode_len(input: &[u8], short_len: u8) -> Result<Option<(u64, usize)>, ProtocolError> {
    let rest = &input[2..];
    let (len, end, least) = match short_len {
        0..=125 => return Ok(Some((short_len.into(), 2))),
        126 => {
            let Some(bytes) = rest.first_chunk::<2>() else { return Ok(None) };
            (u16::from_be_bytes(*bytes).into(), 4, 126)
        }
        127.. => {
            // §5.2: the top bit is zero, which the first byte tells.
            if rest.first().is_some_and(|byte| byte & 0x80 != 0) {
                return Err(ProtocolError::LengthTopBit);
            }
            let Some(bytes) = rest.first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), 10, 0x1_0000)
        }
    };
    if len < least {
        return Err(ProtocolError::LengthNotMinimal { len });
    }
    Ok(Some((len, end)))
}

/// One frame, header and payload; the unit of raw mode.
///
/// Received, its payload is unmasked already and `header.masking_key` tells the key it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the frame is. On sending, `masking_key` and `payload_len` are set by the connection.
    pub header: Header,
    /// The payload, unmasked.
    pub payload: Payload<'a>,
}

impl<'a> Frame<'a> {
    /// A final frame around `payload`.
    pub fn new(opcode: Opcode, payload: &'a [u8]) -> Self {
        Self {
            header: Header::new(opcode, payload.len() as u64),
            payload: Payload::Borrowed(payload),
        }
    }
}
