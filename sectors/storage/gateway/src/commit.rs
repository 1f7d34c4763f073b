//! The one writer of the index: checks mutations, appends them in groups, applies them once they count.

use crate::error::GatewayError;
use crate::index::{Applied, Condition, Index};
use crate::log::{Log, encode_snapshot};
use crate::record::{Body, Mutation, Stored, VersionId, Versioning};
use crate::volume::{Volume, read, write};
use cairn_storage_codec::wire::RepairPart;
use cairn_storage_codec::{SegmentId, SegmentMeta};
use cairn_types::{LeaseId, encode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot};

/// Most changes in one entry.
const GROUP: usize = 512;
/// Bytes of changes after which a group is closed: 1 MiB.
const GROUP_BYTES: usize = 1 << 20;

/// An uploaded segment that must end up in the index or be given up: dropping the last one that was not committed
/// gives it up.
pub struct Uploaded {
    volume: Arc<Volume>,
    stored: Stored,
    committed: AtomicBool,
}

impl Uploaded {
    /// Takes care of a stored segment.
    pub fn new(volume: Arc<Volume>, stored: Stored) -> Arc<Self> {
        Arc::new(Self { volume, stored, committed: AtomicBool::new(false) })
    }
    /// The segment.
    pub const fn meta(&self) -> &SegmentMeta {
        &self.stored.meta
    }
    fn commit(&self) {
        if !self.committed.swap(true, Ordering::Relaxed) {
            self.volume.committed(self.stored.meta.id());
        }
    }
}

impl Drop for Uploaded {
    fn drop(&mut self) {
        if !*self.committed.get_mut() {
            self.volume.abandon(self.stored.meta.id());
        }
    }
}

/// A change that somebody waits for.
pub struct Commit {
    /// The change.
    pub mutation: Mutation,
    /// New segments that it refers to.
    pub segments: Vec<Arc<Uploaded>>,
    /// What must hold of the object that is there.
    pub condition: Condition,
    /// Who waits. A waiter that left does not undo the change.
    pub reply: oneshot::Sender<Result<Applied, GatewayError>>,
}

/// How two changes of one group may touch the same thing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// Alone.
    Alone,
    /// Together with others that need it.
    Need,
    /// Together with others that let go of it.
    Release,
}

/// The writer.
pub struct Committer {
    /// The log's end.
    pub log: Log,
    /// The index.
    pub index: Arc<RwLock<Index>>,
    /// The segments.
    pub volume: Arc<Volume>,
    /// Bytes of log after which a snapshot is written.
    pub snapshot_after: u64,
    /// Set once a newer gateway took over.
    pub fenced: Arc<AtomicBool>,
    /// Segments that left since the last entry.
    pub removed: BTreeMap<LeaseId, Vec<SegmentId>>,
}

