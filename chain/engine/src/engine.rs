//! The handle on a running engine.

use crate::{
    app::DbKey,
    error::EngineError,
    machine::{FinalBlock, Hash, Key},
    proof,
    solo::{MAX_INTERVAL, RealDbs},
    validator::Marshal,
    value::Value,
};
use commonware_codec::Encode as _;
use commonware_consensus::types::Height;
use commonware_cryptography::Digestible as _;
use futures::StreamExt as _;
use std::{
    fmt,
    ops::Bound,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Most keys of one [`Engine::get_many`], and most entries of one [`Engine::scan`].
pub const MAX_BATCH: usize = 65_536;

/// How the engine is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Stopped,
    Failed(String),
}

impl Status {
    pub(crate) fn error(self) -> Option<EngineError> {
        match self {
            Self::Running => None,
            Self::Stopped => Some(EngineError::Stopped),
            Self::Failed(cause) => Some(EngineError::Failed(cause)),
        }
    }
}

/// A value of the state with the proof that it is the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Height of the block whose root is proved against.
    pub height: u64,
    /// That root; compare it with the certified block of this height.
    pub state_root: Hash,
    /// The value, or `None`: the key is proved to be absent.
    pub value: Option<Vec<u8>>,
    /// For [`crate::light::verify_proof`].
    pub proof: Vec<u8>,
}

/// A stored final block with what convinces others of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block, decoded.
    pub block: FinalBlock,
    /// Its encoding: what [`crate::light`] hashes.
    pub bytes: Vec<u8>,
    /// Its own certificate. `None` when only a descendant's was formed (several validators, after
    /// a lost message): then the next certified height proves it through the parent digests.
    pub certificate: Option<Vec<u8>>,
}

/// Parts of a running validator that answer questions. Owned by the engine's thread: whatever
/// keeps it alive keeps the storage locked.
pub(crate) struct Running {
    database: RealDbs,
    marshal: Marshal,
}

impl Running {
    pub(crate) fn new(database: RealDbs, marshal: Marshal) -> Self {
        Self { database, marshal }
    }

    /// Height of the applied state.
    pub(crate) async fn applied(&self) -> Result<u64, EngineError> {
        let metadata = self.database.read().await.get_metadata().await.map_err(read_error)?;
        height_of(metadata)
    }

    async fn get_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        let keys: Vec<DbKey> = keys.into_iter().map(DbKey::new).collect();
        let wanted: Vec<&DbKey> = keys.iter().collect();
        let values = self.database.read().await.get_many(&wanted).await.map_err(read_error)?;
        Ok(values.into_iter().map(|value| value.map(|v| v.0)).collect())
    }

    async fn scan(
        &self,
        table: u8,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, EngineError> {
        let mut last = [0xff; 32];
        last[0] = table;
        let mut first = [0; 32];
        first[0] = table;
        let start = match after {
            Some(key) => Bound::Excluded(DbKey::new(key.max(first))),
            None => Bound::Included(DbKey::new(first)),
        };
        // A start beyond the table would turn the range round; the database answers nothing then.
        let database = self.database.read().await;
        let mut entries = pin!(database.stream_range((start, Bound::Included(DbKey::new(last)))));
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(entry) = entries.next().await else { break };
            let (key, value) = entry.map_err(read_error)?;
            found.push((key_of(&key), value.0));
        }
        Ok(found)
    }

    async fn prove(&self, key: Key) -> Result<Proof, EngineError> {
        let key = DbKey::new(key);
        // One lock for all, so that root, height, value and proof are of the same block.
        let database = self.database.read().await;
        let height = height_of(database.get_metadata().await.map_err(read_error)?)?;
        let state_root = database.root().0;
        let value = database.get(&key).await.map_err(read_error)?;
        let proof = if value.is_some() {
            proof::present(&database.key_value_proof(key).await.map_err(read_error)?)
        } else {
            proof::absent(&database.exclusion_proof(&key).await.map_err(read_error)?)
        };
        Ok(Proof { height, state_root, value: value.map(|v| v.0), proof })
    }
}

/// A final block as the archive of a validator holds it.
pub(crate) async fn stored(marshal: &Marshal, height: u64) -> Option<StoredBlock> {
    let height = Height::new(height);
    let block = marshal.get_block(height).await?;
    let certificate = marshal.get_finalization(height).await;
    Some(StoredBlock {
        block: block.inner().to_final(block.digest()),
        bytes: block.encode().to_vec(),
        certificate: certificate.map(|certificate| certificate.encode().to_vec()),
    })
}

fn read_error(cause: impl fmt::Display) -> EngineError {
    EngineError::Read(cause.to_string())
}

