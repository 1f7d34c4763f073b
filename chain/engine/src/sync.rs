//! State sync: the state of a certified block, fetched in parts that each prove themselves.
//!
//! The library's own peer-to-peer source cannot carry values of variable size (docs/adr/0003). Here requests and
//! responses are bytes, and whoever starts a sync brings the way on which they travel, HTTP for instance.

use crate::{
    app::{Db, Runtime},
    block::{Block, D, MAX_BODY_CEILING},
    engine::height_of,
    light::{LightError, SeatSet, verify_certificate},
    machine::{Hash, MAX_VALUE},
    validator::state_config,
};
use commonware_codec::{Copying, Decode as _, DecodeExt as _, Encode as _, MaxEncodeSize as _};
use commonware_glue::stateful::db::{AttachableResolver, Shared};
use commonware_runtime::{Runner as _, Supervisor as _, buffer::paged::CacheRef, tokio as runtime};
use commonware_storage::{
    mmr,
    qmdb::{
        self,
        sync::{Feedback, Request, Response, Source, Target, source},
    },
};
use commonware_utils::{
    NZU16, NZU64, NZUsize,
    channel::{mpsc, oneshot},
};
use futures::future::BoxFuture;
use std::{num::NonZeroU64, path::PathBuf, sync::Arc};

/// Most state operations of one response. A server may send fewer.
pub const MAX_OPS: u64 = 256;
/// Largest request in bytes.
pub const MAX_REQUEST: usize = Request::<mmr::Family>::MAX_ENCODE_SIZE;
/// Largest response in bytes that a server sends, unless a single operation has more.
pub const FULL_RESPONSE: usize = 1 << 20;
/// Bytes of an operation beside its value: key, neighbour's key, lengths.
const OP_OVERHEAD: usize = 128;
/// Times that one request is sent before the sync gives up; what was fetched stays.
pub const MAX_ATTEMPTS: u32 = 8;

/// Largest response in bytes that a client must accept.
pub fn max_response(ops: u64) -> usize {
    source::max_response_size::<mmr::Family, D>(
        usize::try_from(ops).unwrap_or(usize::MAX),
        MAX_VALUE + OP_OVERHEAD,
    )
}

/// The way to servers.
pub trait Carrier: Send + Sync + 'static {
    /// Carries a request to a server and its response back; `most`: bytes after which to stop reading.
    ///
    /// `attempt` counts from 0 and rises when no answer came or its proof did not hold: ask another server then, and
    /// wait before the same one is asked again.
    fn carry(
        &self,
        request: Vec<u8>,
        most: usize,
        attempt: u32,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Why a state could not be fetched. What was fetched is kept: the same call goes on where this one stopped.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The block or its certificate is not believed.
    #[error(transparent)]
    Target(#[from] LightError),
    /// The servers, the disk, or a root that differs.
    #[error("the state could not be fetched: {0}; call again, it goes on where it stopped")]
    Fetch(String),
}

/// How to fetch.
pub struct SyncConfig {
    /// Directory of the state; one process at a time.
    pub dir: PathBuf,
    /// Operations to ask for at once, 1 to [`MAX_OPS`].
    pub ops: u64,
    /// Requests under way at once, at least 1.
    pub parallel: usize,
    /// The seats of the block's epoch: the only trust.
    pub seats: SeatSet,
    /// The block whose state is wanted.
    pub block: Vec<u8>,
    /// Its certificate.
    pub certificate: Vec<u8>,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Height of the state.
    pub height: u64,
    /// Its canonical root, compared with the block's.
    pub state_root: Hash,
    /// State operations between the sync boundary and the tip.
    pub ops: u64,
}

/// Fetches the state of a certified block. Blocks the calling thread, which must not be one of an async runtime.
///
/// # Errors
///
/// [`SyncError`].
pub fn fetch(config: SyncConfig, carrier: Arc<dyn Carrier>) -> Result<Synced, SyncError> {
    let certified = verify_certificate(&config.seats, &config.block, &config.certificate)?;
    let block = Block::decode_cfg(Copying(&config.block), &MAX_BODY_CEILING)
        .map_err(|cause| LightError::Block(cause.to_string()))?;
    let runner = runtime::Runner::new(
        runtime::Config::new().with_storage_directory(config.dir.clone()).with_worker_threads(2),
    );
    let fetched = runner.start(|context| async move { run(&context, &config, &block, carrier).await });
    let synced = fetched.map_err(SyncError::Fetch)?;
    if synced.height != certified.header.height || synced.state_root != certified.state_root {
        // The log's root holds and the canonical one does not: the block was made by another program.
        return Err(SyncError::Fetch("the fetched state does not have the root of the block".into()));
    }
    Ok(synced)
}

async fn run(
    context: &runtime::Context,
    config: &SyncConfig,
    block: &Block,
    carrier: Arc<dyn Carrier>,
) -> Result<Synced, String> {
    let cache = CacheRef::new(NZU16!(4096 - 16), NZUsize!(1024));
    let ops = config.ops.clamp(1, MAX_OPS);
    let database: Db<runtime::Context> = qmdb::sync::sync(qmdb::sync::engine::Config {
        context: context.child("sync"),
        source: ByteSource::new(context.child("source"), carrier),
        target: Target::new(block.ops_root, block.range.clone()),
        max_outstanding_requests: config.parallel.try_into().unwrap_or(NZUsize!(1)),
        fetch_batch_size: NonZeroU64::new(ops).unwrap_or(NonZeroU64::MIN),
        apply_batch_size: NZU64!(1024),
        db_config: state_config("synced", &cache),
        update_rx: None,
        finish_rx: None,
        reached_target_tx: None,
    })
    .await
    .map_err(|cause| match cause {
        qmdb::sync::Error::Source(unserved) => unserved.to_string(),
        other => other.to_string(),
    })?;
    let metadata = database.get_metadata().await.map_err(|cause| cause.to_string())?;
    Ok(Synced {
        height: height_of(metadata).map_err(|cause| cause.to_string())?,
        state_root: database.root().0,
        ops: (*block.range.end()).saturating_sub(*block.range.start()),
    })
}

/// Answers a request from a database, in bytes.
///
/// # Errors
///
/// A request that does not decode, or is for what the database does not have (any more).
pub(crate) async fn serve<E: Runtime>(database: &Shared<Db<E>>, request: &[u8]) -> Result<Vec<u8>, String> {
    let mut request = Request::<mmr::Family>::decode(Copying(request)).map_err(|cause| cause.to_string())?;
    loop {
        request = shortened(request, MAX_OPS);
        let (response, _) = database.serve(request).await.map_err(|cause| cause.to_string())?;
        let bytes = response.encode().to_vec();
        if bytes.len() <= FULL_RESPONSE || request.max_ops().get() == 1 {
            return Ok(bytes);
        }
        // Large values: fewer of them prove themselves as well.
        request = shortened(request, request.max_ops().get() / 2);
    }
}

fn shortened(request: Request<mmr::Family>, most: u64) -> Request<mmr::Family> {
    match request {
        Request::Operations { size, start, max_ops } => {
            let most = NonZeroU64::new(most).unwrap_or(NonZeroU64::MIN);
            Request::Operations { size, start, max_ops: max_ops.min(most) }
        }
        boundary => boundary,
    }
}

/// No server answered.
#[derive(Debug, thiserror::Error)]
#[error("no server answered in {MAX_ATTEMPTS} attempts; the last said: {0}")]
pub(crate) struct Unserved(String);

/// The way to servers, and where to wait for what they send.
struct Way<E> {
    runtime: E,
    carrier: Arc<dyn Carrier>,
}

/// A source that decodes what a carrier brings; without one it never answers: blocks are replayed instead.
pub(crate) struct ByteSource<E>(Option<Arc<Way<E>>>);

impl<E> ByteSource<E> {
    /// The source of a validator that replays.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    fn new(runtime: E, carrier: Arc<dyn Carrier>) -> Self {
        Self(Some(Arc::new(Way { runtime, carrier })))
    }
}

