//! The settlement record and its way onto the chain: sealed vote, reveal, totals.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::Seed;
use cairn_types::{
    AccountId, Amount, Credits, DeviceId, Epoch, Hash, LeaseId, NetworkId, Price, Refusal, SectorId, encode,
    ppm_of,
};

use crate::bank::{CreditPot, Pot, chain, pay, pay_credits};
use crate::events::Event;
use crate::registry::unknown_sector;
use crate::state::{Run, State};
use crate::tables::{ChainParams, EpochDigests, Phase, SectorEpochRow, SectorEpochs, SectorTable};
use crate::tx::seal_vote;

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
    /// A pooled sale had no supplier for as long as the window: the buyer gets the credits back.
    SaleRefunded {
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
    /// The market sees a device at another price from now on; nobody pays or is paid otherwise.
    Weigh {
        /// Device.
        device: DeviceId,
        /// Millionths of its list price, between [`crate::listing::LIGHTEST`] and [`crate::listing::HEAVIEST`].
        ppm: u32,
    },
}

/// Leaf of an outcomes chunk.
pub fn outcome_chunk(outcomes: &[Outcome]) -> Vec<u8> {
    encode(outcomes)
}

/// Leaf of the tree of claims.
pub fn claim_leaf(operator: &AccountId, earned: Amount) -> Vec<u8> {
    encode(&(operator, earned))
}

/// Leaf of the tree of charges.
pub fn charge_leaf(lease: &LeaseId, charged: Credits) -> Vec<u8> {
    encode(&(lease, charged))
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

pub(crate) fn refuse(code: &'static str, cause: &'static str) -> crate::state::Stop {
    Refusal::new(code, cause, "recompute with `cairn verify epoch N` and compare").into()
}

pub(crate) fn sector_epoch(s: &State<'_>, epoch: Epoch, sector: SectorId) -> Run<SectorEpochRow> {
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
    row.settlement = Some(settlement);
    crate::epoch::end(s, (epoch, sector), row, Phase::Final)
}

/// Everything in the record that the chain knows by itself must agree.
fn check_against_chain(s: &State<'_>, epoch: Epoch, row: &SectorEpochRow, x: &Settlement) -> Run<()> {
    let srow = s.need::<SectorTable>(&x.sector, unknown_sector(x.sector))?;
    let erow = crate::epoch::epoch_row(s, epoch)?;
    let open = s.get::<EpochDigests>(&(epoch, x.sector))?;
    let fits = x.network == chain(s)?.network
        && x.epoch == epoch
        && x.version == row.terms.version
        && Some(x.seed) == erow.seed
        && x.price == erow.price
        && x.registry_root == row.registry_root
        && x.terms_root == row.terms.root()
        && [x.commitments_root, x.answers_root, x.evidence_root] == row.contents(open.as_ref())
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
