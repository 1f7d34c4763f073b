//! What the gateway needs of the chain. Implemented over the client elsewhere, and in [`crate::memory`] for tests.

use crate::error::GatewayError;
use async_trait::async_trait;
use cairn_crypto::keys::{PublicKey, SecretKey};
use cairn_sector::LeaseEntry;
use cairn_storage_rules::types::Order;
use cairn_types::{Credits, DeviceId, Epoch, LeaseId, NetworkId};
use std::sync::Arc;

/// The customer's view of the chain. Every call returns when the effect is final.
#[async_trait]
pub trait ChainPort: Send + Sync + 'static {
    /// The network; enters every signature.
    fn network(&self) -> NetworkId;
    /// The present epoch.
    async fn epoch(&self) -> Result<Epoch, GatewayError>;
    /// Failure domains among the operators that take orders now.
    async fn domains(&self) -> Result<u16, GatewayError>;
    /// Orders, with `escrow` and the key that will co-sign; the lease with its slots. `note` is kept off chain for
    /// the lease's helpers.
    async fn open_lease(
        &self,
        order: &Order,
        escrow: Credits,
        key: PublicKey,
        note: &[u8],
    ) -> Result<LeaseEntry, GatewayError>;
    /// A lease as it is now.
    async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseEntry>, GatewayError>;
    /// Adds escrow.
    async fn fund(&self, id: &LeaseId, escrow: Credits) -> Result<(), GatewayError>;
    /// Ends a lease: the present epoch is the last one charged, and what is left goes back to the account.
    async fn close(&self, id: &LeaseId) -> Result<(), GatewayError>;
    /// What settlements charged a lease so far; 0 before the first.
    async fn charged(&self, id: &LeaseId) -> Result<Credits, GatewayError>;
    /// Credits that the customer's account may still put into escrows.
    async fn credits(&self) -> Result<Credits, GatewayError>;
    /// Replaces the lease's key and raises its fence; refused unless `fence` is above the present one.
    async fn fence(&self, id: &LeaseId, key: PublicKey, fence: u64) -> Result<(), GatewayError>;
    /// All leases of this customer that are not closed, in the order in which they were opened.
    async fn leases(&self) -> Result<Vec<LeaseEntry>, GatewayError>;
    /// The key under which a device is reached.
    async fn endpoint(&self, device: &DeviceId) -> Result<PublicKey, GatewayError>;
}

/// The right to write to a lease: its key under a fence.
#[derive(Clone, Debug)]
pub struct Pen {
    /// The lease.
    pub lease: LeaseId,
    /// Its co-signing key.
    pub key: Arc<SecretKey>,
    /// Fence under which the key was set.
    pub fence: u64,
}

/// The endpoint of a slot that nobody holds: no key has this address, so that nobody answers.
pub const NOBODY: PublicKey = PublicKey([0; 32]);

/// One slot of a lease and how to reach it.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The right to write.
    pub pen: Pen,
    /// Slot number; also the fragment number.
    pub slot: u16,
    /// How often the slot changed hands.
    pub generation: u32,
    /// Who serves it.
    pub device: DeviceId,
    /// Where it is reached.
    pub endpoint: PublicKey,
}
