//! Does each duty once, in its phase.

use cairn_audit::Bundle;
use cairn_client::{ClientError, Device};
use cairn_ledger::events::Event;
use cairn_ledger::tables::Disputes;
use cairn_sector::AnyWorker;
use cairn_types::{AccountId, Epoch, Hash, Height};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

use crate::{Clock, Now};

/// Kinds of duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Commit,
    Answers,
    Bundle,
    Claim,
    Tend,
}

/// What a daemon did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DaemonStatus {
    /// Commitments posted.
    pub commitments: u64,
    /// Digests of answers posted.
    pub answers: u64,
    /// Bundles handed in.
    pub bundles: u64,
    /// Claims that drew something.
    pub claims: u64,
    /// The last failure, cleared by the next success of the same kind.
    pub trouble: Option<String>,
}

/// Ends a task with its owner: a daemon that is aborted takes its watcher along.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the duties of one device.
pub struct Daemon {
    device: Device,
    operator: AccountId,
    worker: Arc<dyn AnyWorker>,
    status: Arc<Mutex<DaemonStatus>>,
}

impl Daemon {
    /// A daemon for a registered device.
    pub fn new(device: Device, operator: AccountId, worker: Arc<dyn AnyWorker>) -> Self {
        Self { device, operator, worker, status: Arc::default() }
    }

    /// A handle on what it did.
    pub fn status(&self) -> Arc<Mutex<DaemonStatus>> {
        self.status.clone()
    }

    /// Works until the clock stops or the task is aborted.
    pub async fn run(self, mut clock: Clock) {
        let this = Arc::new(self);
        let now = clock.now();
        let from = now.map_or(Height(0), |n| n.height.minus(n.params.dispute_blocks));
        let disputes = tokio::spawn(this.clone().disputes(from));
        let _stop = AbortOnDrop(disputes);
        // Ends with this future: a daemon that is aborted leaves no step behind.
        let mut steps = JoinSet::new();
        let mut begun: BTreeSet<(Epoch, Step)> = BTreeSet::new();
        while let Some(now) = clock.next().await {
            for (epoch, step) in this.due(&now) {
                if begun.insert((epoch, step)) {
                    let (me, now) = (this.clone(), now.clone());
                    steps.spawn(async move { me.step(epoch, step, &now).await });
                }
            }
            while steps.try_join_next().is_some() {}
            begun = begun.split_off(&(now.epoch.minus(2), Step::Commit));
        }
    }

    /// What is due now. A step that was begun is not due again; the chain refuses a second posting anyway.
    fn due(&self, now: &Now) -> Vec<(Epoch, Step)> {
        let (p, params) = (now.progress(), &now.params);
        let mut out = Vec::new();
        if now.epoch.0 > 0 && p < params.cut_blocks {
            out.push((now.epoch.minus(1), Step::Bundle));
        }
        if now.seed.is_some() && p < params.answer_blocks {
            out.push((now.epoch, Step::Answers));
        }
        if p >= params.vote_blocks.min(params.epoch_blocks / 2) {
            out.push((now.epoch, Step::Claim));
            out.push((now.epoch, Step::Tend));
        }
        // Late enough that the work of the epoch is in it, early enough to be in a block before the lock.
        if p >= params.epoch_blocks * 6 / 10 && p + 1 < params.epoch_blocks {
            out.push((now.epoch.plus(1), Step::Commit));
        }
        out
    }

    async fn step(&self, epoch: Epoch, step: Step, now: &Now) {
        let result = match step {
            Step::Commit => self.commit(epoch).await,
            Step::Answers => self.answers(epoch, now).await,
            Step::Bundle => self.bundle(epoch, now).await,
            Step::Claim => self.claim().await,
            Step::Tend => self.worker.tend(epoch).await.map(|()| false).map_err(|e| e.to_string()),
        };
        let Ok(mut status) = self.status.lock() else { return };
        match result {
            Ok(false) => {}
            Ok(true) => {
                status.trouble = None;
                match step {
                    Step::Commit => status.commitments += 1,
                    Step::Answers => status.answers += 1,
                    Step::Bundle => status.bundles += 1,
                    Step::Claim => status.claims += 1,
                    Step::Tend => {}
                }
            }
            Err(trouble) => {
                tracing::warn!(device = %self.device.id(), %epoch, ?step, %trouble, "operator.duty.failed");
                status.trouble = Some(format!("{step:?} of epoch {epoch}: {trouble}"));
            }
        }
    }

