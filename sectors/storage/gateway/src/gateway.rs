//! The gateway: buckets and objects over the volume and the log, without any protocol.

mod escrow;
mod ingest;
mod keys;
mod lifecycle;
mod objects;
mod parts;
mod start;

pub use objects::{BodyStream, Copy, MAX_OBJECT, Put, PutDone};
pub use parts::{PartDone, PutPart};
pub use start::{Recovery, Started, profiles};

use crate::commit::{Commit, Uploaded};
use crate::error::GatewayError;
use crate::index::{Applied, Condition, Index};
use crate::log::LogTiming;
use crate::operators::Operators;
use crate::packer::ToPack;
use crate::ports::{ChainPort, Pen};
use crate::record::{Label, Mutation, Setting, VersionId, Versioning};
use crate::volume::{Flushed, Volume, VolumeLimits, read};
use cairn_storage_codec::StorageKeys;
use cairn_types::{Credits, Epoch, LeaseId, Rate};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What the gateway orders on the chain.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// KiB reserved on each slot of a data lease.
    pub chunks_per_slot: u64,
    /// KiB reserved on each replica of the index log.
    pub index_chunks: u64,
    /// Escrow of a data lease.
    pub escrow: Credits,
    /// Escrow of an index lease.
    pub index_escrow: Credits,
    /// Highest at-rest rate accepted.
    pub max_rate: Rate,
    /// Most slots in one failure domain; 0 = no limit.
    pub max_per_domain: u16,
    /// Class of hardware.
    pub class: u16,
    /// Region; 0 = anywhere.
    pub region: u16,
}

/// Settings of a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it orders.
    pub terms: Terms,
    /// Limits of the data plane.
    pub volume: VolumeLimits,
    /// Timing of the log.
    pub log: LogTiming,
    /// How long a client waits for its change to count.
    pub commit: Duration,
    /// How long small objects are collected while others are being stored.
    pub pack_window: Duration,
    /// Bytes of log after which a snapshot is written.
    pub snapshot_after: u64,
    /// How often revisions, receipts and healing run by themselves; `None`: only when called.
    pub upkeep: Option<Duration>,
    /// Seconds of a day for lifecycle rules. Anything but 86,400 is for tests.
    pub day: u64,
    /// Epochs after which a data lease from which everything was deleted is closed.
    pub idle_epochs: u64,
    /// How long a start waits for log replicas.
    pub recover: Duration,
    /// Replicas of the log that must answer at a start; `None`: enough to be sure of its end.
    pub accept_replicas: Option<u16>,
}

impl Config {
    /// Defaults for everything but the order.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            volume: VolumeLimits::default(),
            log: LogTiming {
                replica: Duration::from_secs(5),
                grace: Duration::from_millis(30),
                tail: Duration::from_millis(500),
            },
            commit: Duration::from_secs(15),
            pack_window: Duration::from_millis(3),
            snapshot_after: 16 << 20,
            upkeep: Some(Duration::from_secs(30)),
            day: 86_400,
            idle_epochs: 6,
            recover: Duration::from_secs(20),
            accept_replicas: None,
        }
    }
}

/// A running gateway. Share it as `Arc<Gateway>`.
pub struct Gateway {
    chain: Arc<dyn ChainPort>,
    operators: Arc<Operators>,
    index_pen: Pen,
    keys: StorageKeys,
    config: Config,
    index: Arc<RwLock<Index>>,
    volume: Arc<Volume>,
    commits: mpsc::Sender<Commit>,
    packer: mpsc::Sender<ToPack>,
    fenced: Arc<AtomicBool>,
    /// What the escrow of each lease should hold, as decided in an epoch.
    targets: std::sync::Mutex<BTreeMap<LeaseId, (Epoch, Credits)>>,
    growing: tokio::sync::Mutex<()>,
    lifecycle: std::sync::Mutex<lifecycle::Cursor>,
    tasks: std::sync::Mutex<Vec<tokio::task::AbortHandle>>,
}

