//! A disk in memory that fails on demand and forgets what was not synced when the power goes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Reads, Region};

/// Bytes of the index that a crash leaves old or new together.
const PAGE: usize = 4096;
/// Bytes of a region that a crash leaves old or new together: what disks promise.
const SECTOR: usize = 512;

/// What a [`SimDisk`] does wrong from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Writes find no room.
    Full,
    /// Writes leave half of a file and fail.
    ShortWrite,
    /// Reads and writes fail.
    Broken,
    /// Writes are refused.
    ReadOnly,
}

/// A sync that a [`SimDisk`] answers without doing it, as a disk with a lying cache or a store that forgot to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// None: what is synced stays.
    #[default]
    None,
    /// Content of files.
    Content,
    /// Names of files.
    Names,
    /// The index.
    Index,
    /// Regions.
    Region,
}

#[derive(Clone, Default, PartialEq)]
struct File {
    bytes: Arc<Vec<u8>>,
    /// The content survives a crash, if the name does.
    synced: bool,
}

#[derive(Default)]
struct State {
    /// What a running system sees.
    names: BTreeMap<PathBuf, File>,
    /// What is there after a crash.
    durable: BTreeMap<PathBuf, File>,
    index: Vec<u8>,
    index_durable: Vec<u8>,
    regions: BTreeMap<PathBuf, Vec<u8>>,
    regions_durable: BTreeMap<PathBuf, Vec<u8>>,
    /// Syncs that were done.
    syncs: u64,
    fault: Fault,
    lie: Lie,
    /// Syncs until the power goes; `None` = never.
    power: Option<u64>,
}

/// The disk: share it by cloning.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

fn fail(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "simulated")
}

impl State {
    fn writable(&self) -> io::Result<()> {
        match self.fault {
            _ if self.power == Some(0) => Err(fail(ErrorKind::Other)),
            Fault::Full => Err(fail(ErrorKind::StorageFull)),
            Fault::ReadOnly => Err(fail(ErrorKind::ReadOnlyFilesystem)),
            Fault::Broken => Err(fail(ErrorKind::Other)),
            Fault::None | Fault::ShortWrite => Ok(()),
        }
    }
    fn readable(&self) -> io::Result<()> {
        let dead = self.fault == Fault::Broken || self.power == Some(0);
        if dead { Err(fail(ErrorKind::Other)) } else { Ok(()) }
    }
    /// One sync; the power may go just before it.
    fn sync(&mut self) -> io::Result<()> {
        self.writable()?;
        if let Some(left) = &mut self.power {
            *left -= 1;
            if *left == 0 {
                return Err(fail(ErrorKind::Other));
            }
        }
        self.syncs += 1;
        Ok(())
    }
}

