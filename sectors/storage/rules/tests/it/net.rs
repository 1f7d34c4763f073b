//! An honest storage network, a pure function of (shape, seed, epoch, memory).

use cairn_crypto::merkle::chunk::{ChunkProof, Outboard, group_range, prove_chunk};
use cairn_crypto::merkle::sum::{SumProof, SumTree};
use cairn_sector::{Audit, Erased, RawJudgement, RawMemory, Registry, Row, Rules};
use cairn_storage_rules::prove::{
    ChunkReader, Exam, OperatorTree, answer, answers_digest, locate_fragment, slot_tree,
};
use cairn_storage_rules::types::*;
use cairn_storage_rules::{Storage, audit};
use cairn_testkit::world::{self, MapMemory, World, account_id, device_id, device_key, lease_key};
use cairn_types::{DeviceId, DutyId, Epoch, Hash, LeaseId, Rate, encode};
use std::collections::{BTreeMap, BTreeSet};

pub type SlotId = (LeaseId, u16);

/// Size of a network.
#[derive(Clone, Copy)]
pub struct Shape {
    pub devices: u64,
    pub leases: u64,
    pub slots: u16,
    pub fragments: u64,
    /// Bytes of a fragment, about.
    pub len: usize,
    pub floor: u32,
    pub suspect_factor: u32,
}

pub const USUAL: Shape =
    Shape { devices: 6, leases: 3, slots: 4, fragments: 2, len: 30_000, floor: 20, suspect_factor: 16 };
/// Chunks reserved on each slot.
pub const RESERVE: u64 = 512;
/// KiB served on each slot and epoch.
pub const SERVED_EACH: u64 = 10;

pub fn lease_id(seed: u64, n: u64) -> LeaseId {
    LeaseId::derive("test/lease", &[&seed.to_le_bytes(), &n.to_le_bytes()])
}

pub fn params(shape: &Shape) -> Params {
    Params { floor: shape.floor, suspect_factor: shape.suspect_factor, ..Params::default() }
}

pub fn offer() -> Offer {
    Offer {
        capacity_chunks: 1 << 14,
        at_rest: Rate(592),
        egress: Rate(7_000_000_000),
        uplink_kib: 1000,
        class: 1,
        region: 1,
        domains: vec![Hash([1; 32])],
    }
}

pub fn order(slots: u16) -> Order {
    Order {
        kind: Kind::Data,
        k: 1,
        n: u8::try_from(slots).unwrap(),
        chunks_per_slot: RESERVE,
        max_per_domain: 0,
        class: 1,
        region: 0,
        max_rate: Rate(1000),
        epochs: 0,
    }
}

/// Devices, two agents without slots, leases; nothing proven yet.
pub fn empty(shape: &Shape, seed: u64, epoch: Epoch, memory: MapMemory) -> World {
    let p = params(shape);
    let mut w = World::new(seed, epoch, encode(&p));
    w.memory = memory;
    for n in 0..shape.devices + 2 {
        let account = account_id(seed, n);
        let offer = Offer { domains: vec![Hash::derive("site", &[&n.to_le_bytes()])], ..offer() };
        let admission = Storage::admit(&p, &offer).unwrap();
        w.registry.add_device(world::device(
            Storage::ID,
            device_id(seed, n),
            account,
            encode(&offer),
            &admission,
        ));
    }
    for n in 0..shape.leases {
        let on: Vec<_> =
            (0..u64::from(shape.slots)).map(|s| device_id(seed, (n * 2 + s) % shape.devices)).collect();
        let mut lease = world::lease(
            Storage::ID,
            lease_id(seed, n),
            account_id(seed, 1000 + n),
            encode(&order(shape.slots)),
            &on,
        );
        lease.helpers = agents(shape, seed).to_vec();
        w.registry.add_lease(lease);
    }
    w
}

pub fn agents(shape: &Shape, seed: u64) -> [DeviceId; 2] {
    [device_id(seed, shape.devices), device_id(seed, shape.devices + 1)]
}

/// An epoch in which everybody is honest.
pub fn honest(shape: &Shape, seed: u64, epoch: Epoch, memory: MapMemory) -> World {
    let mut w = empty(shape, seed, epoch, memory);
    for n in 0..shape.devices {
        let device = device_id(seed, n);
        let disk = Disk::of(shape, &w, &device, epoch);
        disk.act(&mut w);
    }
    for a in drawn(&w) {
        report(&mut w, a, Seen::Served { log_ms: 9 });
    }
    w
}

/// The audits of the epoch.
pub fn drawn(w: &World) -> Vec<Audit> {
    let p: Params = cairn_types::decode(&w.params).unwrap();
    let devices: Vec<_> = w.registry.devices.values().cloned().collect();
    audit::audits(&p, &w.seed, &devices)
}

