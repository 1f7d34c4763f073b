//! What the device bound itself to, epoch by epoch. Everything here is durable before anybody hears of it.

use cairn_storage_codec::wire::{Held, code};
use cairn_storage_rules::types::{Answer, Audited, CoSigned, Dropped, Revision};
use cairn_types::{Epoch, LeaseId, Refusal};

use super::index::{ANSWERS, FROZEN, OLD, REPORTS, SUBMITTED};
use super::rows::{Frozen, Submitted};
use super::{SlotKey, Store, StoreError, locked};

fn key(epoch: Epoch) -> [u8; 8] {
    epoch.0.to_be_bytes()
}

fn slot_key(lease: &LeaseId, slot: u16) -> Vec<u8> {
    SlotKey { lease: *lease, slot, generation: 0 }.bytes()
}

/// Epochs kept open at most; older ones were void.
const OPEN: u64 = 8;

impl Store {
    pub(super) fn load_frozen(&self) -> Result<(), StoreError> {
        let mut frozen = locked(&self.frozen);
        for (k, value) in self.index.all::<Frozen>(FROZEN, &[])? {
            if let Ok(k) = k.try_into() {
                frozen.insert(Epoch(u64::from_be_bytes(k)), value);
            }
        }
        Ok(())
    }

    /// Newest open epoch whose commitment holds the slot.
    pub(super) fn newest_frozen(&self, slot: &SlotKey) -> Option<Epoch> {
        let holds = |f: &Frozen| f.revisions.iter().any(|r| SlotKey::of(&r.revision) == *slot);
        locked(&self.frozen).iter().rev().find(|(_, f)| holds(f)).map(|(e, _)| *e)
    }

    pub(super) fn is_frozen(&self, standing: &CoSigned) -> bool {
        locked(&self.frozen).values().any(|f| f.revisions.iter().any(|r| r.revision == standing.revision))
    }

    /// What the device bound itself to in an epoch.
    pub fn frozen(&self, epoch: Epoch) -> Option<Frozen> {
        locked(&self.frozen).get(&epoch).cloned()
    }

    /// Freezes the standing revisions of `slots` for an epoch; the first call for an epoch decides.
    ///
    /// # Errors
    /// The disk.
    pub fn freeze(&self, epoch: Epoch, slots: &[SlotKey]) -> Result<Frozen, StoreError> {
        if let Some(frozen) = self.frozen(epoch) {
            return Ok(frozen);
        }
        // Slot locks come before the lock of the frozen map everywhere; holding all of them keeps revisions out until
        // the freeze is durable.
        let slots: Vec<_> = slots.iter().filter_map(|k| self.existing(k)).collect();
        let guards: Vec<_> = slots.iter().map(|s| locked(s)).collect();
        let revisions: Vec<CoSigned> = guards.iter().filter_map(|s| s.row.standing.clone()).collect();
        let known = self.index.all::<Submitted>(SUBMITTED, &[])?;
        let mut drops = Vec::new();
        for (k, submitted) in known {
            let Some(k) = SlotKey::read(&k) else { continue };
            if !revisions.iter().any(|r| r.revision.lease == k.lease && r.revision.slot == k.slot) {
                let (generation, fence, seq) = submitted.order;
                drops.push(Dropped { lease: k.lease, slot: k.slot, generation, fence, seq });
            }
        }
        let frozen = Frozen { revisions, drops };
        self.index.write(|tx| {
            tx.put(FROZEN, &key(epoch), &frozen);
            for r in &frozen.revisions {
                let r = &r.revision;
                let at = slot_key(&r.lease, r.slot);
                let before: Option<Submitted> = self.index.get(SUBMITTED, &at)?;
                let accepted = before.and_then(|b| b.accepted);
                tx.put(SUBMITTED, &at, &Submitted { order: r.order(), accepted });
            }
            Ok(())
        })?;
        locked(&self.frozen).insert(epoch, frozen.clone());
        drop(guards);
        Ok(frozen)
    }

    /// The fragments of a revision that stands or is frozen, in order.
    ///
    /// # Errors
    /// Neither, or the disk.
    pub fn fragments(&self, r: &Revision) -> Result<Vec<Held>, StoreError> {
        let key = SlotKey::of(r);
        if let Some(slot) = self.existing(&key) {
            let slot = locked(&slot);
            if slot.row.standing.as_ref().is_some_and(|s| s.revision == *r) {
                return Ok(slot.list.held().to_vec());
            }
        }
        let old = self.index.get(OLD, &key.with_revision(r))?;
        old.ok_or_else(|| {
            Refusal::new(code::DAMAGED, "the fragment list of a frozen revision is gone", "start anew")
        })
    }

