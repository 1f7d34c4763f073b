//! Orders and leases: what customers open, fund, close and fence.

use cairn_crypto::keys::PublicKey;
use cairn_sector::{Demand, LeaseEntry, Sectors, Seed};
use cairn_types::{AccountId, Credits, DeviceId, Hash, LeaseId, Refusal, SectorId};

use crate::bank::{CreditPot, chain, pay_credits};
use crate::events::Event;
use crate::registry::{check_key, save_lease, unknown_sector};
use crate::search::{Candidate, Wanted, candidates, choose};
use crate::slots::{slot, take_duty};
use crate::state::{Run, State};
use crate::tables::{LeaseRow, Leases, SectorTable};

/// Most slots of a lease.
pub const MAX_SLOTS: u16 = 64;
/// Most helpers of a lease.
pub const MAX_HELPERS: u16 = 8;

/// Refusal for a sum of capacities or credits that no row can hold.
pub(crate) fn capacity_overflow() -> Refusal {
    Refusal::new("market.capacity", "the reserved capacity overflows", "order less")
}

fn check_demand(d: &Demand) -> Result<(), Refusal> {
    if d.slots == 0 || d.slots > MAX_SLOTS || d.helpers > MAX_HELPERS {
        return Err(Refusal::new(
            "order.slots",
            "slots or helpers out of range",
            "ask for 1..=64 slots, at most 8 helpers",
        ));
    }
    Ok(())
}

/// Opens a lease. Its id is the digest of customer and nonce.
#[allow(clippy::too_many_arguments)]
pub fn order(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    nonce: u64,
    sector: SectorId,
    order: Vec<u8>,
    key: PublicKey,
    escrow: Credits,
    note: Hash,
) -> Run<LeaseId> {
    check_key(&key)?;
    let srow = s.need::<SectorTable>(&sector, unknown_sector(sector))?;
    let demand = sectors.get(sector, srow.version)?.demand(&srow.params, &order)?;
    check_demand(&demand)?;
    if escrow < demand.min_escrow {
        return Err(Refusal::with(
            "order.escrow",
            format!("an escrow of {escrow} is below the least of {}", demand.min_escrow),
            "put more credits into escrow",
        )
        .into());
    }
    let id = LeaseId::derive("cairn/lease", &[who.as_ref(), &nonce.to_le_bytes()]);
    let slots = usize::from(demand.slots);
    let wanted = Wanted {
        sector,
        order: &order,
        demand: &demand,
        label: id.as_ref(),
        exclude: &[],
        taken: &[],
        enough: slots.saturating_mul(4) + usize::from(demand.helpers),
    };
    let pool = candidates(s, sectors, &wanted)?;
    let everybody: Vec<DeviceId> = pool.iter().map(|c| c.id).collect();
    let chosen = choose(s, pool, slots, &wanted)?;
    if chosen.len() < slots {
        return Err(Refusal::with(
            "market.short",
            format!("{} of {slots} slots could be filled at this price and spread", chosen.len()),
            "raise the price limit, ask for fewer slots, or relax the spread",
        )
        .into());
    }
    let c = chain(s)?;
    let helpers = draw_helpers(&c.seed.1, &id, &everybody, &chosen, usize::from(demand.helpers));
    let entry = LeaseEntry {
        id,
        sector,
        customer: who,
        key,
        order,
        slots: chosen.iter().map(|x| slot(x, c.epoch, None, 0)).collect(),
        reserve: demand.reserve,
        helpers,
        deposited: escrow,
        opened: c.epoch,
        closing: (demand.epochs > 0).then(|| c.epoch.plus(demand.epochs)),
        fence: 0,
    };
    for x in &chosen {
        take_duty(s, &x.id, &demand.reserve, true)?;
    }
    pay_credits(s, CreditPot::Account(who), CreditPot::Escrow, escrow)?;
    save_lease(s, None, Some(&LeaseRow { entry, demand, refunded: None, note }))?;
    s.emit(Event::LeaseOpened { lease: id, customer: who, sector });
    Ok(id)
}

