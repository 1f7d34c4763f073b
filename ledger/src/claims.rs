//! What people draw from final settlements: earnings and unused escrow.

use cairn_crypto::merkle::rows;
use cairn_types::{AccountId, Amount, Credits, Epoch, LeaseId, Refusal, SectorId};

use crate::bank::{CreditPot, Pot, chain, money, pay, pay_credits};
use crate::events::Event;
use crate::market::own_lease;
use crate::registry::save_lease;
use crate::settlement::{Settlement, charge_leaf, claim_leaf, refuse, sector_epoch};
use crate::slots::release_slots;
use crate::state::{Run, State, Stop};
use crate::tables::{Claims, LeaseRow, Leases, Operators};
use crate::tx::ClaimProof;

/// A final settlement of a sector.
fn final_settlement(s: &State<'_>, epoch: Epoch, sector: SectorId) -> Run<Settlement> {
    sector_epoch(s, epoch, sector)?
        .settlement
        .ok_or_else(|| refuse("settlement.open", "the epoch is not final"))
}

/// Has the window of the settlement that a claim is proved from passed?
fn ripe(s: &State<'_>, p: &ClaimProof) -> Run<bool> {
    let c = chain(s)?;
    Ok(p.epoch.plus(c.params.window_epochs) < c.epoch)
}

/// Could this claim change anything at all? The proof is looked at in execution.
pub fn check_claim(s: &State<'_>, p: &ClaimProof) -> Run<()> {
    final_settlement(s, p.epoch, p.sector)?;
    let row = s.get_or_default::<Claims>(&(p.sector, p.operator))?;
    let matures = ripe(s, p)? && p.earned > row.matured;
    if p.earned <= row.drawn && !matures { Err(nothing(p, row.drawn)) } else { Ok(()) }
}

fn nothing(p: &ClaimProof, drawn: Amount) -> Stop {
    Refusal::with(
        "claim.nothing",
        format!("{} earned, {drawn} drawn; the rest is held until its window has passed", p.earned),
        "claim again after the window, or add bond",
    )
    .into()
}

/// Draws earnings: all that has matured, and of the rest as much as the free bonds could make good that do not answer
/// for held earnings drawn from other sectors. A claim that only shows what has matured since frees those bonds.
pub fn claim(s: &mut State<'_>, p: &ClaimProof) -> Run<Amount> {
    let x = final_settlement(s, p.epoch, p.sector)?;
    rows::verify(&x.claims.0, x.claims.1, p.index, &claim_leaf(&p.operator, p.earned), &p.proof)
        .map_err(|_| refuse("claim.proof", "the proof does not lead to the settlement's root"))?;
    let before = s.get_or_default::<Claims>(&(p.sector, p.operator))?;
    let mut row = before.clone();
    if ripe(s, p)? {
        row.matured = row.matured.max(p.earned);
    }
    let mut operator = s.get_or_default::<Operators>(&p.operator)?;
    let elsewhere = operator.held.saturating_sub(before.held());
    let bond = operator.free_bond.saturating_sub(elsewhere);
    let limit = row.matured.saturating_add(bond).min(p.earned);
    let amount = limit.saturating_sub(row.drawn);
    row.drawn = row.drawn.saturating_add(amount);
    if row == before {
        return Err(nothing(p, row.drawn));
    }
    s.put::<Claims>(&(p.sector, p.operator), &row);
    let held = elsewhere.saturating_add(row.held());
    if held != operator.held {
        operator.held = held;
        s.put::<Operators>(&p.operator, &operator);
    }
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
    let before = own_lease(s, &who, &id)?;
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
pub(crate) fn give_back(s: &mut State<'_>, before: &LeaseRow, charged: Credits) -> Run<Credits> {
    let id = before.entry.id;
    let credits = before.entry.deposited.saturating_sub(charged);
    release_slots(s, before)?;
    let mut row = before.clone();
    row.refunded = Some(credits);
    pay_credits(s, CreditPot::Escrow, CreditPot::Account(before.entry.customer), credits)?;
    crate::endowment::end(s, &id, before.entry.customer)?;
    // The lock no longer shows the lease: it leaves the registry.
    save_lease(s, Some(before), None)?;
    s.put::<Leases>(&id, &row);
    s.emit(Event::LeaseRefunded { lease: id, credits });
    Ok(credits)
}

/// Is the money that settlements owe covered? (For the invariants.)
pub fn owed(s: &State<'_>) -> Run<Amount> {
    Ok(money(s)?.payable)
}
