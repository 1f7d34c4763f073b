//! Merkle tree over byte strings (settlement rows, claims, exports).
//!
//! `leaf = H(0x00 || len || bytes)`, `node = H(0x01 || left || right)`, `root = H(0x02 || count || top)`, H = SHA-256,
//! numbers u64 little endian. The top of an empty tree is 32 zero bytes. The order of leaves is the caller's
//! (sorted, where a reader has to see that nothing is listed twice).

use borsh::io::Read;
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Hash;
use sha2::{Digest, Sha256};

use super::{MerkleError, Step, as_u64, path_len, read_path, steps};
use crate::hash::frame_len;

/// Siblings from the leaf up; at most 64.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct RowProof {
    /// Sibling hashes, lowest first; levels where the node moves up alone have none.
    pub path: Vec<Hash>,
}

impl BorshDeserialize for RowProof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Ok(Self { path: read_path(reader)? })
    }
}

/// Builds a root from a stream of leaves in memory O(log n).
#[derive(Clone, Debug, Default)]
pub struct RootBuilder {
    /// Complete subtrees: `peaks[k]` covers 2^k leaves, as in a binary counter.
    peaks: Vec<Option<Hash>>,
    count: u64,
}

impl RootBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: &[u8]) {
        let mut carry = leaf_hash(leaf);
        for slot in &mut self.peaks {
            match slot.take() {
                Some(left) => carry = node(&left, &carry),
                None => {
                    *slot = Some(carry);
                    self.count += 1;
                    return;
                }
            }
        }
        self.peaks.push(Some(carry));
        self.count += 1;
    }

    /// Leaves so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The root of what was pushed so far.
    pub fn root(&self) -> Hash {
        let mut top: Option<Hash> = None;
        for peak in self.peaks.iter().flatten() {
            top = Some(match top {
                Some(right) => node(peak, &right),
                None => *peak,
            });
        }
        seal(self.count, &top.unwrap_or_default())
    }
}

/// A tree that answers many proofs: all levels in memory (64 bytes a leaf).
#[derive(Clone, Debug)]
pub struct RowTree {
    levels: Vec<Vec<Hash>>,
}

impl RowTree {
    /// Hashes all leaves.
    pub fn new<I: IntoIterator<Item = L>, L: AsRef<[u8]>>(leaves: I) -> Self {
        let mut levels = vec![leaves.into_iter().map(|l| leaf_hash(l.as_ref())).collect::<Vec<_>>()];
        while let Some(last) = levels.last().filter(|l| l.len() > 1) {
            let next = last.chunks(2).map(|p| if let [l, r] = p { node(l, r) } else { p[0] }).collect();
            levels.push(next);
        }
        Self { levels }
    }

    /// Number of leaves.
    pub fn count(&self) -> u64 {
        as_u64(self.levels[0].len())
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let top = self.levels.last().and_then(|l| l.first()).copied().unwrap_or_default();
        seal(self.count(), &top)
    }

    /// Proof of leaf `index`.
    pub fn prove(&self, index: u64) -> Result<RowProof, MerkleError> {
        let out_of_range = MerkleError::OutOfRange { at: index, size: self.count() };
        let mut i = usize::try_from(index).map_err(|_| out_of_range)?;
        if index >= self.count() {
            return Err(out_of_range);
        }
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend(level.get(i ^ 1).filter(|_| level.len() > 1));
            i /= 2;
        }
        Ok(RowProof { path })
    }
}

/// Root of a list of leaves.
pub fn root<I: IntoIterator<Item = L>, L: AsRef<[u8]>>(leaves: I) -> Hash {
    let mut builder = RootBuilder::new();
    for leaf in leaves {
        builder.push(leaf.as_ref());
    }
    builder.root()
}

/// Proof of one leaf of a list; O(n). Keep a [`RowTree`] for many proofs.
pub fn prove<L: AsRef<[u8]>>(leaves: &[L], index: u64) -> Result<RowProof, MerkleError> {
    RowTree::new(leaves).prove(index)
}

/// Checks that `leaf` is number `index` of the `count` leaves under `root`.
pub fn verify(root: &Hash, count: u64, index: u64, leaf: &[u8], proof: &RowProof) -> Result<(), MerkleError> {
    if index >= count {
        return Err(MerkleError::OutOfRange { at: index, size: count });
    }
    let want = path_len(index, count);
    if proof.path.len() != want {
        return Err(MerkleError::PathLength { got: proof.path.len(), want });
    }
    let mut siblings = proof.path.iter();
    let mut top = leaf_hash(leaf);
    for step in steps(index, count).filter(|s| *s != Step::Promoted) {
        let sibling = siblings.next().ok_or(MerkleError::PathLength { got: proof.path.len(), want })?;
        top = if step == Step::Left { node(sibling, &top) } else { node(&top, sibling) };
    }
    if seal(count, &top) == *root { Ok(()) } else { Err(MerkleError::WrongRoot) }
}

