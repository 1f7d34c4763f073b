//! What a device posts each epoch: commitment, answers, bundle.
//!
//! Everything is durable before it is returned, so that a node killed at any moment posts the same again. The judge's
//! view of the tree is (its memory + revisions and drops of this bundle); a bundle therefore holds exactly the revisions
//! that the commitment was built from, and drops for everything that earlier bundles named and that is gone.

use cairn_crypto::merkle::chunk::ChunkProof;
use cairn_crypto::merkle::sum::{SumProof, SumTree};
use cairn_sector::Seed;
use cairn_storage_codec::wire::{Held, code};
use cairn_storage_rules::prove::{
    ChunkReader, Exam, OperatorTree, answer, answers_digest, locate_fragment, slot_tree,
};
use cairn_storage_rules::types::{
    Answer, Claim, Commitment, Defence, DisputeLeaf, Evidence, Fragment, LeafProof, Params, Revision, Signer,
};
use cairn_types::{Epoch, Hash, Refusal};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::ChainView;
use crate::cheats::{Cheat, Cheats};
use crate::service::Identity;
use crate::store::{Frozen, SlotKey, Store, StoreError};

/// The epoch work of one device. Methods block on the disk unless they are async.
#[derive(Clone)]
pub struct Duties {
    identity: Arc<Identity>,
    store: Arc<Store>,
    chain: Arc<dyn ChainView>,
    cheats: Arc<Cheats>,
}

impl Duties {
    /// For the device of a store.
    pub fn new(
        identity: Arc<Identity>,
        store: Arc<Store>,
        chain: Arc<dyn ChainView>,
        cheats: Arc<Cheats>,
    ) -> Self {
        Self { identity, store, chain, cheats }
    }

    /// Freezes the standing revisions of all slots that the device holds and returns what is to be posted for `epoch`;
    /// the same on every call. `None` if there is nothing to commit to and nothing to take back: a device that holds any
    /// slot must then post the commitment of an empty tree (`OperatorTree::build([])`), or it counts as silent.
    ///
    /// # Errors
    /// The disk.
    pub async fn commitment(&self, epoch: Epoch) -> Result<Option<Commitment>, StoreError> {
        let frozen = match self.store.frozen(epoch) {
            Some(frozen) => frozen,
            None => {
                let held = self.held().await;
                let store = self.store.clone();
                tokio::task::spawn_blocking(move || store.freeze(epoch, &held))
                    .await
                    .map_err(|e| gave_up(&e))??
            }
        };
        if frozen.revisions.is_empty() && frozen.drops.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.cheats.commitment(tree(&frozen)?.commitment())))
    }

    /// Slots that the chain gives to this device, in their present generation.
    async fn held(&self) -> Vec<SlotKey> {
        let mut held = Vec::new();
        for key in self.store.keys() {
            let lease = self.chain.lease(&key.lease).await;
            let slot = lease.as_ref().and_then(|l| l.slots.get(usize::from(key.slot)));
            if slot.is_some_and(|s| s.device == self.identity.device && s.generation == key.generation) {
                held.push(key);
            }
        }
        held
    }

    /// Answers for `epoch` and their digest; the same on every call. `on_chain` is the commitment that the chain holds.
    /// Ask as a suspect when in doubt: more answers than asked do no harm. `None`: the device did not freeze this epoch,
    /// or the chain holds another commitment; then stay silent.
    ///
    /// # Errors
    /// The disk's index. Lost or rotten chunks are [`cairn_storage_rules::types::AnswerBody::Missing`].
    pub fn answers(
        &self,
        epoch: Epoch,
        seed: Seed,
        params: &Params,
        on_chain: &Commitment,
        suspect: bool,
    ) -> Result<Option<(Vec<Answer>, Hash)>, StoreError> {
        if let Some(known) = self.store.answers(epoch)? {
            let digest = answers_digest(&known);
            return Ok(Some((known, digest)));
        }
        let Some(frozen) = self.store.frozen(epoch) else { return Ok(None) };
        let tree = tree(&frozen)?;
        let network = self.chain.network();
        let device = self.identity.device;
        let exam = Exam { network, device, epoch, seed, params, commitment: on_chain.tree, suspect };
        let reader = Reader { duties: self, slots: RefCell::default() };
        let Some(honest) = answer(&exam, &tree, &reader) else { return Ok(None) };
        let before = self.store.answers(epoch.minus(1))?;
        let Some(answers) = self.cheats.answers(epoch, honest, before) else { return Ok(None) };
        self.store.put_answers(epoch, &answers)?;
        let digest = answers_digest(&answers);
        Ok(Some((answers, digest)))
    }

    /// Answers an accusation on chain: a later word of the customer, or the chunk. `None` if neither is there.
    pub fn defence(&self, claim: &Claim) -> Option<Defence> {
        let r = &claim.revision.revision;
        let standing = self.store.standing(&SlotKey::of(r));
        let later = standing.filter(|s| s.signer == Signer::Customer && s.revision.order() > r.order());
        if let Some(later) = later {
            return Some(Defence::Superseded(Box::new(later)));
        }
        let reader = Reader { duties: self, slots: RefCell::default() };
        let (fragment, in_slot) = reader.fragment(r, claim.position)?;
        let chunk = reader.chunk(r, &fragment, in_slot.offset_in_leaf)?;
        Some(Defence::Leaf(Box::new(DisputeLeaf { in_slot, fragment, chunk })))
    }

    /// Chunks of the tree that the device committed to for `epoch`, with their proofs; `None` for each that is lost.
    /// The auditor checks them. `Ok(None)`: the device did not freeze this epoch, or serves nobody.
    ///
    /// # Errors
    /// The disk's index.
    pub fn chunks(
        &self,
        epoch: Epoch,
        positions: impl FnOnce(u64) -> Vec<u64>,
    ) -> Result<Option<Vec<Option<LeafProof>>>, StoreError> {
        let Some(frozen) = self.store.frozen(epoch) else { return Ok(None) };
        if self.cheats.has(Cheat::BytesRefused) {
            return Ok(None);
        }
        let tree = tree(&frozen)?;
        let reader = Reader { duties: self, slots: RefCell::default() };
        let one = |position| {
            let (revision, in_operator) = tree.locate(position).ok()?;
            let (fragment, in_slot) = reader.fragment(&revision, in_operator.offset_in_leaf)?;
            let chunk = reader.chunk(&revision, &fragment, in_slot.offset_in_leaf)?;
            Some(LeafProof { revision, in_operator, in_slot, fragment, chunk })
        };
        Ok(Some(positions(tree.total()).into_iter().map(one).collect()))
    }

    /// Everything that this device hands in for `epoch`.
    ///
    /// # Errors
    /// The disk.
    pub fn bundle_items(&self, epoch: Epoch) -> Result<Vec<Evidence>, StoreError> {
        let Some(frozen) = self.store.frozen(epoch) else { return Ok(Vec::new()) };
        let mut items = Vec::new();
        for signed in &frozen.revisions {
            if !self.store.accepted(&signed.revision)? {
                items.push(Evidence::Revision(signed.clone()));
            }
        }
        items.extend(frozen.drops.iter().map(|d| Evidence::Dropped(*d)));
        let receipts =
            frozen.revisions.iter().filter_map(|r| self.store.latest_receipt(&SlotKey::of(&r.revision)));
        items.extend(receipts.map(Evidence::Receipt));
        items.extend(self.store.answers(epoch)?.unwrap_or_default().into_iter().map(Evidence::Answer));
        items.extend(self.store.repairs()?.into_iter().map(|r| Evidence::Repaired(Box::new(r))));
        Ok(items)
    }

    /// The epoch is settled: what it took over is not handed in again, garbage goes, and slots that the chain took away
    /// are forgotten once no open epoch needs them.
    ///
    /// # Errors
    /// The disk.
    pub async fn settled(&self, epoch: Epoch) -> Result<(), StoreError> {
        let store = self.store.clone();
        let closing = tokio::task::spawn_blocking(move || store.settled(epoch)).await;
        closing.map_err(|e| gave_up(&e))??;
        let held = self.held().await;
        for key in self.store.keys().into_iter().filter(|k| !held.contains(k)) {
            self.store.forget(&key)?;
        }
        for repair in self.store.repairs()? {
            self.retire(&repair.revision).await?;
        }
        Ok(())
    }

    /// Drops a repair once its slot is no longer marked as lost, or went on to another holder.
    async fn retire(&self, r: &Revision) -> Result<(), StoreError> {
        let lease = self.chain.lease(&r.lease).await;
        let slot = lease.as_ref().and_then(|l| l.slots.get(usize::from(r.slot)));
        let open = slot.is_some_and(|s| s.generation == r.generation && s.lost_by.is_some());
        if open { Ok(()) } else { self.store.drop_repair(&SlotKey::of(r)) }
    }
}

