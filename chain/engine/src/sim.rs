//! Whole networks of validators on a seeded scheduler with simulated links and storage.
//!
//! The code is the validator's own; only clock, disk and network are simulated, so the same seed
//! gives the same run, and a fault that a seed has found is replayed by it.

use crate::{
    block::Identity,
    keys,
    machine::{Execution, FinalBlock, Hash, Header, Machine},
    validator::{Channels, Params, max_message_size, start_validator},
};
use commonware_cryptography::Signer as _;
use commonware_p2p::simulated::{Config, Link, Network, Oracle};
use commonware_runtime::{Clock as _, Quota, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU32, NZUsize, probability};
use std::{
    sync::{Arc, Mutex, PoisonError},
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
}

/// The outcome of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimReport {
    /// What each validator observed, in order.
    pub validators: Vec<Vec<SimBlock>>,
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

/// Notes what a machine is told.
struct Recorder {
    inner: Arc<dyn Machine>,
    log: Arc<Mutex<Vec<SimBlock>>>,
}

impl Machine for Recorder {
    fn genesis_id(&self) -> Hash {
        self.inner.genesis_id()
    }

    fn propose(&self, header: &Header) -> Box<dyn Execution> {
        self.inner.propose(header)
    }

    fn process(&self, header: &Header, body: &[u8]) -> Box<dyn Execution> {
        self.inner.process(header, body)
    }

    fn finalized(&self, block: &FinalBlock) {
        self.inner.finalized(block);
        let note =
            SimBlock { height: block.header.height, digest: block.digest, state_root: block.state_root };
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// Runs a network of `validators` (1 to [`MAX_VALIDATORS`]; other numbers are moved into that
/// range) and reports what each observed. `machines` makes the machine of each.
///
/// # Panics
///
/// When a validator breaks, for instance on a machine that is not deterministic.
pub fn run_sim(
    seed: u64,
    validators: usize,
    machines: impl Fn(usize) -> Arc<dyn Machine>,
    plan: &SimPlan,
) -> SimReport {
    let count = validators.clamp(1, MAX_VALIDATORS);
    let logs: Vec<Arc<Mutex<Vec<SimBlock>>>> = (0..count).map(|_| Arc::default()).collect();
    let recorders: Vec<Arc<dyn Machine>> = logs
        .iter()
        .enumerate()
        .map(|(index, log)| {
            Arc::new(Recorder { inner: machines(index), log: log.clone() }) as Arc<dyn Machine>
        })
        .collect();
    let plan = plan.clone();
    let runner = deterministic::Runner::new(deterministic::Config::new().with_seed(seed));
    let audit = runner.start(|context| async move {
        run(&context, recorders, &plan).await;
        context.auditor().state()
    });
    let validators =
        logs.iter().map(|log| log.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
    SimReport { validators, audit }
}

/// The secret of a simulated validator: worthless, and the same in every run.
fn secret(role: u8, index: usize) -> [u8; 32] {
    let mut secret = [role; 32];
    secret[..8].copy_from_slice(&u64::try_from(index).unwrap_or(u64::MAX).to_be_bytes());
    secret
}

async fn run(context: &deterministic::Context, machines: Vec<Arc<dyn Machine>>, plan: &SimPlan) {
    let count = machines.len();
    let identities: Vec<_> = (0..count).map(|index| keys::identity_private(&secret(1, index))).collect();
    let votes: Vec<_> = (0..count).map(|index| keys::vote_private(&secret(2, index))).collect();
    let members =
        identities.iter().zip(&votes).map(|(identity, vote)| (identity.public_key(), keys::public(vote)));
    let seats = keys::seats(members.collect()).expect("the secrets differ, so the keys do");
    let peers: Vec<Identity> = identities.iter().map(|identity| identity.public_key()).collect();

    let seats_count = u32::try_from(count).expect("at most MAX_VALIDATORS");
    let config = Config {
        max_size: max_message_size(seats_count, plan.max_body),
        max_peers_per_set: NZUsize!(MAX_VALIDATORS),
        disconnect_on_block: true,
        tracked_peer_sets: NZUsize!(1),
    };
    let (network, oracle) = Network::new_with_peers(context.child("network"), config, peers.clone()).await;
    network.start();
    connect(&oracle, &peers, plan, |_, _| true).await;

    let (_interval_tx, interval) = watch::channel(plan.interval);
    for (index, (machine, vote)) in machines.into_iter().zip(votes).enumerate() {
        let control = oracle.control(peers[index].clone());
        let quota = Quota::per_second(NZU32!(1024));
        let mut opened = Vec::new();
        for channel in 0..5 {
            opened.push(control.register(channel, quota).await.expect("each channel is opened once"));
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
            me: peers[index].clone(),
            scheme: keys::signer(b"cairn/sim", seats.clone(), vote).expect("the key is of the set"),
            machine,
            max_body: plan.max_body,
            interval: interval.clone(),
            leader_timeout: plan.interval + Duration::from_secs(2),
            tip: Arc::new(watch::channel(0).0),
        };
        let child = context.child("validator").with_attribute("index", index);
        start_validator(child, params, channels, control, oracle.manager()).await;
    }
    follow_plan(context, &oracle, &peers, plan).await;
}

async fn follow_plan(
    context: &deterministic::Context,
    oracle: &Oracle<Identity, deterministic::Context>,
    peers: &[Identity],
    plan: &SimPlan,
) {
    let Some(cut) = &plan.partition else {
        return context.sleep(plan.duration).await;
    };
    let Some(lonely) = peers.get(cut.validator) else {
        return context.sleep(plan.duration).await;
    };
    let until = cut.until.min(plan.duration);
    let from = cut.from.min(until);
    context.sleep(from).await;
    for other in peers.iter().filter(|peer| *peer != lonely) {
        for (a, b) in [(lonely, other), (other, lonely)] {
            oracle.remove_link(a.clone(), b.clone()).await.expect("the link exists");
        }
    }
    context.sleep(until.saturating_sub(from)).await;
    connect(oracle, peers, plan, |a, b| a == lonely || b == lonely).await;
    context.sleep(plan.duration.saturating_sub(until)).await;
}

/// Links every ordered pair that is wanted.
async fn connect(
    oracle: &Oracle<Identity, deterministic::Context>,
    peers: &[Identity],
    plan: &SimPlan,
    wanted: impl Fn(&Identity, &Identity) -> bool,
) {
    let link = Link { latency: plan.latency, jitter: plan.latency / 5, success_rate: probability!(1.0) };
    for a in peers {
        for b in peers.iter().filter(|b| *b != a && wanted(a, b)) {
            oracle.add_link(a.clone(), b.clone(), link.clone()).await.expect("the link is new");
        }
    }
}
