//! What the memory says of a device: is it seen by strangers, or only by its own circle?

use cairn_sector::EpochContext;
use cairn_types::{AccountId, DeviceId};
use std::collections::{BTreeMap, BTreeSet};

use crate::{Coverage, Sightings, memory_key};

/// Standing of a device by the memory before the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Seen by strangers, or too new to tell.
    Open,
    /// A long history, and only one operator ever saw it.
    OneNeighbour,
    /// A long history in a small group whose members were never seen by anybody outside.
    ClosedGroup,
}

/// Standings, each worked out once per epoch.
pub struct Standings<'c, 'a> {
    c: &'c EpochContext<'a, Coverage>,
    known: BTreeMap<DeviceId, Standing>,
}

impl<'c, 'a> Standings<'c, 'a> {
    /// None worked out yet.
    pub fn new(c: &'c EpochContext<'a, Coverage>) -> Self {
        Self { c, known: BTreeMap::new() }
    }

    /// Standing of any device.
    pub fn of(&mut self, device: &DeviceId) -> Standing {
        if let Some(standing) = self.known.get(device) {
            return *standing;
        }
        let sightings = self.sightings(device);
        self.judge(device, &sightings)
    }

    /// Standing of a device whose memory is at hand.
    pub fn judge(&mut self, device: &DeviceId, own: &Sightings) -> Standing {
        let standing = self.work_out(device, own);
        self.known.insert(*device, standing);
        standing
    }

    fn sightings(&self, device: &DeviceId) -> Sightings {
        let cell = self.c.registry.device(device).and_then(|d| d.cell);
        cell.and_then(|cell| self.c.memory.get(&memory_key(cell, device))).unwrap_or_default()
    }

    fn work_out(&self, device: &DeviceId, own: &Sightings) -> Standing {
        let p = &self.c.params;
        if own.covered < u16::from(p.mature) || own.seen.len() >= Sightings::MAX {
            return Standing::Open;
        }
        let mut group: BTreeSet<DeviceId> = own.seen.iter().map(|s| s.witness).collect();
        let operator = |d: &DeviceId| self.c.registry.device(d).map(|d| d.operator);
        if group.len() <= usize::from(p.group_max) {
            let operators: BTreeSet<AccountId> = group.iter().filter_map(operator).collect();
            group.insert(*device);
            let inside = |d: &DeviceId| self.sightings(d).seen.iter().all(|s| group.contains(&s.witness));
            if group.len() <= usize::from(p.group_max) && group.iter().all(inside) {
                return Standing::ClosedGroup;
            }
            if operators.len() <= 1 {
                return Standing::OneNeighbour;
            }
        }
        Standing::Open
    }
}