impl Committer {
    /// Works until all senders are gone or a newer gateway took over.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Commit>) {
        let mut waiting: VecDeque<Commit> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                let Some(commit) = inbox.recv().await else { return };
                waiting.push_back(commit);
            }
            while waiting.len() < 2 * GROUP
                && let Ok(commit) = inbox.try_recv()
            {
                waiting.push_back(commit);
            }
            let group = self.group(&mut waiting);
            if let Err(e) = self.commit(group).await {
                tracing::error!(error = %e, "the index log cannot be written");
                if e == GatewayError::Fenced {
                    return self.refuse(waiting, inbox).await;
                }
            }
        }
    }

    async fn refuse(self, waiting: VecDeque<Commit>, mut inbox: mpsc::Receiver<Commit>) {
        self.fenced.store(true, Ordering::Relaxed);
        waiting.into_iter().for_each(|c| drop(c.reply.send(Err(GatewayError::Fenced))));
        while let Some(c) = inbox.recv().await {
            let _ = c.reply.send(Err(GatewayError::Fenced));
        }
    }

    /// Takes changes that are acceptable and do not disturb each other, in order; the rest waits.
    fn group(&self, waiting: &mut VecDeque<Commit>) -> Vec<Commit> {
        let index = read(&self.index);
        let mut last = index.last_version();
        let (mut touched, mut group, mut bytes) = (BTreeMap::new(), Vec::new(), 0);
        while let Some(mut commit) = waiting.pop_front() {
            let touches = touches(&index, &commit.mutation);
            let clash = |(key, touch): &(Vec<u8>, Touch)| {
                touched.get(key).is_some_and(|t: &Touch| *t == Touch::Alone || t != touch)
            };
            if touches.iter().any(clash) {
                waiting.push_front(commit);
                break;
            }
            let new: BTreeSet<&SegmentId> = commit.segments.iter().map(|s| s.meta().id()).collect();
            if let Err(e) = index.check_with(&commit.mutation, &commit.condition, &new) {
                let _ = commit.reply.send(Err(e));
                continue;
            }
            last = commit.mutation.number(last);
            bytes += encode(&commit.mutation).len();
            touched.extend(touches);
            group.push(commit);
            if group.len() == GROUP || bytes > GROUP_BYTES {
                break;
            }
        }
        group
    }

    async fn commit(&mut self, group: Vec<Commit>) -> Result<(), GatewayError> {
        if group.is_empty() {
            return Ok(());
        }
        let mut mutations = Vec::new();
        let mut tables: BTreeMap<LeaseId, RepairPart> = BTreeMap::new();
        for (lease, removed) in std::mem::take(&mut self.removed) {
            tables.insert(lease, RepairPart { removed, ..empty_table(lease) });
        }
        let mut new = BTreeSet::new();
        for commit in &group {
            for segment in &commit.segments {
                let meta = segment.meta();
                if new.insert(*meta.id()) && read(&self.index).segment(meta.id()).is_none() {
                    let lease = *meta.lease();
                    let table = tables.entry(lease).or_insert_with(|| empty_table(lease));
                    table.added.push(meta.clone());
                    mutations.push(Mutation::AddSegment(segment.stored.clone()));
                }
            }
            mutations.push(commit.mutation.clone());
        }
        let tables: Vec<RepairPart> = tables.into_values().collect();
        let done = self.log.append(Body::Mutations(mutations.clone()), &tables).await;
        if let Err(e) = done {
            group.into_iter().for_each(|c| drop(c.reply.send(Err(e.clone()))));
            return Err(e);
        }
        let applied = self.apply(mutations);
        group.iter().flat_map(|c| &c.segments).for_each(|s| s.commit());
        for (commit, applied) in group.into_iter().zip(applied) {
            let _ = commit.reply.send(Ok(applied));
        }
        self.maybe_snapshot().await
    }

    /// What became of each mutation that is not a new segment.
    fn apply(&mut self, mutations: Vec<Mutation>) -> Vec<Applied> {
        let mut applied = Vec::with_capacity(mutations.len());
        let dead = {
            let mut index = write(&self.index);
            for mutation in mutations {
                let segment = matches!(mutation, Mutation::AddSegment(_));
                let done = index.apply(mutation);
                if !segment {
                    applied.push(done);
                }
            }
            index.take_dead()
        };
        for meta in &dead {
            self.removed.entry(*meta.lease()).or_default().push(*meta.id());
        }
        self.volume.discard(dead.iter().map(|m| &**m));
        applied
    }

    async fn maybe_snapshot(&mut self) -> Result<(), GatewayError> {
        if self.log.since_snapshot() < self.snapshot_after {
            return Ok(());
        }
        let (mutations, tables) = {
            let index = read(&self.index);
            let mut tables: BTreeMap<LeaseId, RepairPart> = BTreeMap::new();
            for lease in self.volume.leases() {
                tables.insert(lease.id(), empty_table(lease.id()));
            }
            for state in index.segments() {
                let lease = *state.meta.lease();
                let table = tables.entry(lease).or_insert_with(|| empty_table(lease));
                table.added.push((*state.meta).clone());
            }
            (index.snapshot(), tables)
        };
        self.removed.clear();
        let bytes = encode_snapshot(&mutations);
        self.log.snapshot(&bytes, tables.into_values().collect()).await?;
        // A large index must not be written again after every change.
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.snapshot_after = self.snapshot_after.max(len.saturating_mul(2));
        Ok(())
    }
}

const fn empty_table(lease: LeaseId) -> RepairPart {
    RepairPart { lease, reset: false, added: Vec::new(), removed: Vec::new() }
}

