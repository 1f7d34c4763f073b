//! What changes a slot: fragments in, revisions, receipts.

use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Held, Listing, MAX_LISTED, Status, code};
use cairn_storage_rules::types::{CoSigned, Fragment, SignedReceipt};
use cairn_types::Refusal;
use std::borrow::Cow;
use std::sync::atomic::Ordering;

use super::index::{Change, GARBAGE, HELD, OLD, SLOTS, SMALL, STAGED};
use super::rows::Garbage;
use super::{
    MAX_PARTIAL, Partial, Quota, SMALL_MAX, Slot, SlotKey, Store, StoreError, as_len, locked, outboard_of,
    unknown,
};

fn exposure(unsigned: u64, more: u64, limit: u64) -> StoreError {
    Refusal::with(
        code::EXPOSURE,
        format!("{unsigned} bytes wait for a revision, {more} more would exceed {limit}"),
        "revise the slot over what is staged, then go on",
    )
}

fn not_next(have: u64, offset: u64) -> StoreError {
    Refusal::with(
        code::FRAGMENT,
        format!("the part begins at {offset}, the next byte wanted is {have}"),
        "send the fragment's parts in order, from the first byte after a refusal",
    )
}

impl Store {
    /// One part of a fragment; returns the bytes present. The fragment is durable once that is its length.
    ///
    /// # Errors
    /// Full, too much unsigned, parts out of order, a wrong root, or the disk.
    pub fn put(
        &self,
        key: &SlotKey,
        segment: &SegmentId,
        fragment: &Fragment,
        offset: u64,
        bytes: &[u8],
        quota: &Quota,
    ) -> Result<u64, StoreError> {
        let slot = self.slot(key);
        let data = {
            let mut slot = locked(&slot);
            match slot.find(segment) {
                Some(known) if known == *fragment => return Ok(fragment.len),
                Some(_) => return Err(other_fragment(segment)),
                None if slot.garbage.contains_key(segment) => return Err(other_fragment(segment)),
                None if slot.writing.contains(segment) => return Err(being_written(segment)),
                None => {}
            }
            let end = offset.checked_add(as_len(bytes.len())).filter(|e| *e <= fragment.len);
            let end = end.ok_or_else(|| not_next(0, offset))?;
            let whole = offset == 0 && end == fragment.len;
            let data = if whole && !slot.partial.contains_key(segment) {
                self.admit(&mut slot, fragment.len, quota)?;
                Cow::Borrowed(bytes)
            } else {
                match self.part(&mut slot, segment, fragment, offset, bytes, quota)? {
                    Arrived::Some(have) => return Ok(have),
                    Arrived::All(data) => Cow::Owned(data),
                }
            };
            slot.writing.insert(*segment);
            data
        };
        // The bytes are accounted for and `writing` keeps others away; hashing and writing happen without the lock.
        let written = outboard_of(&data, fragment).and_then(|outboard| {
            if fragment.len > SMALL_MAX {
                return self.files.write(key, segment, &data, &outboard, quota.reads);
            }
            self.index.write(|tx| {
                tx.put_bytes(SMALL, &key.with_segment(segment), &data);
                tx.put(STAGED, &key.with_segment(segment), fragment);
                Ok(())
            })
        });
        let mut slot = locked(&slot);
        slot.writing.remove(segment);
        if written.is_err() || slot.staged.insert(*segment, *fragment).is_some() {
            self.release(&mut slot, fragment.len);
        }
        written.map(|()| fragment.len)
    }

    /// Takes bytes out of offer, reserve and exposure, or none of them.
    fn admit(&self, slot: &mut Slot, len: u64, quota: &Quota) -> Result<(), StoreError> {
        let unsigned = slot.unsigned.saturating_add(len);
        if unsigned > quota.exposure {
            return Err(exposure(slot.unsigned, len, quota.exposure));
        }
        let total = slot.standing.saturating_add(unsigned).saturating_add(slot.row.log.bytes);
        if total > quota.reserve {
            return Err(Refusal::with(
                code::FULL,
                format!("{total} bytes exceed the {} reserved by the lease", quota.reserve),
                "remove data from the slot, or open another lease",
            ));
        }
        self.reserve(len)?;
        slot.unsigned = unsigned;
        Ok(())
    }

