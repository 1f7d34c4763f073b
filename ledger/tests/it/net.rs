//! A network in memory: blocks executed one by one, every invariant checked after each.

use crate::toy::Toy;
use cairn_crypto::authority::Authority;
use cairn_crypto::bls::BlsSecret;
use cairn_crypto::keys::SecretKey;
use cairn_crypto::lthash::LtHash;
use cairn_ledger::events::Event;
use cairn_ledger::executor::{BlockDone, BlockRun, Mode, Progress, Receipt, check_stateless};
use cairn_ledger::genesis::{Genesis, GenesisSeat, GenesisSector};
use cairn_ledger::settle::{Inputs, Settled, settle};
use cairn_ledger::state::{Key, Table, Writes, key_of, open_entry};
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_ledger::{invariants, registry};
use cairn_sector::{
    DeviceEntry, LeaseEntry, RawEvidence, RawItem, RawMemory, Registry, Rules, SaleEntry, Sectors, SortKey,
};
use cairn_types::*;
use std::collections::BTreeMap;

pub const EPOCH: u64 = 12;
pub const CRN: u128 = 1_000_000_000;

pub fn key(n: u64) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_seed(&seed)
}

pub fn account(n: u64) -> AccountId {
    Authority::Single(key(n).public()).account_id()
}

pub fn params() -> ChainParams {
    ChainParams {
        epoch_blocks: EPOCH,
        epoch_seconds: 10,
        answer_blocks: 4,
        cut_blocks: 2,
        certify_blocks: 4,
        vote_blocks: 8,
        window_epochs: 2,
        exit_epochs: 2,
        unpaid_epochs: 6,
        dispute_blocks: 6,
        ..ChainParams::default()
    }
}

pub fn genesis(accounts: u64) -> Genesis {
    let vote = BlsSecret::from_seed(&[9; 32]);
    Genesis {
        name: "test".into(),
        hrp: "cairn".into(),
        fork: 0,
        params: params(),
        price: Price(1_000 * PPM),
        allocations: (0..accounts).map(|n| (account(n), Amount(1_000_000 * CRN))).collect(),
        credits: vec![],
        seats: vec![GenesisSeat {
            account: account(0),
            key: key(1000).public(),
            vote: vote.public(),
            consensus: [1; 96],
            possession: vote.pop_prove(),
        }],
        sectors: vec![GenesisSector {
            id: Toy::ID,
            version: 1,
            params: encode(&0u64),
            pool_rates: [Rate(1_000_000_000_000), Rate(0), Rate(0), Rate(0)],
            pool_limit: Amount(CRN),
            bond_rates: [Rate(1_000_000_000_000), Rate(0), Rate(0), Rate(0)],
        }],
    }
}

pub struct Net {
    pub sectors: Sectors,
    pub rows: BTreeMap<Key, Vec<u8>>,
    pub genesis: Genesis,
    pub height: u64,
    pub receipts: Vec<Receipt>,
    pub events: Vec<Event>,
    pub dropped: Vec<(Hash, Refusal)>,
    pub memory: Map,
    pub tally: Map,
    pub digests: (LtHash, LtHash),
    pub first: Option<Writes>,
    /// Escrows as the latest lock froze them.
    pub locked: BTreeMap<LeaseId, Credits>,
    /// What happened, for the model in Python.
    pub tape: Option<Vec<String>>,
}

#[derive(Clone, Default)]
pub struct Map(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl RawMemory for Map {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }
    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let p = prefix.to_vec();
        Box::new(self.0.iter().filter(move |(k, _)| k.starts_with(&p)).map(|(k, v)| (k.clone(), v.clone())))
    }
}

pub struct Snapshot {
    pub devices: BTreeMap<DeviceId, DeviceEntry>,
    pub leases: BTreeMap<LeaseId, LeaseEntry>,
    pub sales: Vec<SaleEntry>,
}

