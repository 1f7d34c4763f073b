//! The operator's side of the proof: trees, answers, and checking them before they are posted.
//!
//! The node keeps, for every slot, the revision that it committed to, with its list of fragments, until the answers
//! of that epoch are posted; newer revisions wait for the next commitment.

use cairn_crypto::hash::blake3_derive;
use cairn_crypto::merkle::MerkleError;
use cairn_crypto::merkle::chunk::{self, ChunkProof};
use cairn_crypto::merkle::sum::{self, SumProof, SumRoot, SumTree};
use cairn_sector::Seed;
use cairn_types::{DeviceId, Epoch, Hash, LeaseId, NetworkId, encode};
use std::collections::BTreeMap;

use crate::tasks::{count, position};
use crate::types::{Answer, AnswerBody, Commitment, Fragment, LeafProof, Params, Revision};

/// Sum tree over the fragments of a slot, in their order.
pub fn slot_tree(fragments: &[Fragment]) -> Result<SumTree, MerkleError> {
    SumTree::from_leaves(fragments.iter().map(|f| (f.leaf(), f.chunks())))
}

/// The operator tree of one epoch.
#[derive(Clone, Debug, Default)]
pub struct OperatorTree {
    slots: Vec<Revision>,
    tree: SumTree,
}

impl OperatorTree {
    /// Builds the tree: sorted by (lease, slot), empty revisions left out. Of two revisions of one slot the later
    /// one counts. O(n log n).
    pub fn build(revisions: impl IntoIterator<Item = Revision>) -> Result<Self, MerkleError> {
        let mut slots: BTreeMap<(LeaseId, u16), Revision> = BTreeMap::new();
        for revision in revisions {
            let kept = slots.entry((revision.lease, revision.slot)).or_insert(revision);
            if revision.order() > kept.order() {
                *kept = revision;
            }
        }
        let slots: Vec<Revision> = slots.into_values().filter(|r| r.tree.total > 0).collect();
        let tree = SumTree::from_leaves(slots.iter().map(|r| (r.leaf(), r.tree.total)))?;
        Ok(Self { slots, tree })
    }

    /// What is posted before the lock.
    pub fn commitment(&self) -> Commitment {
        Commitment { tree: self.tree.root() }
    }

    /// Chunks in total.
    pub fn total(&self) -> u64 {
        self.tree.total()
    }

    /// The revision into which a position falls, and the proof; the proof's `offset_in_leaf` is the chunk in that
    /// slot's tree.
    pub fn locate(&self, position: u64) -> Result<(Revision, SumProof), MerkleError> {
        let proof = self.tree.prove_at(position)?;
        let out_of_range = MerkleError::OutOfRange { at: position, size: self.tree.total() };
        let index = usize::try_from(proof.index).map_err(|_| out_of_range)?;
        Ok((*self.slots.get(index).ok_or(out_of_range)?, proof))
    }
}

/// How [`answer`] reaches the operator's disk.
pub trait ChunkReader {
    /// The fragment of `revision` into which `position` (a chunk of that slot) falls, with its proof. `None` if lost.
    fn fragment(&self, revision: &Revision, position: u64) -> Option<(Fragment, SumProof)>;
    /// Chunk `index` of the fragment with its proof, read from disk. `None` if lost or rotten.
    fn chunk(&self, revision: &Revision, fragment: &Fragment, index: u64) -> Option<ChunkProof>;
}

/// Helper for [`ChunkReader::fragment`] from a slot's fragment list and tree ([`slot_tree`]).
pub fn locate_fragment(
    fragments: &[Fragment],
    tree: &SumTree,
    position: u64,
) -> Option<(Fragment, SumProof)> {
    let proof = tree.prove_at(position).ok()?;
    Some((*fragments.get(usize::try_from(proof.index).ok()?)?, proof))
}