    async fn commit(&self, epoch: Epoch) -> Result<bool, String> {
        let Some(bytes) = self.worker.commitment(epoch).await.map_err(|e| e.to_string())? else {
            return Ok(false);
        };
        posted(self.device.commit(epoch, bytes).await)
    }

    async fn answers(&self, epoch: Epoch, now: &Now) -> Result<bool, String> {
        let Some(seed) = now.seed else { return Ok(false) };
        let digest = self.worker.answers(epoch, seed).await.map_err(|e| e.to_string())?;
        match digest {
            Some(digest) => posted(self.device.answers(epoch, digest).await),
            None => Ok(false),
        }
    }

    async fn bundle(&self, epoch: Epoch, now: &Now) -> Result<bool, String> {
        let items = self.worker.bundle(epoch).await.map_err(|e| e.to_string())?;
        if items.is_empty() {
            return Ok(false);
        }
        let (network, sector, device) = (now.network, self.worker.sector(), self.device.id());
        let bundle = Bundle { network, sector, epoch, device, items }.sign(self.device.secret());
        let done = posted(self.device.bundle(epoch, bundle.encode()).await);
        self.worker.settled(epoch.minus(now.params.window_epochs)).await;
        done
    }

    async fn claim(&self) -> Result<bool, String> {
        match self.device.claim(self.worker.sector(), &self.operator).await {
            // Nothing to draw is the normal case, not a trouble.
            Err(e) if e.is("claim.nothing") || e.is("bank.insufficient") => Ok(false),
            Err(e) => Err(e.to_string()),
            Ok(None) => Ok(false),
            Ok(Some(included)) => match included.done() {
                Err(e) if e.is("claim.nothing") => Ok(false),
                other => other.map(|_| true).map_err(|e| e.to_string()),
            },
        }
    }
}

impl Daemon {
    /// Answers accusations until the stream ends. Starts far enough back to see those that are still open.
    async fn disputes(self: Arc<Self>, from: Height) {
        let mut events = self.device.client().events(from);
        let mut defences = JoinSet::new();
        while let Some(Ok(at)) = events.next().await {
            if let Event::DisputeOpened { dispute, device } = at.event
                && device == self.device.id()
            {
                let me = self.clone();
                defences.spawn(async move { me.defend(dispute).await });
            }
            while defences.try_join_next().is_some() {}
        }
    }

    /// Tries until the dispute is closed one way or the other.
    async fn defend(&self, dispute: Hash) {
        for _ in 0..DEFENCES {
            let open = self.device.client().get::<Disputes>(&dispute).await;
            let claim = match open {
                Ok(Some(row)) => row.claim,
                Ok(None) => return,
                Err(_) => continue,
            };
            let answered = match self.worker.defend(&claim).await {
                Some(answer) => posted(self.device.defend(dispute, answer).await),
                None => Err("the accused data cannot be served".to_owned()),
            };
            match answered {
                Ok(_) => return,
                Err(cause) => tracing::warn!(%dispute, %cause, "operator.dispute"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Tries of a defence.
const DEFENCES: u32 = 60;

/// A posting that is there already (after a restart) is as good as a new one.
fn posted(result: Result<cairn_client::Included, ClientError>) -> Result<bool, String> {
    match result.and_then(|i| i.done()) {
        Ok(_) => Ok(true),
        Err(e) if e.is("posting.twice") => Ok(false),
        Err(e) => Err(e.to_string()),
    }
}
