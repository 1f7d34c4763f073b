//! A directory of the operating system.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Disk, MAX_REGION, Reads, Region};

/// Bytes of the index that are kept in memory: 4 MiB. The system caches the file besides.
const INDEX_CACHE: usize = 4 << 20;
/// Offsets, lengths and addresses of writes past the cache are multiples of this.
const BLOCK: usize = 4096;
/// Shorter files are not worth the way past the cache.
#[cfg(target_os = "linux")]
const WORTHWHILE: usize = 128 << 10;
/// Writes past the cache at once, all disks together; each needs a buffer as long as its fragment. Others go through the
/// cache instead of waiting.
#[cfg(target_os = "linux")]
const AT_ONCE: usize = 6;

/// Writes the whole blocks of `bytes` to the start of a file without leaving them in the system's cache, and without
/// copying them where they begin at a block; returns how many bytes that were. They are not durable yet. Bytes that are
/// read `soon` and would have to be copied go through the cache instead.
///
/// # Errors
/// The system cannot do that here; nothing is known of the content then.
#[cfg(target_os = "linux")]
fn past_cache(path: &Path, bytes: &[u8], reads: Reads) -> io::Result<usize> {
    use std::os::unix::fs::OpenOptionsExt;
    let whole = bytes.len() / BLOCK * BLOCK;
    if whole < WORTHWHILE {
        return Ok(0);
    }
    let mut file = fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
    if bytes.as_ptr().align_offset(BLOCK) == 0 {
        return file.write_all(&bytes[..whole]).map(|()| whole);
    }
    if reads == Reads::Soon {
        return Ok(0);
    }
    let Some(mut room) = take_room() else { return Ok(0) };
    let long = room.len().max(whole.saturating_add(BLOCK));
    room.resize(long, 0);
    let start = room.as_ptr().align_offset(BLOCK).min(BLOCK);
    let aligned = &mut room[start..start.saturating_add(whole)];
    aligned.copy_from_slice(&bytes[..whole]);
    let written = file.write_all(aligned);
    let mut rooms = rooms();
    rooms.out = rooms.out.saturating_sub(1);
    rooms.idle.push(room);
    written.map(|()| whole)
}

/// Buffers of writes past the cache, to be used again; none is longer than the longest fragment.
#[cfg(target_os = "linux")]
struct Rooms {
    idle: Vec<Vec<u8>>,
    out: usize,
}

#[cfg(target_os = "linux")]
fn rooms() -> MutexGuard<'static, Rooms> {
    static ROOMS: Mutex<Rooms> = Mutex::new(Rooms { idle: Vec::new(), out: 0 });
    ROOMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer, unless as many are in use as may be.
#[cfg(target_os = "linux")]
fn take_room() -> Option<Vec<u8>> {
    let mut rooms = rooms();
    if rooms.out >= AT_ONCE {
        return None;
    }
    rooms.out = rooms.out.saturating_add(1);
    Some(rooms.idle.pop().unwrap_or_default())
}

/// Elsewhere nothing goes past the cache.
#[cfg(not(target_os = "linux"))]
fn past_cache(_: &Path, _: &[u8], _: Reads) -> io::Result<usize> {
    Ok(0)
}

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The directory `root`; it is made if it does not exist.
    ///
    /// # Errors
    /// As the system says.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }
}

impl Disk for RealDisk {
    fn write_new(&self, path: &Path, parts: &[&[u8]], reads: Reads) -> io::Result<()> {
        let path = self.root.join(path);
        let mut file = File::create(&path)?;
        if let Some((first, behind)) = parts.split_first() {
            let written = past_cache(&path, first, reads).unwrap_or(0);
            file.seek(SeekFrom::Start(u64::try_from(written).unwrap_or(0)))?;
            let rest = first.get(written..).unwrap_or_default();
            if rest.len() < BLOCK {
                file.write_all(&[rest, &behind.concat()].concat())?;
            } else {
                file.write_all(rest)?;
                file.write_all(&behind.concat())?;
            }
        }
        file.sync_data()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut at = PathBuf::new();
        for part in path.components() {
            let parent = at.clone();
            at.push(part);
            match fs::create_dir(self.root.join(&at)) {
                Ok(()) => self.sync_dir(&parent)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.root.join(path))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(self.root.join(path))?.len())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(self.root.join(path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // Names that are not text are none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
    fn open_region(&self, path: &Path) -> io::Result<Box<dyn Region>> {
        let at = self.root.join(path);
        let fresh = !at.exists();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&at)?;
        if file.metadata()?.len() > MAX_REGION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is too long", path.display()),
            ));
        }
        if fresh {
            self.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        }
        Ok(Box::new(RealRegion(file)))
    }
    fn open_index(&self) -> Result<redb::Database, redb::DatabaseError> {
        redb::Builder::new().set_cache_size(INDEX_CACHE).create(self.root.join("index.redb"))
    }
}

struct RealRegion(File);

impl Region for RealRegion {
    fn read(&self) -> io::Result<Vec<u8>> {
        let (mut file, mut bytes) = (&self.0, Vec::new());
        file.seek(SeekFrom::Start(0))?;
        file.take(MAX_REGION).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_whichever_way_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        for len in [0, 1, 4096, 128 << 10, (128 << 10) + 1, (256 << 10) - 1, 1 << 20] {
            let data: Vec<u8> = (0..len).map(|i| u8::try_from(i % 249).unwrap()).collect();
            for (reads, at) in [(Reads::Soon, "soon"), (Reads::Seldom, "seldom")] {
                // Twice: a file that is there is replaced.
                disk.write_new(Path::new(at), &[&vec![1; 300_000], b"old"], reads).unwrap();
                // Wherever the bytes lie in memory.
                let mut room = vec![0; BLOCK];
                let start = room.as_ptr().align_offset(BLOCK).min(BLOCK);
                room.truncate(start);
                room.extend_from_slice(&data);
                disk.write_new(Path::new(at), &[&room[start..], b"tail"], reads).unwrap();
                assert!(fs::read(dir.path().join(at)).unwrap() == [data.as_slice(), b"tail"].concat());
                disk.write_new(Path::new(at), &[&data, b"tail"], reads).unwrap();
                let want = [data.as_slice(), b"tail"].concat();
                assert!(fs::read(dir.path().join(at)).unwrap() == want, "{len} {at}");
            }
        }
    }
}
