//! Which offers enter.

use cairn_sector::Admission;
use cairn_types::{Refusal, UNIT_KINDS, Units};

use crate::{Offer, Params};

/// Class of a miner.
const MINER: u16 = 0;
/// Class of a validator.
const VALIDATOR: u16 = 1;

/// A validator's bond is its stake. The capacity is the whole pot: one device may win everything.
pub fn admit(p: &Params, offer: &Offer) -> Result<Admission, Refusal> {
    let (class, bond, capacity) = match offer {
        Offer::Miner => (MINER, p.miner_bond, Units([p.miner_units, 0, 0, 0])),
        Offer::Validator { stake } if *stake >= p.min_stake => {
            (VALIDATOR, *stake, Units([0, p.validator_units, 0, 0]))
        }
        Offer::Validator { stake } => {
            return Err(Refusal::with(
                "arena.stake",
                format!("a stake of {stake} is below the least stake of {}", p.min_stake),
                "offer a larger stake",
            ));
        }
    };
    Ok(Admission {
        capacity,
        rates: [p.rate; UNIT_KINDS],
        list_rate: p.rate,
        bond,
        unique: Vec::new(),
        domains: Vec::new(),
        class,
        region: 0,
        cell: None,
    })
}
