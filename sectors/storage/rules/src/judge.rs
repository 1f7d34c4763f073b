//! From evidence to rows, device by device.
//!
//! Two questions are kept apart. *What is in the device's tree?* depends only on what the device itself submitted and
//! remembers (own revisions, own drops), never on a registry that changes under its feet between commitment and lock;
//! otherwise customers could make an honest device miss. *What is charged?* depends on the registry at the lock: who
//! holds the slot, fence, reserve, the lease's end.

mod examine;
mod holder;
pub mod note;
mod pay;
mod repair;
mod retrieval;

use cairn_sector::{EpochContext, EvidenceSource, Judgement, SortKey};
use cairn_types::{DeviceId, LeaseId, PPM};
use std::collections::{BTreeMap, BTreeSet};

use crate::Storage;
use crate::audit::Pool;
use crate::types::{Evidence, Memory, Standing, device_key, read_slot_key, slot_key, slots_prefix};
use holder::Holder;

pub(crate) type Context<'a> = EpochContext<'a, Storage>;
pub(crate) type SlotId = (LeaseId, u16);

/// All of a slot, in millionths.
const WHOLE: u32 = 1_000_000;
const _: () = assert!(WHOLE as u64 == PPM);

/// See [`cairn_sector::Rules::sort_key`]: evidence about one device lies together, a device's revisions before its
/// drops, receipts, answers and repairs.
pub fn sort_key(from: &DeviceId, evidence: &Evidence) -> SortKey {
    let mut key = Vec::with_capacity(SortKey::MAX);
    let mut slot = |subject: &DeviceId, kind: u8, lease: &LeaseId, slot: u16, numbers: (u32, u64, u64)| {
        key.extend_from_slice(&subject.0);
        key.push(kind);
        key.extend_from_slice(&lease.0);
        key.extend_from_slice(&slot.to_be_bytes());
        key.extend_from_slice(&numbers.0.to_be_bytes());
        key.extend_from_slice(&numbers.1.to_be_bytes());
        key.extend_from_slice(&numbers.2.to_be_bytes());
    };
    match evidence {
        Evidence::Revision(c) => {
            let r = &c.revision;
            slot(&r.device, 1, &r.lease, r.slot, r.order());
        }
        Evidence::Dropped(d) => slot(from, 2, &d.lease, d.slot, (d.generation, d.fence, d.seq)),
        Evidence::Receipt(s) => {
            let r = &s.receipt;
            slot(&r.device, 3, &r.lease, r.slot, (r.generation, r.served_kib, 0));
        }
        Evidence::Answer(a) => {
            key.extend_from_slice(&from.0);
            key.push(4);
            key.extend_from_slice(&a.epoch.0.to_be_bytes());
            key.extend_from_slice(&a.index.to_be_bytes());
        }
        Evidence::Repaired(r) => {
            slot(&r.revision.device, 5, &r.revision.lease, r.revision.slot, r.revision.order())
        }
        Evidence::Audited(a) => {
            key.extend_from_slice(&a.device.0);
            key.push(6);
            key.extend_from_slice(&a.epoch.0.to_be_bytes());
            key.extend_from_slice(&from.0);
        }
    }
    SortKey::new(key)
}

/// First key past all keys about `device`; `None` at the end of the key space.
fn after(device: &DeviceId) -> Option<Vec<u8>> {
    let mut next = device.0.to_vec();
    for byte in next.iter_mut().rev() {
        let (up, carry) = byte.overflowing_add(1);
        *byte = up;
        if !carry {
            return Some(next);
        }
    }
    None
}

/// See [`cairn_sector::Rules::judge`]. Memory: O(slots of one device), and some hundred bytes a device for the draw of auditors.
pub fn judge(c: &Context<'_>, evidence: &dyn EvidenceSource<Storage>) -> Judgement<Storage> {
    let mut out = Judgement::default();
    let mut rebuilt = BTreeMap::new();
    let mut known = BTreeSet::new();
    let pool = Pool::new(c.registry.devices());
    for entry in c.registry.devices() {
        known.insert(entry.id);
        let auditors = pool.draw(&c.params, &c.seed, &entry);
        let mut holder = Holder::load(c, entry, auditors);
        let until = after(&holder.entry.id);
        for item in evidence.scan(&holder.entry.id.0, until.as_deref()) {
            holder.take(item);
        }
        holder.settle_foreign();
        let outcome = examine::examine(&holder);
        pay::rows(&mut holder, &outcome, &mut out.rows);
        repair::rows(&mut holder, &outcome, &mut rebuilt, &mut out.rows);
        retrieval::judge(&holder, &mut out);
        holder.store(&outcome, &mut out.memory);
    }
    forget(c, &known, &mut out.memory);
    out
}

/// Ends the memory of devices that left, except what a repair under way is measured by.
fn forget(c: &Context<'_>, known: &BTreeSet<DeviceId>, memory: &mut Vec<(Vec<u8>, Option<Memory>)>) {
    for (key, _) in c.memory.scan(&[3]) {
        let device = key.get(1..).and_then(|b| b.try_into().ok()).map(DeviceId);
        if device.is_some_and(|d| !known.contains(&d)) {
            memory.push((key, None));
        }
    }
    for (key, _) in c.memory.scan(&[1]) {
        let Some(device) = key.get(1..).and_then(|b| b.try_into().ok()).map(DeviceId) else { continue };
        if known.contains(&device) {
            continue;
        }
        let mut kept = false;
        for (key, _) in c.memory.scan(&slots_prefix(&device)) {
            let needed = read_slot_key(&key).is_some_and(|slot| referenced(c, &device, slot));
            kept |= needed;
            if !needed {
                memory.push((key, None));
            }
        }
        if !kept {
            memory.push((device_key(&device), None));
        }
    }
}

/// True if the registry still names the device in this slot, as holder or as the one who lost it.
fn referenced(c: &Context<'_>, device: &DeviceId, (lease, slot): SlotId) -> bool {
    let lease = c.registry.lease(&lease);
    let slot = lease.as_ref().and_then(|l| l.slots.get(usize::from(slot)));
    slot.is_some_and(|s| s.device == *device || s.lost_by == Some(*device))
}

/// What memory holds for a slot.
fn standing(c: &Context<'_>, device: &DeviceId, lease: &LeaseId, slot: u16) -> Option<Standing> {
    match c.memory.get(&slot_key(device, lease, slot)) {
        Some(Memory::Slot(standing)) => Some(standing),
        _ => None,
    }
}
