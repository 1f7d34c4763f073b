//! The handle on a running node.

use cairn_engine::{Proof, StoredBlock};
use cairn_ledger::events::Event;
use cairn_ledger::executor::Receipt;
use cairn_ledger::genesis::Export;
use cairn_ledger::settle::Line;
use cairn_ledger::settlement::Settlement;
use cairn_ledger::state::{Key, Table};
use cairn_ledger::tx::{ClaimProof, Tx};
use cairn_types::{AccountId, DeviceId, Epoch, Hash, Height, LeaseId, Refusal, SectorId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

use crate::{BlockEvents, ChargeProof, NodeConfig, NodeError, Status};

/// Handle on a running node: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Node {
    sender: broadcast::Sender<Arc<BlockEvents>>,
}

fn stopped() -> Refusal {
    Refusal::new("node.stopped", "the node is shut down", "start it again")
}

impl Node {
    /// Starts a node and returns once everything that was final before is readable again.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        config.genesis.check(&config.sectors).map_err(NodeError::Genesis)?;
        Ok(Self { sender: broadcast::channel(16).0 })
    }

    /// Stops the node and waits until its directory is free.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        Ok(())
    }

    /// Checks a transaction against the latest state and the pool, and takes it into the pool. Returns its id.
    pub async fn submit(&self, tx: Tx) -> Result<Hash, Refusal> {
        let _ = tx;
        Err(stopped())
    }

    /// Waits until a transaction is final: height, receipt, its events. `None` when the time is over. A transaction
    /// that the proposer left out has a refused receipt with the height at which it was dropped.
    pub async fn wait(&self, id: Hash, timeout: Duration) -> Option<(Height, Receipt, Vec<Event>)> {
        let _ = (id, timeout);
        None
    }

    /// Runs a transaction on the latest state without keeping anything. Signatures are not checked.
    pub async fn simulate(&self, tx: &Tx) -> Result<Receipt, Refusal> {
        let _ = tx;
        Err(stopped())
    }

    /// A row of the latest final state.
    pub async fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, Refusal> {
        let _ = key;
        Err(stopped())
    }

    /// All rows of a table that fit `limit`, after `after` (a stored key), with their stored keys.
    pub async fn scan<T: Table>(&self, after: Option<Key>, limit: usize) -> Result<Vec<(Key, T::Key, T::Row)>, Refusal> {
        let _ = (after, limit);
        Err(stopped())
    }

    /// A row, or its absence, with a proof against the newest state root.
    pub async fn prove(&self, key: Key) -> Result<Proof, Refusal> {
        let _ = key;
        Err(stopped())
    }

    /// A final block with its certificate; `None` above the newest.
    pub async fn block(&self, height: Height) -> Result<Option<StoredBlock>, Refusal> {
        let _ = height;
        Err(stopped())
    }

    /// How the node is doing.
    pub fn status(&self) -> Status {
        Status {
            network: Default::default(),
            fork: 0,
            hrp: String::new(),
            name: String::new(),
            height: Height(0),
            epoch: Epoch(0),
            epoch_blocks: 1,
            epoch_progress: 0,
            interval: Duration::ZERO,
            timestamp_ms: 0,
            pool: 0,
            seat: None,
            trouble: None,
        }
    }

    /// Final blocks from now on. A reader that lags more than 1024 blocks behind misses some and asks
    /// [`Node::history`].
    pub fn events(&self) -> broadcast::Receiver<Arc<BlockEvents>> {
        self.sender.subscribe()
    }

    /// Stored final blocks from a height on, ascending, at most `limit` (and at most 1024).
    pub fn history(&self, from: Height, limit: usize) -> Result<Vec<Arc<BlockEvents>>, Refusal> {
        let _ = (from, limit);
        Err(stopped())
    }

    /// Takes in a device's bundle of the current or the last epoch. Returns its hash, which the device then posts.
    pub async fn upload_bundle(&self, bytes: Vec<u8>) -> Result<Hash, Refusal> {
        let _ = bytes;
        Err(stopped())
    }

    /// The posted bundle of a device; `None` before the cut of the epoch, and if it is not held here.
    pub async fn bundle(&self, epoch: Epoch, device: DeviceId) -> Result<Option<Vec<u8>>, Refusal> {
        let _ = (epoch, device);
        Err(stopped())
    }

    /// The pack of a final settlement: everything that `cairn verify` needs.
    pub async fn pack(&self, sector: SectorId, epoch: Epoch) -> Result<Vec<u8>, Refusal> {
        let _ = (sector, epoch);
        Err(stopped())
    }

    /// A final settlement with its judged rows.
    pub async fn settlement(&self, sector: SectorId, epoch: Epoch) -> Result<Option<(Settlement, Vec<Line>)>, Refusal> {
        let _ = (sector, epoch);
        Err(stopped())
    }

    /// Proof of an operator's cumulative earnings in the latest final settlement of a sector.
    pub async fn claim_proof(&self, sector: SectorId, operator: AccountId) -> Result<Option<ClaimProof>, Refusal> {
        let _ = (sector, operator);
        Err(stopped())
    }

    /// Proof of a lease's cumulative charge in the latest final settlement of a sector.
    pub async fn charge_proof(&self, sector: SectorId, lease: LeaseId) -> Result<Option<ChargeProof>, Refusal> {
        let _ = (sector, lease);
        Err(stopped())
    }

    /// The state at one height, to go on from in another fork.
    pub async fn export_state(&self) -> Result<Export, Refusal> {
        Err(stopped())
    }

    /// Changes the time between blocks; zero: as fast as possible; at most one minute.
    pub fn set_interval(&self, interval: Duration) {
        let _ = interval;
    }

    /// Devnet: runs as fast as possible until `epochs` more epochs have begun, then at the former pace. Daemons do
    /// their duties as far as they keep up.
    pub async fn warp(&self, epochs: u64) -> Result<Epoch, Refusal> {
        let _ = epochs;
        Err(stopped())
    }
}
