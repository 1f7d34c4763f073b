//! Speeds of the ledger: transfers, signatures, settlement, assignment. `cargo run --release -p cairn-ledger --example ledger_speed`
//!
//! With a word, only the parts whose name holds it. Processor time of the thread is what counts where other work runs
//! beside it; the wall clock is printed as well.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code, unused_imports)]
#[path = "../tests/it/toy.rs"]
mod toy;

use cairn_crypto::authority::Authority;
use cairn_crypto::bls::BlsSecret;
use cairn_crypto::keys::{SecretKey, verify_batch};
use cairn_crypto::lthash::LtHash;
use cairn_ledger::executor::{BlockRun, Mode, Progress, check_stateless};
use cairn_ledger::genesis::{Genesis, GenesisSeat, GenesisSector};
use cairn_ledger::settle::{Inputs, settle};
use cairn_ledger::state::{Key, State};
use cairn_ledger::tables::*;
use cairn_ledger::tx::*;
use cairn_ledger::{listing, market, registry};
use cairn_sector::*;
use cairn_types::*;
use std::collections::BTreeMap;
use std::time::Instant;
use toy::Toy;

fn key(n: u64) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_seed(&seed)
}

fn account(n: u64) -> AccountId {
    Authority::Single(key(n).public()).account_id()
}

fn genesis(n: u64) -> Genesis {
    let vote = BlsSecret::from_seed(&[9; 32]);
    Genesis {
        name: "speed".into(),
        hrp: "cairn".into(),
        fork: 0,
        params: ChainParams::default(),
        price: Price(1_000 * PPM),
        allocations: (0..n).map(|i| (account(i), Amount(1_000_000_000_000))).collect(),
        credits: vec![],
        seats: vec![GenesisSeat {
            account: account(0),
            key: key(1).public(),
            vote: vote.public(),
            consensus: [1; 96],
            possession: vote.pop_prove(),
        }],
        sectors: vec![GenesisSector {
            id: Toy::ID,
            version: 1,
            params: encode(&0u64),
            pool_rates: [Rate(1); 4],
            pool_limit: Amount(1),
            bond_rates: [Rate(1); 4],
        }],
    }
}

type Rows = BTreeMap<Key, Vec<u8>>;

fn run(rows: &Rows, height: u64, txs: Vec<Tx>) -> usize {
    let mut block = BlockRun::new(
        Sectors::new().with::<Toy>(),
        Height(height),
        account(0),
        Mode::Check,
        1 << 30,
        txs,
        None,
    );
    block.supply(block.first_need().into_iter().map(|k| (k, rows.get(&k).cloned())).collect::<Vec<_>>());
    loop {
        match block.step() {
            Progress::Need(keys) => block.supply(keys.into_iter().map(|k| (k, rows.get(&k).cloned()))),
            Progress::Done(done) => return done.receipts.iter().filter(|r| r.refused.is_none()).count(),
            Progress::Invalid(r) => panic!("{r}"),
        }
    }
}

/// Wall clock and, where the system tells, nanoseconds of the processor spent by this thread.
struct Watch(Instant, Option<u64>);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), Self::spent())
    }

    fn spent() -> Option<u64> {
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
    }
}

fn rate(what: &str, n: usize, start: &Watch) {
    let spent = Watch::spent().zip(start.1).map(|(now, then)| (now - then) as f64 / 1e9);
    let wall = start.0.elapsed().as_secs_f64();
    let of = |s: f64| format!("{s:.3} s, {:.0} / s, {:.1} us each", n as f64 / s, s * 1e6 / n as f64);
    let spent = spent.map_or("unknown".to_owned(), of);
    println!("{what}: {n}\n    processor {spent}\n    wall clock {}", of(wall));
}

fn transfers() {
    const N: u64 = 10_000;
    let genesis = genesis(1000);
    let network = genesis.network();
    let rows: Rows = genesis
        .rows(&Sectors::new().with::<Toy>())
        .expect("the example is well-formed")
        .into_iter()
        .map(|(k, v)| (k, v.expect("the example is well-formed")))
        .collect();
    let make = |i: u64| {
        let action = Action::Transfer { to: account((i + 1) % 1000), amount: Amount(1) };
        let authority = Authority::Single(key(i % 1000).public());
        let valid_until = Height(10);
        let tx =
            AccountTx { network, fork: 0, authority, nonce: i / 1000, valid_until, tip: Amount(0), action };
        Tx::by_account(tx, &key(i % 1000))
    };
    let txs: Vec<Tx> = (0..N).map(make).collect();
    let start = Watch::start();
    assert_eq!(run(&rows, 1, txs.clone()), txs.len());
    rate("transfers executed, one block, signatures apart", txs.len(), &start);
    let start = Watch::start();
    assert!(txs.iter().all(|t| check_stateless(t, network, 0).is_ok()));
    rate("phase 1, signatures one by one", txs.len(), &start);
    let start = Watch::start();
    let parts: Vec<_> = txs
        .iter()
        .map(|t| match t {
            Tx::Account(t, s) => {
                (t.authority.resolve(s).expect("the example is well-formed")[0], encode(&**t))
            }
            _ => unreachable!(),
        })
        .collect();
    let items: Vec<_> = parts.iter().map(|((k, s), m)| (*k, ACCOUNT_DOMAIN, &m[..], *s)).collect();
    assert!(verify_batch(&items, &[1; 32]));
    rate("signatures as one batch", txs.len(), &start);
}

#[derive(Default)]
struct Snapshot {
    devices: BTreeMap<DeviceId, DeviceEntry>,
    leases: BTreeMap<LeaseId, LeaseEntry>,
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
    fn leases_of(&self, _: &DeviceId) -> Vec<(LeaseEntry, Vec<u16>)> {
        vec![]
    }
    fn sales(&self) -> Vec<SaleEntry> {
        vec![]
    }
}

