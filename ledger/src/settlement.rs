//! The settlement record, its way onto the chain, and what people draw from it.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::merkle::rows;
use cairn_sector::{Sectors, Seed};
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, LeaseId, NetworkId, Price, Refusal, SectorId, encode,
    ppm_of,
};

use crate::bank::{CreditPot, Pot, chain, money, pay, pay_credits};
use crate::events::Event;
use crate::market;
use crate::registry::{save_lease, save_sale, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{
    ChainParams, Claims, Devices, DueEntry, LeaseRow, LockCause, LockRow, Locks, Operators, Phase,
    RepairLocks, Sales, SectorEpochRow, SectorEpochs, SectorTable,
};
use crate::tx::{ClaimProof, seal_vote};

/// Outcomes in one chunk of the outcomes tree, and so in one transaction.
pub const OUTCOMES_PER_CHUNK: usize = 16;

/// The judged epoch of one sector. Its digest is what an auditor trusts and what a pack is verified against.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settlement {
    /// Network.
    pub network: NetworkId,
    /// Sector.
    pub sector: SectorId,
    /// Rules version.
    pub version: u16,
    /// Epoch.
    pub epoch: Epoch,
    /// Seed of the epoch.
    pub seed: Seed,
    /// Pebbles of a credit, frozen at the lock.
    pub price: Price,
    /// Content digest of devices, leases and sales at the lock.
    pub registry_root: Hash,
    /// Digest of the terms (governed numbers) at the lock.
    pub terms_root: Hash,
    /// Content digest of commitments.
    pub commitments_root: Hash,
    /// Content digest of answer digests.
    pub answers_root: Hash,
    /// Content digest of certified bundles.
    pub evidence_root: Hash,
    /// Sector memory before and after.
    pub memory: (Hash, Hash),
    /// Cumulative charges and earnings before and after.
    pub tally: (Hash, Hash),
    /// Merkle root and number of judged rows.
    pub rows: (Hash, u64),
    /// Charged to escrows in this epoch.
    pub charged: Credits,
    /// Pooled sales attributed in this epoch.
    pub sales: Credits,
    /// Earned by operators from charges and sales.
    pub earned: Amount,
    /// Earned by operators from the sector's pool.
    pub pool_paid: Amount,
    /// Merkle root and number of cumulative earnings by operator.
    pub claims: (Hash, u64),
    /// Merkle root and number of cumulative charges by lease.
    pub charges: (Hash, u64),
    /// Merkle root of the chunks and number of outcomes.
    pub outcomes: (Hash, u32),
}

impl Settlement {
    /// The id: 64 hexadecimal digits to trust.
    pub fn id(&self) -> Hash {
        Hash::derive("cairn/settlement", &[&encode(self)])
    }
}

/// What a settlement does beyond money in total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// A fault: part of the bond is locked.
    Fault {
        /// Device.
        device: DeviceId,
        /// The sector's code.
        code: u16,
        /// Share of the bond (ppm).
        severity_ppm: u32,
        /// Digest of the evidence.
        evidence: Hash,
    },
    /// A loss without fault: the slot moves on and the capped cost of the rebuild is locked.
    Repair {
        /// Lease.
        lease: LeaseId,
        /// Slot.
        slot: u16,
        /// Who lost it.
        device: DeviceId,
        /// Pebbles to lock.
        cost: Amount,
    },
    /// The slot moves on at nobody's expense.
    Reassign {
        /// Lease.
        lease: LeaseId,
        /// Slot.
        slot: u16,
        /// Who gives it up.
        device: DeviceId,
    },
    /// The lease is over.
    Done {
        /// Lease.
        lease: LeaseId,
    },
    /// Work paid from a locked bond.
    Pay {
        /// Whose bond.
        of: DeviceId,
        /// Who worked.
        to: DeviceId,
        /// Pebbles.
        amount: Amount,
    },
    /// A pooled sale was attributed.
    SaleDone {
        /// Sale.
        sale: Hash,
    },
    /// The escrow has not covered what is due for `unpaid_epochs`: the lease ends, unless more was put in since.
    Lapse {
        /// Lease.
        lease: LeaseId,
        /// Credits ever put in, as the lock saw them.
        deposited: Credits,
    },
    /// The lease's last epoch is settled and nobody asked for the refund: it is made.
    WindUp {
        /// Lease.
        lease: LeaseId,
        /// Credits charged in all.
        charged: Credits,
    },
}

