//! Honest worlds: eight miners of rising quality, five validators.

use cairn_arena_rules::cheats::CHEATS;
use cairn_arena_rules::*;
use cairn_crypto::Signature;
use cairn_sector::{Cheat, Rules};
use cairn_testkit::conformance::{Attack, Sample, Values};
use cairn_testkit::world::{MapMemory, World, account_id, device, device_id, device_key};
use cairn_types::{Credits, DeviceId, Epoch, Hash, encode};

/// Miners of the ring.
pub const MINERS: u64 = 8;
/// Validators of the ring.
pub const VALIDATORS: u64 = 5;

/// The sample.
pub struct Ring;

/// Parameters of the ring.
pub fn params() -> Params {
    Params::default()
}

/// The `n`-th miner; higher numbers answer better.
pub fn miner(seed: u64, n: u64) -> DeviceId {
    device_id(seed, n)
}

/// The `n`-th validator.
pub fn validator(seed: u64, n: u64) -> DeviceId {
    device_id(seed, 1_000 + n)
}

fn salt(device: &DeviceId, epoch: Epoch) -> [u8; 32] {
    Hash::derive("salt", &[device.as_ref(), &epoch.0.to_le_bytes()]).0
}

/// Commits a miner of the world to an answer and returns the signed reveal.
pub fn commit(world: &mut World, id: &DeviceId, answer: &[u8]) -> MinerReveal {
    let (salt, signature) = (salt(id, world.epoch), Signature([0; 64]));
    let reveal = MinerReveal { miner: *id, epoch: world.epoch, answer: answer.to_vec(), salt, signature };
    let digest = reveal.digest(&world.network);
    world.registry.devices.get_mut(id).unwrap().commitment = Some(encode(&Commitment { digest }));
    reveal.sign(&world.network, &device_key(id))
}

/// Commits a validator of the world to scores and returns them signed.
pub fn commit_scores(world: &mut World, id: &DeviceId, mut scores: Vec<(DeviceId, u16)>) -> Scores {
    scores.sort_unstable();
    let (salt, signature) = (salt(id, world.epoch), Signature([0; 64]));
    let scores = Scores { validator: *id, epoch: world.epoch, scores, salt, signature };
    world.registry.devices.get_mut(id).unwrap().answers = Some(scores.digest(&world.network));
    scores.sign(&world.network, &device_key(id))
}

/// What an honest validator gives: the miner's quality and a little noise of its own.
pub fn honest_score(v: u64, m: u64) -> u16 {
    u16::try_from(1_000 + 800 * m + (v * 7 + m * 3) % 20).unwrap()
}

fn enter(world: &mut World, seed: u64, id: DeviceId, n: u64, offer: &Offer) {
    let admission = Arena::admit(&params(), offer).unwrap();
    world.registry.add_device(device(Arena::ID, id, account_id(seed, n), encode(offer), &admission));
}

impl Sample<Arena> for Ring {
    fn values(&self) -> Values<Arena> {
        let reveal = Evidence::Reveal(MinerReveal {
            miner: DeviceId([1; 32]),
            epoch: Epoch(2),
            answer: vec![3, 4],
            salt: [5; 32],
            signature: Signature([6; 64]),
        });
        let scores = Evidence::Scores(Scores {
            validator: DeviceId([7; 32]),
            epoch: Epoch(8),
            scores: vec![(DeviceId([1; 32]), 9_999)],
            salt: [9; 32],
            signature: Signature([10; 64]),
        });
        Values {
            params: vec![params()],
            offer: vec![Offer::Miner, Offer::Validator { stake: Credits(10_000_001) }],
            order: vec![Order],
            commitment: vec![Commitment { digest: Hash([11; 32]) }],
            evidence: vec![reveal.clone(), scores.clone()],
            memory: vec![Bonds::default(), Bonds { ppm: vec![(DeviceId([1; 32]), 999_999)] }],
            sale: vec![Sale],
            claim: vec![Claim { evidence: reveal }, Claim { evidence: scores }],
            answer: vec![Answer],
        }
    }

    fn fixtures(&self) -> &'static str {
        include_str!("fixtures/frozen.txt")
    }

    fn world(&self, seed: u64, epoch: Epoch, memory: MapMemory) -> World {
        let mut world = World::new(seed, epoch, encode(&params()));
        world.memory = memory;
        for m in 0..MINERS {
            let id = miner(seed, m);
            enter(&mut world, seed, id, m, &Offer::Miner);
            let reveal = commit(&mut world, &id, &[u8::try_from(m).unwrap(); 16]);
            world.evidence.push((id, encode(&Evidence::Reveal(reveal))));
        }
        for v in 0..VALIDATORS {
            let id = validator(seed, v);
            enter(&mut world, seed, id, 100 + v, &Offer::Validator { stake: Credits(10_000_000 + v) });
            let scores = (0..MINERS).map(|m| (miner(seed, m), honest_score(v, m))).collect();
            let scores = commit_scores(&mut world, &id, scores);
            world.evidence.push((id, encode(&Evidence::Scores(scores))));
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
