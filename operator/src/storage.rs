//! The storage worker: seats a storage node under the daemon.

use async_trait::async_trait;
use cairn_client::Client;
use cairn_ledger::events::Event;
use cairn_ledger::registry::device_entry;
use cairn_ledger::tables::{Devices, Leases, Postings};
use cairn_sector::{DeviceEntry, Finding, LeaseEntry, Level, Rules, Seed, Worker, WorkerError};
use cairn_storage_node::repair::Job;
use cairn_storage_node::{ChainView, Duties, RepairAgent, StorageNode, Store};
use cairn_storage_rules::judge::note;
use cairn_storage_rules::prove::OperatorTree;
use cairn_storage_rules::types::{AnswerBody, Claim, Commitment, Defence, Evidence, Params};
use cairn_storage_rules::{Escrow, Storage};
use cairn_types::{Credits, DeviceId, Epoch, Hash, Height, LeaseId, NetworkId, decode};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use crate::{Clock, Reports};

/// How long a lease may be answered from memory.
const FRESH: Duration = Duration::from_millis(400);
/// Leases remembered at most.
const REMEMBERED: usize = 4096;
/// Draws remembered at most.
const DRAWS: usize = 4;
/// Settlements of the last epochs in which `doctor` looks for what auditors saw.
const LOOK_BACK: u64 = 4;

/// The chain as a storage node sees it, through the client, with a short memory.
pub struct ChainLeases {
    client: Client,
    clock: Clock,
    network: NetworkId,
    seen: Mutex<BTreeMap<LeaseId, (Instant, Option<LeaseEntry>)>>,
    device: DeviceId,
    draws: Mutex<BTreeMap<Epoch, (Instant, Option<Draw>)>>,
}

/// Whom this device audits in an epoch, and who audits it.
pub type Draw = Arc<(Vec<DeviceId>, Vec<DeviceId>)>;

impl ChainLeases {
    /// What `device` sees of `network`.
    pub fn new(client: Client, clock: Clock, network: NetworkId, device: DeviceId) -> Self {
        Self { client, clock, network, device, seen: Mutex::default(), draws: Mutex::default() }
    }

    /// The draw of an epoch, asked for once; `None` while the node does not know it.
    pub(crate) async fn drawn(&self, epoch: Epoch) -> Option<Draw> {
        if let Ok(draws) = self.draws.lock()
            && let Some((at, draw)) = draws.get(&epoch)
            && (draw.is_some() || at.elapsed() < FRESH)
        {
            return draw.clone();
        }
        let found = self.client.audits(Storage::ID, epoch, &self.device).await.ok().flatten().map(Arc::new);
        if let Ok(mut draws) = self.draws.lock() {
            draws.insert(epoch, (Instant::now(), found.clone()));
            while draws.len() > DRAWS {
                draws.pop_first();
            }
        }
        found
    }

    fn remembered(&self, id: &LeaseId) -> Option<Option<LeaseEntry>> {
        let seen = self.seen.lock().ok()?;
        seen.get(id).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, l)| l.clone())
    }
}

#[async_trait]
impl ChainView for ChainLeases {
    async fn lease(&self, id: &LeaseId) -> Option<LeaseEntry> {
        match self.remembered(id) {
            Some(known) => known,
            None => self.lease_now(id).await,
        }
    }

    async fn lease_now(&self, id: &LeaseId) -> Option<LeaseEntry> {
        let found = match self.client.get::<Leases>(id).await {
            Ok(row) => row.filter(|r| r.refunded.is_none()).map(|r| r.entry),
            // A node that is away for a moment does not end a lease: answer from memory, however old.
            Err(_) => return self.seen.lock().ok()?.get(id).and_then(|x| x.1.clone()),
        };
        if let Ok(mut seen) = self.seen.lock() {
            if seen.len() >= REMEMBERED {
                seen.clear();
            }
            seen.insert(*id, (Instant::now(), found.clone()));
        }
        found
    }

