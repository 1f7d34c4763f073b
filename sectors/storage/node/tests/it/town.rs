//! Six devices on simulated disks, two leases, one customer, a chain that does what the test says.

use async_trait::async_trait;
use cairn_crypto::keys::SecretKey;
use cairn_net::{Local, Transport};
use cairn_sector::{DeviceEntry, Erased, LeaseEntry, RawJudgement, Registry, Row};
use cairn_storage_codec::segment::{SealedSegment, SegmentId, seal};
use cairn_storage_codec::wire::{
    self, Body, Grant, Head, Held, LogEntry, Note, NoteSecret, RepairPart, Reply, SlotList,
};
use cairn_storage_codec::{Profile, StorageKeys};
use cairn_storage_node::cheats::Cheats;
use cairn_storage_node::client::{CallError, Caller};
use cairn_storage_node::disk::{Disk, SimDisk};
use cairn_storage_node::{ChainView, Duties, Identity, RepairAgent, StorageNode, Store};
use cairn_storage_rules::Storage;
use cairn_storage_rules::prove::OperatorTree;
use cairn_storage_rules::types::{
    CoSigned, Commitment, Fragment, Kind, Offer, Order, Params, Receipt, Revision, Signer,
};
use cairn_testkit::world::{World, account_id, device, device_id, device_key, epoch_seed, lease, lease_key};
use cairn_types::{DeviceId, Epoch, Hash, LeaseId, NetworkId, Rate, SectorId, decode, encode};
use std::sync::{Arc, Mutex};

pub const SECTOR: SectorId = SectorId(1);
pub const DATA: LeaseId = LeaseId([0xD; 32]);
pub const INDEX: LeaseId = LeaseId([0x1; 32]);
pub const CAPACITY: u64 = 64 << 20;

pub struct Chain(pub Mutex<World>);

#[async_trait]
impl ChainView for Chain {
    async fn lease(&self, id: &LeaseId) -> Option<LeaseEntry> {
        self.0.lock().unwrap().registry.lease(id)
    }
    async fn device(&self, id: &DeviceId) -> Option<DeviceEntry> {
        self.0.lock().unwrap().registry.device(id)
    }
    fn epoch(&self) -> Epoch {
        self.0.lock().unwrap().epoch
    }
    fn network(&self) -> NetworkId {
        self.0.lock().unwrap().network
    }
}

pub struct Seat {
    pub disk: SimDisk,
    pub store: Arc<Store>,
    pub node: StorageNode,
    pub duties: Duties,
    pub agent: RepairAgent,
    pub cheats: Arc<Cheats>,
    pub identity: Arc<Identity>,
}

pub struct Town {
    pub net: Local,
    pub chain: Arc<Chain>,
    pub seats: Vec<Seat>,
    pub caller: Caller,
    pub keys: StorageKeys,
    pub params: Params,
    pub profile: Profile,
    pub lists: Vec<SlotList>,
    pub seqs: Vec<u64>,
    pub journal: u64,
}

pub fn params() -> Params {
    // No machine is too slow for an audit.
    Params { min_capacity_chunks: 1, epoch_seconds: 3600, audit_log_ms: 20, ..Params::default() }
}

fn offer() -> Offer {
    Offer {
        capacity_chunks: CAPACITY / 1024,
        at_rest: Rate(1000),
        egress: Rate(1000),
        uplink_kib: 1 << 20,
        class: 0,
        region: 1,
        domains: Vec::new(),
    }
}

fn order(kind: Kind, n: u8) -> Vec<u8> {
    encode(&Order {
        kind,
        k: if n == 3 { 2 } else { 1 },
        n,
        chunks_per_slot: 32 << 10,
        max_per_domain: 0,
        class: 0,
        region: 0,
        max_rate: Rate(2000),
        epochs: 0,
    })
}

impl Town {
    /// Slots 0, 1, 2 of DATA on devices 0, 1, 2; INDEX on 0 and 1; helpers 3 and 4; device 5 is spare.
    pub fn new() -> Self {
        Self::with_journal(1 << 20)
    }