pub fn report(w: &mut World, a: Audit, seen: Seen) {
    submit(w, &a.auditor, &Evidence::Audited(Audited { epoch: w.epoch, device: a.device, seen }));
}

/// Replaces what an auditor reports about a device.
pub fn report_instead(w: &mut World, a: Audit, seen: Seen) {
    let about = |e: &Evidence| matches!(e, Evidence::Audited(r) if r.device == a.device);
    w.evidence.retain(|(d, b)| *d != a.auditor || !cairn_types::decode(b).is_ok_and(|e| about(&e)));
    report(w, a, seen);
}

/// How a device served its auditors, as the memory has it.
pub fn retrieval(memory: &MapMemory, device: &DeviceId) -> Option<Retrieval> {
    match cairn_types::decode(&memory.get(&retrieval_key(device))?).unwrap() {
        Memory::Retrieval(r) => Some(r),
        other => panic!("{other:?}"),
    }
}

/// What one slot holds.
#[derive(Clone)]
pub struct Held {
    pub revision: Revision,
    pub data: Vec<(Vec<u8>, Outboard)>,
    pub fragments: Vec<Fragment>,
    pub tree: SumTree,
}

impl Held {
    pub fn new(revision: Revision, bytes: Vec<Vec<u8>>) -> Self {
        let data: Vec<_> =
            bytes.into_iter().map(|b| (Outboard::of(&b).unwrap(), b)).map(|(o, b)| (b, o)).collect();
        let fragments: Vec<_> =
            data.iter().map(|(_, o)| Fragment { root: o.root(), len: o.fragment_len() }).collect();
        let tree = slot_tree(&fragments).unwrap();
        Self { revision: Revision { tree: tree.root(), ..revision }, data, fragments, tree }
    }
    pub fn signed(&self) -> CoSigned {
        self.revision
            .sign_as_customer(&lease_key(&self.revision.lease))
            .accept(&device_key(&self.revision.device))
    }
}

/// Fragment `i` of a slot: the pad makes it differ by device and generation.
pub fn bytes(shape: &Shape, r: &Revision, i: u64) -> Vec<u8> {
    let name = encode(&(r.lease, r.slot, r.generation, r.device, i));
    let mut xof = blake3::Hasher::new().update(&name).finalize_xof();
    let mut out = vec![0; shape.len + usize::try_from(i).unwrap() * 700];
    xof.fill(&mut out);
    out
}

/// What an operator has on disk.
#[derive(Clone)]
pub struct Disk {
    pub device: DeviceId,
    pub slots: BTreeMap<SlotId, Held>,
    /// Chunks that are gone: (fragment root, chunk).
    pub lost: BTreeSet<(Hash, u64)>,
}

/// The revision of a slot that an honest customer has signed by this epoch: grows every second epoch.
pub fn held(shape: &Shape, w: &World, device: &DeviceId, id: SlotId, generation: u32, epoch: Epoch) -> Held {
    let version = epoch.0 / 2;
    let r = Revision {
        network: w.network,
        lease: id.0,
        slot: id.1,
        generation,
        device: *device,
        fence: 0,
        seq: version + 1,
        tree: Default::default(),
    };
    Held::new(r, (0..shape.fragments + version.min(3)).map(|i| bytes(shape, &r, i)).collect())
}

impl Disk {
    pub fn of(shape: &Shape, w: &World, device: &DeviceId, epoch: Epoch) -> Self {
        let mut slots = BTreeMap::new();
        for (lease, numbers) in w.registry.leases_of(device) {
            for n in numbers {
                let id = (lease.id, n);
                let generation = lease.slots[usize::from(n)].generation;
                slots.insert(id, held(shape, w, device, id, generation, epoch));
            }
        }
        Self { device: *device, slots, lost: BTreeSet::new() }
    }

    pub fn tree(&self) -> OperatorTree {
        OperatorTree::build(self.slots.values().map(|h| h.revision)).unwrap()
    }

    /// Loses every chunk of the operator tree for which `gone(position)`.
    pub fn lose(&mut self, gone: impl Fn(u64) -> bool) {
        let tree = self.tree();
        for position in (0..tree.total()).filter(|p| gone(*p)) {
            let (r, proof) = tree.locate(position).unwrap();
            let held = &self.slots[&(r.lease, r.slot)];
            let (f, p) = locate_fragment(&held.fragments, &held.tree, proof.offset_in_leaf).unwrap();
            self.lost.insert((f.root, p.offset_in_leaf));
        }
    }

    pub fn answers(&self, w: &World, suspect: bool) -> Option<Vec<Answer>> {
        let p: Params = cairn_types::decode(&w.params).unwrap();
        let entry = w.registry.device(&self.device)?;
        let commitment: Commitment = cairn_types::decode(entry.commitment.as_ref()?).unwrap();
        let exam = Exam {
            network: w.network,
            device: self.device,
            epoch: w.epoch,
            seed: w.seed,
            params: &p,
            commitment: commitment.tree,
            suspect,
        };
        answer(&exam, &self.tree(), self)
    }

