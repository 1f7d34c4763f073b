//! What the latest settlement of a sector owes and has charged, with the trees that prove it.
//!
//! Every operator asks for its claim and for the charge of each lease that it holds, once an epoch. The trees over all of
//! them are built once for each settlement and kept until the next.

use cairn_crypto::merkle::rows::{RowProof, RowTree};
use cairn_ledger::settle::keys;
use cairn_ledger::settlement::{Settlement, charge_leaf, claim_leaf};
use cairn_ledger::tx::ClaimProof;
use cairn_types::{AccountId, Amount, Credits, Epoch, LeaseId, Refusal, SectorId, decode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::ChargeProof;
use crate::node::Inner;
use crate::shared::{lock, store_refusal};

/// The latest of each sector.
pub(crate) type OwedCache = Mutex<BTreeMap<SectorId, Arc<Owed>>>;

/// Entries of a tally, ascending by key.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Cumulative values by id, ascending, and the tree over their leaves.
struct Proven<I, V> {
    list: Vec<(I, V)>,
    tree: RowTree,
}

impl<I: Ord, V: Copy> Proven<I, V> {
    fn new(list: Vec<(I, V)>, leaf: impl Fn(&I, V) -> Vec<u8>) -> Self {
        let tree = RowTree::new(list.iter().map(|(i, v)| leaf(i, *v)));
        Self { list, tree }
    }

    /// Value, position and path of an entry.
    fn prove(&self, id: &I) -> Option<(V, u64, RowProof)> {
        let at = self.list.binary_search_by(|(x, _)| x.cmp(id)).ok()?;
        let index = u64::try_from(at).ok()?;
        Some((self.list.get(at)?.1, index, self.tree.prove(index).ok()?))
    }
}

/// Claims and charges after a settlement.
pub(crate) struct Owed {
    epoch: Epoch,
    claims: Proven<AccountId, Amount>,
    charges: Proven<LeaseId, Credits>,
}

impl Owed {
    fn new(epoch: Epoch, tally: &Pairs) -> Self {
        Self {
            epoch,
            claims: Proven::new(part(tally, b'e', AccountId), |o, a| claim_leaf(o, a)),
            charges: Proven::new(part(tally, b'c', LeaseId), |l, c| charge_leaf(l, c)),
        }
    }

    /// The tally was written with the settlement; trees that differ must not be handed out.
    fn agrees(&self, x: &Settlement) -> bool {
        (x.claims.0, x.charges.0) == (self.claims.tree.root(), self.charges.tree.root())
    }
}

impl Inner {
    /// What the latest final settlement of a sector owes. `None` before the first.
    fn owed(&self, sector: SectorId) -> Result<Option<Arc<Owed>>, Refusal> {
        let Some((epoch, _)) = self.core.store.promoted(sector).map_err(store_refusal)? else {
            return Ok(None);
        };
        // Held while the trees are built, so that many who ask at once wait for one.
        let mut cache = lock(&self.owed);
        if let Some(known) = cache.get(&sector).filter(|o| o.epoch == epoch) {
            return Ok(Some(known.clone()));
        }
        let tally = self.core.store.contents(sector).map_err(store_refusal)?.tally;
        let owed = Arc::new(Owed::new(epoch, &tally));
        // Right after an import the record lies in the fork before; the chain holds its roots.
        let record = self.core.store.settlement(sector, epoch).map_err(store_refusal)?;
        if record.is_some_and(|x| !owed.agrees(&x.settlement)) {
            return Err(store_refusal("the tally is not the one of the latest settlement".into()));
        }
        cache.insert(sector, owed.clone());
        Ok(Some(owed))
    }

    pub(crate) fn claim_proof(
        &self,
        sector: SectorId,
        operator: AccountId,
    ) -> Result<Option<ClaimProof>, Refusal> {
        let Some(owed) = self.owed(sector)? else { return Ok(None) };
        let Some((earned, index, proof)) = owed.claims.prove(&operator) else { return Ok(None) };
        Ok(Some(ClaimProof { sector, epoch: owed.epoch, operator, earned, index, proof }))
    }

    pub(crate) fn charge_proof(
        &self,
        sector: SectorId,
        lease: LeaseId,
    ) -> Result<Option<ChargeProof>, Refusal> {
        let Some(owed) = self.owed(sector)? else { return Ok(None) };
        let Some((charged, index, proof)) = owed.charges.prove(&lease) else { return Ok(None) };
        Ok(Some(ChargeProof { epoch: owed.epoch, charged, index, proof }))
    }
}

/// The entries of a tally under a prefix, by id.
fn part<I, V: borsh::BorshDeserialize>(
    tally: &[(Vec<u8>, Vec<u8>)],
    prefix: u8,
    id: impl Fn([u8; 32]) -> I,
) -> Vec<(I, V)> {
    debug_assert!(
        keys::earned(&AccountId::default()).len() == 33 && keys::charged(&LeaseId::default()).len() == 33
    );
    tally
        .iter()
        .filter(|(k, _)| k.first() == Some(&prefix))
        .filter_map(|(k, v)| Some((id(k.get(1..)?.try_into().ok()?), decode(v).ok()?)))
        .collect()
}
