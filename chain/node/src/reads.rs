//! Evidence, proofs, packs and exports: what a node hands out beyond rows.

use cairn_audit::{SignedBundle, bundle_hash};
use cairn_crypto::merkle::rows::{RowProof, RowTree};
use cairn_ledger::evidence::BUNDLE_LIMIT;
use cairn_ledger::genesis::{Export, digest_contents};
use cairn_ledger::registry::{unknown_device, unknown_sector};
use cairn_ledger::settle::keys;
use cairn_ledger::settlement::{Settlement, charge_leaf, claim_leaf};
use cairn_ledger::state::Key;
use cairn_ledger::tables::{Devices, Epochs, SectorTable, TABLES};
use cairn_ledger::tx::ClaimProof;
use cairn_types::{AccountId, Amount, Credits, DeviceId, Epoch, Hash, LeaseId, Refusal, SectorId, decode};

use crate::ChargeProof;
use crate::export::{EXPORT_LIMIT, too_large};
use crate::files;
use crate::node::{Inner, MAX_INTERVAL, Pace, chain_row, engine_refusal};
use crate::shared::store_refusal;

/// Different bundles kept of one device and epoch.
const BUNDLES_PER_DEVICE: usize = 4;
/// Rows of one page of an export.
const PAGE: usize = 16_384;
/// Entries of a memory or a tally, ascending by key.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// Times that an export tries to read the whole state between two blocks.
const TRIES: usize = 8;

impl Inner {
    pub(crate) async fn upload_bundle(&self, bytes: Vec<u8>) -> Result<Hash, Refusal> {
        if u64::try_from(bytes.len()).is_ok_and(|n| n > BUNDLE_LIMIT) {
            return Err(Refusal::new(
                "bundle.size",
                "the bundle is too large",
                "leave the rest for the next epoch",
            ));
        }
        let signed = SignedBundle::decode(&bytes)?;
        let b = &signed.bundle;
        let chain = chain_row(self).await?;
        let wrong = |cause: String| {
            Refusal::with("bundle.target", cause, "make the bundle for this network and epoch")
        };
        if b.network != self.core.facts.network {
            return Err(wrong("the bundle is of another network".into()));
        }
        if b.epoch > chain.epoch || b.epoch.plus(1) < chain.epoch {
            return Err(wrong(format!("the bundle is of epoch {}, now is epoch {}", b.epoch, chain.epoch)));
        }
        let device = self.row::<Devices>(&b.device).await?.ok_or_else(unknown_device)?;
        let sector =
            self.row::<SectorTable>(&device.sector).await?.ok_or_else(|| unknown_sector(device.sector))?;
        b.check(self.core.sectors.get(device.sector, sector.version)?.as_ref())?;
        signed.check_signature(&device.key)?;
        let hash = bundle_hash(&bytes);
        let held = self.core.store.bundles(b.epoch, &b.device).map_err(store_refusal)?;
        if held.iter().any(|(h, _)| *h == hash) {
            return Ok(hash);
        }
        let posted =
            self.core.store.posting(b.epoch, &b.device).map_err(store_refusal)?.and_then(|p| p.bundle);
        if held.len() >= BUNDLES_PER_DEVICE && posted.is_none_or(|(h, _)| h != hash) {
            return Err(Refusal::new(
                "bundle.many",
                "four bundles of this device and epoch are held already",
                "post one of them",
            ));
        }
        let (epoch, device) = (b.epoch, b.device);
        self.core.store.put_bundle(epoch, &device, &hash, &bytes).map_err(store_refusal)?;
        Ok(hash)
    }

    pub(crate) async fn bundle(&self, epoch: Epoch, device: DeviceId) -> Result<Option<Vec<u8>>, Refusal> {
        let chain = chain_row(self).await?;
        let Some(next) = self.row::<Epochs>(&epoch.plus(1)).await? else { return Ok(None) };
        if chain.height <= next.start.plus(chain.params.cut_blocks) {
            return Ok(None);
        }
        let posting = self.core.store.posting(epoch, &device).map_err(store_refusal)?;
        match posting.and_then(|p| p.bundle) {
            Some((hash, _)) => self.core.store.bundle(epoch, &hash).map_err(store_refusal),
            None => Ok(None),
        }
    }

    pub(crate) async fn pack(&self, sector: SectorId, epoch: Epoch) -> Result<Vec<u8>, Refusal> {
        let unknown = || {
            Refusal::with(
                "pack.unknown",
                format!("no pack of epoch {epoch} of sector {sector} is held here"),
                "wait until the epoch is settled, or ask an archive",
            )
        };
        self.core.store.settlement(sector, epoch).map_err(store_refusal)?.ok_or_else(unknown)?;
        let path = self.core.store.pack_path(sector, epoch);
        let read = tokio::task::spawn_blocking(move || files::read(&path)).await;
        let read = read.map_err(|e| store_refusal(e.to_string()))?;
        read.map_err(|e| store_refusal(e.to_string()))?.ok_or_else(unknown)
    }

