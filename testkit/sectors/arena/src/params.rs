//! Governed numbers and their bounds.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Credits, PPM, Rate, Refusal};

/// Governed numbers of the sector.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Most miners that take part, by id ascending, `1..=256`.
    pub miners: u16,
    /// Most validators that take part, by stake descending, `1..=64`.
    pub validators: u16,
    /// More than this share of the stake must give at least a score for it to count, millionths,
    /// `500,000..1,000,000`.
    pub kappa_ppm: u32,
    /// Weight of this epoch in the bonds, millionths, `1..=1,000,000`. 1,000,000 = no memory.
    pub alpha_ppm: u32,
    /// Units divided among the miners of an epoch, `1..=10^12`.
    pub miner_units: u64,
    /// Units divided among the validators of an epoch, `1..=10^12`.
    pub validator_units: u64,
    /// Bond of a miner.
    pub miner_bond: Credits,
    /// Least stake of a validator.
    pub min_stake: Credits,
    /// Rate of a unit.
    pub rate: Rate,
    /// Share of the bond at stake for a signed reveal that does not fit the commitment, millionths.
    pub mismatch_ppm: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            miners: 256,
            validators: 64,
            kappa_ppm: 500_000,
            alpha_ppm: 300_000,
            miner_units: 1_000_000,
            validator_units: 1_000_000,
            miner_bond: Credits(1_000_000),
            min_stake: Credits(10_000_000),
            rate: Rate(1_000_000_000),
            mismatch_ppm: 500_000,
        }
    }
}

/// Refuses numbers outside their bounds.
pub fn check(p: &Params) -> Result<(), Refusal> {
    let bounds = [
        ("miners", (1..=256).contains(&p.miners)),
        ("validators", (1..=64).contains(&p.validators)),
        ("kappa_ppm", (500_000..PPM).contains(&u64::from(p.kappa_ppm))),
        ("alpha_ppm", (1..=PPM).contains(&u64::from(p.alpha_ppm))),
        ("miner_units", (1..=1_000_000_000_000).contains(&p.miner_units)),
        ("validator_units", (1..=1_000_000_000_000).contains(&p.validator_units)),
        ("min_stake", p.min_stake.0 >= 1),
        ("mismatch_ppm", (1..=PPM).contains(&u64::from(p.mismatch_ppm))),
    ];
    match bounds.iter().find(|(_, inside)| !inside) {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::with(
            "arena.params",
            format!("{name} is out of bounds in {p:?}"),
            "choose a number inside the bounds that the documentation of Params states",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_inside_their_bounds() {
        assert_eq!(check(&Params::default()), Ok(()));
    }

    #[test]
    fn less_than_half_of_the_stake_never_decides() {
        assert!(check(&Params { kappa_ppm: 499_999, ..Params::default() }).is_err());
    }
}