impl Registry for Snapshot {
    fn device(&self, id: &DeviceId) -> Option<DeviceEntry> {
        self.devices.get(id).cloned()
    }
    fn devices(&self) -> Box<dyn Iterator<Item = DeviceEntry> + '_> {
        Box::new(self.devices.values().cloned())
    }
    fn lease(&self, id: &LeaseId) -> Option<LeaseEntry> {
        self.leases.get(id).cloned()
    }
    fn leases(&self) -> Box<dyn Iterator<Item = LeaseEntry> + '_> {
        Box::new(self.leases.values().cloned())
    }
    fn leases_of(&self, device: &DeviceId) -> Vec<(LeaseEntry, Vec<u16>)> {
        let slots = |l: &LeaseEntry| {
            (0u16..).zip(&l.slots).filter(|(_, s)| s.device == *device).map(|x| x.0).collect()
        };
        self.leases
            .values()
            .map(|l| (l.clone(), slots(l)))
            .filter(|x: &(_, Vec<u16>)| !x.1.is_empty())
            .collect()
    }
    fn sales(&self) -> Vec<SaleEntry> {
        self.sales.clone()
    }
}

pub struct Items(pub Vec<(DeviceId, Vec<u8>)>);

impl RawEvidence for Items {
    fn scan(&self, from: &[u8], until: Option<&[u8]>) -> Box<dyn Iterator<Item = RawItem> + '_> {
        let (from, until) = (from.to_vec(), until.map(<[u8]>::to_vec));
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|(d, e)| RawItem { key: SortKey::new(d.as_ref().to_vec()), from: *d, evidence: e.clone() })
            .filter(|i| {
                i.key.as_bytes() >= &from[..] && until.as_ref().is_none_or(|u| i.key.as_bytes() < &u[..])
            })
            .collect();
        all.sort_by(|a, b| (&a.key, &a.from, &a.evidence).cmp(&(&b.key, &b.from, &b.evidence)));
        Box::new(all.into_iter())
    }
}

impl Net {
    pub fn new(accounts: u64) -> Self {
        Self::with(genesis(accounts))
    }

    pub fn with(genesis: Genesis) -> Self {
        let sectors = Sectors::new().with::<Toy>();
        let first = Some(genesis.rows(&sectors).expect("valid genesis"));
        Self {
            sectors,
            rows: BTreeMap::new(),
            genesis,
            height: 0,
            receipts: vec![],
            events: vec![],
            dropped: vec![],
            memory: Map::default(),
            tally: Map::default(),
            digests: (LtHash::new(), LtHash::new()),
            first,
            locked: BTreeMap::new(),
            tape: None,
        }
    }

    fn execute(&self, mode: Mode, txs: &[Tx], ahead: bool) -> Result<Box<BlockDone>, Refusal> {
        self.rounds(mode, txs, ahead).map(|x| x.0)
    }

    /// The block, and how often it had to ask for rows.
    pub fn rounds(&self, mode: Mode, txs: &[Tx], ahead: bool) -> Result<(Box<BlockDone>, usize), Refusal> {
        let mut rounds = 0;
        let mut run = BlockRun::new(
            self.sectors.clone(),
            Height(self.height + 1),
            account(0),
            mode,
            1 << 20,
            txs.to_vec(),
            self.first.clone(),
        );
        if ahead {
            run.supply(
                run.first_need().into_iter().map(|k| (k, self.rows.get(&k).cloned())).collect::<Vec<_>>(),
            );
        }
        loop {
            match run.step() {
                Progress::Need(keys) => {
                    rounds += 1;
                    run.supply(keys.into_iter().map(|k| (k, self.rows.get(&k).cloned())));
                }
                Progress::Done(done) => return Ok((done, rounds)),
                Progress::Invalid(r) => return Err(r),
            }
        }
    }

