//! One device while its epoch is judged: what it holds by its own word.

use cairn_crypto::keys::PublicKey;
use cairn_sector::{DeviceEntry, EvidenceItem, LeaseEntry, Slot};
use cairn_types::{DeviceId, LeaseId};
use std::collections::{BTreeMap, BTreeSet};

use super::examine::Outcome;
use super::{Context, SlotId, referenced, standing};
use crate::params::MAX_CHALLENGES;
use crate::types::{
    Answer, Audited, Cap, CoSigned, DeviceRecord, Dropped, Evidence, Memory, Repaired, Revision, Seen,
    SignedReceipt, Signer, Standing, device_key, read_slot_key, slot_key, slots_prefix,
};

/// Answers kept at most: one more than any device may be asked, so that a longer list is seen to be too long.
const MAX_ANSWERS: u64 = MAX_CHALLENGES as u64 + 1;

pub(super) struct Holder<'c, 'a> {
    pub c: &'c Context<'a>,
    pub entry: DeviceEntry,
    /// Leases with a slot on the device, and leases that its evidence names.
    leases: BTreeMap<LeaseId, Option<LeaseEntry>>,
    /// Slots that the registry gives to the device.
    pub duties: Vec<SlotId>,
    pub record: DeviceRecord,
    pub recorded: bool,
    pub slots: BTreeMap<SlotId, Standing>,
    touched: BTreeSet<SlotId>,
    /// Highest receipt of each slot.
    pub receipts: BTreeMap<SlotId, u64>,
    pub answers: Vec<Answer>,
    pub repairs: Vec<Repaired>,
    foreign: Vec<CoSigned>,
    /// Who was drawn to audit the device.
    auditors: Vec<DeviceId>,
    /// What each of them reports. `None`: it contradicts itself, which counts as no report.
    pub reports: BTreeMap<DeviceId, Option<Seen>>,
}

impl<'c, 'a> Holder<'c, 'a> {
    pub fn load(c: &'c Context<'a>, entry: DeviceEntry, auditors: Vec<DeviceId>) -> Self {
        let record = match c.memory.get(&device_key(&entry.id)) {
            Some(Memory::Device(record)) => Some(record),
            _ => None,
        };
        let mut holder = Self {
            c,
            leases: BTreeMap::new(),
            duties: Vec::new(),
            record: record.unwrap_or_default(),
            recorded: record.is_some(),
            slots: BTreeMap::new(),
            touched: BTreeSet::new(),
            receipts: BTreeMap::new(),
            answers: Vec::new(),
            repairs: Vec::new(),
            foreign: Vec::new(),
            auditors,
            reports: BTreeMap::new(),
            entry,
        };
        for (lease, slots) in c.registry.leases_of(&holder.entry.id) {
            holder.duties.extend(slots.iter().map(|s| (lease.id, *s)));
            holder.leases.insert(lease.id, Some(lease));
        }
        for (key, value) in c.memory.scan(&slots_prefix(&holder.entry.id)) {
            if let (Some(id), Memory::Slot(standing)) = (read_slot_key(&key), value) {
                holder.slots.insert(id, standing);
            }
        }
        holder.sweep();
        holder
    }

    /// Ends dropped slots that no repair is measured by any more.
    fn sweep(&mut self) {
        let dropped: Vec<SlotId> = self.slots.iter().filter(|(_, s)| s.dropped).map(|(id, _)| *id).collect();
        for id in dropped {
            if !referenced(self.c, &self.entry.id, id) {
                self.slots.remove(&id);
                self.touched.insert(id);
            }
        }
    }

    pub fn lease(&mut self, id: &LeaseId) -> Option<LeaseEntry> {
        let registry = self.c.registry;
        self.leases.entry(*id).or_insert_with(|| registry.lease(id)).clone()
    }

    /// The registry's slot if this device holds it now.
    pub fn held(&mut self, (lease, slot): SlotId) -> Option<Slot> {
        let me = self.entry.id;
        let lease = self.lease(&lease)?;
        lease.slots.get(usize::from(slot)).filter(|s| s.device == me).cloned()
    }

    /// Something must be proven or held ready in this epoch. A slot that starts later asks nothing yet: the device may
    /// have got it after the moment for its commitment.
    pub fn due(&self) -> bool {
        let begun = |id: &SlotId| {
            let slot =
                self.leases.get(&id.0).and_then(Option::as_ref).and_then(|l| l.slots.get(usize::from(id.1)));
            slot.is_some_and(|s| s.since <= self.c.epoch)
        };
        self.duties.iter().any(begun) || self.in_tree().next().is_some()
    }

