//! Which leaves the objects behind a root have. Everything above the leaves follows from it.

use super::{CHUNK, CarError, DEPTH_MAX, HashKind, LEAVES_MAX, WIDTH, len64};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{decode_bounded, encode};

/// Longest encoded manifest: 16 MiB.
pub const MANIFEST_MAX: usize = 16 << 20;
/// Longest path under a root, as S3 allows for a key.
const PATH_MAX: usize = 1024;
const VERSION: u8 = 1;

/// An object under a root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FileEntry {
    /// Path under the root; empty if the object is the root.
    pub path: String,
    /// Key of the object.
    pub key: String,
    /// Its entity tag when it was read, without quotes.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
    /// Digests of its leaves. An empty object has one empty leaf.
    pub leaves: Vec<[u8; 32]>,
}

/// The objects behind a root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    version: u8,
    hash: u8,
    width: u16,
    chunk: u32,
    /// Bucket of the objects.
    pub bucket: String,
    /// The objects, in the order of their paths.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Of objects of a bucket, with leaves of [`CHUNK`] bytes and nodes of [`WIDTH`] links.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn new(bucket: &str, kind: HashKind, files: Vec<FileEntry>) -> Result<Self, CarError> {
        Self::shaped(bucket, kind, WIDTH, CHUNK, files)
    }

    pub(super) fn shaped(
        bucket: &str,
        kind: HashKind,
        width: u16,
        chunk: u32,
        mut files: Vec<FileEntry>,
    ) -> Result<Self, CarError> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let made =
            Self { version: VERSION, hash: kind.code(), width, chunk, bucket: bucket.to_owned(), files };
        made.check().map(|_| made)
    }

    /// Bytes of a leaf but the last.
    pub const fn chunk(&self) -> u32 {
        self.chunk
    }
    /// Links of a node.
    pub fn width(&self) -> usize {
        self.width.into()
    }
    /// Is the root an object, not a directory?
    pub fn is_file(&self) -> bool {
        matches!(self.files.as_slice(), [only] if only.path.is_empty())
    }

    /// Checks what a foreign one may get wrong; how its blocks are hashed.
    ///
    /// # Errors
    /// Malformed or over a limit.
    pub fn check(&self) -> Result<HashKind, CarError> {
        if self.version != VERSION {
            return Err(CarError::Malformed("a manifest of an unknown version"));
        }
        if !(2..=WIDTH).contains(&self.width) || !(256..=CHUNK).contains(&self.chunk) {
            return Err(CarError::Limit(
                "a manifest has nodes of 2 to 1024 links and leaves of at most 1 MiB",
            ));
        }
        if self.files.is_empty() {
            return Err(CarError::Malformed("a manifest names no object"));
        }
        let mut leaves = 0usize;
        for file in &self.files {
            let due = file.size.div_ceil(self.chunk.into()).max(1);
            if len64(file.leaves.len()) != due {
                return Err(CarError::Malformed("a manifest has not one digest for each leaf"));
            }
            leaves = leaves.saturating_add(file.leaves.len());
            if !self.is_file() {
                check_path(&file.path)?;
            }
        }
        if leaves > LEAVES_MAX {
            return Err(CarError::Limit(
                "one root has at most 131072 leaves (128 GiB of large files); take several prefixes",
            ));
        }
        if !self.files.windows(2).all(|w| w[0].path < w[1].path) {
            return Err(CarError::Malformed("a manifest names a path twice, or out of order"));
        }
        HashKind::of(self.hash.into())
    }

    /// Frozen bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From bytes that somebody wrote.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CarError> {
        let decoded = decode_bounded(bytes, MANIFEST_MAX);
        let manifest: Self = decoded.map_err(|_| CarError::Malformed("these are not a manifest's bytes"))?;
        manifest.check().map(|_| manifest)
    }
}

/// A path whose parts are names in directories.
pub fn check_path(path: &str) -> Result<(), CarError> {
    let bad = || CarError::Name(path.chars().take(80).collect());
    if path.len() > PATH_MAX || path.split('/').count() > DEPTH_MAX {
        return Err(bad());
    }
    path.split('/').try_for_each(|name| check_name(name).map_err(|_| bad()))
}

/// The name of an entry of a directory.
pub fn check_name(name: &str) -> Result<(), CarError> {
    let fine = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']) && name.len() <= PATH_MAX;
    if fine { Ok(()) } else { Err(CarError::Name(name.chars().take(80).collect())) }
}