    /// A block: built, then checked the way a validator would, with rows fetched one by one; both agree.
    pub fn block(&mut self, txs: Vec<Tx>) -> Vec<Receipt> {
        let network = self.genesis.network();
        let txs: Vec<Tx> = txs.into_iter().filter(|t| check_stateless(t, network, 0).is_ok()).collect();
        let built = self.execute(Mode::Build, &txs, true).expect("building never fails");
        let checked = self.execute(Mode::Check, &built.txs, false).expect("a built block is valid");
        assert_eq!(built.writes, checked.writes, "builder and checker agree");
        assert_eq!(built.receipts, checked.receipts);
        // The lock comes before everything else that an epoch's first block does.
        let starts = self.height.is_multiple_of(self.genesis.params.epoch_blocks);
        if starts {
            self.locked = self.deposits();
        }
        for (k, v) in &built.writes {
            match v {
                Some(v) => drop(self.rows.insert(*k, v.clone())),
                None => drop(self.rows.remove(k)),
            }
        }
        self.first = None;
        self.height += 1;
        invariants::check(&self.rows).expect("invariants hold after every block");
        if self.tape.is_some() {
            let line = crate::model::block_line(self, &txs, &built);
            self.tape.get_or_insert_default().push(line);
        }
        self.events.extend(built.events);
        self.dropped.extend(built.dropped);
        self.receipts.extend(built.receipts.clone());
        built.receipts
    }

    /// One transaction, one block; its refusal code if it was refused.
    pub fn one(&mut self, tx: Tx) -> Result<Receipt, String> {
        let before = self.dropped.len();
        let receipts = self.block(vec![tx]);
        match (receipts.first(), self.dropped.get(before)) {
            (Some(r), _) => match &r.refused {
                None => Ok(r.clone()),
                Some(x) => Err(x.0.clone()),
            },
            (None, Some(d)) => Err(d.1.code.to_owned()),
            (None, None) => Err("stateless".into()),
        }
    }

    pub fn get<T: Table>(&self, key: &T::Key) -> Option<T::Row> {
        self.rows.get(&key_of::<T>(key)).and_then(|b| open_entry::<T>(b)).map(|x| x.1)
    }

    pub fn chain(&self) -> ChainRow {
        self.get::<Chain>(&()).expect("genesis is there")
    }

    pub fn money(&self) -> MoneyRow {
        self.get::<Money>(&()).expect("genesis is there")
    }

    pub fn tx(&self, n: u64, action: Action) -> Tx {
        let nonce = self.get::<Accounts>(&account(n)).map(|a| a.nonce).unwrap_or(0);
        self.tx_at(n, nonce, action)
    }

    pub fn tx_at(&self, n: u64, nonce: u64, action: Action) -> Tx {
        let tx = AccountTx {
            network: self.genesis.network(),
            fork: 0,
            authority: Authority::Single(key(n).public()),
            nonce,
            valid_until: Height(self.height + 100),
            tip: Amount(0),
            action,
        };
        Tx::by_account(tx, &key(n))
    }

    pub fn act(&mut self, n: u64, action: Action) -> Result<Receipt, String> {
        self.one(self.tx(n, action))
    }

    pub fn duty(&self, device: DeviceId, n: u64, duty: Duty) -> Tx {
        Tx::by_device(DeviceTx { network: self.genesis.network(), fork: 0, device, duty }, &key(n))
    }

    pub fn seat(&self, duty: SeatDuty) -> Tx {
        Tx::by_seat(SeatTx { network: self.genesis.network(), fork: 0, seat: 0, duty }, &key(1000))
    }

    /// Account `n` becomes an operator with one device whose key is `key(n)`.
    pub fn device(&mut self, n: u64, offer: Vec<u8>, bond: Amount) -> Result<DeviceId, String> {
        if self.get::<Operators>(&account(n)).is_none() {
            self.act(n, Action::Operator { info: format!("operator {n}") })?;
        }
        let count = self.get::<Operators>(&account(n)).expect("just made").devices;
        let proof = key(n).sign(DEVICE_PROOF_DOMAIN, &device_proof(&self.genesis.network(), &account(n)));
        self.act(n, Action::Register { sector: Toy::ID, key: key(n).public(), proof, offer, bond })?;
        Ok(DeviceId::derive("cairn/device", &[account(n).as_ref(), &count.to_le_bytes()]))
    }

