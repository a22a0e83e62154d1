//! Masking: XOR with a four-byte key (§5.3).
//!
//! A payload and its key go in, and the payload comes out masked or unmasked. Keys come from the
//! owner's seed: `MaskingKeys` is a keyed generator, as §5.3 wants keys that nobody can predict.

use fearless_simd::{Level, dispatch};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Masks or unmasks `payload` in place; XOR makes the two the same operation (§5.3).
///
/// `key` is in wire order. `offset` is how many bytes of this payload came before, so a payload may
/// arrive in pieces; only `offset % 4` matters.
#[inline]
pub fn apply_mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    if payload.len() < WIDE {
        xor(payload, key, offset);
    } else {
        xor_widely(payload, key, offset);
    }
}

/// [`apply_mask`] for text: gives whether all of `payload` is ASCII now. That costs no second pass.
pub fn unmask_text(payload: &mut [u8], key: [u8; 4], offset: usize) -> bool {
    xor_widely(payload, key, offset) & 0x8080_8080_8080_8080 == 0
}

/// From this size on it pays to ask for the widest vectors that the processor has: bytes.
const WIDE: usize = 1 << 10;

/// [`xor`], by the widest vectors. Out of line, so that masking a short payload stays as short as it is.
#[inline(never)]
fn xor_widely(payload: &mut [u8], key: [u8; 4], offset: usize) -> u64 {
    dispatch!(Level::new(), _ => xor(payload, key, offset))
}

/// Masks or unmasks `payload` in place, with whichever vectors its caller is compiled for; gives the bits
/// that any byte of the outcome has.
#[inline(always)]
fn xor(payload: &mut [u8], key: [u8; 4], offset: usize) -> u64 {
    // Little-endian, so that the key's first byte is the lowest, wherever this runs.
    let key = u32::from_le_bytes(key).rotate_right(8 * (offset % 4) as u32);
    let wide = u64::from(key) << 32 | u64::from(key);

    let mut bits = 0;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        let masked = u64::from_le_bytes(*word) ^ wide;
        bits |= masked;
        *word = masked.to_le_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= key;
        bits |= u64::from(*byte);
    }
    bits
}

/// Where a client's masking keys come from: a fresh one for each frame, unpredictable (§5.3, §10.3).
#[derive(Debug)]
pub struct MaskingKeys(StdRng);

impl MaskingKeys {
    /// Keys from a cryptographic generator over `seed`; take the seed from the system's generator.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(StdRng::from_seed(seed))
    }

    /// The next key, in wire order.
    pub fn next_key(&mut self) -> [u8; 4] {
        self.0.next_u32().to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// §5.3, word for word: octet i of the payload with octet i modulo 4 of the key.
    fn apply_mask_plainly(payload: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, octet) in payload.iter_mut().enumerate() {
            *octet ^= key[(offset + i) % 4];
        }
    }

    #[test]
    fn hello_masks_as_the_rfc_shows_it() {
        let mut payload = *b"Hello";
        apply_mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        apply_mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(payload, *b"Hello");
    }

    #[test]
    fn the_fast_way_does_what_the_plain_way_does() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let bytes: Vec<u8> = (0..=255).cycle().take(200).collect();
        for len in 0..130 {
            // Where the payload begins in memory decides how it is cut into words.
            for start in 0..16 {
                for offset in [0, 1, 2, 3, 4, 5, 1023, usize::MAX - 130] {
                    let mut fast = bytes.clone();
                    let mut plain = bytes.clone();
                    apply_mask(&mut fast[start..start + len], key, offset);
                    apply_mask_plainly(&mut plain[start..start + len], key, offset);
                    assert_eq!(fast, plain, "{len} bytes from {start}, offset {offset}");
                }
            }
        }
    }

    #[test]
    fn a_large_payload_is_masked_as_a_small_one() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let bytes: Vec<u8> = (0..=255).cycle().take(WIDE + 300).collect();
        for len in (WIDE - 1)..=(WIDE + 130) {
            for (start, offset) in [(0, 0), (1, 3), (14, 2), (64, 1), (150, 1023)] {
                let (mut fast, mut plain) = (bytes.clone(), bytes.clone());
                apply_mask(&mut fast[start..start + len], key, offset);
                apply_mask_plainly(&mut plain[start..start + len], key, offset);
                assert_eq!(fast, plain, "{len} bytes from {start}, offset {offset}");
            }
        }
    }

    #[test]
    fn one_byte_beyond_ascii_is_seen_wherever_it_stands() {
        let key = [0x12, 0xb4, 0x56, 0xf8];
        for len in [0, 1, 7, 8, 9, 63, 64, 65, WIDE, WIDE + 77] {
            let mut masked = vec![b'a'; len];
            apply_mask(&mut masked, key, 1);
            assert!(unmask_text(&mut masked.clone(), key, 1), "{len} bytes");
            for at in 0..len {
                let mut masked = masked.clone();
                masked[at] ^= 0x80;
                assert!(!unmask_text(&mut masked, key, 1), "byte {at} of {len}");
                assert_eq!(masked[at], b'a' | 0x80, "it is unmasked all the same");
            }
        }
    }

    #[test]
    fn a_payload_in_pieces_is_masked_as_the_whole() {
        let key = [0xff, 0, 0x0f, 0xa5];
        let bytes: Vec<u8> = (0..100).collect();
        let mut whole = bytes.clone();
        apply_mask(&mut whole, key, 0);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut pieces = bytes.clone();
                apply_mask(&mut pieces[..first], key, 0);
                apply_mask(&mut pieces[first..second], key, first);
                apply_mask(&mut pieces[second..], key, second);
                assert_eq!(pieces, whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn keys_follow_from_the_seed_and_do_not_repeat() {
        let keys = |seed| {
            let mut keys = MaskingKeys::new(seed);
            std::iter::repeat_with(move || keys.next_key()).take(1000).collect::<Vec<_>>()
        };
        assert_eq!(keys([1; 32]), keys([1; 32]));
        assert_ne!(keys([1; 32]), keys([2; 32]));
        // Of 1,000 keys out of 2^32 two are alike once in 8,600 seeds; not for this one.
        assert_eq!(keys([1; 32]).into_iter().collect::<HashSet<_>>().len(), 1000);
    }
}
