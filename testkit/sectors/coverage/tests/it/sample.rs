//! Honest worlds: a village of 5 x 5 devices, each heard by all that stand next to it.

use cairn_coverage_rules::cheats::CHEATS;
use cairn_coverage_rules::*;
use cairn_crypto::Signature;
use cairn_sector::{Cheat, Rules};
use cairn_testkit::conformance::{Attack, Sample, Values};
use cairn_testkit::world::{MapMemory, World, account_id, device, device_id, device_key};
use cairn_types::{Cell, DeviceId, Epoch, Hash, encode};

/// Rows and columns of the village.
pub const SIDE: u32 = 5;

/// The sample.
pub struct Village;

/// The village is small, so the radius is too.
pub fn params() -> Params {
    Params { radius: 1, density: 9, ..Params::default() }
}

/// The device at a place of the village of a seed.
pub fn at(seed: u64, row: u32, column: u32) -> DeviceId {
    device_id(seed, u64::from(row * SIDE + column))
}

/// An honest receipt of `witness` for the beacon of `beaconer`.
pub fn receipt(world: &World, beaconer: &DeviceId, witness: &DeviceId) -> Evidence {
    let payload = payload(&world.seed, beaconer);
    let air = beacon_bytes(&world.network, world.epoch, beaconer, &payload);
    Evidence {
        cell: world.registry.devices[beaconer].cell.unwrap(),
        beaconer: *beaconer,
        witness: *witness,
        epoch: world.epoch,
        payload,
        beacon: device_key(beaconer).sign(BEACON_DOMAIN, &air),
        level: -950,
        signature: Signature([0; 64]),
    }
    .sign(&world.network, &device_key(witness))
}

/// Pairs of devices that stand next to each other.
pub fn neighbours(world: &World) -> Vec<(DeviceId, DeviceId)> {
    let all: Vec<_> =
        world.registry.devices.values().map(|d| (d.id, Grid::of(d.cell.unwrap()).unwrap())).collect();
    let mut pairs = Vec::new();
    for (a, at_a) in &all {
        for (b, at_b) in &all {
            if a != b && at_a.distance(*at_b) <= 1 {
                pairs.push((*a, *b));
            }
        }
    }
    pairs
}

impl Sample<Coverage> for Village {
    fn values(&self) -> Values<Coverage> {
        let evidence = Evidence {
            cell: Grid { row: 1, column: 2 }.cell(),
            beaconer: DeviceId([1; 32]),
            witness: DeviceId([2; 32]),
            epoch: Epoch(3),
            payload: [4; 16],
            beacon: Signature([5; 64]),
            level: -1_005,
            signature: Signature([6; 64]),
        };
        let seen = vec![Sighting { witness: DeviceId([7; 32]), last: Epoch(8), count: 9 }];
        Values {
            params: vec![params(), Params::default()],
            offer: vec![Offer { cell: Cell(0x1_0000_0002), serial: Hash([3; 32]), site: 4 }],
            order: vec![Order],
            commitment: vec![Commitment],
            evidence: vec![evidence.clone()],
            memory: vec![Sightings::default(), Sightings { covered: 10, full: 11, seen }],
            sale: vec![Sale { corner: Grid { row: 9, column: 9 }.cell(), rows: 3, columns: 4 }],
            claim: vec![Claim { receipt: evidence }],
            answer: vec![Answer],
        }
    }

    fn fixtures(&self) -> &'static str {
        include_str!("fixtures/frozen.txt")
    }

    fn world(&self, seed: u64, epoch: Epoch, memory: MapMemory) -> World {
        let mut world = World::new(seed, epoch, encode(&params()));
        world.memory = memory;
        for n in 0..SIDE * SIDE {
            let cell = Grid { row: 10 + n / SIDE, column: 10 + n % SIDE }.cell();
            let id = device_id(seed, u64::from(n));
            let serial = Hash::derive("serial", &[id.as_ref()]);
            let offer = Offer { cell, serial, site: u64::from(n) };
            let admission = Coverage::admit(&params(), &offer).unwrap();
            // Every second operator runs two devices, far from each other.
            let operator = account_id(seed, u64::from(n % 18));
            world.registry.add_device(device(Coverage::ID, id, operator, encode(&offer), &admission));
        }
        for (beaconer, witness) in neighbours(&world) {
            let item = encode(&receipt(&world, &beaconer, &witness));
            world.evidence.push((witness, item));
        }
        world
    }

    fn catalogue(&self) -> &'static [Cheat] {
        CHEATS
    }

    fn attacks(&self) -> Vec<Attack> {
        crate::attacks::all()
    }
}
