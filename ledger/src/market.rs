//! Offers in price buckets, deterministic assignment, leases and their escrow.
//!
//! Work is bounded: an order looks at no more than `scan_limit` offers, whatever the market holds.

use cairn_crypto::keys::PublicKey;
use cairn_sector::{Demand, DeviceState, LeaseEntry, Sectors, Slot};
use cairn_types::{
    AccountId, Credits, DeviceId, Epoch, Hash, LeaseId, PPM, Rate, Refusal, SectorId, UNIT_KINDS, Units,
    encode,
};
use std::collections::BTreeMap;

use crate::bank::{CreditPot, chain, pay_credits};
use crate::events::Event;
use crate::registry::{check_key, required_bond, save_device, save_lease, unknown_device, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{
    BucketMap, BucketSlots, Buckets, DeviceRow, Devices, DueEntry, LeaseRow, Leases, SectorTable, vacant,
};

/// Missing reputation of a newcomer (ppm); it heals with the half-life of the network.
pub const NEWCOMER_DEFICIT: u64 = 200_000;
/// Most slots of a lease.
pub const MAX_SLOTS: u16 = 64;
/// Most helpers of a lease.
pub const MAX_HELPERS: u16 = 8;

/// Reputation in ppm: one minus a deficit that halves every `half_life` epochs.
pub fn reputation(deficit: (u64, Epoch), now: Epoch, half_life: u64) -> u64 {
    let halvings = now.0.saturating_sub(deficit.1.0) / half_life.max(1);
    let left = u32::try_from(halvings).ok().and_then(|n| deficit.0.checked_shr(n)).unwrap_or(0);
    PPM.saturating_sub(left)
}

/// Takes `loss` (ppm) of the present reputation away.
pub fn lose_reputation(row: &mut DeviceRow, now: Epoch, half_life: u64, loss: u64) {
    let have = reputation(row.deficit, now, half_life);
    let kept = have.saturating_sub(have.saturating_mul(loss.min(PPM)) / PPM);
    row.deficit = (PPM - kept, now);
}

/// Bucket of a list rate: two per power of two, ascending with the rate, `0..=127`.
pub fn bucket(rate: Rate) -> u8 {
    let r = rate.0.max(1);
    let log = r.ilog2();
    let half = if log > 0 { (r >> (log - 1)) & 1 } else { 0 };
    u8::try_from(u64::from(log) * 2 + half).unwrap_or(127)
}

fn insert(s: &mut State<'_>, at: (SectorId, u16, u16, u8), id: &DeviceId) -> Run<u32> {
    let n = s.get_or_default::<Buckets>(&at)?;
    s.put::<BucketSlots>(&(at.0, at.1, at.2, at.3, n), id);
    s.put::<Buckets>(&at, &(n + 1));
    if n == 0 {
        let group = (at.0, at.1, at.2);
        let map = s.get_or_default::<BucketMap>(&group)?;
        s.put::<BucketMap>(&group, &(map | 1u128 << at.3));
    }
    Ok(n)
}

/// Removes by swapping the last member in; returns the member that moved.
fn remove(s: &mut State<'_>, at: (SectorId, u16, u16, u8), index: u32) -> Run<Option<DeviceId>> {
    let n = s.get_or_default::<Buckets>(&at)?;
    let last = n.saturating_sub(1);
    let slot = |i: u32| (at.0, at.1, at.2, at.3, i);
    let moved = if index == last { None } else { s.get::<BucketSlots>(&slot(last))? };
    if let Some(m) = &moved {
        s.put::<BucketSlots>(&slot(index), m);
    }
    s.delete::<BucketSlots>(&slot(last));
    s.put::<Buckets>(&at, &last);
    if last == 0 {
        let group = (at.0, at.1, at.2);
        let map = s.get_or_default::<BucketMap>(&group)?;
        s.put::<BucketMap>(&group, &(map & !(1u128 << at.3)));
    }
    Ok(moved)
}

/// Puts a device on the market if it may take duties; otherwise leaves it off.
pub fn list(s: &mut State<'_>, id: &DeviceId) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let bonded = row.bond >= required_bond(s, &row.admission)?;
    if row.listed.is_some() || row.state != DeviceState::Active || !bonded {
        return Ok(());
    }
    let b = bucket(row.admission.list_rate);
    let (class, region) = (row.admission.class, row.admission.region);
    let own = insert(s, (row.sector, class, region, b), id)?;
    let any = if region == 0 { own } else { insert(s, (row.sector, class, 0, b), id)? };
    row.listed = Some((b, own, any));
    s.put::<Devices>(id, &row);
    Ok(())
}

/// Takes a device off the market.
pub fn unlist(s: &mut State<'_>, id: &DeviceId) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let Some((b, own, any)) = row.listed.take() else { return Ok(()) };
    s.put::<Devices>(id, &row);
    let (class, region) = (row.admission.class, row.admission.region);
    if let Some(moved) = remove(s, (row.sector, class, region, b), own)? {
        reposition(s, &moved, region, own)?;
    }
    if region != 0
        && let Some(moved) = remove(s, (row.sector, class, 0, b), any)?
    {
        reposition(s, &moved, 0, any)?;
    }
    Ok(())
}

/// Notes where a device lies now in the bucket of `region`. In that of region 0 lie devices of all regions; for those of
/// region 0 it is their own as well.
fn reposition(s: &mut State<'_>, id: &DeviceId, region: u16, at: u32) -> Run<()> {
    let mut row = s.need::<Devices>(id, unknown_device())?;
    let own = row.admission.region == region;
    if let Some(l) = &mut row.listed {
        if own {
            l.1 = at;
        }
        if region == 0 {
            l.2 = at;
        }
    }
    s.put::<Devices>(id, &row);
    Ok(())
}

/// A device that could serve an order.
struct Candidate {
    id: DeviceId,
    domains: Vec<Hash>,
    rates: [Rate; UNIT_KINDS],
    /// List rate x (2 - reputation), the order of choice.
    cost: u128,
    tie: [u8; 32],
}

/// What a choice must respect.
struct Wanted<'a> {
    sector: SectorId,
    order: &'a [u8],
    demand: &'a Demand,
    label: &'a [u8],
    exclude: &'a [DeviceId],
    /// Failure domains of slots that are filled already.
    taken: &'a [Vec<Hash>],
    enough: usize,
}

