//! Export and verify.

use anyhow::{Context, Result};
use cairn_audit::{Finding, Report, verify};
use cairn_client::Client;
use cairn_ledger::tables::SectorEpochs;
use cairn_types::{Epoch, Hash, SectorId};
use serde_json::{Value, json};
use std::path::Path;

use crate::devnet::genesis::sectors;
use crate::output::{Failure, Out};

/// `cairn export epoch N --out FILE`.
pub async fn export(client: &Client, out: Out, epoch: u64, sector: u16, file: &Path) -> Result<()> {
    let pack = client.pack(SectorId(sector), Epoch(epoch)).await?;
    std::fs::write(file, &pack).with_context(|| format!("cannot write {}", file.display()))?;
    let id = chain_id(client, SectorId(sector), Epoch(epoch)).await?;
    out.say(format!("{} bytes in {}", pack.len(), file.display()));
    out.say("trust these digits only if you have them from the chain or from somebody you trust:");
    out.answer(&json!({"epoch": epoch, "sector": sector, "file": file, "bytes": pack.len(), "trust": id.to_string()}), || {
        id.to_string()
    });
    Ok(())
}

/// The settlement that the chain made final.
pub async fn chain_id(client: &Client, sector: SectorId, epoch: Epoch) -> Result<Hash> {
    let row = client.get::<SectorEpochs>(&(epoch, sector)).await?;
    let settlement = row.and_then(|r| r.settlement).ok_or_else(|| {
        Failure::new(
            "verify.open",
            format!("epoch {epoch} of sector {sector} is not settled"),
            "name an epoch that `cairn status` shows as settled",
        )
    })?;
    Ok(settlement.id())
}

/// `cairn verify epoch N`: the pack from the node, the record from the chain, the sum redone here.
pub async fn verify_epoch(client: &Client, out: Out, epoch: u64, sector: u16) -> Result<()> {
    let id = chain_id(client, SectorId(sector), Epoch(epoch)).await?;
    let pack = client.pack(SectorId(sector), Epoch(epoch)).await?;
    report(out, &pack, &id)
}

/// `cairn verify --pack FILE --trust HASH`, offline.
pub fn verify_file(out: Out, file: &Path, trust: &str) -> Result<()> {
    let id = Hash::from_hex(trust).ok_or_else(|| {
        Failure::new(
            "verify.trust",
            "the trusted digits are not 64 hexadecimal digits",
            "copy them from `cairn export`",
        )
    })?;
    let pack = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    report(out, &pack, &id)
}

fn report(out: Out, pack: &[u8], id: &Hash) -> Result<()> {
    match verify(pack, id, &sectors()) {
        Ok(r) => {
            out.answer(&as_json(&r), || as_text(&r));
            Ok(())
        }
        Err(finding) => {
            let (code, remedy) = told(&finding);
            Err(Failure::new(code, finding.to_string(), remedy))
        }
    }
}

/// Code and remedy.
fn told(finding: &Finding) -> (&'static str, &'static str) {
    const ALTERED: &str = "do not rely on this pack; fetch it from another node and compare";
    match finding {
        Finding::Malformed(_) => {
            ("verify.malformed", "check that it is the file that `cairn export epoch` wrote")
        }
        Finding::NotTrusted { .. } => (
            "verify.trust",
            "check that the digits are those of this epoch and sector; if they are, the pack was altered",
        ),
        Finding::Fact { .. } | Finding::Entry { .. } | Finding::Root { .. } | Finding::Inputs(_) => {
            ("verify.inputs", ALTERED)
        }
        Finding::Row { .. } => ("verify.row", ALTERED),
        Finding::Outcome { .. } => ("verify.outcome", ALTERED),
    }
}

fn as_json(r: &Report) -> Value {
    json!({
        "verified": true, "network": r.network.to_string(), "sector": r.sector.0, "epoch": r.epoch.0,
        "settlement": r.settlement.to_string(), "rows": r.rows, "bundles": r.bundles, "devices": r.devices,
        "leases": r.leases, "charged_micro_usd": r.charged.0.to_string(), "earned_pebbles": r.earned.0.to_string(),
        "outcomes": r.outcomes,
    })
}

fn as_text(r: &Report) -> String {
    format!(
        "verified: epoch {} of sector {} comes out the same\n\
         settlement  {}\n\
         recomputed  {} rows from {} bundles of {} devices, {} leases\n\
         money       {} charged to customers, {} earned by operators, {} outcomes",
        r.epoch,
        r.sector,
        r.settlement,
        r.rows,
        r.bundles,
        r.devices,
        r.leases,
        r.charged,
        r.earned,
        r.outcomes
    )
}