/// How a gateway is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// A newer gateway took over: nothing can be written.
    pub fenced: bool,
    /// Devices that failed at the last try.
    pub slow: Vec<cairn_types::DeviceId>,
    /// Fragments that are not where they belong.
    pub incomplete: usize,
    /// Segments.
    pub segments: usize,
}

impl Gateway {
    /// The index, to read. Do not hold it across an await.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        read(&self.index)
    }
    /// The segments.
    pub const fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    pub(crate) fn chain(&self) -> &dyn ChainPort {
        &*self.chain
    }
    pub(crate) fn operators(&self) -> &Operators {
        &self.operators
    }
    pub(crate) const fn index_pen(&self) -> &Pen {
        &self.index_pen
    }
    pub(crate) const fn limits(&self) -> &VolumeLimits {
        &self.config.volume
    }

    /// How it is doing.
    pub fn health(&self) -> Health {
        let index = self.index();
        Health {
            fenced: self.fenced.load(Ordering::Relaxed),
            slow: self.volume.slow(),
            incomplete: index.incomplete().count(),
            segments: index.segments().count(),
        }
    }

    /// Makes a change count.
    ///
    /// # Errors
    /// It is not acceptable, the log's escrow is used up, a newer gateway took over, or too few operators confirmed it
    /// in time.
    pub async fn commit(
        &self,
        mutation: Mutation,
        segments: Vec<Arc<Uploaded>>,
        condition: Condition,
    ) -> Result<Applied, GatewayError> {
        if self.fenced.load(Ordering::Relaxed) {
            return Err(GatewayError::Fenced);
        }
        if !self.volume.log_is_paid() {
            return Err(GatewayError::Unpaid);
        }
        let (reply, answer) = oneshot::channel();
        let commit = Commit { mutation, segments, condition, reply };
        let wait = async {
            self.commits.send(commit).await.map_err(|_| GatewayError::Fenced)?;
            answer.await.unwrap_or(Err(GatewayError::Unconfirmed))
        };
        tokio::time::timeout(self.config.commit, wait).await.unwrap_or(Err(GatewayError::Unconfirmed))
    }

    async fn change(&self, mutation: Mutation) -> Result<(), GatewayError> {
        self.commit(mutation, Vec::new(), Condition::default()).await.map(|_| ())
    }

    /// Makes a bucket. `now`: Unix time in seconds.
    ///
    /// # Errors
    /// It exists.
    pub async fn create_bucket(&self, name: &str, now: u64) -> Result<(), GatewayError> {
        self.create_bucket_with(name, now, Vec::new()).await
    }
    /// As [`Self::create_bucket`], with settings from its first moment on.
    ///
    /// # Errors
    /// It exists, or a setting does not fit the ones before it.
    pub async fn create_bucket_with(
        &self,
        name: &str,
        now: u64,
        settings: Vec<Setting>,
    ) -> Result<(), GatewayError> {
        self.change(Mutation::CreateBucket { name: name.into(), created: now, settings }).await
    }
    /// Replaces one setting of a bucket.
    ///
    /// # Errors
    /// It does not exist, or its state does not allow the setting.
    pub async fn set_bucket(&self, name: &str, setting: Setting) -> Result<(), GatewayError> {
        self.change(Mutation::SetBucket { name: name.into(), setting }).await
    }
    /// Replaces one label of an object, of its current version if none is named. The condition says when, and whether
    /// governance retention counts.
    ///
    /// # Errors
    /// It does not exist, or a lock does not allow it.
    pub async fn set_label(
        &self,
        bucket: &str,
        key: &str,
        version: Option<VersionId>,
        label: Label,
        condition: Condition,
    ) -> Result<(), GatewayError> {
        let mutation = Mutation::SetLabel { bucket: bucket.into(), key: key.into(), version, label };
        self.commit(mutation, Vec::new(), condition).await.map(|_| ())
    }
    /// Removes an empty bucket.
    ///
    /// # Errors
    /// It does not exist or is not empty.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), GatewayError> {
        self.change(Mutation::DeleteBucket { name: name.into() }).await
    }
    /// Deletes an object; one that does not exist is no error.
    ///
    /// # Errors
    /// The bucket does not exist.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<(), GatewayError> {
        self.delete_object_if(bucket, key, Condition::default()).await.map(|_| ())
    }
    /// Deletes the current version of an object; where versions are kept, a delete marker comes over it.
    ///
    /// # Errors
    /// The bucket does not exist, or the condition does not hold.
    pub async fn delete_object_if(
        &self,
        bucket: &str,
        key: &str,
        condition: Condition,
    ) -> Result<Applied, GatewayError> {
        let nothing = {
            let index = self.index();
            let found = index.bucket(bucket)?;
            found.settings.versioning == Versioning::Never && found.version(key, None).is_err()
        };
        if nothing && condition.if_match.is_none() {
            return Ok(Applied::default());
        }
        let version = VersionId::at(condition.now);
        let mutation = Mutation::DeleteObject { bucket: bucket.into(), key: key.into(), version };
        self.commit(mutation, Vec::new(), condition).await
    }
    /// Removes a version or delete marker; one that does not exist is no error.
    ///
    /// # Errors
    /// The bucket does not exist, the version is locked, or the condition does not hold.
    pub async fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        version: VersionId,
        condition: Condition,
    ) -> Result<Applied, GatewayError> {
        let found = self.index().bucket(bucket)?.version(key, Some(version)).is_ok();
        if !found && condition.if_match.is_none() {
            return Ok(Applied { version: Some(version), marker: false });
        }
        let mutation = Mutation::DeleteVersion { bucket: bucket.into(), key: key.into(), version };
        self.commit(mutation, Vec::new(), condition).await
    }
    /// Agrees with every slot on what it holds. Call it before an epoch's lock.
    ///
    /// # Errors
    /// A newer gateway took over.
    pub async fn flush_revisions(&self) -> Result<Flushed, GatewayError> {
        self.volume.flush_revisions().await
    }

    /// Sends receipts for everything served so far. Call it before an epoch's cut.
    pub async fn flush_receipts(&self) {
        self.volume.flush_receipts().await;
    }

    /// One round of healing; the number of fragments that are right again.
    ///
    /// # Errors
    /// A newer gateway took over.
    pub async fn heal(&self) -> Result<usize, GatewayError> {
        let mut healed = 0;
        for _ in 0..2 {
            let learned = self.volume.heal().await?;
            let lost = learned.iter().any(|m| matches!(m, Mutation::SetRoot { root: None, .. }));
            healed += learned.iter().filter(|m| matches!(m, Mutation::SetRoot { root: Some(_), .. })).count();
            for mutation in learned {
                self.change(mutation).await?;
            }
            if !lost {
                break;
            }
            // What was lost leaves the slots' lists, and is rebuilt in the second pass.
            self.flush_revisions().await?;
        }
        Ok(healed)
    }

    /// One round of everything that runs beside requests: slots and epoch from the chain, escrows, healing, revisions,
    /// receipts, what lifecycle rules delete.
    ///
    /// # Errors
    /// A newer gateway took over, or the chain does not answer.
    pub async fn upkeep(&self) -> Result<(), GatewayError> {
        self.volume.refresh().await?;
        self.keep_paid().await?;
        self.publish_notes().await?;
        self.heal().await?;
        self.flush_revisions().await?;
        self.flush_receipts().await;
        self.expire(crate::s3::seconds()).await?;
        // Last: what was served is signed for before the lease ends.
        self.close_idle().await
    }

    /// Stops all background work. Requests under way fail.
    pub fn stop(&self) {
        crate::volume::lock(&self.tasks).drain(..).for_each(|t| t.abort());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}
