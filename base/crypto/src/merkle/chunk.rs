//! BLAKE3 tree of a fragment: 1 KiB chunks, so that the root is the plain `blake3::hash` of the fragment.
//!
//! The operator keeps an [`Outboard`] beside the data (hashes of 16 KiB groups and above, 0.39 % of the data) and
//! answers a challenge by reading one group. A chaining value binds the chunk's number, so that a chunk proves
//! nothing at another place.
//!
//! **The length is not in the root.** A fragment's length must come from the committed record, as its root does:
//! a proof of an early chunk also verifies under a slightly different length (only the last chunk pins it).

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use borsh::io::{Error, ErrorKind, Read};
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Hash;
use std::ops::Range;

use super::{MerkleError, Step, as_u64, path_len, read_path, steps};

mod outboard;
pub use outboard::{Outboard, OutboardBuilder, prove_chunk};

/// Bytes in a chunk, the unit of challenge.
pub const CHUNK: u64 = 1024;
/// Bytes in a group, the unit of the outboard and of reading.
pub const GROUP: u64 = 16 * CHUNK;
/// Longest fragment: 1 TiB.
pub const MAX_LEN: u64 = 1 << 40;

/// One chunk and the chaining values beside its path, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct ChunkProof {
    /// The chunk: 1024 bytes, fewer at the end of a fragment, none in an empty fragment.
    pub chunk: Vec<u8>,
    /// Sibling chaining values; levels where the node moves up alone have none. At most 64.
    pub path: Vec<[u8; 32]>,
}

impl BorshDeserialize for ChunkProof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let len = u64::from(u32::deserialize_reader(reader)?);
        if len > CHUNK {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("a chunk of {len} bytes, at most {CHUNK}"),
            ));
        }
        let mut chunk = Vec::new();
        reader.take(len).read_to_end(&mut chunk)?;
        if as_u64(chunk.len()) != len {
            return Err(Error::new(ErrorKind::InvalidData, "the chunk ends early"));
        }
        Ok(Self { chunk, path: read_path(reader)? })
    }
}

/// Chunks in a fragment of `len` bytes; an empty fragment has one empty chunk.
pub fn chunk_count(len: u64) -> u64 {
    len.div_ceil(CHUNK).max(1)
}

/// Bytes of the fragment that chunk `index` covers.
pub fn chunk_range(len: u64, index: u64) -> Result<Range<u64>, MerkleError> {
    check_len(len)?;
    let size = chunk_count(len);
    if index >= size {
        return Err(MerkleError::OutOfRange { at: index, size });
    }
    let start = index * CHUNK;
    Ok(start..len.min(start + CHUNK))
}

/// Bytes of the fragment that must be read to prove chunk `index`: its 16 KiB group.
pub fn group_range(len: u64, index: u64) -> Result<Range<u64>, MerkleError> {
    let chunk = chunk_range(len, index)?;
    let start = chunk.start / GROUP * GROUP;
    Ok(start..len.min(start + GROUP))
}

/// Checks a chunk against root and length of its fragment and returns its bytes.
///
/// Costs one hash of 1 KiB and one of 64 bytes a level: 20 levels for 1 GiB.
pub fn verify_chunk<'p>(
    root: &Hash,
    len: u64,
    index: u64,
    proof: &'p ChunkProof,
) -> Result<&'p [u8], MerkleError> {
    let range = chunk_range(len, index)?;
    let chunk_len = as_u64(proof.chunk.len());
    if chunk_len != range.end - range.start {
        let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        return Err(MerkleError::ChunkLength { got: proof.chunk.len(), want });
    }
    let count = chunk_count(len);
    let want = path_len(index, count);
    if proof.path.len() != want {
        return Err(MerkleError::PathLength { got: proof.path.len(), want });
    }
    let got = if count == 1 { blake3::hash(&proof.chunk) } else { climb(index, count, proof) };
    if got.as_bytes() == &root.0 { Ok(&proof.chunk) } else { Err(MerkleError::WrongRoot) }
}

/// The root that a proof of a tree of at least two chunks leads to; lengths are checked.
fn climb(index: u64, count: u64, proof: &ChunkProof) -> blake3::Hash {
    let mut cv = subtree(index * CHUNK, &proof.chunk);
    let last = proof.path.len() - 1;
    let real = steps(index, count).filter(|s| *s != Step::Promoted);
    for (k, (step, sibling)) in real.zip(&proof.path).enumerate() {
        let (left, right) = if step == Step::Left { (sibling, &cv) } else { (&cv, sibling) };
        if k == last {
            return merge_subtrees_root(left, right, Mode::Hash);
        }
        cv = merge_subtrees_non_root(left, right, Mode::Hash);
    }
    unreachable!("the path of a tree of two or more chunks has a last step")
}

/// Chaining value of the subtree that starts at byte `offset` (a multiple of 1024, `data` not empty and within one
/// aligned subtree).
fn subtree(offset: u64, data: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset).update(data);
    hasher.finalize_non_root()
}

/// Joins neighbours; a last one without a neighbour moves up.
fn join_level(level: &[ChainingValue]) -> Vec<ChainingValue> {
    let join = |p: &[ChainingValue]| match p {
        [l, r] => merge_subtrees_non_root(l, r, Mode::Hash),
        _ => p[0],
    };
    level.chunks(2).map(join).collect()
}

fn check_len(len: u64) -> Result<(), MerkleError> {
    if len > MAX_LEN { Err(MerkleError::TooLong { len, limit: MAX_LEN }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
