//! Pooled sales: a customer buys what many devices supplied; the settlement attributes it.

use cairn_sector::{SaleEntry, Sectors};
use cairn_types::{AccountId, Credits, Hash, Refusal, SectorId};

use crate::bank::{CreditPot, chain, pay_credits};
use crate::events::Event;
use crate::registry::{save_sale, unknown_sector};
use crate::state::{Run, State};
use crate::tables::{SaleRow, SectorTable};

/// Buys from a sector's pooled supply. The sale is attributed with the settlement of the next epoch.
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
    let entry = SaleEntry { id, buyer: who, sale, paid: price };
    let epoch = chain(s)?.epoch.plus(1);
    save_sale(s, sector, &SaleRow { entry, epoch }, true)?;
    s.emit(Event::SaleMade { sector, sale: id, credits: price });
    Ok(())
}
