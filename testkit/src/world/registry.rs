//! Registry and memory as ordered maps.

use cairn_sector::{DeviceEntry, LeaseEntry, MemoryChange, RawMemory, Registry, SaleEntry};
use cairn_types::{DeviceId, LeaseId};
use std::collections::BTreeMap;

/// The registry of one sector, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapRegistry {
    /// Devices by id.
    pub devices: BTreeMap<DeviceId, DeviceEntry>,
    /// Leases by id.
    pub leases: BTreeMap<LeaseId, LeaseEntry>,
    /// Sales that wait.
    pub sales: Vec<SaleEntry>,
}

impl MapRegistry {
    /// Adds or replaces a device.
    pub fn add_device(&mut self, entry: DeviceEntry) {
        self.devices.insert(entry.id, entry);
    }
    /// Adds or replaces a lease.
    pub fn add_lease(&mut self, entry: LeaseEntry) {
        self.leases.insert(entry.id, entry);
    }
    /// Ids of all devices, ascending.
    pub fn ids(&self) -> Vec<DeviceId> {
        self.devices.keys().copied().collect()
    }
}

impl Registry for MapRegistry {
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
        let slots_of = |lease: &LeaseEntry| -> Vec<u16> {
            (0u16..).zip(&lease.slots).filter(|(_, s)| s.device == *device).map(|(i, _)| i).collect()
        };
        self.leases.values().map(|l| (l.clone(), slots_of(l))).filter(|(_, s)| !s.is_empty()).collect()
    }
    fn sales(&self) -> Vec<SaleEntry> {
        self.sales.clone()
    }
}

/// A sector's memory, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapMemory(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl MapMemory {
    /// What the core does with the memory changes of a judgement.
    pub fn apply(&mut self, changes: &[MemoryChange<Vec<u8>>]) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
    }
}

impl RawMemory for MapMemory {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }
    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let prefix = prefix.to_vec();
        let start = self.0.range(prefix.clone()..);
        Box::new(start.take_while(move |(k, _)| k.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone())))
    }
}
