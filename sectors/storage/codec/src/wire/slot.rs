//! The ordered list of fragments in a slot, which customer and node keep in step.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_crypto::merkle::MerkleError;
use cairn_crypto::merkle::sum::{SumRoot, SumTree};
use cairn_storage_rules::types::Fragment;
use std::collections::BTreeMap;

use crate::segment::SegmentId;

/// One fragment of a slot. 72 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Held {
    /// The segment.
    pub segment: SegmentId,
    /// Root and length of the padded fragment.
    pub fragment: Fragment,
}

/// Why a change does not apply. The list is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// To be removed, but not in the list.
    #[error("{0:?} is not in the slot; list the slot and remove what stands there")]
    Unknown(SegmentId),
    /// To be added, but in the list already (or named twice).
    #[error("{0:?} is in the slot already; a segment id is never used twice")]
    Twice(SegmentId),
    /// The tree refused; lengths over all limits.
    #[error(transparent)]
    Tree(#[from] MerkleError),
}

/// A slot's fragments in the order of its tree, the tree, and where each segment lies. A change of m fragments costs
/// O(m log n).
#[derive(Clone, Debug, Default)]
pub struct SlotList {
    held: Vec<Held>,
    at: BTreeMap<SegmentId, usize>,
    tree: SumTree,
}

impl SlotList {
    /// An empty slot.
    pub fn new() -> Self {
        Self::default()
    }

    /// The list as it was stored or listed, in order.
    ///
    /// # Errors
    /// A segment twice.
    pub fn from_held(held: impl IntoIterator<Item = Held>) -> Result<Self, SlotError> {
        let mut list = Self::new();
        for h in held {
            list.push(h)?;
        }
        Ok(list)
    }

    /// Removes, then adds. Removing moves the last fragment into the gap; adding appends.
    ///
    /// # Errors
    /// [`SlotError`]; nothing was changed.
    pub fn apply(&mut self, remove: &[SegmentId], add: &[Held]) -> Result<Vec<Held>, SlotError> {
        self.check(remove, add)?;
        let gone = remove.iter().filter_map(|id| self.take(id)).collect();
        for h in add {
            self.push(*h)?;
        }
        Ok(gone)
    }

    fn check(&self, remove: &[SegmentId], add: &[Held]) -> Result<(), SlotError> {
        let mut named = std::collections::BTreeSet::new();
        for id in remove {
            if !self.at.contains_key(id) || !named.insert(*id) {
                return Err(SlotError::Unknown(*id));
            }
        }
        let mut total = self.tree.total();
        for h in add {
            if self.at.contains_key(&h.segment) || !named.insert(h.segment) {
                return Err(SlotError::Twice(h.segment));
            }
            total = total.checked_add(h.fragment.chunks()).ok_or(MerkleError::Overflow)?;
        }
        Ok(())
    }

    fn push(&mut self, h: Held) -> Result<(), SlotError> {
        if self.at.contains_key(&h.segment) {
            return Err(SlotError::Twice(h.segment));
        }
        self.tree.push(h.fragment.leaf(), h.fragment.chunks())?;
        self.at.insert(h.segment, self.held.len());
        self.held.push(h);
        Ok(())
    }

    fn take(&mut self, id: &SegmentId) -> Option<Held> {
        let i = self.at.remove(id)?;
        let last = self.tree.pop();
        let gone = self.held.swap_remove(i);
        if let (Some(moved), Some(leaf)) = (self.held.get(i), last) {
            self.at.insert(moved.segment, i);
            let at = u64::try_from(i).unwrap_or(u64::MAX);
            self.tree
                .set(at, leaf.hash, leaf.weight)
                .expect("a lighter tree takes a leaf that it held before");
        }
        Some(gone)
    }

    /// What the next revision commits to.
    pub fn root(&self) -> SumRoot {
        self.tree.root()
    }
    /// The tree.
    pub const fn tree(&self) -> &SumTree {
        &self.tree
    }
    /// The fragments, in order.
    pub fn held(&self) -> &[Held] {
        &self.held
    }
    /// One fragment.
    pub fn get(&self, id: &SegmentId) -> Option<&Held> {
        self.held.get(*self.at.get(id)?)
    }
    /// Where a segment's fragment lies in the list.
    pub fn position(&self, id: &SegmentId) -> Option<usize> {
        self.at.get(id).copied()
    }
}