    pub fn order(&mut self, n: u64, order: Vec<u8>, escrow: u64) -> Result<LeaseId, String> {
        let nonce = self.get::<Accounts>(&account(n)).map(|a| a.nonce).unwrap_or(0);
        self.act(
            n,
            Action::Order {
                sector: Toy::ID,
                order,
                key: key(n + 500).public(),
                escrow: Credits(escrow),
                note: Hash::default(),
            },
        )?;
        Ok(LeaseId::derive("cairn/lease", &[account(n).as_ref(), &nonce.to_le_bytes()]))
    }

    pub fn lease(&self, id: &LeaseId) -> LeaseRow {
        self.get::<Leases>(id).expect("the lease exists")
    }

    /// Empty blocks until the first block of the next epoch has run.
    pub fn next_epoch(&mut self) -> Epoch {
        if self.height == 0 {
            self.block(vec![]);
        }
        let now = self.chain().epoch;
        while self.chain().epoch == now {
            self.block(vec![]);
        }
        self.chain().epoch
    }

    pub fn seed(&mut self) {
        let epoch = self.chain().epoch;
        let row = self.get::<Epochs>(&epoch).expect("locked");
        let signature = BlsSecret::from_seed(&[9; 32])
            .sign(SEED_DOMAIN, &seed_message(&self.genesis.network(), epoch, &row.previous));
        let tx = self.seat(SeatDuty::Seed { epoch, signature });
        self.one(tx).expect("seed");
    }

    fn deposits(&self) -> BTreeMap<LeaseId, Credits> {
        let rows = self.rows.iter().filter(|(k, _)| k[0] == Leases::TAG);
        rows.map(|(_, v)| open_entry::<Leases>(v).expect("decodes"))
            .map(|(id, row)| (id, row.entry.deposited))
            .collect()
    }

    pub fn snapshot(&self, epoch: Epoch) -> Snapshot {
        let all = |tag: u8| self.rows.iter().filter(move |(k, _)| k[0] == tag).map(|(_, v)| v.clone());
        let mut devices = BTreeMap::new();
        for v in all(Devices::TAG) {
            let (id, row) = open_entry::<Devices>(&v).expect("decodes");
            let mut e = registry::device_entry(&id, &row);
            let p = self.get::<Postings>(&(epoch, id)).unwrap_or_default();
            (e.commitment, e.answers) = (p.commitment, p.answers);
            devices.insert(id, e);
        }
        let mut leases = BTreeMap::new();
        for v in all(Leases::TAG) {
            let (id, row) = open_entry::<Leases>(&v).expect("decodes");
            if row.refunded.is_none() {
                let deposited = self.locked.get(&id).copied().unwrap_or(row.entry.deposited);
                leases.insert(id, LeaseEntry { deposited, ..row.entry });
            }
        }
        let mut sales: Vec<SaleEntry> =
            all(Sales::TAG).map(|v| open_entry::<Sales>(&v).expect("decodes").1).collect();
        sales.sort_by_key(|s| s.id);
        Snapshot { devices, leases, sales }
    }

    /// Runs a whole epoch: the devices given (with their keys) commit, then send their evidence; the seat settles.
    /// Starts and ends in the first blocks of an epoch.
    pub fn epoch(&mut self, work: &[(DeviceId, u64, Vec<Vec<u8>>)]) -> Settled {
        self.epoch_with(work, |_, _| ())
    }

