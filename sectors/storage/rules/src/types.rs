//! Everything that leaves the process, byte by byte in `docs/reference/storage-formats.md`.

mod audit;
mod evidence;
mod market;
mod memory;
mod params;

pub use audit::{Ask, Audited, Median, Retrieval, Seen};
pub use evidence::{
    Answer, AnswerBody, Challenge, Claim, CoSigned, Commitment, Confirmer, Defence, DisputeLeaf, Dropped,
    Evidence, Fragment, LeafProof, Receipt, Repaired, Revision, SignedReceipt, Signer,
};
pub use market::{Kind, Offer, Order};
pub(crate) use memory::read_slot_key;
pub use memory::{Cap, DeviceRecord, Memory, Standing, device_key, retrieval_key, slot_key, slots_prefix};
pub use params::Params;

/// KiB-seconds at rest: unit kind 0.
pub const AT_REST: usize = 0;
/// KiB served: unit kind 1.
pub const SERVED: usize = 1;
/// KiB rebuilt, paid from the bond of the one who lost them: unit kind 2.
pub const REBUILT: usize = 2;
/// KiB-seconds reserved and not used: unit kind 3.
pub const RESERVED: usize = 3;

/// Chunks (KiB) in a GiB.
pub const CHUNKS_PER_GIB: u64 = 1 << 20;
