//! Slots of a lease: who holds them, who takes over, who gives up.

use cairn_sector::{DeviceState, Sectors, Slot};
use cairn_types::{AccountId, DeviceId, Epoch, Hash, LeaseId, Units, encode};

use crate::bank::chain;
use crate::events::Event;
use crate::listing::place;
use crate::locks::lose;
use crate::market::{capacity_overflow, ended, unknown_lease};
use crate::registry::{save_device, save_lease, unknown_sector};
use crate::search::{Candidate, Wanted, candidates, choose};
use crate::settle::worth;
use crate::state::{Run, State};
use crate::tables::{Devices, DueEntry, LeaseRow, Leases, SectorTable, vacant};

/// Reserves capacity of a device for a slot, or gives it back.
pub(crate) fn take_duty(s: &mut State<'_>, id: &DeviceId, reserve: &Units, take: bool) -> Run<()> {
    let Some(before) = s.get::<Devices>(id)? else { return Ok(()) };
    let mut row = before.clone();
    if take {
        row.reserved = row.reserved.checked_add(reserve).ok_or_else(capacity_overflow)?;
        row.duties = row.duties.saturating_add(1);
    } else {
        for (have, r) in row.reserved.0.iter_mut().zip(&reserve.0) {
            *have = have.saturating_sub(*r);
        }
        row.duties = row.duties.saturating_sub(1);
        // What was served after the notice is judged later than the notice said: the bond waits for that too.
        if let DeviceState::Exiting { until } = &mut row.state {
            *until = (*until).max(chain(s)?.epoch);
        }
    }
    save_device(s, id, Some(&before), Some(&row))?;
    place(s, id)
}

/// A slot in the hands of a candidate.
pub(crate) fn slot(c: &Candidate, since: Epoch, lost_by: Option<DeviceId>, generation: u32) -> Slot {
    Slot { device: c.id, rates: c.rates, since, lost_by, generation }
}

/// Frees the devices of a lease that is over.
pub fn release_slots(s: &mut State<'_>, row: &LeaseRow) -> Run<()> {
    for slot in row.entry.slots.iter().filter(|x| !vacant(x)) {
        take_duty(s, &slot.device, &row.entry.reserve, false)?;
    }
    Ok(())
}

/// Who takes over a slot: not a device of the lease and, if it can be avoided, not one of its helpers, of whom the
/// rebuild needs two that are not the new holder.
fn successor(
    s: &State<'_>,
    sectors: &Sectors,
    lease: &LeaseRow,
    index: u16,
    old: &Slot,
) -> Run<Option<Candidate>> {
    let mut label = lease.entry.id.as_ref().to_vec();
    label.extend_from_slice(&encode(&(index, old.generation)));
    let mut taken = Vec::new();
    for (i, other) in lease.entry.slots.iter().enumerate() {
        if i != usize::from(index)
            && let Some(d) = s.get::<Devices>(&other.device)?
        {
            taken.push(d.admission.domains);
        }
    }
    let holders: Vec<DeviceId> = lease.entry.slots.iter().map(|x| x.device).collect();
    let all = [holders.as_slice(), lease.entry.helpers.as_slice()].concat();
    for exclude in [&all, &holders] {
        let wanted = Wanted {
            sector: lease.entry.sector,
            order: &lease.entry.order,
            demand: &lease.demand,
            label: &label,
            exclude,
            taken: &taken,
            enough: 16,
        };
        let pool = candidates(s, sectors, &wanted)?;
        let found = choose(s, pool, 1, &wanted)?.into_iter().next();
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Gives a slot to another device, or leaves it vacant until one is found.
pub fn reassign(s: &mut State<'_>, sectors: &Sectors, id: LeaseId, index: u16) -> Run<()> {
    let Some(before) = s.get::<Leases>(&id)? else { return Ok(()) };
    let Some(old) = before.entry.slots.get(usize::from(index)).cloned() else { return Ok(()) };
    if before.refunded.is_some() {
        return Ok(());
    }
    let c = chain(s)?;
    // Nobody new would be paid in a lease whose last epoch has come.
    let ending = before.entry.closing.is_some_and(|e| e <= c.epoch);
    let found = if ending { None } else { successor(s, sectors, &before, index, &old)? };
    let from = old.device;
    // Agents rebuild whatever the reason was; only a loss has a locked bond to pay them from.
    let lost_by = if vacant(&old) { old.lost_by } else { Some(from) };
    let mut row = before.clone();
    let next = match &found {
        Some(x) => slot(x, c.epoch.plus(1), lost_by, old.generation.saturating_add(1)),
        None => Slot { device: DeviceId::default(), lost_by, ..old.clone() },
    };
    let to = found.as_ref().map(|x| x.id);
    if let Some(place) = row.entry.slots.get_mut(usize::from(index)) {
        *place = next;
    }
    if !vacant(&old) {
        take_duty(s, &from, &row.entry.reserve, false)?;
    }
    match to {
        Some(new) => take_duty(s, &new, &row.entry.reserve, true)?,
        None if ending => {}
        None => crate::epoch::schedule(s, c.height.plus(c.params.epoch_blocks), DueEntry::Refill(id, index))?,
    }
    save_lease(s, Some(&before), Some(&row))?;
    s.emit(Event::SlotReassigned { lease: id, slot: index, from, to, repair: lost_by.is_some() });
    Ok(())
}

/// A holder drops a slot for a legal reason. The notice is not judged, and somebody pays the rebuild: to the bond it is
/// a loss like any other, so that nobody leaves by notice what leaving by failure would cost.
pub fn legal_notice(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    id: LeaseId,
    index: u16,
    notice: Hash,
) -> Run<()> {
    let row = s.need::<Leases>(&id, unknown_lease())?;
    let holder = row.entry.slots.get(usize::from(index)).map(|x| x.device).unwrap_or_default();
    crate::registry::own_device(s, &who, &holder)?;
    if row.refunded.is_some() {
        return Err(ended().into());
    }
    let (c, sector) = (chain(s)?, row.entry.sector);
    let rates = s.need::<SectorTable>(&sector, unknown_sector(sector))?.bond_rates;
    let locked = lose(s, &holder, sector, c.epoch, worth(c.price, &rates, &row.entry.reserve))?;
    s.emit(Event::LegalNotice { lease: id, slot: index, device: holder, notice, locked });
    reassign(s, sectors, id, index)
}