pub(crate) fn height_of(metadata: Option<Value>) -> Result<u64, EngineError> {
    // An empty database was never committed to: that is the genesis block.
    let Some(Value(bytes)) = metadata else { return Ok(0) };
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| read_error("the commit has no height"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn key_of(key: &DbKey) -> Key {
    let mut out = [0; 32];
    out.copy_from_slice(key);
    out
}

/// What the engine's thread hands over when it is ready.
pub(crate) struct Shared {
    pub running: Weak<Running>,
    pub runtime: tokio::runtime::Handle,
    pub tip: watch::Receiver<u64>,
    pub interval: watch::Sender<Duration>,
    pub stop: mpsc::Sender<()>,
}

struct Inner {
    shared: Shared,
    status: watch::Receiver<Status>,
}

/// Handle on a running engine: cheap to clone, usable from any thread and any tokio runtime.
///
/// The engine stops when it is told to, or when the last handle is dropped.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("height", &*self.0.shared.tip.borrow()).finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(shared: Shared, status: watch::Receiver<Status>) -> Self {
        Self(Arc::new(Inner { shared, status }))
    }

    /// Runs a question on the engine's own runtime; its storage works nowhere else.
    async fn ask<T, F>(&self, question: impl FnOnce(Arc<Running>) -> F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if let Some(error) = self.0.status.borrow().clone().error() {
            return Err(error);
        }
        let Some(running) = self.0.shared.running.upgrade() else { return Err(self.ended().await) };
        match self.0.shared.runtime.spawn(question(running)).await {
            Ok(answer) => Ok(answer),
            // Cancelled or panicked with the engine: wait for the reason.
            Err(_) => Err(self.ended().await),
        }
    }

    /// The value of a key in the newest applied final state.
    ///
    /// # Errors
    ///
    /// The engine has stopped or failed, or the disk has.
    pub async fn get(&self, key: Key) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.get_many(&[key]).await?.pop().flatten())
    }

    /// The values of several keys, in their order, all of the same block.
    ///
    /// # Errors
    ///
    /// As [`Engine::get`]; [`EngineError::Config`] above [`MAX_BATCH`] keys.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        check_batch(keys.len())?;
        let keys = keys.to_vec();
        self.ask(|running| async move { running.get_many(keys).await }).await?
    }

    /// Up to `limit` live entries of a table in ascending order of key, behind `after` if given.
    ///
    /// A page shorter than `limit` is the last one. Pages are not of one block unless the height
    /// stood still: read the height before and after, or stop the chain.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_many`].
    pub async fn scan(
        &self,
        table: u8,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, EngineError> {
        check_batch(limit)?;
        self.ask(move |running| async move { running.scan(table, after, limit).await }).await?
    }

    /// The value of a key, or its absence, with a proof against the newest applied root.
    ///
    /// # Errors
    ///
    /// As [`Engine::get`].
    pub async fn prove(&self, key: Key) -> Result<Proof, EngineError> {
        self.ask(move |running| async move { running.prove(key).await }).await?
    }

    /// A final block; `None` above the newest one.
    ///
    /// # Errors
    ///
    /// The engine has stopped or failed.
    pub async fn block(&self, height: u64) -> Result<Option<StoredBlock>, EngineError> {
        self.ask(move |running| async move { stored(&running.marshal, height).await }).await
    }

    /// Answers a request of state sync: see [`crate::sync`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Config`] for a request that does not decode or that is for a state which is not held; the engine
    /// has stopped or failed.
    pub async fn serve_sync(&self, request: Vec<u8>) -> Result<Vec<u8>, EngineError> {
        if request.len() > crate::sync::MAX_REQUEST {
            return Err(EngineError::Config(format!("a request of state sync has {} bytes", request.len())));
        }
        let answer =
            self.ask(|running| async move { crate::sync::serve(&running.database, &request).await }).await?;
        answer.map_err(|cause| {
            EngineError::Config(format!("not a request of state sync that can be served: {cause}"))
        })
    }

    /// Changes the time between blocks at once; zero: as fast as possible. More than one
    /// hour counts as one hour.
    pub fn set_interval(&self, interval: Duration) {
        self.0.shared.interval.send_replace(interval.min(MAX_INTERVAL));
    }

    /// Height of the newest block whose state can be read; watch it to follow the chain.
    pub fn height(&self) -> watch::Receiver<u64> {
        self.0.shared.tip.clone()
    }

    /// Waits until the engine has ended, and says why ([`EngineError::Stopped`] when asked to).
    pub async fn ended(&self) -> EngineError {
        let mut status = self.0.status.clone();
        let end = status.wait_for(|status| *status != Status::Running).await;
        end.map_or(EngineError::Stopped, |status| status.clone().error().unwrap_or(EngineError::Stopped))
    }

    /// Stops the engine and waits until its directory is free.
    ///
    /// # Errors
    ///
    /// The engine had failed before.
    pub async fn shutdown(self) -> Result<(), EngineError> {
        // A full channel means that somebody else asked already; a closed one, that it has ended.
        let _ = self.0.shared.stop.try_send(());
        match self.ended().await {
            EngineError::Stopped => Ok(()),
            error => Err(error),
        }
    }
}

fn check_batch(size: usize) -> Result<(), EngineError> {
    if size > MAX_BATCH {
        return Err(EngineError::Config(format!(
            "{size} entries were asked for, at most {MAX_BATCH} go at once; ask in pages"
        )));
    }
    Ok(())
}
