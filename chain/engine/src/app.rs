//! Drives a [`Machine`] inside the stateful application of the consensus library.

use crate::{
    block::{Block, Ctx, D},
    keys::Scheme,
    machine::{Executed, Execution, Header, MAX_VALUE, Machine, Step},
    value::Value,
};
use commonware_consensus::{Heightable as _, marshal::ancestry::Ancestry, types::Height};
use commonware_cryptography::{Digestible as _, Sha256};
use commonware_glue::stateful::{
    Application, Finality, Input, Proposed,
    db::{DatabaseSet, Merkleized as _, Shared, Unmerkleized as _},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Network, Spawner};
use commonware_storage::{
    Context as StorageContext, mmr,
    qmdb::{current::ordered::variable, sync::Target},
    translator::EightCap,
};
use commonware_utils::{non_empty_range, sequence::FixedBytes};
use futures::StreamExt as _;
use rand_core::CryptoRng;
use std::{sync::Arc, time::SystemTime};
use tokio::sync::watch;

/// Keys as the database wants them.
pub(crate) type DbKey = FixedBytes<32>;
/// Bytes of one chunk of the activity bitmap.
pub(crate) const CHUNK: usize = 32;
/// The authenticated database.
pub(crate) type Db<E> = variable::Db<mmr::Family, E, DbKey, Value, Sha256, EightCap, CHUNK, Sequential>;
/// The database as the application shares it.
pub(crate) type Dbs<E> = Shared<Db<E>>;

type Batch<E> = <Dbs<E> as DatabaseSet<E>>::Unmerkleized;
type Built<E> = <Dbs<E> as DatabaseSet<E>>::Merkleized;

/// Steps after which an execution counts as endless.
const MAX_STEPS: usize = 1 << 20;

/// Everything that an engine runs on.
pub(crate) trait Runtime: Spawner + StorageContext + Network + CryptoRng + Clock {}
impl<E: Spawner + StorageContext + Network + CryptoRng + Clock> Runtime for E {}

/// The application of one validator.
#[derive(Clone)]
pub(crate) struct App {
    pub machine: Arc<dyn Machine>,
    pub genesis: Block,
    pub max_body: usize,
    /// Height of the newest block whose state can be read.
    pub tip: Arc<watch::Sender<u64>>,
}

