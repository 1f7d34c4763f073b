//! Judging: one walk over the evidence beside the memory, one beacon at a time.

mod receipts;
mod standing;
mod stream;

use cairn_sector::{EpochContext, EvidenceSource, Fault, Judgement, Next, Row, Source};
use cairn_types::{Cell, DeviceId, DutyId, Epoch, Hash, PPM, UNIT_KINDS, Units};
use std::collections::BTreeMap;

use crate::cheats::{
    NOTE_CAPPED, NOTE_CLOSED_GROUP, NOTE_DENSE, NOTE_FULL, NOTE_ONE_NEIGHBOUR, SELF_WITNESS,
};
use crate::{Coverage, Grid, Params, Sighting, Sightings};
use receipts::{Receipts, Witness};
use standing::{Standing, Standings};
use stream::Join;

/// Judges the epoch.
///
/// Memory: a few words per device (neighbourhood counts, witness earnings, standings), the rows, and the receipts
/// of one beacon at a time; never the evidence as a whole. Time: two signature checks per new receipt at most.
pub fn judge(c: &EpochContext<'_, Coverage>, evidence: &dyn EvidenceSource<Coverage>) -> Judgement<Coverage> {
    let mut epoch = EpochJudge {
        c,
        crowd: Crowd::of(c),
        standings: Standings::new(c),
        earned: BTreeMap::new(),
        out: Judgement::default(),
    };
    let mut receipts = Receipts::new(c);
    let join = Join::new(c.memory.scan(&[]), evidence.all(), |item| receipts.accept(item));
    for place in join {
        epoch.place(&place.key, place.memory, &place.receipts);
    }
    let faults = receipts.into_faults();
    epoch.finish(faults)
}

/// Devices per cell.
struct Crowd(BTreeMap<Cell, u64>);

impl Crowd {
    fn of(c: &EpochContext<'_, Coverage>) -> Self {
        let mut cells = BTreeMap::new();
        for cell in c.registry.devices().filter_map(|d| d.cell) {
            *cells.entry(cell).or_default() += 1;
        }
        Self(cells)
    }

    /// Devices within `radius` of a place. One range of the map per row of the neighbourhood.
    fn around(&self, at: Grid, radius: u32) -> u64 {
        let rows = at.row.saturating_sub(radius)..=at.row.saturating_add(radius);
        let left = at.column.saturating_sub(radius);
        let right = at.column.saturating_add(radius);
        let of_row = |row| {
            let ends = Grid { row, column: left }.cell()..=Grid { row, column: right }.cell();
            self.0.range(ends).map(|(_, n)| *n).sum::<u64>()
        };
        rows.map(of_row).sum()
    }
}

struct EpochJudge<'c, 'a> {
    c: &'c EpochContext<'a, Coverage>,
    crowd: Crowd,
    standings: Standings<'c, 'a>,
    /// Units earned as a witness.
    earned: BTreeMap<DeviceId, u64>,
    out: Judgement<Coverage>,
}

impl EpochJudge<'_, '_> {
    /// One device at one place: its receipts of this epoch and what the memory knows.
    fn place(&mut self, key: &[u8], memory: Option<Sightings>, witnesses: &[Witness]) {
        let before = memory.unwrap_or_default();
        let Some(device) = key.get(8..).and_then(|d| d.try_into().ok()).map(DeviceId) else { return };
        let p = &self.c.params;
        let enough = witnesses.len() >= usize::from(p.min_witnesses);
        let mut full = false;
        if let (true, Some(at)) = (enough, self.grid_of(&device)) {
            let (share, note) = self.share(&device, &before, witnesses);
            full = note == NOTE_FULL;
            self.pay_beacon(device, at, share, note);
            self.pay_witnesses(witnesses, share);
        }
        let after = remember(&self.c.params, self.c.epoch, &before, witnesses, enough, full);
        if after != before {
            let value = (after != Sightings::default()).then_some(after);
            self.out.memory.push((key.to_vec(), value));
        }
    }

    fn grid_of(&self, device: &DeviceId) -> Option<Grid> {
        self.c.registry.device(device).and_then(|d| d.cell).and_then(Grid::of)
    }

