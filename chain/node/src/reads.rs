//! Evidence, proofs, packs and exports: what a node hands out beyond rows.

use cairn_audit::{SignedBundle, bundle_hash};
use cairn_ledger::evidence::BUNDLE_LIMIT;
use cairn_ledger::genesis::{Export, digest_contents};
use cairn_ledger::registry::{unknown_device, unknown_sector};
use cairn_ledger::state::Key;
use cairn_ledger::tables::{Devices, Epochs, SectorTable, TABLES};
use cairn_types::{DeviceId, Epoch, Hash, Refusal, SectorId};

use crate::export::{EXPORT_LIMIT, too_large};
use crate::files;
use crate::node::{Inner, MAX_INTERVAL, Pace, chain_row, engine_refusal};
use crate::shared::store_refusal;

/// Different bundles kept of one device and epoch.
const BUNDLES_PER_DEVICE: usize = 4;
/// Rows of one page of an export.
const PAGE: usize = 16_384;
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
