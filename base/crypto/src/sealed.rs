//! Sealed boxes: bytes that one device alone can open.
//!
//! X25519 with a fresh key per box, HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439). The sender is not
//! authenticated: sign the box where it matters who sent it. `context` names the purpose; a box made for one purpose
//! does not open under another.

use borsh::io::{Error, ErrorKind, Read};
use borsh::{BorshDeserialize, BorshSerialize};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::Zeroizing;

use crate::hash::{framed_message, sha256};

/// Longest message of a box: 64 KiB. Seal a key, not a file.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes that the cipher adds.
const TAG: usize = 16;

/// Why a box was not made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over [`MAX_MESSAGE`].
    #[error("{0} bytes are too long for a sealed box (65536); encrypt the data under a key and seal the key")]
    TooLong(usize),
    /// A point of small order, with which anybody knows the shared secret.
    #[error("the X25519 key is a point of small order; ask the device for its real key")]
    WeakKey,
    /// For another device, for another purpose, or altered.
    #[error(
        "the box does not open; it was made for another device or purpose, or was altered on the way, ask for it again"
    )]
    DoesNotOpen,
}

/// Where boxes are sent: an X25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct BoxPublic(pub [u8; 32]);

/// Opens boxes. Wiped from memory when dropped; never printed.
pub struct BoxSecret(Box<StaticSecret>);

/// A sealed box: 52 bytes longer than its message.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct SealedBox {
    /// The sender's key for this box alone.
    pub ephemeral: [u8; 32],
    /// Encrypted message and tag; 16 to 65552 bytes.
    pub ciphertext: Vec<u8>,
}

impl BorshDeserialize for SealedBox {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let ephemeral = <[u8; 32]>::deserialize_reader(reader)?;
        let len = u32::deserialize_reader(reader)?;
        let n = usize::try_from(len).unwrap_or(usize::MAX);
        if !(TAG..=MAX_MESSAGE + TAG).contains(&n) {
            return Err(Error::new(ErrorKind::InvalidData, format!("a sealed box of {n} bytes")));
        }
        let mut ciphertext = Vec::new();
        reader.take(u64::from(len)).read_to_end(&mut ciphertext)?;
        if ciphertext.len() != n {
            return Err(Error::new(ErrorKind::InvalidData, "the sealed box ends early"));
        }
        Ok(Self { ephemeral, ciphertext })
    }
}

impl BoxSecret {
    /// The key of a 32-byte secret. Derive it with a label of its own; never reuse a signing seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(StaticSecret::from(*seed)))
    }

    /// Where boxes for this key are sent.
    pub fn public(&self) -> BoxPublic {
        BoxPublic(Point::from(&*self.0).to_bytes())
    }

    /// Opens a box made for this key and purpose.
    pub fn open(&self, context: &str, sealed: &SealedBox) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if sealed.ciphertext.len() > MAX_MESSAGE + TAG {
            return Err(SealError::TooLong(sealed.ciphertext.len()));
        }
        let cipher =
            cipher(&self.0, &BoxPublic(sealed.ephemeral), &sealed.ephemeral, &self.public(), context)?;
        let payload = Payload { msg: &sealed.ciphertext, aad: context.as_bytes() };
        let plain = cipher.decrypt(&Nonce::default(), payload).map_err(|_| SealError::DoesNotOpen)?;
        Ok(Zeroizing::new(plain))
    }
}

impl fmt::Debug for BoxSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxSecret(of {:?}, redacted)", self.public())
    }
}

impl fmt::Debug for BoxPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxPublic({})", hex::encode(self.0))
    }
}

/// Seals `message` to `recipient`. `randomness` is 32 fresh random bytes ([`crate::random::random32`]).
///
/// The box's key is derived from randomness, recipient, purpose *and* message, so that randomness used twice by
/// mistake reveals no more than that two equal boxes are equal.
pub fn seal(
    recipient: &BoxPublic,
    context: &str,
    message: &[u8],
    randomness: &[u8; 32],
) -> Result<SealedBox, SealError> {
    if message.len() > MAX_MESSAGE {
        return Err(SealError::TooLong(message.len()));
    }
    let parts: [&[u8]; 4] = [randomness, &recipient.0, context.as_bytes(), message];
    let secret = Zeroizing::new(sha256("cairn/sealed/ephemeral/v1", &parts).0);
    let ephemeral_secret = StaticSecret::from(*secret);
    let ephemeral = Point::from(&ephemeral_secret).to_bytes();
    let cipher = cipher(&ephemeral_secret, recipient, &ephemeral, recipient, context)?;
    let payload = Payload { msg: message, aad: context.as_bytes() };
    let ciphertext =
        cipher.encrypt(&Nonce::default(), payload).map_err(|_| SealError::TooLong(message.len()))?;
    Ok(SealedBox { ephemeral, ciphertext })
}

