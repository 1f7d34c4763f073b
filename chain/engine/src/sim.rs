//! Whole networks of validators on a seeded scheduler with simulated links and storage.
//!
//! The code is the validator's own; only clock, disk and network are simulated, so the same seed
//! gives the same run, and a fault that a seed has found is replayed by it.

use crate::{
    VOTE_PUBLIC_LEN,
    block::{Identity, identity_bytes},
    engine::{StoredBlock, stored},
    keys::{self, VotePublic},
    machine::{Execution, FinalBlock, Hash, Header, Key, Machine, Step},
    seating::{self, Rotation, Seating},
    validator::{Channels, Marshal, Params, max_message_size, start_validator},
};
use commonware_cryptography::{Hasher as _, Sha256, Signer as _, ed25519::PrivateKey};
use commonware_p2p::simulated::{Config, Link, Network, Oracle};
use commonware_runtime::{
    Clock as _, Handle, Quota, Runner as _, Spawner as _, Supervisor as _, deterministic,
};
use commonware_utils::{NZU32, NZUsize, channel::oneshot, probability};
use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Most validators of a simulation.
pub const MAX_VALIDATORS: usize = 100;

/// One validator cut off from all others for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Index of the validator, in the order of the report.
    pub validator: usize,
    /// Simulated time of the cut.
    pub from: Duration,
    /// Simulated time of the healing, later than the cut.
    pub until: Duration,
}

/// Seats that change. The table of the state in which the simulator keeps them is number 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatPlan {
    /// Blocks of an epoch of seats, more than one.
    pub blocks: u64,
    /// Validators that hold the seats of each epoch, by index; the last set stays. At least one set.
    pub sets: Vec<Vec<usize>>,
}

impl SeatPlan {
    fn of(&self, epoch: u64) -> &[usize] {
        let last = self.sets.len().saturating_sub(1);
        let index = usize::try_from(epoch).map_or(last, |epoch| epoch.min(last));
        self.sets.get(index).map_or(&[], Vec::as_slice)
    }
}

/// A validator that loses everything but its disk, and comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Index of the validator.
    pub validator: usize,
    /// It crashes after it has observed this block ..
    pub height: u64,
    /// .. and this time has passed.
    pub after: Duration,
    /// How long it is away.
    pub away: Duration,
}

/// What happens in a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimPlan {
    /// Simulated time.
    pub duration: Duration,
    /// Time between blocks.
    pub interval: Duration,
    /// Mean delay of a message; it varies by a fifth.
    pub latency: Duration,
    /// Largest block body in bytes.
    pub max_body: usize,
    /// A cut, if any.
    pub partition: Option<Partition>,
    /// A crash, if any.
    pub crash: Option<Crash>,
    /// Seats that change; `None`: every validator holds a seat for ever.
    pub seats: Option<SeatPlan>,
}

impl SimPlan {
    /// Steady links of 50 ms, a block a second.
    pub fn steady(duration: Duration) -> Self {
        Self {
            duration,
            interval: Duration::from_secs(1),
            latency: Duration::from_millis(50),
            max_body: 256 * 1024,
            partition: None,
            crash: None,
            seats: None,
        }
    }
}

/// What one validator observed of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimBlock {
    /// Height.
    pub height: u64,
    /// Digest of the block.
    pub digest: Hash,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Index of the validator that proposed it.
    pub proposer: usize,
}

/// The outcome of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimReport {
    /// What each validator observed, in order.
    pub validators: Vec<Vec<SimBlock>>,
    /// Blocks with their certificates as each validator's archive held them at the end.
    pub archives: Vec<Vec<StoredBlock>>,
    /// Hash over every event of the run: equal for equal seeds and plans.
    pub audit: String,
}

impl SimReport {
    /// Heights at which two validators disagree; a correct network has none.
    pub fn forks(&self) -> Vec<u64> {
        let mut first = std::collections::BTreeMap::new();
        let mut forks = Vec::new();
        for block in self.validators.iter().flatten() {
            if *first.entry(block.height).or_insert(block) != block {
                forks.push(block.height);
            }
        }
        forks
    }
}

