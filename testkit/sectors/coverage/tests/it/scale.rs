//! 100,000 devices in bounded memory.

use crate::field::{Field, peak_kib};

const DEVICES: u32 = 100_000;

/// Runs alone in a child process, because peak memory belongs to a process.
#[test]
#[ignore = "started by a_hundred_thousand_devices_are_judged_in_bounded_memory"]
fn judge_the_field() {
    let outcome = Field::new(DEVICES).judge();
    let beacons = outcome.judgement.rows.iter().filter(|r| r.duty.is_some()).count();
    let full = outcome.judgement.rows.iter().filter(|r| r.duty.is_some() && r.units.0[0] == 1_000).count();
    let (receipts, opened) = (outcome.receipts, outcome.opened);
    println!(
        "\nfield: {beacons} {full} {} {receipts} {opened} {}",
        outcome.judgement.memory.len(),
        peak_kib().unwrap_or(0)
    );
}

#[test]
fn a_hundred_thousand_devices_are_judged_in_bounded_memory() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scale::judge_the_field", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    let errors = String::from_utf8_lossy(&child.stderr);
    let line =
        text.lines().find_map(|l| l.strip_prefix("field: ")).unwrap_or_else(|| panic!("{text}{errors}"));
    let numbers: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let [beacons, full, memory, receipts, opened, peak_kib] = numbers[..] else { panic!("{line}") };
    // Every device is witnessed by its neighbours and paid in full; each receipt is read once.
    assert_eq!((beacons, full, memory), (100_000, 100_000, 100_000));
    // 250 rows of 400: each inner edge carries two receipts.
    assert_eq!((receipts, opened), (2 * (250 * 399 + 249 * 400), 1));
    // 0 = the system does not tell. The receipts alone would take 150 MB as bytes, and more as values.
    assert!(peak_kib < 512 * 1_024, "judging peaked at {peak_kib} KiB");
}

#[test]
fn the_generated_field_is_judged_like_the_same_evidence_in_memory() {
    use cairn_testkit::world::Chunks;
    let field = Field::new(900);
    let rules = cairn_sector::Erased::<cairn_coverage_rules::Coverage>::default();
    let mut world = field.world().clone();
    world.evidence = (0..field.count()).flat_map(|n| field.chunk(n)).map(|i| (i.from, i.evidence)).collect();
    assert_eq!(world.judge(&rules).unwrap(), field.judge().judgement);
}
