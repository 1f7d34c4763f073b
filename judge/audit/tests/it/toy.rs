//! The smallest sector that earns, charges, remembers and faults: devices say how much they did, and are believed.
#![allow(dead_code)]

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::*;
use cairn_types::{Credits, DeviceId, DutyId, Hash, LeaseId, Rate, Refusal, SectorId, Units};
use std::collections::BTreeMap;

pub struct Toy;
pub const TOY: SectorId = SectorId(900);
/// One credit a unit.
pub const RATE: Rate = Rate(1_000_000_000_000);

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Work {
    pub lease: Option<LeaseId>,
    pub units: u64,
    pub fault: bool,
}

impl Rules for Toy {
    const ID: SectorId = TOY;
    const NAME: &'static str = "toy";
    const VERSION: u16 = 1;
    const LIMITS: Limits = Limits {
        offer: 8,
        order: 8,
        commitment: 64,
        evidence: 64,
        items: 100,
        memory: 8,
        sale: 8,
        claim: 8,
        answer: 8,
    };
    type Params = u64;
    type Offer = u64;
    type Order = u64;
    type Commitment = Vec<u8>;
    type Evidence = Work;
    type Memory = u64;
    type Sale = u64;
    type Claim = u8;
    type Answer = u8;

    fn check(_: &u64) -> Result<(), Refusal> {
        Ok(())
    }
    fn admit(_: &u64, capacity: &u64) -> Result<Admission, Refusal> {
        Ok(Admission {
            capacity: Units::first(*capacity),
            rates: [RATE, Rate(0), Rate(0), Rate(0)],
            list_rate: RATE,
            bond: Credits(1000),
            unique: vec![],
            domains: vec![],
            class: 0,
            region: 0,
            cell: None,
        })
    }
    fn demand(_: &u64, reserve: &u64) -> Result<Demand, Refusal> {
        Ok(Demand {
            slots: 1,
            max_per_domain: 0,
            reserve: Units::first(*reserve),
            class: 0,
            region: 0,
            max_rate: RATE,
            min_escrow: Credits(1),
            helpers: 0,
            epochs: 0,
        })
    }
    fn quote(_: &u64, _: &u64, _: &u64) -> Result<Quote, Refusal> {
        Ok(Quote { rates: [RATE, Rate(0), Rate(0), Rate(0)] })
    }
    fn sale(_: &u64, sale: &u64) -> Result<Credits, Refusal> {
        Ok(Credits(*sale))
    }
    fn tasks(_: &EpochContext<'_, Self>, _: Option<&DeviceId>) -> Vec<Task> {
        Vec::new()
    }
    fn sort_key(from: &DeviceId, _: &Work) -> SortKey {
        SortKey::new(from.0.to_vec())
    }
    fn judge(c: &EpochContext<'_, Self>, evidence: &dyn EvidenceSource<Self>) -> Judgement<Self> {
        let mut sums: BTreeMap<(DeviceId, Option<LeaseId>), (u64, bool)> = BTreeMap::new();
        for item in evidence.all() {
            let sum = sums.entry((item.from, item.evidence.lease)).or_default();
            sum.0 += item.evidence.units;
            sum.1 |= item.evidence.fault;
        }
        let mut out = Judgement::default();
        let mut done: BTreeMap<DeviceId, u64> = BTreeMap::new();
        for ((device, lease), (units, fault)) in sums {
            let Some(entry) = c.registry.device(&device) else { continue };
            let units = units.min(entry.capacity.0[0]);
            let (duty, source) = match lease {
                Some(lease) => (DutyId::Lease { lease, slot: 0 }, Source::Escrow),
                None => (DutyId::Standing { device }, Source::Pool),
            };
            let fault = fault.then_some(Fault { code: 7, severity_ppm: 100_000, evidence: Hash([7; 32]) });
            let note = u16::from(entry.commitment.is_some());
            out.rows.push(Row {
                payee: device,
                duty: Some(duty),
                units: Units::first(units),
                source,
                fault,
                next: Next::Continues,
                note,
            });
            *done.entry(device).or_insert_with(|| c.memory.get(&device.0).unwrap_or(0)) += units;
        }
        out.memory = done.into_iter().map(|(d, n)| (d.0.to_vec(), Some(n))).collect();
        out
    }
    fn attribute(c: &EpochContext<'_, Self>, _: &u64) -> Shares {
        c.registry.devices().map(|d| (d.id, 1)).collect()
    }
    fn dispute(_: &u64, _: &DisputeContext, _: &u8, answer: Option<&u8>) -> Result<Ruling, Refusal> {
        Ok(if answer.is_some() { Ruling::Dismissed } else { Ruling::Upheld { severity_ppm: 1000, code: 1 } })
    }
}