    /// The latest final settlement with a part of the tally after it.
    fn latest(&self, sector: SectorId) -> Result<Option<(Epoch, Pairs)>, Refusal> {
        let Some((epoch, _)) = self.core.store.promoted(sector).map_err(store_refusal)? else {
            return Ok(None);
        };
        Ok(Some((epoch, self.core.store.contents(sector).map_err(store_refusal)?.tally)))
    }

    pub(crate) fn claim_proof(
        &self,
        sector: SectorId,
        operator: AccountId,
    ) -> Result<Option<ClaimProof>, Refusal> {
        let Some((epoch, tally)) = self.latest(sector)? else { return Ok(None) };
        let claims: Vec<(AccountId, Amount)> = part(&tally, b'e', AccountId);
        let leaf = |(o, a): &(AccountId, Amount)| claim_leaf(o, *a);
        let Some((earned, index, proof)) = prove(&claims, &operator, leaf) else { return Ok(None) };
        self.agrees(sector, epoch, |s| s.claims, RowTree::new(claims.iter().map(leaf)).root())?;
        Ok(Some(ClaimProof { sector, epoch, operator, earned, index, proof }))
    }

    pub(crate) fn charge_proof(
        &self,
        sector: SectorId,
        lease: LeaseId,
    ) -> Result<Option<ChargeProof>, Refusal> {
        let Some((epoch, tally)) = self.latest(sector)? else { return Ok(None) };
        let charges: Vec<(LeaseId, Credits)> = part(&tally, b'c', LeaseId);
        let leaf = |(l, c): &(LeaseId, Credits)| charge_leaf(l, *c);
        let Some((charged, index, proof)) = prove(&charges, &lease, leaf) else { return Ok(None) };
        self.agrees(sector, epoch, |s| s.charges, RowTree::new(charges.iter().map(leaf)).root())?;
        Ok(Some(ChargeProof { epoch, charged, index, proof }))
    }

    /// The tally was written with the settlement; a tree that differs must not be handed out.
    fn agrees(
        &self,
        sector: SectorId,
        epoch: Epoch,
        of: impl Fn(&Settlement) -> (Hash, u64),
        root: Hash,
    ) -> Result<(), Refusal> {
        let record = self.core.store.settlement(sector, epoch).map_err(store_refusal)?;
        match record {
            // Right after an import the record lies in the fork before; the chain holds its roots.
            None => Ok(()),
            Some(x) if of(&x.settlement).0 == root => Ok(()),
            Some(_) => Err(store_refusal("the tally is not the one of the latest settlement".into())),
        }
    }

    pub(crate) async fn export_state(&self) -> Result<Export, Refusal> {
        // Longer than a whole state takes to read, or at least as long as allowed.
        let _pace = Pace::new(self, MAX_INTERVAL);
        for _ in 0..TRIES {
            let before = chain_row(self).await?;
            let mut rows = Vec::new();
            let mut room = EXPORT_LIMIT;
            for (table, _) in TABLES {
                rows.extend(self.table(*table, &mut room).await?);
            }
            let mut contents = Vec::new();
            let mut agree = true;
            for sector in &before.sectors {
                let x = self.core.store.contents(*sector).map_err(store_refusal)?;
                let row = self.row::<SectorTable>(sector).await?.ok_or_else(|| unknown_sector(*sector))?;
                agree &= digest_contents("memory", &x.memory).digest() == row.memory_root
                    && digest_contents("tally", &x.tally).digest() == row.tally_root;
                contents.push(x);
            }
            let after = chain_row(self).await?;
            if agree && after.height == before.height {
                rows.sort_unstable();
                return Ok(Export { version: 1, height: before.height, rows, contents });
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Err(Refusal::new(
            "export.busy",
            "blocks came faster than the state could be read",
            "set a longer interval and export again",
        ))
    }

    /// All rows of a table, as long as their bytes fit into `room`.
    async fn table(&self, table: u8, room: &mut usize) -> Result<Vec<(Key, Vec<u8>)>, Refusal> {
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map(|(k, _): &(Key, Vec<u8>)| *k);
            let page = self.engine.scan(table, after, PAGE).await.map_err(engine_refusal)?;
            let last = page.len() < PAGE;
            let size: usize = page.iter().map(|(key, row)| key.len().saturating_add(row.len())).sum();
            *room = room.checked_sub(size).ok_or_else(too_large)?;
            rows.extend(page);
            if last {
                return Ok(rows);
            }
        }
    }
}

/// The entries of a tally under one prefix, ascending by id, as the settlement's trees hold them.
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

/// Value, position and path of an entry.
fn prove<I: Ord, V: Copy>(
    list: &[(I, V)],
    id: &I,
    leaf: impl Fn(&(I, V)) -> Vec<u8>,
) -> Option<(V, u64, RowProof)> {
    let at = list.binary_search_by(|(x, _)| x.cmp(id)).ok()?;
    let index = u64::try_from(at).ok()?;
    let proof = RowTree::new(list.iter().map(leaf)).prove(index).ok()?;
    Some((list.get(at)?.1, index, proof))
}