struct Nothing;

impl RawMemory for Nothing {
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn scan(&self, _: &[u8]) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        Box::new(std::iter::empty())
    }
}

struct Worked(Vec<DeviceId>);

impl RawEvidence for Worked {
    fn scan(&self, _: &[u8], _: Option<&[u8]>) -> Box<dyn Iterator<Item = RawItem> + '_> {
        let item = |d: &DeviceId| RawItem {
            key: SortKey::new(d.as_ref().to_vec()),
            from: *d,
            evidence: encode(&toy::Evidence::Worked),
        };
        Box::new(self.0.iter().map(item))
    }
}

fn id(n: u64) -> [u8; 32] {
    Hash::derive("speed", &[&n.to_le_bytes()]).0
}

fn row(n: u64) -> DeviceRow {
    let offer = toy::offer(1 << 40, 1_000_000_000 + n, n % 1000);
    DeviceRow {
        operator: AccountId(id(n)),
        sector: Toy::ID,
        key: key(1).public(),
        admission: Toy::admit(&0, &decode(&offer).expect("the example is well-formed"))
            .expect("the example is well-formed"),
        offer,
        reserved: Units::ZERO,
        state: DeviceState::Active,
        since: Epoch(0),
        bond: Amount(u128::from(u64::MAX)),
        locked: Amount(0),
        listed: None,
        deficit: (0, Epoch(0)),
        weight: (cairn_ledger::listing::LIGHTEST, Epoch(0)),
        duties: 0,
        absent: false,
    }
}

fn settlement() {
    let mut x = Snapshot::default();
    for n in 0..10_000 {
        let mut e = registry::device_entry(&DeviceId(id(n)), &row(n));
        e.commitment = Some(encode(&0u64));
        x.devices.insert(e.id, e);
    }
    for n in 0..10_000u64 {
        let slot = |d: u64| Slot {
            device: DeviceId(id(d % 10_000)),
            rates: [Rate(1_000_000_000); 4],
            since: Epoch(0),
            lost_by: None,
            generation: 0,
        };
        let e = LeaseEntry {
            id: LeaseId(id(n)),
            sector: Toy::ID,
            customer: AccountId(id(n)),
            key: key(1).public(),
            order: toy::order(2, 100),
            slots: vec![slot(n), slot(n + 1)],
            reserve: Units::first(100),
            helpers: vec![],
            deposited: Credits(1_000_000),
            opened: Epoch(0),
            closing: None,
            fence: 0,
        };
        x.leases.insert(e.id, e);
    }
    let terms = Terms {
        version: 1,
        params: encode(&0u64),
        pool_rates: [Rate(1); 4],
        pool_budget: Amount(1),
        bond_rates: [Rate(1); 4],
        chain: ChainParams::default(),
    };
    let evidence = Worked(x.devices.keys().copied().collect());
    let inputs = Inputs {
        network: NetworkId(id(0)),
        sector: Toy::ID,
        epoch: Epoch(1),
        seed: Seed([1; 32]),
        price: Price(1_000 * PPM),
        roots: [Hash::default(); 4],
        terms: &terms,
        registry: &x,
        evidence: &evidence,
        memory: &Nothing,
        memory_digest: LtHash::new(),
        tally: &Nothing,
        tally_digest: LtHash::new(),
    };
    let sectors = Sectors::new().with::<Toy>();
    let start = Watch::start();
    let settled = settle(&**sectors.get(Toy::ID, 1).expect("the example is well-formed"), &inputs)
        .expect("the example is well-formed");
    assert_eq!((settled.lines.len(), settled.claims.len()), (20_000, 10_000));
    rate(
        "slots settled (10,000 operators, 20,000 slots, first epoch: every tally is new)",
        settled.lines.len(),
        &start,
    );
}

fn assignment() {
    let genesis = genesis(10);
    let sectors = Sectors::new().with::<Toy>();
    let mut rows: Rows = genesis
        .rows(&sectors)
        .expect("the example is well-formed")
        .into_iter()
        .map(|(k, v)| (k, v.expect("the example is well-formed")))
        .collect();
    let start = Watch::start();
    let mut s = State::new(&rows);
    for n in 0..100_000u64 {
        registry::save_device(&mut s, &DeviceId(id(n)), None, Some(&row(n)))
            .expect("the example is well-formed");
        listing::place(&mut s, &DeviceId(id(n))).expect("the example is well-formed");
        s.keep();
    }
    let customer = AccountId(id(7));
    cairn_ledger::bank::buy_credits(&mut s, account(0), customer, Credits(100_000), Amount(u128::MAX))
        .expect("the example is well-formed");
    s.keep();
    let (writes, _) = s.finish();
    rows.extend(writes.into_iter().filter_map(|(k, v)| Some((k, v?))));
    rate("offers listed", 100_000, &start);
    let mut s = State::new(&rows);
    let start = Watch::start();
    for n in 0..200 {
        let order = toy::order(20, 10);
        market::order(
            &mut s,
            &sectors,
            customer,
            n,
            Toy::ID,
            order,
            key(1).public(),
            Credits(10),
            Hash::default(),
        )
        .expect("the example is well-formed");
        s.keep();
    }
    rate("orders of 20 slots assigned among 100,000 offers", 200, &start);
}

fn peak() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = status.lines().find(|l| l.starts_with("VmHWM")) {
        println!("peak memory so far: {}", line.trim_start_matches("VmHWM:").trim());
    }
}

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    let parts: [(&str, fn()); 3] =
        [("settlement", settlement), ("transfers", transfers), ("assignment", assignment)];
    for (_, part) in parts.iter().filter(|(name, _)| name.contains(&word)) {
        part();
        peak();
    }
}
