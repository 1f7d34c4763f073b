//! A chain in memory.

use crate::error::GatewayError;
use crate::ports::ChainPort;
use crate::volume::lock;
use async_trait::async_trait;
use cairn_crypto::keys::{PublicKey, SecretKey};
use cairn_sector::{LeaseEntry, Slot};
use cairn_storage_rules::types::Order;
use cairn_types::{
    AccountId, Credits, DeviceId, Epoch, LeaseId, NetworkId, Rate, SectorId, UNIT_KINDS, Units, encode,
};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Leases, devices and an epoch, without consensus, money or rules.
pub struct MemoryChain {
    devices: Vec<DeviceId>,
    leases: Mutex<BTreeMap<LeaseId, LeaseEntry>>,
    order: Mutex<Vec<LeaseId>>,
    epoch: AtomicU64,
    rate: AtomicU64,
    charged: Mutex<BTreeMap<LeaseId, Credits>>,
    credits: Mutex<Credits>,
}

impl MemoryChain {
    /// With this many devices.
    pub fn new(devices: u16) -> Self {
        let devices = (0..devices).map(|i| DeviceId::derive("memory-device", &[&i.to_le_bytes()])).collect();
        Self {
            devices,
            leases: Mutex::default(),
            order: Mutex::default(),
            epoch: AtomicU64::new(1),
            rate: AtomicU64::new(1),
            charged: Mutex::default(),
            credits: Mutex::new(Credits(u64::MAX)),
        }
    }
    /// Key of a device.
    pub fn device_key(number: u16) -> SecretKey {
        SecretKey::from_seed(&DeviceId::derive("memory-device-key", &[&number.to_le_bytes()]).0)
    }
    /// Id of a device.
    pub fn device(&self, number: u16) -> DeviceId {
        self.devices.get(usize::from(number)).copied().unwrap_or_default()
    }
    /// Sets the epoch.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }
    /// The epoch.
    pub fn now(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }
    /// Sets what settlements charged a lease so far.
    pub fn charge(&self, id: &LeaseId, credits: u64) {
        lock(&self.charged).insert(*id, Credits(credits));
    }
    /// Sets the rate of slots ordered from now on, in pico-credits for a reserved unit.
    pub fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }
    /// Sets the account's free credits.
    pub fn set_credits(&self, credits: u64) {
        *lock(&self.credits) = Credits(credits);
    }
    /// Ends a lease, as an unpaid one ends.
    pub fn end(&self, id: &LeaseId) {
        let now = self.now();
        if let Some(entry) = lock(&self.leases).get_mut(id) {
            entry.closing = Some(now);
            entry.slots.iter_mut().for_each(|s| s.device = DeviceId::default());
        }
    }
    /// A lease.
    pub fn find(&self, id: &LeaseId) -> Option<LeaseEntry> {
        lock(&self.leases).get(id).cloned()
    }
    /// Gives a slot to another device, as repair does.
    pub fn reassign(&self, id: &LeaseId, slot: u16, device: DeviceId) {
        if let Some(entry) = lock(&self.leases).get_mut(id)
            && let Some(held) = entry.slots.get_mut(usize::from(slot))
        {
            held.lost_by = Some(held.device);
            held.device = device;
            held.generation += 1;
        }
    }
}

#[async_trait]
impl ChainPort for MemoryChain {
    fn network(&self) -> NetworkId {
        NetworkId([5; 32])
    }
    async fn epoch(&self) -> Result<Epoch, GatewayError> {
        Ok(self.now())
    }
    async fn domains(&self) -> Result<u16, GatewayError> {
        Ok(u16::try_from(self.devices.len()).unwrap_or(u16::MAX))
    }
    async fn open_lease(
        &self,
        order: &Order,
        escrow: Credits,
        key: PublicKey,
        _note: &[u8],
    ) -> Result<LeaseEntry, GatewayError> {
        let mut leases = lock(&self.leases);
        let number = u64::try_from(leases.len()).unwrap_or(u64::MAX);
        let id = LeaseId::derive("memory-lease", &[&number.to_le_bytes()]);
        let n = usize::from(order.n);
        if n > self.devices.len() {
            return Err(GatewayError::Chain(format!("{n} slots for {} devices", self.devices.len())));
        }
        let slot = |device: &DeviceId| Slot {
            device: *device,
            rates: [Rate(self.rate.load(Ordering::Relaxed)); UNIT_KINDS],
            since: self.now(),
            lost_by: None,
            generation: 0,
        };
        let entry = LeaseEntry {
            id,
            sector: SectorId(1),
            customer: AccountId([1; 32]),
            key,
            order: encode(order),
            slots: self.devices.iter().take(n).map(slot).collect(),
            reserve: Units([order.chunks_per_slot, 0, 0, 0]),
            helpers: Vec::new(),
            deposited: escrow,
            opened: self.now(),
            closing: None,
            fence: 0,
        };
        leases.insert(id, entry.clone());
        lock(&self.order).push(id);
        Ok(entry)
    }
    async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseEntry>, GatewayError> {
        Ok(self.find(id))
    }
    async fn fund(&self, id: &LeaseId, escrow: Credits) -> Result<(), GatewayError> {
        let mut leases = lock(&self.leases);
        let entry = leases.get_mut(id).ok_or_else(|| GatewayError::Chain("no such lease".into()))?;
        let mut free = lock(&self.credits);
        *free = free.checked_sub(escrow).ok_or_else(|| GatewayError::Chain("bank.insufficient".into()))?;
        entry.deposited = entry.deposited.saturating_add(escrow);
        Ok(())
    }
    async fn close(&self, id: &LeaseId) -> Result<(), GatewayError> {
        let left = {
            let leases = lock(&self.leases);
            let entry = leases.get(id).filter(|e| e.closing.is_none());
            let entry = entry.ok_or_else(|| GatewayError::Chain("lease.closing".into()))?;
            entry.deposited.saturating_sub(lock(&self.charged).get(id).copied().unwrap_or_default())
        };
        self.end(id);
        // On a real chain an epoch later.
        let mut free = lock(&self.credits);
        *free = free.saturating_add(left);
        Ok(())
    }
    async fn charged(&self, id: &LeaseId) -> Result<Credits, GatewayError> {
        Ok(lock(&self.charged).get(id).copied().unwrap_or_default())
    }
    async fn credits(&self) -> Result<Credits, GatewayError> {
        Ok(*lock(&self.credits))
    }
    async fn fence(&self, id: &LeaseId, key: PublicKey, fence: u64) -> Result<(), GatewayError> {
        let mut leases = lock(&self.leases);
        let entry = leases.get_mut(id).ok_or_else(|| GatewayError::Chain("no such lease".into()))?;
        if fence <= entry.fence {
            return Err(GatewayError::Chain(format!("fence {fence} is not above {}", entry.fence)));
        }
        (entry.key, entry.fence) = (key, fence);
        Ok(())
    }
    async fn leases(&self) -> Result<Vec<LeaseEntry>, GatewayError> {
        let leases = lock(&self.leases);
        Ok(lock(&self.order).iter().filter_map(|id| leases.get(id).cloned()).collect())
    }
    async fn endpoint(&self, device: &DeviceId) -> Result<PublicKey, GatewayError> {
        let number = self.devices.iter().position(|d| d == device);
        let number = number.and_then(|n| u16::try_from(n).ok());
        let number = number.ok_or_else(|| GatewayError::Chain("no such device".into()))?;
        Ok(Self::device_key(number).public())
    }
}
