//! The private part of a log entry: what only the customer reads.
//!
//! AES-256-GCM under a key derived from the index key and a fresh 32-byte salt, so each key serves one message and
//! the nonce is zero. The entry's number is authenticated with it and the hash of the entry before lies inside: a part
//! fits in one place only. Layout: salt 32, ciphertext and tag.

use crate::error::GatewayError;
use crate::record::{Body, Private};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cairn_storage_codec::keys::IndexKey;
use cairn_storage_codec::wire::MAX_LOG_BATCH;
use cairn_types::{Hash, decode_bounded, encode};
use hkdf::Hkdf;
use sha2::Sha256;

/// Format of [`Private`].
pub const VERSION: u8 = 1;
const LABEL: &[u8] = b"cairn/storage/log-private/1";
const SALT: usize = 32;

/// Seals a body for entry `seq`.
///
/// # Errors
/// Never for bounded lengths.
pub fn seal(key: &IndexKey, salt: &[u8; SALT], seq: u64, private: &Private) -> Result<Vec<u8>, GatewayError> {
    let mut bytes = encode(private);
    cipher(key, salt)?
        .seal_in_place_append_tag(nonce(), Aad::from(encode(&seq)), &mut bytes)
        .map_err(|_| unsealed())?;
    Ok([salt.as_slice(), &bytes].concat())
}

/// Opens a body.
///
/// # Errors
/// Another key or place, altered bytes, or another version.
pub fn open(key: &IndexKey, seq: u64, sealed: &[u8]) -> Result<Private, GatewayError> {
    let (salt, rest) = sealed.split_at_checked(SALT).ok_or_else(unsealed)?;
    let salt: &[u8; SALT] = salt.try_into().map_err(|_| unsealed())?;
    let mut bytes = rest.to_vec();
    let plain = cipher(key, salt)?
        .open_in_place(nonce(), Aad::from(encode(&seq)), &mut bytes)
        .map_err(|_| unsealed())?;
    let private: Private =
        decode_bounded(plain, MAX_LOG_BATCH).map_err(|e| GatewayError::Log(format!("a bad body: {e}")))?;
    if private.version != VERSION {
        return Err(GatewayError::Log(format!("entry version {} is not known here", private.version)));
    }
    Ok(private)
}

impl Private {
    /// A body under a fence, in the present version.
    pub const fn new(fence: u64, prev: Hash, body: Body) -> Self {
        Self { version: VERSION, fence, prev, body }
    }
}

fn cipher(key: &IndexKey, salt: &[u8; SALT]) -> Result<LessSafeKey, GatewayError> {
    let mut derived = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), key.expose())
        .expand(LABEL, &mut derived)
        .expect("32 bytes are below the HKDF limit of 255 * 32");
    UnboundKey::new(&AES_256_GCM, &derived).map(LessSafeKey::new).map_err(|_| unsealed())
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn unsealed() -> GatewayError {
    GatewayError::Log("an entry does not open under this key".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Mutation;

    #[test]
    fn a_private_part_is_frozen_and_fits_one_place_only() {
        let key = IndexKey::from_bytes([7; 32]);
        let body = Body::Mutations(vec![Mutation::DeleteBucket { name: "loaves".into() }]);
        let private = Private::new(3, Hash([2; 32]), body);
        let sealed = seal(&key, &[1; 32], 5, &private).unwrap();
        assert_eq!(open(&key, 5, &sealed).unwrap(), private);
        assert!(open(&key, 6, &sealed).is_err());
        assert!(open(&IndexKey::from_bytes([8; 32]), 5, &sealed).is_err());
        assert_eq!(
            hex::encode(&sealed[32..]),
            "04f98cb5a9a660bb87ab759a6b2d648fb56a0bfb4ffcc30300312b77eacda030bc4c0f7ae5863c5756135e4739558e242454559331bd76dd4a134b8fac4ef330c38a2f6b67e38f0e35"
        );
    }

    #[test]
    fn an_altered_byte_is_noticed_and_never_panics() {
        let key = IndexKey::from_bytes([7; 32]);
        let private = Private::new(1, Hash([0; 32]), Body::Mutations(Vec::new()));
        let sealed = seal(&key, &[1; 32], 1, &private).unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&key, 1, &bad).is_err(), "byte {at}");
            assert!(open(&key, 1, &sealed[..at]).is_err(), "cut {at}");
        }
    }
}