    /// Answers as they were given first.
    ///
    /// # Errors
    /// The disk.
    pub fn answers(&self, epoch: Epoch) -> Result<Option<Vec<Answer>>, StoreError> {
        self.index.get(ANSWERS, &key(epoch))
    }

    /// Keeps the answers of an epoch.
    ///
    /// # Errors
    /// The disk.
    pub fn put_answers(&self, epoch: Epoch, answers: &[Answer]) -> Result<(), StoreError> {
        self.index.write(|tx| {
            tx.put(ANSWERS, &key(epoch), answers);
            Ok(())
        })
    }

    /// What this device saw as an auditor in an epoch, ascending by device.
    ///
    /// # Errors
    /// The disk.
    pub fn reports(&self, epoch: Epoch) -> Result<Vec<Audited>, StoreError> {
        Ok(self.index.all::<Audited>(REPORTS, &key(epoch))?.into_iter().map(|(_, report)| report).collect())
    }

    /// Keeps a report; one about the same device and epoch gives way.
    ///
    /// # Errors
    /// The disk.
    pub fn put_report(&self, report: &Audited) -> Result<(), StoreError> {
        let at = [key(report.epoch).as_slice(), report.device.as_ref()].concat();
        self.index.write(|tx| {
            tx.put(REPORTS, &at, report);
            Ok(())
        })
    }

    /// True if a settlement has taken this revision over.
    ///
    /// # Errors
    /// The disk.
    pub fn accepted(&self, r: &Revision) -> Result<bool, StoreError> {
        let row: Option<Submitted> = self.index.get(SUBMITTED, &slot_key(&r.lease, r.slot))?;
        Ok(row.is_some_and(|s| s.accepted == Some(r.order())))
    }

    /// An epoch is settled: its revisions count as known, it and all before it are closed, garbage goes.
    ///
    /// # Errors
    /// The disk.
    pub fn settled(&self, epoch: Epoch) -> Result<(), StoreError> {
        if let Some(frozen) = self.frozen(epoch) {
            self.index.write(|tx| {
                for r in &frozen.revisions {
                    let r = &r.revision;
                    let at = slot_key(&r.lease, r.slot);
                    if let Some(row) = self.index.get::<Submitted>(SUBMITTED, &at)? {
                        tx.put(SUBMITTED, &at, &Submitted { accepted: Some(r.order()), ..row });
                    }
                }
                for d in &frozen.drops {
                    let at = slot_key(&d.lease, d.slot);
                    let row: Option<Submitted> = self.index.get(SUBMITTED, &at)?;
                    if row.is_some_and(|s| s.order == (d.generation, d.fence, d.seq)) {
                        tx.remove(SUBMITTED, &at);
                    }
                }
                Ok(())
            })?;
        }
        self.close(epoch)
    }

    /// Closes epochs that are too old to be settled any more.
    ///
    /// # Errors
    /// The disk.
    pub fn close_old(&self, now: Epoch) -> Result<(), StoreError> {
        now.0.checked_sub(OPEN).map_or(Ok(()), |old| self.close(Epoch(old)))
    }

    fn close(&self, epoch: Epoch) -> Result<(), StoreError> {
        let end = key(epoch.plus(1));
        self.index.write(|tx| {
            tx.retain(FROZEN, &[], |k| k >= end.as_slice())?;
            tx.retain(REPORTS, &[], |k| k >= end.as_slice())?;
            // The answers of the epoch just closed stay one epoch longer, for whoever asks what was answered.
            tx.retain(ANSWERS, &[], |k| k >= key(epoch).as_slice())
        })?;
        let open = {
            let mut frozen = locked(&self.frozen);
            *frozen = frozen.split_off(&epoch.plus(1));
            frozen.clone()
        };
        let needed: Vec<Vec<u8>> = open
            .values()
            .flat_map(|f| &f.revisions)
            .map(|r| SlotKey::of(&r.revision).with_revision(&r.revision))
            .collect();
        self.index.write(|tx| tx.retain(OLD, &[], |k| needed.iter().any(|n| n == k)))?;
        for at in self.keys() {
            if let Some(slot) = self.existing(&at) {
                self.sweep(&at, &mut locked(&slot))?;
            }
        }
        Ok(())
    }
}
