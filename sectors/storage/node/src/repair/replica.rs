//! Filling a replica of an index log that this device was given, from the other replicas.
//!
//! The customer's gateway brings its replicas up to date by itself; this is for the time when there is no gateway. Only
//! then would the number of replicas shrink with every operator that leaves. The entries are sealed: whoever holds a
//! replica can copy it and read nothing. What is copied stands under the lowest fence, so that a writer may replace it.

use cairn_sector::LeaseEntry;
use cairn_storage_codec::wire::{Body, LogEntry, LogPage, LogState, MAX_PART, Reply, entry_hash};
use cairn_storage_rules::types::{Kind, Order};
use cairn_types::{Hash, LeaseId, Refusal, decode_bounded};
use std::collections::BTreeMap;

use super::{RepairAgent, refuse};
use crate::client::nonsense;
use crate::store::{Quota, SlotKey, as_len};

/// Most bytes of a log that a device copies by itself; they are checked in memory before any of them is stored.
const MOST: u64 = 256 << 20;

/// Entries that follow each other.
struct Copied {
    seq: u64,
    prev: Hash,
    entries: Vec<LogEntry>,
}

impl RepairAgent {
    /// Brings this device's replicas of the lease's log to where most others stand; the number of entries that came.
    /// Safe to repeat. A lease that is no log, or has no slot here, has nothing to fill.
    ///
    /// # Errors
    /// No other replica serves what its head says, or this device's own entries are others: then only the writer can
    /// mend it.
    pub async fn refill(&self, lease: &LeaseId) -> Result<u64, Refusal> {
        let me = self.identity.device;
        let lease = self.chain.lease(lease).await.ok_or_else(|| refuse("the lease is gone"))?;
        let order = decode_bounded::<Order>(&lease.order, cairn_storage_rules::LIMITS.order);
        let Some(order) = order.ok().filter(|o| o.kind == Kind::Index) else { return Ok(0) };
        let reserve = order.chunks_per_slot.saturating_mul(1024);
        let mut filled = 0u64;
        for (slot, s) in (0u16..).zip(&lease.slots).filter(|(_, s)| s.device == me) {
            let key = SlotKey { lease: lease.id, slot, generation: s.generation };
            filled = filled.saturating_add(self.fill(&lease, key, reserve).await?);
        }
        Ok(filled)
    }

    async fn fill(&self, lease: &LeaseEntry, key: SlotKey, reserve: u64) -> Result<u64, Refusal> {
        let have = self.store.log_state(&key);
        let mut heads = Vec::new();
        for slot in (0u16..).zip(&lease.slots).map(|(n, _)| n).filter(|n| *n != key.slot) {
            if let Ok(Reply::Log(state)) = self.ask(lease, slot, &Body::LogHead, None).await {
                heads.push((slot, state));
            }
        }
        let Some((next, head)) = agreed(&heads) else { return Ok(0) };
        if have.next >= next {
            return Ok(0);
        }
        let mut last = refuse("no replica of the log answers");
        for (slot, state) in heads.into_iter().filter(|(_, s)| (s.next, s.head) == (next, head)) {
            let copied = match self.copy(lease, slot, &have, &state).await {
                Ok(copied) => copied,
                Err(e) => {
                    last = e;
                    continue;
                }
            };
            let came = as_len(copied.entries.len());
            let (store, quota) = (self.store.clone(), Quota { reserve, ..Quota::default() });
            let write = move || store.log_append(&key, 0, copied.seq, &copied.prev, &copied.entries, &quota);
            let written = tokio::task::spawn_blocking(write).await.map_err(|e| refuse(e.to_string()))?;
            return written.map(|_| came);
        }
        Err(last)
    }

    /// Everything that a replica has and we have not, checked against the head that most agree on.
    async fn copy(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        have: &LogState,
        there: &LogState,
    ) -> Result<Copied, Refusal> {
        let from = if have.next > there.first { have.next } else { there.first };
        let mut out = Copied { seq: from, prev: Hash::default(), entries: Vec::new() };
        let (mut hash, mut at, mut bytes) = (Hash::default(), from, 0u64);
        while at < there.next {
            let page = self.page(lease, slot, at).await?;
            if out.entries.is_empty() {
                (out.prev, hash) = (page.prev, page.prev);
            }
            for entry in page.entries {
                hash = entry_hash(&hash, at, &entry);
                bytes = bytes.saturating_add(as_len(entry.private.len()));
                bytes = bytes.saturating_add(entry.repair.iter().map(|p| as_len(p.len())).sum());
                at = at.saturating_add(1);
                out.entries.push(entry);
            }
            if bytes > MOST {
                return Err(refuse("the log is too large to be copied by a device; its writer brings it"));
            }
        }
        if (at, hash) == (there.next, there.head) {
            Ok(out)
        } else {
            Err(refuse("a replica serves other entries than its head names"))
        }
    }

    async fn page(&self, lease: &LeaseEntry, slot: u16, from: u64) -> Result<LogPage, Refusal> {
        let body = Body::LogRead { from, max_bytes: MAX_PART };
        match self.ask(lease, slot, &body, None).await.map_err(Refusal::from)? {
            Reply::Entries(page) if page.seq == from && !page.entries.is_empty() => Ok(page),
            other => Err(nonsense(&other).into()),
        }
    }
}

/// Where most replicas stand; of equally many the one that reaches furthest. `None` without a replica that holds anything.
fn agreed(heads: &[(u16, LogState)]) -> Option<(u64, Hash)> {
    let mut votes: BTreeMap<(u64, Hash), usize> = BTreeMap::new();
    for (_, s) in heads.iter().filter(|(_, s)| s.next > 0) {
        *votes.entry((s.next, s.head)).or_default() += 1;
    }
    votes.into_iter().max_by_key(|((next, head), n)| (*n, *next, *head)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_replicas_decide_and_then_the_longest() {
        let state = |next, head| LogState { next, head: Hash([head; 32]), ..LogState::default() };
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&[(0, state(0, 0))]), None, "an empty replica says nothing");
        let heads = [(0, state(9, 1)), (1, state(5, 2)), (2, state(5, 2)), (3, state(0, 0))];
        assert_eq!(agreed(&heads), Some((5, Hash([2; 32]))), "one that claims to be ahead is alone");
        assert_eq!(agreed(&heads[..2]), Some((9, Hash([1; 32]))));
    }
}
