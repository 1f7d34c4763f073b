//! What the parts of a node share.

use cairn_engine::{FinalBlock, Header};
use cairn_ledger::events::Event;
use cairn_ledger::executor::Receipt;
use cairn_ledger::state::{Writes, key_of, open_entry};
use cairn_ledger::tables::{Chain, ChainRow, SeatRow};
use cairn_ledger::tx::Tx;
use cairn_sector::Sectors;
use cairn_types::{AccountId, Amount, Hash, Height, NetworkId, Refusal, SectorId, decode, encode};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

use crate::BlockEvents;
use crate::files;
use crate::kv::KvResult;
use crate::pool::Pool;
use crate::store::Store;

/// Largest block body in bytes.
pub(crate) const MAX_BODY: usize = 2 * 1024 * 1024;
/// Blocks that a slow reader of events may lag behind.
pub(crate) const EVENT_LAG: usize = 1024;
/// Dropped transactions that are remembered.
const DROPPED: usize = 4096;

/// Facts that never change while a node runs.
pub(crate) struct Facts {
    pub network: NetworkId,
    pub name: String,
    pub hrp: String,
    pub fork: u32,
    /// Heights before this fork.
    pub origin: u64,
    pub seats: Vec<SeatRow>,
    pub epoch_blocks: u64,
    /// The genesis file.
    pub genesis: Vec<u8>,
    /// Rows of the first block.
    pub first: Writes,
    /// Bound into the engine's genesis block.
    pub genesis_id: [u8; 32],
}

impl Facts {
    /// Account of the seat that proposed a block.
    pub(crate) fn proposer(&self, identity: &[u8; 32]) -> Option<AccountId> {
        match self.seats.as_slice() {
            [only] => Some(only.account),
            seats => seats.iter().find(|s| s.key.0 == *identity).map(|s| s.account),
        }
    }
}

/// What an execution left; kept until the block is final or overtaken.
#[derive(Clone, Debug, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub(crate) struct Executed {
    pub writes: Writes,
    pub receipts: Vec<Receipt>,
    pub events: Vec<Event>,
    /// Left out by the proposer: id, code, cause, remedy.
    pub dropped: Vec<(Hash, String, String, String)>,
}

/// The newest final block.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub chain: Option<ChainRow>,
    pub timestamp_ms: u64,
}

/// Transactions that a proposer left out, newest last.
#[derive(Default)]
struct Dropped {
    order: VecDeque<Hash>,
    by_id: BTreeMap<Hash, (Height, Receipt)>,
}

/// Blocks come in one at a time, in order. While the store catches up after a start, newer ones wait.
#[derive(Default)]
struct Gate {
    open: bool,
    waiting: Vec<FinalBlock>,
}

/// Shared by the machine, the worker and the handles.
pub(crate) struct Core {
    pub facts: Facts,
    pub sectors: Sectors,
    pub store: Store,
    pub pool: Mutex<Pool>,
    pub sender: broadcast::Sender<Arc<BlockEvents>>,
    /// Height of the newest final block that is taken in.
    pub tip: watch::Sender<Height>,
    /// Blocks were missed: the registry mirror must be read anew.
    pub stale: AtomicBool,
    view: Mutex<View>,
    executed: Mutex<BTreeMap<(u64, Hash), Arc<Executed>>>,
    dropped: Mutex<Dropped>,
    gate: Mutex<Gate>,
    /// Writes of blocks that become final while the mirror is read anew.
    pub later: Mutex<Option<Vec<Writes>>>,
    pub trouble: Mutex<Option<String>>,
}

pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An execution is a function of the parent and the body.
fn execution_key(header: &Header, body: &[u8]) -> (u64, Hash) {
    (header.height, Hash::derive("cairn/node/execution", &[&header.parent, &header.proposer, body]))
}

fn chain_of(writes: &Writes) -> Option<ChainRow> {
    let entry = writes.get(&key_of::<Chain>(&()))?.as_ref()?;
    open_entry::<Chain>(entry).map(|(_, row)| row)
}