impl<E> Clone for ByteSource<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Runtime> AttachableResolver<Db<E>> for ByteSource<E> {
    async fn attach_database(&self, _: Shared<Db<E>>) {}
}

impl<E: Runtime> Way<E> {
    /// A response that decodes, from this attempt on, and the number of the attempt that brought it.
    async fn bring(
        &self,
        request: Request<mmr::Family>,
        first: u32,
    ) -> Result<(source::ResponseOf<ByteSource<E>>, u32), Unserved> {
        let ops = request.max_ops().get();
        let limits = (usize::try_from(ops).unwrap_or(usize::MAX), ((), ()));
        let most = max_response(ops);
        let mut last = String::from("a proof that does not hold");
        for attempt in first..MAX_ATTEMPTS {
            match self.carrier.carry(request.encode().to_vec(), most, attempt).await {
                Ok(bytes) if bytes.len() > most => {
                    last = format!("a response of {} bytes, at most {most} are read", bytes.len());
                }
                Ok(bytes) => match Response::decode_cfg(Copying(&bytes), &limits) {
                    Ok(response) => return Ok((response, attempt)),
                    Err(cause) => last = format!("a response that does not decode: {cause}"),
                },
                Err(cause) => last = cause,
            }
        }
        Err(Unserved(last))
    }
}

impl<E: Runtime> Source for ByteSource<E> {
    type Family = mmr::Family;
    type Digest = D;
    type Op = <Db<E> as qmdb::sync::Database>::Op;
    type Error = Unserved;

    async fn serve(&self, request: Request<mmr::Family>) -> source::Result<Self> {
        let Some(way) = self.0.clone() else { return std::future::pending().await };
        let (response, mut attempt) = way.bring(request, 0).await?;
        // Without this, the first proof that does not hold would end the whole sync.
        let (verdict, mut judged) = oneshot::channel();
        let (candidates, next) = mpsc::channel(1);
        let task = way.runtime.child("candidates");
        task.spawn(move |_| async move {
            while let Ok(false) = judged.await {
                let Ok((response, brought)) = way.bring(request, attempt + 1).await else { return };
                attempt = brought;
                let (verdict, again) = oneshot::channel();
                judged = again;
                if candidates.send((response, verdict)).await.is_err() {
                    return;
                }
            }
        });
        Ok((response, Some(Feedback::new(verdict, next))))
    }
}
