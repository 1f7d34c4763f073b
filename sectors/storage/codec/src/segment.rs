//! Sealing, opening and repairing whole segments.

use borsh::{BorshDeserialize, BorshSerialize};

/// A segment: 32 random bytes, never reused (the stream key is derived from them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SegmentId(pub [u8; 32]);
