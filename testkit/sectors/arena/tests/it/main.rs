//! The conformance suite over the arena.

// Helpers of tests are outside #[test] functions, where the lint's exception ends.
#![allow(clippy::unwrap_used)]

mod attacks;
mod sample;

use cairn_arena_rules::*;
use cairn_sector::{DisputeContext, Erased, Rules, Ruling};
use cairn_testkit::conformance::{self, Sample};
use cairn_testkit::world::{MapMemory, device_key};
use cairn_types::{DeviceId, Epoch, decode};
use sample::{Ring, miner, params};

#[test]
fn encodings_are_frozen() {
    conformance::encodings_are_frozen::<Arena>(&Ring);
}

#[test]
fn random_bytes_are_refused_without_panic() {
    conformance::random_bytes_are_refused_without_panic::<Arena>(&Ring);
}

#[test]
fn submission_order_does_not_matter() {
    conformance::submission_order_does_not_matter::<Arena>(&Ring);
}

#[test]
fn recomputation_gives_the_same() {
    conformance::recomputation_gives_the_same::<Arena>(&Ring);
}

#[test]
fn rows_name_what_exists() {
    conformance::rows_name_what_exists::<Arena>(&Ring);
}

#[test]
fn units_stay_within_capacity() {
    conformance::units_stay_within_capacity::<Arena>(&Ring);
}

#[test]
fn honest_evidence_is_never_a_fault() {
    conformance::honest_evidence_is_never_a_fault::<Arena>(&Ring);
}

#[test]
fn each_cheat_is_caught_at_its_stated_rate() {
    conformance::each_cheat_is_caught_at_its_stated_rate::<Arena>(&Ring);
}

#[test]
fn better_answers_earn_more_and_the_largest_encodings_keep_their_limits() {
    let world = Ring.world(5, Epoch(0), MapMemory::default());
    let judged = world.judge(&Erased::<Arena>::default()).unwrap();
    let units = |n| judged.rows.iter().find(|r| r.payee == miner(5, n)).map_or(0, |r| r.units.0[0]);
    assert!((1..sample::MINERS).all(|n| units(n) > units(n - 1)), "pay follows quality");

    let many: Vec<(DeviceId, u32)> = (0..=255).map(|n| (DeviceId([n; 32]), 1)).collect();
    assert!(cairn_types::encode(&Bonds { ppm: many }).len() <= Arena::LIMITS.memory);
    let scores = (0..=255).map(|n| (DeviceId([n; 32]), 1)).collect();
    let signature = cairn_crypto::Signature([0; 64]);
    let largest =
        Scores { validator: DeviceId::default(), epoch: Epoch(0), scores, salt: [0; 32], signature };
    assert!(cairn_types::encode(&Evidence::Scores(largest)).len() <= Arena::LIMITS.evidence);
}

#[test]
fn a_dispute_is_upheld_only_against_a_signed_mismatch() {
    let world = Ring.world(5, Epoch(0), MapMemory::default());
    let accused = miner(5, 0);
    let context = DisputeContext {
        network: world.network,
        epoch: world.epoch,
        device: world.registry.devices[&accused].clone(),
        lease: None,
        seed: world.seed,
    };
    let rule = |evidence| Arena::dispute(&params(), &context, &Claim { evidence }, None).unwrap();
    let Evidence::Reveal(honest) = decode(&world.items_of(&accused)[0]).unwrap() else {
        panic!("a miner reveals")
    };
    assert_eq!(rule(Evidence::Reveal(honest.clone())), Ruling::Dismissed);
    let other = MinerReveal { answer: b"better".to_vec(), ..honest };
    let signed = other.clone().sign(&world.network, &device_key(&accused));
    assert!(matches!(rule(Evidence::Reveal(signed)), Ruling::Upheld { .. }));
    let framed = other.sign(&world.network, &device_key(&miner(5, 1)));
    assert_eq!(rule(Evidence::Reveal(framed)), Ruling::Dismissed);
}
