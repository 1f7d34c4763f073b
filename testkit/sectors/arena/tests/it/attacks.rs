//! How each row of `cheats.rs` is committed.

use cairn_arena_rules::*;
use cairn_sector::DeviceEntry;
use cairn_testkit::conformance::Attack;
use cairn_testkit::dice::Dice;
use cairn_testkit::world::{World, device_key};
use cairn_types::{DeviceId, decode, encode};

use crate::sample::{commit_scores, honest_score};

/// One attack for every row.
pub fn all() -> Vec<Attack> {
    let attack = |name, apply| Attack { name, after: 1, epochs: 1, apply };
    vec![
        attack("copied-commitment", copied_commitment),
        attack("copied-answer", copied_answer),
        attack("mismatching-reveal", mismatching_reveal),
        attack("mismatching-scores", mismatching_scores),
        attack("late-reveal", late_reveal),
        attack("own-miner", |world, earlier, dice| own_miner(world, earlier, dice).0),
        Attack { name: "lazy-validator", after: 3, epochs: 6, apply: |w, e, d| own_miner(w, e, d).1 },
    ]
}

fn of_kind(world: &World, wanted: fn(&Offer) -> bool) -> Vec<DeviceId> {
    let is = |d: &&DeviceEntry| wanted(&decode(&d.offer).unwrap());
    world.registry.devices.values().filter(is).map(|d| d.id).collect()
}

fn miners(world: &World) -> Vec<DeviceId> {
    of_kind(world, |o| matches!(o, Offer::Miner))
}

fn validators(world: &World) -> Vec<DeviceId> {
    of_kind(world, |o| matches!(o, Offer::Validator { .. }))
}

/// Two different miners; the first one's evidence is removed.
fn cheat_and_victim(world: &mut World, dice: &mut Dice) -> (DeviceId, MinerReveal) {
    let mut all = miners(world);
    dice.shuffle(&mut all);
    let (cheat, victim) = (all[0], all[1]);
    world.evidence.retain(|(from, _)| *from != cheat);
    let Evidence::Reveal(reveal) = decode(&world.items_of(&victim)[0]).unwrap() else {
        panic!("a miner reveals")
    };
    (cheat, reveal)
}

fn reveal_as(world: &mut World, cheat: DeviceId, of: MinerReveal) -> Vec<DeviceId> {
    let mine = MinerReveal { miner: cheat, ..of }.sign(&world.network, &device_key(&cheat));
    world.evidence.push((cheat, encode(&Evidence::Reveal(mine))));
    vec![cheat]
}

fn copied_commitment(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let (cheat, victim) = cheat_and_victim(world, dice);
    let copied = world.registry.devices[&victim.miner].commitment.clone();
    world.registry.devices.get_mut(&cheat).unwrap().commitment = copied;
    reveal_as(world, cheat, victim)
}

fn copied_answer(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let (cheat, victim) = cheat_and_victim(world, dice);
    world.registry.devices.get_mut(&cheat).unwrap().commitment = None;
    // It also tries to pass the victim's signed reveal off as its own submission.
    world.evidence.push((cheat, encode(&Evidence::Reveal(victim.clone()))));
    reveal_as(world, cheat, victim)
}

fn mismatching_reveal(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let (cheat, victim) = cheat_and_victim(world, dice);
    reveal_as(world, cheat, victim)
}

fn mismatching_scores(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = *dice.pick(&validators(world)).unwrap();
    let Evidence::Scores(mut scores) = decode(&world.items_of(&cheat)[0]).unwrap() else {
        panic!("it scores")
    };
    scores.scores[0].1 = 1;
    let changed = scores.sign(&world.network, &device_key(&cheat));
    // Even when the fitting scores are revealed as well.
    if dice.chance(500_000) {
        world.evidence.retain(|(from, _)| *from != cheat);
    }
    world.evidence.push((cheat, encode(&Evidence::Scores(changed))));
    vec![cheat]
}

fn late_reveal(world: &mut World, earlier: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let (cheat, _) = cheat_and_victim(world, dice);
    world.evidence.extend(earlier.items_of(&cheat).into_iter().map(|i| (cheat, i)));
    vec![cheat]
}

/// A miner without merit and the validator that pushes it. Returns the miner and the validator.
fn own_miner(world: &mut World, _: &World, dice: &mut Dice) -> (Vec<DeviceId>, Vec<DeviceId>) {
    let (miners, validators) = (miners(world), validators(world));
    let own = *dice.pick(&miners).unwrap();
    let cheat = *dice.pick(&validators).unwrap();
    world.evidence.retain(|(from, _)| !validators.contains(from));
    for (v, id) in (0u64..).zip(&validators) {
        let honest =
            |(m, miner): (u64, &DeviceId)| (*miner, if *miner == own { 0 } else { honest_score(v, m) });
        let scores =
            if *id == cheat { vec![(own, SCORE_MAX)] } else { (0u64..).zip(&miners).map(honest).collect() };
        let signed = commit_scores(world, id, scores);
        world.evidence.push((*id, encode(&Evidence::Scores(signed))));
    }
    (vec![own], vec![cheat])
}
