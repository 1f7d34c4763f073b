//! Encodings: frozen, bounded, and no panic on any bytes.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::{AnyRules, DisputeContext, Limits, Rules};
use cairn_types::{Epoch, Refusal, decode_bounded, encode};
use std::fmt::Write as _;

use super::{Sample, Values, erased, history};
use crate::dice::Dice;
use crate::fuzz::{guarded, mutate};
use crate::world::World;

/// Largest encoded parameters that the core accepts, in bytes.
const PARAMS_LIMIT: usize = 1 << 16;

fn lines<T: BorshSerialize + BorshDeserialize>(out: &mut String, name: &str, values: &[T], limit: usize) {
    assert!(!values.is_empty(), "the sample has no value of type {name}; supply one");
    for (i, value) in values.iter().enumerate() {
        let bytes = encode(value);
        let back: T = decode_bounded(&bytes, limit).unwrap_or_else(|e| {
            panic!("{name}.{i} does not come back from its own {} bytes: {e}", bytes.len())
        });
        assert_eq!(encode(&back), bytes, "{name}.{i} changes on a round trip");
        let _ = writeln!(out, "{name}.{i} {}", hex::encode(bytes));
    }
}

fn expected_lines<R: Rules>(v: &Values<R>) -> String {
    let (mut out, limits) = (String::new(), R::LIMITS);
    lines(&mut out, "params", &v.params, PARAMS_LIMIT);
    lines(&mut out, "offer", &v.offer, limits.offer);
    lines(&mut out, "order", &v.order, limits.order);
    lines(&mut out, "commitment", &v.commitment, limits.commitment);
    lines(&mut out, "evidence", &v.evidence, limits.evidence);
    lines(&mut out, "memory", &v.memory, limits.memory);
    lines(&mut out, "sale", &v.sale, limits.sale);
    lines(&mut out, "claim", &v.claim, limits.claim);
    lines(&mut out, "answer", &v.answer, limits.answer);
    out
}

/// Every associated type survives a round trip and encodes to the bytes of the fixture.
pub fn encodings_are_frozen<R: Rules>(sample: &dyn Sample<R>) {
    let now = expected_lines(&sample.values());
    let differs = now.lines().zip(sample.fixtures().lines()).find(|(a, b)| a != b);
    assert!(
        now == sample.fixtures(),
        "the encoding of sector {} changed (first: {differs:?}). If that is a decision, bump VERSION, write a \
         changelog line and freeze:\n{now}",
        R::NAME
    );
}

/// Feeds a door with bytes.
type Knock = Box<dyn Fn(&[u8]) -> Result<(), Refusal>>;

/// One decoder of foreign bytes, as the core reaches it.
struct Door {
    name: &'static str,
    limit: usize,
    valid: Vec<Vec<u8>>,
    knock: Knock,
}

fn all<T: BorshSerialize>(values: &[T]) -> Vec<Vec<u8>> {
    values.iter().map(encode).collect()
}

fn doors<R: Rules>(v: &Values<R>, world: &World) -> Vec<Door> {
    let Limits { offer, order, commitment, evidence, sale, claim, answer, .. } = R::LIMITS;
    let p = v.params.first().map(encode).unwrap_or_default();
    let device = world.registry.devices.values().next().expect("an honest world has a device").clone();
    let dispute = DisputeContext {
        network: world.network,
        epoch: world.epoch,
        device: device.clone(),
        lease: world.registry.leases.values().next().cloned(),
        seed: world.seed,
    };
    let offers = all(&v.offer);
    let first = |list: &[Vec<u8>]| list.first().cloned().unwrap_or_default();
    let (an_offer, an_order, a_claim) = (first(&offers), first(&all(&v.order)), first(&all(&v.claim)));
    let door = |name, limit, valid, knock| Door { name, limit, valid, knock };
    let (p1, p2, p3, p4, p5, p6, p7) = (p.clone(), p.clone(), p.clone(), p.clone(), p.clone(), p.clone(), p);
    let (d1, d2, from, w) = (dispute.clone(), dispute, device.id, world.clone());
    vec![
        door("check", PARAMS_LIMIT, all(&v.params), Box::new(|b| erased::<R>().check(b))),
        door("admit", offer, offers.clone(), Box::new(move |b| erased::<R>().admit(&p1, b).map(drop))),
        door("demand", order, all(&v.order), Box::new(move |b| erased::<R>().demand(&p2, b).map(drop))),
        door(
            "quote.offer",
            offer,
            offers,
            Box::new(move |b| erased::<R>().quote(&p3, b, &an_order).map(drop)),
        ),
        door(
            "quote.order",
            order,
            all(&v.order),
            Box::new(move |b| erased::<R>().quote(&p4, &an_offer, b).map(drop)),
        ),
        door("sale", sale, all(&v.sale), Box::new(move |b| erased::<R>().sale(&p5, b).map(drop))),
        door(
            "attribute",
            sale,
            all(&v.sale),
            Box::new(move |b| erased::<R>().attribute(&w.context(), b).map(drop)),
        ),
        door("commitment", commitment, all(&v.commitment), Box::new(|b| erased::<R>().check_commitment(b))),
        door(
            "evidence",
            evidence,
            all(&v.evidence),
            Box::new(move |b| erased::<R>().sort_key(&from, b).map(drop)),
        ),
        door(
            "claim",
            claim,
            all(&v.claim),
            Box::new(move |b| erased::<R>().dispute(&p6, &d1, b, None).map(drop)),
        ),
        door(
            "answer",
            answer,
            all(&v.answer),
            Box::new(move |b| erased::<R>().dispute(&p7, &d2, &a_claim, Some(b)).map(drop)),
        ),
    ]
}

