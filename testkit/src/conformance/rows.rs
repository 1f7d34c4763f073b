//! What a judgement may contain.

use cairn_sector::{AnyRules, RawJudgement, Row, Rules, SortKey, Source};
use cairn_types::{DeviceId, DutyId, PPM, Units, encode};
use std::collections::BTreeMap;

use super::{Sample, erased, history, judge};
use crate::world::World;

/// Longest key of the memory in bytes.
pub const MEMORY_KEY_MAX: usize = SortKey::MAX;

/// Rows name devices and duties of the registry; memory and shares keep their form.
pub fn rows_name_what_exists<R: Rules>(sample: &dyn Sample<R>) {
    let rules = erased::<R>();
    for seed in 0..sample.effort().worlds {
        for world in history(sample, seed, sample.effort().epochs) {
            let judgement = judge(&rules, &world, "rows");
            check_form(&world, &judgement, R::LIMITS.memory, "honest world");
            for sale in &sample.values().sale {
                let Ok(shares) = rules.attribute(&world.context(), &encode(sale)) else { continue };
                assert!(shares.windows(2).all(|w| w[0].0 < w[1].0), "shares are sorted, a device once");
                let known = shares.iter().all(|(d, _)| world.registry.devices.contains_key(d));
                assert!(known, "shares name a device that the registry does not have");
            }
        }
    }
}

/// No device is paid for more than its admitted capacity, kind by kind.
pub fn units_stay_within_capacity<R: Rules>(sample: &dyn Sample<R>) {
    let rules = erased::<R>();
    for seed in 0..sample.effort().worlds {
        for world in history(sample, seed, sample.effort().epochs) {
            check_capacity(&world, &judge(&rules, &world, "capacity"), "honest world");
        }
    }
}

/// Panics where a judgement names what does not exist.
pub(super) fn check_form(world: &World, judgement: &RawJudgement, memory_limit: usize, what: &str) {
    for row in &judgement.rows {
        check_row(world, row, what);
    }
    for weight in &judgement.weights {
        let known = world.registry.devices.contains_key(&weight.device);
        assert!(known, "{what}: a weight names {}, which is not in the registry", weight.device);
    }
    for (key, value) in &judgement.memory {
        assert!(key.len() <= MEMORY_KEY_MAX, "{what}: a memory key has {} bytes", key.len());
        let len = value.as_ref().map_or(0, Vec::len);
        assert!(len <= memory_limit, "{what}: a memory value has {len} bytes, the limit is {memory_limit}");
    }
}

fn check_row(world: &World, row: &Row, what: &str) {
    let exists = |d: &DeviceId| world.registry.devices.contains_key(d);
    assert!(exists(&row.payee), "{what}: a row pays {}, which is not in the registry", row.payee);
    match row.duty {
        Some(DutyId::Lease { lease, slot }) => {
            let slots = world.registry.leases.get(&lease).map_or(0, |l| l.slots.len());
            assert!(
                usize::from(slot) < slots,
                "{what}: a row names slot {slot} of lease {lease}, which has {slots}"
            );
        }
        Some(DutyId::Standing { device }) => {
            assert!(exists(&device), "{what}: a row names the standing duty of unknown device {device}");
        }
        None => {}
    }
    match row.source {
        Source::Escrow => {
            let of_lease = matches!(row.duty, Some(DutyId::Lease { .. }));
            assert!(of_lease || row.units.is_zero(), "{what}: a row is paid from escrow without a lease");
        }
        Source::Bond { of } => {
            assert!(exists(&of), "{what}: a row is paid by the bond of unknown device {of}")
        }
        Source::Pool => {}
    }
    if let Some(fault) = row.fault {
        let severity = u64::from(fault.severity_ppm);
        assert!((1..=PPM).contains(&severity), "{what}: fault {} has severity {severity} ppm", fault.code);
    }
}

/// Panics where a device is paid for more than its capacity.
pub(super) fn check_capacity(world: &World, judgement: &RawJudgement, what: &str) {
    let mut sums: BTreeMap<DeviceId, Units> = BTreeMap::new();
    for row in &judgement.rows {
        let sum = sums.entry(row.payee).or_default();
        *sum =
            sum.checked_add(&row.units).unwrap_or_else(|| panic!("{what}: units of {} overflow", row.payee));
    }
    for (device, sum) in sums {
        let capacity = world.registry.devices.get(&device).map(|d| d.capacity).unwrap_or_default();
        assert!(sum.within(&capacity), "{what}: {device} is paid {sum:?} with a capacity of {capacity:?}");
    }
}
