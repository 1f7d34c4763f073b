//! What a sector's software on the operator's machine can do.

use async_trait::async_trait;
use cairn_sector::Seed;
use cairn_types::{Epoch, Hash, SectorId};

use crate::Finding;

/// Why a worker could not do its duty. The epoch is then missed, nothing worse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {cause}; {remedy}")]
pub struct WorkerError {
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl WorkerError {
    /// An error.
    pub fn new(code: &str, cause: impl ToString, remedy: &str) -> Self {
        Self { code: code.to_owned(), cause: cause.to_string(), remedy: remedy.to_owned() }
    }
}

/// A sector's worker. Each call may be repeated after a crash and must then give the same bytes.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Sector.
    fn sector(&self) -> SectorId;
    /// What the device commits to for `epoch`, before its seed. `None`: holds nothing yet.
    async fn commitment(&self, epoch: Epoch) -> Result<Option<Vec<u8>>, WorkerError>;
    /// Prepares the answers to the tasks of `epoch`; their digest. `None`: nothing was asked.
    async fn answers(&self, epoch: Epoch, seed: Seed) -> Result<Option<Hash>, WorkerError>;
    /// Items of evidence for the epoch that ended. Empty: no bundle.
    async fn bundle(&self, epoch: Epoch) -> Result<Vec<Vec<u8>>, WorkerError>;
    /// The answer to an accusation on chain. `None`: there is none, and silence will cost bond.
    async fn defend(&self, claim: &[u8]) -> Option<Vec<u8>>;
    /// The epoch is settled: evidence for it may go.
    async fn settled(&self, epoch: Epoch);
    /// Work in the background of an epoch (repairs); called at least once an epoch.
    async fn tend(&self, epoch: Epoch) -> Result<(), WorkerError>;
    /// What the worker knows of its own health.
    async fn checks(&self) -> Vec<Finding>;
}
