use super::*;
use cairn_crypto::merkle::sum::SumRoot;
use cairn_sector::DeviceState;
use cairn_types::{Epoch, SectorId, Units, encode};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use crate::types::Commitment;

fn device(n: u64, operator: u64, domain: u8, capacity: u64, holds: Option<u64>) -> DeviceEntry {
    let key = cairn_crypto::keys::SecretKey::from_seed(&[1; 32]).public();
    DeviceEntry {
        id: DeviceId::derive("test", &[&n.to_le_bytes()]),
        operator: AccountId::derive("test", &[&operator.to_le_bytes()]),
        sector: SectorId(1),
        key,
        offer: Vec::new(),
        commitment: holds.map(|total| encode(&Commitment { tree: SumRoot { total, ..SumRoot::default() } })),
        answers: None,
        capacity: Units([0, 0, capacity, 0]),
        domains: vec![Hash([domain; 32])],
        cell: None,
        state: DeviceState::Active,
        since: Epoch(0),
    }
}

fn town(n: u64) -> Vec<DeviceEntry> {
    let mut all: Vec<_> = (0..n)
        .map(|i| device(i, i / 2, u8::try_from(i % 5).unwrap(), 1000 + i * 17, (i % 7 != 0).then_some(i)))
        .collect();
    all.sort_by_key(|d| d.id);
    all
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        (0u8..=255).prop_map(|log_ms| Seen::Served { log_ms }),
        (8u8..=16).prop_map(|log_ms| Seen::Served { log_ms }),
        Just(Seen::Wrong),
        Just(Seen::Refused),
        Just(Seen::Unreachable),
    ]
}

#[test]
fn the_draw_is_frozen() {
    let all = town(40);
    let drawn = audits(&Params::default(), &Seed([7; 32]), &all);
    let digest = blake3_derive("test", &[&encode(&drawn)]);
    assert_eq!(drawn.len(), 102, "of 40 devices 34 committed to data, three auditors each");
    assert_eq!(digest.to_string(), "689b5d116619600910078c16dcb873dfe4c37f266fdcc5dd4249653dd484bcb1");
}

#[test]
fn auditors_are_of_other_operators_and_of_other_domains_where_there_are_enough() {
    let all = town(60);
    let by_id: BTreeMap<_, _> = all.iter().map(|d| (d.id, d)).collect();
    let mut audited: BTreeMap<DeviceId, Vec<&DeviceEntry>> = BTreeMap::new();
    for a in audits(&Params::default(), &Seed([1; 32]), &all) {
        audited.entry(a.device).or_default().push(by_id[&a.auditor]);
    }
    for (id, auditors) in audited {
        let of = by_id[&id];
        let operators: BTreeSet<_> = auditors.iter().map(|a| a.operator).chain([of.operator]).collect();
        assert_eq!(
            (auditors.len(), operators.len()),
            (3, 4),
            "three, of four operators with the audited one"
        );
        assert!(auditors.iter().all(|a| a.domains != of.domains && a.commitment.is_some()));
    }
}

#[test]
fn one_domain_for_all_still_gives_three_auditors_and_two_operators_give_one() {
    let same: Vec<_> = (0..12).map(|n| device(n, n, 1, 1000, Some(5))).collect();
    assert_eq!(audits(&Params::default(), &Seed([2; 32]), &same).len(), 36);
    let two: Vec<_> = (0..4).map(|n| device(n, n % 2, 1, 1000, Some(5))).collect();
    assert_eq!(audits(&Params::default(), &Seed([2; 32]), &two).len(), 4);
}