/// Division of what customers paid in an epoch, in pebbles. The parts add up to `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Out of the vault.
    pub total: Amount,
    /// Burned.
    pub burned: Amount,
    /// To stakers.
    pub stakers: Amount,
    /// To the treasury.
    pub treasury: Amount,
    /// The most that operators get.
    pub operators: Amount,
}

/// Splits fees: burned, stakers and treasury rounded down, the rest is the operators'.
pub fn split(params: &ChainParams, price: Price, paid: Credits) -> Split {
    let total = price.pebbles(paid);
    let part = |ppm| Amount(ppm_of(total.0, ppm));
    let (burned, stakers, treasury) =
        (part(params.burn_ppm), part(params.stakers_ppm), part(params.treasury_ppm));
    let operators = total.saturating_sub(burned).saturating_sub(stakers).saturating_sub(treasury);
    Split { total, burned, stakers, treasury, operators }
}

fn refuse(code: &'static str, cause: &'static str) -> crate::state::Stop {
    Refusal::new(code, cause, "recompute with `cairn verify epoch N` and compare").into()
}

fn sector_epoch(s: &State<'_>, epoch: Epoch, sector: SectorId) -> Run<SectorEpochRow> {
    s.need::<SectorEpochs>(
        &(epoch, sector),
        Refusal::new("settlement.unknown", "no such epoch of this sector", "name an epoch that was locked"),
    )
}

/// May the seat vote now?
pub fn check_vote(s: &State<'_>, seat: u16, epoch: Epoch, sector: SectorId) -> Run<()> {
    let row = sector_epoch(s, epoch, sector)?;
    crate::epoch::within(s, epoch.plus(1), |p| p.certify_blocks, |p| p.vote_blocks)?;
    if !matches!(row.phase, Phase::Open | Phase::Committed) || row.votes.iter().any(|(v, _)| *v == seat) {
        return Err(refuse("settlement.voted", "the seat voted already or the epoch is decided"));
    }
    Ok(())
}

/// A seat commits to a settlement.
pub fn vote(s: &mut State<'_>, seat: u16, epoch: Epoch, sector: SectorId, sealed: Hash) -> Run<()> {
    check_vote(s, seat, epoch, sector)?;
    let mut row = sector_epoch(s, epoch, sector)?;
    row.votes.push((seat, sealed));
    row.phase = Phase::Committed;
    s.put::<SectorEpochs>(&(epoch, sector), &row);
    s.emit(Event::Voted { sector, epoch, seat });
    Ok(())
}

fn other_vote() -> crate::state::Stop {
    refuse("settlement.vote", "the settlement is not the one that the seat committed to")
}

/// May the seat open its vote now?
pub fn check_reveal(s: &State<'_>, seat: u16, epoch: Epoch, sector: SectorId) -> Run<()> {
    let row = sector_epoch(s, epoch, sector)?;
    crate::epoch::within(s, epoch.plus(1), |p| p.certify_blocks, |p| p.vote_blocks)?;
    if row.phase != Phase::Committed || !row.votes.iter().any(|v| v.0 == seat) {
        return Err(other_vote());
    }
    Ok(())
}

