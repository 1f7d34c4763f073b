//! A sector of forty lines with defects to choose from: the suite must find each.

use cairn_sector::*;
use cairn_testkit::conformance::{self, Attack, Sample, Values};
use cairn_testkit::fuzz::guarded;
use cairn_testkit::world::{MapMemory, World, account_id, device, device_id};
use cairn_types::{
    Credits, DeviceId, Epoch, Hash, Rate, Refusal, SectorId, UNIT_KINDS, Units, decode, encode,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const SOUND: u8 = 0;
const LATE_IS_A_FAULT: u8 = 1;
const OVERPAYS: u8 = 2;
const COUNTS_TWICE: u8 = 3;
const PANICS_ON_BYTES: u8 = 4;
const PAYS_STRANGERS: u8 = 5;
const PAYS_LATE: u8 = 6;
const FORGETFUL: u8 = 7;

enum Toy<const DEFECT: u8> {}

static CALLS: AtomicU64 = AtomicU64::new(0);

fn nothing<T>() -> Result<T, Refusal> {
    Err(Refusal::new("toy.none", "there is none", "use a real sector"))
}

fn row(payee: DeviceId, units: u64) -> Row {
    let units = Units::first(units);
    Row { payee, duty: None, units, source: Source::Pool, fault: None, next: Next::Continues, note: 0 }
}

impl<const DEFECT: u8> Rules for Toy<DEFECT> {
    const ID: SectorId = SectorId(9999);
    const NAME: &'static str = "toy";
    const VERSION: u16 = 1;
    const LIMITS: Limits = Limits {
        offer: 1,
        order: 0,
        commitment: 0,
        evidence: 16,
        items: 8,
        memory: 8,
        sale: 0,
        claim: 0,
        answer: 0,
    };
    type Params = u8;
    type Offer = u8;
    type Order = ();
    type Commitment = ();
    type Evidence = (Epoch, u64);
    type Memory = u64;
    type Sale = ();
    type Claim = ();
    type Answer = ();

    fn check(_: &u8) -> Result<(), Refusal> {
        Ok(())
    }
    fn admit(_: &u8, offer: &u8) -> Result<Admission, Refusal> {
        assert!(DEFECT != PANICS_ON_BYTES || *offer < 0x80, "planted");
        Ok(Admission {
            capacity: Units::first(10),
            rates: [Rate(1); UNIT_KINDS],
            list_rate: Rate(1),
            bond: Credits(1),
            unique: vec![],
            domains: vec![],
            class: 0,
            region: 0,
            cell: None,
        })
    }
    fn demand(_: &u8, _: &()) -> Result<Demand, Refusal> {
        nothing()
    }
    fn quote(_: &u8, _: &u8, _: &()) -> Result<Quote, Refusal> {
        nothing()
    }
    fn sale(_: &u8, _: &()) -> Result<Credits, Refusal> {
        nothing()
    }
    fn tasks(_: &EpochContext<'_, Self>, _: Option<&DeviceId>) -> Vec<Task> {
        Vec::new()
    }
    fn sort_key(from: &DeviceId, _: &(Epoch, u64)) -> SortKey {
        SortKey::new(from.0.to_vec())
    }
    fn judge(c: &EpochContext<'_, Self>, evidence: &dyn EvidenceSource<Self>) -> Judgement<Self> {
        let mut out = Judgement::default();
        let mut earned: BTreeMap<DeviceId, u64> = BTreeMap::new();
        for item in evidence.all() {
            let (epoch, units) = item.evidence;
            let late = epoch != c.epoch;
            if late && DEFECT == LATE_IS_A_FAULT {
                let fault = Some(Fault { code: 1, severity_ppm: 1, evidence: Hash::default() });
                out.rows.push(Row { fault, ..row(item.from, 0) });
            }
            if late && DEFECT != PAYS_LATE {
                continue;
            }
            let sum = earned.entry(item.from).or_default();
            *sum = if DEFECT == COUNTS_TWICE {
                sum.saturating_add(units).min(10)
            } else {
                (*sum).max(units).min(10)
            };
        }
        let calls = CALLS.fetch_add(1, Ordering::Relaxed);
        for (device, units) in earned {
            let units = if DEFECT == OVERPAYS { 11 } else { units };
            let payee = if DEFECT == PAYS_STRANGERS { DeviceId::default() } else { device };
            let note = if DEFECT == FORGETFUL { u16::try_from(calls % 60_000).unwrap() } else { 0 };
            out.rows.push(Row { note, ..row(payee, units) });
        }
        out
    }
    fn attribute(_: &EpochContext<'_, Self>, _: &()) -> Shares {
        Shares::new()
    }
    fn dispute(_: &u8, _: &DisputeContext, _: &(), _: Option<&()>) -> Result<Ruling, Refusal> {
        Ok(Ruling::Dismissed)
    }
}

const CATALOGUE: &[Cheat] = &[Cheat {
    name: "late",
    rate_ppm: 1_000_000,
    caught: Caught::Unpaid,
    text: "Evidence of the epoch before.",
}];

struct Toys {
    fixtures: &'static str,
}

const FROZEN: &str = "params.0 00\noffer.0 07\norder.0 \ncommitment.0 \nevidence.0 01000000000000000200000000000000\n\
                      memory.0 0300000000000000\nsale.0 \nclaim.0 \nanswer.0 \n";

fn come_late(world: &mut World, earlier: &World, _: &mut cairn_testkit::dice::Dice) -> Vec<DeviceId> {
    world.evidence = earlier.evidence.clone();
    world.registry.ids()
}

impl<const DEFECT: u8> Sample<Toy<DEFECT>> for Toys {
    fn values(&self) -> Values<Toy<DEFECT>> {
        Values {
            params: vec![0],
            offer: vec![7],
            order: vec![()],
            commitment: vec![()],
            evidence: vec![(Epoch(1), 2)],
            memory: vec![3],
            sale: vec![()],
            claim: vec![()],
            answer: vec![()],
        }
    }
    fn fixtures(&self) -> &'static str {
        self.fixtures
    }
    fn world(&self, seed: u64, epoch: Epoch, memory: MapMemory) -> World {
        let mut world = World { memory, ..World::new(seed, epoch, vec![0]) };
        let admission = Toy::<SOUND>::admit(&0, &7).unwrap();
        for n in 0..6 {
            let id = device_id(seed, n);
            world.registry.add_device(device(SectorId(9999), id, account_id(seed, n), vec![7], &admission));
            world.evidence.push((id, encode(&(epoch, 3u64))));
        }
        world
    }
    fn catalogue(&self) -> &'static [Cheat] {
        CATALOGUE
    }
    fn attacks(&self) -> Vec<Attack> {
        vec![Attack { name: "late", after: 1, epochs: 1, apply: come_late }]
    }
}

