//! Starting: a fresh storage, or taking over one from the recovery root and the chain alone.
//!
//! Every start takes over: it sets new lease keys under a higher fence, so an older gateway, forgotten or restored
//! from a backup, cannot write any more. No local state is needed; the log at the operators is the truth.

use super::{Config, Gateway};
use crate::commit::Committer;
use crate::error::GatewayError;
use crate::index::Index;
use crate::log::{Chain, Log, decode_snapshot, read_replica, salt};
use crate::operators::Operators;
use crate::packer;
use crate::ports::{ChainPort, Pen, Seat};
use crate::record::{Body, Mutation};
use crate::volume::lease::{is_index, seats};
use crate::volume::{Lease, Volume};
use cairn_crypto::keys::SecretKey;
use cairn_net::Transport;
use cairn_sector::LeaseEntry;
use cairn_storage_codec::durability::{Assumptions, choose_below_spare_rule};
use cairn_storage_codec::keys::IndexKey;
use cairn_storage_codec::{Profile, StorageKeys};
use cairn_storage_rules::types::{Kind, Order};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Requests that may wait for the writer.
const QUEUE: usize = 4096;

/// What a start found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing was there; leases were ordered.
    pub fresh: bool,
    /// Replicas of the log that were read.
    pub replicas: u16,
    /// Entries read.
    pub entries: usize,
    /// Buckets found.
    pub buckets: usize,
    /// Objects found.
    pub objects: usize,
}

/// A gateway and what its start found.
pub struct Started {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// What was found.
    pub recovery: Recovery,
}

/// Replicas that must have an entry on disk before it counts: all but two of a large set, so that a dead operator
/// does not stop writes. A writer that takes over reads the others as well and one more, and so sees every entry.
const fn quorum(replicas: u16) -> u16 {
    match replicas {
        0..3 => replicas,
        3..10 => replicas - 1,
        10.. => replicas - 2,
    }
}

impl Gateway {
    /// Takes over what the root secret owns, or orders leases if it owns nothing.
    ///
    /// # Errors
    /// The chain refuses, or too few log replicas answer.
    pub async fn start(
        root: &[u8; 32],
        chain: Arc<dyn ChainPort>,
        transport: Arc<dyn Transport>,
        config: Config,
    ) -> Result<Started, GatewayError> {
        Self::launch(root, chain, transport, config, true).await
    }

    /// Takes over what the root secret owns.
    ///
    /// # Errors
    /// It owns nothing, the chain refuses, or too few log replicas answer.
    pub async fn recover(
        root: &[u8; 32],
        chain: Arc<dyn ChainPort>,
        transport: Arc<dyn Transport>,
        config: Config,
    ) -> Result<Started, GatewayError> {
        Self::launch(root, chain, transport, config, false).await
    }

    async fn launch(
        root: &[u8; 32],
        chain: Arc<dyn ChainPort>,
        transport: Arc<dyn Transport>,
        config: Config,
        create: bool,
    ) -> Result<Started, GatewayError> {
        let keys = StorageKeys::from_root(root);
        let operators = Arc::new(Operators::new(transport, Arc::clone(&chain)).await?);
        let (index_leases, data): (Vec<_>, Vec<_>) = chain.leases().await?.into_iter().partition(is_index);
        if index_leases.is_empty() && !create {
            return Err(GatewayError::NothingToRecover);
        }
        let mut recovery = Recovery { fresh: index_leases.is_empty(), ..Recovery::default() };
        // The newest one: an older one can only be left over from a move that was completed.
        let (entry, pen) = match index_leases.into_iter().next_back() {
            Some(entry) => take_over(&*chain, entry).await?,
            None => order_lease(&*chain, &config, Kind::Index).await?,
        };
        let replicas = seats(&*chain, &entry, &pen).await?;
        let quorum = quorum(u16::try_from(replicas.len()).unwrap_or(u16::MAX));
        let log = if recovery.fresh {
            Chain::default()
        } else {
            read_log(&operators, &keys.index, &replicas, quorum, &config, &mut recovery).await?
        };
        let index = Arc::new(RwLock::new(replay(&log)?));
        let (c, k) = (Arc::clone(&chain), keys.clone());
        let volume = Arc::new(Volume::new(Arc::clone(&operators), c, k, Arc::clone(&index), config.volume));
        for entry in data {
            let (entry, pen) = take_over(&*chain, entry).await?;
            volume.add_lease(Lease::new(&*chain, &entry, pen).await?);
        }
        let ops = Arc::clone(&operators);
        let log = Log::new(operators, keys.clone(), replicas, quorum, config.log, pen.fence, &log);
        let gateway = Self::assemble(chain, (ops, pen), keys, config, index, volume, log);
        if gateway.volume.leases().is_empty() {
            gateway.grow().await?;
        }
        // The first entry under the new fence: from here on no older writer's entry can count.
        match gateway.establish().await {
            // Too few replicas for writing are often enough for reading: what was acknowledged can be had back. The
            // entry stays at the head of the log, and writes go on once it counts.
            Err(GatewayError::Unconfirmed) => {
                tracing::warn!("storage.gateway.read_only: too few replicas of the index")
            }
            done => done?,
        }
        {
            let index = gateway.index();
            recovery.buckets = index.buckets().count();
            recovery.objects = index.buckets().map(|(_, b)| b.keys()).sum();
        }
        Ok(Started { gateway, recovery })
    }