    fn release(&self, slot: &mut Slot, len: u64) {
        slot.unsigned = slot.unsigned.saturating_sub(len);
        self.give_back(len);
    }

    fn part(
        &self,
        slot: &mut Slot,
        segment: &SegmentId,
        fragment: &Fragment,
        offset: u64,
        bytes: &[u8],
        quota: &Quota,
    ) -> Result<Arrived, StoreError> {
        if offset == 0 {
            self.abandon(slot, segment);
            let held = self.partial.load(Ordering::SeqCst);
            if held.saturating_add(fragment.len) > MAX_PARTIAL {
                return Err(Refusal::new(
                    code::FULL,
                    "too many fragments are arriving in parts",
                    "try again later",
                ));
            }
            self.admit(slot, fragment.len, quota)?;
            self.partial.fetch_add(fragment.len, Ordering::SeqCst);
            slot.partial.insert(*segment, Partial { fragment: *fragment, bytes: Vec::new() });
        }
        let partial = slot.partial.get_mut(segment).filter(|p| p.fragment == *fragment);
        let partial = partial.ok_or_else(|| not_next(0, offset))?;
        let have = as_len(partial.bytes.len());
        let end = offset.saturating_add(as_len(bytes.len()));
        if end <= have {
            return Ok(Arrived::Some(have));
        }
        if offset != have {
            return Err(not_next(have, offset));
        }
        partial.bytes.extend_from_slice(bytes);
        if end < fragment.len {
            return Ok(Arrived::Some(end));
        }
        let data = slot.partial.remove(segment).map(|p| p.bytes).unwrap_or_default();
        self.partial.fetch_sub(fragment.len, Ordering::SeqCst);
        Ok(Arrived::All(data))
    }

    /// Forgets parts that arrived.
    fn abandon(&self, slot: &mut Slot, segment: &SegmentId) {
        if let Some(p) = slot.partial.remove(segment) {
            self.partial.fetch_sub(p.fragment.len, Ordering::SeqCst);
            self.release(slot, p.fragment.len);
        }
    }

    /// Forgets staged fragments; what is not staged is skipped.
    ///
    /// # Errors
    /// The disk; fragments before the failing one are gone.
    pub fn delete(&self, key: &SlotKey, segments: &[SegmentId]) -> Result<(), StoreError> {
        let Some(slot) = self.existing(key) else { return Ok(()) };
        let mut slot = locked(&slot);
        segments.iter().for_each(|id| self.abandon(&mut slot, id));
        let named = segments.iter().filter_map(|id| slot.staged.get(id).map(|f| (*id, *f)));
        let (small, large): (Vec<_>, Vec<_>) = named.partition(|(_, f)| f.len <= SMALL_MAX);
        self.index.write(|tx| {
            for (id, _) in &small {
                tx.remove(SMALL, &key.with_segment(id));
                tx.remove(STAGED, &key.with_segment(id));
            }
            Ok(())
        })?;
        for (id, fragment) in small.into_iter().chain(large) {
            if fragment.len > SMALL_MAX {
                self.files.remove(key, &id)?;
            }
            // A segment may have been named twice.
            if slot.staged.remove(&id).is_some() {
                self.release(&mut slot, fragment.len);
            }
        }
        Ok(())
    }

    /// Refuses a fence below the highest one seen; remembers a higher one before anything is written under it.
    ///
    /// # Errors
    /// A lower fence, or the disk.
    pub fn raise_fence(&self, key: &SlotKey, fence: u64) -> Result<(), StoreError> {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        if fence < slot.row.fence {
            return Err(Refusal::with(
                code::FENCE,
                format!("fence {fence} is below {}", slot.row.fence),
                "another machine took over; recover from the index log before writing",
            ));
        }
        if fence > slot.row.fence {
            let row = super::SlotRow { fence, ..slot.row.clone() };
            self.index.write(|tx| {
                tx.put(SLOTS, &key.bytes(), &row);
                Ok(())
            })?;
            slot.row = row;
        }
        Ok(())
    }