/// The cipher of one box. Its key is used once, so the nonce is zero.
fn cipher(
    mine: &StaticSecret,
    theirs: &BoxPublic,
    ephemeral: &[u8; 32],
    recipient: &BoxPublic,
    context: &str,
) -> Result<ChaCha20Poly1305, SealError> {
    let shared = mine.diffie_hellman(&Point::from(theirs.0));
    if !shared.was_contributory() {
        return Err(SealError::WeakKey);
    }
    let salt = [*ephemeral, recipient.0].concat();
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(Some(&salt), shared.as_bytes())
        .expand(&framed_message("cairn/sealed/v1", context.as_bytes()), key.as_mut())
        .expect("32 bytes are within the 8160 that HKDF-SHA256 gives");
    Ok(ChaCha20Poly1305::new(&Key::from(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(n: u8) -> BoxSecret {
        BoxSecret::from_seed(&[n; 32])
    }

    #[test]
    fn a_box_is_frozen() {
        let sealed = seal(&device(7).public(), "test", b"hello", &[1; 32]).unwrap();
        assert_eq!(
            hex::encode(borsh::to_vec(&sealed).unwrap()),
            "b84114c4789d81fe4cf0d28f501dc5a84c263bc3ab57c8dc9d1a540636f0a80d150000007c4119e8e166c6faea7f015968cb0245d27cbe3e7e"
        );
        assert_eq!(&**device(7).open("test", &sealed).unwrap(), b"hello");
    }

    #[test]
    fn rfc_7748_public_key_is_derived_from_its_secret() {
        let mut secret = [0; 32];
        // RFC 7748 section 6.1, Alice.
        hex::decode_to_slice("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", &mut secret)
            .unwrap();
        let public = hex::encode(BoxSecret::from_seed(&secret).public().0);
        assert_eq!(public, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    }

    #[test]
    fn another_device_or_purpose_does_not_open_it() {
        let sealed = seal(&device(1).public(), "a", b"x", &[1; 32]).unwrap();
        assert_eq!(device(2).open("a", &sealed), Err(SealError::DoesNotOpen));
        assert_eq!(device(1).open("b", &sealed), Err(SealError::DoesNotOpen));
    }

    #[test]
    fn repeated_randomness_gives_other_keys_for_other_messages() {
        let to = device(1).public();
        let (a, b) = (seal(&to, "c", b"one", &[1; 32]).unwrap(), seal(&to, "c", b"two", &[1; 32]).unwrap());
        assert_ne!(a.ephemeral, b.ephemeral);
    }

    #[test]
    fn points_of_small_order_are_refused_on_both_sides() {
        assert_eq!(seal(&BoxPublic([0; 32]), "c", b"x", &[1; 32]), Err(SealError::WeakKey));
        let sealed = SealedBox { ephemeral: [0; 32], ciphertext: vec![0; 32] };
        assert_eq!(device(1).open("c", &sealed), Err(SealError::WeakKey));
    }

    #[test]
    fn the_limit_holds_on_both_sides() {
        let to = device(1).public();
        let sealed = seal(&to, "c", &[5; MAX_MESSAGE], &[1; 32]).unwrap();
        assert_eq!(device(1).open("c", &sealed).unwrap().len(), MAX_MESSAGE);
        assert_eq!(seal(&to, "c", &[5; MAX_MESSAGE + 1], &[1; 32]), Err(SealError::TooLong(MAX_MESSAGE + 1)));
        let mut bytes = vec![0; 32];
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(borsh::from_slice::<SealedBox>(&bytes).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_flipped_bit_keeps_it_shut(message: Vec<u8>, at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let sealed = seal(&device(1).public(), "c", &message, &[1; 32]).unwrap();
            prop_assert_eq!(&**device(1).open("c", &sealed).unwrap(), &message[..]);
            let mut bytes = borsh::to_vec(&sealed).unwrap();
            let i = at.index(bytes.len());
            // The top bit of an X25519 key is ignored by RFC 7748, but the key schedule binds the bytes.
            bytes[i] ^= 1 << bit;
            if let Ok(bad) = borsh::from_slice::<SealedBox>(&bytes) {
                prop_assert!(device(1).open("c", &bad).is_err());
            }
        }
    }
}
