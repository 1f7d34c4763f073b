//! A large field of devices whose evidence is generated while it is read.

use cairn_coverage_rules::*;
use cairn_crypto::{SecretKey, Signature};
use cairn_sector::{Erased, RawItem, RawJudgement, Rules};
use cairn_testkit::world::{Chunks, GeneratedEvidence, World, account_id, device, device_id, device_key};
use cairn_types::{DeviceId, Epoch, Hash, encode};
use std::sync::Arc;

/// Devices in a row of the field.
const WIDTH: u32 = 400;

/// A field of `devices` in rows, each heard by the four that stand beside it (fewer on the border).
pub struct Field {
    world: Arc<World>,
    devices: u32,
    ids: Vec<DeviceId>,
    keys: Vec<SecretKey>,
}

/// What judging a field came to.
#[derive(Debug)]
pub struct Outcome {
    /// The judgement.
    pub judgement: RawJudgement,
    /// Receipts read, over all scans.
    pub receipts: u64,
    /// How often the source was opened.
    pub opened: u64,
}

fn place(n: u32) -> Grid {
    Grid { row: 1 + n / WIDTH, column: 1 + n % WIDTH }
}

impl Field {
    /// Builds registry and keys; no evidence yet.
    pub fn new(devices: u32) -> Self {
        let p = Params { radius: 1, ..Params::default() };
        let mut world = World::new(100, Epoch(0), encode(&p));
        let ids: Vec<DeviceId> = (0..devices).map(|n| device_id(100, u64::from(n))).collect();
        for (n, id) in (0u64..).zip(&ids) {
            let cell = place(u32::try_from(n).unwrap()).cell();
            let offer = Offer { cell, serial: Hash(id.0), site: n };
            let admission = Coverage::admit(&p, &offer).unwrap();
            world.registry.add_device(device(
                Coverage::ID,
                *id,
                account_id(100, n),
                encode(&offer),
                &admission,
            ));
        }
        let keys = ids.iter().map(device_key).collect();
        Self { world: Arc::new(world), devices, ids, keys }
    }

    /// Judges the epoch with the rules as the core calls them.
    pub fn judge(self) -> Outcome {
        let world = self.world.clone();
        let source = GeneratedEvidence::new(self);
        let rules = Erased::<Coverage>::default();
        let judgement = cairn_sector::AnyRules::judge(&rules, &world.context(), &source).unwrap();
        Outcome { judgement, receipts: source.yielded(), opened: source.opened() }
    }

    /// The world without evidence.
    pub fn world(&self) -> &World {
        &self.world
    }

    fn witnesses(&self, n: u32) -> Vec<u32> {
        let column = n % WIDTH;
        let mut out = Vec::new();
        out.extend(n.checked_sub(WIDTH));
        out.extend(n.checked_sub(1).filter(|_| column > 0));
        out.extend(Some(n + 1).filter(|_| column + 1 < WIDTH));
        out.push(n + WIDTH);
        out.retain(|w| *w < self.devices);
        out
    }

    fn receipts(&self, n: u32) -> Vec<RawItem> {
        let at = |i: u32| usize::try_from(i).unwrap();
        let beaconer = self.ids[at(n)];
        let payload = payload(&self.world.seed, &beaconer);
        let air = beacon_bytes(&self.world.network, self.world.epoch, &beaconer, &payload);
        let beacon = self.keys[at(n)].sign(BEACON_DOMAIN, &air);
        let item = |w: u32| {
            let e = Evidence {
                cell: place(n).cell(),
                beaconer,
                witness: self.ids[at(w)],
                epoch: self.world.epoch,
                payload,
                beacon,
                level: -900,
                signature: Signature([0; 64]),
            };
            let e = e.sign(&self.world.network, &self.keys[at(w)]);
            RawItem { key: e.sort_key(), from: e.witness, evidence: encode(&e) }
        };
        self.witnesses(n).into_iter().map(item).collect()
    }
}

impl Chunks for Field {
    fn count(&self) -> u64 {
        u64::from(self.devices.div_ceil(WIDTH))
    }
    fn lower_bound(&self, n: u64) -> Vec<u8> {
        place(u32::try_from(n).unwrap() * WIDTH).cell().0.to_be_bytes().to_vec()
    }
    fn chunk(&self, n: u64) -> Vec<RawItem> {
        let first = u32::try_from(n).unwrap() * WIDTH;
        (first..(first + WIDTH).min(self.devices)).flat_map(|n| self.receipts(n)).collect()
    }
}

/// Peak resident memory of this process in KiB, where the system tells.
pub fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
