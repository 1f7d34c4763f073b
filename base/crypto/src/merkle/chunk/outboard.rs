//! The operator's side: building the hashes kept beside the data, and proving from them.

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_root};
use borsh::io::{Error, ErrorKind, Read};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Hash;

use super::{
    CHUNK, ChunkProof, GROUP, MerkleError, check_len, chunk_range, group_range, join_level, subtree,
};
use crate::merkle::as_u64;

/// Chaining values of the 16 KiB groups and of all levels above.
///
/// Borsh: root, length, group count (u32), then the chaining values of the groups; upper levels are recomputed on
/// reading. Decoding checks that they lead to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outboard {
    root: Hash,
    len: u64,
    /// `levels[0]` are the groups; the last level has two entries (or one, for a single group).
    levels: Vec<Vec<ChainingValue>>,
}

impl Outboard {
    /// Hashes a fragment that is in memory.
    pub fn of(data: &[u8]) -> Result<Self, MerkleError> {
        let mut builder = OutboardBuilder::new();
        builder.update(data)?;
        Ok(builder.finish())
    }

    /// Root: the plain BLAKE3 hash of the fragment.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Length of the fragment in bytes.
    pub fn fragment_len(&self) -> u64 {
        self.len
    }

    fn from_groups(root: Hash, len: u64, groups: Vec<ChainingValue>) -> Self {
        let mut levels = vec![groups];
        while let Some(last) = levels.last().filter(|l| l.len() > 2) {
            levels.push(join_level(last));
        }
        Self { root, len, levels }
    }

    /// Root of two or more groups.
    fn computed_root(&self) -> Option<Hash> {
        match self.levels.last().map(Vec::as_slice) {
            Some([l, r]) => Some(Hash(*merge_subtrees_root(l, r, Mode::Hash).as_bytes())),
            _ => None,
        }
    }
}

impl BorshSerialize for Outboard {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.root.serialize(writer)?;
        self.len.serialize(writer)?;
        self.levels[0].serialize(writer)
    }
}

impl BorshDeserialize for Outboard {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let bad = |text: String| Error::new(ErrorKind::InvalidData, text);
        let root = Hash::deserialize_reader(reader)?;
        let len = u64::deserialize_reader(reader)?;
        check_len(len).map_err(|e| bad(e.to_string()))?;
        let groups = Vec::<ChainingValue>::deserialize_reader(reader)?;
        if as_u64(groups.len()) != len.div_ceil(GROUP) {
            return Err(bad(format!("{} groups for {len} bytes", groups.len())));
        }
        let outboard = Self::from_groups(root, len, groups);
        match outboard.computed_root() {
            Some(computed) if computed != root => Err(bad("the outboard does not lead to its root".into())),
            _ => Ok(outboard),
        }
    }
}

/// Hashes a fragment as it arrives; buffers one group.
#[derive(Clone, Debug, Default)]
pub struct OutboardBuilder {
    buffer: Vec<u8>,
    groups: Vec<ChainingValue>,
    len: u64,
}

impl OutboardBuilder {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes. The builder is unchanged after an error.
    pub fn update(&mut self, mut data: &[u8]) -> Result<(), MerkleError> {
        let len = self.len.saturating_add(as_u64(data.len()));
        check_len(len)?;
        self.len = len;
        let group = usize::try_from(GROUP).expect("16 KiB fit any address space");
        // Whole groups are hashed where they lie; the last one waits, since it may be the only one.
        while self.buffer.is_empty() && data.len() > group {
            let (now, rest) = data.split_at(group);
            self.groups.push(subtree(as_u64(self.groups.len()) * GROUP, now));
            data = rest;
        }
        while !data.is_empty() {
            if self.buffer.len() == group {
                self.flush();
            }
            let take = data.len().min(group - self.buffer.len());
            let (now, rest) = data.split_at(take);
            self.buffer.extend_from_slice(now);
            data = rest;
        }
        Ok(())
    }

    /// The outboard of everything appended.
    pub fn finish(mut self) -> Outboard {
        let single = self.groups.is_empty().then(|| Hash(*blake3::hash(&self.buffer).as_bytes()));
        if !self.buffer.is_empty() {
            self.flush();
        }
        let mut outboard = Outboard::from_groups(Hash::default(), self.len, self.groups);
        outboard.root = single
            .or_else(|| outboard.computed_root())
            .expect("a fragment is one group at most, or has a top level of two");
        outboard
    }

    fn flush(&mut self) {
        let offset = as_u64(self.groups.len()) * GROUP;
        self.groups.push(subtree(offset, &self.buffer));
        self.buffer.clear();
    }
}

/// Proof of chunk `index` from the bytes of its group, which lie at [`group_range`].
///
/// Bytes that no longer fit the outboard are [`MerkleError::Corrupt`]: the operator learns of a rotten disk
/// before the network does.
pub fn prove_chunk(outboard: &Outboard, index: u64, group: &[u8]) -> Result<ChunkProof, MerkleError> {
    let chunk = chunk_range(outboard.len, index)?;
    let range = group_range(outboard.len, index)?;
    if as_u64(group.len()) != range.end - range.start {
        let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        return Err(MerkleError::ChunkLength { got: group.len(), want });
    }
    let number = range.start / GROUP;
    let inside = |at: u64| usize::try_from(at).expect("an offset below 16 KiB fits any address space");
    let mut path = group_path(range.start, inside(index % (GROUP / CHUNK)), group);
    let top = path.pop();
    let recorded = usize::try_from(number).ok().and_then(|n| outboard.levels[0].get(n));
    if top.as_ref() != recorded {
        return Err(MerkleError::Corrupt { group: number });
    }
    if let Ok(mut i) = usize::try_from(number) {
        for level in &outboard.levels {
            path.extend(level.get(i ^ 1));
            i /= 2;
        }
    }
    let bytes = &group[inside(chunk.start - range.start)..inside(chunk.end - range.start)];
    Ok(ChunkProof { chunk: bytes.to_vec(), path })
}

/// Siblings of chunk `i` inside its group, and the group's own chaining value as the last entry (none if empty).
fn group_path(offset: u64, mut i: usize, group: &[u8]) -> Vec<ChainingValue> {
    let size = usize::try_from(CHUNK).expect("1 KiB fits any address space");
    let leaf = |(k, c): (usize, &[u8])| subtree(offset + as_u64(k) * CHUNK, c);
    let mut level: Vec<ChainingValue> = group.chunks(size).enumerate().map(leaf).collect();
    let mut path = Vec::new();
    while level.len() > 1 {
        path.extend(level.get(i ^ 1));
        level = join_level(&level);
        i /= 2;
    }
    path.extend(level.first());
    path
}
