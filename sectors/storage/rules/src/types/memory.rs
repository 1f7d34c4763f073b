//! What the sector remembers between epochs.
//!
//! Keys: `[1][device]` for a device's record, `[2][device][lease][slot, big endian]` for what stands in a slot,
//! `[3][device]` for how it served its auditors.
//! A scan over `[2][device]` meets the slots in the order of the operator tree.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::merkle::sum::SumRoot;
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId};

use super::{Retrieval, Revision, Signer};

/// One value of the memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Memory {
    /// Under `[1][device]`.
    Device(DeviceRecord),
    /// Under `[2][device][lease][slot]`.
    Slot(Standing),
    /// Under `[3][device]`.
    Retrieval(Retrieval),
}

/// How a device has proven itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct DeviceRecord {
    /// Epochs in a row without valid answers.
    pub silent: u32,
    /// It missed challenges when it last answered; it is asked [`super::Params::suspect_factor`] times as much.
    pub suspect: bool,
    /// Challenges missed when it last answered.
    pub misses: u32,
}

/// The revision that stands in a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Standing {
    /// Generation of the slot.
    pub generation: u32,
    /// Fence of the customer's machine.
    pub fence: u64,
    /// Sequence number.
    pub seq: u64,
    /// Sum tree over the slot's fragments.
    pub tree: SumRoot,
    /// Who signed besides the device.
    pub signer: Signer,
    /// Chunks that the customer pays for; at most `tree.total`.
    pub charged: u64,
    /// A later decrease that somebody else brought: limits what is charged until the device takes it over.
    pub cap: Option<Cap>,
    /// KiB served that were paid so far, in this generation.
    pub served: u64,
    /// First epoch in which this generation stood.
    pub first: Epoch,
    /// The device declared it gone: no part of its tree any more. Kept as the measure for the repair.
    pub dropped: bool,
    /// The repair of this generation was paid.
    pub rebuilt: bool,
}

/// A decrease signed by the customer and not yet taken over by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Cap {
    /// Fence of the decrease.
    pub fence: u64,
    /// Sequence number of the decrease.
    pub seq: u64,
    /// Chunks that it leaves.
    pub chunks: u64,
}

impl Standing {
    /// What decides which of two revisions is later: generation, fence, sequence number.
    pub fn order(&self) -> (u32, u64, u64) {
        (self.generation, self.fence, self.seq)
    }

    /// The revision again, of which only the variable part is stored.
    pub fn revision(&self, network: NetworkId, device: DeviceId, lease: LeaseId, slot: u16) -> Revision {
        Revision {
            network,
            lease,
            slot,
            generation: self.generation,
            device,
            fence: self.fence,
            seq: self.seq,
            tree: self.tree,
        }
    }

    /// Chunks that are charged now: never more than the latest decrease leaves.
    pub fn billable(&self) -> u64 {
        let later = self.cap.filter(|c| (c.fence, c.seq) > (self.fence, self.seq));
        later.map_or(self.charged, |c| self.charged.min(c.chunks))
    }
}

/// Key of a device's record.
pub fn device_key(device: &DeviceId) -> Vec<u8> {
    let mut key = vec![1];
    key.extend_from_slice(device.as_bytes());
    key
}

/// Key of a device's retrieval record.
pub fn retrieval_key(device: &DeviceId) -> Vec<u8> {
    let mut key = vec![3];
    key.extend_from_slice(device.as_bytes());
    key
}

/// Prefix of all slots of a device.
pub fn slots_prefix(device: &DeviceId) -> Vec<u8> {
    let mut key = vec![2];
    key.extend_from_slice(device.as_bytes());
    key
}

/// Key of a slot.
pub fn slot_key(device: &DeviceId, lease: &LeaseId, slot: u16) -> Vec<u8> {
    let mut key = slots_prefix(device);
    key.extend_from_slice(lease.as_bytes());
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

/// Lease and slot of a key made by [`slot_key`].
pub(crate) fn read_slot_key(key: &[u8]) -> Option<(LeaseId, u16)> {
    let lease = LeaseId(key.get(33..65)?.try_into().ok()?);
    let slot = u16::from_be_bytes(key.get(65..)?.try_into().ok()?);
    Some((lease, slot))
}