/// What is left of content that was not synced: the first half, the whole length with one half empty.
fn torn(bytes: &[u8], choice: u8) -> Arc<Vec<u8>> {
    let (mut left, half) = (bytes.to_vec(), bytes.len() / 2);
    match choice % 4 {
        0 => left.truncate(half),
        1 => left[half..].fill(0),
        2 => left[..half].fill(0),
        _ => {}
    }
    Arc::new(left)
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Sets the fault.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }
    /// The power goes just before the n-th sync from now (n >= 1); everything fails from then on.
    pub fn power_off_at(&self, n: u64) {
        self.state().power = Some(n.max(1));
    }
    /// Another disk with what is there after a crash now.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let s = self.state();
        let (names, index, regions) = (s.durable.clone(), s.index_durable.clone(), s.regions_durable.clone());
        let state = State {
            durable: names.clone(),
            names,
            index: index.clone(),
            index_durable: index,
            regions: regions.clone(),
            regions_durable: regions,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }
    /// Syncs that were done so far, of files, names, regions and the index.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }
    /// Syncs of this kind do nothing from now on.
    pub fn set_lie(&self, lie: Lie) {
        self.state().lie = lie;
    }
    /// Another disk with what a worse crash leaves: of everything that was not synced, the old state, the new one or
    /// a torn one, as `seed` has it. Index pages and sectors of regions that were not synced are old or new one by one.
    #[must_use]
    pub fn after_torn_crash(&self, seed: u64) -> Self {
        let s = self.state();
        let pick = |what: &[u8]| {
            let hash = blake3::hash(&[&seed.to_le_bytes(), what].concat());
            hash.as_bytes()[0]
        };
        let mut names = BTreeMap::new();
        let all: std::collections::BTreeSet<&PathBuf> = s.names.keys().chain(s.durable.keys()).collect();
        for path in all {
            let choice = pick(path.as_os_str().as_encoded_bytes());
            let left = if choice % 2 == 0 { s.names.get(path) } else { s.durable.get(path) };
            if let Some(file) = left {
                let bytes = if file.synced { file.bytes.clone() } else { torn(&file.bytes, choice / 2) };
                names.insert(path.clone(), File { bytes, synced: true });
            }
        }
        let mut index = s.index.clone();
        for (n, (new, old)) in index.chunks_mut(PAGE).zip(s.index_durable.chunks(PAGE)).enumerate() {
            if new.len() == old.len() && pick(&n.to_le_bytes()) % 2 == 0 {
                new.copy_from_slice(old);
            }
        }
        let mut regions = s.regions.clone();
        for (path, new) in &mut regions {
            let old = s.regions_durable.get(path).map(Vec::as_slice).unwrap_or_default();
            for (n, sector) in new.chunks_mut(SECTOR).enumerate() {
                let was = old.get(n * SECTOR..).unwrap_or_default();
                if pick(&[path.as_os_str().as_encoded_bytes(), &n.to_le_bytes()].concat()) % 2 == 0 {
                    for (i, byte) in sector.iter_mut().enumerate() {
                        *byte = was.get(i).copied().unwrap_or(0);
                    }
                }
            }
        }
        let (durable, index_durable, regions_durable) = (names.clone(), index.clone(), regions.clone());
        let state =
            State { names, durable, index, index_durable, regions, regions_durable, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }
    /// Flips a bit in every file whose path holds `part`; returns how many.
    pub fn rot(&self, part: &str) -> usize {
        let mut s = self.state();
        let mut hit = 0;
        for (path, bytes) in &mut s.names {
            if let (true, Some(byte)) =
                (path.to_string_lossy().contains(part), Arc::make_mut(&mut bytes.bytes).first_mut())
            {
                *byte ^= 1;
                hit += 1;
            }
        }
        hit
    }
    /// Loses every file whose path holds `part`; returns how many.
    pub fn lose(&self, part: &str) -> usize {
        let mut s = self.state();
        let before = s.names.len();
        s.names.retain(|p, _| !p.to_string_lossy().contains(part));
        before - s.names.len()
    }
    /// Bytes of all files and regions, and of the index.
    pub fn stored(&self) -> (usize, usize) {
        let s = self.state();
        let files: usize = s.names.values().map(|f| f.bytes.len()).sum();
        (files + s.regions.values().map(Vec::len).sum::<usize>(), s.index.len())
    }
    /// Files on the disk.
    pub fn files(&self) -> Vec<String> {
        self.state().names.keys().map(|p| p.to_string_lossy().into_owned()).collect()
    }
}

