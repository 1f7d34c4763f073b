//! Revisions: what each slot holds, agreed with its device.

use super::{Lease, Volume, lock, read};
use crate::error::{GatewayError, ShardError};
use crate::ports::Seat;
use crate::record::SlotRoot;
use cairn_storage_codec::wire::{Held, MAX_IDS, SlotList};
use cairn_storage_codec::{SegmentId, SegmentMeta};
use cairn_storage_rules::types::{CoSigned, Fragment, Revision};
use cairn_types::DeviceId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands in a slot, as agreed last.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotState {
    list: SlotList,
    standing: Option<CoSigned>,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Slots whose revision stands as it should.
    pub agreed: usize,
    /// Slots whose device did not answer or refused.
    pub failed: usize,
}

impl Volume {
    /// Agrees with every slot on exactly what the index says. Call it before an epoch's lock, and now and then.
    ///
    /// # Errors
    /// A newer gateway took over.
    pub async fn flush_revisions(&self) -> Result<Flushed, GatewayError> {
        let mut out = Flushed::default();
        for lease in self.leases() {
            let seats = lease.seats();
            let all = seats.iter().map(|seat| async move {
                let revise = self.revise_seat(seat);
                tokio::time::timeout(self.limits.put, revise).await.unwrap_or(Err(ShardError::Unreachable))
            });
            let done = futures::future::join_all(all).await;
            if done.contains(&Err(ShardError::Fenced)) {
                return Err(GatewayError::Fenced);
            }
            let agreed = done.iter().filter(|d| d.is_ok()).count();
            out.agreed += agreed;
            out.failed += done.len() - agreed;
            if agreed == done.len() {
                self.sweep(&lease).await;
            }
        }
        Ok(out)
    }

    /// What a device last signed to hold for us: the ground of an accusation.
    pub async fn signed_by(&self, device: &DeviceId) -> Option<CoSigned> {
        for lease in self.leases() {
            for seat in lease.seats().iter().filter(|s| s.device == *device) {
                let key = (seat.pen.lease, seat.slot, seat.generation);
                let gate = lock(&self.slots).get(&key).cloned();
                let Some(gate) = gate else { continue };
                let known = gate.lock().await.as_ref().and_then(|state| state.standing.clone());
                if known.as_ref().is_some_and(|s| s.revision.tree.total > 0) {
                    return known;
                }
            }
        }
        None
    }

    /// Deletes what is staged and not needed: segments that died here, and what a gateway left that stopped between
    /// storing a segment and writing it down.
    async fn sweep(&self, lease: &Arc<Lease>) {
        let dead = lock(&self.garbage).remove(&lease.id()).unwrap_or_default();
        for seat in lease.seats().iter() {
            let orphans = tokio::time::timeout(self.limits.get, self.orphans(seat)).await;
            let mut here = dead.clone();
            here.extend(orphans.unwrap_or(Ok(Vec::new())).unwrap_or_default());
            let here: Vec<SegmentId> = here.into_iter().collect();
            for part in here.chunks(MAX_IDS) {
                let delete = self.operators.delete(seat, part.to_vec());
                let _ = tokio::time::timeout(self.limits.put, delete).await;
            }
        }
    }

    /// What is staged at a slot and neither on its way into the index nor in it.
    async fn orphans(&self, seat: &Seat) -> Result<Vec<SegmentId>, ShardError> {
        let mut out = self.staged_at(seat).await?;
        // In this order: a segment is in the index before it leaves what is pending.
        out.retain(|id| !lock(&self.pending).contains_key(id));
        out.retain(|id| read(&self.index).segment(id).is_none());
        Ok(out)
    }

    async fn staged_at(&self, seat: &Seat) -> Result<Vec<SegmentId>, ShardError> {
        let (mut out, mut after) = (Vec::new(), 0u64);
        loop {
            let page = self.operators.list(seat, true, after).await?;
            after = after.saturating_add(u64::try_from(page.entries.len()).unwrap_or(u64::MAX));
            let end = page.entries.is_empty() || after >= page.total;
            out.extend(page.entries.into_iter().map(|h| h.segment));
            if end {
                return Ok(out);
            }
        }
    }

    /// Agrees with one slot.
    pub(super) async fn revise_seat(&self, seat: &Seat) -> Result<(), ShardError> {
        let key = (seat.pen.lease, seat.slot, seat.generation);
        let gate = Arc::clone(lock(&self.slots).entry(key).or_default());
        let mut known = gate.lock().await;
        for fresh in [false, true] {
            if known.is_none() || fresh {
                *known = Some(self.standing(seat).await?);
            }
            let Some(state) = known.as_mut() else { continue };
            match self.step(seat, state).await {
                Err(e @ (ShardError::Refused(_) | ShardError::NotFound)) if !fresh => {
                    tracing::debug!(slot = seat.slot, error = %e, "a revision was refused; comparing lists");
                    *known = None;
                    self.find_lost(seat).await?;
                }
                other => return other,
            }
        }
        Err(ShardError::Refused("the device and the index do not agree on what is stored".into()))
    }