/// A seat opens its vote; the settlement becomes final if it fits the chain.
pub fn reveal(s: &mut State<'_>, seat: u16, epoch: Epoch, settlement: Settlement, salt: &Hash) -> Run<()> {
    let sector = settlement.sector;
    check_reveal(s, seat, epoch, sector)?;
    let mut row = sector_epoch(s, epoch, sector)?;
    let id = settlement.id();
    if !row.votes.contains(&(seat, seal_vote(&id, salt, seat))) {
        return Err(other_vote());
    }
    check_against_chain(s, epoch, &row, &settlement)?;
    apply_totals(s, &settlement)?;
    let mut srow = s.need::<SectorTable>(&sector, unknown_sector(sector))?;
    srow.latest = Some((epoch, id));
    (srow.memory_root, srow.tally_root) = (settlement.memory.1, settlement.tally.1);
    s.put::<SectorTable>(&sector, &srow);
    s.emit(Event::Settled {
        sector,
        epoch,
        settlement: id,
        charged: settlement.charged,
        earned: settlement.earned,
    });
    row.phase = Phase::Final;
    row.settlement = Some(settlement);
    s.put::<SectorEpochs>(&(epoch, sector), &row);
    Ok(())
}

/// Everything in the record that the chain knows by itself must agree.
fn check_against_chain(s: &State<'_>, epoch: Epoch, row: &SectorEpochRow, x: &Settlement) -> Run<()> {
    let srow = s.need::<SectorTable>(&x.sector, unknown_sector(x.sector))?;
    let erow = crate::epoch::epoch_row(s, epoch)?;
    let fits = x.network == chain(s)?.network
        && x.epoch == epoch
        && x.version == row.terms.version
        && Some(x.seed) == erow.seed
        && x.price == erow.price
        && x.registry_root == row.registry_root
        && x.terms_root == row.terms.root()
        && x.commitments_root == row.commitments.digest()
        && x.answers_root == row.answers.digest()
        && x.evidence_root == row.evidence.digest()
        && x.memory.0 == srow.memory_root
        && x.tally.0 == srow.tally_root;
    if !fits {
        return Err(refuse("settlement.inputs", "the record was made from other inputs than the chain's"));
    }
    let paid = x
        .charged
        .checked_add(x.sales)
        .ok_or_else(|| refuse("settlement.overflow", "the charges overflow"))?;
    let shares = split(&row.terms.chain, x.price, paid);
    if x.earned > shares.operators || x.pool_paid > row.terms.pool_budget {
        return Err(refuse("settlement.money", "operators would earn more than customers and pool pay"));
    }
    Ok(())
}

fn apply_totals(s: &mut State<'_>, x: &Settlement) -> Run<()> {
    let paid = Credits(x.charged.0.saturating_add(x.sales.0));
    let params = sector_epoch(s, x.epoch, x.sector)?.terms.chain;
    let shares = split(&params, x.price, paid);
    pay_credits(s, CreditPot::Escrow, CreditPot::Spent, x.charged)?;
    pay_credits(s, CreditPot::Unsettled, CreditPot::Spent, x.sales)?;
    pay(s, Pot::Vault, Pot::Burned, shares.burned)?;
    pay(s, Pot::Vault, Pot::Stakers, shares.stakers)?;
    pay(s, Pot::Vault, Pot::Treasury, shares.treasury)?;
    pay(s, Pot::Vault, Pot::Payable, x.earned)?;
    pay(s, Pot::Vault, Pot::Dust, shares.operators.saturating_sub(x.earned))?;
    pay(s, Pot::Pool(x.sector), Pot::Payable, x.pool_paid)
}

/// Leaf of an outcomes chunk.
pub fn outcome_chunk(outcomes: &[Outcome]) -> Vec<u8> {
    encode(outcomes)
}

