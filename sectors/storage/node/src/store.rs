//! Fragments, logs and signatures of one device.
//!
//! Large fragments lie in one file each ([`files`]); small ones and everything else lie in the index ([`index`]). What
//! was acknowledged survives a crash: a fragment is durable before its `Put` is answered, a revision, receipt or log
//! entry is one durable change. What was not acknowledged is either absent or a staged fragment that its customer can
//! name again.

mod epochs;
mod files;
mod index;
mod journal;
mod log;
mod rows;
mod slots;

pub use rows::{Frozen, SlotKey, SlotRow};

use cairn_crypto::merkle::MerkleError;
use cairn_crypto::merkle::chunk::{ChunkProof, Outboard, group_range, prove_chunk};
use cairn_storage_codec::segment::SegmentId;
use cairn_storage_codec::wire::{Held, Note, SlotList, code};
use cairn_storage_rules::types::{CoSigned, Fragment, Repaired};
use cairn_types::{Epoch, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, MAX_REGION, Reads};
use files::{Files, damaged};
use index::{GARBAGE, HELD, Index, LOG, NOTES, OLD, REPAIRS, SLOTS, SMALL, STAGED};
use rows::Garbage;

/// A refusal with one of the codes of [`code`].
pub type StoreError = Refusal;

/// Most bytes of fragments that arrive in parts, all slots together.
const MAX_PARTIAL: u64 = 64 << 20;

/// Bytes of journal before it goes into the database: 2 MiB, which is also what its rows may take in memory.
const JOURNAL: u64 = 2 << 20;
/// Longer fragments lie in files of their own: 32 KiB.
const SMALL_MAX: u64 = 32 << 10;

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves its value valid at each step that can panic.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A failure of the disk as a refusal.
fn io(e: &std::io::Error) -> StoreError {
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Refusal::with(
            code::FULL,
            format!("the disk is full: {e}"),
            "use another slot; the operator must make room",
        ),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Refusal::with(
            code::READ_ONLY,
            format!("the disk is read-only: {e}"),
            "read only, or use another slot; the operator must look at the disk",
        ),
        _ => Refusal::with(
            code::DISK,
            format!("the disk failed: {e}"),
            "use another slot; the operator must look at the disk",
        ),
    }
}

pub(crate) fn as_len(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// What a slot may take, and how: most bytes, most bytes unsigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes reserved by the lease.
    pub reserve: u64,
    /// Bytes without a revision.
    pub exposure: u64,
    /// How soon the slot's fragments are read.
    pub reads: Reads,
}

struct Partial {
    fragment: Fragment,
    bytes: Vec<u8>,
}

/// A slot in memory.
#[derive(Default)]
struct Slot {
    row: SlotRow,
    list: SlotList,
    staged: BTreeMap<SegmentId, Fragment>,
    partial: BTreeMap<SegmentId, Partial>,
    garbage: BTreeMap<SegmentId, Garbage>,
    /// Fragments between arrival and durability: one writer for each.
    writing: BTreeSet<SegmentId>,
    /// Bytes staged, arriving or about to be written.
    unsigned: u64,
    /// Bytes of the standing list.
    standing: u64,
}

impl Slot {
    fn find(&self, segment: &SegmentId) -> Option<Fragment> {
        self.list.get(segment).map(|h| h.fragment).or_else(|| self.staged.get(segment).copied())
    }
}

type SlotRef = Arc<Mutex<Slot>>;

/// Everything that a device keeps. Methods block on the disk.
pub struct Store {
    files: Files,
    index: Index,
    /// Bytes that the device offers.
    capacity: u64,
    /// Bytes taken from it.
    used: AtomicU64,
    partial: AtomicU64,
    slots: Mutex<BTreeMap<SlotKey, SlotRef>>,
    frozen: Mutex<BTreeMap<Epoch, Frozen>>,
}

impl Store {
    /// Opens a store, clearing what a crash left half done.
    ///
    /// # Errors
    /// The disk fails, or the index is damaged or in use.
    pub fn open(disk: Arc<dyn Disk>, capacity: u64) -> Result<Self, StoreError> {
        Self::open_with(disk, capacity, JOURNAL)
    }