    /// Revises until the slot holds what it should, in portions.
    async fn step(&self, seat: &Seat, state: &mut SlotState) -> Result<(), ShardError> {
        loop {
            let want = self.wanted(seat);
            let right = |h: &Held| want.get(&h.segment) == Some(&h.fragment);
            let remove: Vec<SegmentId> =
                state.list.held().iter().filter(|h| !right(h)).map(|h| h.segment).take(MAX_IDS).collect();
            let missing = want.iter().filter(|(id, _)| state.list.get(id).is_none());
            let add: Vec<Held> =
                missing.map(|(id, f)| Held { segment: *id, fragment: *f }).take(MAX_IDS).collect();
            let current = state.standing.as_ref().is_some_and(|s| s.revision.fence == seat.pen.fence);
            if remove.is_empty() && add.is_empty() && (current || state.list.held().is_empty()) {
                return Ok(());
            }
            let mut list = state.list.clone();
            list.apply(&remove, &add).map_err(|e| ShardError::Refused(e.to_string()))?;
            let seq = state.standing.as_ref().map_or(0, |s| s.revision.seq).saturating_add(1);
            let revision = Revision {
                network: self.operators.network(),
                lease: seat.pen.lease,
                slot: seat.slot,
                generation: seat.generation,
                device: seat.device,
                fence: seat.pen.fence,
                seq,
                tree: list.root(),
            };
            let ids = add.iter().map(|h| h.segment).collect();
            let signed = revision.sign_as_customer(&seat.pen.key);
            let signed = self.operators.revise(seat, signed, remove, ids).await?;
            if signed.revision != revision || !signed.accepted_by(&seat.endpoint) {
                return Err(ShardError::Refused("the device did not countersign the revision".into()));
            }
            (state.list, state.standing) = (list, Some(signed));
        }
    }

    /// What a slot should hold: of the index and of what is under way.
    fn wanted(&self, seat: &Seat) -> BTreeMap<SegmentId, Fragment> {
        let fragment = |meta: &SegmentMeta, roots: &[Option<SlotRoot>]| {
            let root = roots.get(usize::from(seat.slot)).copied().flatten();
            let root = root.filter(|r| r.generation == seat.generation)?.root;
            Some((*meta.id(), Fragment { root, len: meta.fragment_len() }))
        };
        let mut out: BTreeMap<SegmentId, Fragment> = {
            let index = read(&self.index);
            index.segments_of(&seat.pen.lease).filter_map(|s| fragment(&s.meta, &s.roots)).collect()
        };
        let pending = lock(&self.pending);
        let of_lease = pending.values().filter(|s| *s.meta.lease() == seat.pen.lease);
        out.extend(of_lease.filter_map(|s| fragment(&s.meta, &s.roots)));
        out
    }

    /// The standing revision and its list, as the device tells them. What does not fit the index is removed by the
    /// next revision, so nothing here is trusted.
    async fn standing(&self, seat: &Seat) -> Result<SlotState, ShardError> {
        let (mut held, mut standing) = (Vec::new(), None);
        loop {
            let after = u64::try_from(held.len()).unwrap_or(u64::MAX);
            let page = self.operators.list(seat, false, after).await?;
            standing = page.revision.or(standing);
            if page.entries.is_empty() {
                break;
            }
            held.extend(page.entries);
            if u64::try_from(held.len()).unwrap_or(u64::MAX) >= page.total {
                break;
            }
        }
        let list = SlotList::from_held(held).map_err(|e| ShardError::Refused(e.to_string()))?;
        Ok(SlotState { list, standing })
    }

    /// Marks as doubtful what the slot should hold and does not.
    async fn find_lost(&self, seat: &Seat) -> Result<(), ShardError> {
        let mut there: BTreeMap<SegmentId, Fragment> = BTreeMap::new();
        for staged in [false, true] {
            let mut after = 0u64;
            loop {
                let page = self.operators.list(seat, staged, after).await?;
                after = after.saturating_add(u64::try_from(page.entries.len()).unwrap_or(u64::MAX));
                let end = page.entries.is_empty() || after >= page.total;
                there.extend(page.entries.into_iter().map(|h| (h.segment, h.fragment)));
                if end {
                    break;
                }
            }
        }
        let lost: Vec<SegmentId> = self
            .wanted(seat)
            .into_iter()
            .filter(|(id, f)| there.get(id) != Some(f))
            .map(|(id, _)| id)
            .collect();
        lock(&self.doubtful).extend(lost.into_iter().map(|id| (id, seat.slot)));
        Ok(())
    }
}
