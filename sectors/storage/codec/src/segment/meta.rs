//! What must be remembered of a segment to read or repair it (who holds it is in the lease).

use super::{MAX_CIPHER, MAX_PLAIN};
use crate::erasure::{Layout, Profile};
use crate::{CodecError, stream};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Hash, LeaseId};
use std::fmt;
use std::io::{Error, ErrorKind, Read, Write};

/// A segment: 32 random bytes, never reused (the stream key is derived from them).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SegmentId(pub [u8; 32]);

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentId({:02x}{:02x}{:02x}..)", self.0[0], self.0[1], self.0[2])
    }
}

/// Most bytes of an encoded [`SegmentMeta`]: 80 and 32 for each of 64 fragments.
pub const META_LIMIT: usize = 80 + 32 * 64;

/// Metadata of a sealed segment. Holds no secret: a repair agent's segment table is made of these.
///
/// Encoding (borsh): id 32, lease 32, k u16, n u16, cipher_len u32, plain_len u32, count u32, hashes 32 each.
/// Decoding refuses anything inconsistent, so a value that exists can be trusted to fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    id: SegmentId,
    lease: LeaseId,
    profile: Profile,
    cipher_len: u32,
    plain_len: u32,
    hashes: Vec<Hash>,
}

impl SegmentMeta {
    /// Metadata of a segment of `plain_len` bytes whose fragments before padding have these BLAKE3 hashes.
    ///
    /// # Errors
    /// More than [`MAX_PLAIN`] bytes, or not exactly n hashes.
    pub fn new(
        id: SegmentId,
        lease: LeaseId,
        profile: Profile,
        plain_len: u64,
        hashes: Vec<Hash>,
    ) -> Result<Self, CodecError> {
        if plain_len > MAX_PLAIN {
            return Err(CodecError::TooLarge { got: plain_len, limit: MAX_PLAIN });
        }
        if hashes.len() != usize::from(profile.n()) {
            let text = format!("{} fragment hashes for {} fragments", hashes.len(), profile.n());
            return Err(CodecError::BadMeta(text));
        }
        let too_large = CodecError::TooLarge { got: plain_len, limit: MAX_PLAIN };
        let cipher_len = stream::cipher_len(plain_len)
            .and_then(|len| u32::try_from(len).ok())
            .filter(|len| u64::from(*len) <= MAX_CIPHER)
            .ok_or(too_large.clone())?;
        let plain_len = u32::try_from(plain_len).map_err(|_| too_large)?;
        Ok(Self { id, lease, profile, cipher_len, plain_len, hashes })
    }

    /// The segment.
    pub const fn id(&self) -> &SegmentId {
        &self.id
    }
    /// The lease whose slots hold the fragments.
    pub const fn lease(&self) -> &LeaseId {
        &self.lease
    }
    /// Erasure profile.
    pub const fn profile(&self) -> Profile {
        self.profile
    }
    /// Bytes of ciphertext.
    pub fn cipher_len(&self) -> u64 {
        u64::from(self.cipher_len)
    }
    /// Bytes of plaintext.
    pub fn plain_len(&self) -> u64 {
        u64::from(self.plain_len)
    }
    /// BLAKE3 of each fragment before padding, by slot.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }
    /// Where the ciphertext lies in the fragments.
    pub fn layout(&self) -> Layout {
        Layout::new(self.profile, self.cipher_len())
    }
    /// Bytes of each fragment.
    pub fn fragment_len(&self) -> u64 {
        self.layout().fragment_len()
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        cairn_types::encode(self)
    }

    /// Decodes foreign bytes.
    ///
    /// # Errors
    /// More than [`META_LIMIT`] bytes, left-over bytes, or fields that do not fit together.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        cairn_types::decode_bounded(bytes, META_LIMIT).map_err(|e| CodecError::BadMeta(e.to_string()))
    }
}

impl BorshSerialize for SegmentMeta {
    fn serialize<W: Write>(&self, w: &mut W) -> std::io::Result<()> {
        (self.id, self.lease, self.profile).serialize(w)?;
        (self.cipher_len, self.plain_len).serialize(w)?;
        self.hashes.serialize(w)
    }
}

impl BorshDeserialize for SegmentMeta {
    fn deserialize_reader<R: Read>(r: &mut R) -> std::io::Result<Self> {
        let invalid = |text: String| Error::new(ErrorKind::InvalidData, text);
        let (id, lease, profile) = <(SegmentId, LeaseId, Profile)>::deserialize_reader(r)?;
        let (cipher_len, plain_len, count) = <(u32, u32, u32)>::deserialize_reader(r)?;
        if count != u32::from(profile.n()) {
            return Err(invalid(format!("{count} fragment hashes for {} fragments", profile.n())));
        }
        let hashes = (0..count).map(|_| Hash::deserialize_reader(r)).collect::<Result<Vec<_>, _>>()?;
        let meta = Self::new(id, lease, profile, u64::from(plain_len), hashes)
            .map_err(|e| invalid(e.to_string()))?;
        if meta.cipher_len != cipher_len {
            return Err(invalid(format!("{cipher_len} bytes of ciphertext for {plain_len} of plaintext")));
        }
        Ok(meta)
    }
}
