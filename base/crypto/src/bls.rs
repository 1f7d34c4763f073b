//! BLS12-381 signatures with short signatures (G1, 48 bytes) and keys in G2 (96 bytes): the *unique* signature of
//! the epoch seed.
//!
//! For a key and a message there is exactly one valid signature, so a signer cannot choose among several seeds; all
//! he can do is keep silent. Ciphersuite `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_` of
//! draft-irtf-cfrg-bls-signature-05. Encodings that are not canonical, points outside the prime-order group and the
//! point at infinity are refused. A key must prove possession before its signatures are aggregated with others.

use blst::BLST_ERROR;
use blst::min_sig as raw;
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;

use crate::hash::framed_message;

/// Domain separation tag of signatures.
pub const DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Domain separation tag of proofs of possession; apart from [`DST`], so that neither serves as the other.
pub const POP_DST: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Why a BLS key or signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlsError {
    /// The key's bytes are no usable key.
    #[error(
        "the BLS key is not a canonical point of the prime-order group, or is infinity; check that all 96 bytes were copied"
    )]
    BadKey,
    /// The signature's bytes are no usable signature.
    #[error(
        "the BLS signature is not a canonical point of the prime-order group, or is infinity; sign again"
    )]
    BadSignature,
    /// The signature does not fit.
    #[error("the BLS signature does not fit key and message; sign these exact bytes with that key")]
    Invalid,
}

/// A public key, 96 bytes compressed, not necessarily valid (verification says so).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct BlsPublic(pub [u8; 96]);

/// A signature, 48 bytes compressed, not necessarily valid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct BlsSignature(pub [u8; 48]);

/// A secret key. Wiped from memory when dropped; never printed.
pub struct BlsSecret(Box<raw::SecretKey>);

impl BlsSecret {
    /// The key of a 32-byte seed (KeyGen of the draft, empty info).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(raw::SecretKey::key_gen(seed, &[]).expect("32 bytes are enough key material")))
    }

    /// The public key.
    pub fn public(&self) -> BlsPublic {
        BlsPublic(self.0.sk_to_pk().compress())
    }

    /// The one signature of `len(domain) || domain || message`.
    pub fn sign(&self, domain: &str, message: &[u8]) -> BlsSignature {
        BlsSignature(self.0.sign(&framed_message(domain, message), DST, &[]).compress())
    }

    /// Shows that the holder of the public key knows the secret: a signature of the key's own bytes.
    pub fn pop_prove(&self) -> BlsSignature {
        BlsSignature(self.0.sign(&self.public().0, POP_DST, &[]).compress())
    }
}

impl fmt::Debug for BlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlsSecret(of {:?}, redacted)", self.public())
    }
}

impl BlsPublic {
    /// Refuses bytes that are no key.
    pub fn check(&self) -> Result<(), BlsError> {
        self.decode().map(|_| ())
    }

    /// Verifies a signature; about half a millisecond.
    pub fn verify(&self, domain: &str, message: &[u8], signature: &BlsSignature) -> Result<(), BlsError> {
        self.verify_raw(&framed_message(domain, message), DST, signature)
    }

    /// Verifies a proof of possession.
    pub fn pop_verify(&self, proof: &BlsSignature) -> Result<(), BlsError> {
        self.verify_raw(&self.0, POP_DST, proof)
    }

    fn verify_raw(&self, message: &[u8], dst: &[u8], signature: &BlsSignature) -> Result<(), BlsError> {
        let (key, signature) = (self.decode()?, signature.decode()?);
        // Groups were checked by decoding.
        match signature.verify(false, message, dst, &[], &key, false) {
            BLST_ERROR::BLST_SUCCESS => Ok(()),
            _ => Err(BlsError::Invalid),
        }
    }

    fn decode(&self) -> Result<raw::PublicKey, BlsError> {
        let key = raw::PublicKey::uncompress(&self.0).map_err(|_| BlsError::BadKey)?;
        key.validate().map_err(|_| BlsError::BadKey)?;
        Ok(key)
    }
}

impl BlsSignature {
    /// Refuses bytes that are no signature of any key.
    pub fn check(&self) -> Result<(), BlsError> {
        self.decode().map(|_| ())
    }

    fn decode(&self) -> Result<raw::Signature, BlsError> {
        let signature = raw::Signature::uncompress(&self.0).map_err(|_| BlsError::BadSignature)?;
        signature.validate(true).map_err(|_| BlsError::BadSignature)?;
        Ok(signature)
    }
}

macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(&self.0[..6]))
            }
        }
    };
}

