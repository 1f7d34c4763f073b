//! Operators of a devnet: each with its own disk, key and daemon, all in this process.

use anyhow::{Context, Result};
use cairn_client::{Client, Device};
use cairn_crypto::keys::SecretKey;
use cairn_net::{Local, Transport};
use cairn_operator::{ChainLeases, Clock, Daemon, DaemonStatus, StorageWorker, audits, examine, repairs};
use cairn_sector::{AnyWorker, ErasedWorker, Finding};
use cairn_storage_node::cheats::{ALL, Cheat, Cheats};
use cairn_storage_node::disk::RealDisk;
use cairn_storage_node::{Auditor, ChainView, Duties, Identity, RepairAgent, StorageNode, Store};
use cairn_storage_rules::Storage;
use cairn_storage_rules::types::Params;
use cairn_types::{AccountId, DeviceId, Height, NetworkId, Refusal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

use super::genesis::CAPACITY;
use super::keys::Keys;
use super::setup::device_id;

/// How long requests under way may hold on to the disk of an operator that crashed.
const LET_GO: Duration = Duration::from_secs(30);

/// What all operators share.
#[derive(Clone)]
pub struct Shared {
    /// Client of the node.
    pub client: Client,
    /// Clock of the network.
    pub clock: Clock,
    /// Data plane.
    pub net: Arc<Local>,
    /// Network.
    pub network: NetworkId,
    /// Governed numbers of storage.
    pub params: Params,
    /// How long an agent waits for those drawn before it.
    pub patience: Duration,
}

/// Parts of an operator that is up.
struct Running {
    tasks: Vec<JoinHandle<()>>,
    worker: Arc<dyn AnyWorker>,
    daemon: Arc<Mutex<DaemonStatus>>,
    store: Weak<Store>,
}

/// One operator.
pub struct Operator {
    /// `op-3`.
    pub name: String,
    /// Account that is paid.
    pub account: AccountId,
    /// Its device.
    pub device: DeviceId,
    identity: Arc<Identity>,
    dir: PathBuf,
    cheats: Arc<Cheats>,
    shared: Shared,
    running: Option<Running>,
}

impl Operator {
    /// Operator `i`, not started.
    pub fn new(keys: &Keys, i: u16, dir: &Path, shared: Shared) -> Self {
        let (name, device) = (Keys::operator(i), device_id(keys, i));
        Self {
            account: keys.account(&name),
            identity: Arc::new(Identity { device, key: keys.secret(&Keys::device(i)) }),
            dir: dir.join("operators").join(&name),
            name,
            device,
            cheats: Arc::default(),
            shared,
            running: None,
        }
    }

    /// Is it up?
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it on its directory.
    pub async fn start(&mut self) -> Result<()> {
        if self.is_up() {
            return Ok(());
        }
        let dir = self.dir.clone();
        let open = move || -> Result<Store> {
            std::fs::create_dir_all(&dir)?;
            Ok(Store::open(Arc::new(RealDisk::new(&dir)?), CAPACITY << 10)?)
        };
        let store = Arc::new(
            tokio::task::spawn_blocking(open)
                .await?
                .with_context(|| format!("{} does not start", self.name))?,
        );
        let s = self.shared.clone();
        let leases = Arc::new(ChainLeases::new(s.client.clone(), s.clock.clone(), s.network, self.device));
        let chain: Arc<dyn ChainView> = leases.clone();
        let transport: Arc<dyn Transport> = Arc::new(s.net.endpoint(self.identity.key.public()));
        let held = Arc::downgrade(&store);
        let node = StorageNode::new(
            self.identity.clone(),
            store.clone(),
            chain.clone(),
            s.params.clone(),
            self.cheats.clone(),
        );
        let agent = RepairAgent::new(self.identity.clone(), chain.clone(), store.clone(), transport.clone());
        let auditor = Auditor::new(self.identity.clone(), transport, s.network, s.params.clone());
        node.set_confirmer(Arc::new(agent.clone()));
        let duties = Duties::new(self.identity.clone(), store.clone(), chain, self.cheats.clone());
        let worker =
            StorageWorker::new(duties, store, leases.clone(), self.device, s.params.clone(), node.clone());
        let reports = worker.reports();
        let worker = ErasedWorker::<Storage, _>::new(Arc::new(worker));
        let device =
            Device::new(s.client.clone(), self.device, SecretKey::from_seed(&self.identity.key.seed()));
        let daemon = Daemon::new(device, self.account, worker.clone());
        let status = daemon.status();
        s.net.register(self.identity.key.public(), Arc::new(node));
        // Far enough back to see what changed hands while this operator was down. Doing it again does no harm.
        let missed = s.clock.now().map(|n| n.height.minus(n.params.epoch_blocks.saturating_mul(3)));
        let from = missed.unwrap_or(Height(0));
        let tasks = vec![
            tokio::spawn(daemon.run(s.clock.clone())),
            tokio::spawn(repairs(s.client, agent, from, s.patience)),
            tokio::spawn(audits(leases, auditor, reports, s.params, s.clock)),
        ];
        self.running = Some(Running { tasks, worker, daemon: status, store: held });
        Ok(())
    }

    /// Stops it as a power cut would: nothing is flushed, nobody is told.
    pub async fn crash(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.shared.net.remove(&self.identity.key.public());
        for task in &running.tasks {
            task.abort();
        }
        for task in running.tasks {
            // Cancelled is what was asked for.
            let _ = task.await;
        }
        drop(running.worker);
        // A dead process lets go of its disk at once; here a request that was under way does when it ends.
        let begun = Instant::now();
        while running.store.strong_count() > 0 && begun.elapsed() < LET_GO {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Names of cheats.
    pub fn cheats() -> Vec<&'static str> {
        ALL.iter().map(|c| c.0).chain(["dropped-data"]).collect()
    }

    /// Makes it cheat. `dropped-data` deletes what it stores, for good.
    pub fn cheat(&self, which: &str) -> Result<(), Refusal> {
        if which == "dropped-data" {
            return self.drop_data();
        }
        let cheat = Cheat::named(which).ok_or_else(|| {
            Refusal::with(
                "devnet.cheat",
                format!("no cheat {which:?}"),
                "`cairn devnet ctl cheat op-1` lists the names",
            )
        })?;
        self.cheats.set(cheat, true);
        Ok(())
    }

    fn drop_data(&self) -> Result<(), Refusal> {
        let failed =
            |e: std::io::Error| Refusal::with("devnet.cheat", e.to_string(), "is the directory writable?");
        let fragments = self.dir.join("f");
        match std::fs::remove_dir_all(&fragments) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(e)),
            _ => std::fs::create_dir_all(&fragments).map_err(failed),
        }
    }

    /// Findings of `doctor`.
    pub async fn examine(&self) -> Vec<Finding> {
        let Some(running) = &self.running else {
            let mut out = examine(&self.shared.client, self.device, None, None).await;
            out.push(Finding::new(
                cairn_sector::Level::Bad,
                "doctor.down",
                format!("{} is not running", self.name),
                "`cairn devnet ctl restart NAME`; three silent epochs count as a loss",
            ));
            return out;
        };
        let status = running.daemon.lock().map(|s| s.clone()).unwrap_or_default();
        examine(&self.shared.client, self.device, Some(&status), Some(&*running.worker)).await
    }
}