    fn assemble(
        chain: Arc<dyn ChainPort>,
        (operators, index_pen): (Arc<Operators>, Pen),
        keys: StorageKeys,
        config: Config,
        index: Arc<RwLock<Index>>,
        volume: Arc<Volume>,
        log: Log,
    ) -> Arc<Self> {
        let (commits, commit_inbox) = mpsc::channel(QUEUE);
        let (packer, pack_inbox) = mpsc::channel(QUEUE);
        let fenced = Arc::new(AtomicBool::new(false));
        let committer = Committer {
            log,
            index: Arc::clone(&index),
            volume: Arc::clone(&volume),
            snapshot_after: config.snapshot_after,
            fenced: Arc::clone(&fenced),
            removed: BTreeMap::new(),
        };
        let mut tasks = vec![
            tokio::spawn(committer.run(commit_inbox)).abort_handle(),
            tokio::spawn(packer::run(Arc::clone(&volume), config.pack_window, pack_inbox)).abort_handle(),
        ];
        Arc::new_cyclic(|weak: &std::sync::Weak<Self>| {
            if let Some(every) = config.upkeep {
                tasks.push(tokio::spawn(upkeep(weak.clone(), every)).abort_handle());
            }
            Self {
                chain,
                operators,
                index_pen,
                keys,
                config,
                index,
                volume,
                commits,
                packer,
                fenced,
                targets: std::sync::Mutex::default(),
                lifecycle: std::sync::Mutex::default(),
                growing: tokio::sync::Mutex::default(),
                tasks: std::sync::Mutex::new(tasks),
            }
        })
    }

    async fn establish(&self) -> Result<(), GatewayError> {
        // Withdrawing a key that cannot exist changes nothing and makes an entry.
        self.change(Mutation::DeleteAccessKey { id: String::new() }).await
    }

    /// Orders another data lease, unless somebody did meanwhile.
    ///
    /// # Errors
    /// The account's credits do not reach, or the chain refuses.
    pub(super) async fn grow(&self) -> Result<(), GatewayError> {
        let before = self.volume.leases().len();
        let _one = self.growing.lock().await;
        if self.volume.leases().len() > before {
            return Ok(());
        }
        if self.chain.credits().await? < self.config.terms.escrow {
            // What is paid is full, and another lease cannot be paid; or nothing is paid at all.
            return Err(if before > 0 { GatewayError::Full } else { GatewayError::Unpaid });
        }
        let (entry, pen) = order_lease(&*self.chain, &self.config, Kind::Data).await?;
        self.volume.add_lease(Lease::new(&*self.chain, &entry, pen).await?);
        Ok(())
    }

    /// The keys; for a share of one object, or the notes of helpers.
    pub const fn keys(&self) -> &StorageKeys {
        &self.keys
    }
}

async fn upkeep(gateway: std::sync::Weak<Gateway>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(gateway) = gateway.upgrade() else { return };
        match gateway.upkeep().await {
            Err(GatewayError::Fenced) => return,
            Err(e) => tracing::warn!(error = %e, "upkeep did not finish"),
            Ok(()) => {}
        }
    }
}

fn new_key() -> Result<Arc<SecretKey>, GatewayError> {
    Ok(Arc::new(SecretKey::from_seed(&salt()?)))
}

async fn take_over(chain: &dyn ChainPort, entry: LeaseEntry) -> Result<(LeaseEntry, Pen), GatewayError> {
    let (key, fence) = (new_key()?, entry.fence.saturating_add(1));
    chain.fence(&entry.id, key.public(), fence).await?;
    let pen = Pen { lease: entry.id, key, fence };
    Ok((entry, pen))
}

