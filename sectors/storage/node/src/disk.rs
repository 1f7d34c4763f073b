//! The few things that a store asks of a disk, so that tests can let it fail.

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::{Fault, Lie, SimDisk};

/// Most bytes of a [`Region`]: 64 MiB.
pub const MAX_REGION: u64 = 64 << 20;

use std::io;
use std::path::Path;

/// Whether a file will be read soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Yes: the system may keep it in memory.
    #[default]
    Soon,
    /// Seldom: it should not push out what is read.
    Seldom,
}

/// A directory tree. Paths are relative to its root.
///
/// A file made by [`Disk::write_new`] has durable content but not a durable name; names become durable by
/// [`Disk::sync_dir`].
pub trait Disk: Send + Sync {
    /// Writes a new file (or replaces one) from the parts and waits until its content is durable.
    ///
    /// # Errors
    /// Full, read-only or failing; the file may exist in part.
    fn write_new(&self, path: &Path, parts: &[&[u8]], reads: Reads) -> io::Result<()>;
    /// Gives a file another name, replacing what was there.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it, durably.
    ///
    /// # Errors
    /// As the system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// Missing, shorter, or unreadable.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Bytes of a file.
    ///
    /// # Errors
    /// Missing or unreadable.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Removes a file; one that is not there is fine.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; none if it does not exist.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// A file that is written over and over in place, made if it does not exist; its name is durable then.
    ///
    /// # Errors
    /// As the system says, or longer than [`MAX_REGION`].
    fn open_region(&self, path: &Path) -> io::Result<Box<dyn Region>>;
    /// The index database beside the files.
    ///
    /// # Errors
    /// Locked by another process, or damaged.
    fn open_index(&self) -> Result<redb::Database, redb::DatabaseError>;
}

/// A file that is written in place; see [`Disk::open_region`].
pub trait Region: Send + Sync {
    /// All bytes.
    ///
    /// # Errors
    /// Unreadable.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Writes at `offset`, making the file longer where needed. Not durable until [`Region::sync`].
    ///
    /// # Errors
    /// Full, read-only or failing; any part of the bytes may be there.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable.
    ///
    /// # Errors
    /// As the system says; nothing is known then of what was written since the last sync.
    fn sync(&self) -> io::Result<()>;
}
