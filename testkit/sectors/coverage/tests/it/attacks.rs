//! How each row of `cheats.rs` is committed.

use cairn_coverage_rules::*;
use cairn_testkit::conformance::Attack;
use cairn_testkit::dice::Dice;
use cairn_testkit::world::{World, device_key};
use cairn_types::{DeviceId, decode, encode};

use crate::sample::{neighbours, receipt};

/// One attack for every row.
pub fn all() -> Vec<Attack> {
    let attack = |name, apply| Attack { name, after: 1, epochs: 1, apply };
    vec![
        attack("self-witness", self_witness),
        attack("own-fleet", own_fleet),
        attack("fabricated-witness", fabricated_witness),
        attack("unheard-beacon", unheard_beacon),
        attack("old-beacon", old_beacon),
        attack("out-of-range", out_of_range),
        Attack { name: "sybil-clique", after: 0, epochs: 7, apply: sybil_clique },
    ]
}

fn parsed(world: &World) -> impl Iterator<Item = (DeviceId, Evidence)> {
    world.evidence.iter().map(|(from, bytes)| (*from, decode(bytes).unwrap()))
}

/// Picks a device and removes all receipts that name it, so that all it could earn is by the cheat.
fn mute_one(world: &mut World, dice: &mut Dice) -> DeviceId {
    let cheat = *dice.pick(&world.registry.ids()).unwrap();
    let kept: Vec<_> = parsed(world).filter(|(_, e)| e.beaconer != cheat && e.witness != cheat).collect();
    world.evidence = kept.into_iter().map(|(from, e)| (from, encode(&e))).collect();
    cheat
}

fn around(world: &World, device: &DeviceId) -> Vec<DeviceId> {
    neighbours(world).into_iter().filter(|(b, _)| b == device).map(|(_, w)| w).collect()
}

fn submit(world: &mut World, from: DeviceId, e: Evidence, signer: &DeviceId) {
    let signed = e.sign(&world.network, &device_key(signer));
    world.evidence.push((from, encode(&signed)));
}

fn self_witness(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = mute_one(world, dice);
    let own = receipt(world, &cheat, &cheat);
    submit(world, cheat, own, &cheat);
    vec![cheat]
}

fn own_fleet(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = mute_one(world, dice);
    let operator = world.registry.devices[&cheat].operator;
    for witness in around(world, &cheat) {
        world.registry.devices.get_mut(&witness).unwrap().operator = operator;
        let e = receipt(world, &cheat, &witness);
        submit(world, witness, e, &witness);
    }
    vec![cheat]
}

fn fabricated_witness(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = mute_one(world, dice);
    for witness in around(world, &cheat) {
        let e = receipt(world, &cheat, &witness);
        submit(world, cheat, e.clone(), &cheat);
        submit(world, witness, e, &cheat);
    }
    vec![cheat]
}

fn unheard_beacon(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = mute_one(world, dice);
    for witness in around(world, &cheat) {
        let mut e = receipt(world, &cheat, &witness);
        let air = beacon_bytes(&world.network, world.epoch, &cheat, &e.payload);
        e.beacon = device_key(&witness).sign(BEACON_DOMAIN, &air);
        submit(world, witness, e, &witness);
    }
    vec![cheat]
}

fn old_beacon(world: &mut World, earlier: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = mute_one(world, dice);
    for (from, old) in parsed(earlier).filter(|(_, e)| e.beaconer == cheat) {
        world.evidence.push((from, encode(&old)));
        let relabelled = Evidence { epoch: world.epoch, ..old.clone() };
        submit(world, from, relabelled, &from);
        let half = Evidence { epoch: world.epoch, payload: payload(&world.seed, &cheat), ..old };
        submit(world, from, half, &from);
    }
    vec![cheat]
}

fn out_of_range(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let cheat = mute_one(world, dice);
    let near = around(world, &cheat);
    for witness in world.registry.ids() {
        if witness != cheat && !near.contains(&witness) {
            let e = receipt(world, &cheat, &witness);
            submit(world, witness, e, &witness);
        }
    }
    vec![cheat]
}

/// Three identities in a corner that only see each other.
fn sybil_clique(world: &mut World, _: &World, dice: &mut Dice) -> Vec<DeviceId> {
    let flip = dice.chance(500_000);
    let wanted = |g: Grid| {
        let (row, column) = if flip { (24 - g.row, 24 - g.column) } else { (g.row, g.column) };
        [(10, 10), (10, 11), (11, 10)].contains(&(row, column))
    };
    let devices = world.registry.devices.values();
    let clique: Vec<_> =
        devices.filter(|d| wanted(Grid::of(d.cell.unwrap()).unwrap())).map(|d| d.id).collect();
    let inside = |e: &Evidence| (clique.contains(&e.beaconer), clique.contains(&e.witness));
    let kept: Vec<_> = parsed(world).filter(|(_, e)| inside(e).0 == inside(e).1).collect();
    world.evidence = kept.into_iter().map(|(from, e)| (from, encode(&e))).collect();
    clique
}