/// Notes what a machine is told, and writes the seats of the next epoch with the last block of each.
struct Recorder {
    inner: Arc<dyn Machine>,
    log: Log,
    peers: Vec<Identity>,
    tables: Option<(u64, BTreeMap<u64, Vec<u8>>)>,
}

type Log = Arc<Mutex<Vec<SimBlock>>>;

fn locked(log: &Log) -> MutexGuard<'_, Vec<SimBlock>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a simulated state holds the seats of an epoch.
fn seats_key(epoch: u64) -> Key {
    let mut key = Sha256::hash(&[b"cairn/sim/seats", &epoch.to_be_bytes()]).0;
    key[0] = 255;
    key
}

impl Recorder {
    fn seated(&self, header: &Header, inner: Box<dyn Execution>) -> Box<dyn Execution> {
        let Some((blocks, tables)) = &self.tables else { return inner };
        // As the engine counts: epoch e has the heights from e * blocks on.
        let next = header.height.saturating_add(1);
        let epoch = next.checked_div(*blocks).unwrap_or(0);
        if next.checked_rem(*blocks) != Some(0) {
            return inner;
        }
        let row = tables.range(..=epoch).next_back().map(|(_, row)| row.clone()).unwrap_or_default();
        Box::new(Seated { inner, key: seats_key(epoch), row })
    }
}

/// An execution that writes one row more.
struct Seated {
    inner: Box<dyn Execution>,
    key: Key,
    row: Vec<u8>,
}

impl Execution for Seated {
    fn step(&mut self, fetched: Vec<(Key, Option<Vec<u8>>)>) -> Step {
        match self.inner.step(fetched) {
            Step::Done(mut executed) => {
                executed.writes.push((self.key, Some(self.row.clone())));
                executed.writes.sort_unstable();
                Step::Done(executed)
            }
            other => other,
        }
    }
}

impl Machine for Recorder {
    fn genesis_id(&self) -> Hash {
        self.inner.genesis_id()
    }

    fn propose(&self, header: &Header) -> Box<dyn Execution> {
        self.seated(header, self.inner.propose(header))
    }

    fn process(&self, header: &Header, body: &[u8]) -> Box<dyn Execution> {
        self.seated(header, self.inner.process(header, body))
    }

    fn finalized(&self, block: &FinalBlock) {
        self.inner.finalized(block);
        let mut log = locked(&self.log);
        // After a crash the newest blocks come again.
        if log.last().is_some_and(|last| last.height >= block.header.height) {
            return;
        }
        let proposer = self.peers.iter().position(|peer| identity_bytes(peer) == block.header.proposer);
        log.push(SimBlock {
            height: block.header.height,
            digest: block.digest,
            state_root: block.state_root,
            proposer: proposer.expect("only validators of the simulation propose"),
        });
    }
}

/// Public keys of a simulated validator, as [`crate::light::SeatSet`] takes them.
pub fn member(index: usize) -> ([u8; 32], [u8; VOTE_PUBLIC_LEN]) {
    (keys::identity_public(&secret(1, index)), keys::vote_public(&secret(2, index)))
}

/// What the votes of a simulation are bound to.
pub const NETWORK: &[u8] = b"cairn/sim";

/// Runs a network of `validators` (1 to [`MAX_VALIDATORS`]; other numbers are moved into that
/// range) and reports what each observed. `machines` makes the machine of each.
///
/// # Panics
///
/// When a validator breaks, for instance on a machine that is not deterministic; when the plan names a validator that
/// does not exist.
pub fn run_sim(
    seed: u64,
    validators: usize,
    machines: impl Fn(usize) -> Arc<dyn Machine>,
    plan: &SimPlan,
) -> SimReport {
    let count = validators.clamp(1, MAX_VALIDATORS);
    let machines: Vec<_> = (0..count).map(machines).collect();
    let plan = plan.clone();
    let runner = deterministic::Runner::new(deterministic::Config::new().with_seed(seed));
    runner.start(|context| async move {
        let mut net = Net::start(context.child("net"), machines, plan).await;
        net.follow_plan().await;
        let archives = net.archives().await;
        let validators = net.logs.iter().map(|log| locked(log).clone()).collect();
        SimReport { validators, archives, audit: context.auditor().state() }
    })
}