    /// As [`Self::open`], with a journal of at most this many bytes: the smaller it is, the more often the database is
    /// written.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(disk: Arc<dyn Disk>, capacity: u64, journal: u64) -> Result<Self, StoreError> {
        let index = Index::open(Arc::clone(&disk), journal.min(MAX_REGION))?;
        let files = Files::open(disk)?;
        let store = Self {
            files,
            index,
            capacity,
            used: AtomicU64::new(0),
            partial: AtomicU64::new(0),
            slots: Mutex::default(),
            frozen: Mutex::default(),
        };
        store.load()?;
        Ok(store)
    }

    fn load(&self) -> Result<(), StoreError> {
        let mut slots: BTreeMap<SlotKey, Slot> = BTreeMap::new();
        for (key, row) in self.index.all::<SlotRow>(SLOTS, &[])? {
            let Some(key) = SlotKey::read(&key) else { continue };
            let held = self.index.all::<Held>(HELD, &key.bytes())?;
            let list = SlotList::from_held(held.into_iter().map(|(_, h)| h))
                .map_err(|e| Refusal::with(code::DAMAGED, format!("the index: {e}"), "start anew"))?;
            let standing = list.held().iter().map(|h| h.fragment.len).sum();
            self.take_up(row.log.bytes);
            slots.insert(key, Slot { row, list, standing, ..Slot::default() });
        }
        for (at, garbage) in self.index.all::<Garbage>(GARBAGE, &[])? {
            if let (Some(key), Some(id)) = (SlotKey::read(&at), SlotKey::read_segment(&at)) {
                slots.entry(key).or_default().garbage.insert(id, garbage);
            }
        }
        for (key, segments) in self.files.slots()? {
            let slot = slots.entry(key).or_default();
            for id in segments {
                if slot.list.get(&id).is_some() || slot.garbage.contains_key(&id) {
                    continue;
                }
                match self.files.fragment(&key, &id) {
                    Ok(fragment) => {
                        slot.unsigned += fragment.len;
                        slot.staged.insert(id, fragment);
                    }
                    // Never acknowledged, since the content is durable before the name.
                    Err(_) => self.files.remove(&key, &id)?,
                }
            }
        }
        for (at, fragment) in self.index.all::<Fragment>(STAGED, &[])? {
            if let (Some(key), Some(id)) = (SlotKey::read(&at), SlotKey::read_segment(&at)) {
                let slot = slots.entry(key).or_default();
                slot.unsigned += fragment.len;
                slot.staged.insert(id, fragment);
            }
        }
        for slot in slots.values() {
            let garbage: u64 = slot.garbage.values().map(|g| g.fragment.len).sum();
            self.take_up(slot.standing.saturating_add(slot.unsigned).saturating_add(garbage));
        }
        *locked(&self.slots) = slots.into_iter().map(|(k, s)| (k, Arc::new(Mutex::new(s)))).collect();
        self.load_frozen()
    }

    fn take_up(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
    }
    fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // The closure always returns a value.
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// Takes bytes out of the offer.
    fn reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.capacity);
        match self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits) {
            Ok(_) => Ok(()),
            Err(used) => Err(Refusal::with(
                code::FULL,
                format!("{used} of the {} bytes offered are taken, {bytes} more do not fit", self.capacity),
                "use another slot, or remove data here",
            )),
        }
    }

    /// Bytes of the offer that are free.
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used.load(Ordering::SeqCst))
    }

    fn slot(&self, key: &SlotKey) -> SlotRef {
        locked(&self.slots).entry(*key).or_default().clone()
    }

    fn existing(&self, key: &SlotKey) -> Option<SlotRef> {
        locked(&self.slots).get(key).cloned()
    }

    /// All slots with anything in them.
    pub fn keys(&self) -> Vec<SlotKey> {
        locked(&self.slots).keys().copied().collect()
    }

    /// Bytes of a fragment.
    ///
    /// # Errors
    /// Unknown, a range outside it, or damaged.
    pub fn get(
        &self,
        key: &SlotKey,
        segment: &SegmentId,
        offset: u64,
        len: u32,
    ) -> Result<Vec<u8>, StoreError> {
        let found = self.existing(key).and_then(|s| locked(&s).find(segment));
        let fragment = found.ok_or_else(|| unknown(segment))?;
        let end = offset.checked_add(u64::from(len)).filter(|end| *end <= fragment.len);
        let (Some(_), Ok(len)) = (end, usize::try_from(len)) else {
            return Err(Refusal::with(
                code::MALFORMED,
                format!("{len} bytes from {offset} of a fragment of {}", fragment.len),
                "ask for a range inside the fragment",
            ));
        };
        if fragment.len > SMALL_MAX {
            return self.files.read(key, segment, offset, len);
        }
        let whole = self.small(key, segment)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = start.checked_add(len).and_then(|end| whole.get(start..end));
        part.map(<[u8]>::to_vec).ok_or_else(|| damaged(segment, "the row is cut off"))
    }

    /// A fragment that lies in the index.
    fn small(&self, key: &SlotKey, segment: &SegmentId) -> Result<Vec<u8>, StoreError> {
        let row = self.index.bytes(SMALL, &key.with_segment(segment))?;
        row.ok_or_else(|| damaged(segment, "the row is gone"))
    }

    /// A chunk of a fragment with its proof, whether it stands or was removed while an open epoch needs it.
    ///
    /// # Errors
    /// Damaged.
    pub fn chunk(
        &self,
        key: &SlotKey,
        segment: &SegmentId,
        fragment: &Fragment,
        index: u64,
    ) -> Result<ChunkProof, StoreError> {
        if fragment.len > SMALL_MAX {
            return self.files.chunk(key, segment, fragment, index);
        }
        let bad = |e: MerkleError| damaged(segment, &e.to_string());
        let whole = self.small(key, segment)?;
        let outboard = outboard_of(&whole, fragment).map_err(|e| damaged(segment, &e.cause))?;
        let range = group_range(fragment.len, index).map_err(bad)?;
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(whole.len());
        prove_chunk(&outboard, index, &whole[at(range.start)..at(range.end)]).map_err(bad)
    }

    /// Keeps a note; at most [`cairn_storage_codec::wire::MAX_NOTE`] bytes, outside the reserve.
    ///
    /// # Errors
    /// The disk.
    pub fn put_note(&self, key: &SlotKey, note: &Note) -> Result<(), StoreError> {
        self.index.write(|tx| {
            tx.put(NOTES, &key.bytes(), note);
            Ok(())
        })
    }

    /// The note.
    ///
    /// # Errors
    /// The disk.
    pub fn note(&self, key: &SlotKey) -> Result<Option<Note>, StoreError> {
        self.index.get(NOTES, &key.bytes())
    }

    /// Keeps a repair to be handed in with the bundles.
    ///
    /// # Errors
    /// The disk.
    pub fn put_repair(&self, repair: &Repaired) -> Result<(), StoreError> {
        self.index.write(|tx| {
            tx.put(REPAIRS, &SlotKey::of(&repair.revision).bytes(), repair);
            Ok(())
        })
    }

    /// Repairs to be handed in.
    ///
    /// # Errors
    /// The disk.
    pub fn repairs(&self) -> Result<Vec<Repaired>, StoreError> {
        Ok(self.index.all(REPAIRS, &[])?.into_iter().map(|(_, r)| r).collect())
    }

    /// Forgets a repair (it was settled, or is past use).
    ///
    /// # Errors
    /// The disk.
    pub fn drop_repair(&self, key: &SlotKey) -> Result<(), StoreError> {
        self.index.write(|tx| {
            tx.remove(REPAIRS, &key.bytes());
            Ok(())
        })
    }

    /// Removes everything of a slot, unless an open epoch needs it; true if it is gone.
    ///
    /// # Errors
    /// The disk.
    pub fn forget(&self, key: &SlotKey) -> Result<bool, StoreError> {
        let needed = |r: &CoSigned| SlotKey::of(&r.revision) == *key;
        if locked(&self.frozen).values().any(|f| f.revisions.iter().any(needed)) {
            return Ok(false);
        }
        let Some(slot) = self.existing(key) else { return Ok(true) };
        let mut slot = locked(&slot);
        let prefix = key.bytes();
        self.index.write(|tx| {
            for table in [SLOTS, HELD, LOG, NOTES, OLD, GARBAGE, SMALL, STAGED] {
                tx.retain(table, &prefix, |_| false)?;
            }
            Ok(())
        })?;
        let garbage: u64 = slot.garbage.values().map(|g| g.fragment.len).sum();
        let ids = slot.list.held().iter().map(|h| h.segment);
        let ids: Vec<SegmentId> =
            ids.chain(slot.staged.keys().copied()).chain(slot.garbage.keys().copied()).collect();
        for id in ids {
            // What cannot be removed now is found as staged at the next start and removed then.
            let _ = self.files.remove(key, &id);
        }
        self.give_back(slot.standing.saturating_add(slot.unsigned).saturating_add(garbage));
        self.give_back(slot.row.log.bytes);
        let arriving: u64 = slot.partial.values().map(|p| p.fragment.len).sum();
        self.partial.fetch_sub(arriving, Ordering::SeqCst);
        *slot = Slot::default();
        locked(&self.slots).remove(key);
        Ok(true)
    }
}