#[test]
fn nobody_is_drawn_for_a_device_without_data_or_commitment_or_when_audits_are_off() {
    let mut all: Vec<_> = (0..12).map(|n| device(n, n, 1, 1000, Some(5))).collect();
    (all[0], all[1]) = (device(0, 0, 1, 1000, None), device(1, 1, 1, 1000, Some(0)));
    let drawn = audits(&Params::default(), &Seed([3; 32]), &all);
    assert_eq!(drawn.len(), 30);
    assert!(drawn.iter().all(|a| a.device != all[0].id && a.auditor != all[0].id && a.device != all[1].id));
    assert!(drawn.iter().any(|a| a.auditor == all[1].id), "who holds nothing audits all the same");
    assert!(audits(&Params { audit_chunks: 0, ..Params::default() }, &Seed([3; 32]), &all).is_empty());
    assert!(audits(&Params::default(), &Seed([3; 32]), &[]).is_empty());
}

#[test]
fn a_crowd_of_small_devices_is_drawn_as_often_as_its_capacity_says() {
    // A hundred accounts with a hundredth each against three with a whole one each.
    let crowd = (0..100).map(|n| device(n, n, 1, 10, Some(5)));
    let all: Vec<_> = crowd.chain((100..103).map(|n| device(n, n, 2, 1000, Some(5)))).collect();
    let pool = Pool::new(all.clone());
    let mut small = 0;
    for round in 0..2000u32 {
        let seed = Seed(Seed::default().draw("round", &[&round.to_le_bytes()]));
        let drawn = pool.draw(&Params::default(), &seed, &device(200, 200, 3, 0, Some(1)));
        small += usize::from(all[..100].iter().any(|d| d.id == drawn[0]));
    }
    // The first auditor is one of the crowd with a chance of a quarter: 500 of 2000, five deviations are 97.
    assert!((403..=597).contains(&small), "{small}");
}

#[test]
fn positions_follow_from_the_signature_alone_and_lie_in_the_tree() {
    let p = Params::default();
    let of = |byte| positions(&p, &Signature([byte; 64]), 1000);
    assert_eq!(of(1).len(), 64);
    assert!(of(1).iter().all(|at| *at < 1000));
    assert_ne!(of(1), of(2));
    assert_eq!(of(1)[..3], [654, 418, 315]);
}

#[test]
fn quality_halves_with_each_doubling_beyond_the_governed_time() {
    let p = Params::default();
    let at = |log_ms| quality(&p, Seen::Served { log_ms });
    assert_eq!([at(0), at(12), at(13), at(14), at(255)], [FULL, FULL, 500_000, 250_000, 0]);
    assert_eq!([Seen::Wrong, Seen::Refused, Seen::Unreachable].map(|s| quality(&p, s)), [0; 3]);
}

#[test]
fn the_score_closes_half_the_gap_in_a_half_life_and_arrives() {
    for half_life in [1, 6, 24, 168] {
        let p = Params { audit_half_life: half_life, ..Params::default() };
        let down = (0..half_life).fold(FULL, |s, _| step(&p, s, 0));
        let up = (0..half_life).fold(0, |s, _| step(&p, s, FULL));
        assert!((484_000..=502_000).contains(&down), "{half_life}: {down}");
        assert!(up.abs_diff(FULL - down) < 2_000, "{half_life}: {up}");
        assert_eq!((0..half_life * 40).fold(0, |s, _| step(&p, s, FULL)), FULL);
        assert_eq!((0..half_life * 40).fold(FULL, |s, _| step(&p, s, 0)), 0);
    }
}

#[test]
fn the_weight_moves_in_sixteenths_and_one_bad_epoch_weighs_nothing() {
    let p = Params::default();
    assert_eq!([FULL, FULL - 31_249].map(|s| weight(&p, s)), [FULL; 2]);
    assert_eq!([968_750, 500_000, 0].map(|s| weight(&p, s)), [1_187_500, 2_500_000, 4_000_000]);
    let once = step(&p, FULL, 0);
    assert_eq!(weight(&p, once), FULL);
    assert_eq!(weight(&p, step(&p, once, 0)), 1_187_500);
    assert_eq!(weight(&Params { audit_surcharge_ppm: 0, ..p }, 0), FULL);
}

