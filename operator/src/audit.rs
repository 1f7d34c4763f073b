//! Performs the retrieval audits that the seed drew for this device: spread over the epoch, a few at a time, each
//! bounded in time, and remembered on disk until the bundle takes them along.

use cairn_sector::Seed;
use cairn_storage_node::{Auditor, ChainView, Store, StoreError};
use cairn_storage_rules::types::{Audited, Evidence, Params, Seen};
use cairn_types::{DeviceId, Epoch, Height};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{ChainLeases, Clock, Now};

/// Audits under way at once.
const AT_ONCE: usize = 4;
/// Audits of one epoch at most; a device that was drawn for more leaves the rest, and a missing report counts as none.
const MOST: usize = 1024;
/// Times that a device is asked before its silence or refusal is reported.
const TRIES: u64 = 3;
/// Doublings beyond the governed time after which an answer is not waited for any more.
const PATIENCE: u8 = 3;

/// What this device saw as an auditor, on its disk.
pub struct Reports {
    store: Arc<Store>,
    /// Epochs before this one are handed in: a report that comes later would make the bundle another one.
    open: Mutex<Epoch>,
}

impl Reports {
    /// Over the device's store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, open: Mutex::new(Epoch(0)) }
    }

    /// Keeps a report, unless its epoch was handed in. True if it was kept.
    fn record(&self, report: &Audited) -> Result<bool, StoreError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if report.epoch < *open {
            return Ok(false);
        }
        self.store.put_report(report).map(|()| true)
    }

    /// Items for the bundle of an epoch; the same on every call, since nothing is taken in after the first.
    pub(crate) fn hand_in(&self, epoch: Epoch) -> Result<Vec<Evidence>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = (*open).max(epoch.plus(1));
        let reports = self.store.reports(epoch)?;
        // Who reached nobody was cut off itself.
        if reports.len() > 1 && reports.iter().all(|r| r.seen == Seen::Unreachable) {
            tracing::warn!(%epoch, audits = reports.len(), "operator.audit.reached_nobody");
            return Ok(Vec::new());
        }
        Ok(reports.into_iter().map(Evidence::Audited).collect())
    }

    fn done(&self, epoch: Epoch) -> Vec<DeviceId> {
        self.store.reports(epoch).unwrap_or_default().into_iter().map(|r| r.device).collect()
    }
}

/// What every audit of an epoch shares.
#[derive(Clone)]
struct Round {
    chain: Arc<ChainLeases>,
    auditor: Auditor,
    reports: Arc<Reports>,
    clock: Clock,
    limit: Arc<Semaphore>,
    patience: Duration,
    now: Now,
}

/// Audits until the clock stops or the task is aborted.
pub async fn audits(
    chain: Arc<ChainLeases>,
    auditor: Auditor,
    reports: Arc<Reports>,
    params: Params,
    mut clock: Clock,
) {
    let limit = Arc::new(Semaphore::new(AT_ONCE));
    let patience = Duration::from_millis(1 << params.audit_log_ms.saturating_add(PATIENCE).min(16));
    // Ends with this future: an operator that is aborted audits nobody any more.
    let mut tasks = JoinSet::new();
    let mut planned = None;
    while let Some(now) = clock.next().await {
        while tasks.try_join_next().is_some() {}
        if now.seed.is_none() || planned == Some(now.epoch) {
            continue;
        }
        let Some(drawn) = chain.drawn(now.epoch).await else { continue };
        planned = Some(now.epoch);
        let done = reports.done(now.epoch);
        let round = Round {
            chain: chain.clone(),
            auditor: auditor.clone(),
            reports: reports.clone(),
            clock: clock.clone(),
            limit: limit.clone(),
            patience,
            now,
        };
        for device in drawn.0.iter().filter(|d| !done.contains(d)).take(MOST) {
            tasks.spawn(round.clone().audit(*device));
        }
    }
}

/// Height at which a device is asked first: between a quarter and three quarters of the epoch, so that all audits of one
/// device, and all of one auditor, do not come at once.
fn due(now: &Now, seed: &Seed, device: &DeviceId, auditor: &DeviceId) -> Height {
    let blocks = now.params.epoch_blocks;
    let span = (blocks / 2).max(1);
    now.start.plus(blocks / 4).plus(seed.below("cairn/operator/audit-time", &[&device.0, &auditor.0], span))
}

