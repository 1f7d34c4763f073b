//! Ed25519 with one validity rule, ZIP-215, for single and batch verification.
//!
//! Most libraries accept different signatures alone and in a batch (points of small order, encodings that are
//! not canonical). A network whose nodes verify some signatures alone and some in batches would then fork, so
//! both paths here follow ZIP-215 (<https://zips.z.cash/zip-0215>): A and R may be any encoding of a point, S
//! must be canonical, and the equation is checked after multiplication by the cofactor.

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::fmt;
use zeroize::Zeroizing;

use crate::hash::{blake3_derive, framed_message};

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key's bytes are not a point of the curve.
    #[error("the public key is not a point of the curve; check that all 32 bytes were copied")]
    BadKey,
    /// A point of small order: anybody can sign for it.
    #[error(
        "the public key is a point of small order, for which anybody can sign; use a key made from a secret"
    )]
    WeakKey,
    /// The signature does not fit key, domain and message.
    #[error("the signature does not fit the key and the message; sign these exact bytes again with that key")]
    Invalid,
}

/// A public key: 32 bytes of Ed25519, not necessarily a valid point (verification says so).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

/// A signature: 64 bytes, R then S.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

/// A secret key. Wiped from memory when dropped; never printed.
pub struct SecretKey {
    /// Boxed so that moving the value leaves no copy behind on the stack.
    signing: Box<Zeroizing<SigningKey>>,
}

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { signing: Box::new(Zeroizing::new(SigningKey::from(*seed))) }
    }

    /// The seed, for a key file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new((**self.signing).into())
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(VerificationKeyBytes::from(&**self.signing).into())
    }

    /// Signs `len(domain) || domain || message`. Deterministic.
    pub fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        Signature(self.signing.sign(&framed_message(domain, message)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?}, redacted)", self.public())
    }
}

impl PublicKey {
    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).ok()?;
        Some(Self(out))
    }

    /// Refuses bytes that are no point of the curve, and points of small order, for which anybody can sign. Call it
    /// where a key enters the state; [`Self::verify`] alone follows ZIP-215, which accepts such points.
    pub fn check(&self) -> Result<(), SignatureError> {
        let key = VerificationKey::try_from(self.0).map_err(|_| SignatureError::BadKey)?;
        // R = identity and S = 0 satisfy 8 S B = 8 R + 8 k A exactly when 8 A is the identity (the hash k is a multiple
        // of the group order with a chance of 2^-252 only).
        let mut forged = [0; 64];
        forged[0] = 1;
        let small = key.verify(&ed25519_zebra::Signature::from_bytes(&forged), b"cairn/small-order").is_ok();
        if small { Err(SignatureError::WeakKey) } else { Ok(()) }
    }

    /// Verifies one signature by ZIP-215.
    pub fn verify(&self, domain: &str, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let key = VerificationKey::try_from(self.0).map_err(|_| SignatureError::BadKey)?;
        let signature = ed25519_zebra::Signature::from_bytes(&signature.0);
        key.verify(&signature, &framed_message(domain, message)).map_err(|_| SignatureError::Invalid)
    }
}

/// One signature of a batch: key, domain, message, signature.
pub type BatchItem<'a> = (PublicKey, &'a str, &'a [u8], Signature);

/// True if every signature of the batch is valid; agrees with [`PublicKey::verify`] on each.
///
/// The coefficients are drawn from `rng_seed` *and* the batch itself, so that a signer who knows or guesses the
/// seed still cannot make two wrong signatures cancel. Find the wrong one by verifying one by one.
pub fn verify_batch(items: &[BatchItem<'_>], rng_seed: &[u8; 32]) -> bool {
    let mut transcript = Vec::with_capacity(items.len() * 128);
    let mut verifier = batch::Verifier::new();
    for (key, domain, message, signature) in items {
        let framed = framed_message(domain, message);
        transcript.extend_from_slice(&key.0);
        transcript.extend_from_slice(&signature.0);
        transcript.extend_from_slice(blake3::hash(&framed).as_bytes());
        let signature = ed25519_zebra::Signature::from_bytes(&signature.0);
        verifier.queue((VerificationKeyBytes::from(key.0), signature, framed.as_slice()));
    }
    let seed = blake3_derive("cairn/batch-coefficients/v1", &[rng_seed, &transcript]);
    verifier.verify(StdRng::from_seed(seed.0)).is_ok()
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
        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

hex_text!(PublicKey);
hex_text!(Signature);

#[cfg(test)]
mod tests;
