//! Masking: XOR with a four-byte key (§5.3).
//!
//! A payload and its key go in, and the payload comes out masked or unmasked. Keys come from the
//! owner's seed: `MaskingKeys` is a keyed generator, as §5.3 wants keys that nobody can predict.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Masks or unmasks `payload` in place; XOR makes the two the same operation (§5.3).
///
/// `key` is in wire order. `offset` is how many bytes of this payload came before, so a payload may
/// arrive in pieces; only `offset % 4` matters.
pub fn apply_mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);

    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
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
