//! Three trees: [`rows`] over byte strings, [`sum`] over weighted hashes, [`chunk`] over bulk bytes.
//!
//! All three are left-packed: at each level neighbours are joined and a last one without a neighbour moves up
//! unchanged (never duplicated, so that no two leaf lists share a root).

pub mod chunk;
pub mod rows;
pub mod sum;

use borsh::BorshDeserialize;
use borsh::io::{Error, ErrorKind, Read};

/// Longest path that any proof may carry: a tree over 2^64 leaves.
pub const MAX_PATH: usize = 64;

/// Why a tree could not be built or a proof is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// Index or position at or past the end.
    #[error("position {at} is outside the tree of {size}; ask for a smaller one")]
    OutOfRange {
        /// What was asked for.
        at: u64,
        /// Number of leaves, or total weight.
        size: u64,
    },
    /// The path has another length than the tree's shape demands.
    #[error(
        "the path has {got} steps, the tree's shape demands {want}; build the proof from the committed tree"
    )]
    PathLength {
        /// Steps in the proof.
        got: usize,
        /// Steps that the shape demands (known up to the step where the proof failed).
        want: usize,
    },
    /// The recomputed root is another.
    #[error("the proof leads to another root; build it from the tree that was committed")]
    WrongRoot,
    /// A sum went over 2^64 - 1.
    #[error("the weights exceed 2^64 - 1 in total; split the tree")]
    Overflow,
    /// A leaf or a subtree with weight 0.
    #[error("weight 0 is not allowed in a sum tree; leave the leaf out")]
    ZeroWeight,
    /// The position does not fall into the proven leaf.
    #[error(
        "position {position} falls outside the proven leaf, which covers {start} to {end} (excluded); prove the leaf there"
    )]
    NotInLeaf {
        /// The position asked for.
        position: u64,
        /// First position of the leaf.
        start: u64,
        /// One past the last position of the leaf.
        end: u64,
    },
    /// A chunk of the wrong size.
    #[error("the chunk has {got} bytes, this place holds {want}; send exactly the chunk")]
    ChunkLength {
        /// Bytes in the proof.
        got: usize,
        /// Bytes that length and index demand.
        want: usize,
    },
    /// Data on disk no longer fit the outboard.
    #[error(
        "the data of 16 KiB group {group} do not fit their recorded hash; the disk or file is damaged, restore it"
    )]
    Corrupt {
        /// The group's number.
        group: u64,
    },
    /// Longer than a tree may be.
    #[error("{len} bytes exceed the longest fragment of {limit}; split it")]
    TooLong {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// The shape of a path through a left-packed tree: whether there is a sibling, and on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The sibling is on the left.
    Left,
    /// The sibling is on the right.
    Right,
    /// No sibling: the node moves up unchanged.
    Promoted,
}

/// Steps from leaf `index` of `count` up to the top. `index < count`.
pub(crate) fn steps(index: u64, count: u64) -> impl Iterator<Item = Step> {
    let (mut i, mut n) = (index, count);
    std::iter::from_fn(move || {
        if n <= 1 {
            return None;
        }
        let step = match i % 2 {
            1 => Step::Left,
            _ if i + 1 < n => Step::Right,
            _ => Step::Promoted,
        };
        i /= 2;
        n = n.div_ceil(2);
        Some(step)
    })
}

/// Number of siblings on the path of leaf `index` of `count`.
pub(crate) fn path_len(index: u64, count: u64) -> usize {
    steps(index, count).filter(|s| *s != Step::Promoted).count()
}

/// Reads a path of at most [`MAX_PATH`] entries.
pub(crate) fn read_path<T: BorshDeserialize, R: Read>(reader: &mut R) -> borsh::io::Result<Vec<T>> {
    let len = u32::deserialize_reader(reader)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > MAX_PATH {
        return Err(Error::new(ErrorKind::InvalidData, format!("a path of {len} steps, at most {MAX_PATH}")));
    }
    (0..len).map(|_| T::deserialize_reader(reader)).collect()
}

/// Numbers of leaves in memory always fit 64 bits.
pub(crate) fn as_u64(n: usize) -> u64 {
    u64::try_from(n).expect("no supported machine addresses more than 2^64 items")
}
