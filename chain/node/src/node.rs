//! The handle on a running node.

use cairn_engine::{Engine, Proof, StoredBlock};
use cairn_ledger::events::Event;
use cairn_ledger::executor::{
    BlockRun, Mode, Progress, Receipt, check_state, check_stateless, fee_of, hints,
};
use cairn_ledger::genesis::Export;
use cairn_ledger::settle::Line;
use cairn_ledger::settlement::Settlement;
use cairn_ledger::state::{Key, Reader, Run, State, Stop, Table, key_of, open_entry};
use cairn_ledger::tables::{Accounts, Chain};
use cairn_ledger::tx::{ClaimProof, Tx};
use cairn_types::{AccountId, Amount, DeviceId, Epoch, Hash, Height, LeaseId, Refusal, SectorId, encode};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

use crate::audits::AuditCache;
use crate::owed::OwedCache;
use crate::shared::{Core, lock, store_refusal};
use crate::{AuditsOf, BlockEvents, ChargeProof, NodeConfig, NodeError, SeatKeys, Status};

/// Longest time between blocks.
pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// Most blocks of one answer of [`Node::history`].
const HISTORY: usize = 1024;
/// Most rows of one answer of [`Node::scan`].
const SCAN: usize = 4096;
/// Size of a block that a dry run may fill.
const DRY_RUN: usize = 1 << 20;

/// Times that a submission reads the state: once for each row that phase 2 turns out to need, and again when a block
/// comes between.
const SUBMIT_TRIES: usize = 32;

/// Parts of a running node.
pub(crate) struct Inner {
    pub core: Arc<Core>,
    pub engine: Engine,
    pub seat: Option<SeatKeys>,
    pub interval: Mutex<Duration>,
    /// Epoch below which working material was removed.
    pub pruned: AtomicU64,
    /// Proofs of the latest settlements.
    pub owed: OwedCache,
    /// Who was drawn to audit whom.
    pub audits: AuditCache,
    pub stop: watch::Sender<bool>,
}

/// Rows read from the state; `None`: known to be absent.
struct Fetched(BTreeMap<Key, Option<Vec<u8>>>);

impl Reader for Fetched {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, Key> {
        self.0.get(key).cloned().ok_or(*key)
    }
}

/// Handle on a running node: cheap to clone, usable from any thread. The node ends with [`Node::shutdown`] or when
/// the last handle is dropped.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

pub(crate) fn engine_refusal(e: cairn_engine::EngineError) -> Refusal {
    Refusal::with("node.engine", e.to_string(), "see the node's log")
}