/// Candidates looked for per place: the draw inside a bucket should not decide who is cheapest.
const CHOICE: u32 = 4;

/// Counts candidates that a spread could use: of one failure domain no more than [`CHOICE`] times its limit, so that
/// a crowd in one place cannot end the search.
struct Useful {
    limit: u32,
    used: BTreeMap<Hash, u32>,
    count: usize,
}

impl Useful {
    fn new(w: &Wanted<'_>) -> Self {
        let mut used: BTreeMap<Hash, u32> = BTreeMap::new();
        for d in w.taken.iter().flatten() {
            *used.entry(*d).or_default() += CHOICE;
        }
        Self { limit: u32::from(w.demand.max_per_domain) * CHOICE, used, count: 0 }
    }

    fn add(&mut self, domains: &[Hash]) {
        let full = |d: &Hash| self.used.get(d).is_some_and(|u| *u >= self.limit);
        if self.limit > 0 && domains.iter().any(full) {
            return;
        }
        for d in domains {
            *self.used.entry(*d).or_default() += 1;
        }
        self.count += 1;
    }
}

/// Collects candidates bucket by bucket from the cheapest, starting inside a bucket where the seed says.
fn candidates(s: &State<'_>, sectors: &Sectors, w: &Wanted<'_>) -> Run<Vec<Candidate>> {
    let c = chain(s)?;
    let sector = s.need::<SectorTable>(&w.sector, unknown_sector(w.sector))?;
    let rules = sectors.get(w.sector, sector.version)?;
    let group = (w.sector, w.demand.class, w.demand.region);
    let mut map = s.get_or_default::<BucketMap>(&group)?;
    let (mut found, mut looked, mut useful) = (Vec::new(), 0u32, Useful::new(w));
    while map != 0 && useful.count < w.enough {
        let b = u8::try_from(map.trailing_zeros()).unwrap_or(127);
        map &= map - 1;
        let n = s.get_or_default::<Buckets>(&(group.0, group.1, group.2, b))?;
        let start = c.seed.1.below("market/start", &[w.label, &[b]], u64::from(n.max(1)));
        for i in 0..n {
            if looked >= c.params.scan_limit {
                return Ok(found);
            }
            looked += 1;
            let at = u32::try_from((start + u64::from(i)) % u64::from(n)).unwrap_or(0);
            let Some(id) = s.get::<BucketSlots>(&(group.0, group.1, group.2, b, at))? else { continue };
            if w.exclude.contains(&id) {
                continue;
            }
            let row = s.need::<Devices>(&id, unknown_device())?;
            let fits = row
                .reserved
                .checked_add(&w.demand.reserve)
                .is_some_and(|r| r.within(&row.admission.capacity));
            if !fits || row.admission.list_rate > w.demand.max_rate {
                continue;
            }
            let Ok(quote) = rules.quote(&sector.params, &row.offer, w.order) else { continue };
            useful.add(&row.admission.domains);
            let rep = reputation(row.deficit, c.epoch, c.params.reputation_half_life);
            found.push(Candidate {
                id,
                domains: row.admission.domains,
                rates: quote.rates,
                cost: u128::from(row.admission.list_rate.0) * u128::from(2 * PPM - rep),
                tie: c.seed.1.draw("market/tie", &[w.label, id.as_ref()]),
            });
        }
    }
    Ok(found)
}

