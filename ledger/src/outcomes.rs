//! Outcomes of a final settlement, applied chunk by chunk.

use cairn_crypto::merkle::rows;
use cairn_sector::Sectors;
use cairn_types::{Amount, Credits, DeviceId, Epoch, LeaseId, SectorId, ppm_of};

use crate::bank::chain;
use crate::claims::give_back;
use crate::events::Event;
use crate::listing::{punish, set_absent, weigh};
use crate::locks::{lock, lose, pay_from_bond};
use crate::registry::save_lease;
use crate::sales;
use crate::settlement::{OUTCOMES_PER_CHUNK, Outcome, outcome_chunk, refuse, sector_epoch};
use crate::slots::{reassign, release_slots};
use crate::state::{Run, State, Stop};
use crate::tables::{Devices, Leases, LockCause, SectorEpochs};

fn out_of_order() -> Stop {
    refuse("settlement.order", "outcomes are applied chunk by chunk, in order")
}

/// Is this the next chunk of a final settlement?
pub fn check_outcomes(s: &State<'_>, epoch: Epoch, sector: SectorId, from: u32) -> Run<()> {
    let row = sector_epoch(s, epoch, sector)?;
    match &row.settlement {
        None => Err(refuse("settlement.open", "the epoch is not final")),
        Some(x) if from != row.applied || from >= x.outcomes.1 => Err(out_of_order()),
        Some(_) => Ok(()),
    }
}

/// Applies the next chunk of outcomes of a final settlement.
pub fn outcomes(
    s: &mut State<'_>,
    sectors: &Sectors,
    epoch: Epoch,
    sector: SectorId,
    from: u32,
    list: &[Outcome],
    proof: &rows::RowProof,
) -> Run<()> {
    let mut row = sector_epoch(s, epoch, sector)?;
    let Some(x) = &row.settlement else {
        return Err(refuse("settlement.open", "the epoch is not final"));
    };
    let per = u32::try_from(OUTCOMES_PER_CHUNK).unwrap_or(u32::MAX);
    let (root, total) = x.outcomes;
    let len = u32::try_from(list.len()).unwrap_or(u32::MAX);
    if from != row.applied
        || !from.is_multiple_of(per)
        || len > per
        || len == 0
        || from.saturating_add(len) > total
    {
        return Err(out_of_order());
    }
    let chunks = u64::from(total.div_ceil(per));
    rows::verify(&root, chunks, u64::from(from / per), &outcome_chunk(list), proof)
        .map_err(|_| refuse("settlement.proof", "the outcomes are not those of the settlement"))?;
    row.applied += len;
    s.put::<SectorEpochs>(&(epoch, sector), &row);
    list.iter().try_for_each(|o| apply_outcome(s, sectors, epoch, sector, o))
}

fn apply_outcome(
    s: &mut State<'_>,
    sectors: &Sectors,
    epoch: Epoch,
    sector: SectorId,
    o: &Outcome,
) -> Run<()> {
    match o {
        Outcome::Fault { device, code, severity_ppm, .. } => {
            s.emit(Event::Faulted { device: *device, epoch, code: *code, severity_ppm: *severity_ppm });
            let Some(d) = s.get::<Devices>(device)? else { return Ok(()) };
            let amount = Amount(ppm_of(d.bond.0, u64::from(*severity_ppm)));
            lock(s, device, sector, epoch, amount, LockCause::Fault { code: *code }, None)?;
            punish(s, device, 500_000)
        }
        Outcome::Repair { lease, slot, device, cost } => {
            if !holds(s, lease, *slot, device)? {
                return Ok(());
            }
            lose(s, device, sector, epoch, *cost)?;
            set_absent(s, device, true)?;
            reassign(s, sectors, *lease, *slot)
        }
        Outcome::Reassign { lease, slot, device } => {
            if !holds(s, lease, *slot, device)? {
                return Ok(());
            }
            set_absent(s, device, true)?;
            reassign(s, sectors, *lease, *slot)
        }
        Outcome::Done { lease } => finish_lease(s, lease),
        Outcome::Lapse { lease, deposited } => lapse(s, lease, *deposited),
        Outcome::WindUp { lease, charged } => wind_up(s, epoch, lease, *charged),
        Outcome::Pay { of, to, amount } => pay_from_bond(s, of, to, *amount),
        Outcome::Weigh { device, ppm } => weigh(s, device, epoch, *ppm),
        Outcome::SaleDone { sale } => sales::done(s, sector, sale),
        Outcome::SaleRefunded { sale } => sales::refund(s, sector, sale),
    }
}

/// The judgement is an epoch old: the slot may have moved on since, the lease may have been refunded.
fn holds(s: &State<'_>, lease: &LeaseId, slot: u16, device: &DeviceId) -> Run<bool> {
    let row = s.get::<Leases>(lease)?;
    Ok(row.is_some_and(|l| {
        l.refunded.is_none() && l.entry.slots.get(usize::from(slot)).is_some_and(|x| x.device == *device)
    }))
}

fn finish_lease(s: &mut State<'_>, lease: &LeaseId) -> Run<()> {
    let Some(before) = s.get::<Leases>(lease)? else { return Ok(()) };
    // A refund released the slots and took the lease out of the registry already.
    if before.refunded.is_some() {
        return Ok(());
    }
    release_slots(s, &before)?;
    let mut row = before.clone();
    // The lock of the present epoch may still show the lease open, so that it may be charged for it: an earlier end
    // would let a refund pay back what that settlement takes.
    let now = chain(s)?.epoch;
    row.entry.closing = Some(before.entry.closing.map_or(now, |e| e.min(now)));
    for slot in &mut row.entry.slots {
        slot.device = DeviceId::default();
    }
    save_lease(s, Some(&before), Some(&row))
}

/// Ends a lease that stayed unpaid. Whoever funds it between the lock and now keeps it.
fn lapse(s: &mut State<'_>, lease: &LeaseId, deposited: Credits) -> Run<()> {
    let Some(row) = s.get::<Leases>(lease)? else { return Ok(()) };
    let paid = row.entry.deposited > deposited || crate::endowment::endowed(s, lease)?;
    if row.refunded.is_some() || paid {
        return Ok(());
    }
    finish_lease(s, lease)?;
    s.emit(Event::LeaseLapsed { lease: *lease });
    Ok(())
}

/// Refunds a lease whose last epoch lies before the settled one, so that forgotten leases do not stay for ever.
fn wind_up(s: &mut State<'_>, epoch: Epoch, lease: &LeaseId, charged: Credits) -> Run<()> {
    let Some(row) = s.get::<Leases>(lease)? else { return Ok(()) };
    let over = row.refunded.is_none() && row.entry.closing.is_some_and(|e| e < epoch);
    if over { give_back(s, &row, charged).map(|_| ()) } else { Ok(()) }
}
