//! What is offered and what is wanted.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Hash, Rate};

/// Capacity at a price.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Capacity in chunks of 1 KiB.
    pub capacity_chunks: u64,
    /// Asked rate of one KiB-second at rest.
    pub at_rest: Rate,
    /// Asked rate of one KiB served.
    pub egress: Rate,
    /// Most KiB served in a second; an epoch pays at most this many times its seconds, the rest carries over.
    pub uplink_kib: u32,
    /// Class of hardware.
    pub class: u16,
    /// Region code, not 0.
    pub region: u16,
    /// Failure domains, coarse to fine (site, autonomous system, /24); at most 8, all different. Claims until
    /// drawn relays attest them.
    pub domains: Vec<Hash>,
}

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Kind {
    /// Fragments of segments.
    Data,
    /// Replicas of the customer's encrypted index log.
    Index,
}

/// A lease that a customer wants.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Order {
    /// Use.
    pub kind: Kind,
    /// Fragments that rebuild a segment; `1..=n`.
    pub k: u8,
    /// Slots, one fragment of each segment on each; `1..=64`.
    pub n: u8,
    /// Capacity reserved on each slot, in chunks.
    pub chunks_per_slot: u64,
    /// Most slots in one failure domain; 0 = no limit (a devnet).
    pub max_per_domain: u16,
    /// Class of hardware.
    pub class: u16,
    /// Region; 0 = anywhere.
    pub region: u16,
    /// Highest at-rest rate accepted.
    pub max_rate: Rate,
    /// Epochs until the lease ends by itself; 0 = open end.
    pub epochs: u64,
}