fn identity(index: usize) -> PrivateKey {
    keys::identity_private(&secret(1, index))
}

fn seat(index: usize) -> (Identity, VotePublic) {
    (identity(index).public_key(), keys::public(&keys::vote_private(&secret(2, index))))
}

/// The secret of a simulated validator: worthless, and the same in every run.
fn secret(role: u8, index: usize) -> [u8; 32] {
    let mut secret = [role; 32];
    secret[..8].copy_from_slice(&u64::try_from(index).unwrap_or(u64::MAX).to_be_bytes());
    secret
}

type Context = deterministic::Context;

/// A simulated network.
struct Net {
    context: Context,
    plan: SimPlan,
    peers: Vec<Identity>,
    machines: Vec<Arc<Recorder>>,
    logs: Vec<Log>,
    oracle: Oracle<Identity, Context>,
    interval: watch::Sender<Duration>,
    running: Vec<Option<(Handle<()>, oneshot::Receiver<Marshal>)>>,
}

impl Net {
    async fn start(context: Context, machines: Vec<Arc<dyn Machine>>, plan: SimPlan) -> Self {
        let count = machines.len();
        let peers: Vec<Identity> = (0..count).map(|index| identity(index).public_key()).collect();
        let config = Config {
            max_size: max_message_size(u32::try_from(count).expect("at most MAX_VALIDATORS"), plan.max_body),
            max_peers_per_set: NZUsize!(MAX_VALIDATORS),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(1),
        };
        let (network, oracle) =
            Network::new_with_peers(context.child("network"), config, peers.clone()).await;
        network.start();
        let logs: Vec<Log> = (0..count).map(|_| Log::default()).collect();
        let tables = plan.seats.as_ref().map(|seats| {
            let row =
                |set: &Vec<usize>| seating::encode(&set.iter().map(|index| seat(*index)).collect::<Vec<_>>());
            (seats.blocks, (0..).zip(seats.sets.iter().map(row)).collect::<BTreeMap<u64, _>>())
        });
        let recorder = |(inner, log): (Arc<dyn Machine>, &Log)| {
            Arc::new(Recorder { inner, log: log.clone(), peers: peers.clone(), tables: tables.clone() })
        };
        let machines = machines.into_iter().zip(&logs).map(recorder).collect();
        let interval = watch::channel(plan.interval).0;
        let running = (0..count).map(|_| None).collect();
        let mut net = Self { context, plan, peers, machines, logs, oracle, interval, running };
        net.connect(|_, _| true).await;
        for index in 0..count {
            net.launch(index).await;
        }
        net
    }

    fn seating(&self, index: usize) -> Seating {
        let vote = keys::vote_private(&secret(2, index));
        let first: Vec<usize> = match &self.plan.seats {
            Some(plan) => plan.of(0).to_vec(),
            None => (0..self.peers.len()).collect(),
        };
        let seats =
            keys::seats(first.into_iter().map(seat).collect()).expect("the secrets differ, so the keys do");
        let rotation = self.plan.seats.as_ref().map(|plan| Rotation {
            blocks: NonZeroU64::new(plan.blocks).expect("an epoch has more than one block"),
            key: seats_key,
        });
        Seating::new(NETWORK, vote, seats, rotation)
    }

