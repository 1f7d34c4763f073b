//! The tree above the leaves of a manifest: balanced files, plain directories.

use super::pb::{self, Link};
use super::{BLOCK_MAX, CarError, Cid, Codec, HashKind, Manifest, len64};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a node's block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Bytes of an object.
    Leaf {
        /// Number of the object in the manifest.
        file: usize,
        /// Where they are in it.
        at: Range<u64>,
    },
    /// An inner node of a file, at hand.
    File(Vec<u8>),
    /// A directory, at hand, and the names of its entries in the order of the children.
    Directory(Vec<u8>, Vec<String>),
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub cid: Cid,
    /// Its block.
    pub block: Block,
    /// Numbers of its children.
    pub children: Vec<usize>,
    /// Bytes of the file in and below it; 0 for a directory.
    pub size: u64,
    /// Bytes of all blocks in and below it.
    weight: u64,
}

/// All nodes behind a root; children come before their parents, the root is the last.
#[derive(Clone, Debug)]
pub struct Dag {
    /// The nodes.
    pub nodes: Vec<Node>,
}

enum Tree {
    File(usize),
    Directory(BTreeMap<String, Tree>),
}

impl Dag {
    /// The tree of a manifest. Cost: O(leaves), with one hash for each inner node.
    ///
    /// # Errors
    /// The manifest is malformed, or a directory has too many entries for a block.
    pub fn new(manifest: &Manifest) -> Result<Self, CarError> {
        let kind = manifest.check()?;
        let mut making = Making { manifest, kind, nodes: Vec::new() };
        if manifest.is_file() {
            making.file(0);
        } else {
            let mut root = BTreeMap::new();
            for (number, file) in manifest.files.iter().enumerate() {
                plant(&mut root, &file.path, number)?;
            }
            making.directory(&root)?;
        }
        Ok(Self { nodes: making.nodes })
    }

    /// Number of the root.
    pub fn root(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }
    /// Name of the root.
    pub fn root_cid(&self) -> &Cid {
        &self.nodes[self.root()].cid
    }
    /// The child of a directory with this name.
    pub fn child(&self, node: usize, name: &str) -> Option<usize> {
        let node = self.nodes.get(node)?;
        let Block::Directory(_, names) = &node.block else { return None };
        names.iter().position(|n| n == name).and_then(|at| node.children.get(at).copied())
    }

    /// Nodes in and below one, depth first, parents before children.
    pub fn below(&self, node: usize) -> Vec<usize> {
        self.collect(node, &(0..u64::MAX))
    }

    /// Nodes that a reader of these bytes of a file needs, depth first. For a directory: itself.
    pub fn within(&self, node: usize, bytes: &Range<u64>) -> Vec<usize> {
        match self.nodes.get(node).map(|n| &n.block) {
            Some(Block::Directory(..)) | None => vec![node],
            _ => self.collect(node, bytes),
        }
    }

    fn collect(&self, node: usize, bytes: &Range<u64>) -> Vec<usize> {
        let (mut out, mut stack) = (Vec::new(), vec![(node, 0u64)]);
        while let Some((number, start)) = stack.pop() {
            let Some(node) = self.nodes.get(number) else { continue };
            out.push(number);
            let mut at = start;
            let mut wanted = Vec::new();
            for child in &node.children {
                let size = self.nodes.get(*child).map_or(0, |c| c.size);
                let end = at.saturating_add(size);
                let all = bytes.end == u64::MAX;
                if all || (at < bytes.end && end > bytes.start) {
                    wanted.push((*child, at));
                }
                at = end;
            }
            stack.extend(wanted.into_iter().rev());
        }
        out
    }
}

/// Puts a path into a tree of directories.
fn plant(root: &mut BTreeMap<String, Tree>, path: &str, number: usize) -> Result<(), CarError> {
    let clash = || CarError::Name(path.chars().take(80).collect());
    let (mut at, mut rest) = (root, path);
    while let Some((name, below)) = rest.split_once('/') {
        let entry = at.entry(name.to_owned()).or_insert_with(|| Tree::Directory(BTreeMap::new()));
        let Tree::Directory(inner) = entry else { return Err(clash()) };
        (at, rest) = (inner, below);
    }
    match at.insert(rest.to_owned(), Tree::File(number)) {
        None => Ok(()),
        Some(_) => Err(clash()),
    }
}

struct Making<'a> {
    manifest: &'a Manifest,
    kind: HashKind,
    nodes: Vec<Node>,
}

impl Making<'_> {
    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn link(&self, number: usize, name: &str) -> Link {
        let node = &self.nodes[number];
        Link { cid: node.cid.clone(), name: name.to_owned(), size: node.weight }
    }

    fn branch(&self, block: Vec<u8>, children: Vec<usize>, of: impl Fn(Vec<u8>) -> Block, size: u64) -> Node {
        let below = children.iter().fold(0u64, |sum, c| sum.saturating_add(self.nodes[*c].weight));
        let weight = below.saturating_add(len64(block.len()));
        Node { cid: Cid::of(Codec::DagPb, self.kind, &block), block: of(block), children, size, weight }
    }

    /// Balanced: every leaf at the same depth, nodes filled from the left.
    fn file(&mut self, number: usize) -> usize {
        let (file, chunk) = (&self.manifest.files[number], u64::from(self.manifest.chunk()));
        let mut level = Vec::with_capacity(file.leaves.len());
        let mut at = 0u64;
        for digest in &file.leaves {
            let end = at.saturating_add(chunk).min(file.size);
            let (cid, size) = (Cid::new(Codec::Raw, self.kind, *digest), end - at);
            let block = Block::Leaf { file: number, at: at..end };
            level.push(self.add(Node { cid, block, children: Vec::new(), size, weight: size }));
            at = end;
        }
        while level.len() > 1 {
            let groups: Vec<Vec<usize>> =
                level.chunks(self.manifest.width()).map(<[usize]>::to_vec).collect();
            level = groups.into_iter().map(|group| self.inner(group)).collect();
        }
        level.first().copied().unwrap_or_default()
    }

    fn inner(&mut self, children: Vec<usize>) -> usize {
        let parts: Vec<_> = children.iter().map(|c| (self.link(*c, ""), self.nodes[*c].size)).collect();
        let size = parts.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        let node = self.branch(pb::file_node(&parts), children, Block::File, size);
        self.add(node)
    }

    /// The depth is bounded by the paths' (`manifest::check_path`).
    fn directory(&mut self, entries: &BTreeMap<String, Tree>) -> Result<usize, CarError> {
        let (mut children, mut links, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (name, entry) in entries {
            let child = match entry {
                Tree::File(number) => self.file(*number),
                Tree::Directory(inner) => self.directory(inner)?,
            };
            links.push(self.link(child, name));
            children.push(child);
            names.push(name.clone());
        }
        let block = pb::directory_node(&links);
        if block.len() > BLOCK_MAX {
            return Err(CarError::Limit(
                "a directory must fit one block of 2 MiB (some 20,000 entries); take smaller prefixes",
            ));
        }
        let node = self.branch(block, children, |block| Block::Directory(block, names.clone()), 0);
        Ok(self.add(node))
    }
}
