//! The registry at the lock and memory, held in memory.

use cairn_sector::{DeviceEntry, LeaseEntry, MemoryChange, RawMemory, Registry, SaleEntry};
use cairn_types::{DeviceId, LeaseId};
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::inputs::{Inputs, Posting};

/// A registry in memory, with what devices posted filled in.
#[derive(Clone, Debug, Default)]
pub struct PackRegistry {
    devices: BTreeMap<DeviceId, DeviceEntry>,
    leases: BTreeMap<LeaseId, LeaseEntry>,
    by_device: BTreeMap<DeviceId, Vec<LeaseId>>,
    sales: Vec<SaleEntry>,
}

impl PackRegistry {
    /// The registry as rules see it: entries at the lock, commitments and answer digests from the postings.
    pub fn new(
        devices: &[DeviceEntry],
        leases: &[LeaseEntry],
        sales: &[SaleEntry],
        postings: &[Posting],
    ) -> Self {
        let mut out = Self { sales: sales.to_vec(), ..Self::default() };
        out.sales.sort_by_key(|s| s.id);
        out.devices = devices.iter().map(|d| (d.id, d.clone())).collect();
        out.leases = leases.iter().map(|l| (l.id, l.clone())).collect();
        for lease in out.leases.values() {
            for slot in &lease.slots {
                let held = out.by_device.entry(slot.device).or_default();
                if held.last() != Some(&lease.id) {
                    held.push(lease.id);
                }
            }
        }
        for p in postings {
            if let Some(device) = out.devices.get_mut(&p.device) {
                device.commitment.clone_from(&p.commitment);
                device.answers = p.answers;
            }
        }
        out
    }

    /// The registry of a pack's inputs.
    pub fn of(inputs: &Inputs) -> Self {
        Self::new(&inputs.devices, &inputs.leases, &inputs.sales, &inputs.postings)
    }
}

impl Registry for PackRegistry {
    fn device(&self, id: &DeviceId) -> Option<DeviceEntry> {
        self.devices.get(id).cloned()
    }
    fn devices(&self) -> Box<dyn Iterator<Item = DeviceEntry> + '_> {
        Box::new(self.devices.values().cloned())
    }
    fn lease(&self, id: &LeaseId) -> Option<LeaseEntry> {
        self.leases.get(id).cloned()
    }
    fn leases(&self) -> Box<dyn Iterator<Item = LeaseEntry> + '_> {
        Box::new(self.leases.values().cloned())
    }
    fn leases_of(&self, device: &DeviceId) -> Vec<(LeaseEntry, Vec<u16>)> {
        let ids = self.by_device.get(device).map(Vec::as_slice).unwrap_or_default();
        ids.iter()
            .filter_map(|id| self.leases.get(id))
            .map(|lease| {
                let slots =
                    (0u16..).zip(&lease.slots).filter(|(_, s)| s.device == *device).map(|(i, _)| i).collect();
                (lease.clone(), slots)
            })
            .collect()
    }
    fn sales(&self) -> Vec<SaleEntry> {
        self.sales.clone()
    }
}

/// Memory as an ordered map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryMap {
    /// Takes pairs over; of a key named twice the last value counts.
    pub fn new(pairs: &[(Vec<u8>, Vec<u8>)]) -> Self {
        Self(pairs.iter().cloned().collect())
    }

    /// Applies a judgement's changes.
    pub fn apply(&mut self, changes: &[MemoryChange<Vec<u8>>]) {
        for (key, value) in changes {
            match value {
                Some(v) => self.0.insert(key.clone(), v.clone()),
                None => self.0.remove(key),
            };
        }
    }

    /// Pairs, ascending by key.
    pub fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

impl RawMemory for MemoryMap {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }
    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let prefix = prefix.to_vec();
        let range = self.0.range::<[u8], _>((Bound::Included(prefix.as_slice()), Bound::Unbounded));
        // The range borrows the prefix only to find its start.
        let found: Box<dyn Iterator<Item = (&Vec<u8>, &Vec<u8>)>> = Box::new(range);
        Box::new(found.take_while(move |(k, _)| k.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone())))
    }
}
