//! Pooled sales are divided by memory.

use cairn_coverage_rules::*;
use cairn_sector::{AnyRules, Erased, Rules};
use cairn_testkit::conformance::Sample;
use cairn_testkit::world::{MapMemory, World};
use cairn_types::{Credits, DeviceId, Epoch, decode, encode};

use crate::sample::{Village, at, params};

/// Memory after `epochs`, in which `idle` is heard by nobody from epoch 2 on.
fn memory_after(epochs: u64, idle: &DeviceId) -> World {
    let rules = Erased::<Coverage>::default();
    let mut memory = MapMemory::default();
    for epoch in 0..epochs {
        let mut world = Village.world(7, Epoch(epoch), memory.clone());
        world.evidence.retain(|(_, b)| epoch < 2 || decode::<Evidence>(b).unwrap().beaconer != *idle);
        memory.apply(&world.judge(&rules).unwrap().memory);
    }
    Village.world(7, Epoch(epochs), memory)
}

#[test]
fn a_sale_goes_to_those_who_covered_its_cells_for_as_long_as_they_did() {
    let idle = at(7, 0, 1);
    let world = memory_after(3, &idle);
    let sale = Sale { corner: Grid { row: 10, column: 10 }.cell(), rows: 1, columns: 3 };
    let shares = Erased::<Coverage>::default().attribute(&world.context(), &encode(&sale)).unwrap();
    let mut expected = vec![(at(7, 0, 0), 3), (idle, 1), (at(7, 0, 2), 3)];
    expected.sort_unstable();
    assert_eq!(shares, expected);
}

#[test]
fn a_sale_of_empty_cells_goes_to_nobody() {
    let world = memory_after(2, &at(7, 0, 1));
    let sale = Sale { corner: Grid { row: u32::MAX, column: u32::MAX }.cell(), rows: 2, columns: 2 };
    assert!(Erased::<Coverage>::default().attribute(&world.context(), &encode(&sale)).unwrap().is_empty());
}

#[test]
fn the_price_is_by_the_cell_and_bounded() {
    let sale = Sale { corner: Grid { row: 1, column: 1 }.cell(), rows: 3, columns: 4 };
    assert_eq!(Coverage::sale(&params(), &sale), Ok(Credits(120_000)));
    let refused = Coverage::sale(&params(), &Sale { rows: u16::MAX, columns: u16::MAX, ..sale }).unwrap_err();
    assert_eq!(refused.code, "coverage.sale");
}

#[test]
fn a_claim_of_self_witness_needs_the_signature_of_the_accused() {
    use cairn_sector::{DisputeContext, Ruling};
    let world = Village.world(7, Epoch(0), MapMemory::default());
    let (a, b) = (at(7, 0, 0), at(7, 0, 1));
    let context = |id: &DeviceId| DisputeContext {
        network: world.network,
        epoch: world.epoch,
        device: world.registry.devices[id].clone(),
        lease: None,
        seed: world.seed,
    };
    let rule = |id: &DeviceId, receipt: Evidence| {
        Coverage::dispute(&params(), &context(id), &Claim { receipt }, None).unwrap()
    };
    let own = crate::sample::receipt(&world, &a, &a);
    assert!(matches!(rule(&a, own.clone()), Ruling::Upheld { .. }));
    assert_eq!(rule(&b, own.clone()), Ruling::Dismissed);
    let framed = own.sign(&world.network, &cairn_testkit::world::device_key(&b));
    assert_eq!(rule(&a, framed), Ruling::Dismissed);
    assert_eq!(rule(&a, crate::sample::receipt(&world, &b, &a)), Ruling::Dismissed);
}
