//! What customers, devices and agents sign, and what a device answers.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::hash::blake3_derive;
use cairn_crypto::keys::Signature;
use cairn_crypto::merkle::chunk::{ChunkProof, chunk_count};
use cairn_crypto::merkle::sum::{SumProof, SumRoot};
use cairn_types::{DeviceId, Epoch, Hash, LeaseId, NetworkId, encode};

use super::Audited;

/// A fragment as a slot's tree names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Fragment {
    /// BLAKE3 of the padded fragment.
    pub root: Hash,
    /// Bytes; at most 2^40. The root does not hold the length, so the leaf does.
    pub len: u64,
}

impl Fragment {
    /// Leaf of the slot's tree.
    pub fn leaf(&self) -> Hash {
        blake3_derive("cairn/storage/fragment/v1", &[&self.root.0, &self.len.to_le_bytes()])
    }
    /// Weight of the leaf: chunks of 1 KiB, at least 1.
    pub fn chunks(&self) -> u64 {
        chunk_count(self.len)
    }
}

/// What a slot holds, agreed between customer and device. 166 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Revision {
    /// The network.
    pub network: NetworkId,
    /// The lease.
    pub lease: LeaseId,
    /// The slot.
    pub slot: u16,
    /// Generation of the slot.
    pub generation: u32,
    /// Who holds it.
    pub device: DeviceId,
    /// Fence of the customer's machine; a recovered machine has a higher one.
    pub fence: u64,
    /// Counts up with every revision of the slot.
    pub seq: u64,
    /// Sum tree over the fragments; empty (`total` 0) once everything is withdrawn.
    pub tree: SumRoot,
}

impl Revision {
    /// Digest: what the operator tree's leaf and confirmations name.
    pub fn digest(&self) -> Hash {
        blake3_derive("cairn/storage/revision/v1", &[&encode(self)])
    }
    /// Leaf of the operator tree; its weight is `tree.total`.
    pub fn leaf(&self) -> Hash {
        blake3_derive(
            "cairn/storage/operator-leaf/v1",
            &[&self.lease.0, &self.slot.to_le_bytes(), &self.generation.to_le_bytes(), &self.digest().0],
        )
    }
    /// What decides which of two revisions of a slot is later.
    pub fn order(&self) -> (u32, u64, u64) {
        (self.generation, self.fence, self.seq)
    }
}

/// Who stands for the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Signer {
    /// The lease's key.
    Customer,
    /// A repair agent of the lease, with its device key.
    Agent(DeviceId),
}

/// A revision with signatures. A decrease needs the customer alone, everything else the device as well.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CoSigned {
    /// The revision.
    pub revision: Revision,
    /// Who signed for the customer.
    pub signer: Signer,
    /// Their signature ([`crate::sign::REVISION`] or [`crate::sign::REPAIR`]).
    pub signature: Signature,
    /// The device's signature ([`crate::sign::ACCEPT`]).
    pub device: Option<Signature>,
}

/// KiB served in a slot so far, by this device in this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// The network.
    pub network: NetworkId,
    /// The lease.
    pub lease: LeaseId,
    /// The slot.
    pub slot: u16,
    /// Generation of the slot.
    pub generation: u32,
    /// Who served.
    pub device: DeviceId,
    /// KiB, cumulative.
    pub served_kib: u64,
}

/// A receipt with the customer's signature; the device signs the bundle in which it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SignedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// Signature of the lease's key ([`crate::sign::RECEIPT`]).
    pub customer: Signature,
}

/// What a device binds itself to before the seed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Commitment {
    /// Operator tree over the standing revisions, sorted by (lease, slot), empty ones left out.
    pub tree: SumRoot,
}

/// Body of a [`cairn_sector::Task`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Challenge {
    /// The chunk asked for, counted over the whole operator tree.
    pub position: u64,
}

/// One chunk and its way up to the commitment.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeafProof {
    /// The revision into which the position falls.
    pub revision: Revision,
    /// The revision in the operator tree.
    pub in_operator: SumProof,
    /// The fragment in the slot's tree.
    pub in_slot: SumProof,
    /// The fragment.
    pub fragment: Fragment,
    /// The chunk in the fragment.
    pub chunk: ChunkProof,
}

/// Answer to one challenge.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Answer {
    /// The epoch whose challenge it answers; answers to others are passed over, so that a late or restored bundle
    /// is never taken for a forgery.
    pub epoch: Epoch,
    /// Number of the task.
    pub index: u32,
    /// The chunk, or the admission that it is gone.
    pub body: AnswerBody,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AnswerBody {
    /// The chunk.
    Leaf(Box<LeafProof>),
    /// Declared loss: no pay, never a fault.
    Missing,
}

/// A repair: who rebuilt, and who looked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Repaired {
    /// What the new holder has.
    pub revision: Revision,
    /// The agent that rebuilt it.
    pub agent: DeviceId,
    /// Its signature over the revision ([`crate::sign::REPAIR`]).
    pub signature: Signature,
    /// Who read it back and compared it with the segment table.
    pub confirmer: Confirmer,
    /// Their signature over (revision digest, agent) ([`crate::sign::CONFIRM`]).
    pub confirmation: Signature,
}

/// Who confirms a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Confirmer {
    /// The customer, with the lease's key.
    Customer,
    /// The lease's other agent, with its device key.
    Agent(DeviceId),
}

/// A device takes a slot out of its tree: every revision up to the one named. Signed by the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Dropped {
    /// The lease.
    pub lease: LeaseId,
    /// The slot.
    pub slot: u16,
    /// Generation of the last revision dropped.
    pub generation: u32,
    /// Fence of the last revision dropped.
    pub fence: u64,
    /// Sequence number of the last revision dropped.
    pub seq: u64,
}

/// One item of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// A revision: enters the tree of the device that submits it about itself; from anybody else only a decrease
    /// counts, and only against what is charged.
    Revision(CoSigned),
    /// KiB served.
    Receipt(SignedReceipt),
    /// The device no longer holds this slot (it ended, moved on, or was lost).
    Dropped(Dropped),
    /// Answer to a challenge.
    Answer(Answer),
    /// A rebuilt slot, brought by anybody.
    Repaired(Box<Repaired>),
    /// What a drawn auditor saw.
    Audited(Audited),
}

/// "Serve this chunk of what you signed for."
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Claim {
    /// The revision, with the accused device's signature.
    pub revision: CoSigned,
    /// Chunk in the slot's tree.
    pub position: u64,
}

/// How the accused answers a claim.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Defence {
    /// The chunk, for everybody to read.
    Leaf(Box<DisputeLeaf>),
    /// The customer signed a later revision; claim against that one.
    Superseded(Box<CoSigned>),
}

/// A chunk and its way up to the slot's tree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DisputeLeaf {
    /// The fragment in the slot's tree.
    pub in_slot: SumProof,
    /// The fragment.
    pub fragment: Fragment,
    /// The chunk in the fragment.
    pub chunk: ChunkProof,
}