fn out_of_order() -> crate::state::Stop {
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
    if from != row.applied || from % per != 0 || len > per || len == 0 || from.saturating_add(len) > total {
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
            market::punish(s, device, 500_000)
        }
        Outcome::Repair { lease, slot, device, cost } => {
            if !holds(s, lease, *slot, device)? {
                return Ok(());
            }
            let free = s.get::<Devices>(device)?.map(|d| d.bond).unwrap_or_default();
            lock(s, device, sector, epoch, (*cost).min(free), LockCause::Loss, None)?;
            market::punish(s, device, 100_000)?;
            market::reassign(s, sectors, *lease, *slot)
        }
        Outcome::Reassign { lease, slot, device } => {
            if !holds(s, lease, *slot, device)? {
                return Ok(());
            }
            market::reassign(s, sectors, *lease, *slot)
        }
        Outcome::Done { lease } => finish_lease(s, lease),
        Outcome::Lapse { lease, deposited } => lapse(s, lease, *deposited),
        Outcome::WindUp { lease, charged } => wind_up(s, epoch, lease, *charged),
        Outcome::Pay { of, to, amount } => pay_from_bond(s, of, to, *amount),
        Outcome::SaleDone { sale } => match s.get::<Sales>(&(sector, *sale))? {
            Some(row) => save_sale(s, sector, &row, false),
            None => Ok(()),
        },
    }
}

/// The judgement is an epoch old: the slot may have moved on since, the lease may have been refunded.
fn holds(s: &State<'_>, lease: &LeaseId, slot: u16, device: &DeviceId) -> Run<bool> {
    let row = s.get::<crate::tables::Leases>(lease)?;
    Ok(row.is_some_and(|l| {
        l.refunded.is_none() && l.entry.slots.get(usize::from(slot)).is_some_and(|x| x.device == *device)
    }))
}

fn finish_lease(s: &mut State<'_>, lease: &LeaseId) -> Run<()> {
    let Some(before) = s.get::<crate::tables::Leases>(lease)? else { return Ok(()) };
    // A refund released the slots and took the lease out of the registry already.
    if before.refunded.is_some() {
        return Ok(());
    }
    market::release_slots(s, &before)?;
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
    let Some(row) = s.get::<crate::tables::Leases>(lease)? else { return Ok(()) };
    if row.refunded.is_some() || row.entry.deposited > deposited {
        return Ok(());
    }
    finish_lease(s, lease)?;
    s.emit(Event::LeaseLapsed { lease: *lease });
    Ok(())
}

/// Refunds a lease whose last epoch lies before the settled one, so that forgotten leases do not stay for ever.
fn wind_up(s: &mut State<'_>, epoch: Epoch, lease: &LeaseId, charged: Credits) -> Run<()> {
    let Some(row) = s.get::<crate::tables::Leases>(lease)? else { return Ok(()) };
    let over = row.refunded.is_none() && row.entry.closing.is_some_and(|e| e < epoch);
    if over { give_back(s, &row, charged).map(|_| ()) } else { Ok(()) }
}

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
            crate::epoch::schedule(s, at, DueEntry::Release(id))?;
            LockRow { device: *device, sector, epoch, amount, left: amount, cause, finder }
        }
    };
    s.put::<Locks>(&id, &row);
    s.put::<RepairLocks>(device, &id);
    s.emit(Event::BondLocked { device: *device, lock: id, amount });
    Ok(())
}