    async fn device(&self, id: &DeviceId) -> Option<DeviceEntry> {
        let row = self.client.get::<Devices>(id).await.ok()??;
        let mut entry = device_entry(id, &row);
        let posted = self.client.get::<Postings>(&(self.epoch(), *id)).await.ok()?.unwrap_or_default();
        (entry.commitment, entry.answers) = (posted.commitment, posted.answers);
        Some(entry)
    }

    async fn auditors(&self, epoch: Epoch) -> Option<Vec<DeviceId>> {
        self.drawn(epoch).await.map(|draw| draw.1.clone())
    }

    fn epoch(&self) -> Epoch {
        self.clock.now().map(|n| n.epoch).unwrap_or_default()
    }

    fn network(&self) -> NetworkId {
        self.network
    }
}

/// Seats a storage node under the daemon.
pub struct StorageWorker {
    duties: Duties,
    store: Arc<Store>,
    chain: Arc<ChainLeases>,
    device: DeviceId,
    params: Params,
    node: StorageNode,
    reports: Arc<Reports>,
    /// Leases whose escrow is used up, as of the latest look.
    unpaid: Mutex<BTreeSet<LeaseId>>,
    /// The last epoch is known to have had a miss: chunks were gone, or the chain holds a commitment that is not ours.
    missed: AtomicBool,
    /// The last epoch went without a miss: the judge asks no more than the floor. Unknown counts as doubtful, and
    /// answering more than was asked does no harm.
    clean: AtomicBool,
}

impl StorageWorker {
    /// A worker over an open node.
    pub fn new(
        duties: Duties,
        store: Arc<Store>,
        chain: Arc<ChainLeases>,
        device: DeviceId,
        params: Params,
        node: StorageNode,
    ) -> Self {
        Self {
            duties,
            reports: Arc::new(Reports::new(store.clone())),
            store,
            chain,
            device,
            params,
            node,
            missed: AtomicBool::new(false),
            unpaid: Mutex::default(),
            clean: AtomicBool::new(false),
        }
    }

    /// What this device saw as an auditor, for [`crate::audits`].
    pub fn reports(&self) -> Arc<Reports> {
        self.reports.clone()
    }

    /// What auditors saw of this device in the last settlements: notes by epoch. Empty where all was well.
    async fn audited(&self) -> Result<Vec<(Epoch, u16)>, WorkerError> {
        let now = self.chain.epoch();
        let mut out = Vec::new();
        for epoch in (now.0.saturating_sub(LOOK_BACK)..now.0).map(Epoch) {
            let found = self.chain.client.settlement(Storage::ID, epoch).await.map_err(away)?;
            let lines = found.map(|f| f.1).unwrap_or_default();
            let own = lines.iter().filter(|l| l.row.payee == self.device && note::is_audit(l.row.note));
            out.extend(own.map(|l| (epoch, l.row.note)));
        }
        Ok(out)
    }

    /// Serves leases whose escrow does not cover one more full epoch for reading only, and fully once it does again.
    /// Data of a lease that stays unpaid goes when the chain ends the lease and takes the slot away.
    async fn watch_escrows(&self) -> Result<(), WorkerError> {
        let held: BTreeSet<LeaseId> = self.store.keys().into_iter().map(|k| k.lease).collect();
        let mut unpaid = BTreeSet::new();
        for id in held {
            let Some(lease) = self.chain.lease_now(&id).await else { continue };
            // Before the first settlement nothing was charged.
            let charged = self.chain.client.charge_proof(Storage::ID, &id).await.map_err(away)?;
            let empty = Escrow::new(&lease, charged.map_or(Credits::ZERO, |c| c.1)).is_empty();
            self.node.set_read_only(id, empty);
            if empty {
                unpaid.insert(id);
            }
        }
        if let Ok(mut known) = self.unpaid.lock() {
            for lease in unpaid.difference(&known) {
                tracing::warn!(%lease, "operator.storage.unpaid");
            }
            *known = unpaid;
        }
        Ok(())
    }
}

fn away(e: impl ToString) -> WorkerError {
    WorkerError::new("storage.chain", e, "look whether the node is up; the next epoch tries again")
}