    /// The same, with something between the reveal and the outcomes.
    pub fn epoch_with(
        &mut self,
        work: &[(DeviceId, u64, Vec<Vec<u8>>)],
        between: impl FnOnce(&mut Self, &Settled),
    ) -> Settled {
        let next = self.chain().epoch.plus(1);
        let commits = work
            .iter()
            .map(|(d, n, _)| self.duty(*d, *n, Duty::Commit { epoch: next, commitment: encode(&0u64) }))
            .collect();
        self.block(commits);
        let epoch = self.next_epoch();
        let snapshot = self.snapshot(epoch);
        self.seed();
        self.next_epoch();
        let bundles = work
            .iter()
            .map(|(d, n, items)| {
                let hash = Hash::derive("bundle", &[&encode(items)]);
                self.duty(*d, *n, Duty::Bundle { epoch, hash, size: 1 })
            })
            .collect();
        self.block(bundles);
        let mut devices: Vec<DeviceId> = work.iter().map(|w| w.0).collect();
        devices.sort();
        devices.dedup();
        if !devices.is_empty() {
            self.one(self.seat(SeatDuty::Certificate { epoch, sector: Toy::ID, devices }))
                .expect("certificate");
        }
        let settled = self.settle(epoch, &snapshot, work);
        if let Some(tape) = &mut self.tape {
            tape.push(crate::model::settle_line(epoch, work, &settled));
        }
        self.finalise(epoch, &settled, between);
        settled
    }

    pub fn settle(
        &self,
        epoch: Epoch,
        snapshot: &Snapshot,
        work: &[(DeviceId, u64, Vec<Vec<u8>>)],
    ) -> Settled {
        let se = self.get::<SectorEpochs>(&(epoch, Toy::ID)).expect("locked");
        let er = self.get::<Epochs>(&epoch).expect("locked");
        let open = self.get::<EpochDigests>(&(epoch, Toy::ID));
        let [commitments, answers, evidence] = se.contents(open.as_ref());
        let items = Items(work.iter().flat_map(|(d, _, i)| i.iter().map(|e| (*d, e.clone()))).collect());
        let inputs = Inputs {
            network: self.genesis.network(),
            sector: Toy::ID,
            epoch,
            seed: er.seed.expect("seeded"),
            price: er.price,
            roots: [se.registry_root, commitments, answers, evidence],
            terms: &se.terms,
            registry: snapshot,
            evidence: &items,
            memory: &self.memory,
            memory_digest: self.digests.0.clone(),
            tally: &self.tally,
            tally_digest: self.digests.1.clone(),
        };
        let rules = self.sectors.get(Toy::ID, 1).expect("linked").clone();
        settle(&*rules, &inputs).expect("settles")
    }

    /// Vote, reveal, outcomes; then memory and tally move on.
    pub fn finalise(&mut self, epoch: Epoch, settled: &Settled, between: impl FnOnce(&mut Self, &Settled)) {
        let salt = Hash::derive("salt", &[]);
        while self.chain().height.0 < self.get::<Epochs>(&epoch.plus(1)).expect("locked").start.0 + 3 {
            self.block(vec![]);
        }
        let sealed = seal_vote(&settled.settlement.id(), &salt, 0);
        self.one(self.seat(SeatDuty::Vote { epoch, sector: Toy::ID, sealed })).expect("vote");
        let settlement = Box::new(settled.settlement.clone());
        self.one(self.seat(SeatDuty::Reveal { epoch, settlement, salt })).expect("reveal");
        between(self, settled);
        for (from, outcomes, proof) in settled.chunks() {
            self.one(self.seat(SeatDuty::Outcomes { epoch, sector: Toy::ID, from, outcomes, proof }))
                .expect("outcomes");
        }
        self.take_over(settled);
    }

    /// Memory and tally as a settlement left them.
    pub fn take_over(&mut self, settled: &Settled) {
        for (map, changes) in [(&mut self.memory, &settled.memory), (&mut self.tally, &settled.tally)] {
            for (k, v) in changes {
                match v {
                    Some(v) => drop(map.0.insert(k.clone(), v.clone())),
                    None => drop(map.0.remove(k)),
                }
            }
        }
        self.digests = settled.digests.clone();
    }
}
