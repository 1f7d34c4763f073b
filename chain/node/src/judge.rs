//! Judging an epoch from what this node holds.

use cairn_audit::{Inputs, Pack};
use cairn_ledger::settle::Settled;
use cairn_ledger::tables::{EpochRow, SectorEpochRow};
use cairn_types::{Epoch, Hash, SectorId};

use crate::files;
use crate::shared::Core;

/// What the chain says about an epoch of a sector.
#[derive(Clone)]
pub(crate) struct Task {
    pub sector: SectorId,
    pub epoch: Epoch,
    pub row: SectorEpochRow,
    /// Content digests of commitments, answers and certified bundles.
    pub contents: [Hash; 3],
    pub times: EpochRow,
}

/// Why an epoch cannot be judged here.
pub(crate) type Trouble = String;

fn gather(core: &Core, task: &Task) -> Result<Inputs, Trouble> {
    let (sector, epoch) = (task.sector, task.epoch);
    let name = format!("epoch {epoch} of sector {sector}");
    let seed = task.times.seed.ok_or_else(|| format!("{name} has no seed"))?;
    let registry = core
        .store
        .snapshot(epoch, sector)?
        .ok_or_else(|| format!("the registry at the lock of {name} is not held here"))?;
    let postings = core.store.settled_postings(epoch, sector)?;
    let mut bundles = Vec::new();
    for p in &postings {
        if let Some(hash) = p.bundle {
            let missing =
                || format!("the certified bundle of device {} for {name} is not held here", p.device);
            bundles.push(core.store.bundle(epoch, &hash)?.ok_or_else(missing)?);
        }
    }
    let contents = core.store.contents(sector)?;
    Ok(Inputs {
        network: core.facts.network,
        sector,
        epoch,
        seed,
        price: task.times.price,
        terms: task.row.terms.clone(),
        devices: registry.devices,
        leases: registry.leases,
        sales: registry.sales,
        postings,
        bundles,
        memory: contents.memory,
        tally: contents.tally,
    })
}

/// Judges, keeps the pack on disk, and returns the settlement. Blocks for as long as the judging takes.
pub(crate) fn judge(core: &Core, task: &Task) -> Result<Settled, Trouble> {
    let inputs = gather(core, task)?;
    let settled = inputs.settle(&core.sectors).map_err(|r| r.to_string())?;
    let s = &settled.settlement;
    let row = &task.row;
    let [commitments, answers, evidence] = task.contents;
    let pairs: [(&str, Hash, Hash); 5] = [
        ("registry", s.registry_root, row.registry_root),
        ("terms", s.terms_root, row.terms.root()),
        ("commitments", s.commitments_root, commitments),
        ("answers", s.answers_root, answers),
        ("certified bundles", s.evidence_root, evidence),
    ];
    for (what, here, chain) in pairs {
        if here != chain {
            return Err(format!(
                "{what} of epoch {} of sector {}: digest {here} here, {chain} on chain",
                task.epoch, task.sector
            ));
        }
    }
    let pack = Pack::new(inputs, &settled).encode();
    files::write(&core.store.pack_path(task.sector, task.epoch), &pack)
        .map_err(|e| format!("the pack cannot be written: {e}"))?;
    Ok(settled)
}
