//! The suite of all sectors.

use cairn_sector::Cheat;
use cairn_storage_rules::types::*;
use cairn_storage_rules::{Storage, cheats, fuzz};
use cairn_testkit::conformance::{self, Attack, Benign, Sample, Values};
use cairn_testkit::fuzz::{Budget, drive};
use cairn_testkit::world::{MapMemory, World, device_id, device_key, lease_key};
use cairn_types::{Epoch, decode, encode};

use crate::net::*;

struct Network;

impl Sample<Storage> for Network {
    fn values(&self) -> Values<Storage> {
        let w = honest(&USUAL, 0, Epoch(1), MapMemory::default());
        let device = device_id(0, 0);
        let [agent, other] = agents(&USUAL, 0);
        let disk = Disk::of(&USUAL, &w, &device, Epoch(1));
        let held = disk.slots.values().next().unwrap();
        let (r, lease) = (held.revision, held.revision.lease);
        let vouched = r.sign_as_agent(agent, &device_key(&agent));
        let leaf = disk.answers(&w, false).unwrap().swap_remove(0);
        let AnswerBody::Leaf(proof) = leaf.body.clone() else { panic!("an honest answer") };
        let repaired = Repaired {
            revision: r,
            agent,
            signature: vouched.signature,
            confirmer: Confirmer::Agent(other),
            confirmation: cairn_storage_rules::sign::confirm(&r, &agent, &device_key(&other)),
        };
        let standing = Standing {
            generation: 1,
            fence: 2,
            seq: 3,
            tree: r.tree,
            signer: Signer::Customer,
            charged: 4,
            cap: Some(Cap { fence: 5, seq: 6, chunks: 7 }),
            served: 8,
            first: Epoch(9),
            dropped: true,
            rebuilt: false,
        };
        Values {
            params: vec![params(&USUAL)],
            offer: vec![offer()],
            order: vec![order(4), Order { kind: Kind::Index, ..order(1) }],
            commitment: vec![disk.tree().commitment()],
            evidence: vec![
                Evidence::Revision(held.signed()),
                Evidence::Revision(vouched.clone()),
                Evidence::Receipt(receipt(&w, &r, 77).sign(&lease_key(&lease))),
                Evidence::Dropped(Dropped { lease, slot: 1, generation: 2, fence: 3, seq: 4 }),
                Evidence::Answer(leaf),
                Evidence::Answer(Answer { epoch: Epoch(1), index: 5, body: AnswerBody::Missing }),
                Evidence::Repaired(Box::new(repaired)),
                Evidence::Audited(Audited { epoch: Epoch(1), device, seen: Seen::Served { log_ms: 9 } }),
                Evidence::Audited(Audited { epoch: Epoch(2), device, seen: Seen::Unreachable }),
            ],
            memory: vec![
                Memory::Device(DeviceRecord { silent: 1, suspect: true, misses: 2 }),
                Memory::Slot(standing),
                Memory::Retrieval(Retrieval {
                    score: 900_000,
                    weight: 1_250_000,
                    medians: vec![Median { epoch: Epoch(1), seen: Seen::Wrong, reports: 2, quality: 0 }; 8],
                }),
            ],
            sale: vec![()],
            claim: vec![Claim { revision: held.signed(), position: 3 }],
            answer: vec![
                Defence::Leaf(Box::new(DisputeLeaf {
                    in_slot: proof.in_slot.clone(),
                    fragment: proof.fragment,
                    chunk: proof.chunk.clone(),
                })),
                Defence::Superseded(Box::new(held.signed())),
            ],
        }
    }
    fn fixtures(&self) -> &'static str {
        include_str!("fixtures/frozen.txt")
    }
    fn world(&self, seed: u64, epoch: Epoch, memory: MapMemory) -> World {
        honest(&USUAL, seed, epoch, memory)
    }
    fn benign(&self) -> Vec<Benign> {
        crate::benign::own()
    }
    fn catalogue(&self) -> &'static [Cheat] {
        cheats::CATALOGUE
    }
    fn attacks(&self) -> Vec<Attack> {
        crate::attacks::all()
    }
}

macro_rules! check {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            conformance::$name::<Storage>(&Network);
        }
    )*};
}

check!(
    encodings_are_frozen,
    random_bytes_are_refused_without_panic,
    submission_order_does_not_matter,
    recomputation_gives_the_same,
    rows_name_what_exists,
    units_stay_within_capacity,
    honest_evidence_is_never_a_fault,
    each_cheat_is_caught_at_its_stated_rate,
);

#[test]
fn the_fuzz_targets_survive_mutated_honest_bytes() {
    let v = Network.values();
    let evidence: Vec<_> = v.evidence.iter().map(encode).collect();
    drive(&fuzz::evidence, Budget::from_env(3000), 1, &evidence).unwrap();
    let both = [encode(&v.claim[0]), encode(&v.answer[0])].concat();
    drive(&fuzz::dispute, Budget::from_env(3000), 2, &[both]).unwrap();
    let both = [encode(&v.offer[0]), encode(&v.order[0])].concat();
    drive(&fuzz::market, Budget::from_env(3000), 3, &[both, encode(&v.params[0])]).unwrap();
}

#[test]
fn a_revision_has_166_bytes_and_a_proof_under_three_kib() {
    let v = Network.values();
    let Evidence::Revision(signed) = &v.evidence[0] else { panic!() };
    assert_eq!(encode(&signed.revision).len(), 166);
    assert!(encode(&v.evidence[4]).len() < 3 << 10);
    assert!(decode::<Evidence>(&encode(&v.evidence[4])).is_ok());
}
