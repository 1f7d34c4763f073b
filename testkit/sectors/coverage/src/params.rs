//! Governed numbers and their bounds.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Credits, PPM, Rate, Refusal};

/// Governed numbers of the sector.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Farthest distance in cells at which a witness counts, `1..=8`.
    pub radius: u32,
    /// Witnesses that a beacon needs, `2..=16`.
    pub min_witnesses: u16,
    /// Witnesses of one beacon that are paid in full; more share the same sum. `min_witnesses..=64`.
    pub paid_witnesses: u16,
    /// Units for a witnessed beacon, `1..=1,000,000`.
    pub beacon_units: u64,
    /// Units for witnessing one beacon, `1..=1,000,000`.
    pub witness_units: u64,
    /// Most units per epoch that one device earns as a witness.
    pub witness_cap: u64,
    /// Devices in a neighbourhood that are paid in full; more share the same sum. At least 1.
    pub density: u32,
    /// Epochs of memory after which a history is long enough to tell a closed group, `2..=255`.
    pub mature: u8,
    /// Epochs after which a sighting is forgotten, `mature..=1,024`.
    pub window: u16,
    /// Largest closed group in devices that is recognised, `2..=17`.
    pub group_max: u16,
    /// Share of the pay that a closed group, or a device seen by one operator only, keeps. Millionths.
    pub closed_ppm: u32,
    /// Weakest signal level accepted, tenths of dBm.
    pub level_min: i16,
    /// Strongest signal level accepted, tenths of dBm.
    pub level_max: i16,
    /// Bond of a device.
    pub bond: Credits,
    /// Rate of a unit.
    pub rate: Rate,
    /// Price of one cell in a pooled sale.
    pub cell_price: Credits,
    /// Most cells in one pooled sale, `1..=65,536`.
    pub sale_cells: u32,
    /// Share of the bond at stake when a device witnesses itself, millionths.
    pub self_witness_ppm: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            radius: 2,
            min_witnesses: 2,
            paid_witnesses: 4,
            beacon_units: 1_000,
            witness_units: 100,
            witness_cap: 1_000,
            density: 25,
            mature: 4,
            window: 16,
            group_max: 8,
            closed_ppm: 200_000,
            level_min: -1_400,
            level_max: 200,
            bond: Credits(5_000_000),
            rate: Rate(1_000_000_000),
            cell_price: Credits(10_000),
            sale_cells: 4_096,
            self_witness_ppm: 200_000,
        }
    }
}

/// Refuses numbers outside their bounds.
pub fn check(p: &Params) -> Result<(), Refusal> {
    let bounds = [
        ("radius", (1..=8).contains(&p.radius)),
        ("min_witnesses", (2..=16).contains(&p.min_witnesses)),
        ("paid_witnesses", (p.min_witnesses..=64).contains(&p.paid_witnesses)),
        ("beacon_units", (1..=1_000_000).contains(&p.beacon_units)),
        ("witness_units", (1..=1_000_000).contains(&p.witness_units)),
        ("witness_cap", (p.witness_units..=1_000_000_000).contains(&p.witness_cap)),
        ("density", p.density >= 1),
        ("mature", p.mature >= 2),
        ("window", (u16::from(p.mature)..=1_024).contains(&p.window)),
        ("group_max", (2..=17).contains(&p.group_max)),
        ("closed_ppm", u64::from(p.closed_ppm) <= PPM),
        ("level_min", p.level_min <= p.level_max),
        ("sale_cells", (1..=65_536).contains(&p.sale_cells)),
        ("self_witness_ppm", (1..=PPM).contains(&u64::from(p.self_witness_ppm))),
    ];
    match bounds.iter().find(|(_, inside)| !inside) {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::with(
            "coverage.params",
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
    fn one_witness_is_never_enough() {
        let refusal = check(&Params { min_witnesses: 1, ..Params::default() }).unwrap_err();
        assert!(refusal.cause.starts_with("min_witnesses"));
    }
}
