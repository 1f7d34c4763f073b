//! Record encryption: the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015) over AES-256-GCM.
//!
//! Ciphertext is a row of records of exactly [`RECORD`] bytes ([`RECORD_PLAIN`] of plaintext and a tag); the
//! last may be shorter. Each record has the nonce
//!
//! ```text
//! 7 zero bytes || record number, u32 big endian || 1 if last, else 0
//! ```
//!
//! The prefix is constant because each segment has a key of its own, used for one plaintext. Cutting off,
//! swapping, repeating or appending records changes a number or the flag and fails authentication. An empty
//! plaintext is one record that holds a tag only, so "nothing" is authenticated too.

use crate::CodecError;
use crate::keys::SegmentKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::ops::Range;

/// Bytes of a full record of ciphertext; also the size of an erasure cell.
pub const RECORD: usize = 65_536;
/// Bytes of an authentication tag.
pub const TAG: usize = 16;
/// Bytes of plaintext in a full record.
pub const RECORD_PLAIN: usize = RECORD - TAG;

const RECORD_64: u64 = 65_536;
const TAG_64: u64 = 16;
const RECORD_PLAIN_64: u64 = RECORD_64 - TAG_64;
const MAX_RECORDS: u64 = 1 << 32;

/// Number of records of a plaintext: at least one.
pub const fn record_count(plain_len: u64) -> u64 {
    if plain_len == 0 { 1 } else { plain_len.div_ceil(RECORD_PLAIN_64) }
}

/// Bytes of ciphertext for a plaintext; `None` beyond 2^32 records.
pub const fn cipher_len(plain_len: u64) -> Option<u64> {
    let records = record_count(plain_len);
    if records > MAX_RECORDS { None } else { Some(plain_len + records * TAG_64) }
}

/// Bytes of plaintext in a ciphertext; `None` for a length that no plaintext has.
pub const fn plain_len(cipher_len: u64) -> Option<u64> {
    let records = cipher_len.div_ceil(RECORD_64);
    if records == 0 || records > MAX_RECORDS {
        return None;
    }
    let last = cipher_len - (records - 1) * RECORD_64;
    // Only an empty plaintext ends in a record without content.
    if last < TAG_64 || (last == TAG_64 && records > 1) {
        return None;
    }
    Some(cipher_len - records * TAG_64)
}

/// Numbers of the records that hold a range of plaintext; empty for an empty range.
pub const fn record_range(plain: &Range<u64>) -> Range<u64> {
    if plain.end <= plain.start {
        return 0..0;
    }
    plain.start / RECORD_PLAIN_64..(plain.end - 1) / RECORD_PLAIN_64 + 1
}

/// An expanded segment key.
pub struct StreamCipher(LessSafeKey);

impl StreamCipher {
    /// Expands the key schedule.
    pub fn new(key: &SegmentKey) -> Result<Self, CodecError> {
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| CodecError::Cipher)?;
        Ok(Self(LessSafeKey::new(unbound)))
    }

    fn nonce(index: u32, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&index.to_be_bytes());
        nonce[11] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends the record of `plain` (at most [`RECORD_PLAIN`] bytes) to `out`.
    fn seal(&self, index: u32, last: bool, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self
            .0
            .seal_in_place_separate_tag(Self::nonce(index, last), Aad::empty(), &mut out[start..])
            .map_err(|_| CodecError::Cipher)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts a record where it lies and returns its plaintext part. On failure the buffer's content is
    /// unspecified and must be thrown away.
    pub fn open_in_place<'a>(
        &self,
        index: u64,
        last: bool,
        record: &'a mut [u8],
    ) -> Result<&'a mut [u8], CodecError> {
        let bad = CodecError::Unauthentic { record: index };
        let Ok(number) = u32::try_from(index) else { return Err(bad) };
        if record.len() > RECORD || (!last && record.len() != RECORD) {
            return Err(bad);
        }
        self.0.open_in_place(Self::nonce(number, last), Aad::empty(), record).map_err(|_| bad)
    }
}

/// Encrypts a plaintext that arrives in pieces. Holds back at most one record.
pub struct Encryptor {
    cipher: StreamCipher,
    index: u32,
    pending: Vec<u8>,
}

impl Encryptor {
    /// Starts the only plaintext that this key may ever encrypt.
    pub fn new(key: &SegmentKey) -> Result<Self, CodecError> {
        Ok(Self { cipher: StreamCipher::new(key)?, index: 0, pending: Vec::new() })
    }

    /// Takes plaintext and appends every full record that is known not to be the last to `out`.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        while self.pending.len() + plain.len() > RECORD_PLAIN {
            let (now, later) = plain.split_at(RECORD_PLAIN - self.pending.len());
            if self.pending.is_empty() {
                self.cipher.seal(self.index, false, now, out)?;
            } else {
                self.pending.extend_from_slice(now);
                self.cipher.seal(self.index, false, &self.pending, out)?;
                self.pending.clear();
            }
            let limit = RECORD_PLAIN_64 * MAX_RECORDS;
            self.index = self.index.checked_add(1).ok_or(CodecError::TooLarge { got: limit + 1, limit })?;
            plain = later;
        }
        self.pending.extend_from_slice(plain);
        Ok(())
    }

    /// Appends the last record to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let pending = std::mem::take(&mut self.pending);
        self.cipher.seal(self.index, true, &pending, out)
    }
}

/// Encrypts a whole plaintext.
pub fn encrypt(key: &SegmentKey, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(plain.len() + (plain.len() / RECORD_PLAIN + 1) * TAG);
    let mut encryptor = Encryptor::new(key)?;
    encryptor.push(plain, &mut out)?;
    encryptor.finish(&mut out)?;
    Ok(out)
}

/// Decrypts one record.
pub fn decrypt_record(
    key: &SegmentKey,
    index: u64,
    is_last: bool,
    record: &[u8],
) -> Result<Vec<u8>, CodecError> {
    let mut buffer = record.to_vec();
    let len = StreamCipher::new(key)?.open_in_place(index, is_last, &mut buffer)?.len();
    buffer.truncate(len);
    Ok(buffer)
}

/// Decrypts a whole ciphertext.
pub fn decrypt(key: &SegmentKey, cipher: &[u8]) -> Result<Vec<u8>, CodecError> {
    let stream = StreamCipher::new(key)?;
    let mut out = Vec::with_capacity(cipher.len());
    // Zero bytes of ciphertext are a cut-off stream, not an empty plaintext.
    let records = cipher.len().div_ceil(RECORD).max(1);
    for number in 0..records {
        let start = number * RECORD;
        let record = &cipher[start..cipher.len().min(start + RECORD)];
        let at = out.len();
        out.extend_from_slice(record);
        let index = u64::try_from(number).map_err(|_| CodecError::Cipher)?;
        let len = stream.open_in_place(index, number + 1 == records, &mut out[at..])?.len();
        out.truncate(at + len);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