    /// Starts a validator on what its disk holds.
    async fn launch(&mut self, index: usize) {
        let control = self.oracle.control(self.peers[index].clone());
        let quota = Quota::per_second(NZU32!(1024));
        let mut opened = Vec::new();
        for channel in 0..5 {
            opened.push(control.register(channel, quota).await.expect("the network runs"));
        }
        let mut opened = opened.into_iter();
        let mut next = || opened.next().expect("five were opened");
        let channels = Channels {
            vote: next(),
            certificate: next(),
            resolver: next(),
            backfill: next(),
            broadcast: next(),
        };
        let params = Params {
            prefix: format!("v{index}"),
            me: self.peers[index].clone(),
            seating: self.seating(index),
            seats: u32::try_from(self.peers.len()).expect("at most MAX_VALIDATORS"),
            machine: self.machines[index].clone(),
            max_body: self.plan.max_body,
            interval: self.interval.subscribe(),
            leader_timeout: self.plan.interval + Duration::from_secs(2),
            tip: Arc::new(watch::channel(0).0),
        };
        let manager = self.oracle.manager();
        let (sender, marshal) = oneshot::channel();
        let child = self.context.child("validator").with_attribute("index", index);
        // One task above all others of the validator: they end with it.
        let task = child.spawn(move |context| async move {
            let validator = start_validator(context, params, channels, control, manager).await;
            let _ = sender.send(validator.marshal);
            let ended = validator.engine.await;
            panic!("consensus of validator {index} ended: {ended:?}");
        });
        self.running[index] = Some((task, marshal));
    }

    async fn archives(&mut self) -> Vec<Vec<StoredBlock>> {
        let mut archives = Vec::new();
        for index in 0..self.peers.len() {
            let Some((_, marshal)) = self.running[index].take() else { continue };
            let marshal = marshal.await.expect("the validator runs");
            let top = locked(&self.logs[index]).last().map_or(0, |block| block.height);
            let mut archive = Vec::new();
            for height in 1..=top {
                archive.extend(stored(&marshal, height).await);
            }
            archives.push(archive);
        }
        archives
    }

    async fn follow_plan(&mut self) {
        if self.plan.crash.is_some() {
            return self.follow_crash().await;
        }
        let Some(cut) = self.plan.partition.clone() else {
            return self.context.sleep(self.plan.duration).await;
        };
        let lonely = self.peers[cut.validator].clone();
        let until = cut.until.min(self.plan.duration);
        let from = cut.from.min(until);
        self.context.sleep(from).await;
        for other in self.peers.iter().filter(|peer| **peer != lonely) {
            for (a, b) in [(&lonely, other), (other, &lonely)] {
                self.oracle.remove_link(a.clone(), b.clone()).await.expect("the link exists");
            }
        }
        self.context.sleep(until.saturating_sub(from)).await;
        self.connect(|a, b| *a == lonely || *b == lonely).await;
        self.context.sleep(self.plan.duration.saturating_sub(until)).await;
    }

    async fn follow_crash(&mut self) {
        let Some(crash) = self.plan.crash.clone() else { return };
        let end = self.context.current() + self.plan.duration;
        while locked(&self.logs[crash.validator]).last().is_none_or(|block| block.height < crash.height)
            && self.context.current() < end
        {
            self.context.sleep(Duration::from_millis(1)).await;
        }
        self.context.sleep(crash.after).await;
        let (task, _) = self.running[crash.validator].take().expect("it runs until it crashes");
        task.abort();
        let _ = task.await;
        self.context.sleep(crash.away).await;
        self.launch(crash.validator).await;
        self.context.sleep_until(end).await;
    }

    /// Links every ordered pair that is wanted.
    async fn connect(&self, wanted: impl Fn(&Identity, &Identity) -> bool) {
        let (latency, jitter) = (self.plan.latency, self.plan.latency / 5);
        let link = Link { latency, jitter, success_rate: probability!(1.0) };
        for a in &self.peers {
            for b in self.peers.iter().filter(|b| *b != a && wanted(a, b)) {
                self.oracle.add_link(a.clone(), b.clone(), link.clone()).await.expect("the link is new");
            }
        }
    }
}
