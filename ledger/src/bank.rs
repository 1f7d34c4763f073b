//! The only place where money moves. Every move has two ends, so that both identities hold by construction.

use cairn_types::{AccountId, Amount, Credits, DeviceId, Refusal, SectorId};

use crate::state::{Run, State, Stop};
use crate::tables::{Accounts, Chain, Devices, Money, MoneyRow, Operators, SectorTable};

/// A place that holds CRN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Pot {
    Account(AccountId),
    /// Free bond of a device.
    Bond(DeviceId),
    /// Locked bond of a device.
    Locked(DeviceId),
    /// Bonds of disputes.
    Stake,
    Vault,
    Payable,
    Dust,
    Stakers,
    Treasury,
    /// A sector's pool for standing duties.
    Pool(SectorId),
    Burned,
}

/// A place that holds credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CreditPot {
    Account(AccountId),
    Escrow,
    Endowed,
    Unsettled,
    Spent,
}

fn short(what: &str, has: impl std::fmt::Display, needs: impl std::fmt::Display) -> Stop {
    Stop::Refused(Refusal::with(
        "bank.insufficient",
        format!("{what} holds {has}, {needs} are needed"),
        "add funds or ask for less",
    ))
}

fn overflow() -> Stop {
    Stop::Refused(Refusal::new("bank.overflow", "the sum exceeds what can exist", "ask for less"))
}

fn unknown_device() -> Refusal {
    Refusal::new("device.unknown", "no such device", "check the device id with `cairn status`")
}

/// The totals row.
pub fn money(s: &State<'_>) -> Run<MoneyRow> {
    s.get_or_default::<Money>(&())
}

/// Moves CRN; refuses what the source does not hold. A move of nothing is free.
pub fn pay(s: &mut State<'_>, from: Pot, to: Pot, amount: Amount) -> Run<()> {
    if amount.is_zero() || from == to {
        return Ok(());
    }
    change(s, from, amount, false)?;
    change(s, to, amount, true)
}

fn change(s: &mut State<'_>, pot: Pot, amount: Amount, add: bool) -> Run<()> {
    let apply = |has: &mut Amount, what: &str| -> Run<()> {
        *has = if add {
            has.checked_add(amount).ok_or_else(overflow)?
        } else {
            has.checked_sub(amount).ok_or_else(|| short(what, *has, amount))?
        };
        Ok(())
    };
    match pot {
        Pot::Account(id) => {
            let mut row = s.get_or_default::<Accounts>(&id)?;
            apply(&mut row.balance, "the account")?;
            s.put::<Accounts>(&id, &row);
        }
        Pot::Bond(id) => {
            let mut row = s.need::<Devices>(&id, unknown_device())?;
            apply(&mut row.bond, "the free bond")?;
            s.put::<Devices>(&id, &row);
            let mut op = s.get_or_default::<Operators>(&row.operator)?;
            apply(&mut op.free_bond, "the operator's free bond")?;
            s.put::<Operators>(&row.operator, &op);
        }
        Pot::Locked(id) => {
            let mut row = s.need::<Devices>(&id, unknown_device())?;
            apply(&mut row.locked, "the locked bond")?;
            s.put::<Devices>(&id, &row);
        }
        Pot::Pool(id) => {
            let mut row = s.need::<SectorTable>(&id, crate::registry::unknown_sector(id))?;
            apply(&mut row.pool, "the sector's pool")?;
            s.put::<SectorTable>(&id, &row);
        }
        Pot::Stake | Pot::Vault | Pot::Payable | Pot::Dust | Pot::Stakers | Pot::Treasury | Pot::Burned => {}
    }
    let mut m = money(s)?;
    apply(total(&mut m, pot), "the pot")?;
    s.put::<Money>(&(), &m);
    Ok(())
}

fn total(m: &mut MoneyRow, pot: Pot) -> &mut Amount {
    match pot {
        Pot::Account(_) => &mut m.balances,
        Pot::Bond(_) | Pot::Locked(_) | Pot::Stake => &mut m.bonds,
        Pot::Vault => &mut m.vault,
        Pot::Payable => &mut m.payable,
        Pot::Dust => &mut m.dust,
        Pot::Stakers => &mut m.stakers,
        Pot::Treasury => &mut m.treasury,
        Pot::Pool(_) => &mut m.pools,
        Pot::Burned => &mut m.burned,
    }
}

/// Moves credits; refuses what the source does not hold.
pub fn pay_credits(s: &mut State<'_>, from: CreditPot, to: CreditPot, credits: Credits) -> Run<()> {
    if credits.is_zero() || from == to {
        return Ok(());
    }
    change_credits(s, from, credits, false)?;
    change_credits(s, to, credits, true)
}

fn change_credits(s: &mut State<'_>, pot: CreditPot, credits: Credits, add: bool) -> Run<()> {
    let apply = |has: &mut Credits, what: &str| -> Run<()> {
        *has = if add {
            has.checked_add(credits).ok_or_else(overflow)?
        } else {
            has.checked_sub(credits).ok_or_else(|| short(what, *has, credits))?
        };
        Ok(())
    };
    if let CreditPot::Account(id) = pot {
        let mut row = s.get_or_default::<Accounts>(&id)?;
        apply(&mut row.credits, "the account")?;
        s.put::<Accounts>(&id, &row);
    }
    let mut m = money(s)?;
    let slot = match pot {
        CreditPot::Account(_) => &mut m.free,
        CreditPot::Escrow => &mut m.escrow,
        CreditPot::Endowed => &mut m.endowed,
        CreditPot::Unsettled => &mut m.unsettled,
        CreditPot::Spent => &mut m.spent,
    };
    apply(slot, "the pot")?;
    s.put::<Money>(&(), &m);
    Ok(())
}

/// Sells credits: CRN moves into the vault, credits appear on `account`. Returns the cost.
pub fn buy_credits(
    s: &mut State<'_>,
    by: AccountId,
    account: AccountId,
    credits: Credits,
    max_cost: Amount,
) -> Run<Amount> {
    let cost = chain(s)?.price.pebbles_ceil(credits);
    if cost > max_cost {
        return Err(Refusal::with(
            "credits.price",
            format!("{credits} cost {cost}, more than the limit of {max_cost}"),
            "raise the limit or buy less",
        )
        .into());
    }
    pay(s, Pot::Account(by), Pot::Vault, cost)?;
    let mut m = money(s)?;
    m.issued = m.issued.checked_add(credits).ok_or_else(overflow)?;
    m.free = m.free.checked_add(credits).ok_or_else(overflow)?;
    s.put::<Money>(&(), &m);
    let mut row = s.get_or_default::<Accounts>(&account)?;
    row.credits = row.credits.checked_add(credits).ok_or_else(overflow)?;
    s.put::<Accounts>(&account, &row);
    Ok(cost)
}

/// The chain row; every state after genesis has one.
pub fn chain(s: &State<'_>) -> Run<crate::tables::ChainRow> {
    s.need::<Chain>(&(), Refusal::new("chain.empty", "the state has no genesis", "start from a genesis file"))
}