const TOYS: Toys = Toys { fixtures: FROZEN };

/// The failure that a check reports.
fn failure(check: impl FnOnce()) -> String {
    guarded(check).expect_err("the planted defect was not found")
}

#[test]
fn a_sound_sector_passes() {
    conformance::run::<Toy<SOUND>>(&TOYS);
    assert_eq!(decode::<(Epoch, u64)>(&encode(&(Epoch(1), 2u64))), Ok((Epoch(1), 2)));
}

#[test]
fn a_changed_encoding_is_found() {
    let text =
        failure(|| conformance::encodings_are_frozen::<Toy<SOUND>>(&Toys { fixtures: "params.0 01\n" }));
    assert!(text.contains("changed"), "{text}");
}

#[test]
fn each_planted_defect_is_found_by_its_check() {
    let found = [
        (
            failure(|| conformance::honest_evidence_is_never_a_fault::<Toy<LATE_IS_A_FAULT>>(&TOYS)),
            "got a fault",
        ),
        (failure(|| conformance::units_stay_within_capacity::<Toy<OVERPAYS>>(&TOYS)), "with a capacity"),
        (failure(|| conformance::submission_order_does_not_matter::<Toy<COUNTS_TWICE>>(&TOYS)), "duplicates"),
        (
            failure(|| conformance::random_bytes_are_refused_without_panic::<Toy<PANICS_ON_BYTES>>(&TOYS)),
            "planted",
        ),
        (failure(|| conformance::rows_name_what_exists::<Toy<PAYS_STRANGERS>>(&TOYS)), "not in the registry"),
        (
            failure(|| conformance::each_cheat_is_caught_at_its_stated_rate::<Toy<PAYS_LATE>>(&TOYS)),
            "cheat late",
        ),
        (failure(|| conformance::recomputation_gives_the_same::<Toy<FORGETFUL>>(&TOYS)), "differs"),
    ];
    for (text, expected) in found {
        assert!(text.contains(expected), "expected a report of \"{expected}\", got: {text}");
    }
}