impl Core {
    pub(crate) fn new(facts: Facts, sectors: Sectors, store: Store) -> Self {
        Self {
            facts,
            sectors,
            store,
            pool: Mutex::default(),
            sender: broadcast::channel(EVENT_LAG).0,
            tip: watch::channel(Height(0)).0,
            stale: AtomicBool::new(false),
            view: Mutex::default(),
            executed: Mutex::default(),
            dropped: Mutex::default(),
            gate: Mutex::default(),
            later: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The network's height of a block of this fork.
    pub(crate) fn height(&self, block: u64) -> Height {
        Height(block.saturating_add(self.facts.origin))
    }

    pub(crate) fn view(&self) -> View {
        lock(&self.view).clone()
    }

    pub(crate) fn set_view(&self, chain: ChainRow, timestamp_ms: u64) {
        let height = chain.height;
        let mut view = lock(&self.view);
        if view.chain.as_ref().is_none_or(|c| c.height < height) {
            *view = View { chain: Some(chain), timestamp_ms };
        }
        drop(view);
        self.tip.send_if_modified(|tip| {
            let newer = height > *tip;
            *tip = height.max(*tip);
            newer
        });
    }

    /// Remembers an execution until its block is final; the file lets a restarted node tell what the block did.
    pub(crate) fn remember(&self, header: &Header, body: &[u8], done: Executed) {
        let key = execution_key(header, body);
        let path = self.executed_path(&key);
        if let Err(cause) = files::write_quick(&path, &encode(&done)) {
            tracing::warn!(%cause, "the execution of a block could not be kept; after a crash its events may be missing");
        }
        lock(&self.executed).insert(key, Arc::new(done));
    }

    fn executed_path(&self, key: &(u64, Hash)) -> std::path::PathBuf {
        self.store.dir().join("executed").join(format!("{}-{}", key.0, key.1))
    }

    fn recall(&self, block: &FinalBlock) -> Option<Arc<Executed>> {
        let key = execution_key(&block.header, &block.body);
        if let Some(found) = lock(&self.executed).remove(&key) {
            return Some(found);
        }
        let bytes = files::read(&self.executed_path(&key)).ok()??;
        decode(&bytes).ok().map(Arc::new)
    }

    /// Takes in a final block. Blocks that are known already are passed over; before [`Core::open_gate`], blocks above
    /// a gap wait until it is filled.
    pub(crate) fn finalize(&self, block: &FinalBlock) -> KvResult<()> {
        let mut gate = lock(&self.gate);
        if !gate.open && self.height(block.header.height) > self.store.applied()?.plus(1) {
            gate.waiting.push(block.clone());
            return Ok(());
        }
        self.finalize_next(block)
    }

    /// The store has caught up: takes in what waited, and from now on everything at once.
    pub(crate) fn open_gate(&self) -> KvResult<()> {
        let mut gate = lock(&self.gate);
        gate.open = true;
        gate.waiting.sort_by_key(|b| b.header.height);
        std::mem::take(&mut gate.waiting).iter().try_for_each(|b| self.finalize_next(b))
    }

    fn finalize_next(&self, block: &FinalBlock) -> KvResult<()> {
        let height = self.height(block.header.height);
        let applied = self.store.applied()?;
        if height <= applied {
            return Ok(());
        }
        if height > applied.plus(1) {
            tracing::error!(
                from = applied.0,
                to = height.0,
                "final blocks were missed; the registry is read anew"
            );
            self.stale.store(true, Ordering::Release);
        }
        match self.recall(block) {
            Some(done) => self.take_in(block, height, &done)?,
            None => self.take_in_blind(block, height)?,
        }
        lock(&self.executed).retain(|(h, _), _| *h > block.header.height);
        let dir = self.store.dir().join("executed");
        files::prune_numbered(&dir, block.header.height.saturating_add(1)).map_err(|e| e.to_string())
    }

    fn take_in(&self, block: &FinalBlock, height: Height, done: &Executed) -> KvResult<()> {
        let chain = chain_of(&done.writes).ok_or("a block without a chain row")?;
        let since = height.0.saturating_sub(1);
        let starts =
            since.checked_rem(chain.params.epoch_blocks) == Some(0) && !self.stale.load(Ordering::Acquire);
        let sectors: &[SectorId] = if starts { &chain.sectors } else { &[] };
        let events = BlockEvents {
            height,
            epoch: chain.epoch,
            timestamp_ms: block.header.timestamp_ms,
            receipts: done.receipts.clone(),
            events: done.events.clone(),
        };
        {
            let mut later = lock(&self.later);
            self.store.apply(&events, &done.writes, sectors)?;
            if let Some(list) = later.as_mut() {
                list.push(done.writes.clone());
            }
        }
        self.clear_pool(height, done, &block.body);
        self.set_view(chain, block.header.timestamp_ms);
        // Nobody listening is no error.
        let _ = self.sender.send(Arc::new(events));
        Ok(())
    }

    /// A final block whose effects are not known here: its events stay unknown, the mirror is read anew.
    fn take_in_blind(&self, block: &FinalBlock, height: Height) -> KvResult<()> {
        tracing::error!(
            height = height.0,
            "the effects of a final block are unknown; its events are missing from the history"
        );
        self.stale.store(true, Ordering::Release);
        let epoch = self.view().chain.map(|c| c.epoch).unwrap_or_default();
        let timestamp_ms = block.header.timestamp_ms;
        let events = BlockEvents { height, epoch, timestamp_ms, receipts: Vec::new(), events: Vec::new() };
        self.store.apply(&events, &Writes::new(), &[])
    }

    fn clear_pool(&self, height: Height, done: &Executed, body: &[u8]) {
        let mut pool = lock(&self.pool);
        for receipt in &done.receipts {
            pool.remove(&receipt.tx);
        }
        for (id, code, cause, remedy) in &done.dropped {
            if pool.remove(id) {
                self.note_dropped(*id, height, (code.clone(), cause.clone(), remedy.clone()));
            }
        }
        // Transactions of a nonce that another one took will never count.
        let txs: Vec<Tx> = decode(body).unwrap_or_default();
        for tx in &txs {
            let Tx::Account(t, _) = tx else { continue };
            for id in pool.stale(&t.authority.account_id(), t.nonce.saturating_add(1)) {
                pool.remove(&id);
                let text = |s: &str| s.to_owned();
                self.note_dropped(
                    id,
                    height,
                    (text("tx.nonce"), text("another transaction took the nonce"), text("sign again")),
                );
            }
        }
    }

    fn note_dropped(&self, tx: Hash, height: Height, why: (String, String, String)) {
        let mut dropped = lock(&self.dropped);
        let receipt = Receipt { tx, fee: Amount::ZERO, refused: Some(why), from: 0, until: 0 };
        if dropped.by_id.insert(tx, (height, receipt)).is_none() {
            dropped.order.push_back(tx);
        }
        if dropped.order.len() > DROPPED
            && let Some(old) = dropped.order.pop_front()
        {
            dropped.by_id.remove(&old);
        }
    }

    /// The refusal of a transaction that a proposer left out.
    pub(crate) fn dropped(&self, id: &Hash) -> Option<(Height, Receipt)> {
        lock(&self.dropped).by_id.get(id).cloned()
    }

    /// A transaction is tried again: what was said of it before no longer counts.
    pub(crate) fn forget_dropped(&self, id: &Hash) {
        lock(&self.dropped).by_id.remove(id);
    }
}

/// The store's word as a refusal.
pub(crate) fn store_refusal(cause: String) -> Refusal {
    Refusal::with(
        "node.store",
        format!("the node's store failed: {cause}"),
        "start the node again; if it repeats, check the disk",
    )
}
