//! Rows of a device's slots.

use cairn_sector::{DeviceState, LeaseEntry, Next, Row, Slot, Source};
use cairn_types::{DutyId, Units, decode_bounded};

use super::examine::Outcome;
use super::holder::Holder;
use super::{SlotId, WHOLE, note};
use crate::types::{AT_REST, Order, RESERVED, SERVED};

/// What the device may still be paid for in this epoch.
struct Budget {
    /// KiB-seconds, at rest and reserved together.
    rest: u64,
    /// KiB served.
    served: u64,
}

fn take(budget: &mut u64, wanted: u64) -> u64 {
    let got = wanted.min(*budget);
    *budget -= got;
    got
}

pub(super) fn rows(h: &mut Holder<'_, '_>, outcome: &Outcome, rows: &mut Vec<Row>) {
    if let Outcome::Forged { fault, .. } = outcome {
        rows.push(Row {
            payee: h.entry.id,
            duty: None,
            units: Units::ZERO,
            source: Source::Pool,
            fault: Some(*fault),
            next: Next::Continues,
            note: note::FORGED,
        });
    }
    let mut budget = Budget { rest: h.entry.capacity.0[AT_REST], served: h.entry.capacity.0[SERVED] };
    let lost = outcome.repair_ppm(&h.c.params, &h.record);
    for id in h.duties.clone() {
        let Some((lease, slot)) = h.lease(&id.0).zip(h.held(id)) else { continue };
        let (units, note) = units(h, outcome, id, &lease, &slot, &mut budget);
        rows.push(Row {
            payee: h.entry.id,
            duty: Some(DutyId::Lease { lease: id.0, slot: id.1 }),
            units,
            source: Source::Escrow,
            fault: None,
            next: next(h, id, &lease, &slot, lost),
            note,
        });
    }
}

fn active(h: &Holder<'_, '_>, lease: &LeaseEntry, slot: &Slot) -> bool {
    let epoch = h.c.epoch;
    lease.opened <= epoch && slot.since <= epoch && lease.closing.is_none_or(|last| epoch <= last)
}

fn units(
    h: &mut Holder<'_, '_>,
    outcome: &Outcome,
    id: SlotId,
    lease: &LeaseEntry,
    slot: &Slot,
    budget: &mut Budget,
) -> (Units, u16) {
    if !active(h, lease, slot) {
        return (Units::ZERO, note::INACTIVE);
    }
    let standing = h.slots.get(&id).filter(|s| s.generation == slot.generation);
    if standing.is_some_and(|s| s.dropped) {
        return (Units::ZERO, note::DROPPED);
    }
    let rest_paid = match *outcome {
        Outcome::Silent { note } => return (Units::ZERO, note),
        Outcome::Forged { .. } => return (Units::ZERO, note::FORGED),
        Outcome::Missed { .. } => false,
        Outcome::Idle | Outcome::Passed => true,
    };
    let mut units = Units::ZERO;
    let claimed = h.receipts.get(&id).copied().unwrap_or(0);
    let unpaid = standing.map_or(0, |s| claimed.saturating_sub(s.served));
    let charged = standing.map_or(0, |s| s.billable());
    units.0[SERVED] = take(&mut budget.served, unpaid);
    if units.0[SERVED] > 0
        && let Some(s) = h.slot_mut(id)
    {
        s.served = s.served.saturating_add(units.0[SERVED]);
    }
    if !rest_paid {
        return (units, note::MISSING);
    }
    let reserve = decode_bounded::<Order>(&lease.order, crate::LIMITS.order).map_or(0, |o| o.chunks_per_slot);
    let seconds = h.c.epoch_seconds.min(h.c.params.epoch_seconds);
    let charged = charged.min(reserve);
    let rest = charged.saturating_mul(seconds);
    let spare = (reserve - charged).saturating_mul(seconds);
    units.0[AT_REST] = take(&mut budget.rest, rest);
    units.0[RESERVED] = take(&mut budget.rest, spare);
    let capped = units.0 != [rest, unpaid, 0, spare];
    (units, if capped { note::CAPPED } else { note::PAID })
}

fn next(h: &Holder<'_, '_>, id: SlotId, lease: &LeaseEntry, slot: &Slot, lost: u32) -> Next {
    let standing = h.slots.get(&id).filter(|s| s.generation == slot.generation);
    let holds = standing.is_some_and(|s| s.tree.total > 0);
    let leaves = matches!(h.entry.state, DeviceState::Exiting { until } if until <= h.c.epoch);
    if lease.closing.is_some_and(|last| h.c.epoch >= last) {
        Next::Done
    } else if slot.since > h.c.epoch {
        Next::Continues
    } else if holds && standing.is_some_and(|s| s.dropped) {
        Next::Repair { ppm: WHOLE }
    } else if lost > 0 && holds {
        Next::Repair { ppm: lost }
    } else if leaves && holds {
        // Whoever leaves keeps the bond, less what agents earn for building anew elsewhere what it held.
        Next::Repair { ppm: WHOLE }
    } else if leaves || lost == WHOLE {
        Next::Reassign
    } else {
        Next::Continues
    }
}
