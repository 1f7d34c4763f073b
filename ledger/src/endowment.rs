//! Endowments: credits locked to a lease for ever, from which its escrow is filled while they last.
//!
//! Nobody can take them out, and while there are any the customer cannot close the lease, nor does it lapse. Every
//! `unpaid_epochs` epochs the endowment puts in what so many epochs cost at most at the rates of the slots' present
//! holders: a slot that changes hands was quoted by the market then, so the price of renewal is the market's. The escrow
//! is charged for what was served as ever; what it was not charged for stays in it and is used up last.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::LeaseEntry;
use cairn_types::{AccountId, Credits, LeaseId, Refusal};

use crate::bank::{CreditPot, chain, pay_credits};
use crate::epoch::schedule;
use crate::events::Event;
use crate::market::{capacity_overflow, unknown_lease};
use crate::registry::save_lease;
use crate::state::{Run, State};
use crate::tables::{DueEntry, Endowments, Leases};

/// What a lease is endowed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndowmentRow {
    /// Credits still locked.
    pub left: Credits,
    /// Credits ever paid in.
    pub paid: Credits,
}

/// What `epochs` epochs of a lease cost at most, at the rates of its slots. Reading is not in it. A product that no sum can
/// hold counts as 0, as in every charge; sums stop at the largest.
pub fn price(lease: &LeaseEntry, epochs: u64) -> Credits {
    let slot = |rates: &[cairn_types::Rate]| {
        let kinds = rates.iter().zip(&lease.reserve.0);
        kinds.fold(Credits::ZERO, |sum, (rate, units)| {
            sum.saturating_add(rate.charge(u128::from(*units)).unwrap_or_default())
        })
    };
    let epoch = lease.slots.iter().fold(Credits::ZERO, |sum, s| sum.saturating_add(slot(&s.rates)));
    Credits(epoch.0.saturating_mul(epochs))
}

/// Endows a lease that has no end; anybody may. The first filling is made at once.
pub fn endow(s: &mut State<'_>, who: AccountId, id: LeaseId, credits: Credits) -> Run<()> {
    let lease = s.need::<Leases>(&id, unknown_lease())?;
    if lease.refunded.is_some() || lease.entry.closing.is_some() {
        return Err(Refusal::new(
            "endow.closing",
            "the lease has an end; what lasts for ever cannot be put into it",
            "endow a lease without a term that is not closing",
        )
        .into());
    }
    if credits.is_zero() {
        return Err(Refusal::new("endow.zero", "nothing would be endowed", "name a sum above 0").into());
    }
    let before = s.get::<Endowments>(&id)?;
    let mut row = before.unwrap_or_default();
    row.left = row.left.checked_add(credits).ok_or_else(capacity_overflow)?;
    row.paid = row.paid.checked_add(credits).ok_or_else(capacity_overflow)?;
    pay_credits(s, CreditPot::Account(who), CreditPot::Endowed, credits)?;
    s.put::<Endowments>(&id, &row);
    s.emit(Event::Endowed { lease: id, credits });
    if before.is_none() { fill(s, id) } else { Ok(()) }
}

/// Fills the escrow from the endowment, and comes again after `unpaid_epochs` epochs while something is left.
pub fn fill(s: &mut State<'_>, id: LeaseId) -> Run<()> {
    let Some(mut row) = s.get::<Endowments>(&id)? else { return Ok(()) };
    let before = s.need::<Leases>(&id, unknown_lease())?;
    // The sector ended it: what is left goes back with the refund.
    if before.refunded.is_some() || before.entry.closing.is_some() {
        return Ok(());
    }
    let params = chain(s)?.params;
    let mut lease = before.clone();
    let most = Credits(u64::MAX).saturating_sub(before.entry.deposited);
    let credits = price(&before.entry, params.unpaid_epochs).min(row.left).min(most);
    lease.entry.deposited = lease.entry.deposited.saturating_add(credits);
    row.left = row.left.saturating_sub(credits);
    pay_credits(s, CreditPot::Endowed, CreditPot::Escrow, credits)?;
    save_lease(s, Some(&before), Some(&lease))?;
    if row.left.is_zero() {
        s.delete::<Endowments>(&id);
        s.emit(Event::EndowmentSpent { lease: id });
        return Ok(());
    }
    s.put::<Endowments>(&id, &row);
    let next = chain(s)?.height.plus(params.unpaid_epochs.saturating_mul(params.epoch_blocks));
    schedule(s, next, DueEntry::Endowment(id))
}

/// Is there an endowment?
pub fn endowed(s: &State<'_>, id: &LeaseId) -> Run<bool> {
    Ok(s.get::<Endowments>(id)?.is_some())
}

/// A lease that its sector ended in spite of its endowment: the rest goes where the escrow's rest goes.
pub fn end(s: &mut State<'_>, id: &LeaseId, customer: AccountId) -> Run<()> {
    let Some(row) = s.get::<Endowments>(id)? else { return Ok(()) };
    pay_credits(s, CreditPot::Endowed, CreditPot::Account(customer), row.left)?;
    s.delete::<Endowments>(id);
    Ok(())
}
