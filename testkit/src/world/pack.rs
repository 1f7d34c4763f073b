//! A world as bytes, so that recomputation from bytes can be compared with judging in place.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::{DeviceEntry, LeaseEntry, SaleEntry, Seed};
use cairn_types::{DecodeError, DeviceId, Epoch, NetworkId, decode, encode};

use super::{MapMemory, MapRegistry, World};

#[derive(BorshSerialize, BorshDeserialize)]
struct Pack {
    network: NetworkId,
    epoch: Epoch,
    epoch_seconds: u64,
    seed: Seed,
    params: Vec<u8>,
    devices: Vec<DeviceEntry>,
    leases: Vec<LeaseEntry>,
    sales: Vec<SaleEntry>,
    memory: Vec<(Vec<u8>, Vec<u8>)>,
    evidence: Vec<(DeviceId, Vec<u8>)>,
}

impl World {
    /// The world as bytes. Not a wire format: only this crate reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&Pack {
            network: self.network,
            epoch: self.epoch,
            epoch_seconds: self.epoch_seconds,
            seed: self.seed,
            params: self.params.clone(),
            devices: self.registry.devices.values().cloned().collect(),
            leases: self.registry.leases.values().cloned().collect(),
            sales: self.registry.sales.clone(),
            memory: self.memory.0.clone().into_iter().collect(),
            evidence: self.evidence.clone(),
        })
    }

    /// The world of [`World::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let pack: Pack = decode(bytes)?;
        Ok(Self {
            network: pack.network,
            epoch: pack.epoch,
            epoch_seconds: pack.epoch_seconds,
            seed: pack.seed,
            params: pack.params,
            registry: MapRegistry {
                devices: pack.devices.into_iter().map(|d| (d.id, d)).collect(),
                leases: pack.leases.into_iter().map(|l| (l.id, l)).collect(),
                sales: pack.sales,
            },
            memory: MapMemory(pack.memory.into_iter().collect()),
            evidence: pack.evidence,
        })
    }
}
