//! Where the network stands, and what operators earned.

use anyhow::Result;
use cairn_client::Client;
use cairn_crypto::address;
use cairn_ledger::settle::Line;
use cairn_ledger::tables::{Chain, Money, Phase, SectorEpochs};
use cairn_types::{AccountId, Amount, Credits, DutyId, Epoch, PPM, SectorId};
use serde_json::json;
use std::collections::BTreeMap;

use crate::output::{Failure, Out, table};

/// Storage.
pub const STORAGE: SectorId = SectorId(1);

/// `cairn status`.
pub async fn status(client: &Client, out: Out) -> Result<()> {
    let status = client.status().await?;
    let chain = client.chain().await?;
    let money = client.get::<Money>(&()).await?.unwrap_or_default();
    let mut epochs = Vec::new();
    for e in status.epoch.saturating_sub(4)..=status.epoch {
        if let Some(row) = client.get::<SectorEpochs>(&(Epoch(e), STORAGE)).await? {
            let phase = match row.phase {
                Phase::Open | Phase::Committed if e == status.epoch => "running",
                Phase::Open | Phase::Committed => "being judged",
                Phase::Final => "settled",
                Phase::Void => "void",
            };
            epochs.push((e, phase, row.settlement));
        }
    }
    let object = json!({
        "network": status.network, "fork": status.fork, "height": status.height, "epoch": status.epoch,
        "epoch_blocks": chain.params.epoch_blocks, "pool_transactions": status.pool_transactions,
        "vault_pebbles": money.vault.0.to_string(), "payable_pebbles": money.payable.0.to_string(),
        "burned_pebbles": money.burned.0.to_string(), "spent_micro_usd": money.spent.0.to_string(),
        "epochs": epochs.iter().map(|(e, p, s)| json!({
            "epoch": e, "phase": p, "settlement": s.as_ref().map(|s| s.id().to_string()),
            "charged_micro_usd": s.as_ref().map(|s| s.charged.0.to_string()),
        })).collect::<Vec<_>>(),
    });
    out.answer(&object, || {
        let rows: Vec<Vec<String>> = epochs
            .iter()
            .map(|(e, p, s)| {
                let (charged, earned, rows) = match s {
                    Some(s) => (s.charged.to_string(), s.earned.to_string(), s.rows.1.to_string()),
                    None => ("unknown".into(), "unknown".into(), "unknown".into()),
                };
                vec![e.to_string(), (*p).into(), rows, charged, earned]
            })
            .collect();
        format!(
            "network {}  fork {}\nheight {}  epoch {}  ({} blocks each)\nspent by customers {}  owed to operators {}  burned {}\n\n{}\n\n\
             next: `cairn earnings`, `cairn verify epoch N` for a settled one",
            status.network,
            status.fork,
            status.height,
            status.epoch,
            chain.params.epoch_blocks,
            money.spent,
            money.payable,
            money.burned,
            table(&["epoch", "state", "rows", "charged", "earned"], &rows, 2)
        )
    });
    Ok(())
}

/// The newest settled epoch of storage.
pub async fn latest_settled(client: &Client) -> Result<Epoch> {
    let now = client.status().await?.epoch;
    for e in (now.saturating_sub(64)..=now).rev() {
        let row = client.get::<SectorEpochs>(&(Epoch(e), STORAGE)).await?;
        if row.is_some_and(|r| r.phase == Phase::Final) {
            return Ok(Epoch(e));
        }
    }
    Err(Failure::new("earnings.none", "no epoch is settled yet", "wait for the end of the second epoch"))
}

