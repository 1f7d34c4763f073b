//! Which offers enter.

use cairn_sector::Admission;
use cairn_types::{Hash, Refusal, UNIT_KINDS, Units};

use crate::{Grid, Offer, Params};

/// A device with a place is admitted for one beacon and a capped number of receipts per epoch.
pub fn admit(p: &Params, offer: &Offer) -> Result<Admission, Refusal> {
    if Grid::of(offer.cell).is_none() {
        return Err(Refusal::with(
            "coverage.no_cell",
            format!("cell {} has row or column 0", offer.cell.0),
            "give the packed cell of the device's place; rows and columns start at 1",
        ));
    }
    Ok(Admission {
        capacity: Units([p.beacon_units, p.witness_cap, 0, 0]),
        rates: [p.rate; UNIT_KINDS],
        list_rate: p.rate,
        bond: p.bond,
        unique: vec![offer.serial],
        domains: vec![Hash::derive("cairn/coverage/site", &[&offer.site.to_le_bytes()])],
        class: 0,
        region: 0,
        cell: Some(offer.cell),
    })
}
