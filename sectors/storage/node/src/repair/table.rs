//! Keys and segment table of a lease, from its note and from the index log.

use cairn_sector::LeaseEntry;
use cairn_storage_codec::keys::LeaseRepairKey;
use cairn_storage_codec::segment::{SegmentId, SegmentMeta};
use cairn_storage_codec::wire::{
    Body, LogPage, MAX_PART, NoteSecret, Reply, box_secret, entry_hash, open_part,
};
use cairn_types::{LeaseId, Refusal};
use std::collections::BTreeMap;

use super::{RepairAgent, refuse};
use crate::client::nonsense;

/// Most segments of a table.
const MAX_SEGMENTS: usize = 1 << 18;

/// What the note told.
pub(super) struct Secrets {
    pub lease: LeaseId,
    pub key: LeaseRepairKey,
    note: NoteSecret,
}

impl RepairAgent {
    /// Opens the note that the customer left on the lease's slots.
    pub(super) async fn secrets(&self, lease: &LeaseEntry) -> Result<Secrets, Refusal> {
        let secret = box_secret(&self.identity.key);
        for (slot, _) in (0u16..).zip(&lease.slots) {
            let Ok(Reply::Note(Some(note))) = self.ask(lease, slot, &Body::NoteGet, None).await else {
                continue;
            };
            if let Some(note) = note.open(&self.identity.device, &secret).filter(|n| n.lease == lease.id) {
                return Ok(Secrets { lease: lease.id, key: note.key(), note });
            }
        }
        Err(refuse("no slot has a note that this agent can open"))
    }

    /// The lease's segments, from the replica of the index log that reaches furthest.
    pub(super) async fn table(&self, secrets: &Secrets) -> Result<BTreeMap<SegmentId, SegmentMeta>, Refusal> {
        let index =
            self.chain.lease(&secrets.note.index).await.ok_or_else(|| refuse("the index lease is gone"))?;
        let grant = Some(secrets.note.grant);
        let mut heads = Vec::new();
        for (slot, _) in (0u16..).zip(&index.slots) {
            if let Ok(Reply::Log(state)) = self.ask(&index, slot, &Body::LogHead, grant).await {
                heads.push((state.next, state.first, slot));
            }
        }
        heads.sort_unstable_by(|a, b| b.cmp(a));
        let mut last = refuse("no slot of the index lease answers");
        for (next, first, slot) in heads {
            match self.read(&index, slot, first, next, secrets).await {
                Ok(table) => return Ok(table),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    async fn read(
        &self,
        index: &LeaseEntry,
        slot: u16,
        first: u64,
        next: u64,
        secrets: &Secrets,
    ) -> Result<BTreeMap<SegmentId, SegmentMeta>, Refusal> {
        let mut table = BTreeMap::new();
        let (mut at, mut hash) = (first, None);
        while at < next {
            let body = Body::LogRead { from: at, max_bytes: MAX_PART };
            let reply =
                self.ask(index, slot, &body, Some(secrets.note.grant)).await.map_err(Refusal::from)?;
            let Reply::Entries(page) = reply else { return Err(nonsense(&reply).into()) };
            let follows = page.seq == at && !page.entries.is_empty() && hash.is_none_or(|h| h == page.prev);
            if !follows {
                return Err(refuse("the log does not hang together"));
            }
            hash = Some(fold(&page, secrets, &mut table)?);
            at = at.saturating_add(u64::try_from(page.entries.len()).unwrap_or(u64::MAX));
        }
        Ok(table)
    }
}

/// Takes a page into the table; returns the hash of its last entry.
fn fold(
    page: &LogPage,
    secrets: &Secrets,
    table: &mut BTreeMap<SegmentId, SegmentMeta>,
) -> Result<cairn_types::Hash, Refusal> {
    let mut hash = page.prev;
    for (seq, entry) in (page.seq..).zip(&page.entries) {
        hash = entry_hash(&hash, seq, entry);
        let parts = entry.repair.iter().filter_map(|p| open_part(&secrets.key, p));
        for part in parts.filter(|p| p.lease == secrets.lease) {
            if part.reset {
                table.clear();
            }
            for id in &part.removed {
                table.remove(id);
            }
            table.extend(part.added.into_iter().map(|m| (*m.id(), m)));
            if table.len() > MAX_SEGMENTS {
                return Err(refuse("the segment table is too long"));
            }
        }
    }
    Ok(hash)
}
