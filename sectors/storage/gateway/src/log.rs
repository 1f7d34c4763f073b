//! The replicated index log: appending with a quorum, and bringing replicas that fell behind up to date.
//!
//! One writer at a time: it holds the highest fence, and replicas refuse older ones. An entry counts once `quorum`
//! replicas have it on disk; a writer that takes over reads more than `n - quorum` replicas, so it sees every entry
//! that counted. Entries that did not count may be replaced under a higher fence.

mod catch_up;

use crate::error::{GatewayError, ShardError};
use crate::operators::Operators;
use crate::ports::Seat;
use crate::record::{Body, Private};
use crate::seal;
use cairn_storage_codec::StorageKeys;
use cairn_storage_codec::keys::IndexKey;
use cairn_storage_codec::wire::{LogEntry, MAX_LOG_BATCH, RepairPart, entry_hash, seal_part};
use cairn_types::{Hash, encode};
use catch_up::Source;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes of recent entries kept in memory for replicas that lag: 8 MiB.
const RECENT_BYTES: usize = 8 << 20;
/// Recent entries kept at most.
const RECENT: usize = 256;
/// Bytes of one piece of a snapshot: 1 MiB.
const PIECE: usize = 1 << 20;
/// Segments in one repair part of a snapshot: at most 2.2 MB of metadata.
const TABLE: usize = 1000;
/// Number of a log's first entry.
pub const FIRST: u64 = 0;

/// Timing of appends.
#[derive(Clone, Copy, Debug)]
pub struct LogTiming {
    /// How long one replica may take.
    pub replica: Duration,
    /// How long a replica that was late before is waited for once the quorum is there.
    pub grace: Duration,
    /// How long any replica is waited for once the quorum is there.
    pub tail: Duration,
}

/// An entry with its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its number.
    pub seq: u64,
    /// Hash of the one before.
    pub prev: Hash,
    /// Its own hash.
    pub hash: Hash,
    /// The entry.
    pub entry: Arc<LogEntry>,
}

/// What was read of a log: entries in order, without gaps, all of which open.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The entries.
    pub entries: Vec<Placed>,
    /// Their opened private parts.
    pub bodies: Vec<Body>,
    /// Fence of the last one.
    pub fence: u64,
    /// There was an entry that does not open or does not fit.
    pub closed: bool,
}

impl Chain {
    /// Adds an entry if it continues the chain; `false` if it does not. Where the chain begins, the entry itself
    /// says what was before it.
    fn push(&mut self, key: &IndexKey, seq: u64, entry: LogEntry) -> bool {
        let Ok(private) = seal::open(key, seq, &entry.private) else { return false };
        let follows = |last: &Placed| last.seq.checked_add(1) == Some(seq) && last.hash == private.prev;
        if !self.entries.last().is_none_or(follows) || private.fence < self.fence {
            return false;
        }
        let prev = private.prev;
        self.fence = private.fence;
        self.bodies.push(private.body);
        let hash = entry_hash(&prev, seq, &entry);
        self.entries.push(Placed { seq, prev, hash, entry: Arc::new(entry) });
        true
    }

    /// What decides between two: the later writer, then the longer one.
    pub fn rank(&self) -> (u64, u64) {
        (self.fence, self.entries.last().map_or(0, |e| e.seq.saturating_add(1)))
    }
}

/// Reads all that a replica has, as far as it fits together.
///
/// # Errors
/// It does not answer.
pub async fn read_replica(operators: &Operators, key: &IndexKey, seat: &Seat) -> Result<Chain, ShardError> {
    let mut chain = Chain::default();
    let mut from = operators.log_head(seat).await?.first;
    loop {
        let page = operators.log_read(seat, from).await?;
        if page.entries.is_empty() {
            return Ok(chain);
        }
        from = page.seq;
        for entry in page.entries {
            if !chain.push(key, from, entry) {
                chain.closed = true;
                return Ok(chain);
            }
            from = from.saturating_add(1);
        }
    }
}

#[derive(Clone, Debug)]
struct Replica {
    seat: Seat,
    /// Its entries are ours, as far as they go.
    synced: bool,
    /// It was late or gone at the last append.
    late: bool,
}

/// The writer's end of the log.
pub struct Log {
    operators: Arc<Operators>,
    keys: StorageKeys,
    replicas: Vec<Replica>,
    quorum: u16,
    timing: LogTiming,
    fence: u64,
    /// Number of the next entry.
    next: u64,
    /// Hash of the entry before the next one.
    head: Hash,
    /// Hashes since the last snapshot. Shared with the tasks of one append; copied only if one outlives it.
    hashes: Arc<BTreeMap<u64, Hash>>,
    recent: VecDeque<Placed>,
    recent_bytes: usize,
    since_snapshot: u64,
}