fn leaf_hash(leaf: &[u8]) -> Hash {
    tagged(0x00, &[&frame_len(leaf.len()), leaf])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    tagged(0x01, &[&left.0, &right.0])
}

fn seal(count: u64, top: &Hash) -> Hash {
    tagged(0x02, &[&count.to_le_bytes(), &top.0])
}

/// `SHA-256(tag || parts)`; every caller has parts of fixed or framed length.
pub(super) fn tagged(tag: u8, parts: &[&[u8]]) -> Hash {
    let mut h = Sha256::new();
    h.update([tag]);
    for part in parts {
        h.update(part);
    }
    Hash(h.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(n: usize) -> Vec<Vec<u8>> {
        (0..n).map(|i| format!("leaf {i:05}").into_bytes()).collect()
    }

    #[test]
    fn roots_and_a_proof_are_frozen() {
        assert_eq!(
            root(leaves(0)).to_string(),
            "c6c0aa07f27493d2f2e5cff56c890a353a20086d6c25ec825128e12ae752b2d9"
        );
        assert_eq!(
            root(leaves(1)).to_string(),
            "62102bbd45ebdf7ba2c638e3596d5194a9e654dbfa6fc19fd6873e4e378adb37"
        );
        assert_eq!(
            root(leaves(5)).to_string(),
            "7659fc75a8c259aa86bcf9d958cdc7f7591452488f7c690846720d4b0ec7cce9"
        );
        assert_eq!(
            hex::encode(borsh::to_vec(&prove(&leaves(5), 4).unwrap()).unwrap()),
            "0100000019ba396e7a2d9f644e2ce870baafd4201dbc7460ab6200361a70d6c4b8013298"
        );
    }

    #[test]
    fn every_leaf_of_every_small_tree_proves() {
        for n in 1..70usize {
            let all = leaves(n);
            let tree = RowTree::new(&all);
            assert_eq!(tree.root(), root(&all), "{n}");
            for (i, leaf) in all.iter().enumerate() {
                let proof = tree.prove(as_u64(i)).unwrap();
                verify(&tree.root(), as_u64(n), as_u64(i), leaf, &proof).unwrap();
            }
            assert!(tree.prove(as_u64(n)).is_err());
        }
    }

    #[test]
    fn the_last_leaf_is_never_duplicated() {
        let mut doubled = leaves(3);
        doubled.push(doubled[2].clone());
        assert_ne!(root(leaves(3)), root(doubled));
    }

    #[test]
    fn the_root_binds_the_count() {
        let all = leaves(5);
        let (tree_root, proof) = (root(&all), prove(&all, 0).unwrap());
        assert_eq!(verify(&tree_root, 6, 0, &all[0], &proof), Err(MerkleError::WrongRoot));
    }

    #[test]
    fn a_node_is_not_accepted_as_a_leaf() {
        let all = leaves(4);
        let tree = RowTree::new(&all);
        let mut fake = tree.levels[0][0].0.to_vec();
        fake.extend_from_slice(&tree.levels[0][1].0);
        let proof = RowProof { path: vec![tree.levels[1][1]] };
        assert!(verify(&tree.root(), 2, 0, &fake, &proof).is_err());
        assert!(verify(&tree.root(), 4, 0, &fake, &proof).is_err());
    }

    #[test]
    fn a_long_path_is_refused_before_it_is_read() {
        assert!(
            borsh::from_slice::<RowProof>(&65u32.to_le_bytes()).unwrap_err().to_string().contains("65 steps")
        );
    }

    proptest! {
        #[test]
        fn a_changed_leaf_index_or_path_fails(n in 1usize..200, at in any::<prop::sample::Index>(), bit in 0usize..256) {
            let all = leaves(n);
            let i = at.index(n);
            let (tree_root, proof) = (root(&all), prove(&all, as_u64(i)).unwrap());
            let (n, at) = (as_u64(n), as_u64(i));
            prop_assert!(verify(&tree_root, n, at, b"another", &proof).is_err());
            prop_assert!(verify(&tree_root, n, at + 1, &all[i], &proof).is_err());
            if at > 0 {
                prop_assert!(verify(&tree_root, n, at - 1, &all[i], &proof).is_err());
            }
            for k in 0..proof.path.len() {
                let mut bad = proof.clone();
                bad.path[k].0[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(verify(&tree_root, n, at, &all[i], &bad).is_err());
            }
            let mut long = proof.clone();
            long.path.push(Hash::default());
            prop_assert!(verify(&tree_root, n, at, &all[i], &long).is_err());
        }
    }
}