    /// Puts the next revision in force. `accept` signs it once it is known to fit.
    ///
    /// # Errors
    /// It does not follow from the standing list and the change, or the disk.
    pub fn revise(
        &self,
        key: &SlotKey,
        proposed: &CoSigned,
        remove: &[SegmentId],
        add: &[SegmentId],
        accept: impl FnOnce(CoSigned) -> CoSigned,
    ) -> Result<CoSigned, StoreError> {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        let r = &proposed.revision;
        if let Some(standing) = &slot.row.standing {
            if standing.revision == *r {
                return Ok(standing.clone());
            }
            if r.order() <= standing.revision.order() {
                let (_, fence, seq) = standing.revision.order();
                return Err(misfit(format!("fence {fence}, number {seq} stands already")));
            }
        }
        let added = add.iter().map(|id| {
            slot.staged.get(id).map(|f| Held { segment: *id, fragment: *f }).ok_or_else(|| unknown(id))
        });
        let added = added.collect::<Result<Vec<_>, _>>()?;
        let mut list = slot.list.clone();
        let gone = list.apply(remove, &added).map_err(|e| misfit(e.to_string()))?;
        if list.root() != r.tree {
            let (have, want) = (list.root(), r.tree);
            return Err(misfit(format!(
                "the change leads to {} fragments of {} chunks, the revision names {} of {}",
                have.count, have.total, want.count, want.total
            )));
        }
        let signed = accept(proposed.clone());
        let until = self.newest_frozen(key);
        let row = super::SlotRow {
            standing: Some(signed.clone()),
            fence: slot.row.fence.max(r.fence),
            ..slot.row.clone()
        };
        self.index.write(|tx| {
            tx.put(SLOTS, &key.bytes(), &row);
            diff(tx, key, slot.list.held(), list.held());
            if let Some(standing) = slot.row.standing.as_ref().filter(|s| self.is_frozen(s)) {
                tx.put(OLD, &key.with_revision(&standing.revision), slot.list.held());
            }
            for h in &gone {
                let row = Garbage { fragment: h.fragment, until };
                tx.put(GARBAGE, &key.with_segment(&h.segment), &row);
            }
            added
                .iter()
                .filter(|h| h.fragment.len <= SMALL_MAX)
                .for_each(|h| tx.remove(STAGED, &key.with_segment(&h.segment)));
            Ok(())
        })?;
        for h in &added {
            slot.staged.remove(&h.segment);
            slot.unsigned = slot.unsigned.saturating_sub(h.fragment.len);
        }
        for h in &gone {
            slot.garbage.insert(h.segment, Garbage { fragment: h.fragment, until });
        }
        (slot.row, slot.list) = (row, list);
        slot.standing = slot.list.held().iter().map(|h| h.fragment.len).sum();
        self.sweep(key, &mut slot)?;
        Ok(signed)
    }

