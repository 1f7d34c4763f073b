//! Everything that judging looks at, in memory, with real keys.

mod evidence;
mod pack;
mod registry;

pub use evidence::{Chunks, GeneratedEvidence, SortedEvidence};
pub use registry::{MapMemory, MapRegistry};

use cairn_crypto::SecretKey;
use cairn_sector::{
    Admission, AnyRules, DeviceEntry, DeviceState, LeaseEntry, RawContext, RawItem, RawJudgement, Seed, Slot,
};
use cairn_types::{
    AccountId, Credits, DeviceId, Epoch, Hash, LeaseId, NetworkId, Refusal, SectorId, UNIT_KINDS, Units,
};

/// One epoch of one sector: what the lock froze, the seed, and what was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The network.
    pub network: NetworkId,
    /// The epoch.
    pub epoch: Epoch,
    /// Nominal seconds of an epoch.
    pub epoch_seconds: u64,
    /// Seed of the epoch.
    pub seed: Seed,
    /// Governed numbers, encoded.
    pub params: Vec<u8>,
    /// Registry at the lock.
    pub registry: MapRegistry,
    /// Memory after the epoch before.
    pub memory: MapMemory,
    /// Submitted items with their submitter, in the order of submission.
    pub evidence: Vec<(DeviceId, Vec<u8>)>,
}

impl World {
    /// An empty world; network and seed follow from `seed` and the epoch.
    pub fn new(seed: u64, epoch: Epoch, params: Vec<u8>) -> Self {
        Self {
            network: NetworkId::derive("cairn/testkit/network", &[&seed.to_le_bytes()]),
            epoch,
            epoch_seconds: 3_600,
            seed: epoch_seed(seed, epoch),
            params,
            registry: MapRegistry::default(),
            memory: MapMemory::default(),
            evidence: Vec::new(),
        }
    }

    /// The context of judging.
    pub fn context(&self) -> RawContext<'_> {
        RawContext {
            network: self.network,
            epoch: self.epoch,
            epoch_seconds: self.epoch_seconds,
            seed: self.seed,
            params: &self.params,
            registry: &self.registry,
            memory: &self.memory,
        }
    }

    /// Takes bundles in as the core does: items that the sector refuses are left out, the rest is sorted.
    pub fn intake(&self, rules: &dyn AnyRules) -> SortedEvidence {
        let item = |(from, bytes): &(DeviceId, Vec<u8>)| {
            let key = rules.sort_key(from, bytes).ok()?;
            Some(RawItem { key, from: *from, evidence: bytes.clone() })
        };
        SortedEvidence::new(self.evidence.iter().filter_map(item).collect())
    }

    /// Judges the epoch.
    pub fn judge(&self, rules: &dyn AnyRules) -> Result<RawJudgement, Refusal> {
        rules.judge(&self.context(), &self.intake(rules))
    }

    /// The items of one submitter.
    pub fn items_of(&self, device: &DeviceId) -> Vec<Vec<u8>> {
        self.evidence.iter().filter(|(d, _)| d == device).map(|(_, i)| i.clone()).collect()
    }
}

/// The seed of an epoch in a test network.
pub fn epoch_seed(seed: u64, epoch: Epoch) -> Seed {
    Seed(Hash::derive("cairn/testkit/seed", &[&seed.to_le_bytes(), &epoch.0.to_le_bytes()]).0)
}

/// The `n`-th device of a test network.
pub fn device_id(seed: u64, n: u64) -> DeviceId {
    DeviceId::derive("cairn/testkit/device", &[&seed.to_le_bytes(), &n.to_le_bytes()])
}

/// The `n`-th account of a test network.
pub fn account_id(seed: u64, n: u64) -> AccountId {
    AccountId::derive("cairn/testkit/account", &[&seed.to_le_bytes(), &n.to_le_bytes()])
}

/// The hot key of a test device: a function of its id, so that honest workers and cheats need no key store.
pub fn device_key(device: &DeviceId) -> SecretKey {
    SecretKey::from_seed(&Hash::derive("cairn/testkit/device-key", &[device.as_ref()]).0)
}

/// The customer's key of a test lease.
pub fn lease_key(lease: &LeaseId) -> SecretKey {
    SecretKey::from_seed(&Hash::derive("cairn/testkit/lease-key", &[lease.as_ref()]).0)
}

/// A device as admission would enter it, active since epoch 0, without commitment.
pub fn device(
    sector: SectorId,
    id: DeviceId,
    operator: AccountId,
    offer: Vec<u8>,
    a: &Admission,
) -> DeviceEntry {
    DeviceEntry {
        id,
        operator,
        sector,
        key: device_key(&id).public(),
        offer,
        commitment: None,
        answers: None,
        capacity: a.capacity,
        domains: a.domains.clone(),
        cell: a.cell,
        state: DeviceState::Active,
        since: Epoch(0),
    }
}

/// A lease open since epoch 0 with a slot on each device, at a rate of zero.
pub fn lease(
    sector: SectorId,
    id: LeaseId,
    customer: AccountId,
    order: Vec<u8>,
    on: &[DeviceId],
) -> LeaseEntry {
    let slot = |device: &DeviceId| Slot {
        device: *device,
        rates: [cairn_types::Rate::default(); UNIT_KINDS],
        since: Epoch(0),
        lost_by: None,
        generation: 0,
    };
    LeaseEntry {
        id,
        sector,
        customer,
        key: lease_key(&id).public(),
        order,
        slots: on.iter().map(slot).collect(),
        reserve: Units::ZERO,
        helpers: Vec::new(),
        deposited: Credits(0),
        opened: Epoch(0),
        closing: None,
        fence: 0,
    }
}