impl Log {
    /// A writer behind `chain` (empty for a new log). No replica is trusted to hold it until compared.
    pub fn new(
        operators: Arc<Operators>,
        keys: StorageKeys,
        seats: Vec<Seat>,
        quorum: u16,
        timing: LogTiming,
        fence: u64,
        chain: &Chain,
    ) -> Self {
        let replicas = seats.into_iter().map(|seat| Replica { seat, synced: false, late: false }).collect();
        let mut log = Self {
            operators,
            keys,
            replicas,
            quorum,
            timing,
            fence,
            next: FIRST,
            head: Hash::default(),
            hashes: Arc::default(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            since_snapshot: 0,
        };
        chain.entries.iter().for_each(|placed| log.remember(placed.clone()));
        log
    }

    /// Bytes appended since the last snapshot.
    pub const fn since_snapshot(&self) -> u64 {
        self.since_snapshot
    }

    /// Replicas that did not confirm the last entry.
    pub fn late(&self) -> usize {
        self.replicas.iter().filter(|r| r.late).count()
    }

    /// Takes over who serves the replicas now.
    pub fn set_seats(&mut self, seats: Vec<Seat>) {
        let old = std::mem::take(&mut self.replicas);
        let replica = |seat: Seat| {
            let same =
                old.iter().find(|r| (r.seat.device, r.seat.generation) == (seat.device, seat.generation));
            let (synced, late) = same.map_or((false, false), |r| (r.synced, r.late));
            Replica { seat, synced, late }
        };
        self.replicas = seats.into_iter().map(replica).collect();
    }

    fn remember(&mut self, placed: Placed) {
        let bytes = size(&placed.entry);
        (self.next, self.head) = (placed.seq.saturating_add(1), placed.hash);
        Arc::make_mut(&mut self.hashes).insert(placed.seq, placed.hash);
        self.since_snapshot = self.since_snapshot.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.recent_bytes += bytes;
        self.recent.push_back(placed);
        while (self.recent_bytes > RECENT_BYTES || self.recent.len() > RECENT)
            && self.recent.len() > 1
            && let Some(old) = self.recent.pop_front()
        {
            self.recent_bytes -= size(&old.entry);
        }
    }

    /// Seals the next entry; nothing is sent yet.
    fn seal(
        &mut self,
        body: Body,
        tables: &[RepairPart],
        checkpoint: Option<u64>,
    ) -> Result<(), GatewayError> {
        let (seq, prev) = (self.next, self.head);
        let repair = tables.iter().map(|t| seal_part(&self.keys.repair.lease(&t.lease), seq, t));
        let repair = repair.collect::<Result<Vec<_>, _>>()?;
        let private = seal::seal(&self.keys.index, &salt()?, seq, &Private::new(self.fence, prev, body))?;
        let entry = LogEntry { checkpoint, repair, private };
        if size(&entry) > MAX_LOG_BATCH {
            return Err(GatewayError::Invalid("the change is too large for one log entry"));
        }
        let hash = entry_hash(&prev, seq, &entry);
        self.remember(Placed { seq, prev, hash, entry: Arc::new(entry) });
        Ok(())
    }

    /// Appends a change and returns once it counts. Repeats itself until then: what was sent once must not be
    /// followed by something else under the same number.
    ///
    /// # Errors
    /// A newer gateway took over, or the change is too large (nothing was sent then).
    pub async fn append(&mut self, body: Body, tables: &[RepairPart]) -> Result<(), GatewayError> {
        self.append_with(body, tables, None).await
    }

    async fn append_with(
        &mut self,
        body: Body,
        tables: &[RepairPart],
        checkpoint: Option<u64>,
    ) -> Result<(), GatewayError> {
        self.seal(body, tables, checkpoint)?;
        let mut pause = Duration::from_millis(50);
        while !self.push().await? {
            tracing::warn!(next = self.next, "too few log replicas confirm; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        Ok(())
    }

    /// Sends what they lack to all replicas; true once enough have the last entry.
    async fn push(&mut self) -> Result<bool, GatewayError> {
        let source = Arc::new(Source {
            operators: Arc::clone(&self.operators),
            next: self.next,
            hashes: Arc::clone(&self.hashes),
            recent: self.recent.iter().map(|p| (p.seq, p.clone())).collect(),
            others: self.replicas.iter().filter(|r| r.synced).map(|r| r.seat.clone()).collect(),
        });
        let mut tasks = JoinSet::new();
        for (i, replica) in self.replicas.iter().enumerate() {
            let (source, seat, synced) = (Arc::clone(&source), replica.seat.clone(), replica.synced);
            let limit = self.timing.replica;
            tasks.spawn(async move {
                let done = tokio::time::timeout(limit, source.bring(&seat, synced)).await;
                (i, done.unwrap_or(Err(ShardError::Unreachable)))
            });
        }
        let done = self.collect(&mut tasks).await;
        let mut acks = 0;
        for (replica, result) in self.replicas.iter_mut().zip(done) {
            let ok = matches!(result, Some(Ok(())));
            (replica.synced, replica.late) = (ok, !ok);
            acks += u16::from(ok);
            match result {
                Some(Err(ShardError::Fenced)) => return Err(GatewayError::Fenced),
                Some(Err(e)) => {
                    tracing::debug!(slot = replica.seat.slot, error = %e, "a log replica did not follow")
                }
                _ => {}
            }
        }
        Ok(acks >= self.quorum)
    }

    /// Waits for all; once the quorum is there only a little, and less for those that were late before.
    async fn collect(&self, tasks: &mut JoinSet<Outcome>) -> Vec<Option<Result<(), ShardError>>> {
        let mut done: Vec<Option<Result<(), ShardError>>> = vec![None; self.replicas.len()];
        let mut enough: Option<Instant> = None;
        loop {
            let next = match enough {
                None => tasks.join_next().await,
                Some(since) => {
                    let only_late = done.iter().zip(&self.replicas).all(|(d, r)| d.is_some() || r.late);
                    let wait = if only_late { self.timing.grace } else { self.timing.tail };
                    tokio::time::timeout_at(since + wait, tasks.join_next()).await.unwrap_or(None)
                }
            };
            let Some(Ok((i, result))) = next else { return done };
            done[i] = Some(result);
            let acks = done.iter().flatten().filter(|r| r.is_ok()).count();
            if enough.is_none() && acks >= usize::from(self.quorum) {
                enough = Some(Instant::now());
            }
        }
    }

    /// Writes a snapshot (the borsh bytes of the mutations that rebuild the index, and the segment tables) and lets
    /// the replicas forget what lies before it.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn snapshot(&mut self, bytes: &[u8], tables: Vec<RepairPart>) -> Result<(), GatewayError> {
        let first = self.next;
        // The first and the last entry carry the checkpoint: the first lets a new replica begin here, the last says
        // that everything is restated.
        for table in tables {
            for (i, added) in table.added.chunks(TABLE).enumerate() {
                let part =
                    RepairPart { reset: i == 0, added: added.to_vec(), removed: Vec::new(), ..table.clone() };
                let begins = (self.next == first).then_some(first);
                self.append_with(Body::Mutations(Vec::new()), &[part], begins).await?;
            }
        }
        let pieces = bytes.len().div_ceil(PIECE).max(1);
        let pieces = u32::try_from(pieces).map_err(|_| GatewayError::Invalid("the index is too large"))?;
        for piece in 0..pieces {
            let from = usize::try_from(piece).unwrap_or(usize::MAX).saturating_mul(PIECE);
            let part = bytes.get(from..from.saturating_add(PIECE).min(bytes.len())).unwrap_or_default();
            let body = Body::Snapshot { piece, pieces, bytes: part.to_vec() };
            let mark = self.next == first || piece + 1 == pieces;
            self.append_with(body, &[], mark.then_some(first)).await?;
        }
        self.since_snapshot = 0;
        self.hashes = Arc::new(Arc::make_mut(&mut self.hashes).split_off(&first));
        for replica in self.replicas.iter().filter(|r| r.synced) {
            let forget = self.operators.log_truncate(&replica.seat, first);
            // A replica that does not forget only wastes its own space.
            let _ = tokio::time::timeout(self.timing.replica, forget).await;
        }
        Ok(())
    }
}

type Outcome = (usize, Result<(), ShardError>);

fn size(entry: &LogEntry) -> usize {
    entry.private.len() + entry.repair.iter().map(|r| r.len() + 4).sum::<usize>() + 32
}

/// The mutations that a snapshot's pieces hold.
///
/// # Errors
/// The bytes are malformed.
pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<Vec<crate::record::Mutation>, GatewayError> {
    cairn_types::decode(bytes).map_err(|e| GatewayError::Log(format!("a bad snapshot: {e}")))
}

/// Bytes of a snapshot.
pub(crate) fn encode_snapshot(mutations: &[crate::record::Mutation]) -> Vec<u8> {
    encode(mutations)
}

/// 32 fresh random bytes.
pub(crate) fn salt() -> Result<[u8; 32], GatewayError> {
    let mut out = [0; 32];
    getrandom::fill(&mut out).map_err(|e| GatewayError::Random(e.to_string()))?;
    Ok(out)
}
