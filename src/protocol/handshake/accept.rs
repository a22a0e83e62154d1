//! The proof that a server read the handshake: from Sec-WebSocket-Key to Sec-WebSocket-Accept (§1.3).

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use sha1::{Digest, Sha1};

/// The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key as it came (§4.2.2): 28 characters of
/// base64.
pub fn accept_key(key: &str) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    let len = BASE64.encode_slice(digest, &mut accept);
    debug_assert_eq!(len, Ok(28), "base64 of 20 bytes");
    accept
}

/// The value of Sec-WebSocket-Key for a nonce (§4.1): 24 characters of base64.
pub(super) fn encode_key(nonce: [u8; 16]) -> String {
    BASE64.encode(nonce)
}

/// Whether this is base64 of exactly 16 bytes (§4.2.1).
pub(super) fn is_key(key: &str) -> bool {
    // A decoder wants room for the most that such a length may hold.
    key.len() == 24 && BASE64.decode_slice(key, &mut [0; 18]) == Ok(16)
}

/// §1.3: what the server appends to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Choice: bits behind the last byte may be set, as they are in the example of §4.1 itself.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        assert_eq!(
            &accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "§1.3"
        );
        assert_eq!(encode_key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==", "§1.3");
        assert!(is_key("AQIDBAUGBwgJCgsMDQ4PEC=="), "§4.1");
    }

    #[test]
    fn a_key_is_base64_of_16_bytes() {
        for (name, key, legal) in [
            ("16 bytes", "AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("empty", "", false),
            ("15 bytes", "AAAAAAAAAAAAAAAAAAAA", false),
            ("17 bytes", "AAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("18 bytes", "AAAAAAAAAAAAAAAAAAAAAAAA", false),
            ("no padding", "AAAAAAAAAAAAAAAAAAAAAA", false),
            ("other letters", "AAAAAAAAAAAAAAAAAAAA-_==", false),
            ("a space", "AAAAAAAAAAAAAAAAAAAA A==", false),
            ("padding in front", "==AAAAAAAAAAAAAAAAAAAAAA", false),
        ] {
            assert_eq!(is_key(key), legal, "{name}");
        }
    }
}
