//! Headers and masks (§5.2, §5.3).

use chinwag::{
    ProtocolError, Role,
    protocol::{
        frame::{Header, HeaderRules, Rsv},
        mask::apply_mask,
    },
};

/// Byte 0 is the rules: bit 0 the role, bits 1 to 3 the RSV bits claimed, bits 4 to 6 the limit. The
/// rest is frames.
pub fn check(data: &[u8]) {
    let Some((&choice, mut wire)) = data.split_first() else { return };
    let rsv = [Rsv::RSV1, Rsv::RSV2, Rsv::RSV3]
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| choice >> (bit + 1) & 1 == 1)
        .fold(Rsv::NONE, |all, (_, rsv)| all.with(rsv));
    let rules = HeaderRules {
        role: if choice & 1 == 0 { Role::Server } else { Role::Client },
        max_payload: [0, 125, 126, 65_535, 65_536, 1 << 20, u32::MAX as usize, usize::MAX]
            [usize::from(choice >> 4 & 7)],
        rsv,
    };
    while let Some(header) = check_header(wire, &rules) {
        let (header, len) = header;
        let payload = &wire[len..];
        let payload = &payload[..payload.len().min(header.payload_len().min(1 << 16) as usize)];
        if let Some(key) = header.masking_key() {
            check_mask(payload, key);
        }
        wire = &wire[len + payload.len()..];
    }
}

/// Decodes the header that `wire` begins with, whole and at every cut.
fn check_header(wire: &[u8], rules: &HeaderRules) -> Option<(Header, usize)> {
    let decoded = Header::decode(wire, rules);
    let first = (0..=wire.len()).find(|&cut| Header::decode(&wire[..cut], rules) != Ok(None));
    for cut in first.unwrap_or(wire.len())..=wire.len().min(20) {
        assert_eq!(Header::decode(&wire[..cut], rules), decoded, "cut at {cut}");
    }
    match decoded {
        Ok(None) => {
            assert!(wire.len() < 14, "a header has at most 14 bytes");
            None
        }
        Ok(Some((header, len))) => {
            assert_eq!(first, Some(len), "a header is decoded with its last byte");
            // §5.2: there is one way to write a header.
            let (bytes, used) = header.encode();
            assert_eq!(bytes[..used], wire[..len]);
            assert_eq!(header.masking_key().is_some(), rules.role == Role::Server);
            assert!(rules.rsv.contains(header.rsv()));
            if header.opcode().is_control() {
                assert!(header.fin() && header.payload_len() <= 125);
            } else {
                assert!(header.payload_len() <= rules.max_payload as u64);
            }
            Some((header, len))
        }
        Err(error) => {
            check_error(error, &wire[..first.expect("the error was found")], rules);
            None
        }
    }
}

/// The fault is there, and it is in the last byte of `wire`.
fn check_error(error: ProtocolError, wire: &[u8], rules: &HeaderRules) {
    let control = wire[0] & 8 != 0;
    match (error, wire) {
        (ProtocolError::ReservedBits { bits }, &[first]) => assert_eq!(bits, first >> 4 & 7),
        (ProtocolError::ReservedOpcode { opcode }, &[first]) => {
            assert_eq!(opcode, first & 15);
            assert!(!matches!(opcode, 0..=2 | 8..=10));
        }
        (ProtocolError::FragmentedControl, &[first]) => assert!(control && first < 0x80),
        (ProtocolError::Unmasked, &[_, second]) => {
            assert!(second < 0x80 && rules.role == Role::Server);
        }
        (ProtocolError::Masked, &[_, second]) => {
            assert!(second >= 0x80 && rules.role == Role::Client);
        }
        (ProtocolError::ControlTooLong { len }, &[_, second]) => {
            assert!(control && len > 125 && len == u64::from(second & 127));
        }
        (ProtocolError::LengthTopBit, &[_, _, third]) => assert!(third >= 0x80),
        (ProtocolError::LengthNotMinimal { len }, &[_, _, _, _]) => assert!(len < 126),
        (ProtocolError::LengthNotMinimal { len }, wire) => {
            assert!(len < 65_536 && wire.len() == 10);
        }
        (ProtocolError::FrameTooBig { len, max }, wire) => {
            assert!(len > max as u64 && max == rules.max_payload && !control);
            assert!(matches!(wire.len(), 2 | 4 | 10));
        }
        (error, wire) => panic!("{error:?} of {wire:02x?}"),
    }
}

/// A payload in two pieces is masked as the whole, and twice is not at all.
fn check_mask(payload: &[u8], key: [u8; 4]) {
    let mut whole = payload.to_vec();
    apply_mask(&mut whole, key, 0);
    for (i, (masked, plain)) in whole.iter().zip(payload).enumerate() {
        assert_eq!(*masked, plain ^ key[i % 4]);
    }
    for cut in 0..=payload.len().min(16) {
        let (head, tail) = whole.split_at_mut(cut);
        apply_mask(head, key, 0);
        apply_mask(tail, key, cut);
        assert_eq!(whole, payload);
        apply_mask(&mut whole, key, 0);
    }
}