fn gave_up(e: &tokio::task::JoinError) -> StoreError {
    Refusal::with(code::DISK, format!("the work was given up: {e}"), "restart the node")
}

fn tree(frozen: &Frozen) -> Result<OperatorTree, StoreError> {
    OperatorTree::build(frozen.revisions.iter().map(|r| r.revision))
        .map_err(|e| Refusal::with(code::DAMAGED, e.to_string(), "start anew"))
}

/// A slot's list and tree at a frozen revision.
type Loaded = (Vec<Held>, Vec<Fragment>, SumTree);

/// Reads challenged chunks; loads each slot's list once.
struct Reader<'a> {
    duties: &'a Duties,
    slots: RefCell<BTreeMap<Hash, Option<Arc<Loaded>>>>,
}

impl Reader<'_> {
    fn slot(&self, r: &Revision) -> Option<Arc<Loaded>> {
        let load = || {
            let held = self.duties.store.fragments(r).ok()?;
            let fragments: Vec<Fragment> = held.iter().map(|h| h.fragment).collect();
            let tree = slot_tree(&fragments).ok()?;
            (tree.root() == r.tree).then(|| Arc::new((held, fragments, tree)))
        };
        self.slots.borrow_mut().entry(r.digest()).or_insert_with(load).clone()
    }
}

impl ChunkReader for Reader<'_> {
    fn fragment(&self, revision: &Revision, position: u64) -> Option<(Fragment, SumProof)> {
        let slot = self.slot(revision)?;
        locate_fragment(&slot.1, &slot.2, position)
    }
    fn chunk(&self, revision: &Revision, fragment: &Fragment, index: u64) -> Option<ChunkProof> {
        let slot = self.slot(revision)?;
        let held = slot.0.iter().find(|h| h.fragment == *fragment)?;
        if self.duties.cheats.lost(&held.segment) {
            return None;
        }
        let read = self.duties.store.chunk(&SlotKey::of(revision), &held.segment, fragment, index);
        read.inspect_err(|e| tracing::warn!(segment = ?held.segment, cause = %e, "storage.node.missing")).ok()
    }
}