/// What a change touches: two that clash do not go into one group, so each is checked against the effects of the
/// other.
fn touches(index: &Index, mutation: &Mutation) -> Vec<(Vec<u8>, Touch)> {
    let bucket = |name: &str| [b"b", name.as_bytes()].concat();
    let object = |b: &str, k: &str| [b"o", b.as_bytes(), b"\0", k.as_bytes()].concat();
    let segment = |id: &SegmentId| [b"s".as_slice(), &id.0].concat();
    let upload = |id: &[u8; 16]| [b"u".as_slice(), id].concat();
    let gone = |b: &str, k: &str, id: VersionId| {
        let old = index.version(b, k, Some(id)).ok().and_then(|v| v.object);
        let runs = old.map(|o| o.placement.runs().to_vec()).unwrap_or_default();
        runs.into_iter().map(|r| (segment(&r.segment), Touch::Release)).collect::<Vec<_>>()
    };
    // Where every write makes a version, nothing is replaced.
    let released = |b: &str, k: &str| {
        let kept = index.bucket(b).is_ok_and(|b| b.settings.versioning == Versioning::Enabled);
        if kept { Vec::new() } else { gone(b, k, VersionId::NULL) }
    };
    match mutation {
        Mutation::CreateBucket { name, .. }
        | Mutation::DeleteBucket { name }
        | Mutation::SetBucket { name, .. } => vec![(bucket(name), Touch::Alone)],
        Mutation::SetLabel { bucket: b, key, .. } => {
            vec![(bucket(b), Touch::Need), (object(b, key), Touch::Alone)]
        }
        Mutation::PutObject { bucket: b, key, object: o, .. } => {
            let mut out = vec![(bucket(b), Touch::Need), (object(b, key), Touch::Alone)];
            let needed: BTreeSet<_> = o.placement.runs().iter().map(|r| segment(&r.segment)).collect();
            let old = released(b, key).into_iter().filter(|(k, _)| !needed.contains(k)).collect::<Vec<_>>();
            out.extend(old);
            out.extend(needed.into_iter().map(|k| (k, Touch::Need)));
            out
        }
        Mutation::DeleteObject { bucket: b, key, .. } => {
            let mut out = vec![(bucket(b), Touch::Need), (object(b, key), Touch::Alone)];
            out.extend(released(b, key));
            out
        }
        Mutation::DeleteVersion { bucket: b, key, version } => {
            let mut out = vec![(bucket(b), Touch::Need), (object(b, key), Touch::Alone)];
            out.extend(gone(b, key, *version));
            out
        }
        Mutation::CreateUpload { upload: u, .. } => vec![(bucket(&u.bucket), Touch::Need)],
        Mutation::PutPart { id, number, part } => {
            let mut one = upload(id);
            one.extend(number.to_be_bytes());
            let mut out = vec![(upload(id), Touch::Need), (one, Touch::Alone)];
            let needed: BTreeSet<_> = part.placement.runs().iter().map(|r| segment(&r.segment)).collect();
            out.extend(needed.into_iter().map(|k| (k, Touch::Need)));
            out
        }
        // Rare: alone with everything that could be copied from or deleted meanwhile.
        Mutation::CompleteUpload { id, .. } => {
            let mut out = vec![(upload(id), Touch::Alone)];
            if let Some(u) = index.upload_by_id(id) {
                out.push((bucket(&u.upload.bucket), Touch::Need));
                out.push((object(&u.upload.bucket, &u.upload.key), Touch::Alone));
                out.extend(released(&u.upload.bucket, &u.upload.key));
            }
            out
        }
        Mutation::AbortUpload { id } => vec![(upload(id), Touch::Alone)],
        // Of snapshots, which nobody asks for.
        Mutation::AddSegment(_) | Mutation::PutVersion { .. } | Mutation::Numbered { .. } => Vec::new(),
        Mutation::SetRoot { segment: id, .. } => vec![(segment(id), Touch::Need)],
        Mutation::PutAccessKey { id, .. } | Mutation::DeleteAccessKey { id } => {
            vec![([b"a", id.as_bytes()].concat(), Touch::Alone)]
        }
    }
}
