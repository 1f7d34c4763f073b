//! Four validators on a seeded scheduler.

use crate::toy::Toy;
use cairn_engine::{
    Machine,
    sim::{Partition, SimPlan, SimReport, run_sim},
};
use std::{sync::Arc, time::Duration};

fn run(seed: u64, plan: &SimPlan) -> SimReport {
    run_sim(seed, 4, |_| Toy::busy() as Arc<dyn Machine>, plan)
}

fn top(report: &SimReport, validator: usize) -> u64 {
    report.validators[validator].last().map_or(0, |block| block.height)
}

#[test]
fn the_same_seed_repeats_the_run_and_another_does_not() {
    let plan = SimPlan::steady(Duration::from_secs(20));
    let first = run(1, &plan);
    assert_eq!(first.forks(), [0_u64; 0]);
    for validator in 0..4 {
        assert!(top(&first, validator) >= 15, "{}", top(&first, validator));
        let heights: Vec<_> = first.validators[validator].iter().map(|block| block.height).collect();
        assert_eq!(heights, (1..=top(&first, validator)).collect::<Vec<_>>());
    }
    assert_eq!(run(1, &plan), first);
    let other = run(2, &plan);
    assert_ne!(other.audit, first.audit);
    assert_eq!(other.forks(), [0_u64; 0]);
}

#[test]
fn a_validator_that_was_cut_off_catches_up_without_a_fork() {
    let partition = Partition { validator: 0, from: Duration::from_secs(8), until: Duration::from_secs(25) };
    let plan = SimPlan { partition: Some(partition), ..SimPlan::steady(Duration::from_secs(45)) };
    let report = run(3, &plan);
    assert_eq!(report.forks(), [0_u64; 0]);
    let best = (0..4).map(|validator| top(&report, validator)).max().unwrap();
    assert!(best >= 20, "the others stood still at {best}");
    assert!(top(&report, 0) + 2 >= best, "{} of {best}", top(&report, 0));
    assert_eq!(run(3, &plan).audit, report.audit);
}

/// `cargo xtask sim --seeds A..B`; without a range two seeds, as a sample.
#[test]
fn sim_seeds() {
    let range = std::env::var("CAIRN_SIM_SEEDS").unwrap_or_else(|_| "7..9".to_owned());
    let (from, to) = range.split_once("..").expect("A..B");
    for seed in from.parse::<u64>().expect("a number")..to.parse().expect("a number") {
        let cut = usize::try_from(seed % 4).expect("below 4");
        let partition =
            Partition { validator: cut, from: Duration::from_secs(5), until: Duration::from_secs(12) };
        let mut plan = SimPlan::steady(Duration::from_secs(20));
        plan.partition = Some(partition);
        let report = run(seed, &plan);
        assert_eq!(report.forks(), [0_u64; 0], "seed {seed}");
        assert!(
            (0..4).all(|v| top(&report, v) >= 5),
            "seed {seed}: {:?}",
            (0..4).map(|v| top(&report, v)).collect::<Vec<_>>()
        );
        assert_eq!(run(seed, &plan), report, "seed {seed} repeats");
    }
}
