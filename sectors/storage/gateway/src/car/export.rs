//! Objects into a CAR file, in one pass and with the memory of one leaf (and 32 bytes for each).

use super::dag::Block;
use super::{CHUNK, CarError, Cid, Codec, Dag, FileEntry, HashKind, Manifest, len64, v1};
use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};

/// Cuts a body into leaves.
pub struct Leaves {
    kind: HashKind,
    chunk: usize,
    held: Vec<u8>,
    digests: Vec<[u8; 32]>,
    size: u64,
}

/// What is done with each leaf.
type Each<'a> = &'a mut dyn FnMut(&[u8; 32], &[u8]) -> Result<(), CarError>;

impl Leaves {
    /// Leaves of [`CHUNK`] bytes.
    pub fn new(kind: HashKind) -> Self {
        Self::shaped(kind, CHUNK)
    }

    pub(super) fn shaped(kind: HashKind, chunk: u32) -> Self {
        let chunk = usize::try_from(chunk).unwrap_or(usize::MAX);
        Self { kind, chunk, held: Vec::new(), digests: Vec::new(), size: 0 }
    }

    /// Takes bytes; calls `each` for every leaf that they complete.
    ///
    /// # Errors
    /// What `each` says.
    pub fn push(&mut self, mut bytes: &[u8], each: Each) -> Result<(), CarError> {
        self.size = self.size.saturating_add(len64(bytes.len()));
        while !bytes.is_empty() {
            // A full leaf waits until more comes: the last one may be full.
            if self.held.len() == self.chunk {
                self.leaf(each)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.chunk - self.held.len()));
            self.held.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn leaf(&mut self, each: Each) -> Result<(), CarError> {
        let digest = self.kind.digest(&self.held);
        each(&digest, &self.held)?;
        self.digests.push(digest);
        self.held.clear();
        Ok(())
    }

    /// Ends the body: the digests of its leaves, and its bytes.
    ///
    /// # Errors
    /// What `each` says.
    pub fn finish(mut self, each: Each) -> Result<(Vec<[u8; 32]>, u64), CarError> {
        if !self.held.is_empty() || self.digests.is_empty() {
            self.leaf(each)?;
        }
        Ok((self.digests, self.size))
    }
}

/// Writes a CAR file: leaves as they come, the tree above them at the end, the root into the header last.
pub struct Exporter<W> {
    to: W,
    kind: HashKind,
    open: Option<(FileEntry, Leaves)>,
    files: Vec<FileEntry>,
    written: BTreeSet<[u8; 32]>,
}

impl<W: Write + Seek> Exporter<W> {
    /// Begins with a header whose root is not known yet.
    ///
    /// # Errors
    /// Writing fails.
    pub fn new(mut to: W, kind: HashKind) -> Result<Self, CarError> {
        to.write_all(&v1::header(&Cid::new(Codec::DagPb, kind, [0; 32])))?;
        Ok(Self { to, kind, open: None, files: Vec::new(), written: BTreeSet::new() })
    }

    /// Begins the next file; an empty path if it is the only one and the root.
    pub fn begin(&mut self, path: &str, key: &str) {
        let entry = FileEntry {
            path: path.to_owned(),
            key: key.to_owned(),
            etag: String::new(),
            size: 0,
            leaves: Vec::new(),
        };
        self.open = Some((entry, Leaves::new(self.kind)));
    }

    /// Takes bytes of the file that was begun.
    ///
    /// # Errors
    /// Writing fails.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CarError> {
        let Some((_, leaves)) = &mut self.open else { return Ok(()) };
        leaves.push(bytes, &mut each(&mut self.to, &mut self.written, self.kind))
    }

    /// Ends the file that was begun.
    ///
    /// # Errors
    /// Writing fails.
    pub fn end(&mut self) -> Result<(), CarError> {
        if let Some((mut entry, leaves)) = self.open.take() {
            (entry.leaves, entry.size) =
                leaves.finish(&mut each(&mut self.to, &mut self.written, self.kind))?;
            self.files.push(entry);
        }
        Ok(())
    }

    /// Writes the tree and the root; the root and how many bytes of objects lie below it.
    ///
    /// # Errors
    /// Writing fails, a path cannot be in a directory, or there are too many leaves or entries.
    pub fn finish(mut self) -> Result<(Cid, u64), CarError> {
        self.end()?;
        let manifest = Manifest::new("", self.kind, self.files)?;
        let dag = Dag::new(&manifest)?;
        let mut seen = BTreeSet::new();
        for node in &dag.nodes {
            if let Block::File(block) | Block::Directory(block, _) = &node.block
                && seen.insert(&node.cid)
            {
                self.to.write_all(&v1::section(&node.cid, block.len()))?;
                self.to.write_all(block)?;
            }
        }
        self.to.seek(SeekFrom::Start(0))?;
        // A root that is a leaf has a header of the same length: the codec's number takes one byte too.
        self.to.write_all(&v1::header(dag.root_cid()))?;
        self.to.flush()?;
        let size = manifest.files.iter().fold(0u64, |sum, f| sum.saturating_add(f.size));
        Ok((dag.root_cid().clone(), size))
    }
}

fn each<'a, W: Write>(
    to: &'a mut W,
    written: &'a mut BTreeSet<[u8; 32]>,
    kind: HashKind,
) -> impl FnMut(&[u8; 32], &[u8]) -> Result<(), CarError> + 'a {
    move |digest, block| {
        if written.insert(*digest) {
            to.write_all(&v1::section(&Cid::new(Codec::Raw, kind, *digest), block.len()))?;
            to.write_all(block)?;
        }
        Ok(())
    }
}