impl Disk for SimDisk {
    fn write_new(&self, path: &Path, parts: &[&[u8]], _: Reads) -> io::Result<()> {
        let mut s = self.state();
        s.writable()?;
        let mut bytes = parts.concat();
        if s.fault == Fault::ShortWrite {
            bytes.truncate(bytes.len() / 2);
            s.names.insert(path.into(), File { bytes: Arc::new(bytes), synced: false });
            return Err(fail(ErrorKind::WriteZero));
        }
        let bytes = Arc::new(bytes);
        s.names.insert(path.into(), File { bytes: bytes.clone(), synced: false });
        if s.lie != Lie::Content {
            s.sync()?;
            s.names.insert(path.into(), File { bytes, synced: true });
        }
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut s = self.state();
        s.writable()?;
        let file = s.names.remove(from).ok_or_else(|| fail(ErrorKind::NotFound))?;
        s.names.insert(to.into(), file);
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut s = self.state();
        if s.lie == Lie::Names {
            return Ok(());
        }
        s.sync()?;
        let s = &mut *s;
        s.durable.retain(|p, _| p.parent() != Some(path));
        for (p, file) in s.names.iter().filter(|(p, _)| p.parent() == Some(path)) {
            s.durable.insert(p.clone(), file.clone());
        }
        Ok(())
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        self.state().writable()
    }
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let s = self.state();
        s.readable()?;
        let file = s.names.get(path).ok_or_else(|| fail(ErrorKind::NotFound))?;
        let start = usize::try_from(offset).map_err(|_| fail(ErrorKind::UnexpectedEof))?;
        let bytes = start.checked_add(len).and_then(|end| file.bytes.get(start..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| fail(ErrorKind::UnexpectedEof))
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        let s = self.state();
        s.readable()?;
        let file = s.names.get(path).ok_or_else(|| fail(ErrorKind::NotFound))?;
        u64::try_from(file.bytes.len()).map_err(|_| fail(ErrorKind::Other))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut s = self.state();
        s.writable()?;
        s.names.remove(path);
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let s = self.state();
        s.readable()?;
        let mut names: Vec<String> = s
            .names
            .keys()
            .filter_map(|p| p.strip_prefix(path).ok()?.components().next())
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        Ok(names)
    }
    fn open_region(&self, path: &Path) -> io::Result<Box<dyn Region>> {
        let mut s = self.state();
        if !s.regions.contains_key(path) {
            s.writable()?;
            s.regions.insert(path.into(), Vec::new());
            s.regions_durable.insert(path.into(), Vec::new());
        }
        Ok(Box::new(SimRegion(self.clone(), path.into())))
    }
    fn open_index(&self) -> Result<redb::Database, redb::DatabaseError> {
        redb::Database::builder().create_with_backend(Index(self.0.clone()))
    }
}

struct SimRegion(SimDisk, PathBuf);

impl Region for SimRegion {
    fn read(&self) -> io::Result<Vec<u8>> {
        let s = self.0.state();
        s.readable()?;
        Ok(s.regions.get(&self.1).cloned().unwrap_or_default())
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut s = self.0.state();
        s.writable()?;
        let short = s.fault == Fault::ShortWrite;
        let bytes = if short { &bytes[..bytes.len() / 2] } else { bytes };
        let span = span(offset, bytes.len())?;
        let region = s.regions.entry(self.1.clone()).or_default();
        if region.len() < span.end {
            region.resize(span.end, 0);
        }
        region[span].copy_from_slice(bytes);
        if short { Err(fail(ErrorKind::WriteZero)) } else { Ok(()) }
    }
    fn sync(&self) -> io::Result<()> {
        let mut s = self.0.state();
        if s.lie == Lie::Region {
            return Ok(());
        }
        s.sync()?;
        let now = s.regions.get(&self.1).cloned().unwrap_or_default();
        s.regions_durable.insert(self.1.clone(), now);
        Ok(())
    }
}

/// The index database on the simulated disk.
struct Index(Arc<Mutex<State>>);

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index(simulated)")
    }
}

impl Index {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn span(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| fail(ErrorKind::InvalidInput))?;
    Ok(start..start.checked_add(len).ok_or_else(|| fail(ErrorKind::InvalidInput))?)
}

impl redb::StorageBackend for Index {
    fn len(&self) -> io::Result<u64> {
        u64::try_from(self.state().index.len()).map_err(|_| fail(ErrorKind::Other))
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let s = self.state();
        s.readable()?;
        let bytes = s.index.get(span(offset, out.len())?).ok_or_else(|| fail(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut s = self.state();
        s.writable()?;
        let len = usize::try_from(len).map_err(|_| fail(ErrorKind::InvalidInput))?;
        s.index.resize(len, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut s = self.state();
        if s.lie == Lie::Index {
            return Ok(());
        }
        s.sync()?;
        s.index_durable = s.index.clone();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut s = self.state();
        s.writable()?;
        let out = s.index.get_mut(span(offset, data.len())?).ok_or_else(|| fail(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(data);
        Ok(())
    }
}