    /// As [`Self::new`]; the journals take this many bytes.
    pub fn with_journal(journal: u64) -> Self {
        let params = params();
        let mut world = World::new(7, Epoch(1), encode(&params));
        let ids: Vec<DeviceId> = (0..6).map(|n| device_id(7, n)).collect();
        for (n, id) in (0u64..).zip(&ids) {
            let admitted = cairn_storage_rules::admit::admit(&params, &offer()).unwrap();
            world.registry.add_device(device(SECTOR, *id, account_id(7, n), encode(&offer()), &admitted));
        }
        for (id, kind, on) in [(DATA, Kind::Data, &ids[..3]), (INDEX, Kind::Index, &ids[..2])] {
            let count = u8::try_from(on.len()).unwrap();
            let mut entry = lease(SECTOR, id, account_id(7, 99), order(kind, count), on);
            entry.reserve = cairn_types::Units::first((32 << 10) * 3600);
            entry.helpers = vec![ids[3], ids[4]];
            world.registry.add_lease(entry);
        }
        let chain = Arc::new(Chain(Mutex::new(world)));
        let net = Local::new();
        let customer = lease_key(&DATA);
        let caller = Caller::new(Arc::new(net.endpoint(customer.public())));
        let mut town = Self {
            net,
            chain,
            seats: Vec::new(),
            caller,
            keys: StorageKeys::from_root(&[9; 32]),
            params,
            profile: Profile::new(2, 3).unwrap(),
            lists: vec![SlotList::new(), SlotList::new(), SlotList::new()],
            seqs: vec![0; 3],
            journal,
        };
        town.seats = ids.iter().map(|id| town.seat(*id, SimDisk::new())).collect();
        town
    }

    fn seat(&self, id: DeviceId, disk: SimDisk) -> Seat {
        let identity = Arc::new(Identity { device: id, key: device_key(&id) });
        let cheats = Arc::new(Cheats::default());
        let store = Store::open_with(Arc::new(disk.clone()) as Arc<dyn Disk>, CAPACITY, self.journal);
        let store = Arc::new(store.unwrap());
        let chain: Arc<dyn ChainView> = self.chain.clone();
        let node = StorageNode::new(
            identity.clone(),
            store.clone(),
            chain.clone(),
            self.params.clone(),
            cheats.clone(),
        );
        let transport: Arc<dyn Transport> = Arc::new(self.net.endpoint(identity.key.public()));
        let agent = RepairAgent::new(identity.clone(), chain.clone(), store.clone(), transport);
        node.set_confirmer(Arc::new(agent.clone()));
        self.net.register(identity.key.public(), Arc::new(node.clone()));
        let duties = Duties::new(identity.clone(), store.clone(), chain, cheats.clone());
        Seat { disk, store, node, duties, agent, cheats, identity }
    }

    /// The power goes and comes back.
    pub fn restart(&mut self, n: usize) {
        let disk = self.seats[n].disk.after_crash();
        self.seats[n] = self.seat(self.seats[n].identity.device, disk);
    }

    /// The power goes, and of what was not synced anything may be left; false if the store does not open again.
    pub fn restart_torn(&mut self, n: usize, seed: u64) -> bool {
        let disk = self.seats[n].disk.after_torn_crash(seed);
        if Store::open_with(Arc::new(disk.clone()) as Arc<dyn Disk>, CAPACITY, self.journal).is_err() {
            return false;
        }
        self.seats[n] = self.seat(self.seats[n].identity.device, disk);
        true
    }

    pub fn id(&self, n: usize) -> DeviceId {
        self.seats[n].identity.device
    }

    pub fn lease_of(&self, lease: LeaseId) -> LeaseEntry {
        self.chain.0.lock().unwrap().registry.lease(&lease).unwrap()
    }

    pub fn head(&self, lease: LeaseId, slot: u16) -> Head {
        let entry = self.lease_of(lease);
        let s = &entry.slots[usize::from(slot)];
        Head {
            network: self.chain.network(),
            lease,
            slot,
            generation: s.generation,
            fence: entry.fence,
            device: s.device,
            expires: self.chain.epoch(),
            nonce: 1,
            signer: Signer::Customer,
        }
    }