fn failed(e: impl ToString) -> WorkerError {
    WorkerError::new("storage.duty", e, "run `cairn doctor` and look at the disk")
}

#[async_trait]
impl Worker<Storage> for StorageWorker {
    async fn commitment(&self, epoch: Epoch) -> Result<Option<Commitment>, WorkerError> {
        // Whoever holds nothing yet says so: silence would count against a device that has slots.
        let nothing = || OperatorTree::build([]).map(|t| t.commitment()).map_err(failed);
        let made = self.duties.commitment(epoch).await.map_err(failed)?;
        Ok(Some(made.map_or_else(nothing, Ok)?))
    }

    async fn answers(&self, epoch: Epoch, seed: Seed) -> Result<Option<Hash>, WorkerError> {
        // What the chain froze counts, not what we meant to post.
        let Some(entry) = self.chain.device(&self.device).await else { return Ok(None) };
        let Some(bytes) = entry.commitment else { return Ok(None) };
        let on_chain: Commitment = decode(&bytes).map_err(failed)?;
        let (duties, params) = (self.duties.clone(), self.params.clone());
        let suspect = !self.clean.load(Ordering::Relaxed);
        let work = move || duties.answers(epoch, seed, &params, &on_chain, suspect);
        let made = tokio::task::spawn_blocking(work).await.map_err(failed)?.map_err(failed)?;
        let clean = made.as_ref().is_none_or(|m| m.0.iter().all(|a| matches!(a.body, AnswerBody::Leaf(_))));
        self.clean.store(clean, Ordering::Relaxed);
        self.missed.store(!clean || (made.is_none() && on_chain.tree.total > 0), Ordering::Relaxed);
        Ok(made.map(|m| m.1))
    }

    async fn bundle(&self, epoch: Epoch) -> Result<Vec<Evidence>, WorkerError> {
        let duties = self.duties.clone();
        let made = tokio::task::spawn_blocking(move || duties.bundle_items(epoch)).await.map_err(failed)?;
        let mut items = made.map_err(failed)?;
        if items.is_empty() {
            self.clean.store(false, Ordering::Relaxed);
        }
        let reports = self.reports.clone();
        let seen = tokio::task::spawn_blocking(move || reports.hand_in(epoch)).await.map_err(failed)?;
        items.extend(seen.map_err(failed)?);
        Ok(items)
    }

    async fn defend(&self, claim: &Claim) -> Option<Defence> {
        let (duties, claim) = (self.duties.clone(), claim.clone());
        tokio::task::spawn_blocking(move || duties.defence(&claim)).await.ok()?
    }

    async fn settled(&self, epoch: Epoch) {
        if let Err(error) = self.duties.settled(epoch).await {
            tracing::warn!(%error, "operator.storage.settled");
        }
    }

    async fn tend(&self, _: Epoch) -> Result<(), WorkerError> {
        self.watch_escrows().await
    }

    async fn checks(&self) -> Vec<Finding> {
        let (slots, free) = (self.store.keys().len(), self.store.free());
        let missed = self.missed.load(Ordering::Relaxed);
        let mut out = vec![Finding::new(
            Level::Good,
            "storage.space",
            format!("{slots} lease slots held, {} MiB of the offer free", free >> 20),
            "",
        )];
        if missed {
            out.push(Finding::new(
                Level::Warning,
                "storage.unproven",
                "the last epoch was missed or had chunks missing: the next one asks sixteen times as much",
                "check the disk; if the daemon was restored from a backup, nothing: it proves what it has",
            ));
        }
        out.push(match self.audited().await {
            Ok(bad) => retrieval(&bad, self.node.audits_answered()),
            Err(e) => Finding::new(
                Level::Warning,
                "storage.retrieval",
                format!("what auditors saw is unknown: {}", e.cause),
                "look whether the node is up",
            ),
        });
        let unpaid = self.unpaid.lock().map(|u| u.len()).unwrap_or_default();
        if unpaid > 0 {
            out.push(Finding::new(
                Level::Warning,
                "storage.unpaid",
                format!("the escrow of {unpaid} leases is used up: they are served for reading only"),
                "nothing: the customer tops up, or the chain ends the lease and the space is yours again",
            ));
        }
        out
    }
}