    pub fn slot_mut(&mut self, id: SlotId) -> Option<&mut Standing> {
        self.touched.insert(id);
        self.slots.get_mut(&id)
    }

    /// What is in the tree: neither dropped nor empty.
    pub fn in_tree(&self) -> impl Iterator<Item = (&SlotId, &Standing)> {
        self.slots.iter().filter(|(_, s)| !s.dropped && s.tree.total > 0)
    }

    /// Takes one item; what is not valid changes nothing and earns nothing.
    pub fn take(&mut self, item: EvidenceItem<Evidence>) {
        let own = item.from == self.entry.id;
        // `None` says that the item did not count, which needs no reaction.
        let _ignored: Option<()> = match item.evidence {
            Evidence::Revision(r) if own => self.revise(&r),
            Evidence::Revision(r) => self.keep_foreign(r),
            Evidence::Dropped(d) if own => self.drop(&d),
            Evidence::Receipt(r) if own => self.receipt(&r),
            Evidence::Answer(a) if own => self.keep_answer(a),
            Evidence::Repaired(r) => self.keep_repair(*r),
            Evidence::Audited(a) => self.keep_report(item.from, &a),
            Evidence::Dropped(_) | Evidence::Receipt(_) | Evidence::Answer(_) => None,
        };
    }

    /// The device's own revision enters its tree.
    fn revise(&mut self, signed: &CoSigned) -> Option<()> {
        let r = signed.revision;
        let id = (r.lease, r.slot);
        if r.network != self.c.network || r.device != self.entry.id {
            return None;
        }
        let lease = self.lease(&r.lease)?;
        lease.slots.get(usize::from(r.slot))?;
        let before = self.slots.get(&id).cloned();
        if before.as_ref().is_some_and(|s| r.order() <= s.order()) {
            return None;
        }
        let same = before.filter(|s| s.generation == r.generation);
        let decrease = same.as_ref().is_some_and(|s| !s.dropped && r.tree.total < s.tree.total);
        if !decrease && !signed.accepted_by(&self.entry.key) {
            return None;
        }
        let key = self.signer_key(&lease, signed.signer)?;
        signed.check_signer(&key).ok()?;
        let charged = self.charged(&lease, signed, same.as_ref());
        let now = Standing {
            generation: r.generation,
            fence: r.fence,
            seq: r.seq,
            tree: r.tree,
            signer: signed.signer,
            charged,
            cap: same.as_ref().and_then(|s| s.cap),
            served: same.as_ref().map_or(0, |s| s.served),
            first: same.as_ref().map_or(self.c.epoch, |s| s.first),
            dropped: false,
            rebuilt: same.as_ref().is_some_and(|s| s.rebuilt),
        };
        self.slots.insert(id, now);
        self.touched.insert(id);
        Some(())
    }

    /// The key that stands for the customer. A device never vouches for itself.
    fn signer_key(&self, lease: &LeaseEntry, signer: Signer) -> Option<PublicKey> {
        match signer {
            Signer::Customer => Some(lease.key),
            Signer::Agent(agent) if agent == self.entry.id => None,
            Signer::Agent(agent) => self.agent(lease, &agent).map(|a| a.key),
        }
    }

    /// A repair agent of the lease.
    pub fn agent(&self, lease: &LeaseEntry, agent: &DeviceId) -> Option<DeviceEntry> {
        lease.helpers.contains(agent).then(|| self.c.registry.device(agent)).flatten()
    }

    /// What a new revision charges: all of it under the customer's present fence; under an older fence no more than
    /// before; on an agent's word no more than was lost, and never over a word of the customer.
    fn charged(&self, lease: &LeaseEntry, signed: &CoSigned, same: Option<&Standing>) -> u64 {
        let r = &signed.revision;
        match signed.signer {
            Signer::Customer if r.fence >= lease.fence => r.tree.total,
            Signer::Customer => same.map_or(0, |s| s.charged.min(r.tree.total)),
            Signer::Agent(_) if same.is_some_and(|s| s.signer == Signer::Customer) => 0,
            Signer::Agent(_) => match self.lost(lease, r) {
                Some((_, lost)) if fits(r, &lost) => r.tree.total.min(lost.billable()),
                _ => 0,
            },
        }
    }

    /// Who lost the slot of this revision, and what stood there.
    pub fn lost(&self, lease: &LeaseEntry, r: &Revision) -> Option<(DeviceId, Standing)> {
        let slot = lease.slots.get(usize::from(r.slot))?;
        if slot.device != r.device || slot.generation != r.generation || r.generation == 0 {
            return None;
        }
        let by = slot.lost_by.filter(|d| *d != r.device)?;
        let lost = standing(self.c, &by, &lease.id, r.slot)?;
        (lost.generation < r.generation).then_some((by, lost))
    }

