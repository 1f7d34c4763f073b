//! Which offers enter the market, with what capacity, bond and rates.

use cairn_sector::Admission;
use cairn_types::{Credits, PPM, Rate, Refusal, Units, ppm_of};

use crate::types::{CHUNKS_PER_GIB, Offer, Params};

/// Most failure domains of an offer.
pub const MAX_DOMAINS: usize = 8;

fn refuse(cause: String, remedy: &'static str) -> Refusal {
    Refusal::with("storage.offer", cause, remedy)
}

/// Chunks over one epoch, as KiB-seconds.
pub(crate) fn epoch_of(p: &Params, chunks: u64) -> u64 {
    chunks.saturating_mul(p.epoch_seconds)
}

/// See [`cairn_sector::Rules::admit`]. Capacity of kind 0 and 3 is that of one epoch in KiB-seconds, of kind 1 what the
/// uplink carries in one epoch, of kind 2 the device's size.
pub fn admit(p: &Params, offer: &Offer) -> Result<Admission, Refusal> {
    let range = p.min_capacity_chunks..=p.max_capacity_chunks;
    if !range.contains(&offer.capacity_chunks) {
        let cause = format!("{} chunks are outside {range:?}", offer.capacity_chunks);
        return Err(refuse(cause, "offer a capacity inside the bounds"));
    }
    if offer.domains.len() > MAX_DOMAINS {
        let cause = format!("{} failure domains", offer.domains.len());
        return Err(refuse(cause, "name at most 8 failure domains"));
    }
    let mut sorted = offer.domains.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != offer.domains.len() {
        return Err(refuse("a failure domain is named twice".into(), "name each failure domain once"));
    }
    if offer.region == 0 {
        return Err(refuse("region 0 means anywhere".into(), "name the region where the device stands"));
    }
    let bond =
        (u128::from(offer.capacity_chunks) * u128::from(p.bond_per_gib)).div_ceil(u128::from(CHUNKS_PER_GIB));
    let bond = u64::try_from(bond).map_err(|_| refuse("the bond overflows".into(), "offer less capacity"))?;
    let rest = epoch_of(p, offer.capacity_chunks);
    let egress = u64::from(offer.uplink_kib).saturating_mul(p.epoch_seconds);
    Ok(Admission {
        capacity: Units([rest, egress, offer.capacity_chunks, rest]),
        rates: rates(p, offer),
        list_rate: offer.at_rest,
        bond: Credits(bond),
        unique: Vec::new(),
        domains: offer.domains.clone(),
        class: offer.class,
        region: offer.region,
        cell: None,
    })
}

/// Rates by kind: at rest, served, rebuilt (governed, paid from a bond), reserved.
pub(crate) fn rates(p: &Params, offer: &Offer) -> [Rate; 4] {
    let reserved = ppm_of(u128::from(offer.at_rest.0), u64::from(p.reservation_ppm).min(PPM));
    let reserved = Rate(u64::try_from(reserved).unwrap_or(offer.at_rest.0));
    [offer.at_rest, offer.egress, p.repair_rate, reserved]
}