    /// Share of the full pay, in millionths, and why.
    fn share(&mut self, device: &DeviceId, before: &Sightings, witnesses: &[Witness]) -> (u64, u16) {
        let p = &self.c.params;
        let open = |w: &&Witness| self.standings.of(&w.device) != Standing::ClosedGroup;
        let votes: Vec<&Witness> = witnesses.iter().filter(open).collect();
        if votes.len() < usize::from(p.min_witnesses) {
            return (u64::from(p.closed_ppm), NOTE_CLOSED_GROUP);
        }
        let one_operator = votes.windows(2).all(|w| w[0].operator == w[1].operator);
        if one_operator && self.standings.judge(device, before) == Standing::OneNeighbour {
            return (u64::from(p.closed_ppm), NOTE_ONE_NEIGHBOUR);
        }
        (PPM, NOTE_FULL)
    }

    fn pay_beacon(&mut self, device: DeviceId, at: Grid, share: u64, note: u16) {
        let p = &self.c.params;
        let crowd = self.crowd.around(at, p.radius).max(u64::from(p.density));
        let units = p.beacon_units.saturating_mul(share) / PPM;
        let units = units.saturating_mul(u64::from(p.density)) / crowd;
        let dense = note == NOTE_FULL && crowd > u64::from(p.density);
        let note = if dense { NOTE_DENSE } else { note };
        self.out.rows.push(row(device, Some(DutyId::Standing { device }), [units, 0, 0, 0], note));
    }

    fn pay_witnesses(&mut self, witnesses: &[Witness], share: u64) {
        let p = &self.c.params;
        let paid = u64::from(p.paid_witnesses);
        let crowd = u64::try_from(witnesses.len()).unwrap_or(u64::MAX).max(paid);
        let units = (p.witness_units.saturating_mul(share) / PPM).saturating_mul(paid) / crowd;
        for witness in witnesses {
            let sum = self.earned.entry(witness.device).or_default();
            *sum = sum.saturating_add(units);
        }
    }

    fn finish(mut self, faults: BTreeMap<DeviceId, Hash>) -> Judgement<Coverage> {
        let cap = self.c.params.witness_cap;
        for (device, units) in self.earned.into_iter().filter(|(_, units)| *units > 0) {
            let note = if units > cap { NOTE_CAPPED } else { NOTE_FULL };
            self.out.rows.push(row(device, None, [0, units.min(cap), 0, 0], note));
        }
        for (device, evidence) in faults {
            let severity_ppm = self.c.params.self_witness_ppm;
            let fault = Some(Fault { code: SELF_WITNESS, severity_ppm, evidence });
            self.out.rows.push(Row { fault, ..row(device, None, [0; UNIT_KINDS], SELF_WITNESS) });
        }
        self.out
    }
}

fn row(payee: DeviceId, duty: Option<DutyId>, units: [u64; UNIT_KINDS], note: u16) -> Row {
    Row { payee, duty, units: Units(units), source: Source::Pool, fault: None, next: Next::Continues, note }
}

/// The memory of a device after the epoch. What is not seen again fades.
fn remember(
    p: &Params,
    now: Epoch,
    before: &Sightings,
    witnesses: &[Witness],
    witnessed: bool,
    full: bool,
) -> Sightings {
    let mut seen: BTreeMap<DeviceId, Sighting> = before.seen.iter().map(|s| (s.witness, *s)).collect();
    for s in seen.values_mut() {
        s.count = s.count.saturating_sub(1);
    }
    for w in witnesses {
        let old = before.seen.iter().find(|s| s.witness == w.device).map_or(0, |s| s.count);
        seen.insert(w.device, Sighting { witness: w.device, last: now, count: old.saturating_add(1) });
    }
    let fresh = |s: &Sighting| s.count > 0 && s.last.plus(u64::from(p.window)) >= now;
    let mut seen: Vec<Sighting> = seen.into_values().filter(fresh).collect();
    // The most frequent neighbours stay; ties by id, so that everybody keeps the same.
    seen.sort_unstable_by_key(|s| (std::cmp::Reverse(s.count), s.witness));
    seen.truncate(Sightings::MAX);
    seen.sort_unstable_by_key(|s| s.witness);
    let step = |n: u16, up: bool| if up { n.saturating_add(1).min(p.window) } else { n.saturating_sub(1) };
    Sightings { covered: step(before.covered, witnessed), full: step(before.full, full), seen }
}

#[cfg(test)]
mod tests;
