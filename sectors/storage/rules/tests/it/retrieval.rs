//! Retrieval audits as the judge sees them: from reports to scores, notes and weights.

use cairn_sector::{RawJudgement, Weight};
use cairn_storage_rules::audit::FULL;
use cairn_storage_rules::judge::note;
use cairn_storage_rules::types::*;
use cairn_testkit::world::{MapMemory, World, device_id};
use cairn_types::{DeviceId, Epoch};

use crate::net::*;

const SEED: u64 = 31;

/// Device 0 of a network.
fn suspect_device() -> DeviceId {
    device_id(SEED, 0)
}

/// The next epoch, in which auditors of device 0 report the given things; `None` reports nothing.
fn epoch(memory: &mut MapMemory, e: u64, says: [Option<Seen>; 3]) -> (World, RawJudgement) {
    let mut w = honest(&USUAL, SEED, Epoch(e), memory.clone());
    let about: Vec<_> = drawn(&w).into_iter().filter(|a| a.device == suspect_device()).collect();
    assert_eq!(about.len(), 3);
    for (a, says) in about.into_iter().zip(says) {
        report_instead(&mut w, a, says.unwrap_or(Seen::Refused));
        if says.is_none() {
            w.evidence.pop();
        }
    }
    let j = settle(&w, memory);
    (w, j)
}

fn notes(j: &RawJudgement) -> Vec<u16> {
    rows_of(j, &suspect_device()).iter().map(|r| r.note).filter(|n| note::is_audit(*n)).collect()
}

const GOOD: Option<Seen> = Some(Seen::Served { log_ms: 8 });
const LATE: Option<Seen> = Some(Seen::Served { log_ms: 14 });
const REFUSED: Option<Seen> = Some(Seen::Refused);

#[test]
fn a_device_that_refuses_looks_dearer_from_the_second_epoch_on_and_recovers() {
    let (mut memory, device) = (MapMemory::default(), suspect_device());
    let mut weights = Vec::new();
    for e in 0..60 {
        let (_, j) = epoch(&mut memory, e, [REFUSED; 3]);
        assert_eq!(notes(&j), [note::AUDIT_REFUSED]);
        let row = rows_of(&j, &device).into_iter().find(|r| r.note == note::AUDIT_REFUSED).unwrap();
        assert!(row.fault.is_none() && row.units.is_zero() && row.duty.is_none());
        assert!(j.weights.iter().all(|w| w.device == device), "nobody else is touched");
        weights.extend(j.weights.iter().map(|w| (e, w.ppm)));
    }
    assert_eq!(weights[0], (1, 1_187_500));
    assert!(
        weights.is_sorted() && weights.len() <= 16,
        "a settlement names it once a sixteenth: {weights:?}"
    );
    assert_eq!(retrieval(&memory, &device).unwrap().weight, weights.last().unwrap().1);
    let mut ends = None;
    for e in 60..600 {
        let (_, j) = epoch(&mut memory, e, [GOOD; 3]);
        assert!(notes(&j).is_empty());
        if let Some(Weight { ppm: FULL, .. }) = j.weights.first() {
            ends.get_or_insert(e);
        }
    }
    assert!(ends.is_some_and(|e| e < 200), "{ends:?}");
    assert_eq!(retrieval(&memory, &device), None, "a full score leaves nothing behind");
}

#[test]
fn each_cause_has_its_note_and_a_late_answer_counts_in_part() {
    let at = |seen| {
        let mut memory = MapMemory::default();
        let (_, j) = epoch(&mut memory, 0, [Some(seen); 3]);
        (notes(&j), retrieval(&memory, &suspect_device()).map(|r| r.score))
    };
    assert_eq!(at(Seen::Served { log_ms: 12 }), (vec![], None));
    let (wrong, none) = at(Seen::Wrong);
    assert_eq!(wrong, [note::AUDIT_WRONG]);
    assert_eq!(at(Seen::Refused), (vec![note::AUDIT_REFUSED], none));
    assert_eq!(at(Seen::Unreachable), (vec![note::AUDIT_UNREACHABLE], none));
    let (slow, part) = at(LATE.unwrap());
    assert_eq!(slow, [note::AUDIT_SLOW]);
    assert!(part > none);
}

#[test]
fn fewer_than_two_reports_say_nothing_and_of_two_the_better_counts() {
    let mut memory = MapMemory::default();
    epoch(&mut memory, 0, [REFUSED, None, None]);
    epoch(&mut memory, 1, [None; 3]);
    epoch(&mut memory, 2, [REFUSED, GOOD, None]);
    assert_eq!(retrieval(&memory, &suspect_device()), None);
    epoch(&mut memory, 3, [REFUSED, REFUSED, None]);
    let r = retrieval(&memory, &suspect_device()).unwrap();
    assert_eq!((r.medians.len(), r.medians[0].reports), (1, 2));
    epoch(&mut memory, 4, [None, None, REFUSED]);
    assert_eq!(retrieval(&memory, &suspect_device()), Some(r), "no median, no change");
}

#[test]
fn an_auditor_that_contradicts_itself_counts_as_silent() {
    let mut memory = MapMemory::default();
    let mut w = honest(&USUAL, SEED, Epoch(0), memory.clone());
    let about: Vec<_> = drawn(&w).into_iter().filter(|a| a.device == suspect_device()).collect();
    report_instead(&mut w, about[0], Seen::Refused);
    report_instead(&mut w, about[1], Seen::Refused);
    report(&mut w, about[1], Seen::Wrong);
    // One refusal, one good report, one that says two things: of the two that count the better one.
    settle(&w, &mut memory);
    assert_eq!(retrieval(&memory, &suspect_device()), None);
}

#[test]
fn a_device_that_leaves_takes_its_record_along_and_one_without_data_heals() {
    let mut memory = MapMemory::default();
    for e in 0..4 {
        epoch(&mut memory, e, [REFUSED; 3]);
    }
    let low = retrieval(&memory, &suspect_device()).unwrap().score;
    let mut idle = memory.clone();
    let mut w = honest(&USUAL, SEED, Epoch(4), idle.clone());
    commit(&mut w, &suspect_device(), Commitment::default());
    settle(&w, &mut idle);
    assert!(retrieval(&idle, &suspect_device()).unwrap().score > low);
    let mut away = memory.clone();
    let mut w = honest(&USUAL, SEED, Epoch(4), away.clone());
    w.registry.devices.get_mut(&suspect_device()).unwrap().commitment = None;
    settle(&w, &mut away);
    assert_eq!(retrieval(&away, &suspect_device()).unwrap().score, low, "silence heals nothing");
    let mut w = honest(&USUAL, SEED, Epoch(4), memory.clone());
    w.registry.devices.remove(&suspect_device());
    settle(&w, &mut memory);
    assert_eq!(retrieval(&memory, &suspect_device()), None);
}
