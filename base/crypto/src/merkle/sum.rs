//! Merkle-sum tree: finds, and proves, the leaf at a position drawn out of the total weight.
//!
//! An operator's storage is one such tree (leaf = fragment, weight = its chunks); a challenge is a position below
//! the total. Every node hashes both sums below it, so that nobody can announce more weight than the leaves have.
//!
//! `leaf = H(0x10 || hash || weight)`, `node = H(0x11 || left || right || sum_left || sum_right)`,
//! `root = H(0x12 || top || total || count)`; H = SHA-256, numbers u64 little endian. The top of an empty tree is 32
//! zero bytes. Weights of 0 and totals over 2^64 - 1 are refused by the builder and by the verifier.

use borsh::io::Read;
use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Hash;

use super::rows::tagged;
use super::{MerkleError, Step, as_u64, path_len, read_path, steps};

/// What is committed: 48 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct SumRoot {
    /// Root hash; it binds the two numbers.
    pub hash: Hash,
    /// Sum of all weights.
    pub total: u64,
    /// Number of leaves.
    pub count: u64,
}

/// Hash and weight of a subtree, or of a leaf as its owner gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Weighted {
    /// Hash of the subtree, or what the leaf stands for.
    pub hash: Hash,
    /// Sum of the weights below; at least 1.
    pub weight: u64,
}

/// Proof that a position falls into one leaf.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct SumProof {
    /// Number of the leaf, 0-based.
    pub index: u64,
    /// Position minus the first position of the leaf.
    pub offset_in_leaf: u64,
    /// What the leaf stands for, and its weight.
    pub leaf: Weighted,
    /// Siblings, lowest first; levels where the node moves up alone have none. At most 64.
    pub path: Vec<Weighted>,
}

impl BorshDeserialize for SumProof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Ok(Self {
            index: u64::deserialize_reader(reader)?,
            offset_in_leaf: u64::deserialize_reader(reader)?,
            leaf: Weighted::deserialize_reader(reader)?,
            path: read_path(reader)?,
        })
    }
}

/// A sum tree with cached levels: append, replace and prove in O(log n), 80 bytes a leaf.
#[derive(Clone, Debug, Default)]
pub struct SumTree {
    /// `levels[0]` are the leaves as given; `levels[k]` the complete subtrees over 2^k leaves.
    levels: Vec<Vec<Weighted>>,
    total: u64,
}

impl SumTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a tree; O(n).
    pub fn from_leaves<I: IntoIterator<Item = (Hash, u64)>>(leaves: I) -> Result<Self, MerkleError> {
        let mut tree = Self::new();
        for (hash, weight) in leaves {
            tree.push(hash, weight)?;
        }
        Ok(tree)
    }

    /// Appends a leaf. The tree is unchanged after an error. Amortised O(1).
    pub fn push(&mut self, hash: Hash, weight: u64) -> Result<(), MerkleError> {
        if weight == 0 {
            return Err(MerkleError::ZeroWeight);
        }
        self.total = self.total.checked_add(weight).ok_or(MerkleError::Overflow)?;
        let mut carry = Weighted { hash, weight };
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(carry);
            let filled = &self.levels[level];
            if filled.len() % 2 == 1 {
                break;
            }
            carry = join(level, &filled[filled.len() - 2], &carry);
        }
        Ok(())
    }

    /// Replaces leaf `index`. The tree is unchanged after an error.
    pub fn set(&mut self, index: u64, hash: Hash, weight: u64) -> Result<(), MerkleError> {
        let old = self.leaf(index)?;
        if weight == 0 {
            return Err(MerkleError::ZeroWeight);
        }
        let rest = self.total.checked_sub(old.weight).ok_or(MerkleError::Overflow)?;
        self.total = rest.checked_add(weight).ok_or(MerkleError::Overflow)?;
        let mut i = self.position(index)?;
        self.levels[0][i] = Weighted { hash, weight };
        for level in 1..self.levels.len() {
            i /= 2;
            if i >= self.levels[level].len() {
                break;
            }
            let below = &self.levels[level - 1];
            self.levels[level][i] = join(level - 1, &below[2 * i], &below[2 * i + 1]);
        }
        Ok(())
    }

    /// Removes the last leaf and returns it; with [`Self::set`] this removes any leaf (move the last into its place).
    pub fn pop(&mut self) -> Option<Weighted> {
        let gone = self.levels.first_mut()?.pop()?;
        self.total -= gone.weight;
        for level in 1..self.levels.len() {
            let keep = self.levels[level - 1].len() / 2;
            self.levels[level].truncate(keep);
        }
        Some(gone)
    }

    /// The leaf `index` as it was given.
    pub fn leaf(&self, index: u64) -> Result<Weighted, MerkleError> {
        let i = self.position(index)?;
        Ok(self.levels[0][i])
    }

    /// Number of leaves.
    pub fn count(&self) -> u64 {
        as_u64(self.levels.first().map_or(0, Vec::len))
    }

    /// Sum of all weights.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The commitment; O(log n).
    pub fn root(&self) -> SumRoot {
        let top = self.edge().last().copied().flatten().map_or(Hash::default(), |n| n.hash);
        seal(&top, self.total, self.count())
    }

    /// Proof of the leaf into which `position` falls.
    pub fn prove_at(&self, position: u64) -> Result<SumProof, MerkleError> {
        if position >= self.total {
            return Err(MerkleError::OutOfRange { at: position, size: self.total });
        }
        let edge = self.edge();
        let (mut offset, mut index, mut path) = (position, 0usize, Vec::new());
        for level in (0..edge.len() - 1).rev() {
            index *= 2;
            let left = self.node(&edge, level, index).expect("a parent has a left child");
            let Some(right) = self.node(&edge, level, index + 1) else { continue };
            if offset < left.weight {
                path.push(right);
            } else {
                offset -= left.weight;
                index += 1;
                path.push(left);
            }
        }
        path.reverse();
        Ok(SumProof { index: as_u64(index), offset_in_leaf: offset, leaf: self.levels[0][index], path })
    }

    /// Proof of leaf `index`, as at its first position.
    pub fn prove_leaf(&self, index: u64) -> Result<SumProof, MerkleError> {
        let mut at = self.position(index)?;
        let (leaf, edge) = (self.levels[0][at], self.edge());
        let mut path = Vec::new();
        for level in 0..edge.len() - 1 {
            path.extend(self.node(&edge, level, at ^ 1));
            at /= 2;
        }
        Ok(SumProof { index, offset_in_leaf: 0, leaf, path })
    }

    /// For each level the node on the right edge that covers fewer leaves than a complete one, if there is one; one
    /// entry more than needed, whose value is the top of the tree.
    fn edge(&self) -> Vec<Option<Weighted>> {
        let mut edge: Vec<Option<Weighted>> = vec![None];
        let mut partial: Option<Weighted> = None;
        for (level, nodes) in self.levels.iter().enumerate() {
            if nodes.len() % 2 == 1 {
                // The leaf level is hashed lazily: a lone leaf moves up as its leaf hash.
                let last = lift(level, nodes.last().expect("an odd number is not zero"));
                partial = Some(match partial {
                    Some(right) => join_hashed(&last, &right),
                    None => last,
                });
            }
            edge.push(partial);
        }
        edge
    }

    /// Node `i` of a level as its parent hashes it: complete, or the partial one on the right edge.
    fn node(&self, edge: &[Option<Weighted>], level: usize, i: usize) -> Option<Weighted> {
        let nodes = self.levels.get(level)?;
        match nodes.get(i) {
            Some(n) => Some(lift(level, n)),
            None if i == nodes.len() => edge.get(level).copied().flatten(),
            None => None,
        }
    }

    fn position(&self, index: u64) -> Result<usize, MerkleError> {
        let size = self.count();
        match usize::try_from(index) {
            Ok(i) if index < size => Ok(i),
            _ => Err(MerkleError::OutOfRange { at: index, size }),
        }
    }
}