    pub async fn send(&self, head: Head, body: &Body, key: &SecretKey) -> Result<Reply, CallError> {
        self.caller.ask(&device_key(&head.device).public(), head, body, None, key).await
    }

    /// A customer's request.
    pub async fn ask(&self, lease: LeaseId, slot: u16, body: Body) -> Result<Reply, CallError> {
        self.send(self.head(lease, slot), &body, &lease_key(&lease)).await
    }

    /// The code of a refusal.
    pub async fn refused(&self, lease: LeaseId, slot: u16, body: Body) -> String {
        code(self.ask(lease, slot, body).await)
    }

    pub fn sealed(&self, id: u8, len: usize) -> SealedSegment {
        let plain: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap() ^ id).collect();
        let devices = self.lease_of(DATA).slots;
        let slots: Vec<(u16, DeviceId)> = (0u16..).zip(devices).map(|(n, s)| (n, s.device)).collect();
        seal(&self.keys, self.profile, SegmentId([id; 32]), &plain, &slots, DATA).unwrap()
    }

    pub fn put_body(sealed: &SealedSegment, slot: usize) -> (Body, Held) {
        let bytes = sealed.fragments[slot].clone();
        let fragment = Fragment { root: sealed.padded_roots[slot], len: u64::try_from(bytes.len()).unwrap() };
        let segment = *sealed.meta.id();
        (Body::Put { segment, fragment, offset: 0, bytes: bytes.into() }, Held { segment, fragment })
    }

    pub fn revision(&self, slot: u16, seq: u64, list: &SlotList) -> Revision {
        let head = self.head(DATA, slot);
        Revision {
            network: head.network,
            lease: DATA,
            slot,
            generation: head.generation,
            device: head.device,
            fence: head.fence,
            seq,
            tree: list.root(),
        }
    }

    /// The next revision of a slot, signed by both.
    pub async fn revise(
        &mut self,
        slot: u16,
        remove: &[SegmentId],
        add: &[Held],
    ) -> Result<CoSigned, CallError> {
        let n = usize::from(slot);
        let mut list = self.lists[n].clone();
        list.apply(remove, add).unwrap();
        let revision = self.revision(slot, self.seqs[n] + 1, &list).sign_as_customer(&lease_key(&DATA));
        let add = add.iter().map(|h| h.segment).collect();
        let reply = self.ask(DATA, slot, Body::Revise { revision, remove: remove.to_vec(), add }).await?;
        let Reply::Revised(signed) = reply else { panic!("{reply:?}") };
        self.lists[n] = list;
        self.seqs[n] += 1;
        Ok(signed)
    }

    /// Stores a segment on all three slots.
    pub async fn store(&mut self, id: u8, len: usize) -> SealedSegment {
        let sealed = self.sealed(id, len);
        for slot in 0..3u16 {
            let (body, held) = Self::put_body(&sealed, usize::from(slot));
            assert_eq!(self.ask(DATA, slot, body).await, Ok(Reply::Put { have: held.fragment.len }));
            self.revise(slot, &[], &[held]).await.unwrap();
        }
        sealed
    }

    pub fn receipt(&self, slot: u16, served_kib: u64) -> Body {
        let head = self.head(DATA, slot);
        let (lease, generation, device) = (DATA, head.generation, head.device);
        Body::Receipt(
            Receipt { network: head.network, lease, slot, generation, device, served_kib }
                .sign(&lease_key(&DATA)),
        )
    }

    /// Leaves the helpers' keys on all data slots and the table in the index log.
    pub async fn publish(&self, sealed: &[&SealedSegment]) {
        let key = self.keys.repair.lease(&DATA);
        let mut note = Note::default();
        for n in [3, 4] {
            let hello = self.caller.hello(&self.seats[n].identity.key.public()).await.unwrap();
            wire::check_box_key(&hello, &self.seats[n].identity.key.public()).unwrap();
            let grant = Grant::new(self.chain.network(), INDEX, hello.device, &lease_key(&INDEX));
            let secret = NoteSecret { lease: DATA, repair_key: *key.expose(), index: INDEX, grant };
            note.add(hello.device, &hello.box_key, &secret, &[u8::try_from(n).unwrap(); 32]).unwrap();
        }
        for slot in 0..3 {
            self.ask(DATA, slot, Body::NotePut(note.clone())).await.unwrap();
        }
        let added = sealed.iter().map(|s| s.meta.clone()).collect();
        let part = RepairPart { lease: DATA, reset: true, added, removed: Vec::new() };
        let entry = LogEntry {
            checkpoint: None,
            repair: vec![wire::seal_part(&key, 0, &part).unwrap()],
            private: vec![1],
        };
        for slot in 0..2 {
            let body = Body::LogAppend { seq: 0, prev: Hash::default(), entries: vec![entry.clone()] };
            self.ask(INDEX, slot, body).await.unwrap();
        }
    }

    /// Commitments of all devices go on chain and are locked.
    pub async fn commit(&self) {
        let epoch = self.chain.epoch();
        for seat in &self.seats {
            let commitment = seat.duties.commitment(epoch).await.unwrap();
            let mut world = self.chain.0.lock().unwrap();
            let entry = world.registry.devices.get_mut(&seat.identity.device).unwrap();
            (entry.commitment, entry.answers) = (Some(encode(&commitment.unwrap_or_else(nothing))), None);
        }
    }

    /// Answers and bundles of all devices; judges, takes the memory over, goes to the next epoch.
    pub async fn judge(&self) -> Vec<Row> {
        let epoch = self.chain.epoch();
        let seed = epoch_seed(7, epoch);
        for seat in &self.seats {
            let id = seat.identity.device;
            let on_chain: Option<Commitment> =
                self.chain.device(&id).await.unwrap().commitment.map(|c| decode(&c).unwrap());
            let answers =
                on_chain.and_then(|c| seat.duties.answers(epoch, seed, &self.params, &c, true).unwrap());
            let mut world = self.chain.0.lock().unwrap();
            world.registry.devices.get_mut(&id).unwrap().answers = answers.map(|(_, digest)| digest);
            let items = seat.duties.bundle_items(epoch).unwrap();
            world.evidence.extend(items.iter().map(|e| (id, encode(e))));
        }
        let judged: RawJudgement = {
            let mut world = self.chain.0.lock().unwrap();
            assert_eq!(world.seed, seed);
            let judged = world.judge(&Erased::<Storage>::default()).unwrap();
            world.memory.apply(&judged.memory);
            world.evidence.clear();
            world.epoch = epoch.plus(1);
            world.seed = epoch_seed(7, world.epoch);
            judged
        };
        for seat in &self.seats {
            seat.duties.settled(epoch).await.unwrap();
        }
        judged.rows
    }

    pub async fn epoch(&self) -> Vec<Row> {
        self.commit().await;
        self.judge().await
    }

    /// Notes of the rows for a device.
    pub fn notes(&self, rows: &[Row], n: usize) -> Vec<u16> {
        rows.iter().filter(|r| r.payee == self.id(n)).map(|r| r.note).collect()
    }

    /// The chain gives slot `slot` of DATA to device `to`.
    pub fn reassign(&self, slot: u16, to: usize) {
        self.reassign_of(DATA, slot, to);
    }

    /// The chain gives slot `slot` of a lease to device `to`.
    pub fn reassign_of(&self, lease: LeaseId, slot: u16, to: usize) {
        let id = self.id(to);
        let mut world = self.chain.0.lock().unwrap();
        let epoch = world.epoch;
        let s = &mut world.registry.leases.get_mut(&lease).unwrap().slots[usize::from(slot)];
        (s.lost_by, s.device, s.generation, s.since) = (Some(s.device), id, s.generation + 1, epoch);
    }
}

/// What a device posts that has slots and holds nothing.
fn nothing() -> Commitment {
    OperatorTree::build([]).unwrap().commitment()
}

pub fn code(reply: Result<Reply, CallError>) -> String {
    match reply {
        Err(CallError::Refused(e)) => e.code,
        other => panic!("{other:?}"),
    }
}
