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

/// The opcodes of data frames as they stand in the first byte.
pub(super) const CONTINUATION: u8 = Opcode::Continuation as u8;
pub(super) const TEXT: u8 = Opcode::Text as u8;
pub(super) const BINARY: u8 = Opcode::Binary as u8;

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
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits of this without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits that both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
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

/// A legal frame header (§5.2): one that exists keeps to the rules of §5.2 and §5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub(super) fin: bool,
    pub(super) rsv: Rsv,
    pub(super) opcode: Opcode,
    pub(super) masking_key: Option<[u8; 4]>,
    pub(super) payload_len: u64,
}

/// The longest header: two bytes, a 64-bit length, a masking key.
pub const MAX_HEADER: usize = 14;

/// The most payload a control frame carries (§5.5).
pub const MAX_CONTROL: usize = 125;

impl Header {
    /// A final, unmasked header without reserved bits.
    ///
    /// # Panics
    /// Where a control frame has more than [`MAX_CONTROL`] bytes (§5.5), or `payload_len` has its top bit
    /// set (§5.2).
    #[inline]
    pub fn new(opcode: Opcode, payload_len: u64) -> Self {
        let most = if opcode.is_control() { MAX_CONTROL as u64 } else { i64::MAX as u64 };
        assert!(payload_len <= most, "no {opcode:?} frame has {payload_len} bytes");
        Self { fin: true, rsv: Rsv::NONE, opcode, masking_key: None, payload_len }
    }

    /// The same header, of the last frame of its message or of one before.
    ///
    /// # Panics
    /// Where a control frame is not to be final (§5.5).
    #[must_use]
    pub fn with_fin(self, fin: bool) -> Self {
        assert!(fin || !self.opcode.is_control(), "a control frame is final");
        Self { fin, ..self }
    }

    /// The same header with these reserved bits and no others.
    #[must_use]
    pub fn with_rsv(self, rsv: Rsv) -> Self {
        Self { rsv, ..self }
    }

    /// The same header with this masking key in wire order, or unmasked.
    #[must_use]
    pub fn with_masking_key(self, masking_key: Option<[u8; 4]>) -> Self {
        Self { masking_key, ..self }
    }

    /// Whether it is the last frame of its message; always on control frames.
    pub fn fin(&self) -> bool {
        self.fin
    }

    /// Reserved bits.
    pub fn rsv(&self) -> Rsv {
        self.rsv
    }

    /// What the frame is.
    pub fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// The masking key in wire order, where the frame is masked.
    pub fn masking_key(&self) -> Option<[u8; 4]> {
        self.masking_key
    }

    /// Bytes of payload.
    pub fn payload_len(&self) -> u64 {
        self.payload_len
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
        let first = u8::from(self.fin) << 7 | self.rsv.0 << 4 | self.opcode as u8;
        let mask_bit = u8::from(self.masking_key.is_some()) << 7;
        // §5.2: the shortest of the three forms.
        let (short_len, long_len, mut len) = match self.payload_len {
            0..=125 => (self.payload_len as u8, 0, 2),
            126..=0xffff => (126, (self.payload_len as u16).swap_bytes().into(), 4),
            0x1_0000.. => (127, self.payload_len.swap_bytes(), 10),
        };
        // Put together in a register, first byte lowest: bytes written to memory one by one and then
        // read as a whole make the reader wait for all of them.
        let mut bytes = u128::from(u16::from_le_bytes([first, mask_bit | short_len]));
        bytes |= u128::from(long_len) << 16;
        if let Some(key) = self.masking_key {
            bytes |= u128::from(u32::from_le_bytes(key)) << (8 * len);
            len += 4;
        }
        (*bytes.to_le_bytes().first_chunk().expect("16 bytes have 14"), len)
    }

    /// Appends the header to `output`.
    #[inline]
    pub fn append_to(&self, output: &mut Vec<u8>) {
        let (bytes, len) = self.encode();
        let end = output.len() + len;
        // All of the array and then less of it: a copy of a known size is no call.
        output.extend_from_slice(&bytes);
        output.truncate(end);
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

/// One frame; the unit of raw mode.
///
/// A frame that was received is legal. One that is to be sent is checked when it is sent:
///
/// ```
/// use chinwag::{Frame, Opcode};
///
/// let first = Frame { fin: false, ..Frame::new(Opcode::Text, b"Hel") };
/// let last = Frame::new(Opcode::Continuation, b"lo");
/// # assert!(!first.fin && last.fin);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Last frame of its message.
    pub fin: bool,
    /// Reserved bits.
    pub rsv: Rsv,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key that a received frame came with; one that is sent is masked by its connection.
    pub masking_key: Option<[u8; 4]>,
    /// The payload, unmasked.
    pub payload: Payload<'a>,
}

impl<'a> Frame<'a> {
    /// A final frame around `payload`.
    pub fn new(opcode: Opcode, payload: &'a [u8]) -> Self {
        let payload = Payload::Borrowed(payload);
        Self { fin: true, rsv: Rsv::NONE, opcode, masking_key: None, payload }
    }

