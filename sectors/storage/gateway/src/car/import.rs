//! Verified files out of a CAR file. Every block is hashed, and the whole tree is walked, before the first byte is given
//! out; then files are read block by block, each checked again (a file on a disk may change meanwhile).

use super::manifest::{check_name, check_path};
use super::pb::{self, Kind};
use super::{BLOCKS_MAX, CarError, Cid, Codec, DEPTH_MAX, len64, v1};
use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// Most nodes that are visited, so that a small file that repeats itself cannot unfold without end.
const VISITS_MAX: usize = 1 << 22;
/// Largest file: what S3 takes as one object.
const FILE_MAX: u64 = 5 << 40;

/// A file of the DAG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path under the root; empty if the root is a file.
    pub path: String,
    /// Its node.
    pub cid: Cid,
    /// Its bytes.
    pub size: u64,
}

/// A CAR file with an index of its blocks.
pub struct CarFile<R> {
    from: BufReader<R>,
    root: Cid,
    /// Where each block begins, and its bytes.
    blocks: BTreeMap<Cid, (u64, usize)>,
}

impl<R: Read + Seek> CarFile<R> {
    /// Reads the whole file once, and checks every block against its CID.
    ///
    /// # Errors
    /// Malformed, not exactly one root, too many or too long blocks, an unknown hash function, or a wrong hash.
    pub fn open(from: R) -> Result<Self, CarError> {
        let mut from = BufReader::with_capacity(1 << 18, from);
        let (roots, mut at) = v1::read_header(&mut from)?;
        let one = CarError::Limit("a file with one root can be imported; split it at its roots");
        let [root] = <[Cid; 1]>::try_from(roots).map_err(|_| one)?;
        let mut blocks = BTreeMap::new();
        while let Some(section) = v1::read_section(&mut from)? {
            if !section.cid.fits(&section.block) {
                return Err(CarError::Mismatch(section.cid));
            }
            at = at.saturating_add(section.len);
            let len = section.block.len();
            blocks.insert(section.cid.canonical(), (at.saturating_sub(len64(len)), len));
            if blocks.len() > BLOCKS_MAX {
                return Err(CarError::Limit("a file with at most 1048576 blocks can be imported; split it"));
            }
        }
        Ok(Self { from, root: root.canonical(), blocks })
    }

    /// The root, as version 1.
    pub const fn root(&self) -> &Cid {
        &self.root
    }

    /// Blocks in the file.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn block(&mut self, cid: &Cid) -> Result<Vec<u8>, CarError> {
        if let Some(inline) = cid.inline() {
            return Ok(inline.to_vec());
        }
        let (at, len) = *self.blocks.get(cid).ok_or_else(|| CarError::Missing(cid.clone()))?;
        self.from.seek(SeekFrom::Start(at))?;
        let mut block = vec![0; len];
        self.from.read_exact(&mut block)?;
        if cid.fits(&block) { Ok(block) } else { Err(CarError::Mismatch(cid.clone())) }
    }

    /// The files below the root, by path, after the whole tree was walked.
    ///
    /// # Errors
    /// A block is missing, sizes do not add up, a name cannot be a key, or the tree is too deep or too large.
    pub fn entries(&mut self) -> Result<Vec<Entry>, CarError> {
        let mut walk = Walk { car: self, visits: 0, entries: Vec::new() };
        let root = walk.car.root.clone();
        walk.node(&root, String::new(), 0)?;
        let mut entries = walk.entries;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        if entries.windows(2).any(|w| w[0].path == w[1].path) {
            return Err(CarError::Malformed("a directory has two entries of one name"));
        }
        Ok(entries)
    }

    /// Reads a file's bytes.
    pub fn read(&mut self, entry: &Entry) -> FileReader<'_, R> {
        FileReader { stack: vec![entry.cid.clone()], car: self }
    }
}

struct Walk<'a, R> {
    car: &'a mut CarFile<R>,
    visits: usize,
    entries: Vec<Entry>,
}

impl<R: Read + Seek> Walk<'_, R> {
    fn visit(&mut self, depth: usize) -> Result<(), CarError> {
        self.visits += 1;
        if self.visits > VISITS_MAX {
            return Err(CarError::Limit("the tree unfolds to more than 4194304 nodes; split it"));
        }
        if depth > DEPTH_MAX {
            return Err(CarError::Limit("the tree is more than 64 nodes deep; flatten it"));
        }
        Ok(())
    }

    /// A file, a directory or a part of a sharded one.
    fn node(&mut self, cid: &Cid, path: String, depth: usize) -> Result<(), CarError> {
        self.visit(depth)?;
        if cid.codec() == Codec::Raw {
            let size = self.file(cid, depth)?;
            self.entries.push(Entry { path, cid: cid.clone(), size });
            return Ok(());
        }
        let node = pb::decode(&self.car.block(cid)?)?;
        match node.kind {
            Kind::File => {
                let size = self.file(cid, depth)?;
                self.entries.push(Entry { path, cid: cid.clone(), size });
            }
            Kind::Directory => {
                for link in node.links {
                    self.node(&link.cid.canonical(), below(&path, &link.name)?, depth + 1)?;
                }
            }
            Kind::Shard { prefix } => {
                for link in node.links {
                    let name = link.name.get(prefix..);
                    let name = name.ok_or(CarError::Malformed("an entry of a shard lacks its prefix"))?;
                    // An entry without a name is the next level of the same directory.
                    let path = if name.is_empty() { path.clone() } else { below(&path, name)? };
                    self.node(&link.cid.canonical(), path, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// The bytes of a file, from the sizes that every node states, each compared with what lies below it.
    fn file(&mut self, cid: &Cid, depth: usize) -> Result<u64, CarError> {
        self.visit(depth)?;
        if cid.codec() == Codec::Raw {
            let len = cid.inline().map(<[u8]>::len).or_else(|| self.car.blocks.get(cid).map(|b| b.1));
            return len.map(len64).ok_or_else(|| CarError::Missing(cid.clone()));
        }
        let node = pb::decode(&self.car.block(cid)?)?;
        if node.kind != Kind::File {
            return Err(CarError::Malformed("a directory lies inside of a file"));
        }
        for (link, stated) in node.links.iter().zip(&node.blocks) {
            if self.file(&link.cid.clone().canonical(), depth + 1)? != *stated {
                return Err(CarError::Malformed("a file's sizes do not add up"));
            }
        }
        if node.size > FILE_MAX { Err(CarError::Limit("an object has at most 5 TiB")) } else { Ok(node.size) }
    }
}

fn below(path: &str, name: &str) -> Result<String, CarError> {
    check_name(name)?;
    let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    check_path(&path).map(|()| path)
}

/// The bytes of a file, a block at a time.
pub struct FileReader<'a, R> {
    car: &'a mut CarFile<R>,
    /// Nodes still to read, the next one last.
    stack: Vec<Cid>,
}

impl<R: Read + Seek> FileReader<'_, R> {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// Reading fails, or a block is not what it was.
    pub fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, CarError> {
        while let Some(cid) = self.stack.pop() {
            let block = self.car.block(&cid)?;
            let bytes = match cid.codec() {
                Codec::Raw => block,
                Codec::DagPb => {
                    let node = pb::decode(&block)?;
                    self.stack.extend(node.links.into_iter().rev().map(|l| l.cid.canonical()));
                    node.data
                }
            };
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
