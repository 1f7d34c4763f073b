//! Nothing that an honest worker can emit is a fault.

use cairn_sector::{DeviceState, Rules};
use cairn_types::{DeviceId, Epoch};

use super::cheats::AS_LISTED;
use super::{Sample, erased, history, judge, rows};
use crate::dice::Dice;
use crate::world::World;

/// Something that happens to honest workers: a crash, a lost message, a backup put back.
#[derive(Clone, Copy)]
pub struct Benign {
    /// Name, for the report.
    pub name: &'static str,
    /// Does it to one device of the world. The second world is the same network one epoch earlier.
    pub apply: fn(&mut World, &World, &DeviceId, &mut Dice),
}

/// The benign faults that every sector meets.
const GENERAL: &[Benign] = &[
    Benign { name: "some items lost", apply: lose_some },
    Benign { name: "whole bundle lost", apply: lose_all },
    Benign { name: "bundle cut short", apply: cut_short },
    Benign { name: "items sent twice", apply: send_twice },
    Benign { name: "items arrive one epoch late", apply: arrive_late },
    Benign { name: "an item is truncated", apply: truncate_one },
    Benign { name: "restored from a backup of the epoch before", apply: restore },
    Benign { name: "commitment missed", apply: miss_commitment },
    Benign { name: "answers missed", apply: miss_answers },
    Benign { name: "resting", apply: rest },
    Benign { name: "exiting", apply: exit },
];

/// Honest worlds, with and without benign faults, contain no fault, and undisturbed honest work is paid.
pub fn honest_evidence_is_never_a_fault<R: Rules>(sample: &dyn Sample<R>) {
    let rules = erased::<R>();
    let effort = sample.effort();
    let faults: Vec<Benign> = GENERAL.iter().copied().chain(sample.benign()).collect();
    for seed in 0..effort.worlds {
        let worlds = history(sample, seed, effort.epochs.max(2));
        for world in &worlds {
            check(
                &judge(&rules, world, "honest"),
                world,
                R::LIMITS.memory,
                &format!("honest world, seed {seed}"),
            );
        }
        let [.., earlier, world] = worlds.as_slice() else { panic!("a history has two epochs") };
        let total: u128 =
            judge(&rules, world, "honest").rows.iter().flat_map(|r| r.units.0).map(u128::from).sum();
        assert!(
            total > 0,
            "seed {seed}: nobody is paid in an honest world, so the suite would prove nothing"
        );
        let mut dice = Dice::new(seed ^ 0xBE91);
        for round in 0..effort.benign {
            let mut bent = world.clone();
            let names = befall(&mut bent, earlier, &faults, round, &mut dice);
            let what = format!("seed {seed}, round {round}, honest devices with: {names}");
            check(&judge(&rules, &bent, &what), &bent, R::LIMITS.memory, &what);
        }
    }
}

fn check(judgement: &cairn_sector::RawJudgement, world: &World, memory_limit: usize, what: &str) {
    let fault = judgement.rows.iter().find(|r| r.fault.is_some());
    assert!(fault.is_none(), "{what}: an honest device got a fault: {fault:?}");
    let dearer = judgement.weights.iter().find(|w| w.ppm > AS_LISTED);
    assert!(dearer.is_none(), "{what}: an honest device looks dearer than it lists: {dearer:?}");
    rows::check_form(world, judgement, memory_limit, what);
    rows::check_capacity(world, judgement, what);
}

/// One kind of fault to a third of the devices in the first rounds, then any mixture.
fn befall(world: &mut World, earlier: &World, faults: &[Benign], round: u64, dice: &mut Dice) -> String {
    let one = usize::try_from(round).ok().and_then(|r| faults.get(r)).copied();
    let mut names = Vec::new();
    for device in world.registry.ids() {
        if !dice.chance(340_000) {
            continue;
        }
        let Some(fault) = one.or_else(|| dice.pick(faults).copied()) else { continue };
        (fault.apply)(world, earlier, &device, dice);
        if !names.contains(&fault.name) {
            names.push(fault.name);
        }
    }
    names.join(", ")
}

fn lose_some(world: &mut World, _: &World, device: &DeviceId, dice: &mut Dice) {
    world.evidence.retain(|(from, _)| from != device || dice.chance(500_000));
}

fn lose_all(world: &mut World, _: &World, device: &DeviceId, _: &mut Dice) {
    world.evidence.retain(|(from, _)| from != device);
}

fn cut_short(world: &mut World, _: &World, device: &DeviceId, dice: &mut Dice) {
    let mut keep = dice.below(world.items_of(device).len() + 1);
    world.evidence.retain(|(from, _)| {
        let keeps = from != device || keep > 0;
        keep = keep.saturating_sub(usize::from(from == device));
        keeps
    });
}

fn send_twice(world: &mut World, _: &World, device: &DeviceId, _: &mut Dice) {
    let items = world.items_of(device);
    world.evidence.extend(items.into_iter().map(|i| (*device, i)));
}

fn arrive_late(world: &mut World, earlier: &World, device: &DeviceId, _: &mut Dice) {
    world.evidence.extend(earlier.items_of(device).into_iter().map(|i| (*device, i)));
}

fn truncate_one(world: &mut World, _: &World, device: &DeviceId, dice: &mut Dice) {
    if let Some((_, bytes)) = world.evidence.iter_mut().find(|(from, _)| from == device) {
        let keep = dice.below(bytes.len());
        bytes.truncate(keep);
    }
}

/// The device's whole state is that of the epoch before: what it committed to and what it submits.
fn restore(world: &mut World, earlier: &World, device: &DeviceId, dice: &mut Dice) {
    lose_all(world, earlier, device, dice);
    arrive_late(world, earlier, device, dice);
    let old = earlier.registry.devices.get(device).cloned();
    if let (Some(now), Some(old)) = (world.registry.devices.get_mut(device), old) {
        now.commitment = old.commitment;
        now.answers = old.answers;
    }
}

fn miss_commitment(world: &mut World, earlier: &World, device: &DeviceId, dice: &mut Dice) {
    if let Some(entry) = world.registry.devices.get_mut(device) {
        entry.commitment = None;
    }
    // A worker whose commitment is not on chain has nothing to show for it.
    lose_all(world, earlier, device, dice);
}

fn miss_answers(world: &mut World, earlier: &World, device: &DeviceId, dice: &mut Dice) {
    if let Some(entry) = world.registry.devices.get_mut(device) {
        entry.answers = None;
    }
    lose_some(world, earlier, device, dice);
}

fn rest(world: &mut World, _: &World, device: &DeviceId, _: &mut Dice) {
    if let Some(entry) = world.registry.devices.get_mut(device) {
        entry.state = DeviceState::Resting;
    }
}

fn exit(world: &mut World, _: &World, device: &DeviceId, _: &mut Dice) {
    if let Some(entry) = world.registry.devices.get_mut(device) {
        entry.state = DeviceState::Exiting { until: Epoch(world.epoch.0 + 2) };
    }
}
