//! Bounds of the governed numbers.

use cairn_types::{PPM, Refusal};

use crate::types::Params;

/// Largest capacity that any parameters may allow: 2 PiB in chunks. Times a day it stays below 2^58.
pub const MAX_CAPACITY_CHUNKS: u64 = 1 << 41;
/// Most challenges of one device and epoch that any parameters may allow.
pub const MAX_CHALLENGES: u32 = 4096;
/// Most chunks of one audit that any parameters may allow: their proofs fit one message.
pub const MAX_AUDIT_CHUNKS: u32 = 256;

/// See [`cairn_sector::Rules::check`].
pub fn check(p: &Params) -> Result<(), Refusal> {
    let ppm = u32::try_from(PPM).unwrap_or(u32::MAX);
    let bounds: [(&str, bool, &str); 19] = [
        ("epoch_seconds", (1..=86_400).contains(&p.epoch_seconds), "1 to 86400"),
        ("min_capacity_chunks", p.min_capacity_chunks >= 1, "at least 1"),
        (
            "max_capacity_chunks",
            (p.min_capacity_chunks..=MAX_CAPACITY_CHUNKS).contains(&p.max_capacity_chunks),
            "min_capacity_chunks to 2^41",
        ),
        ("bond_per_gib", p.bond_per_gib <= 1_000_000_000, "at most 1000 $"),
        ("floor", (8..=256).contains(&p.floor), "8 to 256"),
        ("lost_chunks", (1..=MAX_CAPACITY_CHUNKS).contains(&p.lost_chunks), "1 to 2^41"),
        ("lost_ppm", (100..=ppm).contains(&p.lost_ppm), "100 to 1000000"),
        ("within", (1..=720).contains(&p.within), "1 to 720 epochs"),
        (
            "confidence_log_micro",
            (693_148..=20_000_000).contains(&p.confidence_log_micro),
            "693148 (50 %) to 20000000",
        ),
        ("suspect_factor", (1..=64).contains(&p.suspect_factor), "1 to 64"),
        ("max_challenges", (p.floor..=MAX_CHALLENGES).contains(&p.max_challenges), "floor to 4096"),
        ("silent_epochs", (1..=720).contains(&p.silent_epochs), "1 to 720"),
        ("severity_factor", (3..=100).contains(&p.severity_factor), "3 to 100"),
        ("max_slots", (1..=64).contains(&p.max_slots), "1 to 64"),
        ("audit_chunks", p.audit_chunks <= MAX_AUDIT_CHUNKS, "at most 256"),
        ("audit_log_ms", (6..=20).contains(&p.audit_log_ms), "6 to 20"),
        ("audit_half_life", (1..=720).contains(&p.audit_half_life), "1 to 720 epochs"),
        ("audit_surcharge_ppm", p.audit_surcharge_ppm <= 7 * ppm, "at most 7000000"),
        ("repair_ppm, reservation_ppm", p.repair_ppm <= ppm && p.reservation_ppm <= ppm, "at most 1000000"),
    ];
    if let Some((name, _, range)) = bounds.iter().find(|(_, inside, _)| !inside) {
        return Err(Refusal::with(
            "storage.params",
            format!("{name} is outside its bounds ({range})"),
            "choose a value inside the bounds",
        ));
    }
    // The target has to be reachable under the cap, or the promise of detection would be silently broken.
    if crate::tasks::needed(p, p.max_capacity_chunks) > u64::from(p.max_challenges) {
        return Err(Refusal::new(
            "storage.params",
            "the detection target needs more than max_challenges on the largest device",
            "raise max_challenges, lost_ppm or within",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_inside_their_bounds() {
        assert_eq!(check(&Params::default()), Ok(()));
    }

    #[test]
    fn each_bound_is_enforced_and_named() {
        let refused = |change: fn(&mut Params), name: &str| {
            let mut p = Params::default();
            change(&mut p);
            let text = check(&p).unwrap_err().to_string();
            assert!(text.contains(name), "{text} should name {name}");
        };
        refused(|p| p.epoch_seconds = 0, "epoch_seconds");
        refused(|p| p.max_capacity_chunks = MAX_CAPACITY_CHUNKS + 1, "max_capacity_chunks");
        refused(|p| p.floor = 7, "floor");
        refused(|p| p.severity_factor = 2, "severity_factor");
        refused(|p| p.max_slots = 65, "max_slots");
        refused(|p| p.max_challenges = 5000, "max_challenges");
        refused(|p| p.silent_epochs = 0, "silent_epochs");
        refused(|p| p.audit_chunks = 257, "audit_chunks");
        refused(|p| p.audit_log_ms = 5, "audit_log_ms");
        refused(|p| p.audit_half_life = 0, "audit_half_life");
        refused(|p| p.audit_surcharge_ppm = 7_000_001, "audit_surcharge_ppm");
        refused(|p| (p.lost_ppm, p.lost_chunks, p.within) = (100, 1, 1), "detection target");
    }
}
