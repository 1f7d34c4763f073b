//! A seekable AES-256-CTR pad that makes equal fragments differ from device to device.
//!
//! Reed-Solomon is public and column-wise: without the pad, operators that together hold k fragments could
//! rebuild any challenged byte of the others and keep only k. The pad is not what keeps data secret (the
//! record encryption does), and it authenticates nothing.
//!
//! The counter block of byte `offset` is `offset / 16` as 128 bits, big endian. One pad key serves one
//! fragment on one device, so counter blocks never repeat under a key.

use crate::CodecError;
use crate::keys::PadKey;
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

const BLOCK: usize = 16;

/// An expanded pad key; reuse it when applying many pieces.
pub struct Pad(EncryptingKey);

impl Pad {
    /// Expands the key schedule.
    pub fn new(key: &PadKey) -> Result<Self, CodecError> {
        let unbound = UnboundCipherKey::new(&AES_256, key.expose()).map_err(|_| CodecError::Cipher)?;
        EncryptingKey::ctr(unbound).map(Self).map_err(|_| CodecError::Cipher)
    }

    /// XORs the pad, starting at byte `offset` of the fragment, into `bytes`. Applying it twice undoes it.
    pub fn apply(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CodecError> {
        let block = u64::try_from(BLOCK).map_err(|_| CodecError::Cipher)?;
        let skip = usize::try_from(offset % block).map_err(|_| CodecError::Cipher)?;
        let counter = offset / block;
        if skip == 0 {
            return self.run(counter, bytes);
        }
        let (head, rest) = bytes.split_at_mut((BLOCK - skip).min(bytes.len()));
        let mut first = [0; BLOCK];
        first[skip..skip + head.len()].copy_from_slice(head);
        self.run(counter, &mut first)?;
        head.copy_from_slice(&first[skip..skip + head.len()]);
        // offset is not a multiple of 16 here, so offset / 16 is below u64::MAX and the sum cannot overflow.
        self.run(counter + 1, rest)
    }

    fn run(&self, counter: u64, bytes: &mut [u8]) -> Result<(), CodecError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let iv = u128::from(counter).to_be_bytes();
        let context = EncryptionContext::Iv128(FixedLength::from(&iv));
        self.0.less_safe_encrypt(bytes, context).map(|_| ()).map_err(|_| CodecError::Cipher)
    }
}

/// XORs the pad of `key`, starting at byte `offset` of the fragment, into `bytes`. Applying it twice undoes it.
pub fn apply(key: &PadKey, offset: u64, bytes: &mut [u8]) -> Result<(), CodecError> {
    Pad::new(key)?.apply(offset, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(b: u8) -> PadKey {
        PadKey::from_bytes([b; 32])
    }

    #[test]
    fn the_keystream_is_frozen_and_plain_aes_ctr() {
        // AES-256 of the all-zero block under the all-zero key, a published value (FIPS 197 style vectors).
        let mut bytes = [0; 16];
        apply(&key(0), 0, &mut bytes).unwrap();
        assert_eq!(hex::encode(bytes), "dc95c078a2408989ad48a21492842087");
    }

    #[test]
    fn the_counter_is_big_endian() {
        // E(0, block 1), as in GCM test case 13's tag (E(K, Y0) with an all-zero IV).
        let mut bytes = [0; 16];
        apply(&key(0), 16, &mut bytes).unwrap();
        assert_eq!(hex::encode(bytes), "530f8afbc74536b9a963b4f1c4cb738b");
    }

    #[test]
    fn equal_fragments_on_two_devices_differ() {
        let (mut a, mut b) = ([5; 64], [5; 64]);
        apply(&key(1), 0, &mut a).unwrap();
        apply(&key(2), 0, &mut b).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn the_far_end_of_the_offset_range_does_not_panic() {
        let mut bytes = [0; 64];
        apply(&key(1), u64::MAX, &mut bytes).unwrap();
        assert_ne!(bytes, [0; 64]);
    }

    proptest! {
        #[test]
        fn applying_in_pieces_equals_applying_at_once(
            len in 0usize..500, cuts in proptest::collection::vec(0usize..500, 0..6), start in 0u64..1000,
        ) {
            let mut whole = vec![0xA5; len];
            apply(&key(9), start, &mut whole).unwrap();
            let mut pieces = vec![0xA5; len];
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(len)).chain([0, len]).collect();
            cuts.sort_unstable();
            let pad = Pad::new(&key(9)).unwrap();
            for w in cuts.windows(2) {
                pad.apply(start + u64::try_from(w[0]).unwrap(), &mut pieces[w[0]..w[1]]).unwrap();
            }
            prop_assert_eq!(&whole, &pieces);
            apply(&key(9), start, &mut whole).unwrap();
            prop_assert_eq!(whole, vec![0xA5; len]);
        }
    }
}