/// What the audits of the last epochs mean for this device.
fn retrieval(bad: &[(Epoch, u16)], answered: usize) -> Finding {
    let Some((_, latest)) = bad.last() else {
        let cause = format!(
            "no bad retrieval audit in the last {LOOK_BACK} epochs; {answered} auditors were answered lately"
        );
        return Finding::new(Level::Good, "storage.retrieval", cause, "");
    };
    let epochs: Vec<String> = bad.iter().map(|(epoch, _)| epoch.to_string()).collect();
    let cause = format!("bad retrieval audits in epochs {}: {}", epochs.join(", "), note::explain(*latest));
    let remedy =
        "mend it: with good audits half of what was lost comes back in each half-life, nothing is slashed";
    Finding::new(Level::Warning, "storage.retrieval", cause, remedy)
}

/// Follows the chain and does the repairs that fall to this device, until aborted. The first drawn agent acts at once,
/// the others wait `patience` for each one before them.
pub async fn repairs(client: Client, agent: RepairAgent, from: Height, patience: Duration) {
    let mut events = client.events(from);
    // A lease that loses many slots at once names all of them with each loss: every job is done by one task.
    let under_way: UnderWay = Arc::default();
    // Ends with this future: an operator that is aborted repairs nothing any more.
    let mut tasks = JoinSet::new();
    while let Some(next) = events.next().await {
        let Ok(at) = next else { break };
        let Event::SlotReassigned { lease, to, repair: lost, .. } = at.event else { continue };
        if to == Some(agent.device()) {
            tasks.spawn(refill(agent.clone(), lease, patience));
        }
        if lost {
            tasks.spawn(repair_lease(agent.clone(), lease, patience, under_way.clone()));
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Jobs that a task is busy with.
type UnderWay = Arc<Mutex<BTreeSet<Job>>>;

/// Tries to copy a log that this device now keeps a replica of.
async fn refill(agent: RepairAgent, lease: LeaseId, patience: Duration) {
    for attempt in 1..=TRIES {
        match agent.refill(&lease).await {
            Ok(0) => return,
            Ok(entries) => {
                tracing::info!(%lease, entries, "operator.replica.filled");
                return;
            }
            Err(error) => tracing::debug!(%lease, attempt, %error, "operator.replica.try"),
        }
        tokio::time::sleep(patience / 4).await;
    }
    tracing::warn!(%lease, "operator.replica.given_up");
}

/// Does the jobs that a lease has for this agent, side by side, and leaves those that a task is busy with.
async fn repair_lease(agent: RepairAgent, lease: LeaseId, patience: Duration, under_way: UnderWay) {
    let jobs = agent.jobs(&lease).await;
    let begun = |job: &Job| under_way.lock().is_ok_and(|mut jobs| jobs.insert(*job));
    let jobs = jobs.into_iter().filter(begun);
    futures::future::join_all(jobs.map(|job| repair(agent.clone(), job, patience, under_way.clone()))).await;
}

/// Tries a job until it is done or has become somebody else's.
async fn repair(agent: RepairAgent, job: Job, patience: Duration, under_way: UnderWay) {
    tokio::time::sleep(job.delay(patience)).await;
    try_repair(&agent, &job, patience).await;
    if let Ok(mut jobs) = under_way.lock() {
        jobs.remove(&job);
    }
}

async fn try_repair(agent: &RepairAgent, job: &Job, patience: Duration) {
    for attempt in 1..=TRIES {
        match agent.run(job).await {
            Ok(done) => {
                tracing::info!(lease = %job.lease, slot = job.slot, rebuilt = done.is_some(), "operator.repair.done");
                return;
            }
            Err(error) => {
                tracing::debug!(lease = %job.lease, slot = job.slot, attempt, %error, "operator.repair.try")
            }
        }
        tokio::time::sleep(patience / 4).await;
    }
    tracing::warn!(lease = %job.lease, slot = job.slot, "operator.repair.given_up");
}

/// Tries of a repair.
const TRIES: u32 = 40;
