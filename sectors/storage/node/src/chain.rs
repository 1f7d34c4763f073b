//! What a node has to know of the chain.

use async_trait::async_trait;
use cairn_sector::{DeviceEntry, LeaseEntry};
use cairn_types::{DeviceId, Epoch, LeaseId, NetworkId};

/// The chain as a client sees it; answers should be at most some blocks old.
#[async_trait]
pub trait ChainView: Send + Sync {
    /// A lease; `None` if there is none, or it is over and gone.
    async fn lease(&self, id: &LeaseId) -> Option<LeaseEntry>;
    /// A device with its commitment for the current epoch.
    async fn device(&self, id: &DeviceId) -> Option<DeviceEntry>;
    /// The current epoch.
    fn epoch(&self) -> Epoch;
    /// The network.
    fn network(&self) -> NetworkId;
}
