//! Requests of an agent to the slots of a lease.

use cairn_sector::LeaseEntry;
use cairn_storage_codec::segment::{SegmentId, SegmentMeta};
use cairn_storage_codec::wire::{Body, Grant, Head, Held, Listing, MAX_LIFE, MAX_PART, Reply, SlotList};
use cairn_storage_rules::types::{CoSigned, Signer};
use cairn_types::{DeviceId, Refusal};
use std::collections::BTreeMap;

use super::{RepairAgent, refuse};
use crate::client::{CallError, nonsense};

/// Most entries of a slot that an agent reads: as many 64 KiB fragments as 16 GiB hold.
const MAX_ENTRIES: u64 = 1 << 18;

impl RepairAgent {
    pub(super) fn head(&self, lease: &LeaseEntry, slot: u16, generation: u32, device: DeviceId) -> Head {
        Head {
            network: self.chain.network(),
            lease: lease.id,
            slot,
            generation,
            fence: lease.fence,
            device,
            expires: self.chain.epoch().plus(MAX_LIFE / 2),
            nonce: 0,
            signer: Signer::Agent(self.identity.device),
        }
    }

    /// Asks the present holder of a slot.
    pub(super) async fn ask(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        body: &Body,
        grant: Option<Grant>,
    ) -> Result<Reply, CallError> {
        let gone = || CallError::Nonsense("the slot has no holder".into());
        let entry = lease.slots.get(usize::from(slot)).ok_or_else(gone)?;
        let device = self.chain.device(&entry.device).await.ok_or_else(gone)?;
        let head = self.head(lease, slot, entry.generation, entry.device);
        self.caller.ask(&device.key, head, body, grant, &self.identity.key).await
    }

    /// A whole fragment, as long as the table says.
    pub(super) async fn fetch(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        meta: &SegmentMeta,
    ) -> Result<Vec<u8>, CallError> {
        let (mut out, mut offset) = (Vec::new(), 0u64);
        while offset < meta.fragment_len() {
            let left = meta.fragment_len() - offset;
            let len = u32::try_from(left.min(u64::from(MAX_PART))).unwrap_or(MAX_PART);
            match self.ask(lease, slot, &Body::Get { segment: *meta.id(), offset, len }, None).await? {
                Reply::Bytes(bytes) if u64::try_from(bytes.len()) == Ok(u64::from(len)) => {
                    out.extend_from_slice(&bytes)
                }
                other => return Err(nonsense(&other)),
            }
            offset = offset.saturating_add(u64::from(len));
        }
        Ok(out)
    }

    async fn listing(
        &self,
        lease: &LeaseEntry,
        slot: u16,
        staged: bool,
    ) -> Result<(Vec<Held>, Option<CoSigned>), Refusal> {
        let mut out: Vec<Held> = Vec::new();
        loop {
            let after = u64::try_from(out.len()).map_err(|e| refuse(e.to_string()))?;
            let reply =
                self.ask(lease, slot, &Body::List { staged, after }, None).await.map_err(Refusal::from)?;
            let Reply::List(Listing { revision, total, entries }) = reply else {
                return Err(nonsense(&reply).into());
            };
            let end = entries.is_empty();
            out.extend(entries);
            if end || after.max(total) > MAX_ENTRIES || u64::try_from(out.len()).is_ok_and(|n| n >= total) {
                return Ok((out, revision));
            }
        }
    }

    /// The list that stands on the holder of a slot, and its revision.
    pub(super) async fn holding(
        &self,
        lease: &LeaseEntry,
        slot: u16,
    ) -> Result<(SlotList, Option<CoSigned>), Refusal> {
        let (held, revision) = self.listing(lease, slot, false).await?;
        let list = SlotList::from_held(held).map_err(|e| refuse(e.to_string()))?;
        if revision.as_ref().is_some_and(|r| r.revision.tree != list.root()) {
            return Err(refuse("the holder's list is not that of its revision"));
        }
        Ok((list, revision))
    }

    /// What is staged on the holder of a slot.
    pub(super) async fn staged(
        &self,
        lease: &LeaseEntry,
        slot: u16,
    ) -> Result<BTreeMap<SegmentId, Held>, Refusal> {
        let (held, _) = self.listing(lease, slot, true).await?;
        Ok(held.into_iter().map(|h| (h.segment, h)).collect())
    }
}