    fn drop(&mut self, d: &Dropped) -> Option<()> {
        let id = (d.lease, d.slot);
        let standing = self.slots.get_mut(&id)?;
        if standing.order() > (d.generation, d.fence, d.seq) {
            return None;
        }
        standing.dropped = true;
        self.touched.insert(id);
        if !referenced(self.c, &self.entry.id, id) {
            self.slots.remove(&id);
        }
        Some(())
    }

    fn receipt(&mut self, signed: &SignedReceipt) -> Option<()> {
        let r = &signed.receipt;
        let id = (r.lease, r.slot);
        let known = self.receipts.get(&id).copied();
        let standing = self.slots.get(&id)?;
        let new = r.network == self.c.network
            && r.device == self.entry.id
            && r.generation == standing.generation
            && r.served_kib > known.unwrap_or(standing.served);
        if !new {
            return None;
        }
        signed.check(&self.lease(&r.lease)?.key).ok()?;
        self.receipts.insert(id, r.served_kib);
        Some(())
    }

    /// Equal items lie together: one that was sent twice counts once.
    fn keep_answer(&mut self, a: Answer) -> Option<()> {
        let room = u64::try_from(self.answers.len()).is_ok_and(|n| n < MAX_ANSWERS);
        let new = a.epoch == self.c.epoch && self.answers.last() != Some(&a);
        (room && new).then(|| self.answers.push(a))
    }

    /// Keeps what might be a decrease; the signature is checked once it is known to matter.
    fn keep_foreign(&mut self, signed: CoSigned) -> Option<()> {
        let r = &signed.revision;
        let about = self.slots.contains_key(&(r.lease, r.slot)) && r.network == self.c.network;
        (about && signed.signer == Signer::Customer).then(|| self.foreign.push(signed))
    }

    /// Decreases that others brought: they limit the charge and leave the tree alone, so that nobody but the device
    /// itself can change what it must prove.
    pub fn settle_foreign(&mut self) {
        for signed in std::mem::take(&mut self.foreign) {
            self.limit(&signed);
        }
    }

    fn limit(&mut self, signed: &CoSigned) -> Option<()> {
        let r = &signed.revision;
        let id = (r.lease, r.slot);
        let standing = self.slots.get(&id)?.clone();
        let latest = standing
            .cap
            .map_or((standing.fence, standing.seq), |c| (c.fence, c.seq).max((standing.fence, standing.seq)));
        let matters = r.generation == standing.generation
            && (r.fence, r.seq) > latest
            && r.tree.total < standing.tree.total;
        let lease = self.lease(&r.lease)?;
        if !matters || r.fence < lease.fence {
            return None;
        }
        signed.check_signer(&lease.key).ok()?;
        let cap = Cap { fence: r.fence, seq: r.seq, chunks: r.tree.total };
        self.slot_mut(id)?.cap = Some(cap);
        Some(())
    }

    fn keep_repair(&mut self, r: Repaired) -> Option<()> {
        let standing = self.slots.get(&(r.revision.lease, r.revision.slot))?;
        let due =
            !standing.rebuilt && standing.tree == r.revision.tree && standing.order() == r.revision.order();
        due.then(|| self.repairs.push(r))
    }

    fn keep_report(&mut self, from: DeviceId, a: &Audited) -> Option<()> {
        if a.epoch != self.c.epoch || !self.auditors.contains(&from) {
            return None;
        }
        let known = self.reports.entry(from).or_insert(Some(a.seen));
        if *known != Some(a.seen) {
            *known = None;
        }
        Some(())
    }

    /// Writes back what changed.
    pub fn store(self, outcome: &Outcome, memory: &mut Vec<(Vec<u8>, Option<Memory>)>) {
        for id in &self.touched {
            let value = self.slots.get(id).cloned().map(Memory::Slot);
            memory.push((slot_key(&self.entry.id, &id.0, id.1), value));
        }
        let record = outcome.record(&self.record);
        let keep = !self.slots.is_empty() || record != DeviceRecord::default();
        if keep && (!self.recorded || record != self.record) {
            memory.push((device_key(&self.entry.id), Some(Memory::Device(record))));
        } else if !keep && self.recorded {
            memory.push((device_key(&self.entry.id), None));
        }
    }
}

/// An agent may vouch for what was lost, or less.
pub(super) fn fits(r: &Revision, lost: &Standing) -> bool {
    r.tree.total <= lost.tree.total && r.tree.count <= lost.tree.count
}