impl Round {
    async fn audit(mut self, device: DeviceId) {
        let epoch = self.now.epoch;
        let Some(seed) = self.now.seed else { return };
        let first = due(&self.now, &seed, &device, &self.auditor.device());
        let pause = (self.now.params.epoch_blocks / 16).max(1);
        let mut seen = None;
        for attempt in 0..TRIES {
            if !self.wait(epoch, first.plus(attempt * pause)).await {
                break;
            }
            seen = self.ask(epoch, &device).await.or(seen);
            if !matches!(seen, Some(Seen::Refused | Seen::Unreachable)) {
                break;
            }
        }
        let Some(seen) = seen else { return };
        let (reports, report) = (self.reports, Audited { epoch, device, seen });
        match tokio::task::spawn_blocking(move || reports.record(&report)).await {
            Ok(Ok(kept)) => tracing::debug!(%device, %epoch, ?seen, kept, "operator.audit.seen"),
            Ok(Err(error)) => tracing::warn!(%device, %error, "operator.audit.lost"),
            Err(error) => tracing::warn!(%device, %error, "operator.audit.given_up"),
        }
    }

    /// One question. `None`: there is nothing to ask, or it is too late.
    async fn ask(&self, epoch: Epoch, device: &DeviceId) -> Option<Seen> {
        let _turn = self.limit.acquire().await.ok()?;
        let entry = self.chain.device(device).await?;
        // The entry shows the commitment of the epoch that is now.
        if self.chain.epoch() != epoch {
            return None;
        }
        let asked = tokio::time::timeout(self.patience, self.auditor.audit(epoch, &entry)).await;
        asked.unwrap_or(Some(Seen::Unreachable))
    }

    /// Waits for a height of the epoch; false if the epoch is over or the clock has stopped.
    async fn wait(&mut self, epoch: Epoch, height: Height) -> bool {
        loop {
            match self.clock.now() {
                Some(now) if now.epoch != epoch => return false,
                Some(now) if now.height >= height => return true,
                _ => {}
            }
            if self.clock.next().await.is_none() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_ledger::tables::ChainParams;
    use cairn_storage_node::disk::SimDisk;
    use cairn_types::NetworkId;

    fn reports() -> Reports {
        Reports::new(Arc::new(Store::open(Arc::new(SimDisk::new()), 1 << 20).expect("an empty disk opens")))
    }

    fn saw(epoch: u64, device: u8, seen: Seen) -> Audited {
        Audited { epoch: Epoch(epoch), device: DeviceId([device; 32]), seen }
    }

    #[test]
    fn a_bundle_is_the_same_on_every_call_whatever_comes_later() {
        let reports = reports();
        let (first, other) = (saw(3, 1, Seen::Served { log_ms: 4 }), saw(4, 1, Seen::Refused));
        assert_eq!((reports.record(&first), reports.record(&other)), (Ok(true), Ok(true)));
        let handed = reports.hand_in(Epoch(3)).expect("the disk works");
        assert_eq!(handed, [Evidence::Audited(first)]);
        assert_eq!(reports.record(&saw(3, 2, Seen::Wrong)), Ok(false));
        assert_eq!(reports.record(&saw(2, 2, Seen::Wrong)), Ok(false));
        assert_eq!(reports.hand_in(Epoch(3)), Ok(handed));
        assert_eq!(reports.hand_in(Epoch(4)), Ok(vec![Evidence::Audited(other)]));
    }

    #[test]
    fn who_reached_nobody_blames_nobody_and_a_later_word_replaces_an_earlier() {
        let reports = reports();
        for device in 1..4 {
            assert_eq!(reports.record(&saw(1, device, Seen::Unreachable)), Ok(true));
        }
        assert_eq!(reports.done(Epoch(1)).len(), 3);
        assert_eq!(reports.hand_in(Epoch(1)), Ok(vec![]));
        for seen in [Seen::Unreachable, Seen::Refused] {
            assert_eq!(reports.record(&saw(2, 1, seen)), Ok(true));
        }
        assert_eq!(reports.hand_in(Epoch(2)), Ok(vec![Evidence::Audited(saw(2, 1, Seen::Refused))]));
    }

    #[test]
    fn audits_lie_in_the_middle_of_the_epoch_and_apart() {
        let params = Arc::new(ChainParams { epoch_blocks: 400, ..ChainParams::default() });
        let (start, seed) = (Height(1001), Some(Seed([3; 32])));
        let now = Now { network: NetworkId::default(), height: start, epoch: Epoch(2), start, seed, params };
        let at = |n: u8| due(&now, &Seed([3; 32]), &DeviceId([n; 32]), &DeviceId([200; 32])).0;
        let mut all: Vec<u64> = (0..20).map(at).collect();
        assert!(all.iter().all(|h| (1101..1301).contains(h)), "{all:?}");
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 15, "{all:?}");
    }
}