hex_text!(BlsPublic);
hex_text!(BlsSignature);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> BlsSecret {
        BlsSecret::from_seed(&[n; 32])
    }

    #[test]
    fn key_signature_and_proof_are_frozen() {
        let sk = key(7);
        assert_eq!(
            sk.public().to_string(),
            "8038bfe033bc328ea36bb7c3438bc5a27a0dc880506277e116c8b842ed0c1ea78d32c90b04afbca59bd828c1e6c5e3f319274412f2e9eecf7334114b02847693e9d997f1aa9f936d90cae8946df6593033431513e210880bcda015da1b61f6f5"
        );
        assert_eq!(
            sk.sign("cairn/test", b"m").to_string(),
            "808dcf3d5f93720fac2e5e9bc371d066063107fd9ac62a653e26257d3a09d772e290b8142b9a359d20632d7585a5e7aa"
        );
        assert_eq!(
            sk.pop_prove().to_string(),
            "ab382bef6a1bf6eee731ada63ac9dced4ee25532993064605cbc4e05abfdb20ce0b32335a561b0ad428df113b527ee5a"
        );
        assert_eq!(borsh::to_vec(&sk.public()).unwrap().len(), 96);
    }

    #[test]
    fn a_signature_fits_its_key_domain_and_message_only() {
        let (sk, sig) = (key(1), key(1).sign("d", b"m"));
        assert_eq!(sk.public().verify("d", b"m", &sig), Ok(()));
        assert_eq!(sk.public().verify("d", b"n", &sig), Err(BlsError::Invalid));
        assert_eq!(sk.public().verify("e", b"m", &sig), Err(BlsError::Invalid));
        assert_eq!(key(2).public().verify("d", b"m", &sig), Err(BlsError::Invalid));
    }

    #[test]
    fn possession_is_proven_by_its_own_tag_only() {
        let sk = key(3);
        assert_eq!(sk.public().pop_verify(&sk.pop_prove()), Ok(()));
        assert_eq!(key(4).public().pop_verify(&sk.pop_prove()), Err(BlsError::Invalid));
        let disguised = BlsSignature(sk.0.sign(&sk.public().0, DST, &[]).compress());
        assert_eq!(sk.public().pop_verify(&disguised), Err(BlsError::Invalid));
    }

    #[test]
    fn infinity_is_neither_key_nor_signature() {
        let mut pk = [0; 96];
        pk[0] = 0xc0;
        let mut sig = [0; 48];
        sig[0] = 0xc0;
        assert_eq!(BlsPublic(pk).check(), Err(BlsError::BadKey));
        assert_eq!(BlsSignature(sig).check(), Err(BlsError::BadSignature));
        assert_eq!(BlsPublic(pk).verify("d", b"", &BlsSignature(sig)), Err(BlsError::BadKey));
    }

    #[test]
    fn an_x_of_the_field_size_or_more_is_refused() {
        // x + p names the same point as x wherever it fits into 381 bits; only x < p is canonical.
        let p = "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
        let mut modulus = [0u8; 48];
        hex::decode_to_slice(p, &mut modulus).unwrap();
        let shifted = (0u8..=255).find_map(|n| {
            let mut sig = key(5).sign("d", &[n]).0;
            let flags = sig[0] & 0xe0;
            sig[0] &= 0x1f;
            let mut carry = 0u16;
            for (s, m) in sig.iter_mut().zip(modulus).rev() {
                let sum = u16::from(*s) + u16::from(m) + carry;
                *s = sum.to_le_bytes()[0];
                carry = sum >> 8;
            }
            let fits = carry == 0 && sig[0] & 0xe0 == 0;
            sig[0] |= flags;
            fits.then_some((n, sig))
        });
        let (n, sig) = shifted.expect("about one point in five has so small an x");
        assert_eq!(key(5).public().verify("d", &[n], &BlsSignature(sig)), Err(BlsError::BadSignature));
    }

    #[test]
    fn a_point_outside_the_prime_order_group_is_refused() {
        // Most points of the curve are outside: among small x there is one that decodes and fails the group check.
        let outside = (1u8..50).find_map(|x| {
            let mut sig = [0; 48];
            (sig[0], sig[47]) = (0x80, x);
            let point = raw::Signature::uncompress(&sig).ok()?;
            (!point.subgroup_check()).then_some(sig)
        });
        let sig = BlsSignature(outside.unwrap());
        assert_eq!(sig.check(), Err(BlsError::BadSignature));
        let outside = (1u8..50).find_map(|x| {
            let mut pk = [0; 96];
            (pk[0], pk[95]) = (0x80, x);
            raw::PublicKey::uncompress(&pk).ok().map(|_| pk)
        });
        assert_eq!(BlsPublic(outside.unwrap()).check(), Err(BlsError::BadKey));
    }

    #[test]
    fn debug_never_shows_the_secret() {
        assert!(format!("{:?}", key(6)).contains("redacted"));
    }
}
