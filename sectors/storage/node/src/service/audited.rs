//! Answers drawn auditors: unpaid, and bounded like the reads of agents.

use cairn_storage_codec::wire::{AuditAsk, Reply, WireError, code};
use cairn_storage_rules::audit::positions;
use cairn_types::{DeviceId, Epoch};
use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::StorageNode;
use crate::duties::Duties;

/// Answered questions of an epoch, by auditor.
pub(super) type AuditReads = BTreeMap<Epoch, BTreeMap<DeviceId, u32>>;

/// Answers to one auditor in an epoch: an answer may be lost on the way.
const EACH: u32 = 4;
/// Auditors that are answered in an epoch while the draw is not known here.
const UNKNOWN: usize = 16;
/// Epochs between the auditor's clock and this device's, either way.
const SKEW: u64 = 1;

fn refuse(cause: String) -> WireError {
    WireError::new(code::AUDIT, cause, "audit what the seed of the epoch drew, and a few times at most")
}

impl StorageNode {
    /// Auditors that were answered in this epoch and those beside it.
    pub fn audits_answered(&self) -> usize {
        let reads = self.0.audits.lock().unwrap_or_else(PoisonError::into_inner);
        reads.values().map(BTreeMap::len).sum()
    }

    /// Checks who asks, counts the question, reads the chunks.
    pub(super) async fn audited(&self, asked: &AuditAsk) -> Result<Reply, WireError> {
        self.admit_auditor(asked).await?;
        let (this, asked) = (self.clone(), *asked);
        let read = tokio::task::spawn_blocking(move || this.read_for(&asked)).await;
        read.map_err(|e| WireError::new(code::DISK, format!("the request was given up: {e}"), "ask again"))?
    }

    async fn admit_auditor(&self, asked: &AuditAsk) -> Result<(), WireError> {
        let (inner, ask) = (&self.0, &asked.ask);
        if (ask.network, ask.device) != (inner.chain.network(), inner.identity.device) {
            let cause = "the question is for another network or device";
            return Err(WireError::new(code::NOT_YOUR_SLOT, cause, "ask the device that was drawn"));
        }
        let now = inner.chain.epoch();
        if ask.epoch.0.abs_diff(now.0) > SKEW {
            let cause = format!("it is about epoch {}, now is {now}", ask.epoch);
            return Err(WireError::new(code::EXPIRED, cause, "ask within the epoch of the draw"));
        }
        // Before anything is looked up for strangers, where the draw is known.
        let drawn = inner.chain.auditors(ask.epoch).await;
        if drawn.as_ref().is_some_and(|list| !list.contains(&ask.auditor)) {
            return Err(refuse(format!("{} was not drawn in epoch {}", ask.auditor, ask.epoch)));
        }
        let key = inner.chain.device(&ask.auditor).await.map(|d| d.key);
        if !key.is_some_and(|key| ask.check(&key, &asked.signature).is_ok()) {
            let cause = "the question is not signed by the auditor's device key";
            return Err(WireError::new(code::SIGNATURE, cause, "sign it with the key that the chain shows"));
        }
        self.count_audit(asked, if drawn.is_some() { usize::MAX } else { UNKNOWN })
    }

    fn count_audit(&self, asked: &AuditAsk, auditors: usize) -> Result<(), WireError> {
        let (ask, now) = (&asked.ask, self.0.chain.epoch());
        let mut reads = self.0.audits.lock().unwrap_or_else(PoisonError::into_inner);
        reads.retain(|epoch, _| epoch.0.abs_diff(now.0) <= SKEW);
        let known = reads.entry(ask.epoch).or_default();
        if !known.contains_key(&ask.auditor) && known.len() >= auditors {
            return Err(refuse(format!("{auditors} auditors were answered in this epoch")));
        }
        let count = known.entry(ask.auditor).or_default();
        if *count >= EACH {
            return Err(refuse(format!("{EACH} questions of this auditor were answered")));
        }
        *count += 1;
        Ok(())
    }

    fn read_for(&self, asked: &AuditAsk) -> Result<Reply, WireError> {
        let inner = &self.0;
        let (identity, store) = (inner.identity.clone(), inner.store.clone());
        let duties = Duties::new(identity, store, inner.chain.clone(), inner.cheats.clone());
        let wanted = |total| positions(&inner.params, &asked.signature, total);
        let chunks = duties.chunks(asked.ask.epoch, wanted).map_err(WireError::from)?;
        chunks.map(Reply::Audited).ok_or_else(|| {
            let cause = format!("nothing was committed to for epoch {}", asked.ask.epoch);
            WireError::new(code::DAMAGED, cause, "ask another device")
        })
    }
}