/// Random and mutated bytes never make a decoder or a judgement panic; bytes over the limit are refused as such.
pub fn random_bytes_are_refused_without_panic<R: Rules>(sample: &dyn Sample<R>) {
    let world = history(sample, 1, 2).pop().expect("two epochs were asked for");
    let mut dice = Dice::new(0xC0FF_EE00);
    let rounds = sample.effort().fuzz;
    for door in doors(&sample.values(), &world) {
        let refusal = (door.knock)(&vec![0; door.limit + 1]).err();
        assert!(
            refusal.as_ref().is_some_and(|r| r.code == "sector.malformed"),
            "{}: {} bytes are over the limit and must be refused, got {refusal:?}",
            door.name,
            door.limit + 1
        );
        for _ in 0..rounds {
            let len = dice.below(door.limit.min(512) + 1);
            let bytes = match dice.pick(&door.valid).cloned() {
                Some(valid) if dice.chance(700_000) => mutate(&valid, &door.valid, &mut dice, door.limit),
                _ => dice.bytes(len),
            };
            let outcome = guarded(|| drop((door.knock)(&bytes)));
            assert!(outcome.is_ok(), "{} panics on {}: {outcome:?}", door.name, hex::encode(&bytes));
        }
    }
    judging_foreign_bytes::<R>(sample, &world, &mut dice);
}

/// Judges worlds whose parameters, offers, commitments and evidence were mutated but still pass their doors.
fn judging_foreign_bytes<R: Rules>(sample: &dyn Sample<R>, world: &World, dice: &mut Dice) {
    let rules = erased::<R>();
    let pool: Vec<Vec<u8>> = world.evidence.iter().take(64).map(|(_, b)| b.clone()).collect();
    for round in 0..sample.effort().fuzz / 8 {
        let mut bent = world.clone();
        for (_, bytes) in &mut bent.evidence {
            if dice.chance(700_000) {
                continue;
            }
            *bytes = mutate(bytes, &pool, dice, R::LIMITS.evidence);
        }
        for device in bent.registry.devices.values_mut() {
            if dice.chance(800_000) {
                continue;
            }
            let offer = mutate(&device.offer, &[], dice, R::LIMITS.offer);
            if rules.admit(&world.params, &offer).is_ok() {
                device.offer = offer;
            }
            if let Some(old) = &device.commitment {
                let new = mutate(old, &[], dice, R::LIMITS.commitment);
                device.commitment = rules.check_commitment(&new).ok().map(|()| new);
            }
        }
        let params = mutate(&world.params, &[], dice, PARAMS_LIMIT);
        if round % 2 == 0 && rules.check(&params).is_ok() {
            bent.params = params;
        }
        bent.epoch = if round % 4 == 3 { Epoch(u64::MAX - dice.next_u64() % 3) } else { bent.epoch };
        let outcome = guarded(|| {
            let _ = bent.judge(&rules);
            let _ = rules.tasks(&bent.context(), None);
        });
        assert!(outcome.is_ok(), "judging mutated evidence panics in round {round}: {outcome:?}");
    }
}
