//! Content identifiers: CIDv0 and CIDv1 over sha2-256, blake3 and the identity "hash".

use super::{CarError, put_varint, varint};
use sha2::{Digest, Sha256};

/// Longest content that an identity CID may carry.
const IDENTITY_MAX: usize = 128;
/// Longest text of a CID.
const TEXT_MAX: usize = 256;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Bytes.
    Raw,
    /// A dag-pb node.
    DagPb,
}

impl Codec {
    const fn code(self) -> u64 {
        match self {
            Self::Raw => 0x55,
            Self::DagPb => 0x70,
        }
    }
}

/// How a block is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashKind {
    /// SHA2-256, which every tool reads.
    Sha256,
    /// BLAKE3 with 32 bytes.
    Blake3,
}

impl HashKind {
    /// Multicodec of the function.
    pub const fn code(self) -> u8 {
        match self {
            Self::Sha256 => 0x12,
            Self::Blake3 => 0x1e,
        }
    }
    /// The function of a multicodec.
    ///
    /// # Errors
    /// It is another.
    pub const fn of(code: u64) -> Result<Self, CarError> {
        match code {
            0x12 => Ok(Self::Sha256),
            0x1e => Ok(Self::Blake3),
            other => Err(CarError::Hash(other)),
        }
    }
    /// The digest of some bytes.
    pub fn digest(self, bytes: &[u8]) -> [u8; 32] {
        match self {
            Self::Sha256 => Sha256::digest(bytes).into(),
            Self::Blake3 => blake3::hash(bytes).into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Multihash {
    Digest(HashKind, [u8; 32]),
    Identity(Vec<u8>),
}

/// The name of a block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid {
    v0: bool,
    codec: Codec,
    hash: Multihash,
}

impl Cid {
    /// CIDv1 of a digest.
    pub const fn new(codec: Codec, kind: HashKind, digest: [u8; 32]) -> Self {
        Self { v0: false, codec, hash: Multihash::Digest(kind, digest) }
    }
    /// CIDv1 of a block.
    pub fn of(codec: Codec, kind: HashKind, block: &[u8]) -> Self {
        Self::new(codec, kind, kind.digest(block))
    }
    /// What the block holds.
    pub const fn codec(&self) -> Codec {
        self.codec
    }
    /// The digest, unless the CID carries its block.
    pub const fn digest(&self) -> Option<&[u8; 32]> {
        match &self.hash {
            Multihash::Digest(_, digest) => Some(digest),
            Multihash::Identity(_) => None,
        }
    }
    /// The block, if the CID carries it.
    pub fn inline(&self) -> Option<&[u8]> {
        match &self.hash {
            Multihash::Digest(..) => None,
            Multihash::Identity(block) => Some(block),
        }
    }
    /// Are these the block's bytes?
    pub fn fits(&self, block: &[u8]) -> bool {
        match &self.hash {
            Multihash::Digest(kind, digest) => kind.digest(block) == *digest,
            Multihash::Identity(own) => own == block,
        }
    }
    /// The same in version 1: names of one block under both versions are equal then.
    pub fn canonical(mut self) -> Self {
        self.v0 = false;
        self
    }

    /// Binary form.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(36);
        if !self.v0 {
            put_varint(1, &mut out);
            put_varint(self.codec.code(), &mut out);
        }
        match &self.hash {
            Multihash::Digest(kind, digest) => {
                out.extend([kind.code(), 32]);
                out.extend(digest);
            }
            Multihash::Identity(block) => {
                put_varint(0, &mut out);
                put_varint(super::len64(block.len()), &mut out);
                out.extend(block);
            }
        }
        out
    }

    /// Reads the binary form from the front of `bytes`.
    ///
    /// # Errors
    /// Malformed, or of a codec or hash function that we do not know.
    pub fn read(bytes: &mut &[u8]) -> Result<Self, CarError> {
        let v0 = bytes.starts_with(&[0x12, 0x20]);
        let mut codec = Codec::DagPb;
        if !v0 {
            if varint(bytes)? != 1 {
                return Err(CarError::Cid("a CID is of version 0 or 1"));
            }
            codec = match varint(bytes)? {
                0x55 => Codec::Raw,
                0x70 => Codec::DagPb,
                other => return Err(CarError::Codec(other)),
            };
        }
        let (kind, len) = (varint(bytes)?, varint(bytes)?);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let ends = CarError::Cid("a CID ends early");
        let (digest, rest) = bytes.split_at_checked(len).ok_or(ends)?;
        let hash = match kind {
            0 if len <= IDENTITY_MAX => Multihash::Identity(digest.to_vec()),
            0 => return Err(CarError::Limit("an identity CID carries at most 128 bytes")),
            kind => {
                let wrong = |_| CarError::Cid("a digest of a CID has 32 bytes");
                Multihash::Digest(HashKind::of(kind)?, digest.try_into().map_err(wrong)?)
            }
        };
        *bytes = rest;
        Ok(Self { v0, codec, hash })
    }

    /// Reads a binary form that must be all of `bytes`.
    ///
    /// # Errors
    /// As [`Self::read`], or something is left over.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, CarError> {
        let cid = Self::read(&mut bytes)?;
        if bytes.is_empty() { Ok(cid) } else { Err(CarError::Cid("something follows the CID")) }
    }
}

