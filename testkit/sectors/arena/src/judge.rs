//! Judging the arena: clip by the median, share by rank, pay validators by remembered bonds.

mod consensus;

use cairn_sector::{DeviceEntry, EpochContext, EvidenceSource, Fault, Judgement, Next, Row, Source};
use cairn_types::{DeviceId, DutyId, Epoch, Hash, NetworkId, UNIT_KINDS, Units, decode_bounded, encode};
use std::collections::{BTreeMap, BTreeSet};

use crate::cheats::{MISMATCH, NOTE_MINER, NOTE_VALIDATOR};
use crate::{Arena, Bonds, Commitment, Evidence, Offer, Params};
use consensus::{Ballot, settle};

/// What an item of evidence is, beside the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Opens what was committed.
    Fits,
    /// Signed by the device, for this epoch, and does not open what it committed to.
    Mismatch,
    /// Says nothing: another epoch, a wrong signature, nothing committed.
    Void,
}

/// Reads an item that names `device`. Only a device that did commit can mismatch.
pub fn read(network: &NetworkId, epoch: Epoch, device: &DeviceEntry, e: &Evidence) -> Reading {
    let (claimed, committed, opened, signed) = match e {
        Evidence::Reveal(r) => {
            let committed =
                device.commitment.as_deref().and_then(|b| decode_bounded::<Commitment>(b, 32).ok());
            (r.epoch, committed.map(|c| c.digest), r.digest(network), r.is_signed(network, &device.key))
        }
        Evidence::Scores(s) => {
            (s.epoch, device.answers, s.digest(network), s.is_signed(network, &device.key))
        }
    };
    match committed {
        Some(committed) if claimed == epoch && signed && committed == opened => Reading::Fits,
        Some(_) if claimed == epoch && signed => Reading::Mismatch,
        _ => Reading::Void,
    }
}

/// Who plays what.
struct Cast {
    miners: BTreeMap<DeviceId, DeviceEntry>,
    validators: BTreeMap<DeviceId, (DeviceEntry, u64)>,
}

impl Cast {
    /// The first `miners` by id and the `validators` with most stake, ties by id.
    fn of(c: &EpochContext<'_, Arena>) -> Self {
        let (mut miners, mut ranked) = (BTreeMap::new(), BTreeSet::new());
        let (most_miners, most) = (usize::from(c.params.miners), usize::from(c.params.validators));
        for device in c.registry.devices() {
            match decode_bounded(&device.offer, 16) {
                Ok(Offer::Miner) if miners.len() < most_miners => drop(miners.insert(device.id, device)),
                Ok(Offer::Validator { stake }) => {
                    ranked.insert((std::cmp::Reverse(stake.0), device.id));
                    if ranked.len() > most {
                        ranked.pop_last();
                    }
                }
                _ => {}
            }
        }
        let entry =
            |(stake, id): (std::cmp::Reverse<u64>, DeviceId)| Some((id, (c.registry.device(&id)?, stake.0)));
        Self { miners, validators: ranked.into_iter().filter_map(entry).collect() }
    }

    fn player(&self, e: &Evidence) -> Option<&DeviceEntry> {
        match e {
            Evidence::Reveal(r) => self.miners.get(&r.miner),
            Evidence::Scores(s) => self.validators.get(&s.validator).map(|(entry, _)| entry),
        }
    }
}

/// What the evidence of the epoch came to.
#[derive(Default)]
struct Opened {
    miners: BTreeSet<DeviceId>,
    scores: BTreeMap<DeviceId, Vec<(DeviceId, u16)>>,
    faults: BTreeMap<DeviceId, Hash>,
}

