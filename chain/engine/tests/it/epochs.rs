//! Seats that change: one marshal and one state, one engine of consensus after the other.

use crate::toy::Toy;
use cairn_engine::{
    Machine,
    light::{LightError, SeatSet, verify_certificate},
    sim::{Crash, NETWORK, Partition, SeatPlan, SimBlock, SimPlan, SimReport, member, run_sim},
};
use std::{sync::Arc, time::Duration};

/// Blocks of an epoch: epoch 0 has the heights 1 to 9, epoch 1 those from 10 to 19, and so on.
const BLOCKS: u64 = 10;
const SETS: [[usize; 4]; 3] = [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 0]];

fn plan(seconds: u64) -> SimPlan {
    let seats = SeatPlan { blocks: BLOCKS, sets: SETS.map(|set| set.to_vec()).to_vec() };
    SimPlan { seats: Some(seats), ..SimPlan::steady(Duration::from_secs(seconds)) }
}

fn run(seed: u64, plan: &SimPlan) -> SimReport {
    run_sim(seed, 5, |_| Toy::busy() as Arc<dyn Machine>, plan)
}

fn top(log: &[SimBlock]) -> u64 {
    log.last().map_or(0, |block| block.height)
}

fn set(epoch: u64) -> SeatSet {
    let members = SETS[usize::try_from(epoch.min(2)).unwrap()].map(member);
    SeatSet::of_epoch(NETWORK, epoch, &members).unwrap()
}

/// Everybody saw every height once, all the same; blocks were proposed by the seats of their epoch only, and by all.
fn check(report: &SimReport, seed: u64, least: u64) {
    assert_eq!(report.forks(), [0_u64; 0], "seed {seed}");
    let best = report.validators.iter().map(|log| top(log)).max().unwrap();
    for (index, log) in report.validators.iter().enumerate() {
        let heights: Vec<u64> = log.iter().map(|block| block.height).collect();
        assert_eq!(heights, (1..=top(log)).collect::<Vec<_>>(), "seed {seed}, validator {index}");
        assert!(
            top(log) >= least && top(log) + 3 >= best,
            "seed {seed}: validator {index} is at {} of {best}",
            top(log)
        );
    }
    for block in &report.validators[0] {
        let seats = SETS[usize::try_from((block.height / BLOCKS).min(2)).unwrap()];
        assert!(seats.contains(&block.proposer), "seed {seed}: {} proposed {}", block.proposer, block.height);
    }
}

/// Certificates hold under the seats of their epoch, and under no others.
fn check_certificates(report: &SimReport) {
    let mut checked = 0;
    for stored in report.archives.iter().flatten() {
        let Some(certificate) = &stored.certificate else { continue };
        let epoch = stored.block.header.height / BLOCKS;
        let block = verify_certificate(&set(epoch), &stored.bytes, certificate).unwrap();
        assert_eq!(block, stored.block);
        let other = verify_certificate(&set(epoch + 1), &stored.bytes, certificate);
        assert_eq!(other, Err(LightError::OtherEpoch { found: epoch, wanted: epoch + 1 }));
        checked += 1;
    }
    // The last block of an epoch always has a certificate of its own: from it the next epoch goes on.
    let boundary = |b: &&cairn_engine::StoredBlock| (b.block.header.height + 1).is_multiple_of(BLOCKS);
    assert!(report.archives.iter().flatten().filter(boundary).all(|b| b.certificate.is_some()));
    let blocks: usize = report.archives.iter().map(Vec::len).sum();
    assert!(checked * 10 >= blocks * 8, "{checked} certificates of {blocks} blocks");
}

#[test]
fn seats_change_twice_and_blocks_go_on() {
    let report = run(1, &plan(40));
    check(&report, 1, 30);
    check_certificates(&report);
    let proposed = |index, from: u64, to: u64| {
        report.validators[3].iter().any(|b| (from..to).contains(&b.height) && b.proposer == index)
    };
    // A votes, leaves, follows without a vote, and comes back; E follows from the start and then votes.
    assert!(proposed(0, 1, 10) && proposed(4, 10, 20) && proposed(0, 20, 99));
    assert_eq!(run(1, &plan(40)).audit, report.audit);
}

#[test]
fn a_new_seat_that_comes_late_catches_up_from_the_first_block_across_two_changes() {
    let late = Partition { validator: 4, from: Duration::ZERO, until: Duration::from_secs(35) };
    let plan = SimPlan { partition: Some(late), ..plan(60) };
    let report = run(2, &plan);
    check(&report, 2, 30);
    assert!(report.validators[1].iter().any(|b| b.height > 20 && b.proposer == 4), "E never led");
}

#[test]
fn a_seat_that_leaves_while_it_is_cut_off_follows_again() {
    let cut = Partition { validator: 0, from: Duration::from_secs(6), until: Duration::from_secs(30) };
    let report = run(3, &SimPlan { partition: Some(cut), ..plan(60) });
    check(&report, 3, 30);
    assert!(report.validators[1].iter().any(|b| b.height > 20 && b.proposer == 0), "A never led again");
}

#[test]
fn a_crash_at_the_change_repeats_it() {
    // Around the moment in which the next engine starts, the last one stops and the boundary is acknowledged.
    for (seed, after) in [(4, 0), (5, 1), (6, 20), (7, 200), (8, 2000)] {
        let crash = Crash {
            validator: 1,
            height: BLOCKS - 1,
            after: Duration::from_millis(after),
            away: Duration::from_secs(5),
        };
        let report = run(seed, &SimPlan { crash: Some(crash), ..plan(45) });
        check(&report, seed, 25);
    }
}