impl std::str::FromStr for Cid {
    type Err = CarError;

    /// Version 0 in base58; version 1 in base32, base58 or base16, as the multibase prefix says.
    fn from_str(text: &str) -> Result<Self, CarError> {
        if text.len() > TEXT_MAX || !text.is_ascii() {
            return Err(CarError::Cid("this is no CID"));
        }
        if text.len() == 46 && text.starts_with("Qm") {
            return Self::decode(&base58(text)?);
        }
        let (prefix, rest) = text.split_at_checked(1).ok_or(CarError::Cid("a CID is not empty"))?;
        let bytes = match prefix {
            "b" => base32(rest)?,
            "B" => base32(&rest.to_ascii_lowercase())?,
            "z" => base58(rest)?,
            "f" => hex::decode(rest).map_err(|_| CarError::Cid("this is no base16"))?,
            _ => return Err(CarError::Cid("the multibase prefix is none of b, z and f")),
        };
        let cid = Self::decode(&bytes)?;
        if cid.v0 { Err(CarError::Cid("a CID of version 0 has no multibase prefix")) } else { Ok(cid) }
    }
}

impl std::fmt::Display for Cid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.bytes();
        if self.v0 {
            return f.write_str(&to_base58(&bytes));
        }
        f.write_str("b")?;
        f.write_str(&to_base32(&bytes))
    }
}

/// RFC 4648 base32, lower case, without padding.
fn to_base32(bytes: &[u8]) -> String {
    let (mut out, mut held, mut bits) = (String::new(), 0u32, 0u32);
    let letter = |n: u32| char::from(BASE32[usize::try_from(n & 31).unwrap_or(0)]);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(letter(held >> bits));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(letter(held << (5 - bits)));
    }
    out
}

fn base32(text: &str) -> Result<Vec<u8>, CarError> {
    let bad = CarError::Cid("this is no base32");
    let (mut out, mut held, mut bits) = (Vec::new(), 0u32, 0u32);
    for letter in text.bytes() {
        let value = BASE32.iter().position(|b| *b == letter).ok_or_else(|| bad.clone())?;
        held = (held << 5) | u32::try_from(value).unwrap_or(0);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from((held >> bits) & 0xff).unwrap_or(0));
        }
        held &= (1 << bits) - 1;
    }
    if held == 0 && bits < 5 { Ok(out) } else { Err(bad) }
}

fn to_base58(bytes: &[u8]) -> String {
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            (*digit, carry) = (carry % 58, carry / 58);
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let letter = |d: &u32| char::from(BASE58[usize::try_from(*d).unwrap_or(0)]);
    std::iter::repeat_n('1', zeros).chain(digits.iter().rev().map(letter)).collect()
}

/// Quadratic in the length, which [`TEXT_MAX`] bounds.
fn base58(text: &str) -> Result<Vec<u8>, CarError> {
    let mut bytes: Vec<u32> = Vec::new();
    for letter in text.bytes() {
        let value = BASE58.iter().position(|b| *b == letter).ok_or(CarError::Cid("this is no base58"))?;
        let mut carry = u32::try_from(value).unwrap_or(0);
        for byte in &mut bytes {
            carry += *byte * 58;
            (*byte, carry) = (carry & 0xff, carry >> 8);
        }
        while carry > 0 {
            bytes.push(carry & 0xff);
            carry >>= 8;
        }
    }
    let zeros = text.bytes().take_while(|b| *b == b'1').count();
    let byte = |b: &u32| u8::try_from(*b).unwrap_or(0);
    Ok(std::iter::repeat_n(0, zeros).chain(bytes.iter().rev().map(byte)).collect())
}