/// Reads bytes as a journal, and as what a record with the right check holds: they must not panic, and what is accepted
/// must be the record of what it says.
pub(crate) fn check_journal(bytes: &[u8]) {
    let chain = journal::Check::default();
    let _ = journal::next(&chain, bytes);
    let mut framed = Vec::new();
    journal::frame(&chain, bytes, &mut framed);
    if let Some((ops, _, rest)) = journal::next(&chain, &framed) {
        assert!(rest.is_empty() && journal::ops(&ops) == bytes, "an accepted encoding is canonical");
    }
}

fn unknown(segment: &SegmentId) -> StoreError {
    Refusal::with(
        code::UNKNOWN_SEGMENT,
        format!("{segment:?} is not in this slot"),
        "list the slot; put the fragment again or read it from other slots",
    )
}

/// Outboard of a whole fragment, if the bytes are what they claim to be.
fn outboard_of(data: &[u8], fragment: &Fragment) -> Result<Outboard, StoreError> {
    let outboard = Outboard::of(data)
        .map_err(|e| Refusal::with(code::FRAGMENT, e.to_string(), "send a shorter fragment"))?;
    if outboard.root() == fragment.root && as_len(data.len()) == fragment.len {
        return Ok(outboard);
    }
    Err(Refusal::new(
        code::FRAGMENT,
        "the bytes do not have the root announced",
        "send the fragment again from its first byte, with its BLAKE3",
    ))
}
