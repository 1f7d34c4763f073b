//! Pay for rebuilding, from the bond of the one who lost it.
//!
//! Paid once for a slot's generation, and only when three things meet: the new holder proved the rebuilt tree in this
//! epoch; a drawn agent signed it; somebody else who can read the plaintext-side hashes (the customer, or the other
//! agent, of another operator) signed that it is right. The holder's proof alone shows that *some* bytes are stored;
//! the agent's word alone would pay for garbage. Two colluding agents remain: see the README.

use cairn_sector::{Next, Row, Source};
use cairn_types::{DeviceId, DutyId, Units};
use std::collections::BTreeMap;

use super::examine::Outcome;
use super::holder::{Holder, fits};
use super::{note, standing};
use crate::types::{Confirmer, REBUILT, Repaired};

pub(super) fn rows(
    h: &mut Holder<'_, '_>,
    outcome: &Outcome,
    rebuilt: &mut BTreeMap<DeviceId, u64>,
    rows: &mut Vec<Row>,
) {
    if *outcome != Outcome::Passed {
        return;
    }
    for repair in std::mem::take(&mut h.repairs) {
        if let Some(row) = pay(h, &repair, rebuilt) {
            rows.push(row);
        }
    }
}

fn pay(h: &mut Holder<'_, '_>, repair: &Repaired, rebuilt: &mut BTreeMap<DeviceId, u64>) -> Option<Row> {
    let r = &repair.revision;
    let id = (r.lease, r.slot);
    let stands = h.slots.get(&id)?;
    let same = stands.revision(h.c.network, h.entry.id, r.lease, r.slot) == *r;
    if !same || stands.rebuilt || stands.dropped || r.tree.total == 0 {
        return None;
    }
    let lease = h.lease(&r.lease)?;
    let (lost_by, lost) = h.lost(&lease, r)?;
    let copied = (0u16..).zip(&lease.slots).any(|(n, s)| {
        n != r.slot && standing(h.c, &s.device, &lease.id, n).is_some_and(|other| other.tree == r.tree)
    });
    if copied || !fits(r, &lost) {
        return None;
    }
    let agent = h.agent(&lease, &repair.agent)?;
    let confirmer = match repair.confirmer {
        Confirmer::Customer => lease.key,
        Confirmer::Agent(other) => {
            let other = h.agent(&lease, &other)?;
            let apart = other.operator != agent.operator && other.operator != h.entry.operator;
            apart.then_some(other.key)?
        }
    };
    // Rebuilding one's own loss must not bring back one's own bond, nor may the holder hire itself.
    let loser = h.c.registry.device(&lost_by)?.operator;
    if agent.operator == h.entry.operator || loser == agent.operator || !repair.signed(&agent.key, &confirmer)
    {
        return None;
    }
    let used = rebuilt.entry(agent.id).or_default();
    let units = r.tree.total.min(agent.capacity.0[REBUILT].saturating_sub(*used));
    if units == 0 {
        return None;
    }
    *used += units;
    h.slot_mut(id)?.rebuilt = true;
    let mut paid = Units::ZERO;
    paid.0[REBUILT] = units;
    Some(Row {
        payee: agent.id,
        duty: Some(DutyId::Lease { lease: r.lease, slot: r.slot }),
        units: paid,
        source: Source::Bond { of: lost_by },
        fault: None,
        next: Next::Continues,
        note: note::REBUILT,
    })
}