/// `cairn earnings`.
pub async fn earnings(
    client: &Client,
    out: Out,
    explain: Option<Option<u64>>,
    who: Option<AccountId>,
) -> Result<()> {
    let epoch = match explain.flatten() {
        Some(e) => Epoch(e),
        None => latest_settled(client).await?,
    };
    let found = client.settlement(STORAGE, epoch).await?;
    let (settlement, lines) = found.ok_or_else(|| {
        Failure::new(
            "earnings.open",
            format!("epoch {epoch} is not settled"),
            "name an epoch that `cairn status` shows as settled",
        )
    })?;
    let hrp = client.get::<Chain>(&()).await?.map(|c| c.hrp).unwrap_or_else(|| "cairn".into());
    let lines: Vec<Line> = lines.into_iter().filter(|l| who.is_none_or(|w| l.operator == w)).collect();
    let params = client.chain().await?.params;
    let share = PPM - params.burn_ppm - params.stakers_ppm - params.treasury_ppm;
    let name = |id: &AccountId| address::encode(&hrp, id).unwrap_or_else(|_| id.to_string());
    let mut totals: BTreeMap<AccountId, (u64, Credits, Amount)> = BTreeMap::new();
    for l in &lines {
        let t = totals.entry(l.operator).or_default();
        t.0 += 1;
        t.1 = t.1.saturating_add(l.charged);
        t.2 = t.2.saturating_add(l.granted);
    }
    let object = json!({
        "epoch": epoch.0, "settlement": settlement.id().to_string(), "operator_share_ppm": share,
        "operators": totals.iter().map(|(id, t)| json!({
            "operator": name(id), "rows": t.0, "charged_micro_usd": t.1.0.to_string(), "granted_pebbles": t.2.0.to_string(),
        })).collect::<Vec<_>>(),
        "rows": explain.map(|_| lines.iter().map(row_json).collect::<Vec<_>>()),
    });
    out.answer(&object, || {
        let rows = totals
            .iter()
            .map(|(id, t)| vec![short(&name(id)), t.0.to_string(), t.1.to_string(), t.2.to_string()])
            .collect::<Vec<_>>();
        let mut text = format!(
            "epoch {epoch}: customers paid {}, all of it from their escrows (nothing is minted)\n\
             of it {} goes to operators, {} is burned, {} goes to stakers, {} to the treasury\n\n{}",
            settlement.charged,
            percent(share),
            percent(params.burn_ppm),
            percent(params.stakers_ppm),
            percent(params.treasury_ppm),
            table(&["operator", "rows", "paid by customers", "from pool or bonds"], &rows, 1)
        );
        if explain.is_some() {
            text.push_str("\n\n");
            text.push_str(&explained(&lines));
        }
        text
    });
    Ok(())
}

fn row_json(l: &Line) -> serde_json::Value {
    json!({
        "device": l.row.payee.to_string(), "duty": duty(l), "units": l.row.units.0, "source": format!("{:?}", l.row.source),
        "note": cairn_storage_rules::judge::note::explain(l.row.note), "note_code": l.row.note,
        "fault": l.row.fault.map(|f| f.code), "charged_micro_usd": l.charged.0.to_string(),
        "unpaid_micro_usd": l.unpaid.0.to_string(),
    })
}

/// `12.5 %` for 125,000 parts per million.
fn percent(ppm: u64) -> String {
    format!("{}.{} %", ppm / 10_000, ppm / 1000 % 10)
}

fn duty(l: &Line) -> String {
    match l.row.duty {
        Some(DutyId::Lease { lease, slot }) => format!("{}/{slot}", &lease.to_string()[..8]),
        Some(DutyId::Standing { .. }) => "standing".into(),
        None => "-".into(),
    }
}

fn explained(lines: &[Line]) -> String {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|l| {
            let u = &l.row.units.0;
            let note = cairn_storage_rules::judge::note::explain(l.row.note);
            let why = match l.row.fault {
                Some(f) => {
                    format!("fault {}, severity {}: {note}", f.code, percent(u64::from(f.severity_ppm)))
                }
                None => note.to_owned(),
            };
            vec![
                l.row.payee.to_string()[..8].to_owned(),
                duty(l),
                why,
                u[0].to_string(),
                u[1].to_string(),
                u[3].to_string(),
                l.charged.to_string(),
                l.unpaid.to_string(),
            ]
        })
        .collect();
    table(
        &["device", "lease/slot", "why", "KiB-s stored", "KiB served", "KiB-s reserved", "charged", "unpaid"],
        &rows,
        3,
    )
}

/// The middle of an address says little.
fn short(address: &str) -> String {
    match (address.get(..12), address.get(address.len().saturating_sub(6)..)) {
        (Some(a), Some(b)) if address.len() > 24 => format!("{a}..{b}"),
        _ => address.to_owned(),
    }
}
