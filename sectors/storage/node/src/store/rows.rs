//! What the index keeps, and under which keys.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{LogEntry, LogState};
use cairn_storage_rules::types::{CoSigned, Dropped, Fragment, Revision, SignedReceipt};
use cairn_types::{Epoch, Hash, LeaseId, encode};

/// One slot in one generation: the unit in which everything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SlotKey {
    /// The lease.
    pub lease: LeaseId,
    /// The slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u32,
}

impl SlotKey {
    /// Key bytes: lease, slot and generation big endian; sorted as (lease, slot, generation).
    pub fn bytes(&self) -> Vec<u8> {
        let mut key = self.lease.0.to_vec();
        key.extend_from_slice(&self.slot.to_be_bytes());
        key.extend_from_slice(&self.generation.to_be_bytes());
        key
    }
    /// The key that [`Self::bytes`] made.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let lease = LeaseId(bytes.get(..32)?.try_into().ok()?);
        let slot = u16::from_be_bytes(bytes.get(32..34)?.try_into().ok()?);
        let generation = u32::from_be_bytes(bytes.get(34..38)?.try_into().ok()?);
        Some(Self { lease, slot, generation })
    }
    /// The segment behind the key that [`Self::with_segment`] made.
    pub fn read_segment(bytes: &[u8]) -> Option<SegmentId> {
        Some(SegmentId(bytes.get(38..)?.try_into().ok()?))
    }
    /// The slot of a revision.
    pub fn of(r: &Revision) -> Self {
        Self { lease: r.lease, slot: r.slot, generation: r.generation }
    }
    /// This key with a number behind it.
    pub fn with(&self, number: u64) -> Vec<u8> {
        let mut key = self.bytes();
        key.extend_from_slice(&number.to_be_bytes());
        key
    }
    /// This key with a segment behind it.
    pub fn with_segment(&self, segment: &SegmentId) -> Vec<u8> {
        let mut key = self.bytes();
        key.extend_from_slice(&segment.0);
        key
    }
    /// This key with a revision behind it.
    pub fn with_revision(&self, r: &Revision) -> Vec<u8> {
        let mut key = self.bytes();
        key.extend_from_slice(&encode(&r.digest()));
        key
    }
}

/// The row of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotRow {
    /// Highest fence seen.
    pub fence: u64,
    /// The standing revision, signed by both.
    pub standing: Option<CoSigned>,
    /// The latest receipt.
    pub receipt: Option<SignedReceipt>,
    /// Bytes served and not receipted.
    pub debt: u64,
    /// State of the log.
    pub log: LogState,
    /// Hash of the entry before the first one kept, with which a copy of the log goes on; zero if it was never told.
    pub before: Hash,
}

/// One entry of a log as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogRow {
    /// Chain hash of the entry.
    pub hash: Hash,
    /// Fence under which it was written.
    pub fence: u64,
    /// The entry.
    pub entry: LogEntry,
}

/// A removed fragment that an open epoch may still ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Garbage {
    /// What it was.
    pub fragment: Fragment,
    /// Last epoch whose commitment holds it.
    pub until: Option<Epoch>,
}

/// What a device bound itself to in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frozen {
    /// Standing revisions at that moment.
    pub revisions: Vec<CoSigned>,
    /// Slots that earlier bundles named and that are no longer in the tree.
    pub drops: Vec<Dropped>,
}

/// How far settlements know a slot of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Submitted {
    /// Order of the last revision that went into a bundle.
    pub order: (u32, u64, u64),
    /// Order of the last revision that a settlement took over.
    pub accepted: Option<(u32, u64, u64)>,
}
