//! Pooled sales: a customer buys what many devices supplied; the settlement attributes it.

use cairn_sector::{SaleEntry, Sectors};
use cairn_types::{AccountId, Credits, Hash, Refusal, SectorId};

use crate::bank::{CreditPot, chain, pay_credits};
use crate::events::Event;
use crate::registry::{save_sale, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{Sales, SectorTable};

/// Buys from a sector's pooled supply. The sale is attributed with the settlement of the next epoch, or of a later one
/// where nobody supplied it yet.
pub fn buy(
    s: &mut State<'_>,
    sectors: &Sectors,
    who: AccountId,
    nonce: u64,
    sector: SectorId,
    sale: Vec<u8>,
    max_credits: Credits,
) -> Run<()> {
    let row = s.need::<SectorTable>(&sector, unknown_sector(sector))?;
    let price = sectors.get(sector, row.version)?.sale(&row.params, &sale)?;
    if price > max_credits {
        return Err(Refusal::with(
            "sale.price",
            format!("the sale costs {price}, more than the limit of {max_credits}"),
            "raise the limit or buy less",
        )
        .into());
    }
    let id = Hash::derive("cairn/sale", &[who.as_ref(), &nonce.to_le_bytes()]);
    pay_credits(s, CreditPot::Account(who), CreditPot::Unsettled, price)?;
    let epoch = chain(s)?.epoch.plus(1);
    save_sale(s, sector, &SaleEntry { id, buyer: who, sale, paid: price, epoch }, true)?;
    s.emit(Event::SaleMade { sector, sale: id, credits: price });
    Ok(())
}

/// Ends a sale that a settlement attributed.
pub(crate) fn done(s: &mut State<'_>, sector: SectorId, id: &Hash) -> Run<()> {
    match s.get::<Sales>(&(sector, *id))? {
        Some(sale) => save_sale(s, sector, &sale, false),
        None => Ok(()),
    }
}

/// Pays a sale back that a settlement found without a supplier for too long.
pub(crate) fn refund(s: &mut State<'_>, sector: SectorId, id: &Hash) -> Run<()> {
    let Some(sale) = s.get::<Sales>(&(sector, *id))? else { return Ok(()) };
    pay_credits(s, CreditPot::Unsettled, CreditPot::Account(sale.buyer), sale.paid)?;
    save_sale(s, sector, &sale, false)?;
    s.emit(Event::SaleRefunded { sector, sale: *id, buyer: sale.buyer, credits: sale.paid });
    Ok(())
}