impl Opened {
    fn read(c: &EpochContext<'_, Arena>, cast: &Cast, evidence: &dyn EvidenceSource<Arena>) -> Self {
        let mut opened = Self::default();
        for item in evidence.all() {
            let Some(player) = cast.player(&item.evidence) else { continue };
            match read(&c.network, c.epoch, player, &item.evidence) {
                Reading::Void => {}
                Reading::Mismatch => {
                    let digest = Hash::derive("cairn/arena/evidence", &[&encode(&item.evidence)]);
                    opened.faults.entry(player.id).and_modify(|d| *d = digest.min(*d)).or_insert(digest);
                }
                Reading::Fits => match item.evidence {
                    Evidence::Reveal(r) => drop(opened.miners.insert(r.miner)),
                    Evidence::Scores(s) if s.is_in_form() => {
                        drop(opened.scores.insert(s.validator, s.scores))
                    }
                    Evidence::Scores(_) => {}
                },
            }
        }
        // Who signed something false besides is paid nothing and has no say.
        opened.miners.retain(|m| !opened.faults.contains_key(m));
        opened.scores.retain(|v, _| !opened.faults.contains_key(v));
        opened
    }
}

/// Judges the epoch. Bounded by 256 miners and 64 validators, whatever the registry holds.
pub fn judge(c: &EpochContext<'_, Arena>, evidence: &dyn EvidenceSource<Arena>) -> Judgement<Arena> {
    let cast = Cast::of(c);
    let opened = Opened::read(c, &cast, evidence);
    let miners: Vec<DeviceId> = opened.miners.iter().copied().collect();
    let ballot = |(id, (_, stake)): (&DeviceId, &(DeviceEntry, u64))| {
        let scores: BTreeMap<_, _> = opened.scores.get(id)?.iter().copied().collect();
        let of = |m: &DeviceId| scores.get(m).copied().unwrap_or(0);
        let bonds: BTreeMap<_, _> = c.memory.get(id.as_ref()).unwrap_or_default().ppm.into_iter().collect();
        let bond = |m: &DeviceId| bonds.get(m).copied().unwrap_or(0);
        let (scores, bonds) = (miners.iter().map(of).collect(), miners.iter().map(bond).collect());
        Some(Ballot { validator: *id, stake: *stake, scores, bonds })
    };
    let ballots: Vec<Ballot> = cast.validators.iter().filter_map(ballot).collect();
    let mut out = Judgement::default();
    pay(&c.params, &miners, &ballots, &mut out);
    forget(c, &ballots, &mut out);
    for (device, evidence) in opened.faults {
        let fault = Some(Fault { code: MISMATCH, severity_ppm: c.params.mismatch_ppm, evidence });
        out.rows.push(Row { fault, ..row(device, [0; UNIT_KINDS], MISMATCH) });
    }
    out
}

fn pay(p: &Params, miners: &[DeviceId], ballots: &[Ballot], out: &mut Judgement<Arena>) {
    let result = settle(p, miners.len(), ballots);
    for (miner, units) in miners.iter().zip(&result.miners).filter(|(_, units)| **units > 0) {
        out.rows.push(row(*miner, [*units, 0, 0, 0], NOTE_MINER));
    }
    for ((ballot, units), bonds) in ballots.iter().zip(&result.validators).zip(result.bonds) {
        if *units > 0 {
            out.rows.push(row(ballot.validator, [0, *units, 0, 0], NOTE_VALIDATOR));
        }
        let ppm: Vec<_> = miners.iter().copied().zip(bonds).filter(|(_, b)| *b > 0).collect();
        let value = (!ppm.is_empty()).then_some(Bonds { ppm });
        out.memory.push((ballot.validator.as_ref().to_vec(), value));
    }
}

/// A validator that reveals nothing keeps its bonds for an absence; one that left the registry is forgotten.
fn forget(c: &EpochContext<'_, Arena>, ballots: &[Ballot], out: &mut Judgement<Arena>) {
    for (key, _) in c.memory.scan(&[]) {
        let id = <[u8; 32]>::try_from(key.as_slice()).ok().map(DeviceId);
        let voted = id.is_some_and(|id| ballots.iter().any(|b| b.validator == id));
        let gone = id.is_none_or(|id| c.registry.device(&id).is_none());
        if gone && !voted {
            out.memory.push((key, None));
        }
    }
}

fn row(payee: DeviceId, units: [u64; UNIT_KINDS], note: u16) -> Row {
    let duty = Some(DutyId::Standing { device: payee });
    Row { payee, duty, units: Units(units), source: Source::Pool, fault: None, next: Next::Continues, note }
}
