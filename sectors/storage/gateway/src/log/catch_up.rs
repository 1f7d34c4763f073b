//! Bringing one replica up to the head.

use super::{MAX_LOG_BATCH, Placed, size};
use crate::error::ShardError;
use crate::operators::Operators;
use crate::ports::Seat;
use cairn_storage_codec::wire::entry_hash;
use cairn_types::Hash;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a replica is brought up to date from.
pub(super) struct Source {
    pub operators: Arc<Operators>,
    /// Number of the entry that comes after all of ours.
    pub next: u64,
    pub hashes: Arc<BTreeMap<u64, Hash>>,
    pub recent: BTreeMap<u64, Placed>,
    pub others: Vec<Seat>,
}

impl Source {
    /// Makes the replica hold our entries up to the head.
    pub async fn bring(&self, seat: &Seat, synced: bool) -> Result<(), ShardError> {
        if synced {
            match self.send(seat, self.next.saturating_sub(1)).await {
                Err(ShardError::Log) => {}
                other => return other,
            }
        }
        let next = self.common(seat).await?;
        self.send(seat, next).await
    }

    /// Sends entries from `seq` to the end, as many at once as an append takes.
    async fn send(&self, seat: &Seat, mut seq: u64) -> Result<(), ShardError> {
        while seq < self.next {
            let first = self.entry(seq).await?;
            let (from, prev, mut bytes) = (seq, first.prev, size(&first.entry));
            let mut batch = vec![(*first.entry).clone()];
            seq += 1;
            while seq < self.next {
                let next = self.entry(seq).await?;
                bytes += size(&next.entry);
                if bytes > MAX_LOG_BATCH {
                    break;
                }
                batch.push((*next.entry).clone());
                seq += 1;
            }
            self.operators.log_append(seat, from, prev, batch).await?;
        }
        Ok(())
    }

    /// First entry that the replica does not have as we do; `next` if it has all.
    async fn common(&self, seat: &Seat) -> Result<u64, ShardError> {
        let first = self.hashes.keys().next().copied().unwrap_or(self.next);
        let state = self.operators.log_head(seat).await?;
        if state.next == 0 || self.hashes.get(&(state.next - 1)) == Some(&state.head) {
            return Ok(state.next.max(first));
        }
        let mut next = first.max(state.first);
        loop {
            let page = self.operators.log_read(seat, next).await?;
            if page.entries.is_empty() {
                return Ok(next);
            }
            let (mut seq, mut prev) = (page.seq, self.before(page.seq, page.prev));
            for entry in &page.entries {
                let hash = entry_hash(&prev, seq, entry);
                if seq != next || self.hashes.get(&seq) != Some(&hash) {
                    return Ok(next);
                }
                (seq, prev, next) = (seq + 1, hash, next + 1);
            }
        }
    }

    /// Hash of the entry before `seq`: ours where we know it, since a replica forgets it when it truncates.
    fn before(&self, seq: u64, told: Hash) -> Hash {
        let known = seq.checked_sub(1).and_then(|s| self.hashes.get(&s)).copied();
        known.or_else(|| self.recent.get(&seq).map(|p| p.prev)).unwrap_or(told)
    }

    async fn entry(&self, seq: u64) -> Result<Placed, ShardError> {
        if let Some(placed) = self.recent.get(&seq) {
            return Ok(placed.clone());
        }
        for seat in &self.others {
            let Ok(page) = self.operators.log_read(seat, seq).await else { continue };
            let Some(entry) = page.entries.into_iter().next().filter(|_| page.seq == seq) else { continue };
            let prev = self.before(seq, page.prev);
            let hash = entry_hash(&prev, seq, &entry);
            if self.hashes.get(&seq) == Some(&hash) {
                return Ok(Placed { seq, prev, hash, entry: Arc::new(entry) });
            }
        }
        Err(ShardError::NotFound)
    }
}