/// Chooses up to `n` devices, cheapest first, at most `max_per_domain` in each failure domain (those of `taken`
/// count).
fn choose(mut from: Vec<Candidate>, n: usize, max_per_domain: u16, taken: &[Vec<Hash>]) -> Vec<Candidate> {
    from.sort_by(|a, b| (a.cost, a.tie).cmp(&(b.cost, b.tie)));
    let mut used: BTreeMap<Hash, u16> = BTreeMap::new();
    for d in taken.iter().flatten() {
        *used.entry(*d).or_default() += 1;
    }
    let mut chosen = Vec::new();
    for c in from {
        if chosen.len() == n {
            break;
        }
        let full =
            max_per_domain > 0 && c.domains.iter().any(|d| used.get(d).is_some_and(|u| *u >= max_per_domain));
        if full {
            continue;
        }
        for d in &c.domains {
            *used.entry(*d).or_default() += 1;
        }
        chosen.push(c);
    }
    chosen
}

fn take_duty(s: &mut State<'_>, id: &DeviceId, reserve: &Units, take: bool) -> Run<()> {
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
    save_device(s, id, Some(&before), Some(&row))
}

fn capacity_overflow() -> Refusal {
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
    let chosen = choose(pool, slots, demand.max_per_domain, &[]);
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

fn slot(c: &Candidate, since: Epoch, lost_by: Option<DeviceId>, generation: u32) -> Slot {
    Slot { device: c.id, rates: c.rates, since, lost_by, generation }
}

/// Draws helpers by the seed, from devices without a slot where there are enough of them.
fn draw_helpers(
    seed: &cairn_sector::Seed,
    lease: &LeaseId,
    everybody: &[DeviceId],
    chosen: &[Candidate],
    n: usize,
) -> Vec<DeviceId> {
    let mut idle: Vec<DeviceId> =
        everybody.iter().filter(|d| chosen.iter().all(|c| c.id != **d)).copied().collect();
    let mut busy: Vec<DeviceId> = chosen.iter().map(|c| c.id).collect();
    for list in [&mut idle, &mut busy] {
        list.sort_by_key(|d| seed.draw("market/helper", &[lease.as_ref(), d.as_ref()]));
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

/// Adds escrow.
pub fn fund(s: &mut State<'_>, who: AccountId, id: LeaseId, credits: Credits) -> Run<()> {
    let before = s.need::<Leases>(&id, unknown_lease())?;
    if before.refunded.is_some() {
        return Err(Refusal::new("lease.ended", "the lease has ended", "open a new one").into());
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
        let found = choose(pool, 1, lease.demand.max_per_domain, &taken).into_iter().next();
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

/// A holder drops a slot for a legal reason: reassigned, nothing locked.
pub fn legal_notice(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    id: LeaseId,
    index: u16,
) -> Run<()> {
    let row = s.need::<Leases>(&id, unknown_lease())?;
    let holder = row.entry.slots.get(usize::from(index)).map(|x| x.device).unwrap_or_default();
    crate::registry::own_device(s, &who, &holder)?;
    reassign(s, sectors, id, index)
}

/// Takes a device off the market if its bond no longer suffices, and lowers its reputation.
pub fn punish(s: &mut State<'_>, id: &DeviceId, loss_ppm: u64) -> Run<()> {
    let Some(before) = s.get::<Devices>(id)? else { return Ok(()) };
    let c = chain(s)?;
    let mut row = before.clone();
    lose_reputation(&mut row, c.epoch, c.params.reputation_half_life, loss_ppm);
    save_device(s, id, Some(&before), Some(&row))?;
    if row.listed.is_some() && row.bond < required_bond(s, &row.admission)? {
        unlist(s, id)?;
    }
    Ok(())
}
