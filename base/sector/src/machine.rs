//! What runs a sector outside of the pure rules: the operator's side and the customer's side.
//!
//! Authors implement the typed [`Worker`] and [`Gateway`]; the daemon seats the erased [`AnyWorker`], so that one daemon
//! serves every sector and none knows another.

use async_trait::async_trait;
use cairn_types::{Epoch, Hash, SectorId, decode_bounded, encode};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::{Rules, Seed};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Costs something, or soon will.
    Warning,
    /// Earns nothing, or is at risk.
    Bad,
}

/// What an examination found: a state, a cause, a remedy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Stable code.
    pub code: String,
    /// What is the case, with numbers.
    pub cause: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

impl Finding {
    /// A finding.
    pub fn new(level: Level, code: &str, cause: impl Into<String>, remedy: &str) -> Self {
        Self { level, code: code.to_owned(), cause: cause.into(), remedy: remedy.to_owned() }
    }
}

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

/// A sector's software on the operator's machine. Each call may be repeated after a crash and must then give the same.
#[async_trait]
pub trait Worker<R: Rules>: Send + Sync {
    /// What the device commits to for `epoch`, before its seed. `None`: holds nothing yet.
    async fn commitment(&self, epoch: Epoch) -> Result<Option<R::Commitment>, WorkerError>;
    /// Prepares the answers to the tasks of `epoch`; their digest. `None`: nothing was asked.
    async fn answers(&self, epoch: Epoch, seed: Seed) -> Result<Option<Hash>, WorkerError>;
    /// Items of evidence for the epoch that ended. Empty: no bundle.
    async fn bundle(&self, epoch: Epoch) -> Result<Vec<R::Evidence>, WorkerError>;
    /// The answer to an accusation on chain. `None`: there is none, and silence will cost bond.
    async fn defend(&self, claim: &R::Claim) -> Option<R::Answer>;
    /// The epoch is settled: evidence for it may go.
    async fn settled(&self, epoch: Epoch);
    /// Work beside the duties (looking after escrows, say); called once an epoch.
    async fn tend(&self, epoch: Epoch) -> Result<(), WorkerError>;
    /// What the worker knows of its own health.
    async fn checks(&self) -> Vec<Finding>;
}

/// A [`Worker`] in bytes, as the daemon seats it.
#[async_trait]
pub trait AnyWorker: Send + Sync {
    /// Sector.
    fn sector(&self) -> SectorId;
    /// See [`Worker::commitment`].
    async fn commitment(&self, epoch: Epoch) -> Result<Option<Vec<u8>>, WorkerError>;
    /// See [`Worker::answers`].
    async fn answers(&self, epoch: Epoch, seed: Seed) -> Result<Option<Hash>, WorkerError>;
    /// See [`Worker::bundle`].
    async fn bundle(&self, epoch: Epoch) -> Result<Vec<Vec<u8>>, WorkerError>;
    /// See [`Worker::defend`]. A claim that does not decode has no answer.
    async fn defend(&self, claim: &[u8]) -> Option<Vec<u8>>;
    /// See [`Worker::settled`].
    async fn settled(&self, epoch: Epoch);
    /// See [`Worker::tend`].
    async fn tend(&self, epoch: Epoch) -> Result<(), WorkerError>;
    /// See [`Worker::checks`].
    async fn checks(&self) -> Vec<Finding>;
}

/// Erases the types of a worker. Share it by cloning.
pub struct ErasedWorker<R, W> {
    worker: Arc<W>,
    _rules: PhantomData<fn() -> R>,
}

impl<R: Rules, W: Worker<R> + 'static> ErasedWorker<R, W> {
    /// The worker for a daemon.
    #[allow(clippy::new_ret_no_self)] // The erased form is the only one that anybody holds.
    pub fn new(worker: Arc<W>) -> Arc<dyn AnyWorker> {
        Arc::new(Self { worker, _rules: PhantomData })
    }
}

#[async_trait]
impl<R: Rules, W: Worker<R>> AnyWorker for ErasedWorker<R, W> {
    fn sector(&self) -> SectorId {
        R::ID
    }
    async fn commitment(&self, epoch: Epoch) -> Result<Option<Vec<u8>>, WorkerError> {
        Ok(self.worker.commitment(epoch).await?.map(|c| encode(&c)))
    }
    async fn answers(&self, epoch: Epoch, seed: Seed) -> Result<Option<Hash>, WorkerError> {
        self.worker.answers(epoch, seed).await
    }
    async fn bundle(&self, epoch: Epoch) -> Result<Vec<Vec<u8>>, WorkerError> {
        Ok(self.worker.bundle(epoch).await?.iter().map(encode).collect())
    }
    async fn defend(&self, claim: &[u8]) -> Option<Vec<u8>> {
        let claim = decode_bounded::<R::Claim>(claim, R::LIMITS.claim).ok()?;
        self.worker.defend(&claim).await.map(|a| encode(&a))
    }
    async fn settled(&self, epoch: Epoch) {
        self.worker.settled(epoch).await;
    }
    async fn tend(&self, epoch: Epoch) -> Result<(), WorkerError> {
        self.worker.tend(epoch).await
    }
    async fn checks(&self) -> Vec<Finding> {
        self.worker.checks().await
    }
}

/// A sector's software on the customer's side: the protocol that existing clients speak.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// Sector.
    fn sector(&self) -> SectorId;
    /// Where clients connect, such as `http://127.0.0.1:9000`.
    fn endpoint(&self) -> String;
    /// What the gateway knows of its own health and of what it has paid for.
    async fn checks(&self) -> Vec<Finding>;
    /// Takes no more requests, lets those under way end within the gateway's own limit, and stops.
    async fn stop(self: Box<Self>);
}