    /// The frame with this header and payload.
    #[inline]
    pub(crate) fn of(header: &Header, payload: Payload<'a>) -> Self {
        let &Header { fin, rsv, opcode, masking_key, .. } = header;
        Self { fin, rsv, opcode, masking_key, payload }
    }

    /// The same frame with a payload of its own.
    pub fn into_owned(self) -> Frame<'static> {
        let Self { fin, rsv, opcode, masking_key, payload } = self;
        Frame { fin, rsv, opcode, masking_key, payload: payload.into_owned() }
    }
}

#[cfg(test)]
pub(in crate::protocol) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{guard::guard, protocol::mask::apply_mask};

    /// Bytes from their hex digits; blanks are free.
    pub(in crate::protocol) fn hex(digits: &str) -> Vec<u8> {
        let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// Rules without a limit, for frames that `role` receives.
    fn rules(role: Role) -> HeaderRules {
        HeaderRules { role, max_payload: usize::MAX, rsv: Rsv::NONE }
    }

    fn receiver(header: &Header) -> Role {
        if header.masking_key.is_some() { Role::Server } else { Role::Client }
    }

    /// Decodes what `wire` begins with, after asserting that no shorter input says anything else
    /// than "more bytes", or the same error once the offending byte is there.
    fn decode(wire: &[u8], rules: &HeaderRules) -> Result<Option<(Header, usize)>, ProtocolError> {
        let whole = Header::decode(wire, rules);
        let mut decided = false;
        for cut in 0..wire.len() {
            let cut_off = Header::decode(&wire[..cut], rules);
            decided |= cut_off != Ok(None);
            assert_eq!(cut_off, if decided { whole } else { Ok(None) }, "{wire:02x?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn frames_read_and_write_as_the_rfc_shows_them() {
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        let hello = b"Hello".to_vec();
        let frame = |fin, opcode, masking_key, payload: &[u8]| {
            let rsv = Rsv::NONE;
            let payload_len = payload.len() as u64;
            (Header { fin, rsv, opcode, masking_key, payload_len }, payload.to_vec())
        };
        let zeros = "00".repeat(256);
        let many_zeros = "00".repeat(65_536);
        for (name, wire, (header, payload)) in [
            ("§5.7 unmasked", "81 05 48656c6c6f", frame(true, Opcode::Text, None, &hello)),
            ("§5.7 masked", "81 85 37fa213d 7f9f4d5158", frame(true, Opcode::Text, key, &hello)),
            ("§5.7 first fragment", "01 03 48656c", frame(false, Opcode::Text, None, b"Hel")),
            ("§5.7 last fragment", "80 02 6c6f", frame(true, Opcode::Continuation, None, b"lo")),
            ("§5.7 Ping", "89 05 48656c6c6f", frame(true, Opcode::Ping, None, &hello)),
            ("§5.7 Pong", "8a 85 37fa213d 7f9f4d5158", frame(true, Opcode::Pong, key, &hello)),
            (
                "§5.7 256 bytes",
                &format!("82 7e 0100 {zeros}"),
                frame(true, Opcode::Binary, None, &[0; 256]),
            ),
            (
                "§5.7 64 KiB",
                &format!("82 7f 0000000000010000 {many_zeros}"),
                frame(true, Opcode::Binary, None, &[0; 65_536]),
            ),
            ("empty", "82 00", frame(true, Opcode::Binary, None, b"")),
            ("empty and masked", "82 80 37fa213d", frame(true, Opcode::Binary, key, b"")),
            ("Close without a code", "88 00", frame(true, Opcode::Close, None, b"")),
            ("Close 1000", "88 02 03e8", frame(true, Opcode::Close, None, b"\x03\xe8")),
        ] {
            let wire = hex(wire);
            let header_len = wire.len() - payload.len();
            let decoded = decode(&wire[..wire.len().min(300)], &rules(receiver(&header)));
            assert_eq!(decoded, Ok(Some((header, header_len))), "{name}");

            let mut unmasked = wire[header_len..].to_vec();
            if let Some(key) = header.masking_key {
                apply_mask(&mut unmasked, key, 0);
            }
            assert_eq!(unmasked, payload, "{name}");

            let (bytes, len) = header.encode();
            assert_eq!(bytes[..len], wire[..header_len], "{name}");
        }
    }

    #[test]
    fn an_illegal_header_is_not_made() {
        for (name, make) in [
            ("a Ping of 126", (|| Header::new(Opcode::Ping, 126)) as fn() -> Header),
            ("a Close of 126", || Header::new(Opcode::Close, 126)),
            ("the top bit of a length", || Header::new(Opcode::Binary, 1 << 63)),
            ("a fragmented Pong", || Header::new(Opcode::Pong, 0).with_fin(false)),
        ] {
            assert!(guard(make).is_err(), "{name}");
        }
        let key = Some([1, 2, 3, 4]);
        let header = Header::new(Opcode::Text, i64::MAX as u64)
            .with_fin(false)
            .with_rsv(Rsv::RSV2)
            .with_masking_key(key);
        assert_eq!((header.fin(), header.rsv(), header.opcode()), (false, Rsv::RSV2, Opcode::Text));
        assert_eq!((header.masking_key(), header.payload_len()), (key, i64::MAX as u64));
        assert_eq!(Header::new(Opcode::Ping, 125).with_fin(true).payload_len(), 125);
    }

    #[test]
    fn a_length_is_read_and_written_in_its_shortest_form() {
        for (len, form) in [
            (0, "00"),
            (1, "01"),
            (125, "7d"),
            (126, "7e 007e"),
            (127, "7e 007f"),
            (65_535, "7e ffff"),
            (65_536, "7f 0000000000010000"),
            (u32::MAX.into(), "7f 00000000ffffffff"),
            (i64::MAX as u64, "7f 7fffffffffffffff"),
        ] {
            let wire = [hex("82"), hex(form)].concat();
            let header = Header::new(Opcode::Binary, len);
            assert_eq!(
                decode(&wire, &rules(Role::Client)),
                Ok(Some((header, wire.len()))),
                "{len}"
            );
            let (bytes, used) = header.encode();
            assert_eq!(bytes[..used], wire, "{len}");
        }
    }

    #[test]
    fn a_length_in_a_longer_form_than_it_needs_is_refused() {
        let rules = rules(Role::Client);
        for len in 0..0x1_0000u64 {
            let eight = [&[0x82, 127][..], &len.to_be_bytes()].concat();
            let two = [&[0x82, 126][..], &(len as u16).to_be_bytes()].concat();
            let refused = Err(ProtocolError::LengthNotMinimal { len });
            assert_eq!(Header::decode(&eight, &rules), refused);
            if len < 126 {
                assert_eq!(Header::decode(&two, &rules), refused);
            }
        }
    }

    #[test]
    fn the_first_offending_byte_is_refused_before_the_next_one_is_there() {
        use ProtocolError as E;
        // Each row ends with the offending byte; without it the input is unfinished, not wrong.
        for (name, role, wire, error) in [
            ("RSV1", Role::Client, "c1", E::ReservedBits { bits: 4 }),
            ("RSV2", Role::Client, "a1", E::ReservedBits { bits: 2 }),
            ("RSV3", Role::Client, "91", E::ReservedBits { bits: 1 }),
            ("all three, on a Ping", Role::Server, "f9", E::ReservedBits { bits: 7 }),
            ("a reserved data opcode", Role::Client, "83", E::ReservedOpcode { opcode: 3 }),
            ("a reserved control opcode", Role::Server, "8b", E::ReservedOpcode { opcode: 11 }),
            ("a fragmented Close", Role::Client, "08", E::FragmentedControl),
            ("a fragmented Ping", Role::Client, "09", E::FragmentedControl),
            ("a fragmented Pong", Role::Client, "0a", E::FragmentedControl),
            ("unmasked to a server", Role::Server, "81 05", E::Unmasked),
            ("masked to a client", Role::Client, "81 85", E::Masked),
            ("a Ping of 126", Role::Client, "89 7e", E::ControlTooLong { len: 126 }),
            ("a Ping of more", Role::Client, "89 7f", E::ControlTooLong { len: 127 }),
            ("a masked Close of 126", Role::Server, "88 fe", E::ControlTooLong { len: 126 }),
            ("125 in two bytes", Role::Client, "82 7e 007d", E::LengthNotMinimal { len: 125 }),
            ("masked, 0 in two", Role::Server, "82 fe 0000", E::LengthNotMinimal { len: 0 }),
            (
                "65,535 in eight bytes",
                Role::Client,
                "82 7f 000000000000ffff",
                E::LengthNotMinimal { len: 65_535 },
            ),
            ("the top bit of a length", Role::Client, "82 7f 80", E::LengthTopBit),
            ("all bits of a length", Role::Server, "82 ff ff", E::LengthTopBit),
        ] {
            let wire = hex(wire);
            assert_eq!(decode(&wire, &rules(role)), Err(error), "{name}");
            let but_last = &wire[..wire.len() - 1];
            assert_eq!(decode(but_last, &rules(role)), Ok(None), "{name}, before that byte");
            let and_more = [&wire[..], &[0xff; 16]].concat();
            assert_eq!(decode(&and_more, &rules(role)), Err(error), "{name}, with more behind");
        }
    }

    #[test]
    fn every_pair_of_first_bytes_is_legal_or_refused_for_its_first_fault() {
        for role in [Role::Client, Role::Server] {
            for rsv in 0..8 {
                let rules = HeaderRules { rsv: Rsv(rsv), ..rules(role) };
                for [first, second] in (0..=u16::MAX).map(u16::to_be_bytes) {
                    let bits = first >> 4 & 7;
                    let opcode = first & 15;
                    let control = opcode >= 8;
                    let masked = second >= 128;
                    // The table of §5.2, in the order of the bits on the wire.
                    let expected = if bits & !rsv != 0 {
                        Some(ProtocolError::ReservedBits { bits })
                    } else if !matches!(opcode, 0..=2 | 8..=10) {
                        Some(ProtocolError::ReservedOpcode { opcode })
                    } else if control && first < 128 {
                        Some(ProtocolError::FragmentedControl)
                    } else if masked && role == Role::Client {
                        Some(ProtocolError::Masked)
                    } else if !masked && role == Role::Server {
                        Some(ProtocolError::Unmasked)
                    } else if control && second & 127 > 125 {
                        Some(ProtocolError::ControlTooLong { len: (second & 127).into() })
                    } else {
                        None
                    };
                    // A length that each form may have: 256 in two bytes, 65,536 in eight.
                    let mut wire = [0; MAX_HEADER];
                    wire[..2].copy_from_slice(&[first, second]);
                    wire[if second & 127 == 127 { 7 } else { 2 }] = 1;
                    match (Header::decode(&wire, &rules), expected) {
                        (Err(error), Some(expected)) => assert_eq!(error, expected),
                        (Ok(Some((header, len))), None) => {
                            assert_eq!(header.fin, first >= 128);
                            assert_eq!(header.rsv.bits(), bits);
                            assert_eq!(header.opcode as u8, opcode);
                            assert_eq!(header.opcode.is_control(), control);
                            assert_eq!(header.masking_key.is_some(), masked);
                            let (bytes, used) = header.encode();
                            assert_eq!(bytes[..used], wire[..len]);
                        }
                        (decoded, _) => panic!("{first:02x} {second:02x}: {decoded:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_data_frame_may_have_the_limit_and_not_one_byte_more() {
        for max in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let rules = HeaderRules { max_payload: max, ..rules(Role::Client) };
            for opcode in [Opcode::Continuation, Opcode::Text, Opcode::Binary] {
                let at_most = |len| {
                    let (bytes, used) = Header::new(opcode, len).encode();
                    decode(&bytes[..used], &rules)
                        .map(|decoded| decoded.map(|(_, end)| end == used))
                };
                let len = max as u64;
                assert_eq!(at_most(len), Ok(Some(true)), "{max}");
                for len in [len + 1, i64::MAX as u64] {
                    assert_eq!(at_most(len), Err(ProtocolError::FrameTooBig { len, max }), "{max}");
                }
            }
            let (ping, used) = Header::new(Opcode::Ping, 125).encode();
            assert!(
                matches!(decode(&ping[..used], &rules), Ok(Some(_))),
                "§5.5 bounds a Ping alone"
            );
        }
    }

    prop_compose! {
        fn any_header()(
            first in any::<u8>(),
            key in any::<Option<[u8; 4]>>(),
            len in any::<u64>(),
            shift in 1..64,
        ) -> Header {
            let opcodes = [
                Opcode::Continuation, Opcode::Text, Opcode::Binary,
                Opcode::Close, Opcode::Ping, Opcode::Pong,
            ];
            let opcode = opcodes[usize::from(first & 15) % 6];
            // Every number of bits is as likely as every other.
            let len = len >> shift;
            Header {
                fin: opcode.is_control() || first >= 128,
                rsv: Rsv(first >> 4 & 7),
                opcode,
                masking_key: key,
                payload_len: if opcode.is_control() { len % 126 } else { len },
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(header in any_header(), behind in any::<[u8; 3]>()) {
            let (bytes, len) = header.encode();
            let mut wire = vec![];
            header.append_to(&mut wire);
            prop_assert_eq!(&wire, &bytes[..len]);
            wire.extend(behind);
            let rules = HeaderRules { rsv: Rsv(7), ..rules(receiver(&header)) };
            prop_assert_eq!(decode(&wire, &rules), Ok(Some((header, len))));
        }

        #[test]
        fn what_decodes_was_written_in_the_only_way(wire in any::<[u8; MAX_HEADER]>(), rsv in 0..8u8) {
            for role in [Role::Client, Role::Server] {
                let rules = HeaderRules { rsv: Rsv(rsv), ..rules(role) };
                if let Ok(Some((header, len))) = decode(&wire, &rules) {
                    let (bytes, used) = header.encode();
                    prop_assert_eq!(&bytes[..used], &wire[..len]);
                }
            }
        }
    }
}
