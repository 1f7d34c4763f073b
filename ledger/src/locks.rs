//! Locked bonds: what a fault or a loss takes, who is paid from it, and where the rest goes.

use cairn_types::{AccountId, Amount, DeviceId, Epoch, Hash, SectorId, encode, ppm_of};

use crate::bank::{Pot, chain, pay};
use crate::epoch::schedule;
use crate::events::Event;
use crate::listing::{place, punish};
use crate::state::{Run, State};
use crate::tables::{Devices, DueEntry, LockCause, LockRow, Locks, RepairLocks, RepairLocksRow};

/// Most locks of a device and a cause that pay repairs.
pub const PAYING: usize = 64;

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
    offer(s, device, id, cause)?;
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

/// Puts a lock on the list of those that pay.
fn offer(s: &mut State<'_>, device: &DeviceId, id: Hash, cause: LockCause) -> Run<()> {
    let mut open = s.get_or_default::<RepairLocks>(device)?;
    let list = match cause {
        LockCause::Loss => &mut open.losses,
        LockCause::Fault { .. } => &mut open.faults,
    };
    if list.contains(&id) || list.len() >= PAYING {
        return Ok(());
    }
    list.push(id);
    s.put::<RepairLocks>(device, &open);
    Ok(())
}

fn save_open(s: &mut State<'_>, device: &DeviceId, open: &RepairLocksRow) {
    if open.losses.is_empty() && open.faults.is_empty() {
        s.delete::<RepairLocks>(device);
    } else {
        s.put::<RepairLocks>(device, open);
    }
}

/// Pays work out of the locks of a device, as far as they reach: losses before faults, so that a loss is not repaired with
/// what is to be slashed; the oldest first, since it goes back first.
pub(crate) fn pay_from_bond(s: &mut State<'_>, of: &DeviceId, to: &DeviceId, amount: Amount) -> Run<()> {
    let (Some(mut open), Some(payee)) = (s.get::<RepairLocks>(of)?, s.get::<Devices>(to)?) else {
        return Ok(());
    };
    let mut due = amount;
    for list in [&mut open.losses, &mut open.faults] {
        while let Some(id) = list.first().copied().filter(|_| !due.is_zero()) {
            let Some(mut row) = s.get::<Locks>(&id)? else {
                list.remove(0);
                continue;
            };
            let part = due.min(row.left);
            (row.left, due) = (row.left.saturating_sub(part), due.saturating_sub(part));
            s.put::<Locks>(&id, &row);
            if row.left.is_zero() {
                list.remove(0);
            }
        }
    }
    save_open(s, of, &open);
    let paid = amount.saturating_sub(due);
    if paid.is_zero() {
        return Ok(());
    }
    pay(s, Pot::Locked(*of), Pot::Account(payee.operator), paid)?;
    s.emit(Event::BondPaid { of: *of, to: payee.operator, amount: paid });
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
    if let Some(mut open) = s.get::<RepairLocks>(&row.device)? {
        open.losses.retain(|x| x != id);
        open.faults.retain(|x| x != id);
        save_open(s, &row.device, &open);
    }
    s.emit(Event::BondReleased { device: row.device, lock: *id, burned, returned });
    Ok(())
}
