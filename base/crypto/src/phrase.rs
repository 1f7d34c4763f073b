//! The recovery phrase: 24 words from which every key of a user is derived.
//!
//! BIP-39 (English, 256 bits, empty passphrase) gives a 64-byte seed; HKDF-SHA256 (RFC 5869) with salt
//! `cairn/phrase/v1` gives one independent 32-byte key for each label. Knowing some of them reveals no other.

use bip39::{Language, Mnemonic};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

use crate::keys::SecretKey;
use crate::random::{NoRandomness, random32};

/// Words of a phrase.
pub const WORDS: usize = 24;
/// Label of the first account's key.
pub const ACCOUNT: &str = "cairn/account/0";
/// HKDF salt.
const SALT: &[u8] = b"cairn/phrase/v1";

/// Label of the key of device `n`.
pub fn device_label(n: u32) -> String {
    format!("cairn/device/{n}")
}

/// Why words are no recovery phrase. Never contains a word of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Another number of words.
    #[error("{0} words instead of 24; enter all words of the recovery phrase, in order")]
    WordCount(usize),
    /// A word that is not in the list.
    #[error("word {0} is not in the BIP-39 English list; check its spelling on your paper")]
    UnknownWord(usize),
    /// The last word does not fit the others.
    #[error("the words do not fit together; two may be swapped or one replaced by another of the list")]
    Checksum,
}

/// A recovery phrase. Wiped from memory when dropped; never printed unless [`Phrase::words`] is asked for.
pub struct Phrase(Mnemonic);

impl Phrase {
    /// A new phrase from the operating system's randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self::from_entropy(&*random32()?))
    }

    /// The phrase of 32 given bytes (a devnet, a test, dice).
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        Self(Mnemonic::from_entropy_in(Language::English, entropy).expect("32 bytes are a BIP-39 size"))
    }

    /// Reads 24 words, separated by any white space, in any case.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let words = Zeroizing::new(text.to_lowercase());
        // Counted first, so that a pasted novel costs nothing.
        let count = words.split_whitespace().count();
        if count != WORDS {
            return Err(PhraseError::WordCount(count));
        }
        Mnemonic::parse_in_normalized(Language::English, &words).map(Self).map_err(|e| match e {
            bip39::Error::UnknownWord(i) => PhraseError::UnknownWord(i + 1),
            bip39::Error::BadWordCount(n) => PhraseError::WordCount(n),
            _ => PhraseError::Checksum,
        })
    }

    /// The words with single spaces, to be written on paper.
    pub fn words(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(WORDS * 9));
        for (i, word) in self.0.words().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
        out
    }

    /// The BIP-39 seed with an empty passphrase.
    pub fn seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.to_seed_normalized(""))
    }

    /// The 32-byte key of a label. Costs 2048 rounds of HMAC-SHA512 (about a millisecond).
    pub fn derive32(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(SALT), self.seed().as_ref())
            .expand(label.as_bytes(), out.as_mut())
            .expect("32 bytes are within the 8160 that HKDF-SHA256 gives");
        out
    }

    /// The signing key of a label.
    pub fn key(&self, label: &str) -> SecretKey {
        SecretKey::from_seed(&self.derive32(label))
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 24-word vectors of the BIP-39 reference (trezor/python-mnemonic, vectors.json; passphrase "TREZOR").
    const VECTORS: [(u8, &str, &str); 3] = [
        (
            0x00,
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
            "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
        ),
        (
            0x7f,
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title",
            "bc09fca1804f7e69da93c2f2028eb238c227f2e9dda30cd63699232578480a4021b146ad717fbb7e451ce9eb835f43620bf5c514db0f8add49f5d121449d3e87",
        ),
        (
            0xff,
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
            "dd48c104698c30cfe2b6142103248622fb7bb0ff692eebb00089b32d22484e1613912f0a5b694407be899ffd31ed3992c456cdf60f5d4564b8ba3f05a69890ad",
        ),
    ];

    #[test]
    fn published_vectors_hold() {
        for (byte, words, seed) in VECTORS {
            let phrase = Phrase::from_entropy(&[byte; 32]);
            assert_eq!(*phrase.words(), words);
            assert_eq!(hex::encode(phrase.0.to_seed_normalized("TREZOR")), seed);
            assert_eq!(*Phrase::parse(words).unwrap().seed(), *phrase.seed());
        }
    }

    #[test]
    fn derived_keys_are_frozen() {
        let phrase = Phrase::from_entropy(&[0; 32]);
        assert_eq!(
            hex::encode(*phrase.derive32(ACCOUNT)),
            "d1ace840e9c780a0e8d458f4f8ff04a4f97a1457a23f30d2886567b6145ea7c1"
        );
        assert_eq!(
            phrase.key(&device_label(3)).public().to_string(),
            "b3fcdf7f0b1d76ba9f0c990b62f8cf4887d971bc2596bf91cbb9b3f8e846c16a"
        );
    }

    #[test]
    fn white_space_and_case_are_forgiven() {
        let messy = VECTORS[0].1.replace(' ', " \n\t").to_uppercase();
        assert_eq!(*Phrase::parse(&format!(" {messy} ")).unwrap().words(), VECTORS[0].1);
    }

    #[test]
    fn mistakes_are_named_without_repeating_a_word() {
        let words = VECTORS[1].1;
        assert_eq!(Phrase::parse("legal winner").unwrap_err(), PhraseError::WordCount(2));
        let typo = words.replacen("thank", "thnak", 1);
        assert_eq!(Phrase::parse(&typo).unwrap_err(), PhraseError::UnknownWord(3));
        assert!(!Phrase::parse(&typo).unwrap_err().to_string().contains("thnak"));
        let swapped = words.replacen("legal winner", "winner legal", 1);
        assert_eq!(Phrase::parse(&swapped).unwrap_err(), PhraseError::Checksum);
        // BIP-39 also knows 12 words; half the entropy is not enough for everything one owns.
        let twelve = format!("{}about", "abandon ".repeat(11));
        assert_eq!(Phrase::parse(&twelve).unwrap_err(), PhraseError::WordCount(12));
    }

    #[test]
    fn two_new_phrases_differ() {
        assert_ne!(*Phrase::generate().unwrap().words(), *Phrase::generate().unwrap().words());
    }
}