/// Who answers, to which commitment, under which seed.
#[derive(Clone, Copy, Debug)]
pub struct Exam<'a> {
    /// The network.
    pub network: NetworkId,
    /// The device.
    pub device: DeviceId,
    /// The epoch.
    pub epoch: Epoch,
    /// Seed of the epoch.
    pub seed: Seed,
    /// Governed numbers.
    pub params: &'a Params,
    /// The commitment **as it stands on the chain**, never the one the node believes to have posted.
    pub commitment: SumRoot,
    /// Answer as a suspect. A node that does not know answers as one: more answers than asked do no harm.
    pub suspect: bool,
}

/// Why a leaf is not an answer to a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The revision names another device, network or weight than the tree.
    #[error("the revision is not that of the committed leaf; prove from the committed tree")]
    Revision,
    /// The fragment is not the leaf of the slot's tree.
    #[error("the fragment is not that of the slot's leaf; prove from the slot's tree")]
    Fragment,
    /// A path does not lead to its root.
    #[error(transparent)]
    Path(#[from] MerkleError),
}

/// Checks a leaf against the commitment. Believes nothing but `commitment`, `network`, `device`, `position`.
///
/// At most 64 + 64 + 30 hashes of under 100 bytes, and one of a KiB.
pub fn verify_leaf(
    network: &NetworkId,
    device: &DeviceId,
    commitment: &SumRoot,
    position: u64,
    proof: &LeafProof,
) -> Result<(), LeafError> {
    let r = &proof.revision;
    let named = r.device == *device && r.network == *network;
    let leaf = proof.in_operator.leaf;
    if !named || leaf.weight != r.tree.total || leaf.hash != r.leaf() {
        return Err(LeafError::Revision);
    }
    let in_slot = sum::verify(commitment, position, &proof.in_operator)?;
    verify_in_slot(&r.tree, in_slot, &proof.in_slot, &proof.fragment, &proof.chunk)
}

/// Checks a chunk against a slot's tree.
pub fn verify_in_slot(
    tree: &SumRoot,
    position: u64,
    in_slot: &SumProof,
    fragment: &Fragment,
    chunk: &ChunkProof,
) -> Result<(), LeafError> {
    if in_slot.leaf.weight != fragment.chunks() || in_slot.leaf.hash != fragment.leaf() {
        return Err(LeafError::Fragment);
    }
    let index = sum::verify(tree, position, in_slot)?;
    chunk::verify_chunk(&fragment.root, fragment.len, index, chunk)?;
    Ok(())
}

/// One proof, checked; `None` where anything is missing or does not verify.
pub fn prove(
    exam: &Exam<'_>,
    tree: &OperatorTree,
    reader: &impl ChunkReader,
    position: u64,
) -> Option<LeafProof> {
    let (revision, in_operator) = tree.locate(position).ok()?;
    let (fragment, in_slot) = reader.fragment(&revision, in_operator.offset_in_leaf)?;
    let chunk = reader.chunk(&revision, &fragment, in_slot.offset_in_leaf)?;
    let proof = LeafProof { revision, in_operator, in_slot, fragment, chunk };
    verify_leaf(&exam.network, &exam.device, &exam.commitment, position, &proof).ok()?;
    Some(proof)
}

/// Answers to all challenges of an epoch, each one checked against the commitment on the chain; what cannot be proven
/// is declared missing. `None` if `tree` is not the tree of the commitment (a restored backup): then stay silent.
pub fn answer(exam: &Exam<'_>, tree: &OperatorTree, reader: &impl ChunkReader) -> Option<Vec<Answer>> {
    if tree.commitment().tree != exam.commitment {
        return None;
    }
    let total = exam.commitment.total;
    let one = |index| {
        let proof = prove(exam, tree, reader, position(&exam.seed, &exam.device, index, total));
        Answer {
            epoch: exam.epoch,
            index,
            body: proof.map_or(AnswerBody::Missing, |p| AnswerBody::Leaf(Box::new(p))),
        }
    };
    Some((0..count(exam.params, total, exam.suspect)).map(one).collect())
}

/// What a device posts in the answer phase: digest of its answers in the order of their numbers.
pub fn answers_digest<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Hash {
    let parts: Vec<Vec<u8>> = answers.into_iter().map(encode).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    blake3_derive("cairn/storage/answers/v1", &parts)
}