/// Draws helpers by the seed, from devices without a slot where there are enough of them.
fn draw_helpers(
    seed: &Seed,
    lease: &LeaseId,
    everybody: &[DeviceId],
    chosen: &[Candidate],
    n: usize,
) -> Vec<DeviceId> {
    let mut idle: Vec<DeviceId> =
        everybody.iter().filter(|d| chosen.iter().all(|c| c.id != **d)).copied().collect();
    let mut busy: Vec<DeviceId> = chosen.iter().map(|c| c.id).collect();
    for list in [&mut idle, &mut busy] {
        list.sort_by_cached_key(|d| seed.draw("market/helper", &[lease.as_ref(), d.as_ref()]));
    }
    idle.into_iter().chain(busy).take(n).collect()
}

/// A lease that its customer may change.
pub fn own_lease(s: &State<'_>, who: &AccountId, id: &LeaseId) -> Run<LeaseRow> {
    let row = s.need::<Leases>(id, unknown_lease())?;
    if row.entry.customer != *who {
        return Err(Refusal::new(
            "lease.foreign",
            "the lease belongs to another customer",
            "use the owner's account",
        )
        .into());
    }
    Ok(row)
}

/// Refusal for a lease that does not exist.
pub fn unknown_lease() -> Refusal {
    Refusal::new("lease.unknown", "no such lease", "check the lease id")
}

/// Refusal for a lease whose rest was paid back.
pub(crate) fn ended() -> Refusal {
    Refusal::new("lease.ended", "the lease has ended", "open a new one")
}

/// Adds escrow.
pub fn fund(s: &mut State<'_>, who: AccountId, id: LeaseId, credits: Credits) -> Run<()> {
    let before = s.need::<Leases>(&id, unknown_lease())?;
    if before.refunded.is_some() {
        return Err(ended().into());
    }
    let mut row = before.clone();
    row.entry.deposited = row.entry.deposited.checked_add(credits).ok_or_else(capacity_overflow)?;
    pay_credits(s, CreditPot::Account(who), CreditPot::Escrow, credits)?;
    save_lease(s, Some(&before), Some(&row))?;
    s.emit(Event::LeaseFunded { lease: id, credits });
    Ok(())
}

/// Ends a lease: the current epoch is the last one charged.
pub fn close(s: &mut State<'_>, who: AccountId, id: LeaseId) -> Run<()> {
    let before = own_lease(s, &who, &id)?;
    let now = chain(s)?.epoch;
    if before.entry.closing.is_some_and(|e| e <= now) {
        return Err(Refusal::new(
            "lease.closing",
            "the lease is closing already",
            "wait for its last settlement",
        )
        .into());
    }
    if crate::endowment::endowed(s, &id)? {
        return Err(Refusal::new(
            "lease.endowed",
            "the lease has an endowment, which is for ever",
            "wait until it is used up (`cairn storage endowment`), or leave the lease as it is",
        )
        .into());
    }
    let mut row = before.clone();
    row.entry.closing = Some(now);
    save_lease(s, Some(&before), Some(&row))?;
    s.emit(Event::LeaseClosing { lease: id, epoch: now });
    Ok(())
}

/// Replaces the co-signing key under a higher fence.
pub fn fence(s: &mut State<'_>, who: AccountId, id: LeaseId, key: PublicKey, fence: u64) -> Run<()> {
    let before = own_lease(s, &who, &id)?;
    if fence <= before.entry.fence {
        return Err(Refusal::with(
            "lease.fence",
            format!("fence {fence} is not above {}", before.entry.fence),
            "recover again: another machine took over",
        )
        .into());
    }
    check_key(&key)?;
    let mut row = before.clone();
    (row.entry.key, row.entry.fence) = (key, fence);
    save_lease(s, Some(&before), Some(&row))?;
    s.emit(Event::Fenced { lease: id, fence });
    Ok(())
}