/// k and n of both kinds of lease for a number of failure domains. The log has so many replicas that n - k + 1 of them
/// confirm an entry: it survives whatever the data survives. At least 3 where there are as many domains.
pub fn profiles(domains: u16) -> (Profile, u16) {
    let data = choose_below_spare_rule(domains, &Assumptions::default()).profile;
    let confirm = data.n() - data.k() + 1;
    let replicas = (confirm..).find(|r| quorum(*r) >= confirm).unwrap_or(confirm);
    (data, replicas.max(3).min(domains.max(1)))
}

async fn order_lease(
    chain: &dyn ChainPort,
    config: &Config,
    kind: Kind,
) -> Result<(LeaseEntry, Pen), GatewayError> {
    let (data, replicas) = profiles(chain.domains().await?);
    let terms = &config.terms;
    let (k, n, chunks_per_slot, escrow) = match kind {
        Kind::Data => (data.k(), data.n(), terms.chunks_per_slot, terms.escrow),
        Kind::Index => (1, replicas, terms.index_chunks, terms.index_escrow),
    };
    let small = |v: u16| u8::try_from(v).map_err(|_| GatewayError::Invalid("a profile over 255 slots"));
    let order = Order {
        kind,
        k: small(k)?,
        n: small(n)?,
        chunks_per_slot,
        max_per_domain: terms.max_per_domain,
        class: terms.class,
        region: terms.region,
        max_rate: terms.max_rate,
        epochs: 0,
    };
    let key = new_key()?;
    let entry = chain.open_lease(&order, escrow, key.public(), &[]).await?;
    let pen = Pen { lease: entry.id, key, fence: entry.fence };
    Ok((entry, pen))
}

/// Reads all replicas until enough answered; the best chain among them.
async fn read_log(
    operators: &Arc<Operators>,
    key: &IndexKey,
    replicas: &[Seat],
    quorum: u16,
    config: &Config,
    recovery: &mut Recovery,
) -> Result<Chain, GatewayError> {
    let n = u16::try_from(replicas.len()).unwrap_or(u16::MAX);
    let need = config.accept_replicas.unwrap_or(n.saturating_sub(quorum).saturating_add(1)).max(1);
    let until = tokio::time::Instant::now() + config.recover;
    let mut read: BTreeMap<u16, Chain> = BTreeMap::new();
    loop {
        let mut tasks = JoinSet::new();
        for seat in replicas.iter().filter(|s| !read.contains_key(&s.slot)) {
            let (operators, key, seat) = (Arc::clone(operators), key.clone(), seat.clone());
            let limit = config.log.replica.saturating_mul(4);
            tasks.spawn(async move {
                let chain = tokio::time::timeout(limit, read_replica(&operators, &key, &seat)).await;
                (seat.slot, chain)
            });
        }
        while let Some(Ok((slot, chain))) = tasks.join_next().await {
            match chain {
                Ok(Ok(chain)) => drop(read.insert(slot, chain)),
                Ok(Err(crate::error::ShardError::Fenced)) => return Err(GatewayError::Fenced),
                _ => {}
            }
        }
        let have = u16::try_from(read.len()).unwrap_or(u16::MAX);
        if have >= need {
            recovery.replicas = have;
            let closed = read.values().any(|c| c.closed);
            let best = read.into_values().max_by_key(Chain::rank).unwrap_or_default();
            let best = Chain { closed, ..best };
            recovery.entries = best.entries.len();
            // Writing on would replace a log that another key can still read.
            return if best.entries.is_empty() && best.closed {
                Err(GatewayError::WrongKey)
            } else {
                Ok(best)
            };
        }
        if tokio::time::Instant::now() >= until {
            return Err(GatewayError::TooFewReplicas { have, need });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The index that a log describes.
fn replay(log: &Chain) -> Result<Index, GatewayError> {
    let mut index = Index::default();
    let mut complete = log.entries.first().is_none_or(|e| e.seq == crate::log::FIRST);
    let mut snapshot: Vec<u8> = Vec::new();
    let mut next_piece = 0;
    for body in &log.bodies {
        match body {
            Body::Mutations(mutations) => {
                for mutation in mutations {
                    index.apply(mutation.clone());
                }
            }
            Body::Snapshot { piece, pieces, bytes } => {
                if *piece == 0 {
                    (snapshot, next_piece) = (Vec::new(), 0);
                }
                if *piece != next_piece {
                    continue;
                }
                next_piece += 1;
                snapshot.extend_from_slice(bytes);
                if next_piece == *pieces {
                    complete = true;
                    index = Index::default();
                    for mutation in decode_snapshot(&snapshot)? {
                        index.apply(mutation);
                    }
                }
            }
        }
    }
    if !complete {
        return Err(GatewayError::Log("the log begins in the middle of what it restates".into()));
    }
    index.take_dead();
    Ok(index)
}
