//! What the reports of a device's auditors come to: a score, a note, perhaps a price weight. Never a fault, never money.

use cairn_sector::{Judgement, Next, Row, Source, Weight};
use cairn_types::Units;

use super::holder::Holder;
use super::note;
use crate::Storage;
use crate::audit::{FULL, median, next};
use crate::tasks::commitment;
use crate::types::{Median, Memory, Retrieval, Seen, retrieval_key};

pub(super) fn judge(h: &Holder<'_, '_>, out: &mut Judgement<Storage>) {
    let (p, key) = (&h.c.params, retrieval_key(&h.entry.id));
    let before = match h.c.memory.get(&key) {
        Some(Memory::Retrieval(r)) => Some(r),
        _ => None,
    };
    let reports: Vec<Seen> = h.reports.values().copied().flatten().collect();
    let median = median(p, &reports).map(|(seen, quality)| Median {
        epoch: h.c.epoch,
        seen,
        reports: u8::try_from(reports.len()).unwrap_or(u8::MAX),
        quality,
    });
    if let Some(note) = median.as_ref().and_then(bad) {
        out.rows.push(row(h, note));
    }
    let after = next(p, before.clone(), median, commitment(&h.entry).map(|tree| tree.total));
    let of = |r: &Option<Retrieval>| r.as_ref().map_or(FULL, |r| r.weight);
    let ppm = of(&after);
    // The market hears of a change only.
    if ppm != of(&before) {
        out.weights.push(Weight { device: h.entry.id, ppm });
    }
    if after != before {
        out.memory.push((key, after.map(Memory::Retrieval)));
    }
}

/// Why a median is less than full.
fn bad(m: &Median) -> Option<u16> {
    match m.seen {
        Seen::Served { .. } if m.quality < FULL => Some(note::AUDIT_SLOW),
        Seen::Served { .. } => None,
        Seen::Wrong => Some(note::AUDIT_WRONG),
        Seen::Refused => Some(note::AUDIT_REFUSED),
        Seen::Unreachable => Some(note::AUDIT_UNREACHABLE),
    }
}

/// A row that only explains.
fn row(h: &Holder<'_, '_>, note: u16) -> Row {
    Row {
        payee: h.entry.id,
        duty: None,
        units: Units::ZERO,
        source: Source::Pool,
        fault: None,
        next: Next::Continues,
        note,
    }
}
