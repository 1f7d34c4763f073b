//! Locked bonds: what a fault or a loss takes, who is paid from it, and where the rest goes.

use cairn_types::{AccountId, Amount, DeviceId, Epoch, Hash, SectorId, encode, ppm_of};

use crate::bank::{Pot, chain, pay};
use crate::epoch::schedule;
use crate::events::Event;
use crate::listing::{place, punish};
use crate::state::{Run, State};
use crate::tables::{Devices, DueEntry, LockCause, LockRow, Locks, RepairLocks};

/// Locks part of a bond until the window has passed. Locks of one device, epoch, cause and finder are one.
pub fn lock(
    s: &mut State<'_>,
    device: &DeviceId,
    sector: SectorId,
    epoch: Epoch,
    amount: Amount,
    cause: LockCause,
    finder: Option<AccountId>,
) -> Run<()> {
    if amount.is_zero() {
        return Ok(());
    }
    let id = Hash::derive("cairn/lock", &[device.as_ref(), &encode(&(sector, epoch, cause, finder))]);
    pay(s, Pot::Bond(*device), Pot::Locked(*device), amount)?;
    let row = match s.get::<Locks>(&id)? {
        Some(old) => LockRow {
            amount: old.amount.saturating_add(amount),
            left: old.left.saturating_add(amount),
            ..old
        },
        None => {
            let c = chain(s)?;
            let at = c.height.plus(c.params.window_epochs.saturating_mul(c.params.epoch_blocks));
            schedule(s, at, DueEntry::Release(id))?;
            LockRow { device: *device, sector, epoch, amount, left: amount, cause, finder }
        }
    };
    s.put::<Locks>(&id, &row);
    s.put::<RepairLocks>(device, &id);
    s.emit(Event::BondLocked { device: *device, lock: id, amount });
    place(s, device)
}

/// A loss without proof of cheating, whatever its reason: the capped cost of the rebuild is locked as far as the free
/// bond reaches, and a tenth of the reputation goes. Returns what was locked.
pub(crate) fn lose(
    s: &mut State<'_>,
    device: &DeviceId,
    sector: SectorId,
    epoch: Epoch,
    cost: Amount,
) -> Run<Amount> {
    let free = s.get::<Devices>(device)?.map(|d| d.bond).unwrap_or_default();
    let amount = cost.min(free);
    lock(s, device, sector, epoch, amount, LockCause::Loss, None)?;
    punish(s, device, 100_000)?;
    Ok(amount)
}

/// Pays work out of the latest lock of a device, as far as it reaches.
pub(crate) fn pay_from_bond(s: &mut State<'_>, of: &DeviceId, to: &DeviceId, amount: Amount) -> Run<()> {
    let Some(id) = s.get::<RepairLocks>(of)? else { return Ok(()) };
    let (Some(mut row), Some(payee)) = (s.get::<Locks>(&id)?, s.get::<Devices>(to)?) else { return Ok(()) };
    let amount = amount.min(row.left);
    row.left = row.left.saturating_sub(amount);
    s.put::<Locks>(&id, &row);
    pay(s, Pot::Locked(*of), Pot::Account(payee.operator), amount)?;
    s.emit(Event::BondPaid { of: *of, to: payee.operator, amount });
    Ok(())
}

/// Distributes a lock after the window. A loss gives the rest back; of a fault's rest the finder gets at most a
/// tenth, the treasury two fifths, and at least half is burned.
pub fn release(s: &mut State<'_>, id: &Hash) -> Run<()> {
    let Some(row) = s.get::<Locks>(id)? else { return Ok(()) };
    let from = Pot::Locked(row.device);
    let (mut burned, mut returned) = (Amount::ZERO, Amount::ZERO);
    match row.cause {
        LockCause::Loss => {
            returned = row.left;
            // Where repair used all of it up, the device may have left meanwhile.
            if s.get::<Devices>(&row.device)?.is_some() {
                pay(s, from, Pot::Bond(row.device), row.left)?;
                place(s, &row.device)?;
            }
        }
        LockCause::Fault { .. } => {
            let finder = row.finder.map(|f| (f, Amount(ppm_of(row.left.0, 100_000))));
            let treasury = Amount(ppm_of(row.left.0, 400_000));
            let mut rest = row.left.saturating_sub(treasury);
            if let Some((who, part)) = finder {
                rest = rest.saturating_sub(part);
                pay(s, from, Pot::Account(who), part)?;
            }
            burned = rest;
            pay(s, from, Pot::Treasury, treasury)?;
            pay(s, from, Pot::Burned, rest)?;
        }
    }
    s.delete::<Locks>(id);
    if s.get::<RepairLocks>(&row.device)? == Some(*id) {
        s.delete::<RepairLocks>(&row.device);
    }
    s.emit(Event::BondReleased { device: row.device, lock: *id, burned, returned });
    Ok(())
}