#[test]
fn a_record_ends_with_the_score_full_and_heals_where_nobody_looks() {
    let p = Params { audit_half_life: 1, ..Params::default() };
    let bad = Median { epoch: Epoch(3), seen: Seen::Refused, reports: 3, quality: 0 };
    let good = Median { seen: Seen::Served { log_ms: 3 }, quality: FULL, ..bad };
    assert_eq!(next(&p, None, Some(good), Some(9)), None, "a full score needs no record");
    assert_eq!(next(&p, None, None, None), None);
    let low = next(&p, None, Some(bad), Some(9)).unwrap();
    assert_eq!(low.medians, [bad]);
    assert_eq!(next(&p, Some(low.clone()), None, Some(9)), Some(low.clone()), "no word, no change");
    assert_eq!(next(&p, Some(low.clone()), None, None), Some(low.clone()), "away, no change");
    let healed = next(&p, Some(low.clone()), None, Some(0)).unwrap();
    assert!(healed.score > low.score && healed.medians == low.medians);
    let off = Params { audit_chunks: 0, ..p.clone() };
    assert_eq!(next(&off, Some(low.clone()), None, Some(9)), Some(healed), "nobody looks");
    let full = (0..60).try_fold(low.clone(), |r, _| next(&p, Some(r), Some(good), Some(9)));
    assert_eq!(full, None);
    let many = (0..20).fold(low, |r, _| next(&p, Some(r), Some(bad), Some(9)).unwrap());
    assert_eq!(many.medians.len(), MEDIANS_KEPT);
}

proptest! {
    #[test]
    fn one_liar_among_three_cannot_leave_the_range_of_the_honest(a in seen(), b in seen(), liar in seen()) {
        let p = Params::default();
        let (low, high) = (quality(&p, a).min(quality(&p, b)), quality(&p, a).max(quality(&p, b)));
        let (_, got) = median(&p, &[a, b, liar]).unwrap();
        prop_assert!((low..=high).contains(&got), "{got} is outside {low}..={high}");
    }

    #[test]
    fn one_liar_among_two_cannot_take_anything_away(honest in seen(), liar in seen()) {
        let p = Params::default();
        prop_assert!(median(&p, &[honest, liar]).unwrap().1 >= quality(&p, honest));
    }

    #[test]
    fn the_order_of_reports_carries_nothing(mut reports in proptest::collection::vec(seen(), 0..4)) {
        let p = Params::default();
        let first = median(&p, &reports);
        prop_assert_eq!(first.is_some(), reports.len() >= QUORUM);
        reports.reverse();
        prop_assert_eq!(median(&p, &reports), first);
        let turn = usize::from(reports.len() > 1);
        reports.rotate_left(turn);
        prop_assert_eq!(median(&p, &reports), first);
    }

    #[test]
    fn the_draw_does_not_depend_on_who_asks(seed: [u8; 32], n in 0u64..40) {
        let (all, p) = (town(n), Params::default());
        let pool = Pool::new(all.clone());
        let drawn = audits(&p, &Seed(seed), &all);
        for d in &all {
            let own: BTreeSet<_> = pool.draw(&p, &Seed(seed), d).into_iter().collect();
            let of_all: BTreeSet<_> = drawn.iter().filter(|a| a.device == d.id).map(|a| a.auditor).collect();
            prop_assert_eq!(own, of_all);
        }
    }

    #[test]
    fn a_score_stays_in_bounds_and_moves_towards_its_aim(score in 0..=FULL, aim in 0..=FULL, half_life in 1u32..=720) {
        let p = Params { audit_half_life: half_life, ..Params::default() };
        let next = step(&p, score, aim);
        prop_assert!((score.min(aim)..=score.max(aim)).contains(&next));
        prop_assert!(score == aim || next != score);
        prop_assert!((FULL..=FULL + p.audit_surcharge_ppm).contains(&weight(&p, next)));
    }
}
