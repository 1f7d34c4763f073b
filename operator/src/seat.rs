//! A storage operator from its disk to its daemon: the same parts in a process of its own and in a devnet.

use cairn_client::{Client, Device};
use cairn_crypto::keys::SecretKey;
use cairn_net::Transport;
use cairn_sector::{AnyWorker, ErasedWorker, Finding};
use cairn_storage_node::cheats::Cheats;
use cairn_storage_node::disk::RealDisk;
use cairn_storage_node::{Auditor, ChainView, Duties, Identity, RepairAgent, StorageNode, Store};
use cairn_storage_rules::Storage;
use cairn_storage_rules::types::Params;
use cairn_types::{AccountId, DeviceId, Height, NetworkId};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

use crate::{ChainLeases, Clock, Daemon, DaemonStatus, StorageWorker, audits, examine, repairs};

/// How long requests under way may hold on to the disk of an operator that stops.
const LET_GO: Duration = Duration::from_secs(30);
/// Epochs looked back for what changed hands while the operator was down. Doing it again does no harm.
const MISSED_EPOCHS: u64 = 3;

/// What a seat needs.
pub struct SeatConfig {
    /// The device and its hot key.
    pub identity: Arc<Identity>,
    /// Account that is paid.
    pub account: AccountId,
    /// Directory on the disk; made if missing.
    pub dir: PathBuf,
    /// Bytes offered.
    pub capacity: u64,
    /// Client of the network's nodes.
    pub client: Client,
    /// Clock of the network.
    pub clock: Clock,
    /// Network.
    pub network: NetworkId,
    /// Governed numbers of storage.
    pub params: Params,
    /// How long a repair agent waits for each of those drawn before it.
    pub patience: Duration,
    /// The way to other operators, for repairs.
    pub transport: Arc<dyn Transport>,
    /// Cheats, all off but in tests and devnets.
    pub cheats: Arc<Cheats>,
}

/// Why an operator does not start.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// The disk.
    #[error("the directory {dir} cannot be used ({cause}); check its owner, its mode and the disk")]
    Disk {
        /// Where.
        dir: PathBuf,
        /// What went wrong.
        cause: String,
    },
}

/// An operator at work. Dropping it stops its tasks; [`Seated::stop`] also waits for the disk.
pub struct Seated {
    service: StorageNode,
    worker: Arc<dyn AnyWorker>,
    daemon: Arc<Mutex<DaemonStatus>>,
    client: Client,
    device: DeviceId,
    store: Weak<Store>,
    tasks: Vec<JoinHandle<()>>,
}

impl Seated {
    /// Opens the disk and starts daemon and repairs. The caller lets [`Seated::service`] answer on its transport.
    ///
    /// # Errors
    /// [`SeatError`].
    pub async fn start(config: SeatConfig) -> Result<Self, SeatError> {
        let store = Arc::new(open(&config.dir, config.capacity).await?);
        let c = config;
        let leases =
            Arc::new(ChainLeases::new(c.client.clone(), c.clock.clone(), c.network, c.identity.device));
        let chain: Arc<dyn ChainView> = leases.clone();
        let (identity, device) = (c.identity.clone(), c.identity.device);
        let held = Arc::downgrade(&store);
        let service = StorageNode::new(
            identity.clone(),
            store.clone(),
            chain.clone(),
            c.params.clone(),
            c.cheats.clone(),
        );
        let agent = RepairAgent::new(identity.clone(), chain.clone(), store.clone(), c.transport.clone());
        let auditor = Auditor::new(identity.clone(), c.transport, c.network, c.params.clone());
        service.set_confirmer(Arc::new(agent.clone()));
        let duties = Duties::new(identity.clone(), store.clone(), chain, c.cheats);
        let worker =
            StorageWorker::new(duties, store, leases.clone(), device, c.params.clone(), service.clone());
        let reports = worker.reports();
        let worker = ErasedWorker::<Storage, _>::new(Arc::new(worker));
        let hot = Device::new(c.client.clone(), device, SecretKey::from_seed(&identity.key.seed()));
        let daemon = Daemon::new(hot, c.account, worker.clone());
        let status = daemon.status();
        let missed =
            c.clock.now().map(|n| n.height.minus(n.params.epoch_blocks.saturating_mul(MISSED_EPOCHS)));
        let from = missed.unwrap_or(Height(0));
        let tasks = vec![
            tokio::spawn(daemon.run(c.clock.clone())),
            tokio::spawn(repairs(c.client.clone(), agent, from, c.patience)),
            tokio::spawn(audits(leases, auditor, reports, c.params, c.clock)),
        ];
        Ok(Self { service, worker, daemon: status, client: c.client, device, store: held, tasks })
    }

    /// What answers customers and agents.
    pub fn service(&self) -> Arc<StorageNode> {
        Arc::new(self.service.clone())
    }

    /// What the daemon did since the start.
    pub fn done(&self) -> DaemonStatus {
        self.daemon.lock().map(|s| s.clone()).unwrap_or_default()
    }

    /// Bytes of the offer that are free.
    pub fn free(&self) -> Option<u64> {
        self.store.upgrade().map(|s| s.free())
    }

    /// Findings about the device, its duties and its disk.
    pub async fn examine(&self) -> Vec<Finding> {
        examine(&self.client, self.device, Some(&self.done()), Some(&*self.worker)).await
    }

    /// Stops everything and waits until the disk is free. The caller has taken the service off its transport before.
    pub async fn stop(mut self) {
        let tasks = std::mem::take(&mut self.tasks);
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // Cancelled is what was asked for.
            let _ = task.await;
        }
        let store = std::mem::take(&mut self.store);
        drop(self);
        // A dead process lets go of its disk at once; here a request that was under way does when it ends.
        let begun = Instant::now();
        while store.strong_count() > 0 && begun.elapsed() < LET_GO {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn open(dir: &std::path::Path, capacity: u64) -> Result<Store, SeatError> {
    let at = dir.to_owned();
    let failed = |cause: String| SeatError::Disk { dir: dir.to_owned(), cause };
    let open = move || -> Result<Store, String> {
        std::fs::create_dir_all(&at).map_err(|e| e.to_string())?;
        let disk = RealDisk::new(&at).map_err(|e| e.to_string())?;
        Store::open(Arc::new(disk), capacity).map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(open).await.map_err(|e| failed(e.to_string()))?.map_err(failed)
}