    /// Removes garbage that no open epoch needs.
    pub(super) fn sweep(&self, key: &SlotKey, slot: &mut Slot) -> Result<(), StoreError> {
        let oldest = locked(&self.frozen).keys().next().copied();
        let done = |g: &Garbage| g.until.is_none_or(|u| oldest.is_none_or(|o| u < o));
        let gone = slot.garbage.iter().filter(|(_, g)| done(g));
        let gone: Vec<(SegmentId, Fragment)> = gone.map(|(id, g)| (*id, g.fragment)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        for (id, _) in gone.iter().filter(|(_, f)| f.len > SMALL_MAX) {
            self.files.remove(key, id)?;
        }
        self.index.write(|tx| {
            for (id, fragment) in &gone {
                tx.remove(GARBAGE, &key.with_segment(id));
                if fragment.len <= SMALL_MAX {
                    tx.remove(SMALL, &key.with_segment(id));
                }
            }
            Ok(())
        })?;
        for (id, fragment) in gone {
            slot.garbage.remove(&id);
            self.give_back(fragment.len);
        }
        Ok(())
    }

    /// A piece of the slot's list.
    pub fn list(&self, key: &SlotKey, staged: bool, after: u64) -> Listing {
        let Some(slot) = self.existing(key) else {
            return Listing { revision: None, total: 0, entries: Vec::new() };
        };
        let slot = locked(&slot);
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let all: Vec<Held> = if staged {
            slot.staged
                .iter()
                .map(|(segment, fragment)| Held { segment: *segment, fragment: *fragment })
                .collect()
        } else {
            slot.list.held().to_vec()
        };
        let entries = all.iter().skip(skip).take(MAX_LISTED).copied().collect();
        Listing { revision: slot.row.standing.clone(), total: as_len(all.len()), entries }
    }

    /// Counts bytes that are about to be served.
    ///
    /// # Errors
    /// More than `limit` bytes would be without a receipt.
    pub fn serve(&self, key: &SlotKey, bytes: u64, limit: u64) -> Result<(), StoreError> {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        let debt = slot.row.debt.saturating_add(bytes);
        if debt > limit {
            return Err(Refusal::with(
                code::EXPOSURE,
                format!("{} bytes were served without a receipt, at most {limit} are", slot.row.debt),
                "sign a receipt for what was served, then go on",
            ));
        }
        slot.row.debt = debt;
        Ok(())
    }

    /// Takes bytes back that could not be served.
    pub fn unserve(&self, key: &SlotKey, bytes: u64) {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        slot.row.debt = slot.row.debt.saturating_sub(bytes);
    }

    /// Keeps a receipt whose signature was checked; returns bytes served and KiB receipted. An eighth of what is paid is
    /// forgiven, because answers get lost on the way and the customer counts what arrived.
    ///
    /// # Errors
    /// The disk.
    pub fn receipt(&self, key: &SlotKey, receipt: &SignedReceipt) -> Result<(u64, u64), StoreError> {
        let slot = self.slot(key);
        let mut slot = locked(&slot);
        let before = slot.row.receipt.map_or(0, |r| r.receipt.served_kib);
        let now = receipt.receipt.served_kib;
        if now > before {
            let paid = (now - before).saturating_mul(1024);
            let debt = slot.row.debt.saturating_sub(paid.saturating_add(paid / 8));
            let row = super::SlotRow { receipt: Some(*receipt), debt, ..slot.row.clone() };
            self.index.write(|tx| {
                tx.put(SLOTS, &key.bytes(), &row);
                Ok(())
            })?;
            slot.row = row;
        }
        Ok(slot.row.served())
    }

    /// The latest receipt.
    pub fn latest_receipt(&self, key: &SlotKey) -> Option<SignedReceipt> {
        self.existing(key).and_then(|s| locked(&s).row.receipt)
    }

    /// The standing revision.
    pub fn standing(&self, key: &SlotKey) -> Option<CoSigned> {
        self.existing(key).and_then(|s| locked(&s).row.standing.clone())
    }

    /// Figures of a slot; `read_only` is the caller's to fill.
    pub fn status(&self, key: &SlotKey, limit: u64) -> Status {
        let free = self.free();
        let Some(slot) = self.existing(key) else {
            return Status { exposure: limit, free, ..Status::default() };
        };
        let slot = locked(&slot);
        let (served, receipted_kib) = slot.row.served();
        Status {
            fence: slot.row.fence,
            revision: slot.row.standing.clone(),
            staged: slot.unsigned,
            exposure: limit,
            served,
            receipted_kib,
            free,
            read_only: false,
        }
    }
}

enum Arrived {
    Some(u64),
    All(Vec<u8>),
}

impl super::SlotRow {
    /// Bytes served and KiB receipted.
    fn served(&self) -> (u64, u64) {
        let kib = self.receipt.map_or(0, |r| r.receipt.served_kib);
        (kib.saturating_mul(1024).saturating_add(self.debt), kib)
    }
}

fn being_written(segment: &SegmentId) -> StoreError {
    Refusal::with(
        code::FRAGMENT,
        format!("{segment:?} is just being written by another request"),
        "ask again in a moment",
    )
}

fn misfit(cause: String) -> StoreError {
    Refusal::with(code::REVISION, cause, "list the slot and sign the next revision over what stands there")
}

fn other_fragment(segment: &SegmentId) -> StoreError {
    Refusal::with(
        code::FRAGMENT,
        format!("{segment:?} was put before with another content"),
        "use a fresh segment id; ids are never used twice",
    )
}

/// Writes the positions that differ.
fn diff(tx: &Change<'_>, key: &SlotKey, old: &[Held], new: &[Held]) {
    for (i, h) in new.iter().enumerate() {
        if old.get(i) != Some(h) {
            tx.put(HELD, &key.with(as_len(i)), h);
        }
    }
    for i in new.len()..old.len() {
        tx.remove(HELD, &key.with(as_len(i)));
    }
}