/// Pays work out of the latest lock of a device, as far as it reaches.
fn pay_from_bond(s: &mut State<'_>, of: &DeviceId, to: &DeviceId, amount: Amount) -> Run<()> {
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
                market::list(s, &row.device)?;
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

/// A final settlement of a sector.
fn final_settlement(s: &State<'_>, epoch: Epoch, sector: SectorId) -> Run<Settlement> {
    sector_epoch(s, epoch, sector)?
        .settlement
        .ok_or_else(|| refuse("settlement.open", "the epoch is not final"))
}

/// Leaf of the tree of claims.
pub fn claim_leaf(operator: &AccountId, earned: Amount) -> Vec<u8> {
    encode(&(operator, earned))
}

/// Leaf of the tree of charges.
pub fn charge_leaf(lease: &LeaseId, charged: Credits) -> Vec<u8> {
    encode(&(lease, charged))
}

/// Could this claim draw anything at all? The proof is looked at in execution.
pub fn check_claim(s: &State<'_>, p: &ClaimProof) -> Run<()> {
    final_settlement(s, p.epoch, p.sector)?;
    let drawn = s.get_or_default::<Claims>(&(p.sector, p.operator))?.drawn;
    if p.earned <= drawn { Err(nothing(p, drawn)) } else { Ok(()) }
}

fn nothing(p: &ClaimProof, drawn: Amount) -> crate::state::Stop {
    Refusal::with(
        "claim.nothing",
        format!("{} earned, {drawn} drawn; the rest is held until its window has passed", p.earned),
        "claim again after the window, or add bond",
    )
    .into()
}

/// Draws earnings: all that has matured, and of the rest as much as the free bond could make good.
pub fn claim(s: &mut State<'_>, p: &ClaimProof) -> Run<Amount> {
    let x = final_settlement(s, p.epoch, p.sector)?;
    rows::verify(&x.claims.0, x.claims.1, p.index, &claim_leaf(&p.operator, p.earned), &p.proof)
        .map_err(|_| refuse("claim.proof", "the proof does not lead to the settlement's root"))?;
    let c = chain(s)?;
    let mut row = s.get_or_default::<Claims>(&(p.sector, p.operator))?;
    if p.epoch.plus(c.params.window_epochs) < c.epoch {
        row.matured = row.matured.max(p.earned);
    }
    let bond = s.get_or_default::<Operators>(&p.operator)?.free_bond;
    let limit = row.matured.saturating_add(bond).min(p.earned);
    let amount = limit.saturating_sub(row.drawn);
    if amount.is_zero() {
        return Err(nothing(p, row.drawn));
    }
    row.drawn = row.drawn.saturating_add(amount);
    s.put::<Claims>(&(p.sector, p.operator), &row);
    pay(s, Pot::Payable, Pot::Account(p.operator), amount)?;
    s.emit(Event::Claimed { sector: p.sector, operator: p.operator, amount });
    Ok(amount)
}

/// Gives back what a closed lease did not use.
pub fn refund(
    s: &mut State<'_>,
    who: AccountId,
    id: LeaseId,
    epoch: Epoch,
    charged: Credits,
    index: u64,
    proof: &rows::RowProof,
) -> Run<Credits> {
    let before = market::own_lease(s, &who, &id)?;
    let over = before.entry.closing.is_some_and(|e| epoch >= e) && before.refunded.is_none();
    if !over {
        return Err(Refusal::new(
            "refund.early",
            "the settlement is older than the lease's last epoch, or the refund was made",
            "close the lease and wait until its last epoch is settled",
        )
        .into());
    }
    let x = final_settlement(s, epoch, before.entry.sector)?;
    rows::verify(&x.charges.0, x.charges.1, index, &charge_leaf(&id, charged), proof)
        .map_err(|_| refuse("refund.proof", "the proof does not lead to the settlement's root"))?;
    give_back(s, &before, charged)
}

/// Pays back what a lease that is over did not use, and takes it out of the registry.
fn give_back(s: &mut State<'_>, before: &LeaseRow, charged: Credits) -> Run<Credits> {
    let id = before.entry.id;
    let credits = before.entry.deposited.saturating_sub(charged);
    market::release_slots(s, before)?;
    let mut row = before.clone();
    row.refunded = Some(credits);
    pay_credits(s, CreditPot::Escrow, CreditPot::Account(before.entry.customer), credits)?;
    // The lock no longer shows the lease: it leaves the registry.
    save_lease(s, Some(before), None)?;
    s.put::<crate::tables::Leases>(&id, &row);
    s.emit(Event::LeaseRefunded { lease: id, credits });
    Ok(credits)
}

/// Is the money that settlements owe covered? (For the invariants.)
pub fn owed(s: &State<'_>) -> Run<Amount> {
    Ok(money(s)?.payable)
}
