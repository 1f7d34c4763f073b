//! Which receipts count.

use cairn_sector::{DeviceEntry, EpochContext, EvidenceItem};
use cairn_types::{AccountId, DeviceId, Hash, encode};
use std::collections::BTreeMap;

use crate::dispute::witnesses_itself;
use crate::{BEACON_DOMAIN, Coverage, Evidence, Grid, RECEIPT_DOMAIN, beacon_bytes, payload, receipt_bytes};
use cairn_crypto::Signature;

/// A witness whose receipt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The device.
    pub device: DeviceId,
    /// Its operator.
    pub operator: AccountId,
}

/// The beaconer whose receipts are being read.
struct Beaconer {
    entry: DeviceEntry,
    at: Grid,
    payload: [u8; 16],
    /// The beacon signature that was checked last, and whether it is good.
    beacon: Option<(Signature, bool)>,
    /// The witness accepted last; receipts of one witness are neighbours in the stream.
    last: Option<DeviceId>,
}

/// Reads receipts in the order of the stream.
pub struct Receipts<'c, 'a> {
    c: &'c EpochContext<'a, Coverage>,
    beaconer: Option<Beaconer>,
    faults: BTreeMap<DeviceId, Hash>,
}

impl<'c, 'a> Receipts<'c, 'a> {
    /// None read yet.
    pub fn new(c: &'c EpochContext<'a, Coverage>) -> Self {
        Self { c, beaconer: None, faults: BTreeMap::new() }
    }

    /// Devices that signed that they heard themselves, with the least digest of such a receipt.
    pub fn into_faults(self) -> BTreeMap<DeviceId, Hash> {
        self.faults
    }

    /// The witness of a receipt that counts. Cheap checks come before signatures; a second receipt of the same
    /// witness counts for nothing.
    pub fn accept(&mut self, item: &EvidenceItem<Evidence>) -> Option<Witness> {
        let e = &item.evidence;
        if e.epoch != self.c.epoch {
            return None; // Late or early: not for this epoch, and no sign of bad will.
        }
        self.turn_to(&e.beaconer);
        let b = self.beaconer.as_mut()?;
        if e.witness == e.beaconer {
            if witnesses_itself(&self.c.network, &b.entry.key, e) {
                let digest = Hash::derive("cairn/coverage/evidence", &[&encode(e)]);
                self.faults.entry(e.witness).and_modify(|d| *d = digest.min(*d)).or_insert(digest);
            }
            return None;
        }
        let p = &self.c.params;
        let fits = item.from == e.witness
            && b.entry.cell == Some(e.cell)
            && e.payload == b.payload
            && (p.level_min..=p.level_max).contains(&e.level)
            && b.last != Some(e.witness);
        if !fits {
            return None;
        }
        let witness = self.c.registry.device(&e.witness)?;
        let near = witness.cell.and_then(Grid::of)?.distance(b.at) <= p.radius;
        let apart = witness.operator != b.entry.operator
            && !witness.domains.iter().any(|d| b.entry.domains.contains(d));
        if !(near && apart && b.beacon_is_good(self.c, e)) {
            return None;
        }
        witness.key.verify(RECEIPT_DOMAIN, &receipt_bytes(&self.c.network, e), &e.signature).ok()?;
        b.last = Some(e.witness);
        Some(Witness { device: e.witness, operator: witness.operator })
    }

    fn turn_to(&mut self, id: &DeviceId) {
        if self.beaconer.as_ref().is_some_and(|b| b.entry.id == *id) {
            return;
        }
        let entry = self.c.registry.device(id);
        self.beaconer = entry.and_then(|entry| {
            let at = entry.cell.and_then(Grid::of)?;
            Some(Beaconer { at, payload: payload(&self.c.seed, id), beacon: None, last: None, entry })
        });
    }
}

impl Beaconer {
    /// All honest receipts carry the same beacon signature, so it is checked once.
    fn beacon_is_good(&mut self, c: &EpochContext<'_, Coverage>, e: &Evidence) -> bool {
        if let Some((signature, good)) = self.beacon
            && signature == e.beacon
        {
            return good;
        }
        let bytes = beacon_bytes(&c.network, c.epoch, &self.entry.id, &self.payload);
        let good = self.entry.key.verify(BEACON_DOMAIN, &bytes, &e.beacon).is_ok();
        self.beacon = Some((e.beacon, good));
        good
    }
}