impl Inner {
    pub(crate) async fn row<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, Refusal> {
        let Some(bytes) = self.engine.get(key_of::<T>(key)).await.map_err(engine_refusal)? else {
            return Ok(None);
        };
        let corrupt = Refusal::new(
            "state.corrupt",
            "a stored row does not decode",
            "restore the node from a verified export",
        );
        open_entry::<T>(&bytes).map(|(_, row)| Some(row)).ok_or(corrupt)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Fetched, Refusal> {
        let values = self.engine.get_many(keys).await.map_err(engine_refusal)?;
        Ok(Fetched(keys.iter().copied().zip(values).collect()))
    }

    pub(crate) async fn submit(&self, tx: Tx) -> Result<Hash, Refusal> {
        let facts = &self.core.facts;
        check_stateless(&tx, facts.network, facts.fork)?;
        let mut keys = hints(&tx);
        // The pool forgets what a block took as soon as the block is final: read the state again if one came between.
        for _ in 0..SUBMIT_TRIES {
            let before = *self.core.tip.borrow();
            let rows = self.fetch(&keys).await?;
            let mut pool = lock(&self.core.pool);
            if *self.core.tip.borrow() != before {
                continue;
            }
            let cost = match check_with_pool(&pool, rows, &tx) {
                Ok(cost) => cost,
                Err(Stop::Missing(missing)) => {
                    keys.extend(missing);
                    continue;
                }
                Err(Stop::Refused(r)) => return Err(r),
            };
            let id = pool.insert(tx, cost)?;
            self.core.forget_dropped(&id);
            return Ok(id);
        }
        Err(Refusal::new("node.busy", "blocks come faster than the state can be read", "send it again"))
    }

    async fn simulate(&self, tx: &Tx) -> Result<Receipt, Refusal> {
        let proposer = self.core.facts.seats.first().map(|s| s.account).unwrap_or_default();
        let block = self.core.tip.borrow().plus(1).minus(self.core.facts.origin);
        let mut run = BlockRun::new(
            self.core.sectors.clone(),
            block,
            proposer,
            Mode::Build,
            DRY_RUN,
            vec![tx.clone()],
            None,
        );
        let mut keys = run.first_need();
        loop {
            let values = self.engine.get_many(&keys).await.map_err(engine_refusal)?;
            run.supply(keys.drain(..).zip(values));
            match run.step() {
                Progress::Need(more) => keys = more,
                Progress::Invalid(refusal) => return Err(refusal),
                Progress::Done(done) => {
                    let too_large = Refusal::new("tx.size", "the transaction is too large", "split it");
                    return match (done.receipts.into_iter().next(), done.dropped.into_iter().next()) {
                        (Some(receipt), _) => Ok(receipt),
                        (None, Some((_, refusal))) => Err(refusal),
                        (None, None) => Err(too_large),
                    };
                }
            }
        }
    }
}

/// Phase 2 against the state as it will be when the waiting transactions of the account are done. Returns the cost.
fn check_with_pool(pool: &crate::pool::Pool, mut rows: Fetched, tx: &Tx) -> Run<Amount> {
    let mut cost = Amount::ZERO;
    if let Tx::Account(t, _) = tx {
        let who = t.authority.account_id();
        let state = State::new(&rows);
        let mut account = state.get_or_default::<Accounts>(&who)?;
        let params = cairn_ledger::bank::chain(&state)?.params;
        let (nonce, reserved) = pool.pending(&who, account.nonce);
        account.nonce = nonce;
        account.balance = account.balance.saturating_sub(reserved);
        rows.0.insert(key_of::<Accounts>(&who), Some(encode(&(who, account))));
        cost = fee_of(&params, tx).saturating_add(t.tip);
    }
    check_state(&State::new(&rows), tx)?;
    Ok(cost)
}

impl Node {
    /// Starts a node and returns once everything that was final before is readable again.
    ///
    /// # Errors
    ///
    /// A genesis, import or configuration that does not fit; a directory that cannot be used or is in use.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        crate::start::start(config).await.map(Self)
    }

