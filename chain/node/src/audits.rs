//! Who was drawn to audit whom: computed once for each epoch, from what the chain froze.

use cairn_ledger::tables::{Epochs, SectorEpochs};
use cairn_sector::Audit;
use cairn_types::{DeviceId, Epoch, Refusal, SectorId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::AuditsOf;
use crate::node::Inner;
use crate::shared::{Core, lock, store_refusal};

/// Draws of the latest epochs.
pub(crate) type AuditCache = Mutex<BTreeMap<(SectorId, Epoch), Arc<Drawn>>>;

/// The draw of an epoch, ascending, once by each side.
pub(crate) struct Drawn {
    by_device: Vec<(DeviceId, DeviceId)>,
    by_auditor: Vec<(DeviceId, DeviceId)>,
}

impl Drawn {
    fn new(drawn: &[Audit]) -> Self {
        let mut by_device: Vec<_> = drawn.iter().map(|a| (a.device, a.auditor)).collect();
        let mut by_auditor: Vec<_> = drawn.iter().map(|a| (a.auditor, a.device)).collect();
        by_device.sort_unstable();
        by_auditor.sort_unstable();
        Self { by_device, by_auditor }
    }

    fn of(list: &[(DeviceId, DeviceId)], of: &DeviceId) -> Vec<DeviceId> {
        let from = list.partition_point(|x| x.0 < *of);
        list.iter().skip(from).take_while(|x| x.0 == *of).map(|x| x.1).collect()
    }
}

/// Draws kept.
const KEPT: usize = 16;

impl Inner {
    /// What a device has to do with the audits of an epoch. `None` before the seed, and once the epoch's working
    /// material is gone.
    pub(crate) async fn audits(
        &self,
        sector: SectorId,
        epoch: Epoch,
        device: &DeviceId,
    ) -> Result<Option<AuditsOf>, Refusal> {
        let Some(drawn) = self.drawn(sector, epoch).await? else { return Ok(None) };
        Ok(Some(AuditsOf {
            audits: Drawn::of(&drawn.by_auditor, device),
            auditors: Drawn::of(&drawn.by_device, device),
        }))
    }

    async fn drawn(&self, sector: SectorId, epoch: Epoch) -> Result<Option<Arc<Drawn>>, Refusal> {
        if let Some(known) = lock(&self.audits).get(&(sector, epoch)) {
            return Ok(Some(known.clone()));
        }
        let seed = self.row::<Epochs>(&epoch).await?.and_then(|e| e.seed);
        let terms = self.row::<SectorEpochs>(&(epoch, sector)).await?.map(|se| se.terms);
        let (Some(seed), Some(terms)) = (seed, terms) else { return Ok(None) };
        let core = self.core.clone();
        let work = move || -> Result<Option<Vec<Audit>>, Refusal> {
            let Some(devices) = committed(&core, sector, epoch).map_err(store_refusal)? else {
                return Ok(None);
            };
            core.sectors.get(sector, terms.version)?.audits(&terms.params, &seed, &devices).map(Some)
        };
        let given_up = |e: tokio::task::JoinError| Refusal::with("node.busy", e.to_string(), "ask again");
        let Some(drawn) = tokio::task::spawn_blocking(work).await.map_err(given_up)?? else {
            return Ok(None);
        };
        let drawn = Arc::new(Drawn::new(&drawn));
        let mut cache = lock(&self.audits);
        cache.insert((sector, epoch), drawn.clone());
        while cache.len() > KEPT {
            let oldest = cache.keys().min_by_key(|k| k.1).copied();
            if let Some(oldest) = oldest {
                cache.remove(&oldest);
            }
        }
        Ok(Some(drawn))
    }
}

/// The devices of the lock with what they committed to.
fn committed(
    core: &Core,
    sector: SectorId,
    epoch: Epoch,
) -> Result<Option<Vec<cairn_sector::DeviceEntry>>, String> {
    let Some(mut registry) = core.store.snapshot(epoch, sector)? else { return Ok(None) };
    let mut posted: BTreeMap<DeviceId, Vec<u8>> = core
        .store
        .postings(epoch, sector)?
        .into_iter()
        .filter_map(|(device, row)| Some((device, row.commitment?)))
        .collect();
    for device in &mut registry.devices {
        device.commitment = posted.remove(&device.id);
    }
    Ok(Some(registry.devices))
}
