//! How many chunks a device is asked for, and which.
//!
//! Promise: a loss of `lost = max(lost_chunks, total * lost_ppm / 10^6)` chunks is found within `within` epochs
//! with the confidence of `confidence_log_micro`. With K draws (with replacement) an epoch and `f = lost / total`,
//! the loss stays hidden with `(1 - f)^(K * within)`. Because `-ln(1 - f) >= f`,
//!
//! `K * within * f >= ln(1 / (1 - confidence))`, that is
//! `K >= confidence_log_micro * total / (10^6 * within * lost)`,
//!
//! is enough; rounded up, at least `floor`. With the defaults: `ceil(0.191883 * total / lost)`, floor 20.

use borsh::BorshDeserialize;
use cairn_crypto::merkle::sum::SumRoot;
use cairn_sector::{DeviceEntry, EpochContext, Seed, Task};
use cairn_types::{DeviceId, decode_bounded, encode};

use crate::Storage;
use crate::types::{Challenge, Commitment, Memory, Params, device_key};

/// Challenges that the detection target needs for `total` chunks, before floor and cap.
pub fn needed(p: &Params, total: u64) -> u64 {
    let relative = u128::from(total) * u128::from(p.lost_ppm) / 1_000_000;
    let lost = relative.max(u128::from(p.lost_chunks)).max(1);
    let per_epoch = 1_000_000 * u128::from(p.within.max(1)) * lost;
    let k = (u128::from(p.confidence_log_micro) * u128::from(total)).div_ceil(per_epoch);
    u64::try_from(k).unwrap_or(u64::MAX)
}

/// Challenges of one epoch for a device that committed to `total` chunks. 0 for an empty tree.
pub fn count(p: &Params, total: u64, suspect: bool) -> u32 {
    if total == 0 {
        return 0;
    }
    let k = needed(p, total).max(u64::from(p.floor));
    let factor = if suspect { u64::from(p.suspect_factor) } else { 1 };
    let k = k.saturating_mul(factor).min(u64::from(p.max_challenges));
    u32::try_from(k).unwrap_or(p.max_challenges)
}

/// The chunk that task `index` asks for. Does not depend on the number of tasks: the tasks of a device that is not
/// suspect are the first of those that it would get as a suspect. 0 for an empty tree.
pub fn position(seed: &Seed, device: &DeviceId, index: u32, total: u64) -> u64 {
    seed.below("cairn/storage/challenge/v1", &[&device.0, &index.to_le_bytes()], total)
}

/// The commitment of a device, if it posted one that decodes.
pub(crate) fn commitment(entry: &DeviceEntry) -> Option<SumRoot> {
    let bytes = entry.commitment.as_ref()?;
    decode_bounded::<Commitment>(bytes, crate::LIMITS.commitment).ok().map(|c| c.tree)
}

/// See [`cairn_sector::Rules::tasks`].
pub fn tasks(c: &EpochContext<'_, Storage>, whom: Option<&DeviceId>) -> Vec<Task> {
    match whom {
        Some(id) => c.registry.device(id).map(|entry| of_device(c, &entry)).unwrap_or_default(),
        None => c.registry.devices().flat_map(|entry| of_device(c, &entry)).collect(),
    }
}

fn of_device(c: &EpochContext<'_, Storage>, entry: &DeviceEntry) -> Vec<Task> {
    let Some(tree) = commitment(entry) else { return Vec::new() };
    let suspect =
        matches!(c.memory.get(&device_key(&entry.id)), Some(Memory::Device(record)) if record.suspect);
    let task = |index| {
        let position = position(&c.seed, &entry.id, index, tree.total);
        Task { device: entry.id, index, body: encode(&Challenge { position }) }
    };
    (0..count(&c.params, tree.total, suspect)).map(task).collect()
}

/// The challenge in a task's body.
pub fn challenge(task: &Task) -> Option<Challenge> {
    Challenge::try_from_slice(&task.body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CHUNKS_PER_GIB;
    use proptest::prelude::*;

    /// Chance that the promised loss stays hidden, by the exact formula.
    fn hidden(total: u64) -> f64 {
        let p = Params::default();
        let lost = (total / 1000).max(p.lost_chunks);
        let k = f64::from(count(&p, total, false));
        // The smallest loss that the promise names; rounding down only makes it harder to find.
        (1.0 - lost as f64 / total as f64).powf(k * 24.0)
    }

    proptest! {
        #[test]
        fn the_stated_loss_is_found_with_99_percent(total in 32 * CHUNKS_PER_GIB..=CHUNKS_PER_GIB << 20) {
            prop_assert!(hidden(total) <= 0.01, "{total}: {}", hidden(total));
        }

        #[test]
        fn a_position_is_inside_the_tree(seed: [u8; 32], device: [u8; 32], index: u32, total in 1..=u64::MAX) {
            prop_assert!(position(&Seed(seed), &DeviceId(device), index, total) < total);
        }
    }

    #[test]
    fn the_stated_loss_is_found_at_every_round_size() {
        for shift in 0..=15 {
            let total = (32 * CHUNKS_PER_GIB) << shift;
            assert!(hidden(total) <= 0.01, "{shift}: {}", hidden(total));
            assert!(count(&Params::default(), total, true) <= 4096);
        }
    }

    #[test]
    fn the_number_of_challenges_is_frozen() {
        let p = Params::default();
        let k = |gib: u64| count(&p, gib * CHUNKS_PER_GIB, false);
        assert_eq!([k(1), k(32), k(1024), k(4096), k(10_240), k(1 << 20)], [20, 20, 20, 79, 192, 192]);
        assert_eq!(count(&p, 1, true), 320);
        assert_eq!(count(&p, 0, true), 0);
        assert_eq!(count(&p, u64::MAX, true), 3072);
    }

    #[test]
    fn positions_are_frozen_and_do_not_depend_on_the_number_of_tasks() {
        let at = |i| position(&Seed([7; 32]), &DeviceId([1; 32]), i, 1_000_000);
        assert_eq!([at(0), at(1), at(319)], [710_124, 109_562, 54_500]);
    }
}
