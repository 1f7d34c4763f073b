//! The replicated index log: entries, their chain, and the part that repair agents can read.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::hash::blake3_derive;
use cairn_types::{DecodeError, Hash, LeaseId, decode_bounded, encode};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::CodecError;
use crate::keys::LeaseRepairKey;
use crate::segment::{SegmentId, SegmentMeta};

/// Most bytes of the entries in one append: 4 MiB.
pub const MAX_LOG_BATCH: usize = 4 << 20;
/// Most repair parts of an entry: data leases that one entry may touch.
pub const MAX_PARTS: usize = 64;
const NONCE: usize = 24;
const AAD: &[u8] = b"cairn/storage/repair-part/v1";

/// One entry of the log. The node reads none of it but `checkpoint`.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogEntry {
    /// `Some(c)`: the entries from `c` to this one restate everything before `c`, which may be forgotten.
    pub checkpoint: Option<u64>,
    /// [`RepairPart`]s, each sealed with its lease's repair key ([`seal_part`]); at most [`MAX_PARTS`].
    pub repair: Vec<Vec<u8>>,
    /// The customer's own part, sealed with its index key.
    pub private: Vec<u8>,
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogState {
    /// First entry kept.
    pub first: u64,
    /// Number that the next entry gets.
    pub next: u64,
    /// [`entry_hash`] of the last entry; zero for a log that never had one.
    pub head: Hash,
    /// Bytes kept.
    pub bytes: u64,
    /// Latest checkpoint: entries before it may be forgotten; 0 without one.
    pub checkpoint: u64,
}

/// Consecutive entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogPage {
    /// Number of the first entry.
    pub seq: u64,
    /// Hash of the entry before it.
    pub prev: Hash,
    /// The entries; empty at the end of the log.
    pub entries: Vec<LogEntry>,
    /// Where the log stood.
    pub state: LogState,
}

/// Hash of entry `seq`: it chains over all entries before.
pub fn entry_hash(prev: &Hash, seq: u64, entry: &LogEntry) -> Hash {
    blake3_derive("cairn/storage/log-entry/v1", &[&prev.0, &seq.to_le_bytes(), &encode(entry)])
}

pub(super) fn check_batch(entries: &[LogEntry]) -> Result<(), DecodeError> {
    let mut bytes = 0usize;
    for e in entries {
        super::limit(e.repair.len(), MAX_PARTS)?;
        let parts: usize = e.repair.iter().map(|p| p.len().saturating_add(4)).sum();
        bytes = bytes.saturating_add(parts).saturating_add(e.private.len()).saturating_add(32);
    }
    super::limit(bytes, MAX_LOG_BATCH)
}

/// How the segment table of a data lease changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RepairPart {
    /// The data lease.
    pub lease: LeaseId,
    /// The table starts anew with this part (first part of a checkpoint); otherwise it goes on.
    pub reset: bool,
    /// Segments that joined.
    pub added: Vec<SegmentMeta>,
    /// Segments that left.
    pub removed: Vec<SegmentId>,
}

fn cipher(key: &LeaseRepairKey) -> XChaCha20Poly1305 {
    let derived = blake3_derive("cairn/storage/repair-part-key/v1", &[key.expose()]);
    XChaCha20Poly1305::new(&Key::from(derived.0))
}

/// Seals a part for entry `seq`: 24 bytes of nonce, XChaCha20-Poly1305. The nonce is derived from key, `seq` and
/// content, so that nothing has to be drawn and equal nonces mean equal content.
///
/// # Errors
/// The cipher refuses (never for parts below [`MAX_LOG_BATCH`]).
pub fn seal_part(key: &LeaseRepairKey, seq: u64, part: &RepairPart) -> Result<Vec<u8>, CodecError> {
    let plain = encode(part);
    let digest =
        blake3_derive("cairn/storage/repair-part-nonce/v1", &[key.expose(), &seq.to_le_bytes(), &plain]);
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&digest.0[..NONCE]);
    let sealed = cipher(key)
        .encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: AAD })
        .map_err(|_| CodecError::Cipher)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens a part; `None` if it is sealed under another key, altered, or malformed.
pub fn open_part(key: &LeaseRepairKey, sealed: &[u8]) -> Option<RepairPart> {
    let (nonce, text) = sealed.split_at_checked(NONCE)?;
    let nonce: [u8; NONCE] = nonce.try_into().ok()?;
    let plain = cipher(key).decrypt(&XNonce::from(nonce), Payload { msg: text, aad: AAD }).ok()?;
    decode_bounded(&plain, MAX_LOG_BATCH).ok()
}