fn now_ms(clock: &impl Clock) -> u64 {
    let since = clock.current().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs an execution against a batch until it is done.
///
/// # Panics
///
/// When the storage cannot be read, or when the machine breaks its contract: both end the engine.
async fn run<E: Runtime>(
    mut execution: Box<dyn Execution>,
    mut batch: Batch<E>,
) -> Result<(Executed, Batch<E>), String> {
    let mut fetched = Vec::new();
    for _ in 0..MAX_STEPS {
        match execution.step(std::mem::take(&mut fetched)) {
            Step::Need(keys) => {
                let wanted: Vec<DbKey> = keys.iter().map(|key| DbKey::new(*key)).collect();
                let wanted: Vec<&DbKey> = wanted.iter().collect();
                let values = batch.get_many(&wanted).await;
                let values = values.unwrap_or_else(|cause| panic!("state storage cannot be read: {cause}"));
                fetched = keys.into_iter().zip(values.into_iter().map(|value| value.map(|v| v.0))).collect();
            }
            Step::Refuse(reason) => return Err(reason),
            Step::Done(executed) => {
                check_writes(&executed);
                for (key, value) in &executed.writes {
                    batch = batch.write(DbKey::new(*key), value.clone().map(Value));
                }
                return Ok((executed, batch));
            }
        }
    }
    Err(format!("the execution asked for state more than {MAX_STEPS} times"))
}

/// A machine that breaks the rules of [`Executed`] is a defect of this program: stop loudly.
fn check_writes(executed: &Executed) {
    let ascending = executed.writes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(ascending, "the machine's writes are not strictly ascending by key");
    let bounded =
        executed.writes.iter().all(|(_, value)| value.as_ref().is_none_or(|v| v.len() <= MAX_VALUE));
    assert!(bounded, "the machine wrote a value above {MAX_VALUE} bytes");
}

/// Executes and merkleises; the height goes into the commit's metadata so that a reader under
/// the database lock knows which block it sees.
async fn execute<E: Runtime>(
    execution: Box<dyn Execution>,
    height: u64,
    batch: Batch<E>,
) -> Result<(Vec<u8>, Built<E>), String> {
    let (executed, batch) = run::<E>(execution, batch).await?;
    let batch = batch.with_metadata(Value(height.to_be_bytes().to_vec()));
    let built = batch.merkleize().await;
    let built = built.unwrap_or_else(|cause| panic!("state cannot be merkleised: {cause}"));
    Ok((executed.body, built))
}

impl App {
    async fn build<E: Runtime>(
        &self,
        runtime: &E,
        context: Ctx,
        parent: (u64, u64, D),
        batch: Batch<E>,
    ) -> Option<Proposed<Self, E>> {
        let (parent_height, parent_ms, parent) = parent;
        let height = parent_height.checked_add(1)?;
        let timestamp_ms = now_ms(runtime).max(parent_ms.checked_add(1)?);
        let header = Block::header(&context, height, timestamp_ms, parent);
        let (body, built) = execute::<E>(self.machine.propose(&header), height, batch).await.ok()?;
        assert!(body.len() <= self.max_body, "the machine proposed a body above {} bytes", self.max_body);
        let bounds = built.bounds();
        let block = Block {
            context,
            parent,
            height: Height::new(height),
            timestamp_ms,
            body,
            ops_root: built.ops_root(),
            state_root: built.root(),
            range: non_empty_range!(built.sync_boundary(), bounds.tip.size),
        };
        Some(Proposed { block, merkleized: built })
    }
}

/// The header rules that a vote depends on: they look at the block and its parent only.
fn follows(block: &Block, parent: &Block, parent_digest: D) -> bool {
    block.parent == parent_digest
        && parent.height.get().checked_add(1) == Some(block.height.get())
        && block.timestamp_ms > parent.timestamp_ms
}

fn header_of(block: &Block) -> Header {
    Block::header(&block.context, block.height.get(), block.timestamp_ms, block.parent)
}

impl<E: Runtime> Application<E> for App {
    type SigningScheme = Scheme;
    type Context = Ctx;
    type Block = Block;
    type Databases = Dbs<E>;
    type Captured = ();
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> <Self::Databases as DatabaseSet<E>>::SyncTargets {
        Target::new(block.ops_root, block.range.clone())
    }

    async fn genesis(&mut self) -> Block {
        self.genesis.clone()
    }

    async fn propose(
        &mut self,
        (runtime, context): (E, Ctx),
        ancestry: impl Ancestry<Block>,
        batches: Batch<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let mut ancestry = Box::pin(ancestry);
        let parent = ancestry.next().await?;
        let facts = (parent.height().get(), parent.inner().timestamp_ms, parent.digest());
        self.build(&runtime, context, facts, batches).await
    }

    async fn process(
        &mut self,
        _: (E, Ctx),
        ancestry: impl Ancestry<Block>,
        batches: Batch<E>,
        finality: Finality,
    ) -> Option<Built<E>> {
        let mut ancestry = Box::pin(ancestry);
        let block = ancestry.next().await?;
        if finality == Finality::Candidate {
            let parent = ancestry.next().await?;
            if !follows(block.inner(), parent.inner(), parent.digest()) {
                return None;
            }
        }
        let block = block.inner();
        let execution = self.machine.process(&header_of(block), &block.body);
        let (_, built) = execute::<E>(execution, block.height.get(), batches).await.ok()?;
        // The caller compares the log's root and range; the canonical root is ours to compare.
        (built.root() == block.state_root).then_some(built)
    }

    async fn capture(
        &mut self,
        _: (E, Ctx),
        _: &Block,
        _: &Built<E>,
        _: <Self::Databases as DatabaseSet<E>>::Readers,
    ) {
    }

    async fn finalized(
        &mut self,
        _: (E, Ctx),
        block: &Block,
        (): (),
        _: <Self::Databases as DatabaseSet<E>>::Readers,
    ) {
        self.machine.finalized(&block.to_final(block.digest()));
        let height = block.height.get();
        self.tip.send_if_modified(|tip| {
            let higher = height > *tip;
            *tip = (*tip).max(height);
            higher
        });
    }
}