    /// Commits, answers, submits.
    pub fn act(&self, w: &mut World) {
        commit(w, &self.device, self.tree().commitment());
        self.submit_revisions(w);
        self.submit_receipts(w);
        if let Some(answers) = self.answers(w, suspect(w, &self.device)) {
            post(w, &self.device, answers);
        }
    }

    /// Revisions that the memory does not have yet.
    pub fn submit_revisions(&self, w: &mut World) {
        for (id, held) in &self.slots {
            let known = standing(&w.memory, &self.device, *id);
            if known.is_none_or(|s| s.order() < held.revision.order()) {
                submit(w, &self.device, &Evidence::Revision(held.signed()));
            }
        }
    }

    pub fn submit_receipts(&self, w: &mut World) {
        for held in self.slots.values() {
            let r = receipt(w, &held.revision, (w.epoch.0 + 1) * SERVED_EACH);
            submit(w, &self.device, &Evidence::Receipt(r.sign(&lease_key(&r.lease))));
        }
    }
}

pub fn receipt(w: &World, r: &Revision, served_kib: u64) -> Receipt {
    Receipt {
        network: w.network,
        lease: r.lease,
        slot: r.slot,
        generation: r.generation,
        device: r.device,
        served_kib,
    }
}

pub fn standing(memory: &MapMemory, device: &DeviceId, id: SlotId) -> Option<Standing> {
    match cairn_types::decode(&memory.get(&slot_key(device, &id.0, id.1))?).unwrap() {
        Memory::Slot(s) => Some(s),
        Memory::Device(_) | Memory::Retrieval(_) => None,
    }
}

pub fn record(memory: &MapMemory, device: &DeviceId) -> DeviceRecord {
    match memory.get(&device_key_of(device)).map(|b| cairn_types::decode(&b).unwrap()) {
        Some(Memory::Device(r)) => r,
        _ => DeviceRecord::default(),
    }
}

fn device_key_of(device: &DeviceId) -> Vec<u8> {
    cairn_storage_rules::types::device_key(device)
}

pub fn suspect(w: &World, device: &DeviceId) -> bool {
    record(&w.memory, device).suspect
}

pub fn commit(w: &mut World, device: &DeviceId, c: Commitment) {
    w.registry.devices.get_mut(device).unwrap().commitment = Some(encode(&c));
}

pub fn submit(w: &mut World, from: &DeviceId, e: &Evidence) {
    w.evidence.push((*from, encode(e)));
}

/// Replaces a device's answers and posts their digest.
pub fn post(w: &mut World, device: &DeviceId, answers: Vec<Answer>) {
    w.evidence.retain(|(d, b)| d != device || !matches!(cairn_types::decode(b), Ok(Evidence::Answer(_))));
    w.registry.devices.get_mut(device).unwrap().answers = Some(answers_digest(&answers));
    for a in answers {
        submit(w, device, &Evidence::Answer(a));
    }
}

impl ChunkReader for Disk {
    fn fragment(&self, r: &Revision, position: u64) -> Option<(Fragment, SumProof)> {
        let held = self.slots.get(&(r.lease, r.slot)).filter(|h| h.revision == *r)?;
        locate_fragment(&held.fragments, &held.tree, position)
    }
    fn chunk(&self, r: &Revision, fragment: &Fragment, index: u64) -> Option<ChunkProof> {
        if self.lost.contains(&(fragment.root, index)) {
            return None;
        }
        let held = self.slots.get(&(r.lease, r.slot))?;
        let n = held.fragments.iter().position(|f| f == fragment)?;
        let (data, outboard) = &held.data[n];
        let range = group_range(fragment.len, index).ok()?;
        let group = &data[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        prove_chunk(outboard, index, group).ok()
    }
}

pub fn judge(w: &World) -> RawJudgement {
    w.judge(&Erased::<Storage>::default()).unwrap()
}

/// Judges and keeps the memory.
pub fn settle(w: &World, memory: &mut MapMemory) -> RawJudgement {
    let j = judge(w);
    memory.apply(&j.memory);
    j
}

pub fn rows_of<'a>(j: &'a RawJudgement, device: &DeviceId) -> Vec<&'a Row> {
    j.rows.iter().filter(|r| r.payee == *device).collect()
}

pub fn row(j: &RawJudgement, device: &DeviceId, id: SlotId) -> Row {
    let duty = Some(DutyId::Lease { lease: id.0, slot: id.1 });
    j.rows.iter().find(|r| r.payee == *device && r.duty == duty).unwrap().clone()
}
