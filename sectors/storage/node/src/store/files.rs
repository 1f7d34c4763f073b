//! One file for each fragment: its bytes, then the outboard, its length, a mark.
//!
//! A file is written under a temporary name, made durable, renamed, and its directory made durable; the last step is
//! shared by all fragments that wait for it at the same time.

use cairn_crypto::merkle::chunk::{ChunkProof, Outboard, group_range, prove_chunk};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::code;
use cairn_storage_rules::types::Fragment;
use cairn_types::{Refusal, decode, encode};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{SlotKey, StoreError, io, locked};
use crate::disk::{Disk, Reads};

const MARK: &[u8; 8] = b"CAIRNFR1";
const TAIL: u64 = 12;

pub struct Files {
    disk: Arc<dyn Disk>,
    next: AtomicU64,
    dirs: Mutex<BTreeMap<PathBuf, Arc<GroupSync>>>,
}

/// Lets everybody who waits share one sync.
#[derive(Default)]
struct GroupSync {
    asked: AtomicU64,
    done: Mutex<u64>,
}

impl GroupSync {
    fn sync(&self, run: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = locked(&self.done);
        if *done >= mine {
            return Ok(());
        }
        let covered = self.asked.load(Ordering::SeqCst);
        run()?;
        *done = covered;
        Ok(())
    }
}

fn dir(key: &SlotKey) -> PathBuf {
    ["f".to_owned(), key.lease.to_string(), format!("{}-{}", key.slot, key.generation)].iter().collect()
}

fn path(key: &SlotKey, segment: &SegmentId) -> PathBuf {
    dir(key).join(hex::encode(segment.0))
}

pub(super) fn damaged(segment: &SegmentId, why: &str) -> StoreError {
    Refusal::with(
        code::DAMAGED,
        format!("{segment:?} cannot be read ({why})"),
        "read it from other slots; repair will rebuild it",
    )
}

impl Files {
    /// Removes what a crash left half written.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let tmp = PathBuf::from("tmp");
        disk.create_dir_all(&tmp).map_err(|e| io(&e))?;
        for name in disk.list(&tmp).map_err(|e| io(&e))? {
            disk.remove(&tmp.join(name)).map_err(|e| io(&e))?;
        }
        Ok(Self { disk, next: AtomicU64::new(0), dirs: Mutex::default() })
    }

    fn group(&self, at: &PathBuf) -> Result<Arc<GroupSync>, StoreError> {
        if let Some(group) = locked(&self.dirs).get(at) {
            return Ok(group.clone());
        }
        self.disk.create_dir_all(at).map_err(|e| io(&e))?;
        Ok(locked(&self.dirs).entry(at.clone()).or_default().clone())
    }

    /// Makes a fragment durable.
    pub fn write(
        &self,
        key: &SlotKey,
        segment: &SegmentId,
        data: &[u8],
        outboard: &Outboard,
        reads: Reads,
    ) -> Result<(), StoreError> {
        let at = dir(key);
        let group = self.group(&at)?;
        let tmp = PathBuf::from("tmp").join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let outboard = encode(outboard);
        let len = u32::try_from(outboard.len()).map_err(|_| damaged(segment, "too long"))?;
        let done = self
            .disk
            .write_new(&tmp, &[data, &outboard, &len.to_le_bytes(), MARK], reads)
            .and_then(|()| self.disk.rename(&tmp, &path(key, segment)))
            .and_then(|()| group.sync(|| self.disk.sync_dir(&at)));
        done.map_err(|e| {
            // Whatever is left of it is in nobody's list; the next start clears it if this cannot.
            let _ = self.disk.remove(&tmp);
            let _ = self.disk.remove(&path(key, segment));
            io(&e)
        })
    }

    pub fn read(
        &self,
        key: &SlotKey,
        segment: &SegmentId,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StoreError> {
        self.disk.read_at(&path(key, segment), offset, len).map_err(|e| damaged(segment, &e.to_string()))
    }

    fn outboard(&self, key: &SlotKey, segment: &SegmentId) -> Result<Outboard, StoreError> {
        let at = path(key, segment);
        let bad = |e: std::io::Error| damaged(segment, &e.to_string());
        let short = || damaged(segment, "the file is cut off");
        let total = self.disk.len(&at).map_err(bad)?;
        let tail_at = total.checked_sub(TAIL).ok_or_else(short)?;
        let tail = self.disk.read_at(&at, tail_at, 12).map_err(bad)?;
        let (len, mark) = tail.split_at_checked(4).ok_or_else(short)?;
        let len = u32::from_le_bytes(len.try_into().map_err(|_| short())?);
        let start = tail_at.checked_sub(u64::from(len)).filter(|_| mark == MARK).ok_or_else(short)?;
        let len = usize::try_from(len).map_err(|_| short())?;
        let outboard: Outboard = decode(&self.disk.read_at(&at, start, len).map_err(bad)?)
            .map_err(|e| damaged(segment, &e.to_string()))?;
        if outboard.fragment_len() == start { Ok(outboard) } else { Err(short()) }
    }

    /// Root and length as the file tells them.
    pub fn fragment(&self, key: &SlotKey, segment: &SegmentId) -> Result<Fragment, StoreError> {
        let outboard = self.outboard(key, segment)?;
        Ok(Fragment { root: outboard.root(), len: outboard.fragment_len() })
    }

    /// A chunk with its proof; reads one group and the outboard.
    pub fn chunk(
        &self,
        key: &SlotKey,
        segment: &SegmentId,
        fragment: &Fragment,
        index: u64,
    ) -> Result<ChunkProof, StoreError> {
        let outboard = self.outboard(key, segment)?;
        let range = group_range(fragment.len, index).map_err(|e| damaged(segment, &e.to_string()))?;
        let len = usize::try_from(range.end - range.start).map_err(|_| damaged(segment, "too long"))?;
        let group = self.read(key, segment, range.start, len)?;
        prove_chunk(&outboard, index, &group).map_err(|e| damaged(segment, &e.to_string()))
    }

    pub fn remove(&self, key: &SlotKey, segment: &SegmentId) -> Result<(), StoreError> {
        self.disk.remove(&path(key, segment)).map_err(|e| io(&e))
    }

    /// Segments with a file, for every slot that has any.
    pub fn slots(&self) -> Result<Vec<(SlotKey, Vec<SegmentId>)>, StoreError> {
        let mut out = Vec::new();
        let root = PathBuf::from("f");
        for lease in self.disk.list(&root).map_err(|e| io(&e))? {
            for name in self.disk.list(&root.join(&lease)).map_err(|e| io(&e))? {
                let Some(key) = parse(&lease, &name) else { continue };
                let names = self.disk.list(&dir(&key)).map_err(|e| io(&e))?;
                out.push((key, names.iter().filter_map(|n| segment(n)).collect()));
            }
        }
        Ok(out)
    }
}

fn segment(name: &str) -> Option<SegmentId> {
    let mut id = [0; 32];
    hex::decode_to_slice(name, &mut id).ok()?;
    Some(SegmentId(id))
}

fn parse(lease: &str, name: &str) -> Option<SlotKey> {
    let (slot, generation) = name.split_once('-')?;
    Some(SlotKey {
        lease: cairn_types::LeaseId::from_hex(lease)?,
        slot: slot.parse().ok()?,
        generation: generation.parse().ok()?,
    })
}
