//! What a node has to know of the chain.

use async_trait::async_trait;
use cairn_sector::{DeviceEntry, LeaseEntry};
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId};

/// The chain as a client sees it; answers should be at most some blocks old.
#[async_trait]
pub trait ChainView: Send + Sync {
    /// A lease; `None` if there is none, or it is over and gone.
    async fn lease(&self, id: &LeaseId) -> Option<LeaseEntry>;
    /// The lease as the chain has it at this moment, whatever was remembered. Asked for when a request does not fit
    /// what [`ChainView::lease`] says: a new key, fence or holder may be some blocks old. What comes back must be
    /// remembered: once a device has seen a new key, it must not accept the old one again.
    async fn lease_now(&self, id: &LeaseId) -> Option<LeaseEntry> {
        self.lease(id).await
    }
    /// A device with its commitment for the current epoch.
    async fn device(&self, id: &DeviceId) -> Option<DeviceEntry>;
    /// Who was drawn to audit this device in an epoch; `None` where that cannot be known at the moment.
    async fn auditors(&self, _epoch: Epoch) -> Option<Vec<DeviceId>> {
        None
    }
    /// The current epoch.
    fn epoch(&self) -> Epoch;
    /// The network.
    fn network(&self) -> NetworkId;
}
