//! A sector with the simplest rules: a committed device that sends one item of evidence is paid for its reserve.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_sector::{
    Admission, Demand, DisputeContext, EpochContext, EvidenceSource, Fault, Judgement, Limits, Next, Quote,
    Row, Rules, Ruling, Shares, SortKey, Source, Task, Weight,
};
use cairn_types::{Credits, DeviceId, DutyId, Hash, Rate, Refusal, SectorId, Units, encode};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    pub capacity: u64,
    pub rate: u64,
    pub bond: u64,
    pub domain: u64,
    pub unique: u64,
}

#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct Order {
    pub slots: u16,
    pub reserve: u64,
    pub max_rate: u64,
    pub max_per_domain: u16,
    pub helpers: u16,
    pub region: u16,
    pub epochs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    Worked,
    Cheated { severity_ppm: u32 },
    Lost,
    Moves,
    Relayed { units: u64 },
    Rebuilt { of: DeviceId, units: u64 },
    Weighs { ppm: u32 },
}

pub struct Toy;

impl Rules for Toy {
    const ID: SectorId = SectorId(77);
    const NAME: &'static str = "toy";
    const VERSION: u16 = 1;
    const LIMITS: Limits = Limits {
        offer: 64,
        order: 64,
        commitment: 32,
        evidence: 64,
        items: 16,
        memory: 64,
        sale: 64,
        claim: 64,
        answer: 64,
    };
    type Params = u64;
    type Offer = Offer;
    type Order = Order;
    type Commitment = u64;
    type Evidence = Evidence;
    type Memory = u64;
    type Sale = u64;
    type Claim = u8;
    type Answer = u8;

    fn check(_: &u64) -> Result<(), Refusal> {
        Ok(())
    }
    fn admit(_: &u64, o: &Offer) -> Result<Admission, Refusal> {
        if o.capacity == 0 {
            return Err(Refusal::new("toy.empty", "no capacity", "offer some"));
        }
        let key = |kind: &str, n: u64| Hash::derive(kind, &[&n.to_le_bytes()]);
        Ok(Admission {
            capacity: Units::first(o.capacity),
            rates: [Rate(o.rate), Rate(0), Rate(0), Rate(0)],
            list_rate: Rate(o.rate),
            bond: Credits(o.bond),
            unique: if o.unique == 0 { vec![] } else { vec![key("unique", o.unique)] },
            domains: vec![key("domain", o.domain)],
            class: 0,
            region: u16::try_from(o.domain % 3).unwrap_or(0),
            cell: None,
        })
    }
    fn demand(_: &u64, w: &Order) -> Result<Demand, Refusal> {
        Ok(Demand {
            slots: w.slots,
            max_per_domain: w.max_per_domain,
            reserve: Units::first(w.reserve),
            class: 0,
            region: w.region,
            max_rate: Rate(w.max_rate),
            min_escrow: Credits(1),
            helpers: w.helpers,
            epochs: w.epochs,
        })
    }
    fn quote(_: &u64, o: &Offer, _: &Order) -> Result<Quote, Refusal> {
        Ok(Quote { rates: [Rate(o.rate), Rate(0), Rate(0), Rate(0)] })
    }
    fn sale(_: &u64, sale: &u64) -> Result<Credits, Refusal> {
        Ok(Credits(*sale))
    }
    fn tasks(_: &EpochContext<'_, Self>, _: Option<&DeviceId>) -> Vec<Task> {
        vec![]
    }
    fn sort_key(from: &DeviceId, _: &Evidence) -> SortKey {
        SortKey::new(from.as_ref().to_vec())
    }
    fn judge(c: &EpochContext<'_, Self>, evidence: &dyn EvidenceSource<Self>) -> Judgement<Self> {
        let mut out = Judgement::default();
        let mut worked = BTreeSet::new();
        let (mut lost, mut moves) = (BTreeSet::new(), BTreeSet::new());
        let mut relayed: BTreeMap<DeviceId, u64> = BTreeMap::new();
        for item in evidence.all() {
            match item.evidence {
                Evidence::Worked => drop(worked.insert(item.from)),
                Evidence::Lost => drop(lost.insert(item.from)),
                Evidence::Moves => drop(moves.insert(item.from)),
                Evidence::Relayed { units } => *relayed.entry(item.from).or_default() += units,
                Evidence::Weighs { ppm } => out.weights.push(Weight { device: item.from, ppm }),
                Evidence::Rebuilt { of, units } => out.rows.push(Row {
                    payee: item.from,
                    duty: None,
                    units: Units::first(units),
                    source: Source::Bond { of },
                    fault: None,
                    next: Next::Continues,
                    note: 2,
                }),
                Evidence::Cheated { severity_ppm } => out.rows.push(Row {
                    payee: item.from,
                    duty: None,
                    units: Units::ZERO,
                    source: Source::Pool,
                    fault: Some(Fault { code: 1, severity_ppm, evidence: Hash::default() }),
                    next: Next::Continues,
                    note: 1,
                }),
            }
        }
        for lease in c.registry.leases() {
            let over = lease.closing.is_some_and(|e| e < c.epoch);
            for (slot, i) in lease.slots.iter().zip(0u16..) {
                if slot.device == DeviceId::default() || slot.since > c.epoch {
                    continue;
                }
                let committed = c.registry.device(&slot.device).is_some_and(|d| d.commitment.is_some());
                let paid = committed && worked.contains(&slot.device) && !over;
                out.rows.push(Row {
                    payee: slot.device,
                    duty: Some(DutyId::Lease { lease: lease.id, slot: i }),
                    units: Units::first(if paid { lease.reserve.0[0] * c.epoch_seconds } else { 0 }),
                    source: Source::Escrow,
                    fault: None,
                    next: match (over, lost.contains(&slot.device)) {
                        (true, _) => Next::Done,
                        (false, true) => Next::Repair { ppm: 1_000_000 },
                        (false, false) if moves.contains(&slot.device) => Next::Reassign,
                        (false, false) => Next::Continues,
                    },
                    note: 0,
                });
            }
        }
        for (device, units) in relayed {
            let before = c.memory.get(device.as_ref()).unwrap_or(0);
            out.memory.push((device.as_ref().to_vec(), Some(before + units)));
            out.rows.push(Row {
                payee: device,
                duty: Some(DutyId::Standing { device }),
                units: Units::first(units),
                source: Source::Pool,
                fault: None,
                next: Next::Continues,
                note: 0,
            });
        }
        out
    }
    fn attribute(c: &EpochContext<'_, Self>, _: &u64) -> Shares {
        c.registry.devices().filter_map(|d| Some((d.id, c.memory.get(d.id.as_ref())?))).collect()
    }
    fn dispute(_: &u64, _: &DisputeContext, claim: &u8, answer: Option<&u8>) -> Result<Ruling, Refusal> {
        if *claim == 0 {
            return Err(Refusal::new("toy.claim", "claims nothing", "claim something"));
        }
        Ok(match answer {
            Some(a) if a == claim => Ruling::Dismissed,
            _ => Ruling::Upheld { severity_ppm: 200_000, code: 9 },
        })
    }
}

pub fn offer(capacity: u64, rate: u64, domain: u64) -> Vec<u8> {
    encode(&Offer { capacity, rate, bond: 1_000_000, domain, unique: 0 })
}

pub fn order(slots: u16, reserve: u64) -> Vec<u8> {
    encode(&Order { slots, reserve, max_rate: u64::MAX, max_per_domain: 1, helpers: 2, region: 0, epochs: 0 })
}