    /// Stops the node and waits until its directory is free. Other handles answer with refusals from now on.
    ///
    /// # Errors
    ///
    /// The engine had failed before.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        self.0.stop.send_replace(true);
        let outcome = self.0.engine.clone().shutdown().await;
        self.0.core.store.close();
        Ok(outcome?)
    }

    /// The genesis file of the network, as this node was given it.
    pub fn genesis(&self) -> Vec<u8> {
        self.0.core.facts.genesis.clone()
    }

    /// Waits until the node has ended, and says why.
    pub async fn ended(&self) -> NodeError {
        NodeError::Engine(self.0.engine.ended().await)
    }

    /// Checks a transaction against the latest state and the pool, and takes it into the pool. Returns its id.
    ///
    /// # Errors
    ///
    /// What phases 1 and 2 of the ledger refuse; `pool.known`, `pool.full`.
    pub async fn submit(&self, tx: Tx) -> Result<Hash, Refusal> {
        self.0.submit(tx).await
    }

    /// Waits until a transaction is final: height, receipt, its events. `None` when the time is over. A transaction
    /// that the proposer left out has a refused receipt with the height at which it was dropped.
    pub async fn wait(&self, id: Hash, timeout: Duration) -> Option<(Height, Receipt, Vec<Event>)> {
        let mut tip = self.0.core.tip.subscribe();
        let found = async {
            loop {
                tip.borrow_and_update();
                if let Ok(Some(found)) = self.0.core.store.receipt(&id) {
                    return Some(found);
                }
                if let Some((height, receipt)) = self.0.core.dropped(&id) {
                    return Some((height, receipt, Vec::new()));
                }
                tip.changed().await.ok()?;
            }
        };
        tokio::time::timeout(timeout, found).await.ok().flatten()
    }

    /// The receipt of a final transaction with its events, if there is one.
    pub async fn receipt(&self, id: Hash) -> Result<Option<(Height, Receipt, Vec<Event>)>, Refusal> {
        self.0.core.store.receipt(&id).map_err(store_refusal)
    }

    /// Runs a transaction on the latest state, as the only one of the next block, without keeping anything.
    /// Account signatures are not checked; the nonce is.
    ///
    /// # Errors
    ///
    /// What would keep the transaction out of a block. What a block would record as refused is in the receipt.
    pub async fn simulate(&self, tx: &Tx) -> Result<Receipt, Refusal> {
        self.0.simulate(tx).await
    }

    /// A row of the latest final state.
    pub async fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, Refusal> {
        self.0.row::<T>(key).await
    }

    /// An entry of the latest final state as it is stored: readable key and row.
    pub async fn entry(&self, key: Key) -> Result<Option<Vec<u8>>, Refusal> {
        self.0.engine.get(key).await.map_err(engine_refusal)
    }

    /// Rows of a table after `after` (a stored key), at most `limit` (and at most 4096), with their stored keys in
    /// their order. Pages are not of one block.
    pub async fn scan<T: Table>(
        &self,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, T::Key, T::Row)>, Refusal> {
        let page = self.0.engine.scan(T::TAG, after, limit.min(SCAN)).await.map_err(engine_refusal)?;
        let rows = page.into_iter().filter_map(|(stored, bytes)| {
            let (key, row) = open_entry::<T>(&bytes)?;
            Some((stored, key, row))
        });
        Ok(rows.collect())
    }

    /// A row, or its absence, with a proof against the newest state root. The proof's height counts blocks of this
    /// fork, as block headers do.
    pub async fn prove(&self, key: Key) -> Result<Proof, Refusal> {
        self.0.engine.prove(key).await.map_err(engine_refusal)
    }

    /// A final block with its certificate, by the network's height; `None` above the newest or before this fork.
    pub async fn block(&self, height: Height) -> Result<Option<StoredBlock>, Refusal> {
        let Some(block) = height.0.checked_sub(self.0.core.facts.origin) else { return Ok(None) };
        self.0.engine.block(block).await.map_err(engine_refusal)
    }

    /// How the node is doing.
    pub fn status(&self) -> Status {
        let (facts, view) = (&self.0.core.facts, self.0.core.view());
        let height = view.chain.as_ref().map(|c| c.height).unwrap_or(Height(facts.origin));
        let epoch_blocks = view.chain.as_ref().map_or(facts.epoch_blocks, |c| c.params.epoch_blocks);
        let into = height.0.checked_sub(1).and_then(|h| h.checked_rem(epoch_blocks)).map_or(0, |h| h + 1);
        Status {
            network: facts.network,
            fork: facts.fork,
            origin: Height(facts.origin),
            hrp: facts.hrp.clone(),
            name: facts.name.clone(),
            height,
            epoch: view.chain.as_ref().map(|c| c.epoch).unwrap_or_default(),
            epoch_blocks,
            epoch_progress: into,
            interval: *lock(&self.0.interval),
            timestamp_ms: view.timestamp_ms,
            pool: lock(&self.0.core.pool).len(),
            seat: self.0.seat.as_ref().map(|s| s.number),
            trouble: lock(&self.0.core.trouble).clone(),
        }
    }

    /// The heights of final blocks, as they come.
    pub fn heights(&self) -> watch::Receiver<Height> {
        self.0.core.tip.subscribe()
    }

    /// Final blocks from now on. A reader that lags more than 1024 blocks behind misses some and asks
    /// [`Node::history`].
    pub fn events(&self) -> broadcast::Receiver<Arc<BlockEvents>> {
        self.0.core.sender.subscribe()
    }

    /// Stored final blocks from a height on, ascending, at most `limit` (and at most 1024). A block whose effects
    /// were lost in a crash has neither receipts nor events.
    pub fn history(&self, from: Height, limit: usize) -> Result<Vec<Arc<BlockEvents>>, Refusal> {
        self.0.core.store.history(from, limit.min(HISTORY)).map_err(store_refusal)
    }

    /// Takes in a device's bundle of the current or the last epoch. Returns its hash, which the device then posts.
    /// At most four different bundles of a device and epoch are kept, and always the one that it posted.
    ///
    /// # Errors
    ///
    /// `bundle.*` for a bundle that is malformed, too large, of another network, sector, epoch or key.
    pub async fn upload_bundle(&self, bytes: Vec<u8>) -> Result<Hash, Refusal> {
        self.0.upload_bundle(bytes).await
    }

    /// The posted bundle of a device; `None` before the cut of the epoch, and if it is not held here.
    pub async fn bundle(&self, epoch: Epoch, device: DeviceId) -> Result<Option<Vec<u8>>, Refusal> {
        self.0.bundle(epoch, device).await
    }

    /// The pack of a final settlement: everything that `cairn verify` needs.
    ///
    /// # Errors
    ///
    /// `pack.unknown`: no final settlement, or its pack is not held here any more.
    pub async fn pack(&self, sector: SectorId, epoch: Epoch) -> Result<Vec<u8>, Refusal> {
        self.0.pack(sector, epoch).await
    }

    /// A final settlement with its judged rows.
    pub async fn settlement(
        &self,
        sector: SectorId,
        epoch: Epoch,
    ) -> Result<Option<(Settlement, Vec<Line>)>, Refusal> {
        let found = self.0.core.store.settlement(sector, epoch).map_err(store_refusal)?;
        Ok(found.map(|x| (x.settlement, x.lines)))
    }

    /// A device's part in the retrieval audits of an epoch. `None` before the seed and for epochs long past.
    pub async fn audits(
        &self,
        sector: SectorId,
        epoch: Epoch,
        device: DeviceId,
    ) -> Result<Option<AuditsOf>, Refusal> {
        self.0.audits(sector, epoch, &device).await
    }

    /// Proof of an operator's cumulative earnings in the latest final settlement of a sector.
    pub async fn claim_proof(
        &self,
        sector: SectorId,
        operator: AccountId,
    ) -> Result<Option<ClaimProof>, Refusal> {
        self.0.claim_proof(sector, operator)
    }

    /// Proof of a lease's cumulative charge in the latest final settlement of a sector.
    pub async fn charge_proof(
        &self,
        sector: SectorId,
        lease: LeaseId,
    ) -> Result<Option<ChargeProof>, Refusal> {
        self.0.charge_proof(sector, lease)
    }

    /// The state at one height, to go on from in another fork. Slows blocks down while it reads.
    ///
    /// # Errors
    ///
    /// `export.busy`: blocks came faster than the state could be read; set a longer interval.
    pub async fn export_state(&self) -> Result<Export, Refusal> {
        self.0.export_state().await
    }

    /// Changes the time between blocks; zero: as fast as possible; at most one minute.
    pub fn set_interval(&self, interval: Duration) {
        let interval = interval.min(MAX_INTERVAL);
        *lock(&self.0.interval) = interval;
        self.0.engine.set_interval(interval);
    }

    /// Devnet: runs as fast as possible until `epochs` more epochs have begun, then at the former pace. Daemons do
    /// their duties as far as they keep up. Returns the epoch reached.
    pub async fn warp(&self, epochs: u64) -> Result<Epoch, Refusal> {
        let epoch = || self.0.core.view().chain.map(|c| c.epoch).unwrap_or_default();
        let goal = epoch().plus(epochs);
        let _pace = Pace::new(&self.0, Duration::ZERO);
        let mut tip = self.0.core.tip.subscribe();
        while epoch() < goal {
            tokio::select! {
                changed = tip.changed() => changed.map_err(|_| Refusal::new("node.stopped", "the node is shut down", "start it again"))?,
                ended = self.0.engine.ended() => return Err(engine_refusal(ended)),
            }
        }
        Ok(epoch())
    }
}

/// Another pace of blocks until dropped.
pub(crate) struct Pace<'a>(&'a Inner);

impl<'a> Pace<'a> {
    pub(crate) fn new(inner: &'a Inner, interval: Duration) -> Self {
        inner.engine.set_interval(interval);
        Self(inner)
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.0.engine.set_interval(*lock(&self.0.interval));
    }
}

/// The chain row as the state shows it.
pub(crate) async fn chain_row(inner: &Inner) -> Result<cairn_ledger::tables::ChainRow, Refusal> {
    let empty = Refusal::new("chain.empty", "the network has no block yet", "wait for the first block");
    inner.row::<Chain>(&()).await?.ok_or(empty)
}