/// Checks that `position` falls into the proven leaf of the committed tree and returns the offset inside that leaf.
///
/// The verifier believes nothing but `root`: it derives the tree's shape from the count, the leaf's first position
/// from the sums on the left, and compares the claimed offset with its own.
pub fn verify(root: &SumRoot, position: u64, proof: &SumProof) -> Result<u64, MerkleError> {
    if position >= root.total {
        return Err(MerkleError::OutOfRange { at: position, size: root.total });
    }
    let start = verify_leaf(root, proof)?;
    let end = start.checked_add(proof.leaf.weight).ok_or(MerkleError::Overflow)?;
    let outside = MerkleError::NotInLeaf { position, start, end };
    let offset = position.checked_sub(start).filter(|_| position < end).ok_or(outside)?;
    if offset == proof.offset_in_leaf { Ok(offset) } else { Err(outside) }
}

/// Checks that the proven leaf is in the committed tree and returns its first position.
pub fn verify_leaf(root: &SumRoot, proof: &SumProof) -> Result<u64, MerkleError> {
    if proof.index >= root.count {
        return Err(MerkleError::OutOfRange { at: proof.index, size: root.count });
    }
    let want = path_len(proof.index, root.count);
    if proof.path.len() != want {
        return Err(MerkleError::PathLength { got: proof.path.len(), want });
    }
    if proof.leaf.weight == 0 || proof.path.iter().any(|s| s.weight == 0) {
        return Err(MerkleError::ZeroWeight);
    }
    let mut node = lift(0, &proof.leaf);
    let mut start = 0u64;
    let mut siblings = proof.path.iter();
    for step in steps(proof.index, root.count).filter(|s| *s != Step::Promoted) {
        let sibling = siblings.next().ok_or(MerkleError::PathLength { got: proof.path.len(), want })?;
        node.weight.checked_add(sibling.weight).ok_or(MerkleError::Overflow)?;
        node = if step == Step::Left {
            start = start.checked_add(sibling.weight).ok_or(MerkleError::Overflow)?;
            join_hashed(sibling, &node)
        } else {
            join_hashed(&node, sibling)
        };
    }
    let sealed = seal(&node.hash, node.weight, root.count);
    if sealed == *root { Ok(start) } else { Err(MerkleError::WrongRoot) }
}

/// Leaves are stored as given and hashed when their parent needs them; higher nodes are hashes already.
fn lift(level: usize, n: &Weighted) -> Weighted {
    if level > 0 {
        return *n;
    }
    Weighted { hash: tagged(0x10, &[&n.hash.0, &n.weight.to_le_bytes()]), weight: n.weight }
}

fn join(level: usize, left: &Weighted, right: &Weighted) -> Weighted {
    join_hashed(&lift(level, left), &lift(level, right))
}

/// Parent of two hashed nodes. Callers made sure that the sum fits: the builder by its total, the verifier step by step.
fn join_hashed(left: &Weighted, right: &Weighted) -> Weighted {
    let (l, r) = (left.weight.to_le_bytes(), right.weight.to_le_bytes());
    let hash = tagged(0x11, &[&left.hash.0, &right.hash.0, &l, &r]);
    Weighted { hash, weight: left.weight.saturating_add(right.weight) }
}

fn seal(top: &Hash, total: u64, count: u64) -> SumRoot {
    SumRoot { hash: tagged(0x12, &[&top.0, &total.to_le_bytes(), &count.to_le_bytes()]), total, count }
}

#[cfg(test)]
mod tests;
